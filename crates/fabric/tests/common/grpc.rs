//! Answers of a gRPC server, for [`server`](crate::server).

use hyper::HeaderMap;

use crate::server::Reply;

/// A gRPC answer of these messages, ended well or left open.
pub fn grpc_reply(messages: Vec<Vec<u8>>, hang: bool) -> Reply {
    let framed = |message: Vec<u8>| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, &message].concat()
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    Reply {
        status: 200,
        headers: vec![("content-type", "application/grpc".to_owned())],
        data: messages.into_iter().map(framed).collect(),
        trailers: (!hang).then_some(trailers),
        hang,
        hang_up: false,
    }
}

/// The fields of a protobuf message that these tests send: a varint and length-delimited bytes.
pub fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = vec![tag << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut encoded);
    encoded.extend(bytes);
    encoded
}

pub fn number(tag: u8, value: u64) -> Vec<u8> {
    let mut encoded = vec![tag << 3];
    prost::encoding::encode_varint(value, &mut encoded);
    encoded
}

/// A gRPC error with this code, text, and details (`grpc-status-details-bin`).
pub fn grpc_error(code: u8, text: &str, details: &[u8]) -> Reply {
    let mut reply = grpc_reply(Vec::new(), false);
    reply.trailers = None;
    reply.headers.push(("grpc-status", code.to_string()));
    // gRPC sends texts percent-encoded, and bytes in Base64.
    let encoded = text.bytes().flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)]).collect();
    reply.headers.push(("grpc-message", encoded));
    if !details.is_empty() {
        reply.headers.push(("grpc-status-details-bin", base64(details)));
    }
    reply
}

fn digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = |chunk: &[u8]| {
        let bits = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or_default()));
        let bits = bits[0] << 16 | bits[1] << 8 | bits[2];
        [18, 12, 6, 0].map(|shift| char::from(LETTERS[usize::try_from(bits >> shift & 63).unwrap()]))
    };
    // Without padding: three bytes make four letters, two make three, one makes two.
    bytes.chunks(3).flat_map(|chunk| letters(chunk).into_iter().take(chunk.len() + 1)).collect()
}
