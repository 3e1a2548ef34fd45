//! Who must sign.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::config::{ApplicationOrganization, ChannelConfig, Consensus, OrdererOrganization, RaftOptions};
use crate::msp::{MspDefinition, Pem};
use crate::policy::defaults::{application_organization, orderer_organization};
use crate::policy::{Judge, Policy, Requirement, Role, Signer};

const ADMINS: &str = "/Channel/Application/Admins";

/// A channel of `HubMSP` and `members` organisations A0MSP, A1MSP, ... with the usual policies.
fn channel(members: usize) -> ChannelConfig {
    let msp = |msp_id: &str| MspDefinition::new(msp_id, Pem::default(), Pem::default());
    let mut config =
        ChannelConfig::new(Consensus::EtcdRaft { consenters: Vec::new(), options: RaftOptions::default() });
    let hub =
        OrdererOrganization { msp: msp("HubMSP"), endpoints: Vec::new(), policies: orderer_organization("HubMSP") };
    config.orderer.organizations.insert("hub".to_owned(), hub);
    for number in 0..members {
        let msp_id = format!("A{number}MSP");
        let member = ApplicationOrganization {
            msp: msp(&msp_id),
            anchors: Vec::new(),
            policies: application_organization(&msp_id),
        };
        config.application.organizations.insert(format!("a{number}"), member);
    }
    config
}

fn admins(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<Signer> {
    numbers.into_iter().map(|number| Signer::admin(format!("A{number}MSP"))).collect()
}

fn with_hub(mut signers: BTreeSet<Signer>) -> BTreeSet<Signer> {
    signers.insert(Signer::admin("HubMSP"));
    signers
}

#[test]
fn the_usual_policies_in_words_and_sets() {
    let judge = Judge::new(&channel(3));
    let members = judge.needed([ADMINS], &[]);
    assert_eq!(members.to_string(), "admins of 2 of A0MSP, A1MSP and A2MSP");
    assert_eq!(members.minimal_sets(10), [admins([0, 1]), admins([0, 2]), admins([1, 2])]);
    assert_eq!(members.minimal_sets(2).len(), 2);
    let both = judge.needed(["/Channel/Admins", ADMINS, "/Channel/Orderer/Admins"], &[]);
    assert_eq!(both.to_string(), "admins of 2 of A0MSP, A1MSP and A2MSP and an admin of HubMSP");
    assert_eq!(both.minimal_sets(10).len(), 3);
    assert_eq!(both.choose(&with_hub(admins(0..3))), Some(with_hub(admins([0, 1]))));
    assert_eq!(both.choose(&admins(0..3)), None);
    let writers = judge.needed(["/Channel/Application/a1/Writers"], &[]);
    assert_eq!(writers.to_string(), "an admin of A1MSP or a client of A1MSP");
}

#[test]
fn a_hundred_organizations_are_no_trouble() {
    let judge = Judge::new(&channel(100));
    let needed = judge.needed(["/Channel/Admins", ADMINS], &[]);
    assert_eq!(
        needed.to_string(),
        "admins of 51 of A0MSP, A1MSP, A10MSP, A11MSP, A12MSP, A13MSP, A14MSP, A15MSP and 92 more and an admin of HubMSP"
    );
    let chosen = needed.choose(&with_hub(admins(0..100))).unwrap();
    assert_eq!(chosen.len(), 52);
    assert_eq!(needed.choose(&with_hub(admins(0..50))), None);
    let sets = needed.minimal_sets(5);
    assert_eq!(sets.iter().map(BTreeSet::len).collect::<Vec<_>>(), [52; 5]);
}

fn with_policy(rule: &str) -> Judge {
    let mut config = channel(2);
    config.application.policies.insert("Admins".to_owned(), Policy::Signature(rule.parse().unwrap()));
    Judge::new(&config)
}

#[test]
fn what_one_administrator_cannot_give() {
    let check = |rule: &str, words: &str, available: &[(&str, Role)], chosen: Option<usize>| {
        let judge = with_policy(rule);
        let needed = judge.needed([ADMINS], &[]);
        assert_eq!(needed.to_string(), words);
        let available = available.iter().map(|(msp_id, role)| Signer { msp_id: (*msp_id).to_owned(), role: *role });
        assert_eq!(needed.choose(&available.collect()).map(|set| set.len()), chosen, "{rule}");
    };
    let (admin, client) = (("A0MSP", Role::Admin), ("A0MSP", Role::Client));
    // Each leaf takes a signer of its own, and the order in which they stand lets it.
    check("AND('A0MSP.member', 'A0MSP.admin')", "a member of A0MSP and an admin of A0MSP", &[admin, client], Some(2));
    check("AND('A0MSP.member', 'A0MSP.client')", "a member of A0MSP and a client of A0MSP", &[admin, client], Some(2));
    check("AND('A0MSP.member', 'A0MSP.admin')", "a member of A0MSP and an admin of A0MSP", &[admin], None);
    check("AND('A0MSP.admin', 'A0MSP.admin')", "2 different admins of A0MSP", &[admin, client], None);
    check("OR('A0MSP.peer', 'X.admin')", "a peer of A0MSP or an admin of X", &[admin], None);
    check("OutOf(3, 'X.admin', 'Y.admin')", "what nobody can give", &[admin], None);
    check("OutOf(0, 'X.admin')", "nothing", &[], Some(0));
}

#[test]
fn a_policy_that_is_not_there_needs_what_nobody_can_give() {
    let judge = Judge::new(&channel(1));
    let needed = judge.needed(["/Channel/Nothing"], &[]);
    assert_eq!(needed.choose(&with_hub(admins(0..1))), None);
    assert!(!judge.is_satisfiable("/Channel/Nothing"));
    assert_eq!(needed.missing(), [("/Channel/Nothing", "what nobody can give".to_owned())]);
}

#[test]
fn what_the_members_could_satisfy() {
    let check = |rule: &str, possible: bool| {
        let judge = with_policy(rule);
        assert_eq!(judge.is_satisfiable("/Channel/Admins"), possible, "{rule}");
        let requirement = judge.needed(["/Channel/Admins"], &[]);
        assert_eq!(requirement.is_possible(), possible, "{rule}");
        let nobody = |signer: &Signer| signer.msp_id == "Nobody";
        assert!(!requirement.present().iter().any(nobody), "{rule}");
        assert!(!requirement.minimal_sets(8).iter().flatten().any(nobody), "{rule}");
    };
    check("OR('A0MSP.admin', 'Nobody.admin')", true);
    check("AND('A0MSP.admin', 'Nobody.admin')", false);
    check("OutOf(2, 'A0MSP.admin')", false);
}

/// A rule over a few organisations.
fn rule() -> impl Strategy<Value = String> {
    let role = prop::sample::select(vec!["admin", "member", "client", "peer"]);
    let leaf = (0..4usize, role).prop_map(|(number, role)| format!("'A{number}MSP.{role}'"));
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop::collection::vec(inner, 1..4)
            .prop_flat_map(|rules| (0..=rules.len()).prop_map(move |n| format!("OutOf({n}, {})", rules.join(", "))))
    })
    .prop_map(|rule| if rule.starts_with('\'') { format!("OR({rule})") } else { rule })
}

fn signers() -> impl Strategy<Value = BTreeSet<Signer>> {
    let role = prop::sample::select(vec![Role::Admin, Role::Client, Role::Peer]);
    let signer = (0..4usize, role).prop_map(|(number, role)| Signer { msp_id: format!("A{number}MSP"), role });
    prop::collection::btree_set(signer, 0..8)
}

fn holds(judge: &Judge, paths: &[&str], set: &BTreeSet<Signer>) -> bool {
    let requirement: Requirement<'_> = judge.needed(paths.iter().copied(), &[]);
    requirement.would_be_satisfied_by(set)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_choice_holds_and_is_minimal(one in rule(), two in rule(), available in signers()) {
        let mut config = channel(4);
        for (name, rule) in [("One", &one), ("Two", &two)] {
            config.application.policies.insert(name.to_owned(), Policy::Signature(rule.parse().unwrap()));
        }
        let judge = Judge::new(&config);
        let paths = ["/Channel/Application/One", "/Channel/Application/Two", ADMINS];
        let requirement = judge.needed(paths, &[]);
        if let Some(chosen) = requirement.choose(&available) {
            prop_assert!(chosen.is_subset(&available));
            prop_assert!(holds(&judge, &paths, &chosen));
            for member in &chosen {
                let mut fewer = chosen.clone();
                fewer.remove(member);
                prop_assert!(!holds(&judge, &paths, &fewer), "{} is not needed", member);
            }
        } else {
            let all: Vec<&Signer> = available.iter().collect();
            for mask in 0..1u32 << all.len() {
                let set = all.iter().enumerate().filter(|(place, _)| mask & (1 << place) != 0);
                let set = set.map(|(_, signer)| (*signer).clone()).collect();
                prop_assert!(!holds(&judge, &paths, &set), "{:?} would do", set);
            }
        }
        for set in requirement.minimal_sets(20) {
            prop_assert!(holds(&judge, &paths, &set));
        }
    }

    #[test]
    fn a_choice_among_many_is_as_small_as_the_majority(
        members in 9..30usize,
        missing in prop::collection::btree_set(0..30usize, 0..12),
        hub in any::<bool>(),
    ) {
        let judge = Judge::new(&channel(members));
        let present = admins((0..members).filter(|number| !missing.contains(number)));
        let available = if hub { with_hub(present.clone()) } else { present.clone() };
        let majority = members / 2 + 1;
        let possible = hub && present.len() >= majority;
        let chosen = judge.needed([ADMINS, "/Channel/Admins"], &[]).choose(&available);
        prop_assert_eq!(chosen.map(|set| set.len()), possible.then_some(majority + 1));
    }
}
