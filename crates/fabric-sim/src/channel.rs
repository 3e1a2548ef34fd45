//! A channel's configuration in use: members, policies, consenters, endpoints (Fabric `common/channelconfig`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message as _;
use tenter_fabric_wire::common::implicit_meta_policy::Rule;
use tenter_fabric_wire::common::signature_policy::Type;
use tenter_fabric_wire::common::{
    Block, Capabilities, Config, ConfigEnvelope, ConfigGroup, ImplicitMetaPolicy, MspPrincipal, OrdererAddresses,
    Orderers, SignaturePolicy, SignaturePolicyEnvelope,
};
use tenter_fabric_wire::etcdraft::ConfigMetadata;
use tenter_fabric_wire::msp::{FabricMspConfig, MspConfig};
use tenter_fabric_wire::orderer::{BatchSize, BatchTimeout, ConsensusType};

use crate::block;
use crate::msp::{Identity, Msp};
use crate::settings;
use crate::x509::Certificate;

/// Depth of nested signature policies that is still evaluated.
const MAX_POLICY_DEPTH: usize = 64;

/// A signature that a policy may count.
#[derive(Debug, Clone)]
pub struct SignedData {
    /// What was signed.
    pub data: Vec<u8>,
    /// The signer, a marshalled `SerializedIdentity`.
    pub identity: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// A member of the consenter set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consenter {
    /// `host:port`.
    pub address: String,
    /// Its certificate as a client.
    pub client: Certificate,
    /// Its certificate as a server.
    pub server: Certificate,
}

/// How the channel is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consensus {
    /// Crash faults.
    Raft,
    /// Byzantine faults.
    Bft,
}

/// Where an orderer is, and the PEM roots of its TLS certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port`.
    pub address: String,
    /// PEM certificates.
    pub roots: Vec<Vec<u8>>,
}

/// A channel's configuration, taken apart once.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The channel's name.
    pub channel: String,
    /// The configuration as it stands in the block.
    pub config: Config,
    /// The members' MSPs by ID.
    pub msps: BTreeMap<String, Msp>,
    /// Crash or byzantine.
    pub consensus: Consensus,
    /// Who orders.
    pub consenters: Vec<Consenter>,
    /// Where clients and followers find orderers.
    pub endpoints: Vec<Endpoint>,
    /// When a block is full.
    pub batch_size: BatchSize,
    /// How long a block waits.
    pub batch_timeout: Duration,
    /// Whether the ordering service is in maintenance.
    pub maintenance: bool,
    root: ConfigGroup,
}

impl Bundle {
    /// Reads a config block. The text says what a node would refuse it for.
    pub fn from_block(block: &Block) -> Result<Self, String> {
        let opened = block::config_transaction(block).ok_or("block is not a config block")?;
        let envelope = ConfigEnvelope::decode(&opened.payload.data[..])
            .map_err(|error| format!("error unmarshalling ConfigEnvelope: {error}"))?;
        let config = envelope.config.ok_or("nil config in envelope")?;
        Self::new(opened.channel.channel_id, config)
    }

    fn new(channel: String, config: Config) -> Result<Self, String> {
        check_channel_id(&channel)?;
        let root = config.channel_group.clone().ok_or("config must contain a channel group")?;
        check_groups(&root)?;
        let orderer = root.groups.get("Orderer").ok_or("invalid config: must contain orderer config")?;
        let msps = read_msps(&root)?;
        let kind: ConsensusType = value(orderer, "ConsensusType")?.unwrap_or_default();
        let (consensus, consenters) = read_consenters(orderer, &kind)?;
        let timeout: BatchTimeout = value(orderer, "BatchTimeout")?.unwrap_or_default();
        let batch_size: BatchSize = value(orderer, "BatchSize")?.unwrap_or_default();
        check_batch(&batch_size)?;
        Ok(Self {
            endpoints: read_endpoints(&root, orderer, &msps)?,
            channel,
            msps,
            consensus,
            consenters,
            batch_size,
            batch_timeout: settings::go_duration(&timeout.timeout)
                .ok_or_else(|| format!("failed to parse batch timeout {:?}", timeout.timeout))?,
            maintenance: kind.state != 0,
            root,
            config,
        })
    }

    /// Whether there is an Application group.
    pub fn has_application(&self) -> bool {
        self.root.groups.contains_key("Application")
    }

    /// Whether there is a Consortiums group (a system channel).
    pub fn has_consortiums(&self) -> bool {
        self.root.groups.contains_key("Consortiums")
    }

    /// How many consenters must hold a block before it counts.
    pub fn quorum(&self) -> usize {
        let n = self.consenters.len();
        match self.consensus {
            Consensus::Raft => n / 2 + 1,
            Consensus::Bft => {
                let faults = n.saturating_sub(1) / 3;
                (n + faults + 1).div_ceil(2)
            }
        }
    }

    /// PEM roots of all orderer organisations' TLS certificates.
    pub fn orderer_tls_roots(&self) -> Vec<Vec<u8>> {
        self.root
            .groups
            .get("Orderer")
            .into_iter()
            .flat_map(|group| group.groups.values())
            .filter_map(|org| org_msp_id(org).and_then(|id| self.msps.get(&id)))
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
        let identities = self.valid_identities(signed);
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let name = parts.pop().unwrap_or_default();
        let group = parts.iter().skip(1).try_fold(&self.root, |group, part| group.groups.get(*part));
        match group {
            Some(group) => self.evaluate_in(group, name, &identities),
            None => Err(format!("no such policy: '{path}'")),
        }
    }

    /// The signers whose signatures hold, each certificate once.
    fn valid_identities(&self, signed: &[SignedData]) -> Vec<Identity> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for item in signed {
            let Ok((identity, _)) = self.identity(&item.identity) else {
                continue;
            };
            let key = (identity.msp_id.clone(), identity.certificate.der().to_vec());
            if seen.contains(&key) {
                continue;
            }
            if identity.certificate.verify(&item.data, &item.signature).is_ok() {
                seen.insert(key);
                found.push(identity);
            }
        }
        found
    }

    fn evaluate_in(&self, group: &ConfigGroup, name: &str, identities: &[Identity]) -> Result<(), String> {
        let policy = group
            .policies
            .get(name)
            .and_then(|policy| policy.policy.as_ref())
            .ok_or_else(|| format!("no such policy: '{name}'"))?;
        match policy.r#type {
            1 => {
                let envelope = SignaturePolicyEnvelope::decode(&policy.value[..])
                    .map_err(|error| format!("error unmarshalling SignaturePolicy: {error}"))?;
                self.evaluate_signatures(&envelope, identities)
            }
            3 => {
                let meta = ImplicitMetaPolicy::decode(&policy.value[..])
                    .map_err(|error| format!("error unmarshalling to ImplicitMetaPolicy: {error}"))?;
                self.evaluate_meta(group, &meta, identities)
            }
            other => Err(format!("unknown policy type: {other}")),
        }
    }

    fn evaluate_meta(
        &self,
        group: &ConfigGroup,
        meta: &ImplicitMetaPolicy,
        identities: &[Identity],
    ) -> Result<(), String> {
        let count = group.groups.len();
        let threshold = match Rule::try_from(meta.rule) {
            Ok(Rule::Any) => count.min(1),
            Ok(Rule::All) => count,
            Ok(Rule::Majority) if count == 0 => 0,
            Ok(Rule::Majority) => count / 2 + 1,
            Err(_) => return Err(format!("unknown rule {}", meta.rule)),
        };
        let satisfied =
            group.groups.values().filter(|child| self.evaluate_in(child, &meta.sub_policy, identities).is_ok()).count();
        if satisfied >= threshold {
            Ok(())
        } else {
            Err(format!(
                "implicit policy evaluation failed - {satisfied} sub-policies were satisfied, but this policy requires {threshold} of the '{}' sub-policies to be satisfied",
                meta.sub_policy
            ))
        }
    }

    fn evaluate_signatures(&self, policy: &SignaturePolicyEnvelope, identities: &[Identity]) -> Result<(), String> {
        let rule = policy.rule.as_ref().ok_or("Empty policy element")?;
        let mut used = vec![false; identities.len()];
        if self.gate(rule, &policy.identities, identities, &mut used, 0) {
            Ok(())
        } else {
            Err("signature set did not satisfy policy".to_owned())
        }
    }

    /// Greedy, left to right, without going back: the order of the signatures can matter.
    fn gate(
        &self,
        rule: &SignaturePolicy,
        principals: &[MspPrincipal],
        identities: &[Identity],
        used: &mut Vec<bool>,
        depth: usize,
    ) -> bool {
        if depth > MAX_POLICY_DEPTH {
            return false;
        }
        match &rule.r#type {
            Some(Type::SignedBy(index)) => {
                let Some(principal) = usize::try_from(*index).ok().and_then(|i| principals.get(i)) else {
                    return false;
                };
                let found = identities.iter().enumerate().position(|(at, identity)| {
                    !used[at]
                        && self.msps.get(&identity.msp_id).is_some_and(|msp| msp.satisfies(identity, principal).is_ok())
                });
                if let Some(at) = found {
                    used[at] = true;
                }
                found.is_some()
            }
            Some(Type::NOutOf(gate)) => {
                let mut verified = 0_i32;
                for child in &gate.rules {
                    let mut attempt = used.clone();
                    if self.gate(child, principals, identities, &mut attempt, depth + 1) {
                        verified += 1;
                        *used = attempt;
                    }
                }
                verified >= gate.n
            }
            None => false,
        }
    }
}

fn value<T: prost::Message + Default>(group: &ConfigGroup, name: &str) -> Result<Option<T>, String> {
    group
        .values
        .get(name)
        .map(|value| T::decode(&value.value[..]).map_err(|error| format!("error unmarshalling {name}: {error}")))
        .transpose()
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

fn check_groups(root: &ConfigGroup) -> Result<(), String> {
    for name in root.groups.keys() {
        if !["Orderer", "Application", "Consortiums"].contains(&name.as_str()) {
            return Err(format!("Disallowed channel group: {name}"));
        }
    }
    for (group, known) in [
        (
            Some(root),
            &["HashingAlgorithm", "BlockDataHashingStructure", "OrdererAddresses", "Consortium", "Capabilities"][..],
        ),
        (
            root.groups.get("Orderer"),
            &[
                "ConsensusType",
                "BatchSize",
                "BatchTimeout",
                "KafkaBrokers",
                "ChannelRestrictions",
                "Capabilities",
                "Orderers",
            ][..],
        ),
        (root.groups.get("Application"), &["Capabilities", "ACLs"][..]),
    ] {
        for name in group.iter().flat_map(|group| group.values.keys()) {
            if !known.contains(&name.as_str()) {
                return Err(format!("Unexpected key {name}"));
            }
        }
    }
    Ok(())
}

fn check_batch(size: &BatchSize) -> Result<(), String> {
    if size.max_message_count == 0 || size.absolute_max_bytes == 0 || size.preferred_max_bytes == 0 {
        return Err("Attempted to set the batch size to an invalid value: 0".to_owned());
    }
    if size.preferred_max_bytes > size.absolute_max_bytes {
        return Err(format!(
            "Attempted to set the batch size preferred max bytes ({}) greater than the absolute max bytes ({}).",
            size.preferred_max_bytes, size.absolute_max_bytes
        ));
    }
    Ok(())
}

fn org_msp(org: &ConfigGroup) -> Result<Option<FabricMspConfig>, String> {
    let Some(outer) = value::<MspConfig>(org, "MSP")? else {
        return Ok(None);
    };
    FabricMspConfig::decode(&outer.config[..]).map(Some).map_err(|error| format!("error unmarshalling MSP: {error}"))
}

fn org_msp_id(org: &ConfigGroup) -> Option<String> {
    org_msp(org).ok().flatten().map(|config| config.name)
}

fn read_msps(root: &ConfigGroup) -> Result<BTreeMap<String, Msp>, String> {
    let mut msps = BTreeMap::new();
    for section in ["Orderer", "Application"] {
        for (name, org) in root.groups.get(section).iter().flat_map(|group| &group.groups) {
            let config = org_msp(org)?.ok_or_else(|| format!("organization {name} has no MSP"))?;
            let msp =
                Msp::from_config(&config).map_err(|error| format!("setting up the MSP manager failed: {error}"))?;
            msps.insert(config.name, msp);
        }
    }
    Ok(msps)
}

fn read_consenters(orderer: &ConfigGroup, kind: &ConsensusType) -> Result<(Consensus, Vec<Consenter>), String> {
    let consenter = |host: &str, port: u32, client: &[u8], server: &[u8]| {
        Ok::<_, String>(Consenter {
            address: format!("{host}:{port}"),
            client: Certificate::from_pem(client).map_err(|error| error.to_string())?,
            server: Certificate::from_pem(server).map_err(|error| error.to_string())?,
        })
    };
    match kind.r#type.as_str() {
        "etcdraft" => {
            let metadata = ConfigMetadata::decode(&kind.metadata[..])
                .map_err(|error| format!("failed to unmarshal config metadata: {error}"))?;
            let list = metadata
                .consenters
                .iter()
                .map(|c| consenter(&c.host, c.port, &c.client_tls_cert, &c.server_tls_cert))
                .collect::<Result<_, _>>()?;
            Ok((Consensus::Raft, list))
        }
        "BFT" => {
            let orderers: Orderers = value(orderer, "Orderers")?.unwrap_or_default();
            let list = orderers
                .consenter_mapping
                .iter()
                .map(|c| consenter(&c.host, c.port, &c.client_tls_cert, &c.server_tls_cert))
                .collect::<Result<_, _>>()?;
            Ok((Consensus::Bft, list))
        }
        other => Err(format!("unknown consensus type {other:?}")),
    }
}

fn read_endpoints(
    root: &ConfigGroup,
    orderer: &ConfigGroup,
    msps: &BTreeMap<String, Msp>,
) -> Result<Vec<Endpoint>, String> {
    let mut found = Vec::new();
    for org in orderer.groups.values() {
        let roots = org_msp_id(org).and_then(|id| msps.get(&id).map(|msp| msp.tls_roots.clone())).unwrap_or_default();
        let endpoints: OrdererAddresses = value(org, "Endpoints")?.unwrap_or_default();
        for address in endpoints.addresses {
            found.push(Endpoint { address, roots: roots.clone() });
        }
    }
    let capabilities: Capabilities = value(root, "Capabilities")?.unwrap_or_default();
    let per_org_only = capabilities.capabilities.contains_key("V3_0");
    if per_org_only && found.is_empty() {
        return Err("some orderer organizations endpoints are empty".to_owned());
    }
    if found.is_empty() {
        let roots: Vec<Vec<u8>> = msps.values().flat_map(|msp| msp.tls_roots.clone()).collect();
        let addresses: OrdererAddresses = value(root, "OrdererAddresses")?.unwrap_or_default();
        found.extend(addresses.addresses.into_iter().map(|address| Endpoint { address, roots: roots.clone() }));
    }
    Ok(found)
}
