//! One HTTP/2 connection for gRPC, opened when it is needed and again when it is gone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::error::Error as _;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::client::Grpc;
use tower_service::Service;

use super::connect::{Endpoint, TransportError};

/// Fabric's limit for messages (`common/../comm/config.go`), where tonic stops at 4 MiB by itself.
pub(crate) const MAX_MESSAGE: usize = 100 * 1024 * 1024;
/// Nodes close connections that ping more often than once a minute (`comm.DefaultKeepaliveOptions`).
const KEEPALIVE: Duration = Duration::from_secs(75);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// An HTTP/2 connection as a tower service.
#[derive(Clone)]
pub(crate) struct Connection(SendRequest<Body>);

impl Service<hyper::Request<Body>> for Connection {
    type Response = hyper::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: hyper::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A node's gRPC port.
#[derive(Clone)]
pub(crate) struct Channel {
    endpoint: Endpoint,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("target", self.endpoint.target()).finish_non_exhaustive()
    }
}

impl Channel {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, connection: Arc::default() }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A gRPC client on the open connection, or on a new one.
    pub(crate) async fn grpc(&self) -> Result<Grpc<Connection>, TransportError> {
        let mut slot = self.connection.lock().await;
        let connection = match slot.as_ref() {
            Some(open) if !open.0.is_closed() => open.clone(),
            _ => slot.insert(self.open().await?).clone(),
        };
        drop(slot);
        let origin: Uri = format!("https://{}", self.endpoint.target())
            .parse()
            .map_err(|error| self.endpoint.protocol(format!("its address makes no URI: {error}")))?;
        let mut grpc = Grpc::with_origin(connection, origin)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        grpc.ready().await.map_err(|error| self.failed(&error))?;
        Ok(grpc)
    }

    async fn open(&self) -> Result<Connection, TransportError> {
        let stream = self.endpoint.open("h2").await?;
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .handshake(TokioIo::new(stream));
        let limit = self.endpoint.limits().connect;
        let (sender, connection) = timeout(limit, handshake)
            .await
            .map_err(|_| self.endpoint.timed_out("the HTTP/2 handshake", limit))?
            .map_err(|error| self.failed(&error))?;
        // Ends when the last sender and the last stream are dropped. Its error reaches the requests as well.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Connection(sender))
    }

    fn failed(&self, error: &hyper::Error) -> TransportError {
        TransportError::from_chain(self.endpoint.target(), error)
    }

    /// Bounds a call by the request limit.
    pub(crate) async fn bounded<T>(
        &self,
        action: &'static str,
        call: impl Future<Output = Result<T, tonic::Status>>,
    ) -> Result<Result<T, tonic::Status>, TransportError> {
        let limit = self.endpoint.limits().request;
        match timeout(limit, call).await {
            Err(_) => Err(self.endpoint.timed_out(action, limit)),
            Ok(Err(status)) => match self.transport(&status) {
                Some(error) => Err(error),
                None => Ok(Err(status)),
            },
            Ok(done) => Ok(done),
        }
    }

    /// The transport's failure behind a status that no server sent.
    pub(crate) fn transport(&self, status: &tonic::Status) -> Option<TransportError> {
        // Statuses of a server have no source; those that tonic makes of a broken connection have.
        let source = status.source()?;
        Some(TransportError::from_chain(self.endpoint.target(), source))
    }
}
