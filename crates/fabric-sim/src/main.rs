//! Runs a simulated Fabric node: as `fabric-sim orderer|peer`, or under the names of the real programs.

use std::collections::BTreeMap;
use std::process::ExitCode;

use tenter_fabric_sim::operations::VERSION;
use tenter_fabric_sim::process::{NodeError, Running};
use tenter_fabric_sim::settings::orderer::OrdererSettings;
use tenter_fabric_sim::settings::peer::PeerSettings;
use tenter_fabric_sim::{orderer, peer};

enum Command {
    Orderer,
    Peer,
    Version(&'static str),
    Help(String),
}

/// The command by the program's name and its arguments.
fn command(mut arguments: Vec<String>) -> Command {
    let called = if arguments.is_empty() { String::new() } else { arguments.remove(0) };
    let name = called.rsplit('/').next().unwrap_or_default().to_owned();
    let (program, rest) = match name.as_str() {
        "orderer" | "peer" => (name, arguments),
        _ if arguments.is_empty() => return Command::Help("name a program: orderer or peer".to_owned()),
        _ => (arguments.remove(0), arguments),
    };
    let words: Vec<&str> = rest.iter().map(String::as_str).collect();
    match (program.as_str(), words.as_slice()) {
        ("orderer", [] | ["start"]) => Command::Orderer,
        ("peer", ["node", "start", ..]) => Command::Peer,
        ("orderer", ["version"]) => Command::Version("orderer"),
        ("peer", ["version"]) => Command::Version("peer"),
        ("version", []) => Command::Version("fabric-sim"),
        _ => Command::Help(format!("unknown command: {program} {}", words.join(" "))),
    }
}

async fn start(command: Command) -> Result<Running, NodeError> {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    match command {
        Command::Peer => peer::start(PeerSettings::load(environment)?).await,
        _ => orderer::start(OrdererSettings::load(environment)?).await,
    }
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("received a signal, stopping");
}

fn describe(error: &NodeError) -> String {
    tenter_fabric_sim::net::describe(error)
}

async fn run(command: Command) -> Result<(), NodeError> {
    start(command).await?.until(terminated()).await
}

#[expect(clippy::print_stdout, reason = "the version is the command's output")]
fn print_version(program: &str) {
    println!("{program}:\n Version: {VERSION}\n Simulated: tenter-fabric-sim");
}

#[expect(clippy::print_stderr, reason = "usage errors go to standard error")]
fn print_help(text: &str) {
    eprintln!("fabric-sim: {text}\nusage: fabric-sim orderer [start|version] | peer node start | peer version");
}

fn main() -> ExitCode {
    let command = match command(std::env::args().collect()) {
        Command::Version(program) => {
            print_version(program);
            return ExitCode::SUCCESS;
        }
        Command::Help(text) => {
            print_help(&text);
            return ExitCode::FAILURE;
        }
        other => other,
    };
    let level = std::env::var("FABRIC_LOGGING_SPEC")
        .ok()
        .filter(|spec| ["debug", "info", "warn", "error"].contains(&spec.to_lowercase().as_str()))
        .map_or_else(|| "info".to_owned(), |spec| spec.to_lowercase());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(format!("tenter_fabric_sim={level},fabric_sim={level}"))
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime does not start");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(command));
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(reason = describe(&error), "the node ends");
            ExitCode::from(error.exit_code())
        }
    }
}
