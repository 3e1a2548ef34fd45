//! What became of a vote, as a pure function of the proposal that it speaks of.

use std::convert::Infallible;
use std::time::Duration;

use kube::ResourceExt as _;
use tenter_consortium::objects::VoteChoice;
use tenter_consortium::status::{ProposalPhase, VotePhase as Phase, VoteStatus};

use crate::controllers::conditions::Verdict;
use crate::controllers::driver::Decision;
use crate::controllers::schedule::RESYNC;
use crate::resources::{Proposal, Vote};

/// How soon a vote that is not counted yet is looked at again.
const SOON: Duration = Duration::from_secs(5);

/// All that is known of a vote.
#[derive(Clone, Debug)]
pub struct View {
    /// The consortium's namespace.
    pub namespace: String,
    /// The proposal.
    pub proposal: Option<Proposal>,
}

/// Decides about a vote.
pub fn decide(vote: &Vote, view: &View) -> Decision<Infallible, VoteStatus> {
    let show = |phase| VoteStatus { phase: Some(phase), ..VoteStatus::default() };
    let spec = &vote.spec;
    let name = &spec.proposal;
    let Some(proposal) = &view.proposal else {
        let message = format!("there is no Proposal {}/{name}: look at its name again, or wait", view.namespace);
        return Decision::wait(show(Phase::Cast), Verdict::reconciling("NoProposal", message), SOON);
    };
    if proposal.spec.digest != spec.digest {
        let message = format!(
            "Proposal {name} has the digest {}, this vote is for another update: read what it changes, and vote again",
            proposal.spec.digest
        );
        return Decision::settled(show(Phase::Stale), Verdict::stalled("OtherUpdate", message));
    }
    let status = proposal.status.clone().unwrap_or_default();
    let held = status.votes.iter().find(|held| held.organization == spec.organization);
    let phase = status.phase;
    if let Some(held) = held.filter(|held| held.vote == vote.name_any() && held.choice == spec.choice) {
        let said = phase.map_or_else(String::new, |phase| format!("; the proposal is {phase}"));
        let signed = status.signatures.iter().any(|signature| signature.msp_id == held.msp_id);
        let message = match (spec.choice, signed) {
            (VoteChoice::Approve, true) => format!("{} has signed Proposal {name}{said}", held.msp_id),
            (VoteChoice::Approve, false) => {
                format!("{} signs Proposal {name} when its signature helps{said}", held.msp_id)
            }
            (VoteChoice::Reject, _) => format!("{} does not sign Proposal {name}{said}", held.msp_id),
        };
        return Decision {
            requeue: RESYNC,
            ..Decision::settled(show(Phase::Counted), Verdict::ready("Counted", message))
        };
    }
    if let Some(phase @ (ProposalPhase::Committed | ProposalPhase::Superseded)) = phase {
        let message = format!("Proposal {name} is {phase}: no vote changes that");
        return Decision::settled(show(Phase::Stale), Verdict::ready("Settled", message));
    }
    if let Some(other) = held.filter(|held| held.vote != vote.name_any()) {
        let message = format!(
            "Vote {} of the same organization counts instead: of several the one that rejects does, then the first by name; \
             delete one",
            other.vote
        );
        return Decision::wait(show(Phase::Stale), Verdict::stalled("OtherVote", message), SOON);
    }
    let message = format!("waiting for Proposal {name} to count it");
    Decision::wait(show(Phase::Cast), Verdict::reconciling("Cast", message), SOON)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tenter_consortium::objects::{ProposalSpec, VoteSpec};
    use tenter_consortium::status::{ProposalSignature, ProposalStatus, ProposalVote};

    use super::super::counted;
    use super::*;

    fn vote(name: &str, organization: &str, digest: &str, choice: VoteChoice) -> Vote {
        let spec = VoteSpec {
            consortium: "trade".to_owned(),
            organization: organization.to_owned(),
            proposal: "deals-aa".to_owned(),
            digest: digest.to_owned(),
            choice,
            reason: "because".to_owned(),
        };
        let mut vote = Vote::new(name, spec);
        vote.metadata.namespace = Some(format!("trade-{organization}"));
        vote
    }

    fn proposal(phase: Option<ProposalPhase>, votes: &[ProposalVote], signers: &[&str]) -> Proposal {
        let spec = ProposalSpec {
            consortium: "trade".to_owned(),
            channel: "deals".to_owned(),
            topic: "policies".to_owned(),
            digest: "aa".to_owned(),
            update: String::new(),
            base_sequence: 0,
            changes: Vec::new(),
            elements: Vec::new(),
            reason: None,
            irreversible: None,
        };
        let signature =
            |msp_id: &&str| ProposalSignature { msp_id: (*msp_id).to_owned(), ..ProposalSignature::default() };
        let status = ProposalStatus {
            phase,
            votes: votes.to_vec(),
            signatures: signers.iter().map(signature).collect(),
            ..ProposalStatus::default()
        };
        Proposal { status: Some(status), ..Proposal::new("deals-aa", spec) }
    }

    fn place() -> BTreeMap<String, (String, String)> {
        ["acme", "globex"]
            .map(|name| (name.to_owned(), (format!("trade-{name}"), format!("{name}MSP"))))
            .into_iter()
            .collect()
    }

    #[track_caller]
    fn count(votes: &[Vote]) -> Vec<(String, String, VoteChoice)> {
        let found = counted(votes, ("trade", "deals-aa", "aa"), &place());
        found.into_values().map(|vote| (vote.msp_id, vote.vote, vote.choice)).collect()
    }

    #[test]
    fn a_vote_counts_for_its_update_and_its_organization() {
        use VoteChoice::{Approve, Reject};
        let own = vote("a", "acme", "aa", Approve);
        assert_eq!(count(std::slice::from_ref(&own)), [("acmeMSP".to_owned(), "a".to_owned(), Approve)]);
        let mut elsewhere = own.clone();
        elsewhere.metadata.namespace = Some("trade-globex".to_owned());
        let mut other = own.clone();
        other.spec.consortium = "bank".to_owned();
        let foreign = vote("a", "initech", "aa", Approve);
        assert_eq!(count(&[elsewhere, other, foreign, vote("a", "acme", "bb", Approve)]), []);
        let both = [vote("a", "acme", "aa", Approve), vote("b", "acme", "aa", Reject), vote("c", "acme", "aa", Reject)];
        assert_eq!(count(&both), [("acmeMSP".to_owned(), "b".to_owned(), Reject)]);
    }

    #[test]
    fn the_voter_is_told_what_became_of_it() {
        use VoteChoice::{Approve, Reject};
        let check = |vote: &Vote, proposal: Option<Proposal>, phase: Phase, reason: &str| {
            let decision = decide(vote, &View { namespace: "system".to_owned(), proposal });
            assert_eq!((decision.status.phase, decision.verdict.reason()), (Some(phase), reason));
            decision.verdict.message().to_owned()
        };
        let own = vote("a", "acme", "aa", Approve);
        let held: Vec<ProposalVote> =
            counted(std::slice::from_ref(&own), ("trade", "deals-aa", "aa"), &place()).into_values().collect();
        check(&own, None, Phase::Cast, "NoProposal");
        check(&own, Some(proposal(None, &[], &[])), Phase::Cast, "Cast");
        let stale = vote("a", "acme", "bb", Approve);
        assert!(check(&stale, Some(proposal(None, &[], &[])), Phase::Stale, "OtherUpdate").contains("aa"));
        let collecting = Some(ProposalPhase::Collecting);
        let message = check(&own, Some(proposal(collecting, &held, &[])), Phase::Counted, "Counted");
        assert!(message.contains("signs Proposal"), "{message}");
        let message = check(&own, Some(proposal(collecting, &held, &["acmeMSP"])), Phase::Counted, "Counted");
        assert!(message.contains("has signed"), "{message}");
        // It was changed since it was counted.
        let changed = vote("a", "acme", "aa", Reject);
        check(&changed, Some(proposal(collecting, &held, &[])), Phase::Cast, "Cast");
        let second = vote("b", "acme", "aa", Approve);
        check(&second, Some(proposal(collecting, &held, &[])), Phase::Stale, "OtherVote");
        check(&own, Some(proposal(Some(ProposalPhase::Committed), &[], &[])), Phase::Stale, "Settled");
    }
}
