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
        })
    }
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
    let field = |item: &Value, name: &str| {
        item.as_mapping()?
            .iter()
            .find(|(key, _)| key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)))
            .and_then(|(_, value)| value.as_str())
            .map(str::to_owned)
    };
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
