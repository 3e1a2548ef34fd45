use std::collections::BTreeMap;

use tenter_consortium::channel_config::{
    ConsenterMaterial, Material, MspMaterial, differences, facts, first_config, genesis, live_channel, updates,
};
use tenter_consortium::desired::channel_facts;
use tenter_consortium::objects::{
    Batch, Capabilities, ChannelConsensus, ChannelMember, ChannelPolicies, ChannelSpec, ConsensusType, ConsenterRef,
    OrdererOrganization, ReleasedOrderer,
};
use tenter_fabric::ca::Role;
use tenter_fabric::config::CurrentConfig;
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
            released: Vec::new(),
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

/// What is made of a live channel, update by update: the topic, the consenter that joins, and the consenters afterwards.
fn steps(live: &mut CurrentConfig, spec: &ChannelSpec, material: &Material) -> Vec<(String, Option<String>, usize)> {
    let mut steps = Vec::new();
    loop {
        let found = updates(live, spec, material).unwrap();
        assert_eq!(found.refused, [], "nothing is refused");
        let Some(update) = found.topics.into_iter().next() else { return steps };
        assert_eq!(update.problems, Vec::<String>::new(), "Fabric takes {}", update.topic);
        *live = update.update.apply(live).unwrap();
        let consenters = facts(live.config()).unwrap().consenters.len();
        steps.push((update.topic, update.joining, consenters));
        assert!(steps.len() < 20, "it comes to an end: {steps:?}");
    }
}

#[test]
fn consenters_come_and_go_one_at_a_time() {
    for (consensus_type, few) in [(ConsensusType::EtcdRaft, 3), (ConsensusType::Bft, 4)] {
        let (all, material) = sample(consensus_type, few + 2);
        let only = |kept: &[usize], released: &[usize]| {
            let mut spec = all.clone();
            let mut material = material.clone();
            let addresses: Vec<String> = kept.iter().map(|n| all.consensus.consenters[*n].address.clone()).collect();
            spec.consensus.consenters = kept.iter().map(|n| all.consensus.consenters[*n].clone()).collect();
            material.consenters = kept.iter().map(|n| material.consenters[*n].clone()).collect();
            spec.orderer_organizations[0].endpoints = addresses;
            let gone = released.iter().map(|n| {
                let ConsenterRef { organization, namespace, orderer, address } = all.consensus.consenters[*n].clone();
                ReleasedOrderer { organization, msp_id: "HubMSP".to_owned(), namespace, orderer, address }
            });
            spec.consensus.released = gone.collect();
            (spec, material)
        };
        let first: Vec<usize> = (0..few).collect();
        let (spec, some) = only(&first, &[]);
        let block = genesis(&spec, &some).unwrap();
        let mut live = CurrentConfig::from_block(&block).unwrap();
        assert_eq!(steps(&mut live, &spec, &some), []);

        // Two come, and are named to clients once they order; of a BFT channel clients ask all of them.
        let made = steps(&mut live, &all, &material);
        let address = |n: usize| Some(all.consensus.consenters[n].address.clone());
        let joined: Vec<Option<String>> =
            made.iter().filter(|(topic, ..)| topic == "consenters").map(|(_, joining, _)| joining.clone()).collect();
        assert_eq!(joined, [address(few), address(few + 1)], "{made:?}");
        assert_eq!(live_facts(&live), channel_facts(&all).consenters);

        // What merely stands nowhere stays, and what is released goes.
        let kept: Vec<usize> = (1..=few).collect();
        let (spec, some) = only(&kept, &[0]);
        let found = updates(&live, &spec, &some).unwrap();
        let stays = all.consensus.consenters[few + 1].address.clone();
        assert_eq!((found.refused, found.unnamed_consenters), (Vec::new(), vec![stays]));
        let (spec, some) = only(&kept, &[0, few + 1]);
        let made = steps(&mut live, &spec, &some);
        let sizes: Vec<usize> =
            made.iter().filter(|(topic, ..)| topic == "consenters").map(|(_, _, consenters)| *consenters).collect();
        assert_eq!(sizes, [few + 1, few], "{made:?}");
        assert_eq!(live_facts(&live), channel_facts(&spec).consenters);
    }
}

fn live_facts(live: &CurrentConfig) -> Vec<String> {
    facts(live.config()).unwrap().consenters
}

#[test]
fn an_organization_that_orders_comes_before_its_consenter() {
    let (spec, material) = sample(ConsensusType::EtcdRaft, 3);
    let mut live = CurrentConfig::from_block(&genesis(&spec, &material).unwrap()).unwrap();
    let acme = Organization::new("acme").unwrap();
    let (mut more, mut known) = (spec.clone(), material.clone());
    let address = "orderer1.acme.example:7050".to_owned();
    more.consensus.consenters.push(ConsenterRef {
        organization: "acme".to_owned(),
        namespace: "trade-acme".to_owned(),
        orderer: "orderer1".to_owned(),
        address: address.clone(),
    });
    more.orderer_organizations.push(OrdererOrganization {
        organization: "acme".to_owned(),
        msp_id: acme.msp_id.clone(),
        namespace: "trade-acme".to_owned(),
        endpoints: vec![address.clone()],
    });
    // Nothing of it is there yet: what is waited for is named.
    let found = updates(&live, &more, &known).unwrap();
    let waits: Vec<_> =
        found.topics.iter().map(|update| (update.topic.as_str(), update.incomplete.as_deref())).collect();
    assert_eq!(waits, [("orderer-organization/acme", Some("the public MSP of acme"))]);
    known.msps.insert(
        "acme".to_owned(),
        MspMaterial {
            ca_certs: acme.roots.enrolment.cert_pem.clone(),
            tls_ca_certs: acme.roots.tls.cert_pem.clone(),
            config: CONFIG_YAML.to_owned(),
            ..MspMaterial::default()
        },
    );
    known.consenters.push(ConsenterMaterial {
        tls: acme.tls_node("orderer1").unwrap().cert_pem,
        identity: acme.enrol("orderer1", Role::Orderer).unwrap().cert_pem,
    });
    let organization = "orderer-organization/acme".to_owned();
    let found = updates(&live, &more, &known).unwrap();
    assert_eq!(found.topics.len(), 1);
    live = found.topics[0].update.apply(&live).unwrap();
    let made = steps(&mut live, &more, &known);
    // Its endpoints came with it: no organization that orders is without.
    assert_eq!(made, [("consenters".to_owned(), Some(address), 4)]);

    // It leaves: its consenter first, then all of it.
    let mut less = spec.clone();
    less.retired = vec!["acme".to_owned()];
    let made = steps(&mut live, &less, &material);
    assert_eq!(made, [("consenters".to_owned(), None, 3), (organization, None, 3)]);
    assert!(!live.config().orderer.organizations.contains_key("acme"));
}
