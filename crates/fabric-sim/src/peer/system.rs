//! The system chaincodes cscc and qscc (Fabric `core/scc`).

use prost::Message as _;
use tenter_fabric_wire::common::msp_principal::Classification;
use tenter_fabric_wire::common::msp_role::MspRoleType;
use tenter_fabric_wire::common::{Block, BlockchainInfo, ConfigEnvelope, Envelope};
use tenter_fabric_wire::common::{MspPrincipal, MspRole};
use tenter_fabric_wire::protos::{ChannelInfo, ChannelQueryResponse, JoinBySnapshotStatus, ProcessedTransaction};

use super::acl;
use super::builder::Store;
use super::channels::{Channel, Channels};
use super::node::Node;
use super::proposal::Unpacked;
use crate::block;
use crate::channel::Bundle;
use crate::msp::Identity;

/// A payload, or the text of an error with status 500.
pub type Answer = Result<Vec<u8>, String>;

/// What the chaincodes work on.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The peer.
    pub node: &'a Node,
    /// Its channels.
    pub channels: &'a Channels,
    /// Its chaincode packages.
    pub packages: &'a Store,
    /// The proposal.
    pub proposal: &'a Unpacked,
}

impl Context<'_> {
    /// The peer's own organisation decides: may the creator act as `role`?
    pub(super) fn local(&self, role: MspRoleType) -> Result<(), String> {
        let (policy, msp) = match role {
            MspRoleType::Admin => ("Admins", &self.node.msp.msp),
            _ => ("Members", &self.node.msp.msp),
        };
        let identity = Identity::parse(&self.proposal.creator).map_err(|error| error.0)?;
        if identity.msp_id != msp.id {
            return Err(format!(
                "Failed deserializing proposal creator during channelless check policy with policy [{policy}]: [expected MSP ID {}, received {}]",
                msp.id, identity.msp_id
            ));
        }
        let principal = MspPrincipal {
            principal_classification: Classification::Role as i32,
            principal: MspRole { msp_identifier: msp.id.clone(), role: role as i32 }.encode_to_vec(),
        };
        msp.satisfies(&identity, &principal).map_err(|error| {
            format!(
                "Failed verifying that proposal's creator satisfies local MSP principal during channelless check policy with policy [{policy}]: [{error}]"
            )
        })
    }

    fn text(&self, index: usize) -> String {
        self.proposal.args.get(index).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    }
}

/// The configuration system chaincode.
pub fn cscc(context: &Context<'_>) -> Answer {
    let count = context.proposal.args.len();
    let wrong_count = || Err(format!("Incorrect number of arguments, {count}"));
    if count == 0 {
        return wrong_count();
    }
    let function = context.text(0);
    if !["GetChannels", "JoinBySnapshotStatus"].contains(&function.as_str()) && count < 2 {
        return wrong_count();
    }
    match function.as_str() {
        "JoinChain" => join_chain(context),
        "JoinChainBySnapshot" => join_by_snapshot(context),
        "JoinBySnapshotStatus" => {
            context.local(MspRoleType::Admin).map_err(|text| format!("access denied for [{function}]: {text}"))?;
            Ok(JoinBySnapshotStatus::default().encode_to_vec())
        }
        "GetChannels" => {
            context.local(MspRoleType::Member).map_err(|text| format!("access denied for [{function}]: {text}"))?;
            let channels = context.channels.names().into_iter().map(|channel_id| ChannelInfo { channel_id }).collect();
            Ok(ChannelQueryResponse { channels }.encode_to_vec())
        }
        "GetConfigBlock" | "GetChannelConfig" => channel_config(context, &function),
        _ => Err(format!("Requested function {function} not found.")),
    }
}

fn join_chain(context: &Context<'_>) -> Answer {
    let bytes = context.proposal.args.get(1).map(Vec::as_slice).unwrap_or_default();
    let unreadable =
        |text: &str| format!("\"JoinChain\" request failed to extract channel id from the block due to [{text}]");
    let genesis = Block::decode(bytes)
        .map_err(|_| "Failed to reconstruct the genesis block, error unmarshalling Block".to_owned())?;
    let first = genesis
        .data
        .as_ref()
        .and_then(|data| data.data.first())
        .ok_or_else(|| unreadable("failed to retrieve channel id - block is empty"))?;
    let opened = Envelope::decode(&first[..])
        .map_err(|error| error.to_string())
        .and_then(|envelope| block::open(&envelope))
        .map_err(|text| unreadable(&text))?;
    let name = opened.channel.channel_id.clone();
    let invalid = |text: String| {
        format!(
            "\"JoinChain\" for channelID = {name} failed because of validation of configuration block, because of {text}"
        )
    };
    let config = block::config_transaction(&genesis)
        .ok_or_else(|| invalid("Bad configuration envelope: not of type CONFIG".to_owned()))?;
    let config = ConfigEnvelope::decode(&config.payload.data[..]).map_err(|error| invalid(error.to_string()))?;
    let group = config
        .config
        .ok_or_else(|| invalid("Nil config envelope Config".to_owned()))?
        .channel_group
        .ok_or_else(|| invalid("Nil channel group".to_owned()))?;
    if !group.groups.contains_key("Application") {
        return Err(invalid("Invalid configuration block, missing Application configuration group".to_owned()));
    }
    context.local(MspRoleType::Admin).map_err(|text| format!("access denied for [JoinChain][{name}]: [{text}]"))?;
    context.channels.join(&name, &genesis).map(|()| Vec::new())
}

fn join_by_snapshot(context: &Context<'_>) -> Answer {
    let dir = context.text(1);
    if dir.is_empty() {
        return Err("Cannot join the channel, no snapshot directory provided".to_owned());
    }
    context.local(MspRoleType::Admin).map_err(|text| format!("access denied for [JoinChainBySnapshot]: [{text}]"))?;
    Err(format!(
        "cannot create ledger from snapshot {dir}: error opening dir [{dir}]: open {dir}: no such file or directory"
    ))
}

fn channel_config(context: &Context<'_>, function: &str) -> Answer {
    let name = context.text(1);
    if function == "GetChannelConfig" && name.is_empty() {
        return Err("empty channel name provided".to_owned());
    }
    acl::check(context, &format!("cscc/{function}"), &name)
        .map_err(|text| format!("access denied for [{function}][{name}]: {text}"))?;
    let channel = context.channels.get(&name).ok_or_else(|| format!("Unknown channel ID, {name}"))?;
    if function == "GetChannelConfig" {
        let bundle: &Bundle = &channel.bundle();
        return Ok(bundle.config.encode_to_vec());
    }
    channel
        .ledger
        .config_block()
        .map(|block| block.encode_to_vec())
        .ok_or_else(|| "the ledger has no config block".to_owned())
}

/// The query system chaincode.
pub fn qscc(context: &Context<'_>) -> Answer {
    let count = context.proposal.args.len();
    if count < 2 {
        return Err(format!("Incorrect number of arguments, {count}"));
    }
    let (function, name) = (context.text(0), context.text(1));
    if function != "GetChainInfo" && count < 3 {
        return Err(format!("missing 3rd argument for {function}"));
    }
    let channel = context.channels.get(&name).ok_or_else(|| format!("Invalid chain ID, {name}"))?;
    acl::check(context, &format!("qscc/{function}"), &name)
        .map_err(|text| format!("access denied for [{function}][{name}]: [{text}]"))?;
    let third = context.proposal.args.get(2).map(Vec::as_slice).unwrap_or_default();
    match function.as_str() {
        "GetChainInfo" => Ok(chain_info(&channel)),
        "GetBlockByNumber" => block_by_number(&channel, &context.text(2)),
        "GetBlockByHash" => block_by_hash(&channel, third),
        "GetBlockByTxID" => block_by_transaction(&channel, &context.text(2)),
        "GetTransactionByID" => transaction(&channel, &context.text(2)),
        _ => Err(format!("Requested function {function} not found.")),
    }
}

fn chain_info(channel: &Channel) -> Vec<u8> {
    let newest = channel.ledger.newest();
    BlockchainInfo {
        height: channel.ledger.height(),
        current_block_hash: newest.as_ref().map(block::hash).unwrap_or_default(),
        previous_block_hash: newest
            .and_then(|block| block.header)
            .map(|header| header.previous_hash)
            .unwrap_or_default(),
        ..BlockchainInfo::default()
    }
    .encode_to_vec()
}

fn block_by_number(channel: &Channel, text: &str) -> Answer {
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(format!(
            "Failed to parse block number with error strconv.ParseUint: parsing \"{text}\": invalid syntax"
        ));
    }
    let Ok(number) = text.parse::<u64>() else {
        return Err(format!(
            "Failed to parse block number with error strconv.ParseUint: parsing \"{text}\": value out of range"
        ));
    };
    let found = if number == u64::MAX { channel.ledger.newest() } else { channel.ledger.block(number) };
    found
        .map(|block| block.encode_to_vec())
        .ok_or_else(|| format!("Failed to get block number {number}, error no such block number [{number}] in index"))
}

fn block_by_hash(channel: &Channel, hash: &[u8]) -> Answer {
    (0..channel.ledger.height())
        .filter_map(|number| channel.ledger.block(number))
        .find(|found| block::hash(found) == hash)
        .map(|found| found.encode_to_vec())
        .ok_or_else(|| {
            format!(
                "Failed to get block hash {}, error no such block hash [{}] in index",
                String::from_utf8_lossy(hash),
                hex::encode(hash)
            )
        })
}

fn block_by_transaction(channel: &Channel, id: &str) -> Answer {
    channel
        .transaction(id)
        .and_then(|placed| channel.ledger.block(placed.block))
        .map(|block| block.encode_to_vec())
        .ok_or_else(|| format!("Failed to get block for txID {id}, error no such transaction ID [{id}] in index"))
}

fn transaction(channel: &Channel, id: &str) -> Answer {
    let unknown = || format!("Failed to get transaction with id {id}, error no such transaction ID [{id}] in index");
    let placed = channel.transaction(id).ok_or_else(unknown)?;
    let entry = channel
        .ledger
        .block(placed.block)
        .and_then(|block| block.data)
        .and_then(|data| data.data.into_iter().nth(placed.index))
        .ok_or_else(unknown)?;
    let envelope = Envelope::decode(&entry[..]).map_err(|error| error.to_string())?;
    Ok(ProcessedTransaction { transaction_envelope: Some(envelope), validation_code: placed.code }.encode_to_vec())
}
