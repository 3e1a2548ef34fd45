//! What all channels of an orderer share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::channel::{Bundle, Consenter};
use crate::faults::Faults;
use crate::msp::LocalMsp;
use crate::net::{ClientRoots, KeyPair};
use crate::settings::orderer::OrdererSettings;
use crate::x509::Certificate;

/// An orderer's own identity and settings.
#[derive(Debug)]
pub struct Node {
    /// The settings.
    pub settings: OrdererSettings,
    /// The node's MSP and signing identity.
    pub msp: Arc<LocalMsp>,
    /// What it shows to other orderers as a client.
    pub cluster_pair: KeyPair,
    /// The certificate of the listener that other orderers connect to.
    pub server: Certificate,
    /// By what client certificates are judged where they are required.
    pub client_roots: ClientRoots,
    /// The shortest election timeout.
    pub election: Duration,
    /// How long a removal takes.
    pub removal: Duration,
    /// Faults to simulate.
    pub faults: Arc<Faults>,
    /// Set when the process must end.
    pub fatal: watch::Sender<Option<String>>,
}

impl Node {
    /// Whether this consenter is this node: by the public key of the server certificate, or in a BFT channel by that of
    /// the enrolment certificate.
    pub fn is_consenter(&self, consenter: &Consenter) -> bool {
        match &consenter.signer {
            None => consenter.server.public_key_info() == self.server.public_key_info(),
            Some((_, pem)) => Certificate::from_pem(pem).is_ok_and(|certificate| {
                certificate.public_key_info() == self.msp.identity.certificate.public_key_info()
            }),
        }
    }

    /// Whether this node is among the consenters.
    pub fn orders(&self, bundle: &Bundle) -> bool {
        bundle.consenters().unwrap_or_default().iter().any(|consenter| self.is_consenter(consenter))
    }

    /// Trusts the TLS roots of a channel's members as clients, as Fabric does where client certificates are required.
    pub fn learn(&self, bundle: &Bundle) {
        for pem in bundle.msps.values().flat_map(|msp| &msp.tls_roots) {
            self.client_roots.add(pem);
        }
    }

    /// Ends the process with a text.
    pub fn die(&self, reason: &str) {
        tracing::error!(reason, "the node cannot go on");
        self.fatal.send_replace(Some(reason.to_owned()));
    }
}
