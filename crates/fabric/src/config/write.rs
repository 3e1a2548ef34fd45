//! From [`ChannelConfig`] to Fabric's tree.

use std::collections::BTreeMap;

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
        self.to_tree(None)
    }

    /// The tree of elements, in which organisations that are as in `current` are its very groups.
    pub(super) fn to_config_group_like(&self, current: &CurrentConfig) -> common::ConfigGroup {
        let config = current.config();
        let is_like = self.other_values == config.other_values && self.mod_policies == config.mod_policies;
        self.to_tree(is_like.then_some(current))
    }

    fn to_tree(&self, like: Option<&CurrentConfig>) -> common::ConfigGroup {
        let mut values = Values::new();
        let algorithm = common::HashingAlgorithm { name: self.hashing_algorithm.clone() };
        values.insert(key::HASHING_ALGORITHM, algorithm.encode_to_vec());
        let structure = common::BlockDataHashingStructure { width: self.block_data_hashing_width };
        values.insert(key::BLOCK_DATA_HASHING_STRUCTURE, structure.encode_to_vec());
        if !self.orderer_addresses.is_empty() {
            let addresses = common::OrdererAddresses { addresses: self.orderer_addresses.clone() };
            values.insert(key::ORDERER_ADDRESSES, addresses.encode_to_vec());
        }
        if let Some(name) = &self.consortium {
            values.insert(key::CONSORTIUM, common::Consortium { name: name.clone() }.encode_to_vec());
        }
        capabilities(&mut values, &self.capabilities);
        let groups = Groups::from([
            ("Orderer".to_owned(), self.orderer_group(&self.orderer, like)),
            ("Application".to_owned(), self.application_group(&self.application, like)),
        ]);
        self.group(CHANNEL, values, &self.policies, groups)
    }

    fn orderer_group(&self, orderer: &OrdererConfig, like: Option<&CurrentConfig>) -> common::ConfigGroup {
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
        let groups = orderer.organizations.iter().map(|(name, organization)| {
            let same = like.filter(|like| like.config().orderer.organizations.get(name) == Some(organization));
            if let Some(group) = same.and_then(|like| like.group().groups.get("Orderer")?.groups.get(name)) {
                return (name.clone(), group.clone());
            }
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

    fn application_group(&self, application: &ApplicationConfig, like: Option<&CurrentConfig>) -> common::ConfigGroup {
        let mut values = Values::new();
        capabilities(&mut values, &application.capabilities);
        if !application.acls.is_empty() {
            let acls = application.acls.iter().map(|(resource, policy)| {
                (resource.clone(), protos::ApiResource { policy_ref: policy.clone() }.encode_to_vec())
            });
            values.insert(key::ACLS, map::encode(acls));
        }
        let groups = application.organizations.iter().map(|(name, organization)| {
            let same = like.filter(|like| like.config().application.organizations.get(name) == Some(organization));
            if let Some(group) = same.and_then(|like| like.group().groups.get("Application")?.groups.get(name)) {
                return (name.clone(), group.clone());
            }
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

    fn mod_policy(&self, element: &str) -> String {
        self.mod_policies.get(element).map_or_else(|| usual_mod_policy(element).to_owned(), Clone::clone)
    }

    fn group(&self, path: &str, values: Values, policies: &Policies, groups: Groups) -> common::ConfigGroup {
        let element = Element::Group.at(path);
        let prefix = Element::Value.at(&format!("{path}/"));
        let kept = self
            .other_values
            .range(prefix.clone()..)
            .map_while(|(element, bytes)| Some((element.strip_prefix(&prefix)?, bytes.clone())))
            .filter(|(name, _)| !name.contains('/'));
        // A typed value replaces one that was kept as bytes.
        let mut all: BTreeMap<String, Vec<u8>> = kept.map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        all.extend(values.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)));
        let values = all.into_iter().map(|(name, value)| {
            let element = Element::Value.at(&format!("{path}/{name}"));
            let version = self.version(&element);
            (name, common::ConfigValue { version, value, mod_policy: self.mod_policy(&element) })
        });
        let policies = policies.iter().map(|(name, policy)| {
            let element = Element::Policy.at(&format!("{path}/{name}"));
            let version = self.version(&element);
            let policy = Some(policy.to_wire());
            (name.clone(), common::ConfigPolicy { version, policy, mod_policy: self.mod_policy(&element) })
        });
        common::ConfigGroup {
            version: self.version(&element),
            groups,
            values: values.collect(),
            policies: policies.collect(),
            mod_policy: self.mod_policy(&element),
        }
    }
}

fn capabilities(values: &mut Values, capabilities: &std::collections::BTreeSet<String>) {
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
