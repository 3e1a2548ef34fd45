//! The history from the last accepted commit to a branch's newest: every commit of it signed, and whose part each changes.

use std::collections::{BTreeMap, BTreeSet};

use git2::{ObjectType, Oid, Repository};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tenter_consortium::document::{self, RepositoryFacts};
use tenter_consortium::network::Network;
use tenter_consortium::ownership::{Side, SignedChange, agreement};

use super::{KeyProblem, KeyText, Keyring, SignatureRefusal};
use crate::source::mirror::{read, small_commit, small_tree};

/// Most commits between the last accepted one and the newest.
const MAX_COMMITS: usize = 500;
/// The folder with a folder for each organization.
const FOLDERS: &str = "organizations";

/// What to verify.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trust {
    /// The trusted keys.
    pub keys: Vec<KeyText>,
    /// The last accepted commit; without one only the newest is looked at.
    pub accepted: Option<String>,
    /// The time.
    pub now: Timestamp,
}

/// Commits whose signatures hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedHistory {
    /// What each commit since the last accepted one changes, the oldest first. Empty for the first one of all.
    pub changes: Vec<SignedChange>,
    /// Organizations whose part is at the newest commit as it was at the last accepted one.
    pub settled: BTreeSet<String>,
}

/// Why a history is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "problem", rename_all = "camelCase")]
pub enum HistoryProblem {
    /// A key of the settings cannot be used.
    #[error(transparent)]
    Key {
        /// Which, and why.
        #[from]
        key: KeyProblem,
    },
    /// A commit's signature does not count.
    #[error("commit {commit} is not accepted: {refusal}")]
    Signature {
        /// The commit.
        commit: String,
        /// Why.
        refusal: SignatureRefusal,
    },
    /// The last accepted commit is not in the branch's own history.
    #[error(
        "commit {commit} does not follow {accepted}, which was accepted last, by first parents: the history was rewritten, or \
         the branch was merged into another and replaced by it; put {accepted} back into the branch's own history"
    )]
    NotFirstParent {
        /// The newest commit.
        commit: String,
        /// The last accepted one.
        accepted: String,
    },
    /// There are too many commits.
    #[error("more than {limit} commits follow {accepted}, which was accepted last; push them in smaller parts")]
    TooMany {
        /// The last accepted commit.
        accepted: String,
        /// The limit.
        limit: usize,
    },
    /// A commit cannot be read.
    #[error("commit {commit} cannot be read: {why}")]
    Unreadable {
        /// The commit.
        commit: String,
        /// What went wrong.
        why: String,
    },
}

impl HistoryProblem {
    /// A reason code for a condition.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Key { .. } => "TrustedKeyInvalid",
            Self::Signature { refusal, .. } => refusal.reason(),
            Self::NotFirstParent { .. } => "HistoryRewritten",
            Self::TooMany { .. } => "HistoryTooLong",
            Self::Unreadable { .. } => "CommitUnreadable",
        }
    }
}

/// Verifies the history that ends in `tip`. `path` is that of the definition.
pub fn verify(repository: &Repository, tip: Oid, path: &str, trust: &Trust) -> Result<VerifiedHistory, HistoryProblem> {
    let keys = Keyring::read(&trust.keys)?;
    let accepted = trust.accepted.as_deref().and_then(|accepted| Oid::from_str(accepted).ok());
    let Some(accepted) = accepted else {
        signed(repository, &keys, tip, trust.now)?;
        return Ok(VerifiedHistory::default());
    };
    let commits = first_parents(repository, tip, accepted)?;
    let base = side(repository, accepted, path);
    let mut before = base.clone();
    let mut changes = Vec::new();
    for commit in commits {
        let signer = signed(repository, &keys, commit, trust.now)?;
        // A definition that cannot be read is never applied: what it changes is asked of the next that can be.
        let after = side(repository, commit, path);
        let organizations = match (&before, &after) {
            (Some(before), Some(after)) => agreement(before, after),
            _ => BTreeSet::new(),
        };
        before = after.or(before);
        let (key, organization) = (signer.key, signer.organization);
        changes.push(SignedChange { commit: commit.to_string(), key, organization, organizations });
    }
    let settled = match (&base, &before) {
        (Some(base), Some(newest)) => {
            let open = agreement(base, newest);
            let all = changes.iter().flat_map(|change| &change.organizations);
            all.filter(|name| !open.contains(*name)).cloned().collect()
        }
        _ => BTreeSet::new(),
    };
    Ok(VerifiedHistory { changes, settled })
}

/// The commits after `accepted` up to `tip`, by first parents, the oldest first.
fn first_parents(repository: &Repository, tip: Oid, accepted: Oid) -> Result<Vec<Oid>, HistoryProblem> {
    let rewritten = || HistoryProblem::NotFirstParent { commit: tip.to_string(), accepted: accepted.to_string() };
    let mut commits = Vec::new();
    let mut at = tip;
    while at != accepted {
        if commits.len() == MAX_COMMITS {
            return Err(HistoryProblem::TooMany { accepted: accepted.to_string(), limit: MAX_COMMITS });
        }
        commits.push(at);
        let commit = small_commit(repository, at).map_err(|error| unreadable(at, &error))?;
        at = commit.parent_id(0).map_err(|_| rewritten())?;
    }
    commits.reverse();
    Ok(commits)
}

fn unreadable(commit: Oid, error: &impl ToString) -> HistoryProblem {
    HistoryProblem::Unreadable { commit: commit.to_string(), why: error.to_string() }
}

/// Who signed a commit.
fn signed(repository: &Repository, keys: &Keyring, id: Oid, now: Timestamp) -> Result<super::Signer, HistoryProblem> {
    let refused = |refusal| HistoryProblem::Signature { commit: id.to_string(), refusal };
    // The size is looked at before anything is unpacked.
    small_commit(repository, id).map_err(|error| unreadable(id, &error))?;
    let (signature, data) = match repository.extract_signature(&id, None) {
        Ok(found) => found,
        Err(error) if error.code() == git2::ErrorCode::NotFound => return Err(refused(SignatureRefusal::Unsigned)),
        Err(error) => return Err(unreadable(id, &error.message())),
    };
    keys.verify(&data, &signature, now).map_err(refused)
}

/// The definition at a commit, to be compared.
fn side(repository: &Repository, commit: Oid, path: &str) -> Option<Side> {
    let bytes = read(repository, commit, path).ok()?;
    let definition = document::parse(&bytes, path).0?;
    let network = Network::resolve(&definition, &RepositoryFacts::default());
    Some(Side::new(&definition, &network, folders(repository, commit)))
}

/// The folders of organizations, with the id of the tree of each.
fn folders(repository: &Repository, commit: Oid) -> BTreeMap<String, String> {
    let found = || {
        let root = small_tree(repository, small_commit(repository, commit).ok()?.tree_id()).ok()?;
        let entry = root.get_name(FOLDERS)?;
        let folders = small_tree(repository, entry.id()).ok().filter(|_| entry.kind() == Some(ObjectType::Tree))?;
        let named = folders.iter().filter_map(|entry| Some((entry.name().ok()?.to_owned(), entry.id().to_string())));
        Some(named.collect())
    };
    found().unwrap_or_default()
}
