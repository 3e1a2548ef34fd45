//! What every controller is given.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use tenter_consortium::objects::FIELD_MANAGER;

use super::cache::{Cache, Watched};
use super::definitions::Definitions;

/// Tells the time. Decisions get a time, never a clock.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Counts what was written to the API server, or changed in Fabric: in sync means that it does not move.
#[derive(Debug, Default)]
pub struct Writes {
    total: AtomicU64,
    kinds: Mutex<BTreeMap<String, u64>>,
}

impl Writes {
    /// Counts one write of a kind (for example `Secret`, `Peer/status`, `Event`, `JoinPeer`).
    pub fn count(&self, kind: &str) {
        self.total.fetch_add(1, Ordering::Relaxed);
        // A poisoned counter is still a counter.
        let mut kinds = self.kinds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }

    /// All so far.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Those so far by kind.
    pub fn by_kind(&self) -> BTreeMap<String, u64> {
        self.kinds.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// What every controller is given: the API server, the time, the daemon's own namespace, and a count of writes.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Copies of the objects that are watched; there are none where nothing waits for any.
    pub cache: Cache,
    /// The time.
    pub clock: Box<dyn Clock>,
    /// The namespace of the Consortium objects that this daemon obeys.
    pub namespace: String,
    /// What was written.
    pub writes: Writes,
    /// What was changed on Fabric nodes, by what was done (`JoinOrderer`, `JoinPeer`).
    pub fabric_changes: Writes,
    /// Reconciliations by kind, and those of them that failed.
    pub reconciles: Writes,
    /// See [`Context::reconciles`].
    pub failures: Writes,
    /// What was seen of the definitions that this process reads itself.
    pub definitions: Definitions,
    /// Publishes events.
    pub recorder: Recorder,
}

impl Context {
    /// A context with the machine's clock.
    pub fn new(client: Client, namespace: impl Into<String>) -> Self {
        Self::with_clock(client, namespace, Box::new(SystemClock))
    }

    /// A context with a clock of the caller's.
    pub fn with_clock(client: Client, namespace: impl Into<String>, clock: Box<dyn Clock>) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: None };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            cache: Cache::new(client.clone()),
            client,
            clock,
            namespace: namespace.into(),
            writes: Writes::default(),
            fabric_changes: Writes::default(),
            reconciles: Writes::default(),
            failures: Writes::default(),
            definitions: Definitions::default(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Every object of a kind, and then each that changed or went: see [`Cache::changes`].
    pub fn changes<K: Watched>(&self) -> impl Stream<Item = K> + Send + 'static {
        self.cache.changes()
    }

    /// The same as a controller takes it.
    pub fn triggers<K: Watched>(&self) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static {
        self.changes().map(Ok)
    }

    /// The same of those whose label `key` is `value`.
    pub fn triggers_of<K: Watched>(
        &self,
        key: &'static str,
        value: &'static str,
    ) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static {
        let of = move |object: &K| object.labels().get(key).is_some_and(|label| label == value);
        self.changes().filter(move |object| std::future::ready(of(object))).map(Ok)
    }

    /// The copies of a kind: see [`Cache::store`].
    pub fn store<K: Watched>(&self) -> Store<K> {
        self.cache.store()
    }
}
