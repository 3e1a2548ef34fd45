//! Three orderers and two peers on loopback: join, order, follow, restart, lose the quorum. The same on real Fabric
//! where its programs are there.

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

use prost::Message as _;
use support::client::{at, broadcast, connect, fetch, header, newest, only, proposal, propose, sign};
use support::network::{Network, Node, eventually};
use support::organization::{Organization, Person};
use support::targets;
use tenter_fabric_sim::block;
use tenter_fabric_wire::common::{Block, BlockchainInfo, HeaderType};
use tenter_fabric_wire::protos::ChannelQueryResponse;

async fn read(
    network: &Network,
    node: &Node,
    person: &Person,
    position: Option<tenter_fabric_wire::orderer::SeekPosition>,
) -> Result<Block, i32> {
    let channel = connect(node.port, &network.hub.tlsca.pem, None).await.map_err(|_| 0)?;
    fetch(channel, person, "ch1", only(position)).await
}

async fn height(org: &Organization, node: &Node, person: &Person) -> Option<u64> {
    let channel = connect(node.port, &org.tlsca.pem, None).await.ok()?;
    let answer = propose(channel, proposal(person, "ch1", "qscc", &[b"GetChainInfo", b"ch1"])).await.ok()?;
    let response = answer.response?;
    (response.status == 200).then(|| BlockchainInfo::decode(&response.payload[..]).unwrap().height)
}

async fn join_peer(org: &Organization, node: &Node, genesis: &Block) {
    let admin = org.person("admin", "admin");
    let bytes = genesis.encode_to_vec();
    let channel = connect(node.port, &org.tlsca.pem, None).await.unwrap();
    let answer = propose(channel.clone(), proposal(&admin, "", "cscc", &[b"JoinChain", &bytes])).await.unwrap();
    assert_eq!(answer.response.unwrap().status, 200);
    let again = propose(channel.clone(), proposal(&admin, "", "cscc", &[b"JoinChain", &bytes])).await.unwrap();
    assert_eq!(
        again.response.unwrap().message,
        "cannot create ledger from genesis block: ledger [ch1] already exists with state [ACTIVE]"
    );
    let list = propose(channel, proposal(&admin, "", "cscc", &[b"GetChannels"])).await.unwrap();
    let list = ChannelQueryResponse::decode(&list.response.unwrap().payload[..]).unwrap();
    assert_eq!(list.channels[0].channel_id, "ch1");
}

/// Orders one message on top of a chain of `tip` blocks through one orderer, and returns the height that follows.
async fn order(network: &Network, node: &Node, person: &Person, tip: u64) -> u64 {
    let before = eventually("the newest block", async || read(network, node, person, at(tip - 1)).await.ok()).await;
    let envelope = sign(person, &header(HeaderType::Message, "ch1"), b"hello".to_vec());
    let channel = connect(node.port, &network.hub.tlsca.pem, None).await.unwrap();
    assert_eq!(broadcast(channel, envelope).await, (200, String::new()));
    let found = eventually("the ordered block", async || read(network, node, person, at(tip)).await.ok()).await;
    assert!(block::continues(&found, tip, &block::hash(&before)).is_ok());
    tip + 1
}

async fn run(network: Network) {
    let mut orderers: Vec<Node> = (1..=3).map(|n| network.orderer(&format!("orderer{n}"))).collect();
    let genesis = network.genesis("ch1", &orderers.iter().collect::<Vec<_>>(), 1);
    for node in &mut orderers {
        node.start().await;
        let answer = network.admin(node).join(&genesis).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.header("Location"), Some("/participation/v1/channels/ch1"));
    }
    let user = network.acme_user();
    let mut peers = [network.peer(&network.acme, "peer0.acme"), network.peer(&network.globex, "peer0.globex")];
    for (node, org) in peers.iter_mut().zip([&network.acme, &network.globex]) {
        node.start().await;
        join_peer(org, node, &genesis).await;
    }
    let mut tip = 1;
    for node in &orderers {
        tip = order(&network, node, &user, tip).await;
    }
    assert_eq!(tip, 4);
    for (node, org) in peers.iter().zip([&network.acme, &network.globex]) {
        eventually("the peer catches up", async || (height(org, node, &user).await? == tip).then_some(())).await;
    }

    // A consenter that was down for a while catches up.
    orderers[2].kill();
    tip = order(&network, &orderers[0], &user, tip).await;
    orderers[2].start().await;
    let caught_up = eventually("the restarted orderer has the block", async || {
        read(&network, &orderers[2], &user, at(tip - 1)).await.ok()
    })
    .await;
    let original = read(&network, &orderers[0], &user, at(tip - 1)).await.unwrap();
    assert_eq!(caught_up.header, original.header);

    // A restarted peer keeps its ledger and goes on.
    peers[0].kill();
    peers[0].start().await;
    tip = order(&network, &orderers[1], &user, tip).await;
    eventually("the restarted peer goes on", async || {
        (height(&network.acme, &peers[0], &user).await? == tip).then_some(())
    })
    .await;

    // Without a quorum: Deliver and Broadcast refuse, status and health stay green.
    orderers[1].kill();
    orderers[2].kill();
    eventually("Deliver refuses", async || {
        (read(&network, &orderers[0], &user, newest()).await == Err(503)).then_some(())
    })
    .await;
    let channel = connect(orderers[0].port, &network.hub.tlsca.pem, None).await.unwrap();
    let envelope = sign(&user, &header(HeaderType::Message, "ch1"), b"lost".to_vec());
    assert_eq!(broadcast(channel.clone(), envelope).await, (503, "no Raft leader".to_owned()));
    let mut best_effort = only(newest());
    best_effort.error_response = 1;
    assert!(fetch(channel, &user, "ch1", best_effort).await.is_ok());
    let (status, info) = network.admin(&orderers[0]).info("ch1").await.unwrap();
    assert_eq!(
        (status, info["status"].as_str(), info["consensusRelation"].as_str()),
        (200, Some("active"), Some("consenter"))
    );
    eventually("no active nodes", async || {
        (orderers[0].metric("consensus_etcdraft_active_nodes", "ch1").await? == 0.0).then_some(())
    })
    .await;

    // It comes back with one more.
    orderers[1].start().await;
    assert_eq!(order(&network, &orderers[1], &user, tip).await, tip + 1);

    let (ended, took) = orderers[0].terminate();
    println!("the orderer ended with {ended} after {took:?}");
    assert!(took.as_secs() < 2);
    let (ended, took) = peers[1].terminate();
    println!("the peer ended with {ended} after {took:?}");
    assert!(took.as_secs() < 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_orders_restarts_and_loses_its_quorum() {
    for target in targets() {
        run(Network::new(target)).await;
    }
}

/// A node that is not a consenter follows: 0 blocks at first, then active, and it serves neither Deliver nor Broadcast.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_no_consenter_follows() {
    for target in targets() {
        let network = Network::new(target);
        let (mut orderer, mut follower) = (network.orderer("orderer1"), network.orderer("follower"));
        let genesis = network.genesis("ch1", &[&orderer], 1);
        let user = network.acme_user();
        orderer.start().await;
        follower.start().await;
        assert_eq!(network.admin(&orderer).join(&genesis).await.unwrap().status, 201);
        order(&network, &orderer, &user, 1).await;
        let answer = network.admin(&follower).join(&genesis).await.unwrap();
        let joined: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(joined["consensusRelation"], "follower");
        assert_eq!(joined["status"], "onboarding");
        assert_eq!(joined["height"], 0);
        let active = async |node: &Node| {
            let (_, info) = network.admin(node).info("ch1").await.ok()?;
            (info["status"] == "active" && info["height"] == 2).then_some(())
        };
        eventually("the follower is active", async || active(&follower).await).await;
        assert_eq!(read(&network, &follower, &user, at(0)).await, Err(404));
        follower.kill();
        follower.start().await;
        eventually("the follower is active again", async || active(&follower).await).await;
    }
}
