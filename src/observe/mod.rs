//! Looks at the live world for a plan: Kubernetes objects and Fabric, side by side.
//!
//! All questions run concurrently under a bound, each with a time limit. What could not be asked becomes an
//! observation with its evidence, so one node that is down never hides the others.

pub mod chaincode;
pub mod channel;
mod left;
mod objects;

use std::collections::BTreeMap;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use serde::Deserialize as _;
use tenter_consortium::chaincode::wanted;
use tenter_consortium::channel_config::{Material, updates};
use tenter_consortium::desired::{Desired, DesiredChannel};
use tenter_consortium::document::Blob;
use tenter_consortium::objects::{ChannelSpec, Kind, NodeSpec, ObjectRef};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{
    ForeignChange, JoinRecord, LiveChannel, LiveObject, NodeChannel, NodeRef, Observed, ObservedChaincode,
    ObservedChannel, PinnedGenesis,
};
use tenter_fabric::config::CurrentConfig;

use self::channel::each;
use self::objects::Proposed;
use crate::controllers::Context;
use crate::controllers::channel::form::{
    foreign as foreign_organizations, foreign_consenters, own_leaving, own_readers,
};
use crate::controllers::channel::material::{Others, available};
use crate::nodes::records::{block_hash, read_pinned, with_record};
use crate::nodes::store::Entries;
use crate::nodes::{Node, NodeKind, Nodes};

/// Looks at everything that a plan of `desired` needs to know.
pub async fn observe(ctx: &Context, nodes: &Nodes, desired: &Desired) -> Observed {
    let (listed, namespaces, proposed) =
        tokio::join!(objects::list(ctx, desired), objects::namespaces(ctx, desired), objects::proposed(ctx, desired));
    let (kinds, objects) = listed;
    let channels: BTreeMap<String, ObservedChannel> = {
        let kinds = &kinds;
        let objects = &objects;
        let proposed = &proposed;
        let none = &Proposed::default();
        // Boxed for the reason that `each` gives.
        let questions: Vec<BoxFuture<'_, (String, ObservedChannel)>> = desired
            .channels
            .iter()
            .map(|(name, channel)| {
                async move {
                    let seen = observe_channel(
                        nodes,
                        desired,
                        name,
                        channel,
                        kinds,
                        objects,
                        proposed.get(name).unwrap_or(none),
                    )
                    .await;
                    (name.clone(), seen)
                }
                .boxed()
            })
            .collect();
        // Each channel asks up to CONCURRENCY nodes at once; channels share nodes, so few at a time are enough.
        stream::iter(questions).buffer_unordered(4).collect().await
    };
    let chaincodes = chaincodes(ctx, nodes, desired, &channels, &objects).await;
    let held = left::held(nodes, desired, &objects).boxed().await;
    let mut channels = channels;
    channels.extend(left::channels(nodes, desired, &kinds, &objects, &held).boxed().await);
    let mut materials = BTreeMap::new();
    for name in desired.materials.keys() {
        let seen = nodes.store().config_map(&desired.namespace, name).await;
        let blobs = |entries: Entries| entries.into_iter().map(|(key, bytes)| (key, Blob(bytes))).collect();
        materials.insert(name.clone(), seen.map(blobs));
    }
    Observed { kinds, objects, namespaces, channels, chaincodes, held, materials, at: Some(ctx.now()) }
}

/// What the own peers say of the chaincodes. One whose spec makes no definition is named by the planner.
async fn chaincodes(
    ctx: &Context,
    nodes: &Nodes,
    desired: &Desired,
    channels: &BTreeMap<String, ObservedChannel>,
    objects: &BTreeMap<ObjectRef, LiveObject>,
) -> BTreeMap<String, ObservedChaincode> {
    let own: Vec<String> = desired.organizations.iter().cloned().collect();
    let mut seen = BTreeMap::new();
    for (name, chaincode) in &desired.chaincodes {
        let Ok(definition) = wanted(&chaincode.spec) else { continue };
        let spec = &chaincode.spec;
        // On a channel that was never formed nothing is defined, which the planner knows by itself.
        if channels.get(&spec.channel).is_some_and(|channel| channel.genesis.is_absent()) {
            continue;
        }
        let orderers = channels.get(&spec.channel).into_iter().flat_map(|channel| channel.orderers.values());
        let heights = orderers.filter_map(|orderer| Some(orderer.live.value()?.height));
        let tip = std::future::ready(heights.max().unwrap_or_default()).boxed();
        let place = (ctx.namespace.as_str(), spec, own.as_slice());
        let mut observed = chaincode::look(nodes, place, &definition, tip).await.observed;
        for (peer, installed) in &mut observed.installed {
            let object = ObjectRef { kind: Kind::Peer, namespace: peer.namespace.clone(), name: peer.name.clone() };
            if !objects.contains_key(&object) {
                let evidence = format!("there is no Peer {}/{}", peer.namespace, peer.name);
                *installed = Observation::Absent { evidence };
            }
        }
        seen.insert(name.clone(), observed);
    }
    seen
}

/// A node that a channel names, or why it cannot be asked.
enum Known {
    Node(Node),
    /// Its object is not there: it never ran, or was taken away.
    NoObject(String),
    Unknown(String),
}

fn known(
    kind: NodeKind,
    reference: &NodeRef,
    kinds: &BTreeMap<Kind, Observation<()>>,
    objects: &BTreeMap<ObjectRef, LiveObject>,
) -> Known {
    let object_kind = match kind {
        NodeKind::Orderer => Kind::Orderer,
        NodeKind::Peer => Kind::Peer,
    };
    let object = ObjectRef { kind: object_kind, namespace: reference.namespace.clone(), name: reference.name.clone() };
    match objects.get(&object) {
        Some(live) => match NodeSpec::deserialize(&live.spec) {
            Ok(spec) => Known::Node(Node {
                reference: reference.clone(),
                kind,
                msp_id: spec.msp_id,
                address: spec.address,
                foreign: None,
            }),
            Err(error) => Known::Unknown(format!("the spec of {object} cannot be read: {error}")),
        },
        None => match kinds.get(&object_kind) {
            Some(Observation::Present { .. }) => Known::NoObject(format!("the API server has no {object}")),
            Some(other) => Known::Unknown(other.evidence().unwrap_or_default().to_owned()),
            None => Known::Unknown(format!("{object_kind} objects were not listed")),
        },
    }
}

/// What is known of a node without asking it.
async fn unasked<T>(nodes: &Nodes, node: &NodeRef, channel: &str, why: &Known) -> NodeChannel<T> {
    match why {
        Known::NoObject(evidence) => {
            let seen =
                with_record(nodes.store(), node, channel, Observation::Absent { evidence: evidence.clone() }).await;
            match seen.record {
                // Its volume may still be there; only the running node could tell.
                JoinRecord::Joined => NodeChannel {
                    live: Observation::Unreachable { evidence: format!("{evidence}, but it had joined before") },
                    record: JoinRecord::Joined,
                },
                JoinRecord::None => seen,
            }
        }
        Known::Unknown(evidence) => {
            with_record(nodes.store(), node, channel, Observation::Unreachable { evidence: evidence.clone() }).await
        }
        Known::Node(node) => NodeChannel {
            live: Observation::Unreachable { evidence: format!("{node} was not asked") },
            record: JoinRecord::None,
        },
    }
}

/// Asks the nodes of one kind.
async fn ask<T, F>(
    nodes: &Nodes,
    channel: &str,
    knowns: BTreeMap<NodeRef, Known>,
    question: impl Fn(Node) -> F,
) -> (BTreeMap<NodeRef, NodeChannel<T>>, Vec<Node>)
where
    F: Future<Output = NodeChannel<T>> + Send,
{
    let mut seen = BTreeMap::new();
    let mut live = Vec::new();
    for (reference, known) in knowns {
        if let Known::Node(node) = known {
            live.push(node);
        } else {
            let answer = unasked(nodes, &reference, channel, &known).await;
            seen.insert(reference, answer);
        }
    }
    seen.extend(each(&live, |node| question(node.clone())).await);
    let holders: Vec<Node> = live
        .into_iter()
        .filter(|node| seen.get(&node.reference).is_some_and(|seen: &NodeChannel<T>| seen.live.value().is_some()))
        .collect();
    (seen, holders)
}

async fn observe_channel(
    nodes: &Nodes,
    desired: &Desired,
    name: &str,
    wanted: &DesiredChannel,
    kinds: &BTreeMap<Kind, Observation<()>>,
    objects: &BTreeMap<ObjectRef, LiveObject>,
    proposed: &Proposed,
) -> ObservedChannel {
    let knowns = |kind: NodeKind, references: &[NodeRef]| -> BTreeMap<NodeRef, Known> {
        references.iter().map(|node| (node.clone(), known(kind, node, kinds, objects))).collect()
    };
    let orderers = knowns(NodeKind::Orderer, &wanted.orderers);
    let peers = knowns(NodeKind::Peer, &wanted.peers);
    let (genesis, (orderers, holders), (peers, peer_holders)) = tokio::join!(
        read_pinned(nodes.store(), &desired.namespace, name, block_hash),
        ask(nodes, name, orderers, |node| async move { channel::orderer(nodes, &node, name).await }),
        ask(nodes, name, peers, |node| async move { channel::peer(nodes, &node, name).await }),
    );
    let sources: Vec<Node> = holders.into_iter().chain(peer_holders).collect();
    let hash = genesis.value().map(|pinned| pinned.hash.clone());
    let everybody_absent = (!orderers.is_empty() || !peers.is_empty())
        && orderers.values().all(|seen| seen.live.is_absent())
        && peers.values().all(|seen| seen.live.is_absent());
    // Without an own node that holds it, own orderers that are to leave it tell; without an own orderer, those of other members.
    let sources = if sources.is_empty() { leaving(desired, wanted, objects) } else { sources };
    let elsewhere = if wanted.orderers.is_empty() { elsewhere(desired, wanted) } else { Vec::new() };
    let everybody_absent = everybody_absent && sources.is_empty();
    let sources = if sources.is_empty() { elsewhere.clone() } else { sources };
    let config = if everybody_absent && elsewhere.is_empty() {
        Observation::Absent { evidence: format!("none of this daemon's nodes holds channel {name}") }
    } else {
        channel::config(nodes, &sources, name, hash.as_deref()).await
    };
    let (material, foreign) = match &config {
        Observation::Present { value } => compare(nodes, desired, name, wanted, &sources, value, proposed).await,
        _ => (Material::default(), Vec::new()),
    };
    let genesis = genesis.map(|pinned| PinnedGenesis { hash: pinned.hash });
    let Proposed { signatures, approved } = proposed.clone();
    ObservedChannel { genesis, config, material, signatures, approved, foreign, refused: None, orderers, peers }
}

/// Own orderers that the definition has order no more, and that are still there.
fn leaving(desired: &Desired, wanted: &DesiredChannel, objects: &BTreeMap<ObjectRef, LiveObject>) -> Vec<Node> {
    let spec = desired.objects.get(&wanted.object).and_then(|object| ChannelSpec::deserialize(&object.spec).ok());
    let organizations: Vec<String> = desired.organizations.iter().cloned().collect();
    let mut found = spec.map(|spec| own_leaving(&spec, &organizations)).unwrap_or_default();
    found.retain(|node| {
        let Node { reference: NodeRef { namespace, name }, .. } = node;
        let object = ObjectRef { kind: Kind::Orderer, namespace: namespace.clone(), name: name.clone() };
        objects.contains_key(&object)
    });
    found
}

/// Consenters of other members, as the own organizations of a channel ask them.
fn elsewhere(desired: &Desired, wanted: &DesiredChannel) -> Vec<Node> {
    let spec = desired.objects.get(&wanted.object).and_then(|object| ChannelSpec::deserialize(&object.spec).ok());
    let organizations: Vec<String> = desired.organizations.iter().cloned().collect();
    spec.map(|spec| {
        let readers = own_readers(&spec, &organizations);
        foreign_consenters(&spec, &desired.namespace, &organizations, &readers)
    })
    .unwrap_or_default()
}

/// What a live configuration is compared with, and who made the changes that a plan will put back.
async fn compare(
    nodes: &Nodes,
    desired: &Desired,
    name: &str,
    wanted: &DesiredChannel,
    sources: &[Node],
    live: &LiveChannel,
    proposed: &Proposed,
) -> (Material, Vec<ForeignChange>) {
    let spec = desired.objects.get(&wanted.object).and_then(|object| ChannelSpec::deserialize(&object.spec).ok());
    let Some((spec, current)) = spec.zip(CurrentConfig::from_bytes(name, &live.config).ok()) else {
        return (Material::default(), Vec::new());
    };
    let organizations: Vec<String> = desired.organizations.iter().cloned().collect();
    let others = Others { namespace: &desired.namespace, organizations: &foreign_organizations(&spec, &organizations) };
    let material = available(nodes.store(), &spec, &others).await;
    let differs = updates(&current, &spec, &material).is_ok_and(|found| !found.topics.is_empty());
    let digests = proposed.signatures.keys().cloned().collect();
    let foreign =
        if differs { channel::foreign_changes(nodes, sources, name, live, &digests).await } else { Vec::new() };
    (material, foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The daemon observes in a task of its own.
    #[expect(dead_code, reason = "compiling it is the test")]
    fn observing_can_move_between_threads(ctx: &Context, nodes: &Nodes, desired: &Desired) {
        fn check<T: Send>(_: T) {}
        check(observe(ctx, nodes, desired));
    }
}
