//! Certificate revocation lists of the builtin authority.
//!
//! A list is a function of its root and of what is revoked, and of nothing else: signatures are deterministic, it is
//! dated by the latest revocation, and it ends with its root. So a list that is made again has the same bytes, and no
//! channel's configuration has to learn it again. Fabric looks neither at its dates nor at those of its entries: an
//! entry counts from when an MSP holds it (`msp/mspimplvalidate.go`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use x509_cert::Version;
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::der::asn1::{BitString, ObjectIdentifier};
use x509_cert::der::pem::{self, LineEnding};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlNumber};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::{Authority, CaError, Extensions, encode_error, octets, time};
use crate::keys::{Hash, PrivateKey};
use crate::x509::{CertificateInfo, X509Error, signed_part, timestamp};

const PEM_LABEL: &str = "X509 CRL";
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// Lists larger than this are refused unread; there is room for some ten thousand entries.
const MAX_BYTES: usize = 512 * 1024;

/// When certificates were revoked, to the second, by their lower-case hexadecimal serial numbers.
pub type Revocations = BTreeMap<String, Timestamp>;

/// What a revocation list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// What is revoked.
    pub revoked: Revocations,
    issuer_der: Vec<u8>,
    authority_key_identifier: Option<Vec<u8>>,
    tbs: Vec<u8>,
    signature: Vec<u8>,
    signature_algorithm: ObjectIdentifier,
}

impl RevocationList {
    /// Reads text that holds exactly one PEM block `X509 CRL` and nothing else but white space.
    pub fn from_pem(text: &str) -> Result<Self, X509Error> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return Err(X509Error::Pem(format!("the revocation list is larger than {MAX_BYTES} bytes")));
        }
        let (label, der) = pem::decode_vec(text.as_bytes()).map_err(|error| X509Error::Pem(error.to_string()))?;
        if label != PEM_LABEL {
            return Err(X509Error::Pem(format!("found a block {label} in place of {PEM_LABEL}")));
        }
        let list = CertificateList::<Rfc5280>::from_der(&der)?;
        let tbs = &list.tbs_cert_list;
        let mut authority_key_identifier = None;
        for extension in tbs.crl_extensions.iter().flatten() {
            if extension.extn_id == <AuthorityKeyIdentifier as x509_cert::der::oid::AssociatedOid>::OID {
                let identifier = AuthorityKeyIdentifier::from_der(extension.extn_value.as_bytes())?;
                authority_key_identifier = identifier.key_identifier.map(|octets| octets.as_bytes().to_vec());
            }
        }
        let mut revoked = Revocations::new();
        for entry in tbs.revoked_certificates.iter().flatten() {
            revoked.insert(hex::encode(entry.serial_number.as_bytes()), timestamp(entry.revocation_date)?);
        }
        Ok(Self {
            revoked,
            issuer_der: tbs.issuer.to_der()?,
            authority_key_identifier,
            tbs: signed_part(&der)?.to_vec(),
            signature: list.signature.raw_bytes().to_vec(),
            signature_algorithm: list.signature_algorithm.oid,
        })
    }

    /// Whether Fabric takes this list for one of `root`: the names match, it names the root's key, and the signature
    /// verifies. A list without the key's identifier counts for nothing there.
    pub fn is_signed_by(&self, root: &CertificateInfo) -> bool {
        self.signature_algorithm == ECDSA_SHA256
            && self.issuer_der == root.subject_der()
            && root.subject_key_identifier.is_some()
            && self.authority_key_identifier == root.subject_key_identifier
            && root.public_key().is_ok_and(|key| key.verify_any_s(Hash::Sha256, &self.tbs, &self.signature).is_ok())
    }
}

impl Authority {
    /// The revocation list of this root, PEM. Equal arguments give equal bytes.
    pub fn revocation_list(&self, revoked: &Revocations) -> Result<String, CaError> {
        if matches!(self.key, PrivateKey::P384(_)) {
            return Err(CaError::Encode("roots on P-384 are not supported; make a root on P-256".to_owned()));
        }
        let algorithm = AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None };
        let entries = revoked.iter().map(|(serial, at)| entry(serial, *at)).collect::<Result<Vec<_>, _>>()?;
        let mut extensions = Extensions::default();
        // The builder of `x509-cert` would name the key by its SHA-1, which Fabric would not find.
        extensions.add(&AuthorityKeyIdentifier {
            key_identifier: self.info.subject_key_identifier.as_deref().map(octets).transpose()?,
            authority_cert_issuer: None,
            authority_cert_serial_number: None,
        })?;
        // Entries are only ever added, so their count rises as the number must.
        extensions
            .add(&CrlNumber::try_from(u64::try_from(entries.len()).unwrap_or(u64::MAX)).map_err(encode_error)?)?;
        let tbs: TbsCertList = TbsCertList {
            version: Version::V2,
            signature: algorithm.clone(),
            issuer: self.subject.clone(),
            this_update: time(revoked.values().max().copied().unwrap_or(self.info.not_before))?,
            next_update: Some(time(self.info.not_after)?),
            revoked_certificates: (!entries.is_empty()).then_some(entries),
            crl_extensions: Some(extensions.0),
        };
        let signature = self.key.sign(&tbs.to_der().map_err(encode_error)?)?;
        let list = CertificateList {
            tbs_cert_list: tbs,
            signature_algorithm: algorithm,
            signature: BitString::from_bytes(&signature).map_err(encode_error)?,
        };
        let der = list.to_der().map_err(encode_error)?;
        pem::encode_string(PEM_LABEL, LineEnding::LF, &der).map_err(encode_error)
    }
}

fn entry(serial: &str, at: Timestamp) -> Result<RevokedCert, CaError> {
    Ok(RevokedCert { serial_number: number(serial)?, revocation_date: time(at)?, crl_entry_extensions: None })
}

fn number(serial: &str) -> Result<SerialNumber, CaError> {
    let refuse = |why| CaError::Name { what: "the serial number", value: serial.to_owned(), why };
    let bytes = hex::decode(serial).map_err(|_| refuse("expected hexadecimal digits"))?;
    if bytes.is_empty() {
        return Err(refuse("it is empty"));
    }
    SerialNumber::new(&bytes).map_err(|_| refuse("expected at most 20 bytes"))
}

/// Reads an entry that people may have written: the serial number as certificates show it, and the time to the second.
/// `None` if no revocation list can hold it.
pub fn revocation(serial: &str, at: &str) -> Option<(String, Timestamp)> {
    let number = number(serial).ok()?;
    let at = Timestamp::from_second(at.parse::<Timestamp>().ok()?.as_second()).ok()?;
    time(at).ok()?;
    Some((hex::encode(number.as_bytes()), at))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;
    use crate::ca::{CertificateRequest, CertificateRoot, LEAF_LIFETIME, ROOT_LIFETIME, Role, RootKind, Usage};
    use crate::testing::TestRng;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn root(seed: u64) -> CertificateRoot {
        CertificateRoot::generate(RootKind::Enrolment, "acme.example", ROOT_LIFETIME, now(), &mut TestRng::new(seed))
            .unwrap()
    }

    fn issue(authority: &Authority, seed: u64) -> CertificateInfo {
        let request = CertificateRequest {
            common_name: "jane".to_owned(),
            usage: Usage::Enrolment(Role::Client),
            lifetime: LEAF_LIFETIME,
        };
        let issued = authority.issue(&request, now(), &mut TestRng::new(seed)).unwrap();
        CertificateInfo::from_pem(&issued.cert_pem).unwrap()
    }

    #[test]
    fn a_list_is_its_roots_and_says_what_it_was_made_of() {
        let authority = Authority::load(&root(1)).unwrap();
        let revoked: Revocations = [(issue(&authority, 2).serial, now()), (issue(&authority, 3).serial, now())].into();
        let text = authority.revocation_list(&revoked).unwrap();
        assert!(text.starts_with("-----BEGIN X509 CRL-----\n"), "{text}");
        let list = RevocationList::from_pem(&text).unwrap();
        assert_eq!(list.revoked, revoked);
        assert!(list.is_signed_by(authority.certificate()));
        // A root of the same name with another key is another root.
        let other = Authority::load(&root(4)).unwrap();
        assert!(!list.is_signed_by(other.certificate()));
        // The bytes depend on nothing else.
        assert_eq!(authority.revocation_list(&revoked).unwrap(), text);
        let empty = RevocationList::from_pem(&authority.revocation_list(&Revocations::new()).unwrap()).unwrap();
        assert!(empty.revoked.is_empty() && empty.is_signed_by(authority.certificate()));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let authority = Authority::load(&root(1)).unwrap();
        let text = authority.revocation_list(&Revocations::new()).unwrap();
        let broken = [
            String::new(),
            format!("{text}{text}"),
            format!("x{text}"),
            root(1).cert_pem,
            "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n".to_owned(),
        ];
        for text in broken {
            RevocationList::from_pem(&text).unwrap_err();
        }
        for serial in ["", "xyz", &"11".repeat(21)] {
            let revoked: Revocations = [(serial.to_owned(), now())].into();
            let refused = authority.revocation_list(&revoked);
            assert!(matches!(refused, Err(CaError::Name { .. })), "{serial}: {refused:?}");
        }
    }

    /// What was read is what the list gives back: otherwise it would be signed again and again.
    #[test]
    fn entries_of_people_are_put_in_order() {
        let authority = Authority::load(&root(1)).unwrap();
        let check = |serial: &str, at: &str, expect: Option<(&str, &str)>| {
            let found = revocation(serial, at);
            let shown = found.as_ref().map(|(serial, at)| (serial.as_str(), at.to_string()));
            assert_eq!(shown.as_ref().map(|(serial, at)| (*serial, at.as_str())), expect, "{serial} {at}");
            if let Some(entry) = found {
                let revoked: Revocations = [entry].into();
                let list = RevocationList::from_pem(&authority.revocation_list(&revoked).unwrap()).unwrap();
                assert_eq!(list.revoked, revoked);
            }
        };
        let at = "2026-03-01T12:00:00Z";
        check("0a1b", at, Some(("0a1b", at)));
        check("0A1B", "2026-03-01T12:00:00.7Z", Some(("0a1b", at)));
        check("000a1b", at, Some(("0a1b", at)));
        check("1", at, None);
        check("", at, None);
        check("0a", "yesterday", None);
        check("0a", "1969-01-01T00:00:00Z", None);
        let high = revocation("ff01", at).unwrap();
        check("00ff01", at, Some((high.0.as_str(), at)));
        check("00", at, revocation("00", at).as_ref().map(|(serial, _)| (serial.as_str(), at)));
    }

    proptest! {
        /// Serial numbers come back as certificates show them, whatever their first bits.
        #[test]
        fn entries_survive(seeds in proptest::collection::btree_set(any::<u64>(), 0..6), seconds in 0i64..4_000_000_000) {
            let authority = Authority::load(&root(1)).unwrap();
            let at = Timestamp::from_second(seconds).unwrap();
            let revoked: Revocations = seeds.iter().map(|seed| (issue(&authority, *seed).serial, at)).collect();
            let list = RevocationList::from_pem(&authority.revocation_list(&revoked).unwrap()).unwrap();
            prop_assert_eq!(&list.revoked, &revoked);
            prop_assert!(list.is_signed_by(authority.certificate()));
        }
    }

    /// OpenSSL judges too, where it is installed; where not, the rest of this module still does.
    #[test]
    fn openssl_refuses_what_is_revoked() {
        if Command::new("openssl").arg("version").output().is_err() {
            println!("SKIPPED what openssl says of revocation lists: it is not installed");
            return;
        }
        let root = root(1);
        let authority = Authority::load(&root).unwrap();
        let (bad, good) = (issue(&authority, 2), issue(&authority, 3));
        let list = authority.revocation_list(&[(bad.serial.clone(), now())].into()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (ca, crl) = (write("ca.pem", &root.cert_pem), write("crl.pem", &list));
        for (leaf, expect) in [(bad, false), (good, true)] {
            let leaf = write("leaf.pem", &leaf.to_pem().unwrap());
            let at = now().as_second().to_string();
            let output = Command::new("openssl")
                .args(["verify", "-x509_strict", "-crl_check", "-attime", &at, "-CAfile"])
                .args([ca.as_os_str(), "-CRLfile".as_ref(), crl.as_os_str(), leaf.as_os_str()])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.success(), expect, "{said}");
            assert!(expect || said.contains("certificate revoked"), "{said}");
        }
    }
}
