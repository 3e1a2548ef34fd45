//! Looks at finished plans with other eyes than the planner's.

use std::collections::{BTreeMap, BTreeSet};

use super::approvals::stop_what_waits;
use crate::plan::{Note, NoteLevel, Plan, Step, StepId};

/// The code of a step that does nothing.
const NO_CHANGE: &str = "NoChange";

/// What is wrong with a plan: needs that no step meets, cycles, steps that would run although what they need is
/// blocked. A plan with such notes must not be carried out.
pub fn check(plan: &Plan) -> Vec<Note> {
    let mut notes = BTreeSet::new();
    for (id, planned) in &plan.steps {
        let mut report = |code: &str, message: String| {
            notes.insert(Note { level: NoteLevel::Error, code: code.to_owned(), subject: id.to_string(), message });
        };
        for need in &planned.needs {
            match plan.steps.get(need) {
                None => report("DanglingNeed", format!("it needs {need}, which is not a step of the plan")),
                Some(needed) if needed.blocked.is_some() && planned.blocked.is_none() => {
                    report("NotBlocked", format!("it needs {need}, which is blocked, and would run"));
                }
                Some(_) => {}
            }
        }
        if let Step::UpdateObject { changes, .. } | Step::UpdateChannelConfig { changes, .. } = &planned.step
            && changes.is_empty()
        {
            report(NO_CHANGE, "it changes nothing".to_owned());
        }
        if let Step::DeployChaincode { changes, install, approve, commit: false, waits, .. } = &planned.step
            && changes.is_empty()
            && install.is_empty()
            && approve.is_empty()
            && waits.is_empty()
            && planned.blocked.is_none()
        {
            report(NO_CHANGE, "it changes nothing".to_owned());
        }
    }
    for id in in_cycles(plan) {
        let message = "it needs itself, by way of other steps".to_owned();
        notes.insert(Note { level: NoteLevel::Error, code: "Cycle".to_owned(), subject: id.to_string(), message });
    }
    notes.into_iter().collect()
}

/// Stops what is wrong with a finished plan, and says so: a step that changes nothing, and the whole plan where its steps do not
/// fit together, since nobody knows then what it leaves out.
pub(super) fn refuse(plan: &mut Plan) {
    let problems = check(plan);
    let Some(first) = problems.iter().find(|problem| problem.code != NO_CHANGE).or_else(|| problems.first()) else {
        return;
    };
    let why =
        format!("the plan contradicts itself, which is an error of this program: {}: {}", first.subject, first.message);
    let wrong: BTreeSet<&str> = problems.iter().map(|problem| problem.subject.as_str()).collect();
    for (id, planned) in &mut plan.steps {
        if (first.code != NO_CHANGE || wrong.contains(id.0.as_str())) && planned.blocked.is_none() {
            planned.blocked = Some(why.clone());
        }
    }
    stop_what_waits(&mut plan.steps);
    plan.notes.extend(problems);
    plan.notes.sort();
}

/// Steps that are left when, again and again, those are taken away that need nothing.
fn in_cycles(plan: &Plan) -> Vec<&StepId> {
    let mut waiting: BTreeMap<&StepId, usize> = BTreeMap::new();
    let mut dependents: BTreeMap<&StepId, Vec<&StepId>> = BTreeMap::new();
    for (id, planned) in &plan.steps {
        let needs = planned.needs.iter().filter(|need| plan.steps.contains_key(need));
        waiting.insert(id, needs.clone().count());
        for need in needs {
            dependents.entry(need).or_default().push(id);
        }
    }
    let mut free: Vec<&StepId> = waiting.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    while let Some(id) = free.pop() {
        waiting.remove(id);
        for dependent in dependents.get(id).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    free.push(dependent);
                }
            }
        }
    }
    waiting.into_keys().collect()
}
