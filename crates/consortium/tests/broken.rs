//! Mistakes that people make: each file of tests/broken says at its top what is found in it, and nothing else is.
//!
//! ```text
//! # expect: network/unknown-key 13:7
//! ```
//!
//! Rule, line and column, one line for each finding, in their order.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use tenter_consortium::document::{RepositoryFacts, load};

#[test]
fn every_mistake_is_found_where_it_is() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut files: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 200, "{} files", files.len());
    let (mut wrong, mut rules) = (String::new(), BTreeSet::new());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let head = text.trim_start_matches('\u{feff}').lines();
        let expected: Vec<&str> = head.map_while(|line| line.strip_prefix("# expect: ")).collect();
        let loaded = load(&bytes, "network.yaml", &RepositoryFacts::default());
        let place = |found: &tenter_consortium::diagnostic::Diagnostic| {
            format!("{} {}:{}", found.rule, found.span.line, found.span.column)
        };
        let found: Vec<String> = loaded.diagnostics.iter().map(place).collect();
        rules.extend(loaded.diagnostics.iter().map(|finding| finding.rule));
        if found.is_empty() || found != expected {
            writeln!(wrong, "{}:\n  expected {expected:?}\n  found    {found:?}", file.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(rules.len() >= 60, "only {} rules are met", rules.len());
}
