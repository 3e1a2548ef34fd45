//! `tenter genesis`: the genesis block of a channel, computed from the definition repository.

use std::path::{Path, PathBuf};

use tenter_consortium::document::{RepositoryFacts, Snapshot};
use tenter_consortium::network::Network;
use tenter_consortium::repository::{self, Founded, GenesisNote};
use tenter_fabric::genesis::GenesisFormat;

use super::definition::Located;
use super::exit::Exit;
use super::outcome::{CliError, Outcome, Verbatim};
use crate::nodes::chain;
use crate::source::{folder, mirror};

/// Compute a channel's genesis block from the definition repository.
///
/// Writes channels/CHANNEL/genesis.pb, and beside it genesis.yaml with the commit that it was made from. Only what is
/// committed counts. With --check nothing is written: the block that is there is computed again and compared.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter genesis settlement\n  tenter genesis settlement --check")]
pub struct Args {
    /// The channel
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The folder that holds network.yaml, in a work tree of the repository
    #[arg(value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// Compare the block that is there, and write nothing
    #[arg(long, env = "TENTER_CHECK", hide_env_values = true)]
    check: bool,
}

/// The definition of a snapshot.
fn network(snapshot: &Snapshot, commits: &[(String, Snapshot)]) -> Result<Network, CliError> {
    let facts = RepositoryFacts {
        members: snapshot.members.clone(),
        commits: commits.iter().cloned().collect(),
        ..RepositoryFacts::default()
    };
    let located =
        Located { name: "network.yaml".to_owned(), bytes: snapshot.definition.0.clone(), facts, revision: None };
    super::definition::load(&located)
}

/// Computes, and writes or compares.
pub fn run(args: &Args) -> Result<Outcome, CliError> {
    let Args { channel, path, check } = args;
    let refused = |error: &dyn std::error::Error| CliError::plain(Exit::Failure, chain(error));
    let (commit, snapshot) = mirror::checked_out(path, "network.yaml")?;
    if *check {
        let members = folder::facts(&path.join("network.yaml"), &[]).members;
        let pinned = repository::read(&members).0.channels.remove(channel);
        let earlier = pinned.map(|pinned| pinned.note.commit);
        let earlier =
            earlier.and_then(|commit| Some((commit.clone(), mirror::at_commit(path, "network.yaml", &commit).ok()?)));
        let network = network(&Snapshot { members, ..snapshot }, &earlier.into_iter().collect::<Vec<_>>())?;
        let founded = repository::founding(&network, channel).map_err(|error| refused(&error))?;
        let text = format!("{} is what the definition gives: {}\n", repository::genesis_path(channel), founded.hash);
        return Ok(Outcome::shown(Verbatim(text)));
    }
    let network = network(&snapshot, &[])?;
    let folders = repository::read(&snapshot.members).0;
    let founded =
        repository::compute(&network, &folders, channel, GenesisFormat::LATEST).map_err(|error| refused(&error))?;
    write(path, channel, commit, &founded)?;
    let text = format!("wrote {}: {}; commit it\n", repository::genesis_path(channel), founded.hash);
    Ok(Outcome::shown(Verbatim(text)))
}

fn write(root: &Path, channel: &str, commit: String, founded: &Founded) -> Result<(), CliError> {
    let note = GenesisNote { format_version: founded.format, commit, block_hash: founded.hash.clone() };
    let text = serde_yaml::to_string(&note).map_err(|error| CliError::plain(Exit::Failure, error.to_string()))?;
    save(&root.join(repository::genesis_path(channel)), &founded.block)?;
    save(&root.join(repository::note_path(channel)), text.as_bytes())
}

/// Writes a file, and the folders that lead to it.
pub fn save(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, bytes))
        .map_err(|error| CliError::plain(Exit::Failure, format!("cannot write {}: {error}", path.display())))
}
