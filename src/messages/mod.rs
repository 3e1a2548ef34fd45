//! The message channel between the daemons of different members: config updates and signatures over them, on a ref of a git
//! repository that daemons alone push to.
//!
//! `<channel>/<digest>/update.pb` holds an update's exact bytes, `<channel>/<digest>/<MSP ID>.sig` a signature over them, `<MSP
//! ID>.reject` that organization's word that it does not want it. Nothing here is trusted: names only say what a file claims to be,
//! and whoever reads one verifies it (`tenter_fabric::policy::Judge`). Git's own history decides nothing; of a file, the version at the tip counts.

pub mod channel;
pub mod exchange;
pub mod process;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tenter_consortium::document::Blob;

/// The ref.
pub const REF: &str = "refs/heads/tenter/signatures";
/// Name of the file with an update's bytes.
pub const UPDATE: &str = "update.pb";
/// What the name of a signature ends with, after the MSP ID.
pub const SIGNATURE: &str = ".sig";
/// What the name of a rejection ends with, after the MSP ID.
pub const REJECTION: &str = ".reject";
/// Most bytes of an update.
pub const MAX_UPDATE_BYTES: u64 = 1 << 20;
/// Most bytes of a signature: a certificate and a signature fit many times.
pub const MAX_SIGNATURE_BYTES: u64 = 32 << 10;
/// Most entries of any folder.
pub const MAX_ENTRIES: usize = 256;
/// Most bytes of everything that is read.
pub const MAX_ALL_BYTES: u64 = 8 << 20;

/// Where an update is: its channel and its digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Folder {
    /// The channel.
    pub channel: String,
    /// SHA-256 of the update's bytes, hex.
    pub digest: String,
}

impl std::fmt::Display for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.channel, self.digest)
    }
}

impl Folder {
    /// Whether both are well-formed: they become names in a tree, and came from one.
    pub fn is_well_formed(&self) -> bool {
        is_channel(&self.channel) && is_digest(&self.digest)
    }
}

/// An update and the signatures that were published for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Where it is.
    pub folder: Folder,
    /// The update's bytes; their digest is the folder's.
    pub update: Blob,
    /// Encoded signatures, by the MSP ID that the file's name claims.
    pub signatures: BTreeMap<String, Blob>,
    /// Encoded rejections, by the MSP ID that the file's name claims.
    #[serde(default)]
    pub rejections: BTreeMap<String, Blob>,
}

impl Message {
    /// A message with no signatures yet.
    pub fn new(channel: &str, update: &[u8]) -> Self {
        let folder = Folder { channel: channel.to_owned(), digest: digest(update) };
        Self { folder, update: Blob(update.to_vec()), signatures: BTreeMap::new(), rejections: BTreeMap::new() }
    }
}

/// What is on the ref.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Messages {
    /// The commit; absent while nobody has published anything.
    pub tip: Option<String>,
    /// Everything that can be read.
    pub messages: Vec<Message>,
    /// What was left out, and why.
    pub ignored: Vec<String>,
    /// Whether this exchange pushed a commit.
    pub pushed: bool,
}

impl Messages {
    /// The message of an update.
    pub fn find(&self, channel: &str, digest: &str) -> Option<&Message> {
        self.messages.iter().find(|message| message.folder.channel == channel && message.folder.digest == digest)
    }
}

/// SHA-256, hex.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether a name is one that Fabric gives channels (`common/configtx`, `validateChannelID`).
pub fn is_channel(name: &str) -> bool {
    let mut letters = name.chars();
    name.len() < 250
        && letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '.' | '-'))
}

/// Whether a name is a SHA-256 in lower-case hex.
pub fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

/// Whether an MSP ID can be the name of a file here.
pub fn is_msp_id(name: &str) -> bool {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    (1..=128).contains(&name.len()) && name.chars().all(legal) && !name.starts_with('.')
}
