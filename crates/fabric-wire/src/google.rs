//! The few well-known messages that Fabric's services use, and the carrier of gRPC error details.

/// A point in time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds in addition, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// Nothing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Empty {}

/// A message of any type, named by its URL.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Any {
    /// Type of the message, such as `type.googleapis.com/gateway.ErrorDetail`.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.Status`, which gRPC sends in `grpc-status-details-bin`; the Gateway puts
/// [`ErrorDetail`](crate::gateway::ErrorDetail)s in it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RpcStatus {
    /// gRPC status code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// Text of the status.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Details, one for each node that answered with an error.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}
