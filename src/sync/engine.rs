//! Looking and planning: what `plan`, `apply` and the sync loop have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenter_consortium::channel_config::Material;
use tenter_consortium::desired::{Desired, desired};
use tenter_consortium::network::Network;
use tenter_consortium::objects::Kind;
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::{JoinRecord, NodeChannel, NodeRef, Observed, ObservedChannel};
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
    planner::plan(&desired, &nothing(&desired), revision)
}

/// A world in which nothing that is desired exists.
fn nothing(desired: &Desired) -> Observed {
    const EVIDENCE: &str = "planned offline";
    fn absent<T>() -> Observation<T> {
        Observation::Absent { evidence: EVIDENCE.to_owned() }
    }
    fn nowhere<T>(nodes: &[NodeRef]) -> BTreeMap<NodeRef, NodeChannel<T>> {
        let view = |node: &NodeRef| (node.clone(), NodeChannel { live: absent(), record: JoinRecord::None });
        nodes.iter().map(view).collect()
    }
    Observed {
        kinds: Kind::ALL.into_iter().map(|kind| (kind, Observation::Present { value: () })).collect(),
        objects: BTreeMap::new(),
        // Of a channel that is not formed, planning knows what there is to know.
        chaincodes: BTreeMap::new(),
        namespaces: desired.namespaces.keys().map(|name| (name.clone(), absent())).collect(),
        materials: desired.materials.keys().map(|name| (name.clone(), absent())).collect(),
        at: None,
        channels: desired
            .channels
            .iter()
            .map(|(name, channel)| {
                let observed = ObservedChannel {
                    genesis: absent(),
                    config: absent(),
                    material: Material::default(),
                    foreign: Vec::new(),
                    orderers: nowhere(&channel.orderers),
                    peers: nowhere(&channel.peers),
                };
                (name.clone(), observed)
            })
            .collect(),
    }
}
