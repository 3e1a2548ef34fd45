//! What stands in a channel's groups, and what Fabric finds wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message;
use tenter_fabric_wire::common::{
    BlockDataHashingStructure, Capabilities, ConfigGroup, Consortium, HashingAlgorithm, OrdererAddresses, Orderers,
    Policy,
};
use tenter_fabric_wire::msp::MspConfig;
use tenter_fabric_wire::orderer::{BatchSize, BatchTimeout, ChannelRestrictions, ConsensusType};
use tenter_fabric_wire::protos::{Acls, AnchorPeers};

use super::{Endpoint, Msps, Organization, UNREADABLE};
use crate::msp::{Level, Msp};
use crate::prototext;
use crate::settings;

/// A channel's group, read.
pub(super) struct Channel {
    pub msps: Msps,
    pub orderer: Option<Orderer>,
    pub application: Option<BTreeMap<String, Organization>>,
    pub application_capabilities: BTreeSet<String>,
    pub consortiums: Option<BTreeMap<String, BTreeMap<String, Organization>>>,
    pub capabilities: BTreeSet<String>,
    pub addresses: Vec<String>,
}

/// The Orderer group, read.
pub(super) struct Orderer {
    pub consensus_type: ConsensusType,
    pub orderers: Orderers,
    pub batch_size: BatchSize,
    pub batch_timeout: Duration,
    pub capabilities: BTreeSet<String>,
    pub orgs: BTreeMap<String, Organization>,
}

/// Capabilities of the channel or the application need those of the ordering service.
pub(super) fn check_capability_levels(root: &ConfigGroup) -> Result<(), String> {
    let has = |group: &ConfigGroup| group.values.contains_key("Capabilities");
    let Some(orderer) = root.groups.get("Orderer") else {
        return Ok(());
    };
    if has(orderer) {
        return Ok(());
    }
    if has(root) {
        return Err("cannot enable channel capabilities without orderer support first".to_owned());
    }
    if root.groups.get("Application").is_some_and(has) {
        return Err("cannot enable application capabilities without orderer support first".to_owned());
    }
    Ok(())
}

/// Whether the channel may change its consensus type, and orderer organisations have endpoints of their own.
pub(super) fn allows_migration(capabilities: &BTreeSet<String>) -> bool {
    ["V1_4_2", "V1_4_3", "V2_0", "V3_0"].iter().any(|name| capabilities.contains(*name))
}

pub(super) fn has_v3(capabilities: &BTreeSet<String>) -> bool {
    capabilities.contains("V3_0")
}

/// The capability of a level that this version does not know, if there is one.
pub(super) fn unsupported(level: &str, capabilities: &BTreeSet<String>) -> Option<String> {
    let known: &[&str] = match level {
        "Orderer" => &["V1_1", "V1_4_2", "V2_0"],
        "Application" => &["V1_1", "V1_2", "V1_3", "V1_4_2", "V2_0", "V2_5"],
        _ => &["V1_1", "V1_3", "V1_4_2", "V1_4_3", "V2_0", "V3_0"],
    };
    capabilities
        .iter()
        .find(|name| !known.contains(&name.as_str()))
        .map(|unknown| format!("{level} capability {unknown} is required but not supported"))
}

/// Whether orderers of this version know all of the capabilities that a level demands.
pub(super) fn check_supported(level: &str, capabilities: &BTreeSet<String>) -> Result<(), String> {
    unsupported(level, capabilities).map_or(Ok(()), |text| {
        let level = level.to_lowercase();
        Err(format!("config requires unsupported {level} capabilities: {text}: {text}"))
    })
}

/// Decodes one of a group's values; the default where there is none.
fn value<T: Message + Default>(group: &ConfigGroup, name: &str) -> Result<T, String> {
    match group.values.get(name) {
        None => Ok(T::default()),
        Some(value) => T::decode(&value.value[..]).map_err(|_| unreadable()),
    }
}

fn unreadable() -> String {
    format!("failed to deserialize values: {UNREADABLE}")
}

fn refuse_unknown_values(group: &ConfigGroup, known: &[&str]) -> Result<(), String> {
    match group.values.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("failed to deserialize values: Unexpected key {name}")),
        None => Ok(()),
    }
}

fn capabilities(group: &ConfigGroup) -> Result<BTreeSet<String>, String> {
    Ok(value::<Capabilities>(group, "Capabilities")?.capabilities.into_keys().collect())
}

/// Reads the channel's group and all below it.
pub(super) fn channel(root: &ConfigGroup) -> Result<Channel, String> {
    const VALUES: [&str; 6] =
        ["HashingAlgorithm", "BlockDataHashingStructure", "OrdererAddresses", "Orderers", "Consortium", "Capabilities"];
    refuse_unknown_values(root, &VALUES)?;
    let hashing: HashingAlgorithm = value(root, "HashingAlgorithm")?;
    let structure: BlockDataHashingStructure = value(root, "BlockDataHashingStructure")?;
    let addresses = value::<OrdererAddresses>(root, "OrdererAddresses")?.addresses;
    value::<Orderers>(root, "Orderers")?;
    value::<Consortium>(root, "Consortium")?;
    let capabilities = capabilities(root)?;
    if !["SHA256", "SHA3_256"].contains(&hashing.name.as_str()) {
        return Err(format!("Unknown hashing algorithm type: {}", hashing.name));
    }
    if structure.width != u32::MAX {
        return Err("BlockDataHashStructure width only supported at MaxUint32 in this version".to_owned());
    }
    if !allows_migration(&capabilities) && addresses.is_empty() {
        return Err("Must set some OrdererAddresses".to_owned());
    }
    if has_v3(&capabilities) && !addresses.is_empty() {
        return Err(
            "global OrdererAddresses are not allowed with V3_0 capability, use org specific addresses only".to_owned()
        );
    }
    let mut members = Members::new(&capabilities);
    let mut found = Channel {
        msps: Msps::new(),
        orderer: None,
        application: None,
        application_capabilities: BTreeSet::new(),
        consortiums: None,
        addresses,
        capabilities: capabilities.clone(),
    };
    for (name, group) in &root.groups {
        let context = |text: String| format!("could not create channel {name} sub-group config: {text}");
        match name.as_str() {
            "Application" => {
                found.application = Some(members.application(group).map_err(context)?);
                found.application_capabilities = self::capabilities(group)?;
            }
            "Orderer" => found.orderer = Some(members.orderer(group, &capabilities).map_err(context)?),
            "Consortiums" => found.consortiums = Some(members.consortiums(group).map_err(context)?),
            _ => return Err(format!("Disallowed channel group: {}", prototext::config_group(group))),
        }
    }
    found.msps = members.msps;
    Ok(found)
}

/// The organisations that were read so far: an MSP ID has one definition in a channel.
struct Members {
    level: Level,
    definitions: BTreeMap<String, MspConfig>,
    msps: Msps,
}

impl Members {
    fn new(capabilities: &BTreeSet<String>) -> Self {
        let level = if has_v3(capabilities) { Level::V3_0 } else { Level::V1_4_3 };
        Self { level, definitions: BTreeMap::new(), msps: Msps::new() }
    }

    fn organization(
        &mut self,
        name: &str,
        group: &ConfigGroup,
        (no_subgroups, more): (&str, &[&str]),
    ) -> Result<Organization, String> {
        if !group.groups.is_empty() {
            return Err(no_subgroups.to_owned());
        }
        let known: Vec<&str> = more.iter().copied().chain(["MSP"]).collect();
        refuse_unknown_values(group, &known)?;
        value::<AnchorPeers>(group, "AnchorPeers")?;
        let endpoints = value::<OrdererAddresses>(group, "Endpoints")?.addresses;
        let definition: MspConfig = value(group, "MSP")?;
        let msp_id = self.propose(definition)?;
        if msp_id.is_empty() {
            return Err(format!("MSP for org {name} has empty MSP ID"));
        }
        Ok(Organization { msp_id, endpoints })
    }

    fn propose(&mut self, definition: MspConfig) -> Result<String, String> {
        // Type 1 (Idemix) exists in Fabric, but not here.
        if definition.r#type != 0 {
            return Err(format!("Setup error: unsupported msp type {}", definition.r#type));
        }
        let msp = Msp::from_wire(&definition, self.level)
            .map_err(|error| format!("setting up the MSP manager failed: {error}"))?;
        let id = msp.id.clone();
        match self.definitions.get(&id) {
            Some(other) if *other != definition => {
                Err(format!("Attempted to define two different versions of MSP: {id}"))
            }
            Some(_) => Ok(id),
            None => {
                self.definitions.insert(id.clone(), definition);
                self.msps.insert(id.clone(), msp);
                Ok(id)
            }
        }
    }

    fn organizations(
        &mut self,
        group: &ConfigGroup,
        kind: (&str, &[&str]),
    ) -> Result<BTreeMap<String, Organization>, String> {
        group.groups.iter().map(|(name, org)| Ok((name.clone(), self.organization(name, org, kind)?))).collect()
    }

    fn application(&mut self, group: &ConfigGroup) -> Result<BTreeMap<String, Organization>, String> {
        refuse_unknown_values(group, &["ACLs", "Capabilities"])?;
        value::<Acls>(group, "ACLs")?;
        let capabilities = capabilities(group)?;
        let allows_acls = ["V1_2", "V1_3", "V1_4_2", "V2_0", "V2_5"].iter().any(|name| capabilities.contains(*name));
        if !allows_acls && group.values.contains_key("ACLs") {
            return Err("ACLs may not be specified without the required capability".to_owned());
        }
        self.organizations(group, ("ApplicationOrg config does not allow sub-groups", &["AnchorPeers"]))
    }

    fn orderer(&mut self, group: &ConfigGroup, channel: &BTreeSet<String>) -> Result<Orderer, String> {
        const VALUES: [&str; 7] = [
            "ConsensusType",
            "BatchSize",
            "BatchTimeout",
            "KafkaBrokers",
            "ChannelRestrictions",
            "Orderers",
            "Capabilities",
        ];
        refuse_unknown_values(group, &VALUES)?;
        let consensus_type: ConsensusType = value(group, "ConsensusType")?;
        let batch_size: BatchSize = value(group, "BatchSize")?;
        let timeout: BatchTimeout = value(group, "BatchTimeout")?;
        value::<ChannelRestrictions>(group, "ChannelRestrictions")?;
        let orderers: Orderers = value(group, "Orderers")?;
        let capabilities = capabilities(group)?;
        check_batch_size(&batch_size)?;
        let batch_timeout = batch_timeout(&timeout.timeout)?;
        if !allows_migration(channel)
            && let Some((name, _)) = group.groups.iter().find(|(_, org)| org.values.contains_key("Endpoints"))
        {
            return Err(format!(
                "Orderer Org {name} cannot contain endpoints value until V1_4_2+ capabilities have been enabled"
            ));
        }
        let orgs = self.organizations(group, ("OrdererOrg config does not allow sub-groups", &["Endpoints"]))?;
        let without: Vec<&str> =
            orgs.iter().filter(|(_, org)| org.endpoints.is_empty()).map(|(name, _)| name.as_str()).collect();
        if has_v3(channel) && !without.is_empty() {
            return Err(format!("some orderer organizations endpoints are empty: [{}]", without.join(" ")));
        }
        Ok(Orderer { consensus_type, orderers, batch_size, batch_timeout, capabilities, orgs })
    }

    fn consortiums(&mut self, group: &ConfigGroup) -> Result<BTreeMap<String, BTreeMap<String, Organization>>, String> {
        let mut found = BTreeMap::new();
        for (name, consortium) in &group.groups {
            refuse_unknown_values(consortium, &["ChannelCreationPolicy"])?;
            value::<Policy>(consortium, "ChannelCreationPolicy")?;
            found.insert(
                name.clone(),
                self.organizations(consortium, ("organizations do not support sub-groups", &[]))?,
            );
        }
        Ok(found)
    }
}

fn check_batch_size(size: &BatchSize) -> Result<(), String> {
    for (what, number) in [
        ("max message count", size.max_message_count),
        ("absolute max bytes", size.absolute_max_bytes),
        ("preferred max bytes", size.preferred_max_bytes),
    ] {
        if number == 0 {
            return Err(format!("Attempted to set the batch size {what} to an invalid value: 0"));
        }
    }
    if size.preferred_max_bytes > size.absolute_max_bytes {
        return Err(format!(
            "Attempted to set the batch size preferred max bytes ({}) greater than the absolute max bytes ({}).",
            size.preferred_max_bytes, size.absolute_max_bytes
        ));
    }
    Ok(())
}

fn batch_timeout(text: &str) -> Result<Duration, String> {
    let parsed = settings::parse_go_duration(text)
        .map_err(|error| format!("Attempted to set the batch timeout to a invalid value: {error}"))?;
    match u64::try_from(parsed) {
        Ok(nanos) if nanos > 0 => Ok(Duration::from_nanos(nanos)),
        Ok(_) => Err("Attempted to set the batch timeout to a non-positive value: 0s".to_owned()),
        Err(_) => Err(format!("Attempted to set the batch timeout to a non-positive value: {text}")),
    }
}

/// Addresses of the ordering service: those of the organisations, or else the channel's own.
pub(super) fn endpoints(addresses: &[String], orgs: &BTreeMap<String, Organization>, msps: &Msps) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for org in orgs.values() {
        let roots = msps.get(&org.msp_id).map(|msp| msp.tls_roots.clone()).unwrap_or_default();
        found.extend(org.endpoints.iter().map(|address| Endpoint { address: address.clone(), roots: roots.clone() }));
    }
    if found.is_empty() {
        let roots: Vec<Vec<u8>> = msps.values().flat_map(|msp| msp.tls_roots.clone()).collect();
        found.extend(addresses.iter().map(|address| Endpoint { address: address.clone(), roots: roots.clone() }));
    }
    found
}
