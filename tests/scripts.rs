//! Command lines and what they print: each file of tests/scripts is run, and its outcome compared.
//!
//! A file holds a command line and the expected exit code, standard output and standard error:
//!
//! ```text
//! $ tenter validate good.yaml
//! --- code 0
//! --- stdout
//! ok: good.yaml is valid
//! --- stderr
//! ```
//!
//! It runs in tests/scripts/files, or, where it begins with `repository$`, in a git repository made of tests/scripts/repository:
//! what stands in `before` is the commit `before`, what stands in `after` is checked out; `broken` is a commit whose definitions have
//! errors. Of the caller's environment there is
//! nothing. `UPDATE_GOLDENS=1` writes what was printed into
//! the files. Nothing that differs between machines belongs in them: no times, no absolute paths.

#![expect(clippy::expect_used, reason = "what goes wrong here fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// Makes the repository: the same commits every time.
fn repository() -> PathBuf {
    let at = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("scripts-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&at);
    std::fs::create_dir_all(&at).expect("a folder");
    let repository = git2::Repository::init(&at).expect("a repository");
    let who = git2::Signature::new("Tenter", "tenter@example.org", &git2::Time::new(1_767_225_600, 0)).expect("a name");
    for state in ["broken", "before", "after"] {
        let scenarios = folder().join("repository").join(state);
        let mut index = repository.index().expect("an index");
        index.clear().expect("an empty index");
        for scenario in std::fs::read_dir(scenarios).expect("scenarios") {
            let scenario = scenario.expect("a scenario");
            let name = scenario.file_name();
            std::fs::create_dir_all(at.join(&name)).expect("a folder");
            let path = Path::new(&name).join("network.yaml");
            std::fs::copy(scenario.path().join("network.yaml"), at.join(&path)).expect("a copy");
            index.add_path(&path).expect("in the index");
        }
        let tree = repository.find_tree(index.write_tree().expect("a tree")).expect("the tree");
        let parent = repository.head().ok().map(|head| head.peel_to_commit().expect("a commit"));
        let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
        // Of the broken ones nothing comes.
        let head = (state != "broken").then_some("HEAD");
        let commit = repository.commit(head, &who, &who, state, &tree, &parents).expect("a commit");
        let commit = repository.find_object(commit, None).expect("the commit");
        repository.tag_lightweight(state, &commit, false).expect("a tag");
    }
    at
}

/// Runs a command line in a folder, and writes its outcome in the form of the files.
fn run(prompt: &str, line: &str, repository: &Path) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words.first(), Some(&"tenter"), "a script runs tenter: {line}");
    let (arguments, input) = match words.iter().position(|word| *word == "<") {
        Some(place) => (&words[1..place], Some(words[place + 1])),
        None => (&words[1..], None),
    };
    let files = folder().join("files");
    let stdin = match input {
        Some(name) => Stdio::from(std::fs::File::open(files.join(name)).expect("the input file")),
        None => Stdio::null(),
    };
    let output = Command::new(env!("CARGO_BIN_EXE_tenter"))
        .args(arguments)
        .current_dir(if prompt == "$ " { &files } else { repository })
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("COLUMNS", "100")
        .stdin(stdin)
        .output()
        .expect("tenter runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let code = output.status.code().expect("it ends by itself");
    format!("{prompt}{line}\n--- code {code}\n--- stdout\n{}--- stderr\n{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn command_lines_print_what_the_scripts_say() {
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("tests/scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "script"))
        .collect();
    scripts.sort();
    assert!(scripts.len() > 10, "the scripts are found");
    let mut wrong = Vec::new();
    let repository = repository();
    for path in scripts {
        let expect = std::fs::read_to_string(&path).expect("a script");
        let first = expect.lines().next().unwrap_or_default().to_owned();
        let place = first.find("$ ").expect("a command line first") + 2;
        let (prompt, line) = first.split_at(place);
        let got = run(prompt, line, &repository);
        if got == expect {
            continue;
        }
        if update {
            std::fs::write(&path, got).expect("write the script");
        } else {
            wrong.push(format!("=== {}\n{}", path.display(), difference(&expect, &got)));
        }
    }
    let _ = std::fs::remove_dir_all(&repository);
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDENS=1 writes what was printed", wrong.join("\n"));
}

fn difference(expect: &str, got: &str) -> String {
    similar::TextDiff::from_lines(expect, got).unified_diff().header("expected", "got").to_string()
}

#[test]
fn goldens_hold_nothing_of_this_machine() {
    for entry in std::fs::read_dir(folder()).expect("tests/scripts") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let text = std::fs::read_to_string(&path).expect("text");
            assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "{} holds a path of this machine", path.display());
        }
    }
}
