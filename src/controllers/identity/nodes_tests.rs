//! The Secret of an identity, mounted as an MSP folder, against Fabric processes.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::ObjectMeta;
use tempfile::TempDir;
use tenter_fabric::ca::Role;
use tenter_fabric::client::deliver::DeliverClient;
use tenter_fabric::client::endorser::EndorserClient;
use tenter_fabric::client::participation::ParticipationClient;
use tenter_fabric::config::{
    ApplicationOrganization, ChannelConfig, Consensus, OrdererOrganization, RaftConsenter, RaftOptions,
};
use tenter_fabric::genesis::{GenesisFormat, genesis_block};
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric::keys::SecretKey;
use tenter_fabric::msp::{MspDefinition, Pem};
use tenter_fabric::policy::defaults;
use tenter_fabric_testnet::{Kind, Node, NodeOptions, Organization, Programs, wait_for};

use super::secret::{ITEMS, PublicMsp, msp_secret};
use crate::controllers::labels;

const CHANNEL: &str = "trade";
const CONFIG_YAML: &str = "NodeOUs:
  Enable: true
  ClientOUIdentifier: {OrganizationalUnitIdentifier: client}
  PeerOUIdentifier: {OrganizationalUnitIdentifier: peer}
  AdminOUIdentifier: {OrganizationalUnitIdentifier: admin}
  OrdererOUIdentifier: {OrganizationalUnitIdentifier: orderer}
";

/// What the authority of an organization publishes.
fn public(organization: &Organization) -> PublicMsp {
    let data = [
        (labels::MSP_CACERTS, organization.roots.enrolment.cert_pem.as_str()),
        (labels::MSP_TLSCACERTS, &organization.roots.tls.cert_pem),
        (labels::MSP_CONFIG, CONFIG_YAML),
    ];
    let data = data.map(|(key, text)| (key.to_owned(), text.to_owned())).into();
    PublicMsp::of(&ConfigMap { data: Some(data), ..ConfigMap::default() }).unwrap()
}

/// The folder that a volume with the documented items makes of an identity's Secret.
fn folder(organization: &Organization, name: &str, role: Role) -> BTreeMap<String, Vec<u8>> {
    let made = organization.enrol(name, role).unwrap();
    let secret = msp_secret(ObjectMeta::default(), &made, &public(organization));
    let mut data = secret.data.unwrap();
    let files = ITEMS.map(|(key, path)| (path.to_owned(), data.remove(key).unwrap().0)).into();
    assert!(data.is_empty(), "every key has its place");
    files
}

/// Loads what stands in the folder, as an application does.
fn load(organization: &Organization, files: &BTreeMap<String, Vec<u8>>) -> SigningIdentity {
    let msp = MspDefinition::from_files(&organization.msp_id, files).unwrap();
    let pem = |text: &str| Pem::from(text);
    let roots = &organization.roots;
    assert_eq!(msp, MspDefinition::new(&organization.msp_id, pem(&roots.enrolment.cert_pem), pem(&roots.tls.cert_pem)));
    let text = |path: &str| String::from_utf8(files[path].clone()).unwrap();
    let key = SecretKey::from_pem(text("keystore/key.pem"));
    SigningIdentity::load(&organization.msp_id, &text("signcerts/cert.pem"), &key).unwrap()
}

struct World {
    acme: Organization,
    orderer: Node,
    peer: Node,
    _folder: TempDir,
}

/// An orderer and a peer of one organization, in one channel.
async fn world() -> World {
    let programs = Programs::find().unwrap();
    println!("{}", programs.describe());
    let folder = tempfile::tempdir().unwrap();
    let acme = Organization::new("acme").unwrap();
    let administrator = acme.enrol("node-admin", Role::Client).unwrap();
    let options = NodeOptions { administrators: vec![administrator.cert_pem.clone()], ..NodeOptions::default() };
    let create = |kind, name| Node::create(&programs, folder.path(), &acme, kind, name, &options).unwrap();
    let (mut orderer, mut peer) = (create(Kind::Orderer, "orderer1"), create(Kind::Peer, "peer1"));
    orderer.start().await.unwrap();
    peer.start().await.unwrap();
    let block = genesis(&acme, &orderer);
    ParticipationClient::new(orderer.admin_endpoint().unwrap()).join(&block).await.unwrap();
    let administrator = acme.load(&administrator).unwrap();
    EndorserClient::new(peer.endpoint().unwrap(), administrator).join_channel(&block).await.unwrap();
    World { acme, orderer, peer, _folder: folder }
}

fn genesis(acme: &Organization, orderer: &Node) -> Vec<u8> {
    let certificate = || Pem::from(orderer.tls.cert_pem.as_str());
    let consenter = RaftConsenter {
        host: orderer.address.host.clone(),
        port: orderer.address.port,
        client_tls_cert: certificate(),
        server_tls_cert: certificate(),
    };
    let consensus = Consensus::EtcdRaft { consenters: vec![consenter], options: RaftOptions::default() };
    let mut config = ChannelConfig::new(consensus);
    let roots = &acme.roots;
    let pem = |text: &str| Pem::from(text);
    let msp = MspDefinition::new(&acme.msp_id, pem(&roots.enrolment.cert_pem), pem(&roots.tls.cert_pem));
    config.orderer.organizations.insert(
        acme.name.clone(),
        OrdererOrganization {
            msp: msp.clone(),
            endpoints: vec![orderer.address.to_string()],
            policies: defaults::orderer_organization(&acme.msp_id),
        },
    );
    config.application.organizations.insert(
        acme.name.clone(),
        ApplicationOrganization {
            msp,
            anchors: Vec::new(),
            policies: defaults::application_organization(&acme.msp_id),
        },
    );
    genesis_block(CHANNEL, &config, GenesisFormat::LATEST).unwrap().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_secret_holds_reads_from_orderers_and_peers() {
    let World { acme, orderer, peer, _folder } = world().await;
    for (name, role) in [("shop", Role::Client), ("jane", Role::Admin)] {
        let identity = load(&acme, &folder(&acme, name, role));
        let client = DeliverClient::orderer(orderer.endpoint().unwrap(), identity.clone());
        wait_for("a leader", Duration::from_secs(40), || async { Ok(client.health(CHANNEL).await?) }).await.unwrap();
        assert_eq!(client.newest(CHANNEL).await.unwrap().number(), 0);
        let client = DeliverClient::peer(peer.endpoint().unwrap(), identity.clone());
        assert_eq!(client.newest(CHANNEL).await.unwrap().number(), 0);
        let client = EndorserClient::new(peer.endpoint().unwrap(), identity);
        assert!(client.list_channels().await.unwrap().contains(CHANNEL));
    }
}
