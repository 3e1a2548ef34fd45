//! `tenter schema`: what an editor completes from.

use tenter_consortium::schema;

use super::outcome::{CliError, Outcome, Verbatim};

/// Print the JSON schema of network.yaml.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter schema > network.schema.json")]
pub struct Args {}

/// The schema.
pub fn run(_args: &Args) -> Result<Outcome, CliError> {
    Ok(Outcome::shown(Verbatim(format!("{:#}\n", schema::schema()))))
}
