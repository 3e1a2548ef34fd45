//! `tenter consent`: an organization's consent, signed by its configuration administrator.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tenter_consortium::document::Blob;
use tenter_consortium::repository::{self, consent, organization_path};
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric::keys::SecretKey;

use super::definition::{load, read_local};
use super::exit::Exit;
use super::genesis::save;
use super::outcome::{CliError, Outcome, Verbatim};
use crate::nodes::chain;

/// Give an organization's consent to what the definition says of it.
///
/// Writes organizations/ORGANIZATION/consent.sig: a signature over the consortium's name, the channels that the
/// organization takes part in, its section of network.yaml and its folder. Needs no cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter consent acme --key admin-key.pem --cert admin.pem")]
pub struct Args {
    /// The organization
    #[arg(value_name = "ORGANIZATION")]
    organization: String,
    /// The folder that holds network.yaml
    #[arg(value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// File with the key of the configuration administrator, PEM
    #[arg(long, env = "TENTER_KEY", hide_env_values = true, value_name = "FILE")]
    key: PathBuf,
    /// File with its certificate, PEM
    #[arg(long, env = "TENTER_CERT", hide_env_values = true, value_name = "FILE")]
    cert: PathBuf,
}

/// Signs, and writes what verifies.
pub fn run(args: &Args) -> Result<Outcome, CliError> {
    let Args { organization, path, key, cert } = args;
    let refused = |error: &dyn std::error::Error| CliError::plain(Exit::Failure, chain(error));
    let network = load(&read_local(path)?)?;
    let Some(entry) = network.organization(organization) else {
        return Err(CliError::plain(Exit::Usage, format!("the definition has no organization {organization}")));
    };
    let folders = repository::read(&network.repository.members).0;
    let folder = folders.organizations.get(organization).cloned();
    let mut folder = folder.filter(|folder| folder.msp.is_some()).ok_or_else(|| {
        let message = format!("{}/msp is not there, or is not whole", organization_path(organization));
        CliError::new(Exit::Failure, message, format!("tenter export {organization} --to {} writes it", path.display()))
    })?;
    let key = SecretKey::from_pem(text(key)?);
    let identity = SigningIdentity::load(&entry.msp_id, &text(cert)?, &key).map_err(|error| refused(&error))?;
    let covered = consent::covered(&network, organization, &folder).map_err(|error| refused(&error))?;
    let signed = consent::sign(&identity, &covered).map_err(|error| refused(&error))?;
    folder.consent = Some(Blob(signed.clone().into_bytes()));
    // A consent that nobody would take is not written.
    consent::verify(&network, organization, &folder, None, Timestamp::now()).map_err(|error| refused(&error))?;
    let file = format!("{}/{}", organization_path(organization), consent::CONSENT);
    save(&root(path).join(&file), signed.as_bytes())?;
    Ok(Outcome::shown(Verbatim(format!("wrote {file}; commit it\n"))))
}

/// The folder that the definition stands in.
fn root(path: &Path) -> PathBuf {
    if path.is_dir() { path.to_owned() } else { path.parent().unwrap_or(Path::new(".")).to_owned() }
}

fn text(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path)
        .map_err(|error| CliError::plain(Exit::Usage, format!("cannot read {}: {error}", path.display())))
}
