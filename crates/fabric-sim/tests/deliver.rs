//! The recorded Deliver cases, rebuilt from their description: on a live ordering service (the simulator's, and real
//! Fabric's where its programs are there), and on a simulated peer that holds the recorded chain.
//!
//! Numbers of blocks are relative to the height: the recorded chain had 16 blocks, of which the first 12 were kept.

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
use std::path::PathBuf;

use prost::Message as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::client::{Event, broadcast, connect, deliver, header, newest, now, only, sign};
use support::network::{Network, Node, eventually};
use support::organization::Person;
use support::{Target, targets, vectors};
use tenter_fabric_sim::block;
use tenter_fabric_sim::net::KeyPair;
use tenter_fabric_wire::common::{Block, ChannelHeader, Envelope, Header, HeaderType, Payload, SignatureHeader};
use tenter_fabric_wire::google::Timestamp;
use tenter_fabric_wire::msp::SerializedIdentity;
use tenter_fabric_wire::orderer::seek_position::Type as Position;
use tenter_fabric_wire::orderer::{SeekInfo, SeekPosition};

/// A recorded case.
struct Case {
    name: String,
    json: Value,
    requests: Vec<PathBuf>,
}

fn cases(prefix: &str) -> Vec<Case> {
    let dir = vectors().join("recorded/deliver/cases");
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all.into_iter()
        .map(|path| {
            let json: Value = serde_json::from_slice(&std::fs::read(path.join("case.json")).unwrap()).unwrap();
            Case {
                name: json["case"].as_str().unwrap().to_owned(),
                requests: json["requests"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|file| path.join(file.as_str().unwrap()))
                    .collect(),
                json,
            }
        })
        .filter(|case| case.name.starts_with(prefix))
        .collect()
}

/// Moves a number of the recorded chain to the chain at hand: the far end keeps its distance from the height.
fn moved(number: u64, recorded: u64, height: u64) -> u64 {
    if number == u64::MAX || number + 4 < recorded { number } else { number + height - recorded }
}

struct World<'a> {
    people: &'a BTreeMap<&'static str, Person>,
    channel: &'a str,
    height: u64,
    certificate: Option<&'a [u8]>,
}

impl World<'_> {
    fn position(&self, text: Option<&SeekPosition>, recorded: u64) -> Option<SeekPosition> {
        let mut position = text?.clone();
        if let Some(Position::Specified(at)) = &mut position.r#type {
            at.number = moved(at.number, recorded, self.height);
        }
        Some(position)
    }

    /// An outsider where the request was made by one; a case names only the signer of its last request.
    fn signer(&self, header: &Header) -> Option<&Person> {
        let creator = SignatureHeader::decode(&header.signature_header[..]).ok()?.creator;
        let identity = SerializedIdentity::decode(&creator[..]).ok()?;
        (identity.mspid == "UmbrellaMSP").then(|| &self.people["umbrella-admin"])
    }

    /// The recorded request with the time, the channel, the signer and the numbers of now.
    fn rebuild(&self, case: &Case, bytes: &[u8]) -> Envelope {
        let recorded = case.json["channel_height"].as_u64().unwrap();
        let describe = case.json["describe"].as_str().unwrap_or_default();
        let original = Envelope::decode(bytes).unwrap();
        let payload = Payload::decode(&original.payload[..]).unwrap();
        let person = &self.people[case.json["identity"]["identity"].as_str().unwrap_or("acme-user1")];
        let data = SeekInfo::decode(&payload.data[..]).map_or(payload.data.clone(), |seek| {
            if payload.data.is_empty() {
                return Vec::new();
            }
            SeekInfo {
                start: self.position(seek.start.as_ref(), recorded),
                stop: self.position(seek.stop.as_ref(), recorded),
                ..seek
            }
            .encode_to_vec()
        });
        let Some(recorded_header) = &payload.header else {
            let payload = Payload { header: None, data }.encode_to_vec();
            return Envelope { signature: person.key.sign(&payload), payload };
        };
        let person = self.signer(recorded_header).unwrap_or(person);
        let mut channel = ChannelHeader::decode(&recorded_header.channel_header[..]).unwrap();
        if ["cc1", "bft1"].contains(&channel.channel_id.as_str()) {
            self.channel.clone_into(&mut channel.channel_id);
        }
        channel.timestamp = match describe {
            "no timestamp" => None,
            "timestamp 14 minutes in the past" => Some(-14),
            "timestamp 14 minutes in the future" => Some(14),
            "timestamp 16 minutes in the past" => Some(-16),
            "timestamp 16 minutes in the future" => Some(16),
            _ => Some(0),
        }
        .map(|minutes| Timestamp { seconds: now() + minutes * 60, nanos: 0 });
        if let Some(der) = self.certificate {
            let hash = Sha256::digest(der).to_vec();
            channel.tls_cert_hash = match describe {
                "tls_cert_hash missing" => Vec::new(),
                "tls_cert_hash cut to 31 bytes" => hash[..31].to_vec(),
                "tls_cert_hash = SHA-256 of the PEM text" => Sha256::digest(b"PEM").to_vec(),
                _ => hash,
            };
        }
        let mut envelope = sign(person, &channel, data);
        match describe {
            "signature empty" => envelope.signature.clear(),
            "signature altered" => *envelope.signature.last_mut().unwrap() ^= 1,
            "signature with high S" => envelope.signature = high_s(&envelope.signature),
            "creator is no serialized identity" => {
                let payload = Payload::decode(&envelope.payload[..]).unwrap();
                let header = payload.header.unwrap();
                envelope.payload = Payload {
                    header: Some(Header { signature_header: recorded_header.signature_header.clone(), ..header }),
                    data: payload.data,
                }
                .encode_to_vec();
                envelope.signature = person.key.sign(&envelope.payload);
            }
            _ => {}
        }
        envelope
    }

    /// What was recorded, in the terms of this chain.
    fn expected(&self, case: &Case) -> Vec<String> {
        let recorded = case.json["channel_height"].as_u64().unwrap();
        case.json["responses"]
            .as_array()
            .unwrap()
            .iter()
            .map(|response| {
                if let Some(number) = response["block"].as_u64() {
                    let shape = if response["data_entries"] == 0 { "header" } else { "block" };
                    format!("{shape} {}", moved(number, recorded, self.height))
                } else if let Some(status) = response["status"].as_i64() {
                    format!("status {status}")
                } else if response["stream"].is_string() {
                    "closed".to_owned()
                } else {
                    "silent".to_owned()
                }
            })
            .collect()
    }
}

/// The other of the two valid values of S.
fn high_s(der: &[u8]) -> Vec<u8> {
    let low = p256::ecdsa::Signature::from_der(der).unwrap();
    let (r, s) = low.split_scalars();
    p256::ecdsa::Signature::from_scalars(r, -s).unwrap().to_der().as_bytes().to_vec()
}

fn shown(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| match event {
            Event::Block(found) => {
                let entries = found.data.as_ref().map_or(0, |data| data.data.len());
                let shape = if entries == 0 { "header" } else { "block" };
                format!("{shape} {}", block::number(found))
            }
            Event::Status(status) => format!("status {status}"),
            Event::Closed => "closed".to_owned(),
            Event::Silent => "silent".to_owned(),
            Event::Failed(text) => format!("failed {text}"),
        })
        .collect()
}

fn people(network: &Network) -> BTreeMap<&'static str, Person> {
    let umbrella = support::organization::Organization::new("Umbrella");
    BTreeMap::from([
        ("acme-user1", network.acme.person("user1", "client")),
        ("acme-admin", network.acme.person("admin", "admin")),
        ("acme-peer0", network.acme.person("peer0", "peer")),
        ("acme-expired-admin", network.acme.expired("expired", "admin")),
        ("hub-admin", network.hub.person("admin", "admin")),
        ("umbrella-admin", umbrella.person("admin", "admin")),
    ])
}

/// One orderer with a chain of `height` blocks.
async fn orderer_with_chain(network: &Network, node: &mut Node, user: &Person, height: u64, pair: Option<&KeyPair>) {
    let genesis = network.genesis("ch1", &[node], 1);
    node.start().await;
    assert_eq!(network.admin(node).join(&genesis).await.unwrap().status, 201);
    let hash = pair.map(|pair| Sha256::digest(&pair.chain[0]).to_vec()).unwrap_or_default();
    let tip = async || {
        let mut head = header(HeaderType::DeliverSeekInfo, "ch1");
        head.tls_cert_hash.clone_from(&hash);
        let channel = connect(node.port, &network.hub.tlsca.pem, pair).await.ok()?;
        match deliver(channel, vec![sign(user, &head, only(newest()).encode_to_vec())]).await.first()? {
            Event::Block(found) => Some(block::number(found) + 1),
            _ => None,
        }
    };
    eventually("a leader", async || tip().await).await;
    for next in 2..=height {
        let channel = connect(node.port, &network.hub.tlsca.pem, pair).await.unwrap();
        let envelope = sign(user, &header(HeaderType::Message, "ch1"), vec![1]);
        assert_eq!(broadcast(channel, envelope).await.0, 200);
        eventually("the next block", async || (tip().await? == next).then_some(())).await;
    }
}

async fn compare(world: &World<'_>, cases: Vec<Case>, connection: tonic::transport::Channel) {
    let mut wrong = Vec::new();
    let count = cases.len();
    for case in cases {
        let requests = case.requests.iter().map(|path| world.rebuild(&case, &std::fs::read(path).unwrap())).collect();
        let got = shown(&deliver(connection.clone(), requests).await);
        let expected = world.expected(&case);
        if got != expected {
            wrong.push(format!("{}: recorded {expected:?}, got {got:?}", case.name));
        }
    }
    println!("{count} cases");
    assert!(count > 0 && wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn orderer_cases() {
    for target in targets() {
        let network = Network::new(target);
        let people = people(&network);
        let mut node = network.orderer("orderer1");
        orderer_with_chain(&network, &mut node, &people["acme-user1"], 6, None).await;
        let world = World { people: &people, channel: "ch1", height: 6, certificate: None };
        let connection = connect(node.port, &network.hub.tlsca.pem, None).await.unwrap();
        // orderer-follower and orderer-noquorum are cases of the network test, which makes those situations.
        compare(&world, cases("orderer--"), connection).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orderer_cases_with_client_certificates() {
    for target in targets() {
        let network = Network::new(target);
        let people = people(&network);
        let mut node = network.orderer("orderer1");
        let roots = node.dir.join("tls/ca.crt");
        node.environment = vec![
            ("ORDERER_GENERAL_TLS_CLIENTAUTHREQUIRED".to_owned(), "true".to_owned()),
            ("ORDERER_GENERAL_TLS_CLIENTROOTCAS".to_owned(), format!("[{}]", roots.display())),
        ];
        let pair = KeyPair::read(&node.dir.join("tls/server.crt"), &node.dir.join("tls/server.key")).unwrap();
        orderer_with_chain(&network, &mut node, &people["acme-user1"], 2, Some(&pair)).await;
        let world = World { people: &people, channel: "ch1", height: 5, certificate: Some(&pair.chain[0]) };
        let (without, with): (Vec<Case>, Vec<Case>) =
            cases("orderer-mtls--").into_iter().partition(|case| case.name.ends_with("no-client-certificate"));
        let connection = connect(node.port, &network.hub.tlsca.pem, Some(&pair)).await.unwrap();
        compare(&world, with, connection).await;
        assert_eq!(without.len(), 1);
        // Recorded as a gRPC error before any answer. Which of connection and first call fails is the client's matter.
        if let Ok(channel) = connect(node.port, &network.hub.tlsca.pem, None).await {
            let seek = sign(&people["acme-user1"], &header(HeaderType::DeliverSeekInfo, "ch1"), Vec::new());
            assert!(matches!(deliver(channel, vec![seek]).await[..], [Event::Failed(_)]));
        }
    }
}

/// A peer's answers over the recorded chain itself, with the recorded identities: only the simulator's ledger can be
/// filled from outside.
#[tokio::test(flavor = "multi_thread")]
async fn peer_cases_on_the_recorded_chain() {
    let network = Network::new(Target::Simulator);
    let (mut node, height) = recorded_peer(&network);
    node.start().await;
    let people = recorded_people();
    let world = World { people: &people, channel: "cc1", height, certificate: None };
    let connection = peer::connect(node.port, &network.acme.tlsca.pem).await;
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases("peer") {
        let filtered = case.name.starts_with("peer-filtered");
        if case.name == "peer-filtered--header-with-sig" {
            continue; // It kills the peer: last of all, below.
        }
        count += 1;
        let request = world.rebuild(&case, &std::fs::read(&case.requests[0]).unwrap());
        let got = peer::deliver(connection.clone(), filtered, request).await;
        let expected = peer::expected(&world, &case);
        if got != expected {
            wrong.push(format!("{}: recorded {expected:?}, got {got:?}", case.name));
        }
    }
    println!("{count} cases");
    assert!(count > 30 && wrong.is_empty(), "{wrong:#?}");
    let fatal = cases("peer-filtered--header-with-sig").remove(0);
    let request = world.rebuild(&fatal, &std::fs::read(&fatal.requests[0]).unwrap());
    let got = peer::deliver(connection, true, request).await;
    println!("{got:?}");
    assert_eq!(node.wait().code(), Some(2), "the real peer dies of this request");
}

fn throwaway(path: &str) -> String {
    std::fs::read_to_string(vectors().join("recorded/throwaway-keys").join(path)).unwrap()
}

fn recorded_people() -> BTreeMap<&'static str, Person> {
    let person = |msp_id: &str, path: &str| {
        Person::new(msp_id, &throwaway(&format!("{path}.cert.pem")), &throwaway(&format!("{path}.key.pem")))
    };
    BTreeMap::from([
        ("acme-user1", person("AcmeMSP", "broadcast/acme-user1")),
        ("acme-admin", person("AcmeMSP", "broadcast/acme-admin")),
        ("acme-peer0", person("AcmeMSP", "broadcast/acme-peer0")),
        ("acme-expired-admin", person("AcmeMSP", "deliver/acme-expired-admin")),
        ("hub-admin", person("HubMSP", "broadcast/hub-admin")),
        ("umbrella-admin", person("UmbrellaMSP", "broadcast/umbrella-admin")),
    ])
}

/// A peer whose ledger is the recorded chain.
fn recorded_peer(network: &Network) -> (Node, u64) {
    let node = network.peer(&network.acme, "peer0.acme");
    let ledger = tenter_fabric_sim::ledger::Ledger::open(&node.dir.join("data/ledgersData/chains/cc1")).unwrap();
    let dir = vectors().join("recorded/blocks/raft-peer-cc1");
    for number in 0.. {
        let Ok(bytes) = std::fs::read(dir.join(format!("{number}.pb"))) else {
            break;
        };
        ledger.append(&Block::decode(&bytes[..]).unwrap()).unwrap();
    }
    (node, ledger.height())
}

/// The peer's side of the client.
mod peer {
    use std::time::Duration;

    use tenter_fabric_wire::common::Envelope;
    use tenter_fabric_wire::protos::deliver_response::Type;
    use tenter_fabric_wire::protos::{FilteredBlock, TxValidationCode};
    use tenter_fabric_wire::service::deliver_client::DeliverClient;
    use tonic::transport::Channel;

    use super::{Case, World, block};

    pub async fn connect(port: u16, tlsca: &str) -> Channel {
        super::connect(port, tlsca, None).await.unwrap()
    }

    fn show(filtered: &FilteredBlock) -> String {
        let codes: Vec<String> = filtered
            .filtered_transactions
            .iter()
            .map(|tx| {
                let code = TxValidationCode::try_from(tx.tx_validation_code).unwrap().as_str_name();
                format!("{} {code}", tx.txid)
            })
            .collect();
        format!("filtered {} {codes:?}", filtered.number)
    }

    pub async fn deliver(channel: Channel, filtered: bool, request: Envelope) -> Vec<String> {
        let mut client = DeliverClient::new(channel);
        let requests = tokio_stream::iter([request]);
        let call =
            async { if filtered { client.deliver_filtered(requests).await } else { client.deliver(requests).await } };
        let mut replies = match tokio::time::timeout(Duration::from_millis(500), call).await {
            Err(_) => return vec!["silent".to_owned()],
            Ok(Ok(replies)) => replies.into_inner(),
            Ok(Err(status)) => return vec![format!("failed {}", status.message())],
        };
        let mut shown = Vec::new();
        loop {
            match tokio::time::timeout(Duration::from_millis(500), replies.message()).await {
                Err(_) => shown.push("silent".to_owned()),
                Ok(Err(status)) => shown.push(format!("failed {}", status.message())),
                Ok(Ok(None)) => shown.push("closed".to_owned()),
                Ok(Ok(Some(reply))) => {
                    shown.push(match reply.r#type {
                        Some(Type::Status(status)) => format!("status {status}"),
                        Some(Type::Block(found)) => {
                            let entries = found.data.as_ref().map_or(0, |data| data.data.len());
                            let shape = if entries == 0 { "header" } else { "block" };
                            format!("{shape} {}", block::number(&found))
                        }
                        Some(Type::FilteredBlock(filtered)) => show(&filtered),
                        other => format!("{other:?}"),
                    });
                    continue;
                }
            }
            return shown;
        }
    }

    /// Filtered blocks are compared whole where they belong to the part of the chain that was kept.
    pub fn expected(world: &World<'_>, case: &Case) -> Vec<String> {
        let recorded = case.json["channel_height"].as_u64().unwrap();
        let responses = case.json["responses"].as_array().unwrap();
        let whole_chain = responses.iter().filter(|r| r["filtered_block"].is_u64()).count() > 1;
        let plain = world.expected(case);
        responses
            .iter()
            .zip(plain)
            .filter_map(|(response, plain)| {
                let Some(number) = response["filtered_block"].as_u64() else {
                    return Some(plain);
                };
                let transactions: Vec<String> = response["transactions"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|tx| format!("{} {}", tx["txid"].as_str().unwrap(), tx["code"].as_str().unwrap()))
                    .collect();
                if whole_chain {
                    (number < world.height).then(|| format!("filtered {number} {transactions:?}"))
                } else {
                    Some(newest(world, number, recorded))
                }
            })
            .collect()
    }

    /// The newest block of the kept part, as the case over the whole chain has it.
    fn newest(world: &World<'_>, number: u64, recorded: u64) -> String {
        let at = number + world.height - recorded;
        let whole = super::cases("peer-filtered--oldest-to-newest").remove(0);
        let response = whole.json["responses"]
            .as_array()
            .unwrap()
            .iter()
            .find(|response| response["filtered_block"].as_u64() == Some(at))
            .unwrap()
            .clone();
        let tx = &response["transactions"][0];
        let shown = [format!("{} {}", tx["txid"].as_str().unwrap(), tx["code"].as_str().unwrap())];
        format!("filtered {at} {shown:?}")
    }
}
