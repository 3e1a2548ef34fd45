//! Handing envelopes to an orderer: `orderer.AtomicBroadcast/Broadcast` (`orderer/common/broadcast/broadcast.go`).

use prost::Message as _;
use tenter_fabric_wire::common::{Envelope, HeaderType};
use tenter_fabric_wire::orderer::BroadcastResponse;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::FailureKind;
use super::connect::{Endpoint, Target, TransportError};
use super::envelope;
use super::grpc::Channel;
use crate::identity::{IdentityError, SigningIdentity};

const PATH: PathAndQuery = PathAndQuery::from_static("/orderer.AtomicBroadcast/Broadcast");
/// How much of a node's text is kept: it may quote whole certificates.
const MAX_TEXT: usize = 4000;

/// Why an orderer did not queue an envelope.
#[derive(Debug, thiserror::Error)]
pub enum BroadcastError {
    /// Status 400: the update is malformed, stale, lacks signatures, or the orderer does not order for the channel.
    #[error("{target} refused the envelope for {channel}: {text}")]
    BadRequest {
        /// Who was asked.
        target: Target,
        /// For which channel.
        channel: String,
        /// Why. It names one failing element only.
        text: String,
    },
    /// Status 403: the submitter does not satisfy the channel's Writers policy.
    #[error("{target} does not let {identity} write to {channel}: {text}")]
    Forbidden {
        /// Who was asked.
        target: Target,
        /// For which channel.
        channel: String,
        /// MSP and subject of the submitter.
        identity: String,
        /// Why.
        text: String,
    },
    /// Status 503: no leader, starting, in maintenance; with BFT also every update that the chain refuses.
    #[error("{target} cannot order for {channel} now: {text}")]
    Unavailable {
        /// Who was asked.
        target: Target,
        /// For which channel.
        channel: String,
        /// Why.
        text: String,
    },
    /// Any other status, or the stream ended without one: whether the envelope was queued is unknown.
    #[error("{target} left open whether it took the envelope for {channel} ({text}); read the configuration to know")]
    Unknown {
        /// Who was asked.
        target: Target,
        /// For which channel.
        channel: String,
        /// What came.
        text: String,
    },
    /// The envelope could not be signed.
    #[error("the envelope could not be signed")]
    Identity(#[from] IdentityError),
    /// Bytes that are not an envelope.
    #[error("the bytes to submit are not an envelope")]
    Envelope {
        /// Why.
        source: prost::DecodeError,
    },
    /// No answer: whether the envelope was queued is unknown.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl BroadcastError {
    /// Whether the orderer does not order for the channel: it only follows it, or has not joined it, or not any more. Others of
    /// the channel may take the envelope (`orderer/common/multichannel/registrar.go`; the second text is that of 2.5).
    pub fn is_elsewhere(&self) -> bool {
        let elsewhere =
            |text: &str| text == "channel does not exist" || text.starts_with("channel creation request not allowed");
        matches!(self, Self::BadRequest { text, .. } if elsewhere(text))
    }

    /// What the failure says.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::BadRequest { .. } | Self::Identity(_) | Self::Envelope { .. } => FailureKind::Refused,
            Self::Forbidden { .. } => FailureKind::Forbidden,
            Self::Unavailable { .. } => FailureKind::Unreachable,
            Self::Unknown { .. } => FailureKind::Protocol,
            Self::Transport(error) => error.kind(),
        }
    }
}

/// A client of one orderer's Broadcast service.
#[derive(Debug, Clone)]
pub struct BroadcastClient {
    channel: Channel,
    identity: SigningIdentity,
}

impl BroadcastClient {
    /// Submits as this identity, which needs the channel's Writers policy.
    pub fn new(endpoint: Endpoint, identity: SigningIdentity) -> Self {
        Self { channel: Channel::new(endpoint), identity }
    }

    /// Submits an encoded `common.ConfigUpdateEnvelope` (see [`ConfigUpdate::signed_by`]), wrapped and signed as the
    /// submitter. Success means queued, never committed: read the next config block to know. The submitter's own
    /// signature must be in the envelope to count as an administrator's.
    ///
    /// [`ConfigUpdate::signed_by`]: crate::config::update::ConfigUpdate::signed_by
    pub async fn submit_config_update(&self, channel: &str, update_envelope: &[u8]) -> Result<(), BroadcastError> {
        let tls_hash = self.channel.endpoint().tls_hash();
        let header = envelope::channel_header(HeaderType::ConfigUpdate, channel, tls_hash);
        let request = envelope::signed(&self.identity, &header, envelope::nonce()?, update_envelope.to_vec())?;
        self.send(channel, request).await
    }

    /// Submits a finished, encoded `common.Envelope` (see [`ConfigUpdate::envelope`]) for a channel. Success means
    /// queued, never committed. Whether the envelope was queued is known unless the answer is
    /// [`BroadcastError::Unknown`] or [`BroadcastError::Transport`]; to send the same bytes again is harmless then: an
    /// update that was committed is refused as stale.
    ///
    /// [`ConfigUpdate::envelope`]: crate::config::update::ConfigUpdate::envelope
    pub async fn submit_envelope(&self, channel: &str, envelope: &[u8]) -> Result<(), BroadcastError> {
        let request = Envelope::decode(envelope).map_err(|source| BroadcastError::Envelope { source })?;
        self.send(channel, request).await
    }

    async fn send(&self, channel: &str, request: Envelope) -> Result<(), BroadcastError> {
        let mut grpc = self.channel.grpc().await?;
        let codec = ProstCodec::<Envelope, BroadcastResponse>::default();
        let requests = tonic::Request::new(futures::stream::iter([request]));
        let call = async { grpc.streaming(requests, PATH, codec).await?.into_inner().message().await };
        let target = self.channel.endpoint().target().clone();
        let channel = channel.to_owned();
        let answer = match self.channel.bounded("ordering an envelope", call).await? {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                return Err(BroadcastError::Unknown { target, channel, text: "the stream ended".to_owned() });
            }
            Err(status) => {
                let text = format!("{:?}: {}", status.code(), status.message());
                return Err(BroadcastError::Unknown { target, channel, text });
            }
        };
        let text = answer.info.chars().take(MAX_TEXT).collect();
        match answer.status {
            200 => Ok(()),
            400 => Err(BroadcastError::BadRequest { target, channel, text }),
            403 => {
                let identity = format!("{} ({})", self.identity.certificate().subject, self.identity.msp_id());
                Err(BroadcastError::Forbidden { target, channel, identity, text })
            }
            503 => Err(BroadcastError::Unavailable { target, channel, text }),
            status => Err(BroadcastError::Unknown { target, channel, text: format!("status {status}: {text}") }),
        }
    }
}
