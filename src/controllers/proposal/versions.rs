//! Which nodes of a channel are too old for the capabilities that its spec names.

use futures::future::FutureExt as _;
use tenter_consortium::objects::{ChannelSpec, ConsortiumSpec};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::NodeRef;
use tenter_consortium::values::Version;

use crate::controllers::channel::form::own_consenters;
use crate::controllers::gates;
use crate::nodes::{Node, NodeKind, Nodes};
use crate::observe::channel::{bounded, each};

/// The oldest Fabric that knows a capability, as `V2_5` and `V3_0` say of themselves.
fn since(capability: &str) -> Option<Version> {
    let mut parts = capability.strip_prefix('V')?.split('_');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some(Version { major, minor, patch: None })
}

/// The release that a node names: `v3.1.5-rc1` is 3.1.5.
fn release(version: &str) -> Option<Version> {
    Version::parse(version.trim_start_matches('v').split(['-', '+']).next()?)
}

/// The channel's nodes, as far as this daemon acts for them, that do not know its capabilities; each with the version that
/// it says it runs. Unreachable when one could not be asked: what is not known is not taken for new enough.
pub async fn too_old(nodes: &Nodes, settings: &ConsortiumSpec, spec: &ChannelSpec) -> Observation<Vec<String>> {
    let names = [&spec.capabilities.channel, &spec.capabilities.orderer, &spec.capabilities.application];
    let Some(needed) = names.into_iter().filter_map(|name| since(name)).max() else {
        return Observation::Present { value: Vec::new() };
    };
    let mut all = own_consenters(spec, &settings.organizations);
    for member in &spec.members {
        if gates::admit(settings, &member.organization, &member.namespace).is_ok() {
            all.extend(member.peers.iter().map(|peer| Node {
                reference: NodeRef { namespace: member.namespace.clone(), name: peer.clone() },
                kind: NodeKind::Peer,
                msp_id: member.msp_id.clone(),
                address: String::new(),
                foreign: None,
            }));
        }
    }
    let answers = each(&all, |node| bounded(node, "version", nodes.version(node).boxed())).await;
    let (mut old, mut silent) = (Vec::new(), Vec::new());
    for (node, answer) in answers {
        match answer {
            Observation::Present { value } => match release(&value.version) {
                Some(version) if (version.major, version.minor) < (needed.major, needed.minor) => {
                    old.push(format!("{node} ({})", value.version));
                }
                Some(_) => {}
                None => silent.push(format!("{node} says that it runs {:?}, which is no version", value.version)),
            },
            other => silent.extend(other.evidence().map(str::to_owned)),
        }
    }
    if !old.is_empty() || silent.is_empty() {
        return Observation::Present { value: old };
    }
    Observation::Unreachable { evidence: silent.join("; ") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;
    use std::sync::Arc;

    use serde_json::json;
    use tenter_fabric::client::{Dialer, DirectDialer, Target};
    use tenter_fabric_testnet::Organization;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;
    use crate::controllers::process_world::enrol;
    use crate::nodes::dial::Route;
    use crate::nodes::memory::MemoryStore;

    /// Leads from nodes to the operations ports of the test; all others are closed.
    #[derive(Default)]
    struct Ports(BTreeMap<NodeRef, SocketAddr>);

    impl Route for Ports {
        fn dialer(&self, node: &NodeRef) -> Arc<dyn Dialer> {
            let target = Target::new(format!("{}.{}.svc", node.name, node.namespace), 9443);
            let port = self.0.get(node).copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 1)));
            Arc::new(DirectDialer::new(BTreeMap::from([(target, port)])))
        }
    }

    /// An operations port that says this version to every request.
    async fn operations(organization: &Organization, name: &str, version: &str) -> SocketAddr {
        let tls = organization.tls_node(name).unwrap();
        let certificate = CertificateDer::from_pem_slice(tls.cert_pem.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(tls.key_pem.expose_pem().as_bytes()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let body = json!({"Version": version, "CommitSHA": ""}).to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away is no failure of the server.
                drop(serve(&acceptor, stream, &answer).await);
            }
        });
        address
    }

    async fn serve(acceptor: &TlsAcceptor, stream: TcpStream, answer: &str) -> std::io::Result<()> {
        let mut stream = acceptor.accept(stream).await?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        assert!(request.starts_with(b"GET /version "), "{}", String::from_utf8_lossy(&request));
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }

    /// What is found of one orderer of hub, and one peer each of acme and globex, that say these versions; nothing listens
    /// where there is none. The daemon acts for `own`, and the channel wants `capability`.
    async fn found(own: &[&str], capability: &str, versions: [Option<&str>; 3]) -> Observation<Vec<String>> {
        let store = Arc::new(MemoryStore::default());
        let mut ports = Ports::default();
        let nodes = [("hub", "orderer1"), ("acme", "peer1"), ("globex", "peer1")];
        for ((name, node), version) in nodes.into_iter().zip(versions) {
            let organization = Organization::new(name).unwrap();
            enrol(&store, &organization);
            if let Some(version) = version {
                let reference = NodeRef { namespace: format!("trade-{name}"), name: node.to_owned() };
                ports.0.insert(reference, operations(&organization, node, version).await);
            }
        }
        let member = |name: &str, msp_id: &str| {
            let namespace = format!("trade-{name}");
            json!({"organization": name, "mspID": msp_id, "namespace": namespace, "peers": ["peer1"], "anchors": []})
        };
        let policies = json!({"channel": {}, "orderer": {}, "application": {}});
        let spec = json!({
            "consortium": "trade", "channel": "settlement", "organizer": "hub",
            "consensus": {"type": "etcdraft", "consenters": [
                {"organization": "hub", "namespace": "trade-hub", "orderer": "orderer1", "address": "orderer1:7050"},
            ]},
            "ordererOrganizations": [
                {"organization": "hub", "mspID": "HubMSP", "namespace": "trade-hub", "endpoints": ["orderer1:7050"]},
            ],
            "members": [member("acme", "AcmeMSP"), member("globex", "GlobexMSP")],
            "policies": policies,
            "capabilities": {"channel": capability, "orderer": "V2_0", "application": "V2_5"},
            "batch": {"maxMessageCount": 1, "absoluteMaxBytes": 1, "preferredMaxBytes": 1, "timeout": "1s"},
        });
        let settings = json!({
            "source": {"repository": "file:///nowhere"}, "organizations": own, "namespaces": {"allowed": ["trade-*"]},
        });
        let nodes = Nodes::new(store, Arc::new(ports));
        too_old(&nodes, &serde_json::from_value(settings).unwrap(), &serde_json::from_value(spec).unwrap()).await
    }

    fn old(names: &[&str]) -> Observation<Vec<String>> {
        Observation::Present { value: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[tokio::test]
    async fn nodes_that_do_not_know_a_capability_are_named_with_their_version() {
        let versions = [Some("v3.1.5"), Some("v2.5.12"), Some("2.5.0")];
        let both = old(&["trade-acme/peer1 (v2.5.12)", "trade-globex/peer1 (2.5.0)"]);
        assert_eq!(found(&["*"], "V3_0", versions).await, both);
        // All of these know V2_5.
        assert_eq!(found(&["*"], "V2_5", versions).await, old(&[]));
        assert_eq!(found(&["*"], "V3_0", [Some("v3.0.0"), Some("v3.1.5"), Some("v4.0.0-rc1")]).await, old(&[]));
        // Orderers count as well.
        let orderer = found(&["*"], "V3_0", [Some("v2.5.12"), Some("v3.1.5"), Some("v3.1.5")]).await;
        assert_eq!(orderer, old(&["trade-hub/orderer1 (v2.5.12)"]));
    }

    #[tokio::test]
    async fn what_is_not_known_is_not_taken_for_new_enough() {
        let unnamed = found(&["*"], "V3_0", [Some("v3.1.5"), Some("latest"), Some("v3.1.5")]).await;
        let Observation::Unreachable { evidence } = &unnamed else { unreachable!("{unnamed:?}") };
        assert_eq!(evidence, "trade-acme/peer1 says that it runs \"latest\", which is no version");
        let silent = found(&["*"], "V3_0", [Some("v3.1.5"), None, Some("v3.1.5")]).await;
        let Observation::Unreachable { evidence } = &silent else { unreachable!("{silent:?}") };
        assert!(evidence.contains("peer trade-acme/peer1"), "{evidence}");
        // One that is known to be too old is enough to say so.
        let one = found(&["*"], "V3_0", [None, Some("latest"), Some("v2.5.12")]).await;
        assert_eq!(one, old(&["trade-globex/peer1 (v2.5.12)"]));
    }

    #[tokio::test]
    async fn nodes_of_other_daemons_are_not_asked() {
        let versions = [None, Some("v3.1.5"), Some("v2.5.12")];
        assert_eq!(found(&["acme"], "V3_0", versions).await, old(&[]));
        assert_eq!(found(&["globex"], "V3_0", versions).await, old(&["trade-globex/peer1 (v2.5.12)"]));
        // Capabilities that name no release ask for nothing, and then nobody is asked.
        assert_eq!(found(&[], "V3_0", versions).await, old(&[]));
    }

    #[test]
    fn capabilities_name_their_release() {
        let check = |name: &str, expect: Option<(u16, u16)>| {
            assert_eq!(since(name).map(|version| (version.major, version.minor)), expect, "{name}");
        };
        check("V3_0", Some((3, 0)));
        check("V2_5", Some((2, 5)));
        check("V1_4_2", Some((1, 4)));
        check("3_0", None);
        check("V3", None);
    }

    #[test]
    fn nodes_name_their_release_in_several_ways() {
        let check = |text: &str, expect: Option<(u16, u16)>| {
            assert_eq!(release(text).map(|version| (version.major, version.minor)), expect, "{text}");
        };
        check("3.1.5", Some((3, 1)));
        check("v2.5.12", Some((2, 5)));
        check("v3.1.5-sim", Some((3, 1)));
        check("latest", None);
    }
}
