//! The signatures of recorded blocks: those of real orderers hold, and nothing else does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::similar_names,
    clippy::unnecessary_wraps,
    clippy::zero_sized_map_values,
    clippy::too_many_lines,
    reason = "helpers of tests fail loudly; each test uses another part of them"
)]

mod support;

use prost::Message as _;
use support::vectors;
use tenter_fabric_sim::block;
use tenter_fabric_sim::channel::Bundle;
use tenter_fabric_wire::common::{Block, Metadata};

fn chain(folder: &str) -> Vec<Block> {
    let dir = vectors().join("recorded/blocks").join(folder);
    (0..)
        .map_while(|number| std::fs::read(dir.join(format!("{number}.pb"))).ok())
        .map(|bytes| Block::decode(&bytes[..]).unwrap())
        .collect()
}

fn signatures(block: &mut Block, change: impl FnOnce(&mut Metadata)) {
    let slot = &mut block.metadata.as_mut().unwrap().metadata[block::SIGNATURES];
    let mut metadata = Metadata::decode(&slot[..]).unwrap();
    change(&mut metadata);
    *slot = metadata.encode_to_vec();
}

#[test]
fn signatures_of_real_orderers_hold() {
    for folder in ["raft-orderer-rec1", "raft-orderer-cc1", "raft-peer-cc1", "bft-orderer-bft1"] {
        let blocks = chain(folder);
        println!("{} blocks in {folder}", blocks.len());
        assert!(blocks.len() > 1);
        let mut bundle = Bundle::from_block(&blocks[0]).unwrap();
        for (height, found) in (0..).zip(&blocks) {
            let before = blocks[..usize::try_from(height).unwrap()].last().map(block::hash).unwrap_or_default();
            block::continues(found, height, &before).unwrap();
            bundle.verify_block(found).unwrap();
            if height > 0 {
                let mut one_less = found.clone();
                signatures(&mut one_less, |metadata| drop(metadata.signatures.pop()));
                assert!(bundle.verify_block(&one_less).is_err(), "{folder} {height}: one signature less");
                let mut other = found.clone();
                other.header.as_mut().unwrap().data_hash[0] ^= 1;
                assert!(bundle.verify_block(&other).is_err(), "{folder} {height}: another header");
            }
            if block::config_transaction(found).is_some() {
                bundle = Bundle::from_block(found).unwrap();
            }
        }
    }
}
