//! Reading of messages whose very bytes matter: what encoding would not give back is not read.

use prost::{DecodeError, Message};

/// Why bytes were not read.
#[derive(Debug)]
pub(crate) enum Inexact {
    /// They are no such message.
    Decode(DecodeError),
    /// Encoding the message again gives other bytes: it has parts that are not known here, or another form.
    Unknown,
}

/// Decodes a message, and refuses it if encoding it again gives other bytes.
pub(crate) fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Inexact> {
    let message = M::decode(bytes).map_err(Inexact::Decode)?;
    if message.encode_to_vec() == bytes { Ok(message) } else { Err(Inexact::Unknown) }
}
