//! Private writes: those that this peer simulated, and those that it got from others.
//!
//! They are kept by their hash in one file, whether their transaction was committed yet or never will be: a block says
//! by hash which of them are meant (Fabric tells a transient store and a private data store apart).

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;
use sha2::{Digest as _, Sha256};

use super::simulate::PrivateWrites;
use crate::ledger::{LedgerError, RecordFile};

/// What names private writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrivateId {
    /// The chaincode.
    pub namespace: String,
    /// The collection.
    pub collection: String,
    /// SHA-256 of the encoded writes.
    pub hash: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Record {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    collection: String,
    #[prost(bytes = "vec", tag = "3")]
    rwset: Vec<u8>,
}

/// The file, and what is in it.
#[derive(Debug)]
pub struct PrivateStore {
    file: RecordFile,
    known: BTreeMap<PrivateId, Vec<u8>>,
}

impl PrivateStore {
    /// Opens or creates the file.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let mut file = RecordFile::open(path)?;
        let mut known = BTreeMap::new();
        for index in 0..file.len() {
            let bytes = file.read(index)?.unwrap_or_default();
            let Ok(record) = Record::decode(&bytes[..]) else { continue };
            let hash = Sha256::digest(&record.rwset).to_vec();
            known.insert(PrivateId { namespace: record.namespace, collection: record.collection, hash }, record.rwset);
        }
        Ok(Self { file, known })
    }

    /// The writes with an id.
    pub fn get(&self, id: &PrivateId) -> Option<&Vec<u8>> {
        self.known.get(id)
    }

    /// Keeps writes.
    pub fn keep(&mut self, writes: PrivateWrites) -> Result<(), LedgerError> {
        let hash = Sha256::digest(&writes.rwset).to_vec();
        let PrivateWrites { namespace, collection, rwset } = writes;
        let id = PrivateId { namespace: namespace.clone(), collection: collection.clone(), hash };
        if self.known.contains_key(&id) {
            return Ok(());
        }
        self.file.append(&Record { namespace, collection, rwset: rwset.clone() }.encode_to_vec())?;
        self.known.insert(id, rwset);
        Ok(())
    }
}
