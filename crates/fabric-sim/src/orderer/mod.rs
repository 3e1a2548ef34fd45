//! The simulated orderer.

mod admin;
mod batches;
mod chain;
mod cluster;
mod follower;
mod links;
mod members;
mod multipart;
mod node;
mod raft;
mod registrar;
mod seal;
mod service;
mod wal;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tenter_fabric_wire::service::atomic_broadcast_server::AtomicBroadcastServer;
use tokio::sync::watch;
use tonic::transport::Server;

use crate::channel::Consensus;
use crate::deliver::{Rules, now_seconds};
use crate::faults::Faults;
use crate::msp::load_local;
use crate::net::{ClientRoots, Incoming, KeyPair, http_tls, server_tls};
use crate::operations::{self, Operations, VERSION};
use crate::process::{NodeError, Running, stop_signal};
use crate::settings::TlsFiles;
use crate::settings::orderer::OrdererSettings;
use crate::x509::Certificate;
use cluster::ClusterService;
pub use node::Node;
use registrar::Registrar;
use service::Service;

/// The longest that a stopping node waits for open streams.
const GRACE: Duration = Duration::from_millis(500);

fn milliseconds(name: &str, default: u64) -> Duration {
    let set = std::env::var(name).ok().and_then(|text| text.parse().ok());
    Duration::from_millis(set.unwrap_or(default).max(50))
}

/// The certificate of the listener that other orderers use, and what this node shows to them.
fn cluster_identity(settings: &OrdererSettings, pair: Option<&KeyPair>) -> Result<(KeyPair, KeyPair), NodeError> {
    let server = match (&settings.cluster_listener, pair) {
        (Some(listener), _) => KeyPair::read(&listener.certificate, &listener.key)?,
        (None, Some(pair)) => pair.clone(),
        (None, None) => {
            return Err(NodeError::Refused("TLS is required for running ordering nodes of cluster type.".to_owned()));
        }
    };
    let client = match &settings.cluster_client {
        Some((certificate, key)) => KeyPair::read(certificate, key)?,
        None => server.clone(),
    };
    Ok((server, client))
}

/// Starts an orderer; it serves when this returns.
pub async fn start(settings: OrdererSettings) -> Result<Running, NodeError> {
    let msp = Arc::new(
        load_local(&settings.msp_dir, &settings.msp_id, now_seconds())
            .map_err(|error| NodeError::Refused(format!("Failed to initialize local MSP: {error}")))?,
    );
    let pair = settings.tls.enabled.then(|| KeyPair::of(&settings.tls)).transpose()?;
    let (server_pair, cluster_pair) = cluster_identity(&settings, pair.as_ref())?;
    let server = server_pair
        .chain
        .first()
        .map(|der| Certificate::from_der(der.to_vec()))
        .transpose()
        .map_err(|error| NodeError::Refused(error.to_string()))?
        .ok_or_else(|| NodeError::Refused("the cluster certificate file is empty".to_owned()))?;
    let client_roots = ClientRoots::of(&settings.tls)?;
    let node = Arc::new(Node {
        msp,
        cluster_pair,
        server,
        client_roots: client_roots.clone(),
        election: milliseconds("FABRIC_SIM_ELECTION_MS", 1000),
        removal: milliseconds("FABRIC_SIM_REMOVAL_MS", 150),
        faults: Arc::new(Faults::from_environment()),
        fatal: watch::Sender::new(None),
        settings,
    });
    let registrar = Registrar::open(node.clone()).map_err(|error| NodeError::Fatal(error.to_string()))?;
    let (stop, stopped) = watch::channel(false);
    let grpc = serve_grpc(&node, &registrar, pair.as_ref(), &client_roots, &stopped).await?;
    serve_cluster(&node, &registrar, &server_pair, &stopped).await?;
    let admin = serve_http(
        &node.settings.admin_listen,
        &node.settings.admin_tls,
        admin::router(admin::Admin { node: node.clone(), registrar: registrar.clone() }),
        &stopped,
    )
    .await?;
    let shown = registrar.clone();
    let operations = serve_http(
        &node.settings.operations_listen,
        &node.settings.operations_tls,
        operations::router(Operations {
            metrics: node
                .settings
                .prometheus
                .then(|| Arc::new(move || metrics(&shown)) as Arc<dyn Fn() -> String + Send + Sync>),
            tls: node.settings.operations_tls.enabled,
            faults: node.faults.clone(),
        }),
        &stopped,
    )
    .await?;
    tracing::info!(%grpc, %admin, %operations, "beginning to serve requests");
    Ok(Running { grpc, admin: Some(admin), operations, stop, fatal: node.fatal.subscribe(), keep: Box::new(registrar) })
}

async fn serve_grpc(
    node: &Arc<Node>,
    registrar: &Arc<Registrar>,
    pair: Option<&KeyPair>,
    roots: &ClientRoots,
    stopped: &watch::Receiver<bool>,
) -> Result<std::net::SocketAddr, NodeError> {
    let settings = &node.settings;
    let required = settings.tls.client_auth_required;
    let tls = pair.map(|pair| server_tls(pair, required, roots.clone(), "h2")).transpose()?;
    let incoming = Incoming::bind(&settings.listen, tls).await?;
    let local = incoming.local();
    let service = Service {
        node: node.clone(),
        registrar: registrar.clone(),
        rules: Arc::new(Rules {
            time_window: settings.time_window,
            mutual_tls: settings.tls.enabled && required,
            no_expiration_checks: settings.no_expiration_checks,
            faults: node.faults.clone(),
        }),
    };
    let (_, health) = tonic_health::server::health_reporter();
    let broadcast = AtomicBroadcastServer::new(service)
        .max_decoding_message_size(settings.max_message)
        .max_encoding_message_size(settings.max_message);
    let router =
        Server::builder().add_service(health).add_service(broadcast).add_service(ClusterService(registrar.clone()));
    let stop = stop_signal(stopped.clone());
    tokio::spawn(async move {
        let _ = router.serve_with_incoming_shutdown(incoming.into_stream(), stop).await;
    });
    Ok(local)
}

/// The separate listener for other orderers, where one is set.
async fn serve_cluster(
    node: &Arc<Node>,
    registrar: &Arc<Registrar>,
    pair: &KeyPair,
    stopped: &watch::Receiver<bool>,
) -> Result<(), NodeError> {
    let Some(listener) = &node.settings.cluster_listener else {
        return Ok(());
    };
    // Consenters are known by their exact keys, so their issuers do not matter.
    let tls = server_tls(pair, false, ClientRoots::default(), "h2")?;
    let incoming = Incoming::bind(&listener.listen, Some(tls)).await?;
    let router = Server::builder().add_service(ClusterService(registrar.clone()));
    let stop = stop_signal(stopped.clone());
    tokio::spawn(async move {
        let _ = router.serve_with_incoming_shutdown(incoming.into_stream(), stop).await;
    });
    Ok(())
}

/// Serves HTTP until the node stops.
pub(crate) async fn serve_http(
    listen: &str,
    tls: &TlsFiles,
    router: axum::Router,
    stopped: &watch::Receiver<bool>,
) -> Result<std::net::SocketAddr, NodeError> {
    let incoming = Incoming::bind(listen, http_tls(tls)?).await?;
    let local = incoming.local();
    let service = router.into_make_service_with_connect_info::<crate::net::PeerInfo>();
    let stop = stop_signal(stopped.clone());
    tokio::spawn(async move {
        let _ = axum::serve(incoming, service).with_graceful_shutdown(stop).await;
    });
    Ok(local)
}

/// How long a stopping process waits for its streams to end.
pub(crate) fn grace() -> Duration {
    GRACE
}

fn metrics(registrar: &Registrar) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, labels: String, value: u64| {
        let _ = writeln!(text, "{name}{{{labels}}} {value}");
    };
    gauge("fabric_version", format!("version=\"{VERSION}\""), 1);
    for info in registrar.list() {
        let labels = format!("channel=\"{}\"", info.name);
        gauge("ledger_blockchain_height", labels.clone(), info.height);
        let status = match info.status {
            "inactive" => 0,
            "active" => 1,
            "onboarding" => 2,
            _ => 3,
        };
        gauge("participation_status", labels.clone(), status);
        let relation = if info.consensus_relation == "consenter" { 1 } else { 2 };
        gauge("participation_consensus_relation", labels, relation);
    }
    for (name, chain) in registrar.chain_metrics() {
        let labels = || format!("channel=\"{name}\"");
        let stem = match chain.consensus {
            Consensus::Raft => "consensus_etcdraft",
            Consensus::Bft => "consensus_BFT",
        };
        gauge(&format!("{stem}_cluster_size"), labels(), chain.cluster_size as u64);
        gauge(&format!("{stem}_is_leader"), labels(), u64::from(chain.is_leader));
        gauge(&format!("{stem}_committed_block_number"), labels(), chain.committed);
        match chain.consensus {
            Consensus::Raft => {
                gauge("consensus_etcdraft_active_nodes", labels(), chain.active_nodes as u64);
                gauge("consensus_etcdraft_leader_changes", labels(), chain.leader_changes);
            }
            Consensus::Bft => gauge("consensus_BFT_leader_id", labels(), chain.leader),
        }
    }
    text
}
