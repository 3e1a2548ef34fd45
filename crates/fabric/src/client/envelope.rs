//! Signed requests: headers with time, nonce and TLS binding.

use jiff::Timestamp;
use prost::Message;
use tenter_fabric_wire::common::{ChannelHeader, Envelope, Header, HeaderType, Payload};

use super::connect::TransportError;
use crate::header;
use crate::identity::{IdentityError, NONCE_BYTES, SigningIdentity};

/// A nonce from the system.
pub(crate) fn nonce() -> Result<[u8; NONCE_BYTES], TransportError> {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| TransportError::Random(error.to_string()))?;
    Ok(bytes)
}

/// A channel header for a request made now. Nodes refuse times more than 15 minutes off (`common/deliver/deliver.go`).
pub(crate) fn channel_header(kind: HeaderType, channel: &str, tls_hash: Option<[u8; 32]>) -> ChannelHeader {
    header::channel_header(kind, channel, Timestamp::now(), tls_hash)
}

/// Wraps and signs `data`.
pub(crate) fn signed(
    identity: &SigningIdentity,
    header: &ChannelHeader,
    nonce: [u8; NONCE_BYTES],
    data: Vec<u8>,
) -> Result<Envelope, IdentityError> {
    let payload = Payload {
        header: Some(Header {
            channel_header: header.encode_to_vec(),
            signature_header: identity.signature_header(nonce),
        }),
        data,
    }
    .encode_to_vec();
    let signature = identity.sign(&payload)?;
    Ok(Envelope { payload, signature })
}
