//! The config updates that bring a live channel to what its spec asks for, one for each topic.

use std::collections::BTreeSet;

use tenter_fabric::config::update::{ConfigSignature, ConfigUpdate, TouchedElement};
use tenter_fabric::config::{
    ChannelConfig, ConfigProblem, CurrentConfig, Topic, check_update, check_update_against, split, split_off,
};
use tenter_fabric::policy::{Judge, Requirement, Role, Signer};

use super::Material;
use super::lockout::lock_out;
use super::wanted::{Refused, Wanted, wanted};
use crate::document::Blob;
use crate::objects::{self, ChannelSpec, ProposedChange};
use crate::plan::{Passing, Signing};

/// Longest text of one side of a change that is kept.
const MAX_TEXT: usize = 600;

/// One update.
#[derive(Clone, Debug)]
pub struct TopicUpdate {
    /// What it is about, for example `member/initech`.
    pub topic: String,
    /// The update.
    pub update: ConfigUpdate,
    /// What it changes, for people.
    pub changes: Vec<ProposedChange>,
    /// The elements that it writes, with the policies that guard them.
    pub elements: Vec<objects::TouchedElement>,
    /// Why it must not be submitted: Fabric would refuse it, or take it and come to harm.
    pub problems: Vec<String>,
    /// What cannot be undone about it.
    pub irreversible: Option<String>,
    /// What is not there yet and the update cannot be made without: `the public MSP of initech`.
    pub incomplete: Option<String>,
    /// `host:port` of the consenter that it adds, which should hold the channel by then.
    pub joining: Option<String>,
    /// Topics before it that touch what it depends on: it is computed anew when they are done.
    pub after: Vec<String>,
}

/// All updates of a channel.
#[derive(Clone, Debug, Default)]
pub struct Updates {
    /// The updates, in the order in which they can be made.
    pub topics: Vec<TopicUpdate>,
    /// What the spec asks for and is not done to a live channel.
    pub refused: Vec<Refused>,
    /// Organizations of the channel that the spec neither names nor releases.
    pub unnamed: Vec<String>,
    /// `host:port` of consenters of the channel that the spec neither names nor releases.
    pub unnamed_consenters: Vec<String>,
    /// `host:port` of consenters that the spec names and the live configuration does not have yet.
    pub coming: BTreeSet<String>,
    /// `host:port` of consenters that the live configuration has and the spec does not name.
    pub leaving: BTreeSet<String>,
}

impl Updates {
    /// Whether the live configuration is as the spec says.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.refused.is_empty()
    }
}

/// The updates that bring a live channel to what its spec asks for. An error says what in the spec or in the material
/// cannot be read.
pub fn updates(live: &CurrentConfig, spec: &ChannelSpec, material: &Material) -> Result<Updates, String> {
    let wanted = wanted(live.config(), spec, material)?;
    let mut topics: Vec<TopicUpdate> = Vec::new();
    for (topic, config) in split(live.config(), &wanted.config) {
        topics.extend(topic_update(live, &topic, &config, &wanted, &topics));
    }
    let Wanted { refused, unnamed, unnamed_consenters, coming, leaving, .. } = wanted;
    Ok(Updates { topics, refused, unnamed, unnamed_consenters, coming, leaving })
}

/// The update of one topic, if it changes anything.
pub fn update_of(
    live: &CurrentConfig,
    spec: &ChannelSpec,
    material: &Material,
    topic: &str,
) -> Result<Option<TopicUpdate>, String> {
    let Ok(topic) = topic.parse::<Topic>() else { return Ok(None) };
    let wanted = wanted(live.config(), spec, material)?;
    let config = split_off(live.config(), &wanted.config, &topic);
    Ok(config.and_then(|config| topic_update(live, &topic, &config, &wanted, &[])))
}

/// The update that brings a live configuration to `config`, which differs in one topic.
fn topic_update(
    live: &CurrentConfig,
    topic: &Topic,
    config: &ChannelConfig,
    wanted: &Wanted,
    earlier: &[TopicUpdate],
) -> Option<TopicUpdate> {
    let update = ConfigUpdate::compute(live, config)?;
    let incomplete = match topic {
        Topic::Member { organization } | Topic::OrdererOrganization { organization }
            if wanted.incomplete.contains(organization) =>
        {
            Some(format!("the public MSP of {organization}"))
        }
        Topic::Consenters => wanted.unknown_consenter.as_ref().map(|name| format!("the certificates of {name}")),
        _ => None,
    };
    let mut problems =
        if incomplete.is_some() { Vec::new() } else { words(check_update_against(live, &update, config)) };
    // One that does not apply is refused for that.
    problems.extend(update.apply(live).ok().and_then(|next| lock_out(Some(live), &next)));
    let after = earlier.iter().filter(|earlier| conflict(&earlier.update, &update, live));
    Some(TopicUpdate {
        after: after.map(|earlier| earlier.topic.clone()).collect(),
        topic: topic.to_string(),
        changes: changes(live, &update),
        elements: update.elements(live).into_iter().map(touched).collect(),
        problems,
        irreversible: irreversible(live.config(), config, topic),
        incomplete,
        joining: wanted.joining.clone().filter(|_| *topic == Topic::Consenters),
        update,
    })
}

/// What an update changes, for people: whole texts only where they are short.
pub(super) fn changes(live: &CurrentConfig, update: &ConfigUpdate) -> Vec<ProposedChange> {
    let shorten = |text: String| {
        if text.len() <= MAX_TEXT {
            return text;
        }
        format!("{} ... ({} characters)", &text[..text.floor_char_boundary(MAX_TEXT)], text.len())
    };
    let changes = update.changes(live).into_iter();
    changes
        .map(|change| ProposedChange { path: change.path, from: change.from.map(shorten), to: change.to.map(shorten) })
        .collect()
}

/// What speaks against submitting an update, whoever signs it.
pub fn problems(live: &CurrentConfig, update: &ConfigUpdate) -> Vec<String> {
    words(check_update(live, update))
}

fn words(problems: Vec<ConfigProblem>) -> Vec<String> {
    problems.into_iter().map(|problem| problem.to_string()).collect()
}

fn touched(element: TouchedElement) -> objects::TouchedElement {
    let TouchedElement { element, version, policy } = element;
    objects::TouchedElement { element, version, policy }
}

/// Whether one of two updates writes what the other depends on, so that only one of them can be made from here.
fn conflict(one: &ConfigUpdate, other: &ConfigUpdate, live: &CurrentConfig) -> bool {
    let writes = |update: &ConfigUpdate| -> BTreeSet<String> {
        update.elements(live).into_iter().map(|touched| touched.element).collect()
    };
    let depends = |update: &ConfigUpdate| -> BTreeSet<String> { update.reads().into_keys().collect() };
    let (one_writes, other_writes) = (writes(one), writes(other));
    !one_writes.is_disjoint(&other_writes)
        || !one_writes.is_disjoint(&depends(other))
        || !other_writes.is_disjoint(&depends(one))
}

fn irreversible(live: &ChannelConfig, wanted: &ChannelConfig, topic: &Topic) -> Option<String> {
    if *topic != Topic::Capabilities {
        return None;
    }
    let levels = [
        ("channel", &live.capabilities, &wanted.capabilities),
        ("orderer", &live.orderer.capabilities, &wanted.orderer.capabilities),
        ("application", &live.application.capabilities, &wanted.application.capabilities),
    ];
    let raised: Vec<String> = levels
        .into_iter()
        .filter(|(_, live, wanted)| live != wanted)
        .map(|(level, live, wanted)| {
            let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(",");
            format!("{level} {} -> {}", list(live), list(wanted))
        })
        .collect();
    Some(format!("capabilities are never lowered again, and nodes that do not know them stop: {}", raised.join(", ")))
}

/// Who must sign an update, who has, and who of the organizations with these MSP IDs will: as few as are enough, or, where
/// all together are not, all whose signature helps. `signatures` are bytes of `common.ConfigSignature` over `signed`, the
/// update as it was proposed.
pub fn signing(
    current: &CurrentConfig,
    update: &ConfigUpdate,
    own: &BTreeSet<String>,
    (signed, signatures): (&ConfigUpdate, &[Blob]),
) -> Signing {
    let judge = Judge::new(current.config());
    let signatures: Vec<ConfigSignature> =
        signatures.iter().filter_map(|bytes| ConfigSignature::from_bytes(&bytes.0).ok()).collect();
    let known = signed.signed_data(&signatures).map(|data| judge.signers(&data).0).unwrap_or_default();
    let required = judge.needed_for(current, update, &[]).to_string();
    let requirement = judge.needed_for(current, update, &known);
    let signed: BTreeSet<String> = known.iter().map(|signer| signer.msp_id.clone()).collect();
    let left: BTreeSet<String> = own.difference(&signed).cloned().collect();
    let (own, enough) = choose(&requirement, &left);
    let missing = (!enough).then(|| format!("{requirement}, of which this daemon signs for too few"));
    let passes = Some(if enough {
        Passing::Yes
    } else if requirement.is_possible() {
        Passing::WithOthers
    } else {
        Passing::No { why: format!("nobody in the channel can give {requirement}") }
    });
    Signing { required, own, missing, signed: signed.into_iter().collect(), passes }
}

/// Whose signatures to add, by MSP ID, and whether they are enough: see [`signing`].
pub fn choose(requirement: &Requirement<'_>, own: &BTreeSet<String>) -> (Vec<String>, bool) {
    let administrator = |msp_id: &String| Signer { msp_id: msp_id.clone(), role: Role::Admin };
    let available: BTreeSet<Signer> = own.iter().map(administrator).collect();
    let names =
        |signers: BTreeSet<Signer>| -> BTreeSet<String> { signers.into_iter().map(|signer| signer.msp_id).collect() };
    if let Some(chosen) = requirement.choose(&available) {
        return (names(chosen).into_iter().collect(), true);
    }
    (own.intersection(&names(requirement.helpful())).cloned().collect(), false)
}
