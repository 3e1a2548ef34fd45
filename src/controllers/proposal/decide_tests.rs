use super::*;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn view() -> View {
    View {
        place: ("tenter-system".to_owned(), "settlement-abc".to_owned()),
        channel: "settlement".to_owned(),
        topic: "member/initech".to_owned(),
        digest: "abc".to_owned(),
        standing: Observation::Present { value: Standing::Applies },
        wanted: true,
        problems: Vec::new(),
        irreversible: None,
        approved: None,
        too_old: Observation::Present { value: Vec::new() },
        judgement: Some(Judgement { satisfied: true, ..Judgement::default() }),
        exchanged: Exchanged::default(),
        definition_awaited: None,
        attempt: None,
        created: now(),
    }
}

fn attempt(answer: Answer, seconds_ago: i64, times: u32) -> Attempt {
    let last = now().checked_sub(SignedDuration::from_secs(seconds_ago)).unwrap();
    Attempt { first: last, last, times, answer }
}

fn taken() -> Answer {
    Answer::Taken { orderer: "orderer1".to_owned() }
}

#[track_caller]
fn check(view: &View, phase: Phase, reason: &str, actions: &[Action]) -> String {
    let decision = decide(view, now());
    let message = decision.outlook.verdict.message().to_owned();
    assert_eq!(
        (decision.phase, decision.outlook.verdict.reason(), decision.actions.as_slice()),
        (phase, reason, actions),
        "{message}"
    );
    message
}

fn standing(value: Standing) -> View {
    View { standing: Observation::Present { value }, ..view() }
}

#[test]
fn a_config_block_settles_it_whatever_else_is_so() {
    let mut committed = standing(Standing::Committed { block: 7 });
    committed.wanted = false;
    committed.problems = vec!["bad".to_owned()];
    check(&committed, Phase::Committed, "Committed", &[]);
    check(&standing(Standing::AlreadyThere), Phase::Superseded, "AlreadyTrue", &[]);
    check(&standing(Standing::Stale { why: "x".to_owned() }), Phase::Superseded, "Stale", &[]);
}

#[test]
fn nothing_is_done_about_what_cannot_be_read() {
    let unread = View { standing: Observation::Unreachable { evidence: "down".to_owned() }, ..view() };
    check(&unread, Phase::Collecting, "ConfigUnread", &[]);
    check(&View { attempt: Some(attempt(taken(), 60, 1)), ..unread }, Phase::Submitted, "ConfigUnread", &[]);
}

#[test]
fn what_the_check_refuses_is_neither_signed_nor_submitted() {
    let bad = View { problems: vec!["empty metadata".to_owned()], ..view() };
    assert!(check(&bad, Phase::Rejected, "CheckFailed", &[]).contains("empty metadata"));
}

#[test]
fn what_is_no_longer_wanted_is_dropped_unless_an_orderer_may_have_it() {
    let dropped = View { wanted: false, ..view() };
    check(&dropped, Phase::Superseded, "NotWanted", &[]);
    let under_way = View { attempt: Some(attempt(taken(), 1, 1)), ..dropped.clone() };
    check(&under_way, Phase::Submitted, "Submitted", &[]);
    // Lost, it stays so: handing it over again would put on the ledger what was taken back.
    for answer in [taken(), Answer::Unknown("the connection broke".to_owned())] {
        let lost = View { attempt: Some(attempt(answer, 16, 1)), ..dropped.clone() };
        check(&lost, Phase::Superseded, "NotWanted", &[]);
    }
    let refused = View { attempt: Some(attempt(Answer::Refused("no".to_owned()), 1, 1)), ..dropped };
    check(&refused, Phase::Superseded, "NotWanted", &[]);
}

#[test]
fn what_cannot_be_undone_needs_new_nodes_and_an_approval_of_these_bytes() {
    let mut raised = View { irreversible: Some("for good".to_owned()), ..view() };
    let message = check(&raised, Phase::Collecting, "ApprovalNeeded", &[]);
    assert!(message.contains("annotate --overwrite proposal settlement-abc tenter.dev/approved=abc"), "{message}");
    raised.approved = Some("other".to_owned());
    check(&raised, Phase::Collecting, "ApprovalNeeded", &[]);
    raised.approved = Some("abc".to_owned());
    check(&raised, Phase::Satisfied, "Submitting", &[Action::Submit]);
    raised.too_old = Observation::Present { value: vec!["peer a/b (2.5)".to_owned()] };
    check(&raised, Phase::Collecting, "NodesTooOld", &[]);
    raised.too_old = Observation::Unreachable { evidence: "down".to_owned() };
    check(&raised, Phase::Collecting, "VersionsUnknown", &[]);
}

#[test]
fn own_organizations_sign_then_others_are_waited_for() {
    let judgement =
        Judgement { missing: "2 of A, B".to_owned(), to_sign: vec!["A".to_owned()], ..Judgement::default() };
    let mut collecting = View { judgement: Some(judgement), ..view() };
    check(&collecting, Phase::Collecting, "Signing", &[Action::Sign("A".to_owned())]);
    collecting.judgement.as_mut().unwrap().to_sign.clear();
    assert!(check(&collecting, Phase::Collecting, "SignaturesMissing", &[]).contains("2 of A, B"));
    collecting.created = now().checked_sub(SignedDuration::from_hours(8 * 24)).unwrap();
    check(&collecting, Phase::Expired, "Expired", &[]);
}

#[test]
fn what_nobody_can_make_pass_says_so_at_once() {
    let judgement = Judgement {
        missing: "an admin of X".to_owned(),
        to_sign: vec!["A".to_owned()],
        impossible: true,
        ..Judgement::default()
    };
    let exchanged = Exchanged { used: true, published: false, behind: true };
    let mut stuck = View { judgement: Some(judgement), exchanged, ..view() };
    assert!(check(&stuck, Phase::Rejected, "Unsatisfiable", &[]).contains("an admin of X"));
    stuck.judgement.as_mut().unwrap().rejected = vec!["B (no)".to_owned()];
    assert!(check(&stuck, Phase::Rejected, VOTED_DOWN, &[Action::Publish]).contains("B (no)"));
}

#[test]
fn nothing_is_signed_or_given_away_before_the_definition_was_seen() {
    let judgement = Judgement { to_sign: vec!["A".to_owned()], ..Judgement::default() };
    let exchanged = Exchanged { used: true, published: false, behind: true };
    let awaited = Some("the repository is being read".to_owned());
    let mut waiting = View { judgement: Some(judgement), exchanged, definition_awaited: awaited, ..view() };
    let message = check(&waiting, Phase::Collecting, "DefinitionNotSeen", &[]);
    assert!(message.contains("the repository is being read") && message.contains("not signed for A"), "{message}");
    assert!(decide(&waiting, now()).outlook.pause <= std::time::Duration::from_secs(2));
    // What it waits for otherwise is said as ever, and nothing is given to others.
    waiting.judgement.as_mut().unwrap().to_sign.clear();
    check(&waiting, Phase::Collecting, "SignaturesMissing", &[]);
    // What has all its signatures cannot undo what was agreed on after it.
    waiting.judgement.as_mut().unwrap().satisfied = true;
    check(&waiting, Phase::Satisfied, "Submitting", &[Action::Submit]);
    waiting.definition_awaited = None;
    check(&waiting, Phase::Satisfied, "Submitting", &[Action::Submit, Action::Publish]);
}

#[test]
fn it_is_submitted_until_a_block_shows_it() {
    let with = |answer, seconds, times| View { attempt: Some(attempt(answer, seconds, times)), ..view() };
    check(&view(), Phase::Satisfied, "Submitting", &[Action::Submit]);
    check(&with(taken(), 3, 1), Phase::Submitted, "Submitted", &[]);
    check(&with(taken(), 16, 1), Phase::Satisfied, "Submitting", &[Action::Submit]);
    check(&with(Answer::Unknown("lost".to_owned()), 3, 1), Phase::Submitted, "Submitted", &[]);
    check(&with(Answer::Unknown("lost".to_owned()), 16, 1), Phase::Satisfied, "Submitting", &[Action::Submit]);
    let none = || Answer::Unavailable("no Raft leader".to_owned());
    check(&with(none(), 0, 1), Phase::Satisfied, "NoLeader", &[]);
    check(&with(none(), 1, 1), Phase::Satisfied, "Submitting", &[Action::Submit]);
    check(&with(none(), 3, 3), Phase::Satisfied, "NoLeader", &[]);
    check(&with(none(), 31, 30), Phase::Satisfied, "Submitting", &[Action::Submit]);
}

#[test]
fn a_refusal_is_tried_a_few_times_then_shown() {
    let with =
        |seconds, times| View { attempt: Some(attempt(Answer::Refused("why".to_owned()), seconds, times)), ..view() };
    check(&with(0, 1), Phase::Satisfied, "Refused", &[]);
    check(&with(2, 1), Phase::Satisfied, "Submitting", &[Action::Submit]);
    assert!(check(&with(100, 3), Phase::Rejected, "Refused", &[]).contains("why"));
}

#[test]
fn without_a_writer_a_person_has_to_act() {
    let judgement =
        Judgement { satisfied: true, no_writer: Some("nobody may write".to_owned()), ..Judgement::default() };
    check(&View { judgement: Some(judgement), ..view() }, Phase::Satisfied, "NoWriter", &[]);
}
