//! A definition in a local folder, followed with the file system's notifications.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest as _, Sha256};
use tenter_consortium::document::{self, RepositoryFacts};
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
    let mut organizations: Vec<String> = std::fs::read_dir(root.join("organizations"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    organizations.sort();
    RepositoryFacts {
        organizations,
        files: items::read(&OnDisk(root), &document::repository_paths(definition)),
        members: items::members(&OnDisk(root)),
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
                Err(_) => return Entry::Nothing,
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
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => error.to_string(),
    }
}

/// A name for the content of a file that stands in no repository.
pub fn revision(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
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
    _watcher: RecommendedWatcher,
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
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // A lost event is an event: reading once too often is harmless. Reading the file must not wake the reader.
            if event.is_ok_and(|event| event.kind.is_access()) {
                return;
            }
            // A full channel already holds the news.
            let _ = raw_sender.try_send(());
        })
        .map_err(local)?;
        watcher.watch(folder, RecursiveMode::NonRecursive).map_err(local)?;
        let (sender, changes) = watch::channel(0);
        tokio::spawn(async move {
            while raw.recv().await.is_some() {
                while tokio::time::timeout(SETTLE, raw.recv()).await.is_ok_and(|more| more.is_some()) {}
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { changes, _watcher: watcher })
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
}
