//! `tenter snapshot`: what a plan needs to know of the world, signed, for those who have no cluster.

use std::path::Path;

use tenter_consortium::snapshot::{SignedSnapshot, Snapshot, SnapshotError};

use super::args::Global;
use super::cluster::Cluster;
use super::exit::Exit;
use super::outcome::{CliError, Outcome, Verbatim};
use super::plan::{DefinitionArgs, Inputs};
use crate::source::MAX_SNAPSHOT_BYTES;
use crate::sync::publish::signed;

/// Print a signed snapshot of the state, for tenter plan --snapshot.
///
/// It holds what the definition and the channels' configurations say: no keys, no texts of errors, no signatures. It is signed by
/// the reader of one of the organizations that this account can act for. A daemon serves the same at /snapshots/CONSORTIUM.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tenter snapshot --consortium trade . > snapshot.json
  tenter plan --snapshot snapshot.json --snapshot-roots organizations/acme/msp/cacerts/ca.pem .")]
pub struct Args {
    #[command(flatten)]
    definition: DefinitionArgs,
}

/// Takes one.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let cluster = Cluster::connect(global).await?;
    let consortium = cluster.consortium(global).await?;
    let Inputs { located, network, settings } =
        args.definition.inputs(global, Some(&cluster), consortium.as_ref()).await?;
    let look = cluster.engine.look(&network, &settings, located.revision.as_deref()).await;
    let signed = signed(&cluster.engine, &look, cluster.engine.ctx.now()).await.map_err(|why| {
        let hint =
            "the account must read the Secret identity-reader of one organization: deploy/README.md lists the rights";
        CliError::new(Exit::Unauthorised, why, hint)
    })?;
    Ok(Outcome::shown(Verbatim(format!("{signed}\n"))))
}

/// Reads a snapshot that somebody signed whom the roots vouch for; the snapshot and the signer.
pub fn read(path: &Path, roots: &Path) -> Result<(Snapshot, String), CliError> {
    let bytes = |path: &Path| {
        let size = std::fs::metadata(path).map(|found| found.len());
        match size {
            Ok(size) if size > MAX_SNAPSHOT_BYTES => Err(format!("it has {size} bytes")),
            Ok(_) => std::fs::read(path).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
        .map_err(|why| CliError::plain(Exit::Usage, format!("cannot read {}: {why}", path.display())))
    };
    let roots = String::from_utf8_lossy(&bytes(roots)?).into_owned();
    let read = SignedSnapshot::read(&bytes(path)?).and_then(|signed| signed.verify(&roots));
    read.map_err(|error| {
        let exit = if matches!(error, SnapshotError::Signature(_)) { Exit::Unauthorised } else { Exit::Usage };
        let hint = "--snapshot-roots names the enrolment roots of the organization that signed it, as its MSP has them";
        CliError::new(exit, format!("the snapshot {} is not used: {error}", path.display()), hint)
    })
}
