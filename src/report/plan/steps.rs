//! The steps of a plan, for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;
use similar::{ChangeTag, TextDiff};
use tenter_consortium::objects::TouchedElement;
use tenter_consortium::plan::{
    Effects, FieldChange, Meanwhile, Origin, Passing, PlannedStep, Restart, Signing, Step, StepApproval, Unseen,
};

use super::headline;
use crate::report::{Style, count, printable};

/// Longest value of a field that stands on one line, in characters.
const ONE_LINE: usize = 60;
/// Most lines of one field's difference.
const DIFF_LINES: usize = 40;
/// Places in the file that one step names.
const REASONS: usize = 3;

pub(super) fn symbol(planned: &PlannedStep, style: Style) -> String {
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

pub(super) fn step_text(number: usize, planned: &PlannedStep, file: &str, style: Style) -> String {
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
        let word = match planned.unseen {
            None | Some(Unseen::Unreachable | Unseen::Forbidden) => style.red("blocked:"),
            Some(Unseen::Unapproved) => style.red("not approved:"),
            Some(Unseen::Awaited) => style.yellow("not yet:"),
        };
        let _ = writeln!(text, "        {word} {}", printable(blocked));
    }
    if let Some(irreversible) = &planned.irreversible {
        let _ = writeln!(text, "        {} {}", style.yellow("cannot be undone:"), printable(irreversible));
    }
    match &planned.approval {
        Some(StepApproval { by, .. }) if !by.is_empty() => {
            let _ = writeln!(text, "        approved by: {} (signed in the repository)", printable(&by.join(", ")));
        }
        Some(StepApproval { given: true, .. }) => text.push_str("        approved\n"),
        _ => {}
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
pub(super) fn meanwhile_text(meanwhile: &Meanwhile) -> String {
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
pub(super) fn short_package(id: &str) -> &str {
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
    let mut places: Vec<String> = reasons
        .iter()
        .take(REASONS)
        .map(|origin| format!("{}:{}:{}", printable(file), origin.line, origin.column))
        .collect();
    if reasons.len() > REASONS {
        places.push(format!("and {} more", reasons.len() - REASONS));
    }
    places.join(", ")
}

fn change_text(change: &FieldChange, style: Style) -> String {
    let FieldChange { path, from, to } = change;
    let path = printable(path);
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
