//! The builtin certificate authority: roots of an organisation and the certificates they issue.
//!
//! Pure: the clock and the randomness are arguments, keys come and go as [`SecretKey`]. The profiles follow what
//! Fabric's own tools write (`internal/cryptogen/ca/ca.go`) and what its MSP checks (`msp/mspimplsetup.go`,
//! `msp/mspimplvalidate.go`): CA certificates carry a subject key identifier, an identity is no CA, and its
//! organisational units hold exactly one role.

mod crl;
mod placeholder;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use p256::elliptic_curve::rand_core::CryptoRng;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::der::asn1::{Any, BitString, Ia5String, ObjectIdentifier, OctetString, SetOfVec, Utf8StringRef};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoRef;
use x509_cert::time::{Time, Validity};
use x509_cert::{TbsCertificate, builder};

use crate::keys::{KeyError, PrivateKey, PublicKey, SecretKey};
use crate::x509::{CLIENT_AUTH, CertificateInfo, SERVER_AUTH, X509Error};

pub use self::crl::{RevocationList, Revocations, revocation};
pub use self::placeholder::{PLACEHOLDER, Placeholders};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
/// Upper bound of X.520 for common names, organisations and units, in characters.
const MAX_NAME: usize = 64;
/// How far a certificate starts in the past, so that a node whose clock is a little behind accepts it at once.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// Why a lifetime cannot be added to a time: certificates end in the year 9999 at the latest.
const TOO_LONG: &str = "its lifetime would end after the year 9999; ask for a shorter one";

/// How long a root lives: 15 years.
pub const ROOT_LIFETIME: SignedDuration = SignedDuration::from_hours(15 * 365 * 24);
/// How long an issued certificate lives where nothing else is asked for: 1 year.
pub const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Why the authority cannot issue.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A name is empty, too long or holds characters a certificate or Fabric refuses.
    #[error("{what} {value:?} cannot stand in a certificate: {why}")]
    Name {
        /// Which name.
        what: &'static str,
        /// The name.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The root has expired, has not begun, or the lifetime asked for is not positive or too long for a certificate.
    #[error("cannot issue at {now} from the root {root}: {why}")]
    Validity {
        /// The root's subject.
        root: String,
        /// The time of issue.
        now: Timestamp,
        /// What is wrong.
        why: String,
    },
    /// The root is no CA certificate, or its key belongs to another certificate.
    #[error("the root {root} cannot issue: {why}")]
    Root {
        /// The root's subject.
        root: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A certificate could not be read.
    #[error("the certificate of the authority or of the subject cannot be read")]
    Certificate(#[from] X509Error),
    /// A key could not be used.
    #[error("a key of the authority or of the subject cannot be used")]
    Key(#[from] KeyError),
    /// The certificate could not be encoded.
    #[error("the certificate cannot be encoded: {0}")]
    Encode(String),
}

/// What a root issues. An organisation keeps one of each, so that a certificate of one use is worth nothing for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RootKind {
    /// Identities of the organisation's MSP.
    Enrolment,
    /// TLS certificates of its nodes.
    Tls,
    /// TLS certificates of clients of the admin and operations ports. Those ports let in whoever holds a certificate
    /// of the configured root, without looking at roles (`orderer/common/channelparticipation/restapi.go`).
    Clients,
}

impl RootKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Enrolment => "ca",
            Self::Tls => "tlsca",
            Self::Clients => "clientca",
        }
    }
}

/// A self-signed root with its key.
#[derive(Debug, Clone)]
pub struct CertificateRoot {
    /// The certificate, PEM.
    pub cert_pem: String,
    /// Its key, PKCS#8 PEM.
    pub key_pem: SecretKey,
}

impl CertificateRoot {
    /// A new root with the common name `<prefix>.<domain>` (`ca.`, `tlsca.`, `clientca.`), valid for `lifetime`.
    pub fn generate<R: CryptoRng + ?Sized>(
        kind: RootKind,
        domain: &str,
        lifetime: SignedDuration,
        now: Timestamp,
        rng: &mut R,
    ) -> Result<Self, CaError> {
        check_name("the domain", domain)?;
        let common_name = format!("{}.{domain}", kind.prefix());
        check_name("the root's common name", &common_name)?;
        let subject = name(&[(ORGANIZATION, domain), (COMMON_NAME, &common_name)])?;
        let key = PrivateKey::generate(rng);
        let identifier = key.public_key().subject_key_identifier();
        let profile = Profile { issuer: subject.clone(), subject, extensions: root_extensions(&identifier)? };
        let refuse = |why: &str| CaError::Validity { root: common_name.clone(), now, why: why.to_owned() };
        let start = now.checked_sub(BACKDATE).map_err(|_| refuse("the time of issue is out of range"))?;
        let end = start.checked_add(lifetime).map_err(|_| refuse(TOO_LONG))?;
        if end <= now {
            return Err(refuse("its lifetime is not positive"));
        }
        let der = build(profile, (start, end), &key.public_key(), &key, rng)?;
        Ok(Self { cert_pem: CertificateInfo::from_der(&der)?.to_pem()?, key_pem: key.to_pkcs8_pem()? })
    }
}

/// The three roots of an organisation.
#[derive(Debug, Clone)]
pub struct OrganizationRoots {
    /// Issues identities.
    pub enrolment: CertificateRoot,
    /// Issues the nodes' TLS certificates.
    pub tls: CertificateRoot,
    /// Issues certificates for clients of the admin and operations ports.
    pub clients: CertificateRoot,
}

impl OrganizationRoots {
    /// New roots for the organisation of `domain`, each with [`ROOT_LIFETIME`].
    pub fn generate<R: CryptoRng + ?Sized>(domain: &str, now: Timestamp, rng: &mut R) -> Result<Self, CaError> {
        let mut root = |kind| CertificateRoot::generate(kind, domain, ROOT_LIFETIME, now, rng);
        Ok(Self { enrolment: root(RootKind::Enrolment)?, tls: root(RootKind::Tls)?, clients: root(RootKind::Clients)? })
    }
}

/// The role of an identity, as its organisational unit says it (`NodeOUs`, `msp/mspimplvalidate.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads and submits.
    Client,
    /// A peer.
    Peer,
    /// An ordering node.
    Orderer,
    /// Administers the organisation and, through policies, channels.
    Admin,
}

impl Role {
    /// The organisational unit that stands for the role.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Peer => "peer",
            Self::Orderer => "orderer",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.unit())
    }
}

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usage {
    /// An identity of the MSP with exactly this role.
    Enrolment(Role),
    /// A node's TLS certificate, for serving and for dialling other nodes.
    TlsNode {
        /// DNS names it is reached by.
        dns_names: BTreeSet<String>,
        /// IP addresses it is reached by.
        ip_addresses: BTreeSet<IpAddr>,
    },
    /// A TLS client of the admin and operations ports.
    TlsClient,
}

/// What is asked of the authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    /// Common name of the subject.
    pub common_name: String,
    /// What the certificate is for.
    pub usage: Usage,
    /// How long it shall live; cut where the root ends.
    pub lifetime: SignedDuration,
}

/// A certificate with its new key.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate, PEM.
    pub cert_pem: String,
    /// Its key, PKCS#8 PEM.
    pub key_pem: SecretKey,
}

/// A root that is ready to issue.
#[derive(Debug, Clone)]
pub struct Authority {
    info: CertificateInfo,
    key: PrivateKey,
    subject: Name,
}

impl Authority {
    /// Loads a root and checks that it is a CA certificate and that the key is its own.
    pub fn load(root: &CertificateRoot) -> Result<Self, CaError> {
        let info = CertificateInfo::from_pem(&root.cert_pem)?;
        let key = PrivateKey::from_pem(&root.key_pem)?;
        let refuse = |why| CaError::Root { root: info.subject.clone(), why };
        if !info.is_ca {
            return Err(refuse("its certificate is not one of a CA"));
        }
        if info.subject_key_identifier.is_none() {
            return Err(refuse("its certificate has no subject key identifier, which Fabric's MSP demands"));
        }
        if info.public_key()? != key.public_key() {
            return Err(refuse("its key belongs to another certificate"));
        }
        let certificate = x509_cert::Certificate::from_der(info.der()).map_err(encode_error)?;
        let subject = certificate.tbs_certificate().subject().clone();
        Ok(Self { info, key, subject })
    }

    /// The root's certificate.
    pub fn certificate(&self) -> &CertificateInfo {
        &self.info
    }

    /// The root's certificate made anew for the same key and name, PEM, so that it ends at `now` and `lifetime`. What the
    /// root issued stays valid under both: it begins when the old one began, because Fabric checks a chain at the time when
    /// the identity begins (`msp/mspimplvalidate.go`). In an MSP it takes the old one's place: two of one name beside each
    /// other make its identities invalid.
    pub fn renew_root<R: CryptoRng + ?Sized>(
        &self,
        lifetime: SignedDuration,
        now: Timestamp,
        rng: &mut R,
    ) -> Result<String, CaError> {
        let refuse = |why: &str| CaError::Validity { root: self.info.subject.clone(), now, why: why.to_owned() };
        let public_key = self.key.public_key();
        let end = now.checked_add(lifetime).map_err(|_| refuse(TOO_LONG))?;
        if end <= self.info.not_after {
            return Err(refuse("it would not live longer than it does"));
        }
        let extensions = root_extensions(&public_key.subject_key_identifier())?;
        let profile = Profile { issuer: self.subject.clone(), subject: self.subject.clone(), extensions };
        let der = build(profile, (self.info.not_before, end), &public_key, &self.key, rng)?;
        let renewed = CertificateInfo::from_der(&der)?;
        // A root of another program may have named its key in another way; what it issued would not be found then.
        if renewed.subject_key_identifier != self.info.subject_key_identifier {
            return Err(refuse("its subject key identifier is not the one that Fabric's programs compute"));
        }
        Ok(renewed.to_pem()?)
    }

    /// Issues a certificate with a new key.
    pub fn issue<R: CryptoRng + ?Sized>(
        &self,
        request: &CertificateRequest,
        now: Timestamp,
        rng: &mut R,
    ) -> Result<Issued, CaError> {
        let key = PrivateKey::generate(rng);
        Ok(Issued { cert_pem: self.issue_for(request, &key.public_key(), now, rng)?, key_pem: key.to_pkcs8_pem()? })
    }

    /// Issues a certificate for a key that exists: a renewal that needs no config update, because consenters and
    /// identities are recognised by their public keys (`orderer/consensus/etcdraft/util.go`).
    pub fn issue_for<R: CryptoRng + ?Sized>(
        &self,
        request: &CertificateRequest,
        public_key: &PublicKey,
        now: Timestamp,
        rng: &mut R,
    ) -> Result<String, CaError> {
        check_name("the common name", &request.common_name)?;
        let identifier = public_key.subject_key_identifier();
        let subject = match request.usage {
            Usage::Enrolment(role) => name(&[(ORGANIZATIONAL_UNIT, role.unit()), (COMMON_NAME, &request.common_name)])?,
            Usage::TlsNode { .. } | Usage::TlsClient => name(&[(COMMON_NAME, &request.common_name)])?,
        };
        let profile = Profile {
            issuer: self.subject.clone(),
            subject,
            extensions: leaf_extensions(&request.usage, &identifier, self.info.subject_key_identifier.as_deref())?,
        };
        let validity = self.validity(request.lifetime, now)?;
        let der = build(profile, validity, public_key, &self.key, rng)?;
        Ok(CertificateInfo::from_der(&der)?.to_pem()?)
    }

    /// Fabric checks an identity's chain at the identity's `NotBefore` (`msp/mspimplvalidate.go`), so a certificate that
    /// began before its root would never be valid.
    fn validity(&self, lifetime: SignedDuration, now: Timestamp) -> Result<(Timestamp, Timestamp), CaError> {
        let refuse = |why: String| CaError::Validity { root: self.info.subject.clone(), now, why };
        let start = now
            .checked_sub(BACKDATE)
            .map_err(|_| refuse("the time of issue is out of range".to_owned()))?
            .max(self.info.not_before);
        let end = start.checked_add(lifetime).map_err(|_| refuse(TOO_LONG.to_owned()))?.min(self.info.not_after);
        if now >= self.info.not_after {
            return Err(refuse(format!("the root ended at {}; make a new one", self.info.not_after)));
        }
        if end <= now {
            return Err(refuse(format!("the certificate would end at {end}, which is not in the future")));
        }
        Ok((start, end))
    }
}

/// A builder profile that takes everything as given.
struct Profile {
    issuer: Name,
    subject: Name,
    extensions: Vec<Extension>,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _spk: SubjectPublicKeyInfoRef<'_>,
        _issuer_spk: SubjectPublicKeyInfoRef<'_>,
        _tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}

fn build<R: CryptoRng + ?Sized>(
    profile: Profile,
    validity: (Timestamp, Timestamp),
    public_key: &PublicKey,
    signer: &PrivateKey,
    rng: &mut R,
) -> Result<Vec<u8>, CaError> {
    let validity = Validity::new(time(validity.0)?, time(validity.1)?);
    let serial = SerialNumber::generate(rng);
    let mut builder =
        CertificateBuilder::new(profile, serial, validity, public_key.to_spki()?).map_err(builder_error)?;
    let sign = |tbs: &[u8]| -> Result<BitString, CaError> {
        // The low S is not demanded of certificates, but Fabric rewrites those without it (`msp/cert.go`).
        BitString::from_bytes(&signer.sign(tbs)?).map_err(encode_error)
    };
    let certificate = match signer {
        PrivateKey::P256(key) => {
            let key = p256::ecdsa::SigningKey::from(key);
            let signature = sign(&builder.finalize(&key).map_err(builder_error)?)?;
            builder.assemble(signature, &key)
        }
        PrivateKey::P384(_) => {
            return Err(CaError::Encode("roots on P-384 are not supported; make a root on P-256".to_owned()));
        }
    };
    certificate.map_err(builder_error)?.to_der().map_err(encode_error)
}

fn root_extensions(identifier: &[u8]) -> Result<Vec<Extension>, CaError> {
    let usage = KeyUsages::DigitalSignature | KeyUsages::KeyCertSign | KeyUsages::CRLSign;
    let mut list = Extensions::default();
    list.add(&KeyUsage(usage))?;
    // No path length: an organisation may put an intermediate under its root later.
    list.add(&BasicConstraints { ca: true, path_len_constraint: None })?;
    list.add(&SubjectKeyIdentifier(octets(identifier)?))?;
    Ok(list.0)
}

fn leaf_extensions(usage: &Usage, subject: &[u8], authority: Option<&[u8]>) -> Result<Vec<Extension>, CaError> {
    let mut list = Extensions::default();
    list.add(&KeyUsage(KeyUsages::DigitalSignature.into()))?;
    match usage {
        Usage::Enrolment(_) => {}
        Usage::TlsNode { .. } => list.add(&ExtendedKeyUsage(vec![SERVER_AUTH, CLIENT_AUTH]))?,
        Usage::TlsClient => list.add(&ExtendedKeyUsage(vec![CLIENT_AUTH]))?,
    }
    list.add(&BasicConstraints { ca: false, path_len_constraint: None })?;
    list.add(&SubjectKeyIdentifier(octets(subject)?))?;
    list.add(&AuthorityKeyIdentifier {
        key_identifier: authority.map(octets).transpose()?,
        authority_cert_issuer: None,
        authority_cert_serial_number: None,
    })?;
    if let Usage::TlsNode { dns_names, ip_addresses } = usage {
        list.add(&alternative_names(dns_names, ip_addresses)?)?;
    }
    Ok(list.0)
}

fn alternative_names(dns: &BTreeSet<String>, addresses: &BTreeSet<IpAddr>) -> Result<SubjectAltName, CaError> {
    if dns.is_empty() && addresses.is_empty() {
        return Err(CaError::Name {
            what: "the set of alternative names",
            value: String::new(),
            why: "it is empty, so no client could verify the node's name",
        });
    }
    let mut names = Vec::new();
    for name in dns {
        let refuse = |why| CaError::Name { what: "the DNS name", value: name.clone(), why };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '*');
        if name.is_empty() || name.len() > 253 || !name.chars().all(legal) {
            return Err(refuse("expected at most 253 letters, digits, hyphens and dots"));
        }
        names.push(GeneralName::DnsName(Ia5String::new(name).map_err(|_| refuse("it is not ASCII"))?));
    }
    names.extend(addresses.iter().copied().map(GeneralName::from));
    Ok(SubjectAltName(names))
}

/// Collects extensions; criticality is what RFC 5280 says for each.
#[derive(Default)]
struct Extensions(Vec<Extension>);

impl Extensions {
    fn add<E: ToExtension>(&mut self, extension: E) -> Result<(), CaError>
    where
        E::Error: fmt::Display,
    {
        // Only SubjectAltName looks at the subject, and no subject of ours is empty.
        let subject = name(&[(COMMON_NAME, "subject")])?;
        let extension =
            extension.to_extension(&subject, &self.0).map_err(|error| CaError::Encode(error.to_string()))?;
        self.0.push(extension);
        Ok(())
    }
}

fn check_name(what: &'static str, value: &str) -> Result<(), CaError> {
    let refuse = |why| Err(CaError::Name { what, value: value.to_owned(), why });
    if value.is_empty() {
        return refuse("it is empty");
    }
    if value.chars().count() > MAX_NAME {
        return refuse("it is longer than 64 characters");
    }
    if value.chars().any(char::is_control) {
        return refuse("it holds control characters");
    }
    Ok(())
}

fn name(parts: &[(ObjectIdentifier, &str)]) -> Result<Name, CaError> {
    let mut sequence = RdnSequence::default();
    for (oid, value) in parts {
        let value = Any::from(Utf8StringRef::new(value).map_err(encode_error)?);
        let mut set = SetOfVec::new();
        set.insert(AttributeTypeAndValue { oid: *oid, value }).map_err(encode_error)?;
        let part = RelativeDistinguishedName::from_der(&set.to_der().map_err(encode_error)?).map_err(encode_error)?;
        sequence.push(part);
    }
    Name::from_der(&sequence.to_der().map_err(encode_error)?).map_err(encode_error)
}

fn octets(bytes: &[u8]) -> Result<OctetString, CaError> {
    OctetString::new(bytes).map_err(encode_error)
}

fn time(at: Timestamp) -> Result<Time, CaError> {
    let seconds = u64::try_from(at.as_second()).map_err(|_| CaError::Encode(format!("{at} is before 1970")))?;
    let since = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    Time::try_from(since).map_err(encode_error)
}

fn encode_error(error: impl fmt::Display) -> CaError {
    CaError::Encode(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
fn builder_error(error: builder::Error) -> CaError {
    CaError::Encode(error.to_string())
}

#[cfg(test)]
mod tests;
