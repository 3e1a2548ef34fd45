//! The gRPC server that peers connect to (`fabric-chaincode-go`, `shim/chaincodeserver.go`, `shim/internal/server.go`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tenter_fabric_wire::service::chaincode_server::{Chaincode, ChaincodeServer};
use tenter_fabric_wire::shim::ChaincodeMessage;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use crate::Contract;
use crate::connection::{Connection, LARGEST_MESSAGE};
use crate::options::{ServiceOptions, TlsOptions};

/// Messages that wait for a slow peer.
const QUEUE: usize = 16;
const HANDSHAKE: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_mins(1);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long running calls may take once the service shall stop; Kubernetes kills after thirty seconds.
const LAST_CALLS: Duration = Duration::from_secs(20);

/// The service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or invalid.
    #[error("listening on {address} is not possible")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Certificate, key or client roots cannot be used.
    #[error("the certificate, the key or the client roots cannot be used for TLS")]
    Tls(#[source] tonic::transport::Error),
    /// Threads or signal handlers cannot be set up.
    #[error("the service cannot be set up")]
    Setup(#[source] io::Error),
    /// The server broke.
    #[error("the server ended")]
    Server(#[source] tonic::transport::Error),
}

/// Serves a contract to peers until SIGTERM or SIGINT; calls that run then may end within twenty seconds.
pub fn serve<C: Contract>(contract: C, options: &ServiceOptions) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ServeError::Setup)?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Setup)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Setup)?;
        let listen = |source| ServeError::Listen { address: options.address.clone(), source };
        let listener = TcpListener::bind(&options.address).await.map_err(listen)?;
        serve_on(contract, options, listener, async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
    });
    // A call that still runs holds up nobody: its peer is told nothing and will ask again.
    runtime.shutdown_background();
    result
}

/// Serves a contract on a listener until `stop` is done: [`serve`] for programs with a runtime of their own.
pub async fn serve_on<C: Contract>(
    contract: C,
    options: &ServiceOptions,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Setup)?;
    tracing::info!(%address, package_id = options.package_id, tls = options.tls.is_some(), "waiting for peers");
    let (stopping, stopped) = watch::channel(false);
    let service = Service { contract: Arc::new(contract), package_id: options.package_id.as_str().into(), stopped };
    let mut builder = Server::builder()
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .tcp_nodelay(true);
    if let Some(tls) = &options.tls {
        builder = builder.tls_config(tls_config(tls)).map_err(ServeError::Tls)?;
    }
    let service = ChaincodeServer::new(service)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);
    let mut drained = stopping.subscribe();
    let server = builder.add_service(service).serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
        stop.await;
        stopping.send_replace(true);
    });
    let overdue = async {
        let _ = drained.wait_for(|stop| *stop).await;
        tokio::time::sleep(LAST_CALLS).await;
    };
    tokio::select! {
        result = server => result.map_err(ServeError::Server),
        () = overdue => {
            tracing::warn!("calls that still run are given up");
            Ok(())
        }
    }
}

fn tls_config(options: &TlsOptions) -> ServerTlsConfig {
    // The workspace's provider; one that the program has installed before stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config =
        ServerTlsConfig::new().identity(Identity::from_pem(&options.certificate, &options.key)).timeout(HANDSHAKE);
    match &options.client_roots {
        Some(roots) => config.client_ca_root(Certificate::from_pem(roots)),
        None => config,
    }
}

struct Service<C> {
    contract: Arc<C>,
    package_id: Arc<str>,
    stopped: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl<C: Contract> Chaincode for Service<C> {
    type ConnectStream = ReceiverStream<Result<ChaincodeMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<ChaincodeMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (outgoing, replies) = mpsc::channel(QUEUE);
        let connection = Connection::new(self.contract.clone(), outgoing);
        let (package_id, stopped) = (self.package_id.clone(), self.stopped.clone());
        tokio::spawn(async move { connection.run(&package_id, request.into_inner(), stopped).await });
        Ok(Response::new(ReceiverStream::new(replies)))
    }
}
