//! A tiny chaincode as a service, written against the wire messages alone: it registers, and answers calls.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use prost::Message;
use sha2::{Digest as _, Sha256};
use tenter_fabric_sim::net::{ClientRoots, Incoming, KeyPair, server_tls};
use tenter_fabric_wire::protos::{ChaincodeEvent, ChaincodeId, ChaincodeInput, ChaincodeSpec, Response};
use tenter_fabric_wire::queryresult::Kv;
use tenter_fabric_wire::service::chaincode_server::{Chaincode, ChaincodeServer};
use tenter_fabric_wire::shim::chaincode_message::Type;
use tenter_fabric_wire::shim::{
    ChaincodeMessage, DelState, GetState, GetStateByRange, GetStateMultiple, GetStateMultipleResult, PutState,
    QueryMetadata, QueryResponse, QueryResponseMetadata, QueryStateNext, WriteBatchState, WriteRecord,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::network::eventually;

type Replies = ReceiverStream<Result<ChaincodeMessage, Status>>;

/// What the test sees of it.
#[derive(Clone)]
pub struct Running {
    pub port: u16,
    pub package: Arc<Mutex<String>>,
    pub ready: Arc<Mutex<Vec<u8>>>,
    stop: Arc<tokio::sync::watch::Sender<bool>>,
}

impl Running {
    /// Serves on a port, 0 for any, as the package with this id; with TLS, clients must have a certificate of these roots,
    /// if there are any.
    pub async fn start(port: u16, package: &str, tls: Option<(&KeyPair, &str)>) -> Self {
        let acceptor = tls.map(|(pair, roots)| {
            let known = ClientRoots::default();
            known.add(roots.as_bytes());
            server_tls(pair, !roots.is_empty(), known, "h2").unwrap()
        });
        // The one that was stopped on this port may take a moment to let go of it.
        let incoming = eventually("the port to be free", async || {
            Incoming::bind(&format!("127.0.0.1:{port}"), acceptor.clone()).await.ok()
        })
        .await;
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let running = Self {
            port: incoming.local().port(),
            package: Arc::new(Mutex::new(package.to_owned())),
            ready: Arc::default(),
            stop: Arc::new(stop),
        };
        let service = Server(running.clone());
        tokio::spawn(async move {
            let serving = tonic::transport::Server::builder()
                .add_service(ChaincodeServer::new(service))
                .serve_with_incoming(incoming.into_stream());
            // Dropping it closes the connections, as the end of a process does.
            tokio::select! {
                _ = serving => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        });
        running
    }

    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

struct Server(Running);

#[tonic::async_trait]
impl Chaincode for Server {
    type ConnectStream = Replies;

    async fn connect(&self, request: Request<Streaming<ChaincodeMessage>>) -> Result<tonic::Response<Replies>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        let id = ChaincodeId { name: self.0.package.lock().unwrap().clone(), ..ChaincodeId::default() };
        let register = ChaincodeMessage {
            r#type: Type::Register as i32,
            payload: id.encode_to_vec(),
            ..ChaincodeMessage::default()
        };
        sender.send(Ok(register)).await.unwrap();
        let (ready, mut stopped) = (self.0.ready.clone(), self.0.stop.subscribe());
        tokio::spawn(async move {
            let mut stub = Stub {
                messages: request.into_inner(),
                waiting: VecDeque::new(),
                sender,
                call: ChaincodeMessage::default(),
                event: None,
            };
            tokio::select! {
                () = stub.serve(&ready) => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        });
        Ok(tonic::Response::new(ReceiverStream::new(receiver)))
    }
}

/// One stream, and the call that is worked on.
struct Stub {
    messages: Streaming<ChaincodeMessage>,
    waiting: VecDeque<ChaincodeMessage>,
    sender: mpsc::Sender<Result<ChaincodeMessage, Status>>,
    call: ChaincodeMessage,
    event: Option<ChaincodeEvent>,
}

type Outcome = Result<Vec<u8>, String>;

impl Stub {
    async fn serve(&mut self, ready: &Mutex<Vec<u8>>) {
        while let Ok(Some(message)) = self.messages.message().await {
            match Type::try_from(message.r#type).unwrap() {
                Type::Registered => {}
                Type::Ready => *ready.lock().unwrap() = message.payload,
                _ => self.waiting.push_back(message),
            }
            while let Some(call) = self.waiting.pop_front() {
                if !self.answer(call).await {
                    return;
                }
            }
        }
    }

    /// Answers one call; `crash` ends the stream instead.
    async fn answer(&mut self, call: ChaincodeMessage) -> bool {
        let input = ChaincodeInput::decode(&call.payload[..]).unwrap();
        let init = call.r#type == Type::Init as i32;
        self.call = call;
        self.event = None;
        let args: Vec<String> = input.args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        if args.first().is_some_and(|name| name == "crash") {
            return false;
        }
        let response = match self.run(init, &args).await {
            Ok(payload) => Response { status: 200, message: String::new(), payload },
            Err(message) => Response { status: 500, message, payload: Vec::new() },
        };
        let message = ChaincodeMessage {
            r#type: Type::Completed as i32,
            payload: response.encode_to_vec(),
            txid: self.call.txid.clone(),
            channel_id: self.call.channel_id.clone(),
            chaincode_event: self.event.take(),
            ..ChaincodeMessage::default()
        };
        self.sender.send(Ok(message)).await.is_ok()
    }

    async fn ask(&mut self, kind: Type, message: &impl Message) -> Outcome {
        let request = ChaincodeMessage {
            r#type: kind as i32,
            payload: message.encode_to_vec(),
            txid: self.call.txid.clone(),
            channel_id: self.call.channel_id.clone(),
            ..ChaincodeMessage::default()
        };
        self.sender.send(Ok(request)).await.map_err(|error| error.to_string())?;
        loop {
            let message = self.messages.message().await.map_err(|e| e.to_string())?.ok_or("the stream ended")?;
            match Type::try_from(message.r#type).unwrap() {
                Type::Response if message.txid == self.call.txid => return Ok(message.payload),
                Type::Error if message.txid == self.call.txid => {
                    return Err(String::from_utf8_lossy(&message.payload).into_owned());
                }
                _ => self.waiting.push_back(message),
            }
        }
    }

    async fn get(&mut self, key: &str) -> Outcome {
        self.ask(Type::GetState, &GetState { key: key.to_owned(), collection: String::new() }).await
    }

    async fn put(&mut self, key: &str, value: &str) -> Outcome {
        let put = PutState { key: key.to_owned(), value: value.as_bytes().to_vec(), collection: String::new() };
        self.ask(Type::PutState, &put).await
    }

    async fn number(&mut self, key: &str) -> Result<i64, String> {
        let value = self.get(key).await?;
        if value.is_empty() {
            return Err(format!("{{\"Error\":\"Nil amount for {key}\"}}"));
        }
        String::from_utf8_lossy(&value).parse().map_err(|_| "not a number".to_owned())
    }

    async fn run(&mut self, init: bool, args: &[String]) -> Outcome {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["init", a, x, b, y] if init => {
                self.put(a, x).await?;
                self.put(b, y).await
            }
            ["invoke", a, b, amount] => {
                let (from, to) = (self.number(a).await?, self.number(b).await?);
                let amount: i64 = amount.parse().map_err(|_| "not a number")?;
                self.put(a, &(from - amount).to_string()).await?;
                self.put(b, &(to + amount).to_string()).await?;
                Ok(Vec::new())
            }
            ["query", key] => self.number(key).await.map(|found| found.to_string().into_bytes()),
            ["set", key, value] => {
                self.event = Some(ChaincodeEvent {
                    event_name: "set".to_owned(),
                    payload: value.as_bytes().to_vec(),
                    ..ChaincodeEvent::default()
                });
                self.put(key, value).await
            }
            ["get", key] => self.get(key).await,
            ["del", key] => {
                self.ask(Type::DelState, &DelState { key: (*key).to_owned(), collection: String::new() }).await
            }
            ["get-many", keys @ ..] => {
                let keys = keys.iter().map(|key| (*key).to_owned()).collect();
                let asked = GetStateMultiple { keys, collection: String::new() };
                let found = self.ask(Type::GetStateMultiple, &asked).await?;
                let values = GetStateMultipleResult::decode(&found[..]).unwrap().values;
                Ok(values.iter().map(|value| String::from_utf8_lossy(value)).collect::<Vec<_>>().join(",").into_bytes())
            }
            ["fill", count] => {
                let count: u32 = count.parse().unwrap();
                let rec = (0..count)
                    .map(|number| WriteRecord {
                        key: format!("k{number:04}"),
                        value: b"v".to_vec(),
                        r#type: 9,
                        ..WriteRecord::default()
                    })
                    .collect();
                self.ask(Type::WriteBatchState, &WriteBatchState { rec }).await
            }
            ["count", start, end] => self.count(start, end).await,
            ["count-and-set", start, end, key] => {
                let count = self.count(start, end).await?;
                self.put(key, &String::from_utf8_lossy(&count)).await
            }
            ["page", start, size, bookmark] => self.page(start, size, bookmark).await,
            ["call", chaincode, rest @ ..] => {
                let id = ChaincodeId { name: (*chaincode).to_owned(), ..ChaincodeId::default() };
                let args = rest.iter().map(|arg| arg.as_bytes().to_vec()).collect();
                let spec = ChaincodeSpec {
                    chaincode_id: Some(id),
                    input: Some(ChaincodeInput { args, ..ChaincodeInput::default() }),
                    ..ChaincodeSpec::default()
                };
                let answer = self.ask(Type::InvokeChaincode, &spec).await?;
                let answer = ChaincodeMessage::decode(&answer[..]).unwrap();
                let response = Response::decode(&answer.payload[..]).unwrap();
                if response.status == 200 { Ok(response.payload) } else { Err(response.message) }
            }
            ["put-private", collection, key, value] => {
                let put = PutState {
                    key: (*key).to_owned(),
                    value: value.as_bytes().to_vec(),
                    collection: (*collection).to_owned(),
                };
                self.ask(Type::PutState, &put).await
            }
            ["get-private", collection, key] => {
                let get = GetState { key: (*key).to_owned(), collection: (*collection).to_owned() };
                self.ask(Type::GetState, &get).await
            }
            ["private-hash", collection, key] => {
                let get = GetState { key: (*key).to_owned(), collection: (*collection).to_owned() };
                self.ask(Type::GetPrivateDataHash, &get).await.map(|hash| hex::encode(hash).into_bytes())
            }
            ["history"] => {
                let asked = tenter_fabric_wire::shim::GetHistoryForKey { key: "a".to_owned() };
                self.ask(Type::GetHistoryForKey, &asked).await
            }
            ["sleep"] => {
                tokio::time::sleep(std::time::Duration::from_secs(20)).await;
                Ok(Vec::new())
            }
            ["peerless"] => Ok(rand::random::<[u8; 8]>().to_vec()),
            _ => Err("Invalid invoke function name. Expecting \"invoke\", \"delete\", \"query\", \"respond\", \"mspid\", or \"event\"".to_owned()),
        }
    }

    async fn count(&mut self, start: &str, end: &str) -> Outcome {
        let asked =
            GetStateByRange { start_key: start.to_owned(), end_key: end.to_owned(), ..GetStateByRange::default() };
        let mut answer = QueryResponse::decode(&self.ask(Type::GetStateByRange, &asked).await?[..]).unwrap();
        let mut count = answer.results.len();
        while answer.has_more {
            let next = QueryStateNext { id: answer.id.clone() };
            answer = QueryResponse::decode(&self.ask(Type::QueryStateNext, &next).await?[..]).unwrap();
            count += answer.results.len();
        }
        Ok(count.to_string().into_bytes())
    }

    async fn page(&mut self, start: &str, size: &str, bookmark: &str) -> Outcome {
        let metadata = QueryMetadata { page_size: size.parse().unwrap(), bookmark: bookmark.to_owned() };
        let asked = GetStateByRange {
            start_key: start.to_owned(),
            metadata: metadata.encode_to_vec(),
            ..GetStateByRange::default()
        };
        let answer = QueryResponse::decode(&self.ask(Type::GetStateByRange, &asked).await?[..]).unwrap();
        let keys: Vec<String> =
            answer.results.iter().map(|result| Kv::decode(&result.result_bytes[..]).unwrap().key).collect();
        let end = QueryResponseMetadata::decode(&answer.metadata[..]).unwrap();
        Ok(format!("{} {} {}", keys.join(","), end.fetched_records_count, end.bookmark).into_bytes())
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend(header);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// A package for a service at an address, and its id.
pub fn package(kind: &str, label: &str, connection: &str) -> (Vec<u8>, String) {
    let code = gzip(&tar(&[("connection.json", connection.as_bytes())]));
    let metadata = format!("{{\"type\":\"{kind}\",\"label\":\"{label}\"}}");
    let package = gzip(&tar(&[("metadata.json", metadata.as_bytes()), ("code.tar.gz", &code)]));
    let id = format!("{label}:{}", hex::encode(Sha256::digest(&package)));
    (package, id)
}
