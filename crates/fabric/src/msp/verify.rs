//! An MSP that tells who an identity is (`msp/mspimpl.go`, `mspimplsetup.go`, `mspimplvalidate.go`).
//!
//! The behaviour is that of channel capabilities `V1_4_3` and later. Expiry does not count: a chain is looked at as it
//! was one second after the identity began. Not read are RSA keys, curves other than P-256 and P-384, and name
//! constraints: an identity that depends on them is not known here, though Fabric may know it.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::crl::RevocationList;
use super::{MspDefinition, NodeOus, OuIdentifier, Pem};
use crate::hash::sha256_of;
use crate::keys::PublicKey;
use crate::policy::Role;
use crate::x509::CertificateInfo;

/// Chains longer than this are not looked for.
const MAX_CHAIN: usize = 12;
/// How many signatures Go verifies in the search for chains.
const MAX_CHECKS: usize = 100;
/// How long after its begin an identity is looked at (`getValidityOptsForCert`).
const AFTER_BEGIN: SignedDuration = SignedDuration::from_secs(1);

/// Why orderers and peers refuse an MSP.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("the MSP {msp_id} cannot be used: {why}")]
pub struct MspProblem {
    /// MSP ID of the organisation.
    pub msp_id: String,
    /// What is wrong.
    pub why: String,
}

/// Why a certificate is no valid identity of an MSP.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIdentity {
    /// It cannot be read, or its key is of a kind that is not read.
    #[error("its certificate cannot be used: {0}")]
    Certificate(String),
    /// It is a certificate authority.
    #[error("it is a certificate authority, which cannot be an identity")]
    Authority,
    /// It does not lead to a root of the MSP in exactly one way.
    #[error("{0}")]
    Chain(String),
    /// It was revoked.
    #[error("it was revoked")]
    Revoked,
    /// Its units do not tell exactly one role, or are not those that the MSP asks for.
    #[error("{0}")]
    Units(String),
    /// Ed25519 keys need the channel capability `V3_0`.
    #[error("its key is Ed25519, which needs the channel capability V3_0")]
    Ed25519,
}

/// A unit, and the chain that must have issued it.
#[derive(Debug, Clone)]
struct Unit {
    name: String,
    certifiers: Option<[u8; 32]>,
}

/// The units that tell roles.
#[derive(Debug, Clone, Default)]
struct RoleUnits {
    enforced: bool,
    units: Vec<(Role, Unit)>,
}

/// An MSP, set up.
#[derive(Debug, Clone)]
pub(crate) struct VerifyingMsp {
    roots: Vec<CertificateInfo>,
    intermediates: Vec<CertificateInfo>,
    /// DER of the authorities that issued another one of the MSP: they may issue no identities.
    internal: BTreeSet<Vec<u8>>,
    admins: BTreeSet<[u8; 32]>,
    lists: Vec<RevocationList>,
    units: Vec<Unit>,
    roles: RoleUnits,
    ed25519: bool,
}

/// A certificate that an MSP could read, valid or not.
#[derive(Debug, Clone)]
pub(crate) struct MspIdentity {
    /// SHA-256 of the certificate with a low S: what tells identities apart.
    pub(crate) id: [u8; 32],
    pub(crate) certificate: CertificateInfo,
    pub(crate) key: PublicKey,
    pub(crate) validity: Result<(), InvalidIdentity>,
    /// Units of the certificate, and the hash of its issuers; none if it has no chain.
    pub(crate) units: Option<(Vec<String>, [u8; 32])>,
    /// What it is in its organisation.
    pub(crate) roles: BTreeSet<Role>,
}

impl VerifyingMsp {
    /// Sets an MSP up as orderers and peers do.
    pub(crate) fn new(definition: &MspDefinition, ed25519: bool) -> Result<Self, MspProblem> {
        let msp_id = definition.msp_id.clone();
        Self::set_up(definition, ed25519).map_err(|why| MspProblem { msp_id, why })
    }

    fn set_up(definition: &MspDefinition, ed25519: bool) -> Result<Self, String> {
        if let Some(crypto) = &definition.crypto {
            let known = |text: &str, usual: &str| text.is_empty() || text == usual;
            if !known(&crypto.signature_hash_family, "SHA2")
                || !known(&crypto.identity_identifier_hash_function, "SHA256")
            {
                return Err("only the hashes SHA2 and SHA256 are supported".to_owned());
            }
        }
        let lists = definition.revocation_list.iter().map(RevocationList::read).collect::<Result<_, _>>()?;
        let (roots, intermediates) = authorities(&definition.root_certs, &definition.intermediate_certs)?;
        let mut msp = Self {
            roots,
            intermediates,
            internal: BTreeSet::new(),
            admins: BTreeSet::new(),
            lists,
            units: Vec::new(),
            roles: RoleUnits::default(),
            ed25519,
        };
        msp.check_authorities()?;
        check_tls(definition)?;
        msp.units =
            definition.organizational_units.iter().map(|unit| msp.pinned(unit, true)).collect::<Result<_, _>>()?;
        if let Some(ous) = &definition.node_ous {
            msp.roles = msp.role_units(ous)?;
        }
        msp.set_admins(&definition.admins)?;
        Ok(msp)
    }

    fn check_authorities(&mut self) -> Result<(), String> {
        let mut internal = BTreeSet::new();
        for (authority, is_root) in
            self.roots.iter().map(|root| (root, true)).chain(self.intermediates.iter().map(|other| (other, false)))
        {
            check_authority(authority)?;
            let chain = self.chain(authority)?;
            if let [_, issuer, ..] = chain.as_slice() {
                self.check_revocation(authority, issuer).map_err(|why| format!("{}: {why}", authority.subject))?;
            }
            if !is_root {
                internal.extend(chain.iter().skip(1).map(|issuer| issuer.der().to_vec()));
            }
        }
        self.internal = internal;
        Ok(())
    }

    /// A unit with the hash of the chain that it is bound to.
    fn pinned(&self, identifier: &OuIdentifier, must_be: bool) -> Result<Unit, String> {
        let name = identifier.unit.clone();
        let Some(pem) = identifier.certificate.as_ref().filter(|pem| must_be || !pem.is_empty()) else {
            if must_be {
                return Err(format!("the unit {name} names no authority"));
            }
            return Ok(Unit { name, certifiers: None });
        };
        let pin = read(pem)?;
        let same = |known: &&CertificateInfo| known.tbs() == pin.tbs();
        let chain = match self.roots.iter().find(same) {
            Some(root) => vec![root],
            None => match self.intermediates.iter().find(same) {
                Some(intermediate) => self.chain(intermediate)?,
                None => {
                    return Err(format!("the unit {name} is bound to {}, which is no authority of it", pin.subject));
                }
            },
        };
        if !self.roots.iter().any(|root| Some(&root) == chain.first()) && self.is_internal(chain.first().copied()) {
            return Err(format!("the unit {name} is bound to an authority that issued another one"));
        }
        Ok(Unit { name, certifiers: Some(chain_hash(&chain)) })
    }

    fn is_internal(&self, authority: Option<&CertificateInfo>) -> bool {
        authority.is_some_and(|authority| self.internal.contains(authority.der()))
    }

    fn role_units(&self, ous: &NodeOus) -> Result<RoleUnits, String> {
        let NodeOus { enable, client, peer, admin, orderer } = ous;
        let mut units = Vec::new();
        for (role, identifier) in
            [(Role::Client, client), (Role::Peer, peer), (Role::Admin, admin), (Role::Orderer, orderer)]
        {
            if let Some(identifier) = identifier {
                units.push((role, self.pinned(identifier, false)?));
            }
        }
        Ok(RoleUnits { enforced: *enable && !units.is_empty(), units })
    }

    fn set_admins(&mut self, pems: &[Pem]) -> Result<(), String> {
        let has_admin_unit = self.roles.units.iter().any(|(role, _)| *role == Role::Admin);
        if pems.is_empty() && !(self.roles.enforced && has_admin_unit) {
            return Err("there is neither an administrator nor a unit of administrators".to_owned());
        }
        let mut admins = BTreeSet::new();
        for pem in pems {
            let admin = self.identity(pem.bytes()).map_err(|why| format!("an administrator: {why}"))?;
            if self.roles.enforced {
                let units = admin.units.as_ref().map(|(units, _)| units.as_slice()).unwrap_or_default();
                if !self.has_unit(Role::Client, units) && !self.has_unit(Role::Admin, units) {
                    let subject = &admin.certificate.subject;
                    return Err(format!("the administrator {subject} has neither the client nor the admin unit"));
                }
            } else {
                admin.validity.map_err(|why| format!("the administrator {}: {why}", admin.certificate.subject))?;
            }
            admins.insert(admin.id);
        }
        self.admins = admins;
        Ok(())
    }

    /// Reads a certificate as one of this MSP. An error means that Fabric does not even look at its signature.
    pub(crate) fn identity(&self, pem: &[u8]) -> Result<MspIdentity, InvalidIdentity> {
        let unreadable = |error: crate::x509::X509Error| InvalidIdentity::Certificate(error.to_string());
        let mut certificate = CertificateInfo::from_first_pem(pem).map_err(unreadable)?;
        let key = certificate.public_key().map_err(unreadable)?;
        let is_own_issuer = certificate.is_ca && certificate.is_signed_by(&certificate);
        if certificate.is_ecdsa_signed() && !is_own_issuer {
            // Fabric looks for the issuer to make the certificate's S low, and stops if there is none.
            let chain = self.chain(&certificate).map_err(InvalidIdentity::Chain)?;
            let Some(issuer) = chain.get(1) else {
                return Err(InvalidIdentity::Chain("it is a root itself".to_owned()));
            };
            certificate = certificate.clone().with_low_s(issuer).map_err(unreadable)?;
        }
        let id = sha256_of([certificate.der()]);
        let chain = if certificate.is_ca { Err(InvalidIdentity::Authority) } else { self.identity_chain(&certificate) };
        let units = chain.as_ref().ok().map(|chain| {
            let issuers = chain.get(1..).unwrap_or_default();
            (certificate.organizational_units.clone(), chain_hash(issuers))
        });
        let validity = self.validate(&certificate, &key, &chain, units.as_ref());
        let roles = self.roles_of(&id, &validity, units.as_ref());
        Ok(MspIdentity { id, certificate, key, validity, units, roles })
    }

    /// The chain of an identity, whose issuer must not have issued another authority.
    fn identity_chain<'a>(
        &'a self,
        certificate: &'a CertificateInfo,
    ) -> Result<Vec<&'a CertificateInfo>, InvalidIdentity> {
        let chain = self.chain(certificate).map_err(InvalidIdentity::Chain)?;
        if chain.len() < 2 {
            return Err(InvalidIdentity::Chain("it is a root itself".to_owned()));
        }
        if self.is_internal(chain.get(1).copied()) {
            let why = "its issuer also issued another authority of the MSP, and so may issue no identities";
            return Err(InvalidIdentity::Chain(why.to_owned()));
        }
        Ok(chain)
    }

    fn validate(
        &self,
        certificate: &CertificateInfo,
        key: &PublicKey,
        chain: &Result<Vec<&CertificateInfo>, InvalidIdentity>,
        units: Option<&(Vec<String>, [u8; 32])>,
    ) -> Result<(), InvalidIdentity> {
        if matches!(key, PublicKey::Ed25519(_)) && !self.ed25519 {
            return Err(InvalidIdentity::Ed25519);
        }
        let chain = chain.as_ref().map_err(Clone::clone)?;
        let (Some(issuer), Some((units, certifiers))) = (chain.get(1), units) else {
            return Err(InvalidIdentity::Chain("it has no issuer".to_owned()));
        };
        self.check_revocation(certificate, issuer)?;
        if !self.units.is_empty() {
            let asked = |unit: &Unit| units.contains(&unit.name) && unit.certifiers == Some(*certifiers);
            if !self.units.iter().any(asked) {
                return Err(InvalidIdentity::Units("it has none of the units that the MSP asks for".to_owned()));
            }
        }
        self.check_roles(units, certifiers)
    }

    fn check_revocation(&self, certificate: &CertificateInfo, issuer: &CertificateInfo) -> Result<(), InvalidIdentity> {
        for list in &self.lists {
            if list.authority.is_none() {
                let why =
                    "a revocation list of the MSP does not name its authority, which makes every identity invalid";
                return Err(InvalidIdentity::Chain(why.to_owned()));
            }
            if list.revokes(certificate, issuer) {
                return Err(InvalidIdentity::Revoked);
            }
        }
        Ok(())
    }

    /// With units for roles, an identity must have exactly one of them, issued by the chain that it is bound to.
    fn check_roles(&self, units: &[String], certifiers: &[u8; 32]) -> Result<(), InvalidIdentity> {
        if !self.roles.enforced {
            return Ok(());
        }
        let mut count = 0;
        for unit in units {
            // Where two roles have the same unit, Fabric keeps the last one.
            let Some((_, role)) = self.roles.units.iter().rev().find(|(_, role)| role.name == *unit) else {
                continue;
            };
            if role.certifiers.is_some_and(|expected| expected != *certifiers) {
                return Err(InvalidIdentity::Units(format!("its unit {unit} comes from another authority")));
            }
            count += 1;
            if count > 1 {
                break;
            }
        }
        let units = units.join(", ");
        match count {
            1 => Ok(()),
            0 => Err(InvalidIdentity::Units(format!("none of its units ({units}) tells a role"))),
            _ => Err(InvalidIdentity::Units(format!("more than one of its units ({units}) tells a role"))),
        }
    }

    fn has_unit(&self, role: Role, units: &[String]) -> bool {
        self.roles.units.iter().any(|(known, unit)| *known == role && units.contains(&unit.name))
    }

    fn roles_of(
        &self,
        id: &[u8; 32],
        validity: &Result<(), InvalidIdentity>,
        units: Option<&(Vec<String>, [u8; 32])>,
    ) -> BTreeSet<Role> {
        let mut roles = BTreeSet::new();
        if validity.is_ok() {
            roles.insert(Role::Member);
            let units = units.map(|(units, _)| units.as_slice()).unwrap_or_default();
            let all = [Role::Admin, Role::Client, Role::Peer, Role::Orderer];
            roles.extend(all.into_iter().filter(|role| self.roles.enforced && self.has_unit(*role, units)));
        }
        // Listed administrators were validated when the MSP was set up, and are not again.
        if self.admins.contains(id) {
            roles.insert(Role::Admin);
        }
        roles
    }

    /// What Fabric accepts and does not work.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let authorities: Vec<&CertificateInfo> = self.roots.iter().chain(&self.intermediates).collect();
        let mut warnings = Vec::new();
        for list in &self.lists {
            if list.authority.is_none() {
                warnings.push(
                    "a revocation list does not name its authority, which makes every identity invalid".to_owned(),
                );
            } else if !authorities.iter().any(|authority| list.is_signed_by(authority)) {
                warnings.push(
                    "a revocation list is from no authority of the organisation and would revoke nothing".to_owned(),
                );
            }
        }
        for (place, one) in authorities.iter().enumerate() {
            if authorities.iter().skip(place + 1).any(|two| one.is_same_key_and_name(two)) {
                let subject = &one.subject;
                warnings.push(format!(
                    "{subject} stands there twice with one key, which makes every identity that it issued invalid; \
                     replace the old certificate instead of adding the new one"
                ));
            }
        }
        warnings
    }

    /// The one chain from a certificate to a root.
    fn chain<'a>(&'a self, certificate: &'a CertificateInfo) -> Result<Vec<&'a CertificateInfo>, String> {
        one_chain(certificate, &self.roots, &self.intermediates)
    }
}

fn read(pem: &Pem) -> Result<CertificateInfo, String> {
    CertificateInfo::from_first_pem(pem.bytes()).map_err(|error| format!("a certificate cannot be read: {error}"))
}

/// The authorities of an MSP with their S made low.
fn authorities(roots: &[Pem], intermediates: &[Pem]) -> Result<(Vec<CertificateInfo>, Vec<CertificateInfo>), String> {
    if roots.is_empty() {
        return Err("there is no root certificate".to_owned());
    }
    let raw = |pems: &[Pem]| pems.iter().map(read).collect::<Result<Vec<_>, _>>();
    let (raw_roots, raw_intermediates) = (raw(roots)?, raw(intermediates)?);
    let mut low_roots = Vec::new();
    for root in &raw_roots {
        if root.is_ecdsa_signed() && !root.may_be_issued_by(root, 0) {
            return Err(format!("{} stands among the roots, but is no authority that signed itself", root.subject));
        }
        low_roots.push(root.clone().with_low_s(root).map_err(|error| error.to_string())?);
    }
    let mut low_intermediates = Vec::new();
    for intermediate in &raw_intermediates {
        let chain = one_chain(intermediate, &raw_roots, &raw_intermediates)?;
        let low = match chain.get(1) {
            Some(issuer) => intermediate.clone().with_low_s(issuer).map_err(|error| error.to_string())?,
            None => intermediate.clone(),
        };
        low_intermediates.push(low);
    }
    Ok((low_roots, low_intermediates))
}

fn check_authority(authority: &CertificateInfo) -> Result<(), String> {
    if !authority.is_ca {
        return Err(format!("{} is no certificate authority", authority.subject));
    }
    if authority.subject_key_identifier.is_none() {
        return Err(format!("the authority {} has no subject key identifier", authority.subject));
    }
    Ok(())
}

fn check_tls(definition: &MspDefinition) -> Result<(), String> {
    let read_all = |pems: &[Pem]| pems.iter().map(read).collect::<Result<Vec<_>, _>>();
    let (roots, intermediates) = (read_all(&definition.tls_root_certs)?, read_all(&definition.tls_intermediate_certs)?);
    for authority in roots.iter().chain(&intermediates) {
        check_authority(authority)?;
        one_chain(authority, &roots, &intermediates)?;
    }
    Ok(())
}

/// SHA-256 of the certificates of a chain (`getCertificationChainIdentifierFromChain`).
fn chain_hash(chain: &[&CertificateInfo]) -> [u8; 32] {
    sha256_of(chain.iter().map(|certificate| certificate.der()))
}

/// The chain from a certificate to a root, if there is exactly one, as Go builds chains (`crypto/x509/verify.go`).
fn one_chain<'a>(
    certificate: &'a CertificateInfo,
    roots: &'a [CertificateInfo],
    intermediates: &'a [CertificateInfo],
) -> Result<Vec<&'a CertificateInfo>, String> {
    let at = certificate.not_before.checked_add(AFTER_BEGIN).unwrap_or(certificate.not_before);
    let mut search = Search { roots, intermediates, at, checks: 0, found: Vec::new() };
    let subject = &certificate.subject;
    if certificate.check_valid_at(at).is_err() || certificate.has_unread_rules() {
        return Err(format!("{subject} has a lifetime or extensions that cannot be used"));
    }
    if let Some(root) = roots.iter().find(|root| root.der() == certificate.der()) {
        search.found.push(vec![root]);
    } else {
        search.build(&[certificate]);
    }
    if search.checks > MAX_CHECKS {
        return Err(format!("{subject} may lead to the roots in more ways than are tried"));
    }
    // Go asks for the server usage unless it is told otherwise.
    search.found.retain(|chain| chain.iter().all(|certificate| certificate.server_auth));
    let count = search.found.len();
    match search.found.pop() {
        Some(chain) if count == 1 => Ok(chain),
        Some(_) => Err(format!("{subject} leads to the roots in {count} ways, and must in one")),
        None => Err(format!("{subject} does not lead to a root that was valid at its begin")),
    }
}

struct Search<'a> {
    roots: &'a [CertificateInfo],
    intermediates: &'a [CertificateInfo],
    at: Timestamp,
    checks: usize,
    found: Vec<Vec<&'a CertificateInfo>>,
}

impl<'a> Search<'a> {
    fn build(&mut self, chain: &[&'a CertificateInfo]) {
        for root in self.roots {
            if self.fits(chain, root) {
                self.found.push([chain, &[root]].concat());
            }
        }
        for intermediate in self.intermediates {
            if self.fits(chain, intermediate) {
                self.build(&[chain, &[intermediate]].concat());
            }
        }
    }

    fn fits(&mut self, chain: &[&CertificateInfo], candidate: &CertificateInfo) -> bool {
        let Some(last) = chain.last().filter(|last| chain.len() < MAX_CHAIN && last.names_as_issuer(candidate)) else {
            return false;
        };
        if chain.iter().any(|known| known.is_same_entity(candidate)) || candidate.check_valid_at(self.at).is_err() {
            return false;
        }
        self.checks += 1;
        self.checks <= MAX_CHECKS && last.may_be_issued_by(candidate, chain.len() - 1)
    }
}
