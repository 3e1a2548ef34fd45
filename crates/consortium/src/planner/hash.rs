//! What binds a plan to the world that it was made from.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::FORMAT;
use crate::desired::Desired;
use crate::observed::Observed;
use crate::plan::{PlannedStep, Step, StepId};

/// SHA-256, in hex, over the commit, what is wanted, the specs of the live objects, who has the namespaces, the pinned
/// genesis blocks, and the versions of the elements of channels whose configuration the plan changes. Status,
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
    world.sort_all_objects();
    hex::encode(Sha256::digest(world.to_string().as_bytes()))
}
