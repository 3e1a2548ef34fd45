//! What the nodes that this daemon acts for say of one channel.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use tenter_consortium::channel_config::live_channel;
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{ForeignChange, LiveChannel, NodeChannel, NodeRef, OrdererChannel, PeerChannel};
use tenter_fabric::block::Block;
use tenter_fabric::config::CurrentConfig;
use tenter_fabric::config::update::ConfigUpdate;
use tokio::time::{Instant, timeout, timeout_at};

use crate::nodes::records::with_record;
use crate::nodes::{Node, Nodes, chain};

/// Most nodes that are asked at once.
pub const CONCURRENCY: usize = 16;
/// Longest time that one question may take, retries of connections included.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// Most nodes that are asked for a channel's configuration at once: the first that shows it is enough.
const SOURCES: usize = 4;
/// Longest time for a channel's configuration, all sources included.
const CONFIG_LIMIT: Duration = Duration::from_secs(45);

/// Bounds a question to a node.
///
/// The question comes boxed: a client's future is large, and callers hold many.
pub async fn bounded<T>(node: &Node, what: &str, question: BoxFuture<'_, Observation<T>>) -> Observation<T> {
    timeout(TIME_LIMIT, question).await.unwrap_or_else(|_| Observation::Unreachable {
        evidence: format!("{node} did not answer in {} s: {what}", TIME_LIMIT.as_secs()),
    })
}

/// Asks many nodes the same, a bounded number at a time.
pub async fn each<'a, T, F>(nodes: &'a [Node], ask: impl Fn(&'a Node) -> F) -> BTreeMap<NodeRef, T>
where
    T: 'a,
    F: Future<Output = T> + Send + 'a,
{
    // Boxed, because the compiler cannot show that a stream of borrowing closures' futures is `Send`.
    let answers: Vec<BoxFuture<'a, (NodeRef, T)>> = nodes
        .iter()
        .map(|node| {
            let answer = ask(node);
            async move { (node.reference.clone(), answer.await) }.boxed()
        })
        .collect();
    stream::iter(answers).buffer_unordered(CONCURRENCY).collect().await
}

/// What an orderer says of a channel, with its record.
pub async fn orderer(nodes: &Nodes, node: &Node, channel: &str) -> NodeChannel<OrdererChannel> {
    let live = bounded(node, "participation API", nodes.orderer_channel(node, channel).boxed()).await;
    with_record(nodes.store(), &node.reference, channel, live).await
}

/// What a peer says of a channel, with its record.
pub async fn peer(nodes: &Nodes, node: &Node, channel: &str) -> NodeChannel<PeerChannel> {
    let live = bounded(node, "channels", nodes.peer_channel(node, channel).boxed()).await;
    with_record(nodes.store(), &node.reference, channel, live).await
}

/// The live configuration, from the first of these nodes that shows it. Nodes that hold another block 0 than
/// the pinned one are not believed. `sources` are nodes that hold the channel; a few are asked at a time, and all of
/// them within a bound, so that nodes which are silent do not use up a pass.
pub async fn config(nodes: &Nodes, sources: &[Node], channel: &str, pinned: Option<&str>) -> Observation<LiveChannel> {
    if sources.is_empty() {
        return Observation::Unreachable { evidence: format!("no own node is known to hold channel {channel}") };
    }
    let mut evidence = Vec::new();
    let mut forbidden = 0;
    let deadline = Instant::now() + CONFIG_LIMIT;
    // Boxed for the reason that `each` gives.
    let questions: Vec<BoxFuture<'_, Observation<LiveChannel>>> =
        sources.iter().map(|node| config_of(nodes, node, channel, pinned).boxed()).collect();
    let mut answers = stream::iter(questions).buffered(SOURCES);
    loop {
        match timeout_at(deadline, answers.next()).await {
            Ok(Some(present @ Observation::Present { .. })) => return present,
            Ok(Some(other)) => {
                forbidden += usize::from(matches!(other, Observation::Forbidden { .. }));
                evidence.extend(other.evidence().map(str::to_owned));
            }
            Ok(None) => break,
            Err(_) => {
                evidence.push(format!("the others were not heard within {} s", CONFIG_LIMIT.as_secs()));
                break;
            }
        }
    }
    let all_forbidden = forbidden == sources.len();
    let evidence = evidence.join("; ");
    if all_forbidden { Observation::Forbidden { evidence } } else { Observation::Unreachable { evidence } }
}

/// The live configuration as one node shows it.
async fn config_of(nodes: &Nodes, node: &Node, channel: &str, pinned: Option<&str>) -> Observation<LiveChannel> {
    if let Some(hash) = pinned {
        match bounded(node, "block 0", nodes.genesis_hash(node, channel).boxed()).await {
            Observation::Present { value } if value != hash => {
                let evidence = format!("{node} holds block 0 {value} instead of {hash}");
                return Observation::Unreachable { evidence };
            }
            Observation::Present { .. } => {}
            other => return other.unseen(),
        }
    }
    let block = bounded(node, "config block", nodes.config_block(node, channel).boxed()).await;
    let config = block.try_map(|block| {
        live_channel(&block).map_err(|why| format!("config block {} of {node}: {why}", block.number()))
    });
    if config.is_absent() { config.unseen() } else { config }
}

/// Config blocks that are looked at for the author of a change, newest first.
const AUTHORS: usize = 16;
/// Config blocks among which an update is looked for, newest first.
const UPDATES: usize = 256;

/// Config blocks of a channel, newest first.
#[derive(Debug, Default)]
struct History {
    blocks: Vec<Block>,
    /// Whether there are older ones that were asked for and not read.
    cut: bool,
}

/// The block of the channel's configurations since sequence `until` that `shows` says something of, with that. `newest` is the
/// configuration in force. Absent only if all of them were looked at.
pub async fn find_since<T>(
    nodes: &Nodes,
    sources: &[Node],
    newest: (&str, &LiveChannel),
    until: u64,
    shows: impl Fn(&Block) -> Option<T>,
) -> Observation<(u64, T)> {
    let (channel, live) = newest;
    let history = match history(nodes, sources, channel, live, (until, UPDATES)).await {
        Observation::Present { value } => value,
        other => return other.unseen(),
    };
    match history.blocks.iter().find_map(|block| Some((block.number(), shows(block)?))) {
        Some(value) => Observation::Present { value },
        None if history.cut => {
            let evidence = format!("the last {UPDATES} config blocks do not show it, and older ones were not read");
            Observation::Unreachable { evidence }
        }
        None => Observation::Absent { evidence: format!("no config block after sequence {until} shows it") },
    }
}

/// The config blocks of a channel down to one whose sequence is `until`, as one of the nodes has them, no more than `most`.
async fn history(
    nodes: &Nodes,
    sources: &[Node],
    channel: &str,
    newest: &LiveChannel,
    range: (u64, usize),
) -> Observation<History> {
    let mut evidence = Vec::new();
    for source in sources.iter().take(SOURCES) {
        match history_of(nodes, source, channel, newest, range).await {
            Ok(value) => return Observation::Present { value },
            Err(why) => evidence.push(why),
        }
    }
    Observation::Unreachable { evidence: evidence.join("; ") }
}

async fn history_of(
    nodes: &Nodes,
    source: &Node,
    channel: &str,
    newest: &LiveChannel,
    (until, most): (u64, usize),
) -> Result<History, String> {
    let mut found = History::default();
    let mut number = newest.block;
    loop {
        let block = read_block(nodes, source, channel, number).await?;
        let sequence = block.config().map_err(|error| format!("{source}, block {number}: {}", chain(&error)))?.sequence;
        if sequence <= until || number == 0 {
            break;
        }
        if found.blocks.len() == most {
            found.cut = true;
            break;
        }
        found.blocks.push(block);
        // The block before says which configuration was in force when it was cut.
        let before = read_block(nodes, source, channel, number.saturating_sub(1)).await?;
        let Some(earlier) = before.last_config_index().filter(|earlier| *earlier < number) else { break };
        number = earlier;
    }
    Ok(found)
}

async fn read_block(nodes: &Nodes, source: &Node, channel: &str, number: u64) -> Result<Block, String> {
    match bounded(source, "block", nodes.block(source, channel, number).boxed()).await {
        Observation::Present { value } => Ok(value),
        other => Err(other.evidence().unwrap_or_default().to_owned()),
    }
}

/// The latest changes of a configuration that came from none of the updates in `known` (their digests). What cannot be
/// read is left out: this is for people, nothing is decided on it.
pub async fn foreign_changes(
    nodes: &Nodes,
    sources: &[Node],
    channel: &str,
    newest: &LiveChannel,
    known: &BTreeSet<String>,
) -> Vec<ForeignChange> {
    let Ok(current) = CurrentConfig::from_bytes(channel, &newest.config) else { return Vec::new() };
    let history = history(nodes, sources, channel, newest, (0, AUTHORS)).await;
    let changes = history.value().into_iter().flat_map(|history| &history.blocks).filter_map(|block| {
        let author = live_channel(block).ok()?.author.filter(|author| !known.contains(&author.digest))?;
        let update = ConfigUpdate::from_bytes(block.config_origin().ok()??.update).ok()?;
        let elements = update.elements(&current).into_iter().map(|touched| touched.element).collect();
        Some(ForeignChange { block: block.number(), author, elements })
    });
    changes.collect()
}
