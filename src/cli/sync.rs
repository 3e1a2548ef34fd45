//! `tenter sync`: follows the repository.

use std::path::PathBuf;
use std::time::Duration;

use super::args::Global;
use super::exit::Exit;
use super::outcome::{CliError, Outcome};
use super::run::ListenArgs;
use crate::daemon::Parts;
use crate::sync::Options;

/// Follow the repository: plan and apply each commit.
///
/// The repository, its credentials and the interval stand in the Consortium object. With --path a local folder is followed
/// instead, for trying things out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter sync --consortium trade\n  tenter sync --consortium trade --path .")]
pub struct Args {
    #[command(flatten)]
    sync: LoopArgs,
    #[command(flatten)]
    listen: ListenArgs,
}

/// What the sync loop is told.
#[derive(Debug, clap::Args)]
pub struct LoopArgs {
    /// Take the definition from this folder and follow its changes, instead of the Consortium's repository
    #[arg(long, env = "TENTER_PATH", hide_env_values = true, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Folder for mirrors of repositories [default: the user's cache folder]
    #[arg(long, env = "TENTER_CACHE_DIR", hide_env_values = true, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Seconds that a fetch may take
    #[arg(long, env = "TENTER_GIT_TIMEOUT", hide_env_values = true, value_name = "SECONDS", default_value_t = 60)]
    git_timeout: u64,
}

impl LoopArgs {
    /// The options of the loop.
    pub fn options(&self, global: &Global) -> Result<Options, CliError> {
        if self.path.is_some() && global.consortium.is_none() {
            let message = "--path needs to know whose definition the folder holds";
            return Err(CliError::new(Exit::Usage, message, "name the Consortium object with --consortium"));
        }
        Ok(Options {
            consortium: global.consortium.clone(),
            cache: super::definition::cache_folder(self.cache_dir.as_ref()),
            folder: self.path.clone(),
            fetch_limit: Duration::from_secs(self.git_timeout),
        })
    }
}

/// Runs until it is told to end.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let options = args.sync.options(global)?;
    let cache = options.cache.clone();
    let parts = Parts { sync: Some(options), operator: false, cache, listen: args.listen.listen };
    super::run::start(global, parts).await
}
