//! `tenter approve`: a person agrees to what cannot be undone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tenter_consortium::document::Blob;
use tenter_consortium::network::Network;
use tenter_consortium::plan::{Plan, PlannedStep};
use tenter_consortium::planner::approvals;
use tenter_consortium::repository::approval::{self, Approval};
use tenter_fabric::identity::SigningIdentity;
use tenter_fabric::keys::SecretKey;

use super::args::Global;
use super::cluster::{Cluster, failed};
use super::exit::Exit;
use super::genesis::save;
use super::outcome::{CliError, Outcome, Report};
use super::plan::{DefinitionArgs, FromSnapshot, Inputs, from_snapshot};
use crate::nodes::chain;
use crate::report::plan::headline;
use crate::report::{Style, count, printable};
use crate::resources::Consortium;
use crate::sync::known::{self, Known};

/// Fewest digits of a hash that say which plan is meant.
const LEAST: usize = 12;

/// Approve the steps of a plan that cannot be undone.
///
/// Where the Consortium's spec.approvals.required is true, steps that cannot be undone wait until a person approved them. HASH is the
/// plan's (tenter plan shows it): when the world has moved since, nothing is approved. Who may edit the Consortium may approve.
///
/// With --key the approval is a file for the pull request instead, approvals/HASH/ORGANIZATION.yaml, signed with the key of an
/// administrator of that organization. A daemon counts it if its Consortium's spec.approvals.organizations names the organization.
/// With --snapshot that needs no cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tenter approve --consortium trade 0123456789ab
  tenter approve --consortium trade 0123456789ab .
  tenter approve 0123456789ab --organization acme --key admin.key --cert admin.crt --snapshot snapshot.json \\
    --snapshot-roots organizations/acme/msp/cacerts/ca.pem .")]
pub struct Args {
    /// The plan's hash, or its first twelve digits or more
    #[arg(value_name = "HASH")]
    hash: String,
    #[command(flatten)]
    definition: DefinitionArgs,
    #[command(flatten)]
    file: FileArgs,
}

/// An approval as a signed file.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Approval as a signed file")]
struct FileArgs {
    /// The organization that approves
    #[arg(long, env = "TENTER_ORGANIZATION", hide_env_values = true, value_name = "NAME")]
    organization: Option<String>,
    /// File with the key of an administrator of the organization, PEM
    #[arg(long, env = "TENTER_KEY", hide_env_values = true, value_name = "FILE", requires_all = ["cert", "organization"])]
    key: Option<PathBuf>,
    /// File with its certificate, PEM
    #[arg(long, env = "TENTER_CERT", hide_env_values = true, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Why, in a line
    #[arg(long, env = "TENTER_REASON", hide_env_values = true, value_name = "TEXT", default_value = "")]
    reason: String,
    /// How long the approval counts: 12h, 30d
    #[arg(long, env = "TENTER_VALID", hide_env_values = true, value_name = "TIME", default_value = "30d", value_parser = super::args::duration)]
    valid: Duration,
    /// Root of the definition repository [default: the folder of the definition]
    #[arg(long, env = "TENTER_TO", hide_env_values = true, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Look at this snapshot of the state instead of the cluster (tenter snapshot, or a daemon's /snapshots/CONSORTIUM)
    #[arg(
        long,
        env = "TENTER_SNAPSHOT",
        hide_env_values = true,
        value_name = "FILE",
        requires_all = ["snapshot_roots", "key"]
    )]
    snapshot: Option<PathBuf>,
    /// Enrolment roots (PEM) of the organization that must have signed the snapshot
    #[arg(long, env = "TENTER_SNAPSHOT_ROOTS", hide_env_values = true, value_name = "FILE")]
    snapshot_roots: Option<PathBuf>,
}

/// What was approved.
struct Approved {
    hash: String,
    steps: Vec<String>,
    /// The file that says so, in the definition repository.
    file: Option<String>,
}

impl Report for Approved {
    fn text(&self, _style: Style) -> String {
        let mut text = format!("{} of plan {} approved:\n", count(self.steps.len(), "step"), self.hash);
        for step in &self.steps {
            let _ = writeln!(text, "  {}", printable(step));
        }
        if let Some(file) = &self.file {
            let _ = writeln!(text, "wrote {}; commit it", printable(file));
        }
        text
    }

    fn json(&self) -> Value {
        let mut document = json!({ "hash": self.hash, "approved": self.steps });
        if let (Some(fields), Some(file)) = (document.as_object_mut(), &self.file) {
            fields.insert("file".to_owned(), json!(file));
        }
        document
    }
}

/// Approves.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let Args { hash, definition, file } = args;
    if hash.len() < LEAST || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let hint = "tenter plan shows the hash; twelve digits are enough";
        return Err(CliError::new(Exit::Usage, format!("`{hash}` is no hash of a plan"), hint));
    }
    if let (Some(snapshot), Some(roots)) = (&file.snapshot, &file.snapshot_roots) {
        let now = Timestamp::now();
        let FromSnapshot { located, network, look, .. } = from_snapshot(&definition, snapshot, roots, now).await?;
        let known = Known::of(known::live(&network, &look.observed));
        return file.write(&hash, &look.plan, &network, &known, &located.name);
    }
    let cluster = Cluster::connect(global).await?;
    let consortium = cluster.required_consortium(global).await?;
    let Inputs { located, network, settings } = definition.inputs(global, Some(&cluster), Some(&consortium)).await?;
    let look = cluster.engine.look(&network, &settings, located.revision.as_deref()).await;
    if file.key.is_some() {
        let known = cluster.engine.known(&settings.consortium, &network, &look.observed).await;
        let known = known.map_err(|problem| CliError::plain(Exit::Failure, problem.message))?;
        return file.write(&hash, &look.plan, &network, &known, &located.name);
    }
    let steps = irreversible(&look.plan, &hash)?;
    let names = steps.iter().map(|planned| headline(&planned.step)).collect();
    let patch = json!({ "spec": { "approvals": { "approved": approvals(steps) } } });
    let name = consortium.name_any();
    let api = Api::<Consortium>::namespaced(cluster.engine.ctx.client.clone(), &global.namespace);
    api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map_err(|error| failed("write the approval", &name, &error))?;
    Ok(Outcome::shown(Approved { hash: look.plan.hash, steps: names, file: None }))
}

/// The steps of a plan that cannot be undone, if it is the plan that is meant.
fn irreversible<'a>(plan: &'a Plan, hash: &str) -> Result<Vec<&'a PlannedStep>, CliError> {
    if !plan.hash.starts_with(&hash.to_ascii_lowercase()) {
        let message = format!("nothing was approved: the plan is another one now ({})", plan.hash);
        return Err(CliError::new(Exit::Blocked, message, "look at it with tenter plan, and approve that one"));
    }
    let steps: Vec<_> = plan.steps.values().filter(|planned| planned.approval.is_some()).collect();
    if steps.is_empty() {
        let message = "the plan has no step that cannot be undone: nothing waits for an approval";
        return Err(CliError::plain(Exit::Usage, message));
    }
    Ok(steps)
}

impl FileArgs {
    /// Signs, and writes what verifies. `definition` is the file that the definition was read from.
    fn write(
        &self,
        hash: &str,
        plan: &Plan,
        network: &Network,
        known: &Known,
        definition: &str,
    ) -> Result<Outcome, CliError> {
        let refused = |error: &dyn std::error::Error| CliError::plain(Exit::Failure, chain(error));
        let steps = irreversible(plan, hash)?;
        let root = self.root(definition)?;
        let organization = self.organization.clone().unwrap_or_default();
        let Some(entry) = network.organization(&organization) else {
            return Err(CliError::plain(Exit::Usage, format!("the definition has no organization {organization}")));
        };
        let key = SecretKey::from_pem(text(self.key.as_deref())?);
        let identity = SigningIdentity::load(&entry.msp_id, &text(self.cert.as_deref())?, &key);
        let identity = identity.map_err(|error| refused(&error))?;
        let now = Timestamp::now();
        let valid = SignedDuration::try_from(self.valid).unwrap_or(SignedDuration::MAX);
        let approval = Approval {
            hash: plan.hash.clone(),
            organization: organization.clone(),
            reason: self.reason.clone(),
            expires: now.checked_add(valid).unwrap_or(Timestamp::MAX),
            steps: steps
                .iter()
                .filter_map(|planned| Some((planned.approval.as_ref()?.digest.clone(), headline(&planned.step))))
                .collect(),
        };
        let signed = approval.sign(network, &identity).map_err(|error| refused(&error))?;
        let path = approval::path(&plan.hash, &organization);
        // An approval that nobody would take is not written.
        let mut with = network.clone();
        let files = &mut with.repository.members.files;
        files.retain(|path, _| path.split('/').next() != Some(approval::APPROVALS));
        files.insert(path.clone(), Blob(signed.clone().into_bytes()));
        if let Some(not) = known.approvals(&with, now).1.first() {
            let hint = format!("tenter export {organization} writes the folder with its public certificates");
            return Err(CliError::new(Exit::Failure, format!("it would not count: {}", chain(&not.error)), hint));
        }
        save(&root.join(&path), signed.as_bytes())?;
        let steps = steps.iter().map(|planned| headline(&planned.step)).collect();
        Ok(Outcome::shown(Approved { hash: plan.hash.clone(), steps, file: Some(path) }))
    }

    /// The root of the definition repository.
    fn root(&self, definition: &str) -> Result<PathBuf, CliError> {
        let beside = Path::new(definition).is_file().then(|| Path::new(definition).parent()).flatten();
        let found = self.to.as_deref().or(beside).map(Path::to_owned);
        found.ok_or_else(|| {
            let message = "the definition is not a file of this machine";
            CliError::new(Exit::Usage, message, "--to FOLDER names the root of a clone of its repository")
        })
    }
}

fn text(path: Option<&Path>) -> Result<String, CliError> {
    let path = path.unwrap_or(Path::new(""));
    std::fs::read_to_string(path)
        .map_err(|error| CliError::plain(Exit::Usage, format!("cannot read {}: {error}", path.display())))
}
