//! `tenter status`: the consortium as it stands.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use kube::ResourceExt as _;
use serde_json::Value;
use tenter_consortium::objects::{ConsensusType, LABEL_CONSORTIUM, NodeSpec};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::NodeRef;
use tenter_consortium::status::ObjectStatus;
use tokio::time::timeout;

use super::args::Global;
use super::cluster::{Cluster, refused};
use super::outcome::{CliError, Outcome, Report};
use crate::controllers::apply::{list, list_all};
use crate::controllers::failure::Failure;
use crate::controllers::proposal;
use crate::nodes::{Node, NodeKind, Nodes};
use crate::report::Style;
use crate::report::tree::{
    AuthorityItem, ChaincodeItem, ChannelItem, ChannelNodeItem, MembershipItem, NodeItem, OrganizationItem,
    ProposalItem, State, Tree,
};
use crate::resources::{
    CertificateAuthority, Chaincode, Channel, Consortium, Membership, Orderer, Organization, Peer, Proposal,
    TenterObject,
};

/// Longest answer of one node.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Nodes that are asked at the same time.
const CONCURRENCY: usize = 8;

/// Show the consortium as it stands: organizations, nodes, channels, and what each waits for.
///
/// Phases and conditions are those of the objects; heights are asked of the nodes now.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter status --consortium trade\n  tenter status -o json")]
pub struct Args {
    /// Do not ask the nodes: only what the objects say
    #[arg(long, env = "TENTER_NO_NODES", hide_env_values = true)]
    no_nodes: bool,
}

impl Report for Tree {
    fn text(&self, style: Style) -> String {
        Self::text(self, style)
    }

    fn json(&self) -> Value {
        Self::json(self)
    }
}

/// Every object of a consortium.
struct Objects {
    organizations: Vec<Organization>,
    authorities: Vec<CertificateAuthority>,
    orderers: Vec<Orderer>,
    peers: Vec<Peer>,
    channels: Vec<Channel>,
    memberships: Vec<Membership>,
    proposals: Vec<Proposal>,
    chaincodes: Vec<Chaincode>,
}

/// Shows.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let cluster = Cluster::connect(global).await?;
    let consortium = cluster.required_consortium(global).await?;
    let objects = Box::pin(read(&cluster, &consortium.name_any())).await.map_err(|failure| refused(&failure))?;
    let nodes = (!args.no_nodes).then_some(&*cluster.engine.nodes);
    let mut tree = root(&consortium, &global.namespace);
    tree.organizations = objects.organizations.iter().map(|item| organization(item, &objects)).collect();
    for item in &objects.channels {
        tree.channels.push(channel(item, &objects, nodes).await);
    }
    Ok(Outcome::shown(tree))
}

async fn read(cluster: &Cluster, name: &str) -> Result<Objects, Failure> {
    let ctx = &cluster.engine.ctx;
    let labels = format!("{LABEL_CONSORTIUM}={name}");
    let (organizations, authorities, orderers, peers, channels, memberships, proposals, chaincodes) = tokio::try_join!(
        list_all::<Organization>(ctx, &labels),
        list_all::<CertificateAuthority>(ctx, &labels),
        list_all::<Orderer>(ctx, &labels),
        list_all::<Peer>(ctx, &labels),
        list_all::<Channel>(ctx, &labels),
        list_all::<Membership>(ctx, &labels),
        list::<Proposal>(ctx, &ctx.namespace, &labels),
        list::<Chaincode>(ctx, &ctx.namespace, &labels)
    )?;
    Ok(Objects { organizations, authorities, orderers, peers, channels, memberships, proposals, chaincodes })
}

fn state<K: TenterObject>(object: &K) -> State {
    let status = object.status();
    let conditions = status.map(|status| status.conditions().to_vec()).unwrap_or_default();
    State::of(status.and_then(ObjectStatus::phase), &conditions, object.meta().generation)
}

fn root(object: &Consortium, namespace: &str) -> Tree {
    let status = object.status.clone().unwrap_or_default();
    Tree {
        format: 1,
        consortium: object.name_any(),
        namespace: namespace.to_owned(),
        state: state(object),
        last_applied_revision: status.last_applied_revision,
        last_attempted_revision: status.last_attempted_revision,
        next: status.plan.map(|plan| plan.next).unwrap_or_default(),
        notes: status.notes,
        organizations: Vec::new(),
        channels: Vec::new(),
    }
}

fn organization(object: &Organization, objects: &Objects) -> OrganizationItem {
    let namespace = &object.spec.namespace;
    let inside = |found: Option<String>| found.as_ref() == Some(namespace);
    let authorities = objects.authorities.iter().filter(|item| inside(item.namespace())).map(|item| AuthorityItem {
        name: item.name_any(),
        state: state(item),
        first_expiry: item.status.as_ref().and_then(|status| status.first_expiry.clone()),
    });
    let orderers = objects
        .orderers
        .iter()
        .filter(|item| inside(item.namespace()))
        .map(|item| node_item("Orderer", item.name_any(), state(item), &item.spec, item.status.as_ref()));
    let peers = objects
        .peers
        .iter()
        .filter(|item| inside(item.namespace()))
        .map(|item| node_item("Peer", item.name_any(), state(item), &item.spec, item.status.as_ref()));
    OrganizationItem {
        name: object.name_any(),
        msp_id: object.spec.msp_id.clone(),
        namespace: namespace.clone(),
        state: state(object),
        authorities: authorities.collect(),
        nodes: orderers.chain(peers).collect(),
    }
}

fn node_item(
    kind: &str,
    name: String,
    state: State,
    spec: &NodeSpec,
    status: Option<&tenter_consortium::status::NodeStatus>,
) -> NodeItem {
    let first = status.and_then(|status| status.certificates.values().map(|found| found.not_after.clone()).min());
    let version = status.and_then(|status| status.version.clone()).unwrap_or_else(|| spec.version.clone());
    NodeItem { kind: kind.to_owned(), name, state, version: Some(version), first_expiry: first }
}

async fn channel(object: &Channel, objects: &Objects, nodes: Option<&Nodes>) -> ChannelItem {
    let name = &object.spec.channel;
    let status = object.status.clone().unwrap_or_default();
    let memberships: Vec<&Membership> = objects.memberships.iter().filter(|item| item.spec.channel == *name).collect();
    let mut asked = Vec::new();
    for membership in &memberships {
        let namespace = membership.namespace().unwrap_or_default();
        let find = |kind, node: &String| known(objects, kind, &namespace, node);
        asked.extend(membership.spec.orderers.iter().filter_map(|node| find(NodeKind::Orderer, node)));
        asked.extend(membership.spec.peers.iter().filter_map(|node| find(NodeKind::Peer, node)));
    }
    asked.sort_by_key(|node| (node.kind, node.reference.clone()));
    let views = match nodes {
        None => Vec::new(),
        Some(nodes) => {
            stream::iter(asked.into_iter().map(|node| ask(nodes, node, name))).buffered(CONCURRENCY).collect().await
        }
    };
    let consensus = match object.spec.consensus.consensus_type {
        ConsensusType::EtcdRaft => "etcdraft",
        ConsensusType::Bft => "BFT",
    };
    ChannelItem {
        name: name.clone(),
        state: state(object),
        consenters: status.consenters.map(|count| format!("{count} {consensus}")),
        genesis: status.genesis,
        config_sequence: status.config_sequence,
        nodes: views,
        memberships: memberships
            .into_iter()
            .map(|item| MembershipItem {
                organization: item.spec.organization.clone(),
                state: state(item),
                joined: item.status.as_ref().and_then(|status| status.joined.clone()),
            })
            .collect(),
        proposals: objects
            .proposals
            .iter()
            .filter(|item| item.spec.channel == *name && proposal::seen(item).is_open())
            .map(|item| ProposalItem {
                name: item.name_any(),
                topic: item.spec.topic.clone(),
                state: state(item),
                signed: item.status.as_ref().and_then(|status| status.signed.clone()),
            })
            .collect(),
        chaincodes: objects.chaincodes.iter().filter(|item| item.spec.channel == *name).map(chaincode).collect(),
    }
}

fn chaincode(object: &Chaincode) -> ChaincodeItem {
    let status = object.status.clone().unwrap_or_default();
    ChaincodeItem {
        name: object.spec.name.clone(),
        state: state(object),
        version: status.version,
        sequence: status.sequence,
        approved: status.approved,
        drift: status.drift,
        organizations: status.organizations,
    }
}

/// The node of a name, if its object is there.
fn known(objects: &Objects, kind: NodeKind, namespace: &str, name: &str) -> Option<Node> {
    let here = |found: Option<String>, other: String| found.as_deref() == Some(namespace) && other == name;
    let spec = match kind {
        NodeKind::Orderer => &objects.orderers.iter().find(|item| here(item.namespace(), item.name_any()))?.spec,
        NodeKind::Peer => &objects.peers.iter().find(|item| here(item.namespace(), item.name_any()))?.spec,
    };
    Some(Node {
        reference: NodeRef { namespace: namespace.to_owned(), name: name.to_owned() },
        kind,
        msp_id: spec.msp_id.clone(),
        address: spec.address.clone(),
        foreign: None,
    })
}

async fn ask(nodes: &Nodes, node: Node, channel: &str) -> ChannelNodeItem {
    let question = async {
        match node.kind {
            NodeKind::Orderer => nodes
                .orderer_channel(&node, channel)
                .await
                .map(|answer| (answer.height, Some(format!("{}, {}", answer.relation, answer.status)))),
            NodeKind::Peer => nodes.peer_channel(&node, channel).await.map(|answer| (answer.height, None)),
        }
    };
    let answer = timeout(ASK_LIMIT, question).await.unwrap_or_else(|_| Observation::Unreachable {
        evidence: format!("no answer within {} s", ASK_LIMIT.as_secs()),
    });
    let (height, relation) =
        answer.value().cloned().map_or((None, None), |(height, relation)| (Some(height), relation));
    ChannelNodeItem {
        kind: node.kind.to_string(),
        node: node.reference.to_string(),
        state: answer.word().to_owned(),
        height,
        relation,
        evidence: answer.evidence().map(ToOwned::to_owned),
    }
}
