//! What a pass comes to: phase, conditions and status of a Consortium, as pure functions.

use tenter_consortium::objects::Kind;
use tenter_consortium::plan::{Plan, Step};
use tenter_consortium::status::{ConsortiumPhase, PlanSummary};

use crate::controllers::conditions::Verdict;
use crate::controllers::definitions::Behind;
use crate::controllers::failure::Failure;
use crate::controllers::schedule::STALLED_AFTER;
use crate::execute::{Execution, StepFailure, StepOutcome};
use crate::report::plan::{headline, short_revision};
use crate::report::{count, printable};

/// Notes and next steps that a status holds.
const LISTED: usize = 10;
/// Longest line in a status, in characters.
const LINE: usize = 400;

/// Something about the source or the definition that keeps the newest commit from being applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// CamelCase.
    pub reason: String,
    /// What is so, and what to do.
    pub message: String,
    /// Whether only a person can change it.
    pub terminal: bool,
}

/// What was planned and done.
#[derive(Clone, Debug)]
pub struct Applied<'a> {
    /// The commit.
    pub revision: &'a str,
    /// The plan.
    pub plan: &'a Plan,
    /// What came of it.
    pub execution: &'a Execution,
}

/// Phase and conditions after a pass. `failures` is the number of passes in a row, this one included, that did not succeed.
pub fn conclude(problem: Option<&Problem>, applied: Option<&Applied<'_>>, failures: u32) -> (ConsortiumPhase, Verdict) {
    if let Some(problem) = problem {
        return held_up(problem, applied, failures);
    }
    let Some(Applied { revision, plan, execution }) = applied else {
        return (ConsortiumPhase::Syncing, Verdict::reconciling("Fetching", "the repository is being read"));
    };
    if plan.steps.is_empty() {
        return settled(revision, plan);
    }
    if let Some((id, failure)) = execution.failure() {
        let what = plan.steps.get(id).map_or_else(|| id.to_string(), |planned| headline(&planned.step));
        let StepFailure { reason, message, terminal } = failure;
        let message = format!("{what}: {message}");
        return if *terminal {
            (ConsortiumPhase::Stalled, Verdict::stalled(reason, message))
        } else if failures >= STALLED_AFTER {
            (ConsortiumPhase::Stalled, Verdict::stalled("StepFailed", message))
        } else {
            (ConsortiumPhase::Syncing, Verdict::reconciling("StepFailed", message))
        };
    }
    if execution.wrote() || execution.interrupted {
        let message = format!("{} of {} done", done(execution), count(plan.steps.len(), "step"));
        return (ConsortiumPhase::Syncing, Verdict::reconciling("Applying", message));
    }
    unfinished(plan, execution)
}

/// Phase and conditions after a turn that came to nothing, the `failures`-th in a row.
pub fn failed(failure: &Failure, failures: u32) -> (ConsortiumPhase, Verdict) {
    let Failure { reason, message, terminal, cause: _ } = failure;
    if *terminal || failures >= STALLED_AFTER {
        (ConsortiumPhase::Stalled, Verdict::stalled(reason, message))
    } else {
        (ConsortiumPhase::Waiting, Verdict::reconciling(reason, message))
    }
}

/// The newest commit cannot be applied; what was applied before stays.
fn held_up(problem: &Problem, applied: Option<&Applied<'_>>, failures: u32) -> (ConsortiumPhase, Verdict) {
    let Problem { reason, message, terminal } = problem;
    let stays = applied.map_or_else(
        || "nothing was applied yet".to_owned(),
        |applied| format!("the network stays at {}", short_revision(applied.revision)),
    );
    let message = format!("{message}; {stays}");
    if *terminal || failures >= STALLED_AFTER {
        (ConsortiumPhase::Stalled, Verdict::stalled(reason, message))
    } else {
        (ConsortiumPhase::Waiting, Verdict::reconciling(reason, message))
    }
}

/// Nothing is left to do; what the plan says of things that it cannot do counts all the same.
fn settled(revision: &str, plan: &Plan) -> (ConsortiumPhase, Verdict) {
    match plan.error() {
        None => {
            let message = format!("everything is as {} says", short_revision(revision));
            (ConsortiumPhase::Applied, Verdict::ready("Applied", message))
        }
        Some(note) => {
            let message = format!("{}: {}", note.subject, note.message);
            (ConsortiumPhase::Stalled, Verdict::stalled(&note.code, message))
        }
    }
}

/// Nothing was done in this pass: everything left waits or is blocked.
fn unfinished(plan: &Plan, execution: &Execution) -> (ConsortiumPhase, Verdict) {
    let order = plan.ordered();
    let planned = |id| plan.steps.get(id);
    let waiting = order.iter().find(|id| planned(id).is_some_and(|planned| planned.blocked.is_none()));
    // What could not be seen may be seen the next time: only gates need a person.
    let waiting = waiting.or_else(|| order.iter().find(|id| planned(id).is_some_and(|planned| !planned.is_gated())));
    if let Some(id) = waiting {
        let why = execution.outcomes.get(id).map(waiting_text).unwrap_or_default();
        let what = planned(id).map_or_else(|| id.to_string(), |planned| headline(&planned.step));
        return (ConsortiumPhase::Waiting, Verdict::reconciling("Waiting", format!("{what}: {why}")));
    }
    let first = order.iter().find_map(|id| {
        let planned = planned(id)?;
        Some(format!("{}: {}", headline(&planned.step), planned.blocked.as_deref()?))
    });
    let message = format!("{} blocked; the first: {}", count(plan.steps.len(), "step"), first.unwrap_or_default());
    (ConsortiumPhase::Stalled, Verdict::stalled("Blocked", message))
}

/// The Channels and Chaincodes that are not as the definition says yet: what a plan writes to them is not written, or not what
/// is kept of other members for them.
pub fn behind(plan: &Plan, channels: &[String], execution: &Execution) -> Behind {
    let mut behind = Behind::new();
    for (id, planned) in &plan.steps {
        let outcome = execution.outcomes.get(id);
        if outcome.is_some_and(StepOutcome::holds) {
            continue;
        }
        let why = || outcome.map_or_else(|| "it is being written".to_owned(), waiting_text);
        match &planned.step {
            Step::CreateObject { object, .. } | Step::UpdateObject { object, .. }
                if matches!(object.kind, Kind::Channel | Kind::Chaincode) =>
            {
                behind.insert((object.kind, object.name.clone()), why());
            }
            // What is refused for good leaves the last good material in force, as it does with every other member.
            Step::StoreMaterial { subject, .. } if !planned.is_gated() => {
                for channel in channels {
                    let why = || format!("{subject}: {}", why());
                    behind.entry((Kind::Channel, channel.clone())).or_insert_with(why);
                }
            }
            _ => {}
        }
    }
    behind
}

fn waiting_text(outcome: &StepOutcome) -> String {
    match outcome {
        StepOutcome::Waiting(why) | StepOutcome::Failed(StepFailure { message: why, .. }) => why.clone(),
        StepOutcome::Done | StepOutcome::AlreadyTrue => "done".to_owned(),
    }
}

fn done(execution: &Execution) -> usize {
    execution.outcomes.values().filter(|outcome| outcome.holds()).count()
}

/// A plan in a few numbers, for the status.
pub fn summary(plan: &Plan, execution: &Execution) -> PlanSummary {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let next = plan
        .ordered()
        .iter()
        .filter(|id| !execution.outcomes.get(*id).is_some_and(StepOutcome::holds))
        .filter_map(|id| {
            let planned = plan.steps.get(id)?;
            let why = execution.outcomes.get(id).map(waiting_text).unwrap_or_default();
            Some(line(&format!("{}: {why}", headline(&planned.step))))
        })
        .take(LISTED)
        .collect();
    PlanSummary {
        hash: plan.hash.clone(),
        steps: number(plan.steps.len()),
        done: number(done(execution)),
        blocked: number(plan.steps.values().filter(|planned| planned.is_gated()).count()),
        next,
    }
}

/// The notes of a plan, the most important first.
pub fn notes(plan: &Plan) -> Vec<String> {
    let mut notes: Vec<_> = plan.notes.iter().collect();
    notes.sort_by_key(|note| std::cmp::Reverse(note.level));
    notes.iter().take(LISTED).map(|note| line(&format!("{}: {}: {}", note.code, note.subject, note.message))).collect()
}

/// What was changed behind the file's back: the steps of a plan whose commit was applied before, and what becomes of
/// each. A blocked step that would make something tells of no drift: that nothing was seen is no sign that it is gone.
pub fn drift(plan: &Plan) -> Vec<String> {
    plan.steps
        .values()
        .filter_map(|planned| {
            let what = match (&planned.step, &planned.blocked) {
                (Step::UpdateObject { object, changes, drift, .. }, _) => {
                    let unsigned = |path: &str| !drift.iter().any(|line| line.starts_with(&format!("{path} ")));
                    let others = changes.iter().map(|change| change.path.clone()).filter(|path| unsigned(path));
                    let fields: Vec<String> = drift.iter().cloned().chain(others).collect();
                    format!("{object} was changed: {}", fields.join(", "))
                }
                (Step::UpdateChannelConfig { channel, topic, drift, .. }, _) if !drift.is_empty() => {
                    format!("{topic} of channel {channel} was {}", drift.join("; "))
                }
                (Step::DeployChaincode { channel, name, drift: Some(drift), .. }, _) => {
                    format!("chaincode {name} of channel {channel}: {drift}")
                }
                (Step::CreateObject { object, .. }, None) => format!("{object} was deleted"),
                (Step::CreateNamespace { namespace, .. }, None) => format!("Namespace {namespace} was deleted"),
                _ => return None,
            };
            let fate = planned
                .blocked
                .as_ref()
                .map_or_else(|| "it is put back".to_owned(), |why| format!("it cannot be put back: {why}"));
            Some(line(&format!("{what}; {fate}")))
        })
        .take(LISTED)
        .collect()
}

/// One line of a status.
pub fn line(text: &str) -> String {
    printable(text).chars().take(LINE).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::json;
    use tenter_consortium::objects::{Kind, ObjectRef};
    use tenter_consortium::plan::{Effects, FieldChange, PlannedStep, StepId, Unseen};

    use super::*;

    fn plan(steps: &[(&str, Step, Option<&str>)]) -> Plan {
        let steps = steps.iter().map(|(id, step, blocked)| {
            let planned = PlannedStep {
                step: step.clone(),
                needs: BTreeSet::new(),
                reasons: vec![],
                blocked: blocked.map(ToOwned::to_owned),
                unseen: blocked.is_some_and(|why| why.starts_with("cannot tell")).then_some(Unseen::Unreachable),
                irreversible: None,
                effects: Effects::default(),
                approval: None,
            };
            (StepId((*id).to_owned()), planned)
        });
        Plan {
            format: 1,
            consortium: "trade".to_owned(),
            revision: None,
            steps: steps.collect(),
            notes: vec![],
            hash: "h".to_owned(),
        }
    }

    fn peer() -> ObjectRef {
        ObjectRef { kind: Kind::Peer, namespace: "n".to_owned(), name: "p".to_owned() }
    }

    fn create() -> Step {
        Step::CreateObject { object: peer(), labels: BTreeMap::new(), spec: json!({}) }
    }

    fn wait() -> Step {
        Step::AwaitReady { object: peer(), state: "Starting".to_owned() }
    }

    fn check(
        problem: Option<(&str, bool)>,
        plan: Option<&Plan>,
        outcomes: &[(&str, StepOutcome)],
        failures: u32,
        expect: (ConsortiumPhase, &str),
    ) {
        let problem =
            problem.map(|(reason, terminal)| Problem { reason: reason.to_owned(), message: "m".to_owned(), terminal });
        let outcomes = outcomes.iter().map(|(id, outcome)| (StepId((*id).to_owned()), outcome.clone())).collect();
        let execution = Execution { outcomes, interrupted: false };
        let applied = plan.map(|plan| Applied { revision: "r", plan, execution: &execution });
        let (phase, verdict) = conclude(problem.as_ref(), applied.as_ref(), failures);
        assert_eq!((phase, verdict.reason()), expect, "{verdict:?}");
    }

    #[test]
    fn phases_follow_from_what_was_seen() {
        let empty = plan(&[]);
        let one = plan(&[("a", create(), None)]);
        let waiting = plan(&[("a", wait(), None), ("b", create(), Some("not allowed"))]);
        let blocked = plan(&[("b", create(), Some("not allowed"))]);
        let unseen = plan(&[("a", create(), Some("cannot tell whether it exists")), ("b", create(), Some("no"))]);
        let fails = |reason: &str, terminal| {
            StepOutcome::Failed(StepFailure { reason: reason.to_owned(), message: "no".to_owned(), terminal })
        };
        let failed = fails("Write", false);
        let later = StepOutcome::Waiting("x".to_owned());
        check(None, None, &[], 0, (ConsortiumPhase::Syncing, "Fetching"));
        check(None, Some(&empty), &[], 0, (ConsortiumPhase::Applied, "Applied"));
        check(None, Some(&one), &[("a", StepOutcome::Done)], 0, (ConsortiumPhase::Syncing, "Applying"));
        check(None, Some(&one), &[("a", failed.clone())], 1, (ConsortiumPhase::Syncing, "StepFailed"));
        check(None, Some(&one), &[("a", failed)], STALLED_AFTER, (ConsortiumPhase::Stalled, "StepFailed"));
        let both = [("a", later.clone()), ("b", later.clone())];
        check(None, Some(&waiting), &both, 0, (ConsortiumPhase::Waiting, "Waiting"));
        check(None, Some(&unseen), &both, 0, (ConsortiumPhase::Waiting, "Waiting"));
        let foreign = fails("ForeignConsortium", true);
        check(None, Some(&one), &[("a", foreign)], 1, (ConsortiumPhase::Stalled, "ForeignConsortium"));
        check(None, Some(&blocked), &[("b", later)], 0, (ConsortiumPhase::Stalled, "Blocked"));
        let lost = Some(("SourceUnreachable", false));
        check(lost, Some(&empty), &[], 1, (ConsortiumPhase::Waiting, "SourceUnreachable"));
        check(lost, Some(&empty), &[], STALLED_AFTER, (ConsortiumPhase::Stalled, "SourceUnreachable"));
        check(Some(("InvalidDefinition", true)), None, &[], 1, (ConsortiumPhase::Stalled, "InvalidDefinition"));
    }

    #[test]
    fn channels_are_behind_until_they_and_what_is_kept_for_them_are_written() {
        let object = |kind, name: &str| {
            let object = ObjectRef { kind, namespace: "n".to_owned(), name: name.to_owned() };
            Step::CreateObject { object, labels: BTreeMap::new(), spec: json!({}) }
        };
        let material = || Step::StoreMaterial {
            namespace: "n".to_owned(),
            config_map: "m".to_owned(),
            subject: "the public material of globex".to_owned(),
            labels: BTreeMap::new(),
            pinned: false,
            entries: BTreeMap::new(),
        };
        let check = |steps: &[(&str, Step, Option<&str>)], outcomes: &[(&str, StepOutcome)], expect: &[&str]| {
            let outcomes = outcomes.iter().map(|(id, outcome)| (StepId((*id).to_owned()), outcome.clone())).collect();
            let execution = Execution { outcomes, interrupted: false };
            let behind = behind(&plan(steps), &["trade".to_owned(), "rates".to_owned()], &execution);
            let told: Vec<String> =
                behind.into_iter().map(|((kind, name), why)| format!("{kind} {name}: {why}")).collect();
            assert_eq!(told, expect);
        };
        let channel = || ("a", object(Kind::Channel, "trade"), None);
        let later = StepOutcome::Waiting("not allowed".to_owned());
        check(&[], &[], &[]);
        check(&[channel()], &[("a", StepOutcome::Done)], &[]);
        check(&[channel()], &[("a", later.clone())], &["Channel trade: not allowed"]);
        check(&[channel()], &[], &["Channel trade: it is being written"]);
        check(&[("b", object(Kind::Chaincode, "cc"), None)], &[("b", later.clone())], &["Chaincode cc: not allowed"]);
        // Neither proposed nor signed for.
        check(&[("c", object(Kind::Peer, "p"), None), ("d", wait(), None)], &[("c", later.clone())], &[]);
        let whole =
            ["rates", "trade"].map(|name| format!("Channel {name}: the public material of globex: not allowed"));
        let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
        check(&[("e", material(), None)], &[("e", later.clone())], &whole);
        check(&[("e", material(), Some("its material is not taken"))], &[("e", later)], &[]);
    }

    #[test]
    fn a_turn_that_fails_again_and_again_is_stalled() {
        let check = |failure: &Failure, failures: u32, expect: ConsortiumPhase| {
            let (phase, verdict) = super::failed(failure, failures);
            assert_eq!((phase, verdict.reason()), (expect, "Lease"));
        };
        check(&Failure::new("Lease", "no answer"), 1, ConsortiumPhase::Waiting);
        check(&Failure::new("Lease", "no answer"), STALLED_AFTER, ConsortiumPhase::Stalled);
        check(&Failure::terminal("Lease", "no"), 1, ConsortiumPhase::Stalled);
    }

    #[test]
    fn drift_names_what_was_changed() {
        let update = Step::UpdateObject {
            object: peer(),
            labels: BTreeMap::new(),
            spec: json!({}),
            changes: vec![FieldChange { path: "spec.image".to_owned(), from: None, to: None }],
            drift: Vec::new(),
        };
        let edited = Step::UpdateObject {
            object: peer(),
            labels: BTreeMap::new(),
            spec: json!({}),
            changes: ["spec.image", "spec.address"]
                .map(|path| FieldChange { path: path.to_owned(), from: None, to: None })
                .to_vec(),
            drift: vec!["spec.image was changed on the cluster by kubectl-edit".to_owned()],
        };
        let ledger = Step::UpdateChannelConfig {
            channel: "settlement".to_owned(),
            topic: "policies".to_owned(),
            changes: Vec::new(),
            elements: Vec::new(),
            signing: tenter_consortium::plan::Signing::default(),
            digest: None,
            drift: vec!["changed in block 7 by an update that HubMSP (CN=x) signed".to_owned()],
        };
        let plan = plan(&[
            ("a", update.clone(), None),
            ("b", create(), None),
            ("c", wait(), None),
            ("d", create(), Some("cannot tell whether it exists")),
            ("e", update, Some("not allowed")),
            ("f", edited, None),
            ("g", ledger, None),
        ]);
        let expect = [
            "Peer n/p was changed: spec.image; it is put back",
            "Peer n/p was deleted; it is put back",
            "Peer n/p was changed: spec.image; it cannot be put back: not allowed",
            "Peer n/p was changed: spec.image was changed on the cluster by kubectl-edit, spec.address; it is put back",
            "policies of channel settlement was changed in block 7 by an update that HubMSP (CN=x) signed; it is put back",
        ];
        assert_eq!(drift(&plan), expect);
    }

    #[test]
    fn a_summary_counts_and_lists_what_is_left() {
        let plan = plan(&[("a", create(), None), ("b", wait(), None), ("c", create(), Some("no"))]);
        let execution = Execution {
            outcomes: BTreeMap::from([
                (StepId("a".to_owned()), StepOutcome::Done),
                (StepId("b".to_owned()), StepOutcome::Waiting("Starting".to_owned())),
            ]),
            interrupted: false,
        };
        let summary = summary(&plan, &execution);
        assert_eq!((summary.steps, summary.done, summary.blocked), (3, 1, 1));
        assert_eq!(summary.next, ["create Peer n/p: ", "wait for Peer n/p: Starting"]);
    }
}
