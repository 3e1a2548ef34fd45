//! Reads a configtx.yaml into a [`ChannelConfig`], as configtxgen would; only for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_yaml::Value;
use tenter_fabric::config::{
    Anchor, ApplicationOrganization, Batch, BftConsenter, BftOptions, ChannelConfig, Consensus, OrdererOrganization,
    RaftConsenter, RaftOptions,
};
use tenter_fabric::msp::{MspDefinition, Pem};
use tenter_fabric::policy::Policy;

use crate::{read, root};

/// The configuration of the only profile in a file.
pub fn channel_config(path: &Path) -> ChannelConfig {
    let file: Value = serde_yaml::from_slice(&read(path)).unwrap();
    let (_, profile) = file["Profiles"].as_mapping().unwrap().iter().next().unwrap();
    let orderer = &profile["Orderer"];
    let mut config = ChannelConfig::new(consensus(orderer));
    config.capabilities = capabilities(&profile["Capabilities"]);
    config.policies = policies(&profile["Policies"]);
    config.orderer.capabilities = capabilities(&orderer["Capabilities"]);
    config.orderer.max_channels = orderer["MaxChannels"].as_u64();
    config.orderer.batch = Batch {
        max_message_count: number(&orderer["BatchSize"]["MaxMessageCount"]),
        absolute_max_bytes: size(&orderer["BatchSize"]["AbsoluteMaxBytes"]),
        preferred_max_bytes: size(&orderer["BatchSize"]["PreferredMaxBytes"]),
        timeout: text(&orderer["BatchTimeout"]),
    };
    config.orderer.policies = policies(&orderer["Policies"]);
    config.orderer.set_block_validation();
    config.orderer.organizations = list(&orderer["Organizations"])
        .map(|organization| {
            let value = OrdererOrganization {
                msp: msp(organization),
                endpoints: list(&organization["OrdererEndpoints"]).map(text).collect(),
                policies: policies(&organization["Policies"]),
            };
            (text(&organization["Name"]), value)
        })
        .collect();
    let application = &profile["Application"];
    config.application.capabilities = capabilities(&application["Capabilities"]);
    config.application.policies = policies(&application["Policies"]);
    config.application.acls = entries(&application["ACLs"]).map(|(name, value)| (name, text(value))).collect();
    config.application.organizations = list(&application["Organizations"])
        .map(|organization| {
            let anchor = |peer: &Value| Anchor { host: text(&peer["Host"]), port: number(&peer["Port"]) };
            let value = ApplicationOrganization {
                msp: msp(organization),
                anchors: list(&organization["AnchorPeers"]).map(anchor).collect(),
                policies: policies(&organization["Policies"]),
            };
            (text(&organization["Name"]), value)
        })
        .collect();
    config
}

fn consensus(orderer: &Value) -> Consensus {
    if orderer["OrdererType"] == "etcdraft" {
        let raft = &orderer["EtcdRaft"];
        let consenters = list(&raft["Consenters"]).map(|consenter| RaftConsenter {
            host: text(&consenter["Host"]),
            port: number(&consenter["Port"]),
            client_tls_cert: pem(&consenter["ClientTLSCert"]),
            server_tls_cert: pem(&consenter["ServerTLSCert"]),
        });
        let options = RaftOptions {
            tick_interval: text(&raft["Options"]["TickInterval"]),
            election_tick: number(&raft["Options"]["ElectionTick"]),
            heartbeat_tick: number(&raft["Options"]["HeartbeatTick"]),
            max_inflight_blocks: number(&raft["Options"]["MaxInflightBlocks"]),
            snapshot_interval_size: size(&raft["Options"]["SnapshotIntervalSize"]),
        };
        return Consensus::EtcdRaft { consenters: consenters.collect(), options };
    }
    assert_eq!(orderer["OrdererType"], "BFT");
    let consenters = list(&orderer["ConsenterMapping"]).map(|consenter| BftConsenter {
        id: number(&consenter["ID"]),
        host: text(&consenter["Host"]),
        port: number(&consenter["Port"]),
        msp_id: text(&consenter["MSPID"]),
        identity: pem(&consenter["Identity"]),
        client_tls_cert: pem(&consenter["ClientTLSCert"]),
        server_tls_cert: pem(&consenter["ServerTLSCert"]),
    });
    let bft = &orderer["SmartBFT"];
    let options = BftOptions {
        request_batch_max_interval: text(&bft["RequestBatchMaxInterval"]),
        request_forward_timeout: text(&bft["RequestForwardTimeout"]),
        request_complain_timeout: text(&bft["RequestComplainTimeout"]),
        request_auto_remove_timeout: text(&bft["RequestAutoRemoveTimeout"]),
        view_change_resend_interval: text(&bft["ViewChangeResendInterval"]),
        view_change_timeout: text(&bft["ViewChangeTimeout"]),
        leader_heartbeat_timeout: text(&bft["LeaderHeartbeatTimeout"]),
        collect_timeout: text(&bft["CollectTimeout"]),
        incoming_message_buffer_size: number(&bft["IncomingMessageBufferSize"]),
        request_pool_size: number(&bft["RequestPoolSize"]),
        leader_heartbeat_count: number(&bft["LeaderHeartbeatCount"]),
        ..BftOptions::default()
    };
    Consensus::Bft { consenters: consenters.collect(), options }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_sequence().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (String, &Value)> {
    value.as_mapping().into_iter().flatten().map(|(key, value)| (text(key), value))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn number<N: TryFrom<u64>>(value: &Value) -> N {
    N::try_from(value.as_u64().unwrap()).ok().unwrap()
}

/// Sizes such as `10 MB`, which means 10 MiB.
fn size(value: &Value) -> u32 {
    let text = text(value);
    text.strip_suffix(" MB").unwrap().parse::<u32>().unwrap() << 20
}

fn capabilities(value: &Value) -> BTreeSet<String> {
    entries(value).filter(|(_, on)| on.as_bool() == Some(true)).map(|(name, _)| name).collect()
}

fn policies(value: &Value) -> BTreeMap<String, Policy> {
    let policy = |policy: &Value| {
        let rule = text(&policy["Rule"]);
        match policy["Type"].as_str().unwrap() {
            "Signature" => Policy::Signature(rule.parse().unwrap()),
            "ImplicitMeta" => Policy::ImplicitMeta(rule.parse().unwrap()),
            other => panic!("policy type {other}"),
        }
    };
    entries(value).map(|(name, value)| (name, policy(value))).collect()
}

fn msp(organization: &Value) -> MspDefinition {
    let directory = text(&organization["MSPDir"]);
    let domain = directory.strip_suffix("/msp").unwrap().rsplit('/').next().unwrap();
    let folder = root().join("msp").join(domain.split('.').next().unwrap());
    MspDefinition::from_files(text(&organization["ID"]), &crate::msp::files(&folder)).unwrap()
}

/// Finds the vector's copy of a file of an orderer's crypto folder.
fn pem(value: &Value) -> Pem {
    let path = text(value);
    let node = path.split('/').find(|part| part.starts_with("orderer") && part.contains('.')).unwrap();
    let file = if path.contains("/tls/") { "tls.crt" } else { "identity.crt" };
    let copy: PathBuf = root().join("orderers").join(node.split('.').next().unwrap()).join(file);
    Pem::new(read(copy))
}
