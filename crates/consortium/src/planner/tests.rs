//! Plans of a model world: what they say, and that carrying them out leaves nothing to do.

mod chaincodes;
mod leaving;
mod outlook;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::json;
use tenter_fabric::config::CurrentConfig;

use super::{check, plan};
use crate::channel_config::{Material, live_config, updates};
use crate::desired::{Desired, desired};
use crate::document::{RepositoryFacts, load};
use crate::model::{self, Certificates};
use crate::objects::{
    ApprovalSettings, ChannelSpec, Condition, ConsensusType, ImageSettings, Kind, NamespaceSettings, ObjectRef,
};
use crate::observation::Observation;
use crate::observed::{
    ConfigAuthor, ForeignChange, JoinRecord, LiveChannel, LiveNamespace, LiveObject, NodeChannel, NodeRef, Observed,
    ObservedChannel,
};
use crate::plan::{Effects, Plan, PlannedStep, Restart, Step, StepId};
use crate::settings::Settings;

const EXAMPLE: &str = include_str!("../../../../examples-repo/network.yaml");

fn settings() -> Settings {
    Settings {
        consortium: "trade".into(),
        namespace: "tenter-system".into(),
        organizations: vec!["*".into()],
        namespaces: NamespaceSettings { allowed: vec!["trade-*".into()], create: true },
        images: ImageSettings { allowed: vec!["docker.io/hyperledger".into()], mirrors: BTreeMap::new() },
        subjects: Vec::new(),
        chaincode_servers: Vec::new(),
        approvals: ApprovalSettings::default(),
    }
}

fn wanted(text: &str) -> Desired {
    wanted_by(text, &settings())
}

fn wanted_by(text: &str, settings: &Settings) -> Desired {
    let loaded = load(text.as_bytes(), "network.yaml", &RepositoryFacts::default());
    let network = loaded.network.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    desired(&network, settings)
}

fn absent<T>() -> Observation<T> {
    Observation::Absent { evidence: "404".into() }
}

/// Placeholders for all orderers that the tests name. Making them takes long, so they are made once.
static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| {
    let mut text = String::from(
        "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {name: trade}\nspec:\n  organizations:\n",
    );
    let names = ["hub", "org0", "org1", "org2", "org3", "org4"];
    for name in names {
        writeln!(
            text,
            "    - {{name: {name}, orderers: [orderer1, orderer2, orderer3, orderer4, orderer5], peers: [peer1]}}"
        )
        .unwrap();
    }
    text.push_str("  channels:\n");
    for name in names {
        writeln!(text, "    - {{name: of-{name}, organizer: {name}, members: [org0]}}").unwrap();
    }
    Certificates::of(&[&wanted(&text)]).unwrap()
});

/// A world in which everything that a definition names was looked at; what is not there yet is absent.
fn look(world: &mut Observed, desired: &Desired) {
    model::look(world, desired, "404");
    for (name, channel) in &desired.channels {
        let spec = ChannelSpec::deserialize(&desired.objects[&channel.object].spec).unwrap();
        world.channels.get_mut(name).unwrap().material = material(&spec);
    }
}

/// Certificates of what a channel is made of.
fn material(spec: &ChannelSpec) -> Material {
    CERTIFICATES.material(spec)
}

/// The spec of a channel's object.
fn spec_of(desired: &Desired, channel: &str) -> ChannelSpec {
    ChannelSpec::deserialize(&desired.objects[&desired.channels[channel].object].spec).unwrap()
}

/// The configuration after the update of a topic, computed from what is there now.
fn updated(desired: &Desired, channel: &str, topic: &str, live: &LiveChannel) -> LiveChannel {
    let spec = spec_of(desired, channel);
    let current = CurrentConfig::from_bytes(channel, &live.config).unwrap();
    let found = updates(&current, &spec, &material(&spec)).unwrap();
    let update = found.topics.iter().find(|update| update.topic == topic).unwrap();
    let after = update.update.apply(&current).unwrap();
    LiveChannel { block: live.block + 1, ..live_config(&after).unwrap() }
}

fn live(spec: serde_json::Value, ready: bool) -> LiveObject {
    LiveObject {
        spec,
        generation: 1,
        phase: Some(if ready { "Running" } else { "Starting" }.into()),
        sequence: None,
        conditions: vec![Condition {
            condition_type: "Ready".into(),
            status: if ready { "True" } else { "False" }.into(),
            observed_generation: 1,
            last_transition_time: "2026-01-01T00:00:00Z".into(),
            reason: if ready { "Ready" } else { "PodPending" }.into(),
            message: "the Pod is not scheduled".into(),
        }],
        deleting: false,
        managers: BTreeMap::new(),
        certificates: BTreeMap::new(),
    }
}

/// Does what the plan says, as the controllers would; blocked steps are not done.
fn apply(world: &mut Observed, desired: &Desired, plan: &Plan) {
    *world = model::apply(world, desired, plan, &CERTIFICATES).unwrap();
}

/// The world that the example makes.
fn converged(text: &str) -> Observed {
    let desired = wanted(text);
    let mut world = Observed::default();
    look(&mut world, &desired);
    let plan = plan(&desired, &world, None);
    apply(&mut world, &desired, &plan);
    world
}

fn render(plan: &Plan) -> String {
    assert_eq!(check(plan), []);
    let mut out = String::new();
    for (id, planned) in &plan.steps {
        let action = serde_json::to_value(&planned.step).unwrap()["action"].clone();
        let lines: Vec<String> = planned.reasons.iter().map(|origin| origin.line.to_string()).collect();
        writeln!(out, "{id}: {} (line {})", action.as_str().unwrap(), lines.join(", ")).unwrap();
        if let Step::UpdateObject { changes, .. } | Step::UpdateChannelConfig { changes, .. } = &planned.step {
            for change in changes {
                writeln!(out, "  {}: {} -> {}", change.path, json!(change.from), json!(change.to)).unwrap();
            }
        }
        if let Step::UpdateChannelConfig { signing, elements, .. } = &planned.step {
            for touched in elements {
                writeln!(out, "  writes {} at {}, guarded by {:?}", touched.element, touched.version, touched.policy)
                    .unwrap();
            }
            writeln!(out, "  must sign: {}; will: {}", signing.required, signing.own.join(", ")).unwrap();
            writeln!(out, "  passes: {:?}", signing.passes).unwrap();
        }
        if let step @ Step::DeployChaincode { .. } = &planned.step {
            write!(out, "{}", chaincodes::render(step)).unwrap();
        }
        if let Step::AwaitReady { state, .. } = &planned.step {
            writeln!(out, "  state: {state}").unwrap();
        }
        if let Step::RemoveObject {
            object: ObjectRef { kind: Kind::Chaincode | Kind::Orderer | Kind::Peer, .. },
            keeps,
            ..
        } = &planned.step
        {
            writeln!(out, "  keeps: {keeps}").unwrap();
        }
        for need in &planned.needs {
            writeln!(out, "  needs {need}").unwrap();
        }
        render_effects(&planned.effects, &mut out);
        if let Some(reason) = &planned.blocked {
            writeln!(out, "  blocked: {reason}").unwrap();
        }
        if let Some(reason) = &planned.irreversible {
            writeln!(out, "  irreversible: {reason}").unwrap();
        }
    }
    for note in &plan.notes {
        writeln!(out, "{:?} {}: {}: {}", note.level, note.code, note.subject, note.message).unwrap();
    }
    if out.is_empty() { "nothing to do\n".into() } else { out }
}

fn render_effects(effects: &Effects, out: &mut String) {
    let Effects { restart, channels, members, contracts } = effects;
    if let Some(Restart { node, meanwhile }) = restart {
        let meanwhile: Vec<String> = meanwhile
            .iter()
            .map(|it| format!("{} {}/{} needs {:?} {}", it.channel, it.left, it.of, it.needed, it.goes_on()))
            .collect();
        writeln!(out, "  restarts {node}: {}", meanwhile.join(", ")).unwrap();
    }
    for (what, names) in [("channels", channels), ("members", members), ("contracts", contracts)] {
        if !names.is_empty() {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            writeln!(out, "  {what}: {}", names.join(", ")).unwrap();
        }
    }
}

fn plan_of(text: &str, world: &mut Observed) -> Plan {
    let desired = wanted(text);
    look(world, &desired);
    plan(&desired, world, Some("0123abc"))
}

fn step<'a>(plan: &'a Plan, id: &str) -> &'a PlannedStep {
    plan.steps.get(&StepId(id.into())).unwrap_or_else(|| panic!("{id}: {}", render(plan)))
}

fn object(kind: Kind, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef { kind, namespace: namespace.into(), name: name.into() }
}

fn node(namespace: &str, name: &str) -> NodeRef {
    NodeRef { namespace: namespace.into(), name: name.into() }
}

const MORE_PEERS: (&str, &str) = ("peers: [peer1]", "peers: [peer1, peer2]");
const POLICY: (&str, &str) = (
    "      members: [acme, globex]",
    "      members: [acme, globex]\n      policies: {application: {Endorsement: ANY Endorsement}}",
);

fn edited((from, to): (&str, &str)) -> String {
    assert!(EXAMPLE.contains(from));
    EXAMPLE.replace(from, to)
}

#[test]
fn an_empty_world_is_built_in_order() {
    insta::assert_snapshot!(render(&plan_of(EXAMPLE, &mut Observed::default())));
}

#[test]
fn a_converged_world_has_an_empty_plan() {
    let plan = plan_of(EXAMPLE, &mut converged(EXAMPLE));
    assert_eq!((plan.steps.len(), plan.notes.len()), (0, 0), "{}", render(&plan));
}

#[test]
fn one_more_peer() {
    insta::assert_snapshot!(render(&plan_of(&edited(MORE_PEERS), &mut converged(EXAMPLE))));
}

#[test]
fn a_policy_of_a_live_channel() {
    insta::assert_snapshot!(render(&plan_of(&edited(POLICY), &mut converged(EXAMPLE))));
}

#[test]
fn new_consenters_and_members_wait_for_the_configuration() {
    let text = edited(("orderer2, orderer3]", "orderer2, orderer3, orderer4, orderer5]"))
        .replace("  channels:", "    - name: initech\n      peers: [peer1]\n  channels:")
        .replace("[acme, globex]", "[acme, globex, initech]");
    insta::assert_snapshot!(render(&plan_of(&text, &mut converged(EXAMPLE))));
}

#[test]
fn a_released_member_leaves_and_its_membership_goes() {
    let mut world = converged(EXAMPLE);
    let smaller = edited(("[acme, globex]", "[acme]"));
    let plan = plan_of(&smaller, &mut world);
    assert_eq!(plan.steps.keys().map(|id| id.0.as_str()).collect::<Vec<_>>(), ["channel/tenter-system/settlement"]);
    let released = format!("{smaller}  retired:\n    - member: settlement/globex\n");
    let plan = plan_of(&released, &mut world);
    insta::assert_snapshot!(render(&plan));
    let desired = wanted(&released);
    apply(&mut world, &desired, &plan);
    assert!(!world.objects.contains_key(&object(Kind::Membership, "trade-globex", "settlement")));
    assert!(world.objects.contains_key(&object(Kind::Peer, "trade-globex", "peer1")), "nodes stay");
    let again = plan_of(&released, &mut world);
    assert_eq!(again.steps.len(), 0, "{}", render(&again));
}

#[test]
fn drift_names_its_author() {
    let mut world = converged(EXAMPLE);
    let channel = world.channels.get_mut("settlement").unwrap();
    let desired =
        wanted(&edited(("      members: [acme, globex]", "      members: [acme, globex]\n      batch: {timeout: 9s}")));
    let value = updated(&desired, "settlement", "orderer-settings", channel.config.value().unwrap());
    channel.config = Observation::Present { value };
    channel.foreign = vec![ForeignChange {
        block: 1,
        author: ConfigAuthor { digest: "00".into(), signers: vec!["HubMSP (CN=mallory)".into()] },
        elements: vec!["[Value]  /Channel/Orderer/BatchTimeout".into()],
    }];
    let plan = plan_of(EXAMPLE, &mut world);
    let step = &plan.steps[&crate::plan::StepId("channel-config/settlement/orderer-settings".into())].step;
    let Step::UpdateChannelConfig { drift, .. } = step else { panic!("{step:?}") };
    assert_eq!(drift, &["changed in block 1 by an update that HubMSP (CN=mallory) signed"]);
}

#[test]
fn a_policy_change_is_seen_when_the_channel_cannot_be_read() {
    let mut world = converged(EXAMPLE);
    world.channels.get_mut("settlement").unwrap().config = Observation::Unreachable { evidence: "timed out".into() };
    insta::assert_snapshot!(render(&plan_of(&edited(POLICY), &mut world)));
}

#[test]
fn a_peer_that_the_file_no_longer_names() {
    let smaller = edited(("peers: [peer1, peer2]", "peers: [peer1]"));
    insta::assert_snapshot!(render(&plan_of(&smaller, &mut converged(EXAMPLE))));
    let released = format!("{smaller}  retired:\n    - peer: acme/peer2\n      ledger: delete\n");
    let mut world = converged(EXAMPLE);
    let plan = plan_of(&released, &mut world);
    insta::assert_snapshot!(render(&plan));
    // A ledger is deleted when somebody approved just that, also where the settings ask for no approvals.
    let desired = approved(wanted(&released), &plan);
    let plan = super::plan(&desired, &world, None);
    apply(&mut world, &desired, &plan);
    assert!(!world.objects.contains_key(&object(Kind::Peer, "trade-acme", "peer2")));
    let again = plan_of(&released, &mut world);
    assert_eq!(again.steps.len(), 0, "{}", render(&again));
    // A snapshot cannot be asked for yet, and a ledger is not deleted without it.
    let snapshot = released.replace("ledger: delete", "ledger: snapshotThenDelete");
    let plan = plan_of(&snapshot, &mut converged(EXAMPLE));
    let step = &plan.steps[&crate::plan::StepId("remove/peer/trade-acme/peer2".into())];
    assert!(step.blocked.as_ref().is_some_and(|why| why.contains("snapshot")), "{step:?}");
}

#[test]
fn nodes_of_a_released_organization_go_after_its_membership() {
    let without = edited(("[acme, globex]", "[acme]"));
    let start = without.find("    - name: globex").expect("globex");
    let end = start + without[start..].find("  channels:").expect("channels");
    let released = format!("{}{}  retired:\n    - organization: globex\n", &without[..start], &without[end..]);
    let mut world = converged(EXAMPLE);
    let plan = plan_of(&released, &mut world);
    insta::assert_snapshot!(render(&plan));
    apply(&mut world, &wanted(&released), &plan);
    assert!(!world.objects.contains_key(&object(Kind::Peer, "trade-globex", "peer1")));
    let again = plan_of(&released, &mut world);
    assert_eq!(again.steps.len(), 0, "{}", render(&again));
    // As long as nobody can say that the channel does without it, it stays.
    let mut world = converged(EXAMPLE);
    world.channels.get_mut("settlement").unwrap().config = Observation::Unreachable { evidence: "timed out".into() };
    let plan = plan_of(&released, &mut world);
    let step = &plan.steps[&crate::plan::StepId("remove/peer/trade-globex/peer1".into())];
    assert!(step.blocked.is_some() && step.unseen.is_some(), "{step:?}");
}

/// What is desired where somebody approved what a plan holds that cannot be undone.
fn approved(mut desired: Desired, plan: &Plan) -> Desired {
    desired.approvals.approved = super::approvals(plan.steps.values());
    desired
}

#[test]
fn an_orderer_goes_when_it_is_no_consenter_any_more() {
    let fewer = edited(("[orderer1, orderer2, orderer3]", "[orderer1, orderer2]"));
    let mut world = converged(EXAMPLE);
    // Without its entry among the retired it stays, and orders on.
    let plan = plan_of(&fewer, &mut world);
    assert!(plan.notes.iter().any(|note| note.code == "ConsenterUnnamed"), "{}", render(&plan));
    assert!(!plan.steps.keys().any(|id| id.0.starts_with("channel-config/")), "{}", render(&plan));
    let released = format!("{fewer}  retired:\n    - orderer: hub/orderer3\n");
    let plan = plan_of(&released, &mut world);
    let step = &plan.steps[&crate::plan::StepId("remove/orderer/trade-hub/orderer3".into())];
    let consenters = crate::plan::StepId("channel-config/settlement/consenters".into());
    assert!(step.blocked.is_none() && step.needs.contains(&consenters), "{step:?}");
    apply(&mut world, &wanted(&released), &plan);
    assert!(!world.objects.contains_key(&object(Kind::Orderer, "trade-hub", "orderer3")));
    let again = plan_of(&released, &mut world);
    assert_eq!(again.steps.len(), 0, "{}", render(&again));
    // As long as nobody can say that the channel does without it, it stays.
    let mut world = converged(EXAMPLE);
    world.channels.get_mut("settlement").unwrap().config = Observation::Unreachable { evidence: "timed out".into() };
    let plan = plan_of(&released, &mut world);
    let step = &plan.steps[&crate::plan::StepId("remove/orderer/trade-hub/orderer3".into())];
    assert!(step.blocked.is_some() && step.unseen.is_some(), "{step:?}");
}

#[test]
fn the_orderers_of_a_channel_all_move_to_another_organization() {
    // Whoever organizes changes with a line, and nobody is taken out for that.
    let at = |organization: usize| {
        let node = |n: usize| if n == organization { "[orderer1]" } else { "[]" };
        format!(
            "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {{name: trade}}\nspec:\n  organizations:\n    - {{name: org0, \
             orderers: {}, peers: [peer1]}}\n    - {{name: org1, orderers: {}, peers: []}}\n  channels:\n    - {{name: channel0, members: [org0]}}\n",
            node(0),
            node(1)
        )
    };
    let mut world = converged(&at(0));
    let plan = plan_of(&at(1), &mut world);
    assert!(plan.notes.iter().any(|note| note.code == "ConsenterUnnamed"), "{}", render(&plan));
    apply(&mut world, &wanted(&at(1)), &plan);
    let live = &world.channels["channel0"].config.value().unwrap().facts;
    assert_eq!(live.consenters, ["orderer1.trade-org0.svc:7050", "orderer1.trade-org1.svc:7050"]);
    let again = plan_of(&at(1), &mut world);
    assert_eq!(again.steps.len(), 0, "{}", render(&again));
    // With its tombstone the first goes, and its organization with it.
    let retired = format!("{}  retired:\n    - {{orderer: org0/orderer1, ledger: keep}}\n", at(1));
    let plan = plan_of(&retired, &mut world);
    apply(&mut world, &wanted(&retired), &plan);
    let live = &world.channels["channel0"].config.value().unwrap().facts;
    assert_eq!(live.consenters, ["orderer1.trade-org1.svc:7050"]);
    assert!(!live.orderer_organizations.contains_key("Org0MSP"), "{live:?}");
}

#[test]
fn an_emptied_volume_is_lost_data() {
    let mut world = converged(EXAMPLE);
    let channel = world.channels.get_mut("settlement").unwrap();
    channel.orderers.get_mut(&node("trade-hub", "orderer2")).unwrap().live = absent();
    insta::assert_snapshot!(render(&plan_of(EXAMPLE, &mut world)));
}

/// One lost orderer must not keep peers out of a channel that lives.
#[test]
fn a_peer_joins_beside_a_lost_orderer() {
    let mut world = converged(EXAMPLE);
    let channel = world.channels.get_mut("settlement").unwrap();
    channel.orderers.get_mut(&node("trade-hub", "orderer2")).unwrap().live = absent();
    let plan = plan_of(&edited(MORE_PEERS), &mut world);
    let join = &plan.steps[&crate::plan::StepId("join-peer/settlement/trade-globex/peer2".into())];
    assert_eq!(join.blocked, None);
    assert_eq!(check(&plan), []);
}

#[test]
fn an_unreachable_orderer_is_not_absent() {
    let mut world = converged(EXAMPLE);
    let channel = world.channels.get_mut("settlement").unwrap();
    let seen = channel.orderers.get_mut(&node("trade-hub", "orderer2")).unwrap();
    seen.live = Observation::Unreachable { evidence: "connection refused".into() };
    insta::assert_snapshot!(render(&plan_of(EXAMPLE, &mut world)));
    let channel = world.channels.get_mut("settlement").unwrap();
    channel.orderers.get_mut(&node("trade-hub", "orderer2")).unwrap().record = JoinRecord::None;
    insta::assert_snapshot!(render(&plan_of(EXAMPLE, &mut world)));
}

#[test]
fn a_half_done_join_goes_on_with_the_pinned_genesis() {
    let mut world = converged(EXAMPLE);
    let channel = world.channels.get_mut("settlement").unwrap();
    let seen = channel.orderers.get_mut(&node("trade-hub", "orderer3")).unwrap();
    *seen = NodeChannel { live: absent(), record: JoinRecord::None };
    let peer = channel.peers.get_mut(&node("trade-globex", "peer1")).unwrap();
    *peer = NodeChannel { live: absent(), record: JoinRecord::None };
    insta::assert_snapshot!(render(&plan_of(EXAMPLE, &mut world)));
}

#[test]
fn a_lost_genesis_block_is_not_made_again() {
    let mut world = converged(EXAMPLE);
    world.channels.get_mut("settlement").unwrap().genesis = absent();
    let plan = plan_of(EXAMPLE, &mut world);
    assert!(plan.steps.values().all(|step| step.blocked.is_some()) && plan.steps.len() == 1, "{}", render(&plan));
}

#[test]
fn kinds_that_cannot_be_listed_are_not_made_blindly() {
    let mut world = Observed::default();
    world.kinds.insert(Kind::Peer, Observation::Forbidden { evidence: "403".into() });
    let plan = plan_of(EXAMPLE, &mut world);
    for (id, planned) in &plan.steps {
        let concerns_peers = id.0.starts_with("peer/") || id.0.starts_with("join-peer/");
        if concerns_peers {
            assert!(planned.blocked.is_some(), "{id}");
        }
        if id.0.starts_with("orderer/") {
            assert_eq!(planned.blocked, None, "{id}");
        }
    }
    assert!(plan.notes.iter().any(|note| note.code == "Forbidden"));
}

#[test]
fn an_object_that_is_not_ready_is_waited_for() {
    let mut world = converged(EXAMPLE);
    let peer = object(Kind::Peer, "trade-acme", "peer1");
    let spec = world.objects[&peer].spec.clone();
    world.objects.insert(peer, live(spec, false));
    insta::assert_snapshot!(render(&plan_of(EXAMPLE, &mut world)));
}

#[test]
fn what_was_stopped_half_way_goes_on_beside_objects_that_are_not_ready() {
    let desired = wanted(EXAMPLE);
    let mut world = Observed::default();
    look(&mut world, &desired);
    // The daemon was stopped when it had made the namespaces and the organizations, which cannot be ready by themselves.
    for (name, namespace) in &desired.namespaces {
        let value = LiveNamespace { organization: Some(namespace.organization.clone()) };
        world.namespaces.insert(name.clone(), Observation::Present { value });
    }
    for (object, wanted) in desired.objects.iter().filter(|(object, _)| object.kind == Kind::Organization) {
        world.objects.insert(object.clone(), live(wanted.spec.clone(), false));
    }
    let plan = plan(&desired, &world, None);
    let authorities: Vec<_> =
        plan.steps.iter().filter(|(id, _)| id.0.starts_with("certificateauthority/")).map(|(_, step)| step).collect();
    assert_eq!(authorities.len(), 3);
    assert!(authorities.iter().all(|step| step.needs.is_empty() && step.blocked.is_none()), "{authorities:?}");
}

#[test]
fn what_cannot_change_is_blocked_and_what_can_is_shown() {
    let text = edited((
        "orderers: [orderer1, orderer2, orderer3]",
        "mspID: Hub2MSP\n      orderers: [orderer1, orderer2, {name: orderer3, storage: {size: 1Gi}}]",
    ))
    .replace(
        "peers: [peer1, peer2]",
        "peers: [{name: peer1, resources: {memory: 1Gi}}, {name: peer2, address: 'p.acme.example:7051'}]",
    );
    let plan = plan_of(&text, &mut converged(EXAMPLE));
    insta::assert_snapshot!(render(&plan));
}

#[test]
fn fields_of_a_newer_version_are_left_alone() {
    let mut world = converged(EXAMPLE);
    for live in world.objects.values_mut() {
        live.spec["fieldOfTomorrow"] = json!({ "a": 1 });
    }
    assert_eq!(plan_of(EXAMPLE, &mut world).steps.len(), 0);
}

#[test]
fn settings_refuse_what_they_do_not_allow() {
    let mut settings = settings();
    settings.namespaces.allowed = vec!["trade-hub".into(), "trade-acme".into()];
    settings.images.allowed = vec!["docker.io/hyperledger/fabric-orderer".into()];
    let admins = "peers: [peer1, peer2]\n      admins: [{kind: User, name: jane}]";
    let text = edited(("peers: [peer1, peer2]", admins));
    let desired = wanted_by(&text, &settings);
    let mut world = Observed::default();
    look(&mut world, &desired);
    insta::assert_snapshot!(render(&plan(&desired, &world, None)));
}

#[test]
fn a_daemon_acts_for_its_own_organizations_only() {
    let mut settings = settings();
    settings.organizations = vec!["hub".into(), "acme".into()];
    let desired = wanted_by(EXAMPLE, &settings);
    assert!(desired.objects.keys().all(|object| object.namespace != "trade-globex"));
    let mut world = converged(EXAMPLE);
    look(&mut world, &desired);
    let plan = plan(&desired, &world, None);
    assert_eq!(plan.steps.len(), 0, "{}", render(&plan));
    assert_eq!(plan.notes, []);
    let shared = RepositoryFacts { organizations: vec!["initech".into()], ..RepositoryFacts::default() };
    let network = load(EXAMPLE.as_bytes(), "network.yaml", &shared).network.unwrap();
    let everyone = super::super::desired::desired(&network, &super::tests::settings());
    assert!(everyone.objects.is_empty() && everyone.refusals.len() == 1);
}

#[test]
fn a_namespace_of_somebody_else_is_not_used() {
    let mut world = Observed::default();
    let value = LiveNamespace { organization: Some("initech".into()) };
    world.namespaces.insert("trade-acme".into(), Observation::Present { value });
    let plan = plan_of(EXAMPLE, &mut world);
    for (id, planned) in &plan.steps {
        let acme = id.0.contains("trade-acme") || id.0.ends_with("/acme");
        assert!(!acme || planned.blocked.is_some(), "{id}");
    }
}

#[test]
fn the_hash_covers_the_world_and_not_its_health() {
    let mut world = converged(EXAMPLE);
    let hash = plan_of(EXAMPLE, &mut world).hash;
    assert_eq!(plan_of(EXAMPLE, &mut world).hash, hash);
    let peer = object(Kind::Peer, "trade-acme", "peer1");
    let spec = world.objects[&peer].spec.clone();
    world.objects.insert(peer.clone(), live(spec.clone(), false));
    assert_eq!(plan_of(EXAMPLE, &mut world).hash, hash);
    assert_ne!(plan_of(&edited(MORE_PEERS), &mut world).hash, hash);
    let mut other = spec;
    other["resources"]["memory"] = json!("2Gi");
    world.objects.insert(peer, live(other, true));
    assert_ne!(plan_of(EXAMPLE, &mut world).hash, hash);
}

#[test]
fn the_checker_finds_what_it_looks_for() {
    let good = plan_of(EXAMPLE, &mut Observed::default());
    let codes = |plan: &Plan| check(plan).into_iter().map(|note| note.code).collect::<Vec<_>>();
    let mut dangling = good.clone();
    dangling.steps.remove(&crate::plan::StepId("namespace/trade-hub".into()));
    assert!(codes(&dangling).contains(&"DanglingNeed".to_owned()));
    let mut cyclic = good.clone();
    let (first, last) = (good.steps.keys().next().unwrap().clone(), good.steps.keys().last().unwrap().clone());
    cyclic.steps.get_mut(&first).unwrap().needs.insert(last.clone());
    cyclic.steps.get_mut(&last).unwrap().needs.insert(first);
    assert!(codes(&cyclic).contains(&"Cycle".to_owned()));
    let mut running = good.clone();
    running.steps.get_mut(&crate::plan::StepId("namespace/trade-hub".into())).unwrap().blocked = Some("x".into());
    assert!(codes(&running).contains(&"NotBlocked".to_owned()));
    assert_eq!(codes(&good), [""; 0]);
    // What fails it is refused: all of a plan that does not fit together, a step that does nothing.
    for mut bad in [dangling, cyclic, running] {
        super::check::refuse(&mut bad);
        assert!(bad.steps.values().all(|step| step.blocked.is_some()) && bad.error().is_some());
    }
    let mut idle = plan_of(&edited(POLICY), &mut converged(EXAMPLE));
    let id = idle.steps.keys().next().unwrap().clone();
    match &mut idle.steps.get_mut(&id).unwrap().step {
        Step::UpdateObject { changes, .. } | Step::UpdateChannelConfig { changes, .. } => changes.clear(),
        other => panic!("{other:?}"),
    }
    super::check::refuse(&mut idle);
    assert!(idle.steps[&id].blocked.is_some() && idle.error().is_some());
    let mut whole = good.clone();
    super::check::refuse(&mut whole);
    assert_eq!(whole, good);
}

/// Policies of a channel. The last one would lock everybody out.
const POLICIES: [Option<&str>; 6] = [
    None,
    Some("{application: {Endorsement: ANY Endorsement}}"),
    Some("{application: {Admins: ANY Admins}}"),
    Some("{application: {Admins: ALL Admins}}"),
    Some("{channel: {Admins: ANY Admins}}"),
    Some("{application: {Admins: MAJORITY Endorsement}}"),
];

/// A valid definition: organizations with orderers and peers, and channels among them.
fn definition() -> impl Strategy<Value = String> {
    let organization = (0..5_usize, 0..4_usize, prop::bool::ANY);
    let organizations = prop::collection::vec(organization, 1..5);
    let channel = (prop::collection::vec(prop::bool::ANY, 5), prop::bool::ANY, 0..POLICIES.len(), 0..4_u32);
    (organizations, prop::collection::vec(channel, 0..3)).prop_map(|(organizations, channels)| {
        let mut text = String::from(
            "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {name: trade}\nspec:\n  organizations:\n",
        );
        let mut orderers = 0;
        for (index, (orderer_count, peer_count, large)) in organizations.iter().enumerate() {
            if orderers == 0 {
                orderers = *orderer_count;
            }
            let names =
                |kind: &str, count: usize| (1..=count).map(|n| format!("{kind}{n}")).collect::<Vec<_>>().join(", ");
            writeln!(text, "    - name: org{index}").unwrap();
            writeln!(text, "      orderers: [{}]", names("orderer", *orderer_count)).unwrap();
            writeln!(text, "      peers: [{}]", names("peer", *peer_count)).unwrap();
            if *large {
                writeln!(text, "      quota: {{nodes: 20}}").unwrap();
            }
        }
        if orderers == 0 {
            return text;
        }
        text.push_str("  channels:\n");
        let mut any = false;
        let mut chaincodes = String::new();
        for (index, (members, bft, policy, chaincode)) in channels.iter().enumerate() {
            let names: Vec<String> = (0..organizations.len())
                .filter(|organization| members[*organization])
                .map(|organization| format!("org{organization}"))
                .collect();
            if names.is_empty() {
                continue;
            }
            any = true;
            // More than half of the members must have peers, or nobody can commit.
            let peers = organizations.iter().zip(members).filter(|((_, peers, _), member)| **member && *peers > 0);
            if *chaincode > 0 && peers.count() * 2 > names.len() {
                let source = format!("{{image: \"docker.io/hyperledger/asset:{}\"}}", chaincode % 2);
                let version = chaincode / 2;
                writeln!(
                    chaincodes,
                    "    - {{name: asset, channel: channel{index}, version: v{version}, source: {source}}}"
                )
                .unwrap();
            }
            writeln!(text, "    - name: channel{index}\n      members: [{}]", names.join(", ")).unwrap();
            if *bft && orderers >= 4 {
                writeln!(text, "      consensus: {{type: BFT}}").unwrap();
            }
            if let Some(policy) = POLICIES[*policy] {
                writeln!(text, "      policies: {policy}").unwrap();
            }
        }
        if !chaincodes.is_empty() {
            writeln!(text, "  chaincodes:\n{chaincodes}").unwrap();
        }
        if any { text } else { text.replace("  channels:\n", "") }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// From the world of any definition to any other: acyclic, and a second plan holds only what was blocked.
    #[test]
    fn any_definition_after_any_other(before in definition(), after in definition()) {
        let mut world = converged(&before);
        let removed = world.objects.keys().cloned().collect::<Vec<_>>();
        let wanted = wanted(&after);
        look(&mut world, &wanted);
        let first = plan(&wanted, &world, None);
        prop_assert_eq!(check(&first), []);
        let bytes = serde_json::to_vec(&first).unwrap();
        prop_assert_eq!(&bytes, &serde_json::to_vec(&plan(&wanted, &world, None)).unwrap());
        apply(&mut world, &wanted, &first);
        for object in removed {
            prop_assert!(world.objects.contains_key(&object), "{} is gone", object);
        }
        let second = plan(&wanted, &world, None);
        for (id, planned) in &second.steps {
            prop_assert!(planned.blocked.is_some(), "{} is planned again: {}", id, render(&second));
        }
    }

    /// What is not blocked comes true, and where nothing is blocked nothing is left.
    #[test]
    fn a_plan_leads_to_what_is_desired(before in definition(), after in definition()) {
        let mut world = converged(&before);
        let wanted = wanted(&after);
        look(&mut world, &wanted);
        let first = plan(&wanted, &world, None);
        apply(&mut world, &wanted, &first);
        for (id, planned) in first.steps.iter().filter(|(_, planned)| planned.blocked.is_none()) {
            if let Step::CreateObject { object, .. } | Step::UpdateObject { object, .. } = &planned.step {
                prop_assert_eq!(&world.objects[object].spec, &wanted.objects[object].spec, "{}", id);
            }
        }
        let blocked = first.steps.values().any(|planned| planned.blocked.is_some());
        let second = plan(&wanted, &world, None);
        if !blocked {
            prop_assert_eq!(second.steps.len(), 0, "{}", render(&second));
        }
        let whole = |name: &str| first.steps.iter().all(|(id, planned)| {
            planned.blocked.is_none() || !(id.0.contains(&format!("/{name}/")) || id.0.ends_with(&format!("/{name}")))
        });
        for (name, channel) in wanted.channels.iter().filter(|(name, _)| whole(name)) {
            let live = world.channels[name].config.value().unwrap();
            let unnamed = first.notes.iter().any(|note| note.code == "MemberUnnamed" && note.subject.ends_with(name));
            let mut members = live.facts.clone();
            if unnamed {
                members.members.retain(|msp_id, _| channel.facts.members.contains_key(msp_id));
            }
            let mut wanted = channel.facts.clone();
            if first.notes.iter().any(|note| note.code == "ConsenterUnnamed" && note.subject.ends_with(name)) {
                members.consenters.retain(|address| wanted.consenters.contains(address));
                members.orderer_organizations.retain(|msp_id, _| wanted.orderer_organizations.contains_key(msp_id));
                for (msp_id, endpoints) in &mut members.orderer_organizations {
                    endpoints.retain(|endpoint| wanted.orderer_organizations[msp_id].contains(endpoint));
                }
            }
            // Those that come later come last.
            for facts in [&mut members, &mut wanted] {
                facts.consenters.sort();
                facts.orderer_organizations.values_mut().for_each(|endpoints| endpoints.sort());
            }
            prop_assert_eq!(super::channels::fact_changes(members, &wanted), vec![], "{}", name);
        }
    }

    /// Whatever step the world stops after: no channel that ordered stops ordering, and nobody is locked out who was not.
    #[test]
    fn no_state_between_breaks_a_quorum_or_locks_anyone_out(before in definition(), after in definition()) {
        let mut world = converged(&before);
        let wanted = wanted(&after);
        look(&mut world, &wanted);
        let plan = plan(&wanted, &world, None);
        let mut earlier = states(&world);
        for id in plan.ordered() {
            let planned = &plan.steps[&id];
            if planned.blocked.is_some() {
                continue;
            }
            if let Step::RemoveObject { object: ObjectRef { kind: Kind::Orderer, .. }, .. } = &planned.step {
                prop_assert!(false, "{} takes an orderer away that nobody retired", id);
            }
            for channel in planned.effects.restart.iter().flat_map(|restart| &restart.meanwhile) {
                // In a healthy world only those that cannot spare anybody stand still.
                if let Some(needed) = channel.needed {
                    prop_assert_eq!(channel.goes_on(), channel.of > needed, "{:?}", channel);
                }
            }
            model::take(&mut world, &wanted, &planned.step, &CERTIFICATES).unwrap();
            let now = states(&world);
            for (name, state) in &now {
                let was = earlier.get(name).copied().unwrap_or_default();
                prop_assert!(state.orders || !was.orders, "{} stops channel {}", id, name);
                prop_assert!(!state.locked || was.locked, "{} locks everybody out of channel {}", id, name);
            }
            earlier = now;
        }
    }

    /// Two revisions are compared as the world is: the same steps as of the world that the first one makes.
    #[test]
    fn revisions_are_compared_like_worlds(before in definition(), after in definition()) {
        let mut world = converged(&before);
        let (was, asked) = (wanted(&before), wanted(&after));
        look(&mut world, &asked);
        let from_world = plan(&asked, &world, None);
        let revisions = (was.clone().into(), asked.clone().into());
        let between = model::plan_between(&revisions.0, &revisions.1, "main", None).unwrap().plan;
        let blocked_before = {
            let mut empty = Observed::default();
            look(&mut empty, &was);
            plan(&was, &empty, None).steps.values().any(|planned| planned.blocked.is_some())
        };
        // What the first revision could not bring about is only missing in the world.
        if !blocked_before {
            prop_assert!(from_world.steps.keys().eq(between.steps.keys()), "{}\n--\n{}", render(&from_world), render(&between));
        }
    }

    #[test]
    fn a_new_world_converges_in_one_plan(text in definition()) {
        let wanted = wanted(&text);
        let mut world = Observed::default();
        look(&mut world, &wanted);
        let first = plan(&wanted, &world, None);
        let blocked = first.steps.values().filter(|planned| planned.blocked.is_some()).count();
        apply(&mut world, &wanted, &first);
        let again = plan_of(&text, &mut world);
        prop_assert_eq!(again.steps.len(), blocked, "{}", render(&again));
    }
}

/// How a channel is.
#[derive(Clone, Copy, Default)]
struct State {
    /// Whether so many consenters hold it that it orders.
    orders: bool,
    /// Whether there is something that nobody can change.
    locked: bool,
}

fn states(world: &Observed) -> BTreeMap<String, State> {
    let state = |name: &String, seen: &ObservedChannel| {
        let live = seen.config.value()?;
        let current = CurrentConfig::from_bytes(name, &live.config).unwrap();
        let consenters = live.facts.consenters.len();
        let needed = match live.facts.consensus_type {
            ConsensusType::EtcdRaft => consenters / 2 + 1,
            ConsensusType::Bft => tenter_fabric::policy::bft_quorum(consenters),
        };
        let serving = seen.orderers.values().filter(|view| view.live.value().is_some()).count();
        let locked = crate::channel_config::lock_out(None, &current).is_some();
        Some((name.clone(), State { orders: serving >= needed, locked }))
    };
    world.channels.iter().filter_map(|(name, seen)| state(name, seen)).collect()
}

#[test]
fn consensus_types_have_their_options() {
    for consensus_type in [ConsensusType::EtcdRaft, ConsensusType::Bft] {
        let options = crate::network::all_options(consensus_type, &BTreeMap::new());
        assert_eq!(options.len(), crate::network::consensus_options(consensus_type).len());
    }
}
