//! The orderer's gRPC service: Broadcast and Deliver (Fabric `orderer/common/broadcast`, `orderer/common/server`).

use std::sync::Arc;

use tenter_fabric_wire::common::{Envelope, HeaderType, Status};
use tenter_fabric_wire::orderer::{BroadcastResponse, DeliverResponse, deliver_response};
use tenter_fabric_wire::service::atomic_broadcast_server::AtomicBroadcast;
use tokio::sync::mpsc;
use tonic::{Request, Response, Streaming};

use super::chain::Chain;
use super::node::Node;
use super::registrar::Registrar;
use crate::block::{self, Opened};
use crate::channel::{Bundle, SignedData};
use crate::deliver::{self, Replies, Reply, Rules, from_first_reply, now_seconds};
use crate::faults::Area;
use crate::msp::Identity;
use crate::net::PeerInfo;

/// The text for config updates, which this version does not judge.
pub const NO_UPDATES: &str = "the simulator does not judge config updates yet";

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

impl Service {
    async fn process(&self, envelope: &Envelope) -> BroadcastResponse {
        let (status, info) = match self.judge_and_order(envelope).await {
            Ok(()) => (Status::Success, String::new()),
            Err((status, info)) => {
                tracing::warn!(%info, "rejecting broadcast");
                (status, info)
            }
        };
        BroadcastResponse { status: status as i32, info }
    }

    async fn judge_and_order(&self, envelope: &Envelope) -> Result<(), (Status, String)> {
        if self.node.faults.hit(Area::Broadcast).await {
            return Err((Status::ServiceUnavailable, "simulated fault".to_owned()));
        }
        let opened = open_channel_header(envelope).map_err(|text| (Status::BadRequest, text))?;
        let chain = self
            .registrar
            .chain(&opened.channel.channel_id)
            .ok_or_else(|| (Status::BadRequest, "channel does not exist".to_owned()))?;
        match HeaderType::try_from(opened.channel.r#type) {
            Ok(HeaderType::ConfigUpdate) => Err((Status::ServiceUnavailable, NO_UPDATES.to_owned())),
            Ok(HeaderType::Config) => {
                Err((Status::BadRequest, "message is of type that cannot be processed directly".to_owned()))
            }
            Ok(HeaderType::OrdererTransaction) => {
                Err((Status::BadRequest, "message is of type that is no longer supported".to_owned()))
            }
            _ => self.normal(&chain, envelope, &opened).await,
        }
    }

    async fn normal(&self, chain: &Chain, envelope: &Envelope, opened: &Opened) -> Result<(), (Status, String)> {
        let bundle = chain.bundle().borrow().clone();
        if bundle.maintenance() {
            return Err((Status::ServiceUnavailable, "normal transactions are rejected: maintenance mode".to_owned()));
        }
        if envelope.payload.is_empty() {
            return Err((Status::BadRequest, "message payload is empty".to_owned()));
        }
        self.check_expiry(opened)?;
        check_size(&bundle, envelope)?;
        let signed = SignedData {
            data: envelope.payload.clone(),
            identity: opened.signature.creator.clone(),
            signature: envelope.signature.clone(),
        };
        bundle
            .evaluate("/Channel/Writers", &[signed])
            .map_err(|text| (Status::Forbidden, format!("{text}: permission denied")))?;
        if self.node.faults.leaderless() {
            return Err((Status::ServiceUnavailable, "no Raft leader".to_owned()));
        }
        chain.order(envelope).await.map_err(|text| (Status::ServiceUnavailable, text))
    }

    fn check_expiry(&self, opened: &Opened) -> Result<(), (Status, String)> {
        let expired = !self.node.settings.no_expiration_checks
            && Identity::parse(&opened.signature.creator)
                .is_ok_and(|identity| identity.certificate.not_after() < now_seconds());
        if expired { Err((Status::BadRequest, "broadcast client identity expired".to_owned())) } else { Ok(()) }
    }
}

fn open_channel_header(envelope: &Envelope) -> Result<Opened, String> {
    block::open(envelope).map_err(|text| {
        let text = if text == "envelope has no header" { "header not set".to_owned() } else { text };
        format!("could not determine channel ID: {text}")
    })
}

fn check_size(bundle: &Bundle, envelope: &Envelope) -> Result<(), (Status, String)> {
    let size = envelope.payload.len() + envelope.signature.len();
    let most = bundle.batch_size.absolute_max_bytes;
    if size > most as usize {
        return Err((
            Status::BadRequest,
            format!("message payload is {size} bytes and exceeds maximum allowed {most} bytes"),
        ));
    }
    Ok(())
}

#[tonic::async_trait]
impl AtomicBroadcast for Service {
    type BroadcastStream = Replies<BroadcastResponse>;
    type DeliverStream = Replies<DeliverResponse>;

    async fn broadcast(
        &self,
        request: Request<Streaming<Envelope>>,
    ) -> Result<Response<Self::BroadcastStream>, tonic::Status> {
        let mut envelopes = request.into_inner();
        let (replies, stream) = mpsc::channel(16);
        let service = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(envelope)) = envelopes.message().await {
                let reply = service.process(&envelope).await;
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
