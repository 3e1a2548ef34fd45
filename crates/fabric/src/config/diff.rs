//! What differs between two configurations, in words.

use std::collections::BTreeMap;

use serde::Serialize;
use tenter_fabric_wire::common;

use super::{
    APPLICATION, BftConsenter, BftOptions, CHANNEL, ChannelConfig, Consensus, ConsensusState, Element, LeaderRotation,
    ORDERER, RaftConsenter, RaftOptions,
};
use crate::hash::sha256_hex;
use crate::msp::{MspDefinition, OuIdentifier, Pem};
use crate::policy::defaults::Policies;

/// A difference between two configurations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ConfigChange {
    /// Where: the path of an element, or of a part of one, such as `/Channel/Orderer/BatchSize/max_message_count`.
    pub path: String,
    /// What is there in the first configuration, in words; certificates as subject, fingerprint and end of validity.
    pub from: Option<String>,
    /// What is there in the second configuration.
    pub to: Option<String>,
}

/// What differs between the `live` and the `wanted` configuration, sorted by path.
///
/// Versions and sequence do not count: the wanted configuration has none. The result is empty exactly when the two are
/// otherwise equal.
pub fn diff(live: &ChannelConfig, wanted: &ChannelConfig) -> Vec<ConfigChange> {
    if same_content(live, wanted) {
        return Vec::new();
    }
    let mut changes = compare(&Lines::of(live, wanted), &Lines::of(wanted, live));
    if changes.is_empty() {
        // The words are the same. If the bytes of an element are not, that is a difference all the same.
        changes = compare(&elements(live), &elements(wanted));
    }
    changes
}

/// Whether two configurations are equal in all but versions and sequence.
fn same_content(one: &ChannelConfig, two: &ChannelConfig) -> bool {
    // Every field is named, so that a new one cannot be forgotten here.
    let ChannelConfig {
        capabilities,
        hashing_algorithm,
        block_data_hashing_width,
        orderer_addresses,
        consortium,
        policies,
        orderer,
        application,
        other_values,
        mod_policies,
        versions: _,
        sequence: _,
    } = one;
    *capabilities == two.capabilities
        && *hashing_algorithm == two.hashing_algorithm
        && *block_data_hashing_width == two.block_data_hashing_width
        && *orderer_addresses == two.orderer_addresses
        && *consortium == two.consortium
        && *policies == two.policies
        && *orderer == two.orderer
        && *application == two.application
        && *other_values == two.other_values
        && *mod_policies == two.mod_policies
}

fn compare(from: &BTreeMap<String, String>, to: &BTreeMap<String, String>) -> Vec<ConfigChange> {
    let paths: std::collections::BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    paths
        .into_iter()
        .filter(|path| from.get(*path) != to.get(*path))
        .map(|path| ConfigChange { path: path.clone(), from: from.get(path).cloned(), to: to.get(path).cloned() })
        .collect()
}

/// A hash for the bytes of each element of the tree.
fn elements(config: &ChannelConfig) -> BTreeMap<String, String> {
    fn walk(path: &str, group: &common::ConfigGroup, out: &mut BTreeMap<String, String>) {
        let encoded = |bytes: &[u8]| format!("encoded as sha256:{}", sha256_hex(bytes));
        for (name, value) in &group.values {
            out.insert(Element::Value.at(&format!("{path}/{name}")), encoded(&value.value));
        }
        for (name, policy) in &group.policies {
            let bytes = policy.policy.as_ref().map(prost::Message::encode_to_vec).unwrap_or_default();
            out.insert(Element::Policy.at(&format!("{path}/{name}")), encoded(&bytes));
        }
        for (name, child) in &group.groups {
            walk(&format!("{path}/{name}"), child, out);
        }
    }
    let mut out = BTreeMap::new();
    walk(CHANNEL, &config.to_config_group(), &mut out);
    out
}

/// A configuration as lines of path and words.
struct Lines(BTreeMap<String, String>);

impl Lines {
    /// The lines of a configuration, without the organisations that are the same in the `other` one.
    fn of(config: &ChannelConfig, other: &ChannelConfig) -> BTreeMap<String, String> {
        // Every field is named, so that a new one cannot be forgotten here.
        let ChannelConfig {
            capabilities,
            hashing_algorithm,
            block_data_hashing_width,
            orderer_addresses,
            consortium,
            policies,
            orderer: _,
            application: _,
            other_values,
            mod_policies,
            versions: _,
            sequence: _,
        } = config;
        let mut lines = Self(BTreeMap::new());
        lines.put(CHANNEL, "HashingAlgorithm", hashing_algorithm);
        lines.put(CHANNEL, "BlockDataHashingStructure", block_data_hashing_width);
        lines.list(CHANNEL, "Capabilities", capabilities);
        lines.list(CHANNEL, "OrdererAddresses", orderer_addresses);
        if let Some(name) = consortium {
            lines.put(CHANNEL, "Consortium", name);
        }
        lines.policies(CHANNEL, policies);
        lines.orderer(config, other);
        lines.application(config, other);
        for (element, bytes) in other_values {
            lines.0.insert(element.clone(), format!("{} bytes (sha256:{})", bytes.len(), sha256_hex(bytes)));
        }
        for (element, mod_policy) in mod_policies {
            lines.put(element, "mod_policy", mod_policy);
        }
        lines.0
    }

    /// A line; if there is one already at this path, a number is added to it.
    fn put(&mut self, path: &str, name: &str, words: &dyn std::fmt::Display) {
        let path = format!("{path}/{name}");
        let mut unique = path.clone();
        let mut number = 2;
        while self.0.contains_key(&unique) {
            unique = format!("{path}#{number}");
            number += 1;
        }
        self.0.insert(unique, words.to_string());
    }

    /// A line for a list, unless it is empty.
    fn list<T: ToString>(&mut self, path: &str, name: &str, items: impl IntoIterator<Item = T>) {
        let words: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
        if !words.is_empty() {
            self.put(path, name, &words.join(", "));
        }
    }

    fn policies(&mut self, path: &str, policies: &Policies) {
        for (name, policy) in policies {
            self.put(&format!("{path}/policies"), name, policy);
        }
    }

    fn orderer(&mut self, config: &ChannelConfig, other: &ChannelConfig) {
        let orderer = &config.orderer;
        self.list(ORDERER, "Capabilities", &orderer.capabilities);
        let batch = format!("{ORDERER}/BatchSize");
        self.put(&batch, "max_message_count", &orderer.batch.max_message_count);
        self.put(&batch, "absolute_max_bytes", &orderer.batch.absolute_max_bytes);
        self.put(&batch, "preferred_max_bytes", &orderer.batch.preferred_max_bytes);
        self.put(ORDERER, "BatchTimeout", &orderer.batch.timeout);
        if let Some(count) = orderer.max_channels {
            self.put(&format!("{ORDERER}/ChannelRestrictions"), "max_count", &count);
        }
        self.policies(ORDERER, &orderer.policies);
        let consensus = format!("{ORDERER}/ConsensusType");
        let state = match orderer.state {
            ConsensusState::Normal => "normal",
            ConsensusState::Maintenance => "maintenance",
        };
        self.put(&consensus, "state", &state);
        self.consensus(&consensus, &orderer.consensus);
        for (name, organization) in &orderer.organizations {
            if other.orderer.organizations.get(name) == Some(organization) {
                continue;
            }
            let path = format!("{ORDERER}/{name}");
            self.list(&path, "Endpoints", &organization.endpoints);
            self.policies(&path, &organization.policies);
            self.msp(&format!("{path}/MSP"), &organization.msp);
        }
    }

    fn application(&mut self, config: &ChannelConfig, other: &ChannelConfig) {
        let application = &config.application;
        self.list(APPLICATION, "Capabilities", &application.capabilities);
        for (resource, policy) in &application.acls {
            self.put(&format!("{APPLICATION}/ACLs"), resource, policy);
        }
        self.policies(APPLICATION, &application.policies);
        for (name, organization) in &application.organizations {
            if other.application.organizations.get(name) == Some(organization) {
                continue;
            }
            let path = format!("{APPLICATION}/{name}");
            let anchors = organization.anchors.iter().map(|anchor| format!("{}:{}", anchor.host, anchor.port));
            self.list(&path, "AnchorPeers", anchors);
            self.policies(&path, &organization.policies);
            self.msp(&format!("{path}/MSP"), &organization.msp);
        }
    }

    fn msp(&mut self, path: &str, msp: &MspDefinition) {
        self.put(path, "msp_id", &msp.msp_id);
        let mut lists: BTreeMap<&str, Vec<&Pem>> = BTreeMap::new();
        for (name, pem) in msp.pems() {
            lists.entry(name).or_default().push(pem);
        }
        for (name, pems) in lists {
            self.list(path, name, pems);
        }
        self.list(path, "organizational_units", msp.organizational_units.iter().map(unit));
        if let Some(ous) = &msp.node_ous {
            let path = format!("{path}/node_ous");
            self.put(&path, "enable", &ous.enable);
            let units =
                [("client", &ous.client), ("peer", &ous.peer), ("admin", &ous.admin), ("orderer", &ous.orderer)];
            for (name, identifier) in units {
                self.list(&path, name, identifier.as_ref().map(unit));
            }
        }
        if let Some(crypto) = &msp.crypto {
            let hashes = format!("{}, {}", crypto.signature_hash_family, crypto.identity_identifier_hash_function);
            self.put(path, "crypto", &hashes);
        }
    }

    fn consensus(&mut self, path: &str, consensus: &Consensus) {
        match consensus {
            Consensus::EtcdRaft { consenters, options } => {
                self.put(path, "type", &"etcdraft");
                self.raft_options(&format!("{path}/options"), options);
                let order = consenters.iter().map(|consenter| format!("{}:{}", consenter.host, consenter.port));
                self.list(path, "consenters", order);
                for RaftConsenter { host, port, client_tls_cert, server_tls_cert } in consenters {
                    let path = format!("{path}/consenters/{host}:{port}");
                    self.put(&path, "client_tls_cert", client_tls_cert);
                    self.put(&path, "server_tls_cert", server_tls_cert);
                }
            }
            Consensus::Bft { consenters, options } => {
                self.put(path, "type", &"BFT");
                self.bft_options(&format!("{path}/options"), options);
                let name =
                    |consenter: &BftConsenter| format!("{} at {}:{}", consenter.id, consenter.host, consenter.port);
                self.list(ORDERER, "Orderers", consenters.iter().map(name));
                for consenter in consenters {
                    let BftConsenter { id, msp_id, identity, client_tls_cert, server_tls_cert, host: _, port: _ } =
                        consenter;
                    let path = format!("{ORDERER}/Orderers/{id}");
                    self.put(&path, "msp_id", msp_id);
                    self.put(&path, "identity", identity);
                    self.put(&path, "client_tls_cert", client_tls_cert);
                    self.put(&path, "server_tls_cert", server_tls_cert);
                }
            }
            Consensus::Other { kind, metadata } => {
                self.put(path, "type", kind);
                self.put(path, "metadata", &format!("{} bytes (sha256:{})", metadata.len(), sha256_hex(metadata)));
            }
        }
    }

    fn raft_options(&mut self, path: &str, options: &RaftOptions) {
        let RaftOptions { tick_interval, election_tick, heartbeat_tick, max_inflight_blocks, snapshot_interval_size } =
            options;
        self.put(path, "tick_interval", tick_interval);
        self.put(path, "election_tick", election_tick);
        self.put(path, "heartbeat_tick", heartbeat_tick);
        self.put(path, "max_inflight_blocks", max_inflight_blocks);
        self.put(path, "snapshot_interval_size", snapshot_interval_size);
    }

    fn bft_options(&mut self, path: &str, options: &BftOptions) {
        let BftOptions {
            request_batch_max_count,
            request_batch_max_bytes,
            request_batch_max_interval,
            incoming_message_buffer_size,
            request_pool_size,
            request_forward_timeout,
            request_complain_timeout,
            request_auto_remove_timeout,
            request_max_bytes,
            view_change_resend_interval,
            view_change_timeout,
            leader_heartbeat_timeout,
            leader_heartbeat_count,
            collect_timeout,
            sync_on_start,
            speed_up_view_change,
            leader_rotation,
            decisions_per_leader,
        } = options;
        self.put(path, "request_batch_max_count", request_batch_max_count);
        self.put(path, "request_batch_max_bytes", request_batch_max_bytes);
        self.put(path, "request_batch_max_interval", request_batch_max_interval);
        self.put(path, "incoming_message_buffer_size", incoming_message_buffer_size);
        self.put(path, "request_pool_size", request_pool_size);
        self.put(path, "request_forward_timeout", request_forward_timeout);
        self.put(path, "request_complain_timeout", request_complain_timeout);
        self.put(path, "request_auto_remove_timeout", request_auto_remove_timeout);
        self.put(path, "request_max_bytes", request_max_bytes);
        self.put(path, "view_change_resend_interval", view_change_resend_interval);
        self.put(path, "view_change_timeout", view_change_timeout);
        self.put(path, "leader_heartbeat_timeout", leader_heartbeat_timeout);
        self.put(path, "leader_heartbeat_count", leader_heartbeat_count);
        self.put(path, "collect_timeout", collect_timeout);
        self.put(path, "sync_on_start", sync_on_start);
        self.put(path, "speed_up_view_change", speed_up_view_change);
        let rotation = match leader_rotation {
            LeaderRotation::Unspecified => "unspecified",
            LeaderRotation::Off => "off",
            LeaderRotation::On => "on",
        };
        self.put(path, "leader_rotation", &rotation);
        self.put(path, "decisions_per_leader", decisions_per_leader);
    }
}

fn unit(identifier: &OuIdentifier) -> String {
    match &identifier.certificate {
        Some(certificate) => format!("{} issued by {certificate}", identifier.unit),
        None => identifier.unit.clone(),
    }
}
