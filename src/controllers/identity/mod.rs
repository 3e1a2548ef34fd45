//! Identities of people and applications: enrolled by the organization's authority into a Secret in MSP form, replaced in
//! time, and revoked for ever.
//!
//! Three things outlive the object, and have no owner: the Secret; the record of every certificate that was issued
//! (`ConfigMap` `identity-<name>`, written before the Secret is, so that no certificate is in use that is not on record);
//! and the organization's record of what was revoked (`ConfigMap` `revocations`), of which the certificate authority
//! makes its revocation list.

mod act;
mod decide;
mod observe;
pub mod secret;
mod status;

#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod nodes_tests;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use tenter_consortium::objects::{CertificateAuthoritySpec, ConsortiumSpec, LABEL_IDENTITY};
use tenter_fabric::ca::{CertificateRequest, RevocationList, Revocations};
use tenter_fabric::x509::CertificateInfo;

use self::secret::{Held, PublicMsp};
use super::children::Child;
use super::context::Context;
use super::driver::{Cleanup, Controlled, DecisionOf, Scope};
use super::failure::Failure;
use super::gates::NamespaceFacts;
use super::labels;
use super::materials::Material;
use crate::resources::{Identity, TenterObject as _};

/// The part of the network that this controller's objects are.
pub const COMPONENT: &str = "identity";

/// What is known of an identity.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The Consortium object's name.
    pub consortium: String,
    /// The daemon's settings.
    pub settings: ConsortiumSpec,
    /// The organization's namespace.
    pub namespace: Option<NamespaceFacts>,
    /// The organization's certificate authority.
    pub authority: Option<CertificateAuthoritySpec>,
    /// The organization's public MSP.
    pub msp: Option<ConfigMap>,
    /// What the Secret of the root that issues identities holds.
    pub root: Material,
    /// What its Secret holds.
    pub secret: Held,
    /// The certificates that were issued to it: serial numbers, and when they expire.
    pub record: Option<ConfigMap>,
    /// What was revoked in the organization.
    pub revocations: Option<ConfigMap>,
    /// The channels that the organization is a member of.
    pub channels: Vec<String>,
    /// What is there of the objects that say who may read its Secret.
    pub live: Vec<Child>,
}

fn entries(map: Option<&ConfigMap>) -> BTreeMap<String, String> {
    map.and_then(|map| map.data.clone()).unwrap_or_default()
}

impl Observed {
    /// The public part of every Secret in MSP form, once the authority has published it.
    fn public(&self) -> Option<PublicMsp> {
        PublicMsp::of(self.msp.as_ref()?)
    }

    /// The root that issues identities, as it is on record.
    fn recorded_root(&self) -> Option<CertificateInfo> {
        CertificateInfo::from_pem(&self.public()?.ca).ok()
    }

    /// What the published revocation list holds.
    fn listed(&self) -> Revocations {
        let list =
            entries(self.msp.as_ref()).get(labels::MSP_CRLS).and_then(|text| RevocationList::from_pem(text).ok());
        let root = self.recorded_root();
        list.filter(|list| root.is_some_and(|root| list.is_signed_by(&root)))
            .map(|list| list.revoked)
            .unwrap_or_default()
    }

    /// Serial numbers of the certificates that were issued to it, and when they expire.
    fn issued(&self) -> BTreeMap<String, String> {
        entries(self.record.as_ref())
    }

    /// Serial numbers on record as revoked, published or not.
    fn revoked(&self) -> BTreeMap<String, String> {
        entries(self.revocations.as_ref())
    }

    /// The certificate in its Secret.
    fn certificate(&self) -> Option<&CertificateInfo> {
        self.secret.material.certificate()
    }
}

/// Why a certificate is issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has none yet.
    First,
    /// The one that it has is due.
    Renewal,
    /// Somebody changed or removed its Secret: what was found.
    Restored(String),
}

/// What can be done about one.
#[derive(Clone, PartialEq)]
pub enum IdentityAction {
    /// Issue a certificate for a new key, put it on record, and put both into the Secret.
    Enrol(CertificateRequest, Why),
    /// Put a certificate that is in the Secret on record.
    Adopt(String, String),
    /// Put the public files of the Secret right, and leave its key.
    Complete(PublicMsp),
    /// Put certificates on record as revoked.
    Revoke(BTreeMap<String, String>),
    /// Bring a Role or `RoleBinding` to what is wanted.
    Apply(Child),
}

/// Short: an action is logged.
impl fmt::Debug for IdentityAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enrol(request, why) => write!(f, "Enrol {} ({why:?})", request.common_name),
            Self::Adopt(serial, _) => write!(f, "Adopt {serial}"),
            Self::Complete(_) => f.write_str("Complete"),
            Self::Revoke(serials) => write!(f, "Revoke {}", serials.keys().cloned().collect::<Vec<_>>().join(", ")),
            Self::Apply(child) => write!(f, "Apply {child:?}"),
        }
    }
}

/// The controller of [`Identity`] objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdentityController;

impl Controlled for IdentityController {
    type Object = Identity;
    type Observed = Observed;
    type Action = IdentityAction;

    fn watch(&self, controller: Controller<Identity>, ctx: &Context) -> Controller<Identity> {
        let store = controller.store();
        controller
            // The public MSP and what was revoked concern every identity of the namespace.
            .watches_stream(ctx.triggers_of(labels::COMPONENT, labels::CERTIFICATE_AUTHORITY), move |map: ConfigMap| {
                let namespace = map.namespace();
                let identities: Vec<ObjectRef<Identity>> = store
                    .state()
                    .iter()
                    .filter(|identity| identity.namespace() == namespace)
                    .map(|identity| ObjectRef::from_obj(&**identity))
                    .collect();
                identities
            })
            .watches_stream(ctx.triggers_of(labels::COMPONENT, COMPONENT), |map: ConfigMap| {
                Some(ObjectRef::<Identity>::new(map.labels().get(LABEL_IDENTITY)?).within(&map.namespace()?))
            })
    }

    async fn observe(&self, ctx: &Context, scope: &Scope, object: &Identity) -> Result<Observed, Failure> {
        Box::pin(observe::observe(ctx, scope, object)).await
    }

    fn decide(&self, object: &Identity, observed: &Observed, now: Timestamp) -> DecisionOf<Self> {
        decide::decide(object, observed, now)
    }

    async fn act(
        &self,
        ctx: &Context,
        object: &Identity,
        observed: &Observed,
        action: &IdentityAction,
    ) -> Result<(), Failure> {
        act::act(ctx, object, observed, action).await
    }

    async fn cleanup(&self, _ctx: &Context, object: &Identity) -> Result<Cleanup, Failure> {
        let secret = secret_name(object);
        let valid = object.status.as_ref().and_then(|status| status.not_after.clone());
        let valid = match valid {
            Some(not_after) if !object.spec.revoked => format!(
                "; its certificate stays valid until {not_after}: to end it, make the Identity again with revoked: true"
            ),
            _ => String::new(),
        };
        Ok(Cleanup::Done(Some(format!(
            "who could read the Secret of {} can no longer; the Secret {secret} and the record {} of what was issued stay, \
             and are taken up again by an Identity of this name{valid}",
            object.describe(),
            labels::identity_record(&object.name_any()),
        ))))
    }
}

/// Name of an identity's Secret.
pub fn secret_name(object: &Identity) -> String {
    object.spec.secret_name.clone().unwrap_or_else(|| labels::identity_secret(&object.name_any()))
}
