//! Carries out a plan: one function a step kind, no decisions.
//!
//! Objects and namespaces are written here. Genesis blocks, joins and readiness are the controllers' work: such a step is
//! waiting until a later plan does not hold it any more. So a plan is never resumed; a pass does what can be done, and
//! the next pass plans again.

pub mod holder;
pub mod lease;
pub mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tenter_consortium::document::Blob;
use tenter_consortium::objects::ObjectRef;
use tenter_consortium::plan::{Plan, PlannedStep, Step, StepId};
use tokio_util::sync::CancellationToken;

use crate::controllers::failure::Failure;
use crate::report::plan::headline;

/// Longest time of one write.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// Writes that are under way at the same time.
const CONCURRENCY: usize = 8;

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It was done.
    Done,
    /// There was nothing to do.
    AlreadyTrue,
    /// It is not done yet, and why.
    Waiting(String),
    /// It was tried, and why it failed.
    Failed(StepFailure),
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// CamelCase.
    pub reason: String,
    /// What happened to what, and what to do next.
    pub message: String,
    /// Whether it is of no use to try again before somebody changes something.
    pub terminal: bool,
}

impl StepOutcome {
    /// Whether what the step asks for holds.
    pub const fn holds(&self) -> bool {
        matches!(self, Self::Done | Self::AlreadyTrue)
    }
}

/// What a plan writes to.
pub trait World: Sync {
    /// Makes a namespace with its organization's label.
    fn create_namespace(
        &self,
        namespace: &str,
        organization: &str,
    ) -> impl Future<Output = Result<StepOutcome, Failure>> + Send;

    /// Makes an object that must not be there yet.
    fn create_object(
        &self,
        object: &ObjectRef,
        labels: &BTreeMap<String, String>,
        spec: &serde_json::Value,
    ) -> impl Future<Output = Result<StepOutcome, Failure>> + Send;

    /// Brings an object that is there to a spec, and to nothing but that.
    fn update_object(
        &self,
        object: &ObjectRef,
        labels: &BTreeMap<String, String>,
        spec: &serde_json::Value,
    ) -> impl Future<Output = Result<StepOutcome, Failure>> + Send;

    /// Keeps a chaincode package in a `ConfigMap`, whose name follows from the bytes.
    fn store_package(
        &self,
        namespace: &str,
        config_map: &str,
        package: &[u8],
    ) -> impl Future<Output = Result<StepOutcome, Failure>> + Send;

    /// Keeps what the repository holds of other members in a `ConfigMap`; a pinned one that is there stays as it is.
    fn store_material(
        &self,
        place: (&str, &str),
        labels: &BTreeMap<String, String>,
        entries: &BTreeMap<String, Blob>,
        pinned: bool,
    ) -> impl Future<Output = Result<StepOutcome, Failure>> + Send;

    /// Takes away an object that the file releases.
    fn remove_object(
        &self,
        object: &ObjectRef,
        volume: Option<&str>,
    ) -> impl Future<Output = Result<StepOutcome, Failure>> + Send;
}

/// What came of a pass over a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    /// The outcome of each step.
    pub outcomes: BTreeMap<StepId, StepOutcome>,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
}

impl Execution {
    /// The first step that failed, and why; of those that cannot pass by themselves, if there are any.
    pub fn failure(&self) -> Option<(&StepId, &StepFailure)> {
        let failures = self.outcomes.iter().filter_map(|(id, outcome)| match outcome {
            StepOutcome::Failed(why) => Some((id, why)),
            _ => None,
        });
        failures.min_by_key(|(_, why)| !why.terminal)
    }

    /// Whether anything was written.
    pub fn wrote(&self) -> bool {
        self.outcomes.values().any(|outcome| *outcome == StepOutcome::Done)
    }
}

/// Does what can be done of a plan now. A step starts when all that it needs holds; one that fails or waits holds up
/// only what needs it. After `stop` no step starts; those under way are finished.
pub async fn execute<W: World>(
    world: &W,
    plan: &Plan,
    stop: &CancellationToken,
    report: &mut (dyn FnMut(&StepId, &StepOutcome) + Send),
) -> Execution {
    let mut execution = Execution::default();
    let mut queue: BTreeSet<(usize, StepId)> = plan.ordered().into_iter().enumerate().collect();
    let mut running = FuturesUnordered::new();
    loop {
        if stop.is_cancelled() {
            execution.interrupted = true;
        }
        let settled: Vec<(usize, StepId)> = queue
            .iter()
            .filter(|(_, id)| plan.steps.get(id).is_none_or(|planned| is_settled(plan, planned, &execution)))
            .cloned()
            .collect();
        let stuck = settled.is_empty();
        for entry in settled {
            if execution.interrupted || running.len() >= CONCURRENCY {
                break;
            }
            queue.remove(&entry);
            let id = entry.1;
            let Some(planned) = plan.steps.get(&id) else { continue };
            match idle_outcome(plan, planned, &execution) {
                Some(outcome) => {
                    report(&id, &outcome);
                    execution.outcomes.insert(id, outcome);
                }
                None => running.push(async move { (id, perform(world, &planned.step).await) }),
            }
        }
        match running.next().await {
            Some((id, outcome)) => {
                report(&id, &outcome);
                execution.outcomes.insert(id, outcome);
            }
            // Stuck only if steps need each other, which a plan's making rules out; they are left without an outcome.
            None if queue.is_empty() || execution.interrupted || stuck => return execution,
            None => {}
        }
    }
}

/// Whether everything that a step needs has an outcome.
fn is_settled(plan: &Plan, planned: &PlannedStep, execution: &Execution) -> bool {
    planned.needs.iter().all(|need| !plan.steps.contains_key(need) || execution.outcomes.contains_key(need))
}

/// The outcome of a step for which nothing is to be written now; `None` for one that writes.
fn idle_outcome(plan: &Plan, planned: &PlannedStep, execution: &Execution) -> Option<StepOutcome> {
    if let Some(blocked) = &planned.blocked {
        let gate = if planned.is_gated() { "blocked: " } else { "" };
        return Some(StepOutcome::Waiting(format!("{gate}{blocked}")));
    }
    let unmet = planned
        .needs
        .iter()
        .find(|need| execution.outcomes.get(*need).is_some_and(|outcome| !outcome.holds()))
        .and_then(|need| plan.steps.get(need));
    if let Some(unmet) = unmet {
        return Some(StepOutcome::Waiting(format!("first: {}", headline(&unmet.step))));
    }
    match &planned.step {
        Step::CreateNamespace { .. }
        | Step::CreateObject { .. }
        | Step::UpdateObject { .. }
        | Step::StorePackage { .. }
        | Step::StoreMaterial { .. }
        | Step::RemoveObject { .. } => None,
        Step::PinGenesis { channel } | Step::JoinOrderer { channel, .. } => {
            Some(StepOutcome::Waiting(format!("Channel {channel} is being formed")))
        }
        Step::JoinPeer { channel, peer } => {
            Some(StepOutcome::Waiting(format!("Membership {}/{channel} is being carried out", peer.namespace)))
        }
        Step::UpdateChannelConfig { channel, topic, signing, .. } => {
            Some(StepOutcome::Waiting(match &signing.missing {
                None => format!("Channel {channel} proposes {topic}"),
                Some(missing) => format!("{topic} of channel {channel} waits for signatures: {missing}"),
            }))
        }
        Step::DeployChaincode { channel, name, commit, signing, .. } => {
            let what = format!("chaincode {name} of channel {channel}");
            Some(StepOutcome::Waiting(match &signing.missing {
                Some(missing) if !commit => format!("{what} waits for approvals: {missing}"),
                _ => format!("{what} is being deployed"),
            }))
        }
        Step::AwaitReady { state, .. } => Some(StepOutcome::Waiting(state.clone())),
    }
}

/// Carries out a step that writes.
async fn perform<W: World>(world: &W, step: &Step) -> StepOutcome {
    let work = async {
        match step {
            Step::CreateNamespace { namespace, organization } => world.create_namespace(namespace, organization).await,
            Step::CreateObject { object, labels, spec } => world.create_object(object, labels, spec).await,
            Step::UpdateObject { object, labels, spec, .. } => world.update_object(object, labels, spec).await,
            Step::RemoveObject { object, volume, .. } => world.remove_object(object, volume.as_deref()).await,
            Step::StorePackage { namespace, config_map, package, .. } => {
                world.store_package(namespace, config_map, &package.0).await
            }
            Step::StoreMaterial { namespace, config_map, subject: _, labels, pinned, entries } => {
                world.store_material((namespace, config_map), labels, entries, *pinned).await
            }
            Step::PinGenesis { .. }
            | Step::JoinOrderer { .. }
            | Step::JoinPeer { .. }
            | Step::UpdateChannelConfig { .. }
            | Step::DeployChaincode { .. }
            | Step::AwaitReady { .. } => Ok(StepOutcome::Waiting("a controller does this".to_owned())),
        }
    };
    match tokio::time::timeout(WRITE_LIMIT, work).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(Failure { reason, message, terminal })) => {
            StepOutcome::Failed(StepFailure { reason, message, terminal })
        }
        Err(_) => {
            let message = format!(
                "the API server did not answer within {} s; whether it was written is seen at the next pass",
                WRITE_LIMIT.as_secs()
            );
            StepOutcome::Failed(StepFailure { reason: "NoAnswer".to_owned(), message, terminal: false })
        }
    }
}

#[cfg(test)]
mod tests;
