//! The judgement of a block's transactions at their commit (Fabric `core/common/validation`,
//! `core/committer/txvalidator/v20`, `core/ledger/kvledger/txmgmt/validation`).
//!
//! Endorsement policies of single keys are not simulated.

use std::collections::BTreeMap;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tenter_fabric_wire::common::{ChannelHeader, Envelope, Header, HeaderType, Payload, SignatureHeader};
use tenter_fabric_wire::kvrwset::range_query_info::ReadsInfo;
use tenter_fabric_wire::kvrwset::{HashedRwSet, KvRead, KvRwSet, RangeQueryInfo};
use tenter_fabric_wire::protos::{
    ChaincodeAction, ChaincodeActionPayload, ChaincodeEvent, ChaincodeHeaderExtension, ProposalResponsePayload,
    Transaction, TxValidationCode,
};
use tenter_fabric_wire::rwset::TxReadWriteSet;

use super::lifecycle::records::{self, NAMESPACE};
use super::ranges::{MAX_DEGREE, Reads};
use super::state::{Space, Version, Versioned, World};
use crate::channel::{Bundle, SignedData};
use crate::msp::Identity;

/// Reads and writes of one collection, by hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionSet {
    /// Its name.
    pub name: String,
    /// The hashes.
    pub hashed: HashedRwSet,
    /// The hash of the private writes; empty when there are none.
    pub private_hash: Vec<u8>,
}

/// Reads and writes of one chaincode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceSet {
    /// Its name.
    pub namespace: String,
    /// The public ones.
    pub public: KvRwSet,
    /// Those of its collections.
    pub collections: Vec<CollectionSet>,
}

impl NamespaceSet {
    fn writes(&self) -> bool {
        !self.public.writes.is_empty()
            || !self.public.metadata_writes.is_empty()
            || self.collections.iter().any(CollectionSet::writes)
    }
}

impl CollectionSet {
    fn writes(&self) -> bool {
        !self.hashed.hashed_writes.is_empty() || !self.hashed.metadata_writes.is_empty()
    }
}

/// Reads a read-write set.
pub fn parse_sets(results: &[u8]) -> Option<Vec<NamespaceSet>> {
    TxReadWriteSet::decode(results)
        .ok()?
        .ns_rwset
        .into_iter()
        .map(|set| {
            let collections = set
                .collection_hashed_rwset
                .into_iter()
                .map(|part| {
                    Some(CollectionSet {
                        name: part.collection_name,
                        hashed: HashedRwSet::decode(&part.hashed_rwset[..]).ok()?,
                        private_hash: part.pvt_rwset_hash,
                    })
                })
                .collect::<Option<Vec<_>>>()?;
            let public = KvRwSet::decode(&set.rwset[..]).ok()?;
            Some(NamespaceSet { namespace: set.namespace, public, collections })
        })
        .collect()
}

/// The read-write sets of a transaction in a block; none for other entries.
pub fn sets_of(entry: &[u8]) -> Option<Vec<NamespaceSet>> {
    let payload = Payload::decode(&Envelope::decode(entry).ok()?.payload[..]).ok()?;
    let header = ChannelHeader::decode(&payload.header?.channel_header[..]).ok()?;
    if header.r#type != HeaderType::EndorserTransaction as i32 {
        return None;
    }
    let transaction = Transaction::decode(&payload.data[..]).ok()?;
    let action = ChaincodeActionPayload::decode(&transaction.actions.first()?.payload[..]).ok()?;
    let response = ProposalResponsePayload::decode(&action.action?.proposal_response_payload[..]).ok()?;
    parse_sets(&ChaincodeAction::decode(&response.extension[..]).ok()?.results)
}

/// An endorsed transaction that is well-formed, with valid endorsements as far as its policies ask for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsed {
    /// Its id.
    pub id: String,
    /// What it read and wrote.
    pub sets: Vec<NamespaceSet>,
}

/// A valid entry of a block, as far as it can be judged by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A configuration.
    Config,
    /// A transaction.
    Endorsed(Endorsed),
}

/// What a block's transactions are judged by: the state before the block.
pub struct Judge<'a> {
    /// The configuration.
    pub bundle: &'a Bundle,
    /// The state.
    pub world: &'a World,
}

fn decode<T: prost::Message + Default>(bytes: &[u8], code: TxValidationCode) -> Result<T, TxValidationCode> {
    T::decode(bytes).map_err(|_| code)
}

impl Judge<'_> {
    /// Judges one entry by itself. `known` says whether a transaction id is in the ledger.
    pub fn entry(&self, entry: &[u8], known: impl Fn(&str) -> bool) -> Result<Entry, TxValidationCode> {
        use TxValidationCode as Code;
        let envelope: Envelope = decode(entry, Code::InvalidOtherReason)?;
        let payload: Payload = decode(&envelope.payload, Code::BadPayload)?;
        let header = payload.header.as_ref().ok_or(Code::BadCommonHeader)?;
        let channel: ChannelHeader = decode(&header.channel_header, Code::BadCommonHeader)?;
        let signature: SignatureHeader = decode(&header.signature_header, Code::BadCommonHeader)?;
        let kind = match HeaderType::try_from(channel.r#type) {
            // The orderers' signatures on the block answer for it: the configuration is not judged again.
            Ok(HeaderType::Config) => return Ok(Entry::Config),
            Ok(kind @ (HeaderType::EndorserTransaction | HeaderType::ConfigUpdate)) => kind,
            _ => return Err(Code::BadCommonHeader),
        };
        if channel.epoch != 0 || signature.nonce.is_empty() || signature.creator.is_empty() {
            return Err(Code::BadCommonHeader);
        }
        self.creator(&envelope, &signature).ok_or(Code::BadCreatorSignature)?;
        if kind == HeaderType::ConfigUpdate {
            return Err(Code::UnsupportedTxPayload);
        }
        let id = hex::encode(Sha256::digest([&signature.nonce[..], &signature.creator].concat()));
        if channel.tx_id != id {
            return Err(Code::BadProposalTxid);
        }
        let action = action(&payload, header).ok_or(Code::InvalidEndorserTransaction)?;
        if known(&id) {
            return Err(Code::DuplicateTxid);
        }
        let sets = self.dispatch(&channel, &action)?;
        Ok(Entry::Endorsed(Endorsed { id, sets }))
    }

    fn creator(&self, envelope: &Envelope, header: &SignatureHeader) -> Option<()> {
        let identity = Identity::parse(&header.creator).ok()?;
        self.bundle.msps.get(&identity.msp_id)?.validate(&identity).ok()?;
        identity.certificate.verify(&envelope.payload, &envelope.signature).ok()
    }

    fn dispatch(
        &self,
        channel: &ChannelHeader,
        payload: &ChaincodeActionPayload,
    ) -> Result<Vec<NamespaceSet>, TxValidationCode> {
        use TxValidationCode as Code;
        let extension: ChaincodeHeaderExtension = decode(&channel.extension, Code::BadHeaderExtension)?;
        let endorsed = payload.action.as_ref().ok_or(Code::BadResponsePayload)?;
        let response: ProposalResponsePayload = decode(&endorsed.proposal_response_payload, Code::BadResponsePayload)?;
        let action: ChaincodeAction = decode(&response.extension, Code::BadResponsePayload)?;
        let sets = parse_sets(&action.results).ok_or(Code::BadRwset)?;
        let called = extension.chaincode_id.ok_or(Code::InvalidOtherReason)?.name;
        let ran = action.chaincode_id.ok_or(Code::InvalidOtherReason)?;
        if called.is_empty() || called != ran.name || ran.version.is_empty() {
            return Err(Code::InvalidChaincode);
        }
        if !action.events.is_empty() {
            let event: ChaincodeEvent = decode(&action.events, Code::InvalidOtherReason)?;
            if event.chaincode_id != called {
                return Err(Code::InvalidOtherReason);
            }
        }
        let mut by_name = BTreeMap::from([(called.as_str(), None)]);
        for (index, set) in sets.iter().enumerate() {
            if sets[..index].iter().any(|other| other.namespace == set.namespace) {
                return Err(Code::IllegalWriteset);
            }
            if set.writes() || set.namespace == called {
                by_name.insert(&set.namespace, Some(set));
            }
        }
        let signed: Vec<SignedData> = endorsed
            .endorsements
            .iter()
            .map(|endorsement| SignedData {
                data: [&endorsed.proposal_response_payload[..], &endorsement.endorser].concat(),
                identity: endorsement.endorser.clone(),
                signature: endorsement.signature.clone(),
            })
            .collect();
        for (name, set) in by_name {
            let policy = self.policy(name).ok_or(Code::InvalidChaincode)?;
            self.endorsements(name, &policy, set, &signed).map_err(|text| {
                tracing::warn!(chaincode = name, reason = text, "endorsements do not satisfy the policy");
                Code::EndorsementPolicyFailure
            })?;
        }
        Ok(sets)
    }

    /// The endorsement policy of a chaincode; none when it is not defined.
    pub fn policy(&self, name: &str) -> Option<Vec<u8>> {
        if name == NAMESPACE {
            return Some(self.bundle.lifecycle_policy());
        }
        let validation = records::committed(self.world, name)?.parameters.validation;
        let usable = !validation.validation_plugin.is_empty() && !validation.validation_parameter.is_empty();
        usable.then_some(validation.validation_parameter)
    }

    /// The endorsement policy of a collection; none where the chaincode's counts.
    pub fn collection_policy(&self, chaincode: &str, collection: &str) -> Result<Option<Vec<u8>>, String> {
        if let Some(msp_id) = collection.strip_prefix("_implicit_org_") {
            return self.bundle.implicit_policy(msp_id).map(Some);
        }
        let defined = records::committed(self.world, chaincode).map(|found| found.parameters.collections);
        let config = defined
            .as_ref()
            .and_then(|package| super::lifecycle::collection(package, collection))
            .ok_or_else(|| format!("no such collection '{collection}'"))?;
        Ok(config.endorsement_policy.as_ref().map(prost::Message::encode_to_vec))
    }

    fn endorsements(
        &self,
        name: &str,
        policy: &[u8],
        set: Option<&NamespaceSet>,
        signed: &[SignedData],
    ) -> Result<(), String> {
        let mut own = set.is_none_or(|set| {
            !set.public.writes.is_empty()
                || !set.public.metadata_writes.is_empty()
                || !set.collections.iter().any(CollectionSet::writes)
        });
        for part in set.into_iter().flat_map(|set| &set.collections).filter(|part| part.writes()) {
            match self.collection_policy(name, &part.name)? {
                Some(policy) => self.bundle.evaluate_application(&policy, signed)?,
                None => own = true,
            }
        }
        if own { self.bundle.evaluate_application(policy, signed) } else { Ok(()) }
    }
}

/// The one action of a transaction, if it belongs to its headers.
fn action(payload: &Payload, header: &Header) -> Option<ChaincodeActionPayload> {
    let transaction = Transaction::decode(&payload.data[..]).ok()?;
    let [action] = &transaction.actions[..] else {
        return None;
    };
    let signature = SignatureHeader::decode(&action.header[..]).ok()?;
    if signature.nonce.is_empty() || signature.creator.is_empty() {
        return None;
    }
    let found = ChaincodeActionPayload::decode(&action.payload[..]).ok()?;
    let response = ProposalResponsePayload::decode(&found.action.as_ref()?.proposal_response_payload[..]).ok()?;
    let mut hash = Sha256::new();
    hash.update(&header.channel_header);
    hash.update(&action.header);
    hash.update(&found.chaincode_proposal_payload);
    (hash.finalize()[..] == response.proposal_hash).then_some(found)
}

/// What the valid transactions of a block have written so far.
#[derive(Debug, Default)]
pub struct Updates(BTreeMap<Space, BTreeMap<String, Option<Versioned>>>);

impl Updates {
    fn touches(&self, space: &Space, key: &str) -> bool {
        self.0.get(space).is_some_and(|keys| keys.contains_key(key))
    }

    /// Checks a transaction's reads against the state and what came before it in the block.
    pub fn check(&self, world: &World, sets: &[NamespaceSet]) -> Result<(), TxValidationCode> {
        for set in sets {
            let space = Space::Public(set.namespace.clone());
            for read in &set.public.reads {
                let version = read.version.as_ref().map(Version::from_wire);
                if self.touches(&space, &read.key) || world.get(&space, &read.key).map(|v| v.version) != version {
                    return Err(TxValidationCode::MvccReadConflict);
                }
            }
            if !set.public.range_queries_info.iter().all(|range| self.same_range(world, &space, range)) {
                return Err(TxValidationCode::PhantomReadConflict);
            }
            for part in &set.collections {
                let space = Space::Hashed(set.namespace.clone(), part.name.clone());
                for read in &part.hashed.hashed_reads {
                    let key = hex::encode(&read.key_hash);
                    let version = read.version.as_ref().map(Version::from_wire);
                    if self.touches(&space, &key) || world.get(&space, &key).map(|v| v.version) != version {
                        return Err(TxValidationCode::MvccReadConflict);
                    }
                }
            }
        }
        Ok(())
    }

    fn same_range(&self, world: &World, space: &Space, range: &RangeQueryInfo) -> bool {
        let degree = match &range.reads_info {
            Some(ReadsInfo::ReadsMerkleHashes(tree)) => tree.max_degree,
            // Raw reads may be more than a tree of this peer's degree would leave as they are.
            Some(ReadsInfo::RawReads(reads)) => u32::try_from(reads.kv_reads.len()).unwrap_or(MAX_DEGREE) + 1,
            None => MAX_DEGREE,
        };
        let mut now: BTreeMap<&String, Version> = world
            .range(space, &range.start_key, &range.end_key, !range.itr_exhausted)
            .map(|(key, found)| (key, found.version))
            .collect();
        for (key, value) in self.0.get(space).into_iter().flatten() {
            let before_end =
                range.end_key.is_empty() || *key < range.end_key || (!range.itr_exhausted && *key == range.end_key);
            if *key >= range.start_key && before_end {
                match value {
                    Some(value) => now.insert(key, value.version),
                    None => now.remove(key),
                };
            }
        }
        let mut reads = Reads::new(degree);
        for (key, version) in now {
            reads.add(KvRead { key: key.clone(), version: Some(version.to_wire()) });
        }
        let nothing = |info: &Option<ReadsInfo>| match info {
            Some(ReadsInfo::RawReads(reads)) => reads.kv_reads.is_empty(),
            Some(ReadsInfo::ReadsMerkleHashes(_)) => false,
            None => true,
        };
        let found = reads.finish();
        found == range.reads_info || (nothing(&found) && nothing(&range.reads_info))
    }

    /// Takes in a valid transaction's writes.
    pub fn apply(&mut self, sets: &[NamespaceSet], version: Version) {
        for set in sets {
            let keys = self.0.entry(Space::Public(set.namespace.clone())).or_default();
            for write in &set.public.writes {
                let deleted = write.is_delete || write.value.is_empty();
                let value = (!deleted).then(|| Versioned { value: write.value.clone(), version });
                keys.insert(write.key.clone(), value);
            }
            for part in &set.collections {
                let keys = self.0.entry(Space::Hashed(set.namespace.clone(), part.name.clone())).or_default();
                for write in &part.hashed.hashed_writes {
                    let deleted = write.is_delete || write.is_purge || write.value_hash.is_empty();
                    let value = (!deleted).then(|| Versioned { value: write.value_hash.clone(), version });
                    keys.insert(hex::encode(&write.key_hash), value);
                }
            }
        }
    }

    /// Writes all into the state.
    pub fn write(self, world: &mut World) {
        for (space, keys) in self.0 {
            for (key, value) in keys {
                world.put(space.clone(), key, value);
            }
        }
    }
}

/// Writes a transaction's private writes into the state, as far as nothing newer is there.
pub fn write_private(world: &mut World, namespace: &str, collection: &str, rwset: &[u8], version: Version) {
    let Ok(set) = KvRwSet::decode(rwset) else { return };
    for write in set.writes {
        let current = world.hashed(namespace, collection, &write.key).map(|found| found.version);
        let held = world.private(namespace, collection, &write.key).map(|found| found.version);
        let space = Space::Private(namespace.to_owned(), collection.to_owned());
        if write.is_delete || write.value.is_empty() {
            if held.is_some_and(|held| held < version) {
                world.put(space, write.key, None);
            }
        } else if current == Some(version) {
            world.put(space, write.key, Some(Versioned { value: write.value, version }));
        }
    }
}
