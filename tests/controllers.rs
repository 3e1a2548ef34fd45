//! The controllers of organizations, certificate authorities, identities, orderers and peers against a real API server.
//!
//! Needs KUBECONFIG. Where the cluster holds the images of `deploy/images` the nodes run; where it does not, the test
//! says so, and holds the controllers to naming the image that cannot be pulled.

#![expect(clippy::print_stderr, reason = "a test says why it passes over something")]
#![expect(clippy::expect_used, reason = "a test ends with the message of what went wrong")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams,
};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tenter::controllers::apply::{self, MANAGED_BY, Written};
use tenter::controllers::cache::Answer;
use tenter::controllers::certificate_authority::CertificateAuthorityController;
use tenter::controllers::identity::IdentityController;
use tenter::controllers::orderer::OrdererController;
use tenter::controllers::organization::OrganizationController;
use tenter::controllers::peer::PeerController;
use tenter::controllers::{Context, Driver, run};
use tenter::resources::{CertificateAuthority, Consortium, Identity, Orderer, Organization, Peer, TenterObject, crds};
use tenter_consortium::objects::{LABEL_CONSORTIUM, LABEL_ORGANIZATION};
use tenter_consortium::status::ObjectStatus;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_mins(2);

struct World {
    client: Client,
    ctx: Arc<Context>,
    name: String,
    system: String,
    organization: Driver<OrganizationController>,
    authority: Driver<CertificateAuthorityController>,
    orderer: Driver<OrdererController>,
    peer: Driver<PeerController>,
    identity: Driver<IdentityController>,
}

/// A world of its own in the cluster of KUBECONFIG, or `None` and a loud word when there is none.
async fn world(scenario: &str) -> Option<World> {
    if std::env::var_os("KUBECONFIG").is_none() {
        eprintln!("SKIPPED {scenario}: it needs a cluster; set KUBECONFIG (make cluster-up starts one)");
        return None;
    }
    let client = Client::try_default().await.expect("the cluster of KUBECONFIG");
    install(&client).await;
    let name = format!("{scenario}{:x}", std::process::id());
    let system = format!("{name}-system");
    let metadata = ObjectMeta { name: Some(system.clone()), ..ObjectMeta::default() };
    Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() })
        .await
        .expect("a namespace");
    let ctx = Arc::new(Context::new(client.clone(), system.clone()));
    let world = World {
        organization: Driver::new(OrganizationController, ctx.clone()),
        authority: Driver::new(CertificateAuthorityController, ctx.clone()),
        orderer: Driver::new(OrdererController::default(), ctx.clone()),
        peer: Driver::new(PeerController::default(), ctx.clone()),
        identity: Driver::new(IdentityController, ctx.clone()),
        client,
        ctx,
        name,
        system,
    };
    world.objects().await;
    Some(world)
}

async fn install(client: &Client) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in crds().expect("the definitions") {
        let name = definition.name_any();
        api.patch(&name, &PatchParams::apply("tenter").force(), &Patch::Apply(&definition))
            .await
            .expect("a definition");
        let start = Instant::now();
        loop {
            let status = api.get(&name).await.expect("the definition").status.unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let holds = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
            assert!(!holds("NonStructuralSchema"), "{name}: {conditions:?}");
            if holds("Established") {
                break;
            }
            assert!(start.elapsed() < LIMIT, "{name} is not established: {conditions:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl World {
    fn namespace(&self) -> String {
        format!("{}-acme", self.name)
    }

    async fn create<K: TenterObject>(&self, namespace: &str, name: &str, spec: serde_json::Value) {
        let labels = BTreeMap::from([(LABEL_CONSORTIUM, self.name.as_str()), (LABEL_ORGANIZATION, "acme")]);
        let object = json!({
            "apiVersion": K::api_version(&()), "kind": K::KIND,
            "metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec,
        });
        let object: K = serde_json::from_value(object).expect("an object");
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &object).await.expect("a new object");
    }

    async fn objects(&self) {
        let consortium = json!({
            "source": {"repository": "file:///nowhere"}, "organizations": ["acme"],
            "namespaces": {"create": true, "allowed": [format!("{}-*", self.name)]},
            "images": {
                "allowed": ["docker.io/hyperledger"], "mirrors": {"docker.io/hyperledger": "localhost/tenter"},
            },
            "subjects": [{"kind": "User", "name": "jane"}],
        });
        self.create::<Consortium>(&self.system, &self.name, consortium).await;
        let organization = json!({
            "consortium": self.name, "mspID": "AcmeMSP", "domain": "acme.example", "namespace": self.namespace(),
            "admins": [{"kind": "User", "name": "jane"}], "quota": {"nodes": 4, "cpu": "1000m"},
        });
        self.create::<Organization>(&self.system, "acme", organization).await;
        self.organization.reconcile(&self.system, "acme").await;
        let authority = json!({
            "organization": "acme", "mspID": "AcmeMSP", "domain": "acme.example",
            "certificateLifetimeHours": 8760, "rootLifetimeHours": 87600,
        });
        self.create::<CertificateAuthority>(&self.namespace(), "ca", authority).await;
        let node = |kind: &str, port: u16| {
            json!({
                "organization": "acme", "mspID": "AcmeMSP", "domain": "acme.example",
                "address": format!("{kind}0.{}.svc:{port}", self.namespace()),
                "image": format!("docker.io/hyperledger/fabric-{kind}:3.1"), "version": "3.1",
                "resources": {"cpu": "50m", "memory": "128Mi"}, "storage": {"size": "64Mi"},
            })
        };
        self.create::<Orderer>(&self.namespace(), "orderer0", node("orderer", 7050)).await;
        self.create::<Peer>(&self.namespace(), "peer0", node("peer", 7051)).await;
    }

    async fn reconcile(&self) {
        self.authority.reconcile(&self.namespace(), "ca").await;
        self.orderer.reconcile(&self.namespace(), "orderer0").await;
        self.peer.reconcile(&self.namespace(), "peer0").await;
        self.organization.reconcile(&self.system, "acme").await;
    }

    /// The object's `Ready` condition: status, reason and message.
    async fn ready<K: TenterObject>(&self, namespace: &str, name: &str) -> (String, String, String) {
        let object = Api::<K>::namespaced(self.client.clone(), namespace).get(name).await.expect("the object");
        let conditions = object.status().map(|status| status.conditions().to_vec()).unwrap_or_default();
        let ready = conditions.into_iter().find(|c| c.condition_type == "Ready");
        ready.map(|c| (c.status, c.reason, c.message)).unwrap_or_default()
    }

    /// Reconciles until both nodes run, or their images are known to be missing; says which.
    async fn settle(&self) -> bool {
        let start = Instant::now();
        loop {
            self.reconcile().await;
            let orderer = self.ready::<Orderer>(&self.namespace(), "orderer0").await;
            let peer = self.ready::<Peer>(&self.namespace(), "peer0").await;
            if orderer.0 == "True" && peer.0 == "True" {
                // Once more, for what others say of them.
                self.reconcile().await;
                return true;
            }
            if [&orderer, &peer].iter().all(|ready| ready.1 == "ImagePullBackOff") {
                eprintln!("the nodes do not run: the cluster does not hold their images (deploy/images packs them)");
                return false;
            }
            assert!(start.elapsed() < LIMIT, "orderer: {orderer:?}; peer: {peer:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Removes the namespaces. Objects that the finalizers hold are let go first, as the controllers do.
    async fn remove(self) {
        let namespace = self.namespace();
        let parameters = DeleteParams::default();
        assert!(delete::<Orderer>(&self.client, &namespace, "orderer0").await);
        assert!(delete::<Peer>(&self.client, &namespace, "peer0").await);
        assert!(delete::<CertificateAuthority>(&self.client, &namespace, "ca").await);
        assert!(delete::<Organization>(&self.client, &self.system, "acme").await);
        Box::pin(self.reconcile()).await;
        let namespaces = Api::<Namespace>::all(self.client.clone());
        for name in [namespace, self.system] {
            namespaces.delete(&name, &parameters).await.expect("a namespace that goes");
        }
    }
}

async fn delete<K: TenterObject>(client: &Client, namespace: &str, name: &str) -> bool {
    let api = Api::<K>::namespaced(client.clone(), namespace);
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) => status.is_not_found(),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_come_up_and_in_sync_nothing_is_written() {
    let Some(world) = world("sync").await else { return };
    let running = world.settle().await;
    let namespace = world.namespace();
    assert_eq!(world.ready::<CertificateAuthority>(&namespace, "ca").await.1, "Issuing");
    assert_eq!(world.ready::<Organization>(&world.system, "acme").await.1, "Enrolled");
    if running {
        assert_eq!(world.ready::<Orderer>(&namespace, "orderer0").await.1, "Running");
    }

    let before = world.ctx.writes.by_kind();
    for _ in 0..3 {
        world.reconcile().await;
    }
    let after = world.ctx.writes.by_kind();
    assert_eq!(before, after, "in sync means that nothing is written");

    // No key leaves its Secret: not into an object, not into an event.
    for text in everything_but_secrets(&world).await {
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
    Box::pin(world.remove()).await;
}

async fn everything_but_secrets(world: &World) -> Vec<String> {
    async fn all<K>(client: &Client, namespace: &str) -> Vec<String>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let list = Api::<K>::namespaced(client.clone(), namespace).list(&ListParams::default()).await.expect("a list");
        assert!(!list.items.is_empty(), "{} in {namespace}", K::kind(&()));
        list.items.iter().map(|item| serde_json::to_string(item).expect("JSON")).collect()
    }
    let (client, namespace) = (&world.client, world.namespace());
    let mut texts = all::<ConfigMap>(client, &namespace).await;
    texts.extend(all::<Event>(client, &namespace).await);
    texts.extend(all::<StatefulSet>(client, &namespace).await);
    texts.extend(all::<Orderer>(client, &namespace).await);
    texts.extend(all::<Peer>(client, &namespace).await);
    texts.extend(all::<CertificateAuthority>(client, &namespace).await);
    texts.extend(all::<Organization>(client, &world.system).await);
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_by_hand_is_put_back_and_keys_and_volumes_stay() {
    let Some(world) = world("mend").await else { return };
    world.settle().await;
    let namespace = world.namespace();
    let secrets = Api::<Secret>::namespaced(world.client.clone(), &namespace);
    let services = Api::<Service>::namespaced(world.client.clone(), &namespace);
    let claims = Api::<PersistentVolumeClaim>::namespaced(world.client.clone(), &namespace);

    // A Service that goes comes back.
    services.delete("orderer0-admin", &DeleteParams::default()).await.expect("deleted");
    world.reconcile().await;
    services.get("orderer0-admin").await.expect("the Service is back");

    // A root that goes does not: nobody would know the organization any more.
    let root = secrets.get("ca-tls").await.expect("the root");
    secrets.delete("ca-tls", &DeleteParams::default()).await.expect("deleted");
    world.reconcile().await;
    let (status, reason, message) = world.ready::<CertificateAuthority>(&namespace, "ca").await;
    assert_eq!((status.as_str(), reason.as_str()), ("False", "RootMissing"), "{message}");
    assert!(secrets.get_opt("ca-tls").await.expect("an answer").is_none());
    let metadata = ObjectMeta { name: Some("ca-tls".into()), labels: root.metadata.labels, ..ObjectMeta::default() };
    secrets.create(&PostParams::default(), &Secret { metadata, ..root }).await.expect("the root from the backup");
    world.authority.reconcile(&namespace, "ca").await;
    assert_eq!(world.ready::<CertificateAuthority>(&namespace, "ca").await.1, "Issuing");

    // A node that goes leaves its keys and its volume.
    let before = secrets.get("orderer0-tls").await.expect("the key").data;
    assert!(delete::<Orderer>(&world.client, &namespace, "orderer0").await);
    world.orderer.reconcile(&namespace, "orderer0").await;
    let orderers = Api::<Orderer>::namespaced(world.client.clone(), &namespace);
    assert!(orderers.get_opt("orderer0").await.expect("an answer").is_none(), "the finalizer holds it");
    claims.get("data-orderer0-0").await.expect("the volume claim stays");
    assert_eq!(secrets.get("orderer0-tls").await.expect("the key stays").data, before);
    Box::pin(world.remove()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_spec_restarts_the_pod_and_it_runs_again() {
    let Some(world) = world("change").await else { return };
    if world.settle().await {
        let namespace = world.namespace();
        let pods = Api::<Pod>::namespaced(world.client.clone(), &namespace);
        let memory = async || {
            let pod = pods.get_opt("orderer0-0").await.expect("an answer")?;
            let resources = pod.spec?.containers.first()?.resources.clone()?;
            Some(resources.limits?.get("memory")?.0.clone())
        };
        assert_eq!(memory().await.as_deref(), Some("128Mi"));
        let orderers = Api::<Orderer>::namespaced(world.client.clone(), &namespace);
        let patch = Patch::Merge(json!({"spec": {"resources": {"memory": "160Mi"}}}));
        orderers.patch("orderer0", &PatchParams::default(), &patch).await.expect("a changed spec");
        let start = Instant::now();
        loop {
            world.orderer.reconcile(&namespace, "orderer0").await;
            let ready = world.ready::<Orderer>(&namespace, "orderer0").await;
            if ready.0 == "True" && memory().await.as_deref() == Some("160Mi") {
                break;
            }
            assert!(start.elapsed() < LIMIT, "{ready:?}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        // The other node was left alone.
        assert_eq!(world.ready::<Peer>(&namespace, "peer0").await.1, "Running");
    }
    Box::pin(world.remove()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_converge_by_themselves_and_then_rest() {
    let Some(world) = world("watch").await else { return };
    let stop = CancellationToken::new();
    let running = [
        tokio::spawn(run(OrganizationController, world.ctx.clone(), stop.clone())),
        tokio::spawn(run(CertificateAuthorityController, world.ctx.clone(), stop.clone())),
        tokio::spawn(run(IdentityController, world.ctx.clone(), stop.clone())),
        tokio::spawn(run(OrdererController::default(), world.ctx.clone(), stop.clone())),
        tokio::spawn(run(PeerController::default(), world.ctx.clone(), stop.clone())),
    ];
    let (namespace, start) = (world.namespace(), Instant::now());
    loop {
        let orderer = world.ready::<Orderer>(&namespace, "orderer0").await;
        let peer = world.ready::<Peer>(&namespace, "peer0").await;
        let organization = world.ready::<Organization>(&world.system, "acme").await;
        if [&orderer, &peer].iter().all(|ready| ready.0 == "True" || ready.1 == "ImagePullBackOff")
            && organization.0 == "True"
        {
            println!("converged after {:.1} s: {}, {}", start.elapsed().as_secs_f32(), orderer.1, peer.1);
            break;
        }
        assert!(start.elapsed() < LIMIT, "{orderer:?} {peer:?} {organization:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // At rest: a while in which nothing is written, though everything is watched.
    let mut quiet = Instant::now();
    let mut writes = world.ctx.writes.total();
    while quiet.elapsed() < Duration::from_secs(4) {
        assert!(start.elapsed() < LIMIT, "it never rests: {:?}", world.ctx.writes.by_kind());
        tokio::time::sleep(Duration::from_millis(100)).await;
        if world.ctx.writes.total() != writes {
            writes = world.ctx.writes.total();
            quiet = Instant::now();
        }
    }
    println!("written: {:?}", world.ctx.writes.by_kind());
    stop.cancel();
    for controller in running {
        tokio::time::timeout(LIMIT, controller).await.expect("it stops").expect("it ends well");
    }
    Box::pin(world.remove()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tenters_is_never_touched() {
    let Some(world) = world("foreign").await else { return };
    let namespace = world.namespace();
    let services = Api::<Service>::namespaced(world.client.clone(), &namespace);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "orderer0"},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "theirs"}},
    });
    let service: Service = serde_json::from_value(service).expect("a Service");
    services.create(&PostParams::default(), &service).await.expect("somebody's Service");
    world.reconcile().await;
    let (_, reason, message) = world.ready::<Orderer>(&namespace, "orderer0").await;
    assert_eq!(reason, "ForeignService", "{message}");
    // Nor does another daemon of the cluster touch what this one took on, living or going.
    let other = Arc::new(Context::new(world.client.clone(), "default"));
    let stranger = Driver::new(OrdererController::default(), other.clone());
    stranger.reconcile(&namespace, "orderer0").await;
    assert!(delete::<Orderer>(&world.client, &namespace, "orderer0").await);
    stranger.reconcile(&namespace, "orderer0").await;
    assert_eq!(other.writes.total(), 0);

    let kept = services.get("orderer0").await.expect("the Service").spec.expect("a spec");
    assert_eq!(kept.selector.expect("a selector"), BTreeMap::from([("app".to_owned(), "theirs".to_owned())]));
    Box::pin(world.remove()).await;
}

/// A `ConfigMap` of the world's system namespace.
fn noted(world: &World, name: &str, number: usize, labels: &[(&str, &str)]) -> ConfigMap {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(world.system.clone()),
            labels: Some(labels.iter().map(owned).collect()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("number".to_owned(), number.to_string())])),
        ..ConfigMap::default()
    }
}

/// The number that a read of it gives.
async fn number(world: &World, name: &str) -> Option<String> {
    let map = apply::get::<ConfigMap>(&world.ctx, &world.system, name).await.expect("an answer");
    map.and_then(|map| map.data?.remove("number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_never_older_than_what_was_written() {
    let Some(world) = world("copies").await else { return };
    let (ctx, system) = (&world.ctx, world.system.as_str());
    let own = [(MANAGED_BY, "tenter")];
    let mut changes = std::pin::pin!(ctx.changes::<ConfigMap>());
    let known = || matches!(ctx.cache.get::<ConfigMap>(system, "own"), Answer::Known(Some(_)));
    // What this process wrote it reads, however far behind the watch is.
    for round in 0..50 {
        apply::apply(ctx, &noted(&world, "own", round, &own)).await.expect("written");
        assert_eq!(number(&world, "own").await, Some(round.to_string()));
    }
    let start = Instant::now();
    while !known() {
        assert!(start.elapsed() < LIMIT, "there is no copy");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What somebody else wrote is in the copy when it is told of.
    let api = Api::<ConfigMap>::namespaced(world.client.clone(), system);
    let patch = Patch::Merge(json!({"data": {"number": "100"}}));
    api.patch("own", &PatchParams::default(), &patch).await.expect("changed");
    let told = async {
        while let Some(map) = changes.next().await {
            if map.name_any() == "own" && map.data.is_some_and(|data| data["number"] == "100") {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, told).await.expect("the change is told of");
    assert_eq!(number(&world, "own").await.as_deref(), Some("100"));
    // What is not Tenter's is not watched, and is there all the same.
    api.create(&PostParams::default(), &noted(&world, "theirs", 7, &[])).await.expect("made");
    assert_eq!(number(&world, "theirs").await.as_deref(), Some("7"));
    let found = apply::list::<ConfigMap>(ctx, system, "").await.expect("a list");
    assert!(found.iter().any(|map| map.name_any() == "theirs"));
    // Deleted is gone at once, and what comes back under the name is there at once.
    for round in 0..10 {
        apply::delete::<ConfigMap>(ctx, system, "own").await.expect("deleted");
        assert_eq!(number(&world, "own").await, None);
        apply::create(ctx, &noted(&world, "own", round, &own)).await.expect("made");
        assert_eq!(number(&world, "own").await, Some(round.to_string()));
    }
    // One that somebody else made in the same moment is not overlooked.
    api.create(&PostParams::default(), &noted(&world, "late", 3, &own)).await.expect("made");
    assert_eq!(apply::create(ctx, &noted(&world, "late", 4, &own)).await.expect("an answer"), Written::Unchanged);
    assert_eq!(number(&world, "late").await.as_deref(), Some("3"));
    Box::pin(world.remove()).await;
}

/// An Identity of a name, as people write it: without labels.
async fn identity(world: &World, name: &str, spec: serde_json::Value) -> Result<DynamicObject, kube::Error> {
    let mut document = json!({
        "apiVersion": "tenter.dev/v1alpha1", "kind": "Identity",
        "metadata": {"name": name, "namespace": world.namespace()},
        "spec": {"consortium": world.name, "organization": "acme"},
    });
    for (key, value) in spec.as_object().expect("a spec") {
        document["spec"][key] = value.clone();
    }
    let object: DynamicObject = serde_json::from_value(document).expect("an object");
    let resource = ApiResource::erase::<Identity>(&());
    let api = Api::<DynamicObject>::namespaced_with(world.client.clone(), &world.namespace(), &resource);
    api.create(&PostParams::default(), &object).await
}

/// The events about an object, as reason and note.
async fn events_of(world: &World, name: &str) -> Vec<(String, String)> {
    let api = Api::<Event>::namespaced(world.client.clone(), &world.namespace());
    let parameters = ListParams::default().fields(&format!("involvedObject.name={name}"));
    let list = api.list(&parameters).await.expect("events");
    list.items.into_iter().map(|e| (e.reason.unwrap_or_default(), e.message.unwrap_or_default())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_enrolled_put_right_revoked_and_stays_so() {
    let Some(world) = world("identity").await else { return };
    let namespace = world.namespace();
    world.authority.reconcile(&namespace, "ca").await;
    let jane = json!({"kind": "User", "name": "jane"});
    identity(&world, "shop", json!({"subject": jane})).await.expect("an identity");
    world.identity.reconcile(&namespace, "shop").await;
    let ready = world.ready::<Identity>(&namespace, "shop").await;
    assert_eq!((ready.0.as_str(), ready.1.as_str()), ("True", "Enrolled"), "{}", ready.2);
    let secrets = Api::<Secret>::namespaced(world.client.clone(), &namespace);
    let first = secrets.get("identity-shop").await.expect("the Secret");
    let keys: Vec<String> = first.data.clone().expect("data").into_keys().collect();
    assert_eq!(keys, ["ca.pem", "cert.pem", "config.yaml", "key.pem", "tlsca.pem"]);
    assert_eq!(first.metadata.owner_references, None, "keys outlive what asked for them");
    let roles = Api::<Role>::namespaced(world.client.clone(), &namespace);
    let granted = roles.get("identity-shop").await.expect("the Role").rules.expect("rules");
    assert_eq!(granted[0].resource_names.as_deref(), Some(["identity-shop".to_owned()].as_slice()));

    // In sync nothing is written.
    let before = world.ctx.writes.by_kind();
    world.identity.reconcile(&namespace, "shop").await;
    world.authority.reconcile(&namespace, "ca").await;
    assert_eq!(before, world.ctx.writes.by_kind());

    // A Secret that somebody removed comes back with another key, and an event says so.
    secrets.delete("identity-shop", &DeleteParams::default()).await.expect("deleted");
    world.identity.reconcile(&namespace, "shop").await;
    let second = secrets.get("identity-shop").await.expect("the Secret is back");
    assert_ne!(first.data.as_ref().map(|data| &data["key.pem"]), second.data.as_ref().map(|data| &data["key.pem"]));
    let events = events_of(&world, "shop").await;
    assert!(events.iter().any(|(reason, note)| reason == "SecretRestored" && note.contains("was gone")), "{events:?}");

    // Revoked: both certificates are on the list, which others can read.
    let identities = Api::<Identity>::namespaced(world.client.clone(), &namespace);
    let revoke = |revoked: bool| Patch::Merge(json!({"spec": {"revoked": revoked}}));
    identities.patch("shop", &PatchParams::default(), &revoke(true)).await.expect("a changed spec");
    world.identity.reconcile(&namespace, "shop").await;
    world.authority.reconcile(&namespace, "ca").await;
    world.identity.reconcile(&namespace, "shop").await;
    assert_eq!(world.ready::<Identity>(&namespace, "shop").await.1, "Revoked");
    let status = identities.get("shop").await.expect("it").status.expect("a status");
    assert_eq!((status.issued, status.revoked), (2, 2));
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &namespace);
    let published = async || maps.get("msp").await.expect("the MSP").data.expect("data").get("crls.pem").cloned();
    let list = published().await.expect("a revocation list");
    let bindings = Api::<RoleBinding>::namespaced(world.client.clone(), &namespace);
    let subjects = bindings.get("identity-shop").await.expect("the binding").subjects.unwrap_or_default();
    assert!(subjects.is_empty(), "{subjects:?}");
    // The API server does not let it be taken back; the object's end does not either.
    let error = identities.patch("shop", &PatchParams::default(), &revoke(false)).await.expect_err("for ever");
    assert!(error.to_string().contains("a revocation is for ever"), "{error}");
    assert!(delete::<Identity>(&world.client, &namespace, "shop").await);
    world.identity.reconcile(&namespace, "shop").await;
    assert!(identities.get_opt("shop").await.expect("an answer").is_none(), "the finalizer holds it");
    secrets.get("identity-shop").await.expect("the Secret stays");
    world.authority.reconcile(&namespace, "ca").await;
    assert_eq!(published().await, Some(list.clone()));
    // The list that is taken away comes back byte for byte.
    let patch = Patch::Merge(json!({"data": {"crls.pem": null}}));
    maps.patch("msp", &PatchParams::default(), &patch).await.expect("taken away");
    world.authority.reconcile(&namespace, "ca").await;
    assert_eq!(published().await, Some(list));
    identity(&world, "shop", json!({})).await.expect("another object of the name");
    world.identity.reconcile(&namespace, "shop").await;
    assert_eq!(world.ready::<Identity>(&namespace, "shop").await.1, "RevocationIsFinal");
    assert!(delete::<Identity>(&world.client, &namespace, "shop").await);
    world.identity.reconcile(&namespace, "shop").await;
    Box::pin(world.remove()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_meet_the_gates() {
    let Some(world) = world("gates").await else { return };
    let namespace = world.namespace();
    world.authority.reconcile(&namespace, "ca").await;
    // What the API server refuses at once.
    let mallory = json!({"kind": "User", "name": "mallory"});
    for (name, spec, message) in [
        ("config-admin", json!({}), "none of an identity that Tenter makes itself"),
        ("boss", json!({"role": "admin"}), "an identity of role admin needs a subject"),
        ("peer0", json!({"role": "peer"}), "Unsupported value"),
        ("app", json!({"subject": {"kind": "ServiceAccount", "name": "app"}}), "needs its namespace"),
    ] {
        let error = identity(&world, name, spec).await.expect_err(message);
        assert!(error.to_string().contains(message), "{error}");
    }
    // What only the daemon's settings know.
    identity(&world, "boss", json!({"role": "admin", "subject": mallory})).await.expect("an identity");
    world.identity.reconcile(&namespace, "boss").await;
    assert_eq!(world.ready::<Identity>(&namespace, "boss").await.1, "SubjectNotAllowed");
    let secrets = Api::<Secret>::namespaced(world.client.clone(), &namespace);
    assert!(secrets.get_opt("identity-boss").await.expect("an answer").is_none(), "no key is made");
    // A Secret of something else is left alone, and nobody may read it through an Identity.
    identity(&world, "thief", json!({"secretName": "ca-enrolment", "subject": {"kind": "User", "name": "jane"}}))
        .await
        .expect("an identity");
    world.identity.reconcile(&namespace, "thief").await;
    assert_eq!(world.ready::<Identity>(&namespace, "thief").await.1, "ReservedSecretName");
    let roles = Api::<Role>::namespaced(world.client.clone(), &namespace);
    assert!(roles.get_opt("identity-thief").await.expect("an answer").is_none());
    for name in ["boss", "thief"] {
        assert!(delete::<Identity>(&world.client, &namespace, name).await);
        world.identity.reconcile(&namespace, name).await;
    }
    Box::pin(world.remove()).await;
}
