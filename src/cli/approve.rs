//! `tenter approve`: a person agrees to what cannot be undone.

use std::fmt::Write as _;

use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tenter_consortium::planner::approvals;

use super::args::Global;
use super::cluster::{Cluster, failed};
use super::exit::Exit;
use super::outcome::{CliError, Outcome, Report};
use super::plan::{DefinitionArgs, Inputs};
use crate::report::plan::headline;
use crate::report::{Style, count, printable};
use crate::resources::Consortium;

/// Fewest digits of a hash that say which plan is meant.
const LEAST: usize = 12;

/// Approve the steps of a plan that cannot be undone.
///
/// Where the Consortium's spec.approvals.required is true, steps that cannot be undone wait until a person approved them. HASH is the
/// plan's (tenter plan -o json): when the world has moved since, nothing is approved. Who may edit the Consortium may approve.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tenter approve --consortium trade 0123456789ab\n  tenter approve --consortium trade 0123456789ab ."
)]
pub struct Args {
    /// The plan's hash, or its first twelve digits or more
    #[arg(value_name = "HASH")]
    hash: String,
    #[command(flatten)]
    definition: DefinitionArgs,
}

/// What was approved.
struct Approved {
    hash: String,
    steps: Vec<String>,
}

impl Report for Approved {
    fn text(&self, _style: Style) -> String {
        let mut text = format!("{} of plan {} approved:\n", count(self.steps.len(), "step"), self.hash);
        for step in &self.steps {
            let _ = writeln!(text, "  {}", printable(step));
        }
        text
    }

    fn json(&self) -> Value {
        json!({ "hash": self.hash, "approved": self.steps })
    }
}

/// Approves.
pub async fn run(global: &Global, args: Args) -> Result<Outcome, CliError> {
    let Args { hash, definition } = args;
    if hash.len() < LEAST || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let hint = "tenter plan -o json shows the hash; twelve digits are enough";
        return Err(CliError::new(Exit::Usage, format!("`{hash}` is no hash of a plan"), hint));
    }
    let cluster = Cluster::connect(global).await?;
    let consortium = cluster.required_consortium(global).await?;
    let Inputs { located, network, settings } = definition.inputs(global, Some(&cluster), Some(&consortium)).await?;
    let plan = cluster.engine.look(&network, &settings, located.revision.as_deref()).await.plan;
    if !plan.hash.starts_with(&hash) {
        let message = format!("nothing was approved: the plan is another one now ({})", plan.hash);
        return Err(CliError::new(Exit::Blocked, message, "look at it with tenter plan, and approve that one"));
    }
    let steps: Vec<_> = plan.steps.values().filter(|planned| planned.approval.is_some()).collect();
    if steps.is_empty() {
        return Err(CliError::plain(
            Exit::Usage,
            "the plan has no step that cannot be undone: nothing waits for an approval",
        ));
    }
    let names = steps.iter().map(|planned| headline(&planned.step)).collect();
    let patch = json!({ "spec": { "approvals": { "approved": approvals(steps) } } });
    let name = consortium.name_any();
    let api = Api::<Consortium>::namespaced(cluster.engine.ctx.client.clone(), &global.namespace);
    api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map_err(|error| failed("write the approval", &name, &error))?;
    Ok(Outcome::shown(Approved { hash: plan.hash, steps: names }))
}
