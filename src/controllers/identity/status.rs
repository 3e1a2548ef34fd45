//! What an identity's status says, as pure functions of what was observed.

use jiff::Timestamp;
use tenter_consortium::status::{IdentityPhase as Phase, IdentityStatus};
use tenter_fabric::ca::{CertificateRequest, Usage};
use tenter_fabric::x509::{CertificateInfo, renewal_due};

use super::{Observed, secret_name};
use crate::controllers::conditions::rfc3339;
use crate::controllers::materials::{Need, need};
use crate::resources::Identity;

/// The certificate in the Secret, if it is the identity's own: on record, or of its name and role.
pub fn certificate_of<'a>(observed: &'a Observed, wanted: Option<&CertificateRequest>) -> Option<&'a CertificateInfo> {
    let certificate = observed.certificate().filter(|_| observed.secret.foreign.is_none())?;
    if observed.issued().contains_key(&certificate.serial) {
        return Some(certificate);
    }
    let wanted = wanted?;
    let role = matches!(wanted.usage, Usage::Enrolment(role) if certificate.organizational_units == [role.unit()]);
    let named = certificate.common_name.as_deref() == Some(&wanted.common_name);
    (role && named && certificate.is_signed_by(&observed.recorded_root()?)).then_some(certificate)
}

/// Whether the identity is revoked for good: the certificate in its Secret, or without one every certificate that it had.
/// Of a valid identity a single one may be revoked, that was in use before.
pub fn is_revoked(observed: &Observed) -> bool {
    let (recorded, listed) = (observed.revoked(), observed.listed());
    let revoked = |serial: &String| recorded.contains_key(serial) || listed.contains_key(serial);
    match observed.certificate() {
        Some(certificate) if observed.secret.foreign.is_none() => revoked(&certificate.serial),
        _ => {
            let issued = observed.issued();
            !issued.is_empty() && issued.keys().all(revoked)
        }
    }
}

/// The status. The phase follows from certificates and lists alone, never from what the status said before.
pub fn status(
    object: &Identity,
    observed: &Observed,
    wanted: Option<&CertificateRequest>,
    now: Timestamp,
) -> IdentityStatus {
    let certificate = certificate_of(observed, wanted);
    let (issued, listed) = (observed.issued(), observed.listed());
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    IdentityStatus {
        phase: Some(phase(object, observed, certificate, wanted, now)),
        secret: certificate.map(|_| secret_name(object)),
        certificate_subject: certificate.map(|certificate| certificate.subject.clone()),
        serial: certificate.map(|certificate| certificate.serial.clone()),
        fingerprint: certificate.map(|certificate| certificate.certificate_fingerprint.clone()),
        not_after: certificate.map(|certificate| rfc3339(certificate.not_after)),
        issued: count(issued.len()),
        revoked: count(issued.keys().filter(|serial| listed.contains_key(*serial)).count()),
        ..IdentityStatus::default()
    }
}

fn phase(
    object: &Identity,
    observed: &Observed,
    certificate: Option<&CertificateInfo>,
    wanted: Option<&CertificateRequest>,
    now: Timestamp,
) -> Phase {
    let listed = observed.listed();
    let revoked = match certificate {
        Some(certificate) => listed.contains_key(&certificate.serial),
        None => object.spec.revoked && observed.issued().keys().all(|serial| listed.contains_key(serial)),
    };
    let due = |certificate: &CertificateInfo| match (wanted, observed.recorded_root()) {
        (Some(wanted), Some(root)) => {
            matches!(need(&observed.secret.material, wanted, &root, now), Need::Renewal(_))
        }
        _ => renewal_due(certificate, now),
    };
    match certificate {
        _ if revoked => Phase::Revoked,
        None => Phase::Registering,
        Some(certificate) if certificate.not_after <= now => Phase::Expired,
        Some(certificate) if due(certificate) => Phase::Renewing,
        Some(_) => Phase::Enrolled,
    }
}
