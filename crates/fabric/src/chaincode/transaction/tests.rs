use proptest::prelude::*;

use super::*;
use crate::ca::{Authority, CertificateRequest, LEAF_LIFETIME, OrganizationRoots, Role, Usage};
use crate::testing::TestRng;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn identity(name: &str, role: Role) -> SigningIdentity {
    let mut rng = TestRng::new(name.len() as u64);
    let roots = OrganizationRoots::generate("acme.example", now(), &mut rng).unwrap();
    let usage = Usage::Enrolment(role);
    let request = CertificateRequest { common_name: name.to_owned(), usage, lifetime: LEAF_LIFETIME };
    let issued = Authority::load(&roots.enrolment).unwrap().issue(&request, now(), &mut rng).unwrap();
    SigningIdentity::load("AcmeMSP", &issued.cert_pem, &issued.key_pem).unwrap()
}

fn call() -> Call {
    let transient = [("secret".to_owned(), b"hidden".to_vec())].into();
    Call { transient, is_init: true, ..Call::new("ch1", "asset", "create", [b"a".to_vec()]) }
}

fn signed(caller: &SigningIdentity) -> SignedCall {
    SignedCall::new(&call(), caller, [3; NONCE_BYTES], now()).unwrap()
}

/// The answer of a peer that wrote `results`.
fn endorse(call: &SignedCall, peer: &SigningIdentity, chaincode: &str, results: &[u8]) -> Endorsed {
    let action = ChaincodeAction {
        results: results.to_vec(),
        chaincode_id: Some(chaincode_id(chaincode)),
        ..ChaincodeAction::default()
    };
    let payload = ProposalResponsePayload { proposal_hash: call.hash().to_vec(), extension: action.encode_to_vec() }
        .encode_to_vec();
    let signature = peer.sign(&[payload.as_slice(), peer.creator()].concat()).unwrap();
    let response = ProposalResponse {
        response: Some(tenter_fabric_wire::protos::Response {
            status: 200,
            payload: b"done".to_vec(),
            ..Default::default()
        }),
        payload,
        endorsement: Some(Endorsement { endorser: peer.creator().to_vec(), signature }),
        ..ProposalResponse::default()
    };
    Endorsed::from_bytes(&response.encode_to_vec()).unwrap()
}

fn block(envelopes: &[Vec<u8>], codes: &[u8]) -> Block {
    use tenter_fabric_wire::common;
    let block = common::Block {
        header: Some(common::BlockHeader::default()),
        data: Some(common::BlockData { data: envelopes.to_vec() }),
        metadata: Some(common::BlockMetadata { metadata: vec![Vec::new(), Vec::new(), codes.to_vec()] }),
    };
    Block::from_bytes(block.encode_to_vec()).unwrap()
}

#[test]
fn calls_are_read_as_they_are_signed() {
    let caller = identity("caller", Role::Client);
    let signed = signed(&caller);
    assert_eq!(signed.tx_id(), identity::tx_id(&[3; NONCE_BYTES], caller.creator()));
    let read = SignedCall::from_bytes(&signed.to_bytes()).unwrap();
    assert_eq!(read, signed);
    assert_eq!(*read.call(), call());
    let public = PublicIdentity::from_creator(read.creator()).unwrap();
    public.verify(&read.proposal, &read.signature).unwrap();
    let shown = format!("{signed:?}");
    assert!(shown.contains("asset.create") && !shown.contains("hidden"), "{shown}");
}

#[test]
fn bytes_that_are_no_call_are_refused() {
    let signed = signed(&identity("caller", Role::Client));
    let mut wire = signed.to_wire();
    let mut proposal = Proposal::decode(wire.proposal_bytes.as_slice()).unwrap();
    let mut header = Header::decode(proposal.header.as_slice()).unwrap();
    header.signature_header = identity("someone else", Role::Client).signature_header([3; NONCE_BYTES]);
    proposal.header = header.encode_to_vec();
    wire.proposal_bytes = proposal.encode_to_vec();
    let error = SignedCall::from_bytes(&wire.encode_to_vec()).unwrap_err();
    assert!(error.to_string().ends_with("its transaction id is not that of its nonce and creator"), "{error}");
    assert!(SignedCall::from_bytes(b"").is_err());
    assert!(SignedCall::from_bytes(&[0xff]).is_err());
}

#[test]
fn a_transaction_holds_the_call_and_its_endorsements() {
    let caller = identity("caller", Role::Client);
    let (one, two) = (identity("p1", Role::Peer), identity("peer2", Role::Peer));
    let signed = signed(&caller);
    let endorsed = [&two, &one].map(|peer| endorse(&signed, peer, "asset", b"writes"));
    assert_eq!(endorsed[0].result, b"done");
    let bytes = assemble(&signed, &endorsed, &caller).unwrap();
    let envelope = Envelope::decode(bytes.as_slice()).unwrap();
    PublicIdentity::from_creator(caller.creator()).unwrap().verify(&envelope.payload, &envelope.signature).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"hidden"), "transient data must not be in a transaction");

    let facts = transactions(&block(&[bytes, b"rubbish".to_vec()], &[10]));
    let named =
        |name: &str, unit: &str| Creator { msp_id: "AcmeMSP".to_owned(), subject: format!("CN={name},OU={unit}") };
    let expected = TransactionFacts {
        tx_id: signed.tx_id().to_owned(),
        creator: Some(named("caller", "client")),
        code: Some(ValidationCode::ENDORSEMENT_POLICY_FAILURE),
        calls: vec![ChaincodeCall { chaincode: "asset".to_owned(), args: call().args, is_init: true }],
        endorsers: vec![named("peer2", "peer"), named("p1", "peer")],
        committed: None,
    };
    assert_eq!(facts, [expected, TransactionFacts::default()]);
}

#[test]
fn endorsements_that_would_not_count_make_no_transaction() {
    let caller = identity("caller", Role::Client);
    let (one, two) = (identity("p1", Role::Peer), identity("peer2", Role::Peer));
    let signed = signed(&caller);
    let [first, second] = [&one, &two].map(|peer| endorse(&signed, peer, "asset", b"writes"));
    let error = |endorsements: &[Endorsed], signer| assemble(&signed, endorsements, signer).unwrap_err().to_string();
    assert_eq!(error(&[], &caller), "a transaction needs an endorsement");
    assert_eq!(
        error(std::slice::from_ref(&first), &one),
        "the call was signed by another identity than CN=p1,OU=peer (AcmeMSP), who cannot sign its transaction"
    );
    let other = endorse(&signed, &two, "asset", b"other writes");
    assert_eq!(
        error(&[first.clone(), other], &caller),
        "CN=p1,OU=peer (AcmeMSP) and CN=peer2,OU=peer (AcmeMSP) got different results; a transaction needs equal ones"
    );
    assert_eq!(
        error(&[first.clone(), second.clone(), first.clone()], &caller),
        "CN=p1,OU=peer (AcmeMSP) is there twice"
    );
    let of_another = SignedCall::new(&call(), &caller, [4; NONCE_BYTES], now()).unwrap();
    let of_another = endorse(&of_another, &two, "asset", b"writes");
    assert_eq!(error(&[of_another], &caller), "CN=peer2,OU=peer (AcmeMSP) endorsed another call");
    let unreadable = Endorsed { payload: vec![0xff], ..first.clone() };
    assert_eq!(error(&[unreadable], &caller), "CN=p1,OU=peer (AcmeMSP) endorsed another call");
    let forged = Endorsed { signature: first.signature, ..second };
    assert_eq!(error(&[forged], &caller), "the endorsement of CN=peer2,OU=peer (AcmeMSP) does not verify");
}

#[test]
fn answers_without_endorsement_are_told_apart() {
    let answer = |status, endorsement| {
        let response = Some(tenter_fabric_wire::protos::Response { status, message: "no".to_owned(), payload: vec![] });
        let wire = ProposalResponse { response, endorsement, ..ProposalResponse::default() };
        Endorsed::from_bytes(&wire.encode_to_vec())
    };
    for status in [0, 199, 400, 404, 500] {
        assert_eq!(answer(status, None), Err(EndorsedError::Failed { status, text: "no".to_owned() }));
    }
    assert_eq!(answer(200, None), Err(EndorsedError::Unsigned));
    assert!(answer(399, Some(Endorsement::default())).is_ok());
    assert!(matches!(Endorsed::from_bytes(&[0xff]), Err(EndorsedError::Decode(_))));
}

/// A write set as the peer's state keeps definitions.
fn write_set(namespace: &str, key: &str, value: Vec<u8>) -> Vec<u8> {
    let write = kvrwset::KvWrite { key: key.to_owned(), is_delete: false, value };
    let set = kvrwset::KvRwSet { writes: vec![write], ..kvrwset::KvRwSet::default() };
    let set = rwset::NsReadWriteSet {
        namespace: namespace.to_owned(),
        rwset: set.encode_to_vec(),
        ..rwset::NsReadWriteSet::default()
    };
    rwset::TxReadWriteSet { data_model: 0, ns_rwset: vec![set] }.encode_to_vec()
}

#[test]
fn commits_are_seen_in_what_lifecycle_writes() {
    let caller = identity("caller", Role::Client);
    let peer = identity("p1", Role::Peer);
    let signed = signed(&caller);
    let seen = |chaincode: &str, results: Vec<u8>| {
        let bytes = assemble(&signed, &[endorse(&signed, &peer, chaincode, &results)], &caller).unwrap();
        transactions(&block(&[bytes], &[0])).remove(0)
    };
    let key = "namespaces/fields/asset/Sequence";
    let facts = seen(LIFECYCLE, write_set(LIFECYCLE, key, vec![8, 7]));
    assert_eq!(facts.committed, Some(("asset".to_owned(), 7)));
    assert!(facts.is_valid());
    assert_eq!(seen("asset", write_set(LIFECYCLE, key, vec![8, 7])).committed, None);
    assert_eq!(seen(LIFECYCLE, write_set("asset", key, vec![8, 7])).committed, None);
    assert_eq!(
        seen(LIFECYCLE, write_set(LIFECYCLE, "namespaces/fields/asset/Collections", vec![8, 7])).committed,
        None
    );
    assert_eq!(seen(LIFECYCLE, write_set(LIFECYCLE, key, vec![18, 0])).committed, None);
    assert_eq!(seen(LIFECYCLE, b"rubbish".to_vec()).committed, None);
}

#[test]
fn codes_are_shown_as_fabric_names_them() {
    assert_eq!(ValidationCode::new(9).to_string(), "DUPLICATE_TXID");
    assert_eq!(ValidationCode::new(10).to_string(), "ENDORSEMENT_POLICY_FAILURE");
    assert_eq!(ValidationCode::new(11), ValidationCode::MVCC_READ_CONFLICT);
    assert_eq!(ValidationCode::new(77).to_string(), "code 77");
    assert!(ValidationCode::new(0).is_valid() && !ValidationCode::new(255).is_valid());
}

proptest! {
    #[test]
    fn any_bytes_may_stand_in_a_block(envelopes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..4)) {
        prop_assert_eq!(transactions(&block(&envelopes, &[])).len(), envelopes.len());
    }

    #[test]
    fn damaged_calls_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = signed(&identity("caller", Role::Client)).to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = SignedCall::from_bytes(&bytes);
    }
}
