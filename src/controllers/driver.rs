//! The driver: runs one kind's controller over its objects.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::object::HasStatus;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::EventType;
use kube::runtime::{Predicate as _, PredicateConfig, WatchStreamExt as _, predicates};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use tenter_consortium::objects::{FIELD_MANAGER, Kind};
use tenter_consortium::settings::{namespace_allowed, organization_allowed};
use tenter_consortium::status::ObjectStatus;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::apply;
use super::conditions::{Verdict, conditions, overdue, state};
use super::context::Context;
use super::definitions::Seen;
use super::events;
use super::failure::Failure;
use super::schedule::{RESYNC, STALLED_AFTER, back_off, jitter, pace, seed};
use crate::resources::{Consortium, TenterObject};

/// Finalizer of every object that has something to be said or done before it goes.
pub const FINALIZER: &str = "tenter.dev/finalizer";

/// Annotation of every object that a daemon has taken on: the daemon's namespace. Another daemon of the cluster
/// leaves the object alone, even one with a Consortium of the same name.
pub const DAEMON: &str = "tenter.dev/daemon";

/// Longest time that one reconciliation may take.
const TIME_LIMIT: Duration = Duration::from_mins(2);
/// How often a reconciliation may observe, decide and act before it lets others have their turn.
const ROUNDS: usize = 5;
/// Actions of one object that are under way at the same time.
const SIDE_BY_SIDE: usize = 8;
/// Objects of one kind that are reconciled at the same time.
const CONCURRENCY: u16 = 16;
/// When an object without a Consortium that is in force is looked at again.
const NOT_OURS: Duration = Duration::from_mins(1);

/// The daemon's own settings for an object: the Consortium that it belongs to.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The Consortium object, from the daemon's own namespace.
    pub consortium: Consortium,
    /// What was seen of its definition before the object was read.
    pub definitions: Seen,
}

impl Scope {
    /// What an object of the consortium's namespace waits for before anything is proposed or signed by it.
    pub fn definition_awaited(&self, kind: Kind, name: &str) -> Option<String> {
        self.definitions.awaited(&self.consortium.name_any(), kind, name)
    }

    /// The same where the ledger has this sequence of it now: `shared` if daemons of others may have brought it.
    pub fn definition_awaited_at(
        &self,
        ctx: &Context,
        (kind, name): (Kind, &str),
        shared: bool,
        sequence: Option<u64>,
    ) -> Option<String> {
        let consortium = self.consortium.name_any();
        let overtaken = || {
            let changed = ctx.definitions.changed(&consortium, kind, name, sequence.filter(|_| shared)?);
            self.definitions.not_read_since(&consortium, kind, name, changed)
        };
        let overtaken = overtaken();
        self.definition_awaited(kind, name).or(overtaken)
    }
}

/// What is to be done about an object, with nothing left to decide.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<A, S> {
    /// What to do now, in this order.
    pub actions: Vec<A>,
    /// The kind's own fields of the status; the driver fills in conditions and generation.
    pub status: S,
    /// How it is with the object.
    pub verdict: Verdict,
    /// When to look again if nothing happens before.
    pub requeue: Duration,
}

impl<A, S> Decision<A, S> {
    /// Nothing to do: everything is as wanted.
    pub fn settled(status: S, verdict: Verdict) -> Self {
        Self { actions: Vec::new(), status, verdict, requeue: RESYNC }
    }

    /// Nothing to do now: look again after `requeue`.
    pub fn wait(status: S, verdict: Verdict, requeue: Duration) -> Self {
        Self { actions: Vec::new(), status, verdict, requeue }
    }

    /// Do `actions`, then look again.
    pub fn act(actions: Vec<A>, status: S, verdict: Verdict) -> Self {
        Self { actions, status, verdict, requeue: Duration::from_secs(1) }
    }
}

/// What came of a clean-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// The object may go; the note says what was kept and becomes an event, if there is anything to say.
    Done(Option<String>),
    /// It cannot go yet.
    Waiting(Verdict),
}

/// The status type of a controller's objects.
pub type StatusOf<C> = <<C as Controlled>::Object as HasStatus>::Status;
/// The decision type of a controller.
pub type DecisionOf<C> = Decision<<C as Controlled>::Action, StatusOf<C>>;

/// One kind's controller. Every method may be stopped at any await, and everything may be done twice.
pub trait Controlled: Send + Sync + 'static {
    /// The kind.
    type Object: TenterObject;
    /// What `decide` is told of the world.
    type Observed: Send + Sync;
    /// What `act` can do: a closed enum.
    type Action: Debug + Send + Sync;

    /// Whether the actions of one decision do not build on each other: then they are done side by side, and one that
    /// fails does not keep the others from being done.
    const INDEPENDENT: bool = false;

    /// Whether what its objects wait for is seen only by asking, as with Fabric nodes: see [`pace`].
    const ASKS: bool = false;

    /// Reasons of waits that end when another organization, or a person, does its part, which may take days. Any other wait that
    /// lasts needs a person: see [`overdue`].
    const BY_OTHERS: &'static [&'static str] = &[];

    /// Adds what else is watched: objects that the kind's objects own, or that concern them.
    fn watch(&self, controller: Controller<Self::Object>, _ctx: &Context) -> Controller<Self::Object> {
        controller
    }

    /// Looks at everything that the decision needs. An error is never absence.
    fn observe(
        &self,
        ctx: &Context,
        scope: &Scope,
        object: &Self::Object,
    ) -> impl Future<Output = Result<Self::Observed, Failure>> + Send;

    /// Decides: a pure function.
    fn decide(&self, object: &Self::Object, observed: &Self::Observed, now: Timestamp) -> DecisionOf<Self>
    where
        Self: Sized;

    /// Does one thing that was decided on what was observed.
    fn act(
        &self,
        ctx: &Context,
        object: &Self::Object,
        observed: &Self::Observed,
        action: &Self::Action,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Cleans up before the object goes; never touches volumes, key Secrets or a genesis block.
    fn cleanup(&self, _ctx: &Context, _object: &Self::Object) -> impl Future<Output = Result<Cleanup, Failure>> + Send {
        std::future::ready(Ok(Cleanup::Done(None)))
    }
}

/// Runs one controller: holds how often each object failed in a row.
pub struct Driver<C> {
    controller: C,
    ctx: Arc<Context>,
    failures: Mutex<BTreeMap<(String, String), u32>>,
    /// What each object waits for, by its reason, and since when.
    waits: Mutex<BTreeMap<(String, String), (String, Timestamp)>>,
}

/// What one pass over an object came to.
struct Pass<S> {
    status: S,
    verdict: Verdict,
    requeue: Duration,
}

impl<C: Controlled> Driver<C> {
    /// A driver of `controller`.
    pub const fn new(controller: C, ctx: Arc<Context>) -> Self {
        Self { controller, ctx, failures: Mutex::new(BTreeMap::new()), waits: Mutex::new(BTreeMap::new()) }
    }

    /// Reconciles one object once. Returns when to look again; `None` when the object is gone or names no consortium.
    pub async fn reconcile(&self, namespace: &str, name: &str) -> Option<Duration> {
        let key = (namespace.to_owned(), name.to_owned());
        let attempt = Failure::caught("the reconciliation", self.attempt(namespace, name));
        let outcome = timeout(TIME_LIMIT, attempt).await.unwrap_or_else(|_| {
            let message = format!("the reconciliation took longer than {} s and is tried again", TIME_LIMIT.as_secs());
            Err(Failure::new("TimeLimit", message))
        });
        self.ctx.reconciles.count(C::Object::KIND);
        let failures = {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            if outcome.is_ok() {
                failures.remove(&key);
                0
            } else {
                let count = failures.entry(key).or_default();
                *count = count.saturating_add(1);
                *count
            }
        };
        let seed = seed(&format!("{namespace}/{name}"));
        match outcome {
            Ok(requeue) => requeue.map(|pause| jitter(pause, seed)),
            Err(failure) => {
                self.ctx.failures.count(C::Object::KIND);
                tracing::warn!(
                    kind = C::Object::KIND,
                    namespace,
                    name,
                    reason = failure.reason,
                    failures,
                    "{}",
                    failure.message
                );
                // Nothing more can be done about a failure to say that it failed; the next attempt says it.
                if let Ok(Err(error)) = timeout(TIME_LIMIT, self.report(namespace, name, &failure, failures)).await {
                    tracing::warn!(kind = C::Object::KIND, namespace, name, "{}", error.message);
                }
                Some(back_off(failures, seed))
            }
        }
    }

    async fn attempt(&self, namespace: &str, name: &str) -> Result<Option<Duration>, Failure> {
        // Taken before the object is read: a definition that was written by then is in the object.
        let definitions = self.ctx.definitions.seen();
        let Some(object) = apply::get::<C::Object>(&self.ctx, namespace, name).await? else {
            self.waits.lock().unwrap_or_else(PoisonError::into_inner).remove(&(namespace.to_owned(), name.to_owned()));
            return Ok(None);
        };
        let taken = object.annotations().get(DAEMON);
        if taken.is_some_and(|namespace| *namespace != self.ctx.namespace) {
            tracing::debug!(object = object.describe(), daemon = taken, "left alone: it is another daemon's");
            return Ok(None);
        }
        if object.meta().deletion_timestamp.is_some() {
            // Its Consortium may be gone already: what this daemon took on, it lets go.
            return if taken.is_some() { self.finish(&object).await } else { Ok(None) };
        }
        let Some(scope) = self.scope(&object, definitions).await? else {
            // Its Consortium may come, or be resumed: nothing that is watched would tell.
            return Ok(object.consortium().map(|_| NOT_OURS));
        };
        let object = self.begin(object).await?;
        let Pass { status, verdict, requeue } = self.rounds(&scope, &object).await?;
        let Some(since) = self.waits_since(namespace, name, &verdict) else {
            self.write_status(&object, status, &verdict).await?;
            return Ok(Some(requeue));
        };
        let now = self.ctx.now();
        let bounded = !C::BY_OTHERS.contains(&verdict.reason());
        let verdict = if bounded { overdue(verdict, since, now) } else { verdict };
        self.write_status(&object, status, &verdict).await?;
        let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        Ok(Some(if C::ASKS { pace(waited, requeue) } else { requeue }))
    }

    /// Since when an object waits for what the verdict says, if it waits.
    fn waits_since(&self, namespace: &str, name: &str, verdict: &Verdict) -> Option<Timestamp> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let Verdict::Reconciling { reason, .. } = verdict else {
            waits.remove(&key);
            return None;
        };
        let now = self.ctx.now();
        let wait = waits.entry(key).or_insert_with(|| (reason.clone(), now));
        if wait.0 != *reason {
            *wait = (reason.clone(), now);
        }
        Some(wait.1)
    }

    /// The daemon's settings for the object, or `None` if it is not this daemon's to act on.
    async fn scope(&self, object: &C::Object, definitions: Seen) -> Result<Option<Scope>, Failure> {
        let namespace = object.namespace().unwrap_or_default();
        if lives_beside_consortium(C::Object::KIND) && namespace != self.ctx.namespace {
            tracing::debug!(object = object.describe(), "left alone: it is not in this daemon's namespace");
            return Ok(None);
        }
        let Some(name) = object.consortium() else {
            tracing::debug!(object = object.describe(), "left alone: it names no consortium");
            return Ok(None);
        };
        let Some(consortium) = apply::get::<Consortium>(&self.ctx, &self.ctx.namespace, name).await? else {
            tracing::debug!(object = object.describe(), name, "left alone: this daemon has no such Consortium");
            return Ok(None);
        };
        if consortium.spec.suspend {
            tracing::debug!(object = object.describe(), name, "left alone: its Consortium is suspended");
            return Ok(None);
        }
        // Not even a finalizer is written to what is another daemon's, or nobody's.
        let named = object.organization();
        let refused = named
            .is_some_and(|organization| !organization_allowed(organization, &consortium.spec.organizations))
            || (!lives_beside_consortium(C::Object::KIND)
                && !namespace_allowed(&namespace, &consortium.spec.namespaces));
        if refused && !object.annotations().contains_key(DAEMON) {
            tracing::debug!(object = object.describe(), name, "left alone: its Consortium does not allow its place");
            return Ok(None);
        }
        Ok(Some(Scope { consortium, definitions }))
    }

    /// Takes on a new object: gives it the finalizer, the daemon's mark and its first conditions.
    async fn begin(&self, object: C::Object) -> Result<C::Object, Failure> {
        let mut object = object;
        let has_finalizer = object.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
        if !has_finalizer || !object.annotations().contains_key(DAEMON) {
            let mut finalizers = object.finalizers().to_vec();
            finalizers.extend((!has_finalizer).then(|| FINALIZER.to_owned()));
            object = self.write_finalizers(&object, &finalizers).await?;
        }
        if object.status().is_none() {
            let verdict = Verdict::reconciling("Observing", "it was just made and is being looked at");
            self.write_status(&object, StatusOf::<C>::default(), &verdict).await?;
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            if let Some(fresh) = apply::get(&self.ctx, &namespace, &name).await? {
                object = fresh;
            }
        }
        Ok(object)
    }

    /// Observes, decides and acts until nothing is left to do, or it is others' turn.
    async fn rounds(&self, scope: &Scope, object: &C::Object) -> Result<Pass<StatusOf<C>>, Failure> {
        let mut round = 1;
        loop {
            let observed = self.controller.observe(&self.ctx, scope, object).await?;
            let decision = self.controller.decide(object, &observed, self.ctx.now());
            // Boxed, because the compiler cannot show that a stream of borrowing futures is `Send`.
            let actions: Vec<BoxFuture<'_, Result<(), Failure>>> = decision
                .actions
                .iter()
                .map(|action| {
                    let observed = &observed;
                    async move {
                        tracing::info!(object = object.describe(), ?action, "acting");
                        self.controller.act(&self.ctx, object, observed, action).await?;
                        tracing::debug!(object = object.describe(), ?action, "acted");
                        Ok(())
                    }
                    .boxed()
                })
                .collect();
            if C::INDEPENDENT {
                let done: Vec<_> = stream::iter(actions).buffered(SIDE_BY_SIDE).collect().await;
                done.into_iter().collect::<Result<Vec<()>, _>>()?;
            } else {
                for action in actions {
                    action.await?;
                }
            }
            if decision.actions.is_empty() || round == ROUNDS {
                let Decision { actions: _, status, verdict, requeue } = decision;
                return Ok(Pass { status, verdict, requeue });
            }
            round += 1;
        }
    }

    /// Cleans up after an object that is being deleted, and lets it go.
    async fn finish(&self, object: &C::Object) -> Result<Option<Duration>, Failure> {
        if !object.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(None);
        }
        match self.controller.cleanup(&self.ctx, object).await? {
            Cleanup::Done(note) => {
                if let Some(note) = note {
                    events::publish(&self.ctx, object, EventType::Normal, "Kept", "CleanUp", &note).await;
                }
                let rest: Vec<String> =
                    object.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
                self.write_finalizers(object, &rest).await?;
                Ok(None)
            }
            Cleanup::Waiting(verdict) => {
                let status = object.status().cloned().unwrap_or_default();
                self.write_status(object, status, &verdict).await?;
                Ok(Some(Duration::from_secs(10)))
            }
        }
    }

    /// Says in the object's conditions that a reconciliation failed; its other fields stay as they were.
    async fn report(&self, namespace: &str, name: &str, failure: &Failure, failures: u32) -> Result<(), Failure> {
        let Some(object) = apply::get::<C::Object>(&self.ctx, namespace, name).await? else {
            return Ok(());
        };
        let verdict = if failure.terminal || failures >= STALLED_AFTER {
            Verdict::stalled(failure.reason.as_str(), failure.message.as_str())
        } else {
            Verdict::reconciling(failure.reason.as_str(), format!("{}; it is tried again", failure.message))
        };
        let status = object.status().cloned().unwrap_or_default();
        self.write_status(&object, status, &verdict).await
    }

    /// Writes the status if it differs from the one that the object has, and an event if its state changed.
    async fn write_status(
        &self,
        object: &C::Object,
        mut status: StatusOf<C>,
        verdict: &Verdict,
    ) -> Result<(), Failure> {
        let old = object.status().map(ObjectStatus::conditions).unwrap_or_default();
        let generation = object.meta().generation.unwrap_or_default();
        status.set_common(generation, conditions(old, verdict, generation, self.ctx.now()));
        if object.status() == Some(&status) {
            return Ok(());
        }
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let changed = state(old) != state(status.conditions());
        let document = json!({
            "apiVersion": C::Object::api_version(&()),
            "kind": C::Object::KIND,
            "metadata": {"name": name},
            "status": status,
        });
        self.ctx.writes.count(&format!("{}/status", C::Object::KIND));
        let written = Api::<C::Object>::namespaced(self.ctx.client.clone(), &namespace)
            .patch_status(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&document))
            .await;
        match written {
            Ok(answer) => self.ctx.cache.wrote(&answer),
            // It went while it was being looked at.
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            Err(error) => {
                let what = format!("write the status of {}", object.describe());
                return Err(Failure::kube("WriteStatus", what, &error));
            }
        }
        if changed {
            let kind = if matches!(verdict, Verdict::Stalled { .. }) { EventType::Warning } else { EventType::Normal };
            events::publish(&self.ctx, object, kind, verdict.reason(), "Reconcile", verdict.message()).await;
        }
        Ok(())
    }

    async fn write_finalizers(&self, object: &C::Object, finalizers: &[String]) -> Result<C::Object, Failure> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        // The resource version makes the API server refuse if somebody else changed the list in between.
        let patch = json!({
            "metadata": {
                "finalizers": finalizers,
                "annotations": {DAEMON: self.ctx.namespace},
                "resourceVersion": object.resource_version(),
            },
        });
        self.ctx.writes.count(C::Object::KIND);
        let api = Api::<C::Object>::namespaced(self.ctx.client.clone(), &namespace);
        let written = api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(|error| {
            if matches!(&error, kube::Error::Api(status) if status.is_conflict()) {
                self.ctx.cache.outdated(object);
            }
            Failure::kube("WriteFinalizer", format!("write the finalizers of {}", object.describe()), &error)
        })?;
        // Its last finalizer gone, an object that is being deleted is gone too.
        if finalizers.is_empty() && object.meta().deletion_timestamp.is_some() {
            self.ctx.cache.deleted::<C::Object>(&namespace, &name, None);
        } else {
            self.ctx.cache.wrote(&written);
        }
        Ok(written)
    }
}

/// Whether objects of a kind belong into the consortium's own namespace. Elsewhere anybody who may write there could
/// speak for the consortium.
fn lives_beside_consortium(kind: &str) -> bool {
    matches!(kind, "Organization" | "Channel" | "Chaincode" | "Proposal")
}

/// Runs a controller over all objects of its kind until `stop`; what is under way is finished.
pub async fn run<C: Controlled>(controller: C, ctx: Arc<Context>, stop: CancellationToken) {
    let reader = ctx.store::<C::Object>();
    // Not for its own status, which this daemon writes: that would be a second look at everything for each change.
    let worth_a_look = predicates::generation
        .combine(predicates::annotations)
        .combine(predicates::labels)
        .combine(predicates::finalizers);
    let changes = ctx.triggers::<C::Object>().predicate_filter(worth_a_look, PredicateConfig::default());
    let stream = Controller::for_stream(changes, reader)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(stop.cancelled_owned());
    let stream = controller.watch(stream, &ctx);
    let driver = Arc::new(Driver::new(controller, ctx));
    stream
        .run(
            |object, driver: Arc<Driver<C>>| async move {
                let pause = driver.reconcile(&object.namespace().unwrap_or_default(), &object.name_any()).await;
                Ok::<_, Infallible>(pause.map_or_else(Action::await_change, Action::requeue))
            },
            |_, never, _| match *never {},
            driver,
        )
        .for_each(|outcome| async {
            if let Err(error) = outcome {
                // A watch that broke comes back by itself; an object that went in between needs nothing.
                tracing::debug!(kind = C::Object::KIND, "{error}");
            }
        })
        .await;
}
