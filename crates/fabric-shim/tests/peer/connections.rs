//! How connections begin, live and end.

use tenter_fabric_shim::ContractError;
use tenter_fabric_shim::testing::Ledger;
use tenter_fabric_wire::shim::ChaincodeMessage;
use tenter_fabric_wire::shim::chaincode_message::Type;
use tonic::Code;

use crate::fake::{Peer, answered, invocation, message, service, soon};

#[tokio::test]
async fn calls_run_beside_each_other() {
    let (mut peer, mut ledger) = (service(None).await.ready().await, Ledger::default());
    // Each waits for the other.
    let outcomes = peer.calls(&mut ledger, vec![invocation("t1", &["Meet"]), invocation("t2", &["Meet"])]).await;
    assert!(outcomes.values().all(|outcome| outcome.as_ref().unwrap().0.payload == b"met"));
}

#[tokio::test]
async fn answers_find_their_call() {
    let mut peer = service(None).await.ready().await;
    // The same transaction id in two channels is two calls.
    let calls = [("trade", "t1"), ("trade", "t2"), ("other", "t1")];
    for (channel, transaction) in calls {
        let call = ChaincodeMessage { channel_id: channel.to_owned(), ..invocation(transaction, &["Get", "k"]) };
        peer.send(call).await;
    }
    for _ in calls {
        assert_eq!(peer.next().await.0, Type::GetState);
    }
    for (channel, transaction) in calls.into_iter().rev() {
        let value = format!("{channel} {transaction}").into_bytes();
        peer.send(message(Type::Response, channel, transaction, value)).await;
    }
    for _ in calls {
        let (kind, message) = peer.next().await;
        assert_eq!(kind, Type::Completed);
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        assert!(text.ends_with(&format!("{} {}", message.channel_id, message.txid)), "{text}");
    }
}

#[tokio::test]
async fn a_transaction_runs_once_at_a_time() {
    let service = service(None).await;
    let mut peer = service.ready().await;
    peer.send(invocation("t1", &["Meet"])).await;
    peer.send(invocation("t1", &["Meet"])).await;
    let (kind, message) = peer.next().await;
    assert_eq!(kind, Type::Error);
    assert_eq!(message.payload, b"a call of this transaction is running already");
    let barrier = service.handles.barrier.clone();
    tokio::task::spawn_blocking(move || barrier.wait()).await.unwrap();
    assert_eq!(peer.next().await.0, Type::Completed);
    assert_eq!(peer.text(&mut Ledger::default(), "t1", &["Get", "a"]).await, "none", "and again afterwards");
}

#[tokio::test]
async fn keepalives_come_back() {
    let mut peer = Peer::connect(service(None).await.channel().await).await.unwrap();
    let keepalive = message(Type::Keepalive, "", "", b"x".to_vec());
    peer.register().await;
    peer.send(keepalive.clone()).await;
    assert_eq!(peer.receive().await.unwrap(), Some(keepalive.clone()));
    peer.send(message(Type::Registered, "", "", Vec::new())).await;
    peer.send(message(Type::Ready, "", "", Vec::new())).await;
    peer.send(keepalive.clone()).await;
    assert_eq!(peer.receive().await.unwrap(), Some(keepalive));
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection() {
    let unknown = ChaincodeMessage { r#type: 99, ..ChaincodeMessage::default() };
    let registered = message(Type::Registered, "", "", Vec::new());
    let ready = message(Type::Ready, "", "", Vec::new());
    let cases = [
        (vec![invocation("t", &["Get", "a"])], "Created takes no message of type TRANSACTION"),
        (vec![ready.clone()], "Created takes no message of type READY"),
        (vec![registered.clone(), registered.clone()], "Established takes no message of type REGISTERED"),
        (vec![registered.clone(), invocation("t", &[])], "Established takes no message of type TRANSACTION"),
        (vec![registered.clone(), ready.clone(), ready.clone()], "Ready takes no message of type READY"),
        (vec![registered.clone(), ready.clone(), unknown], "Ready takes no message of type 99"),
    ];
    let service = service(None).await;
    for (messages, text) in cases {
        let mut peer = Peer::connect(service.channel().await).await.unwrap();
        peer.register().await;
        for message in messages {
            peer.send(message).await;
        }
        let text = format!("a chaincode in state {text}");
        let (kind, message) = peer.next().await;
        assert_eq!((kind, String::from_utf8(message.payload).unwrap()), (Type::Error, text.clone()));
        let status = peer.receive().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, text.as_str()));
    }
    service.ready().await;
}

#[tokio::test]
async fn answers_that_nobody_waits_for_are_dropped() {
    let mut peer = service(None).await.ready().await;
    peer.send(answered("ghost", Ok(b"early".to_vec()))).await;
    peer.send(invocation("t1", &["Put", "k", "v"])).await;
    assert_eq!(peer.next().await.0, Type::PutState);
    peer.send(answered("t1", Ok(Vec::new()))).await;
    assert_eq!(peer.next().await.0, Type::GetState);
    peer.send(answered("t1", Ok(b"first".to_vec()))).await;
    peer.send(answered("t1", Ok(b"second".to_vec()))).await;
    let (kind, message) = peer.next().await;
    assert_eq!(kind, Type::Completed);
    assert!(message.payload.ends_with(b"first"));
    assert_eq!(peer.text(&mut Ledger::default(), "t2", &["Get", "k"]).await, "none");
}

#[tokio::test]
async fn peers_do_not_see_each_other() {
    let service = service(None).await;
    let (mut one, mut two) = (service.ready().await, service.ready().await);
    // The same call at the same time: each peer endorses it by its own state.
    for peer in [&mut one, &mut two] {
        peer.send(invocation("t1", &["Get", "k"])).await;
        assert_eq!(peer.next().await.0, Type::GetState);
    }
    two.send(answered("t1", Ok(b"of two".to_vec()))).await;
    one.send(answered("t1", Ok(b"of one".to_vec()))).await;
    assert!(one.next().await.1.payload.ends_with(b"of one"));
    assert!(two.next().await.1.payload.ends_with(b"of two"));
}

#[tokio::test]
async fn a_peer_may_go_away_during_a_call() {
    let service = service(None).await;
    let mut other = service.ready().await;
    let mut peer = service.ready().await;
    peer.send(invocation("t1", &["Witness"])).await;
    assert_eq!(peer.next().await.0, Type::GetState);
    drop(peer);
    let seen = service.handles.seen;
    let seen = soon(tokio::task::spawn_blocking(move || seen.recv())).await.unwrap().unwrap();
    assert_eq!(seen, Err(ContractError::Disconnected));
    assert_eq!(other.text(&mut Ledger::default(), "t2", &["Get", "k"]).await, "none");
}

#[tokio::test]
async fn stopping_lets_calls_end_and_starts_none() {
    let service = service(None).await;
    let mut idle = service.ready().await;
    let mut peer = service.ready().await;
    peer.send(invocation("t1", &["Get", "k"])).await;
    assert_eq!(peer.next().await.0, Type::GetState);
    service.stop.send(()).unwrap();
    assert_eq!(idle.receive().await.unwrap(), None, "without calls, a connection ends at once");
    peer.send(invocation("t2", &["Get", "k"])).await;
    let (kind, message) = peer.next().await;
    assert_eq!((kind, &message.payload[..]), (Type::Error, &b"the chaincode is stopping"[..]));
    peer.send(answered("t1", Ok(b"v".to_vec()))).await;
    assert_eq!(peer.next().await.0, Type::Completed);
    assert_eq!(peer.receive().await.unwrap(), None);
    drop((peer, idle));
    soon(service.ended).await.unwrap().unwrap();
}
