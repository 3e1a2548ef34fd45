//! Tables of what is decided about nodes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tenter_consortium::objects::{
    ConsortiumSource, ConsortiumSpec, ImageSettings, LABEL_ORGANIZATION, NamespaceSettings, NodeResources,
};
use tenter_fabric::ca::{CertificateRoot, RootKind};

use super::*;
use crate::controllers::apply::{Namespaced, prepared};
use crate::controllers::gates::NamespaceFacts;
use crate::controllers::materials::{material, tests as pki};
use crate::controllers::node::pod::Trouble;
use crate::controllers::node::{Neighbour, Neighbourhood, State};
use crate::controllers::orderer::OrdererKind;
use crate::resources::Orderer;

const IMAGE: &str = "docker.io/hyperledger/fabric-orderer:3.1";

struct World {
    object: Orderer,
    observed: Observed,
    enrolment: CertificateRoot,
    tls: CertificateRoot,
    hour: i64,
    revision: u32,
}

fn settings() -> ConsortiumSpec {
    ConsortiumSpec {
        source: ConsortiumSource {
            repository: String::new(),
            branch: String::new(),
            path: String::new(),
            interval_seconds: 30,
            secret: None,
            verification: None,
        },
        organizations: vec!["acme".into()],
        namespaces: NamespaceSettings { allowed: vec!["trade-*".into()], create: false },
        images: ImageSettings {
            allowed: vec!["docker.io/hyperledger".into()],
            mirrors: [("docker.io".to_owned(), "mirror.example/hub".to_owned())].into(),
        },
        subjects: vec![],
        chaincode_servers: Vec::new(),
        signing: std::collections::BTreeMap::new(),
        signatures: None,
        approvals: tenter_consortium::objects::ApprovalSettings::default(),
        suspend: false,
    }
}

pub fn orderer() -> Orderer {
    let spec = NodeSpec {
        organization: "acme".into(),
        msp_id: "AcmeMSP".into(),
        domain: "acme.example".into(),
        address: "orderer0.trade-acme.svc:7050".into(),
        image: IMAGE.into(),
        version: "3.1".into(),
        resources: NodeResources { cpu: "100m".into(), memory: "256Mi".into() },
        storage: NodeStorage { size: "1Gi".into(), class: None },
        expose: None,
    };
    let mut object = Orderer::new("orderer0", spec);
    object.metadata.namespace = Some("trade-acme".into());
    object.metadata.uid = Some("uid".into());
    object
}

/// An orderer whose organization is ready, and that has nothing yet.
fn world() -> World {
    let (enrolment, tls) = (pki::root(RootKind::Enrolment), pki::root(RootKind::Tls));
    let keys = [
        (labels::MSP_CACERTS, enrolment.cert_pem.clone()),
        (labels::MSP_TLSCACERTS, tls.cert_pem.clone()),
        (labels::MSP_CLIENTCACERTS, "clients".to_owned()),
        (labels::MSP_NODE_ADMINS, "admins".to_owned()),
        (labels::MSP_CONFIG, "config".to_owned()),
    ];
    let data = keys.into_iter().map(|(key, text)| (key.to_owned(), text)).collect();
    let labels = BTreeMap::from([(LABEL_ORGANIZATION.to_owned(), "acme".to_owned())]);
    let observed = Observed {
        consortium: "trade".into(),
        settings: Some(settings()),
        namespace: Some(NamespaceFacts { labels, deleting: false }),
        certificate_lifetime: Some(300),
        msp: Some(ConfigMap { data: Some(data), ..ConfigMap::default() }),
        ..Observed::default()
    };
    World { object: orderer(), observed, enrolment, tls, hour: 0, revision: 0 }
}

/// The object as the API server holds it after an apply.
fn stored<K: Namespaced>(object: &K) -> K {
    serde_json::from_value(prepared(object).unwrap()).unwrap()
}

impl World {
    fn decide(&self) -> NodeDecision {
        decide::<OrdererKind>(&self.object, &self.observed, pki::at(self.hour))
    }

    /// Carries a decision out as the actions and Kubernetes would.
    fn carry_out(&mut self, decision: &NodeDecision) {
        for action in &decision.actions {
            match action {
                NodeAction::Issue(issue) => {
                    let root = if issue.certificate == Certificate::Tls { &self.tls } else { &self.enrolment };
                    let issued = material(Some(&pki::issued(root, &issue.request, self.hour)));
                    match issue.certificate {
                        Certificate::Enrolment => self.observed.enrolment = issued,
                        Certificate::Tls => self.observed.tls = issued,
                    }
                }
                NodeAction::Apply(child) => self.store(child),
                NodeAction::Restart { uid } => {
                    assert_eq!(self.observed.pod.as_ref().map(|pod| &pod.uid), Some(uid));
                    self.start();
                }
            }
        }
    }

    fn store(&mut self, child: &Child) {
        let same = |live: &Child| format!("{live:?}") == format!("{child:?}");
        self.observed.live.retain(|live| !same(live));
        let child = match child {
            Child::StatefulSet(set) => {
                self.revision += 1;
                let mut set = stored(&**set);
                set.metadata.generation = Some(i64::from(self.revision));
                set.status = serde_json::from_value(json!({
                    "replicas": 1, "observedGeneration": self.revision, "updateRevision": format!("r{}", self.revision),
                }))
                .unwrap();
                set.into()
            }
            Child::ConfigMap(map) => stored(&**map).into(),
            Child::Service(service) => stored(&**service).into(),
            other => panic!("{other:?}"),
        };
        self.observed.live.push(child);
        if self.observed.pod.is_none() {
            self.start();
        }
    }

    /// Kubernetes starts the Pod from the newest template.
    fn start(&mut self) {
        let Some(set) = self.observed.stateful_set().cloned() else {
            return;
        };
        let template = &set.spec.template;
        self.observed.pod = Some(PodFacts {
            uid: format!("pod{}", self.revision),
            ready: true,
            running: true,
            revision: Some(format!("r{}", self.revision)),
            image: template.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()),
            annotations: template.metadata.as_ref().and_then(|meta| meta.annotations.clone()).unwrap_or_default(),
            ..PodFacts::default()
        });
    }

    fn settle(mut self) -> Self {
        for _ in 0..8 {
            let decision = self.decide();
            self.carry_out(&decision);
        }
        assert_eq!(self.decide().status.phase, Some(Phase::Running), "{:?}", self.decide());
        self
    }

    fn pod(&mut self) -> &mut PodFacts {
        self.observed.pod.as_mut().unwrap()
    }
}

fn words(decision: &NodeDecision) -> String {
    let word = |action: &NodeAction| format!("{action:?}").split(['(', ' ']).next().unwrap_or_default().to_owned();
    decision.actions.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn seen(decision: &NodeDecision) -> (Option<Phase>, String, String) {
    (decision.status.phase, decision.verdict.reason().to_owned(), words(decision))
}

fn expect(phase: Phase, reason: &str, actions: &str) -> (Option<Phase>, String, String) {
    (Some(phase), reason.to_owned(), actions.to_owned())
}

#[test]
fn certificates_then_objects_then_running_then_nothing() {
    let mut world = world();
    let mut steps = Vec::new();
    for _ in 0..4 {
        let decision = world.decide();
        steps.push(seen(&decision));
        world.carry_out(&decision);
    }
    assert_eq!(
        steps,
        [
            expect(Phase::Enrolling, "IssuingCertificates", "Issue Issue"),
            expect(Phase::Starting, "Applying", "Apply Apply Apply Apply"),
            expect(Phase::Running, "Running", ""),
            expect(Phase::Running, "Running", ""),
        ]
    );
    let status = world.decide().status;
    assert_eq!(status.image.as_deref(), Some("mirror.example/hub/hyperledger/fabric-orderer:3.1"));
    assert_eq!(status.certificates.len(), 2);
}

#[test]
fn what_stands_in_the_way_is_named() {
    let check = |change: &dyn Fn(&mut World), phase: Phase, reason: &str| {
        let mut world = world();
        change(&mut world);
        assert_eq!(seen(&world.decide()), expect(phase, reason, ""));
    };
    check(&|w| w.observed.namespace = None, Phase::Pending, "NamespaceMissing");
    check(&|w| w.observed.settings.as_mut().unwrap().organizations.clear(), Phase::Pending, "OrganizationNotAllowed");
    check(&|w| w.object.metadata.name = Some("ca".into()), Phase::Pending, "ReservedName");
    check(&|w| w.object.spec.image = "evil.example/orderer".into(), Phase::Pending, "ImageNotAllowed");
    check(&|w| w.observed.certificate_lifetime = None, Phase::Pending, "AuthorityNotReady");
    check(&|w| w.observed.msp = None, Phase::Pending, "AuthorityNotReady");
    check(
        &|w| drop(w.observed.msp.as_mut().unwrap().data.as_mut().unwrap().remove(labels::MSP_NODE_ADMINS)),
        Phase::Pending,
        "AuthorityNotReady",
    );
    check(&|w| w.observed.tls = Material::Unusable("torn".into()), Phase::Degraded, "SecretUnusable");
    // Keys that channels know are never made anew.
    check(&|w| w.observed.channels = vec!["trade".into()], Phase::Degraded, "SecretMissing");
}

#[test]
fn what_the_pod_says_becomes_the_phase() {
    let check = |change: &dyn Fn(&mut World), expected: (Option<Phase>, String, String)| {
        let mut world = world().settle();
        change(&mut world);
        assert_eq!(seen(&world.decide()), expected);
    };
    let trouble = |reason: &str| Some(Trouble { reason: reason.into(), message: "why".into() });
    check(&|w| w.observed.pod = None, expect(Phase::Starting, "PodMissing", ""));
    check(&|w| w.pod().ready = false, expect(Phase::Starting, "ProgramStarting", ""));
    check(&|w| w.pod().deleting = true, expect(Phase::Upgrading, "Restarting", ""));
    for reason in ["ImagePullBackOff", "CrashLoopBackOff", "Unschedulable"] {
        check(
            &|w| {
                w.pod().ready = false;
                w.pod().trouble = trouble(reason);
            },
            expect(Phase::Degraded, reason, ""),
        );
    }
    check(
        &|w| {
            w.pod().ready = false;
            w.observed.volume = Some("it is Pending".into());
        },
        expect(Phase::Starting, "VolumeNotBound", ""),
    );
}

#[test]
fn a_changed_template_waits_for_the_others() {
    let neighbours = |state| {
        let nodes = vec![Neighbour { name: "trade-b/orderer0".into(), state, outdated: false }];
        Neighbourhood { nodes, channels: Vec::new() }
    };
    let mut world = world().settle();
    world.object.spec.image = "docker.io/hyperledger/fabric-orderer:3.2".into();
    assert_eq!(seen(&world.decide()), expect(Phase::Upgrading, "Applying", "Apply"));
    let decision = world.decide();
    world.carry_out(&decision);
    world.observed.neighbours = neighbours(State::Down);
    assert_eq!(seen(&world.decide()), expect(Phase::Upgrading, "WaitingToRestart", ""));
    // One that runs may count though it is not ready; one that does not run has nothing to lose.
    world.pod().ready = false;
    assert_eq!(seen(&world.decide()), expect(Phase::Upgrading, "WaitingToRestart", ""));
    world.pod().running = false;
    assert_eq!(seen(&world.decide()), expect(Phase::Upgrading, "Restarting", "Restart"));
    (world.pod().ready, world.pod().running) = (true, true);
    world.observed.neighbours = neighbours(State::Serving);
    let decision = world.decide();
    assert_eq!(seen(&decision), expect(Phase::Upgrading, "Restarting", "Restart"));
    world.carry_out(&decision);
    assert_eq!(seen(&world.decide()), expect(Phase::Running, "Running", ""));
}

#[test]
fn a_restart_that_waits_for_long_calls_a_person_and_goes_on_doing_so() {
    let check = |kind: &str, reason: &str, hour: i64, expect: bool| {
        let condition = Condition {
            condition_type: kind.into(),
            status: "True".into(),
            observed_generation: 1,
            last_transition_time: pki::at(0).to_string(),
            reason: reason.into(),
            message: String::new(),
        };
        assert_eq!(waited_long(&[condition], pki::at(hour)), expect, "{kind} {reason} {hour}");
    };
    check(RECONCILING, WAITING_TO_RESTART, 0, false);
    check(RECONCILING, WAITING_TO_RESTART, 1, true);
    check(RECONCILING, "Applying", 1, false);
    check(STALLED, RESTART_BLOCKED, 0, true);
    check(STALLED, "StorageChangeRefused", 1, false);
}

#[test]
fn renewal_keeps_the_keys_and_restarts() {
    let mut world = world().settle();
    world.hour = 250;
    let decision = world.decide();
    assert_eq!(words(&decision), "Issue Issue");
    for action in &decision.actions {
        assert!(matches!(action, NodeAction::Issue(issue) if issue.same_key), "{action:?}");
    }
    world.carry_out(&decision);
    let decision = world.decide();
    world.carry_out(&decision);
    assert_eq!(seen(&world.decide()), expect(Phase::Rotating, "Restarting", "Restart"));
}

/// A node reads its MSP folder at start only: with a new revocation list it is restarted, as with new certificates.
#[test]
fn a_revocation_list_is_mounted_and_restarts() {
    let mut world = world().settle();
    let crls = |world: &World| serde_json::to_string(world.observed.stateful_set().unwrap()).unwrap().contains("crls/");
    assert!(!crls(&world));
    for list in ["one", "two"] {
        let data = world.observed.msp.as_mut().and_then(|msp| msp.data.as_mut()).unwrap();
        data.insert(labels::MSP_CRLS.to_owned(), list.to_owned());
        let decision = world.decide();
        assert_eq!(words(&decision), "Apply");
        world.carry_out(&decision);
        assert!(crls(&world));
        let decision = world.decide();
        assert_eq!(seen(&decision), expect(Phase::Rotating, "Restarting", "Restart"));
        world.carry_out(&decision);
        assert_eq!(seen(&world.decide()), expect(Phase::Running, "Running", ""));
    }
}

#[test]
fn changes_that_cannot_be_are_refused() {
    let mut world = world().settle();
    // The API server writes quantities in its own way.
    world.object.spec.storage.size = "1024Mi".into();
    assert_eq!(seen(&world.decide()), expect(Phase::Running, "Running", ""));
    world.object.spec.storage.size = "5Gi".into();
    assert_eq!(seen(&world.decide()), expect(Phase::Running, "StorageChangeRefused", ""));
    world.object.spec.storage.size = "1Gi".into();
}

#[test]
fn a_new_address_is_covered_beside_the_old_one_while_channels_name_that() {
    let hosts = |world: &World| {
        let decision = world.decide();
        assert_eq!(words(&decision), "Issue");
        let NodeAction::Issue(issue) = &decision.actions[0] else { unreachable!("{decision:?}") };
        assert!(issue.same_key, "channels know the node by its key");
        let Usage::TlsNode { dns_names, .. } = &issue.request.usage else { unreachable!("{issue:?}") };
        ["orderers.acme.example", "orderer0.elsewhere.example"].map(|host| dns_names.contains(host))
    };
    let mut world = world();
    world.object.spec.address = "orderer0.elsewhere.example:7050".into();
    let mut world = world.settle();
    world.object.spec.address = "orderers.acme.example:443".into();
    world.observed.channels = vec!["trade".into()];
    assert_eq!(hosts(&world), [true, true]);
    world.observed.channels.clear();
    assert_eq!(hosts(&world), [true, false], "nobody knows the old address");
}

#[test]
fn an_expired_identity_stops_before_a_restart() {
    let mut world = world().settle();
    // The root ended: nothing can be issued that lives longer.
    world.hour = 10_001;
    let decision = world.decide();
    assert_eq!((decision.actions.len(), decision.status.phase), (0, Some(Phase::Degraded)), "{decision:?}");
}

#[test]
fn manifests() {
    let world = world().settle();
    for child in &world.observed.live {
        let (name, mut value) = match child {
            Child::StatefulSet(set) => ("orderer_stateful_set", serde_json::to_value(&**set).unwrap()),
            Child::Service(service) if service.metadata.name.as_deref() == Some("orderer0") => {
                ("orderer_service", serde_json::to_value(&**service).unwrap())
            }
            Child::ConfigMap(map) => {
                insta::assert_snapshot!("orderer_yaml", map.data.as_ref().unwrap()["orderer.yaml"]);
                continue;
            }
            _ => continue,
        };
        // Certificates are new in every run.
        value["metadata"]["annotations"][apply::APPLIED] = json!("[hash]");
        if let Some(hash) = value.pointer_mut("/spec/template/metadata/annotations/tenter.dev~1certificates") {
            *hash = json!("[hash]");
        }
        insta::assert_snapshot!(name, serde_yaml::to_string(&value).unwrap());
    }
}

#[test]
fn an_exposed_node_has_a_service_for_its_grpc_port_alone() {
    use k8s_openapi::api::core::v1::Service;
    use tenter_consortium::objects::{Expose, ExposeType};
    let external = |world: &World| -> Option<Service> {
        world.observed.live.iter().rev().find_map(|child| match child {
            Child::Service(service) if service.metadata.name.as_deref() == Some("orderer0-external") => {
                Some((**service).clone())
            }
            _ => None,
        })
    };
    let mut world = world().settle();
    assert_eq!(external(&world), None);
    let check = |world: &World, kind: &str, port: i32, node_port: Option<i32>| {
        let spec = external(world).unwrap().spec.unwrap();
        assert_eq!(spec.type_.as_deref(), Some(kind));
        let ports: Vec<_> =
            spec.ports.unwrap().into_iter().map(|port| (port.name, port.port, port.node_port)).collect();
        assert_eq!(ports, [(Some("grpc".to_owned()), port, node_port)]);
    };
    world.object.spec.address = "orderer0.acme.example:30750".into();
    world.object.spec.expose = Some(Expose { expose_type: ExposeType::NodePort, port: 30750 });
    world = world.settle();
    check(&world, "NodePort", 7050, Some(30750));
    world.object.spec.expose = Some(Expose { expose_type: ExposeType::LoadBalancer, port: 443 });
    world = world.settle();
    check(&world, "LoadBalancer", 443, None);
    // What is no longer exposed is only reached from inside.
    world.object.spec.expose = None;
    world = world.settle();
    check(&world, "ClusterIP", 7050, None);
}
