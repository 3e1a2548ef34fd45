//! `orderer.yaml`, whole: variables of the environment cannot set an empty value, and a file shows all there is.
//!
//! Keys and their meaning: `orderer/common/localconfig/config.go`. The file is read strictly, so it holds only keys
//! that Fabric 2.5 and 3 both know.

use serde_json::json;

use crate::controllers::materials::{CA_CRT, TLS_CRT, TLS_KEY};
use crate::controllers::node::manifests::{CLIENT_ROOTS, MSP_DIR, TLS_DIR};
use crate::controllers::node::{ConfigInput, OPERATIONS_PORT};

/// Port of the channel participation API.
pub const ADMIN_PORT: u16 = 7053;
/// Largest genesis or config block that a join may carry; Fabric's own limit of 1 MiB is too small for many members.
const MAX_JOIN_BYTES: u32 = 32 * 1024 * 1024;

/// The file for an orderer that listens on `port` and keeps its ledgers in `data`.
pub fn orderer_yaml(input: &ConfigInput<'_>, port: u16, data: &str) -> String {
    let tls = |file: &str| format!("{TLS_DIR}/{file}");
    let file = json!({
        "General": {
            "ListenAddress": "0.0.0.0",
            "ListenPort": port,
            "BootstrapMethod": "none",
            "LocalMSPID": input.spec.msp_id,
            "LocalMSPDir": MSP_DIR,
            "TLS": {
                "Enabled": true,
                "Certificate": tls(TLS_CRT),
                "PrivateKey": tls(TLS_KEY),
                "RootCAs": [tls(CA_CRT)],
                "ClientAuthRequired": false,
                "ClientRootCAs": [],
            },
            "Keepalive": {"ServerMinInterval": "60s", "ServerInterval": "7200s", "ServerTimeout": "20s"},
            "MaxRecvMsgSize": 104_857_600,
            "MaxSendMsgSize": 104_857_600,
            "Cluster": {
                "ClientCertificate": tls(TLS_CRT),
                "ClientPrivateKey": tls(TLS_KEY),
                "SendBufferSize": 100,
            },
            "Profile": {"Enabled": false},
            "BCCSP": {"Default": "SW", "SW": {"Hash": "SHA2", "Security": 256}},
            "Authentication": {"TimeWindow": "15m"},
        },
        "FileLedger": {"Location": data},
        "Operations": {
            "ListenAddress": format!("0.0.0.0:{OPERATIONS_PORT}"),
            "TLS": {
                "Enabled": true,
                "Certificate": tls(TLS_CRT),
                "PrivateKey": tls(TLS_KEY),
                // Metrics and log levels demand a client certificate all the same; /healthz is for the kubelet.
                "ClientAuthRequired": false,
                "ClientRootCAs": [tls(CLIENT_ROOTS)],
            },
        },
        "Metrics": {"Provider": "prometheus"},
        "Admin": {
            "ListenAddress": format!("0.0.0.0:{ADMIN_PORT}"),
            "TLS": {
                "Enabled": true,
                "Certificate": tls(TLS_CRT),
                "PrivateKey": tls(TLS_KEY),
                "ClientAuthRequired": true,
                "ClientRootCAs": [tls(CLIENT_ROOTS)],
            },
        },
        "ChannelParticipation": {"Enabled": true, "MaxRequestBodySize": MAX_JOIN_BYTES},
        "Consensus": {
            "WALDir": format!("{data}/etcdraft/wal"),
            "SnapDir": format!("{data}/etcdraft/snapshot"),
        },
    });
    // JSON is YAML; this cannot fail, and if it did the program would still read it.
    serde_yaml::to_string(&file).unwrap_or_else(|_| file.to_string())
}
