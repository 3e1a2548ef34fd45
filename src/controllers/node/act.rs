//! Carries out what was decided about a node.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use kube::core::object::HasSpec as _;
use kube::{Api, ResourceExt as _};

use super::restart::gate;
use super::{Certificate, Issue, NodeKind, Observed, PodFacts, Surroundings};
use crate::controllers::apply;
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::controllers::labels::{self, Belonging};
use crate::controllers::materials;
use crate::nodes::Nodes;

/// Issues one of a node's certificates.
pub async fn enrol<K: NodeKind>(
    ctx: &Context,
    object: &K::Object,
    observed: &Observed,
    issue: &Issue,
) -> Result<(), Failure> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let (root, secret) = match issue.certificate {
        Certificate::Enrolment => (labels::ROOT_ENROLMENT, labels::enrolment_secret(&name)),
        Certificate::Tls => (labels::ROOT_TLS, labels::tls_secret(&name)),
    };
    let authority = materials::authority(ctx, &namespace, root, &issue.root).await?;
    if issue.same_key {
        return materials::issue_again(ctx, &authority, &issue.request, (&namespace, &secret), Some(&name)).await;
    }
    let belonging = Belonging {
        consortium: &observed.consortium,
        organization: &object.spec().organization,
        namespace: &namespace,
        component: K::COMPONENT,
        node: Some(&name),
    };
    let roots = match issue.certificate {
        Certificate::Enrolment => None,
        Certificate::Tls => authority.certificate().to_pem().ok(),
    };
    materials::issue_new(ctx, &authority, &issue.request, belonging.metadata(&secret), roots.as_deref()).await
}

/// Stops the Pod that was looked at, and no other of its name, if it may still be restarted.
///
/// The caller lets nobody else in: since the decision another node may have been stopped. If so, nothing is done, and
/// the next look decides anew.
pub async fn restart<K: NodeKind>(
    ctx: &Context,
    nodes: Option<&Nodes>,
    object: &K::Object,
    observed: &Observed,
    uid: &str,
) -> Result<(), Failure> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let Some(settings) = &observed.settings else {
        return Ok(());
    };
    let live = apply::read::<Pod>(ctx, &namespace, &labels::pod(&name)).await?.map(|pod| PodFacts::of(&pod));
    let Some(live) = live.filter(|live| live.uid == uid && !live.deleting) else {
        return Ok(());
    };
    let around = Surroundings { ctx, nodes, consortium: &observed.consortium, settings };
    let neighbours = K::neighbours(&around, object).await?;
    if let Err(why) = gate(&format!("{namespace}/{name}"), &live, &neighbours, ctx.now()) {
        tracing::info!(namespace, name, "not restarted after all: {why}");
        return Ok(());
    }
    stop(ctx, &namespace, &name, uid).await
}

async fn stop(ctx: &Context, namespace: &str, node: &str, uid: &str) -> Result<(), Failure> {
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    let pod = labels::pod(node);
    ctx.writes.count("Pod");
    match Api::<Pod>::namespaced(ctx.client.clone(), namespace).delete(&pod, &parameters).await {
        Ok(answer) => {
            ctx.cache.deleted(namespace, &pod, answer.left().as_ref());
            Ok(())
        }
        // It went, or was replaced, by itself.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(Failure::kube("RestartPod", format!("stop Pod {namespace}/{pod}"), &error)),
    }
}
