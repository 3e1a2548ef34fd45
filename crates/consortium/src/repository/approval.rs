//! Approvals of steps that cannot be undone: `approvals/<hash>/<organization>.yaml`, one file of one organization for one
//! plan.
//!
//! The file is YAML: `formatVersion` (1), `hash` (of the plan that was looked at), `organization`, `reason`, `expires` (RFC
//! 3339), `steps` (the digest of each step that is approved, with what it was called), `certificate` (PEM, of an
//! administrator of the organization) and `signature` (as in [`super::consent`]) over [`Approval::covered`].
//!
//! The plan's hash covers its commit, and a file that is added makes another commit: so the hash says which plan was looked
//! at, and the digests are what counts. They say what is done that cannot be undone, to what, in which consortium. An
//! approval ends, because the same step may come again one day.
//!
//! The files stand beside the organizations' folders and not in them: what is added there would void the consent of the
//! organization. Whoever may commit may add or remove one; only a signature makes it count.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tenter_fabric::identity::{IdentityError, SigningIdentity};
use tenter_fabric::msp::{IdentityRefused, MspDefinition};
use tenter_fabric::x509::X509Error;

use super::administrator::{self, Refused, Signer};
use super::{Repository, consent, read};
use crate::channel_config::chain;
use crate::diagnostic::quoted;
use crate::document::{Blob, MemberFiles};
use crate::network::Network;
use crate::plan::{Note, NoteLevel};
use crate::settings::organization_allowed;

/// Separates these signatures from all others that the key may make.
const DOMAIN: &str = "tenter approval";
/// The format of the file and of what is signed.
const FORMAT: u32 = 1;
/// The folder of the repository that holds them.
pub const APPROVALS: &str = "approvals";
/// Most characters of a reason.
pub const MAX_REASON: usize = 400;
/// Hexadecimal digits of a plan's hash.
const HASH_DIGITS: usize = 64;

/// Why an approval does not count, or cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApprovalError {
    /// There is no such organization in the definition.
    #[error("the definition has no organization {0}: whose approval it is cannot be told")]
    Unknown(String),
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// A format of a newer version.
    #[error("it has format {0}, which is not known to this version")]
    Format(u32),
    /// The file stands at the place of another one.
    #[error("it is the approval of {organization} for plan {hash}: it belongs at {}", path(hash, organization))]
    Misplaced {
        /// The plan that it names.
        hash: String,
        /// The organization that it names.
        organization: String,
    },
    /// Nobody knows by which certificates the organization is known.
    #[error(
        "it cannot be verified: the repository has no organizations/{0}/msp that can be used, and nothing else says by which \
         certificates {0} is known"
    )]
    NoMsp(String),
    /// The organization is known, and by what cannot be read.
    #[error("it cannot be verified: the certificates by which {0} is known cannot be read")]
    Unread(String),
    /// The certificate cannot be used.
    #[error("its certificate cannot be used")]
    Certificate(#[from] X509Error),
    /// The signer does not belong to the organization.
    #[error("{subject} signed it and is no identity of {organization}")]
    Stranger {
        /// Whose certificate.
        subject: String,
        /// Whose approval it should be.
        organization: String,
        /// Why not.
        #[source]
        source: IdentityRefused,
    },
    /// The signer is no administrator.
    #[error("{subject} signed it and is no administrator of {organization}: an identity of role admin must sign")]
    NotAnAdministrator {
        /// Whose certificate.
        subject: String,
        /// Whose approval it should be.
        organization: String,
    },
    /// The signature covers something else.
    #[error(
        "its signature covers something else: another plan, other steps, another consortium, or a text that was changed since"
    )]
    Covers,
    /// Its time is over.
    #[error("it ended on {0}")]
    Expired(Timestamp),
    /// The key does not sign.
    #[error("the approval cannot be signed")]
    Sign(#[from] IdentityError),
    /// The text could not be made.
    #[error("the approval cannot be written: {0}")]
    Write(String),
}

impl ApprovalError {
    fn refused(refused: Refused, organization: &str) -> Self {
        let organization = organization.to_owned();
        match refused {
            Refused::Unreadable(why) => Self::Unreadable(why),
            Refused::Certificate(error) => Self::Certificate(error),
            Refused::Stranger { subject, source } => Self::Stranger { subject, organization, source },
            Refused::NotAnAdministrator { subject } => Self::NotAnAdministrator { subject, organization },
            Refused::Covers => Self::Covers,
        }
    }
}

/// What an organization approves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The hash of the plan that was looked at.
    pub hash: String,
    /// The organization.
    pub organization: String,
    /// Why, in a line.
    pub reason: String,
    /// Until when it counts.
    pub expires: Timestamp,
    /// The digest of each step that is approved, and what it was called.
    pub steps: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Container {
    format_version: u32,
    hash: String,
    organization: String,
    #[serde(default)]
    reason: String,
    expires: Timestamp,
    steps: BTreeMap<String, String>,
    certificate: String,
    signature: String,
}

/// Where an approval stands.
pub fn path(hash: &str, organization: &str) -> String {
    format!("{APPROVALS}/{hash}/{organization}.yaml")
}

/// Whether a text is the hash of a plan.
pub(super) fn is_hash(text: &str) -> bool {
    text.len() == HASH_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Approval {
    /// The bytes that are signed: JSON with sorted keys of the consortium's name and all that the approval says.
    pub fn covered(&self, network: &Network) -> Vec<u8> {
        let Self { hash, organization, reason, expires, steps } = self;
        let document = json!({
            "domain": DOMAIN,
            "format": FORMAT,
            "consortium": network.name,
            "hash": hash,
            "organization": organization,
            "reason": reason,
            "expires": expires.to_string(),
            "steps": steps,
        });
        document.to_string().into_bytes()
    }

    /// Gives it: the text of the file.
    pub fn sign(self, network: &Network, identity: &SigningIdentity) -> Result<String, ApprovalError> {
        self.check()?;
        let (certificate, signature) = administrator::sign(identity, &self.covered(network))?;
        let Self { hash, organization, reason, expires, steps } = self;
        let format_version = FORMAT;
        let container =
            Container { format_version, hash, organization, reason, expires, steps, certificate, signature };
        serde_yaml::to_string(&container).map_err(|error| ApprovalError::Write(error.to_string()))
    }

    /// What it says must be able to mean something.
    fn check(&self) -> Result<(), ApprovalError> {
        let wrong = |why: String| Err(ApprovalError::Unreadable(why));
        if !is_hash(&self.hash) {
            return wrong(format!(
                "{} is no hash of a plan: {HASH_DIGITS} small hexadecimal digits",
                quoted(&self.hash)
            ));
        }
        if self.steps.is_empty() {
            return wrong("it names no step".to_owned());
        }
        if self.reason.chars().count() > MAX_REASON {
            return wrong(format!("its reason has more than {MAX_REASON} characters"));
        }
        if self.reason.chars().any(char::is_control) {
            return wrong("its reason is not one line of text".to_owned());
        }
        Ok(())
    }
}

/// Verifies the approval at a place. `known` is the MSP that the organization is known by; without one it is held to that of
/// its folder.
pub fn verify(
    network: &Network,
    repository: &Repository,
    (hash, organization): (&str, &str),
    known: Option<&MspDefinition>,
    at: Timestamp,
) -> Result<(Approval, Signer), ApprovalError> {
    let unreadable = |error: String| ApprovalError::Unreadable(error);
    let place = (hash.to_owned(), organization.to_owned());
    let blob = repository.approvals.get(&place).ok_or_else(|| unreadable("there is no such file".to_owned()))?;
    let (approval, certificate, signature) = parse(blob)?;
    if approval.hash != hash || approval.organization != organization {
        return Err(ApprovalError::Misplaced { hash: approval.hash, organization: approval.organization });
    }
    let entry = network.organization(organization).ok_or_else(|| ApprovalError::Unknown(organization.to_owned()))?;
    let own;
    let msp = if let Some(known) = known {
        known
    } else {
        let folder = repository.organizations.get(organization).filter(|folder| folder.msp.is_some());
        let made = folder.and_then(|folder| consent::folder_msp(organization, &entry.msp_id, folder).ok());
        own = made.ok_or_else(|| ApprovalError::NoMsp(organization.to_owned()))?;
        &own
    };
    let covered = approval.covered(network);
    let signer = administrator::verify(msp, (&certificate, &signature), &covered, at)
        .map_err(|refused| ApprovalError::refused(refused, organization))?;
    if approval.expires <= at {
        return Err(ApprovalError::Expired(approval.expires));
    }
    Ok((approval, signer))
}

/// The approval in a file, the certificate and the signature.
fn parse(blob: &Blob) -> Result<(Approval, String, String), ApprovalError> {
    let container: Container =
        serde_yaml::from_slice(&blob.0).map_err(|error| ApprovalError::Unreadable(error.to_string()))?;
    let Container { format_version, hash, organization, reason, expires, steps, certificate, signature } = container;
    if format_version != FORMAT {
        return Err(ApprovalError::Format(format_version));
    }
    let approval = Approval { hash, organization, reason, expires, steps };
    approval.check()?;
    Ok((approval, certificate, signature))
}

/// An approval that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotGiven {
    /// The file.
    pub path: String,
    /// Why.
    pub error: ApprovalError,
}

impl NotGiven {
    /// What a reader of a plan is told.
    pub fn note(&self) -> Note {
        let message = format!("it does not count: {}", chain(&self.error));
        Note { level: NoteLevel::Warning, code: "NotApproved".to_owned(), subject: self.path.clone(), message }
    }
}

/// The approvals that count at a time, and those that do not. `known` are the MSPs that organizations are known by.
pub fn given(
    network: &Network,
    known: &BTreeMap<String, MspDefinition>,
    at: Timestamp,
) -> (Vec<Approval>, Vec<NotGiven>) {
    let (mut given, mut not) = (Vec::new(), Vec::new());
    if !any(&network.repository.members) {
        return (given, not);
    }
    let repository = read(&network.repository.members).0;
    for (hash, organization) in repository.approvals.keys() {
        match verify(network, &repository, (hash, organization), known.get(organization), at) {
            Ok((approval, _)) => given.push(approval),
            Err(error) => not.push(NotGiven { path: path(hash, organization), error }),
        }
    }
    (given, not)
}

/// Whether there are files of approvals at all.
pub fn any(members: &MemberFiles) -> bool {
    members.files.keys().any(|path| path.split('/').next() == Some(APPROVALS))
}

/// The organizations that approved a step, by its digest: those whose approval counts by the names or `*` of a daemon's
/// settings, and the others.
pub fn who<'a>(approvals: &'a [Approval], digest: &str, counted: &[String]) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
    let names = approvals.iter().filter(|approval| approval.steps.contains_key(digest));
    names.map(|approval| approval.organization.as_str()).partition(|name| organization_allowed(name, counted))
}
