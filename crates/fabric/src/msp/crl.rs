//! Revocation lists, as far as an MSP looks at them (`msp/mspimplvalidate.go`): dates do not matter.

use std::collections::BTreeSet;

use x509_cert::crl::CertificateList;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;

use super::Pem;
use crate::x509::{CertificateInfo, first_pem, signed_part, verify_signed};

const PREFIX: &[u8] = b"-----BEGIN X509 CRL";
const LABEL: &str = "X509 CRL";

/// A revocation list.
#[derive(Debug, Clone)]
pub(crate) struct RevocationList {
    /// Key identifier of the authority. A list without one makes every identity of the MSP invalid.
    pub(crate) authority: Option<Vec<u8>>,
    /// Serial numbers in lower-case hexadecimal digits.
    pub(crate) serials: BTreeSet<String>,
    tbs: Vec<u8>,
    algorithm: ObjectIdentifier,
    signature: Vec<u8>,
}

impl RevocationList {
    /// Reads PEM or DER. The error says what is wrong.
    pub(crate) fn read(pem: &Pem) -> Result<Self, String> {
        let der = Some(pem.bytes())
            .filter(|bytes| bytes.starts_with(PREFIX))
            .and_then(first_pem)
            .filter(|(label, _)| label == LABEL)
            .map_or_else(|| pem.bytes().to_vec(), |(_, der)| der);
        let list = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(&der)
            .map_err(|error| format!("a revocation list cannot be read: {error}"))?;
        let tbs = signed_part(&der).map_err(|error| format!("a revocation list cannot be read: {error}"))?.to_vec();
        let content = list.tbs_cert_list;
        let authority = content
            .crl_extensions
            .iter()
            .flatten()
            .find(|extension| extension.extn_id == AuthorityKeyIdentifier::OID)
            .and_then(|extension| AuthorityKeyIdentifier::from_der(extension.extn_value.as_bytes()).ok())
            .and_then(|identifier| identifier.key_identifier)
            .map(|identifier| identifier.as_bytes().to_vec());
        let revoked = content.revoked_certificates.iter().flatten();
        Ok(Self {
            authority,
            serials: revoked.map(|entry| hex::encode(entry.serial_number.as_bytes())).collect(),
            tbs,
            algorithm: list.signature_algorithm.oid,
            signature: list.signature.raw_bytes().to_vec(),
        })
    }

    /// Whether the list revokes a certificate of this authority.
    pub(crate) fn revokes(&self, certificate: &CertificateInfo, authority: &CertificateInfo) -> bool {
        self.authority.is_some()
            && self.authority == authority.subject_key_identifier
            && self.serials.contains(&certificate.serial)
            && self.is_signed_by(authority)
    }

    /// Whether the authority's key signed the list.
    pub(crate) fn is_signed_by(&self, authority: &CertificateInfo) -> bool {
        let key = authority.public_key().ok();
        key.and_then(|key| verify_signed(&key, self.algorithm, &self.tbs, &self.signature)).unwrap_or_default()
    }
}
