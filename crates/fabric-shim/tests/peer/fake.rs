//! The peer's side of a connection (Fabric `core/chaincode/handler.go`), and a service to connect to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use prost::Message as _;
use tenter_fabric_shim::testing::Ledger;
use tenter_fabric_shim::{ServeError, ServiceOptions, TlsOptions, serve_on};
use tenter_fabric_wire::protos::{ChaincodeEvent, ChaincodeId, ChaincodeInput, Response, SignedProposal};
use tenter_fabric_wire::service::chaincode_client::ChaincodeClient;
use tenter_fabric_wire::shim::ChaincodeMessage;
use tenter_fabric_wire::shim::chaincode_message::Type;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::probe::{Handles, probe};

pub const PACKAGE: &str = "probe:0123";
const LIMIT: usize = 100 * 1024 * 1024;

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it takes too long")
}

/// A running service.
pub struct Service {
    pub address: SocketAddr,
    pub handles: Handles,
    pub stop: oneshot::Sender<()>,
    pub ended: JoinHandle<Result<(), ServeError>>,
}

pub async fn service(tls: Option<TlsOptions>) -> Service {
    let (contract, handles) = probe();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = ServiceOptions { address: address.to_string(), package_id: PACKAGE.to_owned(), tls };
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(async move {
        serve_on(contract, &options, listener, async {
            // A test that drops the service does not stop it.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await
    });
    Service { address, handles, stop, ended }
}

impl Service {
    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// A connection that is ready for calls.
    pub async fn ready(&self) -> Peer {
        let mut peer = Peer::connect(self.channel().await).await.unwrap();
        peer.handshake().await;
        peer
    }
}

/// How a call ended: the response and the event, or the text of ERROR.
pub type Outcome = Result<(Response, Option<ChaincodeEvent>), String>;

/// One connection.
pub struct Peer {
    outgoing: mpsc::Sender<ChaincodeMessage>,
    incoming: Streaming<ChaincodeMessage>,
}

impl Peer {
    pub async fn connect(channel: Channel) -> Result<Self, Status> {
        let (outgoing, messages) = mpsc::channel(16);
        let mut client =
            ChaincodeClient::new(channel).max_decoding_message_size(LIMIT).max_encoding_message_size(LIMIT);
        let incoming = soon(client.connect(ReceiverStream::new(messages))).await?.into_inner();
        Ok(Self { outgoing, incoming })
    }

    pub async fn send(&self, message: ChaincodeMessage) {
        soon(self.outgoing.send(message)).await.unwrap();
    }

    /// The next message, or how the stream ends.
    pub async fn receive(&mut self) -> Result<Option<ChaincodeMessage>, Status> {
        soon(self.incoming.message()).await
    }

    pub async fn next(&mut self) -> (Type, ChaincodeMessage) {
        let message = self.receive().await.unwrap().expect("the stream has ended");
        (Type::try_from(message.r#type).unwrap(), message)
    }

    pub async fn register(&mut self) {
        let (kind, message) = self.next().await;
        assert_eq!(kind, Type::Register);
        assert_eq!(ChaincodeId::decode(&message.payload[..]).unwrap().name, PACKAGE);
    }

    pub async fn handshake(&mut self) {
        self.register().await;
        self.send(message(Type::Registered, "", "", Vec::new())).await;
        // What a peer of Fabric 3.1 offers: batches of up to 1000 writes and reads.
        self.send(message(Type::Ready, "", "", vec![0x08, 1, 0x10, 0xe8, 0x07, 0x18, 1, 0x20, 0xe8, 0x07])).await;
    }

    /// Makes one call and answers its requests from the ledger.
    pub async fn call(&mut self, ledger: &mut Ledger, transaction: &str, args: &[&str]) -> Outcome {
        self.calls(ledger, vec![invocation(transaction, args)]).await.remove(transaction).unwrap()
    }

    /// Makes one call that must succeed, and gives its payload as text.
    pub async fn text(&mut self, ledger: &mut Ledger, transaction: &str, args: &[&str]) -> String {
        let (response, _) = self.call(ledger, transaction, args).await.unwrap();
        assert_eq!((response.status, response.message.as_str()), (200, ""));
        String::from_utf8(response.payload).unwrap()
    }

    /// Makes calls at once; commits those that succeed, in the order in which they end.
    pub async fn calls(&mut self, ledger: &mut Ledger, calls: Vec<ChaincodeMessage>) -> BTreeMap<String, Outcome> {
        let mut running: BTreeMap<_, _> = calls.iter().map(|call| (call.txid.clone(), ledger.simulate())).collect();
        let mut outcomes = BTreeMap::new();
        for call in calls {
            self.send(call).await;
        }
        while !running.is_empty() {
            let (kind, message) = self.next().await;
            assert_eq!(message.channel_id, "trade");
            let transaction = message.txid.clone();
            match kind {
                Type::Completed => {
                    let response = Response::decode(&message.payload[..]).unwrap();
                    let simulation = running.remove(&transaction).unwrap();
                    if response.status < 400 {
                        ledger.commit(&simulation);
                    }
                    outcomes.insert(transaction, Ok((response, message.chaincode_event)));
                }
                Type::Error => {
                    running.remove(&transaction).unwrap();
                    outcomes.insert(transaction, Err(String::from_utf8(message.payload).unwrap()));
                }
                request => {
                    let answer = running.get_mut(&transaction).unwrap().answer(request, &message.payload);
                    self.send(answered(&transaction, answer)).await;
                }
            }
        }
        outcomes
    }
}

pub fn message(kind: Type, channel: &str, transaction: &str, payload: Vec<u8>) -> ChaincodeMessage {
    ChaincodeMessage {
        r#type: kind as i32,
        payload,
        txid: transaction.to_owned(),
        channel_id: channel.to_owned(),
        ..ChaincodeMessage::default()
    }
}

pub fn answered(transaction: &str, answer: Result<Vec<u8>, String>) -> ChaincodeMessage {
    match answer {
        Ok(payload) => message(Type::Response, "trade", transaction, payload),
        Err(text) => message(Type::Error, "trade", transaction, text.into_bytes()),
    }
}

pub fn invocation(transaction: &str, args: &[&str]) -> ChaincodeMessage {
    let args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    let input = ChaincodeInput { args, ..ChaincodeInput::default() };
    message(Type::Transaction, "trade", transaction, input.encode_to_vec())
}

pub fn initialisation(transaction: &str, args: &[&str]) -> ChaincodeMessage {
    ChaincodeMessage { r#type: Type::Init as i32, ..invocation(transaction, args) }
}

pub fn signed(call: ChaincodeMessage, proposal_bytes: Vec<u8>) -> ChaincodeMessage {
    ChaincodeMessage { proposal: Some(SignedProposal { proposal_bytes, signature: Vec::new() }), ..call }
}
