//! From [`ChannelConfig`] to Fabric's tree.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use tenter_fabric_wire::{common, etcdraft, orderer, protos};

use super::{
    APPLICATION, ApplicationConfig, CHANNEL, ChannelConfig, Consensus, ConsensusState, CurrentConfig, Element, ORDERER,
    OrdererConfig, key, map, usual_mod_policy,
};
use crate::policy::defaults::Policies;

/// Values of a group, by key, encoded.
type Values = BTreeMap<&'static str, Vec<u8>>;
type Groups = BTreeMap<String, common::ConfigGroup>;

impl ChannelConfig {
    /// The encoded `common.Config`. Equal configurations give equal bytes.
    pub fn to_config_bytes(&self) -> Vec<u8> {
        common::Config { sequence: self.sequence, channel_group: Some(self.to_config_group()) }.encode_to_vec()
    }

    /// The tree of elements, with their versions.
    pub(crate) fn to_config_group(&self) -> common::ConfigGroup {
        Writer { config: self, current: None, unchanged: &Unchanged::default() }.tree()
    }

    /// The tree of elements with what only `current` knows, as [`Self::carrying_over`] has it, and without the organisations
    /// that are as in `current`: those are named beside it.
    pub(super) fn to_config_group_over(&self, current: &CurrentConfig) -> (common::ConfigGroup, Unchanged<'_>) {
        let unchanged = Unchanged::of(self, current.config());
        let tree = Writer { config: self, current: Some(current.config()), unchanged: &unchanged }.tree();
        (tree, unchanged)
    }
}

/// Organisations whose groups are as they were.
#[derive(Default)]
pub(super) struct Unchanged<'a> {
    orderer: BTreeSet<&'a str>,
    application: BTreeSet<&'a str>,
}

impl<'a> Unchanged<'a> {
    fn of(config: &'a ChannelConfig, current: &ChannelConfig) -> Self {
        // Any of these may be of an organisation.
        let alike = config.other_values.iter().all(|(element, bytes)| current.other_values.get(element) == Some(bytes))
            && config.mod_policies.iter().all(|(element, policy)| current.mod_policies.get(element) == Some(policy));
        if !alike {
            return Self::default();
        }
        Self {
            orderer: equal(&config.orderer.organizations, &current.orderer.organizations),
            application: equal(&config.application.organizations, &current.application.organizations),
        }
    }

    /// Those in the group of this name below the root.
    pub(super) fn below(&self, group: &str) -> Option<&BTreeSet<&'a str>> {
        match group {
            "Orderer" => Some(&self.orderer),
            "Application" => Some(&self.application),
            _ => None,
        }
    }
}

/// The names that have the same in both.
fn equal<'a, T: PartialEq>(one: &'a BTreeMap<String, T>, other: &BTreeMap<String, T>) -> BTreeSet<&'a str> {
    one.iter().filter(|(name, value)| other.get(*name) == Some(*value)).map(|(name, _)| name.as_str()).collect()
}

/// Writes a configuration.
struct Writer<'a> {
    config: &'a ChannelConfig,
    /// Where what the configuration does not speak of is taken from.
    current: Option<&'a ChannelConfig>,
    /// What is left out.
    unchanged: &'a Unchanged<'a>,
}

impl Writer<'_> {
    fn tree(&self) -> common::ConfigGroup {
        let config = self.config;
        let mut values = Values::new();
        let algorithm = common::HashingAlgorithm { name: config.hashing_algorithm.clone() };
        values.insert(key::HASHING_ALGORITHM, algorithm.encode_to_vec());
        let structure = common::BlockDataHashingStructure { width: config.block_data_hashing_width };
        values.insert(key::BLOCK_DATA_HASHING_STRUCTURE, structure.encode_to_vec());
        if !config.orderer_addresses.is_empty() {
            let addresses = common::OrdererAddresses { addresses: config.orderer_addresses.clone() };
            values.insert(key::ORDERER_ADDRESSES, addresses.encode_to_vec());
        }
        let carried = self.current.and_then(|current| current.consortium.as_ref());
        if let Some(name) = config.consortium.as_ref().or(carried) {
            values.insert(key::CONSORTIUM, common::Consortium { name: name.clone() }.encode_to_vec());
        }
        capabilities(&mut values, &config.capabilities);
        let groups = Groups::from([
            ("Orderer".to_owned(), self.orderer_group(&config.orderer)),
            ("Application".to_owned(), self.application_group(&config.application)),
        ]);
        self.group(CHANNEL, values, &config.policies, groups)
    }

    fn orderer_group(&self, orderer: &OrdererConfig) -> common::ConfigGroup {
        let mut values = Values::new();
        let batch = &orderer.batch;
        let size = orderer::BatchSize {
            max_message_count: batch.max_message_count,
            absolute_max_bytes: batch.absolute_max_bytes,
            preferred_max_bytes: batch.preferred_max_bytes,
        };
        values.insert(key::BATCH_SIZE, size.encode_to_vec());
        let timeout = orderer::BatchTimeout { timeout: batch.timeout.clone() };
        values.insert(key::BATCH_TIMEOUT, timeout.encode_to_vec());
        if let Some(max_count) = orderer.max_channels {
            values.insert(key::CHANNEL_RESTRICTIONS, orderer::ChannelRestrictions { max_count }.encode_to_vec());
        }
        capabilities(&mut values, &orderer.capabilities);
        consensus(&mut values, orderer);
        let changed = |(name, _): &(&String, _)| !self.unchanged.orderer.contains(name.as_str());
        let groups = orderer.organizations.iter().filter(changed).map(|(name, organization)| {
            let mut values = Values::from([(key::MSP, organization.msp.to_bytes())]);
            if !organization.endpoints.is_empty() {
                let endpoints = common::OrdererAddresses { addresses: organization.endpoints.clone() };
                values.insert(key::ENDPOINTS, endpoints.encode_to_vec());
            }
            let path = format!("{ORDERER}/{name}");
            (name.clone(), self.group(&path, values, &organization.policies, Groups::new()))
        });
        self.group(ORDERER, values, &orderer.policies, groups.collect())
    }

    fn application_group(&self, application: &ApplicationConfig) -> common::ConfigGroup {
        let mut values = Values::new();
        capabilities(&mut values, &application.capabilities);
        if !application.acls.is_empty() {
            let acls = application.acls.iter().map(|(resource, policy)| {
                (resource.clone(), protos::ApiResource { policy_ref: policy.clone() }.encode_to_vec())
            });
            values.insert(key::ACLS, map::encode(acls));
        }
        let changed = |(name, _): &(&String, _)| !self.unchanged.application.contains(name.as_str());
        let groups = application.organizations.iter().filter(changed).map(|(name, organization)| {
            let mut values = Values::from([(key::MSP, organization.msp.to_bytes())]);
            if !organization.anchors.is_empty() {
                let anchor_peers = organization
                    .anchors
                    .iter()
                    .map(|anchor| protos::AnchorPeer { host: anchor.host.clone(), port: anchor.port.into() })
                    .collect();
                values.insert(key::ANCHOR_PEERS, protos::AnchorPeers { anchor_peers }.encode_to_vec());
            }
            let path = format!("{APPLICATION}/{name}");
            (name.clone(), self.group(&path, values, &organization.policies, Groups::new()))
        });
        self.group(APPLICATION, values, &application.policies, groups.collect())
    }

    /// The configuration, and after it what it is carried over from.
    fn sources(&self) -> impl Iterator<Item = &ChannelConfig> {
        [self.config].into_iter().chain(self.current)
    }

    fn mod_policy(&self, element: &str) -> String {
        let known = self.sources().find_map(|config| config.mod_policies.get(element));
        known.map_or_else(|| usual_mod_policy(element).to_owned(), Clone::clone)
    }

    fn group(&self, path: &str, values: Values, policies: &Policies, groups: Groups) -> common::ConfigGroup {
        let element = Element::Group.at(path);
        let prefix = Element::Value.of(path, "");
        // A typed value replaces one that was kept as bytes.
        let mut all: BTreeMap<String, Vec<u8>> =
            values.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        for config in self.sources() {
            let kept = config.other_values.range(prefix.clone()..);
            let kept = kept.map_while(|(element, bytes)| Some((element.strip_prefix(&prefix)?, bytes)));
            for (name, bytes) in kept.filter(|(name, _)| !name.contains('/')) {
                all.entry(name.to_owned()).or_insert_with(|| bytes.clone());
            }
        }
        let values = all.into_iter().map(|(name, value)| {
            let element = Element::Value.of(path, &name);
            let version = self.config.version(&element);
            (name, common::ConfigValue { version, value, mod_policy: self.mod_policy(&element) })
        });
        let policies = policies.iter().map(|(name, policy)| {
            let element = Element::Policy.of(path, name);
            let version = self.config.version(&element);
            let policy = Some(policy.to_wire());
            (name.clone(), common::ConfigPolicy { version, policy, mod_policy: self.mod_policy(&element) })
        });
        common::ConfigGroup {
            version: self.config.version(&element),
            groups,
            values: values.collect(),
            policies: policies.collect(),
            mod_policy: self.mod_policy(&element),
        }
    }
}

fn capabilities(values: &mut Values, capabilities: &BTreeSet<String>) {
    if !capabilities.is_empty() {
        let entries = capabilities.iter().map(|name| (name.clone(), Vec::new()));
        values.insert(key::CAPABILITIES, map::encode(entries));
    }
}

fn consensus(values: &mut Values, orderer: &OrdererConfig) {
    let (kind, metadata) = match &orderer.consensus {
        Consensus::EtcdRaft { consenters, options } => {
            let metadata = etcdraft::ConfigMetadata {
                consenters: consenters.iter().map(super::RaftConsenter::to_wire).collect(),
                options: Some(options.to_wire()),
            };
            ("etcdraft", metadata.encode_to_vec())
        }
        Consensus::Bft { consenters, options } => {
            let consenter_mapping = consenters.iter().map(super::BftConsenter::to_wire).collect();
            values.insert(key::ORDERERS, common::Orderers { consenter_mapping }.encode_to_vec());
            ("BFT", options.to_wire().encode_to_vec())
        }
        Consensus::Other { kind, metadata } => (kind.as_str(), metadata.clone()),
    };
    let state = match orderer.state {
        ConsensusState::Normal => orderer::consensus_type::State::Normal,
        ConsensusState::Maintenance => orderer::consensus_type::State::Maintenance,
    };
    let kind = orderer::ConsensusType { r#type: kind.to_owned(), metadata, state: state.into() };
    values.insert(key::CONSENSUS_TYPE, kind.encode_to_vec());
}
