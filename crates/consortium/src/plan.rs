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
        /// Who changed on the cluster what this puts back, one line for each field; what is not named here was changed in
        /// the file.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        drift: Vec<String>,
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
    /// MSP IDs of the organizations that signed this update, or approved this definition, already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed: Vec<String>,
    /// Whether it will pass, under the policies that the steps before it leave; absent where there is nothing to pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<Passing>,
}

/// Whether a step that needs signatures will pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "passes", rename_all = "camelCase")]
pub enum Passing {
    /// With the signatures that there are and those of this daemon.
    Yes,
    /// Once others have signed too.
    WithOthers,
    /// Whoever signs, Fabric refuses it.
    No {
        /// Why.
        why: String,
    },
}

/// What a step touches beside what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effects {
    /// The node that is restarted for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Names of the channels that it concerns.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub channels: BTreeSet<String>,
    /// Names of the organizations that it concerns.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub members: BTreeSet<String>,
    /// The contracts that it concerns, as `channel/chaincode`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub contracts: BTreeSet<String>,
}

impl Effects {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A restart of a node. Nodes are restarted one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// The node.
    pub node: NodeRef,
    /// What its channels have left meanwhile.
    pub meanwhile: Vec<Meanwhile>,
}

/// What a channel has left while one node is down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Meanwhile {
    /// The channel.
    pub channel: String,
    /// Consenters that serve without it, or other peers of its organization.
    pub left: usize,
    /// How many there are in all.
    pub of: usize,
    /// How many consenters the channel needs to order; absent for a peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<usize>,
    /// Consenters that are hosted elsewhere and are taken to serve.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unseen: usize,
}

impl Meanwhile {
    /// Whether the channel goes on: it orders, or the organization has another peer.
    pub fn goes_on(&self) -> bool {
        self.left >= self.needed.unwrap_or(1)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Why a step is not done that is not refused. Of several, the last counts most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unseen {
    /// It cannot be undone, and nobody who may has approved it; or it needs a step of which that is so.
    Unapproved,
    /// What members have to bring is not there yet: another commit may bring it.
    Awaited,
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
    /// Set when `blocked` is no refusal: an approval is missing, members have to bring something first, or whether there is
    /// anything to do could not be seen. The next look may tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
    /// What cannot be undone about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible: Option<String>,
    /// What it touches beside what it says.
    #[serde(default, skip_serializing_if = "Effects::is_empty")]
    pub effects: Effects,
    /// What is approved when this step is, and who did so in the repository. Only of steps that cannot be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<StepApproval>,
}

/// The approval of a step that cannot be undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepApproval {
    /// A digest of what the step does: what is approved.
    pub digest: String,
    /// The organizations that approved it by a signed file in the repository, whether or not the daemon's settings count them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// Whether it is approved: by a file that counts, in the daemon's settings, or, an update of a channel, at its Proposal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given: bool,
}

impl PlannedStep {
    /// Whether a gate stops it, so that looking again does not help.
    pub const fn is_gated(&self) -> bool {
        self.blocked.is_some() && matches!(self.unseen, None | Some(Unseen::Unapproved))
    }

    /// Whether a gate stops it that no approval opens: the definition or the daemon's settings have to change.
    pub const fn is_refused(&self) -> bool {
        self.blocked.is_some() && self.unseen.is_none()
    }

    /// Whether it cannot be undone and nobody approved it.
    pub fn is_unapproved(&self) -> bool {
        self.approval.as_ref().is_some_and(|approval| !approval.given)
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

impl Note {
    /// Codes of errors that tell of what could not be seen.
    const UNSEEN: [&str; 3] = ["Forbidden", "GenesisUnknown", "Unreachable"];

    /// Whether it says that something is not done, and looking again would not help.
    pub fn is_refusal(&self) -> bool {
        self.level == NoteLevel::Error && !Self::UNSEEN.contains(&self.code.as_str())
    }
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
    /// Why the steps that no gate stops and that are not done either could not be told; what does not pass by itself counts
    /// more.
    pub fn unseen(&self) -> Option<Unseen> {
        let ungated = self.steps.values().filter(|planned| !planned.is_gated());
        ungated.filter_map(|planned| planned.unseen).max()
    }

    /// Whether it holds what nobody will do as things stand: a step that is refused, or an error. What could not be seen is
    /// no refusal, and neither is a step that waits for an approval or for other members.
    pub fn is_refused(&self) -> bool {
        self.steps.values().any(PlannedStep::is_refused) || self.notes.iter().any(Note::is_refusal)
    }

    /// The first of the things that stop what they speak of: a plan that has one is not the whole of the definition.
    pub fn error(&self) -> Option<&Note> {
        self.notes.iter().find(|note| note.level == NoteLevel::Error)
    }

    /// The steps in an order in which they can be done; among those that can be, creation order of their kinds, then name.
    pub fn ordered(&self) -> Vec<StepId> {
        ordered(&self.steps)
    }
}

/// See [`Plan::ordered`].
pub(crate) fn ordered(steps: &BTreeMap<StepId, PlannedStep>) -> Vec<StepId> {
    let mut waiting: BTreeMap<&StepId, usize> = BTreeMap::new();
    let mut unlocks: BTreeMap<&StepId, Vec<&StepId>> = BTreeMap::new();
    let mut ready: BTreeSet<((u8, u8), &StepId)> = BTreeSet::new();
    for (id, planned) in steps {
        let needs: Vec<&StepId> = planned.needs.iter().filter(|need| steps.contains_key(*need)).collect();
        if needs.is_empty() {
            ready.insert((rank(&planned.step), id));
        }
        waiting.insert(id, needs.len());
        for need in needs {
            unlocks.entry(need).or_default().push(id);
        }
    }
    let mut order = Vec::with_capacity(steps.len());
    while let Some((_, id)) = ready.pop_first() {
        order.push(id.clone());
        for next in unlocks.remove(id).unwrap_or_default() {
            let Some(left) = waiting.get_mut(next) else { continue };
            *left -= 1;
            if let (0, Some(planned)) = (*left, steps.get(next)) {
                ready.insert((rank(&planned.step), next));
            }
        }
    }
    order
}

/// Where a step stands among those that can be done at the same time.
fn rank(step: &Step) -> (u8, u8) {
    let rank = match step {
        Step::CreateNamespace { .. } => 0,
        Step::CreateObject { object, .. } | Step::UpdateObject { object, .. } => 1 + object.kind as u8,
        Step::AwaitReady { object, .. } => 10 + object.kind as u8,
        Step::StoreMaterial { .. } => 19,
        Step::PinGenesis { .. } => 20,
        Step::JoinOrderer { .. } => 21,
        Step::JoinPeer { .. } => 22,
        Step::UpdateChannelConfig { topic, .. } => return (23, topic_rank(topic)),
        Step::StorePackage { .. } => 24,
        Step::DeployChaincode { .. } => 25,
        Step::RemoveObject { .. } => 26,
    };
    (rank, 0)
}

/// Where an update stands among those of its channel: in the order in which updates can be made, as
/// [`tenter_fabric::config::Topic`] has it.
fn topic_rank(topic: &str) -> u8 {
    const ORDER: [&str; 8] = [
        "maintenance",
        "orderer-organization",
        "consenters",
        "orderer-settings",
        "capabilities",
        "member",
        "anchors",
        "policies",
    ];
    let kind = topic.split('/').next().unwrap_or(topic);
    let place = ORDER.iter().position(|name| *name == kind).unwrap_or(ORDER.len());
    u8::try_from(place).unwrap_or(u8::MAX)
}
