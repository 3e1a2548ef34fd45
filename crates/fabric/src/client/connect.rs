//! Where a node is, how a stream to it is opened, and TLS on top of it.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::FailureKind;
use crate::keys::SecretKey;
use crate::x509::{CertificateInfo, X509Error};

/// A node's port: the host is also the name that its TLS certificate must carry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// DNS name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Target {
    /// A target from its parts.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Text that is no `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address; write host:port, such as peer1.acme.example:7051")]
pub struct TargetError(String);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if ServerName::try_from(host).is_err() {
            return Err(wrong());
        }
        Ok(Self::new(host, port.parse().map_err(|_| wrong())?))
    }
}

/// A byte stream to a node.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A boxed [`Stream`].
pub type BoxStream = Box<dyn Stream>;

/// Opens streams to nodes: directly, through a port-forward, or however else the program reaches them.
///
/// The caller bounds the time; an implementation need not.
pub trait Dialer: fmt::Debug + Send + Sync {
    /// Opens a stream to `target`.
    fn dial<'a>(&'a self, target: &'a Target) -> Pin<Box<dyn Future<Output = io::Result<BoxStream>> + Send + 'a>>;
}

/// Dials over TCP, with names that are resolved by the system, or by a table first.
#[derive(Debug, Clone, Default)]
pub struct DirectDialer {
    resolve: BTreeMap<Target, SocketAddr>,
}

impl DirectDialer {
    /// A dialer that uses these addresses for these targets, and the system's resolver for the rest.
    pub fn new(resolve: BTreeMap<Target, SocketAddr>) -> Self {
        Self { resolve }
    }
}

impl Dialer for DirectDialer {
    fn dial<'a>(&'a self, target: &'a Target) -> Pin<Box<dyn Future<Output = io::Result<BoxStream>> + Send + 'a>> {
        Box::pin(async move {
            let stream = match self.resolve.get(target) {
                Some(address) => TcpStream::connect(address).await?,
                None => TcpStream::connect((target.host.as_str(), target.port)).await?,
            };
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Dialling and the TLS handshake together.
    pub connect: Duration,
    /// One request with its answer; for a followed stream, the wait for its first answer.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), request: Duration::from_secs(30) }
    }
}

/// Why a node could not be talked to.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection, or it broke.
    #[error("{target} cannot be reached: {evidence}")]
    Unreachable {
        /// Who was dialled.
        target: Target,
        /// What the system said.
        evidence: String,
    },
    /// Nothing came in time.
    #[error("{target} did not finish {action} within {limit:?}")]
    Timeout {
        /// Who was asked.
        target: Target,
        /// What was waited for.
        action: &'static str,
        /// The bound.
        limit: Duration,
    },
    /// The node's certificate is not the expected one.
    #[error(
        "{target} is not trusted: {evidence}; check the TLS roots of its organisation and the names in its certificate"
    )]
    Untrusted {
        /// Who was dialled.
        target: Target,
        /// What TLS said.
        evidence: String,
    },
    /// The node refused this client's certificate, or wants one.
    #[error(
        "{target} refused the TLS client certificate: {evidence}; it must be issued by a root that the node lists for clients"
    )]
    Forbidden {
        /// Who was dialled.
        target: Target,
        /// What TLS said.
        evidence: String,
    },
    /// The node's answer breaks the protocol.
    #[error("{target} broke the protocol: {evidence}")]
    Protocol {
        /// Who was asked.
        target: Target,
        /// What came.
        evidence: String,
    },
    /// The TLS settings cannot be used.
    #[error("the TLS settings for {target} cannot be used: {evidence}")]
    Settings {
        /// Who was to be dialled.
        target: Target,
        /// What is wrong.
        evidence: String,
    },
    /// A root or client certificate cannot be read.
    #[error("a certificate in the TLS settings for {target} cannot be read")]
    Certificate {
        /// Who was to be dialled.
        target: Target,
        /// What is wrong.
        #[source]
        source: X509Error,
    },
    /// The system gave no randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

impl TransportError {
    /// What the failure says about the node.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Untrusted { .. } | Self::Random(_) => {
                FailureKind::Unreachable
            }
            Self::Forbidden { .. } => FailureKind::Forbidden,
            Self::Settings { .. } | Self::Certificate { .. } => FailureKind::Refused,
            Self::Protocol { .. } => FailureKind::Protocol,
        }
    }

    /// Sorts an error of the layers below by the TLS error in its chain, if there is one. In TLS 1.3 a server judges
    /// the client's certificate after the handshake, so the refusal shows in the first read.
    pub(crate) fn from_chain(target: &Target, error: &(dyn StdError + 'static)) -> Self {
        let evidence = chain_text(error);
        let target = target.clone();
        match find_tls(error) {
            Some(rustls::Error::AlertReceived(alert)) if refuses_client(*alert) => Self::Forbidden { target, evidence },
            Some(rustls::Error::InvalidCertificate(_)) => Self::Untrusted { target, evidence },
            _ => Self::Unreachable { target, evidence },
        }
    }
}

fn refuses_client(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::HandshakeFailure
    )
}

fn find_tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An io::Error hides the error it wraps from source(): it shows that one's source instead.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(found) = find_tls(inner)
        {
            return Some(found);
        }
        current = error.source();
    }
    None
}

/// The messages of an error and its sources, each once.
pub(crate) fn chain_text(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut current = error.source();
    while let Some(error) = current {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        current = error.source();
    }
    text
}

/// Whom to trust and what to show.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// PEM certificates of the CAs that the node's certificate must lead to. A node's own certificate is no root.
    pub roots_pem: String,
    /// PEM certificate (with intermediates, if any) and key to show where the node asks for them.
    pub client: Option<(String, SecretKey)>,
}

/// A node's port with everything needed to open trusted connections to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    target: Target,
    dialer: Arc<dyn Dialer>,
    config: Arc<ClientConfig>,
    tls_hash: Option<[u8; 32]>,
    limits: Limits,
}

impl Endpoint {
    /// Checks the settings; opens nothing yet.
    pub fn new(
        target: Target,
        dialer: Arc<dyn Dialer>,
        tls: &TlsSettings,
        limits: Limits,
    ) -> Result<Self, TransportError> {
        let settings = |evidence: String| TransportError::Settings { target: target.clone(), evidence };
        let unreadable = |source| TransportError::Certificate { target: target.clone(), source };
        let mut roots = RootCertStore::empty();
        for root in CertificateInfo::all_from_pem(&tls.roots_pem).map_err(unreadable)? {
            let der = CertificateDer::from(root.der().to_vec());
            roots.add(der).map_err(|error| settings(format!("{} is no usable root: {error}", root.subject)))?;
        }
        if roots.is_empty() {
            return Err(settings("there is no TLS root".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| settings(error.to_string()))?
            .with_root_certificates(roots);
        let (config, tls_hash) = match &tls.client {
            None => (builder.with_no_client_auth(), None),
            Some((cert_pem, key)) => {
                let chain = CertificateInfo::all_from_pem(cert_pem).map_err(unreadable)?;
                let hash = chain.first().map(CertificateInfo::tls_hash);
                let chain = chain.iter().map(|one| CertificateDer::from(one.der().to_vec())).collect();
                // The parser's error could quote what it read, so it is not passed on.
                let key = PrivateKeyDer::from_pem_slice(key.expose_pem().as_bytes())
                    .map_err(|_| settings("the client key is no PEM key".to_owned()))?;
                let config = builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| settings(format!("the client certificate and key do not work: {error}")))?;
                (config, hash)
            }
        };
        Ok(Self { target, dialer, config: Arc::new(config), tls_hash, limits })
    }

    /// Where it leads.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The bounds on its waits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// SHA-256 of the DER client certificate, which binds Deliver requests to the connection.
    pub(crate) fn tls_hash(&self) -> Option<[u8; 32]> {
        self.tls_hash
    }

    /// Opens a connection that speaks `protocol` (an ALPN name).
    pub(crate) async fn open(&self, protocol: &str) -> Result<TlsStream<BoxStream>, TransportError> {
        let name = ServerName::try_from(self.target.host.clone()).map_err(|_| TransportError::Settings {
            target: self.target.clone(),
            evidence: "its host is neither a DNS name nor an IP address".to_owned(),
        })?;
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let connect = async {
            let stream = self.dialer.dial(&self.target).await?;
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        };
        match timeout(self.limits.connect, connect).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(TransportError::from_chain(&self.target, &error)),
            Err(_) => Err(self.timed_out("connecting", self.limits.connect)),
        }
    }

    pub(crate) fn timed_out(&self, action: &'static str, limit: Duration) -> TransportError {
        TransportError::Timeout { target: self.target.clone(), action, limit }
    }

    pub(crate) fn protocol(&self, evidence: impl Into<String>) -> TransportError {
        TransportError::Protocol { target: self.target.clone(), evidence: evidence.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_host_and_port() {
        for text in ["peer1.acme.example:7051", "127.0.0.1:1", "[::1]:7050"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for text in ["", "peer1", "peer1:", "peer1:x", "peer1:70510", ":7051", "a b:1"] {
            text.parse::<Target>().unwrap_err();
        }
    }

    #[test]
    fn tls_errors_are_found_below_io_errors() {
        let target = Target::new("localhost", 1);
        let wrap = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let refused = wrap(rustls::Error::AlertReceived(AlertDescription::CertificateRequired));
        assert!(matches!(TransportError::from_chain(&target, &refused), TransportError::Forbidden { .. }));
        let wrong = wrap(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        assert!(matches!(TransportError::from_chain(&target, &wrong), TransportError::Untrusted { .. }));
        let nested = io::Error::other(wrap(rustls::Error::AlertReceived(AlertDescription::BadCertificate)));
        assert_eq!(TransportError::from_chain(&target, &nested).kind(), FailureKind::Forbidden);
        let plain = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(TransportError::from_chain(&target, &plain).kind(), FailureKind::Unreachable);
    }
}
