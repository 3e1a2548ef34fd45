//! Access to Fabric nodes: identities from Secrets, streams by a [`Route`], clients that are kept for a while, and answers
//! as [`Observation`]s. Own nodes are asked everything; of other members' nodes only the orderers' Deliver and Broadcast,
//! at their `address`.
//!
//! What a node says is told apart here once: only the participation API's own 404 and a peer's list of
//! channels prove absence. A missing Secret, a refused handshake or a `Deliver` status never does.

mod cache;
pub mod chaincode;
mod clients;
pub mod dial;
pub mod identity;
#[cfg(test)]
pub mod memory;
pub mod records;
pub mod store;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{NodeRef, OrdererChannel, PeerChannel};
use tenter_fabric::block::Block;
use tenter_fabric::client::broadcast::{BroadcastClient, BroadcastError};
use tenter_fabric::client::deliver::{BlockStream, DeliverError};
use tenter_fabric::client::endorser::EndorserError;
use tenter_fabric::client::operations::NodeVersion;
use tenter_fabric::client::participation::{ChannelStatus, ConsensusRelation, ParticipationError};
use tenter_fabric::client::{Endpoint, FailureKind};
use tenter_fabric::config::update::{ConfigSignature, ConfigUpdate};
use tenter_fabric::identity::{NONCE_BYTES, SigningIdentity};

use self::cache::Cache;
use self::clients::{Clients, ForeignClients, OrdererClients, PeerClients};
use self::dial::Route;
use self::store::Store;

/// How long clients are kept: a renewed identity is taken up after this at the latest.
const CLIENT_LIFETIME: Duration = Duration::from_mins(5);

/// Whether a node orders or endorses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeKind {
    /// An ordering service node.
    Orderer,
    /// A peer.
    Peer,
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Orderer => "orderer",
            Self::Peer => "peer",
        })
    }
}

/// How a node of another member is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    /// Namespace and name of the `ConfigMap` with the public material of its organization.
    pub material: (String, String),
    /// Namespace and MSP ID of the own organization whose reader asks.
    pub reader: (String, String),
}

/// A node: one of this daemon's own, or another member's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Where its object is.
    pub reference: NodeRef,
    /// What it is.
    pub kind: NodeKind,
    /// The MSP of its organization.
    pub msp_id: String,
    /// `host:port` as its spec has it: what other members reach it by.
    pub address: String,
    /// Set when another member's daemon acts for it.
    pub foreign: Option<Foreign>,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.foreign {
            None => write!(f, "{} {}", self.kind, self.reference),
            Some(_) => write!(f, "{} {} ({})", self.kind, self.address, self.msp_id),
        }
    }
}

/// What came of asking a peer to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It joined.
    Now,
    /// It has a ledger of that name already, whether it serves it or not.
    Before,
}

/// Whether the ordering service answered a question that needs a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// It did.
    Serving {
        /// Number of blocks.
        height: u64,
    },
    /// It said that it has none (Deliver's `SERVICE_UNAVAILABLE` to a STRICT seek).
    NoLeader,
}

/// Why a node was not talked to, or did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The identities for it are not there or cannot be read.
    #[error("{node} cannot be asked: {evidence}")]
    Credentials {
        /// The node.
        node: Box<Node>,
        /// Which Secret, and what is wrong with it.
        evidence: String,
        /// Whether reading was refused.
        forbidden: bool,
    },
    /// It has not started.
    #[error("{node} is not asked: {evidence}")]
    Stopped {
        /// The node.
        node: Box<Node>,
        /// How that is known.
        evidence: String,
    },
    /// The orderer's admin API.
    #[error("{node}, admin port")]
    Participation {
        /// The node.
        node: Box<Node>,
        /// What happened.
        #[source]
        source: ParticipationError,
    },
    /// Deliver.
    #[error("{node}, Deliver")]
    Deliver {
        /// The node.
        node: Box<Node>,
        /// What happened.
        #[source]
        source: Box<DeliverError>,
    },
    /// The peer's endorser.
    #[error("{node}, endorser")]
    Endorser {
        /// The node.
        node: Box<Node>,
        /// What happened.
        #[source]
        source: Box<EndorserError>,
    },
}

/// Why an orderer did not take a config update, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It could not be spoken to at all.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// What it answered.
    #[error("{node}, Broadcast")]
    Broadcast {
        /// The orderer.
        node: Box<Node>,
        /// What happened.
        #[source]
        source: Box<BroadcastError>,
    },
}

impl NodeError {
    /// What kind of failure it is.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Credentials { forbidden: true, .. } => FailureKind::Forbidden,
            Self::Credentials { forbidden: false, .. } | Self::Stopped { .. } => FailureKind::Unreachable,
            Self::Participation { source, .. } => source.kind(),
            Self::Deliver { source, .. } => source.kind(),
            Self::Endorser { source, .. } => source.kind(),
        }
    }

    /// What the failure says about the thing that was asked for.
    pub fn observed<T>(&self) -> Observation<T> {
        let evidence = chain(self);
        match self.kind() {
            FailureKind::Absent => Observation::Absent { evidence },
            FailureKind::Forbidden => Observation::Forbidden { evidence },
            FailureKind::Unreachable | FailureKind::Refused | FailureKind::Protocol => {
                Observation::Unreachable { evidence }
            }
        }
    }
}

/// A nonce for a signature.
pub fn nonce() -> Result<[u8; NONCE_BYTES], getrandom::Error> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)?;
    Ok(nonce)
}

/// An error and what it came from, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

fn observed<T>(answer: Result<T, NodeError>) -> Observation<T> {
    match answer {
        Ok(value) => Observation::Present { value },
        Err(error) => error.observed(),
    }
}

/// This daemon's own nodes.
pub struct Nodes {
    store: Arc<dyn Store>,
    route: Arc<dyn Route>,
    clients: Cache<(NodeRef, Option<Foreign>), Clients>,
}

impl Nodes {
    /// Nodes whose identities are in `store`, reached by `route`.
    pub fn new(store: Arc<dyn Store>, route: Arc<dyn Route>) -> Self {
        Self { store, route, clients: Cache::new(CLIENT_LIFETIME) }
    }

    /// Where identities, pins and records are.
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// What an orderer's participation API says of a channel.
    pub async fn orderer_channel(&self, node: &Node, channel: &str) -> Observation<OrdererChannel> {
        observed(self.participation(node, channel).await)
    }

    async fn participation(&self, node: &Node, channel: &str) -> Result<OrdererChannel, NodeError> {
        let clients = self.orderer(node).await?;
        let info =
            clients.participation.info(channel).await.map_err(|source| self.participation_error(node, source))?;
        let relation = match info.consensus_relation {
            ConsensusRelation::Consenter => "consenter",
            ConsensusRelation::Follower => "follower",
            ConsensusRelation::ConfigTracker => "config-tracker",
            ConsensusRelation::Other => "other",
        };
        let status = match info.status {
            ChannelStatus::Active => "active",
            ChannelStatus::Onboarding => "onboarding",
            ChannelStatus::Inactive => "inactive",
            ChannelStatus::Failed => "failed",
        };
        Ok(OrdererChannel { relation: relation.to_owned(), status: status.to_owned(), height: info.height })
    }

    /// Joins an orderer to a channel by POST; an orderer that has the channel already is left as it is.
    pub async fn join_orderer(&self, node: &Node, block: &[u8]) -> Result<(), NodeError> {
        let clients = self.orderer(node).await?;
        match clients.participation.join(block).await {
            // It says so whatever its genesis block is: the next observation compares block 0.
            Ok(_) | Err(ParticipationError::AlreadyExists { .. }) => Ok(()),
            Err(source) => Err(self.participation_error(node, source)),
        }
    }

    /// Whether an orderer's consensus works, by a STRICT seek: participation stays active without a quorum.
    pub async fn ordering(&self, node: &Node, channel: &str) -> Observation<Ordering> {
        let health = async {
            let deliver = self.deliver(node).await?;
            match deliver.health(channel).await {
                Ok(block) => Ok(Ordering::Serving { height: block.number().saturating_add(1) }),
                Err(DeliverError::Unavailable { .. }) => Ok(Ordering::NoLeader),
                Err(source) => Err(self.deliver_error(node, source)),
            }
        };
        observed(health.await)
    }

    /// What a peer says of a channel: absent only when its own list does not have it.
    pub async fn peer_channel(&self, node: &Node, channel: &str) -> Observation<PeerChannel> {
        let clients = match self.peer(node).await {
            Ok(clients) => clients,
            Err(error) => return error.observed(),
        };
        match clients.reader.list_channels().await {
            Ok(channels) if !channels.contains(channel) => {
                return Observation::Absent {
                    evidence: format!("{node} lists {} channels, without {channel} (GetChannels)", channels.len()),
                };
            }
            Ok(_) => {}
            Err(source) => return self.endorser_error(node, source).observed(),
        }
        let info = clients.reader.channel_info(channel).await;
        observed(
            info.map(|info| PeerChannel { height: info.height }).map_err(|source| self.endorser_error(node, source)),
        )
    }

    /// Joins a peer to the channel of a genesis block; a peer that has it already is left as it is.
    pub async fn join_peer(&self, node: &Node, block: &[u8]) -> Result<Joined, NodeError> {
        let clients = self.peer(node).await?;
        match clients.admin.join_channel(block).await {
            Ok(()) => Ok(Joined::Now),
            Err(EndorserError::AlreadyJoined { .. }) => Ok(Joined::Before),
            Err(source) => Err(self.endorser_error(node, source)),
        }
    }

    /// Header hash, hex, of the block 0 that a node holds.
    pub async fn genesis_hash(&self, node: &Node, channel: &str) -> Observation<String> {
        let block = match node.kind {
            NodeKind::Orderer => {
                async {
                    let deliver = self.deliver(node).await?;
                    deliver.block(channel, 0).await.map_err(|source| self.deliver_error(node, source))
                }
                .await
            }
            NodeKind::Peer => {
                async {
                    let clients = self.peer(node).await?;
                    clients.reader.block(channel, 0).await.map_err(|source| self.endorser_error(node, source))
                }
                .await
            }
        };
        observed(block.map(|block| hex::encode(block.header_hash())))
    }

    /// The config block in force, as a node has it; its data is what its header says.
    pub async fn config_block(&self, node: &Node, channel: &str) -> Observation<Block> {
        let block = async {
            let deliver = self.deliver(node).await?;
            deliver.config_block(channel).await.map_err(|source| self.deliver_error(node, source))
        };
        observed(block.await)
    }

    /// A block, as a node has it.
    pub async fn block(&self, node: &Node, channel: &str, number: u64) -> Observation<Block> {
        let block = async {
            let deliver = self.deliver(node).await?;
            deliver.block(channel, number).await.map_err(|source| self.deliver_error(node, source))
        };
        observed(block.await)
    }

    /// Hands a signed update to an orderer. Taken means queued: only a config block shows that it was made.
    pub async fn submit(
        &self,
        node: &Node,
        update: &ConfigUpdate,
        signatures: &[ConfigSignature],
        submitter: &SigningIdentity,
    ) -> Result<(), SubmitError> {
        let client = BroadcastClient::new(self.broadcast(node).await?, submitter.clone());
        let taken = client.submit_config_update(update.channel_id(), &update.signed_by(signatures)).await;
        taken.map_err(|source| {
            self.forget_on(node, source.kind());
            SubmitError::Broadcast { node: Box::new(node.clone()), source: Box::new(source) }
        })
    }

    /// Follows a channel's blocks from a number on.
    pub async fn follow(&self, node: &Node, channel: &str, from: u64) -> Result<BlockStream, NodeError> {
        let deliver = self.deliver(node).await?;
        // A stream that cannot be opened says nothing of the other clients, which are kept.
        deliver
            .follow(channel, from)
            .await
            .map_err(|source| NodeError::Deliver { node: Box::new(node.clone()), source: Box::new(source) })
    }

    /// The version that a node says it runs.
    pub async fn version(&self, node: &Node) -> Observation<NodeVersion> {
        let operations = match node.kind {
            NodeKind::Orderer => self.orderer(node).await.map(|clients| clients.operations.clone()),
            NodeKind::Peer => self.peer(node).await.map(|clients| clients.operations.clone()),
        };
        match operations {
            Ok(operations) => match operations.version().await {
                Ok(value) => Observation::Present { value },
                Err(error) => {
                    self.clients.forget(&key(node));
                    Observation::Unreachable { evidence: format!("{node}, operations port: {}", chain(&error)) }
                }
            },
            Err(error) => error.observed(),
        }
    }

    async fn deliver(&self, node: &Node) -> Result<tenter_fabric::client::deliver::DeliverClient, NodeError> {
        Ok(match (self.clients(node).await?.as_ref(), node.kind) {
            (Clients::Orderer(clients), NodeKind::Orderer) => clients.deliver.clone(),
            (Clients::Peer(clients), NodeKind::Peer) => clients.deliver.clone(),
            (Clients::Foreign(clients), NodeKind::Orderer) => ForeignClients::clone(clients).deliver,
            _ => return Err(wrong_kind(node)),
        })
    }

    /// Where an orderer, own or another member's, takes transactions.
    async fn broadcast(&self, node: &Node) -> Result<Endpoint, NodeError> {
        match self.clients(node).await?.as_ref() {
            Clients::Orderer(clients) => Ok(clients.endpoint.clone()),
            Clients::Foreign(clients) => Ok(clients.endpoint.clone()),
            Clients::Peer(_) => Err(wrong_kind(node)),
        }
    }

    async fn orderer(&self, node: &Node) -> Result<OrdererClients, NodeError> {
        match self.clients(node).await?.as_ref() {
            Clients::Orderer(clients) => Ok(OrdererClients::clone(clients)),
            Clients::Peer(_) => Err(wrong_kind(node)),
            Clients::Foreign(_) => Err(elsewhere(node)),
        }
    }

    async fn peer(&self, node: &Node) -> Result<PeerClients, NodeError> {
        match self.clients(node).await?.as_ref() {
            Clients::Peer(clients) => Ok(PeerClients::clone(clients)),
            Clients::Orderer(_) => Err(wrong_kind(node)),
            Clients::Foreign(_) => Err(elsewhere(node)),
        }
    }

    async fn clients(&self, node: &Node) -> Result<Arc<Clients>, NodeError> {
        let key = key(node);
        if let Some(clients) = self.clients.get(&key) {
            return Ok(clients);
        }
        if let Some(evidence) = self.route.stopped(&node.reference).filter(|_| node.foreign.is_none()) {
            return Err(NodeError::Stopped { node: Box::new(node.clone()), evidence });
        }
        let clients = match &node.foreign {
            None => clients::load(self.store.as_ref(), self.route.dialer(&node.reference), node).await?,
            Some(foreign) => clients::load_foreign(self.store.as_ref(), node, foreign).await?,
        };
        Ok(self.clients.put(key, clients))
    }

    /// Clients that did not get through are made anew next time: the Pod, or an identity, may be another by then.
    fn forget_on(&self, node: &Node, kind: FailureKind) {
        match kind {
            FailureKind::Absent | FailureKind::Refused => {}
            FailureKind::Unreachable | FailureKind::Forbidden | FailureKind::Protocol => {
                self.clients.forget(&key(node));
            }
        }
    }

    fn participation_error(&self, node: &Node, source: ParticipationError) -> NodeError {
        self.forget_on(node, source.kind());
        NodeError::Participation { node: Box::new(node.clone()), source }
    }

    fn deliver_error(&self, node: &Node, source: DeliverError) -> NodeError {
        self.forget_on(node, source.kind());
        NodeError::Deliver { node: Box::new(node.clone()), source: Box::new(source) }
    }

    fn endorser_error(&self, node: &Node, source: EndorserError) -> NodeError {
        self.forget_on(node, source.kind());
        NodeError::Endorser { node: Box::new(node.clone()), source: Box::new(source) }
    }
}

/// What a node's clients are kept by.
fn key(node: &Node) -> (NodeRef, Option<Foreign>) {
    (node.reference.clone(), node.foreign.clone())
}

fn elsewhere(node: &Node) -> NodeError {
    NodeError::Credentials {
        node: Box::new(node.clone()),
        evidence: "another member's daemon acts for it, and only that one reaches its admin ports".to_owned(),
        forbidden: false,
    }
}

fn wrong_kind(node: &Node) -> NodeError {
    NodeError::Credentials {
        node: Box::new(node.clone()),
        evidence: "an orderer and a peer of one namespace have the same name; rename one".to_owned(),
        forbidden: false,
    }
}
