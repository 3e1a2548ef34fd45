//! Against bare repositories made here.

use git2::{Oid, Repository, Signature, Time};
use tempfile::TempDir;

use super::*;

/// A tree entry: path without folders, file mode, content (a blob) or nothing (a commit id for a submodule).
type Entry<'a> = (&'a str, i32, &'a [u8]);

struct Fixture {
    folder: TempDir,
    remote: Repository,
}

impl Fixture {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let remote = Repository::init_bare(folder.path().join("remote.git")).unwrap();
        Self { folder, remote }
    }

    /// Commits a tree; the parent is what the caller says, so that history can be rewritten.
    fn commit(&self, parent: Option<Oid>, seconds: i64, entries: &[Entry<'_>]) -> Oid {
        let mut builder = self.remote.treebuilder(None).unwrap();
        for (name, mode, content) in entries {
            let id = match *mode {
                0o160_000 => Oid::from_str("1234567890123456789012345678901234567890").unwrap(),
                0o040_000 => {
                    let mut inner = self.remote.treebuilder(None).unwrap();
                    inner.insert("inner.yaml", self.remote.blob(content).unwrap(), 0o100_644).unwrap();
                    inner.write().unwrap()
                }
                _ => self.remote.blob(content).unwrap(),
            };
            builder.insert(name, id, *mode).unwrap();
        }
        let tree = self.remote.find_tree(builder.write().unwrap()).unwrap();
        let signature = Signature::new("t", "t@example.test", &Time::new(seconds, 0)).unwrap();
        let parents: Vec<git2::Commit<'_>> =
            parent.into_iter().map(|parent| self.remote.find_commit(parent).unwrap()).collect();
        let id = self
            .remote
            .commit(None, &signature, &signature, "a commit\n\nbody", &tree, &parents.iter().collect::<Vec<_>>())
            .unwrap();
        self.remote.reference("refs/heads/main", id, true, "test").unwrap();
        id
    }

    fn fetch(&self, revision: &str, path: &str, last_good: Option<Oid>) -> Result<Fetched, SourceError> {
        fetch(&FetchRequest {
            cache: self.folder.path().join("cache"),
            url: format!("file://{}", self.folder.path().join("remote.git").display()),
            revision: revision.to_owned(),
            path: path.to_owned(),
            last_good: last_good.map(|oid| oid.to_string()),
            trust: None,
            credentials: Credentials::default(),
        })
    }
}

const FILE: i32 = 0o100_644;

#[test]
fn reads_the_definition_of_each_new_commit() {
    let fixture = Fixture::new();
    let first = fixture.commit(None, 1, &[("network.yaml", FILE, b"one")]);
    let fetched = fixture.fetch("main", "network.yaml", None).unwrap();
    assert_eq!(fetched.commit, first.to_string());
    assert_eq!(fetched.subject, "a commit");
    assert_eq!(fetched.definition, Ok(b"one".to_vec()));
    assert!(fetched.fast_forward && fetched.facts.organizations.is_empty());

    let second = fixture.commit(Some(first), 2, &[("network.yaml", FILE, b"two"), ("organizations", 0o040_000, b"x")]);
    let fetched = fixture.fetch("main", "network.yaml", Some(first)).unwrap();
    assert_eq!((fetched.commit.clone(), fetched.definition), (second.to_string(), Ok(b"two".to_vec())));
    assert!(fetched.fast_forward);
    assert!(fetched.facts.organizations.is_empty(), "a file in organizations/ is no organization");
    assert_eq!(fixture.fetch("main", "organizations/inner.yaml", None).unwrap().definition, Ok(b"x".to_vec()));

    // An older commit by its name, and one that is known, without the network.
    assert_eq!(fixture.fetch(&first.to_string(), "network.yaml", None).unwrap().definition, Ok(b"one".to_vec()));
    let url = format!("file://{}", fixture.folder.path().join("remote.git").display());
    let cache = fixture.folder.path().join("cache");
    let known = read_known(&cache, &url, &first.to_string(), "network.yaml").unwrap();
    assert_eq!(known.0, b"one");
}

#[test]
fn tells_rewritten_history() {
    let fixture = Fixture::new();
    let first = fixture.commit(None, 1, &[("network.yaml", FILE, b"one")]);
    fixture.fetch("main", "network.yaml", None).unwrap();
    let other = fixture.commit(None, 2, &[("network.yaml", FILE, b"other")]);
    let fetched = fixture.fetch("main", "network.yaml", Some(first)).unwrap();
    assert_eq!(fetched.commit, other.to_string());
    assert!(!fetched.fast_forward);
    // A last good commit that nobody has any more.
    let gone = Oid::from_str("abcdefabcdefabcdefabcdefabcdefabcdefabcd").unwrap();
    assert!(!fixture.fetch("main", "network.yaml", Some(gone)).unwrap().fast_forward);
}

#[test]
fn reads_regular_files_only() {
    let fixture = Fixture::new();
    let large = vec![b'a'; usize::try_from(MAX_BLOB_BYTES).unwrap() + 1];
    fixture.commit(
        None,
        1,
        &[
            ("network.yaml", FILE, b"ok"),
            ("link.yaml", 0o120_000, b"/etc/passwd"),
            ("large.yaml", FILE, &large),
            ("module", 0o160_000, b""),
            ("folder", 0o040_000, b"in"),
        ],
    );
    for (path, expect) in [
        ("link.yaml", "a symbolic link"),
        ("large.yaml", "has 1048577 bytes"),
        ("module", "in a submodule"),
        ("module/network.yaml", "in a submodule"),
        ("folder", "a folder"),
        ("missing.yaml", "has no file"),
        ("network.yaml/deeper", "has no file"),
        ("../network.yaml", "without `..`"),
        ("/etc/passwd", "without `..`"),
    ] {
        let error = fixture.fetch("main", path, None).unwrap().definition.unwrap_err().to_string();
        assert!(error.contains(expect), "{path}: {error}");
    }
}

#[test]
fn names_what_is_missing() {
    let fixture = Fixture::new();
    let error = fixture.fetch("main", "network.yaml", None).unwrap_err();
    assert_eq!(error.reason(), "RepositoryEmpty");
    fixture.commit(None, 1, &[("network.yaml", FILE, b"one")]);
    let error = fixture.fetch("release", "network.yaml", None).unwrap_err();
    assert!(error.to_string().contains("no branch `release`; its branches are main"), "{error}");

    let mut request = FetchRequest {
        cache: fixture.folder.path().join("cache"),
        url: format!("file://{}", fixture.folder.path().join("nowhere.git").display()),
        revision: "main".to_owned(),
        path: "network.yaml".to_owned(),
        last_good: None,
        trust: None,
        credentials: Credentials::default(),
    };
    assert_eq!(fetch(&request).unwrap_err().reason(), "SourceUnreachable");
    // Nothing listens on this port.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    request.url = format!("git://127.0.0.1:{port}/trade.git");
    assert_eq!(fetch(&request).unwrap_err().reason(), "SourceUnreachable");
}

#[test]
fn makes_a_damaged_mirror_again() {
    let fixture = Fixture::new();
    fixture.commit(None, 1, &[("network.yaml", FILE, b"one")]);
    fixture.fetch("main", "network.yaml", None).unwrap();
    let cache = fixture.folder.path().join("cache");
    let mirror = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(mirror.join("HEAD")).unwrap();
    assert_eq!(fixture.fetch("main", "network.yaml", None).unwrap().definition, Ok(b"one".to_vec()));
}

#[test]
fn encodes_host_keys() {
    for (bytes, text) in [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"foob", "Zm9vYg==")] {
        assert_eq!(base64(bytes), text);
    }
}

fn explained(scheme: &str, seen: &Seen, code: ErrorCode, class: ErrorClass, message: &str) -> &'static str {
    let url = RepositoryUrl::parse(&format!("{scheme}://git.example.test/trade.git")).unwrap();
    explain(&git2::Error::new(code, class, message), seen, &url, "shown").reason()
}

#[test]
fn a_network_error_is_no_refusal() {
    let asked = Seen { credentials_asked: Cell::new(1), ..Seen::default() };
    let lost = explained("https", &asked, ErrorCode::GenericError, ErrorClass::Net, "connection reset by peer");
    assert_eq!(lost, "SourceUnreachable", "a private repository whose server went away");
    for (status, expect) in [("401", "SourceUnauthorised"), ("403", "SourceUnauthorised"), ("503", "SourceUnreachable")]
    {
        let message = format!("unexpected http status code: {status}");
        assert_eq!(explained("https", &asked, ErrorCode::GenericError, ErrorClass::Http, &message), expect);
    }
    assert_eq!(explained("ssh", &asked, ErrorCode::Auth, ErrorClass::Ssh, "no"), "SourceUnauthorised");
    let refused = Seen { credentials_refused: Cell::new(true), ..Seen::default() };
    assert_eq!(explained("ssh", &refused, ErrorCode::User, ErrorClass::Callback, "no"), "SourceUnauthorised");
}

#[test]
fn large_commits_and_folders_are_not_unpacked() {
    let fixture = Fixture::new();
    let first = fixture.commit(None, 1, &[("network.yaml", FILE, b"one")]);
    fixture.fetch("main", "network.yaml", None).unwrap();
    let tree = fixture.remote.find_commit(first).unwrap().tree().unwrap();
    let signature = Signature::new("t", "t@example.test", &Time::new(2, 0)).unwrap();
    let message = "m".repeat(usize::try_from(MAX_NODE_BYTES).unwrap());
    let large = fixture.remote.commit(None, &signature, &signature, &message, &tree, &[]).unwrap();
    fixture.remote.reference("refs/heads/main", large, true, "test").unwrap();
    let error = fixture.fetch("main", "network.yaml", None).unwrap_err();
    assert!(matches!(&error, SourceError::TooLarge { path, .. } if path.starts_with("commit ")), "{error}");

    let name = "n".repeat(4000);
    let names: Vec<String> = (0..300).map(|place| format!("{name}{place}")).collect();
    let entries: Vec<Entry<'_>> = names.iter().map(|name| (name.as_str(), FILE, &b"x"[..])).collect();
    fixture.commit(None, 3, &entries);
    let fetched = fixture.fetch("main", "network.yaml", None).unwrap();
    let error = fetched.definition.unwrap_err();
    assert!(matches!(&error, SourceError::TooLarge { path, .. } if path.starts_with("folder ")), "{error}");
    assert!(fetched.facts.organizations.is_empty());
}

#[test]
fn only_the_mirrors_own_settings_count() {
    let folder = TempDir::new().unwrap();
    let repository = open_mirror(folder.path(), "https://git.example.test/trade.git").unwrap();
    let settings = repository.config().unwrap();
    let mut levels = Vec::new();
    settings.entries(None).unwrap().for_each(|entry| levels.push(entry.level())).unwrap();
    assert!(!levels.is_empty() && levels.iter().all(|level| *level == ConfigLevel::Local));
}

#[test]
fn removes_old_leftovers_only() {
    let folder = TempDir::new().unwrap();
    let repository = open_mirror(folder.path(), "https://git.example.test/trade.git").unwrap();
    let packs = repository.path().join("objects/pack");
    for name in ["pack_git2_a1", "pack-1.pack"] {
        std::fs::write(packs.join(name), b"x").unwrap();
    }
    remove_leftovers(&repository, SystemTime::now());
    assert!(packs.join("pack_git2_a1").exists(), "a fetch may be writing it");
    remove_leftovers(&repository, SystemTime::now() + STALE * 2);
    assert!(!packs.join("pack_git2_a1").exists() && packs.join("pack-1.pack").exists());
}
