//! Decides what an identity needs: pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role as RbacRole, RoleBinding, RoleRef};
use kube::ResourceExt as _;
use kube::core::ObjectMeta;
use tenter_consortium::objects::{CertificateAuthoritySpec, IdentityRole, LABEL_IDENTITY, Subject};
use tenter_consortium::settings::subject_allowed;
use tenter_consortium::status::IdentityStatus;
use tenter_fabric::ca::{CertificateRequest, Role, Usage};
use tenter_fabric::x509::CertificateInfo;

use super::secret::PublicMsp;
use super::status::{certificate_of, is_revoked, status};
use super::{COMPONENT, IdentityAction, Observed, Why, secret_name};
use crate::controllers::children::{Child, pending};
use crate::controllers::conditions::{Verdict, rfc3339};
use crate::controllers::driver::Decision;
use crate::controllers::gates;
use crate::controllers::labels::{self, Belonging};
use crate::controllers::materials::{Material, Need, hours, need, next_look};
use crate::controllers::organization::rbac_subject;
use crate::resources::Identity;

pub type IdentityDecision = Decision<IdentityAction, IdentityStatus>;

/// How soon an identity that waits for something that comes by itself is looked at again.
const SOON: Duration = Duration::from_secs(5);
/// How soon one that waits for a person is looked at again.
const LATER: Duration = Duration::from_secs(15);

/// What the authority has to give, once it is there.
struct Granted {
    request: CertificateRequest,
    public: PublicMsp,
    root: CertificateInfo,
}

/// What is to be done, and how it is then.
struct Step {
    actions: Vec<IdentityAction>,
    verdict: Verdict,
}

impl Step {
    fn act(actions: Vec<IdentityAction>, verdict: Verdict) -> Self {
        Self { actions, verdict }
    }

    const fn rest(verdict: Verdict) -> Self {
        Self { actions: Vec::new(), verdict }
    }
}

/// Decides.
pub fn decide(object: &Identity, observed: &Observed, now: Timestamp) -> IdentityDecision {
    let wanted = request(object, observed);
    let status = status(object, observed, wanted.as_ref(), now);
    let Step { actions, verdict } = steps(object, observed, now).unwrap_or_else(Step::rest);
    if !actions.is_empty() {
        return Decision::act(actions, status, verdict);
    }
    match verdict {
        Verdict::Ready { .. } => {
            let settled = Decision::settled(status, verdict);
            let requeue = next_look(observed.certificate().into_iter(), now).min(settled.requeue);
            Decision { requeue, ..settled }
        }
        Verdict::Reconciling { .. } => Decision::wait(status, verdict, SOON),
        Verdict::Stalled { .. } => Decision::wait(status, verdict, LATER),
    }
}

/// What is asked of the authority; `None` without one.
fn request(object: &Identity, observed: &Observed) -> Option<CertificateRequest> {
    let authority = observed.authority.as_ref()?;
    let spec = &object.spec;
    let own = || format!("{}.{}", object.name_any(), authority.domain);
    let role = match spec.role {
        IdentityRole::Client => Role::Client,
        IdentityRole::Admin => Role::Admin,
    };
    Some(CertificateRequest {
        common_name: spec.common_name.clone().unwrap_or_else(own),
        usage: Usage::Enrolment(role),
        lifetime: hours(spec.lifetime_hours.unwrap_or(authority.certificate_lifetime_hours)),
    })
}

/// The steps in their order; the first that has something to do, or to say, ends them.
fn steps(object: &Identity, observed: &Observed, now: Timestamp) -> Result<Step, Verdict> {
    let namespace = object.namespace().unwrap_or_default();
    let organization = &object.spec.organization;
    gates::identity_names(&object.name_any(), &secret_name(object))?;
    gates::admit(&observed.settings, organization, &namespace)?;
    gates::own_namespace(observed.namespace.as_ref(), &observed.consortium, organization, &namespace)?;
    let refused = subject(object, observed).err();
    let revoked = is_revoked(observed) || object.spec.revoked;
    let foreign = observed.secret.foreign.is_some();
    let reader = object.spec.subject.as_ref().filter(|_| refused.is_none() && !revoked && !foreign);
    let access: Vec<IdentityAction> =
        pending(access(object, observed, reader), &observed.live).into_iter().map(IdentityAction::Apply).collect();
    // Nobody reads for longer than may be, whatever else is to be said.
    if reader.is_none() && !access.is_empty() {
        let message = "who may read its Secret is being written";
        return Ok(Step::act(access, Verdict::reconciling("Applying", message)));
    }
    if object.spec.revoked {
        return Ok(revoke(object, observed, now));
    }
    if is_revoked(observed) {
        return Err(revocation_is_final(object, &namespace));
    }
    if let Some(why) = &observed.secret.foreign {
        let message = format!(
            "Secret {namespace}/{} is not the one of this identity ({why}): remove it, or set another spec.secretName in a \
             new Identity",
            secret_name(object)
        );
        return Err(Verdict::stalled("ForeignSecret", message));
    }
    // A configuration administrator's key is not made for whom the settings do not know.
    if let Some(refused) = refused.as_ref().filter(|_| object.spec.role == IdentityRole::Admin) {
        return Err(refused.clone());
    }
    let granted = granted(object, observed, &namespace)?;
    if let Some(step) = enrol(object, observed, &granted, now) {
        return Ok(step);
    }
    if !access.is_empty() {
        let message = "who may read its Secret is being written";
        return Ok(Step::act(access, Verdict::reconciling("Applying", message)));
    }
    match refused {
        Some(refused) => Err(refused),
        None => rest(object, observed, &granted, now),
    }
}

/// Everything is as wanted, as far as it can be.
fn rest(object: &Identity, observed: &Observed, granted: &Granted, now: Timestamp) -> Result<Step, Verdict> {
    let secret = secret_name(object);
    let Some(certificate) = observed.certificate() else {
        return Err(Verdict::reconciling("Enrolling", format!("Secret {secret} was not seen yet")));
    };
    let end = rfc3339(certificate.not_after);
    if certificate.not_after <= now {
        let message = format!(
            "its certificate expired on {end} and cannot be replaced: the root {} ends on {}; the organization needs a root \
             that lives longer",
            granted.root.subject,
            rfc3339(granted.root.not_after)
        );
        return Err(Verdict::stalled("Expired", message));
    }
    let message = format!("{} is in Secret {secret} until {end}", certificate.subject);
    Ok(Step::rest(Verdict::ready("Enrolled", message)))
}

/// Whether the daemon's settings let the subject be granted something, and an administrator has one.
fn subject(object: &Identity, observed: &Observed) -> Result<(), Verdict> {
    let Some(subject) = &object.spec.subject else {
        return match object.spec.role {
            IdentityRole::Client => Ok(()),
            IdentityRole::Admin => Err(Verdict::stalled(
                "SubjectMissing",
                "an identity of role admin signs configuration updates for its organization: set spec.subject to who may \
                 hold it",
            )),
        };
    };
    if subject_allowed(subject, &observed.settings.subjects) {
        return Ok(());
    }
    let Subject { kind, name, namespace: _ } = subject;
    let message = format!(
        "this daemon may not let {kind:?} {name} read an identity: add it to spec.subjects of the Consortium, or take it \
         out of spec.subject"
    );
    Err(Verdict::stalled("SubjectNotAllowed", message))
}

/// What the organization's authority has to give.
fn granted(object: &Identity, observed: &Observed, namespace: &str) -> Result<Granted, Verdict> {
    let wait = |message: String| Verdict::reconciling("AuthorityNotReady", message);
    let authority = observed
        .authority
        .as_ref()
        .ok_or_else(|| wait(format!("namespace {namespace} has no CertificateAuthority `ca` yet")))?;
    let CertificateAuthoritySpec { organization, .. } = authority;
    if *organization != object.spec.organization {
        let message =
            format!("CertificateAuthority {namespace}/ca is of {organization}, not of {}", object.spec.organization);
        return Err(Verdict::stalled("OrganizationDiffers", message));
    }
    let request = request(object, observed).ok_or_else(|| wait("no authority was seen".to_owned()))?;
    let public = observed.public().ok_or_else(|| {
        wait(format!("the certificate authority of {namespace} has not yet published its MSP in ConfigMap msp"))
    })?;
    let root = CertificateInfo::from_pem(&public.ca).map_err(|error| {
        let message = format!("{} of ConfigMap {namespace}/msp cannot be read: {error}", labels::MSP_CACERTS);
        Verdict::stalled("AuthorityUnusable", message)
    })?;
    // Seen here, and not only where something is issued: what expires while the root is gone has to say so.
    match observed.root.certificate() {
        Some(held) if held.certificate_fingerprint == root.certificate_fingerprint => {
            Ok(Granted { request, public, root })
        }
        _ => Err(wait(format!(
            "Secret {namespace}/{} does not hold the root on record: see CertificateAuthority {namespace}/ca",
            labels::ROOT_ENROLMENT
        ))),
    }
}

/// What the Secret needs, if it needs anything.
fn enrol(object: &Identity, observed: &Observed, granted: &Granted, now: Timestamp) -> Option<Step> {
    let Granted { request, public, root } = granted;
    let secret = secret_name(object);
    if root.not_after <= now && observed.secret.material == Material::Absent {
        let message = format!("the root {} expired on {}", root.subject, rfc3339(root.not_after));
        return Some(Step::rest(Verdict::stalled("RootExpired", message)));
    }
    let why = match need(&observed.secret.material, request, root, now) {
        Need::Nothing => return complete(observed, public),
        Need::New if observed.issued().is_empty() => Why::First,
        Need::New => Why::Restored(format!("Secret {secret} was gone")),
        Need::Renewal(_) => Why::Renewal,
        Need::Person(_) if root.not_after <= now => {
            let message = format!("the root {} expired on {}", root.subject, rfc3339(root.not_after));
            return Some(Step::rest(Verdict::stalled("RootExpired", message)));
        }
        Need::Person(found) => Why::Restored(found),
    };
    let message = match &why {
        Why::First => format!("{} is being enrolled", request.common_name),
        Why::Renewal => format!("{} is being enrolled anew", request.common_name),
        Why::Restored(found) => format!("{} is being enrolled anew: {found}", request.common_name),
    };
    let action = IdentityAction::Enrol(request.clone(), why);
    Some(Step::act(vec![action], Verdict::reconciling("Enrolling", message)))
}

/// The certificate is as wanted: whether it is on record, and whether the files beside it are right.
fn complete(observed: &Observed, public: &PublicMsp) -> Option<Step> {
    let certificate = observed.certificate()?;
    let mut actions = Vec::new();
    if !observed.issued().contains_key(&certificate.serial) {
        actions.push(IdentityAction::Adopt(certificate.serial.clone(), rfc3339(certificate.not_after)));
    }
    if !observed.secret.is_complete(public) {
        actions.push(IdentityAction::Complete(public.clone()));
    }
    let verdict = Verdict::reconciling("Completing", "its Secret and its record are being put right");
    (!actions.is_empty()).then(|| Step::act(actions, verdict))
}

/// Puts every certificate that was ever issued to it on record as revoked, and says how far that is.
///
/// Every one, expired or not: whose key signs a configuration update counts in Fabric though its certificate expired.
fn revoke(object: &Identity, observed: &Observed, now: Timestamp) -> Step {
    let mut serials: BTreeMap<String, String> = observed.issued();
    // One that is on no record: its record was removed by hand. What is none of its own is not revoked with it.
    let wanted = request(object, observed);
    serials.extend(certificate_of(observed, wanted.as_ref()).map(|own| (own.serial.clone(), rfc3339(own.not_after))));
    let (recorded, listed) = (observed.revoked(), observed.listed());
    let missing: BTreeMap<String, String> = serials
        .keys()
        .filter(|serial| !recorded.contains_key(*serial) && !listed.contains_key(*serial))
        .map(|serial| (serial.clone(), rfc3339(now)))
        .collect();
    if !missing.is_empty() {
        let message = format!("{} of its certificates are being put on record as revoked", missing.len());
        return Step::act(vec![IdentityAction::Revoke(missing)], Verdict::reconciling("Revoking", message));
    }
    if serials.keys().any(|serial| !listed.contains_key(serial)) {
        let message = "the certificate authority has not yet signed the revocation list with its certificates on it: see \
                       CertificateAuthority ca";
        return Step::rest(Verdict::reconciling("Revoking", message));
    }
    let channels = match observed.channels.as_slice() {
        [] => String::new(),
        channels => format!(
            "; channel {} refuses them once a configuration update has put that list into its configuration",
            channels.join(", ")
        ),
    };
    let message = match serials.len() {
        0 => "no certificate of it is on record, and none will be issued".to_owned(),
        count => format!(
            "its {count} certificate{} on the revocation list of {} ({} of ConfigMap msp), and its nodes refuse them once \
             restarted{channels}",
            if count == 1 { " is" } else { "s are" },
            object.spec.organization,
            labels::MSP_CRLS
        ),
    };
    Step::rest(Verdict::ready("Revoked", message))
}

fn revocation_is_final(object: &Identity, namespace: &str) -> Verdict {
    let message = format!(
        "its certificates are revoked, and stay so: set spec.revoked of Identity {namespace}/{} to true, and make an Identity \
         of another name for what comes after it",
        object.name_any()
    );
    Verdict::stalled("RevocationIsFinal", message)
}

/// Metadata of what is kept for an identity.
pub fn metadata(object: &Identity, observed: &Observed, name: &str, owned: bool) -> ObjectMeta {
    let namespace = object.namespace().unwrap_or_default();
    let belonging = Belonging {
        consortium: &observed.consortium,
        organization: &object.spec.organization,
        namespace: &namespace,
        component: COMPONENT,
        node: None,
    };
    let mut metadata = if owned { belonging.owned(name, object) } else { belonging.metadata(name) };
    metadata.labels.get_or_insert_default().insert(LABEL_IDENTITY.to_owned(), object.name_any());
    metadata
}

/// Who may read the Secret. A binding that is there and grants nothing any more is emptied: the daemon deletes none.
fn access(object: &Identity, observed: &Observed, reader: Option<&Subject>) -> Vec<Child> {
    if reader.is_none() && observed.live.is_empty() {
        return Vec::new();
    }
    let name = labels::identity_record(&object.name_any());
    let one = |text: &str| Some(vec![text.to_owned()]);
    let rule = PolicyRule {
        api_groups: one(""),
        resources: one("secrets"),
        resource_names: Some(vec![secret_name(object)]),
        verbs: vec!["get".to_owned()],
        ..PolicyRule::default()
    };
    let role_ref =
        RoleRef { api_group: Some("rbac.authorization.k8s.io".into()), kind: "Role".into(), name: name.clone() };
    vec![
        RbacRole { metadata: metadata(object, observed, &name, true), rules: Some(vec![rule]) }.into(),
        RoleBinding {
            metadata: metadata(object, observed, &name, true),
            role_ref,
            subjects: Some(reader.into_iter().map(rbac_subject).collect()),
        }
        .into(),
    ]
}
