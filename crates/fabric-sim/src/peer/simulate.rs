//! The simulation of a transaction: reads of a snapshot, and the read-write sets that come of it (Fabric
//! `core/ledger/kvledger/txmgmt/{txmgr,rwsetutil}`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tenter_fabric_wire::kvrwset::{HashedRwSet, KvRead, KvReadHash, KvRwSet, KvWrite, KvWriteHash, RangeQueryInfo};
use tenter_fabric_wire::protos::{ChaincodeCall, ChaincodeInterest};
use tenter_fabric_wire::rwset::{CollectionHashedReadWriteSet, NsReadWriteSet, TxReadWriteSet};

use super::ranges::{MAX_DEGREE, Reads};
use super::state::{Space, Version, World, shown};

/// Why a transaction cannot read or write; the texts are Fabric's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SimulationError(pub String);

/// Private writes of one collection, as they are kept and given to other peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateWrites {
    /// The chaincode.
    pub namespace: String,
    /// The collection.
    pub collection: String,
    /// An encoded [`KvRwSet`].
    pub rwset: Vec<u8>,
}

#[derive(Debug, Default)]
struct Collection {
    /// By the key in the clear, in whose order they stand.
    reads: BTreeMap<String, Option<Version>>,
    writes: BTreeMap<String, Vec<u8>>,
    read_in_the_clear: bool,
}

#[derive(Debug, Default)]
struct Namespace {
    reads: BTreeMap<String, Option<Version>>,
    writes: BTreeMap<String, Vec<u8>>,
    ranges: Vec<RangeQueryInfo>,
    collections: BTreeMap<String, Collection>,
}

/// One range query that goes on.
#[derive(Debug)]
struct Scan {
    namespace: String,
    start: String,
    end: String,
    /// The last key that was taken.
    last: Option<String>,
    exhausted: bool,
    reads: Reads,
    /// How many results there are at most; none for a query without pages.
    page: Option<usize>,
    taken: usize,
}

/// A key and its value, as a query gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
}

/// A transaction that is simulated.
#[derive(Debug)]
pub struct Simulator {
    world: Arc<World>,
    id: String,
    namespaces: BTreeMap<String, Namespace>,
    scans: Vec<Scan>,
    wrote: bool,
    paged: bool,
    queried_private: bool,
}

/// What a simulation led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The public read-write set, encoded.
    pub results: Vec<u8>,
    /// Private writes.
    pub private: Vec<PrivateWrites>,
    /// What an endorsement plan is made from.
    pub interest: ChaincodeInterest,
}

impl Simulator {
    /// A transaction on top of a snapshot.
    pub fn new(world: Arc<World>, id: &str) -> Self {
        Self {
            world,
            id: id.to_owned(),
            namespaces: BTreeMap::new(),
            scans: Vec::new(),
            wrote: false,
            paged: false,
            queried_private: false,
        }
    }

    /// The snapshot.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    fn namespace(&mut self, name: &str) -> &mut Namespace {
        self.namespaces.entry(name.to_owned()).or_default()
    }

    fn collection(&mut self, namespace: &str, collection: &str) -> &mut Collection {
        self.namespace(namespace).collections.entry(collection.to_owned()).or_default()
    }

    /// A public key's committed value.
    pub fn get(&mut self, namespace: &str, key: &str) -> Option<Vec<u8>> {
        let found = self.world.public(namespace, key).cloned();
        let version = found.as_ref().map(|found| found.version);
        self.namespace(namespace).reads.insert(key.to_owned(), version);
        found.map(|found| found.value)
    }

    fn may_write(&mut self) -> Result<(), SimulationError> {
        let refused = |text: &str| Err(SimulationError(format!("txid [{}]: unsuppored transaction. {text}", self.id)));
        if self.queried_private {
            return refused("Transaction has already performed queries on pvt data. Writes are not allowed");
        }
        if self.paged {
            return refused("Transaction has already performed a paginated query. Writes are not allowed");
        }
        self.wrote = true;
        Ok(())
    }

    /// Writes a public key; an empty value deletes it.
    pub fn put(&mut self, namespace: &str, key: &str, value: Vec<u8>) -> Result<(), SimulationError> {
        self.may_write()?;
        self.namespace(namespace).writes.insert(key.to_owned(), value);
        Ok(())
    }

    /// A private key's committed value, if this peer has it.
    pub fn get_private(
        &mut self,
        namespace: &str,
        collection: &str,
        key: &str,
    ) -> Result<Option<Vec<u8>>, SimulationError> {
        let found = self.world.private(namespace, collection, key).cloned();
        let version = found.as_ref().map(|found| found.version);
        let public = self.world.hashed(namespace, collection, key).map(|found| found.version);
        if public != version {
            return Err(SimulationError(format!(
                "private data matching public hash version is not available. Public hash version = {}, Private data version = {}",
                shown(public),
                shown(version)
            )));
        }
        let part = self.collection(namespace, collection);
        part.reads.insert(key.to_owned(), version);
        part.read_in_the_clear = true;
        Ok(found.map(|found| found.value))
    }

    /// The hash of a private key's committed value.
    pub fn get_private_hash(&mut self, namespace: &str, collection: &str, key: &str) -> Option<Vec<u8>> {
        let found = self.world.hashed(namespace, collection, key).cloned();
        let version = found.as_ref().map(|found| found.version);
        self.collection(namespace, collection).reads.insert(key.to_owned(), version);
        found.map(|found| found.value)
    }

    /// Writes a private key; an empty value deletes it.
    pub fn put_private(
        &mut self,
        namespace: &str,
        collection: &str,
        key: &str,
        value: Vec<u8>,
    ) -> Result<(), SimulationError> {
        self.may_write()?;
        self.collection(namespace, collection).writes.insert(key.to_owned(), value);
        Ok(())
    }

    /// All private keys of a range: they are not in the read set, and so nothing may be written.
    pub fn range_private(
        &mut self,
        namespace: &str,
        collection: &str,
        start: &str,
        end: &str,
    ) -> Result<Vec<Found>, SimulationError> {
        if self.wrote {
            return Err(SimulationError(format!(
                "txid [{}]: unsuppored transaction. Queries on pvt data is supported only in a read-only transaction",
                self.id
            )));
        }
        self.queried_private = true;
        let space = Space::Private(namespace.to_owned(), collection.to_owned());
        Ok(self
            .world
            .range(&space, start, end, false)
            .map(|(key, found)| Found { key: key.clone(), value: found.value.clone() })
            .collect())
    }

    /// Begins a query; its number is for [`Self::next`].
    pub fn scan(
        &mut self,
        namespace: &str,
        start: &str,
        end: &str,
        page: Option<usize>,
    ) -> Result<usize, SimulationError> {
        if page.is_some() {
            if self.wrote {
                return Err(SimulationError(format!(
                    "txid [{}]: unsuppored transaction. Paginated queries are supported only in a read-only transaction",
                    self.id
                )));
            }
            self.paged = true;
        }
        self.scans.push(Scan {
            namespace: namespace.to_owned(),
            start: start.to_owned(),
            end: end.to_owned(),
            last: None,
            exhausted: false,
            reads: Reads::new(MAX_DEGREE),
            page,
            taken: 0,
        });
        Ok(self.scans.len() - 1)
    }

    fn peek(&self, scan: &Scan) -> Option<(String, Vec<u8>, Version)> {
        let start = scan.last.as_ref().unwrap_or(&scan.start);
        self.world
            .range(&Space::Public(scan.namespace.clone()), start, &scan.end, false)
            .find(|(key, _)| scan.last.as_ref().is_none_or(|last| *key > last))
            .map(|(key, found)| (key.clone(), found.value.clone(), found.version))
    }

    /// The next result of a query.
    pub fn next(&mut self, scan: usize) -> Option<Found> {
        let state = self.scans.get(scan)?;
        let full = state.page.is_some_and(|page| state.taken >= page);
        let found = if full { None } else { self.peek(state) };
        let state = self.scans.get_mut(scan)?;
        let Some((key, value, version)) = found else {
            state.exhausted = true;
            return None;
        };
        state.reads.add(KvRead { key: key.clone(), version: Some(version.to_wire()) });
        state.last = Some(key.clone());
        state.taken += 1;
        Some(Found { key, value })
    }

    /// Where the next page of a query begins; empty at the end.
    pub fn bookmark(&self, scan: usize) -> String {
        self.scans.get(scan).and_then(|scan| self.peek(scan)).map(|(key, _, _)| key).unwrap_or_default()
    }

    /// The end of the simulation.
    pub fn finish(mut self) -> Outcome {
        for scan in std::mem::take(&mut self.scans) {
            let info = RangeQueryInfo {
                start_key: scan.start,
                end_key: if scan.exhausted { scan.end } else { scan.last.unwrap_or_default() },
                itr_exhausted: scan.exhausted,
                reads_info: scan.reads.finish(),
            };
            let known = &mut self.namespace(&scan.namespace).ranges;
            let same = |other: &RangeQueryInfo| {
                (&other.start_key, &other.end_key, other.itr_exhausted)
                    == (&info.start_key, &info.end_key, info.itr_exhausted)
            };
            if !known.iter().any(same) {
                known.push(info);
            }
        }
        let interest = self.interest();
        let mut private = Vec::new();
        let ns_rwset =
            self.namespaces.into_iter().map(|(namespace, part)| public_set(namespace, part, &mut private)).collect();
        let results = TxReadWriteSet { data_model: 0, ns_rwset }.encode_to_vec();
        Outcome { results, private, interest }
    }

    /// Whose policies matter (Fabric `core/endorser/endorser.go`, `buildChaincodeInterest`).
    fn interest(&self) -> ChaincodeInterest {
        const SYSTEM: [&str; 4] = ["_lifecycle", "lscc", "cscc", "qscc"];
        let mut chaincodes = Vec::new();
        for (name, part) in self.namespaces.iter().filter(|(name, _)| !SYSTEM.contains(&name.as_str())) {
            let private_only = part.reads.is_empty()
                && part.writes.is_empty()
                && part.ranges.is_empty()
                && part.collections.values().any(|c| !c.writes.is_empty());
            if !private_only {
                chaincodes.push(ChaincodeCall { name: name.clone(), ..ChaincodeCall::default() });
            }
            let used: BTreeSet<&String> = part
                .collections
                .iter()
                .filter(|(_, c)| !c.writes.is_empty() || c.read_in_the_clear)
                .map(|(collection, _)| collection)
                .collect();
            for collection in used {
                chaincodes.push(ChaincodeCall {
                    name: name.clone(),
                    collection_names: vec![collection.clone()],
                    no_private_reads: !part.collections[collection].read_in_the_clear,
                    ..ChaincodeCall::default()
                });
            }
        }
        ChaincodeInterest { chaincodes }
    }
}

fn write(key: String, value: Vec<u8>) -> KvWrite {
    KvWrite { key, is_delete: value.is_empty(), value }
}

fn public_set(namespace: String, part: Namespace, private: &mut Vec<PrivateWrites>) -> NsReadWriteSet {
    let rwset = KvRwSet {
        reads: part
            .reads
            .into_iter()
            .map(|(key, version)| KvRead { key, version: version.map(Version::to_wire) })
            .collect(),
        range_queries_info: part.ranges,
        writes: part.writes.into_iter().map(|(key, value)| write(key, value)).collect(),
        metadata_writes: Vec::new(),
    }
    .encode_to_vec();
    let collection_hashed_rwset = part
        .collections
        .into_iter()
        .map(|(collection, part)| hashed_set(&namespace, collection, part, private))
        .collect();
    NsReadWriteSet { namespace, rwset, collection_hashed_rwset }
}

fn hashed_set(
    namespace: &str,
    collection: String,
    part: Collection,
    private: &mut Vec<PrivateWrites>,
) -> CollectionHashedReadWriteSet {
    let hash = |bytes: &[u8]| Sha256::digest(bytes).to_vec();
    let hashed = HashedRwSet {
        hashed_reads: part
            .reads
            .into_iter()
            .map(|(key, version)| KvReadHash { key_hash: hash(key.as_bytes()), version: version.map(Version::to_wire) })
            .collect(),
        hashed_writes: part
            .writes
            .iter()
            .map(|(key, value)| KvWriteHash {
                key_hash: hash(key.as_bytes()),
                is_delete: value.is_empty(),
                value_hash: if value.is_empty() { Vec::new() } else { hash(value) },
                is_purge: false,
            })
            .collect(),
        metadata_writes: Vec::new(),
    };
    let mut pvt_rwset_hash = Vec::new();
    if !part.writes.is_empty() {
        let writes = part.writes.into_iter().map(|(key, value)| write(key, value)).collect();
        let rwset = KvRwSet { writes, ..KvRwSet::default() }.encode_to_vec();
        pvt_rwset_hash = hash(&rwset);
        private.push(PrivateWrites { namespace: namespace.to_owned(), collection: collection.clone(), rwset });
    }
    CollectionHashedReadWriteSet { collection_name: collection, hashed_rwset: hashed.encode_to_vec(), pvt_rwset_hash }
}
