use proptest::prelude::*;

use super::*;
use crate::policy::Role;

fn policy(text: &str) -> SignaturePolicy {
    text.parse().unwrap()
}

fn known() -> BTreeSet<String> {
    ["AcmeMSP", "GlobexMSP", "HubMSP"].map(str::to_owned).into()
}

fn prices() -> Collection {
    Collection::new("prices", policy("OR('AcmeMSP.member', 'GlobexMSP.member')"))
}

fn definition() -> Definition {
    Definition { collections: vec![prices()], ..Definition::new("asset", "1.0") }
}

fn problems(definition: &Definition, previous: Option<&Definition>) -> Vec<String> {
    definition.check(&known(), previous).iter().map(ToString::to_string).collect()
}

#[test]
fn parameters_are_encoded_as_the_command_line_does() {
    let mut wanted = vec![0x12, 32];
    wanted.extend(b"/Channel/Application/Endorsement");
    assert_eq!(Endorsement::default().validation_parameter(), wanted);
    let policy = policy("AND('AcmeMSP.peer', 'GlobexMSP.peer')");
    let envelope = policy.to_bytes();
    let wanted = [&[0x0a, u8::try_from(envelope.len()).unwrap()], envelope.as_slice()].concat();
    assert_eq!(Endorsement::Signature(policy).validation_parameter(), wanted);
}

#[test]
fn parameters_are_read_back_and_never_lost() {
    let signature = Endorsement::Signature(policy("OutOf(2, 'AcmeMSP.peer', 'GlobexMSP.peer', 'HubMSP.admin')"));
    for endorsement in [Endorsement::default(), Endorsement::Reference("/Channel/Nowhere".to_owned()), signature] {
        let bytes = endorsement.validation_parameter();
        assert_eq!(Endorsement::from_validation_parameter(&bytes), endorsement);
    }
    assert_eq!(Endorsement::from_validation_parameter(&[]), Endorsement::default());
    // Text, another field, a signature policy without a rule, and a path followed by an unknown field.
    let with_more = [Endorsement::default().validation_parameter(), vec![0x18, 1]].concat();
    for bytes in [b"garbage".as_slice(), &[0x1a, 0], &[0x0a, 0], &with_more] {
        let read = Endorsement::from_validation_parameter(bytes);
        assert_eq!(read, Endorsement::Other(bytes.to_vec()));
        assert_eq!(read.validation_parameter(), bytes);
    }
}

#[test]
fn policies_are_shown_in_fabrics_language() {
    let shown = Endorsement::Signature(policy("AND('AcmeMSP.peer', OR('GlobexMSP.peer', 'HubMSP.peer'))")).to_string();
    assert_eq!(shown, "AND('AcmeMSP.peer', OR('GlobexMSP.peer', 'HubMSP.peer'))");
    assert_eq!(Endorsement::default().to_string(), "/Channel/Application/Endorsement");
    assert!(Endorsement::Other(vec![1]).to_string().starts_with("parameter of 1 bytes (sha256:4bf5"));
}

#[test]
fn collections_are_read_back() {
    let collections = [
        prices(),
        Collection {
            required_peer_count: 1,
            maximum_peer_count: 3,
            block_to_live: 1_000_000,
            member_only_read: true,
            member_only_write: true,
            endorsement: Some(Endorsement::Signature(policy("OR('AcmeMSP.peer')"))),
            ..Collection::new("offers", policy("OR('AcmeMSP.member')"))
        },
        Collection {
            endorsement: Some(Endorsement::default()),
            ..Collection::new("third", policy("OR('HubMSP.admin')"))
        },
        Collection { endorsement: Some(Endorsement::Other(Vec::new())), ..prices() },
    ];
    let wire = collections_to_wire(&collections).unwrap();
    let bytes = wire.encode_to_vec();
    let wire = CollectionConfigPackage::decode(bytes.as_slice()).unwrap();
    assert_eq!(collections_from_wire(Some(&wire)).unwrap(), collections);
    assert_eq!(collections_to_wire(&[]), None);
    assert_eq!(collections_from_wire(None).unwrap(), []);
    let empty = CollectionConfigPackage { config: vec![wire.config[0].clone(), CollectionConfig { payload: None }] };
    let error = collections_from_wire(Some(&empty)).unwrap_err();
    assert_eq!(error.to_string(), "the collection at position 1 cannot be read: it is empty");
}

#[test]
fn good_definitions_have_no_problems() {
    assert_eq!(problems(&definition(), None), [""; 0]);
    assert_eq!(problems(&definition(), Some(&definition())), [""; 0]);
    let more =
        Definition { collections: vec![Collection::new("-x_", policy("OR('HubMSP.peer')")), prices()], ..definition() };
    assert_eq!(problems(&more, Some(&definition())), [""; 0]);
    // A single principal without an OR around it.
    let single = SignaturePolicy {
        rule: SignatureRule::SignedBy(0),
        identities: vec![Principal::role("AcmeMSP", Role::Member)],
    };
    let single = Definition { collections: vec![Collection::new("c", single)], ..definition() };
    assert_eq!(problems(&single, None), [""; 0]);
}

#[test]
fn names_and_versions_are_held_to_fabrics_rules() {
    for good in ["a", "A-1_b", "0"] {
        assert!(is_chaincode_name(good), "{good}");
    }
    for bad in ["", "a b", "-a", "a-", "a--b", "a_-b", "é", "qscc", "_lifecycle", "a.b", "a\n"] {
        assert!(!is_chaincode_name(bad), "{bad}");
    }
    assert!(is_chaincode_version("1.0+a-b_") && is_chaincode_version("-"));
    assert!(!is_chaincode_version("") && !is_chaincode_version("1/2") && !is_chaincode_version("1 "));
    assert!(is_collection_name("-a_") && is_collection_name("a__"));
    assert!(!is_collection_name("") && !is_collection_name("_a") && !is_collection_name("a.b"));
    assert_eq!(
        problems(&Definition::new("no good", "1/2"), None),
        [
            "`no good` is no name of a chaincode: letters and digits, with single `-` and `_` between them",
            "`1/2` is no version of a chaincode: letters, digits, `_`, `.`, `+` and `-`",
        ]
    );
    assert_eq!(problems(&Definition::new("vscc", "1"), None), ["`vscc` is a system chaincode; choose another name"]);
}

#[test]
fn every_fault_of_a_collection_is_named() {
    let faulty = Collection {
        required_peer_count: -1,
        maximum_peer_count: -2,
        ..Collection::new(
            "_c",
            policy("AND('AcmeMSP.member', OR('UmbrellaMSP.member', AND('HubMSP.peer', 'HubMSP.admin')))"),
        )
    };
    assert_eq!(
        problems(&Definition { collections: vec![faulty.clone(), faulty], ..definition() }, None)[..6],
        [
            "`_c` is no name of a collection: letters, digits, `-` and `_`, the latter not first",
            "the collection _c requires -1 peers, but gives its data to -2 at most",
            "the collection _c requires -1 peers",
            "the member policy of the collection _c is AND('AcmeMSP.member', OR('UmbrellaMSP.member', \
             AND('HubMSP.peer', 'HubMSP.admin'))); members are named with OR only",
            "the member policy of the collection _c is AND('AcmeMSP.member', OR('UmbrellaMSP.member', \
             AND('HubMSP.peer', 'HubMSP.admin'))); members are named with OR only",
            "UmbrellaMSP, a member of the collection _c, is not part of the channel",
        ]
    );
    let twice = Definition { collections: vec![prices(), prices()], ..definition() };
    assert_eq!(problems(&twice, None), ["the collection prices is defined twice"]);
    let odd = SignaturePolicy {
        rule: SignatureRule::OutOf { n: 1, rules: vec![SignatureRule::SignedBy(1), SignatureRule::SignedBy(-1)] },
        identities: vec![Principal::Other { classification: 3, principal: Vec::new() }],
    };
    let found = problems(&Definition { collections: vec![Collection::new("c", odd)], ..definition() }, None);
    assert_eq!(
        found[..2],
        [
            "the member policy of the collection c points to principal 1, which does not exist",
            "the member policy of the collection c points to principal -1, which does not exist",
        ]
    );
    assert!(found[2].contains("principal of class 3") && found.len() == 3, "{found:?}");
}

#[test]
fn committed_collections_stay() {
    let none = Definition { collections: Vec::new(), ..definition() };
    assert_eq!(
        problems(&none, Some(&definition())),
        ["the collection prices is missing; a committed collection cannot be removed"]
    );
    let shorter = Definition { collections: vec![Collection { block_to_live: 9, ..prices() }], ..definition() };
    assert_eq!(
        problems(&shorter, Some(&definition())),
        ["the collection prices keeps its data for 9 blocks; that cannot change from 0"]
    );
}

fn shown(old: &Definition, new: &Definition) -> Vec<String> {
    old.differences(new).iter().map(ToString::to_string).collect()
}

#[test]
fn differences_are_readable() {
    let old = definition();
    let new = Definition {
        name: "other".to_owned(),
        version: "2.0".to_owned(),
        endorsement: Endorsement::Signature(policy("OR('AcmeMSP.peer')")),
        init_required: true,
        endorsement_plugin: "own".to_owned(),
        validation_plugin: "own".to_owned(),
        collections: vec![
            Collection {
                policy: policy("OR('AcmeMSP.member')"),
                required_peer_count: 1,
                maximum_peer_count: 2,
                block_to_live: 5,
                member_only_read: true,
                member_only_write: true,
                endorsement: Some(Endorsement::default()),
                ..prices()
            },
            Collection::new("offers", policy("OR('AcmeMSP.member')")),
        ],
    };
    assert_eq!(
        shown(&old, &new),
        [
            "name: asset -> other",
            "version: 1.0 -> 2.0",
            "endorsement: /Channel/Application/Endorsement -> OR('AcmeMSP.peer')",
            "initRequired: false -> true",
            "endorsementPlugin: escc -> own",
            "validationPlugin: vscc -> own",
            "collections: prices -> prices, offers",
            "collections.prices.policy: OR('AcmeMSP.member', 'GlobexMSP.member') -> OR('AcmeMSP.member')",
            "collections.prices.requiredPeerCount: 0 -> 1",
            "collections.prices.maximumPeerCount: 1 -> 2",
            "collections.prices.blockToLive: 0 -> 5",
            "collections.prices.memberOnlyRead: false -> true",
            "collections.prices.memberOnlyWrite: false -> true",
            "collections.prices.endorsement: that of the chaincode -> /Channel/Application/Endorsement",
        ]
    );
    let none = Definition { collections: Vec::new(), ..definition() };
    assert_eq!(shown(&old, &none), ["collections: prices -> none"]);
}

/// Peers compare bytes, so that what reads the same may differ.
#[test]
fn policies_that_only_look_equal_differ() {
    let one = policy("OR('AcmeMSP.peer', 'GlobexMSP.peer')");
    let swapped = SignaturePolicy {
        rule: SignatureRule::OutOf { n: 1, rules: vec![SignatureRule::SignedBy(1), SignatureRule::SignedBy(0)] },
        identities: one.identities.iter().rev().cloned().collect(),
    };
    assert_eq!(one.to_string(), swapped.to_string());
    let with = |policy: &SignaturePolicy| Definition {
        endorsement: Endorsement::Signature(policy.clone()),
        ..Definition::new("asset", "1")
    };
    let found = with(&one).differences(&with(&swapped));
    assert_eq!(found.len(), 1);
    assert!(found[0].old.contains("(sha256:") && found[0].old != found[0].new, "{found:?}");
}

fn any_endorsement() -> impl Strategy<Value = Endorsement> {
    prop_oneof![
        Just(Endorsement::default()),
        Just(Endorsement::Signature(policy("OR('AcmeMSP.peer')"))),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Endorsement::from_validation_parameter(&bytes)),
    ]
}

fn any_collection() -> impl Strategy<Value = Collection> {
    let policies = prop_oneof![Just("OR('AcmeMSP.peer')"), Just("AND('AcmeMSP.peer', 'UmbrellaMSP.peer')")];
    let flags = (any::<bool>(), any::<bool>());
    ("[ab_]", policies, -1..3i32, -1..3i32, 0..2u64, flags, prop::option::of(any_endorsement())).prop_map(
        |(name, text, required, maximum, blocks, (read, write), endorsement)| Collection {
            name,
            policy: policy(text),
            required_peer_count: required,
            maximum_peer_count: maximum,
            block_to_live: blocks,
            member_only_read: read,
            member_only_write: write,
            endorsement,
        },
    )
}

fn any_definition() -> impl Strategy<Value = Definition> {
    ("[a-]{1,2}", "[1/]", any_endorsement(), prop::collection::vec(any_collection(), 0..3), any::<bool>()).prop_map(
        |(name, version, endorsement, collections, init_required)| Definition {
            endorsement,
            collections,
            init_required,
            ..Definition::new(name, version)
        },
    )
}

proptest! {
    #[test]
    fn parameters_survive(bytes in prop::collection::vec(any::<u8>(), 1..80)) {
        prop_assert_eq!(Endorsement::from_validation_parameter(&bytes).validation_parameter(), bytes);
    }

    #[test]
    fn equal_definitions_alone_have_no_differences(one in any_definition(), other in any_definition()) {
        prop_assert!(one.differences(&one).is_empty());
        prop_assert_eq!(one.differences(&other).is_empty(), one == other);
        prop_assert_eq!(other.differences(&one).is_empty(), one == other);
    }

    /// Another way to say what the checks demand, for the definitions that these strategies make.
    #[test]
    fn checks_find_what_peers_refuse(definition in any_definition(), previous in any_definition()) {
        let names: Vec<_> = definition.collections.iter().map(|collection| collection.name.as_str()).collect();
        let kept = previous.collections.iter().all(|old| {
            definition.collections.iter().rev().find(|new| new.name == old.name)
                .is_some_and(|new| new.block_to_live == old.block_to_live)
        });
        let good = definition.name.trim_matches('-') == definition.name
            && definition.version == "1"
            && names.iter().all(|name| *name != "_")
            && names.iter().collect::<BTreeSet<_>>().len() == names.len()
            && definition.collections.iter().all(|collection| {
                collection.policy == policy("OR('AcmeMSP.peer')")
                    && (0..=collection.maximum_peer_count).contains(&collection.required_peer_count)
            });
        prop_assert_eq!(definition.check(&known(), None).is_empty(), good);
        prop_assert_eq!(definition.check(&known(), Some(&previous)).is_empty(), good && kept);
    }
}
