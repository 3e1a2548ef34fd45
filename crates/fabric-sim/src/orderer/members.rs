//! The consenters of a channel, with the ids by which they know each other.
//!
//! A Raft channel's ids stand in the metadata of its blocks: a consenter keeps its id when its address or its
//! certificate changes (Fabric `orderer/consensus/etcdraft/membership.go`). A BFT channel's are in its configuration.

use prost::Message as _;
use tenter_fabric_wire::common::{Block, Metadata, OrdererBlockMetadata};
use tenter_fabric_wire::etcdraft::BlockMetadata;

use super::node::Node;
use super::raft::Group;
use crate::block;
use crate::broadcast;
use crate::channel::{Bundle, Consensus, Consenter};

/// The consenters, in the order of the configuration.
#[derive(Debug, Clone)]
pub struct Members {
    all: Vec<(u64, Consenter)>,
    next: u64,
}

impl Members {
    /// The consenters of `bundle`, with the ids that the newest block has for them.
    pub fn read(consensus: Consensus, bundle: &Bundle, newest: Option<&Block>) -> Result<Self, String> {
        let consenters = bundle.consenters()?;
        let count = consenters.len() as u64;
        let known = newest
            .and_then(raft_metadata)
            .filter(|metadata| metadata.consenter_ids.len() == consenters.len())
            .unwrap_or_else(|| BlockMetadata {
                consenter_ids: (1..=count).collect(),
                next_consenter_id: count + 1,
                raft_index: 0,
            });
        let ids: Vec<u64> = match consensus {
            Consensus::Raft => known.consenter_ids,
            Consensus::Bft => consenters.iter().map(|consenter| consenter.id).collect(),
        };
        Ok(Self { all: ids.into_iter().zip(consenters).collect(), next: known.next_consenter_id })
    }

    /// The consenters after a change of the configuration.
    pub fn after(&self, consensus: Consensus, before: &Bundle, after: &Bundle) -> Result<Self, String> {
        if consensus == Consensus::Bft {
            return Self::read(consensus, after, None);
        }
        if after.consensus() != Ok(Consensus::Raft) {
            // A change of type takes effect at the next start.
            return Ok(self.clone());
        }
        let change = broadcast::membership(before, after)?;
        let mut next = self.next;
        let mut all = Vec::new();
        for (origin, consenter) in change.origins.iter().zip(after.consenters()?) {
            let kept = origin.and_then(|at| self.all.get(at)).map(|(id, _)| *id);
            let id = kept.unwrap_or(next);
            if kept.is_none() {
                next += 1;
            }
            all.push((id, consenter));
        }
        Ok(Self { all, next })
    }

    /// This node's id, if it is among them.
    pub fn id_of(&self, node: &Node) -> Option<u64> {
        self.all.iter().find(|(_, consenter)| node.is_consenter(consenter)).map(|(id, _)| *id)
    }

    /// Who agrees, as the node with the id `me` sees it.
    pub fn group(&self, me: u64, consensus: Consensus) -> Group {
        Group {
            me,
            others: self.all.iter().map(|(id, _)| *id).filter(|id| *id != me).collect(),
            quorum: consensus.quorum(self.all.len()),
        }
    }

    /// All but the one with this id.
    pub fn others(&self, me: u64) -> impl Iterator<Item = &(u64, Consenter)> {
        self.all.iter().filter(move |(id, _)| *id != me)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The consenter with this id.
    pub fn get(&self, id: u64) -> Option<&Consenter> {
        self.all.iter().find(|(other, _)| *other == id).map(|(_, consenter)| consenter)
    }

    /// The id of the consenter that connects with this public key.
    pub fn by_client_key(&self, key: &[u8]) -> Option<u64> {
        self.all.iter().find(|(_, consenter)| consenter.client.public_key_info() == key).map(|(id, _)| *id)
    }

    /// What a block of a Raft channel says of them.
    pub fn metadata(&self, raft_index: u64) -> BlockMetadata {
        BlockMetadata {
            consenter_ids: self.all.iter().map(|(id, _)| *id).collect(),
            next_consenter_id: self.next,
            raft_index,
        }
    }
}

fn raft_metadata(newest: &Block) -> Option<BlockMetadata> {
    let bytes = newest.metadata.as_ref()?.metadata.get(block::SIGNATURES)?;
    let metadata = Metadata::decode(&bytes[..]).ok()?;
    let value = OrdererBlockMetadata::decode(&metadata.value[..]).ok()?;
    let inner = Metadata::decode(&value.consenter_metadata[..]).ok()?;
    BlockMetadata::decode(&inner.value[..]).ok()
}
