//! Changes of living channels, by signed config updates.

use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tenter::controllers::cache::Cache;
use tenter::nodes::dial::PortForwardRoute;
use tenter::nodes::identity::signing_identity;
use tenter::nodes::store::KubeStore;
use tenter::nodes::{Node, NodeKind, Nodes, nonce};
use tenter_consortium::observed::NodeRef;
use tenter_fabric::ca::Role;
use tenter_fabric::config::update::{ConfigSignature, ConfigUpdate};
use tenter_fabric::config::{ChannelConfig, CurrentConfig};
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric::keys::SecretKey;
use tenter_fabric::policy::Judge;
use tenter_fabric::x509::CertificateInfo;

use crate::scenarios::{announce, example, plan};
use crate::updates::expires_in;
use crate::world::World;

/// How often the daemon is killed in the middle of a scenario.
pub const KILLS: usize = 10;

/// The example network with a third organization, which is a member.
fn with_initech(name: &str) -> String {
    example(name)
        .replace("  channels:\n", "    - name: initech\n      peers: [peer1]\n  channels:\n")
        .replace("members: [acme, globex]", "members: [acme, globex, initech]")
}

/// The example network with lines added to its channel.
pub fn with_channel(file: &str, lines: &[&str]) -> String {
    format!("{}\n      {}\n", file.trim_end(), lines.join("\n      "))
}

/// The Proposals of a world, as name, topic and phase.
pub async fn proposals(world: &World) -> Vec<(String, String, String)> {
    let list = world.objects("Proposal", &world.namespace).list(&ListParams::default()).await.expect("proposals");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.into_iter()
        .map(|object| {
            let (spec, status) = (&object.data["spec"], &object.data["status"]);
            (object.metadata.name.unwrap_or_default(), text(&spec["topic"]), text(&status["phase"]))
        })
        .collect()
}

/// Waits until the one Proposal of a topic is in a phase; there must never be a second one.
pub async fn proposal(world: &World, topic: &str, phase: &str) -> Value {
    world
        .eventually(&format!("the proposal of {topic} to be {phase}"), async || {
            let all = proposals(world).await;
            let of_topic: Vec<_> = all.iter().filter(|(_, other, _)| other == topic).collect();
            assert!(of_topic.len() <= 1, "one update needs one proposal: {all:?}");
            match of_topic.first() {
                Some((name, _, seen)) if seen == phase => {
                    let object = world.objects("Proposal", &world.namespace).get(name).await;
                    object.map(|object| object.data).map_err(|error| error.to_string())
                }
                _ => Err(format!("{all:?}")),
            }
        })
        .await
}

/// The step of a plan that updates a topic of channel `settlement`.
fn update_step(plan: &Value, topic: &str) -> Value {
    let step = plan["steps"][format!("channel-config/settlement/{topic}")].clone();
    assert!(step.is_object(), "the plan updates {topic}: {plan}");
    step
}

pub async fn channel_status(world: &World) -> Value {
    let channel = world.objects("Channel", &world.namespace).get("settlement").await.expect("the Channel");
    channel.data["status"].clone()
}

/// A commit that converges, and after which nothing is left to do.
pub async fn converge(world: &World, file: &str) -> String {
    let commit = world.commit(file);
    converge_commit(world, &commit).await;
    commit
}

/// Waits until a commit is carried out, and nothing is left to do.
pub async fn converge_commit(world: &World, commit: &str) {
    let start = Instant::now();
    world.applied(commit).await;
    println!("converged in {:.1} s", start.elapsed().as_secs_f32());
    in_sync(world).await;
}

/// Waits until planning again changes nothing.
pub async fn in_sync(world: &World) {
    world
        .eventually("an empty plan", async || {
            let (code, plan) = plan(world);
            if code == 0 { Ok(()) } else { Err(plan.to_string()) }
        })
        .await;
}

/// However often the daemon was killed, each update was proposed once and committed once.
pub async fn nothing_is_doubled(world: &World) {
    let kills = world.kills();
    println!("the daemon was killed at {kills} points");
    assert!(kills >= KILLS, "at {kills} points only");
    let all = proposals(world).await;
    assert!(all.iter().all(|(.., phase)| phase == "Committed"), "{all:?}");
    assert_eq!(channel_status(world).await["configSequence"], all.len(), "one update for each proposal: {all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_and_settings_change_by_signed_updates() {
    announce("a channel changes");
    let world = World::new("grow").await;
    world.consortium(json!({})).await;
    world.start();
    converge(&world, &example(&world.name)).await;
    world.kill_again_and_again(KILLS);

    // A third organization: the plan says who signs before anything is done.
    let file = with_initech(&world.name);
    std::fs::write(world.repository().join("network.yaml"), &file).expect("the definition");
    let (code, before) = plan(&world);
    let step = update_step(&before, "member/initech");
    assert_eq!(code, 2, "there is something to do");
    assert_eq!(step["step"]["elements"][0]["policy"], "/Channel/Application/Admins", "{step}");
    assert_eq!(step["step"]["signing"]["own"], json!(["AcmeMSP", "GlobexMSP"]), "both of two are a majority: {step}");
    assert!(step["step"]["signing"]["missing"].is_null() && step["blocked"].is_null(), "{step}");
    converge(&world, &file).await;
    let committed = proposal(&world, "member/initech", "Committed").await;
    assert_eq!(committed["status"]["signed"], "AcmeMSP,GlobexMSP", "{committed}");
    assert!(!committed["spec"]["changes"].to_string().contains("\\u0000"), "changes are for people: {committed}");
    let status = world.phase("Membership", &world.organization("initech"), "settlement", "Active").await;
    assert_eq!(status["joined"], "1/1");

    // Settings of several topics at once; each is an update of its own.
    let settings = [
        "batch: {timeout: 1s, maxMessageCount: 50}",
        "acls: {peer/Propose: /Channel/Application/Writers}",
        "policies: {application: {Endorsement: ANY Endorsement}}",
    ];
    converge(&world, &with_channel(&file, &settings)).await;
    for topic in ["orderer-settings", "policies"] {
        proposal(&world, topic, "Committed").await;
    }
    assert_eq!(channel_status(&world).await["configSequence"], 3);

    // Whoever orders goes on when a line is gone: that is said, and the line is put back.
    let fewer = with_channel(&file, &settings).replace("[orderer1, orderer2, orderer3]", "[orderer1, orderer2]");
    let commit = world.commit(&fewer);
    world
        .eventually("the consenter without a line to be named", async || {
            let status = world.status().await;
            let seen = status["lastAttemptedRevision"] == commit.as_str();
            let said = status["notes"].to_string().contains("ConsenterUnnamed");
            if seen && said { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    converge(&world, &with_channel(&file, &settings)).await;
    assert_eq!(channel_status(&world).await["configSequence"], 3, "nothing came of it");

    // A line that is gone changes nothing; its tombstone does.
    let without = with_channel(&file, &settings).replace("members: [acme, globex, initech]", "members: [acme, globex]");
    let commit = world.commit(&without);
    world
        .eventually("the orphan to be named", async || {
            let status = world.status().await;
            let seen = status["lastAttemptedRevision"] == commit.as_str();
            if seen && status["notes"].to_string().contains("MemberUnnamed") { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    assert_eq!(channel_status(&world).await["configSequence"], 3);
    let retired = format!("{without}  retired:\n    - member: settlement/initech\n");
    world.applied(&world.commit(&retired)).await;
    assert_eq!(channel_status(&world).await["configSequence"], 4);
    let memberships = world.objects("Membership", &world.organization("initech"));
    world
        .eventually("the membership to be gone", async || match memberships.get_opt("settlement").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    world.phase("Peer", &world.organization("initech"), "peer1", "Running").await;
    an_organization_is_taken_down(&world, &without).await;
    assert_eq!(channel_status(&world).await["configSequence"], 4);
    nothing_is_doubled(&world).await;
}

/// The nodes of an organization that is no member any more go by its tombstone; the ledger's volume stays.
async fn an_organization_is_taken_down(world: &World, without: &str) {
    let gone = without.replace("    - name: initech\n      peers: [peer1]\n", "");
    assert_ne!(gone, without);
    let retired = format!("{gone}  retired:\n    - organization: initech\n");
    std::fs::write(world.repository().join("network.yaml"), &retired).expect("the definition");
    let initech = world.organization("initech");
    let (_, before) = plan(world);
    let step = &before["steps"][format!("remove/peer/{initech}/peer1")];
    assert!(step["step"]["keeps"].to_string().contains("data-peer1-0") && step["blocked"].is_null(), "{before}");
    converge(world, &retired).await;
    let sets = Api::<StatefulSet>::namespaced(world.client.clone(), &initech);
    let services = Api::<Service>::namespaced(world.client.clone(), &initech);
    world
        .eventually("the peer to be gone", async || {
            let sets = sets.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items.len();
            let services = services.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items.len();
            if sets + services == 0 { Ok(()) } else { Err(format!("{sets} StatefulSets, {services} Services")) }
        })
        .await;
    let claims = Api::<PersistentVolumeClaim>::namespaced(world.client.clone(), &initech);
    let claim = claims.get("data-peer1-0").await.expect("the volume stays");
    assert!(claim.metadata.deletion_timestamp.is_none(), "{claim:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_an_update_is_made_once() {
    announce("killed while a channel changes");
    let world = World::new("kilc").await;
    world.consortium(json!({})).await;
    world.start();
    converge(&world, &example(&world.name)).await;
    world.kill();
    let file = with_channel(&with_initech(&world.name), &["batch: {timeout: 1s}"]);
    let commit = world.commit(&file);
    let initech = world.organization("initech");
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &initech);
    let objects = world.objects("Proposal", &world.namespace);
    let phase = async |topic: &str| {
        let all = objects.list(&ListParams::default()).await.ok()?;
        let found = all.into_iter().find(|object| object.data["spec"]["topic"] == topic)?;
        Some(found.data["status"]["phase"].as_str().unwrap_or_default().to_owned())
    };
    let reached = |phase: Option<String>, at_least: usize| {
        let order = ["", "Collecting", "Satisfied", "Submitted", "Committed"];
        phase.is_some_and(|phase| order.iter().position(|known| *known == phase).is_some_and(|at| at >= at_least))
    };
    macro_rules! point {
        ($what:expr, $found:expr) => {
            world.start();
            world.eventually($what, async || if $found { Ok(()) } else { Err("not yet".to_owned()) }).await;
            world.kill();
        };
    }
    point!("the namespace", world.namespaces().await.contains(&initech));
    point!("the public MSP", maps.get_opt("msp").await.is_ok_and(|found| found.is_some()));
    point!("the settings' proposal", reached(phase("orderer-settings").await, 0));
    point!("the settings' signatures", reached(phase("orderer-settings").await, 1));
    point!("the settings' submission", reached(phase("orderer-settings").await, 3));
    point!("the member's proposal", reached(phase("member/initech").await, 0));
    point!("the member's signatures", reached(phase("member/initech").await, 1));
    point!("enough signatures", reached(phase("member/initech").await, 2));
    point!("the submission", reached(phase("member/initech").await, 3));
    point!("the commit", reached(phase("member/initech").await, 4));
    point!("the peer's join record", maps.get_opt("peer1-ledgers").await.is_ok_and(|found| found.is_some()));
    world.start();
    world.applied(&commit).await;
    let all = proposals(&world).await;
    assert_eq!(all.len(), 2, "no second proposal: {all:?}");
    assert_eq!(channel_status(&world).await["configSequence"], 2, "no second update");
    in_sync(&world).await;
}

/// The nodes of a world, reached as the daemon reaches them.
pub fn nodes(world: &World) -> Nodes {
    let cache = Cache::new(world.client.clone());
    let store = std::sync::Arc::new(KubeStore::new(world.client.clone(), cache.clone()));
    Nodes::new(store, std::sync::Arc::new(PortForwardRoute::new(world.client.clone(), cache)))
}

/// A node of one of a world's organizations.
pub fn node(world: &World, kind: NodeKind, (organization, msp_id): (&str, &str), name: &str) -> Node {
    Node {
        reference: NodeRef { namespace: world.organization(organization), name: name.to_owned() },
        kind,
        msp_id: msp_id.to_owned(),
        address: String::new(),
        foreign: None,
    }
}

/// The first orderer of a world.
pub fn orderer(world: &World) -> Node {
    node(world, NodeKind::Orderer, ("hub", "HubMSP"), "orderer1")
}

/// The configuration of the channel that the first orderer has.
pub async fn configuration(world: &World) -> CurrentConfig {
    configuration_at(world, &orderer(world)).await
}

/// The configuration of the channel that an orderer has, once it answers: it may have been stopped a moment ago.
pub async fn configuration_at(world: &World, orderer: &Node) -> CurrentConfig {
    let nodes = nodes(world);
    world
        .eventually("the orderer to tell the configuration", async || {
            let seen = nodes.config_block(orderer, "settlement").await;
            let block = seen.value().ok_or_else(|| format!("{seen:?}"))?;
            CurrentConfig::from_block(block).map_err(|error| error.to_string())
        })
        .await
}

/// Changes the channel's configuration by hand, signed by the administrators of the organizations in `signers` and
/// submitted by the hub's identity in the Secret `submitter`. Waits for the block, and returns its number.
pub async fn by_hand(
    world: &World,
    change: impl FnOnce(&mut ChannelConfig),
    signers: &[(&str, &str)],
    submitter: &str,
) -> u64 {
    let (nodes, hub, orderer) = (nodes(world), world.organization("hub"), orderer(world));
    let current = configuration(world).await;
    let mut wanted = current.config().clone();
    change(&mut wanted);
    let update = ConfigUpdate::compute(&current, &wanted).expect("a difference");
    let mut signatures = Vec::new();
    for (organization, msp_id) in signers {
        let namespace = world.organization(organization);
        let identity = signing_identity(nodes.store(), &namespace, "identity-config-admin", msp_id).await;
        let identity = identity.value().cloned().expect("the administrator");
        signatures.push(update.sign(&identity, nonce().expect("a nonce")).expect("a signature"));
    }
    let submitter = signing_identity(nodes.store(), &hub, submitter, "HubMSP").await;
    let submitter = submitter.value().cloned().expect("the submitter");
    ordered(world, &orderer, &update, &signatures, &submitter).await
}

/// Hands an update to an orderer of the world, past every daemon. Waits for the block, and returns its number.
pub async fn ordered(
    world: &World,
    orderer: &Node,
    update: &ConfigUpdate,
    signatures: &[ConfigSignature],
    submitter: &SigningIdentity,
) -> u64 {
    let nodes = nodes(world);
    let before = configuration_at(world, orderer).await.config().sequence;
    // Orderers that were stopped a moment ago may have no leader yet.
    world
        .eventually("the orderers to take it", async || {
            nodes.submit(orderer, update, signatures, submitter).await.map_err(|error| format!("{error:?}"))
        })
        .await;
    world
        .eventually("the change by hand", async || {
            let seen = nodes.config_block(orderer, "settlement").await;
            let block = seen.value().ok_or_else(|| format!("{seen:?}"))?;
            let current = CurrentConfig::from_block(block).map_err(|error| error.to_string())?;
            let sequence = current.config().sequence;
            if sequence > before { Ok(block.number()) } else { Err(format!("sequence {sequence}")) }
        })
        .await
}

/// Changes the batch timeout by hand.
async fn change_by_hand(world: &World, timeout: &str, signers: &[(&str, &str)]) -> u64 {
    by_hand(world, |config| timeout.clone_into(&mut config.orderer.batch.timeout), signers, "identity-reader").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_hand_is_shown_and_put_right_by_a_signed_update() {
    announce("drift");
    let world = World::new("drift").await;
    world.consortium(json!({})).await;
    world.start();
    converge(&world, &example(&world.name)).await;
    world.kill();
    let block = change_by_hand(&world, "7s", &[("hub", "HubMSP")]).await;
    let (code, shown) = plan(&world);
    assert_eq!(code, 2, "{shown}");
    let step = update_step(&shown, "orderer-settings");
    let drift = step["step"]["drift"].to_string();
    assert!(drift.contains(&format!("block {block}")) && drift.contains("HubMSP"), "what, by whom, where: {step}");
    assert!(step["step"]["changes"].to_string().contains("7s"), "{step}");
    world.kill_at_work_and_while_it_waits(KILLS);
    world.start();
    let put_right = proposal(&world, "orderer-settings", "Committed").await;
    assert!(put_right["spec"]["reason"].to_string().contains("HubMSP"), "{put_right}");
    world.killed(KILLS).await;
    in_sync(&world).await;
    let all = proposals(&world).await;
    assert_eq!((all.len(), channel_status(&world).await["configSequence"].clone()), (1, json!(2)), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capability_waits_for_an_approval_of_its_update() {
    announce("capabilities");
    let world = World::new("caps").await;
    world.consortium(json!({})).await;
    world.start();
    let old = with_channel(&example(&world.name), &["capabilities: {application: V2_0}"]);
    converge(&world, &old).await;
    world.kill_at_work_and_while_it_waits(KILLS / 2);
    let commit = world.commit(&old.replace("V2_0", "V2_5"));
    world.killed(KILLS / 2).await;
    let waiting = proposal(&world, "capabilities", "Collecting").await;
    let (message, digest) = world
        .eventually("the approval to be asked for", async || {
            let waiting = proposal(&world, "capabilities", "Collecting").await;
            let conditions = waiting["status"]["conditions"].to_string();
            let digest = waiting["spec"]["digest"].as_str().unwrap_or_default().to_owned();
            if conditions.contains("ApprovalNeeded") { Ok((conditions, digest)) } else { Err(conditions) }
        })
        .await;
    assert!(message.contains(&digest), "the command names exactly this update: {message}");
    assert!(waiting["status"]["signed"].is_null(), "nothing is signed before: {waiting}");
    let name =
        proposals(&world).await.into_iter().find(|(_, topic, _)| topic == "capabilities").expect("it is there").0;
    let api = world.objects("Proposal", &world.namespace);
    let approve = async |digest: &str| {
        let patch = json!({"metadata": {"annotations": {"tenter.dev/approved": digest}}});
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("the approval");
    };
    approve(&"0".repeat(64)).await;
    world
        .eventually("the wrong approval to be refused", async || {
            let waiting = proposal(&world, "capabilities", "Collecting").await["status"].to_string();
            if waiting.contains("for another update") { Ok(()) } else { Err(waiting) }
        })
        .await;
    world.kill_at_work_and_while_it_waits(KILLS - KILLS / 2);
    approve(&digest).await;
    world.killed(KILLS).await;
    world.applied(&commit).await;
    proposal(&world, "capabilities", "Committed").await;
    let all = proposals(&world).await;
    assert_eq!((all.len(), channel_status(&world).await["configSequence"].clone()), (1, json!(1)), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bft_channel_forms_and_changes_like_rafts() {
    announce("BFT");
    let world = World::new("bft").await;
    let file = |timeout: &str| {
        format!(
            "apiVersion: tenter.dev/v1alpha1
kind: Network
metadata: {{name: {}}}
spec:
  organizations:
    - {{name: hub, orderers: [orderer1, orderer2, orderer3, orderer4]}}
    - {{name: acme, peers: [peer1]}}
    - {{name: globex, peers: [peer1]}}
  channels:
    - name: settlement
      organizer: hub
      consensus: {{type: BFT}}
      members: [acme]
      batch: {{timeout: {timeout}}}
",
            world.name
        )
    };
    let (first, second) = (file("2s"), file("1s").replace("members: [acme]", "members: [acme, globex]"));
    world.consortium(json!({})).await;
    world.start();
    world.kill_again_and_again(KILLS);
    converge(&world, &first).await;
    converge(&world, &second).await;
    proposal(&world, "orderer-settings", "Committed").await;
    proposal(&world, "member/globex", "Committed").await;
    world.phase("Membership", &world.organization("globex"), "settlement", "Active").await;
    nothing_is_doubled(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_move_to_other_addresses() {
    announce("addresses");
    let world = World::new("move").await;
    world.consortium(json!({})).await;
    world.start();
    let file = example(&world.name);
    converge(&world, &file).await;
    world.kill_again_and_again(KILLS);
    // Other names of the same Services: what matters is that configurations, certificates and clients follow.
    let node = |organization: &str, node: &str, port: u16| {
        let namespace = world.organization(organization);
        format!("{{name: {node}, address: \"{node}.{namespace}.svc.cluster.local:{port}\"}}")
    };
    let moved = file
        .replace("orderers: [orderer1, ", &format!("orderers: [{}, ", node("hub", "orderer1", 7050)))
        .replace("peers: [peer1, peer2]", &format!("peers: [{}, peer2]", node("acme", "peer1", 7051)));
    assert_ne!(moved, file);
    converge(&world, &moved).await;
    let topics: Vec<String> = proposals(&world).await.into_iter().map(|(_, topic, _)| topic).collect();
    for topic in ["consenters", "orderer-organization/hub", "anchors/acme"] {
        assert!(topics.iter().any(|other| other == topic), "{topic} of {topics:?}");
    }
    world.phase("Channel", &world.namespace, "settlement", "Active").await;
    nothing_is_doubled(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_roots_reach_the_channel_and_the_nodes() {
    announce("roots");
    let world = World::new("roots").await;
    world.consortium(json!({})).await;
    world.start();
    let file = example(&world.name);
    converge(&world, &file).await;
    let roots = async || {
        let current = configuration(&world).await;
        let config = current.config();
        let hub = &config.orderer.organizations["hub"].msp;
        let acme = &config.application.organizations["acme"].msp;
        [&hub.root_certs, &hub.tls_root_certs, &acme.root_certs, &acme.tls_root_certs].map(Clone::clone)
    };
    let before = roots().await;
    // A longer life than the roots have left: their certificates are made anew, for the same keys.
    let authority = "certificateAuthority: {rootLifetime: 45y}";
    let longer = file
        .replace("- name: hub\n", &format!("- name: hub\n      {authority}\n"))
        .replace("- name: acme\n", &format!("- name: acme\n      {authority}\n"));
    assert_eq!(longer.matches(authority).count(), 2, "{longer}");
    world.kill_again_and_again(KILLS);
    world.commit(&longer);
    for topic in ["orderer-organization/hub", "member/acme"] {
        proposal(&world, topic, "Committed").await;
    }
    let after = roots().await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.len(), after.len()), (1, 1), "the new one takes the old one's place");
        assert_ne!(before, after);
    }
    // Nodes were restarted on the new roots, one after another, and the channel goes on.
    for (organization, kind, node) in [("hub", "Orderer", "orderer3"), ("acme", "Peer", "peer2")] {
        world.phase(kind, &world.organization(organization), node, "Running").await;
    }
    in_sync(&world).await;
    world.phase("Channel", &world.namespace, "settlement", "Active").await;
    converge(&world, &with_channel(&longer, &["batch: {timeout: 1s}"])).await;
    nothing_is_doubled(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_enrolled_and_its_revocation_reaches_the_channel() {
    announce("identities");
    let world = World::new("ident").await;
    world.consortium(json!({})).await;
    world.start();
    converge(&world, &example(&world.name)).await;
    world.kill_at_work_and_while_it_waits(KILLS / 2);
    let acme = world.organization("acme");
    let api = world.objects("Identity", &acme);
    let object = json!({
        "apiVersion": "tenter.dev/v1alpha1", "kind": "Identity", "metadata": {"name": "app", "namespace": acme},
        "spec": {"consortium": world.name, "organization": "acme", "role": "client", "revoked": false},
    });
    let create = |object: Value| serde_json::from_value(object).expect("an object");
    api.create(&PostParams::default(), &create(object)).await.expect("an Identity");
    world.phase("Identity", &acme, "app", "Enrolled").await;
    let secret = Api::<Secret>::namespaced(world.client.clone(), &acme).get("identity-app").await.expect("its Secret");
    let data = secret.data.expect("data");
    let text = |key: &str| String::from_utf8(data[key].0.clone()).expect("PEM");
    let first_key = data["key.pem"].0.clone();
    let app =
        SigningIdentity::load("AcmeMSP", &text("cert.pem"), &SecretKey::from_pem(text("key.pem"))).expect("usable");

    let current = async || configuration(&world).await;
    Judge::new(current().await.config()).may_submit(app.creator(), Timestamp::now()).expect("it may write");

    // Three quarters of its certificate are over while nobody looks: it is renewed, with a new key.
    world.killed(KILLS / 2).await;
    world.kill();
    let old = expires_in(&world, "acme", ("identity-app", "cert.pem"), Role::Client, 100).await;
    world.start();
    let renewed = world
        .eventually("the identity to be renewed", async || {
            let secrets = Api::<Secret>::namespaced(world.client.clone(), &acme);
            let secret = secrets.get("identity-app").await.map_err(|error| error.to_string())?;
            let data = secret.data.unwrap_or_default();
            let text = |key: &str| String::from_utf8(data[key].0.clone()).expect("PEM");
            let certificate = CertificateInfo::from_pem(&text("cert.pem")).map_err(|error| error.to_string())?;
            if certificate.not_after <= old || data["key.pem"].0 == first_key {
                return Err(format!("it ends {}", certificate.not_after));
            }
            let key = SecretKey::from_pem(text("key.pem"));
            SigningIdentity::load("AcmeMSP", &text("cert.pem"), &key).map_err(|error| error.to_string())
        })
        .await;
    Judge::new(current().await.config()).may_submit(renewed.creator(), Timestamp::now()).expect("it may write too");

    world.kill_at_work_and_while_it_waits(KILLS - KILLS / 2);
    let revoked = json!({"spec": {"revoked": true}});
    api.patch("app", &PatchParams::default(), &Patch::Merge(revoked)).await.expect("the revocation");
    world.phase("Identity", &acme, "app", "Revoked").await;
    let update = proposal(&world, "member/acme", "Committed").await;
    assert_eq!(update["status"]["signed"], "AcmeMSP", "its own administrator is enough: {update}");
    world.killed(KILLS).await;
    in_sync(&world).await;
    let live = current().await;
    for (which, identity) in [("the first", &app), ("the renewed", &renewed)] {
        let judged = Judge::new(live.config()).may_submit(identity.creator(), Timestamp::now());
        assert!(judged.is_err(), "{which} is revoked");
    }
    let mut wanted = live.config().clone();
    wanted.orderer.batch.timeout = "9s".to_owned();
    let update = ConfigUpdate::compute(&live, &wanted).expect("a difference");
    let refused = nodes(&world).submit(&orderer(&world), &update, &[], &app).await.expect_err("the orderers refuse it");
    println!("a revoked submitter: {refused:?}");
}
