//! Package `kvrwset`: what a transaction read and wrote.

/// Reads and writes of one chaincode.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KvRwSet {
    #[prost(message, repeated, tag = "1")]
    pub reads: Vec<KvRead>,
    #[prost(message, repeated, tag = "2")]
    pub range_queries_info: Vec<RangeQueryInfo>,
    #[prost(message, repeated, tag = "3")]
    pub writes: Vec<KvWrite>,
    #[prost(message, repeated, tag = "4")]
    pub metadata_writes: Vec<KvMetadataWrite>,
}

/// Reads and writes of one collection, by hash.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HashedRwSet {
    #[prost(message, repeated, tag = "1")]
    pub hashed_reads: Vec<KvReadHash>,
    #[prost(message, repeated, tag = "2")]
    pub hashed_writes: Vec<KvWriteHash>,
    #[prost(message, repeated, tag = "3")]
    pub metadata_writes: Vec<KvMetadataWriteHash>,
}

/// A key that was read, and its version then; none: it did not exist.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KvRead {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub version: Option<Version>,
}

/// A key that is written or deleted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KvWrite {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(bool, tag = "2")]
    pub is_delete: bool,
    #[prost(bytes = "vec", tag = "3")]
    pub value: Vec<u8>,
}

/// A key whose metadata is written.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KvMetadataWrite {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<KvMetadataEntry>,
}

/// A private key that was read.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KvReadHash {
    #[prost(bytes = "vec", tag = "1")]
    pub key_hash: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub version: Option<Version>,
}

/// A private key that is written, deleted or purged.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KvWriteHash {
    #[prost(bytes = "vec", tag = "1")]
    pub key_hash: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub is_delete: bool,
    #[prost(bytes = "vec", tag = "3")]
    pub value_hash: Vec<u8>,
    #[prost(bool, tag = "4")]
    pub is_purge: bool,
}

/// A private key whose metadata is written.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KvMetadataWriteHash {
    #[prost(bytes = "vec", tag = "1")]
    pub key_hash: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<KvMetadataEntry>,
}

/// One entry of metadata.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KvMetadataEntry {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// The transaction that last wrote a key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Version {
    #[prost(uint64, tag = "1")]
    pub block_num: u64,
    #[prost(uint64, tag = "2")]
    pub tx_num: u64,
}

/// A range that was read, so that phantoms are seen.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RangeQueryInfo {
    #[prost(string, tag = "1")]
    pub start_key: String,
    #[prost(string, tag = "2")]
    pub end_key: String,
    #[prost(bool, tag = "3")]
    pub itr_exhausted: bool,
    #[prost(oneof = "range_query_info::ReadsInfo", tags = "4, 5")]
    pub reads_info: Option<range_query_info::ReadsInfo>,
}

/// Types nested in [`RangeQueryInfo`].
pub mod range_query_info {
    /// The alternatives of `RangeQueryInfo`.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum ReadsInfo {
        #[prost(message, tag = "4")]
        RawReads(super::QueryReads),
        #[prost(message, tag = "5")]
        ReadsMerkleHashes(super::QueryReadsMerkleSummary),
    }
}

/// The reads of a range.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryReads {
    #[prost(message, repeated, tag = "1")]
    pub kv_reads: Vec<KvRead>,
}

/// The reads of a range, as a Merkle tree.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryReadsMerkleSummary {
    #[prost(uint32, tag = "1")]
    pub max_degree: u32,
    #[prost(uint32, tag = "2")]
    pub max_level: u32,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub max_level_hashes: Vec<Vec<u8>>,
}
