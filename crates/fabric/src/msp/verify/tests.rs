use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::*;
use crate::msp::MspDefinition;

/// An authority of the tests.
struct Authority {
    pem: Pem,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str, units: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    for unit in units {
        params.distinguished_name.push(DnType::OrganizationalUnitName, *unit);
    }
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2036, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn root(name: &str) -> Authority {
    let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { pem: Pem::from(pem.as_str()), issuer: Issuer::new(params, key) }
}

fn intermediate(name: &str, above: &Authority) -> Authority {
    let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
    let pem = params.signed_by(&key, &above.issuer).unwrap().pem();
    Authority { pem: Pem::from(pem.as_str()), issuer: Issuer::new(params, key) }
}

fn issue(params: &CertificateParams, above: &Authority) -> Pem {
    Pem::from(params.signed_by(&KeyPair::generate().unwrap(), &above.issuer).unwrap().pem().as_str())
}

fn identity(unit: &str, above: &Authority) -> Pem {
    issue(&params("somebody", &[unit]), above)
}

fn definition(root: &Authority) -> MspDefinition {
    MspDefinition::new("SomeMSP", root.pem.clone(), root.pem.clone())
}

fn set_up(definition: &MspDefinition) -> VerifyingMsp {
    VerifyingMsp::new(definition, true).unwrap()
}

fn list(above: &Authority, serials: &[&[u8]]) -> Pem {
    let revoked = |serial: &&[u8]| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: date_time_ymd(2026, 2, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 2, 1),
        next_update: date_time_ymd(2026, 3, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Pem::from(params.signed_by(&above.issuer).unwrap().pem().unwrap().as_str())
}

fn validity(msp: &VerifyingMsp, pem: &Pem) -> Result<(), InvalidIdentity> {
    msp.identity(pem.bytes())?.validity
}

#[test]
fn an_issuer_of_authorities_issues_no_identities() {
    let root = root("root");
    let below = intermediate("below", &root);
    let mut definition = definition(&root);
    assert_eq!(validity(&set_up(&definition), &identity("client", &root)), Ok(()));
    let unlisted = validity(&set_up(&definition), &identity("client", &below));
    assert!(matches!(unlisted, Err(InvalidIdentity::Chain(_))), "{unlisted:?}");
    definition.intermediate_certs.push(below.pem.clone());
    let msp = set_up(&definition);
    assert_eq!(validity(&msp, &identity("client", &below)), Ok(()));
    let from_root = validity(&msp, &identity("client", &root));
    assert!(
        matches!(&from_root, Err(InvalidIdentity::Chain(why)) if why.contains("another authority")),
        "{from_root:?}"
    );
}

#[test]
fn a_root_that_was_renewed_with_its_key_must_replace_the_old_one() {
    let old = root("root");
    let mut renewed = authority_params("root");
    renewed.not_before = date_time_ymd(2026, 1, 2);
    let renewed = Pem::from(renewed.self_signed(old.issuer.key()).unwrap().pem().as_str());
    let mut member = params("a", &["peer"]);
    member.not_before = date_time_ymd(2026, 2, 1);
    let member = issue(&member, &old);
    let mut definition = definition(&old);
    assert_eq!(set_up(&definition).warnings(), [""; 0]);
    definition.root_certs.push(renewed.clone());
    let msp = set_up(&definition);
    assert!(msp.warnings()[0].contains("twice with one key"), "{:?}", msp.warnings());
    assert!(matches!(validity(&msp, &member), Err(InvalidIdentity::Chain(why)) if why.contains("in 2 ways")));
    definition.root_certs = vec![renewed];
    let msp = set_up(&definition);
    assert_eq!(validity(&msp, &member), Ok(()));
    // This one began before its authority did.
    assert!(validity(&msp, &identity("peer", &old)).is_err());
}

#[test]
fn units_are_bound_to_their_authority() {
    let (one, two) = (root("one"), root("two"));
    let mut definition = definition(&one);
    definition.root_certs.push(two.pem.clone());
    definition.node_ous = Some(NodeOus::usual(Some(&one.pem)));
    let msp = set_up(&definition);
    assert_eq!(validity(&msp, &identity("client", &one)), Ok(()));
    assert!(matches!(validity(&msp, &identity("client", &two)), Err(InvalidIdentity::Units(_))));
    assert_eq!(msp.identity(identity("admin", &one).bytes()).unwrap().roles, [Role::Member, Role::Admin].into());
    definition.node_ous = Some(NodeOus::usual(Some(&root("other").pem)));
    assert!(VerifyingMsp::new(&definition, true).unwrap_err().why.contains("no authority of it"));
    definition.node_ous = Some(NodeOus::usual(None));
    let asked = OuIdentifier { certificate: Some(one.pem.clone()), unit: "client".to_owned() };
    definition.organizational_units = vec![asked];
    let msp = set_up(&definition);
    assert_eq!(validity(&msp, &identity("client", &one)), Ok(()));
    assert!(matches!(validity(&msp, &identity("client", &two)), Err(InvalidIdentity::Units(_))));
    assert!(matches!(validity(&msp, &identity("peer", &one)), Err(InvalidIdentity::Units(_))));
}

#[test]
fn revocation_counts_for_the_authority_that_signed_the_list() {
    let (one, two) = (root("one"), root("two"));
    let serial = [1, 2, 3];
    let mut revocable = params("a", &["admin"]);
    revocable.serial_number = Some(SerialNumber::from_slice(&serial));
    let member = issue(&revocable, &one);
    let mut definition = definition(&one);
    definition.revocation_list = vec![list(&two, &[&serial])];
    let msp = set_up(&definition);
    assert!(msp.warnings()[0].contains("would revoke nothing"));
    assert_eq!(validity(&msp, &member), Ok(()));
    definition.revocation_list.push(list(&one, &[&[9], &serial]));
    let msp = set_up(&definition);
    assert_eq!(validity(&msp, &member), Err(InvalidIdentity::Revoked));
    assert_eq!(msp.identity(member.bytes()).unwrap().roles, BTreeSet::new());
    definition.revocation_list = vec![Pem::from("rubbish")];
    assert!(VerifyingMsp::new(&definition, true).unwrap_err().why.contains("revocation list"));
}

#[test]
fn without_units_only_listed_administrators_have_a_role() {
    let root = root("root");
    let (listed, other) = (identity("admin", &root), identity("admin", &root));
    let mut definition = definition(&root);
    definition.node_ous = None;
    assert!(VerifyingMsp::new(&definition, true).unwrap_err().why.contains("neither an administrator"));
    definition.admins = vec![listed.clone()];
    let msp = set_up(&definition);
    assert_eq!(msp.identity(listed.bytes()).unwrap().roles, [Role::Member, Role::Admin].into());
    assert_eq!(msp.identity(other.bytes()).unwrap().roles, [Role::Member].into());
}

#[test]
fn authorities_must_be_authorities() {
    let root = root("root");
    let check = |edit: &dyn Fn(&mut MspDefinition), why: &str| {
        let mut definition = definition(&root);
        edit(&mut definition);
        let error = VerifyingMsp::new(&definition, true).unwrap_err();
        assert!(error.why.contains(why), "{error}");
    };
    check(&|msp| msp.root_certs.clear(), "no root certificate");
    check(&|msp| msp.root_certs = vec![identity("client", &root)], "no authority that signed itself");
    check(&|msp| msp.root_certs = vec![intermediate("below", &root).pem], "no authority that signed itself");
    check(&|msp| msp.root_certs = vec![Pem::from("rubbish")], "cannot be read");
    check(&|msp| msp.intermediate_certs = vec![identity("client", &root)], "no certificate authority");
    check(&|msp| msp.tls_root_certs = vec![identity("client", &root)], "no certificate authority");
    check(&|msp| msp.admins = vec![identity("peer", &root)], "neither the client nor the admin unit");
    let of_another = self::root("another");
    check(&|msp| msp.intermediate_certs = vec![intermediate("below", &of_another).pem], "does not lead to a root");
}

#[test]
fn go_asks_for_the_server_usage() {
    let root = root("root");
    let with = |usage: ExtendedKeyUsagePurpose| {
        let mut params = params("a", &["client"]);
        params.insert_extended_key_usage(usage);
        validity(&set_up(&definition(&root)), &issue(&params, &root))
    };
    assert_eq!(with(ExtendedKeyUsagePurpose::ServerAuth), Ok(()));
    assert_eq!(with(ExtendedKeyUsagePurpose::Any), Ok(()));
    assert!(with(ExtendedKeyUsagePurpose::ClientAuth).is_err());
}

#[test]
fn a_certificate_with_a_high_s_is_the_same_identity() {
    use p256::ecdsa::Signature;
    use x509_cert::Certificate;
    use x509_cert::der::asn1::{AnyRef, BitString};
    use x509_cert::der::{Decode, Encode, Tag};
    let root = root("root");
    let pem = identity("client", &root);
    let info = CertificateInfo::from_first_pem(pem.bytes()).unwrap();
    let certificate = Certificate::from_der(info.der()).unwrap();
    let signature = Signature::from_der(certificate.signature().raw_bytes()).unwrap();
    let flipped = Signature::from_scalars(*signature.r(), -*signature.s()).unwrap();
    let mut content = info.tbs().to_vec();
    content.extend(certificate.signature_algorithm().to_der().unwrap());
    content.extend(BitString::from_bytes(flipped.to_der().as_bytes()).unwrap().to_der().unwrap());
    let der = AnyRef::new(Tag::Sequence, &content).unwrap().to_der().unwrap();
    let other = CertificateInfo::from_der(&der).unwrap().to_pem().unwrap();
    let msp = set_up(&definition(&root));
    let (one, two) = (msp.identity(pem.bytes()).unwrap(), msp.identity(other.as_bytes()).unwrap());
    assert_ne!(pem.bytes(), other.as_bytes());
    assert_eq!(one.id, two.id);
    assert_eq!(two.validity, Ok(()));
}

#[test]
fn chains_that_branch_without_end_are_given_up() {
    // Authorities of one name, each signed by each other one.
    let keys: Vec<KeyPair> = (0..12).map(|_| KeyPair::generate().unwrap()).collect();
    let params = authority_params("same");
    let mut definition = definition(&root("root"));
    for above in &keys {
        for below in &keys {
            let issuer = Issuer::from_params(&params, above);
            definition.intermediate_certs.push(Pem::from(params.signed_by(below, &issuer).unwrap().pem().as_str()));
        }
    }
    assert!(VerifyingMsp::new(&definition, true).is_err());
}
