//! A plan, for people and for programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};
use tenter_consortium::diagnostic::Span;
use tenter_consortium::objects::TouchedElement;
use tenter_consortium::plan::{
    Effects, FieldChange, Meanwhile, Note, NoteLevel, Origin, Passing, Plan, PlannedStep, Restart, Signing, Step,
    StepId,
};

use super::markdown::{self, Markdown, Section};
use super::review::{Case, Level, Remark, Review, RuleText};
use super::{API_VERSION, Style, count, printable};

/// Longest value of a field that stands on one line, in characters.
const ONE_LINE: usize = 60;
/// Most lines of one field's difference.
const DIFF_LINES: usize = 40;
/// Places in the file that one step names.
const REASONS: usize = 3;

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

    /// For a pull request.
    pub fn review(&self) -> Review {
        let Self { plan, file, basis: _ } = self;
        let order = plan.ordered();
        let steps = || order.iter().filter_map(|id| plan.steps.get(id));
        let mut remarks: Vec<Remark> = steps().flat_map(step_remarks).collect();
        remarks.extend(plan.notes.iter().map(note_remark));
        let case = |planned: &PlannedStep| Case {
            name: headline(&planned.step),
            group: "steps".to_owned(),
            failure: planned.blocked.clone(),
            output: planned.irreversible.as_ref().map(|why| format!("cannot be undone: {why}")),
        };
        let mut rules: Vec<RuleText> = PLAN_RULES.iter().map(PlanRule::text).collect();
        for note in &remarks {
            if rules.iter().all(|rule| rule.id != note.rule) {
                let title = format!("{} of the plan.", note.rule.trim_start_matches("plan/"));
                let explanation = "The message says what is so and what to do next.".to_owned();
                rules.push(RuleText { id: note.rule.clone(), title, explanation, level: note.level });
            }
        }
        Review {
            command: "plan",
            file: file.clone(),
            remarks,
            rules,
            cases: steps().map(case).collect(),
            markdown: self.markdown(&order),
        }
    }

    fn markdown(&self, order: &[StepId]) -> Markdown {
        let Self { plan, file, basis } = self;
        let plain = Style::default();
        let revision =
            plan.revision.as_deref().map(|revision| format!(" at {}", markdown::code(short_revision(revision))));
        let heading = format!("Tenter plan for {}{}", markdown::code(&plan.consortium), revision.unwrap_or_default());
        let mut head = vec![format!("**{}**", markdown::escaped(&summary(plan, plain)))];
        head.extend(basis.warning().map(|warning| markdown::escaped(&warning)));
        let numbered =
            || order.iter().enumerate().filter_map(|(place, id)| plan.steps.get(id).map(|step| (place + 1, step)));
        let mut items = alike(
            "⛔",
            ("is blocked", "are blocked"),
            numbered().map(|(number, planned)| (number, planned, &planned.blocked)),
        );
        let final_ones = numbered().map(|(number, planned)| (number, planned, &planned.irreversible));
        items.extend(alike("⚠️", ("cannot be undone", "cannot be undone"), final_ones));
        for (number, planned) in numbered() {
            let name = markdown::code(&headline(&planned.step));
            if let Some(missing) = missing_signatures(&planned.step) {
                items.push(format!("- ✍️ {number}. {name} needs more signatures: {}", markdown::escaped(missing)));
            }
            let halted = planned.effects.restart.iter().flat_map(|restart| &restart.meanwhile);
            for channel in halted.filter(|channel| !channel.goes_on()) {
                let text = markdown::escaped(&meanwhile_text(channel));
                items.push(format!("- ⏸️ {number}. {name} restarts a node: {text}"));
            }
        }
        for Note { level, code, subject, message } in &plan.notes {
            let sign = match level {
                NoteLevel::Info => "ℹ️",
                NoteLevel::Warning => "⚠️",
                NoteLevel::Error => "❌",
            };
            let code = markdown::code(code);
            items.push(format!("- {sign} {code} {}: {}", markdown::escaped(subject), markdown::escaped(message)));
        }
        if let Some(first) = items.first_mut() {
            // A list begins after an empty line.
            first.insert(0, '\n');
        }
        head.extend(items);
        let mut lines = Vec::new();
        for (number, planned) in numbered() {
            let sign = match symbol(planned, plain).as_str() {
                "+" | ">" => '+',
                "-" => '-',
                "." => ' ',
                _ => '!',
            };
            lines.push(format!("{sign} {number}. {}", printable(&headline(&planned.step))));
            lines.extend(step_text(number, planned, file, plain).lines().skip(1).map(str::to_owned));
        }
        let sections = if lines.is_empty() {
            Vec::new()
        } else {
            vec![Section { summary: format!("All {}", count(plan.steps.len(), "step")), language: "diff", lines }]
        };
        Markdown { marker: format!("plan:{}", plan.consortium), heading, head, sections }
    }

    /// For people: header, steps in the order in which they can be done, notes, one line that counts.
    pub fn text(&self, style: Style) -> String {
        let Self { plan, file, basis } = self;
        let mut text = format!("Plan for {}", style.bold(&plan.consortium));
        if let Some(revision) = &plan.revision {
            let _ = write!(text, " at {}", short_revision(revision));
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
        let _ = writeln!(text, "{}", summary(plan, style));
        text
    }
}

/// List items for steps of which something is so, those with the same reason in one.
fn alike<'a>(
    sign: &str,
    (one, many): (&str, &str),
    steps: impl Iterator<Item = (usize, &'a PlannedStep, &'a Option<String>)>,
) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<(usize, &PlannedStep)>)> = Vec::new();
    for (number, planned, reason) in steps {
        let Some(reason) = reason.as_deref() else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, steps)) => steps.push((number, planned)),
            None => reasons.push((reason, vec![(number, planned)])),
        }
    }
    let items = reasons.into_iter().map(|(reason, steps)| {
        let reason = markdown::escaped(reason);
        if let [(number, planned)] = steps.as_slice() {
            return format!("- {sign} {number}. {} {one}: {reason}", markdown::code(&headline(&planned.step)));
        }
        let numbers: Vec<String> = steps.iter().map(|(number, _)| number.to_string()).collect();
        format!("- {sign} {} ({}) {many}: {reason}", count(steps.len(), "step"), numbers.join(", "))
    });
    items.collect()
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

/// What a step's remarks are called.
struct PlanRule {
    id: &'static str,
    title: &'static str,
    explanation: &'static str,
    level: Level,
}

impl PlanRule {
    fn text(&self) -> RuleText {
        let Self { id, title, explanation, level } = self;
        RuleText {
            id: (*id).to_owned(),
            title: (*title).to_owned(),
            explanation: (*explanation).to_owned(),
            level: *level,
        }
    }
}

const BLOCKED: &str = "plan/blocked";
const UNSEEN: &str = "plan/unseen";
const IRREVERSIBLE: &str = "plan/irreversible";
const SIGNATURES: &str = "plan/signatures";
const HALTS: &str = "plan/halts";

const PLAN_RULES: [PlanRule; 5] = [
    PlanRule {
        id: BLOCKED,
        title: "A gate stops the step.",
        explanation: "The step will not be done by this plan; the message says what would open the gate.",
        level: Level::Error,
    },
    PlanRule {
        id: UNSEEN,
        title: "The step cannot be done yet, and no gate stops it.",
        explanation: "A server could not be reached or refused to tell, or what others have to bring is not there. The next \
                      look may tell.",
        level: Level::Warning,
    },
    PlanRule {
        id: IRREVERSIBLE,
        title: "The step cannot be undone.",
        explanation: "Reverting the commit will not take it back.",
        level: Level::Warning,
    },
    PlanRule {
        id: SIGNATURES,
        title: "Other organizations must sign.",
        explanation: "The policies that guard the change ask for more signatures than this daemon can give.",
        level: Level::Notice,
    },
    PlanRule {
        id: HALTS,
        title: "A channel stands still while a node restarts.",
        explanation: "Too few of the channel's nodes are left meanwhile: it has no quorum, or a member has no peer.",
        level: Level::Warning,
    },
];

/// Who else must sign or approve, in words.
fn missing_signatures(step: &Step) -> Option<&str> {
    match step {
        Step::UpdateChannelConfig { signing, .. } | Step::DeployChaincode { signing, .. } => signing.missing.as_deref(),
        _ => None,
    }
}

fn step_remarks(planned: &PlannedStep) -> Vec<Remark> {
    let span = planned.reasons.first().map(|origin| Span::on_line(origin.line, origin.column, origin.column + 1));
    let name = headline(&planned.step);
    let remark = |rule: &str, level, message: String| Remark {
        rule: rule.to_owned(),
        level,
        message,
        help: None,
        span,
        related: Vec::new(),
    };
    let mut remarks = Vec::new();
    if let Some(why) = &planned.blocked {
        let (rule, level) = if planned.is_gated() { (BLOCKED, Level::Error) } else { (UNSEEN, Level::Warning) };
        remarks.push(remark(rule, level, format!("{name} is blocked: {why}")));
    }
    if let Some(why) = &planned.irreversible {
        remarks.push(remark(IRREVERSIBLE, Level::Warning, format!("{name} cannot be undone: {why}")));
    }
    if let Some(missing) = missing_signatures(&planned.step) {
        remarks.push(remark(SIGNATURES, Level::Notice, format!("{name} needs more signatures: {missing}")));
    }
    let halted = planned.effects.restart.iter().flat_map(|restart| &restart.meanwhile);
    for channel in halted.filter(|channel| !channel.goes_on()) {
        remarks.push(remark(HALTS, Level::Warning, format!("{name} restarts a node: {}", meanwhile_text(channel))));
    }
    remarks
}

fn note_remark(note: &Note) -> Remark {
    let Note { level, code, subject, message } = note;
    Remark {
        rule: format!("plan/{code}"),
        level: match level {
            NoteLevel::Info => Level::Notice,
            NoteLevel::Warning => Level::Warning,
            NoteLevel::Error => Level::Error,
        },
        message: format!("{subject}: {message}"),
        help: None,
        span: None,
        related: Vec::new(),
    }
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

fn symbol(planned: &PlannedStep, style: Style) -> String {
    if planned.blocked.is_some() {
        return style.red("!");
    }
    match &planned.step {
        Step::CreateNamespace { .. }
        | Step::CreateObject { .. }
        | Step::StorePackage { .. }
        | Step::StoreMaterial { .. } => style.green("+"),
        Step::UpdateObject { .. } | Step::UpdateChannelConfig { .. } | Step::DeployChaincode { .. } => {
            style.yellow("~")
        }
        Step::PinGenesis { .. } | Step::JoinOrderer { .. } | Step::JoinPeer { .. } => style.green(">"),
        Step::RemoveObject { .. } => style.red("-"),
        Step::AwaitReady { .. } => style.dim("."),
    }
}

fn step_text(number: usize, planned: &PlannedStep, file: &str, style: Style) -> String {
    let reasons = reasons_text(&planned.reasons, file);
    let reasons = if reasons.is_empty() { reasons } else { format!("  {}", style.dim(&reasons)) };
    let head = printable(&headline(&planned.step));
    let mut text = format!("{number:>4}. {} {head}{reasons}\n", symbol(planned, style));
    match &planned.step {
        Step::UpdateObject { changes, drift, .. } => {
            for change in changes {
                text.push_str(&change_text(change, style));
            }
            text.push_str(&drift_text(drift, style));
        }
        Step::UpdateChannelConfig { changes, elements, signing, digest, drift, .. } => {
            for change in changes {
                text.push_str(&change_text(change, style));
            }
            text.push_str(&signing_text(elements, signing, digest.as_deref(), drift, style));
        }
        step @ Step::DeployChaincode { .. } => text.push_str(&chaincode_text(step, style)),
        Step::RemoveObject { keeps, .. } => {
            let _ = writeln!(text, "        {}", printable(keeps));
        }
        Step::AwaitReady { state, .. } => {
            let _ = writeln!(text, "        {}", printable(state));
        }
        _ => {}
    }
    text.push_str(&effects_text(&planned.effects, style));
    if let Some(blocked) = &planned.blocked {
        let _ = writeln!(text, "        {} {}", style.red("blocked:"), printable(blocked));
    }
    if let Some(irreversible) = &planned.irreversible {
        let _ = writeln!(text, "        {} {}", style.yellow("cannot be undone:"), printable(irreversible));
    }
    text
}

/// What a step touches beside what it says.
fn effects_text(effects: &Effects, style: Style) -> String {
    let Effects { restart, channels, members, contracts } = effects;
    let mut text = String::new();
    let parts: Vec<String> = [("channel", channels), ("member", members), ("contract", contracts)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            format!("{what}{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
        })
        .collect();
    if !parts.is_empty() {
        let _ = writeln!(text, "        affects: {}", printable(&parts.join("; ")));
    }
    if let Some(Restart { node, meanwhile }) = restart {
        let _ = writeln!(text, "        restarts: {}", printable(&node.to_string()));
        for channel in meanwhile {
            let line = printable(&meanwhile_text(channel));
            let _ = writeln!(text, "          {}", if channel.goes_on() { line } else { style.yellow(&line) });
        }
    }
    text
}

/// How a channel fares while a node restarts.
fn meanwhile_text(meanwhile: &Meanwhile) -> String {
    let Meanwhile { channel, left, of, needed, unseen } = meanwhile;
    let elsewhere = if *unseen == 0 { String::new() } else { format!(", {unseen} of them hosted elsewhere") };
    match needed {
        Some(needed) if meanwhile.goes_on() => {
            format!("channel {channel} keeps its quorum: {left} of {of} consenters left{elsewhere}, {needed} needed")
        }
        Some(needed) => {
            format!(
                "channel {channel} orders nothing meanwhile: {left} of {of} consenters left{elsewhere}, {needed} needed"
            )
        }
        None if meanwhile.goes_on() => {
            format!("channel {channel}: {} of its organization left meanwhile", count(*left, "other peer"))
        }
        None => format!("channel {channel}: its organization has no other peer there meanwhile"),
    }
}

/// Whether a step that needs signatures will pass.
fn passing_text(passes: Option<&Passing>) -> Option<String> {
    match passes? {
        Passing::Yes => Some("will pass: with these signatures".to_owned()),
        Passing::WithOthers => Some("will pass: once others have signed too".to_owned()),
        Passing::No { why } => Some(format!("will not pass: {why}")),
    }
}

/// A package's id with the beginning of its hash.
fn short_package(id: &str) -> &str {
    id.split_once(':').and_then(|(label, _)| id.get(..label.len() + 11)).unwrap_or(id)
}

/// What a chaincode's deployment changes, who does what for it, and who is waited for.
fn chaincode_text(step: &Step, style: Style) -> String {
    let Step::DeployChaincode {
        channel: _,
        name: _,
        sequence: _,
        changes,
        package,
        install,
        approve,
        commit,
        signing: Signing { required, own: _, missing, signed, passes: _ },
        waits,
        drift,
    } = step
    else {
        return String::new();
    };
    let mut text = String::new();
    let mut line = |name: String, rest: &str| {
        let _ = writeln!(text, "        {name} {}", printable(rest));
    };
    if let Some(drift) = drift {
        line(style.yellow("drift:"), drift);
    }
    let changes: String = changes.iter().map(|change| change_text(change, style)).collect();
    if !install.is_empty() {
        let peers: Vec<String> = install.iter().map(ToString::to_string).collect();
        line("install:".to_owned(), &format!("{} on {}", short_package(package), peers.join(", ")));
    }
    if !approve.is_empty() {
        line("approve:".to_owned(), &approve.join(", "));
    }
    if !required.is_empty() {
        line("must approve:".to_owned(), required);
    }
    if !signed.is_empty() {
        line("have approved:".to_owned(), &signed.join(", "));
    }
    if *commit {
        line("commit:".to_owned(), "when they have");
    }
    if !waits.is_empty() {
        let why = if *commit { "not needed for the commit" } else { "no commit before" };
        line(style.yellow("not approved yet:"), &format!("{} (hosted elsewhere; {why})", waits.join(", ")));
    } else if let Some(missing) = missing {
        line(style.yellow("missing:"), missing);
    }
    changes + &text
}

/// What others changed and this puts back.
fn drift_text(drift: &[String], style: Style) -> String {
    let mut text = String::new();
    for line in drift {
        let _ = writeln!(text, "        {} {}", style.yellow("drift:"), printable(line));
    }
    text
}

/// Who must sign an update, who will, and whose change it puts back.
fn signing_text(
    elements: &[TouchedElement],
    signing: &Signing,
    digest: Option<&str>,
    drift: &[String],
    style: Style,
) -> String {
    let mut text = drift_text(drift, style);
    let policies: BTreeSet<&str> = elements.iter().filter_map(|touched| touched.policy.as_deref()).collect();
    if !policies.is_empty() {
        let policies: Vec<&str> = policies.into_iter().collect();
        let _ = writeln!(text, "        policies: {}", printable(&policies.join(", ")));
    }
    let Signing { required, own, missing, signed, passes } = signing;
    if !required.is_empty() {
        let _ = writeln!(text, "        must sign: {}", printable(required));
        if !signed.is_empty() {
            let _ = writeln!(text, "        have signed: {}", style.green(&printable(&signed.join(", "))));
        }
        let own = if own.is_empty() { "nobody of this daemon".to_owned() } else { own.join(", ") };
        let _ = writeln!(text, "        will sign: {}", style.green(&printable(&own)));
    }
    if let Some(missing) = missing {
        let _ = writeln!(text, "        {} {}", style.yellow("missing:"), printable(missing));
    }
    if let Some(line) = passing_text(passes.as_ref()) {
        let _ = writeln!(text, "        {}", printable(&line));
    }
    if let Some(digest) = digest {
        let _ = writeln!(text, "        {}", style.dim(&format!("update sha256:{digest}")));
    }
    text
}

fn reasons_text(reasons: &[Origin], file: &str) -> String {
    let mut places: Vec<String> =
        reasons.iter().take(REASONS).map(|origin| format!("{file}:{}:{}", origin.line, origin.column)).collect();
    if reasons.len() > REASONS {
        places.push(format!("and {} more", reasons.len() - REASONS));
    }
    places.join(", ")
}

fn change_text(change: &FieldChange, style: Style) -> String {
    let FieldChange { path, from, to } = change;
    let (old, new) = (from.as_ref().map(show), to.as_ref().map(show));
    let short = |text: &Option<String>| {
        text.as_ref().is_none_or(|text| !text.contains('\n') && text.chars().count() <= ONE_LINE)
    };
    if short(&old) && short(&new) {
        let old = old.map_or_else(|| style.dim("(none)"), |old| style.red(&printable(&old)));
        let new = new.map_or_else(|| style.dim("(none)"), |new| style.green(&printable(&new)));
        return format!("        {path}: {old} -> {new}\n");
    }
    let mut text = format!("        {path}:\n");
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let diff = TextDiff::from_lines(old.as_str(), new.as_str());
    let mut lines = Vec::new();
    for group in diff.grouped_ops(2) {
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = printable(change.value().trim_end_matches('\n'));
            lines.push(match change.tag() {
                ChangeTag::Delete => style.red(&format!("- {line}")),
                ChangeTag::Insert => style.green(&format!("+ {line}")),
                ChangeTag::Equal => format!("  {line}"),
            });
        }
    }
    let left_out = lines.len().saturating_sub(DIFF_LINES);
    lines.truncate(DIFF_LINES);
    if left_out > 0 {
        lines.push(style.dim(&format!("({} left out; -o json has them)", count(left_out, "line"))));
    }
    for line in lines {
        let _ = writeln!(text, "          {line}");
    }
    text
}

/// A value as people write it: text bare, the rest as JSON, over several lines where it is long.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => {
            let text = other.to_string();
            if text.chars().count() <= ONE_LINE { text } else { format!("{other:#}") }
        }
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
    /// Steps that a gate stops; they count in no other field.
    pub blocked: usize,
}

/// Counts a plan's steps.
pub fn counts(plan: &Plan) -> Counts {
    let mut counts = Counts::default();
    for planned in plan.steps.values() {
        let field = match &planned.step {
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
    let Counts { create, update, join, remove, wait, blocked } = counts(plan);
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
