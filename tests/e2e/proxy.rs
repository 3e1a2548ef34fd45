//! A way to the API server that can be cut.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to the API server, until it is cut.
pub struct ApiProxy {
    open: watch::Sender<bool>,
    /// A kubeconfig that leads through here.
    pub kubeconfig: PathBuf,
}

impl ApiProxy {
    /// Stands before the API server of the current context.
    pub async fn new(directory: &Path) -> Self {
        let mut config = Kubeconfig::read().expect("a kubeconfig: make test-e2e sets KUBECONFIG");
        let current = config.current_context.clone().expect("a current context");
        let context = config.contexts.iter().find(|context| context.name == current).expect("the context");
        let cluster = context.context.as_ref().expect("its entry").cluster.clone();
        let entry = config.clusters.iter_mut().find(|entry| entry.name == cluster).expect("the cluster");
        let entry = entry.cluster.as_mut().expect("its entry");
        let target = entry.server.as_deref().and_then(|url| url.strip_prefix("https://")).expect("an https URL");
        let target = target.trim_end_matches('/').to_owned();
        let (host, _) = target.rsplit_once(':').expect("a port");
        let host = host.to_owned();

        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (open, seen) = watch::channel(true);
        tokio::spawn(serve(listener, target, seen));
        entry.server = Some(format!("https://{address}"));
        entry.tls_server_name = Some(host);
        let kubeconfig = directory.join("kubeconfig");
        let text = serde_yaml::to_string(&config).expect("YAML");
        std::fs::write(&kubeconfig, text).expect("the kubeconfig");
        Self { open, kubeconfig }
    }

    /// Ends every connection, and takes no new one; or takes them again.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn serve(listener: TcpListener, target: String, open: watch::Receiver<bool>) {
    loop {
        let Ok((client, _)): Result<(TcpStream, SocketAddr), _> = listener.accept().await else { return };
        let (target, mut open) = (target.clone(), open.clone());
        if !*open.borrow() {
            continue;
        }
        tokio::spawn(async move {
            let pass = async {
                let mut client = client;
                if let Ok(mut server) = TcpStream::connect(&target).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            };
            tokio::select! {
                () = pass => {}
                _ = open.wait_for(|open| !open) => {}
            }
        });
    }
}
