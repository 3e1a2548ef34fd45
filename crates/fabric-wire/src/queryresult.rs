//! Package `queryresult`: what a chaincode's queries give.

/// A key and its value.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Kv {
    #[prost(string, tag = "1")]
    pub namespace: String,
    #[prost(string, tag = "2")]
    pub key: String,
    #[prost(bytes = "vec", tag = "3")]
    pub value: Vec<u8>,
}

/// A former value of a key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyModification {
    #[prost(string, tag = "1")]
    pub tx_id: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub timestamp: Option<crate::google::Timestamp>,
    #[prost(bool, tag = "4")]
    pub is_delete: bool,
}
