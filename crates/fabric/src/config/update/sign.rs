//! Signatures over an update, and the envelope that takes it to an orderer.

use jiff::Timestamp;
use prost::Message as _;
use tenter_fabric_wire::{common, google};

use super::ConfigUpdate;
use crate::identity::{IdentityError, NONCE_BYTES, PublicIdentity, SigningIdentity};

/// Why a signature cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Bytes that are not a signature.
    #[error("the config signature cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    /// The bytes hold more than header and signature.
    #[error("the config signature has parts that this version does not know")]
    Unknown,
    /// The signer cannot be read, or the signature is not the signer's over this update.
    #[error("the config signature does not hold")]
    Identity(#[from] IdentityError),
}

/// An organisation's signature over an update.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigSignature {
    pub(super) header: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

impl ConfigSignature {
    /// Takes a signature out of an envelope. Nothing is verified.
    pub(crate) fn from_wire(message: common::ConfigSignature) -> Self {
        Self { header: message.signature_header, signature: message.signature }
    }

    /// Reads an encoded `common.ConfigSignature`. Nothing is verified.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let message = common::ConfigSignature::decode(bytes)?;
        if message.encoded_len() != bytes.len() {
            return Err(SignatureError::Unknown);
        }
        Ok(Self::from_wire(message))
    }

    /// The encoded `common.ConfigSignature`.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    fn to_wire(&self) -> common::ConfigSignature {
        common::ConfigSignature { signature_header: self.header.clone(), signature: self.signature.clone() }
    }

    /// The serialized identity that claims to have signed.
    pub fn creator(&self) -> Result<Vec<u8>, SignatureError> {
        Ok(common::SignatureHeader::decode(self.header.as_slice())?.creator)
    }

    /// The signature over [`Self::signed_bytes`].
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// What is signed: the header, then the exact bytes of the update.
    pub fn signed_bytes(&self, update: &ConfigUpdate) -> Vec<u8> {
        [self.header.as_slice(), update.bytes()].concat()
    }

    /// Verifies the signature and tells who signed. Whether a channel knows the signer, and as what, is told by
    /// [`Self::signer`].
    pub fn verify(&self, update: &ConfigUpdate) -> Result<PublicIdentity, SignatureError> {
        let signer = PublicIdentity::from_creator(&self.creator()?)?;
        signer.verify(&self.signed_bytes(update), &self.signature)?;
        Ok(signer)
    }
}

impl ConfigUpdate {
    /// Signs the update. Each signature needs a nonce of its own.
    pub fn sign(&self, identity: &SigningIdentity, nonce: [u8; NONCE_BYTES]) -> Result<ConfigSignature, IdentityError> {
        let mut signed = ConfigSignature { header: identity.signature_header(nonce), signature: Vec::new() };
        signed.signature = identity.sign(&signed.signed_bytes(self))?;
        Ok(signed)
    }

    /// The encoded `common.ConfigUpdateEnvelope`: the update with these signatures, in this order.
    ///
    /// The order can matter: signature policies take the first signer that fits (`common/cauthdsl`).
    pub fn signed_by(&self, signatures: &[ConfigSignature]) -> Vec<u8> {
        let signatures = signatures.iter().map(ConfigSignature::to_wire).collect();
        common::ConfigUpdateEnvelope { config_update: self.bytes().to_vec(), signatures }.encode_to_vec()
    }

    /// The encoded `common.Envelope` for an orderer's Broadcast, signed by the submitter.
    ///
    /// The submitter's signature counts for the channel's Writers policy only, never as one of `signatures`.
    pub fn envelope(
        &self,
        signatures: &[ConfigSignature],
        submitter: &SigningIdentity,
        now: Timestamp,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, IdentityError> {
        let channel_header = common::ChannelHeader {
            r#type: common::HeaderType::ConfigUpdate.into(),
            timestamp: Some(google::Timestamp { seconds: now.as_second(), nanos: now.subsec_nanosecond() }),
            channel_id: self.channel_id.clone(),
            ..common::ChannelHeader::default()
        };
        let payload = common::Payload {
            header: Some(common::Header {
                channel_header: channel_header.encode_to_vec(),
                signature_header: submitter.signature_header(nonce),
            }),
            data: self.signed_by(signatures),
        }
        .encode_to_vec();
        let signature = submitter.sign(&payload)?;
        Ok(common::Envelope { payload, signature }.encode_to_vec())
    }
}
