//! Config updates on running nodes: what is committed, who follows, what is lost on the way. The same on real Fabric
//! where `FABRIC_BIN_DIR` has it, but for the simulated faults.

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
use support::client::{at, broadcast, connect, fetch, header, newest, only, plain_http, proposal, propose, sign};
use support::genesis::application_org;
use support::network::{Network, Node, eventually};
use support::organization::{Organization, Person};
use support::update::{compute, config_of, envelope, orderer_value};
use support::{Target, targets};
use tenter_fabric_sim::block;
use tenter_fabric_wire::common::{Block, BlockchainInfo, Config, ConfigGroup, Envelope, HeaderType};
use tenter_fabric_wire::etcdraft::ConfigMetadata;
use tenter_fabric_wire::orderer::{BatchTimeout, ConsensusType};

const CHANNEL: &str = "ch1";

/// A network with one channel on some orderers, and the people who may change it.
struct World {
    network: Network,
    orderers: Vec<Node>,
    genesis: Block,
    hub: Person,
    acme: Person,
    globex: Person,
    user: Person,
}

impl World {
    async fn start(target: Target, consenters: usize) -> Self {
        let network = Network::new(target);
        let mut orderers: Vec<Node> = (1..=consenters).map(|n| network.orderer(&format!("orderer{n}"))).collect();
        let genesis = network.genesis(CHANNEL, &orderers.iter().collect::<Vec<_>>(), 1);
        for node in &mut orderers {
            node.start().await;
            assert_eq!(network.admin(node).join(&genesis).await.unwrap().status, 201);
        }
        Self {
            hub: network.hub.person("admin", "admin"),
            acme: network.acme.person("admin", "admin"),
            globex: network.globex.person("admin", "admin"),
            user: network.acme_user(),
            network,
            orderers,
            genesis,
        }
    }

    async fn send(&self, node: &Node, message: Envelope) -> (i32, String) {
        let channel = connect(node.port, &self.network.hub.tlsca.pem, None).await.unwrap();
        broadcast(channel, message).await
    }

    /// Sends until there is a leader to take it.
    async fn ordered(&self, node: &Node, message: Envelope) {
        eventually("the message is taken", async || {
            let (status, info) = self.send(node, message.clone()).await;
            assert!(status == 200 || status == 503, "{status} {info}");
            (status == 200).then_some(())
        })
        .await;
    }

    async fn read(
        &self,
        node: &Node,
        position: Option<tenter_fabric_wire::orderer::SeekPosition>,
    ) -> Result<Block, i32> {
        let channel = connect(node.port, &self.network.hub.tlsca.pem, None).await.map_err(|_| 0)?;
        fetch(channel, &self.user, CHANNEL, only(position)).await
    }

    /// The config block in force, as one node has it.
    async fn config_block(&self, node: &Node) -> Option<Block> {
        let last = self.read(node, newest()).await.ok()?;
        self.read(node, at(block::last_config(&last)?)).await.ok()
    }

    async fn config(&self, node: &Node) -> Config {
        config_of(&eventually("a config block", async || self.config_block(node).await).await)
    }

    /// Waits until a node has the configuration with this sequence.
    async fn reaches(&self, node: &Node, sequence: u64) -> Config {
        eventually("the configuration", async || {
            let config = config_of(&self.config_block(node).await?);
            (config.sequence == sequence).then_some(config)
        })
        .await
    }

    fn timeout_update(&self, config: &Config, timeout: &str) -> Envelope {
        let update = compute(CHANNEL, config, |root| {
            *orderer_value(root, "BatchTimeout") = BatchTimeout { timeout: timeout.to_owned() }.encode_to_vec();
        });
        envelope(&update, &[&self.hub])
    }

    async fn fault(&self, node: &Node, json: &str) {
        let answer = plain_http(node.operations, "POST", "/sim/faults", Some(json.as_bytes())).await.unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

fn timeout_of(config: &Config) -> String {
    let value = &config.channel_group.as_ref().unwrap().groups["Orderer"].values["BatchTimeout"].value;
    BatchTimeout::decode(&value[..]).unwrap().timeout
}

async fn height(org: &Organization, node: &Node, person: &Person) -> Option<u64> {
    let channel = connect(node.port, &org.tlsca.pem, None).await.ok()?;
    let answer = propose(channel, proposal(person, "ch1", "qscc", &[b"GetChainInfo", b"ch1"])).await.ok()?;
    let response = answer.response?;
    (response.status == 200).then(|| BlockchainInfo::decode(&response.payload[..]).unwrap().height)
}

async fn join_peer(org: &Organization, node: &Node, genesis: &Block) {
    let admin = org.person("admin", "admin");
    let channel = connect(node.port, &org.tlsca.pem, None).await.unwrap();
    let bytes = genesis.encode_to_vec();
    let answer = propose(channel, proposal(&admin, "", "cscc", &[b"JoinChain", &bytes])).await.unwrap();
    let response = answer.response.unwrap();
    assert_eq!(response.status, 200, "{}", response.message);
}

/// A changed batch timeout is in force on all orderers, also on one that was restarted or down, and messages are cut by
/// it. An organisation that is added has its peer catch up.
async fn follow_updates(target: Target) {
    let mut world = World::start(target, 3).await;
    let umbrella = Organization::new("Umbrella");
    let start = world.config(&world.orderers[0]).await;
    assert_eq!((start.sequence, timeout_of(&start)), (0, "100ms".to_owned()));

    // Too few signatures, then enough.
    let update = compute(CHANNEL, &start, |root| {
        *orderer_value(root, "BatchTimeout") = BatchTimeout { timeout: "1200ms".to_owned() }.encode_to_vec();
    });
    let (status, info) = world.send(&world.orderers[1], envelope(&update, &[&world.acme, &world.globex])).await;
    assert_eq!(status, 400);
    assert!(info.contains("policy for [Value]  /Channel/Orderer/BatchTimeout not satisfied"), "{info}");
    world.ordered(&world.orderers[1], envelope(&update, &[&world.hub])).await;
    for node in &world.orderers {
        let config = world.reaches(node, 1).await;
        assert_eq!(timeout_of(&config), "1200ms");
        let last = world.read(node, newest()).await.unwrap();
        assert_eq!((block::number(&last), block::last_config(&last)), (1, Some(1)));
    }
    // The same again: its version is not the next one any more.
    let (status, info) = world.send(&world.orderers[0], envelope(&update, &[&world.hub])).await;
    assert_eq!(status, 400);
    assert!(
        info.contains(
            "attempt to set key [Value]  /Channel/Orderer/BatchTimeout to version 1, but key is at version 1"
        ),
        "{info}"
    );

    // A message waits that long for its block.
    let message = sign(&world.user, &header(HeaderType::Message, CHANNEL), b"hello".to_vec());
    let sent = Instant::now();
    world.ordered(&world.orderers[2], message).await;
    eventually("the message's block", async || world.read(&world.orderers[2], at(2)).await.ok()).await;
    assert!(sent.elapsed() >= Duration::from_millis(1000), "{:?}", sent.elapsed());

    // An organisation that is not in the channel reads nothing. Its peer joins nevertheless, and waits.
    let mut peer = world.network.peer(&umbrella, "peer0.umbrella");
    peer.start().await;
    join_peer(&umbrella, &peer, &world.genesis).await;
    let outsider = umbrella.person("user1", "client");
    let channel = connect(world.orderers[0].port, &world.network.hub.tlsca.pem, None).await.unwrap();
    assert_eq!(fetch(channel, &outsider, CHANNEL, only(newest())).await.unwrap_err(), 403);

    // It is added while one orderer is down; a restart in between changes nothing.
    world.orderers[2].kill();
    let config = world.reaches(&world.orderers[0], 1).await;
    let update = compute(CHANNEL, &config, |root| {
        let orgs = &mut root.groups.get_mut("Application").unwrap().groups;
        orgs.insert(umbrella.msp_id.clone(), application_org(&umbrella));
    });
    let (status, _) = world.send(&world.orderers[0], envelope(&update, &[&world.acme])).await;
    assert!(status == 400 || status == 503, "{status}");
    world.ordered(&world.orderers[0], envelope(&update, &[&world.acme, &world.globex])).await;
    let added = world.reaches(&world.orderers[0], 2).await;
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
    // Its own admin counts now.
    let config = world.config(&world.orderers[1]).await;
    let update = compute(CHANNEL, &config, |root| {
        let org = root.groups.get_mut("Application").unwrap().groups.get_mut(&umbrella.msp_id).unwrap();
        org.policies.get_mut("Endorsement").unwrap().mod_policy = "Readers".to_owned();
    });
    world.ordered(&world.orderers[1], envelope(&update, &[&umbrella.person("admin", "admin")])).await;
    world.reaches(&world.orderers[1], 3).await;
    eventually("the peer follows", async || (height(&umbrella, &peer, &outsider).await? == wanted + 1).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_are_committed_and_followed() {
    for target in targets() {
        follow_updates(target).await;
    }
}

fn change_consenters(root: &mut ConfigGroup, change: impl FnOnce(&mut Vec<tenter_fabric_wire::etcdraft::Consenter>)) {
    let value = orderer_value(root, "ConsensusType");
    let mut kind = ConsensusType::decode(&value[..]).unwrap();
    let mut metadata = ConfigMetadata::decode(&kind.metadata[..]).unwrap();
    change(&mut metadata.consenters);
    kind.metadata = metadata.encode_to_vec();
    *value = kind.encode_to_vec();
}

/// A follower becomes a consenter, the leader is removed and follows, and a quorum of the rest goes on.
async fn move_consenters(target: Target) {
    let mut world = World::start(target, 3).await;
    let mut fourth = world.network.orderer("orderer4");
    fourth.start().await;
    let relation = async |node: &Node| {
        let (_, info) = world.network.admin(node).info(CHANNEL).await.ok()?;
        Some((info["consensusRelation"].as_str()?.to_owned(), info["status"].as_str()?.to_owned()))
    };
    let is = async |node: &Node, relation_wanted: &str| {
        (relation(node).await? == (relation_wanted.to_owned(), "active".to_owned())).then_some(())
    };
    assert_eq!(world.network.admin(&fourth).join(&world.genesis).await.unwrap().status, 201);
    eventually("the fourth follows", async || is(&fourth, "follower").await).await;
    let config = world.config(&world.orderers[0]).await;
    let consenter = tenter_fabric_wire::etcdraft::Consenter {
        host: "127.0.0.1".to_owned(),
        port: u32::from(fourth.port),
        client_tls_cert: fourth.tls.clone().into_bytes(),
        server_tls_cert: fourth.tls.clone().into_bytes(),
    };
    let update = compute(CHANNEL, &config, |root| change_consenters(root, |all| all.push(consenter)));
    world.ordered(&world.orderers[0], envelope(&update, &[&world.hub])).await;
    world.reaches(&world.orderers[0], 1).await;
    eventually("the fourth orders", async || is(&fourth, "consenter").await).await;
    world.reaches(&fourth, 1).await;

    // The leader goes.
    let leader = eventually("a leader", async || {
        for (at, node) in world.orderers.iter().enumerate() {
            if node.metric("consensus_etcdraft_is_leader", CHANNEL).await == Some(1.0) {
                return Some(at);
            }
        }
        None
    })
    .await;
    let gone = world.orderers.remove(leader);
    let certificate = gone.tls.clone().into_bytes();
    let config = world.config(&world.orderers[0]).await;
    let update = compute(CHANNEL, &config, |root| {
        change_consenters(root, |all| all.retain(|consenter| consenter.client_tls_cert != certificate));
    });
    world.ordered(&world.orderers[0], envelope(&update, &[&world.hub])).await;
    for node in world.orderers.iter().chain([&fourth]) {
        world.reaches(node, 2).await;
    }
    eventually("the removed one follows", async || {
        let (_, info) = world.network.admin(&gone).info(CHANNEL).await.ok()?;
        (info["consensusRelation"] == "follower" && info["height"] == 3).then_some(())
    })
    .await;
    // With one of three down, the remaining two still decide, and no one else may go.
    world.orderers[1].kill();
    let config = world.config(&world.orderers[0]).await;
    world.ordered(&world.orderers[0], world.timeout_update(&config, "150ms")).await;
    world.reaches(&fourth, 3).await;
    let config = world.config(&world.orderers[0]).await;
    let certificate = fourth.tls.clone().into_bytes();
    let update = compute(CHANNEL, &config, |root| {
        change_consenters(root, |all| all.retain(|consenter| consenter.client_tls_cert != certificate));
    });
    let (status, info) = eventually("the loss of the third is noticed", async || {
        let active = world.orderers[0].metric("consensus_etcdraft_active_nodes", CHANNEL).await?;
        if active != 2.0 {
            return None;
        }
        Some(world.send(&world.orderers[0], envelope(&update, &[&world.hub])).await)
    })
    .await;
    assert_eq!(status, 400);
    assert!(info.ends_with("2 out of 3 nodes are alive, configuration will result in quorum loss"), "{info}");
}

#[tokio::test(flavor = "multi_thread")]
async fn consenters_come_and_go() {
    for target in targets() {
        move_consenters(target).await;
    }
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
    let update = compute(CHANNEL, &config, |root| {
        *orderer_value(root, "BatchTimeout") = BatchTimeout { timeout: "1s".to_owned() }.encode_to_vec();
    });
    assert_eq!(world.send(node, envelope(&update, &[&world.acme])).await.0, 400);

    // A restart forgets the faults and keeps the rest.
    world.orderers[0].kill();
    world.orderers[0].start().await;
    world.ordered(&world.orderers[0], good).await;
    let config = world.reaches(&world.orderers[0], 3).await;
    assert_eq!(timeout_of(&config), "140ms");
}

/// Two updates of different elements from the same base both commit; of two of the same element, the later is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn an_overtaken_update_is_judged_again() {
    let world = World::start(Target::Simulator, 1).await;
    let node = &world.orderers[0];
    let config = world.config(node).await;
    world.fault(node, r#"{"commitDelayMs": 500}"#).await;
    let first = world.timeout_update(&config, "110ms");
    let second = world.timeout_update(&config, "120ms");
    let disjoint = compute(CHANNEL, &config, |root| {
        let application = root.groups.get_mut("Application").unwrap();
        application.policies.get_mut("Endorsement").unwrap().mod_policy = "Readers".to_owned();
    });
    world.ordered(node, first).await;
    assert_eq!(world.send(node, second).await.0, 200);
    assert_eq!(world.send(node, envelope(&disjoint, &[&world.acme, &world.globex])).await.0, 200);
    let config = world.reaches(node, 2).await;
    assert_eq!(timeout_of(&config), "110ms");
    let application = &config.channel_group.as_ref().unwrap().groups["Application"];
    assert_eq!(application.policies["Endorsement"].mod_policy, "Readers");
}
