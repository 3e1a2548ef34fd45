//! What a contract is.

use crate::Stub;

/// A contract: what the chaincode does when it is called.
///
/// Calls run beside each other, each on a thread of its own (up to 512; more wait), so that a contract is plain code
/// that may block. It must be deterministic: every endorsing peer has to come to the same result, without clocks,
/// randomness or state outside of the ledger.
pub trait Contract: Send + Sync + 'static {
    /// Handles a call. The client gets what is returned: the bytes, or the error's text with status 500.
    fn invoke(&self, stub: &mut Stub) -> Result<Vec<u8>, ContractError>;

    /// Handles the first call of a chaincode whose definition requires initialisation.
    fn init(&self, stub: &mut Stub) -> Result<Vec<u8>, ContractError> {
        let _ = stub;
        Ok(Vec::new())
    }
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// The contract refused the call.
    #[error("{0}")]
    Refused(String),
    /// The peer refused a request of the contract.
    #[error("{0}")]
    Peer(String),
    /// The peer answered, but not as the protocol says.
    #[error("the peer's answer to {request} {problem}")]
    Answer {
        /// What was asked.
        request: &'static str,
        /// What is wrong with the answer.
        problem: &'static str,
    },
    /// The connection ended before the peer answered.
    #[error("the connection to the peer is lost")]
    Disconnected,
}

impl ContractError {
    /// A refusal with a text for the client.
    pub fn new(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }
}

impl From<String> for ContractError {
    fn from(text: String) -> Self {
        Self::Refused(text)
    }
}

impl From<&str> for ContractError {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}
