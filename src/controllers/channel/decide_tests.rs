use tenter_consortium::status::ProposalPhase;

use super::*;
use crate::controllers::channel::config::{ProposalSeen, TopicView};
use crate::controllers::conditions::Verdict;

const PINNED: &str = "aa11";

fn node(name: &str) -> NodeRef {
    NodeRef { namespace: "trade-hub".to_owned(), name: name.to_owned() }
}

fn absent<T>() -> Observation<T> {
    Observation::Absent { evidence: "404 channel does not exist".to_owned() }
}

fn unreachable<T>() -> Observation<T> {
    Observation::Unreachable { evidence: "connection refused".to_owned() }
}

fn present<T>(value: T) -> Observation<T> {
    Observation::Present { value }
}

fn consenter(status: &str) -> Observation<OrdererChannel> {
    present(OrdererChannel { relation: "consenter".to_owned(), status: status.to_owned(), height: 1 })
}

fn fresh() -> OrdererView {
    OrdererView {
        channel: NodeChannel { live: absent(), record: JoinRecord::None },
        genesis: absent(),
        ordering: absent(),
    }
}

fn silent() -> OrdererView {
    OrdererView {
        channel: NodeChannel { live: unreachable(), record: JoinRecord::None },
        genesis: unreachable(),
        ordering: unreachable(),
    }
}

fn holder(ordering: Ordering) -> OrdererView {
    OrdererView {
        channel: NodeChannel { live: consenter("active"), record: JoinRecord::Joined },
        genesis: present(PINNED.to_owned()),
        ordering: present(ordering),
    }
}

fn serving() -> OrdererView {
    holder(Ordering::Serving { height: 4 })
}

fn recorded(mut view: OrdererView, record: JoinRecord) -> OrdererView {
    view.channel.record = record;
    view
}

fn view(orderers: [OrdererView; 3]) -> View {
    View {
        channel: "trade".to_owned(),
        namespace: "tenter-system".to_owned(),
        consensus: ConsensusType::EtcdRaft,
        consenters: 3,
        orderers: orderers.into_iter().enumerate().map(|(n, view)| (node(&format!("orderer{n}")), view)).collect(),
        genesis: present(PinnedGenesis { hash: PINNED.to_owned() }),
        computed: Ok(PINNED.to_owned()),
        outdated: None,
        elsewhere: unreachable(),
        config: present(ConfigView::default()),
        founders: (0..3).map(|n| node(&format!("orderer{n}"))).collect(),
        formed: false,
        definition_awaited: None,
    }
}

fn unpinned(orderers: [OrdererView; 3]) -> View {
    View { genesis: absent(), ..view(orderers) }
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

fn join(n: usize) -> Action {
    Action::Join(node(&format!("orderer{n}")))
}

#[test]
fn pins_when_every_own_consenter_says_absent() {
    check(&unpinned([fresh(), fresh(), fresh()]), Phase::Pending, "PinningGenesis", &[Action::Pin]);
}

#[test]
fn missing_material_names_the_piece_and_its_owner() {
    let mut view = unpinned([fresh(), fresh(), fresh()]);
    view.computed = Err(Uncomputable::Missing(vec![Missing {
        what: "ConfigMap trade-acme/msp".to_owned(),
        owner: "acme".to_owned(),
    }]));
    let decision = check(&view, Phase::Pending, "MaterialMissing", &[]);
    assert!(
        decision.outlook.verdict.message().contains("ConfigMap trade-acme/msp (from acme)"),
        "{}",
        decision.outlook.verdict.message()
    );
}

#[test]
fn unreadable_and_refused_material_are_told_apart() {
    let mut view = unpinned([fresh(), fresh(), fresh()]);
    view.computed = Err(Uncomputable::Unreadable("503".to_owned()));
    check(&view, Phase::Pending, "MaterialUnreadable", &[]);
    view.computed = Err(Uncomputable::Refused("no consenters".to_owned()));
    let decision = check(&view, Phase::Pending, "GenesisRefused", &[]);
    assert!(matches!(decision.outlook.verdict, Verdict::Stalled { .. }));
}

#[test]
fn an_unreachable_consenter_is_not_an_absent_one() {
    check(&unpinned([fresh(), silent(), fresh()]), Phase::Pending, "OrdererUnreachable", &[]);
    let decision = check(&view([fresh(), silent(), fresh()]), Phase::Forming, "OrdererUnreachable", &[]);
    assert!(decision.outlook.verdict.message().contains("trade-hub/orderer1 (connection refused)"));
    check(&view([silent(), silent(), silent()]), Phase::Forming, "OrdererUnreachable", &[]);
}

#[test]
fn an_unreadable_pin_is_not_an_absent_one() {
    let mut view = view([fresh(), fresh(), fresh()]);
    view.genesis = unreachable();
    check(&view, Phase::Pending, "GenesisUnreadable", &[]);
}

#[test]
fn no_block_is_computed_for_a_channel_that_exists() {
    let decision = check(&unpinned([fresh(), serving(), fresh()]), Phase::Degraded, "GenesisLost", &[]);
    assert!(matches!(decision.outlook.verdict, Verdict::Stalled { .. }));
    check(&unpinned([recorded(fresh(), JoinRecord::Joined), fresh(), fresh()]), Phase::Degraded, "GenesisLost", &[]);
}

#[test]
fn joins_all_and_completes_a_join_that_failed_half_way() {
    check(&view([fresh(), fresh(), fresh()]), Phase::Forming, "JoiningOrderers", &[join(0), join(1), join(2)]);
    let half = recorded(holder(Ordering::NoLeader), JoinRecord::None);
    let record = Action::Record(node("orderer0"));
    check(&view([half, fresh(), serving()]), Phase::Forming, "JoiningOrderers", &[join(1), record]);
}

#[test]
fn a_genesis_that_no_longer_follows_stops_before_the_first_join_only() {
    let mut view = view([fresh(), fresh(), fresh()]);
    view.outdated = Some("/Channel/Orderer/BatchTimeout: 2s -> 1s".to_owned());
    let decision = check(&view, Phase::Forming, "GenesisDiffers", &[]);
    assert!(decision.outlook.verdict.message().contains("tenter-system/trade-genesis"));
    view.orderers.insert(node("orderer0"), serving());
    check(&view, Phase::Forming, "JoiningOrderers", &[join(1), join(2)]);
    view.outdated = None;
    view.computed = Err(Uncomputable::Missing(Vec::new()));
    check(&view, Phase::Forming, "JoiningOrderers", &[join(1), join(2)]);
}

#[test]
fn an_emptied_volume_is_data_loss_and_nobody_is_joined() {
    let lost = recorded(fresh(), JoinRecord::Joined);
    let decision = check(&view([lost.clone(), fresh(), holder(Ordering::NoLeader)]), Phase::Degraded, "DataLost", &[]);
    assert!(matches!(decision.outlook.verdict, Verdict::Stalled { .. }));
    assert!(decision.outlook.verdict.message().contains("trade-hub/orderer0"));
    check(&view([lost, serving(), serving()]), Phase::Active, "DataLost", &[]);
}

#[test]
fn another_block_zero_is_a_mismatch_and_is_not_recorded() {
    let mut wrong = recorded(serving(), JoinRecord::None);
    wrong.genesis = present("cc33".to_owned());
    let decision = check(&view([wrong, fresh(), fresh()]), Phase::Active, "GenesisMismatch", &[]);
    assert!(decision.outlook.verdict.message().contains("trade-hub/orderer0 holds cc33"));
}

#[test]
fn active_participation_without_a_leader_is_not_active() {
    let electing = || holder(Ordering::NoLeader);
    check(&view([electing(), electing(), electing()]), Phase::Electing, "NoLeader", &[]);
    let gone = || recorded(silent(), JoinRecord::Joined);
    check(&view([electing(), gone(), gone()]), Phase::Degraded, "QuorumLost", &[]);
    check(&view([electing(), electing(), gone()]), Phase::Electing, "NoLeader", &[]);
    check(&view([gone(), gone(), gone()]), Phase::Degraded, "QuorumLost", &[]);
}

#[test]
fn one_answer_with_a_leader_is_enough() {
    let ready = check(&view([serving(), serving(), serving()]), Phase::Active, "Ordering", &[]);
    assert!(matches!(ready.outlook.verdict, Verdict::Ready { .. }));
    let gone = recorded(silent(), JoinRecord::Joined);
    let decision = check(&view([serving(), gone, serving()]), Phase::Active, "Ordering", &[]);
    assert!(decision.outlook.verdict.message().contains("without trade-hub/orderer1"));
}

#[test]
fn what_is_not_done_to_a_live_channel_is_said_and_the_channel_stays_active() {
    let mut view = view([serving(), serving(), serving()]);
    view.config = present(ConfigView { refused: vec!["no new consenters".to_owned()], ..ConfigView::default() });
    let decision = check(&view, Phase::Active, "ConfigDiffers", &[]);
    assert!(matches!(decision.outlook.verdict, Verdict::Stalled { .. }));
    view.config = present(ConfigView { unnamed: vec!["globex".to_owned()], ..ConfigView::default() });
    let decision = check(&view, Phase::Active, "Ordering", &[]);
    assert!(decision.outlook.verdict.message().contains("globex"));
    view.config = unreachable();
    let decision = check(&view, Phase::Active, "Ordering", &[]);
    assert!(decision.outlook.verdict.message().contains("could not be compared"));
}

fn topic(name: &str) -> TopicView {
    TopicView {
        topic: name.to_owned(),
        changes: vec!["a -> b".to_owned()],
        drift: Vec::new(),
        problems: Vec::new(),
        incomplete: None,
        joining: None,
        after: Vec::new(),
        proposal: None,
    }
}

fn proposed(phase: Option<ProposalPhase>) -> ProposalSeen {
    ProposalSeen {
        voted_down: false,
        awaiting: Vec::new(),
        changes: Vec::new(),
        name: "trade-0a1b".to_owned(),
        topic: "member/acme".to_owned(),
        digest: "0a1b".to_owned(),
        phase,
        message: "because".to_owned(),
        block: None,
    }
}

#[test]
fn independent_topics_are_proposed_together_and_others_wait() {
    let with = |topics: Vec<TopicView>| View {
        config: present(ConfigView { topics, ..ConfigView::default() }),
        ..view([serving(), serving(), serving()])
    };
    let propose = |name: &str| Action::Propose(name.to_owned());
    let second = TopicView { after: vec!["member/acme".to_owned()], ..topic("member/globex") };
    let topics = vec![topic("member/acme"), second.clone(), topic("policies")];
    check(&with(topics), Phase::Updating, "Proposing", &[propose("member/acme"), propose("policies")]);
    let open = TopicView { proposal: Some(proposed(None)), ..topic("member/acme") };
    check(&with(vec![open.clone(), second]), Phase::Updating, "Updating", &[]);
    let incomplete = TopicView { incomplete: Some("acme".to_owned()), ..topic("member/acme") };
    check(&with(vec![incomplete]), Phase::Updating, "Updating", &[]);
    // What comes back to an update that was superseded goes on with its proposal.
    let superseded = TopicView { proposal: Some(proposed(Some(ProposalPhase::Superseded))), ..open.clone() };
    check(&with(vec![superseded]), Phase::Updating, "Updating", &[]);
    for phase in [ProposalPhase::Rejected, ProposalPhase::Expired] {
        let ended = TopicView { proposal: Some(proposed(Some(phase))), ..open.clone() };
        let decision = check(&with(vec![ended]), Phase::Updating, "UpdateStopped", &[]);
        assert!(decision.outlook.verdict.message().contains("because; delete it"), "{decision:?}");
    }
    let harmful = TopicView { problems: vec!["it would stop every orderer".to_owned()], ..topic("policies") };
    check(&with(vec![harmful]), Phase::Updating, "UpdateStopped", &[]);
}

#[test]
fn nothing_is_proposed_by_a_spec_that_may_have_been_overtaken() {
    let mut view = view([serving(), serving(), serving()]);
    view.definition_awaited = Some("the repository is being read".to_owned());
    check(&view, Phase::Active, "Ordering", &[]);
    let open = TopicView { proposal: Some(proposed(None)), ..topic("member/acme") };
    view.config = present(ConfigView { topics: vec![open.clone()], ..ConfigView::default() });
    check(&view, Phase::Updating, "Updating", &[]);
    view.config = present(ConfigView { topics: vec![open, topic("policies")], ..ConfigView::default() });
    let decision = check(&view, Phase::Updating, "DefinitionNotSeen", &[]);
    let message = decision.outlook.verdict.message();
    assert!(
        message.contains("the repository is being read") && message.contains("policies: not proposed"),
        "{message}"
    );
    assert!(decision.outlook.pause <= std::time::Duration::from_secs(2), "nothing announces that it was seen");
    view.definition_awaited = None;
    check(&view, Phase::Updating, "Proposing", &[Action::Propose("policies".to_owned())]);
    // What needs no definition goes on.
    let unrecorded = recorded(serving(), JoinRecord::None);
    let awaited = Some("the repository is being read".to_owned());
    let joining = View { definition_awaited: awaited, ..self::view([unrecorded, serving(), serving()]) };
    check(&joining, Phase::Active, "Ordering", &[Action::Record(node("orderer0"))]);
}

#[test]
fn nothing_is_recorded_before_block_zero_was_read() {
    let unread = || OrdererView { genesis: unreachable(), ..recorded(serving(), JoinRecord::None) };
    check(&view([unread(), serving(), serving()]), Phase::Active, "Ordering", &[]);
    let decision = check(&view([unread(), fresh(), fresh()]), Phase::Forming, "GenesisUnverified", &[]);
    assert!(decision.outlook.verdict.message().contains("trade-hub/orderer0 (connection refused)"));
}

#[test]
fn a_channel_that_is_being_removed_is_not_joined() {
    for status in ["inactive", "failed"] {
        let mut leaving = recorded(serving(), JoinRecord::None);
        leaving.channel.live = consenter(status);
        leaving.ordering = unreachable();
        check(&view([leaving, serving(), serving()]), Phase::Active, "OrdererRemoving", &[]);
    }
}

fn follower(height: u64) -> OrdererView {
    let live = present(OrdererChannel { relation: "follower".to_owned(), status: "active".to_owned(), height });
    let mut follower = OrdererView { ordering: unreachable(), genesis: unreachable(), ..serving() };
    follower.channel = NodeChannel { live, record: JoinRecord::None };
    follower
}

#[test]
fn an_orderer_that_is_to_order_follows_first() {
    let with = |orderer: OrdererView, config: ConfigView| {
        let mut view = view([serving(), serving(), orderer]);
        view.consenters = 2;
        view.config = present(config);
        view
    };
    let coming = |known: bool| ConfigView { coming: [(node("orderer2"), known)].into(), ..ConfigView::default() };
    // It joins when the channel would give it blocks.
    check(&with(fresh(), coming(true)), Phase::Updating, "JoiningOrderers", &[join(2)]);
    check(&with(fresh(), coming(false)), Phase::Active, "Ordering", &[]);
    // It delivers nothing while it follows, and is no reason to stop.
    check(&with(follower(1), coming(true)), Phase::Active, "Ordering", &[]);
    let waits = TopicView { joining: Some("waiting until it has caught up".to_owned()), ..topic("consenters") };
    let config = ConfigView { topics: vec![waits], ..coming(true) };
    check(&with(follower(1), config), Phase::Updating, "Updating", &[]);
    let config = ConfigView { topics: vec![topic("consenters")], ..coming(true) };
    check(&with(follower(4), config), Phase::Updating, "Proposing", &[Action::Propose("consenters".to_owned())]);
    // The configuration has it, and it has not noticed.
    let named = ConfigView { named: [node("orderer2")].into(), ..ConfigView::default() };
    check(&with(follower(4), named), Phase::Updating, "BecomingConsenter", &[]);
    // Without a quorum of those that order, one that follows is of no help.
    let mut alone = with(follower(4), coming(true));
    alone.orderers.insert(node("orderer1"), OrdererView { ordering: unreachable(), ..serving() });
    let silent = NodeChannel { live: unreachable(), record: JoinRecord::Joined };
    alone.orderers.insert(node("orderer0"), OrdererView { channel: silent, ordering: unreachable(), ..serving() });
    check(&alone, Phase::Degraded, "QuorumLost", &[]);
}

#[test]
fn a_consenter_that_only_follows_is_told_of() {
    let mut follower = serving();
    follower.channel.live =
        present(OrdererChannel { relation: "follower".to_owned(), status: "active".to_owned(), height: 4 });
    follower.ordering = unreachable();
    assert!(!follower.takes_part());
    let decision = check(&view([follower, serving(), serving()]), Phase::Active, "NotAConsenter", &[]);
    assert!(decision.outlook.verdict.message().contains("trade-hub/orderer0-tls"));
}

#[test]
fn no_block_is_made_for_others() {
    let mut view = unpinned([fresh(), fresh(), fresh()]);
    let foreign = |evidence: &str| {
        Err(Uncomputable::Foreign { organizations: vec!["bank".to_owned()], evidence: evidence.to_owned() })
    };
    view.computed = foreign("");
    let decision = check(&view, Phase::Pending, "GenesisMissing", &[]);
    let message = decision.outlook.verdict.message().to_owned();
    assert!(message.contains("channels/trade/genesis.pb") && !message.contains("orderers"), "{message}");
    view.computed = foreign("orderer1 said no");
    let decision = check(&view, Phase::Pending, "GenesisMissing", &[]);
    assert!(decision.outlook.verdict.message().contains("orderer1 said no"));
}

#[test]
fn quorums_are_those_of_fabric() {
    let raft: Vec<usize> = (1..=5).map(|n| quorum(ConsensusType::EtcdRaft, n)).collect();
    assert_eq!(raft, [1, 2, 2, 3, 3]);
    let bft: Vec<usize> = (4..=7).map(|n| quorum(ConsensusType::Bft, n)).collect();
    assert_eq!(bft, [3, 4, 4, 5]);
}

#[test]
fn without_own_consenters_nothing_is_claimed() {
    let mut view = view([fresh(), fresh(), fresh()]);
    view.orderers.clear();
    check(&view, Phase::Forming, "NoOwnConsenter", &[]);
    view.elsewhere = present(Ordering::NoLeader);
    check(&view, Phase::Forming, "NoOwnConsenter", &[]);
    view.elsewhere = present(Ordering::Serving { height: 3 });
    check(&view, Phase::Active, "Ordering", &[]);
}
