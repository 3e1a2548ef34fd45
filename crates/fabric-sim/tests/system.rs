//! The recorded proposals to cscc and qscc, rebuilt with the recorded identities, on simulated peers of the recorded
//! organisations: every one of them, but those that `support::suite` leaves to others.
//!
//! The peers never catch up here, because the recorded orderers are not running.

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

use serde_json::Value;
use support::client::{connect, proposal, propose};
use support::network::{Network, Node};
use support::organization::{Authority, Organization, Person};
use support::{Suite, Target, enough, recorded_calls, vectors};

fn throwaway(path: &str) -> String {
    std::fs::read_to_string(vectors().join("recorded/throwaway-keys").join(path)).unwrap()
}

fn people() -> BTreeMap<&'static str, Person> {
    [
        ("acme-user1", "AcmeMSP", "broadcast/acme-user1"),
        ("acme-admin", "AcmeMSP", "broadcast/acme-admin"),
        ("acme-expired-admin", "AcmeMSP", "lifecycle/acme-expired-admin"),
        ("globex-admin", "GlobexMSP", "broadcast/globex-admin"),
        ("initech-admin", "InitechMSP", "broadcast/initech-admin"),
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

/// A peer whose MSP is the recorded one of an organisation, as far as roots go.
fn peer(network: &Network, msp_id: &str) -> Node {
    let name = msp_id.strip_suffix("MSP").unwrap().to_lowercase();
    let read = |path: &str, kind: &str| throwaway(&format!("{path}/{name}.{kind}.pem"));
    let organization = Organization {
        msp_id: msp_id.to_owned(),
        ca: Authority::from_pem(&read("ca", "cert"), &read("ca", "key")),
        tlsca: network.acme.tlsca.clone(),
    };
    network.peer(&organization, &format!("peer0.{name}"))
}

/// The recorded block of so many bytes.
fn block_of(size: u64) -> Vec<u8> {
    let folders = std::fs::read_dir(vectors().join("recorded/blocks")).unwrap().map(|entry| entry.unwrap().path());
    for folder in folders.filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if file.metadata().unwrap().len() == size {
                return std::fs::read(file.path()).unwrap();
            }
        }
    }
    panic!("no recorded block has {size} bytes");
}

/// The arguments of a recorded proposal. Of blocks only the size was recorded.
fn args(case: &Value) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    if let Some(name) = case["function"].as_str().filter(|name| !name.is_empty()) {
        all.push(name.as_bytes().to_vec());
    }
    for arg in case["args"].as_array().into_iter().flatten() {
        all.push(match (arg["text"].as_str(), arg["bytes"].as_u64()) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, Some(0)) => Vec::new(),
            (None, Some(size)) => block_of(size),
            (None, None) => panic!("{}: an argument without text and size", case["case"]),
        });
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn proposals_are_answered_as_recorded() {
    let network = Network::new(Target::Simulator);
    let people = people();
    let mut peers = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    let calls = recorded_calls(Suite::System);
    let asked = |case: &Value| case["peer"].as_str().unwrap().to_owned();
    for msp_id in calls.iter().map(asked).collect::<BTreeSet<_>>() {
        let mut node = peer(&network, &msp_id);
        node.start().await;
        peers.insert(msp_id, node);
    }
    for case in calls {
        let connection = connect(peers[&asked(&case)].port, &network.acme.tlsca.pem, None).await.unwrap();
        let identity = case["identity"].as_str().or_else(|| case["identity"]["identity"].as_str()).unwrap();
        let args = args(&case);
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let (channel, chaincode) = (case["channel"].as_str().unwrap(), case["chaincode"].as_str().unwrap());
        let got = match propose(connection, proposal(&people[identity], channel, chaincode, &args)).await {
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
    enough(count, 31, "proposals");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
