//! Follows the config blocks of channels by `Deliver` streams, so that a change shows at once and a channel
//! that is in sync is hardly ever asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::schedule::{back_off, seed};
use crate::nodes::{Node, Nodes};

/// One channel that is followed.
struct Following {
    sources: Vec<Node>,
    task: AbortHandle,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The channels that are followed. Dropping it ends every stream.
pub struct Followers {
    changes: watch::Sender<u64>,
    channels: Mutex<BTreeMap<String, Following>>,
}

impl Default for Followers {
    fn default() -> Self {
        Self { changes: watch::Sender::new(0), channels: Mutex::default() }
    }
}

impl Followers {
    /// Counts the config blocks that came, of all channels.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Follows a channel from block `from` on, by any of `sources`. A channel that is followed by the same
    /// sources already goes on as it is.
    pub fn follow(&self, nodes: &Arc<Nodes>, channel: &str, sources: Vec<Node>, from: u64) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if channels.get(channel).is_some_and(|old| old.sources == sources && !old.task.is_finished()) {
            return;
        }
        let task = run(Arc::clone(nodes), channel.to_owned(), sources.clone(), from, self.changes.clone());
        let following = Following { sources, task: tokio::spawn(task).abort_handle() };
        channels.insert(channel.to_owned(), following);
    }

    /// Follows a channel no longer.
    pub fn stop(&self, channel: &str) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(channel);
    }
}

/// Longest time without progress before the source is taken for lost and the next one is tried: a busy
/// channel is never idle that long, and for an idle one a new stream costs little.
const IDLE: Duration = Duration::from_mins(15);

async fn run(nodes: Arc<Nodes>, channel: String, sources: Vec<Node>, from: u64, changes: watch::Sender<u64>) {
    let mut next = from;
    let mut failures = 0_u32;
    for source in sources.iter().cycle() {
        let before = next;
        let why = read(&nodes, &channel, source, &mut next, &changes).await;
        failures = if next > before { 1 } else { failures.saturating_add(1) };
        tracing::debug!(channel, next, failures, "{source} is followed no longer: {why}");
        tokio::time::sleep(back_off(failures, seed(&channel))).await;
    }
}

/// Reads one stream until it ends, and says why it did.
async fn read(nodes: &Nodes, channel: &str, source: &Node, next: &mut u64, changes: &watch::Sender<u64>) -> String {
    let mut stream = match nodes.follow(source, channel, *next).await {
        Ok(stream) => stream,
        Err(error) => return crate::nodes::chain(&error),
    };
    loop {
        match tokio::time::timeout(IDLE, stream.next()).await {
            Ok(Ok(block)) => {
                *next = block.number().saturating_add(1);
                if block.is_config() {
                    tracing::info!(channel, block = block.number(), "a config block came");
                    changes.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
            Ok(Err(error)) => return crate::nodes::chain(&error),
            Err(_) => return format!("no block for {} s", IDLE.as_secs()),
        }
    }
}
