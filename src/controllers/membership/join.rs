//! Looks at one organization in one channel and does what was decided, by nothing but [`Nodes`].

use std::collections::BTreeMap;

use futures::future::FutureExt as _;
use tenter_consortium::objects::{LABEL_CONSORTIUM, LABEL_ORGANIZATION, MembershipSpec};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{JoinRecord, NodeChannel, NodeRef, PinnedGenesis};

use super::decide::{Action, Asked, PeerView, View};
use crate::controllers::Failure;
use crate::controllers::apply::MANAGED_BY;
use crate::nodes::records::{self, Pinned, block_hash, read_pinned};
use crate::nodes::{Joined, Node, Nodes, Ordering, chain};
use crate::observe::channel::{self, bounded, each};

/// What was seen of a membership.
pub struct Seen {
    /// What is decided on.
    pub view: View,
    /// The pinned genesis block.
    pub pinned: Option<Pinned>,
    /// The organization's peers.
    pub peers: BTreeMap<NodeRef, Node>,
}

/// The nodes that a membership is about.
#[derive(Clone, Debug, Default)]
pub struct Parties {
    /// Consenters of the channel that this daemon acts for, whatever their organization.
    pub consenters: Vec<Node>,
    /// Consenters of other members, as this organization asks them: where no own one orders.
    pub others: Vec<Node>,
    /// The organization's peers that have an object.
    pub peers: Vec<Node>,
    /// The organization's peers that cannot be asked, and why.
    pub unknown: BTreeMap<NodeRef, String>,
    /// What the channel's object says of the organization.
    pub asked: Asked,
}

/// Looks at everything that the decision needs. The orderers are asked before the peers: a peer that has
/// as many blocks as they had is not behind.
pub async fn look(nodes: &Nodes, namespace: &str, spec: &MembershipSpec, parties: Parties) -> Seen {
    let name = &spec.channel;
    let own = |node: &&Node| spec.orderers.contains(&node.reference.name);
    let (pinned, heights) = tokio::join!(
        read_pinned(nodes.store(), namespace, name, block_hash),
        each(&parties.consenters, |node| bounded(node, "newest block", nodes.ordering(node, name).boxed())),
    );
    let mut heights = heights;
    if !matches!(serving(name, &heights), Observation::Present { .. }) {
        let ask = |node| bounded(node, "newest block", nodes.ordering(node, name).boxed());
        heights.extend(each(&parties.others, ask).await);
    }
    let ordering = serving(name, &heights);
    let leaders: Vec<Node> = parties
        .consenters
        .iter()
        .chain(&parties.others)
        .filter(|node| {
            matches!(heights.get(&node.reference), Some(Observation::Present { value: Ordering::Serving { .. } }))
        })
        .cloned()
        .collect();
    let own_orderers: Vec<Node> = parties.consenters.iter().filter(own).cloned().collect();
    let hash = pinned.value().map(|pinned| pinned.hash.clone());
    let (config, orderers, mut peers) = tokio::join!(
        channel::config(nodes, &leaders, name, hash.as_deref()),
        each(&own_orderers, |node| channel::orderer(nodes, node, name)),
        each(&parties.peers, |node| look_at(nodes, node, name)),
    );
    for (reference, why) in parties.unknown {
        let live = Observation::Unreachable { evidence: why.clone() };
        let genesis = Observation::Unreachable { evidence: why };
        peers.insert(reference, PeerView { channel: NodeChannel { live, record: JoinRecord::None }, genesis });
    }
    let admitted = config.map(|live| {
        live.facts.members.contains_key(&spec.msp_id)
            || (spec.peers.is_empty() && live.facts.orderer_organizations.contains_key(&spec.msp_id))
    });
    let view = View {
        channel: name.clone(),
        organization: spec.organization.clone(),
        genesis: pinned.clone().map(|pinned| PinnedGenesis { hash: pinned.hash }),
        ordering,
        earlier: None,
        settled: false,
        admitted,
        asked: parties.asked,
        orderers,
        peers,
    };
    let peers = parties.peers.into_iter().map(|node| (node.reference.clone(), node)).collect();
    Seen { view, pinned: pinned.value().cloned(), peers }
}

async fn look_at(nodes: &Nodes, node: &Node, channel: &str) -> PeerView {
    let seen = channel::peer(nodes, node, channel).await;
    let genesis = if seen.live.value().is_some() {
        bounded(node, "block 0", nodes.genesis_hash(node, channel).boxed()).await
    } else {
        Observation::Unreachable { evidence: format!("{node} was not asked for block 0 of channel {channel}") }
    };
    PeerView { channel: seen, genesis }
}

/// The most blocks that an orderer with a leader has.
fn serving(channel: &str, heights: &BTreeMap<NodeRef, Observation<Ordering>>) -> Observation<u64> {
    let best = heights.values().filter_map(|seen| match seen {
        Observation::Present { value: Ordering::Serving { height } } => Some(*height),
        _ => None,
    });
    if let Some(value) = best.max() {
        return Observation::Present { value };
    }
    let said: Vec<String> = heights
        .iter()
        .map(|(node, seen)| match seen.evidence() {
            Some(evidence) => evidence.to_owned(),
            None => format!("{node} has no leader"),
        })
        .collect();
    // Orderers refuse to deliver to whoever is not in the channel.
    let forbidden = heights.values().any(|seen| matches!(seen, Observation::Forbidden { .. }));
    if forbidden && heights.values().all(|seen| seen.evidence().is_some()) {
        return Observation::Forbidden { evidence: said.join("; ") };
    }
    let evidence =
        if said.is_empty() { format!("no consenter of channel {channel} is known") } else { said.join("; ") };
    Observation::Unreachable { evidence }
}

/// What came of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Performed {
    /// It is done.
    Done,
    /// The peer has the channel's ledger and does not serve it: a join stopped half way. A peer that starts completes it, or
    /// removes what there is of it (`deletePartialLedgers` in `core/ledger/kvledger/kv_ledger_provider.go`).
    HalfJoined,
}

/// Does one thing that was decided on what was seen.
pub async fn perform(nodes: &Nodes, spec: &MembershipSpec, seen: &Seen, action: &Action) -> Result<Performed, Failure> {
    let (Action::Join(reference) | Action::Record(reference)) = action;
    let missing = |what: &str| Failure::new("JoinPeer", format!("{what}; it is looked at again"));
    let node = seen.peers.get(reference).ok_or_else(|| missing("the peer has no object"))?;
    let pinned = seen.pinned.as_ref().ok_or_else(|| missing("no genesis block is pinned"))?;
    match action {
        Action::Join(_) => {
            let joined =
                nodes.join_peer(node, &pinned.block).await.map_err(|error| Failure::new("JoinPeer", chain(&error)))?;
            let half = joined == Joined::Before && channel::peer(nodes, node, &spec.channel).await.live.is_absent();
            Ok(if half { Performed::HalfJoined } else { Performed::Done })
        }
        Action::Record(_) => {
            let labels = BTreeMap::from([
                (MANAGED_BY.to_owned(), "tenter".to_owned()),
                (LABEL_CONSORTIUM.to_owned(), spec.consortium.clone()),
                (LABEL_ORGANIZATION.to_owned(), spec.organization.clone()),
            ]);
            records::record(nodes.store(), reference, &spec.channel, labels, &pinned.hash)
                .await
                .map_err(|error| Failure::new("RecordJoin", chain(&error)))?;
            Ok(Performed::Done)
        }
    }
}
