//! Whether a configuration can begin a channel, and whether an update does no harm.
//!
//! Fabric checks some of this when a node joins, some only when blocks are ordered, and some never: two BFT consenters
//! with the same number are accepted and crash every orderer for good. So all of it is checked before.
//! Sources: `common/channelconfig`, `common/configtx/validator.go`, `orderer/consensus/etcdraft/util.go`,
//! `internal/configtxgen/encoder`.

mod update;

use std::collections::BTreeSet;
use std::time::Duration;

pub use update::{check_update, check_update_against};

use super::tree::{MAX_NAME, is_legal_name};
use super::{
    APPLICATION, BftConsenter, BftOptions, CHANNEL, ChannelConfig, Consensus, ConsensusState, Element, FLAT,
    LeaderRotation, ORDERER, OrdererConfig, RaftConsenter, RaftOptions,
};
use crate::msp::{MspDefinition, Pem};
use crate::policy::bft_block_validation;
use crate::policy::defaults::Policies;

/// The channel capability that BFT needs and that forbids addresses for the whole channel.
const V3_0: &str = "V3_0";

/// Something in a configuration that would keep its channel from working.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ConfigProblem {
    /// Where.
    pub path: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl ChannelConfig {
    /// All the problems that would keep a channel from beginning with this configuration.
    pub fn check_new(&self) -> Vec<ConfigProblem> {
        let mut problems = Problems(Vec::new());
        if self.sequence != 0 || self.versions.values().any(|version| *version != 0) {
            problems.add(CHANNEL, "a new channel has no versions and sequence 0; drop the history");
        }
        if self.orderer.state != ConsensusState::Normal {
            problems.add("/Channel/Orderer/ConsensusType", "a new channel must not be in maintenance");
        }
        problems.content(self, None);
        problems.0
    }
}

/// An organisation of either kind.
#[derive(Clone, Copy)]
struct Organization<'a> {
    /// Path of the group that it is in.
    level: &'static str,
    name: &'a str,
    msp: &'a MspDefinition,
    policies: &'a Policies,
}

impl<'a> Organization<'a> {
    /// Equal for organisations with one path and one MSP.
    fn key(&self) -> (&'static str, &'a str, Vec<&'a [u8]>) {
        let pems = self.msp.pems().map(|(_, pem)| pem.bytes());
        (self.level, self.name, pems.collect())
    }
}

/// The organisations that run orderers, then those that run peers.
fn organizations(config: &ChannelConfig) -> impl Iterator<Item = Organization<'_>> {
    let orderers = config.orderer.organizations.iter().map(|(name, organization)| Organization {
        level: ORDERER,
        name,
        msp: &organization.msp,
        policies: &organization.policies,
    });
    let applications = config.application.organizations.iter().map(|(name, organization)| Organization {
        level: APPLICATION,
        name,
        msp: &organization.msp,
        policies: &organization.policies,
    });
    orderers.chain(applications)
}

struct Problems(Vec<ConfigProblem>);

impl Problems {
    fn add(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.0.push(ConfigProblem { path: path.into(), problem: problem.into() });
    }

    /// What is wrong with a configuration whatever came before. Certificates of organisations that are as they were
    /// `before` are not looked at.
    fn content(&mut self, config: &ChannelConfig, before: Option<&ChannelConfig>) {
        if config.hashing_algorithm != "SHA256" {
            self.add("/Channel/HashingAlgorithm", "must be SHA256");
        }
        if config.block_data_hashing_width != FLAT {
            self.add("/Channel/BlockDataHashingStructure", format!("the width must be {FLAT}"));
        }
        self.policies(CHANNEL, &config.policies, &[]);
        self.policies(ORDERER, &config.orderer.policies, &["BlockValidation"]);
        self.policies(APPLICATION, &config.application.policies, &[]);
        self.organizations(config, before);
        self.addresses(config);
        self.batch(&config.orderer);
        self.consensus(config);
        if config.orderer.capabilities.is_empty() {
            self.add("/Channel/Orderer/Capabilities", "must name a capability, such as V2_0");
        }
    }

    fn name(&mut self, element: &str, name: &str) {
        if !is_legal_name(name) {
            self.add(element, format!("the name `{name}` must be 1 to {MAX_NAME} letters, digits, `.` or `-`"));
        }
    }

    fn policies(&mut self, path: &str, policies: &Policies, more: &[&str]) {
        for name in ["Readers", "Writers", "Admins"].iter().chain(more) {
            if !policies.contains_key(*name) {
                self.add(path, format!("the policy {name} is missing"));
            }
        }
        for name in policies.keys() {
            self.name(&Element::Policy.at(&format!("{path}/{name}")), name);
        }
    }

    fn organizations(&mut self, config: &ChannelConfig, before: Option<&ChannelConfig>) {
        if config.orderer.organizations.is_empty() {
            self.add(ORDERER, "there is no organisation that runs orderers");
        }
        let known: BTreeSet<_> = before.map(organizations).into_iter().flatten().map(|known| known.key()).collect();
        let mut seen = std::collections::BTreeMap::new();
        for organization in organizations(config) {
            let Organization { level, name, msp, policies } = organization;
            let path = format!("{level}/{name}");
            self.name(&path, name);
            self.policies(&path, policies, &[]);
            if msp.msp_id.is_empty() {
                self.add(format!("{path}/MSP"), "the MSP ID is empty");
            }
            if msp.root_certs.is_empty() {
                self.add(format!("{path}/MSP"), "there is no root certificate");
            }
            // An organisation may stand in both groups, but one MSP ID means one MSP.
            if seen.insert(msp.msp_id.as_str(), msp).is_some_and(|other| other != msp) {
                self.add(format!("{path}/MSP"), format!("{} has another definition elsewhere", msp.msp_id));
            }
            if known.contains(&organization.key()) {
                continue;
            }
            for (field, pem) in msp.pems().filter(|(field, _)| *field != "revocation_list") {
                self.certificate(&format!("{path}/MSP/{field}"), pem);
            }
        }
    }

    fn addresses(&mut self, config: &ChannelConfig) {
        if !config.capabilities.contains(V3_0) {
            return;
        }
        if !config.orderer_addresses.is_empty() {
            self.add(
                "/Channel/OrdererAddresses",
                "must be empty with capability V3_0; use the organisations' endpoints",
            );
        }
        for (name, organization) in &config.orderer.organizations {
            if organization.endpoints.is_empty() {
                self.add(format!("{ORDERER}/{name}/Endpoints"), "must not be empty with capability V3_0");
            }
        }
    }

    fn batch(&mut self, orderer: &OrdererConfig) {
        let batch = &orderer.batch;
        if [batch.max_message_count, batch.absolute_max_bytes, batch.preferred_max_bytes].contains(&0) {
            self.add("/Channel/Orderer/BatchSize", "no limit may be 0");
        }
        if batch.preferred_max_bytes > batch.absolute_max_bytes {
            self.add("/Channel/Orderer/BatchSize", "the preferred size must not be greater than the absolute one");
        }
        if duration(&batch.timeout).is_none_or(|timeout| timeout.is_zero()) {
            let problem = format!("`{}` is not a duration greater than zero, such as 2s", batch.timeout);
            self.add("/Channel/Orderer/BatchTimeout", problem);
        }
    }

    fn consensus(&mut self, config: &ChannelConfig) {
        const PATH: &str = "/Channel/Orderer/ConsensusType";
        match &config.orderer.consensus {
            Consensus::EtcdRaft { consenters, options } => {
                self.raft(consenters);
                self.raft_options(options);
            }
            Consensus::Bft { consenters, options } => {
                if !config.capabilities.contains(V3_0) {
                    self.add("/Channel/Capabilities", "BFT needs V3_0");
                }
                self.bft(consenters, config);
                self.bft_options(options);
            }
            Consensus::Other { kind, .. } => self.add(PATH, format!("`{kind}` is neither etcdraft nor BFT")),
        }
    }

    fn raft(&mut self, consenters: &[RaftConsenter]) {
        const PATH: &str = "/Channel/Orderer/ConsensusType/consenters";
        if consenters.is_empty() {
            self.add(PATH, "there is no consenter");
        }
        let mut clients = BTreeSet::new();
        let mut servers = BTreeSet::new();
        for consenter in consenters {
            let path = format!("{PATH}/{}:{}", consenter.host, consenter.port);
            self.address(&path, &consenter.host, consenter.port);
            self.certificate(&path, &consenter.client_tls_cert);
            self.certificate(&path, &consenter.server_tls_cert);
            if !clients.insert(&consenter.client_tls_cert) || !servers.insert(&consenter.server_tls_cert) {
                self.add(path, "another consenter has the same TLS certificate");
            }
        }
    }

    fn raft_options(&mut self, options: &RaftOptions) {
        const PATH: &str = "/Channel/Orderer/ConsensusType/options";
        if duration(&options.tick_interval).is_none_or(|interval| interval.is_zero()) {
            self.add(PATH, format!("`{}` is not a tick interval greater than zero", options.tick_interval));
        }
        if options.heartbeat_tick == 0 || options.max_inflight_blocks == 0 {
            self.add(PATH, "heartbeat_tick and max_inflight_blocks must be greater than 0");
        }
        if options.election_tick <= options.heartbeat_tick {
            self.add(PATH, "election_tick must be greater than heartbeat_tick");
        }
    }

    fn bft(&mut self, consenters: &[BftConsenter], config: &ChannelConfig) {
        const PATH: &str = "/Channel/Orderer/Orderers";
        if consenters.is_empty() {
            self.add(PATH, "there is no consenter");
        }
        let mut ids = BTreeSet::new();
        let mut identities = BTreeSet::new();
        for consenter in consenters {
            let path = format!("{PATH}/{}", consenter.id);
            if consenter.id == 0 {
                self.add(&path, "the number of a consenter must be greater than 0");
            }
            if !ids.insert(consenter.id) {
                self.add(&path, "another consenter has the same number; that would crash every orderer for good");
            }
            if !identities.insert(&consenter.identity) {
                self.add(&path, "another consenter has the same enrolment certificate");
            }
            let known = config.orderer.organizations.values().any(|known| known.msp.msp_id == consenter.msp_id);
            if !known {
                self.add(&path, format!("no orderer organisation has the MSP ID {}", consenter.msp_id));
            }
            self.address(&path, &consenter.host, consenter.port);
            for pem in [&consenter.identity, &consenter.client_tls_cert, &consenter.server_tls_cert] {
                self.certificate(&path, pem);
            }
        }
        if config.orderer.policies.get("BlockValidation") != Some(&bft_block_validation(consenters)) {
            let problem = "is not the policy that Fabric computes from the consenters; compute it anew";
            self.add(Element::Policy.at("/Channel/Orderer/BlockValidation"), problem);
        }
    }

    fn bft_options(&mut self, options: &BftOptions) {
        const PATH: &str = "/Channel/Orderer/ConsensusType/options";
        let mut parsed = [
            ("request_batch_max_interval", &options.request_batch_max_interval),
            ("request_forward_timeout", &options.request_forward_timeout),
            ("request_complain_timeout", &options.request_complain_timeout),
            ("request_auto_remove_timeout", &options.request_auto_remove_timeout),
            ("view_change_resend_interval", &options.view_change_resend_interval),
            ("view_change_timeout", &options.view_change_timeout),
            ("leader_heartbeat_timeout", &options.leader_heartbeat_timeout),
            ("collect_timeout", &options.collect_timeout),
        ]
        .map(|(name, text)| {
            let value = duration(text).filter(|value| !value.is_zero());
            if value.is_none() {
                self.add(format!("{PATH}/{name}"), format!("`{text}` is not a duration greater than zero"));
            }
            value
        })
        .into_iter();
        let interval = parsed.next().flatten();
        let chain = [interval, parsed.next().flatten(), parsed.next().flatten(), parsed.next().flatten()];
        if chain.iter().all(Option::is_some) && !chain.is_sorted() {
            let problem = "batch interval, forward, complain and auto-remove timeout must not decrease in this order";
            self.add(PATH, problem);
        }
        let (resend, change) = (parsed.next().flatten(), parsed.next().flatten());
        if resend.zip(change).is_some_and(|(resend, change)| resend > change) {
            self.add(PATH, "view_change_resend_interval must not be greater than view_change_timeout");
        }
        let counts = [options.incoming_message_buffer_size, options.request_pool_size, options.leader_heartbeat_count];
        if counts.contains(&0) {
            let problem =
                "incoming_message_buffer_size, request_pool_size and leader_heartbeat_count must be greater than 0";
            self.add(PATH, problem);
        }
        if options.leader_rotation == LeaderRotation::On || options.decisions_per_leader != 0 {
            self.add(PATH, "Fabric does not support that leaders take turns");
        }
    }

    fn address(&mut self, path: &str, host: &str, port: u16) {
        if host.is_empty() || port == 0 {
            self.add(path, "a consenter needs a host name and a port");
        }
    }

    fn certificate(&mut self, path: &str, pem: &Pem) {
        if pem.certificate().is_none() {
            self.add(path, "holds no certificate that can be read");
        }
    }
}

/// Reads a Go duration such as `500ms`, `3m0s` or `1.5h`; `None` also for negative ones, which mean nothing here.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let number: f64 = number.parse().ok()?;
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number * seconds;
        rest = tail;
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let check = |text: &str, milliseconds: Option<u64>| {
            assert_eq!(duration(text), milliseconds.map(Duration::from_millis), "{text}");
        };
        check("500ms", Some(500));
        check("3m0s", Some(180_000));
        check("1.5h", Some(5_400_000));
        check("0", Some(0));
        check("+2s", Some(2000));
        for bad in ["", "2", "s", "-1s", "2 s", "1d", ".s", "1e3s", "99999999999999999999999h"] {
            check(bad, None);
        }
    }
}
