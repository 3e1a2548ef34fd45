//! The rights that `deploy/overlays/narrow` gives are enough for a network, and no more than it says.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use crate::changes::in_sync;
use crate::scenarios::{announce, example};
use crate::world::World;

/// Organizations of the example network.
const ORGANIZATIONS: [&str; 3] = ["hub", "acme", "globex"];

#[tokio::test(flavor = "multi_thread")]
async fn rights_in_its_namespaces_alone_are_enough() {
    announce("narrow rights");
    let mut world = World::new("narrow").await;
    let api = Api::<Namespace>::all(world.client.clone());
    for organization in ORGANIZATIONS {
        let name = world.organization(organization);
        let labels = [("tenter.dev/organization".to_owned(), organization.to_owned())].into();
        let metadata = ObjectMeta { name: Some(name), labels: Some(labels), ..ObjectMeta::default() };
        api.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await.expect("a namespace");
    }
    apply(&rights(&world));
    let account = format!("system:serviceaccount:{}:tenter", world.namespace);
    world.kubeconfig = Some(impersonating(&world, &account));
    world.consortium(json!({"namespaces": {"create": false}})).await;
    let commit = world.commit(&example(&world.name));
    world.start();
    world.applied(&commit).await;
    in_sync(&world).await;
    let refusals: Vec<String> =
        world.log().lines().filter(|line| line.contains("forbidden")).map(str::to_owned).collect();
    assert!(refusals.is_empty(), "{refusals:#?}");

    let acme = world.organization("acme");
    for (verb, resource, namespace, allowed) in [
        ("get", "secrets", acme.as_str(), true),
        ("get", "secrets", "kube-system", false),
        ("create", "statefulsets.apps", "default", false),
        ("create", "rolebindings.rbac.authorization.k8s.io", "default", false),
        ("create", "namespaces", acme.as_str(), false),
        ("patch", "consortia.tenter.dev", world.namespace.as_str(), false),
        ("delete", "secrets", acme.as_str(), false),
        ("create", "pods/exec", acme.as_str(), false),
    ] {
        let output = Command::new("kubectl")
            .args(["auth", "can-i", verb, resource, "-n", namespace, "--as", &account])
            .output()
            .expect("kubectl");
        let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(answer, if allowed { "yes" } else { "no" }, "{verb} {resource} in {namespace}");
    }
}

/// Objects of some kinds that an overlay of deploy/ makes, under names of this world.
pub fn manifests(world: &World, overlay: &str, kinds: &[&str]) -> Vec<Value> {
    let overlay = format!("{}/deploy/overlays/{overlay}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("kubectl").args(["kustomize", &overlay]).output().expect("kubectl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8").replace("tenter-system", &world.namespace);
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let mut object: Value = serde::Deserialize::deserialize(document).expect("an object");
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if !kinds.contains(&kind.as_str()) {
            continue;
        }
        let own = |name: &Value| json!(format!("{}-{}", world.name, name.as_str().expect("a name")));
        if kind.starts_with("Cluster") {
            object["metadata"]["name"] = own(&object["metadata"]["name"]);
        }
        if object["roleRef"]["kind"] == "ClusterRole" {
            object["roleRef"]["name"] = own(&object["roleRef"]["name"]);
        }
        objects.push(object);
    }
    objects
}

/// Kinds of rights, and who has them.
pub const RIGHTS: [&str; 5] = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"];

/// The rights of the narrow overlay, with a binding for each organization as its file says.
fn rights(world: &World) -> Vec<Value> {
    let mut rights = Vec::new();
    for mut object in manifests(world, "narrow", &RIGHTS) {
        if object["metadata"]["namespace"] == "trade-acme" {
            for organization in ORGANIZATIONS {
                object["metadata"]["namespace"] = json!(world.organization(organization));
                rights.push(object.clone());
            }
        } else {
            rights.push(object);
        }
    }
    // In the cluster the daemon reaches Pods by itself; here it is on the other side of the API server.
    let role = format!("{}-forward", world.name);
    rights.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": role},
        "rules": [{"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["create", "get"]}],
    }));
    for organization in ORGANIZATIONS {
        rights.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "forward", "namespace": world.organization(organization)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "tenter", "namespace": world.namespace}],
        }));
    }
    rights
}

/// Applies objects.
pub fn apply(objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let mut kubectl = Command::new("kubectl")
        .args(["apply", "--server-side", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("kubectl");
    kubectl.stdin.take().expect("its input").write_all(list.to_string().as_bytes()).expect("the objects");
    assert!(kubectl.wait().expect("kubectl ends").success(), "kubectl apply of the rights");
}

/// A kubeconfig with which every request is made as another user.
pub fn impersonating(world: &World, user: &str) -> PathBuf {
    let config = world.kubeconfig.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from);
    let mut config = config.expect("a kubeconfig: make test-e2e sets KUBECONFIG");
    for entry in &mut config.auth_infos {
        entry.auth_info.get_or_insert_default().impersonate = Some(user.to_owned());
    }
    let path = world.directory().join(format!("kubeconfig-{}", user.replace(':', "-")));
    std::fs::write(&path, serde_yaml::to_string(&config).expect("YAML")).expect("write");
    path
}
