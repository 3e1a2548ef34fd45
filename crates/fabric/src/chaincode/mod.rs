//! Chaincode as members of a channel agree on it: packages, definitions, and the transactions that commit them.
//!
//! Nothing here talks to a node; the clients do (`client::endorser`, `client::gateway`).

mod archive;
pub mod package;

pub use package::{Label, Package, PackageError, PackageId, ServiceClient, ServiceConnection, ServiceTls};
