use super::*;
use crate::config::{Element, RaftOptions};
use crate::identity::{SigningIdentity, nonce};
use crate::testing::TestRng;

#[test]
fn modification_policies_are_looked_up_where_fabric_does() {
    let check = |element: String, mod_policy: &str, path: &str| {
        assert_eq!(CurrentConfig::guard(&element, mod_policy), path, "{element} {mod_policy}");
    };
    check(Element::Value.at("/Channel/Orderer/BatchSize"), "Admins", "/Channel/Orderer/Admins");
    check(Element::Policy.at("/Channel/Application/Acme/Admins"), "Admins", "/Channel/Application/Acme/Admins");
    check(Element::Group.at("/Channel/Application/Acme"), "Admins", "/Channel/Application/Acme/Admins");
    check(Element::Group.at("/Channel"), "Admins", "/Channel/Admins");
    check(Element::Value.at("/Channel/Capabilities"), "Orderer/Admins", "/Channel/Orderer/Admins");
    check(Element::Value.at("/Channel/OrdererAddresses"), "/Channel/Orderer/Admins", "/Channel/Orderer/Admins");
    check(Element::Value.at("/Channel/Orderer/BatchSize"), "", "/Channel/Orderer/");
}

#[test]
fn rubbish_is_refused_without_panic() {
    assert!(matches!(ConfigUpdate::from_bytes(vec![0xff; 9]), Err(UpdateError::Decode(_))));
    // A field that no ConfigUpdate has.
    assert!(matches!(ConfigUpdate::from_bytes(vec![0x7a, 0]), Err(UpdateError::Unknown)));
    assert!(ConfigSignature::from_bytes(&[0xff]).is_err());
    assert!(matches!(ConfigSignature::from_bytes(&[0x7a, 0]), Err(SignatureError::Unknown)));
    assert!(ConfigUpdate::from_bytes(Vec::new()).unwrap().elements(&testing_config()).is_empty());
}

fn testing_config() -> CurrentConfig {
    let consensus = crate::config::Consensus::EtcdRaft { consenters: Vec::new(), options: RaftOptions::default() };
    CurrentConfig::from_bytes("test", &ChannelConfig::new(consensus).to_config_bytes()).unwrap()
}

fn admin() -> SigningIdentity {
    use crate::ca::{Authority, CertificateRequest, LEAF_LIFETIME, OrganizationRoots, Role, Usage};
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    let mut rng = TestRng::new(1);
    let roots = OrganizationRoots::generate("acme.example", now, &mut rng).unwrap();
    let usage = Usage::Enrolment(Role::Admin);
    let request = CertificateRequest { common_name: "admin".to_owned(), usage, lifetime: LEAF_LIFETIME };
    let issued = Authority::load(&roots.enrolment).unwrap().issue(&request, now, &mut rng).unwrap();
    SigningIdentity::load("AcmeMSP", &issued.cert_pem, &issued.key_pem).unwrap()
}

#[test]
fn signatures_hold_for_one_update_only() {
    let current = testing_config();
    let computed = |timeout: &str| {
        let mut wanted = current.config().clone();
        wanted.orderer.batch.timeout = timeout.to_owned();
        ConfigUpdate::compute(&current, &wanted).unwrap()
    };
    let (update, other) = (computed("3s"), computed("4s"));
    assert_ne!(update.digest(), other.digest());
    let mut rng = TestRng::new(2);
    let signed = update.sign(&admin(), nonce(&mut rng)).unwrap();
    let read = ConfigSignature::from_bytes(&signed.to_bytes()).unwrap();
    assert_eq!(read, signed);
    assert_eq!(read.verify(&update).unwrap().msp_id, "AcmeMSP");
    assert!(matches!(read.verify(&other), Err(SignatureError::Identity(_))));
}

#[test]
fn an_envelope_holds_the_update_as_it_is() {
    let mut wanted = testing_config().config().clone();
    wanted.orderer.batch.timeout = "3s".to_owned();
    let update = ConfigUpdate::compute(&testing_config(), &wanted).unwrap();
    let mut rng = TestRng::new(3);
    let signature = update.sign(&admin(), nonce(&mut rng)).unwrap();
    let now = "2026-03-01T12:00:00.5Z".parse().unwrap();
    let bytes = update.envelope(&[signature], &admin(), now, nonce(&mut rng)).unwrap();
    let envelope = common::Envelope::decode(bytes.as_slice()).unwrap();
    let payload = common::Payload::decode(envelope.payload.as_slice()).unwrap();
    let header = payload.header.unwrap();
    let channel = common::ChannelHeader::decode(header.channel_header.as_slice()).unwrap();
    assert_eq!((channel.channel_id.as_str(), channel.r#type, channel.version), ("test", 2, 0));
    assert_eq!(channel.timestamp.unwrap().nanos, 500_000_000);
    let creator = common::SignatureHeader::decode(header.signature_header.as_slice()).unwrap().creator;
    let submitter = crate::identity::PublicIdentity::from_creator(&creator).unwrap();
    submitter.verify(&envelope.payload, &envelope.signature).unwrap();
    let inner = common::ConfigUpdateEnvelope::decode(payload.data.as_slice()).unwrap();
    assert_eq!(inner.config_update, update.bytes());
    assert_eq!(inner.signatures.len(), 1);
}
