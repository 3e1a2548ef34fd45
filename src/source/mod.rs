//! Where a definition comes from: a commit of a git repository, or a local folder.
//!
//! Repository content is hostile. Nothing is ever checked out: a blob is read from the object database, with a cap on
//! its size, and only if the tree says that it is a regular file. So there are no hooks, filters, submodules or symbolic
//! links to follow. A fetch runs in a process of its own (see [`process`]), which is ended when its time is over.

pub mod folder;
pub mod items;
pub mod known_hosts;
pub mod local;
pub mod mirror;
pub mod process;
pub mod url;

use serde::{Deserialize, Serialize};

/// Most bytes of a snapshot of the state.
pub const MAX_SNAPSHOT_BYTES: u64 = 256 << 20;
/// Most bytes of a definition.
pub const MAX_BLOB_BYTES: u64 = 1 << 20;

/// Why a definition could not be had. The message says what was tried and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "camelCase")]
pub enum SourceError {
    /// The URL is not one that Tenter reads from.
    #[error("the repository URL {url} cannot be used: {why}")]
    Url {
        /// The URL, without a password.
        url: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// The server did not answer, or not as a git server does.
    #[error("cannot fetch from {url}: {why}")]
    Unreachable {
        /// The URL, without a password.
        url: String,
        /// What was tried, and what came of it.
        why: String,
    },
    /// The server asks for credentials, or refuses the ones it was given.
    #[error("{url} refused access: {why}")]
    Unauthorised {
        /// The URL, without a password.
        url: String,
        /// What was tried.
        why: String,
    },
    /// The SSH server's key is not the one on record.
    #[error("the host key of {host} is not trusted: {why}")]
    HostKey {
        /// The host.
        host: String,
        /// What was compared.
        why: String,
    },
    /// The fetch took too long.
    #[error("fetching from {url} took longer than {seconds} s and was ended")]
    Timeout {
        /// The URL, without a password.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// The repository sends more than a definition repository should.
    #[error("{url} sends more than {limit} bytes; is this the definition repository?")]
    TooMuchData {
        /// The URL, without a password.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// There is no such branch or commit.
    #[error("{url} has no branch `{revision}`; its branches are {branches}")]
    NoRevision {
        /// The URL, without a password.
        url: String,
        /// What was asked for.
        revision: String,
        /// What there is.
        branches: String,
    },
    /// The repository has no commit.
    #[error("{url} is empty: commit a network.yaml and push it")]
    Empty {
        /// The URL, without a password.
        url: String,
    },
    /// The definition is not in the commit.
    #[error("commit {commit} has no file {path}")]
    NoFile {
        /// The commit.
        commit: String,
        /// The path.
        path: String,
    },
    /// The path leads to something that is not a regular file.
    #[error("{path} in commit {commit} is {what}, not a regular file")]
    NotAFile {
        /// The commit.
        commit: String,
        /// The path.
        path: String,
        /// What it is.
        what: String,
    },
    /// The file, or a commit or folder on the way to it, is too large to be read.
    #[error("{path} has {size} bytes; at most {limit} are read")]
    TooLarge {
        /// The path, or the object's id.
        path: String,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The mirror or the folder on this machine cannot be used.
    #[error("{path}: {why}")]
    Local {
        /// The file or folder.
        path: String,
        /// What went wrong.
        why: String,
    },
}

impl SourceError {
    /// A reason code for a condition.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Url { .. } => "SourceInvalid",
            Self::Unreachable { .. } => "SourceUnreachable",
            Self::Unauthorised { .. } => "SourceUnauthorised",
            Self::HostKey { .. } => "SourceHostKey",
            Self::Timeout { .. } => "SourceTimeout",
            Self::TooMuchData { .. } | Self::TooLarge { .. } => "SourceTooLarge",
            Self::NoRevision { .. } => "BranchNotFound",
            Self::Empty { .. } => "RepositoryEmpty",
            Self::NoFile { .. } => "DefinitionNotFound",
            Self::NotAFile { .. } => "DefinitionNotAFile",
            Self::Local { .. } => "SourceLocal",
        }
    }

    /// What to do about it, where the message does not say so.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unauthorised { .. } => Some(
                "name a Secret with `username` and `password`, or `identity` and `known_hosts`, in spec.source.secret, or set \
                 TENTER_GIT_USERNAME and TENTER_GIT_PASSWORD, or TENTER_GIT_IDENTITY and TENTER_GIT_KNOWN_HOSTS (files)",
            ),
            Self::HostKey { .. } => {
                Some("put the line that `ssh-keyscan HOST` prints, once you trust it, in `known_hosts`")
            }
            Self::NoFile { .. } => Some("--path (spec.source.path) names the definition in the repository"),
            _ => None,
        }
    }
}

/// How to prove to a git server who is asking. Neither field is ever printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User name for https; for ssh the URL's user, or `git`.
    #[serde(default)]
    pub username: Option<String>,
    /// Password or token for https.
    #[serde(default)]
    pub password: Option<String>,
    /// Private key for ssh, in OpenSSH or PEM form.
    #[serde(default)]
    pub identity: Option<String>,
    /// Host keys for ssh, as `known_hosts` has them.
    #[serde(default)]
    pub known_hosts: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}
