//! Signing identities of an MSP, and the nonces and transaction ids that go with signatures.

use std::fmt;

use p256::elliptic_curve::rand_core::CryptoRng;
use prost::Message;
use sha2::{Digest, Sha256};
use tenter_fabric_wire::common::SignatureHeader;
use tenter_fabric_wire::msp::SerializedIdentity;

use crate::keys::{KeyError, PrivateKey, SecretKey};
use crate::x509::{CertificateInfo, X509Error};

/// Bytes of a nonce (`common/crypto/random.go`).
pub const NONCE_BYTES: usize = 24;

/// Why an identity cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate cannot be read.
    #[error("the certificate of an identity of {msp_id} cannot be read")]
    Certificate {
        /// MSP of the identity.
        msp_id: String,
        /// What is wrong with it.
        #[source]
        source: X509Error,
    },
    /// The key cannot be read or does not sign.
    #[error("the key of {subject} ({msp_id}) cannot be used")]
    Key {
        /// MSP of the identity.
        msp_id: String,
        /// Subject of its certificate.
        subject: String,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// The key belongs to another certificate.
    #[error(
        "the key given for {subject} ({msp_id}) belongs to another certificate; check which Secret or file holds it"
    )]
    Mismatch {
        /// MSP of the identity.
        msp_id: String,
        /// Subject of its certificate.
        subject: String,
    },
    /// The bytes are no serialized identity.
    #[error("the bytes are no serialized identity: {0}")]
    Serialized(String),
}

/// An enrolment certificate with its key: signs for an MSP.
#[derive(Clone)]
pub struct SigningIdentity {
    msp_id: String,
    certificate: CertificateInfo,
    key: PrivateKey,
    creator: Vec<u8>,
}

impl fmt::Debug for SigningIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningIdentity")
            .field("msp_id", &self.msp_id)
            .field("subject", &self.certificate.subject)
            .finish_non_exhaustive()
    }
}

impl SigningIdentity {
    /// Loads an identity and checks that the key is the certificate's. Expiry is not judged here: an expired
    /// certificate still counts as a signer of config updates, while submitting with it is refused.
    pub fn load(msp_id: &str, cert_pem: &str, key: &SecretKey) -> Result<Self, IdentityError> {
        let unreadable = |source| IdentityError::Certificate { msp_id: msp_id.to_owned(), source };
        let certificate = CertificateInfo::from_pem(cert_pem).map_err(unreadable)?;
        let unusable =
            |source| IdentityError::Key { msp_id: msp_id.to_owned(), subject: certificate.subject.clone(), source };
        let key = PrivateKey::from_pem(key).map_err(unusable)?;
        if certificate.public_key().map_err(unreadable)? != key.public_key() {
            return Err(IdentityError::Mismatch { msp_id: msp_id.to_owned(), subject: certificate.subject.clone() });
        }
        let creator = serialize(msp_id, &certificate.to_pem().map_err(unreadable)?);
        Ok(Self { msp_id: msp_id.to_owned(), certificate, key, creator })
    }

    /// The MSP it belongs to.
    pub fn msp_id(&self) -> &str {
        &self.msp_id
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateInfo {
        &self.certificate
    }

    /// The serialized identity that names the signer in headers.
    pub fn creator(&self) -> &[u8] {
        &self.creator
    }

    /// Signs `message`: ECDSA over its SHA-256, DER, low S.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        self.key.sign(message).map_err(|source| IdentityError::Key {
            msp_id: self.msp_id.clone(),
            subject: self.certificate.subject.clone(),
            source,
        })
    }

    /// The encoded signature header for a signature with this nonce.
    pub fn signature_header(&self, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        SignatureHeader { creator: self.creator.clone(), nonce: nonce.to_vec() }.encode_to_vec()
    }
}

/// The public half of an identity, as found in headers and signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicIdentity {
    /// The MSP it claims to belong to.
    pub msp_id: String,
    /// Its certificate.
    pub certificate: CertificateInfo,
}

impl PublicIdentity {
    /// Reads a serialized identity. Only a single PEM certificate is taken, though Fabric's Broadcast overlooks more.
    pub fn from_creator(bytes: &[u8]) -> Result<Self, IdentityError> {
        let identity =
            SerializedIdentity::decode(bytes).map_err(|error| IdentityError::Serialized(error.to_string()))?;
        let text = std::str::from_utf8(&identity.id_bytes)
            .map_err(|_| IdentityError::Serialized("its certificate is not text".to_owned()))?;
        let certificate = CertificateInfo::from_pem(text)
            .map_err(|source| IdentityError::Certificate { msp_id: identity.mspid.clone(), source })?;
        Ok(Self { msp_id: identity.mspid, certificate })
    }

    /// Verifies a signature of this identity as Fabric does.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), IdentityError> {
        let key = self
            .certificate
            .public_key()
            .map_err(|source| IdentityError::Certificate { msp_id: self.msp_id.clone(), source })?;
        key.verify(message, signature).map_err(|source| IdentityError::Key {
            msp_id: self.msp_id.clone(),
            subject: self.certificate.subject.clone(),
            source,
        })
    }
}

/// The bytes of `SerializedIdentity {mspid, id_bytes}` for a PEM certificate.
pub fn serialize(msp_id: &str, cert_pem: &str) -> Vec<u8> {
    SerializedIdentity { mspid: msp_id.to_owned(), id_bytes: cert_pem.as_bytes().to_vec() }.encode_to_vec()
}

/// A new nonce.
pub fn nonce<R: CryptoRng + ?Sized>(rng: &mut R) -> [u8; NONCE_BYTES] {
    let mut bytes = [0; NONCE_BYTES];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// The transaction id that nodes compute again: hexadecimal SHA-256 of nonce and creator (`protoutil/proputils.go`).
pub fn tx_id(nonce: &[u8], creator: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(nonce);
    hash.update(creator);
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::{Authority, CertificateRequest, Issued, LEAF_LIFETIME, OrganizationRoots, Role, Usage};
    use crate::testing::TestRng;

    fn issued(seed: u64) -> Issued {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let mut rng = TestRng::new(seed);
        let roots = OrganizationRoots::generate("acme.example", now, &mut rng).unwrap();
        let request = CertificateRequest {
            common_name: "reader".to_owned(),
            usage: Usage::Enrolment(Role::Client),
            lifetime: LEAF_LIFETIME,
        };
        Authority::load(&roots.enrolment).unwrap().issue(&request, now, &mut rng).unwrap()
    }

    #[test]
    fn what_an_identity_signs_its_public_half_verifies() {
        let issued = issued(1);
        let identity = SigningIdentity::load("AcmeMSP", &issued.cert_pem, &issued.key_pem).unwrap();
        let public = PublicIdentity::from_creator(identity.creator()).unwrap();
        assert_eq!(public.msp_id, "AcmeMSP");
        assert_eq!(public.certificate, *identity.certificate());
        let signature = identity.sign(b"bytes").unwrap();
        public.verify(b"bytes", &signature).unwrap();
        assert!(matches!(public.verify(b"other", &signature), Err(IdentityError::Key { .. })));
    }

    #[test]
    fn a_foreign_key_is_refused_at_load_and_never_shown() {
        let (one, two) = (issued(1), issued(2));
        let error = SigningIdentity::load("AcmeMSP", &one.cert_pem, &two.key_pem).unwrap_err();
        assert!(matches!(error, IdentityError::Mismatch { .. }));
        let identity = SigningIdentity::load("AcmeMSP", &one.cert_pem, &one.key_pem).unwrap();
        let shown = format!("{identity:?}");
        assert_eq!(shown, r#"SigningIdentity { msp_id: "AcmeMSP", subject: "CN=reader,OU=client", .. }"#);
    }

    #[test]
    fn transaction_ids_hash_nonce_then_creator() {
        // SHA-256 of the text "abc".
        assert_eq!(tx_id(b"a", b"bc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_ne!(nonce(&mut TestRng::new(1)), nonce(&mut TestRng::new(2)));
    }
}
