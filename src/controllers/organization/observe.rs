//! Looks at an organization's namespace.

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::ResourceExt as _;
use kube::core::object::{HasSpec, HasStatus};
use tenter_consortium::objects::{LABEL_ORGANIZATION, NodeSpec};
use tenter_consortium::status::{CertificateAuthorityPhase, NodePhase, NodeStatus};

use super::decide::{ADMINS, BUDGETS, QUOTA};
use super::{NodeFacts, Observed};
use crate::controllers::context::Context;
use crate::controllers::driver::Scope;
use crate::controllers::failure::Failure;
use crate::controllers::{apply, children, gates};
use crate::resources::{CertificateAuthority, Orderer, Organization, Peer, TenterObject};

pub async fn observe(ctx: &Context, scope: &Scope, object: &Organization) -> Result<Observed, Failure> {
    let namespace = &object.spec.namespace;
    let facts = gates::namespace(ctx, namespace).await?;
    let mut observed =
        Observed { settings: Some(scope.consortium.spec.clone()), namespace: facts, ..Observed::default() };
    if observed.namespace.is_none() {
        return Ok(observed);
    }
    let objects = async {
        tokio::try_join!(
            children::read::<Role>(ctx, namespace, ADMINS),
            children::read::<RoleBinding>(ctx, namespace, ADMINS),
            children::read::<ResourceQuota>(ctx, namespace, QUOTA),
        )
    };
    let budgets = BUDGETS.iter().map(|(name, _)| children::read::<PodDisruptionBudget>(ctx, namespace, name));
    let (authority, orderers, peers, live, budgets) = tokio::try_join!(
        apply::get::<CertificateAuthority>(ctx, namespace, "ca"),
        nodes::<Orderer>(ctx, object, true),
        nodes::<Peer>(ctx, object, false),
        objects,
        try_join_all(budgets),
    )?;
    observed.authority =
        authority.map(|ca| ca.status.and_then(|status| status.phase) == Some(CertificateAuthorityPhase::Ready));
    observed.nodes = orderers.into_iter().chain(peers).collect();
    observed.live = [live.0, live.1, live.2].into_iter().chain(budgets).flatten().collect();
    Ok(observed)
}

async fn nodes<K>(ctx: &Context, object: &Organization, orderer: bool) -> Result<Vec<NodeFacts>, Failure>
where
    K: TenterObject + HasSpec<Spec = NodeSpec> + HasStatus<Status = NodeStatus>,
{
    let own = format!("{LABEL_ORGANIZATION}={}", object.name_any());
    let nodes = apply::list::<K>(ctx, &object.spec.namespace, &own).await?;
    Ok(nodes
        .iter()
        .map(|node| NodeFacts {
            orderer,
            running: node.status().and_then(|status| status.phase) == Some(NodePhase::Running),
            spec: node.spec().clone(),
        })
        .collect())
}
