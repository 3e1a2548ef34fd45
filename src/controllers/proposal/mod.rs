//! Proposals: config updates as objects. The organizations that this daemon acts for sign by themselves, an update that
//! has the signatures which its policies ask for is handed to an orderer, and a config block that shows it ends it.

pub mod decide;
pub mod look;
pub mod signers;
mod versions;
mod writers;

#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod process_tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use tenter_consortium::channel_config::TopicUpdate;
use tenter_consortium::objects::{
    ANNOTATION_APPROVED, ChannelSpec, ConsortiumSpec, FIELD_MANAGER, Kind, LABEL_CHANNEL, LABEL_CONSORTIUM,
    ProposalSpec,
};
use tenter_consortium::observation::Observation;
use tenter_consortium::status::{ProposalPhase, ProposalSignature, ProposalStatus, ProposalVote};
use tenter_fabric::config::update::{ConfigSignature, ConfigUpdate};

use self::decide::{Action, Answer, Attempt, Standing, UNSATISFIABLE, VOTED_DOWN, View, decide};
use self::look::{Live, Place, Seen, look, own_organizations};
use super::apply::MANAGED_BY;
use super::channel::config::ProposalSeen;
use super::conditions::{READY, state};
use super::driver::DecisionOf;
use super::vote::counted;
use super::{Cleanup, Context, Controlled, Decision, Failure, Scope, apply};
use crate::messages::Messages;
use crate::messages::channel::{MessageChannel, place};
use crate::nodes::{Nodes, chain};
use crate::resources::{Channel, Proposal, TenterObject as _, Vote};
use crate::source::Credentials;
use crate::sync::definition::credentials;

/// Longest name of a Proposal: a label's.
const NAME_LIMIT: usize = 63;
/// Characters of the digest in a name.
const NAME_DIGEST: usize = 10;

/// What a Proposal object shows to others.
pub fn seen(proposal: &Proposal) -> ProposalSeen {
    let status = proposal.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.condition_type == READY);
    ProposalSeen {
        name: proposal.name_any(),
        topic: proposal.spec.topic.clone(),
        digest: proposal.spec.digest.clone(),
        phase: status.phase,
        voted_down: ready.is_some_and(|condition| [VOTED_DOWN, UNSATISFIABLE].contains(&condition.reason.as_str())),
        awaiting: status.awaiting_votes.clone(),
        changes: proposal.spec.changes.clone(),
        message: ready.map_or_else(|| "it was just made".to_owned(), |condition| condition.message.clone()),
        block: status.block,
    }
}

/// The name of the Proposal of an update: it follows from the bytes, so that there is one of each.
pub fn name(channel: &str, digest: &str) -> String {
    let digest = digest.get(..NAME_DIGEST).unwrap_or(digest);
    let channel = channel.get(..NAME_LIMIT - NAME_DIGEST - 1).unwrap_or(channel);
    format!("{}-{digest}", channel.trim_end_matches(['-', '.']))
}

/// The Proposal of a topic's update.
pub fn object(channel: &Channel, update: &TopicUpdate, base_sequence: u64, reason: Option<String>) -> Proposal {
    let digest = update.update.digest();
    let name = name(&channel.spec.channel, &digest);
    let spec = ProposalSpec {
        consortium: channel.spec.consortium.clone(),
        channel: channel.spec.channel.clone(),
        topic: update.topic.clone(),
        update: BASE64.encode(update.update.bytes()),
        base_sequence,
        changes: update.changes.clone(),
        elements: update.elements.clone(),
        reason,
        irreversible: update.irreversible.clone(),
        digest,
    };
    let mut proposal = Proposal::new(&name, spec);
    proposal.metadata.namespace = channel.namespace();
    proposal.metadata.labels = Some(BTreeMap::from([
        (LABEL_CONSORTIUM.to_owned(), channel.spec.consortium.clone()),
        (LABEL_CHANNEL.to_owned(), channel.spec.channel.clone()),
        (MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned()),
    ]));
    proposal
}

/// The controller of [`Proposal`] objects.
pub struct ProposalController {
    nodes: Arc<Nodes>,
    messages: Arc<MessageChannel>,
    /// What was signed and submitted in this process, by name. What is lost with it is made again: a signature has
    /// a new nonce then, and an update that is submitted twice is committed once.
    known: Mutex<BTreeMap<String, Known>>,
}

/// What this process did about a proposal.
#[derive(Clone, Debug, Default)]
struct Known {
    signatures: Vec<ConfigSignature>,
    attempt: Option<Attempt>,
}

/// What a proposal's decision is made on.
pub struct Observed {
    view: View,
    /// Absent for one that is settled, of which nothing is asked any more.
    seen: Option<Seen>,
    /// Where signatures are exchanged with the daemons of other members; absent without any.
    place: Option<(String, Credentials)>,
    /// Why nothing could be exchanged.
    silent: Option<String>,
}

impl ProposalController {
    /// A controller that talks to these nodes, and to the daemons of other members.
    pub const fn new(nodes: Arc<Nodes>, messages: Arc<MessageChannel>) -> Self {
        Self { nodes, messages, known: Mutex::new(BTreeMap::new()) }
    }

    fn known(&self, object: &Proposal) -> Known {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&object.name_any()).cloned().unwrap_or_default()
    }

    fn remember(&self, object: &Proposal, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(known.entry(object.name_any()).or_default());
    }

    /// What the daemons of other members published, where there are any; and where that is, or why it could not be read. A
    /// repository that cannot be reached holds nobody up who needs nothing from it.
    async fn exchanged(
        &self,
        ctx: &Context,
        settings: &ConsortiumSpec,
        shared: bool,
    ) -> (Option<(String, Credentials)>, Option<Messages>, Option<String>) {
        if !shared {
            return (None, None, None);
        }
        let source = place(settings);
        let credentials = match credentials(ctx, &source).await {
            Ok(credentials) => credentials,
            Err(problem) => return (None, None, Some(problem.message)),
        };
        match self.messages.read(&source.repository, &credentials, ctx.now()).await {
            Ok(messages) => (Some((source.repository, credentials)), Some(messages), None),
            Err(error) => (None, None, Some(error.to_string())),
        }
    }

    /// Submits once, and remembers what came of it.
    async fn submit(&self, ctx: &Context, object: &Proposal, seen: &Seen) -> Result<(), Failure> {
        let answer = seen.submit(&self.nodes).await?;
        tracing::info!(object = object.describe(), ?answer, "submitted");
        let now = ctx.now();
        self.remember(object, |known| {
            let times = match &known.attempt {
                Some(last) if std::mem::discriminant(&last.answer) == std::mem::discriminant(&answer) => last.times + 1,
                _ => 1,
            };
            let first = known.attempt.as_ref().map_or(now, |last| last.first);
            known.attempt = Some(Attempt { first, last: now, times, answer });
        });
        Ok(())
    }
}

/// What the administrators of own organizations said to a proposal, by MSP ID.
async fn votes(
    ctx: &Context,
    scope: &Scope,
    object: &Proposal,
    spec: &ChannelSpec,
) -> Result<BTreeMap<String, ProposalVote>, Failure> {
    let own = own_organizations(&scope.consortium.spec, spec);
    let place = own.into_iter().map(|own| (own.organization, (own.namespace, own.msp_id))).collect();
    let all = apply::list_all::<Vote>(ctx, "").await?;
    let name = object.name_any();
    let found = counted(&all, (&object.spec.consortium, &name, &object.spec.digest), &place);
    Ok(found.into_values().map(|vote| (vote.msp_id.clone(), vote)).collect())
}

/// The submission that an object's status tells of: what came of it was known to another process.
fn told(object: &Proposal) -> Option<Attempt> {
    let at: Timestamp = object.status.as_ref()?.submitted_at.as_ref()?.parse().ok()?;
    Some(Attempt {
        first: at,
        last: at,
        times: 1,
        answer: Answer::Unknown("another run of the daemon asked".to_owned()),
    })
}

/// The signatures in a status. What cannot be read is as good as none; what does not verify is left out later.
fn signatures(object: &Proposal) -> Vec<ConfigSignature> {
    let listed = object.status.iter().flat_map(|status| &status.signatures);
    listed.filter_map(|entry| ConfigSignature::from_bytes(&BASE64.decode(&entry.signature).ok()?).ok()).collect()
}

/// The block that shows a committed update. A status is no ground for a decision, except that what is done is done: the
/// ledger does not change, and nothing follows from it any more.
fn settled(object: &Proposal) -> Option<u64> {
    let status = object.status.as_ref()?;
    status.block.filter(|_| status.phase == Some(ProposalPhase::Committed))
}

/// Whether nothing that a channel does can bring a proposal back: versions of elements only rise.
fn is_past(object: &Proposal) -> bool {
    let ready = object.status.as_ref().and_then(|status| state(&status.conditions));
    settled(object).is_some() || matches!(ready, Some((_, "AlreadyTrue" | "Stale")))
}

/// The update in a Proposal, if it is what its digest says.
fn update(object: &Proposal) -> Result<ConfigUpdate, Failure> {
    let wrong = |why: String| {
        Failure::terminal(
            "UpdateUnreadable",
            format!("{}: {why}; delete it to have it proposed again", object.describe()),
        )
    };
    let bytes = BASE64.decode(&object.spec.update).map_err(|error| wrong(error.to_string()))?;
    let update = ConfigUpdate::from_bytes(bytes).map_err(|error| wrong(chain(&error)))?;
    if update.digest() != object.spec.digest {
        return Err(wrong(format!("its update has the digest {}, not {}", update.digest(), object.spec.digest)));
    }
    if update.channel_id() != object.spec.channel {
        return Err(wrong(format!("its update is of channel {}", update.channel_id())));
    }
    Ok(update)
}

impl Controlled for ProposalController {
    type Object = Proposal;
    type Observed = Observed;
    type Action = Action;
    const BY_OTHERS: &'static [&'static str] = &["SignaturesMissing", "VotesMissing"];
    const ASKS: bool = true;

    fn watch(&self, controller: Controller<Proposal>, ctx: &Context) -> Controller<Proposal> {
        let store = controller.store();
        let of_channel = move |channel: Channel| {
            store
                .state()
                .iter()
                .filter(|proposal| proposal.spec.channel == channel.spec.channel && !is_past(proposal))
                .map(|proposal| ObjectRef::from_obj(proposal.as_ref()))
                .collect::<Vec<_>>()
        };
        let namespace = ctx.namespace.clone();
        let of_vote = move |vote: Vote| [ObjectRef::new(&vote.spec.proposal).within(&namespace)];
        controller.watches_stream(ctx.triggers(), of_channel).watches_stream(ctx.triggers(), of_vote)
    }

    async fn observe(&self, ctx: &Context, scope: &Scope, object: &Proposal) -> Result<Observed, Failure> {
        let update = update(object)?;
        let known = self.known(object);
        let spec = &object.spec;
        let place = (object.namespace().unwrap_or_default(), object.name_any());
        let created = object.metadata.creation_timestamp.as_ref().map_or_else(|| ctx.now(), |time| time.0);
        let attempt = known.attempt.or_else(|| told(object));
        let mut view = View::unseen(place, (&spec.channel, &spec.topic, &spec.digest), attempt, created);
        view.approved = object.annotations().get(ANNOTATION_APPROVED).cloned();
        view.definition_awaited = scope.definition_awaited(Kind::Channel, &spec.channel);
        if let Some(block) = settled(object) {
            view.standing = Observation::Present { value: Standing::Committed { block } };
            return Ok(Observed { view, seen: None, place: None, silent: None });
        }
        let mut collected = signatures(object);
        collected.extend(known.signatures);
        let channel = apply::get::<Channel>(ctx, &ctx.namespace, &object.spec.channel).await?.ok_or_else(|| {
            Failure::terminal("NoChannel", format!("there is no Channel {}/{}", ctx.namespace, object.spec.channel))
        })?;
        let live = Live::read(&self.nodes, &ctx.namespace, &scope.consortium.spec, &channel.spec).await;
        let shared = live.is_shared(&scope.consortium.spec, &channel.spec);
        let (exchange, messages, silent) = self.exchanged(ctx, &scope.consortium.spec, shared).await;
        let votes = votes(ctx, scope, object, &channel.spec).await?;
        let place = Place {
            nodes: &self.nodes,
            namespace: &ctx.namespace,
            settings: &scope.consortium.spec,
            spec: &channel.spec,
            messages: messages.as_ref(),
            votes: &votes,
            now: ctx.now(),
        };
        let seen = look(&place, live, object.spec.base_sequence, update, collected).await;
        seen.complete(&mut view);
        Ok(Observed { view, seen: Some(seen), place: exchange, silent })
    }

    fn decide(&self, object: &Proposal, observed: &Observed, now: Timestamp) -> DecisionOf<Self> {
        let mut decision = decide(&observed.view, now);
        if let Some(why) = &observed.silent {
            let more = format!("; signatures cannot be exchanged with other members: {why}");
            decision.outlook.verdict = decision.outlook.verdict.with_more(&more);
        }
        let old = object.status.clone().unwrap_or_default();
        let block = match observed.view.standing.value() {
            Some(Standing::Committed { block }) => Some(*block),
            _ => None,
        };
        let signatures = observed.seen.as_ref().map_or(old.signatures, Seen::listed);
        let missing = observed.view.judgement.as_ref().map(|judgement| judgement.missing.clone());
        let status = ProposalStatus {
            phase: Some(decision.phase),
            signed: signed(&signatures),
            missing: missing.filter(|missing| !missing.is_empty()),
            refused: observed.seen.as_ref().map(Seen::refused).unwrap_or_default(),
            awaiting_votes: observed.view.judgement.as_ref().map(|it| it.awaiting_votes.clone()).unwrap_or_default(),
            enough: observed.view.judgement.as_ref().map(|it| it.enough.clone()).unwrap_or_default(),
            votes: observed.seen.as_ref().and_then(Seen::votes).unwrap_or(old.votes),
            still_submittable: decision.still_submittable,
            submitted_at: observed.view.attempt.as_ref().map(|attempt| attempt.first.to_string()).or(old.submitted_at),
            block,
            signatures,
            ..ProposalStatus::default()
        };
        Decision {
            status,
            actions: decision.actions,
            verdict: decision.outlook.verdict,
            requeue: decision.outlook.pause,
        }
    }

    async fn act(&self, ctx: &Context, object: &Proposal, observed: &Observed, action: &Action) -> Result<(), Failure> {
        let Some(seen) = &observed.seen else { return Ok(()) };
        match action {
            Action::Sign(msp_id) => {
                let signature = seen.sign(&self.nodes, msp_id).await?;
                self.remember(object, |known| known.signatures.push(signature));
                Ok(())
            }
            Action::Submit => {
                ctx.fabric_changes.count("SubmitUpdate");
                self.submit(ctx, object, seen).await
            }
            Action::Publish | Action::Prune => {
                let Some((url, credentials)) = &observed.place else { return Ok(()) };
                let result = if *action == Action::Publish {
                    let message = seen.message(&self.nodes).await?;
                    self.messages.publish(url, credentials, ctx.now(), message).await
                } else {
                    self.messages.prune(url, credentials, ctx.now(), seen.folder()).await
                };
                result.map(drop).map_err(|error| Failure::new("Exchange", error.to_string()))
            }
        }
    }

    async fn cleanup(&self, _ctx: &Context, object: &Proposal) -> Result<Cleanup, Failure> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&object.name_any());
        Ok(Cleanup::Done(None))
    }
}

/// MSP IDs of the signers, each once.
fn signed(signatures: &[ProposalSignature]) -> Option<String> {
    let mut names: Vec<&str> = signatures.iter().map(|signature| signature.msp_id.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| names.join(","))
}
