//! A live channel configuration in the definition's own terms, as pure functions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tenter_fabric::block::Block;
use tenter_fabric::config::{BftOptions, ChannelConfig, Consensus, CurrentConfig, RaftOptions};
use tenter_fabric::policy::Policy;

use super::chain;
use crate::objects::{Batch, Capabilities, ChannelPolicies, ConsensusType};
use crate::observed::{ChannelFacts, ConfigAuthor, LiveChannel};

/// The policy of the ordering service that Fabric computes from the consenters of a BFT channel.
const BLOCK_VALIDATION: &str = "BlockValidation";

/// Reads a config block.
pub fn live_channel(block: &Block) -> Result<LiveChannel, String> {
    let bytes = block.config_bytes().map_err(|error| chain(&error))?;
    let current = CurrentConfig::from_block(block).map_err(|error| chain(&error))?;
    let origin = block.config_origin().map_err(|error| chain(&error))?;
    let author = origin.map(|origin| ConfigAuthor {
        digest: hex::encode(Sha256::digest(&origin.update)),
        signers: origin.signers.iter().map(|signer| format!("{} ({})", signer.msp_id, signer.subject)).collect(),
    });
    Ok(LiveChannel { block: block.number(), author, config: bytes, ..live_config(&current)? })
}

/// A configuration without its block.
pub fn live_config(current: &CurrentConfig) -> Result<LiveChannel, String> {
    let config = current.config();
    Ok(LiveChannel {
        sequence: config.sequence,
        block: 0,
        facts: facts(config)?,
        versions: config.versions.clone(),
        config: current.to_bytes(),
        author: None,
    })
}

/// The facts of a configuration.
pub fn facts(config: &ChannelConfig) -> Result<ChannelFacts, String> {
    let (consensus_type, consenters, options) = consensus(&config.orderer.consensus)?;
    let mut orderer_policies = policies(&config.orderer.policies);
    if consensus_type == ConsensusType::Bft {
        orderer_policies.remove(BLOCK_VALIDATION);
    }
    let orderers = config.orderer.organizations.values();
    let members = config.application.organizations.values();
    let batch = &config.orderer.batch;
    Ok(ChannelFacts {
        consensus_type,
        consenters,
        options,
        orderer_organizations: orderers
            .map(|organization| (organization.msp.msp_id.clone(), organization.endpoints.clone()))
            .collect(),
        members: members
            .map(|organization| {
                let anchors = organization.anchors.iter().map(|anchor| format!("{}:{}", anchor.host, anchor.port));
                (organization.msp.msp_id.clone(), anchors.collect())
            })
            .collect(),
        policies: ChannelPolicies {
            channel: policies(&config.policies),
            orderer: orderer_policies,
            application: policies(&config.application.policies),
        },
        acls: config.application.acls.clone(),
        capabilities: Capabilities {
            channel: list(&config.capabilities),
            orderer: list(&config.orderer.capabilities),
            application: list(&config.application.capabilities),
        },
        batch: Batch {
            max_message_count: batch.max_message_count,
            absolute_max_bytes: batch.absolute_max_bytes,
            preferred_max_bytes: batch.preferred_max_bytes,
            timeout: batch.timeout.clone(),
        },
    })
}

/// The organizations in a configuration, members and those that order, by the keys of their groups.
pub fn organizations(config: &ChannelConfig) -> BTreeSet<String> {
    let members = config.application.organizations.keys();
    config.orderer.organizations.keys().chain(members).cloned().collect()
}

type ConsensusFacts = (ConsensusType, Vec<String>, BTreeMap<String, String>);

fn consensus(consensus: &Consensus) -> Result<ConsensusFacts, String> {
    match consensus {
        Consensus::EtcdRaft { consenters, options } => Ok((
            ConsensusType::EtcdRaft,
            consenters.iter().map(|consenter| format!("{}:{}", consenter.host, consenter.port)).collect(),
            raft_options(options),
        )),
        Consensus::Bft { consenters, options } => Ok((
            ConsensusType::Bft,
            consenters.iter().map(|consenter| format!("{}:{}", consenter.host, consenter.port)).collect(),
            bft_options(options),
        )),
        Consensus::Other { kind, .. } => Err(format!("consensus of type {kind} is not supported")),
    }
}

fn named<const N: usize>(options: [(&str, String); N]) -> BTreeMap<String, String> {
    options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn raft_options(options: &RaftOptions) -> BTreeMap<String, String> {
    let RaftOptions { tick_interval, election_tick, heartbeat_tick, max_inflight_blocks, snapshot_interval_size } =
        options;
    named([
        ("tickInterval", tick_interval.clone()),
        ("electionTick", election_tick.to_string()),
        ("heartbeatTick", heartbeat_tick.to_string()),
        ("maxInflightBlocks", max_inflight_blocks.to_string()),
        ("snapshotIntervalSize", snapshot_interval_size.to_string()),
    ])
}

/// The options that a definition may set; the others have values that Fabric fixes.
fn bft_options(options: &BftOptions) -> BTreeMap<String, String> {
    named([
        ("requestBatchMaxInterval", options.request_batch_max_interval.clone()),
        ("requestForwardTimeout", options.request_forward_timeout.clone()),
        ("requestComplainTimeout", options.request_complain_timeout.clone()),
        ("requestAutoRemoveTimeout", options.request_auto_remove_timeout.clone()),
        ("viewChangeResendInterval", options.view_change_resend_interval.clone()),
        ("viewChangeTimeout", options.view_change_timeout.clone()),
        ("leaderHeartbeatTimeout", options.leader_heartbeat_timeout.clone()),
        ("collectTimeout", options.collect_timeout.clone()),
        ("incomingMessageBufferSize", options.incoming_message_buffer_size.to_string()),
        ("requestPoolSize", options.request_pool_size.to_string()),
        ("leaderHeartbeatCount", options.leader_heartbeat_count.to_string()),
    ])
}

fn policies(policies: &BTreeMap<String, Policy>) -> BTreeMap<String, String> {
    policies.iter().map(|(name, policy)| (name.clone(), policy.to_string())).collect()
}

/// Capabilities are a set on the ledger, of which a definition names one.
fn list(capabilities: &BTreeSet<String>) -> String {
    capabilities.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// What differs between the live facts and the wanted ones, one line each: `batch.timeout: 2s -> 1s`.
pub fn differences(live: &ChannelFacts, wanted: &ChannelFacts) -> Vec<String> {
    let (Ok(live), Ok(wanted)) = (serde_json::to_value(live), serde_json::to_value(wanted)) else {
        // Plain data always has a JSON form.
        return vec!["the configurations could not be compared".to_owned()];
    };
    let mut lines = Vec::new();
    walk("", Some(&live), Some(&wanted), &mut lines);
    lines
}

fn walk(path: &str, live: Option<&Value>, wanted: Option<&Value>, lines: &mut Vec<String>) {
    match (live, wanted) {
        (Some(Value::Object(live)), Some(Value::Object(wanted))) => {
            let names: BTreeSet<&String> = live.keys().chain(wanted.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&path, live.get(name), wanted.get(name), lines);
            }
        }
        (live, wanted) if live == wanted => {}
        (live, wanted) => lines.push(format!("{path}: {} -> {}", shown(live), shown(wanted))),
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}
