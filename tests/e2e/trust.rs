//! Whose commits count: what is not signed, signed by a stranger, not agreed to, or not history is refused, and what was
//! applied stays.

use std::path::{Path, PathBuf};
use std::process::Command;

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::changes::{converge_commit, in_sync};
use crate::scenarios::{announce, small};
use crate::world::World;

/// Makes an SSH key; gives its file and its public half.
fn key(world: &World, name: &str) -> (PathBuf, String) {
    let file = world.directory().join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-C", name, "-f"]).arg(&file).status();
    assert!(made.expect("ssh-keygen: make setup installs it").success());
    let public = std::fs::read_to_string(file.with_extension("pub")).expect("the public key");
    (file, public.trim().to_owned())
}

/// Commits all of the work tree with this definition, signed with a key; returns the commit.
fn signed(world: &World, key: &Path, definition: &str) -> String {
    std::fs::write(world.repository().join("network.yaml"), definition).expect("the definition");
    world.git(&["add", "-A"]);
    let key = format!("user.signingkey={}", key.display());
    world.git(&["-c", "gpg.format=ssh", "-c", &key, "commit", "-q", "--allow-empty", "-S", "-m", "Change the network"]);
    world.git(&["rev-parse", "HEAD"])
}

/// Waits until a commit is refused for a reason; the one that was applied last stays. Returns what is said.
async fn refused(world: &World, commit: &str, reason: &str, last_good: &str) -> String {
    let (message, status) = world
        .eventually(&format!("commit {commit} to be refused: {reason}"), async || {
            let status = world.status().await;
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let stalled = conditions.iter().find(|condition| {
                condition["type"] == "Stalled" && condition["status"] == "True" && condition["reason"] == reason
            });
            match stalled {
                Some(stalled) if status["lastAttemptedRevision"] == commit => {
                    Ok((stalled["message"].as_str().unwrap_or_default().to_owned(), status))
                }
                _ => Err(status.to_string()),
            }
        })
        .await;
    assert_eq!(status["lastAppliedRevision"], last_good, "the last good state stays: {status}");
    println!("{reason}: {message}");
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_count_that_are_signed_and_agreed_to() {
    announce("trust in commits");
    let world = World::new("trust").await;
    let (keeper, public) = key(&world, "keeper");
    let (acmes, acmes_public) = key(&world, "acmes");
    let (stranger, _) = key(&world, "stranger");
    world.consortium(json!({"organizations": ["hub", "acme"], "signing": {"hub": "auto", "acme": "auto"}})).await;
    let file = small(&world.name);
    let first = signed(&world, &keeper, &file);
    world.start();
    world
        .eventually("auto without verification to be refused", async || {
            let status = world.status().await.to_string();
            if status.contains("SigningUnverified") { Ok(()) } else { Err(status) }
        })
        .await;
    let api = world.objects("Consortium", &world.namespace);
    let verification = json!({"keys": [
        {"name": "keeper", "ssh": public},
        {"name": "acme's administrator", "organization": "acme", "ssh": acmes_public},
    ]});
    let patch = Patch::Merge(json!({"spec": {"source": {"verification": verification}}}));
    api.patch(&world.name, &PatchParams::default(), &patch).await.expect("the settings");
    converge_commit(&world, &first).await;
    assert_eq!(world.status().await["lastVerifiedRevision"], first.as_str());

    // Each of these is taken back before the next: it never became part of what is trusted.
    let other = format!("{}\n      batch: {{timeout: 1s}}\n", file.trim_end());
    let unsigned = world.commit(&other);
    refused(&world, &unsigned, "CommitUnsigned", &first).await;
    world.git(&["reset", "-q", "--hard", &first]);
    let strange = signed(&world, &stranger, &other);
    refused(&world, &strange, "CommitSignerUntrusted", &first).await;
    world.git(&["reset", "-q", "--hard", &first]);

    // What concerns the channel is enough with any trusted key, and is signed by itself.
    let second = signed(&world, &keeper, &other);
    converge_commit(&world, &second).await;
    let channel = world.objects("Channel", &world.namespace).get("trades").await.expect("the Channel");
    assert_eq!(channel.data["status"]["configSequence"], 1, "{}", channel.data["status"]);

    // An organization's own section needs its word.
    let more = other.replace("peers: [peer1]", "peers: [peer1, peer2]");
    let imposed = signed(&world, &keeper, &more);
    let message = refused(&world, &imposed, "ConsentMissing", &second).await;
    assert!(message.contains("acme"), "{message}");
    let peers = world.objects("Peer", &world.organization("acme"));
    assert!(peers.get_opt("peer2").await.expect("an answer").is_none(), "nothing came of it");
    world.git(&["reset", "-q", "--hard", &second]);
    let agreed = signed(&world, &acmes, &more);
    converge_commit(&world, &agreed).await;
    world.phase("Peer", &world.organization("acme"), "peer2", "Running").await;
    // It was for that change alone.
    let again = signed(&world, &keeper, &more.replace("[peer1, peer2]", "[peer1, peer2, peer3]"));
    refused(&world, &again, "ConsentMissing", &agreed).await;

    // Another history, however well it is signed.
    world.git(&["reset", "-q", "--hard", &second]);
    let rewritten = signed(&world, &keeper, &other.replace("1s", "3s"));
    refused(&world, &rewritten, "HistoryRewritten", &agreed).await;
    world.git(&["reset", "-q", "--hard", &agreed]);
    world.applied(&agreed).await;
    in_sync(&world).await;
    let status = world.status().await;
    assert_eq!(status["lastVerifiedRevision"], agreed.as_str(), "{status}");
}
