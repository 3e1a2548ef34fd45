//! Chaincode as a service for Hyperledger Fabric: a contract is a [`Contract`], and [`serve`] lets peers call it.
//!
//! ```no_run
//! use tenter_fabric_shim::{Contract, ContractError, ServiceOptions, Stub, serve};
//!
//! struct Greeter;
//!
//! impl Contract for Greeter {
//!     fn invoke(&self, stub: &mut Stub) -> Result<Vec<u8>, ContractError> {
//!         match stub.function() {
//!             "Greet" => {
//!                 let [name] = stub.parameters()?;
//!                 Ok(format!("Hello, {name}").into_bytes())
//!             }
//!             other => Err(ContractError::new(format!("there is no function {other}"))),
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! serve(Greeter, &ServiceOptions::from_environment()?)?;
//! # Ok(())
//! # }
//! ```
//!
//! The peer connects to the contract, not the other way round; any number of peers may be connected at once. What is
//! said then is Fabric's chaincode protocol, as `fabric-chaincode-go` (package `shim`) speaks it. Left out: batches of
//! writes and of reads (optional for a chaincode), rich queries, histories, key-level policies and calls of other
//! chaincodes.

mod connection;
mod contract;
mod options;
mod server;
mod stub;
#[cfg(feature = "testing")]
pub mod testing;

pub use contract::{Contract, ContractError};
pub use options::{OptionsError, ServiceOptions, TlsOptions};
pub use server::{ServeError, serve, serve_on};
pub use stub::{Creator, KeyValue, Page, Stub};
