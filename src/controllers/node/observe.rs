//! Looks at a node: its namespace, its certificates, the objects that it is made of, and its Pod.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use kube::core::object::HasSpec as _;
use kube::{Resource as _, ResourceExt as _};
use tenter_consortium::objects::LABEL_ORGANIZATION;

use super::restart::state;
use super::{Neighbour, Neighbourhood, NodeKind, Observed, PodFacts, State, Surroundings};
use crate::controllers::context::Context;
use crate::controllers::driver::Scope;
use crate::controllers::failure::Failure;
use crate::controllers::{apply, children, gates, labels, materials};
use crate::nodes::Nodes;
use crate::resources::CertificateAuthority;

/// Name of an organization's [`CertificateAuthority`] object.
const AUTHORITY: &str = "ca";

/// Looks at a node.
pub async fn observe<K: NodeKind>(
    ctx: &Context,
    scope: &Scope,
    nodes: Option<&Nodes>,
    object: &K::Object,
) -> Result<Observed, Failure> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let external = labels::external_service(&name);
    let names = (labels::config_map(&name), labels::admin_service(&name), labels::pod(&name));
    let secrets = (labels::enrolment_secret(&name), labels::tls_secret(&name));
    let children = async {
        tokio::try_join!(
            children::read::<ConfigMap>(ctx, &namespace, &names.0),
            children::read::<Service>(ctx, &namespace, &name),
            children::read::<Service>(ctx, &namespace, &names.1),
            children::read::<Service>(ctx, &namespace, &external),
            children::read::<StatefulSet>(ctx, &namespace, &name),
        )
    };
    let (live, authority, pod, facts, msp, enrolment, tls, channels, bootstrap) = tokio::try_join!(
        children,
        apply::get::<CertificateAuthority>(ctx, &namespace, AUTHORITY),
        apply::own::<Pod>(ctx, &namespace, &names.2),
        gates::namespace(ctx, &namespace),
        apply::own(ctx, &namespace, labels::MSP),
        materials::observe(ctx, &namespace, &secrets.0),
        materials::observe(ctx, &namespace, &secrets.1),
        channels(ctx, &namespace, &name),
        bootstrap::<K>(ctx, object),
    )?;
    let mut observed = Observed {
        consortium: scope.consortium.name_any(),
        settings: Some(scope.consortium.spec.clone()),
        namespace: facts,
        certificate_lifetime: authority.map(|authority| authority.spec.certificate_lifetime_hours),
        msp,
        enrolment,
        tls,
        live: [live.0, live.1, live.2, live.3, live.4].into_iter().flatten().collect(),
        pod: pod.map(|pod| PodFacts::of_node(&pod, object.annotations())),
        volume: None,
        channels,
        neighbours: Neighbourhood::default(),
        bootstrap,
    };
    // A program that runs has its volume.
    if observed.stateful_set().is_some() && observed.pod.as_ref().is_none_or(|pod| !pod.running) {
        observed.volume = volume(ctx, &namespace, &name).await?;
    }
    // Only a restart asks for the neighbours.
    let outdated = match (&observed.pod, observed.stateful_set()) {
        (Some(pod), Some(set)) => pod.is_outdated(set),
        _ => false,
    };
    if outdated {
        let (consortium, settings) = (&observed.consortium, &scope.consortium.spec);
        observed.neighbours = K::neighbours(&Surroundings { ctx, nodes, consortium, settings }, object).await?;
    }
    Ok(observed)
}

async fn volume(ctx: &Context, namespace: &str, name: &str) -> Result<Option<String>, Failure> {
    let claim_name = labels::volume_claim(name);
    let claim = apply::get::<PersistentVolumeClaim>(ctx, namespace, &claim_name).await?;
    let phase = claim.and_then(|claim| claim.status?.phase);
    Ok(phase.filter(|phase| phase != "Bound").map(|phase| {
        format!("volume claim {namespace}/{claim_name} is {phase}: see its events, or name a storage class that exists")
    }))
}

/// The channels in a node's join record.
pub async fn channels(ctx: &Context, namespace: &str, name: &str) -> Result<Vec<String>, Failure> {
    let record = apply::own::<ConfigMap>(ctx, namespace, &labels::ledgers(name)).await?;
    Ok(record.and_then(|record| record.data).unwrap_or_default().into_keys().collect())
}

/// In-cluster address of the organization's oldest node of this kind: it stays the same when nodes are added.
async fn bootstrap<K: NodeKind>(ctx: &Context, object: &K::Object) -> Result<Option<String>, Failure> {
    let namespace = object.namespace().unwrap_or_default();
    let same = format!("{LABEL_ORGANIZATION}={}", object.spec().organization);
    let nodes = apply::list::<K::Object>(ctx, &namespace, &same).await?;
    let oldest = nodes
        .iter()
        .filter(|node| node.meta().deletion_timestamp.is_none())
        .min_by_key(|node| (node.creation_timestamp().map(|time| time.0), node.name_any()));
    Ok(oldest.map(|node| format!("{}.{namespace}.svc:{}", node.name_any(), K::PORTS[0].number)))
}

/// What matters of another node to a restart, and its Pod. One without a `StatefulSet` does not run.
pub async fn neighbour(ctx: &Context, namespace: &str, name: &str) -> Result<(Neighbour, Option<PodFacts>), Failure> {
    let set = apply::read::<StatefulSet>(ctx, namespace, name).await?;
    let pod = apply::read::<Pod>(ctx, namespace, &labels::pod(name)).await?.map(|pod| PodFacts::of(&pod));
    let outdated = |set: &StatefulSet| pod.as_ref().is_some_and(|pod| pod.may_be_outdated(set));
    let neighbour = Neighbour {
        name: format!("{namespace}/{name}"),
        state: if set.is_some() { state(pod.as_ref(), ctx.now()) } else { State::Lost },
        outdated: set.as_ref().is_some_and(outdated),
    };
    Ok((neighbour, pod))
}
