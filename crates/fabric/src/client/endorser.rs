//! A peer's Endorser: chaincodes called with signed proposals (`core/endorser/endorser.go`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use prost::Message;
use tenter_fabric_wire::common::BlockchainInfo;
use tenter_fabric_wire::protos::{ChannelQueryResponse, ProposalResponse, SignedProposal};
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::FailureKind;
use super::connect::{Endpoint, Target, TransportError};
use super::deliver::checked;

use super::envelope;
use super::grpc::Channel;
use crate::block::{Block, BlockError};
use crate::chaincode::lifecycle::{self, InstalledChaincode, LIFECYCLE, LifecycleError, Refusal};
use crate::chaincode::transaction::EndorsedError;
use crate::chaincode::{Approved, Call, Committed, Definition, Endorsed, Package, PackageId, SignedCall};
use crate::identity::{IdentityError, SigningIdentity};

const PATH: PathAndQuery = PathAndQuery::from_static("/protos.Endorser/ProcessProposal");
const CSCC: &str = "cscc";
const QSCC: &str = "qscc";
const SUCCESS: i32 = 200;
/// Answered for chaincodes without a definition, and for nothing else (`core/chaincode/lifecycle/scc.go`).
const NOT_DEFINED: i32 = 404;
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
    /// `_lifecycle` refused because of where the definition or the package stands.
    #[error("{target} refused {function}: {refusal}")]
    Lifecycle {
        /// Who was asked.
        target: Target,
        /// What was called.
        function: String,
        /// Why.
        refusal: Refusal,
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
            | Self::Lifecycle { .. }
            | Self::Refused { .. }
            | Self::Rejected { .. }
            | Self::Identity(_) => FailureKind::Refused,
            Self::Protocol { .. } | Self::Block { .. } | Self::OtherBlock { .. } => FailureKind::Protocol,
            Self::Transport(error) => error.kind(),
        }
    }
}

/// A call with these arguments.
fn call(channel: &str, chaincode: &str, function: &str, args: &[&[u8]]) -> Call {
    Call::new(channel, chaincode, function, args.iter().map(|arg| arg.to_vec()))
}

/// The channel that a call is about: the one in its header, or its second argument.
fn subject(call: &Call) -> String {
    if !call.channel.is_empty() {
        return call.channel.clone();
    }
    call.args.get(1).map(|arg| String::from_utf8_lossy(arg).into_owned()).unwrap_or_default()
}

/// Signs a call that is made now, to be endorsed by several peers.
pub fn sign(call: &Call, identity: &SigningIdentity) -> Result<SignedCall, EndorserError> {
    Ok(SignedCall::new(call, identity, envelope::nonce()?, Timestamp::now())?)
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
        self.call(&call("", CSCC, "JoinChain", &[genesis])).await.map(drop)
    }

    /// Channels that the peer has joined. Any member of the peer's organisation may ask.
    pub async fn list_channels(&self) -> Result<BTreeSet<String>, EndorserError> {
        let call = call("", CSCC, "GetChannels", &[]);
        let answer: ChannelQueryResponse = self.decode(&call, &self.call(&call).await?)?;
        Ok(answer.channels.into_iter().map(|channel| channel.channel_id).collect())
    }

    /// Where the peer stands in a channel.
    pub async fn channel_info(&self, channel: &str) -> Result<PeerChannel, EndorserError> {
        let call = call(channel, QSCC, "GetChainInfo", &[channel.as_bytes()]);
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
        let call = call(channel, QSCC, "GetBlockByNumber", &[channel.as_bytes(), text.as_bytes()]);
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
        let call = call(channel, CSCC, "GetConfigBlock", &[channel.as_bytes()]);
        self.parse_block(channel, self.call(&call).await?)
    }

    /// The packages that are installed on the peer. Its administrators may ask.
    pub async fn installed_chaincodes(&self) -> Result<BTreeMap<PackageId, InstalledChaincode>, EndorserError> {
        let call = lifecycle::installed_call();
        self.read(&call, lifecycle::read_installed(&self.call(&call).await?))
    }

    /// Installs a package; one that is there already is a success. Needs an administrator of the peer's local MSP. The
    /// peer answers when the package is built, which it may take minutes for: if the wait for it ends early, look at
    /// [`Self::installed_chaincodes`] later.
    pub async fn install_chaincode(&self, package: &Package) -> Result<PackageId, EndorserError> {
        let call = lifecycle::install_call(package);
        let installed = match self.call(&call).await {
            Ok(payload) => self.read(&call, lifecycle::read_install(&payload))?,
            Err(EndorserError::Lifecycle { refusal: Refusal::Installed { package_id }, .. }) => package_id,
            Err(error) => return Err(error),
        };
        if installed == *package.id() {
            return Ok(installed);
        }
        let evidence = format!("it gave {} the id {installed}", package.id());
        Err(EndorserError::Protocol { target: self.target(), function: call.function(), evidence })
    }

    /// The committed definition of a chaincode, or `None` if the channel has none of this name. Needs the channel's
    /// Writers policy, unless its ACLs say otherwise.
    pub async fn committed_chaincode(&self, channel: &str, name: &str) -> Result<Option<Committed>, EndorserError> {
        let call = lifecycle::committed_call(channel, name);
        match self.call(&call).await {
            Ok(payload) => self.read(&call, lifecycle::read_committed(name, &payload)).map(Some),
            Err(EndorserError::Refused { status: NOT_DEFINED, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All committed definitions of a channel, by name, without their approvals.
    pub async fn committed_chaincodes(&self, channel: &str) -> Result<BTreeMap<String, Committed>, EndorserError> {
        let call = lifecycle::all_committed_call(channel);
        self.read(&call, lifecycle::read_all_committed(&self.call(&call).await?))
    }

    /// What the peer's organisation has approved for a sequence, or the newest that it has approved; `None` if it has
    /// approved nothing there. Needs an administrator of the peer's local MSP.
    pub async fn approved_chaincode(
        &self,
        channel: &str,
        name: &str,
        sequence: Option<i64>,
    ) -> Result<Option<Approved>, EndorserError> {
        let call = lifecycle::approved_call(channel, name, sequence);
        match self.call(&call).await {
            Ok(payload) => self.read(&call, lifecycle::read_approved(name, &payload)).map(Some),
            Err(EndorserError::Refused { text, .. }) if lifecycle::says_not_approved(&text, channel, name) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether each member, by MSP ID, has approved exactly this definition, which must be the next one.
    pub async fn commit_readiness(
        &self,
        channel: &str,
        definition: &Definition,
        sequence: i64,
    ) -> Result<BTreeMap<String, bool>, EndorserError> {
        let call = lifecycle::readiness_call(channel, definition, sequence);
        self.read(&call, lifecycle::read_readiness(&self.call(&call).await?))
    }

    /// Asks the peer to endorse a call that may also be shown to others (see [`sign`]).
    pub async fn endorse(&self, signed: &SignedCall) -> Result<Endorsed, EndorserError> {
        let call = signed.call();
        let response = self.propose(signed).await?;
        Endorsed::from_wire(response).map_err(|error| match error {
            EndorsedError::Failed { status, text } => self.refused(call, status, &text),
            EndorsedError::Decode(_) | EndorsedError::Unsigned => EndorserError::Protocol {
                target: self.target(),
                function: call.function(),
                evidence: error.to_string(),
            },
        })
    }

    /// Calls a chaincode and returns the payload of a successful response.
    pub async fn call(&self, call: &Call) -> Result<Vec<u8>, EndorserError> {
        let response = self.propose(&self.sign(call)?).await?.response.unwrap_or_default();
        if response.status == SUCCESS {
            return Ok(response.payload);
        }
        Err(self.refused(call, response.status, &response.message))
    }

    /// Signs a call that is made now, for this peer.
    pub fn sign(&self, call: &Call) -> Result<SignedCall, EndorserError> {
        let tls_hash = self.channel.endpoint().tls_hash();
        Ok(SignedCall::bound(call, &self.identity, envelope::nonce()?, Timestamp::now(), tls_hash)?)
    }

    /// Sends a proposal and returns the response, whatever its status.
    async fn propose(&self, signed: &SignedCall) -> Result<ProposalResponse, EndorserError> {
        let mut grpc = self.channel.grpc().await?;
        let request = tonic::Request::new(signed.to_wire());
        let codec = ProstCodec::<SignedProposal, ProposalResponse>::default();
        match self.channel.bounded("a proposal", grpc.unary(request, PATH, codec)).await? {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(self.rejected(signed.call(), &status)),
        }
    }

    /// Sorts a response that is no success. Fabric tells these apart by text only.
    fn refused(&self, call: &Call, status: i32, message: &str) -> EndorserError {
        let text = cut(message);
        let target = self.target();
        if text.contains("already exists with state") {
            EndorserError::AlreadyJoined { target }
        } else if is_unknown_channel(&text) {
            EndorserError::UnknownChannel { target, channel: subject(call) }
        } else if is_denied(&text) {
            EndorserError::AccessDenied { target, identity: self.identity_text(), text }
        } else if let Some(refusal) = Refusal::from_text(&text).filter(|_| call.chaincode == LIFECYCLE) {
            EndorserError::Lifecycle { target, function: call.function(), refusal }
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

    fn read<T>(&self, call: &Call, answer: Result<T, LifecycleError>) -> Result<T, EndorserError> {
        answer.map_err(|error| EndorserError::Protocol {
            target: self.target(),
            function: call.function(),
            evidence: chain(&error),
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
pub(super) fn is_denied(text: &str) -> bool {
    text.contains("access denied") || text.contains("failed ACL check")
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
