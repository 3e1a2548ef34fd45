//! Clients of Fabric's orderers and peers: TLS on streams that the caller's [`Dialer`] opens, every wait bounded,
//! every failure typed.
//!
//! An error is never absence: see [`FailureKind`].

pub mod broadcast;
mod connect;
pub mod deliver;
pub mod endorser;
mod envelope;
pub mod gateway;
mod grpc;
mod http;
pub mod operations;
pub mod participation;

pub use connect::{
    BoxStream, Dialer, DirectDialer, Endpoint, Limits, Stream, Target, TargetError, TlsSettings, TransportError,
};

/// What a failure says about the thing asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// It is not there, and the node that knows says so.
    Absent,
    /// The node refuses to tell this client.
    Forbidden,
    /// The node could not be asked, or cannot serve now: nothing is known.
    Unreachable,
    /// The node understood and refused.
    Refused,
    /// The answer makes no sense.
    Protocol,
}
