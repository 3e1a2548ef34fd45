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
use tenter_fabric_wire::msp::{FabricMspConfig, FabricOuIdentifier, SerializedIdentity};

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

/// One organisation's rules.
#[derive(Debug, Clone)]
pub struct Msp {
    /// The MSP ID.
    pub id: String,
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
    /// Builds an MSP from what a channel's configuration or a folder says.
    pub fn from_config(config: &FabricMspConfig) -> Result<Self, MspError> {
        if config.root_certs.is_empty() {
            return Err(MspError::new("expected at least one CA certificate"));
        }
        let mut msp = Self {
            id: config.name.clone(),
            roots: certificates(&config.root_certs)?,
            intermediates: certificates(&config.intermediate_certs)?,
            admins: certificates(&config.admins)?,
            revoked: config
                .revocation_list
                .iter()
                .map(|pem| RevocationList::from_pem(pem))
                .collect::<Result<_, _>>()
                .map_err(|error| MspError::new(format!("could not parse RevocationList: {error}")))?,
            node_ous: None,
            units: Vec::new(),
            tls_roots: config.tls_root_certs.iter().chain(&config.tls_intermediate_certs).cloned().collect(),
        };
        msp.check_authorities()?;
        msp.units =
            config.organizational_unit_identifiers.iter().map(|unit| msp.node_ou(unit)).collect::<Result<_, _>>()?;
        msp.set_roles(config)?;
        Ok(msp)
    }

    fn check_authorities(&self) -> Result<(), MspError> {
        for certificate in self.roots.iter().chain(&self.intermediates) {
            if !certificate.is_ca() {
                return Err(MspError::new(format!(
                    "CA Certificate did not have the CA attribute, (SN: {})",
                    hex::encode(certificate.serial())
                )));
            }
            if certificate.subject_key_id().is_empty() {
                return Err(MspError::new(format!(
                    "CA Certificate problem with Subject Key Identifier extension, (SN: {})",
                    hex::encode(certificate.serial())
                )));
            }
            self.unique_chain(certificate).map_err(|error| error.within("CA Certificate is not valid"))?;
        }
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
            if roles.is_empty() {
                return Err(MspError::new("Failed setting up NodeOUs: no role has an organizational unit"));
            }
            self.node_ous = Some(roles);
        }
        let has_admin_role =
            self.node_ous.as_ref().is_some_and(|roles| roles.contains_key(&(MspRoleType::Admin as i32)));
        if self.admins.is_empty() && !has_admin_role {
            return Err(MspError::new("administrators must be declared when no admin ou classification is set"));
        }
        Ok(())
    }

    /// Fabric judges a chain at one second after the certificate's start, so that expiry does not matter here.
    fn unique_chain<'a>(&'a self, certificate: &'a Certificate) -> Result<Vec<&'a Certificate>, MspError> {
        let mut found = chains(certificate, &self.roots, &self.intermediates, certificate.not_before() + 1);
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => {
                Err(MspError::new("the supplied identity is not valid: x509: certificate signed by unknown authority"))
            }
            several => Err(MspError::new(format!("this MSP only supports a single validation chain, got {several}"))),
        }
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

fn chain_identifier(chain: &[&Certificate]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for certificate in chain {
        digest.update(certificate.der());
    }
    digest.finalize().to_vec()
}
