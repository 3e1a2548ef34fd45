//! The recorded proposals to cscc and qscc, rebuilt with the recorded identities, on a simulated peer of `AcmeMSP`.
//!
//! Passed over: what needs the later blocks of the recorded chain or chaincode, and proposals of the other peers. The
//! peer never catches up here, because the recorded orderers are not running.

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

use serde_json::Value;
use support::client::{connect, proposal, propose};
use support::network::{Network, Node};
use support::organization::Person;
use support::{Target, vectors};

fn throwaway(path: &str) -> String {
    std::fs::read_to_string(vectors().join("recorded/throwaway-keys").join(path)).unwrap()
}

fn people() -> BTreeMap<&'static str, Person> {
    [
        ("acme-user1", "AcmeMSP", "broadcast/acme-user1"),
        ("acme-admin", "AcmeMSP", "broadcast/acme-admin"),
        ("acme-expired-admin", "AcmeMSP", "lifecycle/acme-expired-admin"),
        ("globex-admin", "GlobexMSP", "broadcast/globex-admin"),
        ("hub-admin", "HubMSP", "broadcast/hub-admin"),
        ("umbrella-admin", "UmbrellaMSP", "broadcast/umbrella-admin"),
    ]
    .into_iter()
    .map(|(name, msp_id, path)| {
        let certificate = throwaway(&format!("{path}.cert.pem"));
        let key = throwaway(&format!("{path}.key.pem"));
        (name, Person::new(msp_id, &certificate, &key))
    })
    .collect()
}

/// A peer with the recorded `AcmeMSP` and peer0's recorded identity.
fn peer(network: &Network) -> Node {
    let node = network.peer(&network.acme, "peer0.acme");
    for (to, from) in [
        ("msp/cacerts/ca.pem", "ca/acme.cert.pem"),
        ("msp/signcerts/cert.pem", "broadcast/acme-peer0.cert.pem"),
        ("msp/keystore/key.pem", "broadcast/acme-peer0.key.pem"),
    ] {
        std::fs::write(node.dir.join(to), throwaway(from)).unwrap();
    }
    node
}

/// The arguments of a recorded proposal; blocks are taken from the recorded chains.
fn args(case: &Value) -> Vec<Vec<u8>> {
    let block = |chain: &str, number: u64| {
        std::fs::read(vectors().join(format!("recorded/blocks/{chain}/{number}.pb"))).unwrap()
    };
    let mut all = Vec::new();
    if let Some(name) = case["function"].as_str().filter(|name| !name.is_empty()) {
        all.push(name.as_bytes().to_vec());
    }
    for arg in case["args"].as_array().into_iter().flatten() {
        all.push(match (arg["text"].as_str(), arg["bytes"].as_u64()) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, Some(0)) => Vec::new(),
            (None, _) if case["case"] == "cscc-join-block-1" => block("raft-orderer-rec1", 1),
            (None, _) => block("raft-orderer-cc1", 0),
        });
    }
    all
}

/// Cases made by the argument list alone, on a peer that has block 0 at most.
fn is_rebuilt(case: &Value) -> bool {
    let name = case["case"].as_str().unwrap();
    let system = ["cscc", "qscc"].contains(&case["chaincode"].as_str().unwrap_or_default());
    system
        && case["peer"] == "AcmeMSP"
        && (name.starts_with("cscc-") || name.starts_with("qscc-"))
        && !["qscc-tx-valid", "qscc-tx-invalid", "qscc-chaininfo-other-org"].contains(&name)
}

#[tokio::test(flavor = "multi_thread")]
async fn proposals_are_answered_as_recorded() {
    let network = Network::new(Target::Simulator);
    let mut node = peer(&network);
    node.start().await;
    let people = people();
    let connection = connect(node.port, &network.acme.tlsca.pem, None).await.unwrap();
    let dir = vectors().join("recorded/lifecycle");
    let index: Vec<Value> = serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in index {
        let path = dir.join(entry["dir"].as_str().unwrap()).join("case.json");
        let case: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        if !is_rebuilt(&case) {
            continue;
        }
        let identity = case["identity"].as_str().or_else(|| case["identity"]["identity"].as_str()).unwrap();
        let args = args(&case);
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let (channel, chaincode) = (case["channel"].as_str().unwrap(), case["chaincode"].as_str().unwrap());
        let got = match propose(connection.clone(), proposal(&people[identity], channel, chaincode, &args)).await {
            Ok(answer) => {
                let endorsed = answer.endorsement.is_some();
                let response = answer.response.unwrap();
                format!("{} {:?} endorsed {endorsed}", response.status, response.message)
            }
            Err(text) => format!("error {text:?}"),
        };
        let expected = match case["grpc_error"]["message"].as_str() {
            Some(text) => format!("error {text:?}"),
            None => format!(
                "{} {:?} endorsed {}",
                case["response"]["status"],
                case["response"]["message"].as_str().unwrap(),
                case["response"]["endorsed"]
            ),
        };
        count += 1;
        if got != expected {
            wrong.push(format!("{}: recorded {expected}, got {got}", case["case"]));
        }
    }
    println!("{count} proposals");
    assert!(count > 30, "only {count} proposals were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
