//! A node as a process: how it starts, what ends it.

use std::any::Any;
use std::net::SocketAddr;

use tokio::sync::watch;

use crate::net::NetError;
use crate::settings::SettingsError;

/// Why a node does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration is wrong.
    #[error("failed to parse config")]
    Settings(#[from] SettingsError),
    /// A listener cannot be set up.
    #[error("failed to set up a listener")]
    Net(#[from] NetError),
    /// The node refuses what it was given.
    #[error("{0}")]
    Refused(String),
    /// The node cannot go on.
    #[error("{0}")]
    Fatal(String),
}

impl NodeError {
    /// The exit code of the real programs: 1 where they say why and go, 2 where they panic.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(SettingsError::Inconsistent(_)) | Self::Refused(_) | Self::Fatal(_) => 2,
            Self::Settings(_) | Self::Net(_) => 1,
        }
    }
}

/// A node that serves.
pub struct Running {
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// Where an orderer's admin API is served.
    pub admin: Option<SocketAddr>,
    /// Where operations are served.
    pub operations: SocketAddr,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) fatal: watch::Receiver<Option<String>>,
    pub(crate) keep: Box<dyn Any + Send + Sync>,
}

impl Running {
    /// Waits until the node cannot go on, or `signal` comes; then stops it.
    pub async fn until(mut self, signal: impl Future<Output = ()>) -> Result<(), NodeError> {
        let ended = tokio::select! {
            () = signal => Ok(()),
            reason = self.fatal.wait_for(Option::is_some) => {
                let text = reason.ok().and_then(|reason| reason.clone()).unwrap_or_default();
                Err(NodeError::Fatal(text))
            }
        };
        self.stop.send_replace(true);
        if ended.is_ok() {
            tokio::time::sleep(crate::orderer::grace()).await;
        }
        drop(self.keep);
        ended
    }
}

/// Completes when the node stops.
pub(crate) async fn stop_signal(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
