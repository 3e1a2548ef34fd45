//! Private and public keys: ECDSA over P-256 and P-384, the curves Fabric's MSP takes from ordinary deployments, and
//! Ed25519 to verify with.
//!
//! Signatures are ECDSA over SHA-256 whatever the curve, DER, with the low S that Fabric demands
//! (`bccsp/utils/ecdsa.go`, `msp/identities.go`). They are deterministic (RFC 6979), so signing needs no randomness.

use std::fmt;

use p256::elliptic_curve::Generate;
use p256::elliptic_curve::rand_core::CryptoRng;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use sha2::{Digest, Sha256, Sha384};
use x509_cert::der::asn1::{BitString, ObjectIdentifier};
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::{AlgorithmIdentifierOwned, DecodePublicKey, SubjectPublicKeyInfoOwned};
use zeroize::Zeroizing;

/// Object identifier of Ed25519 (RFC 8410).
pub(crate) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// What is said of a signature that does not verify.
const WRONG: &str = "it was made by another key or over other bytes";

/// A private key as PEM text. It is wiped from memory when dropped and never shown.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<String>);

impl SecretKey {
    /// Takes over PEM text (PKCS#8 or SEC1). It is only parsed by [`PrivateKey::from_pem`].
    pub fn from_pem(pem: String) -> Self {
        Self(Zeroizing::new(pem))
    }

    /// The PEM text, to be written to where the key is stored and nowhere else.
    pub fn expose_pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PEM, or not a PKCS#8 or SEC1 private key on P-256 or P-384. The text never quotes the key.
    #[error(
        "the private key is not an unencrypted PKCS#8 or SEC1 PEM key on the curve P-256 or P-384; \
         convert it, or have a new key issued"
    )]
    PrivateKey,
    /// The public key is of another kind.
    #[error("public keys of kind {0} are not supported; use ECDSA on P-256 or P-384, or Ed25519")]
    PublicKey(String),
    /// A key could not be encoded.
    #[error("the key cannot be encoded")]
    Encode,
    /// The signature is malformed, has a high S, or was not made by this key.
    #[error("the signature does not verify: {0}")]
    Signature(&'static str),
}

/// A private key ready to sign.
#[derive(Clone)]
pub enum PrivateKey {
    /// NIST P-256.
    P256(p256::SecretKey),
    /// NIST P-384.
    P384(p384::SecretKey),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PrivateKey {
    /// A new P-256 key.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self::P256(p256::SecretKey::generate_from_rng(rng))
    }

    /// Reads a PKCS#8 or SEC1 PEM key.
    pub fn from_pem(key: &SecretKey) -> Result<Self, KeyError> {
        let pem = key.expose_pem().trim();
        p256::SecretKey::from_pkcs8_pem(pem)
            .ok()
            .or_else(|| p256::SecretKey::from_sec1_pem(pem).ok())
            .map(Self::P256)
            .or_else(|| {
                p384::SecretKey::from_pkcs8_pem(pem)
                    .ok()
                    .or_else(|| p384::SecretKey::from_sec1_pem(pem).ok())
                    .map(Self::P384)
            })
            .ok_or(KeyError::PrivateKey)
    }

    /// The key as PKCS#8 PEM.
    pub fn to_pkcs8_pem(&self) -> Result<SecretKey, KeyError> {
        match self {
            Self::P256(key) => key.to_pkcs8_pem(LineEnding::LF),
            Self::P384(key) => key.to_pkcs8_pem(LineEnding::LF),
        }
        .map(SecretKey)
        .map_err(|_| KeyError::Encode)
    }

    /// The matching public key.
    pub fn public_key(&self) -> PublicKey {
        match self {
            Self::P256(key) => PublicKey::P256(key.public_key()),
            Self::P384(key) => PublicKey::P384(key.public_key()),
        }
    }

    /// Signs `message`: ECDSA over its SHA-256, DER, low S.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        use p256::ecdsa::signature::hazmat::PrehashSigner;
        let digest = Sha256::digest(message);
        let failed = |_| KeyError::Signature("signing failed");
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature =
                    p256::ecdsa::SigningKey::from(key).sign_prehash(&digest).map_err(failed)?;
                Ok(signature.normalize_s().to_der().as_bytes().to_vec())
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature =
                    p384::ecdsa::SigningKey::from(key).sign_prehash(&digest).map_err(failed)?;
                Ok(signature.normalize_s().to_der().as_bytes().to_vec())
            }
        }
    }
}

/// The hash a signature is made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// NIST P-256.
    P256(p256::PublicKey),
    /// NIST P-384.
    P384(p384::PublicKey),
    /// Ed25519, which channels with capability `V3_0` take. Tenter verifies with such keys and makes none.
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo`.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        p256::PublicKey::from_public_key_der(der)
            .map(Self::P256)
            .or_else(|_| p384::PublicKey::from_public_key_der(der).map(Self::P384))
            .or_else(|_| {
                let info = SubjectPublicKeyInfoOwned::from_der(der).ok();
                let oid = info.as_ref().map_or_else(|| "unknown".to_owned(), |info| info.algorithm.oid.to_string());
                info.filter(|info| info.algorithm.oid == ED25519)
                    .and_then(|info| <[u8; 32]>::try_from(info.subject_public_key.raw_bytes()).ok())
                    .and_then(|bytes| ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok())
                    .map(Self::Ed25519)
                    .ok_or(KeyError::PublicKey(oid))
            })
    }

    /// The DER `SubjectPublicKeyInfo`.
    pub fn to_spki_der(&self) -> Result<Vec<u8>, KeyError> {
        let document = match self {
            Self::P256(key) => key.to_public_key_der(),
            Self::P384(key) => key.to_public_key_der(),
            Self::Ed25519(key) => {
                let algorithm = AlgorithmIdentifierOwned { oid: ED25519, parameters: None };
                let subject_public_key = BitString::from_bytes(key.as_bytes()).map_err(|_| KeyError::Encode)?;
                let info = SubjectPublicKeyInfoOwned { algorithm, subject_public_key };
                return info.to_der().map_err(|_| KeyError::Encode);
            }
        };
        document.map(|document| document.as_bytes().to_vec()).map_err(|_| KeyError::Encode)
    }

    /// The subject key identifier as Fabric's tools compute it: SHA-256 of the uncompressed point
    /// (`internal/cryptogen/ca/ca.go`, RFC 7093 method 4). The same value names a key in an MSP's key store.
    pub fn subject_key_identifier(&self) -> [u8; 32] {
        let point = match self {
            Self::P256(key) => key.to_sec1_bytes(),
            Self::P384(key) => key.to_sec1_bytes(),
            Self::Ed25519(key) => key.as_bytes().to_vec().into(),
        };
        Sha256::digest(&point).into()
    }

    /// Verifies a signature as Fabric does: ECDSA in DER over SHA-256 of `message`, where a high S is refused, or
    /// Ed25519 over `message` itself.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        if self.low_s(signature)? != signature {
            return Err(KeyError::Signature("its S is in the upper half of the order, which Fabric refuses"));
        }
        self.verify_any_s(Hash::Sha256, message, signature)
    }

    /// A signature of this key with a low S.
    pub(crate) fn low_s(&self, signature: &[u8]) -> Result<Vec<u8>, KeyError> {
        let malformed = |_| KeyError::Signature("it is not a DER ECDSA signature");
        Ok(match self {
            Self::P256(_) => {
                let parsed = p256::ecdsa::Signature::from_der(signature).map_err(malformed)?;
                parsed.normalize_s().to_der().as_bytes().to_vec()
            }
            Self::P384(_) => {
                let parsed = p384::ecdsa::Signature::from_der(signature).map_err(malformed)?;
                parsed.normalize_s().to_der().as_bytes().to_vec()
            }
            Self::Ed25519(_) => signature.to_vec(),
        })
    }

    /// Verifies a signature of a certificate, where X.509 lets S be high.
    pub(crate) fn verify_any_s(&self, hash: Hash, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        use p256::ecdsa::signature::Verifier;
        use p256::ecdsa::signature::hazmat::PrehashVerifier;
        let digest = match hash {
            Hash::Sha256 => Sha256::digest(message).to_vec(),
            Hash::Sha384 => Sha384::digest(message).to_vec(),
        };
        let malformed = |_| KeyError::Signature("it is not a DER ECDSA signature");
        let wrong = |_| KeyError::Signature(WRONG);
        match self {
            Self::P256(key) => {
                let parsed = p256::ecdsa::Signature::from_der(signature).map_err(malformed)?;
                p256::ecdsa::VerifyingKey::from(key).verify_prehash(&digest, &parsed).map_err(wrong)
            }
            Self::P384(key) => {
                let parsed = p384::ecdsa::Signature::from_der(signature).map_err(malformed)?;
                p384::ecdsa::VerifyingKey::from(key).verify_prehash(&digest, &parsed).map_err(wrong)
            }
            Self::Ed25519(key) => {
                let malformed = |_| KeyError::Signature("it is not an Ed25519 signature");
                let parsed = ed25519_dalek::Signature::from_slice(signature).map_err(malformed)?;
                key.verify(message, &parsed).map_err(|_| KeyError::Signature(WRONG))
            }
        }
    }

    pub(crate) fn to_spki(&self) -> Result<SubjectPublicKeyInfoOwned, KeyError> {
        SubjectPublicKeyInfoOwned::from_der(&self.to_spki_der()?).map_err(|_| KeyError::Encode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestRng;

    #[test]
    fn a_secret_key_is_never_shown() {
        let key = PrivateKey::generate(&mut TestRng::new(1));
        let pem = key.to_pkcs8_pem().unwrap();
        assert_eq!(format!("{pem:?} {key:?}"), "[redacted] [redacted]");
        assert!(pem.expose_pem().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    }

    #[test]
    fn keys_survive_pkcs8_and_sec1() {
        let key = PrivateKey::generate(&mut TestRng::new(2));
        let again = PrivateKey::from_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
        assert_eq!(key.public_key(), again.public_key());
        let PrivateKey::P256(inner) = &key else { unreachable!("generate makes P-256 keys") };
        let sec1 = SecretKey::from_pem(inner.to_sec1_pem(LineEnding::LF).unwrap().to_string());
        assert_eq!(PrivateKey::from_pem(&sec1).unwrap().public_key(), key.public_key());
        let p384 = p384::SecretKey::generate_from_rng(&mut TestRng::new(3));
        let pem = SecretKey::from_pem(p384.to_pkcs8_pem(LineEnding::LF).unwrap().to_string());
        assert!(matches!(PrivateKey::from_pem(&pem).unwrap(), PrivateKey::P384(_)));
    }

    #[test]
    fn text_that_is_no_key_is_refused_without_quoting_it() {
        let error = PrivateKey::from_pem(&SecretKey::from_pem("hunter2".to_owned())).unwrap_err();
        assert_eq!(error, KeyError::PrivateKey);
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn signatures_have_a_low_s_and_a_high_one_is_refused() {
        for seed in 0..16 {
            let key = PrivateKey::generate(&mut TestRng::new(seed));
            let signature = key.sign(b"message").unwrap();
            key.public_key().verify(b"message", &signature).unwrap();
            key.public_key().verify(b"other", &signature).unwrap_err();
            let low = p256::ecdsa::Signature::from_der(&signature).unwrap();
            let high = p256::ecdsa::Signature::from_scalars(*low.r(), -*low.s()).unwrap();
            let high = high.to_der();
            key.public_key().verify_any_s(Hash::Sha256, b"message", high.as_bytes()).unwrap();
            assert!(matches!(
                key.public_key().verify(b"message", high.as_bytes()),
                Err(KeyError::Signature(reason)) if reason.contains("upper half")
            ));
        }
    }
}
