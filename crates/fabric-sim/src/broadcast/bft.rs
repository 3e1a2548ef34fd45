//! Changes of a BFT channel (Fabric `orderer/consensus/smartbft/{configverifier,util}.go` and the SmartBFT library).

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use tenter_fabric_wire::common::msp_principal::Classification;
use tenter_fabric_wire::common::signature_policy::{NOutOf, Type};
use tenter_fabric_wire::common::{
    Config, Consenter, MspPrincipal, Orderers, Policy, SignaturePolicy, SignaturePolicyEnvelope,
};
use tenter_fabric_wire::msp::SerializedIdentity;
use tenter_fabric_wire::orderer::ConsensusType;
use tenter_fabric_wire::smartbft::Options;
use tenter_fabric_wire::smartbft::options::Rotation;

use super::Aftermath;
use crate::channel::{Bundle, UNREADABLE, bft_quorum};
use crate::prototext;
use crate::settings;
use crate::x509::Certificate;

/// The policy by which blocks must be signed: a quorum of exactly these consenters.
pub(super) fn block_validation(consenters: &[Consenter]) -> Policy {
    let identities = consenters
        .iter()
        .map(|consenter| MspPrincipal {
            principal_classification: Classification::Identity as i32,
            principal: SerializedIdentity { mspid: consenter.msp_id.clone(), id_bytes: consenter.identity.clone() }
                .encode_to_vec(),
        })
        .collect();
    let rules = (0_i32..).zip(consenters).map(|(at, _)| SignaturePolicy { r#type: Some(Type::SignedBy(at)) }).collect();
    let n = i32::try_from(bft_quorum(consenters.len())).unwrap_or(i32::MAX);
    let envelope = SignaturePolicyEnvelope {
        version: 0,
        rule: Some(SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n, rules })) }),
        identities,
    };
    Policy { r#type: 1, value: envelope.encode_to_vec() }
}

/// Whether the block validation policy fits the consenters, byte for byte, and leaders do not rotate.
pub(super) fn check_consenters(config: &Config) -> Result<(), String> {
    let root = config.channel_group.as_ref().ok_or("empty channel group")?;
    if root.groups.is_empty() {
        return Err("no groups in channel group".to_owned());
    }
    let orderer = root.groups.get("Orderer").ok_or("no 'Orderer' group in channel groups")?;
    let value = orderer.values.get("Orderers").ok_or("no values in 'Orderer' group")?;
    let orderers = Orderers::decode(&value.value[..]).map_err(|_| UNREADABLE.to_owned())?;
    let expected = block_validation(&orderers.consenter_mapping);
    if orderer.policies.is_empty() {
        return Err("empty policies in 'Orderer' group".to_owned());
    }
    let actual = orderer
        .policies
        .get("BlockValidation")
        .ok_or("block validation policy is not found in the policies of 'Orderer' group")?
        .policy
        .clone();
    if actual.as_ref() != Some(&expected) {
        return Err(format!(
            "block validation policy should be a signature policy: {} but it is {} instead",
            prototext::policy(&expected),
            actual.as_ref().map_or_else(|| "<nil>".to_owned(), prototext::policy)
        ));
    }
    let kind = orderer.values.get("ConsensusType").ok_or("missing consensus type property in config")?;
    let kind = ConsensusType::decode(&kind.value[..])
        .map_err(|_| format!("invalid consensus type property in config: {UNREADABLE}"))?;
    let options = Options::decode(&kind.metadata[..])
        .map_err(|_| format!("invalid options encoded in consensus metadata: {UNREADABLE}"))?;
    if options.leader_rotation == Rotation::On as i32 {
        return Err("leader rotation must be turned off for this version or be unspecified".to_owned());
    }
    Ok(())
}

/// Whether the SmartBFT library accepts what the options say of batches. Only a change of the consensus type is held to that:
/// a channel that runs takes both numbers from its batch settings.
pub(super) fn check_batches(options: &Options) -> Result<(), String> {
    // The library's own limit of a request, which the options do not reach before they are checked.
    const REQUEST: u64 = 10 * 1024;
    let (count, bytes) = (options.request_batch_max_count, options.request_batch_max_bytes);
    if count == 0 || count > bytes || bytes < REQUEST {
        return Err("config validation failed: the batches".to_owned());
    }
    Ok(())
}

/// Whether the SmartBFT library accepts the options.
pub(super) fn check_options(options: &Options) -> Result<(), String> {
    let mut times = BTreeMap::new();
    for (name, text) in [
        ("RequestBatchMaxInterval", &options.request_batch_max_interval),
        ("RequestForwardTimeout", &options.request_forward_timeout),
        ("RequestComplainTimeout", &options.request_complain_timeout),
        ("RequestAutoRemoveTimeout", &options.request_auto_remove_timeout),
        ("ViewChangeResendInterval", &options.view_change_resend_interval),
        ("ViewChangeTimeout", &options.view_change_timeout),
        ("LeaderHeartbeatTimeout", &options.leader_heartbeat_timeout),
        ("CollectTimeout", &options.collect_timeout),
    ] {
        let time =
            settings::parse_go_duration(text).map_err(|text| format!("bad config metadata option {name}: {text}"))?;
        times.insert(name, time);
    }
    let failed = |text: String| Err(format!("config validation failed: {text}"));
    if let Some((name, _)) = times.iter().find(|(_, time)| **time <= 0) {
        return failed(format!("{name} should be greater than zero"));
    }
    for (name, number) in [
        ("IncomingMessageBufferSize", options.incoming_message_buffer_size),
        ("RequestPoolSize", options.request_pool_size),
        ("LeaderHeartbeatCount", options.leader_heartbeat_count),
    ] {
        if number == 0 {
            return failed(format!("{name} should be greater than zero"));
        }
    }
    for (lesser, greater) in [
        ("RequestForwardTimeout", "RequestComplainTimeout"),
        ("RequestComplainTimeout", "RequestAutoRemoveTimeout"),
        ("ViewChangeResendInterval", "ViewChangeTimeout"),
    ] {
        if times[lesser] > times[greater] {
            return failed(format!("{lesser} is bigger than {greater}"));
        }
    }
    Ok(())
}

/// What a configuration does to the nodes that it comes into force on.
pub(super) fn aftermath(after: &Bundle) -> Aftermath {
    let mut ids: Vec<u32> = Vec::new();
    for consenter in &after.orderers {
        if let Err(error) = Certificate::from_pem(&consenter.identity) {
            return Aftermath::CrashAfter(format!("Failed to sanitize identity: {error}"));
        }
        for pem in [&consenter.server_tls_cert, &consenter.client_tls_cert] {
            if let Err(error) = Certificate::from_pem(pem) {
                return Aftermath::Halt(error.to_string());
            }
        }
        if !after.msps.contains_key(&consenter.msp_id) {
            return Aftermath::Halt(format!("no MSP found for MSP with ID of {}", consenter.msp_id));
        }
        ids.push(consenter.id);
    }
    let options = match Options::decode(&after.consensus_type.metadata[..]) {
        Ok(options) => options,
        Err(error) => return Aftermath::Halt(format!("failed to unmarshal consensus metadata: {error}")),
    };
    if let Err(text) = check_options(&options) {
        return Aftermath::Halt(text);
    }
    ids.sort_unstable();
    let list: Vec<String> = ids.iter().map(u32::to_string).collect();
    let invalid = |text: &str| {
        Aftermath::CrashAfter(format!("Configuration is invalid, error: {text}, nodes: [{}]", list.join(" ")))
    };
    if ids.contains(&0) {
        return invalid("nodes contains node id 0 which is not permitted");
    }
    if ids.iter().collect::<BTreeSet<_>>().len() != ids.len() {
        return invalid("nodes contains duplicate IDs");
    }
    Aftermath::Fine
}
