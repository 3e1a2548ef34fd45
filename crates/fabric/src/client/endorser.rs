//! A peer's Endorser: system chaincodes called with signed proposals (`core/endorser/endorser.go`).

use std::collections::BTreeSet;

use prost::Message;
use tenter_fabric_wire::common::{BlockchainInfo, Header, HeaderType};
use tenter_fabric_wire::protos::{
    ChaincodeHeaderExtension, ChaincodeId, ChaincodeInput, ChaincodeInvocationSpec, ChaincodeProposalPayload,
    ChaincodeSpec, ChannelQueryResponse, Proposal, ProposalResponse, SignedProposal, chaincode_spec,
};
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::FailureKind;
use super::connect::{Endpoint, Target, TransportError};
use super::deliver::checked;

use super::envelope;
use super::grpc::Channel;
use crate::block::{Block, BlockError};
use crate::identity::{self, IdentityError, SigningIdentity};

const PATH: PathAndQuery = PathAndQuery::from_static("/protos.Endorser/ProcessProposal");
const CSCC: &str = "cscc";
const QSCC: &str = "qscc";
const SUCCESS: i32 = 200;
/// How much of a node's error text is kept.
const MAX_TEXT: usize = 2000;

/// Where a peer stands in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerChannel {
    /// Number of blocks.
    pub height: u64,
    /// Hash of the newest block.
    pub current_hash: Vec<u8>,
    /// Hash of the one before.
    pub previous_hash: Vec<u8>,
    /// The last block of the snapshot the peer began with: it has no earlier blocks.
    pub snapshot_block: Option<u64>,
}

/// Why a call to a peer failed.
#[derive(Debug, thiserror::Error)]
pub enum EndorserError {
    /// The peer has a ledger of this name (whatever its genesis block was).
    #[error("{target} has already joined a channel of this name; compare its block 0 before relying on it")]
    AlreadyJoined {
        /// Who was asked.
        target: Target,
    },
    /// The identity may not do this.
    #[error("{target} does not let {identity} do this: {text}")]
    AccessDenied {
        /// Who was asked.
        target: Target,
        /// MSP and subject that signed.
        identity: String,
        /// What the peer says.
        text: String,
    },
    /// The peer does not serve the channel. Only its absence from [`EndorserClient::list_channels`] proves that the
    /// peer has not joined it: a ledger may be there and still starting.
    #[error("{target} does not serve the channel {channel}")]
    UnknownChannel {
        /// Who was asked.
        target: Target,
        /// About what.
        channel: String,
    },
    /// The peer understood and refused, or the chaincode failed.
    #[error("{target} refused {function} with status {status}: {text}")]
    Refused {
        /// Who was asked.
        target: Target,
        /// What was called.
        function: String,
        /// Status of the response.
        status: i32,
        /// What the peer says.
        text: String,
    },
    /// The proposal was rejected before any chaincode ran.
    #[error("{target} rejected the proposal {function}: {text}")]
    Rejected {
        /// Who was asked.
        target: Target,
        /// What was called.
        function: String,
        /// What the peer says.
        text: String,
    },
    /// The answer cannot be read.
    #[error("{target} answered {function} with something unreadable: {evidence}")]
    Protocol {
        /// Who was asked.
        target: Target,
        /// What was called.
        function: String,
        /// What came.
        evidence: String,
    },
    /// What came is not the block that was asked for.
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
    /// The proposal could not be signed.
    #[error("the proposal could not be signed")]
    Identity(#[from] IdentityError),
    /// No answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl EndorserError {
    /// What the failure says; never that something is absent.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::AccessDenied { .. } => FailureKind::Forbidden,
            Self::AlreadyJoined { .. }
            | Self::UnknownChannel { .. }
            | Self::Refused { .. }
            | Self::Rejected { .. }
            | Self::Identity(_) => FailureKind::Refused,
            Self::Protocol { .. } | Self::Block { .. } | Self::OtherBlock { .. } => FailureKind::Protocol,
            Self::Transport(error) => error.kind(),
        }
    }
}

/// A call of a chaincode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Channel in the header; empty for what concerns the peer itself.
    pub channel: String,
    /// Chaincode.
    pub chaincode: String,
    /// Arguments; the first is the function's name.
    pub args: Vec<Vec<u8>>,
}

impl Call {
    fn new(channel: &str, chaincode: &str, function: &str, more: &[&[u8]]) -> Self {
        let mut args = vec![function.as_bytes().to_vec()];
        args.extend(more.iter().map(|arg| arg.to_vec()));
        Self { channel: channel.to_owned(), chaincode: chaincode.to_owned(), args }
    }

    fn function(&self) -> String {
        let name = self.args.first().map(|arg| String::from_utf8_lossy(arg)).unwrap_or_default();
        format!("{}.{name}", self.chaincode)
    }

    /// The channel it is about: the one in its header, or its second argument.
    fn subject(&self) -> String {
        if !self.channel.is_empty() {
            return self.channel.clone();
        }
        self.args.get(1).map(|arg| String::from_utf8_lossy(arg).into_owned()).unwrap_or_default()
    }
}

/// A proposal with what is needed to make a transaction of it.
#[derive(Debug, Clone)]
pub struct PreparedProposal {
    /// The transaction's id.
    pub tx_id: String,
    /// The encoded proposal.
    pub bytes: Vec<u8>,
    /// The identity's signature over it.
    pub signature: Vec<u8>,
}

/// A client of one peer's Endorser.
#[derive(Debug, Clone)]
pub struct EndorserClient {
    channel: Channel,
    identity: SigningIdentity,
}

impl EndorserClient {
    /// Calls with this identity.
    pub fn new(endpoint: Endpoint, identity: SigningIdentity) -> Self {
        Self { channel: Channel::new(endpoint), identity }
    }

    /// Makes the peer join the channel of this genesis block. Needs an administrator of the peer's local MSP.
    /// A second join is refused whatever the block, so look at [`Self::list_channels`] and block 0 first.
    pub async fn join_channel(&self, genesis: &[u8]) -> Result<(), EndorserError> {
        self.call(&Call::new("", CSCC, "JoinChain", &[genesis])).await.map(drop)
    }

    /// Channels that the peer has joined. Any member of the peer's organisation may ask.
    pub async fn list_channels(&self) -> Result<BTreeSet<String>, EndorserError> {
        let call = Call::new("", CSCC, "GetChannels", &[]);
        let answer: ChannelQueryResponse = self.decode(&call, &self.call(&call).await?)?;
        Ok(answer.channels.into_iter().map(|channel| channel.channel_id).collect())
    }

    /// Where the peer stands in a channel.
    pub async fn channel_info(&self, channel: &str) -> Result<PeerChannel, EndorserError> {
        let call = Call::new(channel, QSCC, "GetChainInfo", &[channel.as_bytes()]);
        let info: BlockchainInfo = self.decode(&call, &self.call(&call).await?)?;
        Ok(PeerChannel {
            height: info.height,
            current_hash: info.current_block_hash,
            previous_hash: info.previous_block_hash,
            snapshot_block: info.bootstrapping_snapshot_info.map(|snapshot| snapshot.last_block_in_snapshot),
        })
    }

    /// Block `number` as the peer keeps it.
    pub async fn block(&self, channel: &str, number: u64) -> Result<Block, EndorserError> {
        let text = number.to_string();
        let call = Call::new(channel, QSCC, "GetBlockByNumber", &[channel.as_bytes(), text.as_bytes()]);
        let block = self.parse_block(channel, self.call(&call).await?)?;
        if block.number() != number {
            return Err(EndorserError::OtherBlock {
                target: self.target(),
                channel: channel.to_owned(),
                expected: number,
                found: block.number(),
            });
        }
        Ok(block)
    }

    /// The config block in force on the peer.
    pub async fn channel_config(&self, channel: &str) -> Result<Block, EndorserError> {
        let call = Call::new(channel, CSCC, "GetConfigBlock", &[channel.as_bytes()]);
        self.parse_block(channel, self.call(&call).await?)
    }

    /// Calls a chaincode and returns the payload of a successful response.
    pub async fn call(&self, call: &Call) -> Result<Vec<u8>, EndorserError> {
        let proposal = self.prepare(call)?;
        let response = self.propose(call, &proposal).await?.response.unwrap_or_default();
        if response.status == SUCCESS {
            return Ok(response.payload);
        }
        Err(self.refused(call, response.status, &response.message))
    }

    /// Makes and signs a proposal.
    pub fn prepare(&self, call: &Call) -> Result<PreparedProposal, EndorserError> {
        let nonce = envelope::nonce()?;
        let chaincode_id = || Some(ChaincodeId { name: call.chaincode.clone(), ..ChaincodeId::default() });
        let mut header = envelope::channel_header(
            HeaderType::EndorserTransaction,
            &call.channel,
            self.channel.endpoint().tls_hash(),
        );
        header.tx_id = identity::tx_id(&nonce, self.identity.creator());
        header.extension = ChaincodeHeaderExtension { chaincode_id: chaincode_id() }.encode_to_vec();
        let spec = ChaincodeInvocationSpec {
            chaincode_spec: Some(ChaincodeSpec {
                r#type: chaincode_spec::Type::Golang.into(),
                chaincode_id: chaincode_id(),
                input: Some(ChaincodeInput { args: call.args.clone(), ..ChaincodeInput::default() }),
                timeout: 0,
            }),
        };
        let payload = ChaincodeProposalPayload { input: spec.encode_to_vec(), ..ChaincodeProposalPayload::default() };
        let bytes = Proposal {
            header: Header {
                channel_header: header.encode_to_vec(),
                signature_header: self.identity.signature_header(nonce),
            }
            .encode_to_vec(),
            payload: payload.encode_to_vec(),
            extension: Vec::new(),
        }
        .encode_to_vec();
        let signature = self.identity.sign(&bytes)?;
        Ok(PreparedProposal { tx_id: header.tx_id, bytes, signature })
    }

    /// Sends a proposal and returns the response, whatever its status.
    async fn propose(&self, call: &Call, proposal: &PreparedProposal) -> Result<ProposalResponse, EndorserError> {
        let mut grpc = self.channel.grpc().await?;
        let request = tonic::Request::new(SignedProposal {
            proposal_bytes: proposal.bytes.clone(),
            signature: proposal.signature.clone(),
        });
        let codec = ProstCodec::<SignedProposal, ProposalResponse>::default();
        match self.channel.bounded("a proposal", grpc.unary(request, PATH, codec)).await? {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(self.rejected(call, &status)),
        }
    }

    /// Sorts a response that is no success. Fabric tells these apart by text only.
    fn refused(&self, call: &Call, status: i32, message: &str) -> EndorserError {
        let text = cut(message);
        let target = self.target();
        if text.contains("already exists with state") {
            EndorserError::AlreadyJoined { target }
        } else if is_unknown_channel(&text) {
            EndorserError::UnknownChannel { target, channel: call.subject() }
        } else if is_denied(&text) {
            EndorserError::AccessDenied { target, identity: self.identity_text(), text }
        } else {
            EndorserError::Refused { target, function: call.function(), status, text }
        }
    }

    /// Sorts a gRPC error of the peer: it rejects proposals before execution with the code Unknown.
    fn rejected(&self, call: &Call, status: &tonic::Status) -> EndorserError {
        let text = cut(status.message());
        let target = self.target();
        if is_denied(&text) || text.contains("identity expired") {
            return EndorserError::AccessDenied { target, identity: self.identity_text(), text };
        }
        EndorserError::Rejected { target, function: call.function(), text: format!("{:?}: {text}", status.code()) }
    }

    fn decode<M: Message + Default>(&self, call: &Call, payload: &[u8]) -> Result<M, EndorserError> {
        M::decode(payload).map_err(|error| EndorserError::Protocol {
            target: self.target(),
            function: call.function(),
            evidence: error.to_string(),
        })
    }

    fn parse_block(&self, channel: &str, bytes: Vec<u8>) -> Result<Block, EndorserError> {
        checked(bytes).map_err(|source| self.wrong(channel, source))
    }

    fn wrong(&self, channel: &str, source: BlockError) -> EndorserError {
        EndorserError::Block { target: self.target(), channel: channel.to_owned(), source }
    }

    fn target(&self) -> Target {
        self.channel.endpoint().target().clone()
    }

    fn identity_text(&self) -> String {
        format!("{} ({})", self.identity.certificate().subject, self.identity.msp_id())
    }
}

/// Texts of `core/endorser/endorser.go`, `core/scc/cscc/configure.go` and `core/scc/qscc/query.go`. Without a channel in
/// the header an unknown one is denied, because it has no policies.
fn is_unknown_channel(text: &str) -> bool {
    (text.starts_with("channel '") && text.ends_with("' not found"))
        || text.starts_with("Unknown channel ID, ")
        || text.starts_with("unknown channel ID, ")
        || text.starts_with("Invalid chain ID, ")
        || text.contains(": Failed to get policy manager for channel [")
}

/// cscc, qscc and the endorser say the first, `_lifecycle` the second (`core/chaincode/lifecycle/scc.go`).
fn is_denied(text: &str) -> bool {
    text.contains("access denied") || text.contains("failed ACL check")
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
