//! Certificates and keys in Secrets: what is there, what is needed, and how it is issued.
//!
//! Deciding sees certificates only. Keys are read where something is issued, and go nowhere but into Secrets
//! of the same namespace.

use std::collections::BTreeMap;
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::core::ObjectMeta;
use tenter_consortium::objects::{FIELD_MANAGER, LABEL_NODE};
use tenter_consortium::status::CertificateStatus;
use tenter_fabric::ca::{Authority, CaError, CertificateRequest, CertificateRoot, Usage};
use tenter_fabric::keys::{PrivateKey, SecretKey};
use tenter_fabric::x509::{CertificateInfo, renewal_due};

use super::apply;
use super::conditions::rfc3339;
use super::context::Context;
use super::failure::Failure;

/// Key of a TLS Secret: the certificate.
pub const TLS_CRT: &str = "tls.crt";
/// Key of a TLS Secret: the private key.
pub const TLS_KEY: &str = "tls.key";
/// Key of a TLS Secret: the roots.
pub const CA_CRT: &str = "ca.crt";

/// Longest pause before a certificate is looked at again, however long it lives.
const LONGEST_LOOK: Duration = Duration::from_hours(1);

/// What a Secret holds, without its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Material {
    /// There is no such Secret.
    #[default]
    Absent,
    /// A certificate with the key that belongs to it.
    Usable(Box<CertificateInfo>),
    /// A Secret that cannot be used, and why.
    Unusable(String),
}

impl Material {
    /// The certificate.
    pub fn certificate(&self) -> Option<&CertificateInfo> {
        match self {
            Self::Usable(certificate) => Some(certificate),
            Self::Absent | Self::Unusable(_) => None,
        }
    }

    /// What a status says of it.
    pub fn status(&self) -> Option<CertificateStatus> {
        self.certificate().map(|certificate| CertificateStatus {
            fingerprint: certificate.certificate_fingerprint.clone(),
            not_after: rfc3339(certificate.not_after),
        })
    }
}

fn text(secret: &Secret, key: &str) -> Result<String, String> {
    let name = secret.name_any();
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    let bytes = data.ok_or_else(|| format!("Secret {name} has no {key}"))?;
    String::from_utf8(bytes.0.clone()).map_err(|_| format!("{key} of Secret {name} is not text"))
}

/// Reads the certificate of a Secret, and checks that its key is the certificate's own.
pub fn material(secret: Option<&Secret>) -> Material {
    material_at(secret, TLS_CRT, TLS_KEY)
}

/// The same for a Secret that holds them under these keys.
pub fn material_at(secret: Option<&Secret>, crt: &str, key: &str) -> Material {
    match secret.map(|secret| read(secret, crt, key)) {
        None => Material::Absent,
        Some(Ok(certificate)) => Material::Usable(Box::new(certificate)),
        Some(Err(why)) => Material::Unusable(why),
    }
}

fn read(secret: &Secret, crt: &str, key: &str) -> Result<CertificateInfo, String> {
    let name = secret.name_any();
    let certificate = CertificateInfo::from_pem(&text(secret, crt)?)
        .map_err(|error| format!("{crt} of Secret {name} cannot be read: {error}"))?;
    let private = PrivateKey::from_pem(&SecretKey::from_pem(text(secret, key)?))
        .map_err(|error| format!("{key} of Secret {name} cannot be read: {error}"))?;
    let public = certificate.public_key().map_err(|error| format!("{crt} of Secret {name} cannot be used: {error}"))?;
    if public != private.public_key() {
        return Err(format!("{key} of Secret {name} does not belong to its {crt}"));
    }
    Ok(certificate)
}

/// Reads one Secret.
pub async fn observe(ctx: &Context, namespace: &str, name: &str) -> Result<Material, Failure> {
    Ok(material(apply::get::<Secret>(ctx, namespace, name).await?.as_ref()))
}

/// What a certificate needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it is as wanted.
    Nothing,
    /// It has to be issued, with a new key.
    New,
    /// It has to be issued again for the key that it has, for this reason.
    Renewal(&'static str),
    /// It cannot be used, and is not Tenter's to replace.
    Person(String),
}

/// Compares what a Secret holds with what is wanted of it.
///
/// A certificate of another issuer is left alone: a person put it there. One whose renewal would give it no
/// longer life (its root ends first) is not renewed.
pub fn need(material: &Material, wanted: &CertificateRequest, root: &CertificateInfo, now: Timestamp) -> Need {
    let certificate = match material {
        Material::Absent => return Need::New,
        Material::Unusable(why) => return Need::Person(why.clone()),
        Material::Usable(certificate) => certificate,
    };
    if !certificate.is_signed_by(root) {
        return Need::Person(format!(
            "the certificate of {} was not issued by the organization's root {}",
            certificate.subject, root.subject
        ));
    }
    if root.not_after <= now {
        // Nothing can be issued any more; whoever needs the certificate says so.
        return Need::Nothing;
    }
    if certificate.common_name.as_deref() != Some(&wanted.common_name) {
        return Need::Renewal("its name changed");
    }
    match &wanted.usage {
        Usage::Enrolment(role) if certificate.organizational_units != [role.unit()] => {
            return Need::Renewal("its role changed");
        }
        Usage::TlsNode { dns_names, ip_addresses }
            if certificate.dns_names != *dns_names || certificate.ip_addresses != *ip_addresses =>
        {
            return Need::Renewal("its addresses changed");
        }
        Usage::Enrolment(_) | Usage::TlsNode { .. } | Usage::TlsClient => {}
    }
    // A lifetime beyond the calendar is refused where it is issued; here it only means that the root ends first.
    let end = now.checked_add(wanted.lifetime).unwrap_or(root.not_after).min(root.not_after);
    let gain = end.duration_since(certificate.not_after);
    if renewal_due(certificate, now) && gain > wanted.lifetime / 10 {
        return Need::Renewal("it expires soon");
    }
    Need::Nothing
}

/// Hours as a span of time.
pub fn hours(hours: u32) -> SignedDuration {
    SignedDuration::from_hours(i64::from(hours))
}

/// When a certificate has to be looked at again: when its renewal is due, at the latest in an hour.
///
/// It is asked when nothing has to be done now: a certificate whose renewal is due all the same is one that a
/// renewal would not help, and is looked at as rarely as any other.
pub fn next_look<'a>(certificates: impl Iterator<Item = &'a CertificateInfo>, now: Timestamp) -> Duration {
    certificates
        .map(|certificate| {
            let life = certificate.not_after.duration_since(certificate.not_before);
            let left = certificate.not_after.duration_since(now) - life / 3;
            // One second more: at the due time itself a third is left, not less.
            Duration::try_from(left).map_or(LONGEST_LOOK, |left| left + Duration::from_secs(1))
        })
        .fold(LONGEST_LOOK, Duration::min)
}

/// Randomness of the operating system. It does not fail on the systems that Tenter runs on once they have booted.
pub const fn randomness() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// A Secret of a certificate and its key. It has no owner: keys outlive the objects that asked for them.
pub fn key_secret(metadata: ObjectMeta, cert_pem: &str, key_pem: &SecretKey, roots: Option<&str>) -> Secret {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let mut data =
        BTreeMap::from([(TLS_CRT.to_owned(), bytes(cert_pem)), (TLS_KEY.to_owned(), bytes(key_pem.expose_pem()))]);
    data.extend(roots.map(|roots| (CA_CRT.to_owned(), bytes(roots))));
    Secret { metadata, data: Some(data), type_: Some("kubernetes.io/tls".to_owned()), ..Secret::default() }
}

/// The authority does not issue, and will not before something changes.
pub fn refused(error: &CaError) -> Failure {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        message.push_str(": ");
        message.push_str(&inner.to_string());
        source = inner.source();
    }
    Failure::terminal("IssueCertificate", message)
}

/// Loads the root of a Secret, if it is the one whose certificate is `recorded`, or that one renewed.
pub async fn authority(
    ctx: &Context,
    namespace: &str,
    name: &str,
    recorded: &CertificateInfo,
) -> Result<Authority, Failure> {
    let secret = apply::get::<Secret>(ctx, namespace, name).await?.ok_or_else(|| {
        Failure::new("RootMissing", format!("Secret {namespace}/{name} is not there: restore it from a backup"))
    })?;
    let unreadable = |why| Failure::terminal("RootUnusable", format!("namespace {namespace}: {why}"));
    let cert_pem = text(&secret, TLS_CRT).map_err(unreadable)?;
    let key_pem = SecretKey::from_pem(text(&secret, TLS_KEY).map_err(unreadable)?);
    let authority = Authority::load(&CertificateRoot { cert_pem, key_pem }).map_err(|error| refused(&error))?;
    if !authority.certificate().is_same_key_and_name(recorded) {
        return Err(Failure::terminal(
            "RootReplaced",
            format!("Secret {namespace}/{name} holds another root than the one on record: restore the first"),
        ));
    }
    Ok(authority)
}

/// Issues a certificate into a Secret that must not be there yet.
pub async fn issue_new(
    ctx: &Context,
    authority: &Authority,
    request: &CertificateRequest,
    metadata: ObjectMeta,
    roots: Option<&str>,
) -> Result<(), Failure> {
    let issued = authority.issue(request, ctx.now(), &mut randomness()).map_err(|error| refused(&error))?;
    apply::create(ctx, &key_secret(metadata, &issued.cert_pem, &issued.key_pem, roots)).await.map(drop)
}

/// Issues a certificate again for the key that its Secret holds. The Secret must be that of `node`, or of none.
pub async fn issue_again(
    ctx: &Context,
    authority: &Authority,
    request: &CertificateRequest,
    place: (&str, &str),
    node: Option<&str>,
) -> Result<(), Failure> {
    replace_certificate(ctx, place, node, |certificate| {
        let key = certificate.public_key().map_err(|error| Failure::terminal("SecretUnusable", error.to_string()))?;
        authority.issue_for(request, &key, ctx.now(), &mut randomness()).map_err(|error| refused(&error))
    })
    .await
}

/// Renews the certificate of a root in its Secret.
pub async fn renew_root(
    ctx: &Context,
    authority: &Authority,
    lifetime: SignedDuration,
    place: (&str, &str),
) -> Result<(), Failure> {
    replace_certificate(ctx, place, None, |_| {
        authority.renew_root(lifetime, ctx.now(), &mut randomness()).map_err(|error| refused(&error))
    })
    .await
}

/// Puts a certificate that is made from the one that is there in its place.
async fn replace_certificate(
    ctx: &Context,
    (namespace, name): (&str, &str),
    node: Option<&str>,
    make: impl FnOnce(&CertificateInfo) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let gone = || Failure::new("SecretMissing", format!("Secret {namespace}/{name} went while it was being renewed"));
    let mut secret = apply::get::<Secret>(ctx, namespace, name).await?.ok_or_else(gone)?;
    let unusable = |why| Failure::terminal("SecretUnusable", why);
    belongs(&secret, node).map_err(unusable)?;
    let cert_pem = make(&read(&secret, TLS_CRT, TLS_KEY).map_err(unusable)?)?;
    if let Some(data) = &mut secret.data {
        data.insert(TLS_CRT.to_owned(), ByteString(cert_pem.into_bytes()));
    }
    apply::replace(ctx, &secret).await.map(drop)
}

/// Whether a Secret is Tenter's, and that of `node` or of no node: two names must never come to share a key.
fn belongs(secret: &Secret, node: Option<&str>) -> Result<(), String> {
    let label = |key: &str| secret.labels().get(key).map(String::as_str);
    let wanted = [(apply::MANAGED_BY, Some(FIELD_MANAGER)), (LABEL_NODE, node)];
    match wanted.into_iter().find(|(key, value)| label(key) != *value) {
        None => Ok(()),
        Some((key, value)) => Err(format!(
            "Secret {} is not renewed: its label {key} is {}, not {}; set it if the Secret is the right one",
            secret.name_any(),
            label(key).unwrap_or("absent"),
            value.unwrap_or("absent")
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    //! Roots and certificates for the tests of decisions.

    use tenter_fabric::ca::{Role, RootKind};

    use super::*;

    pub fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap()
    }

    /// A root that lives for ten thousand hours from hour 0.
    pub fn root(kind: RootKind) -> CertificateRoot {
        CertificateRoot::generate(kind, "acme.example", hours(10_000), at(0), &mut randomness()).unwrap()
    }

    pub fn info(root: &CertificateRoot) -> CertificateInfo {
        CertificateInfo::from_pem(&root.cert_pem).unwrap()
    }

    pub fn request(name: &str, usage: Usage, lifetime: u32) -> CertificateRequest {
        CertificateRequest { common_name: name.to_owned(), usage, lifetime: hours(lifetime) }
    }

    pub fn issued(root: &CertificateRoot, request: &CertificateRequest, hour: i64) -> Secret {
        let issued = Authority::load(root).unwrap().issue(request, at(hour), &mut randomness()).unwrap();
        key_secret(ObjectMeta::default(), &issued.cert_pem, &issued.key_pem, None)
    }

    fn tls(names: &[&str]) -> Usage {
        Usage::TlsNode { dns_names: names.iter().map(|name| (*name).to_owned()).collect(), ip_addresses: [].into() }
    }

    #[test]
    fn certificates_are_renewed_in_time_and_for_what_they_say() {
        let ca = root(RootKind::Tls);
        let wanted = request("peer0.acme.example", tls(&["a", "b"]), 300);
        let held = material(Some(&issued(&ca, &wanted, 0)));
        let check = |wanted: &CertificateRequest, hour: i64, expect: &Need| {
            assert_eq!(&need(&held, wanted, &info(&ca), at(hour)), expect, "{wanted:?} {hour}");
        };
        check(&wanted, 0, &Need::Nothing);
        check(&wanted, 199, &Need::Nothing);
        check(&wanted, 201, &Need::Renewal("it expires soon"));
        check(&wanted, 400, &Need::Renewal("it expires soon"));
        check(&request("peer1.acme.example", tls(&["a", "b"]), 300), 0, &Need::Renewal("its name changed"));
        check(&request("peer0.acme.example", tls(&["a"]), 300), 0, &Need::Renewal("its addresses changed"));
        assert_eq!(need(&Material::Absent, &wanted, &info(&ca), at(0)), Need::New);
    }

    #[test]
    fn a_certificate_that_ends_with_its_root_is_not_renewed_over_and_over() {
        let ca = root(RootKind::Enrolment);
        let wanted = request("peer0.acme.example", Usage::Enrolment(Role::Peer), 300);
        let held = material(Some(&issued(&ca, &wanted, 9_900)));
        assert_eq!(need(&held, &wanted, &info(&ca), at(9_990)), Need::Nothing);
    }

    #[test]
    fn what_a_person_put_there_is_left_alone() {
        let (ca, other) = (root(RootKind::Enrolment), root(RootKind::Enrolment));
        let wanted = request("peer0.acme.example", Usage::Enrolment(Role::Peer), 300);
        let mut secret = issued(&other, &wanted, 0);
        assert!(matches!(need(&material(Some(&secret)), &wanted, &info(&ca), at(0)), Need::Person(_)));
        secret.data.as_mut().unwrap().remove(TLS_KEY);
        assert!(matches!(need(&material(Some(&secret)), &wanted, &info(&ca), at(0)), Need::Person(_)));
    }

    #[test]
    fn a_key_of_another_certificate_is_noticed() {
        let ca = root(RootKind::Enrolment);
        let wanted = request("peer0.acme.example", Usage::Enrolment(Role::Peer), 300);
        let (mut one, two) = (issued(&ca, &wanted, 0), issued(&ca, &wanted, 0));
        let key = two.data.unwrap()[TLS_KEY].clone();
        one.data.as_mut().unwrap().insert(TLS_KEY.to_owned(), key);
        let Material::Unusable(why) = material(Some(&one)) else { panic!("usable") };
        assert!(why.contains("does not belong"), "{why}");
    }

    #[test]
    fn a_secret_of_another_node_is_not_renewed() {
        let ca = root(RootKind::Tls);
        let mut secret = issued(&ca, &request("peer0", Usage::TlsClient, 300), 0);
        let mut check = |labels: &[(&str, &str)], node: Option<&str>, expect: bool| {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            secret.metadata.labels = Some(labels);
            assert_eq!(belongs(&secret, node).is_ok(), expect, "{:?} for {node:?}", secret.metadata.labels);
        };
        let own = (apply::MANAGED_BY, FIELD_MANAGER);
        check(&[own, (LABEL_NODE, "peer0")], Some("peer0"), true);
        check(&[own], None, true);
        check(&[own, (LABEL_NODE, "peer0")], Some("peer1"), false);
        check(&[own, (LABEL_NODE, "ca")], None, false);
        check(&[(LABEL_NODE, "peer0")], Some("peer0"), false);
    }

    #[test]
    fn the_next_look_is_when_renewal_is_due() {
        let ca = root(RootKind::Clients);
        let certificate = |lifetime: u32| {
            let secret = issued(&ca, &request("ops", Usage::TlsClient, lifetime), 0);
            material(Some(&secret)).certificate().cloned().unwrap()
        };
        let pause = next_look([certificate(300)].iter(), at(199));
        assert!(pause <= LONGEST_LOOK && pause > Duration::from_mins(50), "{pause:?}");
        assert_eq!(next_look([certificate(300)].iter(), at(0)), LONGEST_LOOK);
        // Due, but declined: no reason to look every second.
        assert_eq!(next_look([certificate(300)].iter(), at(290)), LONGEST_LOOK);
    }
}
