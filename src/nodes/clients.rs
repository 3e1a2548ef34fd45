//! Makes a node's clients from its organization's Secrets. Keys stay in memory, and in the clients only.

use std::sync::Arc;

use tenter_consortium::observation::Observation;
use tenter_consortium::observed::NodeRef;
use tenter_consortium::repository::material;
use tenter_fabric::client::deliver::DeliverClient;
use tenter_fabric::client::endorser::EndorserClient;
use tenter_fabric::client::operations::OperationsClient;
use tenter_fabric::client::participation::ParticipationClient;
use tenter_fabric::client::{Dialer, DirectDialer, Endpoint, Limits, Target, TargetError, TlsSettings};
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric::keys::SecretKey;

use super::store::{Entries, Store};
use super::{Foreign, Node, NodeError, NodeKind};
use crate::controllers::labels::{CLIENT_OPERATIONS, IDENTITY_NODE_ADMIN, IDENTITY_READER, MSP, MSP_TLSCACERTS};
use crate::controllers::materials::{TLS_CRT, TLS_KEY};

/// Port of an orderer's gRPC services inside its Pod.
const ORDERER_PORT: u16 = 7050;
/// Port of a peer's gRPC services inside its Pod.
const PEER_PORT: u16 = 7051;
/// Port of an orderer's admin API inside its Pod.
const ADMIN_PORT: u16 = 7053;
/// Port of the operations API inside the Pods.
const OPERATIONS_PORT: u16 = 9443;

/// A node's clients.
pub(super) enum Clients {
    /// An orderer's.
    Orderer(Box<OrdererClients>),
    /// A peer's.
    Peer(Box<PeerClients>),
    /// Those of another member's orderer.
    Foreign(Box<ForeignClients>),
}

/// An orderer's clients.
#[derive(Clone)]
pub(super) struct OrdererClients {
    pub(super) participation: ParticipationClient,
    pub(super) deliver: DeliverClient,
    pub(super) operations: OperationsClient,
    /// The gRPC port, for those who speak as somebody else than the reader.
    pub(super) endpoint: Endpoint,
}

/// Clients of another member's orderer.
#[derive(Clone)]
pub(super) struct ForeignClients {
    pub(super) deliver: DeliverClient,
    pub(super) endpoint: Endpoint,
}

/// A peer's clients.
#[derive(Clone)]
pub(super) struct PeerClients {
    pub(super) reader: EndorserClient,
    pub(super) admin: EndorserClient,
    pub(super) deliver: DeliverClient,
    pub(super) operations: OperationsClient,
    /// The gRPC port, for those who speak as somebody else than these.
    pub(super) endpoint: Endpoint,
}

/// Loads what a node's clients need, and makes them. Opens no connection.
pub(super) async fn load(store: &dyn Store, dialer: Arc<dyn Dialer>, node: &Node) -> Result<Clients, NodeError> {
    let loader = Loader { node };
    let namespace = &node.reference.namespace;
    let (msp, operations, reader) = tokio::join!(
        store.config_map(namespace, MSP),
        store.secret(namespace, CLIENT_OPERATIONS),
        store.secret(namespace, IDENTITY_READER)
    );
    let roots = loader.text(msp, MSP, MSP_TLSCACERTS)?;
    let operations = loader.pair(operations, CLIENT_OPERATIONS)?;
    let reader = loader.identity(reader, IDENTITY_READER)?;
    // The Service's name: every certificate of a node covers it, whatever becomes of its address.
    let host = format!("{}.{namespace}.svc", node.reference.name);
    let endpoint = |port: u16, client: Option<&(String, SecretKey)>| {
        let tls = TlsSettings { roots_pem: roots.clone(), client: client.cloned() };
        Endpoint::new(Target::new(host.clone(), port), Arc::clone(&dialer), &tls, Limits::default())
            .map_err(|error| loader.failed(super::chain(&error)))
    };
    let operations_endpoint = endpoint(OPERATIONS_PORT, Some(&operations))?;
    Ok(match node.kind {
        NodeKind::Orderer => Clients::Orderer(Box::new(OrdererClients {
            participation: ParticipationClient::new(endpoint(ADMIN_PORT, Some(&operations))?),
            deliver: DeliverClient::orderer(endpoint(ORDERER_PORT, None)?, reader),
            operations: OperationsClient::new(operations_endpoint),
            endpoint: endpoint(ORDERER_PORT, None)?,
        })),
        NodeKind::Peer => {
            let admin = loader.identity(store.secret(namespace, IDENTITY_NODE_ADMIN).await, IDENTITY_NODE_ADMIN)?;
            Clients::Peer(Box::new(PeerClients {
                reader: EndorserClient::new(endpoint(PEER_PORT, None)?, reader.clone()),
                admin: EndorserClient::new(endpoint(PEER_PORT, None)?, admin),
                deliver: DeliverClient::peer(endpoint(PEER_PORT, None)?, reader),
                operations: OperationsClient::new(operations_endpoint),
                endpoint: endpoint(PEER_PORT, None)?,
            }))
        }
    })
}

/// Loads what the clients of another member's orderer need. It is dialled at its address, and TLS verifies the name there
/// against the roots that its organization publishes.
pub(super) async fn load_foreign(store: &dyn Store, node: &Node, foreign: &Foreign) -> Result<Clients, NodeError> {
    let loader = Loader { node };
    let Foreign { material: (place, name), reader: (namespace, msp_id) } = foreign;
    let target: Target = node.address.parse().map_err(|error: TargetError| loader.failed(error.to_string()))?;
    let (roots, reader) = tokio::join!(store.config_map(place, name), store.secret(namespace, IDENTITY_READER));
    let mut entries = loader.entries(roots)?;
    let intermediates = entries.remove(material::TLSINTERMEDIATECERTS).unwrap_or_default();
    let roots = entries
        .remove(material::TLSCACERTS)
        .ok_or_else(|| loader.failed(format!("ConfigMap {place}/{name} has no {}", material::TLSCACERTS)))?;
    let roots_pem = String::from_utf8([roots, intermediates].concat())
        .map_err(|_| loader.failed(format!("the TLS roots in ConfigMap {place}/{name} are no text")))?;
    let own = Loader { node: &Node { reference: reader_of(namespace), msp_id: msp_id.clone(), ..node.clone() } };
    let reader = own.identity(reader, IDENTITY_READER)?;
    let dialer: Arc<dyn Dialer> = Arc::new(DirectDialer::default());
    let tls = TlsSettings { roots_pem, client: None };
    let endpoint =
        Endpoint::new(target, dialer, &tls, Limits::default()).map_err(|error| loader.failed(super::chain(&error)))?;
    let deliver = DeliverClient::orderer(endpoint.clone(), reader);
    Ok(Clients::Foreign(Box::new(ForeignClients { deliver, endpoint })))
}

/// Where an own organization's reader is.
fn reader_of(namespace: &str) -> NodeRef {
    NodeRef { namespace: namespace.to_owned(), name: String::new() }
}

struct Loader<'a> {
    node: &'a Node,
}

impl Loader<'_> {
    fn failed(&self, evidence: String) -> NodeError {
        NodeError::Credentials { node: Box::new(self.node.clone()), evidence, forbidden: false }
    }

    fn entries(&self, seen: Observation<Entries>) -> Result<Entries, NodeError> {
        match seen {
            Observation::Present { value } => Ok(value),
            // Of the Secret, not of what the node would be asked for.
            Observation::Absent { evidence } | Observation::Unreachable { evidence } => Err(self.failed(evidence)),
            Observation::Forbidden { evidence } => {
                Err(NodeError::Credentials { node: Box::new(self.node.clone()), evidence, forbidden: true })
            }
        }
    }

    fn take(&self, entries: &mut Entries, name: &str, key: &str) -> Result<String, NodeError> {
        let place = || format!("{}/{name}", self.node.reference.namespace);
        let bytes = entries.remove(key).ok_or_else(|| self.failed(format!("{} has no {key}", place())))?;
        String::from_utf8(bytes).map_err(|_| self.failed(format!("{key} of {} is no text", place())))
    }

    fn text(&self, seen: Observation<Entries>, name: &str, key: &str) -> Result<String, NodeError> {
        self.take(&mut self.entries(seen)?, name, key)
    }

    fn pair(&self, seen: Observation<Entries>, name: &str) -> Result<(String, SecretKey), NodeError> {
        let mut entries = self.entries(seen)?;
        let certificate = self.take(&mut entries, name, TLS_CRT)?;
        let key = self.take(&mut entries, name, TLS_KEY)?;
        Ok((certificate, SecretKey::from_pem(key)))
    }

    fn identity(&self, seen: Observation<Entries>, name: &str) -> Result<SigningIdentity, NodeError> {
        let (certificate, key) = self.pair(seen, name)?;
        SigningIdentity::load(&self.node.msp_id, &certificate, &key).map_err(|error| {
            self.failed(format!("Secret {}/{name}: {}", self.node.reference.namespace, super::chain(&error)))
        })
    }
}
