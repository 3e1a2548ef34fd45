//! Revisions of a local repository: the checkout that a definition stands in.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType, Repository};
use tenter_consortium::document::RepositoryFacts;

use super::SourceError;
use super::mirror::{printable, read_with_facts};

/// A definition at a revision.
#[derive(Clone, Debug)]
pub struct AtRevision {
    /// The commit, full hex.
    pub commit: String,
    /// Path of the definition in the repository.
    pub path: String,
    /// What lies beside it.
    pub facts: RepositoryFacts,
    /// The definition; [`SourceError::NoFile`] where the commit has none.
    pub definition: Result<Vec<u8>, SourceError>,
}

/// Reads the definition `file` of a checkout as it is at a revision: a branch, a tag, a commit, `HEAD~1`, `origin/main`.
///
/// # Errors
/// [`SourceError::Local`], when the file is in no repository or the revision cannot be told.
pub fn at(file: &Path, revision: &str) -> Result<AtRevision, SourceError> {
    let local = |why: String| SourceError::Local { path: file.display().to_string(), why };
    let file = file.canonicalize().map_err(|error| local(error.to_string()))?;
    let repository = Repository::discover(file.parent().unwrap_or(&file)).map_err(|error| match error.code() {
        ErrorCode::NotFound => local("it is in no git repository, so it has no earlier revisions".to_owned()),
        ErrorCode::Owner => {
            local(format!("{} (git config --global --add safe.directory DIR)", printable(error.message())))
        }
        _ => local(printable(error.message())),
    })?;
    let root = repository.workdir().and_then(|root| root.canonicalize().ok());
    let path = root.and_then(|root| file.strip_prefix(root).ok().map(Path::to_owned));
    let path: PathBuf = path.ok_or_else(|| local("it is not in the checkout of its repository".to_owned()))?;
    let names: Option<Vec<&str>> = path.iter().map(|part| part.to_str()).collect();
    let names = names.ok_or_else(|| local("its path is not UTF-8".to_owned()))?;
    let found = repository.revparse_single(revision).and_then(|object| object.peel(ObjectType::Commit));
    let commit = found.map_err(|error| {
        let shallow = if repository.is_shallow() { "; the clone is shallow: fetch more of its history" } else { "" };
        local(format!("its repository has no revision `{revision}`: {}{shallow}", printable(error.message())))
    })?;
    let folder = names.split_last().map(|(_, folders)| folders.join("/")).unwrap_or_default();
    let path = names.join("/");
    let (definition, facts) = read_with_facts(&repository, commit.id(), &path, &folder);
    Ok(AtRevision { commit: commit.id().to_string(), path, facts, definition })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(repository: &Repository, files: &[(&str, &str)]) -> String {
        let mut index = repository.index().unwrap();
        for (path, text) in files {
            let at = repository.workdir().unwrap().join(path);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::write(at, text).unwrap();
            index.add_path(Path::new(path)).unwrap();
        }
        let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
        let who = git2::Signature::new("t", "t@example.org", &git2::Time::new(0, 0)).unwrap();
        let parent = repository.head().ok().and_then(|head| head.peel_to_commit().ok());
        let parents: Vec<_> = parent.iter().collect();
        repository.commit(Some("HEAD"), &who, &who, "c", &tree, &parents).unwrap().to_string()
    }

    #[test]
    fn reads_a_file_as_it_was_with_what_lay_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init(folder.path()).unwrap();
        let first = commit(&repository, &[("networks/network.yaml", "one"), ("networks/organizations/acme/x", "x")]);
        commit(&repository, &[("networks/network.yaml", "two"), ("README.md", "readme")]);
        let file = folder.path().join("networks/network.yaml");
        let before = at(&file, "HEAD~1").unwrap();
        assert_eq!((before.commit.as_str(), before.path.as_str()), (first.as_str(), "networks/network.yaml"));
        assert_eq!(before.definition.as_deref(), Ok(b"one".as_slice()));
        assert_eq!(before.facts.organizations, ["acme"]);
        assert_eq!(at(&file, "HEAD").unwrap().definition.as_deref(), Ok(b"two".as_slice()));
        let missing = at(&folder.path().join("README.md"), &first).unwrap();
        assert!(matches!(missing.definition, Err(SourceError::NoFile { .. })), "{missing:?}");
        let error = at(&file, "no-such").unwrap_err().to_string();
        assert!(error.contains("no revision `no-such`"), "{error}");
        let outside = tempfile::NamedTempFile::new().unwrap();
        assert!(at(outside.path(), "HEAD").unwrap_err().to_string().contains("no git repository"));
    }
    /// Approvals are blobs at a commit like all that the members bring: what lies in the working tree beside it is none.
    #[test]
    fn approvals_are_read_at_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init(folder.path()).unwrap();
        let hash = "0f".repeat(32);
        let approval = format!("approvals/{hash}/acme.yaml");
        commit(&repository, &[("network.yaml", "one")]);
        let with = commit(&repository, &[(&approval, "of acme"), ("approvals/README.md", "for people")]);
        std::fs::write(folder.path().join(format!("approvals/{hash}/globex.yaml")), "not committed").unwrap();
        std::os::unix::fs::symlink("../network.yaml", folder.path().join("approvals/link")).unwrap();
        let file = folder.path().join("network.yaml");
        let files = |revision: &str| at(&file, revision).unwrap().facts.members.files.into_keys().collect::<Vec<_>>();
        assert_eq!(files(&format!("{with}~1")), [""; 0]);
        assert_eq!(files(&with), [approval.as_str()]);
        let mut index = repository.index().unwrap();
        index.add_path(Path::new("approvals/link")).unwrap();
        let linked = commit(&repository, &[]);
        let members = at(&file, &linked).unwrap().facts.members;
        assert_eq!(members.refused.keys().collect::<Vec<_>>(), ["approvals/link"], "links are not followed");
        assert_eq!(members.files.into_keys().collect::<Vec<_>>(), [approval.as_str()]);
    }
}
