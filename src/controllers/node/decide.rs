//! Decides what a node needs: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::core::object::{HasSpec as _, HasStatus as _};
use serde_json::json;
use tenter_consortium::objects::{Condition, NodeSpec, NodeStorage};
use tenter_consortium::settings::{image_allowed, resolve_image};
use tenter_consortium::status::{NodePhase as Phase, NodeStatus, ObjectStatus};
use tenter_fabric::ca::{CertificateRequest, Usage};
use tenter_fabric::x509::CertificateInfo;

use super::manifests::{CERTIFICATES, Wanted, live_addresses, live_storage};
use super::restart::gate;
use super::{Certificate, ConfigInput, Issue, NodeAction, NodeKind, Observed, PodFacts};
use crate::controllers::children::{Child, pending};
use crate::controllers::conditions::{RECONCILING, STALLED, Verdict};
use crate::controllers::driver::Decision;
use crate::controllers::labels::{self, Belonging};
use crate::controllers::materials::{Material, Need, hours, need, next_look};
use crate::controllers::quantity::Quantity;
use crate::controllers::{apply, gates};

pub type NodeDecision = Decision<NodeAction, NodeStatus>;

/// How soon a node that is on its way is looked at again; its Pod's changes are noticed before.
const SOON: Duration = Duration::from_secs(3);
/// How soon a node that waits for a person is looked at again.
const LATER: Duration = Duration::from_secs(15);

/// How long a node waits for its restart before a person is called.
const RESTART_PATIENCE: SignedDuration = SignedDuration::from_mins(30);
/// Addresses that a certificate covers at most; the oldest are let go.
const MAX_ADDRESSES: usize = 8;

/// Reason of a node that waits for its restart.
const WAITING_TO_RESTART: &str = "WaitingToRestart";
/// Reason of one that has waited longer than [`RESTART_PATIENCE`].
const RESTART_BLOCKED: &str = "RestartBlocked";

/// What stops a decision early: the phase to show, and why.
struct Stop(Phase, Verdict);

/// The roots on record that matter to a node.
struct Roots {
    enrolment: CertificateInfo,
    tls: CertificateInfo,
}

/// Decides.
pub fn decide<K: NodeKind>(object: &K::Object, observed: &Observed, now: Timestamp) -> NodeDecision {
    let status = status(object.spec(), observed);
    match steps::<K>(object, observed, now) {
        Ok(decision) => {
            let phase = decision.status.phase;
            Decision { status: NodeStatus { phase, ..status }, ..decision }
        }
        Err(Stop(phase, verdict)) => {
            let pause = if matches!(verdict, Verdict::Stalled { .. }) { LATER } else { SOON };
            Decision::wait(NodeStatus { phase: Some(phase), ..status }, verdict, pause)
        }
    }
}

fn in_phase(phase: Phase) -> NodeStatus {
    NodeStatus { phase: Some(phase), ..NodeStatus::default() }
}

fn steps<K: NodeKind>(object: &K::Object, observed: &Observed, now: Timestamp) -> Result<NodeDecision, Stop> {
    let namespace = object.namespace().unwrap_or_default();
    let spec = object.spec();
    let image = admit(&object.name_any(), spec, observed, &namespace)?;
    let (roots, lifetime) = authority(observed, &namespace)?;
    let name = object.name_any();
    let addresses = addresses(spec, observed);
    let requests = requests::<K>(&name, &namespace, spec, &addresses, lifetime);
    let issues = issues(observed, &roots, requests, now)?;
    if !issues.is_empty() {
        let verdict =
            Verdict::reconciling("IssuingCertificates", format!("the certificates of {name} are being issued"));
        return Ok(Decision::act(issues, in_phase(Phase::Enrolling), verdict));
    }
    if let Some(certificate) = observed.enrolment.certificate()
        && certificate.not_after <= now
    {
        let message = format!(
            "the identity of {name} expired on {}, and a program with an expired identity does not start: the \
             organization needs a root that lives longer",
            certificate.not_after
        );
        return Err(Stop(Phase::Degraded, Verdict::stalled("EnrolmentExpired", message)));
    }
    let in_cluster = format!("{name}.{namespace}.svc:{}", K::PORTS[0].number);
    let wanted = Wanted {
        config: ConfigInput {
            name: &name,
            namespace: &namespace,
            spec,
            bootstrap: observed.bootstrap.as_deref().unwrap_or(&in_cluster),
            tls_roots: msp_data(observed).and_then(|data| data.get(labels::MSP_TLSCACERTS)).map_or("", String::as_str),
        },
        belonging: Belonging {
            consortium: &observed.consortium,
            organization: &spec.organization,
            namespace: &namespace,
            component: K::COMPONENT,
            node: Some(&name),
        },
        image: &image,
        resources: &spec.resources,
        storage: storage(spec, observed),
        certificates: mounted(observed),
        addresses: &addresses,
        revocations: msp_data(observed).is_some_and(|data| data.contains_key(labels::MSP_CRLS)),
        was_exposed: observed.has_service(&labels::external_service(&name)),
    };
    let actions: Vec<NodeAction> =
        pending(wanted.children::<K>(object), &observed.live).into_iter().map(NodeAction::Apply).collect();
    if !actions.is_empty() {
        let phase = if observed.pod.is_some() { Phase::Upgrading } else { Phase::Starting };
        let verdict = Verdict::reconciling("Applying", format!("the objects of {name} are being written"));
        return Ok(Decision::act(actions, in_phase(phase), verdict));
    }
    let conditions = object.status().map(ObjectStatus::conditions).unwrap_or_default();
    run(&format!("{namespace}/{name}"), conditions, observed, &wanted, now)
        .map(|decision| refuse_changes(decision, spec, observed))
}

/// The gates: what this daemon's settings and the namespace allow. Returns the image to pull.
fn admit(name: &str, spec: &NodeSpec, observed: &Observed, namespace: &str) -> Result<String, Stop> {
    let shown = if observed.stateful_set().is_some() { Phase::Degraded } else { Phase::Pending };
    let stop = |verdict| Stop(shown, verdict);
    let Some(settings) = &observed.settings else {
        return Err(stop(Verdict::reconciling("NoSettings", "the Consortium object was not seen")));
    };
    gates::node_name(name).map_err(stop)?;
    gates::admit(settings, &spec.organization, namespace).map_err(stop)?;
    gates::own_namespace(observed.namespace.as_ref(), &observed.consortium, &spec.organization, namespace)
        .map_err(stop)?;
    if !image_allowed(&spec.image, &settings.images) {
        return Err(stop(Verdict::stalled(
            "ImageNotAllowed",
            format!(
                "this daemon may not run {}: add its registry or repository to spec.images.allowed of the Consortium, \
                 or name another image",
                spec.image
            ),
        )));
    }
    Ok(resolve_image(&spec.image, &settings.images))
}

/// The organization's roots, once its authority has written all that a node mounts.
fn authority(observed: &Observed, namespace: &str) -> Result<(Roots, u32), Stop> {
    let wait = |message: String| Stop(Phase::Pending, Verdict::reconciling("AuthorityNotReady", message));
    let Some(lifetime) = observed.certificate_lifetime else {
        return Err(wait(format!("namespace {namespace} has no CertificateAuthority `ca` yet")));
    };
    let entry = |key: &str| {
        msp_data(observed).and_then(|data| data.get(key)).filter(|text| !text.is_empty()).ok_or_else(|| {
            wait(format!("the certificate authority of {namespace} has not yet published {key} in ConfigMap msp"))
        })
    };
    let root = |key: &str| {
        CertificateInfo::from_pem(entry(key)?).map_err(|error| {
            let message = format!("{key} of ConfigMap {namespace}/msp cannot be read: {error}");
            Stop(Phase::Degraded, Verdict::stalled("AuthorityUnusable", message))
        })
    };
    entry(labels::MSP_NODE_ADMINS)?;
    entry(labels::MSP_CLIENTCACERTS)?;
    entry(labels::MSP_CONFIG)?;
    Ok((Roots { enrolment: root(labels::MSP_CACERTS)?, tls: root(labels::MSP_TLSCACERTS)? }, lifetime))
}

/// What is asked of the authority for a node.
fn requests<K: NodeKind>(
    name: &str,
    namespace: &str,
    spec: &NodeSpec,
    addresses: &[String],
    lifetime: u32,
) -> [(Certificate, CertificateRequest); 2] {
    let common_name = format!("{name}.{}", spec.domain);
    let mut dns_names: BTreeSet<String> = [
        name.to_owned(),
        format!("{name}.{namespace}"),
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}.svc.cluster.local"),
        format!("{}.{namespace}.svc", labels::admin_service(name)),
        common_name.clone(),
        "localhost".to_owned(),
    ]
    .into();
    let mut ip_addresses: BTreeSet<IpAddr> = [IpAddr::from([127, 0, 0, 1])].into();
    for address in addresses {
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        match host.parse() {
            Ok(ip) => drop(ip_addresses.insert(ip)),
            Err(_) => drop(dns_names.insert(host.to_owned())),
        }
    }
    let request = |usage| CertificateRequest { common_name: common_name.clone(), usage, lifetime: hours(lifetime) };
    [
        (Certificate::Enrolment, request(Usage::Enrolment(K::ROLE))),
        (Certificate::Tls, request(Usage::TlsNode { dns_names, ip_addresses })),
    ]
}

/// What has to be issued.
fn issues(
    observed: &Observed,
    roots: &Roots,
    requests: [(Certificate, CertificateRequest); 2],
    now: Timestamp,
) -> Result<Vec<NodeAction>, Stop> {
    let mut issues = Vec::new();
    for (certificate, request) in requests {
        let (material, root) = match certificate {
            Certificate::Enrolment => (&observed.enrolment, &roots.enrolment),
            Certificate::Tls => (&observed.tls, &roots.tls),
        };
        let same_key = match need(material, &request, root, now) {
            Need::Nothing => continue,
            // A node that has joined channels is known by these keys: new ones would make it a stranger.
            Need::New if !observed.channels.is_empty() => {
                let message = format!(
                    "its {} Secret is gone, and it has joined {}: restore the Secret from a backup",
                    if certificate == Certificate::Tls { "TLS" } else { "enrolment" },
                    observed.channels.join(", ")
                );
                return Err(Stop(Phase::Degraded, Verdict::stalled("SecretMissing", message)));
            }
            Need::New => false,
            Need::Renewal(_) => true,
            Need::Person(why) => return Err(Stop(Phase::Degraded, Verdict::stalled("SecretUnusable", why))),
        };
        issues.push(NodeAction::Issue(Issue { certificate, request, root: Box::new(root.clone()), same_key }));
    }
    Ok(issues)
}

/// The addresses that the node's certificate covers, the wanted one first. While it belongs to channels, those that it
/// had are kept: configurations name the node by an old one until they are updated.
fn addresses(spec: &NodeSpec, observed: &Observed) -> Vec<String> {
    let live = observed.live.iter().find_map(|child| match child {
        Child::ConfigMap(config_map) => live_addresses(config_map),
        _ => None,
    });
    let kept = live.filter(|_| !observed.channels.is_empty()).unwrap_or_default();
    let earlier = kept.split(',').filter(|address| !address.is_empty() && *address != spec.address);
    std::iter::once(spec.address.clone()).chain(earlier.map(str::to_owned)).take(MAX_ADDRESSES).collect()
}

/// The volume that is in force: a claim template never changes.
fn storage(spec: &NodeSpec, observed: &Observed) -> NodeStorage {
    observed.stateful_set().and_then(live_storage).map_or_else(
        || spec.storage.clone(),
        // The cluster's default class stands in the live claim only where it was asked for by name.
        |live| NodeStorage { class: live.class, size: live.size },
    )
}

/// Hash of the certificates that a node mounts: when it moves, the program has to read them anew.
fn mounted(observed: &Observed) -> String {
    let fingerprint = |material: &Material| material.certificate().map(|c| c.certificate_fingerprint.clone());
    apply::hash(&json!([fingerprint(&observed.enrolment), fingerprint(&observed.tls), msp_data(observed)]))
}

fn msp_data(observed: &Observed) -> Option<&BTreeMap<String, String>> {
    observed.msp.as_ref().and_then(|msp: &ConfigMap| msp.data.as_ref())
}

/// Everything is written: what the Pod does, and whether it has to be restarted.
fn run(
    me: &str,
    conditions: &[Condition],
    observed: &Observed,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<NodeDecision, Stop> {
    let Some(pod) = &observed.pod else {
        let why = observed.volume.clone().unwrap_or_else(|| format!("{me} has no Pod yet"));
        return Err(Stop(Phase::Starting, Verdict::reconciling("PodMissing", why)));
    };
    if pod.deleting {
        let message = format!("the Pod of {me} is stopping, and starts again");
        return Err(Stop(changing(pod, wanted), Verdict::reconciling("Restarting", message)));
    }
    if observed.stateful_set().is_some_and(|set| pod.is_outdated(set)) {
        let phase = changing(pod, wanted);
        return match gate(me, pod, &observed.neighbours, now) {
            Ok(()) => {
                let verdict = Verdict::reconciling("Restarting", format!("{me} is restarted with what is wanted now"));
                Ok(Decision::act(vec![NodeAction::Restart { uid: pod.uid.clone() }], in_phase(phase), verdict))
            }
            Err(why) => {
                let cause =
                    if pod.restart_asked { "is to be started anew" } else { "runs with what was wanted before" };
                let message = format!("{me} {cause}, and waits to be restarted: {why}");
                let verdict = if waited_long(conditions, now) {
                    Verdict::stalled(RESTART_BLOCKED, message)
                } else {
                    Verdict::reconciling(WAITING_TO_RESTART, message)
                };
                Err(Stop(phase, verdict))
            }
        };
    }
    if pod.serves() {
        let message = format!("{me} runs Fabric {}", wanted.config.spec.version);
        let certificates = [&observed.enrolment, &observed.tls];
        let requeue = next_look(certificates.into_iter().filter_map(Material::certificate), now);
        let settled = Decision::settled(in_phase(Phase::Running), Verdict::ready("Running", message));
        return Ok(Decision { requeue: requeue.min(settled.requeue), ..settled });
    }
    if let Some(volume) = &observed.volume {
        return Err(Stop(Phase::Starting, Verdict::reconciling("VolumeNotBound", volume.clone())));
    }
    if let Some(trouble) = &pod.trouble {
        let message = format!("{me}: {}", trouble.message);
        return Err(Stop(Phase::Degraded, Verdict::stalled(trouble.reason.as_str(), message)));
    }
    let message = format!("the program of {me} is starting");
    Err(Stop(Phase::Starting, Verdict::reconciling("ProgramStarting", message)))
}

/// Whether a node has waited for its restart for so long that a person should look, by its own conditions.
fn waited_long(conditions: &[Condition], now: Timestamp) -> bool {
    conditions.iter().filter(|condition| condition.status == "True").any(|condition| {
        let since = condition.last_transition_time.parse::<Timestamp>().ok();
        match condition.condition_type.as_str() {
            RECONCILING if condition.reason == WAITING_TO_RESTART => {
                since.is_some_and(|since| now.duration_since(since) >= RESTART_PATIENCE)
            }
            STALLED => condition.reason == RESTART_BLOCKED,
            _ => false,
        }
    })
}

/// What a restart is for: other certificates, or another image or configuration.
fn changing(pod: &PodFacts, wanted: &Wanted<'_>) -> Phase {
    let same_image = pod.image.as_deref() == Some(wanted.image);
    let same_certificates = pod.annotations.get(CERTIFICATES) == Some(&wanted.certificates);
    if same_image && !same_certificates { Phase::Rotating } else { Phase::Upgrading }
}

/// A node that runs, but not all of whose spec can be carried out, is not as wanted: says which part, and why.
fn refuse_changes(decision: NodeDecision, spec: &NodeSpec, observed: &Observed) -> NodeDecision {
    if !matches!(decision.verdict, Verdict::Ready { .. }) {
        return decision;
    }
    let storage = storage(spec, observed);
    let class_changed = spec.storage.class.is_some() && spec.storage.class != storage.class;
    let same_size = storage.size == spec.storage.size
        || Quantity::parse(&storage.size).is_some_and(|size| Quantity::parse(&spec.storage.size) == Some(size));
    if same_size && !class_changed {
        return decision;
    }
    let message = format!(
        "its volume was made with {}, and a volume claim template never changes: set spec.storage back, or let the \
         storage class grow the claim by hand",
        storage.size
    );
    Decision { verdict: Verdict::stalled("StorageChangeRefused", message), requeue: LATER, ..decision }
}

fn status(spec: &NodeSpec, observed: &Observed) -> NodeStatus {
    let certificates = [("enrolment", &observed.enrolment), ("tls", &observed.tls)];
    let runs = observed.pod.as_ref();
    NodeStatus {
        address: Some(spec.address.clone()),
        image: runs.and_then(|pod| pod.image.clone()),
        version: runs.filter(|pod| pod.serves()).map(|_| spec.version.clone()),
        certificates: certificates
            .into_iter()
            .filter_map(|(name, material)| Some((name.to_owned(), material.status()?)))
            .collect(),
        channels: observed.channels.clone(),
        ..NodeStatus::default()
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
