//! What a pull request is told: remarks with their places, in the formats of the tools that show them.

use tenter_consortium::diagnostic::Span;

use super::markdown::Markdown;

/// How much a remark matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It stops something.
    Error,
    /// Somebody should look.
    Warning,
    /// Good to know.
    Notice,
}

impl Level {
    /// The word that GitHub's annotations use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// A remark about a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The rule, or `plan/...`.
    pub rule: String,
    /// How much it matters.
    pub level: Level,
    /// What is so.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// The file, where it is another than the review's.
    pub file: Option<String>,
    /// Where; absent when it is about no single place.
    pub span: Option<Span>,
    /// Other places that it speaks of.
    pub related: Vec<(Span, String)>,
    /// What others of the same rule may share with it; absent where each stands for itself.
    pub reason: Option<String>,
}

impl Remark {
    /// Message and help in one text.
    pub fn whole(&self) -> String {
        match &self.help {
            Some(help) => format!("{}\nhelp: {help}", self.message),
            None => self.message.clone(),
        }
    }
}

/// What is known of a rule that remarks name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleText {
    /// Its id.
    pub id: String,
    /// What it asks, in one line.
    pub title: String,
    /// Why, and what to do.
    pub explanation: String,
    /// How much breaking it matters.
    pub level: Level,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The group that it belongs to.
    pub group: String,
    /// What stops it.
    pub failure: Option<String>,
    /// What else is to be said of it.
    pub output: Option<String>,
}

/// Everything that a pull request is told by one run.
#[derive(Clone, Debug)]
pub struct Review {
    /// The subcommand.
    pub command: &'static str,
    /// The definition's file, as the reader knows it.
    pub file: String,
    /// The remarks, in the order of reading.
    pub remarks: Vec<Remark>,
    /// The rules that remarks may name.
    pub rules: Vec<RuleText>,
    /// What was looked at, one entry for each.
    pub cases: Vec<Case>,
    /// The comment.
    pub markdown: Markdown,
}

impl Review {
    /// The file that a remark is about.
    pub fn file_of<'a>(&'a self, remark: &'a Remark) -> &'a str {
        remark.file.as_deref().unwrap_or(&self.file)
    }
}
