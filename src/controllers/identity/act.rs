//! Enrols identities, and writes down what was issued and revoked.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use kube::core::ObjectMeta;
use kube::runtime::events::EventType;
use serde_json::json;
use tenter_consortium::objects::FIELD_MANAGER;
use tenter_fabric::ca::CertificateRequest;
use tenter_fabric::x509::CertificateInfo;

use super::decide::metadata;
use super::secret::{contents, foreign, msp_secret};
use super::{IdentityAction, Observed, Why, secret_name};
use crate::controllers::apply::{self, MANAGED_BY, Written};
use crate::controllers::conditions::rfc3339;
use crate::controllers::context::Context;
use crate::controllers::events;
use crate::controllers::failure::Failure;
use crate::controllers::labels::{self, Belonging};
use crate::controllers::materials::{self, Material, randomness};
use crate::resources::Identity;

pub async fn act(
    ctx: &Context,
    object: &Identity,
    observed: &Observed,
    action: &IdentityAction,
) -> Result<(), Failure> {
    match action {
        IdentityAction::Enrol(request, why) => enrol(ctx, object, observed, request, why).await,
        IdentityAction::Adopt(serial, not_after) => issued(ctx, object, observed, serial, not_after).await,
        IdentityAction::Complete(public) => {
            let mut secret = own_secret(ctx, object).await?;
            public.write(secret.data.get_or_insert_default());
            apply::replace(ctx, &secret).await?;
            let note = format!("the public files of Secret {} were put right; its key stayed", secret.name_any());
            events::publish(ctx, object, EventType::Normal, "SecretCompleted", "Reconcile", &note).await;
            Ok(())
        }
        IdentityAction::Revoke(serials) => {
            let namespace = object.namespace().unwrap_or_default();
            // Named like what the certificate authority keeps: it is what is told of a change.
            let belonging = Belonging {
                consortium: &observed.consortium,
                organization: &object.spec.organization,
                namespace: &namespace,
                component: labels::CERTIFICATE_AUTHORITY,
                node: None,
            };
            write_down(ctx, observed.revocations.as_ref(), belonging.metadata(labels::REVOCATIONS), serials).await
        }
        IdentityAction::Apply(child) => child.apply(ctx).await,
    }
}

/// Issues a certificate for a new key. It is on record before it is in the Secret: if the program stops in between, a
/// certificate is on record that nobody has.
async fn enrol(
    ctx: &Context,
    object: &Identity,
    observed: &Observed,
    request: &CertificateRequest,
    why: &Why,
) -> Result<(), Failure> {
    let namespace = object.namespace().unwrap_or_default();
    let missing = || Failure::new("AuthorityNotReady", format!("no root was seen in ConfigMap {namespace}/msp"));
    let root = observed.recorded_root().ok_or_else(missing)?;
    let public = observed.public().ok_or_else(missing)?;
    let authority = materials::authority(ctx, &namespace, labels::ROOT_ENROLMENT, &root).await?;
    let made = authority.issue(request, ctx.now(), &mut randomness()).map_err(|error| materials::refused(&error))?;
    let certificate = CertificateInfo::from_pem(&made.cert_pem)
        .map_err(|error| Failure::terminal("IssueCertificate", format!("what was issued cannot be read: {error}")))?;
    let not_after = rfc3339(certificate.not_after);
    issued(ctx, object, observed, &certificate.serial, &not_after).await?;
    let name = secret_name(object);
    if observed.secret.material == Material::Absent {
        let secret = msp_secret(metadata(object, observed, &name, false), &made, &public);
        if apply::create(ctx, &secret).await? == Written::Unchanged {
            let message = format!("Secret {namespace}/{name} appeared while its contents were issued");
            return Err(Failure::new("SecretAppeared", message));
        }
    } else {
        let mut secret = own_secret(ctx, object).await?;
        // The whole of it at once: nobody ever mounts a key beside another's certificate.
        secret.data = Some(contents(&made, &public));
        apply::replace(ctx, &secret).await?;
    }
    tell(ctx, object, why, &not_after).await;
    Ok(())
}

async fn tell(ctx: &Context, object: &Identity, why: &Why, not_after: &str) {
    let secret = secret_name(object);
    match why {
        // The condition that follows says it.
        Why::First => {}
        Why::Renewal => {
            let note = format!("Secret {secret} has a new key and a certificate that is valid until {not_after}");
            events::publish(ctx, object, EventType::Normal, "Renewed", "Reconcile", &note).await;
        }
        Why::Restored(found) => {
            let note = format!(
                "{found}; it has a new key and certificate now. What it held before stays valid until it expires: if that \
                 key may be in wrong hands, set spec.revoked and make an Identity of another name"
            );
            events::publish(ctx, object, EventType::Warning, "SecretRestored", "Reconcile", &note).await;
        }
    }
}

/// The identity's Secret, as it is now.
async fn own_secret(ctx: &Context, object: &Identity) -> Result<Secret, Failure> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), secret_name(object));
    let secret = apply::get::<Secret>(ctx, &namespace, &name).await?.ok_or_else(|| {
        Failure::new("SecretMissing", format!("Secret {namespace}/{name} went while it was being written"))
    })?;
    match foreign(&secret, &object.name_any()) {
        None => Ok(secret),
        Some(why) => {
            let message = format!("Secret {namespace}/{name} is not the one of this identity: {why}");
            Err(Failure::terminal("ForeignSecret", message))
        }
    }
}

/// Puts a certificate on record as issued to the identity.
async fn issued(
    ctx: &Context,
    object: &Identity,
    observed: &Observed,
    serial: &str,
    not_after: &str,
) -> Result<(), Failure> {
    let metadata = metadata(object, observed, &labels::identity_record(&object.name_any()), false);
    let entries = BTreeMap::from([(serial.to_owned(), not_after.to_owned())]);
    write_down(ctx, observed.record.as_ref(), metadata, &entries).await
}

/// Adds entries to a record, which is made if it is not there. A merge: what others wrote in between stays.
async fn write_down(
    ctx: &Context,
    seen: Option<&ConfigMap>,
    metadata: ObjectMeta,
    entries: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let (namespace, name) = (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
    let live = if seen.is_none() {
        let record = ConfigMap { metadata, data: Some(entries.clone()), ..ConfigMap::default() };
        if apply::create(ctx, &record).await? == Written::Changed {
            return Ok(());
        }
        apply::get::<ConfigMap>(ctx, &namespace, &name).await?
    } else {
        seen.cloned()
    };
    let own = |map: &ConfigMap| map.labels().get(MANAGED_BY).map(String::as_str) == Some(FIELD_MANAGER);
    if live.as_ref().is_some_and(|live| !own(live)) {
        return Err(Failure::terminal(
            "ForeignConfigMap",
            format!("ConfigMap {namespace}/{name} exists and is not Tenter's: rename or remove it"),
        ));
    }
    apply::merge::<ConfigMap>(ctx, &namespace, &name, &json!({"data": entries})).await
}
