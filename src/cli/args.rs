//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::{
    apply, call, completions, consent, crds, export, genesis, operator, plan, run, schema, status, sync, validate,
};

/// Keeps a Hyperledger Fabric consortium in the shape that its git repository says.
#[derive(Debug, Parser)]
#[command(
    name = "tenter",
    version,
    about,
    max_term_width = 120,
    disable_help_subcommand = true,
    propagate_version = true,
    after_help = "Every flag has an environment variable; the flag wins.\nExit codes and examples: tenter --help",
    after_long_help = LONG_HELP
)]
pub struct Cli {
    /// Flags of every subcommand.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const LONG_HELP: &str = "\
Exit codes:
  0  done; for plan --detailed-exitcode: nothing would change
  1  failed, and no other code fits
  2  plan --detailed-exitcode: something would change
  3  the command line is wrong
  4  the definition has errors
  5  the API server or the git server cannot be reached
  6  a server refuses access
  7  a gate stops a step: the plan says which and why
  8  not done within --timeout

Data goes to standard output, progress and logs to standard error.
Every flag has an environment variable; the flag wins.

Examples:
  tenter validate network.yaml
  tenter plan --consortium trade .
  tenter apply --consortium trade . --yes --timeout 10m
  tenter status --consortium trade -o json
  tenter run --listen 0.0.0.0:8080";

/// Flags of every subcommand.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Kubeconfig file [default: in the cluster its own account, else KUBECONFIG or ~/.kube/config]
    #[arg(long, global = true, env = "TENTER_KUBECONFIG", hide_env_values = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, global = true, env = "TENTER_CONTEXT", hide_env_values = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of the Consortium objects
    #[arg(
        long,
        short = 'n',
        global = true,
        env = "TENTER_NAMESPACE",
        hide_env_values = true,
        value_name = "NAME",
        default_value = "tenter-system"
    )]
    pub namespace: String,
    /// The Consortium object [default: the only one there is]
    #[arg(long, global = true, env = "TENTER_CONSORTIUM", hide_env_values = true, value_name = "NAME")]
    pub consortium: Option<String>,
    /// Format of what is printed on standard output
    #[arg(
        long,
        short,
        global = true,
        env = "TENTER_OUTPUT",
        hide_env_values = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t = Format::Text
    )]
    pub output: Format,
    /// When to use colours
    #[arg(
        help = "When to use colours; auto honours NO_COLOR, CLICOLOR and CLICOLOR_FORCE",
        long,
        global = true,
        env = "TENTER_COLOR",
        hide_env_values = true,
        value_name = "WHEN",
        value_enum,
        default_value_t = Color::Auto
    )]
    pub color: Color,
    /// Say more on standard error; twice for even more
    #[arg(long, short, global = true, env = "TENTER_VERBOSE", hide_env_values = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors on standard error
    #[arg(long, short, global = true, env = "TENTER_QUIET", hide_env_values = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Format of the logs
    #[arg(
        long,
        global = true,
        env = "TENTER_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t = LogFormat::Text
    )]
    pub log_format: LogFormat,
}

/// Formats of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless the environment says otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Formats of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a definition; needs no cluster
    Validate(validate::Args),
    /// Show what would change
    Plan(plan::Args),
    /// Carry out the plan, and wait until everything is so
    Apply(apply::Args),
    /// Follow the repository: plan and apply each commit
    Sync(sync::Args),
    /// Run the controllers
    Operator(operator::Args),
    /// Run everything: sync, operator and the status page
    Run(run::Args),
    /// Show the consortium as it stands
    Status(status::Args),
    /// Call a function of a contract, and submit what it writes
    Invoke(call::Invoke),
    /// Call a function of a contract on one peer
    Query(call::Query),
    /// Write an organization's folder for the definition repository
    Export(export::Args),
    /// Compute a channel's genesis block from the definition repository
    Genesis(genesis::Args),
    /// Give an organization's consent to what the definition says of it
    Consent(consent::Args),
    /// Print the custom resource definitions
    Crds(crds::Args),
    /// Print the JSON schema of network.yaml
    Schema(schema::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Fetch for another process of this program
    #[command(name = crate::source::process::SUBCOMMAND, hide = true)]
    GitFetch,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable_of_its_name() {
        let root = Cli::command();
        for command in std::iter::once(&root).chain(root.get_subcommands()) {
            for flag in command.get_arguments().filter(|flag| flag.get_long().is_some()) {
                let long = flag.get_long().unwrap();
                if matches!(long, "help" | "version") {
                    continue;
                }
                let expect = format!("TENTER_{}", long.replace('-', "_").to_uppercase());
                let env = flag.get_env().map(|env| env.to_string_lossy().into_owned());
                assert_eq!(env, Some(expect), "{} --{long}", command.get_name());
            }
        }
    }

    #[test]
    fn help_lists_the_exit_codes() {
        for (exit, meaning) in Exit::ALL {
            assert!(LONG_HELP.contains(&format!("\n  {}  {meaning}\n", exit.code())), "{exit:?}");
        }
    }
}
