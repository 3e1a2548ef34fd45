//! What every controller is given.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tenter_consortium::objects::FIELD_MANAGER;

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
            client,
            clock,
            namespace: namespace.into(),
            writes: Writes::default(),
            fabric_changes: Writes::default(),
            reconciles: Writes::default(),
            failures: Writes::default(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
