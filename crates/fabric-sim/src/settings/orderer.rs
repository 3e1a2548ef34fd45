//! `orderer.yaml` (Fabric `orderer/common/localconfig/config.go`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{SettingsError, Source, TlsFiles};

/// An orderer's settings, paths absolute.
#[derive(Debug, Clone)]
pub struct OrdererSettings {
    /// Host and port of the gRPC listener.
    pub listen: String,
    /// TLS of the gRPC listener.
    pub tls: TlsFiles,
    /// Cluster client certificate and key; the general ones when absent.
    pub cluster_client: Option<(PathBuf, PathBuf)>,
    /// A cluster listener of its own: address, certificate, key, client roots.
    pub cluster_listener: Option<ClusterListener>,
    /// The node's MSP ID.
    pub msp_id: String,
    /// The node's MSP folder.
    pub msp_dir: PathBuf,
    /// How far a Deliver envelope's time may be off.
    pub time_window: Duration,
    /// Whether expired clients are let through.
    pub no_expiration_checks: bool,
    /// Largest message in bytes, in and out.
    pub max_message: usize,
    /// Where blocks are kept.
    pub ledger: PathBuf,
    /// Where the consensus log is kept.
    pub wal: PathBuf,
    /// Where consensus snapshots would be kept.
    pub snapshots: PathBuf,
    /// The admin listener.
    pub admin_listen: String,
    /// Its TLS.
    pub admin_tls: TlsFiles,
    /// Largest join request in bytes.
    pub max_join: usize,
    /// The operations listener.
    pub operations_listen: String,
    /// Its TLS.
    pub operations_tls: TlsFiles,
    /// Whether /metrics answers.
    pub prometheus: bool,
}

/// The separate listener for other orderers.
#[derive(Debug, Clone)]
pub struct ClusterListener {
    /// Host and port.
    pub listen: String,
    /// PEM certificate.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

const KNOWN: &[&str] = &[
    "General.ListenAddress",
    "General.ListenPort",
    "General.TLS.Enabled",
    "General.TLS.PrivateKey",
    "General.TLS.Certificate",
    "General.TLS.RootCAs",
    "General.TLS.ClientAuthRequired",
    "General.TLS.ClientRootCAs",
    "General.TLS.TLSHandshakeTimeShift",
    "General.Cluster.ListenAddress",
    "General.Cluster.ListenPort",
    "General.Cluster.ServerCertificate",
    "General.Cluster.ServerPrivateKey",
    "General.Cluster.ClientCertificate",
    "General.Cluster.ClientPrivateKey",
    "General.Cluster.RootCAs",
    "General.Cluster.DialTimeout",
    "General.Cluster.RPCTimeout",
    "General.Cluster.ReplicationBufferSize",
    "General.Cluster.ReplicationPullTimeout",
    "General.Cluster.ReplicationRetryTimeout",
    "General.Cluster.ReplicationBackgroundRefreshInterval",
    "General.Cluster.ReplicationMaxRetries",
    "General.Cluster.SendBufferSize",
    "General.Cluster.CertExpirationWarningThreshold",
    "General.Cluster.TLSHandshakeTimeShift",
    "General.Cluster.ReplicationPolicy",
    "General.Keepalive.ServerMinInterval",
    "General.Keepalive.ServerInterval",
    "General.Keepalive.ServerTimeout",
    "General.Backoff.BaseDelay",
    "General.Backoff.Multiplier",
    "General.Backoff.MaxDelay",
    "General.ConnectionTimeout",
    "General.GenesisMethod",
    "General.GenesisFile",
    "General.BootstrapMethod",
    "General.BootstrapFile",
    "General.Profile.Enabled",
    "General.Profile.Address",
    "General.LocalMSPDir",
    "General.LocalMSPID",
    "General.BCCSP.*",
    "General.Authentication.TimeWindow",
    "General.Authentication.NoExpirationChecks",
    "General.MaxRecvMsgSize",
    "General.MaxSendMsgSize",
    "General.Throttling.Rate",
    "General.Throttling.InactivityTimeout",
    "FileLedger.Location",
    "FileLedger.Prefix",
    "Debug.BroadcastTraceDir",
    "Debug.DeliverTraceDir",
    "Consensus.*",
    "Operations.ListenAddress",
    "Operations.TLS.*",
    "Metrics.Provider",
    "Metrics.Statsd.Network",
    "Metrics.Statsd.Address",
    "Metrics.Statsd.WriteInterval",
    "Metrics.Statsd.Prefix",
    "ChannelParticipation.Enabled",
    "ChannelParticipation.MaxRequestBodySize",
    "Admin.ListenAddress",
    "Admin.TLS.*",
];

impl OrdererSettings {
    /// Reads `orderer.yaml` and `ORDERER_*`.
    pub fn load(environment: BTreeMap<String, String>) -> Result<Self, SettingsError> {
        Self::from_source(&Source::load("orderer", "ORDERER", environment)?)
    }

    fn from_source(source: &Source) -> Result<Self, SettingsError> {
        source.refuse_unknown("orderer", KNOWN)?;
        check_bootstrap(source)?;
        let tls = tls_files(source, "General.TLS")?;
        let admin_tls = tls_files(source, "Admin.TLS")?;
        if admin_tls.enabled && !admin_tls.client_auth_required {
            return Err(SettingsError::Inconsistent(
                "Admin.TLS.ClientAuthRequired must be set to true if Admin.TLS.Enabled is set to true".to_owned(),
            ));
        }
        let host = source.text_or("General.ListenAddress", "127.0.0.1")?;
        let port = source.port("General.ListenPort")?.filter(|port| *port != 0).unwrap_or(7050);
        let cluster_listener = cluster_listener(source, &tls)?;
        let production = PathBuf::from("/var/hyperledger/production/orderer");
        Ok(Self {
            listen: format!("{host}:{port}"),
            cluster_client: source
                .path("General.Cluster.ClientCertificate")?
                .zip(source.path("General.Cluster.ClientPrivateKey")?),
            cluster_listener,
            tls,
            msp_id: source.text_or("General.LocalMSPID", "SampleOrg")?,
            msp_dir: source.folder().join(source.text_or("General.LocalMSPDir", "msp")?),
            time_window: source.duration("General.Authentication.TimeWindow", Duration::from_mins(15))?,
            no_expiration_checks: source.flag("General.Authentication.NoExpirationChecks", false)?,
            max_message: source.bytes("General.MaxRecvMsgSize", 100 << 20)?,
            ledger: source.path("FileLedger.Location")?.unwrap_or_else(|| production.clone()),
            wal: consensus_dir(source, "Consensus.WALDir", &production.join("etcdraft/wal"))?,
            snapshots: consensus_dir(source, "Consensus.SnapDir", &production.join("etcdraft/snapshot"))?,
            admin_listen: source.text_or("Admin.ListenAddress", "127.0.0.1:0")?,
            admin_tls,
            max_join: source.bytes("ChannelParticipation.MaxRequestBodySize", 1 << 20)?,
            operations_listen: source.text_or("Operations.ListenAddress", "127.0.0.1:0")?,
            operations_tls: tls_files(source, "Operations.TLS")?,
            prometheus: source.text_or("Metrics.Provider", "disabled")? == "prometheus",
        })
    }
}

fn check_bootstrap(source: &Source) -> Result<(), SettingsError> {
    match source.text_or("General.BootstrapMethod", "none")?.as_str() {
        "none" => Ok(()),
        "file" => Err(SettingsError::Inconsistent(
            "Bootstrap method: 'file' is forbidden, since system channel is no longer supported".to_owned(),
        )),
        other => Err(SettingsError::Inconsistent(format!("Unknown bootstrap method: {other}"))),
    }
}

/// Consensus folders are taken as they are written: Fabric does not translate them.
fn consensus_dir(source: &Source, key: &str, default: &std::path::Path) -> Result<PathBuf, SettingsError> {
    Ok(source.text(key)?.map_or_else(|| default.to_path_buf(), PathBuf::from))
}

fn tls_files(source: &Source, at: &str) -> Result<TlsFiles, SettingsError> {
    Ok(TlsFiles {
        enabled: source.flag(&format!("{at}.Enabled"), false)?,
        certificate: source.path(&format!("{at}.Certificate"))?,
        key: source.path(&format!("{at}.PrivateKey"))?,
        client_auth_required: source.flag(&format!("{at}.ClientAuthRequired"), false)?,
        client_roots: source.paths(&format!("{at}.ClientRootCAs"))?,
    })
}

fn cluster_listener(source: &Source, tls: &TlsFiles) -> Result<Option<ClusterListener>, SettingsError> {
    let port = source.port("General.Cluster.ListenPort")?.filter(|port| *port != 0);
    let address = source.text("General.Cluster.ListenAddress")?;
    let certificate = source.path("General.Cluster.ServerCertificate")?;
    let key = source.path("General.Cluster.ServerPrivateKey")?;
    match (port, address, certificate, key) {
        (None, None, None, None) if tls.enabled => Ok(None),
        (None, None, None, None) => {
            Err(SettingsError::Inconsistent("TLS is required for running ordering nodes of cluster type.".to_owned()))
        }
        (Some(port), Some(address), Some(certificate), Some(key)) => {
            Ok(Some(ClusterListener { listen: format!("{address}:{port}"), certificate, key }))
        }
        _ => Err(SettingsError::Inconsistent(
            "Options: General.Cluster.ListenPort, General.Cluster.ListenAddress, General.Cluster.ServerCertificate, \
             General.Cluster.ServerPrivateKey, should be defined altogether."
                .to_owned(),
        )),
    }
}
