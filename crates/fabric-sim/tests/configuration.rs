//! Config updates on running nodes: what is committed, who follows, what is lost on the way. The same on real Fabric
//! where its programs are there, but for the simulated faults.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::similar_names,
    clippy::unnecessary_wraps,
    clippy::zero_sized_map_values,
    clippy::too_many_lines,
    reason = "helpers of tests fail loudly; each test uses another part of them"
)]

mod support;

use std::time::{Duration, Instant};

use prost::Message as _;
use support::client::{at, connect, fetch, header, newest, only, sign};
use support::genesis::application_org;
use support::network::{Node, eventually};
use support::organization::Organization;
use support::update::{compute, config_of, envelope, orderer_value};
use support::world::{CHANNEL, World, change_timeout, height, join_peer, timeout_of};
use support::{Target, targets};
use tenter_fabric_sim::block;
use tenter_fabric_wire::common::{Capabilities, Capability, ConfigGroup, Envelope, HeaderType};
use tenter_fabric_wire::etcdraft::{ConfigMetadata, Consenter};
use tenter_fabric_wire::orderer::ConsensusType;

/// A changed batch timeout is in force on all orderers, and messages are cut by it.
async fn change_the_batch_timeout(world: &World) {
    let start = world.config(&world.orderers[0]).await;
    assert_eq!((start.sequence, timeout_of(&start)), (0, "100ms".to_owned()));
    let update = change_timeout(&start, "1200ms");
    let (status, info) = world.send(&world.orderers[1], envelope(&update, &[&world.acme, &world.globex])).await;
    assert_eq!(status, 400);
    assert!(info.contains("policy for [Value]  /Channel/Orderer/BatchTimeout not satisfied"), "{info}");
    world.commit(&world.orderers[1], envelope(&update, &[&world.hub]), 1).await;
    for node in &world.orderers {
        let config = world.reaches(node, 1).await;
        assert_eq!(timeout_of(&config), "1200ms");
        let last = world.read(node, newest()).await.unwrap();
        assert_eq!((block::number(&last), block::last_config(&last)), (1, Some(1)));
    }
    // The same again: its version is not the next one any more.
    let (status, info) = world.send(&world.orderers[0], envelope(&update, &[&world.hub])).await;
    assert_eq!(status, 400);
    let stale = "attempt to set key [Value]  /Channel/Orderer/BatchTimeout to version 1, but key is at version 1";
    assert!(info.ends_with(stale), "{info}");
    let message = sign(&world.user, &header(HeaderType::Message, CHANNEL), b"hello".to_vec());
    let sent = Instant::now();
    world.ordered(&world.orderers[2], message).await;
    eventually("the message's block", async || world.read(&world.orderers[2], at(2)).await.ok()).await;
    assert!(sent.elapsed() >= Duration::from_secs(1), "{:?}", sent.elapsed());
}

/// An organisation is added, with one orderer down and another restarted afterwards. Its peer, which could read nothing
/// before, catches up, and its administrator has a say.
async fn add_an_organization(world: &mut World) {
    let umbrella = Organization::new("Umbrella");
    let outsider = umbrella.person("user1", "client");
    let mut peer = world.network.peer(&umbrella, "peer0.umbrella");
    peer.start().await;
    join_peer(&umbrella, &peer, &world.genesis).await;
    let channel = connect(world.orderers[0].port, &world.network.hub.tlsca.pem, None).await.unwrap();
    assert_eq!(fetch(channel, &outsider, CHANNEL, only(newest())).await.unwrap_err(), 403);

    world.orderers[2].kill();
    let config = world.reaches(&world.orderers[0], 1).await;
    let update = compute(CHANNEL, &config, |root| {
        let orgs = &mut root.groups.get_mut("Application").unwrap().groups;
        orgs.insert(umbrella.msp_id.clone(), application_org(&umbrella));
    });
    assert_eq!(world.send(&world.orderers[0], envelope(&update, &[&world.acme])).await.0, 400);
    let signed = envelope(&update, &[&world.acme, &world.globex]);
    let added = world.commit(&world.orderers[0], signed, 2).await;
    assert!(added.channel_group.unwrap().groups["Application"].groups.contains_key(&umbrella.msp_id));
    world.orderers[0].kill();
    world.orderers[0].start().await;
    world.orderers[2].start().await;
    for node in &world.orderers {
        world.reaches(node, 2).await;
    }
    let wanted = block::number(&world.read(&world.orderers[0], newest()).await.unwrap()) + 1;
    eventually("the new organisation's peer catches up", async || {
        (height(&umbrella, &peer, &outsider).await? == wanted).then_some(())
    })
    .await;

    let config = world.config(&world.orderers[1]).await;
    let update = compute(CHANNEL, &config, |root| {
        let org = root.groups.get_mut("Application").unwrap().groups.get_mut(&umbrella.msp_id).unwrap();
        "Readers".clone_into(&mut org.policies.get_mut("Endorsement").unwrap().mod_policy);
    });
    world.commit(&world.orderers[1], envelope(&update, &[&umbrella.person("admin", "admin")]), 3).await;
    eventually("the peer follows", async || (height(&umbrella, &peer, &outsider).await? == wanted + 1).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_are_committed_and_followed() {
    for target in targets() {
        let mut world = World::start(target, 3).await;
        change_the_batch_timeout(&world).await;
        add_an_organization(&mut world).await;
    }
}

fn change_consenters(root: &mut ConfigGroup, change: impl FnOnce(&mut Vec<Consenter>)) {
    let value = orderer_value(root, "ConsensusType");
    let mut kind = ConsensusType::decode(&value[..]).unwrap();
    let mut metadata = ConfigMetadata::decode(&kind.metadata[..]).unwrap();
    change(&mut metadata.consenters);
    kind.metadata = metadata.encode_to_vec();
    *value = kind.encode_to_vec();
}

/// The update that removes a node from the consenters.
async fn removal(world: &World, node: &Node) -> Envelope {
    let certificate = node.tls.clone().into_bytes();
    let config = world.config(&world.orderers[0]).await;
    let update = compute(CHANNEL, &config, |root| {
        change_consenters(root, |all| all.retain(|consenter| consenter.client_tls_cert != certificate));
    });
    envelope(&update, &[&world.hub])
}

/// A node that follows the channel becomes a consenter.
async fn add_a_consenter(world: &World) -> Node {
    let mut fourth = world.network.orderer("orderer4");
    fourth.start().await;
    assert_eq!(world.network.admin(&fourth).join(&world.genesis).await.unwrap().status, 201);
    world.becomes(&fourth, "follower").await;
    let config = world.config(&world.orderers[0]).await;
    let consenter = Consenter {
        host: "127.0.0.1".to_owned(),
        port: u32::from(fourth.port),
        client_tls_cert: fourth.tls.clone().into_bytes(),
        server_tls_cert: fourth.tls.clone().into_bytes(),
    };
    let two =
        [consenter.clone(), Consenter { client_tls_cert: world.network.hub.tls("x").0.into(), ..consenter.clone() }];
    let update = compute(CHANNEL, &config, |root| change_consenters(root, |all| all.extend(two)));
    let (status, info) = world.send(&world.orderers[0], envelope(&update, &[&world.hub])).await;
    assert_eq!(status, 400, "{info}");
    let update = compute(CHANNEL, &config, |root| change_consenters(root, |all| all.push(consenter)));
    world.commit(&world.orderers[0], envelope(&update, &[&world.hub]), 1).await;
    world.becomes(&fourth, "consenter").await;
    world.reaches(&fourth, 1).await;
    fourth
}

/// The leader is removed, and follows.
async fn remove_the_leader(world: &mut World, fourth: &Node) {
    let leader = eventually("a leader among the first three", async || {
        for (at, node) in world.orderers.iter().enumerate() {
            if node.metric("consensus_etcdraft_is_leader", CHANNEL).await.is_some_and(|leads| leads > 0.5) {
                return Some(at);
            }
        }
        None
    })
    .await;
    let gone = world.orderers.remove(leader);
    let update = removal(world, &gone).await;
    world.commit(&world.orderers[0], update, 2).await;
    for node in world.orderers.iter().chain([fourth]) {
        world.reaches(node, 2).await;
    }
    eventually("the removed one follows", async || {
        (world.place(&gone).await? == ("follower".to_owned(), "active".to_owned(), 3)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consenters_come_and_go() {
    for target in targets() {
        let mut world = World::start(target, 3).await;
        let fourth = add_a_consenter(&world).await;
        remove_the_leader(&mut world, &fourth).await;
        // With one of three down, the remaining two still decide, and no one else may go.
        world.orderers[1].kill();
        let config = world.config(&world.orderers[0]).await;
        world.commit(&world.orderers[0], world.timeout_update(&config, "150ms"), 3).await;
        world.reaches(&fourth, 3).await;
        let update = removal(&world, &fourth).await;
        eventually("the loss of the third is noticed", async || {
            let active = world.orderers[0].metric("consensus_etcdraft_active_nodes", CHANNEL).await?;
            (active < 2.5 && active > 1.5).then_some(())
        })
        .await;
        let (status, info) = world.send(&world.orderers[0], update).await;
        assert_eq!(status, 400);
        assert!(info.ends_with("2 out of 3 nodes are alive, configuration will result in quorum loss"), "{info}");
        // The one that is down may go; when it comes back it finds out and follows.
        let update = removal(&world, &world.orderers[1]).await;
        world.commit(&world.orderers[0], update, 4).await;
        world.orderers[1].start().await;
        world.becomes(&world.orderers[1], "follower").await;
    }
}

/// An update that leaves out the Raft metadata is accepted, and every orderer dies of it, again after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn empty_raft_metadata_kills_the_ordering_service() {
    let mut world = World::start(Target::Simulator, 3).await;
    let config = world.config(&world.orderers[0]).await;
    let update = compute(CHANNEL, &config, |root| {
        let value = orderer_value(root, "ConsensusType");
        *value = ConsensusType { r#type: "etcdraft".to_owned(), ..ConsensusType::default() }.encode_to_vec();
    });
    world.ordered(&world.orderers[0], envelope(&update, &[&world.hub])).await;
    for node in &mut world.orderers {
        assert!(!node.wait().success());
        assert!(node.log().contains("requested changes: add 0 node(s), remove 3 node(s)"), "{}", node.log());
    }
    let first = &mut world.orderers[0];
    first.spawn();
    assert!(!first.wait().success());
}

/// The peer does not serve a channel with an application capability that it does not know; the orderer does.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_application_capability_stops_peers() {
    let world = World::start(Target::Simulator, 1).await;
    let mut peer = world.network.peer(&world.network.acme, "peer0.acme");
    peer.start().await;
    join_peer(&world.network.acme, &peer, &world.genesis).await;
    let config = world.config(&world.orderers[0]).await;
    let update = compute(CHANNEL, &config, |root| {
        let application = root.groups.get_mut("Application").unwrap();
        let value = &mut application.values.get_mut("Capabilities").unwrap().value;
        *value = Capabilities { capabilities: [("V9_9".to_owned(), Capability {})].into() }.encode_to_vec();
    });
    let signed = envelope(&update, &[&world.acme, &world.globex]);
    world.commit(&world.orderers[0], signed, 1).await;
    assert!(!peer.wait().success());
    peer.spawn();
    assert!(!peer.wait().success());
}

/// Lost replies, lost updates, late commits, no leader.
#[tokio::test(flavor = "multi_thread")]
async fn faults_are_simulated() {
    let mut world = World::start(Target::Simulator, 1).await;
    let config = world.config(&world.orderers[0]).await;
    let node = &world.orderers[0];

    // The reply is lost, the update is not.
    world.fault(node, r#"{"loseBroadcastReply": 1}"#).await;
    let channel = connect(node.port, &world.network.hub.tlsca.pem, None).await.unwrap();
    let mut client = tenter_fabric_wire::service::atomic_broadcast_client::AtomicBroadcastClient::new(channel);
    let update = world.timeout_update(&config, "110ms");
    let lost = match client.broadcast(tokio_stream::iter([update])).await {
        Err(_) => true,
        Ok(replies) => !matches!(replies.into_inner().message().await, Ok(Some(_))),
    };
    assert!(lost);
    let config = world.reaches(node, 1).await;

    // The update is lost, though the answer is success.
    world.fault(node, r#"{"loseUpdate": 1}"#).await;
    assert_eq!(world.send(node, world.timeout_update(&config, "120ms")).await, (200, String::new()));
    let message = sign(&world.user, &header(HeaderType::Message, CHANNEL), b"after".to_vec());
    assert_eq!(world.send(node, message).await.0, 200);
    eventually("a later message's block", async || world.read(node, at(2)).await.ok()).await;
    assert_eq!(world.config(node).await.sequence, 1);

    // The commit takes its time.
    world.fault(node, r#"{"commitDelayMs": 800}"#).await;
    let sent = Instant::now();
    assert_eq!(world.send(node, world.timeout_update(&config, "130ms")).await.0, 200);
    let config = world.reaches(node, 2).await;
    assert!(sent.elapsed() >= Duration::from_millis(800), "{:?}", sent.elapsed());

    // Without a leader the update is judged all the same.
    world.fault(node, r#"{"leaderless": true}"#).await;
    let good = world.timeout_update(&config, "140ms");
    assert_eq!(world.send(node, good.clone()).await, (503, "no Raft leader".to_owned()));
    let unsigned = envelope(&change_timeout(&config, "1s"), &[&world.acme]);
    assert_eq!(world.send(node, unsigned).await.0, 400);

    // A restart forgets the faults and keeps the rest.
    world.orderers[0].kill();
    world.orderers[0].start().await;
    let config = world.commit(&world.orderers[0], good, 3).await;
    assert_eq!(timeout_of(&config), "140ms");
}

/// Two updates of different elements from the same base both commit; of two of the same element, the later is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn an_overtaken_update_is_judged_again() {
    let world = World::start(Target::Simulator, 1).await;
    let node = &world.orderers[0];
    let config = world.config(node).await;
    world.fault(node, r#"{"commitDelayMs": 1500}"#).await;
    let first = world.timeout_update(&config, "110ms");
    let second = world.timeout_update(&config, "120ms");
    let disjoint = compute(CHANNEL, &config, |root| {
        let application = root.groups.get_mut("Application").unwrap();
        "Readers".clone_into(&mut application.policies.get_mut("Endorsement").unwrap().mod_policy);
    });
    world.ordered(node, first).await;
    assert_eq!(world.send(node, second).await.0, 200);
    assert_eq!(world.send(node, envelope(&disjoint, &[&world.acme, &world.globex])).await.0, 200);
    let config = world.reaches(node, 2).await;
    assert_eq!(timeout_of(&config), "110ms");
    let application = &config.channel_group.as_ref().unwrap().groups["Application"];
    assert_eq!(application.policies["Endorsement"].mod_policy, "Readers");
}

/// The admin API's PUT, where it does not lock up: on a channel that the node orders.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_takes_updates() {
    let world = World::start(Target::Simulator, 1).await;
    let node = &world.orderers[0];
    let config = eventually("a leader", async || world.config_block(node).await.map(|block| config_of(&block))).await;
    let put = async |update: Envelope| {
        world.network.admin(node).upload("PUT", "config-update-envelope", &update.encode_to_vec()).await.unwrap()
    };
    let answer = put(envelope(&change_timeout(&config, "110ms"), &[&world.acme])).await;
    assert_eq!(answer.status, 400);
    let text = "cannot update: failed update config of channel ch1: error applying config update to existing channel";
    assert!(answer.text().contains(text), "{}", answer.text());
    let answer = put(world.timeout_update(&config, "110ms")).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let config = world.reaches(node, 1).await;
    assert_eq!(timeout_of(&config), "110ms");
}
