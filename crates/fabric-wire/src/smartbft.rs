//! Package `orderer.smartbft`: the options of a BFT channel.

/// Timing and limits of `SmartBFT`; intervals are Go durations.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Options {
    #[prost(uint64, tag = "1")]
    pub request_batch_max_count: u64,
    #[prost(uint64, tag = "2")]
    pub request_batch_max_bytes: u64,
    #[prost(string, tag = "3")]
    pub request_batch_max_interval: String,
    #[prost(uint64, tag = "4")]
    pub incoming_message_buffer_size: u64,
    #[prost(uint64, tag = "5")]
    pub request_pool_size: u64,
    #[prost(string, tag = "6")]
    pub request_forward_timeout: String,
    #[prost(string, tag = "7")]
    pub request_complain_timeout: String,
    #[prost(string, tag = "8")]
    pub request_auto_remove_timeout: String,
    #[prost(uint64, tag = "9")]
    pub request_max_bytes: u64,
    #[prost(string, tag = "10")]
    pub view_change_resend_interval: String,
    #[prost(string, tag = "11")]
    pub view_change_timeout: String,
    #[prost(string, tag = "12")]
    pub leader_heartbeat_timeout: String,
    #[prost(uint64, tag = "13")]
    pub leader_heartbeat_count: u64,
    #[prost(string, tag = "14")]
    pub collect_timeout: String,
    #[prost(bool, tag = "15")]
    pub sync_on_start: bool,
    #[prost(bool, tag = "16")]
    pub speed_up_view_change: bool,
    #[prost(enumeration = "options::Rotation", tag = "17")]
    pub leader_rotation: i32,
    #[prost(uint64, tag = "18")]
    pub decisions_per_leader: u64,
}

/// Types nested in [`Options`].
pub mod options {
    crate::wire_enum! {
        /// Whether leaders take turns; Fabric refuses ON.
        pub enum Rotation {
            Unspecified = 0 => "ROTATION_UNSPECIFIED",
            Off = 1 => "ROTATION_OFF",
            On = 2 => "ROTATION_ON",
        }
    }
}
