//! Who orders a channel, and how many of them must agree.

use prost::Message as _;
use tenter_fabric_wire::etcdraft::ConfigMetadata;

use super::Bundle;
use crate::x509::Certificate;

/// How the channel is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consensus {
    /// Crash faults.
    Raft,
    /// Byzantine faults.
    Bft,
}

/// A member of the consenter set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consenter {
    /// Its id in a BFT channel, 0 in a Raft channel.
    pub id: u64,
    /// `host:port`.
    pub address: String,
    /// Its certificate as a client.
    pub client: Certificate,
    /// Its certificate as a server.
    pub server: Certificate,
    /// The bytes by which Fabric tells Raft consenters apart.
    pub client_pem: Vec<u8>,
    /// MSP ID and PEM of the enrolment certificate that signs blocks of a BFT channel.
    pub signer: Option<(String, Vec<u8>)>,
}

impl Consensus {
    /// How many of `n` consenters must agree.
    pub fn quorum(self, n: usize) -> usize {
        match self {
            Self::Raft => n / 2 + 1,
            Self::Bft => bft_quorum(n),
        }
    }
}

impl Bundle {
    /// Crash or byzantine faults, or what other word the configuration has.
    pub fn consensus(&self) -> Result<Consensus, String> {
        match self.consensus_type.r#type.as_str() {
            "etcdraft" => Ok(Consensus::Raft),
            "BFT" => Ok(Consensus::Bft),
            other => Err(format!("unknown consensus type {other:?}")),
        }
    }

    /// Who orders. The text says which part cannot be read; a node finds out only when it is to use it.
    pub fn consenters(&self) -> Result<Vec<Consenter>, String> {
        match self.consensus()? {
            Consensus::Raft => {
                let metadata = ConfigMetadata::decode(&self.consensus_type.metadata[..])
                    .map_err(|error| format!("failed to unmarshal config metadata: {error}"))?;
                metadata
                    .consenters
                    .iter()
                    .map(|c| consenter(0, (&c.host, c.port), &c.client_tls_cert, &c.server_tls_cert, None))
                    .collect()
            }
            Consensus::Bft => self
                .orderers
                .iter()
                .map(|c| {
                    let signer = Some((c.msp_id.clone(), c.identity.clone()));
                    let id = u64::from(c.id);
                    consenter(id, (&c.host, c.port), &c.client_tls_cert, &c.server_tls_cert, signer)
                })
                .collect(),
        }
    }
}

fn consenter(
    id: u64,
    (host, port): (&str, u32),
    client: &[u8],
    server: &[u8],
    signer: Option<(String, Vec<u8>)>,
) -> Result<Consenter, String> {
    let address = format!("{host}:{port}");
    let read = |pem: &[u8]| {
        Certificate::from_pem(pem).map_err(|error| format!("TLS certificate of consenter {address}: {error}"))
    };
    Ok(Consenter { id, client: read(client)?, server: read(server)?, client_pem: client.to_vec(), signer, address })
}

/// `ceil((n + f + 1) / 2)` with as many faults `f` as `n` bears.
pub fn bft_quorum(n: usize) -> usize {
    let faults = n.saturating_sub(1) / 3;
    (n + faults + 1).div_ceil(2)
}
