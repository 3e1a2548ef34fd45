//! Looking and planning: what `plan`, `apply` and the sync loop have in common.

use std::sync::Arc;

use tenter_consortium::desired::{Desired, desired};
use tenter_consortium::model;
use tenter_consortium::network::Network;
use tenter_consortium::observed::Observed;
use tenter_consortium::plan::Plan;
use tenter_consortium::planner;
use tenter_consortium::settings::Settings;

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
        let desired = desired(network, settings);
        let observed = observe(&self.ctx, &self.nodes, &desired).await;
        let plan = planner::plan(&desired, &observed, revision);
        Look { desired, observed, plan }
    }
}

/// Plans as if nothing existed.
pub fn plan_offline(network: &Network, settings: &Settings, revision: Option<&str>) -> Plan {
    let desired = desired(network, settings);
    planner::plan(&desired, &model::nothing(&desired, "planned offline"), revision)
}
