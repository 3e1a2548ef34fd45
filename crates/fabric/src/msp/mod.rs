//! MSP definitions: how the members of a channel know an organisation's identities.
//!
//! The definition encodes to the bytes that configtxgen writes for the same folder (`msp/configbuilder.go`).

mod crl;
mod folder;
mod pem;
mod verify;

use std::collections::BTreeSet;

use prost::Message as _;
use prost::bytes::Bytes;
use serde::Serialize;
use tenter_fabric_wire::msp as wire;

use crate::policy::Role;

pub use pem::{CertificateSummary, Pem};
pub use verify::{InvalidIdentity, MspProblem};
pub(crate) use verify::{MspIdentity, VerifyingMsp};

/// Type number of an MSP of X.509 certificates.
const FABRIC: i32 = 0;

/// Why an MSP definition cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MspError {
    /// Bytes that are not the message they should be.
    #[error("the MSP definition cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    /// An MSP of another kind, such as Idemix.
    #[error("the MSP is of type {kind}; only type {FABRIC} (X.509 certificates) is supported")]
    Kind {
        /// Type number of the MSP.
        kind: i32,
    },
    /// A definition with a signing identity, which may hold a private key.
    #[error("the MSP {msp_id} holds a signing identity; take the definition from the public MSP folder")]
    SigningIdentity {
        /// MSP ID of the organisation.
        msp_id: String,
    },
    /// A definition with parts that this library would lose.
    #[error("the MSP {msp_id} has parts that this version does not know; use a newer version")]
    Unknown {
        /// MSP ID of the organisation.
        msp_id: String,
    },
    /// A folder without a root certificate.
    #[error("the MSP folder has no certificate in cacerts/; put the root certificate of the organisation's CA there")]
    NoRoot,
    /// A file that should hold PEM.
    #[error("{path} is not a PEM file; remove it or export it again")]
    NotPem {
        /// Path in the MSP folder.
        path: String,
    },
    /// A file that config.yaml names and that is not there.
    #[error("config.yaml names {path}, which is not in the MSP folder")]
    MissingFile {
        /// Path in the MSP folder.
        path: String,
    },
    /// An unreadable config.yaml.
    #[error("config.yaml of the MSP folder cannot be read")]
    Yaml(#[from] serde_yaml::Error),
    /// A definition that no MSP folder can express.
    #[error("the MSP {msp_id} cannot be written as a folder: {why}")]
    NoFolder {
        /// MSP ID of the organisation.
        msp_id: String,
        /// What a folder cannot express.
        why: &'static str,
    },
}

/// An organisation's MSP: its authorities, and how its identities' roles are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MspDefinition {
    /// MSP ID; it can never change once it stands in a channel.
    pub msp_id: String,
    /// Roots that issue identities.
    pub root_certs: Vec<Pem>,
    /// Authorities between the roots and the identities.
    pub intermediate_certs: Vec<Pem>,
    /// Certificates that are administrators whatever their units.
    pub admins: Vec<Pem>,
    /// Revocation lists.
    pub revocation_list: Vec<Pem>,
    /// If not empty, every identity must have one of these units.
    pub organizational_units: Vec<OuIdentifier>,
    /// Roots that issue TLS certificates.
    pub tls_root_certs: Vec<Pem>,
    /// Authorities between the TLS roots and the TLS certificates.
    pub tls_intermediate_certs: Vec<Pem>,
    /// The units that tell roles.
    pub node_ous: Option<NodeOus>,
    /// Hash families; [`CryptoConfig::default`] is what configtxgen writes.
    pub crypto: Option<CryptoConfig>,
}

/// An organisational unit, optionally bound to an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OuIdentifier {
    /// The authority that must have issued the identity; any authority of the MSP if `None`.
    pub certificate: Option<Pem>,
    /// Name of the unit.
    pub unit: String,
}

/// The units that tell roles. With these on, an identity must have exactly one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeOus {
    /// Whether they are looked at.
    pub enable: bool,
    /// Unit of clients.
    pub client: Option<OuIdentifier>,
    /// Unit of peers.
    pub peer: Option<OuIdentifier>,
    /// Unit of administrators.
    pub admin: Option<OuIdentifier>,
    /// Unit of orderers.
    pub orderer: Option<OuIdentifier>,
}

impl NodeOus {
    /// The usual units `client`, `peer`, `admin` and `orderer`, bound to `certificate` if there is one.
    ///
    /// Without a certificate the authority can be renewed without touching the units.
    pub fn usual(certificate: Option<&Pem>) -> Self {
        let unit = |name: &str| Some(OuIdentifier { certificate: certificate.cloned(), unit: name.to_owned() });
        Self {
            enable: true,
            client: unit("client"),
            peer: unit("peer"),
            admin: unit("admin"),
            orderer: unit("orderer"),
        }
    }
}

/// Why a certificate is not counted as an identity of an MSP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityRefused {
    /// Nobody can be: the MSP itself is refused.
    #[error(transparent)]
    Msp(#[from] MspProblem),
    /// The certificate is no valid identity.
    #[error(transparent)]
    Identity(#[from] InvalidIdentity),
}

/// Hash families of an MSP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CryptoConfig {
    /// Family of the hash that is signed.
    pub signature_hash_family: String,
    /// Hash that makes an identity's identifier.
    pub identity_identifier_hash_function: String,
}

impl Default for CryptoConfig {
    fn default() -> Self {
        Self { signature_hash_family: "SHA2".to_owned(), identity_identifier_hash_function: "SHA256".to_owned() }
    }
}

impl MspDefinition {
    /// An MSP with one root for identities and one for TLS, and the usual units bound to no authority.
    pub fn new(msp_id: impl Into<String>, root: Pem, tls_root: Pem) -> Self {
        Self {
            msp_id: msp_id.into(),
            root_certs: vec![root],
            intermediate_certs: Vec::new(),
            admins: Vec::new(),
            revocation_list: Vec::new(),
            organizational_units: Vec::new(),
            tls_root_certs: vec![tls_root],
            tls_intermediate_certs: Vec::new(),
            node_ous: Some(NodeOus::usual(None)),
            crypto: Some(CryptoConfig::default()),
        }
    }

    /// Decodes an encoded `msp.MSPConfig`, as a channel's configuration holds it.
    ///
    /// Refuses what would be lost by encoding it again.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MspError> {
        let mut outer = wire::MspConfig::decode(bytes)?;
        if outer.r#type != FABRIC {
            return Err(MspError::Kind { kind: outer.r#type });
        }
        // Certificates are copied once out of shared bytes, and twice out of a slice.
        let inner = Bytes::from(std::mem::take(&mut outer.config));
        let config = wire::FabricMspConfig::decode(inner.clone())?;
        // The definition has all that the message has: its encoding needs not be asked as well.
        outer.config = config.encode_to_vec();
        let is_whole = outer.config == inner && outer.encode_to_vec() == bytes;
        let definition = Self::from_wire(config)?;
        debug_assert!(!is_whole || definition.to_bytes() == bytes, "the definition has all of the message");
        if is_whole { Ok(definition) } else { Err(MspError::Unknown { msp_id: definition.msp_id }) }
    }

    fn from_wire(config: wire::FabricMspConfig) -> Result<Self, MspError> {
        if config.signing_identity.is_some() {
            return Err(MspError::SigningIdentity { msp_id: config.name });
        }
        let pems = |list: Vec<Vec<u8>>| list.into_iter().map(Pem::new).collect();
        Ok(Self {
            msp_id: config.name,
            root_certs: pems(config.root_certs),
            intermediate_certs: pems(config.intermediate_certs),
            admins: pems(config.admins),
            revocation_list: pems(config.revocation_list),
            organizational_units: config
                .organizational_unit_identifiers
                .into_iter()
                .map(OuIdentifier::from_wire)
                .collect(),
            tls_root_certs: pems(config.tls_root_certs),
            tls_intermediate_certs: pems(config.tls_intermediate_certs),
            node_ous: config.fabric_node_ous.map(|ous| NodeOus {
                enable: ous.enable,
                client: ous.client_ou_identifier.map(OuIdentifier::from_wire),
                peer: ous.peer_ou_identifier.map(OuIdentifier::from_wire),
                admin: ous.admin_ou_identifier.map(OuIdentifier::from_wire),
                orderer: ous.orderer_ou_identifier.map(OuIdentifier::from_wire),
            }),
            crypto: config.crypto_config.map(|crypto| CryptoConfig {
                signature_hash_family: crypto.signature_hash_family,
                identity_identifier_hash_function: crypto.identity_identifier_hash_function,
            }),
        })
    }

    /// The encoded `msp.MSPConfig`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let pems = |list: &[Pem]| list.iter().map(|pem| pem.bytes().to_vec()).collect();
        let unit = |unit: &Option<OuIdentifier>| unit.as_ref().map(OuIdentifier::to_wire);
        let config = wire::FabricMspConfig {
            name: self.msp_id.clone(),
            root_certs: pems(&self.root_certs),
            intermediate_certs: pems(&self.intermediate_certs),
            admins: pems(&self.admins),
            revocation_list: pems(&self.revocation_list),
            signing_identity: None,
            organizational_unit_identifiers: self.organizational_units.iter().map(OuIdentifier::to_wire).collect(),
            crypto_config: self.crypto.as_ref().map(|crypto| wire::FabricCryptoConfig {
                signature_hash_family: crypto.signature_hash_family.clone(),
                identity_identifier_hash_function: crypto.identity_identifier_hash_function.clone(),
            }),
            tls_root_certs: pems(&self.tls_root_certs),
            tls_intermediate_certs: pems(&self.tls_intermediate_certs),
            fabric_node_ous: self.node_ous.as_ref().map(|ous| wire::FabricNodeOus {
                enable: ous.enable,
                client_ou_identifier: unit(&ous.client),
                peer_ou_identifier: unit(&ous.peer),
                admin_ou_identifier: unit(&ous.admin),
                orderer_ou_identifier: unit(&ous.orderer),
            }),
        };
        wire::MspConfig { r#type: FABRIC, config: config.encode_to_vec() }.encode_to_vec()
    }

    /// Whether orderers and peers take this MSP.
    pub fn check_usable(&self) -> Result<(), MspProblem> {
        VerifyingMsp::new(self, true).map(drop)
    }

    /// The roles that a certificate has in this MSP. As in Fabric, its end does not count here.
    pub fn roles_of(&self, certificate: &Pem) -> Result<BTreeSet<Role>, IdentityRefused> {
        let identity = VerifyingMsp::new(self, true)?.identity(certificate.bytes())?;
        identity.validity?;
        Ok(identity.roles)
    }

    /// All the PEM texts of the definition, with the name of the field they stand in.
    pub(crate) fn pems(&self) -> impl Iterator<Item = (&'static str, &Pem)> {
        let lists = [
            ("root_certs", &self.root_certs),
            ("intermediate_certs", &self.intermediate_certs),
            ("admins", &self.admins),
            ("revocation_list", &self.revocation_list),
            ("tls_root_certs", &self.tls_root_certs),
            ("tls_intermediate_certs", &self.tls_intermediate_certs),
        ];
        lists.into_iter().flat_map(|(name, list)| list.iter().map(move |pem| (name, pem)))
    }
}

impl OuIdentifier {
    fn from_wire(wire: wire::FabricOuIdentifier) -> Self {
        let certificate = (!wire.certificate.is_empty()).then(|| Pem::new(wire.certificate));
        Self { certificate, unit: wire.organizational_unit_identifier }
    }

    fn to_wire(&self) -> wire::FabricOuIdentifier {
        wire::FabricOuIdentifier {
            certificate: self.certificate.as_ref().map(|pem| pem.bytes().to_vec()).unwrap_or_default(),
            organizational_unit_identifier: self.unit.clone(),
        }
    }
}
