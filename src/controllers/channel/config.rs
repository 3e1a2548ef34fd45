//! What a live channel's configuration lacks, and how the proposals of it stand.

use std::collections::BTreeSet;

use tenter_consortium::channel_config::{Refused, TopicUpdate, updates};
use tenter_consortium::objects::{ChannelSpec, ProposedChange};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{ForeignChange, LiveChannel};
use tenter_consortium::status::ProposalPhase;
use tenter_fabric::config::CurrentConfig;

use super::material::{Others, available};
use crate::nodes::{Node, Nodes, chain};
use crate::observe::channel::foreign_changes;

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
    /// Whether it cannot pass because of those who reject it.
    pub voted_down: bool,
    /// Own organizations whose votes it waits for, by MSP ID.
    pub awaiting: Vec<String>,
    /// What it changes.
    pub changes: Vec<ProposedChange>,
    /// What it says of itself.
    pub message: String,
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
    /// The organization whose certificates it waits for.
    pub incomplete: Option<String>,
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
        if let Some(organization) = &self.incomplete {
            return stands(false, true, format!("waiting for the public MSP of {organization}"));
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
    /// Organizations that the spec neither names nor releases.
    pub unnamed: Vec<String>,
}

/// Compares a live configuration with the spec. `sources` are nodes that hold the channel.
pub async fn compare(
    nodes: &Nodes,
    sources: &[Node],
    (spec, others): (&ChannelSpec, &Others<'_>),
    live: &Observation<LiveChannel>,
    proposals: &[ProposalSeen],
) -> (Observation<ConfigView>, Vec<TopicUpdate>) {
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
    let topics = found.topics.iter().map(|update| topic_view(update, &foreign, proposals)).collect();
    let (waiting, refused): (Vec<Refused>, Vec<Refused>) = found.refused.into_iter().partition(|refused| refused.waits);
    let why = |list: Vec<Refused>| list.into_iter().map(|refused| refused.why).collect();
    let view = ConfigView { topics, refused: why(refused), waiting: why(waiting), unnamed: found.unnamed };
    (Observation::Present { value: view }, found.topics)
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
        after: update.after.clone(),
        proposal: proposals.iter().find(|proposal| proposal.digest == digest).cloned(),
    }
}

/// A change on one line: `/Channel/Orderer/BatchTimeout: 2s -> 1s`.
pub fn line(change: &ProposedChange) -> String {
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
    format!("{}: {} -> {}", change.path, shown(&change.from), shown(&change.to))
}
