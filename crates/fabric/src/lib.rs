//! The Hyperledger Fabric protocol as Tenter uses it.
