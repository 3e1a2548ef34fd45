//! A network for tests: organisations with CAs of their own, node folders, processes, and a small client.
#![allow(dead_code, missing_docs, reason = "each test file uses a part of it")]

pub mod chaincode;
pub mod client;
pub mod genesis;
pub mod network;
pub mod organization;
pub mod update;
pub mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

/// The recorded vectors: `FABRIC_VECTORS_DIR`, or `tests/vectors` of the repository.
pub fn vectors() -> PathBuf {
    std::env::var_os("FABRIC_VECTORS_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors"), PathBuf::from)
}

/// Fails if a test has met fewer cases of a kind than the repository's own folder has at `least`. Another folder may hold any number
/// but none.
#[track_caller]
pub fn enough(found: usize, least: usize, what: &str) {
    let least = if std::env::var_os("FABRIC_VECTORS_DIR").is_some() { 1 } else { least };
    assert!(found >= least, "only {found} {what} were found");
}

/// The suite that repeats a recorded call of a chaincode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// `tests/recorded_lifecycle.rs`: a chaincode's life, block by block.
    Life,
    /// `tests/system.rs`: calls of cscc and qscc on peers that have block 0 at most.
    System,
}

/// The suite of a recorded call, or why none repeats it.
pub fn suite(case: &Value) -> Result<Suite, &'static str> {
    let (chaincode, function) = (case["chaincode"].as_str(), case["function"].as_str());
    if case["kind"] == "transaction" || !matches!(chaincode, Some("cscc" | "qscc")) {
        return Ok(Suite::Life);
    }
    if case["case"].as_str().is_some_and(|name| name.starts_with("proposal-")) {
        return Err("malformed on purpose, and only sound proposals are made here");
    }
    let of_later_block = function == Some("GetTransactionByID") && case["response"]["status"] == 200;
    Ok(if of_later_block { Suite::Life } else { Suite::System })
}

/// The recorded calls of one suite, in the order in which they were recorded. Prints those that no suite repeats.
pub fn recorded_calls(of: Suite) -> Vec<Value> {
    let dir = vectors().join("recorded/lifecycle");
    let read = |path: PathBuf| -> Value {
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let index = read(dir.join("index.json"));
    let entries = index.as_array().unwrap();
    let folders = std::fs::read_dir(dir.join("cases")).unwrap().count();
    assert_eq!(entries.len(), folders, "index.json names another number of cases than there are folders");
    let (mut found, mut left_out) = (Vec::new(), BTreeMap::<_, Vec<String>>::new());
    for entry in entries {
        let mut case = read(dir.join(entry["dir"].as_str().unwrap()).join("case.json"));
        for key in ["case", "kind", "function"] {
            if case[key].is_null() {
                case[key] = entry[key].clone();
            }
        }
        match suite(&case) {
            Ok(suite) if suite == of => found.push(case),
            Ok(_) => {}
            Err(why) => left_out.entry(why).or_default().push(case["case"].as_str().unwrap().to_owned()),
        }
    }
    // Once is enough.
    if of == Suite::System {
        for (why, names) in left_out {
            println!("SKIPPED {}: {why}", names.join(", "));
        }
    }
    found
}

/// The programs to run a suite on: always the simulator, and real Fabric where `deploy/fabric-programs` finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Simulator,
    Fabric(PathBuf),
}

pub fn targets() -> Vec<Target> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/fabric-programs");
    let output = std::process::Command::new(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = String::from_utf8(output.stdout).unwrap();
    // `real DIR VERSION`, or `simulated`.
    let dir = found.trim().strip_prefix("real ").map(|rest| PathBuf::from(rest.rsplit_once(' ').unwrap().0));
    std::iter::once(Target::Simulator).chain(dir.map(Target::Fabric)).collect()
}
