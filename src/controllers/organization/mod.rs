//! Organizations: the namespace, who may look into it, what may be used there, and how much is.

mod act;
mod decide;
mod observe;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::core::object::HasStatus;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{PredicateConfig, WatchStreamExt as _};
use tenter_consortium::objects::{ConsortiumSpec, LABEL_ORGANIZATION, NodeSpec};
use tenter_consortium::status::{NodePhase, NodeStatus};

use super::children::Child;
use super::context::Context;
use super::driver::{Cleanup, Controlled, DecisionOf, Scope};
use super::failure::Failure;
use super::gates::NamespaceFacts;
use crate::resources::{CertificateAuthority, Orderer, Organization, Peer, TenterObject};

pub use self::decide::rbac_subject;

/// What is known of one of an organization's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Whether it is an orderer.
    pub orderer: bool,
    /// Whether it runs.
    pub running: bool,
    /// Its spec.
    pub spec: NodeSpec,
}

/// What is known of an organization.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The daemon's settings.
    pub settings: Option<ConsortiumSpec>,
    /// Its namespace.
    pub namespace: Option<NamespaceFacts>,
    /// Whether its certificate authority issues; absent when it has none.
    pub authority: Option<bool>,
    /// Its nodes.
    pub nodes: Vec<NodeFacts>,
    /// What is there of the objects that the controller keeps in the namespace.
    pub live: Vec<Child>,
}

/// What can be done about one.
#[derive(Clone, Debug)]
pub enum OrganizationAction {
    /// Make its namespace.
    CreateNamespace,
    /// Bring an object to what is wanted.
    Apply(Child),
    /// Remove the quota: the organization has no limits any more.
    RemoveQuota,
}

/// The controller of [`Organization`] objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct OrganizationController;

impl Controlled for OrganizationController {
    type Object = Organization;
    type Observed = Observed;
    type Action = OrganizationAction;
    const INDEPENDENT: bool = true;

    fn watch(&self, controller: Controller<Organization>, ctx: &Context) -> Controller<Organization> {
        let namespace = ctx.namespace.clone();
        let (orderers, peers, authorities) = (namespace.clone(), namespace.clone(), namespace);
        let namespace = ctx.namespace.clone();
        let of_namespace = move |place: Namespace| {
            let organization = place.labels().get(LABEL_ORGANIZATION)?;
            Some(ObjectRef::<Organization>::new(organization).within(&namespace))
        };
        // A node's status changes at each of its steps; an organization shows what it is and whether it runs.
        let orderers_of = ctx.triggers().predicate_filter(concern::<Orderer>, PredicateConfig::default());
        let peers_of = ctx.triggers().predicate_filter(concern::<Peer>, PredicateConfig::default());
        controller
            .watches_stream(ctx.triggers(), of_namespace)
            .watches_stream(orderers_of, move |node| of(&node, &orderers))
            .watches_stream(peers_of, move |node| of(&node, &peers))
            .watches_stream(ctx.triggers(), move |ca: CertificateAuthority| of(&ca, &authorities))
    }

    async fn observe(&self, ctx: &Context, scope: &Scope, object: &Organization) -> Result<Observed, Failure> {
        Box::pin(observe::observe(ctx, scope, object)).await
    }

    fn decide(&self, object: &Organization, observed: &Observed, _now: Timestamp) -> DecisionOf<Self> {
        decide::decide(object, observed)
    }

    async fn act(
        &self,
        ctx: &Context,
        object: &Organization,
        _observed: &Observed,
        action: &OrganizationAction,
    ) -> Result<(), Failure> {
        act::act(ctx, object, action).await
    }

    async fn cleanup(&self, _ctx: &Context, object: &Organization) -> Result<Cleanup, Failure> {
        Ok(Cleanup::Done(Some(format!(
            "namespace {} stays, with its keys, volumes and access rules; remove it by hand when organization {} is gone \
             for good",
            object.spec.namespace,
            object.name_any(),
        ))))
    }
}

/// What concerns its organization of a node: its spec, whether it runs, and that it goes.
#[expect(clippy::unnecessary_wraps, reason = "a predicate may have no opinion of an object")]
fn concern<K>(node: &K) -> Option<u64>
where
    K: TenterObject + HasStatus<Status = NodeStatus>,
{
    let meta = node.meta();
    let runs = node.status().and_then(|status| status.phase) == Some(NodePhase::Running);
    let going = (meta.deletion_timestamp.is_some(), node.finalizers().len());
    let mut hasher = DefaultHasher::new();
    (meta.uid.as_deref(), meta.generation, runs, going).hash(&mut hasher);
    Some(hasher.finish())
}

/// The organization that an object of its namespace belongs to.
fn of(object: &impl TenterObject, namespace: &str) -> Option<ObjectRef<Organization>> {
    Some(ObjectRef::new(object.organization()?).within(namespace))
}
