//! Package `common`: blocks, envelopes, channel configuration, policies and principals.

use std::collections::BTreeMap;

/// A block: header, the envelopes and the metadata that orderers and peers add.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Block {
    #[prost(message, optional, tag = "1")]
    pub header: Option<BlockHeader>,
    #[prost(message, optional, tag = "2")]
    pub data: Option<BlockData>,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<BlockMetadata>,
}

/// The envelopes of a block, each as its exact bytes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockData {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub data: Vec<Vec<u8>>,
}

/// Width of the Merkle tree over block data; Fabric only accepts the greatest value, which means a flat hash.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockDataHashingStructure {
    #[prost(uint32, tag = "1")]
    pub width: u32,
}

/// What the block hash covers: number, hash of the previous block and hash of the data.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockHeader {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub previous_hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub data_hash: Vec<u8>,
}

/// Metadata entries by position: signatures, last config (old), transaction filter, orderer, commit hash.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockMetadata {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub metadata: Vec<Vec<u8>>,
}

/// Height and hashes at the end of a peer's chain, as `qscc` tells them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockchainInfo {
    #[prost(uint64, tag = "1")]
    pub height: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub current_block_hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub previous_block_hash: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    pub bootstrapping_snapshot_info: Option<BootstrappingSnapshotInfo>,
}

/// Where the chain of a peer that was started from a snapshot begins.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BootstrappingSnapshotInfo {
    #[prost(uint64, tag = "1")]
    pub last_block_in_snapshot: u64,
}

/// The capabilities that a level of the channel demands, by name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Capabilities {
    #[expect(clippy::zero_sized_map_values, reason = "it is a map on the wire")]
    #[prost(btree_map = "string, message", tag = "1")]
    pub capabilities: BTreeMap<String, Capability>,
}

/// One capability; its name says all.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Capability {}

/// What an envelope is about: type, channel, transaction, time.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChannelHeader {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(int32, tag = "2")]
    pub version: i32,
    #[prost(message, optional, tag = "3")]
    pub timestamp: Option<crate::google::Timestamp>,
    #[prost(string, tag = "4")]
    pub channel_id: String,
    #[prost(string, tag = "5")]
    pub tx_id: String,
    #[prost(uint64, tag = "6")]
    pub epoch: u64,
    #[prost(bytes = "vec", tag = "7")]
    pub extension: Vec<u8>,
    #[prost(bytes = "vec", tag = "8")]
    pub tls_cert_hash: Vec<u8>,
}

/// Principals that must all hold for the same identity.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CombinedPrincipal {
    #[prost(message, repeated, tag = "1")]
    pub principals: Vec<MspPrincipal>,
}

/// A channel's configuration: the tree and how often it was changed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Config {
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    #[prost(message, optional, tag = "2")]
    pub channel_group: Option<ConfigGroup>,
}

/// Content of a config block: the configuration and the update that led to it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfigEnvelope {
    #[prost(message, optional, tag = "1")]
    pub config: Option<Config>,
    #[prost(message, optional, tag = "2")]
    pub last_update: Option<Envelope>,
}

/// A node of the configuration tree.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfigGroup {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    #[prost(btree_map = "string, message", tag = "2")]
    pub groups: BTreeMap<String, ConfigGroup>,
    #[prost(btree_map = "string, message", tag = "3")]
    pub values: BTreeMap<String, ConfigValue>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub policies: BTreeMap<String, ConfigPolicy>,
    #[prost(string, tag = "5")]
    pub mod_policy: String,
}

/// A policy in the configuration tree, with its version.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfigPolicy {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    #[prost(message, optional, tag = "2")]
    pub policy: Option<Policy>,
    #[prost(string, tag = "3")]
    pub mod_policy: String,
}

/// An organisation's signature over a config update.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfigSignature {
    #[prost(bytes = "vec", tag = "1")]
    pub signature_header: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
}

/// A change of the configuration: what was read and what is written.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfigUpdate {
    #[prost(string, tag = "1")]
    pub channel_id: String,
    #[prost(message, optional, tag = "2")]
    pub read_set: Option<ConfigGroup>,
    #[prost(message, optional, tag = "3")]
    pub write_set: Option<ConfigGroup>,
    #[prost(btree_map = "string, bytes", tag = "5")]
    pub isolated_data: BTreeMap<String, Vec<u8>>,
}

/// The exact bytes of a [`ConfigUpdate`] with the signatures over them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfigUpdateEnvelope {
    #[prost(bytes = "vec", tag = "1")]
    pub config_update: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    pub signatures: Vec<ConfigSignature>,
}

/// A value in the configuration tree, with its version; the bytes are a message that its key names.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfigValue {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    #[prost(string, tag = "3")]
    pub mod_policy: String,
}

/// A member of a BFT channel's consenter set.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Consenter {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(string, tag = "2")]
    pub host: String,
    #[prost(uint32, tag = "3")]
    pub port: u32,
    #[prost(string, tag = "4")]
    pub msp_id: String,
    #[prost(bytes = "vec", tag = "5")]
    pub identity: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    pub client_tls_cert: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    pub server_tls_cert: Vec<u8>,
}

/// A payload and a signature over its exact bytes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Envelope {
    #[prost(bytes = "vec", tag = "1")]
    pub payload: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
}

/// Name of the channel's hash algorithm.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HashingAlgorithm {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// The two headers of a payload, as their exact bytes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Header {
    #[prost(bytes = "vec", tag = "1")]
    pub channel_header: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub signature_header: Vec<u8>,
}

/// Name of the consortium that a channel was created in; only in channels from the time of the system channel.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Consortium {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// Who signed a block of a BFT channel, as a consenter id.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IdentifierHeader {
    #[prost(uint32, tag = "1")]
    pub identifier: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub nonce: Vec<u8>,
}

/// A policy that counts how many child groups satisfy theirs of a given name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ImplicitMetaPolicy {
    #[prost(string, tag = "1")]
    pub sub_policy: String,
    #[prost(enumeration = "implicit_meta_policy::Rule", tag = "2")]
    pub rule: i32,
}

/// Types nested in [`ImplicitMetaPolicy`].
pub mod implicit_meta_policy {
    crate::wire_enum! {
        /// How many of the child groups' policies must hold.
        pub enum Rule {
            Any = 0 => "ANY",
            All = 1 => "ALL",
            Majority = 2 => "MAJORITY",
        }
    }
}

/// Number of the last config block.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LastConfig {
    #[prost(uint64, tag = "1")]
    pub index: u64,
}

/// Something an identity can be: a role, a unit, a certificate.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MspPrincipal {
    #[prost(enumeration = "msp_principal::Classification", tag = "1")]
    pub principal_classification: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub principal: Vec<u8>,
}

/// Types nested in [`MspPrincipal`].
pub mod msp_principal {
    crate::wire_enum! {
        /// What kind of thing a principal is.
        pub enum Classification {
            Role = 0 => "ROLE",
            OrganizationUnit = 1 => "ORGANIZATION_UNIT",
            Identity = 2 => "IDENTITY",
            Anonymity = 3 => "ANONYMITY",
            Combined = 4 => "COMBINED",
        }
    }
}

/// Content of a principal of class [`msp_principal::Classification::Role`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MspRole {
    #[prost(string, tag = "1")]
    pub msp_identifier: String,
    #[prost(enumeration = "msp_role::MspRoleType", tag = "2")]
    pub role: i32,
}

/// Types nested in [`MspRole`].
pub mod msp_role {
    crate::wire_enum! {
        /// Role of an identity in its organisation.
        pub enum MspRoleType {
            Member = 0 => "MEMBER",
            Admin = 1 => "ADMIN",
            Client = 2 => "CLIENT",
            Peer = 3 => "PEER",
            Orderer = 4 => "ORDERER",
        }
    }
}

/// A metadata entry of a block that can be signed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Metadata {
    #[prost(bytes = "vec", tag = "1")]
    pub value: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    pub signatures: Vec<MetadataSignature>,
}

/// An orderer's signature over a block.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MetadataSignature {
    #[prost(bytes = "vec", tag = "1")]
    pub signature_header: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub identifier_header: Vec<u8>,
}

/// Addresses of the orderers for the whole channel; not used once the channel has capability `V3_0`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OrdererAddresses {
    #[prost(string, repeated, tag = "1")]
    pub addresses: Vec<String>,
}

/// What an orderer's signature covers beside the header.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OrdererBlockMetadata {
    #[prost(message, optional, tag = "1")]
    pub last_config: Option<LastConfig>,
    #[prost(bytes = "vec", tag = "2")]
    pub consenter_metadata: Vec<u8>,
}

/// The consenter set of a BFT channel.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Orderers {
    #[prost(message, repeated, tag = "1")]
    pub consenter_mapping: Vec<Consenter>,
}

/// Content of a principal of class [`msp_principal::Classification::OrganizationUnit`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OrganizationUnit {
    #[prost(string, tag = "1")]
    pub msp_identifier: String,
    #[prost(string, tag = "2")]
    pub organizational_unit_identifier: String,
    #[prost(bytes = "vec", tag = "3")]
    pub certifiers_identifier: Vec<u8>,
}

/// Headers and data of an envelope.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Payload {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
}

/// A policy: its type (1 signature, 3 implicit meta) and the message of that type.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Policy {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// Who made a signature, and a nonce.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SignatureHeader {
    #[prost(bytes = "vec", tag = "1")]
    pub creator: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub nonce: Vec<u8>,
}

/// A node of a signature policy's tree.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SignaturePolicy {
    #[prost(oneof = "signature_policy::Type", tags = "1, 2")]
    pub r#type: Option<signature_policy::Type>,
}

/// Types nested in [`SignaturePolicy`].
pub mod signature_policy {
    /// The alternatives of `SignaturePolicy`.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Type {
        #[prost(int32, tag = "1")]
        SignedBy(i32),
        #[prost(message, tag = "2")]
        NOutOf(super::signature_policy::NOutOf),
    }

    /// So many of these rules must hold.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct NOutOf {
        #[prost(int32, tag = "1")]
        pub n: i32,
        #[prost(message, repeated, tag = "2")]
        pub rules: Vec<super::SignaturePolicy>,
    }
}

/// A signature policy and the principals that its leaves point to.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SignaturePolicyEnvelope {
    #[prost(int32, tag = "1")]
    pub version: i32,
    #[prost(message, optional, tag = "2")]
    pub rule: Option<SignaturePolicy>,
    #[prost(message, repeated, tag = "3")]
    pub identities: Vec<MspPrincipal>,
}

crate::wire_enum! {
    /// What an envelope carries.
    pub enum HeaderType {
        Message = 0 => "MESSAGE",
        Config = 1 => "CONFIG",
        ConfigUpdate = 2 => "CONFIG_UPDATE",
        EndorserTransaction = 3 => "ENDORSER_TRANSACTION",
        OrdererTransaction = 4 => "ORDERER_TRANSACTION",
        DeliverSeekInfo = 5 => "DELIVER_SEEK_INFO",
        ChaincodePackage = 6 => "CHAINCODE_PACKAGE",
    }
}

crate::wire_enum! {
    /// Answer codes of Broadcast and Deliver.
    pub enum Status {
        Unknown = 0 => "UNKNOWN",
        Success = 200 => "SUCCESS",
        BadRequest = 400 => "BAD_REQUEST",
        Forbidden = 403 => "FORBIDDEN",
        NotFound = 404 => "NOT_FOUND",
        RequestEntityTooLarge = 413 => "REQUEST_ENTITY_TOO_LARGE",
        InternalServerError = 500 => "INTERNAL_SERVER_ERROR",
        NotImplemented = 501 => "NOT_IMPLEMENTED",
        ServiceUnavailable = 503 => "SERVICE_UNAVAILABLE",
    }
}
