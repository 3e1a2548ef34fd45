//! `core.yaml`, whole: variables of the environment cannot set an empty value (`vm.endpoint`), and many keys have no
//! default in the program.
//!
//! Keys and their meaning: `sampleconfig/core.yaml`, `core/peer/config.go`, `gossip/gossip/config.go`.

use serde_json::{Value, json};

use crate::controllers::materials::{CA_CRT, TLS_CRT, TLS_KEY};
use crate::controllers::node::manifests::{CLIENT_ROOTS, MSP_DIR, TLS_DIR};
use crate::controllers::node::{ConfigInput, OPERATIONS_PORT};

/// The builder of chaincode that runs as a service; the peer's image holds it.
const CCAAS_BUILDER: &str = "/opt/hyperledger/ccaas_builder";
const MAX_MESSAGE: u32 = 104_857_600;

/// The variable that the builder reads ([`CCAAS_BUILDER`]).
pub const CCAAS_BUILDER_CONFIG: &str = "CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG";

/// The file for a peer that listens on `port` and `chaincode_port` and keeps its ledgers in `data`.
pub fn core_yaml(input: &ConfigInput<'_>, port: u16, chaincode_port: u16, data: &str) -> String {
    let file = json!({
        "peer": peer(input, port, chaincode_port, data),
        // No container engine in a Pod: empty, or /healthz reports "docker" as failed and installs try it.
        "vm": {"endpoint": ""},
        "chaincode": chaincode(),
        "ledger": ledger(data),
        "operations": {
            "listenAddress": format!("0.0.0.0:{OPERATIONS_PORT}"),
            "tls": {
                "enabled": true,
                "cert": {"file": tls(TLS_CRT)},
                "key": {"file": tls(TLS_KEY)},
                // Metrics and log levels demand a client certificate all the same; /healthz is for the kubelet.
                "clientAuthRequired": false,
                "clientRootCAs": {"files": [tls(CLIENT_ROOTS)]},
            },
        },
        "metrics": {"provider": "prometheus"},
    });
    // JSON is YAML; this cannot fail, and if it did the program would still read it.
    serde_yaml::to_string(&file).unwrap_or_else(|_| file.to_string())
}

fn tls(file: &str) -> String {
    format!("{TLS_DIR}/{file}")
}

/// Whether the version is 3 or newer.
fn is_three(version: &str) -> bool {
    version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 3)
}

fn peer(input: &ConfigInput<'_>, port: u16, chaincode_port: u16, data: &str) -> Value {
    let own = format!("{}.{}.svc:{port}", input.name, input.namespace);
    let mut filters = vec![json!({"name": "DefaultAuth"}), json!({"name": "ExpirationCheck"})];
    // A filter that the program does not know stops it.
    if is_three(&input.spec.version) {
        filters.push(json!({"name": "TimeWindowCheck"}));
    }
    json!({
        "id": format!("{}.{}", input.name, input.spec.domain),
        "networkId": "tenter",
        "listenAddress": format!("0.0.0.0:{port}"),
        "chaincodeListenAddress": format!("0.0.0.0:{chaincode_port}"),
        "chaincodeAddress": format!("{}.{}.svc:{chaincode_port}", input.name, input.namespace),
        "address": own,
        "addressAutoDetect": false,
        "localMspId": input.spec.msp_id,
        "localMspType": "bccsp",
        "mspConfigPath": MSP_DIR,
        "fileSystemPath": data,
        "gateway": {"enabled": true, "endorsementTimeout": "30s", "broadcastTimeout": "30s", "dialTimeout": "2m"},
        "keepalive": {
            "interval": "7200s", "timeout": "20s", "minInterval": "60s",
            "client": {"interval": "60s", "timeout": "20s"},
            "deliveryClient": {"interval": "60s", "timeout": "20s"},
        },
        "gossip": gossip(input, &own),
        "tls": {
            "enabled": true,
            "clientAuthRequired": false,
            "cert": {"file": tls(TLS_CRT)},
            "key": {"file": tls(TLS_KEY)},
            "rootcert": {"file": tls(CA_CRT)},
        },
        "authentication": {"timewindow": "15m"},
        "BCCSP": {"Default": "SW", "SW": {"Hash": "SHA2", "Security": 256}},
        "client": {"connTimeout": "3s"},
        "deliveryclient": {
            // Every peer follows the orderers itself (the default since Fabric 3).
            "blockGossipEnabled": false,
            "reconnectTotalTimeThreshold": "3600s",
            "connTimeout": "3s",
            // The longest pause between two attempts; Fabric's default of an hour outlasts any repair.
            "reConnectBackoffThreshold": "30s",
            "blockCensorshipTimeoutKey": "30s",
            "minimalReconnectInterval": "100ms",
            "policy": "cluster",
        },
        "profile": {"enabled": false},
        "handlers": {
            "authFilters": filters,
            "decorators": [{"name": "DefaultDecorator"}],
            "endorsers": {"escc": {"name": "DefaultEndorsement"}},
            "validators": {"vscc": {"name": "DefaultValidation"}},
        },
        "discovery": {
            "enabled": true,
            "authCacheEnabled": true,
            "authCacheMaxSize": 1000,
            "authCachePurgeRetentionRatio": 0.75,
            "orgMembersAllowedAccess": false,
        },
        "limits": {"concurrency": {"endorserService": 2500, "deliverService": 2500, "gatewayService": 500}},
        "maxRecvMsgSize": MAX_MESSAGE,
        "maxSendMsgSize": MAX_MESSAGE,
    })
}

fn gossip(input: &ConfigInput<'_>, own: &str) -> Value {
    json!({
        "bootstrap": input.bootstrap,
        "endpoint": own,
        "externalEndpoint": input.spec.address,
        "useLeaderElection": false,
        "orgLeader": true,
        "membershipTrackerInterval": "5s",
        "maxBlockCountToStore": 10,
        "maxPropagationBurstLatency": "10ms",
        "maxPropagationBurstSize": 10,
        "propagateIterations": 1,
        "propagatePeerNum": 3,
        "pullInterval": "4s",
        "pullPeerNum": 3,
        "requestStateInfoInterval": "4s",
        "publishStateInfoInterval": "4s",
        "publishCertPeriod": "10s",
        "skipBlockVerification": false,
        "dialTimeout": "3s",
        "connTimeout": "2s",
        "recvBuffSize": 20,
        "sendBuffSize": 200,
        "digestWaitTime": "1s",
        "requestWaitTime": "1500ms",
        "responseWaitTime": "2s",
        "aliveTimeInterval": "5s",
        "aliveExpirationTimeout": "25s",
        "reconnectInterval": "25s",
        "maxConnectionAttempts": 120,
        "msgExpirationFactor": 20,
        "election": {
            "startupGracePeriod": "15s",
            "membershipSampleInterval": "1s",
            "leaderAliveThreshold": "10s",
            "leaderElectionDuration": "5s",
        },
        "pvtData": private_data(),
        "state": {
            "enabled": false, "checkInterval": "10s", "responseTimeout": "3s", "batchSize": 10,
            "blockBufferSize": 20, "maxRetries": 3,
        },
    })
}

fn private_data() -> Value {
    json!({
        "pullRetryThreshold": "60s",
        "transientstoreMaxBlockRetention": 20000,
        "pushAckTimeout": "3s",
        "btlPullMargin": 10,
        "reconcileBatchSize": 10,
        "reconcileSleepInterval": "1m",
        "reconciliationEnabled": true,
        "skipPullingInvalidTransactionsDuringCommit": false,
        "implicitCollectionDisseminationPolicy": {"requiredPeerCount": 0, "maxPeerCount": 1},
    })
}

fn chaincode() -> Value {
    json!({
        "externalBuilders": [{
            "name": "ccaas_builder",
            "path": CCAAS_BUILDER,
            "propagateEnvironment": [CCAAS_BUILDER_CONFIG],
        }],
        "installTimeout": "300s",
        "startuptimeout": "300s",
        "executetimeout": "30s",
        "mode": "net",
        "keepalive": 0,
        "system": {"_lifecycle": "enable", "cscc": "enable", "lscc": "enable", "qscc": "enable"},
        "logging": {"level": "info", "shim": "warning"},
        "runtimeParams": {
            "useWriteBatch": true, "maxSizeWriteBatch": 1000, "useGetMultipleKeys": true, "maxSizeGetMultipleKeys": 1000,
        },
    })
}

fn ledger(data: &str) -> Value {
    json!({
        "state": {"stateDatabase": "goleveldb", "totalQueryLimit": 100_000},
        "history": {"enableHistoryDatabase": true},
        "pvtdataStore": {
            "collElgProcMaxDbBatchSize": 5000,
            "collElgProcDbBatchesInterval": 1000,
            "deprioritizedDataReconcilerInterval": "60m",
            "purgeInterval": 100,
            "purgedKeyAuditLogging": true,
        },
        "snapshots": {"rootDir": format!("{data}/snapshots")},
    })
}
