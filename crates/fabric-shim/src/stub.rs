//! What a contract sees of a call and of the ledger.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use prost::Message;
use tenter_fabric_wire::common::{ChannelHeader, Header, HeaderType, SignatureHeader};
use tenter_fabric_wire::msp::SerializedIdentity;
use tenter_fabric_wire::protos::{ChaincodeEvent, ChaincodeInput, ChaincodeProposalPayload, Proposal, SignedProposal};
use tenter_fabric_wire::queryresult::Kv;
use tenter_fabric_wire::shim::chaincode_message::Type;
use tenter_fabric_wire::shim::{
    DelState, GetState, GetStateByRange, PutState, QueryMetadata, QueryResponse, QueryResponseMetadata, QueryStateNext,
};

use crate::ContractError;

/// The key from which a range without a start begins: keys below are composite keys.
const FIRST_KEY: &str = "\u{1}";

/// Carries a stub's requests to the peer, one at a time.
pub(crate) trait Ask: Send {
    /// Sends a request and waits for the payload of the answer.
    fn ask(&mut self, request: Type, payload: Vec<u8>) -> Result<Vec<u8>, ContractError>;
}

/// Who signed the proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creator {
    /// MSP of the creator's organisation.
    pub msp_id: String,
    /// The certificate, in PEM.
    pub certificate: Vec<u8>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// Its value; never empty.
    pub value: Vec<u8>,
}

/// One page of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries, in the order of their keys.
    pub entries: Vec<KeyValue>,
    /// Where the next page begins; empty after the last one.
    pub bookmark: String,
}

/// One call of a contract: its arguments, and the ledger as the peer shows it.
///
/// Reads give what is committed: a value that this call has written is not seen before the transaction is in a block.
pub struct Stub {
    channel: String,
    transaction: String,
    function: String,
    arguments: Vec<Vec<u8>>,
    proposal: ProposalFacts,
    event: Option<ChaincodeEvent>,
    peer: Box<dyn Ask>,
}

impl std::fmt::Debug for Stub {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { channel, transaction, function, arguments: _, proposal: _, event: _, peer: _ } = self;
        formatter
            .debug_struct("Stub")
            .field("channel", channel)
            .field("transaction", transaction)
            .field("function", function)
            .finish_non_exhaustive()
    }
}

impl Stub {
    /// The stub of a TRANSACTION or INIT message.
    pub(crate) fn new(
        (channel, transaction): (String, String),
        payload: &[u8],
        proposal: Option<&SignedProposal>,
        peer: Box<dyn Ask>,
    ) -> Result<Self, String> {
        let input =
            ChaincodeInput::decode(payload).map_err(|error| format!("the arguments cannot be read: {error}"))?;
        let proposal = proposal.map_or_else(|| Ok(ProposalFacts::default()), ProposalFacts::read)?;
        let mut arguments = input.args.into_iter();
        let function = arguments.next().unwrap_or_default();
        Ok(Self {
            channel,
            transaction,
            function: String::from_utf8_lossy(&function).into_owned(),
            arguments: arguments.collect(),
            proposal,
            event: None,
            peer,
        })
    }

    /// The channel.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Id of the transaction.
    pub fn transaction_id(&self) -> &str {
        &self.transaction
    }

    /// The first argument: what is called.
    pub fn function(&self) -> &str {
        &self.function
    }

    /// The arguments after the function's name.
    pub fn arguments(&self) -> &[Vec<u8>] {
        &self.arguments
    }

    /// The arguments as text; refuses the call when there are more or less than `N`.
    pub fn parameters<const N: usize>(&self) -> Result<[String; N], ContractError> {
        let texts = self.arguments.iter().map(|argument| String::from_utf8(argument.clone()));
        let texts: Vec<String> = texts
            .collect::<Result<_, _>>()
            .map_err(|_| format!("{} takes text, and an argument is not UTF-8", self.function))?;
        texts.try_into().map_err(|texts: Vec<String>| {
            let plural = if N == 1 { "" } else { "s" };
            ContractError::new(format!("{} takes {N} argument{plural}, not {}", self.function, texts.len()))
        })
    }

    /// Who signed the proposal; none where the peer itself calls.
    pub fn creator(&self) -> Option<&Creator> {
        self.proposal.creator.as_ref()
    }

    /// When the client made the proposal, by its own clock: the same for every peer.
    pub fn timestamp(&self) -> Option<SystemTime> {
        self.proposal.timestamp
    }

    /// What the client sent beside the arguments; it stays out of the block.
    pub fn transient(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.proposal.transient
    }

    /// Sets the transaction's event; the last one counts.
    pub fn set_event(&mut self, name: &str, payload: impl Into<Vec<u8>>) -> Result<(), ContractError> {
        if name.is_empty() {
            return Err("an event must have a name".into());
        }
        self.event =
            Some(ChaincodeEvent { event_name: name.to_owned(), payload: payload.into(), ..ChaincodeEvent::default() });
        Ok(())
    }

    /// The value of a key. Fabric does not tell an empty value from none.
    pub fn get_state(&mut self, key: &str) -> Result<Option<Vec<u8>>, ContractError> {
        self.get("", key)
    }

    /// Sets a key.
    pub fn put_state(&mut self, key: &str, value: impl Into<Vec<u8>>) -> Result<(), ContractError> {
        self.put("", key, value.into())
    }

    /// Deletes a key; it need not be there.
    pub fn delete_state(&mut self, key: &str) -> Result<(), ContractError> {
        self.delete("", key)
    }

    /// The keys from `start` up to `end`, which is left out; empty means from the first and to the last key.
    ///
    /// The peer gives up to `ledger.state.totalQueryLimit` entries (100,000 unless set), and says nothing when there
    /// are more.
    pub fn get_state_by_range(&mut self, start: &str, end: &str) -> Result<Vec<KeyValue>, ContractError> {
        let mut answer = self.range(start, end, Vec::new())?;
        let mut entries = Vec::new();
        loop {
            if answer.results.is_empty() && answer.has_more {
                return Err(ContractError::Answer { request: "a range", problem: "promises more and gives nothing" });
            }
            append(&mut entries, &answer)?;
            if !answer.has_more {
                return Ok(entries);
            }
            let next = QueryStateNext { id: answer.id };
            answer = decode("a range", &self.peer.ask(Type::QueryStateNext, next.encode_to_vec())?)?;
        }
    }

    /// One page of at most `size` keys from `start` up to `end`; `bookmark` is that of the page before, or empty.
    ///
    /// For queries alone: the peer refuses to write after it.
    pub fn get_state_page(&mut self, start: &str, end: &str, size: u16, bookmark: &str) -> Result<Page, ContractError> {
        if size == 0 {
            // The peer would take it for a range without pages.
            return Err("a page must have room for an entry".into());
        }
        let page = QueryMetadata { page_size: i32::from(size), bookmark: bookmark.to_owned() };
        let answer = self.range(start, end, page.encode_to_vec())?;
        let mut entries = Vec::new();
        append(&mut entries, &answer)?;
        let end: QueryResponseMetadata = decode("a page", &answer.metadata)?;
        Ok(Page { entries, bookmark: end.bookmark })
    }

    /// The value of a key of a private data collection.
    pub fn get_private(&mut self, collection: &str, key: &str) -> Result<Option<Vec<u8>>, ContractError> {
        self.get(named(collection)?, key)
    }

    /// Sets a key of a private data collection. Private values belong in [`transient`](Self::transient) data.
    pub fn put_private(&mut self, collection: &str, key: &str, value: impl Into<Vec<u8>>) -> Result<(), ContractError> {
        self.put(named(collection)?, key, value.into())
    }

    /// Deletes a key of a private data collection; it need not be there.
    pub fn delete_private(&mut self, collection: &str, key: &str) -> Result<(), ContractError> {
        self.delete(named(collection)?, key)
    }

    /// The event that the contract has set.
    pub(crate) fn take_event(&mut self) -> Option<ChaincodeEvent> {
        self.event.take()
    }

    fn get(&mut self, collection: &str, key: &str) -> Result<Option<Vec<u8>>, ContractError> {
        let request = GetState { key: key.to_owned(), collection: collection.to_owned() };
        let value = self.peer.ask(Type::GetState, request.encode_to_vec())?;
        Ok((!value.is_empty()).then_some(value))
    }

    fn put(&mut self, collection: &str, key: &str, value: Vec<u8>) -> Result<(), ContractError> {
        if key.is_empty() {
            return Err("a key must not be empty".into());
        }
        let request = PutState { key: key.to_owned(), value, collection: collection.to_owned() };
        self.peer.ask(Type::PutState, request.encode_to_vec()).map(drop)
    }

    fn delete(&mut self, collection: &str, key: &str) -> Result<(), ContractError> {
        let request = DelState { key: key.to_owned(), collection: collection.to_owned() };
        self.peer.ask(Type::DelState, request.encode_to_vec()).map(drop)
    }

    fn range(&mut self, start: &str, end: &str, metadata: Vec<u8>) -> Result<QueryResponse, ContractError> {
        if start.starts_with('\0') || end.starts_with('\0') {
            return Err("a range must not begin or end within the composite keys".into());
        }
        let start = if start.is_empty() { FIRST_KEY } else { start };
        let request = GetStateByRange {
            start_key: start.to_owned(),
            end_key: end.to_owned(),
            collection: String::new(),
            metadata,
        };
        decode("a range", &self.peer.ask(Type::GetStateByRange, request.encode_to_vec())?)
    }
}

fn named(collection: &str) -> Result<&str, ContractError> {
    if collection.is_empty() { Err("a collection must have a name".into()) } else { Ok(collection) }
}

fn decode<M: Message + Default>(request: &'static str, bytes: &[u8]) -> Result<M, ContractError> {
    M::decode(bytes).map_err(|_| ContractError::Answer { request, problem: "cannot be read" })
}

fn append(entries: &mut Vec<KeyValue>, answer: &QueryResponse) -> Result<(), ContractError> {
    for result in &answer.results {
        let Kv { namespace: _, key, value } = decode("a range", &result.result_bytes)?;
        entries.push(KeyValue { key, value });
    }
    Ok(())
}

/// What the signed proposal says.
#[derive(Debug, Default)]
struct ProposalFacts {
    creator: Option<Creator>,
    timestamp: Option<SystemTime>,
    transient: BTreeMap<String, Vec<u8>>,
}

impl ProposalFacts {
    /// Takes a proposal apart (`fabric-chaincode-go`, `shim/stub.go`); the peer has verified it.
    fn read(signed: &SignedProposal) -> Result<Self, String> {
        fn part<M: Message + Default>(what: &str, bytes: &[u8]) -> Result<M, String> {
            M::decode(bytes).map_err(|error| format!("the proposal's {what} cannot be read: {error}"))
        }
        let proposal: Proposal = part("envelope", &signed.proposal_bytes)?;
        if proposal.header.is_empty() {
            return Err("the proposal has no header".to_owned());
        }
        let header: Header = part("header", &proposal.header)?;
        let channel: ChannelHeader = part("channel header", &header.channel_header)?;
        let (transaction, config) = (HeaderType::EndorserTransaction as i32, HeaderType::Config as i32);
        if channel.r#type != transaction && channel.r#type != config {
            return Err(format!("a proposal of type {} calls no chaincode", channel.r#type));
        }
        let signature: SignatureHeader = part("signature header", &header.signature_header)?;
        let identity: SerializedIdentity = part("creator", &signature.creator)?;
        let payload: ChaincodeProposalPayload = part("payload", &proposal.payload)?;
        let timestamp = channel.timestamp.and_then(|at| {
            let since = Duration::new(u64::try_from(at.seconds).ok()?, u32::try_from(at.nanos).ok()?);
            SystemTime::UNIX_EPOCH.checked_add(since)
        });
        Ok(Self {
            creator: Some(Creator { msp_id: identity.mspid, certificate: identity.id_bytes }),
            timestamp,
            transient: payload.transient_map,
        })
    }
}
