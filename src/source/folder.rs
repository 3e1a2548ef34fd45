//! A definition in a local folder, followed with the file system's notifications.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Config, RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest as _, Sha256};
use tenter_consortium::document::{self, RepositoryFacts, RepositoryItem};
use tokio::sync::watch;

use super::items::{self, Entry, Place};
use super::{MAX_BLOB_BYTES, SourceError};

/// How long a folder must be still before it is read: an editor writes a file in several steps.
const SETTLE: Duration = Duration::from_millis(200);

/// Reads a definition: `path` is the file, or a folder with a `network.yaml`.
///
/// # Errors
/// [`SourceError::Local`] or [`SourceError::TooLarge`], naming the file.
pub fn read(path: &Path) -> Result<(PathBuf, Vec<u8>), SourceError> {
    let local = |path: &Path, why: String| SourceError::Local { path: path.display().to_string(), why };
    let file = if path.is_dir() { path.join("network.yaml") } else { path.to_owned() };
    let handle = std::fs::File::open(&file).map_err(|error| local(&file, describe(&error)))?;
    let metadata = handle.metadata().map_err(|error| local(&file, describe(&error)))?;
    if metadata.is_dir() {
        return Err(local(&file, "is a folder, not a file".to_owned()));
    }
    let mut bytes = Vec::new();
    handle.take(MAX_BLOB_BYTES + 1).read_to_end(&mut bytes).map_err(|error| local(&file, describe(&error)))?;
    if bytes.len() as u64 > MAX_BLOB_BYTES {
        let size = metadata.len().max(bytes.len() as u64);
        return Err(SourceError::TooLarge { path: file.display().to_string(), size, limit: MAX_BLOB_BYTES });
    }
    Ok((file, bytes))
}

/// What lies beside a definition: the folders in `organizations/`, and what it names in its repository.
pub fn facts(file: &Path, definition: &[u8]) -> RepositoryFacts {
    let root = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let place = OnDisk(root);
    // One that cannot be read is among what is refused of the members' files.
    let mut organizations = place.names("organizations").unwrap_or_default();
    organizations.retain(|name| matches!(place.entry(&format!("organizations/{name}")), Entry::Folder));
    organizations.sort();
    RepositoryFacts {
        organizations,
        files: items::read(&place, &document::repository_paths(definition)),
        members: items::members(&place),
        commits: BTreeMap::new(),
    }
}

/// A folder on a disk.
struct OnDisk<'a>(&'a Path);

impl Place for OnDisk<'_> {
    fn entry(&self, path: &str) -> Entry {
        // Links are not followed, here as in a repository: neither the last part nor one before it.
        let mut at = self.0.to_owned();
        let mut metadata = None;
        for part in path.split('/') {
            at.push(part);
            match std::fs::symlink_metadata(&at) {
                Ok(found) if found.is_symlink() => return Entry::Other("is a symbolic link, or leads through one"),
                Ok(found) => metadata = Some(found),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    return Entry::Nothing;
                }
                Err(_) => return Entry::Other("cannot be looked at"),
            }
        }
        let Some(metadata) = metadata else { return Entry::Nothing };
        if metadata.is_dir() {
            return Entry::Folder;
        }
        if !metadata.is_file() {
            return Entry::Other("is no regular file");
        }
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&at).and_then(|file| file.take(MAX_BLOB_BYTES + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 > MAX_BLOB_BYTES => Entry::File(Err(metadata.len())),
            Ok(_) => Entry::File(Ok(bytes)),
            Err(_) => Entry::Other("cannot be read"),
        }
    }

    fn names(&self, folder: &str) -> Option<Vec<String>> {
        let entries = std::fs::read_dir(self.0.join(folder)).ok()?;
        entries.map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }
}

/// An error of the file system in words that do not differ between systems.
fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => error.to_string(),
    }
}

/// A name for a definition that stands in no repository, with what it names beside it.
pub fn revision(bytes: &[u8], facts: &RepositoryFacts) -> String {
    let mut hash = Sha256::new();
    hash.update(bytes);
    // Lengths tell apart what could be read in two ways.
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for (path, item) in &facts.files {
        part(path.as_bytes());
        match item {
            RepositoryItem::Missing => part(b"missing"),
            RepositoryItem::Refused { why } => part(format!("refused: {why}").as_bytes()),
            RepositoryItem::TooLarge { size } => part(format!("too large: {size}").as_bytes()),
            RepositoryItem::File { bytes } => {
                part(b"file");
                part(&bytes.0);
            }
            RepositoryItem::Folder { files } => {
                part(format!("folder of {}", files.len()).as_bytes());
                for (name, bytes) in files {
                    part(name.as_bytes());
                    part(&bytes.0);
                }
            }
        }
    }
    for (path, bytes) in &facts.members.files {
        part(path.as_bytes());
        part(&bytes.0);
    }
    for (path, why) in &facts.members.refused {
        part(path.as_bytes());
        part(why.as_bytes());
    }
    let digest = hash.finalize();
    digest.iter().take(20).fold(String::from("content:"), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Follows a folder. Each change that was followed by a moment of rest counts up the value.
#[derive(Debug)]
pub struct Follower {
    /// Counts changes.
    pub changes: watch::Receiver<u64>,
}

impl Follower {
    /// Starts to follow `path` (a folder, or a file: then its folder). Must be called within a runtime.
    ///
    /// # Errors
    /// [`SourceError::Local`] when the system gives no notifications for it.
    pub fn start(path: &Path) -> Result<Self, SourceError> {
        let folder = match path.parent() {
            Some(parent) if path.is_file() && !parent.as_os_str().is_empty() => parent,
            _ if path.is_file() => Path::new("."),
            _ => path,
        };
        let local =
            |error: notify::Error| SourceError::Local { path: folder.display().to_string(), why: error.to_string() };
        let (raw_sender, mut raw) = tokio::sync::mpsc::channel::<()>(1);
        let notice = move |event: notify::Result<notify::Event>| {
            // A lost event is an event: reading once too often is harmless. Reading the file must not wake the reader.
            if event.is_ok_and(|event| event.kind.is_access()) {
                return;
            }
            // A full channel already holds the news.
            let _ = raw_sender.try_send(());
        };
        // Links are not followed, here as where files are read.
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(notice, config).map_err(local)?;
        watcher.watch(folder, RecursiveMode::NonRecursive).map_err(local)?;
        let (folder, path) = (folder.to_owned(), path.to_owned());
        let mut followed = named(&folder, &path);
        watch_all(&mut watcher, &BTreeMap::new(), &followed);
        let (sender, changes) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    event = raw.recv() => if event.is_none() { break },
                    () = sender.closed() => break,
                }
                while tokio::time::timeout(SETTLE, raw.recv()).await.is_ok_and(|more| more.is_some()) {}
                // Before the reader is woken, so that nothing changes unseen between its reading and this.
                let now = named(&folder, &path);
                watch_all(&mut watcher, &followed, &now);
                followed = now;
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { changes })
    }
}

/// The folders to follow beside the definition's own: those of the packages and roots that it names, and those on the way
/// there.
fn named(root: &Path, definition: &Path) -> BTreeMap<PathBuf, RecursiveMode> {
    let mut folders = BTreeMap::new();
    // A definition that cannot be read names nothing.
    let Ok((_, bytes)) = read(definition) else { return folders };
    for path in document::repository_paths(&bytes) {
        let mut at = root.to_owned();
        for part in path.split('/') {
            at.push(part);
            let Ok(metadata) = std::fs::symlink_metadata(&at) else { break };
            if !metadata.is_dir() {
                break;
            }
            folders.entry(at.clone()).or_insert(RecursiveMode::NonRecursive);
        }
        if let Some(mode) = folders.get_mut(&root.join(&path)) {
            *mode = RecursiveMode::Recursive;
        }
    }
    folders
}

/// Follows these folders in place of those. One that was replaced by another of its name is followed anew.
fn watch_all(
    watcher: &mut RecommendedWatcher,
    before: &BTreeMap<PathBuf, RecursiveMode>,
    now: &BTreeMap<PathBuf, RecursiveMode>,
) {
    for folder in before.keys() {
        // One that is gone is not followed any more anyway.
        let _ = watcher.unwatch(folder);
    }
    for (folder, mode) in now {
        if let Err(error) = watcher.watch(folder, *mode) {
            tracing::warn!(folder = %folder.display(), "changes are not noticed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_file_or_the_folder_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("network.yaml: there is no such file"), "{error}");
        std::fs::write(folder.path().join("network.yaml"), "a").unwrap();
        assert_eq!(read(folder.path()).unwrap().1, b"a");
        assert_eq!(read(&folder.path().join("network.yaml")).unwrap().1, b"a");
        std::fs::write(folder.path().join("network.yaml"), vec![b' '; (1 << 20) + 1]).unwrap();
        assert_eq!(read(folder.path()).unwrap_err().reason(), "SourceTooLarge");
    }

    #[tokio::test]
    async fn follows_changes() {
        let folder = tempfile::tempdir().unwrap();
        let mut follower = Follower::start(folder.path()).unwrap();
        std::fs::write(folder.path().join("network.yaml"), "a").unwrap();
        tokio::time::timeout(Duration::from_secs(10), follower.changes.changed()).await.unwrap().unwrap();
        assert_eq!(*follower.changes.borrow(), 1);
    }

    /// A definition that names a folder with a package.
    const NAMING: &str = include_str!("../../examples-repo/network.yaml");

    fn naming(folder: &Path) {
        let chaincode = "  chaincodes:\n    - {name: assets, channel: settlement, version: \"1.0\", source: {package: \
                         contracts/assets}}\n";
        let kept: Vec<&str> = NAMING.lines().take_while(|line| !line.starts_with("  chaincodes:")).collect();
        std::fs::write(folder.join("network.yaml"), format!("{}\n{chaincode}", kept.join("\n"))).unwrap();
    }

    #[tokio::test]
    async fn follows_packages_even_when_their_folder_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("contracts/assets");
        naming(folder.path());
        std::fs::create_dir_all(package.join("deep")).unwrap();
        let mut follower = Follower::start(folder.path()).unwrap();
        let changed = async |follower: &mut Follower, what: &str| {
            let seen = tokio::time::timeout(Duration::from_secs(10), follower.changes.changed()).await;
            seen.unwrap_or_else(|_| panic!("not noticed: {what}")).unwrap();
        };
        std::fs::write(package.join("connection.json"), "{}").unwrap();
        changed(&mut follower, "a file").await;
        std::fs::write(package.join("deep/more"), "x").unwrap();
        changed(&mut follower, "a file further down").await;
        std::fs::remove_dir_all(folder.path().join("contracts")).unwrap();
        changed(&mut follower, "that it went").await;
        std::fs::create_dir_all(&package).unwrap();
        changed(&mut follower, "that it came back").await;
        std::fs::write(package.join("connection.json"), "{ }").unwrap();
        changed(&mut follower, "a file of the new folder").await;
    }

    #[test]
    fn a_revision_covers_what_the_definition_names() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("contracts/assets");
        naming(folder.path());
        std::fs::create_dir_all(&package).unwrap();
        let now = || {
            let (file, bytes) = read(folder.path()).unwrap();
            revision(&bytes, &facts(&file, &bytes))
        };
        let empty = now();
        assert_eq!(now(), empty);
        std::fs::write(package.join("connection.json"), "{}").unwrap();
        let first = now();
        std::fs::write(package.join("connection.json"), "{ }").unwrap();
        let second = now();
        std::fs::remove_dir_all(&package).unwrap();
        let all = std::collections::BTreeSet::from([empty, first, second, now()]);
        assert_eq!(all.len(), 4, "{all:?}");
    }
}
