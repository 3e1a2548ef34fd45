//! `tenter plan` with an account that may only read, and no Secrets at all: it plans what it can, says what it cannot tell,
//! and writes nothing. `tenter apply FILE` likewise, where the world is not the plan's any more.

#![expect(clippy::expect_used, reason = "what goes wrong here fails the test")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Objects by the plural of their kinds.
type Objects = BTreeMap<String, Vec<Value>>;

/// An API server that holds some objects and refuses Secrets.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    objects: Arc<Mutex<Objects>>,
}

fn start(objects: Objects) -> Server {
    let objects = Arc::new(Mutex::new(objects));
    let held = Arc::clone(&objects);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (objects, seen) = (held.lock().expect("the objects").clone(), Arc::clone(&seen));
            std::thread::spawn(move || answer(stream, &objects, &seen));
        }
    });
    Server { address, asked, objects }
}

fn answer(mut stream: TcpStream, objects: &Objects, seen: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let Some(line) = head.lines().next().filter(|line| !line.is_empty()) else { return };
    seen.lock().expect("the record").push(line.to_owned());
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let refused = |code: u16, reason: &str| {
        let message = format!("{reason} {path}");
        (
            code,
            json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": message}),
        )
    };
    let (code, body) = match parts.as_slice() {
        _ if method != "GET" => refused(403, "Forbidden"),
        ["apis", "tenter.dev", _, plural] | ["apis", "tenter.dev", _, "namespaces", _, plural] => {
            let items = objects.get(*plural).cloned().unwrap_or_default();
            (200, json!({"apiVersion": "tenter.dev/v1alpha1", "kind": "List", "metadata": {}, "items": items}))
        }
        ["version"] => (
            200,
            json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "", "gitTreeState": "",
                                    "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}),
        ),
        ["api", "v1", "namespaces", _, "secrets", ..] => refused(403, "Forbidden"),
        ["api", "v1", "namespaces", name] if !objects.is_empty() => {
            let organization = name.trim_start_matches("trade-");
            let metadata = json!({"name": name, "labels": {"tenter.dev/organization": organization}});
            (200, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
        }
        _ => refused(404, "NotFound"),
    };
    let body = body.to_string();
    let _ = write!(
        stream,
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

fn definition() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/files/good.yaml")
}

const SETTINGS: [&str; 7] = [
    "--organizations",
    "*",
    "--create-namespaces",
    "--allow-namespace",
    "trade-*",
    "--allow-image",
    "docker.io/hyperledger",
];

fn tenter(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tenter"))
        .args(arguments)
        .args(SETTINGS)
        .arg(definition())
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .expect("tenter runs")
}

/// Writes a kubeconfig for a server.
fn kubeconfig(server: &Server, folder: &Path) -> String {
    let kubeconfig = folder.join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server.address}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&kubeconfig, text.to_string()).expect("a kubeconfig");
    kubeconfig.display().to_string()
}

fn plan(server: &Server) -> (Output, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = kubeconfig(server, folder.path());
    let output = tenter(&["plan", "--kubeconfig", &kubeconfig, "--detailed-exitcode", "-o", "json"]);
    let plan = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, plan)
}

fn asked(server: &Server) -> Vec<String> {
    server.asked.lock().expect("the record").clone()
}

#[test]
fn an_empty_cluster_is_planned_without_any_secret() {
    let server = start(BTreeMap::new());
    let (output, plan) = plan(&server);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(plan["steps"].get("genesis/settlement").is_some(), "{plan}");
    let asked = asked(&server);
    assert!(asked.iter().all(|line| line.starts_with("GET ") && !line.contains("/secrets")), "{asked:#?}");
}

#[test]
fn what_secrets_would_tell_is_said_to_be_unknown() {
    // The world that the offline plan makes.
    let offline = tenter(&["plan", "--offline", "-o", "json"]);
    let offline: Value = serde_json::from_slice(&offline.stdout).expect("a plan");
    let mut objects = Objects::new();
    for planned in offline["steps"].as_object().expect("steps").values() {
        let step = &planned["step"];
        if step["action"] != "createObject" {
            continue;
        }
        let kind = step["object"]["kind"].as_str().expect("a kind");
        let ready = json!({"type": "Ready", "status": "True", "observedGeneration": 1, "reason": "Ready", "message": "",
                           "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let object = json!({
            "apiVersion": "tenter.dev/v1alpha1", "kind": kind, "spec": step["spec"], "status": {"conditions": [ready]},
            "metadata": {"name": step["object"]["name"], "namespace": step["object"]["namespace"], "generation": 1,
                         "labels": step["labels"]},
        });
        let plural = if kind == "CertificateAuthority" {
            "certificateauthorities".to_owned()
        } else {
            format!("{}s", kind.to_lowercase())
        };
        objects.entry(plural).or_default().push(object);
    }
    let server = start(objects);
    let (output, plan) = plan(&server);
    let notes = plan["notes"].to_string();
    assert!(notes.contains("Forbidden") || notes.contains("Unreachable"), "{plan:#}");
    assert_ne!(output.status.code(), Some(0), "what was not seen is not taken for well: {plan:#}");
    let writes = plan["steps"].as_object().expect("steps").values().filter(|planned| {
        planned["blocked"].is_null()
            && ["createObject", "updateObject"].iter().any(|action| planned["step"]["action"] == *action)
    });
    assert_eq!(writes.count(), 0, "all objects are there: {plan:#}");
    let asked = asked(&server);
    assert!(asked.iter().all(|line| line.starts_with("GET ")), "{asked:#?}");
}

/// A daemon's settings that allow what the definition asks for.
fn consortium() -> Value {
    json!({
        "apiVersion": "tenter.dev/v1alpha1", "kind": "Consortium",
        "metadata": {"name": "trade", "namespace": "tenter-system", "generation": 1},
        "spec": {
            "source": {"repository": "https://git.example/trade.git"},
            "organizations": ["*"],
            "namespaces": {"allowed": ["trade-*"], "create": true},
            "images": {"allowed": ["docker.io/hyperledger"]},
        },
    })
}

#[test]
fn a_plan_file_of_another_world_is_refused_and_what_moved_is_named() {
    let server = start([("consortia".to_owned(), vec![consortium()])].into());
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = kubeconfig(&server, folder.path());
    let file = folder.path().join("plan.json").display().to_string();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tenter"))
            .args(arguments)
            .args(["--kubeconfig", &kubeconfig, "--consortium", "trade"])
            .env_clear()
            .env("HOME", "/nonexistent")
            .output()
            .expect("tenter runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let made = run(&["plan", "--out", &file, &definition().display().to_string()]);
    assert_eq!(made.0, Some(0), "{}", made.1);
    let posts = || asked(&server).into_iter().filter(|line| !line.starts_with("GET ")).collect::<Vec<_>>();
    // Somebody makes a peer by hand, and somebody allows less.
    let stranger = json!({
        "apiVersion": "tenter.dev/v1alpha1", "kind": "Peer", "spec": {"organization": "acme"},
        "metadata": {"name": "peer9", "namespace": "trade-acme", "generation": 1, "labels": {"tenter.dev/consortium": "trade"}},
    });
    server.objects.lock().expect("the objects").insert("peers".to_owned(), vec![stranger]);
    let (code, errors) = run(&["apply", &file, "--yes"]);
    assert_eq!(code, Some(7), "{errors}");
    assert!(
        errors
            .contains("nothing was applied: the world has moved since the plan was made: Peer trade-acme/peer9 is new"),
        "{errors}"
    );
    assert!(errors.contains("hint: plan again"), "{errors}");
    assert_eq!(posts(), [""; 0]);
    let mut other = consortium();
    other["spec"]["organizations"] = json!(["acme"]);
    *server.objects.lock().expect("the objects") = [("consortia".to_owned(), vec![other])].into();
    let (code, errors) = run(&["apply", &file, "--yes"]);
    assert_eq!(code, Some(7), "{errors}");
    assert!(errors.contains("as it is wanted is gone"), "what the settings do not allow any more: {errors}");
    assert_eq!(posts(), [""; 0]);
    // The world that it was made from is the one that it is applied to: what then stops it is that nothing may be written.
    *server.objects.lock().expect("the objects") = [("consortia".to_owned(), vec![consortium()])].into();
    let (code, errors) = run(&["apply", &file, "--yes"]);
    assert_eq!(code, Some(6), "{errors}");
    assert!(!errors.contains("has moved"), "{errors}");
    let posts = posts();
    assert!(!posts.is_empty() && posts.iter().all(|line| line.contains("/leases")), "{posts:#?}");
}
