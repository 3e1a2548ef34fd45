//! Package `orderer`: Broadcast, Deliver and the orderer values of a channel configuration.

/// When a block is full.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BatchSize {
    #[prost(uint32, tag = "1")]
    pub max_message_count: u32,
    #[prost(uint32, tag = "2")]
    pub absolute_max_bytes: u32,
    #[prost(uint32, tag = "3")]
    pub preferred_max_bytes: u32,
}

/// How long to wait for a block to fill, as a Go duration.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BatchTimeout {
    #[prost(string, tag = "1")]
    pub timeout: String,
}

/// Answer to one broadcast envelope.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BroadcastResponse {
    #[prost(enumeration = "crate::common::Status", tag = "1")]
    pub status: i32,
    #[prost(string, tag = "2")]
    pub info: String,
}

/// Greatest number of channels; 0 is no limit.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChannelRestrictions {
    #[prost(uint64, tag = "1")]
    pub max_count: u64,
}

/// Type of consensus, its parameters and its migration state.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConsensusType {
    #[prost(string, tag = "1")]
    pub r#type: String,
    #[prost(bytes = "vec", tag = "2")]
    pub metadata: Vec<u8>,
    #[prost(enumeration = "consensus_type::State", tag = "3")]
    pub state: i32,
}

/// Types nested in [`ConsensusType`].
pub mod consensus_type {
    crate::wire_enum! {
        /// Whether the channel is in maintenance, for a change of consensus type.
        pub enum State {
            Normal = 0 => "STATE_NORMAL",
            Maintenance = 1 => "STATE_MAINTENANCE",
        }
    }
}

/// A block, or the status that ends what was asked for.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeliverResponse {
    #[prost(oneof = "deliver_response::Type", tags = "1, 2")]
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
    }
}

/// Which blocks to deliver, and what to do about those that do not exist yet.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SeekInfo {
    #[prost(message, optional, tag = "1")]
    pub start: Option<SeekPosition>,
    #[prost(message, optional, tag = "2")]
    pub stop: Option<SeekPosition>,
    #[prost(enumeration = "seek_info::SeekBehavior", tag = "3")]
    pub behavior: i32,
    #[prost(enumeration = "seek_info::SeekErrorResponse", tag = "4")]
    pub error_response: i32,
    #[prost(enumeration = "seek_info::SeekContentType", tag = "5")]
    pub content_type: i32,
}

/// Types nested in [`SeekInfo`].
pub mod seek_info {
    crate::wire_enum! {
        /// What to do about blocks that do not exist yet.
        pub enum SeekBehavior {
            BlockUntilReady = 0 => "BLOCK_UNTIL_READY",
            FailIfNotReady = 1 => "FAIL_IF_NOT_READY",
        }
    }

    crate::wire_enum! {
        /// Whole blocks, or headers and signatures only.
        pub enum SeekContentType {
            Block = 0 => "BLOCK",
            HeaderWithSig = 1 => "HEADER_WITH_SIG",
        }
    }

    crate::wire_enum! {
        /// Whether a consenter in error ends the stream.
        pub enum SeekErrorResponse {
            Strict = 0 => "STRICT",
            BestEffort = 1 => "BEST_EFFORT",
        }
    }
}

/// The newest block.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SeekNewest {}

/// The block that will be committed next (peers only).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SeekNextCommit {}

/// The oldest block.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SeekOldest {}

/// A place in the chain.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SeekPosition {
    #[prost(oneof = "seek_position::Type", tags = "1, 2, 3, 4")]
    pub r#type: Option<seek_position::Type>,
}

/// Types nested in [`SeekPosition`].
pub mod seek_position {
    /// The alternatives of `SeekPosition`.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Type {
        #[prost(message, tag = "1")]
        Newest(super::SeekNewest),
        #[prost(message, tag = "2")]
        Oldest(super::SeekOldest),
        #[prost(message, tag = "3")]
        Specified(super::SeekSpecified),
        #[prost(message, tag = "4")]
        NextCommit(super::SeekNextCommit),
    }
}

/// The block with this number.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SeekSpecified {
    #[prost(uint64, tag = "1")]
    pub number: u64,
}
