//! Looks at a channel and does what was decided, by nothing but [`Nodes`]: no Kubernetes client in sight.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::FutureExt as _;
use tenter_consortium::channel_config::{TopicUpdate, first_config, genesis};
use tenter_consortium::objects::{ChannelSpec, LABEL_CHANNEL, LABEL_CONSORTIUM, LABEL_ORGANIZATION};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{JoinRecord, LiveChannel, NodeRef, PinnedGenesis};
use tenter_consortium::settings::organization_allowed;
use tenter_fabric::genesis::{GenesisFormat, GenesisInputs, verify_pinned};

use super::config::{ProposalSeen, compare};
use super::decide::{Action, OrdererView, Uncomputable, View};
use super::material::{Others, gather};
use crate::controllers::Failure;
use crate::controllers::apply::MANAGED_BY;
use crate::nodes::records::{self, Pinned, block_hash, read_pinned};
use crate::nodes::{Node, NodeKind, Nodes, chain};
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
    /// The live configuration.
    pub config: Observation<LiveChannel>,
    /// The updates that would bring it to what the spec says.
    pub updates: Vec<TopicUpdate>,
}

/// The consenters that a daemon which acts for `organizations` acts for.
pub fn own_consenters(spec: &ChannelSpec, organizations: &[String]) -> Vec<Node> {
    let msp_id = |organization: &str| {
        spec.orderer_organizations.iter().find(|entry| entry.organization == organization).map(|entry| &entry.msp_id)
    };
    spec.consensus
        .consenters
        .iter()
        .filter(|consenter| organization_allowed(&consenter.organization, organizations))
        .filter_map(|consenter| {
            Some(Node {
                reference: NodeRef { namespace: consenter.namespace.clone(), name: consenter.orderer.clone() },
                kind: NodeKind::Orderer,
                msp_id: msp_id(&consenter.organization)?.clone(),
                address: consenter.address.clone(),
            })
        })
        .collect()
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

/// Looks at everything that the decision needs. With `foreign` organizations no genesis block is computed: the plan takes
/// it out of the repository. What is missing for one is looked for all the same.
pub async fn look(
    nodes: &Nodes,
    namespace: &str,
    spec: &ChannelSpec,
    own: Vec<Node>,
    foreign: Vec<String>,
    proposals: &[ProposalSeen],
) -> Seen {
    let (pinned, orderers) = tokio::join!(
        read_pinned(nodes.store(), namespace, &spec.channel, block_hash),
        each(&own, |node| look_at(nodes, node, &spec.channel)),
    );
    let held =
        orderers.values().any(|view| view.channel.live.value().is_some() || view.channel.record == JoinRecord::Joined);
    let others = Others { namespace, organizations: &foreign };
    let material = if held {
        // The pinned bytes are the truth now, whatever the certificates have become.
        Err(Uncomputable::Held)
    } else if !foreign.is_empty() && pinned.value().is_some() {
        // The plan has compared it with what the repository gives.
        Err(Uncomputable::Foreign(foreign.clone()))
    } else {
        let material = gather(nodes.store(), spec, &others).await;
        // What is missing is worth more than that the block comes out of the repository.
        if foreign.is_empty() { material } else { material.and(Err(Uncomputable::Foreign(foreign.clone()))) }
    };
    let genesis_seen = pinned.clone().map(|pinned| PinnedGenesis { hash: pinned.hash });
    let pinned = pinned.value().cloned();
    let computed = material.as_ref().map_err(Clone::clone).and_then(|material| {
        let block = genesis(spec, material).map_err(Uncomputable::Refused)?;
        Ok(Pinned { hash: hex::encode(block.header_hash()), block: block.into_bytes() })
    });
    let outdated = pinned.as_ref().zip(material.as_ref().ok()).and_then(|(pinned, material)| {
        let config = first_config(spec, material).ok()?;
        let inputs = GenesisInputs { channel_id: &spec.channel, config: &config, format: GenesisFormat::LATEST };
        verify_pinned(&pinned.block, &inputs).err().map(|difference| chain(&difference))
    });
    let holders: Vec<Node> = own
        .iter()
        .filter(|node| orderers.get(&node.reference).is_some_and(|view| view.channel.live.value().is_some()))
        .cloned()
        .collect();
    let hash = pinned.as_ref().map(|pinned| pinned.hash.as_str());
    let config = channel::config(nodes, &holders, &spec.channel, hash).await;
    let (config_view, updates) = compare(nodes, &holders, (spec, &others), &config, proposals).await;
    let view = View {
        channel: spec.channel.clone(),
        namespace: namespace.to_owned(),
        consensus: spec.consensus.consensus_type,
        consenters: spec.consensus.consenters.len(),
        orderers,
        genesis: genesis_seen,
        computed: computed.as_ref().map(|pinned| pinned.hash.clone()).map_err(Clone::clone),
        outdated,
        config: config_view,
    };
    let nodes = own.into_iter().map(|node| (node.reference.clone(), node)).collect();
    Seen { view, pinned, computed: computed.ok(), nodes, config, updates }
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
            nodes.join_orderer(node, &pinned.block).await.map_err(|error| Failure::new("JoinOrderer", chain(&error)))
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
