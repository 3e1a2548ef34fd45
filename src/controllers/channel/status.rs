//! What a Channel's and a Membership's status say of nodes, as pure functions.

use std::collections::{BTreeMap, BTreeSet};

use tenter_consortium::objects::ChannelSpec;
use tenter_consortium::observed::{JoinRecord, LiveChannel, NodeChannel, NodeRef, OrdererChannel};
use tenter_consortium::status::{ChannelStatus, ForeignMember, MembershipPhase, NodeChannelStatus};

use super::config::{ConfigView, ProposalSeen};
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

/// How far the members are that other daemons act for. Whether their peers have joined is theirs to know.
pub fn foreign_members(
    spec: &ChannelSpec,
    foreign: &[String],
    config: Option<&LiveChannel>,
    proposals: &[ProposalSeen],
) -> Vec<ForeignMember> {
    let members = spec.members.iter().map(|member| (&member.organization, &member.msp_id));
    let orderers = spec.orderer_organizations.iter().map(|entry| (&entry.organization, &entry.msp_id));
    let named: BTreeMap<&String, &String> = orderers.chain(members).collect();
    let mut found = Vec::new();
    for (organization, msp_id) in named.into_iter().filter(|(name, _)| foreign.contains(name)) {
        let admitted = config.is_some_and(|live| {
            live.facts.members.contains_key(msp_id) || live.facts.orderer_organizations.contains_key(msp_id)
        });
        let topic = format!("member/{organization}");
        let proposal = proposals.iter().find(|seen| seen.topic == topic && seen.is_open());
        let (phase, message) = match (admitted, config, proposal) {
            (true, ..) => (MembershipPhase::Admitted, None),
            (false, None, _) => {
                let material = format!("its folder organizations/{organization} and the channel's genesis block");
                (MembershipPhase::Invited, Some(format!("waiting for {material}")))
            }
            (false, Some(_), Some(seen)) => {
                (MembershipPhase::Proposed, Some(format!("{}: {}", seen.name, seen.message)))
            }
            (false, Some(_), None) => (MembershipPhase::Invited, Some("no proposal that admits it is open".to_owned())),
        };
        found.push(ForeignMember { organization: organization.clone(), phase, message });
    }
    let gone = |name: &&String| foreign.contains(name) && !found.iter().any(|member| member.organization == **name);
    let leaving: Vec<ForeignMember> = spec
        .retired
        .iter()
        .filter(gone)
        .map(|name| ForeignMember { organization: name.clone(), phase: MembershipPhase::Leaving, message: None })
        .collect();
    found.extend(leaving);
    found
}

/// What the live configuration lacks, with who changed what is put back.
fn drift(config: &ConfigView) -> Vec<String> {
    let lines = config.topics.iter().flat_map(|topic| topic.changes.iter().chain(&topic.drift));
    lines.chain(&config.refused).cloned().collect()
}

/// Names of the proposals that are to change it.
fn open_proposals(config: &ConfigView) -> Vec<String> {
    let proposals = config.topics.iter().filter_map(|topic| topic.proposal.as_ref());
    proposals.filter(|proposal| proposal.is_open()).map(|proposal| proposal.name.clone()).collect()
}

fn addresses(seen: &Seen, which: impl Fn(&ConfigView) -> &BTreeSet<String>) -> Vec<String> {
    seen.view.config.value().map(|config| which(config).iter().cloned().collect()).unwrap_or_default()
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
        coming: addresses(seen, |config| &config.coming_addresses),
        leaving: addresses(seen, |config| &config.leaving),
        peers: Some(ratio(peers.0, peers.1)),
        drift: seen.view.config.value().map(drift).unwrap_or_default(),
        members: seen.members.clone(),
        proposals: seen.view.config.value().map(open_proposals).unwrap_or_default(),
        nodes: nodes.into_values().collect(),
        ..ChannelStatus::default()
    }
}
