//! The peer's side of the stream to a chaincode (Fabric `core/chaincode/handler.go`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use tenter_fabric_wire::protos::ChaincodeSpec;
use tenter_fabric_wire::queryresult::Kv;
use tenter_fabric_wire::shim::chaincode_message::Type;
use tenter_fabric_wire::shim::{
    ChaincodeMessage, DelState, GetState, GetStateByRange, GetStateMultiple, GetStateMultipleResult, PutState,
    QueryMetadata, QueryResponse, QueryResponseMetadata, QueryResultBytes, QueryStateClose, QueryStateNext,
    WriteBatchState, write_record,
};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Streaming;

use super::acl;
use super::chaincode::{Chaincodes, SYSTEM, Transaction};
use super::simulate::{Found, SimulationError};
use crate::channel::UNREADABLE;

/// How many results go in one message.
const BATCH: usize = 100;

/// What READY tells a chaincode.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Additional {
    /// Whether writes may come in batches.
    #[prost(bool, tag = "1")]
    pub use_write_batch: bool,
    /// How many at most.
    #[prost(uint32, tag = "2")]
    pub max_size_write_batch: u32,
    /// Whether keys may be read in batches.
    #[prost(bool, tag = "3")]
    pub use_get_multiple_keys: bool,
    /// How many at most.
    #[prost(uint32, tag = "4")]
    pub max_size_get_multiple_keys: u32,
}

/// Where a query's results come from.
#[derive(Debug)]
enum Results {
    Public(usize),
    Private(VecDeque<Found>),
}

#[derive(Debug)]
struct Query {
    results: Results,
    pending: Vec<QueryResultBytes>,
    total: usize,
    paged: bool,
    limit: usize,
}

/// A call that the chaincode works on.
#[derive(Debug)]
struct Call {
    transaction: Arc<Transaction>,
    namespace: String,
    is_init: bool,
    queries: Mutex<BTreeMap<String, Query>>,
    done: Mutex<Option<oneshot::Sender<ChaincodeMessage>>>,
}

/// Calls by channel and transaction.
type Calls = Mutex<BTreeMap<(String, String), Arc<Call>>>;

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    chaincodes: Arc<Chaincodes>,
    sender: mpsc::Sender<ChaincodeMessage>,
    calls: Calls,
    closed: watch::Sender<bool>,
}

fn parse<T: Message + Default>(payload: &[u8]) -> Result<T, String> {
    T::decode(payload).map_err(|_| format!("unmarshal failed: {UNREADABLE}"))
}

fn text(error: SimulationError) -> String {
    error.0
}

impl Stream {
    /// Serves the chaincode until the stream ends.
    pub fn run(
        chaincodes: Arc<Chaincodes>,
        sender: mpsc::Sender<ChaincodeMessage>,
        mut replies: Streaming<ChaincodeMessage>,
    ) -> Arc<Self> {
        let stream = Arc::new(Self { chaincodes, sender, calls: Calls::default(), closed: watch::Sender::new(false) });
        let serving = stream.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = replies.message().await {
                if !serving.clone().handle(message).await {
                    break;
                }
            }
            serving.closed.send_replace(true);
        });
        stream
    }

    /// Whether it can be used.
    pub fn is_open(&self) -> bool {
        !*self.closed.borrow() && !self.sender.is_closed()
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Arc<Call>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a call and waits for its end.
    pub async fn execute(
        &self,
        transaction: &Arc<Transaction>,
        namespace: &str,
        message: ChaincodeMessage,
        timeout: Duration,
    ) -> Result<ChaincodeMessage, String> {
        let key = (message.channel_id.clone(), message.txid.clone());
        let (done, answer) = oneshot::channel();
        let call = Arc::new(Call {
            transaction: transaction.clone(),
            namespace: namespace.to_owned(),
            is_init: message.r#type == Type::Init as i32,
            queries: Mutex::default(),
            done: Mutex::new(Some(done)),
        });
        {
            let mut calls = self.calls();
            if calls.contains_key(&key) {
                return Err(format!("txid: {}({}) exists", message.txid, message.channel_id));
            }
            calls.insert(key.clone(), call);
        }
        let mut closed = self.closed.subscribe();
        let terminated = || Err("chaincode stream terminated".to_owned());
        let ended = if self.sender.send(message).await.is_err() {
            terminated()
        } else {
            tokio::select! {
                answer = answer => answer.or_else(|_| terminated()),
                _ = closed.wait_for(|closed| *closed) => terminated(),
                () = tokio::time::sleep(timeout) => Err("timeout expired while executing transaction".to_owned()),
            }
        };
        self.calls().remove(&key);
        ended
    }

    /// Handles one message; whether the stream goes on.
    async fn handle(self: Arc<Self>, message: ChaincodeMessage) -> bool {
        let Ok(kind) = Type::try_from(message.r#type) else { return false };
        match kind {
            Type::Keepalive => return true,
            Type::Undefined
            | Type::Register
            | Type::Registered
            | Type::Init
            | Type::Ready
            | Type::Transaction
            | Type::Response => {
                tracing::error!(kind = kind.as_str_name(), "cannot handle this message while in ready state");
                return false;
            }
            _ => {}
        }
        let call = self.calls().get(&(message.channel_id.clone(), message.txid.clone())).cloned();
        if [Type::Completed, Type::Error].contains(&kind) {
            let done = call.and_then(|call| call.done.lock().unwrap_or_else(PoisonError::into_inner).take());
            if let Some(done) = done {
                let _ = done.send(message);
            }
            return true;
        }
        if kind == Type::InvokeChaincode {
            // The called chaincode may be on this very stream: it must go on meanwhile.
            tokio::spawn(async move {
                let answer: Result<Vec<u8>, String> = match call {
                    Some(call) => Box::pin(self.invoke(&call, &message.payload)).await,
                    None => Err("could not get valid transaction".to_owned()),
                };
                let _ = self.sender.send(reply(kind, &message, answer)).await;
            });
            return true;
        }
        let answer = match call {
            Some(call) => self.serve(&call, kind, &message.payload),
            None => Err("no ledger context".to_owned()),
        };
        self.sender.send(reply(kind, &message, answer)).await.is_ok()
    }

    /// Everything that needs no waiting.
    fn serve(&self, call: &Call, kind: Type, payload: &[u8]) -> Result<Vec<u8>, String> {
        let namespace = &call.namespace;
        let unsupported = || Err(format!("{} is not supported by the simulated peer", kind.as_str_name()));
        match kind {
            Type::GetState => {
                let GetState { key, collection } = parse(payload)?;
                Ok(call.get(&key, &collection)?.unwrap_or_default())
            }
            Type::GetStateMultiple => {
                let GetStateMultiple { keys, collection } = parse(payload)?;
                let values = keys
                    .iter()
                    .map(|key| Ok(call.get(key, &collection)?.unwrap_or_default()))
                    .collect::<Result<_, String>>()?;
                Ok(GetStateMultipleResult { values }.encode_to_vec())
            }
            Type::GetPrivateDataHash => {
                let GetState { key, collection } = parse(payload)?;
                if call.is_init {
                    return Err(NO_PRIVATE_IN_INIT.to_owned());
                }
                call.transaction.collection(namespace, &collection).map_err(|_| {
                    format!(
                        "collection [{collection}] not defined in the collection config for chaincode [{namespace}]"
                    )
                })?;
                let mut simulator = call.transaction.simulator();
                Ok(simulator.get_private_hash(namespace, &collection, &key).unwrap_or_default())
            }
            Type::PutState => {
                let PutState { key, value, collection } = parse(payload)?;
                call.put(&key, &collection, value).map(|()| Vec::new())
            }
            Type::DelState => {
                let DelState { key, collection } = parse(payload)?;
                call.put(&key, &collection, Vec::new()).map(|()| Vec::new())
            }
            Type::WriteBatchState => {
                let WriteBatchState { rec } = parse(payload)?;
                for record in rec {
                    match write_record::Type::try_from(record.r#type) {
                        Ok(write_record::Type::PutState) => call.put(&record.key, &record.collection, record.value)?,
                        Ok(write_record::Type::DelState) => call.put(&record.key, &record.collection, Vec::new())?,
                        Ok(write_record::Type::Undefined) | Err(_) => {
                            return Err("unknown operation type".to_owned());
                        }
                        Ok(other) => {
                            return Err(format!("{} is not supported by the simulated peer", other.as_str_name()));
                        }
                    }
                }
                Ok(Vec::new())
            }
            Type::GetStateByRange => self.range(call, &parse(payload)?),
            Type::QueryStateNext => {
                let QueryStateNext { id } = parse(payload)?;
                let query = call.queries().remove(&id).ok_or("query iterator not found")?;
                Ok(call.answer(id, query))
            }
            Type::QueryStateClose => {
                let QueryStateClose { id } = parse(payload)?;
                call.queries().remove(&id);
                Ok(QueryResponse { id, ..QueryResponse::default() }.encode_to_vec())
            }
            Type::GetQueryResult => Err("ExecuteQuery not supported for leveldb".to_owned()),
            _ => unsupported(),
        }
    }

    fn range(&self, call: &Call, asked: &GetStateByRange) -> Result<Vec<u8>, String> {
        let metadata: QueryMetadata = parse(&asked.metadata)?;
        let paged = asked.collection.is_empty() && (metadata.page_size != 0 || !metadata.bookmark.is_empty());
        let most = self.chaincodes.settings.total_query_limit;
        let page = usize::try_from(metadata.page_size).ok().filter(|size| *size > 0);
        let limit = page.map_or(most, |page| page.min(most));
        let namespace = &call.namespace;
        let (start, end) = (&asked.start_key, &asked.end_key);
        let results = if asked.collection.is_empty() {
            let start = if paged && !metadata.bookmark.is_empty() { &metadata.bookmark } else { start };
            let most_of_page = paged.then_some(page.unwrap_or(usize::MAX));
            let mut simulator = call.transaction.simulator();
            Results::Public(simulator.scan(namespace, start, end, most_of_page).map_err(text)?)
        } else {
            call.may_use(&asked.collection, false)?;
            let mut simulator = call.transaction.simulator();
            Results::Private(simulator.range_private(namespace, &asked.collection, start, end).map_err(text)?.into())
        };
        let id = hex::encode(rand::random::<[u8; 16]>());
        Ok(call.answer(id, Query { results, pending: Vec::new(), total: 0, paged, limit }))
    }

    async fn invoke(&self, call: &Call, payload: &[u8]) -> Result<Vec<u8>, String> {
        let spec: ChaincodeSpec = parse(payload)?;
        let full = spec.chaincode_id.unwrap_or_default().name;
        let (target, channel) = full.split_once('/').map_or((full.as_str(), ""), |(name, channel)| (name, channel));
        let name = target.split_once(':').map_or(target, |(name, _)| name);
        let transaction = &call.transaction;
        if !channel.is_empty() && channel != transaction.bundle.channel {
            return Err("calls of chaincode in other channels are not supported by the simulated peer".to_owned());
        }
        if SYSTEM.contains(&name) {
            return Err("calls of system chaincode are not supported by the simulated peer".to_owned());
        }
        acl::check_signed(&transaction.bundle, "peer/ChaincodeToChaincode", &transaction.signed)?;
        let input = spec.input.unwrap_or_default();
        let answer = self
            .chaincodes
            .invoke(transaction, name, &input)
            .await
            .map_err(|text| format!("execute failed: {text}"))?;
        Ok(answer.encode_to_vec())
    }
}

const NO_PRIVATE_IN_INIT: &str = "private data APIs are not allowed in chaincode Init()";

fn reply(kind: Type, to: &ChaincodeMessage, answer: Result<Vec<u8>, String>) -> ChaincodeMessage {
    let (r#type, payload) = match answer {
        Ok(payload) => (Type::Response, payload),
        Err(reason) => {
            let text = format!("{} failed: transaction ID: {}: {reason}", kind.as_str_name(), to.txid);
            tracing::warn!(reason = text, "a chaincode's request is refused");
            (Type::Error, text.into_bytes())
        }
    };
    ChaincodeMessage {
        r#type: r#type as i32,
        payload,
        txid: to.txid.clone(),
        channel_id: to.channel_id.clone(),
        ..ChaincodeMessage::default()
    }
}

impl Call {
    fn queries(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Query>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_use(&self, collection: &str, write: bool) -> Result<(), String> {
        if self.is_init {
            return Err(NO_PRIVATE_IN_INIT.to_owned());
        }
        self.transaction.may_use(&self.namespace, collection, write)
    }

    fn get(&self, key: &str, collection: &str) -> Result<Option<Vec<u8>>, String> {
        if collection.is_empty() {
            return Ok(self.transaction.simulator().get(&self.namespace, key));
        }
        self.may_use(collection, false)?;
        self.transaction.simulator().get_private(&self.namespace, collection, key).map_err(text)
    }

    fn put(&self, key: &str, collection: &str, value: Vec<u8>) -> Result<(), String> {
        if collection.is_empty() {
            return self.transaction.simulator().put(&self.namespace, key, value).map_err(text);
        }
        self.may_use(collection, true)?;
        self.transaction.simulator().put_private(&self.namespace, collection, key, value).map_err(text)
    }

    fn next(&self, query: &mut Query) -> Option<QueryResultBytes> {
        let Found { key, value } = match &mut query.results {
            Results::Public(scan) => self.transaction.simulator().next(*scan),
            Results::Private(found) => found.pop_front(),
        }?;
        let kv = Kv { namespace: self.namespace.clone(), key, value };
        Some(QueryResultBytes { result_bytes: kv.encode_to_vec() })
    }

    /// The next results of a query; it is kept while there may be more (Fabric
    /// `core/chaincode/query_response_generator.go`).
    fn answer(&self, id: String, mut query: Query) -> Vec<u8> {
        while query.total < query.limit {
            let Some(result) = self.next(&mut query) else { break };
            query.total += 1;
            if !query.paged && query.pending.len() == BATCH {
                let results = std::mem::replace(&mut query.pending, vec![result]);
                self.queries().insert(id.clone(), query);
                return QueryResponse { results, has_more: true, id, metadata: Vec::new() }.encode_to_vec();
            }
            query.pending.push(result);
        }
        let metadata = if query.paged {
            let bookmark = match query.results {
                Results::Public(scan) => self.transaction.simulator().bookmark(scan),
                Results::Private(_) => String::new(),
            };
            let fetched_records_count = i32::try_from(query.total).unwrap_or(i32::MAX);
            QueryResponseMetadata { fetched_records_count, bookmark }.encode_to_vec()
        } else {
            Vec::new()
        };
        QueryResponse { results: query.pending, has_more: false, id, metadata }.encode_to_vec()
    }
}
