//! One connection of a peer, from REGISTER to its end (`fabric-chaincode-go`, `shim/handler.go`).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use tenter_fabric_wire::protos::{ChaincodeId, Response};
use tenter_fabric_wire::shim::ChaincodeMessage;
use tenter_fabric_wire::shim::chaincode_message::Type;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::{Status, Streaming};

use crate::stub::Ask;
use crate::{Contract, ContractError, Stub};

/// The largest message either way, as in Fabric. One that is larger would end the stream, and with it other calls.
pub(crate) const LARGEST_MESSAGE: usize = 100 * 1024 * 1024;
const OK: i32 = 200;
const FAILED: i32 = 500;

/// Messages to the peer; what is an error ends the stream.
pub(crate) type Outgoing = mpsc::Sender<Result<ChaincodeMessage, Status>>;

/// Channel and transaction id: what tells the calls of a connection apart.
type Key = (String, String);

/// The calls that run, each with the place where it waits for an answer; none once the connection has ended.
type Running = Option<BTreeMap<Key, Option<SyncSender<ChaincodeMessage>>>>;

/// What a running call needs of its connection.
#[derive(Debug, Clone)]
struct Link {
    outgoing: Outgoing,
    running: Arc<Mutex<Running>>,
}

impl Link {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a call as running; `false` if it does already.
    fn begin(&self, key: &Key) -> bool {
        match self.running().as_mut() {
            Some(running) if !running.contains_key(key) => {
                running.insert(key.clone(), None);
                true
            }
            _ => false,
        }
    }

    fn finish(&self, key: &Key) {
        if let Some(running) = self.running().as_mut() {
            running.remove(key);
        }
    }

    /// Hands an answer to the call that waits for it.
    fn answer(&self, message: ChaincodeMessage) {
        let key = (message.channel_id.clone(), message.txid.clone());
        let waiting = self.running().as_mut().and_then(|running| running.get_mut(&key)).and_then(Option::take);
        if let Some(waiting) = waiting {
            // A receiver that is gone belongs to a call that has ended.
            let _ = waiting.send(message);
        } else {
            tracing::warn!(channel = key.0, transaction = key.1, "dropped an answer that no call waits for");
        }
    }
}

/// A running call's way to the peer.
struct Caller {
    link: Link,
    key: Key,
}

impl Ask for Caller {
    fn ask(&mut self, request: Type, payload: Vec<u8>) -> Result<Vec<u8>, ContractError> {
        let message = message(request, &self.key, payload);
        if message.encoded_len() > LARGEST_MESSAGE {
            return Err(format!("{} is larger than a message may be", request.as_str_name()).into());
        }
        let (sender, receiver) = sync_channel(1);
        match self.link.running().as_mut().and_then(|running| running.get_mut(&self.key)) {
            Some(waiting) => *waiting = Some(sender),
            None => return Err(ContractError::Disconnected),
        }
        self.link.outgoing.blocking_send(Ok(message)).map_err(|_| ContractError::Disconnected)?;
        let answer = receiver.recv().map_err(|_| ContractError::Disconnected)?;
        if answer.r#type == Type::Response as i32 {
            Ok(answer.payload)
        } else {
            Err(ContractError::Peer(String::from_utf8_lossy(&answer.payload).into_owned()))
        }
    }
}

fn message(kind: Type, (channel, transaction): &Key, payload: Vec<u8>) -> ChaincodeMessage {
    ChaincodeMessage {
        r#type: kind as i32,
        payload,
        txid: transaction.clone(),
        channel_id: channel.clone(),
        ..ChaincodeMessage::default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// REGISTER is sent.
    Created,
    /// The peer has confirmed.
    Established,
    /// Calls may come.
    Ready,
}

/// A connection of a peer.
pub(crate) struct Connection<C> {
    contract: Arc<C>,
    link: Link,
    state: State,
    calls: JoinSet<()>,
    stopping: bool,
}

impl<C> Drop for Connection<C> {
    fn drop(&mut self) {
        // Calls that wait for an answer find their sender gone.
        *self.link.running() = None;
    }
}

impl<C: Contract> Connection<C> {
    pub(crate) fn new(contract: Arc<C>, outgoing: Outgoing) -> Self {
        let link = Link { outgoing, running: Arc::new(Mutex::new(Some(BTreeMap::new()))) };
        Self { contract, link, state: State::Created, calls: JoinSet::new(), stopping: false }
    }

    /// Registers, and handles what the peer sends until it goes away or `stop` turns true and no call runs any more.
    pub(crate) async fn run(
        mut self,
        package_id: &str,
        mut incoming: Streaming<ChaincodeMessage>,
        mut stop: watch::Receiver<bool>,
    ) {
        let id = ChaincodeId { name: package_id.to_owned(), ..ChaincodeId::default() };
        let register = message(Type::Register, &Key::default(), id.encode_to_vec());
        if self.link.outgoing.send(Ok(register)).await.is_err() {
            return;
        }
        loop {
            if self.stopping && self.calls.is_empty() {
                return;
            }
            tokio::select! {
                () = stopped(&mut stop), if !self.stopping => self.stopping = true,
                Some(_) = self.calls.join_next() => {}
                received = incoming.message() => match received {
                    Ok(Some(message)) => {
                        if let Err(error) = self.handle(message).await {
                            tracing::warn!(error, "a peer breaks the protocol: the connection ends");
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(status) => {
                        tracing::info!(reason = status.message(), "a peer is gone");
                        return;
                    }
                },
            }
        }
    }

    /// Handles one message; an error ends the connection.
    async fn handle(&mut self, message: ChaincodeMessage) -> Result<(), String> {
        let kind = Type::try_from(message.r#type).ok();
        match (self.state, kind) {
            (_, Some(Type::Keepalive)) => {
                // Where it cannot be sent, the next look at the stream says why.
                let _ = self.link.outgoing.send(Ok(message)).await;
            }
            (State::Created, Some(Type::Registered)) => self.state = State::Established,
            (State::Established, Some(Type::Ready)) => {
                // Its payload offers WRITE_BATCH_STATE and GET_STATE_MULTIPLE, which a chaincode may leave alone.
                tracing::info!("a peer is connected");
                self.state = State::Ready;
            }
            (State::Ready, Some(Type::Response | Type::Error)) => self.link.answer(message),
            (State::Ready, Some(kind @ (Type::Transaction | Type::Init))) => self.call(kind, message).await,
            (state, kind) => {
                let name = kind.map_or_else(|| message.r#type.to_string(), |kind| kind.as_str_name().to_owned());
                let error = format!("a chaincode in state {state:?} takes no message of type {name}");
                let key = (message.channel_id, message.txid);
                let _ = self.link.outgoing.send(Ok(self::message(Type::Error, &key, error.clone().into_bytes()))).await;
                let _ = self.link.outgoing.send(Err(Status::failed_precondition(error.clone()))).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Starts a call on a thread of its own, or says why not.
    async fn call(&mut self, kind: Type, message: ChaincodeMessage) {
        let ChaincodeMessage { payload, txid, proposal, channel_id, .. } = message;
        let key = (channel_id, txid);
        let refusal = if self.stopping {
            "the chaincode is stopping"
        } else if !self.link.begin(&key) {
            "a call of this transaction is running already"
        } else {
            let (contract, link) = (self.contract.clone(), self.link.clone());
            self.calls.spawn_blocking(move || {
                let caller = Box::new(Caller { link: link.clone(), key: key.clone() });
                let outcome = match Stub::new(key.clone(), &payload, proposal.as_ref(), caller) {
                    Ok(stub) => execute(&*contract, kind, stub, &key),
                    Err(error) => self::message(Type::Error, &key, error.into_bytes()),
                };
                link.finish(&key);
                // A peer that is gone needs no answer.
                let _ = link.outgoing.blocking_send(Ok(outcome));
            });
            return;
        };
        let _ = self.link.outgoing.send(Ok(self::message(Type::Error, &key, refusal.into()))).await;
    }
}

/// Waits until the server stops; one that is gone has stopped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Runs the contract and makes its outcome the message that ends the call.
fn execute<C: Contract>(contract: &C, kind: Type, mut stub: Stub, key: &Key) -> ChaincodeMessage {
    let call = if kind == Type::Init { C::init } else { C::invoke };
    // Nothing of the stub is used after a panic but the event, which is whole or absent.
    let result = catch_unwind(AssertUnwindSafe(|| call(contract, &mut stub)))
        .unwrap_or_else(|_| Err(ContractError::new("the contract panicked; its log says why")));
    let chaincode_event = stub.take_event();
    let ended = match result {
        Ok(payload) => completed(key, OK, String::new(), payload),
        // The peer wants a failed initialisation as ERROR (`handler.go`, `handleInit`).
        Err(error) if kind == Type::Init => message(Type::Error, key, error.to_string().into_bytes()),
        Err(error) => completed(key, FAILED, error.to_string(), Vec::new()),
    };
    let ended = ChaincodeMessage { chaincode_event, ..ended };
    if ended.encoded_len() > LARGEST_MESSAGE {
        return completed(key, FAILED, "the result is larger than a message may be".to_owned(), Vec::new());
    }
    ended
}

fn completed(key: &Key, status: i32, text: String, payload: Vec<u8>) -> ChaincodeMessage {
    message(Type::Completed, key, Response { status, message: text, payload }.encode_to_vec())
}
