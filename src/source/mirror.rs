//! A bare mirror of one branch, and reading blobs out of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use git2::cert::Cert;
use git2::{
    AutotagOption, CertificateCheckStatus, Commit, Config, ConfigLevel, Cred, CredentialType, ErrorClass, ErrorCode,
    FetchOptions, ObjectType, Oid, ProxyOptions, RemoteCallbacks, RemoteRedirect, Repository, Tree,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tenter_consortium::document::{self, Blob, MemberFiles, RepositoryFacts, Snapshot};
use tenter_consortium::repository::Repository as Members;

use super::items::{self, Entry, Place};
use super::known_hosts::{self, Verdict};
use super::url::{RepositoryUrl, Scheme, redacted};
use super::{Credentials, MAX_BLOB_BYTES, SourceError};
use crate::trust::history::{self, HistoryProblem, Trust, VerifiedHistory};

/// Most bytes that one fetch may receive: a definition repository is text, and all branches of one come to a few MiB.
const MAX_FETCH_BYTES: u64 = 64 << 20;
/// Most bytes of a commit or of a folder's list of entries. A few compressed bytes can say that they are gigabytes, so the
/// size is looked at before anything is unpacked.
const MAX_NODE_BYTES: u64 = 1 << 20;
/// What the names of libgit2's temporary pack files begin with.
const TEMPORARY_PACK: &str = "pack_git2_";
/// Age of a temporary pack file that no fetch can still be writing.
const STALE: Duration = Duration::from_hours(1);
/// Most branches that an error message names.
const NAMED_BRANCHES: usize = 8;
/// Most organizations' folders that are looked at.
const MAX_FOLDERS: usize = 10_000;
/// What an error calls a symbolic link.
const SYMBOLIC_LINK: &str = "a symbolic link";
/// Most commits that pinned genesis blocks are followed to.
const MAX_SNAPSHOTS: usize = 64;
/// Deepest path of a definition.
const MAX_PATH_PARTS: usize = 32;

/// What to fetch, and where to keep it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchRequest {
    /// Folder that holds mirrors; this repository's has a name of its own in it.
    pub cache: PathBuf,
    /// The repository.
    pub url: String,
    /// A branch, or the full hex name of a commit that the branch's history holds.
    pub revision: String,
    /// Path of the definition.
    pub path: String,
    /// The last good commit: the result says whether the new one descends from it.
    pub last_good: Option<String>,
    /// Whose signatures the commits need, if any.
    #[serde(default)]
    pub trust: Option<Trust>,
    /// How to prove who is asking.
    pub credentials: Credentials,
}

/// A definition at a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The commit, full hex.
    pub commit: String,
    /// First line of its message, without control characters.
    pub subject: String,
    /// Whether it descends from the last good commit (true when there was none).
    pub fast_forward: bool,
    /// What its signatures, and those of the commits before it, say; absent when nobody asked.
    #[serde(default)]
    pub history: Option<Result<VerifiedHistory, HistoryProblem>>,
    /// What lies beside the definition.
    pub facts: RepositoryFacts,
    /// The definition; an error of its own, because the commit is known all the same.
    pub definition: Result<Vec<u8>, SourceError>,
}

/// Fetches, and reads the definition at the new commit. Blocks; see [`super::process::fetch`] for a bounded way.
pub fn fetch(request: &FetchRequest) -> Result<Fetched, SourceError> {
    let url = RepositoryUrl::parse(&request.url)?;
    let repository = open_mirror(&request.cache, &request.url)?;
    remove_leftovers(&repository, SystemTime::now());
    let commit = fetch_revision(&repository, &url, request)?;
    let fast_forward = match &request.last_good {
        None => true,
        Some(last) => descends(&repository, commit, last).map_err(|error| local(&request.cache, &error))?,
    };
    let subject = small_commit(&repository, commit)
        .ok()
        .and_then(|commit| commit.summary().ok().flatten().map(printable))
        .unwrap_or_default();
    let verify = |trust: &Trust| history::verify(&repository, commit, &request.path, trust);
    let history = request.trust.as_ref().map(verify);
    let (definition, facts) = read_with_facts(&repository, commit, &request.path, "");
    Ok(Fetched { commit: commit.to_string(), subject, fast_forward, history, facts, definition })
}

/// Reads a definition at a commit, and what lies beside it. `root` is the folder that the definition's own paths begin in.
pub(crate) fn read_with_facts(
    repository: &Repository,
    commit: Oid,
    path: &str,
    root: &str,
) -> (Result<Vec<u8>, SourceError>, RepositoryFacts) {
    let definition = read(repository, commit, path);
    let paths = definition.as_deref().map(document::repository_paths).unwrap_or_default();
    let at = AtCommit { repository, commit, root };
    let members = items::members(&at);
    let facts = RepositoryFacts {
        organizations: folders(repository, commit, &at.below("organizations")),
        files: items::read(&at, &paths),
        commits: founding_commits(repository, commit, path, root, &members),
        members,
    };
    (definition, facts)
}

/// What stood at the commits from which the pinned genesis blocks were made, as far as they are in the commit's history.
fn founding_commits(
    repository: &Repository,
    tip: Oid,
    path: &str,
    root: &str,
    members: &MemberFiles,
) -> BTreeMap<String, Snapshot> {
    let (Members { channels, organizations: _, approvals: _ }, _) = tenter_consortium::repository::read(members);
    let mut snapshots = BTreeMap::new();
    for name in channels.into_values().map(|pinned| pinned.note.commit).take(MAX_SNAPSHOTS) {
        let Some(commit) = Oid::from_str(&name).ok().filter(|_| name.len() == 40) else { continue };
        if snapshots.contains_key(&name) || !repository.graph_descendant_of(tip, commit).is_ok_and(|older| older) {
            continue;
        }
        snapshots.extend(snapshot(repository, commit, path, root).ok().map(|snapshot| (name, snapshot)));
    }
    snapshots
}

/// A definition and the members' files at a commit.
fn snapshot(repository: &Repository, commit: Oid, path: &str, root: &str) -> Result<Snapshot, SourceError> {
    let definition = Blob(read(repository, commit, path)?);
    Ok(Snapshot { definition, members: items::members(&AtCommit { repository, commit, root }) })
}

/// The repository that a folder belongs to: the commit that is checked out, and what stands there at `path`, which is
/// written from the repository's root. Only what is committed counts, whatever the folder holds beside it.
pub fn checked_out(folder: &Path, path: &str) -> Result<(String, Snapshot), SourceError> {
    let repository = Repository::discover(folder).map_err(|error| local(folder, &error))?;
    let head = repository.head().and_then(|head| head.peel_to_commit()).map_err(|error| local(folder, &error))?;
    Ok((head.id().to_string(), snapshot(&repository, head.id(), path, "")?))
}

/// A definition and the members' files at a commit of the repository that a folder belongs to.
pub fn at_commit(folder: &Path, path: &str, commit: &str) -> Result<Snapshot, SourceError> {
    let repository = Repository::discover(folder).map_err(|error| local(folder, &error))?;
    let id = Oid::from_str(commit).map_err(|error| local(folder, &error))?;
    snapshot(&repository, id, path, "")
}

/// Reads a definition, and what lies beside it, at a commit that was fetched before, without the network.
pub fn read_known(
    cache: &Path,
    url: &str,
    commit: &str,
    path: &str,
) -> Result<(Vec<u8>, RepositoryFacts), SourceError> {
    let repository = open_mirror(cache, url)?;
    let missing = || SourceError::NoFile { commit: commit.to_owned(), path: path.to_owned() };
    let oid = Oid::from_str(commit).map_err(|_| missing())?;
    let (definition, facts) = read_with_facts(&repository, oid, path, "");
    Ok((definition?, facts))
}

pub(crate) fn local(path: &Path, error: &git2::Error) -> SourceError {
    SourceError::Local { path: path.display().to_string(), why: error.message().to_owned() }
}

pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(120).collect()
}

/// The mirror of a URL: opened, or made. A damaged one is made again: everything in it can be fetched.
pub(crate) fn open_mirror(cache: &Path, url: &str) -> Result<Repository, SourceError> {
    let name = Sha256::digest(url.as_bytes()).iter().take(16).fold(String::new(), |mut name, byte| {
        use std::fmt::Write as _;
        let _ = write!(name, "{byte:02x}");
        name
    });
    let path = cache.join(name);
    if let Ok(repository) = Repository::open_bare(&path) {
        return own_settings(&repository).map(|()| repository).map_err(|error| local(&path, &error));
    }
    let io = |error: std::io::Error| SourceError::Local { path: path.display().to_string(), why: error.to_string() };
    if path.exists() {
        std::fs::remove_dir_all(&path).map_err(io)?;
    }
    std::fs::create_dir_all(&path).map_err(io)?;
    let repository = Repository::init_bare(&path).map_err(|error| local(&path, &error))?;
    own_settings(&repository).map(|()| repository).map_err(|error| local(&path, &error))
}

/// Leaves only the mirror's own settings: a system-wide `url.*.insteadOf` or proxy must not lead a daemon elsewhere.
fn own_settings(repository: &Repository) -> Result<(), git2::Error> {
    let mut settings = Config::new()?;
    settings.add_file(&repository.path().join("config"), ConfigLevel::Local, false)?;
    repository.set_config(&settings)
}

/// Removes what fetches that were ended in the middle have left. It is best effort: a file that stays is tried again.
pub(crate) fn remove_leftovers(repository: &Repository, now: SystemTime) {
    let Ok(files) = std::fs::read_dir(repository.path().join("objects/pack")) else { return };
    for file in files.flatten() {
        let stale = || Some(now.duration_since(file.metadata().ok()?.modified().ok()?).ok()? > STALE);
        if file.file_name().to_string_lossy().starts_with(TEMPORARY_PACK) && stale() == Some(true) {
            let _ = std::fs::remove_file(file.path());
        }
    }
}

/// What the callbacks of one connection saw; libgit2's own error is of little use after a callback has ended the fetch.
#[derive(Default)]
pub(crate) struct Seen {
    credentials_asked: Cell<u32>,
    credentials_refused: Cell<bool>,
    too_much: Cell<bool>,
    host_key: RefCell<Option<SourceError>>,
}

fn fetch_revision(repository: &Repository, url: &RepositoryUrl, request: &FetchRequest) -> Result<Oid, SourceError> {
    let shown = redacted(&request.url);
    // Each connection asks for the user name and the proof anew.
    let (listing, fetching) = (Seen::default(), Seen::default());
    let failed = |error: &git2::Error| explain(error, &listing, url, &shown);
    let mut remote = repository.remote_anonymous(&url.text).map_err(|error| failed(&error))?;
    let mut proxy = ProxyOptions::new();
    proxy.auto();
    let heads: Vec<(String, Oid)> = {
        let connection = remote
            .connect_auth(git2::Direction::Fetch, Some(callbacks(url, &request.credentials, &listing)), Some(proxy))
            .map_err(|error| failed(&error))?;
        connection
            .list()
            .map_err(|error| failed(&error))?
            .iter()
            .map(|head| (head.name().to_owned(), head.oid()))
            .collect()
    };
    let branches: Vec<&(String, Oid)> = heads.iter().filter(|(name, _)| name.starts_with("refs/heads/")).collect();
    if branches.is_empty() {
        return Err(SourceError::Empty { url: shown });
    }
    let branch = format!("refs/heads/{}", request.revision);
    let tip = branches.iter().find(|(name, _)| *name == branch).map(|(_, oid)| *oid);
    let exact = Oid::from_str(&request.revision).ok().filter(|_| request.revision.len() == 40);
    let known = tip.or(exact).filter(|oid| repository.odb().is_ok_and(|odb| odb.exists(*oid)));
    if let (Some(oid), None) = (known, exact) {
        // Nothing new: the branch's tip is in the mirror already.
        return Ok(oid);
    }
    let refspec = match (tip, exact) {
        (Some(_), _) => format!("+{branch}:refs/tenter/{}", request.revision),
        (None, Some(_)) => "+refs/heads/*:refs/tenter/*".to_owned(),
        (None, None) => return Err(no_revision(&shown, &request.revision, &branches)),
    };
    let mut proxy = ProxyOptions::new();
    proxy.auto();
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks(url, &request.credentials, &fetching))
        .proxy_options(proxy)
        .download_tags(AutotagOption::None)
        .update_fetchhead(false)
        .follow_redirects(RemoteRedirect::Initial);
    remote
        .fetch(&[refspec.as_str()], Some(&mut options), None)
        .map_err(|error| explain(&error, &fetching, url, &shown))?;
    let found = tip.or(exact).ok_or_else(|| no_revision(&shown, &request.revision, &branches))?;
    match small_commit(repository, found) {
        Ok(_) => Ok(found),
        Err(error @ SourceError::TooLarge { .. }) => Err(error),
        Err(_) => Err(no_revision(&shown, &request.revision, &branches)),
    }
}

fn no_revision(url: &str, revision: &str, branches: &[&(String, Oid)]) -> SourceError {
    let mut names: Vec<String> = branches
        .iter()
        .take(NAMED_BRANCHES)
        .map(|(name, _)| printable(name.trim_start_matches("refs/heads/")))
        .collect();
    if branches.len() > NAMED_BRANCHES {
        names.push(format!("{} more", branches.len() - NAMED_BRANCHES));
    }
    SourceError::NoRevision { url: url.to_owned(), revision: revision.to_owned(), branches: names.join(", ") }
}

pub(crate) fn callbacks<'a>(
    url: &'a RepositoryUrl,
    credentials: &'a Credentials,
    seen: &'a Seen,
) -> RemoteCallbacks<'a> {
    let mut callbacks = RemoteCallbacks::new();
    callbacks.credentials(move |_, user, allowed| {
        // libgit2 asks again after a refusal, without end: once for the user name and once for the proof is enough.
        seen.credentials_asked.set(seen.credentials_asked.get() + 1);
        let answer = if seen.credentials_asked.get() > 2 {
            Err(git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, "the credentials were refused"))
        } else {
            credential(url, credentials, user, allowed)
        };
        seen.credentials_refused.set(seen.credentials_refused.get() || answer.is_err());
        answer
    });
    callbacks.certificate_check(move |certificate, host| check_certificate(url, credentials, seen, certificate, host));
    callbacks.transfer_progress(move |progress| {
        let fits = progress.received_bytes() as u64 <= MAX_FETCH_BYTES;
        seen.too_much.set(seen.too_much.get() || !fits);
        fits
    });
    callbacks
}

fn credential(
    url: &RepositoryUrl,
    credentials: &Credentials,
    user: Option<&str>,
    allowed: CredentialType,
) -> Result<Cred, git2::Error> {
    let none = |message: &str| Err(git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, message));
    let user = user.map(ToOwned::to_owned).or_else(|| url.user.clone());
    match url.scheme {
        Scheme::Ssh => {
            let user = user.or_else(|| credentials.username.clone()).unwrap_or_else(|| "git".to_owned());
            match &credentials.identity {
                _ if allowed.contains(CredentialType::USERNAME) => Cred::username(&user),
                Some(identity) if allowed.contains(CredentialType::SSH_KEY) => {
                    Cred::ssh_key_from_memory(&user, None, identity, None)
                }
                Some(_) => none("the server does not take SSH keys"),
                None => none("it asks for an SSH key, and none was given"),
            }
        }
        Scheme::Https => match &credentials.password {
            Some(password) => {
                let user = credentials.username.clone().or(user).unwrap_or_else(|| "git".to_owned());
                Cred::userpass_plaintext(&user, password)
            }
            None => none("it asks for a user name and a password, and none were given"),
        },
        Scheme::Http | Scheme::Git | Scheme::File => {
            none("it asks for credentials, which are only sent over https and ssh")
        }
    }
}

fn check_certificate(
    url: &RepositoryUrl,
    credentials: &Credentials,
    seen: &Seen,
    certificate: &Cert<'_>,
    host: &str,
) -> Result<CertificateCheckStatus, git2::Error> {
    let Some(key) = certificate.as_hostkey() else {
        // TLS: libgit2 has verified the chain and the name, and its verdict stands.
        return Ok(CertificateCheckStatus::CertificatePassthrough);
    };
    let why = match (&credentials.known_hosts, key.hostkey()) {
        (None, _) => "no known_hosts was given".to_owned(),
        (_, None) => "the server did not show its whole key".to_owned(),
        (Some(record), Some(blob)) => match known_hosts::verify(record, host, url.port, &base64(blob)) {
            Verdict::Known => return Ok(CertificateCheckStatus::CertificateOk),
            Verdict::Mismatch => "it differs from the one in known_hosts, or is revoked there".to_owned(),
            Verdict::Unknown => "known_hosts does not name the host (hashed names are not read)".to_owned(),
        },
    };
    *seen.host_key.borrow_mut() = Some(SourceError::HostKey { host: host.to_owned(), why });
    Err(git2::Error::new(ErrorCode::Certificate, ErrorClass::Ssh, "host key refused"))
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                text.push(char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// Turns libgit2's error into one that says what to do.
pub(crate) fn explain(error: &git2::Error, seen: &Seen, url: &RepositoryUrl, shown: &str) -> SourceError {
    if let Some(refused) = seen.host_key.borrow().clone() {
        return refused;
    }
    if seen.too_much.get() {
        return SourceError::TooMuchData { url: shown.to_owned(), limit: MAX_FETCH_BYTES };
    }
    let why = printable(error.message());
    let refused = matches!(error.code(), ErrorCode::Auth)
        || seen.credentials_refused.get()
        || (error.class() == ErrorClass::Http && (why.ends_with("code: 401") || why.ends_with("code: 403")));
    if refused {
        return SourceError::Unauthorised { url: shown.to_owned(), why };
    }
    let why = if url.scheme == Scheme::File && error.code() == ErrorCode::Owner {
        format!("{why} (git's safe.directory allows it)")
    } else {
        why
    };
    SourceError::Unreachable { url: shown.to_owned(), why }
}

/// Whether `commit` is `last` or descends from it. A last commit that the mirror does not hold after a whole fetch
/// is in nobody's history any more.
fn descends(repository: &Repository, commit: Oid, last: &str) -> Result<bool, git2::Error> {
    let Ok(last) = Oid::from_str(last) else { return Ok(false) };
    if commit == last {
        return Ok(true);
    }
    if small_commit(repository, last).is_err() {
        return Ok(false);
    }
    repository.graph_descendant_of(commit, last)
}

/// Names of the folders in a folder; none when there is no such folder.
fn folders(repository: &Repository, commit: Oid, path: &str) -> Vec<String> {
    let at = AtCommit { repository, commit, root: "" };
    let Some(tree) = at.folder(path) else { return Vec::new() };
    let mut names: Vec<String> = tree
        .iter()
        .filter(|entry| entry.kind() == Some(ObjectType::Tree))
        .filter_map(|entry| entry.name().ok().map(printable))
        .take(MAX_FOLDERS)
        .collect();
    names.sort();
    names
}

/// Reads a regular file at a commit.
pub(crate) fn read(repository: &Repository, commit: Oid, path: &str) -> Result<Vec<u8>, SourceError> {
    let missing = || SourceError::NoFile { commit: commit.to_string(), path: path.to_owned() };
    let not_a_file =
        |what: &str| SourceError::NotAFile { commit: commit.to_string(), path: path.to_owned(), what: what.to_owned() };
    let parts: Vec<&str> = path.split('/').collect();
    if parts.len() > MAX_PATH_PARTS || parts.iter().any(|part| part.is_empty() || *part == "." || *part == "..") {
        return Err(SourceError::NoFile {
            commit: commit.to_string(),
            path: format!("{path} (write it relative, without `..`)"),
        });
    }
    let missing_or_large = |error: SourceError| match error {
        error @ SourceError::TooLarge { .. } => error,
        _ => missing(),
    };
    let mut tree = small_commit(repository, commit)
        .and_then(|commit| small_tree(repository, commit.tree_id()))
        .map_err(missing_or_large)?;
    for (place, part) in parts.iter().enumerate() {
        let (id, kind, mode) = {
            let entry = tree.get_name(part).ok_or_else(missing)?;
            (entry.id(), entry.kind(), entry.filemode())
        };
        let last = place + 1 == parts.len();
        match (kind, mode) {
            (Some(ObjectType::Commit), _) => return Err(not_a_file("in a submodule")),
            (Some(ObjectType::Blob), 0o120_000) => return Err(not_a_file(SYMBOLIC_LINK)),
            (Some(ObjectType::Blob), _) if last => return blob(repository, id, path).ok_or_else(missing)?,
            (Some(ObjectType::Tree), _) if last => return Err(not_a_file("a folder")),
            (Some(ObjectType::Tree), _) => {
                tree = small_tree(repository, id).map_err(missing_or_large)?;
            }
            _ => return Err(missing()),
        }
    }
    Err(missing())
}

/// The repository at a commit.
struct AtCommit<'a> {
    repository: &'a Repository,
    commit: Oid,
    /// The folder that paths begin in; empty for the repository's own.
    root: &'a str,
}

impl AtCommit<'_> {
    fn below(&self, path: &str) -> String {
        if self.root.is_empty() { path.to_owned() } else { format!("{}/{path}", self.root) }
    }

    fn folder(&self, path: &str) -> Option<Tree<'_>> {
        let mut tree = small_tree(self.repository, small_commit(self.repository, self.commit).ok()?.tree_id()).ok()?;
        for part in path.split('/') {
            let id = tree.get_name(part)?.id();
            tree = small_tree(self.repository, id).ok()?;
        }
        Some(tree)
    }
}

impl Place for AtCommit<'_> {
    fn entry(&self, path: &str) -> Entry {
        let path = &self.below(path);
        match read(self.repository, self.commit, path) {
            Ok(bytes) => Entry::File(Ok(bytes)),
            Err(SourceError::TooLarge { size, .. }) => Entry::File(Err(size)),
            Err(SourceError::NotAFile { .. }) if self.folder(path).is_some() => Entry::Folder,
            Err(SourceError::NotAFile { what, .. }) if what == SYMBOLIC_LINK => Entry::Other("is a symbolic link"),
            Err(SourceError::NotAFile { .. }) => Entry::Other("is in a submodule"),
            Err(_) => Entry::Nothing,
        }
    }

    fn names(&self, folder: &str) -> Option<Vec<String>> {
        self.folder(&self.below(folder))?.iter().map(|entry| entry.name().ok().map(ToOwned::to_owned)).collect()
    }
}

/// A commit, its size looked at first.
pub(crate) fn small_commit(repository: &Repository, id: Oid) -> Result<Commit<'_>, SourceError> {
    small(repository, id, "commit")?;
    repository.find_commit(id).map_err(|error| local(repository.path(), &error))
}

/// A folder's entries, their size looked at first.
pub(crate) fn small_tree(repository: &Repository, id: Oid) -> Result<Tree<'_>, SourceError> {
    small(repository, id, "folder")?;
    repository.find_tree(id).map_err(|error| local(repository.path(), &error))
}

fn small(repository: &Repository, id: Oid, what: &str) -> Result<(), SourceError> {
    let header = repository.odb().and_then(|odb| odb.read_header(id));
    let (size, _) = header.map_err(|error| local(repository.path(), &error))?;
    let size = size as u64;
    if size > MAX_NODE_BYTES {
        return Err(SourceError::TooLarge { path: format!("{what} {id}"), size, limit: MAX_NODE_BYTES });
    }
    Ok(())
}

/// A blob's bytes, its size looked at first.
fn blob(repository: &Repository, id: Oid, path: &str) -> Option<Result<Vec<u8>, SourceError>> {
    let (size, _) = repository.odb().ok()?.read_header(id).ok()?;
    let size = size as u64;
    if size > MAX_BLOB_BYTES {
        return Some(Err(SourceError::TooLarge { path: path.to_owned(), size, limit: MAX_BLOB_BYTES }));
    }
    Some(Ok(repository.find_blob(id).ok()?.content().to_vec()))
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
