//! A fetch in a process of its own.
//!
//! libgit2's network reads have no limit that safe code can set, so a server that accepts a connection and says nothing
//! would hold a thread for ever. The program therefore starts itself again for each fetch (`tenter git-fetch`, hidden),
//! gives it the request on standard input, and ends it when its time is over. What libgit2 and TLS use of memory goes with it.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt as _;

use super::SourceError;
use super::mirror::{self, FetchRequest, Fetched};
use super::url::redacted;

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "git-fetch";
/// Longest request, in bytes: credentials and known hosts are the long parts.
const MAX_REQUEST_BYTES: u64 = 4 << 20;
/// Most memory that a fetch may take beyond the program itself, in bytes, mapped files not counted: what a hostile pack unpacks to ends the fetch and not
/// the program that waits for it. It leaves room in the container's limit (deploy/base/deployment.yaml).
const MAX_MEMORY_BYTES: u64 = 160 << 20;

/// Fetches in a process of its own, for at most `limit`.
pub async fn fetch(request: &FetchRequest, limit: Duration) -> Result<Fetched, SourceError> {
    call(SUBCOMMAND, request, &request.cache, &request.url, limit).await
}

/// Asks a hidden subcommand of this program something about a repository, and waits at most `limit` for its answer.
pub async fn call<Q: Serialize, A: DeserializeOwned>(
    subcommand: &str,
    request: &Q,
    home: &Path,
    url: &str,
    limit: Duration,
) -> Result<A, SourceError> {
    match tokio::time::timeout(limit, run(subcommand, request, home)).await {
        Ok(result) => result,
        Err(_) => Err(SourceError::Timeout { url: redacted(url), seconds: limit.as_secs() }),
    }
}

async fn run<Q: Serialize, A: DeserializeOwned>(subcommand: &str, request: &Q, home: &Path) -> Result<A, SourceError> {
    let local = |why: String| SourceError::Local { path: subcommand.to_owned(), why };
    let program = std::env::current_exe().map_err(|error| local(error.to_string()))?;
    let message = serde_json::to_vec(request).map_err(|error| local(error.to_string()))?;
    // Personal git settings (rewritten URLs, proxies, hooks) have no part in what a daemon reads; the mirror leaves out
    // the system's.
    let mut child = tokio::process::Command::new(program)
        .arg(subcommand)
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| local(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&message).await.map_err(|error| local(error.to_string()))?;
    }
    let output = child.wait_with_output().await.map_err(|error| local(error.to_string()))?;
    serde_json::from_slice::<Result<A, SourceError>>(&output.stdout)
        .map_err(|_| local(format!("it ended with {} and without an answer", output.status)))?
}

/// The other side: reads a request from standard input, fetches, and returns the answer for standard output.
pub fn serve() -> Result<String, SourceError> {
    answer(SUBCOMMAND, mirror::fetch)
}

/// The other side of [`call`]: reads a request from standard input, and gives the answer for standard output.
pub fn answer<Q: DeserializeOwned, A: Serialize>(
    subcommand: &str,
    act: impl FnOnce(&Q) -> Result<A, SourceError>,
) -> Result<String, SourceError> {
    let local = |why: String| SourceError::Local { path: subcommand.to_owned(), why };
    let mut message = Vec::new();
    std::io::stdin().take(MAX_REQUEST_BYTES).read_to_end(&mut message).map_err(|error| local(error.to_string()))?;
    limit_memory().map_err(|error| local(format!("cannot limit its memory: {error}")))?;
    let request: Q = serde_json::from_slice(&message).map_err(|error| local(error.to_string()))?;
    serde_json::to_string(&act(&request)).map_err(|error| local(error.to_string()))
}

/// Lowers this process's limit for private memory to what it holds and [`MAX_MEMORY_BYTES`] more; a lower one stays.
/// What it holds counts the stacks of the runtime's threads, of which a machine with many cores has many.
fn limit_memory() -> rustix::io::Result<()> {
    let held = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            status.lines().find_map(|line| line.strip_prefix("VmData:")?.split_whitespace().next()?.parse::<u64>().ok())
        })
        .unwrap_or_default();
    let most = MAX_MEMORY_BYTES + (held << 10);
    let Rlimit { current, maximum } = getrlimit(Resource::Data);
    let lower = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    setrlimit(Resource::Data, Rlimit { current: lower(current), maximum: lower(maximum) })
}
