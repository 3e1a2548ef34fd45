//! What calls give.

use prost::Message as _;
use tenter_fabric_shim::testing::Ledger;
use tenter_fabric_wire::common::{ChannelHeader, Header, HeaderType, SignatureHeader};
use tenter_fabric_wire::google::Timestamp;
use tenter_fabric_wire::msp::SerializedIdentity;
use tenter_fabric_wire::protos::{ChaincodeProposalPayload, Proposal};
use tenter_fabric_wire::shim::chaincode_message::Type;

use crate::fake::{answered, initialisation, invocation, message, service, signed};

#[tokio::test]
async fn reads_give_what_is_committed() {
    let (mut peer, mut ledger) = (service(None).await.ready().await, Ledger::default());
    assert_eq!(peer.text(&mut ledger, "t1", &["Put", "a", "1"]).await, "", "the value is not committed yet");
    assert_eq!(peer.text(&mut ledger, "t2", &["Get", "a"]).await, "1");
    assert_eq!(peer.text(&mut ledger, "t3", &["Put", "a", "2"]).await, "1");
    assert_eq!(peer.text(&mut ledger, "t4", &["Delete", "a"]).await, "");
    assert_eq!(peer.text(&mut ledger, "t5", &["Get", "a"]).await, "none");
}

#[tokio::test]
async fn ranges_come_whole_and_in_pages() {
    let (mut peer, mut ledger) = (service(None).await.ready().await, Ledger::default());
    for (at, key) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        peer.text(&mut ledger, &format!("t{at}"), &["Put", key, "x"]).await;
    }
    assert_eq!(peer.text(&mut ledger, "r1", &["Range", "", ""]).await, "a=x,b=x,c=x,d=x,e=x");
    assert_eq!(peer.text(&mut ledger, "r2", &["Range", "b", "d"]).await, "b=x,c=x");
    assert_eq!(peer.text(&mut ledger, "r3", &["Range", "x", ""]).await, "");
    assert_eq!(peer.text(&mut ledger, "p1", &["Page", "", "2"]).await, "a=x,b=x;c");
    assert_eq!(peer.text(&mut ledger, "p2", &["Page", "c", "2"]).await, "c=x,d=x;e");
    assert_eq!(peer.text(&mut ledger, "p3", &["Page", "e", "2"]).await, "e=x;");
    let (response, _) = peer.call(&mut ledger, "r4", &["Range", "\0", ""]).await.unwrap();
    assert_eq!(response.message, "a range must not begin or end within the composite keys");
}

#[tokio::test]
async fn an_endless_range_ends() {
    let mut peer = service(None).await.ready().await;
    peer.send(invocation("t1", &["Range", "", ""])).await;
    assert_eq!(peer.next().await.0, Type::GetStateByRange);
    // QueryResponse { has_more: true }
    peer.send(answered("t1", Ok(vec![0x10, 1]))).await;
    let (kind, message) = peer.next().await;
    assert_eq!(kind, Type::Completed);
    assert!(String::from_utf8_lossy(&message.payload).contains("promises more and gives nothing"));
}

#[tokio::test]
async fn failures_become_responses() {
    let (mut peer, mut ledger) = (service(None).await.ready().await, Ledger::default());
    let (response, event) = peer.call(&mut ledger, "t1", &["Fail"]).await.unwrap();
    assert_eq!((response.status, response.message.as_str()), (500, "this always fails"));
    assert_eq!(response.payload, b"");
    assert_eq!(event.unwrap().event_name, "Failed");
    for (args, text) in [
        (&["Nothing"][..], "there is no function Nothing"),
        (&[], "there is no function "),
        (&["Get"], "Get takes 1 argument, not 0"),
        (&["Get", "a", "b"], "Get takes 1 argument, not 2"),
        (&["Put", "", "x"], "a key must not be empty"),
        (&["Put", "a"], "Put takes 2 arguments, not 1"),
        (&["Page", "", "0"], "a page must have room for an entry"),
        (&["Large"], "the result is larger than a message may be"),
        (&["PutLarge"], "PUT_STATE is larger than a message may be"),
        (&["Panic"], "the contract panicked; its log says why"),
    ] {
        let (response, event) = peer.call(&mut ledger, "t2", args).await.unwrap();
        assert_eq!((response.status, response.message.as_str(), event), (500, text, None));
    }
    assert_eq!(peer.text(&mut ledger, "t3", &["Get", "a"]).await, "none", "the connection lives on");
}

#[tokio::test]
async fn what_the_peer_refuses_reaches_the_contract() {
    let service = service(None).await;
    let mut peer = service.ready().await;
    peer.send(invocation("t1", &["Witness"])).await;
    assert_eq!(peer.next().await.0, Type::GetState);
    peer.send(answered("t1", Err("GET_STATE failed: no".to_owned()))).await;
    let (kind, message) = peer.next().await;
    assert_eq!(kind, Type::Completed);
    assert!(String::from_utf8_lossy(&message.payload).contains("GET_STATE failed: no"));
    assert_eq!(
        service.handles.seen.recv().unwrap(),
        Err(tenter_fabric_shim::ContractError::Peer("GET_STATE failed: no".to_owned()))
    );
}

#[tokio::test]
async fn the_last_event_counts() {
    let (mut peer, mut ledger) = (service(None).await.ready().await, Ledger::default());
    let (_, event) = peer.call(&mut ledger, "t1", &["Event"]).await.unwrap();
    let event = event.unwrap();
    assert_eq!((event.event_name.as_str(), &event.payload[..]), ("Second", &b"2"[..]));
}

#[tokio::test]
async fn initialisation_succeeds_or_is_an_error() {
    let (mut peer, mut ledger) = (service(None).await.ready().await, Ledger::default());
    let calls = vec![initialisation("good", &["Init"]), initialisation("bad", &["Fail"])];
    let outcomes = peer.calls(&mut ledger, calls).await;
    assert_eq!(outcomes["good"].as_ref().unwrap().0.payload, b"ready");
    assert_eq!(outcomes["bad"], Err("not today".to_owned()));
}

fn proposal(kind: HeaderType) -> Vec<u8> {
    let channel = ChannelHeader {
        r#type: kind as i32,
        timestamp: Some(Timestamp { seconds: 17, nanos: 5 }),
        ..ChannelHeader::default()
    };
    let creator = SerializedIdentity { mspid: "Org1MSP".to_owned(), id_bytes: b"certificate".to_vec() };
    let signature = SignatureHeader { creator: creator.encode_to_vec(), nonce: vec![1] };
    let header = Header { channel_header: channel.encode_to_vec(), signature_header: signature.encode_to_vec() };
    let transient_map = [("secret".to_owned(), b"s".to_vec())].into();
    let payload = ChaincodeProposalPayload { input: Vec::new(), transient_map };
    Proposal { header: header.encode_to_vec(), payload: payload.encode_to_vec(), ..Proposal::default() }.encode_to_vec()
}

#[tokio::test]
async fn the_proposal_says_who_and_when() {
    let (mut peer, mut ledger) = (service(None).await.ready().await, Ledger::default());
    let good = proposal(HeaderType::EndorserTransaction);
    let calls = vec![
        signed(invocation("who", &["Who"]), good.clone()),
        signed(invocation("private", &["Private"]), good),
        signed(invocation("kind", &["Who"]), proposal(HeaderType::Message)),
        signed(invocation("header", &["Who"]), Vec::new()),
        signed(invocation("garbage", &["Who"]), vec![0xff; 9]),
        invocation("nobody", &["Who"]),
    ];
    let outcomes = peer.calls(&mut ledger, calls).await;
    let payload = |name: &str| String::from_utf8(outcomes[name].clone().unwrap().0.payload).unwrap();
    assert_eq!(payload("who"), "Org1MSP certificate Some(17.000000005s) trade who");
    assert_eq!(payload("private"), "None None");
    assert_eq!(outcomes["kind"], Err("a proposal of type 0 calls no chaincode".to_owned()));
    assert_eq!(outcomes["header"], Err("the proposal has no header".to_owned()));
    let text = outcomes["garbage"].clone().unwrap_err();
    assert!(text.starts_with("the proposal's envelope cannot be read: "), "{text}");
    assert_eq!(outcomes["nobody"].clone().unwrap().0.message, "nobody");
    // The private value is now in its collection, and only there.
    let calls = vec![signed(invocation("again", &["Private"]), proposal(HeaderType::EndorserTransaction))];
    let outcomes = peer.calls(&mut ledger, calls).await;
    assert_eq!(outcomes["again"].clone().unwrap().0.payload, b"Some([115]) None");
}

#[tokio::test]
async fn large_messages_pass() {
    let (mut peer, mut ledger) = (service(None).await.ready().await, Ledger::default());
    let large = "x".repeat(6 * 1024 * 1024);
    assert_eq!(peer.text(&mut ledger, "t1", &["Echo", &large]).await.len(), large.len());
}

#[tokio::test]
async fn arguments_that_cannot_be_read_are_an_error() {
    let (mut peer, mut ledger) = (service(None).await.ready().await, Ledger::default());
    let outcomes = peer.calls(&mut ledger, vec![message(Type::Transaction, "trade", "t1", vec![0xff; 3])]).await;
    let text = outcomes["t1"].clone().unwrap_err();
    assert!(text.starts_with("the arguments cannot be read: "), "{text}");
    assert_eq!(peer.text(&mut ledger, "t2", &["Get", "a"]).await, "none");
}
