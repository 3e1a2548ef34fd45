//! The plan: ordered changes as data, with nothing left to decide when they are carried out.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Blob;
use crate::objects::{ObjectRef, TouchedElement};
use crate::observed::NodeRef;

/// Names a step; the same change has the same id in every plan, for example `peer/trade-acme/peer1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StepId(pub String);

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One changed field, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    /// Path of the field, for example `spec.storage.size`.
    pub path: String,
    /// The live value; absent when it is new.
    pub from: Option<serde_json::Value>,
    /// The wanted value; absent when it goes.
    pub to: Option<serde_json::Value>,
}

/// A place in the definition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Path in the document, for example `spec.organizations[1].peers[0]`.
    pub path: String,
}

/// Everything a plan can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Step {
    /// Make an organization's namespace, with its label.
    CreateNamespace {
        /// The namespace.
        namespace: String,
        /// The organization that it will belong to.
        organization: String,
    },
    /// Make an object.
    CreateObject {
        /// The object.
        object: ObjectRef,
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// Its whole spec.
        spec: serde_json::Value,
    },
    /// Bring an object's spec to what the file says.
    UpdateObject {
        /// The object.
        object: ObjectRef,
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// Its whole wanted spec.
        spec: serde_json::Value,
        /// What differs.
        changes: Vec<FieldChange>,
    },
    /// Compute the genesis block of a channel and pin it.
    PinGenesis {
        /// The channel.
        channel: String,
    },
    /// Join an orderer to the pinned genesis block.
    JoinOrderer {
        /// The channel.
        channel: String,
        /// The orderer.
        orderer: NodeRef,
    },
    /// Join a peer to the channel.
    JoinPeer {
        /// The channel.
        channel: String,
        /// The peer.
        peer: NodeRef,
    },
    /// Change the configuration of a live channel by a signed update.
    UpdateChannelConfig {
        /// The channel.
        channel: String,
        /// What the update is about, for example `member/initech`.
        topic: String,
        /// What differs between the live configuration and the file.
        changes: Vec<FieldChange>,
        /// The elements that the update writes, and the policies that guard them.
        elements: Vec<TouchedElement>,
        /// Who must sign, and who will.
        signing: Signing,
        /// SHA-256, hex, of the update's bytes; absent while certificates of a new member are not there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
        /// Who changed what this puts back, one line for each change.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        drift: Vec<String>,
    },
    /// Keep a chaincode package's bytes in a ConfigMap, under a name made of their hash.
    StorePackage {
        /// Its namespace.
        namespace: String,
        /// Its name.
        config_map: String,
        /// The package's id: what is written must have it.
        package_id: String,
        /// The bytes; not part of a plan that is shown.
        #[serde(skip)]
        package: Blob,
    },
    /// Keep what the repository holds of other members where the controllers find it, in a ConfigMap.
    StoreMaterial {
        /// Its namespace.
        namespace: String,
        /// Its name.
        config_map: String,
        /// What it is, for people: `the public material of globex`.
        subject: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// Whether it is made once and never changed.
        pinned: bool,
        /// Its entries; not part of a plan that is shown.
        #[serde(skip)]
        entries: BTreeMap<String, Blob>,
    },
    /// Bring a chaincode to peers and ledger: install, approve, commit.
    DeployChaincode {
        /// The channel.
        channel: String,
        /// The chaincode.
        name: String,
        /// The sequence that its definition has or gets; absent when the committed one could not be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sequence: Option<i64>,
        /// In what its definition differs from the committed one; empty when only peers or approvals are missing.
        changes: Vec<FieldChange>,
        /// The package that its peers run.
        package: String,
        /// Own peers that get the package.
        install: Vec<NodeRef>,
        /// Own organizations that approve the definition, or approve it again for another package.
        approve: Vec<String>,
        /// Whether the definition is committed when they have.
        commit: bool,
        /// Who must approve before the commit, and who of this daemon's organizations does.
        signing: Signing,
        /// Organizations of other daemons that have not approved yet.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        waits: Vec<String>,
        /// Who committed what this replaces, if it was none of this daemon's identities.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drift: Option<String>,
    },
    /// Take away an object that the file releases.
    RemoveObject {
        /// The object.
        object: ObjectRef,
        /// What stays of it.
        keeps: String,
        /// The volume claim in the object's namespace that is deleted with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        volume: Option<String>,
    },
    /// Wait for an object that is as the file says but not ready.
    AwaitReady {
        /// The object.
        object: ObjectRef,
        /// Its phase and reason now.
        state: String,
    },
}

/// Who must sign a config update or approve a chaincode, and who will.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signing {
    /// What the policies ask for, in words: `2 of AcmeMSP, GlobexMSP, InitechMSP (admin)`.
    pub required: String,
    /// MSP IDs of the organizations that this daemon acts for and that will sign.
    pub own: Vec<String>,
    /// Who else must sign, in words; absent when the own signatures are enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// Why something could not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unseen {
    /// Nobody who knows could be asked.
    Unreachable,
    /// Whoever knows refused to tell.
    Forbidden,
}

/// A step in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// What to do.
    pub step: Step,
    /// Steps that must be done before.
    pub needs: BTreeSet<StepId>,
    /// The places in the file that ask for it.
    pub reasons: Vec<Origin>,
    /// Why it will not be done by this plan, if it will not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// Set when `blocked` is no gate: whether there is anything to do could not be seen. The next look may tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
    /// What cannot be undone about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible: Option<String>,
}

impl PlannedStep {
    /// Whether a gate stops it, so that looking again does not help.
    pub const fn is_gated(&self) -> bool {
        self.blocked.is_some() && self.unseen.is_none()
    }
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NoteLevel {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warning,
    /// It stops what it speaks of.
    Error,
}

/// Something a reader of the plan must know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// How much it matters.
    pub level: NoteLevel,
    /// A code, CamelCase: `Orphan`, `DataLost`, `Unreachable`, `Forbidden`, `NotAllowed`, ...
    pub code: String,
    /// What it speaks of.
    pub subject: String,
    /// What is so, and what to do next.
    pub message: String,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Version of this format.
    pub format: u32,
    /// Name of the consortium.
    pub consortium: String,
    /// The commit that it was made from, if it came from a repository.
    pub revision: Option<String>,
    /// The steps.
    pub steps: BTreeMap<StepId, PlannedStep>,
    /// What a reader must know.
    pub notes: Vec<Note>,
    /// SHA-256, hex, over the commit, the specs of the objects seen and the versions of the configuration elements touched.
    pub hash: String,
}

impl Plan {
    /// Why the steps that no gate stops and that are not done either could not be told; a refusal counts more, as it
    /// does not pass by itself.
    pub fn unseen(&self) -> Option<Unseen> {
        self.steps.values().filter_map(|planned| planned.unseen).max()
    }

    /// The first of the things that stop what they speak of: a plan that has one is not the whole of the definition.
    pub fn error(&self) -> Option<&Note> {
        self.notes.iter().find(|note| note.level == NoteLevel::Error)
    }
}
