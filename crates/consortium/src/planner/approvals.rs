//! Steps that cannot be undone, and whether somebody approved them.
//!
//! Who approves names the plan's hash, and so the world that it was made from. What is recorded are digests of the steps: the
//! world moves while a plan is carried out, and what was approved stays so until it is done, or is something else. They stand
//! in the daemon's settings, or in a signed file of the repository whose organization the settings name. An update of a channel
//! may be approved at its Proposal as well, by the digest of its bytes; whoever carries out an approved one writes that there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Planner;
use crate::desired::Desired;
use crate::objects::{Kind, ObjectRef};
use crate::observed::Observed;
use crate::plan::{Note, NoteLevel, PlannedStep, Step, StepApproval, StepId, Unseen};
use crate::repository::approval::{Approval, path, who};

/// Hexadecimal digits of a digest that are kept.
const DIGITS: usize = 32;

impl Planner<'_> {
    /// Says what would be approved, and stops what was not and must be.
    pub(super) fn approvals(&mut self, hash: &str) {
        let settings = &self.desired.approvals;
        let mut stopped = false;
        for (id, planned) in &mut self.steps {
            if planned.irreversible.is_none() {
                continue;
            }
            let digest = digest(self.desired, id, &planned.step);
            let (counted, others) = who(&self.desired.given, &digest, &settings.organizations);
            let given = settings.approved.contains(&digest)
                || !counted.is_empty()
                || is_approved_as_proposed(self.observed, &planned.step);
            // A ledger that is deleted is gone, whoever wrote the commit that asks for it.
            let required = settings.required || matches!(planned.step, Step::RemoveObject { volume: Some(_), .. });
            if required && planned.blocked.is_none() && !given {
                planned.blocked = Some(missing(hash, &others));
                planned.unseen = Some(Unseen::Unapproved);
                stopped = true;
            }
            let by = counted.union(&others).map(|name| (*name).to_owned()).collect();
            planned.approval = Some(StepApproval { digest, by, given });
        }
        if stopped {
            stop_what_waits(&mut self.steps);
        }
        self.note_approvals();
    }

    /// Says which files of the repository approve something of this plan, until when and why.
    fn note_approvals(&mut self) {
        for approval in &self.desired.given {
            let Approval { hash, organization, reason, expires, steps } = approval;
            let of_plan = self.steps.values().filter_map(|planned| planned.approval.as_ref());
            let number = of_plan.filter(|of_step| steps.contains_key(&of_step.digest)).count();
            if number == 0 {
                continue;
            }
            let what = if number == 1 { "a step" } else { "steps" };
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            let message = format!("{organization} approved {what} that cannot be undone, until {expires}{reason}");
            let (code, subject) = ("Approved".to_owned(), path(hash, organization));
            self.notes.insert(Note { level: NoteLevel::Info, code, subject, message });
        }
    }
}

/// Blocks what needs something that is blocked.
pub(super) fn stop_what_waits(steps: &mut BTreeMap<StepId, PlannedStep>) {
    for id in crate::plan::ordered(steps) {
        let needs = steps.get(&id).filter(|planned| planned.blocked.is_none()).map(|planned| &planned.needs);
        let is_blocked = |need: &&StepId| steps.get(*need).is_some_and(|planned| planned.blocked.is_some());
        let held = needs.and_then(|needs| needs.iter().find(is_blocked)).cloned();
        let unseen = held.as_ref().and_then(|held| steps.get(held)?.unseen);
        if let (Some(held), Some(planned)) = (held, steps.get_mut(&id)) {
            planned.blocked = Some(format!("waits for {held}, which is blocked"));
            // Where the one is no refusal, the other is none.
            planned.unseen = unseen;
        }
    }
}

/// Whether a step is an update that is approved at its Proposal.
fn is_approved_as_proposed(observed: &Observed, step: &Step) -> bool {
    let Step::UpdateChannelConfig { channel, digest: Some(digest), .. } = step else { return false };
    observed.channels.get(channel).is_some_and(|channel| channel.approved.contains(digest))
}

/// That nobody approved a step of a plan; `others` did, and do not count here.
fn missing(hash: &str, others: &BTreeSet<&str>) -> String {
    let short = hash.get(..12).unwrap_or(hash);
    if others.is_empty() {
        return format!("it cannot be undone, and nobody approved it (spec.approvals): tenter approve {short}");
    }
    let names = others.iter().copied().collect::<Vec<_>>().join(", ");
    format!(
        "it cannot be undone, and nobody approved it who may: {names} did in the repository, and the Consortium's \
         spec.approvals.organizations does not name them; or: tenter approve {short}"
    )
}

/// A digest of what a step does that cannot be undone; what is done of it already makes it no other step.
fn digest(desired: &Desired, id: &StepId, step: &Step) -> String {
    let mut essence = match step {
        Step::UpdateObject { object, changes, .. } => {
            let to: Vec<Value> = changes.iter().map(|change| json!([change.path, change.to])).collect();
            json!([object, to])
        }
        Step::PinGenesis { channel } => {
            let object = ObjectRef { kind: Kind::Channel, namespace: desired.namespace.clone(), name: channel.clone() };
            json!([channel, desired.objects.get(&object).map(|object| &object.spec)])
        }
        Step::UpdateChannelConfig { channel, topic, changes, .. } => json!([channel, topic, changes]),
        Step::DeployChaincode { channel, name, sequence, changes, package, .. } => {
            json!([channel, name, sequence, changes, package])
        }
        Step::RemoveObject { object, volume, .. } => json!([object, volume]),
        other => json!(other),
    };
    essence.sort_all_objects();
    let text = json!([desired.consortium, id, essence]).to_string();
    let mut digest = hex::encode(Sha256::digest(text.as_bytes()));
    digest.truncate(DIGITS);
    digest
}

/// Digests of the steps of a plan that cannot be undone.
pub fn approvals<'a>(steps: impl IntoIterator<Item = &'a PlannedStep>) -> Vec<String> {
    steps.into_iter().filter_map(|planned| Some(planned.approval.as_ref()?.digest.clone())).collect()
}
