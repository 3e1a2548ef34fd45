//! What to do about a chaincode, as a pure function of what was seen of it.
//!
//! Each organization goes its own way as far as it can: its service runs, its peers have the package, it approves. The
//! definition is committed once the organizations that the channel's `LifecycleEndorsement` asks for have approved it, this
//! daemon's own among them, and their services run: what is committed can be called at once.

use std::collections::{BTreeMap, BTreeSet};

use tenter_consortium::chaincode::{Approval, Lifecycle, MemberProgress, Progress};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::NodeRef;
use tenter_consortium::status::ChaincodePhase as Phase;
use tenter_fabric::ca::CertificateRequest;
use tenter_fabric::x509::CertificateInfo;

use crate::controllers::children::Child;
use crate::controllers::conditions::Verdict;
use crate::controllers::definitions::DEFINITION_NOT_SEEN;
use crate::controllers::outlook::{Outlook, Wait};

/// All that is known of a chaincode.
#[derive(Clone, Debug)]
pub struct View {
    /// How far the ledger, the peers and the approvals are; why the ledger could not be read otherwise.
    pub progress: Observation<Progress>,
    /// Whether a definition is in force already, this or another.
    pub defined: bool,
    /// How the channel's policy for definitions is met by those who have approved.
    pub lifecycle: Observation<Lifecycle>,
    /// What only the ledger knows against the definition.
    pub refused: Vec<String>,
    /// Why the ledger cannot be the one that was seen before, if it cannot.
    pub went_back: Option<String>,
    /// Whether `Init` was called; asked only of a definition in force that demands it.
    pub initialized: Observation<bool>,
    /// Own peers that are not in the channel yet, and why.
    pub outside: BTreeMap<NodeRef, String>,
    /// What serves the contract in the namespaces of this daemon's organizations, where Tenter runs it.
    pub services: BTreeMap<String, Service>,
    /// What still serves it for own organizations that have left the channel, by namespace and name.
    pub left: Vec<(String, String)>,
    /// What is waited for before the spec is known to be the definition's; see
    /// [`definitions`](crate::controllers::definitions).
    pub definition_awaited: Option<String>,
}

/// What serves the contract in one namespace.
#[derive(Clone, Debug)]
pub struct Service {
    /// What keeps it from being made at all.
    pub refused: Option<Verdict>,
    /// The certificate that has to be issued.
    pub issue: Option<Issue>,
    /// What is not as wanted yet.
    pub pending: Vec<Child>,
    /// Whether it runs, and if not, why.
    pub runs: Result<(), String>,
    /// What serves the definition in force, while that is another one.
    pub earlier: Option<Earlier>,
    /// Services of earlier packages, by namespace and name.
    pub old: Vec<(String, String)>,
}

/// What serves an earlier package, which is called until another one is in force.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// What of it is not as it should be.
    pub pending: Vec<Child>,
    /// Whether it runs, and if not, why.
    pub runs: Result<(), String>,
}

/// A certificate to issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// The organization's namespace.
    pub namespace: String,
    /// The organization.
    pub organization: String,
    /// What is asked for.
    pub request: CertificateRequest,
    /// The root on record.
    pub root: Box<CertificateInfo>,
    /// Whether the key that is there is kept.
    pub same_key: bool,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Issue the certificate of an organization's service.
    Issue(Box<Issue>),
    /// Bring an object of a service to what is wanted.
    Apply(Child),
    /// Install the package on a peer.
    Install(NodeRef),
    /// Approve the definition for an organization.
    Approve {
        /// The organization.
        organization: String,
        /// The sequence.
        sequence: i64,
    },
    /// Commit the definition.
    Commit {
        /// The sequence.
        sequence: i64,
        /// MSP IDs of those whose peers endorse it.
        endorsers: BTreeSet<String>,
    },
    /// Call `Init`.
    Initialize,
    /// Take down the service of an earlier package.
    Remove {
        /// The namespace.
        namespace: String,
        /// Name of the Deployment and of the Service.
        name: String,
    },
}

/// What to do, and what to show.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Where the chaincode stands.
    pub phase: Phase,
    /// What a reader sees.
    pub outlook: Outlook,
    /// What to do now.
    pub actions: Vec<Action>,
    /// Of each own peer, whether the chaincode's program answers for it, or why it does not.
    pub serving: BTreeMap<NodeRef, Result<(), String>>,
}

/// Where one own organization stands.
enum Stand {
    /// Its service or its peers are not ready for the contract.
    Installing(String),
    /// It has not approved.
    Approving(String),
    /// It did its part.
    Done,
    /// Until a person acts.
    Stalled(Verdict),
}

/// Decides about a chaincode.
pub fn decide(view: &View) -> Decision {
    let mut decision = Decision {
        phase: if view.defined { Phase::Upgrading } else { Phase::Pending },
        outlook: Outlook::ready("Serving", String::new()),
        actions: remove(&view.left).collect(),
        serving: BTreeMap::new(),
    };
    let progress = match &view.progress {
        Observation::Present { value } => value,
        Observation::Absent { evidence } => {
            decision.outlook = Outlook::waiting(Wait::Dependency, "ChannelPending", evidence.clone());
            return decision;
        }
        Observation::Forbidden { evidence } | Observation::Unreachable { evidence } => {
            let message = format!("what is defined on the channel could not be read: {evidence}");
            decision.outlook = Outlook::waiting(Wait::Dependency, "LedgerUnreadable", message);
            return decision;
        }
    };
    if let Some(why) = &view.went_back {
        decision.phase = Phase::Degraded;
        decision.outlook = Outlook::stalled("SequenceWentBack", why.clone());
        return decision;
    }
    if !view.refused.is_empty() {
        let message = format!("the definition cannot follow the one in force: {}", view.refused.join("; "));
        decision.actions.extend(view.services.values().flat_map(keep));
        decision.outlook = Outlook::stalled("DefinitionRefused", interrupted(view, message));
        return decision;
    }
    let own: Vec<&MemberProgress> = progress.members.iter().filter(|member| member.hosted).collect();
    let stands: Vec<(&MemberProgress, Stand)> =
        own.iter().map(|member| (*member, stand(view, progress, member, &mut decision))).collect();
    let (phase, outlook, action) = judge(view, progress, &stands);
    decision.phase = phase;
    decision.outlook = outlook;
    if let Verdict::Reconciling { message, .. } | Verdict::Stalled { message, .. } = &mut decision.outlook.verdict {
        *message = interrupted(view, std::mem::take(message));
    }
    decision.actions.extend(action);
    if let Some(why) = &view.definition_awaited {
        hold(&mut decision, why);
    }
    decision
}

/// Takes out what would bring the ledger to a definition that may have been overtaken.
fn hold(decision: &mut Decision, why: &str) {
    let before = decision.actions.len();
    decision.actions.retain(|action| !matches!(action, Action::Approve { .. } | Action::Commit { .. }));
    if decision.actions.len() < before {
        let message = format!(
            "the ledger differs from the spec, which may have been overtaken, so nothing is approved by it: {why}"
        );
        // Nothing announces that the definition was seen.
        decision.outlook = Outlook::waiting(Wait::Soon, DEFINITION_NOT_SEEN, message);
    }
}

/// What an own organization's service, peers and approval need.
fn stand(view: &View, progress: &Progress, member: &MemberProgress, decision: &mut Decision) -> Stand {
    let sequence = progress.next.sequence();
    let service = view.services.get(&member.organization);
    let runs = service.map_or(Ok(()), |service| serve(service, &mut decision.actions));
    let mut installed = 0;
    let mut missing = Vec::new();
    for (peer, seen) in &member.peers {
        let node = NodeRef { namespace: member.namespace.clone(), name: peer.clone() };
        let serves = match seen {
            Observation::Present { .. } => {
                installed += 1;
                runs.clone().map_err(|verdict| verdict.message().to_owned())
            }
            Observation::Absent { .. } => {
                decision.actions.push(Action::Install(node.clone()));
                Err("it is being given the package".to_owned())
            }
            Observation::Forbidden { evidence } | Observation::Unreachable { evidence } => Err(evidence.clone()),
        };
        let serves = view.outside.get(&node).map_or(serves, |why| Err(why.clone()));
        if let Err(why) = &serves {
            missing.push(format!("{peer}: {why}"));
        }
        decision.serving.insert(node, serves);
    }
    if let Err(verdict) = runs {
        return match verdict {
            Verdict::Stalled { .. } => Stand::Stalled(verdict),
            _ => Stand::Installing(verdict.message().to_owned()),
        };
    }
    // One peer is enough to approve: the others follow when they can be reached.
    if installed == 0 {
        return Stand::Installing(missing.join(", "));
    }
    if member.approval.is_due() {
        decision.actions.push(Action::Approve { organization: member.organization.clone(), sequence });
    }
    match &member.approval {
        Approval::Given => {}
        other => return Stand::Approving(other.missing(sequence).unwrap_or_default()),
    }
    // What is in force is what this organization approved: nobody calls the earlier service any more.
    if !progress.next.is_change()
        && missing.is_empty()
        && let Some(service) = service
    {
        decision.actions.extend(remove(&service.old));
    }
    Stand::Done
}

fn remove(services: &[(String, String)]) -> impl Iterator<Item = Action> {
    services.iter().cloned().map(|(namespace, name)| Action::Remove { namespace, name })
}

/// Keeps up what serves the definition in force, while another one is on its way.
fn keep(service: &Service) -> Vec<Action> {
    // What is mounted comes first.
    if let Some(issue) = &service.issue {
        return vec![Action::Issue(Box::new(issue.clone()))];
    }
    service.earlier.iter().flat_map(|earlier| earlier.pending.iter().cloned().map(Action::Apply)).collect()
}

/// The message, and which organizations' programs of the definition in force do not run.
fn interrupted(view: &View, message: String) -> String {
    let down = view.services.iter().filter_map(|(organization, service)| {
        let why = service.earlier.as_ref()?.runs.as_ref().err()?;
        Some(format!("; what is in force is not served by {organization}: {why}"))
    });
    let down: String = down.collect();
    message + &down
}

/// Brings a service up. Gives whether it runs.
fn serve(service: &Service, actions: &mut Vec<Action>) -> Result<(), Verdict> {
    let starting = |why: String| Verdict::reconciling("ServiceStarting", why);
    actions.extend(keep(service));
    if let Some(verdict) = &service.refused {
        return Err(verdict.clone());
    }
    if service.issue.is_some() {
        return Err(starting("the certificate of its service is being issued".to_owned()));
    }
    actions.extend(service.pending.iter().cloned().map(Action::Apply));
    service.runs.clone().map_err(starting)
}

fn judge(view: &View, progress: &Progress, stands: &[(&MemberProgress, Stand)]) -> (Phase, Outlook, Option<Action>) {
    let phase = |first: Phase| if view.defined { Phase::Upgrading } else { first };
    let mut installing = Vec::new();
    let mut approving = Vec::new();
    for (member, stand) in stands {
        let name = &member.organization;
        match stand {
            Stand::Stalled(verdict) => {
                let outlook = Outlook::stalled(verdict.reason(), format!("{name}: {}", verdict.message()));
                return (phase(Phase::Installing), outlook, None);
            }
            Stand::Installing(why) => installing.push(format!("{name}: {why}")),
            Stand::Approving(why) => approving.push(format!("{name}: {why}")),
            Stand::Done => {}
        }
    }
    let change = progress.next.is_change();
    if !installing.is_empty() {
        // A definition in force whose program went away is not on its way anywhere.
        let was_done = !change && stands.iter().all(|(member, _)| !member.approval.is_due());
        let (phase, reason) =
            if was_done { (Phase::Degraded, "NotServing") } else { (phase(Phase::Installing), "Installing") };
        return (phase, Outlook::waiting(Wait::Dependency, reason, installing.join("; ")), None);
    }
    if !approving.is_empty() {
        let outlook = Outlook::waiting(Wait::Dependency, "Approving", approving.join("; "));
        return (phase(Phase::Approving), outlook, None);
    }
    if change {
        return commit(view, progress, phase(Phase::Committing));
    }
    if progress.definition.init_required {
        match &view.initialized {
            Observation::Present { value: true } => {}
            Observation::Present { value: false } => {
                let outlook = Outlook::acting("Initializing", "its Init function is being called".to_owned());
                return (phase(Phase::Committing), outlook, Some(Action::Initialize));
            }
            Observation::Absent { evidence }
            | Observation::Forbidden { evidence }
            | Observation::Unreachable { evidence } => {
                let message = format!("whether it was initialized could not be learnt: {evidence}");
                return (phase(Phase::Committing), Outlook::waiting(Wait::Dependency, "Initializing", message), None);
            }
        }
    }
    let down: Vec<String> = stands
        .iter()
        .flat_map(|(member, _)| {
            member.peers.iter().filter_map(|(peer, seen)| {
                let node = NodeRef { namespace: member.namespace.clone(), name: peer.clone() };
                let why = seen.evidence().map(str::to_owned).or_else(|| view.outside.get(&node).cloned())?;
                Some(format!("{}/{peer}: {why}", member.organization))
            })
        })
        .collect();
    if !down.is_empty() {
        return (Phase::Degraded, Outlook::waiting(Wait::Dependency, "NotServing", down.join("; ")), None);
    }
    let message = format!(
        "version {} is in force at sequence {} and served",
        progress.definition.version,
        progress.next.sequence()
    );
    (Phase::Serving, Outlook::ready("Serving", message), None)
}

/// All own organizations have approved: commits, if that is enough.
fn commit(view: &View, progress: &Progress, phase: Phase) -> (Phase, Outlook, Option<Action>) {
    let sequence = progress.next.sequence();
    let wait = |reason: &str, message: String| (phase, Outlook::waiting(Wait::Dependency, reason, message), None);
    let lifecycle = match &view.lifecycle {
        Observation::Present { value } => value,
        Observation::Absent { evidence }
        | Observation::Forbidden { evidence }
        | Observation::Unreachable { evidence } => {
            return wait("PolicyUnreadable", format!("who must approve could not be learnt: {evidence}"));
        }
    };
    if let Some(endorsers) = &lifecycle.endorsers {
        let outlook = Outlook::acting("Committing", format!("sequence {sequence} is being committed"));
        return (phase, outlook, Some(Action::Commit { sequence, endorsers: endorsers.clone() }));
    }
    let lacking: Vec<String> = progress
        .members
        .iter()
        .filter(|member| !member.approval.counts())
        .filter_map(|member| Some(format!("{}: {}", member.organization, member.missing(sequence)?)))
        .collect();
    if lacking.is_empty() {
        let message = format!(
            "all members have approved, and the channel's policy for definitions asks for more ({}): change the policy first",
            lifecycle.required
        );
        return (phase, Outlook::stalled("PolicyUnsatisfiable", message), None);
    }
    let message = format!("a commit needs {}; {}", lifecycle.required, lacking.join("; "));
    wait("ApprovalMissing", message)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
