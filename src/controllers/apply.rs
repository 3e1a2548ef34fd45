//! Reads and writes of Kubernetes objects: only a 404 is absence, and nothing is written that is already so.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tenter_consortium::objects::FIELD_MANAGER;
use tenter_consortium::observation::Observation;
use tokio::time::timeout;

use super::cache::Answer;
use super::context::Context;
use super::failure::{Failure, describe};
use super::quantity::Quantity;

/// Label of everything that the controllers make; what exists without it is somebody else's, and is left alone.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Annotation that holds the hash of what was applied last, so that a field that is no longer wanted is noticed.
pub const APPLIED: &str = "tenter.dev/applied";

/// A namespaced object that the client knows.
pub trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static
{
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Something was written.
    Changed,
    /// It was so already.
    Unchanged,
}

/// Longest answer of the API server: the client itself has no limit, so that watches can be silent.
const ANSWER: Duration = Duration::from_secs(30);

/// The API server did not answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", ANSWER.as_secs())]
struct Silent;

/// Bounds one call. Whether a write was done that had no answer is seen at the next look.
pub async fn bounded<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    timeout(ANSWER, call).await.unwrap_or_else(|_| Err(kube::Error::Service(Box::new(Silent))))
}

fn named<K: Namespaced>(namespace: &str, name: &str) -> String {
    format!("{} {namespace}/{name}", K::kind(&()))
}

/// Reads an object, or takes the copy of a watched one; `None` only when the API server says, or said, that there is none.
pub async fn get<K: Namespaced>(ctx: &Context, namespace: &str, name: &str) -> Result<Option<K>, Failure> {
    match ctx.cache.get(namespace, name) {
        Answer::Known(object) => Ok(object),
        Answer::Unknown => read(ctx, namespace, name).await,
    }
}

/// Reads an object that Tenter makes, or takes its copy. One of somebody else's that has its name may count as absent:
/// applying over it is refused ([`apply`]).
pub async fn own<K: Namespaced>(ctx: &Context, namespace: &str, name: &str) -> Result<Option<K>, Failure> {
    match ctx.cache.own(namespace, name) {
        Answer::Known(object) => Ok(object),
        Answer::Unknown => read(ctx, namespace, name).await,
    }
}

/// Reads an object from the API server itself, where what another process does in the same moment matters.
pub async fn read<K: Namespaced>(ctx: &Context, namespace: &str, name: &str) -> Result<Option<K>, Failure> {
    let api = Api::<K>::namespaced(ctx.client.clone(), namespace);
    let object = bounded(api.get_opt(name)).await.map_err(|error| {
        Failure::kube(format!("Read{}", K::kind(&())), format!("read {}", named::<K>(namespace, name)), &error)
    })?;
    ctx.cache.asked::<K>(namespace, name, object.is_some());
    Ok(object)
}

/// Looks at an object, and says what was seen with its evidence.
pub async fn observe<K: Namespaced>(ctx: &Context, namespace: &str, name: &str) -> Observation<K> {
    if let Answer::Known(Some(value)) = ctx.cache.get(namespace, name) {
        return Observation::Present { value };
    }
    let what = named::<K>(namespace, name);
    let api = Api::<K>::namespaced(ctx.client.clone(), namespace);
    match bounded(api.get_opt(name)).await {
        Ok(Some(value)) => Observation::Present { value },
        Ok(None) => Observation::Absent { evidence: format!("the API server has no {what}") },
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            Observation::Forbidden { evidence: format!("the API server refuses {what}: {}", status.message) }
        }
        Err(error) => Observation::Unreachable { evidence: format!("{what}: {}", describe(&error)) },
    }
}

/// Lists the objects of a namespace that carry `labels` (a label selector), by name.
pub async fn list<K: Namespaced>(ctx: &Context, namespace: &str, labels: &str) -> Result<Vec<K>, Failure> {
    let mut items = match ctx.cache.list::<K>(Some(namespace), labels) {
        Answer::Known(items) => items,
        Answer::Unknown => {
            let api = Api::<K>::namespaced(ctx.client.clone(), namespace);
            ask(&api, labels, &format!("namespace {namespace}")).await?
        }
    };
    items.sort_by_key(ResourceExt::name_any);
    Ok(items)
}

/// Lists the objects of all namespaces that carry `labels` (a label selector), by namespace and name.
pub async fn list_all<K: Namespaced>(ctx: &Context, labels: &str) -> Result<Vec<K>, Failure> {
    let mut items = match ctx.cache.list::<K>(None, labels) {
        Answer::Known(items) => items,
        Answer::Unknown => ask(&Api::<K>::all(ctx.client.clone()), labels, "all namespaces").await?,
    };
    items.sort_by_key(|item| (item.namespace(), item.name_any()));
    Ok(items)
}

async fn ask<K: Namespaced>(api: &Api<K>, labels: &str, place: &str) -> Result<Vec<K>, Failure> {
    let parameters = ListParams::default().labels(labels);
    let list = bounded(api.list(&parameters)).await.map_err(|error| {
        let kind = K::kind(&());
        Failure::kube(format!("List{kind}"), format!("list {kind} in {place}"), &error)
    })?;
    Ok(list.items)
}

/// Makes an object that must not be there yet; what is there is left as it is.
pub async fn create<K: Namespaced>(ctx: &Context, object: &K) -> Result<Written, Failure> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    ctx.writes.count(&K::kind(&()));
    let api = Api::<K>::namespaced(ctx.client.clone(), &namespace);
    match bounded(api.create(&parameters, object)).await {
        Ok(answer) => {
            ctx.cache.wrote(&answer);
            Ok(Written::Changed)
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            ctx.cache.exists::<K>(&namespace, &name);
            Ok(Written::Unchanged)
        }
        Err(error) => Err(Failure::kube(
            format!("Create{}", K::kind(&())),
            format!("create {}", named::<K>(&namespace, &name)),
            &error,
        )),
    }
}

/// Replaces an object that was read before: fails if somebody changed it in between (its resource version moved).
pub async fn replace<K: Namespaced>(ctx: &Context, object: &K) -> Result<Written, Failure> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    ctx.writes.count(&K::kind(&()));
    let api = Api::<K>::namespaced(ctx.client.clone(), &namespace);
    match bounded(api.replace(&name, &parameters, object)).await {
        Ok(answer) => ctx.cache.wrote(&answer),
        Err(error) => {
            if matches!(&error, kube::Error::Api(status) if status.is_conflict()) {
                ctx.cache.outdated(object);
            }
            let what = format!("replace {}", named::<K>(&namespace, &name));
            return Err(Failure::kube(format!("Replace{}", K::kind(&())), what, &error));
        }
    }
    Ok(Written::Changed)
}

/// Changes an object by a merge patch (RFC 7396). One that names a resource version fails if the object's moved.
pub async fn merge<K: Namespaced>(ctx: &Context, namespace: &str, name: &str, patch: &Value) -> Result<(), Failure> {
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    ctx.writes.count(&K::kind(&()));
    let api = Api::<K>::namespaced(ctx.client.clone(), namespace);
    let answer = bounded(api.patch(name, &parameters, &Patch::Merge(patch))).await.map_err(|error| {
        let what = format!("change {}", named::<K>(namespace, name));
        Failure::kube(format!("Change{}", K::kind(&())), what, &error)
    })?;
    ctx.cache.wrote(&answer);
    Ok(())
}

/// Deletes an object in the background; one that is not there is deleted already.
pub async fn delete<K: Namespaced>(ctx: &Context, namespace: &str, name: &str) -> Result<Written, Failure> {
    ctx.writes.count(&K::kind(&()));
    let api = Api::<K>::namespaced(ctx.client.clone(), namespace);
    match bounded(api.delete(name, &DeleteParams::background())).await {
        Ok(answer) => {
            ctx.cache.deleted(namespace, name, answer.left().as_ref());
            Ok(Written::Changed)
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Written::Unchanged),
        Err(error) => {
            let what = format!("delete {}", named::<K>(namespace, name));
            Err(Failure::kube(format!("Delete{}", K::kind(&())), what, &error))
        }
    }
}

/// Brings an object to `wanted` by server-side apply, if it is not so already.
///
/// An object of that name that is not Tenter's is never touched.
pub async fn apply<K: Namespaced>(ctx: &Context, wanted: &K) -> Result<Written, Failure> {
    let (namespace, name) = (wanted.namespace().unwrap_or_default(), wanted.name_any());
    let live: Option<K> = get(ctx, &namespace, &name).await?;
    let wanted = prepared(wanted)?;
    if let Some(live) = &live {
        if live.labels().get(MANAGED_BY).map(String::as_str) != Some(FIELD_MANAGER) {
            return Err(Failure::terminal(
                format!("Foreign{}", K::kind(&())),
                format!(
                    "{} exists and is not Tenter's (it has no label {MANAGED_BY}={FIELD_MANAGER}): rename or remove it",
                    named::<K>(&namespace, &name)
                ),
            ));
        }
        if is_applied(&wanted, &to_value(live)?) {
            return Ok(Written::Unchanged);
        }
    }
    ctx.writes.count(&K::kind(&()));
    let api = Api::<K>::namespaced(ctx.client.clone(), &namespace);
    let apply = Patch::Apply(&wanted);
    let answer =
        bounded(api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &apply)).await.map_err(|error| {
            let what = format!("apply {}", named::<K>(&namespace, &name));
            Failure::kube(format!("Apply{}", K::kind(&())), what, &error)
        })?;
    ctx.cache.wrote(&answer);
    Ok(Written::Changed)
}

/// Whether `live` is as `wanted`, so that applying it would change nothing.
pub fn is_current<K: Namespaced>(wanted: &K, live: &K) -> bool {
    // What cannot be written as JSON is not current; applying it says why.
    match (prepared(wanted), to_value(live)) {
        (Ok(wanted), Ok(live)) => is_applied(&wanted, &live),
        _ => false,
    }
}

/// The document to apply: without what only the server writes, with its kind and the hash of itself.
pub fn prepared<K: Namespaced>(wanted: &K) -> Result<Value, Failure> {
    let mut value = to_value(wanted)?;
    if let Value::Object(object) = &mut value {
        object.remove("status");
        object.insert("apiVersion".to_owned(), K::api_version(&()).into());
        object.insert("kind".to_owned(), K::kind(&()).into());
    }
    let hash = hash(&value);
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Value::Object(annotations) = annotations {
            annotations.insert(APPLIED.to_owned(), hash.into());
        }
    }
    Ok(value)
}

/// Hash of a document, short enough for an annotation and long enough to be unique.
pub fn hash(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    hex::encode(&digest[..16])
}

fn to_value<K: Namespaced>(object: &K) -> Result<Value, Failure> {
    serde_json::to_value(object).map_err(|error| {
        Failure::terminal(
            format!("Encode{}", K::kind(&())),
            format!("could not write {} as JSON: {error}", K::kind(&())),
        )
    })
}

/// Whether `live` is what applying `wanted` would leave: the same document was applied last, and everything
/// in it still stands. What the API server or others added is not looked at.
pub fn is_applied(wanted: &Value, live: &Value) -> bool {
    let annotation = |value: &Value| value["metadata"]["annotations"][APPLIED].as_str().map(str::to_owned);
    annotation(wanted) == annotation(live) && is_subset(wanted, live, false)
}

/// Whether everything in `wanted` stands in `live`; `quantities` says that texts are Kubernetes quantities,
/// which the API server rewrites (`1000m` becomes `1`).
fn is_subset(wanted: &Value, live: &Value, quantities: bool) -> bool {
    match (wanted, live) {
        (Value::Null, _) => true,
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().all(|(key, wanted)| {
            let quantities = quantities || matches!(key.as_str(), "requests" | "limits" | "hard" | "sizeLimit");
            live.get(key).map_or_else(|| is_empty(wanted), |live| is_subset(wanted, live, quantities))
        }),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(w, l)| is_subset(w, l, quantities))
        }
        (Value::String(wanted), Value::String(live)) => {
            wanted == live || (quantities && Quantity::parse(wanted).is_some_and(|w| Some(w) == Quantity::parse(live)))
        }
        _ => wanted == live,
    }
}

/// What the API server may leave out when it writes a document: null and the empty value of each type. That such a
/// value was applied is known by the hash.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(true) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(wanted: &Value, live: &Value, expect: bool) {
        assert_eq!(is_subset(wanted, live, false), expect, "{wanted} in {live}");
    }

    #[test]
    fn what_the_server_adds_is_no_difference() {
        check(&json!({"a": 1}), &json!({"a": 1, "b": 2}), true);
        check(&json!({"a": {"b": [{"c": 1}]}}), &json!({"a": {"b": [{"c": 1, "d": 2}]}}), true);
        check(&json!({"a": null, "b": {}, "c": [], "d": false, "e": 0, "f": ""}), &json!({}), true);
        check(&json!({"emptyDir": {}}), &json!({"emptyDir": {}}), true);
    }

    #[test]
    fn what_is_missing_or_other_is_a_difference() {
        check(&json!({"a": 1}), &json!({}), false);
        check(&json!({"a": [1]}), &json!({"a": [1, 2]}), false);
        check(&json!({"a": "x"}), &json!({"a": "y"}), false);
        check(&json!({"a": true}), &json!({}), false);
    }

    #[test]
    fn quantities_compare_by_value_where_quantities_stand() {
        check(&json!({"requests": {"cpu": "1000m"}}), &json!({"requests": {"cpu": "1"}}), true);
        check(&json!({"requests": {"memory": "1024Mi"}}), &json!({"requests": {"memory": "1Gi"}}), true);
        check(&json!({"requests": {"cpu": "1"}}), &json!({"requests": {"cpu": "2"}}), false);
        check(&json!({"data": {"cpu": "1000m"}}), &json!({"data": {"cpu": "1"}}), false);
    }

    #[test]
    fn a_field_that_is_no_longer_wanted_changes_the_hash() {
        let applied = |hash: &str, spec: Value| json!({"metadata": {"annotations": {APPLIED: hash}}, "spec": spec});
        let live = applied("one", json!({"a": 1, "b": 2}));
        assert!(is_applied(&applied("one", json!({"a": 1})), &live));
        assert!(!is_applied(&applied("two", json!({"a": 1})), &live));
    }
}
