//! Other peers: what they say of themselves, and the private writes that they give to those who may have them.
//!
//! Fabric's peers learn of each other by gossip. Here, a peer knows those that the channel's configuration names as
//! anchor peers and, of its own organisation, those of `peer.gossip.bootstrap`; it asks them on an own path.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message;
use sha2::{Digest as _, Sha256};
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::server::{Grpc as Server, NamedService, UnaryService};
use tonic::transport::Channel as Connection;
use tonic_prost::ProstCodec;

use super::builder::Store;
use super::channels::{Channel, Channels};
use super::lifecycle::records;
use super::node::Node;
use super::private::PrivateId;
use crate::channel::Bundle;
use crate::deliver::{check_time, now_seconds};
use crate::msp::Identity;
use crate::net::{Trust, dial};

const PATH: &str = "/tenter.sim.Peer/Ask";
const MAX_MESSAGE: usize = 100 << 20;
const CALL: Duration = Duration::from_secs(3);

/// What is asked.
#[derive(Clone, PartialEq, Eq, Message)]
struct Question {
    #[prost(string, tag = "1")]
    channel: String,
    /// Seconds since 1970.
    #[prost(int64, tag = "2")]
    time: i64,
    /// Private writes; without them, what the peer says of itself is asked.
    #[prost(message, optional, tag = "3")]
    private: Option<Wanted>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Wanted {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    collection: String,
    #[prost(bytes = "vec", tag = "3")]
    hash: Vec<u8>,
}

/// A question with the asking peer's signature.
#[derive(Clone, PartialEq, Eq, Message)]
struct Ask {
    #[prost(bytes = "vec", tag = "1")]
    question: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    creator: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
}

/// What a peer says of itself, or the writes.
#[derive(Clone, PartialEq, Eq, Message)]
struct Reply {
    #[prost(bytes = "vec", tag = "1")]
    identity: Vec<u8>,
    #[prost(uint64, tag = "2")]
    height: u64,
    #[prost(string, repeated, tag = "3")]
    chaincodes: Vec<String>,
    #[prost(bytes = "vec", optional, tag = "4")]
    private: Option<Vec<u8>>,
}

/// A peer that answered.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Where it is.
    pub address: String,
    /// Who it is.
    pub identity: Identity,
    /// The channel's height there.
    pub height: u64,
    /// The chaincodes that it can run.
    pub chaincodes: Vec<String>,
    /// The way there.
    pub connection: Connection,
}

/// Connections to other peers by address.
#[derive(Debug, Default)]
pub struct Peers(Mutex<BTreeMap<String, Connection>>);

impl Peers {
    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, node: &Node, bundle: &Bundle, msp_id: &str, address: &str) -> Result<Connection, String> {
        if let Some(open) = self.all().get(address) {
            return Ok(open.clone());
        }
        let roots = bundle.msps.get(msp_id).map(|msp| msp.tls_roots.clone()).unwrap_or_default();
        let timeout = node.settings.gateway.dial_timeout.min(CALL);
        let open = if node.settings.tls.enabled {
            dial(address, &Trust::Roots(roots), node.client_pair.as_ref(), timeout).await?
        } else {
            crate::net::dial_plain(address, timeout).await?
        };
        self.all().insert(address.to_owned(), open.clone());
        Ok(open)
    }

    /// Forgets a connection that failed.
    pub fn forget(&self, address: &str) {
        self.all().remove(address);
    }

    /// Where an organisation's peers may be.
    fn addresses(node: &Node, bundle: &Bundle, msp_id: &str) -> Vec<String> {
        let mut found = bundle.anchor_peers(msp_id);
        if msp_id == node.msp.msp.id {
            for address in &node.settings.bootstrap {
                if !found.contains(address) {
                    found.push(address.clone());
                }
            }
        }
        found
    }

    async fn ask(
        &self,
        node: &Node,
        bundle: &Bundle,
        (msp_id, address): (&str, &str),
        private: Option<Wanted>,
    ) -> Option<(Connection, Reply)> {
        let connection = self.connect(node, bundle, msp_id, address).await.ok()?;
        let question = Question {
            channel: bundle.channel.clone(),
            time: i64::try_from(now_seconds()).unwrap_or(i64::MAX),
            private,
        }
        .encode_to_vec();
        let ask = Ask { signature: node.msp.key.sign(&question), creator: node.msp.serialized.clone(), question };
        match send(connection.clone(), ask).await {
            Ok(reply) => Some((connection, reply)),
            Err(status) => {
                tracing::debug!(address, reason = status.message(), "a peer does not answer");
                self.forget(address);
                None
            }
        }
    }

    /// An organisation's other peers that are up and in the channel, the highest first.
    pub async fn of(&self, node: &Node, bundle: &Bundle, msp_id: &str) -> Vec<Remote> {
        let addresses = Self::addresses(node, bundle, msp_id);
        let asked = addresses.iter().map(|address| self.ask(node, bundle, (msp_id, address), None));
        let mut found: Vec<Remote> = Vec::new();
        for (address, answer) in addresses.iter().zip(futures::future::join_all(asked).await) {
            let Some((connection, reply)) = answer else { continue };
            let Ok(identity) = Identity::parse(&reply.identity) else { continue };
            let known = reply.identity == node.msp.serialized
                || found.iter().any(|other| other.identity == identity)
                || identity.msp_id != msp_id
                || bundle.msps.get(msp_id).is_none_or(|msp| msp.validate(&identity).is_err());
            if !known {
                let Reply { height, chaincodes, .. } = reply;
                found.push(Remote { address: address.clone(), identity, height, chaincodes, connection });
            }
        }
        found.sort_by(|a, b| b.height.cmp(&a.height).then_with(|| a.address.cmp(&b.address)));
        found
    }

    /// Private writes from any peer that has them and gives them.
    pub async fn find_private(&self, node: &Node, channel: &Channel, id: &PrivateId) -> Option<Vec<u8>> {
        let bundle = channel.bundle();
        let wanted =
            Wanted { namespace: id.namespace.clone(), collection: id.collection.clone(), hash: id.hash.clone() };
        let implicit = id.collection.strip_prefix("_implicit_org_");
        let orgs = bundle.application_orgs.iter().flatten().map(|(_, org)| org.msp_id.as_str());
        for msp_id in orgs.filter(|org| implicit.is_none_or(|owner| owner == *org)) {
            for address in Self::addresses(node, &bundle, msp_id) {
                let answer = self.ask(node, &bundle, (msp_id, &address), Some(wanted.clone())).await;
                let rwset = answer.and_then(|(_, reply)| reply.private);
                if let Some(rwset) = rwset.filter(|rwset| Sha256::digest(rwset)[..] == id.hash) {
                    return Some(rwset);
                }
            }
        }
        None
    }
}

async fn send(connection: Connection, ask: Ask) -> Result<Reply, tonic::Status> {
    let mut client =
        Client::new(connection).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
    let call = async {
        client.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let path = http::uri::PathAndQuery::from_static(PATH);
        let codec: ProstCodec<Ask, Reply> = ProstCodec::default();
        client.unary(tonic::Request::new(ask), path, codec).await
    };
    tokio::time::timeout(CALL, call)
        .await
        .map_err(|_| tonic::Status::deadline_exceeded("no answer from the peer"))?
        .map(tonic::Response::into_inner)
}

/// The chaincodes of a channel that this peer can run (Fabric publishes them by gossip).
pub fn runnable(node: &Node, channel: &Channel, packages: &Store) -> Vec<String> {
    let world = channel.world();
    let installed = packages.list();
    let ids: Vec<&str> = installed.iter().map(|package| package.id.as_str()).collect();
    records::committed_names(&world)
        .into_iter()
        .filter(|name| {
            records::committed(&world, name).is_some_and(|definition| {
                let own = &node.msp.msp.id;
                records::approved_package(&world, own, name, &definition, ids.iter().copied()).1.is_some()
            })
        })
        .collect()
}

/// The server's side.
#[derive(Clone, Debug)]
pub struct PeerService {
    /// The peer.
    pub node: Arc<Node>,
    /// Its channels.
    pub channels: Arc<Channels>,
    /// Its chaincode packages.
    pub packages: Arc<Store>,
}

impl PeerService {
    fn answer(&self, ask: &Ask) -> Result<Reply, tonic::Status> {
        let question =
            Question::decode(&ask.question[..]).map_err(|error| tonic::Status::invalid_argument(error.to_string()))?;
        let channel = self
            .channels
            .get(&question.channel)
            .ok_or_else(|| tonic::Status::not_found("this peer is not in the channel"))?;
        check_time(question.time, 0, self.node.settings.time_window)
            .map_err(|_| tonic::Status::unauthenticated("the question's time is off"))?;
        let denied = || tonic::Status::permission_denied("not signed by a member of the channel");
        let bundle = channel.bundle();
        let (identity, msp) = bundle.identity(&ask.creator).map_err(|_| denied())?;
        msp.validate(&identity).map_err(|_| denied())?;
        identity.certificate.verify(&ask.question, &ask.signature).map_err(|_| denied())?;
        let mut reply = Reply { identity: self.node.msp.serialized.clone(), ..Reply::default() };
        match question.private {
            None => {
                reply.height = channel.ledger.height();
                reply.chaincodes = runnable(&self.node, &channel, &self.packages);
            }
            Some(Wanted { namespace, collection, hash }) => {
                if !channel.is_member(&channel.world(), &namespace, &collection, &identity) {
                    return Err(tonic::Status::permission_denied("not a member of the collection"));
                }
                reply.private = channel.private(&PrivateId { namespace, collection, hash });
            }
        }
        Ok(reply)
    }
}

impl NamedService for PeerService {
    const NAME: &'static str = "tenter.sim.Peer";
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Handler(PeerService);

impl UnaryService<Ask> for Handler {
    type Response = Reply;
    type Future = Answer<Result<tonic::Response<Reply>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Ask>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move { service.answer(request.get_ref()).map(tonic::Response::new) })
    }
}

impl tower::Service<http::Request<Body>> for PeerService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != PATH {
                return Ok(tonic::Status::unimplemented("unknown method").into_http());
            }
            let codec: ProstCodec<Reply, Ask> = ProstCodec::default();
            let mut server =
                Server::new(codec).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
            Ok(server.unary(Handler(service), request).await)
        })
    }
}
