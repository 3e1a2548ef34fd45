//! Plans from signed snapshots: without a cluster, and only from those whom the roots vouch for. Approvals of such plans, as
//! signed files for the pull request.

#![expect(clippy::expect_used, reason = "what goes wrong here fails the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use jiff::Timestamp;
use tenter_consortium::channel_config::{ConsenterMaterial, MspMaterial};
use tenter_consortium::desired::desired;
use tenter_consortium::document::{RepositoryFacts, load};
use tenter_consortium::model::{Certificates, converged, nothing};
use tenter_consortium::repository::files as repository_files;
use tenter_consortium::settings::Settings;
use tenter_consortium::snapshot::{SignedSnapshot, Snapshot};
use tenter_fabric::ca::{
    Authority, CertificateRequest, CertificateRoot, LEAF_LIFETIME, OrganizationRoots, ROOT_LIFETIME, Role, RootKind,
    Usage,
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

/// A definition repository with the folder of acme, a snapshot in which nothing is there yet, and keys of acme.
struct Approvals {
    folder: tempfile::TempDir,
}

impl Approvals {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let now = Timestamp::now();
        let text = DEFINITION.as_bytes();
        let network = load(text, "network.yaml", &RepositoryFacts::default()).network.expect("it is valid");
        let settings = Settings::of_definitions("trade", "tenter-system", &[&network]);
        let wanted = desired(&network, &settings);
        let world = nothing(&wanted, "404");
        let roots = OrganizationRoots::generate("acme.trade", now, &mut UnwrapErr(SysRng)).expect("roots");
        let issue_by = |root: &CertificateRoot, usage: Usage, name: &str| {
            let request = CertificateRequest { common_name: name.to_owned(), usage, lifetime: LEAF_LIFETIME };
            let authority = Authority::load(root).expect("an authority");
            authority.issue(&request, now, &mut UnwrapErr(SysRng)).expect("a certificate")
        };
        let issue = |role: Role, name: &str| issue_by(&roots.enrolment, Usage::Enrolment(role), name);
        let this = Self { folder };
        let (reader, admin) = (issue(Role::Client, "reader.acme.trade"), issue(Role::Admin, "admin.acme.trade"));
        let identity = SigningIdentity::load("AcmeMSP", &reader.cert_pem, &reader.key_pem).expect("an identity");
        let signed = SignedSnapshot::sign(&Snapshot::of(&wanted, None, &world, now), &identity).expect("it is signed");
        this.write("snapshot.json", &serde_json::to_vec(&signed).expect("JSON"));
        this.write("roots.pem", roots.enrolment.cert_pem.as_bytes());
        for (name, issued) in [("reader", &reader), ("admin", &admin)] {
            this.write(&format!("{name}.crt"), issued.cert_pem.as_bytes());
            this.write(&format!("{name}.key"), issued.key_pem.expose_pem().as_bytes());
        }
        this.write("network.yaml", text);
        let msp = MspMaterial {
            ca_certs: roots.enrolment.cert_pem.clone(),
            tls_ca_certs: roots.tls.cert_pem.clone(),
            config: NODE_OUS.to_owned(),
            ..MspMaterial::default()
        };
        let host = BTreeSet::from(["orderer1.acme.example".to_owned()]);
        let tls = Usage::TlsNode { dns_names: host, ip_addresses: BTreeSet::new() };
        let orderer = ConsenterMaterial {
            tls: issue_by(&roots.tls, tls, "orderer1").cert_pem,
            identity: issue(Role::Orderer, "orderer1").cert_pem,
        };
        let orderers = [("orderer1".to_owned(), orderer)];
        for (path, bytes) in repository_files("AcmeMSP", &msp, &orderers).expect("the folder") {
            this.write(&format!("organizations/acme/{path}"), &bytes);
        }
        this
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }

    fn tenter(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tenter"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", "/nonexistent")
            .output()
            .expect("tenter runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }

    fn plan(&self) -> serde_json::Value {
        let (code, text) =
            self.tenter(&["plan", "-o", "json", "--snapshot", "snapshot.json", "--snapshot-roots", "roots.pem"]);
        assert_eq!(code, Some(0), "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    fn approve(&self, hash: &str, who: &str, organization: &str) -> (Option<i32>, String) {
        let (key, cert) = (format!("{who}.key"), format!("{who}.crt"));
        let signer = ["--organization", organization, "--key", &key, "--cert", &cert, "--reason", "as agreed"];
        let world = ["--snapshot", "snapshot.json", "--snapshot-roots", "roots.pem"];
        self.tenter(&[&["approve", hash], &signer[..], &world[..]].concat())
    }

    /// The approval files that there are.
    fn written(&self) -> Vec<PathBuf> {
        let entries = |path: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(path).into_iter().flatten();
            entries.map(|entry| entry.expect("an entry").path()).collect()
        };
        entries(&self.folder.path().join("approvals")).iter().flat_map(|folder| entries(folder)).collect()
    }
}

const DEFINITION: &str = "apiVersion: tenter.dev/v1alpha1
kind: Network
metadata: {name: trade}
spec:
  organizations:
    - name: acme
      orderers: [{name: orderer1, address: 'orderer1.acme.example:7050'}]
      peers: [{name: peer1, address: 'peer1.acme.example:7051'}]
    - {name: globex, peers: [{name: peer1, address: 'peer1.globex.example:7051'}]}
  channels:
    - {name: settlement, members: [acme]}
";
const NODE_OUS: &str = "NodeOUs: {Enable: true, ClientOUIdentifier: {OrganizationalUnitIdentifier: client}, \
                        PeerOUIdentifier: {OrganizationalUnitIdentifier: peer}, AdminOUIdentifier: \
                        {OrganizationalUnitIdentifier: admin}, OrdererOUIdentifier: {OrganizationalUnitIdentifier: orderer}}";

#[test]
fn a_plan_is_approved_in_the_pull_request_without_a_cluster() {
    let this = Approvals::new();
    let plan = this.plan();
    let hash = plan["hash"].as_str().expect("a hash");
    let approval = |plan: &serde_json::Value| plan["steps"]["genesis/settlement"]["approval"].clone();
    let digest = approval(&plan)["digest"].as_str().expect("a digest").to_owned();
    assert!(approval(&plan)["by"].is_null(), "{plan:#}");
    // Neither another plan, nor another's key, nor one that is no administrator's.
    for (hash, who, organization, code) in [
        ("0123456789ab", "admin", "acme", 7),
        (hash, "reader", "acme", 1),
        (hash, "admin", "globex", 1),
        (hash, "admin", "nobody", 3),
    ] {
        let (found, text) = this.approve(hash, who, organization);
        assert_eq!(found, Some(code), "{who} of {organization}: {text}");
        assert!(this.written().is_empty(), "{text}");
    }
    let (code, text) = this.approve(&hash[..12], "admin", "acme");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("pin the genesis block of channel settlement") && text.contains("commit it"), "{text}");
    let file = this.folder.path().join(format!("approvals/{hash}/acme.yaml"));
    assert_eq!(this.written(), std::slice::from_ref(&file));
    let said = std::fs::read_to_string(&file).expect("the approval");
    assert!(said.contains(&digest) && said.contains("as agreed") && !said.contains("PRIVATE"), "{said}");
    // The plan shows it, and its hash stays: the file is no part of what was approved.
    let after = this.plan();
    assert_eq!(after["hash"].as_str(), Some(hash));
    assert_eq!(approval(&after), serde_json::json!({"digest": digest, "by": ["acme"]}));
    assert_eq!(this.tenter(&["validate"]).0, Some(0), "{}", this.tenter(&["validate"]).1);
    // One that was changed since is a finding, and approves nothing.
    std::fs::write(&file, said.replace("as agreed", "as never agreed")).expect("a file");
    let (code, text) = this.tenter(&["validate"]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("repository/approval") && text.contains("its signature covers something else"), "{text}");
    let plan = this.plan();
    assert!(approval(&plan)["by"].is_null(), "{plan:#}");
    assert!(plan["notes"].to_string().contains("NotApproved"), "{plan:#}");
}
