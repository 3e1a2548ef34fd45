//! The shim against a peer that this test plays.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod calls;
mod connections;
mod fake;
mod probe;
mod tls;
