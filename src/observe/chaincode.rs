//! What this daemon's own peers say of one chaincode.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use tenter_consortium::chaincode::{PACKAGE_KEY, in_words_of, next, package_id};
use tenter_consortium::objects::ChaincodeSpec;
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{DefinitionAuthor, NodeRef, ObservedChaincode, PeerChannel};
use tenter_consortium::settings::organization_allowed;
use tenter_fabric::chaincode::transaction::transactions;
use tenter_fabric::chaincode::{Approved, Committed, Definition};

use tokio::time::timeout;

use super::channel::{bounded, each};
use crate::nodes::{Node, NodeKind, Nodes};

/// Longest search for whoever committed a definition.
const SEARCH: Duration = Duration::from_secs(10);
/// How long a peer may take to get the blocks that others have, before what it does not know counts as not told.
const CATCH_UP: Duration = Duration::from_secs(3);
/// How often it is asked meanwhile.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How many blocks are looked through, from the newest on, for the commit of a definition.
const BLOCKS: u64 = 200;

/// What was seen of a chaincode.
pub struct Seen {
    /// For plan and decision.
    pub observed: ObservedChaincode,
    /// Own peers that are not in the channel, and why that is known or not.
    pub outside: BTreeMap<NodeRef, String>,
    /// Whether every own peer says that it is not in the channel.
    pub pending: bool,
    /// All own peers that are asked.
    pub peers: Vec<Node>,
    /// Those that serve the channel, the furthest first.
    pub joined: Vec<Node>,
}

/// The own peers of a chaincode's members.
pub fn own_peers(spec: &ChaincodeSpec, organizations: &[String]) -> Vec<Node> {
    let own = spec.members.iter().filter(|member| organization_allowed(&member.organization, organizations));
    own.flat_map(|member| {
        member.peers.iter().map(|peer| Node {
            reference: NodeRef { namespace: member.namespace.clone(), name: peer.clone() },
            kind: NodeKind::Peer,
            msp_id: member.msp_id.clone(),
            // Own nodes are reached by their Service's name.
            address: format!("{peer}.{}.svc", member.namespace),
            foreign: None,
        })
    })
    .collect()
}

/// Asks the own peers about a chaincode. `namespace` is the consortium's. `tip` tells how many blocks own orderers have,
/// 0 where none is asked.
pub async fn look(
    nodes: &Nodes,
    (namespace, spec, organizations): (&str, &ChaincodeSpec, &[String]),
    wanted: &Definition,
    tip: BoxFuture<'_, u64>,
) -> Seen {
    let peers = own_peers(spec, organizations);
    let (channel, name) = (spec.channel.as_str(), spec.name.as_str());
    let (channels, installed, package, tip) = tokio::join!(
        each(&peers, |node| bounded(node, "channels", nodes.peer_channel(node, channel).boxed())),
        each(&peers, |node| bounded(node, "installed chaincodes", nodes.installed(node).boxed())),
        package(nodes, namespace, spec),
        tip
    );
    let mut joined: Vec<(u64, Node)> = Vec::new();
    let mut outside = BTreeMap::new();
    for peer in &peers {
        match &channels[&peer.reference] {
            Observation::Present { value: PeerChannel { height } } => joined.push((*height, peer.clone())),
            Observation::Absent { .. } => {
                outside.insert(peer.reference.clone(), format!("it has not joined channel {channel} yet"));
            }
            Observation::Forbidden { evidence } | Observation::Unreachable { evidence } => {
                outside.insert(peer.reference.clone(), evidence.clone());
            }
        }
    }
    // A peer that lags behind knows older definitions: the others are asked as well, and the newest answer counts.
    joined.sort_by(|(one, a), (two, b)| two.cmp(one).then_with(|| a.reference.cmp(&b.reference)));
    let height = joined.first().map_or(0, |(height, _)| *height);
    let behind = behind(nodes, &joined, channel, tip.max(height)).await;
    let joined: Vec<Node> = joined.into_iter().map(|(_, node)| node).collect();
    let committed =
        each(&joined, |node| bounded(node, "definition", nodes.committed_chaincode(node, channel, name).boxed())).await;
    let committed = newest(
        joined.iter().map(|node| &committed[&node.reference]),
        |committed: &Committed| committed.sequence,
        || format!("no own peer serves channel {channel} yet{}", why(&outside)),
    );
    // The order that the ledger has: peers compare bytes.
    let wanted = &match committed.value() {
        Some(committed) => in_words_of(wanted.clone(), &committed.definition),
        None => wanted.clone(),
    };
    let next = next(committed.value(), wanted);
    let committed = match joined.first().and_then(|node| behind.get(&node.reference)) {
        // A later definition may be in the blocks that are missing.
        Some(why) if next.is_change() && (committed.is_absent() || committed.value().is_some()) => {
            Observation::Unreachable { evidence: why.clone() }
        }
        _ => committed,
    };
    let sequence = next.sequence();
    let approved = each(&joined, |node| {
        bounded(node, "approval", nodes.approved_chaincode(node, channel, name, sequence).boxed())
    })
    .await;
    let mut approvals = BTreeMap::new();
    for msp_id in peers.iter().map(|peer| &peer.msp_id).collect::<BTreeSet<_>>() {
        let package = package_id(spec).ok();
        let of_member = joined.iter().filter(|node| node.msp_id == *msp_id);
        let answers: Vec<Observation<Approved>> = of_member
            .map(|node| {
                let answer = approved[&node.reference].clone();
                // What is given stays given. What is missing may be in blocks that this peer does not have.
                let given = answer.value().is_some_and(|approved| {
                    approved.sequence == sequence
                        && approved.package_id == package
                        && approved.definition.differences(wanted).is_empty()
                });
                let lacks = answer.is_absent() || answer.value().is_some();
                match behind.get(&node.reference).filter(|_| lacks && !given) {
                    Some(why) => Observation::Unreachable { evidence: why.clone() },
                    None => answer,
                }
            })
            .collect();
        let none = || format!("no peer of {msp_id} serves channel {channel} yet{}", why(&outside));
        let approved = newest(answers.iter(), |approved: &Approved| approved.sequence, none);
        // An approval is endorsed by the organization's own peers: where none has joined, there is none.
        let mut own = peers.iter().filter(|peer| peer.msp_id == *msp_id);
        let approved = if own.all(|peer| channels[&peer.reference].is_absent()) {
            Observation::Absent { evidence: none() }
        } else {
            approved
        };
        approvals.insert(msp_id.clone(), approved);
    }
    let known = committed.value().is_some() || committed.is_absent();
    let differs = known && next.is_change();
    let readiness = if differs {
        readiness(nodes, &joined, channel, wanted, sequence).await
    } else {
        Observation::Unreachable { evidence: "it is not asked of a definition that is in force".to_owned() }
    };
    let author = match &committed {
        Observation::Present { value } if differs => {
            let search = author(nodes, &joined, spec, value.sequence, height);
            timeout(SEARCH, search.boxed()).await.unwrap_or_default()
        }
        _ => None,
    };
    let observed = ObservedChaincode { committed, author, approvals, readiness, installed, package };
    let pending = channels.values().all(Observation::is_absent);
    Seen { observed, outside, pending, peers, joined }
}

/// Why peers that serve a channel cannot tell what is missing: they do not get the blocks that others have.
async fn behind(nodes: &Nodes, joined: &[(u64, Node)], channel: &str, tip: u64) -> BTreeMap<NodeRef, String> {
    let late: Vec<Node> = joined.iter().filter(|(height, _)| *height < tip).map(|(_, node)| node.clone()).collect();
    let heights = each(&late, |node| catch_up(nodes, node, channel, tip)).await;
    let behind = joined.iter().filter_map(|(first, node)| {
        let height = heights.get(&node.reference)?.unwrap_or(*first);
        let why = || {
            format!("peer {node} has {height} of {tip} blocks of channel {channel}: it gets none, or is catching up")
        };
        (height < tip).then(|| (node.reference.clone(), why()))
    });
    behind.collect()
}

/// Waits a moment for a peer to have so many blocks. Gives how many it had last, if it said so.
async fn catch_up(nodes: &Nodes, node: &Node, channel: &str, tip: u64) -> Option<u64> {
    let mut height = None;
    let asking = async {
        loop {
            if let Observation::Present { value } = nodes.peer_channel(node, channel).await {
                height = Some(value.height);
                if value.height >= tip {
                    break;
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    // What it had last is what counts, whether or not it was enough.
    let _ = timeout(CATCH_UP, asking.boxed()).await;
    height
}

fn why(outside: &BTreeMap<NodeRef, String>) -> String {
    let parts: Vec<String> =
        outside.iter().map(|(node, why)| format!("; {}/{}: {why}", node.namespace, node.name)).collect();
    parts.concat()
}

/// The answer with the highest sequence; that there is none only if the peer that is furthest says so, and none says
/// otherwise.
fn newest<'a, T: Clone + 'a>(
    answers: impl Iterator<Item = &'a Observation<T>>,
    sequence: impl Fn(&T) -> i64,
    none: impl FnOnce() -> String,
) -> Observation<T> {
    let answers: Vec<&Observation<T>> = answers.collect();
    let present = answers.iter().filter_map(|answer| answer.value()).max_by_key(|value| sequence(value));
    if let Some(value) = present {
        return Observation::Present { value: value.clone() };
    }
    answers.first().map_or_else(|| Observation::Unreachable { evidence: none() }, |answer| (*answer).clone())
}

async fn readiness(
    nodes: &Nodes,
    joined: &[Node],
    channel: &str,
    wanted: &Definition,
    sequence: i64,
) -> Observation<BTreeMap<String, bool>> {
    let mut last = Observation::Unreachable { evidence: format!("no own peer serves channel {channel} yet") };
    for node in joined {
        let question = nodes.readiness(node, channel, wanted, sequence).boxed();
        last = bounded(node, "commit readiness", question).await;
        if last.value().is_some() {
            break;
        }
    }
    last
}

/// The package's bytes, where they come from the repository.
async fn package(nodes: &Nodes, namespace: &str, spec: &ChaincodeSpec) -> Observation<()> {
    let Some(reference) = &spec.source.package else { return Observation::Present { value: () } };
    match nodes.store().config_map(namespace, &reference.config_map).await {
        Observation::Present { value } if value.contains_key(PACKAGE_KEY) => Observation::Present { value: () },
        Observation::Present { .. } => Observation::Unreachable {
            evidence: format!("ConfigMap {namespace}/{} has no {PACKAGE_KEY}", reference.config_map),
        },
        other => other.map(|_| ()),
    }
}

/// Who committed the definition in force: the newest blocks are looked through for it.
async fn author(
    nodes: &Nodes,
    joined: &[Node],
    spec: &ChaincodeSpec,
    sequence: i64,
    height: u64,
) -> Option<DefinitionAuthor> {
    let node = joined.first()?;
    let members: BTreeSet<&str> = spec.members.iter().map(|member| member.msp_id.as_str()).collect();
    for number in (height.saturating_sub(BLOCKS)..height).rev() {
        let block = bounded(node, "block", nodes.block(node, &spec.channel, number).boxed()).await;
        let Observation::Present { value: block } = block else { return None };
        let commit = transactions(&block).into_iter().find(|transaction| {
            let commits = transaction.committed.as_ref();
            transaction.is_valid() && commits.is_some_and(|(name, at)| *name == spec.name && *at == sequence)
        });
        if let Some(creator) = commit.and_then(|transaction| transaction.creator) {
            let node_admin = creator.subject.starts_with("CN=node-admin.");
            return Some(DefinitionAuthor {
                block: number,
                foreign: !(node_admin && members.contains(creator.msp_id.as_str())),
                creator: creator.to_string(),
            });
        }
    }
    None
}
