//! The clients against running nodes: real Fabric where its programs are at hand, the simulator otherwise.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{CHANNEL, Network};
use prost::Message;
use tenter_fabric::ca::Role;
use tenter_fabric::chaincode::lifecycle::{self, Refusal};
use tenter_fabric::chaincode::transaction::assemble;
use tenter_fabric::chaincode::{
    Approved, Call, Collection, Committed, Definition, Endorsement, Package, PackageId, ServiceConnection,
    ValidationCode, transactions,
};
use tenter_fabric::client::broadcast::BroadcastError;
use tenter_fabric::client::deliver::{DeliverClient, DeliverError};
use tenter_fabric::client::endorser::{EndorserError, sign as sign_call};
use tenter_fabric::client::gateway::GatewayError;
use tenter_fabric::client::operations::OperationsClient;
use tenter_fabric::client::participation::{
    ChannelStatus, ConsensusRelation, ParticipationClient, ParticipationError, Removal,
};
use tenter_fabric::client::{DirectDialer, Endpoint, FailureKind, Limits, Target, TlsSettings, TransportError};
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric_testnet::{Organization, ensure, wait_for};
use tenter_fabric_wire::common::{
    Config, ConfigEnvelope, ConfigGroup, ConfigSignature, ConfigUpdate, ConfigUpdateEnvelope, Envelope, Payload,
};

const SOON: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_channel_lives_and_dies() {
    let mut network = Network::start(3).await;
    let reader = network.acme.identity("reader", Role::Client).unwrap();
    joining_orderers(&network).await;
    reading_from_orderers(&network, &reader).await;
    refusals(&network).await;
    let administrator = network.acme.load(&network.node_administrator).unwrap();
    joining_the_peer(&network, &reader, &administrator).await;
    operations(&network).await;
    losing_the_quorum(&mut network, &reader).await;
    leaving(&network).await;
}

async fn joining_orderers(network: &Network) {
    for orderer in 0..network.orderers.len() {
        let client = network.participation(orderer);
        assert_eq!(client.list().await.unwrap(), Vec::<String>::new());
        let error = client.info(CHANNEL).await.unwrap_err();
        assert!(matches!(error, ParticipationError::NotFound { .. }), "{error}");
        assert_eq!(error.kind(), FailureKind::Absent);
        let error = client.join(b"no block").await.unwrap_err();
        assert!(matches!(error, ParticipationError::BadRequest { .. }), "{error}");
        let joined = client.join(&network.genesis).await.unwrap();
        assert_eq!(joined.consensus_relation, ConsensusRelation::Consenter);
        assert_eq!((joined.status, joined.height), (ChannelStatus::Active, 1));
        let error = client.join(&network.genesis).await.unwrap_err();
        assert!(matches!(error, ParticipationError::AlreadyExists { .. }), "{error}");
        assert_eq!(client.list().await.unwrap(), [CHANNEL]);
        assert_eq!(client.info(CHANNEL).await.unwrap(), joined);
    }
}

async fn reading_from_orderers(network: &Network, reader: &SigningIdentity) {
    for orderer in 0..network.orderers.len() {
        let client = network.deliver(orderer, reader);
        wait_for("a leader", SOON, || async { Ok(client.health(CHANNEL).await?) }).await.unwrap();
        let newest = client.newest(CHANNEL).await.unwrap();
        assert_eq!((newest.number(), newest.last_config_index()), (0, Some(0)));
        assert_eq!(newest.bytes(), network.genesis);
        assert_eq!(client.block(CHANNEL, 0).await.unwrap(), newest);
        assert_eq!(client.config_block(CHANNEL).await.unwrap(), newest);
        let error = client.block(CHANNEL, 7).await.unwrap_err();
        assert!(matches!(error, DeliverError::NotFound { .. }), "{error}");
        assert_ne!(error.kind(), FailureKind::Absent);
        let error = client.newest("other").await.unwrap_err();
        assert!(matches!(error, DeliverError::NotFound { .. }), "{error}");
    }
}

async fn refusals(network: &Network) {
    let stranger = Organization::new("stranger").unwrap();
    let error =
        network.deliver(0, &stranger.identity("reader", Role::Client).unwrap()).newest(CHANNEL).await.unwrap_err();
    assert!(matches!(error, DeliverError::Forbidden { .. }), "{error}");
    // The admin port lets nobody in without a certificate of its own root, not even the organisation's nodes.
    let node = &network.orderers[0];
    let nodes_own = network.hub.tls_node("orderer9").unwrap();
    for client in [None, Some(&nodes_own)] {
        let endpoint = node.endpoint_to(&node.admin, client).unwrap();
        let error = ParticipationClient::new(endpoint).list().await.unwrap_err();
        assert!(matches!(error, ParticipationError::Transport(TransportError::Forbidden { .. })), "{error:?}");
    }
    // A peer's roots do not vouch for an orderer.
    let endpoint = network.peer.endpoint_to(&node.admin, None).unwrap();
    let error = ParticipationClient::new(endpoint).list().await.unwrap_err();
    assert!(matches!(error, ParticipationError::Transport(TransportError::Untrusted { .. })), "{error:?}");
    // Nor does the right root vouch for a name that is not in the certificate.
    let other_name = Target::new("orderer1.other.example", node.address.port);
    let table = BTreeMap::from([(other_name.clone(), SocketAddr::from(([127, 0, 0, 1], node.address.port)))]);
    let tls = TlsSettings { roots_pem: network.hub.roots.tls.cert_pem.clone(), client: None };
    let endpoint = |target: &Target| {
        Endpoint::new(target.clone(), Arc::new(DirectDialer::new(table.clone())), &tls, Limits::default()).unwrap()
    };
    let reader = network.acme.identity("reader", Role::Client).unwrap();
    let error = DeliverClient::orderer(endpoint(&other_name), reader.clone()).newest(CHANNEL).await.unwrap_err();
    assert!(matches!(error, DeliverError::Transport(TransportError::Untrusted { .. })), "{error:?}");
    DeliverClient::orderer(endpoint(&node.address), reader).newest(CHANNEL).await.unwrap();
    let endpoint = node.endpoint_to(&Target::new("127.0.0.1", 1), None).unwrap();
    let error = ParticipationClient::new(endpoint).info(CHANNEL).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unreachable, "{error:?}");
}

async fn joining_the_peer(network: &Network, reader: &SigningIdentity, administrator: &SigningIdentity) {
    let client = network.endorser(reader);
    assert!(client.list_channels().await.unwrap().is_empty());
    let error = client.channel_info(CHANNEL).await.unwrap_err();
    assert!(matches!(error, EndorserError::UnknownChannel { .. }), "{error}");
    assert_ne!(error.kind(), FailureKind::Absent);
    let error = client.join_channel(&network.genesis).await.unwrap_err();
    assert!(matches!(error, EndorserError::AccessDenied { .. }), "{error}");
    let admin = network.endorser(administrator);
    admin.join_channel(&network.genesis).await.unwrap();
    let error = admin.join_channel(&network.genesis).await.unwrap_err();
    assert!(matches!(error, EndorserError::AlreadyJoined { .. }), "{error}");
    assert!(client.list_channels().await.unwrap().contains(CHANNEL));
    let info = client.channel_info(CHANNEL).await.unwrap();
    let block = client.block(CHANNEL, 0).await.unwrap();
    assert_eq!((info.height, info.snapshot_block), (1, None));
    assert_eq!(info.current_hash, block.header_hash());
    assert_eq!(client.channel_config(CHANNEL).await.unwrap().number(), 0);
    let deliver = network.peer_deliver(reader);
    assert_eq!(deliver.newest(CHANNEL).await.unwrap().header_hash(), block.header_hash());
    let mut stream = deliver.follow(CHANNEL, 0).await.unwrap();
    assert_eq!(stream.next().await.unwrap().number(), 0);
}

async fn operations(network: &Network) {
    for node in network.orderers.iter().chain([&network.peer]) {
        let client = OperationsClient::new(node.operations_endpoint().unwrap());
        assert!(client.health().await.unwrap().healthy);
        assert!(!client.version().await.unwrap().version.is_empty());
        let metrics = client.metrics().await.unwrap();
        assert_eq!(metrics.of_channel("ledger_blockchain_height", CHANNEL), Some(1.0), "{}", node.name);
    }
}

async fn losing_the_quorum(network: &mut Network, reader: &SigningIdentity) {
    for orderer in [1, 2] {
        network.orderers[orderer].stop().await.unwrap();
    }
    let client = network.deliver(0, reader);
    wait_for("the orderer to notice", SOON, || async {
        let health = client.health(CHANNEL).await;
        ensure(matches!(health, Err(DeliverError::Unavailable { .. })), format!("{health:?}"))
    })
    .await
    .unwrap();
    assert_eq!(client.newest(CHANNEL).await.unwrap().number(), 0);
    assert_eq!(network.participation(0).info(CHANNEL).await.unwrap().status, ChannelStatus::Active);
    for orderer in [1, 2] {
        network.orderers[orderer].start().await.unwrap();
    }
    wait_for("a leader again", SOON, || async { Ok(client.health(CHANNEL).await?) }).await.unwrap();
}

async fn leaving(network: &Network) {
    let client = network.participation(2);
    assert_eq!(client.remove(CHANNEL).await.unwrap(), Removal::Started);
    wait_for("the removal", SOON, || async {
        let info = client.info(CHANNEL).await;
        ensure(matches!(info, Err(ParticipationError::NotFound { .. })), format!("{info:?}"))
    })
    .await
    .unwrap();
    assert_eq!(client.remove(CHANNEL).await.unwrap(), Removal::AlreadyAbsent);
}

/// What the three identities of an organisation can do: see docs/adr/0004-three-identities.md.
#[tokio::test]
async fn a_node_administrator_is_no_administrator_of_the_channel() {
    let network = Network::start(1).await;
    network.participation(0).join(&network.genesis).await.unwrap();
    let reader = network.acme.identity("reader", Role::Client).unwrap();
    let node_administrator = network.acme.load(&network.node_administrator).unwrap();
    let orderer = network.deliver(0, &reader);
    wait_for("a leader", SOON, || async { Ok(orderer.health(CHANNEL).await?) }).await.unwrap();

    // The node: joining and installing are for its administrator.
    installing(&network, &reader, &node_administrator).await;
    let error = network.endorser(&reader).join_channel(&network.genesis).await.unwrap_err();
    assert!(matches!(error, EndorserError::AccessDenied { .. }), "{error}");
    network.endorser(&node_administrator).join_channel(&network.genesis).await.unwrap();

    // The reader reads from both kinds of nodes.
    assert!(network.endorser(&reader).list_channels().await.unwrap().contains(CHANNEL));
    orderer.newest(CHANNEL).await.unwrap();
    network.peer_deliver(&reader).newest(CHANNEL).await.unwrap();

    signing(&network, &reader, &node_administrator).await;
}

/// What is on an organisation's revocation list counts for nothing: neither in the channel, whose configuration holds the
/// list, nor at the organisation's own node, whose MSP folder does.
#[tokio::test]
async fn a_revoked_identity_is_refused() {
    let acme = Organization::new("acme").unwrap();
    let leaver = acme.enrol("leaver", Role::Client).unwrap();
    let leaving_admin = acme.enrol("leaving-admin", Role::Admin).unwrap();
    let list = acme.revoke(&[&leaver, &leaving_admin]).unwrap();
    let network = Network::of(acme, Some(list), 1).await;
    let reader = network.acme.identity("reader", Role::Client).unwrap();
    let [leaver, leaving_admin] = [&leaver, &leaving_admin].map(|issued| network.acme.load(issued).unwrap());
    let node_administrator = network.acme.load(&network.node_administrator).unwrap();
    network.participation(0).join(&network.genesis).await.unwrap();
    network.endorser(&node_administrator).join_channel(&network.genesis).await.unwrap();
    wait_for("a leader", SOON, || async { Ok(network.deliver(0, &reader).health(CHANNEL).await?) }).await.unwrap();

    // The orderer and the peer by the channel's MSP; whoever is not on the list goes on.
    for revoked in [&leaver, &leaving_admin] {
        for client in [network.deliver(0, revoked), network.peer_deliver(revoked)] {
            let error = client.newest(CHANNEL).await.unwrap_err();
            assert!(matches!(error, DeliverError::Forbidden { .. }), "{error}");
        }
        let error = network.endorser(revoked).list_channels().await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Forbidden, "{error}");
    }
    network.deliver(0, &reader).newest(CHANNEL).await.unwrap();
    network.peer_deliver(&reader).newest(CHANNEL).await.unwrap();
    assert!(network.endorser(&reader).list_channels().await.unwrap().contains(CHANNEL));

    // It does not sign for its organisation any more; the next administrator does.
    let config = current_config(network.deliver(0, &reader).config_block(CHANNEL).await.unwrap().bytes());
    let update = touch_application_capabilities(&config);
    let submitter = network.broadcast(0, &reader);
    let error = submitter.submit_config_update(CHANNEL, &sign(&update, &leaving_admin)).await.unwrap_err();
    assert!(matches!(&error, BroadcastError::BadRequest { text, .. } if text.contains("not satisfied")), "{error}");
    let administrator = network.acme.identity("admin", Role::Admin).unwrap();
    submitter.submit_config_update(CHANNEL, &sign(&update, &administrator)).await.unwrap();
}

/// The channel: only the admin role signs for the organisation; whoever is a client may submit.
async fn signing(network: &Network, reader: &SigningIdentity, node_administrator: &SigningIdentity) {
    let configuration_administrator = network.acme.identity("admin", Role::Admin).unwrap();
    let orderer = network.deliver(0, reader);
    let config = current_config(orderer.config_block(CHANNEL).await.unwrap().bytes());
    let update = touch_application_capabilities(&config);
    let submitter = network.broadcast(0, reader);
    for signer in [reader, node_administrator] {
        let error = submitter.submit_config_update(CHANNEL, &sign(&update, signer)).await.unwrap_err();
        assert!(matches!(&error, BroadcastError::BadRequest { text, .. } if text.contains("not satisfied")), "{error}");
    }
    submitter.submit_config_update(CHANNEL, &sign(&update, &configuration_administrator)).await.unwrap();
    let mut stream = orderer.follow(CHANNEL, 1).await.unwrap();
    let block = stream.next().await.unwrap();
    assert_eq!(current_config(block.bytes()).sequence, config.sequence + 1);
    let peer = network.endorser(reader);
    wait_for("the peer to follow", SOON, || async {
        ensure(peer.channel_info(CHANNEL).await?.height == 2, "height 2")
    })
    .await
    .unwrap();
    assert_eq!(peer.channel_config(CHANNEL).await.unwrap().number(), 1);
}

async fn installing(network: &Network, reader: &SigningIdentity, node_administrator: &SigningIdentity) {
    let install = Call::new("", "_lifecycle", "InstallChaincode", [install_args(b"no package")]);
    let error = network.endorser(reader).call(&install).await.unwrap_err();
    assert!(matches!(error, EndorserError::AccessDenied { .. }), "{error}");
    let error = network.endorser(node_administrator).call(&install).await.unwrap_err();
    assert!(matches!(error, EndorserError::Refused { .. }), "past the access check: {error}");
}

/// A definition with everything in it goes through real nodes and comes back as it was: approved with the means of the
/// endorser, committed with those of the Gateway.
#[tokio::test]
async fn a_chaincode_is_approved_and_committed() {
    let network = Network::start(1).await;
    network.participation(0).join(&network.genesis).await.unwrap();
    let reader = network.acme.identity("reader", Role::Client).unwrap();
    let administrator = network.acme.load(&network.node_administrator).unwrap();
    let orderer = network.deliver(0, &reader);
    wait_for("a leader", SOON, || async { Ok(orderer.health(CHANNEL).await?) }).await.unwrap();
    network.endorser(&administrator).join_channel(&network.genesis).await.unwrap();

    let id = install(&network, &administrator).await;
    let definition = definition();
    approve(&network, &administrator, &definition, &id).await;
    commit(&network, &reader, &definition).await;

    let peer = network.endorser(&administrator);
    let chaincodes = BTreeMap::from([("asset".to_owned(), "1.0".to_owned())]);
    let references = BTreeMap::from([(CHANNEL.to_owned(), chaincodes)]);
    if let Some(installed) = peer.installed_chaincodes().await.unwrap().get(&id) {
        assert_eq!(installed.references, references);
    }
    // Peers refuse what the checks find.
    let smaller = Definition { collections: Vec::new(), ..definition.clone() };
    assert_eq!(smaller.check(&[network.acme.msp_id.clone()].into(), Some(&definition)).len(), 2);
    let call = lifecycle::approve_call(CHANNEL, &smaller, 2, None);
    let error = peer.endorse(&sign_call(&call, &administrator).unwrap()).await.unwrap_err();
    let missing = "the proposed collection config does not contain previously defined collections";
    assert!(matches!(&error, EndorserError::Refused { text, .. } if text.ends_with(missing)), "{error}");
}

fn definition() -> Definition {
    let endorsement = Endorsement::Signature("OutOf(1, 'AcmeMSP.peer', 'AcmeMSP.admin')".parse().unwrap());
    let prices = Collection {
        block_to_live: 100,
        member_only_read: true,
        endorsement: Some(Endorsement::Signature("OR('AcmeMSP.peer')".parse().unwrap())),
        ..Collection::new("prices", "OR('AcmeMSP.member')".parse().unwrap())
    };
    let offers = Collection {
        endorsement: Some(Endorsement::default()),
        ..Collection::new("offers", "OR('AcmeMSP.member', 'AcmeMSP.client')".parse().unwrap())
    };
    Definition { endorsement, collections: vec![prices, offers], ..Definition::new("asset", "1.0") }
}

async fn install(network: &Network, administrator: &SigningIdentity) -> PackageId {
    let connection = ServiceConnection { address: "127.0.0.1:1".to_owned(), dial_timeout: "1s".to_owned(), tls: None };
    let package = Package::service(&"asset_1".parse().unwrap(), &connection);
    let peer = network.endorser(administrator);
    assert!(peer.installed_chaincodes().await.unwrap().is_empty());
    if network.installs {
        for _ in 0..2 {
            assert_eq!(peer.install_chaincode(&package).await.unwrap(), *package.id());
        }
        let files = [("src/index.js".to_owned(), b"x".to_vec()), ("long/".repeat(30) + "name", b"y".to_vec())].into();
        let other = Package::from_files(&"other_1".parse().unwrap(), "ccaas", &files).unwrap();
        // The peer reads the archive as well as the name in it; its builder then misses the connection.
        let error = peer.install_chaincode(&other).await.unwrap_err();
        assert!(matches!(&error, EndorserError::Refused { text, .. } if text.contains("could not build")), "{error}");
        let installed = peer.installed_chaincodes().await.unwrap();
        assert_eq!(installed.keys().collect::<Vec<_>>(), [package.id()]);
        assert!(installed[package.id()].references.is_empty());
    } else {
        println!("SKIPPED installing: there is no ccaas_builder beside the peer's program");
    }
    package.id().clone()
}

async fn approve(network: &Network, administrator: &SigningIdentity, definition: &Definition, id: &PackageId) {
    let peer = network.endorser(administrator);
    let msp_id = network.acme.msp_id.clone();
    assert_eq!(definition.check(&[msp_id.clone()].into(), None), []);
    assert_eq!(peer.committed_chaincode(CHANNEL, "asset").await.unwrap(), None);
    assert_eq!(peer.approved_chaincode(CHANNEL, "asset", None).await.unwrap(), None);
    assert!(peer.committed_chaincodes(CHANNEL).await.unwrap().is_empty());
    let readiness = |agreed: bool| BTreeMap::from([(msp_id.clone(), agreed)]);
    assert_eq!(peer.commit_readiness(CHANNEL, definition, 1).await.unwrap(), readiness(false));
    let early = sign_call(&lifecycle::commit_call(CHANNEL, definition, 1), administrator).unwrap();
    let refusal = Refusal::NotAgreed { msp_id: msp_id.clone() };
    let error = peer.endorse(&early).await.unwrap_err();
    assert!(matches!(&error, EndorserError::Lifecycle { refusal: found, .. } if *found == refusal), "{error}");

    let call = lifecycle::approve_call(CHANNEL, definition, 1, Some(id));
    let signed = sign_call(&call, administrator).unwrap();
    let endorsed = peer.endorse(&signed).await.unwrap();
    assert_eq!(endorsed.signer().unwrap().msp_id, msp_id);
    let envelope = assemble(&signed, &[endorsed], administrator).unwrap();
    network.broadcast(0, administrator).submit_envelope(CHANNEL, &envelope).await.unwrap();
    let status = network.gateway(administrator).commit_status(signed.tx_id(), CHANNEL).await.unwrap();
    assert_eq!((status.code, status.block), (ValidationCode::VALID, 1));

    let error = peer.endorse(&sign_call(&call, administrator).unwrap()).await.unwrap_err();
    assert!(matches!(&error, EndorserError::Lifecycle { refusal: Refusal::Unchanged, .. }), "{error}");
    let approved = Approved { sequence: 1, definition: definition.clone(), package_id: Some(id.clone()) };
    for sequence in [None, Some(1)] {
        let found = peer.approved_chaincode(CHANNEL, "asset", sequence).await.unwrap();
        assert_eq!(found.as_ref(), Some(&approved));
    }
    assert_eq!(peer.commit_readiness(CHANNEL, definition, 1).await.unwrap(), readiness(true));
}

async fn commit(network: &Network, reader: &SigningIdentity, definition: &Definition) {
    let (gateway, peer) = (network.gateway(reader), network.endorser(reader));
    let msp_id = network.acme.msp_id.clone();
    let call = lifecycle::commit_call(CHANNEL, definition, 1);
    let error = gateway.endorse(&call, &["GlobexMSP".to_owned()]).await.unwrap_err();
    assert!(matches!(error, GatewayError::Unavailable { .. } | GatewayError::Refused { .. }), "{error}");
    let other = Definition { version: "2.0".to_owned(), ..definition.clone() };
    let error =
        gateway.endorse(&lifecycle::commit_call(CHANNEL, &other, 1), std::slice::from_ref(&msp_id)).await.unwrap_err();
    let GatewayError::Lifecycle { refusal, answer, .. } = &error else { unreachable!("{error}") };
    assert_eq!(*refusal, Refusal::NotAgreed { msp_id: msp_id.clone() });
    assert_eq!(answer.nodes[0].msp_id, msp_id);
    assert!(answer.nodes[0].address.contains(&network.peer.address.port.to_string()), "{error}");

    let prepared = gateway.endorse(&call, std::slice::from_ref(&msp_id)).await.unwrap();
    gateway.submit(&prepared).await.unwrap();
    let status = gateway.commit_status(&prepared.tx_id, CHANNEL).await.unwrap();
    assert_eq!((status.code, status.block), (ValidationCode::VALID, 2));
    let approvals = BTreeMap::from([(msp_id.clone(), true)]);
    let committed = Committed { sequence: 1, definition: definition.clone(), approvals };
    assert_eq!(peer.committed_chaincode(CHANNEL, "asset").await.unwrap().as_ref(), Some(&committed));
    assert_eq!(peer.committed_chaincodes(CHANNEL).await.unwrap()["asset"].definition, *definition);
    let payload =
        gateway.evaluate(&lifecycle::committed_call(CHANNEL, "asset"), std::slice::from_ref(&msp_id)).await.unwrap();
    assert_eq!(lifecycle::read_committed("asset", &payload).unwrap(), committed);
    let error = peer.commit_readiness(CHANNEL, definition, 1).await.unwrap_err();
    let next = Refusal::WrongSequence { requested: 1, next: 2 };
    assert!(matches!(&error, EndorserError::Lifecycle { refusal, .. } if *refusal == next), "{error}");

    let facts = transactions(&peer.block(CHANNEL, 2).await.unwrap());
    assert_eq!((facts.len(), facts[0].tx_id.as_str(), facts[0].is_valid()), (1, prepared.tx_id.as_str(), true));
    assert_eq!(facts[0].committed, Some(("asset".to_owned(), 1)));
    let creator = facts[0].creator.as_ref().unwrap();
    assert_eq!((creator.msp_id.as_str(), &creator.subject), (msp_id.as_str(), &reader.certificate().subject));
}

fn install_args(package: &[u8]) -> Vec<u8> {
    tenter_fabric_wire::lifecycle::InstallChaincodeArgs { chaincode_install_package: package.to_vec() }.encode_to_vec()
}

fn current_config(block: &[u8]) -> Config {
    let block = tenter_fabric_wire::common::Block::decode(block).unwrap();
    let envelope = Envelope::decode(block.data.unwrap().data[0].as_slice()).unwrap();
    let payload = Payload::decode(envelope.payload.as_slice()).unwrap();
    ConfigEnvelope::decode(payload.data.as_slice()).unwrap().config.unwrap()
}

/// The least update that needs the applications' administrators: the same capabilities, one version up.
fn touch_application_capabilities(config: &Config) -> Vec<u8> {
    let application = &config.channel_group.as_ref().unwrap().groups["Application"];
    let mut capabilities = application.values["Capabilities"].clone();
    capabilities.version += 1;
    let tree = |group: ConfigGroup| ConfigGroup {
        groups: [("Application".to_owned(), group)].into(),
        version: config.channel_group.as_ref().unwrap().version,
        ..ConfigGroup::default()
    };
    let unchanged = ConfigGroup { version: application.version, ..ConfigGroup::default() };
    let changed = ConfigGroup { values: [("Capabilities".to_owned(), capabilities)].into(), ..unchanged.clone() };
    ConfigUpdate {
        channel_id: CHANNEL.to_owned(),
        read_set: Some(tree(unchanged)),
        write_set: Some(tree(changed)),
        ..ConfigUpdate::default()
    }
    .encode_to_vec()
}

fn sign(update: &[u8], signer: &SigningIdentity) -> Vec<u8> {
    let signature_header = signer.signature_header([7; 24]);
    let signature = signer.sign(&[signature_header.as_slice(), update].concat()).unwrap();
    ConfigUpdateEnvelope {
        config_update: update.to_vec(),
        signatures: vec![ConfigSignature { signature_header, signature }],
    }
    .encode_to_vec()
}
