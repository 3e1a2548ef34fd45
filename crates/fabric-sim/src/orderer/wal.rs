//! The consensus log of one channel: entries and what a node must remember of elections.
//!
//! The file stays when a channel is removed, as Fabric's does: a channel of the same name that is joined later finds
//! its entries again.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;

use super::seal::Seal;
use crate::ledger::{LedgerError, RecordFile};

/// A block that is, or may become, part of the chain.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Entry {
    /// The block's number.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// The term of the leader that proposed it.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// The block without signatures.
    #[prost(bytes = "vec", tag = "3")]
    pub block: Vec<u8>,
    /// The hash of its header.
    #[prost(bytes = "vec", tag = "4")]
    pub hash: Vec<u8>,
}

/// What must survive a restart.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HardState {
    /// The latest term that was seen.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// Who got this node's vote in it; 0 is nobody.
    #[prost(uint64, tag = "2")]
    pub vote: u64,
    /// The last block known to be in the chain.
    #[prost(uint64, tag = "3")]
    pub commit: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Record {
    #[prost(message, optional, tag = "1")]
    entry: Option<Entry>,
    #[prost(message, optional, tag = "2")]
    state: Option<HardState>,
    #[prost(message, optional, tag = "3")]
    seal: Option<Seal>,
}

#[derive(Debug)]
struct Slot {
    term: u64,
    hash: Vec<u8>,
    record: usize,
}

/// The log on disk.
#[derive(Debug)]
pub struct Wal {
    file: RecordFile,
    first: u64,
    slots: Vec<Slot>,
    seals: BTreeMap<u64, usize>,
    state: HardState,
}

impl Wal {
    /// Opens or creates the log in `dir`.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        let path = dir.join("log");
        let mut log = Self {
            file: RecordFile::open(&path)?,
            first: 0,
            slots: Vec::new(),
            seals: BTreeMap::new(),
            state: HardState::default(),
        };
        for index in 0..log.file.len() {
            let bytes = log.file.read(index)?.unwrap_or_default();
            let record = Record::decode(&bytes[..])
                .map_err(|_| LedgerError::Corrupt { path: path.clone(), number: index as u64 })?;
            if let Some(state) = record.state {
                log.state = state;
            }
            if let Some(entry) = record.entry {
                log.place(&entry, index);
            }
            if let Some(seal) = record.seal {
                log.seals.insert(seal.index, index);
            }
        }
        Ok(log)
    }

    /// Replaces what stood at the entry's index and after it. A gap starts the log anew.
    fn place(&mut self, entry: &Entry, record: usize) {
        let slot = Slot { term: entry.term, hash: entry.hash.clone(), record };
        match entry.index.checked_sub(self.first).map(usize::try_from) {
            Some(Ok(at)) if at <= self.slots.len() && !self.slots.is_empty() => {
                self.slots.truncate(at);
                self.slots.push(slot);
            }
            _ => {
                self.first = entry.index;
                self.slots = vec![slot];
            }
        }
    }

    fn slot(&self, index: u64) -> Option<&Slot> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.slots.get(at)
    }

    /// The remembered state.
    pub fn state(&self) -> &HardState {
        &self.state
    }

    /// The last index, if there is any.
    pub fn last(&self) -> Option<u64> {
        let count = self.slots.len() as u64;
        (count > 0).then(|| self.first + count - 1)
    }

    /// Term and header hash at an index.
    pub fn at(&self, index: u64) -> Option<(u64, &[u8])> {
        self.slot(index).map(|slot| (slot.term, &slot.hash[..]))
    }

    /// An entry.
    pub fn entry(&mut self, index: u64) -> Option<Entry> {
        let record = self.slot(index)?.record;
        let bytes = self.file.read(record).ok().flatten()?;
        Record::decode(&bytes[..]).ok()?.entry
    }

    /// Writes and syncs an entry.
    pub fn append(&mut self, entry: &Entry) -> Result<(), LedgerError> {
        let record = self.file.len();
        let written = Record { entry: Some(entry.clone()), ..Record::default() };
        self.file.append(&written.encode_to_vec())?;
        self.place(entry, record);
        Ok(())
    }

    /// Forgets all entries; the next one starts the log anew.
    pub fn forget(&mut self) {
        self.slots.clear();
    }

    /// The indices of the entries.
    pub fn indices(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.slots.len() as u64
    }

    /// The signatures of the agreed block at an index.
    pub fn seal(&mut self, index: u64) -> Option<Seal> {
        let record = *self.seals.get(&index)?;
        let bytes = self.file.read(record).ok().flatten()?;
        Record::decode(&bytes[..]).ok()?.seal
    }

    /// Writes and syncs the signatures of an agreed block, unless they are there.
    pub fn save_seal(&mut self, seal: &Seal) -> Result<(), LedgerError> {
        if self.seals.contains_key(&seal.index) {
            return Ok(());
        }
        let record = self.file.len();
        let written = Record { seal: Some(seal.clone()), ..Record::default() };
        self.file.append(&written.encode_to_vec())?;
        self.seals.insert(seal.index, record);
        Ok(())
    }

    /// Writes and syncs the state, if it has changed.
    pub fn save(&mut self, state: HardState) -> Result<(), LedgerError> {
        if state == self.state {
            return Ok(());
        }
        let written = Record { state: Some(state.clone()), ..Record::default() };
        self.file.append(&written.encode_to_vec())?;
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64, text: &str) -> Entry {
        Entry { index, term, block: text.as_bytes().to_vec(), hash: text.as_bytes().to_vec() }
    }

    #[test]
    fn a_later_entry_replaces_what_followed() {
        let dir = tempfile::tempdir().unwrap();
        let mut wal = Wal::open(dir.path()).unwrap();
        for (index, term, text) in [(1, 1, "a"), (2, 1, "b"), (3, 1, "c"), (2, 2, "d")] {
            wal.append(&entry(index, term, text)).unwrap();
        }
        let state = HardState { term: 2, vote: 7, commit: 1 };
        wal.save(state.clone()).unwrap();
        drop(wal);
        let mut wal = Wal::open(dir.path()).unwrap();
        assert_eq!(wal.last(), Some(2));
        assert_eq!(*wal.state(), state);
        assert_eq!(wal.entry(1).unwrap().block, b"a");
        assert_eq!(wal.entry(2).unwrap().block, b"d");
        assert!(wal.entry(3).is_none());
    }
}
