//! Rejections: that an organisation's administrator does not want an update, said to other members. Fabric knows nothing of
//! them, so they have a form of their own: a signature as over an update, but over a text that no update can begin with.

use tenter_fabric_wire::common;

use prost::Message as _;

use super::{ConfigSignature, ConfigUpdate, SignatureError};
use crate::identity::{IdentityError, NONCE_BYTES, SigningIdentity};
use crate::policy::SignedBytes;

/// What a rejection begins with, and what its signature covers first. As protobuf it would be the end of a group that never
/// began, so what is signed here is never an update.
const MARK: &str = "tenter rejection";
/// Longest reason, in bytes.
pub const MAX_REASON: usize = 1000;

/// Why a rejection cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RejectionError {
    /// The bytes have another form.
    #[error("it is no rejection: expected `{MARK}`, a signature in hexadecimal and a reason, each on a line")]
    Form,
    /// The reason is too long, or has characters that are not shown.
    #[error("a reason is one line of at most {MAX_REASON} bytes")]
    Reason,
    /// The signature cannot be read.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It cannot be signed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// An administrator's word that an update is not wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Why, in the administrator's words; may be empty.
    pub reason: String,
    signature: ConfigSignature,
}

/// What is signed after the header.
fn covered(update: &ConfigUpdate, reason: &str) -> Vec<u8> {
    format!("{MARK}\n{}\n{}\n{reason}\n", update.channel_id(), update.digest()).into_bytes()
}

fn is_shown(reason: &str) -> bool {
    reason.len() <= MAX_REASON && !reason.chars().any(char::is_control)
}

impl Rejection {
    /// Reads an encoded rejection. Nothing is verified.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RejectionError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RejectionError::Form)?;
        let mut lines = text.strip_suffix('\n').ok_or(RejectionError::Form)?.split('\n');
        let (Some(MARK), Some(signature), Some(reason), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(RejectionError::Form);
        };
        if !is_shown(reason) {
            return Err(RejectionError::Reason);
        }
        let signature = hex::decode(signature).map_err(|_| RejectionError::Form)?;
        Ok(Self { reason: reason.to_owned(), signature: ConfigSignature::from_bytes(&signature)? })
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        format!("{MARK}\n{}\n{}\n", hex::encode(self.signature.to_bytes()), self.reason).into_bytes()
    }

    /// What is to be verified, and whose it claims to be.
    pub fn signed(&self, update: &ConfigUpdate) -> Result<SignedBytes, SignatureError> {
        let data = [self.signature.header.as_slice(), &covered(update, &self.reason)].concat();
        let header = common::SignatureHeader::decode(self.signature.header.as_slice())?;
        Ok(SignedBytes { identity: header.creator, data, signature: self.signature.signature.clone() })
    }
}

impl ConfigUpdate {
    /// Rejects the update. Each rejection needs a nonce of its own.
    pub fn reject(
        &self,
        identity: &SigningIdentity,
        nonce: [u8; NONCE_BYTES],
        reason: &str,
    ) -> Result<Rejection, RejectionError> {
        if !is_shown(reason) {
            return Err(RejectionError::Reason);
        }
        let header = identity.signature_header(nonce);
        let signature = identity.sign(&[header.as_slice(), &covered(self, reason)].concat())?;
        Ok(Rejection { reason: reason.to_owned(), signature: ConfigSignature { header, signature } })
    }
}
