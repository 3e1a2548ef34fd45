//! `tenter completions`: a completion script for a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Cli;
use super::exit::Exit;
use super::outcome::{CliError, Outcome, Verbatim};

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tenter completions bash > /etc/bash_completion.d/tenter\n  tenter completions fish | source"
)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The script.
pub fn run(args: &Args) -> Result<Outcome, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tenter", &mut script);
    let script = String::from_utf8(script)
        .map_err(|error| CliError::plain(Exit::Failure, format!("the script is not text: {error}")))?;
    Ok(Outcome::shown(Verbatim(script)))
}
