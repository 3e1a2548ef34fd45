//! SARIF 2.1.0 (OASIS): what code scanning reads.

use serde_json::{Value, json};
use tenter_consortium::diagnostic::Span;

use super::annotations::{fingerprint, uri};
use super::review::{Level, Remark, Review, RuleText};

const fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Notice => "note",
    }
}

/// Columns of SARIF count UTF-16 units by default; `columnKind` says that these count characters.
fn region(span: Span) -> Value {
    json!({
        "startLine": span.line.max(1),
        "startColumn": span.column.max(1),
        "endLine": span.end_line.max(span.line).max(1),
        "endColumn": span.end_column.max(1),
    })
}

fn location(file: &str, span: Option<Span>) -> Value {
    let mut physical = json!({ "artifactLocation": { "uri": uri(file), "uriBaseId": "%SRCROOT%" } });
    if let Some(span) = span {
        physical["region"] = region(span);
    }
    json!({ "physicalLocation": physical })
}

/// Text of a message: what would make a link of it escaped (3.11.6).
fn message(text: &str) -> Value {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '[' | ']') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    json!({ "text": escaped })
}

fn rule(rule: &RuleText) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.title },
        "fullDescription": { "text": rule.explanation },
        "defaultConfiguration": { "level": level(rule.level) },
        "help": { "text": format!("{} {}", rule.title, rule.explanation) },
    })
}

fn result(review: &Review, remark: &Remark) -> Value {
    let mut result = json!({
        "ruleId": remark.rule,
        "level": level(remark.level),
        "message": message(&remark.whole()),
        "locations": [location(review.file_of(remark), remark.span)],
        "partialFingerprints": { "tenter/v1": fingerprint(review.file_of(remark), remark) },
    });
    if let Some(index) = review.rules.iter().position(|rule| rule.id == remark.rule) {
        result["ruleIndex"] = json!(index);
    }
    if !remark.related.is_empty() {
        let related = |(span, said): &(Span, String)| {
            let mut place = location(review.file_of(remark), Some(*span));
            place["message"] = message(said);
            place
        };
        result["relatedLocations"] = remark.related.iter().map(related).collect();
    }
    result
}

/// The log of one run.
pub fn sarif(review: &Review) -> Value {
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "tenter",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": review.rules.iter().map(rule).collect::<Vec<_>>(),
            } },
            "automationDetails": { "id": format!("tenter/{}/", review.command) },
            "columnKind": "unicodeCodePoints",
            "results": review.remarks.iter().map(|remark| result(review, remark)).collect::<Vec<_>>(),
        }],
    })
}
