//! Whether a block is signed as the channel's configuration demands (Fabric `protoutil/blockutils.go`).

use prost::Message as _;
use tenter_fabric_wire::common::{Block, IdentifierHeader, Metadata, MetadataSignature, SignatureHeader};
use tenter_fabric_wire::msp::SerializedIdentity;

use super::{Bundle, Consensus, SignedData};
use crate::block;

impl Bundle {
    /// Whether the signatures of a block satisfy `BlockValidation` of this configuration, which is the one before the
    /// block's own. The first block has none.
    pub fn verify_block(&self, block: &Block) -> Result<(), String> {
        let number = block::number(block);
        if number == 0 {
            return Ok(());
        }
        let metadata = block
            .metadata
            .as_ref()
            .and_then(|all| all.metadata.get(block::SIGNATURES))
            .and_then(|bytes| Metadata::decode(&bytes[..]).ok())
            .ok_or("no signatures in block metadata")?;
        let header = block.header.as_ref().map(block::header_der).unwrap_or_default();
        let signed: Vec<SignedData> = metadata
            .signatures
            .iter()
            .filter_map(|signature| {
                let (identity, signer_header) = self.signer(signature)?;
                Some(SignedData {
                    data: [&metadata.value[..], signer_header, &header].concat(),
                    identity,
                    signature: signature.signature.clone(),
                })
            })
            .collect();
        self.evaluate("/Channel/Orderer/BlockValidation", &signed)
            .map_err(|text| format!("block {number} is not signed by the orderers: {text}"))
    }

    /// Who claims to have signed, and the bytes of the header that says so: a creator, or in a BFT channel an id of the
    /// configuration's.
    fn signer<'a>(&self, signature: &'a MetadataSignature) -> Option<(Vec<u8>, &'a [u8])> {
        let by_id = signature.signature_header.is_empty() && !signature.identifier_header.is_empty();
        if by_id && self.consensus() == Ok(Consensus::Bft) {
            let id = IdentifierHeader::decode(&signature.identifier_header[..]).ok()?.identifier;
            let consenter = self.orderers.iter().find(|consenter| consenter.id == id)?;
            let identity = SerializedIdentity { mspid: consenter.msp_id.clone(), id_bytes: consenter.identity.clone() };
            return Some((identity.encode_to_vec(), &signature.identifier_header));
        }
        let creator = SignatureHeader::decode(&signature.signature_header[..]).ok()?.creator;
        Some((creator, &signature.signature_header))
    }
}
