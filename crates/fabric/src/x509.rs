//! Certificates: what Tenter has to know about one, whoever issued it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::pem::{self, LineEnding};
use x509_cert::der::{Decode, Encode, Header, Reader, SliceReader};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::time::Time;

use crate::keys::{Hash, KeyError, PublicKey};

const PEM_LABEL: &str = "CERTIFICATE";
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
pub(crate) const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
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
    /// The signature algorithm is neither ECDSA with SHA-256 nor with SHA-384.
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
        let allows = |usage| extended.as_ref().is_none_or(|list| list.0.contains(&usage));
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
            is_ca: extension::<BasicConstraints>(&certificate)?.is_some_and(|constraints| constraints.ca),
            server_auth: allows(SERVER_AUTH),
            client_auth: allows(CLIENT_AUTH),
            digital_signature: extension::<KeyUsage>(&certificate)?.is_none_or(|usage| usage.digital_signature()),
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
            der: der.to_vec(),
        })
    }

    /// The certificate as DER.
    pub fn der(&self) -> &[u8] {
        &self.der
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
        let hash = match self.signature_algorithm {
            ECDSA_SHA256 => Hash::Sha256,
            ECDSA_SHA384 => Hash::Sha384,
            other => {
                return Err(X509Error::Algorithm { subject: self.subject.clone(), algorithm: other.to_string() });
            }
        };
        Ok(root.public_key()?.verify_any_s(hash, &self.tbs, &self.signature).is_ok())
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
    T: Decode<'a> + x509_cert::der::oid::AssociatedOid,
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
