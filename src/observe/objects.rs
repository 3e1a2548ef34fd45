//! The live objects and namespaces of a consortium.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::Value;
use tenter_consortium::desired::Desired;
use tenter_consortium::document::Blob;
use tenter_consortium::objects::{
    ANNOTATION_APPROVED, Condition, FIELD_MANAGER, Kind, LABEL_CONSORTIUM, LABEL_ORGANIZATION, ObjectRef,
};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{LiveNamespace, LiveObject};
use tokio::time::timeout;

use super::channel::CONCURRENCY;
use crate::controllers::Context;
use crate::nodes::store::classify;
use crate::report::printable;
use crate::resources::{CertificateAuthority, Chaincode, Channel, Membership, Orderer, Organization, Peer, Proposal};

/// Longest time that one answer of the API server may take.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// Objects in one answer.
const PAGE: u32 = 250;
/// Most pages of one kind: a bound, far above any network.
const MAX_PAGES: usize = 400;

fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Organization => ApiResource::erase::<Organization>(&()),
        Kind::CertificateAuthority => ApiResource::erase::<CertificateAuthority>(&()),
        Kind::Orderer => ApiResource::erase::<Orderer>(&()),
        Kind::Peer => ApiResource::erase::<Peer>(&()),
        Kind::Channel => ApiResource::erase::<Channel>(&()),
        Kind::Membership => ApiResource::erase::<Membership>(&()),
        Kind::Chaincode => ApiResource::erase::<Chaincode>(&()),
    }
}

/// What was proposed for a channel, by the digests of the updates.
#[derive(Clone, Default)]
pub(super) struct Proposed {
    /// The signatures that each has, as bytes.
    pub signatures: BTreeMap<String, Vec<Blob>>,
    /// Those that are approved.
    pub approved: BTreeSet<String>,
}

type Listed = (BTreeMap<Kind, Observation<()>>, BTreeMap<ObjectRef, LiveObject>);

/// Lists the consortium's objects of every kind.
pub(super) async fn list(ctx: &Context, desired: &Desired) -> Listed {
    let answers: Vec<(Kind, Observation<Vec<DynamicObject>>)> = stream::iter(Kind::ALL)
        .map(|kind| async move { (kind, list_kind(ctx, desired, kind).await) })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let mut kinds = BTreeMap::new();
    let mut objects = BTreeMap::new();
    for (kind, answer) in answers {
        let seen = answer.map(|list| {
            for object in list {
                let reference =
                    ObjectRef { kind, namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
                objects.insert(reference, live(&object));
            }
        });
        kinds.insert(kind, seen);
    }
    (kinds, objects)
}

/// The updates that the consortium proposed, by channel. Without the list, its own changes look like others', and nobody seems to
/// have signed or approved: what is shown is wrong then, nothing else.
pub(super) async fn proposed(ctx: &Context, desired: &Desired) -> BTreeMap<String, Proposed> {
    let resource = ApiResource::erase::<Proposal>(&());
    let api = Api::<DynamicObject>::namespaced_with(ctx.client.clone(), &desired.namespace, &resource);
    let seen = pages(&api, "Proposal objects", desired).await;
    let mut proposed: BTreeMap<String, Proposed> = BTreeMap::new();
    let proposals = seen.value().into_iter().flatten().filter_map(|object| {
        let text = |pointer: &str| object.data.pointer(pointer)?.as_str().map(str::to_owned);
        let (channel, digest) = (text("/spec/channel")?, text("/spec/digest")?);
        let signatures = object.data.pointer("/status/signatures").and_then(Value::as_array).into_iter().flatten();
        let bytes = signatures.filter_map(|entry| {
            base64::engine::general_purpose::STANDARD.decode(entry.get("signature")?.as_str()?).ok().map(Blob)
        });
        let approved = object.annotations().get(ANNOTATION_APPROVED) == Some(&digest);
        Some((channel, digest, bytes.collect(), approved))
    });
    for (channel, digest, signatures, approved) in proposals {
        let of_channel = proposed.entry(channel).or_default();
        of_channel.approved.extend(approved.then(|| digest.clone()));
        of_channel.signatures.insert(digest, signatures);
    }
    proposed
}

fn live(object: &DynamicObject) -> LiveObject {
    let status = object.data.get("status").unwrap_or(&Value::Null);
    LiveObject {
        spec: object.data.get("spec").cloned().unwrap_or(Value::Null),
        generation: object.metadata.generation.unwrap_or_default(),
        phase: status.get("phase").and_then(Value::as_str).map(str::to_owned),
        sequence: status.get("sequence").and_then(Value::as_u64),
        // To show only: conditions that cannot be read are as good as none.
        conditions: status
            .get("conditions")
            .and_then(|conditions| Vec::<Condition>::deserialize(conditions).ok())
            .unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        managers: managers(object.metadata.managed_fields.as_deref().unwrap_or_default()),
        certificates: certificates(status),
    }
}

/// When the certificates end that a status tells of: those of a node, the roots and the identities of an authority.
fn certificates(status: &Value) -> BTreeMap<String, String> {
    let fields = [("certificates", "certificate"), ("roots", "root"), ("identities", "certificate")];
    let named = fields.into_iter().filter_map(|(field, what)| Some((what, status.get(field)?.as_object()?)));
    let ends = named.flat_map(|(what, ends)| {
        ends.iter().filter_map(move |(name, of)| {
            Some((format!("{} {what}", printable(name)), of.get("notAfter")?.as_str()?.to_owned()))
        })
    });
    ends.collect()
}

/// Who wrote fields of the spec that Tenter does not hold any more, by path. A field that somebody forced or edited is no
/// longer Tenter's; one that others merely agree on still is.
fn managers(entries: &[ManagedFieldsEntry]) -> BTreeMap<String, String> {
    let mut own = BTreeSet::new();
    let mut others = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty()) {
        let Some(spec) = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:spec")) else { continue };
        let manager = entry.manager.as_deref().unwrap_or("somebody");
        let mut paths = Vec::new();
        fields("spec", spec, &mut paths);
        for path in paths {
            if manager == FIELD_MANAGER {
                own.insert(path);
            } else {
                others.insert(path, printable(manager));
            }
        }
    }
    others.retain(|path, _| !own.contains(path));
    others
}

/// Paths of the leaves of a `FieldsV1`; items of lists count as their list.
fn fields(path: &str, value: &Value, paths: &mut Vec<String>) {
    let below = value.as_object().into_iter().flatten();
    let named: Vec<(&str, &Value)> = below.filter_map(|(key, value)| Some((key.strip_prefix("f:")?, value))).collect();
    if named.is_empty() {
        paths.push(path.to_owned());
    }
    for (name, value) in named {
        fields(&format!("{path}.{name}"), value, paths);
    }
}

/// Asks for all namespaces at once, and for the definition's one by one where that is refused.
async fn list_kind(ctx: &Context, desired: &Desired, kind: Kind) -> Observation<Vec<DynamicObject>> {
    let resource = resource(kind);
    let what = format!("{kind} objects");
    let everywhere = Api::<DynamicObject>::all_with(ctx.client.clone(), &resource);
    let refused = match pages(&everywhere, &what, desired).await {
        Observation::Forbidden { evidence } => evidence,
        other => return other,
    };
    let namespaces: BTreeSet<&str> =
        desired.namespaces.keys().map(String::as_str).chain([desired.namespace.as_str()]).collect();
    let mut all = Vec::new();
    for namespace in namespaces {
        let api = Api::<DynamicObject>::namespaced_with(ctx.client.clone(), namespace, &resource);
        match pages(&api, &format!("{what} in {namespace}"), desired).await {
            Observation::Present { value } => all.extend(value),
            Observation::Forbidden { evidence } => {
                return Observation::Forbidden { evidence: format!("{refused}; {evidence}") };
            }
            other => return other,
        }
    }
    Observation::Present { value: all }
}

async fn pages(api: &Api<DynamicObject>, what: &str, desired: &Desired) -> Observation<Vec<DynamicObject>> {
    let mut all = Vec::new();
    let mut params = ListParams::default().labels(&format!("{LABEL_CONSORTIUM}={}", desired.consortium)).limit(PAGE);
    for _ in 0..MAX_PAGES {
        let page = match timeout(TIME_LIMIT, api.list(&params)).await {
            Ok(Ok(page)) => page,
            // A 404 is the answer for a kind whose CRD is not installed: there is no such object.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Observation::Present { value: all },
            Ok(Err(error)) => return classify(what, &error),
            Err(_) => {
                let seconds = TIME_LIMIT.as_secs();
                let evidence = format!("the API server did not list {what} in {seconds} s");
                return Observation::Unreachable { evidence };
            }
        };
        let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        all.extend(page.items);
        let Some(token) = next else {
            return Observation::Present { value: all };
        };
        params = params.continue_token(&token);
    }
    Observation::Unreachable { evidence: format!("there are more {what} than can be listed") }
}

/// Looks at the namespaces that the definition names.
pub(super) async fn namespaces(ctx: &Context, desired: &Desired) -> BTreeMap<String, Observation<LiveNamespace>> {
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    let questions: Vec<BoxFuture<'_, (String, Observation<LiveNamespace>)>> = desired
        .namespaces
        .keys()
        .map(|name| {
            let api = api.clone();
            async move {
                let what = format!("Namespace {name}");
                let seen = match timeout(TIME_LIMIT, api.get(name)).await {
                    Ok(Ok(namespace)) => Observation::Present {
                        value: LiveNamespace { organization: namespace.labels().get(LABEL_ORGANIZATION).cloned() },
                    },
                    Ok(Err(error)) => classify(&what, &error),
                    Err(_) => Observation::Unreachable {
                        evidence: format!("the API server did not answer for {what} in {} s", TIME_LIMIT.as_secs()),
                    },
                };
                (name.clone(), seen)
            }
            .boxed()
        })
        .collect();
    stream::iter(questions).buffer_unordered(CONCURRENCY).collect().await
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;
    use serde_json::json;

    use tenter_consortium::desired::desired;
    use tenter_consortium::document::{RepositoryFacts, load};
    use tenter_consortium::objects::ProposalSpec;
    use tenter_consortium::settings::Settings;

    use super::*;
    use crate::controllers::api_world::ApiServer;

    #[tokio::test]
    async fn a_proposal_is_approved_by_the_digest_of_its_update_alone() {
        let text = include_bytes!("../../examples-repo/network.yaml");
        let network = load(text, "network.yaml", &RepositoryFacts::default()).network.unwrap();
        let desired = desired(&network, &Settings::of_definitions("trade", "system", &[&network]));
        let api = ApiServer::default();
        for (digest, approved) in [("aa", Some("aa")), ("bb", Some("aa")), ("cc", None)] {
            let spec = json!({
                "consortium": "trade", "channel": "settlement", "topic": "capabilities", "digest": digest, "update": "",
                "baseSequence": 0, "changes": [], "elements": [],
            });
            let mut proposal = Proposal::new(digest, serde_json::from_value::<ProposalSpec>(spec).unwrap());
            proposal.metadata.namespace = Some("system".to_owned());
            let annotation = approved.map(|digest| (ANNOTATION_APPROVED.to_owned(), digest.to_owned()));
            proposal.metadata.annotations = Some(annotation.into_iter().collect());
            api.put(&proposal);
        }
        let seen = proposed(&Context::new(api.client(), "system"), &desired).await.remove("settlement").unwrap();
        assert_eq!(seen.signatures.len(), 3);
        assert_eq!(seen.approved.into_iter().collect::<Vec<_>>(), ["aa"]);
    }

    #[test]
    fn ends_of_certificates_are_told() {
        let node =
            json!({"certificates": {"tls": {"fingerprint": "0f", "notAfter": "2027-03-01T00:00:00Z"}, "odd": {}}});
        let authority = json!({
            "roots": {"clients": {"notAfter": "2046-03-01T00:00:00Z"}},
            "identities": {"identity-reader": {"notAfter": "2027-04-01T00:00:00Z"}},
        });
        let told = |status: &Value| certificates(status).into_iter().collect::<Vec<_>>();
        let entry = |what: &str, end: &str| (what.to_owned(), end.to_owned());
        assert_eq!(told(&node), [entry("tls certificate", "2027-03-01T00:00:00Z")]);
        let expect = [
            entry("clients root", "2046-03-01T00:00:00Z"),
            entry("identity-reader certificate", "2027-04-01T00:00:00Z"),
        ];
        assert_eq!(told(&authority), expect);
        assert_eq!(told(&Value::Null), []);
    }

    #[test]
    fn fields_that_somebody_else_wrote_are_told() {
        let entry = |manager: &str, subresource: Option<&str>, fields: Value| ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            subresource: subresource.map(str::to_owned),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        };
        let entries = [
            entry(FIELD_MANAGER, None, json!({"f:spec": {"f:image": {}, "f:resources": {"f:cpu": {}}}})),
            entry("kubectl-edit", None, json!({"f:spec": {"f:image": {}, "f:resources": {".": {}, "f:memory": {}}}})),
            entry("kubectl-edit", None, json!({"f:metadata": {"f:labels": {"f:x": {}}}})),
            entry("helm", None, json!({"f:spec": {"f:admins": {"k:{\"name\":\"a\"}": {"f:name": {}}}}})),
            entry("other", Some("status"), json!({"f:spec": {"f:x": {}}})),
        ];
        let expect = BTreeMap::from([
            ("spec.admins".to_owned(), "helm".to_owned()),
            ("spec.resources.memory".to_owned(), "kubectl-edit".to_owned()),
        ]);
        assert_eq!(managers(&entries), expect);
    }
}
