//! The recorded transcripts of the admin API, step by step, on the simulator and on real Fabric where its
//! programs are there.
//!
//! Joins that make the node a consenter cannot be sent as recorded, because the recorded genesis blocks list a TLS key
//! that was not kept: wherever the genesis block of such a join stands in a request, one of the same channel that lists
//! this node takes its place. Passed over, and listed: answers of followers that need the recorded network to be running
//! (`tests/network.rs` makes that situation), and on real nodes answers during a removal, which may be over by then. The
//! recorded answers that hold blocks are compared with the block that was joined.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::similar_names,
    clippy::unnecessary_wraps,
    clippy::zero_sized_map_values,
    clippy::too_many_lines,
    reason = "helpers of tests fail loudly; each test uses another part of them"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use prost::Message as _;
use serde_json::Value;
use support::client::{AdminAccess, Answer};
use support::network::{Network, Node, eventually};
use support::{Target, targets, vectors};
use tenter_fabric_wire::common::Block;

fn scenario_dir(name: &str) -> PathBuf {
    vectors().join("recorded/participation").join(name)
}

fn json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn steps(name: &str) -> Vec<Value> {
    json(&scenario_dir(name).join("transcript.json"))["steps"].as_array().unwrap().clone()
}

/// The scenarios in the order in which they were recorded: all that are in the folder.
fn scenarios() -> Vec<String> {
    let folder = vectors().join("recorded/participation");
    let index = json(&folder.join("index.json"));
    let names: Vec<String> =
        index.as_array().unwrap().iter().map(|entry| entry["scenario"].as_str().unwrap().to_owned()).collect();
    let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let folders: BTreeSet<String> =
        folders.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(folders, names.iter().cloned().collect(), "index.json names other scenarios than there are folders");
    names
}

/// The recorded answer's JSON, where it is one.
fn answered(step: &Value) -> Option<Value> {
    serde_json::from_str(step["response_body"].as_str()?).ok()
}

/// The content of the first part of a recorded form.
fn part(body: &[u8]) -> Vec<u8> {
    let start = body.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let mark = b"\r\n--recordedvectorboundary";
    let end = start + body[start..].windows(mark.len()).position(|w| w == mark).unwrap();
    body[start..end].to_vec()
}

fn replace(body: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.windows(old.len()).position(|window| window == old) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    out.extend_from_slice(rest);
    out
}

struct Replay {
    admin: AdminAccess,
    /// Recorded genesis bytes, and those that take their place.
    blocks: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Client certificates, by what the recording calls them.
    callers: BTreeMap<&'static str, Option<(String, String)>>,
}

impl Replay {
    fn new(network: &Network, node: &Node) -> Self {
        let mut blocks = BTreeMap::new();
        for scenario in scenarios() {
            for step in steps(&scenario) {
                let Some(joined) = answered(&step).filter(|answer| answer["consensusRelation"] == "consenter") else {
                    continue;
                };
                let Some(file) = step["request_body"].as_str() else { continue };
                let recorded = part(&std::fs::read(scenario_dir(&scenario).join(file)).unwrap());
                if Block::decode(&recorded[..]).unwrap().header.unwrap().number == 0 {
                    let own = network.genesis(joined["name"].as_str().unwrap(), &[node], 1);
                    blocks.insert(recorded, own.encode_to_vec());
                }
            }
        }
        assert!(!blocks.is_empty(), "no recorded join made the node a consenter");
        let callers = BTreeMap::from([
            ("no client certificate", None),
            ("client certificate of another TLS CA", Some(network.acme.tls("other"))),
            ("TLS certificate of another orderer of the same TLS CA", Some(network.hub.tls("orderer2"))),
        ]);
        Self { admin: network.admin(node), blocks, callers }
    }

    /// Who sends a step: the administrator, but where the scenario is about client certificates.
    fn caller(&self, scenario: &str, step: &Value) -> AdminAccess {
        if scenario != "tls" {
            return self.admin.clone();
        }
        let describe = step["describe"].as_str().unwrap();
        let pair = self.callers.get(describe);
        let pair =
            pair.unwrap_or_else(|| panic!("{scenario}: {describe:?} is not known here: whose certificate is meant?"));
        AdminAccess { pair: pair.clone(), ..self.admin.clone() }
    }

    fn body(&self, dir: &Path, step: &Value) -> Option<Vec<u8>> {
        if let Some(file) = step["request_body"].as_str() {
            let mut body = std::fs::read(dir.join(file)).unwrap();
            for (old, new) in &self.blocks {
                body = replace(&body, old, new);
            }
            return Some(body);
        }
        // The body that is too large was not kept: a form whose file does not end in time.
        let length = usize::try_from(step["request_body_bytes"].as_u64()?).unwrap();
        let mut body = b"--recordedvectorboundary0123456789\r\nContent-Disposition: form-data; \
            name=\"config-block\"; filename=\"config.block\"\r\n\r\n"
            .to_vec();
        body.resize(length, b'x');
        Some(body)
    }

    async fn send(&self, caller: &AdminAccess, dir: &Path, step: &Value) -> Result<Answer, String> {
        let headers: Vec<(&str, &str)> = step["request_headers"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let body = self.body(dir, step);
        let (method, path) = (step["method"].as_str().unwrap(), step["path"].as_str().unwrap());
        caller.call(method, path, &headers, body.as_deref()).await
    }

    /// Sends a step and says how the answer differs from the recorded one.
    async fn step(&self, caller: &AdminAccess, dir: &Path, step: &Value) -> Vec<String> {
        let answer = self.send(caller, dir, step).await;
        let mut wrong = Vec::new();
        if step["transport_error"].is_string() {
            if let Ok(answer) = answer {
                wrong.push(format!("recorded no answer, got {}", answer.status));
            }
            return wrong;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(text) => return vec![format!("no answer: {text}")],
        };
        if u64::from(answer.status) != step["status"].as_u64().unwrap() {
            wrong.push(format!("status {} {}, recorded {}", answer.status, answer.text(), step["status"]));
        }
        // Go's library puts one of two blanks into its texts, another in each build; one of them is a byte longer.
        let recorded = step["response_body"].as_str();
        let other_blanks = recorded.is_some_and(|text| text != answer.text() && normal(text) == normal(&answer.text()));
        for (name, value) in step["response_headers"].as_object().unwrap() {
            if other_blanks && name == "Content-Length" {
                continue;
            }
            let got = answer.header(name).unwrap_or_default();
            if got != value.as_str().unwrap() {
                wrong.push(format!("header {name} {got:?}, recorded {value}"));
            }
        }
        if let Some(text) = recorded {
            if normal(&answer.text()) != normal(text) {
                wrong.push(format!("body {:?}, recorded {text:?}", answer.text()));
            }
        } else if step["response_body_file"].is_string() {
            let joined = &self.blocks.values().next().unwrap();
            let served = Block::decode(&answer.body[..]).unwrap();
            if !self.blocks.values().any(|block| Block::decode(&block[..]).unwrap() == served) {
                wrong.push(format!("another block than the one joined ({} bytes)", joined.len()));
            }
        }
        wrong
    }
}

fn normal(text: &str) -> String {
    text.replace('\u{a0}', " ")
}

/// Why a step cannot be repeated here, if it cannot.
fn passed_over(simulated: bool, step: &Value) -> Option<&'static str> {
    let answer = answered(step)?;
    let follows = answer["consensusRelation"] == "follower" && answer["status"] == "active";
    if follows || answer["error"].as_str().is_some_and(|text| text.contains("not ready")) {
        return Some("the recorded network would have to be running");
    }
    let removing = answer["status"] == "inactive" || answer["error"] == "cannot remove: channel pending removal";
    (removing && !simulated).then_some("a real node may have finished the removal")
}

/// How many steps were repeated, how many were passed over, and what came out otherwise.
#[derive(Default)]
struct Outcome {
    repeated: usize,
    passed_over: usize,
    wrong: Vec<String>,
}

async fn replay(replay: &Replay, scenario: &str, simulated: bool, outcome: &mut Outcome) {
    let dir = scenario_dir(scenario);
    for step in steps(scenario) {
        let number = step["step"].as_u64().unwrap();
        let describe = step["describe"].as_str().unwrap();
        if let Some(why) = passed_over(simulated, &step) {
            println!("SKIPPED {scenario} {number} ({describe}): {why}");
            outcome.passed_over += 1;
            continue;
        }
        outcome.repeated += 1;
        let caller = replay.caller(scenario, &step);
        let mut wrong = replay.step(&caller, &dir, &step).await;
        if describe.contains("later") || describe.contains("wait until") {
            wrong = eventually(describe, async || {
                let again = replay.step(&caller, &dir, &step).await;
                again.is_empty().then_some(again)
            })
            .await;
        }
        outcome.wrong.extend(wrong.into_iter().map(|text| format!("{scenario} {number} ({describe}): {text}")));
    }
    // Removals take a moment, and lists show what is being removed: the next scenario starts without any.
    eventually("removals are finished", async || {
        let list = replay.admin.call("GET", "/participation/v1/channels", &[], None).await.ok()?;
        let list: Value = serde_json::from_slice(&list.body).ok()?;
        for channel in list["channels"].as_array().into_iter().flatten() {
            let (_, info) = replay.admin.info(channel["name"].as_str()?).await.ok()?;
            if info["status"] == "inactive" {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transcripts() {
    for target in targets() {
        let simulated = target == Target::Simulator;
        let network = Network::new(target);
        let mut node = network.orderer("orderer1");
        node.start().await;
        let session = Replay::new(&network, &node);
        let mut outcome = Outcome::default();
        for scenario in scenarios() {
            replay(&session, &scenario, simulated, &mut outcome).await;
        }
        let Outcome { repeated, passed_over, wrong } = outcome;
        println!("{repeated} steps repeated, {passed_over} passed over");
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(repeated > 9 * passed_over, "{repeated} steps repeated, and {passed_over} passed over");
    }
}
