//! Reading a definition from real git servers that ask who is there: over https with a user name and a password, and over
//! ssh with a key and a host key on record. The fetch runs as the daemon runs it, in a process of its own.

#![expect(clippy::expect_used, reason = "what goes wrong here fails the test")]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use tenter_fabric_testnet::Organization;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);

/// A bare repository with one commit, and a place for mirrors.
struct Fixture {
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { folder: TempDir::new().expect("a folder") };
        let work = fixture.path("work");
        git(&["init", "-q", "-b", "main", &work]);
        std::fs::write(format!("{work}/network.yaml"), "kind: Network\n").expect("write");
        git(&["-C", &work, "add", "network.yaml"]);
        git(&["-C", &work, "-c", "user.name=t", "-c", "user.email=t@example.test", "commit", "-q", "-m", "first"]);
        git(&["clone", "-q", "--bare", &work, &fixture.path("trade.git")]);
        fixture
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Fetches with a cache of its own, and gives what the fetching process answers: `{"Ok": …}` or `{"Err": …}`.
    fn fetch(&self, url: &str, credentials: &Value, environment: &[(&str, &str)]) -> Value {
        let cache = TempDir::new_in(self.folder.path()).expect("a folder");
        let request = json!({
            "cache": cache.path(), "url": url, "revision": "main", "path": "network.yaml", "last_good": null,
            "credentials": credentials,
        });
        let mut child = Command::new(env!("CARGO_BIN_EXE_tenter"))
            .arg("git-fetch")
            .env("HOME", cache.path())
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tenter runs");
        child.stdin.take().expect("its input").write_all(request.to_string().as_bytes()).expect("the request");
        let output = child.wait_with_output().expect("it ends");
        serde_json::from_slice(&output.stdout).expect("an answer")
    }
}

fn git(arguments: &[&str]) {
    let done = Command::new("git").args(arguments).status().expect("git runs");
    assert!(done.success(), "git {arguments:?}");
}

/// The reason of a refusal; the whole answer where there is none.
fn error(answer: &Value) -> String {
    answer["Err"]["error"].as_str().map_or_else(|| answer.to_string(), str::to_owned)
}

fn definition(answer: &Value) -> String {
    let bytes: Option<Vec<u8>> = serde_json::from_value(answer["Ok"]["definition"]["Ok"].clone()).ok();
    bytes.map_or_else(|| answer.to_string(), |bytes| String::from_utf8(bytes).expect("text"))
}

#[test]
fn https_with_a_user_name_and_a_password() {
    let fixture = Fixture::new();
    let server = Organization::new("hub").expect("an organization");
    let root = fixture.path("root.pem");
    std::fs::write(&root, &server.roots.tls.cert_pem).expect("write");
    let port = serve_https(&server, PathBuf::from(fixture.path("trade.git")), "robot:s3cret");
    let url = format!("https://127.0.0.1:{port}/trade.git");
    let trusted = [("SSL_CERT_FILE", root.as_str()), ("SSL_CERT_DIR", "/nonexistent")];

    let right = json!({"username": "robot", "password": "s3cret"});
    assert_eq!(definition(&fixture.fetch(&url, &right, &trusted)), "kind: Network\n");
    for (credentials, why) in [(json!({"username": "robot", "password": "guessed"}), "wrong"), (json!({}), "none")] {
        let answer = fixture.fetch(&url, &credentials, &trusted);
        assert_eq!(error(&answer), "unauthorised", "{why}: {answer}");
        assert!(!answer.to_string().contains("guessed"), "a password is not repeated: {answer}");
    }
    // Another authority's server is not asked for anything, and learns no password.
    let other = fixture.path("other.pem");
    std::fs::write(&other, Organization::new("other").expect("an organization").roots.tls.cert_pem).expect("write");
    let answer = fixture.fetch(&url, &right, &[("SSL_CERT_FILE", &other), ("SSL_CERT_DIR", "/nonexistent")]);
    assert_eq!(error(&answer), "unreachable", "{answer}");
    assert!(answer.to_string().contains("certificate"), "it says why: {answer}");
}

#[test]
fn ssh_with_a_key_and_a_host_key_on_record() {
    let Some(sshd) = ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|path| Path::new(path).exists()) else {
        println!("SKIPPED ssh: there is no sshd (Debian's openssh-server) on this machine");
        return;
    };
    let fixture = Fixture::new();
    for name in ["host", "stranger", "key", "unknown"] {
        let file = fixture.path(name);
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &file]).status();
        assert!(made.expect("ssh-keygen runs").success());
    }
    let read = |name: &str| std::fs::read_to_string(fixture.path(name)).expect("a key");
    std::fs::write(fixture.path("authorized"), read("key.pub")).expect("write");
    let server = Sshd::start(sshd, &fixture);
    let user = String::from_utf8(Command::new("id").arg("-un").output().expect("id runs").stdout).expect("a name");
    let url = format!("ssh://{}@127.0.0.1:{}{}", user.trim(), server.port, fixture.path("trade.git"));
    let record = |name: &str| format!("[127.0.0.1]:{} {}", server.port, read(&format!("{name}.pub")));

    let known = record("host");
    let answer = fixture.fetch(&url, &json!({"identity": read("key"), "known_hosts": known}), &[]);
    assert_eq!(definition(&answer), "kind: Network\n");
    for (credentials, expect) in [
        (json!({"identity": read("unknown"), "known_hosts": known}), "unauthorised"),
        (json!({"known_hosts": known}), "unauthorised"),
        (json!({"identity": read("key"), "known_hosts": record("stranger")}), "hostKey"),
        (json!({"identity": read("key")}), "hostKey"),
    ] {
        let answer = fixture.fetch(&url, &credentials, &[]);
        assert_eq!(error(&answer), expect, "{answer}");
        assert!(!answer.to_string().contains("PRIVATE KEY"), "a key is not repeated: {answer}");
    }
}

/// Serves a bare repository at `/trade.git` over https, to whoever knows `user:password`, until the test ends.
fn serve_https(organization: &Organization, repository: PathBuf, login: &str) -> u16 {
    let node = organization.tls_node("git").expect("a certificate");
    let certificate = CertificateDer::from_pem_slice(node.cert_pem.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(node.key_pem.expose_pem().as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a server");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let login = format!("Basic {}", STANDARD.encode(login));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, repository, login) = (Arc::clone(&config), repository.clone(), login.clone());
            std::thread::spawn(move || {
                let tls = ServerConnection::new(config).expect("a connection");
                // A client that ends a connection early has its reasons, and says them itself.
                let _ = answer(StreamOwned::new(tls, stream), &repository, &login);
            });
        }
    });
    port
}

/// Git's smart HTTP protocol, for fetches, one request a connection (gitprotocol-http).
fn answer(stream: StreamOwned<ServerConnection, TcpStream>, repository: &Path, login: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request)?;
    let (mut length, mut known) = (0_usize, false);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().expect("a length"),
            "authorization" => known = value == login,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let upload = |arguments: &[&str], input: &[u8]| -> std::io::Result<Vec<u8>> {
        let mut child = Command::new("git")
            .args(["-c", "safe.directory=*", "upload-pack", "--stateless-rpc"])
            .args(arguments)
            .arg(repository)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child.stdin.take().expect("its input").write_all(input)?;
        Ok(child.wait_with_output()?.stdout)
    };
    let (status, kind, content) = match request.split(' ').take(2).collect::<Vec<_>>()[..] {
        _ if !known => ("401 Unauthorized", "text/plain", b"who is there?".to_vec()),
        ["GET", "/trade.git/info/refs?service=git-upload-pack"] => {
            let refs = upload(&["--advertise-refs"], &[])?;
            let content = [b"001e# service=git-upload-pack\n0000", refs.as_slice()].concat();
            ("200 OK", "application/x-git-upload-pack-advertisement", content)
        }
        ["POST", "/trade.git/git-upload-pack"] => {
            ("200 OK", "application/x-git-upload-pack-result", upload(&[], &body)?)
        }
        _ => ("404 Not Found", "text/plain", Vec::new()),
    };
    let stream = stream.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        content.len()
    )?;
    stream.write_all(&content)?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// OpenSSH's server, for one key, on a port of its own.
struct Sshd {
    process: Child,
    port: u16,
}

impl Sshd {
    fn start(program: &str, fixture: &Fixture) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let log = fixture.path("sshd.log");
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\nPermitRootLogin yes\n",
            fixture.path("host"),
            fixture.path("authorized")
        );
        std::fs::write(fixture.path("sshd_config"), config).expect("write");
        // Debian's sshd wants this folder when it is started by root, and its service makes it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let process = Command::new(program)
            .args(["-D", "-f", &fixture.path("sshd_config"), "-E", &log])
            .spawn()
            .expect("sshd starts");
        let server = Self { process, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < START, "sshd: {}", std::fs::read_to_string(&log).unwrap_or_default());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A channel's configuration and a change of it, by an organization whose administrator's key no cluster holds.
mod offline {
    use tenter_fabric::ca::Role;
    use tenter_fabric::config::update::ConfigUpdate;
    use tenter_fabric::config::{ApplicationOrganization, ChannelConfig, Consensus, CurrentConfig, RaftOptions};
    use tenter_fabric::msp::{MspDefinition, Pem};
    use tenter_fabric::policy::{Judge, Received, defaults};

    use super::*;

    struct Signing {
        fixture: Fixture,
        current: CurrentConfig,
        update: ConfigUpdate,
    }

    impl Signing {
        fn new() -> Self {
            let fixture = Fixture::new();
            let acme = Organization::new("acme").expect("an organization");
            let administrator = acme.enrol("admin", Role::Admin).expect("an administrator");
            std::fs::write(fixture.path("admin.crt"), &administrator.cert_pem).expect("write");
            std::fs::write(fixture.path("admin.key"), administrator.key_pem.expose_pem()).expect("write");
            let pem = |text: &str| Pem::new(text.as_bytes());
            let roots = &acme.roots;
            let msp = MspDefinition::new("AcmeMSP", pem(&roots.enrolment.cert_pem), pem(&roots.tls.cert_pem));
            let policies = defaults::application_organization("AcmeMSP");
            let consensus = Consensus::EtcdRaft { consenters: Vec::new(), options: RaftOptions::default() };
            let mut config = ChannelConfig::new(consensus);
            let member = ApplicationOrganization { msp, anchors: Vec::new(), policies };
            config.application.organizations.insert("acme".to_owned(), member);
            let current = CurrentConfig::from_bytes("deals", &config.to_config_bytes()).expect("a configuration");
            let mut wanted = current.config().clone();
            "3s".clone_into(&mut wanted.orderer.batch.timeout);
            let update = ConfigUpdate::compute(&current, &wanted).expect("a difference");
            Self { fixture, current, update }
        }

        fn sign(&self, arguments: &[&str]) -> std::process::Output {
            Command::new(env!("CARGO_BIN_EXE_tenter"))
                .arg("sign")
                .args(arguments)
                .args(["--msp-id", "AcmeMSP", "--key", &self.fixture.path("admin.key")])
                .args(["--cert", &self.fixture.path("admin.crt"), "--cache-dir", &self.fixture.path("cache")])
                .env("HOME", self.fixture.path("home"))
                .stdin(Stdio::null())
                .output()
                .expect("tenter runs")
        }

        fn judge(&self, bytes: &[u8]) -> Received {
            let judge = Judge::new(self.current.config());
            judge.receive(&self.current, &self.update, "AcmeMSP", bytes, &[], jiff::Timestamp::now())
        }
    }

    #[test]
    fn a_key_that_no_cluster_holds_signs_a_file() {
        let signing = Signing::new();
        let file = signing.fixture.path("update.pb");
        std::fs::write(&file, signing.update.bytes()).expect("write");
        let refused = signing.sign(&[&file]);
        assert_eq!(refused.status.code(), Some(3), "nobody was asked: {refused:?}");
        assert!(!Path::new(&signing.fixture.path("AcmeMSP.sig")).exists());
        let done = signing.sign(&[&file, "--yes"]);
        assert!(done.status.success(), "{done:?}");
        let shown = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(shown.contains(&signing.update.digest()) && shown.contains("BatchTimeout"), "{shown}");
        let bytes = std::fs::read(signing.fixture.path("AcmeMSP.sig")).expect("a signature");
        assert!(matches!(signing.judge(&bytes), Received::Valid(_)), "{:?}", signing.judge(&bytes));
        let done = signing.sign(&[&file, "--yes", "--reject", "--reason", "too slow"]);
        assert!(done.status.success(), "{done:?}");
        let bytes = std::fs::read(signing.fixture.path("AcmeMSP.reject")).expect("a rejection");
        let judge = Judge::new(signing.current.config());
        let found = judge.receive_rejection(&signing.update, "AcmeMSP", &bytes, jiff::Timestamp::now());
        assert_eq!(found.expect("it counts").reason, "too slow");
    }

    #[test]
    fn a_signature_is_pushed_beside_the_update() {
        let signing = Signing::new();
        let digest = signing.update.digest();
        let (work, bare) = (signing.fixture.path("exchange"), signing.fixture.path("trade.git"));
        git(&["clone", "-q", &bare, &work]);
        git(&["-C", &work, "checkout", "-q", "--orphan", "tenter/signatures"]);
        git(&["-C", &work, "rm", "-q", "-rf", "."]);
        std::fs::create_dir_all(format!("{work}/deals/{digest}")).expect("a folder");
        std::fs::write(format!("{work}/deals/{digest}/update.pb"), signing.update.bytes()).expect("write");
        git(&["-C", &work, "add", "deals"]);
        git(&["-C", &work, "-c", "user.name=t", "-c", "user.email=t@example.test", "commit", "-q", "-m", "update"]);
        git(&["-C", &work, "push", "-q", "origin", "tenter/signatures"]);
        let url = format!("file://{bare}");
        let missing = signing.sign(&[&format!("deals/{}", "0".repeat(64)), "--repository", &url, "--yes"]);
        assert_eq!(missing.status.code(), Some(1), "{missing:?}");
        // Where nobody looks at it, only the whole digest names it.
        for length in [10, 16, 63] {
            let short = signing.sign(&[&format!("deals/{}", &digest[..length]), "--repository", &url, "--yes"]);
            assert_eq!(short.status.code(), Some(3), "{short:?}");
        }
        let place = format!("deals/{digest}");
        let done = signing.sign(&[&place, "--repository", &url, "--yes"]);
        assert!(done.status.success(), "{done:?}");
        let name = format!("tenter/signatures:deals/{digest}/AcmeMSP.sig");
        let shown = Command::new("git").args(["--git-dir", &bare, "show", &name]).output().expect("git runs");
        assert!(matches!(signing.judge(&shown.stdout), Received::Valid(_)), "{shown:?}");
    }
}
