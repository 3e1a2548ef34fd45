//! Calls of chaincodes, their endorsements, the transactions made of both, and what blocks tell of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use prost::Message;
use tenter_fabric_wire::common::{ChannelHeader, Envelope, Header, HeaderType, Payload, SignatureHeader};
use tenter_fabric_wire::msp::SerializedIdentity;
use tenter_fabric_wire::protos::{
    ChaincodeAction, ChaincodeActionPayload, ChaincodeEndorsedAction, ChaincodeHeaderExtension, ChaincodeId,
    ChaincodeInput, ChaincodeInvocationSpec, ChaincodeProposalPayload, ChaincodeSpec, Endorsement, Proposal,
    ProposalResponse, ProposalResponsePayload, SignedProposal, Transaction, TransactionAction, TxValidationCode,
    chaincode_spec,
};
use tenter_fabric_wire::{kvrwset, rwset};

use super::lifecycle::LIFECYCLE;
use crate::block::Block;
use crate::hash::sha256_of;
use crate::header::channel_header;
use crate::identity::{self, IdentityError, NONCE_BYTES, PublicIdentity, SigningIdentity};
use crate::msp::Pem;

/// Statuses of a response that endorsers sign (`core/endorser/endorser.go`).
const ENDORSED: std::ops::Range<i32> = 200..400;

/// A call of a chaincode.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// Channel in the header; empty for what concerns the peer itself.
    pub channel: String,
    /// Chaincode.
    pub chaincode: String,
    /// Arguments; the first is the function's name.
    pub args: Vec<Vec<u8>>,
    /// Data for the endorsers only: it does not get into the transaction.
    pub transient: BTreeMap<String, Vec<u8>>,
    /// Whether this is the initialisation that a definition may require.
    pub is_init: bool,
}

impl fmt::Debug for Call {
    /// Without the values of the transient data.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Call")
            .field("channel", &self.channel)
            .field("function", &self.function())
            .field("args", &self.args.len())
            .field("transient", &self.transient.keys())
            .field("is_init", &self.is_init)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// A call of a function with these arguments.
    pub fn new(channel: &str, chaincode: &str, function: &str, args: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self {
            channel: channel.to_owned(),
            chaincode: chaincode.to_owned(),
            args: [function.as_bytes().to_vec()].into_iter().chain(args).collect(),
            transient: BTreeMap::new(),
            is_init: false,
        }
    }

    /// Chaincode and function, to be shown.
    pub fn function(&self) -> String {
        function(&self.chaincode, &self.args)
    }

    fn input(&self) -> Vec<u8> {
        let spec = ChaincodeSpec {
            r#type: chaincode_spec::Type::Golang.into(),
            chaincode_id: Some(chaincode_id(&self.chaincode)),
            input: Some(ChaincodeInput { args: self.args.clone(), is_init: self.is_init, ..ChaincodeInput::default() }),
            timeout: 0,
        };
        ChaincodeInvocationSpec { chaincode_spec: Some(spec) }.encode_to_vec()
    }
}

fn function(chaincode: &str, args: &[Vec<u8>]) -> String {
    let name = args.first().map(|arg| String::from_utf8_lossy(arg)).unwrap_or_default();
    format!("{chaincode}.{name}")
}

fn chaincode_id(name: &str) -> ChaincodeId {
    ChaincodeId { name: name.to_owned(), ..ChaincodeId::default() }
}

/// Why bytes are no signed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no signed call of a chaincode: {0}")]
pub struct SignedCallError(String);

/// A call that its caller has signed. The same one goes to every endorser.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedCall {
    call: Call,
    tx_id: String,
    channel_header: Vec<u8>,
    signature_header: Vec<u8>,
    creator: Vec<u8>,
    /// `ChaincodeProposalPayload.input`.
    input: Vec<u8>,
    proposal: Vec<u8>,
    signature: Vec<u8>,
}

impl fmt::Debug for SignedCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SignedCall")
            .field("tx_id", &self.tx_id)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

impl SignedCall {
    /// Signs a call. Peers refuse times more than 15 minutes off (`core/handlers/auth/filter/timewindow.go`).
    pub fn new(
        call: &Call,
        identity: &SigningIdentity,
        nonce: [u8; NONCE_BYTES],
        time: Timestamp,
    ) -> Result<Self, IdentityError> {
        Self::bound(call, identity, nonce, time, None)
    }

    /// Signs a call for one connection, by the hash of the TLS certificate that is shown on it.
    pub(crate) fn bound(
        call: &Call,
        identity: &SigningIdentity,
        nonce: [u8; NONCE_BYTES],
        time: Timestamp,
        tls_hash: Option<[u8; 32]>,
    ) -> Result<Self, IdentityError> {
        let extension = ChaincodeHeaderExtension { chaincode_id: Some(chaincode_id(&call.chaincode)) };
        let tx_id = identity::tx_id(&nonce, identity.creator());
        let mut header = channel_header(HeaderType::EndorserTransaction, &call.channel, time, tls_hash);
        header.tx_id.clone_from(&tx_id);
        header.extension = extension.encode_to_vec();
        let (channel_header, signature_header) = (header.encode_to_vec(), identity.signature_header(nonce));
        let input = call.input();
        let payload = ChaincodeProposalPayload { input: input.clone(), transient_map: call.transient.clone() };
        let header = Header { channel_header: channel_header.clone(), signature_header: signature_header.clone() }
            .encode_to_vec();
        let proposal = Proposal { header, payload: payload.encode_to_vec(), extension: Vec::new() }.encode_to_vec();
        let signature = identity.sign(&proposal)?;
        let (call, creator) = (call.clone(), identity.creator().to_vec());
        Ok(Self { call, tx_id, channel_header, signature_header, creator, input, proposal, signature })
    }

    /// Reads the bytes of a `protos.SignedProposal`. The signature is not judged; the transaction's id is.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignedCallError> {
        let wrong = |why: &str| SignedCallError(why.to_owned());
        let signed: SignedProposal = part(bytes, "signed proposal")?;
        let proposal: Proposal = part(&signed.proposal_bytes, "proposal")?;
        let header: Header = part(&proposal.header, "header")?;
        let channel: ChannelHeader = part(&header.channel_header, "channel header")?;
        let caller: SignatureHeader = part(&header.signature_header, "signature header")?;
        let payload: ChaincodeProposalPayload = part(&proposal.payload, "payload")?;
        let spec: ChaincodeInvocationSpec = part(&payload.input, "input")?;
        let spec = spec.chaincode_spec.ok_or_else(|| wrong("it names no chaincode"))?;
        let input = spec.input.unwrap_or_default();
        if channel.r#type != i32::from(HeaderType::EndorserTransaction) {
            return Err(wrong("its header is of another type"));
        }
        if channel.tx_id != identity::tx_id(&caller.nonce, &caller.creator) {
            return Err(wrong("its transaction id is not that of its nonce and creator"));
        }
        let call = Call {
            channel: channel.channel_id,
            chaincode: spec.chaincode_id.map(|id| id.name).unwrap_or_default(),
            args: input.args,
            transient: payload.transient_map,
            is_init: input.is_init,
        };
        Ok(Self {
            call,
            tx_id: channel.tx_id,
            channel_header: header.channel_header,
            signature_header: header.signature_header,
            creator: caller.creator,
            input: payload.input,
            proposal: signed.proposal_bytes,
            signature: signed.signature,
        })
    }

    /// The bytes of a `protos.SignedProposal`, to be kept or passed on. They hold the transient data.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    pub(crate) fn to_wire(&self) -> SignedProposal {
        SignedProposal { proposal_bytes: self.proposal.clone(), signature: self.signature.clone() }
    }

    /// What is called.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The id of the transaction that can be made of it.
    pub fn tx_id(&self) -> &str {
        &self.tx_id
    }

    /// The serialized identity of the caller.
    pub fn creator(&self) -> &[u8] {
        &self.creator
    }

    /// The payload as the transaction holds it: without transient data.
    fn public_payload(&self) -> Vec<u8> {
        ChaincodeProposalPayload { input: self.input.clone(), ..ChaincodeProposalPayload::default() }.encode_to_vec()
    }

    /// What endorsers answer to have seen (`GetProposalHash1` in `protoutil/proputils.go`).
    fn hash(&self) -> [u8; 32] {
        sha256_of([self.channel_header.as_slice(), &self.signature_header, &self.public_payload()])
    }
}

fn part<M: Message + Default>(bytes: &[u8], what: &str) -> Result<M, SignedCallError> {
    M::decode(bytes).map_err(|error| SignedCallError(format!("the {what} cannot be decoded: {error}")))
}

/// Why an answer is no endorsement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndorsedError {
    /// Not the message it should be.
    #[error("the answer is no proposal response")]
    Decode(#[from] prost::DecodeError),
    /// The peer or the chaincode refused.
    #[error("the call failed with status {status}: {text}")]
    Failed {
        /// Status of the response.
        status: i32,
        /// What the peer or the chaincode says.
        text: String,
    },
    /// The call succeeded, but nobody signed its result.
    #[error("the result of the call carries no endorsement")]
    Unsigned,
}

/// One peer's endorsement of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsed {
    /// What the chaincode returned.
    pub result: Vec<u8>,
    /// The signed `ProposalResponsePayload`: hash of the proposal, and everything that the call read and wrote.
    pub payload: Vec<u8>,
    /// Serialized identity of the peer.
    pub endorser: Vec<u8>,
    /// The peer's signature over payload and identity.
    pub signature: Vec<u8>,
}

impl Endorsed {
    /// Reads the bytes of a `protos.ProposalResponse`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EndorsedError> {
        Self::from_wire(ProposalResponse::decode(bytes)?)
    }

    pub(crate) fn from_wire(wire: ProposalResponse) -> Result<Self, EndorsedError> {
        let response = wire.response.unwrap_or_default();
        if !ENDORSED.contains(&response.status) {
            return Err(EndorsedError::Failed { status: response.status, text: response.message });
        }
        let Endorsement { endorser, signature } = wire.endorsement.ok_or(EndorsedError::Unsigned)?;
        Ok(Self { result: response.payload, payload: wire.payload, endorser, signature })
    }

    /// Who endorsed, as the endorsement claims.
    pub fn signer(&self) -> Option<Creator> {
        Creator::of(&self.endorser)
    }

    fn shown(&self) -> String {
        self.signer().map_or_else(|| "an unreadable endorser".to_owned(), |signer| signer.to_string())
    }
}

/// Why endorsements make no transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssembleError {
    /// Nobody endorsed.
    #[error("a transaction needs an endorsement")]
    NoEndorsement,
    /// The transaction would be signed by another identity than the call.
    #[error("the call was signed by another identity than {subject} ({msp_id}), who cannot sign its transaction")]
    OtherIdentity {
        /// MSP of the identity.
        msp_id: String,
        /// Subject of its certificate.
        subject: String,
    },
    /// An endorsement of something else.
    #[error("{endorser} endorsed another call")]
    OtherCall {
        /// Who.
        endorser: String,
    },
    /// Peers with other state, or a chaincode that does not always do the same.
    #[error("{first} and {second} got different results; a transaction needs equal ones")]
    Differ {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The same peer twice.
    #[error("{endorser} is there twice")]
    Twice {
        /// Who.
        endorser: String,
    },
    /// An endorsement whose signature is wrong: it would count for nothing.
    #[error("the endorsement of {endorser} does not verify")]
    Signature {
        /// Who.
        endorser: String,
        /// Why.
        #[source]
        source: IdentityError,
    },
    /// The transaction could not be signed.
    #[error("the transaction could not be signed")]
    Identity(#[from] IdentityError),
}

/// Makes the transaction of a call and its endorsements, in their order, and signs it as the caller
/// (`CreateSignedTx` in `protoutil/txutils.go`). Returns an encoded `common.Envelope`, as
/// `BroadcastClient::submit_envelope` takes it.
pub fn assemble(
    call: &SignedCall,
    endorsements: &[Endorsed],
    identity: &SigningIdentity,
) -> Result<Vec<u8>, AssembleError> {
    let first = endorsements.first().ok_or(AssembleError::NoEndorsement)?;
    if call.creator != identity.creator() {
        let (msp_id, subject) = (identity.msp_id().to_owned(), identity.certificate().subject.clone());
        return Err(AssembleError::OtherIdentity { msp_id, subject });
    }
    let mut endorsers = BTreeSet::new();
    for endorsed in endorsements {
        let endorser = || endorsed.shown();
        let seen = ProposalResponsePayload::decode(endorsed.payload.as_slice());
        if !seen.is_ok_and(|seen| seen.proposal_hash == call.hash()) {
            return Err(AssembleError::OtherCall { endorser: endorser() });
        }
        if endorsed.payload != first.payload {
            return Err(AssembleError::Differ { first: first.shown(), second: endorser() });
        }
        if !endorsers.insert(endorsed.endorser.as_slice()) {
            return Err(AssembleError::Twice { endorser: endorser() });
        }
        let signed = [endorsed.payload.as_slice(), &endorsed.endorser].concat();
        PublicIdentity::from_creator(&endorsed.endorser)
            .and_then(|public| public.verify(&signed, &endorsed.signature))
            .map_err(|source| AssembleError::Signature { endorser: endorser(), source })?;
    }
    let action = ChaincodeEndorsedAction {
        proposal_response_payload: first.payload.clone(),
        endorsements: endorsements
            .iter()
            .map(|one| Endorsement { endorser: one.endorser.clone(), signature: one.signature.clone() })
            .collect(),
    };
    let payload = ChaincodeActionPayload { chaincode_proposal_payload: call.public_payload(), action: Some(action) };
    let action = TransactionAction { header: call.signature_header.clone(), payload: payload.encode_to_vec() };
    let payload = Payload {
        header: Some(Header {
            channel_header: call.channel_header.clone(),
            signature_header: call.signature_header.clone(),
        }),
        data: Transaction { actions: vec![action] }.encode_to_vec(),
    }
    .encode_to_vec();
    let signature = identity.sign(&payload)?;
    Ok(Envelope { payload, signature }.encode_to_vec())
}

/// Whether a transaction that someone else assembled is that of a call: its headers and input are the caller's own.
#[cfg(feature = "client")]
pub(crate) fn is_transaction_of(call: &SignedCall, payload: &[u8]) -> bool {
    let Ok(payload) = Payload::decode(payload) else { return false };
    let header = payload.header.unwrap_or_default();
    if header.channel_header != call.channel_header || header.signature_header != call.signature_header {
        return false;
    }
    let Ok(transaction) = Transaction::decode(payload.data.as_slice()) else { return false };
    let [action] = transaction.actions.as_slice() else { return false };
    ChaincodeActionPayload::decode(action.payload.as_slice()).is_ok_and(|payload| {
        let endorsed = payload.action.unwrap_or_default();
        let seen = ProposalResponsePayload::decode(endorsed.proposal_response_payload.as_slice());
        action.header == call.signature_header
            && payload.chaincode_proposal_payload == call.public_payload()
            && seen.is_ok_and(|seen| seen.proposal_hash == call.hash())
    })
}

/// What the contract answered in a transaction of one action, by the payload of its envelope.
#[cfg(feature = "client")]
pub(crate) fn response_of(payload: &[u8]) -> Option<Vec<u8>> {
    let transaction = Transaction::decode(Payload::decode(payload).ok()?.data.as_slice()).ok()?;
    let [action] = transaction.actions.as_slice() else { return None };
    let endorsed = ChaincodeActionPayload::decode(action.payload.as_slice()).ok()?.action?;
    let seen = ProposalResponsePayload::decode(endorsed.proposal_response_payload.as_slice()).ok()?;
    Some(ChaincodeAction::decode(seen.extension.as_slice()).ok()?.response?.payload)
}

/// Whom a header or an endorsement names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Creator {
    /// MSP ID.
    pub msp_id: String,
    /// Subject of the certificate; empty if it cannot be read.
    pub subject: String,
}

impl Creator {
    fn of(serialized: &[u8]) -> Option<Self> {
        let identity = SerializedIdentity::decode(serialized).ok().filter(|identity| !identity.mspid.is_empty())?;
        let certificate = Pem::new(identity.id_bytes).certificate();
        let subject = certificate.map(|certificate| certificate.subject).unwrap_or_default();
        Some(Self { msp_id: identity.mspid, subject })
    }
}

impl fmt::Display for Creator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.subject, self.msp_id)
    }
}

/// What became of a transaction when it was validated. Displays as Fabric names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValidationCode(i32);

impl ValidationCode {
    /// The transaction counts.
    pub const VALID: Self = Self(0);
    /// A transaction of this id was there before.
    pub const DUPLICATE_TXID: Self = Self(9);
    /// Too few, or the wrong, endorsements.
    pub const ENDORSEMENT_POLICY_FAILURE: Self = Self(10);
    /// Something that it read has changed since.
    pub const MVCC_READ_CONFLICT: Self = Self(11);

    /// A code by its number in Fabric's protocol.
    pub fn new(number: i32) -> Self {
        Self(number)
    }

    /// Its number in Fabric's protocol.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Whether the transaction counts.
    pub fn is_valid(self) -> bool {
        self == Self::VALID
    }
}

impl fmt::Display for ValidationCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TxValidationCode::try_from(self.0) {
            Ok(code) => formatter.write_str(code.as_str_name()),
            Err(_) => write!(formatter, "code {}", self.0),
        }
    }
}

/// A call as a transaction holds it: without transient data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChaincodeCall {
    /// Chaincode.
    pub chaincode: String,
    /// Arguments; the first is the function's name.
    pub args: Vec<Vec<u8>>,
    /// Whether it is an initialisation.
    pub is_init: bool,
}

impl ChaincodeCall {
    /// Chaincode and function, to be shown.
    pub fn function(&self) -> String {
        function(&self.chaincode, &self.args)
    }
}

/// What a block tells of one transaction. Only transactions with [`ValidationCode::VALID`] count for anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransactionFacts {
    /// Its id; empty if the envelope cannot be read.
    pub tx_id: String,
    /// Who submitted it.
    pub creator: Option<Creator>,
    /// What a peer found; `None` in blocks from orderers.
    pub code: Option<ValidationCode>,
    /// What was called; empty for config transactions.
    pub calls: Vec<ChaincodeCall>,
    /// Who endorsed, as the endorsements claim.
    pub endorsers: Vec<Creator>,
    /// The chaincode definition that it writes: name and committed sequence.
    pub committed: Option<(String, i64)>,
}

impl TransactionFacts {
    /// Whether a peer found it valid.
    pub fn is_valid(&self) -> bool {
        self.code.is_some_and(ValidationCode::is_valid)
    }
}

/// The transactions of a block, in their order. What cannot be read is left empty: a block may hold anything.
pub fn transactions(block: &Block) -> Vec<TransactionFacts> {
    let codes = block.transactions_filter();
    let envelopes = block.envelopes().iter().enumerate();
    envelopes
        .map(|(position, envelope)| {
            let code = codes.get(position).map(|code| ValidationCode(i32::from(*code)));
            TransactionFacts { code, ..facts(envelope).unwrap_or_default() }
        })
        .collect()
}

fn facts(envelope: &[u8]) -> Option<TransactionFacts> {
    let payload = Payload::decode(Envelope::decode(envelope).ok()?.payload.as_slice()).ok()?;
    let header = payload.header?;
    let channel = ChannelHeader::decode(header.channel_header.as_slice()).ok()?;
    let creator = SignatureHeader::decode(header.signature_header.as_slice()).ok();
    let mut facts = TransactionFacts {
        tx_id: channel.tx_id,
        creator: creator.and_then(|header| Creator::of(&header.creator)),
        ..TransactionFacts::default()
    };
    if channel.r#type == i32::from(HeaderType::EndorserTransaction) {
        let actions = Transaction::decode(payload.data.as_slice()).map(|transaction| transaction.actions);
        for action in actions.unwrap_or_default() {
            read_action(&action.payload, &mut facts);
        }
    }
    Some(facts)
}

/// Adds one action; of one that cannot be read, as much as can be.
fn read_action(payload: &[u8], facts: &mut TransactionFacts) -> Option<()> {
    let payload = ChaincodeActionPayload::decode(payload).ok()?;
    facts.calls.extend(read_call(&payload.chaincode_proposal_payload));
    let action = payload.action?;
    facts.endorsers.extend(action.endorsements.iter().filter_map(|one| Creator::of(&one.endorser)));
    let response = ProposalResponsePayload::decode(action.proposal_response_payload.as_slice()).ok()?;
    let action = ChaincodeAction::decode(response.extension.as_slice()).ok()?;
    // Writes of any other chaincode to this namespace make a transaction invalid.
    if action.chaincode_id.is_some_and(|id| id.name == LIFECYCLE) {
        facts.committed = facts.committed.take().or_else(|| committed(&action.results));
    }
    Some(())
}

fn read_call(payload: &[u8]) -> Option<ChaincodeCall> {
    let payload = ChaincodeProposalPayload::decode(payload).ok()?;
    let spec = ChaincodeInvocationSpec::decode(payload.input.as_slice()).ok()?.chaincode_spec?;
    let input = spec.input.unwrap_or_default();
    let chaincode = spec.chaincode_id.unwrap_or_default().name;
    Some(ChaincodeCall { chaincode, args: input.args, is_init: input.is_init })
}

/// `lifecycle.StateData`, as far as it is read here.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct StateData {
    #[prost(int64, optional, tag = "1")]
    int64: Option<i64>,
}

/// The sequence that a write set of `_lifecycle` gives to a chaincode (`core/chaincode/lifecycle/serializer.go`). The
/// write set is looked at, and not the arguments, because it is what peers apply.
fn committed(results: &[u8]) -> Option<(String, i64)> {
    let results = rwset::TxReadWriteSet::decode(results).ok()?;
    let set = results.ns_rwset.iter().find(|set| set.namespace == LIFECYCLE)?;
    let set = kvrwset::KvRwSet::decode(set.rwset.as_slice()).ok()?;
    set.writes.iter().filter(|write| !write.is_delete).find_map(|write| {
        let name = write.key.strip_prefix("namespaces/fields/")?.strip_suffix("/Sequence")?;
        let sequence = StateData::decode(write.value.as_slice()).ok()?.int64?;
        Some((name.to_owned(), sequence))
    })
}

#[cfg(test)]
mod tests;
