//! Nodes as processes, the simulator's or real Fabric's, with the same configuration files.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tenter_fabric_wire::common::Block;

use super::Target;
use super::client::{AdminAccess, plain_http};
use super::genesis::{self, Profile};
use super::organization::{Organization, Person};

/// A free port, each once. It is below those that the system gives to connections; another program could still take it
/// before it is used, and then the test fails loudly.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(rand::random()));
    loop {
        let port = 10_000 + next.fetch_add(1, Ordering::SeqCst) % 22_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A node's folder, ports and process.
pub struct Node {
    pub dir: PathBuf,
    pub port: u16,
    pub admin: u16,
    pub operations: u16,
    pub tls: String,
    program: &'static str,
    target: Target,
    pub environment: Vec<(String, String)>,
    process: Option<Child>,
}

impl Node {
    /// Starts the process and waits until it is healthy.
    pub async fn start(&mut self) {
        self.spawn();
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(answer) = plain_http(self.operations, "GET", "/healthz", None).await
                && answer.status == 200
                && std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
                && (self.program == "peer" || std::net::TcpStream::connect(("127.0.0.1", self.admin)).is_ok())
            {
                return;
            }
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{} did not start:\n{}", self.program, self.log());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Starts the process without waiting.
    pub fn spawn(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).unwrap();
        let mut command = match &self.target {
            Target::Simulator => Command::new(env!("CARGO_BIN_EXE_fabric-sim")),
            Target::Fabric(dir) => Command::new(dir.join(self.program)),
        };
        command.arg0(format!("/usr/local/bin/{}", self.program));
        if self.program == "peer" {
            command.args(["node", "start"]);
        }
        let child = command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.dir)
            .env("FABRIC_CFG_PATH", &self.dir)
            .env("FABRIC_SIM_ELECTION_MS", "300")
            .env("FABRIC_SIM_CONTROL", "1")
            .envs(self.environment.iter().cloned())
            .current_dir(&self.dir)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(child);
    }

    /// Kills it, as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks it to stop; how it ended and after how long.
    pub fn terminate(&mut self) -> (std::process::ExitStatus, Duration) {
        let mut child = self.process.take().unwrap();
        let start = Instant::now();
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        (child.wait().unwrap(), start.elapsed())
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                self.process = None;
                return status;
            }
            assert!(Instant::now() < end, "{} goes on:\n{}", self.program, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// One metric's value.
    pub async fn metric(&self, name: &str, channel: &str) -> Option<f64> {
        let text = plain_http(self.operations, "GET", "/metrics", None).await.ok()?.text();
        text.lines()
            .find(|line| line.starts_with(&format!("{name}{{channel=\"{channel}\"")))
            .and_then(|line| line.rsplit(' ').next()?.parse().ok())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            println!("--- {} ---\n{}", self.dir.display(), self.log());
        }
    }
}

/// Organisations, orderers and peers on loopback.
pub struct Network {
    pub dir: tempfile::TempDir,
    pub target: Target,
    pub hub: Organization,
    pub acme: Organization,
    pub globex: Organization,
    pub admin_pair: (String, String),
}

impl Network {
    pub fn new(target: Target) -> Self {
        println!("running on {target:?}");
        let hub = Organization::new("Hub");
        let admin_pair = hub.tls("tenter");
        Self {
            dir: tempfile::tempdir().unwrap(),
            target,
            hub,
            acme: Organization::new("Acme"),
            globex: Organization::new("Globex"),
            admin_pair,
        }
    }

    fn node(&self, program: &'static str, name: &str, dir: &Path, tls: String) -> Node {
        println!("{program} {name} in {}", dir.display());
        Node {
            dir: dir.to_path_buf(),
            port: free_port(),
            admin: free_port(),
            operations: free_port(),
            tls,
            program,
            target: self.target.clone(),
            environment: Vec::new(),
            process: None,
        }
    }

    /// An orderer's folder; not started.
    pub fn orderer(&self, name: &str) -> Node {
        let dir = self.dir.path().join(name);
        let tls = self.hub.write_node(&dir, name, "orderer");
        let node = self.node("orderer", name, &dir, tls);
        let yaml = format!(
            "General:\n  ListenAddress: 127.0.0.1\n  ListenPort: {}\n  LocalMSPID: HubMSP\n  LocalMSPDir: msp\n  BootstrapMethod: none\n  TLS:\n    Enabled: true\n    Certificate: tls/server.crt\n    PrivateKey: tls/server.key\n    RootCAs: [tls/ca.crt]\n  Cluster:\n    ClientCertificate: tls/server.crt\n    ClientPrivateKey: tls/server.key\n    ReplicationPolicy: simple\nFileLedger:\n  Location: data\nConsensus:\n  WALDir: {}\n  SnapDir: {}\n  EvictionSuspicion: 5s\nOperations:\n  ListenAddress: 127.0.0.1:{}\nMetrics:\n  Provider: prometheus\nChannelParticipation:\n  Enabled: true\n  MaxRequestBodySize: 1 MB\nAdmin:\n  ListenAddress: 127.0.0.1:{}\n  TLS:\n    Enabled: true\n    Certificate: {dir}/tls/server.crt\n    PrivateKey: {dir}/tls/server.key\n    ClientAuthRequired: true\n    ClientRootCAs: [{dir}/tls/ca.crt]\n",
            node.port,
            dir.join("wal").display(),
            dir.join("snap").display(),
            node.operations,
            node.admin,
            dir = dir.display(),
        );
        std::fs::write(dir.join("orderer.yaml"), yaml).unwrap();
        node
    }

    /// A peer's folder; not started.
    pub fn peer(&self, org: &Organization, name: &str) -> Node {
        self.peer_beside(org, name, None)
    }

    /// A peer that knows another of its organisation.
    pub fn peer_beside(&self, org: &Organization, name: &str, other: Option<&Node>) -> Node {
        let dir = self.dir.path().join(name);
        let tls = org.write_node(&dir, name, "peer");
        let node = self.node("peer", name, &dir, tls);
        let yaml = format!(
            "peer:\n  id: {name}\n  networkId: test\n  listenAddress: 127.0.0.1:{port}\n  address: 127.0.0.1:{port}\n  chaincodeListenAddress: 127.0.0.1:{chaincode}\n  localMspId: {msp}\n  localMspType: bccsp\n  mspConfigPath: msp\n  fileSystemPath: data\n  authentication:\n    timewindow: 15m\n  gateway:\n    enabled: true\n  discovery:\n    enabled: true\n    authCacheEnabled: true\n    authCacheMaxSize: 1000\n    authCachePurgeRetentionRatio: 0.75\n  gossip:\n    bootstrap: 127.0.0.1:{beside}\n    useLeaderElection: false\n    orgLeader: true\n    externalEndpoint: 127.0.0.1:{port}\n    state:\n      enabled: false\n    pvtData:\n      pullRetryThreshold: 10s\n      pushAckTimeout: 3s\n      transientstoreMaxBlockRetention: 1000\n      btlPullMargin: 10\n      reconcileBatchSize: 10\n      reconcileSleepInterval: 5s\n      reconciliationEnabled: true\n      implicitCollectionDisseminationPolicy:\n        requiredPeerCount: 0\n        maxPeerCount: 1\n  tls:\n    enabled: true\n    cert: {{file: tls/server.crt}}\n    key: {{file: tls/server.key}}\n    rootcert: {{file: tls/ca.crt}}\n  deliveryclient:\n    blockGossipEnabled: false\n    reconnectTotalTimeThreshold: 3600s\n  BCCSP:\n    Default: SW\n    SW: {{Hash: SHA2, Security: 256}}\n  handlers:\n    authFilters:\n      - name: DefaultAuth\n      - name: ExpirationCheck\n      - name: TimeWindowCheck\n    decorators:\n      - name: DefaultDecorator\n    endorsers:\n      escc: {{name: DefaultEndorsement}}\n    validators:\n      vscc: {{name: DefaultValidation}}\n  limits:\n    concurrency: {{endorserService: 2500, deliverService: 2500, gatewayService: 500}}\nchaincode:\n  externalBuilders:\n    - name: ccaas_builder\n      path: {dir}/builder\n      propagateEnvironment: [CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG]\n  installTimeout: 30s\n  startuptimeout: 30s\n  executetimeout: 3s\n  runtimeParams: {{useWriteBatch: true, maxSizeWriteBatch: 1000, useGetMultipleKeys: true, maxSizeGetMultipleKeys: 1000}}\n  mode: net\n  system: {{_lifecycle: enable, cscc: enable, lscc: enable, qscc: enable}}\n  logging: {{level: info, shim: warning}}\nledger:\n  state:\n    stateDatabase: goleveldb\n    totalQueryLimit: 1000\n  history:\n    enableHistoryDatabase: true\n  pvtdataStore:\n    collElgProcMaxDbBatchSize: 5000\n    collElgProcDbBatchesInterval: 1000\n  snapshots:\n    rootDir: {dir}/data/snapshots\noperations:\n  listenAddress: 127.0.0.1:{operations}\nmetrics:\n  provider: prometheus\n",
            port = node.port,
            beside = other.map_or(node.port, |other| other.port),
            chaincode = node.admin,
            msp = org.msp_id,
            dir = dir.display(),
            operations = node.operations,
        );
        match &self.target {
            Target::Fabric(programs) if programs.join("ccaas_builder").is_dir() => {
                std::os::unix::fs::symlink(programs.join("ccaas_builder"), dir.join("builder")).unwrap();
            }
            _ => std::fs::create_dir_all(dir.join("builder")).unwrap(),
        }
        std::fs::write(dir.join("core.yaml"), yaml).unwrap();
        node
    }

    /// The genesis block of a channel ordered by these nodes.
    pub fn genesis(&self, channel: &str, orderers: &[&Node], nonce: u8) -> Block {
        genesis::block(&self.profile(channel, orderers, nonce))
    }

    /// The same with anchor peers, by MSP ID.
    pub fn genesis_with_anchors(&self, channel: &str, orderers: &[&Node], anchors: &[(&str, &Node)]) -> Block {
        let anchors = anchors.iter().map(|(id, node)| ((*id).to_owned(), node.port)).collect();
        genesis::block(&Profile { anchors, ..self.profile(channel, orderers, 1) })
    }

    /// The same with Byzantine ordering.
    pub fn bft_genesis(&self, channel: &str, orderers: &[&Node]) -> Block {
        let identities = orderers
            .iter()
            .map(|node| std::fs::read_to_string(node.dir.join("msp/signcerts/cert.pem")).unwrap())
            .collect();
        genesis::block(&Profile { bft: Some(identities), ..self.profile(channel, orderers, 1) })
    }

    fn profile<'a>(&'a self, channel: &'a str, orderers: &[&Node], nonce: u8) -> Profile<'a> {
        Profile {
            bft: None,
            channel,
            orderers: &self.hub,
            members: vec![&self.acme, &self.globex],
            consenters: orderers.iter().map(|node| ("127.0.0.1".to_owned(), node.port, node.tls.clone())).collect(),
            nonce,
            anchors: Vec::new(),
        }
    }

    /// The admin API of an orderer.
    pub fn admin(&self, node: &Node) -> AdminAccess {
        AdminAccess { port: node.admin, tlsca: self.hub.tlsca.pem.clone(), pair: Some(self.admin_pair.clone()) }
    }

    pub fn acme_user(&self) -> Person {
        self.acme.person("user1", "client")
    }
}

/// Asks again until the answer is there; fails after 90 seconds: with the settings of `genesis::bft_options`, real SmartBFT takes 20
/// to replace its leader, and twice that where the first change of view fails.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}
