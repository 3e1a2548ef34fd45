//! Package `gateway`: the peer's Gateway service.

/// Asks whether and how a transaction was committed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CommitStatusRequest {
    #[prost(string, tag = "1")]
    pub transaction_id: String,
    #[prost(string, tag = "2")]
    pub channel_id: String,
    #[prost(bytes = "vec", tag = "3")]
    pub identity: Vec<u8>,
}

/// Validation result and block of a committed transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CommitStatusResponse {
    #[prost(enumeration = "crate::protos::TxValidationCode", tag = "1")]
    pub result: i32,
    #[prost(uint64, tag = "2")]
    pub block_number: u64,
}

/// Asks the peer to collect endorsements of a proposal.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EndorseRequest {
    #[prost(string, tag = "1")]
    pub transaction_id: String,
    #[prost(string, tag = "2")]
    pub channel_id: String,
    #[prost(message, optional, tag = "3")]
    pub proposed_transaction: Option<crate::protos::SignedProposal>,
    #[prost(string, repeated, tag = "4")]
    pub endorsing_organizations: Vec<String>,
}

/// The endorsed transaction, to be signed by the client.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EndorseResponse {
    #[prost(message, optional, tag = "1")]
    pub prepared_transaction: Option<crate::common::Envelope>,
}

/// What one node answered; found in the details of a gRPC status.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ErrorDetail {
    #[prost(string, tag = "1")]
    pub address: String,
    #[prost(string, tag = "2")]
    pub msp_id: String,
    #[prost(string, tag = "3")]
    pub message: String,
}

/// Asks the peer to run a proposal and give back its result only.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EvaluateRequest {
    #[prost(string, tag = "1")]
    pub transaction_id: String,
    #[prost(string, tag = "2")]
    pub channel_id: String,
    #[prost(message, optional, tag = "3")]
    pub proposed_transaction: Option<crate::protos::SignedProposal>,
    #[prost(string, repeated, tag = "4")]
    pub target_organizations: Vec<String>,
}

/// Result of an evaluated proposal.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EvaluateResponse {
    #[prost(message, optional, tag = "1")]
    pub result: Option<crate::protos::Response>,
}

/// Bytes of a [`CommitStatusRequest`] with the client's signature.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SignedCommitStatusRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub request: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
}

/// Asks the peer to send a signed transaction to the orderers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SubmitRequest {
    #[prost(string, tag = "1")]
    pub transaction_id: String,
    #[prost(string, tag = "2")]
    pub channel_id: String,
    #[prost(message, optional, tag = "3")]
    pub prepared_transaction: Option<crate::common::Envelope>,
}

/// The orderers took the transaction; that does not mean that it is committed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SubmitResponse {}
