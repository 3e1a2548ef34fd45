//! `tenter explain`: what a rule asks, and why.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tenter_consortium::diagnostic::Severity;
use tenter_consortium::rules::{self, RULES, Rule};

use super::exit::Exit;
use super::outcome::{CliError, Outcome, Report};
use crate::report::{API_VERSION, Style};

/// Explain a rule: what it asks, why, an example that breaks it and one that keeps it.
///
/// Without a rule it lists them all.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter explain\n  tenter explain network/unknown-key\n  tenter explain raft-even")]
pub struct Args {
    /// The rule as a finding names it; the part after the slash is enough
    #[arg(value_name = "RULE")]
    rule: Option<String>,
}

struct List;

impl Report for List {
    fn text(&self, style: Style) -> String {
        let width = RULES.iter().map(|rule| rule.id.as_str().len()).max().unwrap_or_default();
        let mut text = String::new();
        for Rule { id, severity, title, .. } in RULES {
            let name = format!("{:width$}", id.as_str());
            let name = match severity {
                Severity::Error => style.red(&name),
                Severity::Warning => style.yellow(&name),
            };
            let _ = writeln!(text, "{name}  {:7}  {title}", severity.as_str());
        }
        text
    }

    fn json(&self) -> Value {
        json!({ "apiVersion": API_VERSION, "kind": "Rules", "rules": RULES })
    }
}

struct Page(&'static Rule);

impl Report for Page {
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for line in self.0.page.lines() {
            let heading = line.trim_start_matches('#');
            let shown =
                if heading.len() < line.len() && heading.starts_with(' ') { style.bold(line) } else { line.to_owned() };
            text.push_str(&shown);
            text.push('\n');
        }
        text
    }

    fn json(&self) -> Value {
        let mut value = json!({ "apiVersion": API_VERSION, "kind": "Rule", "page": self.0.page });
        if let (Some(all), Ok(Value::Object(rule))) = (value.as_object_mut(), serde_json::to_value(self.0)) {
            all.extend(rule);
        }
        value
    }
}

/// Explains.
pub fn run(args: &Args) -> Result<Outcome, CliError> {
    let Some(id) = &args.rule else { return Ok(Outcome::shown(List)) };
    let by_name = || rules::suggest(id).filter(|rule| rule.id.as_str().ends_with(&format!("/{id}")));
    if let Some(rule) = rules::find(id).or_else(by_name) {
        return Ok(Outcome::shown(Page(rule)));
    }
    let message = format!("there is no rule {}", tenter_consortium::diagnostic::quoted(id));
    let hint = rules::suggest(id).map_or_else(
        || "tenter explain lists them all".to_owned(),
        |rule| format!("did you mean `{}`? tenter explain lists them all", rule.id),
    );
    Err(CliError::new(Exit::Usage, message, hint))
}
