//! A network with one channel whose configuration tests change.

use std::time::{Duration, Instant};

use prost::Message as _;
use tenter_fabric_sim::block;
use tenter_fabric_wire::common::{Block, BlockchainInfo, Config, ConfigUpdate, Envelope};
use tenter_fabric_wire::orderer::BatchTimeout;

use super::Target;
use super::client::{at, broadcast, connect, fetch, newest, only, plain_http, proposal, propose};
use super::network::{Network, Node, eventually};
use super::organization::{Organization, Person};
use super::update::{compute, config_of, envelope, orderer_value};

pub const CHANNEL: &str = "ch1";

/// A network with one channel on some orderers, and the people who may change it.
pub struct World {
    pub orderers: Vec<Node>,
    pub genesis: Block,
    pub hub: Person,
    pub acme: Person,
    pub globex: Person,
    pub user: Person,
    /// Last: its folder goes when it goes, and the nodes' logs are read before.
    pub network: Network,
}

impl World {
    pub async fn start(target: Target, consenters: usize) -> Self {
        let network = Network::new(target);
        let orderers: Vec<Node> = (1..=consenters).map(|n| network.orderer(&format!("orderer{n}"))).collect();
        let genesis = network.genesis(CHANNEL, &orderers.iter().collect::<Vec<_>>(), 1);
        Self::join(network, orderers, genesis).await
    }

    /// Four orderers with a BFT channel.
    pub async fn byzantine(target: Target) -> Self {
        let network = Network::new(target);
        let orderers: Vec<Node> = (1..=4).map(|n| network.orderer(&format!("orderer{n}"))).collect();
        let genesis = network.bft_genesis(CHANNEL, &orderers.iter().collect::<Vec<_>>());
        Self::join(network, orderers, genesis).await
    }

    async fn join(network: Network, mut orderers: Vec<Node>, genesis: Block) -> Self {
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

    pub async fn send(&self, node: &Node, message: Envelope) -> (i32, String) {
        let channel = connect(node.port, &self.network.hub.tlsca.pem, None).await.unwrap();
        broadcast(channel, message).await
    }

    /// Sends until there is a leader to take it.
    pub async fn ordered(&self, node: &Node, message: Envelope) {
        eventually("the message is taken", async || {
            let (status, info) = self.send(node, message.clone()).await;
            assert!(status == 200 || status == 503, "{status} {info}");
            (status == 200).then_some(())
        })
        .await;
    }

    pub async fn read(
        &self,
        node: &Node,
        position: Option<tenter_fabric_wire::orderer::SeekPosition>,
    ) -> Result<Block, i32> {
        let channel = connect(node.port, &self.network.hub.tlsca.pem, None).await.map_err(|_| 0)?;
        // In maintenance, only the orderer organisations read.
        fetch(channel, &self.hub, CHANNEL, only(position)).await
    }

    /// The config block in force, as one node has it.
    pub async fn config_block(&self, node: &Node) -> Option<Block> {
        let last = self.read(node, newest()).await.ok()?;
        self.read(node, at(block::last_config(&last)?)).await.ok()
    }

    pub async fn config(&self, node: &Node) -> Config {
        config_of(&eventually("a config block", async || self.config_block(node).await).await)
    }

    /// Waits until a node has the configuration with this sequence.
    pub async fn reaches(&self, node: &Node, sequence: u64) -> Config {
        eventually("the configuration", async || {
            let config = config_of(&self.config_block(node).await?);
            (config.sequence == sequence).then_some(config)
        })
        .await
    }

    /// Sends an update until it is committed as this sequence: success means queued, and a change of the leader drops
    /// what is queued.
    pub async fn commit(&self, node: &Node, update: Envelope, sequence: u64) -> Config {
        let wait = Duration::from_secs(5);
        // As long as `eventually` waits, and for the same reason.
        let end = Instant::now() + Duration::from_secs(90);
        while Instant::now() < end {
            let (status, info) = self.send(node, update.clone()).await;
            // A leader that was elected a moment ago has not heard of the others yet.
            let soon = status == 503 || info.contains("nodes are alive");
            assert!(status == 200 || soon || info.contains("but key is at version"), "{status} {info}");
            if !soon && let Ok(config) = tokio::time::timeout(wait, self.reaches(node, sequence)).await {
                return config;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the update is never committed");
    }

    /// A change of the batch timeout, signed by the orderers' administrator.
    pub fn timeout_update(&self, config: &Config, timeout: &str) -> Envelope {
        envelope(&change_timeout(config, timeout), &[&self.hub])
    }

    /// One channel's place in a node's admin API: relation, status, height.
    pub async fn place(&self, node: &Node) -> Option<(String, String, u64)> {
        let (_, info) = self.network.admin(node).info(CHANNEL).await.ok()?;
        let text = |key: &str| info[key].as_str().map(str::to_owned);
        Some((text("consensusRelation")?, text("status")?, info["height"].as_u64()?))
    }

    /// Waits until a node is active in this relation to the channel.
    pub async fn becomes(&self, node: &Node, relation: &str) {
        eventually(relation, async || {
            let (now, status, _) = self.place(node).await?;
            (now == relation && status == "active").then_some(())
        })
        .await;
    }

    pub async fn fault(&self, node: &Node, json: &str) {
        let answer = plain_http(node.operations, "POST", "/sim/faults", Some(json.as_bytes())).await.unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

/// A change of the batch timeout.
pub fn change_timeout(config: &Config, timeout: &str) -> ConfigUpdate {
    compute(CHANNEL, config, |root| {
        *orderer_value(root, "BatchTimeout") = BatchTimeout { timeout: timeout.to_owned() }.encode_to_vec();
    })
}

pub fn timeout_of(config: &Config) -> String {
    let value = &config.channel_group.as_ref().unwrap().groups["Orderer"].values["BatchTimeout"].value;
    BatchTimeout::decode(&value[..]).unwrap().timeout
}

pub async fn height(org: &Organization, node: &Node, person: &Person) -> Option<u64> {
    let channel = connect(node.port, &org.tlsca.pem, None).await.ok()?;
    let answer = propose(channel, proposal(person, "ch1", "qscc", &[b"GetChainInfo", b"ch1"])).await.ok()?;
    let response = answer.response?;
    (response.status == 200).then(|| BlockchainInfo::decode(&response.payload[..]).unwrap().height)
}

pub async fn join_peer(org: &Organization, node: &Node, genesis: &Block) {
    let admin = org.person("admin", "admin");
    let channel = connect(node.port, &org.tlsca.pem, None).await.unwrap();
    let bytes = genesis.encode_to_vec();
    let answer = propose(channel, proposal(&admin, "", "cscc", &[b"JoinChain", &bytes])).await.unwrap();
    let response = answer.response.unwrap();
    assert_eq!(response.status, 200, "{}", response.message);
}
