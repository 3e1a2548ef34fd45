//! What all channels of a peer share.

use std::sync::Arc;

use tokio::sync::watch;

use super::directory::Peers;
use crate::channel::{Bundle, Endpoint};
use crate::faults::Faults;
use crate::msp::LocalMsp;
use crate::net::{ClientRoots, KeyPair};
use crate::settings::peer::PeerSettings;

/// A peer's own identity and settings.
#[derive(Debug)]
pub struct Node {
    /// The settings.
    pub settings: PeerSettings,
    /// The peer's MSP and signing identity.
    pub msp: Arc<LocalMsp>,
    /// Shown to orderers that ask for a client certificate.
    pub client_pair: Option<KeyPair>,
    /// By what client certificates are judged where they are required.
    pub client_roots: ClientRoots,
    /// Faults to simulate.
    pub faults: Arc<Faults>,
    /// Connections to other peers.
    pub peers: Peers,
    /// Set when the process must end.
    pub fatal: watch::Sender<Option<String>>,
}

impl Node {
    /// The endpoint to dial for one of the channel's configuration: `peer.deliveryclient.addressOverrides`.
    pub fn resolve(&self, endpoint: &Endpoint) -> Endpoint {
        let Some(found) = self.settings.overrides.iter().find(|entry| entry.from == endpoint.address) else {
            return endpoint.clone();
        };
        let mut roots = endpoint.roots.clone();
        roots.extend(found.ca.as_ref().and_then(|path| std::fs::read(path).ok()));
        Endpoint { address: found.to.clone(), roots }
    }

    /// Takes note of a channel's configuration: its members' TLS roots are trusted as clients. A configuration that
    /// demands what this version does not know ends the process.
    pub fn learn(&self, bundle: &Bundle) {
        for pem in bundle.msps.values().flat_map(|msp| &msp.tls_roots) {
            self.client_roots.add(pem);
        }
        if let Err(text) = bundle.check_supported_by_peers() {
            self.die(&text);
        }
    }

    /// Ends the process with a text.
    pub fn die(&self, reason: &str) {
        tracing::error!(reason, "the node cannot go on");
        self.fatal.send_replace(Some(reason.to_owned()));
    }
}
