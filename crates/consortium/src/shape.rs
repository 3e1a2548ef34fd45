//! Holds a document to the schema, and turns the validator's errors into findings with positions.

use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use crate::diagnostic::{Span, closest, quoted};
use crate::path::Path;
use crate::rules::{self, RuleId};
use crate::schema::schema;
use crate::yaml::Node;

/// The schema is made from this crate's types; a test builds the validator, so `None` is never seen in a release.
static VALIDATOR: LazyLock<Option<Validator>> = LazyLock::new(|| jsonschema::validator_for(schema()).ok());

/// A finding that does not know its file yet.
pub(crate) struct Finding {
    pub(crate) rule: RuleId,
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// Everything in which a document differs from the schema.
pub(crate) fn check(tree: &Node, document: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(validator) = VALIDATOR.as_ref() {
        for error in validator.iter_errors(document) {
            explain(tree, &error, &mut findings);
        }
    }
    findings
}

fn explain(tree: &Node, error: &ValidationError<'_>, findings: &mut Vec<Finding>) {
    let path = Path::from_pointer(tree, error.instance_path().as_str());
    let span = path.span(tree);
    let place = if path == Path::default() { "the document".to_owned() } else { quoted(&path.to_string()) };
    let mut add = |rule, span, message: String, help: Option<String>| {
        findings.push(Finding { rule, span, message, help });
    };
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = siblings(error);
            for key in unexpected {
                let help = closest(key, known.iter().copied()).map_or_else(
                    || format!("known keys are: {}", known.join(", ")),
                    |word| format!("did you mean `{word}`?"),
                );
                let message = format!("{} is not a key of {place}", quoted(key));
                add(rules::UNKNOWN_KEY, path.key_span(tree, key), message, Some(help));
            }
        }
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let help = description(error, key)
                .map_or_else(|| format!("add `{key}: ...`"), |text| format!("add `{key}: ...` ({text})"));
            add(rules::MISSING_KEY, span, format!("{place} has no `{key}`"), Some(help));
        }
        ValidationErrorKind::Type { kind } => {
            let expected = expected(kind);
            add(
                rules::WRONG_TYPE,
                span,
                wrong_type(&place, &expected, error.instance()),
                type_help(&expected, error.instance()),
            );
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<&str> = options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            findings.push(unknown_value(&path, span, error.instance(), &options));
        }
        ValidationErrorKind::Constant { expected_value } => {
            let options: Vec<&str> = expected_value.as_str().into_iter().collect();
            findings.push(unknown_value(&path, span, error.instance(), &options));
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            branches(tree, error, context, findings);
        }
        ValidationErrorKind::Minimum { limit } => {
            add(
                rules::OUT_OF_RANGE,
                span,
                format!("{place} is less than {limit}"),
                Some(format!("use {limit} or more")),
            );
        }
        ValidationErrorKind::Maximum { limit } => {
            add(
                rules::OUT_OF_RANGE,
                span,
                format!("{place} is more than {limit}"),
                Some(format!("use {limit} or less")),
            );
        }
        ValidationErrorKind::MinItems { limit } => {
            add(
                rules::OUT_OF_RANGE,
                span,
                format!("{place} has fewer than {limit} items"),
                Some(format!("list {limit} or more")),
            );
        }
        _ => add(rules::SHAPE, span, format!("{place}: {}", error.masked()), None),
    }
}

/// Keys that the schema of the object at hand knows.
fn siblings(error: &ValidationError<'_>) -> Vec<&'static str> {
    let pointer = error.schema_path().as_str();
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    let properties = schema().pointer(parent).and_then(|object| object.get("properties")).and_then(Value::as_object);
    properties.map(|properties| properties.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// What the schema says of a key of the object at hand.
fn description(error: &ValidationError<'_>, key: &str) -> Option<&'static str> {
    let pointer = error.schema_path().as_str();
    let (parent, _) = pointer.rsplit_once('/')?;
    let text = schema().pointer(parent)?.get("properties")?.get(key)?.get("description")?.as_str()?;
    text.split(['.', '\n']).next()
}

/// Of alternatives, explains the one that was meant: the one whose type the value has.
fn branches(
    tree: &Node,
    error: &ValidationError<'_>,
    context: &[Vec<ValidationError<'static>>],
    findings: &mut Vec<Finding>,
) {
    let here = error.instance_path().as_str();
    let at_value = |inner: &ValidationError<'static>| inner.instance_path().as_str() == here;
    let constants: Vec<&str> = context
        .iter()
        .flatten()
        .filter_map(|inner| match inner.kind() {
            ValidationErrorKind::Constant { expected_value } if at_value(inner) => expected_value.as_str(),
            _ => None,
        })
        .collect();
    let path = Path::from_pointer(tree, here);
    let meant = context.iter().find(|branch| {
        !branch.iter().any(|inner| at_value(inner) && matches!(inner.kind(), ValidationErrorKind::Type { .. }))
    });
    if error.instance().is_string() && !constants.is_empty() {
        findings.push(unknown_value(&path, path.span(tree), error.instance(), &constants));
    } else if let Some(meant) = meant.filter(|_| constants.is_empty()) {
        for inner in meant {
            explain(tree, inner, findings);
        }
    } else {
        let mut names: Vec<String> = context
            .iter()
            .flatten()
            .filter_map(|inner| match inner.kind() {
                ValidationErrorKind::Type { kind } if at_value(inner) => Some(expected(kind)),
                _ => None,
            })
            .collect();
        names.dedup();
        let names = names.join(" or ");
        findings.push(Finding {
            rule: rules::WRONG_TYPE,
            span: path.span(tree),
            message: wrong_type(&quoted(&path.to_string()), &names, error.instance()),
            help: type_help(&names, error.instance()),
        });
    }
}

fn unknown_value(path: &Path, span: Span, instance: &Value, options: &[&str]) -> Finding {
    let text = instance.as_str().map_or_else(|| quoted(&instance.to_string()), quoted);
    let name = path.to_string();
    let rule = if name == "apiVersion" || name == "kind" { rules::API_VERSION } else { rules::UNKNOWN_VALUE };
    let list = options.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ");
    let help = match instance.as_str().and_then(|text| closest(text, options.iter().copied())) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("use {}{list}", if options.len() > 1 { "one of " } else { "" }),
    };
    Finding { rule, span, message: format!("{text} is not a value of `{name}`"), help: Some(help) }
}

fn expected(kind: &TypeKind) -> String {
    let name = |name: &str| match name {
        "string" => "text",
        "object" => "a mapping",
        "array" => "a list",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "nothing",
    };
    match kind {
        TypeKind::Single(only) => name(&only.to_string()).to_owned(),
        TypeKind::Multiple(several) => {
            several.iter().map(|one| name(&one.to_string())).collect::<Vec<_>>().join(" or ")
        }
    }
}

fn wrong_type(place: &str, expected: &str, instance: &Value) -> String {
    let found = match instance {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    };
    format!("{place} is {found}, expected {expected}")
}

fn type_help(expected: &str, instance: &Value) -> Option<String> {
    match instance {
        Value::Null => Some("give it a value, or remove the key".to_owned()),
        Value::Bool(_) | Value::Number(_) if expected.contains("text") => {
            Some(format!("put it in quotes as it should read, for example \"{instance}\""))
        }
        Value::String(_) if expected.contains("a list") => Some("write `- ` before each item, or `[a, b]`".to_owned()),
        Value::Object(_) if expected.contains("a list") => Some("write `- ` before each item".to_owned()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schema_can_be_used() {
        assert!(super::VALIDATOR.is_some());
    }
}
