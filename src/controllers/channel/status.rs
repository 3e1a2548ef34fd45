//! What a Channel's and a Membership's status say of nodes, as pure functions.

use std::collections::BTreeMap;

use tenter_consortium::observed::{JoinRecord, NodeChannel, NodeRef};
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

/// `joined/all`.
pub fn ratio(joined: usize, all: usize) -> String {
    format!("{joined}/{all}")
}

/// A channel's status. `peers` are the memberships' own counts: joined, and all.
pub fn channel_status(seen: &Seen, decision: &Decision, peers: (usize, usize)) -> ChannelStatus {
    let nodes: BTreeMap<&NodeRef, NodeChannelStatus> = seen
        .view
        .orderers
        .iter()
        .map(|(node, view)| {
            let relation = view.channel.live.value().map(|live| live.relation.clone());
            (node, node_status(node, &view.channel, relation))
        })
        .collect();
    let joined = seen.view.orderers.values().filter(|view| view.channel.live.value().is_some()).count();
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
