//! What to do about a channel, as a pure function of what was seen of it.
//!
//! The rules, in the order in which they are asked:
//!
//! 1. Nothing is pinned or joined while an own consenter could not be asked: it may hold another genesis block.
//! 2. Only pinned bytes are joined. Before the first join, a genesis block that no longer follows from the
//!    definition stops the channel; afterwards the pinned bytes are the truth.
//! 3. A node on record that says Absent has lost its data. Joining it again would let it vote twice in terms
//!    that it forgot, so a person decides.
//! 4. Block 0 of every node that holds the channel is the pinned block: nothing is put on record, and nobody else
//!    joined, before it was read.
//! 5. Nothing is proposed by a spec that may be older than what the channel's members agreed on since: to put that back
//!    would undo it.
//! 6. Health is what Deliver says with STRICT: participation stays `active` without a quorum.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use tenter_consortium::objects::ConsensusType;
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{JoinRecord, NodeChannel, NodeRef, OrdererChannel, PinnedGenesis};
use tenter_consortium::status::ChannelPhase as Phase;

use super::config::ConfigView;
use crate::controllers::definitions::DEFINITION_NOT_SEEN;
use crate::controllers::outlook::{Outlook, Wait};
use crate::nodes::Ordering;

/// One own consenter's view of the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrdererView {
    /// What the participation API says, and what is on record.
    pub channel: NodeChannel<OrdererChannel>,
    /// Header hash, hex, of the block 0 that it delivers.
    pub genesis: Observation<String>,
    /// Whether it orders.
    pub ordering: Observation<Ordering>,
}

impl OrdererView {
    /// Whether it takes part, or is about to: a channel that is being removed is listed as well.
    pub fn holds(&self) -> bool {
        self.channel.live.value().is_some_and(|live| matches!(live.status.as_str(), "active" | "onboarding"))
    }

    /// Whether it says that it is no consenter of the configuration that it has.
    fn follows(&self) -> bool {
        self.channel.live.value().is_some_and(|live| live.relation != "consenter")
    }

    /// Whether it takes part as a consenter.
    pub fn takes_part(&self) -> bool {
        self.holds() && !self.follows()
    }
}

/// Something that the genesis block needs and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// What, for example `certificate in Secret trade-acme/orderer1-tls`.
    pub what: String,
    /// The organization that has to bring it.
    pub owner: String,
}

/// All that is known of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The channel.
    pub channel: String,
    /// Namespace of the Channel object and of its pinned genesis block.
    pub namespace: String,
    /// How it orders.
    pub consensus: ConsensusType,
    /// Number of consenters, wherever they run: those of the live configuration, before there is one those of the spec.
    pub consenters: usize,
    /// The consenters that this daemon acts for.
    pub orderers: BTreeMap<NodeRef, OrdererView>,
    /// The pinned genesis block.
    pub genesis: Observation<PinnedGenesis>,
    /// Header hash, hex, of the genesis block computed from what is there now; or why it cannot be computed.
    pub computed: Result<String, Uncomputable>,
    /// What differs between the pinned block and the one that the definition gives now, if anything does.
    pub outdated: Option<String>,
    /// Where none of the own orderers is a consenter: whether those of other members order.
    pub elsewhere: Observation<Ordering>,
    /// What the live configuration lacks.
    pub config: Observation<ConfigView>,
    /// The own orderers that the pinned genesis block names.
    pub founders: BTreeSet<NodeRef>,
    /// Whether its configuration was seen before, or own orderers that are to leave it hold it: then somebody has joined.
    pub formed: bool,
    /// What is waited for before the spec is known to be the definition's; see [`definitions`](crate::controllers::definitions).
    pub definition_awaited: Option<String>,
}

impl View {
    /// Own orderers that are to become consenters, and whether the channel knows their organizations.
    fn coming(&self) -> BTreeMap<NodeRef, bool> {
        let coming = self.config.value().map(|config| &config.coming).into_iter().flatten();
        let own = coming.filter(|(node, _)| self.orderers.contains_key(*node));
        own.map(|(node, known)| (node.clone(), *known)).collect()
    }
}

/// Why a genesis block cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uncomputable {
    /// Material is missing.
    Missing(Vec<Missing>),
    /// Material could not be asked for.
    Unreadable(String),
    /// The spec or the material is refused.
    Refused(String),
    /// Not this daemon's to compute.
    Foreign {
        /// These organizations take part, and others act for them.
        organizations: Vec<String>,
        /// Why it could not be had from their orderers either; empty when they were not asked.
        evidence: String,
    },
    /// Not wanted: an own consenter holds the channel, or held it.
    Held,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Pin the computed genesis block.
    Pin,
    /// Join an orderer to the pinned genesis block.
    Join(NodeRef),
    /// Write down that an orderer holds the channel.
    Record(NodeRef),
    /// Propose the update of a topic.
    Propose(String),
}

/// What to do, and what to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where the channel stands.
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

/// Decides about a channel.
pub fn decide(view: &View) -> Decision {
    match &view.genesis {
        Observation::Present { value } => pinned(view, &value.hash),
        Observation::Absent { .. } => unpinned(view),
        Observation::Forbidden { evidence } | Observation::Unreachable { evidence } => Decision::new(
            Phase::Pending,
            Outlook::waiting(
                Wait::Dependency,
                "GenesisUnreadable",
                format!("the pinned genesis block of channel {} could not be read: {evidence}", view.channel),
            ),
        ),
    }
}

/// Before a genesis block is pinned.
fn unpinned(view: &View) -> Decision {
    let holders: Vec<String> = view
        .orderers
        .iter()
        .filter(|(_, orderer)| orderer.channel.live.value().is_some() || orderer.channel.record == JoinRecord::Joined)
        .map(|(node, _)| node.to_string())
        .collect();
    if !holders.is_empty() {
        return Decision::new(
            Phase::Degraded,
            Outlook::stalled(
                "GenesisLost",
                format!(
                    "{} hold{} channel {}, but its pinned genesis block is gone; restore ConfigMap {}/{}-genesis from a \
                     backup: no block is computed for a channel that exists",
                    holders.join(", "),
                    if holders.len() == 1 { "s" } else { "" },
                    view.channel,
                    view.namespace,
                    view.channel
                ),
            ),
        );
    }
    if let Err(why) = &view.computed {
        return Decision::new(Phase::Pending, uncomputable(&view.channel, why));
    }
    if let Some(outlook) = unanswered(view) {
        return Decision::new(Phase::Pending, outlook);
    }
    Decision {
        phase: Phase::Pending,
        outlook: Outlook::acting("PinningGenesis", format!("pinning the genesis block of channel {}", view.channel)),
        actions: vec![Action::Pin],
    }
}

fn uncomputable(channel: &str, why: &Uncomputable) -> Outlook {
    match why {
        Uncomputable::Missing(missing) => {
            let list: Vec<String> =
                missing.iter().map(|missing| format!("{} (from {})", missing.what, missing.owner)).collect();
            Outlook::waiting(
                Wait::Dependency,
                "MaterialMissing",
                format!("the genesis block of channel {channel} needs {}", list.join("; ")),
            )
        }
        Uncomputable::Unreadable(evidence) => Outlook::waiting(
            Wait::Dependency,
            "MaterialUnreadable",
            format!("what the genesis block of channel {channel} is made of could not be read: {evidence}"),
        ),
        Uncomputable::Refused(why) => {
            Outlook::stalled("GenesisRefused", format!("no genesis block can be made for channel {channel}: {why}"))
        }
        Uncomputable::Held => Outlook::waiting(
            Wait::Soon,
            "GenesisUnknown",
            format!("channel {channel} is held already, so no genesis block is made for it"),
        ),
        Uncomputable::Foreign { organizations, evidence } => {
            let more = if evidence.is_empty() {
                String::new()
            } else {
                format!("; the channel's orderers did not give theirs either: {evidence}")
            };
            Outlook::waiting(
                Wait::Dependency,
                "GenesisMissing",
                format!(
                    "waiting for channels/{channel}/genesis.pb in the definition: {} of channel {channel} {} not this \
                     daemon's, so it makes no genesis block of its own{more}",
                    organizations.join(", "),
                    if organizations.len() == 1 { "is" } else { "are" },
                ),
            )
        }
    }
}

/// The own consenters that did not answer, as a reason to wait.
fn unanswered(view: &View) -> Option<Outlook> {
    let silent: Vec<String> = view
        .orderers
        .iter()
        .filter(|(_, orderer)| {
            matches!(orderer.channel.live, Observation::Unreachable { .. } | Observation::Forbidden { .. })
        })
        .map(|(node, orderer)| format!("{node} ({})", orderer.channel.live.evidence().unwrap_or_default()))
        .collect();
    (!silent.is_empty()).then(|| {
        Outlook::waiting(
            Wait::Dependency,
            "OrdererUnreachable",
            format!("waiting until every own consenter of channel {} answers: {}", view.channel, silent.join("; ")),
        )
    })
}

/// Once a genesis block is pinned.
fn pinned(view: &View, hash: &str) -> Decision {
    let mut decision = judge(view, hash);
    let records = view
        .orderers
        .iter()
        .filter(|(_, orderer)| {
            orderer.holds()
                && orderer.channel.record == JoinRecord::None
                && orderer.genesis.value().is_some_and(|live| live == hash)
        })
        .map(|(node, _)| Action::Record(node.clone()));
    decision.actions.extend(records);
    decision
}

fn judge(view: &View, hash: &str) -> Decision {
    if let Some(stop) = mismatch(view, hash) {
        return Decision::new(stop_phase(view), stop);
    }
    let coming = view.coming();
    // What one held that the configuration does not count on does not matter.
    let mut lost =
        nodes(view, |orderer| orderer.channel.live.is_absent() && orderer.channel.record == JoinRecord::Joined);
    lost.retain(|node| !coming.contains_key(node));
    if !lost.is_empty() {
        return Decision::new(stop_phase(view), data_lost(view, &lost));
    }
    if let Some(outlook) = leaving(view) {
        return Decision::new(stop_phase(view), outlook);
    }
    let mut absent = nodes(view, |orderer| orderer.channel.live.is_absent());
    absent.retain(|node| match coming.get(node) {
        // One whose organization the channel does not know yet would be refused every block.
        Some(known) => *known,
        // Whoever is not in block 0 needs a later one to begin with.
        None => view.founders.contains(node) || view.config.value().is_some(),
    });
    if absent.is_empty() {
        return joined(view);
    }
    if let Some(stop) = genesis_differs(view, hash, absent.len()) {
        return Decision::new(Phase::Forming, stop);
    }
    if let Some(outlook) = unanswered(view) {
        return Decision::new(Phase::Forming, outlook);
    }
    if let Some(outlook) = unverified(view) {
        return Decision::new(Phase::Forming, outlook);
    }
    let names: Vec<String> = absent.iter().map(ToString::to_string).collect();
    Decision {
        phase: if absent.iter().all(|node| coming.contains_key(node)) { Phase::Updating } else { Phase::Forming },
        outlook: Outlook::acting(
            "JoiningOrderers",
            format!("joining {} to channel {}", names.join(", "), view.channel),
        ),
        actions: absent.into_iter().map(Action::Join).collect(),
    }
}

/// The own consenters that hold the channel, or say so, as what their block 0 does not show yet. One that is on
/// record was verified before.
fn unverified(view: &View) -> Option<Outlook> {
    let coming = view.coming();
    let unread: Vec<String> = view
        .orderers
        .iter()
        .filter(|(_, orderer)| orderer.channel.live.value().is_some() && orderer.channel.record == JoinRecord::None)
        // One that only follows delivers nothing, and cannot be of another channel: its blocks come from the others.
        .filter(|(node, _)| !coming.contains_key(node))
        .filter_map(|(node, orderer)| Some(format!("{node} ({})", orderer.genesis.evidence()?)))
        .collect();
    (!unread.is_empty()).then(|| {
        Outlook::waiting(
            Wait::Dependency,
            "GenesisUnverified",
            format!(
                "channel {} is there already, and nobody else is joined until its block 0 was read: {}",
                view.channel,
                unread.join("; ")
            ),
        )
    })
}

/// The own consenters that the channel is being removed from, or that do not run it.
fn leaving(view: &View) -> Option<Outlook> {
    let gone: Vec<String> = view
        .orderers
        .iter()
        .filter(|(_, orderer)| !orderer.holds())
        .filter_map(|(node, orderer)| Some(format!("{node} ({})", orderer.channel.live.value()?.status)))
        .collect();
    (!gone.is_empty()).then(|| {
        Outlook::stalled(
            "OrdererRemoving",
            format!(
                "channel {} is being removed from {}, or does not run there: look at the orderer's log; when the removal \
                 has failed, remove the channel again (osnadmin channel remove)",
                view.channel,
                gone.join(", ")
            ),
        )
    })
}

fn nodes(view: &View, which: impl Fn(&OrdererView) -> bool) -> Vec<NodeRef> {
    view.orderers.iter().filter(|(_, orderer)| which(orderer)).map(|(node, _)| node.clone()).collect()
}

/// The phase of a channel that a person has to look at: whether it still orders.
fn stop_phase(view: &View) -> Phase {
    let joined = view.orderers.values().any(OrdererView::holds);
    match (serving(view), joined) {
        (Some(_), _) => Phase::Active,
        (None, true) => Phase::Degraded,
        (None, false) => Phase::Forming,
    }
}

fn mismatch(view: &View, hash: &str) -> Option<Outlook> {
    let wrong: Vec<String> = view
        .orderers
        .iter()
        .filter_map(|(node, orderer)| {
            let live = orderer.genesis.value()?;
            (live != hash).then(|| format!("{node} holds {live}"))
        })
        .collect();
    (!wrong.is_empty()).then(|| {
        Outlook::stalled(
            "GenesisMismatch",
            format!(
                "the pinned genesis block of channel {} is {hash}, but {}; these are different channels of one name: \
                 remove the channel, its WAL and its snapshots from the node that is wrong",
                view.channel,
                wrong.join(", ")
            ),
        )
    })
}

fn data_lost(view: &View, lost: &[NodeRef]) -> Outlook {
    let mut message = String::new();
    for node in lost {
        let _ = write!(
            message,
            "{node} had joined channel {channel} and no longer holds it: its volume was emptied. Restore the volume, or, \
             if that is impossible and a quorum remains, take it out of the consenters and add a new orderer; to have it \
             joined again all the same, delete the entry {channel} of ConfigMap {namespace}/{name}-ledgers. ",
            channel = view.channel,
            namespace = node.namespace,
            name = node.name,
        );
    }
    Outlook::stalled("DataLost", message.trim_end().to_owned())
}

/// Before anybody joined, the pinned block must be the one that the definition gives.
fn genesis_differs(view: &View, hash: &str, absent: usize) -> Option<Outlook> {
    let why = view.outdated.as_ref()?;
    let nobody = absent == view.orderers.len() && view.consenters == view.orderers.len() && !view.formed;
    nobody.then(|| {
        Outlook::stalled(
            "GenesisDiffers",
            format!(
                "the genesis block of channel {channel} was pinned as {hash}, and the definition gives another one now: \
                 {why}. No node has joined yet: delete ConfigMap {namespace}/{channel}-genesis to pin the new block, or \
                 take the change back",
                channel = view.channel,
                namespace = view.namespace,
            ),
        )
    })
}

/// The highest height of an own consenter that orders; without one, of another member's.
fn serving(view: &View) -> Option<u64> {
    let own = view.orderers.values().map(|orderer| &orderer.ordering);
    own.chain([&view.elsewhere])
        .filter_map(|ordering| match ordering.value() {
            Some(Ordering::Serving { height }) => Some(*height),
            Some(Ordering::NoLeader) | None => None,
        })
        .max()
}

/// How many consenters a channel needs to order.
pub const fn quorum(consensus: ConsensusType, consenters: usize) -> usize {
    match consensus {
        ConsensusType::EtcdRaft => consenters / 2 + 1,
        // ceil((n + f + 1) / 2) with f = (n - 1) / 3
        ConsensusType::Bft => {
            let faults = consenters.saturating_sub(1) / 3;
            (consenters + faults + 1).div_ceil(2)
        }
    }
}

/// Every own consenter has joined, or could not be asked.
fn joined(view: &View) -> Decision {
    let coming = view.coming();
    let consenters = |which: fn(&OrdererView) -> bool| {
        let mut found = nodes(view, which);
        found.retain(|node| !coming.contains_key(node));
        found
    };
    let silent = consenters(|orderer| orderer.channel.live.value().is_none());
    let followers = consenters(OrdererView::follows);
    let own = view.orderers.len() - coming.len();
    let possible = view.consenters.saturating_sub(silent.len() + followers.len());
    if own > 0
        && silent.len() == own
        && silent.iter().any(|node| view.orderers[node].channel.record == JoinRecord::None)
    {
        let outlook = unanswered(view).unwrap_or_else(|| no_leader(view));
        return Decision::new(Phase::Forming, outlook);
    }
    if own == 0 && serving(view).is_none() {
        return Decision::new(
            Phase::Forming,
            Outlook::waiting(
                Wait::Dependency,
                "NoOwnConsenter",
                format!(
                    "this daemon acts for no consenter of channel {}, and those of other members do not show that it \
                     orders: {}",
                    view.channel,
                    view.elsewhere.evidence().unwrap_or("none has a leader"),
                ),
            ),
        );
    }
    // Where the configuration is not known, nobody is known to be none of it.
    let named = |node: &NodeRef| view.config.value().is_none_or(|config| config.named.contains(node));
    let (becoming, strangers): (Vec<NodeRef>, Vec<NodeRef>) = followers.iter().cloned().partition(named);
    if !strangers.is_empty() {
        return Decision::new(stop_phase(view), not_consenters(view, &strangers));
    }
    if !becoming.is_empty() {
        return Decision::new(Phase::Updating, becoming_consenters(view, &becoming));
    }
    if serving(view).is_some() {
        return active(view, &silent);
    }
    let needed = quorum(view.consensus, view.consenters);
    if possible < needed {
        let evidence = unanswered(view).map(|outlook| outlook.verdict.message().to_owned()).unwrap_or_default();
        return Decision::new(
            Phase::Degraded,
            Outlook::waiting(
                Wait::Dependency,
                "QuorumLost",
                format!(
                    "channel {} needs {needed} of {} consenters to order; {evidence}",
                    view.channel, view.consenters
                ),
            ),
        );
    }
    Decision::new(Phase::Electing, no_leader(view))
}

/// A follower looks for its own name in new config blocks, ever less often while none comes (`orderer/common/follower`).
fn becoming_consenters(view: &View, nodes: &[NodeRef]) -> Outlook {
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    Outlook::waiting(
        Wait::Soon,
        "BecomingConsenter",
        format!("waiting until {} has seen that it orders channel {}", names.join(", "), view.channel),
    )
}

fn not_consenters(view: &View, followers: &[NodeRef]) -> Outlook {
    let names: Vec<String> = followers.iter().map(ToString::to_string).collect();
    let secrets: Vec<String> = followers.iter().map(|node| format!("{node}-tls")).collect();
    Outlook::stalled(
        "NotAConsenter",
        format!(
            "{} only follow{} channel {}: the channel's configuration has no consenter with the TLS certificate in use \
             there; put the certificate that the configuration names back into Secret {}, or have the channel's \
             administrators replace it in the configuration",
            names.join(", "),
            if names.len() == 1 { "s" } else { "" },
            view.channel,
            secrets.join(", "),
        ),
    )
}

fn no_leader(view: &View) -> Outlook {
    let said: Vec<String> = view
        .orderers
        .iter()
        .map(|(node, orderer)| match &orderer.ordering {
            Observation::Present { value: Ordering::NoLeader } => format!("{node} has no leader"),
            Observation::Present { value: Ordering::Serving { .. } } => format!("{node} orders"),
            other => format!("{node}: {}", other.evidence().unwrap_or_default()),
        })
        .collect();
    Outlook::waiting(
        Wait::Soon,
        "NoLeader",
        format!("waiting for channel {} to elect a leader: {}", view.channel, said.join("; ")),
    )
}

fn active(view: &View, silent: &[NodeRef]) -> Decision {
    if let Some(config) = view.config.value() {
        if !config.topics.is_empty() {
            return updating(view, config);
        }
        if !config.refused.is_empty() {
            let message = format!(
                "the configuration of channel {} is not what its spec says: {}",
                view.channel,
                config.refused.join("; ")
            );
            return Decision::new(Phase::Active, Outlook::stalled("ConfigDiffers", message));
        }
        if !config.waiting.is_empty() {
            let message = format!("channel {}: {}", view.channel, config.waiting.join("; "));
            return Decision::new(Phase::Updating, Outlook::waiting(Wait::Dependency, "Preparing", message));
        }
    }
    let mut message = format!("channel {} orders", view.channel);
    if !silent.is_empty() {
        let names: Vec<String> = silent.iter().map(ToString::to_string).collect();
        let _ = write!(message, "; without {}, which could not be asked", names.join(", "));
    }
    if let Some(evidence) = view.config.evidence() {
        let _ = write!(message, "; its configuration could not be compared: {evidence}");
    }
    for organization in view.config.value().map(|config| &config.unnamed).into_iter().flatten() {
        let _ = write!(message, "; {organization} is in it and the spec neither names nor releases it");
    }
    Decision::new(Phase::Active, Outlook::ready("Ordering", message))
}

/// The live configuration is to change: what can be proposed is proposed, the rest says what it waits for.
fn updating(view: &View, config: &ConfigView) -> Decision {
    let mut actions = Vec::new();
    let mut said = Vec::new();
    let mut moving = false;
    let mut held = None;
    for topic in &config.topics {
        let stands = topic.stands();
        moving |= stands.moves;
        match &view.definition_awaited {
            Some(why) if stands.propose => {
                held = Some(why);
                said.push(format!("{}: not proposed yet", topic.topic));
            }
            _ => said.push(format!("{}: {}", topic.topic, stands.why)),
        }
        if stands.propose {
            actions.push(Action::Propose(topic.topic.clone()));
        }
    }
    if let Some(why) = held {
        let message = format!(
            "channel {} differs from its spec, which may have been overtaken, so nothing is proposed by it: {why}; {}",
            view.channel,
            said.join("; ")
        );
        // Nothing announces that the definition was seen.
        let outlook = Outlook::waiting(Wait::Soon, DEFINITION_NOT_SEEN, message);
        return Decision::new(Phase::Updating, outlook);
    }
    said.extend(config.waiting.iter().cloned());
    said.extend(config.refused.iter().map(|why| format!("not done: {why}")));
    let message = format!("changing the configuration of channel {}: {}", view.channel, said.join("; "));
    let outlook = if actions.is_empty() && !moving {
        Outlook::stalled("UpdateStopped", message)
    } else if actions.is_empty() {
        Outlook::waiting(Wait::Dependency, "Updating", message)
    } else {
        Outlook::acting("Proposing", message)
    };
    Decision { phase: Phase::Updating, outlook, actions }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
