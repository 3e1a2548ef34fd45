//! Steps that concern one object each.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Block, Draft, Planner, cannot_tell, diff, namespace_step, object_step};
use crate::desired::DesiredObject;
use crate::objects::{
    CertificateAuthoritySpec, ChaincodeSpec, ChannelSpec, Kind, MembershipSpec, NodeSpec, ObjectRef, OrganizationSpec,
};
use crate::observation::Observation;
use crate::observed::LiveObject;
use crate::plan::{FieldChange, Step, StepId};
use crate::values::{Version, quantity_millis};

impl Planner<'_> {
    pub(super) fn objects(&mut self, kind: Kind) {
        for (object, wanted) in &self.desired.objects {
            if object.kind == kind {
                let needs = self.object_needs(object, wanted);
                self.object(object, wanted, needs);
            }
        }
    }

    /// The step of an object: make it, change it, wait for it, or nothing at all.
    pub(super) fn object(&mut self, object: &ObjectRef, wanted: &DesiredObject, needs: Vec<StepId>) {
        let DesiredObject { organization: _, labels, spec, origins, blocked } = wanted;
        let create = || Step::CreateObject { object: object.clone(), labels: labels.clone(), spec: spec.clone() };
        let draft = if let Some(reason) = self.unlisted(object.kind) {
            Draft::new(create(), origins).blocked(Some(reason))
        } else {
            match self.observed.objects.get(object) {
                None => Draft::new(create(), origins),
                Some(live) if live.deleting => {
                    let state = "it is being deleted; when it is gone, the next plan makes it again".to_owned();
                    Draft::new(Step::AwaitReady { object: object.clone(), state }, origins)
                }
                Some(live) => {
                    let changes = diff("spec", &known_fields(object.kind, &live.spec, spec), spec);
                    if changes.is_empty() {
                        if is_ready(live) {
                            return;
                        }
                        Draft::new(Step::AwaitReady { object: object.clone(), state: state(live) }, origins)
                    } else {
                        let blocked = immutable(object.kind, &changes);
                        let irreversible = irreversible(object.kind, &changes);
                        let (labels, spec) = (labels.clone(), spec.clone());
                        let drift = drift(live, &changes);
                        let step = Step::UpdateObject { object: object.clone(), labels, spec, changes, drift };
                        Draft::new(step, origins).blocked(blocked).irreversible(irreversible)
                    }
                }
            }
        };
        let writes = !matches!(draft.step, Step::AwaitReady { .. });
        let refused = blocked.clone().filter(|_| writes);
        self.add(object_step(object), draft.needs(needs).blocked(refused));
    }

    /// Why objects of a kind cannot be compared: without a list, nothing is known to be missing.
    fn unlisted(&self, kind: Kind) -> Option<Block> {
        match self.observed.kinds.get(&kind) {
            Some(Observation::Present { .. }) => None,
            Some(Observation::Absent { evidence }) => Some(Block::from(format!(
                "the cluster does not know the kind {kind} ({evidence}): run `tenter crds | kubectl apply -f -`"
            ))),
            Some(other) => Some(cannot_tell(other)),
            None => {
                let why = format!("cannot tell whether it exists: objects of kind {kind} were not listed");
                Some(Block::not_seen(why))
            }
        }
    }

    fn object_needs(&self, object: &ObjectRef, wanted: &DesiredObject) -> Vec<StepId> {
        let Some(organization) = &wanted.organization else { return Vec::new() };
        let spec_namespace = wanted.spec.get("namespace").and_then(Value::as_str);
        let namespace = spec_namespace.filter(|_| object.kind == Kind::Organization).unwrap_or(&object.namespace);
        let mut needs = vec![namespace_step(namespace)];
        let organization_step = StepId(format!("organization/{}/{organization}", self.desired.namespace));
        let authority = StepId(format!("certificateauthority/{namespace}/ca"));
        match object.kind {
            Kind::Organization | Kind::Channel | Kind::Chaincode => {}
            // Written as soon as what they stand in is there; to wait until that is ready is their controllers' matter.
            // An organization is ready only when its authority and nodes are: waiting here would be waiting for ever.
            Kind::CertificateAuthority => {
                needs.push(organization_step);
                needs = self.made(needs);
            }
            Kind::Orderer | Kind::Peer => {
                needs.extend([organization_step, authority]);
                needs = self.made(needs);
            }
            Kind::Membership => {
                needs.extend([organization_step, authority]);
                needs.extend(self.desired.channels.get(&object.name).map(|channel| object_step(&channel.object)));
                for (field, kind) in [("orderers", "orderer"), ("peers", "peer")] {
                    let names = wanted.spec.get(field).and_then(Value::as_array).into_iter().flatten();
                    needs.extend(
                        names.filter_map(Value::as_str).map(|name| StepId(format!("{kind}/{namespace}/{name}"))),
                    );
                }
                needs = self.made(needs);
                needs.extend(self.admission(&object.name, object));
            }
        }
        needs
    }
}

/// Whether an object says that it is ready, and speaks of its newest spec.
pub(super) fn is_ready(live: &LiveObject) -> bool {
    live.conditions.iter().any(|condition| {
        condition.condition_type == "Ready"
            && condition.status == "True"
            && condition.observed_generation == live.generation
    })
}

/// Phase and reason of an object that is not ready.
fn state(live: &LiveObject) -> String {
    let phase = live.phase.as_deref().unwrap_or("no status yet");
    match live.conditions.iter().find(|condition| condition.condition_type == "Ready") {
        Some(ready) if ready.observed_generation == live.generation => {
            format!("{phase}: {}: {}", ready.reason, ready.message)
        }
        Some(_) => format!("{phase}: its controller has not looked at the newest spec yet"),
        None => phase.to_owned(),
    }
}

/// A live spec without the fields that this version does not know. One that is not of the kind's shape (written by
/// an older version) is compared in the fields that are wanted.
fn known_fields(kind: Kind, live: &Value, wanted: &Value) -> Value {
    fn through<T: DeserializeOwned + Serialize>(live: &Value) -> Option<Value> {
        T::deserialize(live).ok().and_then(|spec| serde_json::to_value(spec).ok())
    }
    let known = match kind {
        Kind::Organization => through::<OrganizationSpec>(live),
        Kind::CertificateAuthority => through::<CertificateAuthoritySpec>(live),
        Kind::Orderer | Kind::Peer => through::<NodeSpec>(live),
        Kind::Channel => through::<ChannelSpec>(live),
        Kind::Membership => through::<MembershipSpec>(live),
        Kind::Chaincode => through::<ChaincodeSpec>(live),
    };
    known.unwrap_or_else(|| match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => live
            .iter()
            .filter(|(key, _)| wanted.contains_key(*key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        _ => live.clone(),
    })
}

/// Which of the changes put back what somebody else wrote.
fn drift(live: &LiveObject, changes: &[FieldChange]) -> Vec<String> {
    let covers = |one: &str, other: &str| {
        other.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
    };
    let writer = |change: &&FieldChange| {
        let found = live.managers.iter().find(|(path, _)| covers(path, &change.path) || covers(&change.path, path));
        found.map(|(_, manager)| format!("{} was changed on the cluster by {manager}", change.path))
    };
    changes.iter().filter_map(|change| writer(&change)).collect()
}

/// Why a live object cannot be changed like this.
fn immutable(kind: Kind, changes: &[FieldChange]) -> Option<String> {
    changes.iter().find_map(|change| {
        let field = change.path.strip_prefix("spec.").unwrap_or(&change.path);
        match (kind, field) {
            (_, "mspID") => Some("an MSP ID can never change: it stands in every certificate, block and policy".to_owned()),
            (Kind::Organization, "namespace") => Some(
                "keys and ledgers do not move to another namespace: put the old one back, or retire the organization \
                 and add a new one"
                    .to_owned(),
            ),
            (_, "domain") => Some(
                "a domain stands in the subjects of the roots, which cannot change: put the old one back".to_owned(),
            ),
            (Kind::Orderer | Kind::Peer, "storage.class") => Some(
                "a volume cannot change its storage class: put the old class back, or retire the node and add a new one"
                    .to_owned(),
            ),
            (Kind::Orderer | Kind::Peer, "storage.size") => shrinks(change).then(|| {
                "a volume cannot shrink: put the old size back, or retire the node and add a new one".to_owned()
            }),
            (Kind::Orderer | Kind::Peer, "version") => (versions(change)? == std::cmp::Ordering::Less)
                .then(|| "Fabric cannot go back to an older version on the same ledger".to_owned()),
            (Kind::CertificateAuthority | Kind::Orderer | Kind::Peer | Kind::Membership, "organization")
            | (Kind::Channel | Kind::Membership | Kind::Chaincode, "channel")
            | (Kind::Chaincode, "name") => {
                Some(format!("`{field}` can never change: retire this and add a new one"))
            }
            _ => None,
        }
    })
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

fn shrinks(change: &FieldChange) -> bool {
    let size = |value: &Option<Value>| text(value.as_ref()).and_then(quantity_millis);
    matches!((size(&change.from), size(&change.to)), (Some(from), Some(to)) if to < from)
}

/// How the new version compares with the old one, in major and minor: patches of a release share a ledger format.
fn versions(change: &FieldChange) -> Option<std::cmp::Ordering> {
    let release = |value: &Option<Value>| {
        text(value.as_ref()).and_then(Version::parse).map(|version| (version.major, version.minor))
    };
    Some(release(&change.to)?.cmp(&release(&change.from)?))
}

fn irreversible(kind: Kind, changes: &[FieldChange]) -> Option<String> {
    if !matches!(kind, Kind::Orderer | Kind::Peer) {
        return None;
    }
    let newer = changes
        .iter()
        .any(|change| change.path == "spec.version" && versions(change) == Some(std::cmp::Ordering::Greater));
    newer.then(|| "the node cannot go back to the older Fabric on the same ledger".to_owned())
}
