//! Genesis blocks that anyone can compute again.
//!
//! configtxgen draws a random nonce and takes the current time, so that two runs give two channels. Nothing in Fabric
//! demands either. Here both derive from the inputs, and equal inputs give equal bytes: see
//! `docs/adr/0003-reproducible-genesis.md`. Sources of the layout: `common/genesis/genesis.go`, `protoutil`.

use prost::Message as _;
use tenter_fabric_wire::{common, google};

use crate::block::{Block, BlockError, METADATA_ENTRIES, SIGNATURES};
use crate::config::{ChannelConfig, ConfigProblem, Consensus, diff};
use crate::hash::sha256_of;
use crate::msp::Pem;

/// Separates the hash of the nonce from every other hash.
const DOMAIN: &[u8] = b"tenter genesis nonce";
/// Length of a nonce, as Fabric has it.
const NONCE_LENGTH: usize = 24;
/// Version of the channel header that configtxgen writes into genesis blocks.
const HEADER_VERSION: i32 = 1;
/// Longest channel name.
const MAX_CHANNEL_NAME: usize = 249;

/// How the bytes of a genesis block follow from the inputs. A pinned block names the format it was made with, and a
/// format never changes once it was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum GenesisFormat {
    /// The first format.
    V1,
}

impl GenesisFormat {
    /// The newest format.
    pub const LATEST: Self = Self::V1;

    /// The number of the format, as it is stored beside a pinned block.
    pub const fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
        }
    }

    /// The format with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            _ => None,
        }
    }
}

/// Everything that a genesis block follows from.
#[derive(Debug, Clone, Copy)]
pub struct GenesisInputs<'a> {
    /// Name of the channel.
    pub channel_id: &'a str,
    /// Its first configuration.
    pub config: &'a ChannelConfig,
    /// How the bytes follow.
    pub format: GenesisFormat,
}

/// Why there is no genesis block.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisError {
    /// A name that Fabric refuses.
    #[error(
        "`{channel_id}` cannot name a channel: 1 to {MAX_CHANNEL_NAME} lower-case letters, digits, `.` or `-`, \
         beginning with a letter"
    )]
    ChannelName {
        /// The name.
        channel_id: String,
    },
    /// A configuration with which no channel would work.
    #[error("no channel can begin with this configuration: {}", list(.0))]
    Config(Vec<ConfigProblem>),
    /// The block that was made cannot be read; a defect of this library.
    #[error("the genesis block that was made cannot be read")]
    Block(#[from] BlockError),
}

fn list(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A pinned genesis block that is not the one that follows from the inputs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisMismatch {
    /// Something in it is different.
    #[error("the pinned genesis block differs at {path}: it has {pinned}, but the definition gives {computed}")]
    Differs {
        /// The first place that differs.
        path: String,
        /// What the pinned block has there.
        pinned: String,
        /// What the inputs give.
        computed: String,
    },
    /// The pinned bytes are not a genesis block.
    #[error("the pinned bytes are not a genesis block")]
    Unreadable(#[from] BlockError),
    /// The inputs give no genesis block to compare with.
    #[error("the definition gives no genesis block to compare the pinned one with")]
    Inputs(#[from] GenesisError),
}

/// Computes a channel's genesis block. Equal inputs give equal bytes, on every machine and at any time.
pub fn genesis_block(channel_id: &str, config: &ChannelConfig, format: GenesisFormat) -> Result<Block, GenesisError> {
    if !is_channel_name(channel_id) {
        return Err(GenesisError::ChannelName { channel_id: channel_id.to_owned() });
    }
    let problems = config.check_new();
    if !problems.is_empty() {
        return Err(GenesisError::Config(problems));
    }
    let nonce = nonce(channel_id, &config.to_config_bytes(), format);
    let envelope = common::ConfigEnvelope {
        config: Some(common::Config { sequence: 0, channel_group: Some(config.to_config_group()) }),
        last_update: None,
    };
    let channel_header = common::ChannelHeader {
        r#type: common::HeaderType::Config.into(),
        version: HEADER_VERSION,
        timestamp: Some(google::Timestamp { seconds: timestamp(config), nanos: 0 }),
        channel_id: channel_id.to_owned(),
        // The creator is empty, so the nonce alone makes the transaction's name.
        tx_id: crate::hash::sha256_hex(&nonce),
        epoch: 0,
        extension: Vec::new(),
        tls_cert_hash: Vec::new(),
    };
    let signature_header = common::SignatureHeader { creator: Vec::new(), nonce };
    let payload = common::Payload {
        header: Some(common::Header {
            channel_header: channel_header.encode_to_vec(),
            signature_header: signature_header.encode_to_vec(),
        }),
        data: envelope.encode_to_vec(),
    };
    let envelope = common::Envelope { payload: payload.encode_to_vec(), signature: Vec::new() };
    Ok(Block::from_bytes(first_block(envelope.encode_to_vec()).encode_to_vec())?)
}

/// Checks that `pinned` is, byte for byte, the genesis block that follows from the inputs, and names the first place
/// that differs if it is not.
pub fn verify_pinned(pinned: &[u8], inputs: &GenesisInputs<'_>) -> Result<(), GenesisMismatch> {
    let computed = genesis_block(inputs.channel_id, inputs.config, inputs.format)?;
    if computed.bytes() == pinned {
        return Ok(());
    }
    let pinned = Block::from_bytes(pinned)?;
    pinned.verify_data_hash()?;
    let differs = |path: &str, pinned: String, computed: String| {
        Err(GenesisMismatch::Differs { path: path.to_owned(), pinned, computed })
    };
    if pinned.number() != 0 {
        return differs("block number", pinned.number().to_string(), "0".to_owned());
    }
    let ((_, theirs), (_, ours)) = (pinned.first_payload()?, computed.first_payload()?);
    if theirs.channel_id != ours.channel_id {
        return differs("channel name", theirs.channel_id, ours.channel_id);
    }
    if let Some(change) = diff(&pinned.config()?, inputs.config).into_iter().next() {
        let words = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
        return differs(&change.path, words(change.from), words(change.to));
    }
    let seconds = |header: &common::ChannelHeader| header.timestamp.unwrap_or_default().seconds;
    if theirs.timestamp != ours.timestamp {
        return differs("timestamp", seconds(&theirs).to_string(), seconds(&ours).to_string());
    }
    if theirs.tx_id != ours.tx_id {
        return differs("transaction name (from the nonce)", theirs.tx_id, ours.tx_id);
    }
    let hash = |block: &Block| format!("a block of sha256:{}", crate::hash::sha256_hex(block.bytes()));
    differs("the encoding", hash(&pinned), hash(&computed))
}

/// Whether Fabric takes a name for a channel (`common/configtx/validator.go`).
fn is_channel_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.' || byte == b'-';
    name.len() <= MAX_CHANNEL_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(legal)
}

/// SHA-256, cut to a nonce's length, of domain, format, channel name and configuration. Lengths stand before the parts,
/// so that no two inputs give the same text.
fn nonce(channel_id: &str, config: &[u8], format: GenesisFormat) -> Vec<u8> {
    let format = format.number().to_be_bytes();
    let parts = [DOMAIN, format.as_slice(), channel_id.as_bytes(), config];
    let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
    let text = lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), part]);
    let mut nonce = sha256_of(text).to_vec();
    nonce.truncate(NONCE_LENGTH);
    nonce
}

/// Seconds since 1970: the latest begin of validity of all the certificates in the configuration.
///
/// The block cannot be older than the newest thing in it, and this needs no clock.
fn timestamp(config: &ChannelConfig) -> i64 {
    let mut pems: Vec<&Pem> = Vec::new();
    match &config.orderer.consensus {
        Consensus::EtcdRaft { consenters, .. } => {
            pems.extend(
                consenters.iter().flat_map(|consenter| [&consenter.client_tls_cert, &consenter.server_tls_cert]),
            );
        }
        Consensus::Bft { consenters, .. } => pems.extend(
            consenters
                .iter()
                .flat_map(|consenter| [&consenter.identity, &consenter.client_tls_cert, &consenter.server_tls_cert]),
        ),
        Consensus::Other { .. } => {}
    }
    let orderers = config.orderer.organizations.values().map(|organization| &organization.msp);
    let applications = config.application.organizations.values().map(|organization| &organization.msp);
    pems.extend(orderers.chain(applications).flat_map(|msp| msp.pems().map(|(_, pem)| pem)));
    let latest = pems.into_iter().filter_map(Pem::certificate).map(|certificate| certificate.not_before).max();
    i64::try_from(latest.unwrap_or_default()).unwrap_or(i64::MAX)
}

/// Block 0 with one envelope; its metadata names itself as the last config block.
fn first_block(envelope: Vec<u8>) -> common::Block {
    let mut metadata = vec![Vec::new(); METADATA_ENTRIES];
    let value = common::OrdererBlockMetadata {
        last_config: Some(common::LastConfig { index: 0 }),
        consenter_metadata: Vec::new(),
    };
    if let Some(signatures) = metadata.get_mut(SIGNATURES) {
        *signatures = common::Metadata { value: value.encode_to_vec(), signatures: Vec::new() }.encode_to_vec();
    }
    common::Block {
        header: Some(common::BlockHeader {
            number: 0,
            previous_hash: Vec::new(),
            data_hash: sha256_of([envelope.as_slice()]).to_vec(),
        }),
        data: Some(common::BlockData { data: vec![envelope] }),
        metadata: Some(common::BlockMetadata { metadata }),
    }
}
