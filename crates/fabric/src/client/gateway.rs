//! A peer's Gateway, which collects endorsements from other members' peers and hands transactions to orderers
//! (`internal/pkg/gateway`). It knows those peers by gossip only.

use std::fmt;

use jiff::Timestamp;
use prost::Message;
use tenter_fabric_wire::common::Envelope;
use tenter_fabric_wire::gateway::{
    CommitStatusRequest, CommitStatusResponse, EndorseRequest, EndorseResponse, ErrorDetail, EvaluateRequest,
    EvaluateResponse, SignedCommitStatusRequest, SubmitRequest, SubmitResponse,
};
use tenter_fabric_wire::google::RpcStatus;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::FailureKind;
use super::connect::{Endpoint, Target, TransportError};
use super::endorser::is_denied;
use super::envelope;
use super::grpc::Channel;
use crate::chaincode::lifecycle::{LIFECYCLE, Refusal};
use crate::chaincode::transaction::{ValidationCode, is_transaction_of, response_of};
use crate::chaincode::{Call, SignedCall};
use crate::identity::{IdentityError, SigningIdentity};

const EVALUATE: PathAndQuery = PathAndQuery::from_static("/gateway.Gateway/Evaluate");
const ENDORSE: PathAndQuery = PathAndQuery::from_static("/gateway.Gateway/Endorse");
const SUBMIT: PathAndQuery = PathAndQuery::from_static("/gateway.Gateway/Submit");
const COMMIT_STATUS: PathAndQuery = PathAndQuery::from_static("/gateway.Gateway/CommitStatus");
/// How much of a node's error text is kept.
const MAX_TEXT: usize = 2000;
/// How many nodes' errors are kept.
const MAX_DETAILS: usize = 50;

/// What one of the nodes behind the Gateway answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeError {
    /// Address of the node.
    pub address: String,
    /// MSP ID of its organisation.
    pub msp_id: String,
    /// What it says.
    pub message: String,
}

impl fmt::Display for NodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({}): {}", self.address, self.msp_id, self.message)
    }
}

/// An error of the Gateway as it came: its own text, and what the nodes behind it say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAnswer {
    /// Name of the gRPC code.
    pub code: String,
    /// What the Gateway says.
    pub text: String,
    /// What each node says.
    pub nodes: Vec<NodeError>,
}

impl fmt::Display for GatewayAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.text)?;
        for (position, node) in self.nodes.iter().enumerate() {
            write!(formatter, "{}{node}", if position == 0 { " [" } else { "; " })?;
        }
        formatter.write_str(if self.nodes.is_empty() { "" } else { "]" })
    }
}

/// Why a Gateway did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The identity may not do this.
    #[error("{target} does not let {identity} do this: {answer}")]
    AccessDenied {
        /// Who was asked.
        target: Target,
        /// MSP and subject that signed.
        identity: String,
        /// What came.
        answer: Box<GatewayAnswer>,
    },
    /// Peers or orderers that are needed could not be reached, or not in time. Of a submitted transaction nothing is
    /// known then.
    #[error("{target} could not do {action} now: {answer}")]
    Unavailable {
        /// Who was asked.
        target: Target,
        /// What was asked for.
        action: String,
        /// What came.
        answer: Box<GatewayAnswer>,
    },
    /// The peer has no Gateway, or it is switched off (`peer.gateway.enabled`).
    #[error("{target} has no Gateway: {answer}")]
    Disabled {
        /// Who was asked.
        target: Target,
        /// What came.
        answer: Box<GatewayAnswer>,
    },
    /// `_lifecycle` refused on one of the peers because of where the definition stands.
    #[error("{target} could not do {action}, because {refusal}: {answer}")]
    Lifecycle {
        /// Who was asked.
        target: Target,
        /// What was asked for.
        action: String,
        /// Why.
        refusal: Refusal,
        /// What came.
        answer: Box<GatewayAnswer>,
    },
    /// The Gateway, or a node behind it, understood and refused.
    #[error("{target} refused {action}: {answer}")]
    Refused {
        /// Who was asked.
        target: Target,
        /// What was asked for.
        action: String,
        /// What came.
        answer: Box<GatewayAnswer>,
    },
    /// The answer makes no sense.
    #[error("{target} answered {action} with something that it cannot be: {evidence}")]
    Protocol {
        /// Who was asked.
        target: Target,
        /// What was asked for.
        action: String,
        /// What came.
        evidence: &'static str,
    },
    /// Bytes that are not an envelope.
    #[error("the bytes to submit are not an envelope")]
    Envelope(#[from] prost::DecodeError),
    /// The request could not be signed.
    #[error("the request could not be signed")]
    Identity(#[from] IdentityError),
    /// No answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl GatewayError {
    /// What the failure says; never that something is absent.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::AccessDenied { .. } => FailureKind::Forbidden,
            Self::Unavailable { .. } => FailureKind::Unreachable,
            Self::Disabled { .. }
            | Self::Lifecycle { .. }
            | Self::Refused { .. }
            | Self::Envelope(_)
            | Self::Identity(_) => FailureKind::Refused,
            Self::Protocol { .. } => FailureKind::Protocol,
            Self::Transport(error) => error.kind(),
        }
    }
}

/// A transaction that is endorsed and signed, ready to be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedTransaction {
    /// Its id.
    pub tx_id: String,
    /// Its channel.
    pub channel: String,
    /// The encoded `common.Envelope`, which `BroadcastClient::submit_envelope` takes too.
    pub envelope: Vec<u8>,
}

impl PreparedTransaction {
    /// The transaction of a call, as [`assemble`](crate::chaincode::transaction::assemble) made it.
    pub fn new(call: &SignedCall, envelope: Vec<u8>) -> Self {
        Self { tx_id: call.tx_id().to_owned(), channel: call.call().channel.clone(), envelope }
    }

    /// What the contract answered; nothing if the envelope cannot be read.
    pub fn result(&self) -> Option<Vec<u8>> {
        response_of(&Envelope::decode(self.envelope.as_slice()).ok()?.payload)
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitStatus {
    /// Whether it counts.
    pub code: ValidationCode,
    /// Number of the block that it is in.
    pub block: u64,
}

/// What is asked for, to be named in errors.
#[derive(Clone, Copy)]
struct Action<'a> {
    what: &'static str,
    /// Of which call or transaction.
    of: &'a str,
    lifecycle: bool,
}

impl<'a> Action<'a> {
    fn new(what: &'static str, call: &Call, of: &'a str) -> Self {
        Self { what, of, lifecycle: call.chaincode == LIFECYCLE }
    }
}

impl fmt::Display for Action<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.what, self.of)
    }
}

/// A client of one peer's Gateway. Every wait is bounded by the endpoint's limit for requests.
#[derive(Debug, Clone)]
pub struct GatewayClient {
    channel: Channel,
    identity: SigningIdentity,
}

impl GatewayClient {
    /// Calls with this identity.
    pub fn new(endpoint: Endpoint, identity: SigningIdentity) -> Self {
        Self { channel: Channel::new(endpoint), identity }
    }

    /// Runs a call on a peer of one of these organisations, or of any that the Gateway chooses, and returns what the
    /// chaincode returned. Nothing is ordered.
    pub async fn evaluate(&self, call: &Call, organizations: &[String]) -> Result<Vec<u8>, GatewayError> {
        let signed = self.sign(call)?;
        let request = EvaluateRequest {
            transaction_id: signed.tx_id().to_owned(),
            channel_id: call.channel.clone(),
            proposed_transaction: Some(signed.to_wire()),
            target_organizations: organizations.to_vec(),
        };
        let function = call.function();
        let action = Action::new("an evaluation of", call, &function);
        let answer: EvaluateResponse = self.ask(EVALUATE, request, action).await?;
        answer.result.map(|result| result.payload).ok_or_else(|| self.protocol(action, "it holds no result"))
    }

    /// Has a call endorsed by peers of exactly these organisations, or of those that the Gateway finds necessary, and
    /// signs the transaction. What the Gateway assembled is signed only if it is the transaction of this call.
    pub async fn endorse(&self, call: &Call, organizations: &[String]) -> Result<PreparedTransaction, GatewayError> {
        let signed = self.sign(call)?;
        let request = EndorseRequest {
            transaction_id: signed.tx_id().to_owned(),
            channel_id: call.channel.clone(),
            proposed_transaction: Some(signed.to_wire()),
            endorsing_organizations: organizations.to_vec(),
        };
        let function = call.function();
        let action = Action::new("an endorsement of", call, &function);
        let answer: EndorseResponse = self.ask(ENDORSE, request, action).await?;
        let payload = answer.prepared_transaction.unwrap_or_default().payload;
        if !is_transaction_of(&signed, &payload) {
            return Err(self.protocol(action, "it is not the transaction of the call, and was not signed"));
        }
        let signature = self.identity.sign(&payload)?;
        Ok(PreparedTransaction::new(&signed, Envelope { payload, signature }.encode_to_vec()))
    }

    /// Hands a transaction to the orderers. Success means queued, never committed: see [`Self::commit_status`]. With
    /// [`GatewayError::Unavailable`] and [`GatewayError::Transport`] it may be queued all the same; the same bytes can
    /// be sent again, because a transaction counts once.
    pub async fn submit(&self, transaction: &PreparedTransaction) -> Result<(), GatewayError> {
        let request = SubmitRequest {
            transaction_id: transaction.tx_id.clone(),
            channel_id: transaction.channel.clone(),
            prepared_transaction: Some(Envelope::decode(transaction.envelope.as_slice())?),
        };
        let action = Action { what: "the submission of", of: &transaction.tx_id, lifecycle: false };
        let SubmitResponse {} = self.ask(SUBMIT, request, action).await?;
        Ok(())
    }

    /// Waits until the peer has committed a transaction. If the wait ends first, with [`TransportError::Timeout`],
    /// nothing is known.
    pub async fn commit_status(&self, tx_id: &str, channel: &str) -> Result<CommitStatus, GatewayError> {
        let request = CommitStatusRequest {
            transaction_id: tx_id.to_owned(),
            channel_id: channel.to_owned(),
            identity: self.identity.creator().to_vec(),
        }
        .encode_to_vec();
        let signature = self.identity.sign(&request)?;
        let action = Action { what: "the commit status of", of: tx_id, lifecycle: false };
        let request = SignedCommitStatusRequest { request, signature };
        let answer: CommitStatusResponse = self.ask(COMMIT_STATUS, request, action).await?;
        Ok(CommitStatus { code: ValidationCode::new(answer.result), block: answer.block_number })
    }

    /// Signed without a TLS binding, because the Gateway passes it on.
    fn sign(&self, call: &Call) -> Result<SignedCall, GatewayError> {
        Ok(SignedCall::new(call, &self.identity, envelope::nonce()?, Timestamp::now())?)
    }

    async fn ask<Q, A>(&self, path: PathAndQuery, request: Q, action: Action<'_>) -> Result<A, GatewayError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.channel.grpc().await?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = grpc.unary(tonic::Request::new(request), path, codec);
        match self.channel.bounded(action.what, answer).await? {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.refused(action, &status)),
        }
    }

    /// Sorts an error. What peers say is in the details, except where a text of theirs became the Gateway's own.
    fn refused(&self, action: Action<'_>, status: &tonic::Status) -> GatewayError {
        let answer = Box::new(GatewayAnswer {
            code: format!("{:?}", status.code()),
            text: cut(status.message()),
            nodes: node_errors(status.details()),
        });
        let target = self.target();
        let said = || [answer.text.as_str()].into_iter().chain(answer.nodes.iter().map(|node| node.message.as_str()));
        let refusal = said().filter(|_| action.lifecycle).find_map(Refusal::from_text);
        let denied = matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated);
        if let Some(refusal) = refusal {
            GatewayError::Lifecycle { target, action: action.to_string(), refusal, answer }
        } else if denied || said().any(|text| is_denied(text) || text.contains("identity expired")) {
            let identity = format!("{} ({})", self.identity.certificate().subject, self.identity.msp_id());
            GatewayError::AccessDenied { target, identity, answer }
        } else {
            match status.code() {
                Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled => {
                    GatewayError::Unavailable { target, action: action.to_string(), answer }
                }
                Code::Unimplemented => GatewayError::Disabled { target, answer },
                _ => GatewayError::Refused { target, action: action.to_string(), answer },
            }
        }
    }

    fn protocol(&self, action: Action<'_>, evidence: &'static str) -> GatewayError {
        GatewayError::Protocol { target: self.target(), action: action.to_string(), evidence }
    }

    fn target(&self) -> Target {
        self.channel.endpoint().target().clone()
    }
}

/// The details of a status; those that cannot be read are left out.
fn node_errors(details: &[u8]) -> Vec<NodeError> {
    let details = RpcStatus::decode(details).map(|status| status.details).unwrap_or_default();
    let readable = details.into_iter().filter(|detail| detail.type_url.ends_with("/gateway.ErrorDetail"));
    let nodes = readable.filter_map(|detail| {
        let ErrorDetail { address, msp_id, message } = ErrorDetail::decode(detail.value.as_slice()).ok()?;
        Some(NodeError { address, msp_id, message: cut(&message) })
    });
    nodes.take(MAX_DETAILS).collect()
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
