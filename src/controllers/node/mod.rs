//! Orderers and peers: what the two controllers have in common. What sets them apart is a [`NodeKind`].
//!
//! A node is a `StatefulSet` of one Pod. Its template is always the wanted one, but the strategy is `OnDelete`: a
//! Pod is restarted only by the controller, one at a time, when the other nodes can do without it.

mod act;
mod decide;
pub mod manifests;
pub mod observe;
pub mod pod;
pub mod restart;

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use kube::ResourceExt as _;
use kube::core::object::{HasSpec, HasStatus};
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use tenter_consortium::objects::{ANNOTATION_DELETE_VOLUME, ConsortiumSpec, LABEL_NODE, NodeSpec};
use tenter_consortium::status::NodeStatus;
use tenter_fabric::ca::{CertificateRequest, Role};
use tenter_fabric::x509::CertificateInfo;
use tokio::sync::Mutex;

use super::apply;
use super::children::Child;
use super::conditions::Verdict;
use super::context::Context;
use super::driver::{Cleanup, Controlled, DecisionOf, Scope};
use super::failure::Failure;
use super::gates::NamespaceFacts;
use super::labels;
use super::materials::Material;
use crate::nodes::Nodes;
use crate::resources::TenterObject;

pub use self::pod::PodFacts;
pub use self::restart::{Neighbour, Neighbourhood, Quorum, State, may_restart};

/// Port of the admin and operations listeners.
pub const OPERATIONS_PORT: u16 = 9443;

/// A port of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in Services and Pods.
    pub name: &'static str,
    /// Its number.
    pub number: u16,
}

/// What a configuration file is made of.
#[derive(Clone, Copy, Debug)]
pub struct ConfigInput<'a> {
    /// The node's name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its spec.
    pub spec: &'a NodeSpec,
    /// Where it first looks for other nodes of its organization.
    pub bootstrap: &'a str,
    /// Roots of the organization's TLS certificates, PEM.
    pub tls_roots: &'a str,
}

/// What sets orderers and peers apart.
pub trait NodeKind: Debug + Send + Sync + Sized + 'static {
    /// The kind of object.
    type Object: TenterObject + HasSpec<Spec = NodeSpec> + HasStatus<Status = NodeStatus>;

    /// The part of the network that it is, as the component label says it.
    const COMPONENT: &'static str;
    /// The role in its identity.
    const ROLE: Role;
    /// The program and its arguments.
    const COMMAND: &'static [&'static str];
    /// Name of its configuration file.
    const CONFIG_FILE: &'static str;
    /// Where its volume is mounted.
    const DATA: &'static str;
    /// Folders below it that begin empty with each Pod, by the name of their volume: what is made anew from other data.
    const SCRATCH: &'static [(&'static str, &'static str)] = &[];
    /// The ports of its Service, the first of them the one that its address leads to.
    const PORTS: &'static [Port];
    /// The ports of its admin Service, which is never exposed.
    const ADMIN_PORTS: &'static [Port];

    /// Its configuration file.
    fn config(input: &ConfigInput<'_>) -> String;

    /// Variables of its environment beside those that every node has.
    fn environment(_input: &ConfigInput<'_>) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The nodes that must run before this one may be restarted, as far as this daemon can see them.
    fn neighbours(
        around: &Surroundings<'_>,
        object: &Self::Object,
    ) -> impl Future<Output = Result<Neighbourhood, Failure>> + Send;

    /// Why the object cannot go yet, if it cannot.
    fn in_use(ctx: &Context, object: &Self::Object) -> impl Future<Output = Result<Option<Verdict>, Failure>> + Send;
}

/// Where the neighbours of a node are looked for.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The API server and the time.
    pub ctx: &'a Context,
    /// The Fabric nodes, to be asked whether they serve; without them what Kubernetes says is believed.
    pub nodes: Option<&'a Nodes>,
    /// The Consortium object's name.
    pub consortium: &'a str,
    /// The daemon's settings.
    pub settings: &'a ConsortiumSpec,
}

/// What is known of a node.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The Consortium object's name.
    pub consortium: String,
    /// The daemon's settings.
    pub settings: Option<ConsortiumSpec>,
    /// The organization's namespace.
    pub namespace: Option<NamespaceFacts>,
    /// Lifetime of the certificates that the organization's authority issues, in hours; absent without an authority.
    pub certificate_lifetime: Option<u32>,
    /// The organization's public MSP.
    pub msp: Option<ConfigMap>,
    /// The node's identity.
    pub enrolment: Material,
    /// The node's TLS certificate.
    pub tls: Material,
    /// What is there of the objects that it is made of.
    pub live: Vec<Child>,
    /// Its Pod.
    pub pod: Option<PodFacts>,
    /// Why its volume claim is not bound, if it is there and not bound.
    pub volume: Option<String>,
    /// The channels that it joined, by its join record.
    pub channels: Vec<String>,
    /// The nodes that must run before it may be restarted.
    pub neighbours: Neighbourhood,
    /// In-cluster address of the organization's oldest node of this kind.
    pub bootstrap: Option<String>,
}

impl Observed {
    /// Whether it has a Service of this name.
    pub fn has_service(&self, name: &str) -> bool {
        let named =
            |child: &Child| matches!(child, Child::Service(found) if found.metadata.name.as_deref() == Some(name));
        self.live.iter().any(named)
    }

    /// Its `StatefulSet`.
    pub fn stateful_set(&self) -> Option<&StatefulSet> {
        self.live.iter().find_map(|child| match child {
            Child::StatefulSet(found) => Some(&**found),
            _ => None,
        })
    }
}

/// One of a node's two certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Its identity.
    Enrolment,
    /// Its TLS certificate.
    Tls,
}

/// How a certificate is issued.
#[derive(Clone)]
pub struct Issue {
    /// Which.
    pub certificate: Certificate,
    /// What is issued.
    pub request: CertificateRequest,
    /// The root on record that issues it.
    pub root: Box<CertificateInfo>,
    /// Whether it is issued for the key that is there.
    pub same_key: bool,
}

/// Short: an action is logged.
impl Debug for Issue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { certificate, request, root: _, same_key } = self;
        write!(f, "{certificate:?} for {}, same key: {same_key}", request.common_name)
    }
}

/// What can be done about a node.
#[derive(Clone, Debug)]
pub enum NodeAction {
    /// Issue a certificate.
    Issue(Issue),
    /// Bring one of its objects to what is wanted.
    Apply(Child),
    /// Stop its Pod, so that the `StatefulSet` starts it anew from the wanted template.
    Restart {
        /// The Pod's uid: another Pod of that name is not stopped.
        uid: String,
    },
}

/// The controller of one kind of node.
pub struct NodeController<K> {
    kind: PhantomData<K>,
    nodes: Option<Arc<Nodes>>,
    /// Held from the last look at the neighbours until the Pod is told to stop: of two nodes that may both be
    /// restarted, the second sees that the first is down.
    restarts: Mutex<()>,
}

impl<K> Default for NodeController<K> {
    fn default() -> Self {
        Self { kind: PhantomData, nodes: None, restarts: Mutex::new(()) }
    }
}

impl<K> NodeController<K> {
    /// A controller that asks the nodes themselves whether they serve before it restarts another.
    pub fn asking(nodes: Arc<Nodes>) -> Self {
        Self { nodes: Some(nodes), ..Self::default() }
    }
}

impl<K: NodeKind> Controlled for NodeController<K> {
    type Object = K::Object;
    type Observed = Observed;
    type Action = NodeAction;
    const INDEPENDENT: bool = true;

    fn watch(&self, controller: Controller<K::Object>, ctx: &Context) -> Controller<K::Object> {
        let store = controller.store();
        controller
            .owns_stream(ctx.triggers_of::<StatefulSet>(labels::COMPONENT, K::COMPONENT))
            .owns_stream(ctx.triggers_of::<Service>(labels::COMPONENT, K::COMPONENT))
            // Its configuration, and its join record, which nothing owns.
            .watches_stream(ctx.triggers(), |map: ConfigMap| {
                let component = map.labels().get(labels::COMPONENT);
                let node = map.labels().get(LABEL_NODE).filter(|_| component.is_none_or(|it| it == K::COMPONENT))?;
                Some(ObjectRef::<K::Object>::new(node).within(&map.namespace()?))
            })
            .watches_stream(ctx.triggers_of(labels::COMPONENT, K::COMPONENT), |pod: Pod| {
                let node = pod.labels().get(LABEL_NODE)?;
                Some(ObjectRef::<K::Object>::new(node).within(&pod.namespace()?))
            })
            // A new authority, or a renewed administrator: every node of the namespace mounts it.
            .watches_stream(ctx.triggers_of(labels::COMPONENT, labels::CERTIFICATE_AUTHORITY), move |msp: ConfigMap| {
                let namespace = msp.namespace();
                let nodes: Vec<ObjectRef<K::Object>> = store
                    .state()
                    .iter()
                    .filter(|node| node.namespace() == namespace)
                    .map(|node| ObjectRef::from_obj(&**node))
                    .collect();
                nodes
            })
    }

    async fn observe(&self, ctx: &Context, scope: &Scope, object: &K::Object) -> Result<Observed, Failure> {
        Box::pin(observe::observe::<K>(ctx, scope, self.nodes.as_deref(), object)).await
    }

    fn decide(&self, object: &K::Object, observed: &Observed, now: Timestamp) -> DecisionOf<Self> {
        decide::decide::<K>(object, observed, now)
    }

    async fn act(
        &self,
        ctx: &Context,
        object: &K::Object,
        observed: &Observed,
        action: &NodeAction,
    ) -> Result<(), Failure> {
        match action {
            NodeAction::Issue(issue) => act::enrol::<K>(ctx, object, observed, issue).await,
            NodeAction::Apply(child) => child.apply(ctx).await,
            NodeAction::Restart { uid } => {
                let _alone = self.restarts.lock().await;
                act::restart::<K>(ctx, self.nodes.as_deref(), object, observed, uid).await
            }
        }
    }

    async fn cleanup(&self, ctx: &Context, object: &K::Object) -> Result<Cleanup, Failure> {
        if let Some(verdict) = K::in_use(ctx, object).await? {
            return Ok(Cleanup::Waiting(verdict));
        }
        let name = object.name_any();
        let claim = labels::volume_claim(&name);
        // Written by a step of a plan that was approved; nobody else but who runs the cluster may write it.
        if object.annotations().get(ANNOTATION_DELETE_VOLUME) == Some(&claim) {
            apply::delete::<PersistentVolumeClaim>(ctx, &object.namespace().unwrap_or_default(), &claim).await?;
            return Ok(Cleanup::Done(Some(format!(
                "the program, Services and configuration of {} go, and its volume claim {claim} as was asked for; its Secrets {} \
                 and {} and its join record {} stay",
                object.describe(),
                labels::enrolment_secret(&name),
                labels::tls_secret(&name),
                labels::ledgers(&name),
            ))));
        }
        Ok(Cleanup::Done(Some(format!(
            "the program, Services and configuration of {} go; its volume claim {}, its Secrets {} and {} and its join \
             record {} stay, and are taken up again by a node of this name; remove them by hand when they are not needed",
            object.describe(),
            claim,
            labels::enrolment_secret(&name),
            labels::tls_secret(&name),
            labels::ledgers(&name),
        ))))
    }
}
