//! Simulated Hyperledger Fabric nodes.
//!
//! An orderer and a peer that read the configuration of the real programs, serve the same ports and protocols, and
//! judge signatures, policies and blocks as Fabric does, with code of their own. See the README of this crate for
//! what is simulated and what is not.

pub mod block;
pub mod broadcast;
pub mod channel;
pub mod configtx;
pub mod deliver;
pub mod faults;
pub mod ledger;
pub mod msp;
pub mod net;
pub mod operations;
pub mod orderer;
pub mod peer;
pub mod process;
pub mod prototext;
pub mod pull;
pub mod settings;
pub mod x509;
