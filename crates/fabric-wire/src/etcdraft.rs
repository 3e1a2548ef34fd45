//! Package `etcdraft`: what a Raft channel keeps in its configuration and blocks.

/// State of the Raft cluster, as each block carries it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockMetadata {
    #[prost(uint64, repeated, tag = "1")]
    pub consenter_ids: Vec<u64>,
    #[prost(uint64, tag = "2")]
    pub next_consenter_id: u64,
    #[prost(uint64, tag = "3")]
    pub raft_index: u64,
}

/// Consenters and options of a Raft channel.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfigMetadata {
    #[prost(message, repeated, tag = "1")]
    pub consenters: Vec<Consenter>,
    #[prost(message, optional, tag = "2")]
    pub options: Option<Options>,
}

/// A member of a Raft channel's consenter set.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Consenter {
    #[prost(string, tag = "1")]
    pub host: String,
    #[prost(uint32, tag = "2")]
    pub port: u32,
    #[prost(bytes = "vec", tag = "3")]
    pub client_tls_cert: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub server_tls_cert: Vec<u8>,
}

/// Timing and limits of Raft.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Options {
    #[prost(string, tag = "1")]
    pub tick_interval: String,
    #[prost(uint32, tag = "2")]
    pub election_tick: u32,
    #[prost(uint32, tag = "3")]
    pub heartbeat_tick: u32,
    #[prost(uint32, tag = "4")]
    pub max_inflight_blocks: u32,
    #[prost(uint32, tag = "5")]
    pub snapshot_interval_size: u32,
}
