//! Looks at an identity: its namespace, its authority, its Secret, and what is on record of it.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::ResourceExt as _;

use super::secret::Held;
use super::{Observed, secret_name};
use crate::controllers::context::Context;
use crate::controllers::driver::Scope;
use crate::controllers::failure::Failure;
use crate::controllers::{apply, children, gates, labels, materials};
use crate::resources::{CertificateAuthority, Identity, Membership};

/// Name of an organization's [`CertificateAuthority`] object.
const AUTHORITY: &str = "ca";

pub async fn observe(ctx: &Context, scope: &Scope, object: &Identity) -> Result<Observed, Failure> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let secret = apply::get::<Secret>(ctx, &namespace, &secret_name(object)).await?;
    let record = labels::identity_record(&name);
    let role = children::read::<Role>(ctx, &namespace, &record).await?;
    let binding = children::read::<RoleBinding>(ctx, &namespace, &record).await?;
    let authority = apply::get::<CertificateAuthority>(ctx, &namespace, AUTHORITY).await?;
    Ok(Observed {
        consortium: scope.consortium.name_any(),
        settings: scope.consortium.spec.clone(),
        namespace: gates::namespace(ctx, &namespace).await?,
        authority: authority.map(|authority| authority.spec),
        msp: apply::get(ctx, &namespace, labels::MSP).await?,
        root: materials::observe(ctx, &namespace, labels::ROOT_ENROLMENT).await?,
        secret: Held::of(secret.as_ref(), &name),
        record: apply::get(ctx, &namespace, &record).await?,
        revocations: apply::get(ctx, &namespace, labels::REVOCATIONS).await?,
        channels: if object.spec.revoked { channels(ctx, &namespace).await? } else { Vec::new() },
        live: role.into_iter().chain(binding).collect(),
    })
}

/// The channels that the namespace's organization is a member of.
async fn channels(ctx: &Context, namespace: &str) -> Result<Vec<String>, Failure> {
    let memberships = apply::list::<Membership>(ctx, namespace, "").await?;
    Ok(memberships.into_iter().map(|membership| membership.spec.channel).collect())
}
