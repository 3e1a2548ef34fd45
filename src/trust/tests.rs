//! Against what git's own helpers make: `ssh-keygen -Y sign` and `gpg --detach-sign`.

use std::path::Path;
use std::process::Command;

use git2::{Oid, Repository, Signature, Time};
use tempfile::TempDir;

use super::history::{HistoryProblem, Trust, VerifiedHistory, verify};
use super::*;

const PATH: &str = "network.yaml";
const BASE: &str = "apiVersion: tenter.dev/v1alpha1\nkind: Network\nmetadata: {name: trade}\nspec:\n  organizations:\n  \
                    - {name: acme, peers: [peer1]}\n  - {name: globex, peers: [peer1]}\n";

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a signature over a commit.
type Sign<'a> = dyn Fn(&[u8]) -> String + 'a;

/// A repository, and keys to sign its commits with.
struct Fixture {
    folder: TempDir,
    repository: Repository,
}

impl Fixture {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let repository = Repository::init_bare(folder.path().join("remote.git")).unwrap();
        Self { folder, repository }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes an SSH key; gives the public half.
    fn ssh_key(&self, name: &str, kind: &[&str]) -> String {
        let file = self.path().join(name);
        let mut command = Command::new("ssh-keygen");
        run(command.args(["-q", "-N", "", "-C", name, "-f"]).arg(&file).arg("-t").args(kind));
        std::fs::read_to_string(file.with_extension("pub")).unwrap()
    }

    fn ssh_sign(&self, key: &str, namespace: &str, data: &[u8]) -> String {
        let file = self.path().join("data");
        std::fs::write(&file, data).unwrap();
        let signature = self.path().join("data.sig");
        let _ = std::fs::remove_file(&signature);
        run(Command::new("ssh-keygen")
            .args(["-Y", "sign", "-n", namespace, "-f"])
            .arg(self.path().join(key))
            .arg(&file));
        std::fs::read_to_string(signature).unwrap()
    }

    fn gpg(&self) -> Command {
        let home = self.path().join("gnupg");
        let _ = std::fs::create_dir(&home);
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(home).args([
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]);
        command
    }

    /// Makes an OpenPGP key; gives the public half.
    fn pgp_key(&self, name: &str, kind: &str, lifetime: &str) -> String {
        run(self.gpg().args(["--quick-generate-key", name, kind, "sign", lifetime]));
        let output = self.gpg().args(["--armor", "--export", name]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn pgp_sign(&self, name: &str, data: &[u8]) -> String {
        let file = self.path().join("data");
        std::fs::write(&file, data).unwrap();
        let output = self.gpg().args(["--armor", "--detach-sign", "-u", name, "-o", "-"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Commits a definition.
    fn commit(&self, parents: &[Oid], text: &str, sign: Option<&Sign<'_>>) -> Oid {
        self.commit_with(parents, text, &[], sign)
    }

    /// A tree with one file, as deep as its path.
    fn tree(&self, path: &str, text: &str) -> Oid {
        let mut builder = self.repository.treebuilder(None).unwrap();
        match path.split_once('/') {
            Some((folder, rest)) => builder.insert(folder, self.tree(rest, text), 0o040_000).unwrap(),
            None => builder.insert(path, self.repository.blob(text.as_bytes()).unwrap(), 0o100_644).unwrap(),
        };
        builder.write().unwrap()
    }

    /// Commits a definition, and files that stand each in a folder of its own.
    fn commit_with(&self, parents: &[Oid], text: &str, files: &[(&str, &str)], sign: Option<&Sign<'_>>) -> Oid {
        let mut builder = self.repository.treebuilder(None).unwrap();
        builder.insert(PATH, self.repository.blob(text.as_bytes()).unwrap(), 0o100_644).unwrap();
        for (path, text) in files {
            let (folder, rest) = path.split_once('/').unwrap();
            builder.insert(folder, self.tree(rest, text), 0o040_000).unwrap();
        }
        let tree = self.repository.find_tree(builder.write().unwrap()).unwrap();
        let author = Signature::new("t", "t@example.test", &Time::new(1, 0)).unwrap();
        let parents: Vec<_> = parents.iter().map(|id| self.repository.find_commit(*id).unwrap()).collect();
        let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
        let buffer = self.repository.commit_create_buffer(&author, &author, "a commit", &tree, &parents).unwrap();
        let text = std::str::from_utf8(&buffer).unwrap();
        match sign {
            Some(sign) => self.repository.commit_signed(text, &sign(text.as_bytes()), None).unwrap(),
            None => self.repository.odb().unwrap().write(git2::ObjectType::Commit, &buffer).unwrap(),
        }
    }

    fn verify(&self, tip: Oid, accepted: Option<Oid>, keys: &[KeyText]) -> Result<VerifiedHistory, HistoryProblem> {
        let accepted = accepted.map(|id| id.to_string());
        let trust = Trust { keys: keys.to_vec(), accepted, now: Timestamp::now() };
        verify(&self.repository, tip, PATH, &trust)
    }
}

fn key(name: &str, organization: Option<&str>, text: &str) -> KeyText {
    KeyText {
        name: name.to_owned(),
        organization: organization.map(ToOwned::to_owned),
        text: text.to_owned(),
        not_after: None,
        revoked: false,
    }
}

#[track_caller]
fn refused(result: Result<VerifiedHistory, HistoryProblem>, commit: Oid, reason: &str) -> String {
    let problem = result.unwrap_err();
    assert_eq!(problem.reason(), reason, "{problem}");
    let message = problem.to_string();
    assert!(message.contains(&commit.to_string()), "{message}");
    message
}

#[test]
fn ssh_signatures_of_all_kinds_hold() {
    let fixture = Fixture::new();
    for (name, kind) in
        [("ed", vec!["ed25519"]), ("p256", vec!["ecdsa", "-b", "256"]), ("rsa", vec!["rsa", "-b", "3072"])]
    {
        let text = fixture.ssh_key(name, &kind);
        let id = fixture.commit(&[], BASE, Some(&|data: &[u8]| fixture.ssh_sign(name, "git", data)));
        assert_eq!(fixture.verify(id, None, &[key(name, None, &text)]), Ok(VerifiedHistory::default()), "{name}");
    }
}

#[test]
fn each_ssh_signature_that_does_not_count_says_why() {
    let fixture = Fixture::new();
    let trusted = key("ann", None, &fixture.ssh_key("ann", &["ed25519"]));
    fixture.ssh_key("eve", &["ed25519"]);
    let keys = std::slice::from_ref(&trusted);
    let unsigned = fixture.commit(&[], BASE, None);
    refused(fixture.verify(unsigned, None, keys), unsigned, "CommitUnsigned");
    let eve = fixture.commit(&[], BASE, Some(&|data: &[u8]| fixture.ssh_sign("eve", "git", data)));
    assert!(refused(fixture.verify(eve, None, keys), eve, "CommitSignerUntrusted").contains("SHA256:"));
    let file = fixture.commit(&[], BASE, Some(&|data: &[u8]| fixture.ssh_sign("ann", "file", data)));
    refused(fixture.verify(file, None, keys), file, "CommitSignatureNamespace");
    let other = fixture.commit(&[], BASE, Some(&|_: &[u8]| fixture.ssh_sign("ann", "git", b"another commit")));
    refused(fixture.verify(other, None, keys), other, "CommitSignatureWrong");
    let rubbish = fixture.commit(&[], BASE, Some(&|_: &[u8]| "not a signature".to_owned()));
    refused(fixture.verify(rubbish, None, keys), rubbish, "CommitSignatureUnreadable");
    let good = fixture.commit(&[], BASE, Some(&|data: &[u8]| fixture.ssh_sign("ann", "git", data)));
    assert!(fixture.verify(good, None, keys).is_ok());
    let revoked = KeyText { revoked: true, ..trusted.clone() };
    assert!(refused(fixture.verify(good, None, &[revoked]), good, "CommitKeyRevoked").contains("ann"));
    let expired = KeyText { not_after: Some("2020-01-01T00:00:00Z".parse().unwrap()), ..trusted.clone() };
    refused(fixture.verify(good, None, &[expired]), good, "CommitKeyExpired");
    let private = KeyText { text: std::fs::read_to_string(fixture.path().join("ann")).unwrap(), ..trusted };
    let problem = fixture.verify(good, None, &[private]).unwrap_err();
    assert_eq!(problem.reason(), "TrustedKeyInvalid", "{problem}");
}

#[test]
fn openpgp_signatures_hold_until_the_key_expires() {
    let fixture = Fixture::new();
    for (name, kind) in [("ann@example.test", "ed25519"), ("bob@example.test", "rsa3072")] {
        let text = fixture.pgp_key(name, kind, "1d");
        let keys = [key(name, None, &text)];
        let good = fixture.commit(&[], BASE, Some(&|data: &[u8]| fixture.pgp_sign(name, data)));
        assert_eq!(fixture.verify(good, None, &keys), Ok(VerifiedHistory::default()), "{name}");
        let other = fixture.commit(&[], BASE, Some(&|_: &[u8]| fixture.pgp_sign(name, b"another commit")));
        refused(fixture.verify(other, None, &keys), other, "CommitSignatureWrong");
        let later = Timestamp::now() + jiff::SignedDuration::from_hours(48);
        let trust = Trust { keys: keys.to_vec(), accepted: None, now: later };
        refused(verify(&fixture.repository, good, PATH, &trust), good, "CommitKeyExpired");
        let revoked = [KeyText { revoked: true, ..keys[0].clone() }];
        refused(fixture.verify(good, None, &revoked), good, "CommitKeyRevoked");
    }
    fixture.pgp_key("eve@example.test", "ed25519", "0");
    let ann = fixture.gpg().args(["--armor", "--export", "ann@example.test"]).output().unwrap();
    let keys = [key("ann", None, &String::from_utf8(ann.stdout).unwrap())];
    let eve = fixture.commit(&[], BASE, Some(&|data: &[u8]| fixture.pgp_sign("eve@example.test", data)));
    refused(fixture.verify(eve, None, &keys), eve, "CommitSignerUntrusted");
}

#[test]
fn a_revocation_in_the_key_itself_holds() {
    let fixture = Fixture::new();
    let name = "ann@example.test";
    let text = fixture.pgp_key(name, "ed25519", "0");
    let good = fixture.commit(&[], BASE, Some(&|data: &[u8]| fixture.pgp_sign(name, data)));
    assert!(fixture.verify(good, None, &[key("ann", None, &text)]).is_ok());
    // gpg keeps a revocation certificate beside each key, with a colon before its first line.
    let folder = fixture.path().join("gnupg/openpgp-revocs.d");
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let certificate = std::fs::read_to_string(&file).unwrap().replace(":-----BEGIN", "-----BEGIN");
    std::fs::write(&file, certificate).unwrap();
    run(fixture.gpg().arg("--import").arg(&file));
    let revoked = fixture.gpg().args(["--armor", "--export", name]).output().unwrap();
    let revoked = key("ann", None, &String::from_utf8(revoked.stdout).unwrap());
    refused(fixture.verify(good, None, &[revoked]), good, "CommitKeyRevoked");
}

#[test]
fn every_commit_since_the_accepted_one_counts() {
    let fixture = Fixture::new();
    let keys = [
        key("ann", Some("acme"), &fixture.ssh_key("ann", &["ed25519"])),
        key("bot", None, &fixture.ssh_key("bot", &["ed25519"])),
    ];
    let ann = |data: &[u8]| fixture.ssh_sign("ann", "git", data);
    let bot = |data: &[u8]| fixture.ssh_sign("bot", "git", data);
    let first = fixture.commit(&[], BASE, Some(&ann));
    let acme = BASE.replace("{name: acme, peers: [peer1]}", "{name: acme, peers: [peer1, peer2]}");
    let second = fixture.commit(&[first], &acme, Some(&ann));
    let both = acme.replace("{name: globex, peers: [peer1]}", "{name: globex, peers: [peer1, peer2]}");
    let third = fixture.commit(&[second], &both, Some(&bot));
    let history = fixture.verify(third, Some(first), &keys).unwrap();
    let told: Vec<_> = history
        .changes
        .iter()
        .map(|change| (change.key.as_str(), change.organizations.iter().map(String::as_str).collect::<Vec<_>>()))
        .collect();
    assert_eq!(told, [("ann", vec!["acme"]), ("bot", vec!["globex"])]);
    // A later commit that takes the change back settles it.
    let back = fixture.commit(&[third], &acme, Some(&bot));
    let history = fixture.verify(back, Some(first), &keys).unwrap();
    assert_eq!(history.settled.iter().collect::<Vec<_>>(), ["globex"]);
    // A signed tip does not make up for an unsigned commit before it, even one that a broken definition hides.
    let unsigned = fixture.commit(&[second], "{", None);
    let tip = fixture.commit(&[unsigned], &both, Some(&bot));
    refused(fixture.verify(tip, Some(first), &keys), unsigned, "CommitUnsigned");
    let broken = fixture.commit(&[second], "{", Some(&bot));
    let tip = fixture.commit(&[broken], &both, Some(&bot));
    let history = fixture.verify(tip, Some(first), &keys).unwrap();
    assert!(history.changes.last().unwrap().organizations.contains("globex"), "{history:?}");
    // The merged side needs no signatures of its own; the merge does.
    let side = fixture.commit(&[first], &acme, None);
    let merge = fixture.commit(&[second, side], &both, Some(&ann));
    assert_eq!(fixture.verify(merge, Some(first), &keys).unwrap().changes.len(), 2);
    let merge = fixture.commit(&[second, side], &both, None);
    refused(fixture.verify(merge, Some(first), &keys), merge, "CommitUnsigned");
    // Another history is refused, and so is one that swallowed the accepted one as a side.
    let other = fixture.commit(&[], &acme, Some(&ann));
    refused(fixture.verify(other, Some(first), &keys), other, "HistoryRewritten");
    let swallowed = fixture.commit(&[other, first], &acme, Some(&ann));
    refused(fixture.verify(swallowed, Some(first), &keys), swallowed, "HistoryRewritten");
}

/// Its own signature makes an approval count: whoever may commit may add one, and needs nobody's agreement for it.
#[test]
fn approvals_are_no_part_of_an_organization() {
    let fixture = Fixture::new();
    let keys = [
        key("ann", Some("acme"), &fixture.ssh_key("ann", &["ed25519"])),
        key("gus", Some("globex"), &fixture.ssh_key("gus", &["ed25519"])),
    ];
    let ann = |data: &[u8]| fixture.ssh_sign("ann", "git", data);
    let gus = |data: &[u8]| fixture.ssh_sign("gus", "git", data);
    let first = fixture.commit(&[], BASE, Some(&ann));
    let file = [("approvals/0f0f/acme.yaml", "signed by an administrator of acme")];
    let own = fixture.commit_with(&[first], BASE, &file, Some(&ann));
    let others = fixture.commit_with(&[first], BASE, &file, Some(&gus));
    for (commit, who) in [(own, "ann"), (others, "gus")] {
        let history = fixture.verify(commit, Some(first), &keys).unwrap();
        let [change] = history.changes.as_slice() else { panic!("{history:?}") };
        assert_eq!((change.key.as_str(), change.organizations.len()), (who, 0));
    }
    // The folder of an organization is its own, whatever lies in it.
    let inside = [("organizations/acme/approvals/0f0f.yaml", "x")];
    let touched = fixture.commit_with(&[first], BASE, &inside, Some(&gus));
    let history = fixture.verify(touched, Some(first), &keys).unwrap();
    assert_eq!(history.changes[0].organizations.iter().collect::<Vec<_>>(), ["acme"]);
    // An unsigned commit brings no approval.
    let unsigned = fixture.commit_with(&[first], BASE, &file, None);
    refused(fixture.verify(unsigned, Some(first), &keys), unsigned, "CommitUnsigned");
}
