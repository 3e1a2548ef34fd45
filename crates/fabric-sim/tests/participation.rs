//! The recorded transcripts of the admin API, step by step, on the simulator and on real Fabric where `FABRIC_BIN_DIR`
//! has it.
//!
//! Joins that make the node a consenter cannot be sent as recorded, because the recorded genesis blocks list a TLS key
//! that was not kept: wherever the recorded genesis block of `solo1` or `solo2` stands in a request, one of the same
//! channel that lists this node takes its place. Passed over: the steps of the follower scenarios that need the
//! recorded network to be running (`tests/network.rs` makes that situation), and the recorded answers that hold blocks,
//! which are compared with the block that was joined.

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

use std::collections::BTreeMap;
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

fn steps(name: &str) -> Vec<Value> {
    let text = std::fs::read(scenario_dir(name).join("transcript.json")).unwrap();
    let transcript: Value = serde_json::from_slice(&text).unwrap();
    transcript["steps"].as_array().unwrap().clone()
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
}

impl Replay {
    fn new(network: &Network, node: &Node) -> Self {
        let recorded = |scenario: &str, file: &str| part(&std::fs::read(scenario_dir(scenario).join(file)).unwrap());
        let own = |channel: &str| network.genesis(channel, &[node], 1).encode_to_vec();
        Self {
            admin: network.admin(node),
            blocks: BTreeMap::from([
                (recorded("member-join", "request-0.bin"), own("solo1")),
                (recorded("member-join", "request-4.bin"), own("solo2")),
            ]),
        }
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

    async fn send(&self, dir: &Path, step: &Value) -> Result<Answer, String> {
        let headers: Vec<(&str, &str)> = step["request_headers"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let body = self.body(dir, step);
        let (method, path) = (step["method"].as_str().unwrap(), step["path"].as_str().unwrap());
        self.admin.call(method, path, &headers, body.as_deref()).await
    }

    /// Sends a step and says how the answer differs from the recorded one.
    async fn step(&self, dir: &Path, step: &Value) -> Vec<String> {
        let answer = self.send(dir, step).await;
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
        for (name, value) in step["response_headers"].as_object().unwrap() {
            let got = answer.header(name).unwrap_or_default();
            if got != value.as_str().unwrap() {
                wrong.push(format!("header {name} {got:?}, recorded {value}"));
            }
        }
        if let Some(text) = step["response_body"].as_str() {
            if answer.text() != text {
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

async fn replay(replay: &Replay, scenario: &str, wanted: impl Fn(u64, &Value) -> bool) -> Vec<String> {
    let dir = scenario_dir(scenario);
    let mut all = Vec::new();
    for step in steps(scenario) {
        let number = step["step"].as_u64().unwrap();
        let describe = step["describe"].as_str().unwrap();
        if !wanted(number, &step) {
            println!("{scenario} {number} passed over: {describe}");
            continue;
        }
        let mut wrong = replay.step(&dir, &step).await;
        if describe.contains("later") || describe.contains("wait until") {
            wrong = eventually(describe, async || {
                let again = replay.step(&dir, &step).await;
                again.is_empty().then_some(again)
            })
            .await;
        }
        all.extend(wrong.into_iter().map(|text| format!("{scenario} {number} ({describe}): {text}")));
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
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn transcripts() {
    for target in targets() {
        let simulated = &(target == Target::Simulator);
        let network = Network::new(target);
        let mut node = network.orderer("orderer1");
        node.start().await;
        let session = Replay::new(&network, &node);
        let mut wrong = Vec::new();
        wrong.extend(replay(&session, "empty-node", |_, _| true).await);
        wrong.extend(replay(&session, "bad-joins", |_, _| true).await);
        wrong.extend(replay(&session, "member-join", |_, _| true).await);
        // A real node may have finished a removal before it is asked again.
        let in_time = |number: u64, _: &Value| *simulated || !(1..=2).contains(&number);
        wrong.extend(replay(&session, "delete", in_time).await);
        let alone = |_: u64, step: &Value| {
            !step["response_body"].as_str().is_some_and(|b| b.contains("\"active\"") || b.contains("not ready"))
        };
        for scenario in ["follower-from-genesis", "follower-from-config-block"] {
            wrong.extend(replay(&session, scenario, alone).await);
        }
        assert!(wrong.is_empty(), "{wrong:#?}");

        // The last scenario: who may call at all.
        let path = "/participation/v1/channels";
        let without = AdminAccess { pair: None, ..session.admin.clone() };
        assert!(without.call("GET", path, &[], None).await.is_err());
        let foreign = AdminAccess { pair: Some(network.acme.tls("other")), ..session.admin.clone() };
        assert!(foreign.call("GET", path, &[], None).await.is_err());
        let another = AdminAccess { pair: Some(network.hub.tls("orderer2")), ..session.admin.clone() };
        assert_eq!(another.call("GET", path, &[], None).await.unwrap().status, 200);
    }
}
