//! Certificates and signatures, as Fabric's MSP code judges them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier,
};

/// Why a certificate or key is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum X509Error {
    /// No PEM block was found.
    #[error("could not decode the PEM structure")]
    Pem,
    /// The DER is no certificate.
    #[error("the certificate cannot be parsed: {0}")]
    Certificate(String),
    /// The key is of no kind that is supported here.
    #[error("the private key is no ECDSA P-256 key in PKCS#8 or SEC1 form")]
    Key,
}

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");

/// The contents of all PEM blocks, with their labels, in order. Text around them is skipped, as Go's decoder does.
pub fn pem_blocks(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = String::from_utf8_lossy(bytes);
    let mut found = Vec::new();
    let mut rest = text.as_ref();
    while let Some(start) = rest.find("-----BEGIN ") {
        rest = &rest[start + 11..];
        let Some(label_end) = rest.find("-----") else {
            break;
        };
        let label = rest[..label_end].to_owned();
        let body_start = &rest[label_end + 5..];
        let end_mark = format!("-----END {label}-----");
        let Some(body_end) = body_start.find(&end_mark) else {
            continue;
        };
        let body: String = body_start[..body_end]
            .lines()
            .filter(|line| !line.contains(':'))
            .flat_map(str::chars)
            .filter(|c| !c.is_whitespace())
            .collect();
        if let Ok(der) = STANDARD.decode(body) {
            found.push((label, der));
        }
        rest = &body_start[body_end + end_mark.len()..];
    }
    found
}

/// A parsed certificate with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    inner: x509_cert::Certificate,
}

impl Certificate {
    /// The first PEM block, whatever its label.
    pub fn from_pem(bytes: &[u8]) -> Result<Self, X509Error> {
        let (_, der) = pem_blocks(bytes).into_iter().next().ok_or(X509Error::Pem)?;
        Self::from_der(der)
    }

    /// A DER certificate.
    pub fn from_der(der: Vec<u8>) -> Result<Self, X509Error> {
        let inner =
            x509_cert::Certificate::from_der(&der).map_err(|error| X509Error::Certificate(error.to_string()))?;
        Ok(Self { der, inner })
    }

    /// The DER bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    fn tbs(&self) -> &x509_cert::TbsCertificate {
        self.inner.tbs_certificate()
    }

    /// Start of validity, seconds since 1970.
    pub fn not_before(&self) -> u64 {
        self.tbs().validity().not_before.to_unix_duration().as_secs()
    }

    /// End of validity, seconds since 1970.
    pub fn not_after(&self) -> u64 {
        self.tbs().validity().not_after.to_unix_duration().as_secs()
    }

    /// The serial number's bytes.
    pub fn serial(&self) -> &[u8] {
        self.tbs().serial_number().as_bytes()
    }

    /// The serial number as a decimal number, as Go prints it.
    pub fn serial_decimal(&self) -> String {
        // Digits from the least one up; each byte multiplies by 256 and adds.
        let mut digits = vec![0_u8];
        for byte in self.serial() {
            let mut carry = u16::from(*byte);
            for digit in &mut digits {
                let value = u16::from(*digit) * 256 + carry;
                *digit = u8::try_from(value % 10).unwrap_or_default();
                carry = value / 10;
            }
            while carry > 0 {
                digits.push(u8::try_from(carry % 10).unwrap_or_default());
                carry /= 10;
            }
        }
        digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
    }

    /// The subject as Go prints it.
    pub fn subject(&self) -> String {
        self.tbs().subject().to_string()
    }

    /// Whether the key is for ECDSA, on whatever curve.
    pub fn has_ecdsa_key(&self) -> bool {
        self.tbs().subject_public_key_info().algorithm.oid == EC_PUBLIC_KEY
    }

    /// Whether it may be used for TLS, on one side or the other.
    fn is_for_tls(&self) -> bool {
        match self.tbs().get_extension::<ExtendedKeyUsage>() {
            Ok(Some((_, usages))) => usages.0.iter().any(|usage| [SERVER_AUTH, CLIENT_AUTH, ANY_USAGE].contains(usage)),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Whether basic constraints say CA.
    pub fn is_ca(&self) -> bool {
        matches!(self.tbs().get_extension::<BasicConstraints>(), Ok(Some((_, constraints))) if constraints.ca)
    }

    fn may_sign_certificates(&self) -> bool {
        match self.tbs().get_extension::<KeyUsage>() {
            Ok(Some((_, usage))) => usage.key_cert_sign(),
            _ => true,
        }
    }

    /// The subject key identifier, empty when there is none.
    pub fn subject_key_id(&self) -> Vec<u8> {
        match self.tbs().get_extension::<SubjectKeyIdentifier>() {
            Ok(Some((_, id))) => id.0.as_bytes().to_vec(),
            _ => Vec::new(),
        }
    }

    /// The texts of the subject's organizational units.
    pub fn organizational_units(&self) -> Vec<String> {
        self.tbs()
            .subject()
            .iter()
            .filter(|attribute| attribute.oid == ORGANIZATIONAL_UNIT)
            .map(|attribute| String::from_utf8_lossy(attribute.value.value()).into_owned())
            .collect()
    }

    /// The DER of the public key information: what identifies an orderer among the consenters.
    pub fn public_key_info(&self) -> Vec<u8> {
        self.tbs().subject_public_key_info().to_der().unwrap_or_default()
    }

    fn public_key(&self) -> Option<PublicKey> {
        PublicKey::of(&self.inner)
    }

    /// Whether `signature` over `message` is this certificate's, as Fabric signs: SHA-256 whatever the curve, and
    /// the low one of the two possible values of S; Ed25519 over the message itself.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), &'static str> {
        self.public_key().ok_or("unsupported public key")?.verify_message(message, signature)
    }

    fn is_issued_by(&self, issuer: &Self) -> bool {
        let names_fit = self.tbs().issuer() == issuer.tbs().subject();
        if !names_fit || !issuer.is_ca() || !issuer.may_sign_certificates() {
            return false;
        }
        let algorithm = self.inner.signature_algorithm().oid;
        let signature = self.inner.signature().raw_bytes();
        signed_part(&self.der).is_some_and(|signed| {
            issuer.public_key().is_some_and(|key| key.verify_certificate(algorithm, signed, signature))
        })
    }

    /// Whether it is its own issuer.
    pub fn is_self_signed(&self) -> bool {
        self.is_issued_by(self)
    }

    fn is_valid_at(&self, time: u64) -> bool {
        self.not_before() <= time && time <= self.not_after()
    }
}

/// All chains from `leaf` to one of `roots` by way of `intermediates`, judged at `time` (seconds since 1970); the leaf
/// comes first and the root last. A root's own chain has one entry.
pub fn chains<'a>(
    leaf: &'a Certificate,
    roots: &'a [Certificate],
    intermediates: &'a [Certificate],
    time: u64,
) -> Vec<Vec<&'a Certificate>> {
    let mut found = Vec::new();
    if roots.contains(leaf) {
        found.push(vec![leaf]);
        return found;
    }
    extend(&mut vec![leaf], roots, intermediates, time, &mut found);
    found
}

fn extend<'a>(
    chain: &mut Vec<&'a Certificate>,
    roots: &'a [Certificate],
    intermediates: &'a [Certificate],
    time: u64,
    found: &mut Vec<Vec<&'a Certificate>>,
) {
    let Some(last) = chain.last().copied() else {
        return;
    };
    // Deeper trees than this do not occur; the bound keeps hostile input cheap.
    if chain.len() > 8 || !last.is_valid_at(time) {
        return;
    }
    for root in roots {
        if root.is_valid_at(time) && last.is_issued_by(root) {
            let mut whole = chain.clone();
            whole.push(root);
            found.push(whole);
        }
    }
    for intermediate in intermediates {
        if !chain.contains(&intermediate) && last.is_issued_by(intermediate) {
            chain.push(intermediate);
            extend(chain, roots, intermediates, time, found);
            chain.pop();
        }
    }
}

/// Why a certificate is no use for TLS among orderers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// Not valid at that time; nothing else was looked at.
    #[error("x509: certificate has expired or is not yet valid")]
    Expired,
    /// No chain to a root.
    #[error("x509: certificate signed by unknown authority")]
    UnknownAuthority,
    /// A chain, but not for TLS.
    #[error("x509: certificate specifies an incompatible key usage")]
    Usage,
}

/// Whether `leaf` leads to one of `roots` and may be used for TLS at `time` (seconds since 1970), in the order of Go's
/// verification: time first.
pub fn verify_tls(
    leaf: &Certificate,
    roots: &[Certificate],
    intermediates: &[Certificate],
    time: u64,
) -> Result<(), TlsFault> {
    if !leaf.is_valid_at(time) {
        return Err(TlsFault::Expired);
    }
    let found = chains(leaf, roots, intermediates, time);
    if found.is_empty() {
        return Err(TlsFault::UnknownAuthority);
    }
    let fits = found.iter().any(|chain| chain.iter().all(|certificate| certificate.is_for_tls()));
    if fits { Ok(()) } else { Err(TlsFault::Usage) }
}

/// A revocation list with its bytes.
#[derive(Debug, Clone)]
pub struct RevocationList {
    der: Vec<u8>,
    inner: x509_cert::crl::CertificateList,
}

impl RevocationList {
    /// The first PEM block.
    pub fn from_pem(bytes: &[u8]) -> Result<Self, X509Error> {
        let (_, der) = pem_blocks(bytes).into_iter().next().ok_or(X509Error::Pem)?;
        let inner = x509_cert::crl::CertificateList::from_der(&der)
            .map_err(|error| X509Error::Certificate(error.to_string()))?;
        Ok(Self { der, inner })
    }

    /// Whether `issuer` made this list and `serial` is on it.
    pub fn revokes(&self, issuer: &Certificate, serial: &[u8]) -> bool {
        let list = &self.inner.tbs_cert_list;
        let key_id = list
            .crl_extensions
            .iter()
            .flatten()
            .filter_map(|extension| AuthorityKeyIdentifier::from_der(extension.extn_value.as_bytes()).ok())
            .find_map(|id| id.key_identifier.map(|id| id.as_bytes().to_vec()))
            .unwrap_or_default();
        key_id == issuer.subject_key_id()
            && list.revoked_certificates.iter().flatten().any(|revoked| revoked.serial_number.as_bytes() == serial)
            && signed_part(&self.der).is_some_and(|signed| {
                issuer.public_key().is_some_and(|key| {
                    key.verify_certificate(self.inner.signature_algorithm.oid, signed, self.inner.signature.raw_bytes())
                })
            })
    }
}

/// The first element inside the outer SEQUENCE: what the signature of a certificate or a list covers.
fn signed_part(der: &[u8]) -> Option<&[u8]> {
    let (header, _) = length(der)?;
    let inner = der.get(header..)?;
    let (inner_header, inner_length) = length(inner)?;
    inner.get(..inner_header + inner_length)
}

/// Lengths of the header and of the content of the DER element that starts here.
fn length(der: &[u8]) -> Option<(usize, usize)> {
    let first = *der.get(1)?;
    if first < 0x80 {
        return Some((2, usize::from(first)));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return None;
    }
    let bytes = der.get(2..2 + count)?;
    let content = bytes.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    Some((2 + count, content))
}

enum PublicKey {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl PublicKey {
    fn of(certificate: &x509_cert::Certificate) -> Option<Self> {
        let info = certificate.tbs_certificate().subject_public_key_info();
        let point = info.subject_public_key.raw_bytes();
        if info.algorithm.oid == ED25519 {
            let bytes: [u8; 32] = point.try_into().ok()?;
            return ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok().map(Self::Ed25519);
        }
        if info.algorithm.oid != EC_PUBLIC_KEY {
            return None;
        }
        let curve: ObjectIdentifier = info.algorithm.parameters.as_ref()?.decode_as().ok()?;
        match curve {
            P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok().map(Self::P256),
            P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(point).ok().map(Self::P384),
            _ => None,
        }
    }

    fn verify_message(&self, message: &[u8], signature: &[u8]) -> Result<(), &'static str> {
        const INVALID: &str = "The signature is invalid";
        const HIGH: &str = "Invalid S. Must be smaller than half the order.";
        let digest = Sha256::digest(message);
        match self {
            Self::P256(key) => {
                let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| INVALID)?;
                if signature.normalize_s() != signature {
                    return Err(HIGH);
                }
                key.verify_prehash(&digest, &signature).map_err(|_| INVALID)
            }
            Self::P384(key) => {
                let signature = p384::ecdsa::Signature::from_der(signature).map_err(|_| INVALID)?;
                if signature.normalize_s() != signature {
                    return Err(HIGH);
                }
                key.verify_prehash(&digest, &signature).map_err(|_| INVALID)
            }
            Self::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| INVALID)?;
                key.verify(message, &signature).map_err(|_| INVALID)
            }
        }
    }

    fn verify_certificate(&self, algorithm: ObjectIdentifier, signed: &[u8], signature: &[u8]) -> bool {
        let digest = match algorithm {
            ECDSA_SHA256 => Sha256::digest(signed).to_vec(),
            ECDSA_SHA384 => Sha384::digest(signed).to_vec(),
            ECDSA_SHA512 => Sha512::digest(signed).to_vec(),
            _ => Vec::new(),
        };
        match self {
            Self::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            Self::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            Self::Ed25519(key) => {
                algorithm == ED25519
                    && ed25519_dalek::Signature::from_slice(signature)
                        .is_ok_and(|signature| key.verify(signed, &signature).is_ok())
            }
        }
    }
}

/// A node's signing key (P-256). It prints as nothing.
#[derive(Clone)]
pub struct SigningKey(p256::ecdsa::SigningKey);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SigningKey")
    }
}

impl SigningKey {
    /// A PKCS#8 or SEC1 key in PEM.
    pub fn from_pem(bytes: &[u8]) -> Result<Self, X509Error> {
        use p256::pkcs8::DecodePrivateKey as _;
        let (_, der) = pem_blocks(bytes).into_iter().next().ok_or(X509Error::Pem)?;
        p256::SecretKey::from_pkcs8_der(&der)
            .ok()
            .or_else(|| p256::SecretKey::from_sec1_der(&der).ok())
            .map(|key| Self(key.into()))
            .ok_or(X509Error::Key)
    }

    /// Whether this is the key of the certificate.
    pub fn belongs_to(&self, certificate: &Certificate) -> bool {
        matches!(certificate.public_key(), Some(PublicKey::P256(key)) if key == *self.0.verifying_key())
    }

    /// Signs as Fabric does: SHA-256, low S, DER.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        signature.normalize_s().to_der().as_bytes().to_vec()
    }
}
