//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::report::failed::Reviewed;

use super::{
    apply, approve, call, completions, consent, crds, explain, export, genesis, man, operator, plan, run, schema, sign,
    snapshot, status, sync, validate, vote,
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
  0  done; for diff and plan --detailed-exitcode: nothing would change
  1  failed, and no other code fits; for diff: something would change
  2  plan --detailed-exitcode: something would change; for diff: failed, and no other code fits
  3  the command line is wrong
  4  the definition has errors
  5  the API server or the git server cannot be reached
  6  a server refuses access
  7  a gate stops a step, or the plan has an error: it says which and why
  8  not done within --timeout

Data goes to standard output, progress and logs to standard error.
Every flag has an environment variable; the flag wins.

Examples:
  tenter validate network.yaml
  tenter explain network/unknown-key
  tenter plan --consortium trade .
  tenter plan --consortium trade . -o github -o markdown=plan.md -o json=plan.json
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
    /// Format, and the file to write it to [default: standard output]; may be given several times
    #[arg(
        long,
        short,
        global = true,
        env = "TENTER_OUTPUT",
        hide_env_values = true,
        value_name = "FORMAT[=FILE]",
        value_delimiter = ',',
        value_parser = output,
        default_value = "text",
        help = "Format, and the file to write it to, - or none for standard output; may be given several times\n\
                [formats: text, json, yaml; of validate, plan and diff also markdown, sarif, junit, github, gitlab]"
    )]
    pub output: Vec<Output>,
    /// Most bytes of a markdown comment
    #[arg(
        help = "Most bytes of a markdown comment; the default fits Bitbucket, GitHub takes 65536",
        long,
        global = true,
        env = "TENTER_MARKDOWN_LIMIT",
        hide_env_values = true,
        value_name = "BYTES",
        default_value_t = crate::report::markdown::LIMIT
    )]
    pub markdown_limit: usize,
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

/// Formats of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For programs.
    Yaml,
    /// A comment in a pull request.
    Markdown,
    /// SARIF 2.1.0.
    Sarif,
    /// `JUnit`'s XML.
    Junit,
    /// GitHub's annotations, and its job summary.
    Github,
    /// GitLab's Code Quality report.
    Gitlab,
}

impl Format {
    /// Whether every subcommand has it; the others are for what a pull request is told.
    const fn is_general(self) -> bool {
        matches!(self, Self::Text | Self::Json | Self::Yaml)
    }
}

/// A format and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The format.
    pub format: Format,
    /// The file; standard output when absent.
    pub file: Option<PathBuf>,
}

fn output(text: &str) -> Result<Output, String> {
    let (name, file) = text.split_once('=').map_or((text, None), |(name, file)| (name, Some(file)));
    let names: Vec<String> = Format::value_variants()
        .iter()
        .filter_map(|format| format.to_possible_value().map(|value| value.get_name().to_owned()))
        .collect();
    let format = Format::from_str(name, false).map_err(|_| {
        let near = tenter_consortium::diagnostic::closest(name, names.iter().map(String::as_str));
        near.map_or_else(|| format!("the formats are {}", names.join(", ")), |near| format!("did you mean {near}?"))
    })?;
    match file {
        Some("") => Err(format!("write {name}, or {name}=FILE")),
        Some("-") | None => Ok(Output { format, file: None }),
        Some(file) => Ok(Output { format, file: Some(PathBuf::from(file)) }),
    }
}

/// Reads `90s`, `10m`, `1h` or `30d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and s, m, h or d, for example 90s".to_owned();
    let split = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(scale).map(Duration::from_secs).ok_or_else(wrong)
}

impl Cli {
    /// What is wrong with the outputs that were asked for, if anything: found before anything is done.
    pub fn wrong_output(&self) -> Option<String> {
        let outputs = &self.global.output;
        if outputs.iter().filter(|output| output.file.is_none()).count() > 1 {
            return Some("only one --output can go to standard output: write FORMAT=FILE for the others".to_owned());
        }
        let files: std::collections::BTreeSet<_> = outputs.iter().map(|output| &output.file).collect();
        if files.len() < outputs.len() {
            return Some("two --output name the same file".to_owned());
        }
        let special = outputs.iter().find(|output| !output.format.is_general())?;
        let name = special.format.to_possible_value()?.get_name().to_owned();
        (!self.command.is_review()).then(|| format!("--output {name} is for validate, plan and diff"))
    }
}

/// The definition that a path names: itself, or that of the folder.
fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("network.yaml") } else { path.to_owned() }
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
    /// Show what would change; the exit code says whether anything would
    Diff(plan::DiffArgs),
    /// Carry out the plan, and wait until everything is so
    Apply(apply::Args),
    /// Approve the steps of a plan that cannot be undone
    Approve(approve::Args),
    /// Print a signed snapshot of the state, for tenter plan --snapshot
    Snapshot(snapshot::Args),
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
    /// Show the proposals that are open, and who said what to them
    Votes(vote::ListArgs),
    /// Say for an organization whether it signs a config update
    Vote(vote::Args),
    /// Sign a config update, or reject it, with a key that no cluster holds
    Sign(sign::Args),
    /// Explain a rule, or list them all
    Explain(explain::Args),
    /// Print the custom resource definitions
    Crds(crds::Args),
    /// Print the JSON schema of network.yaml
    Schema(schema::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Write manual pages
    Man(man::Args),
    /// Fetch for another process of this program
    #[command(name = crate::source::process::SUBCOMMAND, hide = true)]
    GitFetch,
    /// Exchange messages for the process that started this one
    #[command(name = crate::messages::process::SUBCOMMAND, hide = true)]
    GitExchange,
}

impl Command {
    /// Whether it tells a pull request something, so that it has the formats for that.
    pub fn is_review(&self) -> bool {
        self.reviewed().is_some()
    }

    /// What it reviews, if it is a review.
    pub fn reviewed(&self) -> Option<Reviewed> {
        let (command, path) = match self {
            Self::Validate(args) => ("validate", args.path()),
            Self::Plan(args) => ("plan", args.path()),
            Self::Diff(args) => ("plan", args.path()),
            _ => return None,
        };
        let file = if path == Path::new("-") { path.to_owned() } else { file_of(path) };
        Some(Reviewed { command, file: file.strip_prefix("./").unwrap_or(&file).display().to_string() })
    }
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

    /// Headings and help texts of a command and of those below it.
    fn reference(command: &clap::Command, path: &str, text: &mut String) {
        use std::fmt::Write as _;
        let name = format!("{path}{}", command.get_name());
        // Global flags are the root's: without the parent they are not part of a subcommand, and are said once.
        let help = command.clone().bin_name(&name).term_width(100).render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        writeln!(text, "\n## {name}\n\n```text\n{}\n```", help.join("\n").trim_end()).unwrap();
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            reference(below, &format!("{name} "), text);
        }
    }

    #[test]
    fn the_reference_is_current() {
        let mut text = String::from("# The command line\n\nMade from the program (`make generate`).\n");
        reference(&Cli::command(), "", &mut text);
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reference/cli.md");
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let actual = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(actual == text, "docs/reference/cli.md is not what the program says; UPDATE_REFERENCE=1 writes it");
    }

    #[test]
    fn every_help_has_examples_of_its_own_command() {
        let root = Cli::command();
        for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.clone().render_long_help().to_string();
            let examples = help.split_once("\nExamples:\n").map(|(_, examples)| examples).unwrap_or_default();
            let name = format!("tenter {}", command.get_name());
            let of_command = |line: &str| line.contains(&format!("{name} ")) || line.trim_end().ends_with(&name);
            assert!(examples.lines().any(of_command), "{name}: {help}");
        }
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(duration("30d"), Ok(Duration::from_hours(720)));
        for wrong in ["", "10", "m", "1w", "-1s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn outputs_are_read() {
        let file = |name: &str| Some(PathBuf::from(name));
        assert_eq!(output("json"), Ok(Output { format: Format::Json, file: None }));
        assert_eq!(output("yaml=-"), Ok(Output { format: Format::Yaml, file: None }));
        assert_eq!(output("markdown=a=b.md"), Ok(Output { format: Format::Markdown, file: file("a=b.md") }));
        assert_eq!(output("jsno"), Err("did you mean json?".to_owned()));
        assert!(output("json=").is_err() && output("").is_err());
    }

    #[test]
    fn help_lists_the_exit_codes() {
        for (code, meaning) in Exit::ALL {
            assert!(LONG_HELP.contains(&format!("\n  {code}  {meaning}\n")), "{code}");
        }
    }
}
