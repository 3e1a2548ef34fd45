//! One Lease for each Consortium: whoever writes holds it, a daemon or `apply` on a laptop.
//!
//! As in client-go, a holder is given up on when its Lease has not changed for its duration by this process's own
//! clock: clocks of two machines are never compared. A holder that is known to be gone ([`Holder::is_gone`]) is not
//! waited for.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::holder::Holder;
use crate::controllers::failure::describe;

/// How long a Lease is good for after its last renewal.
const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(5);
/// When a holder that could not renew stops writing; earlier than others may take over.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often a Lease that somebody else holds is looked at.
const POLL: Duration = Duration::from_secs(1);
/// Pause before a renewal is tried again that another write came before.
const AGAIN: Duration = Duration::from_millis(50);
/// Longest answer of the API server.
const ANSWER: Duration = Duration::from_secs(5);

/// Why the Lease was not had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else holds it.
    #[error("Lease {namespace}/{name} is held by {holder}: another daemon, or an apply, is at work")]
    Held {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Who holds it.
        holder: String,
    },
    /// The API server did not do what was asked of it.
    #[error("cannot {what} Lease {namespace}/{name}: {}", describe(error))]
    Api {
        /// What was asked.
        what: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The answer.
        error: Box<kube::Error>,
    },
    /// The API server did not answer.
    #[error("the API server did not answer about Lease {namespace}/{name} within {} s", ANSWER.as_secs())]
    Silent {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// A Lease that is held and renewed until it is released or dropped.
#[derive(Debug)]
pub struct Lease {
    keeper: Keeper,
    lost: CancellationToken,
    renewing: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Keeper {
    api: Api<LeaseObject>,
    namespace: String,
    name: String,
    this: Holder,
}

/// What is to be done about a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Nobody holds it, or its holder is gone, or it is this process.
    Free,
    /// Somebody holds it.
    Held(String),
}

/// What came of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    /// It is this process's for another while.
    Renewed,
    /// Another write came in between; only the next look tells whose.
    Overtaken,
    /// It is somebody else's, or gone.
    Taken,
}

/// Who holds a Lease. `unchanged` is how long it was seen not to change.
fn standing(spec: &LeaseSpec, this: &Holder, unchanged: Duration) -> Standing {
    let Some(holder) = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty()) else {
        return Standing::Free;
    };
    let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let duration = duration.map_or(DURATION, Duration::from_secs);
    let gone = Holder::parse(holder).is_some_and(|holder| holder.is_gone(this));
    if gone || holder == this.name() || unchanged >= duration {
        return Standing::Free;
    }
    Standing::Held(holder.to_owned())
}

/// A process that wants a Lease. What it has seen of it is kept between attempts: a holder that is silent for long enough is
/// given up on, however short each attempt is.
#[derive(Debug)]
pub struct Candidate {
    keeper: Keeper,
    /// The version that was seen last, and since when.
    seen: Option<(Option<String>, Instant)>,
}

impl Candidate {
    /// Wants this Lease.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let api = Api::namespaced(client, &namespace);
        Self { keeper: Keeper { api, namespace, name, this: Holder::this() }, seen: None }
    }

    /// Takes the Lease, waiting for at most `patience` while somebody else holds it.
    pub async fn acquire(&mut self, patience: Duration) -> Result<Lease, LeaseError> {
        let Self { keeper, seen } = self;
        let start = Instant::now();
        loop {
            let live = keeper.read().await?;
            let version = live.as_ref().and_then(|live| live.metadata.resource_version.clone());
            let since = match &*seen {
                Some((known, since)) if *known == version => *since,
                _ => seen.insert((version, Instant::now())).1,
            };
            let spec = live.as_ref().and_then(|live| live.spec.clone()).unwrap_or_default();
            match standing(&spec, &keeper.this, since.elapsed()) {
                Standing::Free => {
                    let asked = Instant::now();
                    if keeper.write(live, &spec, true).await? {
                        return Ok(keeper.clone().hold(asked));
                    }
                    // Somebody else was faster: look again.
                }
                Standing::Held(holder) => {
                    if start.elapsed() >= patience {
                        let (namespace, name) = (keeper.namespace.clone(), keeper.name.clone());
                        return Err(LeaseError::Held { namespace, name, holder });
                    }
                    sleep(POLL).await;
                }
            }
        }
    }
}

impl Keeper {
    /// `asked` is when the write was sent that took the Lease.
    fn hold(self, asked: Instant) -> Lease {
        let lost = CancellationToken::new();
        let renewing = tokio::spawn(self.clone().renew(asked, lost.clone()));
        Lease { keeper: self, lost, renewing }
    }

    async fn read(&self) -> Result<Option<LeaseObject>, LeaseError> {
        self.bounded("read", self.api.get_opt(&self.name)).await
    }

    /// Writes this process into the Lease. `false` when somebody else wrote first.
    async fn write(&self, live: Option<LeaseObject>, old: &LeaseSpec, taking: bool) -> Result<bool, LeaseError> {
        let now = MicroTime(Timestamp::now());
        let mine = old.holder_identity.as_deref() == Some(self.this.name().as_str());
        let transitions = old.lease_transitions.unwrap_or(0);
        let spec = LeaseSpec {
            holder_identity: Some(self.this.name()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if taking && !mine { Some(now.clone()) } else { old.acquire_time.clone() },
            renew_time: Some(now),
            lease_transitions: Some(if taking && !mine { transitions.saturating_add(1) } else { transitions }),
            ..LeaseSpec::default()
        };
        self.put(live, spec).await
    }

    /// Creates or replaces the Lease; the resource version that was read guards against another writer.
    async fn put(&self, live: Option<LeaseObject>, spec: LeaseSpec) -> Result<bool, LeaseError> {
        let parameters = PostParams::default();
        let result = if let Some(mut live) = live {
            live.spec = Some(spec);
            self.bounded("write", self.api.replace(&self.name, &parameters, &live)).await.map(|_| ())
        } else {
            let mut fresh = LeaseObject { spec: Some(spec), ..LeaseObject::default() };
            fresh.metadata.name = Some(self.name.clone());
            self.bounded("create", self.api.create(&parameters, &fresh)).await.map(|_| ())
        };
        match result {
            Ok(()) => Ok(true),
            Err(LeaseError::Api { error, .. }) if matches!(&*error, kube::Error::Api(status) if status.is_conflict() || status.is_already_exists()) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn bounded<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, LeaseError> {
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        match timeout(ANSWER, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(LeaseError::Api { what, namespace, name, error: Box::new(error) }),
            Err(_) => Err(LeaseError::Silent { namespace, name }),
        }
    }

    /// Renews until it is lost. Ends when dropped.
    ///
    /// Time counts from before a request is sent: the server may have written long before its answer comes.
    async fn renew(self, mut renewed: Instant, lost: CancellationToken) {
        let mut pause = RENEWAL;
        loop {
            let deadline = renewed + DEADLINE;
            sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
            let asked = Instant::now();
            pause = match timeout_at(deadline, self.renew_once()).await {
                Ok(Ok(Renewal::Renewed)) => {
                    renewed = asked;
                    RENEWAL
                }
                Ok(Ok(Renewal::Overtaken)) => AGAIN,
                Ok(Ok(Renewal::Taken)) => {
                    tracing::warn!(name = self.name, "the Lease was taken by another process");
                    break;
                }
                Ok(Err(error)) => {
                    tracing::warn!("{error}");
                    POLL
                }
                Err(_) => POLL,
            };
            if renewed.elapsed() >= DEADLINE {
                tracing::warn!(name = self.name, "the Lease could not be renewed in time");
                break;
            }
        }
        lost.cancel();
    }

    async fn renew_once(&self) -> Result<Renewal, LeaseError> {
        let Some(live) = self.read().await? else { return Ok(Renewal::Taken) };
        let spec = live.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(self.this.name().as_str()) {
            return Ok(Renewal::Taken);
        }
        Ok(if self.write(Some(live), &spec, false).await? { Renewal::Renewed } else { Renewal::Overtaken })
    }
}

impl Lease {
    /// Cancelled when the Lease is not held any more: nothing may be written then.
    pub const fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Gives it back, so that the next one need not wait.
    pub async fn release(self) {
        self.renewing.abort();
        if self.lost.is_cancelled() {
            return;
        }
        let result = async {
            let Some(live) = self.keeper.read().await? else { return Ok(()) };
            let mut spec = live.spec.clone().unwrap_or_default();
            if spec.holder_identity.as_deref() == Some(self.keeper.this.name().as_str()) {
                spec.holder_identity = None;
                self.keeper.put(Some(live), spec).await?;
            }
            Ok::<(), LeaseError>(())
        };
        if let Err(error) = result.await {
            tracing::debug!("{error}");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_free_when_its_holder_is_gone_or_silent() {
        let this = Holder::this();
        let check = |holder: Option<&str>, unchanged: u64, expect: Standing| {
            let spec = LeaseSpec {
                holder_identity: holder.map(ToOwned::to_owned),
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            };
            assert_eq!(standing(&spec, &this, Duration::from_secs(unchanged)), expect, "{holder:?} {unchanged}");
        };
        check(None, 0, Standing::Free);
        check(Some(""), 0, Standing::Free);
        check(Some(&this.name()), 0, Standing::Free);
        check(Some("other"), 0, Standing::Held("other".to_owned()));
        check(Some("other"), 14, Standing::Held("other".to_owned()));
        check(Some("other"), 15, Standing::Free);
    }
}
