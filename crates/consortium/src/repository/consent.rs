//! An organization's consent: `organizations/<name>/consent.sig`.
//!
//! The file is YAML with three keys: `formatVersion` (1), `certificate` (PEM, of the organization's configuration
//! administrator) and `signature` (base64 of ECDSA with SHA-256, DER, low S, as Fabric signs) over [`covered`]. What is
//! signed is the meaning of the organization's section and the digests of its files, not lines or commits: squash, rebase
//! and a merge in a browser leave it valid.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tenter_fabric::identity::{IdentityError, SigningIdentity};
use tenter_fabric::msp::{IdentityRefused, MspDefinition};
use tenter_fabric::x509::X509Error;

pub use super::administrator::Signer;
use super::administrator::{self, Refused};
use super::{OrganizationFolder, Repository, read};
use crate::channel_config::{Material, msp};
use crate::network::Network;

/// Separates these signatures from all others that the key may make.
const DOMAIN: &str = "tenter consent";
/// The format of the file and of what is signed.
const FORMAT: u32 = 1;
/// The file in an organization's folder.
pub const CONSENT: &str = "consent.sig";

/// Why a consent does not count, or cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsentError {
    /// There is no such organization in the definition.
    #[error("the definition has no organization {0}")]
    Unknown(String),
    /// There is no consent.
    #[error("{0} has no consent.sig: its configuration administrator gives it with `tenter consent`")]
    Absent(String),
    /// The file cannot be read.
    #[error("consent.sig cannot be read: {0}")]
    Unreadable(String),
    /// A format of a newer version.
    #[error("consent.sig has format {0}, which is not known to this version")]
    Format(u32),
    /// The certificate cannot be used.
    #[error("the certificate of consent.sig cannot be used")]
    Certificate(#[from] X509Error),
    /// The signer does not belong to the organization.
    #[error("{subject} signed consent.sig and is no identity of {organization}")]
    Stranger {
        /// Whose certificate.
        subject: String,
        /// Whose consent it should be.
        organization: String,
        /// Why not.
        #[source]
        source: IdentityRefused,
    },
    /// The signer is no administrator.
    #[error(
        "{subject} signed consent.sig and is no administrator of {organization}: an identity of role admin must sign"
    )]
    NotAnAdministrator {
        /// Whose certificate.
        subject: String,
        /// Whose consent it should be.
        organization: String,
    },
    /// The signature covers something else.
    #[error(
        "consent.sig of {organization} covers another section, other channels or other files than these: its configuration \
         administrator has to give it again with `tenter consent`"
    )]
    Covers {
        /// Whose consent it should be.
        organization: String,
    },
    /// The key does not sign.
    #[error("the consent cannot be signed")]
    Sign(#[from] IdentityError),
    /// The text could not be made.
    #[error("the consent cannot be written: {0}")]
    Write(String),
}

impl ConsentError {
    fn refused(refused: Refused, organization: &str) -> Self {
        let organization = organization.to_owned();
        match refused {
            Refused::Unreadable(why) => Self::Unreadable(why),
            Refused::Certificate(error) => Self::Certificate(error),
            Refused::Stranger { subject, source } => Self::Stranger { subject, organization, source },
            Refused::NotAnAdministrator { subject } => Self::NotAnAdministrator { subject, organization },
            Refused::Covers => Self::Covers { organization },
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Container {
    format_version: u32,
    certificate: String,
    signature: String,
}

/// The bytes that are signed: JSON with sorted keys of the consortium's name, the channels that the organization takes part
/// in, its section as written, and the digests of its folder's files.
pub fn covered(network: &Network, organization: &str, folder: &OrganizationFolder) -> Result<Vec<u8>, ConsentError> {
    let entry = network.organization(organization).ok_or_else(|| ConsentError::Unknown(organization.to_owned()))?;
    let channels: BTreeSet<&str> = network
        .channels
        .iter()
        .filter(|channel| channel.participants().contains(organization))
        .map(|channel| channel.name.as_str())
        .collect();
    let files: BTreeMap<&String, String> = folder
        .files
        .iter()
        .filter(|(path, _)| path.as_str() != CONSENT)
        .map(|(path, blob)| (path, hex::encode(Sha256::digest(&blob.0))))
        .collect();
    let document = json!({
        "domain": DOMAIN,
        "format": FORMAT,
        "consortium": network.name,
        "organization": organization,
        "channels": channels,
        "section": entry.entry,
        "files": files,
    });
    Ok(document.to_string().into_bytes())
}

/// Gives consent: the text of `consent.sig`.
pub fn sign(identity: &SigningIdentity, covered: &[u8]) -> Result<String, ConsentError> {
    let (certificate, signature) = administrator::sign(identity, covered)?;
    let container = Container { format_version: FORMAT, certificate, signature };
    serde_yaml::to_string(&container).map_err(|error| ConsentError::Write(error.to_string()))
}

/// Verifies an organization's consent at a time. `known` is the MSP that the organization has in a channel; a newcomer's
/// consent is held to the MSP that its folder brings.
pub fn verify(
    network: &Network,
    organization: &str,
    folder: &OrganizationFolder,
    known: Option<&MspDefinition>,
    at: Timestamp,
) -> Result<Signer, ConsentError> {
    let blob = folder.consent.as_ref().ok_or_else(|| ConsentError::Absent(organization.to_owned()))?;
    let unreadable = |error: String| ConsentError::Unreadable(error);
    let Container { format_version, certificate, signature } =
        serde_yaml::from_slice(&blob.0).map_err(|error| unreadable(error.to_string()))?;
    if format_version != FORMAT {
        return Err(ConsentError::Format(format_version));
    }
    let own;
    let definition = if let Some(definition) = known {
        definition
    } else {
        let msp_id = network.organization(organization).map(|entry| entry.msp_id.as_str()).unwrap_or_default();
        own = folder_msp(organization, msp_id, folder).map_err(unreadable)?;
        &own
    };
    let covered = covered(network, organization, folder)?;
    administrator::verify(definition, (&certificate, &signature), &covered, at)
        .map_err(|refused| ConsentError::refused(refused, organization))
}

/// The MSP that an organization's folder brings.
pub fn folder_msp(organization: &str, msp_id: &str, folder: &OrganizationFolder) -> Result<MspDefinition, String> {
    let msps = folder.msp.clone().map(|msp| (organization.to_owned(), msp)).into_iter().collect();
    msp(organization, msp_id, &Material { msps, consenters: Vec::new() })
}

/// The organizations whose consent verifies. `known` are the MSPs that channels have, by organization.
pub fn consented(network: &Network, known: &BTreeMap<String, MspDefinition>, at: Timestamp) -> BTreeSet<String> {
    let (Repository { organizations, .. }, _) = read(&network.repository.members);
    let verifies = |name: &str, folder: &OrganizationFolder| verify(network, name, folder, known.get(name), at).is_ok();
    organizations.into_iter().filter(|(name, folder)| verifies(name, folder)).map(|(name, _)| name).collect()
}
