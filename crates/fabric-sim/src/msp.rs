//! Membership service providers: who belongs to an organisation, and in which role.
//!
//! Follows Fabric's `msp/mspimpl.go`, `mspimplsetup.go` and `mspimplvalidate.go` at MSP version 1.4.3 and later.

mod folder;

use std::collections::BTreeMap;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tenter_fabric_wire::common::msp_principal::Classification;
use tenter_fabric_wire::common::msp_role::MspRoleType;
use tenter_fabric_wire::common::{CombinedPrincipal, MspPrincipal, MspRole, OrganizationUnit};
use tenter_fabric_wire::msp::{FabricMspConfig, FabricOuIdentifier, MspConfig, SerializedIdentity};

use crate::channel::UNREADABLE;
use crate::x509::{Certificate, RevocationList, chains};

pub use folder::{LocalMsp, load_local};

/// An MSP refuses an identity, or its own configuration, with a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MspError(pub String);

impl MspError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn within(self, context: impl std::fmt::Display) -> Self {
        Self(format!("{context}: {}", self.0))
    }
}

/// A certificate together with the MSP that it claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The MSP ID.
    pub msp_id: String,
    /// The certificate.
    pub certificate: Certificate,
}

impl Identity {
    /// Reads a marshalled `SerializedIdentity`.
    pub fn parse(bytes: &[u8]) -> Result<Self, MspError> {
        let serialized = SerializedIdentity::decode(bytes)
            .map_err(|error| MspError::new(format!("could not deserialize a SerializedIdentity: {error}")))?;
        let certificate =
            Certificate::from_pem(&serialized.id_bytes).map_err(|error| MspError::new(error.to_string()))?;
        Ok(Self { msp_id: serialized.mspid, certificate })
    }
}

/// One role's OU, and the chain that must certify it (empty: any).
#[derive(Debug, Clone)]
struct NodeOu {
    unit: String,
    certifiers: Vec<u8>,
}

/// The version of the rules, which the channel's capabilities choose. Older ones than these are not simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// ECDSA only.
    V1_4_3,
    /// Ed25519 too.
    V3_0,
}

/// One organisation's rules.
#[derive(Debug, Clone)]
pub struct Msp {
    /// The MSP ID.
    pub id: String,
    level: Level,
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
    admins: Vec<Certificate>,
    revoked: Vec<RevocationList>,
    node_ous: Option<BTreeMap<i32, NodeOu>>,
    units: Vec<NodeOu>,
    /// PEM roots of TLS certificates.
    pub tls_roots: Vec<Vec<u8>>,
}

impl Msp {
    /// Builds an MSP from the value of a channel's organisation.
    pub fn from_wire(value: &MspConfig, level: Level) -> Result<Self, MspError> {
        let config = FabricMspConfig::decode(&value.config[..])
            .map_err(|_| MspError(format!("failed unmarshalling fabric msp config: {UNREADABLE}")))?;
        Self::from_config(&config, level)
    }

    /// Builds an MSP, in the order in which Fabric finds fault with one.
    pub fn from_config(config: &FabricMspConfig, level: Level) -> Result<Self, MspError> {
        if config.root_certs.is_empty() {
            return Err(MspError::new("expected at least one CA certificate"));
        }
        let mut msp = Self {
            id: config.name.clone(),
            level,
            roots: certificates(&config.root_certs)?,
            intermediates: certificates(&config.intermediate_certs)?,
            admins: Vec::new(),
            revoked: Vec::new(),
            node_ous: None,
            units: Vec::new(),
            tls_roots: config.tls_root_certs.iter().chain(&config.tls_intermediate_certs).cloned().collect(),
        };
        for certificate in msp.roots.iter().chain(&msp.intermediates) {
            msp.traverse(certificate)?;
        }
        msp.revoked = config
            .revocation_list
            .iter()
            .map(|bytes| RevocationList::from_pem(bytes))
            .collect::<Result<_, _>>()
            .map_err(|error| MspError::new(format!("could not parse RevocationList: {error}")))?;
        check_authorities(&msp.roots, &msp.intermediates)?;
        check_authorities(&certificates(&config.tls_root_certs)?, &certificates(&config.tls_intermediate_certs)?)?;
        msp.units =
            config.organizational_unit_identifiers.iter().map(|unit| msp.node_ou(unit)).collect::<Result<_, _>>()?;
        msp.set_roles(config)?;
        msp.set_admins(config)?;
        Ok(msp)
    }

    /// A certificate that Fabric takes in must lead to a root; a root itself must be a CA.
    fn traverse(&self, certificate: &Certificate) -> Result<(), MspError> {
        if certificate.is_ca() && certificate.is_self_signed() {
            return Ok(());
        }
        if self.unique_chain(certificate)?.len() > 1 {
            return Ok(());
        }
        Err(MspError(format!(
            "failed to traverse certificate verification chain for leaf or intermediate certificate, with subject {}",
            certificate.subject()
        )))
    }

    fn set_admins(&mut self, config: &FabricMspConfig) -> Result<(), MspError> {
        let admins = certificates(&config.admins)?;
        for admin in &admins {
            self.traverse(admin)?;
        }
        let has_admin_role =
            self.node_ous.as_ref().is_some_and(|roles| roles.contains_key(&(MspRoleType::Admin as i32)));
        if admins.is_empty() && !has_admin_role {
            return Err(MspError::new("administrators must be declared when no admin ou classification is set"));
        }
        for (number, certificate) in admins.iter().enumerate() {
            let admin = Identity { msp_id: self.id.clone(), certificate: certificate.clone() };
            if self.node_ous.is_none() {
                self.validate(&admin).map_err(|error| error.within(format!("admin {number} is invalid")))?;
                continue;
            }
            if let Err(client) = self.has_role(&admin, MspRoleType::Client)
                && let Err(error) = self.has_role(&admin, MspRoleType::Admin)
            {
                return Err(MspError(format!("admin {number} is invalid [{client},{error}]")));
            }
        }
        self.admins = admins;
        Ok(())
    }

    fn node_ou(&self, identifier: &FabricOuIdentifier) -> Result<NodeOu, MspError> {
        let certifiers = if identifier.certificate.is_empty() {
            Vec::new()
        } else {
            let certificate =
                Certificate::from_pem(&identifier.certificate).map_err(|error| MspError::new(error.to_string()))?;
            if !self.roots.contains(&certificate) && !self.intermediates.contains(&certificate) {
                return Err(MspError::new("Failed adding OU. Certificate not in root or intermediate certs."));
            }
            chain_identifier(&self.unique_chain(&certificate)?)
        };
        Ok(NodeOu { unit: identifier.organizational_unit_identifier.clone(), certifiers })
    }

    fn set_roles(&mut self, config: &FabricMspConfig) -> Result<(), MspError> {
        if let Some(ous) = config.fabric_node_ous.as_ref().filter(|ous| ous.enable) {
            let mut roles = BTreeMap::new();
            for (role, identifier) in [
                (MspRoleType::Client, &ous.client_ou_identifier),
                (MspRoleType::Peer, &ous.peer_ou_identifier),
                (MspRoleType::Admin, &ous.admin_ou_identifier),
                (MspRoleType::Orderer, &ous.orderer_ou_identifier),
            ] {
                if let Some(identifier) =
                    identifier.as_ref().filter(|identifier| !identifier.organizational_unit_identifier.is_empty())
                {
                    roles.insert(role as i32, self.node_ou(identifier)?);
                }
            }
            self.node_ous = (!roles.is_empty()).then_some(roles);
        }
        Ok(())
    }

    fn unique_chain<'a>(&'a self, certificate: &'a Certificate) -> Result<Vec<&'a Certificate>, MspError> {
        unique_chain(certificate, &self.roots, &self.intermediates)
    }

    fn identity_chain<'a>(&'a self, identity: &'a Identity) -> Result<Vec<&'a Certificate>, MspError> {
        if identity.certificate.is_ca() {
            return Err(MspError::new(
                "An X509 certificate with Basic Constraint: Certificate Authority equals true cannot be used as an identity",
            ));
        }
        let chain = self.unique_chain(&identity.certificate)?;
        let Some(parent) = chain.get(1) else {
            return Err(MspError::new("expected a chain of length at least 2, got 1"));
        };
        let parent_is_inner_node = self.intermediates.iter().any(|intermediate| {
            self.unique_chain(intermediate).is_ok_and(|chain| chain.iter().skip(1).any(|above| above == parent))
        });
        if parent_is_inner_node {
            return Err(MspError::new(
                "invalid validation chain. Parent certificate should be a leaf of the certification tree",
            ));
        }
        Ok(chain)
    }

    /// Whether the identity belongs to this MSP now: chain, revocation, organizational units; not expiry.
    pub fn validate(&self, identity: &Identity) -> Result<(), MspError> {
        if identity.msp_id != self.id {
            return Err(MspError(format!("expected MSP ID {}, received {}", self.id, identity.msp_id)));
        }
        if self.level < Level::V3_0 && !identity.certificate.has_ecdsa_key() {
            return Err(MspError::new("could not validate identity's public key algorithm: Ed25519 is not supported"));
        }
        let chain =
            self.identity_chain(identity).map_err(|error| error.within("could not obtain certification chain"))?;
        if chain
            .get(1)
            .is_some_and(|issuer| self.revoked.iter().any(|list| list.revokes(issuer, identity.certificate.serial())))
        {
            return Err(MspError::new("The certificate has been revoked"));
        }
        self.validate_units(identity, &chain_identifier(&chain[1..]))
    }

    fn validate_units(&self, identity: &Identity, certifiers: &[u8]) -> Result<(), MspError> {
        let units = identity.certificate.organizational_units();
        if !self.units.is_empty() {
            let listed = units
                .iter()
                .any(|unit| self.units.iter().any(|known| known.unit == *unit && known.certifiers == certifiers));
            if !listed {
                return Err(MspError(format!(
                    "none of the identity's organizational units {units:?} are in MSP {}",
                    self.id
                )));
            }
        }
        let Some(roles) = &self.node_ous else {
            return Ok(());
        };
        let mut count = 0;
        for unit in &units {
            let Some(role) = roles.values().find(|role| role.unit == *unit) else {
                continue;
            };
            if !role.certifiers.is_empty() && role.certifiers != certifiers {
                return Err(MspError(format!("certifiersIdentifier does not match: {units:?}, MSP: [{}]", self.id)));
            }
            count += 1;
        }
        match count {
            1 => Ok(()),
            0 => Err(MspError(format!(
                "the identity does not have an OU that resolves to client, peer, orderer, or admin role. OUs: {units:?}, MSP: [{}]",
                self.id
            ))),
            _ => Err(MspError(format!(
                "the identity must have a client, a peer, an orderer, or an admin OU role to be valid, not a combination of them. OUs: {units:?}, MSP: [{}]",
                self.id
            ))),
        }
    }

    fn has_role(&self, identity: &Identity, role: MspRoleType) -> Result<(), MspError> {
        let Some(roles) = &self.node_ous else {
            return Err(MspError::new("NodeOUs not activated. Cannot tell apart identities."));
        };
        let name = role.as_str_name();
        let Some(known) = roles.get(&(role as i32)) else {
            return Err(MspError(format!(
                "cannot test for classification, node ou for type [{name}], not defined, msp: [{}]",
                self.id
            )));
        };
        if identity.certificate.organizational_units().contains(&known.unit) {
            Ok(())
        } else {
            Err(MspError(format!("The identity does not contain OU [{name}], MSP: [{}]", self.id)))
        }
    }

    /// Whether the identity is what the principal asks for.
    pub fn satisfies(&self, identity: &Identity, principal: &MspPrincipal) -> Result<(), MspError> {
        let parse = |error: prost::DecodeError| MspError(format!("could not unmarshal the principal: {error}"));
        match Classification::try_from(principal.principal_classification) {
            Ok(Classification::Role) => {
                let role = MspRole::decode(&principal.principal[..]).map_err(parse)?;
                if role.msp_identifier != self.id {
                    return Err(MspError(format!(
                        "the identity is a member of a different MSP (expected {}, got {})",
                        role.msp_identifier, identity.msp_id
                    )));
                }
                let kind = MspRoleType::try_from(role.role)
                    .map_err(|_| MspError(format!("invalid MSP role type {}", role.role)))?;
                self.satisfies_role(identity, kind)
            }
            Ok(Classification::Identity) => {
                let wanted = Identity::parse(&principal.principal)
                    .map_err(|error| error.within("invalid identity principal, not a certificate"))?;
                if wanted.certificate == identity.certificate && wanted.msp_id == self.id {
                    self.validate(&wanted)
                } else {
                    Err(MspError::new("The identities do not match"))
                }
            }
            Ok(Classification::OrganizationUnit) => {
                let wanted = OrganizationUnit::decode(&principal.principal[..]).map_err(parse)?;
                self.satisfies_unit(identity, &wanted)
            }
            Ok(Classification::Combined) => {
                let combined = CombinedPrincipal::decode(&principal.principal[..]).map_err(parse)?;
                if combined.principals.is_empty() {
                    return Err(MspError::new("No principals in CombinedPrincipal"));
                }
                combined.principals.iter().try_for_each(|part| self.satisfies(identity, part))
            }
            _ => Err(MspError(format!("invalid principal type {}", principal.principal_classification))),
        }
    }

    fn satisfies_role(&self, identity: &Identity, role: MspRoleType) -> Result<(), MspError> {
        let valid = || {
            self.validate(identity)
                .map_err(|error| error.within(format!("The identity is not valid under this MSP [{}]", self.id)))
        };
        match role {
            MspRoleType::Member => valid(),
            MspRoleType::Admin => {
                if self.admins.contains(&identity.certificate) {
                    return Ok(());
                }
                if self.node_ous.is_none() {
                    return Err(MspError::new("This identity is not an admin"));
                }
                valid()?;
                self.has_role(identity, role)
                    .map_err(|error| error.within(format!("The identity is not an admin under this MSP [{}]", self.id)))
            }
            MspRoleType::Client | MspRoleType::Peer | MspRoleType::Orderer => {
                valid()?;
                self.has_role(identity, role).map_err(|error| {
                    error.within(format!("The identity is not a [{}] under this MSP [{}]", role.as_str_name(), self.id))
                })
            }
        }
    }

    fn satisfies_unit(&self, identity: &Identity, wanted: &OrganizationUnit) -> Result<(), MspError> {
        if wanted.msp_identifier != self.id {
            return Err(MspError(format!(
                "the identity is a member of a different MSP (expected {}, got {})",
                wanted.msp_identifier, identity.msp_id
            )));
        }
        self.validate(identity)?;
        let chain = self.identity_chain(identity)?;
        let certifiers = chain_identifier(&chain[1..]);
        let has_unit = identity.certificate.organizational_units().contains(&wanted.organizational_unit_identifier);
        if has_unit && wanted.certifiers_identifier == certifiers {
            Ok(())
        } else {
            Err(MspError::new("The identities do not match"))
        }
    }
}

fn certificates(pems: &[Vec<u8>]) -> Result<Vec<Certificate>, MspError> {
    pems.iter().map(|pem| Certificate::from_pem(pem).map_err(|error| MspError::new(error.to_string()))).collect()
}

/// CA certificates, whether for enrolment or for TLS, must be such and lead to one root each.
fn check_authorities(roots: &[Certificate], intermediates: &[Certificate]) -> Result<(), MspError> {
    for certificate in roots.iter().chain(intermediates) {
        let serial = hex::encode(certificate.serial());
        if !certificate.is_ca() {
            return Err(MspError(format!("CA Certificate did not have the CA attribute, (SN: {serial})")));
        }
        if certificate.subject_key_id().is_empty() {
            return Err(MspError(format!(
                "CA Certificate problem with Subject Key Identifier extension, (SN: {serial}): subjectKeyIdentifier not found in certificate"
            )));
        }
        if let Err(error) = unique_chain(certificate, roots, intermediates) {
            return Err(error.within(format!(
                "CA Certificate is not valid, (SN: {}): could not obtain certification chain",
                certificate.serial_decimal()
            )));
        }
    }
    Ok(())
}

/// Fabric judges a chain at one second after the certificate's start, so that expiry does not matter here.
fn unique_chain<'a>(
    certificate: &'a Certificate,
    roots: &'a [Certificate],
    intermediates: &'a [Certificate],
) -> Result<Vec<&'a Certificate>, MspError> {
    let mut found = chains(certificate, roots, intermediates, certificate.not_before() + 1);
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(MspError::new("the supplied identity is not valid: x509: certificate signed by unknown authority")),
        several => Err(MspError::new(format!("this MSP only supports a single validation chain, got {several}"))),
    }
}

fn chain_identifier(chain: &[&Certificate]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for certificate in chain {
        digest.update(certificate.der());
    }
    digest.finalize().to_vec()
}
