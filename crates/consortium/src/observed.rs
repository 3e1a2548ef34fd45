//! The live world as a plan sees it: Kubernetes objects and Fabric, without a client in sight.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenter_fabric::chaincode::{Approved, Committed, PackageId};

use crate::channel_config::Material;
use crate::document::Blob;
use crate::objects::{Batch, Capabilities, ChannelPolicies, Condition, ConsensusType, Kind, ObjectRef};
use crate::observation::Observation;

/// A node by its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct NodeRef {
    /// Its organization's namespace.
    pub namespace: String,
    /// Its object's name.
    pub name: String,
}

impl std::fmt::Display for NodeRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A live object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveObject {
    /// Its spec as the API server has it.
    pub spec: serde_json::Value,
    /// `metadata.generation`.
    pub generation: i64,
    /// The phase in its status, to show only.
    pub phase: Option<String>,
    /// The committed sequence in its status, of a chaincode. The ledger's never goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Who else wrote fields of its spec, and Tenter did not since, by path (`spec.image`): names of field managers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub managers: BTreeMap<String, String>,
    /// When its certificates end, RFC 3339, by what they are: `tls certificate` of a node, `clients root` of an authority.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, String>,
}

/// A live namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveNamespace {
    /// Its `tenter.dev/organization` label.
    pub organization: Option<String>,
}

/// What an orderer says of one channel (participation API).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrdererChannel {
    /// `consenter`, `follower`, ...
    pub relation: String,
    /// `active`, `onboarding`, `inactive` or `failed`.
    pub status: String,
    /// Number of blocks.
    pub height: u64,
}

/// What a peer says of one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerChannel {
    /// Number of blocks.
    pub height: u64,
}

/// Whether a node held the channel before, as the join record in its namespace says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JoinRecord {
    /// No record: it never joined.
    #[default]
    None,
    /// It had joined: if the node says Absent, its data is lost.
    Joined,
}

/// One node's view of one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeChannel<T> {
    /// What the node says now.
    pub live: Observation<T>,
    /// What is on record.
    pub record: JoinRecord,
}

/// The parts of a channel configuration that the file governs, in the file's own terms: made from the
/// wanted channel and from the live configuration alike, so that the two can be compared field by field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelFacts {
    /// How it orders.
    pub consensus_type: ConsensusType,
    /// `host:port` of the consenters.
    pub consenters: Vec<String>,
    /// Consensus options, all of them.
    pub options: BTreeMap<String, String>,
    /// MSP ID of each orderer organization to its endpoints.
    pub orderer_organizations: BTreeMap<String, Vec<String>>,
    /// MSP ID of each member to its anchor peers.
    pub members: BTreeMap<String, Vec<String>>,
    /// Policies by level.
    pub policies: ChannelPolicies,
    /// Access control lists.
    pub acls: BTreeMap<String, String>,
    /// Capability levels.
    pub capabilities: Capabilities,
    /// When blocks are cut.
    pub batch: Batch,
}

/// The live configuration of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveChannel {
    /// The configuration's sequence.
    pub sequence: u64,
    /// The block that holds it.
    pub block: u64,
    /// Its facts.
    pub facts: ChannelFacts,
    /// Version of every element by path: what an update must name.
    pub versions: BTreeMap<String, u64>,
    /// The exact bytes of `common.Config`.
    #[serde(default, with = "crate::hexadecimal")]
    #[schemars(with = "String")]
    pub config: Vec<u8>,
    /// Who made it; nobody for a channel's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<ConfigAuthor>,
}

/// Who changed a configuration, as its config block tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigAuthor {
    /// SHA-256, hex, of the update that it came from.
    pub digest: String,
    /// Who signed that update: MSP ID and subject.
    pub signers: Vec<String>,
}

/// An element of a live configuration that somebody changed without this consortium's proposals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForeignChange {
    /// The config block.
    pub block: u64,
    /// Who made it.
    pub author: ConfigAuthor,
    /// The elements that it touched.
    pub elements: Vec<String>,
}

/// A pinned genesis block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PinnedGenesis {
    /// Header hash, hex.
    pub hash: String,
}

/// What is known of one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedChannel {
    /// Its pinned genesis block.
    pub genesis: Observation<PinnedGenesis>,
    /// Its live configuration.
    pub config: Observation<LiveChannel>,
    /// The public certificates that its configuration is made of, as far as they are there.
    #[serde(default)]
    pub material: Material,
    /// Signatures over proposed updates, by the update's digest: bytes of `common.ConfigSignature`. They are no proof: whoever
    /// reads them judges them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signatures: BTreeMap<String, Vec<Blob>>,
    /// Digests of proposed updates that are approved at their Proposal.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub approved: BTreeSet<String>,
    /// What others changed in it lately.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<ForeignChange>,
    /// That the orderers of other members refuse the own organization, as they do once it has left: what they said. Looked at only
    /// of channels that the definition no longer has own organizations in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Each own orderer's view.
    #[serde(with = "crate::pairs")]
    #[schemars(with = "Vec<(NodeRef, NodeChannel<OrdererChannel>)>")]
    pub orderers: BTreeMap<NodeRef, NodeChannel<OrdererChannel>>,
    /// Each own peer's view.
    #[serde(with = "crate::pairs")]
    #[schemars(with = "Vec<(NodeRef, NodeChannel<PeerChannel>)>")]
    pub peers: BTreeMap<NodeRef, NodeChannel<PeerChannel>>,
}

/// Who committed a chaincode's definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionAuthor {
    /// The block that holds the commit.
    pub block: u64,
    /// Who made the commit's transaction: MSP ID and subject.
    pub creator: String,
    /// Whether that is none of this daemon's own identities.
    pub foreign: bool,
}

/// What is known of one chaincode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedChaincode {
    /// The committed definition. Absent only if a peer that is up to date says that the channel has none, or if the channel
    /// itself is witnessed to be absent.
    pub committed: Observation<Committed>,
    /// Who committed it, if the block was found.
    pub author: Option<DefinitionAuthor>,
    /// What each own member last approved, by MSP ID: under the committed sequence if that is the wanted definition, else
    /// under the next. Absent if a peer of it says that there is no such approval, or if it never had a peer.
    pub approvals: BTreeMap<String, Observation<Approved>>,
    /// Who of all members, by MSP ID, approved the wanted definition under the next sequence (`CheckCommitReadiness`).
    /// Looked at only where the committed definition is not the wanted one.
    pub readiness: Observation<BTreeMap<String, bool>>,
    /// The packages that each own peer has; absent for a peer that is not there yet.
    pub installed: BTreeMap<NodeRef, Observation<BTreeSet<PackageId>>>,
    /// The ConfigMap with the package, where the source is one from the repository.
    pub package: Observation<()>,
}

/// The live world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Whether objects of a kind could be listed; the objects themselves are in `objects`.
    pub kinds: BTreeMap<Kind, Observation<()>>,
    /// The consortium's live objects (those with its label), in every namespace that could be read.
    pub objects: BTreeMap<ObjectRef, LiveObject>,
    /// The namespaces that the definition names.
    pub namespaces: BTreeMap<String, Observation<LiveNamespace>>,
    /// The channels that the definition names, and those that own nodes and organizations are still in.
    pub channels: BTreeMap<String, ObservedChannel>,
    /// The chaincodes that the definition names, as `channel/chaincode`.
    pub chaincodes: BTreeMap<String, ObservedChaincode>,
    /// The channels that live nodes which the definition does not name have joined, by their join records and the live
    /// Memberships of their organization. The definition says nothing of them any more.
    pub held: BTreeMap<ObjectRef, Observation<BTreeSet<String>>>,
    /// The entries of the `ConfigMap`s with other daemons' public material, by name.
    pub materials: BTreeMap<String, Observation<BTreeMap<String, Blob>>>,
    /// When it was looked at; certificates are held to it.
    pub at: Option<Timestamp>,
}

impl std::fmt::Display for ForeignChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "changed in block {} by an update that {} signed", self.block, self.author.signers.join(", "))
    }
}
