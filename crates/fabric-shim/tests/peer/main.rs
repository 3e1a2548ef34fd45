//! The shim against a peer that this test plays.

mod calls;
mod connections;
mod fake;
mod probe;
mod tls;
