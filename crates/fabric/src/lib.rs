//! The Hyperledger Fabric protocol as Tenter uses it.
//!
//! Without features everything here is pure: no clock, no randomness, no files, no network. Protobuf messages
//! (`tenter-fabric-wire`) never stand in a public signature.

pub mod block;
pub mod ca;
pub mod chaincode;
#[cfg(feature = "client")]
pub mod client;
pub mod config;
mod exact;
pub mod genesis;
mod hash;
mod header;
pub mod identity;
pub mod keys;
pub mod msp;
pub mod policy;
pub mod x509;

#[cfg(test)]
mod testing;
