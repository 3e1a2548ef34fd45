//! Steps that cannot be undone, and whether somebody approved them.
//!
//! Who approves names the plan's hash, and so the world that it was made from. What is recorded are digests of the steps: the
//! world moves while a plan is carried out, and what was approved stays so until it is done, or is something else.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Planner;
use crate::desired::Desired;
use crate::objects::{Kind, ObjectRef};
use crate::plan::{PlannedStep, Step, StepId};

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
            if settings.required && planned.blocked.is_none() && !settings.approved.contains(&digest) {
                let short = hash.get(..12).unwrap_or(hash);
                planned.blocked = Some(format!(
                    "it cannot be undone, and nobody approved it (spec.approvals): tenter approve {short}"
                ));
                stopped = true;
            }
            planned.approval = Some(digest);
        }
        if stopped {
            self.stop_what_waits();
        }
    }

    /// Blocks what needs something that is blocked.
    fn stop_what_waits(&mut self) {
        for id in crate::plan::ordered(&self.steps) {
            let needs = self.steps.get(&id).filter(|planned| planned.blocked.is_none()).map(|planned| &planned.needs);
            let is_blocked = |need: &&StepId| self.steps.get(*need).is_some_and(|planned| planned.blocked.is_some());
            let held = needs.and_then(|needs| needs.iter().find(is_blocked)).cloned();
            if let (Some(held), Some(planned)) = (held, self.steps.get_mut(&id)) {
                planned.blocked = Some(format!("waits for {held}, which is blocked"));
            }
        }
    }
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
    steps.into_iter().filter_map(|planned| planned.approval.clone()).collect()
}
