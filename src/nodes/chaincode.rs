//! The chaincode lifecycle on this daemon's own peers, and transactions that change it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenter_consortium::observation::Observation;
use tenter_fabric::chaincode::transaction::{Call, Endorsed, SignedCall, assemble};
use tenter_fabric::chaincode::{Approved, Committed, Definition, Package, PackageId};
use tenter_fabric::client::broadcast::BroadcastClient;
use tenter_fabric::client::endorser::EndorserClient;
use tenter_fabric::client::gateway::{CommitStatus, GatewayClient, GatewayError, PreparedTransaction};
use tenter_fabric::client::{DirectDialer, Endpoint, Limits, Target, TlsSettings};
use tenter_fabric::identity::SigningIdentity;

use super::{Node, NodeError, Nodes, SubmitError, chain, observed};

/// Why a transaction did not come to be, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// A peer did not endorse it.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Another member's peer did not endorse it.
    #[error("{address} of {msp_id} did not endorse: {why}")]
    Elsewhere {
        /// Whose peer it is.
        msp_id: String,
        /// Where it is.
        address: String,
        /// What happened.
        why: String,
    },
    /// Endorsements that do not make a transaction.
    #[error("the endorsements make no transaction: {0}")]
    Assemble(String),
    /// No orderer took it.
    #[error("no orderer took the transaction: {0}")]
    Submit(String),
    /// Nothing is known of its end.
    #[error("what became of transaction {tx_id} is not known: {why}")]
    Unknown {
        /// The transaction.
        tx_id: String,
        /// What happened.
        why: String,
    },
    /// It stands in a block and changed nothing.
    #[error("transaction {tx_id} in block {block} is invalid: {code}")]
    Invalid {
        /// The transaction.
        tx_id: String,
        /// Its block.
        block: u64,
        /// Fabric's validation code.
        code: String,
    },
}

impl Nodes {
    /// The packages that a peer has.
    pub async fn installed(&self, node: &Node) -> Observation<BTreeSet<PackageId>> {
        let answer = async {
            let clients = self.peer(node).await?;
            clients.admin.installed_chaincodes().await.map_err(|source| self.endorser_error(node, source))
        };
        observed(answer.await.map(|installed| installed.into_keys().collect()))
    }

    /// Installs a package; a peer that has it already is left as it is.
    pub async fn install(&self, node: &Node, package: &Package) -> Result<(), NodeError> {
        let clients = self.peer(node).await?;
        let installed = clients.admin.install_chaincode(package).await;
        installed.map(drop).map_err(|source| self.endorser_error(node, source))
    }

    /// The definition in force, as a peer's ledger has it. Absent only when the peer says that there is none.
    pub async fn committed_chaincode(&self, node: &Node, channel: &str, name: &str) -> Observation<Committed> {
        let answer = async {
            let clients = self.peer(node).await?;
            let committed = clients.reader.committed_chaincode(channel, name).await;
            committed.map_err(|source| self.endorser_error(node, source))
        };
        present(answer.await, || format!("{node} says that no chaincode {name} is defined on {channel}"))
    }

    /// What an organization approved as this sequence, as its own peer knows it.
    pub async fn approved_chaincode(
        &self,
        node: &Node,
        channel: &str,
        name: &str,
        sequence: i64,
    ) -> Observation<Approved> {
        let answer = async {
            let clients = self.peer(node).await?;
            let approved = clients.admin.approved_chaincode(channel, name, Some(sequence)).await;
            approved.map_err(|source| self.endorser_error(node, source))
        };
        present(answer.await, || {
            format!("{node} knows no approval of chaincode {name} on {channel} as sequence {sequence}")
        })
    }

    /// Which members approve just this definition, by MSP ID.
    pub async fn readiness(
        &self,
        node: &Node,
        channel: &str,
        definition: &Definition,
        sequence: i64,
    ) -> Observation<BTreeMap<String, bool>> {
        let answer = async {
            let clients = self.peer(node).await?;
            let ready = clients.reader.commit_readiness(channel, definition, sequence).await;
            ready.map_err(|source| self.endorser_error(node, source))
        };
        observed(answer.await)
    }

    /// Has a peer run a call and endorse what it gave.
    pub async fn endorse(&self, node: &Node, call: &SignedCall) -> Result<Endorsed, NodeError> {
        let clients = self.peer(node).await?;
        clients.admin.endorse(call).await.map_err(|source| self.endorser_error(node, source))
    }

    /// Has another member's peer endorse a call: it is dialled by its address in the channel's configuration, and verified
    /// against the TLS roots that its organization has there.
    pub async fn endorse_elsewhere(
        &self,
        (msp_id, host, port): (&str, &str, u16),
        roots_pem: &str,
        call: &SignedCall,
        identity: &SigningIdentity,
    ) -> Result<Endorsed, TransactionError> {
        let elsewhere = |why: String| TransactionError::Elsewhere {
            msp_id: msp_id.to_owned(),
            address: format!("peer {host}:{port}"),
            why,
        };
        let tls = TlsSettings { roots_pem: roots_pem.to_owned(), client: None };
        let endpoint = Endpoint::new(
            Target::new(host.to_owned(), port),
            Arc::new(DirectDialer::default()),
            &tls,
            Limits::default(),
        )
        .map_err(|error| elsewhere(chain(&error)))?;
        let client = EndorserClient::new(endpoint, identity.clone());
        client.endorse(call).await.map_err(|error| elsewhere(chain(&error)))
    }

    /// Makes a transaction of endorsements, hands it to the first orderer that takes it, and waits until a block shows
    /// it, as `witness` sees it. Whoever asks again after an unknown end looks at the ledger first.
    pub async fn transact(
        &self,
        (witness, orderers): (&Node, &[Node]),
        call: &SignedCall,
        endorsements: &[Endorsed],
        submitter: &SigningIdentity,
    ) -> Result<CommitStatus, TransactionError> {
        let envelope =
            assemble(call, endorsements, submitter).map_err(|error| TransactionError::Assemble(chain(&error)))?;
        let mut refusals = Vec::new();
        let mut taken = false;
        for orderer in orderers {
            match self.submit_envelope(orderer, &call.call().channel, &envelope, submitter).await {
                Ok(()) => {
                    taken = true;
                    break;
                }
                Err(error) => refusals.push(chain(&error)),
            }
        }
        let gateway = self.gateway(witness, submitter).await?;
        if !taken {
            // No own orderer, or none that takes it: the peer knows those of the channel.
            let prepared = PreparedTransaction::new(call, envelope);
            if let Err(error) = gateway.submit(&prepared).await {
                refusals.push(format!("{witness}, Gateway: {}", chain(&error)));
                return Err(TransactionError::Submit(refusals.join("; ")));
            }
        }
        let unknown = |why: String| TransactionError::Unknown { tx_id: call.tx_id().to_owned(), why };
        let status = gateway.commit_status(call.tx_id(), &call.call().channel).await;
        let status = status.map_err(|error| unknown(format!("{witness}, Gateway: {}", chain(&error))))?;
        if status.code.is_valid() {
            Ok(status)
        } else {
            Err(TransactionError::Invalid {
                tx_id: call.tx_id().to_owned(),
                block: status.block,
                code: status.code.to_string(),
            })
        }
    }

    /// Has one peer's Gateway service run a call, and gives what the contract answered.
    pub async fn query(&self, node: &Node, call: &Call, identity: &SigningIdentity) -> Result<Vec<u8>, CallError> {
        let gateway = self.gateway(node, identity).await?;
        let answer = gateway.evaluate(call, &[]).await;
        answer.map_err(|source| gateway_error(node, source))
    }

    /// Has a peer's Gateway service collect endorsements, submits the transaction, and waits for its block.
    pub async fn invoke(
        &self,
        node: &Node,
        call: &Call,
        endorsers: &[String],
        identity: &SigningIdentity,
    ) -> Result<Called, CallError> {
        let gateway = self.gateway(node, identity).await?;
        let failed = |source| gateway_error(node, source);
        let prepared = gateway.endorse(call, endorsers).await.map_err(failed)?;
        gateway.submit(&prepared).await.map_err(failed)?;
        let status = gateway.commit_status(&prepared.tx_id, &call.channel).await.map_err(failed)?;
        let tx_id = prepared.tx_id.clone();
        if status.code.is_valid() {
            Ok(Called { payload: prepared.result().unwrap_or_default(), tx_id, block: status.block })
        } else {
            Err(CallError::Invalid { tx_id, block: status.block, code: status.code.to_string() })
        }
    }

    async fn gateway(&self, node: &Node, identity: &SigningIdentity) -> Result<GatewayClient, NodeError> {
        Ok(GatewayClient::new(self.peer(node).await?.endpoint, identity.clone()))
    }

    async fn submit_envelope(
        &self,
        node: &Node,
        channel: &str,
        envelope: &[u8],
        submitter: &SigningIdentity,
    ) -> Result<(), SubmitError> {
        let client = BroadcastClient::new(self.broadcast(node).await?, submitter.clone());
        client.submit_envelope(channel, envelope).await.map_err(|source| {
            self.forget_on(node, source.kind());
            SubmitError::Broadcast { node: Box::new(node.clone()), source: Box::new(source) }
        })
    }
}

fn gateway_error(node: &Node, source: GatewayError) -> CallError {
    CallError::Gateway { node: Box::new(node.clone()), source: Box::new(source) }
}

fn present<T>(answer: Result<Option<T>, NodeError>, absent: impl FnOnce() -> String) -> Observation<T> {
    match answer {
        Ok(Some(value)) => Observation::Present { value },
        Ok(None) => Observation::Absent { evidence: absent() },
        Err(error) => error.observed(),
    }
}

/// What a submitted call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// What the contract answered.
    pub payload: Vec<u8>,
    /// The transaction.
    pub tx_id: String,
    /// The block that holds it.
    pub block: u64,
}

/// Why a call through a peer's Gateway service failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The peer could not be spoken to.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The Gateway refused, or what it asked did.
    #[error("{node}, Gateway")]
    Gateway {
        /// The peer.
        node: Box<Node>,
        /// What happened.
        #[source]
        source: Box<GatewayError>,
    },
    /// The transaction stands in a block and changed nothing.
    #[error("transaction {tx_id} in block {block} is invalid: {code}")]
    Invalid {
        /// The transaction.
        tx_id: String,
        /// Its block.
        block: u64,
        /// Fabric's validation code.
        code: String,
    },
}
