//! A ledger in memory, to test contracts without a peer.
//!
//! It answers as a peer does: reads give what is committed, and a call that fails changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;
use tenter_fabric_wire::protos::ChaincodeInput;
use tenter_fabric_wire::queryresult::Kv;
use tenter_fabric_wire::shim::chaincode_message::Type;
use tenter_fabric_wire::shim::{
    DelState, GetState, GetStateByRange, PutState, QueryMetadata, QueryResponse, QueryResponseMetadata,
    QueryResultBytes, QueryStateNext,
};

use crate::stub::Ask;
use crate::{Contract, ContractError, Stub};

/// Results of a range in one answer; a peer sends up to a hundred.
const RESULTS: usize = 2;

/// Values by collection and key; the collection of public values is empty.
type Values = BTreeMap<(String, String), Vec<u8>>;

/// The committed state.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    values: Values,
    event: Option<(String, Vec<u8>)>,
}

impl Ledger {
    /// Calls the contract, and commits what it writes if it succeeds.
    pub fn invoke(
        &mut self,
        contract: &impl Contract,
        function: &str,
        arguments: &[&str],
    ) -> Result<Vec<u8>, ContractError> {
        let args = [function].iter().chain(arguments).map(|text| text.as_bytes().to_vec()).collect();
        let input = ChaincodeInput { args, ..ChaincodeInput::default() }.encode_to_vec();
        let simulation = Shared(Arc::new(Mutex::new(self.simulate())));
        let names = ("channel".to_owned(), "transaction".to_owned());
        let mut stub = Stub::new(names, &input, None, Box::new(simulation.clone()))?;
        let result = contract.invoke(&mut stub)?;
        self.event = stub.take_event().map(|event| (event.event_name, event.payload));
        self.commit(&simulation.lock());
        Ok(result)
    }

    /// A committed value.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.values.get(&(String::new(), key.to_owned())).map(Vec::as_slice)
    }

    /// Name and payload of the event of the last call that succeeded.
    pub fn event(&self) -> Option<(&str, &[u8])> {
        self.event.as_ref().map(|(name, payload)| (name.as_str(), payload.as_slice()))
    }

    /// A call's view of the state.
    pub fn simulate(&self) -> Simulation {
        Simulation { values: self.values.clone(), ..Simulation::default() }
    }

    /// Makes what a call has written the state.
    pub fn commit(&mut self, simulation: &Simulation) {
        for (key, value) in &simulation.writes {
            match value {
                Some(value) if !value.is_empty() => self.values.insert(key.clone(), value.clone()),
                _ => self.values.remove(key),
            };
        }
    }
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Simulation>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Simulation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ask for Shared {
    fn ask(&mut self, request: Type, payload: Vec<u8>) -> Result<Vec<u8>, ContractError> {
        self.lock().answer(request, &payload).map_err(ContractError::Peer)
    }
}

/// A call's view of the state, and what it has written.
#[derive(Debug, Default)]
pub struct Simulation {
    values: Values,
    writes: BTreeMap<(String, String), Option<Vec<u8>>>,
    queries: BTreeMap<String, Vec<Kv>>,
    paged: bool,
}

impl Simulation {
    /// Answers a request as the peer does: the payload of RESPONSE, or the text of ERROR.
    pub fn answer(&mut self, request: Type, payload: &[u8]) -> Result<Vec<u8>, String> {
        match request {
            Type::GetState => {
                let GetState { key, collection } = decode(payload)?;
                Ok(self.values.get(&(collection, key)).cloned().unwrap_or_default())
            }
            Type::PutState => {
                let PutState { key, value, collection } = decode(payload)?;
                self.write((collection, key), Some(value))
            }
            Type::DelState => {
                let DelState { key, collection } = decode(payload)?;
                self.write((collection, key), None)
            }
            Type::GetStateByRange => self.range(&decode(payload)?),
            Type::QueryStateNext => {
                let QueryStateNext { id } = decode(payload)?;
                let rest = self.queries.remove(&id).ok_or("query iterator not found")?;
                Ok(self.results(id, rest))
            }
            other => Err(format!("this ledger does not know {}", other.as_str_name())),
        }
    }

    fn write(&mut self, key: (String, String), value: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
        if self.paged {
            return Err("Transaction has already performed a paginated query. Writes are not allowed".to_owned());
        }
        self.writes.insert(key, value);
        Ok(Vec::new())
    }

    fn range(&mut self, request: &GetStateByRange) -> Result<Vec<u8>, String> {
        let page: QueryMetadata = decode(&request.metadata)?;
        let start = if page.bookmark.is_empty() { &request.start_key } else { &page.bookmark };
        let mut found: Vec<Kv> = self
            .values
            .iter()
            .filter(|((collection, key), _)| *collection == request.collection && key >= start)
            .filter(|((_, key), _)| request.end_key.is_empty() || *key < request.end_key)
            .map(|((_, key), value)| Kv { key: key.clone(), value: value.clone(), ..Kv::default() })
            .collect();
        let size = usize::try_from(page.page_size).map_err(|error| error.to_string())?;
        if size == 0 {
            let id = self.queries.len().to_string();
            return Ok(self.results(id, found));
        }
        self.paged = true;
        let rest = found.split_off(size.min(found.len()));
        let bookmark = rest.into_iter().next().map(|next| next.key).unwrap_or_default();
        let fetched_records_count = i32::try_from(found.len()).map_err(|error| error.to_string())?;
        let metadata = QueryResponseMetadata { fetched_records_count, bookmark }.encode_to_vec();
        Ok(QueryResponse { results: encoded(&found), metadata, ..QueryResponse::default() }.encode_to_vec())
    }

    /// The next results; the others wait to be asked for.
    fn results(&mut self, id: String, mut found: Vec<Kv>) -> Vec<u8> {
        let rest = found.split_off(RESULTS.min(found.len()));
        let has_more = !rest.is_empty();
        if has_more {
            self.queries.insert(id.clone(), rest);
        }
        QueryResponse { results: encoded(&found), has_more, id, metadata: Vec::new() }.encode_to_vec()
    }
}

fn encoded(found: &[Kv]) -> Vec<QueryResultBytes> {
    found.iter().map(|kv| QueryResultBytes { result_bytes: kv.encode_to_vec() }).collect()
}

fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, String> {
    M::decode(payload).map_err(|error| format!("unmarshal failed: {error}"))
}
