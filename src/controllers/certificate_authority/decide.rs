//! Decides what a certificate authority needs: pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use tenter_consortium::objects::CertificateAuthoritySpec;
use tenter_consortium::status::{CertificateAuthorityPhase as Phase, CertificateAuthorityStatus};
use tenter_fabric::ca::{CertificateRequest, RevocationList, Revocations, Role, RootKind, Usage, revocation};
use tenter_fabric::x509::CertificateInfo;

use super::{CaAction, Observed, ROOTS};
use crate::controllers::children::Child;
use crate::controllers::conditions::{Verdict, rfc3339};
use crate::controllers::driver::Decision;
use crate::controllers::failure::Failure;
use crate::controllers::gates;
use crate::controllers::labels::{self, Belonging};
use crate::controllers::materials::{Material, Need, hours, need, next_look};
use crate::resources::CertificateAuthority;

type CaDecision = Decision<CaAction, CertificateAuthorityStatus>;

/// How long before its end a root is announced to end, however short its certificates live.
const HORIZON: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The roles of an MSP, without naming a certificate: it would have to change with the root
/// (`msp/configbuilder.go` takes any root then).
const CONFIG_YAML: &str = "\
NodeOUs:
  Enable: true
  ClientOUIdentifier:
    OrganizationalUnitIdentifier: client
  PeerOUIdentifier:
    OrganizationalUnitIdentifier: peer
  AdminOUIdentifier:
    OrganizationalUnitIdentifier: admin
  OrdererOUIdentifier:
    OrganizationalUnitIdentifier: orderer
";

/// One of the organization's own identities.
pub struct Identity {
    /// Its Secret.
    pub secret: &'static str,
    /// The Secret of the root that issues it.
    pub root: &'static str,
    /// What is issued.
    pub request: CertificateRequest,
}

/// The organization's own identities.
pub fn identities(spec: &CertificateAuthoritySpec) -> [Identity; 4] {
    let lifetime = hours(spec.certificate_lifetime_hours);
    let identity = |secret, root, prefix: &str, usage| Identity {
        secret,
        root,
        request: CertificateRequest { common_name: format!("{prefix}.{}", spec.domain), usage, lifetime },
    };
    let client = Usage::Enrolment(Role::Client);
    [
        identity(labels::IDENTITY_READER, labels::ROOT_ENROLMENT, "reader", client.clone()),
        identity(labels::IDENTITY_NODE_ADMIN, labels::ROOT_ENROLMENT, "node-admin", client),
        identity(labels::IDENTITY_CONFIG_ADMIN, labels::ROOT_ENROLMENT, "config-admin", Usage::Enrolment(Role::Admin)),
        identity(labels::CLIENT_OPERATIONS, labels::ROOT_CLIENTS, "operations", Usage::TlsClient),
    ]
}

/// Whose the authority's objects are.
pub fn belonging<'a>(object: &'a CertificateAuthority, observed: &'a Observed, namespace: &'a str) -> Belonging<'a> {
    Belonging {
        consortium: &observed.consortium,
        organization: &object.spec.organization,
        namespace,
        component: labels::CERTIFICATE_AUTHORITY,
        node: None,
    }
}

/// The key of the public MSP that holds a root's certificate.
const fn record_key(kind: RootKind) -> &'static str {
    match kind {
        RootKind::Enrolment => labels::MSP_CACERTS,
        RootKind::Tls => labels::MSP_TLSCACERTS,
        RootKind::Clients => labels::MSP_CLIENTCACERTS,
    }
}

fn entry<'a>(msp: &'a ConfigMap, key: &str) -> Option<&'a str> {
    msp.data.as_ref()?.get(key).map(String::as_str).filter(|text| !text.is_empty())
}

/// The root of a Secret, as it was seen.
pub fn recorded_root<'a>(observed: &'a Observed, secret: &str) -> Result<&'a CertificateInfo, Failure> {
    observed
        .roots
        .get(secret)
        .and_then(Material::certificate)
        .ok_or_else(|| Failure::new("RootMissing", format!("the root in Secret {secret} was not seen")))
}

/// The revocation list that is published, if it is one of the root: text that is none is signed anew.
fn published_list(observed: &Observed) -> Option<(&str, RevocationList)> {
    let text = observed.msp.as_ref().and_then(|msp| entry(msp, labels::MSP_CRLS))?;
    let root = observed.roots.get(labels::ROOT_ENROLMENT)?.certificate()?;
    let list = RevocationList::from_pem(text).ok().filter(|list| list.is_signed_by(root))?;
    Some((text, list))
}

fn recorded(observed: &Observed) -> impl Iterator<Item = (&String, &String)> {
    observed.revocations.iter().flat_map(|record| record.data.iter().flatten())
}

/// Says that an entry of the record cannot be read: the certificate that somebody meant still counts.
fn unreadable_revocation(observed: &Observed, namespace: &str) -> Option<Verdict> {
    let (serial, at) = recorded(observed).find(|(serial, at)| revocation(serial, at).is_none())?;
    let message = format!(
        "{serial}: {at} of ConfigMap {namespace}/{} revokes nothing: expected a serial number in hexadecimal digits and \
         a time such as 2026-03-01T12:00:00Z; put it right, or take it out",
        labels::REVOCATIONS
    );
    Some(Verdict::stalled("RevocationUnreadable", message))
}

/// Everything that was ever revoked: what is on record, and what is published already. Neither of the two is enough to
/// take a certificate back into use.
pub fn revocations(observed: &Observed) -> Revocations {
    let mut all: Revocations = recorded(observed).filter_map(|(serial, at)| revocation(serial, at)).collect();
    all.extend(published_list(observed).map(|(_, list)| list.revoked).unwrap_or_default());
    all
}

/// Decides.
pub fn decide(object: &CertificateAuthority, observed: &Observed, now: Timestamp) -> CaDecision {
    let namespace = object.namespace().unwrap_or_default();
    let status = status(observed);
    let organization = &object.spec.organization;
    let gate = gates::admit(&observed.settings, organization, &namespace).and_then(|()| {
        gates::own_namespace(observed.namespace.as_ref(), &observed.consortium, organization, &namespace)
    });
    if let Err(verdict) = gate {
        return refuse(status, verdict);
    }
    if let Some(verdict) = root_trouble(observed, &namespace, now) {
        return refuse(status, verdict);
    }
    let missing: Vec<CaAction> = ROOTS
        .into_iter()
        .filter(|(secret, _)| observed.roots.get(*secret) == Some(&Material::Absent))
        .map(|(secret, kind)| CaAction::CreateRoot(secret, kind))
        .collect();
    if !missing.is_empty() {
        let verdict = Verdict::reconciling("CreatingRoots", "the organization's roots are being made");
        return Decision::act(missing, phase(status, Phase::Starting), verdict);
    }
    let due: Vec<CaAction> = ROOTS
        .into_iter()
        .filter(|(secret, _)| {
            let root = observed.roots.get(*secret).and_then(Material::certificate);
            root.is_some_and(|root| is_renewal_due(root, &object.spec, now) && is_renewable(root))
        })
        .map(|(secret, _)| CaAction::RenewRoot(secret))
        .collect();
    if !due.is_empty() {
        let verdict =
            Verdict::reconciling("RenewingRoots", "certificates of the organization's roots are being renewed");
        return Decision::act(due, phase(status, Phase::Starting), verdict);
    }
    // The record comes before anything that the roots issue.
    let revoked = revocations(observed);
    let list = published_list(observed).filter(|(_, published)| published.revoked == revoked);
    if list.is_none() && !revoked.is_empty() {
        let message = format!("the revocation list is being signed, with {} certificates on it", revoked.len());
        let verdict = Verdict::reconciling("SigningRevocations", message);
        return Decision::act(vec![CaAction::PublishRevocations(revoked)], phase(status, Phase::Starting), verdict);
    }
    let msp = public_msp(object, observed, &namespace, list.map(|(text, _)| text));
    if !msp.is_current(&observed.msp.clone().map(Child::from).into_iter().collect::<Vec<_>>()) {
        let verdict = Verdict::reconciling("PublishingMSP", "the organization's public MSP is being written");
        return Decision::act(vec![CaAction::Publish(msp)], phase(status, Phase::Starting), verdict);
    }
    decide_identities(object, observed, status, now)
}

fn decide_identities(
    object: &CertificateAuthority,
    observed: &Observed,
    status: CertificateAuthorityStatus,
    now: Timestamp,
) -> CaDecision {
    let mut actions = Vec::new();
    for identity in identities(&object.spec) {
        let material = observed.identities.get(identity.secret).unwrap_or(&Material::Absent);
        let Some(root) = observed.roots.get(identity.root).and_then(Material::certificate) else {
            continue;
        };
        match need(material, &identity.request, root, now) {
            Need::Nothing => {}
            Need::New => actions.push(CaAction::Issue(identity.secret, identity.root, identity.request)),
            Need::Renewal(_) => actions.push(CaAction::Renew(identity.secret, identity.root, identity.request)),
            Need::Person(why) => {
                let message = format!("{why}: remove Secret {} to have it issued anew", identity.secret);
                return refuse(status, Verdict::stalled("IdentityUnusable", message));
            }
        }
    }
    if !actions.is_empty() {
        let verdict = Verdict::reconciling("IssuingIdentities", "the organization's identities are being issued");
        return Decision::act(actions, phase(status, Phase::Starting), verdict);
    }
    let requeue = next_look(observed.identities.values().filter_map(Material::certificate), now);
    let namespace = object.namespace().unwrap_or_default();
    let verdict = unreadable_revocation(observed, &namespace).or_else(|| root_ends(object, observed, now));
    let verdict = verdict.unwrap_or_else(|| {
        let message = format!("it issues for {}", object.spec.domain);
        Verdict::ready("Issuing", message)
    });
    Decision { requeue, ..Decision::settled(phase(status, Phase::Ready), verdict) }
}

/// Whether a root has less than a third of the life that is wanted of roots left, and would gain by a renewal.
fn is_renewal_due(root: &CertificateInfo, spec: &CertificateAuthoritySpec, now: Timestamp) -> bool {
    let lifetime = hours(spec.root_lifetime_hours);
    root.not_after.duration_since(now) < lifetime / 3
}

/// Whether Tenter can renew a root: its identifier, by which the certificates that it issued name it, is the one that
/// Tenter would give it. A person may have put another there.
fn is_renewable(root: &CertificateInfo) -> bool {
    root.public_key().is_ok_and(|key| root.subject_key_identifier.as_deref() == Some(&key.subject_key_identifier()[..]))
}

/// Says that a root that is not Tenter's to renew ends so soon that what it issues now lives shorter than is wanted, or
/// within [`HORIZON`].
fn root_ends(object: &CertificateAuthority, observed: &Observed, now: Timestamp) -> Option<Verdict> {
    let lifetime = hours(object.spec.certificate_lifetime_hours);
    let roots = ROOTS.into_iter().filter_map(|(secret, _)| Some((secret, observed.roots.get(secret)?.certificate()?)));
    let (secret, root) = roots.filter(|(_, root)| !is_renewable(root)).min_by_key(|(_, root)| root.not_after)?;
    let left = root.not_after.duration_since(now);
    let cut = if left < lifetime {
        "; what it issues from now on ends with it, earlier than is wanted"
    } else if left < HORIZON {
        ""
    } else {
        return None;
    };
    let message = format!(
        "it issues for {}, but the root in Secret {secret} ends on {}{cut}: it was made elsewhere, and Tenter cannot renew \
         it; put a certificate of the same key and name, and of the same beginning, that ends later into the Secret",
        object.spec.domain,
        rfc3339(root.not_after)
    );
    Some(Verdict::ready("RootEndsSoon", message))
}

/// What is wrong with the roots, if anything is: one is gone, another than on record, unusable or over.
fn root_trouble(observed: &Observed, namespace: &str, now: Timestamp) -> Option<Verdict> {
    for (secret, kind) in ROOTS {
        let recorded = observed.msp.as_ref().and_then(|msp| entry(msp, record_key(kind)));
        let verdict = match observed.roots.get(secret).unwrap_or(&Material::Absent) {
            Material::Absent if recorded.is_some() || observed.has_issued() => Verdict::stalled(
                "RootMissing",
                format!(
                    "Secret {namespace}/{secret} is gone, and certificates of that root are in use: restore it from a \
                     backup; a new root would cut the organization off its channels"
                ),
            ),
            Material::Absent => continue,
            Material::Unusable(why) => {
                let message = format!("{why}, in namespace {namespace}: restore the root from a backup");
                Verdict::stalled("RootUnusable", message)
            }
            Material::Usable(root) => match recorded.map(CertificateInfo::from_pem) {
                // One of the same key is the recorded one renewed: it is published next.
                Some(Ok(record)) if !root.is_same_key_and_name(&record) => Verdict::stalled(
                    "RootReplaced",
                    format!(
                        "Secret {namespace}/{secret} holds the root {}, but the ConfigMap {namespace}/{} has {} on \
                         record: restore the first",
                        root.certificate_fingerprint,
                        labels::MSP,
                        record.certificate_fingerprint
                    ),
                ),
                Some(Err(error)) => Verdict::stalled(
                    "RecordUnreadable",
                    format!(
                        "{} of the ConfigMap {namespace}/{} cannot be read ({error}): remove that key once you know \
                         that Secret {secret} holds the right root",
                        record_key(kind),
                        labels::MSP
                    ),
                ),
                _ if root.not_after <= now => {
                    let message = format!("the root in Secret {namespace}/{secret} expired on {}", root.not_after);
                    Verdict::stalled("RootExpired", message)
                }
                _ => continue,
            },
        };
        return Some(verdict);
    }
    None
}

impl Observed {
    /// Whether the roots issued anything that is still there.
    fn has_issued(&self) -> bool {
        self.identities.values().chain(self.nodes.values()).any(|material| *material != Material::Absent)
    }
}

fn status(observed: &Observed) -> CertificateAuthorityStatus {
    let statuses = |materials: &BTreeMap<String, Material>| {
        materials.iter().filter_map(|(name, material)| Some((name.clone(), material.status()?))).collect()
    };
    let issued: Vec<&CertificateInfo> =
        observed.identities.values().chain(observed.nodes.values()).filter_map(Material::certificate).collect();
    CertificateAuthorityStatus {
        roots: statuses(&observed.roots),
        identities: statuses(&observed.identities),
        issued: u32::try_from(issued.len()).unwrap_or(u32::MAX),
        revoked: u32::try_from(revocations(observed).len()).unwrap_or(u32::MAX),
        first_expiry: issued.iter().map(|certificate| certificate.not_after).min().map(rfc3339),
        ..CertificateAuthorityStatus::default()
    }
}

fn phase(status: CertificateAuthorityStatus, phase: Phase) -> CertificateAuthorityStatus {
    CertificateAuthorityStatus { phase: Some(phase), ..status }
}

/// It cannot issue: looked at again soon, because what stands in the way is mostly made good by hand.
fn refuse(status: CertificateAuthorityStatus, verdict: Verdict) -> CaDecision {
    let shown = if matches!(verdict, Verdict::Stalled { .. }) { Phase::Degraded } else { Phase::Starting };
    Decision::wait(phase(status, shown), verdict, std::time::Duration::from_secs(15))
}

/// The organization's public MSP: what others may know, and what its nodes mount.
///
/// A root or administrator that is not there leaves out its key; nodes wait until all keys are in. So does a revocation
/// list: nothing was revoked then.
pub fn public_msp(object: &CertificateAuthority, observed: &Observed, namespace: &str, list: Option<&str>) -> Child {
    let mut data = BTreeMap::from([(labels::MSP_CONFIG.to_owned(), CONFIG_YAML.to_owned())]);
    data.extend(list.map(|text| (labels::MSP_CRLS.to_owned(), text.to_owned())));
    let mut add = |key: &str, material: Option<&Material>| {
        if let Some(pem) = material.and_then(Material::certificate).and_then(|certificate| certificate.to_pem().ok()) {
            data.insert(key.to_owned(), pem);
        }
    };
    for (secret, kind) in ROOTS {
        add(record_key(kind), observed.roots.get(secret));
    }
    add(labels::MSP_NODE_ADMINS, observed.identities.get(labels::IDENTITY_NODE_ADMIN));
    // No owner: the record outlives the object that asked for the roots, as the roots do.
    let metadata = belonging(object, observed, namespace).metadata(labels::MSP);
    ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::api::core::v1::Secret;
    use tenter_consortium::objects::{
        CertificateAuthorityType, ConsortiumSource, ConsortiumSpec, ImageSettings, LABEL_ORGANIZATION,
        NamespaceSettings,
    };

    use tenter_fabric::ca::Authority;

    use super::*;
    use crate::controllers::gates::NamespaceFacts;
    use crate::controllers::materials::{material, randomness, tests as pki};

    struct World {
        object: CertificateAuthority,
        observed: Observed,
        hour: i64,
    }

    /// An authority in a namespace that was handed over, with nothing in it.
    fn world() -> World {
        let mut object = CertificateAuthority::new(
            "ca",
            CertificateAuthoritySpec {
                organization: "acme".into(),
                msp_id: "AcmeMSP".into(),
                domain: "acme.example".into(),
                authority_type: CertificateAuthorityType::Builtin,
                certificate_lifetime_hours: 300,
                root_lifetime_hours: 10_000,
            },
        );
        object.metadata.namespace = Some("trade-acme".into());
        let settings = ConsortiumSpec {
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
            subjects: vec![],
            chaincode_servers: Vec::new(),
            signing: std::collections::BTreeMap::new(),
            signatures: None,
            approvals: tenter_consortium::objects::ApprovalSettings::default(),
            suspend: false,
        };
        let labels = BTreeMap::from([(LABEL_ORGANIZATION.to_owned(), "acme".to_owned())]);
        let absent = |names: Vec<&str>| names.into_iter().map(|n| (n.to_owned(), Material::Absent)).collect();
        let observed = Observed {
            consortium: "trade".into(),
            namespace: Some(NamespaceFacts { labels, deleting: false }),
            roots: absent(ROOTS.map(|(name, _)| name).to_vec()),
            identities: absent(identities(&object.spec).map(|identity| identity.secret).to_vec()),
            nodes: BTreeMap::new(),
            msp: None,
            revocations: None,
            settings,
        };
        World { object, observed, hour: 0 }
    }

    impl World {
        fn decide(&self) -> CaDecision {
            decide(&self.object, &self.observed, pki::at(self.hour))
        }

        /// Carries a decision out as the actions would, once.
        fn carry_out(
            &mut self,
            decision: &CaDecision,
            roots: &mut BTreeMap<&'static str, tenter_fabric::ca::CertificateRoot>,
        ) {
            for action in &decision.actions {
                match action {
                    CaAction::CreateRoot(secret, kind) => {
                        let root = pki::root(*kind);
                        let info = Material::Usable(Box::new(pki::info(&root)));
                        assert_eq!(self.observed.roots.insert((*secret).to_owned(), info), Some(Material::Absent));
                        roots.insert(secret, root);
                    }
                    CaAction::RenewRoot(secret) => {
                        let root = roots.get_mut(secret).unwrap();
                        let authority = Authority::load(root).unwrap();
                        let lifetime = hours(self.object.spec.root_lifetime_hours);
                        let now = pki::at(self.hour);
                        root.cert_pem = authority.renew_root(lifetime, now, &mut randomness()).unwrap();
                        let renewed = Material::Usable(Box::new(pki::info(root)));
                        self.observed.roots.insert((*secret).to_owned(), renewed);
                    }
                    CaAction::Issue(secret, root, request) | CaAction::Renew(secret, root, request) => {
                        let issued: Secret = pki::issued(&roots[root], request, self.hour);
                        self.observed.identities.insert((*secret).to_owned(), material(Some(&issued)));
                    }
                    CaAction::Publish(msp) => self.publish(msp),
                    CaAction::PublishRevocations(revoked) => {
                        let authority = Authority::load(&roots[labels::ROOT_ENROLMENT]).unwrap();
                        let list = authority.revocation_list(revoked).unwrap();
                        self.publish(&public_msp(&self.object, &self.observed, "trade-acme", Some(&list)));
                    }
                }
            }
        }

        /// What the API server would hold after an apply: the document with its annotation.
        fn publish(&mut self, msp: &Child) {
            let Child::ConfigMap(msp) = msp else { panic!("{msp:?}") };
            let prepared = crate::controllers::apply::prepared(&**msp).unwrap();
            self.observed.msp = Some(serde_json::from_value(prepared).unwrap());
        }

        fn published(&self) -> Option<String> {
            entry(self.observed.msp.as_ref()?, labels::MSP_CRLS).map(str::to_owned)
        }

        /// Until nothing is left to do.
        fn settle(&mut self) -> BTreeMap<&'static str, tenter_fabric::ca::CertificateRoot> {
            let mut roots = BTreeMap::new();
            for _ in 0..6 {
                let decision = self.decide();
                self.carry_out(&decision, &mut roots);
            }
            roots
        }
    }

    fn kinds(decision: &CaDecision) -> Vec<String> {
        decision
            .actions
            .iter()
            .map(|action| format!("{action:?}").split('(').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn roots_then_record_then_identities_then_nothing() {
        let mut world = world();
        let mut roots = BTreeMap::new();
        let mut seen = Vec::new();
        for _ in 0..6 {
            let decision = world.decide();
            seen.push(kinds(&decision).into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(","));
            world.carry_out(&decision, &mut roots);
        }
        assert_eq!(seen, ["CreateRoot", "Publish", "Issue", "Publish", "", ""]);
        let last = world.decide();
        assert_eq!(last.status.phase, Some(Phase::Ready));
        assert_eq!((last.status.issued, last.status.roots.len()), (4, 3));
        assert_eq!(last.verdict.reason(), "Issuing");
    }

    #[test]
    fn a_first_creation_that_stopped_half_way_is_completed() {
        let mut world = world();
        let info = pki::info(&pki::root(RootKind::Enrolment));
        world.observed.roots.insert(labels::ROOT_ENROLMENT.into(), Material::Usable(Box::new(info)));
        assert_eq!(kinds(&world.decide()), ["CreateRoot", "CreateRoot"]);
    }

    #[test]
    fn a_lost_root_is_never_replaced() {
        let check = |change: &dyn Fn(&mut Observed), reason: &str| {
            let mut world = world();
            world.settle();
            change(&mut world.observed);
            let decision = world.decide();
            assert_eq!(decision.actions.len(), 0, "{reason}");
            assert_eq!((decision.verdict.reason(), decision.status.phase), (reason, Some(Phase::Degraded)));
        };
        let lose = |observed: &mut Observed, names: &[&str]| {
            for name in names {
                observed.roots.insert((*name).to_owned(), Material::Absent);
            }
        };
        let all = ROOTS.map(|(name, _)| name);
        check(&|o| lose(o, &[labels::ROOT_TLS]), "RootMissing");
        check(&|o| lose(o, &all), "RootMissing");
        // Not even with the record gone: what the roots issued is still there.
        check(
            &|o| {
                lose(o, &all);
                o.msp = None;
            },
            "RootMissing",
        );
        check(
            &|o| {
                let other = pki::info(&pki::root(RootKind::Tls));
                o.roots.insert(labels::ROOT_TLS.into(), Material::Usable(Box::new(other)));
            },
            "RootReplaced",
        );
        check(&|o| drop(o.roots.insert(labels::ROOT_TLS.into(), Material::Unusable("x".into()))), "RootUnusable");
        check(
            &|o| {
                let data = o.msp.as_mut().and_then(|msp| msp.data.as_mut()).unwrap();
                data.insert(labels::MSP_TLSCACERTS.into(), "broken".into());
            },
            "RecordUnreadable",
        );
    }

    #[test]
    fn identities_are_renewed_with_their_keys() {
        let mut world = world();
        let mut roots = world.settle();
        let keys = |world: &World| -> BTreeSet<String> {
            let certificates = world.observed.identities.values().filter_map(Material::certificate);
            certificates.map(|c| c.certificate_fingerprint.clone()).collect()
        };
        let before = keys(&world);
        world.hour = 250;
        let decision = world.decide();
        assert_eq!(kinds(&decision), ["Renew"; 4]);
        world.carry_out(&decision, &mut roots);
        assert!(keys(&world).is_disjoint(&before));
        // The new certificate of the nodes' administrator has to be published, then nothing is left.
        assert_eq!(kinds(&world.decide()), ["Publish"]);
    }

    #[test]
    fn what_was_revoked_stays_on_the_list() {
        let mut world = world();
        let mut roots = world.settle();
        assert_eq!(world.published(), None);
        let record = |serials: &[&str]| {
            let data = serials.iter().map(|serial| ((*serial).to_owned(), pki::at(1).to_string())).collect();
            Some(ConfigMap { data: Some(data), ..ConfigMap::default() })
        };
        let step = |world: &mut World, roots: &mut _, expect: &[&str]| {
            let decision = world.decide();
            assert_eq!(kinds(&decision), expect);
            world.carry_out(&decision, roots);
        };
        world.observed.revocations = record(&["0a", "0b"]);
        step(&mut world, &mut roots, &["PublishRevocations"]);
        step(&mut world, &mut roots, &[]);
        assert_eq!(world.decide().status.revoked, 2);
        let list = world.published().unwrap();
        // The list that is gone, or broken, comes back byte for byte.
        for text in [None, Some("broken")] {
            let data = world.observed.msp.as_mut().and_then(|msp| msp.data.as_mut()).unwrap();
            data.remove(labels::MSP_CRLS);
            data.extend(text.map(|text| (labels::MSP_CRLS.to_owned(), text.to_owned())));
            step(&mut world, &mut roots, &["PublishRevocations"]);
            assert_eq!(world.published().as_ref(), Some(&list));
        }
        // A record that is gone, or shorter, takes nothing back; a longer one adds to the list.
        world.observed.revocations = None;
        step(&mut world, &mut roots, &[]);
        world.observed.revocations = record(&["0c"]);
        step(&mut world, &mut roots, &["PublishRevocations"]);
        let root = world.observed.roots[labels::ROOT_ENROLMENT].certificate().unwrap();
        let list = RevocationList::from_pem(&world.published().unwrap()).unwrap();
        assert!(list.is_signed_by(root));
        assert_eq!(list.revoked.into_keys().collect::<Vec<_>>(), ["0a", "0b", "0c"]);
        // What cannot be read is named, and keeps nothing else from being done.
        world.observed.revocations = record(&["0d", "jane"]);
        step(&mut world, &mut roots, &["PublishRevocations"]);
        step(&mut world, &mut roots, &[]);
        assert_eq!(world.decide().verdict.reason(), "RevocationUnreadable");
    }

    #[test]
    fn gates_stand_before_everything() {
        let check = |change: &dyn Fn(&mut Observed), reason: &str| {
            let mut world = world();
            change(&mut world.observed);
            let decision = world.decide();
            assert_eq!((decision.actions.len(), decision.verdict.reason()), (0, reason));
        };
        check(&|o| o.settings.organizations = vec!["globex".into()], "OrganizationNotAllowed");
        check(&|o| o.settings.namespaces.allowed = vec!["other".into()], "NamespaceNotAllowed");
        check(&|o| o.namespace = None, "NamespaceMissing");
        check(&|o| o.namespace.as_mut().unwrap().labels.clear(), "NamespaceNotLabelled");
    }

    #[test]
    fn roots_are_renewed_with_their_keys_and_published() {
        let mut world = world();
        let mut roots = world.settle();
        let ends = |world: &World| -> BTreeSet<Timestamp> {
            ROOTS.iter().map(|(secret, _)| world.observed.roots[*secret].certificate().unwrap().not_after).collect()
        };
        let before = ends(&world);
        world.hour = 6_600;
        assert!(!kinds(&world.decide()).contains(&"RenewRoot".to_owned()), "more than a third is left");
        world.hour = 6_700;
        let decision = world.decide();
        assert_eq!((kinds(&decision), decision.verdict.reason()), (vec!["RenewRoot".to_owned(); 3], "RenewingRoots"));
        world.carry_out(&decision, &mut roots);
        assert!(ends(&world).iter().next() > before.iter().next_back());
        // What was issued before is still good, and nothing is issued before the new roots are published.
        assert_eq!(kinds(&world.decide()), ["Publish"]);
        world.carry_out(&world.decide(), &mut roots);
        assert_eq!(kinds(&world.decide()), ["Renew"; 4], "these are over an age of their own");
        world.carry_out(&world.decide(), &mut roots);
        world.carry_out(&world.decide(), &mut roots);
        assert_eq!((kinds(&world.decide()), world.decide().verdict.reason()), (vec![], "Issuing"));
    }

    #[test]
    fn a_longer_life_in_the_file_renews_roots() {
        let mut world = world();
        world.settle();
        world.object.spec.root_lifetime_hours = 40_000;
        assert_eq!(kinds(&world.decide()), ["RenewRoot"; 3]);
        world.object.spec.root_lifetime_hours = 5_000;
        assert_eq!(kinds(&world.decide()), Vec::<String>::new(), "a shorter one takes nothing away");
    }

    #[test]
    fn an_expired_root_says_so() {
        let mut world = world();
        world.settle();
        world.hour = 10_001;
        assert_eq!(world.decide().verdict.reason(), "RootExpired");
    }
}
