//! The Hyperledger Fabric protocol as Tenter uses it.

pub mod ca;
#[cfg(feature = "client")]
pub mod client;
pub mod identity;
pub mod keys;
pub mod x509;

#[cfg(test)]
mod testing;
