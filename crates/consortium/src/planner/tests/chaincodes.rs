//! Plans of chaincodes in the model world.

use std::fmt::Write as _;

use super::*;
use crate::observed::DefinitionAuthor;

const KEY: &str = "settlement/asset";

pub(super) fn render(step: &Step) -> String {
    let Step::DeployChaincode { sequence, changes, package, install, approve, commit, signing, waits, drift, .. } =
        step
    else {
        return String::new();
    };
    let mut out = String::new();
    for change in changes {
        writeln!(out, "  {}: {} -> {}", change.path, json!(change.from), json!(change.to)).unwrap();
    }
    let install: Vec<String> = install.iter().map(ToString::to_string).collect();
    writeln!(out, "  sequence {sequence:?} of {package}").unwrap();
    writeln!(out, "  install [{}], approve [{}], commit {commit}", install.join(", "), approve.join(", ")).unwrap();
    writeln!(out, "  must approve: {}; will: {}", signing.required, signing.own.join(", ")).unwrap();
    for (what, text) in [("missing", signing.missing.clone()), ("drift", drift.clone())] {
        if let Some(text) = text {
            writeln!(out, "  {what}: {text}").unwrap();
        }
    }
    if !waits.is_empty() {
        writeln!(out, "  waits for {}", waits.join(", ")).unwrap();
    }
    out
}

/// The example with a chaincode.
fn example(rest: &str) -> String {
    with("docker.io/hyperledger/asset:1.0", "1.0", rest)
}

fn with(image: &str, version: &str, rest: &str) -> String {
    let chaincode =
        format!("{{name: asset, channel: settlement, version: \"{version}\", source: {{image: \"{image}\"}}{rest}}}");
    format!("{EXAMPLE}  chaincodes:\n    - {chaincode}\n")
}

#[test]
fn a_new_chaincode_on_a_live_channel() {
    let mut world = converged(EXAMPLE);
    let text = example(", collections: [{name: prices, members: [globex, acme]}]");
    insta::assert_snapshot!(super::render(&plan_of(&text, &mut world)));
    let desired = wanted(&text);
    let first = plan(&desired, &world, None);
    super::apply(&mut world, &desired, &first);
    let again = plan_of(&text, &mut world);
    assert_eq!((again.steps.len(), again.notes.len()), (0, 0), "{}", super::render(&again));
}

#[test]
fn an_empty_world_gets_channel_and_chaincode_in_one_plan() {
    let text = example("");
    let plan = plan_of(&text, &mut Observed::default());
    let deploy = step(&plan, "chaincode/settlement/asset");
    assert_eq!(deploy.blocked, None);
    assert!(deploy.needs.contains(&StepId("join-peer/settlement/trade-globex/peer1".into())), "{:?}", deploy.needs);
    let again = plan_of(&text, &mut converged(&text));
    assert_eq!(again.steps.len(), 0, "{}", super::render(&again));
    // The same without a look at the chaincode: there is no channel yet.
    let desired = wanted(&text);
    let mut world = Observed::default();
    super::look(&mut world, &desired);
    world.chaincodes.clear();
    let unseen = super::plan(&desired, &world, Some("0123abc"));
    assert_eq!(super::render(&plan), super::render(&unseen));
}

#[test]
fn another_policy_is_the_next_sequence() {
    let text = example(", endorsement: \"AND('AcmeMSP.peer', 'GlobexMSP.peer')\"");
    insta::assert_snapshot!(super::render(&plan_of(&text, &mut converged(&example("")))));
}

#[test]
fn another_image_is_installed_and_approved_under_the_same_sequence() {
    let text = with("docker.io/hyperledger/asset:1.0.1", "1.0", "");
    let mut world = converged(&example(""));
    insta::assert_snapshot!(super::render(&plan_of(&text, &mut world)));
}

#[test]
fn a_moved_line_is_no_other_definition() {
    let one = example(", collections: [{name: prices, members: [globex, acme]}, {name: offers, members: [acme]}]");
    let other = example(", collections: [{name: offers, members: [acme]}, {name: prices, members: [acme, globex]}]");
    let mut world = converged(&one);
    assert_eq!(plan_of(&other, &mut world).steps.len(), 0);
    // Somebody committed the same in yet another order.
    let seen = world.chaincodes.get_mut(KEY).unwrap();
    let Observation::Present { value } = &mut seen.committed else { panic!() };
    value.definition.collections.reverse();
    let definition = value.definition.clone();
    for approval in seen.approvals.values_mut() {
        let Observation::Present { value } = approval else { panic!() };
        value.definition = definition.clone();
    }
    let plan = plan_of(&one, &mut world);
    assert_eq!(plan.steps.len(), 0, "{}", super::render(&plan));
}

#[test]
fn a_member_that_joins_later_installs_and_approves_by_itself() {
    let text = example("")
        .replace("  channels:", "    - name: initech\n      peers: [peer1]\n  channels:")
        .replace("[acme, globex]", "[acme, globex, initech]");
    let mut world = converged(&example(""));
    let plan = plan_of(&text, &mut world);
    let deploy = step(&plan, "chaincode/settlement/asset");
    let Step::DeployChaincode { sequence, changes, install, approve, commit, .. } = &deploy.step else { panic!() };
    assert_eq!((*sequence, changes.len(), *commit), (Some(1), 0, false));
    assert_eq!(
        (install.as_slice(), approve.as_slice()),
        ([node("trade-initech", "peer1")].as_slice(), &["initech".to_owned()][..])
    );
    assert!(deploy.needs.contains(&StepId("join-peer/settlement/trade-initech/peer1".into())));
    assert_eq!(deploy.irreversible, None);
    let desired = wanted(&text);
    super::apply(&mut world, &desired, &plan);
    assert_eq!(plan_of(&text, &mut world).steps.len(), 0);
}

#[test]
fn what_somebody_else_committed_is_put_right_by_the_next_sequence() {
    let mut world = converged(&example(""));
    let seen = world.chaincodes.get_mut(KEY).unwrap();
    let Observation::Present { value } = &mut seen.committed else { panic!() };
    value.sequence = 2;
    value.definition.version = "6.6".into();
    seen.author = Some(DefinitionAuthor { block: 12, creator: "GlobexMSP (CN=mallory)".into(), foreign: true });
    insta::assert_snapshot!(super::render(&plan_of(&example(""), &mut world)));
}

#[test]
fn an_organization_elsewhere_is_waited_for() {
    let text = example("");
    let mut settings = settings();
    settings.organizations = vec!["hub".into(), "acme".into()];
    let desired = wanted_by(&text, &settings);
    let mut world = converged(EXAMPLE);
    super::look(&mut world, &desired);
    let first = plan(&desired, &world, None);
    insta::assert_snapshot!(super::render(&first));
    super::apply(&mut world, &desired, &first);
    let waiting = plan(&desired, &world, None);
    let Step::DeployChaincode { install, approve, commit, waits, .. } =
        &step(&waiting, "chaincode/settlement/asset").step
    else {
        panic!()
    };
    assert_eq!((install.len(), approve.len(), *commit, waits.as_slice()), (0, 0, false, &["globex".to_owned()][..]));
    assert_eq!(check(&waiting), []);
    // It approves; nothing is left to do but to commit.
    let readiness = BTreeMap::from([("GlobexMSP".to_owned(), true)]);
    world.chaincodes.get_mut(KEY).unwrap().readiness = Observation::Present { value: readiness };
    let ready = plan(&desired, &world, None);
    let Step::DeployChaincode { commit, waits, .. } = &step(&ready, "chaincode/settlement/asset").step else {
        panic!()
    };
    assert_eq!((*commit, waits.len()), (true, 0));
    super::apply(&mut world, &desired, &ready);
    assert_eq!(plan(&desired, &world, None).steps.len(), 0);
}

#[test]
fn a_definition_that_could_not_be_read_is_not_defined_again() {
    let mut world = converged(&example(""));
    let unreachable = Observation::Unreachable { evidence: "timed out".into() };
    world.chaincodes.get_mut(KEY).unwrap().committed = unreachable;
    let plan = plan_of(&example(""), &mut world);
    assert_eq!((plan.steps.len(), plan.notes.len()), (0, 1), "{}", super::render(&plan));
    let text = with("docker.io/hyperledger/asset:1.0", "2.0", "");
    insta::assert_snapshot!(super::render(&plan_of(&text, &mut world)));
}

#[test]
fn unknown_approvals_are_not_given_again() {
    let mut world = converged(&example(""));
    let seen = world.chaincodes.get_mut(KEY).unwrap();
    seen.approvals.insert("AcmeMSP".into(), Observation::Unreachable { evidence: "timed out".into() });
    seen.installed
        .insert(node("trade-acme", "peer1"), Observation::Forbidden { evidence: "403: not an administrator".into() });
    let plan = plan_of(&example(""), &mut world);
    assert_eq!(plan.steps.len(), 0, "{}", super::render(&plan));
    let codes: Vec<&str> = plan.notes.iter().map(|note| note.code.as_str()).collect();
    assert_eq!(codes, ["Forbidden", "Unreachable"]);
    // Its approval would be needed: too little is known to go on.
    let later = plan_of(&with("docker.io/hyperledger/asset:1.0", "2.0", ""), &mut world);
    let deploy = step(&later, "chaincode/settlement/asset");
    assert!(deploy.blocked.is_some() && deploy.unseen == Some(crate::plan::Unseen::Unreachable), "{deploy:?}");
}

#[test]
fn a_collection_that_vanishes_is_refused() {
    let before = example(", collections: [{name: prices, members: [acme, globex]}]");
    let plan = plan_of(&example(""), &mut converged(&before));
    let blocked = step(&plan, "chaincode/settlement/asset").blocked.clone().unwrap();
    assert!(blocked.contains("the collection prices is missing"), "{blocked}");
    let longer = example(", collections: [{name: prices, members: [acme, globex], blockToLive: 9}]");
    let plan = plan_of(&longer, &mut converged(&before));
    let blocked = step(&plan, "chaincode/settlement/asset").blocked.clone().unwrap();
    assert!(blocked.contains("keeps its data for 9 blocks"), "{blocked}");
}

#[test]
fn a_chaincode_that_the_file_no_longer_names() {
    let mut world = converged(&example(""));
    insta::assert_snapshot!(super::render(&plan_of(EXAMPLE, &mut world)));
    let released = format!("{EXAMPLE}  retired:\n    - chaincode: settlement/asset\n");
    let plan = plan_of(&released, &mut world);
    insta::assert_snapshot!(super::render(&plan));
    super::apply(&mut world, &wanted(&released), &plan);
    let again = plan_of(&released, &mut world);
    assert_eq!((again.steps.len(), again.notes.len()), (0, 1), "{}", super::render(&again));
}

#[test]
fn a_package_of_the_repository_is_kept_for_the_peers() {
    let text = example("").replace("image: \"docker.io/hyperledger/asset:1.0\"", "package: chaincodes/asset");
    let connection = crate::document::Blob(b"{\"address\":\"asset.example.com:9999\"}".to_vec());
    let folder = crate::document::RepositoryItem::Folder { files: [("connection.json".to_owned(), connection)].into() };
    let facts =
        RepositoryFacts { files: [("chaincodes/asset".to_owned(), folder)].into(), ..RepositoryFacts::default() };
    let loaded = load(text.as_bytes(), "network.yaml", &facts);
    assert_eq!(loaded.diagnostics, []);
    let settings = Settings { chaincode_servers: vec!["asset.example.com:9999".to_owned()], ..settings() };
    let desired = crate::desired::desired(&loaded.network.unwrap(), &settings);
    let mut world = converged(EXAMPLE);
    super::look(&mut world, &desired);
    let first = plan(&desired, &world, None);
    insta::assert_snapshot!(super::render(&first));
    super::apply(&mut world, &desired, &first);
    assert_eq!(plan(&desired, &world, None).steps.len(), 0);
    // From standard input the definition comes without its files: nothing is made up.
    let blind = plan_of(&text, &mut world);
    let step = step(&blind, "chaincode/tenter-system/settlement-asset");
    assert!(step.blocked.as_ref().is_some_and(|why| why.contains("was not read")), "{step:?}");
    assert_eq!(blind.steps.len(), 1, "{}", super::render(&blind));
}

#[test]
fn a_server_elsewhere_that_is_not_allowed_is_refused() {
    let source = "{external: {address: \"cc.example.com:9999\"}}";
    let text = format!(
        "{EXAMPLE}  chaincodes:\n    - {{name: asset, channel: settlement, version: \"1.0\", source: {source}}}\n"
    );
    let refused = |desired: &Desired| {
        let object = &desired.chaincodes[KEY].object;
        desired.objects[object].blocked.clone().unwrap_or_default()
    };
    let why = refused(&wanted(&text));
    assert!(why.contains("spec.chaincodeServers") && why.contains("cc.example.com:9999"), "{why}");
    let settings = Settings { chaincode_servers: vec!["*.example.com:9999".into()], ..settings() };
    assert_eq!(refused(&wanted_by(&text, &settings)), "");
}

#[test]
fn an_image_that_is_not_allowed_is_refused() {
    let text = with("ghcr.io/example/asset:1.0", "1.0", "");
    let plan = plan_of(&text, &mut converged(EXAMPLE));
    assert_eq!(plan.error().map(|note| note.code.as_str()), Some("NotAllowed"));
    assert!(
        plan.steps.values().all(|step| step.blocked.is_some()) && plan.steps.len() == 1,
        "{}",
        super::render(&plan)
    );
}

#[test]
fn the_hash_covers_the_sequence() {
    let mut world = converged(&example(""));
    let text = with("docker.io/hyperledger/asset:1.0", "2.0", "");
    let hash = plan_of(&text, &mut world).hash;
    let Observation::Present { value } = &mut world.chaincodes.get_mut(KEY).unwrap().committed else { panic!() };
    value.sequence = 7;
    assert_ne!(plan_of(&text, &mut world).hash, hash);
}
