//! The world state of a channel: public keys, hashes of private keys, and the private keys that this peer may have
//! (Fabric `core/ledger/kvledger/txmgmt/{statedb,privacyenabledstate}`).
//!
//! It is derived from the ledger when the peer starts. A simulation works on a snapshot: parts that a commit changes
//! are copied, the rest is shared.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tenter_fabric_wire::kvrwset;

/// Block and place of the transaction that wrote a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The block's number.
    pub block: u64,
    /// The transaction's place in it.
    pub transaction: u64,
}

impl Version {
    /// The message.
    pub fn to_wire(self) -> kvrwset::Version {
        kvrwset::Version { block_num: self.block, tx_num: self.transaction }
    }

    /// Reads the message.
    pub fn from_wire(version: &kvrwset::Version) -> Self {
        Self { block: version.block_num, transaction: version.tx_num }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{BlockNum: {}, TxNum: {}}}", self.block, self.transaction)
    }
}

/// A version as Go prints one that may be missing.
pub fn shown(version: Option<Version>) -> String {
    version.map_or_else(|| "<nil>".to_owned(), |version| version.to_string())
}

/// A value and who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The value; of a private key among the hashes, the hash of its value.
    pub value: Vec<u8>,
    /// The writer.
    pub version: Version,
}

/// A part of the state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// A chaincode's public keys.
    Public(String),
    /// A collection's keys by the hex of their hash: chaincode, collection.
    Hashed(String, String),
    /// A collection's keys in the clear: chaincode, collection.
    Private(String, String),
}

type Keys = BTreeMap<String, Versioned>;

/// All of it after some block.
#[derive(Debug, Clone, Default)]
pub struct World {
    spaces: BTreeMap<Space, Arc<Keys>>,
}

/// The name of a private key among the hashes.
pub fn key_hash(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

impl World {
    /// A key.
    pub fn get(&self, space: &Space, key: &str) -> Option<&Versioned> {
        self.spaces.get(space)?.get(key)
    }

    /// A public key's value.
    pub fn public(&self, namespace: &str, key: &str) -> Option<&Versioned> {
        self.get(&Space::Public(namespace.to_owned()), key)
    }

    /// The hash of a private key's value.
    pub fn hashed(&self, namespace: &str, collection: &str, key: &str) -> Option<&Versioned> {
        self.get(&Space::Hashed(namespace.to_owned(), collection.to_owned()), &key_hash(key))
    }

    /// A private key's value.
    pub fn private(&self, namespace: &str, collection: &str, key: &str) -> Option<&Versioned> {
        self.get(&Space::Private(namespace.to_owned(), collection.to_owned()), key)
    }

    /// Keys from `start` on, up to `end`, which is left out unless `with_end`; an empty end is none.
    pub fn range<'a>(
        &'a self,
        space: &Space,
        start: &str,
        end: &str,
        with_end: bool,
    ) -> Box<dyn Iterator<Item = (&'a String, &'a Versioned)> + 'a> {
        let Some(keys) = self.spaces.get(space) else {
            return Box::new(std::iter::empty());
        };
        let upper = match (end.is_empty(), with_end) {
            (true, _) => Bound::Unbounded,
            (false, true) => Bound::Included(end.to_owned()),
            (false, false) => Bound::Excluded(end.to_owned()),
        };
        if !end.is_empty() && start > end {
            return Box::new(std::iter::empty());
        }
        if start == end && matches!(upper, Bound::Excluded(_)) {
            return Box::new(std::iter::empty());
        }
        Box::new(keys.range((Bound::Included(start.to_owned()), upper)))
    }

    /// Sets or, without a value, deletes a key.
    pub fn put(&mut self, space: Space, key: String, value: Option<Versioned>) {
        let keys = Arc::make_mut(self.spaces.entry(space).or_default());
        match value {
            Some(value) => keys.insert(key, value),
            None => keys.remove(&key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(block: u64) -> Version {
        Version { block, transaction: 0 }
    }

    fn world(keys: &[&str]) -> World {
        let mut world = World::default();
        for key in keys {
            let value = Versioned { value: key.as_bytes().to_vec(), version: at(1) };
            world.put(Space::Public("cc".to_owned()), (*key).to_owned(), Some(value));
        }
        world
    }

    fn keys(world: &World, start: &str, end: &str, with_end: bool) -> Vec<String> {
        world.range(&Space::Public("cc".to_owned()), start, end, with_end).map(|(key, _)| key.clone()).collect()
    }

    #[test]
    fn ranges_leave_out_their_end() {
        let world = world(&["a", "b", "c"]);
        assert_eq!(keys(&world, "a", "c", false), ["a", "b"]);
        assert_eq!(keys(&world, "a", "c", true), ["a", "b", "c"]);
        assert_eq!(keys(&world, "b", "", false), ["b", "c"]);
        assert_eq!(keys(&world, "b", "b", true), ["b"]);
        assert!(keys(&world, "b", "b", false).is_empty());
        assert!(keys(&world, "c", "a", false).is_empty());
    }

    #[test]
    fn a_snapshot_does_not_see_later_writes() {
        let mut world = world(&["a"]);
        let snapshot = world.clone();
        world.put(Space::Public("cc".to_owned()), "a".to_owned(), None);
        assert!(world.public("cc", "a").is_none());
        assert_eq!(snapshot.public("cc", "a").map(|found| found.version), Some(at(1)));
    }
}
