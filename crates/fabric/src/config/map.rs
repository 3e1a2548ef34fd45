//! Map values (capabilities, ACLs) encoded as Go does it.
//!
//! Go writes key and value of every entry, also where they are empty, which prost leaves out. Sorted by key, the bytes
//! are those of Go's deterministic encoding.

use prost::Message as _;

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Entries {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Entry {
    #[prost(string, optional, tag = "1")]
    key: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    value: Option<Vec<u8>>,
}

/// Encodes a message whose only field is a map from strings to messages, given as their bytes.
pub(in crate::config) fn encode(entries: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let entries = entries.into_iter().map(|(key, value)| Entry { key: Some(key), value: Some(value) }).collect();
    Entries { entries }.encode_to_vec()
}

/// Decodes such a message, in the order of its bytes; `None` if it holds anything else or a key twice.
pub(in crate::config) fn decode(bytes: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let message = Entries::decode(bytes).ok()?;
    if message.encode_to_vec() != bytes {
        return None;
    }
    let entries: Vec<(String, Vec<u8>)> = message
        .entries
        .into_iter()
        .map(|entry| (entry.key.unwrap_or_default(), entry.value.unwrap_or_default()))
        .collect();
    let keys: std::collections::BTreeSet<&String> = entries.iter().map(|(key, _)| key).collect();
    (keys.len() == entries.len()).then_some(entries)
}
