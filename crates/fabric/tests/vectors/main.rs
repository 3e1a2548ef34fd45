//! The library against what real Fabric tools and nodes gave: every case in the folder that `FABRIC_VECTORS_DIR` names,
//! by default `tests/vectors` of the repository.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot read its vectors fails")]

mod blocks;
mod checks;
mod configtx;
mod genesis;
mod judge;
mod lifecycle;
mod msp;
mod policies;
mod updates;

use std::path::{Path, PathBuf};

/// The folder of vectors.
fn root() -> PathBuf {
    std::env::var_os("FABRIC_VECTORS_DIR").map_or_else(own, PathBuf::from)
}

/// The repository's own folder of vectors, for tests that begin with a certain one of them.
fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

/// The folders in a folder, sorted; at least one.
fn cases(folder: &str) -> Vec<PathBuf> {
    let path = root().join(folder);
    let entries = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    found.sort();
    assert!(!found.is_empty(), "{} holds no case", path.display());
    found
}

fn name(case: &Path) -> &str {
    case.file_name().unwrap().to_str().unwrap()
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

fn json(path: impl AsRef<Path>) -> serde_json::Value {
    serde_json::from_slice(&read(path)).unwrap()
}
