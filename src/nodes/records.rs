//! Join records and pinned genesis blocks: what outlives a node's volume.

use std::collections::BTreeMap;

use tenter_consortium::objects::{LABEL_CHANNEL, LABEL_NODE};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{JoinRecord, NodeChannel, NodeRef};
use tenter_fabric::block::Block;
use tenter_fabric::genesis::GenesisFormat;

use super::store::{Created, Store, StoreError};
use crate::controllers::labels::ledgers;

/// The `ConfigMap` that holds a channel's pinned genesis block.
pub fn genesis_name(channel: &str) -> String {
    format!("{channel}-genesis")
}

/// A pinned genesis block with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Header hash, hex.
    pub hash: String,
    /// The block, exactly as it is joined.
    pub block: Vec<u8>,
}

/// The header hash, hex, of an encoded block that is a genesis block and whose data is what its header says.
pub fn block_hash(bytes: &[u8]) -> Result<String, String> {
    let block = Block::from_bytes(bytes).map_err(|error| super::chain(&error))?;
    block.verify_data_hash().map_err(|error| super::chain(&error))?;
    if block.number() != 0 {
        return Err(format!("block {} is no genesis block", block.number()));
    }
    Ok(hex::encode(block.header_hash()))
}

/// Reads the pinned genesis block of a channel. `hash_of` computes the header hash of block bytes.
pub async fn read_pinned(
    store: &dyn Store,
    namespace: &str,
    channel: &str,
    hash_of: impl Fn(&[u8]) -> Result<String, String>,
) -> Observation<Pinned> {
    let name = genesis_name(channel);
    store.config_map(namespace, &name).await.try_map(|mut value| {
        let damaged = |why: String| format!("ConfigMap {namespace}/{name} is damaged: {why}; restore it from a backup");
        let block = value.remove("genesis.pb").ok_or_else(|| damaged("it has no genesis.pb".to_owned()))?;
        let noted = value.remove("hash").map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let hash = hash_of(&block).map_err(&damaged)?;
        match noted {
            Some(noted) if noted.trim() != hash => {
                Err(damaged(format!("its block has the hash {hash}, its entry says {}", noted.trim())))
            }
            _ => Ok(Pinned { hash, block }),
        }
    })
}

/// Pins a genesis block. An earlier pin stays as it is: whoever finds [`Created::Before`] reads it.
pub async fn pin(
    store: &dyn Store,
    namespace: &str,
    channel: &str,
    mut labels: BTreeMap<String, String>,
    pinned: &Pinned,
) -> Result<Created, StoreError> {
    labels.insert(LABEL_CHANNEL.to_owned(), channel.to_owned());
    let binary = BTreeMap::from([("genesis.pb".to_owned(), pinned.block.clone())]);
    let text = BTreeMap::from([
        ("hash".to_owned(), pinned.hash.clone()),
        ("format".to_owned(), GenesisFormat::LATEST.number().to_string()),
    ]);
    store.create_immutable(namespace, &genesis_name(channel), labels, binary, text).await
}

/// Writes down that a node holds a channel.
pub async fn record(
    store: &dyn Store,
    node: &NodeRef,
    channel: &str,
    mut labels: BTreeMap<String, String>,
    hash: &str,
) -> Result<(), StoreError> {
    labels.insert(LABEL_NODE.to_owned(), node.name.clone());
    store.record(&node.namespace, &ledgers(&node.name), labels, channel, hash).await
}

/// Joins what a node says with what is on record.
///
/// A record that cannot be read makes an absent channel unreachable: without it, a new node and one that
/// lost its data look alike.
pub async fn with_record<T>(store: &dyn Store, node: &NodeRef, channel: &str, live: Observation<T>) -> NodeChannel<T> {
    match store.config_map(&node.namespace, &ledgers(&node.name)).await {
        Observation::Present { value } if value.contains_key(channel) => {
            NodeChannel { live, record: JoinRecord::Joined }
        }
        Observation::Present { .. } | Observation::Absent { .. } => NodeChannel { live, record: JoinRecord::None },
        Observation::Forbidden { evidence } | Observation::Unreachable { evidence } => {
            let live = match live {
                Observation::Absent { evidence: said } => Observation::Unreachable {
                    evidence: format!("{said}; whether {node} had joined before is not known: {evidence}"),
                },
                live => live,
            };
            NodeChannel { live, record: JoinRecord::None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::memory::MemoryStore;

    fn node() -> NodeRef {
        NodeRef { namespace: "trade-hub".to_owned(), name: "orderer1".to_owned() }
    }

    fn absent() -> Observation<u8> {
        Observation::Absent { evidence: "404".to_owned() }
    }

    fn hash_of(block: &[u8]) -> Result<String, String> {
        if block.is_empty() { Err("empty".to_owned()) } else { Ok(format!("h{}", block.len())) }
    }

    #[tokio::test]
    async fn records_of_channels_stand_beside_each_other() {
        let store = MemoryStore::default();
        for channel in ["one", "two"] {
            record(&store, &node(), channel, BTreeMap::new(), "aa").await.expect("recorded");
        }
        for (channel, expected) in
            [("one", JoinRecord::Joined), ("two", JoinRecord::Joined), ("three", JoinRecord::None)]
        {
            assert_eq!(with_record(&store, &node(), channel, absent()).await.record, expected, "{channel}");
        }
    }

    #[tokio::test]
    async fn an_unreadable_record_makes_absence_unknown() {
        let store = MemoryStore::default();
        store.refuse("trade-hub", "orderer1-ledgers");
        let seen = with_record(&store, &node(), "one", absent()).await;
        assert_eq!(seen.live.word(), "unreachable");
        let seen = with_record(&store, &node(), "one", Observation::Present { value: 1 }).await;
        assert_eq!(seen.live.value(), Some(&1));
    }

    #[tokio::test]
    async fn a_pin_is_never_replaced() {
        let store = MemoryStore::default();
        let first = Pinned { hash: "h1".to_owned(), block: vec![1] };
        let second = Pinned { hash: "h2".to_owned(), block: vec![1, 2] };
        let pin = |pinned: Pinned| {
            let store = &store;
            async move { pin(store, "system", "one", BTreeMap::new(), &pinned).await.expect("stored") }
        };
        assert_eq!(pin(first.clone()).await, Created::Now);
        assert_eq!(pin(second).await, Created::Before);
        assert_eq!(read_pinned(&store, "system", "one", hash_of).await.value(), Some(&first));
        assert!(read_pinned(&store, "system", "other", hash_of).await.is_absent());
    }

    #[tokio::test]
    async fn a_damaged_pin_is_not_absent() {
        let store = MemoryStore::default();
        let wrong = Pinned { hash: "h9".to_owned(), block: vec![1] };
        pin(&store, "system", "one", BTreeMap::new(), &wrong).await.expect("stored");
        assert_eq!(read_pinned(&store, "system", "one", hash_of).await.word(), "unreachable");
    }
}
