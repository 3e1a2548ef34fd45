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
