//! From Fabric's tree to [`ChannelConfig`].

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost::bytes::Bytes;
use tenter_fabric_wire::{common, etcdraft, orderer, protos, smartbft};

use super::consensus::port;
use super::{
    APPLICATION, Anchor, ApplicationConfig, ApplicationOrganization, Batch, BftConsenter, BftOptions, CHANNEL,
    ChannelConfig, Consensus, ConsensusState, Element, ORDERER, OrdererConfig, OrdererOrganization, RaftConsenter,
    RaftOptions, key, map, tree, usual_mod_policy,
};
use crate::block::{Block, BlockError};
use crate::exact::{self, Inexact};
use crate::msp::{MspDefinition, MspError};
use crate::policy::Policy;
use crate::policy::defaults::Policies;

/// Why a configuration cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Bytes that are not a configuration.
    #[error("the channel configuration cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    /// The bytes hold something that would be lost by writing them again.
    #[error("the channel configuration has parts that this version does not know; use a newer version")]
    Unknown,
    /// A value that is not the message it should be.
    #[error("{element} cannot be decoded")]
    Value {
        /// The element, as [`Element::at`] writes it.
        element: String,
        /// Why.
        #[source]
        source: prost::DecodeError,
    },
    /// A value that holds something that would be lost by writing it again.
    #[error("{element} has parts that this version does not know; use a newer version")]
    UnknownPart {
        /// The element, as [`Element::at`] writes it.
        element: String,
    },
    /// An element that Fabric demands.
    #[error("{element} is missing; it is not the configuration of an application channel")]
    Missing {
        /// The element, as [`Element::at`] writes it.
        element: String,
    },
    /// A group that does not belong into an application channel.
    #[error("{element} does not belong into an application channel")]
    UnknownGroup {
        /// The element, as [`Element::at`] writes it.
        element: String,
    },
    /// The MSP of an organisation.
    #[error("{element} cannot be used")]
    Msp {
        /// The element, as [`Element::at`] writes it.
        element: String,
        /// Why.
        #[source]
        source: MspError,
    },
    /// The block that should hold the configuration.
    #[error("the block holds no configuration that can be read")]
    Block(#[from] BlockError),
}

impl ChannelConfig {
    /// Reads the configuration in a config block.
    pub fn from_config_block(block: &Block) -> Result<Self, ConfigError> {
        Self::from_config_bytes(&block.config_bytes()?)
    }

    /// Reads an encoded `common.Config`, as a config block or a peer's `GetChannelConfig` holds it.
    pub fn from_config_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        let (sequence, root) = Self::decode(bytes)?;
        Self::from_tree(sequence, &root)
    }

    /// Decodes a `common.Config` into its sequence and its tree, and refuses parts that would be lost by encoding it again.
    pub(super) fn decode(bytes: &[u8]) -> Result<(u64, common::ConfigGroup), ConfigError> {
        // Values are copied once out of shared bytes, and twice out of a slice.
        let common::Config { sequence, channel_group } = common::Config::decode(Bytes::copy_from_slice(bytes))?;
        let Some(root) = channel_group else {
            return Err(ConfigError::Missing { element: Element::Group.at(CHANNEL) });
        };
        let rest = common::Config { sequence, channel_group: None }.encoded_len();
        let whole = |length: fn(&common::ConfigGroup) -> usize| rest + tree::field_length(length(&root)) == bytes.len();
        if whole(common::ConfigGroup::encoded_len) || whole(tree::go_length) {
            Ok((sequence, root))
        } else {
            Err(ConfigError::Unknown)
        }
    }

    /// Reads a decoded tree.
    pub(super) fn from_tree(sequence: u64, root: &common::ConfigGroup) -> Result<Self, ConfigError> {
        let mut reader = Reader::default();
        let mut channel = reader.open(CHANNEL, root)?;
        let orderer = read_orderer(&mut reader, channel.child("Orderer")?)?;
        let application = read_application(&mut reader, channel.child("Application")?)?;
        let hashing: common::HashingAlgorithm = channel.demand(key::HASHING_ALGORITHM)?;
        let structure: common::BlockDataHashingStructure = channel.demand(key::BLOCK_DATA_HASHING_STRUCTURE)?;
        let addresses: Option<common::OrdererAddresses> =
            channel.take_if(key::ORDERER_ADDRESSES, |value: &common::OrdererAddresses| !value.addresses.is_empty())?;
        let consortium: Option<common::Consortium> = channel.take(key::CONSORTIUM)?;
        let capabilities = channel.capabilities();
        let policies = std::mem::take(&mut channel.policies);
        reader.close(&channel)?;
        Ok(Self {
            capabilities,
            hashing_algorithm: hashing.name,
            block_data_hashing_width: structure.width,
            orderer_addresses: addresses.map(|value| value.addresses).unwrap_or_default(),
            consortium: consortium.map(|value| value.name),
            policies,
            orderer,
            application,
            other_values: reader.other_values,
            mod_policies: reader.mod_policies,
            versions: reader.versions.into_iter().flatten().collect(),
            sequence,
        })
    }
}

fn read_orderer(reader: &mut Reader, group: &common::ConfigGroup) -> Result<OrdererConfig, ConfigError> {
    let mut open = reader.open(ORDERER, group)?;
    let mut organizations = BTreeMap::new();
    for (name, child) in std::mem::take(&mut open.groups) {
        organizations.insert(name.to_owned(), read_orderer_organization(reader, &open.path_of(name), child)?);
    }
    let size: orderer::BatchSize = open.demand(key::BATCH_SIZE)?;
    let timeout: orderer::BatchTimeout = open.demand(key::BATCH_TIMEOUT)?;
    let restrictions: Option<orderer::ChannelRestrictions> = open.take(key::CHANNEL_RESTRICTIONS)?;
    let (consensus, state) = read_consensus(&mut open)?;
    let config = OrdererConfig {
        capabilities: open.capabilities(),
        consensus,
        state,
        batch: Batch {
            max_message_count: size.max_message_count,
            absolute_max_bytes: size.absolute_max_bytes,
            preferred_max_bytes: size.preferred_max_bytes,
            timeout: timeout.timeout,
        },
        max_channels: restrictions.map(|value| value.max_count),
        policies: std::mem::take(&mut open.policies),
        organizations,
    };
    reader.close(&open)?;
    Ok(config)
}

fn read_consensus(open: &mut Open<'_>) -> Result<(Consensus, ConsensusState), ConfigError> {
    let kind: orderer::ConsensusType = open.demand(key::CONSENSUS_TYPE)?;
    let unknown = || ConfigError::UnknownPart { element: open.element(key::CONSENSUS_TYPE) };
    let undecodable = |error: Inexact| error.of(open.element(key::CONSENSUS_TYPE));
    let state = match orderer::consensus_type::State::try_from(kind.state) {
        Ok(orderer::consensus_type::State::Normal) => ConsensusState::Normal,
        Ok(orderer::consensus_type::State::Maintenance) => ConsensusState::Maintenance,
        Err(_) => return Err(unknown()),
    };
    let consensus = match kind.r#type.as_str() {
        "etcdraft" => {
            let metadata: etcdraft::ConfigMetadata = exact::decode(&kind.metadata).map_err(undecodable)?;
            let consenters = metadata.consenters.into_iter().map(RaftConsenter::from_wire).collect::<Option<_>>();
            Consensus::EtcdRaft {
                consenters: consenters.ok_or_else(unknown)?,
                options: RaftOptions::from_wire(metadata.options.ok_or_else(unknown)?),
            }
        }
        "BFT" => {
            let options: smartbft::Options = exact::decode(&kind.metadata).map_err(undecodable)?;
            let options = BftOptions::from_wire(options);
            let orderers: common::Orderers = open.demand(key::ORDERERS)?;
            let consenters = orderers.consenter_mapping.into_iter().map(BftConsenter::from_wire).collect::<Option<_>>();
            let unknown = || ConfigError::UnknownPart { element: open.element(key::ORDERERS) };
            Consensus::Bft { consenters: consenters.ok_or_else(unknown)?, options }
        }
        _ => Consensus::Other { kind: kind.r#type, metadata: kind.metadata },
    };
    Ok((consensus, state))
}

fn read_orderer_organization(
    reader: &mut Reader,
    path: &str,
    group: &common::ConfigGroup,
) -> Result<OrdererOrganization, ConfigError> {
    let mut open = reader.open(path, group)?;
    let endpoints: Option<common::OrdererAddresses> =
        open.take_if(key::ENDPOINTS, |value: &common::OrdererAddresses| !value.addresses.is_empty())?;
    let organization = OrdererOrganization {
        msp: open.msp()?,
        endpoints: endpoints.map(|value| value.addresses).unwrap_or_default(),
        policies: std::mem::take(&mut open.policies),
    };
    reader.close(&open)?;
    Ok(organization)
}

fn read_application(reader: &mut Reader, group: &common::ConfigGroup) -> Result<ApplicationConfig, ConfigError> {
    let mut open = reader.open(APPLICATION, group)?;
    let mut organizations = BTreeMap::new();
    for (name, child) in std::mem::take(&mut open.groups) {
        organizations.insert(name.to_owned(), read_application_organization(reader, &open.path_of(name), child)?);
    }
    let config = ApplicationConfig {
        capabilities: open.capabilities(),
        acls: open.acls(),
        policies: std::mem::take(&mut open.policies),
        organizations,
    };
    reader.close(&open)?;
    Ok(config)
}

fn read_application_organization(
    reader: &mut Reader,
    path: &str,
    group: &common::ConfigGroup,
) -> Result<ApplicationOrganization, ConfigError> {
    let mut open = reader.open(path, group)?;
    let anchors: Option<protos::AnchorPeers> =
        open.take_if(key::ANCHOR_PEERS, |value: &protos::AnchorPeers| !value.anchor_peers.is_empty())?;
    let anchors = anchors
        .map(|value| value.anchor_peers)
        .unwrap_or_default()
        .into_iter()
        .map(|anchor| Some(Anchor { host: anchor.host, port: port(anchor.port)? }))
        .collect::<Option<_>>()
        .ok_or_else(|| ConfigError::UnknownPart { element: open.element(key::ANCHOR_PEERS) })?;
    let organization =
        ApplicationOrganization { msp: open.msp()?, anchors, policies: std::mem::take(&mut open.policies) };
    reader.close(&open)?;
    Ok(organization)
}

impl Inexact {
    fn of(self, element: String) -> ConfigError {
        match self {
            Self::Decode(source) => ConfigError::Value { element, source },
            Self::Unknown => ConfigError::UnknownPart { element },
        }
    }
}

/// Collects what does not depend on the kind of element.
#[derive(Default)]
struct Reader {
    other_values: BTreeMap<String, Vec<u8>>,
    mod_policies: BTreeMap<String, String>,
    /// Of groups, policies and values, in the order of their names as far as the tree has it: a map is quickly made of it.
    versions: [Vec<(String, u64)>; 3],
}

/// A group whose values are being taken out.
struct Open<'a> {
    path: String,
    values: BTreeMap<&'a str, &'a [u8]>,
    policies: Policies,
    groups: BTreeMap<&'a str, &'a common::ConfigGroup>,
}

impl Reader {
    fn note(&mut self, kind: Element, element: String, version: u64, mod_policy: &str) {
        if mod_policy != usual_mod_policy(&element) {
            self.mod_policies.insert(element.clone(), mod_policy.to_owned());
        }
        let [groups, policies, values] = &mut self.versions;
        let versions = match kind {
            Element::Group => groups,
            Element::Policy => policies,
            Element::Value => values,
        };
        versions.push((element, version));
    }

    fn open<'a>(&mut self, path: &str, group: &'a common::ConfigGroup) -> Result<Open<'a>, ConfigError> {
        self.note(Element::Group, Element::Group.at(path), group.version, &group.mod_policy);
        for (name, value) in &group.values {
            self.note(Element::Value, Element::Value.of(path, name), value.version, &value.mod_policy);
        }
        let mut policies = Policies::new();
        for (name, policy) in &group.policies {
            let element = Element::Policy.of(path, name);
            let Some(wire) = &policy.policy else {
                return Err(ConfigError::Missing { element });
            };
            self.note(Element::Policy, element, policy.version, &policy.mod_policy);
            policies.insert(name.clone(), Policy::from_wire(wire));
        }
        let values = group.values.iter().map(|(name, value)| (name.as_str(), value.value.as_slice())).collect();
        let groups = group.groups.iter().map(|(name, child)| (name.as_str(), child)).collect();
        Ok(Open { path: path.to_owned(), values, policies, groups })
    }

    /// Keeps the values that nobody took; refuses groups that nobody took.
    fn close(&mut self, open: &Open<'_>) -> Result<(), ConfigError> {
        if let Some(name) = open.groups.keys().next() {
            return Err(ConfigError::UnknownGroup { element: Element::Group.of(&open.path, name) });
        }
        self.other_values.extend(open.values.iter().map(|(name, bytes)| (open.element(name), bytes.to_vec())));
        Ok(())
    }
}

impl<'a> Open<'a> {
    fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    fn element(&self, name: &str) -> String {
        Element::Value.of(&self.path, name)
    }

    fn child(&mut self, name: &str) -> Result<&'a common::ConfigGroup, ConfigError> {
        self.groups.remove(name).ok_or_else(|| ConfigError::Missing { element: Element::Group.of(&self.path, name) })
    }

    fn take<M: Message + Default>(&mut self, name: &str) -> Result<Option<M>, ConfigError> {
        self.take_if(name, |_| true)
    }

    fn demand<M: Message + Default>(&mut self, name: &str) -> Result<M, ConfigError> {
        self.take(name)?.ok_or_else(|| ConfigError::Missing { element: self.element(name) })
    }

    /// Takes a value out if it is `wanted`, and leaves it to be kept as bytes otherwise. A value that is there and empty
    /// would not be written again if it were taken.
    fn take_if<M: Message + Default>(
        &mut self,
        name: &str,
        wanted: impl Fn(&M) -> bool,
    ) -> Result<Option<M>, ConfigError> {
        let Some(bytes) = self.values.get(name) else {
            return Ok(None);
        };
        let message = exact::decode(bytes).map_err(|error| error.of(self.element(name)))?;
        if !wanted(&message) {
            return Ok(None);
        }
        self.values.remove(name);
        Ok(Some(message))
    }

    /// Takes the capabilities out, if that is what the value holds and there are any; else it is kept as bytes.
    fn capabilities(&mut self) -> BTreeSet<String> {
        let plain = self
            .values
            .get(key::CAPABILITIES)
            .and_then(|bytes| map::decode(bytes))
            .filter(|entries| !entries.is_empty() && entries.iter().all(|(_, value)| value.is_empty()));
        let Some(entries) = plain else {
            return BTreeSet::new();
        };
        self.values.remove(key::CAPABILITIES);
        entries.into_iter().map(|(name, _)| name).collect()
    }

    /// Takes the ACLs out, if that is what the value holds and there are any; else it is kept as bytes.
    fn acls(&mut self) -> BTreeMap<String, String> {
        let resource = |(name, bytes): (String, Vec<u8>)| {
            let resource: protos::ApiResource = exact::decode(&bytes).ok()?;
            Some((name, resource.policy_ref))
        };
        let plain: Option<BTreeMap<String, String>> = self
            .values
            .get(key::ACLS)
            .and_then(|bytes| map::decode(bytes))
            .and_then(|entries| entries.into_iter().map(resource).collect());
        let Some(acls) = plain.filter(|acls| !acls.is_empty()) else {
            return BTreeMap::new();
        };
        self.values.remove(key::ACLS);
        acls
    }

    fn msp(&mut self) -> Result<MspDefinition, ConfigError> {
        let element = self.element(key::MSP);
        let Some(bytes) = self.values.remove(key::MSP) else {
            return Err(ConfigError::Missing { element });
        };
        MspDefinition::from_bytes(bytes).map_err(|source| ConfigError::Msp { element, source })
    }
}
