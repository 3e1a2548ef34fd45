//! One scenario's world: a Consortium in a namespace of its own, a git repository, and a daemon that runs on this
//! machine and reaches Fabric through the API server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Secret};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, ObjectMeta, Patch, PatchParams,
    PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

/// Longest wait for anything.
pub const LIMIT: Duration = Duration::from_mins(4);

/// Least pause before a condition is looked at again.
const SOONEST: Duration = Duration::from_millis(100);
/// Longest such pause.
const LATEST: Duration = Duration::from_secs(2);

/// Tenter's own kinds.
pub const KINDS: [&str; 11] = [
    "Consortium",
    "Organization",
    "CertificateAuthority",
    "Orderer",
    "Peer",
    "Channel",
    "Membership",
    "Chaincode",
    "Proposal",
    "Vote",
    "Identity",
];

/// The image tag of the Fabric programs that `deploy/images` packed.
const MIRROR: &str = "localhost/tenter";

/// A scenario's world. Dropping it stops the daemon; the namespaces are deleted without waiting.
pub struct World {
    /// The Kubernetes client.
    pub client: Client,
    /// Name of the network, of the Consortium and prefix of every namespace.
    pub name: String,
    /// Name of the namespace of the Consortium.
    pub namespace: String,
    /// Leads the program to the API server another way.
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig of its cluster; `None` for that of KUBECONFIG.
    cluster: Option<PathBuf>,
    directory: tempfile::TempDir,
    daemon: Arc<Mutex<Daemon>>,
}

/// The daemon's process, and how often it was killed in the middle of its work.
#[derive(Default)]
struct Daemon {
    child: Option<Child>,
    kills: usize,
}

/// How the program of a world is started.
#[derive(Clone)]
struct Program {
    namespace: String,
    consortium: String,
    kubeconfig: Option<PathBuf>,
    directory: PathBuf,
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenter"));
        command.args(["--namespace", &self.namespace, "--consortium", &self.consortium]).stdin(Stdio::null());
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("daemon.log")
    }

    fn daemon(&self) -> Child {
        self.spawn(&["run", "--listen", "127.0.0.1:0"], &self.log_file(), "cache")
    }

    /// What the program logs: also when it has done something, so that it can be killed then.
    const LOG: &str = "info,kube_client=error,tenter::controllers::driver=debug";

    /// Starts the program; what it prints is appended to `log`.
    fn spawn(&self, arguments: &[&str], log: &Path, cache: &str) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("the log");
        self.command()
            .args(arguments)
            .env("TENTER_CACHE_DIR", self.directory.join(cache))
            .env("RUST_LOG", Self::LOG)
            .stdout(log.try_clone().expect("the log"))
            .stderr(log)
            .spawn()
            .expect("the program")
    }
}

/// A process of the program beside the daemon, until it ends or this is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit code, once it has ended.
    pub fn code(&mut self) -> Option<i32> {
        self.child.try_wait().expect("the process").map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The point of the daemon's work that a line of its log shows: `Channel, before Propose`.
fn point(line: &str) -> Option<String> {
    if line.contains(" a new revision ") {
        return Some("a new revision".to_owned());
    }
    let when = [(" acting ", "before"), (" acted ", "after")].iter().find(|(word, _)| line.contains(word))?.1;
    let kind = line.split("object=\"").nth(1)?.split(' ').next()?;
    let action = line.split("action=").nth(1)?;
    let action: String = action.chars().take_while(|&letter| letter.is_alphanumeric() || letter == '(').collect();
    Some(format!("{kind}, {when} {}", action.trim_end_matches('(')))
}

/// Whether two scenarios of one run may share a name: they may not, so each gives its own.
fn unique(scenario: &str) -> String {
    format!("{scenario}{:04x}", std::process::id() % 0xffff)
}

impl World {
    /// A world with an empty cluster and an empty repository.
    pub async fn new(scenario: &str) -> Self {
        let name = unique(scenario);
        let namespace = format!("{name}-system");
        Self::at(name, namespace, None).await
    }

    /// The world of one member of a consortium: a daemon of its own, in the cluster of `kubeconfig` or in that of KUBECONFIG.
    pub async fn of_member(scenario: &str, organization: &str, kubeconfig: Option<PathBuf>) -> Self {
        let name = unique(scenario);
        let namespace = format!("{name}-{organization}-system");
        Self::at(name, namespace, kubeconfig).await
    }

    async fn at(name: String, namespace: String, cluster: Option<PathBuf>) -> Self {
        let client = connect(cluster.as_deref()).await.expect("a cluster: make test-e2e starts one, or set KUBECONFIG");
        let directory = tempfile::tempdir().expect("a temporary folder");
        let kubeconfig = cluster.clone();
        let world = Self { client, name, namespace, kubeconfig, cluster, directory, daemon: Arc::default() };
        let meta = ObjectMeta { name: Some(world.namespace.clone()), ..ObjectMeta::default() };
        Api::<Namespace>::all(world.client.clone())
            .create(&PostParams::default(), &Namespace { metadata: meta, ..Namespace::default() })
            .await
            .expect("a namespace");
        world.git(&["init", "-q", "-b", "main", "."]);
        world
    }

    /// A folder of this world.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Folder of the checkout that the daemon pulls from.
    pub fn repository(&self) -> PathBuf {
        let path = self.directory.path().join("repository");
        std::fs::create_dir_all(&path).expect("a folder");
        path
    }

    /// Runs git in the repository and returns what it printed.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=test", "-c", "user.email=test@tenter.example"])
            .args(arguments)
            .current_dir(self.repository())
            .output()
            .expect("git");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Commits `definition` as the network's file; returns the commit.
    pub fn commit(&self, definition: &str) -> String {
        std::fs::write(self.repository().join("network.yaml"), definition).expect("the definition");
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "Change the network"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// The API of a kind of group `tenter.dev`, in a namespace.
    pub fn objects(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let plural = match kind {
            "CertificateAuthority" => "certificateauthorities".to_owned(),
            "Consortium" => "consortia".to_owned(),
            "Identity" => "identities".to_owned(),
            other => format!("{}s", other.to_lowercase()),
        };
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("tenter.dev", "v1alpha1", kind), &plural);
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    /// Name of an organisation's namespace.
    pub fn organization(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// Makes the Consortium object, with settings that allow what the tests need; `patch` is merged into its spec.
    pub async fn consortium(&self, patch: Value) {
        let mut spec = json!({
            "source": { "repository": format!("file://{}", self.repository().display()), "intervalSeconds": 2 },
            "organizations": ["*"],
            "namespaces": { "create": true, "allowed": [format!("{}-*", self.name)] },
            "images": { "allowed": ["docker.io/hyperledger", MIRROR], "mirrors": { "docker.io/hyperledger": MIRROR } },
        });
        merge(&mut spec, patch);
        let object = json!({
            "apiVersion": "tenter.dev/v1alpha1", "kind": "Consortium",
            "metadata": { "name": self.name, "namespace": self.namespace }, "spec": spec,
        });
        self.objects("Consortium", &self.namespace)
            .patch(&self.name, &PatchParams::apply("test").force(), &Patch::Apply(object))
            .await
            .expect("the Consortium object");
    }

    /// Starts the daemon.
    pub fn start(&self) {
        let child = &mut self.daemon().child;
        assert!(child.is_none(), "the daemon runs already");
        *child = Some(self.program().daemon());
    }

    /// Kills the daemon as a power cut would.
    pub fn kill(&self) {
        if let Some(mut child) = self.daemon().child.take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// From now on kills the daemon in the middle of its work, `times` times in all, and starts it again at once: when it takes up a
    /// revision, and before and after each kind of thing that it does, each of these points once; when there are no new ones, at
    /// the fourth to sixth thing that it does. One that the scenario stopped stays so.
    pub fn kill_again_and_again(&self, times: usize) {
        self.kill_at_points(times, None);
    }

    /// As [`Self::kill_again_and_again`], and also where the daemon does nothing of that for a while, because all that it
    /// can do is to wait. So it comes to `times` whatever there is to do: see [`Self::killed`].
    pub fn kill_at_work_and_while_it_waits(&self, times: usize) {
        self.kill_at_points(times, Some(Duration::from_secs(2)));
    }

    fn kill_at_points(&self, times: usize, idle: Option<Duration>) {
        let (daemon, program) = (Arc::downgrade(&self.daemon), self.program());
        std::thread::spawn(move || {
            let read = || std::fs::read_to_string(program.log_file()).unwrap_or_default();
            let mut seen = read().len();
            let mut killed_at = BTreeSet::new();
            for kill in 0..times {
                // What has begun since the last kill, and when that was seen.
                let mut last = (0, Instant::now());
                loop {
                    std::thread::sleep(Duration::from_millis(20));
                    let Some(daemon) = daemon.upgrade() else { return };
                    let log = read();
                    let points: Vec<String> = log.get(seen..).unwrap_or_default().lines().filter_map(point).collect();
                    if points.len() != last.0 {
                        last = (points.len(), Instant::now());
                    }
                    let mut daemon = daemon.lock().unwrap_or_else(PoisonError::into_inner);
                    let Daemon { child: Some(child), kills } = &mut *daemon else {
                        last.1 = Instant::now();
                        continue;
                    };
                    let new = points.iter().find(|&point| !killed_at.contains(point)).cloned();
                    let waits = !points.is_empty() && idle.is_some_and(|idle| last.1.elapsed() > idle);
                    if new.is_none() && points.len() <= 3 + kill % 3 && !waits {
                        continue;
                    }
                    child.kill().expect("kill");
                    child.wait().expect("wait");
                    seen = read().len();
                    *child = program.daemon();
                    *kills += 1;
                    println!(
                        "{}: killed at {}",
                        program.consortium,
                        new.as_deref().unwrap_or("a wait, or a point as before")
                    );
                    killed_at.extend(new);
                    break;
                }
            }
        });
    }

    /// Waits until the daemon was killed so often in the middle of its work.
    pub async fn killed(&self, times: usize) {
        self.eventually(&format!("the daemon to be killed at {times} points"), async || {
            let kills = self.kills();
            if kills >= times { Ok(()) } else { Err(format!("it was killed at {kills}")) }
        })
        .await;
    }

    /// How often the daemon was killed in the middle of its work.
    pub fn kills(&self) -> usize {
        self.daemon().kills
    }

    /// Whether the daemon has not ended.
    pub fn daemon_runs(&self) -> bool {
        self.daemon().child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// What the daemon holds in memory now (`VmRSS`), in MiB.
    pub fn daemon_memory(&self) -> f64 {
        let process = self.daemon_id();
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("/proc");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
    }

    fn daemon(&self) -> MutexGuard<'_, Daemon> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.program().log_file()
    }

    fn program(&self) -> Program {
        Program {
            namespace: self.namespace.clone(),
            consortium: self.name.clone(),
            kubeconfig: self.kubeconfig.clone(),
            directory: self.directory.path().to_owned(),
        }
    }

    /// The program, set up for this world.
    pub fn tenter(&self) -> Command {
        self.program().command()
    }

    /// Starts the program beside the daemon, under a name of its own.
    pub fn spawn(&self, name: &str, arguments: &[&str]) -> Running {
        let log = self.directory.path().join(format!("{name}.log"));
        let child = self.program().spawn(arguments, &log, &format!("cache-{name}"));
        Running { child, log }
    }

    /// Process id of the daemon.
    pub fn daemon_id(&self) -> u32 {
        self.daemon().child.as_ref().expect("the daemon runs").id()
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.tenter().args(arguments).output().expect("tenter")
    }

    /// The Consortium's status.
    pub async fn status(&self) -> Value {
        let object = self.objects("Consortium", &self.namespace).get(&self.name).await.expect("the Consortium");
        object.data.get("status").cloned().unwrap_or(Value::Null)
    }

    /// Sum of a metric of the daemon over all its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        self.metric_of(name, |_| true).await
    }

    /// Sum of a metric of the daemon over the labels that count: `{kind="Pod"}`.
    pub async fn metric_of(&self, name: &str, counts: impl Fn(&str) -> bool) -> f64 {
        let text = self.page("/metrics").await;
        let of = |line: &str| {
            line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']) && counts(&line[name.len()..])
        };
        let values: Vec<f64> =
            text.lines().filter(|line| of(line)).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        assert!(!values.is_empty(), "the daemon has no metric {name}:\n{text}");
        values.iter().sum()
    }

    /// A page that the daemon serves.
    async fn page(&self, path: &str) -> String {
        http_get(self.listen_address().await, path).await
    }

    /// The address that the daemon listens on: it logs the one it was given.
    async fn listen_address(&self) -> std::net::SocketAddr {
        self.eventually("the daemon to listen", async || {
            let log = self.log();
            let found = log
                .lines()
                .rev()
                .find_map(|line| line.split("listening on http://").nth(1)?.split_whitespace().next()?.parse().ok());
            found.ok_or_else(|| "no such line in its log".to_owned())
        })
        .await
    }

    /// Waits until the Consortium says that `commit` is applied.
    pub async fn applied(&self, commit: &str) {
        self.eventually(&format!("commit {commit} to be applied"), async || {
            let status = self.status().await;
            let done = status["lastAppliedRevision"] == commit && status["phase"] == "Applied";
            if done { Ok(()) } else { Err(format!("status is {status}")) }
        })
        .await;
    }

    /// Waits until an object's phase is `phase`.
    pub async fn phase(&self, kind: &str, namespace: &str, name: &str, phase: &str) -> Value {
        let api = self.objects(kind, namespace);
        self.eventually(&format!("{kind} {name} to be {phase}"), async || {
            let object = api.get(name).await.map_err(|error| error.to_string())?;
            let status = object.data.get("status").cloned().unwrap_or(Value::Null);
            if status["phase"] == phase { Ok(status) } else { Err(format!("status is {status}")) }
        })
        .await
    }

    /// Waits until an organization's membership of a channel is active with all of its nodes in it. One that misses a look on a
    /// busy machine is there again at the next.
    pub async fn joined(&self, namespace: &str, channel: &str) {
        let api = self.objects("Membership", namespace);
        self.eventually(&format!("{namespace} to have joined {channel}"), async || {
            let object = api.get(channel).await.map_err(|error| error.to_string())?;
            let status = object.data.get("status").cloned().unwrap_or(Value::Null);
            let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
            let present = !nodes.is_empty() && nodes.iter().all(|node| node["state"] == "present");
            if present && status["phase"] == "Active" { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }

    /// Waits until `condition` holds, for [`LIMIT`] at most; fails with the last reason and the end of the daemon's log.
    pub async fn eventually<T>(&self, what: &str, mut condition: impl AsyncFnMut() -> Result<T, String>) -> T {
        let start = Instant::now();
        loop {
            let looked = Instant::now();
            match condition().await {
                Ok(value) => return value,
                Err(reason) if start.elapsed() > LIMIT => {
                    let log = self.log();
                    let tail: Vec<&str> = log.lines().rev().take(40).collect();
                    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                    panic!("waited {LIMIT:?} for {what}: {reason}\n--- daemon\n{tail}");
                }
                // The condition alone decides. Those that start a program to look leave the machine to others for a while.
                Err(_) => tokio::time::sleep((looked.elapsed() * 2).clamp(SOONEST, LATEST)).await,
            }
        }
    }

    /// The namespaces of this world.
    pub async fn namespaces(&self) -> Vec<String> {
        let all = Api::<Namespace>::all(self.client.clone()).list(&ListParams::default()).await.expect("namespaces");
        let prefix = format!("{}-", self.name);
        all.into_iter()
            .filter_map(|namespace| namespace.metadata.name)
            .filter(|name| name.starts_with(&prefix))
            .collect()
    }

    /// Pieces of the private keys in the Secrets of this world, which must be seen nowhere else: the secret number is in the
    /// first line of a PKCS#8 key and at the begin of the second. What follows is the public key, which certificates hold too.
    pub async fn canaries(&self) -> Vec<String> {
        let mut canaries = Vec::new();
        for namespace in self.namespaces().await {
            let secrets = Api::<Secret>::namespaced(self.client.clone(), &namespace);
            for secret in secrets.list(&ListParams::default()).await.expect("secrets") {
                for (name, value) in secret.data.unwrap_or_default() {
                    let text = String::from_utf8_lossy(&value.0).into_owned();
                    if text.contains("PRIVATE KEY") {
                        let body: Vec<&str> = text.lines().filter(|line| !line.starts_with("-----")).collect();
                        assert!(body.len() > 1 && body[1].len() > 24, "{namespace}: the key {name} has no body");
                        canaries.extend([body[0].to_owned(), body[1][..24].to_owned()]);
                    }
                }
            }
        }
        canaries
    }

    /// Everything that other people may read: objects with their status, events and public configuration, as JSON.
    pub async fn public_text(&self) -> String {
        let mut text = String::new();
        for namespace in self.namespaces().await {
            for kind in KINDS {
                let list = self.objects(kind, &namespace).list(&ListParams::default()).await.expect("objects");
                text.push_str(&serde_json::to_string(&list.items).expect("JSON"));
            }
            let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &namespace).list(&ListParams::default()).await;
            text.push_str(&serde_json::to_string(&maps.expect("config maps").items).expect("JSON"));
            let events = Api::<Event>::namespaced(self.client.clone(), &namespace).list(&ListParams::default()).await;
            text.push_str(&serde_json::to_string(&events.expect("events").items).expect("JSON"));
            let sets =
                Api::<StatefulSet>::namespaced(self.client.clone(), &namespace).list(&ListParams::default()).await;
            text.push_str(&serde_json::to_string(&sets.expect("StatefulSets").items).expect("JSON"));
            let rest =
                Api::<Deployment>::namespaced(self.client.clone(), &namespace).list(&ListParams::default()).await;
            text.push_str(&serde_json::to_string(&rest.expect("Deployments").items).expect("JSON"));
        }
        if self.daemon_runs() {
            for page in ["/", "/metrics", &format!("/snapshots/{}", self.name)] {
                text.push_str(&self.page(page).await);
            }
        }
        text
    }

    /// Private keys are in no place that others may read.
    pub async fn keys_are_nowhere_but_in_secrets(&self) {
        let canaries = self.canaries().await;
        assert!(canaries.len() > 5, "the network has keys: {}", canaries.len());
        let plan = self.run(&["plan", self.repository().to_str().expect("UTF-8")]);
        let status = self.run(&["status", "-o", "json"]);
        let said = |output: Output| {
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        };
        let places = [
            ("log", self.log()),
            ("objects, events, config maps and pages", self.public_text().await),
            ("plan", said(plan)),
            ("status", said(status)),
        ];
        for (place, text) in places {
            assert!(text.len() > 20, "{place} was read");
            for canary in &canaries {
                let at = text.find(canary.as_str());
                let before = at.map(|at| &text[text.floor_char_boundary(at.saturating_sub(300))..at]);
                assert!(at.is_none(), "a private key is in the {place}, after: {}", before.unwrap_or_default());
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let kept = std::env::temp_dir().join(format!("tenter-e2e-{}.log", self.namespace));
            let _ = std::fs::copy(self.log_file(), &kept);
            println!("the daemon's log is kept at {}", kept.display());
        }
        let (client, names, cluster) = (self.client.clone(), self.name.clone(), self.cluster.clone());
        // Deletion is asked for and not waited for: names are unique, and the cluster does the rest.
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                drop(client);
                let Some(client) = connect(cluster.as_deref()).await else { return };
                let api = Api::<Namespace>::all(client);
                let Ok(all) = api.list(&ListParams::default()).await else { return };
                for namespace in all.into_iter().filter_map(|namespace| namespace.metadata.name) {
                    if namespace.starts_with(&format!("{names}-")) {
                        let _ = api.delete(&namespace, &DeleteParams::default()).await;
                    }
                }
            });
        })
        .join();
    }
}

/// A client of the cluster of a kubeconfig, or of that of KUBECONFIG.
async fn connect(kubeconfig: Option<&Path>) -> Option<Client> {
    let Some(path) = kubeconfig else { return Client::try_default().await.ok() };
    let kubeconfig = Kubeconfig::read_from(path).ok()?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.ok()?;
    Client::try_from(config).ok()
}

/// Merges `patch` into `value` as RFC 7396 says.
pub fn merge(value: &mut Value, patch: Value) {
    match (value, patch) {
        (Value::Object(fields), Value::Object(patch)) => {
            for (key, patch) in patch {
                if patch.is_null() {
                    fields.remove(&key);
                } else {
                    merge(fields.entry(key).or_insert(Value::Null), patch);
                }
            }
        }
        (value, patch) => *value = patch,
    }
}

/// Body of the answer to one GET, over plain HTTP/1.1.
async fn http_get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("the daemon's port");
    let request = format!("GET {path} HTTP/1.1\r\nHost: daemon\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer.split_once("\r\n\r\n").expect("an HTTP answer").1.to_owned()
}

/// Says what of a scenario this cluster cannot do. On a cluster of its own (deploy/e2e sets `TENTER_E2E_WHOLE`) nothing is left out.
pub fn skip(what: &str) {
    assert!(std::env::var_os("TENTER_E2E_WHOLE").is_none(), "left out, on a cluster that should do all: {what}");
    println!("SKIPPED {what}");
}

/// Which Fabric the cluster's images hold, as `deploy/fabric-programs` says it.
pub fn fabric() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/fabric-programs");
    let output = Command::new(script).output().expect("deploy/fabric-programs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
