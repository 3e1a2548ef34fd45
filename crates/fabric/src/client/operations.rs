//! A node's operations port: /healthz, /version, /metrics (`core/operations/system.go`).
//!
//! /healthz stays green without a quorum, so it is one sign among others. With TLS on, /metrics always demands a
//! client certificate.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::FailureKind;
use super::connect::{Endpoint, Target, TransportError};
use super::http::{self, Answer};

const MAX_SMALL: usize = 64 * 1024;
/// A peer's metrics grow with channels, chaincodes and histogram buckets.
const MAX_METRICS: usize = 16 * 1024 * 1024;

/// The gauges that say how a node is doing. All others are skipped while parsing.
const GAUGES: &[&str] = &[
    "consensus_BFT_cluster_size",
    "consensus_BFT_committed_block_number",
    "consensus_BFT_is_leader",
    "consensus_BFT_leader_id",
    "consensus_etcdraft_active_nodes",
    "consensus_etcdraft_cluster_size",
    "consensus_etcdraft_committed_block_number",
    "consensus_etcdraft_is_leader",
    "fabric_version",
    "gossip_state_height",
    "ledger_blockchain_height",
    "participation_consensus_relation",
    "participation_status",
];

/// Why the operations port gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum OperationsError {
    /// The node refused.
    #[error(
        "{target} refused {path} with status {status}; /metrics needs a TLS client certificate and the provider prometheus"
    )]
    Refused {
        /// Who was asked.
        target: Target,
        /// For what.
        path: &'static str,
        /// HTTP status.
        status: u16,
    },
    /// The answer makes no sense.
    #[error("{target} answered {path} with something unreadable: {evidence}")]
    Protocol {
        /// Who was asked.
        target: Target,
        /// For what.
        path: &'static str,
        /// What came.
        evidence: String,
    },
    /// No answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl OperationsError {
    /// What the failure says about the node.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Refused { status: 401 | 403, .. } => FailureKind::Forbidden,
            Self::Refused { .. } => FailureKind::Refused,
            Self::Protocol { .. } => FailureKind::Protocol,
            Self::Transport(error) => error.kind(),
        }
    }
}

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FailedCheck {
    /// Component, such as `docker` or `couchdb`.
    #[serde(default)]
    pub component: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What /healthz says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Status 200.
    pub healthy: bool,
    /// What failed.
    pub failed: Vec<FailedCheck>,
}

/// What /version says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeVersion {
    /// Release, such as `v3.1.5`.
    #[serde(rename = "Version")]
    pub version: String,
    /// Source commit.
    #[serde(rename = "CommitSHA", default)]
    pub commit: String,
}

/// One value of a gauge.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// The gauges of a node that Tenter looks at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metrics {
    gauges: BTreeMap<String, Vec<Sample>>,
}

impl Metrics {
    /// Reads the Prometheus text format. Lines that are not understood are skipped: they are other metrics'.
    pub fn parse(text: &str) -> Self {
        let mut gauges: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for line in text.lines() {
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            if !GAUGES.contains(&name) {
                continue;
            }
            if let Some(sample) = sample(rest) {
                gauges.entry(name.to_owned()).or_default().push(sample);
            }
        }
        Self { gauges }
    }

    /// The value of a gauge for a channel.
    pub fn of_channel(&self, gauge: &str, channel: &str) -> Option<f64> {
        self.samples(gauge)
            .iter()
            .find(|sample| sample.labels.get("channel").is_some_and(|label| label == channel))
            .map(|sample| sample.value)
    }

    /// All values of a gauge.
    pub fn samples(&self, gauge: &str) -> &[Sample] {
        self.gauges.get(gauge).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Reads `{label="value",...} number` or ` number`.
fn sample(rest: &str) -> Option<Sample> {
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while let Some((key, after)) = rest.split_once("=\"") {
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next()? {
                    (index, '"') => break index,
                    (_, '\\') => match chars.next()?.1 {
                        'n' => value.push('\n'),
                        other => value.push(other),
                    },
                    (_, other) => value.push(other),
                }
            };
            labels.insert(key.trim_matches([',', ' ']).to_owned(), value);
            rest = &after[end + 1..];
            if rest.starts_with('}') {
                break;
            }
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { labels, value })
}

/// A client of one node's operations port.
#[derive(Debug, Clone)]
pub struct OperationsClient {
    endpoint: Endpoint,
}

impl OperationsClient {
    /// The endpoint needs a client certificate for /metrics, and for all where `ClientAuthRequired` is set.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Asks for the node's own checks.
    pub async fn health(&self) -> Result<Health, OperationsError> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            failed_checks: Vec<FailedCheck>,
        }
        const PATH: &str = "/healthz";
        let answer = self.get(PATH, MAX_SMALL).await?;
        match answer.status {
            StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => {
                let body: Body = self.json(PATH, &answer)?;
                Ok(Health { healthy: answer.status == StatusCode::OK, failed: body.failed_checks })
            }
            _ => Err(self.refused(PATH, &answer)),
        }
    }

    /// Asks for the node's version.
    pub async fn version(&self) -> Result<NodeVersion, OperationsError> {
        const PATH: &str = "/version";
        let answer = self.get(PATH, MAX_SMALL).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(PATH, &answer));
        }
        self.json(PATH, &answer)
    }

    /// Asks for the gauges.
    pub async fn metrics(&self) -> Result<Metrics, OperationsError> {
        const PATH: &str = "/metrics";
        let answer = self.get(PATH, MAX_METRICS).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(PATH, &answer));
        }
        Ok(Metrics::parse(&String::from_utf8_lossy(&answer.body)))
    }

    async fn get(&self, path: &'static str, max: usize) -> Result<Answer, OperationsError> {
        Ok(http::request(&self.endpoint, Method::GET, path, None, max).await?)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &'static str, answer: &Answer) -> Result<T, OperationsError> {
        serde_json::from_slice(&answer.body).map_err(|error| OperationsError::Protocol {
            target: self.endpoint.target().clone(),
            path,
            evidence: error.to_string(),
        })
    }

    fn refused(&self, path: &'static str, answer: &Answer) -> OperationsError {
        OperationsError::Refused { target: self.endpoint.target().clone(), path, status: answer.status.as_u16() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_read_with_their_labels_and_the_rest_is_skipped() {
        let metrics = Metrics::parse(
            "# HELP ledger_blockchain_height Height.\n# TYPE ledger_blockchain_height gauge\n\
             ledger_blockchain_height{channel=\"ch1\"} 16\nledger_blockchain_height{channel=\"ch2\"} 3\n\
             consensus_etcdraft_is_leader{channel=\"ch1\"} 1\n\
             go_gc_duration_seconds{quantile=\"0\"} 5.2e-05\n\
             fabric_version{version=\"v3.1.5\",note=\"a\\\"b, c=\\\\d\"} 1\nledger_blockchain_height{channel=\"x\n",
        );
        assert_eq!(metrics.of_channel("ledger_blockchain_height", "ch1"), Some(16.0));
        assert_eq!(metrics.of_channel("ledger_blockchain_height", "ch3"), None);
        assert_eq!(metrics.samples("ledger_blockchain_height").len(), 2);
        assert!(metrics.samples("go_gc_duration_seconds").is_empty());
        let labels = &metrics.samples("fabric_version")[0].labels;
        assert_eq!(labels["version"], "v3.1.5");
        assert_eq!(labels["note"], "a\"b, c=\\d");
    }
}
