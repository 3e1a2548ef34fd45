//! The scenarios.

use std::sync::Arc;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams};
use serde_json::{Value, json};
use tenter_fabric::ca::{Authority, CertificateRequest, CertificateRoot, Usage};
use tenter_fabric::keys::SecretKey;
use tenter_fabric::x509::CertificateInfo;

use crate::changes::in_sync;
use crate::proxy::ApiProxy;
use crate::world::{KINDS, World, fabric};

/// One orderer, one member, one peer: what most scenarios need.
pub fn small(name: &str) -> String {
    format!(
        "apiVersion: tenter.dev/v1alpha1
kind: Network
metadata: {{name: {name}}}
spec:
  organizations:
    - {{name: hub, orderers: [orderer1]}}
    - {{name: acme, peers: [peer1]}}
  channels:
    - name: trades
      organizer: hub
      members: [{{organization: acme}}]
"
    )
}

/// The example network under another name.
pub fn example(name: &str) -> String {
    include_str!("../../examples-repo/network.yaml").replace("name: trade\n", &format!("name: {name}\n"))
}

pub fn announce(scenario: &str) {
    println!("{scenario}: Fabric is {}", fabric());
}

/// Steps of the plan that the program prints for the repository's file.
pub fn plan(world: &World) -> (i32, Value) {
    let output = world.run(&["plan", "--detailed-exitcode", "-o", "json", world.repository().to_str().expect("UTF-8")]);
    let code = output.status.code().unwrap_or(-1);
    let plan = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("plan printed no JSON ({error}), code {code}: {}", String::from_utf8_lossy(&output.stderr))
    });
    (code, plan)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_converges_and_in_sync_nothing_is_written() {
    announce("a commit converges");
    let world = World::new("loop").await;
    let commit = world.commit(&example(&world.name));
    world.consortium(json!({})).await;
    let start = Instant::now();
    world.start();
    world.applied(&commit).await;
    println!("empty cluster to applied: {:.1} s", start.elapsed().as_secs_f32());
    for organization in ["acme", "globex"] {
        world.joined(&world.organization(organization), "settlement").await;
    }
    in_sync(&world).await;
    in_sync_nothing_is_written(&world).await;

    let file = example(&world.name).replace("peers: [peer1]", "peers: [peer1, peer2]");
    let commit = world.commit(&file);
    world.applied(&commit).await;
    world.phase("Peer", &world.organization("globex"), "peer2", "Running").await;
    in_sync(&world).await;

    a_broken_commit_changes_nothing(&world, &commit).await;
    world.keys_are_nowhere_but_in_secrets().await;
}

/// Every object of this world that Tenter writes, each with a version: `of` says which for Tenter's own kinds, whose
/// statuses follow the nodes; of all else it is the resource version, which every write changes.
async fn versions(world: &World, of: impl Fn(&ObjectMeta) -> String) -> Vec<String> {
    let mut versions = Vec::new();
    for namespace in world.namespaces().await {
        let mut add = |kind: &str, meta: &ObjectMeta, version: String| {
            versions.push(format!("{kind} {namespace}/{} {version}", meta.name.as_deref().unwrap_or_default()));
        };
        for kind in KINDS {
            for object in world.objects(kind, &namespace).list(&ListParams::default()).await.expect("objects") {
                add(kind, &object.metadata, of(&object.metadata));
            }
        }
        let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &namespace);
        for map in maps.list(&ListParams::default()).await.expect("maps") {
            add("ConfigMap", &map.metadata, resource_version(&map.metadata));
        }
        let secrets = Api::<Secret>::namespaced(world.client.clone(), &namespace);
        for secret in secrets.list(&ListParams::default()).await.expect("secrets") {
            add("Secret", &secret.metadata, resource_version(&secret.metadata));
        }
        // Kubernetes writes its status as Pods come and go.
        let sets = Api::<StatefulSet>::namespaced(world.client.clone(), &namespace);
        for set in sets.list(&ListParams::default()).await.expect("StatefulSets") {
            add("StatefulSet", &set.metadata, generation(&set.metadata));
        }
        let services = Api::<Service>::namespaced(world.client.clone(), &namespace);
        for service in services.list(&ListParams::default()).await.expect("Services") {
            add("Service", &service.metadata, resource_version(&service.metadata));
        }
        let roles = Api::<Role>::namespaced(world.client.clone(), &namespace);
        for role in roles.list(&ListParams::default()).await.expect("Roles") {
            add("Role", &role.metadata, resource_version(&role.metadata));
        }
    }
    versions
}

fn resource_version(meta: &ObjectMeta) -> String {
    meta.resource_version.clone().unwrap_or_default()
}

/// Changes with the specification alone.
fn generation(meta: &ObjectMeta) -> String {
    meta.generation.unwrap_or_default().to_string()
}

/// Waits until every object is ready and the daemon has made two more passes, in which it says so.
async fn settled(world: &World) {
    world
        .eventually("every object to be ready", async || {
            for namespace in world.namespaces().await {
                for kind in ["Organization", "CertificateAuthority", "Orderer", "Peer", "Channel", "Membership"] {
                    let objects = world.objects(kind, &namespace).list(&ListParams::default()).await;
                    for object in objects.map_err(|error| error.to_string())? {
                        let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
                        if !conditions.iter().any(|found| found["type"] == "Ready" && found["status"] == "True") {
                            return Err(format!("{kind} {namespace}/{:?}: {conditions:?}", object.metadata.name));
                        }
                    }
                }
            }
            Ok(())
        })
        .await;
    passes(world, 2.0).await;
}

/// Waits for some more passes of the daemon.
async fn passes(world: &World, more: f64) {
    let before = world.metric("tenter_sync_passes_total").await;
    world
        .eventually("more passes", async || {
            let now = world.metric("tenter_sync_passes_total").await;
            if now >= before + more { Ok(()) } else { Err(format!("{now} of {}", before + more)) }
        })
        .await;
}

/// In sync, five passes write nothing. On a busy machine a node may miss a probe meanwhile, which its status and an event tell, so
/// some five passes do; nothing else is ever written.
async fn in_sync_nothing_is_written(world: &World) {
    let state = async || {
        (
            versions(world, resource_version).await,
            world.metric("tenter_api_writes_total").await,
            world.metric("tenter_fabric_changes_total").await,
        )
    };
    // Writes of anything but statuses and events, and changes of Fabric.
    let others = async || {
        let told = |labels: &str| labels.contains("/status\"") || labels.contains("\"Event\"");
        (
            world.metric_of("tenter_api_writes_total", |labels| !told(labels)).await,
            world.metric("tenter_fabric_changes_total").await,
        )
    };
    world
        .eventually("five passes without a write", async || {
            settled(world).await;
            let (before, asked) = (state().await, others().await);
            assert!(before.1 > 0.0 && before.2 > 0.0, "the counters count: {before:?}");
            passes(world, 5.0).await;
            let after = state().await;
            assert_eq!(asked, others().await, "something was written or changed in sync:\n{before:?}\n{after:?}");
            if before == after { Ok(()) } else { Err(format!("before: {before:?}\nafter: {after:?}")) }
        })
        .await;
    println!("idle daemon: {:.1} MiB", world.daemon_memory());
}

async fn a_broken_commit_changes_nothing(world: &World, good: &str) {
    let before = versions(world, generation).await;
    let broken = world.commit(&example(&world.name).replace("members: [acme, globex]", "members: [acme, globx]"));
    world
        .eventually("the broken commit to be refused", async || {
            let status = world.status().await;
            let refused = status["lastAttemptedRevision"] == broken.as_str() && status["phase"] == "Stalled";
            if refused { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    let status = world.status().await;
    assert_eq!(status["lastAppliedRevision"], good);
    assert!(status.to_string().contains("InvalidDefinition"), "{status}");
    let others =
        |versions: Vec<String>| versions.into_iter().filter(|line| !line.starts_with("Consortium")).collect::<Vec<_>>();
    assert_eq!(
        others(before),
        others(versions(world, generation).await),
        "an invalid file leaves the network as it is"
    );
    let repaired = world.commit(&example(&world.name).replace("peers: [peer1]", "peers: [peer1, peer2]"));
    world.applied(&repaired).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_it_converges() {
    announce("killed at any point");
    let world = World::new("kill").await;
    let commit = world.commit(&small(&world.name));
    world.consortium(json!({})).await;
    // Each point is something that a run brings about; the daemon is killed as soon as it is seen.
    let hub = world.organization("hub");
    let acme = world.organization("acme");
    let client = world.client.clone();
    let secret = |namespace: &str| Api::<Secret>::namespaced(client.clone(), namespace);
    let map = |namespace: &str| Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let set = |namespace: &str| Api::<StatefulSet>::namespaced(client.clone(), namespace);
    let pod = |namespace: &str| Api::<Pod>::namespaced(client.clone(), namespace);
    macro_rules! point {
        ($what:expr, $found:expr) => {
            world.start();
            world.eventually($what, async || if $found { Ok(()) } else { Err("not yet".to_owned()) }).await;
            world.kill();
        };
    }
    point!("a namespace", world.namespaces().await.len() > 1);
    point!("a root", secret(&hub).get_opt("ca-enrolment").await.is_ok_and(|found| found.is_some()));
    point!("the second root", secret(&acme).get_opt("ca-tls").await.is_ok_and(|found| found.is_some()));
    point!("an identity", secret(&acme).get_opt("identity-reader").await.is_ok_and(|found| found.is_some()));
    point!("a node's key", secret(&hub).get_opt("orderer1-tls").await.is_ok_and(|found| found.is_some()));
    point!("a node", set(&hub).get_opt("orderer1").await.is_ok_and(|found| found.is_some()));
    point!("a Pod", pod(&acme).get_opt("peer1-0").await.is_ok_and(|found| found.is_some()));
    point!(
        "the genesis block",
        map(&world.namespace).get_opt("trades-genesis").await.is_ok_and(|found| found.is_some())
    );
    let pinned = map(&world.namespace).get("trades-genesis").await.expect("the pin");
    point!("an orderer's join record", map(&hub).get_opt("orderer1-ledgers").await.is_ok_and(|found| found.is_some()));
    point!("a peer's join record", map(&acme).get_opt("peer1-ledgers").await.is_ok_and(|found| found.is_some()));
    world.start();
    world.applied(&commit).await;
    let now = map(&world.namespace).get("trades-genesis").await.expect("the pin");
    assert_eq!(pinned.metadata.uid, now.metadata.uid, "the genesis block is pinned once");
    in_sync(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_is_not_absent_and_an_emptied_volume_is_data_lost() {
    announce("unreachable and data lost");
    let world = World::new("lost").await;
    let commit = world.commit(&small(&world.name));
    world.consortium(json!({})).await;
    world.start();
    world.applied(&commit).await;
    let hub = world.organization("hub");
    let sets = Api::<StatefulSet>::namespaced(world.client.clone(), &hub);
    let pods = Api::<Pod>::namespaced(world.client.clone(), &hub);

    // With the daemon gone nobody puts the replica back.
    world.kill();
    sets.patch("orderer1", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 0}})))
        .await
        .expect("scale");
    gone(&world, &pods, "orderer1-0").await;
    let (_, unreachable) = plan(&world);
    let notes = unreachable["notes"].to_string();
    assert!(notes.contains("\"Unreachable\""), "{unreachable}");
    assert!(
        !unreachable["steps"].to_string().contains("joinOrderer"),
        "an unreachable orderer is not joined: {unreachable}"
    );

    let claims = Api::<PersistentVolumeClaim>::namespaced(world.client.clone(), &hub);
    claims.delete("data-orderer1-0", &DeleteParams::default()).await.expect("delete the claim");
    world
        .eventually("the volume to be gone", async || match claims.get_opt("data-orderer1-0").await {
            Ok(None) => Ok(()),
            other => Err(format!("{:?}", other.map(|claim| claim.is_some()))),
        })
        .await;
    world.start();
    let said = world
        .eventually("the orderer to be called DataLost", async || {
            let channel =
                world.objects("Channel", &world.namespace).get("trades").await.map_err(|error| error.to_string())?;
            let status = channel.data.get("status").cloned().unwrap_or(Value::Null);
            if status.to_string().contains("DataLost") { Ok(status) } else { Err(status.to_string()) }
        })
        .await;
    assert!(said.to_string().contains("orderer1"), "the node is named: {said}");
    let (_, lost) = plan(&world);
    assert!(lost["notes"].to_string().contains("DataLost"), "{lost}");
    let joins = joins(&lost);
    assert!(
        joins.iter().all(|join| join["blocked"].is_string()),
        "an orderer that lost its data is not joined: {lost}"
    );

    // A person says that the node may start from nothing.
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &hub);
    let entry = json!({"data": {"trades": null}});
    maps.patch("orderer1-ledgers", &PatchParams::default(), &Patch::Merge(entry)).await.expect("take the record out");
    world.phase("Channel", &world.namespace, "trades", "Active").await;
}

/// The steps of a plan that join an orderer.
fn joins(plan: &Value) -> Vec<Value> {
    let steps = plan["steps"].as_object().cloned().unwrap_or_default();
    steps.into_values().filter(|step| step["step"]["action"] == "joinOrderer").collect()
}

async fn gone(world: &World, pods: &Api<Pod>, name: &str) {
    world
        .eventually(&format!("Pod {name} to be gone"), async || match pods.get_opt(name).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err("it is there".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_settings_do_not_allow_is_refused() {
    let world = World::new("deny").await;
    let file = small(&world.name)
        .replace("spec:\n", "spec:\n  fabric: {images: {peer: \"registry.example/evil/fabric-peer:3.1\"}}\n")
        .replace("{name: hub, ", "{name: hub, namespace: out-of-bounds, ");
    world.commit(&file);
    world.consortium(json!({})).await;
    let (_, refused) = plan(&world);
    let text = refused.to_string();
    assert!(text.contains("registry.example/evil/fabric-peer:3.1") && text.contains("out-of-bounds"), "{refused}");
    world.start();
    world
        .eventually("the refusal to be shown", async || {
            let status = world.status().await;
            if status.to_string().contains("NotAllowed") { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    let forbidden = Api::<Namespace>::all(world.client.clone()).get_opt("out-of-bounds").await.expect("an answer");
    assert!(forbidden.is_none(), "a namespace that is not allowed is not made");
    let peers = Api::<StatefulSet>::namespaced(world.client.clone(), &world.organization("acme"))
        .list(&ListParams::default())
        .await;
    assert!(peers.expect("a list").items.is_empty(), "no peer runs from an image that is not allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_repository_leaves_the_network_as_it_is() {
    let world = World::new("repo").await;
    let commit = world.commit(&small(&world.name));
    world.consortium(json!({})).await;
    world.start();
    world.applied(&commit).await;
    let hidden = world.repository().with_file_name("hidden");
    std::fs::rename(world.repository(), &hidden).expect("hide the repository");
    world
        .eventually("the lost repository to be reported", async || {
            let status = world.status().await;
            if status.to_string().contains("SourceUnreachable") { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    let status = world.status().await;
    assert_eq!(status["lastAppliedRevision"], commit.as_str());
    let _ = std::fs::remove_dir_all(world.repository());
    std::fs::rename(hidden, world.repository()).expect("show the repository");
    world.applied(&commit).await;
    assert!(!world.status().await.to_string().contains("SourceUnreachable"), "the condition is taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_outlives_its_api_server() {
    let mut world = World::new("cut").await;
    let proxy = ApiProxy::new(&world, Arc::default()).await;
    world.kubeconfig = Some(proxy.kubeconfig.clone());
    let commit = world.commit(&small(&world.name));
    world.consortium(json!({})).await;
    world.start();
    world.applied(&commit).await;

    proxy.set_open(false);
    let start = Instant::now();
    let output = world.run(&["plan", world.repository().to_str().expect("UTF-8")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "unreachable: {said}");
    assert!(start.elapsed() < Duration::from_mins(1), "it gives up in time: {:?}", start.elapsed());
    println!("plan without an API server ends after {:.1} s: {}", start.elapsed().as_secs_f32(), said.trim());
    // A commit that cannot be carried out now; the daemon has failed to write before the way is open again.
    let silence = world.log().len();
    let next = world.commit(&small(&world.name).replace("peers: [peer1]", "peers: [peer1, peer2]"));
    world
        .eventually("the daemon to find its API server gone", async || {
            let log = world.log();
            let new = log.get(silence..).unwrap_or_default();
            if new.contains("Lease") { Ok(()) } else { Err(new.to_owned()) }
        })
        .await;
    assert!(world.daemon_runs(), "it waits: {}", world.log());
    let status = world.status().await;
    assert_eq!(status["lastAppliedRevision"], commit.as_str(), "the last good state is untouched");
    proxy.set_open(true);
    world.applied(&next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_with_the_same_key_one_node_at_a_time() {
    announce("renewal");
    let world = World::new("renew").await;
    let file = small(&world.name).replace("orderers: [orderer1]", "orderers: [orderer1, orderer2, orderer3]");
    let commit = world.commit(&file);
    world.consortium(json!({})).await;
    world.start();
    world.applied(&commit).await;
    let hub = world.organization("hub");
    let nodes = ["orderer1", "orderer2", "orderer3"];
    // It comes back to certificates that are all due.
    world.kill();
    let mut before = Vec::new();
    for node in nodes {
        before.push(expire_soon(&world, &hub, node).await);
    }
    world.start();
    let pods = Api::<Pod>::namespaced(world.client.clone(), &hub);
    let start = Instant::now();
    let mut most_down = 0;
    loop {
        let mut down = 0;
        let mut renewed = 0;
        for (node, old) in nodes.iter().zip(&before) {
            let pod = pods.get_opt(&format!("{node}-0")).await.expect("the Pod");
            let ready = pod.as_ref().is_some_and(is_ready);
            down += usize::from(!ready);
            let (key, certificate) = tls(&world, &hub, node).await;
            assert_eq!(key, old.0, "{node}: the key stays");
            let restarted = pod.is_some_and(|pod| pod.metadata.uid.as_deref() != Some(old.2.as_str()));
            renewed += usize::from(certificate != old.1 && restarted && ready);
        }
        most_down = most_down.max(down);
        if renewed == nodes.len() {
            break;
        }
        assert!(start.elapsed() < crate::world::LIMIT, "{renewed} of {} renewed\n{}", nodes.len(), world.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(most_down, 1, "one node is restarted at a time");
    world.phase("Channel", &world.namespace, "trades", "Active").await;
}

/// Replaces a node's TLS certificate by one of the same key that is due for renewal, as if time had passed.
/// Returns its key, that certificate, and the uid of the Pod that runs now.
async fn expire_soon(world: &World, namespace: &str, node: &str) -> (Vec<u8>, Vec<u8>, String) {
    let secrets = Api::<Secret>::namespaced(world.client.clone(), namespace);
    let root = secrets.get("ca-tls").await.expect("the root").data.expect("data");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("PEM");
    let authority = Authority::load(&CertificateRoot {
        cert_pem: text(&root["tls.crt"].0),
        key_pem: SecretKey::from_pem(text(&root["tls.key"].0)),
    })
    .expect("the root");
    let (key, certificate) = tls(world, namespace, node).await;
    let info = CertificateInfo::from_pem(&text(&certificate)).expect("a certificate");
    let request = CertificateRequest {
        common_name: info.common_name.clone().expect("a common name"),
        usage: Usage::TlsNode { dns_names: info.dns_names.clone(), ip_addresses: info.ip_addresses.clone() },
        // It started five minutes ago and ends in two: less than a third of its life is left.
        lifetime: SignedDuration::from_mins(7),
    };
    let short = authority
        .issue_for(&request, &info.public_key().expect("its key"), Timestamp::now(), &mut UnwrapErr(SysRng))
        .expect("a certificate");
    let patch = json!({"stringData": {"tls.crt": short}});
    secrets.patch(&format!("{node}-tls"), &PatchParams::default(), &Patch::Merge(patch)).await.expect("patch");
    let pod = Api::<Pod>::namespaced(world.client.clone(), namespace).get(&format!("{node}-0")).await.expect("the Pod");
    (key, short.into_bytes(), pod.metadata.uid.expect("a uid"))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .is_some_and(|all| all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
}

async fn tls(world: &World, namespace: &str, node: &str) -> (Vec<u8>, Vec<u8>) {
    let secret = Api::<Secret>::namespaced(world.client.clone(), namespace)
        .get(&format!("{node}-tls"))
        .await
        .expect("the Secret");
    let data = secret.data.expect("data");
    (data["tls.key"].0.clone(), data["tls.crt"].0.clone())
}
