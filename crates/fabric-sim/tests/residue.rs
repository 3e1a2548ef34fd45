//! What goes wrong on real nodes, and must go wrong here: a consensus log that outlives its channel, orderers with
//! different genesis blocks, certificates that keep a node from starting. And faults on demand.

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

use support::client::{broadcast, connect, fetch, header, newest, only, plain_http, sign};
use support::network::{Network, Node, eventually};
use support::organization::Person;
use support::{Target, targets};
use tenter_fabric_sim::block;
use tenter_fabric_wire::common::HeaderType;

async fn newest_number(network: &Network, node: &Node, person: &Person) -> Result<u64, i32> {
    let channel = connect(node.port, &network.hub.tlsca.pem, None).await.map_err(|_| 0)?;
    fetch(channel, person, "ch1", only(newest())).await.map(|found| block::number(&found))
}

async fn delete(network: &Network, node: &Node) {
    let admin = network.admin(node);
    let path = "/participation/v1/channels/ch1";
    assert_eq!(admin.call("DELETE", path, &[], None).await.unwrap().status, 204);
    eventually("the channel is gone", async || (admin.info("ch1").await.ok()?.0 == 404).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consensus_log_outlives_its_channel() {
    for target in targets() {
        let network = Network::new(target);
        let user = network.acme_user();
        let mut node = network.orderer("orderer1");
        node.start().await;
        let genesis = network.genesis("ch1", &[&node], 1);
        assert_eq!(network.admin(&node).join(&genesis).await.unwrap().status, 201);
        eventually("a leader", async || newest_number(&network, &node, &user).await.ok()).await;
        for _ in 0..2 {
            let channel = connect(node.port, &network.hub.tlsca.pem, None).await.unwrap();
            let envelope = sign(&user, &header(HeaderType::Message, "ch1"), vec![1]);
            assert_eq!(broadcast(channel, envelope).await.0, 200);
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        }
        assert_eq!(newest_number(&network, &node, &user).await, Ok(2));

        // Joined again with the same block, the removed blocks come back.
        delete(&network, &node).await;
        assert_eq!(network.admin(&node).join(&genesis).await.unwrap().status, 201);
        eventually("the blocks are back", async || {
            (network.admin(&node).info("ch1").await.ok()?.1["height"] == 3).then_some(())
        })
        .await;

        // Joined again with another block, the node dies, and dies again at each start.
        delete(&network, &node).await;
        let other = network.genesis("ch1", &[&node], 2);
        let _ = network.admin(&node).join(&other).await;
        let code = node.wait().code();
        assert_eq!(code, Some(2), "{}", node.log());
        node.spawn();
        assert_eq!(node.wait().code(), Some(2));
        assert!(node.log().contains("unexpected Previous block hash"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderer_with_another_genesis_block_gets_no_blocks() {
    let network = Network::new(Target::Simulator);
    let user = network.acme_user();
    let mut nodes: Vec<Node> = (1..=2).map(|n| network.orderer(&format!("orderer{n}"))).collect();
    let blocks = [1, 2].map(|nonce| network.genesis("ch1", &nodes.iter().collect::<Vec<_>>(), nonce));
    for (node, genesis) in nodes.iter_mut().zip(&blocks) {
        node.start().await;
        assert_eq!(network.admin(node).join(genesis).await.unwrap().status, 201);
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    for node in &nodes {
        assert_eq!(newest_number(&network, node, &user).await, Err(503));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_refuse_to_start_without_what_they_need() {
    for target in targets() {
        let network = Network::new(target);
        for (broken, code) in [
            ("tls/server.crt", 1),
            ("msp/signcerts/cert.pem", 2),
            ("msp/keystore/key.pem", 2),
            ("msp/cacerts/ca.pem", 2),
        ] {
            let mut node = network.orderer(&format!("without-{}", broken.replace('/', "-")));
            std::fs::remove_file(node.dir.join(broken)).unwrap();
            node.spawn();
            assert_eq!(node.wait().code(), Some(code), "without {broken}");
        }
        // Another node's TLS key.
        let mut node = network.orderer("mismatch");
        std::fs::write(node.dir.join("tls/server.key"), network.hub.tls("other").1).unwrap();
        node.spawn();
        assert_eq!(node.wait().code(), Some(1), "another node's TLS key");
        // An unknown key in the configuration.
        let mut node = network.orderer("unknown-key");
        let yaml = std::fs::read_to_string(node.dir.join("orderer.yaml")).unwrap();
        std::fs::write(node.dir.join("orderer.yaml"), yaml.replace("ListenPort", "LissenPort")).unwrap();
        node.spawn();
        assert_eq!(node.wait().code(), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_whose_reply_is_lost_has_happened() {
    let network = Network::new(Target::Simulator);
    let mut node = network.orderer("orderer1");
    node.start().await;
    let faults = br#"{"loseJoinReply":1,"fail":{"participation":0}}"#;
    let answer = plain_http(node.operations, "POST", "/sim/faults", Some(faults)).await.unwrap();
    assert_eq!(answer.status, 204);
    let genesis = network.genesis("ch1", &[&node], 1);
    assert!(network.admin(&node).join(&genesis).await.is_err());
    assert_eq!(network.admin(&node).info("ch1").await.unwrap().0, 200);
    assert_eq!(network.admin(&node).join(&genesis).await.unwrap().status, 405);
    let fail = br#"{"fail":{"participation":1}}"#;
    plain_http(node.operations, "POST", "/sim/faults", Some(fail)).await.unwrap();
    assert_eq!(network.admin(&node).info("ch1").await.unwrap().0, 500);
    assert_eq!(network.admin(&node).info("ch1").await.unwrap().0, 200);
}
