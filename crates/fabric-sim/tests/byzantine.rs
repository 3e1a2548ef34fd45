//! BFT channels on running nodes: who signs blocks, what is refused late, what kills them, and how a Raft channel becomes
//! one. The same on real Fabric where its programs are there.

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

use std::time::Duration;

use prost::Message as _;
use support::client::{at, connect, fetch, header, newest, only, sign};
use support::genesis::block_validation;
use support::network::{Node, eventually};
use support::update::{compute, config_of, envelope, orderer_value};
use support::world::{CHANNEL, World, height, join_peer, timeout_of};
use support::{Target, targets};
use tenter_fabric_wire::common::{
    Block, ConfigGroup, ConfigUpdate, Consenter, HeaderType, IdentifierHeader, Metadata, Orderers,
};
use tenter_fabric_wire::orderer::ConsensusType;

/// The ids of the consenters that signed a block.
fn signers(block: &Block) -> Vec<u32> {
    let metadata = Metadata::decode(&block.metadata.as_ref().unwrap().metadata[0][..]).unwrap();
    metadata
        .signatures
        .iter()
        .map(|signature| {
            assert!(signature.signature_header.is_empty());
            IdentifierHeader::decode(&signature.identifier_header[..]).unwrap().identifier
        })
        .collect()
}

fn change_mapping(root: &mut ConfigGroup, change: impl FnOnce(&mut Vec<Consenter>)) -> Vec<Consenter> {
    let value = orderer_value(root, "Orderers");
    let mut orderers = Orderers::decode(&value[..]).unwrap();
    change(&mut orderers.consenter_mapping);
    *value = orderers.encode_to_vec();
    orderers.consenter_mapping
}

/// The update that removes the last consenter, with the policy to match or without.
async fn removal(world: &World, with_policy: bool) -> ConfigUpdate {
    let config = world.config(&world.orderers[0]).await;
    compute(CHANNEL, &config, |root| {
        let all = change_mapping(root, |all| {
            all.pop();
        });
        if with_policy {
            let policies = &mut root.groups.get_mut("Orderer").unwrap().policies;
            policies.insert("BlockValidation".to_owned(), block_validation(&all));
        }
    })
}

/// Blocks carry the signatures of three, and the peer verifies them.
async fn sign_blocks(world: &World, peer: &Node) {
    let config = world.config(&world.orderers[0]).await;
    world.commit(&world.orderers[1], world.timeout_update(&config, "150ms"), 1).await;
    for node in &world.orderers {
        let config = world.reaches(node, 1).await;
        assert_eq!(timeout_of(&config), "150ms");
        let mut ids = signers(&world.read(node, newest()).await.unwrap());
        println!("signed by {ids:?}");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 3);
        assert!(ids.iter().all(|id| (1..=4).contains(id)));
    }
    eventually("the peer has verified the block", async || {
        (height(&world.network.acme, peer, &world.user).await? == 2).then_some(())
    })
    .await;
}

/// Too few signatures are a bad request; a set of consenters that the block policy does not fit is found later.
async fn refuse_late(world: &World) {
    let update = removal(world, false).await;
    assert_eq!(world.send(&world.orderers[0], envelope(&update, &[&world.acme])).await.0, 400);
    let (status, info) = world.send(&world.orderers[0], envelope(&update, &[&world.hub])).await;
    assert_eq!(status, 503);
    assert!(info.starts_with("block validation policy should be a signature policy: type:1"), "{info}");
}

/// Three go on without the fourth. Two do not: the update waits until there are three again, and readers are served
/// all the same.
async fn lose_the_quorum(world: &mut World) {
    world.orderers[3].kill();
    let config = world.config(&world.orderers[0]).await;
    let config = world.commit(&world.orderers[0], world.timeout_update(&config, "160ms"), 2).await;
    world.orderers[2].kill();
    let update = world.timeout_update(&config, "170ms");
    assert_eq!(world.send(&world.orderers[0], update).await, (200, String::new()));
    // Nothing can be waited for here: longer than an election and a batch take.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.config(&world.orderers[0]).await.sequence, 2);
    world.orderers[3].start().await;
    for at in [0, 1, 3] {
        world.reaches(&world.orderers[at], 3).await;
    }
    world.orderers[2].start().await;
    world.reaches(&world.orderers[2], 3).await;
}

/// The fourth leaves, with the policy to match; two of three sign, which bears no fault. It has the block that says so and
/// gets no other, until its next start: then it follows.
async fn remove_one(world: &mut World, peer: &Node) {
    let update = removal(world, true).await;
    let config = world.commit(&world.orderers[0], envelope(&update, &[&world.hub]), 4).await;
    let place = |relation: &str, height| (relation.to_owned(), "active".to_owned(), height);
    eventually("the fourth has the block", async || {
        (world.place(&world.orderers[3]).await? == place("consenter", 5)).then_some(())
    })
    .await;
    let config = world.commit(&world.orderers[0], world.timeout_update(&config, "180ms"), 5).await;
    assert_eq!(timeout_of(&config), "180ms");
    assert_eq!(world.place(&world.orderers[3]).await.unwrap(), place("consenter", 5));
    world.orderers[3].kill();
    world.orderers[3].start().await;
    eventually("the fourth follows", async || {
        (world.place(&world.orderers[3]).await? == place("follower", 6)).then_some(())
    })
    .await;
    let ids = signers(&world.read(&world.orderers[0], newest()).await.unwrap());
    assert!(ids.len() == 2 && ids.iter().all(|id| (1..=3).contains(id)), "{ids:?}");
    eventually("the peer follows", async || (height(&world.network.acme, peer, &world.user).await? == 6).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byzantine_channel_takes_updates() {
    for target in targets() {
        let mut world = World::byzantine(target).await;
        let mut peer = world.network.peer(&world.network.acme, "peer0.acme");
        peer.start().await;
        join_peer(&world.network.acme, &peer, &world.genesis).await;
        sign_blocks(&world, &peer).await;
        refuse_late(&world).await;
        lose_the_quorum(&mut world).await;
        remove_one(&mut world, &peer).await;
    }
}

fn set_state(root: &mut ConfigGroup, state: i32) {
    let value = orderer_value(root, "ConsensusType");
    let kind = ConsensusType { state, ..ConsensusType::decode(&value[..]).unwrap() };
    *value = kind.encode_to_vec();
}

/// From Raft to BFT: into maintenance, the change of type, a restart of all, and out again.
async fn migrate(target: Target) {
    let mut world = World::start(target, 4).await;
    let config = world.config(&world.orderers[0]).await;
    let enter = compute(CHANNEL, &config, |root| set_state(root, 1));
    let config = world.commit(&world.orderers[0], envelope(&enter, &[&world.hub]), 1).await;
    let message = sign(&world.user, &header(HeaderType::EndorserTransaction, CHANNEL), b"hello".to_vec());
    let (status, info) = world.send(&world.orderers[0], message.clone()).await;
    assert_eq!((status, info.as_str()), (503, "normal transactions are rejected: maintenance mode"));
    let channel = connect(world.orderers[0].port, &world.network.hub.tlsca.pem, None).await.unwrap();
    assert_eq!(fetch(channel, &world.user, CHANNEL, only(newest())).await.unwrap_err(), 403);

    let wanted = world.network.bft_genesis(CHANNEL, &world.orderers.iter().collect::<Vec<_>>());
    let wanted = config_of(&wanted).channel_group.unwrap().groups.remove("Orderer").unwrap();
    let update = compute(CHANNEL, &config, |root| {
        let orderer = root.groups.get_mut("Orderer").unwrap();
        orderer.values.insert("Orderers".to_owned(), wanted.values["Orderers"].clone());
        orderer.policies.insert("BlockValidation".to_owned(), wanted.policies["BlockValidation"].clone());
        let mut kind = ConsensusType::decode(&wanted.values["ConsensusType"].value[..]).unwrap();
        kind.state = 1;
        orderer.values.get_mut("ConsensusType").unwrap().value = kind.encode_to_vec();
    });
    world.commit(&world.orderers[0], envelope(&update, &[&world.hub]), 2).await;
    for node in &world.orderers {
        world.reaches(node, 2).await;
    }
    for node in &mut world.orderers {
        node.kill();
    }
    // All at once: what the first one sends to consenters that do not listen yet is lost.
    futures::future::join_all(world.orderers.iter_mut().map(Node::start)).await;
    let config = world.reaches(&world.orderers[0], 2).await;
    let leave = compute(CHANNEL, &config, |root| set_state(root, 0));
    world.commit(&world.orderers[0], envelope(&leave, &[&world.hub]), 3).await;
    assert_eq!(signers(&world.read(&world.orderers[0], newest()).await.unwrap()).len(), 3);
    assert_eq!(world.send(&world.orderers[1], message).await, (200, String::new()));
    eventually("the message's block", async || world.read(&world.orderers[1], at(4)).await.ok()).await;

    // A type that Raft orders is taken as well, and never comes into a block.
    let other = sign(&world.user, &header(HeaderType::Message, CHANNEL), b"hello".to_vec());
    assert_eq!(world.send(&world.orderers[1], other).await, (200, String::new()));
    // Nothing can be waited for here: longer than forwarding it and a batch take.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.place(&world.orderers[1]).await.unwrap().2, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_moves_from_raft_to_bft() {
    for target in targets() {
        migrate(target).await;
    }
}

/// An id that two consenters have is accepted, committed, and the end of all orderers.
#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_id_kills_the_ordering_service() {
    let mut world = World::byzantine(Target::Simulator).await;
    let config = world.config(&world.orderers[0]).await;
    let update = compute(CHANNEL, &config, |root| {
        change_mapping(root, |all| all[3].id = 3);
    });
    let (status, info) = world.send(&world.orderers[0], envelope(&update, &[&world.hub])).await;
    assert_eq!((status, info.as_str()), (200, ""));
    for node in &mut world.orderers {
        assert!(!node.wait().success());
        assert!(node.log().contains("Configuration is invalid, error: nodes contains duplicate IDs, nodes: [1 2 3 3]"));
        node.spawn();
        assert!(!node.wait().success());
    }
}
