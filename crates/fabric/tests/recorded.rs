//! The clients against what real nodes answered (tests/vectors/recorded): each recorded answer is replayed.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

#[path = "common/grpc.rs"]
mod grpc;
#[path = "common/server.rs"]
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use grpc::{field, grpc_error, grpc_reply, number};
use serde_json::Value;
use server::{Reply, Server};
use sha2::{Digest, Sha256};
use tenter_fabric::ca::{Issued, Role};
use tenter_fabric::chaincode::Call;
use tenter_fabric::chaincode::lifecycle::Refusal;
use tenter_fabric::client::broadcast::{BroadcastClient, BroadcastError};
use tenter_fabric::client::deliver::{DeliverClient, DeliverError};
use tenter_fabric::client::endorser::{EndorserClient, EndorserError};
use tenter_fabric::client::participation::{ParticipationClient, ParticipationError, Removal};
use tenter_fabric::client::{DirectDialer, Endpoint, FailureKind, Limits, TlsSettings, TransportError};
use tenter_fabric_testnet::{Organization, enough, vectors};

const CHANNELS: &str = "/participation/v1/channels";

fn recorded() -> PathBuf {
    vectors().join("recorded")
}

fn json(path: &str) -> Value {
    let path = recorded().join(path);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

fn endpoint(organization: &Organization, server: &Server, client: Option<&Issued>) -> Endpoint {
    let tls = TlsSettings {
        roots_pem: organization.roots.tls.cert_pem.clone(),
        client: client.map(|client| (client.cert_pem.clone(), client.key_pem.clone())),
    };
    // Short, because a recorded silence is waited out.
    let limits = Limits { connect: Duration::from_secs(5), request: Duration::from_secs(2) };
    Endpoint::new(server.address.clone(), Arc::new(DirectDialer::default()), &tls, limits).unwrap()
}

fn http_reply(step: &Value) -> Reply {
    Reply {
        status: u16::try_from(step["status"].as_u64().unwrap_or(200)).unwrap(),
        headers: vec![(
            "content-type",
            step["response_headers"]["Content-Type"].as_str().unwrap_or_default().to_owned(),
        )],
        data: vec![step["response_body"].as_str().unwrap_or_default().as_bytes().to_vec()],
        hang_up: step["transport_error"].is_string(),
        ..Reply::default()
    }
}

/// What a failure must be, told from the recorded answer alone.
fn expected(method: &str, step: &Value) -> &'static str {
    if step["transport_error"].is_string() {
        return "unreachable";
    }
    let body = step["response_body"].as_str().unwrap_or_default();
    let text = body
        .lines()
        .next()
        .and_then(|line| serde_json::from_str::<Value>(line).ok())
        .and_then(|value| value["error"].as_str().map(str::to_owned));
    match (step["status"].as_u64().unwrap(), text.as_deref()) {
        (200 | 201 | 204, _) | (404, Some("cannot remove: channel does not exist")) => "ok",
        (404, Some("channel does not exist")) if method == "GET" => "absent",
        (405, Some(text)) if text.contains("already exists") => "exists",
        (409, _) => "pending",
        (_, Some(_)) => "bad request",
        (_, None) => "protocol",
    }
}

fn class<T>(result: &Result<T, ParticipationError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(ParticipationError::NotFound { .. }) => "absent",
        Err(ParticipationError::AlreadyExists { .. }) => "exists",
        Err(ParticipationError::PendingRemoval { .. }) => "pending",
        Err(ParticipationError::BadRequest { .. }) => "bad request",
        Err(ParticipationError::Protocol { .. }) => "protocol",
        Err(ParticipationError::Transport(TransportError::Unreachable { .. })) => "unreachable",
        Err(_) => "other",
    }
}

#[tokio::test]
async fn participation_answers_are_told_apart() {
    let organization = Organization::new("hub").unwrap();
    let client_certificate = organization.tls_client("tenter").unwrap();
    let foreign = Organization::new("acme").unwrap().tls_client("tenter").unwrap();
    let mut replayed = 0;
    for scenario in json("participation/index.json").as_array().unwrap() {
        let name = scenario["scenario"].as_str().unwrap();
        for step in json(&format!("participation/{name}/transcript.json"))["steps"].as_array().unwrap() {
            let reply = http_reply(step);
            let server = Server::start(&organization, true, move |_| reply.clone()).await;
            let client = |certificate| ParticipationClient::new(endpoint(&organization, &server, certificate));
            if name == "tls" && step["transport_error"].is_string() {
                // The server itself refuses the certificate, as the recorded node did.
                let describe = step["describe"].as_str().unwrap();
                let certificate = match describe {
                    "no client certificate" => None,
                    "client certificate of another TLS CA" => Some(&foreign),
                    _ => panic!("{name}: {describe:?} is not known here: whose certificate is meant?"),
                };
                let error = client(certificate).list().await.unwrap_err();
                assert_eq!(error.kind(), FailureKind::Forbidden, "{describe}: {error:?}");
            } else {
                replay_step(&client(Some(&client_certificate)), &server, step, name).await;
            }
            replayed += 1;
        }
    }
    enough(replayed, 60, "steps");
}

async fn replay_step(client: &ParticipationClient, server: &Server, step: &Value, scenario: &str) {
    let (method, path) = (step["method"].as_str().unwrap(), step["path"].as_str().unwrap());
    let at = format!("{scenario} step {}: {}", step["step"], step["describe"]);
    let channel = path.strip_prefix(CHANNELS).and_then(|rest| rest.strip_prefix('/'));
    // Names that no client method would put into a path.
    let legal = channel.is_some_and(|name| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    });
    match (method, channel) {
        ("GET", None) if path == CHANNELS => {
            let result = client.list().await;
            assert_eq!(class(&result), expected(method, step), "{at}: {result:?}");
            if let Ok(names) = result {
                let body: Value = serde_json::from_str(step["response_body"].as_str().unwrap()).unwrap();
                let mut recorded: Vec<_> = body["channels"]
                    .as_array()
                    .map(|list| list.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect())
                    .unwrap_or_default();
                recorded.sort();
                assert_eq!(names, recorded, "{at}");
            }
        }
        ("GET", Some(name)) if legal => {
            let result = client.info(name).await;
            assert_eq!(class(&result), expected(method, step), "{at}: {result:?}");
            if let Ok(info) = result {
                let body: Value = serde_json::from_str(step["response_body"].as_str().unwrap()).unwrap();
                assert_eq!(info.height, body["height"].as_u64().unwrap(), "{at}");
                let shown = format!("{:?}/{:?}", info.consensus_relation, info.status).to_lowercase();
                let recorded =
                    format!("{}/{}", body["consensusRelation"].as_str().unwrap(), body["status"].as_str().unwrap());
                assert_eq!(shown, recorded, "{at}");
            }
        }
        ("POST", None) if path == CHANNELS => {
            let result = client.join(b"the block").await;
            assert_eq!(class(&result), expected(method, step), "{at}: {result:?}");
            check_join_request(server);
        }
        ("DELETE", Some(name)) if legal => {
            let result = client.remove(name).await;
            assert_eq!(class(&result), expected(method, step), "{at}: {result:?}");
            let gone = step["status"].as_u64() == Some(404);
            assert_eq!(result.ok() == Some(Removal::AlreadyAbsent), gone, "{at}");
        }
        _ => {
            // Not asked by any method; but were it the answer to a question, it must not read as absence.
            let result = client.info("solo1").await;
            let absent = expected("GET", step) == "absent";
            assert_eq!(class(&result) == "absent", absent, "{at}: {result:?}");
        }
    }
}

/// One file part named config-block, with a file name, and nothing else.
fn check_join_request(server: &Server) {
    let seen = server.take_seen().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", CHANNELS));
    let kind = seen.headers["content-type"].to_str().unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let body = String::from_utf8(seen.body).unwrap();
    let parts: Vec<_> = body.split(&format!("--{boundary}")).collect();
    assert_eq!((parts.len(), parts[0], parts[2]), (3, "", "--\r\n"));
    let (head, content) = parts[1].split_once("\r\n\r\n").unwrap();
    assert!(head.contains("form-data; name=\"config-block\"; filename=\""), "{head}");
    assert_eq!(content, "the block\r\n");
}

#[tokio::test]
async fn an_admin_port_that_refuses_the_certificate_is_forbidden() {
    let (organization, other) = (Organization::new("hub").unwrap(), Organization::new("acme").unwrap());
    let reply = Reply { status: 200, data: vec![b"{\"channels\":null}".to_vec()], ..Reply::default() };
    let server = Server::start(&organization, true, move |_| reply.clone()).await;
    let good = organization.tls_client("tenter").unwrap();
    let client = ParticipationClient::new(endpoint(&organization, &server, Some(&good)));
    assert!(client.list().await.unwrap().is_empty());
    let foreign = other.tls_client("tenter").unwrap();
    for certificate in [None, Some(&foreign)] {
        let client = ParticipationClient::new(endpoint(&organization, &server, certificate));
        let error = client.list().await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Forbidden, "{error:?}");
        assert_ne!(client.info("solo1").await.unwrap_err().kind(), FailureKind::Absent);
    }
}

#[tokio::test]
async fn an_api_that_is_off_slow_or_too_large_is_no_absence() {
    let organization = Organization::new("hub").unwrap();
    let off = Reply {
        status: 503,
        data: vec![br#"{"error":"channel participation API is disabled"}"#.to_vec()],
        ..Reply::default()
    };
    let slow = Reply { status: 404, hang: true, ..Reply::default() };
    let large = Reply { status: 404, data: vec![vec![b' '; 5 << 20]], ..Reply::default() };
    let certificate = organization.tls_client("tenter").unwrap();
    let mut errors = Vec::new();
    for reply in [off, slow, large] {
        let server = Server::start(&organization, true, move |_| reply.clone()).await;
        let client = ParticipationClient::new(endpoint(&organization, &server, Some(&certificate)));
        errors.push(client.info("solo1").await.unwrap_err());
    }
    assert!(matches!(errors[0], ParticipationError::Disabled { .. }), "{:?}", errors[0]);
    assert!(matches!(errors[1], ParticipationError::Transport(TransportError::Timeout { .. })), "{:?}", errors[1]);
    assert!(matches!(errors[2], ParticipationError::Transport(TransportError::Protocol { .. })), "{:?}", errors[2]);
}

/// Each recorded answer of Deliver is replayed to a client that follows from the first block in it. Left out are
/// filtered blocks, which no client asks for, and answers with the newest block, which is not among the recorded ones.
#[tokio::test]
async fn deliver_answers_are_told_apart() {
    let organization = Organization::new("acme").unwrap();
    let mut replayed = 0;
    for case in json("deliver/index.json").as_array().unwrap() {
        let case = json(&format!("deliver/{}/case.json", case["dir"].as_str().unwrap()));
        let responses = case["responses"].as_array().unwrap();
        let stored = responses
            .iter()
            .filter_map(|response| response["block"].as_u64())
            .all(|block| block_file(chain(&case), block).is_file());
        if case["service"] == "peer-filtered" || responses[0]["grpc_error"].is_string() || !stored {
            continue;
        }
        replay_deliver(&organization, &case).await;
        replayed += 1;
    }
    enough(replayed, 60, "cases");
}

/// The recorded chain that a case reads from.
fn chain(case: &Value) -> &'static str {
    match case["service"].as_str().unwrap() {
        "orderer" => "raft-orderer-cc1",
        "peer" | "peer-filtered" => "raft-peer-cc1",
        _ => "bft-orderer-bft1",
    }
}

fn block_file(chain: &str, number: u64) -> PathBuf {
    recorded().join(format!("blocks/{chain}/{number}.pb"))
}

async fn replay_deliver(organization: &Organization, case: &Value) {
    let name = case["case"].as_str().unwrap();
    let responses = case["responses"].as_array().unwrap();
    let silent = responses.iter().any(|response| !response["nothing_more_within_ms"].is_null());
    let messages = responses.iter().filter_map(|response| {
        if let Some(block) = response["block"].as_u64() {
            let bytes = std::fs::read(block_file(chain(case), block)).unwrap();
            return Some(field(2, &bytes));
        }
        response["status"].as_u64().map(|status| number(1, status))
    });
    let reply = grpc_reply(messages.collect(), silent);
    let server = Server::start(organization, false, move |_| reply.clone()).await;
    let identity = organization.identity("reader", Role::Client).unwrap();
    let endpoint = endpoint(organization, &server, None);
    let client = if case["service"] == "peer" {
        DeliverClient::peer(endpoint, identity)
    } else {
        DeliverClient::orderer(endpoint, identity)
    };
    let first = responses.iter().find_map(|response| response["block"].as_u64()).unwrap_or_default();
    let mut stream = client.follow("cc1", first).await.unwrap();
    for response in responses {
        if !response["nothing_more_within_ms"].is_null() {
            let more = tokio::time::timeout(Duration::from_millis(200), stream.next()).await;
            assert!(more.is_err(), "{name}: {more:?}");
            return;
        }
        if let Some(block) = response["block"].as_u64() {
            let got = stream.next().await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(got.number(), block, "{name}");
            assert_eq!(hex::encode(got.data_hash()), response["data_hash"].as_str().unwrap(), "{name}");
        } else if let Some(status) = response["status"].as_u64() {
            let error = stream.next().await.unwrap_err();
            let class = match &error {
                DeliverError::Ended { .. } => 200,
                DeliverError::BadRequest { .. } => 400,
                DeliverError::Forbidden { .. } => 403,
                DeliverError::NotFound { .. } => 404,
                DeliverError::Unavailable { .. } => 503,
                other => panic!("{name}: {other}"),
            };
            assert_eq!(class, status, "{name}");
            assert_ne!(error.kind(), FailureKind::Absent, "{name}");
            return;
        }
    }
}

/// Blocks that are altered, skipped or of another chain are refused.
#[tokio::test]
async fn blocks_that_do_not_fit_are_refused() {
    let organization = Organization::new("acme").unwrap();
    let block = |chain: &str, number: u64| std::fs::read(block_file(chain, number)).unwrap();
    let (one, two, three) = (block("raft-orderer-cc1", 1), block("raft-orderer-cc1", 2), block("raft-orderer-cc1", 3));
    let foreign = block("bft-orderer-bft1", 2);
    let mut altered = two.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let send = |blocks: [&Vec<u8>; 2]| grpc_reply(blocks.map(|block| field(2, block)).into(), false);
    let cases = [
        ("skipped", send([&one, &three])),
        ("of another chain", send([&one, &foreign])),
        ("altered", send([&one, &altered])),
    ];
    for (name, reply) in cases {
        let server = Server::start(&organization, false, move |_| reply.clone()).await;
        let identity = organization.identity("reader", Role::Client).unwrap();
        let client = DeliverClient::orderer(endpoint(&organization, &server, None), identity);
        let mut stream = client.follow("cc1", 1).await.unwrap();
        assert_eq!(stream.next().await.unwrap().number(), 1);
        let error = stream.next().await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Protocol, "{name}: {error:?}");
        let error = client.block("cc1", 7).await.unwrap_err();
        assert!(matches!(error, DeliverError::OtherBlock { expected: 7, found: 1, .. }), "{name}: {error:?}");
    }
}

/// The request binds to the TLS certificate shown, whose hash is that of the DER.
#[tokio::test]
async fn deliver_requests_are_bound_to_the_client_certificate() {
    let organization = Organization::new("acme").unwrap();
    let reply = grpc_reply(vec![number(1, 404)], false);
    let server = Server::start(&organization, true, move |_| reply.clone()).await;
    let identity = organization.identity("reader", Role::Client).unwrap();
    let certificate = organization.tls_client("tenter").unwrap();
    let client = DeliverClient::orderer(endpoint(&organization, &server, Some(&certificate)), identity);
    client.newest("cc1").await.unwrap_err();
    let info = tenter_fabric::x509::CertificateInfo::from_pem(&certificate.cert_pem).unwrap();
    let hash: [u8; 32] = Sha256::digest(info.der()).into();
    let body = server.take_seen().pop().unwrap().body;
    // tls_cert_hash is field 8 of the channel header.
    assert!(body.windows(34).any(|window| window == [&[0x42, 32][..], &hash].concat()));
}

/// Each recorded answer of Broadcast is replayed to the envelope that it was given to, which must arrive as it is.
#[tokio::test]
async fn broadcast_answers_are_told_apart() {
    let organization = Organization::new("acme").unwrap();
    let identity = organization.identity("reader", Role::Client).unwrap();
    let mut replayed = 0;
    for entry in json("broadcast/index.json").as_array().unwrap() {
        let folder = format!("broadcast/{}", entry["dir"].as_str().unwrap());
        let case = json(&format!("{folder}/case.json"));
        let envelope = std::fs::read(recorded().join(&folder).join(case["envelope"].as_str().unwrap())).unwrap();
        let (status, info) = (case["response"]["status"].as_u64(), case["response"]["info"].as_str());
        let answer = status.map(|status| [number(1, status), field(2, info.unwrap().as_bytes())].concat());
        let reply = grpc_reply(answer.into_iter().collect(), false);
        let server = Server::start(&organization, false, move |_| reply.clone()).await;
        let client = BroadcastClient::new(endpoint(&organization, &server, None), identity.clone());
        let result = client.submit_envelope("rec1", &envelope).await;
        let told = match &result {
            Ok(()) => Some(200),
            Err(BroadcastError::BadRequest { text, .. }) => info.unwrap().starts_with(text).then_some(400),
            Err(BroadcastError::Forbidden { .. }) => Some(403),
            Err(BroadcastError::Unavailable { .. }) => Some(503),
            Err(BroadcastError::Unknown { .. }) => None,
            Err(error) => panic!("{folder}: {error}"),
        };
        assert_eq!(told, status, "{folder}: {result:?}");
        let body = server.take_seen().pop().unwrap().body;
        // Five bytes of framing come first.
        assert_eq!(body.get(5..), Some(envelope.as_slice()), "{folder}");
        replayed += 1;
    }
    assert!(replayed > 0);
}

/// Each recorded answer to a call of cscc or qscc is replayed and must become the right failure.
#[tokio::test]
async fn endorser_answers_are_told_apart() {
    let organization = Organization::new("acme").unwrap();
    let mut replayed = 0;
    for entry in json("lifecycle/index.json").as_array().unwrap() {
        let name = entry["case"].as_str().unwrap();
        if entry["kind"] != "proposal" {
            continue;
        }
        let case = json(&format!("lifecycle/cases/{name}/case.json"));
        replay_proposal(&organization, &case, name).await;
        replayed += 1;
    }
    enough(replayed, 60, "proposals");
}

async fn replay_proposal(organization: &Organization, case: &Value, name: &str) {
    let (message, status) = (case["response"]["message"].as_str(), case["response"]["status"].as_u64());
    let reply = if let (Some(message), Some(status)) = (message, status) {
        let response = [number(1, status), field(2, message.as_bytes())].concat();
        grpc_reply(vec![field(4, &response)], false)
    } else {
        grpc_error(2, case["grpc_error"]["message"].as_str().unwrap(), &[])
    };
    let server = Server::start(organization, false, move |_| reply.clone()).await;
    let identity = organization.identity("reader", Role::Client).unwrap();
    let client = EndorserClient::new(endpoint(organization, &server, None), identity);
    let call = Call::new("cc1", case["chaincode"].as_str().unwrap(), "Any", []);
    let result = client.call(&call).await;
    let text = message.or(case["grpc_error"]["message"].as_str()).unwrap();
    let class = match &result {
        Ok(_) => "ok",
        Err(EndorserError::AlreadyJoined { .. }) => "joined",
        Err(EndorserError::AccessDenied { .. }) => "denied",
        Err(EndorserError::UnknownChannel { .. }) => "unknown",
        Err(EndorserError::Lifecycle { .. }) => "lifecycle",
        Err(EndorserError::Refused { .. }) => "refused",
        Err(EndorserError::Rejected { .. }) => "rejected",
        Err(other) => panic!("{name}: {other}"),
    };
    let expected = if status == Some(200) {
        "ok"
    } else if text.contains("already exists with state") {
        "joined"
    } else if text.contains("channel [nosuch]")
        || text == "channel 'nosuch' not found"
        || text == "channel 'cc1' not found"
    {
        "unknown"
    } else if text.contains("access denied") || text.contains("ACL check") || text.contains("expired") {
        "denied"
    } else if call.chaincode == "_lifecycle" && Refusal::from_text(text).is_some() {
        "lifecycle"
    } else if status.is_some() {
        "refused"
    } else {
        "rejected"
    };
    assert_eq!(class, expected, "{name}: {text}");
    if let Err(error) = result {
        assert_ne!(error.kind(), FailureKind::Absent, "{name}");
    }
}
