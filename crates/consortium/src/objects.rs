//! Spec and status of every Kubernetes object of group `tenter.dev`, as plain data.
//!
//! They stand here, and not beside the Kubernetes client, so that the plan and the controllers' decisions
//! can be pure: the program gives each of them its place in the API (`src/resources`). Field names on the
//! wire follow the Kubernetes API conventions (camelCase; `mspID` because initialisms keep their case).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// API group of every kind.
pub const GROUP: &str = "tenter.dev";
/// Version of every kind, and of `network.yaml`.
pub const VERSION: &str = "v1alpha1";
/// Label that binds a namespace, and everything in it, to an organization.
pub const LABEL_ORGANIZATION: &str = "tenter.dev/organization";
/// Label that names the consortium an object belongs to.
pub const LABEL_CONSORTIUM: &str = "tenter.dev/consortium";
/// Label that names the channel an object belongs to.
pub const LABEL_CHANNEL: &str = "tenter.dev/channel";
/// Label that names the Chaincode object an object belongs to.
pub const LABEL_CHAINCODE: &str = "tenter.dev/chaincode";
/// Label that names the node an object belongs to.
pub const LABEL_NODE: &str = "tenter.dev/node";
/// Label that names the Identity object an object belongs to.
pub const LABEL_IDENTITY: &str = "tenter.dev/identity";
/// Field manager of all server-side applies.
pub const FIELD_MANAGER: &str = "tenter";

/// The kinds that a plan writes. What people write themselves (a Consortium, an Identity) is none of them: no plan
/// creates, changes or misses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// An organization of the consortium.
    Organization,
    /// An organization's certificate authority.
    CertificateAuthority,
    /// An ordering service node.
    Orderer,
    /// A peer.
    Peer,
    /// A channel.
    Channel,
    /// One organization in one channel.
    Membership,
    /// A chaincode on a channel.
    Chaincode,
}

impl Kind {
    /// Every kind, in the order in which a plan creates them.
    pub const ALL: [Self; 7] = [
        Self::Organization,
        Self::CertificateAuthority,
        Self::Orderer,
        Self::Peer,
        Self::Channel,
        Self::Membership,
        Self::Chaincode,
    ];

    /// The kind's name in manifests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "Organization",
            Self::CertificateAuthority => "CertificateAuthority",
            Self::Orderer => "Orderer",
            Self::Peer => "Peer",
            Self::Channel => "Channel",
            Self::Membership => "Membership",
            Self::Chaincode => "Chaincode",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A Kubernetes subject that is granted an organization's administrator role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// What the subject is.
    pub kind: SubjectKind,
    /// Its name.
    pub name: String,
    /// Its namespace, for a `ServiceAccount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// The kinds of Kubernetes subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SubjectKind {
    /// A user as the API server's authentication names it.
    User,
    /// A group as the API server's authentication names it.
    Group,
    /// A service account.
    ServiceAccount,
}

/// What an organization may use at most; quantities as Kubernetes writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quota {
    /// Number of nodes (orderers and peers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
    /// CPU requests, for example `8` or `500m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Memory requests, for example `16Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Storage requests, for example `100Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
}

/// One organization of the consortium, in the consortium's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationSpec {
    /// The Consortium object it belongs to, in the same namespace.
    pub consortium: String,
    /// Its membership service provider's id; it can never change.
    #[serde(rename = "mspID")]
    pub msp_id: String,
    /// The domain of its certificate subjects.
    pub domain: String,
    /// The namespace that holds its objects, keys and nodes.
    pub namespace: String,
    /// Who administers it with kubectl.
    #[serde(default)]
    pub admins: Vec<Subject>,
    /// What it may use at most.
    #[serde(default)]
    pub quota: Option<Quota>,
}

/// How certificates are issued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CertificateAuthorityType {
    /// Roots in Secrets of the organization's namespace; Tenter issues.
    #[default]
    Builtin,
}

/// Longest life of a root, in hours: 50 years.
pub const MAX_ROOT_LIFETIME_HOURS: u32 = 50 * 365 * 24;

/// An organization's certificate authority, in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAuthoritySpec {
    /// The organization's name.
    pub organization: String,
    /// The organization's MSP ID.
    #[serde(rename = "mspID")]
    pub msp_id: String,
    /// The domain of the certificate subjects.
    pub domain: String,
    /// How certificates are issued.
    #[serde(rename = "type", default)]
    pub authority_type: CertificateAuthorityType,
    /// Lifetime of the certificates that it issues, in hours.
    pub certificate_lifetime_hours: u32,
    /// Lifetime of its roots, in hours.
    pub root_lifetime_hours: u32,
}

/// What an identity may do in Fabric. Nodes have roles of their own, and are enrolled by their Orderer or Peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum IdentityRole {
    /// Reads and submits, as the channels' policies let clients: people and applications.
    #[default]
    Client,
    /// Signs configuration updates for its organization: a configuration administrator.
    Admin,
}

/// The enrolment of a person or an application, in its organization's namespace. People write it, not plans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentitySpec {
    /// The Consortium object whose daemon enrols it.
    pub consortium: String,
    /// The organization that it belongs to: the one whose namespace this is.
    pub organization: String,
    /// What it may do in Fabric: `client` (when absent), or `admin`, which signs configuration updates.
    #[serde(default)]
    pub role: IdentityRole,
    /// Common name of its certificate; `<name>.<domain of the organization>` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Name of the Secret that holds it; `identity-<name>` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Who may read that Secret through the API server, if the daemon's settings let this subject be granted roles. An
    /// `admin` needs one. A Pod of the namespace mounts the Secret without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Lifetime of its certificates, in hours; that of the organization's authority when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_hours: Option<u32>,
    /// Puts all its certificates on the organization's revocation list, for ever.
    #[serde(default)]
    pub revoked: bool,
}

/// CPU and memory of a node, as Kubernetes quantities; requests and limits alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeResources {
    /// CPU request, for example `100m`.
    pub cpu: String,
    /// Memory request and limit, for example `512Mi`.
    pub memory: String,
}

/// A node's volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeStorage {
    /// Size, for example `10Gi`.
    pub size: String,
    /// Storage class; the cluster's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// How a node is reached from outside its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ExposeType {
    /// A port of every machine of the cluster.
    NodePort,
    /// A load balancer that the cluster's provider makes.
    LoadBalancer,
}

/// The way to a node from outside its cluster: its gRPC port, never the admin or operations port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expose {
    /// What kind of Service.
    #[serde(rename = "type")]
    pub expose_type: ExposeType,
    /// The port of the machines, or of the load balancer.
    pub port: u16,
}

/// A node: an orderer or a peer, in its organization's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSpec {
    /// The organization's name.
    pub organization: String,
    /// The organization's MSP ID.
    #[serde(rename = "mspID")]
    pub msp_id: String,
    /// The domain of the node's certificate subject.
    pub domain: String,
    /// `host:port` under which every member reaches the node; it stands in channel configurations and certificates.
    pub address: String,
    /// The program's image.
    pub image: String,
    /// The Fabric version that the image holds, `major.minor` or `major.minor.patch`.
    pub version: String,
    /// CPU and memory.
    pub resources: NodeResources,
    /// The ledger's volume.
    pub storage: NodeStorage,
    /// How it is reached from outside the cluster; not at all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,
}

/// How a channel orders transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConsensusType {
    /// Crash fault tolerant.
    #[serde(rename = "etcdraft")]
    EtcdRaft,
    /// Byzantine fault tolerant; needs Fabric 3.
    #[serde(rename = "BFT")]
    Bft,
}

/// One consenter of a channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsenterRef {
    /// The organization that runs it.
    pub organization: String,
    /// The organization's namespace.
    pub namespace: String,
    /// Name of the Orderer object.
    pub orderer: String,
    /// `host:port` of the orderer.
    pub address: String,
}

/// An orderer that is to order a channel no more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleasedOrderer {
    /// The organization that runs it.
    pub organization: String,
    /// The organization's MSP ID.
    #[serde(rename = "mspID")]
    pub msp_id: String,
    /// The organization's namespace.
    pub namespace: String,
    /// Name of the Orderer object.
    pub orderer: String,
    /// `host:port` of the orderer.
    pub address: String,
}

/// The consensus part of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelConsensus {
    /// How it orders.
    #[serde(rename = "type")]
    pub consensus_type: ConsensusType,
    /// Who orders. The position gives a BFT consenter its id at first; those that come later have the next ids.
    pub consenters: Vec<ConsenterRef>,
    /// Orderers that the file releases, or leaves out of its list of consenters: they are taken out if they order. A consenter that merely stands nowhere stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<ReleasedOrderer>,
    /// Options under Fabric's names (for etcdraft `tickInterval`, `electionTick`, `heartbeatTick`,
    /// `maxInflightBlocks`, `snapshotIntervalSize`); what is absent has Fabric's default.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// One organization that runs orderers of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrdererOrganization {
    /// The organization's name: the group's key in the channel configuration.
    pub organization: String,
    /// Its MSP ID.
    #[serde(rename = "mspID")]
    pub msp_id: String,
    /// Its namespace.
    pub namespace: String,
    /// `host:port` of its orderers of this channel, for clients and peers.
    pub endpoints: Vec<String>,
}

/// One member (application organization) of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelMember {
    /// The organization's name: the group's key in the channel configuration.
    pub organization: String,
    /// Its MSP ID.
    #[serde(rename = "mspID")]
    pub msp_id: String,
    /// Its namespace.
    pub namespace: String,
    /// Names of its Peer objects that join.
    pub peers: Vec<String>,
    /// `host:port` of its anchor peers.
    pub anchors: Vec<String>,
}

/// When a block is cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Most messages in a block.
    pub max_message_count: u32,
    /// Most bytes of a block.
    pub absolute_max_bytes: u32,
    /// Bytes after which a block is cut.
    pub preferred_max_bytes: u32,
    /// Time after which a block is cut, a Go duration such as `2s`.
    pub timeout: String,
}

/// Capability levels of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Channel level, for example `V3_0`.
    pub channel: String,
    /// Orderer level, for example `V2_0`.
    pub orderer: String,
    /// Application level, for example `V2_5`.
    pub application: String,
}

/// Policies of the three levels of a channel configuration, name to expression: `MAJORITY Admins`
/// (implicit meta) or Fabric's signature policy language.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelPolicies {
    /// `/Channel`.
    pub channel: BTreeMap<String, String>,
    /// `/Channel/Orderer`.
    pub orderer: BTreeMap<String, String>,
    /// `/Channel/Application`.
    pub application: BTreeMap<String, String>,
}

/// A channel, in the consortium's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelSpec {
    /// The Consortium object it belongs to, in the same namespace.
    pub consortium: String,
    /// The channel's name on the ledger (the object's name is the same).
    pub channel: String,
    /// The organization that forms it.
    pub organizer: String,
    /// Who orders, and how.
    pub consensus: ChannelConsensus,
    /// The organizations that run its orderers.
    pub orderer_organizations: Vec<OrdererOrganization>,
    /// Its members.
    pub members: Vec<ChannelMember>,
    /// Its policies.
    pub policies: ChannelPolicies,
    /// Access control lists, resource to policy reference.
    #[serde(default)]
    pub acls: BTreeMap<String, String>,
    /// Its capability levels.
    pub capabilities: Capabilities,
    /// When blocks are cut.
    pub batch: Batch,
    /// Organizations that the file releases: they are taken out of the configuration if they are in it. An
    /// organization that merely stands nowhere stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<String>,
    /// Header hash, hex, of the genesis block that the repository pins for a channel of several daemons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genesis_hash: Option<String>,
}

/// The part an organization plays in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MembershipRole {
    /// It formed the channel.
    Organizer,
    /// It joined it.
    Follower,
}

/// One organization in one channel, in the organization's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MembershipSpec {
    /// The Consortium object.
    pub consortium: String,
    /// The namespace of the Consortium and Channel objects.
    pub consortium_namespace: String,
    /// The channel.
    pub channel: String,
    /// The organization.
    pub organization: String,
    /// Its MSP ID.
    #[serde(rename = "mspID")]
    pub msp_id: String,
    /// Its part.
    pub role: MembershipRole,
    /// Names of its Orderer objects that are consenters of the channel.
    #[serde(default)]
    pub orderers: Vec<String>,
    /// Names of its Peer objects that join.
    #[serde(default)]
    pub peers: Vec<String>,
}

/// Where a chaincode's program comes from; exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChaincodeSourceSpec {
    /// An image that serves the chaincode (chaincode as a service): each member with peers runs it beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A package from the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<ChaincodePackageRef>,
    /// A service that somebody else runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalChaincode>,
}

/// A chaincode package, and the ConfigMap that holds its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChaincodePackageRef {
    /// The ConfigMap, in the object's namespace; its `binaryData` has the package as `package.tar.gz`.
    pub config_map: String,
    /// Label and SHA-256 of the package, as peers name it: what the ConfigMap holds must have this id.
    #[serde(rename = "packageID")]
    pub package_id: String,
}

/// A chaincode server that peers reach at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalChaincode {
    /// `host:port`, the same for every peer.
    pub address: String,
    /// Roots of the server's TLS certificate, PEM; without them peers connect in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_certificates: Option<String>,
}

/// A private data collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChaincodeCollection {
    /// Its name.
    pub name: String,
    /// MSP IDs of the organizations that hold the data.
    #[serde(rename = "memberMSPIDs")]
    pub member_msp_ids: Vec<String>,
    /// Peers that must have the data before a transaction is endorsed.
    pub required_peer_count: u32,
    /// Most peers that the data is sent to at endorsement.
    pub max_peer_count: u32,
    /// Blocks after which the data is removed; 0 keeps it.
    pub block_to_live: u32,
    /// Whether only clients of its members may read.
    pub member_only_read: bool,
    /// Whether only clients of its members may write.
    pub member_only_write: bool,
    /// Endorsement policy of its keys: an expression, or the path of one of the channel's; the chaincode's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement: Option<String>,
}

/// A member of a channel on whose peers a chaincode is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChaincodeMember {
    /// The organization's name.
    pub organization: String,
    /// Its MSP ID.
    #[serde(rename = "mspID")]
    pub msp_id: String,
    /// Its namespace.
    pub namespace: String,
    /// Names of its Peer objects that are in the channel; never empty.
    pub peers: Vec<String>,
}

/// A chaincode on a channel, in the consortium's namespace. It says what should be defined and run, never which step is
/// next: the sequence comes from the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChaincodeSpec {
    /// The Consortium object it belongs to, in the same namespace.
    pub consortium: String,
    /// The channel.
    pub channel: String,
    /// The chaincode's name on the ledger; the object's name is made of the channel's and of it.
    pub name: String,
    /// Its version: a label that members agree on.
    pub version: String,
    /// Where its program comes from.
    pub source: ChaincodeSourceSpec,
    /// Endorsement policy: Fabric's policy language, or a path that begins with `/Channel/`; the channel's
    /// `Endorsement` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement: Option<String>,
    /// Its private data collections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collections: Vec<ChaincodeCollection>,
    /// Whether its `Init` function must be called first.
    #[serde(default)]
    pub init_required: bool,
    /// The members of the channel that have peers in it, those of other daemons too.
    pub members: Vec<ChaincodeMember>,
}

/// What must be satisfied for one element of a config update.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TouchedElement {
    /// The element as Fabric names it, for example `[Value]  /Channel/Orderer/BatchTimeout`.
    pub element: String,
    /// The version that the update gives it.
    pub version: u64,
    /// Path of the policy that the update must satisfy; absent for an element that is new in a group that is policed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// One difference that a config update makes, in words for people; never protobuf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProposedChange {
    /// What changes, for example `/Channel/Orderer/BatchTimeout`.
    pub path: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// One config update of a channel, in the consortium's namespace. It never changes: another update is another proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProposalSpec {
    /// The Consortium object it belongs to, in the same namespace.
    pub consortium: String,
    /// The channel.
    pub channel: String,
    /// What the update is about, for example `member/initech`: at most one proposal of a topic is open.
    pub topic: String,
    /// SHA-256, hex, of the update's bytes.
    pub digest: String,
    /// The exact bytes of `common.ConfigUpdate`, base64: what is signed.
    pub update: String,
    /// Sequence of the configuration that it was computed from.
    pub base_sequence: u64,
    /// What it changes.
    pub changes: Vec<ProposedChange>,
    /// The elements that it touches, and the policies that guard them.
    pub elements: Vec<TouchedElement>,
    /// Why it is proposed, when it is not simply what the file asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What cannot be undone about it; such an update is submitted only with an approval of exactly this digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible: Option<String>,
}

/// Annotation of a Proposal whose update cannot be undone: the digest that is approved. A person writes it, or whoever carries
/// out a plan in which the update is approved.
pub const ANNOTATION_APPROVED: &str = "tenter.dev/approved";

/// Annotation of an Orderer or Peer that is taken away with its volume: the claim that goes when the object does. Whoever
/// carries out a plan in which that is approved writes it.
pub const ANNOTATION_DELETE_VOLUME: &str = "tenter.dev/delete-volume";

/// What an organization says to a config update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum VoteChoice {
    /// It signs.
    Approve,
    /// It does not.
    Reject,
}

impl std::fmt::Display for VoteChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Approve => "Approve",
            Self::Reject => "Reject",
        })
    }
}

/// An organization's yes or no to a proposal, in its namespace. Its administrators write it, not plans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VoteSpec {
    /// The Consortium object whose daemon counts it.
    pub consortium: String,
    /// The organization that votes: the one whose namespace this is.
    pub organization: String,
    /// Name of the Proposal.
    pub proposal: String,
    /// SHA-256, hex, of the update that was voted on, as the Proposal has it: the vote is for no other.
    pub digest: String,
    /// Yes or no.
    pub choice: VoteChoice,
    /// Why, in a line; other members read it when an update is rejected.
    #[serde(default)]
    pub reason: String,
}

/// Whether steps that cannot be undone wait for an approval, and what was approved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalSettings {
    /// Whether they do. Updates of a channel's capabilities and the deletion of volumes always wait for one.
    #[serde(default)]
    pub required: bool,
    /// Digests of the steps that a person approved; `tenter approve HASH` writes those of the plan with that hash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved: Vec<String>,
    /// The organizations whose signed files in the repository (`approvals/`) approve as well, any one of them; `*` for all of
    /// the definition. Without an entry such files are shown and approve nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<String>,
}

impl ApprovalSettings {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A condition, as `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Reconciling` or `Stalled` (kstatus).
    #[serde(rename = "type")]
    pub condition_type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The generation that it speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// When the status last changed, RFC 3339.
    pub last_transition_time: String,
    /// A code, CamelCase.
    pub reason: String,
    /// For a person: what is so, where, and what to do next.
    pub message: String,
}

/// Where a Consortium's definition comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsortiumSource {
    /// URL of the git repository: `https`, `http`, `ssh`, `git` or `file`.
    pub repository: String,
    /// The branch that is followed.
    #[serde(default = "default_branch")]
    pub branch: String,
    /// Path of the definition in the repository.
    #[serde(default = "default_path")]
    pub path: String,
    /// Seconds between two looks at the repository.
    #[serde(default = "default_interval")]
    pub interval_seconds: u32,
    /// Secret in the Consortium's namespace with `username`/`password`, or `identity` (an SSH private key) and `known_hosts`.
    #[serde(default)]
    pub secret: Option<String>,
    /// Whose signatures its commits need; without it commits are taken as the branch has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<SourceVerification>,
}

/// Whether commits must be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum VerificationMode {
    /// Signatures are not looked at.
    Off,
    /// Every commit of the branch's first-parent history must be signed by a listed key.
    #[default]
    Required,
}

/// Whose signatures the commits of a source need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceVerification {
    /// Whether commits must be signed.
    #[serde(default)]
    pub mode: VerificationMode,
    /// The keys that are trusted.
    pub keys: Vec<TrustedKey>,
}

/// A key whose signatures on commits are trusted: exactly one of `ssh`, `openpgp`, `configMap` and `secret`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrustedKey {
    /// What the key is called in messages: a person, or a machine.
    pub name: String,
    /// The organization whose own section its signature agrees to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// A public SSH key in one line, as in `id_ed25519.pub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
    /// An armoured OpenPGP public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openpgp: Option<String>,
    /// A ConfigMap of the Consortium's namespace that holds the public key, of either form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyReference>,
    /// A Secret of the Consortium's namespace that holds the public key, of either form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyReference>,
    /// RFC 3339 time after which commits need another key. An OpenPGP key's own expiry holds as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// Whether the key is no longer trusted. Commits that it signed and that were accepted stay accepted.
    #[serde(default)]
    pub revoked: bool,
}

/// One entry of a ConfigMap or Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyReference {
    /// Name of the object.
    pub name: String,
    /// Key of the entry.
    pub key: String,
}

/// Who decides that an organization signs a config update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SigningMode {
    /// The daemon signs what the verified definition asks for.
    Auto,
    /// The organization's administrator says so, each time.
    Manual,
}

/// Where daemons of different members exchange updates and signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignaturesSource {
    /// URL of a git repository that daemons may push to; that of the definition when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Secret like the source's, for that repository; the source's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

fn default_branch() -> String {
    "main".to_owned()
}

fn default_path() -> String {
    "network.yaml".to_owned()
}

const fn default_interval() -> u32 {
    30
}

/// The namespaces that a daemon may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSettings {
    /// Names, or prefixes that end in `*`.
    #[serde(default)]
    pub allowed: Vec<String>,
    /// Whether it makes those that are missing.
    #[serde(default)]
    pub create: bool,
}

/// The images that a daemon may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSettings {
    /// Registries or repositories, matched by whole path segments: `docker.io/hyperledger`.
    #[serde(default)]
    pub allowed: Vec<String>,
    /// Prefix to the prefix that is pulled instead, matched the same way; for clusters that do not reach the first.
    #[serde(default)]
    pub mirrors: BTreeMap<String, String>,
}

/// A consortium, in its own namespace: the daemon's own settings, which the shared file cannot change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsortiumSpec {
    /// Where its definition comes from.
    pub source: ConsortiumSource,
    /// The organizations that this daemon acts for; `*` for all, only where the repository has no `organizations/` folder.
    pub organizations: Vec<String>,
    /// The namespaces that it may use.
    #[serde(default)]
    pub namespaces: NamespaceSettings,
    /// The images that it may run.
    #[serde(default)]
    pub images: ImageSettings,
    /// The subjects that may be granted roles.
    #[serde(default)]
    pub subjects: Vec<Subject>,
    /// The servers of chaincode elsewhere that its peers may be sent to: `host:port`, or `*.domain:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chaincode_servers: Vec<String>,
    /// Who decides that an organization signs, by organization. `auto` needs the verification of commits. Without an entry: `auto` where
    /// this daemon acts for every organization of a channel, `manual` otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signing: BTreeMap<String, SigningMode>,
    /// Where signatures are exchanged with the daemons of other members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signatures: Option<SignaturesSource>,
    /// Whether what cannot be undone waits for an approval.
    #[serde(default, skip_serializing_if = "ApprovalSettings::is_default")]
    pub approvals: ApprovalSettings,
    /// Whether it is left alone.
    #[serde(default)]
    pub suspend: bool,
}
