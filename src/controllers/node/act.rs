//! Carries out what was decided about a node.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use kube::core::object::HasSpec as _;
use kube::{Api, ResourceExt as _};

use super::{Certificate, Issue, NodeAction, NodeKind, Observed};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::controllers::labels::{self, Belonging};
use crate::controllers::materials;

pub async fn act<K: NodeKind>(
    ctx: &Context,
    object: &K::Object,
    observed: &Observed,
    action: &NodeAction,
) -> Result<(), Failure> {
    match action {
        NodeAction::Issue(issue) => enrol::<K>(ctx, object, observed, issue).await,
        NodeAction::Apply(child) => child.apply(ctx).await,
        NodeAction::Restart { uid } => {
            restart(ctx, &object.namespace().unwrap_or_default(), &object.name_any(), uid).await
        }
    }
}

async fn enrol<K: NodeKind>(
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

/// Stops the Pod that was looked at, and no other of its name.
async fn restart(ctx: &Context, namespace: &str, node: &str, uid: &str) -> Result<(), Failure> {
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    let pod = labels::pod(node);
    ctx.writes.count("Pod");
    match Api::<Pod>::namespaced(ctx.client.clone(), namespace).delete(&pod, &parameters).await {
        Ok(_) => Ok(()),
        // It went, or was replaced, by itself.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(Failure::kube("RestartPod", format!("stop Pod {namespace}/{pod}"), &error)),
    }
}
