//! SARIF and JUnit output against their public schemas, and JSON against Tenter's own, over every broken definition, one without
//! findings, and plans.
//!
//! The JSON schema of SARIF 2.1.0 (OASIS) comes with the dev-dependency serde-sarif, whose types are made from it: a log has
//! to keep to the schema, and to say the same after it went through those types, which know no key beside the schema's. What
//! the specification asks beyond its schema is asked here in own words.
//!
//! JUnit has no standard. What Jenkins, GitLab and others read goes back to Apache Ant, whose reports `JUnit.xsd` describes:
//! its elements, their order, and their attributes with their types stand here as a table ([`ELEMENTS`]).

#![expect(clippy::expect_used, clippy::panic, reason = "what goes wrong here fails the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use jsonschema::{Draft, Validator};
use roxmltree::{Document, Node};
use serde_json::{Value, json};
use tenter::report::diagnostics::Findings;
use tenter::report::junit::junit;
use tenter::report::plan::{Basis, PlanReport};
use tenter::report::review::Review;
use tenter::report::sarif::sarif;
use tenter::sync::engine::plan_offline;
use tenter_consortium::diagnostic::Span;
use tenter_consortium::document::{RepositoryFacts, load};
use tenter_consortium::settings::Settings;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What is found in each broken definition and in a good one.
fn findings_of_definitions() -> Vec<(String, Findings)> {
    let folder = std::fs::read_dir(root().join("crates/consortium/tests/broken")).expect("the broken definitions");
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).collect();
    files.push(good());
    files.sort();
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml"));
    assert!(files.len() > 200, "{} definitions", files.len());
    let found = |file: &PathBuf| {
        let bytes = std::fs::read(file).expect("a definition");
        let diagnostics = load(&bytes, "network.yaml", &RepositoryFacts::default()).diagnostics;
        (file.display().to_string(), Findings::new("network.yaml", &bytes, diagnostics))
    };
    files.iter().map(found).collect()
}

fn good() -> PathBuf {
    root().join("tests/scripts/files/good.yaml")
}

/// The plan of a definition, with and without gates.
fn plan_reports() -> Vec<(String, PlanReport)> {
    let bytes = std::fs::read(good()).expect("a definition");
    let network = load(&bytes, "network.yaml", &RepositoryFacts::default()).network.expect("it is valid");
    let open = Settings::of_definitions("trade", "tenter-system", &[&network]);
    let closed = Settings { images: Settings::default().images, ..open.clone() };
    let report = |(name, settings): (&str, Settings)| {
        let plan = plan_offline(&network, &settings, None);
        assert_eq!(plan.steps.values().any(|planned| planned.blocked.is_some()), name.ends_with("gates"));
        (name.to_owned(), PlanReport { plan, file: "network.yaml".to_owned(), basis: Basis::Nothing })
    };
    [("a plan", open), ("a plan with gates", closed)].map(report).into()
}

/// What pull requests are told of each broken definition and of a good one, and of its plan with and without gates.
fn reviews() -> Vec<(String, Review)> {
    let findings = findings_of_definitions().into_iter().map(|(name, findings)| (name, findings.review()));
    findings.chain(plan_reports().into_iter().map(|(name, report)| (name, report.review()))).collect()
}

/// The schema in the sources of serde-sarif, wherever cargo keeps them.
fn schema() -> Validator {
    let host = Command::new("rustc").arg("-vV").output().expect("rustc runs").stdout;
    let host = String::from_utf8(host).expect("text");
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let told = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let packages = told["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == "serde-sarif").expect("the dev-dependency");
    let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
    let text = std::fs::read(manifest.with_file_name("src").join("schema.json")).expect("the schema");
    let mut schema: Value = serde_json::from_slice(&text).expect("JSON");
    // A pattern with a bracket too many, which strict readers of expressions refuse; no log of ours says its language.
    for place in ["run", "toolComponent"] {
        let language = schema.pointer_mut(&format!("/definitions/{place}/properties/language"));
        let pattern = language.and_then(Value::as_object_mut).and_then(|language| language.remove("pattern"));
        assert_eq!(pattern, Some(json!("^[a-zA-Z]{2}|^[a-zA-Z]{2}-[a-zA-Z]{2}]?$")), "the schema was put right");
    }
    assert_eq!(schema["properties"]["version"]["enum"], json!(["2.1.0"]), "it is the schema of SARIF 2.1.0");
    let options = jsonschema::options().with_draft(Draft::Draft7).should_validate_formats(true);
    options.build(&schema).expect("a schema")
}

/// What is wrong with a log by the schema.
fn problems(schema: &Validator, log: &Value) -> Vec<String> {
    schema.iter_errors(log).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The regions of a result, each in the file that it is of.
fn regions(result: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["locations", "relatedLocations"].map(|list| result[list].as_array().map_or(&[][..], Vec::as_slice));
    lists.into_iter().flatten().map(|location| &location["physicalLocation"]["region"])
}

/// A message as its reader sees it (3.11.6): brackets that no backslash stands before would be a link.
fn plain(text: &str) -> String {
    let (mut out, mut characters) = (String::new(), text.chars());
    while let Some(character) = characters.next() {
        assert!(!matches!(character, '[' | ']'), "{text}");
        let escaped = if character == '\\' { characters.next() } else { Some(character) };
        out.push(escaped.expect("something is escaped"));
    }
    out
}

/// What the specification asks and its schema cannot: 3.27.6 (ruleIndex is of the rule that ruleId names), 3.49.3 (rules have
/// different ids), 3.30 (a region does not end before it begins), 3.4.4 (what has a uriBaseId is relative), 3.17.2 (a run that
/// found nothing says so with an empty list).
fn check_meaning(name: &str, review: &Review, log: &Value) {
    let runs = log["runs"].as_array().expect("runs");
    let [run] = runs.as_slice() else { panic!("{name}: one run") };
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let mut ids: Vec<&str> = rules.iter().filter_map(|rule| rule["id"].as_str()).collect();
    assert_eq!(ids.len(), rules.len(), "{name}");
    let results = run["results"].as_array().expect("results");
    assert_eq!(results.len(), review.remarks.len(), "{name}");
    for (result, remark) in results.iter().zip(&review.remarks) {
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!((ids[index], result["ruleId"].as_str()), (remark.rule.as_str(), Some(&*remark.rule)), "{name}");
        let said = result["message"]["text"].as_str().expect("text");
        assert_eq!(plain(said), remark.whole(), "{name}");
        assert!(result["partialFingerprints"]["tenter/v1"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["region"].is_object(), remark.span.is_some(), "{name}");
        assert_eq!(place["artifactLocation"]["uri"], review.file_of(remark), "{name}");
        assert_eq!(place["artifactLocation"]["uriBaseId"], "%SRCROOT%", "{name}");
        for region in regions(result).filter(|region| region.is_object()) {
            let at = |key: &str| region[key].as_u64().unwrap_or_default();
            let (start, end) = ((at("startLine"), at("startColumn")), (at("endLine"), at("endColumn")));
            assert!(start >= (1, 1) && end >= start, "{name}: {region}");
        }
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), rules.len(), "{name}: ids of rules are different");
}

#[test]
fn sarif_keeps_to_its_schema() {
    let schema = schema();
    for (name, review) in reviews() {
        let log = sarif(&review);
        assert_eq!(problems(&schema, &log), [""; 0], "{name}");
        let typed: serde_sarif::sarif::Sarif = serde_json::from_value(log.clone()).expect("the types of the schema");
        assert_eq!(serde_json::to_value(&typed).expect("JSON"), log, "{name}: nothing is lost, nothing is added");
        check_meaning(&name, &review, &log);
    }
}

/// The schemas of schemas/, which are made from the types, take what is printed, and nothing else.
#[test]
fn json_keeps_to_its_schema() {
    let validator = |name: &str| {
        let text = std::fs::read(root().join("schemas").join(name)).expect("the schema");
        let schema: Value = serde_json::from_slice(&text).expect("JSON");
        jsonschema::options().with_draft(Draft::Draft202012).build(&schema).expect("a schema")
    };
    let (findings, plans) = (validator("findings.schema.json"), validator("plan.schema.json"));
    for (name, document) in findings_of_definitions() {
        assert_eq!(problems(&findings, &document.json()), [""; 0], "{name}");
    }
    for (name, report) in plan_reports() {
        assert_eq!(problems(&plans, &report.json()), [""; 0], "{name}");
        assert!(!problems(&findings, &report.json()).is_empty(), "{name}: a plan is no list of findings");
        let mut other = report.json();
        other["steps"] = json!("none");
        assert!(!problems(&plans, &other).is_empty(), "{name}");
    }
}

/// The check can fail: each of these is refused.
#[test]
fn the_schema_of_sarif_refuses_what_is_wrong() {
    let schema = schema();
    let (_, review) = reviews().into_iter().find(|(_, review)| !review.remarks.is_empty()).expect("remarks");
    let log = sarif(&review);
    let refused = |place: &str, value: Value| {
        let mut log = log.clone();
        let (parent, key) = place.rsplit_once('/').expect("a path");
        log.pointer_mut(parent).unwrap_or_else(|| panic!("{parent}"))[key] = value;
        assert!(!problems(&schema, &log).is_empty(), "{place}");
    };
    refused("/version", json!("2.2.0"));
    refused("/$schema", json!("no uri, with blanks"));
    refused("/runs/0/tool/driver/name", json!(7));
    refused("/runs/0/results/0/level", json!("fatal"));
    refused("/runs/0/results/0/ruleIndex", json!(-2));
    refused("/runs/0/results/0/colour", json!("red"));
    refused("/runs/0/results/0/locations/0/physicalLocation/region/startLine", json!(0));
}

/// How often an element stands in another.
#[derive(Clone, Copy, PartialEq)]
enum Times {
    Once,
    AtMostOnce,
    Any,
}

/// An attribute's type in `JUnit.xsd`.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Name,
    Integer,
    Decimal,
    /// `[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}`, without a zone.
    Time,
}

/// An element: its name, its children in their order, its attributes (whether each must be there), whether it holds text.
type Element = (&'static str, &'static [(&'static str, Times)], &'static [(&'static str, Kind, bool)], bool);

/// What `JUnit.xsd` says, as far as its elements are used. A case holds one of `skipped`, `error` and `failure`.
const ELEMENTS: &[Element] = &[
    ("testsuites", &[("testsuite", Times::Any)], &[], false),
    (
        "testsuite",
        &[
            ("properties", Times::Once),
            ("testcase", Times::Any),
            ("system-out", Times::Once),
            ("system-err", Times::Once),
        ],
        &[
            ("package", Kind::Text, true),
            ("id", Kind::Integer, true),
            ("name", Kind::Name, true),
            ("timestamp", Kind::Time, true),
            ("hostname", Kind::Name, true),
            ("tests", Kind::Integer, true),
            ("failures", Kind::Integer, true),
            ("errors", Kind::Integer, true),
            ("skipped", Kind::Integer, false),
            ("time", Kind::Decimal, true),
        ],
        false,
    ),
    ("properties", &[], &[], false),
    (
        "testcase",
        &[("failure", Times::AtMostOnce)],
        &[("name", Kind::Text, true), ("classname", Kind::Text, true), ("time", Kind::Decimal, true)],
        false,
    ),
    ("failure", &[], &[("message", Kind::Text, false), ("type", Kind::Text, true)], true),
    ("system-out", &[], &[], true),
    ("system-err", &[], &[], true),
];

fn is(kind: Kind, text: &str) -> bool {
    match kind {
        Kind::Text => true,
        Kind::Name => !text.trim().is_empty(),
        Kind::Integer => text.parse::<i64>().is_ok(),
        Kind::Decimal => text.parse::<f64>().is_ok_and(f64::is_finite) && !text.contains(['e', 'E']),
        Kind::Time => {
            let shape: String = text.chars().map(|one| if one.is_ascii_digit() { '0' } else { one }).collect();
            shape == "0000-00-00T00:00:00"
        }
    }
}

/// What is wrong with an element and those in it.
fn wrong(node: Node<'_, '_>, found: &mut Vec<String>) {
    let name = node.tag_name().name();
    let Some((_, children, attributes, holds_text)) = ELEMENTS.iter().find(|element| element.0 == name) else {
        found.push(format!("<{name}> is not known"));
        return;
    };
    for (attribute, kind, required) in *attributes {
        match node.attribute(*attribute) {
            None if *required => found.push(format!("<{name}> has no {attribute}")),
            Some(text) if !is(*kind, text) => found.push(format!("{attribute} of <{name}> is {text:?}")),
            _ => {}
        }
    }
    let known = |attribute: &str| attributes.iter().any(|(known, ..)| *known == attribute);
    let strange = node.attributes().filter(|attribute| !known(attribute.name()));
    found.extend(strange.map(|attribute| format!("<{name}> has no attribute {}", attribute.name())));
    let has_text = node.children().any(|child| child.is_text() && !child.text().unwrap_or_default().trim().is_empty());
    if has_text && !holds_text {
        found.push(format!("<{name}> holds text"));
    }
    let mut left = node.children().filter(Node::is_element).peekable();
    for (child, times) in *children {
        let mut number = 0;
        while left.next_if(|node| node.tag_name().name() == *child).is_some() {
            number += 1;
        }
        let fits = match times {
            Times::Once => number == 1,
            Times::AtMostOnce => number <= 1,
            Times::Any => true,
        };
        if !fits {
            found.push(format!("<{name}> holds {number} <{child}>"));
        }
    }
    if let Some(surplus) = left.next() {
        found.push(format!("<{}> does not belong there in <{name}>", surplus.tag_name().name()));
    }
    node.children().filter(Node::is_element).for_each(|child| wrong(child, found));
}

fn junit_problems(text: &str) -> Vec<String> {
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => return vec![format!("it is no XML: {error}")],
    };
    let mut found = Vec::new();
    wrong(document.root_element(), &mut found);
    if document.root_element().tag_name().name() != "testsuites" {
        found.push("it begins with something else".to_owned());
    }
    found
}

/// Text as XML keeps it: what XML 1.0 cannot hold is replaced, a tab in an attribute is a blank.
fn kept(text: &str) -> String {
    let replaced = |one: char| match one {
        '\n' => '\n',
        '\t' => ' ',
        _ if one.is_control() || matches!(one, '\u{fffe}' | '\u{ffff}') => '\u{fffd}',
        _ => one,
    };
    text.chars().map(replaced).collect()
}

#[test]
fn junit_keeps_to_its_schema_and_loses_nothing() {
    for (name, review) in reviews() {
        let text = junit(&review);
        assert_eq!(junit_problems(&text), [""; 0], "{name}");
        let document = Document::parse(&text).expect("XML");
        let named = |wanted: &'static str| document.descendants().filter(move |node| node.has_tag_name(wanted));
        let mut told: Vec<(String, Option<String>)> = named("testcase")
            .map(|case| {
                let failure = case.children().find(|node| node.has_tag_name("failure"));
                let failure = failure.map(|failure| failure.text().unwrap_or_default().to_owned());
                (case.attribute("name").unwrap_or_default().to_owned(), failure)
            })
            .collect();
        let cases = review.cases.iter();
        let mut meant: Vec<_> = cases.map(|case| (kept(&case.name), case.failure.as_deref().map(kept))).collect();
        told.sort();
        meant.sort();
        assert_eq!(told, meant, "{name}");
        let mut ids = Vec::new();
        for suite in named("testsuite") {
            let number = |key: &str| suite.attribute(key).and_then(|text| text.parse::<usize>().ok());
            let within = |wanted: &'static str| suite.descendants().filter(|node| node.has_tag_name(wanted)).count();
            assert_eq!(number("tests"), Some(within("testcase")), "{name}");
            assert_eq!(number("failures"), Some(within("failure")), "{name}");
            assert_eq!((number("errors"), number("skipped")), (Some(0), Some(0)), "{name}");
            ids.push(number("id"));
        }
        assert_eq!(ids, (0..ids.len()).map(Some).collect::<Vec<_>>(), "{name}: suites are numbered");
    }
}

/// The check can fail: each of these is refused.
#[test]
fn the_schema_of_junit_refuses_what_is_wrong() {
    let (_, review) = reviews().into_iter().next().expect("a review");
    let text = junit(&review);
    for (from, to) in [
        ("<testsuites>", "<testsuites name=\"x\">"),
        ("    <properties/>\n", ""),
        ("    <system-err/>\n", ""),
        (" hostname=\"localhost\"", " hostname=\"\""),
        ("1970-01-01T00:00:00", "1970-01-01T00:00:00Z"),
        (" errors=\"0\"", " errors=\"none\""),
        (" errors=\"0\"", ""),
        ("<testcase ", "text <testcase "),
        ("classname=", "class="),
        ("</testsuites>", "</testsuite>"),
    ] {
        assert!(text.contains(from), "{from}: {text}");
        assert!(!junit_problems(&text.replacen(from, to, 1)).is_empty(), "{from} -> {to}");
    }
}

/// What stands in files by the hand of others stays text in both.
#[test]
fn hostile_text_stays_text() {
    let hostile = "</failure><script>\"&'\u{1b}[31m\u{0}\u{ffff}]]>\n\tnext";
    let (_, mut review) = reviews().into_iter().find(|(_, review)| !review.remarks.is_empty()).expect("remarks");
    review.remarks[0].message = hostile.to_owned();
    review.remarks[0].file = Some(hostile.to_owned());
    review.remarks[0].span = Some(Span::START);
    review.cases[0].name = hostile.to_owned();
    review.cases[0].failure = Some(hostile.to_owned());
    review.cases[0].output = Some(hostile.to_owned());
    assert_eq!(problems(&schema(), &sarif(&review)), [""; 0]);
    review.remarks[0].message = r"[click](1) and [here](https://evil.example) \\[".to_owned();
    let said = &sarif(&review)["runs"][0]["results"][0]["message"]["text"];
    assert_eq!(plain(said.as_str().expect("text")), review.remarks[0].whole());
    let text = junit(&review);
    assert_eq!(junit_problems(&text), [""; 0]);
    let document = Document::parse(&text).expect("XML");
    assert!(document.descendants().any(|node| node.attribute("name") == Some(&kept(hostile))), "{text}");
}
