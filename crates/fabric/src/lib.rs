//! The Hyperledger Fabric protocol as Tenter uses it.

pub mod ca;
pub mod identity;
pub mod keys;
pub mod x509;

#[cfg(test)]
mod testing;
