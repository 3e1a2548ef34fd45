//! The simulated peer.

mod acl;
mod builder;
mod chaincode;
mod channels;
mod directory;
mod gateway;
mod lifecycle;
mod node;
mod package;
mod private;
mod proposal;
mod ranges;
mod service;
mod shim;
mod simulate;
mod state;
mod system;
mod validate;

use std::fmt::Write as _;
use std::sync::Arc;

use tenter_fabric_wire::service::deliver_server::DeliverServer;
use tenter_fabric_wire::service::endorser_server::EndorserServer;
use tenter_fabric_wire::service::gateway_server::GatewayServer;
use tokio::sync::watch;
use tonic::transport::Server;

use crate::deliver::{Rules, now_seconds};
use crate::faults::Faults;
use crate::msp::load_local;
use crate::net::{ClientRoots, Incoming, KeyPair, server_tls};
use crate::operations::{self, Operations, VERSION};
use crate::orderer::serve_http;
use crate::process::{NodeError, Running, stop_signal};
use crate::settings::peer::PeerSettings;
use builder::Store;
use chaincode::Chaincodes;
use channels::Channels;
use directory::{PeerService, Peers};
use node::Node;
use service::Service;

/// Starts a peer; it serves when this returns.
pub async fn start(settings: PeerSettings) -> Result<Running, NodeError> {
    let msp = Arc::new(load_local(&settings.msp_dir, &settings.msp_id, now_seconds()).map_err(|error| {
        NodeError::Refused(format!(
            "Cannot run peer because error when setting up MSP of type bccsp from directory {}: {error}",
            settings.msp_dir.display()
        ))
    })?);
    let pair = settings.tls.enabled.then(|| KeyPair::of(&settings.tls)).transpose()?;
    let client_pair = match &settings.client {
        Some((certificate, key)) => Some(KeyPair::read(certificate, key)?),
        None => pair.clone(),
    };
    let node = Arc::new(Node {
        msp,
        client_pair,
        client_roots: ClientRoots::of(&settings.tls)?,
        faults: Arc::new(Faults::from_environment()),
        peers: Peers::default(),
        fatal: watch::Sender::new(None),
        settings,
    });
    let channels = Channels::open(node.clone()).map_err(NodeError::Fatal)?;
    let (stop, stopped) = watch::channel(false);
    let grpc = serve_grpc(&node, &channels, pair.as_ref(), &stopped).await?;
    let shown = channels.clone();
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
    tracing::info!(id = node.settings.id, %grpc, %operations, "started peer");
    Ok(Running { grpc, admin: None, operations, stop, fatal: node.fatal.subscribe(), keep: Box::new(channels) })
}

async fn serve_grpc(
    node: &Arc<Node>,
    channels: &Arc<Channels>,
    pair: Option<&KeyPair>,
    stopped: &watch::Receiver<bool>,
) -> Result<std::net::SocketAddr, NodeError> {
    let settings = &node.settings;
    let required = settings.tls.client_auth_required;
    let tls = pair.map(|pair| server_tls(pair, required, node.client_roots.clone(), "h2")).transpose()?;
    let incoming = Incoming::bind(&settings.listen, tls).await?;
    let local = incoming.local();
    let packages = Arc::new(Store::new(settings));
    packages.build_missing();
    let service = Service {
        node: node.clone(),
        channels: channels.clone(),
        chaincodes: Arc::new(Chaincodes::new(packages.clone(), settings.chaincode.clone())),
        rules: Arc::new(Rules {
            time_window: settings.time_window,
            mutual_tls: settings.tls.enabled && required,
            no_expiration_checks: false,
            faults: node.faults.clone(),
        }),
    };
    let (_, health) = tonic_health::server::health_reporter();
    let most = settings.max_message;
    let router = Server::builder()
        .add_service(health)
        .add_service(PeerService { node: node.clone(), channels: channels.clone(), packages })
        .add_service(
            EndorserServer::new(service.clone()).max_decoding_message_size(most).max_encoding_message_size(most),
        )
        .add_service(
            DeliverServer::new(service.clone()).max_decoding_message_size(most).max_encoding_message_size(most),
        )
        .add_optional_service(
            settings
                .gateway
                .enabled
                .then(|| GatewayServer::new(service).max_decoding_message_size(most).max_encoding_message_size(most)),
        );
    let stop = stop_signal(stopped.clone());
    tokio::spawn(async move {
        let _ = router.serve_with_incoming_shutdown(incoming.into_stream(), stop).await;
    });
    Ok(local)
}

fn metrics(channels: &Channels) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "fabric_version{{version=\"{VERSION}\"}} 1");
    for name in channels.names() {
        let height = channels.get(&name).map_or(0, |channel| channel.ledger.height());
        let _ = writeln!(text, "ledger_blockchain_height{{channel=\"{name}\"}} {height}");
        let _ = writeln!(text, "gossip_state_height{{channel=\"{name}\"}} {height}");
    }
    text
}
