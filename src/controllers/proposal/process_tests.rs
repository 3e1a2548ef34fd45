//! Config updates on Fabric processes, with what can go wrong around them: what the controllers do, without a
//! Kubernetes in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tenter_consortium::objects::{ConsortiumSpec, NamespaceSettings};
use tenter_consortium::status::{ChannelPhase, ProposalPhase};
use tenter_fabric::ca::{Authority, CertificateRequest, Role, Usage};
use tenter_fabric::config::CurrentConfig;
use tenter_fabric::config::update::{ConfigSignature, ConfigUpdate};

use super::decide::{Action, Answer, Attempt, Decision, View, decide};
use super::look::{Live, Place, Seen, look};
use crate::controllers::process_world::{CHANNEL, SYSTEM, World, pair, reference};
use crate::nodes::identity::signing_identity;
use crate::nodes::nonce;

/// An update that is followed as its controller follows it.
struct Followed {
    update: ConfigUpdate,
    base: u64,
    signatures: Vec<ConfigSignature>,
    attempt: Option<Attempt>,
    /// How often it was handed to the orderers.
    submitted: usize,
    /// What came of it the first time.
    first: Option<Answer>,
}

fn settings() -> ConsortiumSpec {
    let spec = serde_json::json!({"source": {"repository": "file:///nowhere"}, "organizations": ["*"]});
    let settings: ConsortiumSpec = serde_json::from_value(spec).unwrap();
    ConsortiumSpec { namespaces: NamespaceSettings { allowed: vec!["trade-*".to_owned()], create: false }, ..settings }
}

/// A channel that orders.
async fn formed() -> World {
    let world = World::new().await;
    world.until(ChannelPhase::Active).await;
    world
}

/// The configuration in force.
async fn current(world: &World) -> CurrentConfig {
    let own = world.own();
    let block = world.nodes.config_block(&own[0], CHANNEL).await;
    CurrentConfig::from_block(block.value().expect("a config block")).unwrap()
}

impl Followed {
    /// The update of the one topic in which the channel differs from its spec.
    async fn of(world: &World) -> Self {
        let seen = world.look().await;
        assert_eq!(seen.updates.len(), 1, "{:?}", seen.view.config);
        let base = seen.config.value().unwrap().sequence;
        let update = seen.updates[0].update.clone();
        Self { update, base, signatures: Vec::new(), attempt: None, submitted: 0, first: None }
    }

    async fn look(&self, world: &World, now: Timestamp) -> (Seen, View) {
        let settings = settings();
        let (nodes, spec, votes) = (&world.nodes, &world.spec, BTreeMap::new());
        let place = Place { nodes, namespace: SYSTEM, settings: &settings, spec, messages: None, votes: &votes, now };
        let live = Live::read(nodes, SYSTEM, &settings, spec).await;
        let seen = look(&place, live, self.base, self.update.clone(), self.signatures.clone()).await;
        let place = (SYSTEM.to_owned(), "proposal".to_owned());
        let update = (CHANNEL, "orderer-settings", self.update.digest());
        let mut view = View::unseen(place, (update.0, update.1, &update.2), self.attempt.clone(), now);
        seen.complete(&mut view);
        (seen, view)
    }

    /// One reconciliation.
    async fn pass(&mut self, world: &World) -> Decision {
        self.pass_at(world, Timestamp::now()).await
    }

    async fn pass_at(&mut self, world: &World, now: Timestamp) -> Decision {
        let (seen, view) = self.look(world, now).await;
        let decision = decide(&view, now);
        for action in &decision.actions {
            match action {
                Action::Sign(msp_id) => self.signatures.push(seen.sign(&world.nodes, msp_id).await.unwrap()),
                Action::Submit => {
                    let answer = seen.submit(&world.nodes).await.unwrap();
                    self.submitted += 1;
                    self.first.get_or_insert_with(|| answer.clone());
                    let times = match &self.attempt {
                        Some(last) if std::mem::discriminant(&last.answer) == std::mem::discriminant(&answer) => {
                            last.times + 1
                        }
                        _ => 1,
                    };
                    self.attempt = Some(Attempt { first: now, last: now, times, answer });
                }
                Action::Publish | Action::Prune => panic!("nobody else takes part"),
            }
        }
        decision
    }

    /// Reconciles until a phase and a reason.
    async fn until(&mut self, world: &World, phase: ProposalPhase, reason: &str) -> Decision {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let decision = self.pass(world).await;
            if decision.phase == phase && decision.outlook.verdict.reason() == reason {
                return decision;
            }
            assert!(Instant::now() < end, "{phase} {reason}: {decision:?} {:?}", self.attempt);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_signed_submitted_and_read_back() {
    let mut world = formed().await;
    world.spec.batch.timeout = "1s".to_owned();
    let mut followed = Followed::of(&world).await;
    let decision = followed.pass(&world).await;
    assert_eq!(decision.actions, [Action::Sign("HubMSP".to_owned())], "the orderers' organization is enough");
    let decision = followed.pass(&world).await;
    assert_eq!(decision.actions, [Action::Submit], "{decision:?}");
    followed.until(&world, ProposalPhase::Committed, "Committed").await;
    assert_eq!(followed.submitted, 1);
    assert_eq!(current(&world).await.config().orderer.batch.timeout, "1s");
    assert_eq!(current(&world).await.config().sequence, 1);
    // The channel is as its spec says; what was proposed is not proposed again.
    assert_eq!(world.until(ChannelPhase::Active).await.outlook.verdict.reason(), "Ordering");
    // A daemon that was stopped before it wrote anything down finds the same.
    let mut again = Followed { signatures: Vec::new(), attempt: None, submitted: 0, first: None, ..followed };
    again.until(&world, ProposalPhase::Committed, "Committed").await;
    assert_eq!((again.submitted, again.signatures.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_updates_of_one_element_the_second_is_superseded() {
    let mut world = formed().await;
    world.spec.batch.timeout = "1s".to_owned();
    let mut ours = Followed::of(&world).await;
    // Somebody else changes the same by hand, in between.
    let live = current(&world).await;
    let mut by_hand = live.config().clone();
    by_hand.orderer.batch.timeout = "7s".to_owned();
    let update = ConfigUpdate::compute(&live, &by_hand).unwrap();
    let identity = async |name: &str| {
        let found = signing_identity(world.nodes.store(), "trade-hub", name, "HubMSP").await;
        found.value().cloned().unwrap()
    };
    let signature = update.sign(&identity("identity-config-admin").await, nonce().unwrap()).unwrap();
    let reader = identity("identity-reader").await;
    world.nodes.submit(&world.own()[0], &update, &[signature], &reader).await.unwrap();
    let decision = ours.until(&world, ProposalPhase::Superseded, "Stale").await;
    assert!(decision.outlook.verdict.message().contains("BatchTimeout"), "{decision:?}");
    let seen = world.look().await;
    let drift = &seen.view.config.value().unwrap().topics[0].drift;
    assert!(drift.iter().any(|line| line.contains("HubMSP")), "{drift:?}");
    // The next one puts it right.
    let mut next = Followed::of(&world).await;
    next.until(&world, ProposalPhase::Committed, "Committed").await;
    assert_eq!(current(&world).await.config().orderer.batch.timeout, "1s");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_it_waits_and_goes_on() {
    let mut world = formed().await;
    world.spec.batch.timeout = "1s".to_owned();
    let mut followed = Followed::of(&world).await;
    followed.pass(&world).await;
    for name in ["orderer2", "orderer3"] {
        world.processes.get_mut(&reference("hub", name)).unwrap().stop().await.unwrap();
    }
    let decision = followed.until(&world, ProposalPhase::Satisfied, "NoLeader").await;
    assert!(matches!(followed.attempt.as_ref().unwrap().answer, Answer::Unavailable(_)), "{decision:?}");
    for name in ["orderer2", "orderer3"] {
        world.processes.get_mut(&reference("hub", name)).unwrap().start().await.unwrap();
    }
    followed.until(&world, ProposalPhase::Committed, "Committed").await;
    assert_eq!(current(&world).await.config().sequence, 1, "made once");
}

#[tokio::test(flavor = "multi_thread")]
async fn submitters_that_may_not_write_are_passed_over() {
    let mut world = formed().await;
    world.spec.batch.timeout = "1s".to_owned();
    let mut followed = Followed::of(&world).await;
    followed.pass(&world).await;
    // Readers that expired meanwhile: administrators may write too, until they expire as well.
    let expired = |world: &World, role: Role| {
        let organization = if role == Role::Admin { &world.acme } else { &world.hub };
        let authority = Authority::load(&organization.roots.enrolment).unwrap();
        let request = CertificateRequest {
            common_name: "late".to_owned(),
            usage: Usage::Enrolment(role),
            lifetime: SignedDuration::from_mins(30),
        };
        pair(
            &authority
                .issue(&request, Timestamp::now(), &mut getrandom::rand_core::UnwrapErr(getrandom::SysRng))
                .unwrap(),
        )
    };
    for namespace in ["trade-hub", "trade-acme"] {
        world.store.put_secret(namespace, "identity-reader", expired(&world, Role::Client));
    }
    let later = Timestamp::now().checked_add(SignedDuration::from_hours(1)).unwrap();
    let (_, view) = followed.look(&world, later).await;
    assert_eq!(view.judgement.unwrap().no_writer, None, "an administrator submits");
    // Without the administrators' keys nobody may.
    world.store.put_secret("trade-hub", "identity-config-admin", crate::nodes::store::Entries::new());
    world.store.put_secret("trade-acme", "identity-config-admin", expired(&world, Role::Admin));
    let (_, view) = followed.look(&world, later).await;
    let decision = decide(&view, later);
    assert_eq!(decision.outlook.verdict.reason(), "NoWriter", "{decision:?}");
    let message = decision.outlook.verdict.message();
    assert!(
        message.contains("trade-acme/identity-config-admin: the certificate of") && message.contains("expired"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_kept_elsewhere_is_waited_for_by_name() {
    let mut world = formed().await;
    world.spec.batch.timeout = "1s".to_owned();
    let mut followed = Followed::of(&world).await;
    world.store.put_secret("trade-hub", "identity-config-admin", crate::nodes::store::Entries::new());
    let decision = followed.until(&world, ProposalPhase::Collecting, "SignaturesMissing").await;
    assert!(decision.outlook.verdict.message().contains("HubMSP"), "{decision:?}");
    assert!(followed.signatures.is_empty(), "acme's signature would not help");
}

/// Starts the orderers again with faults. Says so and gives false where they are real: faults cannot be asked of those.
async fn with_faults(world: &mut World, faults: &str) -> bool {
    for name in ["orderer1", "orderer2", "orderer3"] {
        let process = world.processes.get_mut(&reference("hub", name)).unwrap();
        if !process.is_simulated() {
            println!("SKIPPED {faults}: real orderers cannot be told to fail");
            return false;
        }
        process.stop().await.unwrap();
        process.set_faults(Some(faults));
    }
    for name in ["orderer1", "orderer2", "orderer3"] {
        world.processes.get_mut(&reference("hub", name)).unwrap().start().await.unwrap();
    }
    world.until(ChannelPhase::Active).await;
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_is_no_second_update() {
    let mut world = formed().await;
    if !with_faults(&mut world, r#"{"loseBroadcastReply": 1}"#).await {
        return;
    }
    world.spec.batch.timeout = "1s".to_owned();
    let mut followed = Followed::of(&world).await;
    followed.until(&world, ProposalPhase::Committed, "Committed").await;
    // A stream that breaks and an orderer that cannot be reached look alike: the next orderer is asked.
    let first = followed.first.unwrap();
    assert!(matches!(first, Answer::Unknown(_) | Answer::Unavailable(_)), "the reply was lost: {first:?}");
    assert_eq!(current(&world).await.config().sequence, 1, "made once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_block_is_waited_for() {
    let mut world = formed().await;
    if !with_faults(&mut world, r#"{"commitDelayMs": 2500}"#).await {
        return;
    }
    world.spec.batch.timeout = "1s".to_owned();
    let mut followed = Followed::of(&world).await;
    followed.until(&world, ProposalPhase::Submitted, "Submitted").await;
    followed.until(&world, ProposalPhase::Committed, "Committed").await;
    assert_eq!(followed.submitted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_an_orderer_took_and_lost_is_submitted_again() {
    let mut world = formed().await;
    if !with_faults(&mut world, r#"{"loseUpdate": 1}"#).await {
        return;
    }
    world.spec.batch.timeout = "1s".to_owned();
    let mut followed = Followed::of(&world).await;
    followed.until(&world, ProposalPhase::Submitted, "Submitted").await;
    // It is waited for; when the time is over, it is handed over again.
    let later = Timestamp::now().checked_add(SignedDuration::from_secs(20)).unwrap();
    assert_eq!(followed.pass_at(&world, later).await.actions, [Action::Submit]);
    followed.until(&world, ProposalPhase::Committed, "Committed").await;
    assert_eq!((followed.submitted, current(&world).await.config().sequence), (2, 1));
}
