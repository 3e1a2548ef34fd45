//! What to do about a config update, as a pure function of what was seen of it.
//!
//! The rules, in the order in which they are asked:
//!
//! 1. An update that a config block shows is done, whatever else is so. Taken by an orderer is not done.
//! 2. What no longer applies, or is no longer asked for, is never submitted: signatures cover the exact bytes, so another
//!    update needs new ones, and is another proposal.
//! 3. What the library's own check would refuse is never signed and never submitted.
//! 4. What cannot be undone is signed only with an approval of exactly these bytes, and only when every node is new
//!    enough.
//! 5. Nothing is signed, or given to others, while the definition may have moved on unseen. An update that has all its
//!    signatures is submitted all the same: each was given when a definition asked for these bytes, whoever has them can
//!    submit it, and as it names the versions that it replaces, it cannot undo what was agreed on after it.
//! 6. An update is submitted again when no config block shows it in time: an orderer may drop what it took, and a reply may
//!    be lost. The same bytes cannot be committed twice, as they name the versions that they replace.

use jiff::{SignedDuration, Timestamp};
use tenter_consortium::objects::ANNOTATION_APPROVED;
use tenter_consortium::observation::Observation;
use tenter_consortium::status::ProposalPhase as Phase;

use crate::controllers::definitions::DEFINITION_NOT_SEEN;
use crate::controllers::outlook::{Outlook, Wait};

/// How long an update that an orderer took, or may have taken, is waited for before it is submitted again.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);
/// First pause after an orderer could not order; it doubles with each attempt.
const RETRY: SignedDuration = SignedDuration::from_secs(1);
/// Longest pause between two attempts.
const MAX_RETRY: SignedDuration = SignedDuration::from_secs(30);
/// Refusals in a row after which a person has to look: one alone may come of a race.
const REFUSALS: u32 = 3;
/// How long a proposal may wait for signatures.
const LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How an update stands to the configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It fits.
    Applies,
    /// A config block shows it.
    Committed {
        /// The block.
        block: u64,
    },
    /// The configuration has what it would write, by another way.
    AlreadyThere,
    /// Something that it depends on has moved.
    Stale {
        /// What, and how.
        why: String,
    },
}

/// What an orderer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It took the update.
    Taken {
        /// The orderer.
        orderer: String,
    },
    /// None could order.
    Unavailable(String),
    /// It was refused.
    Refused(String),
    /// Whether it was taken is not known.
    Unknown(String),
}

/// The submissions so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The first.
    pub first: Timestamp,
    /// The last.
    pub last: Timestamp,
    /// How many in a row ended like the last.
    pub times: u32,
    /// What came of the last.
    pub answer: Answer,
}

/// What the policies say to the signatures there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Whether all policies that it touches are satisfied.
    pub satisfied: bool,
    /// Who else must sign, in words; empty when satisfied.
    pub missing: String,
    /// Organizations that this daemon signs for and whose signatures bring it further, by MSP ID.
    pub to_sign: Vec<String>,
    /// Why nobody of this daemon may submit it, if nobody may.
    pub no_writer: Option<String>,
    /// Organizations of this daemon whose signatures would help and whose administrators have not said so, by MSP ID.
    pub awaiting_votes: Vec<String>,
    /// Sets of organizations each of which would be enough beside those that have signed, by MSP ID.
    pub enough: Vec<Vec<String>>,
    /// Who rejects it, with their reasons.
    pub rejected: Vec<String>,
    /// Whether those who do not reject it can never be enough; where nobody rejects it, all of them together.
    pub impossible: bool,
    /// Own organizations that reject it and whose signatures others have, by MSP ID.
    pub withdrawn: Vec<String>,
    /// Whether the signatures that there are would be enough for others, those of `withdrawn` among them.
    pub submittable: bool,
}

/// How a proposal stands on the message channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// Whether there are members elsewhere to exchange signatures with.
    pub used: bool,
    /// Whether the update is there.
    pub published: bool,
    /// Whether own signatures are not there yet.
    pub behind: bool,
}

/// All that is known of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its namespace and name.
    pub place: (String, String),
    /// The channel.
    pub channel: String,
    /// What it is about.
    pub topic: String,
    /// The digest of its update.
    pub digest: String,
    /// How it stands to the configuration in force.
    pub standing: Observation<Standing>,
    /// Whether the channel's spec asks for exactly this update.
    pub wanted: bool,
    /// Why it must not be submitted.
    pub problems: Vec<String>,
    /// What cannot be undone about it.
    pub irreversible: Option<String>,
    /// The digest that is approved.
    pub approved: Option<String>,
    /// Nodes of the channel that are too old for it. Looked at only when it cannot be undone.
    pub too_old: Observation<Vec<String>>,
    /// What the policies say; absent when that was not asked.
    pub judgement: Option<Judgement>,
    /// How it stands on the message channel.
    pub exchanged: Exchanged,
    /// What is waited for before the channel's spec is known to be the definition's; see
    /// [`definitions`](crate::controllers::definitions).
    pub definition_awaited: Option<String>,
    /// The submissions so far.
    pub attempt: Option<Attempt>,
    /// When it was made.
    pub created: Timestamp,
}

impl View {
    /// A proposal at which nobody has looked yet.
    pub fn unseen(
        place: (String, String),
        (channel, topic, digest): (&str, &str, &str),
        attempt: Option<Attempt>,
        created: Timestamp,
    ) -> Self {
        Self {
            place,
            channel: channel.to_owned(),
            topic: topic.to_owned(),
            digest: digest.to_owned(),
            standing: Observation::Unreachable { evidence: "it was not looked at".to_owned() },
            wanted: false,
            problems: Vec::new(),
            irreversible: None,
            approved: None,
            too_old: Observation::Present { value: Vec::new() },
            judgement: None,
            exchanged: Exchanged::default(),
            definition_awaited: None,
            attempt,
            created,
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sign for an organization, by its MSP ID.
    Sign(String),
    /// Hand it to an orderer.
    Submit,
    /// Give the update and own signatures to the daemons of other members.
    Publish,
    /// Take it from the message channel: it can no longer apply.
    Prune,
}

/// Reason of a proposal that cannot pass because of those who reject it.
pub const VOTED_DOWN: &str = "VotedDown";

/// Reason of a proposal that nobody in the channel could make pass.
pub const UNSATISFIABLE: &str = "Unsatisfiable";

/// What to do, and what to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where the proposal stands.
    pub phase: Phase,
    /// What a reader sees.
    pub outlook: Outlook,
    /// What to do now.
    pub actions: Vec<Action>,
    /// Whether it is settled here and others could submit it all the same.
    pub still_submittable: bool,
}

impl Decision {
    fn new(phase: Phase, outlook: Outlook) -> Self {
        Self { phase, outlook, actions: Vec::new(), still_submittable: false }
    }
}

/// Decides about a proposal.
pub fn decide(view: &View, now: Timestamp) -> Decision {
    let mut decision = stand(view, now);
    let applies = match view.standing.value() {
        Some(Standing::Applies) => true,
        Some(Standing::Committed { .. } | Standing::AlreadyThere | Standing::Stale { .. }) => {
            if view.exchanged.published {
                decision.actions.push(Action::Prune);
            }
            false
        }
        None => false,
    };
    match decision.phase {
        Phase::Rejected | Phase::Expired | Phase::Superseded if applies => {
            let enough = view.judgement.as_ref().is_some_and(|judgement| judgement.submittable);
            if view.exchanged.published && enough {
                decision.still_submittable = true;
                let more = "; it is StillSubmittable: others have all signatures that it needs, and what is published \
                            cannot be taken back, until an element that it covers moves";
                decision.outlook.verdict = decision.outlook.verdict.clone().with_more(more);
            }
        }
        _ => {}
    }
    if applies {
        publish(view, &mut decision);
        withdrawn(view, &mut decision);
    }
    decision
}

/// What others are to be told: the update with own signatures, and who rejects it. What waits for a person, or must not be
/// done, is not given to others.
fn publish(view: &View, decision: &mut Decision) {
    // What was signed in an earlier run and is not with others yet need not get there.
    if view.definition_awaited.is_some() {
        return;
    }
    let signing = decision.actions.iter().any(|action| matches!(action, Action::Sign(_)));
    let told = match decision.phase {
        Phase::Collecting => decision.outlook.verdict.reason() != "ApprovalNeeded" && !signing,
        Phase::Satisfied | Phase::Submitted => true,
        Phase::Rejected => decision.outlook.verdict.reason() == VOTED_DOWN,
        Phase::Committed | Phase::Superseded | Phase::Expired => false,
    };
    if told && view.exchanged.behind {
        decision.actions.push(Action::Publish);
    }
}

/// Says what an organization that has changed its mind cannot take back.
fn withdrawn(view: &View, decision: &mut Decision) {
    let Some(judgement) = view.judgement.as_ref().filter(|judgement| !judgement.withdrawn.is_empty()) else { return };
    let names = judgement.withdrawn.join(", ");
    let mut more = format!("; the signature of {names} was published before it was rejected, and cannot be taken back");
    if judgement.submittable && !judgement.satisfied && !decision.still_submittable {
        decision.still_submittable = true;
        more.push_str(": it is StillSubmittable by others until an element that it covers moves");
    }
    decision.outlook.verdict = decision.outlook.verdict.clone().with_more(&more);
}

fn stand(view: &View, now: Timestamp) -> Decision {
    let standing = match &view.standing {
        Observation::Present { value } => value,
        other => {
            let phase = if view.attempt.is_some() { Phase::Submitted } else { Phase::Collecting };
            let evidence = other.evidence().unwrap_or_default();
            let message = format!("the configuration of channel {} could not be read: {evidence}", view.channel);
            return Decision::new(phase, Outlook::waiting(Wait::Dependency, "ConfigUnread", message));
        }
    };
    match standing {
        Standing::Committed { block } => {
            let message = format!("block {block} of channel {} shows it", view.channel);
            return Decision::new(Phase::Committed, Outlook::past("Committed", message));
        }
        Standing::AlreadyThere => {
            let message = format!("channel {} has what it asks for already, by another update", view.channel);
            return Decision::new(Phase::Superseded, Outlook::past("AlreadyTrue", message));
        }
        Standing::Stale { why } => {
            let message = format!("it no longer applies, and signatures for it are void: {why}");
            return Decision::new(Phase::Superseded, Outlook::past("Stale", message));
        }
        Standing::Applies => {}
    }
    if !view.problems.is_empty() {
        let message = format!("it must not be submitted: {}", view.problems.join("; "));
        return Decision::new(Phase::Rejected, Outlook::stalled("CheckFailed", message));
    }
    if !view.wanted {
        return unwanted(view, now);
    }
    if let Some(stop) = gate(view) {
        return stop;
    }
    match &view.judgement {
        Some(judgement) if judgement.satisfied => satisfied(view, judgement, now),
        Some(judgement) => collecting(view, judgement, now),
        None => {
            let message = "its policies were not evaluated; they are looked at again".to_owned();
            Decision::new(Phase::Collecting, Outlook::waiting(Wait::Soon, "NotJudged", message))
        }
    }
}

/// An update that applies and is no longer asked for: an orderer that took it may still order it, for as long as is waited for any;
/// it is never handed over again.
fn unwanted(view: &View, now: Timestamp) -> Decision {
    let unwanted = format!("channel {} no longer asks for it", view.channel);
    if let Some(Attempt { last, answer: Answer::Taken { .. } | Answer::Unknown(_), .. }) = &view.attempt
        && now.duration_since(*last) < PATIENCE
    {
        let message = format!(
            "{unwanted}, and an orderer may have taken it before; whether a config block shows it is waited for"
        );
        return Decision::new(Phase::Submitted, Outlook::waiting(Wait::Soon, "Submitted", message));
    }
    Decision::new(Phase::Superseded, Outlook::ready("NotWanted", unwanted))
}

/// Why something that cannot be undone is not done yet.
fn gate(view: &View) -> Option<Decision> {
    let what = view.irreversible.as_ref()?;
    match &view.too_old {
        Observation::Present { value } if value.is_empty() => {}
        Observation::Present { value } => {
            let message = format!("{what}; these are too old for it, upgrade them first: {}", value.join(", "));
            return Some(Decision::new(Phase::Collecting, Outlook::stalled("NodesTooOld", message)));
        }
        other => {
            let evidence = other.evidence().unwrap_or_default();
            let message = format!("{what}; whether every node is new enough is not known: {evidence}");
            return Some(Decision::new(
                Phase::Collecting,
                Outlook::waiting(Wait::Dependency, "VersionsUnknown", message),
            ));
        }
    }
    if view.approved.as_ref() == Some(&view.digest) {
        return None;
    }
    let (namespace, name) = &view.place;
    let old = view.approved.as_ref().map(|_| "; the approval there is is for another update").unwrap_or_default();
    let message = format!(
        "{what}; to approve exactly this update{old}: tenter approve and the hash that tenter plan shows; or kubectl -n \
         {namespace} annotate --overwrite proposal {name} {ANNOTATION_APPROVED}={}",
        view.digest
    );
    Some(Decision::new(Phase::Collecting, Outlook::stalled("ApprovalNeeded", message)))
}

fn collecting(view: &View, judgement: &Judgement, now: Timestamp) -> Decision {
    if judgement.impossible && judgement.rejected.is_empty() {
        let message = format!(
            "nobody in channel {} can make up what is missing, {}: change what the definition asks for; the policies that guard \
             it name who is not there",
            view.channel, judgement.missing
        );
        return Decision::new(Phase::Rejected, Outlook::stalled(UNSATISFIABLE, message));
    }
    if judgement.impossible {
        let message = format!(
            "rejected by {}: without them nobody can make up what is missing, {}; change what the definition asks for, or have \
             them approve it",
            judgement.rejected.join(", "),
            judgement.missing
        );
        return Decision::new(Phase::Rejected, Outlook::stalled(VOTED_DOWN, message));
    }
    if !judgement.to_sign.is_empty() {
        if let Some(why) = &view.definition_awaited {
            let message = format!(
                "not signed for {} yet, because channel {} may be wanted otherwise by now: {why}",
                judgement.to_sign.join(", "),
                view.channel
            );
            // Nothing announces that the definition was seen.
            return Decision::new(Phase::Collecting, Outlook::waiting(Wait::Soon, DEFINITION_NOT_SEEN, message));
        }
        let message = format!("signing for {}", judgement.to_sign.join(", "));
        let actions = judgement.to_sign.iter().cloned().map(Action::Sign).collect();
        let outlook = Outlook::acting("Signing", message);
        return Decision { actions, ..Decision::new(Phase::Collecting, outlook) };
    }
    if now.duration_since(view.created) > LIFETIME {
        let message = format!(
            "it waited {} days for {}; delete it to have it proposed again",
            LIFETIME.as_hours() / 24,
            judgement.missing
        );
        return Decision::new(Phase::Expired, Outlook::stalled("Expired", message));
    }
    let mut message = format!("waiting for signatures: {}", judgement.missing);
    if !judgement.rejected.is_empty() {
        message = format!("{message}; rejected by {}", judgement.rejected.join(", "));
    }
    if !judgement.awaiting_votes.is_empty() {
        let names = judgement.awaiting_votes.join(", ");
        let message = format!(
            "{message}; {names} sign once their administrators say so (spec.signing is `manual`): tenter vote approve {}",
            view.place.1
        );
        return Decision::new(Phase::Collecting, Outlook::waiting(Wait::Dependency, "VotesMissing", message));
    }
    Decision::new(Phase::Collecting, Outlook::waiting(Wait::Dependency, "SignaturesMissing", message))
}

fn satisfied(view: &View, judgement: &Judgement, now: Timestamp) -> Decision {
    let submit = |message: String| Decision {
        actions: vec![Action::Submit],
        ..Decision::new(Phase::Satisfied, Outlook::acting("Submitting", message))
    };
    let Some(attempt) = &view.attempt else {
        return match &judgement.no_writer {
            Some(why) => Decision::new(Phase::Satisfied, Outlook::stalled("NoWriter", why.clone())),
            None => submit(format!("handing it to the orderers of channel {}", view.channel)),
        };
    };
    let waited = now.duration_since(attempt.last);
    match &attempt.answer {
        Answer::Taken { orderer } if waited < PATIENCE => {
            let message = format!("{orderer} took it; waiting for the config block that shows it");
            Decision::new(Phase::Submitted, Outlook::waiting(Wait::Soon, "Submitted", message))
        }
        Answer::Unknown(text) if waited < PATIENCE => {
            let message =
                format!("whether it was taken is not known ({text}); waiting for a config block that shows it");
            Decision::new(Phase::Submitted, Outlook::waiting(Wait::Soon, "Submitted", message))
        }
        Answer::Refused(text) if attempt.times >= REFUSALS => {
            let message = format!(
                "the orderers refused it {} times: {text}; if the reason is gone, delete this object to have it proposed again",
                attempt.times
            );
            Decision::new(Phase::Rejected, Outlook::stalled("Refused", message))
        }
        Answer::Unavailable(text) | Answer::Refused(text) if waited < pause(attempt.times) => {
            let reason = if matches!(attempt.answer, Answer::Refused(_)) { "Refused" } else { "NoLeader" };
            let message = format!("channel {} could not order it: {text}; it is tried again", view.channel);
            Decision::new(Phase::Satisfied, Outlook::waiting(Wait::Soon, reason, message))
        }
        _ => match &judgement.no_writer {
            Some(why) => Decision::new(Phase::Satisfied, Outlook::stalled("NoWriter", why.clone())),
            None => submit(format!("handing it to the orderers of channel {} again", view.channel)),
        },
    }
}

/// The pause after some attempts that ended alike.
fn pause(times: u32) -> SignedDuration {
    let factor = 1_i32 << times.saturating_sub(1).min(5);
    RETRY.saturating_mul(factor).min(MAX_RETRY)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
