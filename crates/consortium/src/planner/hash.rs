//! What binds a plan to the world that it was made from.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::FORMAT;
use crate::desired::Desired;
use crate::observed::Observed;
use crate::plan::{Plan, PlannedStep, Step, StepId};

/// Hexadecimal digits of a part's digest that are kept.
const DIGITS: usize = 32;

/// What a plan's hash covers: the commit, what is wanted, the specs of the live objects, who has the namespaces, the pinned
/// genesis blocks, the versions of the elements of channels whose configuration the plan changes, and the sequences of the
/// chaincodes that it deploys. Each part under its name, in words, with a digest. Status, resource versions and evidence
/// are left out: they move without anything having changed.
pub fn covered(
    desired: &Desired,
    observed: &Observed,
    steps: &BTreeMap<StepId, PlannedStep>,
    revision: Option<&str>,
) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    let mut put = |name: String, value: &Value| {
        parts.insert(name, digest(value));
    };
    put("the plan's format".to_owned(), &json!(FORMAT));
    put("the consortium".to_owned(), &json!(desired.consortium));
    put("the commit".to_owned(), &json!(revision));
    for (object, wanted) in &desired.objects {
        put(format!("{object} as it is wanted"), &wanted.spec);
    }
    for (object, live) in &observed.objects {
        put(object.to_string(), &live.spec);
    }
    for (name, namespace) in &observed.namespaces {
        put(format!("Namespace {name}"), &json!(namespace.value().map(|value| &value.organization)));
    }
    for (name, channel) in &observed.channels {
        let hash = channel.genesis.value().map(|genesis| &genesis.hash);
        put(format!("the genesis block of channel {name}"), &json!(hash));
    }
    for planned in steps.values() {
        match &planned.step {
            Step::UpdateChannelConfig { channel, .. } => {
                let config = observed.channels.get(channel).and_then(|channel| channel.config.value());
                for (element, version) in config.iter().flat_map(|config| &config.versions) {
                    put(format!("{element} in the configuration of channel {channel}"), &json!(version));
                }
            }
            Step::DeployChaincode { channel, name, .. } => {
                let key = format!("{channel}/{name}");
                let committed = observed.chaincodes.get(&key).and_then(|chaincode| chaincode.committed.value());
                let sequence = committed.map(|committed| committed.sequence);
                put(format!("the sequence of chaincode {name} on channel {channel}"), &json!(sequence));
            }
            _ => {}
        }
    }
    for (name, seen) in &observed.materials {
        put(format!("the material in ConfigMap {name}"), &json!(seen.value()));
    }
    parts
}

/// What differs between what two plans cover, in words.
pub fn moved(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let moved = names.into_iter().filter_map(|name| match (before.get(name), now.get(name)) {
        (Some(before), Some(now)) if before == now => None,
        (Some(_), Some(_)) => Some(format!("{name} has changed")),
        (Some(_), None) => Some(format!("{name} is gone")),
        (None, _) => Some(format!("{name} is new")),
    });
    moved.collect()
}

impl Plan {
    /// What the hash of this plan covers; `desired` and `observed` are what it was made from.
    pub fn covered(&self, desired: &Desired, observed: &Observed) -> BTreeMap<String, String> {
        covered(desired, observed, &self.steps, self.revision.as_deref())
    }
}

/// SHA-256, in hex, over all that a plan covers.
pub(super) fn hash(covered: &BTreeMap<String, String>) -> String {
    hex::encode(Sha256::digest(json!(covered).to_string().as_bytes()))
}

fn digest(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    let mut text = hex::encode(Sha256::digest(value.to_string().as_bytes()));
    text.truncate(DIGITS);
    text
}
