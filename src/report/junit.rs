//! `JUnit`'s XML: what test reports of CI servers read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::review::{Case, Review};

/// Text for XML: the five characters that mean something escaped, those that XML 1.0 forbids replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push(' '),
            _ if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

fn case(text: &mut String, case: &Case, class: &str) {
    let Case { name, group: _, failure, output: _ } = case;
    let head = format!("    <testcase name=\"{}\" classname=\"{}\" time=\"0\"", escaped(name), escaped(class));
    let Some(failure) = failure else {
        let _ = writeln!(text, "{head}/>");
        return;
    };
    let first = escaped(failure.lines().next().unwrap_or_default());
    let _ = writeln!(
        text,
        "{head}>\n      <failure message=\"{first}\" type=\"tenter\">{}</failure>\n    </testcase>",
        escaped(failure)
    );
}

/// The report of one run: a suite for each group, a case for each thing that was looked at. It keeps to the schema of
/// Apache Ant's reports (`JUnit.xsd` of windyroad/JUnit-Schema), which asks for a time: pure code has none to tell.
pub fn junit(review: &Review) -> String {
    let mut suites: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in &review.cases {
        suites.entry(&case.group).or_default().push(case);
    }
    let package = escaped(&format!("tenter.{}", review.command));
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (id, (group, cases)) in suites.iter().enumerate() {
        let (tests, name) = (cases.len(), escaped(group));
        let failures = cases.iter().filter(|case| case.failure.is_some()).count();
        let _ = writeln!(
            text,
            "  <testsuite package=\"{package}\" id=\"{id}\" name=\"{name}\" timestamp=\"1970-01-01T00:00:00\" \
             hostname=\"localhost\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"0\">"
        );
        text.push_str("    <properties/>\n");
        for one in cases {
            case(&mut text, one, &format!("tenter.{}.{group}", review.command));
        }
        let said = cases.iter().filter_map(|case| Some(format!("{}: {}\n", case.name, case.output.as_ref()?)));
        let said: String = said.collect();
        let _ = writeln!(text, "    <system-out>{}</system-out>", escaped(&said));
        text.push_str("    <system-err/>\n  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}
