//! What the file releases: nodes are taken down once no channel needs them, and channels that no own organization is in any
//! more are let go.
//!
//! What still is in a channel is told by the live world and never by the file: whoever writes the file could otherwise take
//! away what the members have not voted on.

use std::collections::BTreeSet;

use serde::Deserialize as _;

use super::channels::config_step;
use super::config::{ORDERER_ORGANIZATION, UNREAD};
use super::notes::{field, retires};
use super::{Block, Draft, Planner, object_step};
use crate::definition::LedgerFate;
use crate::desired::DesiredLeaving;
use crate::network::Retired;
use crate::objects::{ChannelSpec, Kind, NodeSpec, ObjectRef, ReleasedOrderer};
use crate::observation::Observation;
use crate::observed::{LiveObject, ObservedChannel};
use crate::plan::{Step, StepId};

impl Planner<'_> {
    /// Nodes that the file releases go when no channel has them any more, after all that takes them out of channels.
    pub(super) fn remove_nodes(&mut self) {
        for (object, live) in &self.observed.objects {
            let released = self.desired.retired.iter().find(|retired| retires(retired, object, live));
            let Some(retired) = released.filter(|_| self.leaves_as_node(object, live)) else { continue };
            let organization = field(live, "organization").unwrap_or_default();
            let claim = format!("data-{}-0", object.name);
            let deletes = retired.ledger == LedgerFate::Delete;
            let keeps = if deletes {
                format!("its volume {claim} is deleted with it; its keys and its join record stay")
            } else {
                format!("its volume {claim} stays with the ledger, and so do its keys and its join record")
            };
            let irreversible = deletes.then(|| format!("the ledger on volume {claim} is gone for good"));
            let step = Step::RemoveObject { object: object.clone(), keeps, volume: deletes.then_some(claim) };
            let draft = Draft::new(step, std::slice::from_ref(&retired.origin))
                .needs(self.leaving(object, organization))
                .blocked(still_needed(self, retired, object, live))
                .irreversible(irreversible);
            self.add(remove_step(object), draft);
        }
    }

    /// Whether a live object is a node that goes by a step of the plan when the file releases it.
    pub(super) fn leaves_as_node(&self, object: &ObjectRef, live: &LiveObject) -> bool {
        matches!(object.kind, Kind::Orderer | Kind::Peer)
            && !live.deleting
            && !self.desired.objects.contains_key(object)
            && self.governs(object, live)
    }

    /// The steps that take a node out of channels.
    fn leaving(&self, object: &ObjectRef, organization: &str) -> Vec<StepId> {
        let topics = [
            format!("member/{organization}"),
            format!("anchors/{organization}"),
            format!("{ORDERER_ORGANIZATION}{organization}"),
            UNREAD.to_owned(),
        ];
        let mut needs = Vec::new();
        for channel in self.observed.channels.keys() {
            let membership =
                ObjectRef { kind: Kind::Membership, namespace: object.namespace.clone(), name: channel.clone() };
            needs.push(remove_step(&membership));
            needs.push(object_step(&membership));
            needs.extend(topics.iter().map(|topic| config_step(channel, topic)));
            needs.extend(self.consenter_steps(channel));
            let channel =
                ObjectRef { kind: Kind::Channel, namespace: self.desired.namespace.clone(), name: channel.clone() };
            // Until it says that the orderer is released, the orderer's own controller keeps it.
            needs.extend(self.written(object_step(&channel)));
        }
        needs
    }

    /// Channels that no own organization takes part in any more: their objects say so, so that the controllers know.
    pub(super) fn let_go(&mut self) {
        for leaving in self.desired.leaving.values() {
            if self.observed.objects.get(&leaving.object).is_none_or(|live| live.deleting) {
                continue;
            }
            let mut wanted = leaving.wanted.clone();
            if let Ok(mut spec) = ChannelSpec::deserialize(&wanted.spec) {
                let released = self.released_orderers(&spec);
                spec.consensus.released =
                    spec.consensus.released.into_iter().chain(released).collect::<BTreeSet<_>>().into_iter().collect();
                wanted.spec = serde_json::to_value(&spec).unwrap_or(wanted.spec);
            }
            self.object(&leaving.object, &wanted, Vec::new());
            // Whether it is well is not this daemon's matter any more.
            let id = object_step(&leaving.object);
            if self.steps.get(&id).is_some_and(|planned| matches!(planned.step, Step::AwaitReady { .. })) {
                self.steps.remove(&id);
            }
        }
    }

    /// The orderers of organizations that the file releases as a whole: it says nothing of them any more, their objects do.
    fn released_orderers(&self, spec: &ChannelSpec) -> Vec<ReleasedOrderer> {
        let objects = self.observed.objects.iter().filter(|(object, live)| {
            object.kind == Kind::Orderer && !live.deleting && !self.desired.objects.contains_key(*object)
        });
        let released = objects.filter(|(object, live)| {
            field(live, "organization").is_some_and(|name| spec.retired.iter().any(|retired| retired == name))
                && self.governs(object, live)
        });
        let released = released.filter_map(|(object, live)| {
            let NodeSpec { organization, msp_id, address, .. } = NodeSpec::deserialize(&live.spec).ok()?;
            let (namespace, orderer) = (object.namespace.clone(), object.name.clone());
            Some(ReleasedOrderer { organization, msp_id, namespace, orderer, address })
        });
        released.collect()
    }

    /// What is kept here of a channel goes when no own organization is in it any more: its chaincodes, and then itself.
    pub(super) fn remove_left_channels(&mut self) {
        for (name, DesiredLeaving { object: channel, wanted }) in &self.desired.leaving {
            if self.observed.objects.get(channel).is_none_or(|live| live.deleting) {
                continue;
            }
            let of_channel = |object: &ObjectRef, live: &LiveObject| {
                field(live, "channel") == Some(name) && !live.deleting && object.kind != Kind::Channel
            };
            let live = self.observed.objects.iter().filter(|(object, live)| of_channel(object, live));
            let (memberships, chaincodes): (Vec<_>, Vec<_>) =
                live.map(|(object, _)| object).partition(|object| object.kind == Kind::Membership);
            let mut needs: Vec<StepId> = memberships.into_iter().map(remove_step).collect();
            // One that no step takes away is of an organization that stays.
            if needs.iter().any(|id| !self.steps.contains_key(id)) {
                continue;
            }
            let blocked = if needs.is_empty() { self.unknown_outside(name) } else { None };
            for object in chaincodes.into_iter().filter(|object| object.kind == Kind::Chaincode) {
                let id = remove_step(object);
                if self.steps.contains_key(&id) {
                    continue;
                }
                let keeps = "its services are taken down; the packages stay on the peers".to_owned();
                let step = Step::RemoveObject { object: object.clone(), keeps, volume: None };
                let draft = Draft::new(step, &wanted.origins).needs(needs.clone()).blocked(blocked.clone());
                self.add(id, draft);
            }
            // Nodes are let go by what the Channel says: it goes after them.
            let held =
                self.observed.held.iter().filter(|(_, held)| held.value().is_none_or(|held| held.contains(name)));
            needs.extend(held.map(|(object, _)| remove_step(object)));
            needs.push(object_step(channel));
            let keeps =
                format!("nodes that hold the channel keep it, and ConfigMap {name}-genesis its pinned genesis block");
            let step = Step::RemoveObject { object: channel.clone(), keeps, volume: None };
            self.add(remove_step(channel), Draft::new(step, &wanted.origins).needs(needs).blocked(blocked));
        }
    }

    /// Why it is not sure that a channel has none of the organizations that the file releases from it.
    fn unknown_outside(&self, channel: &str) -> Option<Block> {
        let mut organizations = self
            .observed
            .objects
            .iter()
            .filter(|(object, live)| object.kind == Kind::Organization && self.governs(object, live));
        organizations.find_map(|(object, live)| self.still_in(channel, &object.name, field(live, "mspID")?))
    }

    /// Why it is not sure that a channel which the definition has no own organization in does without an organization.
    pub(super) fn still_in(&self, channel: &str, organization: &str, msp_id: &str) -> Option<Block> {
        let Some(seen) = self.observed.channels.get(channel) else {
            let why = format!("cannot tell whether channel {channel} still has {organization}: it was not looked at");
            return Some(Block::not_seen(why));
        };
        match &seen.config {
            _ if seen.refused.is_some() => None,
            Observation::Present { value } => {
                let facts = &value.facts;
                let is_in = facts.members.contains_key(msp_id) || facts.orderer_organizations.contains_key(msp_id);
                is_in.then(|| waits_for_members(channel, organization))
            }
            // Only where no genesis block is pinned is it sure that there is no channel.
            Observation::Absent { .. } if seen.genesis.is_absent() => None,
            unread => Some(unknown(channel, &format!("still has {organization}"), unread.evidence())),
        }
    }
}

/// The id of the step that takes an object away.
pub(super) fn remove_step(object: &ObjectRef) -> StepId {
    StepId(format!("remove/{}", object_step(object)))
}

/// Only the members of a channel can take an organization out of it. Nothing that this daemon does.
fn waits_for_members(channel: &str, organization: &str) -> Block {
    Block::not_seen(format!(
        "channel {channel} still has organization {organization}: waits until its members have signed the update that takes it out"
    ))
}

fn unknown(channel: &str, what: &str, evidence: Option<&str>) -> Block {
    let evidence = evidence.map(|evidence| format!(" ({evidence})")).unwrap_or_default();
    Block::not_seen(format!("cannot tell whether channel {channel} {what}: its configuration was not read{evidence}"))
}

/// Why a node must not go yet, apart from steps of this plan that it waits for.
fn still_needed(planner: &Planner<'_>, retired: &Retired, object: &ObjectRef, live: &LiveObject) -> Option<Block> {
    let (msp_id, address) = (field(live, "mspID")?, field(live, "address")?);
    let organization = field(live, "organization")?;
    let held = match planner.observed.held.get(object) {
        Some(Observation::Present { value }) => value,
        other => {
            let evidence = other.and_then(Observation::evidence).unwrap_or("they were not looked at");
            return Some(Block::not_seen(format!("cannot tell which channels it has joined: {evidence}")));
        }
    };
    let channels: BTreeSet<&String> = planner.observed.channels.keys().chain(held).collect();
    for channel in channels {
        let node = Leaver { object, msp_id, address, organization, has_joined: held.contains(channel) };
        if let Some(block) = needed_by(planner, channel, planner.observed.channels.get(channel), &node) {
            return Some(block);
        }
    }
    (retired.ledger == LedgerFate::SnapshotThenDelete).then(|| {
        let why = "taking a snapshot of its ledger is not carried out by this version: say `ledger: keep`, or take the \
                   snapshot by hand and say `ledger: delete`";
        why.to_owned().into()
    })
}

/// A node that the file releases.
struct Leaver<'a> {
    object: &'a ObjectRef,
    msp_id: &'a str,
    address: &'a str,
    organization: &'a str,
    /// Whether it is on record in the channel.
    has_joined: bool,
}

/// Why a node must not go before a channel does without it.
fn needed_by(planner: &Planner<'_>, channel: &str, seen: Option<&ObservedChannel>, node: &Leaver<'_>) -> Option<Block> {
    let Leaver { object, msp_id, address, organization, has_joined } = *node;
    let refused = seen.is_some_and(|seen| seen.refused.is_some());
    // A peer whose organization stays goes as soon as its Membership does without it.
    let stays = planner.desired.all_organizations.contains(organization);
    let config = match seen.map(|seen| (&seen.config, &seen.genesis)) {
        Some((Observation::Present { value }, _)) => value,
        // Only where no genesis block is pinned is it sure that there is no channel.
        Some((Observation::Absent { .. }, genesis)) if genesis.is_absent() && !has_joined => return None,
        // No channel that has its organization refuses it, and a peer is nothing else in a configuration.
        _ if refused && object.kind == Kind::Peer => return None,
        unread => {
            let record = if has_joined {
                format!(
                    "; if it is known that the channel does without it, remove the key {channel} from ConfigMap {}/{}-ledgers",
                    object.namespace, object.name
                )
            } else {
                String::new()
            };
            let evidence = unread.and_then(|(config, _)| config.evidence()).unwrap_or("it was not looked at");
            let block = unknown(channel, "has it", Some(evidence));
            return Some(Block { why: format!("{}{record}", block.why), ..block });
        }
    };
    let comes = |topic: &str| planner.steps.contains_key(&config_step(channel, topic));
    // What the steps of this plan leave of it.
    let facts = planner.ends.get(channel).unwrap_or(&config.facts);
    if facts.consenters.iter().any(|consenter| consenter == address) {
        let why = format!("it is a consenter of channel {channel}: take it out of the consenters first");
        return Some(why.into());
    }
    let orders = facts.orderer_organizations.get(msp_id);
    if orders.is_some_and(|endpoints| endpoints.iter().any(|endpoint| endpoint == address))
        && !comes(&format!("{ORDERER_ORGANIZATION}{organization}"))
    {
        return Some(format!("channel {channel} names it as an endpoint of {organization}").into());
    }
    let is_member = facts.members.contains_key(msp_id) && !comes(&format!("member/{organization}"));
    let orders = orders.is_some() && !comes(&format!("{ORDERER_ORGANIZATION}{organization}"));
    if stays || refused || !(is_member || orders) {
        return None;
    }
    if !planner.desired.channels.contains_key(channel) {
        return Some(waits_for_members(channel, organization));
    }
    let why = format!("channel {channel} still has organization {organization}: take it out of the channel first");
    Some(why.into())
}
