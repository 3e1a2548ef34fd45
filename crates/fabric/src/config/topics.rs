//! Cutting a wanted configuration into changes that can be signed one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::tree::elements;
use super::{APPLICATION, ApplicationConfig, CHANNEL, ChannelConfig, Consensus, Element, ORDERER, OrdererConfig, key};
use crate::policy::Policy;
use crate::policy::defaults::Policies;

const BLOCK_VALIDATION: &str = "BlockValidation";

/// What one change is about. Displays as `member/acme`. Sorted in an order in which the changes can be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// The channel enters or leaves maintenance, which nothing else may change with.
    Maintenance,
    /// An organisation that runs orderers joins or leaves, or its MSP, endpoints or policies change.
    OrdererOrganization {
        /// Name of its group.
        organization: String,
    },
    /// The consenters change, or the kind of consensus. Orderers must be prepared for it, so no update alone does it.
    Consenters,
    /// Batches, options of the consensus, limits, addresses and hashes.
    OrdererSettings,
    /// The capabilities of the three levels.
    Capabilities,
    /// An organisation that runs peers joins (with its anchors) or leaves, or its MSP or policies change.
    Member {
        /// Name of its group.
        organization: String,
    },
    /// The anchors of an organisation that is a member.
    Anchors {
        /// Name of its group.
        organization: String,
    },
    /// Policies, modification policies and ACLs of the three levels.
    Policies,
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maintenance => formatter.write_str("maintenance"),
            Self::OrdererOrganization { organization } => write!(formatter, "orderer-organization/{organization}"),
            Self::Consenters => formatter.write_str("consenters"),
            Self::OrdererSettings => formatter.write_str("orderer-settings"),
            Self::Capabilities => formatter.write_str("capabilities"),
            Self::Member { organization } => write!(formatter, "member/{organization}"),
            Self::Anchors { organization } => write!(formatter, "anchors/{organization}"),
            Self::Policies => formatter.write_str("policies"),
        }
    }
}

/// Cuts the way from `current` to `wanted` into topics, sorted: each comes with `current` in which only that topic is
/// as wanted. Making the changes one after the other, each computed anew, leads to `wanted`.
///
/// What `wanted` does not speak of is carried over ([`ChannelConfig::carrying_over`]).
pub fn split(current: &ChannelConfig, wanted: &ChannelConfig) -> Vec<(Topic, ChannelConfig)> {
    let wanted = wanted.carrying_over(current);
    let mut topics =
        vec![Topic::Maintenance, Topic::Consenters, Topic::OrdererSettings, Topic::Capabilities, Topic::Policies];
    let names = current.orderer.organizations.keys().chain(wanted.orderer.organizations.keys());
    topics.extend(unique(names).map(|organization| Topic::OrdererOrganization { organization }));
    let names = current.application.organizations.keys().chain(wanted.application.organizations.keys());
    for organization in unique(names) {
        topics.push(Topic::Anchors { organization: organization.clone() });
        topics.push(Topic::Member { organization });
    }
    topics.sort();
    let tree = current.to_config_group();
    topics
        .into_iter()
        .filter_map(|topic| {
            let changed = with_topic(current, &wanted, &topic)?;
            (changed != *current && changed.to_config_group() != tree).then_some((topic, changed))
        })
        .collect()
}

/// `current` with one topic as in `wanted`: what [`split`] has for it, without a look at the others.
pub fn split_off(current: &ChannelConfig, wanted: &ChannelConfig, topic: &Topic) -> Option<ChannelConfig> {
    let changed = with_topic(current, &wanted.carrying_over(current), topic)?;
    (changed != *current && changed.to_config_group() != current.to_config_group()).then_some(changed)
}

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, UnknownTopic> {
        let (kind, organization) = match text.split_once('/') {
            Some((kind, organization)) => (kind, Some(organization.to_owned())),
            None => (text, None),
        };
        match (kind, organization) {
            ("maintenance", None) => Ok(Self::Maintenance),
            ("orderer-organization", Some(organization)) => Ok(Self::OrdererOrganization { organization }),
            ("consenters", None) => Ok(Self::Consenters),
            ("orderer-settings", None) => Ok(Self::OrdererSettings),
            ("capabilities", None) => Ok(Self::Capabilities),
            ("member", Some(organization)) => Ok(Self::Member { organization }),
            ("anchors", Some(organization)) => Ok(Self::Anchors { organization }),
            ("policies", None) => Ok(Self::Policies),
            _ => Err(UnknownTopic(text.to_owned())),
        }
    }
}

/// A text that names no topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no topic of an update")]
pub struct UnknownTopic(String);

fn unique<'a>(names: impl Iterator<Item = &'a String>) -> impl Iterator<Item = String> {
    names.cloned().collect::<BTreeSet<_>>().into_iter()
}

/// `current` with one topic as in `wanted`; `None` if a cheap look shows that the topic does not change.
fn with_topic(current: &ChannelConfig, wanted: &ChannelConfig, topic: &Topic) -> Option<ChannelConfig> {
    match topic {
        Topic::Maintenance => (current.orderer.state != wanted.orderer.state).then(|| {
            let mut config = current.clone();
            config.orderer.state = wanted.orderer.state;
            config
        }),
        Topic::OrdererOrganization { organization } => orderer_organization(current, wanted, organization),
        Topic::Consenters => consenters(current, wanted),
        Topic::OrdererSettings => Some(orderer_settings(current, wanted)),
        Topic::Capabilities => Some(capabilities(current, wanted)),
        Topic::Member { organization } => member(current, wanted, organization),
        Topic::Anchors { organization } => anchors(current, wanted, organization),
        Topic::Policies => Some(policies(current, wanted)),
    }
}

/// What the maps that are kept by element say of the elements for which `belongs` holds.
fn take_kept(config: &mut ChannelConfig, wanted: &ChannelConfig, belongs: impl Fn(&str) -> bool) {
    fn take<T: Clone>(into: &mut BTreeMap<String, T>, from: &BTreeMap<String, T>, belongs: impl Fn(&str) -> bool) {
        into.retain(|element, _| !belongs(element));
        let taken = from.iter().filter(|(element, _)| belongs(element));
        into.extend(taken.map(|(element, value)| (element.clone(), value.clone())));
    }
    take(&mut config.other_values, &wanted.other_values, &belongs);
    take(&mut config.mod_policies, &wanted.mod_policies, &belongs);
    take(&mut config.versions, &wanted.versions, &belongs);
}

fn kept_differ(current: &ChannelConfig, wanted: &ChannelConfig, belongs: impl Fn(&str) -> bool) -> bool {
    fn differ<T: PartialEq>(
        one: &BTreeMap<String, T>,
        two: &BTreeMap<String, T>,
        belongs: impl Fn(&str) -> bool,
    ) -> bool {
        let select = |map| -> Vec<(&String, &T)> {
            let map: &BTreeMap<String, T> = map;
            map.iter().filter(|(element, _)| belongs(element)).collect()
        };
        select(one) != select(two)
    }
    differ(&current.other_values, &wanted.other_values, &belongs)
        || differ(&current.mod_policies, &wanted.mod_policies, &belongs)
}

/// The path of an element, from its name as [`Element::at`] writes it.
fn path(element: &str) -> &str {
    element.find('/').and_then(|start| element.get(start..)).unwrap_or_default()
}

fn is_in(element: &str, group: &str) -> bool {
    path(element).strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether an element is one of the three levels, or directly in one: not of an organisation.
fn is_of_a_level(element: &str) -> bool {
    let path = path(element);
    let levels = [CHANNEL, ORDERER, APPLICATION];
    let is_group = element == Element::Group.at(path);
    levels.contains(&path) || (!is_group && path.rsplit_once('/').is_some_and(|(group, _)| levels.contains(&group)))
}

fn orderer_organization(current: &ChannelConfig, wanted: &ChannelConfig, name: &str) -> Option<ChannelConfig> {
    let group = format!("{ORDERER}/{name}");
    let belongs = |element: &str| is_of_organization(element, &group);
    let organization = wanted.orderer.organizations.get(name);
    if current.orderer.organizations.get(name) == organization && !kept_differ(current, wanted, belongs) {
        return None;
    }
    let mut config = current.clone();
    set(&mut config.orderer.organizations, name, organization);
    take_kept(&mut config, wanted, belongs);
    Some(config)
}

/// Whether an element is the group of an organisation or in it. A value or policy of a level may have the group's name.
fn is_of_organization(element: &str, group: &str) -> bool {
    is_in(element, group) && !is_of_a_level(element)
}

fn set<T: Clone>(map: &mut BTreeMap<String, T>, name: &str, value: Option<&T>) {
    match value {
        Some(value) => map.insert(name.to_owned(), value.clone()),
        None => map.remove(name),
    };
}

fn member(current: &ChannelConfig, wanted: &ChannelConfig, name: &str) -> Option<ChannelConfig> {
    let group = format!("{APPLICATION}/{name}");
    let anchors = anchors_of(name);
    let (old, new) = (current.application.organizations.get(name), wanted.application.organizations.get(name));
    let stays = old.is_some() && new.is_some();
    let belongs = |element: &str| is_of_organization(element, &group) && !(stays && element == anchors);
    let mut organization = new.cloned();
    if let (Some(organization), Some(old)) = (&mut organization, old) {
        organization.anchors.clone_from(&old.anchors);
    }
    if old == organization.as_ref() && !kept_differ(current, wanted, belongs) {
        return None;
    }
    let mut config = current.clone();
    set(&mut config.application.organizations, name, organization.as_ref());
    take_kept(&mut config, wanted, belongs);
    Some(config)
}

fn anchors_of(organization: &str) -> String {
    Element::Value.at(&format!("{APPLICATION}/{organization}/{}", key::ANCHOR_PEERS))
}

fn anchors(current: &ChannelConfig, wanted: &ChannelConfig, name: &str) -> Option<ChannelConfig> {
    let element = anchors_of(name);
    let belongs = |other: &str| other == element;
    let old = current.application.organizations.get(name)?;
    let new = wanted.application.organizations.get(name)?;
    if old.anchors == new.anchors && !kept_differ(current, wanted, belongs) {
        return None;
    }
    let mut config = current.clone();
    if let Some(organization) = config.application.organizations.get_mut(name) {
        organization.anchors.clone_from(&new.anchors);
    }
    take_kept(&mut config, wanted, belongs);
    Some(config)
}

/// The policy that follows from the consenters of a BFT channel.
fn follows_from_consenters(config: &ChannelConfig) -> Option<&Policy> {
    let is_bft = matches!(config.orderer.consensus, Consensus::Bft { .. });
    if is_bft { config.orderer.policies.get(BLOCK_VALIDATION) } else { None }
}

fn is_bft(config: &ChannelConfig) -> bool {
    matches!(config.orderer.consensus, Consensus::Bft { .. })
}

/// Consenters and kind of consensus as wanted, options as they are.
fn consenters(current: &ChannelConfig, wanted: &ChannelConfig) -> Option<ChannelConfig> {
    let consensus = match (&current.orderer.consensus, &wanted.orderer.consensus) {
        (Consensus::EtcdRaft { options, .. }, Consensus::EtcdRaft { consenters, .. }) => {
            Consensus::EtcdRaft { consenters: consenters.clone(), options: options.clone() }
        }
        (Consensus::Bft { options, .. }, Consensus::Bft { consenters, .. }) => {
            Consensus::Bft { consenters: consenters.clone(), options: options.clone() }
        }
        (Consensus::Other { kind: old, .. }, Consensus::Other { kind: new, .. }) if old == new => {
            current.orderer.consensus.clone()
        }
        (_, wanted) => wanted.clone(),
    };
    let validation = (follows_from_consenters(current), follows_from_consenters(wanted));
    if consensus == current.orderer.consensus && validation.0 == validation.1 {
        return None;
    }
    let mut config = current.clone();
    config.orderer.consensus = consensus;
    if is_bft(current) || is_bft(wanted) {
        set(&mut config.orderer.policies, BLOCK_VALIDATION, wanted.orderer.policies.get(BLOCK_VALIDATION));
    }
    take_kept(&mut config, wanted, |element| element == Element::Value.at(&format!("{ORDERER}/{}", key::ORDERERS)));
    Some(config)
}

/// Options of the consensus as wanted, if its kind stays.
fn with_options(current: &Consensus, wanted: &Consensus) -> Consensus {
    match (current, wanted) {
        (Consensus::EtcdRaft { consenters, .. }, Consensus::EtcdRaft { options, .. }) => {
            Consensus::EtcdRaft { consenters: consenters.clone(), options: options.clone() }
        }
        (Consensus::Bft { consenters, .. }, Consensus::Bft { options, .. }) => {
            Consensus::Bft { consenters: consenters.clone(), options: options.clone() }
        }
        (Consensus::Other { kind: old, .. }, Consensus::Other { kind: new, .. }) if old == new => wanted.clone(),
        _ => current.clone(),
    }
}

fn orderer_settings(current: &ChannelConfig, wanted: &ChannelConfig) -> ChannelConfig {
    // Every field is named, so that a new one cannot be forgotten.
    let ChannelConfig {
        capabilities: _,
        hashing_algorithm,
        block_data_hashing_width,
        orderer_addresses,
        consortium,
        policies: _,
        orderer,
        application: ApplicationConfig { capabilities: _, acls: _, policies: _, organizations: _ },
        other_values: _,
        mod_policies: _,
        versions: _,
        sequence: _,
    } = wanted;
    let OrdererConfig { capabilities: _, consensus, state: _, batch, max_channels, policies: _, organizations: _ } =
        orderer;
    let mut config = current.clone();
    config.hashing_algorithm.clone_from(hashing_algorithm);
    config.block_data_hashing_width = *block_data_hashing_width;
    config.orderer_addresses.clone_from(orderer_addresses);
    config.consortium.clone_from(consortium);
    config.orderer.consensus = with_options(&current.orderer.consensus, consensus);
    config.orderer.batch.clone_from(batch);
    config.orderer.max_channels = *max_channels;
    let of_other_topics = [CHANNEL, ORDERER, APPLICATION]
        .map(|level| [key::CAPABILITIES, key::ACLS, key::ORDERERS].map(|name| level_value(level, name)));
    let of_other_topics = of_other_topics.as_flattened();
    take_values(&mut config, wanted, |element| {
        is_of_a_level(element) && !of_other_topics.iter().any(|other| other == element)
    });
    config
}

fn take_values(config: &mut ChannelConfig, wanted: &ChannelConfig, belongs: impl Fn(&str) -> bool) {
    config.other_values.retain(|element, _| !belongs(element));
    let taken = wanted.other_values.iter().filter(|(element, _)| belongs(element));
    config.other_values.extend(taken.map(|(element, bytes)| (element.clone(), bytes.clone())));
}

fn capabilities(current: &ChannelConfig, wanted: &ChannelConfig) -> ChannelConfig {
    let mut config = current.clone();
    config.capabilities.clone_from(&wanted.capabilities);
    config.orderer.capabilities.clone_from(&wanted.orderer.capabilities);
    config.application.capabilities.clone_from(&wanted.application.capabilities);
    let elements = [CHANNEL, ORDERER, APPLICATION].map(|level| level_value(level, key::CAPABILITIES));
    take_values(&mut config, wanted, |element| elements.iter().any(|known| known == element));
    config
}

fn level_value(level: &str, name: &str) -> String {
    Element::Value.at(&format!("{level}/{name}"))
}

fn policies(current: &ChannelConfig, wanted: &ChannelConfig) -> ChannelConfig {
    let mut config = current.clone();
    let take = |into: &mut Policies, from: &Policies| into.clone_from(from);
    take(&mut config.policies, &wanted.policies);
    take(&mut config.application.policies, &wanted.application.policies);
    take(&mut config.orderer.policies, &wanted.orderer.policies);
    if is_bft(current) || is_bft(wanted) {
        // It belongs to the consenters.
        set(&mut config.orderer.policies, BLOCK_VALIDATION, current.orderer.policies.get(BLOCK_VALIDATION));
    }
    config.application.acls.clone_from(&wanted.application.acls);
    let acls = level_value(APPLICATION, key::ACLS);
    take_values(&mut config, wanted, |element| element == acls);
    // An element that only another topic removes keeps its modification policy until then.
    let tree = wanted.to_config_group();
    let known = elements(CHANNEL, &tree);
    config.mod_policies.retain(|element, _| !is_of_a_level(element) || !known.contains_key(element));
    let mod_policies = wanted.mod_policies.iter().filter(|(element, _)| is_of_a_level(element));
    config.mod_policies.extend(mod_policies.map(|(element, policy)| (element.clone(), policy.clone())));
    config
}
