//! A network for tests: organisations with CAs of their own, node folders, processes, and a small client.
#![allow(dead_code, missing_docs, reason = "each test file uses a part of it")]

pub mod chaincode;
pub mod client;
pub mod genesis;
pub mod network;
pub mod organization;
pub mod update;
pub mod world;

use std::path::PathBuf;

/// The recorded vectors: `FABRIC_VECTORS_DIR`, or `tests/vectors` of the repository.
pub fn vectors() -> PathBuf {
    std::env::var_os("FABRIC_VECTORS_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors"), PathBuf::from)
}

/// The programs to run a suite on: always the simulator, and real Fabric where `FABRIC_BIN_DIR` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Simulator,
    Fabric(PathBuf),
}

pub fn targets() -> Vec<Target> {
    let mut all = vec![Target::Simulator];
    match std::env::var_os("FABRIC_BIN_DIR").map(PathBuf::from) {
        Some(dir) if dir.join("orderer").exists() && dir.join("peer").exists() => all.push(Target::Fabric(dir)),
        _ => println!("FABRIC_BIN_DIR names no orderer and peer: running on the simulator only"),
    }
    all
}
