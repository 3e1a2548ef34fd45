//! A way to the API server that can be cut, and on which what is handed to an orderer can get lost.
//!
//! It stands between the daemon and the API server as the server itself would: it speaks plain HTTP to the one and is a
//! client of the other. Orderers are reached by port-forward, so it meets every broadcast, whatever orderers they are.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::client::Body;
use kube::{Client, Error};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::broadcasts::{Broadcasts, PORT};
use crate::world::World;

/// The subprotocol of a port-forward, which kube and the API server agree on.
const CHANNELS: &str = "v4.channel.k8s.io";
/// Bytes on their way to or from a Pod.
const BUFFER: usize = 64 * 1024;

/// Passes requests on to the API server of KUBECONFIG, until it is cut.
pub struct ApiProxy {
    open: watch::Sender<bool>,
    /// A kubeconfig that leads through here.
    pub kubeconfig: PathBuf,
}

impl ApiProxy {
    /// Stands before the API server of a world; what is handed to an orderer on this way meets `broadcasts`.
    pub async fn new(world: &World, broadcasts: Arc<Broadcasts>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (open, seen) = watch::channel(true);
        tokio::spawn(serve(listener, world.client.clone(), broadcasts, seen));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        });
        let kubeconfig = world.directory().join("kubeconfig-proxy");
        std::fs::write(&kubeconfig, config.to_string()).expect("the kubeconfig");
        Self { open, kubeconfig }
    }

    /// Ends every connection, and takes no new one; or takes them again.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn serve(listener: TcpListener, client: Client, broadcasts: Arc<Broadcasts>, open: watch::Receiver<bool>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        if !*open.borrow() {
            continue;
        }
        let (client, broadcasts, mut cut) = (client.clone(), broadcasts.clone(), open.clone());
        tokio::spawn(async move {
            let open = cut.clone();
            let service = service_fn(move |request| {
                let (client, broadcasts, open) = (client.clone(), broadcasts.clone(), open.clone());
                async move { Ok::<_, Infallible>(answer(request, client, broadcasts, open).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            until_cut(&mut cut, connection.with_upgrades()).await;
        });
    }
}

/// Does something for as long as the way is open.
async fn until_cut<T>(open: &mut watch::Receiver<bool>, work: impl Future<Output = T>) {
    tokio::select! {
        _ = work => {}
        _ = open.wait_for(|open| !open) => {}
    }
}

async fn answer(
    mut request: Request<Incoming>,
    client: Client,
    broadcasts: Arc<Broadcasts>,
    mut open: watch::Receiver<bool>,
) -> Response<Body> {
    let passed = if let Some((namespace, orderer)) = orderer(&request) {
        forward(&mut request, &client, &namespace, &orderer, broadcasts, open).await
    } else if request.headers().contains_key(UPGRADE) {
        let here = hyper::upgrade::on(&mut request);
        pass(request, &client).await.map(|mut response| {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                let there = hyper::upgrade::on(&mut response);
                tokio::spawn(async move {
                    let (Ok(here), Ok(there)) = (here.await, there.await) else { return };
                    let (mut here, mut there) = (TokioIo::new(here), TokioIo::new(there));
                    until_cut(&mut open, tokio::io::copy_bidirectional(&mut here, &mut there)).await;
                });
            }
            response
        })
    } else {
        pass(request, &client).await
    };
    passed.unwrap_or_else(|error| {
        let mut response = Response::new(Body::from(error.to_string().into_bytes()));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    })
}

/// Sends a request to the API server as the test's own.
async fn pass(request: Request<Incoming>, client: &Client) -> Result<Response<Body>, Error> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(HOST);
    let body = body.collect().await.map_err(|error| Error::Service(error.into()))?.to_bytes();
    client.send(Request::from_parts(parts, Body::from(body))).await
}

/// Namespace and name of the orderer whose port for clients a request wants forwarded.
fn orderer(request: &Request<Incoming>) -> Option<(String, String)> {
    let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    let ["api", "v1", "namespaces", namespace, "pods", pod, "portforward"] = path[..] else { return None };
    let wanted = format!("ports={PORT}");
    (request.uri().query()?.contains(&wanted)).then(|| (namespace.to_owned(), pod.trim_end_matches("-0").to_owned()))
}

/// Does for a port-forward what the API server does, with `broadcasts` between the two ends.
async fn forward(
    request: &mut Request<Incoming>,
    client: &Client,
    namespace: &str,
    orderer: &str,
    broadcasts: Arc<Broadcasts>,
    mut open: watch::Receiver<bool>,
) -> Result<Response<Body>, Error> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let mut forwarder = pods.portforward(&format!("{orderer}-0"), &[PORT]).await?;
    let there = forwarder.take_stream(PORT).expect("the port that was asked for");
    let identity = broadcasts.identity(client, namespace, orderer).await?;
    let here = hyper::upgrade::on(&mut *request);
    tokio::spawn(async move {
        let Ok(here) = here.await else { return };
        let (near, far) = tokio::io::duplex(BUFFER);
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(here), Role::Server, None).await;
        until_cut(&mut open, async {
            tokio::join!(channels(socket, far), Box::pin(broadcasts.stand_between(near, there, &identity)))
        })
        .await;
        // A Pod that does not answer must not hold it.
        forwarder.abort();
    });
    let key = request.headers().get(SEC_WEBSOCKET_KEY).expect("the key of a handshake");
    let accept = derive_accept_key(key.as_bytes());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(CHANNELS));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.parse().expect("a header"));
    Ok(response)
}

/// The port's bytes as messages of its two channels, data and error, which each begin with the port.
async fn channels(socket: WebSocketStream<TokioIo<Upgraded>>, port: DuplexStream) {
    let (mut sink, mut messages) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(port);
    let out = async {
        for channel in [0, 1] {
            let [low, high] = PORT.to_le_bytes();
            if sink.send(Message::binary(vec![channel, low, high])).await.is_err() {
                return;
            }
        }
        let mut buffer = vec![0; BUFFER];
        while let Ok(read @ 1..) = reader.read(&mut buffer[1..]).await {
            if sink.send(Message::binary(buffer[..=read].to_vec())).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    };
    let back = async {
        while let Some(Ok(message)) = messages.next().await {
            let Message::Binary(bytes) = message else { continue };
            if let Some((0, bytes)) = bytes.split_first()
                && writer.write_all(bytes).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        () = out => {}
        () = back => {}
    }
}
