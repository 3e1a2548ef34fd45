//! Memberships: an organization's peers are joined to a channel with its pinned genesis block, once it orders.

pub mod decide;
pub mod join;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use tenter_consortium::objects::{LABEL_CHANNEL, MembershipSpec};
use tenter_consortium::observed::NodeRef;
use tenter_consortium::status::{MembershipPhase, MembershipStatus, NodeChannelStatus, OpenProposal};

use self::decide::{Action, Asked, Heights, decide};
use self::join::{Parties, Performed, Seen, look, perform};
use super::channel::config::{ProposalSeen, line};
use super::channel::form::{foreign_consenters, own_consenters};
use super::channel::status::{node_status, orderer_status, ratio};
use super::driver::DecisionOf;
use super::labels::{self, RESTART};
use super::{Cleanup, Context, Controlled, Decision, Failure, Scope, Verdict, apply, gates, proposal};
use crate::nodes::{Node, NodeKind, Nodes};
use crate::resources::{Channel, Membership, Peer, Proposal, TenterObject as _};

/// The controller of [`Membership`] objects.
pub struct MembershipController {
    nodes: Arc<Nodes>,
    heights: Mutex<BTreeMap<(String, String), Heights>>,
}

impl MembershipController {
    /// A controller that talks to these nodes.
    pub const fn new(nodes: Arc<Nodes>) -> Self {
        Self { nodes, heights: Mutex::new(BTreeMap::new()) }
    }
}

/// What this daemon's own settings do not allow, whatever the object says.
async fn gate(ctx: &Context, scope: &Scope, object: &Membership) -> Result<(), Failure> {
    let namespace = object.namespace().unwrap_or_default();
    let organization = &object.spec.organization;
    let refused = |verdict: Verdict| Failure::terminal(verdict.reason(), verdict.message());
    gates::admit(&scope.consortium.spec, organization, &namespace).map_err(refused)?;
    let facts = gates::namespace(ctx, &namespace).await?;
    gates::own_namespace(facts.as_ref(), &scope.consortium.name_any(), organization, &namespace).map_err(refused)?;
    if object.spec.consortium_namespace != ctx.namespace {
        return Err(Failure::terminal(
            "NamespaceNotAllowed",
            format!(
                "{} names the consortium's namespace {}, and this daemon's is {}",
                object.describe(),
                object.spec.consortium_namespace,
                ctx.namespace
            ),
        ));
    }
    Ok(())
}

/// The nodes that the membership is about.
async fn parties(ctx: &Context, scope: &Scope, object: &Membership) -> Result<Parties, Failure> {
    let spec = &object.spec;
    let namespace = object.namespace().unwrap_or_default();
    let channel = apply::get::<Channel>(ctx, &ctx.namespace, &spec.channel).await?;
    let mut parties = Parties::default();
    if let Some(channel) = channel {
        let organizations = &scope.consortium.spec.organizations;
        parties.consenters = own_consenters(&channel.spec, organizations);
        let reader = [(namespace.clone(), spec.msp_id.clone())];
        parties.others = foreign_consenters(&channel.spec, &ctx.namespace, organizations, &reader);
        parties.asked = asked(ctx, spec, &channel).await?;
    }
    for name in &spec.peers {
        let reference = NodeRef { namespace: namespace.clone(), name: name.clone() };
        match apply::get::<Peer>(ctx, &namespace, name).await? {
            // The identities are the organization's, so is the MSP; another one in the peer's spec is not believed.
            Some(peer) if peer.spec.msp_id == spec.msp_id => parties.peers.push(Node {
                reference,
                kind: NodeKind::Peer,
                msp_id: spec.msp_id.clone(),
                address: peer.spec.address,
                foreign: None,
            }),
            Some(peer) => {
                let why = format!("Peer {namespace}/{name} is of {}, not of {}", peer.spec.msp_id, spec.msp_id);
                parties.unknown.insert(reference, why);
            }
            None => {
                parties.unknown.insert(reference, format!("there is no Peer {namespace}/{name} yet"));
            }
        }
    }
    Ok(parties)
}

/// What a channel's object, and its proposals, say of a membership's organization.
async fn asked(ctx: &Context, spec: &MembershipSpec, channel: &Channel) -> Result<Asked, Failure> {
    let topic = format!("member/{}", spec.organization);
    let selector = format!("{LABEL_CHANNEL}={}", spec.channel);
    let proposals = apply::list::<Proposal>(ctx, &ctx.namespace, &selector).await?;
    let proposals: Vec<ProposalSeen> = proposals.iter().map(proposal::seen).collect();
    let open = proposals.iter().find(|seen| seen.topic == topic && seen.is_open());
    let waiting = proposals.iter().filter(|seen| seen.is_open() && seen.awaiting.contains(&spec.msp_id));
    let votes = waiting.map(|seen| OpenProposal {
        name: seen.name.clone(),
        digest: seen.digest.clone(),
        topic: seen.topic.clone(),
        changes: seen.changes.iter().map(line).collect(),
    });
    Ok(Asked {
        released: channel.spec.retired.contains(&spec.organization),
        named: channel.spec.members.iter().any(|member| member.organization == spec.organization),
        proposal: open.map(|seen| seen.name.clone()),
        votes: votes.collect(),
    })
}

/// Asks for a restart of a peer whose join stopped half way. Its own controller does it when the others can do without it.
async fn restart(ctx: &Context, channel: &str, peer: &NodeRef) -> Result<(), Failure> {
    let NodeRef { namespace, name } = peer;
    let half = format!("{peer} has a ledger of channel {channel} and does not serve it: a join stopped half way");
    let pod = apply::own::<Pod>(ctx, namespace, &labels::pod(name)).await?;
    let Some(uid) = pod.and_then(|pod| pod.metadata.uid) else {
        return Err(Failure::new("LedgerNotServed", format!("{half}; it has no Pod to restart")));
    };
    let patch = json!({"metadata": {"annotations": {RESTART: uid}}});
    apply::merge::<Peer>(ctx, namespace, name, &patch).await?;
    Err(Failure::new("LedgerNotServed", format!("{half}; it is restarted, which completes it")))
}

fn status(seen: &Seen, decision: &decide::Decision) -> MembershipStatus {
    let orderers = seen.view.orderers.iter().map(|(node, view)| orderer_status(node, view, Some("orderer")));
    let peers = seen.view.peers.iter().map(|(node, view)| node_status(node, &view.channel, None));
    let nodes: Vec<NodeChannelStatus> = orderers.chain(peers).collect();
    let joined = nodes.iter().filter(|node| node.state == "present").count();
    MembershipStatus {
        phase: Some(decision.phase),
        joined: Some(ratio(joined, nodes.len())),
        nodes,
        proposals: seen.view.asked.votes.clone(),
        ..MembershipStatus::default()
    }
}

impl Controlled for MembershipController {
    type Object = Membership;
    type Observed = Seen;
    type Action = Action;
    const BY_OTHERS: &'static [&'static str] =
        &["AdmissionProposed", "ChannelNotOrdering", "ChannelPending", "Leaving", "NotAdmitted", "NotProposed"];
    const INDEPENDENT: bool = true;
    const ASKS: bool = true;

    fn watch(&self, controller: Controller<Membership>, ctx: &Context) -> Controller<Membership> {
        let store = controller.store();
        let namespace = ctx.namespace.clone();
        let of_channel = move |channel: Channel| {
            let ours = channel.namespace().as_deref() == Some(namespace.as_str());
            store
                .state()
                .iter()
                .filter(|membership| ours && membership.spec.channel == channel.spec.channel)
                .map(|membership| ObjectRef::from_obj(membership.as_ref()))
                .collect::<Vec<_>>()
        };
        let store = controller.store();
        let of_peer = move |peer: Peer| {
            let (namespace, name) = (peer.namespace(), peer.name_any());
            store
                .state()
                .iter()
                .filter(|membership| membership.namespace() == namespace && membership.spec.peers.contains(&name))
                .map(|membership| ObjectRef::from_obj(membership.as_ref()))
                .collect::<Vec<_>>()
        };
        // Asking nodes costs: only those whose vote is waited for, or was, are looked at.
        let store = controller.store();
        let of_proposal = move |proposal: Proposal| {
            let awaiting = proposal.status.as_ref().map(|status| status.awaiting_votes.clone()).unwrap_or_default();
            let name = proposal.name_any();
            let shows = |membership: &Membership| {
                membership.status.iter().flat_map(|status| &status.proposals).any(|open| open.name == name)
            };
            let memberships = store.state();
            let concerned = memberships.iter().filter(|membership| {
                membership.spec.channel == proposal.spec.channel
                    && awaiting.contains(&membership.spec.msp_id) != shows(membership)
            });
            concerned.map(|membership| ObjectRef::from_obj(membership.as_ref())).collect::<Vec<_>>()
        };
        controller
            .watches_stream(ctx.triggers(), of_channel)
            .watches_stream(ctx.triggers(), of_peer)
            .watches_stream(ctx.triggers(), of_proposal)
    }

    async fn observe(&self, ctx: &Context, scope: &Scope, object: &Membership) -> Result<Seen, Failure> {
        gate(ctx, scope, object).await?;
        let parties = parties(ctx, scope, object).await?;
        let mut seen = look(&self.nodes, &ctx.namespace, &object.spec, parties).await;
        let phase = object.status.as_ref().and_then(|status| status.phase);
        seen.view.settled = phase == Some(MembershipPhase::Active);
        if let Some(height) = seen.view.ordering.value() {
            let key = (object.namespace().unwrap_or_default(), object.name_any());
            let mut heights = self.heights.lock().unwrap_or_else(PoisonError::into_inner);
            seen.view.earlier = heights.entry(key).or_default().note(*height, ctx.now());
        }
        Ok(seen)
    }

    fn decide(&self, _object: &Membership, observed: &Seen, _now: Timestamp) -> DecisionOf<Self> {
        let decision = decide(&observed.view);
        Decision {
            status: status(observed, &decision),
            actions: decision.actions,
            verdict: decision.outlook.verdict,
            requeue: decision.outlook.pause,
        }
    }

    async fn act(&self, ctx: &Context, object: &Membership, observed: &Seen, action: &Action) -> Result<(), Failure> {
        match action {
            Action::Record(_) => ctx.writes.count("ConfigMap"),
            Action::Join(_) => ctx.fabric_changes.count("JoinPeer"),
        }
        let (Action::Join(peer) | Action::Record(peer)) = action;
        match perform(&self.nodes, &object.spec, observed, action).await? {
            Performed::Done => Ok(()),
            Performed::HalfJoined => restart(ctx, &object.spec.channel, peer).await,
        }
    }

    async fn cleanup(&self, _ctx: &Context, object: &Membership) -> Result<Cleanup, Failure> {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        self.heights.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        Ok(Cleanup::Done((!object.spec.peers.is_empty()).then(|| {
            format!("the peers keep channel {}: Fabric has no way to leave one while they run", object.spec.channel)
        })))
    }
}
