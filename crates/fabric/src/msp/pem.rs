//! PEM text as it stands in a configuration: its exact bytes, shown as what it means.

use std::fmt;

use serde::{Serialize, Serializer};
use x509_cert::Certificate;
use x509_cert::der::pem::{LineEnding, decode_vec, encode_string};
use x509_cert::der::{DateTime, Decode as _};

use crate::hash::sha256_hex;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A certificate or revocation list, as the exact bytes that a configuration holds.
///
/// Fabric compares these bytes in places (consenters, BFT policies), so they are never written anew. What is shown
/// (displayed, serialized, in debug output) is subject, SHA-256 of the DER and end of validity, never the text itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pem(Vec<u8>);

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSummary {
    /// Subject name, as RFC 4514 writes it.
    pub subject: String,
    /// SHA-256 of the DER, in hexadecimal digits.
    pub fingerprint: String,
    /// Begin of validity, in seconds since 1970.
    pub not_before: u64,
    /// End of validity, in seconds since 1970.
    pub not_after: u64,
}

impl Pem {
    /// Takes bytes as they are.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// DER of the first certificate in the text.
    pub fn certificate_der(&self) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(&self.0).ok()?;
        let start = text.find(BEGIN)?;
        let block = text.get(start..)?;
        let block = block.get(..block.find(END)? + END.len())?;
        let (_, der) = decode_vec(block.as_bytes()).ok()?;
        Some(der)
    }

    /// What the first certificate in the text says; `None` if there is none that can be read.
    pub fn certificate(&self) -> Option<CertificateSummary> {
        let der = self.certificate_der()?;
        let certificate = Certificate::from_der(&der).ok()?;
        let tbs = certificate.tbs_certificate();
        let validity = tbs.validity();
        Some(CertificateSummary {
            subject: tbs.subject().to_string(),
            fingerprint: sha256_hex(&der),
            not_before: validity.not_before.to_unix_duration().as_secs(),
            not_after: validity.not_after.to_unix_duration().as_secs(),
        })
    }

    /// Whether the text is exactly what [`encode_string`] writes for its certificate.
    fn is_plain(&self) -> bool {
        self.certificate_der()
            .and_then(|der| encode_string("CERTIFICATE", LineEnding::LF, &der).ok())
            .is_some_and(|text| text.as_bytes() == self.0)
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return formatter.write_str("nothing");
        }
        let Some(certificate) = self.certificate() else {
            return write!(formatter, "{} bytes (sha256:{})", self.0.len(), sha256_hex(&self.0));
        };
        write!(formatter, "{} (sha256:{}", certificate.subject, certificate.fingerprint)?;
        let end = std::time::Duration::from_secs(certificate.not_after);
        if let Ok(end) = DateTime::from_unix_duration(end) {
            write!(formatter, ", until {end}")?;
        }
        if !self.is_plain() {
            // Two texts of one certificate are different to Fabric, so they must not look the same.
            write!(formatter, ", as text sha256:{}", sha256_hex(&self.0))?;
        }
        formatter.write_str(")")
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Pem({self})")
    }
}

impl Serialize for Pem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<&str> for Pem {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}
