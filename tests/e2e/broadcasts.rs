//! What can happen to a broadcast between a client and an orderer: it meets every one, with the orderer's own TLS key.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, Error};
use prost::Message as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tenter_fabric_wire::common::Status;
use tenter_fabric_wire::orderer::BroadcastResponse;
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

/// Where an orderer serves its clients.
pub const PORT: u16 = 7050;

/// Longest wait for other broadcasts.
const PATIENCE: Duration = Duration::from_secs(30);

type Anything = Box<dyn std::error::Error + Send + Sync>;
type Body = BoxBody<Bytes, Anything>;

/// What becomes of a broadcast.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// None reaches its orderer before there are some for so many orderers.
    Together(usize),
    /// The next one reaches the orderer, and its reply is lost: the connection breaks.
    LoseReply,
    /// Each is answered with success and gets lost.
    Lose,
    /// Each is answered with success and reaches the orderer so much later.
    Late(Duration),
}

/// Stands between clients and orderers.
#[derive(Default)]
pub struct Broadcasts {
    fault: Mutex<Option<Fault>>,
    /// The orderers that those which a fault met were for.
    met: watch::Sender<Vec<ServerName<'static>>>,
}

/// What an orderer shows its clients.
pub struct Identity {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Broadcasts {
    /// From now on broadcasts fail like this; `None`: no more.
    pub fn fail(&self, fault: Option<Fault>) {
        *self.lock() = fault;
    }

    /// How many broadcasts a fault has met.
    pub fn met(&self) -> usize {
        self.met.borrow().len()
    }

    /// How many orderers those were for.
    pub fn orderers(&self) -> usize {
        distinct(&self.met.borrow())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault of one broadcast.
    fn next(&self, orderer: &ServerName<'static>) -> Option<Fault> {
        let mut fault = self.lock();
        let next = *fault;
        if let Some(Fault::LoseReply) = next {
            *fault = None;
        }
        if next.is_some() {
            self.met.send_modify(|met| met.push(orderer.clone()));
        }
        next
    }

    /// The TLS key and certificate that an orderer has now.
    pub async fn identity(&self, client: &Client, namespace: &str, orderer: &str) -> Result<Identity, Error> {
        let secret = Api::<Secret>::namespaced(client.clone(), namespace).get(&format!("{orderer}-tls")).await?;
        let data = secret.data.unwrap_or_default();
        let chain = |key: &str| -> Vec<CertificateDer<'static>> {
            CertificateDer::pem_slice_iter(&data[key].0).collect::<Result<_, _>>().expect("certificates")
        };
        let key = PrivateKeyDer::from_pem_slice(&data["tls.key"].0).expect("a key");
        let mut server =
            ServerConfig::builder().with_no_client_auth().with_single_cert(chain("tls.crt"), key).expect("its own key");
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(chain("ca.crt"));
        let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        server.alpn_protocols = vec![b"h2".to_vec()];
        client.alpn_protocols = vec![b"h2".to_vec()];
        let name = format!("{orderer}.{namespace}.svc").try_into().expect("a name");
        Ok(Identity { server: Arc::new(server), client: Arc::new(client), name })
    }

    /// Serves one connection of a client, `near`, by one to the orderer, `far`.
    pub async fn stand_between(self: &Arc<Self>, near: DuplexStream, far: DuplexStream, identity: &Identity) {
        let near = TlsAcceptor::from(identity.server.clone()).accept(near);
        let far = TlsConnector::from(identity.client.clone()).connect(identity.name.clone(), far);
        let Ok((near, far)) = tokio::try_join!(near, far) else { return };
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(far)).await;
        let Ok((orderer, connection)) = handshake else { return };
        let mut connection = tokio::spawn(connection);
        let (broadcasts, broken) = (self.clone(), CancellationToken::new());
        let breaks = broken.clone();
        let name = identity.name.clone();
        let service = service_fn(move |request| {
            broadcasts.clone().answer(request, name.clone(), orderer.clone(), breaks.clone())
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::select! {
            _ = server.serve_connection(TokioIo::new(near), service) => {}
            _ = &mut connection => return,
            () = broken.cancelled() => {}
        }
        // It ends with the last broadcast that is still on its way.
        let _ = connection.await;
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        name: ServerName<'static>,
        mut orderer: SendRequest<Body>,
        broken: CancellationToken,
    ) -> Result<Response<Body>, Anything> {
        let fault = if request.uri().path().ends_with("/Broadcast") { self.next(&name) } else { None };
        let (parts, body) = request.into_parts();
        if let Some(Fault::Together(all)) = fault {
            let _ = timeout(PATIENCE, self.met.subscribe().wait_for(|met| distinct(met) >= all)).await;
        }
        if let None | Some(Fault::Together(_)) = fault {
            let request = Request::from_parts(parts, body.map_err(Into::into).boxed());
            return Ok(orderer.send_request(request).await?.map(|body| body.map_err(Into::into).boxed()));
        }
        // Tenter sends one envelope a stream.
        let envelope = body.collect().await?.to_bytes();
        let handed_over = async move |mut orderer: SendRequest<Body>| {
            let body = Full::new(envelope).map_err(|never| match never {}).boxed();
            let response = orderer.send_request(Request::from_parts(parts, body)).await?;
            Ok::<_, Anything>(response.into_body().collect().await?.to_bytes())
        };
        match fault {
            Some(Fault::LoseReply) => {
                handed_over(orderer).await?;
                broken.cancel();
                return Err("the reply is lost".into());
            }
            Some(Fault::Late(delay)) => {
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    handed_over(orderer).await
                });
            }
            _ => {}
        }
        Ok(success())
    }
}

fn distinct(orderers: &[ServerName<'static>]) -> usize {
    orderers.iter().collect::<std::collections::HashSet<_>>().len()
}

/// What an orderer answers that has taken an envelope.
fn success() -> Response<Body> {
    let message = BroadcastResponse { status: Status::Success.into(), ..BroadcastResponse::default() }.encode_to_vec();
    // gRPC's frame: not compressed, and the length.
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    let frame = Bytes::from([&[0], &length[..], &message].concat());
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Ok(Frame::data(frame)), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(stream::iter(frames)).boxed());
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
