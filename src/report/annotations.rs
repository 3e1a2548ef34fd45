//! Annotations: GitHub's workflow commands, and GitLab's Code Quality report.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::review::{Level, Remark, Review};

/// A file's path as a URI reference: forward slashes, and what a path segment may not hold percent-encoded (RFC 3986).
pub fn uri(file: &str) -> String {
    let mut out = String::new();
    for byte in file.trim_start_matches("./").replace('\\', "/").bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// The same remark of another run has the same: it does not depend on the line, which moves.
pub fn fingerprint(file: &str, remark: &Remark) -> String {
    let mut hash = Sha256::new();
    for part in [file, &remark.rule, &remark.message] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize())
}

/// The value of a workflow command; a property escapes two characters more (actions/toolkit, `command.ts`).
fn command_text(text: &str, property: bool) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    if property { text.replace(':', "%3A").replace(',', "%2C") } else { text }
}

/// Annotations that GitHub shows of one step and level.
const SHOWN: usize = 10;

/// A workflow command for each remark, those with the same reason in one, what stops something first. GitHub shows ten of a
/// level: the last one says how many more there are.
pub fn github(review: &Review) -> String {
    let mut text = String::new();
    for level in [Level::Error, Level::Warning, Level::Notice] {
        let mut groups: Vec<(&Remark, usize)> = Vec::new();
        for remark in review.remarks.iter().filter(|remark| remark.level == level) {
            let is_same = |(first, _): &&mut (&Remark, usize)| {
                remark.reason.is_some() && (&first.rule, &first.reason) == (&remark.rule, &remark.reason)
            };
            match groups.iter_mut().find(is_same) {
                Some((_, more)) => *more += 1,
                None => groups.push((remark, 0)),
            }
        }
        let shown = if groups.len() > SHOWN { SHOWN - 1 } else { groups.len() };
        for (remark, more) in groups.iter().take(shown) {
            text.push_str(&command(review, remark, *more));
        }
        let left = groups.len() - shown;
        if left > 0 {
            let _ = writeln!(text, "::{} title=tenter::{left} more in the job summary", level.as_str());
        }
    }
    text
}

/// The workflow command for a remark that is also made of `more` others.
fn command(review: &Review, remark: &Remark, more: usize) -> String {
    let file = command_text(review.file_of(remark).trim_start_matches("./"), true);
    let mut text = format!("::{} file={file}", remark.level.as_str());
    if let Some(span) = remark.span {
        let _ = write!(text, ",line={},endLine={}", span.line, span.end_line);
        // GitHub takes columns for one line only.
        if span.line == span.end_line {
            let _ = write!(text, ",col={},endColumn={}", span.column, span.end_column);
        }
    }
    let title = command_text(&remark.rule, true);
    let more = if more == 0 { String::new() } else { format!("\nThe same goes for {more} more of the plan.") };
    let _ = writeln!(text, ",title={title}::{}", command_text(&(remark.whole() + &more), false));
    text
}

/// A Code Quality report: a list of issues, each with a fingerprint of its own.
pub fn gitlab(review: &Review) -> Value {
    let mut seen = std::collections::BTreeMap::new();
    let issues = review.remarks.iter().map(|remark| {
        let severity = match remark.level {
            Level::Error => "critical",
            Level::Warning => "minor",
            Level::Notice => "info",
        };
        let mut fingerprint = fingerprint(review.file_of(remark), remark);
        // GitLab shows one of two issues of the same fingerprint.
        let times: &mut usize = seen.entry(fingerprint.clone()).or_default();
        if *times > 0 {
            let _ = write!(fingerprint, "-{times}");
        }
        *times += 1;
        let line = remark.span.map_or(1, |span| span.line.max(1));
        json!({
            "type": "issue",
            "check_name": remark.rule,
            "description": remark.whole(),
            "fingerprint": fingerprint,
            "severity": severity,
            "location": { "path": review.file_of(remark).trim_start_matches("./"), "lines": { "begin": line } },
        })
    });
    Value::Array(issues.collect())
}

#[cfg(test)]
mod tests {
    use tenter_consortium::diagnostic::Span;

    use super::*;
    use crate::report::markdown::Markdown;

    fn review(file: &str, messages: &[&str]) -> Review {
        let remarks = messages.iter().map(|message| Remark {
            rule: "network/name".to_owned(),
            level: Level::Error,
            message: (*message).to_owned(),
            help: None,
            file: None,
            span: Some(Span::on_line(3, 5, 9)),
            related: Vec::new(),
            reason: None,
        });
        Review {
            command: "validate",
            file: file.to_owned(),
            remarks: remarks.collect(),
            rules: Vec::new(),
            cases: Vec::new(),
            markdown: Markdown::default(),
        }
    }

    #[test]
    fn a_message_cannot_begin_another_command() {
        let text = github(&review("a,b:c.yaml", &["50%\n::add-mask::x"]));
        let expect = "::error file=a%2Cb%3Ac.yaml,line=3,endLine=3,col=5,endColumn=9,title=network/name::50%25%0A::add-mask::x\n";
        assert_eq!(text, expect);
    }

    #[test]
    fn a_remark_is_shown_at_the_file_that_it_is_about() {
        let mut review = review("network.yaml", &["one", "two"]);
        review.remarks[1].file = Some("approvals/0f/acme.yaml".to_owned());
        review.remarks[1].span = None;
        let text = github(&review);
        assert!(text.lines().nth(1).unwrap().starts_with("::error file=approvals/0f/acme.yaml,title="), "{text}");
        let issues = gitlab(&review);
        assert_eq!(issues[1]["location"], json!({ "path": "approvals/0f/acme.yaml", "lines": { "begin": 1 } }));
    }

    #[test]
    fn ten_of_a_level_are_shown_and_the_rest_is_counted() {
        let messages: Vec<String> = (0..15).map(|number| number.to_string()).collect();
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        let mut review = review("network.yaml", &messages);
        review.remarks[0].level = Level::Notice;
        for remark in &mut review.remarks[1..4] {
            remark.reason = Some("the same".to_owned());
        }
        let text = github(&review);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11, "{text}");
        assert!(lines[0].ends_with("::1%0AThe same goes for 2 more of the plan."), "{text}");
        assert!(lines[8].ends_with("::11"), "{text}");
        assert_eq!(lines[9], "::error title=tenter::3 more in the job summary");
        assert!(lines[10].starts_with("::notice "), "{text}");
        // Ten have room.
        review.remarks.truncate(13);
        assert!(!github(&review).contains("job summary"));
    }

    #[test]
    fn equal_remarks_have_fingerprints_of_their_own() {
        let issues = gitlab(&review("f", &["same", "same", "other"]));
        let prints: std::collections::BTreeSet<&str> =
            issues.as_array().unwrap().iter().map(|issue| issue["fingerprint"].as_str().unwrap()).collect();
        assert_eq!(prints.len(), 3);
    }

    #[test]
    fn a_path_becomes_a_uri() {
        assert_eq!(uri("./a b/é%.yaml"), "a%20b/%C3%A9%25.yaml");
    }
}
