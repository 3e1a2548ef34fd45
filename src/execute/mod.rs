//! Carries out a plan: one function a step kind, no decisions.
//!
//! Objects and namespaces are written here. Genesis blocks, joins, updates of channels and readiness are the controllers' work:
//! such a step is waiting until a later plan does not hold it any more. So a plan is never resumed; a pass does what can be done,
//! and the next pass plans again. Of an update that cannot be undone, what is written here is that it is approved.

pub mod holder;
pub mod lease;
pub mod objects;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tenter_consortium::document::Blob;
use tenter_consortium::objects::ObjectRef;
use tenter_consortium::plan::{Plan, PlannedStep, Signing, Step, StepId};
use tokio_util::sync::CancellationToken;

use crate::controllers::failure::Failure;
use crate::report::plan::headline;

/// Longest time of one write.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// Writes that are under way at the same time: the API server's store commits together what comes together.
const CONCURRENCY: usize = 16;

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

    /// Lets an update of a channel be signed that cannot be undone: its Proposal, once it is there, is approved for exactly
    /// this update.
    fn approve_update(&self, channel: &str, digest: &str) -> impl Future<Output = Result<(), Failure>> + Send;

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
    let mut queue = Queue::of(plan);
    let mut running = FuturesUnordered::new();
    loop {
        if stop.is_cancelled() {
            execution.interrupted = true;
        }
        while !execution.interrupted && running.len() < CONCURRENCY {
            let Some((id, planned)) = queue.next() else { break };
            match idle_outcome(plan, planned, &execution) {
                Some(outcome) => {
                    report(id, &outcome);
                    queue.settle(id);
                    execution.outcomes.insert(id.clone(), outcome);
                }
                None => running.push(async move { (id, perform(world, &planned.step).await) }),
            }
        }
        // Steps that need each other, which a plan's making rules out, are left without an outcome.
        let Some((id, outcome)) = running.next().await else { return execution };
        report(id, &outcome);
        queue.settle(id);
        execution.outcomes.insert(id.clone(), outcome);
    }
}

/// The steps that have not begun. What each waits for is counted, so that a plan of thousands of steps is not gone through
/// again after each.
struct Queue<'a> {
    /// Place in the plan's order, and how many steps are needed that have no outcome yet.
    waiting: BTreeMap<&'a StepId, (usize, usize)>,
    /// Who needs a step.
    unlocks: BTreeMap<&'a StepId, Vec<&'a StepId>>,
    /// Those that need nothing more, by their place.
    ready: BTreeMap<usize, (&'a StepId, &'a PlannedStep)>,
    plan: &'a Plan,
}

impl<'a> Queue<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut queue = Self { waiting: BTreeMap::new(), unlocks: BTreeMap::new(), ready: BTreeMap::new(), plan };
        for (place, id) in plan.ordered().iter().enumerate() {
            let Some((id, planned)) = plan.steps.get_key_value(id) else { continue };
            let mut needs = 0;
            for need in planned.needs.iter().filter(|need| plan.steps.contains_key(*need)) {
                queue.unlocks.entry(need).or_default().push(id);
                needs += 1;
            }
            if needs == 0 {
                queue.ready.insert(place, (id, planned));
            } else {
                queue.waiting.insert(id, (place, needs));
            }
        }
        queue
    }

    /// The first step that can begin.
    fn next(&mut self) -> Option<(&'a StepId, &'a PlannedStep)> {
        self.ready.pop_first().map(|(_, step)| step)
    }

    /// A step has its outcome: others may begin.
    fn settle(&mut self, id: &StepId) {
        for next in self.unlocks.remove(id).unwrap_or_default() {
            let Some((place, needs)) = self.waiting.get_mut(next) else { continue };
            *needs -= 1;
            if let (0, Some(planned)) = (*needs, self.plan.steps.get(next)) {
                self.ready.insert(*place, (next, planned));
            }
        }
    }
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
        Step::PinGenesis { channel } => Some(StepOutcome::Waiting(format!("Channel {channel} is being formed"))),
        Step::JoinOrderer { channel, orderer } => {
            Some(StepOutcome::Waiting(format!("Channel {channel} has {orderer} join it")))
        }
        Step::JoinPeer { channel, peer } => {
            Some(StepOutcome::Waiting(format!("Membership {}/{channel} is being carried out", peer.namespace)))
        }
        Step::UpdateChannelConfig { channel, topic, .. } if planned.is_unapproved() => {
            let short = plan.hash.get(..12).unwrap_or(&plan.hash);
            Some(StepOutcome::Waiting(format!(
                "{topic} of channel {channel} cannot be undone, and nobody approved it: tenter approve {short}"
            )))
        }
        Step::UpdateChannelConfig { digest: Some(_), .. } if planned.approval.is_some() => None,
        Step::UpdateChannelConfig { channel, topic, signing, .. } => {
            Some(StepOutcome::Waiting(update_waits(channel, topic, signing)))
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

/// What an update of a channel waits for.
fn update_waits(channel: &str, topic: &str, signing: &Signing) -> String {
    match &signing.missing {
        None => format!("Channel {channel} proposes {topic}"),
        Some(missing) => format!("{topic} of channel {channel} waits for signatures: {missing}"),
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
            // Only one that cannot be undone and is approved gets here.
            Step::UpdateChannelConfig { channel, topic, signing, digest, .. } => {
                if let Some(digest) = digest {
                    world.approve_update(channel, digest).await?;
                }
                Ok(StepOutcome::Waiting(update_waits(channel, topic, signing)))
            }
            Step::PinGenesis { .. }
            | Step::JoinOrderer { .. }
            | Step::JoinPeer { .. }
            | Step::DeployChaincode { .. }
            | Step::AwaitReady { .. } => Ok(StepOutcome::Waiting("a controller does this".to_owned())),
        }
    };
    match tokio::time::timeout(WRITE_LIMIT, work).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(Failure { reason, message, terminal, cause: _ })) => {
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
