//! Genesis blocks against configtxgen's, and their reproducibility.

use std::path::Path;

use proptest::prelude::*;
use prost::Message as _;
use tenter_fabric::block::Block;
use tenter_fabric::config::{Anchor, ChannelConfig, Consensus, diff};
use tenter_fabric::genesis::{
    GenesisError, GenesisFormat, GenesisInputs, GenesisMismatch, genesis_block, verify_pinned,
};
use tenter_fabric_wire::common;

use crate::blocks::normal;
use crate::configtx::channel_config;
use crate::{cases, name, read};

/// Hashes of the blocks in format 1. They must never change: pinned blocks in repositories are checked against them.
const V1: &str = "
acls-anchors 0ae974864666b43ffdf908a458cdc699db7832e50e06e8acb0a1c73133c1c39b
bft4 a735c1c574cdbfdbd850501aac7a738bc64b768a9aefbdfab327de9994851108
raft1-v2 2adaf790ef92d0fe08b67d186ead4cfe4f3b6ffc5ad3c6317d5e0f19785aa4a8
raft3 564a7cc6a3625de755fa410ddc3678f5eb1f64a84852e3a8b608ec5a92223901
raft3-three-orgs 165f209bb45b951a9a0d670aa84f35966105856fabfeeb50c2c6eac54f0464eb
";

fn made(case: &Path) -> (ChannelConfig, Block) {
    let config = channel_config(&case.join("configtx.yaml"));
    let block = genesis_block(name(case), &config, GenesisFormat::V1).unwrap_or_else(|error| panic!("{error}"));
    (config, block)
}

#[test]
fn trees_are_configtxgens() {
    for case in cases("genesis") {
        let theirs = Block::from_bytes(read(case.join("block.pb"))).unwrap();
        theirs.verify_data_hash().unwrap();
        let (config, ours) = made(&case);
        ours.verify_data_hash().unwrap();
        assert_eq!(normal(&ours.config_bytes().unwrap()), normal(&theirs.config_bytes().unwrap()), "{}", name(&case));
        let mut read_back = theirs.config().unwrap();
        assert_eq!(diff(&read_back, &config), [], "{}", name(&case));
        assert!(read_back.versions.values().all(|version| *version == 0));
        read_back.versions.clear();
        assert_eq!(read_back, config, "{}", name(&case));
    }
}

#[test]
fn blocks_are_laid_out_as_configtxgens() {
    let headers = |block: &Block| {
        let message = common::Block::decode(block.bytes()).unwrap();
        let envelope = common::Envelope::decode(block.envelopes()[0].as_slice()).unwrap();
        let payload = common::Payload::decode(envelope.payload.as_slice()).unwrap();
        let header = payload.header.unwrap();
        let mut channel = common::ChannelHeader::decode(header.channel_header.as_slice()).unwrap();
        let mut signature = common::SignatureHeader::decode(header.signature_header.as_slice()).unwrap();
        assert_eq!(channel.timestamp.take().unwrap().nanos, 0);
        assert_eq!(signature.nonce.len(), 24);
        assert_eq!(channel.tx_id.len(), 64);
        channel.tx_id.clear();
        channel.channel_id.clear();
        signature.nonce.clear();
        (message.metadata, message.header.unwrap().previous_hash, envelope.signature, channel, signature)
    };
    for case in cases("genesis") {
        let theirs = Block::from_bytes(read(case.join("block.pb"))).unwrap();
        let (_, ours) = made(&case);
        assert_eq!(headers(&ours), headers(&theirs), "{}", name(&case));
        assert_eq!(ours.channel_id().unwrap(), name(&case));
        assert_eq!(ours.last_config_index(), Some(0));
    }
}

#[test]
fn format_1_never_changes() {
    for case in cases("genesis") {
        let known = V1.lines().filter_map(|line| line.split_once(' ')).find(|(known, _)| *known == name(&case));
        if let Some((_, hash)) = known {
            assert_eq!(hex::encode(made(&case).1.header_hash()), hash, "{}", name(&case));
        }
    }
}

#[test]
fn a_pinned_block_is_checked_and_the_difference_named() {
    let case = cases("genesis").remove(0);
    let (config, block) = made(&case);
    let inputs = |channel_id, config| GenesisInputs { channel_id, config, format: GenesisFormat::V1 };
    verify_pinned(block.bytes(), &inputs(name(&case), &config)).unwrap();

    let path = |pinned: &[u8], inputs: &GenesisInputs<'_>| match verify_pinned(pinned, inputs) {
        Err(GenesisMismatch::Differs { path, .. }) => path,
        other => panic!("{other:?}"),
    };
    assert_eq!(path(block.bytes(), &inputs("other", &config)), "channel name");
    let mut changed = config.clone();
    changed.orderer.batch.max_message_count += 1;
    let at = path(block.bytes(), &inputs(name(&case), &changed));
    assert_eq!(at, "/Channel/Orderer/BatchSize/max_message_count");
    let theirs = read(case.join("block.pb"));
    let channel = Block::from_bytes(theirs.clone()).unwrap().channel_id().unwrap();
    assert_eq!(path(&theirs, &inputs(&channel, &config)), "timestamp");
    assert!(matches!(verify_pinned(b"rubbish", &inputs("other", &config)), Err(GenesisMismatch::Unreadable(_))));
}

#[test]
fn what_would_not_work_is_refused() {
    let problems = |edit: &dyn Fn(&mut ChannelConfig)| {
        let mut found = Vec::new();
        for case in cases("genesis") {
            let mut config = channel_config(&case.join("configtx.yaml"));
            edit(&mut config);
            if let Err(GenesisError::Config(problems)) = genesis_block("some", &config, GenesisFormat::V1) {
                found.extend(problems.into_iter().map(|problem| problem.to_string()));
            }
        }
        found.join("\n")
    };
    assert_eq!(problems(&|_| ()), "");
    let check = |expected: &str, edit: &dyn Fn(&mut ChannelConfig)| {
        let found = problems(edit);
        assert!(found.contains(expected), "`{expected}` is not in:\n{found}");
    };
    check("Admins is missing", &|config| {
        config.application.policies.remove("Admins");
    });
    check("BlockValidation is missing", &|config| {
        config.orderer.policies.remove("BlockValidation");
    });
    check("letters, digits", &|config| {
        let policy = config.policies["Admins"].clone();
        config.policies.insert("Bad_Name".to_owned(), policy);
    });
    check("must not be empty with capability V3_0", &|config| {
        config.orderer.organizations.values_mut().for_each(|organization| organization.endpoints.clear());
    });
    check("must be empty with capability V3_0", &|config| config.orderer_addresses.push("one:7050".to_owned()));
    check("greater than zero, such as 2s", &|config| config.orderer.batch.timeout = "2".to_owned());
    check("no limit may be 0", &|config| config.orderer.batch.preferred_max_bytes = 0);
    check("crash every orderer", &|config| {
        if let Consensus::Bft { consenters, .. } = &mut config.orderer.consensus {
            consenters[1].id = consenters[0].id;
        }
    });
    check("compute it anew", &|config| {
        if let Consensus::Bft { consenters, .. } = &mut config.orderer.consensus {
            consenters.pop();
        }
    });
    check("BFT needs V3_0", &|config| config.capabilities.clear());
    check("same TLS certificate", &|config| {
        if let Consensus::EtcdRaft { consenters, .. } = &mut config.orderer.consensus {
            let first = consenters[0].clone();
            consenters.push(first);
        }
    });
    check("drop the history", &|config| config.sequence = 1);
    let config = channel_config(&cases("genesis")[0].join("configtx.yaml"));
    for bad in ["", "Upper", "1st", "a_b", &"a".repeat(250)] {
        let refused = genesis_block(bad, &config, GenesisFormat::V1);
        assert!(matches!(refused, Err(GenesisError::ChannelName { .. })), "{bad}");
    }
}

/// Edits of a configuration that leave it sound.
fn edit(config: &mut ChannelConfig, (count, resource, host, port): &(u32, String, String, u16)) {
    config.orderer.batch.max_message_count = *count;
    config.application.acls.insert(resource.clone(), "/Channel/Application/Admins".to_owned());
    for organization in config.application.organizations.values_mut() {
        organization.anchors.push(Anchor { host: host.clone(), port: *port });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn equal_inputs_give_equal_bytes_and_others_do_not(
        first in (1..1000u32, "[a-z/]{1,12}", "[a-z.]{1,12}", 1..u16::MAX),
        second in (1..1000u32, "[a-z/]{1,12}", "[a-z.]{1,12}", 1..u16::MAX),
    ) {
        let base = channel_config(&cases("genesis")[0].join("configtx.yaml"));
        let (mut one, mut two) = (base.clone(), base);
        edit(&mut one, &first);
        edit(&mut two, &second);
        let block = |config: &ChannelConfig| genesis_block("some", config, GenesisFormat::V1).unwrap().into_bytes();
        prop_assert_eq!(block(&one), block(&one.clone()));
        prop_assert_eq!(block(&one) == block(&two), one == two);
        prop_assert_eq!(diff(&one, &two).is_empty(), one == two);
        prop_assert!(block(&one) != genesis_block("other", &one, GenesisFormat::V1).unwrap().into_bytes());
        let read_back = ChannelConfig::from_config_bytes(&one.to_config_bytes()).unwrap();
        prop_assert_eq!(read_back.to_config_bytes(), one.to_config_bytes());
    }
}
