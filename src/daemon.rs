//! The parts of the program that run until they are told to end: sync, controllers, status page.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::controllers;
use crate::controllers::certificate_authority::CertificateAuthorityController;
use crate::controllers::chaincode::ChaincodeController;
use crate::controllers::channel::ChannelController;
use crate::controllers::follow::Followers;
use crate::controllers::identity::IdentityController;
use crate::controllers::membership::MembershipController;
use crate::controllers::orderer::OrdererController;
use crate::controllers::organization::OrganizationController;
use crate::controllers::peer::PeerController;
use crate::controllers::proposal::ProposalController;
use crate::controllers::vote::VoteController;
use crate::execute::lease::{Candidate, LeaseError};
use crate::messages::channel::{How, MessageChannel};
use crate::resources::Consortium;
use crate::sync::engine::Engine;
use crate::sync::{self, Options, Shared};
use crate::web::metrics::Telemetry;
use crate::web::{self, WebError};

/// How long parts may take to end; then the process ends without them.
const GRACE: Duration = Duration::from_secs(20);
/// How long another operator's Lease is waited for before the log says so again.
const PATIENCE: Duration = Duration::from_mins(1);
/// Pause after the API server did not give the Lease.
const RETRY: Duration = Duration::from_secs(5);
/// Longest exchange of signatures with the daemons of other members.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(45);
/// Name of the controllers' Lease.
const OPERATOR_LEASE: &str = "tenter-operator";

/// Which parts run.
pub struct Parts {
    /// The sync loop, with its options.
    pub sync: Option<Options>,
    /// The controllers.
    pub operator: bool,
    /// Folder for mirrors of the repositories in which daemons exchange signatures.
    pub cache: PathBuf,
    /// Where the status page is.
    pub listen: SocketAddr,
}

/// Why the daemon ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The status page cannot be served.
    #[error(transparent)]
    Web(#[from] WebError),
    /// Signals cannot be received.
    #[error("cannot wait for signals")]
    Signal(#[source] std::io::Error),
    /// A part ended by itself.
    #[error("a part of the program ended by itself; the log says why")]
    Ended,
    /// A part was cut off.
    #[error("a part of the program ended badly")]
    Broken(#[source] JoinError),
}

/// Starts the parts, and returns when they have ended, on SIGTERM or SIGINT.
pub async fn run(engine: Engine, parts: Parts) -> Result<(), DaemonError> {
    let telemetry = Arc::new(Telemetry::new(engine.ctx.clone()));
    let listener = web::listen(parts.listen).await?;
    let stop = CancellationToken::new();
    let mut tasks: JoinSet<()> = JoinSet::new();
    tasks.spawn(web::serve(listener, telemetry.clone(), stop.clone()));
    if parts.operator {
        if let Some(options) = &parts.sync {
            engine.ctx.definitions.follow(options.consortium.as_deref());
        }
        let messages = MessageChannel::new(parts.cache, How::Process(EXCHANGE_LIMIT));
        tasks.spawn(operate(engine.clone(), Arc::new(messages), telemetry.clone(), stop.clone()));
    }
    if let Some(options) = parts.sync {
        let shared = Arc::new(Shared { engine, options, telemetry });
        tasks.spawn(sync::run(shared, stop.clone()));
    }
    let mut terminated = signal(SignalKind::terminate()).map_err(DaemonError::Signal)?;
    let ended = tokio::select! {
        _ = terminated.recv() => None,
        _ = tokio::signal::ctrl_c() => None,
        ended = tasks.join_next() => ended,
    };
    stop.cancel();
    if timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("not everything ended within {} s", GRACE.as_secs());
    }
    match ended {
        None => Ok(()),
        Some(Ok(())) => Err(DaemonError::Ended),
        Some(Err(error)) => Err(DaemonError::Broken(error)),
    }
}

/// Runs the controllers while this process holds their Lease.
async fn operate(engine: Engine, messages: Arc<MessageChannel>, telemetry: Arc<Telemetry>, stop: CancellationToken) {
    let ctx = &engine.ctx;
    let mut candidate = Candidate::new(ctx.client.clone(), &ctx.namespace, OPERATOR_LEASE);
    while !stop.is_cancelled() {
        let taken = tokio::select! {
            taken = candidate.acquire(PATIENCE) => taken,
            () = stop.cancelled() => return,
        };
        let lease = match taken {
            Ok(lease) => lease,
            Err(error) => {
                tracing::warn!("the controllers wait: {error}");
                if !matches!(error, LeaseError::Held { .. }) {
                    tokio::select! { () = tokio::time::sleep(RETRY) => {}, () = stop.cancelled() => {} }
                }
                continue;
            }
        };
        telemetry.set_ready();
        // When told to stop, the controllers end what is under way. When the Lease is lost they are cut off: dropping
        // them aborts their reconciliations too (kube-runtime's tasks end with their handles), before another
        // process may take over.
        tokio::select! {
            () = control(&engine, &messages, &stop) => {}
            () = lease.lost().cancelled() => tracing::warn!("the controllers stop: their Lease is lost"),
        }
        lease.release().await;
    }
}

/// Runs the controllers of all kinds until `stop`.
async fn control(engine: &Engine, messages: &Arc<MessageChannel>, stop: &CancellationToken) {
    let ctx = || engine.ctx.clone();
    engine.ctx.cache.keep_in::<Consortium>(&engine.ctx.namespace);
    let followers = Arc::new(Followers::default());
    tokio::join!(
        controllers::run(OrganizationController, ctx(), stop.clone()),
        controllers::run(CertificateAuthorityController, ctx(), stop.clone()),
        controllers::run(IdentityController, ctx(), stop.clone()),
        controllers::run(OrdererController::asking(engine.nodes.clone()), ctx(), stop.clone()),
        controllers::run(PeerController::default(), ctx(), stop.clone()),
        controllers::run(ChannelController::new(engine.nodes.clone(), followers), ctx(), stop.clone()),
        controllers::run(MembershipController::new(engine.nodes.clone()), ctx(), stop.clone()),
        controllers::run(ProposalController::new(engine.nodes.clone(), messages.clone()), ctx(), stop.clone()),
        controllers::run(VoteController, ctx(), stop.clone()),
        controllers::run(ChaincodeController::new(engine.nodes.clone()), ctx(), stop.clone()),
    );
}
