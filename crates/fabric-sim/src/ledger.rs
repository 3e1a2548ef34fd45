//! A channel's blocks on disk: one append-only file of length-prefixed records.
//!
//! A record is a four-byte big-endian length, the first eight bytes of the SHA-256 of the content, and the content.
//! Each append is synced. A torn record at the end, left by a crash, is cut off when the file is opened.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tenter_fabric_wire::common::Block;
use tokio::sync::watch;

use crate::block;

const HEADER: usize = 12;

/// A ledger cannot be read or written, or a block does not fit.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system refuses.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A block that does not continue the chain.
    #[error("Could not append block: {0}")]
    Chain(String),
    /// Something on which the real programs panic.
    #[error("{0}")]
    Fatal(String),
    /// A record whose content is no block.
    #[error("{}: record {number} is no block", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Which one.
        number: u64,
    },
}

/// A file of records.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    file: File,
    offsets: Vec<(u64, usize)>,
    end: u64,
}

impl RecordFile {
    /// Opens or creates the file, and cuts off a torn end.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let io = |source| LedgerError::Io { path: path.to_path_buf(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(io)?;
        let mut offsets = Vec::new();
        let mut at = 0_usize;
        while let Some(length) = whole_record(&content[at..]) {
            offsets.push(((at + HEADER) as u64, length));
            at += HEADER + length;
        }
        if at < content.len() {
            tracing::warn!(path = %path.display(), lost = content.len() - at, "torn record cut off");
            file.set_len(at as u64).map_err(io)?;
            file.sync_all().map_err(io)?;
        }
        Ok(Self { path: path.to_path_buf(), file, offsets, end: at as u64 })
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Writes and syncs a record.
    pub fn append(&mut self, content: &[u8]) -> Result<(), LedgerError> {
        let mut record = Vec::with_capacity(HEADER + content.len());
        let length =
            u32::try_from(content.len()).map_err(|_| LedgerError::Chain("block is larger than 4 GiB".to_owned()))?;
        record.extend(length.to_be_bytes());
        record.extend(&Sha256::digest(content)[..8]);
        record.extend(content);
        let path = &self.path;
        let io = |source| LedgerError::Io { path: path.clone(), source };
        self.file.seek(SeekFrom::Start(self.end)).map_err(io)?;
        self.file.write_all(&record).map_err(io)?;
        self.file.sync_data().map_err(io)?;
        self.offsets.push((self.end + HEADER as u64, content.len()));
        self.end += record.len() as u64;
        Ok(())
    }

    /// The content of a record.
    pub fn read(&mut self, index: usize) -> Result<Option<Vec<u8>>, LedgerError> {
        let Some((offset, length)) = self.offsets.get(index).copied() else {
            return Ok(None);
        };
        let path = &self.path;
        let io = |source| LedgerError::Io { path: path.clone(), source };
        let mut content = vec![0; length];
        self.file.seek(SeekFrom::Start(offset)).map_err(io)?;
        self.file.read_exact(&mut content).map_err(io)?;
        Ok(Some(content))
    }

    /// Forgets all records from `index` on.
    pub fn truncate(&mut self, index: usize) -> Result<(), LedgerError> {
        let Some((offset, _)) = self.offsets.get(index).copied() else {
            return Ok(());
        };
        let path = &self.path;
        let io = |source| LedgerError::Io { path: path.clone(), source };
        self.end = offset - HEADER as u64;
        self.file.set_len(self.end).map_err(io)?;
        self.file.sync_all().map_err(io)?;
        self.offsets.truncate(index);
        Ok(())
    }
}

/// The content's length of the record that starts here, if all of it is there and intact.
fn whole_record(bytes: &[u8]) -> Option<usize> {
    let length = usize::try_from(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let content = bytes.get(HEADER..HEADER.checked_add(length)?)?;
    (Sha256::digest(content)[..8] == bytes[4..HEADER]).then_some(length)
}

#[derive(Debug)]
struct Tip {
    file: RecordFile,
    hash: Vec<u8>,
}

/// A chain of blocks from 0 on.
#[derive(Debug)]
pub struct Ledger {
    tip: Mutex<Tip>,
    height: watch::Sender<u64>,
}

impl Ledger {
    /// Opens or creates the chain in `dir`.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        let path = dir.join("blocks");
        let mut file = RecordFile::open(&path)?;
        let hash = match file.len().checked_sub(1) {
            None => Vec::new(),
            Some(last) => {
                let bytes = file.read(last)?.unwrap_or_default();
                let block =
                    Block::decode(&bytes[..]).map_err(|_| LedgerError::Corrupt { path, number: last as u64 })?;
                block::hash(&block)
            }
        };
        let height = watch::Sender::new(file.len() as u64);
        Ok(Self { tip: Mutex::new(Tip { file, hash }), height })
    }

    fn tip(&self) -> std::sync::MutexGuard<'_, Tip> {
        self.tip.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// How many blocks there are.
    pub fn height(&self) -> u64 {
        *self.height.borrow()
    }

    /// Follows the height.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.height.subscribe()
    }

    /// The hash of the last block's header; empty for an empty chain.
    pub fn last_hash(&self) -> Vec<u8> {
        self.tip().hash.clone()
    }

    /// Adds a block that continues the chain, and syncs it.
    pub fn append(&self, new: &Block) -> Result<(), LedgerError> {
        let mut tip = self.tip();
        let height = tip.file.len() as u64;
        block::continues(new, height, &tip.hash).map_err(LedgerError::Chain)?;
        tip.file.append(&new.encode_to_vec())?;
        tip.hash = block::hash(new);
        drop(tip);
        self.height.send_replace(height + 1);
        Ok(())
    }

    /// A block by number.
    pub fn block(&self, number: u64) -> Option<Block> {
        let index = usize::try_from(number).ok()?;
        let bytes = self.tip().file.read(index).ok().flatten()?;
        Block::decode(&bytes[..]).ok()
    }

    /// The newest block.
    pub fn newest(&self) -> Option<Block> {
        self.block(self.height().checked_sub(1)?)
    }

    /// The config block in force.
    pub fn config_block(&self) -> Option<Block> {
        let newest = self.newest()?;
        if block::config_transaction(&newest).is_some() {
            return Some(newest);
        }
        self.block(block::last_config(&newest)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(ledger: &Ledger, text: &[u8]) -> Block {
        block::assemble(ledger.height(), ledger.last_hash(), vec![text.to_vec()])
    }

    #[test]
    fn blocks_survive_reopening_and_a_torn_end_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        for text in [&b"a"[..], b"b", b"c"] {
            ledger.append(&next(&ledger, text)).unwrap();
        }
        drop(ledger);
        let path = dir.path().join("blocks");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        assert_eq!(ledger.height(), 2);
        ledger.append(&next(&ledger, b"c")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        assert_eq!(ledger.block(1).unwrap().data.unwrap().data, [b"b"]);
        assert!(ledger.block(3).is_none());
    }

    #[test]
    fn a_block_that_does_not_continue_the_chain_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        ledger.append(&next(&ledger, b"a")).unwrap();
        let other = block::assemble(1, b"other".to_vec(), vec![b"b".to_vec()]);
        let error = ledger.append(&other).unwrap_err().to_string();
        assert!(error.contains("unexpected Previous block hash"), "{error}");
        let gap = block::assemble(5, ledger.last_hash(), vec![b"b".to_vec()]);
        assert!(ledger.append(&gap).is_err());
        assert_eq!(ledger.height(), 1);
    }
}
