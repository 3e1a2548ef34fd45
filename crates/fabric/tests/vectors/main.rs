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

use tenter_fabric_testnet::{enough, own_vectors as own, vectors as root};

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
