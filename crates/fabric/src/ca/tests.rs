use std::process::Command;

use super::*;
use crate::testing::TestRng;
use crate::x509::{renewal_due, verify_chain};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn roots() -> OrganizationRoots {
    OrganizationRoots::generate("acme.example", now(), &mut TestRng::new(1)).unwrap()
}

fn enrolment(name: &str, role: Role) -> CertificateRequest {
    CertificateRequest { common_name: name.to_owned(), usage: Usage::Enrolment(role), lifetime: LEAF_LIFETIME }
}

fn node(names: &[&str], addresses: &[&str]) -> CertificateRequest {
    CertificateRequest {
        common_name: "orderer1".to_owned(),
        usage: Usage::TlsNode {
            dns_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ip_addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        },
        lifetime: LEAF_LIFETIME,
    }
}

#[test]
fn roots_are_separate_self_signed_cas() {
    let roots = roots();
    let info = |root: &CertificateRoot| CertificateInfo::from_pem(&root.cert_pem).unwrap();
    let (enrolment, tls, clients) = (info(&roots.enrolment), info(&roots.tls), info(&roots.clients));
    assert_eq!(enrolment.subject, "CN=ca.acme.example,O=acme.example");
    assert_eq!(tls.common_name.as_deref(), Some("tlsca.acme.example"));
    assert_eq!(clients.common_name.as_deref(), Some("clientca.acme.example"));
    for root in [&enrolment, &tls, &clients] {
        assert!(root.is_ca && root.is_signed_by(root));
        assert_eq!(root.subject_key_identifier.as_ref().unwrap(), &root.public_key().unwrap().subject_key_identifier());
        assert_eq!(root.not_before, "2026-03-01T11:55:00Z".parse().unwrap());
        assert_eq!(root.not_after, root.not_before + ROOT_LIFETIME);
    }
    assert_ne!(enrolment.public_key_fingerprint, tls.public_key_fingerprint);
    assert!(!enrolment.is_signed_by(&tls));
}

#[test]
fn an_enrolment_has_exactly_one_role() {
    let authority = Authority::load(&roots().enrolment).unwrap();
    for role in [Role::Client, Role::Peer, Role::Orderer, Role::Admin] {
        let issued = authority.issue(&enrolment("node1", role), now(), &mut TestRng::new(2)).unwrap();
        let info = CertificateInfo::from_pem(&issued.cert_pem).unwrap();
        assert_eq!(info.organizational_units, [role.unit()]);
        assert_eq!(info.common_name.as_deref(), Some("node1"));
        assert!(info.digital_signature && !info.is_ca);
        assert!(info.is_signed_by(authority.certificate()));
        assert_eq!(info.authority_key_identifier, authority.certificate().subject_key_identifier);
        let key = PrivateKey::from_pem(&issued.key_pem).unwrap();
        assert_eq!(key.public_key(), info.public_key().unwrap());
    }
}

#[test]
fn tls_certificates_name_the_node_and_its_uses() {
    let roots = roots();
    let authority = Authority::load(&roots.tls).unwrap();
    let issued = authority
        .issue(&node(&["orderer1.acme.example", "localhost"], &["127.0.0.1", "::1"]), now(), &mut TestRng::new(3))
        .unwrap();
    let info = CertificateInfo::from_pem(&issued.cert_pem).unwrap();
    assert!(info.dns_names.contains("orderer1.acme.example") && info.dns_names.contains("localhost"));
    assert_eq!(info.ip_addresses.len(), 2);
    assert!(info.server_auth && info.client_auth);
    let request = CertificateRequest {
        common_name: "tenter".to_owned(),
        usage: Usage::TlsClient,
        lifetime: SignedDuration::from_hours(24),
    };
    let clients = Authority::load(&roots.clients).unwrap();
    let client = clients.issue(&request, now(), &mut TestRng::new(4)).unwrap();
    let client = CertificateInfo::from_pem(&client.cert_pem).unwrap();
    assert!(client.client_auth && !client.server_auth);
    let error = authority.issue(&node(&[], &[]), now(), &mut TestRng::new(5)).unwrap_err();
    assert!(error.to_string().contains("no client could verify"), "{error}");
}

#[test]
fn a_renewal_keeps_the_key() {
    let authority = Authority::load(&roots().tls).unwrap();
    let mut rng = TestRng::new(6);
    let request = node(&["orderer1.acme.example"], &[]);
    let first = CertificateInfo::from_pem(&authority.issue(&request, now(), &mut rng).unwrap().cert_pem).unwrap();
    let later = now() + SignedDuration::from_hours(300 * 24);
    assert!(!renewal_due(&first, now()));
    assert!(renewal_due(&first, later));
    let second = authority.issue_for(&request, &first.public_key().unwrap(), later, &mut rng).unwrap();
    let second = CertificateInfo::from_pem(&second).unwrap();
    assert_eq!(first.public_key_fingerprint, second.public_key_fingerprint);
    assert_ne!(first.certificate_fingerprint, second.certificate_fingerprint);
    assert_ne!(first.serial, second.serial);
    assert!(second.not_after > first.not_after);
    assert!(!renewal_due(&second, later));
}

#[test]
fn validity_stays_inside_the_root() {
    let root = CertificateRoot::generate(
        RootKind::Enrolment,
        "acme.example",
        SignedDuration::from_hours(48),
        now(),
        &mut TestRng::new(7),
    )
    .unwrap();
    let authority = Authority::load(&root).unwrap();
    let issue = |at| {
        let issued = authority.issue(&enrolment("u", Role::Client), at, &mut TestRng::new(8))?;
        Ok::<_, CaError>(CertificateInfo::from_pem(&issued.cert_pem).unwrap())
    };
    let root = authority.certificate();
    let at_once = issue(now()).unwrap();
    assert_eq!((at_once.not_before, at_once.not_after), (root.not_before, root.not_after));
    verify_chain(&at_once, &[], std::slice::from_ref(root), now()).unwrap();
    // A clock behind the one that made the root.
    let behind = issue(now() - SignedDuration::from_mins(4)).unwrap();
    assert_eq!(behind.not_before, root.not_before);
    let error = issue(root.not_after).unwrap_err();
    assert!(matches!(error, CaError::Validity { .. }), "{error}");
}

#[test]
fn chains_are_verified_with_time_and_issuer() {
    let roots = roots();
    let authority = Authority::load(&roots.enrolment).unwrap();
    let leaf = authority.issue(&enrolment("u", Role::Client), now(), &mut TestRng::new(9)).unwrap();
    let leaf = CertificateInfo::from_pem(&leaf.cert_pem).unwrap();
    let root = [authority.certificate().clone()];
    let other = [CertificateInfo::from_pem(&roots.tls.cert_pem).unwrap()];
    verify_chain(&leaf, &[], &root, now()).unwrap();
    assert!(matches!(verify_chain(&leaf, &[], &other, now()), Err(X509Error::UnknownIssuer { .. })));
    let late = now() + LEAF_LIFETIME;
    assert!(matches!(verify_chain(&leaf, &[], &root, late), Err(X509Error::NotValidAt { .. })));
    // A root of the same name with another key is another root.
    let forged = OrganizationRoots::generate("acme.example", now(), &mut TestRng::new(10)).unwrap();
    let forged = [CertificateInfo::from_pem(&forged.enrolment.cert_pem).unwrap()];
    assert!(matches!(verify_chain(&leaf, &[], &forged, now()), Err(X509Error::UnknownIssuer { .. })));
}

#[test]
fn a_root_with_a_foreign_key_is_refused() {
    let roots = roots();
    let mixed = CertificateRoot { cert_pem: roots.enrolment.cert_pem, key_pem: roots.tls.key_pem };
    assert!(matches!(Authority::load(&mixed), Err(CaError::Root { .. })));
}

#[test]
fn names_that_cannot_stand_in_a_certificate_are_refused() {
    let authority = Authority::load(&roots().enrolment).unwrap();
    for name in ["", "a\nb", &"x".repeat(65)] {
        let error = authority.issue(&enrolment(name, Role::Client), now(), &mut TestRng::new(11)).unwrap_err();
        assert!(matches!(error, CaError::Name { .. }), "{error}");
    }
    // Separators of distinguished names stay part of the value.
    let issued = authority.issue(&enrolment("a,OU=admin", Role::Client), now(), &mut TestRng::new(11)).unwrap();
    let info = CertificateInfo::from_pem(&issued.cert_pem).unwrap();
    assert_eq!(info.common_name.as_deref(), Some("a,OU=admin"));
    assert_eq!(info.organizational_units, ["client"]);
}

#[test]
fn text_around_or_beside_a_certificate_is_refused() {
    let pem = roots().tls.cert_pem;
    CertificateInfo::from_pem(&format!("\n{pem}\n\n")).unwrap();
    for text in
        [String::new(), format!("{pem}{pem}"), format!("{pem}x"), format!("x{pem}"), pem.replace("CERT", "cert")]
    {
        assert!(matches!(CertificateInfo::from_pem(&text), Err(X509Error::Pem(_))), "{text}");
    }
    assert_eq!(CertificateInfo::all_from_pem(&format!("{pem}\n{pem}")).unwrap().len(), 2);
    assert_eq!(CertificateInfo::from_pem(&pem).unwrap().to_pem().unwrap(), pem);
}

/// OpenSSL judges the chains too, where it is installed; where not, the rest of this module still does.
#[test]
fn openssl_accepts_the_chains() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("SKIPPED what openssl says of certificates: it is not installed");
        return;
    }
    let roots = roots();
    let folder = tempfile::tempdir().unwrap();
    let verify = |root: &CertificateRoot, request: &CertificateRequest, purpose: &str| {
        let issued = Authority::load(root).unwrap().issue(request, now(), &mut TestRng::new(12)).unwrap();
        let (ca, leaf) = (folder.path().join("ca.pem"), folder.path().join("leaf.pem"));
        std::fs::write(&ca, &root.cert_pem).unwrap();
        std::fs::write(&leaf, &issued.cert_pem).unwrap();
        let at = now().as_second().to_string();
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-attime", &at, "-purpose", purpose, "-CAfile"])
            .args([&ca, &leaf])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    verify(&roots.tls, &node(&["orderer1.acme.example"], &["127.0.0.1"]), "sslserver");
    verify(&roots.tls, &node(&["orderer1.acme.example"], &["127.0.0.1"]), "sslclient");
    verify(&roots.enrolment, &enrolment("peer1", Role::Peer), "any");
    let client =
        CertificateRequest { common_name: "tenter".to_owned(), usage: Usage::TlsClient, lifetime: LEAF_LIFETIME };
    verify(&roots.clients, &client, "sslclient");
}

#[test]
fn a_lifetime_beyond_all_calendars_is_an_error() {
    let lifetime = SignedDuration::from_hours(9000 * 365 * 24);
    let refused = CertificateRoot::generate(RootKind::Tls, "acme.example", lifetime, now(), &mut TestRng::new(13));
    assert!(matches!(refused, Err(CaError::Validity { .. })), "{refused:?}");
    let root =
        CertificateRoot::generate(RootKind::Clients, "acme.example", ROOT_LIFETIME, now(), &mut TestRng::new(13))
            .unwrap();
    let request = CertificateRequest { common_name: "tenter".to_owned(), usage: Usage::TlsClient, lifetime };
    let refused = Authority::load(&root).unwrap().issue(&request, now(), &mut TestRng::new(13));
    assert!(matches!(refused, Err(CaError::Validity { .. })), "{refused:?}");
}

#[test]
fn a_renewed_root_vouches_for_what_the_old_one_issued() {
    let root = roots().enrolment;
    let authority = Authority::load(&root).unwrap();
    let issued = authority.issue(&enrolment("node1", Role::Peer), now(), &mut TestRng::new(2)).unwrap();
    let leaf = CertificateInfo::from_pem(&issued.cert_pem).unwrap();
    let later = now() + SignedDuration::from_hours(24 * 300);
    let renewed = authority.renew_root(ROOT_LIFETIME, later, &mut TestRng::new(3)).unwrap();
    let info = CertificateInfo::from_pem(&renewed).unwrap();
    let old = authority.certificate();
    assert_eq!((info.not_before, info.not_after), (old.not_before, later + ROOT_LIFETIME));
    assert!(info.is_same_key_and_name(old) && info.is_ca && info.is_signed_by(old) && leaf.is_signed_by(&info));
    assert_ne!(info.certificate_fingerprint, old.certificate_fingerprint);
    assert_eq!(info.subject_key_identifier, old.subject_key_identifier);
    // Fabric looks at a chain at the time when the identity begins.
    verify_chain(&leaf, &[], std::slice::from_ref(&info), leaf.not_before).unwrap();
    // It issues as the old one does, and longer.
    let next = Authority::load(&CertificateRoot { cert_pem: renewed, key_pem: root.key_pem.clone() }).unwrap();
    let reissued =
        next.issue_for(&enrolment("node1", Role::Peer), &leaf.public_key().unwrap(), later, &mut TestRng::new(4));
    assert!(CertificateInfo::from_pem(&reissued.unwrap()).unwrap().is_signed_by(old));
    let error = next.renew_root(SignedDuration::from_hours(1), later, &mut TestRng::new(5)).unwrap_err();
    assert!(error.to_string().contains("would not live longer"), "{error}");
}
