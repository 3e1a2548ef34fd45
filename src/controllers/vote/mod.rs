//! Votes: an organization's administrator says whether it signs a config update. The Proposal controller counts them; this
//! one tells whoever wrote a vote what became of it.

pub mod decide;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use tenter_consortium::objects::VoteChoice;
use tenter_consortium::status::ProposalVote;

use self::decide::{View, decide};
use super::conditions::Verdict;
use super::driver::DecisionOf;
use super::{Context, Controlled, Failure, Scope, apply, gates};
use crate::resources::{Proposal, Vote};

/// The controller of [`Vote`] objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct VoteController;

/// The votes on an update that count, by organization; `place` says which namespace is an organization's. Where an
/// organization has several, one that rejects counts before all others, then the first by name.
pub fn counted<'a>(
    votes: impl IntoIterator<Item = &'a Vote>,
    (consortium, proposal, digest): (&str, &str, &str),
    place: &BTreeMap<String, (String, String)>,
) -> BTreeMap<String, ProposalVote> {
    let mut found: BTreeMap<String, ProposalVote> = BTreeMap::new();
    for vote in votes {
        let spec = &vote.spec;
        let Some((namespace, msp_id)) = place.get(&spec.organization) else { continue };
        let about = spec.consortium == consortium && spec.proposal == proposal && spec.digest == digest;
        let deleted = vote.metadata.deletion_timestamp.is_some();
        if !about || deleted || vote.namespace().as_deref() != Some(namespace.as_str()) {
            continue;
        }
        let entry = ProposalVote {
            organization: spec.organization.clone(),
            msp_id: msp_id.clone(),
            choice: spec.choice,
            reason: spec.reason.clone(),
            vote: vote.name_any(),
        };
        let rank = |vote: &ProposalVote| (vote.choice == VoteChoice::Approve, vote.vote.clone());
        if found.get(&spec.organization).is_none_or(|held| rank(&entry) < rank(held)) {
            found.insert(spec.organization.clone(), entry);
        }
    }
    found
}

impl Controlled for VoteController {
    type Object = Vote;
    type Observed = View;
    type Action = std::convert::Infallible;
    const BY_OTHERS: &'static [&'static str] = &["NoProposal"];

    fn watch(&self, controller: Controller<Vote>, ctx: &Context) -> Controller<Vote> {
        let store = controller.store();
        let of_proposal = move |proposal: Proposal| {
            let name = proposal.name_any();
            let votes = store.state();
            let about = votes.iter().filter(|vote| vote.spec.proposal == name);
            about.map(|vote| ObjectRef::from_obj(vote.as_ref())).collect::<Vec<_>>()
        };
        controller.watches_stream(ctx.triggers(), of_proposal)
    }

    async fn observe(&self, ctx: &Context, scope: &Scope, object: &Vote) -> Result<View, Failure> {
        let namespace = object.namespace().unwrap_or_default();
        let organization = &object.spec.organization;
        let refused = |verdict: Verdict| Failure::terminal(verdict.reason(), verdict.message());
        gates::admit(&scope.consortium.spec, organization, &namespace).map_err(refused)?;
        let facts = gates::namespace(ctx, &namespace).await?;
        gates::own_namespace(facts.as_ref(), &scope.consortium.name_any(), organization, &namespace)
            .map_err(refused)?;
        let proposal = apply::get::<Proposal>(ctx, &ctx.namespace, &object.spec.proposal).await?;
        Ok(View { namespace: ctx.namespace.clone(), proposal })
    }

    fn decide(&self, object: &Vote, observed: &View, _now: Timestamp) -> DecisionOf<Self> {
        decide(object, observed)
    }

    async fn act(
        &self,
        _ctx: &Context,
        _object: &Vote,
        _observed: &View,
        action: &std::convert::Infallible,
    ) -> Result<(), Failure> {
        match *action {}
    }
}
