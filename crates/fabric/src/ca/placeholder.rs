//! Certificates that stand for ones that are not known, so that a configuration can be computed without them.
//!
//! They are made of fixed text: whoever makes them gets the same bytes, their keys are no secret, and no network has them.
//! All their names are `placeholder.invalid`, a domain that nobody can have (RFC 2606).

use std::convert::Infallible;

use jiff::{SignedDuration, Timestamp};
use p256::elliptic_curve::rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};

use super::{Authority, CaError, CertificateRequest, CertificateRoot, Role, RootKind, Usage};

/// The domain of all placeholders.
pub const PLACEHOLDER: &str = "placeholder.invalid";
/// When they were made: certificates begin a little before, and no earlier than in 1970.
const MADE: Timestamp = Timestamp::constant(86_400, 0);
/// How long they live: they never end while somebody looks at them.
const LIFETIME: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);

/// An authority of placeholders. There is one for all organisations.
#[derive(Debug, Clone)]
pub struct Placeholders {
    enrolment: Authority,
    tls: Authority,
}

impl Placeholders {
    /// The authority; every call makes the same one.
    pub fn new() -> Result<Self, CaError> {
        let root = |kind: RootKind| {
            let mut random = Fixed::new(kind.prefix());
            let root = CertificateRoot::generate(kind, PLACEHOLDER, LIFETIME, MADE, &mut random)?;
            Authority::load(&root)
        };
        Ok(Self { enrolment: root(RootKind::Enrolment)?, tls: root(RootKind::Tls)? })
    }

    /// The enrolment root, PEM.
    pub fn enrolment_root(&self) -> Result<String, CaError> {
        Ok(self.enrolment.certificate().to_pem()?)
    }

    /// The TLS root, PEM.
    pub fn tls_root(&self) -> Result<String, CaError> {
        Ok(self.tls.certificate().to_pem()?)
    }

    /// TLS and enrolment certificate of an orderer, PEM. `node` decides its keys: it names the node among all others.
    pub fn orderer(&self, node: &str, dns_names: &[String]) -> Result<(String, String), CaError> {
        let issue = |authority: &Authority, usage: Usage| {
            let mut random = Fixed::new(&format!("{} {node}", matches!(usage, Usage::Enrolment(_))));
            let request = CertificateRequest { common_name: PLACEHOLDER.to_owned(), usage, lifetime: LIFETIME };
            Ok::<_, CaError>(authority.issue(&request, MADE, &mut random)?.cert_pem)
        };
        let dns_names = dns_names.iter().cloned().collect();
        let tls = issue(&self.tls, Usage::TlsNode { dns_names, ip_addresses: std::collections::BTreeSet::new() })?;
        Ok((tls, issue(&self.enrolment, Usage::Enrolment(Role::Orderer))?))
    }
}

/// Bytes that follow from a text. What is made with them is no secret.
struct Fixed {
    seed: [u8; 32],
    count: u64,
}

impl Fixed {
    fn new(text: &str) -> Self {
        Self { seed: Sha256::digest(format!("tenter {PLACEHOLDER} {text}")).into(), count: 0 }
    }
}

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Infallible> {
        for chunk in target.chunks_mut(32) {
            let block = Sha256::new().chain_update(self.seed).chain_update(self.count.to_le_bytes()).finalize();
            self.count += 1;
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::CertificateInfo;

    #[test]
    fn placeholders_repeat_and_say_what_they_are() {
        let one = Placeholders::new().unwrap();
        let names = ["orderer1.example".to_owned()];
        let (tls, identity) = one.orderer("trade-hub/orderer1", &names).unwrap();
        assert_eq!(
            Placeholders::new().unwrap().orderer("trade-hub/orderer1", &names).unwrap(),
            (tls.clone(), identity.clone())
        );
        let tls = CertificateInfo::from_pem(&tls).unwrap();
        assert!(tls.subject.contains(PLACEHOLDER) && tls.dns_names.contains("orderer1.example"), "{tls:?}");
        let other = CertificateInfo::from_pem(&one.orderer("trade-hub/orderer2", &names).unwrap().0).unwrap();
        assert_ne!(tls.public_key_fingerprint, other.public_key_fingerprint);
        let identity = CertificateInfo::from_pem(&identity).unwrap();
        assert_ne!(tls.public_key_fingerprint, identity.public_key_fingerprint);
        assert!(one.enrolment_root().unwrap() != one.tls_root().unwrap());
    }
}
