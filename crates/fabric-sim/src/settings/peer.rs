//! `core.yaml` (Fabric `core/peer/config.go` and `internal/peer/node/start.go`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_yaml::Value;

use super::{SettingsError, Source, TlsFiles};

/// A peer's settings, paths absolute.
#[derive(Debug, Clone)]
pub struct PeerSettings {
    /// The peer's name.
    pub id: String,
    /// Host and port of the gRPC listener.
    pub listen: String,
    /// The peer's MSP ID.
    pub msp_id: String,
    /// The peer's MSP folder.
    pub msp_dir: PathBuf,
    /// TLS of the gRPC listener.
    pub tls: TlsFiles,
    /// Certificate and key shown to orderers when they ask.
    pub client: Option<(PathBuf, PathBuf)>,
    /// How far a request's time may be off.
    pub time_window: Duration,
    /// Largest message in bytes.
    pub max_message: usize,
    /// Where the ledgers are kept.
    pub data: PathBuf,
    /// Orderer addresses to replace.
    pub overrides: Vec<AddressOverride>,
    /// The operations listener.
    pub operations_listen: String,
    /// Its TLS.
    pub operations_tls: TlsFiles,
    /// Whether /metrics answers.
    pub prometheus: bool,
    /// The address that other peers may use, empty when there is none.
    pub external_endpoint: String,
    /// Peers of the own organisation: `peer.gossip.bootstrap`.
    pub bootstrap: Vec<String>,
    /// The Gateway.
    pub gateway: GatewaySettings,
    /// Chaincode.
    pub chaincode: ChaincodeSettings,
}

/// `peer.gateway`.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Whether it is served.
    pub enabled: bool,
    /// How long one peer may take to endorse.
    pub endorsement_timeout: Duration,
    /// How long one orderer may take to answer.
    pub broadcast_timeout: Duration,
    /// How long a connection may take to be made.
    pub dial_timeout: Duration,
}

/// `chaincode`, and what of the ledger's settings concerns it.
#[derive(Debug, Clone)]
pub struct ChaincodeSettings {
    /// The external builders in their order.
    pub builders: Vec<Builder>,
    /// Whether `vm.endpoint` is set.
    pub docker: bool,
    /// How long a service may take until it is ready.
    pub startup_timeout: Duration,
    /// How long a call may take.
    pub execute_timeout: Duration,
    /// `chaincode.runtimeParams`.
    pub batches: Batches,
    /// How many results a query without pages has at most.
    pub total_query_limit: usize,
}

/// What chaincodes may ask for several at once.
#[derive(Debug, Clone, Copy)]
pub struct Batches {
    /// Whether writes may come in batches.
    pub write: bool,
    /// How many at most.
    pub max_write: u32,
    /// Whether keys may be read in batches.
    pub get: bool,
    /// How many at most.
    pub max_get: u32,
}

/// One of `chaincode.externalBuilders`.
#[derive(Debug, Clone)]
pub struct Builder {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub path: String,
    /// Variables that its programs see.
    pub propagate: Vec<String>,
}

impl Builder {
    /// Whether this is Fabric's builder for chaincode as a service.
    pub fn is_ccaas(&self) -> bool {
        let folder = self.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        [self.name.as_str(), folder].contains(&"ccaas_builder")
    }
}

/// One entry of `peer.deliveryclient.addressOverrides`.
#[derive(Debug, Clone)]
pub struct AddressOverride {
    /// The address in the channel's configuration.
    pub from: String,
    /// The address to dial instead.
    pub to: String,
    /// Roots to trust there.
    pub ca: Option<PathBuf>,
}

impl PeerSettings {
    /// Reads `core.yaml` and `CORE_*`.
    pub fn load(environment: BTreeMap<String, String>) -> Result<Self, SettingsError> {
        Self::from_source(&Source::load("core", "CORE", environment)?)
    }

    fn from_source(source: &Source) -> Result<Self, SettingsError> {
        check_chaincode(source)?;
        let listen = source
            .text("peer.listenAddress")?
            .ok_or_else(|| SettingsError::Inconsistent("peer.listenAddress is not set in core.yaml".to_owned()))?;
        let address = source
            .text("peer.address")?
            .ok_or_else(|| SettingsError::Inconsistent("peer.address isn't set".to_owned()))?;
        if !address.contains(':') {
            return Err(SettingsError::Inconsistent(format!("peer.address isn't in host:port format: {address}")));
        }
        let data = source
            .path("peer.fileSystemPath")?
            .ok_or_else(|| SettingsError::Inconsistent("peer.fileSystemPath is not set in core.yaml".to_owned()))?;
        Ok(Self {
            id: source.text_or("peer.id", "peer")?,
            listen,
            msp_id: source.text_or("peer.localMspId", "SampleOrg")?,
            msp_dir: source.path("peer.mspConfigPath")?.unwrap_or_else(|| source.folder().join("msp")),
            tls: TlsFiles {
                enabled: source.flag("peer.tls.enabled", false)?,
                certificate: source.path("peer.tls.cert.file")?,
                key: source.path("peer.tls.key.file")?,
                client_auth_required: source.flag("peer.tls.clientAuthRequired", false)?,
                client_roots: source.paths("peer.tls.clientRootCAs.files")?,
            },
            client: source.path("peer.tls.clientCert.file")?.zip(source.path("peer.tls.clientKey.file")?),
            time_window: source.duration("peer.authentication.timewindow", Duration::from_mins(15))?,
            max_message: source.bytes("peer.maxRecvMsgSize", 100 << 20)?,
            data,
            overrides: overrides(source),
            operations_listen: source.text_or("operations.listenAddress", "127.0.0.1:0")?,
            operations_tls: TlsFiles {
                enabled: source.flag("operations.tls.enabled", false)?,
                certificate: source.path("operations.tls.cert.file")?,
                key: source.path("operations.tls.key.file")?,
                client_auth_required: source.flag("operations.tls.clientAuthRequired", false)?,
                client_roots: source.paths("operations.tls.clientRootCAs.files")?,
            },
            prometheus: source.text_or("metrics.provider", "disabled")? == "prometheus",
            external_endpoint: source.text_or("peer.gossip.externalEndpoint", "")?,
            bootstrap: source.list("peer.gossip.bootstrap")?,
            gateway: GatewaySettings {
                // A peer without discovery has no Gateway either; Fabric says so in its log alone.
                enabled: source.flag("peer.gateway.enabled", true)? && source.flag("peer.discovery.enabled", false)?,
                endorsement_timeout: source.duration("peer.gateway.endorsementTimeout", Duration::from_secs(30))?,
                broadcast_timeout: source.duration("peer.gateway.broadcastTimeout", Duration::from_secs(30))?,
                dial_timeout: source.duration("peer.gateway.dialTimeout", Duration::from_mins(2))?,
            },
            chaincode: chaincode(source)?,
        })
    }
}

fn chaincode(source: &Source) -> Result<ChaincodeSettings, SettingsError> {
    // Fabric takes 1000 for a batch of no size.
    let size = |key: &str| {
        Ok::<u32, SettingsError>(match source.bytes(key, 1000)? {
            0 => 1000,
            count => u32::try_from(count).unwrap_or(u32::MAX),
        })
    };
    Ok(ChaincodeSettings {
        builders: builders(source),
        docker: source.text("vm.endpoint")?.is_some(),
        startup_timeout: source
            .duration("chaincode.startuptimeout", Duration::from_secs(5))?
            .max(Duration::from_secs(5)),
        execute_timeout: Some(source.duration("chaincode.executetimeout", Duration::ZERO)?)
            .filter(|timeout| *timeout >= Duration::from_secs(1))
            .unwrap_or(Duration::from_secs(30)),
        batches: Batches {
            write: source.flag("chaincode.runtimeParams.useWriteBatch", false)?,
            max_write: size("chaincode.runtimeParams.maxSizeWriteBatch")?,
            get: source.flag("chaincode.runtimeParams.useGetMultipleKeys", false)?,
            max_get: size("chaincode.runtimeParams.maxSizeGetMultipleKeys")?,
        },
        total_query_limit: source.bytes("ledger.state.totalQueryLimit", 10_000)?,
    })
}

fn builders(source: &Source) -> Vec<Builder> {
    let Some(items) = source.node("chaincode.externalBuilders").and_then(Value::as_sequence) else {
        return Vec::new();
    };
    let text =
        |item: &Value, name: &str| field(item, name).and_then(Value::as_str).map(str::to_owned).unwrap_or_default();
    items
        .iter()
        .map(|item| Builder {
            name: text(item, "name"),
            path: text(item, "path"),
            propagate: ["propagateEnvironment", "environmentWhitelist"]
                .into_iter()
                .filter_map(|key| field(item, key).and_then(Value::as_sequence))
                .flatten()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
        })
        .collect()
}

fn field<'a>(item: &'a Value, name: &str) -> Option<&'a Value> {
    item.as_mapping()?
        .iter()
        .find(|(key, _)| key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)))
        .map(|(_, value)| value)
}

/// A peer needs a way to build chaincode, or it does not start.
fn check_chaincode(source: &Source) -> Result<(), SettingsError> {
    let builders = source.node("chaincode.externalBuilders").and_then(Value::as_sequence).map_or(0, Vec::len);
    if builders == 0 && source.text("vm.endpoint")?.is_none() {
        return Err(SettingsError::Inconsistent("VMEndpoint not set and no ExternalBuilders defined".to_owned()));
    }
    Ok(())
}

fn overrides(source: &Source) -> Vec<AddressOverride> {
    let Some(items) = source.node("peer.deliveryclient.addressOverrides").and_then(Value::as_sequence) else {
        return Vec::new();
    };
    let field = |item: &Value, name: &str| field(item, name).and_then(Value::as_str).map(str::to_owned);
    items
        .iter()
        .filter_map(|item| {
            Some(AddressOverride {
                from: field(item, "from")?,
                to: field(item, "to")?,
                ca: field(item, "caCertsFile").map(|file| source.folder().join(file)),
            })
        })
        .collect()
}
