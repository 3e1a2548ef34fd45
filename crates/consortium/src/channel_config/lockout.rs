//! Whether anybody could still change a configuration.

use std::collections::{BTreeMap, BTreeSet};

use tenter_fabric::config::{ChannelConfig, CurrentConfig};
use tenter_fabric::policy::{Judge, Signer};

use super::chain;

/// Policies that guard something and that the administrators of all organizations together do not satisfy, by path, each
/// with what it guards and why they do not. Nobody could change that any more, nor the policy itself.
pub fn locked(config: &CurrentConfig) -> BTreeMap<String, String> {
    let ChannelConfig { orderer, application, .. } = config.config();
    let orderers = orderer.organizations.values().map(|organization| &organization.msp.msp_id);
    let members = application.organizations.values().map(|organization| &organization.msp.msp_id);
    let everybody: BTreeSet<Signer> = orderers.chain(members).map(Signer::admin).collect();
    let judge = Judge::new(config.config());
    let mut locked = BTreeMap::new();
    for (policy, element) in config.guards() {
        if let Err(failure) = judge.evaluate_principals(&policy, &everybody) {
            locked.insert(policy, format!("it guards {element}, and {failure}"));
        }
    }
    locked
}

/// Why a configuration must not take the place of another, or begin a channel: what nobody could change any more. What was
/// locked before is no reason.
pub fn lock_out(before: Option<&CurrentConfig>, after: &CurrentConfig) -> Option<String> {
    let locked_before = before.map(locked).unwrap_or_default();
    let new = locked(after).into_iter().filter(|(policy, _)| !locked_before.contains_key(policy));
    // Of those that count others, the lowest is the cause.
    let (policy, why) = new.max_by_key(|(policy, _)| policy.matches('/').count())?;
    Some(format!(
        "it would lock everybody out: the administrators of all members together could not satisfy {policy} ({why}); \
         Fabric takes such a configuration, and nobody can change it again"
    ))
}

/// Why a channel must not begin with a configuration.
pub fn lock_out_at_first(channel: &str, config: &ChannelConfig) -> Option<String> {
    match CurrentConfig::from_bytes(channel, &config.to_config_bytes()) {
        Ok(current) => lock_out(None, &current),
        Err(error) => Some(chain(&error)),
    }
}
