//! The clients against running nodes: real Fabric where its programs are at hand, the simulator otherwise.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{CHANNEL, Network};
use prost::Message;
use tenter_fabric::ca::Role;
use tenter_fabric::chaincode::Call;
use tenter_fabric::client::broadcast::BroadcastError;
use tenter_fabric::client::deliver::DeliverError;
use tenter_fabric::client::endorser::EndorserError;
use tenter_fabric::client::operations::OperationsClient;
use tenter_fabric::client::participation::{
    ChannelStatus, ConsensusRelation, ParticipationClient, ParticipationError, Removal,
};
use tenter_fabric::client::{FailureKind, Target, TransportError};
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
    let real = tenter_fabric_testnet::Programs::find().unwrap().is_real();
    if real {
        installing(&network, &reader, &node_administrator).await;
    } else {
        println!("the simulator has no _lifecycle: installing is left out");
    }
    let error = network.endorser(&reader).join_channel(&network.genesis).await.unwrap_err();
    assert!(matches!(error, EndorserError::AccessDenied { .. }), "{error}");
    network.endorser(&node_administrator).join_channel(&network.genesis).await.unwrap();

    // The reader reads from both kinds of nodes.
    assert!(network.endorser(&reader).list_channels().await.unwrap().contains(CHANNEL));
    orderer.newest(CHANNEL).await.unwrap();
    network.peer_deliver(&reader).newest(CHANNEL).await.unwrap();

    if real {
        signing(&network, &reader, &node_administrator).await;
    } else {
        println!("the simulator does not judge configuration updates yet: signing them is left out");
    }
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

    if tenter_fabric_testnet::Programs::find().unwrap().is_real() {
        // It does not sign for its organisation any more; the next administrator does.
        let config = current_config(network.deliver(0, &reader).config_block(CHANNEL).await.unwrap().bytes());
        let update = touch_application_capabilities(&config);
        let submitter = network.broadcast(0, &reader);
        let error = submitter.submit_config_update(CHANNEL, &sign(&update, &leaving_admin)).await.unwrap_err();
        assert!(matches!(&error, BroadcastError::BadRequest { text, .. } if text.contains("not satisfied")), "{error}");
        let administrator = network.acme.identity("admin", Role::Admin).unwrap();
        submitter.submit_config_update(CHANNEL, &sign(&update, &administrator)).await.unwrap();
    } else {
        println!("the simulator does not judge configuration updates yet: signing them is left out");
    }
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
