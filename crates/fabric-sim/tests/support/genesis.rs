//! Genesis blocks for tests, built from the messages alone.

use std::collections::BTreeMap;

use prost::Message;
use tenter_fabric_sim::block;
use tenter_fabric_wire::common::msp_principal::Classification;
use tenter_fabric_wire::common::msp_role::MspRoleType;
use tenter_fabric_wire::common::signature_policy::{NOutOf, Type};
use tenter_fabric_wire::common::{
    Block, BlockDataHashingStructure, Capabilities, Capability, ChannelHeader, Config, ConfigEnvelope, ConfigGroup,
    ConfigPolicy, ConfigValue, Consenter as BftConsenter, Envelope, HashingAlgorithm, Header, HeaderType,
    ImplicitMetaPolicy, LastConfig, Metadata, MspPrincipal, MspRole, OrdererAddresses, OrdererBlockMetadata, Orderers,
    Payload, Policy, SignatureHeader, SignaturePolicy, SignaturePolicyEnvelope,
};
use tenter_fabric_wire::etcdraft::{ConfigMetadata, Consenter, Options};
use tenter_fabric_wire::google::Timestamp;
use tenter_fabric_wire::msp::{
    FabricCryptoConfig, FabricMspConfig, FabricNodeOus, FabricOuIdentifier, MspConfig, SerializedIdentity,
};
use tenter_fabric_wire::orderer::{BatchSize, BatchTimeout, ChannelRestrictions, ConsensusType};
use tenter_fabric_wire::protos::{AnchorPeer, AnchorPeers};
use tenter_fabric_wire::smartbft;

use super::organization::Organization;

/// What a test channel is made of.
pub struct Profile<'a> {
    /// Enrolment certificates of the consenters in PEM: then it is a BFT channel.
    pub bft: Option<Vec<String>>,
    pub channel: &'a str,
    pub orderers: &'a Organization,
    pub members: Vec<&'a Organization>,
    /// Host, port, TLS certificate in PEM.
    pub consenters: Vec<(String, u16, String)>,
    pub nonce: u8,
    /// Ports of anchor peers on 127.0.0.1, by MSP ID.
    pub anchors: Vec<(String, u16)>,
}

fn value(message: &impl Message) -> ConfigValue {
    ConfigValue { value: message.encode_to_vec(), mod_policy: "Admins".to_owned(), ..ConfigValue::default() }
}

fn policy(kind: i32, message: &impl Message) -> ConfigPolicy {
    ConfigPolicy {
        policy: Some(Policy { r#type: kind, value: message.encode_to_vec() }),
        mod_policy: "Admins".to_owned(),
        ..ConfigPolicy::default()
    }
}

fn meta(rule: i32, sub_policy: &str) -> ConfigPolicy {
    policy(3, &ImplicitMetaPolicy { sub_policy: sub_policy.to_owned(), rule })
}

fn any_role(msp_id: &str, roles: &[MspRoleType]) -> ConfigPolicy {
    let identities = roles
        .iter()
        .map(|role| MspPrincipal {
            principal_classification: Classification::Role as i32,
            principal: MspRole { msp_identifier: msp_id.to_owned(), role: *role as i32 }.encode_to_vec(),
        })
        .collect();
    let rules = (0..i32::try_from(roles.len()).unwrap())
        .map(|index| SignaturePolicy { r#type: Some(Type::SignedBy(index)) })
        .collect();
    policy(
        1,
        &SignaturePolicyEnvelope {
            version: 0,
            rule: Some(SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n: 1, rules })) }),
            identities,
        },
    )
}

fn capabilities(name: &str) -> ConfigValue {
    value(&Capabilities { capabilities: BTreeMap::from([(name.to_owned(), Capability::default())]) })
}

fn standard(more: &[(&str, ConfigPolicy)]) -> BTreeMap<String, ConfigPolicy> {
    [("Readers", meta(0, "Readers")), ("Writers", meta(0, "Writers")), ("Admins", meta(2, "Admins"))]
        .iter()
        .chain(more)
        .map(|(name, policy)| ((*name).to_owned(), policy.clone()))
        .collect()
}

fn group(
    groups: BTreeMap<String, ConfigGroup>,
    values: &[(&str, ConfigValue)],
    policies: BTreeMap<String, ConfigPolicy>,
) -> ConfigGroup {
    ConfigGroup {
        groups,
        values: values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        policies,
        mod_policy: "Admins".to_owned(),
        ..ConfigGroup::default()
    }
}

fn msp_value(org: &Organization) -> ConfigValue {
    let unit = |name: &str| {
        Some(FabricOuIdentifier { certificate: Vec::new(), organizational_unit_identifier: name.to_owned() })
    };
    let config = FabricMspConfig {
        name: org.msp_id.clone(),
        root_certs: vec![org.ca.pem.clone().into_bytes()],
        tls_root_certs: vec![org.tlsca.pem.clone().into_bytes()],
        crypto_config: Some(FabricCryptoConfig {
            signature_hash_family: "SHA2".to_owned(),
            identity_identifier_hash_function: "SHA256".to_owned(),
        }),
        fabric_node_ous: Some(FabricNodeOus {
            enable: true,
            client_ou_identifier: unit("client"),
            peer_ou_identifier: unit("peer"),
            admin_ou_identifier: unit("admin"),
            orderer_ou_identifier: unit("orderer"),
        }),
        ..FabricMspConfig::default()
    };
    value(&MspConfig { r#type: 0, config: config.encode_to_vec() })
}

fn orderer_group(profile: &Profile<'_>) -> ConfigGroup {
    use MspRoleType::{Admin, Member};
    let id = &profile.orderers.msp_id;
    let addresses = profile.consenters.iter().map(|(host, port, _)| format!("{host}:{port}")).collect();
    let org = group(
        BTreeMap::new(),
        &[("MSP", msp_value(profile.orderers)), ("Endpoints", value(&OrdererAddresses { addresses }))],
        [("Readers", Member), ("Writers", Member), ("Admins", Admin)]
            .into_iter()
            .map(|(name, role)| (name.to_owned(), any_role(id, &[role])))
            .collect(),
    );
    let consenters = profile
        .consenters
        .iter()
        .map(|(host, port, certificate)| Consenter {
            host: host.clone(),
            port: u32::from(*port),
            client_tls_cert: certificate.clone().into_bytes(),
            server_tls_cert: certificate.clone().into_bytes(),
        })
        .collect();
    let metadata = ConfigMetadata {
        consenters,
        options: Some(Options {
            tick_interval: "100ms".to_owned(),
            election_tick: 10,
            heartbeat_tick: 1,
            max_inflight_blocks: 5,
            snapshot_interval_size: 16 << 20,
        }),
    };
    let mut kind = ConsensusType { r#type: "etcdraft".to_owned(), metadata: metadata.encode_to_vec(), state: 0 };
    let mut validation = meta(0, "Writers");
    let mut orderers = Orderers::default();
    if let Some(identities) = &profile.bft {
        orderers = Orderers { consenter_mapping: bft_consenters(profile, identities) };
        kind = ConsensusType { r#type: "BFT".to_owned(), metadata: bft_options().encode_to_vec(), state: 0 };
        validation = block_validation(&orderers.consenter_mapping);
    }
    let mut found = group(
        BTreeMap::from([(id.clone(), org)]),
        &[
            ("ConsensusType", value(&kind)),
            (
                "BatchSize",
                value(&BatchSize { max_message_count: 10, absolute_max_bytes: 1 << 20, preferred_max_bytes: 1 << 19 }),
            ),
            ("BatchTimeout", value(&BatchTimeout { timeout: "100ms".to_owned() })),
            ("ChannelRestrictions", value(&ChannelRestrictions::default())),
            ("Capabilities", capabilities("V2_0")),
        ],
        standard(&[("BlockValidation", validation)]),
    );
    if profile.bft.is_some() {
        found.values.insert("Orderers".to_owned(), value(&orderers));
    }
    found
}

fn bft_consenters(profile: &Profile<'_>, identities: &[String]) -> Vec<BftConsenter> {
    (1..)
        .zip(profile.consenters.iter().zip(identities))
        .map(|(id, ((host, port, tls), identity))| BftConsenter {
            id,
            host: host.clone(),
            port: u32::from(*port),
            msp_id: profile.orderers.msp_id.clone(),
            identity: identity.clone().into_bytes(),
            client_tls_cert: tls.clone().into_bytes(),
            server_tls_cert: tls.clone().into_bytes(),
        })
        .collect()
}

/// What a SmartBFT leader sends while its consenters are away is lost. It goes on when the leader itself has given the
/// request up (forward and complain timeouts), the others have missed its heartbeats, and they have changed the view: with
/// the usual settings after a minute and a half. One that restarts a block behind would not even count for the change of
/// view, because the heartbeats do not tell it, unless it asks the others when it starts.
fn bft_options() -> smartbft::Options {
    let text = str::to_owned;
    smartbft::Options {
        request_batch_max_count: 100,
        request_batch_max_bytes: 10 << 20,
        request_batch_max_interval: text("50ms"),
        incoming_message_buffer_size: 200,
        request_pool_size: 400,
        request_forward_timeout: text("1s"),
        request_complain_timeout: text("5s"),
        request_auto_remove_timeout: text("3m"),
        request_max_bytes: 1 << 20,
        view_change_resend_interval: text("2s"),
        view_change_timeout: text("10s"),
        leader_heartbeat_timeout: text("10s"),
        leader_heartbeat_count: 10,
        collect_timeout: text("1s"),
        sync_on_start: true,
        ..smartbft::Options::default()
    }
}

/// The policy of a BFT channel's blocks: a quorum of the consenters' very certificates.
pub fn block_validation(consenters: &[BftConsenter]) -> ConfigPolicy {
    let n = consenters.len();
    let quorum = (n + (n - 1) / 3 + 1).div_ceil(2);
    let identities = consenters
        .iter()
        .map(|consenter| MspPrincipal {
            principal_classification: Classification::Identity as i32,
            principal: SerializedIdentity { mspid: consenter.msp_id.clone(), id_bytes: consenter.identity.clone() }
                .encode_to_vec(),
        })
        .collect();
    let rules =
        (0..i32::try_from(n).unwrap()).map(|index| SignaturePolicy { r#type: Some(Type::SignedBy(index)) }).collect();
    let n = i32::try_from(quorum).unwrap();
    let rule = Some(SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n, rules })) });
    policy(1, &SignaturePolicyEnvelope { version: 0, rule, identities })
}

/// An organisation of the Application section.
pub fn application_org(org: &Organization) -> ConfigGroup {
    use MspRoleType::{Admin, Client, Peer};
    let roles = [
        ("Readers", &[Admin, Peer, Client][..]),
        ("Writers", &[Admin, Client]),
        ("Admins", &[Admin]),
        ("Endorsement", &[Peer]),
    ];
    let policies = roles.into_iter().map(|(name, roles)| (name.to_owned(), any_role(&org.msp_id, roles))).collect();
    group(BTreeMap::new(), &[("MSP", msp_value(org))], policies)
}

fn application_group(profile: &Profile<'_>) -> ConfigGroup {
    let orgs = profile
        .members
        .iter()
        .map(|org| {
            let mut group = application_org(org);
            let anchors = profile.anchors.iter().filter(|(id, _)| *id == org.msp_id);
            let anchor_peers: Vec<AnchorPeer> =
                anchors.map(|(_, port)| AnchorPeer { host: "127.0.0.1".to_owned(), port: i32::from(*port) }).collect();
            if !anchor_peers.is_empty() {
                group.values.insert("AnchorPeers".to_owned(), value(&AnchorPeers { anchor_peers }));
            }
            (org.msp_id.clone(), group)
        })
        .collect();
    let endorsement = meta(2, "Endorsement");
    group(
        orgs,
        &[("Capabilities", capabilities("V2_5"))],
        standard(&[("Endorsement", endorsement.clone()), ("LifecycleEndorsement", endorsement)]),
    )
}

/// The genesis block; another nonce makes other bytes of the same channel.
pub fn block(profile: &Profile<'_>) -> Block {
    let root = group(
        BTreeMap::from([
            ("Orderer".to_owned(), orderer_group(profile)),
            ("Application".to_owned(), application_group(profile)),
        ]),
        &[
            ("HashingAlgorithm", value(&HashingAlgorithm { name: "SHA256".to_owned() })),
            ("BlockDataHashingStructure", value(&BlockDataHashingStructure { width: u32::MAX })),
            ("Capabilities", capabilities("V3_0")),
        ],
        standard(&[]),
    );
    let config = ConfigEnvelope { config: Some(Config { sequence: 0, channel_group: Some(root) }), last_update: None };
    let header = Header {
        channel_header: ChannelHeader {
            r#type: HeaderType::Config as i32,
            version: 1,
            timestamp: Some(Timestamp { seconds: 1_790_000_000, nanos: 0 }),
            channel_id: profile.channel.to_owned(),
            ..ChannelHeader::default()
        }
        .encode_to_vec(),
        signature_header: SignatureHeader { creator: Vec::new(), nonce: vec![profile.nonce; 24] }.encode_to_vec(),
    };
    let envelope = Envelope {
        payload: Payload { header: Some(header), data: config.encode_to_vec() }.encode_to_vec(),
        signature: Vec::new(),
    };
    let mut first = block::assemble(0, Vec::new(), vec![envelope.encode_to_vec()]);
    first.metadata.as_mut().unwrap().metadata[0] = Metadata {
        value: OrdererBlockMetadata { last_config: Some(LastConfig { index: 0 }), consenter_metadata: Vec::new() }
            .encode_to_vec(),
        signatures: Vec::new(),
    }
    .encode_to_vec();
    first
}
