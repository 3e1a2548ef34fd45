//! Looks at the Secrets of an organization's namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::decide::identities;
use super::{Observed, ROOTS};
use crate::controllers::apply::{self, MANAGED_BY};
use crate::controllers::context::Context;
use crate::controllers::driver::Scope;
use crate::controllers::failure::Failure;
use crate::controllers::materials::{Material, material};
use crate::controllers::{gates, labels};
use crate::resources::CertificateAuthority;
use tenter_consortium::objects::{FIELD_MANAGER, LABEL_NODE};

pub async fn observe(ctx: &Context, scope: &Scope, object: &CertificateAuthority) -> Result<Observed, Failure> {
    let namespace = object.namespace().unwrap_or_default();
    let mut roots = BTreeMap::new();
    for (name, _) in ROOTS {
        roots.insert(name.to_owned(), read(ctx, &namespace, name).await?);
    }
    let mut own = BTreeMap::new();
    for identity in identities(&object.spec) {
        own.insert(identity.secret.to_owned(), read(ctx, &namespace, identity.secret).await?);
    }
    let of_nodes = format!("{MANAGED_BY}={FIELD_MANAGER},{LABEL_NODE}");
    let nodes = apply::list::<Secret>(ctx, &namespace, &of_nodes).await?;
    Ok(Observed {
        consortium: scope.consortium.name_any(),
        settings: scope.consortium.spec.clone(),
        namespace: gates::namespace(ctx, &namespace).await?,
        roots,
        identities: own,
        nodes: nodes.iter().map(|secret| (secret.name_any(), material(Some(secret)))).collect(),
        msp: apply::get(ctx, &namespace, labels::MSP).await?,
        revocations: apply::get(ctx, &namespace, labels::REVOCATIONS).await?,
    })
}

async fn read(ctx: &Context, namespace: &str, name: &str) -> Result<Material, Failure> {
    Ok(material(apply::get::<Secret>(ctx, namespace, name).await?.as_ref()))
}
