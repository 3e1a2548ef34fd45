//! Package `protos`, `peer/chaincode_shim.proto`: what a peer and a chaincode say to each other.

/// One message between a peer and a chaincode; `payload` holds what `type` says.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeMessage {
    #[prost(enumeration = "chaincode_message::Type", tag = "1")]
    pub r#type: i32,
    #[prost(message, optional, tag = "2")]
    pub timestamp: Option<crate::google::Timestamp>,
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
    #[prost(string, tag = "4")]
    pub txid: String,
    #[prost(message, optional, tag = "5")]
    pub proposal: Option<crate::protos::SignedProposal>,
    #[prost(message, optional, tag = "6")]
    pub chaincode_event: Option<crate::protos::ChaincodeEvent>,
    #[prost(string, tag = "7")]
    pub channel_id: String,
}

/// Types nested in [`ChaincodeMessage`].
pub mod chaincode_message {
    crate::wire_enum! {
        /// What a message is.
        pub enum Type {
            Undefined = 0 => "UNDEFINED",
            Register = 1 => "REGISTER",
            Registered = 2 => "REGISTERED",
            Init = 3 => "INIT",
            Ready = 4 => "READY",
            Transaction = 5 => "TRANSACTION",
            Completed = 6 => "COMPLETED",
            Error = 7 => "ERROR",
            GetState = 8 => "GET_STATE",
            PutState = 9 => "PUT_STATE",
            DelState = 10 => "DEL_STATE",
            InvokeChaincode = 11 => "INVOKE_CHAINCODE",
            Response = 13 => "RESPONSE",
            GetStateByRange = 14 => "GET_STATE_BY_RANGE",
            GetQueryResult = 15 => "GET_QUERY_RESULT",
            QueryStateNext = 16 => "QUERY_STATE_NEXT",
            QueryStateClose = 17 => "QUERY_STATE_CLOSE",
            Keepalive = 18 => "KEEPALIVE",
            GetHistoryForKey = 19 => "GET_HISTORY_FOR_KEY",
            GetStateMetadata = 20 => "GET_STATE_METADATA",
            PutStateMetadata = 21 => "PUT_STATE_METADATA",
            GetPrivateDataHash = 22 => "GET_PRIVATE_DATA_HASH",
            PurgePrivateData = 23 => "PURGE_PRIVATE_DATA",
            WriteBatchState = 24 => "WRITE_BATCH_STATE",
            GetStateMultiple = 25 => "GET_STATE_MULTIPLE",
        }
    }
}

/// Asks for the value of a key; for its hash where the message says so.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetState {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub collection: String,
}

/// Asks for the metadata of a key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetStateMetadata {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub collection: String,
}

/// Asks for the values of several keys.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetStateMultiple {
    #[prost(string, repeated, tag = "1")]
    pub keys: Vec<String>,
    #[prost(string, tag = "2")]
    pub collection: String,
}

/// The values, in the order asked for; empty where there is none.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetStateMultipleResult {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub values: Vec<Vec<u8>>,
}

/// Sets a key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutState {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    #[prost(string, tag = "3")]
    pub collection: String,
}

/// Sets one entry of a key's metadata.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutStateMetadata {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "3")]
    pub collection: String,
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<StateMetadata>,
}

/// Several writes at once.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WriteBatchState {
    #[prost(message, repeated, tag = "1")]
    pub rec: Vec<WriteRecord>,
}

/// One write of a batch.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WriteRecord {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    #[prost(string, tag = "3")]
    pub collection: String,
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<StateMetadata>,
    #[prost(enumeration = "write_record::Type", tag = "5")]
    pub r#type: i32,
}

/// Types nested in [`WriteRecord`].
pub mod write_record {
    crate::wire_enum! {
        /// What a write does.
        pub enum Type {
            Undefined = 0 => "UNDEFINED",
            PutState = 9 => "PUT_STATE",
            DelState = 10 => "DEL_STATE",
            PutStateMetadata = 21 => "PUT_STATE_METADATA",
            PurgePrivateData = 23 => "PURGE_PRIVATE_DATA",
        }
    }
}

/// Deletes a key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DelState {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub collection: String,
}

/// Deletes a private key with its history.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PurgePrivateState {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub collection: String,
}

/// Asks for the keys from `start_key` up to `end_key`, which is left out.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetStateByRange {
    #[prost(string, tag = "1")]
    pub start_key: String,
    #[prost(string, tag = "2")]
    pub end_key: String,
    #[prost(string, tag = "3")]
    pub collection: String,
    #[prost(bytes = "vec", tag = "4")]
    pub metadata: Vec<u8>,
}

/// A query in the state database's own language.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetQueryResult {
    #[prost(string, tag = "1")]
    pub query: String,
    #[prost(string, tag = "2")]
    pub collection: String,
    #[prost(bytes = "vec", tag = "3")]
    pub metadata: Vec<u8>,
}

/// Which page of a query is wanted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryMetadata {
    #[prost(int32, tag = "1")]
    pub page_size: i32,
    #[prost(string, tag = "2")]
    pub bookmark: String,
}

/// Asks for the former values of a key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetHistoryForKey {
    #[prost(string, tag = "1")]
    pub key: String,
}

/// Asks for the next results of a query.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryStateNext {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// Ends a query.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryStateClose {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// One result of a query: an encoded [`Kv`](crate::queryresult::Kv) or [`KeyModification`](crate::queryresult::KeyModification).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryResultBytes {
    #[prost(bytes = "vec", tag = "1")]
    pub result_bytes: Vec<u8>,
}

/// Results of a query.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryResponse {
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<QueryResultBytes>,
    #[prost(bool, tag = "2")]
    pub has_more: bool,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(bytes = "vec", tag = "4")]
    pub metadata: Vec<u8>,
}

/// Where a page of results ends.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryResponseMetadata {
    #[prost(int32, tag = "1")]
    pub fetched_records_count: i32,
    #[prost(string, tag = "2")]
    pub bookmark: String,
}

/// One entry of a key's metadata.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StateMetadata {
    #[prost(string, tag = "1")]
    pub metakey: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A key's metadata.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StateMetadataResult {
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<StateMetadata>,
}
