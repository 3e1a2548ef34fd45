//! The genesis block of a channel as the repository's folders give it, and whether the pinned one is that.

use std::collections::BTreeSet;

use tenter_fabric::genesis::{GenesisFormat, GenesisInputs, verify_pinned};

use super::{Repository, genesis_path, organization_path, read, refusal};
use crate::channel_config::{ConsenterMaterial, Material, chain, first_config, genesis_in};
use crate::desired::channel_spec;
use crate::document::{RepositoryFacts, load};
use crate::network::Network;
use crate::objects::ChannelSpec;

/// A genesis block that follows from the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founded {
    /// The block.
    pub block: Vec<u8>,
    /// Its header hash, hex.
    pub hash: String,
    /// Number of the format that it was made in.
    pub format: u32,
}

/// Why a channel has no genesis block that may be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotFounded {
    /// There is no such channel.
    #[error("the definition has no channel {0}")]
    Unknown(String),
    /// No block is pinned.
    #[error("{path} is not there: run `tenter genesis {0}` and commit what it writes", path = genesis_path(.0))]
    Unpinned(String),
    /// Files are missing.
    #[error("{}", list(.0))]
    Missing(Vec<(String, String)>),
    /// The definition at the commit that the block was made from cannot be used.
    #[error("the definition of commit {commit} has errors: {why}")]
    Definition {
        /// The commit.
        commit: String,
        /// The first error.
        why: String,
    },
    /// The inputs give no block.
    #[error("no genesis block can be made: {0}")]
    Refused(String),
    /// The pinned block is another one.
    #[error("{0}")]
    Differs(String),
}

fn list(missing: &[(String, String)]) -> String {
    missing.iter().map(|(what, owner)| format!("{what} is missing (from {owner})")).collect::<Vec<_>>().join("; ")
}

/// The material of a channel, out of the folders alone; or what is missing, and whose it is.
pub fn material(spec: &ChannelSpec, repository: &Repository) -> Result<Material, Vec<(String, String)>> {
    let mut material = Material::default();
    let mut missing = BTreeSet::new();
    let orderers = spec.orderer_organizations.iter().map(|entry| &entry.organization);
    for organization in orderers.chain(spec.members.iter().map(|member| &member.organization)) {
        let folder = repository.organizations.get(organization);
        if let Some(msp) = folder.and_then(|folder| folder.msp.clone()) {
            material.msps.insert(organization.clone(), msp);
        } else {
            let has = |part: &str| {
                folder.is_some_and(|folder| folder.files.keys().any(|path| path.starts_with(&format!("msp/{part}"))))
            };
            let parts = ["cacerts", "tlscacerts", "config.yaml"];
            let what = parts.into_iter().find(|part| !has(part)).map_or_else(String::new, |part| format!("/{part}"));
            missing.insert((format!("{}/msp{what}", organization_path(organization)), organization.clone()));
        }
    }
    for consenter in &spec.consensus.consenters {
        let folder = repository.organizations.get(&consenter.organization);
        let found = folder.and_then(|folder| folder.orderers.get(&consenter.orderer)).cloned();
        if found.is_none() {
            let has = |file: &str| folder.is_some_and(|folder| folder.files.contains_key(file));
            let tls = format!("orderers/{}/tls.crt", consenter.orderer);
            let file = if has(&tls) { format!("orderers/{}/identity.crt", consenter.orderer) } else { tls };
            let what = format!("{}/{file}", organization_path(&consenter.organization));
            missing.insert((what, consenter.organization.clone()));
        }
        material.consenters.push(found.unwrap_or_else(ConsenterMaterial::default));
    }
    if missing.is_empty() { Ok(material) } else { Err(missing.into_iter().collect()) }
}

/// Computes the genesis block of a channel out of the folders.
pub fn compute(
    network: &Network,
    repository: &Repository,
    channel: &str,
    format: GenesisFormat,
) -> Result<Founded, NotFounded> {
    let (spec, material) = inputs(network, repository, channel)?;
    let block = genesis_in(&spec, &material, format).map_err(NotFounded::Refused)?;
    Ok(Founded { hash: hex::encode(block.header_hash()), block: block.into_bytes(), format: format.number() })
}

fn inputs(network: &Network, repository: &Repository, channel: &str) -> Result<(ChannelSpec, Material), NotFounded> {
    let entry = network.channel(channel).ok_or_else(|| NotFounded::Unknown(channel.to_owned()))?;
    let spec = channel_spec(network, "", entry);
    let material = material(&spec, repository).map_err(NotFounded::Missing)?;
    for organization in material.msps.keys().filter_map(|name| network.organization(name)) {
        let folder = repository.organizations.get(&organization.name);
        if let Some(why) = folder.and_then(|folder| refusal(network, organization, folder)) {
            return Err(NotFounded::Refused(why));
        }
    }
    Ok((spec, material))
}

/// Who took part in a channel when its pinned genesis block was made; `None` where that is not known.
pub(super) fn founders(network: &Network, repository: &Repository, channel: &str) -> Option<BTreeSet<String>> {
    let note = &repository.channels.get(channel)?.note;
    let snapshot = network.repository.commits.get(&note.commit)?;
    let then = load(&snapshot.definition.0, "network.yaml", &RepositoryFacts::default()).network?;
    Some(then.channel(channel)?.participants().into_iter().map(str::to_owned).collect())
}

/// The pinned genesis block of a channel, if it is the one that follows from the commit that it names. Where that commit
/// is not known, as in a folder without history or after a squash, it must follow from the definition as it is now.
pub fn founding(network: &Network, channel: &str) -> Result<Founded, NotFounded> {
    let (repository, _) = read(&network.repository.members);
    let Some(pinned) = repository.channels.get(channel) else {
        // What is missing for a block says more than that there is none.
        inputs(network, &repository, channel)?;
        return Err(NotFounded::Unpinned(channel.to_owned()));
    };
    let differs = |why: String| NotFounded::Differs(format!("{}: {why}", genesis_path(channel)));
    let number = pinned.note.format_version;
    let format = GenesisFormat::from_number(number)
        .ok_or_else(|| differs(format!("format {number} is not known to this version: use a newer Tenter")))?;
    let (spec, material) = match network.repository.commits.get(&pinned.note.commit) {
        None => inputs(network, &repository, channel)?,
        Some(snapshot) => {
            let facts = RepositoryFacts { members: snapshot.members.clone(), ..RepositoryFacts::default() };
            let loaded = load(&snapshot.definition.0, "network.yaml", &facts);
            let Some(then) = loaded.network else {
                let why = loaded.diagnostics.first().map(ToString::to_string).unwrap_or_default();
                return Err(NotFounded::Definition { commit: pinned.note.commit.clone(), why });
            };
            inputs(&then, &read(&snapshot.members).0, channel)?
        }
    };
    let config = first_config(&spec, &material).map_err(NotFounded::Refused)?;
    verify_pinned(&pinned.block.0, &GenesisInputs { channel_id: channel, config: &config, format })
        .map_err(|difference| differs(chain(&difference)))?;
    Ok(Founded { block: pinned.block.0.clone(), hash: pinned.note.block_hash.clone(), format: number })
}
