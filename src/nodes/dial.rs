//! Ways to a node: its Service from inside the cluster, or the API server's port-forward from anywhere.
//!
//! The name that TLS verifies is the node's Service on both ways, as it is seen from inside: only the stream differs.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Portforwarder;
use kube::{Api, Client};
use tenter_consortium::observed::NodeRef;
use tenter_fabric::client::{BoxStream, Dialer, Target};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::controllers::cache::{Answer, Cache};

/// Most port-forwards that are opened at once: each is a request of its own to the API server.
const MAX_DIALS: usize = 64;
/// How long a forward whose stream is gone may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(10);

/// The ports of a node's admin Service, which nothing outside the cluster reaches.
const ADMIN_PORTS: [u16; 2] = [7053, 9443];

/// How this daemon reaches its own nodes.
pub trait Route: Send + Sync {
    /// A dialer that leads to one node, whatever host it is given.
    fn dialer(&self, node: &NodeRef) -> Arc<dyn Dialer>;

    /// Why there is nothing to dial yet, if that is known without trying.
    fn stopped(&self, _node: &NodeRef) -> Option<String> {
        None
    }
}

/// What the copies say of a node's Pod: one that has not started answers nobody.
fn stopped(cache: &Cache, node: &NodeRef) -> Option<String> {
    let name = format!("{}-0", node.name);
    let Answer::Known(pod) = cache.own::<Pod>(&node.namespace, &name) else { return None };
    let Some(pod) = pod else { return Some(format!("there is no Pod {}/{name} yet", node.namespace)) };
    let phase = pod.status?.phase?;
    (phase != "Running").then(|| format!("Pod {}/{name} is {phase}", node.namespace))
}

/// Through the node's Services, from inside the cluster.
pub struct ServiceRoute {
    cache: Cache,
}

impl ServiceRoute {
    /// A route that does not dial nodes which the copies show to be stopped.
    pub const fn new(cache: Cache) -> Self {
        Self { cache }
    }
}

impl Route for ServiceRoute {
    fn stopped(&self, node: &NodeRef) -> Option<String> {
        stopped(&self.cache, node)
    }

    fn dialer(&self, node: &NodeRef) -> Arc<dyn Dialer> {
        Arc::new(ServiceDialer { node: node.clone() })
    }
}

#[derive(Debug)]
struct ServiceDialer {
    node: NodeRef,
}

impl ServiceDialer {
    fn host(&self, port: u16) -> String {
        let suffix = if ADMIN_PORTS.contains(&port) { "-admin" } else { "" };
        format!("{}{suffix}.{}.svc", self.node.name, self.node.namespace)
    }
}

impl Dialer for ServiceDialer {
    fn dial<'a>(&'a self, target: &'a Target) -> Pin<Box<dyn Future<Output = io::Result<BoxStream>> + Send + 'a>> {
        Box::pin(async move {
            let host = self.host(target.port);
            let stream = TcpStream::connect((host.as_str(), target.port))
                .await
                .map_err(|error| io::Error::new(error.kind(), format!("Service {host}:{}: {error}", target.port)))?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }
}

/// Through the API server, from wherever the daemon runs.
#[derive(Clone)]
pub struct PortForwardRoute {
    client: Client,
    cache: Cache,
    permits: Arc<Semaphore>,
}

impl PortForwardRoute {
    /// A route through this client's API server, which does not dial nodes that the copies show to be stopped.
    pub fn new(client: Client, cache: Cache) -> Self {
        Self { client, cache, permits: Arc::new(Semaphore::new(MAX_DIALS)) }
    }
}

impl Route for PortForwardRoute {
    fn dialer(&self, node: &NodeRef) -> Arc<dyn Dialer> {
        Arc::new(PortForwardDialer { route: self.clone(), node: node.clone() })
    }

    fn stopped(&self, node: &NodeRef) -> Option<String> {
        stopped(&self.cache, node)
    }
}

struct PortForwardDialer {
    route: PortForwardRoute,
    node: NodeRef,
}

impl fmt::Debug for PortForwardDialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortForwardDialer").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Dialer for PortForwardDialer {
    fn dial<'a>(&'a self, target: &'a Target) -> Pin<Box<dyn Future<Output = io::Result<BoxStream>> + Send + 'a>> {
        Box::pin(async move {
            // Held while dialling only: cached connections stay open, however many nodes there are.
            let _permit = self.route.permits.acquire().await.map_err(io::Error::other)?;
            let pod = format!("{}-0", self.node.name);
            let place = format!("port-forward to Pod {}/{pod}:{}", self.node.namespace, target.port);
            let pods: Api<Pod> = Api::namespaced(self.route.client.clone(), &self.node.namespace);
            let mut forwarder = pods
                .portforward(&pod, &[target.port])
                .await
                .map_err(|error| io::Error::new(io::ErrorKind::NotConnected, format!("{place}: {error}")))?;
            let stream = forwarder
                .take_stream(target.port)
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, format!("{place}: no stream")))?;
            let failure: BoxFuture<'static, Option<String>> = match forwarder.take_error(target.port) {
                Some(failure) => failure.boxed(),
                None => std::future::pending().boxed(),
            };
            let stream = Forwarded { stream, failure: Some(failure), place, forwarder: Some(forwarder) };
            Ok(Box::new(stream) as BoxStream)
        })
    }
}

/// A forwarded stream. What the kubelet says about a port that refuses comes beside the stream, not in it.
struct Forwarded {
    stream: DuplexStream,
    failure: Option<BoxFuture<'static, Option<String>>>,
    place: String,
    forwarder: Option<Portforwarder>,
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        let Some(forwarder) = self.forwarder.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                // The stream's end is on its way to the Pod; a Pod that does not answer must not hold the task for ever.
                runtime.spawn(async move {
                    tokio::time::sleep(FAREWELL).await;
                    forwarder.abort();
                });
            }
            Err(_) => forwarder.abort(),
        }
    }
}

impl AsyncRead for Forwarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(failure) = &mut self.failure
            && let Poll::Ready(said) = failure.poll_unpin(cx)
        {
            self.failure = None;
            if let Some(said) = said {
                let text = format!("{}: {}", self.place, said.trim());
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionRefused, text)));
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_ports_lead_to_the_admin_service() {
        let dialer = ServiceDialer { node: NodeRef { namespace: "trade-hub".to_owned(), name: "orderer1".to_owned() } };
        for (port, host) in [
            (7050, "orderer1.trade-hub.svc"),
            (7051, "orderer1.trade-hub.svc"),
            (7053, "orderer1-admin.trade-hub.svc"),
            (9443, "orderer1-admin.trade-hub.svc"),
        ] {
            assert_eq!(dialer.host(port), host);
        }
    }
}
