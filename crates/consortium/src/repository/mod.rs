//! What the repository holds of the members beside the definition: `organizations/<name>/`, the public material of one,
//! `channels/<name>/`, a pinned genesis block, and `approvals/<hash>/`, approvals of a plan.
//!
//! | path | what it is |
//! |---|---|
//! | `organizations/<name>/msp/` | the public MSP, in Fabric's folder form |
//! | `organizations/<name>/orderers/<node>/tls.crt`, `identity.crt` | certificates of an ordering service node |
//! | `organizations/<name>/consent.sig` | the organization's consent, see [`consent`] |
//! | `channels/<name>/genesis.pb` | the pinned genesis block |
//! | `channels/<name>/genesis.yaml` | what it was made from, see [`GenesisNote`] |
//! | `approvals/<hash>/<organization>.yaml` | the organization's approval of what a plan cannot undo, see [`approval`] |
//!
//! Everything here is written by others. What cannot be used is named, and counts as missing.

mod administrator;
pub mod approval;
mod check;
pub mod consent;
mod founding;
pub mod material;
mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use check::{check, refusal};
pub use founding::{Founded, NotFounded, compute, founding, material as material_of};
pub use material::files;
pub use read::read;

use crate::channel_config::{ConsenterMaterial, MspMaterial};
use crate::document::Blob;
use crate::rules::RuleId;

/// What the repository holds of the members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repository {
    /// The folders in `organizations/`, by name.
    pub organizations: BTreeMap<String, OrganizationFolder>,
    /// The pinned genesis blocks, by channel; only whole ones.
    pub channels: BTreeMap<String, PinnedGenesis>,
    /// The files of approvals, by the plan's hash and the organization. Nothing is verified of them yet.
    pub approvals: BTreeMap<(String, String), Blob>,
}

/// An organization's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationFolder {
    /// All its files, by their path in it.
    pub files: BTreeMap<String, Blob>,
    /// The public MSP, if it is whole.
    pub msp: Option<MspMaterial>,
    /// Certificates of its ordering service nodes that have both.
    pub orderers: BTreeMap<String, ConsenterMaterial>,
    /// The bytes of `consent.sig`.
    pub consent: Option<Blob>,
}

/// A pinned genesis block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedGenesis {
    /// The block.
    pub block: Blob,
    /// What it was made from.
    pub note: GenesisNote,
}

/// `channels/<name>/genesis.yaml`: what a pinned genesis block was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisNote {
    /// Number of the format, see `tenter_fabric::genesis::GenesisFormat`.
    pub format_version: u32,
    /// The commit with the definition and the folders, full hex.
    pub commit: String,
    /// Header hash of the block, hex.
    pub block_hash: String,
}

/// Something that is wrong with the files of the members.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file or folder.
    pub path: String,
    /// The rule that it breaks.
    pub rule: RuleId,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

/// The folder of an organization.
pub fn organization_path(organization: &str) -> String {
    format!("organizations/{organization}")
}

/// The pinned genesis block of a channel.
pub fn genesis_path(channel: &str) -> String {
    format!("channels/{channel}/genesis.pb")
}

/// What the pinned genesis block of a channel was made from.
pub fn note_path(channel: &str) -> String {
    format!("channels/{channel}/genesis.yaml")
}
