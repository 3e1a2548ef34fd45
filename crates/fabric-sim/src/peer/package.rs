//! Chaincode packages: a tar archive, compressed with gzip, of `metadata.json` and `code.tar.gz` (Fabric
//! `core/chaincode/persistence/chaincode_package.go`).

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// The most that an archive may unpack to: a guard of the simulator's own.
const MAX_UNPACKED: u64 = 512 << 20;
const BLOCK: usize = 512;

/// A package that Fabric refuses, with Fabric's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PackageError(pub String);

/// What `metadata.json` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Which builder is to take it.
    pub r#type: String,
    /// The name for people.
    pub label: String,
}

/// A package taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// What `metadata.json` says.
    pub metadata: Metadata,
    /// Its bytes.
    pub metadata_bytes: Vec<u8>,
    /// The files of `code.tar.gz`.
    pub code: Vec<Entry>,
}

/// A file or folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub name: String,
    /// The tar type flag.
    pub kind: u8,
    /// Its content.
    pub content: Vec<u8>,
}

impl Entry {
    /// Whether it is an ordinary file.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, b'0' | 0)
    }
}

/// The id of a package: its label and the hash of its bytes.
pub fn id(label: &str, bytes: &[u8]) -> String {
    format!("{label}:{}", hex::encode(Sha256::digest(bytes)))
}

impl Package {
    /// Takes a package apart, in the order in which Fabric finds fault with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackageError> {
        let entries = archive(bytes).map_err(|fault| fault.describe("error reading as gzip stream"))?;
        let (mut metadata, mut metadata_bytes, mut code) = (None, Vec::new(), None);
        for entry in entries {
            if !entry.is_file() {
                return Err(PackageError(format!(
                    "tar entry {} is not a regular file, type {}",
                    entry.name, entry.kind
                )));
            }
            match entry.name.as_str() {
                "metadata.json" => {
                    metadata = Some(serde_json::from_slice::<Metadata>(&entry.content).map_err(|error| {
                        PackageError(format!("could not unmarshal metadata.json as json: {error}"))
                    })?);
                    metadata_bytes = entry.content;
                }
                "code.tar.gz" => code = Some(entry.content),
                other => tracing::warn!(file = other, "unexpected file in a chaincode package"),
            }
        }
        let code = code.ok_or_else(|| PackageError("did not find a code package inside the package".to_owned()))?;
        let metadata = metadata
            .ok_or_else(|| PackageError("did not find any package metadata (missing metadata.json)".to_owned()))?;
        check_label(&metadata.label)?;
        let code = archive(&code).map_err(|fault| {
            PackageError(format!("error retrieving DB artifacts from code package: {}", fault.text()))
        })?;
        Ok(Self { metadata, metadata_bytes, code })
    }
}

fn check_label(label: &str) -> Result<(), PackageError> {
    let mut bytes = label.bytes();
    let fits = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|c| c.is_ascii_alphanumeric() || b"_.+-".contains(&c));
    if fits {
        return Ok(());
    }
    Err(PackageError(format!(
        "invalid label '{label}'. Label must be non-empty, can only consist of alphanumerics, symbols from '.+-_', and can only begin with alphanumerics"
    )))
}

enum Fault {
    /// The stream's head is no gzip.
    Gzip(&'static str),
    /// The archive in it.
    Tar(&'static str),
}

impl Fault {
    fn text(&self) -> &'static str {
        match self {
            Self::Gzip(text) | Self::Tar(text) => text,
        }
    }

    fn describe(&self, gzip: &str) -> PackageError {
        PackageError(match self {
            Self::Gzip(text) => format!("{gzip}: {text}"),
            Self::Tar(text) => format!("error inspecting next tar header: {text}"),
        })
    }
}

/// The entries of a compressed archive.
fn archive(bytes: &[u8]) -> Result<Vec<Entry>, Fault> {
    if bytes.is_empty() {
        return Err(Fault::Gzip("EOF"));
    }
    if bytes.len() < 10 {
        return Err(Fault::Gzip("unexpected EOF"));
    }
    if bytes[..3] != [0x1f, 0x8b, 8] {
        return Err(Fault::Gzip("gzip: invalid header"));
    }
    let mut unpacked = Vec::new();
    let complete = GzDecoder::new(bytes).take(MAX_UNPACKED).read_to_end(&mut unpacked).is_ok();
    entries(&unpacked, complete)
}

fn entries(mut bytes: &[u8], complete: bool) -> Result<Vec<Entry>, Fault> {
    let mut found = Vec::new();
    let mut long_name = None;
    loop {
        let Some(header) = bytes.get(..BLOCK) else {
            // The reader asks for the next header: a clean end is the end of the archive, a broken one is not.
            return if complete && bytes.is_empty() { Ok(found) } else { Err(Fault::Tar("unexpected EOF")) };
        };
        bytes = &bytes[BLOCK..];
        if header.iter().all(|byte| *byte == 0) {
            return Ok(found);
        }
        let sum: u64 = header
            .iter()
            .enumerate()
            .map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte }))
            .sum();
        let (Some(size), Some(expected)) = (number(&header[124..136]), number(&header[148..156])) else {
            return Err(Fault::Tar("archive/tar: invalid tar header"));
        };
        if sum != expected {
            return Err(Fault::Tar("archive/tar: invalid tar header"));
        }
        let size = usize::try_from(size).map_err(|_| Fault::Tar("archive/tar: invalid tar header"))?;
        let content = bytes.get(..size).ok_or(Fault::Tar("unexpected EOF"))?.to_vec();
        bytes = bytes.get(size.div_ceil(BLOCK) * BLOCK..).unwrap_or_default();
        match header[156] {
            b'L' => long_name = Some(text(&content)),
            b'x' => long_name = pax_path(&content).or(long_name),
            b'g' => {}
            kind => {
                let prefix = if &header[257..262] == b"ustar" { text(&header[345..500]) } else { String::new() };
                let short = text(&header[..100]);
                let plain = if prefix.is_empty() { short } else { format!("{prefix}/{short}") };
                found.push(Entry { name: long_name.take().unwrap_or(plain), kind, content });
            }
        }
    }
}

/// Octal digits, or the base-256 form of large numbers.
fn number(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        return field[1..].iter().try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let digits = text(field);
    let digits = digits.trim();
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn pax_path(content: &[u8]) -> Option<String> {
    String::from_utf8_lossy(content)
        .lines()
        .find_map(|line| line.split_once(' ')?.1.strip_prefix("path=").map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn tar(files: &[(&str, &[u8], u8)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, content, kind) in files {
            let mut header = [0_u8; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
            header[148..156].copy_from_slice(b"        ");
            header[156] = *kind;
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            out.extend(header);
            out.extend_from_slice(content);
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        out.resize(out.len() + 2 * BLOCK, 0);
        out
    }

    fn check(package: &[u8], expect: &str) {
        let got = match Package::parse(package) {
            Ok(package) => format!("label {} with {} files", package.metadata.label, package.code.len()),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect);
    }

    #[test]
    fn packages_are_read_and_faults_named_as_by_fabric() {
        let code = gzip(&tar(&[("connection.json", b"{}", b'0')]));
        let metadata = br#"{"type":"ccaas","label":"simple_1"}"#;
        let whole = gzip(&tar(&[("metadata.json", metadata, b'0'), ("code.tar.gz", &code, b'0')]));
        check(&whole, "label simple_1 with 1 files");
        check(b"", "error reading as gzip stream: EOF");
        check(b"no gzip", "error reading as gzip stream: unexpected EOF");
        check(b"no gzip at all", "error reading as gzip stream: gzip: invalid header");
        check(&whole[..whole.len() / 2], "error inspecting next tar header: unexpected EOF");
        check(
            &gzip(&tar(&[("metadata.json", metadata, b'5'), ("code.tar.gz", &code, b'0')])),
            "tar entry metadata.json is not a regular file, type 53",
        );
        check(
            &gzip(&tar(&[("metadata.json", metadata, b'0'), ("code.tar.gz", b"", b'0')])),
            "error retrieving DB artifacts from code package: EOF",
        );
        let bad = br#"{"type":"ccaas","label":"no good"}"#;
        let error = Package::parse(&gzip(&tar(&[("metadata.json", bad, b'0'), ("code.tar.gz", &code, b'0')])));
        assert!(error.unwrap_err().0.starts_with("invalid label 'no good'."));
    }
}
