//! The builtin certificate authority: three roots and the organization's own identities, in Secrets of its
//! namespace.
//!
//! The keys of roots are made once; their certificates are renewed. The `ConfigMap` `msp` is public, and is the record of which roots they are: nothing is
//! issued before it is written, so a root that is gone is never silently replaced by a new one.

mod act;
mod decide;
mod observe;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use tenter_consortium::objects::ConsortiumSpec;
use tenter_fabric::ca::{CertificateRequest, Revocations, RootKind};

use super::children::Child;
use super::context::Context;
use super::driver::{Controlled, DecisionOf, Scope};
use super::failure::Failure;
use super::gates::NamespaceFacts;
use super::labels;
use super::materials::Material;
use crate::resources::CertificateAuthority;

pub use self::decide::public_msp;

/// The Secrets of the roots, and what each issues.
pub const ROOTS: [(&str, RootKind); 3] = [
    (labels::ROOT_ENROLMENT, RootKind::Enrolment),
    (labels::ROOT_TLS, RootKind::Tls),
    (labels::ROOT_CLIENTS, RootKind::Clients),
];

/// What is known of a certificate authority.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The Consortium object's name.
    pub consortium: String,
    /// The daemon's settings.
    pub settings: ConsortiumSpec,
    /// The organization's namespace.
    pub namespace: Option<NamespaceFacts>,
    /// Its roots by the name of their Secret.
    pub roots: BTreeMap<String, Material>,
    /// Its identities by the name of their Secret.
    pub identities: BTreeMap<String, Material>,
    /// Certificates of the organization's nodes by the name of their Secret.
    pub nodes: BTreeMap<String, Material>,
    /// The public MSP.
    pub msp: Option<ConfigMap>,
    /// What was revoked.
    pub revocations: Option<ConfigMap>,
}

/// What can be done about one.
#[derive(Clone, Debug)]
pub enum CaAction {
    /// Make a root, in a Secret that is not there.
    CreateRoot(&'static str, RootKind),
    /// Make the certificate of a root anew, for the same key.
    RenewRoot(&'static str),
    /// Issue an identity with a new key.
    Issue(&'static str, &'static str, CertificateRequest),
    /// Issue an identity again for the key that it has.
    Renew(&'static str, &'static str, CertificateRequest),
    /// Bring the public MSP up to date.
    Publish(Child),
    /// Sign a revocation list of all this, and publish it.
    PublishRevocations(Revocations),
}

/// The controller of [`CertificateAuthority`] objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct CertificateAuthorityController;

impl Controlled for CertificateAuthorityController {
    type Object = CertificateAuthority;
    type Observed = Observed;
    type Action = CaAction;
    const INDEPENDENT: bool = true;

    fn watch(&self, controller: Controller<CertificateAuthority>, ctx: &Context) -> Controller<CertificateAuthority> {
        let managed = ctx.triggers_of(labels::COMPONENT, labels::CERTIFICATE_AUTHORITY);
        let store = controller.store();
        // Nothing owns the public MSP and what was revoked: they outlive the object. They concern the authority of
        // their namespace.
        controller.watches_stream(managed, move |map: ConfigMap| {
            let namespace = map.namespace();
            let authorities: Vec<ObjectRef<CertificateAuthority>> = store
                .state()
                .iter()
                .filter(|authority| authority.namespace() == namespace)
                .map(|authority| ObjectRef::from_obj(&**authority))
                .collect();
            authorities
        })
    }

    async fn observe(&self, ctx: &Context, scope: &Scope, object: &CertificateAuthority) -> Result<Observed, Failure> {
        Box::pin(observe::observe(ctx, scope, object)).await
    }

    fn decide(&self, object: &CertificateAuthority, observed: &Observed, now: Timestamp) -> DecisionOf<Self> {
        decide::decide(object, observed, now)
    }

    async fn act(
        &self,
        ctx: &Context,
        object: &CertificateAuthority,
        observed: &Observed,
        action: &CaAction,
    ) -> Result<(), Failure> {
        act::act(ctx, object, observed, action).await
    }

    async fn cleanup(&self, _ctx: &Context, object: &CertificateAuthority) -> Result<super::Cleanup, Failure> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        Ok(super::Cleanup::Done(Some(format!(
            "the Secrets of the roots and identities stay in namespace {namespace}: nodes and channels go on to need \
             them; remove them by hand when the organization is gone for good"
        ))))
    }
}
