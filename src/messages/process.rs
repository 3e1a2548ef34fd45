//! An exchange in a process of its own, as a fetch of the definition is (see [`crate::source::process`]).

use std::time::Duration;

use super::Messages;
use super::exchange::{ExchangeRequest, exchange as exchange_here};
use crate::source::{SourceError, process};

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "git-exchange";

/// Publishes and reads in a process of its own, for at most `limit`.
pub async fn exchange(request: &ExchangeRequest, limit: Duration) -> Result<Messages, SourceError> {
    process::call(SUBCOMMAND, request, &request.cache, &request.url, limit).await
}

/// The other side: reads a request from standard input, and returns the answer for standard output.
pub fn serve() -> Result<String, SourceError> {
    process::answer(SUBCOMMAND, exchange_here)
}
