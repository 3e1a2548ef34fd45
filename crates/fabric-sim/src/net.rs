//! Listeners and connections: TCP with or without TLS, and who stands at the other end.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::server::Connected;

use crate::settings::TlsFiles;
use crate::x509::pem_blocks;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Real servers close connections that ping more often than once a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(65);

/// A listener or a connection cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A certificate or key file is named nowhere.
    #[error("TLS is enabled, but no {0} is set")]
    Unset(&'static str),
    /// A file cannot be read.
    #[error("Failed to load {what} file '{}'", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds nothing of use.
    #[error("'{}' holds no {what} in PEM", path.display())]
    Content {
        /// What it should hold.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Certificate and key do not fit, or are of an unknown kind.
    #[error("certificate and key cannot be used for TLS")]
    Tls(#[from] rustls::Error),
    /// The address is taken or invalid.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Certificates of a PEM file.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let bytes = std::fs::read(path).map_err(|source| NetError::File {
        what: "certificate",
        path: path.to_path_buf(),
        source,
    })?;
    let found = certificates(&bytes);
    if found.is_empty() {
        return Err(NetError::Content { what: "certificate", path: path.to_path_buf() });
    }
    Ok(found)
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    pem_blocks(pem)
        .into_iter()
        .filter(|(label, _)| label == "CERTIFICATE")
        .map(|(_, der)| CertificateDer::from(der))
        .collect()
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, NetError> {
    let bytes = std::fs::read(path).map_err(|source| NetError::File {
        what: "private key",
        path: path.to_path_buf(),
        source,
    })?;
    private_key(&bytes).ok_or_else(|| NetError::Content { what: "private key", path: path.to_path_buf() })
}

fn private_key(pem: &[u8]) -> Option<PrivateKeyDer<'static>> {
    pem_blocks(pem).into_iter().find_map(|(label, der)| match label.as_str() {
        "EC PRIVATE KEY" => Some(PrivateKeyDer::Sec1(der.into())),
        "PRIVATE KEY" => Some(PrivateKeyDer::Pkcs8(der.into())),
        _ => None,
    })
}

/// A certificate chain and its key, for either side of a connection.
#[derive(Debug)]
pub struct KeyPair {
    /// The chain, the own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for KeyPair {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl KeyPair {
    /// Reads both files.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, NetError> {
        Ok(Self { chain: read_certificates(certificate)?, key: read_key(key)? })
    }

    /// Reads a pair from PEM.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Option<Self> {
        let chain = certificates(certificate);
        let key = private_key(key)?;
        (!chain.is_empty()).then_some(Self { chain, key })
    }

    /// The pair of a listener's settings.
    pub fn of(files: &TlsFiles) -> Result<Self, NetError> {
        let certificate = files.certificate.as_deref().ok_or(NetError::Unset("certificate"))?;
        let key = files.key.as_deref().ok_or(NetError::Unset("private key"))?;
        Self::read(certificate, key)
    }
}

/// The roots by which client certificates are judged; they may grow while the node runs.
#[derive(Debug, Clone, Default)]
pub struct ClientRoots(Arc<RwLock<Vec<CertificateDer<'static>>>>);

impl ClientRoots {
    /// The roots of a listener's settings.
    pub fn of(files: &TlsFiles) -> Result<Self, NetError> {
        let mut all = Vec::new();
        for path in &files.client_roots {
            all.extend(read_certificates(path)?);
        }
        Ok(Self(Arc::new(RwLock::new(all))))
    }

    /// Adds roots from PEM.
    pub fn add(&self, pem: &[u8]) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for certificate in certificates(pem) {
            if !all.contains(&certificate) {
                all.push(certificate);
            }
        }
    }

    fn store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.0.read().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        store
    }
}

/// Asks every client for a certificate. Fabric's servers do so even where none is required, and then do not judge it.
#[derive(Debug)]
struct AskClient {
    provider: Arc<CryptoProvider>,
    required: bool,
    roots: ClientRoots,
}

impl ClientCertVerifier for AskClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if !self.required {
            return Ok(ClientCertVerified::assertion());
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots.store()), self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_client_cert(certificate, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS of a listener. `protocol` is what it speaks: `h2` or `http/1.1`.
pub fn server_tls(pair: &KeyPair, required: bool, roots: ClientRoots, protocol: &str) -> Result<TlsAcceptor, NetError> {
    let provider = provider();
    let verifier = AskClient { provider: provider.clone(), required, roots };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(pair.chain.clone(), pair.key.clone_key())?;
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The TLS of an HTTP listener by its settings; `None` when TLS is off.
pub fn http_tls(files: &TlsFiles) -> Result<Option<TlsAcceptor>, NetError> {
    if !files.enabled {
        return Ok(None);
    }
    let pair = KeyPair::of(files)?;
    server_tls(&pair, files.client_auth_required, ClientRoots::of(files)?, "http/1.1").map(Some)
}

/// What is known of the other end of a connection.
#[derive(Debug, Clone, Default)]
pub struct PeerInfo {
    /// The DER of the certificate it showed.
    pub certificate: Option<Arc<Vec<u8>>>,
    cut: Arc<AtomicBool>,
}

impl PeerInfo {
    /// Makes the connection fail before anything more is written: the reply is lost.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }
}

/// An accepted connection.
#[derive(Debug)]
pub struct Connection {
    inner: Inner,
    info: PeerInfo,
}

#[derive(Debug)]
enum Inner {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

impl Connected for Connection {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.info.clone()
    }
}

impl Connection {
    /// Who is at the other end.
    pub fn info(&self) -> PeerInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Inner::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.info.cut.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Inner::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Connections whose handshake is done.
#[derive(Debug)]
pub struct Incoming {
    connections: mpsc::Receiver<Connection>,
    local: std::net::SocketAddr,
}

impl Incoming {
    /// Listens on `host:port`; handshakes run beside each other, so that a silent client holds up nobody.
    pub async fn bind(address: &str, tls: Option<TlsAcceptor>) -> Result<Self, NetError> {
        let listen = |source| NetError::Listen { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let local = listener.local_addr().map_err(listen)?;
        let (sender, connections) = mpsc::channel(64);
        tokio::spawn(accept(listener, tls, sender));
        Ok(Self { connections, local })
    }

    /// The address that it got.
    pub fn local(&self) -> std::net::SocketAddr {
        self.local
    }

    /// As a stream, for tonic.
    pub fn into_stream(self) -> impl futures::Stream<Item = io::Result<Connection>> {
        futures::stream::unfold(self.connections, |mut connections| async move {
            connections.recv().await.map(|next| (Ok(next), connections))
        })
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, sender: mpsc::Sender<Connection>) {
    loop {
        let stream = tokio::select! {
            () = sender.closed() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let (tls, sender) = (tls.clone(), sender.clone());
        tokio::spawn(async move {
            if let Some(connection) = handshake(stream, tls).await {
                let _ = sender.send(connection).await;
            }
        });
    }
}

async fn handshake(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Connection> {
    let Some(tls) = tls else {
        return Some(Connection { inner: Inner::Plain(stream), info: PeerInfo::default() });
    };
    let stream = match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::warn!(%error, "TLS handshake failed");
            return None;
        }
        Err(_) => return None,
    };
    let certificate =
        stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|der| Arc::new(der.to_vec()));
    Some(Connection { inner: Inner::Tls(Box::new(stream)), info: PeerInfo { certificate, cut: Arc::default() } })
}

impl axum::serve::Listener for Incoming {
    type Io = Connection;
    type Addr = PeerInfo;

    async fn accept(&mut self) -> (Connection, PeerInfo) {
        match self.connections.recv().await {
            Some(connection) => {
                let info = connection.info();
                (connection, info)
            }
            // The accepting task never ends before this one: there is nothing more to wait for.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<PeerInfo> {
        Ok(PeerInfo::default())
    }
}

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, Incoming>> for PeerInfo {
    fn connect_info(stream: axum::serve::IncomingStream<'_, Incoming>) -> Self {
        stream.remote_addr().clone()
    }
}

/// By what a server is trusted.
#[derive(Debug, Clone)]
pub enum Trust {
    /// PEM roots; the name is checked as well.
    Roots(Vec<Vec<u8>>),
    /// The public key (DER) of exactly one certificate: how orderers know each other.
    Pinned(Vec<u8>),
}

#[derive(Debug)]
struct PinnedServer {
    provider: Arc<CryptoProvider>,
    public_key: Vec<u8>,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = crate::x509::Certificate::from_der(certificate.to_vec())
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        if shown.public_key_info() == self.public_key {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("the server is not the expected consenter".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn client_tls(trust: &Trust, pair: Option<&KeyPair>) -> Result<TlsConnector, NetError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::Roots(pems) => {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(pems.iter().flat_map(|pem| certificates(pem)));
            builder.with_root_certificates(store)
        }
        Trust::Pinned(public_key) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinnedServer { provider, public_key: public_key.clone() })),
    };
    let mut config = match pair {
        Some(pair) => builder.with_client_auth_cert(pair.chain.clone(), pair.key.clone_key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Opens a gRPC channel to `host:port` over TLS. `timeout` bounds the connection, not the calls.
pub async fn dial(
    address: &str,
    trust: &Trust,
    pair: Option<&KeyPair>,
    timeout: Duration,
) -> Result<tonic::transport::Channel, String> {
    let tls = client_tls(trust, pair).map_err(|error| error.to_string())?;
    let target = overridden(address);
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| error.to_string())?;
    let connector = tower::service_fn(move |_: http::Uri| {
        let (tls, target, name) = (tls.clone(), target.clone(), name.clone());
        async move {
            let stream = TcpStream::connect(&target).await?;
            let _ = stream.set_nodelay(true);
            tls.connect(name, stream).await.map(hyper_util::rt::TokioIo::new)
        }
    });
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| error.to_string())?
        .connect_timeout(timeout)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(HANDSHAKE)
        .keep_alive_while_idle(true);
    tokio::time::timeout(timeout, endpoint.connect_with_connector(connector))
        .await
        .map_err(|_| format!("connecting to {address} took longer than {timeout:?}"))?
        .map_err(|error| describe(&error))
}

/// Opens a gRPC channel to `host:port` without TLS.
pub async fn dial_plain(address: &str, timeout: Duration) -> Result<tonic::transport::Channel, String> {
    let target = overridden(address);
    let connector = tower::service_fn(move |_: http::Uri| {
        let target = target.clone();
        async move {
            let stream = TcpStream::connect(&target).await?;
            let _ = stream.set_nodelay(true);
            Ok::<_, io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| error.to_string())?
        .connect_timeout(timeout);
    tokio::time::timeout(timeout, endpoint.connect_with_connector(connector))
        .await
        .map_err(|_| format!("connecting to {address} took longer than {timeout:?}"))?
        .map_err(|error| describe(&error))
}

/// An error with its causes in one line.
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

/// `FABRIC_SIM_DIAL` (`from=to,from=to`) replaces addresses, so that several networks fit on one loopback.
fn overridden(address: &str) -> String {
    std::env::var("FABRIC_SIM_DIAL")
        .ok()
        .and_then(|all| {
            all.split(',')
                .filter_map(|pair| pair.split_once('='))
                .find(|(from, _)| *from == address)
                .map(|(_, to)| to.to_owned())
        })
        .unwrap_or_else(|| address.to_owned())
}
