//! Blocks: hashes, metadata, and what kind of transaction is in them (Fabric `protoutil/blockutils.go`).

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tenter_fabric_wire::common::{
    Block, BlockData, BlockHeader, BlockMetadata, ChannelHeader, Envelope, HeaderType, LastConfig, Metadata,
    MetadataSignature, OrdererBlockMetadata, Payload, SignatureHeader,
};

use crate::channel::UNREADABLE;

/// Index of the orderers' signatures in the metadata.
pub const SIGNATURES: usize = 0;
/// Index of the last config block's number, for readers of old versions.
pub const LAST_CONFIG: usize = 1;
/// Index of the validation codes that a peer writes.
pub const TRANSACTIONS_FILTER: usize = 2;

/// SHA-256 over the DER of (number, previous hash, data hash).
pub fn header_hash(header: &BlockHeader) -> Vec<u8> {
    Sha256::digest(header_der(header)).to_vec()
}

/// SHA-256 over the transactions, one after the other.
pub fn data_hash(data: &BlockData) -> Vec<u8> {
    let mut digest = Sha256::new();
    for entry in &data.data {
        digest.update(entry);
    }
    digest.finalize().to_vec()
}

/// The number of a block, 0 when it has no header.
pub fn number(block: &Block) -> u64 {
    block.header.as_ref().map_or(0, |header| header.number)
}

/// The hash of a block's header; empty when it has none.
pub fn hash(block: &Block) -> Vec<u8> {
    block.header.as_ref().map(header_hash).unwrap_or_default()
}

/// The DER that is hashed and signed.
pub fn header_der(header: &BlockHeader) -> Vec<u8> {
    let mut number: Vec<u8> = header.number.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    if number.first().is_none_or(|byte| *byte >= 0x80) {
        number.insert(0, 0);
    }
    let mut content = element(0x02, &number);
    content.extend(element(0x04, &header.previous_hash));
    content.extend(element(0x04, &header.data_hash));
    element(0x30, &content)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    // Hashes and numbers are short; two length bytes are enough for any header this program accepts.
    match u8::try_from(content.len()) {
        Ok(length) if length < 0x80 => out.push(length),
        Ok(length) => out.extend([0x81, length]),
        Err(_) => {
            let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
            out.push(0x82);
            out.extend(length.to_be_bytes());
        }
    }
    out.extend_from_slice(content);
    out
}

/// An envelope taken apart.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Header and data.
    pub payload: Payload,
    /// The channel header.
    pub channel: ChannelHeader,
    /// The signature header.
    pub signature: SignatureHeader,
}

/// Takes an envelope apart; the text says what is malformed.
pub fn open(envelope: &Envelope) -> Result<Opened, String> {
    let unreadable = |what: &str| format!("error unmarshalling {what}: {UNREADABLE}");
    let payload = Payload::decode(&envelope.payload[..]).map_err(|_| unreadable("Payload"))?;
    let header = payload.header.as_ref().ok_or("header not set")?;
    let channel = ChannelHeader::decode(&header.channel_header[..]).map_err(|_| unreadable("ChannelHeader"))?;
    let signature = SignatureHeader::decode(&header.signature_header[..]).map_err(|_| unreadable("SignatureHeader"))?;
    Ok(Opened { payload, channel, signature })
}

/// The configuration transaction of a config block: exactly one entry, of type CONFIG.
pub fn config_transaction(block: &Block) -> Option<Opened> {
    let data = block.data.as_ref()?;
    let [entry] = &data.data[..] else {
        return None;
    };
    let opened = open(&Envelope::decode(&entry[..]).ok()?).ok()?;
    (opened.channel.r#type == HeaderType::Config as i32).then_some(opened)
}

/// The index of the last config block, as the signatures' metadata says.
pub fn last_config(block: &Block) -> Option<u64> {
    let bytes = block.metadata.as_ref()?.metadata.get(SIGNATURES)?;
    let metadata = Metadata::decode(&bytes[..]).ok()?;
    let value = OrdererBlockMetadata::decode(&metadata.value[..]).ok()?;
    Some(value.last_config?.index)
}

/// The metadata at [`LAST_CONFIG`].
pub fn last_config_metadata(index: u64) -> Vec<u8> {
    Metadata { value: LastConfig { index }.encode_to_vec(), signatures: Vec::new() }.encode_to_vec()
}

/// A block without signature over the entries, on top of `previous`.
pub fn assemble(number: u64, previous_hash: Vec<u8>, entries: Vec<Vec<u8>>) -> Block {
    let data = BlockData { data: entries };
    Block {
        header: Some(BlockHeader { number, previous_hash, data_hash: data_hash(&data) }),
        data: Some(data),
        metadata: Some(BlockMetadata { metadata: vec![Vec::new(); 5] }),
    }
}

/// Signs a block as an orderer does: over the metadata value, the signature header and the header's DER.
pub fn sign(
    block: &mut Block,
    last_config: u64,
    consenter_metadata: Vec<u8>,
    creator: &[u8],
    nonce: Vec<u8>,
    sign: impl Fn(&[u8]) -> Vec<u8>,
) {
    let value = OrdererBlockMetadata { last_config: Some(LastConfig { index: last_config }), consenter_metadata }
        .encode_to_vec();
    let signature_header = SignatureHeader { creator: creator.to_vec(), nonce }.encode_to_vec();
    let mut message = value.clone();
    message.extend_from_slice(&signature_header);
    if let Some(header) = &block.header {
        message.extend(header_der(header));
    }
    let metadata = Metadata {
        value,
        signatures: vec![MetadataSignature {
            signature_header,
            signature: sign(&message),
            ..MetadataSignature::default()
        }],
    };
    if let Some(slot) = block.metadata.as_mut().and_then(|all| all.metadata.get_mut(SIGNATURES)) {
        *slot = metadata.encode_to_vec();
    }
}

/// Whether `block` is intact and continues a chain that ends with `previous` (hash of the header), at `height`.
pub fn continues(block: &Block, height: u64, previous: &[u8]) -> Result<(), String> {
    let (Some(header), Some(data)) = (&block.header, &block.data) else {
        return Err("block has no header or no data".to_owned());
    };
    if header.number != height {
        return Err(format!("block number should have been {height} but was {}", header.number));
    }
    if header.previous_hash != previous {
        return Err(format!(
            "unexpected Previous block hash. Expected PreviousHash = [{}], PreviousHash referred in the latest block= [{}]",
            hex::encode(previous),
            hex::encode(&header.previous_hash)
        ));
    }
    if data_hash(data) != header.data_hash {
        return Err("Header.DataHash is different from Hash(block.Data)".to_owned());
    }
    Ok(())
}
