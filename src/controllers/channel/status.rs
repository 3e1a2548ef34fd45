//! What a Channel's and a Membership's status say of nodes, as pure functions.

use std::collections::BTreeMap;

use tenter_consortium::observed::{JoinRecord, NodeChannel, NodeRef, OrdererChannel};
use tenter_consortium::status::{ChannelStatus, NodeChannelStatus};

use super::decide::Decision;
use super::form::Seen;

/// What a node says. Heights are left out: they move with every block, and a status that is in sync is not written.
pub fn node_status<T>(node: &NodeRef, seen: &NodeChannel<T>, relation: Option<String>) -> NodeChannelStatus {
    let lost = seen.live.is_absent() && seen.record == JoinRecord::Joined;
    NodeChannelStatus {
        node: node.to_string(),
        state: if lost { "dataLost" } else { seen.live.word() }.to_owned(),
        relation,
        evidence: seen.live.evidence().map(str::to_owned),
    }
}

/// What an orderer says. A channel that is being removed, or does not run, is not present.
pub fn orderer_status(node: &NodeRef, seen: &NodeChannel<OrdererChannel>, unknown: Option<&str>) -> NodeChannelStatus {
    let live = seen.live.value();
    let relation = live.map(|live| live.relation.clone()).or_else(|| unknown.map(str::to_owned));
    let mut status = node_status(node, seen, relation);
    if let Some(live) = live.filter(|live| !matches!(live.status.as_str(), "active" | "onboarding")) {
        status.state.clone_from(&live.status);
    }
    status
}

/// `joined/all`.
pub fn ratio(joined: usize, all: usize) -> String {
    format!("{joined}/{all}")
}

/// A channel's status. `peers` are the memberships' own counts: joined, and all.
pub fn channel_status(seen: &Seen, decision: &Decision, peers: (usize, usize)) -> ChannelStatus {
    let nodes: BTreeMap<&NodeRef, NodeChannelStatus> =
        seen.view.orderers.iter().map(|(node, view)| (node, orderer_status(node, &view.channel, None))).collect();
    let joined = seen.view.orderers.values().filter(|view| view.takes_part()).count();
    ChannelStatus {
        phase: Some(decision.phase),
        genesis: seen.pinned.as_ref().map(|pinned| pinned.hash.clone()),
        config_sequence: seen.config.value().map(|config| config.sequence),
        consenters: Some(ratio(joined, seen.view.consenters)),
        peers: Some(ratio(peers.0, peers.1)),
        drift: seen.view.differences.value().cloned().unwrap_or_default(),
        nodes: nodes.into_values().collect(),
        ..ChannelStatus::default()
    }
}
