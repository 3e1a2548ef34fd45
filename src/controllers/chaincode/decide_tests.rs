use k8s_openapi::api::apps::v1::Deployment;
use tenter_consortium::chaincode::Next;
use tenter_fabric::chaincode::{Definition, PackageId};

use super::*;

fn node(organization: &str, name: &str) -> NodeRef {
    NodeRef { namespace: format!("trade-{organization}"), name: name.to_owned() }
}

fn present<T>(value: T) -> Observation<T> {
    Observation::Present { value }
}

fn absent<T>() -> Observation<T> {
    Observation::Absent { evidence: "it has 2 other packages".to_owned() }
}

fn package() -> PackageId {
    format!("assets_1.0:{}", "0".repeat(64)).parse().unwrap()
}

fn member(organization: &str, hosted: bool, installed: Observation<()>, approval: Approval) -> MemberProgress {
    MemberProgress {
        organization: organization.to_owned(),
        msp_id: format!("{organization}MSP"),
        namespace: format!("trade-{organization}"),
        hosted,
        peers: if hosted { BTreeMap::from([("peer1".to_owned(), installed)]) } else { BTreeMap::new() },
        approval,
    }
}

fn running() -> Service {
    Service { refused: None, issue: None, pending: Vec::new(), runs: Ok(()), earlier: None, old: Vec::new() }
}

/// A contract that all have approved and that is in force.
fn view() -> View {
    let members = ["acme", "globex"].map(|name| member(name, true, present(()), Approval::Given));
    let progress = Progress {
        definition: Definition::new("assets", "1.0"),
        package: package(),
        next: Next::InSync { sequence: 1 },
        members: members.into(),
    };
    View {
        progress: present(progress),
        defined: true,
        lifecycle: absent(),
        refused: Vec::new(),
        went_back: None,
        initialized: absent(),
        outside: BTreeMap::new(),
        services: [("acme".to_owned(), running()), ("globex".to_owned(), running())].into(),
        left: Vec::new(),
        definition_awaited: None,
    }
}

/// The same, before anything was approved or committed.
fn fresh() -> View {
    let mut view = view();
    view.defined = false;
    change(&mut view, |progress| {
        progress.next = Next::Change { sequence: 1, differences: Vec::new() };
        for member in &mut progress.members {
            member.approval = Approval::Missing;
        }
    });
    view
}

fn change(view: &mut View, how: impl FnOnce(&mut Progress)) {
    let Observation::Present { value } = &mut view.progress else { panic!("no progress") };
    how(value);
}

fn lifecycle(endorsers: Option<&[&str]>) -> Observation<Lifecycle> {
    let endorsers = endorsers.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    present(Lifecycle { required: "2 of acmeMSP and globexMSP".to_owned(), endorsers })
}

/// Reason, phase, and the actions in a word each.
fn seen(view: &View) -> (String, Phase, Vec<String>) {
    let decision = decide(view);
    let actions = decision.actions.iter().map(|action| match action {
        Action::Issue(issue) => format!("issue {}", issue.organization),
        Action::Apply(child) => format!("apply {child:?}"),
        Action::Install(peer) => format!("install {}/{}", peer.namespace, peer.name),
        Action::Approve { organization, sequence } => format!("approve {organization} {sequence}"),
        Action::Commit { sequence, endorsers } => format!("commit {sequence} {}", endorsers.len()),
        Action::Initialize => "initialize".to_owned(),
        Action::Remove { namespace, name } => format!("remove {namespace}/{name}"),
    });
    (decision.outlook.verdict.reason().to_owned(), decision.phase, actions.collect())
}

fn expect(reason: &str, phase: Phase, actions: &[&str]) -> (String, Phase, Vec<String>) {
    (reason.to_owned(), phase, actions.iter().map(|action| (*action).to_owned()).collect())
}

#[test]
fn what_is_in_force_and_served_needs_nothing() {
    assert_eq!(seen(&view()), expect("Serving", Phase::Serving, &[]));
}

#[test]
fn nothing_is_done_about_a_ledger_that_cannot_be_read() {
    let mut view = view();
    view.progress = Observation::Unreachable { evidence: "no answer".to_owned() };
    assert_eq!(seen(&view), expect("LedgerUnreadable", Phase::Upgrading, &[]));
    view.progress = Observation::Absent { evidence: "no own peer is in channel settlement yet".to_owned() };
    view.defined = false;
    assert_eq!(seen(&view), expect("ChannelPending", Phase::Pending, &[]));
}

#[test]
fn nothing_is_approved_or_committed_before_the_definition_was_seen() {
    let mut view = fresh();
    view.definition_awaited = Some("the repository is being read".to_owned());
    let decision = decide(&view);
    assert!(decision.outlook.verdict.message().contains("the repository is being read"), "{decision:?}");
    assert_eq!(seen(&view), expect("DefinitionNotSeen", Phase::Approving, &[]));
    change(&mut view, |progress| {
        for member in &mut progress.members {
            member.approval = Approval::Given;
        }
    });
    view.lifecycle = lifecycle(Some(&["acmeMSP", "globexMSP"]));
    assert_eq!(seen(&view), expect("DefinitionNotSeen", Phase::Committing, &[]));
    view.definition_awaited = None;
    assert_eq!(seen(&view), expect("Committing", Phase::Committing, &["commit 1 2"]));
    // What is as the spec says goes on.
    let served = View { definition_awaited: Some("the repository is being read".to_owned()), ..self::view() };
    assert_eq!(seen(&served), expect("Serving", Phase::Serving, &[]));
}

#[test]
fn service_package_approval_and_commit_follow_each_other() {
    let mut view = fresh();
    for service in view.services.values_mut() {
        service.runs = Err("0 of 1 Pods are available".to_owned());
    }
    change(&mut view, |progress| {
        for member in &mut progress.members {
            member.peers.insert("peer1".to_owned(), absent());
        }
    });
    let installs = ["install trade-acme/peer1", "install trade-globex/peer1"];
    assert_eq!(seen(&view), expect("Installing", Phase::Installing, &installs), "packages need no running service");
    change(&mut view, |progress| {
        for member in &mut progress.members {
            member.peers.insert("peer1".to_owned(), present(()));
        }
    });
    assert_eq!(seen(&view), expect("Installing", Phase::Installing, &[]), "nothing is approved that nobody could call");
    view.services.insert("acme".to_owned(), running());
    assert_eq!(seen(&view), expect("Installing", Phase::Installing, &["approve acme 1"]), "each goes as far as it can");
    view.services.insert("globex".to_owned(), running());
    assert_eq!(seen(&view), expect("Approving", Phase::Approving, &["approve acme 1", "approve globex 1"]));
    change(&mut view, |progress| {
        for member in &mut progress.members {
            member.approval = Approval::Given;
        }
    });
    assert_eq!(seen(&view), expect("PolicyUnreadable", Phase::Committing, &[]));
    view.lifecycle = lifecycle(Some(&["acmeMSP", "globexMSP"]));
    assert_eq!(seen(&view), expect("Committing", Phase::Committing, &["commit 1 2"]));
}

#[test]
fn members_elsewhere_are_waited_for_by_name() {
    let mut view = fresh();
    view.services.remove("globex");
    view.lifecycle = lifecycle(None);
    change(&mut view, |progress| {
        progress.members[0].approval = Approval::Given;
        progress.members[1] = member("globex", false, absent(), Approval::Missing);
    });
    assert_eq!(seen(&view), expect("ApprovalMissing", Phase::Committing, &[]));
    let message = decide(&view).outlook.verdict.message().to_owned();
    assert!(
        message.contains("2 of acmeMSP and globexMSP") && message.contains("globex: it has not approved"),
        "{message}"
    );
    change(&mut view, |progress| progress.members[1].approval = Approval::Given);
    assert_eq!(seen(&view), expect("PolicyUnsatisfiable", Phase::Committing, &[]));
}

#[test]
fn another_package_of_the_same_definition_is_approved_again() {
    let mut view = view();
    change(&mut view, |progress| progress.members[0].approval = Approval::OtherPackage { package: None });
    view.services.get_mut("acme").unwrap().old = vec![("trade-acme".to_owned(), "cc-old".to_owned())];
    assert_eq!(
        seen(&view),
        expect("Approving", Phase::Upgrading, &["approve acme 1"]),
        "the earlier service is called still"
    );
    change(&mut view, |progress| progress.members[0].approval = Approval::Given);
    assert_eq!(seen(&view), expect("Serving", Phase::Serving, &["remove trade-acme/cc-old"]));
}

#[test]
fn a_program_that_goes_away_degrades_what_is_in_force() {
    let mut view = view();
    view.services.get_mut("globex").unwrap().runs = Err("Pod x: CrashLoopBackOff".to_owned());
    assert_eq!(seen(&view), expect("NotServing", Phase::Degraded, &[]));
    let serving = decide(&view).serving;
    assert_eq!((serving[&node("acme", "peer1")].is_ok(), serving[&node("globex", "peer1")].is_ok()), (true, false));
    let mut view = self::view();
    view.outside.insert(node("acme", "peer1"), "it has not joined".to_owned());
    assert_eq!(seen(&view), expect("NotServing", Phase::Degraded, &[]));
}

#[test]
fn what_the_ledger_or_the_settings_refuse_stops_everything() {
    let mut view = fresh();
    view.refused = vec!["the collection prices is gone".to_owned()];
    assert_eq!(seen(&view), expect("DefinitionRefused", Phase::Pending, &[]));
    let mut view = fresh();
    let verdict = Verdict::stalled("ImageNotAllowed", "this daemon may not run x");
    view.services.get_mut("acme").unwrap().refused = Some(verdict);
    assert_eq!(seen(&view), expect("ImageNotAllowed", Phase::Installing, &["approve globex 1"]));
}

#[test]
fn init_is_called_once_where_the_definition_demands_it() {
    let mut view = view();
    change(&mut view, |progress| progress.definition.init_required = true);
    assert_eq!(seen(&view), expect("Initializing", Phase::Upgrading, &[]), "it is not known");
    view.initialized = present(false);
    assert_eq!(seen(&view), expect("Initializing", Phase::Upgrading, &["initialize"]));
    view.initialized = present(true);
    assert_eq!(seen(&view), expect("Serving", Phase::Serving, &[]));
}

/// A service of the definition in force that was deleted, as the cluster's objects say it.
fn deleted() -> Earlier {
    Earlier {
        pending: vec![Child::from(Deployment::default())],
        runs: Err("Deployment cc-old is being made".to_owned()),
    }
}

#[test]
fn what_is_in_force_is_kept_up_while_another_definition_waits() {
    let mut view = fresh();
    view.defined = true;
    view.lifecycle = lifecycle(None);
    change(&mut view, |progress| {
        progress.members[0].approval = Approval::Given;
        progress.members[1] = member("globex", false, absent(), Approval::Missing);
    });
    view.services.remove("globex");
    view.services.get_mut("acme").unwrap().earlier = Some(deleted());
    let (reason, phase, actions) = seen(&view);
    assert_eq!((reason.as_str(), phase, actions.len()), ("ApprovalMissing", Phase::Upgrading, 1), "{actions:?}");
    assert!(actions[0].starts_with("apply"), "{actions:?}");
    let message = decide(&view).outlook.verdict.message().to_owned();
    assert!(message.contains("what is in force is not served by acme: Deployment cc-old"), "{message}");
    // Neither an image that is not allowed nor a definition that peers would refuse holds it up.
    let verdict = Verdict::stalled("ImageNotAllowed", "this daemon may not run x");
    view.services.get_mut("acme").unwrap().refused = Some(verdict);
    assert_eq!((seen(&view).0.as_str(), seen(&view).2.len()), ("ImageNotAllowed", 1));
    view.refused = vec!["the collection prices is gone".to_owned()];
    assert_eq!((seen(&view).0.as_str(), seen(&view).2.len()), ("DefinitionRefused", 1));
}

#[test]
fn nothing_is_done_on_a_ledger_that_went_back() {
    let mut view = fresh();
    view.went_back = Some("sequence 3 was committed, and now the ledger has sequence 2".to_owned());
    assert_eq!(seen(&view), expect("SequenceWentBack", Phase::Degraded, &[]));
}

#[test]
fn services_of_a_member_that_left_are_taken_down() {
    let mut view = view();
    view.left = vec![("trade-initech".to_owned(), "cc-assets-0a".to_owned())];
    let removed = |view: &View| {
        let decision = decide(view);
        decision.actions.iter().any(|it| matches!(it, Action::Remove { namespace, .. } if namespace == "trade-initech"))
    };
    assert!(removed(&view));
    // Whatever the ledger says, or does not say.
    view.progress = Observation::Unreachable { evidence: "timed out".to_owned() };
    assert!(removed(&view));
}
