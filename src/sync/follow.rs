//! The loop of one Consortium.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;
use tenter_consortium::network::Network;
use tenter_consortium::plan::{Plan, Step};
use tenter_consortium::settings::{Settings, verifies};
use tenter_consortium::status::{ConsortiumPhase, ConsortiumStatus};
use tenter_fabric::msp::MspDefinition;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::conclude::{self, Applied, drift, notes, summary};
use super::definition::{Good, Newest, accepted, base, from_folder, from_repository, last_applied, source_name};
use super::engine::Look;
use super::known::{self, Known};
use super::publish::signed;
use super::triggers::Triggers;
use super::{Shared, status};
use crate::controllers::apply;
use crate::controllers::conditions::Verdict;
use crate::controllers::failure::Failure;
use crate::controllers::schedule::{back_off, jitter, seed};
use crate::execute::lease::{Candidate, Lease, LeaseError};
use crate::execute::objects::Cluster;
use crate::execute::{Execution, execute};
use crate::resources::{CertificateAuthority, Consortium, Orderer, Peer};
use crate::source::folder::Follower;
use crate::web::metrics::{ConsortiumView, Expiry};

/// Least time between two passes: changes that come together are looked at together.
const SETTLE: Duration = Duration::from_millis(300);
/// How soon a plan that is not empty is looked at again, at first; it doubles up to [`LOOK_LATEST`].
const LOOK_SOONEST: Duration = Duration::from_secs(1);
/// See [`LOOK_SOONEST`].
const LOOK_LATEST: Duration = Duration::from_secs(10);
/// Longest pass: fetching and each write have limits of their own.
const PASS_LIMIT: Duration = Duration::from_mins(5);
/// How long another holder of the Lease is waited for before the loop looks around again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest turn: a pass, and what comes before and after it.
const TURN_LIMIT: Duration = Duration::from_mins(6);
/// Changes behind the file's back that a status lists.
const DRIFT_LISTED: usize = 20;
/// How often a snapshot of the state is made.
const SNAPSHOT_INTERVAL: Duration = Duration::from_mins(1);
/// How often the certificates' expiry is read for the metrics.
const EXPIRY_INTERVAL: Duration = Duration::from_mins(1);

/// The state that lives between passes. All of it can be lost: it only saves work.
struct Loop {
    shared: Arc<Shared>,
    name: String,
    candidate: Candidate,
    lease: Option<Lease>,
    good: Option<Good>,
    /// Whether `good` was fetched since the definition is followed, and is not only what was applied last.
    fetched: bool,
    /// The MSPs that live channels were last seen to have, by organization.
    live: BTreeMap<String, MspDefinition>,
    /// The hash of the plan of the last pass, and how many passes saw it.
    last_plan: (String, u32),
    /// What was put back since the last commit.
    drift: Vec<String>,
    /// Turns in a row that failed, fetching aside.
    failures: u32,
    /// Fetches in a row that brought nothing to apply.
    fetch_failures: u32,
    last_fetch: Option<LastFetch>,
    expiries_read: Option<Instant>,
    snapshot_taken: Option<Instant>,
}

/// What the last look for the newest definition found; it holds until the next is due.
struct LastFetch {
    newest: Newest,
    /// When it began: see [`Definitions::moment`](crate::controllers::definitions::Definitions::moment).
    began: u64,
    /// The generation of the spec that said where to look.
    generation: i64,
    due: Instant,
}

/// What a pass came to.
struct Pass {
    newest: Newest,
    plan: Option<(String, Plan, Execution)>,
}

/// When to look again.
enum Next {
    After(Duration),
    /// The object is gone.
    End,
}

/// Runs the loop until `stop`.
pub async fn run(shared: Arc<Shared>, name: String, mut generation: watch::Receiver<i64>, stop: CancellationToken) {
    let triggers = Triggers::start(&shared.engine.ctx, &name);
    let mut changes = triggers.changes.clone();
    let follower = shared.options.folder.as_deref().map(Follower::start).transpose();
    let mut edits = match follower {
        Ok(follower) => follower,
        Err(error) => {
            tracing::error!(consortium = name, "{error}");
            return;
        }
    };
    let ctx = &shared.engine.ctx;
    let candidate = Candidate::new(ctx.client.clone(), &ctx.namespace, &lease_name(&name));
    let mut this = Loop {
        shared,
        name,
        candidate,
        lease: None,
        good: None,
        fetched: false,
        live: BTreeMap::new(),
        last_plan: (String::new(), 0),
        drift: Vec::new(),
        failures: 0,
        fetch_failures: 0,
        last_fetch: None,
        expiries_read: None,
        snapshot_taken: None,
    };
    while !stop.is_cancelled() {
        changes.mark_unchanged();
        generation.mark_unchanged();
        // Whatever is cut off here may be done twice.
        let next = tokio::select! {
            next = this.bounded_turn() => next,
            () = stop.cancelled() => break,
        };
        let pause = match next {
            Next::After(pause) => pause,
            Next::End => break,
        };
        let edited = async {
            match &mut edits {
                Some(follower) => follower.changes.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep(pause) => {}
            _ = edited => {}
            _ = changes.changed() => sleep(SETTLE).await,
            spec = generation.changed() => if spec.is_err() { break },
        }
    }
    if let Some(lease) = this.lease.take() {
        lease.release().await;
    }
}

impl Loop {
    /// One turn, within its limit.
    async fn bounded_turn(&mut self) -> Next {
        let turn = Failure::caught("a turn of the loop", async { Ok(self.turn().await) });
        let failure = match timeout(TURN_LIMIT, turn).await {
            Ok(Ok(next)) => return next,
            Ok(Err(panicked)) => panicked,
            Err(_) => {
                Failure::new("TurnTimeout", format!("a turn of the loop took longer than {} s", TURN_LIMIT.as_secs()))
            }
        };
        let ctx = self.shared.engine.ctx.clone();
        match apply::get::<Consortium>(&ctx, &ctx.namespace, &self.name).await {
            Ok(Some(object)) => self.failed(&object, &failure).await,
            _ => self.count_failure(&failure),
        }
    }

    /// One turn: settings, Lease, pass, status.
    async fn turn(&mut self) -> Next {
        let ctx = self.shared.engine.ctx.clone();
        let object = match apply::get::<Consortium>(&ctx, &ctx.namespace, &self.name).await {
            Ok(Some(object)) => object,
            Ok(None) => return Next::End,
            Err(failure) => return self.count_failure(&failure),
        };
        if object.spec.suspend {
            return self.suspended(&object).await;
        }
        if let Err(error) = self.hold_lease().await {
            return match error {
                LeaseError::Held { .. } => {
                    tracing::info!(consortium = self.name, "{error}");
                    self.look_on(&object).await;
                    Next::After(Duration::from_secs(1))
                }
                LeaseError::Api { .. } | LeaseError::Silent { .. } => {
                    self.failed(&object, &Failure::new("Lease", error.to_string())).await
                }
            };
        }
        let lost = self.lease.as_ref().map(|lease| lease.lost().clone()).unwrap_or_default();
        let halt = CancellationToken::new();
        let pass = tokio::select! {
            biased;
            pass = timeout(PASS_LIMIT, self.pass(&object, &halt)) => pass,
            () = lost.cancelled() => {
                // The step under way was cut off; every step may be done twice, and the next pass sees what was done.
                halt.cancel();
                return Next::After(Duration::ZERO);
            }
        };
        if let Ok(pass) = pass {
            self.conclude(&object, pass).await
        } else {
            let message = format!("a pass took longer than {} s", PASS_LIMIT.as_secs());
            self.failed(&object, &Failure::new("PassTimeout", message)).await
        }
    }

    /// A turn that came to nothing: the status says so, if it can be written.
    async fn failed(&mut self, object: &Consortium, failure: &Failure) -> Next {
        let next = self.count_failure(failure);
        let (phase, verdict) = conclude::failed(failure, self.failures);
        let mut status = object.status.clone().unwrap_or_default();
        status.phase = Some(phase);
        self.show(&status, &verdict, None);
        if let Err(unwritten) = status::write(&self.shared.engine.ctx, object, status, &verdict).await {
            tracing::warn!(consortium = self.name, "{}", unwritten.message);
        }
        next
    }

    fn count_failure(&mut self, failure: &Failure) -> Next {
        self.failures = self.failures.saturating_add(1);
        self.shared.telemetry.count_pass(true);
        tracing::warn!(consortium = self.name, reason = failure.reason, "{}", failure.message);
        Next::After(back_off(self.failures, seed(&self.name)))
    }

    async fn suspended(&mut self, object: &Consortium) -> Next {
        if let Some(lease) = self.lease.take() {
            lease.release().await;
        }
        // The members go on meanwhile: what they made of the definition is to be seen before anything is done again.
        self.shared.engine.ctx.definitions.forget(&self.name);
        (self.fetched, self.last_fetch) = (false, None);
        let mut status = object.status.clone().unwrap_or_default();
        status.phase = Some(ConsortiumPhase::Suspended);
        let verdict = Verdict::stalled("Suspended", "spec.suspend is true: nothing is done until it is cleared");
        self.show(&status, &verdict, None);
        match status::write(&self.shared.engine.ctx, object, status, &verdict).await {
            Ok(()) => Next::After(interval(object)),
            Err(failure) => self.count_failure(&failure),
        }
    }

    async fn hold_lease(&mut self) -> Result<(), LeaseError> {
        if self.lease.as_ref().is_some_and(|lease| !lease.lost().is_cancelled()) {
            return Ok(());
        }
        self.lease = None;
        self.lease = Some(self.candidate.acquire(PATIENCE).await?);
        Ok(())
    }

    /// The newest definition that may be applied is kept; without one, what was applied last, until there is.
    async fn refresh(&mut self, object: &Consortium, applied: Option<&String>) -> Newest {
        let mut newest = self.newest(object).await;
        if let Some(good) = newest.good.take() {
            if self.good.as_ref().is_none_or(|known| known.revision != good.revision) {
                tracing::info!(consortium = self.name, revision = good.revision, "a new revision");
                self.drift.clear();
            }
            (self.good, self.fetched) = (Some(good), true);
        } else if let (None, Some(commit)) = (&self.good, applied) {
            self.good = last_applied(&object.spec, &self.shared.options.cache, commit);
        }
        if let (false, Some(problem)) = (self.fetched, &newest.problem) {
            let why = format!("{}: {}", problem.reason, problem.message);
            self.shared.engine.ctx.definitions.unread(&self.name, &why);
        }
        newest
    }

    /// Tells the controllers of this process which objects are as a definition says that was fetched.
    fn tell(&self, look: &Look, execution: &Execution) {
        if self.fetched {
            let channels: Vec<String> = look.desired.channels.keys().cloned().collect();
            let behind = conclude::behind(&look.plan, &channels, execution);
            self.shared.engine.ctx.definitions.read(&self.name, behind);
        }
    }

    /// Another process writes the objects. The controllers may run in this one all the same, and wait until they are seen to be
    /// as the definition says.
    async fn look_on(&mut self, object: &Consortium) {
        let engine = self.shared.engine.clone();
        if !engine.ctx.definitions.seen().is_awaited(&self.name) {
            return;
        }
        self.refresh(object, None).await;
        let Some(good) = self.good.clone().filter(|_| self.fetched) else { return };
        let settings = Settings::of(&self.name, &engine.ctx.namespace, &object.spec);
        let look = engine.look(&good.network, &settings, Some(&good.revision)).await;
        self.tell(&look, &Execution::default());
    }

    /// Fetches, plans, executes.
    async fn pass(&mut self, object: &Consortium, halt: &CancellationToken) -> Pass {
        let engine = self.shared.engine.clone();
        let applied = object.status.as_ref().and_then(|status| status.last_applied_revision.clone());
        let newest = self.refresh(object, applied.as_ref()).await;
        let Some(good) = self.good.clone() else { return Pass { newest, plan: None } };
        let settings = Settings::of(&self.name, &engine.ctx.namespace, &object.spec);
        let look = engine.look(&good.network, &settings, Some(&good.revision)).await;
        self.live.extend(known::live(&good.network, &look.observed));
        self.publish(&look).await;
        let was_applied = applied.as_deref() == Some(good.revision.as_str());
        let changed = if was_applied { drift(&look.plan) } else { Vec::new() };
        for what in changed {
            if !self.drift.contains(&what) {
                status::event(&engine.ctx, object, EventType::Warning, "Drift", &what).await;
                self.drift.push(what);
            }
        }
        // The newest stay: a person who changes the same thing again and again must not fill the status.
        let surplus = self.drift.len().saturating_sub(DRIFT_LISTED);
        self.drift.drain(..surplus);
        let world = Cluster { ctx: &engine.ctx, namespaces: &object.spec.namespaces };
        let name = self.name.as_str();
        let execution = execute(&world, &look.plan, halt, &mut |id, outcome| {
            tracing::debug!(consortium = name, step = %id, ?outcome, "step");
        })
        .await;
        self.tell(&look, &execution);
        Pass { newest, plan: Some((good.revision, look.plan, execution)) }
    }

    /// Serves a snapshot of what was seen, at most once in a while.
    async fn publish(&mut self, look: &Look) {
        if self.snapshot_taken.is_some_and(|taken| taken.elapsed() < SNAPSHOT_INTERVAL) {
            return;
        }
        self.snapshot_taken = Some(Instant::now());
        let Shared { engine, telemetry, options: _ } = &*self.shared;
        match signed(engine, look, engine.ctx.now()).await {
            Ok(snapshot) => telemetry.set_snapshot(&self.name, snapshot),
            Err(why) => tracing::debug!(consortium = self.name, "{why}"),
        }
    }

    /// The newest definition. A repository is asked when it is time to, when the spec has changed, or when others have changed
    /// a channel since; changes of objects do not make it asked more often.
    async fn newest(&mut self, object: &Consortium) -> Newest {
        let generation = object.metadata.generation.unwrap_or_default();
        let Shared { engine, options, telemetry: _ } = &*self.shared;
        let overtaken = engine.ctx.definitions.seen().overtaken(&self.name);
        let began = engine.ctx.definitions.moment();
        let newest = if let Some(folder) = &options.folder {
            from_folder(folder, &object.spec, engine.ctx.now())
        } else {
            if let Some(last) = &self.last_fetch
                && last.generation == generation
                && Instant::now() < last.due
                && overtaken.is_none_or(|changed| changed < last.began)
            {
                return last.newest.clone();
            }
            let (source, status) = (&object.spec.source, object.status.as_ref());
            let base = status.and_then(|status| base(source, status));
            let accepted = status.and_then(|status| accepted(source, status));
            let bases = (base.as_deref(), accepted.as_deref());
            let (spec, limit) = (&object.spec, options.fetch_limit);
            let known = if verifies(spec) {
                Known::read(&engine.ctx, engine.nodes.store(), &self.name, &self.live).await
            } else {
                Ok(Known::default())
            };
            match known {
                Ok(known) => {
                    let consented = |network: &Network| known.consented(network, engine.ctx.now());
                    from_repository(&engine.ctx, spec, &options.cache, limit, bases.0, bases.1, &consented).await
                }
                Err(problem) => Newest { problem: Some(problem), ..Newest::default() },
            }
        };
        self.fetch_failures = if newest.problem.is_some() { self.fetch_failures.saturating_add(1) } else { 0 };
        let seed = seed(&self.name).wrapping_add(u64::from(self.fetch_failures));
        let pause = match &newest.problem {
            Some(problem) if !problem.terminal => {
                back_off(self.fetch_failures, seed).min(interval(object).max(LOOK_LATEST))
            }
            _ => jitter(interval(object), seed),
        };
        if newest.good.is_some() {
            engine.ctx.definitions.fetched(&self.name, began);
        }
        // The definition itself stays in `good`.
        let kept = Newest { good: None, ..newest.clone() };
        self.last_fetch = Some(LastFetch { newest: kept, began, generation, due: Instant::now() + pause });
        newest
    }

    /// Writes the status, and says when to look again.
    async fn conclude(&mut self, object: &Consortium, pass: Pass) -> Next {
        let Pass { newest, plan } = pass;
        let failed = plan.as_ref().is_some_and(|(.., execution)| execution.failure().is_some());
        self.failures = if failed { self.failures.saturating_add(1) } else { 0 };
        self.shared.telemetry.count_pass(failed || newest.problem.is_some());
        let failures = if newest.problem.is_some() { self.fetch_failures } else { self.failures };
        let applied = plan.as_ref().map(|(revision, plan, execution)| Applied { revision, plan, execution });
        let (phase, verdict) = conclude::conclude(newest.problem.as_ref(), applied.as_ref(), failures);
        let status = self.status(object, &newest, applied.as_ref(), phase);
        self.show(&status, &verdict, plan.as_ref().map(|(_, plan, _)| plan));
        if matches!(verdict, Verdict::Ready { .. }) {
            self.read_expiries().await;
        }
        let pause = self.pause(object, applied.as_ref());
        if let Err(failure) = status::write(&self.shared.engine.ctx, object, status, &verdict).await {
            return self.count_failure(&failure);
        }
        Next::After(pause)
    }

    fn status(
        &self,
        object: &Consortium,
        newest: &Newest,
        applied: Option<&Applied<'_>>,
        phase: ConsortiumPhase,
    ) -> ConsortiumStatus {
        let mut status = object.status.clone().unwrap_or_default();
        status.phase = Some(phase);
        if newest.attempted.is_some() {
            status.last_attempted_revision.clone_from(&newest.attempted);
        }
        if newest.verified.is_some() {
            status.last_verified_revision.clone_from(&newest.verified);
            status.last_verified_source = Some(source_name(&object.spec.source));
        }
        status.notes.clone_from(&newest.findings);
        if let Some(Applied { revision, plan, execution }) = applied {
            if plan.steps.is_empty() && plan.error().is_none() {
                status.last_applied_revision = Some((*revision).to_owned());
                let from_folder = self.shared.options.folder.is_some();
                status.last_applied_source = (!from_folder).then(|| source_name(&object.spec.source));
            }
            status.plan = Some(summary(plan, execution));
            status.notes.extend(notes(plan));
        }
        status.drift.clone_from(&self.drift);
        status
    }

    /// How long to wait: as long as the plan lets it, and no longer than until the next fetch.
    fn pause(&mut self, object: &Consortium, applied: Option<&Applied<'_>>) -> Duration {
        let due = self.last_fetch.as_ref().map(|last| last.due.saturating_duration_since(Instant::now()));
        self.plan_pause(interval(object), applied).min(due.unwrap_or_default().max(SETTLE))
    }

    /// The interval in sync, sooner while something is to come, with back-off after failures.
    fn plan_pause(&mut self, interval: Duration, applied: Option<&Applied<'_>>) -> Duration {
        let seed = seed(&self.name).wrapping_add(u64::from(self.failures));
        if self.failures > 0 {
            return back_off(self.failures, seed).min(interval.max(LOOK_LATEST));
        }
        let Some(Applied { plan, execution, .. }) = applied else { return interval };
        if plan.steps.is_empty() {
            self.last_plan = (String::new(), 0);
            return jitter(interval, seed);
        }
        let digest = plan.steps.keys().map(|id| id.0.as_str()).collect::<Vec<_>>().join("\n");
        let times =
            if self.last_plan.0 == digest && !execution.wrote() { self.last_plan.1.saturating_add(1) } else { 0 };
        self.last_plan = (digest, times);
        LOOK_SOONEST.saturating_mul(1 << times.min(4)).min(LOOK_LATEST).min(interval.max(LOOK_SOONEST))
    }

    /// Tells the status page and the metrics.
    fn show(&self, status: &ConsortiumStatus, verdict: &Verdict, plan: Option<&Plan>) {
        let mut steps: BTreeMap<String, u64> = BTreeMap::new();
        for planned in plan.iter().flat_map(|plan| plan.steps.values()) {
            *steps.entry(action(&planned.step).to_owned()).or_default() += 1;
        }
        let view = ConsortiumView {
            phase: status.phase.map(|phase| phase.to_string()).unwrap_or_default(),
            reason: verdict.reason().to_owned(),
            message: verdict.message().to_owned(),
            revision: status.last_applied_revision.clone(),
            attempted: status.last_attempted_revision.clone(),
            steps,
            next: status.plan.as_ref().map(|plan| plan.next.clone()).unwrap_or_default(),
            notes: status.notes.clone(),
            applied: matches!(verdict, Verdict::Ready { .. }),
        };
        self.shared.telemetry.set_consortium(&self.name, view);
    }

    /// Reads for the metrics when certificates expire, now and then. A failure leaves the last known ones.
    async fn read_expiries(&mut self) {
        if self.expiries_read.is_some_and(|read| read.elapsed() < EXPIRY_INTERVAL) {
            return;
        }
        self.expiries_read = Some(Instant::now());
        let ctx = &self.shared.engine.ctx;
        let labels = format!("{}={}", tenter_consortium::objects::LABEL_CONSORTIUM, self.name);
        let mut expiries = Vec::new();
        let mut push = |namespace: String, object: String, certificates: &mut dyn Iterator<Item = (String, String)>| {
            for (certificate, not_after) in certificates {
                if let Ok(time) = not_after.parse::<Timestamp>() {
                    let (namespace, object) = (namespace.clone(), object.clone());
                    expiries.push(Expiry { namespace, object, certificate, not_after: time.as_second() });
                }
            }
        };
        let (orderers, peers, authorities) = tokio::join!(
            apply::list_all::<Orderer>(ctx, &labels),
            apply::list_all::<Peer>(ctx, &labels),
            apply::list_all::<CertificateAuthority>(ctx, &labels)
        );
        let (Ok(orderers), Ok(peers), Ok(authorities)) = (orderers, peers, authorities) else { return };
        let nodes = orderers
            .into_iter()
            .map(|node| (node.namespace(), format!("Orderer/{}", node.name_any()), node.status))
            .chain(peers.into_iter().map(|node| (node.namespace(), format!("Peer/{}", node.name_any()), node.status)));
        for (namespace, object, status) in nodes {
            let certificates = status.unwrap_or_default().certificates;
            let mut certificates = certificates.into_iter().map(|(name, status)| (name, status.not_after));
            push(namespace.unwrap_or_default(), object, &mut certificates);
        }
        for authority in authorities {
            let object = format!("CertificateAuthority/{}", authority.name_any());
            let namespace = authority.namespace().unwrap_or_default();
            let status = authority.status.unwrap_or_default();
            let certificates = status.roots.into_iter().chain(status.identities);
            push(namespace, object, &mut certificates.map(|(name, status)| (name, status.not_after)));
        }
        self.shared.telemetry.set_expiries(&self.name, expiries);
    }
}

/// How often the repository is asked.
fn interval(object: &Consortium) -> Duration {
    Duration::from_secs(u64::from(object.spec.source.interval_seconds.max(1)))
}

/// Name of a Consortium's Lease.
pub fn lease_name(consortium: &str) -> String {
    format!("tenter-{consortium}")
}

/// A step's action, as the plan's JSON names it.
const fn action(step: &Step) -> &'static str {
    match step {
        Step::CreateNamespace { .. } => "createNamespace",
        Step::CreateObject { .. } => "createObject",
        Step::UpdateObject { .. } => "updateObject",
        Step::PinGenesis { .. } => "pinGenesis",
        Step::JoinOrderer { .. } => "joinOrderer",
        Step::JoinPeer { .. } => "joinPeer",
        Step::UpdateChannelConfig { .. } => "updateChannelConfig",
        Step::StorePackage { .. } => "storePackage",
        Step::StoreMaterial { .. } => "storeMaterial",
        Step::DeployChaincode { .. } => "deployChaincode",
        Step::RemoveObject { .. } => "removeObject",
        Step::AwaitReady { .. } => "awaitReady",
    }
}
