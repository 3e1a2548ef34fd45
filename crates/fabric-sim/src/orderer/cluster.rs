//! What orderers say to each other: an own protocol on an own path, over mutual TLS.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message;
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::server::{Grpc as Server, NamedService, UnaryService};
use tonic_prost::ProstCodec;

use super::registrar::Registrar;
use super::seal::{Seal, Signed};
use super::wal::Entry;
use crate::net::PeerInfo;

/// Largest message in bytes.
pub const MAX_MESSAGE: usize = 100 << 20;
const PATH: &str = "/tenter.sim.Cluster/Step";
const CALL: Duration = Duration::from_secs(5);

/// A candidate asks for a vote.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Vote {
    /// The candidate's term.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// Its id.
    #[prost(uint64, tag = "2")]
    pub candidate: u64,
    /// The end of its log.
    #[prost(uint64, tag = "3")]
    pub last_index: u64,
    /// The term there.
    #[prost(uint64, tag = "4")]
    pub last_term: u64,
    /// The hash of its block 0.
    #[prost(bytes = "vec", tag = "5")]
    pub genesis: Vec<u8>,
    /// Whether the leader gave way, so that hearing it a moment ago does not matter.
    #[prost(bool, tag = "6")]
    pub transfer: bool,
}

/// A leader's word, with entries or without.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Append {
    /// The leader's term.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// Its id.
    #[prost(uint64, tag = "2")]
    pub leader: u64,
    /// Index of what comes before the entries.
    #[prost(uint64, tag = "3")]
    pub prev_index: u64,
    /// The term there.
    #[prost(uint64, tag = "4")]
    pub prev_term: u64,
    /// The header's hash there.
    #[prost(bytes = "vec", tag = "5")]
    pub prev_hash: Vec<u8>,
    /// New entries.
    #[prost(message, repeated, tag = "6")]
    pub entries: Vec<Entry>,
    /// The last block agreed on.
    #[prost(uint64, tag = "7")]
    pub commit: u64,
    /// The hash of the leader's block 0.
    #[prost(bytes = "vec", tag = "8")]
    pub genesis: Vec<u8>,
    /// The consenters that the leader hears of, itself included.
    #[prost(uint64, repeated, tag = "9")]
    pub active: Vec<u64>,
    /// Signatures of agreed blocks, in a BFT channel.
    #[prost(message, repeated, tag = "10")]
    pub seals: Vec<Seal>,
}

/// A message that is to be ordered.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Submission {
    /// The envelope.
    #[prost(bytes = "vec", tag = "1")]
    pub envelope: Vec<u8>,
    /// The sequence of the configuration by which it was judged.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
}

/// One message; exactly one of the last four is there.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Step {
    /// The channel.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// A vote request.
    #[prost(message, optional, tag = "2")]
    pub vote: Option<Vote>,
    /// A leader's word.
    #[prost(message, optional, tag = "3")]
    pub append: Option<Append>,
    /// A message for the leader to order.
    #[prost(message, optional, tag = "4")]
    pub submit: Option<Submission>,
    /// The leader gives way: the one that is told is to stand for election at once.
    #[prost(bool, tag = "5")]
    pub take_over: bool,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Reply {
    /// The answering node's term.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// Yes or no.
    #[prost(bool, tag = "2")]
    pub granted: bool,
    /// The last index that it has or knows to agree.
    #[prost(uint64, tag = "3")]
    pub index: u64,
    /// The number of the last block that it has written.
    #[prost(uint64, tag = "4")]
    pub written: u64,
    /// Its signatures over the entries, in a BFT channel.
    #[prost(message, repeated, tag = "5")]
    pub signatures: Vec<Signed>,
}

/// Sends one message; an answer takes at most five seconds.
pub async fn send(channel: tonic::transport::Channel, step: Step) -> Result<Reply, tonic::Status> {
    let mut client = Client::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
    let call = async {
        client.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let path = http::uri::PathAndQuery::from_static(PATH);
        let codec: ProstCodec<Step, Reply> = ProstCodec::default();
        client.unary(tonic::Request::new(step), path, codec).await
    };
    tokio::time::timeout(CALL, call)
        .await
        .map_err(|_| tonic::Status::deadline_exceeded("no answer from the consenter"))?
        .map(tonic::Response::into_inner)
}

/// The server's side.
#[derive(Clone, Debug)]
pub struct ClusterService(pub Arc<Registrar>);

impl NamedService for ClusterService {
    const NAME: &'static str = "tenter.sim.Cluster";
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Handler(Arc<Registrar>);

impl UnaryService<Step> for Handler {
    type Response = Reply;
    type Future = Answer<Result<tonic::Response<Reply>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Step>) -> Self::Future {
        let registrar = self.0.clone();
        Box::pin(async move {
            let certificate = request
                .extensions()
                .get::<PeerInfo>()
                .and_then(|info| info.certificate.clone())
                .ok_or_else(|| tonic::Status::unauthenticated("a consenter must show its TLS certificate"))?;
            let step = request.into_inner();
            let chain = registrar
                .chain(&step.channel)
                .ok_or_else(|| tonic::Status::not_found(format!("channel {} doesn't exist", step.channel)))?;
            chain.receive(&certificate, step).await.map(tonic::Response::new)
        })
    }
}

impl tower::Service<http::Request<Body>> for ClusterService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let registrar = self.0.clone();
        Box::pin(async move {
            if request.uri().path() != PATH {
                return Ok(tonic::Status::unimplemented("unknown method").into_http());
            }
            let codec: ProstCodec<Reply, Step> = ProstCodec::default();
            let mut server =
                Server::new(codec).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
            Ok(server.unary(Handler(registrar), request).await)
        })
    }
}
