//! Plans from signed snapshots: without a cluster, and only from those whom the roots vouch for.

#![expect(clippy::expect_used, reason = "what goes wrong here fails the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use jiff::Timestamp;
use tenter_consortium::desired::desired;
use tenter_consortium::document::{RepositoryFacts, load};
use tenter_consortium::model::{Certificates, converged};
use tenter_consortium::settings::Settings;
use tenter_consortium::snapshot::{SignedSnapshot, Snapshot};
use tenter_fabric::ca::{
    Authority, CertificateRequest, CertificateRoot, LEAF_LIFETIME, ROOT_LIFETIME, Role, RootKind, Usage,
};
use tenter_fabric::identity::SigningIdentity;

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/files")
}

/// An identity that signs, and its root.
fn identity() -> (SigningIdentity, String) {
    let (now, mut random) = (Timestamp::now(), UnwrapErr(SysRng));
    let root =
        CertificateRoot::generate(RootKind::Enrolment, "acme.trade", ROOT_LIFETIME, now, &mut random).expect("a root");
    let request = CertificateRequest {
        common_name: "reader.acme.trade".to_owned(),
        usage: Usage::Enrolment(Role::Client),
        lifetime: LEAF_LIFETIME,
    };
    let issued = Authority::load(&root).and_then(|root| root.issue(&request, now, &mut random)).expect("a certificate");
    let identity = SigningIdentity::load("AcmeMSP", &issued.cert_pem, &issued.key_pem).expect("an identity");
    (identity, root.cert_pem)
}

/// Writes a snapshot of the world that good.yaml makes, and the root of who signed it.
fn write(folder: &Path) {
    let text = std::fs::read(files().join("good.yaml")).expect("the definition");
    let network = load(&text, "good.yaml", &RepositoryFacts::default()).network.expect("it is valid");
    let settings = Settings::of_definitions("trade", "tenter-system", &[&network]);
    let wanted = desired(&network, &settings);
    let certificates = Certificates::of(&[&wanted]).expect("placeholders");
    let world = converged(&wanted, &certificates).expect("a world");
    let snapshot = Snapshot::of(&wanted, None, &world, Timestamp::now());
    let (reader, root) = identity();
    let signed = SignedSnapshot::sign(&snapshot, &reader).expect("it is signed");
    std::fs::write(folder.join("snapshot.json"), serde_json::to_vec(&signed).expect("JSON")).expect("a file");
    std::fs::write(folder.join("roots.pem"), root).expect("a file");
    std::fs::write(folder.join("others.pem"), identity().1).expect("a file");
}

fn plan(folder: &Path, arguments: &[&str], definition: &str) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tenter"))
        .args(["plan", "--detailed-exitcode"])
        .args(arguments)
        .arg(files().join(definition))
        .current_dir(folder)
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .expect("tenter runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_snapshot_takes_the_clusters_place() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let signed = ["--snapshot", "snapshot.json", "--snapshot-roots", "roots.pem"];
    let (code, text, errors) = plan(folder.path(), &signed, "good.yaml");
    assert_eq!(code, Some(0), "{text}{errors}");
    assert!(text.contains("Planned from a snapshot of 20") && text.contains("signed by AcmeMSP ("), "{text}");
    assert!(text.contains("Nothing to do"), "{text}");
    let (code, text, errors) = plan(folder.path(), &signed[..2], "good.yaml");
    assert_eq!(code, Some(3), "without roots nobody is believed: {text}{errors}");
    let strange = ["--snapshot", "snapshot.json", "--snapshot-roots", "others.pem"];
    let (code, text, errors) = plan(folder.path(), &strange, "good.yaml");
    assert_eq!(code, Some(6), "{text}{errors}");
    assert!(errors.contains("its signature does not hold"), "{errors}");
    let file = folder.path().join("snapshot.json");
    let changed = std::fs::read_to_string(&file).expect("the snapshot").replace("settlement", "settlemenx");
    std::fs::write(&file, changed).expect("a file");
    assert_eq!(plan(folder.path(), &signed, "good.yaml").0, Some(6), "a changed one is refused");
}
