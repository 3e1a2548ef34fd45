//! Config updates for tests: computed from two configurations, signed, sent.

use std::collections::BTreeMap;

use prost::Message as _;
use tenter_fabric_wire::common::{
    Block, Config, ConfigEnvelope, ConfigGroup, ConfigPolicy, ConfigSignature, ConfigUpdate, ConfigUpdateEnvelope,
    ConfigValue, Envelope, HeaderType, SignatureHeader,
};

use super::client::{header, sign};
use super::organization::Person;
use tenter_fabric_sim::block;

/// The configuration in a config block.
pub fn config_of(block: &Block) -> Config {
    let opened = block::config_transaction(block).unwrap();
    ConfigEnvelope::decode(&opened.payload.data[..]).unwrap().config.unwrap()
}

/// An element of the tree, as far as updates are concerned.
trait Element: Clone {
    fn version(&self) -> u64;
    fn set_version(&mut self, version: u64);
    /// The element as it stands in a read set: a version and nothing else.
    fn bare(&self) -> Self;
    fn differs(&self, other: &Self) -> bool;
}

macro_rules! element {
    ($type:ty) => {
        impl Element for $type {
            fn version(&self) -> u64 {
                self.version
            }
            fn set_version(&mut self, version: u64) {
                self.version = version;
            }
            fn bare(&self) -> Self {
                Self { version: self.version, ..Self::default() }
            }
            fn differs(&self, other: &Self) -> bool {
                self != other
            }
        }
    };
}
element!(ConfigValue);
element!(ConfigPolicy);

/// What of one of a group's maps goes into read and write set.
struct Parts<T> {
    same: BTreeMap<String, T>,
    written: BTreeMap<String, T>,
    members: bool,
}

fn leaves<T: Element>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> Parts<T> {
    let mut parts = Parts { same: BTreeMap::new(), written: BTreeMap::new(), members: false };
    for (name, element) in new {
        match old.get(name) {
            Some(before) if before.differs(element) => {
                let mut changed = element.clone();
                changed.set_version(before.version() + 1);
                parts.written.insert(name.clone(), changed);
            }
            Some(before) => {
                parts.same.insert(name.clone(), before.bare());
            }
            None => {
                parts.members = true;
                let mut added = element.clone();
                added.set_version(0);
                parts.written.insert(name.clone(), added);
            }
        }
    }
    parts.members |= old.keys().any(|name| !new.contains_key(name));
    parts
}

/// Read set and write set of a group, `None` when nothing in it has changed.
fn compare(old: &ConfigGroup, new: &ConfigGroup) -> Option<(ConfigGroup, ConfigGroup)> {
    let values = leaves(&old.values, &new.values);
    let policies = leaves(&old.policies, &new.policies);
    let mut members = values.members || policies.members || old.mod_policy != new.mod_policy;
    members |= old.groups.keys().any(|name| !new.groups.contains_key(name));
    let mut read = ConfigGroup { version: old.version, ..ConfigGroup::default() };
    let mut write = read.clone();
    let mut same = BTreeMap::new();
    for (name, group) in &new.groups {
        match old.groups.get(name) {
            None => {
                members = true;
                write.groups.insert(name.clone(), group.clone());
            }
            Some(before) => match compare(before, group) {
                Some((r, w)) => {
                    read.groups.insert(name.clone(), r);
                    write.groups.insert(name.clone(), w);
                }
                None => {
                    same.insert(name.clone(), ConfigGroup { version: before.version, ..ConfigGroup::default() });
                }
            },
        }
    }
    if !members && values.written.is_empty() && policies.written.is_empty() && write.groups.is_empty() {
        return None;
    }
    write.values = values.written;
    write.policies = policies.written;
    if members {
        write.version = old.version + 1;
        write.mod_policy.clone_from(&new.mod_policy);
        read.values.clone_from(&values.same);
        read.policies.clone_from(&policies.same);
        read.groups.extend(same.clone());
        write.values.extend(values.same);
        write.policies.extend(policies.same);
        write.groups.extend(same);
    }
    Some((read, write))
}

/// The update from one configuration to another.
pub fn compute(channel: &str, old: &Config, change: impl FnOnce(&mut ConfigGroup)) -> ConfigUpdate {
    let before = old.channel_group.clone().unwrap();
    let mut after = before.clone();
    change(&mut after);
    let (read, write) = compare(&before, &after).unwrap();
    ConfigUpdate {
        channel_id: channel.to_owned(),
        read_set: Some(read),
        write_set: Some(write),
        ..ConfigUpdate::default()
    }
}

/// The envelope that is broadcast: signed by all of `signers`, sent by the first.
pub fn envelope(update: &ConfigUpdate, signers: &[&Person]) -> Envelope {
    let bytes = update.encode_to_vec();
    let signatures = signers
        .iter()
        .map(|person| {
            let signature_header =
                SignatureHeader { creator: person.creator.clone(), nonce: rand::random::<[u8; 24]>().to_vec() }
                    .encode_to_vec();
            let signature = person.key.sign(&[&signature_header[..], &bytes].concat());
            ConfigSignature { signature_header, signature }
        })
        .collect();
    let data = ConfigUpdateEnvelope { config_update: bytes, signatures }.encode_to_vec();
    sign(signers[0], &header(HeaderType::ConfigUpdate, &update.channel_id), data)
}

/// The bytes of one of the orderer section's values.
pub fn orderer_value<'a>(root: &'a mut ConfigGroup, name: &str) -> &'a mut Vec<u8> {
    &mut root.groups.get_mut("Orderer").unwrap().values.get_mut(name).unwrap().value
}
