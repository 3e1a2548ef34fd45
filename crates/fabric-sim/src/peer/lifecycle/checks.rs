//! What a definition may hold (Fabric `core/chaincode/lifecycle/scc.go`, `validateInput`).

use std::collections::BTreeSet;

use prost::Message as _;
use tenter_fabric_wire::common::msp_principal::Classification;
use tenter_fabric_wire::common::signature_policy::Type;
use tenter_fabric_wire::common::{MspPrincipal, MspRole, OrganizationUnit, SignaturePolicy};
use tenter_fabric_wire::protos::{
    CollectionConfigPackage, StaticCollectionConfig, collection_config, collection_policy_config,
};

use crate::channel::{Bundle, SignatureRule, UNREADABLE};
use crate::msp::Identity;

/// Names that belong to Fabric.
const SYSTEM: [&str; 5] = ["cscc", "escc", "lscc", "qscc", "vscc"];

/// The name and version of a chaincode.
pub fn names(name: &str, version: &str) -> Result<(), String> {
    if !is_chaincode_name(name) {
        return Err(format!(
            "invalid chaincode name '{name}'. Names can only consist of alphanumerics, '_', and '-' and can only begin with alphanumerics"
        ));
    }
    if SYSTEM.contains(&name) {
        return Err(format!("chaincode name '{name}' is the name of a system chaincode"));
    }
    let fits = !version.is_empty() && version.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.+-".contains(&c));
    if !fits {
        return Err(format!(
            "invalid chaincode version '{version}'. Versions can only consist of alphanumerics, '_', '-', '+', and '.'"
        ));
    }
    Ok(())
}

/// Alphanumeric parts with single `-` or `_` between them.
fn is_chaincode_name(name: &str) -> bool {
    name.split(['-', '_']).all(|part| !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric()))
}

/// The collections of a package.
pub fn configs(package: &CollectionConfigPackage) -> Result<Vec<&StaticCollectionConfig>, String> {
    package
        .config
        .iter()
        .map(|config| match &config.payload {
            Some(collection_config::Payload::StaticCollectionConfig(config)) => Ok(config),
            None => Err("collection config contains unexpected payload type: <nil>".to_owned()),
        })
        .collect()
}

/// Each collection by itself.
pub fn collections(all: &[&StaticCollectionConfig], bundle: &Bundle) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for config in all {
        let name = &config.name;
        let word = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        let fits = name.bytes().next().is_some_and(word) && name.bytes().all(|c| word(c) || c == b'_');
        if !fits {
            return Err(format!(
                "invalid collection name '{name}'. Names can only consist of alphanumerics, '_', and '-' and cannot begin with '_'"
            ));
        }
        if !seen.insert(name) {
            return Err(format!("collection-name: {name} -- found duplicate in collection configuration"));
        }
        let (required, most) = (config.required_peer_count, config.maximum_peer_count);
        if most < required {
            return Err(format!(
                "collection-name: {name} -- maximum peer count ({most}) cannot be less than the required peer count ({required})"
            ));
        }
        if required < 0 {
            return Err(format!("collection-name: {name} -- requiredPeerCount ({required}) cannot be less than zero"));
        }
        member_policy(config, bundle)?;
    }
    Ok(())
}

fn member_policy(config: &StaticCollectionConfig, bundle: &Bundle) -> Result<(), String> {
    let name = &config.name;
    let outer = config
        .member_orgs_policy
        .as_ref()
        .ok_or_else(|| format!("collection member policy is not set for collection '{name}'"))?;
    let Some(collection_policy_config::Payload::SignaturePolicy(policy)) = &outer.payload else {
        return Err(format!("collection member org policy is empty for collection '{name}'"));
    };
    SignatureRule::compile(policy)
        .map_err(|text| format!("invalid member org policy for collection '{name}': {text}"))?;
    only_or(policy.rule.as_ref())
        .map_err(|text| format!("collection-name: {name} -- error in member org policy: {text}"))?;
    policy.identities.iter().try_for_each(|principal| member(name, principal, bundle))
}

fn only_or(rule: Option<&SignaturePolicy>) -> Result<(), String> {
    let Some(Type::NOutOf(gate)) = rule.and_then(|rule| rule.r#type.as_ref()) else {
        return Ok(());
    };
    if gate.n != 1 {
        return Err(format!("signature policy is not an OR concatenation, NOutOf {}", gate.n));
    }
    gate.rules.iter().try_for_each(|rule| only_or(Some(rule)))
}

fn member(name: &str, principal: &MspPrincipal, bundle: &Bundle) -> Result<(), String> {
    let unreadable =
        |what: &str| format!("collection-name: {name} -- cannot unmarshal identity bytes into {what}: {UNREADABLE}");
    let org = match Classification::try_from(principal.principal_classification) {
        Ok(Classification::Role) => {
            MspRole::decode(&principal.principal[..]).map_err(|_| unreadable("MSPRole"))?.msp_identifier
        }
        Ok(Classification::OrganizationUnit) => {
            OrganizationUnit::decode(&principal.principal[..])
                .map_err(|_| unreadable("OrganizationUnit"))?
                .msp_identifier
        }
        Ok(Classification::Identity) => {
            let known =
                Identity::parse(&principal.principal).is_ok_and(|identity| bundle.msps.contains_key(&identity.msp_id));
            return if known {
                Ok(())
            } else {
                Err(format!("collection-name: {name} -- contains an identity that is not part of the channel"))
            };
        }
        other => {
            let shown = other
                .map_or_else(|_| principal.principal_classification.to_string(), |kind| kind.as_str_name().to_owned());
            return Err(format!("collection-name: {name} -- principal type {shown} is not supported"));
        }
    };
    if bundle.msps.contains_key(&org) {
        return Ok(());
    }
    Err(format!("collection-name: {name} -- collection member '{org}' is not part of the channel"))
}

/// Collections that exist may not go, nor live longer or shorter.
pub fn keeps(proposed: &[&StaticCollectionConfig], committed: &CollectionConfigPackage) -> Result<(), String> {
    if committed.config.is_empty() {
        return Ok(());
    }
    if proposed.is_empty() {
        return Err("the proposed collection config does not contain previously defined collections".to_owned());
    }
    for old in configs(committed).map_err(|_| "unknown collection configuration type".to_owned())? {
        let name = &old.name;
        let new = proposed
            .iter()
            .find(|new| new.name == *name)
            .ok_or_else(|| format!("existing collection [{name}] missing in the proposed collection configuration"))?;
        if new.block_to_live != old.block_to_live {
            return Err(format!(
                "the BlockToLive in an existing collection [{name}] modified. Existing value [{}]",
                old.block_to_live
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_by_fabric() {
        for good in ["a", "A1", "a-b_c", "0"] {
            assert_eq!(names(good, "1"), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "a--b", "a.b", "ä"] {
            assert!(names(bad, "1").unwrap_err().starts_with("invalid chaincode name"), "{bad}");
        }
        assert!(names("qscc", "1").is_err());
        assert_eq!(names("a", "1.0+b_c-d"), Ok(()));
        assert!(names("a", "").is_err());
        assert!(names("a", "1/2").is_err());
    }
}
