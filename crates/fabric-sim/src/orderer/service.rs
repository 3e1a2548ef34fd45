//! The orderer's gRPC service: Broadcast and Deliver (Fabric `orderer/common/broadcast`, `orderer/common/server`).

use std::sync::Arc;

use tenter_fabric_wire::common::{Envelope, Status};
use tenter_fabric_wire::orderer::{BroadcastResponse, DeliverResponse, deliver_response};
use tenter_fabric_wire::service::atomic_broadcast_server::AtomicBroadcast;
use tokio::sync::mpsc;
use tonic::{Request, Response, Streaming};

use super::node::Node;
use super::registrar::Registrar;
use crate::broadcast::{self, Failure, Kind, Rejection};
use crate::deliver::{self, Replies, Reply, Rules, from_first_reply};
use crate::faults::Area;
use crate::net::PeerInfo;

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    /// The node.
    pub node: Arc<Node>,
    /// Its channels.
    pub registrar: Arc<Registrar>,
    /// How Deliver judges requests.
    pub rules: Arc<Rules>,
}

/// What becomes of a message's stream.
enum Outcome {
    Answer(BroadcastResponse),
    /// The stream ends without an answer.
    End,
    /// The connection breaks.
    Break,
}

impl Service {
    async fn process(&self, envelope: &Envelope) -> Outcome {
        let failure = match self.judge_and_order(envelope).await {
            Ok(()) if self.node.faults.loses_broadcast_reply() => return Outcome::Break,
            Ok(()) => {
                return Outcome::Answer(BroadcastResponse { status: Status::Success as i32, info: String::new() });
            }
            Err(failure) => failure,
        };
        match failure {
            Failure::Rejected(rejection) => {
                let info = rejection.info.text;
                tracing::warn!(%info, "rejecting broadcast");
                Outcome::Answer(BroadcastResponse { status: rejection.status as i32, info })
            }
            Failure::Panic(text) => {
                tracing::error!(text, "the handler of a broadcast failed");
                Outcome::End
            }
        }
    }

    async fn judge_and_order(&self, envelope: &Envelope) -> Result<(), Failure> {
        if self.node.faults.hit(Area::Broadcast).await {
            return Err(Rejection::unavailable("simulated fault").into());
        }
        let (name, kind) = broadcast::classify(envelope, |name| self.registrar.chain(name).is_some())?;
        let chain = self.registrar.chain(&name).ok_or_else(|| Rejection::unavailable("chain is stopped"))?;
        let (message, sequence) = match kind {
            Kind::Normal => (envelope.clone(), chain.judge_normal(envelope)?),
            Kind::ConfigUpdate => {
                let (message, sequence) = chain.judge_update(envelope)?;
                (message.envelope, sequence)
            }
        };
        if self.node.faults.leaderless() {
            return Err(Rejection::unavailable(chain.no_leader()).into());
        }
        if kind == Kind::ConfigUpdate && self.node.faults.loses_update() {
            return Ok(());
        }
        chain.order(&message, sequence).await.map_err(|text| Rejection::unavailable(text).into())
    }
}

#[tonic::async_trait]
impl AtomicBroadcast for Service {
    type BroadcastStream = Replies<BroadcastResponse>;
    type DeliverStream = Replies<DeliverResponse>;

    async fn broadcast(
        &self,
        request: Request<Streaming<Envelope>>,
    ) -> Result<Response<Self::BroadcastStream>, tonic::Status> {
        let peer = request.extensions().get::<PeerInfo>().cloned();
        let mut envelopes = request.into_inner();
        let (replies, stream) = mpsc::channel(16);
        let service = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(envelope)) = envelopes.message().await {
                let reply = match service.process(&envelope).await {
                    Outcome::Answer(reply) => reply,
                    Outcome::End => return,
                    Outcome::Break => {
                        let lost = tonic::Status::unavailable("simulated loss of the connection");
                        if let Some(peer) = &peer {
                            peer.cut();
                        }
                        let _ = replies.send(Err(lost)).await;
                        return;
                    }
                };
                let good = reply.status == Status::Success as i32;
                if replies.send(Ok(reply)).await.is_err() || !good {
                    return;
                }
            }
        });
        Ok(Response::new(from_first_reply(stream).await))
    }

    async fn deliver(
        &self,
        request: Request<Streaming<Envelope>>,
    ) -> Result<Response<Self::DeliverStream>, tonic::Status> {
        let certificate = request.extensions().get::<PeerInfo>().and_then(|info| info.certificate.clone());
        let (replies, stream) = mpsc::channel(16);
        let service = self.clone();
        tokio::spawn(async move {
            let certificate = certificate.as_ref().map(|der| &der[..]);
            let send = deliver::sender(replies, |reply, _: &str| DeliverResponse {
                r#type: Some(match reply {
                    Reply::Block(block) => deliver_response::Type::Block(block),
                    Reply::Status(status) => deliver_response::Type::Status(status as i32),
                }),
            });
            let find = |name: &str| service.registrar.source(name);
            deliver::serve(&service.rules, certificate, request.into_inner(), find, send).await;
        });
        Ok(Response::new(from_first_reply(stream).await))
    }
}
