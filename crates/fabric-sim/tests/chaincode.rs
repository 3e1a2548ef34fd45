//! A chaincode from its package to its upgrade, on two organisations' peers and an orderer, with a tiny service made of
//! the test: by the messages alone and through the Gateway. The same on real Fabric where its programs are there, with
//! `ccaas_builder` beside them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::similar_names,
    clippy::unnecessary_wraps,
    clippy::zero_sized_map_values,
    clippy::too_many_lines,
    reason = "helpers of tests fail loudly; each test uses another part of them"
)]

mod support;

use std::time::Duration;

use prost::Message;
use support::chaincode::{Running, package};
use support::client::{assemble, broadcast, call, connect, proposal, propose, transaction_id};
use support::network::{Network, Node, eventually};
use support::organization::{Organization, Person};
use support::update::{compute, envelope};
use support::world::join_peer;
use support::{Target, targets};
use tenter_fabric_sim::net::KeyPair;
use tenter_fabric_wire::common::msp_principal::Classification;
use tenter_fabric_wire::common::signature_policy::Type as RuleType;
use tenter_fabric_wire::common::{
    Block, Config, ConfigValue, Envelope, MspPrincipal, MspRole, SignaturePolicy, SignaturePolicyEnvelope,
};
use tenter_fabric_wire::gateway::{
    CommitStatusRequest, EndorseRequest, ErrorDetail, EvaluateRequest, SignedCommitStatusRequest, SubmitRequest,
};
use tenter_fabric_wire::google::RpcStatus;
use tenter_fabric_wire::lifecycle::{
    ApproveChaincodeDefinitionForMyOrgArgs, ChaincodeSource, CheckCommitReadinessArgs, CheckCommitReadinessResult,
    CommitChaincodeDefinitionArgs, InstallChaincodeArgs, QueryApprovedChaincodeDefinitionArgs,
    QueryApprovedChaincodeDefinitionResult, QueryChaincodeDefinitionArgs, QueryChaincodeDefinitionResult,
    chaincode_source,
};
use tenter_fabric_wire::protos::{
    Acls, ApiResource, ChaincodeInput, CollectionConfig, CollectionConfigPackage, CollectionPolicyConfig,
    ProposalResponse, SignedProposal, StaticCollectionConfig, collection_config, collection_policy_config,
};
use tenter_fabric_wire::service::gateway_client::GatewayClient;
use tonic::{Code, Status};

const CHANNEL: &str = "ch1";
const VALID: i32 = 0;

/// Peers of one organisation, and who speaks to them.
struct Side<'a> {
    org: &'a Organization,
    node: Node,
    admin: Person,
    user: Person,
}

impl Side<'_> {
    async fn gateway(&self) -> GatewayClient<tonic::transport::Channel> {
        GatewayClient::new(connect(self.node.port, &self.org.tlsca.pem, None).await.unwrap())
    }

    async fn propose(&self, signed: SignedProposal) -> ProposalResponse {
        let connection = connect(self.node.port, &self.org.tlsca.pem, None).await.unwrap();
        propose(connection, signed).await.unwrap()
    }

    /// Calls `_lifecycle` and takes the answer apart.
    async fn lifecycle(&self, channel: &str, function: &str, args: &impl Message) -> Result<Vec<u8>, (i32, String)> {
        let signed = proposal(&self.admin, channel, "_lifecycle", &[function.as_bytes(), &args.encode_to_vec()]);
        let response = self.propose(signed).await.response.unwrap();
        if response.status == 200 { Ok(response.payload) } else { Err((response.status, response.message)) }
    }

    /// Endorses through the Gateway; no organisations: as the policy says. Peers that were started a moment ago have not told
    /// each other yet what they have.
    async fn endorse(&self, signed: &SignedProposal, organizations: &[&str]) -> Result<Envelope, Status> {
        let request = EndorseRequest {
            transaction_id: transaction_id(signed),
            channel_id: CHANNEL.to_owned(),
            proposed_transaction: Some(signed.clone()),
            endorsing_organizations: organizations.iter().map(|org| (*org).to_owned()).collect(),
        };
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            match self.gateway().await.endorse(request.clone()).await {
                Err(status) if unknown_peers(&status) && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                answer => return answer.map(|answer| answer.into_inner().prepared_transaction.unwrap()),
            }
        }
    }

    /// Signs, submits, and waits for the validation code.
    async fn submit(&self, person: &Person, id: String, mut envelope: Envelope) -> i32 {
        envelope.signature = person.key.sign(&envelope.payload);
        let request = SubmitRequest {
            transaction_id: id.clone(),
            channel_id: CHANNEL.to_owned(),
            prepared_transaction: Some(envelope),
        };
        // A channel that was just formed may have no leader yet; the same bytes count once, however often they are sent.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            match self.gateway().await.submit(request.clone()).await {
                Err(status) if status.code() == Code::Unavailable && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                answer => {
                    answer.unwrap();
                    break;
                }
            }
        }
        self.status(person, id).await
    }

    async fn status(&self, person: &Person, id: String) -> i32 {
        let request = CommitStatusRequest {
            transaction_id: id,
            channel_id: CHANNEL.to_owned(),
            identity: person.creator.clone(),
        }
        .encode_to_vec();
        let signed = SignedCommitStatusRequest { signature: person.key.sign(&request), request };
        let mut gateway = self.gateway().await;
        let answer = tokio::time::timeout(Duration::from_secs(20), gateway.commit_status(signed)).await;
        answer.unwrap().unwrap().into_inner().result
    }

    /// Proposes, endorses, submits; the validation code.
    async fn transact(&self, person: &Person, chaincode: &str, input: ChaincodeInput, orgs: &[&str]) -> i32 {
        let signed = call(person, CHANNEL, chaincode, input);
        let envelope = self.endorse(&signed, orgs).await.unwrap_or_else(|status| panic!("{}", shown(&status)));
        self.submit(person, transaction_id(&signed), envelope).await
    }

    async fn invoke(&self, args: &[&str]) -> i32 {
        self.transact(&self.user, "asset", input(args), &[]).await
    }

    async fn evaluate(&self, args: &[&str]) -> Result<String, String> {
        let signed = call(&self.user, CHANNEL, "asset", input(args));
        let request = EvaluateRequest {
            transaction_id: transaction_id(&signed),
            channel_id: CHANNEL.to_owned(),
            proposed_transaction: Some(signed),
            target_organizations: vec![self.org.msp_id.clone()],
        };
        match self.gateway().await.evaluate(request).await {
            Ok(answer) => Ok(String::from_utf8(answer.into_inner().result.unwrap().payload).unwrap()),
            Err(status) => Err(shown(&status)),
        }
    }
}

/// Whether a gateway knows of too few peers.
fn unknown_peers(status: &Status) -> bool {
    let texts = ["failed to find any endorsing peers", "no combination of peers can be derived"];
    texts.iter().any(|text| status.message().contains(text))
}

/// Code, text and details of a gRPC status.
fn shown(status: &Status) -> String {
    let details = RpcStatus::decode(status.details()).unwrap().details;
    let details: Vec<String> = details
        .iter()
        .map(|detail| {
            let detail = ErrorDetail::decode(&detail.value[..]).unwrap();
            format!("{}: {}", detail.msp_id, detail.message)
        })
        .collect();
    format!("{:?} {} [{}]", status.code(), status.message(), details.join("; "))
}

fn input(args: &[&str]) -> ChaincodeInput {
    ChaincodeInput { args: args.iter().map(|arg| arg.as_bytes().to_vec()).collect(), ..ChaincodeInput::default() }
}

fn lifecycle_input(function: &str, args: &impl Message) -> ChaincodeInput {
    ChaincodeInput { args: vec![function.as_bytes().to_vec(), args.encode_to_vec()], ..ChaincodeInput::default() }
}

/// A definition of the chaincode `asset`.
#[derive(Clone)]
struct Definition {
    name: &'static str,
    sequence: i64,
    version: &'static str,
    init: bool,
    collections: Option<CollectionConfigPackage>,
}

impl Definition {
    fn approve(&self, package_id: &str) -> ApproveChaincodeDefinitionForMyOrgArgs {
        let local = chaincode_source::Local { package_id: package_id.to_owned() };
        ApproveChaincodeDefinitionForMyOrgArgs {
            sequence: self.sequence,
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            init_required: self.init,
            collections: self.collections.clone(),
            source: Some(ChaincodeSource { r#type: Some(chaincode_source::Type::LocalPackage(local)) }),
            ..ApproveChaincodeDefinitionForMyOrgArgs::default()
        }
    }

    fn commit(&self) -> CommitChaincodeDefinitionArgs {
        CommitChaincodeDefinitionArgs {
            sequence: self.sequence,
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            init_required: self.init,
            collections: self.collections.clone(),
            ..CommitChaincodeDefinitionArgs::default()
        }
    }

    fn readiness(&self) -> CheckCommitReadinessArgs {
        CheckCommitReadinessArgs {
            sequence: self.sequence,
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            init_required: self.init,
            collections: self.collections.clone(),
            ..CheckCommitReadinessArgs::default()
        }
    }
}

/// A collection of one organisation.
fn collection(name: &str, msp_id: &str) -> CollectionConfigPackage {
    let policy = SignaturePolicyEnvelope {
        version: 0,
        rule: Some(SignaturePolicy { r#type: Some(RuleType::SignedBy(0)) }),
        identities: vec![MspPrincipal {
            principal_classification: Classification::Role as i32,
            principal: MspRole { msp_identifier: msp_id.to_owned(), role: 0 }.encode_to_vec(),
        }],
    };
    let config = StaticCollectionConfig {
        name: name.to_owned(),
        member_orgs_policy: Some(CollectionPolicyConfig {
            payload: Some(collection_policy_config::Payload::SignaturePolicy(policy)),
        }),
        maximum_peer_count: 1,
        member_only_read: true,
        ..StaticCollectionConfig::default()
    };
    let payload = Some(collection_config::Payload::StaticCollectionConfig(config));
    CollectionConfigPackage { config: vec![CollectionConfig { payload }] }
}

/// Approves on both sides and commits.
async fn define(acme: &Side<'_>, globex: &Side<'_>, definition: &Definition, package_id: &str) {
    for side in [acme, globex] {
        let approve = lifecycle_input("ApproveChaincodeDefinitionForMyOrg", &definition.approve(package_id));
        let code = side.transact(&side.admin, "_lifecycle", approve, &[&side.org.msp_id]).await;
        assert_eq!(code, VALID);
    }
    eventually("both approvals are seen", async || {
        let answer = acme.lifecycle(CHANNEL, "CheckCommitReadiness", &definition.readiness()).await.unwrap();
        let approvals = CheckCommitReadinessResult::decode(&answer[..]).unwrap().approvals;
        approvals.values().all(|approved| *approved).then_some(())
    })
    .await;
    let commit = lifecycle_input("CommitChaincodeDefinition", &definition.commit());
    let code = acme.transact(&acme.admin, "_lifecycle", commit, &["AcmeMSP", "GlobexMSP"]).await;
    assert_eq!(code, VALID);
    for side in [acme, globex] {
        eventually("the definition is there", async || {
            (committed(side, definition.name).await?.sequence == definition.sequence).then_some(())
        })
        .await;
    }
}

async fn committed(side: &Side<'_>, name: &str) -> Option<QueryChaincodeDefinitionResult> {
    let args = QueryChaincodeDefinitionArgs { name: name.to_owned() };
    let answer = side.lifecycle(CHANNEL, "QueryChaincodeDefinition", &args).await.ok()?;
    Some(QueryChaincodeDefinitionResult::decode(&answer[..]).unwrap())
}

async fn approved(side: &Side<'_>, sequence: i64) -> Option<QueryApprovedChaincodeDefinitionResult> {
    let args = QueryApprovedChaincodeDefinitionArgs { name: "asset".to_owned(), sequence };
    let answer = side.lifecycle(CHANNEL, "QueryApprovedChaincodeDefinition", &args).await.ok()?;
    Some(QueryApprovedChaincodeDefinitionResult::decode(&answer[..]).unwrap())
}

/// The transaction of a call, endorsed on both sides but not sent.
async fn endorsed(acme: &Side<'_>, globex: &Side<'_>, args: &[&str]) -> (String, Envelope) {
    let signed = call(&acme.user, CHANNEL, "asset", input(args));
    let responses = [acme.propose(signed.clone()).await, globex.propose(signed.clone()).await];
    (transaction_id(&signed), assemble(&acme.user, &signed, &responses))
}

struct Stage<'a> {
    acme: Side<'a>,
    beside: Side<'a>,
    globex: Side<'a>,
    orderer: Node,
}

/// What the builder fills into packages.
fn places(chaincode: &Running, root: &str) -> (String, String) {
    let places = serde_json::json!({"service": format!("127.0.0.1:{}", chaincode.port), "root": root});
    ("CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG".to_owned(), places.to_string())
}

async fn stage(network: &Network, chaincode: &Running, root: &str) -> Stage<'static> {
    // The organisations live as long as the test does.
    let (acme_org, globex_org): (&'static Organization, &'static Organization) =
        (Box::leak(Box::new(network.acme.clone())), Box::leak(Box::new(network.globex.clone())));
    let mut orderer = network.orderer("orderer1");
    let mut acme = network.peer(acme_org, "peer0.acme");
    let mut beside = network.peer_beside(acme_org, "peer1.acme", Some(&acme));
    let mut globex = network.peer(globex_org, "peer0.globex");
    let anchors = [("AcmeMSP", &acme), ("GlobexMSP", &globex)];
    let genesis: Block = network.genesis_with_anchors(CHANNEL, &[&orderer], &anchors);
    orderer.start().await;
    assert_eq!(network.admin(&orderer).join(&genesis).await.unwrap().status, 201);
    for (node, org) in [(&mut acme, acme_org), (&mut beside, acme_org), (&mut globex, globex_org)] {
        node.environment.push(places(chaincode, root));
        node.start().await;
        join_peer(org, node, &genesis).await;
    }
    let side = |org: &'static Organization, node: Node| Side {
        org,
        node,
        admin: org.person("admin", "admin"),
        user: org.person("user1", "client"),
    };
    Stage { acme: side(acme_org, acme), beside: side(acme_org, beside), globex: side(globex_org, globex), orderer }
}

/// The programs to run on, without a real peer that could install nothing.
fn building_targets() -> Vec<Target> {
    let mut all = targets();
    all.retain(|target| {
        let builds = match target {
            Target::Simulator => true,
            Target::Fabric(dir) => dir.join("ccaas_builder/bin/build").is_file(),
        };
        if !builds {
            println!("SKIPPED on real Fabric: there is no ccaas_builder beside the peer's program");
        }
        builds
    });
    all
}

const CONNECTION: &str = r#"{"address":"{{.service}}","dial_timeout":"2s","tls_required":false}"#;

async fn install(side: &Side<'_>, package: &[u8]) -> Result<Vec<u8>, (i32, String)> {
    let args = InstallChaincodeArgs { chaincode_install_package: package.to_vec() };
    side.lifecycle("", "InstallChaincode", &args).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chaincode_is_installed_approved_committed_called_and_upgraded() {
    for target in building_targets() {
        live_and_upgrade(target).await;
    }
}

async fn live_and_upgrade(target: Target) {
    let network = Network::new(target);
    let (bytes, id) = package("ccaas", "asset_1", CONNECTION);
    let chaincode = Running::start(0, &id, None).await;
    let Stage { mut acme, beside, globex, orderer } = stage(&network, &chaincode, "").await;

    // What cannot be built is not installed.
    let golang = install(&acme, &package("golang", "asset_1", CONNECTION).0).await.unwrap_err();
    assert!(
        golang.1.ends_with("could not build chaincode: docker build failed: docker build is disabled"),
        "{golang:?}"
    );
    let unfilled = install(&acme, &package("ccaas", "bad", r#"{"address":"{{.nothing}}"}"#).0).await.unwrap_err();
    assert!(unfilled.1.contains("external builder 'ccaas_builder' failed: exit status 1"), "{unfilled:?}");
    for side in [&acme, &beside, &globex] {
        install(side, &bytes).await.unwrap();
    }
    let build = acme.node.dir.join(format!("data/externalbuilder/builds/{}", id.replace(':', "-")));
    let rendered = std::fs::read_to_string(build.join("release/chaincode/server/connection.json")).unwrap();
    assert!(rendered.starts_with(&format!("{{\"address\":\"127.0.0.1:{}\"", chaincode.port)), "{rendered}");

    // Nobody but Acme agrees: its own endorsement is not enough, and only the commit says so.
    let first = Definition { name: "asset", sequence: 1, version: "1", init: true, collections: None };
    let approve = lifecycle_input("ApproveChaincodeDefinitionForMyOrg", &first.approve(&id));
    assert_eq!(acme.transact(&acme.admin, "_lifecycle", approve, &["AcmeMSP"]).await, VALID);
    let signed =
        call(&acme.admin, CHANNEL, "_lifecycle", lifecycle_input("CommitChaincodeDefinition", &first.commit()));
    let early = assemble(&acme.admin, &signed, &[acme.propose(signed.clone()).await]);
    let connection = connect(orderer.port, &network.hub.tlsca.pem, None).await.unwrap();
    assert_eq!(broadcast(connection, early).await, (200, String::new()));
    assert_eq!(acme.status(&acme.admin, transaction_id(&signed)).await, 10);
    assert!(committed(&acme, "asset").await.is_none());
    let signed =
        call(&acme.admin, CHANNEL, "_lifecycle", lifecycle_input("CommitChaincodeDefinition", &first.commit()));
    let refused = acme.endorse(&signed, &["AcmeMSP", "GlobexMSP"]).await.unwrap_err();
    assert!(refused.code() == Code::Aborted, "{}", shown(&refused));
    assert!(
        shown(&refused).contains("GlobexMSP: chaincode response 500, failed to invoke backing implementation of 'CommitChaincodeDefinition': chaincode definition not agreed to by this org (GlobexMSP)"),
        "{}",
        shown(&refused)
    );

    // The approval is the organisation's own: its other peer has it, the other organisation sees that there is one.
    let found = eventually("the other peer has the approval", async || approved(&beside, 1).await).await;
    assert_eq!(found.version, "1");
    assert!(approved(&globex, 1).await.is_none());

    let approve = lifecycle_input("ApproveChaincodeDefinitionForMyOrg", &first.approve(&id));
    assert_eq!(globex.transact(&globex.admin, "_lifecycle", approve, &["GlobexMSP"]).await, VALID);
    let commit = lifecycle_input("CommitChaincodeDefinition", &first.commit());
    let both = ["AcmeMSP", "GlobexMSP"];
    eventually("Acme's peer has Globex's approval", async || {
        let signed = call(&acme.admin, CHANNEL, "_lifecycle", commit.clone());
        let envelope = acme.endorse(&signed, &both).await.ok()?;
        assert_eq!(acme.submit(&acme.admin, transaction_id(&signed), envelope).await, VALID);
        Some(())
    })
    .await;
    let definition = committed(&acme, "asset").await.unwrap();
    assert!(definition.approvals.values().all(|approved| *approved), "{definition:?}");

    // Init comes first. The policy of the channel demands both organisations, which the Gateway finds.
    let before = acme.evaluate(&["query", "a"]).await.unwrap_err();
    assert!(before.contains("has not been initialized for this version"), "{before}");
    let init = ChaincodeInput { is_init: true, ..input(&["init", "a", "100", "b", "200"]) };
    eventually("Globex's peer can run it", async || {
        let signed = call(&acme.user, CHANNEL, "asset", init.clone());
        let envelope = acme.endorse(&signed, &[]).await.ok()?;
        assert_eq!(acme.submit(&acme.user, transaction_id(&signed), envelope).await, VALID);
        Some(())
    })
    .await;
    assert_eq!(acme.invoke(&["invoke", "a", "b", "10"]).await, VALID);
    assert_eq!(acme.evaluate(&["query", "a"]).await.unwrap(), "90");
    assert_eq!(
        acme.evaluate(&["query", "zzz"]).await.unwrap_err(),
        "Unknown evaluate call to endorser returned error: chaincode response 500, {\"Error\":\"Nil amount for zzz\"} [AcmeMSP: chaincode response 500, {\"Error\":\"Nil amount for zzz\"}]"
    );

    // The configuration may name other guards.
    let ask = async || {
        let signed = proposal(&acme.user, CHANNEL, "_lifecycle", &[b"QueryChaincodeDefinitions", b""]);
        let response = acme.propose(signed).await.response.unwrap();
        (response.status, response.message)
    };
    assert_eq!(ask().await, (200, String::new()));
    let current =
        acme.propose(proposal(&acme.admin, CHANNEL, "cscc", &[b"GetChannelConfig", CHANNEL.as_bytes()])).await;
    let current = Config::decode(&current.response.unwrap().payload[..]).unwrap();
    let update = compute(CHANNEL, &current, |root| {
        let reference = ApiResource { policy_ref: "/Channel/Application/Admins".to_owned() };
        let acls = Acls { acls: [("_lifecycle/QueryChaincodeDefinitions".to_owned(), reference)].into() };
        let value =
            ConfigValue { value: acls.encode_to_vec(), mod_policy: "Admins".to_owned(), ..ConfigValue::default() };
        root.groups.get_mut("Application").unwrap().values.insert("ACLs".to_owned(), value);
    });
    let connection = connect(orderer.port, &network.hub.tlsca.pem, None).await.unwrap();
    let update = envelope(&update, &[&acme.admin, &globex.admin]);
    assert_eq!(broadcast(connection, update).await, (200, String::new()));
    let denied =
        eventually("the client is refused", async || Some(ask().await).filter(|(status, _)| *status != 200)).await;
    assert!(
        denied.1.starts_with("Failed to authorize invocation due to failed ACL check: failed evaluating policy on signed data during check policy [/Channel/Application/Admins]: [implicit policy evaluation failed"),
        "{denied:?}"
    );

    // Answers that differ are no transaction.
    let signed = call(&acme.user, CHANNEL, "asset", input(&["peerless"]));
    let differ = acme.endorse(&signed, &[]).await.unwrap_err();
    assert!(shown(&differ).contains("ProposalResponsePayloads do not match"), "{}", shown(&differ));

    // An upgrade needs its own init and keeps the state; the peers' restart loses nothing.
    let (bytes, second_id) = package("ccaas", "asset_2", CONNECTION);
    for side in [&acme, &beside, &globex] {
        install(side, &bytes).await.unwrap();
    }
    let second = Definition { sequence: 2, version: "2", init: false, ..first };
    define(&acme, &globex, &second, &second_id).await;
    second_id.clone_into(&mut chaincode.package.lock().unwrap());
    eventually("the new package runs", async || {
        let signed = call(&acme.user, CHANNEL, "asset", input(&["set", "c", "3"]));
        let envelope = acme.endorse(&signed, &[]).await.ok()?;
        assert_eq!(acme.submit(&acme.user, transaction_id(&signed), envelope).await, VALID);
        Some(())
    })
    .await;
    acme.node.kill();
    acme.node.start().await;
    assert_eq!(committed(&acme, "asset").await.unwrap().sequence, 2);
    assert_eq!(approved(&acme, 2).await.unwrap().version, "2");
    assert_eq!(approved(&acme, 1).await.unwrap().version, "1");
    assert_eq!(acme.evaluate(&["query", "a"]).await.unwrap(), "90");
    assert_eq!(acme.evaluate(&["query", "c"]).await.unwrap(), "3");
    assert_eq!(acme.invoke(&["set", "c", "4"]).await, VALID);
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_read_and_written_as_by_fabric() {
    for target in building_targets() {
        read_and_write(target).await;
    }
}

async fn read_and_write(target: Target) {
    let simulated = matches!(target, Target::Simulator);
    let network = Network::new(target);
    let (bytes, id) = package("ccaas", "asset_1", CONNECTION);
    let chaincode = Running::start(0, &id, None).await;
    let Stage { acme, beside, globex, orderer: _orderer } = stage(&network, &chaincode, "").await;
    for side in [&acme, &beside, &globex] {
        install(side, &bytes).await.unwrap();
    }
    let secrets = Some(collection("secrets", "AcmeMSP"));
    let asset = Definition { name: "asset", sequence: 1, version: "1", init: false, collections: secrets };
    define(&acme, &globex, &asset, &id).await;
    // Two chaincodes of one package share a stream, and cannot call each other: as with Fabric.
    let address = |port: u16| CONNECTION.replace("{{.service}}", &format!("127.0.0.1:{port}"));
    let second = Running::start(0, "", None).await;
    let (bytes, other_id) = package("ccaas", "other_1", &address(second.port));
    other_id.clone_into(&mut second.package.lock().unwrap());
    for side in [&acme, &globex] {
        install(side, &bytes).await.unwrap();
    }
    define(&acme, &globex, &Definition { name: "other", collections: None, ..asset.clone() }, &other_id).await;
    assert_eq!(acme.invoke(&["fill", "250"]).await, VALID);

    // Batches were offered; ranges come in parts of a hundred, pages as asked.
    assert_eq!(*chaincode.ready.lock().unwrap(), [8, 1, 16, 0xe8, 7, 24, 1, 32, 0xe8, 7]);
    assert_eq!(acme.evaluate(&["count", "k", "l"]).await.unwrap(), "250");
    assert_eq!(acme.evaluate(&["count", "k0010", "k0020"]).await.unwrap(), "10");
    assert_eq!(acme.evaluate(&["page", "k0000", "3", ""]).await.unwrap(), "k0000,k0001,k0002 3 k0003");
    assert_eq!(acme.evaluate(&["page", "k0000", "3", "k0248"]).await.unwrap(), "k0248,k0249 2 ");
    assert_eq!(acme.evaluate(&["get-many", "k0001", "nothing", "k0002"]).await.unwrap(), "v,,v");
    // The simulator keeps no history, and says so as a peer does that was told to keep none.
    let history = acme.evaluate(&["history"]).await;
    if simulated {
        assert!(history.unwrap_err().contains("GET_HISTORY_FOR_KEY failed: transaction ID: "));
    } else {
        history.unwrap();
    }

    // What was read must not have changed: a key, and a range, few keys or many.
    for (args, change, code) in [
        (&["invoke", "x", "y", "1"][..], &["set", "x", "7"][..], 11),
        (&["count-and-set", "k000", "k001", "z"], &["set", "k0003x", "new"], 12),
        (&["count-and-set", "k", "l", "z"], &["del", "k0200"], 12),
        (&["count-and-set", "k", "l", "z"], &["set", "unrelated", "1"], VALID),
    ] {
        for key in ["x", "y"] {
            assert_eq!(acme.invoke(&["set", key, "5"]).await, VALID);
        }
        let (id, late) = eventually("both peers answer alike", async || {
            let same = globex.evaluate(&["query", "y"]).await == Ok("5".to_owned());
            if same { Some(endorsed(&acme, &globex, args).await) } else { None }
        })
        .await;
        assert_eq!(acme.invoke(change).await, VALID);
        assert_eq!(acme.submit(&acme.user, id, late).await, code, "{args:?} after {change:?}");
    }
    assert_eq!(acme.evaluate(&["query", "x"]).await.unwrap(), "5");

    // Another chaincode in the same transaction.
    assert_eq!(acme.invoke(&["call", "other", "set", "o", "1"]).await, VALID);
    assert_eq!(acme.evaluate(&["get", "o"]).await.unwrap(), "");
    assert_eq!(acme.evaluate(&["call", "other", "get", "o"]).await.unwrap(), "1");

    // Private data stays with the collection's members; the others see hashes.
    assert_eq!(acme.transact(&acme.user, "asset", input(&["put-private", "secrets", "s", "hush"]), &[]).await, VALID);
    assert_eq!(acme.evaluate(&["get-private", "secrets", "s"]).await.unwrap(), "hush");
    eventually("the other peer gets it", async || {
        (beside.evaluate(&["get-private", "secrets", "s"]).await.ok()? == "hush").then_some(())
    })
    .await;
    let hash = acme.evaluate(&["private-hash", "secrets", "s"]).await.unwrap();
    eventually("Globex sees the hash", async || {
        (globex.evaluate(&["private-hash", "secrets", "s"]).await.ok()? == hash).then_some(())
    })
    .await;
    let denied = globex.evaluate(&["get-private", "secrets", "s"]).await.unwrap_err();
    assert!(denied.contains("does not have read access permission on privatedata"), "{denied}");
    let unknown = acme.evaluate(&["get-private", "nothing", "s"]).await.unwrap_err();
    assert!(unknown.contains("collection ch1/asset/nothing could not be found"), "{unknown}");

    // A service that dies, sleeps, is away, and comes back.
    let crashed = acme.evaluate(&["crash"]).await.unwrap_err();
    assert!(crashed.contains("error sending: chaincode stream terminated"), "{crashed}");
    assert_eq!(acme.evaluate(&["query", "x"]).await.unwrap(), "5");
    let slow = acme.evaluate(&["sleep"]).await.unwrap_err();
    assert!(slow.contains("error sending: timeout expired while executing transaction"), "{slow}");
    let port = chaincode.port;
    chaincode.stop();
    let away = eventually("the service is away", async || {
        acme.evaluate(&["query", "x"]).await.err().filter(|text| text.contains("could not launch"))
    })
    .await;
    // A real peer has places of its own code between them.
    for part in [
        format!("could not launch chaincode {id}"),
        format!("connection to {id} failed"),
        format!("error cannot create connection for {id}"),
        format!("error creating grpc connection to 127.0.0.1:{port}"),
    ] {
        assert!(away.contains(&part), "{part} in {away}");
    }
    let _again = Running::start(port, &id, None).await;
    eventually("the service is back", async || acme.evaluate(&["query", "x"]).await.ok()).await;
}

/// A peer keeps what was built: another root comes into it only where nothing is built yet when it starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_starts_without_builds_fills_in_the_root_of_the_day() {
    for target in building_targets() {
        fill_in_the_root(target).await;
    }
}

async fn fill_in_the_root(target: Target) {
    const SECURED: &str =
        r#"{"address":"{{.service}}","dial_timeout":"2s","tls_required":true,"root_cert":"{{.root}}"}"#;
    let network = Network::new(target);
    let (old, renewed) = (Organization::new("Services"), Organization::new("Services"));
    let pair = |organization: &Organization| {
        let (certificate, key) = organization.tls("asset");
        KeyPair::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
    };
    let (bytes, id) = package("ccaas", "asset_1", SECURED);
    let chaincode = Running::start(0, &id, Some((&pair(&old), ""))).await;
    let Stage { mut acme, beside, globex, orderer: _orderer } = stage(&network, &chaincode, &old.tlsca.pem).await;
    for side in [&acme, &beside, &globex] {
        install(side, &bytes).await.unwrap();
    }
    let asset = Definition { name: "asset", sequence: 1, version: "1", init: false, collections: None };
    define(&acme, &globex, &asset, &id).await;
    assert_eq!(acme.invoke(&["set", "x", "5"]).await, VALID);

    acme.node.kill();
    chaincode.stop();
    let chaincode = Running::start(chaincode.port, &id, Some((&pair(&renewed), ""))).await;
    acme.node.environment.push(places(&chaincode, &renewed.tlsca.pem));
    acme.node.start().await;
    let stale = acme.evaluate(&["query", "x"]).await.unwrap_err();
    assert!(stale.contains("could not launch"), "{stale}");

    // What a Pod is given anew each time it starts.
    acme.node.kill();
    std::fs::remove_dir_all(acme.node.dir.join("data/externalbuilder/builds")).unwrap();
    acme.node.start().await;
    assert_eq!(acme.evaluate(&["query", "x"]).await.unwrap(), "5");
}
