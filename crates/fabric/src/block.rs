//! Blocks: hashes, links, and where the configuration is (`protoutil/blockutils.go`).
//!
//! A [`Block`] keeps the bytes it was made from and never writes them anew: prost drops fields that it does not know,
//! and a block must pass from node to node as it is.

use prost::Message as _;
use tenter_fabric_wire::common;
use tenter_fabric_wire::msp::SerializedIdentity;

use crate::config::update::ConfigSignature;
use crate::config::{ChannelConfig, ConfigError};
use crate::hash::sha256_of;
use crate::msp::Pem;

/// Length of a block hash in bytes.
pub const HASH_LENGTH: usize = 32;

/// SHA-256, as blocks use it.
pub type Hash = [u8; HASH_LENGTH];

/// Positions in the block metadata.
pub(crate) const SIGNATURES: usize = 0;
const LAST_CONFIG: usize = 1;
const TRANSACTIONS_FILTER: usize = 2;
/// Number of metadata entries of a block.
pub(crate) const METADATA_ENTRIES: usize = 5;

/// Why a block cannot be read, or is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// Bytes that are not a block, or a part of one that is not the message it should be.
    #[error("the {what} of the block cannot be decoded")]
    Decode {
        /// Which part.
        what: &'static str,
        /// Why.
        #[source]
        source: prost::DecodeError,
    },
    /// A part that must be there.
    #[error("the block has no {what}")]
    Missing {
        /// Which part.
        what: &'static str,
    },
    /// The data is not what the header says.
    #[error("block {number}: the data hashes to {computed}, but the header says {stated}; the block was altered")]
    DataHash {
        /// Block number.
        number: u64,
        /// Hash of the data, in hexadecimal digits.
        computed: String,
        /// Hash in the header, in hexadecimal digits.
        stated: String,
    },
    /// The block does not follow the other.
    #[error("block {number} does not follow block {previous}: {why}")]
    Link {
        /// Block number.
        number: u64,
        /// Number of the block that should come before.
        previous: u64,
        /// What does not fit.
        why: &'static str,
    },
    /// The block holds no configuration.
    #[error("block {number} is not a config block")]
    NotConfig {
        /// Block number.
        number: u64,
    },
    /// The configuration in the block cannot be read.
    #[error("the configuration in block {number} cannot be used")]
    Config {
        /// Block number.
        number: u64,
        /// Why.
        #[source]
        source: Box<ConfigError>,
    },
}

/// A block, with the exact bytes it came in.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    raw: Vec<u8>,
    header: common::BlockHeader,
    data: Vec<Vec<u8>>,
    metadata: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Block")
            .field("number", &self.header.number)
            .field("hash", &hex::encode(self.header_hash()))
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// `common.ConfigEnvelope`, with the configuration left as its exact bytes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct RawConfigEnvelope {
    #[prost(bytes = "vec", tag = "1")]
    config: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    last_update: Option<common::Envelope>,
}

/// The update that a config block's configuration came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigOrigin {
    /// The exact bytes of the `common.ConfigUpdate`.
    pub update: Vec<u8>,
    /// Who signed it, in the order of the signatures: MSP ID and certificate, as they claim. The orderers judged them.
    pub signers: Vec<ConfigSigner>,
    /// The signatures, in the same order; an orderer does not ask that all of them count.
    pub signatures: Vec<ConfigSignature>,
}

/// A signer of a config update, as the signature's header names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSigner {
    /// MSP ID.
    pub msp_id: String,
    /// Subject of the certificate; empty if it cannot be read.
    pub subject: String,
}

fn decode<M: prost::Message + Default>(bytes: &[u8], what: &'static str) -> Result<M, BlockError> {
    M::decode(bytes).map_err(|source| BlockError::Decode { what, source })
}

impl Block {
    /// Reads a block. Only its own structure is checked: see [`Self::verify_data_hash`] and [`Self::verify_follows`].
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, BlockError> {
        let raw = bytes.into();
        let block: common::Block = decode(&raw, "message")?;
        let header = block.header.ok_or(BlockError::Missing { what: "header" })?;
        let data = block.data.map(|data| data.data).unwrap_or_default();
        let metadata = block.metadata.map(|metadata| metadata.metadata).unwrap_or_default();
        Ok(Self { raw, header, data, metadata })
    }

    /// The exact bytes of the block.
    pub fn bytes(&self) -> &[u8] {
        &self.raw
    }

    /// The exact bytes of the block, taken out of it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.raw
    }

    /// Number of the block in its channel; the genesis block is 0.
    pub fn number(&self) -> u64 {
        self.header.number
    }

    /// Hash of the block before; empty in a genesis block.
    pub fn previous_hash(&self) -> &[u8] {
        &self.header.previous_hash
    }

    /// Hash of the data, as the header states it.
    pub fn stated_data_hash(&self) -> &[u8] {
        &self.header.data_hash
    }

    /// Hash of the block: SHA-256 of the DER of number, previous hash and data hash.
    pub fn header_hash(&self) -> Hash {
        sha256_of([header_der(&self.header).as_slice()])
    }

    /// Hash of the data: SHA-256 of all the envelopes, one after the other.
    pub fn data_hash(&self) -> Hash {
        sha256_of(self.data.iter().map(Vec::as_slice))
    }

    /// Checks that the header states the hash of the data.
    ///
    /// Blocks of `Deliver` with headers only have no data and do not pass.
    pub fn verify_data_hash(&self) -> Result<(), BlockError> {
        let computed = self.data_hash();
        if computed.as_slice() == self.header.data_hash {
            return Ok(());
        }
        Err(BlockError::DataHash {
            number: self.number(),
            computed: hex::encode(computed),
            stated: hex::encode(&self.header.data_hash),
        })
    }

    /// Checks that this block comes directly after `previous`, by number and hash.
    pub fn verify_follows(&self, previous: &Self) -> Result<(), BlockError> {
        let link = |why| BlockError::Link { number: self.number(), previous: previous.number(), why };
        if previous.number().checked_add(1) != Some(self.number()) {
            return Err(link("the number is not the next one"));
        }
        if self.header.previous_hash != previous.header_hash() {
            return Err(link("it names another hash as the previous one"));
        }
        Ok(())
    }

    /// The envelopes of the block, each as its exact bytes.
    pub fn envelopes(&self) -> &[Vec<u8>] {
        &self.data
    }

    /// Channel of the block, from its first envelope.
    pub fn channel_id(&self) -> Result<String, BlockError> {
        Ok(self.first_payload()?.1.channel_id)
    }

    /// Whether this is a config block: one envelope of type `CONFIG`. A block that cannot be read is none.
    pub fn is_config(&self) -> bool {
        self.data.len() == 1
            && self.first_payload().is_ok_and(|(_, header)| header.r#type == i32::from(common::HeaderType::Config))
    }

    /// Number of the newest config block up to and including this one, as the orderers signed it; `None` if the block
    /// does not say (blocks before Fabric 2.0 say it in an entry of its own, which is looked at too).
    pub fn last_config_index(&self) -> Option<u64> {
        let entry = |index: usize| {
            let bytes = self.metadata.get(index).filter(|bytes| !bytes.is_empty())?;
            common::Metadata::decode(bytes.as_slice()).ok()
        };
        let signed = entry(SIGNATURES)
            .and_then(|metadata| common::OrdererBlockMetadata::decode(metadata.value.as_slice()).ok()?.last_config);
        let old = || common::LastConfig::decode(entry(LAST_CONFIG)?.value.as_slice()).ok();
        signed.or_else(old).map(|last| last.index)
    }

    /// One byte for each envelope: its validation code as a peer found it; empty in blocks from orderers.
    pub fn transactions_filter(&self) -> &[u8] {
        self.metadata.get(TRANSACTIONS_FILTER).map_or(&[], Vec::as_slice)
    }

    /// The exact bytes of the `common.Config` in a config block.
    pub fn config_bytes(&self) -> Result<Vec<u8>, BlockError> {
        if !self.is_config() {
            return Err(BlockError::NotConfig { number: self.number() });
        }
        let (payload, _) = self.first_payload()?;
        let envelope: RawConfigEnvelope = decode(&payload.data, "config envelope")?;
        Ok(envelope.config)
    }

    /// Where the configuration in a config block came from; `None` for a channel's first.
    pub fn config_origin(&self) -> Result<Option<ConfigOrigin>, BlockError> {
        let (payload, _) = self.first_payload()?;
        let envelope: RawConfigEnvelope = decode(&payload.data, "config envelope")?;
        let Some(last_update) = envelope.last_update else { return Ok(None) };
        let payload: common::Payload = decode(&last_update.payload, "payload of the last update")?;
        let update: common::ConfigUpdateEnvelope = decode(&payload.data, "config update envelope")?;
        let signers = update.signatures.iter().filter_map(|signature| {
            let header = common::SignatureHeader::decode(signature.signature_header.as_slice()).ok()?;
            let identity = SerializedIdentity::decode(header.creator.as_slice()).ok()?;
            let certificate = Pem::new(identity.id_bytes).certificate();
            let subject = certificate.map(|certificate| certificate.subject).unwrap_or_default();
            Some(ConfigSigner { msp_id: identity.mspid, subject })
        });
        let signers = signers.collect();
        let signatures = update.signatures.into_iter().map(ConfigSignature::from_wire).collect();
        Ok(Some(ConfigOrigin { signers, signatures, update: update.config_update }))
    }

    /// The configuration in a config block.
    pub fn config(&self) -> Result<ChannelConfig, BlockError> {
        ChannelConfig::from_config_bytes(&self.config_bytes()?)
            .map_err(|source| BlockError::Config { number: self.number(), source: Box::new(source) })
    }

    /// Payload and channel header of the first envelope.
    pub(crate) fn first_payload(&self) -> Result<(common::Payload, common::ChannelHeader), BlockError> {
        let bytes = self.data.first().ok_or(BlockError::Missing { what: "data" })?;
        let envelope: common::Envelope = decode(bytes, "envelope")?;
        let payload: common::Payload = decode(&envelope.payload, "payload")?;
        let header = payload.header.as_ref().ok_or(BlockError::Missing { what: "payload header" })?;
        let channel_header = decode(&header.channel_header, "channel header")?;
        Ok((payload, channel_header))
    }
}

/// DER of SEQUENCE { INTEGER number, OCTET STRING previous hash, OCTET STRING data hash }.
fn header_der(header: &common::BlockHeader) -> Vec<u8> {
    const INTEGER: u8 = 0x02;
    const OCTET_STRING: u8 = 0x04;
    const SEQUENCE: u8 = 0x30;

    let number = header.number.to_be_bytes();
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len() - 1);
    let mut integer = number.get(start..).unwrap_or_default().to_vec();
    if integer.first().is_some_and(|byte| byte & 0x80 != 0) {
        // DER integers are signed.
        integer.insert(0, 0);
    }
    let mut content = Vec::new();
    put_der(&mut content, INTEGER, &integer);
    put_der(&mut content, OCTET_STRING, &header.previous_hash);
    put_der(&mut content, OCTET_STRING, &header.data_hash);
    let mut out = Vec::new();
    put_der(&mut out, SEQUENCE, &content);
    out
}

fn put_der(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let start = length.iter().position(|byte| *byte != 0).unwrap_or_default();
            let digits = length.get(start..).unwrap_or_default();
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(digits);
        }
    }
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(number: u64, previous: usize) -> Vec<u8> {
        header_der(&common::BlockHeader { number, previous_hash: vec![7; previous], data_hash: vec![] })
    }

    #[test]
    fn numbers_are_der_integers() {
        assert_eq!(der(0, 0), [0x30, 7, 2, 1, 0, 4, 0, 4, 0]);
        assert_eq!(der(127, 0), [0x30, 7, 2, 1, 127, 4, 0, 4, 0]);
        assert_eq!(der(128, 0), [0x30, 8, 2, 2, 0, 128, 4, 0, 4, 0]);
        assert_eq!(der(256, 0), [0x30, 8, 2, 2, 1, 0, 4, 0, 4, 0]);
        assert_eq!(der(u64::MAX, 0)[..5], [0x30, 15, 2, 9, 0]);
    }

    #[test]
    fn long_lengths_take_more_bytes() {
        assert_eq!(der(0, 200)[..2], [0x30, 0x81]);
        assert_eq!(der(0, 300)[..2], [0x30, 0x82]);
    }

    #[test]
    fn rubbish_is_refused_without_panic() {
        assert!(Block::from_bytes(vec![0xff; 9]).is_err());
        assert!(matches!(Block::from_bytes(Vec::new()), Err(BlockError::Missing { what: "header" })));
    }
}
