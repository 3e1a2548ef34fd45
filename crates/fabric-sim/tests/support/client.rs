//! The little that tests need of a client: Deliver, Broadcast, proposals, and HTTP over mutual TLS.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sha2::{Digest as _, Sha256};
use tenter_fabric_sim::net::{KeyPair, Trust, dial};
use tenter_fabric_wire::common::{Block, ChannelHeader, Envelope, Header, HeaderType, Payload, SignatureHeader};
use tenter_fabric_wire::google::Timestamp;
use tenter_fabric_wire::orderer::deliver_response::Type as OrdererReply;
use tenter_fabric_wire::orderer::seek_position::Type as Position;
use tenter_fabric_wire::orderer::{SeekInfo, SeekNewest, SeekPosition, SeekSpecified};
use tenter_fabric_wire::protos::{
    ChaincodeActionPayload, ChaincodeEndorsedAction, ChaincodeHeaderExtension, ChaincodeId, ChaincodeInput,
    ChaincodeInvocationSpec, ChaincodeProposalPayload, ChaincodeSpec, Proposal, ProposalResponse, SignedProposal,
    Transaction, TransactionAction,
};
use tenter_fabric_wire::service::atomic_broadcast_client::AtomicBroadcastClient;
use tenter_fabric_wire::service::endorser_client::EndorserClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;

use super::organization::Person;

/// Real nodes on a busy machine take their time to join a channel.
pub const TIMEOUT: Duration = Duration::from_secs(20);

pub async fn connect(port: u16, tlsca: &str, pair: Option<&KeyPair>) -> Result<Channel, String> {
    let trust = Trust::Roots(vec![tlsca.as_bytes().to_vec()]);
    dial(&format!("127.0.0.1:{port}"), &trust, pair, TIMEOUT).await
}

pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

pub fn header(kind: HeaderType, channel: &str) -> ChannelHeader {
    ChannelHeader {
        r#type: kind as i32,
        channel_id: channel.to_owned(),
        timestamp: Some(Timestamp { seconds: now(), nanos: 0 }),
        ..ChannelHeader::default()
    }
}

pub fn sign(person: &Person, channel: &ChannelHeader, data: Vec<u8>) -> Envelope {
    let payload = Payload {
        header: Some(Header {
            channel_header: channel.encode_to_vec(),
            signature_header: SignatureHeader {
                creator: person.creator.clone(),
                nonce: rand::random::<[u8; 24]>().to_vec(),
            }
            .encode_to_vec(),
        }),
        data,
    }
    .encode_to_vec();
    Envelope { signature: person.key.sign(&payload), payload }
}

pub fn at(number: u64) -> Option<SeekPosition> {
    Some(SeekPosition { r#type: Some(Position::Specified(SeekSpecified { number })) })
}

pub fn newest() -> Option<SeekPosition> {
    Some(SeekPosition { r#type: Some(Position::Newest(SeekNewest {})) })
}

/// What came back of a Deliver stream, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Block(Box<Block>),
    Status(i32),
    Closed,
    /// Nothing more within the time.
    Silent,
    Failed(String),
}

/// Sends requests to an orderer's Deliver, closes the sending side, and reads until the end or silence.
pub async fn deliver(channel: Channel, requests: Vec<Envelope>) -> Vec<Event> {
    let mut client = AtomicBroadcastClient::new(channel).max_decoding_message_size(100 << 20);
    // A server sends nothing, not even headers, before its first reply.
    let call = client.deliver(tokio_stream::iter(requests));
    let mut replies = match tokio::time::timeout(Duration::from_millis(700), call).await {
        Ok(Ok(replies)) => replies.into_inner(),
        Ok(Err(status)) => return vec![Event::Failed(status.message().to_owned())],
        Err(_) => return vec![Event::Silent],
    };
    let mut events = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(700), replies.message()).await {
            Err(_) => events.push(Event::Silent),
            Ok(Err(status)) => events.push(Event::Failed(status.message().to_owned())),
            Ok(Ok(None)) => events.push(Event::Closed),
            Ok(Ok(Some(reply))) => {
                match reply.r#type {
                    Some(OrdererReply::Block(block)) => events.push(Event::Block(Box::new(block))),
                    Some(OrdererReply::Status(status)) => events.push(Event::Status(status)),
                    None => events.push(Event::Failed("empty reply".to_owned())),
                }
                continue;
            }
        }
        return events;
    }
}

/// One block by seek, or the status.
pub async fn fetch(channel: Channel, person: &Person, name: &str, seek: SeekInfo) -> Result<Block, i32> {
    let envelope = sign(person, &header(HeaderType::DeliverSeekInfo, name), seek.encode_to_vec());
    match deliver(channel, vec![envelope]).await.into_iter().next() {
        Some(Event::Block(block)) => Ok(*block),
        Some(Event::Status(status)) => Err(status),
        // The block is still to come: 0 is no status of Fabric's.
        Some(Event::Silent) => Err(0),
        other => panic!("unexpected {other:?}"),
    }
}

pub fn only(position: Option<SeekPosition>) -> SeekInfo {
    SeekInfo { start: position.clone(), stop: position, ..SeekInfo::default() }
}

/// Status and text of one broadcast.
pub async fn broadcast(channel: Channel, envelope: Envelope) -> (i32, String) {
    let mut client = AtomicBroadcastClient::new(channel);
    let mut replies = client.broadcast(tokio_stream::iter([envelope])).await.unwrap().into_inner();
    let reply = tokio::time::timeout(TIMEOUT, replies.message()).await.unwrap().unwrap().unwrap();
    (reply.status, reply.info)
}

pub fn proposal(person: &Person, channel: &str, chaincode: &str, args: &[&[u8]]) -> SignedProposal {
    let input = ChaincodeInput { args: args.iter().map(|arg| arg.to_vec()).collect(), ..ChaincodeInput::default() };
    call(person, channel, chaincode, input)
}

/// A proposal with this very input.
pub fn call(person: &Person, channel: &str, chaincode: &str, input: ChaincodeInput) -> SignedProposal {
    let nonce = rand::random::<[u8; 24]>().to_vec();
    let id = ChaincodeId { name: chaincode.to_owned(), ..ChaincodeId::default() };
    let mut head = header(HeaderType::EndorserTransaction, channel);
    head.tx_id = hex::encode(Sha256::digest([&nonce[..], &person.creator].concat()));
    head.extension = ChaincodeHeaderExtension { chaincode_id: Some(id.clone()) }.encode_to_vec();
    let spec = ChaincodeInvocationSpec {
        chaincode_spec: Some(ChaincodeSpec {
            r#type: 1,
            chaincode_id: Some(id),
            input: Some(input),
            ..ChaincodeSpec::default()
        }),
    };
    let bytes = Proposal {
        header: Header {
            channel_header: head.encode_to_vec(),
            signature_header: SignatureHeader { creator: person.creator.clone(), nonce }.encode_to_vec(),
        }
        .encode_to_vec(),
        payload: ChaincodeProposalPayload { input: spec.encode_to_vec(), ..ChaincodeProposalPayload::default() }
            .encode_to_vec(),
        extension: Vec::new(),
    }
    .encode_to_vec();
    SignedProposal { signature: person.key.sign(&bytes), proposal_bytes: bytes }
}

/// The id of a proposal's transaction.
pub fn transaction_id(signed: &SignedProposal) -> String {
    let header = Proposal::decode(&signed.proposal_bytes[..]).unwrap().header;
    let header = Header::decode(&header[..]).unwrap().channel_header;
    ChannelHeader::decode(&header[..]).unwrap().tx_id
}

/// The transaction of a proposal with its responses, signed by the proposer.
pub fn assemble(person: &Person, signed: &SignedProposal, responses: &[ProposalResponse]) -> Envelope {
    let proposal = Proposal::decode(&signed.proposal_bytes[..]).unwrap();
    let header = Header::decode(&proposal.header[..]).unwrap();
    let action = ChaincodeActionPayload {
        chaincode_proposal_payload: proposal.payload,
        action: Some(ChaincodeEndorsedAction {
            proposal_response_payload: responses[0].payload.clone(),
            endorsements: responses.iter().map(|response| response.endorsement.clone().unwrap()).collect(),
        }),
    };
    let transaction = Transaction {
        actions: vec![TransactionAction { header: header.signature_header.clone(), payload: action.encode_to_vec() }],
    };
    let payload = Payload { header: Some(header), data: transaction.encode_to_vec() }.encode_to_vec();
    Envelope { signature: person.key.sign(&payload), payload }
}

/// The response, or the text of a gRPC error.
pub async fn propose(channel: Channel, signed: SignedProposal) -> Result<ProposalResponse, String> {
    EndorserClient::new(channel)
        .max_decoding_message_size(100 << 20)
        .process_proposal(signed)
        .await
        .map(tonic::Response::into_inner)
        .map_err(|status| status.message().to_owned())
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How to reach an admin listener.
#[derive(Clone)]
pub struct AdminAccess {
    pub port: u16,
    pub tlsca: String,
    /// Certificate and key, PEM.
    pub pair: Option<(String, String)>,
}

fn request_bytes(method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
    // HTTP/1.0, so that the answer is not in chunks.
    let mut text = format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body.unwrap_or_default()].concat()
}

fn parse(bytes: &[u8]) -> Result<Answer, String> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").ok_or("EOF")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).ok_or("no status")?;
    Ok(Answer {
        status,
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: bytes[end + 4..].to_vec(),
    })
}

/// One request over plain HTTP.
pub async fn plain_http(port: u16, method: &str, path: &str, body: Option<&[u8]>) -> Result<Answer, String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
    stream.write_all(&request_bytes(method, path, &[], body)).await.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut bytes))
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())?;
    parse(&bytes)
}

impl AdminAccess {
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.tlsca.as_bytes()).unwrap()).unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match &self.pair {
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.map_err(|error| error.to_string())?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        let request = request_bytes(method, path, headers, body);
        // A server that refuses early may close while the body is still being written: its answer counts.
        let _ = stream.write_all(&request).await;
        let mut bytes = Vec::new();
        let read =
            tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut bytes)).await.map_err(|error| error.to_string())?;
        match (read, bytes.is_empty()) {
            (Err(error), true) => Err(error.to_string()),
            _ => parse(&bytes),
        }
    }

    /// Joins with a block.
    pub async fn join(&self, block: &Block) -> Result<Answer, String> {
        self.upload("POST", "config-block", &block.encode_to_vec()).await
    }

    /// Sends a file in a form.
    pub async fn upload(&self, method: &str, part: &str, content: &[u8]) -> Result<Answer, String> {
        let disposition = format!("Content-Disposition: form-data; name=\"{part}\"; filename=\"{part}\"");
        let head = format!("--b0undary\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n");
        let body = [head.as_bytes(), content, b"\r\n--b0undary--\r\n"].concat();
        let kind = [("Content-Type", "multipart/form-data; boundary=b0undary")];
        self.call(method, "/participation/v1/channels", &kind, Some(&body)).await
    }

    /// Status and JSON of one channel.
    pub async fn info(&self, channel: &str) -> Result<(u16, serde_json::Value), String> {
        let answer = self.call("GET", &format!("/participation/v1/channels/{channel}"), &[], None).await?;
        Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
    }
}
