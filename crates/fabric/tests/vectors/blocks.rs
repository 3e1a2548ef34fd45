//! Recorded chains: hashes, links, metadata, and configurations that survive reading and writing.

use tenter_fabric::block::{Block, BlockError};
use tenter_fabric::config::{ChannelConfig, Consensus, Element, diff};
use tenter_fabric_wire::common;

use crate::{cases, json, name, read};

/// The blocks of a chain with what its index says of them.
fn chain(case: &std::path::Path) -> Vec<(Block, serde_json::Value)> {
    let index = json(case.join("index.json"));
    let entries = index.as_array().unwrap();
    assert!(!entries.is_empty(), "{} has no block", case.display());
    let block = |entry: &serde_json::Value| {
        let bytes = read(case.join(entry["file"].as_str().unwrap()));
        (Block::from_bytes(bytes).unwrap(), entry.clone())
    };
    entries.iter().map(block).collect()
}

#[test]
fn hashes_links_and_metadata() {
    for case in cases("recorded/blocks") {
        let chain = chain(&case);
        for (block, entry) in &chain {
            let at = format!("{} {}", name(&case), block.number());
            assert_eq!(Some(block.number()), entry["number"].as_u64(), "{at}");
            assert_eq!(hex::encode(block.header_hash()), entry["header_hash"], "{at}");
            assert_eq!(hex::encode(block.data_hash()), entry["data_hash"], "{at}");
            assert_eq!(hex::encode(block.previous_hash()), entry["previous_hash"], "{at}");
            assert_eq!(block.last_config_index(), entry["last_config"].as_u64(), "{at}");
            assert_eq!(Some(block.is_config()), entry["is_config"].as_bool(), "{at}");
            assert_eq!(Some(block.envelopes().len() as u64), entry["data_entries"].as_u64(), "{at}");
            assert_eq!(hex::encode(block.transactions_filter()), entry["transactions_filter"], "{at}");
            block.verify_data_hash().unwrap();
            assert!(name(&case).ends_with(&block.channel_id().unwrap()), "{at}");
        }
        for pair in chain.windows(2) {
            pair[1].0.verify_follows(&pair[0].0).unwrap();
            assert!(matches!(pair[0].0.verify_follows(&pair[1].0), Err(BlockError::Link { .. })));
        }
    }
}

#[test]
fn an_altered_block_is_noticed() {
    for case in cases("recorded/blocks") {
        let bytes = chain(&case).pop().unwrap().0.into_bytes();
        let mut block = <common::Block as prost::Message>::decode(bytes.as_slice()).unwrap();
        block.data.as_mut().unwrap().data[0].push(0);
        let altered = Block::from_bytes(prost::Message::encode_to_vec(&block)).unwrap();
        assert!(matches!(altered.verify_data_hash(), Err(BlockError::DataHash { .. })));
    }
}

/// The tree with map values in one order, so that trees compare as messages.
pub fn normal(config: &[u8]) -> common::Config {
    fn order<M: prost::Message + Default>(bytes: &mut Vec<u8>) {
        *bytes = M::decode(bytes.as_slice()).unwrap().encode_to_vec();
    }
    fn walk(group: &mut common::ConfigGroup) {
        for (key, value) in &mut group.values {
            match key.as_str() {
                "Capabilities" => order::<common::Capabilities>(&mut value.value),
                "ACLs" => order::<tenter_fabric_wire::protos::Acls>(&mut value.value),
                _ => {}
            }
        }
        group.groups.values_mut().for_each(walk);
    }
    let mut config: common::Config = prost::Message::decode(config).unwrap();
    walk(config.channel_group.as_mut().unwrap());
    config
}

#[test]
fn configurations_survive_reading_and_writing() {
    let mut seen = 0;
    for case in cases("recorded/blocks") {
        for (block, entry) in chain(&case).into_iter().filter(|(block, _)| block.is_config()) {
            seen += 1;
            let bytes = block.config_bytes().unwrap();
            let config = ChannelConfig::from_config_block(&block).unwrap();
            assert_eq!(Some(config.sequence), entry["config_sequence"].as_u64());
            let written = config.to_config_bytes();
            assert_eq!(normal(&written), normal(&bytes), "{} {}", name(&case), block.number());
            assert_eq!(ChannelConfig::from_config_bytes(&written).unwrap(), config);
            assert_eq!(diff(&config, &config.clone().without_history()), []);
            assert!(config.other_values.is_empty(), "{:?}", config.other_values);
        }
    }
    assert!(seen > 0, "no recorded config block");
}

#[test]
fn successive_configurations_differ_where_a_version_rose() {
    for case in cases("recorded/blocks") {
        let configs: Vec<ChannelConfig> = chain(&case)
            .iter()
            .filter(|(block, _)| block.is_config())
            .map(|(block, _)| block.config().unwrap())
            .collect();
        for pair in configs.windows(2) {
            let changes = diff(&pair[0], &pair[1]);
            assert!(!changes.is_empty(), "{}: nothing differs at sequence {}", name(&case), pair[1].sequence);
            let risen = pair[1].versions.iter().any(|(element, version)| *version > pair[0].version(element));
            assert!(risen, "{}: no version rose at sequence {}", name(&case), pair[1].sequence);
            let shown = serde_json::to_string(&(&changes, &pair[1])).unwrap();
            assert!(!shown.contains("BEGIN CERTIFICATE"), "PEM is shown: {shown}");
        }
    }
}

#[test]
fn validation_of_bft_blocks_follows_the_consenters() {
    let mut seen = 0;
    for case in cases("recorded/blocks") {
        for (block, _) in chain(&case).into_iter().filter(|(block, _)| block.is_config()) {
            let mut config = block.config().unwrap();
            if matches!(config.orderer.consensus, Consensus::Bft { .. }) {
                seen += 1;
                let live = config.orderer.policies.clone();
                config.orderer.set_block_validation();
                assert_eq!(config.orderer.policies, live);
            }
        }
    }
    assert!(seen > 0, "no recorded BFT configuration");
}

#[test]
fn what_would_be_lost_is_kept_or_refused() {
    let case = cases("recorded/blocks").remove(0);
    let bytes = chain(&case).remove(0).0.config_bytes().unwrap();
    let edited = |edit: &dyn Fn(&mut common::ConfigGroup)| {
        let mut config: common::Config = prost::Message::decode(bytes.as_slice()).unwrap();
        edit(config.channel_group.as_mut().unwrap());
        prost::Message::encode_to_vec(&config)
    };
    let value = || common::ConfigValue { version: 3, value: vec![1, 2, 3], mod_policy: "Other".to_owned() };

    let kept = edited(&|root| {
        root.groups.get_mut("Orderer").unwrap().values.insert("KafkaBrokers".to_owned(), value());
    });
    let config = ChannelConfig::from_config_bytes(&kept).unwrap();
    let element = Element::Value.at("/Channel/Orderer/KafkaBrokers");
    assert_eq!(config.other_values[&element], [1, 2, 3]);
    assert_eq!((config.version(&element), config.mod_policies[&element].as_str()), (3, "Other"));
    assert_eq!(normal(&config.to_config_bytes()), normal(&kept));
    assert_eq!(diff(&ChannelConfig::from_config_bytes(&bytes).unwrap(), &config).len(), 2, "value and mod_policy");

    let group = edited(&|root| {
        root.groups.insert("Consortiums".to_owned(), common::ConfigGroup::default());
    });
    assert!(
        ChannelConfig::from_config_bytes(&group).unwrap_err().to_string().contains("[Group]  /Channel/Consortiums")
    );

    let part = edited(&|root| {
        // Field 15 is not known to the message.
        root.groups.get_mut("Orderer").unwrap().values.get_mut("BatchSize").unwrap().value.extend([0x78, 1]);
    });
    let error = ChannelConfig::from_config_bytes(&part).unwrap_err().to_string();
    assert!(error.starts_with("[Value]  /Channel/Orderer/BatchSize has parts"), "{error}");

    let mut unknown = bytes.clone();
    unknown.extend([0x78, 1]);
    assert!(ChannelConfig::from_config_bytes(&unknown).is_err());
    assert!(ChannelConfig::from_config_bytes(&bytes[..bytes.len() / 2]).is_err());
}
