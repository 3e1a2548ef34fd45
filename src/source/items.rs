//! What stands in a repository at the paths that a definition names: chaincode packages and roots of certificates.

use std::collections::{BTreeMap, BTreeSet};

use tenter_consortium::document::{Blob, MAX_ALL_BYTES, MAX_FILE_BYTES, MAX_FOLDER_FILES, MemberFiles, RepositoryItem};
use tenter_consortium::repository::approval::APPROVALS;

/// Deepest folder below one that a definition names.
const MAX_DEPTH: usize = 8;

/// One entry of a folder.
pub enum Entry {
    /// A regular file, with what it holds if it is not too large.
    File(Result<Vec<u8>, u64>),
    /// A folder.
    Folder,
    /// Something that is not read: `is a symbolic link`.
    Other(&'static str),
    /// Nothing.
    Nothing,
}

/// A repository at a commit, or a folder on a disk. Paths are relative, with `/`.
pub trait Place {
    /// What stands at a path.
    fn entry(&self, path: &str) -> Entry;
    /// Names of what stands in a folder; nothing if it cannot be read whole.
    fn names(&self, folder: &str) -> Option<Vec<String>>;
}

/// Reads what stands at these paths, no more than [`MAX_ALL_BYTES`] together.
pub fn read(place: &impl Place, paths: &BTreeSet<String>) -> BTreeMap<String, RepositoryItem> {
    let mut left = MAX_ALL_BYTES;
    paths.iter().map(|path| (path.clone(), item(place, path, &mut left))).collect()
}

/// Most folders of members that are read.
const MAX_MEMBERS: usize = 1000;

/// Reads the members' files: each folder in `organizations/`, `channels/` and `approvals/`, whole or not at all.
pub fn members(place: &impl Place) -> MemberFiles {
    let mut found = MemberFiles::default();
    let mut left = MAX_ALL_BYTES;
    // Approvals come last: many of them must not keep the others from being read.
    for root in ["organizations", "channels", APPROVALS] {
        match place.entry(root) {
            Entry::Nothing | Entry::File(_) => continue,
            Entry::Other(what) => {
                found.refused.insert(root.to_owned(), what.to_owned());
                continue;
            }
            Entry::Folder => {}
        }
        let Some(names) = place.names(root) else {
            found.refused.insert(root.to_owned(), "holds names that cannot be read".to_owned());
            continue;
        };
        if names.len() > MAX_MEMBERS {
            found.refused.insert(root.to_owned(), format!("holds more than {MAX_MEMBERS} folders"));
            continue;
        }
        for path in names.iter().map(|name| format!("{root}/{name}")) {
            match item(place, &path, &mut left) {
                RepositoryItem::Folder { files } => {
                    found.files.extend(files.into_iter().map(|(name, blob)| (format!("{path}/{name}"), blob)));
                }
                RepositoryItem::Refused { why } => drop(found.refused.insert(path, why)),
                // Notes for people beside the folders.
                RepositoryItem::File { .. } | RepositoryItem::Missing | RepositoryItem::TooLarge { .. } => {}
            }
        }
    }
    found
}

fn item(place: &impl Place, path: &str, left: &mut usize) -> RepositoryItem {
    let refused = |why: String| RepositoryItem::Refused { why };
    match place.entry(path) {
        Entry::Nothing => RepositoryItem::Missing,
        Entry::Other(what) => refused(what.to_owned()),
        Entry::File(Err(size)) => RepositoryItem::TooLarge { size },
        Entry::File(Ok(bytes)) => match take(&bytes, left) {
            Ok(()) => RepositoryItem::File { bytes: Blob(bytes) },
            Err(why) => refused(why),
        },
        Entry::Folder => {
            let mut files = BTreeMap::new();
            let mut entries = 0;
            match folder(place, path, "", MAX_DEPTH, (&mut files, &mut entries, left)) {
                Ok(()) => RepositoryItem::Folder { files },
                Err(why) => refused(why),
            }
        }
    }
}

fn folder(
    place: &impl Place,
    root: &str,
    below: &str,
    depth: usize,
    (files, entries, left): (&mut BTreeMap<String, Blob>, &mut usize, &mut usize),
) -> Result<(), String> {
    if depth == 0 {
        return Err(format!("has folders deeper than {MAX_DEPTH}"));
    }
    let here = if below.is_empty() { root.to_owned() } else { format!("{root}/{below}") };
    let names = place.names(&here).ok_or_else(|| format!("holds names that cannot be read, in {here}"))?;
    for name in names {
        *entries += 1;
        if *entries > MAX_FOLDER_FILES {
            return Err(format!("holds more than {MAX_FOLDER_FILES} files and folders"));
        }
        let inner = if below.is_empty() { name } else { format!("{below}/{name}") };
        match place.entry(&format!("{root}/{inner}")) {
            Entry::Nothing => return Err(format!("holds {inner}, which cannot be read")),
            Entry::Other(what) => return Err(format!("holds {inner}, which {what}")),
            Entry::File(Err(size)) => {
                return Err(format!("holds {inner}, which has {size} bytes; at most {MAX_FILE_BYTES} are read"));
            }
            Entry::File(Ok(bytes)) => {
                take(&bytes, left)?;
                files.insert(inner, Blob(bytes));
            }
            Entry::Folder => folder(place, root, &inner, depth - 1, (&mut *files, &mut *entries, &mut *left))?,
        }
    }
    Ok(())
}

fn take(bytes: &[u8], left: &mut usize) -> Result<(), String> {
    *left = left
        .checked_sub(bytes.len())
        .ok_or_else(|| format!("comes after more than {MAX_ALL_BYTES} bytes of files that the definition names"))?;
    Ok(())
}
