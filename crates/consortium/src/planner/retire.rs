//! Nodes that the file releases: they are taken down once no channel needs them.

use super::channels::config_step;
use super::config::{ORDERER_ORGANIZATION, UNREAD};
use super::notes::{field, retires};
use super::{Block, Draft, Planner, object_step};
use crate::definition::LedgerFate;
use crate::network::Retired;
use crate::objects::{Kind, ObjectRef};
use crate::observation::Observation;
use crate::observed::LiveObject;
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
            self.add(StepId(format!("remove/{}", object_step(object))), draft);
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
            let membership = object_step(&membership);
            needs.push(StepId(format!("remove/{membership}")));
            needs.push(membership);
            needs.extend(topics.iter().map(|topic| config_step(channel, topic)));
            needs.extend(self.consenter_steps(channel));
        }
        needs
    }
}

/// Why a node must not go yet, apart from steps of this plan that it waits for.
fn still_needed(planner: &Planner<'_>, retired: &Retired, object: &ObjectRef, live: &LiveObject) -> Option<Block> {
    let (msp_id, address) = (field(live, "mspID")?, field(live, "address")?);
    let organization = field(live, "organization")?;
    for (channel, seen) in &planner.observed.channels {
        let config = match &seen.config {
            Observation::Present { value } => value,
            // Only where no genesis block is pinned is it sure that there is no channel.
            Observation::Absent { .. } if seen.genesis.is_absent() => continue,
            Observation::Absent { .. } | Observation::Forbidden { .. } | Observation::Unreachable { .. } => {
                let why = format!("cannot tell whether channel {channel} has it: its configuration was not read");
                return Some(Block::not_seen(why));
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
        // A peer whose organization stays in the channel goes as soon as its Membership does without it.
        let stays = planner.desired.all_organizations.contains(organization);
        if object.kind == Kind::Peer
            && !stays
            && facts.members.contains_key(msp_id)
            && !comes(&format!("member/{organization}"))
        {
            let why = format!(
                "channel {channel} still has organization {organization} as a member: take it out of the channel first"
            );
            return Some(why.into());
        }
    }
    (retired.ledger == LedgerFate::SnapshotThenDelete).then(|| {
        let why = "taking a snapshot of its ledger is not carried out by this version: say `ledger: keep`, or take the \
                   snapshot by hand and say `ledger: delete`";
        why.to_owned().into()
    })
}
