//! Config updates on Fabric processes between the daemons of several members, which share a git repository and no keys: what
//! their controllers do, without a Kubernetes in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use git2::Repository;
use jiff::Timestamp;
use tenter_consortium::document::Blob;
use tenter_consortium::objects::{ChannelSpec, ConsortiumSpec, VoteChoice};
use tenter_consortium::status::{ChannelPhase, ProposalPhase, ProposalVote};
use tenter_fabric::config::CurrentConfig;
use tenter_fabric::config::update::{ConfigSignature, ConfigUpdate};

use super::decide::{Action, Answer, Attempt, Decision, View, decide};
use super::look::{Live, Place, Seen, look};
use crate::controllers::process_world::{CHANNEL, SYSTEM, World};
use crate::messages::channel::{How, MessageChannel};
use crate::messages::{Message, Messages};
use crate::nodes::identity::signing_identity;
use crate::nodes::nonce;
use crate::source::Credentials;

/// A daemon that acts for some of the organizations, and follows one update.
struct Daemon {
    settings: ConsortiumSpec,
    spec: ChannelSpec,
    update: ConfigUpdate,
    base: u64,
    url: String,
    channel: MessageChannel,
    signatures: Vec<ConfigSignature>,
    attempt: Option<Attempt>,
    votes: BTreeMap<String, ProposalVote>,
    definition_awaited: Option<String>,
}

fn settings(organizations: &[&str], signing: &str) -> ConsortiumSpec {
    let signing: serde_json::Map<String, serde_json::Value> =
        organizations.iter().map(|name| ((*name).to_owned(), signing.into())).collect();
    serde_json::from_value(serde_json::json!({
        "source": {
            "repository": "file:///nowhere",
            "verification": {"keys": [{"name": "someone", "ssh": "ssh-ed25519 x"}]},
        },
        "organizations": organizations,
        "namespaces": {"allowed": organizations.iter().map(|name| format!("trade-{name}")).collect::<Vec<_>>()},
        "signing": signing,
    }))
    .unwrap()
}

/// A channel of hub's orderers, whose members acme, globex and initech decide by majority; and a repository.
async fn formed() -> (World, String) {
    let world = World::with_members(&["globex", "initech"]).await;
    world.until(ChannelPhase::Active).await;
    let path = world.folder.path().join("signatures.git");
    Repository::init_bare(&path).unwrap();
    let url = format!("file://{}", path.display());
    (world, url)
}

async fn current(world: &World) -> CurrentConfig {
    let block = world.nodes.config_block(&world.own()[0], CHANNEL).await;
    CurrentConfig::from_block(block.value().expect("a config block")).unwrap()
}

/// The change that the daemons are after: two of the three members have to sign it.
fn change(world: &mut World, rule: &str) {
    world.spec.policies.application.insert("Endorsement".to_owned(), rule.to_owned());
}

impl Daemon {
    /// What the administrator of an own organization says.
    fn vote(&mut self, msp_id: &str, choice: VoteChoice, reason: &str) {
        let vote = ProposalVote {
            organization: msp_id.trim_end_matches("MSP").to_lowercase(),
            msp_id: msp_id.to_owned(),
            choice,
            reason: reason.to_owned(),
            vote: "vote".to_owned(),
        };
        self.votes.insert(msp_id.to_owned(), vote);
    }

    async fn new(world: &World, url: &str, organizations: &[&str]) -> Self {
        let seen = world.look().await;
        assert_eq!(seen.updates.len(), 1, "{:?}", seen.view.config);
        Self {
            settings: settings(organizations, "auto"),
            spec: world.spec.clone(),
            update: seen.updates[0].update.clone(),
            base: seen.config.value().unwrap().sequence,
            url: url.to_owned(),
            channel: MessageChannel::new(world.folder.path().join(organizations.join("-")), How::Here),
            signatures: Vec::new(),
            attempt: None,
            votes: BTreeMap::new(),
            definition_awaited: None,
        }
    }

    async fn messages(&self, now: Timestamp) -> Messages {
        self.channel.read(&self.url, &Credentials::default(), now).await.unwrap()
    }

    async fn look(&self, world: &World, now: Timestamp) -> (Seen, View) {
        let messages = self.messages(now).await;
        let place = Place {
            nodes: &world.nodes,
            namespace: SYSTEM,
            settings: &self.settings,
            spec: &self.spec,
            messages: Some(&messages),
            votes: &self.votes,
            now,
        };
        let live = Live::read(&world.nodes, SYSTEM, &self.settings, &self.spec).await;
        let seen = look(&place, live, self.base, self.update.clone(), self.signatures.clone()).await;
        let place = (SYSTEM.to_owned(), "proposal".to_owned());
        let update = (CHANNEL, "policies", self.update.digest());
        let mut view = View::unseen(place, (update.0, update.1, &update.2), self.attempt.clone(), now);
        seen.complete(&mut view);
        view.definition_awaited.clone_from(&self.definition_awaited);
        (seen, view)
    }

    async fn perform(&mut self, world: &World, seen: &Seen, action: &Action, now: Timestamp) {
        let none = Credentials::default();
        match action {
            Action::Sign(msp_id) => self.signatures.push(seen.sign(&world.nodes, msp_id).await.unwrap()),
            Action::Submit => {
                let answer = seen.submit(&world.nodes).await.unwrap();
                self.attempt = Some(Attempt { first: now, last: now, times: 1, answer });
            }
            Action::Publish => {
                let message = seen.message(&world.nodes).await.unwrap();
                drop(self.channel.publish(&self.url, &none, now, message).await.unwrap());
            }
            Action::Prune => drop(self.channel.prune(&self.url, &none, now, seen.folder()).await.unwrap()),
        }
    }

    /// One reconciliation, `later` seconds from now: what was read from the repository is no longer fresh then.
    async fn pass(&mut self, world: &World, later: i64) -> Decision {
        let now = Timestamp::now() + jiff::SignedDuration::from_secs(later);
        let (seen, view) = self.look(world, now).await;
        let decision = decide(&view, now);
        for action in &decision.actions {
            self.perform(world, &seen, action, now).await;
        }
        decision
    }

    async fn until(&mut self, world: &World, phase: ProposalPhase, reason: &str) -> Decision {
        let end = Instant::now() + Duration::from_mins(1);
        for round in 1.. {
            let decision = self.pass(world, round * 6).await;
            if decision.phase == phase && decision.outlook.verdict.reason() == reason {
                return decision;
            }
            assert!(Instant::now() < end, "{phase} {reason}: {decision:?} {:?}", self.attempt);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        unreachable!()
    }
}

async fn sign_by_hand(world: &World, organization: &str, msp_id: &str, update: &ConfigUpdate) -> ConfigSignature {
    let namespace = format!("trade-{organization}");
    let found = signing_identity(world.nodes.store(), &namespace, "identity-config-admin", msp_id).await;
    update.sign(found.value().unwrap(), nonce().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_are_enough_while_the_third_is_stopped() {
    let (mut world, url) = formed().await;
    change(&mut world, "ANY Endorsement");
    let mut acme = Daemon::new(&world, &url, &["hub", "acme"]).await;
    let decision = acme.pass(&world, 0).await;
    assert_eq!(decision.actions, [Action::Sign("AcmeMSP".to_owned())], "only its own: {decision:?}");
    let decision = acme.until(&world, ProposalPhase::Collecting, "SignaturesMissing").await;
    assert!(decision.outlook.verdict.message().contains("GlobexMSP"), "{decision:?}");
    // In sync with what is published, nothing is written.
    assert!(acme.pass(&world, 100).await.actions.is_empty());
    let mut globex = Daemon::new(&world, &url, &["globex"]).await;
    globex.until(&world, ProposalPhase::Committed, "Committed").await;
    assert_eq!(globex.signatures.len(), 1);
    acme.until(&world, ProposalPhase::Committed, "Committed").await;
    assert_eq!(current(&world).await.config().sequence, 1);
    let listed = async |daemon: &Daemon| {
        let (seen, _) = daemon.look(&world, Timestamp::now()).await;
        let mut listed: Vec<String> = seen.listed().into_iter().map(|signature| signature.msp_id).collect();
        listed.sort();
        listed
    };
    assert_eq!(listed(&acme).await, ["AcmeMSP", "GlobexMSP"], "its own, and what the committed update came with");
    // The third comes back to a thing that is done, and what was published is gone from the repository.
    let mut initech =
        Daemon { settings: settings(&["initech"], "auto"), signatures: Vec::new(), attempt: None, ..globex };
    initech.until(&world, ProposalPhase::Committed, "Committed").await;
    assert!(initech.signatures.is_empty());
    assert_eq!(listed(&initech).await, ["AcmeMSP", "GlobexMSP"]);
    assert!(initech.messages(Timestamp::now() + jiff::SignedDuration::from_hours(1)).await.messages.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_stopped_signs_nothing_against_what_was_agreed_on() {
    let (mut world, url) = formed().await;
    let before = world.spec.clone();
    change(&mut world, "ANY Endorsement");
    let mut acme = Daemon::new(&world, &url, &["hub", "acme"]).await;
    let mut globex = Daemon::new(&world, &url, &["globex"]).await;
    acme.until(&world, ProposalPhase::Collecting, "SignaturesMissing").await;
    globex.until(&world, ProposalPhase::Committed, "Committed").await;
    // To the third, with the object of before, that is to be put back.
    let after = std::mem::replace(&mut world.spec, before);
    let mut initech = Daemon::new(&world, &url, &["initech"]).await;
    initech.definition_awaited = Some("the repository is being read".to_owned());
    let decision = initech.pass(&world, 1000).await;
    assert_eq!(decision.outlook.verdict.reason(), "DefinitionNotSeen", "{decision:?}");
    assert!(decision.actions.is_empty(), "{decision:?}");
    (initech.spec, initech.definition_awaited) = (after, None);
    let decision = initech.pass(&world, 2000).await;
    assert_eq!((decision.phase, decision.outlook.verdict.reason()), (ProposalPhase::Superseded, "NotWanted"));
    assert!(decision.actions.is_empty() && initech.signatures.is_empty(), "{decision:?}");
    assert_eq!(current(&world).await.config().sequence, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_submit_at_once_change_it_once() {
    let (mut world, url) = formed().await;
    change(&mut world, "ANY Endorsement");
    let mut acme = Daemon::new(&world, &url, &["hub", "acme"]).await;
    let mut globex = Daemon::new(&world, &url, &["globex"]).await;
    acme.until(&world, ProposalPhase::Collecting, "SignaturesMissing").await;
    // Globex signs and publishes, and is slow to submit.
    let now = Timestamp::now();
    let (seen, view) = globex.look(&world, now).await;
    assert_eq!(decide(&view, now).actions, [Action::Sign("GlobexMSP".to_owned())]);
    globex.perform(&world, &seen, &Action::Sign("GlobexMSP".to_owned()), now).await;
    let (seen, view) = globex.look(&world, now).await;
    assert_eq!(decide(&view, now).actions, [Action::Submit, Action::Publish]);
    globex.perform(&world, &seen, &Action::Publish, now).await;
    let later = now + jiff::SignedDuration::from_secs(60);
    let (own, view) = acme.look(&world, later).await;
    assert_eq!(decide(&view, later).actions, [Action::Submit], "it has read the other's signature");
    tokio::join!(
        acme.perform(&world, &own, &Action::Submit, later),
        globex.perform(&world, &seen, &Action::Submit, now)
    );
    let answers = [acme.attempt.clone().unwrap().answer, globex.attempt.clone().unwrap().answer];
    assert!(answers.iter().any(|answer| matches!(answer, Answer::Taken { .. })), "{answers:?}");
    acme.until(&world, ProposalPhase::Committed, "Committed").await;
    globex.until(&world, ProposalPhase::Committed, "Committed").await;
    assert_eq!(current(&world).await.config().sequence, 1, "made once");
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_that_do_not_count_are_refused_by_name() {
    let (mut world, url) = formed().await;
    change(&mut world, "ANY Endorsement");
    let mut acme = Daemon::new(&world, &url, &["hub", "acme"]).await;
    let live = current(&world).await;
    let mut wanted = live.config().clone();
    wanted.orderer.batch.timeout = "7s".to_owned();
    let other = ConfigUpdate::compute(&live, &wanted).unwrap();
    let replayed = sign_by_hand(&world, "globex", "GlobexMSP", &other).await;
    let wrong = sign_by_hand(&world, "initech", "InitechMSP", &acme.update).await;
    let good = sign_by_hand(&world, "globex", "GlobexMSP", &acme.update).await.to_bytes();
    let publish = async |entries: &[(&str, Vec<u8>)], update: &ConfigUpdate| {
        let mut message = Message::new(CHANNEL, update.bytes());
        message.signatures = entries.iter().map(|(name, bytes)| ((*name).to_owned(), Blob(bytes.clone()))).collect();
        let anybody = MessageChannel::new(world.folder.path().join("anybody"), How::Here);
        anybody.publish(&url, &Credentials::default(), Timestamp::now(), message).await.unwrap();
    };
    // The signed bytes of one header with the signature of another: the signer is real, the signature is not.
    let mut forged = good.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let check = async |acme: &mut Daemon, later: i64, reasons: &[&str]| {
        let now = Timestamp::now() + jiff::SignedDuration::from_secs(later);
        let (seen, view) = acme.look(&world, now).await;
        let refused = seen.refused();
        let told: Vec<&str> = refused.iter().map(|refused| refused.reason.as_str()).collect();
        assert_eq!(told, reasons, "{refused:?}");
        assert!(!view.judgement.unwrap().satisfied);
    };
    publish(&[("GlobexMSP", forged)], &acme.update).await;
    check(&mut acme, 0, &["Forged"]).await;
    // What was taken from another update of the channel is told as such when that one is there too.
    publish(&[("GlobexMSP", replayed.to_bytes())], &other).await;
    publish(&[("GlobexMSP", replayed.to_bytes())], &acme.update).await;
    check(&mut acme, 60, &["Replayed"]).await;
    publish(&[("GlobexMSP", wrong.to_bytes()), ("InitechMSP", b"rubbish".to_vec())], &acme.update).await;
    check(&mut acme, 120, &["WrongOrganization", "Unreadable"]).await;
    // None of it keeps a good one from counting.
    publish(&[("GlobexMSP", good)], &acme.update).await;
    acme.until(&world, ProposalPhase::Committed, "Committed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_stale_after_an_outside_change() {
    let (mut world, url) = formed().await;
    change(&mut world, "ANY Endorsement");
    let mut acme = Daemon::new(&world, &url, &["hub", "acme"]).await;
    acme.until(&world, ProposalPhase::Collecting, "SignaturesMissing").await;
    let folder = Message::new(CHANNEL, acme.update.bytes()).folder;
    let published = async |acme: &Daemon, seconds: i64| {
        let now = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        acme.messages(now).await.find(CHANNEL, &folder.digest).is_some()
    };
    assert!(published(&acme, 1000).await);
    // Others change the same policy by hand.
    let live = current(&world).await;
    change(&mut world, "ALL Endorsement");
    let by_hand = Daemon::new(&world, &url, &["globex"]).await.update;
    assert!(!by_hand.means_the_same(&acme.update));
    let mut signatures = Vec::new();
    for (organization, msp_id) in [("globex", "GlobexMSP"), ("initech", "InitechMSP")] {
        signatures.push(sign_by_hand(&world, organization, msp_id, &by_hand).await);
    }
    let reader = signing_identity(world.nodes.store(), "trade-globex", "identity-reader", "GlobexMSP").await;
    world.nodes.submit(&world.own()[0], &by_hand, &signatures, reader.value().unwrap()).await.unwrap();
    let decision = acme.until(&world, ProposalPhase::Superseded, "Stale").await;
    assert!(decision.outlook.verdict.message().contains("Endorsement"), "{decision:?}");
    assert!(!decision.still_submittable);
    assert!(!published(&acme, 2000).await, "what can no longer apply is taken away");
    assert_eq!(live.config().sequence + 1, current(&world).await.config().sequence);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_can_still_be_submitted_by_others() {
    let (mut world, url) = formed().await;
    let before = world.spec.clone();
    change(&mut world, "ANY Endorsement");
    let mut acme = Daemon::new(&world, &url, &["hub", "acme"]).await;
    acme.until(&world, ProposalPhase::Collecting, "SignaturesMissing").await;
    let signature = sign_by_hand(&world, "globex", "GlobexMSP", &acme.update).await;
    let mut message = Message::new(CHANNEL, acme.update.bytes());
    message.signatures.insert("GlobexMSP".to_owned(), Blob(signature.to_bytes()));
    let globex = MessageChannel::new(world.folder.path().join("globex"), How::Here);
    globex.publish(&url, &Credentials::default(), Timestamp::now(), message).await.unwrap();
    // The definition is taken back before anybody submits.
    acme.spec = before;
    let decision = acme.pass(&world, 1000).await;
    assert_eq!((decision.phase, decision.outlook.verdict.reason()), (ProposalPhase::Superseded, "NotWanted"));
    assert!(decision.still_submittable);
    assert!(decision.outlook.verdict.message().contains("StillSubmittable"), "{decision:?}");
    assert!(decision.actions.is_empty(), "it is neither submitted nor taken away: {decision:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn manual_signing_waits_for_a_word() {
    let (mut world, url) = formed().await;
    change(&mut world, "ANY Endorsement");
    let mut acme = Daemon::new(&world, &url, &["hub", "acme"]).await;
    acme.settings = settings(&["hub", "acme"], "manual");
    let decision = acme.pass(&world, 0).await;
    assert_eq!(decision.outlook.verdict.reason(), "VotesMissing", "{decision:?}");
    assert!(decision.outlook.verdict.message().contains("AcmeMSP"), "{decision:?}");
    assert_eq!(decision.actions, [Action::Publish], "whoever signs elsewhere needs the update");
    acme.vote("AcmeMSP", VoteChoice::Approve, "");
    assert_eq!(acme.pass(&world, 60).await.actions, [Action::Sign("AcmeMSP".to_owned())]);
    // `auto` counts only where commits are verified.
    acme.votes.clear();
    acme.signatures.clear();
    acme.settings = settings(&["hub", "acme"], "auto");
    acme.settings.source.verification = None;
    assert_eq!(acme.pass(&world, 120).await.outlook.verdict.reason(), "VotesMissing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_signed_elsewhere_counts_for_the_own_daemon_too() {
    let (mut world, url) = formed().await;
    change(&mut world, "ANY Endorsement");
    let mut acme = Daemon::new(&world, &url, &["hub", "acme"]).await;
    let decision = acme.pass(&world, 0).await;
    assert_eq!(decision.actions, [Action::Sign("AcmeMSP".to_owned())], "not published yet: {decision:?}");
    let found = signing_identity(world.nodes.store(), "trade-acme", "identity-config-admin", "AcmeMSP").await;
    let rejection = acme.update.reject(found.value().unwrap(), nonce().unwrap(), "not like this").unwrap();
    let mut message = Message::new(CHANNEL, acme.update.bytes());
    message.rejections.insert("AcmeMSP".to_owned(), Blob(rejection.to_bytes()));
    let offline = MessageChannel::new(world.folder.path().join("offline"), How::Here);
    offline.publish(&url, &Credentials::default(), Timestamp::now(), message).await.unwrap();
    let decision = acme.pass(&world, 60).await;
    assert_eq!(decision.outlook.verdict.reason(), "SignaturesMissing", "{decision:?}");
    assert!(decision.actions.is_empty(), "neither signed nor published: {decision:?}");
    assert!(decision.outlook.verdict.message().contains("AcmeMSP (not like this)"), "{decision:?}");
    // Two of the other members could still make it pass.
    let (_, view) = acme.look(&world, Timestamp::now() + jiff::SignedDuration::from_secs(120)).await;
    let enough = view.judgement.unwrap().enough;
    assert!(enough.contains(&vec!["GlobexMSP".to_owned(), "InitechMSP".to_owned()]), "{enough:?}");
    // A Vote is the later word.
    acme.vote("AcmeMSP", VoteChoice::Approve, "");
    let decision = acme.pass(&world, 180).await;
    assert_eq!(decision.actions, [Action::Publish], "{decision:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_voted_out_by_a_file_that_leaves_it_out() {
    let (mut world, url) = formed().await;
    world.spec.members.retain(|member| member.organization != "initech");
    world.spec.retired = vec!["initech".to_owned()];
    // This daemon acts for everybody that the file still names.
    let mut rest = Daemon::new(&world, &url, &["hub", "acme", "globex"]).await;
    rest.settings.signing.clear();
    let live = Live::read(&world.nodes, SYSTEM, &rest.settings, &rest.spec).await;
    assert!(live.is_shared(&rest.settings, &rest.spec), "the one that leaves is to be told");
    let decision = rest.pass(&world, 0).await;
    assert_eq!(decision.outlook.verdict.reason(), "VotesMissing", "{decision:?}");
    assert_eq!(decision.actions, [Action::Publish]);
    let everybody = settings(&["hub", "acme", "globex", "initech"], "manual");
    assert!(!live.is_shared(&everybody, &rest.spec));
    rest.vote("AcmeMSP", VoteChoice::Approve, "");
    rest.vote("GlobexMSP", VoteChoice::Approve, "");
    rest.until(&world, ProposalPhase::Committed, "Committed").await;
    let live = Live::read(&world.nodes, SYSTEM, &rest.settings, &rest.spec).await;
    assert!(!live.is_shared(&rest.settings, &rest.spec), "it is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_that_cannot_pass_any_more_is_rejected() {
    let (mut world, url) = formed().await;
    change(&mut world, "ANY Endorsement");
    let mut acme = Daemon::new(&world, &url, &["hub", "acme"]).await;
    let mut globex = Daemon::new(&world, &url, &["globex"]).await;
    let mut initech = Daemon::new(&world, &url, &["initech"]).await;
    acme.until(&world, ProposalPhase::Collecting, "SignaturesMissing").await;
    // One rejection of three leaves two, who are enough.
    globex.vote("GlobexMSP", VoteChoice::Reject, "everybody endorses");
    let decision = globex.until(&world, ProposalPhase::Collecting, "SignaturesMissing").await;
    assert!(decision.outlook.verdict.message().contains("GlobexMSP (everybody endorses)"), "{decision:?}");
    let told = |decision: &Decision| decision.outlook.verdict.message().contains("everybody endorses");
    let now = Timestamp::now() + jiff::SignedDuration::from_secs(100);
    let (seen, view) = acme.look(&world, now).await;
    assert!(told(&decide(&view, now)), "others read it: {view:?}");
    let votes = seen.votes().unwrap();
    assert_eq!(votes.iter().map(|vote| vote.msp_id.as_str()).collect::<Vec<_>>(), ["GlobexMSP"]);
    // What is published is not published again.
    assert!(globex.pass(&world, 200).await.actions.is_empty());
    // With two rejections nobody can make up what is missing.
    initech.settings = settings(&["initech"], "manual");
    initech.vote("InitechMSP", VoteChoice::Reject, "");
    initech.until(&world, ProposalPhase::Rejected, "VotedDown").await;
    let decision = acme.until(&world, ProposalPhase::Rejected, "VotedDown").await;
    let message = decision.outlook.verdict.message();
    assert!(message.contains("GlobexMSP (everybody endorses)") && message.contains("InitechMSP"), "{message}");
    assert!(decision.actions.is_empty() && !decision.still_submittable, "{decision:?}");
    // Whoever changes its mind opens it again.
    initech.vote("InitechMSP", VoteChoice::Approve, "");
    initech.until(&world, ProposalPhase::Committed, "Committed").await;
    acme.until(&world, ProposalPhase::Committed, "Committed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_rejection_of_this_update_is_refused_by_name() {
    let (mut world, url) = formed().await;
    change(&mut world, "ANY Endorsement");
    let mut acme = Daemon::new(&world, &url, &["hub", "acme"]).await;
    acme.until(&world, ProposalPhase::Collecting, "SignaturesMissing").await;
    let live = current(&world).await;
    let mut wanted = live.config().clone();
    wanted.orderer.batch.timeout = "7s".to_owned();
    let other = ConfigUpdate::compute(&live, &wanted).unwrap();
    let by_hand = async |organization: &str, msp_id: &str, update: &ConfigUpdate| {
        let namespace = format!("trade-{organization}");
        let found = signing_identity(world.nodes.store(), &namespace, "identity-config-admin", msp_id).await;
        Blob(update.reject(found.value().unwrap(), nonce().unwrap(), "no").unwrap().to_bytes())
    };
    let mut message = Message::new(CHANNEL, acme.update.bytes());
    message.rejections = BTreeMap::from([
        ("GlobexMSP".to_owned(), by_hand("globex", "GlobexMSP", &other).await),
        ("InitechMSP".to_owned(), by_hand("globex", "GlobexMSP", &acme.update).await),
        ("HubMSP".to_owned(), Blob(b"rubbish".to_vec())),
    ]);
    let anybody = MessageChannel::new(world.folder.path().join("anybody"), How::Here);
    anybody.publish(&url, &Credentials::default(), Timestamp::now(), message).await.unwrap();
    let now = Timestamp::now() + jiff::SignedDuration::from_secs(60);
    let (seen, view) = acme.look(&world, now).await;
    let refused = seen.refused();
    let told: Vec<(&str, &str)> =
        refused.iter().map(|refused| (refused.place.rsplit('/').next().unwrap(), refused.reason.as_str())).collect();
    let expect =
        [("GlobexMSP.reject", "Forged"), ("HubMSP.reject", "Unreadable"), ("InitechMSP.reject", "WrongOrganization")];
    assert_eq!(told, expect, "{refused:?}");
    assert!(view.judgement.unwrap().rejected.is_empty());
    assert_eq!(acme.pass(&world, 120).await.outlook.verdict.reason(), "SignaturesMissing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_mind_takes_no_published_signature_back() {
    let (mut world, url) = formed().await;
    change(&mut world, "ANY Endorsement");
    let mut acme = Daemon::new(&world, &url, &["hub", "acme"]).await;
    let mut globex = Daemon::new(&world, &url, &["globex"]).await;
    // Not published yet: it simply counts no more.
    let decision = acme.pass(&world, 0).await;
    assert_eq!(decision.actions, [Action::Sign("AcmeMSP".to_owned())]);
    acme.vote("AcmeMSP", VoteChoice::Reject, "not so fast");
    let decision = acme.pass(&world, 10).await;
    assert!(!decision.outlook.verdict.message().contains("cannot be taken back"), "{decision:?}");
    let published = acme.messages(Timestamp::now() + jiff::SignedDuration::from_secs(20)).await;
    let message = published.find(CHANNEL, &acme.update.digest()).unwrap();
    assert!(message.signatures.is_empty() && message.rejections.contains_key("AcmeMSP"));
    // Published: others have it, and it is said.
    acme.vote("AcmeMSP", VoteChoice::Approve, "");
    acme.pass(&world, 30).await;
    acme.until(&world, ProposalPhase::Collecting, "SignaturesMissing").await;
    acme.vote("AcmeMSP", VoteChoice::Reject, "not so fast");
    let decision = acme.pass(&world, 500).await;
    assert!(decision.outlook.verdict.message().contains("cannot be taken back"), "{decision:?}");
    assert!(!decision.still_submittable, "one signature is not enough: {decision:?}");
    let (_, view) = acme.look(&world, Timestamp::now() + jiff::SignedDuration::from_secs(600)).await;
    assert_eq!(view.judgement.unwrap().withdrawn, ["AcmeMSP"]);
    // With another's it is, whatever acme says now.
    globex.until(&world, ProposalPhase::Committed, "Committed").await;
}
