//! Looking and planning: what `plan`, `apply` and the sync loop have in common.

use std::sync::Arc;

use jiff::Timestamp;
use tenter_consortium::desired::{Desired, desired};
use tenter_consortium::model;
use tenter_consortium::network::Network;
use tenter_consortium::observed::Observed;
use tenter_consortium::plan::{Note, NoteLevel, Plan};
use tenter_consortium::planner;
use tenter_consortium::repository::approval::{self, APPROVALS, NotGiven};
use tenter_consortium::settings::Settings;

use super::conclude::Problem;
use super::known::{self, Known};
use crate::controllers::context::Context;
use crate::nodes::Nodes;
use crate::observe::observe;

/// What is needed to look at the world.
#[derive(Clone)]
pub struct Engine {
    /// The API server.
    pub ctx: Arc<Context>,
    /// The Fabric nodes.
    pub nodes: Arc<Nodes>,
}

/// What should be, what is, and the way between.
#[derive(Clone, Debug)]
pub struct Look {
    /// What should be.
    pub desired: Desired,
    /// What is.
    pub observed: Observed,
    /// The way between.
    pub plan: Plan,
}

impl Engine {
    /// Looks at the world and plans.
    pub async fn look(&self, network: &Network, settings: &Settings, revision: Option<&str>) -> Look {
        let mut desired = desired(network, settings);
        let observed = observe(&self.ctx, &self.nodes, &desired).await;
        let said = self.approvals(network, &mut desired, &observed).await;
        let mut plan = planner::plan(&desired, &observed, revision);
        plan.notes.extend(said);
        Look { desired, observed, plan }
    }

    /// Takes the approvals of the repository that count, and says of the others why they do not.
    async fn approvals(&self, network: &Network, desired: &mut Desired, observed: &Observed) -> Vec<Note> {
        if !approval::any(&network.repository.members) {
            return Vec::new();
        }
        match self.known(&desired.consortium, network, observed).await {
            Ok(known) => take_approvals(&known, network, desired, self.ctx.now()),
            Err(Problem { reason, message, terminal: _ }) => {
                // Nothing is approved by whom nobody knows; the next look may tell.
                let subject = format!("{APPROVALS}/");
                vec![Note { level: NoteLevel::Warning, code: reason, subject, message }]
            }
        }
    }

    /// By which MSPs the organizations of a definition are known.
    pub async fn known(&self, consortium: &str, network: &Network, observed: &Observed) -> Result<Known, Problem> {
        Known::read(&self.ctx, self.nodes.store(), consortium, &known::live(network, observed)).await
    }
}

/// Takes the approvals of the repository that count, and says of the others why they do not.
fn take_approvals(known: &Known, network: &Network, desired: &mut Desired, now: Timestamp) -> Vec<Note> {
    let (given, not) = known.approvals(network, now);
    desired.given = given;
    not.iter().map(NotGiven::note).collect()
}

/// Plans from a world that was seen elsewhere, at a time.
pub fn plan_seen(
    network: &Network,
    settings: &Settings,
    mut observed: Observed,
    revision: Option<&str>,
    now: Timestamp,
) -> Look {
    let mut desired = desired(network, settings);
    model::look(&mut observed, &desired, "it is not in the snapshot");
    let known = Known::of(known::live(network, &observed));
    let said = take_approvals(&known, network, &mut desired, now);
    let mut plan = planner::plan(&desired, &observed, revision);
    plan.notes.extend(said);
    Look { desired, observed, plan }
}

/// Plans as if nothing existed.
pub fn plan_offline(network: &Network, settings: &Settings, revision: Option<&str>) -> Plan {
    let desired = desired(network, settings);
    planner::plan(&desired, &model::nothing(&desired, "planned offline"), revision)
}
