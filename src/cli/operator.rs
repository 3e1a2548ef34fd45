//! `tenter operator`: the controllers alone.

use std::path::PathBuf;

use super::args::Global;
use super::outcome::{CliError, Outcome};
use super::run::ListenArgs;
use crate::daemon::Parts;

/// Run the controllers.
///
/// They carry out what the objects say: certificates, nodes, genesis blocks, joins. Plans are applied by `tenter sync` or
/// `tenter apply`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter operator --listen 127.0.0.1:8080")]
pub struct Args {
    #[command(flatten)]
    listen: ListenArgs,
    /// Folder for mirrors of repositories [default: the user's cache folder]
    #[arg(long, env = "TENTER_CACHE_DIR", hide_env_values = true, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

/// Runs until it is told to end.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let cache = super::definition::cache_folder(args.cache_dir.as_ref());
    let parts = Parts { sync: None, operator: true, cache, listen: args.listen.listen };
    super::run::start(global, parts).await
}
