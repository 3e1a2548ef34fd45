//! Definitions of chaincodes: what the members of a channel agree on (`core/chaincode/lifecycle`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use prost::Message as _;
use tenter_fabric_wire::common::SignaturePolicyEnvelope;
use tenter_fabric_wire::protos::{
    ApplicationPolicy, CollectionConfig, CollectionConfigPackage, CollectionPolicyConfig, StaticCollectionConfig,
    application_policy, collection_config, collection_policy_config,
};

use super::package::PackageId;
use crate::hash::sha256_hex;
use crate::policy::{Principal, SignaturePolicy, SignatureRule};

/// The policy that a chaincode has unless its definition names another.
pub const DEFAULT_ENDORSEMENT: &str = "/Channel/Application/Endorsement";
/// Fabric's endorsement plugin.
pub const ENDORSEMENT_PLUGIN: &str = "escc";
/// Fabric's validation plugin.
pub const VALIDATION_PLUGIN: &str = "vscc";
/// Names that are taken (`systemChaincodeNames` in `core/chaincode/lifecycle/scc.go`).
const SYSTEM_NAMES: [&str; 5] = ["cscc", "escc", "lscc", "qscc", "vscc"];

/// Whether a chaincode may have this name: `^[a-zA-Z0-9]+([-_][a-zA-Z0-9]+)*$`, and not that of a system chaincode.
pub fn is_chaincode_name(name: &str) -> bool {
    has_name_form(name) && !SYSTEM_NAMES.contains(&name)
}

fn has_name_form(name: &str) -> bool {
    name.split(['-', '_']).all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Whether a definition may have this version: `^[A-Za-z0-9_.+-]+$`.
pub fn is_chaincode_version(version: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
    !version.is_empty() && version.bytes().all(legal)
}

/// Whether a collection may have this name: `^[A-Za-z0-9-]+([A-Za-z0-9_-]+)*$`.
pub fn is_collection_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    !name.is_empty() && !name.starts_with('_') && name.bytes().all(legal)
}

/// What is wrong with a definition that a peer answered or a transaction holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the collection at position {position} cannot be read: {why}")]
pub struct CollectionError {
    /// Where it stands, from 0.
    pub position: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// Who must endorse a transaction of a chaincode. Displays in Fabric's policy language, or as the policy's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endorsement {
    /// A policy of its own.
    Signature(SignaturePolicy),
    /// A policy of the channel's configuration, by its path.
    Reference(String),
    /// A parameter that this library does not read, such as one for another validation plugin; it is kept as it is.
    /// Peers approve any bytes.
    Other(Vec<u8>),
}

impl Default for Endorsement {
    /// The channel's own policy, which peers fill in where a definition has none.
    fn default() -> Self {
        Self::Reference(DEFAULT_ENDORSEMENT.to_owned())
    }
}

impl Endorsement {
    /// The validation parameter, byte for byte as Fabric's command line encodes it
    /// (`internal/peer/lifecycle/chaincode/common.go`): approvals are compared by it.
    pub fn validation_parameter(&self) -> Vec<u8> {
        self.to_wire().map_or_else(|bytes| bytes, |policy| policy.encode_to_vec())
    }

    /// Reads a validation parameter. Never fails: what cannot be kept in a typed form is kept as bytes. No bytes mean
    /// the default, which a peer would fill in.
    pub fn from_validation_parameter(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        ApplicationPolicy::decode(bytes)
            .ok()
            .and_then(|policy| Self::from_wire(&policy))
            .filter(|typed| typed.validation_parameter() == bytes)
            .unwrap_or_else(|| Self::Other(bytes.to_vec()))
    }

    fn to_wire(&self) -> Result<ApplicationPolicy, Vec<u8>> {
        let policy = match self {
            Self::Signature(policy) => application_policy::Type::SignaturePolicy(policy.to_wire()),
            Self::Reference(path) => application_policy::Type::ChannelConfigPolicyReference(path.clone()),
            Self::Other(bytes) => return Err(bytes.clone()),
        };
        Ok(ApplicationPolicy { r#type: Some(policy) })
    }

    fn from_wire(wire: &ApplicationPolicy) -> Option<Self> {
        match wire.r#type.as_ref()? {
            application_policy::Type::SignaturePolicy(policy) => exact(policy).map(Self::Signature),
            application_policy::Type::ChannelConfigPolicyReference(path) => Some(Self::Reference(path.clone())),
        }
    }
}

impl fmt::Display for Endorsement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(policy) => policy.fmt(formatter),
            Self::Reference(path) => formatter.write_str(path),
            Self::Other(bytes) => {
                write!(formatter, "parameter of {} bytes (sha256:{})", bytes.len(), sha256_hex(bytes))
            }
        }
    }
}

/// A policy that encodes to what it came from.
fn exact(wire: &SignaturePolicyEnvelope) -> Option<SignaturePolicy> {
    SignaturePolicy::from_wire(wire).filter(|typed| typed.to_wire() == *wire)
}

/// Private data that only some members hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Name.
    pub name: String,
    /// Who holds the data: an OR of principals.
    pub policy: SignaturePolicy,
    /// How many other peers must have got the data before an endorsement succeeds.
    pub required_peer_count: i32,
    /// How many other peers an endorser tries to give the data to.
    pub maximum_peer_count: i32,
    /// After how many blocks the data is purged; 0: never.
    pub block_to_live: u64,
    /// Whether only members' clients may read.
    pub member_only_read: bool,
    /// Whether only members' clients may write.
    pub member_only_write: bool,
    /// Who must endorse writes, if not the chaincode's own policy says it.
    pub endorsement: Option<Endorsement>,
}

impl Collection {
    /// A collection of these members with what Fabric's command line takes where nothing is said
    /// (`internal/peer/chaincode/common.go`).
    pub fn new(name: impl Into<String>, policy: SignaturePolicy) -> Self {
        Self {
            name: name.into(),
            policy,
            required_peer_count: 0,
            maximum_peer_count: 1,
            block_to_live: 0,
            member_only_read: false,
            member_only_write: false,
            endorsement: None,
        }
    }

    fn to_wire(&self) -> CollectionConfig {
        let policy = collection_policy_config::Payload::SignaturePolicy(self.policy.to_wire());
        let endorsement = self.endorsement.as_ref().map(|endorsement| {
            // Bytes that are no message cannot stand in this field; none are ever read from it.
            endorsement
                .to_wire()
                .unwrap_or_else(|bytes| ApplicationPolicy::decode(bytes.as_slice()).unwrap_or_default())
        });
        let collection = StaticCollectionConfig {
            name: self.name.clone(),
            member_orgs_policy: Some(CollectionPolicyConfig { payload: Some(policy) }),
            required_peer_count: self.required_peer_count,
            maximum_peer_count: self.maximum_peer_count,
            block_to_live: self.block_to_live,
            member_only_read: self.member_only_read,
            member_only_write: self.member_only_write,
            endorsement_policy: endorsement,
        };
        CollectionConfig { payload: Some(collection_config::Payload::StaticCollectionConfig(collection)) }
    }

    fn from_wire(wire: &CollectionConfig) -> Result<Self, &'static str> {
        let collection_config::Payload::StaticCollectionConfig(wire) = wire.payload.as_ref().ok_or("it is empty")?;
        let policy = wire.member_orgs_policy.as_ref().and_then(|policy| policy.payload.as_ref());
        let collection_policy_config::Payload::SignaturePolicy(policy) = policy.ok_or("it has no member policy")?;
        let endorsement = wire
            .endorsement_policy
            .as_ref()
            .map(|policy| Endorsement::from_wire(policy).unwrap_or_else(|| Endorsement::Other(policy.encode_to_vec())));
        Ok(Self {
            name: wire.name.clone(),
            policy: exact(policy).ok_or("its member policy is none of those known")?,
            required_peer_count: wire.required_peer_count,
            maximum_peer_count: wire.maximum_peer_count,
            block_to_live: wire.block_to_live,
            member_only_read: wire.member_only_read,
            member_only_write: wire.member_only_write,
            endorsement,
        })
    }
}

/// The collections as arguments and definitions hold them; none at all if there are none, as the command line does.
pub(super) fn collections_to_wire(collections: &[Collection]) -> Option<CollectionConfigPackage> {
    let config: Vec<_> = collections.iter().map(Collection::to_wire).collect();
    (!config.is_empty()).then_some(CollectionConfigPackage { config })
}

pub(super) fn collections_from_wire(
    wire: Option<&CollectionConfigPackage>,
) -> Result<Vec<Collection>, CollectionError> {
    let collections = wire.map(|package| package.config.as_slice()).unwrap_or_default().iter().enumerate();
    collections
        .map(|(position, wire)| Collection::from_wire(wire).map_err(|why| CollectionError { position, why }))
        .collect()
}

/// What members agree on when they approve a chaincode, except for the sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Name in the channel.
    pub name: String,
    /// Version; any text.
    pub version: String,
    /// Who must endorse.
    pub endorsement: Endorsement,
    /// Private data collections. Fabric compares them in their order.
    pub collections: Vec<Collection>,
    /// Whether the first call must be an initialisation.
    pub init_required: bool,
    /// Endorsement plugin of the peers.
    pub endorsement_plugin: String,
    /// Validation plugin of the peers.
    pub validation_plugin: String,
}

/// One thing that two definitions see in different ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is, such as `version` or `collections.prices.blockToLive`.
    pub field: String,
    /// How it is in the first.
    pub old: String,
    /// How it is in the other.
    pub new: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} -> {}", self.field, self.old, self.new)
    }
}

impl Definition {
    /// A definition with Fabric's defaults for all the rest.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            endorsement: Endorsement::default(),
            collections: Vec::new(),
            init_required: false,
            endorsement_plugin: ENDORSEMENT_PLUGIN.to_owned(),
            validation_plugin: VALIDATION_PLUGIN.to_owned(),
        }
    }

    /// What differs in `other`; empty exactly if peers would take the two for the same.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let Self { name, version, endorsement, collections, init_required, endorsement_plugin, validation_plugin } =
            self;
        let mut found = Differences(Vec::new());
        found.text("name", name, &other.name);
        found.text("version", version, &other.version);
        found.endorsement("endorsement", Some(endorsement), Some(&other.endorsement));
        found.text("initRequired", init_required, &other.init_required);
        found.text("endorsementPlugin", endorsement_plugin, &other.endorsement_plugin);
        found.text("validationPlugin", validation_plugin, &other.validation_plugin);
        found.collections(collections, &other.collections);
        found.0
    }

    /// Every check that Fabric makes when a definition is approved or committed (`validateInput` in
    /// `core/chaincode/lifecycle/scc.go`): all the faults, where a peer names one. `known_mspids` are the MSPs of the
    /// channel, those of orderers included; `previous` is the committed definition.
    pub fn check(&self, known_mspids: &BTreeSet<String>, previous: Option<&Self>) -> Vec<DefinitionProblem> {
        let mut problems = Vec::new();
        if !has_name_form(&self.name) {
            problems.push(DefinitionProblem::Name { name: self.name.clone() });
        } else if !is_chaincode_name(&self.name) {
            problems.push(DefinitionProblem::SystemName { name: self.name.clone() });
        }
        if !is_chaincode_version(&self.version) {
            problems.push(DefinitionProblem::Version { version: self.version.clone() });
        }
        let mut names = BTreeSet::new();
        for collection in &self.collections {
            if !names.insert(collection.name.as_str()) {
                problems.push(DefinitionProblem::CollectionTwice { collection: collection.name.clone() });
            }
            check_collection(collection, known_mspids, &mut problems);
        }
        for old in previous.map(|previous| previous.collections.as_slice()).unwrap_or_default() {
            let collection = || old.name.clone();
            // Where a name is there twice, Fabric looks at the last one.
            match self.collections.iter().rfind(|new| new.name == old.name) {
                None => problems.push(DefinitionProblem::CollectionGone { collection: collection() }),
                Some(new) if new.block_to_live != old.block_to_live => {
                    let (old, new) = (old.block_to_live, new.block_to_live);
                    problems.push(DefinitionProblem::BlockToLive { collection: collection(), old, new });
                }
                Some(_) => {}
            }
        }
        problems
    }
}

fn check_collection(collection: &Collection, known_mspids: &BTreeSet<String>, problems: &mut Vec<DefinitionProblem>) {
    let name = || collection.name.clone();
    if !is_collection_name(&collection.name) {
        problems.push(DefinitionProblem::CollectionName { collection: name() });
    }
    let (required, maximum) = (collection.required_peer_count, collection.maximum_peer_count);
    if maximum < required {
        problems.push(DefinitionProblem::PeerCounts { collection: name(), required, maximum });
    }
    if required < 0 {
        problems.push(DefinitionProblem::RequiredPeerCount { collection: name(), required });
    }
    check_members(&collection.policy.rule, collection, problems);
    for principal in &collection.policy.identities {
        let msp_id = match principal {
            Principal::Role { msp_id, .. } | Principal::Unit { msp_id, .. } | Principal::Identity { msp_id, .. } => {
                msp_id
            }
            Principal::Other { .. } => {
                let principal = principal.to_string();
                problems.push(DefinitionProblem::PrincipalKind { collection: name(), principal });
                continue;
            }
        };
        if !known_mspids.contains(msp_id) {
            problems.push(DefinitionProblem::UnknownMember { collection: name(), msp_id: msp_id.clone() });
        }
    }
}

/// A member policy says OR all the way down (`validateSpOrConcat`), and points to principals that are there.
fn check_members(rule: &SignatureRule, collection: &Collection, problems: &mut Vec<DefinitionProblem>) {
    match rule {
        SignatureRule::SignedBy(index) => {
            let there = usize::try_from(*index).is_ok_and(|index| index < collection.policy.identities.len());
            if !there {
                let collection = collection.name.clone();
                problems.push(DefinitionProblem::PrincipalIndex { collection, index: *index });
            }
        }
        SignatureRule::OutOf { n, rules } => {
            if *n != 1 {
                let policy = collection.policy.to_string();
                problems.push(DefinitionProblem::NotAnOr { collection: collection.name.clone(), policy });
            }
            for rule in rules {
                check_members(rule, collection, problems);
            }
        }
    }
}

/// Why peers would refuse a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionProblem {
    /// An illegal name.
    #[error("`{name}` is no name of a chaincode: letters and digits, with single `-` and `_` between them")]
    Name {
        /// The name.
        name: String,
    },
    /// A name that is taken.
    #[error("`{name}` is a system chaincode; choose another name")]
    SystemName {
        /// The name.
        name: String,
    },
    /// An illegal version.
    #[error("`{version}` is no version of a chaincode: letters, digits, `_`, `.`, `+` and `-`")]
    Version {
        /// The version.
        version: String,
    },
    /// An illegal name of a collection.
    #[error("`{collection}` is no name of a collection: letters, digits, `-` and `_`, the latter not first")]
    CollectionName {
        /// The name.
        collection: String,
    },
    /// A collection that is there twice.
    #[error("the collection {collection} is defined twice")]
    CollectionTwice {
        /// Which.
        collection: String,
    },
    /// Less peers at most than at least.
    #[error("the collection {collection} requires {required} peers, but gives its data to {maximum} at most")]
    PeerCounts {
        /// Which.
        collection: String,
        /// At least.
        required: i32,
        /// At most.
        maximum: i32,
    },
    /// A negative number of peers.
    #[error("the collection {collection} requires {required} peers")]
    RequiredPeerCount {
        /// Which.
        collection: String,
        /// How many.
        required: i32,
    },
    /// A member policy with anything but OR.
    #[error("the member policy of the collection {collection} is {policy}; members are named with OR only")]
    NotAnOr {
        /// Which.
        collection: String,
        /// The policy.
        policy: String,
    },
    /// A member policy that points nowhere.
    #[error("the member policy of the collection {collection} points to principal {index}, which does not exist")]
    PrincipalIndex {
        /// Which.
        collection: String,
        /// Where it points.
        index: i32,
    },
    /// A member that is neither a role, a unit nor a certificate.
    #[error("the member policy of the collection {collection} names {principal}, which cannot be a member")]
    PrincipalKind {
        /// Which.
        collection: String,
        /// What it names.
        principal: String,
    },
    /// A member that is not in the channel.
    #[error("{msp_id}, a member of the collection {collection}, is not part of the channel")]
    UnknownMember {
        /// Which.
        collection: String,
        /// The MSP.
        msp_id: String,
    },
    /// A collection that was there.
    #[error("the collection {collection} is missing; a committed collection cannot be removed")]
    CollectionGone {
        /// Which.
        collection: String,
    },
    /// Another lifetime of data.
    #[error("the collection {collection} keeps its data for {new} blocks; that cannot change from {old}")]
    BlockToLive {
        /// Which.
        collection: String,
        /// As committed.
        old: u64,
        /// As defined now.
        new: u64,
    },
}

/// Collects differences.
struct Differences(Vec<Difference>);

impl Differences {
    fn push(&mut self, field: &str, old: String, new: String) {
        self.0.push(Difference { field: field.to_owned(), old, new });
    }

    fn text<T: PartialEq + ToString>(&mut self, field: &str, old: &T, new: &T) {
        if old != new {
            self.push(field, old.to_string(), new.to_string());
        }
    }

    /// Policies that read the same may still be encoded in different ways, and then count as different.
    fn policy(&mut self, field: &str, (old, old_bytes): (String, Vec<u8>), (new, new_bytes): (String, Vec<u8>)) {
        if old_bytes == new_bytes {
            return;
        }
        if old == new {
            let marked = |text, bytes: &[u8]| format!("{text} (sha256:{})", sha256_hex(bytes));
            self.push(field, marked(old, &old_bytes), marked(new, &new_bytes));
        } else {
            self.push(field, old, new);
        }
    }

    fn endorsement(&mut self, field: &str, old: Option<&Endorsement>, new: Option<&Endorsement>) {
        if old == new {
            return;
        }
        let shown = |endorsement: Option<&Endorsement>| match endorsement {
            Some(endorsement) => (endorsement.to_string(), endorsement.validation_parameter()),
            None => ("that of the chaincode".to_owned(), Vec::new()),
        };
        self.policy(field, shown(old), shown(new));
    }

    fn collections(&mut self, old: &[Collection], new: &[Collection]) {
        let names = |collections: &[Collection]| -> Vec<String> {
            collections.iter().map(|collection| collection.name.clone()).collect()
        };
        let (old_names, new_names) = (names(old), names(new));
        if old_names == new_names {
            for (old, new) in old.iter().zip(new) {
                self.collection(old, new);
            }
            return;
        }
        let listed = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        self.push("collections", listed(&old_names), listed(&new_names));
        for old in old {
            if let Some(new) = new.iter().find(|new| new.name == old.name) {
                self.collection(old, new);
            }
        }
    }

    fn collection(&mut self, old: &Collection, new: &Collection) {
        let Collection {
            name,
            policy,
            required_peer_count,
            maximum_peer_count,
            block_to_live,
            member_only_read,
            member_only_write,
            endorsement,
        } = old;
        let field = |field: &str| format!("collections.{name}.{field}");
        let shown = |policy: &SignaturePolicy| (policy.to_string(), policy.to_bytes());
        self.policy(&field("policy"), shown(policy), shown(&new.policy));
        self.text(&field("requiredPeerCount"), required_peer_count, &new.required_peer_count);
        self.text(&field("maximumPeerCount"), maximum_peer_count, &new.maximum_peer_count);
        self.text(&field("blockToLive"), block_to_live, &new.block_to_live);
        self.text(&field("memberOnlyRead"), member_only_read, &new.member_only_read);
        self.text(&field("memberOnlyWrite"), member_only_write, &new.member_only_write);
        self.endorsement(&field("endorsement"), endorsement.as_ref(), new.endorsement.as_ref());
    }
}

/// A definition in force on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// How many definitions the chaincode has had.
    pub sequence: i64,
    /// The definition.
    pub definition: Definition,
    /// Whether each member, by its MSP ID, has approved this definition at this sequence. Empty where all the
    /// chaincodes of a channel were asked for: peers tell it for a single one only.
    pub approvals: BTreeMap<String, bool>,
}

/// A definition that an organisation has approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// For which sequence.
    pub sequence: i64,
    /// The definition.
    pub definition: Definition,
    /// The package that the organisation's peers run it from; none if they do not run it, or if what was approved
    /// cannot be the id of any package.
    pub package_id: Option<PackageId>,
}

#[cfg(test)]
mod tests;
