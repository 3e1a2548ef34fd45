//! Signatures of a quorum under the blocks of a BFT channel (Fabric `protoutil/blockutils.go`,
//! `orderer/consensus/smartbft/{signer,assembler}.go`).
//!
//! A consenter signs what it appends to its log; the leader counts an entry as agreed when it has the signatures of a
//! quorum, and hands them to the others as the block's seal.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use tenter_fabric_wire::common::{
    Block, IdentifierHeader, LastConfig, Metadata, MetadataSignature, OrdererBlockMetadata,
};

use super::wal::Entry;
use crate::block;
use crate::msp::LocalMsp;

/// The signatures of an agreed block.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Seal {
    /// The block's number.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// The signatures' metadata as it will stand in the block.
    #[prost(bytes = "vec", tag = "2")]
    pub metadata: Vec<u8>,
}

/// One consenter's signature over an entry.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Signed {
    /// The entry.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// The entry's term: the same block in another term has another signature.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// The signature.
    #[prost(message, optional, tag = "3")]
    pub signature: Option<MetadataSignature>,
}

/// What the leader tells of its view (SmartBFT's `ViewMetadata`).
#[derive(Clone, PartialEq, Eq, Message)]
struct ViewMetadata {
    #[prost(uint64, tag = "1")]
    view: u64,
    #[prost(uint64, tag = "2")]
    latest_sequence: u64,
}

/// What all signatures of an entry cover beside its header.
fn value(entry: &Entry, last_config: u64) -> Vec<u8> {
    OrdererBlockMetadata {
        last_config: Some(LastConfig { index: last_config }),
        consenter_metadata: ViewMetadata { view: entry.term, latest_sequence: entry.index }.encode_to_vec(),
    }
    .encode_to_vec()
}

/// Makes and collects signatures.
#[derive(Debug)]
pub struct Sealer {
    id: u64,
    msp: Arc<LocalMsp>,
    collected: BTreeMap<u64, (u64, BTreeMap<u64, MetadataSignature>)>,
}

impl Sealer {
    /// Signs as the consenter with this id.
    pub fn new(id: u64, msp: Arc<LocalMsp>) -> Self {
        Self { id, msp, collected: BTreeMap::new() }
    }

    /// The own signature over an entry.
    pub fn sign(&self, entry: &Entry, last_config: u64) -> Signed {
        let identifier = u32::try_from(self.id).unwrap_or(u32::MAX);
        let nonce = rand::random::<[u8; 24]>().to_vec();
        let identifier_header = IdentifierHeader { identifier, nonce }.encode_to_vec();
        let header = Block::decode(&entry.block[..]).ok().and_then(|block| block.header).unwrap_or_default();
        let message = [&value(entry, last_config)[..], &identifier_header, &block::header_der(&header)].concat();
        let signature = MetadataSignature {
            signature: self.msp.key.sign(&message),
            identifier_header,
            ..MetadataSignature::default()
        };
        Signed { index: entry.index, term: entry.term, signature: Some(signature) }
    }

    /// Keeps a consenter's signature.
    pub fn collect(&mut self, from: u64, signed: &Signed) {
        let Some(signature) = &signed.signature else { return };
        let (term, all) = self.collected.entry(signed.index).or_default();
        if *term != signed.term {
            *term = signed.term;
            all.clear();
        }
        all.insert(from, signature.clone());
    }

    /// The seal of an entry, when a quorum of `members` has signed it; this node signs too.
    pub fn seal(&mut self, entry: &Entry, last_config: u64, members: &[u64], quorum: usize) -> Option<Seal> {
        let has_own = self
            .collected
            .get(&entry.index)
            .is_some_and(|(term, all)| *term == entry.term && all.contains_key(&self.id));
        if !has_own {
            let own = self.sign(entry, last_config);
            let signatures = self.collected.get(&entry.index).filter(|(term, _)| *term == entry.term).cloned();
            self.collected.insert(entry.index, signatures.unwrap_or((entry.term, BTreeMap::new())));
            self.collect(self.id, &own);
        }
        let (_, all) = self.collected.get(&entry.index)?;
        let signatures: Vec<MetadataSignature> = all
            .iter()
            .filter(|(id, _)| members.contains(id))
            .map(|(_, signature)| signature.clone())
            .take(quorum)
            .collect();
        if signatures.len() < quorum {
            return None;
        }
        let metadata = Metadata { value: value(entry, last_config), signatures }.encode_to_vec();
        self.collected.retain(|index, _| *index > entry.index);
        Some(Seal { index: entry.index, metadata })
    }
}
