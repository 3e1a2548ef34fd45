//! Reading blocks: `orderer.AtomicBroadcast/Deliver` and `protos.Deliver/Deliver` (`common/deliver/deliver.go`).

use std::fmt;
use std::pin::Pin;

use prost::Message;
use tenter_fabric_wire::common::{Envelope, HeaderType};
use tenter_fabric_wire::orderer::{SeekInfo, SeekNewest, SeekPosition, SeekSpecified, seek_info, seek_position};
use tonic::Streaming;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::FailureKind;
use super::connect::{Endpoint, Target, TransportError};
use super::envelope;
use super::grpc::Channel;
use crate::block::{Block, BlockError};
use crate::identity::{IdentityError, SigningIdentity};

/// The answer's block stays encoded: bytes that are passed on must be those that the node sent.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct RawDeliverResponse {
    #[prost(int32, optional, tag = "1")]
    status: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "2")]
    block: Option<Vec<u8>>,
}

/// Reads a block and checks its data against its header. Its signatures are not judged.
pub(crate) fn checked(bytes: Vec<u8>) -> Result<Block, BlockError> {
    let block = Block::from_bytes(bytes)?;
    block.verify_data_hash()?;
    Ok(block)
}

/// Why blocks could not be read. Nodes send a status without text, so each says what it may mean.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// Status 400.
    #[error(
        "{target} calls the request for {channel} malformed: the clocks may differ by more than 15 minutes, or the node \
         demands a TLS client certificate and none, or another one, is configured here"
    )]
    BadRequest {
        /// Who was asked.
        target: Target,
        /// About what.
        channel: String,
    },
    /// Status 403.
    #[error(
        "{target} does not let {identity} read {channel}: its organisation may not satisfy the Readers policy, its \
         certificate may have expired, or the channel may be in maintenance"
    )]
    Forbidden {
        /// Who was asked.
        target: Target,
        /// About what.
        channel: String,
        /// MSP and subject that signed.
        identity: String,
    },
    /// Status 404. Proves no absence: an orderer that only follows the channel says the same.
    #[error("{target} does not serve {channel}, or not the block asked for: it may be unknown there, or only followed")]
    NotFound {
        /// Who was asked.
        target: Target,
        /// About what.
        channel: String,
    },
    /// Status 503.
    #[error(
        "{target} cannot serve {channel} now: it has no leader or no quorum, or has just started or joined; look at its \
         metrics and its log if this lasts"
    )]
    Unavailable {
        /// Who was asked.
        target: Target,
        /// About what.
        channel: String,
    },
    /// Any other status.
    #[error("{target} answered with status {status} for {channel}; its log has the reason")]
    Status {
        /// Who was asked.
        target: Target,
        /// About what.
        channel: String,
        /// The status.
        status: i32,
    },
    /// An error of gRPC, not of Deliver.
    #[error("{target} refused the call for {channel}: {text}")]
    Rpc {
        /// Who was asked.
        target: Target,
        /// About what.
        channel: String,
        /// Code and text.
        text: String,
    },
    /// The stream ended before what was asked for came.
    #[error("{target} ended the stream of {channel} early; ask again")]
    Ended {
        /// Who was asked.
        target: Target,
        /// About what.
        channel: String,
    },
    /// What came is not what was asked for.
    #[error("{target} sent a wrong block of {channel}")]
    Block {
        /// Who was asked.
        target: Target,
        /// About what.
        channel: String,
        /// What is wrong.
        #[source]
        source: BlockError,
    },
    /// Another block came.
    #[error("{target} sent block {found} of {channel} where block {expected} was asked for")]
    OtherBlock {
        /// Who was asked.
        target: Target,
        /// About what.
        channel: String,
        /// Which was asked for.
        expected: u64,
        /// Which came.
        found: u64,
    },
    /// The newest block does not say which config block is in force.
    #[error("{target} sent a block of {channel} that names no config block")]
    NoConfig {
        /// Who was asked.
        target: Target,
        /// About what.
        channel: String,
    },
    /// The request could not be signed.
    #[error("the request could not be signed")]
    Identity(#[from] IdentityError),
    /// No answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl DeliverError {
    /// What the failure says about the channel; never that it is absent.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::BadRequest { .. } | Self::NotFound { .. } | Self::Rpc { .. } | Self::Identity(_) => {
                FailureKind::Refused
            }
            Self::Forbidden { .. } => FailureKind::Forbidden,
            Self::Unavailable { .. } | Self::Status { .. } | Self::Ended { .. } => FailureKind::Unreachable,
            Self::Block { .. } | Self::OtherBlock { .. } | Self::NoConfig { .. } => FailureKind::Protocol,
            Self::Transport(error) => error.kind(),
        }
    }
}

/// Whether an orderer serves blocks while its consensus is in trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnTrouble {
    /// Serve what there is: for reading.
    BestEffort,
    /// Say 503: for health.
    Strict,
}

/// A client of one node's Deliver service.
#[derive(Debug, Clone)]
pub struct DeliverClient {
    channel: Channel,
    path: &'static str,
    identity: SigningIdentity,
}

impl DeliverClient {
    /// Reads from an orderer. Needs the channel's Readers policy.
    pub fn orderer(endpoint: Endpoint, identity: SigningIdentity) -> Self {
        Self { channel: Channel::new(endpoint), path: "/orderer.AtomicBroadcast/Deliver", identity }
    }

    /// Reads from a peer. Needs the channel's Application Readers policy, or what the ACL `event/Block` says.
    pub fn peer(endpoint: Endpoint, identity: SigningIdentity) -> Self {
        Self { channel: Channel::new(endpoint), path: "/protos.Deliver/Deliver", identity }
    }

    /// The newest block.
    pub async fn newest(&self, channel: &str) -> Result<Block, DeliverError> {
        self.single(channel, newest(), OnTrouble::BestEffort).await
    }

    /// Block `number`; [`DeliverError::NotFound`] where it does not exist yet.
    pub async fn block(&self, channel: &str, number: u64) -> Result<Block, DeliverError> {
        let block = self.single(channel, specified(number), OnTrouble::BestEffort).await?;
        if block.number() == number {
            return Ok(block);
        }
        Err(self.other_block(channel, number, &block))
    }

    /// The config block in force: the one that the newest block names.
    pub async fn config_block(&self, channel: &str) -> Result<Block, DeliverError> {
        let newest = self.newest(channel).await?;
        match newest.last_config_index() {
            Some(number) if number == newest.number() => Ok(newest),
            Some(number) => self.block(channel, number).await,
            None => Err(DeliverError::NoConfig { target: self.target(), channel: channel.to_owned() }),
        }
    }

    /// Whether an orderer's consensus works: the newest block, asked for so that a node without leader or quorum
    /// answers [`DeliverError::Unavailable`]. Participation status and /healthz stay green then.
    pub async fn health(&self, channel: &str) -> Result<Block, DeliverError> {
        self.single(channel, newest(), OnTrouble::Strict).await
    }

    /// Follows the channel from block `from` on, which may be yet to come. The first answer is not waited for.
    /// When the stream fails, the caller follows again from the block after the last one it got.
    pub async fn follow(&self, channel: &str, from: u64) -> Result<BlockStream, DeliverError> {
        let seek = SeekInfo {
            start: Some(specified(from)),
            stop: Some(specified(u64::MAX)),
            behavior: seek_info::SeekBehavior::BlockUntilReady.into(),
            error_response: seek_info::SeekErrorResponse::BestEffort.into(),
            ..SeekInfo::default()
        };
        let answers = Answers::Opening(self.call(channel, &seek).await?);
        Ok(BlockStream { client: self.clone(), channel: channel.to_owned(), answers, expected: from, last: None })
    }

    async fn single(&self, channel: &str, position: SeekPosition, trouble: OnTrouble) -> Result<Block, DeliverError> {
        let seek = SeekInfo {
            start: Some(position.clone()),
            stop: Some(position),
            behavior: seek_info::SeekBehavior::FailIfNotReady.into(),
            error_response: match trouble {
                OnTrouble::BestEffort => seek_info::SeekErrorResponse::BestEffort.into(),
                OnTrouble::Strict => seek_info::SeekErrorResponse::Strict.into(),
            },
            ..SeekInfo::default()
        };
        let mut stream = self.open(channel, &seek).await?;
        let answer = self.channel.bounded("sending a block", stream.message()).await?;
        match self.read(channel, answer)? {
            Some(block) => Ok(block),
            None => Err(self.ended(channel)),
        }
    }

    /// Connects and signs; the call itself is not begun.
    async fn call(&self, channel: &str, seek: &SeekInfo) -> Result<Call, DeliverError> {
        let tls_hash = self.channel.endpoint().tls_hash();
        let header = envelope::channel_header(HeaderType::DeliverSeekInfo, channel, tls_hash);
        let request = envelope::signed(&self.identity, &header, envelope::nonce()?, seek.encode_to_vec())?;
        let mut grpc = self.channel.grpc().await?;
        let path = PathAndQuery::from_static(self.path);
        Ok(Box::pin(async move {
            let codec = ProstCodec::<Envelope, RawDeliverResponse>::default();
            let requests = tonic::Request::new(futures::stream::iter([request]));
            Ok(grpc.streaming(requests, path, codec).await?.into_inner())
        }))
    }

    async fn open(&self, channel: &str, seek: &SeekInfo) -> Result<Streaming<RawDeliverResponse>, DeliverError> {
        let call = self.call(channel, seek).await?;
        match self.channel.bounded("opening a stream of blocks", call).await? {
            Ok(stream) => Ok(stream),
            Err(status) => Err(self.rpc(channel, &status)),
        }
    }

    /// A block, the end of the stream, or the failure that an answer means.
    fn read(
        &self,
        channel: &str,
        answer: Result<Option<RawDeliverResponse>, tonic::Status>,
    ) -> Result<Option<Block>, DeliverError> {
        let Some(answer) = answer.map_err(|status| self.rpc(channel, &status))? else {
            return Ok(None);
        };
        let (target, name) = (self.target(), channel.to_owned());
        match (answer.block, answer.status) {
            (Some(bytes), None) => checked(bytes).map(Some).map_err(|source| self.wrong(channel, source)),
            // Success ends a range: there is nothing more.
            (None, Some(200)) => Ok(None),
            (None, Some(400)) => Err(DeliverError::BadRequest { target, channel: name }),
            (None, Some(403)) => Err(DeliverError::Forbidden {
                target,
                channel: name,
                identity: format!("{} ({})", self.identity.certificate().subject, self.identity.msp_id()),
            }),
            (None, Some(404)) => Err(DeliverError::NotFound { target, channel: name }),
            (None, Some(503)) => Err(DeliverError::Unavailable { target, channel: name }),
            (None, Some(status)) => Err(DeliverError::Status { target, channel: name, status }),
            _ => Err(self.channel.endpoint().protocol("an answer with neither a block nor a status").into()),
        }
    }

    fn rpc(&self, channel: &str, status: &tonic::Status) -> DeliverError {
        match self.channel.transport(status) {
            Some(error) => error.into(),
            None => DeliverError::Rpc {
                target: self.target(),
                channel: channel.to_owned(),
                text: format!("{:?}: {}", status.code(), status.message()),
            },
        }
    }

    fn wrong(&self, channel: &str, source: BlockError) -> DeliverError {
        DeliverError::Block { target: self.target(), channel: channel.to_owned(), source }
    }

    fn other_block(&self, channel: &str, expected: u64, found: &Block) -> DeliverError {
        DeliverError::OtherBlock { target: self.target(), channel: channel.to_owned(), expected, found: found.number() }
    }

    fn ended(&self, channel: &str) -> DeliverError {
        DeliverError::Ended { target: self.target(), channel: channel.to_owned() }
    }

    fn target(&self) -> Target {
        self.channel.endpoint().target().clone()
    }
}

/// A call that has no answer yet.
type Call = Pin<Box<dyn Future<Output = Result<Streaming<RawDeliverResponse>, tonic::Status>> + Send>>;

/// The answers to one request. Servers send the headers with the first answer, which may be as long in coming as any
/// block: to open the stream is a part of waiting for it.
enum Answers {
    Opening(Call),
    Open(Box<Streaming<RawDeliverResponse>>),
}

impl Answers {
    async fn message(&mut self) -> Result<Option<RawDeliverResponse>, tonic::Status> {
        loop {
            match self {
                Self::Opening(call) => *self = Self::Open(Box::new(call.await?)),
                Self::Open(stream) => return stream.message().await,
            }
        }
    }
}

/// Blocks as they come, each the successor of the one before. A stream that failed is not asked again.
pub struct BlockStream {
    client: DeliverClient,
    channel: String,
    answers: Answers,
    expected: u64,
    last: Option<Block>,
}

impl fmt::Debug for BlockStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client: _, channel, answers: _, expected, last: _ } = self;
        f.debug_struct("BlockStream").field("channel", channel).field("expected", expected).finish_non_exhaustive()
    }
}

impl BlockStream {
    /// Waits for the next block, without a bound: blocks may be days apart. Keepalive ends a dead connection, and
    /// dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Block, DeliverError> {
        let answer = self.answers.message().await;
        let Some(block) = self.client.read(&self.channel, answer)? else {
            return Err(self.client.ended(&self.channel));
        };
        match &self.last {
            Some(last) => {
                block.verify_follows(last).map_err(|source| self.client.wrong(&self.channel, source))?;
            }
            None if block.number() == self.expected => {}
            None => return Err(self.client.other_block(&self.channel, self.expected, &block)),
        }
        self.last = Some(block.clone());
        Ok(block)
    }
}

fn newest() -> SeekPosition {
    SeekPosition { r#type: Some(seek_position::Type::Newest(SeekNewest {})) }
}

fn specified(number: u64) -> SeekPosition {
    SeekPosition { r#type: Some(seek_position::Type::Specified(SeekSpecified { number })) }
}
