//! Package `rwset`: read-write sets of a transaction, and private ones, as they accompany a block.

/// Private reads and writes in one collection.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CollectionPvtReadWriteSet {
    #[prost(string, tag = "1")]
    pub collection_name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub rwset: Vec<u8>,
}

/// Private reads and writes of one chaincode.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NsPvtReadWriteSet {
    #[prost(string, tag = "1")]
    pub namespace: String,
    #[prost(message, repeated, tag = "2")]
    pub collection_pvt_rwset: Vec<CollectionPvtReadWriteSet>,
}

/// Private reads and writes of one transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TxPvtReadWriteSet {
    #[prost(enumeration = "tx_read_write_set::DataModel", tag = "1")]
    pub data_model: i32,
    #[prost(message, repeated, tag = "2")]
    pub ns_pvt_rwset: Vec<NsPvtReadWriteSet>,
}

/// Reads and writes of one transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TxReadWriteSet {
    #[prost(enumeration = "tx_read_write_set::DataModel", tag = "1")]
    pub data_model: i32,
    #[prost(message, repeated, tag = "2")]
    pub ns_rwset: Vec<NsReadWriteSet>,
}

/// Reads and writes of one chaincode; `rwset` is an encoded [`KvRwSet`](crate::kvrwset::KvRwSet).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NsReadWriteSet {
    #[prost(string, tag = "1")]
    pub namespace: String,
    #[prost(bytes = "vec", tag = "2")]
    pub rwset: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    pub collection_hashed_rwset: Vec<CollectionHashedReadWriteSet>,
}

/// Reads and writes of one collection; `hashed_rwset` is an encoded [`HashedRwSet`](crate::kvrwset::HashedRwSet).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CollectionHashedReadWriteSet {
    #[prost(string, tag = "1")]
    pub collection_name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub hashed_rwset: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub pvt_rwset_hash: Vec<u8>,
}

/// Types nested in [`TxReadWriteSet`].
pub mod tx_read_write_set {
    crate::wire_enum! {
        /// Data model of a read-write set.
        pub enum DataModel {
            Kv = 0 => "KV",
        }
    }
}
