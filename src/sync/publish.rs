//! The snapshot that a daemon serves: what others may plan with.

use jiff::Timestamp;
use tenter_consortium::objects::{Kind, ObjectRef};
use tenter_consortium::observation::Observation;
use tenter_consortium::snapshot::{SignedSnapshot, Snapshot};

use super::engine::{Engine, Look};
use crate::controllers::labels::IDENTITY_READER;
use crate::nodes::chain;
use crate::nodes::identity::signing_identity;

/// A snapshot of what was seen, signed by the reader of the first organization whose key can be had, as JSON.
pub async fn signed(engine: &Engine, look: &Look, now: Timestamp) -> Result<String, String> {
    let mut why = "this daemon acts for no organization".to_owned();
    for (namespace, wanted) in &look.desired.namespaces {
        let object = ObjectRef {
            kind: Kind::Organization,
            namespace: look.desired.namespace.clone(),
            name: wanted.organization.clone(),
        };
        let spec = look.desired.objects.get(&object).map(|object| &object.spec);
        let Some(msp_id) = spec.and_then(|spec| spec.get("mspID")?.as_str()) else { continue };
        match signing_identity(engine.nodes.store(), namespace, IDENTITY_READER, msp_id).await {
            Observation::Present { value: identity } => {
                let snapshot = Snapshot::of(&look.desired, look.plan.revision.as_deref(), &look.observed, now);
                let signed = SignedSnapshot::sign(&snapshot, &identity).map_err(|error| chain(&error))?;
                return serde_json::to_string(&signed).map_err(|error| error.to_string());
            }
            other => other.evidence().unwrap_or_default().clone_into(&mut why),
        }
    }
    Err(format!("no identity to sign a snapshot with: {why}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use getrandom::SysRng;
    use getrandom::rand_core::UnwrapErr;
    use tenter_consortium::desired::desired;
    use tenter_consortium::document::{RepositoryFacts, load};
    use tenter_consortium::model;
    use tenter_consortium::observed::NodeRef;
    use tenter_consortium::planner::plan;
    use tenter_consortium::settings::Settings;
    use tenter_fabric::ca::{Authority, CertificateRequest, LEAF_LIFETIME, OrganizationRoots, Role, Usage};
    use tenter_fabric::client::{Dialer, DirectDialer};

    use super::*;
    use crate::controllers::Context;
    use crate::controllers::api_world::ApiServer;
    use crate::nodes::Nodes;
    use crate::nodes::dial::Route;
    use crate::nodes::memory::MemoryStore;
    use crate::web::metrics::Telemetry;

    /// Leads to no node.
    struct Nowhere;

    impl Route for Nowhere {
        fn dialer(&self, _node: &NodeRef) -> Arc<dyn Dialer> {
            Arc::new(DirectDialer::new(BTreeMap::new()))
        }
    }

    #[tokio::test]
    async fn a_snapshot_is_signed_by_an_organization_of_the_daemon_and_served() {
        let text = include_bytes!("../../examples-repo/network.yaml");
        let network = load(text, "network.yaml", &RepositoryFacts::default()).network.unwrap();
        let desired = desired(&network, &Settings::of_definitions("trade", "system", &[&network]));
        let observed = model::nothing(&desired, "404");
        let look = Look { plan: plan(&desired, &observed, Some("0123abc")), desired, observed };
        let (store, now) = (Arc::new(MemoryStore::default()), Timestamp::now());
        let ctx = Arc::new(Context::new(ApiServer::default().client(), "system"));
        let nodes = Arc::new(Nodes::new(Arc::clone(&store) as _, Arc::new(Nowhere)));
        let engine = Engine { ctx: Arc::clone(&ctx), nodes };
        // Without a key there is none, and it is said why.
        let why = signed(&engine, &look, now).await.unwrap_err();
        assert!(why.starts_with("no identity to sign a snapshot with") && why.contains(IDENTITY_READER), "{why}");
        let roots = |name: &str| OrganizationRoots::generate(name, now, &mut UnwrapErr(SysRng)).unwrap();
        let (globex, other) = (roots("globex.trade"), roots("other.trade"));
        let usage = Usage::Enrolment(Role::Client);
        let request = CertificateRequest { common_name: "reader".to_owned(), usage, lifetime: LEAF_LIFETIME };
        let authority = Authority::load(&globex.enrolment).unwrap();
        let reader = authority.issue(&request, now, &mut UnwrapErr(SysRng)).unwrap();
        let entries = [("tls.crt", reader.cert_pem.as_bytes()), ("tls.key", reader.key_pem.expose_pem().as_bytes())];
        let entries = entries.map(|(key, bytes)| (key.to_owned(), bytes.to_vec()));
        store.put_secret("trade-globex", IDENTITY_READER, entries.into());
        let published = signed(&engine, &look, now).await.unwrap();
        assert!(!published.contains("PRIVATE KEY"));

        // What the daemon serves is what a reader verifies.
        let telemetry = Arc::new(Telemetry::new(ctx));
        let listener = crate::web::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(crate::web::serve(listener, Arc::clone(&telemetry), tokio_util::sync::CancellationToken::new()));
        let get = async |consortium: &str| {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = format!("GET /snapshots/{consortium} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head.to_lowercase(), body.to_owned())
        };
        assert!(get("trade").await.0.starts_with("http/1.1 404"), "there is none before the first look");
        telemetry.set_snapshot("trade", published.clone());
        let (head, body) = get("trade").await;
        assert!(head.starts_with("http/1.1 200") && head.contains("application/json"), "{head}");
        assert_eq!(body, published);
        let read = || SignedSnapshot::read(body.as_bytes()).unwrap();
        let (snapshot, signer) = read().verify(&globex.enrolment.cert_pem).unwrap();
        assert_eq!(snapshot, Snapshot::of(&look.desired, Some("0123abc"), &look.observed, now));
        assert!(signer.starts_with("GlobexMSP ("), "{signer}");
        assert!(read().verify(&other.enrolment.cert_pem).is_err(), "nobody else vouches for it");
        assert!(get("other").await.0.starts_with("http/1.1 404"));
    }
}
