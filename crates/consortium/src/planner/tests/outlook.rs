//! What plans say of what will come of them: between two definitions, one step after the other, and for those who could
//! not change anything afterwards.

use jiff::{SignedDuration, Timestamp};
use tenter_fabric::config::CurrentConfig;

use super::*;
use crate::channel_config::lock_out;
use crate::expiry::expiring;
use crate::plan::{NoteLevel, Passing};
use crate::repository::approval::Approval;

fn between(was: &str, asked: &str) -> Plan {
    let (was, asked) = (wanted(was).into(), wanted(asked).into());
    model::plan_between(&was, &asked, "main (0123abc)", Some("4567def")).unwrap().plan
}

fn signing<'a>(plan: &'a Plan, id: &str) -> &'a crate::plan::Signing {
    let Step::UpdateChannelConfig { signing, .. } = &step(plan, id).step else { panic!("{id}") };
    signing
}

const INITECH: (&str, &str) = ("  channels:", "    - name: initech\n      peers: [peer1]\n  channels:");

fn with_initech() -> String {
    edited(INITECH).replace("[acme, globex]", "[acme, globex, initech]")
}

#[test]
fn two_revisions_are_compared_without_a_cluster() {
    let same = between(EXAMPLE, EXAMPLE);
    assert_eq!((same.steps.len(), same.notes.len()), (0, 1), "{}", render(&same));
    assert_eq!((same.notes[0].level, same.notes[0].code.as_str()), (NoteLevel::Info, "Compared"));
    insta::assert_snapshot!(render(&between(EXAMPLE, &with_initech())));
    // What the cluster's certificates decide is not made up: the new member's are not known, nor is any update's digest.
    let plan = between(EXAMPLE, &edited(POLICY));
    let Step::UpdateChannelConfig { digest, .. } = &step(&plan, "channel-config/settlement/policies").step else {
        panic!()
    };
    assert_eq!(*digest, None);
}

#[test]
fn another_address_of_a_consenter_is_the_same_consenter() {
    let text = edited((
        "[orderer1, orderer2, orderer3]",
        "[orderer1, orderer2, {name: orderer3, address: 'o3.example:7050'}]",
    ));
    let plan = between(EXAMPLE, &text);
    assert_eq!(step(&plan, "channel-config/settlement/consenters").blocked, None, "{}", render(&plan));
}

#[test]
fn everything_is_new_where_there_was_no_definition() {
    let nothing = model::Revision::default();
    let plan = model::plan_between(&nothing, &wanted(EXAMPLE).into(), "nothing", None).unwrap().plan;
    assert!(plan.steps.contains_key(&StepId("genesis/settlement".into())), "{}", render(&plan));
    assert!(plan.steps.values().all(|planned| planned.blocked.is_none()), "{}", render(&plan));
}

#[test]
fn a_chaincode_that_changes_has_a_sequence_that_only_the_ledger_knows() {
    let with = |version: &str| {
        let source = "{image: \"docker.io/hyperledger/asset:1\"}";
        format!(
            "{EXAMPLE}  chaincodes:\n    - {{name: asset, channel: settlement, version: {version}, source: {source}}}\n"
        )
    };
    let sequence = |plan: &Plan| {
        let Step::DeployChaincode { sequence, .. } = &step(plan, "chaincode/settlement/asset").step else { panic!() };
        *sequence
    };
    assert_eq!(sequence(&between(EXAMPLE, &with("v1"))), Some(1));
    assert_eq!(sequence(&between(&with("v1"), &with("v2"))), None);
}

/// The policies change when the new member is in: it counts for who must sign them.
#[test]
fn each_update_is_judged_by_what_the_earlier_ones_leave() {
    let alone = plan_of(&edited(POLICY), &mut converged(EXAMPLE));
    let after = with_initech().replacen(
        "      members: [acme, globex, initech]",
        "      members: [acme, globex, initech]\n      policies: {application: {Endorsement: ANY Endorsement}}",
        1,
    );
    let after = plan_of(&after, &mut converged(EXAMPLE));
    let policies = "channel-config/settlement/policies";
    let (alone, after) = (signing(&alone, policies), signing(&after, policies));
    assert!(!alone.required.contains("InitechMSP"), "{alone:?}");
    assert!(after.required.contains("InitechMSP"), "{after:?}");
    assert_eq!((&alone.passes, &after.passes), (&Some(Passing::Yes), &Some(Passing::Yes)));
}

#[test]
fn updates_that_others_must_sign_pass_with_them() {
    let mut world = converged(EXAMPLE);
    let settings = Settings { organizations: vec!["hub".into()], ..settings() };
    let desired = wanted_by(&edited(POLICY), &settings);
    look(&mut world, &desired);
    let plan = plan(&desired, &world, None);
    assert_eq!(signing(&plan, "channel-config/settlement/policies").passes, Some(Passing::WithOthers));
}

#[test]
fn nobody_is_locked_out() {
    // Peers can endorse, and administrators are none: Fabric would take it, and no administrator could change anything.
    let admins = "      members: [acme, globex]\n      policies: {application: {Admins: MAJORITY Endorsement}}";
    let text = edited(("      members: [acme, globex]", admins));
    let plan = plan_of(&text, &mut converged(EXAMPLE));
    let blocked = step(&plan, "channel-config/settlement/policies").blocked.clone().unwrap_or_default();
    assert!(blocked.contains("lock everybody out") && blocked.contains("/Channel/Application/Admins"), "{blocked}");
    // A channel does not begin so either.
    let plan = plan_of(&text, &mut Observed::default());
    let blocked = step(&plan, "genesis/settlement").blocked.clone().unwrap_or_default();
    assert!(blocked.contains("lock everybody out"), "{blocked}");
}

#[test]
fn what_was_locked_before_is_no_reason() {
    let desired = wanted(&edited((
        "      members: [acme, globex]",
        "      members: [acme, globex]\n      policies: {application: {Admins: MAJORITY Endorsement}}",
    )));
    let spec = spec_of(&desired, "settlement");
    let config = crate::channel_config::first_config(&spec, &material(&spec)).unwrap();
    let current = CurrentConfig::from_bytes("settlement", &config.to_config_bytes()).unwrap();
    assert!(lock_out(None, &current).is_some());
    assert_eq!(lock_out(Some(&current), &current), None);
}

#[test]
fn a_restart_tells_whether_the_channel_goes_on() {
    let image = |text: &str| text.replace("version: \"3.1\"", "version: \"3.1.5\"");
    let meanwhile = |text: &str, id: &str| {
        let plan = plan_of(&image(text), &mut converged(text));
        let restart = step(&plan, id).effects.restart.clone().unwrap();
        let [one] = restart.meanwhile.as_slice() else { panic!("{restart:?}") };
        (one.left, one.of, one.needed, one.goes_on())
    };
    assert_eq!(meanwhile(EXAMPLE, "orderer/trade-hub/orderer1"), (2, 3, Some(2), true));
    assert_eq!(meanwhile(EXAMPLE, "peer/trade-acme/peer1"), (1, 2, None, true));
    assert_eq!(meanwhile(EXAMPLE, "peer/trade-globex/peer1"), (0, 1, None, false));
    let one = edited(("[orderer1, orderer2, orderer3]", "[orderer1]"));
    assert_eq!(meanwhile(&one, "orderer/trade-hub/orderer1"), (0, 1, Some(1), false));
    // One that does not serve leaves fewer.
    let mut world = converged(EXAMPLE);
    let seen = world.channels.get_mut("settlement").unwrap().orderers.get_mut(&node("trade-hub", "orderer2")).unwrap();
    seen.live = Observation::Unreachable { evidence: "connection refused".into() };
    let plan = plan_of(&image(EXAMPLE), &mut world);
    let restart = step(&plan, "orderer/trade-hub/orderer1").effects.restart.clone().unwrap();
    assert!(!restart.meanwhile[0].goes_on(), "{restart:?}");
}

#[test]
fn what_cannot_be_undone_waits_for_an_approval() {
    let mut settings =
        Settings { approvals: ApprovalSettings { required: true, ..ApprovalSettings::default() }, ..settings() };
    let planned = |settings: &Settings, world: &mut Observed| {
        let desired = wanted_by(EXAMPLE, settings);
        look(world, &desired);
        (plan(&desired, world, None), desired)
    };
    let mut world = Observed::default();
    let (first, desired) = planned(&settings, &mut world);
    let genesis = step(&first, "genesis/settlement");
    assert!(genesis.blocked.as_ref().is_some_and(|why| why.contains(&first.hash[..12])), "{genesis:?}");
    assert!(step(&first, "join-peer/settlement/trade-acme/peer1").blocked.is_some());
    assert_eq!(step(&first, "peer/trade-acme/peer1").blocked, None, "the rest goes on");
    assert_eq!(check(&first), []);
    let approved = super::super::approvals(first.steps.values());
    assert_eq!(approved.len(), 1);
    // The world moves while the rest is done; what was approved stays so.
    apply(&mut world, &desired, &first);
    settings.approvals.approved = approved;
    let (second, desired) = planned(&settings, &mut world);
    assert_ne!(first.hash, second.hash);
    assert!(second.steps.values().all(|planned| planned.blocked.is_none()), "{}", render(&second));
    apply(&mut world, &desired, &second);
    assert_eq!(planned(&settings, &mut world).0.steps.len(), 0);
    // Another channel is something else.
    let (other, _) = {
        let desired = wanted_by(&edited(POLICY), &settings);
        let mut world = Observed::default();
        look(&mut world, &desired);
        (plan(&desired, &world, None), desired)
    };
    assert!(step(&other, "genesis/settlement").blocked.is_some());
}

#[test]
fn a_signed_file_approves_where_the_settings_name_its_organization() {
    let planned = |given: &[Approval], counted: &[&str]| {
        let counted = counted.iter().map(|name| (*name).to_owned()).collect();
        let approvals = ApprovalSettings { required: true, organizations: counted, ..ApprovalSettings::default() };
        let desired = Desired { given: given.to_vec(), ..wanted_by(EXAMPLE, &Settings { approvals, ..settings() }) };
        plan(&desired, &model::nothing(&desired, "404"), None)
    };
    let genesis = |plan: &Plan| step(plan, "genesis/settlement").clone();
    let first = planned(&[], &["acme"]);
    let digest = genesis(&first).approval.unwrap().digest;
    let approval = |organization: &str, digest: &str| Approval {
        hash: first.hash.clone(),
        organization: organization.to_owned(),
        reason: "as agreed".to_owned(),
        expires: Timestamp::MAX,
        steps: [(digest.to_owned(), "pin it".to_owned())].into(),
    };
    let of_acme = [approval("acme", &digest)];
    let approved = planned(&of_acme, &["acme"]);
    assert_eq!(genesis(&approved).blocked, None, "{}", render(&approved));
    assert_eq!(genesis(&approved).approval.unwrap().by, ["acme"]);
    assert!(approved.notes.iter().any(|note| note.code == "Approved" && note.message.contains("as agreed")));
    assert_eq!(genesis(&planned(&of_acme, &["*"])).blocked, None);
    // The daemon's own settings say whose word counts: nobody's, unless they name somebody.
    for counted in [&[][..], &["globex"]] {
        let plan = planned(&of_acme, counted);
        let why = genesis(&plan).blocked.unwrap_or_default();
        assert!(why.contains("acme did in the repository") && why.contains("spec.approvals.organizations"), "{why}");
        assert_eq!(genesis(&plan).approval.unwrap().by, ["acme"], "it is shown all the same");
    }
    // What is approved is this step.
    let other = planned(&[approval("acme", "0123")], &["acme"]);
    assert!(genesis(&other).blocked.is_some());
    assert!(other.notes.iter().all(|note| note.code != "Approved"));
}

/// An update that cannot be undone is approved as every such step is, or at its Proposal by the digest of its bytes; another
/// update of the same capabilities is not.
#[test]
fn a_raised_capability_is_approved_and_no_other() {
    let text = |channel: &str, application: &str| {
        let capabilities = format!("      capabilities: {{channel: {channel}, application: {application}}}");
        edited(("      members: [acme, globex]", &format!("      members: [acme, globex]\n{capabilities}")))
    };
    let approvals = |approved: &[&str], organizations: &[&str]| ApprovalSettings {
        required: true,
        approved: approved.iter().map(|digest| (*digest).to_owned()).collect(),
        organizations: organizations.iter().map(|name| (*name).to_owned()).collect(),
    };
    let mut world = converged(&text("V2_0", "V2_0"));
    let mut planned = |levels: (&str, &str), approvals: ApprovalSettings, given: &[Approval], at: Option<&str>| {
        let desired = wanted_by(&text(levels.0, levels.1), &Settings { approvals, ..settings() });
        let desired = Desired { given: given.to_vec(), ..desired };
        look(&mut world, &desired);
        world.channels.get_mut("settlement").unwrap().approved = at.into_iter().map(str::to_owned).collect();
        step(&plan(&desired, &world, None), "channel-config/settlement/capabilities").clone()
    };
    let check = |planned: &PlannedStep, approved: bool| {
        assert_eq!(planned.blocked.is_none(), approved, "{planned:?}");
        assert_eq!(planned.approval.as_ref().unwrap().given, approved, "{planned:?}");
    };
    let (raised, other) = (("V2_0", "V2_5"), ("V3_0", "V2_0"));
    let open = planned(raised, approvals(&[], &[]), &[], None);
    check(&open, false);
    let digest = open.approval.unwrap().digest;
    let file = Approval {
        hash: String::new(),
        organization: "acme".to_owned(),
        reason: String::new(),
        expires: Timestamp::MAX,
        steps: [(digest.clone(), "raise it".to_owned())].into(),
    };
    let file = [file];
    let Step::UpdateChannelConfig { digest: Some(update), .. } = open.step else { panic!("{:?}", open.step) };
    check(&planned(raised, approvals(&[&digest], &[]), &[], None), true);
    check(&planned(raised, approvals(&[], &["acme"]), &file, None), true);
    check(&planned(raised, approvals(&[], &["globex"]), &file, None), false);
    check(&planned(raised, approvals(&[], &[]), &[], Some(&update)), true);
    check(&planned(raised, approvals(&[], &[]), &[], Some("0123")), false);
    check(&planned(other, approvals(&[&digest], &["acme"]), &file, Some(&update)), false);
    // Where no step has to wait, an update that cannot be undone does all the same: what is approved is told.
    let asked = |approved: &[&str]| ApprovalSettings { required: false, ..approvals(approved, &[]) };
    assert!(planned(raised, asked(&[]), &[], None).is_unapproved());
    assert!(!planned(raised, asked(&[&digest]), &[], None).is_unapproved());
}

#[test]
fn drift_of_an_object_names_who_wrote_it() {
    let mut world = converged(EXAMPLE);
    let live = world.objects.get_mut(&object(Kind::Peer, "trade-acme", "peer1")).unwrap();
    live.spec["image"] = json!("docker.io/hyperledger/fabric-peer:other");
    live.spec["resources"]["memory"] = json!("7Gi");
    live.managers.insert("spec.image".into(), "kubectl-edit".into());
    let plan = plan_of(EXAMPLE, &mut world);
    let Step::UpdateObject { changes, drift, .. } = &step(&plan, "peer/trade-acme/peer1").step else { panic!() };
    assert_eq!(changes.len(), 2);
    assert_eq!(drift, &["spec.image was changed on the cluster by kubectl-edit"]);
}

#[test]
fn certificates_that_end_within_the_horizon_are_named() {
    let world = converged(EXAMPLE);
    let end = "2069-12-07T00:00:00Z".parse::<Timestamp>().unwrap();
    let codes = |now: Timestamp, days: i64| -> Vec<String> {
        expiring(&world, now, SignedDuration::from_hours(24 * days)).into_iter().map(|note| note.code).collect()
    };
    assert_eq!(codes(end - SignedDuration::from_hours(24 * 60), 30), [""; 0]);
    let soon = codes(end - SignedDuration::from_hours(24 * 20), 30);
    // Two roots of three organizations, and three consenters.
    assert_eq!((soon.len(), soon.iter().all(|code| code == "Expires")), (9, true), "{soon:?}");
    assert!(codes(end + SignedDuration::from_hours(24), 0).iter().all(|code| code == "Expired"));
}

const TLS: (&str, &str) = ("tls certificate", "2026-03-20T00:00:00Z");
const ENROLMENT: (&str, &str) = ("enrolment certificate", "2026-02-20T00:00:00Z");

#[test]
fn certificates_of_nodes_and_authorities_that_end_within_the_horizon_are_named() {
    let mut world = converged(EXAMPLE);
    let now = "2026-03-01T00:00:00Z".parse::<Timestamp>().unwrap();
    let mut ends = |kind, namespace: &str, name: &str, certificates: &[(&str, &str)]| {
        let live = world.objects.get_mut(&object(kind, namespace, name)).unwrap();
        live.certificates = certificates.iter().map(|(name, end)| ((*name).to_owned(), (*end).to_owned())).collect();
    };
    ends(Kind::Peer, "trade-acme", "peer1", &[TLS, ENROLMENT]);
    ends(Kind::Orderer, "trade-hub", "orderer1", &[("tls certificate", "2026-05-20T00:00:00Z"), ("other", "soon")]);
    ends(Kind::CertificateAuthority, "trade-acme", "ca", &[("clients root", "2026-03-30T00:00:00Z")]);
    let notes = |days: i64| -> Vec<String> {
        let found = expiring(&world, now, SignedDuration::from_hours(24 * days)).into_iter();
        let first = |message: String| message.split(':').next().unwrap_or_default().to_owned();
        found.map(|note| format!("{} {}: {}", note.code, note.subject, first(note.message))).collect()
    };
    let ended = "Expired Peer trade-acme/peer1: the enrolment certificate ended on 2026-02-20T00";
    let authority = "Expires CertificateAuthority trade-acme/ca: the clients root ends on 2026-03-30T00";
    let tls = "Expires Peer trade-acme/peer1: the tls certificate ends on 2026-03-20T00";
    assert_eq!(notes(0), [ended]);
    assert_eq!(notes(30), [ended, authority, tls]);
    assert_eq!(notes(90).len(), 4, "the orderer's too; of what is no time nothing is said");
}
