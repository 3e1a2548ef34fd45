//! What binds a plan to the world that it was made from.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::FORMAT;
use crate::desired::Desired;
use crate::document::Blob;
use crate::observed::Observed;
use crate::plan::{PlannedStep, Step, StepId};

/// SHA-256, in hex, over the commit, what is wanted, the specs of the live objects, who has the namespaces, the pinned
/// genesis blocks, the versions of the elements of channels whose configuration the plan changes, and the sequences of the
/// chaincodes that it deploys. Status,
/// resource versions and evidence are left out: they move without anything having changed.
pub(super) fn hash(
    desired: &Desired,
    observed: &Observed,
    steps: &BTreeMap<StepId, PlannedStep>,
    revision: Option<&str>,
) -> String {
    let wanted: BTreeMap<String, &Value> =
        desired.objects.iter().map(|(object, wanted)| (object.to_string(), &wanted.spec)).collect();
    let live: BTreeMap<String, &Value> =
        observed.objects.iter().map(|(object, live)| (object.to_string(), &live.spec)).collect();
    let namespaces: BTreeMap<&String, Value> = observed
        .namespaces
        .iter()
        .map(|(name, namespace)| (name, namespace.value().map_or(Value::Null, |value| json!(value.organization))))
        .collect();
    let genesis: BTreeMap<&String, Option<&str>> = observed
        .channels
        .iter()
        .map(|(name, channel)| (name, channel.genesis.value().map(|genesis| genesis.hash.as_str())))
        .collect();
    let touched: BTreeMap<&String, Option<&BTreeMap<String, u64>>> = steps
        .values()
        .filter_map(|planned| match &planned.step {
            Step::UpdateChannelConfig { channel, .. } => {
                let config = observed.channels.get(channel).and_then(|channel| channel.config.value());
                Some((channel, config.map(|config| &config.versions)))
            }
            _ => None,
        })
        .collect();
    let mut world = json!({
        "format": FORMAT,
        "consortium": desired.consortium,
        "revision": revision,
        "wanted": wanted,
        "live": live,
        "namespaces": namespaces,
        "genesis": genesis,
        "versions": touched,
    });
    let sequences: BTreeMap<String, Option<i64>> = steps
        .values()
        .filter_map(|planned| match &planned.step {
            Step::DeployChaincode { channel, name, .. } => {
                let key = format!("{channel}/{name}");
                let committed = observed.chaincodes.get(&key).and_then(|chaincode| chaincode.committed.value());
                Some((key, committed.map(|committed| committed.sequence)))
            }
            _ => None,
        })
        .collect();
    if let (false, Some(world)) = (sequences.is_empty(), world.as_object_mut()) {
        world.insert("chaincodes".to_owned(), json!(sequences));
    }
    let materials: BTreeMap<&String, Option<&BTreeMap<String, Blob>>> =
        observed.materials.iter().map(|(name, seen)| (name, seen.value())).collect();
    if let (false, Some(world)) = (materials.is_empty(), world.as_object_mut()) {
        world.insert("materials".to_owned(), json!(materials));
    }
    world.sort_all_objects();
    hex::encode(Sha256::digest(world.to_string().as_bytes()))
}
