//! The world that a plan writes to for real: the API server.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Map, Value, json};
use tenter_consortium::chaincode::PACKAGE_KEY;
use tenter_consortium::document::Blob;
use tenter_consortium::objects::{
    ANNOTATION_APPROVED, ANNOTATION_DELETE_VOLUME, FIELD_MANAGER, Kind, LABEL_CONSORTIUM, LABEL_ORGANIZATION, ObjectRef,
};

use super::{StepOutcome, World};
use crate::controllers::apply::{self, MANAGED_BY, Written};
use crate::controllers::context::Context;
use crate::controllers::driver::FINALIZER;
use crate::controllers::failure::Failure;
use crate::controllers::proposal;
use crate::resources::{
    CertificateAuthority, Chaincode, Channel, Membership, Orderer, Organization, Peer, Proposal, TenterObject,
};

/// Writes through the API server.
pub struct Cluster<'a> {
    /// The API server and the count of writes.
    pub ctx: &'a Context,
    /// The namespace patterns that may be made; the plan was made by the same settings, and asking again costs nothing.
    pub namespaces: &'a tenter_consortium::objects::NamespaceSettings,
}

impl World for Cluster<'_> {
    async fn create_namespace(&self, namespace: &str, organization: &str) -> Result<StepOutcome, Failure> {
        let allowed = tenter_consortium::settings::namespace_allowed(namespace, self.namespaces);
        if !self.namespaces.create || !allowed {
            let message = format!("the Consortium's settings do not let this daemon make namespace {namespace}");
            return Err(Failure::terminal("NamespaceNotAllowed", message));
        }
        let object: Namespace = decode(json!({
            "metadata": { "name": namespace, "labels": { LABEL_ORGANIZATION: organization, MANAGED_BY: FIELD_MANAGER } },
        }))?;
        let api = Api::<Namespace>::all(self.ctx.client.clone());
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        self.ctx.writes.count("Namespace");
        match api.create(&parameters, &object).await {
            Ok(_) => Ok(StepOutcome::Done),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let live = api
                    .get(namespace)
                    .await
                    .map_err(|error| Failure::kube("ReadNamespace", format!("read Namespace {namespace}"), &error))?;
                let owner = live.labels().get(LABEL_ORGANIZATION);
                if owner.map(String::as_str) == Some(organization) {
                    return Ok(StepOutcome::AlreadyTrue);
                }
                let message = format!(
                    "namespace {namespace} exists and is not {organization}'s: label it {LABEL_ORGANIZATION}={organization} \
                     if it should be"
                );
                Err(Failure::terminal("ForeignNamespace", message))
            }
            Err(error) => Err(Failure::kube("CreateNamespace", format!("create Namespace {namespace}"), &error)),
        }
    }

    async fn create_object(
        &self,
        object: &ObjectRef,
        labels: &BTreeMap<String, String>,
        spec: &Value,
    ) -> Result<StepOutcome, Failure> {
        self.write(Way::Create, object, labels, spec).await
    }

    async fn update_object(
        &self,
        object: &ObjectRef,
        labels: &BTreeMap<String, String>,
        spec: &Value,
    ) -> Result<StepOutcome, Failure> {
        self.write(Way::Update, object, labels, spec).await
    }

    async fn store_package(&self, namespace: &str, config_map: &str, package: &[u8]) -> Result<StepOutcome, Failure> {
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(config_map.to_owned()),
                namespace: Some(namespace.to_owned()),
                labels: Some(BTreeMap::from([(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned())])),
                ..ObjectMeta::default()
            },
            binary_data: Some(BTreeMap::from([(PACKAGE_KEY.to_owned(), ByteString(package.to_vec()))])),
            immutable: Some(true),
            ..ConfigMap::default()
        };
        apply::create(self.ctx, &object).await.map(|written| match written {
            Written::Unchanged => StepOutcome::AlreadyTrue,
            Written::Changed => StepOutcome::Done,
        })
    }

    async fn store_material(
        &self,
        (namespace, name): (&str, &str),
        labels: &BTreeMap<String, String>,
        entries: &BTreeMap<String, Blob>,
        pinned: bool,
    ) -> Result<StepOutcome, Failure> {
        let mut labels = labels.clone();
        labels.insert(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned());
        let (mut text, mut binary) = (BTreeMap::new(), BTreeMap::new());
        for (key, blob) in entries {
            match String::from_utf8(blob.0.clone()) {
                Ok(value) => drop(text.insert(key.clone(), value)),
                Err(_) => drop(binary.insert(key.clone(), ByteString(blob.0.clone()))),
            }
        }
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            data: Some(text),
            binary_data: Some(binary),
            immutable: pinned.then_some(true),
        };
        let written =
            if pinned { apply::create(self.ctx, &object).await } else { apply::apply(self.ctx, &object).await };
        written.map(|written| match written {
            Written::Unchanged => StepOutcome::AlreadyTrue,
            Written::Changed => StepOutcome::Done,
        })
    }

    async fn approve_update(&self, channel: &str, digest: &str) -> Result<(), Failure> {
        let (namespace, name) = (&self.ctx.namespace, proposal::name(channel, digest));
        let Some(live) = apply::get::<Proposal>(self.ctx, namespace, &name).await? else { return Ok(()) };
        // The name holds only the beginning of the digest.
        let other = live.spec.digest != digest || live.spec.channel != channel;
        if other || live.annotations().get(ANNOTATION_APPROVED).map(String::as_str) == Some(digest) {
            return Ok(());
        }
        let patch = json!({ "metadata": { "annotations": { ANNOTATION_APPROVED: digest } } });
        apply::merge::<Proposal>(self.ctx, namespace, &name, &patch).await
    }

    async fn remove_object(&self, object: &ObjectRef, volume: Option<&str>) -> Result<StepOutcome, Failure> {
        match object.kind {
            Kind::Membership => remove_as::<Membership>(self.ctx, object, volume).await,
            Kind::Chaincode => remove_as::<Chaincode>(self.ctx, object, volume).await,
            Kind::Channel => remove_as::<Channel>(self.ctx, object, volume).await,
            Kind::Orderer => remove_as::<Orderer>(self.ctx, object, volume).await,
            Kind::Peer => remove_as::<Peer>(self.ctx, object, volume).await,
            kind => {
                let message = format!("{object}: objects of kind {kind} are not taken away by this version");
                Err(Failure::terminal("NotCarriedOut", message))
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    Create,
    Update,
}

impl Cluster<'_> {
    async fn write(
        &self,
        way: Way,
        object: &ObjectRef,
        labels: &BTreeMap<String, String>,
        spec: &Value,
    ) -> Result<StepOutcome, Failure> {
        let mut labels = labels.clone();
        labels.insert(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned());
        match object.kind {
            Kind::Organization => write_as::<Organization>(self.ctx, way, object, &labels, spec).await,
            Kind::CertificateAuthority => write_as::<CertificateAuthority>(self.ctx, way, object, &labels, spec).await,
            Kind::Orderer => write_as::<Orderer>(self.ctx, way, object, &labels, spec).await,
            Kind::Peer => write_as::<Peer>(self.ctx, way, object, &labels, spec).await,
            Kind::Channel => write_as::<Channel>(self.ctx, way, object, &labels, spec).await,
            Kind::Membership => write_as::<Membership>(self.ctx, way, object, &labels, spec).await,
            Kind::Chaincode => write_as::<Chaincode>(self.ctx, way, object, &labels, spec).await,
        }
    }
}

/// Deletes an object of this daemon's; one that is gone, or going, is as it should be.
async fn remove_as<K: TenterObject>(
    ctx: &Context,
    object: &ObjectRef,
    volume: Option<&str>,
) -> Result<StepOutcome, Failure> {
    let Some(live) = apply::get::<K>(ctx, &object.namespace, &object.name).await? else {
        return Ok(StepOutcome::AlreadyTrue);
    };
    if live.meta().deletion_timestamp.is_some() {
        return Ok(StepOutcome::AlreadyTrue);
    }
    if live.labels().get(MANAGED_BY).map(String::as_str) != Some(FIELD_MANAGER) {
        let message =
            format!("{object} is not Tenter's (it has no label {MANAGED_BY}={FIELD_MANAGER}): remove it by hand");
        return Err(Failure::terminal(format!("Foreign{}", object.kind), message));
    }
    // Its controller deletes the claim when it lets the object go, and not while anything still holds it.
    let is_held = live.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    if let Some(claim) = volume.filter(|_| is_held)
        && live.annotations().get(ANNOTATION_DELETE_VOLUME).map(String::as_str) != Some(claim)
    {
        let patch = json!({
            "metadata": {
                "resourceVersion": live.resource_version(),
                "annotations": { ANNOTATION_DELETE_VOLUME: claim },
            },
        });
        apply::merge::<K>(ctx, &object.namespace, &object.name, &patch).await?;
    }
    // One that no controller has taken on runs nothing. What is stopped in between starts here again.
    if let Some(claim) = volume.filter(|_| !is_held) {
        apply::delete::<PersistentVolumeClaim>(ctx, &object.namespace, claim).await?;
    }
    apply::delete::<K>(ctx, &object.namespace, &object.name).await?;
    Ok(StepOutcome::Done)
}

async fn write_as<K: TenterObject>(
    ctx: &Context,
    way: Way,
    object: &ObjectRef,
    labels: &BTreeMap<String, String>,
    spec: &Value,
) -> Result<StepOutcome, Failure> {
    if matches!(way, Way::Create) {
        let wanted: K = decode(json!({
            "metadata": { "namespace": object.namespace, "name": object.name, "labels": labels },
            "spec": spec,
        }))?;
        if apply::create(ctx, &wanted).await? == Written::Changed {
            return Ok(StepOutcome::Done);
        }
    }
    let Some(live) = apply::get::<K>(ctx, &object.namespace, &object.name).await? else {
        let message = format!("{object} went while it was to be changed; the next plan makes it again");
        return Err(Failure::new("ObjectGone", message));
    };
    owned(object, labels, live.labels())?;
    let encoded = serde_json::to_value(&live)
        .map_err(|error| Failure::terminal("Encode", format!("could not write {object} as JSON: {error}")))?;
    let Some(change) = merge_patch(&encoded["spec"], spec) else { return Ok(StepOutcome::AlreadyTrue) };
    if matches!(way, Way::Create) {
        let message = format!("{object} was made by somebody else meanwhile; the next plan compares it with the file");
        return Err(Failure::new("ObjectExists", message));
    }
    // The version that was read guards against another writer: what is removed was seen in it.
    let patch = json!({
        "metadata": { "resourceVersion": live.resource_version(), "labels": labels },
        "spec": change,
    });
    apply::merge::<K>(ctx, &object.namespace, &object.name, &patch).await?;
    Ok(StepOutcome::Done)
}

/// Whether a live object is this Consortium's to write.
fn owned(
    object: &ObjectRef,
    wanted: &BTreeMap<String, String>,
    live: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    if live.get(MANAGED_BY).map(String::as_str) != Some(FIELD_MANAGER) {
        let message = format!(
            "{object} exists and is not Tenter's (it has no label {MANAGED_BY}={FIELD_MANAGER}): rename or remove it"
        );
        return Err(Failure::terminal(format!("Foreign{}", object.kind), message));
    }
    let ours = wanted.get(LABEL_CONSORTIUM).map(String::as_str).unwrap_or_default();
    let message = match live.get(LABEL_CONSORTIUM) {
        Some(label) if label == ours => return Ok(()),
        Some(other) => {
            format!("{object} belongs to Consortium {other} (label {LABEL_CONSORTIUM}): give this one another name")
        }
        None => format!(
            "{object} has no label {LABEL_CONSORTIUM}, so whose it is cannot be told: label it \
             {LABEL_CONSORTIUM}={ours} if it is this Consortium's"
        ),
    };
    Err(Failure::terminal("ForeignConsortium", message))
}

/// The merge patch (RFC 7396) that makes `live` into `wanted`; `None` when it is so. `null` and absence are the same.
fn merge_patch(live: &Value, wanted: &Value) -> Option<Value> {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            let mut patch = Map::new();
            for (key, value) in wanted.iter().filter(|(_, value)| !value.is_null()) {
                let change = live.get(key).map_or_else(|| Some(without_nulls(value)), |live| merge_patch(live, value));
                patch.extend(change.map(|change| (key.clone(), change)));
            }
            let gone =
                live.iter().filter(|(key, value)| !value.is_null() && wanted.get(*key).is_none_or(Value::is_null));
            patch.extend(gone.map(|(key, _)| (key.clone(), Value::Null)));
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (live, wanted) => {
            let wanted = without_nulls(wanted);
            (without_nulls(live) != wanted).then_some(wanted)
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

fn decode<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, Failure> {
    serde_json::from_value(value)
        .map_err(|error| Failure::terminal("PlanInvalid", format!("the plan holds a spec that is none: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::api_world::ApiServer;

    #[test]
    fn a_patch_removes_what_is_not_wanted() {
        let check = |live: Value, wanted: Value, expect: Option<Value>| {
            assert_eq!(merge_patch(&live, &wanted), expect, "{live} {wanted}");
        };
        check(json!({"a": 1, "b": null}), json!({"a": 1, "c": null}), None);
        check(json!({"acls": {"x": "y", "z": "w"}}), json!({"acls": {"x": "y"}}), Some(json!({"acls": {"z": null}})));
        check(json!({"a": 1, "quota": {"cpu": 1}}), json!({"a": 2}), Some(json!({"a": 2, "quota": null})));
        check(json!({"l": [1, 2]}), json!({"l": [1]}), Some(json!({"l": [1]})));
        check(json!({"l": [{"a": 1}]}), json!({"l": [{"a": 1, "b": null}]}), None);
        check(json!({}), json!({"a": {"b": null, "c": 1}}), Some(json!({"a": {"c": 1}})));
    }

    /// As long as something holds an object, its ledger is whole.
    #[tokio::test]
    async fn a_claim_is_left_to_the_controller_that_holds_its_object() {
        let spec = json!({
            "organization": "acme", "mspID": "AcmeMSP", "domain": "acme.example", "address": "o:7050", "image": "orderer",
            "version": "3.1", "resources": {"cpu": "1", "memory": "1Gi"}, "storage": {"size": "1Gi"},
        });
        let namespaces = tenter_consortium::objects::NamespaceSettings::default();
        for held in [true, false] {
            let api = ApiServer::default();
            let finalizers: &[&str] = if held { &[FINALIZER] } else { &[] };
            let orderer: Orderer = decode(json!({
                "metadata": {
                    "namespace": "trade-acme", "name": "orderer1", "resourceVersion": "1", "finalizers": finalizers,
                    "labels": {MANAGED_BY: FIELD_MANAGER},
                },
                "spec": spec,
            }))
            .unwrap();
            let claim = decode::<PersistentVolumeClaim>(
                json!({"metadata": {"namespace": "trade-acme", "name": "data-orderer1-0"}}),
            );
            api.put(&orderer);
            api.put(&claim.unwrap());
            let ctx = Context::new(api.client(), "system");
            let writer = Cluster { ctx: &ctx, namespaces: &namespaces };
            let object =
                ObjectRef { kind: Kind::Orderer, namespace: "trade-acme".to_owned(), name: "orderer1".to_owned() };
            assert_eq!(writer.remove_object(&object, Some("data-orderer1-0")).await.unwrap(), StepOutcome::Done);
            assert_eq!(api.all::<PersistentVolumeClaim>("trade-acme").len(), usize::from(held));
            let left = api.all::<Orderer>("trade-acme");
            assert_eq!(left.len(), usize::from(held));
            for orderer in left {
                assert!(orderer.metadata.deletion_timestamp.is_some());
                let asked = orderer.annotations().get(ANNOTATION_DELETE_VOLUME).map(String::as_str);
                assert_eq!(asked, Some("data-orderer1-0"));
            }
            let again = writer.remove_object(&object, Some("data-orderer1-0")).await.unwrap();
            assert_eq!(again, StepOutcome::AlreadyTrue);
        }
    }

    #[test]
    fn only_own_objects_are_written() {
        let object = ObjectRef { kind: Kind::Peer, namespace: "n".to_owned(), name: "p".to_owned() };
        let labels = |consortium: Option<&str>, manager: &str| {
            let consortium = consortium.map(|name| (LABEL_CONSORTIUM.to_owned(), name.to_owned()));
            consortium.into_iter().chain([(MANAGED_BY.to_owned(), manager.to_owned())]).collect::<BTreeMap<_, _>>()
        };
        let wanted = labels(Some("trade"), FIELD_MANAGER);
        let check = |live: BTreeMap<String, String>, expect: Option<&str>| {
            let failure = owned(&object, &wanted, &live).err();
            assert_eq!(failure.as_ref().map(|failure| failure.reason.as_str()), expect);
            assert!(failure.is_none_or(|failure| failure.terminal));
        };
        check(wanted.clone(), None);
        check(labels(Some("other"), FIELD_MANAGER), Some("ForeignConsortium"));
        check(labels(None, FIELD_MANAGER), Some("ForeignConsortium"));
        check(labels(Some("trade"), "helm"), Some("ForeignPeer"));
    }
}
