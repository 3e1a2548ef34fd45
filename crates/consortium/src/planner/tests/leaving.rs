//! Organizations that the file releases: what stays until the channels do without them, and what goes then.

use super::*;

/// The definition without an organization of the given lines, which is retired.
fn without(text: &str, name: &str, ledger: &str) -> String {
    let start = text.find(&format!("    - name: {name}")).expect(name);
    let next = ["    - name: ", "  channels:"].iter().filter_map(|next| text[start + 4..].find(next)).min();
    let end = start + 4 + next.expect("there is more");
    let retired = format!("  retired:\n    - {{organization: {name}, ledger: {ledger}}}\n");
    format!("{}{}{retired}", &text[..start], &text[end..])
}

fn settings_of(organization: &str) -> Settings {
    Settings { organizations: vec![organization.into()], ..settings() }
}

/// The world of a daemon that hosts one organization only.
fn world_of(text: &str, settings: &Settings) -> Observed {
    let desired = wanted_by(text, settings);
    let mut world = converged(text);
    world.objects.retain(|object, _| desired.objects.contains_key(object));
    world.held.clear();
    look(&mut world, &desired);
    assert_eq!(plan(&desired, &world, None).steps.len(), 0);
    world
}

#[test]
fn a_leaving_member_keeps_its_nodes_until_the_others_took_it_out() {
    let settings = settings_of("globex");
    let mut world = world_of(EXAMPLE, &settings);
    let released = without(&edited(("[acme, globex]", "[acme]")), "globex", "delete");
    let desired = wanted_by(&released, &settings);
    assert!(desired.refusals.is_empty() && desired.channels.is_empty(), "{:?}", desired.refusals);
    look(&mut world, &desired);
    let before = plan(&desired, &world, None);
    insta::assert_snapshot!(render(&before));
    // Approved or not: the channel has it.
    let yes = approved(desired.clone(), &before);
    for id in ["remove/peer/trade-globex/peer1", "remove/membership/trade-globex/settlement"] {
        let stopped = plan(&yes, &world, None);
        assert!(step(&stopped, id).blocked.is_some() && step(&stopped, id).unseen.is_some(), "{}", render(&stopped));
    }
    let seen = world.channels["settlement"].clone();
    // Whoever does not look at the channel knows nothing of it, and a record that cannot be read is no record of nothing.
    let mut blind = world.clone();
    blind.channels.clear();
    assert!(step(&plan(&yes, &blind, None), "remove/peer/trade-globex/peer1").blocked.is_some());
    blind.held.values_mut().for_each(|held| *held = Observation::Unreachable { evidence: "timed out".into() });
    assert!(step(&plan(&yes, &blind, None), "remove/peer/trade-globex/peer1").blocked.is_some());
    blind.held.clear();
    assert!(step(&plan(&yes, &blind, None), "remove/peer/trade-globex/peer1").blocked.is_some());
    let mut unread = world.clone();
    unread.channels.get_mut("settlement").unwrap().config = Observation::Unreachable { evidence: "timed out".into() };
    for id in ["remove/peer/trade-globex/peer1", "remove/membership/trade-globex/settlement"] {
        assert!(step(&plan(&yes, &unread, None), id).blocked.is_some(), "{id}");
    }
    // The others have signed: it goes, its ledger only with an approval.
    let mut out = world.clone();
    let value = updated(&wanted(&released), "settlement", "member/globex", seen.config.value().unwrap());
    out.channels.get_mut("settlement").unwrap().config = Observation::Present { value };
    // Its own nodes do not learn of it; that the others' orderers refuse it is what it sees.
    let mut refused = world.clone();
    refused.channels.get_mut("settlement").unwrap().refused = Some("403".into());
    for mut world in [out, refused] {
        let asked = plan(&desired, &world, None);
        assert!(step(&asked, "remove/membership/trade-globex/settlement").blocked.is_none(), "{}", render(&asked));
        let peer = step(&asked, "remove/peer/trade-globex/peer1");
        assert!(peer.is_unapproved() && peer.is_gated(), "{}", render(&asked));
        let plan = plan(&yes, &world, None);
        assert!(plan.steps.values().all(|step| step.blocked.is_none()), "{}", render(&plan));
        apply(&mut world, &yes, &plan);
        let left: Vec<Kind> = world.objects.keys().map(|object| object.kind).collect();
        assert_eq!(left, [Kind::Organization, Kind::CertificateAuthority], "nothing of keys is deleted");
        let again = super::plan(&yes, &world, None);
        assert_eq!(again.steps.len(), 0, "{}", render(&again));
    }
}

#[test]
fn the_host_of_everybody_deletes_a_ledger_after_the_update_and_an_approval() {
    let released = without(&edited(("[acme, globex]", "[acme]")), "globex", "delete");
    let mut world = converged(EXAMPLE);
    let asked = plan_of(&released, &mut world);
    let peer = step(&asked, "remove/peer/trade-globex/peer1");
    assert!(peer.is_unapproved() && peer.is_gated(), "{peer:?}");
    let desired = approved(wanted(&released), &asked);
    let plan = plan(&desired, &world, None);
    let peer = step(&plan, "remove/peer/trade-globex/peer1");
    assert!(peer.blocked.is_none() && !peer.needs.is_empty(), "{peer:?}");
    apply(&mut world, &desired, &plan);
    assert!(!world.objects.contains_key(&object(Kind::Peer, "trade-globex", "peer1")));
}

#[test]
fn the_orderers_of_a_leaving_member_are_known_by_their_objects() {
    let text = "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {name: trade}\nspec:\n  organizations:\n    - name: org0\n      \
                orderers: [orderer1, orderer2, orderer3]\n      peers: [peer1]\n    - name: org1\n      orderers: [orderer1]\n  channels:\n    \
                - {name: channel0, members: [org0], consensus: {consenters: [org0/orderer1, org0/orderer2, org0/orderer3, \
                org1/orderer1]}}\n";
    let settings = settings_of("org1");
    let mut world = world_of(text, &settings);
    let released = without(&text.replace(", org1/orderer1", ""), "org1", "keep");
    let desired = wanted_by(&released, &settings);
    look(&mut world, &desired);
    let plan = plan(&desired, &world, None);
    let Step::UpdateObject { spec, .. } = &step(&plan, "channel/tenter-system/channel0").step else { panic!() };
    let spec = ChannelSpec::deserialize(spec).unwrap();
    let known: Vec<&str> = spec.consensus.released.iter().map(|orderer| orderer.address.as_str()).collect();
    assert_eq!(
        (spec.retired.as_slice(), known.as_slice()),
        (&["org1".to_owned()][..], &["orderer1.trade-org1.svc:7050"][..])
    );
    assert!(spec.consensus.consenters.iter().all(|consenter| consenter.organization == "org0"));
    let orderer = step(&plan, "remove/orderer/trade-org1/orderer1");
    assert!(orderer.blocked.as_ref().is_some_and(|why| why.contains("consenter")), "{orderer:?}");
}
