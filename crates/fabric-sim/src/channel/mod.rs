//! A channel's configuration in use: members, policies, consenters, endpoints (Fabric `common/channelconfig`).

mod application;
mod consensus;
mod policy;
mod read;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message as _;
use tenter_fabric_wire::common::{Block, Config, ConfigEnvelope, ConfigGroup, Consenter as BftConsenter};
use tenter_fabric_wire::orderer::{BatchSize, ConsensusType};

use crate::block;
use crate::configtx;
use crate::msp::{Identity, Msp};

pub use consensus::{Consensus, Consenter, bft_quorum};
pub use policy::{Policies, SignatureRule, SignedData};

/// What Go's protobuf library says of bytes that are no message.
pub const UNREADABLE: &str = "proto:\u{a0}cannot parse invalid wire-format data";

/// MSPs by ID.
pub type Msps = BTreeMap<String, Msp>;

/// Where an orderer is, and the PEM roots of its TLS certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port`.
    pub address: String,
    /// PEM certificates.
    pub roots: Vec<Vec<u8>>,
}

/// An organisation in one of the two sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its MSP ID.
    pub msp_id: String,
    /// Where its orderers are.
    pub endpoints: Vec<String>,
}

/// A configuration that Fabric's code refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be used at all.
    #[error("{0}")]
    Invalid(String),
    /// It can be read, but nobody orders by it.
    #[error("config does not contain orderer config")]
    NoOrderer,
}

/// A channel's configuration, taken apart once.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The channel's name.
    pub channel: String,
    /// The configuration as it stands in the block.
    pub config: Config,
    /// The members' MSPs by ID.
    pub msps: Msps,
    /// All policies.
    pub policies: Policies,
    /// Type, metadata and state of the ordering service.
    pub consensus_type: ConsensusType,
    /// The consenters of a BFT channel.
    pub orderers: Vec<BftConsenter>,
    /// Where clients and followers find orderers.
    pub endpoints: Vec<Endpoint>,
    /// When a block is full.
    pub batch_size: BatchSize,
    /// How long a block waits.
    pub batch_timeout: Duration,
    /// The organisations of the Orderer section by name.
    pub orderer_orgs: BTreeMap<String, Organization>,
    /// Those of the Application section, where there is one.
    pub application_orgs: Option<BTreeMap<String, Organization>>,
    /// Those of the Consortiums section by consortium, where there is one.
    pub consortiums: Option<BTreeMap<String, BTreeMap<String, Organization>>>,
    /// Capabilities of the channel.
    pub channel_capabilities: BTreeSet<String>,
    /// Capabilities of the ordering service.
    pub orderer_capabilities: BTreeSet<String>,
    /// Capabilities of the application.
    pub application_capabilities: BTreeSet<String>,
}

impl Bundle {
    /// Reads a config block. The text says what a node would refuse it for.
    pub fn from_block(block: &Block) -> Result<Self, String> {
        let opened = block::config_transaction(block).ok_or("block is not a config block")?;
        let envelope = ConfigEnvelope::decode(&opened.payload.data[..])
            .map_err(|error| format!("error unmarshalling ConfigEnvelope: {error}"))?;
        let config = envelope.config.ok_or("channelconfig Config cannot be nil")?;
        Self::new(opened.channel.channel_id, config).map_err(|error| error.to_string())
    }

    /// Reads a configuration, in the order in which Fabric finds fault with it.
    pub fn new(channel: String, config: Config) -> Result<Self, ConfigError> {
        let invalid = |context: &str, text: String| ConfigError::Invalid(format!("{context}: {text}"));
        let root = config
            .channel_group
            .as_ref()
            .ok_or_else(|| ConfigError::Invalid("config must contain a channel group".to_owned()))?;
        read::check_capability_levels(root).map_err(ConfigError::Invalid)?;
        let found = read::channel(root).map_err(|text| invalid("initializing channelconfig failed", text))?;
        let policies =
            Policies::compile("Channel", root).map_err(|text| invalid("initializing policymanager failed", text))?;
        configtx::check_names(&channel, root).map_err(|text| invalid("initializing configtx manager failed", text))?;
        let orderer = found.orderer.ok_or(ConfigError::NoOrderer)?;
        let endpoints = read::endpoints(&found.addresses, &orderer.orgs, &found.msps);
        Ok(Self {
            channel,
            endpoints,
            msps: found.msps,
            policies,
            consensus_type: orderer.consensus_type,
            orderers: orderer.orderers.consenter_mapping,
            batch_size: orderer.batch_size,
            batch_timeout: orderer.batch_timeout,
            orderer_orgs: orderer.orgs,
            application_capabilities: found.application_capabilities,
            application_orgs: found.application,
            consortiums: found.consortiums,
            channel_capabilities: found.capabilities,
            orderer_capabilities: orderer.capabilities,
            config,
        })
    }

    /// The channel's own group.
    pub fn root(&self) -> Option<&ConfigGroup> {
        self.config.channel_group.as_ref()
    }

    /// Whether the ordering service is in maintenance.
    pub fn maintenance(&self) -> bool {
        self.consensus_type.state != 0
    }

    /// Whether the ordering service can go through maintenance.
    pub fn migrates(&self) -> bool {
        ["V1_4_2", "V2_0"].iter().any(|name| self.orderer_capabilities.contains(*name))
    }

    /// Whether there is a policy at an absolute path.
    pub fn has_policy(&self, path: &str) -> bool {
        path.strip_prefix("/Channel/").is_some_and(|id| self.policies.contains(id))
    }

    /// PEM roots of all orderer organisations' TLS certificates.
    pub fn orderer_tls_roots(&self) -> Vec<Vec<u8>> {
        self.orderer_orgs
            .values()
            .filter_map(|org| self.msps.get(&org.msp_id))
            .flat_map(|msp| msp.tls_roots.iter().cloned())
            .collect()
    }

    /// The identity if its MSP is in the channel.
    pub fn identity(&self, serialized: &[u8]) -> Result<(Identity, &Msp), String> {
        let identity = Identity::parse(serialized).map_err(|error| error.0)?;
        let msp = self.msps.get(&identity.msp_id).ok_or_else(|| format!("MSP {} is unknown", identity.msp_id))?;
        Ok((identity, msp))
    }

    /// Evaluates the policy at an absolute path such as `/Channel/Readers`.
    pub fn evaluate(&self, path: &str, signed: &[SignedData]) -> Result<(), String> {
        let id = path.strip_prefix("/Channel/").ok_or_else(|| format!("no such policy: '{path}'"))?;
        self.policies.evaluate(id, &self.msps, signed)
    }

    /// Whether orderers of this version can serve such a channel (Fabric `checkResources`).
    pub fn check_supported(&self) -> Result<(), String> {
        read::check_supported("Orderer", &self.orderer_capabilities)
            .and_then(|()| read::check_supported("Channel", &self.channel_capabilities))
    }

    /// Whether peers of this version can serve such a channel. Orderers do not ask.
    pub fn check_supported_by_peers(&self) -> Result<(), String> {
        read::unsupported("Application", &self.application_capabilities)
            .or_else(|| read::unsupported("Channel", &self.channel_capabilities))
            .map_or(Ok(()), |text| Err(format!("[channel {}] incompatible: {text}", self.channel)))
    }

    /// Whether `next` may follow this configuration (Fabric `Bundle.ValidateNew`).
    pub fn validate_new(&self, next: &Self) -> Result<(), String> {
        if !read::allows_migration(&self.channel_capabilities)
            && self.consensus_type.r#type != next.consensus_type.r#type
        {
            return Err(format!(
                "attempted to change consensus type from {} to {}",
                self.consensus_type.r#type, next.consensus_type.r#type
            ));
        }
        if !read::has_v3(&self.channel_capabilities) && read::has_v3(&next.channel_capabilities) {
            for (name, org) in &next.orderer_orgs {
                if org.endpoints.is_empty() {
                    return Err(format!("illegal orderer config update detected: endpoints of org {name} are missing"));
                }
            }
        }
        same_ids("orderer org", &self.orderer_orgs, &next.orderer_orgs)?;
        if let Some(orgs) = &self.application_orgs {
            let next = next
                .application_orgs
                .as_ref()
                .ok_or("current config has application section, but new config does not")?;
            same_ids("application org", orgs, next)?;
        }
        match (&self.consortiums, &next.consortiums) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err("current config has no consortiums section, but new config does".to_owned()),
            (Some(_), None) => Err("current config has consortiums section, but new config does not".to_owned()),
            (Some(before), Some(after)) => before.iter().try_for_each(|(name, orgs)| match after.get(name) {
                Some(next) => same_ids(&format!("consortium {name} org"), orgs, next),
                None => Ok(()),
            }),
        }
    }
}

fn same_ids(
    what: &str,
    before: &BTreeMap<String, Organization>,
    after: &BTreeMap<String, Organization>,
) -> Result<(), String> {
    for (name, org) in before {
        if let Some(next) = after.get(name)
            && next.msp_id != org.msp_id
        {
            return Err(format!("{what} {name} attempted to change MSP ID from {} to {}", org.msp_id, next.msp_id));
        }
    }
    Ok(())
}

/// `[a-z][a-z0-9.-]*`, at most 249 characters (Fabric `common/configtx/validator.go`).
pub fn check_channel_id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("channel ID illegal, cannot be empty".to_owned());
    }
    if id.len() > 249 {
        return Err("channel ID illegal, cannot be longer than 249".to_owned());
    }
    let mut bytes = id.bytes();
    let fits = bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'.' || c == b'-');
    if fits { Ok(()) } else { Err(format!("'{id}' contains illegal characters")) }
}
