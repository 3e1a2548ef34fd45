//! A plan, for people and for programs.

mod review;
mod steps;

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tenter_consortium::plan::{Note, NoteLevel, Plan, PlannedStep, Step, Unseen};

use self::steps::{short_package, step_text};
use super::{API_VERSION, Style, count, printable};

/// Digits of the plan's hash that the command shows which approves it.
const APPROVE_DIGITS: usize = 12;

/// A plan and what a reader must know of how it was made.
#[derive(Clone, Debug)]
pub struct PlanReport {
    /// The plan.
    pub plan: Plan,
    /// The definition's file, as the reader knows it.
    pub file: String,
    /// What it was compared with.
    pub basis: Basis,
}

/// What a definition was compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The cluster and its nodes.
    World,
    /// Nothing: as if nothing existed.
    Nothing,
    /// The definition at another revision, by its name.
    Revision(String),
    /// A snapshot of the cluster and its nodes.
    Snapshot {
        /// When it was taken, and how long ago that is.
        taken: String,
        /// Who signed it.
        signer: String,
    },
}

impl Basis {
    /// What a reader must know of it first.
    fn warning(&self) -> Option<String> {
        match self {
            Self::World => None,
            Self::Nothing => {
                Some("Offline: planned as if nothing existed; the real plan needs the cluster.".to_owned())
            }
            Self::Revision(before) => Some(format!("Compared with {before}; no cluster was looked at.")),
            Self::Snapshot { taken, signer } => Some(format!(
                "Planned from a snapshot of {taken}, signed by {signer}; what it does not name is taken to be absent."
            )),
        }
    }

    /// The revision that it was compared with.
    fn revision(&self) -> Option<&str> {
        match self {
            Self::Revision(before) => Some(before),
            Self::World | Self::Nothing | Self::Snapshot { .. } => None,
        }
    }

    /// The snapshot that it was compared with, in words.
    fn snapshot(&self) -> Option<String> {
        match self {
            Self::Snapshot { taken, signer } => Some(format!("{taken}, signed by {signer}")),
            Self::World | Self::Nothing | Self::Revision(_) => None,
        }
    }
}

impl PlanReport {
    /// For programs: the plan itself, and what a reader must know of how it was made.
    pub fn json(&self) -> Value {
        let Self { plan, file, basis } = self;
        let (offline, against) = (*basis == Basis::Nothing, basis.revision());
        let snapshot = basis.snapshot();
        let document = PlanDocument { api_version: API_VERSION, kind: "Plan", file, offline, against, snapshot, plan };
        serde_json::to_value(&document).unwrap_or_default()
    }

    /// The command that approves what cannot be undone, where something of the plan cannot, is not approved, and the plan is of
    /// this world.
    fn approve(&self) -> Option<String> {
        let of_world = matches!(self.basis, Basis::World | Basis::Snapshot { .. });
        let hash = self.plan.hash.get(..APPROVE_DIGITS)?;
        let open = self.plan.steps.values().any(PlannedStep::is_unapproved);
        (of_world && open).then(|| format!("tenter approve {hash}"))
    }

    /// For people: header, steps in the order in which they can be done, notes, one line that counts.
    pub fn text(&self, style: Style) -> String {
        let Self { plan, file, basis } = self;
        let mut text = format!("Plan for {}", style.bold(&plan.consortium));
        if let Some(revision) = &plan.revision {
            let _ = write!(text, " at {}", printable(short_revision(revision)));
        }
        text.push('\n');
        if let Some(warning) = basis.warning() {
            let _ = writeln!(text, "{}", style.yellow(&printable(&warning)));
        }
        text.push('\n');
        let order = plan.ordered();
        for (place, id) in order.iter().enumerate() {
            if let Some(planned) = plan.steps.get(id) {
                text.push_str(&step_text(place + 1, planned, file, style));
            }
        }
        if !plan.steps.is_empty() {
            text.push('\n');
        }
        text.push_str(&notes_text(&plan.notes, style));
        if let Some(approve) = self.approve() {
            let _ = writeln!(text, "What cannot be undone is approved with: {approve}\n");
        }
        let _ = writeln!(text, "{}", summary(plan, style));
        text
    }
}

/// What `-o json` prints.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "Plan")]
pub struct PlanDocument<'a> {
    /// Version of this format: `cli.tenter.dev/v1alpha1`.
    api_version: &'static str,
    /// `Plan`.
    kind: &'static str,
    /// The definition's file, as the reader knows it.
    file: &'a str,
    /// Whether it was made as if nothing existed.
    offline: bool,
    /// The revision that the definition was compared with, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<&'a str>,
    /// The snapshot that it was made from, where it was: when it was taken, and who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
    /// The plan.
    #[serde(flatten)]
    plan: &'a Plan,
}

/// A commit's short name; what is no commit stays whole.
pub fn short_revision(revision: &str) -> &str {
    let hex = revision.len() == 40 && revision.chars().all(|letter| letter.is_ascii_hexdigit());
    if hex { &revision[..10] } else { revision }
}

/// What a step does, in a few words: `create Peer trade-acme/peer1`.
pub fn headline(step: &Step) -> String {
    match step {
        Step::CreateNamespace { namespace, organization } => {
            format!("create Namespace {namespace} for organization {organization}")
        }
        Step::CreateObject { object, .. } => format!("create {object}"),
        Step::UpdateObject { object, .. } => format!("update {object}"),
        Step::PinGenesis { channel } => format!("pin the genesis block of channel {channel}"),
        Step::JoinOrderer { channel, orderer } => format!("join orderer {orderer} to channel {channel}"),
        Step::JoinPeer { channel, peer } => format!("join peer {peer} to channel {channel}"),
        Step::UpdateChannelConfig { channel, topic, .. } => {
            format!("update the configuration of channel {channel}: {topic}")
        }
        Step::StorePackage { namespace, config_map, package_id, .. } => {
            format!("keep package {} in ConfigMap {namespace}/{config_map}", short_package(package_id))
        }
        Step::StoreMaterial { namespace, config_map, subject, .. } => {
            format!("keep {subject} in ConfigMap {namespace}/{config_map}")
        }
        Step::DeployChaincode { channel, name, sequence, changes, commit, waits, .. } => {
            let changed = *commit || !waits.is_empty() || !changes.is_empty();
            match sequence {
                Some(1) if changed => format!("define chaincode {name} on channel {channel}"),
                Some(sequence) if changed => {
                    format!("upgrade chaincode {name} on channel {channel} to sequence {sequence}")
                }
                None => format!("upgrade chaincode {name} on channel {channel}"),
                Some(sequence) => {
                    format!("install chaincode {name} on channel {channel} and approve its sequence {sequence}")
                }
            }
        }
        Step::RemoveObject { object, .. } => format!("remove {object}"),
        Step::AwaitReady { object, .. } => format!("wait for {object}"),
    }
}

fn notes_text(notes: &[Note], style: Style) -> String {
    let mut text = String::new();
    for Note { level, code, subject, message } in notes {
        let word = match level {
            NoteLevel::Info => style.cyan("note"),
            NoteLevel::Warning => style.yellow("warning"),
            NoteLevel::Error => style.red("error"),
        };
        let _ = writeln!(text, "{word}[{code}]: {}: {}", printable(subject), printable(message));
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    text
}

/// Counts of a plan's steps by what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Namespaces and objects that will be made.
    pub create: usize,
    /// Objects, channel configurations and chaincodes that will be changed.
    pub update: usize,
    /// Genesis blocks pinned and nodes joined.
    pub join: usize,
    /// Objects that will go.
    pub remove: usize,
    /// Objects waited for.
    pub wait: usize,
    /// Steps that are blocked; they count in no other field.
    pub blocked: usize,
    /// Steps for which members have to bring something first; they count in no other field.
    pub awaited: usize,
}

/// Counts a plan's steps.
pub fn counts(plan: &Plan) -> Counts {
    let mut counts = Counts::default();
    for planned in plan.steps.values() {
        let field = match &planned.step {
            _ if planned.unseen == Some(Unseen::Awaited) => &mut counts.awaited,
            _ if planned.blocked.is_some() => &mut counts.blocked,
            Step::CreateNamespace { .. }
            | Step::CreateObject { .. }
            | Step::StorePackage { .. }
            | Step::StoreMaterial { .. } => &mut counts.create,
            Step::UpdateObject { .. } | Step::UpdateChannelConfig { .. } | Step::DeployChaincode { .. } => {
                &mut counts.update
            }
            Step::RemoveObject { .. } => &mut counts.remove,
            Step::PinGenesis { .. } | Step::JoinOrderer { .. } | Step::JoinPeer { .. } => &mut counts.join,
            Step::AwaitReady { .. } => &mut counts.wait,
        };
        *field += 1;
    }
    counts
}

/// One line that says how much there is to do.
pub fn summary(plan: &Plan, style: Style) -> String {
    if plan.steps.is_empty() {
        return style.green("Nothing to do: everything is as the file says.");
    }
    let Counts { create, update, join, remove, wait, blocked, awaited } = counts(plan);
    let mut parts = Vec::new();
    for (number, what) in [
        (create, "to create"),
        (update, "to change"),
        (join, "to form and join"),
        (remove, "to remove"),
        (wait, "to wait for"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    if awaited > 0 {
        parts.push(style.yellow(&format!("{awaited} not yet")));
    }
    if blocked > 0 {
        parts.push(style.red(&format!("{blocked} blocked")));
    }
    format!("{}: {}.", count(plan.steps.len(), "step"), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use tenter_consortium::document::Blob;
    use tenter_consortium::objects::{Kind, ObjectRef};
    use tenter_consortium::observed::NodeRef;
    use tenter_consortium::plan::{Effects, FieldChange, Origin, PlannedStep, Signing, StepId};

    use super::*;

    fn planned(step: Step, needs: &[&str]) -> PlannedStep {
        PlannedStep {
            step,
            needs: needs.iter().map(|need| StepId((*need).to_owned())).collect(),
            reasons: vec![Origin { line: 7, column: 5, path: "spec.organizations[0]".to_owned() }],
            blocked: None,
            unseen: None,
            irreversible: None,
            effects: Effects::default(),
            approval: None,
        }
    }

    fn plan(steps: Vec<(&str, PlannedStep)>) -> Plan {
        Plan {
            format: 1,
            consortium: "trade".to_owned(),
            revision: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
            steps: steps.into_iter().map(|(id, step)| (StepId(id.to_owned()), step)).collect(),
            notes: vec![Note {
                level: NoteLevel::Warning,
                code: "Orphan".to_owned(),
                subject: "Peer trade-acme/peer9".to_owned(),
                message: "is not in the file any more".to_owned(),
            }],
            hash: String::new(),
        }
    }

    fn peer(name: &str) -> ObjectRef {
        ObjectRef { kind: Kind::Peer, namespace: "trade-acme".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn shows_steps_in_order_with_their_differences() {
        let create = Step::CreateNamespace { namespace: "trade-acme".to_owned(), organization: "acme".to_owned() };
        let update = Step::UpdateObject {
            object: peer("peer1"),
            labels: BTreeMap::new(),
            spec: json!({}),
            changes: vec![
                FieldChange { path: "spec.image".to_owned(), from: Some(json!("a:1")), to: Some(json!("a:2")) },
                FieldChange {
                    path: "spec.text".to_owned(),
                    from: Some(json!("one\ntwo\nthree")),
                    to: Some(json!("one\n2\nthree")),
                },
                FieldChange { path: "spec.new".to_owned(), from: None, to: Some(json!(3)) },
            ],
            drift: Vec::new(),
        };
        let mut blocked = planned(Step::PinGenesis { channel: "settlement".to_owned() }, &["a/peer"]);
        blocked.blocked = Some("acme's certificates are missing".to_owned());
        blocked.irreversible = Some("a genesis block is for ever".to_owned());
        let report = PlanReport {
            plan: plan(vec![
                ("a/peer", planned(update, &["z/namespace"])),
                ("b", blocked),
                ("z/namespace", planned(create, &[])),
            ]),
            file: "network.yaml".to_owned(),
            basis: Basis::Nothing,
        };
        insta::assert_snapshot!(report.text(Style::default()));
    }

    #[test]
    fn shows_who_does_what_for_a_chaincode() {
        let node = |name: &str| NodeRef { namespace: "trade-acme".to_owned(), name: name.to_owned() };
        let deploy =
            |sequence, changes, install: &[&str], commit, waits: &[&str], drift: Option<&str>| Step::DeployChaincode {
                channel: "settlement".to_owned(),
                name: "asset".to_owned(),
                sequence,
                changes,
                package: format!("asset_1.0:{}", "0123456789abcdef".repeat(4)),
                install: install.iter().map(|name| node(name)).collect(),
                approve: vec!["acme".to_owned()],
                commit,
                signing: Signing {
                    required: "peers of 2 of AcmeMSP, GlobexMSP and InitechMSP".to_owned(),
                    own: vec!["AcmeMSP".to_owned()],
                    missing: (!commit).then(|| "too few".to_owned()),
                    ..Signing::default()
                },
                waits: waits.iter().map(|name| (*name).to_owned()).collect(),
                drift: drift.map(str::to_owned),
            };
        let version = |from: Option<&str>, to: &str| {
            vec![FieldChange { path: "version".to_owned(), from: from.map(|text| json!(text)), to: Some(json!(to)) }]
        };
        let mut late = deploy(Some(2), Vec::new(), &["peer3"], false, &[], None);
        if let Step::DeployChaincode { signing, .. } = &mut late {
            *signing = Signing::default();
        }
        let drift = "sequence 2 was committed in block 12 by GlobexMSP (CN=mallory)";
        let package = Step::StorePackage {
            namespace: "tenter-system".to_owned(),
            config_map: "settlement-asset-01234567".to_owned(),
            package_id: format!("asset_1.0:{}", "0123456789abcdef".repeat(4)),
            package: Blob::default(),
        };
        let first = deploy(Some(1), version(None, "1.0"), &["peer1", "peer2"], true, &["initech"], None);
        let report = PlanReport {
            plan: plan(vec![
                ("a", planned(package, &[])),
                ("b", planned(first, &["a"])),
                ("c", planned(deploy(Some(3), version(Some("6.6"), "1.0"), &[], false, &["globex"], Some(drift)), &[])),
                ("d", planned(late, &[])),
            ]),
            file: "network.yaml".to_owned(),
            basis: Basis::World,
        };
        insta::assert_snapshot!(report.text(Style::default()));
        assert!(!report.json().to_string().contains("bytes"), "a plan that is shown has no packages in it");
    }

    #[test]
    fn an_empty_plan_says_so() {
        let mut empty = plan(Vec::new());
        empty.notes.clear();
        let report = PlanReport { plan: empty, file: "network.yaml".to_owned(), basis: Basis::World };
        assert_eq!(
            report.text(Style::default()),
            "Plan for trade at 0123456789\n\nNothing to do: everything is as the file says.\n"
        );
    }

    #[test]
    fn an_order_respects_needs_whatever_the_names() {
        let wait = |name: &str| Step::AwaitReady { object: peer(name), state: String::new() };
        let plan = plan(vec![
            ("a", planned(wait("a"), &["b", "c"])),
            ("b", planned(wait("b"), &["c"])),
            ("c", planned(wait("c"), &["outside"])),
        ]);
        let order: Vec<String> = plan.ordered().into_iter().map(|id| id.0).collect();
        assert_eq!(order, ["c", "b", "a"]);
    }
}
