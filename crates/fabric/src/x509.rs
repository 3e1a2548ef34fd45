//! Certificates: what Tenter has to know about one, whoever issued it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::asn1::{AnyRef, BitString, ObjectIdentifier};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::pem::{self, LineEnding};
use x509_cert::der::{Decode, Encode, Header, Reader, SliceReader, Tag};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage,
    NameConstraints, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::time::Time;

use crate::keys::{ED25519, Hash, KeyError, PublicKey};

const PEM_LABEL: &str = "CERTIFICATE";
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
pub(crate) const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
pub(crate) const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// Certificates larger than this are refused unread.
pub const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;
/// The longest chain [`verify_chain`] walks, roots included.
const MAX_CHAIN: usize = 8;

/// Why a certificate cannot be read or trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum X509Error {
    /// Not exactly one PEM block `CERTIFICATE`.
    #[error("expected exactly one PEM block CERTIFICATE: {0}")]
    Pem(String),
    /// The block is no X.509 certificate.
    #[error("the PEM block is not a readable X.509 certificate: {0}")]
    Der(String),
    /// The certificate's key cannot be used.
    #[error("the certificate of {subject} cannot be used")]
    Key {
        /// Whose certificate.
        subject: String,
        /// What is wrong with the key.
        #[source]
        source: KeyError,
    },
    /// The signature algorithm is neither ECDSA with SHA-256 or SHA-384 nor Ed25519.
    #[error("the certificate of {subject} is signed with algorithm {algorithm}, which is not supported; use ECDSA")]
    Algorithm {
        /// Whose certificate.
        subject: String,
        /// The algorithm's object identifier.
        algorithm: String,
    },
    /// No given root or intermediate issued the certificate.
    #[error("the certificate of {subject} was issued by {issuer}, which none of the given roots is")]
    UnknownIssuer {
        /// Whose certificate.
        subject: String,
        /// The issuer it names.
        issuer: String,
    },
    /// The certificate is not valid at the time asked about.
    #[error("the certificate of {subject} is valid from {not_before} to {not_after}, not at {at}; have it renewed")]
    NotValidAt {
        /// Whose certificate.
        subject: String,
        /// Start of validity.
        not_before: Timestamp,
        /// End of validity.
        not_after: Timestamp,
        /// The time asked about.
        at: Timestamp,
    },
}

/// What a certificate says, with the certificate itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent facts of a certificate")]
pub struct CertificateInfo {
    /// Subject as RFC 4514 text.
    pub subject: String,
    /// Issuer as RFC 4514 text.
    pub issuer: String,
    /// Common name of the subject, if any.
    pub common_name: Option<String>,
    /// Organisations of the subject.
    pub organizations: Vec<String>,
    /// Organisational units of the subject, in order. With `NodeOUs` exactly one of them is the role.
    pub organizational_units: Vec<String>,
    /// DNS names among the alternative names.
    pub dns_names: BTreeSet<String>,
    /// IP addresses among the alternative names.
    pub ip_addresses: BTreeSet<IpAddr>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// Whether it may issue others.
    pub is_ca: bool,
    /// Whether it may be used by a TLS server (an absent extended key usage allows everything).
    pub server_auth: bool,
    /// Whether it may be used by a TLS client.
    pub client_auth: bool,
    /// Whether its key may sign (an absent key usage allows everything).
    pub digital_signature: bool,
    /// Lower-case hexadecimal serial number.
    pub serial: String,
    /// SHA-256 of the DER `SubjectPublicKeyInfo`, lower-case hexadecimal: equal for two certificates of one key.
    pub public_key_fingerprint: String,
    /// SHA-256 of the DER certificate, lower-case hexadecimal.
    pub certificate_fingerprint: String,
    /// Subject key identifier, if present.
    pub subject_key_identifier: Option<Vec<u8>>,
    /// Authority key identifier, if present.
    pub authority_key_identifier: Option<Vec<u8>>,
    der: Vec<u8>,
    tbs: Vec<u8>,
    spki: Vec<u8>,
    signature: Vec<u8>,
    signature_algorithm: ObjectIdentifier,
    subject_der: Vec<u8>,
    issuer_der: Vec<u8>,
    signs_certificates: bool,
    max_path: Option<u8>,
    has_unread_rules: bool,
}

impl CertificateInfo {
    /// Reads text that holds exactly one PEM certificate and nothing else but white space.
    pub fn from_pem(text: &str) -> Result<Self, X509Error> {
        let mut all = Self::all_from_pem(text)?;
        match (all.pop(), all.is_empty()) {
            (Some(one), true) => Ok(one),
            (Some(_), false) => Err(X509Error::Pem(format!("found {}", all.len() + 1))),
            (None, _) => Err(X509Error::Pem("found none".to_owned())),
        }
    }

    /// Reads every certificate of a PEM bundle, in order. Other blocks and text between blocks are refused.
    pub fn all_from_pem(text: &str) -> Result<Vec<Self>, X509Error> {
        const END: &str = "-----END CERTIFICATE-----";
        let mut found = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let Some(end) = rest.find(END) else {
                return Err(X509Error::Pem("text that is no such block".to_owned()));
            };
            let (block, after) = rest.split_at(end + END.len());
            if block.len() > MAX_CERTIFICATE_BYTES {
                return Err(X509Error::Pem(format!("a block larger than {MAX_CERTIFICATE_BYTES} bytes")));
            }
            let (label, der) = pem::decode_vec(block.as_bytes()).map_err(|error| X509Error::Pem(error.to_string()))?;
            if label != PEM_LABEL {
                return Err(X509Error::Pem(format!("found a block {label}")));
            }
            found.push(Self::from_der(&der)?);
            rest = after.trim_start();
        }
        Ok(found)
    }

    /// Reads a DER certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(X509Error::Der(format!("it is larger than {MAX_CERTIFICATE_BYTES} bytes")));
        }
        let certificate = Certificate::from_der(der).map_err(der_error)?;
        let tbs = certificate.tbs_certificate();
        let (dns_names, ip_addresses) = alternative_names(&certificate)?;
        let extended = extension::<ExtendedKeyUsage>(&certificate)?;
        let allows =
            |usage| extended.as_ref().is_none_or(|list| list.0.contains(&usage) || list.0.contains(&ANY_USAGE));
        let constraints = extension::<BasicConstraints>(&certificate)?;
        let usage = extension::<KeyUsage>(&certificate)?;
        let spki = tbs.subject_public_key_info().to_der().map_err(der_error)?;
        Ok(Self {
            subject: tbs.subject().to_string(),
            issuer: tbs.issuer().to_string(),
            common_name: name_values(tbs.subject(), COMMON_NAME).pop(),
            organizations: name_values(tbs.subject(), ORGANIZATION),
            organizational_units: name_values(tbs.subject(), ORGANIZATIONAL_UNIT),
            dns_names,
            ip_addresses,
            not_before: timestamp(tbs.validity().not_before)?,
            not_after: timestamp(tbs.validity().not_after)?,
            is_ca: constraints.as_ref().is_some_and(|constraints| constraints.ca),
            server_auth: allows(SERVER_AUTH),
            client_auth: allows(CLIENT_AUTH),
            digital_signature: usage.as_ref().is_none_or(KeyUsage::digital_signature),
            serial: hex::encode(tbs.serial_number().as_bytes()),
            public_key_fingerprint: hex::encode(Sha256::digest(&spki)),
            certificate_fingerprint: hex::encode(Sha256::digest(der)),
            subject_key_identifier: extension::<SubjectKeyIdentifier>(&certificate)?
                .map(|identifier| identifier.0.as_bytes().to_vec()),
            authority_key_identifier: extension::<AuthorityKeyIdentifier>(&certificate)?
                .and_then(|identifier| identifier.key_identifier)
                .map(|identifier| identifier.as_bytes().to_vec()),
            tbs: signed_part(der).map_err(der_error)?.to_vec(),
            spki,
            signature: certificate.signature().raw_bytes().to_vec(),
            signature_algorithm: certificate.signature_algorithm().oid,
            subject_der: tbs.subject().to_der().map_err(der_error)?,
            issuer_der: tbs.issuer().to_der().map_err(der_error)?,
            signs_certificates: usage.as_ref().is_none_or(KeyUsage::key_cert_sign),
            max_path: constraints.and_then(|constraints| constraints.path_len_constraint),
            has_unread_rules: tbs.extensions().is_some_and(|extensions| extensions.iter().any(is_unread_rule)),
            der: der.to_vec(),
        })
    }

    /// The certificate as DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The part of the certificate that is signed.
    pub(crate) fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// The subject's name as it is encoded: names are the same if these bytes are.
    pub(crate) fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The certificate as PEM, in the one form that Go, OpenSSL and Tenter all write.
    pub fn to_pem(&self) -> Result<String, X509Error> {
        pem::encode_string(PEM_LABEL, LineEnding::LF, &self.der).map_err(|error| X509Error::Pem(error.to_string()))
    }

    /// SHA-256 of the DER: what binds a Deliver request to a TLS client certificate (`common/deliver/binding.go`).
    pub fn tls_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.der).into()
    }

    /// The public key, where it is one Tenter can verify with.
    pub fn public_key(&self) -> Result<PublicKey, X509Error> {
        PublicKey::from_spki_der(&self.spki).map_err(|source| X509Error::Key { subject: self.subject.clone(), source })
    }

    /// Whether `root` issued this certificate: names match, `root` is a CA, and the signature verifies.
    pub fn is_signed_by(&self, root: &Self) -> bool {
        self.issued_by(root).is_ok_and(|issued| issued)
    }

    fn issued_by(&self, root: &Self) -> Result<bool, X509Error> {
        if !root.is_ca || self.issuer_der != root.subject_der {
            return Ok(false);
        }
        if let (Some(authority), Some(subject)) = (&self.authority_key_identifier, &root.subject_key_identifier)
            && authority != subject
        {
            return Ok(false);
        }
        self.signature_is_of(root)
    }

    /// Whether the key of `issuer` made the signature of this certificate, whatever else they say.
    fn signature_is_of(&self, issuer: &Self) -> Result<bool, X509Error> {
        let key = issuer.public_key()?;
        verify_signed(&key, self.signature_algorithm, &self.tbs, &self.signature).ok_or_else(|| X509Error::Algorithm {
            subject: self.subject.clone(),
            algorithm: self.signature_algorithm.to_string(),
        })
    }

    /// Whether the certificate names the subject of `issuer` as its issuer.
    pub(crate) fn names_as_issuer(&self, issuer: &Self) -> bool {
        self.issuer_der == issuer.subject_der
    }

    /// Whether Go's chain builder takes `issuer` as the issuer of this certificate, `below` authorities being between
    /// `issuer` and the leaf (`crypto/x509/verify.go`). Key identifiers do not matter there.
    pub(crate) fn may_be_issued_by(&self, issuer: &Self, below: usize) -> bool {
        self.names_as_issuer(issuer)
            && issuer.is_ca
            && issuer.signs_certificates
            && !issuer.has_unread_rules
            && issuer.max_path.is_none_or(|max| below <= usize::from(max))
            && self.signature_is_of(issuer).is_ok_and(|is_of| is_of)
    }

    /// Whether the certificate has critical extensions, or name constraints, that are not evaluated here.
    pub(crate) fn has_unread_rules(&self) -> bool {
        self.has_unread_rules
    }

    /// Whether two certificates are of one authority: one name, one key.
    pub fn is_same_key_and_name(&self, other: &Self) -> bool {
        self.subject_der == other.subject_der && self.spki == other.spki
    }

    /// Whether Go takes two certificates for the same authority when it builds chains.
    pub(crate) fn is_same_entity(&self, other: &Self) -> bool {
        self.is_same_key_and_name(other) && self.dns_names == other.dns_names && self.ip_addresses == other.ip_addresses
    }

    /// The first certificate in a text as Go's `encoding/pem` finds it: text around the block, the label and the length
    /// of the lines do not matter.
    pub(crate) fn from_first_pem(text: &[u8]) -> Result<Self, X509Error> {
        let (_, der) = first_pem(text).ok_or_else(|| X509Error::Pem("found none".to_owned()))?;
        Self::from_der(&der)
    }

    /// Whether the certificate is signed with ECDSA, so that Fabric makes the S of its signature low.
    pub(crate) fn is_ecdsa_signed(&self) -> bool {
        [ECDSA_SHA256, ECDSA_SHA384].contains(&self.signature_algorithm)
    }

    /// The certificate with a low S in its signature, which `issuer` made (`msp/cert.go`).
    pub(crate) fn with_low_s(self, issuer: &Self) -> Result<Self, X509Error> {
        if !self.is_ecdsa_signed() {
            return Ok(self);
        }
        let malformed = |source| X509Error::Key { subject: self.subject.clone(), source };
        let signature = issuer.public_key()?.low_s(&self.signature).map_err(malformed)?;
        if signature == self.signature {
            return Ok(self);
        }
        let certificate = Certificate::from_der(&self.der)?;
        let mut content = self.tbs.clone();
        content.extend(certificate.signature_algorithm().to_der()?);
        content.extend(BitString::from_bytes(&signature)?.to_der()?);
        Self::from_der(&AnyRef::new(Tag::Sequence, &content)?.to_der()?)
    }

    /// Whether the certificate is inside its validity at `at`.
    pub fn check_valid_at(&self, at: Timestamp) -> Result<(), X509Error> {
        if self.not_before <= at && at <= self.not_after {
            return Ok(());
        }
        Err(X509Error::NotValidAt {
            subject: self.subject.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
            at,
        })
    }
}

/// Whether a key made a signature by an algorithm of certificates; `None` if the algorithm is not known.
pub(crate) fn verify_signed(
    key: &PublicKey,
    algorithm: ObjectIdentifier,
    message: &[u8],
    signature: &[u8],
) -> Option<bool> {
    let hash = match algorithm {
        ECDSA_SHA256 => Hash::Sha256,
        ECDSA_SHA384 => Hash::Sha384,
        // The key says what is done with the bytes.
        ED25519 if matches!(key, PublicKey::Ed25519(_)) => Hash::Sha256,
        _ => return None,
    };
    Some(key.verify_any_s(hash, message, signature).is_ok())
}

/// Label and content of the first PEM block, as Go's `encoding/pem` finds it.
pub(crate) fn first_pem(text: &[u8]) -> Option<(String, Vec<u8>)> {
    const BEGIN: &str = "-----BEGIN ";
    const DASHES: &str = "-----";
    const WIDTH: usize = 64;
    let text = String::from_utf8_lossy(text);
    let starts = text.match_indices(BEGIN).map(|(start, _)| start);
    starts.filter(|start| *start == 0 || text.as_bytes().get(start - 1) == Some(&b'\n')).find_map(|start| {
        let (line, body) = text.get(start + BEGIN.len()..)?.split_once('\n')?;
        let label = line.trim_end().strip_suffix(DASHES)?;
        let (body, _) = body.split_once(&format!("{DASHES}END {label}{DASHES}"))?;
        // Headers end with an empty line.
        let body = if body.contains(':') { body.split_once("\n\n")?.1 } else { body };
        let digits: Vec<char> = body.chars().filter(|character| !character.is_whitespace()).collect();
        let lines: Vec<String> = digits.chunks(WIDTH).map(|line| line.iter().collect()).collect();
        let plain = format!("{BEGIN}{PEM_LABEL}{DASHES}\n{}\n{DASHES}END {PEM_LABEL}{DASHES}\n", lines.join("\n"));
        let (_, der) = pem::decode_vec(plain.as_bytes()).ok()?;
        Some((label.to_owned(), der))
    })
}

/// Whether an extension holds rules that are not evaluated here: a critical one, or name constraints.
fn is_unread_rule(extension: &Extension) -> bool {
    let read = [
        BasicConstraints::OID,
        KeyUsage::OID,
        ExtendedKeyUsage::OID,
        SubjectAltName::OID,
        SubjectKeyIdentifier::OID,
        AuthorityKeyIdentifier::OID,
        CrlDistributionPoints::OID,
        CertificatePolicies::OID,
    ];
    extension.extn_id == NameConstraints::OID || (extension.critical && !read.contains(&extension.extn_id))
}

/// Verifies that `leaf` leads through `intermediates` to one of `roots`, every certificate being valid at `at`.
pub fn verify_chain(
    leaf: &CertificateInfo,
    intermediates: &[CertificateInfo],
    roots: &[CertificateInfo],
    at: Timestamp,
) -> Result<(), X509Error> {
    let mut current = leaf;
    for _ in 0..MAX_CHAIN {
        current.check_valid_at(at)?;
        for root in roots {
            if current.der == root.der || current.issued_by(root)? {
                return root.check_valid_at(at);
            }
        }
        let mut next = None;
        for candidate in intermediates {
            if candidate.der != current.der && current.issued_by(candidate)? {
                next = Some(candidate);
            }
        }
        let Some(found) = next else { break };
        current = found;
    }
    Err(X509Error::UnknownIssuer { subject: current.subject.clone(), issuer: current.issuer.clone() })
}

/// Whether it is time to renew: less than a third of the certificate's life is left at `now`.
pub fn renewal_due(certificate: &CertificateInfo, now: Timestamp) -> bool {
    let life = certificate.not_after.as_second() - certificate.not_before.as_second();
    let left = certificate.not_after.as_second() - now.as_second();
    left < life / 3
}

fn der_error(error: x509_cert::der::Error) -> X509Error {
    X509Error::Der(error.to_string())
}

pub(crate) fn timestamp(time: Time) -> Result<Timestamp, X509Error> {
    i64::try_from(time.to_unix_duration().as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| X509Error::Der("its validity is outside of the calendar".to_owned()))
}

fn extension<'a, T>(certificate: &'a Certificate) -> Result<Option<T>, X509Error>
where
    T: Decode<'a> + AssociatedOid,
    X509Error: From<<T as Decode<'a>>::Error>,
{
    Ok(certificate.tbs_certificate().get_extension::<T>()?.map(|(_, value)| value))
}

impl From<x509_cert::der::Error> for X509Error {
    fn from(error: x509_cert::der::Error) -> Self {
        der_error(error)
    }
}

fn name_values(name: &Name, oid: ObjectIdentifier) -> Vec<String> {
    name.iter()
        .filter(|attribute| attribute.oid == oid)
        .map(|attribute| String::from_utf8_lossy(attribute.value.value()).into_owned())
        .collect()
}

fn alternative_names(certificate: &Certificate) -> Result<(BTreeSet<String>, BTreeSet<IpAddr>), X509Error> {
    let (mut dns, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for name in extension::<SubjectAltName>(certificate)?.map(|names| names.0).unwrap_or_default() {
        match name {
            GeneralName::DnsName(name) => {
                dns.insert(name.to_string());
            }
            GeneralName::IpAddress(octets) => {
                let octets = octets.as_bytes();
                if let Ok(four) = <[u8; 4]>::try_from(octets) {
                    addresses.insert(IpAddr::V4(Ipv4Addr::from(four)));
                } else if let Ok(sixteen) = <[u8; 16]>::try_from(octets) {
                    addresses.insert(IpAddr::V6(Ipv6Addr::from(sixteen)));
                }
            }
            _ => {}
        }
    }
    Ok((dns, addresses))
}

/// The bytes of the first element of the outer sequence, as they stand: re-encoding could change what was signed.
pub(crate) fn signed_part(der: &[u8]) -> Result<&[u8], x509_cert::der::Error> {
    let mut reader = SliceReader::new(der)?;
    Header::decode(&mut reader)?;
    reader.tlv_bytes()
}
