//! Writes the reference of network.yaml and of the objects from the schemas that the program prints, and checks it:
//! `docs/reference/network.md` and `docs/reference/objects.md`. `UPDATE_REFERENCE=1` writes them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use tenter_consortium::schema::schema;

use super::crds;

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(name);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let actual = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(actual == text, "docs/reference/{name} is not what the schemas say; UPDATE_REFERENCE=1 writes it");
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema[key].as_str().unwrap_or_default()
}

fn list<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    schema[key].as_array().into_iter().flatten()
}

/// The name of the definition that a schema refers to.
fn referred(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")
}

/// What a value may be, in words.
fn kind(schema: &Value) -> String {
    if let Some(name) = referred(schema) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    let choices: Vec<String> =
        list(schema, "enum").filter_map(Value::as_str).map(|choice| format!("`{choice}`")).collect();
    if !choices.is_empty() {
        return choices.join(", ");
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return "integer or string".to_owned();
    }
    let either: Vec<String> = list(schema, "anyOf").map(kind).collect();
    if !either.is_empty() {
        return either.join(" or ");
    }
    let mut kind = match text(schema, "type") {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(&schema["additionalProperties"]))
        }
        "" => panic!("a schema without a type: {schema}"),
        other => other.to_owned(),
    };
    if schema["format"] == "date-time" {
        kind.push_str(", a time");
    }
    match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(least), Some(most)) => write!(kind, ", {least} to {most}").unwrap(),
        (Some(least), None) => write!(kind, ", at least {least}").unwrap(),
        (None, Some(most)) => write!(kind, ", at most {most}").unwrap(),
        (None, None) => {}
    }
    for (key, what) in [("minItems", "at least"), ("maxItems", "at most"), ("maxLength", "at most")] {
        if let Some(bound) = schema[key].as_u64() {
            write!(kind, ", {what} {bound}{}", if key == "maxLength" { " characters" } else { "" }).unwrap();
        }
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        write!(kind, ", `{pattern}`").unwrap();
    }
    kind
}

/// One line of a table. What is left out has a default, which the description ends with.
fn row(field: &str, schema: &Value, required: bool) -> String {
    let description = cell(text(schema, "description"));
    let (description, default) = match description.split_once("Default: ").or(description.split_once("Defaults: ")) {
        Some((before, after)) => (before.trim_end().to_owned(), after.trim_end_matches('.').to_owned()),
        None => (description, String::new()),
    };
    let default = if required { "required".to_owned() } else { default };
    format!("| `{field}` | {} | {default} | {description} |\n", cell(&kind(schema)))
}

const HEAD: &str = "| field | type | default | what it is |\n|---|---|---|---|\n";

fn required(schema: &Value) -> BTreeSet<&str> {
    list(schema, "required").filter_map(Value::as_str).collect()
}

/// A definition of the network's schema: its fields, or what it may be.
fn definition(title: &str, schema: &Value) -> String {
    let mut out = format!("\n## {title}\n\n{}\n", text(schema, "description"));
    let needed = required(schema);
    if let Some(properties) = schema["properties"].as_object().filter(|properties| !properties.is_empty()) {
        write!(out, "\n{HEAD}").unwrap();
        for (name, property) in properties {
            out.push_str(&row(name, property, needed.contains(name.as_str())));
        }
    }
    let choices: Vec<&Value> = list(schema, "oneOf").collect();
    if !choices.is_empty() {
        out.push_str("\n| value | what it means |\n|---|---|\n");
        for choice in choices {
            writeln!(out, "| `{}` | {} |", text(choice, "const"), cell(text(choice, "description"))).unwrap();
        }
    }
    let either: Vec<&Value> = list(schema, "anyOf").collect();
    if !either.is_empty() {
        out.push('\n');
        for choice in either {
            writeln!(out, "- {}: {}", kind(choice), text(choice, "description")).unwrap();
        }
    }
    out
}

/// The definitions that a schema refers to, in its order.
fn references<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
    match schema {
        Value::Object(object) => {
            found.extend(referred(schema));
            object.iter().filter(|(key, _)| *key != "$defs").for_each(|(_, inner)| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

#[test]
fn the_reference_of_the_network_is_current() {
    let schema = schema();
    let mut out = String::from(
        "# network.yaml\n\nMade from the schema that `tenter schema` prints (`make generate`). What is left out has its default; unknown \
         fields are refused.\n",
    );
    out.push_str(&definition("Network", schema));
    // Breadth first, so that a reader meets the outer things before the inner ones.
    let mut names = Vec::new();
    references(schema, &mut names);
    let mut seen = BTreeSet::new();
    let mut next = 0;
    while let Some(name) = names.get(next).copied() {
        next += 1;
        if seen.insert(name) {
            let inner = &schema["$defs"][name];
            out.push_str(&definition(name, inner));
            references(inner, &mut names);
        }
    }
    assert_eq!(seen.len(), schema["$defs"].as_object().unwrap().len(), "definitions that nothing refers to");
    check("network.md", &out);
}

/// The fields of an object's schema below a path, and the rules that the API server checks.
fn fields(path: &str, schema: &Value, rows: &mut String, rules: &mut Vec<String>) {
    for rule in list(schema, "x-kubernetes-validations") {
        let place = if path.is_empty() { String::new() } else { format!("`{path}`: ") };
        rules.push(format!("- {place}{}\n", text(rule, "message")));
    }
    let needed = required(schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        rows.push_str(&row(&path, property, needed.contains(name.as_str())));
        let mut inner = (path, property);
        loop {
            let (path, schema) = &inner;
            inner = if schema["items"].is_object() {
                (format!("{path}[]"), &schema["items"])
            } else if schema["additionalProperties"].is_object() {
                (format!("{path}.*"), &schema["additionalProperties"])
            } else {
                break;
            };
        }
        fields(&inner.0, inner.1, rows, rules);
    }
}

#[test]
fn the_reference_of_the_objects_is_current() {
    let mut out = String::from(
        "# The objects\n\nMade from the definitions that `tenter crds` prints (`make generate`). In a field's name `[]` stands for each item of a \
         list, and `*` for each key of a map.\n",
    );
    for crd in crds().unwrap() {
        let names = &crd.spec.names;
        let short = names.short_names.iter().flatten().cloned().collect::<Vec<_>>().join(", ");
        let value = serde_json::to_value(&crd.spec.versions[0]).unwrap();
        let schema = &value["schema"]["openAPIV3Schema"];
        let spec = &schema["properties"]["spec"];
        write!(out, "\n## {}\n\n{}\n", names.kind, text(spec, "description")).unwrap();
        write!(out, "\n`{}.{}`, for kubectl also `{short}`.\n", names.plural, crd.spec.group).unwrap();
        let mut rules = Vec::new();
        fields(
            "",
            &serde_json::json!({"x-kubernetes-validations": schema["x-kubernetes-validations"]}),
            &mut String::new(),
            &mut rules,
        );
        for part in ["spec", "status"] {
            let mut rows = String::new();
            fields(part, &schema["properties"][part], &mut rows, &mut rules);
            if !rows.is_empty() {
                write!(out, "\n{HEAD}{rows}").unwrap();
            }
        }
        if !rules.is_empty() {
            write!(out, "\nThe API server refuses what breaks one of these:\n\n{}", rules.concat()).unwrap();
        }
    }
    check("objects.md", &out);
}
