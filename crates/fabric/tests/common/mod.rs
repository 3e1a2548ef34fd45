//! A small network for the tests: three orderers of one organisation, a peer of another, one channel.

use tempfile::TempDir;
use tenter_fabric::ca::{Issued, Role};
use tenter_fabric::client::broadcast::BroadcastClient;
use tenter_fabric::client::deliver::DeliverClient;
use tenter_fabric::client::endorser::EndorserClient;
use tenter_fabric::client::gateway::GatewayClient;
use tenter_fabric::client::participation::ParticipationClient;
use tenter_fabric::config::{
    ApplicationOrganization, ChannelConfig, Consensus, OrdererOrganization, RaftConsenter, RaftOptions,
};
use tenter_fabric::genesis::{GenesisFormat, genesis_block};
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric::msp::{MspDefinition, Pem};
use tenter_fabric::policy::defaults;
use tenter_fabric_testnet::{Kind, Node, NodeOptions, Organization, Programs};

pub const CHANNEL: &str = "ch1";

pub struct Network {
    pub hub: Organization,
    pub acme: Organization,
    pub orderers: Vec<Node>,
    pub peer: Node,
    /// Client role, listed in the peer's own `admincerts`.
    pub node_administrator: Issued,
    pub genesis: Vec<u8>,
    /// Whether the peer can install packages.
    pub installs: bool,
    _folder: TempDir,
}

impl Network {
    /// Writes files and starts `orderers` orderers and the peer; joins nothing.
    pub async fn start(orderers: usize) -> Self {
        Self::of(Organization::new("acme").unwrap(), None, orderers).await
    }

    /// The same with a member that was made before, and its revocation list in its peer's own MSP and in the channel's.
    pub async fn of(acme: Organization, revocations: Option<String>, orderers: usize) -> Self {
        let programs = Programs::find().unwrap();
        println!("{}", programs.describe());
        let folder = tempfile::tempdir().unwrap();
        let hub = Organization::new("hub").unwrap();
        let node_administrator = acme.enrol("node-administrator", Role::Client).unwrap();
        let options = NodeOptions::default();
        let mut nodes = Vec::new();
        for number in 1..=orderers {
            let name = format!("orderer{number}");
            nodes.push(Node::create(&programs, folder.path(), &hub, Kind::Orderer, &name, &options).unwrap());
        }
        let options = NodeOptions {
            administrators: vec![node_administrator.cert_pem.clone()],
            more_tls_roots: vec![hub.roots.tls.cert_pem.clone()],
            revocations: revocations.clone(),
            ..NodeOptions::default()
        };
        let mut peer = Node::create(&programs, folder.path(), &acme, Kind::Peer, "peer1", &options).unwrap();
        for node in &mut nodes {
            node.start().await.unwrap();
        }
        peer.start().await.unwrap();
        let genesis = genesis(&hub, (&acme, revocations.as_deref()), &nodes);
        Self {
            hub,
            acme,
            orderers: nodes,
            peer,
            node_administrator,
            genesis,
            installs: programs.have_builder(),
            _folder: folder,
        }
    }

    pub fn participation(&self, orderer: usize) -> ParticipationClient {
        ParticipationClient::new(self.orderers[orderer].admin_endpoint().unwrap())
    }

    pub fn deliver(&self, orderer: usize, identity: &SigningIdentity) -> DeliverClient {
        DeliverClient::orderer(self.orderers[orderer].endpoint().unwrap(), identity.clone())
    }

    pub fn broadcast(&self, orderer: usize, identity: &SigningIdentity) -> BroadcastClient {
        BroadcastClient::new(self.orderers[orderer].endpoint().unwrap(), identity.clone())
    }

    pub fn endorser(&self, identity: &SigningIdentity) -> EndorserClient {
        EndorserClient::new(self.peer.endpoint().unwrap(), identity.clone())
    }

    pub fn gateway(&self, identity: &SigningIdentity) -> GatewayClient {
        GatewayClient::new(self.peer.endpoint().unwrap(), identity.clone())
    }

    pub fn peer_deliver(&self, identity: &SigningIdentity) -> DeliverClient {
        DeliverClient::peer(self.peer.endpoint().unwrap(), identity.clone())
    }
}

/// The channel's first configuration and its block, made by the library itself.
fn genesis(hub: &Organization, (acme, revocations): (&Organization, Option<&str>), orderers: &[Node]) -> Vec<u8> {
    let msp = |organization: &Organization, revocations: Option<&str>| {
        let pem = |text: &str| Pem::new(text.as_bytes());
        let roots = &organization.roots;
        let msp = MspDefinition::new(&organization.msp_id, pem(&roots.enrolment.cert_pem), pem(&roots.tls.cert_pem));
        MspDefinition { revocation_list: revocations.map(pem).into_iter().collect(), ..msp }
    };
    let consenters = orderers
        .iter()
        .map(|node| RaftConsenter {
            host: node.address.host.clone(),
            port: node.address.port,
            client_tls_cert: Pem::new(node.tls.cert_pem.as_bytes()),
            server_tls_cert: Pem::new(node.tls.cert_pem.as_bytes()),
        })
        .collect();
    let mut config = ChannelConfig::new(Consensus::EtcdRaft { consenters, options: RaftOptions::default() });
    config.orderer.organizations.insert(
        hub.name.clone(),
        OrdererOrganization {
            msp: msp(hub, None),
            endpoints: orderers.iter().map(|node| node.address.to_string()).collect(),
            policies: defaults::orderer_organization(&hub.msp_id),
        },
    );
    config.application.organizations.insert(
        acme.name.clone(),
        ApplicationOrganization {
            msp: msp(acme, revocations),
            anchors: Vec::new(),
            policies: defaults::application_organization(&acme.msp_id),
        },
    );
    genesis_block(CHANNEL, &config, GenesisFormat::LATEST).unwrap().into_bytes()
}
