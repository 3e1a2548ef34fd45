//! The network that a definition describes, with every default filled in.
//!
//! Defaults, where the file is silent:
//! - MSP ID: the organization's name in camel case and `MSP`; domain `<name>.<network>`; namespace `<network>-<name>`.
//! - Address of a node: its Service's name in the cluster, port 7050 (orderer) or 7051 (peer).
//! - Organizer of a channel: the first organization with orderers. Consenters: all orderers of the organizer.
//! - A member's peers: all of its organization's; its anchors: the first of them.
//! - Policies, batch and consensus options: those of Fabric's sample `configtx.yaml`.
//! - Capabilities: the newest that the oldest node of the channel's organizations knows.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::definition::{
    BatchEntry, CapabilitiesEntry, ChaincodeEntry, ChannelEntry, ImagesEntry, LedgerFate, MemberEntry, NodeEntry,
    NodeSettings, OrganizationEntry, PoliciesEntry, RetiredEntry, Size,
};
use crate::document::{Definition, RepositoryFacts};
use crate::objects::{
    Batch, Capabilities, CertificateAuthorityType, ChannelPolicies, ConsensusType, Expose, NodeResources, NodeStorage,
    Quota, Subject,
};
use crate::path::Path;
use crate::plan::Origin;
use crate::values::{self, Address, Image, Version};

/// Fabric version of the nodes when the file names none.
pub const DEFAULT_VERSION: &str = "3.1";
/// Image of the orderers when the file names none.
pub const DEFAULT_ORDERER_IMAGE: &str = "docker.io/hyperledger/fabric-orderer";
/// Image of the peers when the file names none.
pub const DEFAULT_PEER_IMAGE: &str = "docker.io/hyperledger/fabric-peer";
/// Hours that a certificate lives when the file says nothing: a year.
pub const DEFAULT_CERTIFICATE_HOURS: u32 = 8_760;
/// Hours that a root lives when the file says nothing: ten years.
pub const DEFAULT_ROOT_HOURS: u32 = 87_600;
/// Port of an orderer's clients.
pub const ORDERER_PORT: u16 = 7050;
/// Port of a peer's clients.
pub const PEER_PORT: u16 = 7051;

/// A network, as `tenter validate --explain` shows it. Made by [`Network::resolve`]; one that came from `document::load` has passed every rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// The organizations, in the order of the file.
    pub organizations: Vec<Organization>,
    /// The channels, in the order of the file.
    pub channels: Vec<Channel>,
    /// The chaincodes, in the order of the file.
    pub chaincodes: Vec<Chaincode>,
    /// What may be taken down.
    pub retired: Vec<Retired>,
    /// What the repository holds beside the definition.
    #[serde(skip)]
    pub repository: RepositoryFacts,
}

/// An organization.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Organization {
    /// Its name.
    pub name: String,
    /// Its MSP ID.
    #[serde(rename = "mspID")]
    pub msp_id: String,
    /// Domain of its certificates.
    pub domain: String,
    /// Its namespace.
    pub namespace: String,
    /// Who issues its certificates.
    pub authority_type: CertificateAuthorityType,
    /// Hours that its certificates live.
    pub certificate_lifetime_hours: u32,
    /// Hours that its roots live.
    pub root_lifetime_hours: u32,
    /// Who administers it.
    pub admins: Vec<Subject>,
    /// What it may use at most.
    pub quota: Option<Quota>,
    /// Fabric version of its nodes.
    pub version: String,
    /// Its orderers.
    pub orderers: Vec<Node>,
    /// Its peers.
    pub peers: Vec<Node>,
    /// Its section as written, in one spelling: what its consent covers.
    #[serde(skip)]
    pub entry: OrganizationEntry,
    /// Where it stands in the file.
    #[serde(skip)]
    pub origin: Origin,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its `host:port`.
    pub address: String,
    /// Its image, before any mirror.
    pub image: String,
    /// CPU and memory.
    pub resources: NodeResources,
    /// Its volume.
    pub storage: NodeStorage,
    /// How it is reached from outside its cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,
    /// Where it stands in the file.
    #[serde(skip)]
    pub origin: Origin,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// The organization that forms it.
    pub organizer: String,
    /// How it orders.
    pub consensus_type: ConsensusType,
    /// Its consenters, as organization and orderer.
    pub consenters: Vec<(String, String)>,
    /// Whether the file lists them, so that an orderer which is not on the list is left out on purpose.
    #[serde(skip)]
    pub consenters_listed: bool,
    /// Consensus options as the file gives them.
    pub options: BTreeMap<String, String>,
    /// Its members.
    pub members: Vec<Member>,
    /// Its policies.
    pub policies: ChannelPolicies,
    /// Its access control lists.
    pub acls: BTreeMap<String, String>,
    /// Its capability levels.
    pub capabilities: Capabilities,
    /// When blocks are cut.
    pub batch: Batch,
    /// Where it stands in the file.
    #[serde(skip)]
    pub origin: Origin,
}

/// A member of a channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The organization.
    pub organization: String,
    /// Names of its peers that join.
    pub peers: Vec<String>,
    /// Names of its anchor peers.
    pub anchors: Vec<String>,
    /// Where it stands in the file.
    #[serde(skip)]
    pub origin: Origin,
}

/// A chaincode, as written.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chaincode {
    /// What the file says.
    pub entry: ChaincodeEntry,
    /// Where it stands in the file.
    #[serde(skip)]
    pub origin: Origin,
}

/// What an entry of `spec.retired` names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RetiredTarget {
    /// An organization.
    Organization(String),
    /// An orderer: organization and name.
    Orderer(String, String),
    /// A peer: organization and name.
    Peer(String, String),
    /// A channel.
    Channel(String),
    /// A membership: channel and organization.
    Member(String, String),
    /// A chaincode: channel and name.
    Chaincode(String, String),
}

impl RetiredTarget {
    /// What an entry names; `None` unless it is exactly one well-formed name.
    pub fn of(entry: &RetiredEntry) -> Option<Self> {
        let RetiredEntry { organization, orderer, peer, channel, member, chaincode, ledger: _ } = entry;
        let pair = |text: &String| text.split_once('/').map(|(left, right)| (left.to_owned(), right.to_owned()));
        let mut targets = [
            organization.clone().map(|name| Some(Self::Organization(name))),
            orderer.as_ref().map(|text| pair(text).map(|(left, right)| Self::Orderer(left, right))),
            peer.as_ref().map(|text| pair(text).map(|(left, right)| Self::Peer(left, right))),
            channel.clone().map(|name| Some(Self::Channel(name))),
            member.as_ref().map(|text| pair(text).map(|(left, right)| Self::Member(left, right))),
            chaincode.as_ref().map(|text| pair(text).map(|(left, right)| Self::Chaincode(left, right))),
        ]
        .into_iter()
        .flatten();
        let first = targets.next()??;
        targets.next().is_none().then_some(first)
    }
}

impl std::fmt::Display for RetiredTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Organization(name) => write!(f, "organization {name}"),
            Self::Orderer(organization, name) => write!(f, "orderer {organization}/{name}"),
            Self::Peer(organization, name) => write!(f, "peer {organization}/{name}"),
            Self::Channel(name) => write!(f, "channel {name}"),
            Self::Member(channel, organization) => write!(f, "member {channel}/{organization}"),
            Self::Chaincode(channel, name) => write!(f, "chaincode {channel}/{name}"),
        }
    }
}

/// An entry of `spec.retired`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retired {
    /// What it names.
    pub target: RetiredTarget,
    /// What becomes of its ledger.
    pub ledger: LedgerFate,
    /// Where it stands in the file.
    #[serde(skip)]
    pub origin: Origin,
}

impl Network {
    /// Fills in every default. Total: what validation would refuse (a name that nothing has, a lifetime that is
    /// none) falls back to the default or is passed on, so that validation itself can look at the result.
    pub fn resolve(definition: &Definition, facts: &RepositoryFacts) -> Self {
        let document = definition.document();
        let name = document.metadata.name.clone();
        let spec = &document.spec;
        let fabric = spec.fabric.clone().unwrap_or_default();
        let version = fabric.version.unwrap_or_else(|| DEFAULT_VERSION.to_owned());
        let images = fabric.images.unwrap_or_default();
        let organizations: Vec<Organization> = numbered(&spec.organizations, "organizations")
            .map(|(entry, path)| organization(definition, &name, entry, &path, &version, &images))
            .collect();
        let channels = numbered(spec.channels.as_deref().unwrap_or_default(), "channels")
            .map(|(entry, path)| channel(definition, &organizations, entry, &path))
            .collect();
        let chaincodes = numbered(spec.chaincodes.as_deref().unwrap_or_default(), "chaincodes")
            .map(|(entry, path)| Chaincode { entry: entry.clone(), origin: definition.origin(&path) })
            .collect();
        let retired = numbered(spec.retired.as_deref().unwrap_or_default(), "retired")
            .filter_map(|(entry, path)| {
                let target = RetiredTarget::of(entry)?;
                Some(Retired { target, ledger: entry.ledger.unwrap_or_default(), origin: definition.origin(&path) })
            })
            .collect();
        Self { name, organizations, channels, chaincodes, retired, repository: facts.clone() }
    }

    /// The channel of a name.
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    /// The organization of a name.
    pub fn organization(&self, name: &str) -> Option<&Organization> {
        self.organizations.iter().find(|organization| organization.name == name)
    }
}

impl Channel {
    /// Names of the organizations that run its consenters, in the order of their first consenter.
    pub fn orderer_organizations(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        self.consenters.iter().map(|(name, _)| name.as_str()).filter(|name| seen.insert(*name)).collect()
    }

    /// Names of all organizations that take part in it.
    pub fn participants(&self) -> BTreeSet<&str> {
        let members = self.members.iter().map(|member| member.organization.as_str());
        self.consenters.iter().map(|(name, _)| name.as_str()).chain(members).collect()
    }
}

/// The entries of a list below `spec`, with their paths.
fn numbered<'a, T>(entries: &'a [T], section: &str) -> impl Iterator<Item = (&'a T, Path)> {
    let section = Path::spec(section);
    entries.iter().enumerate().map(move |(index, entry)| (entry, section.index(index)))
}

/// `acme` becomes `Acme`, `north-east` becomes `NorthEast`.
fn camel_case(name: &str) -> String {
    name.split('-')
        .flat_map(|part| {
            let mut letters = part.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters)
        })
        .collect()
}

fn organization(
    definition: &Definition,
    network: &str,
    entry: &OrganizationEntry,
    path: &Path,
    version: &str,
    images: &ImagesEntry,
) -> Organization {
    let name = entry.name.clone();
    let namespace = entry.namespace.clone().unwrap_or_else(|| format!("{network}-{name}"));
    let authority = entry.certificate_authority.clone().unwrap_or_default();
    let hours = |text: &Option<String>, default| text.as_deref().and_then(values::lifetime_hours).unwrap_or(default);
    let version = entry.fabric.clone().and_then(|fabric| fabric.version).unwrap_or_else(|| version.to_owned());
    let nodes = |entries: &Option<Vec<NodeEntry>>, section: &str, port: u16, image: &str| {
        let section = path.key(section);
        let image = with_version(image, &version);
        let entries = entries.as_deref().unwrap_or_default().iter().enumerate();
        entries
            .map(|(index, entry)| node(entry, &namespace, port, &image, definition.origin(&section.index(index))))
            .collect()
    };
    Organization {
        msp_id: entry.msp_id.clone().unwrap_or_else(|| format!("{}MSP", camel_case(&name))),
        domain: entry.domain.clone().unwrap_or_else(|| format!("{name}.{network}")),
        authority_type: authority.authority_type.unwrap_or_default(),
        certificate_lifetime_hours: hours(&authority.certificate_lifetime, DEFAULT_CERTIFICATE_HOURS),
        root_lifetime_hours: hours(&authority.root_lifetime, DEFAULT_ROOT_HOURS),
        admins: entry.admins.clone().unwrap_or_default(),
        quota: entry.quota.clone(),
        orderers: nodes(
            &entry.orderers,
            "orderers",
            ORDERER_PORT,
            images.orderer.as_deref().unwrap_or(DEFAULT_ORDERER_IMAGE),
        ),
        peers: nodes(&entry.peers, "peers", PEER_PORT, images.peer.as_deref().unwrap_or(DEFAULT_PEER_IMAGE)),
        entry: spelled(entry),
        origin: definition.origin(path),
        version,
        name,
        namespace,
    }
}

/// A section in one spelling: `[{name: peer1}]` and `[peer1]` say the same.
fn spelled(entry: &OrganizationEntry) -> OrganizationEntry {
    let node = |entry: &NodeEntry| match entry {
        NodeEntry::Name(name) => NodeEntry::Node(NodeSettings { name: name.clone(), ..NodeSettings::default() }),
        NodeEntry::Node(_) => entry.clone(),
    };
    let nodes = |entries: &Option<Vec<NodeEntry>>| entries.as_ref().map(|entries| entries.iter().map(node).collect());
    OrganizationEntry { orderers: nodes(&entry.orderers), peers: nodes(&entry.peers), ..entry.clone() }
}

/// The image, with the version as its tag unless it has a tag or digest.
fn with_version(image: &str, version: &str) -> String {
    match Image::parse(image) {
        Some(Image { tag: None, digest: None, .. }) => format!("{image}:{version}"),
        _ => image.to_owned(),
    }
}

/// Address of a node for which the file gives none: its Service's name in the cluster.
pub fn usual_address(name: &str, namespace: &str, port: u16) -> String {
    format!("{name}.{namespace}.svc:{port}")
}

fn node(entry: &NodeEntry, namespace: &str, port: u16, image: &str, origin: Origin) -> Node {
    let (name, address, storage, resources, expose) = match entry {
        NodeEntry::Name(name) => (name, None, None, None, None),
        NodeEntry::Node(node) => {
            let NodeSettings { name, address, storage, resources, expose } = node;
            (name, address.clone(), storage.clone(), resources.clone(), expose.as_ref())
        }
    };
    let (storage, resources) = (storage.unwrap_or_default(), resources.unwrap_or_default());
    Node {
        name: name.clone(),
        expose: expose.map(|expose| Expose {
            expose_type: expose.expose_type,
            port: expose
                .port
                .unwrap_or_else(|| address.as_deref().and_then(Address::parse).map_or(port, |address| address.port)),
        }),
        address: address.unwrap_or_else(|| usual_address(name, namespace, port)),
        image: image.to_owned(),
        resources: NodeResources {
            cpu: resources.cpu.unwrap_or_else(|| "100m".to_owned()),
            memory: resources.memory.unwrap_or_else(|| "256Mi".to_owned()),
        },
        storage: NodeStorage { size: storage.size.unwrap_or_else(|| "5Gi".to_owned()), class: storage.class },
        origin,
    }
}

fn channel(definition: &Definition, organizations: &[Organization], entry: &ChannelEntry, path: &Path) -> Channel {
    let find = |name: &str| organizations.iter().find(|organization| organization.name == name);
    let members: Vec<Member> = entry
        .members
        .iter()
        .enumerate()
        .map(|(index, member)| {
            let (name, peers, anchors) = match member {
                MemberEntry::Name(name) => (name.as_str(), None, None),
                MemberEntry::Member(member) => {
                    (member.organization.as_str(), member.peers.clone(), member.anchors.clone())
                }
            };
            let peers = peers.unwrap_or_else(|| {
                find(name).map(|found| found.peers.iter().map(|peer| peer.name.clone()).collect()).unwrap_or_default()
            });
            let anchors = anchors.unwrap_or_else(|| peers.first().cloned().into_iter().collect());
            let origin = definition.origin(&path.key("members").index(index));
            Member { organization: name.to_owned(), peers, anchors, origin }
        })
        .collect();
    let organizer = entry.organizer.clone().unwrap_or_else(|| {
        let first = organizations.iter().find(|organization| !organization.orderers.is_empty());
        first.or(organizations.first()).map(|organization| organization.name.clone()).unwrap_or_default()
    });
    let consensus = entry.consensus.clone().unwrap_or_default();
    let consenters_listed = consensus.consenters.is_some();
    let consenters: Vec<(String, String)> = match consensus.consenters {
        Some(names) => names
            .iter()
            .filter_map(|name| name.split_once('/'))
            .map(|(organization, orderer)| (organization.to_owned(), orderer.to_owned()))
            .collect(),
        None => find(&organizer)
            .map(|found| found.orderers.iter().map(|orderer| (organizer.clone(), orderer.name.clone())).collect())
            .unwrap_or_default(),
    };
    let mut channel = Channel {
        name: entry.name.clone(),
        organizer,
        consensus_type: consensus.consensus_type.unwrap_or(ConsensusType::EtcdRaft),
        consenters,
        consenters_listed,
        options: consensus
            .options
            .unwrap_or_default()
            .iter()
            .map(|(key, value)| (key.clone(), value.to_string()))
            .collect(),
        members,
        policies: policies(entry.policies.as_ref()),
        acls: entry.acls.clone().unwrap_or_default(),
        capabilities: Capabilities { channel: String::new(), orderer: String::new(), application: String::new() },
        batch: batch(entry.batch.as_ref()),
        origin: definition.origin(path),
    };
    channel.capabilities = capabilities(entry.capabilities.as_ref(), oldest_version(&channel, organizations));
    channel
}

/// The oldest Fabric of a channel's organizations.
pub fn oldest_version(channel: &Channel, organizations: &[Organization]) -> Version {
    let participants = channel.participants();
    organizations
        .iter()
        .filter(|organization| participants.contains(organization.name.as_str()))
        .filter_map(|organization| Version::parse(&organization.version))
        .min()
        .unwrap_or(Version::OLDEST)
}

fn capabilities(entry: Option<&CapabilitiesEntry>, oldest: Version) -> Capabilities {
    let entry = entry.cloned().unwrap_or_default();
    let channel = if oldest >= Version::V3_0 { "V3_0" } else { "V2_0" };
    Capabilities {
        channel: entry.channel.unwrap_or_else(|| channel.to_owned()),
        orderer: entry.orderer.unwrap_or_else(|| "V2_0".to_owned()),
        application: entry.application.unwrap_or_else(|| "V2_5".to_owned()),
    }
}

/// The policies of Fabric's sample `configtx.yaml`, and over them the file's.
fn policies(entry: Option<&PoliciesEntry>) -> ChannelPolicies {
    const USUAL: [(&str, &str); 3] =
        [("Readers", "ANY Readers"), ("Writers", "ANY Writers"), ("Admins", "MAJORITY Admins")];
    const APPLICATION: [(&str, &str); 2] =
        [("Endorsement", "MAJORITY Endorsement"), ("LifecycleEndorsement", "MAJORITY Endorsement")];
    let entry = entry.cloned().unwrap_or_default();
    let level = |extra: &[(&str, &str)], own: Option<BTreeMap<String, String>>| {
        let mut level: BTreeMap<String, String> =
            USUAL.iter().chain(extra).map(|(name, policy)| ((*name).to_owned(), (*policy).to_owned())).collect();
        level.extend(own.unwrap_or_default());
        level
    };
    ChannelPolicies {
        channel: level(&[], entry.channel),
        orderer: level(&[("BlockValidation", "ANY Writers")], entry.orderer),
        application: level(&APPLICATION, entry.application),
    }
}

fn batch(entry: Option<&BatchEntry>) -> Batch {
    let entry = entry.cloned().unwrap_or_default();
    let size = |size: &Option<Size>, default: u32| match size {
        Some(Size::Bytes(bytes)) => *bytes,
        Some(Size::Text(text)) => values::bytes(text).unwrap_or(default),
        None => default,
    };
    Batch {
        max_message_count: entry.max_message_count.unwrap_or(500),
        absolute_max_bytes: size(&entry.absolute_max_bytes, 10 << 20),
        preferred_max_bytes: size(&entry.preferred_max_bytes, 2 << 20),
        timeout: entry.timeout.unwrap_or_else(|| "2s".to_owned()),
    }
}

/// What a consensus option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// A Go duration.
    Duration,
    /// A whole number above 0.
    Count,
    /// A number of bytes; a unit may be given.
    Bytes,
}

/// The options of a consensus type, with the defaults of Fabric's sample `configtx.yaml`.
pub const fn consensus_options(consensus_type: ConsensusType) -> &'static [(&'static str, OptionKind, &'static str)] {
    match consensus_type {
        ConsensusType::EtcdRaft => &[
            ("tickInterval", OptionKind::Duration, "500ms"),
            ("electionTick", OptionKind::Count, "10"),
            ("heartbeatTick", OptionKind::Count, "1"),
            ("maxInflightBlocks", OptionKind::Count, "5"),
            ("snapshotIntervalSize", OptionKind::Bytes, "16777216"),
        ],
        ConsensusType::Bft => &[
            ("requestBatchMaxInterval", OptionKind::Duration, "200ms"),
            ("requestForwardTimeout", OptionKind::Duration, "5s"),
            ("requestComplainTimeout", OptionKind::Duration, "20s"),
            ("requestAutoRemoveTimeout", OptionKind::Duration, "3m0s"),
            ("viewChangeResendInterval", OptionKind::Duration, "5s"),
            ("viewChangeTimeout", OptionKind::Duration, "20s"),
            ("leaderHeartbeatTimeout", OptionKind::Duration, "1m0s"),
            ("collectTimeout", OptionKind::Duration, "1s"),
            ("incomingMessageBufferSize", OptionKind::Count, "200"),
            ("requestPoolSize", OptionKind::Count, "100000"),
            ("leaderHeartbeatCount", OptionKind::Count, "10"),
        ],
    }
}

/// All options of a channel: what the file gives, and Fabric's defaults; bytes as plain numbers.
pub fn all_options(consensus_type: ConsensusType, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    consensus_options(consensus_type)
        .iter()
        .map(|(name, kind, default)| {
            let value = given.get(*name).map_or(*default, String::as_str);
            let value = match (kind, values::bytes(value)) {
                (OptionKind::Bytes, Some(bytes)) => bytes.to_string(),
                _ => value.to_owned(),
            };
            ((*name).to_owned(), value)
        })
        .collect()
}
