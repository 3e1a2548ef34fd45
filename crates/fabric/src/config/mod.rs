//! A channel's configuration as a domain model, and the tree that Fabric keeps it in.
//!
//! Reading and writing lose nothing: every element's version is kept, modification policies that are not the usual ones
//! are kept, values that this library does not know are kept as bytes, and what can be neither kept nor read is an
//! error. Sources: `common/channelconfig`, `internal/configtxgen/encoder`.

mod carry;
mod check;
mod consensus;
mod current;
mod diff;
mod map;
mod read;
mod topics;
mod tree;
pub mod update;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

pub use check::{ConfigProblem, check_update, check_update_against};
pub use consensus::{BftConsenter, BftOptions, Consensus, ConsensusState, LeaderRotation, RaftConsenter, RaftOptions};
pub use current::CurrentConfig;
pub use diff::{ConfigChange, diff};
pub use read::ConfigError;
pub use topics::{Topic, UnknownTopic, split, split_off};

use crate::msp::MspDefinition;
use crate::policy::defaults::{self, Policies};

/// Greatest width of the hash tree over block data, which is the only one that Fabric takes.
const FLAT: u32 = u32::MAX;
/// Modification policy of nearly all elements.
const ADMINS: &str = "Admins";
/// Modification policy of the orderer addresses.
const ORDERER_ADMINS: &str = "/Channel/Orderer/Admins";

const CHANNEL: &str = "/Channel";
const ORDERER: &str = "/Channel/Orderer";
const APPLICATION: &str = "/Channel/Application";

/// Keys of configuration values.
mod key {
    pub const ACLS: &str = "ACLs";
    pub const ANCHOR_PEERS: &str = "AnchorPeers";
    pub const BATCH_SIZE: &str = "BatchSize";
    pub const BATCH_TIMEOUT: &str = "BatchTimeout";
    pub const BLOCK_DATA_HASHING_STRUCTURE: &str = "BlockDataHashingStructure";
    pub const CAPABILITIES: &str = "Capabilities";
    pub const CHANNEL_RESTRICTIONS: &str = "ChannelRestrictions";
    pub const CONSENSUS_TYPE: &str = "ConsensusType";
    pub const CONSORTIUM: &str = "Consortium";
    pub const ENDPOINTS: &str = "Endpoints";
    pub const HASHING_ALGORITHM: &str = "HashingAlgorithm";
    pub const MSP: &str = "MSP";
    pub const ORDERERS: &str = "Orderers";
    pub const ORDERER_ADDRESSES: &str = "OrdererAddresses";
}

/// What kind of element a path leads to. Groups, values and policies of the same name may stand side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A group.
    Group,
    /// A value.
    Value,
    /// A policy.
    Policy,
}

impl Element {
    /// The name of the element at `path` as Fabric writes it in its messages: `[Value]  /Channel/Orderer/BatchSize`,
    /// with two blanks after groups and values and one after policies (`common/configtx/configmap.go`).
    pub fn at(self, path: &str) -> String {
        [self.kind(), path].concat()
    }

    /// The name of the element `name` of the group at `path`.
    fn of(self, path: &str, name: &str) -> String {
        [self.kind(), path, "/", name].concat()
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Group => "[Group]  ",
            Self::Value => "[Value]  ",
            Self::Policy => "[Policy] ",
        }
    }
}

/// The configuration of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelConfig {
    /// What every node must be able to do, such as `V3_0`.
    pub capabilities: BTreeSet<String>,
    /// Name of the hash algorithm: `SHA256`.
    pub hashing_algorithm: String,
    /// Width of the hash tree over block data; Fabric only takes the greatest.
    pub block_data_hashing_width: u32,
    /// Orderer addresses for the whole channel, `host:port`; must be empty with capability `V3_0`.
    pub orderer_addresses: Vec<String>,
    /// The consortium of channels that were created through a system channel.
    pub consortium: Option<String>,
    /// Policies of the channel, by name.
    pub policies: Policies,
    /// The ordering service.
    pub orderer: OrdererConfig,
    /// The organisations that run peers.
    pub application: ApplicationConfig,
    /// Values that this library does not know, or keeps as they came, by [`Element::at`].
    #[serde(serialize_with = "hex_map")]
    pub other_values: BTreeMap<String, Vec<u8>>,
    /// Modification policies that are not the usual ones, by [`Element::at`].
    pub mod_policies: BTreeMap<String, String>,
    /// Versions of the elements, by [`Element::at`]; an element that is not listed has version 0.
    pub versions: BTreeMap<String, u64>,
    /// How often the configuration was changed. It is no lock: Fabric compares the versions of the elements.
    pub sequence: u64,
}

/// The ordering service's part of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrdererConfig {
    /// What every orderer must be able to do, such as `V2_0`.
    pub capabilities: BTreeSet<String>,
    /// How blocks are agreed on.
    pub consensus: Consensus,
    /// Whether the channel is in maintenance.
    pub state: ConsensusState,
    /// When a block is cut.
    pub batch: Batch,
    /// Greatest number of channels, 0 for no limit; `None` if the configuration does not say.
    pub max_channels: Option<u64>,
    /// Policies of the ordering service, by name.
    pub policies: Policies,
    /// Organisations that run orderers, by name.
    pub organizations: BTreeMap<String, OrdererOrganization>,
}

/// When a block is cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Batch {
    /// Greatest number of transactions in a block.
    pub max_message_count: u32,
    /// Greatest size of a block's transactions, in bytes.
    pub absolute_max_bytes: u32,
    /// Size at which a block is cut, in bytes.
    pub preferred_max_bytes: u32,
    /// Longest wait for a block to fill, as a Go duration such as `2s`.
    pub timeout: String,
}

impl Default for Batch {
    /// 500 transactions, 10 MiB, 2 MiB, 2 seconds, as configtxgen has it.
    fn default() -> Self {
        Self {
            max_message_count: 500,
            absolute_max_bytes: 10 << 20,
            preferred_max_bytes: 2 << 20,
            timeout: "2s".to_owned(),
        }
    }
}

/// An organisation that runs orderers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrdererOrganization {
    /// How its identities are known.
    pub msp: MspDefinition,
    /// Addresses of its orderers, `host:port`.
    pub endpoints: Vec<String>,
    /// Its policies, by name.
    pub policies: Policies,
}

/// The application's part of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApplicationConfig {
    /// What every peer must be able to do, such as `V2_5`.
    pub capabilities: BTreeSet<String>,
    /// Policies that guard resources, as references, by the resource's name.
    pub acls: BTreeMap<String, String>,
    /// Policies of the application, by name.
    pub policies: Policies,
    /// Organisations that run peers, by name.
    pub organizations: BTreeMap<String, ApplicationOrganization>,
}

/// An organisation that runs peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApplicationOrganization {
    /// How its identities are known.
    pub msp: MspDefinition,
    /// Peers that other organisations' peers contact first.
    pub anchors: Vec<Anchor>,
    /// Its policies, by name.
    pub policies: Policies,
}

/// An anchor peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Anchor {
    /// Host name.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl ChannelConfig {
    /// A configuration with the usual hashes, policies and batches, without organisations and without ACLs: capability
    /// `V3_0` for the channel, `V2_0` for the orderers, `V2_5` for the application.
    ///
    /// With BFT consensus, `BlockValidation` is the policy that Fabric demands for these consenters.
    pub fn new(consensus: Consensus) -> Self {
        let capability = |name: &str| BTreeSet::from([name.to_owned()]);
        let mut config = Self {
            capabilities: capability("V3_0"),
            hashing_algorithm: "SHA256".to_owned(),
            block_data_hashing_width: FLAT,
            orderer_addresses: Vec::new(),
            consortium: None,
            policies: defaults::channel(),
            orderer: OrdererConfig {
                capabilities: capability("V2_0"),
                consensus,
                state: ConsensusState::Normal,
                batch: Batch::default(),
                max_channels: Some(0),
                policies: defaults::orderer(),
                organizations: BTreeMap::new(),
            },
            application: ApplicationConfig {
                capabilities: capability("V2_5"),
                acls: BTreeMap::new(),
                policies: defaults::application(),
                organizations: BTreeMap::new(),
            },
            other_values: BTreeMap::new(),
            mod_policies: BTreeMap::new(),
            versions: BTreeMap::new(),
            sequence: 0,
        };
        config.orderer.set_block_validation();
        config
    }

    /// Version of an element, by [`Element::at`].
    pub fn version(&self, element: &str) -> u64 {
        self.versions.get(element).copied().unwrap_or_default()
    }

    /// The same configuration as if it were a channel's first: without versions and with sequence 0.
    #[must_use]
    pub fn without_history(mut self) -> Self {
        self.versions.clear();
        self.sequence = 0;
        self
    }
}

impl OrdererConfig {
    /// With BFT consensus, sets `BlockValidation` to the policy that Fabric demands for the consenters. To be called
    /// after each change of a BFT channel's consenters; does nothing with other kinds of consensus.
    pub fn set_block_validation(&mut self) {
        if let Consensus::Bft { consenters, .. } = &self.consensus {
            let policy = crate::policy::bft_block_validation(consenters);
            self.policies.insert("BlockValidation".to_owned(), policy);
        }
    }
}

/// The modification policy that configtxgen gives an element.
fn usual_mod_policy(element: &str) -> &'static str {
    if element == "[Value]  /Channel/OrdererAddresses" { ORDERER_ADMINS } else { ADMINS }
}

fn hex_map<S: Serializer>(map: &BTreeMap<String, Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(map.iter().map(|(key, value)| (key, hex::encode(value))))
}
