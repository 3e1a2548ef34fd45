//! Changes of a channel's configuration: computed, read, signed and applied as orderers do it.
//!
//! An update is a read set (what must not have moved) and a write set. Organisations sign its exact bytes, so the bytes
//! are kept and never written anew: recomputing voids every signature. Sources: `internal/configtxlator/update`,
//! `common/configtx`.

mod apply;
mod compute;
mod reject;
mod sign;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use prost::Message as _;
use tenter_fabric_wire::common;

pub use apply::UpdateRefusal;
pub use reject::{MAX_REASON, Rejection, RejectionError};
pub use sign::{ConfigSignature, SignatureError};

use super::tree::{self, Elements};
use super::write::Unchanged;
use super::{CHANNEL, ChannelConfig, ConfigChange, ConfigError, CurrentConfig, diff};
use crate::hash::sha256_hex;

/// Why an update cannot be computed or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// Bytes that are not an update.
    #[error("the config update cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    /// The update holds something that would not be shown to those who sign it.
    #[error("the config update has parts that this version does not know; do not sign it, or use a newer version")]
    Unknown,
    /// One of the configurations that an update lies between.
    #[error("the configuration cannot be read")]
    Config(#[from] ConfigError),
}

/// A change of a channel's configuration, with the exact bytes that are signed.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigUpdate {
    raw: Vec<u8>,
    channel_id: String,
    read_set: Option<common::ConfigGroup>,
    write_set: Option<common::ConfigGroup>,
}

impl std::fmt::Debug for ConfigUpdate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ConfigUpdate")
            .field("channel_id", &self.channel_id)
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}

/// An element that an update writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TouchedElement {
    /// The element, as [`Element::at`](super::Element::at) writes it.
    pub element: String,
    /// Its version after the update.
    pub version: u64,
    /// Path of the policy that must be satisfied, as the current configuration has it; `None` for a new element, which
    /// is guarded by the policy of the group that lists it. There may be no policy at the path: then nobody can change
    /// the element.
    pub policy: Option<String>,
}

/// Whether an update fits the configuration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing that it depends on has moved.
    Applies,
    /// Everything that it would write is there.
    AlreadyThere,
    /// Something that it depends on has moved. It must be computed anew, and all signatures with it.
    Stale {
        /// The first such element, as [`Element::at`](super::Element::at) writes it.
        element: String,
        /// The version that the update depends on; `None` if the element should not be there.
        expected: Option<u64>,
        /// The version that there is; `None` if the element is not there.
        found: Option<u64>,
    },
}

/// An element, in words.
fn words(node: tree::Node<'_>) -> String {
    match node {
        tree::Node::Group(group) => {
            let members = group.groups.keys().chain(group.values.keys()).chain(group.policies.keys());
            format!("members {}", members.map(String::as_str).collect::<Vec<_>>().join(", "))
        }
        tree::Node::Value(value) => format!("{} bytes (sha256:{})", value.value.len(), sha256_hex(&value.value)),
        tree::Node::Policy(policy) => policy
            .policy
            .as_ref()
            .map_or_else(|| "nothing".to_owned(), |policy| crate::policy::Policy::from_wire(policy).to_string()),
    }
}

impl ConfigUpdate {
    /// Computes the smallest update from the configuration in force to the wanted one; `None` if they say the same.
    ///
    /// What the wanted configuration does not speak of is carried over ([`ChannelConfig::carrying_over`]). Equal inputs
    /// give equal bytes. The result is configtxlator's, and values whose meaning is the same are no difference.
    pub fn compute(current: &CurrentConfig, wanted: &ChannelConfig) -> Option<Self> {
        let (mut tree, unchanged) = wanted.to_config_group_over(current);
        compute::keep_equal(&mut tree, current.group());
        Self::between(current.channel_id(), current.group(), &tree, &unchanged)
    }

    /// Computes the update between two encoded `common.Config`, byte by byte as configtxlator does.
    pub fn compute_from_bytes(channel_id: &str, current: &[u8], updated: &[u8]) -> Result<Option<Self>, UpdateError> {
        let root = |bytes| Ok::<_, ConfigError>(ChannelConfig::decode(bytes)?.1);
        Ok(Self::between(channel_id, &root(current)?, &root(updated)?, &Unchanged::default()))
    }

    fn between(
        channel_id: &str,
        current: &common::ConfigGroup,
        updated: &common::ConfigGroup,
        unchanged: &Unchanged<'_>,
    ) -> Option<Self> {
        let sets = compute::update(current, updated, unchanged)?;
        let message = common::ConfigUpdate {
            channel_id: channel_id.to_owned(),
            read_set: Some(sets.read),
            write_set: Some(sets.write),
            isolated_data: BTreeMap::new(),
        };
        let raw = message.encode_to_vec();
        let common::ConfigUpdate { channel_id, read_set, write_set, isolated_data: _ } = message;
        Some(Self { raw, channel_id, read_set, write_set })
    }

    /// Reads an encoded `common.ConfigUpdate`. Only what this library can show is taken.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, UpdateError> {
        let raw = bytes.into();
        let message = common::ConfigUpdate::decode(raw.as_slice())?;
        let bare = common::ConfigUpdate { channel_id: message.channel_id.clone(), ..common::ConfigUpdate::default() };
        let set = |length: fn(&common::ConfigGroup) -> usize, group: &Option<common::ConfigGroup>| {
            group.as_ref().map_or(0, |group| tree::field_length(length(group)))
        };
        let whole = |length: fn(&common::ConfigGroup) -> usize| {
            bare.encoded_len() + set(length, &message.read_set) + set(length, &message.write_set) == raw.len()
        };
        if !whole(common::ConfigGroup::encoded_len) && !whole(tree::go_length) {
            return Err(UpdateError::Unknown);
        }
        Ok(Self { raw, channel_id: message.channel_id, read_set: message.read_set, write_set: message.write_set })
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.raw
    }

    /// SHA-256 of the bytes, in lower-case hexadecimal digits.
    pub fn digest(&self) -> String {
        sha256_hex(&self.raw)
    }

    /// The channel that it changes.
    pub fn channel_id(&self) -> &str {
        &self.channel_id
    }

    /// Whether another update of the same channel reads and writes the same. Their bytes, and so what signatures cover, may
    /// differ all the same: protobuf has no one form of a map.
    pub fn means_the_same(&self, other: &Self) -> bool {
        let Self { raw: _, channel_id, read_set, write_set } = self;
        *channel_id == other.channel_id && *read_set == other.read_set && *write_set == other.write_set
    }

    /// The elements that it writes, sorted, with the policies that guard them.
    pub fn elements(&self, current: &CurrentConfig) -> Vec<TouchedElement> {
        let existing = current.elements();
        let touched = |(element, node): (String, tree::Node<'_>)| {
            let policy = existing.get(&element).map(|node| CurrentConfig::guard(&element, node.mod_policy()));
            TouchedElement { element, version: node.version(), policy }
        };
        self.delta().into_iter().map(touched).collect()
    }

    /// The elements that it depends on, with the versions that they must have.
    pub fn reads(&self) -> BTreeMap<String, u64> {
        self.read_elements().into_iter().map(|(element, node)| (element, node.version())).collect()
    }

    /// Whether it fits the configuration in force. Other reasons to refuse it: see [`Self::apply`].
    pub fn freshness(&self, current: &CurrentConfig) -> Freshness {
        let existing = current.elements();
        let delta = self.delta();
        let there = |(element, node): (&String, &tree::Node<'_>)| {
            existing.get(element).is_some_and(|existing| existing.says_the_same(*node))
        };
        if delta.iter().all(there) {
            return Freshness::AlreadyThere;
        }
        for (element, version) in self.reads() {
            let found = existing.get(&element).map(|node| node.version());
            if found != Some(version) {
                return Freshness::Stale { element, expected: Some(version), found };
            }
        }
        for (element, node) in delta {
            let found = existing.get(&element).map(|node| node.version());
            let expected = node.version().checked_sub(1);
            if found != expected {
                return Freshness::Stale { element, expected, found };
            }
        }
        Freshness::Applies
    }

    /// The elements that it writes, each for itself, for those who do not have the configuration in force.
    pub fn writes(&self) -> Vec<(String, String)> {
        self.delta().into_iter().map(|(element, node)| (element, words(node))).collect()
    }

    /// What it changes in the configuration in force, sorted by path, whether or not it applies.
    pub fn changes(&self, current: &CurrentConfig) -> Vec<ConfigChange> {
        let next = self.overlaid(current).and_then(|group| current.next(group).ok());
        if let Some(next) = next {
            return diff(current.config(), next.config());
        }
        // The result cannot be read as a whole, so each element is shown for itself.
        let existing = current.elements();
        let change = |(path, node): (String, tree::Node<'_>)| {
            let from = existing.get(&path).map(|node| words(*node));
            ConfigChange { path, from, to: Some(words(node)) }
        };
        self.delta().into_iter().map(change).collect()
    }

    /// The elements of the read set. A set that is not there has none, not even the root.
    fn read_elements(&self) -> Elements<'_> {
        self.read_set.as_ref().map(|set| tree::elements(CHANNEL, set)).unwrap_or_default()
    }

    fn write_elements(&self) -> Elements<'_> {
        self.write_set.as_ref().map(|set| tree::elements(CHANNEL, set)).unwrap_or_default()
    }

    /// The elements of the write set that the read set does not have at the same version.
    pub(in crate::config) fn delta(&self) -> Elements<'_> {
        let read = self.read_elements();
        let mut delta = self.write_elements();
        delta.retain(|element, node| read.get(element).is_none_or(|read| read.version() != node.version()));
        delta
    }
}
