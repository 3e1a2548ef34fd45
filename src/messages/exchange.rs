//! Publishing to the ref and reading what is on it, without a checkout.
//!
//! To publish is to put files on top of the newest tip and to push that one commit, never by force. Whoever loses a race fetches the
//! new tip and does the same again. What is there already is not written again, so an exchange that changes nothing pushes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use git2::{
    AutotagOption, Direction, ErrorCode, FetchOptions, ObjectType, Oid, ProxyOptions, PushOptions, RemoteRedirect,
    Repository, Signature, Tree,
};
use serde::{Deserialize, Serialize};
use tenter_consortium::document::Blob;

use super::{
    Folder, MAX_ALL_BYTES, MAX_ENTRIES, MAX_SIGNATURE_BYTES, MAX_UPDATE_BYTES, Message, Messages, REF, REJECTION,
    SIGNATURE, UPDATE, digest, is_channel, is_digest, is_msp_id,
};
use crate::source::mirror::{self, callbacks, explain, local, printable, small_commit, small_tree};
use crate::source::url::{RepositoryUrl, Scheme, redacted};
use crate::source::{Credentials, SourceError};

/// How often a push is tried: each loss means that somebody else won.
const ATTEMPTS: u32 = 8;
/// First pause after a lost race; it doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// The ref of a mirror that holds the tip.
const TIP: &str = "refs/tenter/messages";
/// What commits are by.
const AUTHOR: (&str, &str) = ("tenter", "tenter@localhost");
/// Mode of a regular file.
const FILE: i32 = 0o100_644;
/// Mode of a folder.
const FOLDER: i32 = 0o040_000;
/// Most things that are named as left out.
const IGNORED: usize = 20;

/// What to publish and to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExchangeRequest {
    /// Folder that holds mirrors.
    pub cache: PathBuf,
    /// The repository.
    pub url: String,
    /// How to prove who is asking.
    pub credentials: Credentials,
    /// What to add: updates with signatures. A signature that is there for an MSP ID is replaced.
    #[serde(default)]
    pub publish: Vec<Message>,
    /// Updates that can no longer apply: their folders go.
    #[serde(default)]
    pub prune: BTreeSet<Folder>,
    /// Seconds since 1970, for the commit.
    pub now: i64,
}

/// Publishes and reads. Blocks; see [`super::process::exchange`] for a bounded way.
pub fn exchange(request: &ExchangeRequest) -> Result<Messages, SourceError> {
    let url = RepositoryUrl::parse(&request.url)?;
    // A mirror of its own: the definition's may be fetched into at the same time.
    let repository = mirror::open_mirror(&request.cache.join("messages"), &request.url)?;
    let here = Here { repository: &repository, url: &url, request, shown: redacted(&request.url) };
    let _alone = alone(&url);
    let mut attempt = 0;
    loop {
        let tip = here.fetch()?;
        let Some(commit) = here.commit(tip)? else {
            let mut messages = read(&repository, tip)?;
            messages.pushed = false;
            return Ok(messages);
        };
        match here.push(commit)? {
            Pushed::Done => {
                let mut messages = read(&repository, Some(commit))?;
                messages.pushed = true;
                return Ok(messages);
            }
            Pushed::Lost(why) => {
                attempt += 1;
                if attempt == ATTEMPTS {
                    let why = format!("{ATTEMPTS} pushes to {REF} lost against others: {why}; it is tried again later");
                    return Err(SourceError::Unreachable { url: here.shown, why });
                }
                // Those who lost together must not come back together.
                let spread = PAUSE / 8 * (std::process::id() % 8 + u32::from(commit.as_bytes()[0] % 8));
                std::thread::sleep(PAUSE * (1 << attempt.min(5)) + spread);
            }
        }
    }
}

/// Keeps other exchanges of this machine away from a repository on it, until it is dropped. A server compares and sets a ref in
/// one; libgit2, which writes to a local repository itself, does not, and the later of two pushes would undo the earlier.
fn alone(url: &RepositoryUrl) -> Option<File> {
    let folder = url.text.strip_prefix("file://").filter(|_| url.scheme == Scheme::File)?;
    let folder = File::open(folder).ok()?;
    folder.lock().ok()?;
    Some(folder)
}

/// What came of a push.
enum Pushed {
    Done,
    /// The ref has moved, or the server was busy with another push.
    Lost(String),
}

struct Here<'a> {
    repository: &'a Repository,
    url: &'a RepositoryUrl,
    request: &'a ExchangeRequest,
    shown: String,
}

impl Here<'_> {
    fn local(&self, error: &git2::Error) -> SourceError {
        local(self.repository.path(), error)
    }

    /// The tip of the ref; `None` when there is no such ref.
    fn fetch(&self) -> Result<Option<Oid>, SourceError> {
        let (listing, fetching) = (mirror::Seen::default(), mirror::Seen::default());
        let credentials = &self.request.credentials;
        let failed = |error: &git2::Error, seen: &mirror::Seen| explain(error, seen, self.url, &self.shown);
        let mut remote = self.repository.remote_anonymous(&self.url.text).map_err(|error| failed(&error, &listing))?;
        let tip = {
            let connection = remote
                .connect_auth(Direction::Fetch, Some(callbacks(self.url, credentials, &listing)), Some(proxy()))
                .map_err(|error| failed(&error, &listing))?;
            let heads = connection.list().map_err(|error| failed(&error, &listing))?;
            heads.iter().find(|head| head.name() == REF).map(git2::RemoteHead::oid)
        };
        let Some(tip) = tip else { return Ok(None) };
        if !self.repository.odb().is_ok_and(|odb| odb.exists(tip)) {
            let mut options = FetchOptions::new();
            options
                .remote_callbacks(callbacks(self.url, credentials, &fetching))
                .proxy_options(proxy())
                .download_tags(AutotagOption::None)
                .update_fetchhead(false)
                .follow_redirects(RemoteRedirect::Initial);
            remote
                .fetch(&[format!("+{REF}:{TIP}").as_str()], Some(&mut options), None)
                .map_err(|error| failed(&error, &fetching))?;
            // It may have moved since it was listed.
            let found = self.repository.refname_to_id(TIP).map_err(|error| self.local(&error))?;
            return Ok(Some(found));
        }
        Ok(Some(tip))
    }

    /// A commit on top of `tip` with what is to be published and without what is to go; `None` when that is nothing.
    fn commit(&self, tip: Option<Oid>) -> Result<Option<Oid>, SourceError> {
        let failed = |error: git2::Error| self.local(&error);
        let parent = tip.map(|tip| small_commit(self.repository, tip)).transpose()?;
        let root = parent.as_ref().map(|parent| small_tree(self.repository, parent.tree_id())).transpose()?;
        let mut changes: BTreeMap<&str, Vec<Change<'_>>> = BTreeMap::new();
        for message in self.request.publish.iter().filter(|message| !self.request.prune.contains(&message.folder)) {
            if publishable(message) {
                changes.entry(&message.folder.channel).or_default().push(Change::Put(message));
            }
        }
        for folder in self.request.prune.iter().filter(|folder| folder.is_well_formed()) {
            changes.entry(&folder.channel).or_default().push(Change::Remove(&folder.digest));
        }
        let mut builder = self.repository.treebuilder(root.as_ref()).map_err(failed)?;
        for (channel, changes) in changes {
            let old = root.as_ref().and_then(|root| folder_in(self.repository, root, channel));
            let new = self.channel(old.as_ref(), &changes).map_err(failed)?;
            match new {
                Some(id) => drop(builder.insert(channel, id, FOLDER).map_err(failed)?),
                None if builder.get(channel).map_err(failed)?.is_some() => builder.remove(channel).map_err(failed)?,
                None => {}
            }
        }
        let tree = builder.write().map_err(failed)?;
        if root.as_ref().map(Tree::id) == Some(tree) || (root.is_none() && builder.is_empty()) {
            return Ok(None);
        }
        let tree = self.repository.find_tree(tree).map_err(failed)?;
        let author = Signature::new(AUTHOR.0, AUTHOR.1, &git2::Time::new(self.request.now, 0)).map_err(failed)?;
        let parents: Vec<_> = parent.iter().collect();
        let id =
            self.repository.commit(None, &author, &author, "Exchange signatures", &tree, &parents).map_err(failed)?;
        Ok(Some(id))
    }

    /// A channel's folder after some changes; `None` when nothing is left in it.
    fn channel(&self, old: Option<&Tree<'_>>, changes: &[Change<'_>]) -> Result<Option<Oid>, git2::Error> {
        let mut builder = self.repository.treebuilder(old)?;
        for change in changes {
            match change {
                Change::Put(message) => {
                    let name = &message.folder.digest;
                    let held = builder.get(name)?.map(|entry| entry.id());
                    let held = held.and_then(|id| small_tree(self.repository, id).ok());
                    let mut files = self.repository.treebuilder(held.as_ref())?;
                    files.insert(UPDATE, self.repository.blob(&message.update.0)?, FILE)?;
                    for (end, entries) in [(SIGNATURE, &message.signatures), (REJECTION, &message.rejections)] {
                        for (msp_id, bytes) in entries {
                            files.insert(format!("{msp_id}{end}"), self.repository.blob(&bytes.0)?, FILE)?;
                        }
                    }
                    let id = files.write()?;
                    builder.insert(name, id, FOLDER)?;
                }
                Change::Remove(name) => {
                    if builder.get(name)?.is_some() {
                        builder.remove(name)?;
                    }
                }
            }
        }
        if builder.is_empty() { Ok(None) } else { builder.write().map(Some) }
    }

    /// Pushes a commit to the ref, never by force.
    fn push(&self, commit: Oid) -> Result<Pushed, SourceError> {
        let seen = mirror::Seen::default();
        let refused = std::cell::RefCell::new(None);
        let result = {
            let mut remote = self.repository.remote_anonymous(&self.url.text).map_err(|error| self.local(&error))?;
            // The name of a pushed ref has to exist here.
            let name = format!("refs/tenter/outgoing/{commit}");
            let mut pushed =
                self.repository.reference(&name, commit, true, "publish").map_err(|error| self.local(&error))?;
            let mut callbacks = callbacks(self.url, &self.request.credentials, &seen);
            callbacks.push_update_reference(|_, status| {
                if let Some(status) = status {
                    *refused.borrow_mut() = Some(printable(status));
                }
                Ok(())
            });
            let mut options = PushOptions::new();
            options.remote_callbacks(callbacks).proxy_options(proxy()).follow_redirects(RemoteRedirect::Initial);
            let result = remote.push(&[format!("{name}:{REF}").as_str()], Some(&mut options));
            pushed.delete().map_err(|error| self.local(&error))?;
            result
        };
        match (result, refused.into_inner()) {
            (Ok(()), None) => Ok(Pushed::Done),
            (Ok(()), Some(status)) => self.lost_or_refused(status),
            (Err(error), _) if matches!(error.code(), ErrorCode::NotFastForward | ErrorCode::Locked) => {
                Ok(Pushed::Lost(printable(error.message())))
            }
            (Err(error), Some(status)) if error.code() != ErrorCode::Auth => self.lost_or_refused(status),
            (Err(error), _) => Err(explain(&error, &seen, self.url, &self.shown)),
        }
    }

    /// A server's refusal of a ref: a race when the ref has moved meanwhile, a rule of the server's otherwise.
    fn lost_or_refused(&self, status: String) -> Result<Pushed, SourceError> {
        let race = ["fast-forward", "fetch first", "failed to update", "lock", "already exists", "stale"];
        if race.iter().any(|word| status.contains(word)) {
            return Ok(Pushed::Lost(status));
        }
        let why = format!("it does not take a push to {REF}: {status}");
        Err(SourceError::Unauthorised { url: self.shown.clone(), why })
    }
}

enum Change<'a> {
    Put(&'a Message),
    Remove(&'a str),
}

/// Whether a message can be read again by others.
fn publishable(message: &Message) -> bool {
    message.folder.is_well_formed()
        && message.update.0.len() as u64 <= MAX_UPDATE_BYTES
        && digest(&message.update.0) == message.folder.digest
        && message
            .signatures
            .iter()
            .chain(&message.rejections)
            .all(|(name, bytes)| is_msp_id(name) && bytes.0.len() as u64 <= MAX_SIGNATURE_BYTES)
}

fn proxy<'a>() -> ProxyOptions<'a> {
    let mut proxy = ProxyOptions::new();
    proxy.auto();
    proxy
}

fn folder_in<'a>(repository: &'a Repository, tree: &Tree<'_>, name: &str) -> Option<Tree<'a>> {
    let entry = tree.get_name(name)?;
    (entry.kind() == Some(ObjectType::Tree)).then(|| small_tree(repository, entry.id()).ok()).flatten()
}

/// Everything on the ref at a commit. What is no message, or too much, is left out and named.
fn read(repository: &Repository, tip: Option<Oid>) -> Result<Messages, SourceError> {
    let Some(tip) = tip else { return Ok(Messages::default()) };
    let root = small_tree(repository, small_commit(repository, tip)?.tree_id())?;
    let mut reader = Reader { repository, left: MAX_ALL_BYTES, messages: Vec::new(), ignored: Vec::new() };
    for (name, id) in reader.folders(&root, "", is_channel) {
        let Ok(channel) = small_tree(repository, id) else {
            reader.ignore(&name, "it is too large");
            continue;
        };
        for (digest, id) in reader.folders(&channel, &name, is_digest) {
            reader.message(Folder { channel: name.clone(), digest }, id);
        }
    }
    let Reader { messages, ignored, .. } = reader;
    Ok(Messages { tip: Some(tip.to_string()), messages, ignored, pushed: false })
}

struct Reader<'a> {
    repository: &'a Repository,
    left: u64,
    messages: Vec<Message>,
    ignored: Vec<String>,
}

impl Reader<'_> {
    fn ignore(&mut self, place: &str, why: &str) {
        if self.ignored.len() < IGNORED {
            self.ignored.push(format!("{}: {why}", printable(place)));
        }
    }

    /// The folders of a folder that have a name of some form.
    fn folders(&mut self, tree: &Tree<'_>, place: &str, legal: fn(&str) -> bool) -> Vec<(String, Oid)> {
        let mut found = Vec::new();
        for entry in tree {
            let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
            let shown = if place.is_empty() { name.clone() } else { format!("{place}/{name}") };
            if found.len() == MAX_ENTRIES {
                self.ignore(place, "it has too many entries; the rest is not read");
                break;
            }
            if entry.kind() == Some(ObjectType::Tree) && legal(&name) {
                found.push((name, entry.id()));
            } else {
                self.ignore(&shown, "it is no folder of messages");
            }
        }
        found
    }

    fn message(&mut self, folder: Folder, id: Oid) {
        let place = folder.to_string();
        let Ok(files) = small_tree(self.repository, id) else { return self.ignore(&place, "it is too large") };
        let update = files.get_name(UPDATE).filter(|entry| entry.filemode() == FILE).map(|entry| entry.id());
        let Some(update) = update.and_then(|id| self.blob(id, MAX_UPDATE_BYTES)) else {
            return self.ignore(&place, "it has no update.pb, or one that is too large");
        };
        if digest(&update) != folder.digest {
            return self.ignore(&place, "its update.pb has another digest");
        }
        let (mut signatures, mut rejections) = (BTreeMap::new(), BTreeMap::new());
        for entry in files.iter().filter(|entry| entry.name_bytes() != UPDATE.as_bytes()) {
            let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
            let shown = format!("{place}/{name}");
            let named = |end: &str| name.strip_suffix(end).filter(|msp_id| is_msp_id(msp_id));
            let (msp_id, entries) = match (named(SIGNATURE), named(REJECTION)) {
                (Some(msp_id), _) if entry.filemode() == FILE => (msp_id, &mut signatures),
                (None, Some(msp_id)) if entry.filemode() == FILE => (msp_id, &mut rejections),
                _ => {
                    self.ignore(&shown, "it is no signature and no rejection");
                    continue;
                }
            };
            if entries.len() == MAX_ENTRIES {
                self.ignore(&place, "it has too many signatures; the rest is not read");
                break;
            }
            match self.blob(entry.id(), MAX_SIGNATURE_BYTES) {
                Some(bytes) => drop(entries.insert(msp_id.to_owned(), Blob(bytes))),
                None => self.ignore(&shown, "it is too large"),
            }
        }
        self.messages.push(Message { folder, update: Blob(update), signatures, rejections });
    }

    /// A blob's bytes, its size looked at first.
    fn blob(&mut self, id: Oid, most: u64) -> Option<Vec<u8>> {
        let (size, kind) = self.repository.odb().ok()?.read_header(id).ok()?;
        let size = size as u64;
        if kind != ObjectType::Blob || size > most {
            return None;
        }
        self.left = self.left.checked_sub(size)?;
        Some(self.repository.find_blob(id).ok()?.content().to_vec())
    }
}

#[cfg(test)]
mod tests;
