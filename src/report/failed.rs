//! What a review tells that came to nothing: no definition, no cluster, no right to look.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::API_VERSION;
use super::markdown::{self, Markdown};
use super::review::{Case, Level, Remark, Review, RuleText};
use crate::cli::exit::Exit;

/// What its only remark is called.
const RULE: &str = "tenter/failed";

/// What a review is about.
#[derive(Clone, Debug)]
pub struct Reviewed {
    /// The subcommand.
    pub command: &'static str,
    /// The definition's file, as the reader knows it.
    pub file: String,
}

/// A review that came to nothing.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "Failure")]
pub struct Failed {
    /// Version of this format: `cli.tenter.dev/v1alpha1`.
    api_version: &'static str,
    /// `Failure`.
    kind: &'static str,
    /// The subcommand.
    command: &'static str,
    /// The definition's file, as the reader knows it.
    file: String,
    /// The exit code.
    code: u8,
    /// What happened, and where.
    message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Failed {
    /// A failure of a review.
    pub fn new(reviewed: Reviewed, exit: Exit, message: String, hint: Option<String>) -> Self {
        let Reviewed { command, file } = reviewed;
        Self { api_version: API_VERSION, kind: "Failure", command, file, code: exit.code(), message, hint }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// For a pull request.
    pub fn review(&self) -> Review {
        let Self { command, file, message, hint, .. } = self;
        let remark = Remark {
            rule: RULE.to_owned(),
            level: Level::Error,
            message: message.clone(),
            help: hint.clone(),
            file: None,
            span: None,
            related: Vec::new(),
            reason: None,
        };
        let rule = RuleText {
            id: RULE.to_owned(),
            title: "The review came to nothing.".to_owned(),
            explanation: "The message says why and what to do next.".to_owned(),
            level: Level::Error,
        };
        let failure = Some(remark.whole());
        let case = Case { name: format!("{command} {file}"), group: "tenter".to_owned(), failure, output: None };
        let hint = hint.as_deref().map(|hint| format!("; {}", markdown::escaped(hint))).unwrap_or_default();
        let markdown = Markdown {
            marker: format!("{command}:{file}"),
            heading: format!("Tenter {command}: failed"),
            head: vec![format!("❌ {}{hint}", markdown::escaped(message))],
            sections: Vec::new(),
        };
        Review { command, file: file.clone(), remarks: vec![remark], rules: vec![rule], cases: vec![case], markdown }
    }
}
