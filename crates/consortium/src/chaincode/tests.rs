use std::collections::{BTreeMap, BTreeSet};

use tenter_fabric::chaincode::{Approved, Committed};

use super::*;
use crate::network::Network;
use crate::objects::ChaincodeMember;
use crate::observation::Observation;
use crate::observed::{NodeRef, ObservedChaincode};

fn spec(image: Option<&str>) -> ChaincodeSpec {
    let member = |organization: &str, msp_id: &str, peers: &[&str]| ChaincodeMember {
        organization: organization.into(),
        msp_id: msp_id.into(),
        namespace: format!("trade-{organization}"),
        peers: peers.iter().map(|peer| (*peer).to_owned()).collect(),
    };
    ChaincodeSpec {
        consortium: "trade".into(),
        channel: "settlement".into(),
        name: "asset".into(),
        version: "1.0".into(),
        source: ChaincodeSourceSpec { image: image.map(str::to_owned), ..Default::default() },
        endorsement: None,
        collections: Vec::new(),
        init_required: false,
        members: vec![member("acme", "AcmeMSP", &["peer1", "peer2"]), member("globex", "GlobexMSP", &["peer1"])],
    }
}

const IMAGE: Option<&str> = Some("ghcr.io/example/asset:1.0");

#[test]
fn names_are_labels_and_tell_images_apart() {
    assert_eq!(object_name("trade.v2", "My_Asset"), "trade-v2-my-asset");
    let name = service_name(&spec(IMAGE));
    assert_eq!(name, "cc-asset-84bccd92");
    let mut others = BTreeSet::from([name.clone(), service_name(&spec(Some("ghcr.io/example/asset:1.1")))]);
    for change in [
        (|spec: &mut ChaincodeSpec| spec.channel = "other".into()) as fn(&mut ChaincodeSpec),
        |spec| spec.version = "1.1".into(),
        |spec| spec.name = "asset2".into(),
        |spec| spec.name = "a-_".repeat(30) + "a",
    ] {
        let mut other = spec(IMAGE);
        change(&mut other);
        let name = service_name(&other);
        assert!(name.len() <= 63 && crate::values::is_dns_label(&name), "{name}");
        others.insert(name);
    }
    assert_eq!(others.len(), 6, "{others:?}");
    // What does not change the program does not move its service.
    let mut same = spec(IMAGE);
    same.endorsement = Some("OR('AcmeMSP.peer')".into());
    same.members.pop();
    assert_eq!(service_name(&same), name);
}

#[test]
fn a_package_is_the_same_for_every_member() {
    let one = package(&spec(IMAGE)).unwrap().unwrap();
    let mut other = spec(IMAGE);
    other.members.reverse();
    assert_eq!(package_id(&other).unwrap(), *one.id());
    assert_eq!((one.label().as_str(), one.kind()), ("asset_1.0", SERVICE_TYPE));
    let connection = service_connection(&spec(IMAGE)).unwrap();
    assert_eq!(connection.address, "cc-asset-84bccd92.{{.namespace}}.svc:9999");
    assert_eq!(connection.tls.unwrap().root_certificate, "{{.root_cert}}");
    assert_eq!(connection.dial_timeout, "10s");
    assert_ne!(package_id(&spec(Some("ghcr.io/example/asset:1.1"))).unwrap(), *one.id());
}

#[test]
fn an_external_service_has_tls_if_its_roots_are_named() {
    let external = |roots: Option<&str>| {
        let mut spec = spec(None);
        let external =
            ExternalChaincode { address: "asset.example.com:9999".into(), root_certificates: roots.map(str::to_owned) };
        spec.source.external = Some(external);
        spec
    };
    assert!(service_connection(&external(None)).unwrap().tls.is_none());
    assert_eq!(service_connection(&external(Some("PEM"))).unwrap().tls.unwrap().root_certificate, "PEM");
    let mut both = external(None);
    both.source.image = IMAGE.map(str::to_owned);
    assert!(matches!(package_id(&both), Err(ChaincodeError::Source)));
    assert!(matches!(package_id(&spec(None)), Err(ChaincodeError::Source)));
}

#[test]
fn definitions_come_from_specs() {
    let mut spec = spec(IMAGE);
    let definition = wanted(&spec).unwrap();
    assert_eq!(definition.endorsement.to_string(), "/Channel/Application/Endorsement");
    spec.endorsement = Some("OR('AcmeMSP.peer'".into());
    assert!(matches!(wanted(&spec), Err(ChaincodeError::Policy { .. })));
    spec.endorsement = None;
    spec.collections.push(ChaincodeCollection {
        name: "prices".into(),
        member_msp_ids: vec!["AcmeMSP".into(), "GlobexMSP".into()],
        required_peer_count: 1,
        max_peer_count: 2,
        block_to_live: 3,
        member_only_read: true,
        member_only_write: false,
        endorsement: Some("/Channel/Application/Endorsement".into()),
    });
    let definition = wanted(&spec).unwrap();
    let collection = &definition.collections[0];
    assert_eq!(collection.policy.to_string(), "OR('AcmeMSP.member', 'GlobexMSP.member')");
    // Byte for byte what the same text would give: peers compare encodings.
    assert_eq!(
        collection.policy.to_bytes(),
        collection.policy.to_string().parse::<SignaturePolicy>().unwrap().to_bytes()
    );
    assert_eq!((collection.required_peer_count, collection.maximum_peer_count, collection.block_to_live), (1, 2, 3));
    let known = BTreeSet::from(["AcmeMSP".to_owned(), "GlobexMSP".to_owned()]);
    assert_eq!(definition.check(&known, None), []);
}

fn seen(committed: Option<Committed>) -> ObservedChaincode {
    let absent = || Observation::Absent { evidence: "404".to_owned() };
    ObservedChaincode {
        committed: committed
            .map_or_else(|| Observation::Absent { evidence: "404".to_owned() }, |value| Observation::Present { value }),
        author: None,
        approvals: BTreeMap::from([("AcmeMSP".to_owned(), absent())]),
        readiness: Observation::Unreachable { evidence: "timed out".into() },
        installed: BTreeMap::new(),
        package: Observation::Absent { evidence: "404".into() },
    }
}

#[test]
fn progress_is_told_for_each_organization_and_peer() {
    let spec = spec(IMAGE);
    let (definition, id) = (wanted(&spec).unwrap(), package_id(&spec).unwrap());
    let hosted = BTreeSet::from(["acme".to_owned()]);
    let peer = |name: &str| NodeRef { namespace: "trade-acme".into(), name: name.into() };
    let mut world = seen(None);
    world.installed.insert(peer("peer1"), Observation::Present { value: BTreeSet::from([id.clone()]) });
    world.installed.insert(peer("peer2"), Observation::Present { value: BTreeSet::new() });
    let first = progress(&spec, &definition, &id, &world, &hosted).unwrap();
    assert_eq!(first.next, Next::Change { sequence: 1, differences: Vec::new() });
    assert_eq!((first.approved_count().as_str(), first.members[0].installed().as_deref()), ("0/2", Some("1/2")));
    assert_eq!(first.members[0].approval, Approval::Missing);
    assert!(matches!(first.members[1].approval, Approval::Unknown { forbidden: false, .. }));
    assert_eq!(first.members[0].missing(1).unwrap(), "it has not approved sequence 1; peer2 does not have the package");

    let approvals = BTreeMap::from([("AcmeMSP".to_owned(), true), ("GlobexMSP".to_owned(), false)]);
    let committed = Committed { sequence: 4, definition: definition.clone(), approvals };
    let mut world = seen(Some(committed));
    for name in ["peer1", "peer2"] {
        world.installed.insert(peer(name), Observation::Present { value: BTreeSet::from([id.clone()]) });
    }
    let approve = |sequence, package_id| Observation::Present {
        value: Approved { sequence, definition: definition.clone(), package_id },
    };
    world.approvals.insert("AcmeMSP".into(), approve(4, None));
    let later = progress(&spec, &definition, &id, &world, &hosted).unwrap();
    assert_eq!(later.members[0].approval, Approval::OtherPackage { package: None });
    assert!(later.members[0].approval.counts() && later.members[0].approval.is_due());
    world.approvals.insert("AcmeMSP".into(), approve(3, Some(id.clone())));
    let older = progress(&spec, &definition, &id, &world, &hosted).unwrap();
    assert!(!older.members[0].approval.counts());
    world.approvals.insert("AcmeMSP".into(), approve(4, Some(id.clone())));
    let done = progress(&spec, &definition, &id, &world, &hosted).unwrap();
    assert_eq!(done.next, Next::InSync { sequence: 4 });
    assert_eq!(done.approved(), BTreeSet::from(["AcmeMSP".to_owned()]));
    let serving = BTreeMap::from([(peer("peer1"), Ok(())), (peer("peer2"), Err("its Service has no Pod".to_owned()))]);
    let status = done.organizations(&serving);
    assert_eq!((status[0].serving, status[0].approved, status[0].installed.as_deref()), (false, true, Some("2/2")));
    assert_eq!(status[0].peers.iter().map(|peer| peer.serving).collect::<Vec<_>>(), [true, false]);
    assert_eq!(status[0].message.as_deref(), Some("peer2 does not serve: its Service has no Pod"));
    assert_eq!((status[1].installed.as_deref(), status[1].approved, status[1].serving), (None, false, false));
    assert!(status[1].message.as_ref().unwrap().contains("hosted elsewhere"), "{:?}", status[1].message);
    let serving = BTreeMap::from([(peer("peer1"), Ok(())), (peer("peer2"), Ok(()))]);
    assert!(done.organizations(&serving)[0].serving);

    world.committed = Observation::Forbidden { evidence: "403".into() };
    assert_eq!(progress(&spec, &definition, &id, &world, &hosted), None);
}

/// The members of a channel, and how its lifecycle policy is met by some of them.
fn lifecycle(members: &str, policy: &str, approving: &[&str]) -> Lifecycle {
    let organization = |name: char| format!("    - {{name: {name}, peers: [peer1]}}\n");
    let text = format!(
        "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {{name: trade}}\nspec:\n  organizations:\n    - {{name: \
         hub, orderers: [orderer1]}}\n{}  channels:\n    - name: settlement\n      members: [{}]\n{policy}",
        members.chars().map(organization).collect::<String>(),
        members.chars().map(String::from).collect::<Vec<_>>().join(", "),
    );
    let (definition, findings) = crate::document::parse(text.as_bytes(), "network.yaml");
    let definition = definition.unwrap_or_else(|| panic!("{findings:?}"));
    let network = Network::resolve(&definition, &RepositoryFacts::default());
    let spec = crate::desired::channel_spec(&network, "trade", &network.channels[0]);
    let approving = approving.iter().map(|msp_id| (*msp_id).to_owned()).collect();
    LifecyclePolicy::of_spec(&spec).unwrap().met_by(&approving)
}

#[test]
fn a_majority_must_approve_unless_the_channel_says_otherwise() {
    let met = lifecycle("abc", "", &["AMSP"]);
    assert_eq!((met.required.as_str(), met.endorsers.is_none()), ("peers of 2 of AMSP, BMSP and CMSP", true));
    let waiting =
        met.signing(&BTreeSet::from(["AMSP".to_owned()]), &BTreeSet::new(), &["b".to_owned(), "c".to_owned()]);
    assert_eq!(waiting.missing.as_deref(), Some("peers of 2 of AMSP, BMSP and CMSP, so it waits for b, c"));
    let met = lifecycle("abc", "", &["AMSP", "BMSP", "CMSP"]);
    assert_eq!(met.endorsers.map(|endorsers| endorsers.len()), Some(2));
    let all = "      policies: {application: {LifecycleEndorsement: ALL Endorsement}}\n";
    assert!(lifecycle("abc", all, &["AMSP", "BMSP"]).endorsers.is_none());
    let named = "      policies: {application: {LifecycleEndorsement: \"OR('BMSP.peer', 'CMSP.peer')\"}}\n";
    assert!(lifecycle("abc", named, &["AMSP"]).endorsers.is_none());
    assert_eq!(lifecycle("abc", named, &["AMSP", "CMSP"]).endorsers, Some(BTreeSet::from(["CMSP".to_owned()])));
    // Administrators do not endorse, peers do.
    let admins = "      policies: {application: {LifecycleEndorsement: \"OR('AMSP.admin')\"}}\n";
    assert!(lifecycle("abc", admins, &["AMSP"]).endorsers.is_none());
}
