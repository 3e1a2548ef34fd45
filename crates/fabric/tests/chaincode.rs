//! The clients' chaincode calls against what real peers answered (tests/vectors/recorded/lifecycle), and a Gateway that
//! answers as one does.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "common/grpc.rs"]
mod grpc;
#[path = "common/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use grpc::{field, grpc_error, grpc_reply, number};
use prost::Message;
use serde_json::Value;
use server::{Reply, Server};
use tenter_fabric::ca::Role;
use tenter_fabric::chaincode::lifecycle::Refusal;
use tenter_fabric::chaincode::transaction::assemble;
use tenter_fabric::chaincode::{
    Call, Definition, Label, Package, PackageId, ServiceConnection, SignedCall, ValidationCode, lifecycle,
};
use tenter_fabric::client::endorser::{EndorserClient, EndorserError, sign};
use tenter_fabric::client::gateway::{CommitStatus, GatewayClient, GatewayError, PreparedTransaction};
use tenter_fabric::client::{DirectDialer, Endpoint, FailureKind, Limits, TlsSettings, TransportError};
use tenter_fabric::identity::{PublicIdentity, SigningIdentity};
use tenter_fabric_testnet::{Organization, vectors};
use tenter_fabric_wire::common::{Envelope, Header, Payload};
use tenter_fabric_wire::gateway::{
    CommitStatusRequest, CommitStatusResponse, EndorseRequest, EndorseResponse, ErrorDetail, EvaluateRequest,
    EvaluateResponse, SignedCommitStatusRequest, SubmitRequest,
};
use tenter_fabric_wire::google::{Any, RpcStatus};
use tenter_fabric_wire::protos::{
    ChaincodeAction, ChaincodeActionPayload, ChaincodeEndorsedAction, ChaincodeProposalPayload, Endorsement, Proposal,
    ProposalResponse, ProposalResponsePayload, Response, SignedProposal, Transaction, TransactionAction,
};

const CHANNEL: &str = "cc1";
const NAME: &str = "simple";

fn recorded() -> PathBuf {
    vectors().join("recorded/lifecycle")
}

fn json(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(recorded().join(path)).unwrap()).unwrap()
}

/// What a peer answered in a recorded case.
fn answer(case: &str) -> Reply {
    let about = json(&format!("cases/{case}/case.json"));
    let response = &about["response"];
    let payload = response["payload"].as_str().map(|file| recorded().join("cases").join(case).join(file));
    let payload = payload.map(|file| std::fs::read(file).unwrap()).unwrap_or_default();
    let (status, message) = (response["status"].as_u64().unwrap(), response["message"].as_str().unwrap());
    let response = [number(1, status), field(2, message.as_bytes()), field(3, &payload)].concat();
    grpc_reply(vec![field(4, &response)], false)
}

fn package_id() -> PackageId {
    json("package/package.json")["package_id"].as_str().unwrap().parse().unwrap()
}

fn package() -> Package {
    Package::read(std::fs::read(recorded().join("package/simple_1.tgz")).unwrap()).unwrap()
}

fn definition() -> Definition {
    Definition { init_required: true, ..Definition::new(NAME, "1") }
}

/// A server and what is needed to ask it.
struct Peer {
    organization: Organization,
    server: Server,
    identity: SigningIdentity,
}

impl Peer {
    async fn answering(answer: impl Fn(&[u8]) -> Reply + Send + Sync + 'static) -> Self {
        let organization = Organization::new("acme").unwrap();
        // Five bytes of framing come first.
        let server = Server::start(&organization, false, move |seen| answer(&seen.body[5..])).await;
        let identity = organization.identity("admin", Role::Admin).unwrap();
        Self { organization, server, identity }
    }

    async fn replaying(case: &str) -> Self {
        let reply = answer(case);
        Self::answering(move |_| reply.clone()).await
    }

    fn endpoint(&self) -> Endpoint {
        let tls = TlsSettings { roots_pem: self.organization.roots.tls.cert_pem.clone(), client: None };
        let limits = Limits { connect: Duration::from_secs(5), request: Duration::from_secs(2) };
        Endpoint::new(self.server.address.clone(), Arc::new(DirectDialer::default()), &tls, limits).unwrap()
    }

    fn endorser(&self) -> EndorserClient {
        EndorserClient::new(self.endpoint(), self.identity.clone())
    }

    fn gateway(&self) -> GatewayClient {
        GatewayClient::new(self.endpoint(), self.identity.clone())
    }

    /// The one request that came.
    fn request<M: Message + Default>(&self, path: &str) -> M {
        let mut seen = self.server.take_seen();
        assert_eq!(seen.len(), 1);
        let seen = seen.remove(0);
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", path));
        assert_eq!(seen.headers["content-type"], "application/grpc");
        M::decode(&seen.body[5..]).unwrap()
    }

    fn proposed(&self) -> SignedCall {
        let request: SignedProposal = self.request("/protos.Endorser/ProcessProposal");
        SignedCall::from_bytes(&request.encode_to_vec()).unwrap()
    }
}

/// The call that a recorded case made.
fn call_of(case: &str) -> Call {
    let bytes = std::fs::read(recorded().join("cases").join(case).join("signed_proposal.pb")).unwrap();
    SignedCall::from_bytes(&bytes).unwrap().call().clone()
}

#[tokio::test]
async fn packages_are_listed_and_installed() {
    let peer = Peer::replaying("lc-queryinstalled-none").await;
    assert!(peer.endorser().installed_chaincodes().await.unwrap().is_empty());
    assert_eq!(*peer.proposed().call(), call_of("lc-queryinstalled-none"));
    let peer = Peer::replaying("lc-queryinstalled-references").await;
    let installed = peer.endorser().installed_chaincodes().await.unwrap();
    let chaincodes = BTreeMap::from([(NAME.to_owned(), "1".to_owned())]);
    assert_eq!(installed[&package_id()].references, BTreeMap::from([(CHANNEL.to_owned(), chaincodes)]));
    // Installing twice is no failure; refusals are.
    for case in ["lc-install", "lc-install-again"] {
        let peer = Peer::replaying(case).await;
        assert_eq!(peer.endorser().install_chaincode(&package()).await.unwrap(), package_id(), "{case}");
        assert_eq!(*peer.proposed().call(), call_of(case), "{case}");
    }
    for (case, kind) in [("lc-install-client", FailureKind::Forbidden), ("lc-install-no-code", FailureKind::Refused)] {
        let error = Peer::replaying(case).await.endorser().install_chaincode(&package()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{case}: {error}");
    }
    // An answer about another package is believed in no case.
    let connection = ServiceConnection { address: "a:1".to_owned(), dial_timeout: "10s".to_owned(), tls: None };
    let other = Package::service(&"simple_1".parse::<Label>().unwrap(), &connection);
    for case in ["lc-install", "lc-install-again"] {
        let error = Peer::replaying(case).await.endorser().install_chaincode(&other).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Protocol, "{case}: {error}");
    }
}

#[tokio::test]
async fn definitions_are_read_and_only_a_404_is_absence() {
    let peer = Peer::replaying("lc-definition").await;
    let committed = peer.endorser().committed_chaincode(CHANNEL, NAME).await.unwrap().unwrap();
    assert_eq!((committed.sequence, &committed.definition), (1, &definition()));
    assert!(!committed.approvals["InitechMSP"]);
    assert_eq!(*peer.proposed().call(), call_of("lc-definition"));
    let peer = Peer::replaying("lc-definition-before-commit").await;
    assert_eq!(peer.endorser().committed_chaincode(CHANNEL, NAME).await.unwrap(), None);
    let all = Peer::replaying("lc-definitions").await.endorser().committed_chaincodes(CHANNEL).await.unwrap();
    assert_eq!(all[NAME].definition, definition());
    for case in ["lc-approved-unknown", "qscc-unknown-channel-header", "lc-install-client", "cc-not-defined"] {
        let error = Peer::replaying(case).await.endorser().committed_chaincode(CHANNEL, NAME).await.unwrap_err();
        assert_ne!(error.kind(), FailureKind::Absent, "{case}: {error}");
    }
    let garbage = field(4, &[number(1, 200), field(3, b"\xff")].concat());
    let peer = Peer::answering(move |_| grpc_reply(vec![garbage.clone()], false)).await;
    let error = peer.endorser().committed_chaincode(CHANNEL, NAME).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Protocol, "{error}");
}

#[tokio::test]
async fn approvals_are_read() {
    let peer = Peer::replaying("lc-approved").await;
    let approved = peer.endorser().approved_chaincode(CHANNEL, NAME, Some(1)).await.unwrap().unwrap();
    assert_eq!((approved.sequence, approved.definition), (1, definition()));
    assert_eq!(approved.package_id, Some(package_id()));
    assert_eq!(*peer.proposed().call(), call_of("lc-approved"));
    let peer = Peer::replaying("lc-approved-latest").await;
    assert!(peer.endorser().approved_chaincode(CHANNEL, NAME, None).await.unwrap().is_some());
    assert_eq!(*peer.proposed().call(), call_of("lc-approved-latest"));
    for case in ["lc-approved-unknown", "lc-approved-not-here"] {
        let client = Peer::replaying(case).await.endorser();
        assert_eq!(client.approved_chaincode(CHANNEL, NAME, Some(1)).await.unwrap(), None, "{case}");
        // The same text about another chaincode says nothing.
        let error = client.approved_chaincode(CHANNEL, "other", Some(1)).await.unwrap_err();
        assert!(matches!(error, EndorserError::Refused { .. }), "{case}: {error}");
    }
    for case in ["lc-approved-client", "lc-definition-before-commit"] {
        let error = Peer::replaying(case).await.endorser().approved_chaincode(CHANNEL, NAME, None).await.unwrap_err();
        assert_ne!(error.kind(), FailureKind::Absent, "{case}: {error}");
    }
}

#[tokio::test]
async fn readiness_is_read_or_says_which_sequence_is_next() {
    let client = Peer::replaying("lc-readiness-two").await.endorser();
    let approvals = client.commit_readiness(CHANNEL, &definition(), 1).await.unwrap();
    let yes: Vec<_> = approvals.iter().filter(|(_, yes)| **yes).map(|(msp, _)| msp.as_str()).collect();
    assert_eq!((yes, approvals.len()), (vec!["AcmeMSP", "GlobexMSP"], 3));
    let client = Peer::replaying("lc-readiness-committed").await.endorser();
    let error = client.commit_readiness(CHANNEL, &definition(), 1).await.unwrap_err();
    let EndorserError::Lifecycle { refusal, .. } = &error else { panic!("{error}") };
    assert_eq!(*refusal, Refusal::WrongSequence { requested: 1, next: 2 });
    assert_eq!(error.kind(), FailureKind::Refused);
}

#[tokio::test]
async fn endorsements_are_what_the_peer_signed() {
    let response = std::fs::read(recorded().join("cases/lc-approve/proposal_response.pb")).unwrap();
    let peer = Peer::answering(move |_| grpc_reply(vec![response.clone()], false)).await;
    let call = lifecycle::approve_call(CHANNEL, &definition(), 1, Some(&package_id()));
    let signed = sign(&call, &peer.identity).unwrap();
    let endorsed = peer.endorser().endorse(&signed).await.unwrap();
    assert_eq!(peer.proposed(), signed);
    assert_eq!(endorsed.signer().unwrap().msp_id, "AcmeMSP");
    // The peer endorsed another call than this one, which must not get into a transaction.
    let error = assemble(&signed, &[endorsed], &peer.identity).unwrap_err().to_string();
    assert!(error.ends_with("endorsed another call"), "{error}");

    let not_agreed = Refusal::NotAgreed { msp_id: "AcmeMSP".to_owned() };
    for (case, expected) in [
        ("lc-approve-same-again", Refusal::Unchanged),
        ("lc-approve-committed-same", Refusal::Unchanged),
        ("lc-approve-sequence-3", Refusal::WrongSequence { requested: 3, next: 2 }),
        ("lc-commit-nobody", not_agreed),
    ] {
        let peer = Peer::replaying(case).await;
        let error = peer.endorser().endorse(&signed).await.unwrap_err();
        let EndorserError::Lifecycle { refusal, .. } = error else { panic!("{case}: {error}") };
        assert_eq!(refusal, expected, "{case}");
        // A chaincode that happens to say the same is not believed.
        let call = Call { chaincode: "asset".to_owned(), ..call.clone() };
        let error = peer.endorser().endorse(&sign(&call, &peer.identity).unwrap()).await.unwrap_err();
        assert!(matches!(error, EndorserError::Refused { .. }), "{case}: {error}");
    }
    // A success that nobody signed, as for calls without a channel.
    let peer = Peer::replaying("lc-install").await;
    let error = peer.endorser().endorse(&signed).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Protocol, "{error}");
}

/// The transaction that a Gateway makes of a request, with `alter` applied to the call in it.
fn prepare(request: &[u8], endorser: &SigningIdentity, alter: fn(&mut ChaincodeProposalPayload)) -> Reply {
    let request = EndorseRequest::decode(request).unwrap();
    let signed = SignedCall::from_bytes(&request.proposed_transaction.as_ref().unwrap().encode_to_vec()).unwrap();
    assert_eq!(
        (request.transaction_id.as_str(), request.channel_id.as_str()),
        (signed.tx_id(), signed.call().channel.as_str())
    );
    let proposal = Proposal::decode(request.proposed_transaction.unwrap().proposal_bytes.as_slice()).unwrap();
    let header = Header::decode(proposal.header.as_slice()).unwrap();
    let mut payload = ChaincodeProposalPayload::decode(proposal.payload.as_slice()).unwrap();
    payload.transient_map.clear();
    alter(&mut payload);
    let payload = payload.encode_to_vec();
    let hashed = [header.channel_header.as_slice(), &header.signature_header, &payload].concat();
    let result = ProposalResponsePayload {
        proposal_hash: <sha2::Sha256 as sha2::Digest>::digest(hashed).to_vec(),
        extension: ChaincodeAction::default().encode_to_vec(),
    }
    .encode_to_vec();
    let signature = endorser.sign(&[result.as_slice(), endorser.creator()].concat()).unwrap();
    let action = ChaincodeEndorsedAction {
        proposal_response_payload: result,
        endorsements: vec![Endorsement { endorser: endorser.creator().to_vec(), signature }],
    };
    let action = ChaincodeActionPayload { chaincode_proposal_payload: payload, action: Some(action) };
    let action = TransactionAction { header: header.signature_header.clone(), payload: action.encode_to_vec() };
    let payload =
        Payload { header: Some(header), data: Transaction { actions: vec![action] }.encode_to_vec() }.encode_to_vec();
    let envelope = Envelope { payload, signature: Vec::new() };
    grpc_reply(vec![EndorseResponse { prepared_transaction: Some(envelope) }.encode_to_vec()], false)
}

fn asset_call() -> Call {
    let transient = [("secret".to_owned(), b"hidden".to_vec())].into();
    Call { transient, ..Call::new("ch1", "asset", "create", [b"a".to_vec()]) }
}

#[tokio::test]
async fn a_gateway_endorses_and_submits() {
    let endorser = Organization::new("globex").unwrap().identity("peer1", Role::Peer).unwrap();
    let peer = Peer::answering(move |request| prepare(request, &endorser, |_| ())).await;
    let organizations = ["AcmeMSP".to_owned(), "GlobexMSP".to_owned()];
    let prepared = peer.gateway().endorse(&asset_call(), &organizations).await.unwrap();
    let request: EndorseRequest = peer.request("/gateway.Gateway/Endorse");
    assert_eq!(request.endorsing_organizations, organizations);
    let envelope = Envelope::decode(prepared.envelope.as_slice()).unwrap();
    let public = PublicIdentity::from_creator(peer.identity.creator()).unwrap();
    public.verify(&envelope.payload, &envelope.signature).unwrap();
    assert_eq!((prepared.tx_id, prepared.channel.as_str()), (request.transaction_id, "ch1"));

    let peer = Peer::answering(|_| grpc_reply(vec![Vec::new()], false)).await;
    let prepared =
        PreparedTransaction { tx_id: "t".to_owned(), channel: "ch1".to_owned(), envelope: prepared.envelope };
    peer.gateway().submit(&prepared).await.unwrap();
    let request: SubmitRequest = peer.request("/gateway.Gateway/Submit");
    assert_eq!(request.prepared_transaction, Some(envelope));
    assert_eq!((request.transaction_id.as_str(), request.channel_id.as_str()), ("t", "ch1"));
    let rubbish = PreparedTransaction { envelope: vec![0xff], ..prepared };
    assert!(matches!(peer.gateway().submit(&rubbish).await, Err(GatewayError::Envelope(_))));
}

/// A Gateway that puts another call into the transaction gets no signature for it.
#[tokio::test]
async fn a_gateways_own_transaction_is_not_signed() {
    let endorser = Organization::new("globex").unwrap().identity("peer1", Role::Peer).unwrap();
    let other = Peer::answering(move |request| prepare(request, &endorser, |payload| payload.input.push(0))).await;
    let none = Peer::answering(|_| grpc_reply(vec![Vec::new()], false)).await;
    for peer in [other, none] {
        let error = peer.gateway().endorse(&asset_call(), &[]).await.unwrap_err();
        assert!(matches!(error, GatewayError::Protocol { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_gateway_evaluates_and_knows_what_was_committed() {
    let response = Response { status: 200, payload: b"100".to_vec(), ..Response::default() };
    let response = EvaluateResponse { result: Some(response) }.encode_to_vec();
    let peer = Peer::answering(move |_| grpc_reply(vec![response.clone()], false)).await;
    let result = peer.gateway().evaluate(&asset_call(), &["AcmeMSP".to_owned()]).await.unwrap();
    assert_eq!(result, b"100");
    let request: EvaluateRequest = peer.request("/gateway.Gateway/Evaluate");
    assert_eq!(request.target_organizations, ["AcmeMSP"]);
    let signed = SignedCall::from_bytes(&request.proposed_transaction.unwrap().encode_to_vec()).unwrap();
    assert_eq!(*signed.call(), asset_call());

    let response = CommitStatusResponse { result: 10, block_number: 7 }.encode_to_vec();
    let peer = Peer::answering(move |_| grpc_reply(vec![response.clone()], false)).await;
    let status = peer.gateway().commit_status("t1", "ch1").await.unwrap();
    assert_eq!(status, CommitStatus { code: ValidationCode::ENDORSEMENT_POLICY_FAILURE, block: 7 });
    let request: SignedCommitStatusRequest = peer.request("/gateway.Gateway/CommitStatus");
    let public = PublicIdentity::from_creator(peer.identity.creator()).unwrap();
    public.verify(&request.request, &request.signature).unwrap();
    let request = CommitStatusRequest::decode(request.request.as_slice()).unwrap();
    assert_eq!((request.transaction_id.as_str(), request.channel_id.as_str()), ("t1", "ch1"));
    assert_eq!(request.identity, peer.identity.creator());
}

/// An error as a Gateway sends it, with details of these nodes.
fn gateway_error(code: u8, text: &str, nodes: &[(&str, &str, &str)]) -> Reply {
    let details = nodes.iter().map(|(address, msp_id, message)| {
        let detail = ErrorDetail {
            address: (*address).to_owned(),
            msp_id: (*msp_id).to_owned(),
            message: (*message).to_owned(),
        };
        Any { type_url: "type.googleapis.com/gateway.ErrorDetail".to_owned(), value: detail.encode_to_vec() }
    });
    let other = Any { type_url: "type.googleapis.com/google.rpc.DebugInfo".to_owned(), value: vec![0xff] };
    let details = details.chain([other]).collect();
    let status = RpcStatus { code: code.into(), message: text.to_owned(), details };
    grpc_error(code, text, &status.encode_to_vec())
}

#[tokio::test]
async fn a_gateways_errors_are_told_apart() {
    const ATTACHED: &str = "failed to endorse transaction, see attached details for more info";
    let wrapped = "chaincode response 500, failed to invoke backing implementation of 'CommitChaincodeDefinition': \
                   chaincode definition not agreed to by this org (GlobexMSP)";
    let commit = lifecycle::commit_call("ch1", &definition(), 1);
    let ask = async |reply: Reply, call: &Call| {
        let peer = Peer::answering(move |_| reply.clone()).await;
        let target = peer.server.address.to_string();
        let error = peer.gateway().endorse(call, &[]).await.unwrap_err();
        (error.to_string().replace(&target, "PEER"), error)
    };
    let nodes = [("p:1", "GlobexMSP", wrapped), ("q:1", "AcmeMSP", "busy")];
    let (text, error) = ask(gateway_error(10, ATTACHED, &nodes), &commit).await;
    assert_eq!(
        text,
        format!(
            "PEER could not do an endorsement of _lifecycle.CommitChaincodeDefinition, because GlobexMSP has not \
             approved exactly this definition: Aborted: {ATTACHED} [p:1 (GlobexMSP): {wrapped}; q:1 (AcmeMSP): busy]"
        )
    );
    let GatewayError::Lifecycle { refusal, answer, .. } = error else { panic!("{error}") };
    assert_eq!(refusal, Refusal::NotAgreed { msp_id: "GlobexMSP".to_owned() });
    assert_eq!((answer.nodes.len(), answer.nodes[1].address.as_str()), (2, "q:1"));

    let (_, error) = ask(gateway_error(10, ATTACHED, &nodes), &asset_call()).await;
    assert!(matches!(error, GatewayError::Refused { .. }), "{error}");
    let denied =
        [("p:1", "GlobexMSP", "error validating proposal: access denied: channel [ch1] creator org [AcmeMSP]")];
    for (reply, kind) in [
        (gateway_error(10, ATTACHED, &denied), FailureKind::Forbidden),
        (gateway_error(7, "no", &[]), FailureKind::Forbidden),
        (gateway_error(14, "no endorsers", &[]), FailureKind::Unreachable),
        (gateway_error(4, "endorsement timeout expired", &[]), FailureKind::Unreachable),
        (gateway_error(9, "no combination of peers can be derived", &[]), FailureKind::Refused),
        (grpc_error(12, "Gateway is disabled", &[]), FailureKind::Refused),
        (grpc_error(2, "rubbish in the details", b"\xff\xff"), FailureKind::Refused),
    ] {
        let (text, error) = ask(reply, &asset_call()).await;
        assert_eq!(error.kind(), kind, "{text}");
    }
}

#[tokio::test]
async fn no_wait_for_a_gateway_is_endless() {
    let silent = || Reply { hang: true, ..grpc_reply(Vec::new(), true) };
    let peer = Peer::answering(move |_| silent()).await;
    let error = peer.gateway().commit_status("t1", "ch1").await.unwrap_err();
    assert!(matches!(error, GatewayError::Transport(TransportError::Timeout { .. })), "{error}");
    assert_eq!(error.kind(), FailureKind::Unreachable);
}

/// A client that endorses by itself makes what a Gateway would.
#[tokio::test]
async fn endorsements_of_several_peers_make_a_transaction() {
    let caller = Organization::new("acme").unwrap().identity("admin", Role::Admin).unwrap();
    let signed = sign(&asset_call(), &caller).unwrap();
    let mut endorsements = Vec::new();
    for organization in ["acme", "globex"] {
        let endorser = Organization::new(organization).unwrap().identity("peer1", Role::Peer).unwrap();
        let peer = Peer::answering(move |request| respond(request, &endorser)).await;
        endorsements.push(peer.endorser().endorse(&signed).await.unwrap());
    }
    assert_eq!(endorsements[0].result, b"done");
    let envelope = assemble(&signed, &endorsements, &caller).unwrap();
    let prepared = PreparedTransaction::new(&signed, envelope);
    assert_eq!((prepared.tx_id.as_str(), prepared.channel.as_str()), (signed.tx_id(), "ch1"));
}

/// What a peer answers to a proposal.
fn respond(request: &[u8], endorser: &SigningIdentity) -> Reply {
    let proposal = SignedProposal::decode(request).unwrap();
    let proposal = Proposal::decode(proposal.proposal_bytes.as_slice()).unwrap();
    let header = Header::decode(proposal.header.as_slice()).unwrap();
    let mut payload = ChaincodeProposalPayload::decode(proposal.payload.as_slice()).unwrap();
    payload.transient_map.clear();
    let hashed = [header.channel_header, header.signature_header, payload.encode_to_vec()].concat();
    let payload = ProposalResponsePayload {
        proposal_hash: <sha2::Sha256 as sha2::Digest>::digest(hashed).to_vec(),
        extension: ChaincodeAction::default().encode_to_vec(),
    }
    .encode_to_vec();
    let signature = endorser.sign(&[payload.as_slice(), endorser.creator()].concat()).unwrap();
    let response = ProposalResponse {
        version: 1,
        response: Some(Response { status: 200, payload: b"done".to_vec(), ..Response::default() }),
        payload,
        endorsement: Some(Endorsement { endorser: endorser.creator().to_vec(), signature }),
        ..ProposalResponse::default()
    };
    grpc_reply(vec![response.encode_to_vec()], false)
}
