//! Looks at the Secrets of an organization's namespace.

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::decide::identities;
use super::{Observed, ROOTS};
use crate::controllers::apply::{self, MANAGED_BY};
use crate::controllers::context::Context;
use crate::controllers::driver::Scope;
use crate::controllers::failure::Failure;
use crate::controllers::materials::{self, material};
use crate::controllers::{gates, labels};
use crate::resources::CertificateAuthority;
use tenter_consortium::objects::{FIELD_MANAGER, LABEL_NODE};

pub async fn observe(ctx: &Context, scope: &Scope, object: &CertificateAuthority) -> Result<Observed, Failure> {
    let namespace = object.namespace().unwrap_or_default();
    let read = async |name: &'static str| {
        Ok::<_, Failure>((name.to_owned(), materials::observe(ctx, &namespace, name).await?))
    };
    let of_nodes = format!("{MANAGED_BY}={FIELD_MANAGER},{LABEL_NODE}");
    let (roots, own, nodes, facts, msp, revocations) = tokio::try_join!(
        try_join_all(ROOTS.map(|(name, _)| read(name))),
        try_join_all(identities(&object.spec).into_iter().map(|identity| read(identity.secret))),
        apply::list::<Secret>(ctx, &namespace, &of_nodes),
        gates::namespace(ctx, &namespace),
        apply::get(ctx, &namespace, labels::MSP),
        apply::get(ctx, &namespace, labels::REVOCATIONS),
    )?;
    Ok(Observed {
        consortium: scope.consortium.name_any(),
        settings: scope.consortium.spec.clone(),
        namespace: facts,
        roots: roots.into_iter().collect(),
        identities: own.into_iter().collect(),
        nodes: nodes.iter().map(|secret| (secret.name_any(), material(Some(secret)))).collect(),
        msp,
        revocations,
    })
}
