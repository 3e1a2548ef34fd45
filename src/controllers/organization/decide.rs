//! Decides what an organization's namespace needs: pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject as RbacSubject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use kube::ResourceExt as _;
use serde_json::json;
use tenter_consortium::objects::{GROUP, LABEL_CONSORTIUM, LABEL_ORGANIZATION, Quota, Subject, SubjectKind};
use tenter_consortium::settings::subject_allowed;
use tenter_consortium::status::{Capacity, OrganizationPhase as Phase, OrganizationStatus, Usage};

use super::{NodeFacts, Observed, OrganizationAction};
use crate::controllers::children::{Child, pending};
use crate::controllers::conditions::Verdict;
use crate::controllers::driver::Decision;
use crate::controllers::gates;
use crate::controllers::labels::{Belonging, COMPONENT};
use crate::controllers::quantity::Quantity;
use crate::resources::Organization;

/// Name of the Role and `RoleBinding` of an organization's administrators.
pub const ADMINS: &str = "tenter-admins";
/// Name of its `ResourceQuota`.
pub const QUOTA: &str = "tenter";
/// Its disruption budgets, and the component of each: a drain takes one node of a kind at a time.
pub const BUDGETS: [(&str, &str); 2] = [("tenter-orderers", "orderer"), ("tenter-peers", "peer")];

/// What a quota limits, in Kubernetes' terms: a node is one `StatefulSet`.
const NODES: &str = "count/statefulsets.apps";
const CPU: &str = "requests.cpu";
const MEMORY: &str = "requests.memory";
const STORAGE: &str = "requests.storage";
const RBAC: &str = "rbac.authorization.k8s.io";
/// How often what is used of a quota is read again.
const QUOTA_LOOK: Duration = Duration::from_secs(15);
/// How soon an organization that waits for somebody is looked at again.
const SOON: Duration = Duration::from_secs(5);

type OrganizationDecision = Decision<OrganizationAction, OrganizationStatus>;

/// Decides.
pub fn decide(object: &Organization, observed: &Observed) -> OrganizationDecision {
    let status = status(object, observed);
    let name = object.name_any();
    let namespace = &object.spec.namespace;
    let show = |phase| OrganizationStatus { phase: Some(phase), ..status.clone() };
    let Some(settings) = &observed.settings else {
        return Decision::wait(
            show(Phase::Invited),
            Verdict::reconciling("NoSettings", "no Consortium was seen"),
            SOON,
        );
    };
    if let Err(verdict) = gates::admit(settings, &name, namespace) {
        return Decision::wait(show(Phase::Invited), verdict, SOON);
    }
    if observed.namespace.is_none() && settings.namespaces.create {
        let verdict = Verdict::reconciling("CreatingNamespace", format!("namespace {namespace} is being made"));
        return Decision::act(vec![OrganizationAction::CreateNamespace], show(Phase::Invited), verdict);
    }
    if let Err(verdict) = gates::own_namespace(observed.namespace.as_ref(), &object.spec.consortium, &name, namespace) {
        return Decision::wait(show(Phase::Invited), verdict, SOON);
    }
    let (admins, refused): (Vec<&Subject>, Vec<&Subject>) =
        object.spec.admins.iter().partition(|subject| subject_allowed(subject, &settings.subjects));
    let mut actions: Vec<OrganizationAction> =
        pending(wanted(object, &admins), &observed.live).into_iter().map(OrganizationAction::Apply).collect();
    let has_quota = observed.live.iter().any(|child| matches!(child, Child::ResourceQuota(_)));
    if has_quota && hard(object.spec.quota.as_ref()).is_empty() {
        actions.push(OrganizationAction::RemoveQuota);
    }
    if !actions.is_empty() {
        let message = format!("access rules and limits of namespace {namespace} are being written");
        return Decision::act(actions, show(Phase::Enrolling), Verdict::reconciling("Applying", message));
    }
    if let Some(subject) = refused.first() {
        let message = format!(
            "this daemon may not grant roles to {:?} {}: add it to spec.subjects of the Consortium, or take it out of \
             the administrators of {name}",
            subject.kind, subject.name
        );
        return Decision::wait(show(Phase::Enrolling), Verdict::stalled("SubjectNotAllowed", message), SOON);
    }
    if observed.authority != Some(true) {
        let message = if observed.authority.is_some() {
            format!("the certificate authority of {namespace} is not ready: see CertificateAuthority {namespace}/ca")
        } else {
            format!("namespace {namespace} has no CertificateAuthority `ca` yet")
        };
        return Decision::wait(show(Phase::Enrolling), Verdict::reconciling("AuthorityNotReady", message), SOON);
    }
    let settled =
        Decision::settled(show(Phase::Ready), Verdict::ready("Enrolled", format!("{name} can take part in channels")));
    // What Pods use of it is counted without a word to anybody.
    let requeue = if object.spec.quota.is_some() { QUOTA_LOOK } else { settled.requeue };
    Decision { requeue, ..settled }
}

/// The objects that the controller keeps in the organization's namespace. They have no owner: the Organization
/// object stands in another namespace.
fn wanted(object: &Organization, admins: &[&Subject]) -> Vec<Child> {
    let name = object.name_any();
    let belonging = Belonging {
        consortium: &object.spec.consortium,
        organization: &name,
        namespace: &object.spec.namespace,
        component: "organization",
        node: None,
    };
    let mut wanted: Vec<Child> = vec![
        Role { metadata: belonging.metadata(ADMINS), rules: Some(vec![look(), vote()]) }.into(),
        RoleBinding {
            metadata: belonging.metadata(ADMINS),
            role_ref: RoleRef { api_group: Some(RBAC.into()), kind: "Role".into(), name: ADMINS.into() },
            subjects: Some(admins.iter().map(|subject| rbac_subject(subject)).collect()),
        }
        .into(),
    ];
    for (budget, component) in BUDGETS {
        let spec = json!({
            "maxUnavailable": 1,
            "selector": {"matchLabels": {
                COMPONENT: component, LABEL_ORGANIZATION: name, LABEL_CONSORTIUM: object.spec.consortium,
            }},
        });
        let metadata = belonging.metadata(budget);
        let spec = serde_json::from_value(spec).ok();
        wanted.push(PodDisruptionBudget { metadata, spec, ..PodDisruptionBudget::default() }.into());
    }
    let hard = hard(object.spec.quota.as_ref());
    if !hard.is_empty() {
        let spec = ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() };
        let metadata = belonging.metadata(QUOTA);
        wanted.push(ResourceQuota { metadata, spec: Some(spec), ..ResourceQuota::default() }.into());
    }
    wanted
}

/// What an administrator may see: what Tenter keeps for the organization. Nothing on Secrets or Pods.
fn look() -> PolicyRule {
    let owned = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    PolicyRule {
        api_groups: owned(&[GROUP]),
        resources: owned(&["certificateauthorities", "identities", "orderers", "peers", "memberships"]),
        verbs: owned(&["get", "list", "watch"]).unwrap_or_default(),
        ..PolicyRule::default()
    }
}

/// And what it decides: the organization's votes.
fn vote() -> PolicyRule {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(owned(&[GROUP])),
        resources: Some(owned(&["votes"])),
        verbs: owned(&["get", "list", "watch", "create", "update", "patch", "delete"]),
        ..PolicyRule::default()
    }
}

/// A subject in Kubernetes' terms.
pub fn rbac_subject(subject: &Subject) -> RbacSubject {
    let (kind, group) = match subject.kind {
        SubjectKind::User => ("User", Some(RBAC.to_owned())),
        SubjectKind::Group => ("Group", Some(RBAC.to_owned())),
        SubjectKind::ServiceAccount => ("ServiceAccount", None),
    };
    let namespace = subject.namespace.clone().filter(|_| subject.kind == SubjectKind::ServiceAccount);
    RbacSubject { kind: kind.to_owned(), name: subject.name.clone(), namespace, api_group: group }
}

/// The quota in Kubernetes' terms.
fn hard(quota: Option<&Quota>) -> BTreeMap<String, ApiQuantity> {
    let Some(Quota { nodes, cpu, memory, storage }) = quota else {
        return BTreeMap::new();
    };
    let limits = [
        (NODES, nodes.map(|nodes| nodes.to_string())),
        (CPU, cpu.clone()),
        (MEMORY, memory.clone()),
        (STORAGE, storage.clone()),
    ];
    limits.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), ApiQuantity(limit?)))).collect()
}

fn status(object: &Organization, observed: &Observed) -> OrganizationStatus {
    let nodes = &observed.nodes;
    let count = |orderer: bool| number(nodes.iter().filter(|node| node.orderer == orderer).count());
    let running = nodes.iter().filter(|node| node.running).count();
    let quota = object.spec.quota.clone().unwrap_or_default();
    let sum = |text: fn(&NodeFacts) -> &str| {
        let amounts = nodes.iter().filter_map(|node| Quantity::parse(text(node)));
        amounts.fold(Quantity::default(), Quantity::plus).to_string()
    };
    // Kubernetes' own count, where there is a quota, has what else takes of it: contracts, for example.
    let counted = observed.live.iter().find_map(|child| match child {
        Child::ResourceQuota(quota) => quota.status.as_ref()?.used.as_ref(),
        _ => None,
    });
    let usage = |resource: &str, own: String, limit: &Option<String>| {
        let used = counted.and_then(|counted| Quantity::parse(&counted.get(resource)?.0));
        Usage { used: used.map_or(own, |used| used.to_string()), limit: limit.clone() }
    };
    OrganizationStatus {
        orderers: count(true),
        peers: count(false),
        running: Some(format!("{running}/{}", nodes.len())),
        capacity: Some(Capacity {
            nodes: usage(NODES, nodes.len().to_string(), &quota.nodes.map(|nodes| nodes.to_string())),
            cpu: usage(CPU, sum(|node| &node.spec.resources.cpu), &quota.cpu),
            memory: usage(MEMORY, sum(|node| &node.spec.resources.memory), &quota.memory),
            storage: usage(STORAGE, sum(|node| &node.spec.storage.size), &quota.storage),
        }),
        ..OrganizationStatus::default()
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ResourceQuotaStatus;
    use tenter_consortium::objects::{
        ConsortiumSource, ConsortiumSpec, ImageSettings, NamespaceSettings, NodeResources, NodeSpec, NodeStorage,
        OrganizationSpec,
    };

    use super::*;
    use crate::controllers::apply::prepared;
    use crate::controllers::gates::NamespaceFacts;

    fn jane() -> Subject {
        Subject { kind: SubjectKind::User, name: "jane".into(), namespace: None }
    }

    fn organization() -> Organization {
        let mut object = Organization::new(
            "acme",
            OrganizationSpec {
                consortium: "trade".into(),
                msp_id: "AcmeMSP".into(),
                domain: "acme.example".into(),
                namespace: "trade-acme".into(),
                admins: vec![jane()],
                quota: Some(Quota { nodes: Some(4), cpu: Some("2".into()), ..Quota::default() }),
            },
        );
        object.metadata.namespace = Some("tenter-system".into());
        object
    }

    fn observed() -> Observed {
        let source = ConsortiumSource {
            repository: String::new(),
            branch: String::new(),
            path: String::new(),
            interval_seconds: 30,
            secret: None,
            verification: None,
        };
        let settings = ConsortiumSpec {
            source,
            organizations: vec!["acme".into()],
            namespaces: NamespaceSettings { allowed: vec!["trade-*".into()], create: false },
            images: ImageSettings::default(),
            subjects: vec![jane()],
            chaincode_servers: Vec::new(),
            signing: std::collections::BTreeMap::new(),
            signatures: None,
            approvals: tenter_consortium::objects::ApprovalSettings::default(),
            suspend: false,
        };
        let labels = BTreeMap::from([(LABEL_ORGANIZATION.to_owned(), "acme".to_owned())]);
        let namespace = Some(NamespaceFacts { labels, deleting: false });
        Observed { settings: Some(settings), namespace, authority: Some(true), ..Observed::default() }
    }

    /// The objects as an apply leaves them.
    fn applied(children: Vec<Child>) -> Vec<Child> {
        fn stored<K: crate::controllers::apply::Namespaced>(object: &K) -> K {
            serde_json::from_value(prepared(object).unwrap()).unwrap()
        }
        children
            .into_iter()
            .map(|child| match child {
                Child::Role(o) => stored(&*o).into(),
                Child::RoleBinding(o) => stored(&*o).into(),
                Child::ResourceQuota(o) => stored(&*o).into(),
                Child::PodDisruptionBudget(o) => stored(&*o).into(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn everything_is_applied_once() {
        let (object, mut observed) = (organization(), observed());
        let first = decide(&object, &observed);
        assert_eq!(first.actions.len(), 5, "{:?}", first.actions);
        observed.live = applied(wanted(&object, &[&jane()]));
        let second = decide(&object, &observed);
        assert_eq!((second.actions.len(), second.status.phase), (0, Some(Phase::Ready)));
    }

    #[test]
    fn what_is_missing_is_named() {
        let check = |change: &dyn Fn(&mut Organization, &mut Observed), phase: Phase, reason: &str| {
            let (mut object, mut observed) = (organization(), observed());
            observed.live = applied(wanted(&object, &[&jane()]));
            change(&mut object, &mut observed);
            let decision = decide(&object, &observed);
            assert_eq!((decision.status.phase, decision.verdict.reason()), (Some(phase), reason));
        };
        check(&|_, o| o.namespace = None, Phase::Invited, "NamespaceMissing");
        check(
            &|_, o| {
                o.namespace = None;
                o.settings.as_mut().unwrap().namespaces.create = true;
            },
            Phase::Invited,
            "CreatingNamespace",
        );
        check(&|_, o| o.settings.as_mut().unwrap().organizations.clear(), Phase::Invited, "OrganizationNotAllowed");
        check(&|_, o| o.authority = None, Phase::Enrolling, "AuthorityNotReady");
        check(&|_, o| o.authority = Some(false), Phase::Enrolling, "AuthorityNotReady");
        let root = Subject { kind: SubjectKind::Group, name: "system:masters".into(), namespace: None };
        check(&|object, _| object.spec.admins.push(root.clone()), Phase::Enrolling, "SubjectNotAllowed");
        check(&|object, _| object.spec.quota = None, Phase::Enrolling, "Applying");
    }

    #[test]
    fn administrators_see_no_secrets_and_only_allowed_subjects_are_bound() {
        let mut object = organization();
        object.spec.admins.push(Subject { name: "mallory".into(), ..jane() });
        let decision = decide(&object, &observed());
        let mut bound = Vec::new();
        for action in &decision.actions {
            match action {
                OrganizationAction::Apply(Child::Role(role)) => {
                    for rule in role.rules.iter().flatten() {
                        assert_eq!(rule.api_groups.as_deref(), Some([GROUP.to_owned()].as_slice()));
                        let votes = rule.resources.as_deref() == Some(["votes".to_owned()].as_slice());
                        assert!(votes || rule.verbs == ["get", "list", "watch"], "{rule:?}");
                    }
                }
                OrganizationAction::Apply(Child::RoleBinding(binding)) => {
                    bound.extend(binding.subjects.iter().flatten().map(|subject| subject.name.clone()));
                }
                _ => {}
            }
        }
        assert_eq!(bound, ["jane"]);
    }

    #[test]
    fn capacity_is_summed() {
        let spec = NodeSpec {
            organization: "acme".into(),
            msp_id: "AcmeMSP".into(),
            domain: "acme.example".into(),
            address: "a:1".into(),
            image: "i".into(),
            version: "3.1".into(),
            resources: NodeResources { cpu: "250m".into(), memory: "512Mi".into() },
            storage: NodeStorage { size: "5Gi".into(), class: None },
            expose: None,
        };
        let node = |orderer, running| NodeFacts { orderer, running, spec: spec.clone() };
        let observed = Observed { nodes: vec![node(true, true), node(false, true), node(false, false)], ..observed() };
        let status = decide(&organization(), &observed).status;
        assert_eq!((status.orderers, status.peers, status.running.as_deref()), (1, 2, Some("2/3")));
        let capacity = status.capacity.unwrap();
        assert_eq!((capacity.nodes.used.as_str(), capacity.nodes.limit.as_deref()), ("3", Some("4")));
        assert_eq!((capacity.cpu.used.as_str(), capacity.memory.used.as_str()), ("750m", "1536Mi"));
        assert_eq!((capacity.storage.used.as_str(), capacity.storage.limit), ("15Gi", None));
        // What Kubernetes counts for the quota has contracts' Pods in it too.
        let mut live = wanted(&organization(), &[&jane()]);
        for child in &mut live {
            if let Child::ResourceQuota(quota) = child {
                let used = BTreeMap::from([(CPU.to_owned(), ApiQuantity("770m".into()))]);
                quota.status = Some(ResourceQuotaStatus { used: Some(used), ..ResourceQuotaStatus::default() });
            }
        }
        let capacity = decide(&organization(), &Observed { live, ..observed }).status.capacity.unwrap();
        assert_eq!((capacity.cpu.used.as_str(), capacity.memory.used.as_str()), ("770m", "1536Mi"));
    }
}
