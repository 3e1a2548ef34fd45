//! Controllers: one for each kind, all run by the same driver.
//!
//! A reconciliation is *observe*, *decide* (pure), *act*, and again until nothing is left to do, then *status*.
//! What triggered it does not matter: every property is looked at each time.

#[cfg(test)]
pub(crate) mod api_world;
pub mod apply;
#[cfg(test)]
mod approval_tests;
pub mod cache;
pub mod certificate_authority;
pub mod chaincode;
pub mod channel;
pub mod children;
pub mod conditions;
pub mod context;
#[cfg(test)]
mod daemon_world;
#[cfg(test)]
mod definition_tests;
pub mod definitions;
pub mod driver;
pub mod events;
pub mod failure;
pub mod follow;
#[cfg(test)]
mod founders_tests;
pub mod gates;
pub mod identity;
pub mod labels;
pub mod materials;
pub mod membership;
pub mod node;
pub mod orderer;
pub mod organization;
pub mod outlook;
pub mod peer;
#[cfg(test)]
mod process_world;
pub mod proposal;
pub mod quantity;
pub mod schedule;
pub mod vote;

pub use self::conditions::Verdict;
pub use self::context::{Clock, Context, SystemClock};
pub use self::driver::{Cleanup, Controlled, Decision, Driver, Scope, run};
pub use self::failure::Failure;
