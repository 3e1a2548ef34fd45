//! What to do about one organization in one channel, as a pure function of what was seen of it.
//!
//! A peer is joined with the pinned genesis block only, when the channel orders (a peer that joins earlier
//! cannot fetch a block, and would say nothing about why). A peer on record that says Absent has lost its
//! data: joining it again is safe for the channel, but its private data is gone, so a person decides.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{JoinRecord, NodeChannel, NodeRef, OrdererChannel, PeerChannel, PinnedGenesis};
use tenter_consortium::status::{MembershipPhase as Phase, OpenProposal};

use crate::controllers::outlook::{Outlook, Wait};

/// How many seconds a peer may need to have a block that the orderers have.
const DELIVERY: i64 = 10;
/// How many blocks behind the orderers a peer that had caught up may be, whatever the traffic.
const FAR: u64 = 1000;

/// What the orderers had a while ago: blocks that every peer has by now, if it makes progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heights {
    newest: Option<(Timestamp, u64)>,
    earlier: Option<u64>,
}

impl Heights {
    /// Notes what the orderers have now. Gives what they had at least ten seconds before, if that is known.
    pub fn note(&mut self, height: u64, now: Timestamp) -> Option<u64> {
        match self.newest {
            Some((at, _)) if now.as_second() - at.as_second() < DELIVERY => {}
            newest => {
                self.earlier = newest.map(|(_, height)| height);
                self.newest = Some((now, height));
            }
        }
        self.earlier
    }
}

/// What a channel's object says of an organization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Whether its spec releases the organization.
    pub released: bool,
    /// Whether its spec names the organization as a member.
    pub named: bool,
    /// The open Proposal that admits it.
    pub proposal: Option<String>,
    /// Proposals that wait for its vote.
    pub votes: Vec<OpenProposal>,
}

/// One own peer's view of the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// What the peer says, and what is on record.
    pub channel: NodeChannel<PeerChannel>,
    /// Header hash, hex, of the block 0 that it holds.
    pub genesis: Observation<String>,
}

/// All that is known of a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The channel.
    pub channel: String,
    /// The organization.
    pub organization: String,
    /// The pinned genesis block.
    pub genesis: Observation<PinnedGenesis>,
    /// Number of blocks of the ordering service, asked before the peers; absent when it has no leader.
    pub ordering: Observation<u64>,
    /// What the orderers had a while ago ([`Heights`]).
    pub earlier: Option<u64>,
    /// Whether the membership was active already.
    pub settled: bool,
    /// Whether the live configuration has the organization's MSP.
    pub admitted: Observation<bool>,
    /// What the channel's object says of the organization.
    pub asked: Asked,
    /// The organization's orderers that are consenters, to show.
    pub orderers: BTreeMap<NodeRef, NodeChannel<OrdererChannel>>,
    /// The organization's peers that are to join.
    pub peers: BTreeMap<NodeRef, PeerView>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Join a peer to the pinned genesis block.
    Join(NodeRef),
    /// Write down that a peer holds the channel.
    Record(NodeRef),
}

/// What to do, and what to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where the membership stands.
    pub phase: Phase,
    /// What a reader sees.
    pub outlook: Outlook,
    /// What to do now.
    pub actions: Vec<Action>,
}

impl Decision {
    fn new(phase: Phase, outlook: Outlook) -> Self {
        Self { phase, outlook, actions: Vec::new() }
    }
}

/// Decides about a membership.
pub fn decide(view: &View) -> Decision {
    let hash = match &view.genesis {
        Observation::Present { value } => &value.hash,
        Observation::Absent { evidence } => {
            return Decision::new(
                Phase::Invited,
                Outlook::waiting(
                    Wait::Dependency,
                    "ChannelPending",
                    format!("waiting for channel {} to have a genesis block: {evidence}", view.channel),
                ),
            );
        }
        Observation::Forbidden { evidence } | Observation::Unreachable { evidence } => {
            return Decision::new(
                Phase::Invited,
                Outlook::waiting(
                    Wait::Dependency,
                    "GenesisUnreadable",
                    format!("the pinned genesis block of channel {} could not be read: {evidence}", view.channel),
                ),
            );
        }
    };
    let mut decision = judge(view, hash);
    let records = view
        .peers
        .iter()
        .filter(|(_, peer)| {
            peer.channel.live.value().is_some()
                && peer.channel.record == JoinRecord::None
                && peer.genesis.value().is_some_and(|live| live == hash)
        })
        .map(|(node, _)| Action::Record(node.clone()));
    decision.actions.extend(records);
    decision
}

fn judge(view: &View, hash: &str) -> Decision {
    if let Some(decision) = leaving(view) {
        return decision;
    }
    let absent = nodes(view, |peer| peer.channel.live.is_absent() && peer.channel.record == JoinRecord::None);
    let lost = nodes(view, |peer| peer.channel.live.is_absent() && peer.channel.record == JoinRecord::Joined);
    let stop = mismatch(view, hash).or_else(|| (!lost.is_empty()).then(|| data_lost(view, &lost)));
    if let Some(outlook) = stop {
        // What is wrong with one peer concerns no other.
        let actions = if absent.is_empty() { Vec::new() } else { join(view, absent).actions };
        return Decision { phase: Phase::Joining, outlook, actions };
    }
    if view.peers.is_empty() {
        return without_peers(view);
    }
    if view.ordering.value().is_some()
        && let Some((phase, outlook)) = not_admitted(view)
    {
        return Decision::new(phase, outlook);
    }
    if absent.is_empty() {
        return joined(view);
    }
    if let Observation::Forbidden { evidence } = &view.ordering {
        let phase = if view.asked.proposal.is_some() { Phase::Proposed } else { Phase::Invited };
        let message = format!(
            "waiting for the members of channel {} to sign the update that admits {}; until then its orderers refuse: {evidence}",
            view.channel, view.organization
        );
        return Decision::new(phase, Outlook::waiting(Wait::Dependency, "NotAdmitted", message));
    }
    join(view, absent)
}

fn nodes(view: &View, which: impl Fn(&PeerView) -> bool) -> Vec<NodeRef> {
    view.peers.iter().filter(|(_, peer)| which(peer)).map(|(node, _)| node.clone()).collect()
}

fn mismatch(view: &View, hash: &str) -> Option<Outlook> {
    let wrong: Vec<String> = view
        .peers
        .iter()
        .filter_map(|(node, peer)| {
            let live = peer.genesis.value()?;
            (live != hash).then(|| format!("{node} holds {live}"))
        })
        .collect();
    (!wrong.is_empty()).then(|| {
        Outlook::stalled(
            "GenesisMismatch",
            format!(
                "the pinned genesis block of channel {} is {hash}, but {}; these are different channels of one name: stop the \
                 peer that is wrong and let it leave the channel (peer node unjoin)",
                view.channel,
                wrong.join(", ")
            ),
        )
    })
}

fn data_lost(view: &View, lost: &[NodeRef]) -> Outlook {
    let parts: Vec<String> = lost
        .iter()
        .map(|node| {
            format!(
                "{node} had joined channel {channel} and no longer holds it: its volume was emptied; restore the volume, or \
                 delete the entry {channel} of ConfigMap {namespace}/{name}-ledgers to have it joined again without its \
                 private data",
                channel = view.channel,
                namespace = node.namespace,
                name = node.name
            )
        })
        .collect();
    Outlook::stalled("DataLost", parts.join(". "))
}

/// The ordering service's reason not to join yet, if any.
fn not_ordering(view: &View) -> Option<Outlook> {
    let why = match &view.ordering {
        Observation::Present { .. } => return None,
        Observation::Absent { evidence }
        | Observation::Forbidden { evidence }
        | Observation::Unreachable { evidence } => evidence,
    };
    Some(Outlook::waiting(
        Wait::Soon,
        "ChannelNotOrdering",
        format!("waiting for channel {} to order: {why}", view.channel),
    ))
}

/// What an organization waits for that is not in the channel's configuration: a phase, and what to say.
fn not_admitted(view: &View) -> Option<(Phase, Outlook)> {
    match &view.admitted {
        Observation::Present { value: false } | Observation::Absent { .. } => {}
        Observation::Present { value: true } | Observation::Forbidden { .. } | Observation::Unreachable { .. } => {
            return None;
        }
    }
    let (organization, channel) = (&view.organization, &view.channel);
    Some(match &view.asked {
        Asked { proposal: Some(proposal), .. } => (
            Phase::Proposed,
            Outlook::waiting(
                Wait::Dependency,
                "AdmissionProposed",
                format!("waiting for Proposal {proposal}, which admits {organization} to channel {channel}"),
            ),
        ),
        Asked { named: true, .. } => (
            Phase::Invited,
            Outlook::waiting(
                Wait::Dependency,
                "NotProposed",
                format!(
                    "waiting for a Proposal that admits {organization} to channel {channel}; the Channel object says more"
                ),
            ),
        ),
        Asked { named: false, .. } => (
            Phase::Invited,
            Outlook::stalled(
                "NotAMember",
                format!(
                    "{organization} is not in the configuration of channel {channel}, and the Channel object does not name it: \
                     add it to the channel's members"
                ),
            ),
        ),
    })
}

/// An organization that the channel's object releases.
fn leaving(view: &View) -> Option<Decision> {
    if !view.asked.released {
        return None;
    }
    let (organization, channel) = (&view.organization, &view.channel);
    let gone = matches!(view.admitted, Observation::Present { value: false });
    let outlook = if let Observation::Forbidden { evidence } = &view.ordering {
        let message = format!("the orderers of channel {channel} let {organization} read no more: {evidence}");
        Outlook::ready("Left", message)
    } else if gone {
        Outlook::ready("Left", format!("{organization} is no longer in the configuration of channel {channel}"))
    } else {
        let message = format!("waiting until the configuration of channel {channel} no longer has {organization}");
        Outlook::waiting(Wait::Dependency, "Leaving", message)
    };
    Some(Decision::new(Phase::Leaving, outlook))
}

/// An organization that only orders is a member in good standing when the channel orders.
fn without_peers(view: &View) -> Decision {
    if let Some(outlook) = not_ordering(view) {
        return Decision::new(Phase::Admitted, outlook);
    }
    Decision::new(
        Phase::Active,
        Outlook::ready(
            "Ordering",
            format!("channel {} orders; {} has no peers in it", view.channel, view.organization),
        ),
    )
}

fn join(view: &View, absent: Vec<NodeRef>) -> Decision {
    if let Some(outlook) = not_ordering(view) {
        return Decision::new(Phase::Admitted, outlook);
    }
    let names: Vec<String> = absent.iter().map(ToString::to_string).collect();
    Decision {
        phase: Phase::Joining,
        outlook: Outlook::acting("JoiningPeers", format!("joining {} to channel {}", names.join(", "), view.channel)),
        actions: absent.into_iter().map(Action::Join).collect(),
    }
}

/// No peer is missing: each has joined, or could not be asked.
fn joined(view: &View) -> Decision {
    let silent: Vec<String> = view
        .peers
        .iter()
        .filter_map(|(node, peer)| Some(format!("{node} ({})", peer.channel.live.evidence()?)))
        .collect();
    if !silent.is_empty() {
        let phase = if view.peers.values().all(|peer| peer.channel.record == JoinRecord::Joined) {
            Phase::Syncing
        } else {
            Phase::Joining
        };
        return Decision::new(
            phase,
            Outlook::waiting(
                Wait::Dependency,
                "PeerUnreachable",
                format!("waiting until every peer answers: {}", silent.join("; ")),
            ),
        );
    }
    let Observation::Present { value: height } = view.ordering else {
        let outlook = not_ordering(view).unwrap_or_else(|| {
            Outlook::waiting(Wait::Soon, "ChannelNotOrdering", format!("channel {} does not order", view.channel))
        });
        return Decision::new(Phase::Syncing, outlook);
    };
    // The orderers' newest block is on its way to the peers all the time: once a peer had caught up, it is behind when
    // it lacks what it had time to fetch.
    let due = match view.earlier {
        Some(earlier) => earlier.max(height.saturating_sub(FAR)),
        None if view.settled => height.saturating_sub(FAR),
        None => height,
    };
    let behind: Vec<String> = view
        .peers
        .iter()
        .filter_map(|(node, peer)| {
            let value = peer.channel.live.value()?;
            (value.height < due).then(|| format!("{node} holds {} of {height} blocks", value.height))
        })
        .collect();
    if !behind.is_empty() {
        return Decision::new(
            Phase::Syncing,
            Outlook::waiting(Wait::Soon, "PeersBehind", format!("channel {}: {}", view.channel, behind.join(", "))),
        );
    }
    Decision::new(
        Phase::Active,
        Outlook::ready(
            "Joined",
            format!("{} of {} peers hold channel {}", view.peers.len(), view.peers.len(), view.channel),
        ),
    )
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
