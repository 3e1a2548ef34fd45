//! Tables of what is decided about identities.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tenter_consortium::objects::{
    CertificateAuthoritySpec, CertificateAuthorityType, ConsortiumSource, ConsortiumSpec, FIELD_MANAGER, IdentityRole,
    IdentitySpec, ImageSettings, LABEL_IDENTITY, LABEL_ORGANIZATION, NamespaceSettings, Subject, SubjectKind,
};
use tenter_consortium::status::IdentityPhase as Phase;
use tenter_fabric::ca::{
    Authority, CertificateRequest, CertificateRoot, Revocations, Role, RootKind, Usage, revocation,
};
use tenter_fabric::x509::CertificateInfo;

use super::decide::{IdentityDecision, decide};
use super::secret::{self, Held, contents, msp_secret};
use super::{IdentityAction, Observed, Why};
use crate::controllers::apply::{MANAGED_BY, Namespaced, prepared};
use crate::controllers::children::Child;
use crate::controllers::gates::NamespaceFacts;
use crate::controllers::labels;
use crate::controllers::materials::{Material, randomness, tests as pki};
use crate::resources::Identity;

struct World {
    object: Identity,
    observed: Observed,
    root: CertificateRoot,
    secret: Option<Secret>,
    hour: i64,
}

fn jane() -> Subject {
    Subject { kind: SubjectKind::User, name: "jane".into(), namespace: None }
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
        images: ImageSettings::default(),
        subjects: vec![jane()],
        chaincode_servers: Vec::new(),
        signing: std::collections::BTreeMap::new(),
        signatures: None,
        approvals: tenter_consortium::objects::ApprovalSettings::default(),
        suspend: false,
    }
}

/// An identity of an organization that is ready, and that has nothing yet.
fn world(role: IdentityRole, subject: Option<Subject>) -> World {
    let spec = IdentitySpec {
        consortium: "trade".into(),
        organization: "acme".into(),
        role,
        common_name: None,
        secret_name: None,
        subject,
        lifetime_hours: Some(300),
        revoked: false,
    };
    let mut object = Identity::new("shop", spec);
    object.metadata.namespace = Some("trade-acme".into());
    object.metadata.uid = Some("uid".into());
    let root = pki::root(RootKind::Enrolment);
    let data = [
        (labels::MSP_CACERTS, root.cert_pem.clone()),
        (labels::MSP_TLSCACERTS, pki::root(RootKind::Tls).cert_pem),
        (labels::MSP_CONFIG, "NodeOUs: {}".to_owned()),
    ];
    let labels = BTreeMap::from([(LABEL_ORGANIZATION.to_owned(), "acme".to_owned())]);
    let observed = Observed {
        consortium: "trade".into(),
        settings: settings(),
        namespace: Some(NamespaceFacts { labels, deleting: false }),
        authority: Some(CertificateAuthoritySpec {
            organization: "acme".into(),
            msp_id: "AcmeMSP".into(),
            domain: "acme.example".into(),
            authority_type: CertificateAuthorityType::Builtin,
            certificate_lifetime_hours: 300,
            root_lifetime_hours: 10_000,
        }),
        msp: Some(map(data.map(|(key, text)| (key.to_owned(), text)))),
        root: Material::Usable(Box::new(pki::info(&root))),
        secret: Held::default(),
        record: None,
        revocations: None,
        channels: vec!["trade".into()],
        live: Vec::new(),
    };
    World { object, observed, root, secret: None, hour: 0 }
}

fn client() -> World {
    world(IdentityRole::Client, Some(jane()))
}

/// Another root than the one on record.
fn another_root() -> Material {
    Material::Usable(Box::new(pki::info(&pki::root(RootKind::Enrolment))))
}

fn map(data: impl IntoIterator<Item = (String, String)>) -> ConfigMap {
    ConfigMap { data: Some(data.into_iter().collect()), ..ConfigMap::default() }
}

fn add(map: &mut Option<ConfigMap>, entries: impl IntoIterator<Item = (String, String)>) {
    map.get_or_insert_default().data.get_or_insert_default().extend(entries);
}

/// The object as the API server holds it after an apply.
fn stored<K: Namespaced>(object: &K) -> K {
    serde_json::from_value(prepared(object).unwrap()).unwrap()
}

impl World {
    fn decide(&self) -> IdentityDecision {
        decide(&self.object, &self.observed, pki::at(self.hour))
    }

    fn authority(&self) -> Authority {
        Authority::load(&self.root).unwrap()
    }

    /// Puts a Secret of the identity there, as it is read afterwards.
    fn put(&mut self, mut secret: Secret) {
        let labels = [(MANAGED_BY, FIELD_MANAGER), (LABEL_IDENTITY, "shop")];
        secret.metadata.labels = Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        self.observed.secret = Held::of(Some(&secret), "shop");
        self.secret = Some(secret);
    }

    fn remove_secret(&mut self) {
        self.observed.secret = Held::default();
        self.secret = None;
    }

    fn serial(&self) -> String {
        self.observed.certificate().unwrap().serial.clone()
    }

    /// Carries a decision out as the actions would, once.
    fn carry_out(&mut self, decision: &IdentityDecision) {
        for action in &decision.actions {
            match action {
                IdentityAction::Enrol(request, _) => {
                    let made = self.authority().issue(request, pki::at(self.hour), &mut randomness()).unwrap();
                    let info = CertificateInfo::from_pem(&made.cert_pem).unwrap();
                    add(&mut self.observed.record, [(info.serial, info.not_after.to_string())]);
                    let public = self.observed.public().unwrap();
                    match self.secret.clone() {
                        None => self.put(msp_secret(kube::core::ObjectMeta::default(), &made, &public)),
                        Some(held) => self.put(Secret { data: Some(contents(&made, &public)), ..held }),
                    }
                }
                IdentityAction::Adopt(serial, end) => {
                    add(&mut self.observed.record, [(serial.clone(), end.clone())]);
                }
                IdentityAction::Complete(public) => {
                    let mut held = self.secret.clone().unwrap();
                    public.write(held.data.as_mut().unwrap());
                    self.put(held);
                }
                IdentityAction::Revoke(serials) => add(&mut self.observed.revocations, serials.clone()),
                IdentityAction::Apply(child) => {
                    self.observed.live.retain(|live| format!("{live:?}") != format!("{child:?}"));
                    self.observed.live.push(match child {
                        Child::Role(role) => stored(&**role).into(),
                        Child::RoleBinding(binding) => stored(&**binding).into(),
                        other => panic!("{other:?}"),
                    });
                }
            }
        }
    }

    /// The certificate authority signs what is on record as revoked.
    fn publish(&mut self) {
        let revoked: Revocations =
            self.observed.revoked().iter().filter_map(|(serial, at)| revocation(serial, at)).collect();
        let list = self.authority().revocation_list(&revoked).unwrap();
        add(&mut self.observed.msp, [(labels::MSP_CRLS.to_owned(), list)]);
    }

    fn settle(mut self) -> Self {
        for _ in 0..5 {
            let decision = self.decide();
            self.carry_out(&decision);
        }
        assert_eq!(words(&self.decide()), "", "{:?}", self.decide());
        self
    }

    fn readers(&self) -> Vec<String> {
        self.observed
            .live
            .iter()
            .filter_map(|child| match child {
                Child::RoleBinding(binding) => binding.subjects.as_ref(),
                _ => None,
            })
            .flatten()
            .map(|subject| subject.name.clone())
            .collect()
    }
}

fn words(decision: &IdentityDecision) -> String {
    let word = |action: &IdentityAction| format!("{action:?}").split([' ', '(']).next().unwrap_or_default().to_owned();
    decision.actions.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn seen(decision: &IdentityDecision) -> (Option<Phase>, String, String) {
    (decision.status.phase, decision.verdict.reason().to_owned(), words(decision))
}

fn expect(phase: Phase, reason: &str, actions: &str) -> (Option<Phase>, String, String) {
    (Some(phase), reason.to_owned(), actions.to_owned())
}

#[test]
fn enrolled_then_readable_then_nothing() {
    for role in [IdentityRole::Client, IdentityRole::Admin] {
        let mut world = world(role, Some(jane()));
        let mut steps = Vec::new();
        for _ in 0..4 {
            let decision = world.decide();
            steps.push(seen(&decision));
            world.carry_out(&decision);
        }
        assert_eq!(
            steps,
            [
                expect(Phase::Registering, "Enrolling", "Enrol"),
                expect(Phase::Enrolled, "Applying", "Apply Apply"),
                expect(Phase::Enrolled, "Enrolled", ""),
                expect(Phase::Enrolled, "Enrolled", ""),
            ]
        );
        let status = world.decide().status;
        let certificate = world.observed.certificate().unwrap();
        let unit = if role == IdentityRole::Admin { "admin" } else { "client" };
        assert_eq!(certificate.organizational_units, [unit]);
        assert_eq!(status.certificate_subject.as_deref(), Some(format!("CN=shop.acme.example,OU={unit}").as_str()));
        assert_eq!((status.issued, status.revoked, status.secret.as_deref()), (1, 0, Some("identity-shop")));
        assert_eq!(world.readers(), ["jane"]);
    }
    // Nobody has to read it: a Pod that mounts it needs no binding.
    let world = world(IdentityRole::Client, None).settle();
    assert_eq!((world.observed.live.len(), world.decide().status.phase), (0, Some(Phase::Enrolled)));
}

#[test]
fn only_its_own_organizations_namespace_will_do() {
    let check = |change: &dyn Fn(&mut World), reason: &str| {
        let mut world = client();
        change(&mut world);
        assert_eq!(seen(&world.decide()), expect(Phase::Registering, reason, ""));
    };
    check(&|w| w.observed.settings.organizations.clear(), "OrganizationNotAllowed");
    check(&|w| w.observed.settings.namespaces.allowed.clear(), "NamespaceNotAllowed");
    check(&|w| w.observed.namespace = None, "NamespaceMissing");
    check(
        &|w| {
            w.observed.settings.organizations = vec!["*".into()];
            w.object.spec.organization = "globex".into();
        },
        "NamespaceTaken",
    );
    check(&|w| w.observed.namespace.as_mut().unwrap().labels.clear(), "NamespaceNotLabelled");
    check(&|w| w.observed.authority = None, "AuthorityNotReady");
    check(&|w| w.observed.authority.as_mut().unwrap().organization = "globex".into(), "OrganizationDiffers");
    check(&|w| w.observed.msp = None, "AuthorityNotReady");
    check(
        &|w| drop(w.observed.msp.as_mut().unwrap().data.as_mut().unwrap().remove(labels::MSP_TLSCACERTS)),
        "AuthorityNotReady",
    );
    check(&|w| w.observed.root = Material::Absent, "AuthorityNotReady");
    check(&|w| w.observed.root = another_root(), "AuthorityNotReady");
    check(&|w| w.object.metadata.name = Some("config-admin".into()), "ReservedName");
    check(&|w| w.object.spec.secret_name = Some("ca-enrolment".into()), "ReservedSecretName");
}

#[test]
fn only_allowed_subjects_read_and_administrators_have_one() {
    let mallory = Subject { name: "mallory".into(), ..jane() };
    // A client is enrolled all the same; nobody else is let in.
    let client = world(IdentityRole::Client, Some(mallory.clone())).settle();
    assert_eq!(seen(&client.decide()), expect(Phase::Enrolled, "SubjectNotAllowed", ""));
    assert_eq!(client.readers(), Vec::<String>::new());
    // An administrator's key is not even made.
    for (subject, reason) in [(Some(mallory), "SubjectNotAllowed"), (None, "SubjectMissing")] {
        let admin = world(IdentityRole::Admin, subject).settle();
        assert_eq!(seen(&admin.decide()), expect(Phase::Registering, reason, ""));
    }
    // A subject that is not allowed any more can read no longer.
    let mut admin = world(IdentityRole::Admin, Some(jane())).settle();
    assert_eq!(admin.readers(), ["jane"]);
    admin.observed.settings.subjects.clear();
    let decision = admin.decide();
    assert_eq!(seen(&decision), expect(Phase::Enrolled, "Applying", "Apply"));
    admin.carry_out(&decision);
    assert_eq!(admin.readers(), Vec::<String>::new());
    assert_eq!(seen(&admin.decide()), expect(Phase::Enrolled, "SubjectNotAllowed", ""));
    // Nor is one that the spec does not name any more.
    let mut client = self::client().settle();
    client.object.spec.subject = None;
    let client = client.settle();
    assert_eq!((client.readers().len(), client.decide().verdict.reason()), (0, "Enrolled"));
}

#[test]
fn a_role_grants_reading_one_secret() {
    let world = client().settle();
    let rules = world.observed.live.iter().find_map(|child| match child {
        Child::Role(role) => role.rules.clone(),
        _ => None,
    });
    let [rule] = rules.unwrap().try_into().unwrap();
    assert_eq!(rule.resources.unwrap(), ["secrets"]);
    assert_eq!(rule.resource_names.unwrap(), ["identity-shop"]);
    assert_eq!(rule.verbs, ["get"]);
}

#[test]
fn it_is_renewed_in_time_with_a_new_key() {
    let mut world = client().settle();
    let before = world.observed.certificate().unwrap().clone();
    world.hour = 199;
    assert_eq!(seen(&world.decide()), expect(Phase::Enrolled, "Enrolled", ""));
    world.hour = 201;
    let decision = world.decide();
    assert_eq!(seen(&decision), expect(Phase::Renewing, "Enrolling", "Enrol"));
    assert!(matches!(&decision.actions[0], IdentityAction::Enrol(_, Why::Renewal)), "{decision:?}");
    world.carry_out(&decision);
    assert_eq!(seen(&world.decide()), expect(Phase::Enrolled, "Enrolled", ""));
    let after = world.observed.certificate().unwrap();
    assert_ne!(before.public_key_fingerprint, after.public_key_fingerprint);
    assert_eq!(world.decide().status.issued, 2);
}

#[test]
fn what_could_not_be_renewed_expires_and_comes_back() {
    let mut world = client().settle();
    world.observed.root = Material::Absent;
    let check = |world: &World, phase: Phase| assert_eq!(seen(&world.decide()), expect(phase, "AuthorityNotReady", ""));
    world.hour = 100;
    check(&world, Phase::Enrolled);
    world.hour = 250;
    check(&world, Phase::Renewing);
    world.hour = 301;
    check(&world, Phase::Expired);
    world.observed.root = Material::Usable(Box::new(pki::info(&world.root)));
    let decision = world.decide();
    assert_eq!(seen(&decision), expect(Phase::Expired, "Enrolling", "Enrol"));
    world.carry_out(&decision);
    assert_eq!(seen(&world.decide()), expect(Phase::Enrolled, "Enrolled", ""));
    // Its root ends: nothing that is issued would live longer.
    world.hour = 9_950;
    let world = { world.settle() };
    let mut world = World { hour: 10_001, ..world };
    assert_eq!(seen(&world.decide()), expect(Phase::Expired, "Expired", ""));
    world.remove_secret();
    assert_eq!(seen(&world.decide()), expect(Phase::Registering, "RootExpired", ""));
}

#[test]
fn what_was_done_to_its_secret_by_hand_is_put_right() {
    let check = |change: &dyn Fn(&mut World), actions: &str, found: &str| {
        let mut world = client().settle();
        change(&mut world);
        let decision = world.decide();
        assert_eq!(words(&decision), actions, "{found}");
        if let Some(IdentityAction::Enrol(_, why)) = decision.actions.first() {
            assert!(matches!(why, Why::Restored(text) if text.contains(found)), "{why:?}");
        }
        world.carry_out(&decision);
        assert_eq!(seen(&world.decide()), expect(Phase::Enrolled, "Enrolled", ""), "{found}");
    };
    let edit = |world: &mut World, key: &str, value: Option<&[u8]>| {
        let mut held = world.secret.clone().unwrap();
        let data = held.data.as_mut().unwrap();
        data.remove(key);
        data.extend(value.map(|bytes| (key.to_owned(), k8s_openapi::ByteString(bytes.to_vec()))));
        world.put(held);
    };
    check(&World::remove_secret, "Enrol", "was gone");
    check(&|w| edit(w, secret::CERT, None), "Enrol", "has no cert.pem");
    check(&|w| edit(w, secret::CERT, Some(b"torn")), "Enrol", "cannot be read");
    check(&|w| edit(w, secret::KEY, Some(b"torn")), "Enrol", "cannot be read");
    check(&|w| edit(w, secret::CA, Some(b"another")), "Complete", "");
    check(&|w| edit(w, secret::CONFIG, None), "Complete", "");
    check(&|w| w.observed.record = None, "Adopt", "");
    // A certificate of another root, with its own key.
    let other = pki::root(RootKind::Enrolment);
    let foreign = |w: &mut World| {
        let request = CertificateRequest {
            common_name: "shop.acme.example".into(),
            usage: Usage::Enrolment(Role::Client),
            lifetime: jiff::SignedDuration::from_hours(300),
        };
        let made = Authority::load(&other).unwrap().issue(&request, pki::at(0), &mut randomness()).unwrap();
        let public = w.observed.public().unwrap();
        w.put(msp_secret(kube::core::ObjectMeta::default(), &made, &public));
    };
    check(&foreign, "Enrol", "was not issued by the organization's root");
}

#[test]
fn a_secret_of_something_else_is_never_touched_nor_given_away() {
    let mut world = client().settle();
    let mut held = world.secret.clone().unwrap();
    held.metadata.labels.as_mut().unwrap().insert(LABEL_IDENTITY.to_owned(), "other".to_owned());
    world.observed.secret = Held::of(Some(&held), "shop");
    let decision = world.decide();
    assert_eq!(words(&decision), "Apply");
    world.carry_out(&decision);
    assert_eq!(world.readers(), Vec::<String>::new());
    assert_eq!(seen(&world.decide()), expect(Phase::Registering, "ForeignSecret", ""));
}

#[test]
fn a_revocation_takes_every_certificate_and_is_for_ever() {
    let mut world = client().settle();
    world.hour = 201;
    let mut world = world.settle();
    // Expired, and still on record: a signature of it would count in a channel.
    world.hour = 402;
    let mut world = world.settle();
    assert_eq!(world.decide().status.issued, 3);
    world.object.spec.revoked = true;
    let mut steps = Vec::new();
    for _ in 0..3 {
        let decision = world.decide();
        steps.push(seen(&decision));
        world.carry_out(&decision);
    }
    assert_eq!(
        steps,
        [
            expect(Phase::Enrolled, "Applying", "Apply"),
            expect(Phase::Enrolled, "Revoking", "Revoke"),
            expect(Phase::Enrolled, "Revoking", ""),
        ]
    );
    assert_eq!((world.readers().len(), world.observed.revoked().len()), (0, 3));
    world.publish();
    let decision = world.decide();
    assert_eq!(seen(&decision), expect(Phase::Revoked, "Revoked", ""));
    assert_eq!((decision.status.issued, decision.status.revoked), (3, 3));
    assert!(decision.verdict.message().contains("channel trade refuses them once"), "{:?}", decision.verdict);

    let check = |change: &dyn Fn(&mut World), expected: (Option<Phase>, String, String)| {
        let mut changed = World {
            object: world.object.clone(),
            observed: world.observed.clone(),
            root: world.root.clone(),
            secret: world.secret.clone(),
            hour: world.hour,
        };
        change(&mut changed);
        assert_eq!(seen(&changed.decide()), expected);
    };
    // Whatever is taken away afterwards, nothing comes back.
    check(&World::remove_secret, expect(Phase::Revoked, "Revoked", ""));
    check(&|w| w.observed.revocations = None, expect(Phase::Revoked, "Revoked", ""));
    check(&|w| w.observed.record = None, expect(Phase::Revoked, "Revoked", ""));
    check(&|w| w.object.spec.revoked = false, expect(Phase::Revoked, "RevocationIsFinal", ""));
    check(
        // Another object of the same name.
        &|w| {
            w.object.spec.revoked = false;
            w.remove_secret();
        },
        expect(Phase::Registering, "RevocationIsFinal", ""),
    );
    // A list that another root signed does not count.
    check(
        &|w| {
            let list = Authority::load(&pki::root(RootKind::Enrolment)).unwrap();
            let list = list.revocation_list(&w.observed.listed()).unwrap();
            add(&mut w.observed.msp, [(labels::MSP_CRLS.to_owned(), list)]);
        },
        expect(Phase::Enrolled, "Revoking", ""),
    );
}

#[test]
fn one_that_never_had_a_certificate_gets_none_when_it_is_revoked() {
    let mut world = client();
    world.object.spec.revoked = true;
    assert_eq!(seen(&world.decide()), expect(Phase::Revoked, "Revoked", ""));
}

/// A certificate that is not the identity's own is not revoked with it, whoever put it into the Secret.
#[test]
fn only_its_own_certificates_are_revoked() {
    let mut world = client().settle();
    let own = world.serial();
    let request = CertificateRequest {
        common_name: "peer0.acme.example".into(),
        usage: Usage::Enrolment(Role::Peer),
        lifetime: jiff::SignedDuration::from_hours(300),
    };
    let made = world.authority().issue(&request, pki::at(0), &mut randomness()).unwrap();
    let public = world.observed.public().unwrap();
    world.put(msp_secret(kube::core::ObjectMeta::default(), &made, &public));
    world.object.spec.revoked = true;
    for _ in 0..3 {
        let decision = world.decide();
        world.carry_out(&decision);
    }
    assert_eq!(world.observed.revoked().into_keys().collect::<Vec<_>>(), [own]);
}

/// Of a valid identity a certificate that was in use before may be revoked by itself.
#[test]
fn an_old_certificate_may_be_revoked_alone() {
    let mut world = client().settle();
    let old = world.serial();
    world.hour = 201;
    let mut world = world.settle();
    add(&mut world.observed.revocations, [(old, pki::at(201).to_string())]);
    world.publish();
    let decision = world.decide();
    assert_eq!(seen(&decision), expect(Phase::Enrolled, "Enrolled", ""));
    assert_eq!((decision.status.issued, decision.status.revoked), (2, 1));
}

#[test]
fn keys_are_never_shown() {
    let mut world = client();
    let mut texts = Vec::new();
    for _ in 0..3 {
        let decision = world.decide();
        texts.push(format!("{decision:?}"));
        world.carry_out(&decision);
        texts.push(format!("{:?}", world.observed));
    }
    assert_ne!(world.observed.secret.material, Material::Absent);
    assert!(texts.iter().all(|text| !text.contains("PRIVATE KEY")));
}
