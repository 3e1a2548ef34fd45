//! `tenter export`: an organization's folder for the definition repository, out of the cluster.

use std::path::PathBuf;

use tenter_consortium::channel_config::{ConsenterMaterial, MspMaterial};
use tenter_consortium::objects::{ConsenterRef, LABEL_CONSORTIUM, LABEL_ORGANIZATION};
use tenter_consortium::observation::Observation;
use tenter_consortium::repository::{files, organization_path};

use super::args::Global;
use super::cluster::{Cluster, refused};
use super::exit::Exit;
use super::genesis::save;
use super::outcome::{CliError, Outcome, Verbatim};
use crate::controllers::apply;
use crate::controllers::channel::material::{consenter, own_msp};
use crate::controllers::labels::MSP;
use crate::resources::{Orderer, Organization};

/// Write an organization's folder for the definition repository.
///
/// The folder holds the public MSP and the certificates of the organization's orderers. Keys never leave the cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter export acme --to .")]
pub struct Args {
    /// The organization
    #[arg(value_name = "ORGANIZATION")]
    organization: String,
    /// Root of the definition repository: the folder is organizations/ORGANIZATION in it
    #[arg(long, env = "TENTER_TO", hide_env_values = true, value_name = "FOLDER", default_value = ".")]
    to: PathBuf,
}

/// Reads and writes.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let Args { organization, to } = args;
    let cluster = Cluster::connect(global).await?;
    let consortium = cluster.required_consortium(global).await?;
    let (ctx, store) = (&cluster.engine.ctx, cluster.engine.nodes.store());
    let failed = |message: String| CliError::plain(Exit::Failure, message);
    let object = apply::get::<Organization>(ctx, &global.namespace, &organization)
        .await
        .map_err(|failure| refused(&failure))?
        .ok_or_else(|| failed(format!("namespace {} has no Organization {organization}", global.namespace)))?;
    let msp: MspMaterial = match own_msp(store, &organization, &object.spec.namespace).await {
        Ok(msp) => msp,
        // Whether that was refused, or nobody answered, its gaps do not say.
        Err(message) => {
            let exit = match store.config_map(&object.spec.namespace, MSP).await {
                Observation::Forbidden { .. } => Exit::Unauthorised,
                Observation::Unreachable { .. } => Exit::Unreachable,
                Observation::Present { .. } | Observation::Absent { .. } => Exit::Failure,
            };
            return Err(CliError::plain(exit, message));
        }
    };
    let name = consortium.metadata.name.unwrap_or_default();
    let labels = format!("{LABEL_CONSORTIUM}={name},{LABEL_ORGANIZATION}={organization}");
    let orderers = apply::list::<Orderer>(ctx, &object.spec.namespace, &labels);
    let orderers = orderers.await.map_err(|failure| refused(&failure))?;
    let mut certificates: Vec<(String, ConsenterMaterial)> = Vec::new();
    for orderer in orderers {
        let reference = ConsenterRef {
            organization: organization.clone(),
            namespace: object.spec.namespace.clone(),
            orderer: orderer.metadata.name.unwrap_or_default(),
            address: orderer.spec.address.clone(),
        };
        let material = consenter(store, &reference).await.map_err(failed)?;
        certificates.push((reference.orderer, material));
    }
    let base = organization_path(&organization);
    let written = files(&object.spec.msp_id, &msp, &certificates).map_err(failed)?;
    for (path, bytes) in &written {
        save(&to.join(&base).join(path), bytes)?;
    }
    let count = crate::report::count(written.len(), "file");
    Ok(Outcome::shown(Verbatim(format!("wrote {count} to {base}; look at them and commit them\n"))))
}
