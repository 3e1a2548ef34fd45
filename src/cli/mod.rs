//! The command line: one file a subcommand; each returns data, and [`outcome::render`] alone prints it.

pub mod apply;
pub mod approve;
pub mod args;
pub mod call;
pub mod cluster;
pub mod completions;
pub mod consent;
pub mod crds;
pub mod definition;
pub mod exit;
pub mod explain;
pub mod export;
pub mod genesis;
pub mod man;
pub mod operator;
pub mod outcome;
pub mod plan;
pub mod plan_file;
pub mod run;
pub mod schema;
pub mod sign;
pub mod snapshot;
pub mod status;
pub mod sync;
pub mod validate;
pub mod vote;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::args::{Cli, Command, Global, LogFormat};
use self::exit::Exit;
use self::outcome::{CliError, Outcome, render};

/// Reads the command line, does what it says, prints what came of it.
pub fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => start(cli),
        Err(error) => {
            // Help and version are answers; the rest is a wrong command line. Where nobody reads, nothing can be said.
            let _ = error.print();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
                _ => Exit::Usage,
            }
        }
    };
    ExitCode::from(exit.code())
}

fn start(cli: Cli) -> Exit {
    let wrong = cli.wrong_output();
    let Cli { global, command } = cli;
    start_logs(&global);
    if let Some(message) = wrong {
        let error = CliError::new(Exit::Usage, message, "tenter --help tells of the formats");
        return render(&global, Err(error), None);
    }
    let reviewed = command.reviewed();
    render(&global, dispatch(&global, command), reviewed)
}

fn dispatch(global: &Global, command: Command) -> Result<Outcome, CliError> {
    match command {
        Command::Validate(args) => validate::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::GitFetch => crate::source::process::serve()
            .map(|answer| Outcome::shown(outcome::Verbatim(answer)))
            .map_err(|error| CliError::plain(Exit::Failure, error.to_string())),
        Command::Genesis(args) => genesis::run(&args),
        Command::Consent(args) => consent::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Vote(args) => block_on(vote::run(global, args)),
        Command::Votes(args) => block_on(vote::votes(global, args)),
        Command::Export(args) => block_on(export::run(global, args)),
        Command::GitExchange => crate::messages::process::serve()
            .map(|answer| Outcome::shown(outcome::Verbatim(answer)))
            .map_err(|error| CliError::plain(Exit::Failure, error.to_string())),
        Command::Plan(args) => block_on(plan::run(global, args)),
        Command::Diff(args) => block_on(plan::diff(global, args)),
        Command::Approve(args) => block_on(approve::run(global, args)),
        Command::Apply(args) => block_on(apply::run(global, args)),
        Command::Snapshot(args) => block_on(snapshot::run(global, args)),
        Command::Status(args) => block_on(status::run(global, args)),
        Command::Invoke(args) => block_on(call::invoke(global, args)),
        Command::Query(args) => block_on(call::query(global, args)),
        Command::Sync(args) => block_on(sync::run(global, args)),
        Command::Operator(args) => block_on(operator::run(global, args)),
        Command::Run(args) => block_on(run::run(global, args)),
    }
}

/// Runs a subcommand that waits for others. Two threads: waiting is nearly all it does.
fn block_on<F>(future: F) -> Result<Outcome, CliError>
where
    F: Future<Output = Result<Outcome, CliError>>,
{
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // A second installation is refused, and is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::plain(Exit::Failure, format!("cannot start: {error}")))?;
    let result = runtime.block_on(future);
    // A thread that is stuck in the system must not keep the program from ending.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}

/// Logs to standard error. `RUST_LOG` wins over `-v` and `-q`.
fn start_logs(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error,kube_client=off",
        (false, 0) => "warn,tenter=info,kube_client=off",
        (false, 1) => "info,tenter=debug,kube_client=error",
        (false, _) => "debug,kube_client=error",
    };
    // Below `error` the Kubernetes client logs answers that it cannot read as they are: one could hold a Secret.
    let filter = match (EnvFilter::try_from_default_env(), "kube_client=error".parse()) {
        (Ok(given), Ok(quieter)) => given.add_directive(quieter),
        _ => EnvFilter::new(level),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let ansi = outcome::stderr_style(global.color).color;
    // A second set-up is refused; the first one stays.
    let _ = match global.log_format {
        LogFormat::Text => builder.with_ansi(ansi).finish().try_init(),
        LogFormat::Json => builder.json().finish().try_init(),
    };
}
