//! One node: its files, its process, its ports.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tenter_fabric::ca::{Issued, Role};
use tenter_fabric::client::operations::OperationsClient;
use tenter_fabric::client::{DirectDialer, Endpoint, Limits, Target, TlsSettings};
use tokio::process::{Child, Command};

use crate::{Organization, Programs, ensure, wait_for};

/// How long a node may take to start or to stop.
const START: Duration = Duration::from_secs(40);
/// The ports of nodes: from the first to below the second, which the system gives to no connection by itself.
const PORTS: (u16, u16) = (10_000, 32_000);
/// How much of a node's log goes into an error.
const LOG_TAIL: usize = 3000;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ordering node.
    Orderer,
    /// A peer.
    Peer,
}

/// What can be asked of a node beyond the usual.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// Certificates listed as administrators in the local MSP, whatever their role.
    pub administrators: Vec<String>,
    /// The revocation list in the local MSP, PEM.
    pub revocations: Option<String>,
    /// TLS roots of other organisations whose nodes it talks to.
    pub more_tls_roots: Vec<String>,
    /// Whether the gRPC port demands TLS client certificates.
    pub demand_client_certificates: bool,
}

/// A node with its files; running from [`Node::start`] until [`Node::stop`] or drop.
#[derive(Debug)]
pub struct Node {
    /// Name, unique in its organisation.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// gRPC.
    pub address: Target,
    /// An orderer's participation API; where a peer waits for chaincodes.
    pub admin: Target,
    /// Health, version, metrics.
    pub operations: Target,
    /// Its TLS certificate.
    pub tls: Issued,
    /// Its enrolment.
    pub enrolment: Issued,
    folder: PathBuf,
    programs: Programs,
    tls_roots: String,
    client: Issued,
    process: Option<Child>,
    /// Faults that a simulated node starts with, as `FABRIC_SIM_FAULTS` has them.
    faults: Option<String>,
}

impl Node {
    /// Whether the node is simulated, so that faults can be asked of it.
    pub fn is_simulated(&self) -> bool {
        !self.programs.is_real()
    }

    /// Has a simulated node start with faults from the next start on (`FABRIC_SIM_FAULTS`, JSON); `None` for none.
    pub fn set_faults(&mut self, faults: Option<&str>) {
        self.faults = faults.map(str::to_owned);
    }

    /// Prepares a node below `folder`.
    pub fn create(
        programs: &Programs,
        folder: &Path,
        organization: &Organization,
        kind: Kind,
        name: &str,
        options: &NodeOptions,
    ) -> Result<Self> {
        let role = match kind {
            Kind::Orderer => Role::Orderer,
            Kind::Peer => Role::Peer,
        };
        let node = Self {
            name: name.to_owned(),
            kind,
            address: free_port()?,
            admin: free_port()?,
            operations: free_port()?,
            tls: organization.tls_node(name)?,
            enrolment: organization.enrol(name, role)?,
            folder: folder.join(&organization.name).join(name),
            programs: programs.clone(),
            tls_roots: organization.roots.tls.cert_pem.clone(),
            client: organization.tls_client("tests")?,
            process: None,
            faults: None,
        };
        fs::create_dir_all(node.folder.join("data"))?;
        organization.write_msp(&node.folder.join("msp"), &node.enrolment, &options.administrators)?;
        if let Some(list) = &options.revocations {
            fs::create_dir_all(node.folder.join("msp/crls"))?;
            node.write("msp/crls/crl.pem", list)?;
        }
        node.write("tls.crt", &node.tls.cert_pem)?;
        node.write("tls.key", node.tls.key_pem.expose_pem())?;
        node.write("clients.pem", &organization.roots.clients.cert_pem)?;
        let roots = [std::slice::from_ref(&node.tls_roots), &options.more_tls_roots].concat();
        node.write("roots.pem", &roots.concat())?;
        match kind {
            Kind::Orderer => node.write("orderer.yaml", &node.orderer_yaml(organization, options))?,
            Kind::Peer => node.write("core.yaml", &node.core_yaml(organization, options))?,
        }
        if let (Kind::Peer, Some(builder)) = (kind, programs.builder()) {
            // Where the peer's settings say.
            std::os::unix::fs::symlink(builder, node.folder.join("builder")).context("linking the peer's builder")?;
        }
        Ok(node)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.folder.join(name), text).with_context(|| format!("writing {name} of {}", self.name))
    }

    fn orderer_yaml(&self, organization: &Organization, options: &NodeOptions) -> String {
        let folder = self.folder.display();
        format!(
            "General:
  ListenAddress: 127.0.0.1
  ListenPort: {port}
  TLS: {{Enabled: true, PrivateKey: {folder}/tls.key, Certificate: {folder}/tls.crt, RootCAs: [{folder}/roots.pem], \
             ClientAuthRequired: {demand}, ClientRootCAs: [{folder}/roots.pem, {folder}/clients.pem]}}
  Keepalive: {{ServerMinInterval: 60s, ServerInterval: 7200s, ServerTimeout: 20s}}
  Cluster: {{SendBufferSize: 100, ClientCertificate: {folder}/tls.crt, ClientPrivateKey: {folder}/tls.key, \
             RootCAs: [{folder}/roots.pem]}}
  BootstrapMethod: none
  LocalMSPDir: {folder}/msp
  LocalMSPID: {msp}
  BCCSP: {{Default: SW, SW: {{Hash: SHA2, Security: 256}}}}
  Authentication: {{TimeWindow: 15m}}
FileLedger: {{Location: {folder}/data/ledger}}
Operations:
  ListenAddress: {operations}
  TLS: {{Enabled: true, Certificate: {folder}/tls.crt, PrivateKey: {folder}/tls.key, ClientAuthRequired: false, \
             ClientRootCAs: [{folder}/clients.pem]}}
Metrics: {{Provider: prometheus}}
Admin:
  ListenAddress: {admin}
  TLS: {{Enabled: true, Certificate: {folder}/tls.crt, PrivateKey: {folder}/tls.key, ClientAuthRequired: true, \
             ClientRootCAs: [{folder}/clients.pem]}}
ChannelParticipation: {{Enabled: true, MaxRequestBodySize: 1 MB}}
Consensus: {{WALDir: {folder}/data/wal, SnapDir: {folder}/data/snapshots}}
",
            port = self.address.port,
            demand = options.demand_client_certificates,
            msp = organization.msp_id,
            operations = self.operations,
            admin = self.admin,
        )
    }

    fn core_yaml(&self, organization: &Organization, options: &NodeOptions) -> String {
        let folder = self.folder.display();
        format!(
            "peer:
  id: {name}
  networkId: test
  listenAddress: {address}
  address: {address}
  chaincodeListenAddress: {chaincode}
  gateway: {{enabled: true, endorsementTimeout: 30s, broadcastTimeout: 30s, dialTimeout: 30s}}
  gossip: {{bootstrap: '{address}', endpoint: '{address}', externalEndpoint: '{address}', orgLeader: true, \
             useLeaderElection: false, state: {{enabled: false}}}}
  tls: {{enabled: true, clientAuthRequired: {demand}, cert: {{file: {folder}/tls.crt}}, key: {{file: {folder}/tls.key}}, \
             rootcert: {{file: {folder}/roots.pem}}, clientRootCAs: {{files: [{folder}/roots.pem, {folder}/clients.pem]}}, \
             clientKey: {{file: {folder}/tls.key}}, clientCert: {{file: {folder}/tls.crt}}}}
  authentication: {{timewindow: 15m}}
  fileSystemPath: {folder}/data
  BCCSP: {{Default: SW, SW: {{Hash: SHA2, Security: 256}}}}
  mspConfigPath: {folder}/msp
  localMspId: {msp}
  localMspType: bccsp
  client: {{connTimeout: 3s}}
  deliveryclient: {{blockGossipEnabled: false, reconnectTotalTimeThreshold: 3600s, connTimeout: 3s, \
             reConnectBackoffThreshold: 5s, policy: simple}}
  handlers:
    authFilters: [{{name: DefaultAuth}}, {{name: ExpirationCheck}}, {{name: TimeWindowCheck}}]
    decorators: [{{name: DefaultDecorator}}]
    endorsers: {{escc: {{name: DefaultEndorsement}}}}
    validators: {{vscc: {{name: DefaultValidation}}}}
  discovery: {{enabled: true, authCacheEnabled: true, authCacheMaxSize: 1000, authCachePurgeRetentionRatio: 0.75}}
  limits: {{concurrency: {{endorserService: 2500, deliverService: 2500, gatewayService: 500}}}}
vm: {{endpoint: ''}}
chaincode:
  externalBuilders: [{{name: ccaas_builder, path: {folder}/builder, propagateEnvironment: []}}]
  installTimeout: 300s
  startuptimeout: 60s
  executetimeout: 30s
  mode: net
  keepalive: 0
  system: {{_lifecycle: enable, cscc: enable, lscc: enable, qscc: enable}}
  logging: {{level: info, shim: warning}}
ledger:
  state: {{stateDatabase: goleveldb, totalQueryLimit: 100000}}
  history: {{enableHistoryDatabase: true}}
  pvtdataStore: {{collElgProcMaxDbBatchSize: 5000, collElgProcDbBatchesInterval: 1000, \
             deprioritizedDataReconcilerInterval: 60m, purgeInterval: 100}}
  snapshots: {{rootDir: {folder}/data/snapshots}}
operations:
  listenAddress: {operations}
  tls: {{enabled: true, cert: {{file: {folder}/tls.crt}}, key: {{file: {folder}/tls.key}}, clientAuthRequired: false, \
             clientRootCAs: {{files: [{folder}/clients.pem]}}}}
metrics: {{provider: prometheus}}
",
            name = self.name,
            address = self.address,
            chaincode = self.admin,
            demand = options.demand_client_certificates,
            msp = organization.msp_id,
            operations = self.operations,
        )
    }

    /// Starts the process and waits until the node answers. Starting again after [`Node::stop`] keeps its data.
    pub async fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = match (&self.programs, self.kind) {
            (Programs::Real { folder, .. }, Kind::Orderer) => Command::new(folder.join("orderer")),
            (Programs::Real { folder, .. }, Kind::Peer) => {
                let mut command = Command::new(folder.join("peer"));
                command.args(["node", "start"]);
                command
            }
            (Programs::Simulated { program }, kind) => {
                let mut command = Command::new(program);
                match kind {
                    Kind::Orderer => command.arg("orderer"),
                    Kind::Peer => command.args(["peer", "node", "start"]),
                };
                command
            }
        };
        if let Some(faults) = &self.faults {
            command.env("FABRIC_SIM_CONTROL", "1").env("FABRIC_SIM_FAULTS", faults);
        }
        let process = command
            .env("FABRIC_CFG_PATH", &self.folder)
            .env("FABRIC_LOGGING_SPEC", "info")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        self.process = Some(process);
        self.wait_ready().await.with_context(|| format!("log of {}: {}", self.name, self.log_tail()))
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let client = OperationsClient::new(self.operations_endpoint()?);
        let ended = wait_for("a healthy answer", START, || {
            let exited = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            let (client, target) = (client.clone(), self.address.clone());
            // An orderer's participation API opens a moment after the rest; a peer's port for chaincodes is no matter here.
            let admin = (self.kind == Kind::Orderer).then(|| self.admin.clone());
            async move {
                if exited.is_some() {
                    return Ok(exited);
                }
                ensure(client.health().await?.healthy, "healthy")?;
                for target in [Some(target), admin].into_iter().flatten() {
                    tokio::net::TcpStream::connect((target.host.as_str(), target.port)).await?;
                }
                Ok(None)
            }
        })
        .await?;
        match ended {
            Some(status) => bail!("the process ended: {status}"),
            None => Ok(()),
        }
    }

    /// Kills the process, as a crash would, and waits for its end.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_TAIL)..]).into_owned()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log.txt")
    }

    /// gRPC, without a client certificate.
    pub fn endpoint(&self) -> Result<Endpoint> {
        self.endpoint_to(&self.address, None)
    }

    /// gRPC, with a client certificate of the root for clients.
    pub fn mutual_endpoint(&self) -> Result<Endpoint> {
        self.endpoint_to(&self.address, Some(&self.client))
    }

    /// The admin port.
    pub fn admin_endpoint(&self) -> Result<Endpoint> {
        self.endpoint_to(&self.admin, Some(&self.client))
    }

    /// The operations port.
    pub fn operations_endpoint(&self) -> Result<Endpoint> {
        self.endpoint_to(&self.operations, Some(&self.client))
    }

    /// Any of its ports, with the client certificate given.
    pub fn endpoint_to(&self, target: &Target, client: Option<&Issued>) -> Result<Endpoint> {
        let tls = TlsSettings {
            roots_pem: self.tls_roots.clone(),
            client: client.map(|client| (client.cert_pem.clone(), client.key_pem.clone())),
        };
        Ok(Endpoint::new(target.clone(), Arc::new(DirectDialer::default()), &tls, Limits::default())?)
    }
}

/// A loopback port that is free now, each once. It is below those that the system gives to connections: a node that starts
/// again finds its ports as it left them. Another program could still take one, and the node then fails to start.
fn free_port() -> Result<Target> {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let first = u16::try_from(getrandom::u32()? % u32::from(PORTS.1 - PORTS.0))?;
    let next = NEXT.get_or_init(|| AtomicU16::new(first));
    for _ in PORTS.0..PORTS.1 {
        let port = PORTS.0 + next.fetch_add(1, Ordering::SeqCst) % (PORTS.1 - PORTS.0);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(Target::new("127.0.0.1", port));
        }
    }
    bail!("none of the ports {} to {} of 127.0.0.1 is free", PORTS.0, PORTS.1)
}
