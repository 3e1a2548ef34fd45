//! Findings about a definition: where, which rule, what is wrong, and what would be right.

use std::cmp::Reverse;

use schemars::JsonSchema;
use serde::Serialize;

use crate::rules::RuleId;

/// A stretch of a file; lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// First line.
    pub line: usize,
    /// First column.
    pub column: usize,
    /// Last line.
    pub end_line: usize,
    /// The column after the last character.
    pub end_column: usize,
}

impl Span {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1, end_line: 1, end_column: 1 };

    /// One line's columns from `column` up to, not including, `end_column`.
    pub const fn on_line(line: usize, column: usize, end_column: usize) -> Self {
        Self { line, column, end_line: line, end_column }
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The definition cannot be used.
    Error,
    /// It can be used, and somebody should look.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Another place that a finding speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Related {
    /// Where.
    #[serde(flatten)]
    pub span: Span,
    /// What is there.
    pub message: String,
}

/// A finding. The order is the order of reading: by place, then by rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// The file, as the caller named it.
    pub file: String,
    /// Where in the file.
    #[serde(flatten)]
    pub span: Span,
    /// The rule that it breaks.
    pub rule: RuleId,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Other places that it speaks of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, span, rule, severity, message, help, related } = self;
        write!(f, "{file}:{}:{}: {} {rule}: {message}", span.line, span.column, severity.as_str())?;
        for other in related {
            write!(f, "\n  {file}:{}:{}: {}", other.span.line, other.span.column, other.message)?;
        }
        if let Some(help) = help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// Whether any finding is an error.
pub fn has_errors(findings: &[Diagnostic]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// Longest text of a file that a message repeats, in characters.
const QUOTED_LIMIT: usize = 80;

/// Text of a file for a message: cut, and with control characters escaped, because messages go to terminals.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("`");
    for (count, character) in text.chars().enumerate() {
        if count == QUOTED_LIMIT {
            out.push('…');
            break;
        }
        if character.is_control() || is_bidirectional_control(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out.push('`');
    out
}

/// Characters that change the order in which a terminal shows the text around them.
const fn is_bidirectional_control(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The candidate that `word` was most likely meant to be: at most a third of its letters (and at least one) differ;
/// of equally near ones, that which begins most alike.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let alike = word.chars().zip(lower.chars()).take_while(|(left, right)| left == right).count();
            (edit_distance(&word, &lower), Reverse(alike), candidate)
        })
        .filter(|(distance, ..)| *distance <= limit)
        .min()
        .map(|(.., candidate)| candidate)
}

/// Longest word that is compared, in characters: the effort grows with the square.
const WORD_LIMIT: usize = 64;

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn edit_distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(WORD_LIMIT).collect();
    let right: Vec<char> = right.chars().take(WORD_LIMIT).collect();
    let width = right.len() + 1;
    let mut table = vec![0; (left.len() + 1) * width];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            table[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = table[(i - 1) * width + j - 1] + usize::from(left[i - 1] != right[j - 1]);
                let inserted = table[i * width + j - 1] + 1;
                let deleted = table[(i - 1) * width + j] + 1;
                let mut best = replaced.min(inserted).min(deleted);
                if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                    best = best.min(table[(i - 2) * width + j - 2] + 1);
                }
                best
            };
        }
    }
    table[left.len() * width + right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_nearest_word_only() {
        let words = ["organizations", "channels", "retired"];
        assert_eq!(closest("organisations", words), Some("organizations"));
        assert_eq!(closest("chanenls", words), Some("channels"));
        assert_eq!(closest("peers", words), None);
        assert_eq!(closest("V3_1", ["V1_1", "V3_0"]), Some("V3_0"));
    }

    #[test]
    fn quotes_without_control_characters() {
        assert_eq!(quoted("a\u{1b}[31mb\u{202e}"), "`a\\u{1b}[31mb\\u{202e}`");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 83);
    }
}
