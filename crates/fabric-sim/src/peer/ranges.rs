//! What a range query saw, in the form that a later check compares: the reads themselves, or above 50 of them a Merkle
//! tree (Fabric `core/ledger/kvledger/txmgmt/rwsetutil/query_results_helper.go`).

use std::collections::BTreeMap;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tenter_fabric_wire::kvrwset::range_query_info::ReadsInfo;
use tenter_fabric_wire::kvrwset::{KvRead, QueryReads, QueryReadsMerkleSummary};

/// How many nodes a level of the tree holds before they become one of the next level.
pub const MAX_DEGREE: u32 = 50;
const LEAVES: u32 = 1;

/// The reads of one range, summed up while they are made.
#[derive(Debug, Clone)]
pub struct Reads {
    degree: usize,
    pending: Vec<KvRead>,
    levels: BTreeMap<u32, Vec<Vec<u8>>>,
    top: u32,
}

impl Reads {
    /// Nothing read yet.
    pub fn new(degree: u32) -> Self {
        Self {
            degree: usize::try_from(degree).unwrap_or(usize::MAX).max(2),
            pending: Vec::new(),
            levels: BTreeMap::new(),
            top: LEAVES,
        }
    }

    /// One more read.
    pub fn add(&mut self, read: KvRead) {
        self.pending.push(read);
        if self.pending.len() > self.degree {
            self.fold_pending();
        }
    }

    fn fold_pending(&mut self) {
        let reads = QueryReads { kv_reads: std::mem::take(&mut self.pending) };
        let mut hash = Sha256::digest(reads.encode_to_vec()).to_vec();
        let mut level = LEAVES;
        loop {
            let nodes = self.levels.entry(level).or_default();
            nodes.push(hash);
            if nodes.len() <= self.degree {
                return;
            }
            hash = combined(nodes);
            self.levels.remove(&level);
            level += 1;
            self.top = self.top.max(level);
        }
    }

    /// What stands in the read-write set; nothing when nothing was read.
    pub fn finish(mut self) -> Option<ReadsInfo> {
        if self.levels.is_empty() {
            return (!self.pending.is_empty()).then_some(ReadsInfo::RawReads(QueryReads { kv_reads: self.pending }));
        }
        if !self.pending.is_empty() {
            self.fold_pending();
        }
        let mut level = LEAVES;
        while level < self.top {
            if let Some(nodes) = self.levels.remove(&level) {
                let hash = match nodes.as_slice() {
                    [only] => only.clone(),
                    several => combined(several),
                };
                self.levels.entry(level + 1).or_default().push(hash);
            }
            level += 1;
        }
        let mut nodes = self.levels.remove(&self.top).unwrap_or_default();
        if nodes.len() > self.degree {
            self.top += 1;
            nodes = vec![combined(&nodes)];
        }
        Some(ReadsInfo::ReadsMerkleHashes(QueryReadsMerkleSummary {
            max_degree: u32::try_from(self.degree).unwrap_or(u32::MAX),
            max_level: self.top,
            max_level_hashes: nodes,
        }))
    }
}

fn combined(nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for node in nodes {
        digest.update(node);
    }
    digest.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(count: usize) -> Option<ReadsInfo> {
        let mut reads = Reads::new(MAX_DEGREE);
        for number in 0..count {
            reads.add(KvRead { key: format!("{number:05}"), version: None });
        }
        reads.finish()
    }

    #[test]
    fn few_reads_stand_as_they_are_and_many_as_hashes() {
        assert_eq!(summary(0), None);
        assert!(matches!(summary(50), Some(ReadsInfo::RawReads(reads)) if reads.kv_reads.len() == 50));
        let tree = |count| match summary(count) {
            Some(ReadsInfo::ReadsMerkleHashes(tree)) => (tree.max_level, tree.max_level_hashes.len()),
            other => panic!("{other:?}"),
        };
        assert_eq!(tree(51), (1, 1));
        assert_eq!(tree(52), (1, 2));
        // 51 leaves of 51 reads make one node of the second level.
        assert_eq!(tree(51 * 51), (2, 1));
        assert_eq!(tree(51 * 51 + 1), (2, 2));
        assert_ne!(summary(60), summary(61));
    }
}
