//! For tests: the controllers of a channel and its proposals with their driver, on Fabric processes and an API server in memory.

use std::sync::Arc;

use serde_json::json;
use tenter_consortium::objects::{ChannelSpec, Condition, LABEL_CHANNEL, LABEL_CONSORTIUM, NamespaceSettings};

use super::api_world::ApiServer;
use super::channel::ChannelController;
use super::conditions::READY;
use super::follow::Followers;
use super::process_world::{CHANNEL, SYSTEM, World};
use super::proposal::ProposalController;
use super::{Context, Driver};
use crate::messages::channel::{How, MessageChannel};
use crate::resources::{Channel, Consortium};

/// A daemon's controllers.
pub struct Daemon {
    pub ctx: Arc<Context>,
    pub channels: Driver<ChannelController>,
    pub proposals: Driver<ProposalController>,
}

impl Daemon {
    pub fn new(world: &World, api: &ApiServer) -> Self {
        let ctx = Arc::new(Context::new(api.client(), SYSTEM));
        let messages = Arc::new(MessageChannel::new(world.folder.path().join("messages"), How::Here));
        let channels = ChannelController::new(world.nodes.clone(), Arc::new(Followers::default()));
        let proposals = ProposalController::new(world.nodes.clone(), messages);
        Self { channels: Driver::new(channels, ctx.clone()), proposals: Driver::new(proposals, ctx.clone()), ctx }
    }
}

/// The daemon's settings.
pub fn consortium() -> Consortium {
    let spec = json!({"source": {"repository": "file:///nowhere"}, "organizations": ["*"]});
    let mut object = Consortium::new("trade", serde_json::from_value(spec).unwrap());
    object.spec.namespaces = NamespaceSettings { allowed: vec!["trade-*".to_owned()], create: false };
    object.metadata.namespace = Some(SYSTEM.to_owned());
    object
}

/// The object of a channel.
pub fn channel(spec: &ChannelSpec) -> Channel {
    let mut object = Channel::new(CHANNEL, spec.clone());
    object.metadata.namespace = Some(SYSTEM.to_owned());
    let labels = [(LABEL_CONSORTIUM, "trade"), (LABEL_CHANNEL, CHANNEL)];
    object.metadata.labels = Some(labels.map(|(label, value)| (label.to_owned(), value.to_owned())).into());
    object
}

/// The reason of `Ready`.
pub fn ready(conditions: &[Condition]) -> &str {
    &conditions.iter().find(|condition| condition.condition_type == READY).unwrap().reason
}
