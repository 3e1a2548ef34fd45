//! Reading blocks: `orderer.AtomicBroadcast/Deliver` and `protos.Deliver/Deliver` (`common/deliver/deliver.go`).

use prost::Message;
use sha2::{Digest, Sha256};
use tenter_fabric_wire::common::{
    Block as WireBlock, Envelope, HeaderType, LastConfig, Metadata, OrdererBlockMetadata,
};
use tenter_fabric_wire::orderer::{SeekInfo, SeekNewest, SeekPosition, SeekSpecified, seek_info, seek_position};
use tonic::Streaming;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;
use x509_cert::der::asn1::OctetStringRef;
use x509_cert::der::{Encode, Header, Length, Tag};

use super::FailureKind;
use super::connect::{Endpoint, Target, TransportError};
use super::envelope;
use super::grpc::Channel;
use crate::identity::{IdentityError, SigningIdentity};

/// Metadata slots of a block (`common/common.proto`, `BlockMetadataIndex`).
const SIGNATURES: usize = 0;
const LAST_CONFIG: usize = 1;

/// The answer's block stays encoded: bytes that are passed on must be those that the node sent.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct RawDeliverResponse {
    #[prost(int32, optional, tag = "1")]
    status: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "2")]
    block: Option<Vec<u8>>,
}

/// A block as a node sent it, its number, hashes and data checked against each other. Its signatures are not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveredBlock {
    /// Number.
    pub number: u64,
    /// Hash of the block before; empty for block 0.
    pub previous_hash: Vec<u8>,
    /// Hash of the header, which the next block names.
    pub hash: [u8; 32],
    /// Number of the config block in force, if the metadata says so.
    pub last_config: Option<u64>,
    /// The encoded `common.Block`.
    pub bytes: Vec<u8>,
}

impl DeliveredBlock {
    /// Reads an encoded `common.Block` and checks its data against its header.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BlockError> {
        let block = WireBlock::decode(bytes.as_slice()).map_err(|error| BlockError::Encoding(error.to_string()))?;
        let header = block.header.ok_or(BlockError::Missing("header"))?;
        let data = block.data.ok_or(BlockError::Missing("data"))?;
        let mut hash = Sha256::new();
        data.data.iter().for_each(|entry| hash.update(entry));
        if hash.finalize().as_slice() != header.data_hash.as_slice() {
            return Err(BlockError::DataHash { number: header.number });
        }
        Ok(Self {
            number: header.number,
            hash: header_hash(header.number, &header.previous_hash, &header.data_hash)
                .map_err(|error| BlockError::Encoding(error.to_string()))?,
            previous_hash: header.previous_hash,
            last_config: last_config(&block.metadata.map(|metadata| metadata.metadata).unwrap_or_default()),
            bytes,
        })
    }

    /// Whether `next` is the block after this one.
    pub fn check_link(&self, next: &Self) -> Result<(), BlockError> {
        if self.number.checked_add(1) != Some(next.number) {
            return Err(BlockError::Number { expected: self.number.saturating_add(1), found: next.number });
        }
        if next.previous_hash != self.hash {
            return Err(BlockError::Link { number: next.number });
        }
        Ok(())
    }
}

/// Why bytes are not the block they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// No encoded block.
    #[error("the bytes are no block: {0}")]
    Encoding(String),
    /// A part is missing.
    #[error("the block has no {0}")]
    Missing(&'static str),
    /// The data is not what the header says.
    #[error("the data of block {number} does not have the hash that its header says")]
    DataHash {
        /// Which block.
        number: u64,
    },
    /// Another block than the one asked for.
    #[error("block {found} came where block {expected} was asked for")]
    Number {
        /// Which was asked for.
        expected: u64,
        /// Which came.
        found: u64,
    },
    /// The block does not follow the one before.
    #[error("block {number} does not name the hash of the block before it: the chain is broken, or is another one")]
    Link {
        /// Which block.
        number: u64,
    },
}

/// Block hash: SHA-256 of the DER sequence of number, previous hash and data hash (`protoutil/blockutils.go`).
fn header_hash(number: u64, previous: &[u8], data: &[u8]) -> Result<[u8; 32], x509_cert::der::Error> {
    let mut content = number.to_der()?;
    content.extend(OctetStringRef::new(previous)?.to_der()?);
    content.extend(OctetStringRef::new(data)?.to_der()?);
    let mut whole = Header::new(Tag::Sequence, Length::try_from(content.len())?).to_der()?;
    whole.extend(content);
    Ok(Sha256::digest(&whole).into())
}

/// From the signatures' metadata, or, as written before 2.0, from the slot of its own.
fn last_config(metadata: &[Vec<u8>]) -> Option<u64> {
    let value = |slot: usize| {
        let bytes = metadata.get(slot).filter(|bytes| !bytes.is_empty())?;
        Metadata::decode(bytes.as_slice()).ok().map(|metadata| metadata.value)
    };
    value(SIGNATURES)
        .and_then(|value| OrdererBlockMetadata::decode(value.as_slice()).ok())
        .and_then(|metadata| metadata.last_config)
        .or_else(|| value(LAST_CONFIG).and_then(|value| LastConfig::decode(value.as_slice()).ok()))
        .map(|last| last.index)
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
            Self::Block { .. } | Self::NoConfig { .. } => FailureKind::Protocol,
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
    pub async fn newest(&self, channel: &str) -> Result<DeliveredBlock, DeliverError> {
        self.single(channel, newest(), OnTrouble::BestEffort).await
    }

    /// Block `number`; [`DeliverError::NotFound`] where it does not exist yet.
    pub async fn block(&self, channel: &str, number: u64) -> Result<DeliveredBlock, DeliverError> {
        let block = self.single(channel, specified(number), OnTrouble::BestEffort).await?;
        if block.number == number {
            return Ok(block);
        }
        Err(self.wrong(channel, BlockError::Number { expected: number, found: block.number }))
    }

    /// The config block in force: the one that the newest block names.
    pub async fn config_block(&self, channel: &str) -> Result<DeliveredBlock, DeliverError> {
        let newest = self.newest(channel).await?;
        match newest.last_config {
            Some(number) if number == newest.number => Ok(newest),
            Some(number) => self.block(channel, number).await,
            None => Err(DeliverError::NoConfig { target: self.target(), channel: channel.to_owned() }),
        }
    }

    /// Whether an orderer's consensus works: the newest block, asked for so that a node without leader or quorum
    /// answers [`DeliverError::Unavailable`]. Participation status and /healthz stay green then.
    pub async fn health(&self, channel: &str) -> Result<DeliveredBlock, DeliverError> {
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
        let stream = self.open(channel, &seek).await?;
        Ok(BlockStream { client: self.clone(), channel: channel.to_owned(), stream, expected: from, last: None })
    }

    async fn single(
        &self,
        channel: &str,
        position: SeekPosition,
        trouble: OnTrouble,
    ) -> Result<DeliveredBlock, DeliverError> {
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

    async fn open(&self, channel: &str, seek: &SeekInfo) -> Result<Streaming<RawDeliverResponse>, DeliverError> {
        let tls_hash = self.channel.endpoint().tls_hash();
        let header = envelope::channel_header(HeaderType::DeliverSeekInfo, channel, tls_hash);
        let request = envelope::signed(&self.identity, &header, envelope::nonce()?, seek.encode_to_vec())?;
        let mut grpc = self.channel.grpc().await?;
        let codec = ProstCodec::<Envelope, RawDeliverResponse>::default();
        let requests = tonic::Request::new(futures::stream::iter([request]));
        let call = grpc.streaming(requests, PathAndQuery::from_static(self.path), codec);
        match self.channel.bounded("opening a stream of blocks", call).await? {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(self.rpc(channel, &status)),
        }
    }

    /// A block, the end of the stream, or the failure that an answer means.
    fn read(
        &self,
        channel: &str,
        answer: Result<Option<RawDeliverResponse>, tonic::Status>,
    ) -> Result<Option<DeliveredBlock>, DeliverError> {
        let Some(answer) = answer.map_err(|status| self.rpc(channel, &status))? else {
            return Ok(None);
        };
        let (target, name) = (self.target(), channel.to_owned());
        match (answer.block, answer.status) {
            (Some(bytes), None) => DeliveredBlock::parse(bytes).map(Some).map_err(|source| self.wrong(channel, source)),
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

    fn ended(&self, channel: &str) -> DeliverError {
        DeliverError::Ended { target: self.target(), channel: channel.to_owned() }
    }

    fn target(&self) -> Target {
        self.channel.endpoint().target().clone()
    }
}

/// Blocks as they come, each the successor of the one before.
#[derive(Debug)]
pub struct BlockStream {
    client: DeliverClient,
    channel: String,
    stream: Streaming<RawDeliverResponse>,
    expected: u64,
    last: Option<DeliveredBlock>,
}

impl BlockStream {
    /// Waits for the next block, without a bound: blocks may be days apart. Keepalive ends a dead connection, and
    /// dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<DeliveredBlock, DeliverError> {
        let answer = self.stream.message().await;
        let Some(block) = self.client.read(&self.channel, answer)? else {
            return Err(self.client.ended(&self.channel));
        };
        let checked = match &self.last {
            Some(last) => last.check_link(&block),
            None if block.number == self.expected => Ok(()),
            None => Err(BlockError::Number { expected: self.expected, found: block.number }),
        };
        checked.map_err(|source| self.client.wrong(&self.channel, source))?;
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
