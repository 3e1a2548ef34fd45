//! Forms with files, read and refused as Go's `mime/multipart` does.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};

/// The parts of a form.
#[derive(Debug, Default)]
pub struct Form {
    /// The first file of each name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Whether there are parts that are no files.
    pub has_fields: bool,
}

/// The boundary that the Content-Type names; empty when it names none.
pub fn boundary(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|kind| parameter(kind, "boundary"))
        .unwrap_or_default()
}

fn parameter(text: &str, name: &str) -> Option<String> {
    text.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// Reads a form.
pub fn parse(boundary: &str, body: &[u8]) -> Result<Form, &'static str> {
    if boundary.is_empty() {
        return Err("multipart: boundary is empty");
    }
    let mark = format!("--{boundary}");
    let mut form = Form::default();
    let start = find(body, mark.as_bytes()).ok_or("multipart: NextPart: EOF")?;
    let mut rest = &body[start + mark.len()..];
    while !rest.starts_with(b"--") {
        rest = rest.strip_prefix(b"\r\n").ok_or("multipart: NextPart: EOF")?;
        let head = find(rest, b"\r\n\r\n").ok_or("multipart: NextPart: EOF")?;
        let content = &rest[head + 4..];
        let end = find(content, format!("\r\n{mark}").as_bytes()).ok_or("unexpected EOF")?;
        let disposition = String::from_utf8_lossy(&rest[..head])
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))
            .unwrap_or_default()
            .to_owned();
        match (parameter(&disposition, "name"), parameter(&disposition, "filename")) {
            (Some(name), Some(_)) => {
                form.files.entry(name).or_insert_with(|| content[..end].to_vec());
            }
            (Some(_), None) => form.has_fields = true,
            (None, _) => {}
        }
        rest = &content[end + 2 + mark.len()..];
    }
    Ok(form)
}
