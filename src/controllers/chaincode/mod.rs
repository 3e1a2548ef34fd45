//! Chaincodes: a contract on a channel, from its package to its service. Each organization that this daemon acts for runs
//! the service, installs the package and approves the definition; one of them commits it.

pub mod act;
pub mod decide;
pub mod look;
#[cfg(test)]
mod process_tests;
pub mod service;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use tenter_consortium::chaincode::{Approval, Next, Progress};
use tenter_consortium::objects::LABEL_CHAINCODE;
use tenter_consortium::status::{ChaincodeStatus, ServingImage};

use self::decide::{Action, decide};
use self::look::{Observed, look};
use super::driver::DecisionOf;
use super::{Cleanup, Context, Controlled, Decision, Failure, Scope};
use crate::nodes::Nodes;
use crate::resources::{Chaincode, Channel, Membership};

/// The controller of [`Chaincode`] objects.
pub struct ChaincodeController {
    nodes: Arc<Nodes>,
}

impl ChaincodeController {
    /// A controller that talks to these nodes.
    pub const fn new(nodes: Arc<Nodes>) -> Self {
        Self { nodes }
    }
}

fn status(object: &Chaincode, observed: &Observed, decision: &decide::Decision) -> ChaincodeStatus {
    let committed = observed.seen.observed.committed.value();
    let author = observed.seen.observed.author.clone();
    let progress = observed.view.progress.value();
    if progress.is_none() {
        // What was known stays, with the reason why it is not known now beside it.
        let phase = Some(decision.phase);
        return ChaincodeStatus { phase, ..object.status.clone().unwrap_or_default() };
    }
    let drift = author.as_ref().filter(|author| author.foreign).and(progress).map(|progress| match &progress.next {
        Next::Change { differences, .. } => differences.iter().map(ToString::to_string).collect(),
        Next::InSync { .. } => Vec::new(),
    });
    let before = object.status.clone().unwrap_or_default();
    if observed.view.went_back.is_some() {
        // The highest sequence that was seen stays, or the next look would take the ledger as it is.
        return ChaincodeStatus { phase: Some(decision.phase), ..before };
    }
    // All own members approved the package that is in force: its image is the one that is called.
    let settled = progress.is_some_and(|progress| {
        let mut own = progress.members.iter().filter(|member| member.hosted);
        !progress.next.is_change() && own.all(|member| member.approval == Approval::Given)
    });
    let image = object.spec.source.image.clone();
    let wanted = image.map(|image| ServingImage { version: object.spec.version.clone(), image });
    ChaincodeStatus {
        phase: Some(decision.phase),
        serving: if settled { wanted } else { before.serving },
        sequence: committed.and_then(|committed| u64::try_from(committed.sequence).ok()),
        version: committed.map(|committed| committed.definition.version.clone()),
        package_id: progress.map(|progress| progress.package.to_string()),
        committed_by: author.as_ref().map(|author| author.creator.clone()),
        committed_block: author.map(|author| author.block),
        approved: progress.map(Progress::approved_count),
        drift: drift.unwrap_or_default(),
        organizations: progress.map(|progress| progress.organizations(&decision.serving)).unwrap_or_default(),
        ..ChaincodeStatus::default()
    }
}

impl Controlled for ChaincodeController {
    type Object = Chaincode;
    type Observed = Observed;
    type Action = Action;
    const BY_OTHERS: &'static [&'static str] = &["ApprovalMissing", "ChannelPending"];
    const INDEPENDENT: bool = true;
    const ASKS: bool = true;

    fn watch(&self, controller: Controller<Chaincode>, ctx: &Context) -> Controller<Chaincode> {
        let namespace = ctx.namespace.clone();
        let store = controller.store();
        let of_channel = move |channel: &str| {
            let same = store.state().into_iter().filter(|chaincode| chaincode.spec.channel == channel);
            same.map(|chaincode| ObjectRef::from_obj(chaincode.as_ref())).collect::<Vec<_>>()
        };
        let of_membership = of_channel.clone();
        // Nothing owns a service across namespaces: its label says whose it is.
        let of_deployment = move |deployment: Deployment| {
            let name = deployment.labels().get(LABEL_CHAINCODE).cloned();
            name.map(|name| ObjectRef::<Chaincode>::new(&name).within(&namespace))
        };
        controller
            .watches_stream(ctx.triggers(), move |channel: Channel| of_channel(&channel.spec.channel))
            .watches_stream(ctx.triggers(), move |membership: Membership| of_membership(&membership.spec.channel))
            .watches_stream(ctx.triggers(), of_deployment)
    }

    async fn observe(&self, ctx: &Context, scope: &Scope, object: &Chaincode) -> Result<Observed, Failure> {
        look(ctx, scope, &self.nodes, object).await
    }

    fn decide(&self, object: &Chaincode, observed: &Observed, _now: Timestamp) -> DecisionOf<Self> {
        let decision = decide(&observed.view);
        Decision {
            status: status(object, observed, &decision),
            actions: decision.actions,
            verdict: decision.outlook.verdict,
            requeue: decision.outlook.pause,
        }
    }

    async fn act(
        &self,
        ctx: &Context,
        object: &Chaincode,
        observed: &Observed,
        action: &Action,
    ) -> Result<(), Failure> {
        act::perform(ctx, &self.nodes, object, observed, action).await
    }

    /// The services go; the ledger keeps the definition, and peers keep the package.
    async fn cleanup(&self, ctx: &Context, object: &Chaincode) -> Result<Cleanup, Failure> {
        act::remove_services(ctx, object).await?;
        Ok(Cleanup::Done(Some(format!(
            "chaincode {} stays defined on channel {}, and its package on the peers: Fabric has no way to take them back",
            object.spec.name, object.spec.channel
        ))))
    }
}
