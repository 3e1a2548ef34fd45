//! `tenter operator`: the controllers alone.

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
}

/// Runs until it is told to end.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let parts = Parts { sync: None, operator: true, listen: args.listen.listen };
    super::run::start(global, parts).await
}
