//! Against bare repositories made here.

use std::sync::Barrier;

use git2::Repository;
use tempfile::TempDir;

use super::*;

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

    /// The request of one of several daemons, each with a mirror of its own.
    fn request(&self, daemon: &str) -> ExchangeRequest {
        ExchangeRequest {
            cache: self.folder.path().join(daemon),
            url: format!("file://{}", self.folder.path().join("remote.git").display()),
            credentials: Credentials::default(),
            publish: Vec::new(),
            prune: BTreeSet::new(),
            now: 1,
        }
    }

    fn publish(&self, daemon: &str, messages: &[Message]) -> Messages {
        exchange(&ExchangeRequest { publish: messages.to_vec(), ..self.request(daemon) }).unwrap()
    }

    fn read(&self, daemon: &str) -> Messages {
        exchange(&self.request(daemon)).unwrap()
    }

    fn commits(&self) -> usize {
        let mut walk = self.remote.revwalk().unwrap();
        walk.push_ref(REF).unwrap();
        walk.count()
    }

    /// Puts a tree on the ref as somebody would who follows no rules. Paths of files, their modes and contents.
    fn put(&self, files: &[(&str, i32, Vec<u8>)]) {
        let mut index = git2::Index::new().unwrap();
        for (path, mode, content) in files {
            let entry = git2::IndexEntry {
                ctime: git2::IndexTime::new(0, 0),
                mtime: git2::IndexTime::new(0, 0),
                dev: 0,
                ino: 0,
                mode: u32::try_from(*mode).unwrap(),
                uid: 0,
                gid: 0,
                file_size: 0,
                id: self.remote.blob(content).unwrap(),
                flags: 0,
                flags_extended: 0,
                path: path.as_bytes().to_vec(),
            };
            index.add(&entry).unwrap();
        }
        let tree = self.remote.find_tree(index.write_tree_to(&self.remote).unwrap()).unwrap();
        let author = Signature::new("m", "m@example.test", &git2::Time::new(1, 0)).unwrap();
        let id = self.remote.commit(None, &author, &author, "x", &tree, &[]).unwrap();
        self.remote.reference(REF, id, true, "test").unwrap();
    }
}

fn message(channel: &str, update: &[u8], signatures: &[(&str, &[u8])]) -> Message {
    let signatures = signatures.iter().map(|(msp_id, bytes)| ((*msp_id).to_owned(), Blob(bytes.to_vec()))).collect();
    Message { signatures, ..Message::new(channel, update) }
}

#[test]
fn what_one_publishes_another_reads() {
    let fixture = Fixture::new();
    assert_eq!(fixture.read("acme"), Messages::default());
    let first = message("deals", b"update", &[("AcmeMSP", b"a")]);
    assert!(fixture.publish("acme", std::slice::from_ref(&first)).pushed);
    assert_eq!(fixture.read("globex").messages, std::slice::from_ref(&first));
    let second = message("deals", b"update", &[("GlobexMSP", b"g")]);
    let seen = fixture.publish("globex", std::slice::from_ref(&second));
    let both = message("deals", b"update", &[("AcmeMSP", b"a"), ("GlobexMSP", b"g")]);
    assert_eq!(seen.messages, std::slice::from_ref(&both));
    let seen = fixture.read("acme");
    assert_eq!(seen.find("deals", &both.folder.digest), Some(&both));
    assert!(!seen.pushed);
}

#[test]
fn what_is_there_is_not_written_again() {
    let fixture = Fixture::new();
    let first = message("deals", b"update", &[("AcmeMSP", b"a")]);
    assert!(fixture.publish("acme", std::slice::from_ref(&first)).pushed);
    let again = fixture.publish("acme", std::slice::from_ref(&first));
    assert!(!again.pushed);
    assert!(!fixture.publish("globex", std::slice::from_ref(&first)).pushed);
    assert_eq!(fixture.commits(), 1);
}

#[test]
fn what_no_longer_applies_goes() {
    let fixture = Fixture::new();
    let (stale, fresh) = (message("deals", b"old", &[("AcmeMSP", b"a")]), message("deals", b"new", &[]));
    fixture.publish("acme", &[stale.clone(), fresh.clone()]);
    let prune = BTreeSet::from([stale.folder.clone()]);
    // What is to go is not published at the same time.
    let request = ExchangeRequest { prune: prune.clone(), publish: vec![stale], ..fixture.request("acme") };
    let seen = exchange(&request).unwrap();
    assert!(seen.pushed);
    assert_eq!(seen.messages, std::slice::from_ref(&fresh));
    assert!(!exchange(&ExchangeRequest { prune, ..fixture.request("globex") }).unwrap().pushed);
    // The last one leaves no folder behind.
    let prune = BTreeSet::from([fresh.folder]);
    let seen = exchange(&ExchangeRequest { prune, ..fixture.request("acme") }).unwrap();
    assert!(seen.pushed && seen.messages.is_empty() && seen.ignored.is_empty(), "{seen:?}");
}

/// `git daemon` over the folder of a fixture; it is ended when it is dropped.
struct Served(std::process::Child);

impl Served {
    fn new(fixture: &Fixture) -> (Self, String) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = fixture.folder.path();
        // The program itself and not `git daemon`, which would leave it behind.
        let programs = std::process::Command::new("git").arg("--exec-path").output().unwrap().stdout;
        let program = std::path::Path::new(std::str::from_utf8(&programs).unwrap().trim()).join("git-daemon");
        let child = std::process::Command::new(program)
            .args(["--reuseaddr", "--export-all", "--enable=receive-pack", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", folder.display()))
            .arg(folder)
            .spawn()
            .unwrap();
        let served = Self(child);
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(std::time::Instant::now() < end, "git daemon does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        (served, format!("git://127.0.0.1:{port}/remote.git"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn pushes_to_a_local_repository_at_the_same_time_all_arrive() {
    let fixture = Fixture::new();
    let url = fixture.request("acme").url;
    push_at_once(&fixture, &url);
}

#[test]
fn pushes_to_a_server_at_the_same_time_all_arrive() {
    let fixture = Fixture::new();
    let (_served, url) = Served::new(&fixture);
    push_at_once(&fixture, &url);
}

/// Three daemons push at the same moment, four times.
fn push_at_once(fixture: &Fixture, url: &str) {
    let daemons = ["acme", "globex", "initech"];
    let barrier = Barrier::new(daemons.len());
    std::thread::scope(|scope| {
        for daemon in daemons {
            let request = ExchangeRequest { url: url.to_owned(), ..fixture.request(daemon) };
            let barrier = &barrier;
            scope.spawn(move || {
                for round in 0..4_u8 {
                    barrier.wait();
                    let own = message("deals", &[round], &[(&format!("{daemon}MSP"), b"s")]);
                    let request = ExchangeRequest { publish: vec![own], ..request.clone() };
                    assert!(exchange(&request).unwrap().pushed, "{daemon} {round}");
                }
            });
        }
    });
    let seen = fixture.read("acme");
    assert_eq!(seen.messages.len(), 4);
    for message in &seen.messages {
        assert_eq!(message.signatures.keys().collect::<Vec<_>>(), ["acmeMSP", "globexMSP", "initechMSP"]);
    }
    assert_eq!(fixture.commits(), 12, "each push is one commit on top of another");
}

#[test]
fn a_race_that_is_lost_is_run_again() {
    let fixture = Fixture::new();
    let own = message("deals", b"update", &[("AcmeMSP", b"a")]);
    fixture.publish("acme", std::slice::from_ref(&own));
    let request = ExchangeRequest {
        publish: vec![message("deals", b"update", &[("GlobexMSP", b"g")])],
        ..fixture.request("globex")
    };
    let url = RepositoryUrl::parse(&request.url).unwrap();
    let mirror = mirror::open_mirror(&request.cache.join("messages"), &request.url).unwrap();
    let here = Here { repository: &mirror, url: &url, request: &request, shown: String::new() };
    let tip = here.fetch().unwrap();
    let late = here.commit(tip).unwrap().unwrap();
    // Somebody else is faster.
    fixture.publish("initech", &[message("deals", b"update", &[("InitechMSP", b"i")])]);
    assert!(matches!(here.push(late).unwrap(), Pushed::Lost(_)), "no force");
    assert_eq!(exchange(&request).unwrap().messages[0].signatures.len(), 3);
}

#[test]
fn hostile_content_is_left_out_by_name() {
    let fixture = Fixture::new();
    let good = message("deals", b"update", &[("AcmeMSP", b"a")]);
    let folder = good.folder.to_string();
    let other = digest(b"something else");
    let large = vec![0; usize::try_from(MAX_SIGNATURE_BYTES).unwrap() + 1];
    fixture.put(&[
        (&format!("{folder}/update.pb"), FILE, b"update".to_vec()),
        (&format!("{folder}/AcmeMSP.sig"), FILE, b"a".to_vec()),
        (&format!("{folder}/LargeMSP.sig"), FILE, large),
        (&format!("{folder}/LinkMSP.sig"), 0o120_000, b"/etc/passwd".to_vec()),
        (&format!("{folder}/notes.txt"), FILE, b"x".to_vec()),
        (&format!("deals/{other}/update.pb"), FILE, b"update".to_vec()),
        (&format!("deals/{}/AcmeMSP.sig", digest(b"no update")), FILE, b"a".to_vec()),
        ("deals/readme/update.pb", FILE, b"update".to_vec()),
        ("Deals/readme/update.pb", FILE, b"update".to_vec()),
        ("README", FILE, b"x".to_vec()),
    ]);
    let seen = fixture.read("acme");
    assert_eq!(seen.messages, [good]);
    let ignored = seen.ignored.join("\n");
    for part in ["LargeMSP.sig", "LinkMSP.sig", "notes.txt", "another digest", "no update.pb", "deals/readme", "README"]
    {
        assert!(ignored.contains(part), "{part} in {ignored}");
    }
    // It stays as it is, and what is published joins it.
    let seen = fixture.publish("globex", &[message("deals", b"update", &[("GlobexMSP", b"g")])]);
    assert_eq!(seen.messages[0].signatures.len(), 2);
}

#[test]
fn too_much_is_not_read() {
    let fixture = Fixture::new();
    let update = vec![7; usize::try_from(MAX_UPDATE_BYTES).unwrap()];
    let files: Vec<(String, Vec<u8>)> = (0..10_u8)
        .map(|number| {
            let mut update = update.clone();
            update[0] = number;
            (format!("deals/{}/update.pb", digest(&update)), update)
        })
        .collect();
    let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), FILE, content.clone())).collect();
    fixture.put(&files);
    let seen = fixture.read("acme");
    assert_eq!((seen.messages.len(), seen.ignored.len()), (8, 2), "{:?}", seen.ignored);
}

#[test]
fn nothing_that_others_could_not_read_is_published() {
    let fixture = Fixture::new();
    let mut wrong = message("deals", b"update", &[("AcmeMSP", b"a")]);
    wrong.folder.digest = digest(b"another");
    let up = message("../deals", b"update", &[]);
    let name = message("deals", b"update", &[("../AcmeMSP", b"a")]);
    let seen = fixture.publish("acme", &[wrong, up, name]);
    assert!(!seen.pushed && seen.tip.is_none(), "{seen:?}");
}

#[test]
fn a_server_that_takes_no_push_says_so() {
    let fixture = Fixture::new();
    let gone = ExchangeRequest { url: "file:///nowhere/remote.git".to_owned(), ..fixture.request("acme") };
    assert!(matches!(exchange(&gone), Err(SourceError::Unreachable { .. })));
}
