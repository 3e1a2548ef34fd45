//! Chaincode as members of a channel agree on it: packages, definitions, and the transactions that commit them.
//!
//! Nothing here talks to a node; the clients do (`client::endorser`, `client::gateway`).

mod archive;
pub mod definition;
pub mod lifecycle;
pub mod package;
pub mod transaction;

pub use definition::{Approved, Collection, Committed, Definition, DefinitionProblem, Difference, Endorsement};
pub use package::{Label, Package, PackageError, PackageId, ServiceClient, ServiceConnection, ServiceTls};
pub use transaction::{Call, Endorsed, SignedCall, TransactionFacts, ValidationCode, transactions};
