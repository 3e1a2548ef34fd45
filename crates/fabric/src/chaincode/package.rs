//! Chaincode packages: what is installed on peers (`core/chaincode/persistence/chaincode_package.go`).

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::archive::tar_gz;
use crate::hash::sha256_hex;

/// Largest package that is read. Fabric's messages end at 100 MiB, and a package travels in one.
pub const MAX_PACKAGE: usize = 96 * 1024 * 1024;
/// Most bytes that a package, and the code in it, may unpack to. Peers have no such limit: they unpack whatever an
/// administrator hands them.
pub const MAX_UNPACKED: u64 = 512 * 1024 * 1024;
/// Most files and folders of the code.
pub const MAX_ENTRIES: usize = 100_000;
/// Largest `metadata.json`.
pub const MAX_METADATA: u64 = 64 * 1024;
/// Largest `connection.json`.
pub const MAX_CONNECTION: u64 = 256 * 1024;
/// Longest label: with hash and ending it becomes the name of one file on the peer, which has at most 255 bytes.
pub const MAX_LABEL: usize = 255 - 1 - HASH_DIGITS - ".tar.gz".len();

const METADATA: &str = "metadata.json";
const CODE: &str = "code.tar.gz";
const CONNECTION: &str = "connection.json";
/// Type that the builder for chaincode as a service takes (`ccaas_builder`).
const SERVICE: &str = "ccaas";
const HASH_DIGITS: usize = 64;

/// Text that is no label of a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no label: it begins with a letter or digit, goes on with letters, digits, `_`, `.`, `+` and `-`, and \
     has at most {MAX_LABEL} characters"
)]
pub struct LabelError {
    /// The text.
    pub text: String,
}

/// The name that a package gives itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Label {
    type Err = LabelError;

    /// Takes `^[[:alnum:]][[:alnum:]_.+-]*$`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
        let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if starts && text.bytes().all(legal) && text.len() <= MAX_LABEL {
            Ok(Self(text.to_owned()))
        } else {
            Err(LabelError { text: text.to_owned() })
        }
    }
}

/// Text that is no package id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no package id; it is a label, a colon, and the SHA-256 of the package in lower-case hexadecimal digits"
)]
pub struct PackageIdError {
    /// The text.
    pub text: String,
}

/// Identifies an installed package: `label:sha256`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId {
    label: Label,
    hash: String,
}

impl PackageId {
    /// The id of a package of these bytes.
    pub fn of(label: Label, bytes: &[u8]) -> Self {
        Self { label, hash: sha256_hex(bytes) }
    }

    /// The package's label.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// SHA-256 of the package, in lower-case hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.label, self.hash)
    }
}

impl FromStr for PackageId {
    type Err = PackageIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || PackageIdError { text: text.to_owned() };
        let (label, hash) = text.split_once(':').ok_or_else(error)?;
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hash.len() != HASH_DIGITS || !hash.bytes().all(digit) {
            return Err(error());
        }
        Ok(Self { label: label.parse().map_err(|_| error())?, hash: hash.to_owned() })
    }
}

/// Which of the two archives of a package is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The package itself.
    Package,
    /// The code in it.
    Code,
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Package => "package",
            Self::Code => "code.tar.gz of the package",
        })
    }
}

/// Why bytes are no package, or files make none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// Not a gzip-ed tar archive, or a damaged one.
    #[error("the {part} is no intact .tar.gz archive")]
    Archive {
        /// Which archive.
        part: Part,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// Something other than padding follows the end of the archive.
    #[error("the {part} goes on after the end of its archive; make it anew")]
    Trailing {
        /// Which archive.
        part: Part,
    },
    /// Too many bytes or files.
    #[error("the {part} is too large: {limit} is the limit")]
    TooLarge {
        /// Which archive.
        part: Part,
        /// What is allowed.
        limit: String,
    },
    /// A link, a device, or a folder where only files may be.
    #[error("`{name}` in the {part} is no regular file (tar type {kind:?})")]
    NotAFile {
        /// Which archive.
        part: Part,
        /// Name of the entry.
        name: String,
        /// Type in its header.
        kind: char,
    },
    /// A path that leads elsewhere, or that nodes read in different ways.
    #[error("`{name}` in the {part} is no plain path: it must be relative, without `..`, `.` and empty parts")]
    Path {
        /// Which archive.
        part: Part,
        /// The path.
        name: String,
    },
    /// A file that does not belong there. Peers install such a package with a warning.
    #[error("`{name}` does not belong into a package, which holds {METADATA} and {CODE} only")]
    Unexpected {
        /// Name of the file.
        name: String,
    },
    /// The same name twice: which one counts depends on the reader.
    #[error("`{name}` is twice in the {part}")]
    Twice {
        /// Which archive.
        part: Part,
        /// The name.
        name: String,
    },
    /// A part that must be there.
    #[error("the package has no {name}")]
    Missing {
        /// Name of the file.
        name: &'static str,
    },
    /// No files to make a package of.
    #[error("a package needs at least one file of code")]
    NoFiles,
    /// The description cannot be read.
    #[error("the {METADATA} of the package cannot be read")]
    Metadata {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A key in another case, which Fabric takes for the one meant.
    #[error("the {METADATA} of the package has the key `{found}`; write `{wanted}`")]
    Key {
        /// The key.
        found: String,
        /// How it is written.
        wanted: &'static str,
    },
    /// Where the service is cannot be read.
    #[error("the {CONNECTION} of the package cannot be read")]
    Connection {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A description without a type: no builder would take it.
    #[error("the {METADATA} of the package names no type")]
    NoType,
    /// An illegal label.
    #[error("the package has an illegal label")]
    Label(#[from] LabelError),
}

/// A package that a peer can install.
#[derive(Clone, PartialEq, Eq)]
pub struct Package {
    bytes: Vec<u8>,
    id: PackageId,
    kind: String,
}

impl fmt::Debug for Package {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Package")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// `metadata.json`. Keys in the order in which Fabric's tools write them.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    #[serde(default)]
    path: String,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    label: String,
}

/// How a peer reaches a chaincode that runs as a service. Each text may hold Go templates such as `{{.name}}`, which the
/// builder fills from the peer's environment (`ccaas_builder/cmd/build`): so peers can share one package, and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConnection {
    /// `host:port`.
    pub address: String,
    /// How long a peer tries to connect, as Go writes durations: `10s`.
    pub dial_timeout: String,
    /// TLS, if the service speaks it.
    pub tls: Option<ServiceTls>,
}

/// TLS towards a chaincode service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTls {
    /// Root certificate of the service, as PEM.
    pub root_certificate: String,
    /// What the peer shows, if the service demands it.
    pub client: Option<ServiceClient>,
}

/// The certificate that a peer shows to a chaincode service. It is readable for whoever has the package.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceClient {
    /// Private key, as PEM.
    pub key: String,
    /// Certificate, as PEM.
    pub certificate: String,
}

impl fmt::Debug for ServiceClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServiceClient").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// `connection.json` of somebody else's package: every key that the builder knows (`ccaas_builder/cmd/build`), and no other,
/// because Go takes keys in any case, and the last of two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the keys are named so that no other passes")]
struct ForeignConnection {
    address: String,
    dial_timeout: Option<String>,
    tls_required: Option<bool>,
    client_auth_required: Option<bool>,
    root_cert: Option<String>,
    client_key: Option<String>,
    client_cert: Option<String>,
}

/// `connection.json`. The order of the fields is part of package ids.
#[derive(Serialize)]
struct ConnectionFile<'a> {
    address: &'a str,
    dial_timeout: &'a str,
    tls_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_auth_required: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_cert: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_cert: Option<&'a str>,
}

impl Package {
    /// Reads a package: every check of a peer, and stricter where peers or builders could read it in different ways.
    pub fn read(bytes: Vec<u8>) -> Result<Self, PackageError> {
        if bytes.len() > MAX_PACKAGE {
            return Err(too_large(Part::Package, format!("{MAX_PACKAGE} bytes")));
        }
        let mut metadata = None;
        let mut code = false;
        walk(Part::Package, bytes.as_slice(), |name, is_file, content| {
            if !is_file {
                return Err(PackageError::NotAFile { part: Part::Package, name: name.to_owned(), kind: '5' });
            }
            match name {
                METADATA => metadata = Some(read_metadata(content)?),
                CODE => {
                    code = true;
                    walk(Part::Code, content, |_, _, _| Ok(()))?;
                }
                _ => return Err(PackageError::Unexpected { name: name.to_owned() }),
            }
            Ok(())
        })?;
        if !code {
            return Err(PackageError::Missing { name: CODE });
        }
        let Metadata { path: _, r#type, label } = metadata.ok_or(PackageError::Missing { name: METADATA })?;
        let label: Label = label.parse()?;
        if r#type.is_empty() {
            return Err(PackageError::NoType);
        }
        Ok(Self { id: PackageId::of(label, &bytes), kind: r#type, bytes })
    }

    /// Makes a package of these files, which are the content of `code.tar.gz` by their paths in it (Fabric's own builders
    /// look for sources below `src/`, and for indexes below `META-INF/`). Equal files give equal bytes, everywhere and
    /// always; nothing is compressed.
    pub fn from_files(label: &Label, kind: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<Self, PackageError> {
        if files.is_empty() {
            return Err(PackageError::NoFiles);
        }
        if kind.is_empty() {
            return Err(PackageError::NoType);
        }
        for name in files.keys() {
            if !is_plain_path(name) {
                return Err(PackageError::Path { part: Part::Code, name: name.clone() });
            }
            // A file cannot be a folder too.
            let folder = format!("{name}/");
            if files.range(folder.clone()..).next().is_some_and(|(next, _)| next.starts_with(&folder)) {
                return Err(PackageError::Twice { part: Part::Code, name: name.clone() });
            }
        }
        let package = Self::build(label, kind, files.iter().map(|(name, content)| (name.as_str(), content.as_slice())));
        // The limits hold for what is made here too.
        Self::read(package.bytes)
    }

    /// Makes the package of a chaincode that runs as a service: peers run nothing, they connect.
    pub fn service(label: &Label, connection: &ServiceConnection) -> Self {
        let tls = connection.tls.as_ref();
        let client = tls.and_then(|tls| tls.client.as_ref());
        let file = ConnectionFile {
            address: &connection.address,
            dial_timeout: &connection.dial_timeout,
            tls_required: tls.is_some(),
            client_auth_required: tls.map(|_| client.is_some()),
            client_key: client.map(|client| client.key.as_str()),
            client_cert: client.map(|client| client.certificate.as_str()),
            root_cert: tls.map(|tls| tls.root_certificate.as_str()),
        };
        Self::build(label, SERVICE, [(CONNECTION, json(&file).as_slice())])
    }

    fn build<'a>(label: &Label, kind: &str, files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let metadata = Metadata { path: String::new(), r#type: kind.to_owned(), label: label.to_string() };
        let (metadata, code) = (json(&metadata), tar_gz(files));
        let bytes = tar_gz([(METADATA, metadata.as_slice()), (CODE, code.as_slice())]);
        Self { id: PackageId::of(label.clone(), &bytes), kind: kind.to_owned(), bytes }
    }

    /// The exact bytes to install.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its id.
    pub fn id(&self) -> &PackageId {
        &self.id
    }

    /// Its label.
    pub fn label(&self) -> &Label {
        &self.id.label
    }

    /// Where peers call the chaincode of a package of type `ccaas`, `host:port`, as its `connection.json` says it: Go templates
    /// in it are not filled in. Fails where there is no such file, or one that a peer could read in another way.
    pub fn server(&self) -> Result<String, PackageError> {
        let mut connection = None;
        walk(Part::Package, self.bytes.as_slice(), |name, _, content| {
            if name != CODE {
                return Ok(());
            }
            walk(Part::Code, content, |name, is_file, content| {
                if is_file && name.strip_prefix("./").unwrap_or(name) == CONNECTION {
                    let archive = |source| PackageError::Archive { part: Part::Code, source };
                    let mut bytes = Vec::new();
                    content.take(MAX_CONNECTION + 1).read_to_end(&mut bytes).map_err(archive)?;
                    connection = Some(bytes);
                }
                Ok(())
            })
        })?;
        let bytes = connection.ok_or(PackageError::Missing { name: CONNECTION })?;
        if bytes.len() as u64 > MAX_CONNECTION {
            return Err(too_large(Part::Code, format!("{CONNECTION} of {MAX_CONNECTION} bytes")));
        }
        let read: Result<ForeignConnection, _> = serde_json::from_slice(&bytes);
        read.map(|connection| connection.address).map_err(|source| PackageError::Connection { source })
    }

    /// Its type, such as `ccaas`, `golang` or `node`.
    pub fn kind(&self) -> &str {
        &self.kind
    }
}

/// Compact JSON. Structs of strings and booleans cannot fail.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn too_large(part: Part, limit: String) -> PackageError {
    PackageError::TooLarge { part, limit }
}

/// A relative path of plain parts, as every reader understands it.
fn is_plain_path(path: &str) -> bool {
    let legal = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    path.split('/').all(legal) && !path.chars().any(char::is_control)
}

fn read_metadata(content: &mut dyn Read) -> Result<Metadata, PackageError> {
    let archive = |source| PackageError::Archive { part: Part::Package, source };
    let mut bytes = Vec::new();
    content.take(MAX_METADATA + 1).read_to_end(&mut bytes).map_err(archive)?;
    if bytes.len() as u64 > MAX_METADATA {
        return Err(too_large(Part::Package, format!("{METADATA} of {MAX_METADATA} bytes")));
    }
    let unreadable = |source| PackageError::Metadata { source };
    // Go takes keys in any case, so that a second spelling would overrule the first.
    let keys: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&bytes).map_err(unreadable)?;
    for found in keys.keys() {
        let wanted = ["path", "type", "label"].into_iter().find(|wanted| found.eq_ignore_ascii_case(wanted));
        if let Some(wanted) = wanted.filter(|wanted| wanted != found) {
            return Err(PackageError::Key { found: found.clone(), wanted });
        }
    }
    serde_json::from_slice(&bytes).map_err(unreadable)
}

/// What is done with each entry: its name, whether it is a file (else a folder), and its content.
type Visit<'a> = dyn FnMut(&str, bool, &mut dyn Read) -> Result<(), PackageError> + 'a;

/// Reads a `.tar.gz` to its end and hands each entry to `visit`. Only files and folders with plain names pass, each file
/// once.
fn walk(
    part: Part,
    archive: impl Read,
    visit: impl FnMut(&str, bool, &mut dyn Read) -> Result<(), PackageError>,
) -> Result<(), PackageError> {
    walk_within(part, MAX_UNPACKED, archive, visit)
}

fn walk_within(
    part: Part,
    limit: u64,
    archive: impl Read,
    mut visit: impl FnMut(&str, bool, &mut dyn Read) -> Result<(), PackageError>,
) -> Result<(), PackageError> {
    let exceeded = Cell::new(false);
    let unpacked = Bounded { inner: MultiGzDecoder::new(archive), left: limit, exceeded: &exceeded };
    walk_entries(part, limit, unpacked, &mut visit)
        .map_err(|error| if exceeded.get() { too_many_bytes(part, limit) } else { error })
}

fn too_many_bytes(part: Part, limit: u64) -> PackageError {
    too_large(part, format!("{limit} bytes unpacked"))
}

fn walk_entries(part: Part, limit: u64, unpacked: impl Read, visit: &mut Visit<'_>) -> Result<(), PackageError> {
    let damaged = |source| PackageError::Archive { part, source };
    let mut archive = tar::Archive::new(unpacked);
    let mut seen = BTreeSet::new();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let raw = entry.path_bytes().into_owned();
        let name = String::from_utf8_lossy(&raw).into_owned();
        let kind = entry.header().entry_type();
        // An old header may mark a folder by a slash at the end of a file's name; Go reads it so.
        let is_file = kind.is_file() && !name.ends_with('/');
        if !is_file && !kind.is_dir() {
            return Err(PackageError::NotAFile { part, name, kind: char::from(kind.as_byte()) });
        }
        let plain = if is_file { name.as_str() } else { name.trim_end_matches('/') };
        let relative = plain.strip_prefix("./").unwrap_or(plain);
        let root = !is_file && matches!(plain, "." | "");
        if std::str::from_utf8(&raw).is_err() || (!root && !is_plain_path(relative)) {
            return Err(PackageError::Path { part, name });
        }
        if is_file && !seen.insert(relative.to_owned()) {
            return Err(PackageError::Twice { part, name });
        }
        if seen.len() > MAX_ENTRIES {
            return Err(too_large(part, format!("{MAX_ENTRIES} files")));
        }
        if entry.size() > limit {
            return Err(too_many_bytes(part, limit));
        }
        visit(&name, is_file, &mut entry)?;
    }
    // Reads to the end, which also checks the sums of the compressed stream.
    let mut rest = archive.into_inner();
    let mut buffer = [0; 4096];
    loop {
        let count = rest.read(&mut buffer).map_err(damaged)?;
        if count == 0 {
            return Ok(());
        }
        if buffer.iter().take(count).any(|byte| *byte != 0) {
            return Err(PackageError::Trailing { part });
        }
    }
}

/// Ends with an error, and says so, after so many bytes.
struct Bounded<'a, R> {
    inner: R,
    left: u64,
    exceeded: &'a Cell<bool>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let Some(left) = self.left.checked_sub(count as u64) else {
            self.exceeded.set(true);
            return Err(io::Error::other("too many bytes"));
        };
        self.left = left;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
