//! The folder of recorded cases that tests are held to.

use std::path::{Path, PathBuf};

/// The folder that `FABRIC_VECTORS_DIR` names, or the repository's own.
pub fn vectors() -> PathBuf {
    std::env::var_os("FABRIC_VECTORS_DIR").map_or_else(own_vectors, PathBuf::from)
}

/// The repository's own folder, for tests that begin with a certain case of it.
pub fn own_vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

/// Fails if a test has met fewer cases of a kind than the repository's own folder has at `least`. Another folder may hold any
/// number but none.
///
/// # Panics
/// Then.
#[track_caller]
pub fn enough(found: usize, least: usize, what: &str) {
    let least = if std::env::var_os("FABRIC_VECTORS_DIR").is_some() { 1 } else { least };
    assert!(found >= least, "only {found} {what} were found");
}
