use std::collections::BTreeMap;

use tenter_consortium::channel_config::{
    ConsenterMaterial, Material, MspMaterial, differences, facts, first_config, genesis, live_channel,
};
use tenter_consortium::desired::channel_facts;
use tenter_consortium::objects::{
    Batch, Capabilities, ChannelConsensus, ChannelMember, ChannelPolicies, ChannelSpec, ConsensusType, ConsenterRef,
    OrdererOrganization,
};
use tenter_fabric::ca::Role;
use tenter_fabric::msp::Pem;
use tenter_fabric_testnet::Organization;

const CONFIG_YAML: &str = "NodeOUs: {Enable: true, ClientOUIdentifier: {OrganizationalUnitIdentifier: client}, \
    PeerOUIdentifier: {OrganizationalUnitIdentifier: peer}, AdminOUIdentifier: {OrganizationalUnitIdentifier: admin}, \
    OrdererOUIdentifier: {OrganizationalUnitIdentifier: orderer}}";

fn policies(level: &[(&str, &str)]) -> BTreeMap<String, String> {
    let usual = [("Readers", "ANY Readers"), ("Writers", "ANY Writers"), ("Admins", "MAJORITY Admins")];
    usual.iter().chain(level).map(|(name, rule)| ((*name).to_owned(), (*rule).to_owned())).collect()
}

fn sample(consensus_type: ConsensusType, consenters: usize) -> (ChannelSpec, Material) {
    let organization = Organization::new("hub").unwrap();
    let address = |n: usize| format!("orderer{n}.hub.example:7050");
    let material = Material {
        msps: [(
            "hub".to_owned(),
            MspMaterial {
                ca_certs: organization.roots.enrolment.cert_pem.clone(),
                tls_ca_certs: organization.roots.tls.cert_pem.clone(),
                config: CONFIG_YAML.to_owned(),
                ..MspMaterial::default()
            },
        )]
        .into(),
        consenters: (1..=consenters)
            .map(|n| ConsenterMaterial {
                tls: organization.tls_node(&format!("orderer{n}")).unwrap().cert_pem,
                identity: organization.enrol(&format!("orderer{n}"), Role::Orderer).unwrap().cert_pem,
            })
            .collect(),
    };
    let spec = ChannelSpec {
        consortium: "trade".to_owned(),
        channel: "trade".to_owned(),
        organizer: "hub".to_owned(),
        consensus: ChannelConsensus {
            consensus_type,
            consenters: (1..=consenters)
                .map(|n| ConsenterRef {
                    organization: "hub".to_owned(),
                    namespace: "trade-hub".to_owned(),
                    orderer: format!("orderer{n}"),
                    address: address(n),
                })
                .collect(),
            options: BTreeMap::new(),
        },
        orderer_organizations: vec![OrdererOrganization {
            organization: "hub".to_owned(),
            msp_id: organization.msp_id.clone(),
            namespace: "trade-hub".to_owned(),
            endpoints: (1..=consenters).map(address).collect(),
        }],
        members: vec![ChannelMember {
            organization: "hub".to_owned(),
            msp_id: organization.msp_id,
            namespace: "trade-hub".to_owned(),
            peers: vec!["peer1".to_owned()],
            anchors: vec!["peer1.hub.example:7051".to_owned()],
        }],
        policies: ChannelPolicies {
            channel: policies(&[]),
            orderer: policies(&[("BlockValidation", "ANY Writers")]),
            application: policies(&[
                ("Endorsement", "OutOf(1, 'HubMSP.peer', 'HubMSP.admin')"),
                ("LifecycleEndorsement", "MAJORITY Endorsement"),
            ]),
        },
        acls: [("qscc/GetChainInfo".to_owned(), "/Channel/Application/Readers".to_owned())].into(),
        capabilities: Capabilities {
            channel: "V3_0".to_owned(),
            orderer: "V2_0".to_owned(),
            application: "V2_5".to_owned(),
        },
        retired: Vec::new(),
        genesis_hash: None,
        batch: Batch {
            max_message_count: 10,
            absolute_max_bytes: 1 << 20,
            preferred_max_bytes: 1 << 19,
            timeout: "1s".to_owned(),
        },
    };
    (spec, material)
}

/// A channel that was made from a spec must never be said to differ from it.
#[test]
fn what_a_spec_makes_is_what_it_asks_for() {
    for (consensus_type, consenters) in [(ConsensusType::EtcdRaft, 3), (ConsensusType::Bft, 4)] {
        let (spec, material) = sample(consensus_type, consenters);
        let block = genesis(&spec, &material).unwrap();
        let live = live_channel(&block).unwrap();
        assert_eq!(differences(&live.facts, &channel_facts(&spec)), Vec::<String>::new(), "{consensus_type:?}");
        assert_eq!(block.bytes(), genesis(&spec, &material).unwrap().bytes());
    }
}

/// A revocation list stands in the MSP of its organization, for orderers and members alike; another's is refused.
#[test]
fn what_is_revoked_stands_in_the_configuration() {
    let (spec, mut material) = sample(ConsensusType::EtcdRaft, 3);
    let [hub, other] = ["hub", "other"].map(|name| Organization::new(name).unwrap());
    let leaver = hub.enrol("leaver", Role::Client).unwrap();
    let list = hub.revoke(&[&leaver]).unwrap();
    let msp = material.msps.get_mut("hub").unwrap();
    msp.ca_certs.clone_from(&hub.roots.enrolment.cert_pem);
    msp.crls = Some(list.clone());
    let config = first_config(&spec, &material).unwrap();
    for msp in [&config.orderer.organizations["hub"].msp, &config.application.organizations["hub"].msp] {
        assert_eq!(msp.revocation_list, [Pem::from(list.as_str())]);
    }
    assert_eq!(genesis(&spec, &material).unwrap().bytes(), genesis(&spec, &material).unwrap().bytes());
    for wrong in [other.revoke(&[]).unwrap(), "broken".to_owned()] {
        material.msps.get_mut("hub").unwrap().crls = Some(wrong);
        let why = first_config(&spec, &material).unwrap_err();
        assert!(why.contains("revocation list of hub"), "{why}");
    }
}

#[test]
fn options_are_taken_by_name_and_unknown_ones_refused() {
    let (mut spec, material) = sample(ConsensusType::EtcdRaft, 3);
    spec.consensus.options.insert("electionTick".to_owned(), "20".to_owned());
    let made = facts(&first_config(&spec, &material).unwrap()).unwrap();
    assert_eq!(made.options["electionTick"], "20");
    assert_eq!(differences(&made, &channel_facts(&spec)).iter().filter(|line| line.starts_with("options")).count(), 0);
    for (name, value) in [("electionTick", "many"), ("elections", "1")] {
        let mut wrong = spec.clone();
        wrong.consensus.options.insert(name.to_owned(), value.to_owned());
        let why = genesis(&wrong, &material).unwrap_err();
        assert!(why.contains(name), "{why}");
    }
}

#[test]
fn differences_name_the_field_and_both_values() {
    let (spec, material) = sample(ConsensusType::EtcdRaft, 3);
    let live = facts(&first_config(&spec, &material).unwrap()).unwrap();
    let mut wanted = live.clone();
    wanted.batch.timeout = "2s".to_owned();
    wanted.members.insert("AcmeMSP".to_owned(), Vec::new());
    assert_eq!(differences(&live, &wanted), ["batch.timeout: 1s -> 2s", "members.AcmeMSP: nothing -> []"]);
}
