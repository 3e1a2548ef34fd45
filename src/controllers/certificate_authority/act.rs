//! Makes roots and issues identities.

use kube::ResourceExt as _;
use tenter_fabric::ca::CertificateRoot;

use super::decide::{belonging, public_msp, recorded_root};
use super::{CaAction, Observed};
use crate::controllers::apply;
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::controllers::labels;
use crate::controllers::materials::{self, hours, key_secret, randomness};
use crate::resources::CertificateAuthority;

pub async fn act(
    ctx: &Context,
    object: &CertificateAuthority,
    observed: &Observed,
    action: &CaAction,
) -> Result<(), Failure> {
    let namespace = object.namespace().unwrap_or_default();
    let belonging = belonging(object, observed, &namespace);
    match action {
        CaAction::CreateRoot(secret, kind) => {
            let lifetime = hours(object.spec.root_lifetime_hours);
            let root = CertificateRoot::generate(*kind, &object.spec.domain, lifetime, ctx.now(), &mut randomness())
                .map_err(|error| Failure::terminal("CreateRoot", format!("{}: {error}", object.spec.domain)))?;
            let secret = key_secret(belonging.metadata(secret), &root.cert_pem, &root.key_pem, None);
            apply::create(ctx, &secret).await.map(drop)
        }
        CaAction::RenewRoot(secret) => {
            let authority = materials::authority(ctx, &namespace, secret, recorded_root(observed, secret)?).await?;
            materials::renew_root(ctx, &authority, hours(object.spec.root_lifetime_hours), (&namespace, secret)).await
        }
        CaAction::Issue(secret, root, request) => {
            let authority = materials::authority(ctx, &namespace, root, recorded_root(observed, root)?).await?;
            materials::issue_new(ctx, &authority, request, belonging.metadata(secret), None).await
        }
        CaAction::Renew(secret, root, request) => {
            let authority = materials::authority(ctx, &namespace, root, recorded_root(observed, root)?).await?;
            materials::issue_again(ctx, &authority, request, (&namespace, secret), None).await
        }
        CaAction::Publish(msp) => msp.apply(ctx).await,
        CaAction::PublishRevocations(revoked) => {
            let root = recorded_root(observed, labels::ROOT_ENROLMENT)?;
            let authority = materials::authority(ctx, &namespace, labels::ROOT_ENROLMENT, root).await?;
            let list = authority.revocation_list(revoked).map_err(|error| materials::refused(&error))?;
            public_msp(object, observed, &namespace, Some(&list)).apply(ctx).await
        }
    }
}
