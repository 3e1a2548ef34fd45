//! The daemon in the cluster, by the manifests that are shipped: with its own account's rights, and Fabric reached by Services.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::core::v1::Pod;
use kube::Config;
use kube::api::{Api, DeleteParams, ListParams, LogParams};
use serde_json::json;

use crate::changes::in_sync;
use crate::rights::{RIGHTS, apply, manifests};
use crate::scenarios::{announce, small};
use crate::world::{World, skip};

/// A git server for one world, until it is dropped.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Address of this machine that Pods of the dev cluster reach: beside the API server's `.1`, as deploy/dev-cluster has it.
async fn address() -> Option<String> {
    let config = Config::infer().await.expect("a kubeconfig");
    let server = config.cluster_url.host()?.strip_suffix(".1").map(|network| format!("{network}.2"))?;
    TcpListener::bind((server.as_str(), 0)).ok().map(|_| server)
}

/// Serves the folder of a world by the git protocol; gives the URL of its repository.
fn serve(world: &World, address: &str) -> (Served, String) {
    let port = TcpListener::bind((address, 0)).and_then(|listener| listener.local_addr()).expect("a port").port();
    let path = Command::new("git").arg("--exec-path").output().expect("git");
    let program = format!("{}/git-daemon", String::from_utf8_lossy(&path.stdout).trim());
    let server = Command::new(program)
        .args(["--export-all", "--reuseaddr", &format!("--listen={address}"), &format!("--port={port}")])
        .arg(format!("--base-path={}", world.directory().display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("git-daemon");
    (Served(server), format!("git://{address}:{port}/repository/.git"))
}

/// The daemon's Pods, and what they have logged.
async fn daemons(world: &World) -> Vec<(String, String)> {
    let pods = Api::<Pod>::namespaced(world.client.clone(), &world.namespace);
    let mut daemons = Vec::new();
    for pod in pods.list(&ListParams::default()).await.expect("Pods") {
        let name = pod.metadata.name.expect("a name");
        let log = pods.logs(&name, &LogParams::default()).await.unwrap_or_default();
        daemons.push((name, log));
    }
    daemons
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_run_a_daemon_in_the_cluster() {
    announce("a daemon in the cluster");
    let world = World::new("inside").await;
    let Some(address) = address().await else {
        skip("a daemon in the cluster: Pods of this cluster are not known to reach a git server of this machine");
        return;
    };
    let (_server, url) = serve(&world, &address);
    apply(&manifests(&world, "dev", &[&RIGHTS[..], &["Deployment", "Service"]].concat()));
    world.consortium(json!({"source": {"repository": url}})).await;
    let file = small(&world.name);
    let commit = world.commit(&file);
    world.applied(&commit).await;
    world.phase("Channel", &world.namespace, "trades", "Active").await;
    in_sync(&world).await;
    let first = daemons(&world).await;
    let [(name, log)] = &first[..] else { panic!("one daemon: {first:?}") };
    let refusals: Vec<&str> = log.lines().filter(|line| line.contains("forbidden")).collect();
    assert!(log.contains("acting") && refusals.is_empty(), "its rights are enough: {refusals:#?}");

    // Another Pod takes over.
    let pods = Api::<Pod>::namespaced(world.client.clone(), &world.namespace);
    pods.delete(name, &DeleteParams::default()).await.expect("the Pod is deleted");
    let commit = world.commit(&file.replace("peers: [peer1]", "peers: [peer1, peer2]"));
    world.applied(&commit).await;
    world.phase("Peer", &world.organization("acme"), "peer2", "Running").await;
    in_sync(&world).await;
}
