//! `network.yaml` as written: the format `tenter.dev/v1alpha1`, kind `Network`.
//!
//! The doc comments of this module are the descriptions that an editor shows: they become
//! `schemas/network.schema.json`. A field that has a default is an `Option` here; `crate::network` fills it in.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::objects::{CertificateAuthorityType, ConsensusType, ExposeType, Quota, Subject};

/// A consortium of organizations on Hyperledger Fabric: what should be, never what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Network", extend("$id" = "https://tenter.dev/schemas/network.schema.json"))]
pub struct NetworkFile {
    /// Version of this format.
    pub api_version: ApiVersion,
    /// What the document describes.
    pub kind: DocumentKind,
    /// The network's name.
    pub metadata: Metadata,
    /// What the network should be.
    pub spec: NetworkSection,
}

/// Versions of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first version.
    #[serde(rename = "tenter.dev/v1alpha1")]
    V1Alpha1,
}

/// Kinds of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DocumentKind {
    /// A network.
    Network,
}

/// What names the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Name of the network, a DNS label; default namespaces and domains are made from it.
    #[schemars(example = &"trade")]
    pub name: String,
}

/// What the network should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkSection {
    /// The Fabric that all nodes run, unless their organization says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fabric: Option<FabricEntry>,
    /// The organizations, with their nodes.
    #[schemars(length(min = 1))]
    pub organizations: Vec<OrganizationEntry>,
    /// The channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<ChannelEntry>>,
    /// The chaincodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chaincodes: Option<Vec<ChaincodeEntry>>,
    /// What was in this file once and may now be taken down. Removing a line alone deletes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Vec<RetiredEntry>>,
}

/// Which Fabric the nodes run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FabricEntry {
    /// Version, `major.minor` or `major.minor.patch`, in quotes. Default: `"3.1"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"3.1", example = &"2.5.12")]
    pub version: Option<String>,
    /// The images of the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImagesEntry>,
}

/// Images of the nodes; without a tag or digest, the version is the tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImagesEntry {
    /// Image of the orderers. Default: `docker.io/hyperledger/fabric-orderer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"docker.io/hyperledger/fabric-orderer")]
    pub orderer: Option<String>,
    /// Image of the peers. Default: `docker.io/hyperledger/fabric-peer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"docker.io/hyperledger/fabric-peer")]
    pub peer: Option<String>,
}

/// The Fabric of one organization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrganizationFabricEntry {
    /// Version of this organization's nodes. Default: spec.fabric.version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"3.1")]
    pub version: Option<String>,
}

/// An organization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrganizationEntry {
    /// Name, a DNS label; also the key of its group in channel configurations. It can never change.
    #[schemars(example = &"acme")]
    pub name: String,
    /// Id of its membership service provider; it can never change. Default: the name in camel case and `MSP`, as `AcmeMSP`.
    #[serde(rename = "mspID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"AcmeMSP")]
    pub msp_id: Option<String>,
    /// Domain of its certificate subjects. Default: `<name>.<network>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"acme.example.com")]
    pub domain: Option<String>,
    /// Namespace of its objects, keys and nodes. Default: `<network>-<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// How its certificates are issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<CertificateAuthorityEntry>,
    /// Who administers it with kubectl, in its namespace; what the daemon's own settings do not allow is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admins: Option<Vec<Subject>>,
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// The Fabric that its nodes run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fabric: Option<OrganizationFabricEntry>,
    /// Its ordering service nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orderers: Option<Vec<NodeEntry>>,
    /// Its peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<NodeEntry>>,
}

/// An organization's certificate authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateAuthorityEntry {
    /// Who issues. Default: `builtin`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub authority_type: Option<CertificateAuthorityType>,
    /// Lifetime of the certificates that it issues, in hours, days or years. Default: `1y`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"1y", example = &"90d")]
    pub certificate_lifetime: Option<String>,
    /// Lifetime of its roots. Default: `10y`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"10y")]
    pub root_lifetime: Option<String>,
}

/// A node: its name, or a mapping with more than the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NodeEntry {
    /// The node's name; everything else has its default.
    Name(String),
    /// The node with settings.
    Node(NodeSettings),
}

/// A node with settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSettings {
    /// Name, a DNS label, unique in the organization.
    #[schemars(example = &"peer1")]
    pub name: String,
    /// `host:port` under which every member reaches the node; it stands in channel configurations and certificates.
    /// Default: `<name>.<namespace>.svc:7050` for an orderer, port 7051 for a peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"peer1.acme.example.com:7051")]
    pub address: Option<String>,
    /// The ledger's volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageEntry>,
    /// CPU and memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesEntry>,
    /// How members in other clusters reach it: a Service of its own for its gRPC port. `address` names where that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<ExposeEntry>,
}

/// How a node is reached from outside its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExposeEntry {
    /// What kind of Service.
    #[serde(rename = "type")]
    pub expose_type: ExposeType,
    /// The port of the machines, or of the load balancer. Default: the port of `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &30750)]
    pub port: Option<u16>,
}

/// A node's volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorageEntry {
    /// Size. Default: `5Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"50Gi")]
    pub size: Option<String>,
    /// Storage class. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// A node's CPU and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourcesEntry {
    /// CPU request. Default: `100m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"500m")]
    pub cpu: Option<String>,
    /// Memory request and limit. Default: `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"1Gi")]
    pub memory: Option<String>,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelEntry {
    /// Name of the channel. It can never change.
    #[schemars(example = &"settlement")]
    pub name: String,
    /// The organization that forms the channel. Default: the first organization that has orderers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organizer: Option<String>,
    /// How transactions are ordered, and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consensus: Option<ConsensusEntry>,
    /// The organizations that use the channel.
    pub members: Vec<MemberEntry>,
    /// Policies that differ from Fabric's usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<PoliciesEntry>,
    /// Access control lists: resource to policy, for example `peer/Propose: /Channel/Application/Writers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acls: Option<BTreeMap<String, String>>,
    /// Capability levels. Default: the newest that all nodes of the channel know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<CapabilitiesEntry>,
    /// When a block is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchEntry>,
}

/// How a channel orders transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsensusEntry {
    /// Crash fault tolerant (`etcdraft`) or byzantine fault tolerant (`BFT`). Default: `etcdraft`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub consensus_type: Option<ConsensusType>,
    /// The orderers, as `organization/orderer`. Of a live channel they come and go one at a time, and one that is left out of this list, or that
    /// `retired` names, goes. Default: all orderers of the organizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = consenters_example())]
    pub consenters: Option<Vec<String>>,
    /// Options of the consensus type, for example `tickInterval: 500ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, OptionValue>>,
}

/// The value of a consensus option: text or a whole number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OptionValue {
    /// A whole number.
    Number(u32),
    /// Text, for example a duration.
    Text(String),
}

impl std::fmt::Display for OptionValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A member: the organization's name, or a mapping with more than the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MemberEntry {
    /// The organization's name; all its peers join, and the first is the anchor.
    Name(String),
    /// The member with settings.
    Member(MemberSettings),
}

/// A member with settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberSettings {
    /// The organization's name.
    pub organization: String,
    /// Names of its peers that join. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<String>>,
    /// Names of its peers that other members find it by. Default: the first of its peers in the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchors: Option<Vec<String>>,
}

/// Policies by level, name to expression: `MAJORITY Admins`, or Fabric's policy language as `OR('AcmeMSP.admin')`.
/// What is not named keeps Fabric's usual policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoliciesEntry {
    /// Of the channel itself. Defaults: Readers `ANY Readers`, Writers `ANY Writers`, Admins `MAJORITY Admins`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<BTreeMap<String, String>>,
    /// Of the ordering service. Defaults: as the channel's, and `BlockValidation` `ANY Writers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orderer: Option<BTreeMap<String, String>>,
    /// Of the members. Defaults: as the channel's, and `Endorsement` and `LifecycleEndorsement` `MAJORITY Endorsement`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<BTreeMap<String, String>>,
}

/// Capability levels; they can be raised and never lowered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CapabilitiesEntry {
    /// Channel level: `V2_0` or `V3_0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"V3_0", example = &"V2_0")]
    pub channel: Option<String>,
    /// Orderer level: `V2_0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"V2_0")]
    pub orderer: Option<String>,
    /// Application level: `V2_0` or `V2_5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"V2_5")]
    pub application: Option<String>,
}

/// When a block is cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchEntry {
    /// Most transactions in a block. Default: 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_message_count: Option<u32>,
    /// Most bytes of a block. Default: `10Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_max_bytes: Option<Size>,
    /// Bytes after which a block is cut. Default: `2Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_max_bytes: Option<Size>,
    /// Time after which a block is cut. Default: `2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"2s", example = &"500ms")]
    pub timeout: Option<String>,
}

/// A number of bytes: a whole number, or text with a unit such as `2Mi`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Size {
    /// Bytes.
    Bytes(u32),
    /// With a unit: `512Ki`, `2Mi`.
    Text(String),
}

/// A chaincode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChaincodeEntry {
    /// Name, unique in its channel.
    pub name: String,
    /// The channel that it is defined on.
    pub channel: String,
    /// Version; a label that members agree on, in quotes if it looks like a number.
    #[schemars(example = &"1.0")]
    pub version: String,
    /// Where its program comes from: an image, a package, or an address.
    pub source: ChaincodeSource,
    /// Endorsement policy: Fabric's policy language, or the path of one of the channel's policies. Default:
    /// `/Channel/Application/Endorsement`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"OR('AcmeMSP.peer', 'GlobexMSP.peer')", example = &"/Channel/Application/Endorsement")]
    pub endorsement: Option<String>,
    /// Private data collections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collections: Option<Vec<CollectionEntry>>,
    /// Whether its `Init` function must be called first. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_required: Option<bool>,
}

/// Where a chaincode's program comes from; exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChaincodeSource {
    /// An image that serves the chaincode (chaincode as a service). Each member with peers runs it beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"ghcr.io/example/asset:1.0")]
    pub image: Option<String>,
    /// Path in the repository: of a chaincode package, or of a folder with a `connection.json`, which becomes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"chaincodes/asset.tar.gz")]
    pub package: Option<String>,
    /// A chaincode server that somebody else runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalEntry>,
}

/// A chaincode server that peers reach at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalEntry {
    /// `host:port`, the same for the peers of every member.
    #[schemars(example = &"asset.example.com:9999")]
    pub address: String,
    /// Path in the repository of the roots of its TLS certificate, PEM. Without it peers connect in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"chaincodes/asset-roots.pem")]
    pub root_certificates: Option<String>,
}

/// A private data collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CollectionEntry {
    /// Name, unique in its chaincode.
    pub name: String,
    /// The organizations that hold the data.
    #[schemars(length(min = 1))]
    pub members: Vec<String>,
    /// Peers that must have the data before a transaction is endorsed. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_peer_count: Option<u32>,
    /// Most peers that the data is sent to at endorsement. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_peer_count: Option<u32>,
    /// Blocks after which the data is removed; 0 keeps it. It can never change. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_to_live: Option<u32>,
    /// Whether only clients of its members may read. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_only_read: Option<bool>,
    /// Whether only clients of its members may write. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_only_write: Option<bool>,
    /// Endorsement policy of its keys, as the chaincode's is written. Default: the chaincode's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement: Option<String>,
}

/// Something that was in this file once: exactly one of the names, and what becomes of its ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetiredEntry {
    /// An organization, by name: it leaves its channels, then its nodes and memberships go. The objects of
    /// itself and of its authority stay as they are, with all keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// An orderer, as `organization/orderer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orderer: Option<String>,
    /// A peer, as `organization/peer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// A channel, by name. Its objects stay as they are: Fabric has no way to end a channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// An organization's membership of a channel, as `channel/organization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// A chaincode, as `channel/chaincode`: its services go, its definition stays on the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chaincode: Option<String>,
    /// What becomes of the ledger. Default: `keep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerFate>,
}

/// What becomes of a retired ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LedgerFate {
    /// The volume stays.
    #[default]
    Keep,
    /// A snapshot is taken, then the volume is deleted.
    SnapshotThenDelete,
    /// The volume is deleted, when somebody has approved that (`tenter approve`).
    Delete,
}

impl LedgerFate {
    /// The word of the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::SnapshotThenDelete => "snapshotThenDelete",
            Self::Delete => "delete",
        }
    }
}

fn consenters_example() -> [&'static str; 3] {
    ["hub/orderer1", "hub/orderer2", "hub/orderer3"]
}
