//! What the nodes that this daemon acts for say of one channel.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{LiveChannel, NodeChannel, NodeRef, OrdererChannel, PeerChannel};
use tokio::time::timeout;

use super::facts::live_channel;
use crate::nodes::records::with_record;
use crate::nodes::{Node, Nodes};

/// Most nodes that are asked at once.
pub const CONCURRENCY: usize = 16;
/// Longest time that one question may take, retries of connections included.
const TIME_LIMIT: Duration = Duration::from_secs(20);

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
/// the pinned one are not believed. `sources` are nodes that hold the channel.
pub async fn config(nodes: &Nodes, sources: &[Node], channel: &str, pinned: Option<&str>) -> Observation<LiveChannel> {
    let mut evidence = Vec::new();
    let mut forbidden = 0;
    for node in sources {
        if let Some(hash) = pinned {
            match bounded(node, "block 0", nodes.genesis_hash(node, channel).boxed()).await {
                Observation::Present { value } if value != hash => {
                    evidence.push(format!("{node} holds block 0 {value} instead of {hash}"));
                    continue;
                }
                Observation::Present { .. } => {}
                other => {
                    evidence.extend(other.evidence().map(str::to_owned));
                    continue;
                }
            }
        }
        match bounded(node, "config block", nodes.config_block(node, channel).boxed()).await {
            Observation::Present { value } => match live_channel(&value) {
                Ok(value) => return Observation::Present { value },
                Err(why) => evidence.push(format!("config block {} of {node}: {why}", value.number())),
            },
            other => {
                forbidden += usize::from(matches!(other, Observation::Forbidden { .. }));
                evidence.extend(other.evidence().map(str::to_owned));
            }
        }
    }
    if sources.is_empty() {
        return Observation::Unreachable { evidence: format!("no own node is known to hold channel {channel}") };
    }
    let all_forbidden = forbidden == sources.len();
    let evidence = evidence.join("; ");
    if all_forbidden { Observation::Forbidden { evidence } } else { Observation::Unreachable { evidence } }
}
