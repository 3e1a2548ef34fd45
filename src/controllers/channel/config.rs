//! What a live channel's configuration lacks, and how the proposals of it stand.

use std::collections::{BTreeMap, BTreeSet};

use tenter_consortium::channel_config::{Refused, TopicUpdate, is_consenter, updates};
use tenter_consortium::objects::{ChannelSpec, ProposedChange};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{ForeignChange, LiveChannel, NodeRef};
use tenter_consortium::status::ProposalPhase;
use tenter_fabric::config::CurrentConfig;

use super::decide::OrdererView;
use super::material::{Others, available};
use crate::nodes::{Node, Nodes, Ordering, chain};
use crate::observe::channel::foreign_changes;

/// How many blocks behind a new consenter may be: it has them in a moment, and new ones come all the time.
const CLOSE: u64 = 10;

/// A proposal as its object shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposalSeen {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub topic: String,
    /// The digest of its update.
    pub digest: String,
    /// Where it stands; absent before its controller looked at it.
    pub phase: Option<ProposalPhase>,
    /// Whether it cannot pass, because of those who reject it or whoever signs: it opens again by itself.
    pub voted_down: bool,
    /// Own organizations whose votes it waits for, by MSP ID.
    pub awaiting: Vec<String>,
    /// What it changes.
    pub changes: Vec<ProposedChange>,
    /// What it says of itself.
    pub message: String,
    /// The block that shows it, once it is committed.
    pub block: Option<u64>,
}

impl ProposalSeen {
    /// Whether it may still lead to a change.
    pub fn is_open(&self) -> bool {
        match self.phase {
            None | Some(ProposalPhase::Collecting | ProposalPhase::Satisfied | ProposalPhase::Submitted) => true,
            Some(
                ProposalPhase::Committed | ProposalPhase::Rejected | ProposalPhase::Superseded | ProposalPhase::Expired,
            ) => false,
        }
    }
}

/// What one topic of a live configuration lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicView {
    /// The topic.
    pub topic: String,
    /// The differences, in words.
    pub changes: Vec<String>,
    /// Whose change this puts back, in words.
    pub drift: Vec<String>,
    /// Why the update must not be submitted.
    pub problems: Vec<String>,
    /// What it waits for: `the public MSP of acme`.
    pub incomplete: Option<String>,
    /// What the consenter that it adds has to do first, if this daemon acts for it.
    pub joining: Option<String>,
    /// Topics that come first.
    pub after: Vec<String>,
    /// Its proposal, if there is one of exactly this update.
    pub proposal: Option<ProposalSeen>,
}

/// How a topic stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// Whether it is to be proposed now.
    pub propose: bool,
    /// Whether something is on its way that needs no person.
    pub moves: bool,
    /// What is so.
    pub why: String,
}

impl TopicView {
    /// How it stands.
    pub fn stands(&self) -> Stands {
        let stands = |propose, moves, why| Stands { propose, moves, why };
        if !self.problems.is_empty() {
            return stands(false, false, format!("it must not be submitted: {}", self.problems.join("; ")));
        }
        if let Some(what) = &self.incomplete {
            return stands(false, true, format!("waiting for {what}"));
        }
        if let Some(why) = &self.joining {
            return stands(false, true, why.clone());
        }
        if let Some(first) = self.after.first() {
            return stands(false, true, format!("after {first}"));
        }
        match &self.proposal {
            None => stands(true, true, "proposing it".to_owned()),
            Some(seen) if seen.phase == Some(ProposalPhase::Committed) => {
                stands(false, true, format!("Proposal {} is committed and not seen yet", seen.name))
            }
            Some(seen) if seen.is_open() || seen.phase == Some(ProposalPhase::Superseded) => {
                stands(false, true, format!("Proposal {}: {}", seen.name, seen.message))
            }
            Some(seen) if seen.voted_down => stands(false, false, format!("Proposal {}: {}", seen.name, seen.message)),
            Some(seen) => {
                let message = &seen.message;
                stands(false, false, format!("Proposal {}: {message}; delete it to have it tried again", seen.name))
            }
        }
    }
}

/// What a live configuration lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigView {
    /// What is to change, in order.
    pub topics: Vec<TopicView>,
    /// What the spec asks for and is not done to a live channel.
    pub refused: Vec<String>,
    /// What has to wait for something that comes by itself.
    pub waiting: Vec<String>,
    /// Organizations, and addresses of consenters, that the spec neither names nor releases.
    pub unnamed: Vec<String>,
    /// Own orderers that the spec names as consenters and the configuration does not have yet, and whether it knows
    /// their organizations, so that they can follow the channel meanwhile.
    pub coming: BTreeMap<NodeRef, bool>,
    /// Own orderers whose TLS certificate the configuration names.
    pub named: BTreeSet<NodeRef>,
    /// `host:port` of all orderers, own or not, that the spec names as consenters and the configuration does not have yet.
    pub coming_addresses: BTreeSet<String>,
    /// `host:port` of consenters that the spec does not name.
    pub leaving: BTreeSet<String>,
}

/// What a live configuration is compared with.
pub struct Asked<'a> {
    /// The spec.
    pub spec: &'a ChannelSpec,
    /// Where the certificates of other members are.
    pub others: &'a Others<'a>,
    /// The own consenters of the spec, and how they are in the channel.
    pub own: &'a [Node],
    /// See `own`.
    pub orderers: &'a BTreeMap<NodeRef, OrdererView>,
    /// The proposals of the channel.
    pub proposals: &'a [ProposalSeen],
    /// The most blocks that are known of, where none of the own orderers is a consenter.
    pub elsewhere: Option<u64>,
}

/// Compares a live configuration with the spec. `sources` are nodes that hold the channel.
pub async fn compare(
    nodes: &Nodes,
    sources: &[Node],
    asked: &Asked<'_>,
    live: &Observation<LiveChannel>,
) -> (Observation<ConfigView>, Vec<TopicUpdate>) {
    let Asked { spec, others, own, orderers, proposals, elsewhere } = *asked;
    let live = match live {
        Observation::Present { value } => value,
        other => return (other.clone().map(|_| ConfigView::default()), Vec::new()),
    };
    let unreadable = |evidence: String| (Observation::Unreachable { evidence }, Vec::new());
    let current = match CurrentConfig::from_bytes(&spec.channel, &live.config) {
        Ok(current) => current,
        Err(error) => return unreadable(format!("config block {}: {}", live.block, chain(&error))),
    };
    let material = available(nodes.store(), spec, others).await;
    let found = match updates(&current, spec, &material) {
        Ok(found) => found,
        Err(why) => return unreadable(why),
    };
    let foreign = if found.topics.is_empty() {
        Vec::new()
    } else {
        let known: BTreeSet<String> = proposals.iter().map(|proposal| proposal.digest.clone()).collect();
        foreign_changes(nodes, sources, &spec.channel, live, &known).await
    };
    let coming = own.iter().filter(|node| found.coming.contains(&node.address));
    let coming: BTreeMap<NodeRef, bool> = coming
        .map(|node| (node.reference.clone(), live.facts.orderer_organizations.contains_key(&node.msp_id)))
        .collect();
    let consenters = spec.consensus.consenters.iter().zip(&material.consenters);
    let named = consenters.filter(|(_, certificates)| is_consenter(current.config(), &certificates.tls));
    let named: BTreeSet<NodeRef> = named
        .map(|(consenter, _)| NodeRef { namespace: consenter.namespace.clone(), name: consenter.orderer.clone() })
        .filter(|node| orderers.contains_key(node))
        .collect();
    let topics = found.topics.iter().map(|update| {
        let joining = update.joining.as_ref().and_then(|address| {
            let newest = elsewhere.max(Some(live.block + 1));
            let caught_up = |node| not_caught_up(node, orderers, newest);
            let new = own.iter().find(|node| node.address == *address);
            not_ordering(own, orderers, &found.coming).or_else(|| new.and_then(caught_up))
        });
        TopicView { joining, ..topic_view(update, &foreign, proposals) }
    });
    let topics = topics.collect();
    let (waiting, refused): (Vec<Refused>, Vec<Refused>) = found.refused.into_iter().partition(|refused| refused.waits);
    let unnamed = found.unnamed.into_iter().chain(found.unnamed_consenters).collect();
    let why = |list: Vec<Refused>| list.into_iter().map(|refused| refused.why).collect();
    let view = ConfigView {
        topics,
        refused: why(refused),
        waiting: why(waiting),
        unnamed,
        coming,
        named,
        coming_addresses: found.coming,
        leaving: found.leaving,
    };
    (Observation::Present { value: view }, found.topics)
}

/// Own consenters that do not order: another one is added when all do, for each that is added raises what a quorum is.
fn not_ordering(own: &[Node], orderers: &BTreeMap<NodeRef, OrdererView>, coming: &BTreeSet<String>) -> Option<String> {
    let orders = |node: &Node| {
        let ordering = orderers.get(&node.reference).and_then(|view| view.ordering.value());
        matches!(ordering, Some(Ordering::Serving { .. }))
    };
    let mut consenters = own.iter().filter(|node| !coming.contains(&node.address));
    let silent = consenters.find(|node| !orders(node))?;
    Some(format!(
        "waiting until {} orders: an orderer that is lost for good is released in a commit of its own, before another takes its place",
        silent.reference
    ))
}

/// What an own orderer has to do before it is made a consenter: one that does not have the blocks counts for the quorum, and
/// cannot help to make it.
fn not_caught_up(node: &Node, orderers: &BTreeMap<NodeRef, OrdererView>, known: Option<u64>) -> Option<String> {
    let height = orderers.values().filter_map(|view| match view.ordering.value() {
        Some(Ordering::Serving { height }) => Some(*height),
        _ => None,
    });
    let newest = height.max().max(known).unwrap_or_default();
    match orderers.get(&node.reference).map(|view| &view.channel.live) {
        Some(Observation::Present { value })
            if value.status == "active" && value.height.saturating_add(CLOSE) >= newest =>
        {
            None
        }
        Some(Observation::Present { value }) => {
            Some(format!("waiting until {} has caught up: it has {} of {newest} blocks", node.reference, value.height))
        }
        _ => Some(format!("waiting until {} follows the channel", node.reference)),
    }
}

fn topic_view(update: &TopicUpdate, foreign: &[ForeignChange], proposals: &[ProposalSeen]) -> TopicView {
    let digest = update.update.digest();
    let concerns =
        |change: &&ForeignChange| update.elements.iter().any(|touched| change.elements.contains(&touched.element));
    TopicView {
        topic: update.topic.clone(),
        changes: update.changes.iter().map(line).collect(),
        drift: foreign.iter().filter(concerns).map(ToString::to_string).collect(),
        problems: update.problems.clone(),
        incomplete: update.incomplete.clone(),
        joining: None,
        after: update.after.clone(),
        proposal: proposals.iter().find(|proposal| proposal.digest == digest).cloned(),
    }
}

/// A change on one line: `/Channel/Orderer/BatchTimeout: 2s -> 1s`.
pub fn line(change: &ProposedChange) -> String {
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
    format!("{}: {} -> {}", change.path, shown(&change.from), shown(&change.to))
}

#[cfg(test)]
mod tests {
    use tenter_consortium::observed::{JoinRecord, NodeChannel, OrdererChannel};

    use super::*;
    use crate::nodes::NodeKind;

    fn node(name: &str) -> Node {
        Node {
            reference: NodeRef { namespace: "hub".to_owned(), name: name.to_owned() },
            kind: NodeKind::Orderer,
            msp_id: "HubMSP".to_owned(),
            address: format!("{name}:7050"),
            foreign: None,
        }
    }

    fn view(relation: &str, status: &str, height: u64) -> OrdererView {
        let live = OrdererChannel { relation: relation.to_owned(), status: status.to_owned(), height };
        let evidence = || "it only follows".to_owned();
        let ordering = match relation {
            "consenter" => Observation::Present { value: Ordering::Serving { height } },
            _ => Observation::Unreachable { evidence: evidence() },
        };
        OrdererView {
            channel: NodeChannel { live: Observation::Present { value: live }, record: JoinRecord::None },
            genesis: Observation::Unreachable { evidence: evidence() },
            ordering,
        }
    }

    #[test]
    fn an_orderer_is_added_when_it_has_the_blocks_and_the_others_order() {
        let consenter = (node("o1").reference, view("consenter", "active", 100));
        let check = |follower: Option<OrdererView>, known: Option<u64>, expect: Option<&str>| {
            let follower = follower.map(|view| (node("o2").reference, view));
            let orderers: BTreeMap<NodeRef, OrdererView> = follower.into_iter().chain([consenter.clone()]).collect();
            let why = not_caught_up(&node("o2"), &orderers, known);
            assert_eq!(why.is_some(), expect.is_some(), "{why:?}");
            assert!(expect.is_none_or(|part| why.unwrap_or_default().contains(part)), "{expect:?}");
        };
        check(None, None, Some("follows the channel"));
        check(Some(view("follower", "onboarding", 100)), None, Some("100 of 100"));
        check(Some(view("follower", "active", 89)), None, Some("89 of 100"));
        check(Some(view("follower", "active", 90)), None, None);
        // What others have counts too.
        check(Some(view("follower", "active", 90)), Some(200), Some("90 of 200"));

        let own = [node("o1"), node("o2"), node("o3")];
        let silent = |name: &str| (node(name).reference, view("follower", "active", 100));
        let (first, second, third) = (consenter.clone(), silent("o2"), silent("o3"));
        let orderers = BTreeMap::from([first, second, third]);
        let coming = |names: &[&str]| names.iter().map(|name| format!("{name}:7050")).collect::<BTreeSet<String>>();
        assert_eq!(not_ordering(&own, &orderers, &coming(&["o2", "o3"])), None);
        assert!(not_ordering(&own, &orderers, &coming(&["o3"])).is_some_and(|why| why.contains("hub/o2 orders")));
    }
}
