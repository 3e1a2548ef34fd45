//! Signatures of an organization's administrators over what stands in the repository.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use tenter_fabric::identity::{IdentityError, SigningIdentity};
use tenter_fabric::msp::{IdentityRefused, MspDefinition, Pem};
use tenter_fabric::policy::Role;
use tenter_fabric::x509::{CertificateInfo, X509Error};

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Subject of the certificate.
    pub subject: String,
    /// SHA-256 of the certificate, hex.
    pub fingerprint: String,
}

/// Why a signature is none of an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The signature is no base64.
    Unreadable(String),
    /// The certificate cannot be used at this time.
    Certificate(X509Error),
    /// The signer does not belong to the organization.
    Stranger {
        /// Whose certificate.
        subject: String,
        /// Why not.
        source: IdentityRefused,
    },
    /// The signer is no administrator.
    NotAnAdministrator {
        /// Whose certificate.
        subject: String,
    },
    /// The signature covers something else.
    Covers,
}

impl From<X509Error> for Refused {
    fn from(error: X509Error) -> Self {
        Self::Certificate(error)
    }
}

/// Signs: the certificate (PEM), and the signature (base64).
pub(super) fn sign(identity: &SigningIdentity, covered: &[u8]) -> Result<(String, String), IdentityError> {
    let unreadable = |source| IdentityError::Certificate { msp_id: identity.msp_id().to_owned(), source };
    let certificate = identity.certificate().to_pem().map_err(unreadable)?;
    Ok((certificate, STANDARD.encode(identity.sign(covered)?)))
}

/// Verifies what [`sign`] made: over these bytes, at a time, by an administrator that the MSP knows.
pub(super) fn verify(
    msp: &MspDefinition,
    (certificate, signature): (&str, &str),
    covered: &[u8],
    at: Timestamp,
) -> Result<Signer, Refused> {
    let signature = STANDARD.decode(signature.trim()).map_err(|error| Refused::Unreadable(error.to_string()))?;
    let signer = CertificateInfo::from_pem(certificate)?;
    signer.check_valid_at(at)?;
    let roles = msp.roles_of(&Pem::new(certificate.as_bytes()));
    let subject = signer.subject.clone();
    match roles {
        Err(source) => return Err(Refused::Stranger { subject, source }),
        Ok(roles) if !roles.contains(&Role::Admin) => return Err(Refused::NotAnAdministrator { subject }),
        Ok(_) => {}
    }
    signer.public_key()?.verify(covered, &signature).map_err(|_| Refused::Covers)?;
    Ok(Signer { subject, fingerprint: signer.certificate_fingerprint })
}
