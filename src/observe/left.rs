//! What own nodes and organizations are still in, although the definition says nothing of it any more. It is told by the live
//! world: what a file leaves out is no evidence that a channel does without it.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use serde::Deserialize as _;
use tenter_consortium::channel_config::Material;
use tenter_consortium::desired::Desired;
use tenter_consortium::objects::{ChannelSpec, Kind, MembershipSpec, ObjectRef, OrganizationSpec};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{LiveObject, NodeRef, ObservedChannel, PinnedGenesis};
use tenter_consortium::settings::organization_allowed;

use super::channel::{self, CONCURRENCY};
use super::{Known, known};
use crate::controllers::channel::form::foreign_consenters;
use crate::controllers::labels::ledgers;
use crate::nodes::records::{block_hash, read_pinned};
use crate::nodes::{Node, NodeKind, Nodes};

type Objects = BTreeMap<ObjectRef, LiveObject>;
type Held = BTreeMap<ObjectRef, Observation<BTreeSet<String>>>;

/// Whether an object that the definition does not name is of an organization that this daemon acts for.
fn is_own(desired: &Desired, object: &ObjectRef, live: &LiveObject) -> bool {
    let organization = match object.kind {
        Kind::Organization => Some(object.name.as_str()),
        _ => live.spec.get("organization").and_then(serde_json::Value::as_str),
    };
    organization.is_some_and(|organization| {
        let elsewhere =
            desired.all_organizations.contains(organization) && !desired.organizations.contains(organization);
        !elsewhere && organization_allowed(organization, &desired.scope)
    })
}

/// The live Memberships of own organizations, with their namespaces.
fn memberships<'a>(
    desired: &'a Desired,
    objects: &'a Objects,
) -> impl Iterator<Item = (&'a ObjectRef, MembershipSpec)> {
    let own = objects.iter().filter(|(object, live)| object.kind == Kind::Membership && is_own(desired, object, live));
    own.filter_map(|(object, live)| Some((object, MembershipSpec::deserialize(&live.spec).ok()?)))
}

/// The channels that own nodes have joined which the definition does not name.
pub(super) async fn held(nodes: &Nodes, desired: &Desired, objects: &Objects) -> Held {
    let unnamed = objects.iter().filter(|(object, live)| {
        matches!(object.kind, Kind::Orderer | Kind::Peer)
            && !desired.objects.contains_key(*object)
            && is_own(desired, object, live)
    });
    let mut held = Held::new();
    for (object, _) in unnamed {
        let named = memberships(desired, objects).filter(|(membership, spec)| {
            let names = if object.kind == Kind::Orderer { &spec.orderers } else { &spec.peers };
            membership.namespace == object.namespace && names.contains(&object.name)
        });
        let named: Vec<String> = named.map(|(_, spec)| spec.channel).collect();
        let seen = match nodes.store().config_map(&object.namespace, &ledgers(&object.name)).await {
            Observation::Present { value } => {
                Observation::Present { value: value.into_keys().chain(named).collect::<BTreeSet<_>>() }
            }
            Observation::Absent { .. } => Observation::Present { value: named.into_iter().collect() },
            unread => unread.unseen(),
        };
        held.insert(object.clone(), seen);
    }
    held
}

/// The channels that own nodes or organizations are still in, and that the definition has no own organization in.
pub(super) async fn channels(
    nodes: &Nodes,
    desired: &Desired,
    kinds: &BTreeMap<Kind, Observation<()>>,
    objects: &Objects,
    held: &Held,
) -> BTreeMap<String, ObservedChannel> {
    let on_record = held.values().filter_map(Observation::value).flatten().cloned();
    let of_members = memberships(desired, objects).map(|(object, _)| object.name.clone());
    let kept = desired.leaving.iter().filter(|(_, leaving)| objects.contains_key(&leaving.object));
    let mut names: BTreeSet<String> = on_record.chain(of_members).chain(kept.map(|(name, _)| name.clone())).collect();
    names.retain(|name| !desired.channels.contains_key(name));
    // Boxed for the reason that `channel::each` gives.
    let questions: Vec<BoxFuture<'_, (String, ObservedChannel)>> = names
        .into_iter()
        .map(|name| {
            async move {
                let seen = look(nodes, desired, &name, kinds, objects, held).await;
                (name, seen)
            }
            .boxed()
        })
        .collect();
    stream::iter(questions).buffer_unordered(CONCURRENCY).collect().await
}

/// Own nodes that may hold a channel, orderers first: peers of an organization that has left do not learn of it.
fn own_nodes(
    desired: &Desired,
    channel: &str,
    kinds: &BTreeMap<Kind, Observation<()>>,
    objects: &Objects,
    held: &Held,
) -> Vec<Node> {
    let on_record = held.iter().filter(|(_, seen)| seen.value().is_some_and(|names| names.contains(channel)));
    let mut found: BTreeSet<(Kind, NodeRef)> = on_record
        .map(|(object, _)| (object.kind, NodeRef { namespace: object.namespace.clone(), name: object.name.clone() }))
        .collect();
    for (object, spec) in memberships(desired, objects).filter(|(object, _)| object.name == channel) {
        let node = |name: String| NodeRef { namespace: object.namespace.clone(), name };
        found.extend(spec.orderers.into_iter().map(|name| (Kind::Orderer, node(name))));
        found.extend(spec.peers.into_iter().map(|name| (Kind::Peer, node(name))));
    }
    let nodes = found.into_iter().filter_map(|(kind, reference)| {
        let kind = if kind == Kind::Orderer { NodeKind::Orderer } else { NodeKind::Peer };
        match known(kind, &reference, kinds, objects) {
            Known::Node(node) => Some(node),
            Known::NoObject(_) | Known::Unknown(_) => None,
        }
    });
    nodes.collect()
}

/// Own organizations whose readers ask the orderers of other members: those in the channel by a Membership, else all.
fn readers(desired: &Desired, channel: &str, objects: &Objects) -> Vec<(String, String)> {
    let members = memberships(desired, objects).filter(|(object, _)| object.name == channel);
    let members: Vec<_> = members.map(|(object, spec)| (object.namespace.clone(), spec.msp_id)).collect();
    if !members.is_empty() {
        return members;
    }
    let own =
        objects.iter().filter(|(object, live)| object.kind == Kind::Organization && is_own(desired, object, live));
    let specs = own.filter_map(|(_, live)| OrganizationSpec::deserialize(&live.spec).ok());
    specs.map(|spec| (spec.namespace, spec.msp_id)).collect()
}

async fn look(
    nodes: &Nodes,
    desired: &Desired,
    name: &str,
    kinds: &BTreeMap<Kind, Observation<()>>,
    objects: &Objects,
    held: &Held,
) -> ObservedChannel {
    let object = ObjectRef { kind: Kind::Channel, namespace: desired.namespace.clone(), name: name.to_owned() };
    let spec = objects.get(&object).and_then(|live| ChannelSpec::deserialize(&live.spec).ok());
    let genesis = read_pinned(nodes.store(), &desired.namespace, name, block_hash).await;
    let hash = genesis.value().map(|pinned| pinned.hash.clone());
    let others = spec.map(|spec| {
        let readers = readers(desired, name, objects);
        foreign_consenters(&spec, &desired.namespace, &desired.scope, &readers)
    });
    let others = others.unwrap_or_default();
    let own = own_nodes(desired, name, kinds, objects, held);
    // Those that go on with the channel know best: whoever is out of it gets no newer configuration.
    let told = if others.is_empty() {
        Observation::Absent { evidence: format!("no orderer of other members of channel {name} is known") }
    } else {
        channel::config(nodes, &others, name, hash.as_deref()).await
    };
    let refused = match &told {
        Observation::Forbidden { evidence } => Some(evidence.clone()),
        _ => None,
    };
    let all_known = held.values().all(|seen| seen.value().is_some())
        && [Kind::Orderer, Kind::Peer, Kind::Membership]
            .iter()
            .all(|kind| kinds.get(kind).is_some_and(|seen| seen.value().is_some()));
    let config = match told {
        told @ Observation::Present { .. } => told,
        told if own.is_empty() && told.is_absent() && all_known => {
            Observation::Absent { evidence: format!("no own node is on record in channel {name}") }
        }
        told if own.is_empty() => told.unseen(),
        told => match channel::config(nodes, &own, name, hash.as_deref()).await {
            own @ Observation::Present { .. } => own,
            own => {
                let evidence = [told.evidence(), own.evidence()].into_iter().flatten().collect::<Vec<_>>().join("; ");
                Observation::Unreachable { evidence }
            }
        },
    };
    ObservedChannel {
        genesis: genesis.map(|pinned| PinnedGenesis { hash: pinned.hash }),
        config,
        material: Material::default(),
        signatures: BTreeMap::new(),
        approved: BTreeSet::new(),
        foreign: Vec::new(),
        refused,
        orderers: BTreeMap::new(),
        peers: BTreeMap::new(),
    }
}
