//! `tenter run`: everything in one process.

use std::net::SocketAddr;

use super::args::Global;
use super::cluster::Cluster;
use super::exit::Exit;
use super::outcome::{CliError, Outcome};
use super::sync::LoopArgs;
use crate::daemon::{self, Parts};

/// Run everything: sync, operator and the status page.
///
/// In the cluster it uses the cluster's own account, outside it the kubeconfig. Ends gracefully on SIGTERM and SIGINT.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter run\n  tenter run --consortium trade --listen 0.0.0.0:8080")]
pub struct Args {
    #[command(flatten)]
    sync: LoopArgs,
    #[command(flatten)]
    listen: ListenArgs,
}

/// Where the daemon tells of itself.
#[derive(Debug, clap::Args)]
pub struct ListenArgs {
    /// Address of /healthz, /readyz, /metrics and the status page
    #[arg(
        long,
        env = "TENTER_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,
}

/// Runs until it is told to end.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let options = args.sync.options(global)?;
    let cache = options.cache.clone();
    let parts = Parts { sync: Some(options), operator: true, cache, listen: args.listen.listen };
    start(global, parts).await
}

/// Connects, and runs the parts until they are told to end.
pub async fn start(global: &Global, parts: Parts) -> Result<Outcome, CliError> {
    let cluster = Cluster::connect(global).await?;
    // Without Tenter's kinds nothing could ever be done: better said now than in a watch's log.
    cluster.known_kinds(global).await?;
    daemon::run(cluster.engine, parts).await.map_err(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        CliError::plain(Exit::Failure, format!("{error}{source}"))
    })?;
    Ok(Outcome::silent(Exit::Ok))
}
