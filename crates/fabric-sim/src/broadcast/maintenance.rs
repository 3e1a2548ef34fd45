//! The way from Raft to BFT leads through maintenance (Fabric `orderer/common/msgprocessor/maintenancefilter.go`).

use prost::Message as _;
use tenter_fabric_wire::common::Envelope;
use tenter_fabric_wire::etcdraft::ConfigMetadata;
use tenter_fabric_wire::orderer::consensus_type::State;
use tenter_fabric_wire::smartbft::Options;

use super::bft;
use crate::channel::{Bundle, UNREADABLE};
use crate::configtx;
use crate::prototext;

fn state_name(state: i32) -> String {
    State::try_from(state).map_or_else(|_| state.to_string(), |state| state.as_str_name().to_owned())
}

/// Whether the next configuration may follow as far as maintenance is concerned.
pub(super) fn check(bundle: &Bundle, next: &Bundle, update: &Envelope) -> Result<(), String> {
    let (now, then) = (&bundle.consensus_type, &next.consensus_type);
    if !bundle.migrates() {
        if then.state != State::Normal as i32 {
            return Err(format!(
                "next config attempted to change ConsensusType.State to {}, but capability is disabled",
                state_name(then.state)
            ));
        }
        if now.r#type != then.r#type {
            return Err(format!(
                "next config attempted to change ConsensusType.Type from {} to {}, but capability is disabled",
                now.r#type, then.r#type
            ));
        }
        return Ok(());
    }
    if now.state != then.state {
        only_consensus_type(update)?;
        let states =
            format!("ConsensusType.State is changing from {} to {}", state_name(now.state), state_name(then.state));
        if now.r#type != then.r#type {
            return Err(format!(
                "attempted to change ConsensusType.Type from {} to {}, but {states}",
                now.r#type, then.r#type
            ));
        }
        if now.metadata != then.metadata {
            return Err(format!("attempted to change ConsensusType.Metadata, but {states}"));
        }
    }
    if now.r#type == then.r#type { Ok(()) } else { change_of_type(bundle, next) }
}

fn change_of_type(bundle: &Bundle, next: &Bundle) -> Result<(), String> {
    let (now, then) = (&bundle.consensus_type, &next.consensus_type);
    let attempt = format!("attempted to change consensus type from {} to {}", now.r#type, then.r#type);
    if now.state == State::Normal as i32 {
        return Err(format!("{attempt}, but current config ConsensusType.State is not in maintenance mode"));
    }
    if then.state == State::Normal as i32 {
        return Err(format!("{attempt}, but next config ConsensusType.State is not in maintenance mode"));
    }
    if then.r#type != "BFT" {
        return Err(format!("{attempt}, transition not supported"));
    }
    let options = Options::decode(&then.metadata[..])
        .map_err(|_| format!("failed to unmarshal BFT metadata configuration: {UNREADABLE}"))?;
    bft::check_batches(&options)
        .and_then(|()| bft::check_options(&options))
        .map_err(|_| "invalid BFT metadata configuration".to_owned())?;
    same_consenters(bundle, next).map_err(|text| format!("invalid BFT consenter mapping configuration: {text}"))
}

/// The write set may hold nothing but the consensus type.
fn only_consensus_type(update: &Envelope) -> Result<(), String> {
    let update = configtx::update_of(update)?;
    let written = update.write_set.unwrap_or_default();
    if written.groups.is_empty() {
        return Err("config update contains no changes".to_owned());
    }
    if !written.values.is_empty() {
        return Err("config update contains changes to values in group Channel".to_owned());
    }
    if written.groups.len() > 1 {
        return Err("config update contains changes to more than one group".to_owned());
    }
    let orderer = written.groups.get("Orderer").ok_or("update does not contain the Orderer group")?;
    if !orderer.groups.is_empty() {
        return Err("config update contains changes to groups within the Orderer group".to_owned());
    }
    if !orderer.values.contains_key("ConsensusType") {
        return Err("config update does not contain the ConsensusType value".to_owned());
    }
    if orderer.values.len() > 1 {
        return Err("config update contain more then just the ConsensusType value in the Orderer group".to_owned());
    }
    Ok(())
}

/// The consenters before and after are the same nodes.
fn same_consenters(bundle: &Bundle, next: &Bundle) -> Result<(), String> {
    let raft = ConfigMetadata::decode(&bundle.consensus_type.metadata[..]).unwrap_or_default().consenters;
    let bft = &next.orderers;
    if bft.is_empty() {
        return Err("Invalid new config: bft consenters are missing".to_owned());
    }
    if raft.len() != bft.len() {
        return Err(format!(
            "Invalid new config: the number of bft consenters: {} is not equal to the number of raft consenters: {}",
            bft.len(),
            raft.len()
        ));
    }
    for consenter in &raft {
        let found = bft.iter().any(|other| {
            other.port == consenter.port
                && other.host == consenter.host
                && other.server_tls_cert == consenter.server_tls_cert
                && other.client_tls_cert == consenter.client_tls_cert
        });
        if !found {
            return Err(format!(
                "No suitable BFT consenter for Raft consenter: {}",
                prototext::raft_consenter(consenter)
            ));
        }
    }
    Ok(())
}
