//! How blocks are agreed on: the value `ConsensusType`, its metadata, and the value `Orderers`.

use serde::Serialize;
use tenter_fabric_wire::{common, etcdraft, smartbft};

use crate::msp::Pem;

/// The consensus of a channel.
#[expect(clippy::large_enum_variant, reason = "there is one for a channel, and it is not moved about")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Consensus {
    /// Raft: survives the loss of less than half of the consenters.
    EtcdRaft {
        /// The consenters, in the order of the configuration.
        consenters: Vec<RaftConsenter>,
        /// Timing and limits.
        options: RaftOptions,
    },
    /// `SmartBFT`: survives malice of less than a third of the consenters; needs channel capability `V3_0`.
    Bft {
        /// The consenters, in the order of the configuration.
        consenters: Vec<BftConsenter>,
        /// Timing and limits.
        options: BftOptions,
    },
    /// A kind that this library does not know; it is kept as it is.
    Other {
        /// Name of the kind.
        kind: String,
        /// Its parameters, encoded.
        metadata: Vec<u8>,
    },
}

/// Whether a channel is in maintenance, which is how its kind of consensus is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ConsensusState {
    /// Business as usual.
    Normal,
    /// Only administrators of the ordering service may write.
    Maintenance,
}

/// A consenter of a Raft channel. Fabric tells consenters apart by the bytes of the client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RaftConsenter {
    /// Host name of the cluster port.
    pub host: String,
    /// Cluster port.
    pub port: u16,
    /// TLS certificate as a client.
    pub client_tls_cert: Pem,
    /// TLS certificate as a server.
    pub server_tls_cert: Pem,
}

/// Timing and limits of Raft. Apart from the snapshot size, changes take effect when an orderer restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RaftOptions {
    /// Length of a tick, as a Go duration.
    pub tick_interval: String,
    /// Ticks without a leader before an election.
    pub election_tick: u32,
    /// Ticks between heartbeats.
    pub heartbeat_tick: u32,
    /// Blocks under way at the same time.
    pub max_inflight_blocks: u32,
    /// Bytes between snapshots.
    pub snapshot_interval_size: u32,
}

impl Default for RaftOptions {
    /// What configtxgen fills in.
    fn default() -> Self {
        Self {
            tick_interval: "500ms".to_owned(),
            election_tick: 10,
            heartbeat_tick: 1,
            max_inflight_blocks: 5,
            snapshot_interval_size: 16 << 20,
        }
    }
}

/// A consenter of a BFT channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BftConsenter {
    /// Number of the consenter, from 1. Two consenters with the same number make every orderer crash for good.
    pub id: u32,
    /// Host name of the cluster port.
    pub host: String,
    /// Cluster port.
    pub port: u16,
    /// MSP ID of its organisation.
    pub msp_id: String,
    /// Enrolment certificate, with which it signs blocks.
    pub identity: Pem,
    /// TLS certificate as a client.
    pub client_tls_cert: Pem,
    /// TLS certificate as a server.
    pub server_tls_cert: Pem,
}

/// Whether the leaders of a BFT channel take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LeaderRotation {
    /// Not said, which is what configtxgen writes and means off.
    Unspecified,
    /// They do not.
    Off,
    /// They do; Fabric refuses it.
    On,
}

/// Timing and limits of `SmartBFT`. Durations are Go durations such as `200ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BftOptions {
    /// Replaced at run time by the batch's number of messages; leave 0.
    pub request_batch_max_count: u64,
    /// Replaced at run time by the batch's size; leave 0.
    pub request_batch_max_bytes: u64,
    /// Longest wait for a batch to fill.
    pub request_batch_max_interval: String,
    /// Messages kept that were not processed yet.
    pub incoming_message_buffer_size: u64,
    /// Requests kept that were not ordered yet; changes take effect at a restart.
    pub request_pool_size: u64,
    /// Time after which a request is forwarded to the leader.
    pub request_forward_timeout: String,
    /// Time after which a node complains about the leader.
    pub request_complain_timeout: String,
    /// Time after which a request is dropped.
    pub request_auto_remove_timeout: String,
    /// Greatest size of a request; 0 for no limit of its own.
    pub request_max_bytes: u64,
    /// Time between repetitions of a view change message.
    pub view_change_resend_interval: String,
    /// Longest view change.
    pub view_change_timeout: String,
    /// Time without a heartbeat before a node complains about the leader.
    pub leader_heartbeat_timeout: String,
    /// Heartbeats in that time.
    pub leader_heartbeat_count: u64,
    /// Time in which a node collects the others' states.
    pub collect_timeout: String,
    /// Whether a node synchronises when it starts.
    pub sync_on_start: bool,
    /// Whether a node joins a view change that it has not asked for.
    pub speed_up_view_change: bool,
    /// Whether the leaders take turns.
    pub leader_rotation: LeaderRotation,
    /// Decisions of one leader, if they take turns.
    pub decisions_per_leader: u64,
}

impl Default for BftOptions {
    /// Fabric's sample profile.
    fn default() -> Self {
        Self {
            request_batch_max_count: 0,
            request_batch_max_bytes: 0,
            request_batch_max_interval: "200ms".to_owned(),
            incoming_message_buffer_size: 200,
            request_pool_size: 100_000,
            request_forward_timeout: "5s".to_owned(),
            request_complain_timeout: "20s".to_owned(),
            request_auto_remove_timeout: "3m0s".to_owned(),
            request_max_bytes: 0,
            view_change_resend_interval: "5s".to_owned(),
            view_change_timeout: "20s".to_owned(),
            leader_heartbeat_timeout: "1m0s".to_owned(),
            leader_heartbeat_count: 10,
            collect_timeout: "1s".to_owned(),
            sync_on_start: false,
            speed_up_view_change: false,
            leader_rotation: LeaderRotation::Unspecified,
            decisions_per_leader: 0,
        }
    }
}

/// The port of a message, if it is one.
pub(super) fn port<N>(number: N) -> Option<u16>
where
    u16: TryFrom<N>,
{
    u16::try_from(number).ok()
}

impl RaftConsenter {
    pub(super) fn from_wire(wire: etcdraft::Consenter) -> Option<Self> {
        Some(Self {
            host: wire.host,
            port: port(wire.port)?,
            client_tls_cert: Pem::new(wire.client_tls_cert),
            server_tls_cert: Pem::new(wire.server_tls_cert),
        })
    }

    pub(super) fn to_wire(&self) -> etcdraft::Consenter {
        etcdraft::Consenter {
            host: self.host.clone(),
            port: self.port.into(),
            client_tls_cert: self.client_tls_cert.bytes().to_vec(),
            server_tls_cert: self.server_tls_cert.bytes().to_vec(),
        }
    }
}

impl RaftOptions {
    pub(super) fn from_wire(wire: etcdraft::Options) -> Self {
        Self {
            tick_interval: wire.tick_interval,
            election_tick: wire.election_tick,
            heartbeat_tick: wire.heartbeat_tick,
            max_inflight_blocks: wire.max_inflight_blocks,
            snapshot_interval_size: wire.snapshot_interval_size,
        }
    }

    pub(super) fn to_wire(&self) -> etcdraft::Options {
        etcdraft::Options {
            tick_interval: self.tick_interval.clone(),
            election_tick: self.election_tick,
            heartbeat_tick: self.heartbeat_tick,
            max_inflight_blocks: self.max_inflight_blocks,
            snapshot_interval_size: self.snapshot_interval_size,
        }
    }
}

impl BftConsenter {
    pub(super) fn from_wire(wire: common::Consenter) -> Option<Self> {
        Some(Self {
            id: wire.id,
            host: wire.host,
            port: port(wire.port)?,
            msp_id: wire.msp_id,
            identity: Pem::new(wire.identity),
            client_tls_cert: Pem::new(wire.client_tls_cert),
            server_tls_cert: Pem::new(wire.server_tls_cert),
        })
    }

    pub(super) fn to_wire(&self) -> common::Consenter {
        common::Consenter {
            id: self.id,
            host: self.host.clone(),
            port: self.port.into(),
            msp_id: self.msp_id.clone(),
            identity: self.identity.bytes().to_vec(),
            client_tls_cert: self.client_tls_cert.bytes().to_vec(),
            server_tls_cert: self.server_tls_cert.bytes().to_vec(),
        }
    }
}

impl LeaderRotation {
    fn from_wire(wire: smartbft::options::Rotation) -> Self {
        match wire {
            smartbft::options::Rotation::Unspecified => Self::Unspecified,
            smartbft::options::Rotation::Off => Self::Off,
            smartbft::options::Rotation::On => Self::On,
        }
    }

    fn to_wire(self) -> smartbft::options::Rotation {
        match self {
            Self::Unspecified => smartbft::options::Rotation::Unspecified,
            Self::Off => smartbft::options::Rotation::Off,
            Self::On => smartbft::options::Rotation::On,
        }
    }
}

impl BftOptions {
    pub(super) fn from_wire(wire: smartbft::Options) -> Self {
        let leader_rotation = LeaderRotation::from_wire(wire.leader_rotation());
        Self {
            request_batch_max_count: wire.request_batch_max_count,
            request_batch_max_bytes: wire.request_batch_max_bytes,
            request_batch_max_interval: wire.request_batch_max_interval,
            incoming_message_buffer_size: wire.incoming_message_buffer_size,
            request_pool_size: wire.request_pool_size,
            request_forward_timeout: wire.request_forward_timeout,
            request_complain_timeout: wire.request_complain_timeout,
            request_auto_remove_timeout: wire.request_auto_remove_timeout,
            request_max_bytes: wire.request_max_bytes,
            view_change_resend_interval: wire.view_change_resend_interval,
            view_change_timeout: wire.view_change_timeout,
            leader_heartbeat_timeout: wire.leader_heartbeat_timeout,
            leader_heartbeat_count: wire.leader_heartbeat_count,
            collect_timeout: wire.collect_timeout,
            sync_on_start: wire.sync_on_start,
            speed_up_view_change: wire.speed_up_view_change,
            leader_rotation,
            decisions_per_leader: wire.decisions_per_leader,
        }
    }

    pub(super) fn to_wire(&self) -> smartbft::Options {
        smartbft::Options {
            request_batch_max_count: self.request_batch_max_count,
            request_batch_max_bytes: self.request_batch_max_bytes,
            request_batch_max_interval: self.request_batch_max_interval.clone(),
            incoming_message_buffer_size: self.incoming_message_buffer_size,
            request_pool_size: self.request_pool_size,
            request_forward_timeout: self.request_forward_timeout.clone(),
            request_complain_timeout: self.request_complain_timeout.clone(),
            request_auto_remove_timeout: self.request_auto_remove_timeout.clone(),
            request_max_bytes: self.request_max_bytes,
            view_change_resend_interval: self.view_change_resend_interval.clone(),
            view_change_timeout: self.view_change_timeout.clone(),
            leader_heartbeat_timeout: self.leader_heartbeat_timeout.clone(),
            leader_heartbeat_count: self.leader_heartbeat_count,
            collect_timeout: self.collect_timeout.clone(),
            sync_on_start: self.sync_on_start,
            speed_up_view_change: self.speed_up_view_change,
            leader_rotation: self.leader_rotation.to_wire().into(),
            decisions_per_leader: self.decisions_per_leader,
        }
    }
}
