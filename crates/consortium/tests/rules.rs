//! Every rule has a case that breaks it and one that keeps it.
//!
//! `tests/rules/<group>/<rule>/` holds `fail.yaml`, `pass.yaml`, `expected` (the findings of `fail.yaml`) and, where the
//! rule depends on it, `organizations` (names of folders that the repository has), `repository/` (files of the repository)
//! and `sizes` (lines with the path and the size of a file that is too large to be read). `UPDATE_RULES=1` writes
//! `expected` and the rules' pages in docs/reference/rules, which are made of the registry and of these cases.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it does not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tenter_consortium::document::{Blob, RepositoryFacts, RepositoryItem, load, repository_paths};
use tenter_consortium::rules::{RULES, Rule};

/// Rules without a case: a file of a mebibyte is made by a unit test, and the last resort of the schema check has no
/// known input.
const WITHOUT_CASE: &[&str] = &["yaml/size", "network/shape"];

fn folders(path: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// All files below a folder, by their path in it.
fn files(folder: &Path, prefix: &str) -> BTreeMap<String, Blob> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path(), &format!("{name}/")));
        } else {
            found.insert(name, Blob(std::fs::read(entry.path()).unwrap()));
        }
    }
    found
}

/// What a case has at the paths that its definition names; nothing is known of a case without a repository.
fn repository(folder: &Path, bytes: &[u8]) -> BTreeMap<String, RepositoryItem> {
    let root = folder.join("repository");
    let sizes = std::fs::read_to_string(folder.join("sizes")).unwrap_or_default();
    let sizes: BTreeMap<&str, u64> = sizes
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(path, size)| (path, size.parse().unwrap()))
        .collect();
    let item = |path: &str| {
        let place = root.join(path);
        match sizes.get(path) {
            Some(size) => RepositoryItem::TooLarge { size: *size },
            None if place.is_dir() => RepositoryItem::Folder { files: files(&place, "") },
            None => std::fs::read(&place)
                .map_or(RepositoryItem::Missing, |bytes| RepositoryItem::File { bytes: Blob(bytes) }),
        }
    };
    let paths = if root.is_dir() { repository_paths(bytes) } else { BTreeSet::new() };
    paths.into_iter().map(|path| (path.clone(), item(&path))).collect()
}

fn findings(folder: &Path, file: &str) -> Vec<(String, String)> {
    let bytes = std::fs::read(folder.join(file)).unwrap();
    let organizations = std::fs::read_to_string(folder.join("organizations")).unwrap_or_default();
    let organizations = organizations.lines().map(str::to_owned).collect();
    let facts = RepositoryFacts { organizations, files: repository(folder, &bytes), ..RepositoryFacts::default() };
    let loaded = load(&bytes, file, &facts);
    loaded.diagnostics.iter().map(|found| (found.rule.to_string(), found.to_string())).collect()
}

#[test]
fn every_rule_has_its_cases() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let mut seen = BTreeSet::new();
    let mut wrong = String::new();
    for folder in folders(&root).iter().flat_map(|group| folders(group)) {
        let rule = folder.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let found = findings(&folder, "fail.yaml");
        if !found.iter().any(|(id, _)| *id == rule) {
            writeln!(wrong, "{rule}: fail.yaml does not break it").unwrap();
        }
        let mut actual = String::new();
        for (_, text) in &found {
            writeln!(actual, "{text}").unwrap();
        }
        let expected = folder.join("expected");
        if std::env::var_os("UPDATE_RULES").is_some() {
            std::fs::write(&expected, &actual).unwrap();
        }
        if std::fs::read_to_string(&expected).unwrap_or_default() != actual {
            writeln!(wrong, "{rule}: not as expected (UPDATE_RULES=1 writes it):\n{actual}").unwrap();
        }
        for (_, text) in findings(&folder, "pass.yaml") {
            writeln!(wrong, "{rule}: pass.yaml has a finding: {text}").unwrap();
        }
        seen.insert(rule);
    }
    for rule in RULES.iter().map(|rule| rule.id.as_str()) {
        // `tests/repository.rs` has the cases of the members' folders: it makes certificates.
        if rule.starts_with("repository/") {
            continue;
        }
        if seen.contains(rule) == WITHOUT_CASE.contains(&rule) {
            writeln!(wrong, "{rule}: has no case, or one too many").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What stands between two fences of a page: control characters as they would be typed.
fn fenced(language: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '\n' | '\t' => text.push(character),
            // A line that ends with it looks like any other: the page must not depend on how git ends lines.
            '\u{feff}' => text.push_str("<U+FEFF>"),
            _ if character.is_control() => text.extend(character.escape_unicode()),
            _ => text.push(character),
        }
    }
    format!("```{language}\n{}\n```\n", text.trim_end_matches('\n'))
}

/// A rule's page; rules without a case have no examples.
fn page(rule: &Rule) -> String {
    let mut page = rule.introduction();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/rules").join(rule.id.as_str());
    if folder.is_dir() {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let expected = String::from_utf8(read("expected")).unwrap();
        let found = fenced("text", expected.replace("fail.yaml:", "network.yaml:").as_bytes());
        write!(page, "\n## Breaks it\n\n{}\n{found}", fenced("yaml", &read("fail.yaml"))).unwrap();
        write!(page, "\n## Keeps it\n\n{}", fenced("yaml", &read("pass.yaml"))).unwrap();
    }
    page
}

/// The list of all rules.
fn index() -> String {
    let mut index = String::from(
        "# Rules\n\nWhat a definition is held to. `tenter explain RULE` shows the same pages. Made from the registry and its \
         test cases (`make generate`).\n\n| rule | severity | asks |\n|---|---|---|\n",
    );
    for Rule { id, severity, title, .. } in RULES {
        writeln!(index, "| [{id}]({id}.md) | {} | {title} |", severity.as_str()).unwrap();
    }
    index
}

#[test]
fn every_rule_has_its_page() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/rules");
    let pages = RULES.iter().map(|rule| (format!("{}.md", rule.id), page(rule)));
    let wanted: BTreeMap<String, String> = pages.chain([("README.md".to_owned(), index())]).collect();
    if std::env::var_os("UPDATE_RULES").is_some() {
        for (name, text) in &wanted {
            std::fs::write(root.join(name), text).unwrap();
        }
    }
    let found = files(&root, "");
    let wrong: Vec<&String> = wanted
        .iter()
        .filter(|(name, text)| found.get(*name).is_none_or(|blob| blob.0 != text.as_bytes()))
        .map(|(name, _)| name)
        .collect();
    assert!(wrong.is_empty(), "not what the registry and the cases make (UPDATE_RULES=1 writes them): {wrong:?}");
    let surplus: Vec<&String> = found.keys().filter(|name| !wanted.contains_key(*name)).collect();
    assert!(surplus.is_empty(), "pages of no rule: {surplus:?}");
}

#[test]
fn the_example_is_short_and_without_findings() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples-repo/network.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.lines().count() <= 40, "{} lines", text.lines().count());
    let loaded = load(text.as_bytes(), "network.yaml", &RepositoryFacts::default());
    assert_eq!(loaded.diagnostics, []);
    let network = loaded.network.unwrap();
    let count = |nodes: fn(&tenter_consortium::network::Organization) -> usize| {
        network.organizations.iter().map(nodes).sum::<usize>()
    };
    assert_eq!(count(|organization| organization.orderers.len()), 3);
    assert_eq!(count(|organization| organization.peers.len()), 3);
    assert_eq!((network.channels.len(), network.channels[0].members.len()), (1, 2));
}
