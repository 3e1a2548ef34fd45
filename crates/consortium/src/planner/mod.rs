//! From what should be and what is, to ordered steps.
//!
//! Steps are added in the order of their rank, and a step can only need steps that are there already: the graph is
//! acyclic by construction. A step that needs a blocked one is blocked too, and says so.

mod approvals;
mod chaincodes;
mod channels;
mod check;
mod config;
mod diff;
mod effects;
mod hash;
mod notes;
mod objects;
mod retire;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use approvals::approvals;
pub use check::check;
pub use diff::diff;
pub use hash::moved;

use crate::desired::{Desired, DesiredNamespace, DesiredObject};
use crate::objects::{Kind, ObjectRef};
use crate::observation::Observation;
use crate::observed::{ChannelFacts, Observed};
use crate::plan::{Effects, Note, NoteLevel, Origin, Plan, PlannedStep, Step, StepId, Unseen};

/// Version of the plan's format.
pub const FORMAT: u32 = 1;

/// The steps that bring the world to what is desired. Pure: the same input gives the same bytes. The plan of a world
/// that is as it should be has no steps. `revision` is the commit that the definition comes from.
pub fn plan(desired: &Desired, observed: &Observed, revision: Option<&str>) -> Plan {
    let mut planner = Planner {
        desired,
        observed,
        wanted: Wanted::of(desired),
        steps: BTreeMap::new(),
        notes: BTreeSet::new(),
        ledgers: BTreeMap::new(),
        ends: BTreeMap::new(),
    };
    planner.note_observations();
    planner.namespaces();
    for kind in [Kind::Organization, Kind::CertificateAuthority, Kind::Orderer, Kind::Peer] {
        planner.objects(kind);
    }
    planner.materials();
    for (name, channel) in &desired.channels {
        planner.channel(name, channel);
    }
    planner.objects(Kind::Membership);
    for (name, channel) in &desired.channels {
        planner.join_peers(name, channel);
    }
    for (key, chaincode) in &desired.chaincodes {
        planner.chaincode(key, chaincode);
    }
    planner.let_go();
    planner.remove_released();
    planner.remove_chaincodes();
    planner.remove_nodes();
    planner.remove_left_channels();
    planner.note_definition();
    planner.note_orphans();
    planner.effects();
    let hash = hash::hash(&hash::covered(desired, observed, &planner.steps, revision));
    planner.approvals(&hash);
    let mut plan = Plan {
        format: FORMAT,
        consortium: desired.consortium.clone(),
        revision: revision.map(str::to_owned),
        hash,
        steps: planner.steps,
        notes: planner.notes.into_iter().collect(),
    };
    check::refuse(&mut plan);
    plan
}

/// The id of the step that concerns an object, whatever it does to it.
pub fn object_step(object: &ObjectRef) -> StepId {
    StepId(format!("{}/{}/{}", object.kind.as_str().to_lowercase(), object.namespace, object.name))
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    wanted: Wanted<'a>,
    steps: BTreeMap<StepId, PlannedStep>,
    notes: BTreeSet<Note>,
    /// What the ledgers of live channels say.
    ledgers: BTreeMap<String, ChannelFacts>,
    /// What they say when the steps are done.
    ends: BTreeMap<String, ChannelFacts>,
}

/// Wanted objects by what is asked of them: without it, each channel would look through all of them.
struct Wanted<'a> {
    /// The memberships of each channel.
    memberships: BTreeMap<&'a str, Vec<(&'a ObjectRef, &'a DesiredObject)>>,
    /// Each organization's authority.
    authorities: BTreeMap<&'a str, &'a ObjectRef>,
    /// MSP IDs of the organizations that the daemon acts for.
    own_msps: BTreeSet<String>,
}

impl<'a> Wanted<'a> {
    fn of(desired: &'a Desired) -> Self {
        let mut wanted = Self { memberships: BTreeMap::new(), authorities: BTreeMap::new(), own_msps: BTreeSet::new() };
        for (object, entry) in &desired.objects {
            match object.kind {
                Kind::Membership => {
                    wanted.memberships.entry(object.name.as_str()).or_default().push((object, entry));
                }
                Kind::CertificateAuthority => {
                    wanted.authorities.extend(entry.organization.as_deref().map(|name| (name, object)));
                }
                Kind::Organization => {
                    let msp_id = entry.spec.get("mspID").and_then(serde_json::Value::as_str);
                    wanted.own_msps.extend(msp_id.map(str::to_owned));
                }
                Kind::Orderer | Kind::Peer | Kind::Channel | Kind::Chaincode => {}
            }
        }
        wanted
    }

    /// The memberships of a channel.
    fn memberships(&self, channel: &str) -> impl Iterator<Item = (&'a ObjectRef, &'a DesiredObject)> {
        self.memberships.get(channel).into_iter().flatten().copied()
    }
}

/// A step before it has its place.
struct Draft {
    step: Step,
    needs: Vec<StepId>,
    reasons: Vec<Origin>,
    blocked: Option<Block>,
    irreversible: Option<String>,
}

/// Why a step is not done.
#[derive(Clone)]
struct Block {
    why: String,
    /// Set when it is no refusal.
    unseen: Option<Unseen>,
}

impl From<String> for Block {
    fn from(why: String) -> Self {
        Self { why, unseen: None }
    }
}

impl Block {
    /// Nobody was asked.
    fn not_seen(why: impl Into<String>) -> Self {
        Self { why: why.into(), unseen: Some(Unseen::Unreachable) }
    }

    /// Members have to bring something first.
    fn awaited(why: impl Into<String>) -> Self {
        Self { why: why.into(), unseen: Some(Unseen::Awaited) }
    }
}

impl Draft {
    fn new(step: Step, reasons: &[Origin]) -> Self {
        Self { step, needs: Vec::new(), reasons: reasons.to_vec(), blocked: None, irreversible: None }
    }

    fn needs(mut self, needs: impl IntoIterator<Item = StepId>) -> Self {
        self.needs.extend(needs);
        self
    }

    /// Blocks it, unless it is blocked already: the first reason is the nearest.
    fn blocked(mut self, reason: Option<impl Into<Block>>) -> Self {
        self.blocked = self.blocked.or_else(|| reason.map(Into::into));
        self
    }

    fn irreversible(mut self, reason: Option<String>) -> Self {
        self.irreversible = reason;
        self
    }
}

impl Planner<'_> {
    /// Adds a step. Of what it needs, only steps of this plan count: what is not planned is done. What another need
    /// needs already is left out.
    fn add(&mut self, id: StepId, draft: Draft) {
        let needs: BTreeSet<&StepId> = draft.needs.iter().filter(|need| self.steps.contains_key(need)).collect();
        let implied: BTreeSet<&StepId> =
            needs.iter().filter_map(|need| self.steps.get(need)).flat_map(|step| &step.needs).collect();
        let needs: BTreeSet<StepId> = needs.difference(&implied).map(|need| (*need).clone()).collect();
        let blocked = draft.blocked.or_else(|| {
            let held = needs.iter().filter_map(|need| self.steps.get(need).map(|step| (need, step)));
            let held = held.filter(|(_, step)| step.blocked.is_some());
            // Of a gate and of something that could not be seen, only the latter may pass by itself.
            let (need, step) = held.min_by_key(|(_, step)| step.unseen.is_some())?;
            Some(Block { why: format!("waits for {need}, which is blocked"), unseen: step.unseen })
        });
        let (blocked, unseen) = blocked.map_or((None, None), |block| (Some(block.why), block.unseen));
        let Draft { step, needs: _, reasons, blocked: _, irreversible } = draft;
        let effects = Effects::default();
        let step = PlannedStep { step, needs, reasons, blocked, unseen, irreversible, effects, approval: None };
        self.steps.insert(id, step);
    }

    fn note(&mut self, level: NoteLevel, code: &str, subject: impl Into<String>, message: impl Into<String>) {
        self.notes.insert(Note { level, code: code.to_owned(), subject: subject.into(), message: message.into() });
    }

    /// Those of some steps that make something: a member that is unwell must not hold up a change of what it is in.
    fn made(&self, ids: Vec<StepId>) -> Vec<StepId> {
        let makes = |id: &StepId| {
            let step = self.steps.get(id).map(|planned| &planned.step);
            matches!(step, Some(Step::CreateNamespace { .. } | Step::CreateObject { .. }))
        };
        ids.into_iter().filter(makes).collect()
    }

    fn namespaces(&mut self) {
        for (namespace, wanted) in &self.desired.namespaces {
            let DesiredNamespace { organization, origins, blocked } = wanted;
            let reason: Option<Block> = match self.observed.namespaces.get(namespace) {
                Some(Observation::Present { value }) => match &value.organization {
                    Some(label) if label == organization => continue,
                    Some(other) => Some(Block::from(format!(
                        "the namespace belongs to organization {other} (label tenter.dev/organization): give organization \
                         {organization} another `namespace`"
                    ))),
                    None => Some(Block::from(format!(
                        "the namespace exists without the label tenter.dev/organization: if it is meant for organization \
                         {organization}, run: kubectl label namespace {namespace} tenter.dev/organization={organization}"
                    ))),
                },
                Some(Observation::Absent { .. }) => blocked
                    .clone()
                    .or_else(|| {
                        (!self.desired.create_namespaces).then(|| {
                            format!(
                                "the Consortium's spec.namespaces.create is false: make the namespace and label it \
                             tenter.dev/organization={organization}"
                            )
                        })
                    })
                    .map(Block::from),
                Some(other) => Some(cannot_tell(other)),
                None => Some(Block::not_seen("cannot tell whether it exists: it was not looked at")),
            };
            let step = Step::CreateNamespace { namespace: namespace.clone(), organization: organization.clone() };
            self.add(namespace_step(namespace), Draft::new(step, origins).blocked(reason));
        }
    }
}

fn namespace_step(namespace: &str) -> StepId {
    StepId(format!("namespace/{namespace}"))
}

/// Why nothing is done about something that was not seen and whose absence nobody witnessed.
fn cannot_tell<T>(observation: &Observation<T>) -> Block {
    let evidence = observation.evidence().unwrap_or("it was not looked at");
    let why = format!("cannot tell whether it exists ({}: {evidence})", observation.word());
    Block { why, unseen: unseen(observation) }
}

/// Why something was not seen, if it was not and its absence was not witnessed either.
const fn unseen<T>(observation: &Observation<T>) -> Option<Unseen> {
    match observation {
        Observation::Present { .. } | Observation::Absent { .. } => None,
        Observation::Forbidden { .. } => Some(Unseen::Forbidden),
        Observation::Unreachable { .. } => Some(Unseen::Unreachable),
    }
}
