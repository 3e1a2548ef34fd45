//! Fabric nodes as local processes, for tests and benchmarks: real ones where their programs are at hand, simulated
//! ones otherwise.
//!
//! Every node listens on loopback ports, gets its certificates from `tenter_fabric::ca`, and ends with its handle.

mod node;
mod organization;
mod programs;
mod vectors;

pub use node::{Kind, Node, NodeOptions};
pub use organization::Organization;
pub use programs::Programs;
pub use vectors::{enough, own_vectors, vectors};

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Waits until `check` gives a value, and fails with its last error after `limit`.
pub async fn wait_for<T, F>(what: &str, limit: Duration, mut check: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let end = Instant::now() + limit;
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= end => {
                return Err(error).with_context(|| format!("waited {limit:?} for {what}"));
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Turns a condition into a result for [`wait_for`].
pub fn ensure(condition: bool, what: impl std::fmt::Display) -> Result<()> {
    if condition {
        return Ok(());
    }
    bail!("not yet: {what}")
}
