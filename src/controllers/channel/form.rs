//! Looks at a channel and does what was decided, by nothing but [`Nodes`]: no Kubernetes client in sight.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::FutureExt as _;
use tenter_consortium::channel_config::{TopicUpdate, first_config, genesis, live_channel};
use tenter_consortium::objects::{ChannelSpec, ConsenterRef, LABEL_CHANNEL, LABEL_CONSORTIUM, LABEL_ORGANIZATION};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{JoinRecord, LiveChannel, NodeRef, PinnedGenesis};
use tenter_consortium::repository::material::config_map;
use tenter_consortium::settings::organization_allowed;
use tenter_consortium::status::ForeignMember;
use tenter_fabric::block::Block;
use tenter_fabric::config::CurrentConfig;
use tenter_fabric::genesis::{GenesisFormat, GenesisInputs, verify_pinned};
use tokio::time::sleep;

use super::config::{Asked, ProposalSeen, compare};
use super::decide::{Action, OrdererView, Uncomputable, View};
use super::material::{Others, gather};
use super::status::foreign_members;
use crate::controllers::Failure;
use crate::controllers::apply::MANAGED_BY;
use crate::nodes::records::{self, Pinned, block_hash, read_pinned};
use crate::nodes::{Foreign, Node, NodeKind, Nodes, Ordering, chain};
use crate::observe::channel::{self, bounded, each};

/// What was seen of a channel.
pub struct Seen {
    /// What is decided on.
    pub view: View,
    /// The pinned genesis block.
    pub pinned: Option<Pinned>,
    /// The genesis block that would be pinned.
    pub computed: Option<Pinned>,
    /// The own consenters.
    pub nodes: BTreeMap<NodeRef, Node>,
    /// Where none of them is a consenter: those that are going, and those of others, as they are asked.
    pub elsewhere: Vec<Node>,
    /// The members that other daemons act for.
    pub members: Vec<ForeignMember>,
    /// The live configuration.
    pub config: Observation<LiveChannel>,
    /// The updates that would bring it to what the spec says.
    pub updates: Vec<TopicUpdate>,
    /// Who was asked for the configuration.
    sources: Vec<Node>,
}

/// The consenters that a daemon which acts for `organizations` acts for.
pub fn own_consenters(spec: &ChannelSpec, organizations: &[String]) -> Vec<Node> {
    let own = spec.consensus.consenters.iter();
    let own = own.filter(|consenter| organization_allowed(&consenter.organization, organizations));
    own.filter_map(|consenter| consenter_node(spec, consenter)).collect()
}

fn consenter_node(spec: &ChannelSpec, consenter: &ConsenterRef) -> Option<Node> {
    let organization = spec.orderer_organizations.iter().find(|it| it.organization == consenter.organization)?;
    Some(Node {
        reference: NodeRef { namespace: consenter.namespace.clone(), name: consenter.orderer.clone() },
        kind: NodeKind::Orderer,
        msp_id: organization.msp_id.clone(),
        address: consenter.address.clone(),
        foreign: None,
    })
}

/// The orderers that this daemon acts for and that are to order the channel no more.
pub fn own_leaving(spec: &ChannelSpec, organizations: &[String]) -> Vec<Node> {
    let own = spec.consensus.released.iter().filter(|it| organization_allowed(&it.organization, organizations));
    own.map(|orderer| Node {
        reference: NodeRef { namespace: orderer.namespace.clone(), name: orderer.orderer.clone() },
        kind: NodeKind::Orderer,
        msp_id: orderer.msp_id.clone(),
        address: orderer.address.clone(),
        foreign: None,
    })
    .collect()
}

/// Own organizations of the channel whose readers may ask others: namespace and MSP ID.
pub fn own_readers(spec: &ChannelSpec, organizations: &[String]) -> Vec<(String, String)> {
    let members = spec.members.iter().map(|it| (&it.organization, &it.namespace, &it.msp_id));
    let orderers = spec.orderer_organizations.iter().map(|it| (&it.organization, &it.namespace, &it.msp_id));
    let mut readers: Vec<(String, String)> = Vec::new();
    for (organization, namespace, msp_id) in members.chain(orderers) {
        let reader = (namespace.clone(), msp_id.clone());
        if organization_allowed(organization, organizations) && !readers.contains(&reader) {
            readers.push(reader);
        }
    }
    readers
}

/// The consenters that daemons of other members act for, for each of these readers. `namespace` is the consortium's, where
/// the roots that verify them are kept.
pub fn foreign_consenters(
    spec: &ChannelSpec,
    namespace: &str,
    organizations: &[String],
    readers: &[(String, String)],
) -> Vec<Node> {
    let mut nodes = Vec::new();
    for reader in readers {
        for consenter in &spec.consensus.consenters {
            if organization_allowed(&consenter.organization, organizations) {
                continue;
            }
            let material = (namespace.to_owned(), config_map(&spec.consortium, &consenter.organization));
            let foreign = Some(Foreign { material, reader: reader.clone() });
            nodes.extend(consenter_node(spec, consenter).map(|node| Node { foreign, ..node }));
        }
    }
    nodes
}

/// The organizations that take part in the channel and that a daemon which acts for `organizations` does not act for.
pub fn foreign(spec: &ChannelSpec, organizations: &[String]) -> Vec<String> {
    let taking_part: BTreeSet<&String> = spec
        .orderer_organizations
        .iter()
        .map(|entry| &entry.organization)
        .chain(spec.members.iter().map(|member| &member.organization))
        .chain(spec.consensus.consenters.iter().map(|consenter| &consenter.organization))
        .collect();
    taking_part.into_iter().filter(|name| !organization_allowed(name, organizations)).cloned().collect()
}

/// Who takes part in a channel, as a daemon sees it.
#[derive(Clone, Debug, Default)]
pub struct Parties {
    /// The own consenters.
    pub own: Vec<Node>,
    /// Own orderers that order no more, or not for long: they are asked when none of the others can tell.
    pub leaving: Vec<Node>,
    /// The organizations that other daemons act for.
    pub foreign: Vec<String>,
    /// The consenters of those, as they are asked.
    pub others: Vec<Node>,
    /// MSP IDs of the own organizations.
    pub msp_ids: Vec<String>,
}

impl Parties {
    /// The parties of a channel for a daemon that acts for `organizations`. `namespace` is the consortium's.
    pub fn of(spec: &ChannelSpec, namespace: &str, organizations: &[String]) -> Self {
        let readers = own_readers(spec, organizations);
        Self {
            own: own_consenters(spec, organizations),
            leaving: own_leaving(spec, organizations),
            foreign: foreign(spec, organizations),
            others: foreign_consenters(spec, namespace, organizations, &readers),
            msp_ids: readers.into_iter().map(|(_, msp_id)| msp_id).collect(),
        }
    }
}

/// The block 0 that other members' orderers deliver to an organization which came to the channel later. Whoever stands in it
/// founded the channel, and takes only the block that the repository pins and that was computed again.
async fn delivered(nodes: &Nodes, spec: &ChannelSpec, parties: &Parties) -> Result<Pinned, String> {
    let questions =
        parties.others.iter().map(|node| bounded(node, "block 0", nodes.block(node, &spec.channel, 0).boxed()));
    let answers = futures::future::join_all(questions).await;
    let mut found: Option<Block> = None;
    let mut silent = Vec::new();
    for (node, answer) in parties.others.iter().zip(answers) {
        match answer {
            Observation::Present { value } => match &found {
                Some(other) if other.header_hash() != value.header_hash() => {
                    return Err(format!("the orderers have different blocks 0; {node} is one of them"));
                }
                Some(_) => {}
                None => found = Some(value),
            },
            other => silent.extend(other.evidence().map(str::to_owned)),
        }
    }
    let block = found.ok_or_else(|| silent.join("; "))?;
    block.verify_data_hash().map_err(|error| chain(&error))?;
    let hash = hex::encode(block.header_hash());
    if let Some(pinned) = spec.genesis_hash.as_ref().filter(|pinned| **pinned != hash) {
        return Err(format!("the orderers deliver block 0 {hash}, and the repository pins {pinned}"));
    }
    let config = CurrentConfig::from_block(&block).map_err(|error| chain(&error))?;
    let members = config.config().application.organizations.values().map(|member| &member.msp.msp_id);
    let orderers = config.config().orderer.organizations.values().map(|orderer| &orderer.msp.msp_id);
    if let Some(founder) = members.chain(orderers).find(|msp_id| parties.msp_ids.contains(msp_id)) {
        return Err(format!("{founder} founded it, and takes only the block that the repository pins"));
    }
    Ok(Pinned { hash, block: block.into_bytes() })
}

/// The most blocks that other members' orderers have, where no own consenter can tell.
async fn ordering_elsewhere(nodes: &Nodes, channel: &str, others: &[Node]) -> Observation<Ordering> {
    let questions = others.iter().map(|node| bounded(node, "newest block", nodes.ordering(node, channel).boxed()));
    let mut best = None;
    let mut evidence = Vec::new();
    for answer in futures::future::join_all(questions).await {
        match answer {
            Observation::Present { value: Ordering::Serving { height } } => best = best.max(Some(height)),
            Observation::Present { value: Ordering::NoLeader } => evidence.push("no leader".to_owned()),
            other => evidence.extend(other.evidence().map(str::to_owned)),
        }
    }
    match best {
        Some(height) => Observation::Present { value: Ordering::Serving { height } },
        None => Observation::Unreachable { evidence: evidence.join("; ") },
    }
}

/// How often a node is asked again that lags.
const LAGS: usize = 5;
/// How long it is given each time.
const LAG: Duration = Duration::from_millis(200);

/// A configuration that has the block in which an update was seen `committed`. A node that lags would show what stood before, and
/// the same would be proposed once more.
async fn newest<T, F>(committed: Option<u64>, block: fn(&T) -> u64, ask: impl Fn() -> F) -> Observation<T>
where
    F: Future<Output = Observation<T>>,
{
    let lags = |config: &T| committed.is_some_and(|committed| committed > block(config));
    for _ in 0..LAGS {
        let config = ask().await;
        if config.value().is_none_or(|config| !lags(config)) {
            return config;
        }
        sleep(LAG).await;
    }
    ask().await.try_map(|config| {
        if !lags(&config) {
            return Ok(config);
        }
        let (shown, seen) = (block(&config), committed.unwrap_or_default());
        Err(format!("config block {shown} was shown, and block {seen} was seen already: the node lags"))
    })
}

/// Looks at everything that the decision needs. With `foreign` organizations no genesis block is computed: the plan takes
/// it out of the repository. What is missing for one is looked for all the same.
pub async fn look(
    nodes: &Nodes,
    namespace: &str,
    spec: &ChannelSpec,
    parties: Parties,
    proposals: &[ProposalSeen],
) -> Seen {
    let Parties { own, leaving, foreign, .. } = &parties;
    let (pinned, orderers) = tokio::join!(
        read_pinned(nodes.store(), namespace, &spec.channel, block_hash),
        each(own, |node| look_at(nodes, node, &spec.channel)),
    );
    let held =
        orderers.values().any(|view| view.channel.live.value().is_some() || view.channel.record == JoinRecord::Joined);
    let others = Others { namespace, organizations: foreign };
    let mut brought = None;
    let material = if held {
        // The pinned bytes are the truth now, whatever the certificates have become.
        Err(Uncomputable::Held)
    } else if !foreign.is_empty() && pinned.value().is_some() {
        // The plan has compared it with what the repository gives.
        Err(Uncomputable::Foreign { organizations: foreign.clone(), evidence: String::new() })
    } else {
        let material = gather(nodes.store(), spec, &others).await;
        if foreign.is_empty() {
            material
        } else {
            let mut evidence = String::new();
            if pinned.is_absent() && own.is_empty() {
                match delivered(nodes, spec, &parties).await {
                    Ok(block) => brought = Some(block),
                    Err(why) => evidence = why,
                }
            }
            // What is missing is worth more than that the block comes out of the repository.
            material.and(Err(Uncomputable::Foreign { organizations: foreign.clone(), evidence }))
        }
    };
    let genesis_seen = pinned.clone().map(|pinned| PinnedGenesis { hash: pinned.hash });
    let pinned = pinned.value().cloned();
    let computed = material.as_ref().map_err(Clone::clone).and_then(|material| {
        let block = genesis(spec, material).map_err(Uncomputable::Refused)?;
        Ok(Pinned { hash: hex::encode(block.header_hash()), block: block.into_bytes() })
    });
    let computed = brought.map_or(computed, Ok);
    let outdated = pinned.as_ref().zip(material.as_ref().ok()).and_then(|(pinned, material)| {
        let config = first_config(spec, material).ok()?;
        let inputs = GenesisInputs { channel_id: &spec.channel, config: &config, format: GenesisFormat::LATEST };
        verify_pinned(&pinned.block, &inputs).err().map(|difference| chain(&difference))
    });
    // Of a block that no longer follows it matters whether anybody has joined it, those that are to leave among them.
    let formed = match &outdated {
        Some(_) => each(leaving, |node| channel::orderer(nodes, node, &spec.channel))
            .await
            .values()
            .any(|seen| seen.live.value().is_some() || seen.record == JoinRecord::Joined),
        None => false,
    };
    // Those that block 0 names may join it; whoever comes later takes what the others have come to.
    let founders = pinned.as_ref().and_then(|pinned| Block::from_bytes(&pinned.block[..]).ok());
    let founders = founders.and_then(|block| live_channel(&block).ok()).map(|live| live.facts.consenters);
    let founders: BTreeSet<NodeRef> = own
        .iter()
        .filter(|node| founders.as_ref().is_none_or(|founders| founders.contains(&node.address)))
        .map(|node| node.reference.clone())
        .collect();
    let late = own.is_empty() || founders.len() < own.len();
    let elsewhere: Vec<Node> = leaving.iter().chain(parties.others.iter().filter(|_| late)).cloned().collect();
    // One that only follows delivers nothing.
    let holds = |node: &&Node| {
        let live = orderers.get(&node.reference).and_then(|view| view.channel.live.value());
        live.is_some_and(|live| live.relation == "consenter")
    };
    let holders: Vec<Node> = own.iter().filter(holds).cloned().collect();
    let hash = pinned.as_ref().map(|pinned| pinned.hash.as_str());
    let alone = holders.is_empty();
    let sources = if alone { elsewhere.clone() } else { holders };
    let committed = proposals.iter().filter_map(|proposal| proposal.block).max();
    let config =
        newest(committed, |live: &LiveChannel| live.block, || channel::config(nodes, &sources, &spec.channel, hash))
            .await;
    let ordering = if alone && pinned.is_some() && !elsewhere.is_empty() {
        ordering_elsewhere(nodes, &spec.channel, &elsewhere).await
    } else {
        Observation::Unreachable { evidence: "other members' orderers were not asked".to_owned() }
    };
    let height = match ordering.value() {
        Some(Ordering::Serving { height }) => Some(*height),
        Some(Ordering::NoLeader) | None => None,
    };
    let asked = Asked { spec, others: &others, own, orderers: &orderers, proposals, elsewhere: height };
    let (config_view, updates) = compare(nodes, &sources, &asked, &config).await;
    let view = View {
        channel: spec.channel.clone(),
        namespace: namespace.to_owned(),
        consensus: spec.consensus.consensus_type,
        consenters: config.value().map_or(spec.consensus.consenters.len(), |live| live.facts.consenters.len()),
        orderers,
        genesis: genesis_seen,
        computed: computed.as_ref().map(|pinned| pinned.hash.clone()).map_err(Clone::clone),
        outdated,
        elsewhere: ordering,
        config: config_view,
        founders,
        formed,
        definition_awaited: None,
    };
    let members = foreign_members(spec, foreign, config.value(), proposals);
    let followed = if alone { elsewhere } else { Vec::new() };
    let nodes = parties.own.into_iter().map(|node| (node.reference.clone(), node)).collect();
    Seen { view, pinned, computed: computed.ok(), nodes, elsewhere: followed, members, config, updates, sources }
}

async fn look_at(nodes: &Nodes, node: &Node, channel: &str) -> OrdererView {
    let seen = channel::orderer(nodes, node, channel).await;
    if seen.live.value().is_none() {
        let unasked = || format!("{node} was not asked: it does not hold channel {channel}, or did not say so");
        return OrdererView {
            channel: seen,
            genesis: Observation::Unreachable { evidence: unasked() },
            ordering: Observation::Unreachable { evidence: unasked() },
        };
    }
    let (genesis, ordering) = tokio::join!(
        bounded(node, "block 0", nodes.genesis_hash(node, channel).boxed()),
        bounded(node, "newest block", nodes.ordering(node, channel).boxed()),
    );
    OrdererView { channel: seen, genesis, ordering }
}

/// Does one thing that was decided on what was seen.
pub async fn perform(
    nodes: &Nodes,
    namespace: &str,
    spec: &ChannelSpec,
    seen: &Seen,
    action: &Action,
) -> Result<(), Failure> {
    match action {
        Action::Pin => {
            let computed =
                seen.computed.as_ref().ok_or_else(|| missing("PinGenesis", "no genesis block was computed"))?;
            // A block that somebody else pinned in between stays: the next look compares it.
            records::pin(nodes.store(), namespace, &spec.channel, labels(spec), computed)
                .await
                .map(drop)
                .map_err(|error| Failure::new("PinGenesis", chain(&error)))
        }
        Action::Propose(topic) => Err(missing("Propose", &format!("{topic} is not proposed by way of the nodes"))),
        Action::Join(reference) => {
            let (node, pinned) = known(seen, reference)?;
            // The first block may name addresses that nobody has any more.
            let founder = seen.view.founders.contains(reference);
            let newest = if founder { None } else { Some(newest_config(nodes, spec, seen).await?) };
            let block = newest.as_ref().map_or(&pinned.block[..], Block::bytes);
            nodes.join_orderer(node, block).await.map_err(|error| Failure::new("JoinOrderer", chain(&error)))
        }
        Action::Record(reference) => {
            let (node, pinned) = known(seen, reference)?;
            let mut labels = labels(spec);
            labels.remove(LABEL_CHANNEL);
            let organization =
                spec.consensus.consenters.iter().find(|consenter| {
                    consenter.namespace == reference.namespace && consenter.orderer == reference.name
                });
            if let Some(consenter) = organization {
                labels.insert(LABEL_ORGANIZATION.to_owned(), consenter.organization.clone());
            }
            records::record(nodes.store(), &node.reference, &spec.channel, labels, &pinned.hash)
                .await
                .map_err(|error| Failure::new("RecordJoin", chain(&error)))
        }
    }
}

/// The newest config block, from one that showed the configuration.
async fn newest_config(nodes: &Nodes, spec: &ChannelSpec, seen: &Seen) -> Result<Block, Failure> {
    let mut silent = Vec::new();
    for node in &seen.sources {
        match bounded(node, "config block", nodes.config_block(node, &spec.channel).boxed()).await {
            Observation::Present { value } => {
                value.verify_data_hash().map_err(|error| Failure::new("JoinOrderer", chain(&error)))?;
                return Ok(value);
            }
            other => silent.extend(other.evidence().map(str::to_owned)),
        }
    }
    Err(missing("JoinOrderer", &format!("nobody gives the newest config block: {}", silent.join("; "))))
}

fn missing(reason: &str, what: &str) -> Failure {
    Failure::new(reason, format!("{what}; it is looked at again"))
}

fn known<'a>(seen: &'a Seen, reference: &NodeRef) -> Result<(&'a Node, &'a Pinned), Failure> {
    let node =
        seen.nodes.get(reference).ok_or_else(|| missing("JoinOrderer", "the orderer is not this daemon's own"))?;
    let pinned = seen.pinned.as_ref().ok_or_else(|| missing("JoinOrderer", "no genesis block is pinned"))?;
    Ok((node, pinned))
}

fn labels(spec: &ChannelSpec) -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.to_owned(), "tenter".to_owned()),
        (LABEL_CONSORTIUM.to_owned(), spec.consortium.clone()),
        (LABEL_CHANNEL.to_owned(), spec.channel.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_node_that_lags_is_asked_again() {
        let asked = Cell::new(3);
        let ask = || {
            asked.set(asked.get() + 1);
            std::future::ready(Observation::Present { value: asked.get() })
        };
        assert_eq!(newest(Some(6), |block: &u64| *block, ask).await.value(), Some(&6));
        let stays = || std::future::ready(Observation::Present { value: 5_u64 });
        let lags = newest(Some(6), |block: &u64| *block, stays).await;
        assert!(matches!(&lags, Observation::Unreachable { evidence } if evidence.contains("lags")), "{lags:?}");
        assert_eq!(newest(None, |block: &u64| *block, stays).await.value(), Some(&5));
    }
}
