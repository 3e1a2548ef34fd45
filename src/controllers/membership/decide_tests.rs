use super::*;
use crate::controllers::conditions::Verdict;

const PINNED: &str = "aa11";

fn node(n: usize) -> NodeRef {
    NodeRef { namespace: "trade-acme".to_owned(), name: format!("peer{n}") }
}

fn absent<T>() -> Observation<T> {
    Observation::Absent { evidence: "not in GetChannels".to_owned() }
}

fn unreachable<T>() -> Observation<T> {
    Observation::Unreachable { evidence: "connection refused".to_owned() }
}

fn present<T>(value: T) -> Observation<T> {
    Observation::Present { value }
}

fn peer(live: Observation<PeerChannel>, record: JoinRecord) -> PeerView {
    let genesis = if live.value().is_some() { present(PINNED.to_owned()) } else { absent() };
    PeerView { channel: NodeChannel { live, record }, genesis }
}

fn fresh() -> PeerView {
    peer(absent(), JoinRecord::None)
}

fn at(height: u64) -> PeerView {
    peer(present(PeerChannel { height }), JoinRecord::Joined)
}

fn view(peers: Vec<PeerView>) -> View {
    View {
        channel: "trade".to_owned(),
        organization: "acme".to_owned(),
        genesis: present(PinnedGenesis { hash: PINNED.to_owned() }),
        ordering: present(5),
        earlier: None,
        settled: false,
        admitted: present(true),
        asked: Asked { named: true, ..Asked::default() },
        orderers: BTreeMap::new(),
        peers: peers.into_iter().enumerate().map(|(n, view)| (node(n), view)).collect(),
    }
}

#[track_caller]
fn check(view: &View, phase: Phase, reason: &str, actions: &[Action]) -> Decision {
    let decision = decide(view);
    assert_eq!(
        (decision.phase, decision.outlook.verdict.reason(), decision.actions.as_slice()),
        (phase, reason, actions),
        "{}",
        decision.outlook.verdict.message()
    );
    decision
}

#[test]
fn waits_for_the_genesis_block() {
    let mut view = view(vec![fresh()]);
    view.genesis = absent();
    check(&view, Phase::Invited, "ChannelPending", &[]);
    view.genesis = unreachable();
    check(&view, Phase::Invited, "GenesisUnreadable", &[]);
}

#[test]
fn waits_for_the_channel_to_order() {
    let mut view = view(vec![fresh()]);
    view.ordering = unreachable();
    check(&view, Phase::Admitted, "ChannelNotOrdering", &[]);
    view.peers.clear();
    check(&view, Phase::Admitted, "ChannelNotOrdering", &[]);
}

#[test]
fn joins_the_absent_whatever_the_others_do() {
    check(
        &view(vec![fresh(), fresh()]),
        Phase::Joining,
        "JoiningPeers",
        &[Action::Join(node(0)), Action::Join(node(1))],
    );
    let silent = peer(unreachable(), JoinRecord::None);
    check(&view(vec![silent, fresh(), at(5)]), Phase::Joining, "JoiningPeers", &[Action::Join(node(1))]);
}

#[test]
fn an_organization_that_is_not_in_the_configuration_is_not_joined() {
    let mut view = view(vec![fresh()]);
    view.admitted = present(false);
    check(&view, Phase::Invited, "NotProposed", &[]);
    view.asked.proposal = Some("trade-0a1b".to_owned());
    let decision = check(&view, Phase::Proposed, "AdmissionProposed", &[]);
    assert!(decision.outlook.verdict.message().contains("trade-0a1b"));
    view.asked = Asked::default();
    let decision = check(&view, Phase::Invited, "NotAMember", &[]);
    assert!(matches!(decision.outlook.verdict, Verdict::Stalled { .. }));
    view.admitted = unreachable();
    check(&view, Phase::Joining, "JoiningPeers", &[Action::Join(node(0))]);
}

#[test]
fn a_released_organization_leaves_and_is_joined_no_more() {
    let mut view = view(vec![fresh(), at(5)]);
    view.asked = Asked { released: true, ..Asked::default() };
    check(&view, Phase::Leaving, "Leaving", &[]);
    view.admitted = present(false);
    let decision = check(&view, Phase::Leaving, "Left", &[]);
    assert!(matches!(decision.outlook.verdict, Verdict::Ready { .. }));
    // Who is out of a channel cannot read that it is; that it may not read is what tells.
    view.admitted = unreachable();
    check(&view, Phase::Leaving, "Leaving", &[]);
    view.ordering = Observation::Forbidden { evidence: "403".to_owned() };
    let decision = check(&view, Phase::Leaving, "Left", &[]);
    assert!(matches!(decision.outlook.verdict, Verdict::Ready { .. }));
}

#[test]
fn unreachable_is_neither_joined_nor_lost() {
    check(&view(vec![peer(unreachable(), JoinRecord::None), at(5)]), Phase::Joining, "PeerUnreachable", &[]);
    check(&view(vec![peer(unreachable(), JoinRecord::Joined), at(5)]), Phase::Syncing, "PeerUnreachable", &[]);
}

#[test]
fn an_emptied_volume_is_data_loss() {
    let decision = check(
        &view(vec![peer(absent(), JoinRecord::Joined), fresh()]),
        Phase::Joining,
        "DataLost",
        &[Action::Join(node(1))],
    );
    assert!(matches!(decision.outlook.verdict, Verdict::Stalled { .. }));
    assert!(decision.outlook.verdict.message().contains("trade-acme/peer0-ledgers"));
}

#[test]
fn another_block_zero_is_a_mismatch_and_is_not_recorded() {
    let mut wrong = peer(present(PeerChannel { height: 9 }), JoinRecord::None);
    wrong.genesis = present("cc33".to_owned());
    check(&view(vec![wrong]), Phase::Joining, "GenesisMismatch", &[]);
}

#[test]
fn syncs_until_no_peer_is_behind() {
    let decision = check(&view(vec![at(5), at(2)]), Phase::Syncing, "PeersBehind", &[]);
    assert!(decision.outlook.verdict.message().contains("trade-acme/peer1 holds 2 of 5 blocks"));
    let ready = check(&view(vec![at(5), at(6)]), Phase::Active, "Joined", &[]);
    assert!(matches!(ready.outlook.verdict, Verdict::Ready { .. }));
}

#[test]
fn traffic_alone_puts_no_peer_behind() {
    let busy = |height, earlier| View { settled: true, ordering: present(2000), earlier, ..view(vec![at(height)]) };
    check(&busy(1990, None), Phase::Active, "Joined", &[]);
    check(&busy(1990, Some(1980)), Phase::Active, "Joined", &[]);
    check(&busy(1990, Some(1995)), Phase::Syncing, "PeersBehind", &[]);
    check(&busy(900, Some(800)), Phase::Syncing, "PeersBehind", &[]);
}

#[test]
fn heights_are_compared_with_those_of_a_while_ago() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut heights = Heights::default();
    let seen: Vec<Option<u64>> =
        [(0, 5), (1, 7), (10, 9), (11, 10), (20, 12)].map(|(second, height)| heights.note(height, at(second))).into();
    assert_eq!(seen, [None, None, Some(5), Some(5), Some(9)]);
}

#[test]
fn a_joined_peer_is_put_on_record_once_its_block_zero_is_known() {
    let joined = peer(present(PeerChannel { height: 5 }), JoinRecord::None);
    check(&view(vec![joined.clone()]), Phase::Active, "Joined", &[Action::Record(node(0))]);
    let mut unverified = joined;
    unverified.genesis = unreachable();
    check(&view(vec![unverified]), Phase::Active, "Joined", &[]);
}

#[test]
fn an_organization_without_peers_is_active_with_the_channel() {
    check(&view(Vec::new()), Phase::Active, "Ordering", &[]);
}
