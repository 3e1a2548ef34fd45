//! Package `protos`: proposals, transactions, chaincode, peer events and queries, snapshots.

use std::collections::BTreeMap;

/// Policies that guard resources, by the resource's name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Acls {
    #[prost(btree_map = "string, message", tag = "1")]
    pub acls: BTreeMap<String, ApiResource>,
}

/// The policy that guards a resource.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ApiResource {
    #[prost(string, tag = "1")]
    pub policy_ref: String,
}

/// A peer that other organisations' peers contact first.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AnchorPeer {
    #[prost(string, tag = "1")]
    pub host: String,
    #[prost(int32, tag = "2")]
    pub port: i32,
}

/// The anchor peers of an organisation.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AnchorPeers {
    #[prost(message, repeated, tag = "1")]
    pub anchor_peers: Vec<AnchorPeer>,
}

/// A policy of a chaincode: given here, or by name in the channel's configuration.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ApplicationPolicy {
    #[prost(oneof = "application_policy::Type", tags = "1, 2")]
    pub r#type: Option<application_policy::Type>,
}

/// Types nested in [`ApplicationPolicy`].
pub mod application_policy {
    /// The alternatives of `ApplicationPolicy`.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Type {
        #[prost(message, tag = "1")]
        SignaturePolicy(crate::common::SignaturePolicyEnvelope),
        #[prost(string, tag = "2")]
        ChannelConfigPolicyReference(String),
    }
}

/// A block with the private data that the asker may see, by transaction number.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockAndPrivateData {
    #[prost(message, optional, tag = "1")]
    pub block: Option<crate::common::Block>,
    #[prost(btree_map = "uint64, message", tag = "2")]
    pub private_data_map: BTreeMap<u64, crate::rwset::TxPvtReadWriteSet>,
}

/// Result of a simulated chaincode call.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeAction {
    #[prost(bytes = "vec", tag = "1")]
    pub results: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub events: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub response: Option<Response>,
    #[prost(message, optional, tag = "4")]
    pub chaincode_id: Option<ChaincodeId>,
}

/// A chaincode call with its endorsed result, as a transaction carries it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeActionPayload {
    #[prost(bytes = "vec", tag = "1")]
    pub chaincode_proposal_payload: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub action: Option<ChaincodeEndorsedAction>,
}

/// A chaincode and collections that a transaction touched.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeCall {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "2")]
    pub collection_names: Vec<String>,
    #[prost(bool, tag = "3")]
    pub no_private_reads: bool,
    #[prost(bool, tag = "4")]
    pub no_public_writes: bool,
    #[prost(message, repeated, tag = "5")]
    pub key_policies: Vec<crate::common::SignaturePolicyEnvelope>,
    #[prost(bool, tag = "6")]
    pub disregard_namespace_policy: bool,
}

/// An endorsed result and its endorsements.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeEndorsedAction {
    #[prost(bytes = "vec", tag = "1")]
    pub proposal_response_payload: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    pub endorsements: Vec<Endorsement>,
}

/// An event that a chaincode emitted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeEvent {
    #[prost(string, tag = "1")]
    pub chaincode_id: String,
    #[prost(string, tag = "2")]
    pub tx_id: String,
    #[prost(string, tag = "3")]
    pub event_name: String,
    #[prost(bytes = "vec", tag = "4")]
    pub payload: Vec<u8>,
}

/// Extension of the channel header of a proposal: which chaincode is called.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeHeaderExtension {
    #[prost(message, optional, tag = "2")]
    pub chaincode_id: Option<ChaincodeId>,
}

/// Name of a chaincode; path and version belong to the old lifecycle.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeId {
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub version: String,
}

/// Arguments of a chaincode call; the first is the function's name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeInput {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub args: Vec<Vec<u8>>,
    #[prost(btree_map = "string, bytes", tag = "2")]
    pub decorations: BTreeMap<String, Vec<u8>>,
    #[prost(bool, tag = "3")]
    pub is_init: bool,
}

/// All the chaincodes that a transaction touched.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeInterest {
    #[prost(message, repeated, tag = "1")]
    pub chaincodes: Vec<ChaincodeCall>,
}

/// A chaincode call.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeInvocationSpec {
    #[prost(message, optional, tag = "1")]
    pub chaincode_spec: Option<ChaincodeSpec>,
}

/// Payload of a proposal: the call and data that does not go to the ledger.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeProposalPayload {
    #[prost(bytes = "vec", tag = "1")]
    pub input: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "2")]
    pub transient_map: BTreeMap<String, Vec<u8>>,
}

/// Which chaincode is called, and with what.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeSpec {
    #[prost(enumeration = "chaincode_spec::Type", tag = "1")]
    pub r#type: i32,
    #[prost(message, optional, tag = "2")]
    pub chaincode_id: Option<ChaincodeId>,
    #[prost(message, optional, tag = "3")]
    pub input: Option<ChaincodeInput>,
    #[prost(int32, tag = "4")]
    pub timeout: i32,
}

/// Types nested in [`ChaincodeSpec`].
pub mod chaincode_spec {
    crate::wire_enum! {
        /// Language of a chaincode.
        pub enum Type {
            Undefined = 0 => "UNDEFINED",
            Golang = 1 => "GOLANG",
            Node = 2 => "NODE",
            Car = 3 => "CAR",
            Java = 4 => "JAVA",
        }
    }
}

/// A channel that a peer has joined.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChannelInfo {
    #[prost(string, tag = "1")]
    pub channel_id: String,
}

/// The channels that a peer has joined.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChannelQueryResponse {
    #[prost(message, repeated, tag = "1")]
    pub channels: Vec<ChannelInfo>,
}

/// One collection of private data.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CollectionConfig {
    #[prost(oneof = "collection_config::Payload", tags = "1")]
    pub payload: Option<collection_config::Payload>,
}

/// Types nested in [`CollectionConfig`].
pub mod collection_config {
    /// The alternatives of `CollectionConfig`.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Payload {
        #[prost(message, tag = "1")]
        StaticCollectionConfig(super::StaticCollectionConfig),
    }
}

/// The collections of a chaincode; their order counts when definitions are compared.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CollectionConfigPackage {
    #[prost(message, repeated, tag = "1")]
    pub config: Vec<CollectionConfig>,
}

/// Who is a member of a collection.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CollectionPolicyConfig {
    #[prost(oneof = "collection_policy_config::Payload", tags = "1")]
    pub payload: Option<collection_policy_config::Payload>,
}

/// Types nested in [`CollectionPolicyConfig`].
pub mod collection_policy_config {
    /// The alternatives of `CollectionPolicyConfig`.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Payload {
        #[prost(message, tag = "1")]
        SignaturePolicy(crate::common::SignaturePolicyEnvelope),
    }
}

/// A block in the form that was asked for, or the status that ends what was asked for.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeliverResponse {
    #[prost(oneof = "deliver_response::Type", tags = "1, 2, 3, 4")]
    pub r#type: Option<deliver_response::Type>,
}

/// Types nested in [`DeliverResponse`].
pub mod deliver_response {
    /// The alternatives of `DeliverResponse`.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Type {
        #[prost(enumeration = "crate::common::Status", tag = "1")]
        Status(i32),
        #[prost(message, tag = "2")]
        Block(crate::common::Block),
        #[prost(message, tag = "3")]
        FilteredBlock(super::FilteredBlock),
        #[prost(message, tag = "4")]
        BlockAndPrivateData(super::BlockAndPrivateData),
    }
}

/// A peer's signature over a proposal response.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Endorsement {
    #[prost(bytes = "vec", tag = "1")]
    pub endorser: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
}

/// A block reduced to what became of its transactions.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FilteredBlock {
    #[prost(string, tag = "1")]
    pub channel_id: String,
    #[prost(uint64, tag = "2")]
    pub number: u64,
    #[prost(message, repeated, tag = "4")]
    pub filtered_transactions: Vec<FilteredTransaction>,
}

/// Event of a transaction, without its payload.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FilteredChaincodeAction {
    #[prost(message, optional, tag = "1")]
    pub chaincode_event: Option<ChaincodeEvent>,
}

/// What became of one transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FilteredTransaction {
    #[prost(string, tag = "1")]
    pub txid: String,
    #[prost(enumeration = "crate::common::HeaderType", tag = "2")]
    pub r#type: i32,
    #[prost(enumeration = "TxValidationCode", tag = "3")]
    pub tx_validation_code: i32,
    #[prost(oneof = "filtered_transaction::Data", tags = "4")]
    pub data: Option<filtered_transaction::Data>,
}

/// Types nested in [`FilteredTransaction`].
pub mod filtered_transaction {
    /// The alternatives of `FilteredTransaction`.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Data {
        #[prost(message, tag = "4")]
        TransactionActions(super::FilteredTransactionActions),
    }
}

/// The events of a transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FilteredTransactionActions {
    #[prost(message, repeated, tag = "1")]
    pub chaincode_actions: Vec<FilteredChaincodeAction>,
}

/// Whether the peer is joining a channel from a snapshot, and from where.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct JoinBySnapshotStatus {
    #[prost(bool, tag = "1")]
    pub in_progress: bool,
    #[prost(string, tag = "2")]
    pub bootstrapping_snapshot_dir: String,
}

/// A transaction with its validation code, as `qscc` gives it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProcessedTransaction {
    #[prost(message, optional, tag = "1")]
    pub transaction_envelope: Option<crate::common::Envelope>,
    #[prost(int32, tag = "2")]
    pub validation_code: i32,
}

/// A chaincode call to be simulated; the header is a `common.Header`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Proposal {
    #[prost(bytes = "vec", tag = "1")]
    pub header: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub extension: Vec<u8>,
}

/// What a peer answered to a proposal.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProposalResponse {
    #[prost(int32, tag = "1")]
    pub version: i32,
    #[prost(message, optional, tag = "2")]
    pub timestamp: Option<crate::google::Timestamp>,
    #[prost(message, optional, tag = "4")]
    pub response: Option<Response>,
    #[prost(bytes = "vec", tag = "5")]
    pub payload: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    pub endorsement: Option<Endorsement>,
    #[prost(message, optional, tag = "7")]
    pub interest: Option<ChaincodeInterest>,
}

/// What an endorser signs: hash of the proposal and the result.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProposalResponsePayload {
    #[prost(bytes = "vec", tag = "1")]
    pub proposal_hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub extension: Vec<u8>,
}

/// Block numbers at which snapshots will be made.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryPendingSnapshotsResponse {
    #[prost(uint64, repeated, tag = "1")]
    pub block_numbers: Vec<u64>,
}

/// Status, text and payload that a chaincode gave.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Response {
    #[prost(int32, tag = "1")]
    pub status: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
}

/// The exact bytes of a [`Proposal`] with the client's signature.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SignedProposal {
    #[prost(bytes = "vec", tag = "1")]
    pub proposal_bytes: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
}

/// The exact bytes of a [`SnapshotRequest`] or [`SnapshotQuery`] with the client's signature.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SignedSnapshotRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub request: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
}

/// Make a snapshot at a block number, or cancel that; 0 means the newest block.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotRequest {
    #[prost(message, optional, tag = "1")]
    pub signature_header: Option<crate::common::SignatureHeader>,
    #[prost(string, tag = "2")]
    pub channel_id: String,
    #[prost(uint64, tag = "3")]
    pub block_number: u64,
}

/// Definition of a collection of private data.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StaticCollectionConfig {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub member_orgs_policy: Option<CollectionPolicyConfig>,
    #[prost(int32, tag = "3")]
    pub required_peer_count: i32,
    #[prost(int32, tag = "4")]
    pub maximum_peer_count: i32,
    #[prost(uint64, tag = "5")]
    pub block_to_live: u64,
    #[prost(bool, tag = "6")]
    pub member_only_read: bool,
    #[prost(bool, tag = "7")]
    pub member_only_write: bool,
    #[prost(message, optional, tag = "8")]
    pub endorsement_policy: Option<ApplicationPolicy>,
}

/// Payload of an endorsed transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Transaction {
    #[prost(message, repeated, tag = "1")]
    pub actions: Vec<TransactionAction>,
}

/// One action of a transaction: signature header and [`ChaincodeActionPayload`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TransactionAction {
    #[prost(bytes = "vec", tag = "1")]
    pub header: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// Ask for the pending snapshots of a channel.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotQuery {
    #[prost(message, optional, tag = "1")]
    pub signature_header: Option<crate::common::SignatureHeader>,
    #[prost(string, tag = "2")]
    pub channel_id: String,
}

crate::wire_enum! {
    /// What became of a transaction at its commit.
    pub enum TxValidationCode {
        Valid = 0 => "VALID",
        NilEnvelope = 1 => "NIL_ENVELOPE",
        BadPayload = 2 => "BAD_PAYLOAD",
        BadCommonHeader = 3 => "BAD_COMMON_HEADER",
        BadCreatorSignature = 4 => "BAD_CREATOR_SIGNATURE",
        InvalidEndorserTransaction = 5 => "INVALID_ENDORSER_TRANSACTION",
        InvalidConfigTransaction = 6 => "INVALID_CONFIG_TRANSACTION",
        UnsupportedTxPayload = 7 => "UNSUPPORTED_TX_PAYLOAD",
        BadProposalTxid = 8 => "BAD_PROPOSAL_TXID",
        DuplicateTxid = 9 => "DUPLICATE_TXID",
        EndorsementPolicyFailure = 10 => "ENDORSEMENT_POLICY_FAILURE",
        MvccReadConflict = 11 => "MVCC_READ_CONFLICT",
        PhantomReadConflict = 12 => "PHANTOM_READ_CONFLICT",
        UnknownTxType = 13 => "UNKNOWN_TX_TYPE",
        TargetChainNotFound = 14 => "TARGET_CHAIN_NOT_FOUND",
        MarshalTxError = 15 => "MARSHAL_TX_ERROR",
        NilTxaction = 16 => "NIL_TXACTION",
        ExpiredChaincode = 17 => "EXPIRED_CHAINCODE",
        ChaincodeVersionConflict = 18 => "CHAINCODE_VERSION_CONFLICT",
        BadHeaderExtension = 19 => "BAD_HEADER_EXTENSION",
        BadChannelHeader = 20 => "BAD_CHANNEL_HEADER",
        BadResponsePayload = 21 => "BAD_RESPONSE_PAYLOAD",
        BadRwset = 22 => "BAD_RWSET",
        IllegalWriteset = 23 => "ILLEGAL_WRITESET",
        InvalidWriteset = 24 => "INVALID_WRITESET",
        InvalidChaincode = 25 => "INVALID_CHAINCODE",
        NotValidated = 254 => "NOT_VALIDATED",
        InvalidOtherReason = 255 => "INVALID_OTHER_REASON",
    }
}
