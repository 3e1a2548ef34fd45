//! What can go wrong around one config update: each ends with the update made once, or with a condition that names what
//! to do. The daemon is killed and started again at ten points of every scenario: at what it does, and where all that it
//! can do is to wait for what went wrong.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use tenter_fabric::ca::{Authority, CertificateRequest, CertificateRoot, Role, Usage};
use tenter_fabric::config::ChannelConfig;
use tenter_fabric::keys::SecretKey;
use tenter_fabric::policy::{Policy, SignaturePolicy};
use tenter_fabric::x509::CertificateInfo;

use crate::broadcasts::{Broadcasts, Fault};
use crate::changes::{KILLS, by_hand, configuration, converge, in_sync, proposal, proposals, with_channel};
use crate::faults::stop;
use crate::proxy::ApiProxy;
use crate::scenarios::{announce, example};
use crate::world::World;

/// Of the kills of a scenario in two parts, those in the first: before it gets better, or before what happens while the
/// daemon is down.
const FIRST: usize = KILLS / 2;

/// Organizations whose administrators are enough for everything.
const ALL: [(&str, &str); 3] = [("hub", "HubMSP"), ("acme", "AcmeMSP"), ("globex", "GlobexMSP")];

/// The example network with a channel that orders, and the file of one change to its settings.
async fn formed(scenario: &str) -> (World, String) {
    form(World::new(scenario).await).await
}

/// The same with a daemon whose broadcasts can fail.
async fn formed_behind_a_proxy(scenario: &str) -> (World, String, Arc<Broadcasts>, ApiProxy) {
    let mut world = World::new(scenario).await;
    let broadcasts = Arc::new(Broadcasts::default());
    let proxy = ApiProxy::new(&world, broadcasts.clone()).await;
    world.kubeconfig = Some(proxy.kubeconfig.clone());
    let (world, change) = form(world).await;
    (world, change, broadcasts, proxy)
}

async fn form(world: World) -> (World, String) {
    world.consortium(json!({})).await;
    world.start();
    let file = example(&world.name);
    converge(&world, &file).await;
    let change = with_channel(&file, &["batch: {timeout: 1s}"]);
    (world, change)
}

/// Waits until the one proposal of the settings says a reason, in any phase; returns its message.
async fn says(world: &World, topic: &str, reason: &str) -> String {
    let objects = world.objects("Proposal", &world.namespace);
    world
        .eventually(&format!("the proposal of {topic} to say {reason}"), async || {
            let all = proposals(world).await;
            let of_topic: Vec<_> = all.iter().filter(|(_, other, _)| other == topic).collect();
            assert!(of_topic.len() <= 1, "one update needs one proposal: {all:?}");
            let (name, ..) = of_topic.first().ok_or("there is none")?;
            let object = objects.get(name).await.map_err(|error| error.to_string())?;
            let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            match conditions.iter().find(|condition| condition["reason"] == reason) {
                Some(found) => Ok(found["message"].as_str().unwrap_or_default().to_owned()),
                None => Err(object.data["status"].to_string()),
            }
        })
        .await
}

/// The example network with a channel that orders, and a commit whose one update waits for an approval: it is there, and
/// nothing of it is signed. The first kills are done. Gives the commit and the Proposal's name and digest.
async fn waiting(scenario: &str) -> (World, String, (String, String)) {
    let world = World::new(scenario).await;
    world.consortium(json!({})).await;
    world.start();
    let old = with_channel(&example(&world.name), &["capabilities: {application: V2_0}"]);
    converge(&world, &old).await;
    world.kill_at_work_and_while_it_waits(FIRST);
    let commit = world.commit(&old.replace("V2_0", "V2_5"));
    world.killed(FIRST).await;
    says(&world, "capabilities", "ApprovalNeeded").await;
    let all = world.objects("Proposal", &world.namespace).list(&ListParams::default()).await.expect("proposals");
    let found = all.into_iter().find(|object| object.data["spec"]["topic"] == "capabilities").expect("it is there");
    let digest = found.data["spec"]["digest"].as_str().expect("a digest").to_owned();
    (world, commit, (found.metadata.name.expect("a name"), digest))
}

/// After all kills, the commit is applied by one update that one proposal brought, and nothing is left to do.
async fn made_once(world: &World, commit: &str, topic: &str) {
    world.killed(KILLS).await;
    world.applied(commit).await;
    proposal(world, topic, "Committed").await;
    in_sync(world).await;
    let all = proposals(world).await;
    assert_eq!(all.len(), 1, "no second proposal: {all:?}");
    let live = configuration(world).await;
    assert_eq!(live.config().sequence, 1, "no second update");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_is_no_second_update() {
    announce("a lost reply");
    let (world, change, broadcasts, _proxy) = formed_behind_a_proxy("reply").await;
    broadcasts.fail(Some(Fault::LoseReply));
    world.kill_at_work_and_while_it_waits(KILLS);
    let commit = world.commit(&change);
    made_once(&world, &commit, "orderer-settings").await;
    assert_eq!(broadcasts.met(), 1, "a reply was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_was_taken_and_lost_is_handed_over_again() {
    announce("a lost update");
    let (world, change, broadcasts, _proxy) = formed_behind_a_proxy("taken").await;
    // As often as it is handed over, also because the daemon was killed before it had noted that.
    broadcasts.fail(Some(Fault::Lose));
    world.kill_at_work_and_while_it_waits(FIRST);
    let commit = world.commit(&change);
    world.killed(FIRST).await;
    says(&world, "orderer-settings", "Submitted").await;
    assert!(broadcasts.met() > 0, "the update was lost");
    assert_eq!(configuration(&world).await.config().sequence, 0, "nothing came of it");
    broadcasts.fail(None);
    world.kill_at_work_and_while_it_waits(KILLS - FIRST);
    made_once(&world, &commit, "orderer-settings").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_block_is_waited_for() {
    announce("a late block");
    let (world, change, broadcasts, _proxy) = formed_behind_a_proxy("late").await;
    // Late enough for the daemon to be killed again and again before the block, and after it.
    broadcasts.fail(Some(Fault::Late(Duration::from_secs(15))));
    world.kill_at_work_and_while_it_waits(KILLS);
    let commit = world.commit(&change);
    // It says so only while no config block shows the change.
    says(&world, "orderer-settings", "Submitted").await;
    made_once(&world, &commit, "orderer-settings").await;
    assert!(broadcasts.met() > 0, "the block was late");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_an_update_waits() {
    announce("no leader");
    let (world, change) = formed("leader").await;
    let Some(stopped) = stop(&world, &["orderer2", "orderer3"]).await else { return };
    world.kill_at_work_and_while_it_waits(FIRST);
    let commit = world.commit(&change);
    world.killed(FIRST).await;
    let status = world.phase("Channel", &world.namespace, "settlement", "Degraded").await;
    let ready = status["conditions"].as_array().and_then(|all| all.iter().find(|it| it["type"] == "Ready"));
    let (reason, message) = ready.map(|it| (it["reason"].clone(), it["message"].to_string())).expect("a condition");
    println!("no leader: {message}");
    assert_eq!(reason, "QuorumLost");
    assert!(message.contains("2 of 3") && message.contains("orderer2") && message.contains("orderer3"), "{message}");
    assert!(proposals(&world).await.is_empty(), "nothing is proposed to a channel that cannot order");
    world.kill_at_work_and_while_it_waits(KILLS - FIRST);
    drop(stopped);
    made_once(&world, &commit, "orderer-settings").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_by_hand_in_between_is_not_made_again() {
    announce("an update by hand in between");
    let (world, commit, _) = waiting("between").await;
    world.kill();
    // Somebody else does the same and more, so that it is another update; the one that waits is void.
    let change = |config: &mut ChannelConfig| {
        config.application.capabilities = BTreeSet::from(["V2_5".to_owned()]);
        config.orderer.batch.timeout = "7s".to_owned();
    };
    by_hand(&world, change, &ALL, "identity-reader").await;
    world.kill_at_work_and_while_it_waits(KILLS - FIRST);
    world.start();
    world.killed(KILLS).await;
    world.applied(&commit).await;
    in_sync(&world).await;
    let mut all: Vec<(String, String)> =
        proposals(&world).await.into_iter().map(|(_, topic, phase)| (topic, phase)).collect();
    all.sort();
    let expected = [("capabilities", "Superseded"), ("orderer-settings", "Committed")];
    assert_eq!(all, expected.map(|(topic, phase)| (topic.to_owned(), phase.to_owned())));
    let live = configuration(&world).await;
    assert_eq!(live.config().sequence, 2, "the one by hand, and one of ours that puts the timeout back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitter_that_may_not_write_is_told_what_to_do() {
    announce("no writer");
    let (world, change) = formed("writer").await;
    world.kill();
    // By hand, for the plan would refuse it: only orderers may write, whose keys the daemon does not submit with.
    let rule: SignaturePolicy = "OR('HubMSP.orderer')".parse().expect("a rule");
    let live = configuration(&world).await;
    let normal = live.config().policies["Writers"].clone();
    let writers = |policy: Policy| {
        |config: &mut ChannelConfig| {
            config.policies.insert("Writers".to_owned(), policy);
        }
    };
    by_hand(&world, writers(Policy::Signature(rule)), &ALL, "identity-reader").await;
    let commit = world.commit(&change);
    world.kill_at_work_and_while_it_waits(FIRST);
    world.start();
    world.killed(FIRST).await;
    for topic in ["orderer-settings", "policies"] {
        let message = says(&world, topic, "NoWriter").await;
        println!("{topic}: {message}");
        assert!(message.contains("have its administrators change the policy Writers"), "{message}");
    }
    assert_eq!(configuration(&world).await.config().sequence, 1, "nothing was submitted");
    // What the message says, done with a key that may.
    world.kill_at_work_and_while_it_waits(KILLS - FIRST);
    by_hand(&world, writers(normal), &ALL, "orderer1-enrolment").await;
    world.killed(KILLS).await;
    world.applied(&commit).await;
    proposal(&world, "orderer-settings", "Committed").await;
    in_sync(&world).await;
    let mut all: Vec<(String, String)> =
        proposals(&world).await.into_iter().map(|(_, topic, phase)| (topic, phase)).collect();
    all.sort();
    // What was done by hand is exactly the update that was proposed.
    let expected = [("orderer-settings", "Committed"), ("policies", "Committed")];
    assert_eq!(all, expected.map(|(topic, phase)| (topic.to_owned(), phase.to_owned())));
    assert_eq!(configuration(&world).await.config().sequence, 3, "two by hand and one of ours");
}

/// Replaces a certificate of an organization, the entry of a Secret, by one of the same key that ends in `seconds`. Tells
/// when that is.
pub async fn expires_in(
    world: &World,
    organization: &str,
    (secret, entry): (&str, &str),
    role: Role,
    seconds: i64,
) -> Timestamp {
    let secrets = Api::<Secret>::namespaced(world.client.clone(), &world.organization(organization));
    let text = |secret: &Secret, key: &str| {
        let data = secret.data.as_ref().expect("data");
        String::from_utf8(data[key].0.clone()).expect("PEM")
    };
    let root = secrets.get("ca-enrolment").await.expect("the root");
    let authority = Authority::load(&CertificateRoot {
        cert_pem: text(&root, "tls.crt"),
        key_pem: SecretKey::from_pem(text(&root, "tls.key")),
    })
    .expect("the root");
    let old = CertificateInfo::from_pem(&text(&secrets.get(secret).await.expect("the Secret"), entry));
    let old = old.expect("a certificate");
    let request = CertificateRequest {
        common_name: old.common_name.clone().expect("a common name"),
        usage: Usage::Enrolment(role),
        // It started five minutes ago.
        lifetime: SignedDuration::from_secs(300 + seconds),
    };
    let random = &mut getrandom::rand_core::UnwrapErr(getrandom::SysRng);
    let short =
        authority.issue_for(&request, &old.public_key().expect("its key"), Timestamp::now(), random).expect("issued");
    let not_after = CertificateInfo::from_pem(&short).expect("a certificate").not_after;
    let patch = json!({"stringData": {entry: short}});
    secrets.patch(secret, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patch");
    not_after
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_expire_meanwhile_are_renewed() {
    announce("certificates expire");
    let (world, commit, (proposal, digest)) = waiting("expire").await;
    // The signers' and the submitters' certificates run out while the update waits and the daemon is down.
    world.kill();
    let mut expired = Vec::new();
    for (organization, _) in ALL {
        for (secret, role) in [("identity-reader", Role::Client), ("identity-config-admin", Role::Admin)] {
            let not_after = expires_in(&world, organization, (secret, "tls.crt"), role, 1).await;
            expired.push((world.organization(organization), secret, not_after));
        }
    }
    world
        .eventually("the certificates to have expired", async || {
            let past = expired.iter().all(|(.., not_after)| *not_after < Timestamp::now());
            if past { Ok(()) } else { Err(String::new()) }
        })
        .await;
    let patch = json!({"metadata": {"annotations": {"tenter.dev/approved": digest}}});
    let api = world.objects("Proposal", &world.namespace);
    api.patch(&proposal, &PatchParams::default(), &Patch::Merge(patch)).await.expect("the approval");
    world.kill_at_work_and_while_it_waits(KILLS - FIRST);
    world.start();
    made_once(&world, &commit, "capabilities").await;
    for (namespace, secret, old) in expired {
        let live = Api::<Secret>::namespaced(world.client.clone(), &namespace).get(secret).await.expect("the Secret");
        let text = String::from_utf8(live.data.expect("data")["tls.crt"].0.clone()).expect("PEM");
        let now = CertificateInfo::from_pem(&text).expect("a certificate");
        assert!(now.not_after > old.max(Timestamp::now()), "{namespace}/{secret} is renewed");
    }
}
