//! A TLS server that answers what a test tells it to, over HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tenter_fabric::client::Target;
use tenter_fabric_testnet::Organization;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What to answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    /// Parts of the body.
    pub data: Vec<Vec<u8>>,
    pub trailers: Option<HeaderMap>,
    /// Leave the body open after the parts.
    pub hang: bool,
    /// Close the connection without an answer.
    pub hang_up: bool,
}

/// What came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A running server; it ends with the test's runtime.
pub struct Server {
    pub address: Target,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Serves with a TLS certificate of `organization`, and demands one of its clients' root if `mutual`.
    pub async fn start<F>(organization: &Organization, mutual: bool, answer: F) -> Self
    where
        F: Fn(&Seen) -> Reply + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Target::new("127.0.0.1", listener.local_addr().unwrap().port());
        let acceptor = TlsAcceptor::from(Arc::new(config(organization, mutual)));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, log) = (acceptor.clone(), answer.clone(), log.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (answer, log) = (answer.clone(), log.clone());
                        async move { respond(request, answer.as_ref(), &log).await }
                    });
                    // A client that goes away early is part of the tests.
                    let io = TokioIo::new(stream);
                    if http2 {
                        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let _ = server.serve_connection(io, service).await;
                    } else {
                        let server = hyper::server::conn::http1::Builder::new();
                        let _ = server.serve_connection(io, service).await;
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// The requests so far, taken out.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn respond<F: Fn(&Seen) -> Reply>(
    request: Request<Incoming>,
    answer: &F,
    log: &Mutex<Vec<Seen>>,
) -> Result<Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default(),
    };
    let reply = answer(&seen);
    log.lock().unwrap().push(seen);
    if reply.hang_up {
        return Err(std::io::Error::other("hanging up"));
    }
    let mut frames: Vec<_> = reply.data.into_iter().map(|part| Ok(Frame::data(Bytes::from(part)))).collect();
    frames.extend(reply.trailers.map(|trailers| Ok(Frame::trailers(trailers))));
    let frames = stream::iter(frames);
    let body = if reply.hang {
        StreamBody::new(frames.chain(stream::pending())).boxed_unsync()
    } else {
        StreamBody::new(frames).boxed_unsync()
    };
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(body).unwrap())
}

fn config(organization: &Organization, mutual: bool) -> ServerConfig {
    let tls = organization.tls_node("server").unwrap();
    let chain = vec![CertificateDer::from_pem_slice(tls.cert_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(tls.key_pem.expose_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = if mutual {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(organization.roots.clients.cert_pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}
