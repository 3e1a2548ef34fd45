//! Channels: the genesis block is computed once and pinned, the own consenters are joined to it, and what the
//! channel then is follows from what its nodes say.

pub mod config;
pub mod decide;
pub mod form;
pub mod material;
pub mod status;

#[cfg(test)]
mod config_tests;
#[cfg(test)]
mod form_tests;

use std::sync::Arc;

use futures::stream;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use tenter_consortium::channel_config::organizations;
use tenter_consortium::objects::{ConsenterRef, Kind, LABEL_CHANNEL};
use tenter_consortium::settings::{hosts_all, organization_allowed};
use tenter_consortium::status::ChannelPhase;
use tenter_fabric::config::CurrentConfig;

use self::config::ProposalSeen;
use self::decide::{Action, decide};
use self::form::{Parties, Seen, foreign_consenters, look, perform};
use self::status::channel_status;
use super::driver::DecisionOf;
use super::follow::Followers;
use super::{Cleanup, Context, Controlled, Decision, Failure, Scope, Verdict, apply, gates, proposal};
use crate::nodes::{Node, Nodes, Ordering};
use crate::resources::{Channel, Membership, Orderer, Proposal, TenterObject as _};

/// The controller of [`Channel`] objects.
pub struct ChannelController {
    nodes: Arc<Nodes>,
    followers: Arc<Followers>,
}

impl ChannelController {
    /// A controller that talks to these nodes. Config blocks that `followers` see bring its channels up.
    pub const fn new(nodes: Arc<Nodes>, followers: Arc<Followers>) -> Self {
        Self { nodes, followers }
    }

    /// Follows the config blocks of a channel that orders, from the nodes that hold it.
    fn follow(&self, channel: &str, seen: &Seen) {
        let own = seen.view.orderers.values().filter_map(|view| Some(view.channel.live.value()?.height));
        let elsewhere = match seen.view.elsewhere.value() {
            Some(Ordering::Serving { height }) => Some(*height),
            Some(Ordering::NoLeader) | None => None,
        };
        let height = own.chain(elsewhere).max();
        let sources: Vec<Node> = seen
            .nodes
            .values()
            .filter(|node| {
                // One that only follows delivers nothing.
                let live = seen.view.orderers.get(&node.reference).and_then(|view| view.channel.live.value());
                live.is_some_and(|live| live.relation == "consenter")
            })
            .chain(&seen.elsewhere)
            .cloned()
            .collect();
        if let Some(height) = height.filter(|_| !sources.is_empty()) {
            self.followers.follow(&self.nodes, channel, sources, height);
        }
    }
}

/// What the channel's decision is made on.
pub struct Observed {
    seen: Seen,
    peers: (usize, usize),
}

/// Peers that have joined, of all, as the memberships say.
async fn peers(ctx: &Context, object: &Channel) -> Result<(usize, usize), Failure> {
    let all = object.spec.members.iter().map(|member| member.peers.len()).sum();
    let selector = format!("{LABEL_CHANNEL}={}", object.spec.channel);
    let memberships = apply::list_all::<Membership>(ctx, &selector).await?;
    let joined = memberships
        .iter()
        .filter(|membership| membership.consortium() == object.consortium())
        .filter_map(|membership| membership.status.as_ref())
        .flat_map(|status| &status.nodes)
        // Only orderers have a relation.
        .filter(|node| node.relation.is_none() && node.state == "present")
        .count();
    Ok((joined, all))
}

/// Own organizations that the spec releases and whose Membership is still there: they read the channel until it does without
/// them. Namespace and MSP ID.
async fn leavers(ctx: &Context, organizations: &[String], object: &Channel) -> Result<Vec<(String, String)>, Failure> {
    let selector = format!("{LABEL_CHANNEL}={}", object.spec.channel);
    let memberships = apply::list_all::<Membership>(ctx, &selector).await?;
    let leaving = memberships.into_iter().filter(|membership| {
        let organization = &membership.spec.organization;
        membership.consortium() == object.consortium()
            && object.spec.retired.contains(organization)
            && organization_allowed(organization, organizations)
    });
    Ok(leaving.map(|it| (it.namespace().unwrap_or_default(), it.spec.msp_id)).collect())
}

/// The proposals of a channel.
async fn proposals(ctx: &Context, object: &Channel) -> Result<Vec<ProposalSeen>, Failure> {
    let selector = format!("{LABEL_CHANNEL}={}", object.spec.channel);
    let found = apply::list::<Proposal>(ctx, &ctx.namespace, &selector).await?;
    let own = found.into_iter().filter(|proposal| proposal.consortium() == object.consortium());
    Ok(own.map(|proposal| proposal::seen(&proposal)).collect())
}

/// Makes the Proposal of a topic's update. Its name follows from the update, so that there is one of each.
async fn propose(ctx: &Context, object: &Channel, seen: &Seen, topic: &str) -> Result<(), Failure> {
    let Some(update) = seen.updates.iter().find(|update| update.topic == topic) else {
        return Err(Failure::new("Propose", format!("the update of {topic} is gone; it is looked at again")));
    };
    let drift = seen.view.config.value().and_then(|config| config.topics.iter().find(|view| view.topic == topic));
    let reason = drift.map(|view| view.drift.join("; ")).filter(|drift| !drift.is_empty());
    let sequence = seen.config.value().map(|config| config.sequence).unwrap_or_default();
    let proposal = proposal::object(object, update, sequence, reason);
    apply::create(ctx, &proposal).await.map(drop)
}

/// What this daemon's own settings do not allow, whatever the object says.
fn gate(ctx: &Context, scope: &Scope, object: &Channel, own: &[Node]) -> Result<(), Failure> {
    if object.namespace().as_deref() != Some(ctx.namespace.as_str()) {
        return Err(Failure::terminal(
            "NamespaceNotAllowed",
            format!("{} is not in the consortium's namespace {}: make it there", object.describe(), ctx.namespace),
        ));
    }
    if object.name_any() != object.spec.channel {
        return Err(Failure::terminal(
            "NameDiffers",
            format!("{} must have the name of its channel, {}", object.describe(), object.spec.channel),
        ));
    }
    let refused = |verdict: Verdict| Failure::terminal(verdict.reason(), verdict.message());
    let consenters = &object.spec.consensus.consenters;
    for consenter in consenters.iter().filter(|consenter| own.iter().any(|node| is(node, consenter))) {
        gates::admit(&scope.consortium.spec, &consenter.organization, &consenter.namespace).map_err(refused)?;
    }
    // What a genesis block is made of is read from the namespaces of own organizations only.
    let spec = &object.spec;
    let places = (spec.orderer_organizations.iter().map(|entry| (&entry.organization, &entry.namespace)))
        .chain(spec.members.iter().map(|member| (&member.organization, &member.namespace)));
    for (organization, namespace) in places {
        if organization_allowed(organization, &scope.consortium.spec.organizations) {
            gates::admit(&scope.consortium.spec, organization, namespace).map_err(refused)?;
        }
    }
    Ok(())
}

fn is(node: &Node, consenter: &ConsenterRef) -> bool {
    node.reference.namespace == consenter.namespace && node.reference.name == consenter.orderer
}

impl Controlled for ChannelController {
    type Object = Channel;
    type Observed = Observed;
    type Action = Action;
    const BY_OTHERS: &'static [&'static str] =
        &["Updating", "Preparing", "MaterialMissing", "NoOwnConsenter", "GenesisMissing"];
    const INDEPENDENT: bool = true;
    const ASKS: bool = true;

    fn watch(&self, controller: Controller<Channel>, ctx: &Context) -> Controller<Channel> {
        let channels = controller.store();
        let of_orderer = move |orderer: Orderer| {
            let (namespace, name) = (orderer.namespace().unwrap_or_default(), orderer.name_any());
            channels
                .state()
                .iter()
                .filter(|channel| {
                    let consenters = &channel.spec.consensus.consenters;
                    consenters.iter().any(|other| other.namespace == namespace && other.orderer == name)
                })
                .map(|channel| ObjectRef::from_obj(channel.as_ref()))
                .collect::<Vec<_>>()
        };
        let namespace = ctx.namespace.clone();
        let of_proposal = {
            let namespace = namespace.clone();
            move |proposal: Proposal| {
                let ours = proposal.namespace().as_deref() == Some(namespace.as_str());
                ours.then(|| ObjectRef::new(&proposal.spec.channel).within(&namespace))
            }
        };
        let of_membership = move |membership: Membership| [ObjectRef::new(&membership.spec.channel).within(&namespace)];
        controller
            .watches_stream(ctx.triggers(), of_orderer)
            .watches_stream(ctx.triggers(), of_membership)
            .watches_stream(ctx.triggers(), of_proposal)
            .reconcile_all_on(stream::unfold(self.followers.changes(), |mut changes| async move {
                changes.changed().await.ok().map(|()| ((), changes))
            }))
    }

    async fn observe(&self, ctx: &Context, scope: &Scope, object: &Channel) -> Result<Observed, Failure> {
        let own = &scope.consortium.spec.organizations;
        let mut parties = Parties::of(&object.spec, &ctx.namespace, own);
        if parties.others.is_empty() && !object.spec.retired.is_empty() {
            let readers = leavers(ctx, own, object).await?;
            parties.others = foreign_consenters(&object.spec, &ctx.namespace, own, &readers);
        }
        gate(ctx, scope, object, &parties.own)?;
        let proposals = proposals(ctx, object).await?;
        let look = look(&self.nodes, &ctx.namespace, &object.spec, parties, &proposals);
        let (mut seen, peers) = tokio::join!(look, peers(ctx, object));
        let live =
            seen.config.value().and_then(|live| CurrentConfig::from_bytes(&object.spec.channel, &live.config).ok());
        let live = live.map(|current| organizations(current.config()));
        let shared = !hosts_all(&scope.consortium.spec, &object.spec, live.as_ref());
        let sequence = seen.config.value().map(|config| config.sequence);
        let this = (Kind::Channel, object.spec.channel.as_str());
        seen.view.formed |= object.status.as_ref().is_some_and(|status| status.config_sequence.is_some());
        seen.view.definition_awaited = scope.definition_awaited_at(ctx, this, shared, sequence);
        if matches!(decide(&seen.view).phase, ChannelPhase::Active | ChannelPhase::Updating) {
            self.follow(&object.spec.channel, &seen);
        }
        Ok(Observed { seen, peers: peers? })
    }

    fn decide(&self, _object: &Channel, observed: &Observed, _now: Timestamp) -> DecisionOf<Self> {
        let decision = decide(&observed.seen.view);
        Decision {
            status: channel_status(&observed.seen, &decision, observed.peers),
            actions: decision.actions,
            verdict: decision.outlook.verdict,
            requeue: decision.outlook.pause,
        }
    }

    async fn act(&self, ctx: &Context, object: &Channel, observed: &Observed, action: &Action) -> Result<(), Failure> {
        match action {
            Action::Pin | Action::Record(_) => ctx.writes.count("ConfigMap"),
            Action::Join(_) => ctx.fabric_changes.count("JoinOrderer"),
            Action::Propose(topic) => return propose(ctx, object, &observed.seen, topic).await,
        }
        perform(&self.nodes, &ctx.namespace, &object.spec, &observed.seen, action).await
    }

    async fn cleanup(&self, _ctx: &Context, object: &Channel) -> Result<Cleanup, Failure> {
        self.followers.stop(&object.spec.channel);
        Ok(Cleanup::Done(Some(format!(
            "the nodes keep channel {channel}, and ConfigMap {channel}-genesis its pinned genesis block",
            channel = object.spec.channel
        ))))
    }
}
