//! Orderers.

mod config;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Resource, ResourceExt};
use tenter_consortium::objects::{ConsensusType, LABEL_CONSORTIUM, LABEL_NODE};
use tenter_consortium::observed::NodeRef;
use tenter_fabric::ca::Role;

use super::channel::decide::quorum;
use super::channel::form::{foreign_consenters, own_consenters, own_leaving};
use super::conditions::Verdict;
use super::context::Context;
use super::failure::Failure;
use super::node::observe::{channels as records, neighbour};
use super::node::restart::is_past;
use super::node::{
    ConfigInput, Neighbour, Neighbourhood, NodeController, NodeKind, OPERATIONS_PORT, PodFacts, Port, Quorum, State,
    Surroundings,
};
use super::{apply, gates, labels};
use crate::nodes::{self, Node, Nodes, Ordering};
use crate::observe::channel::{bounded, each};
use crate::resources::{Channel, Orderer, TenterObject as _};

/// How long the consenters of a channel may take to elect a leader once they all run.
const ELECTION: Duration = Duration::from_mins(2);

/// The controller of [`Orderer`] objects.
pub type OrdererController = NodeController<OrdererKind>;

/// What is an orderer's own.
#[derive(Clone, Copy, Debug)]
pub struct OrdererKind;

impl NodeKind for OrdererKind {
    type Object = Orderer;

    const COMPONENT: &'static str = "orderer";
    const ROLE: Role = Role::Orderer;
    const COMMAND: &'static [&'static str] = &["orderer"];
    const CONFIG_FILE: &'static str = "orderer.yaml";
    const DATA: &'static str = "/var/hyperledger/production/orderer";
    const PORTS: &'static [Port] = &[Port { name: "grpc", number: 7050 }];
    const ADMIN_PORTS: &'static [Port] =
        &[Port { name: "admin", number: config::ADMIN_PORT }, Port { name: "operations", number: OPERATIONS_PORT }];

    fn config(input: &ConfigInput<'_>) -> String {
        config::orderer_yaml(input, Self::PORTS[0].number, Self::DATA)
    }

    /// The other consenters of its channels: any two of them down may be one too many.
    async fn neighbours(around: &Surroundings<'_>, object: &Orderer) -> Result<Neighbourhood, Failure> {
        let mut circles = circles(around, object).await?;
        let names: BTreeSet<&NodeRef> = circles.iter().flat_map(|circle| circle.others.keys()).collect();
        let mut nodes = Vec::new();
        for NodeRef { namespace, name } in names {
            nodes.push(neighbour(around.ctx, namespace, name).await?);
        }
        if let Some(access) = around.nodes {
            for circle in &mut circles {
                distrust(access, circle, &mut nodes, around.ctx.now()).await;
            }
        }
        let lost = circles.iter().flat_map(|circle| &circle.silent).map(|node| Neighbour {
            name: node.to_string(),
            state: State::Lost,
            outdated: false,
        });
        Ok(Neighbourhood {
            nodes: nodes.into_iter().map(|(node, _)| node).chain(lost).collect(),
            channels: circles.into_iter().filter_map(Circle::quorum).collect(),
        })
    }

    async fn in_use(ctx: &Context, object: &Orderer) -> Result<Option<Verdict>, Failure> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        // A namespace that goes takes everything with it; holding this object back would only hold it up.
        if gates::namespace(ctx, &namespace).await?.is_none_or(|namespace| namespace.deleting) {
            return Ok(None);
        }
        let Some(consortium) = object.consortium() else {
            return Ok(None);
        };
        let channels: Vec<Channel> = channels(ctx, consortium).await?.into_iter().filter(stays).collect();
        let names: Vec<String> =
            channels.iter().filter(|channel| is_consenter(channel, object)).map(ResourceExt::name_any).collect();
        if !names.is_empty() {
            let message = format!(
                "{} stays: it is a consenter of {}; take it out of the channel first",
                object.describe(),
                names.join(", ")
            );
            return Ok(Some(Verdict::stalled("StillConsenter", message)));
        }
        // A channel goes on without its object, as long as any of its orderers is to stay.
        for channel in records(ctx, &namespace, &name).await? {
            let known = channels.iter().any(|known| known.spec.channel == channel);
            if !known && !holders(ctx, &channel, object).await?.is_empty() {
                let message = format!(
                    "{} stays: it holds channel {channel}, which has no Channel object, and which other orderers hold \
                     too; if it is no consenter of it any more, remove the key {channel} from ConfigMap \
                     {namespace}/{}",
                    object.describe(),
                    labels::ledgers(&name)
                );
                return Ok(Some(Verdict::stalled("StillConsenter", message)));
            }
        }
        Ok(None)
    }
}

/// A channel, seen from one of its orderers.
struct Circle {
    channel: String,
    /// Its other consenters that this daemon acts for, with what is needed to ask them.
    others: BTreeMap<NodeRef, Node>,
    /// The orderer itself.
    me: Option<Node>,
    /// How many consenters it has elsewhere.
    unseen: usize,
    /// Those, as the orderer's organization asks them.
    foreign: Vec<Node>,
    /// Those of them that do not order. For how long cannot be seen, so nobody waits for them for their own sake.
    silent: BTreeSet<NodeRef>,
    /// How many consenters it needs to order, if its spec is known.
    needed: Option<usize>,
}

impl Circle {
    /// The circle of a channel that the orderer `me` is in: the consenters of the spec, without those that are none yet, and with
    /// those that still are.
    fn of(channel: &Channel, namespace: &str, me: &NodeRef, organizations: &[String]) -> Self {
        let consensus = &channel.spec.consensus;
        let (coming, leaving) =
            channel.status.as_ref().map_or((&[][..], &[][..]), |status| (&status.coming[..], &status.leaving[..]));
        let mut own = own_consenters(&channel.spec, organizations);
        own.retain(|node| node.reference == *me || !coming.contains(&node.address));
        let going = own_leaving(&channel.spec, organizations);
        own.extend(going.into_iter().filter(|node| leaving.contains(&node.address)));
        let count = (consensus.consenters.len() + leaving.len()).saturating_sub(coming.len());
        let needed = Some(quorum(consensus.consensus_type, count));
        let unseen = count.saturating_sub(own.len());
        let mut others: BTreeMap<NodeRef, Node> = own.into_iter().map(|node| (node.reference.clone(), node)).collect();
        let me = others.remove(me);
        let readers: Vec<(String, String)> =
            me.iter().map(|me| (me.reference.namespace.clone(), me.msp_id.clone())).collect();
        let mut foreign = foreign_consenters(&channel.spec, namespace, organizations, &readers);
        foreign.retain(|node| !coming.contains(&node.address));
        Self { channel: channel.spec.channel.clone(), others, me, unseen, foreign, silent: BTreeSet::new(), needed }
    }

    fn quorum(self) -> Option<Quorum> {
        let members = self.others.keys().chain(&self.silent).map(ToString::to_string).collect();
        let unseen = self.unseen.saturating_sub(self.silent.len());
        Some(Quorum { channel: self.channel, needed: self.needed?, members, unseen })
    }
}

/// The channels that an orderer orders: those whose spec names it, and those that it holds by its join record. A
/// record stands until it is removed, so that nothing is forgotten with a Channel object that was deleted.
async fn circles(around: &Surroundings<'_>, object: &Orderer) -> Result<Vec<Circle>, Failure> {
    let me = reference(object);
    let channels = channels(around.ctx, around.consortium).await?;
    let mut held: BTreeSet<String> = records(around.ctx, &me.namespace, &me.name).await?.into_iter().collect();
    let mut circles = Vec::new();
    for channel in &channels {
        if held.remove(&channel.spec.channel) || is_consenter(channel, object) {
            circles.push(Circle::of(channel, &around.ctx.namespace, &me, &around.settings.organizations));
        }
    }
    for channel in held {
        let others = holders(around.ctx, &channel, object).await?;
        // Every orderer that holds it may be a consenter: with one of them lost, a majority of all is asked for.
        let needed = Some(quorum(ConsensusType::Bft, others.len() + 1));
        let others = others.iter().map(|orderer| (reference(orderer), node(orderer))).collect();
        let (foreign, silent) = (Vec::new(), BTreeSet::new());
        circles.push(Circle { channel, others, me: Some(node(object)), unseen: 0, foreign, silent, needed });
    }
    Ok(circles)
}

/// The other orderers that stay and hold a channel, by their join records.
async fn holders(ctx: &Context, channel: &str, object: &Orderer) -> Result<Vec<Orderer>, Failure> {
    let me = reference(object);
    let mut holders = Vec::new();
    for record in apply::list_all::<ConfigMap>(ctx, LABEL_NODE).await? {
        let namespace = record.namespace().unwrap_or_default();
        let Some(name) = record.labels().get(LABEL_NODE).cloned() else { continue };
        let holds = record.name_any() == labels::ledgers(&name)
            && record.data.as_ref().is_some_and(|data| data.contains_key(channel));
        if !holds || (NodeRef { namespace: namespace.clone(), name: name.clone() }) == me {
            continue;
        }
        // Peers have records of the same form. Channels of other consortia may have the same name.
        let found = apply::get::<Orderer>(ctx, &namespace, &name).await?;
        holders.extend(found.filter(|it| stays(it) && it.consortium() == object.consortium()));
    }
    Ok(holders)
}

/// Takes those for down that Kubernetes says are ready, but that do not serve the channel: ready means that a program
/// runs, not that it follows a leader.
///
/// If the orderer itself has no leader, the channel has none that a restart could take away. It may be about to elect
/// one, though: then the others must have been ready for long enough to have done so ([`ELECTION`]). Without this way
/// out, orderers whose certificates all ended would wait for each other for ever.
///
/// Consenters of other daemons are asked too: one that does not order may be on its way down or up, by its own daemon. Two
/// daemons that look in the same seconds may still both find all others at work.
async fn distrust(access: &Nodes, circle: &mut Circle, nodes: &mut [(Neighbour, Option<PodFacts>)], now: Timestamp) {
    let channel = circle.channel.clone();
    let serves = async |node: &Node| {
        let answer = bounded(node, "newest block", access.ordering(node, &channel).boxed()).await;
        matches!(answer.value(), Some(Ordering::Serving { .. }))
    };
    let led = match &circle.me {
        Some(me) => serves(me).await,
        None => true,
    };
    for (neighbour, pod) in nodes {
        let Some(node) = circle.others.get(&reference_of(&neighbour.name)) else { continue };
        if neighbour.state != State::Serving {
            continue;
        }
        let trusted =
            if led { serves(node).await } else { pod.as_ref().is_some_and(|pod| is_past(pod, now, ELECTION)) };
        if !trusted {
            neighbour.state = State::Down;
        }
    }
    if led {
        // At once: those that are silent take their time to be so.
        let answers = each(&circle.foreign, serves).await;
        circle.silent.extend(answers.into_iter().filter(|(_, serves)| !serves).map(|(node, _)| node));
    }
}

/// The reference that a neighbour's name, `namespace/name`, stands for.
fn reference_of(name: &str) -> NodeRef {
    let (namespace, name) = name.split_once('/').unwrap_or_default();
    NodeRef { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn reference(object: &Orderer) -> NodeRef {
    NodeRef { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

fn node(object: &Orderer) -> Node {
    Node {
        reference: reference(object),
        kind: nodes::NodeKind::Orderer,
        msp_id: object.spec.msp_id.clone(),
        address: object.spec.address.clone(),
        foreign: None,
    }
}

/// All channels of the consortium, those that are being deleted too: their orderers go on.
async fn channels(ctx: &Context, consortium: &str) -> Result<Vec<Channel>, Failure> {
    apply::list::<Channel>(ctx, &ctx.namespace, &format!("{LABEL_CONSORTIUM}={consortium}")).await
}

fn stays(object: &impl Resource) -> bool {
    object.meta().deletion_timestamp.is_none()
}

fn is_consenter(channel: &Channel, object: &Orderer) -> bool {
    let me = reference(object);
    let mut consenters = channel.spec.consensus.consenters.iter();
    // The spec says what should be; one that the configuration still has is one.
    let stays = channel.status.as_ref().is_some_and(|status| status.leaving.contains(&object.spec.address));
    stays || consenters.any(|other| other.namespace == me.namespace && other.orderer == me.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tenter_consortium::status::ChannelStatus;

    use super::*;

    fn channel(name: &str, consenters: &[(&str, &str)]) -> Channel {
        let consenters: Vec<_> = consenters
            .iter()
            .map(|(namespace, orderer)| {
                json!({"organization": namespace, "namespace": namespace, "orderer": orderer, "address": "a:7050"})
            })
            .collect();
        let organizations = ["hub", "acme"]
            .map(|name| json!({"organization": name, "mspID": name, "namespace": name, "endpoints": []}));
        let object = json!({
            "metadata": {"name": name},
            "spec": {
                "consortium": "trade", "channel": name, "organizer": "hub",
                "ordererOrganizations": organizations, "members": [],
                "consensus": {"type": "etcdraft", "consenters": consenters},
                "policies": {"channel": {}, "orderer": {}, "application": {}},
                "capabilities": {"channel": "V2_0", "orderer": "V2_0", "application": "V2_5"},
                "batch": {
                    "maxMessageCount": 1, "absoluteMaxBytes": 1, "preferredMaxBytes": 1, "timeout": "2s",
                },
            },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_circle_is_the_other_consenters_of_a_channel_and_what_it_needs() {
        let channel = channel("one", &[("hub", "o1"), ("hub", "o2"), ("acme", "o1")]);
        let check = |name: &str, organizations: &[&str], others: &[&str], unseen: usize| {
            let organizations: Vec<String> = organizations.iter().map(|name| (*name).to_owned()).collect();
            let me = NodeRef { namespace: "hub".into(), name: name.into() };
            let circle = || Circle::of(&channel, "system", &me, &organizations);
            assert_eq!(circle().me.as_ref().map(|node| &node.reference), Some(&me));
            let quorum = circle().quorum().unwrap();
            assert_eq!(quorum.members.iter().map(String::as_str).collect::<Vec<_>>(), others, "{name}");
            assert_eq!((quorum.needed, quorum.unseen), (2, unseen), "{name}");
            // One of another daemon that does not order is not counted on.
            let mut fewer = circle();
            fewer.silent.extend(fewer.foreign.iter().map(|node| node.reference.clone()));
            assert_eq!((fewer.silent.len(), fewer.quorum().unwrap().unseen), (unseen, 0), "{name}");
            for member in &quorum.members {
                assert_eq!(reference_of(member).to_string(), *member);
            }
        };
        check("o1", &["hub", "acme"], &["acme/o1", "hub/o2"], 0);
        check("o2", &["*"], &["acme/o1", "hub/o1"], 0);
        check("o1", &["hub"], &["hub/o2"], 1);
    }

    #[test]
    fn a_circle_is_of_those_who_order_now() {
        let at = |orderer: &str| json!({"organization": "hub", "mspID": "HubMSP", "namespace": "hub", "orderer": orderer, "address": format!("{orderer}:7050")});
        let mut channel = channel("one", &[("hub", "o1"), ("hub", "o2"), ("hub", "o3"), ("hub", "o4")]);
        for consenter in &mut channel.spec.consensus.consenters {
            consenter.address = format!("{}:7050", consenter.orderer);
        }
        channel.spec.consensus.released = serde_json::from_value(json!([at("o8"), at("o9")])).unwrap();
        let check = |channel: &Channel, others: &[&str], needed: usize, unseen: usize| {
            let me = NodeRef { namespace: "hub".into(), name: "o1".into() };
            let quorum = Circle::of(channel, "system", &me, &["hub".to_owned()]).quorum().unwrap();
            assert_eq!(quorum.members.iter().map(String::as_str).collect::<Vec<_>>(), others);
            assert_eq!((quorum.needed, quorum.unseen), (needed, unseen));
        };
        check(&channel, &["hub/o2", "hub/o3", "hub/o4"], 3, 0);
        // o4 only follows yet; o9 still orders, and so does one that nobody here knows.
        let mut status = ChannelStatus { coming: vec!["o4:7050".to_owned()], ..ChannelStatus::default() };
        channel.status = Some(status.clone());
        check(&channel, &["hub/o2", "hub/o3"], 2, 0);
        status.leaving = vec!["o9:7050".to_owned(), "elsewhere:7050".to_owned()];
        channel.status = Some(status);
        check(&channel, &["hub/o2", "hub/o3", "hub/o9"], 3, 1);
    }
}
