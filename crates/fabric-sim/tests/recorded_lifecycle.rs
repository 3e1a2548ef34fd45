//! The recorded steps of a chaincode's life, one after the other, on simulated peers of the three organisations.
//!
//! An orderer made of the test serves the recorded blocks, each when its step comes, so that the peers are in the very
//! state in which real peers gave the recorded answers. Compared are status, text, whether there is an endorsement, the
//! payload, and the read-write set byte for byte; and of transactions the validation code. The recorded chain ends
//! with block 11: later blocks are made of the recorded envelopes and signed with an orderer's recorded key.

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

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use serde_json::Value;
use support::chaincode::Running;
use support::client::{call, connect, proposal, propose};
use support::network::{Network, Node, eventually};
use support::organization::{Authority, Organization, Person};
use support::{Suite, Target, enough, recorded_calls, vectors};
use tenter_fabric_sim::block;
use tenter_fabric_sim::net::{ClientRoots, Incoming, KeyPair, server_tls};
use tenter_fabric_wire::common::{Block, BlockchainInfo, Envelope, Payload};
use tenter_fabric_wire::lifecycle::{
    CheckCommitReadinessResult, QueryChaincodeDefinitionResult, QueryInstalledChaincodesResult,
};
use tenter_fabric_wire::orderer::deliver_response::Type as Reply;
use tenter_fabric_wire::orderer::seek_position::Type as Position;
use tenter_fabric_wire::orderer::{BroadcastResponse, DeliverResponse, SeekInfo};
use tenter_fabric_wire::protos::{
    ChaincodeAction, ChaincodeInput, ChaincodeInvocationSpec, ChaincodeProposalPayload, ProcessedTransaction, Proposal,
    ProposalResponse, ProposalResponsePayload, SignedProposal,
};
use tenter_fabric_wire::service::atomic_broadcast_server::{AtomicBroadcast, AtomicBroadcastServer};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

fn file(path: &str) -> Vec<u8> {
    std::fs::read(vectors().join("recorded").join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn throwaway(path: &str) -> String {
    String::from_utf8(file(&format!("throwaway-keys/{path}"))).unwrap()
}

/// Serves the blocks that there are so far.
struct Blocks(watch::Receiver<Vec<Block>>);

#[tonic::async_trait]
impl AtomicBroadcast for Blocks {
    type BroadcastStream = ReceiverStream<Result<BroadcastResponse, Status>>;
    type DeliverStream = ReceiverStream<Result<DeliverResponse, Status>>;

    async fn broadcast(&self, _: Request<Streaming<Envelope>>) -> Result<Response<Self::BroadcastStream>, Status> {
        Err(Status::unimplemented("not a real orderer"))
    }

    async fn deliver(&self, request: Request<Streaming<Envelope>>) -> Result<Response<Self::DeliverStream>, Status> {
        let (sender, receiver) = mpsc::channel(4);
        let mut blocks = self.0.clone();
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            let Ok(Some(envelope)) = requests.message().await else { return };
            let seek = SeekInfo::decode(&Payload::decode(&envelope.payload[..]).unwrap().data[..]).unwrap();
            let Some(Position::Specified(start)) = seek.start.and_then(|start| start.r#type) else { return };
            let mut next = usize::try_from(start.number).unwrap();
            loop {
                let Ok(ready) = blocks.wait_for(|blocks| blocks.len() > next).await.map(|blocks| blocks[next].clone())
                else {
                    return;
                };
                next += 1;
                let reply = DeliverResponse { r#type: Some(Reply::Block(ready)) };
                if sender.send(Ok(reply)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn serve_blocks(blocks: watch::Receiver<Vec<Block>>) -> u16 {
    let hub = Organization {
        msp_id: "HubMSP".to_owned(),
        ca: Authority::from_pem(&throwaway("ca/hub.cert.pem"), &throwaway("ca/hub.key.pem")),
        tlsca: Authority::from_pem(&throwaway("tlsca/hub.cert.pem"), &throwaway("tlsca/hub.key.pem")),
    };
    let (certificate, key) = hub.tls("orderer1");
    let pair = KeyPair::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let tls = server_tls(&pair, false, ClientRoots::default(), "h2").unwrap();
    let incoming = Incoming::bind("127.0.0.1:0", Some(tls)).await.unwrap();
    let port = incoming.local().port();
    let service = AtomicBroadcastServer::new(Blocks(blocks)).max_encoding_message_size(100 << 20);
    tokio::spawn(async move {
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming.into_stream())
            .await
            .unwrap();
    });
    port
}

fn people() -> BTreeMap<&'static str, Person> {
    [
        ("acme-user1", "AcmeMSP", "broadcast/acme-user1"),
        ("acme-admin", "AcmeMSP", "broadcast/acme-admin"),
        ("globex-admin", "GlobexMSP", "broadcast/globex-admin"),
        ("initech-admin", "InitechMSP", "broadcast/initech-admin"),
        ("umbrella-admin", "UmbrellaMSP", "broadcast/umbrella-admin"),
    ]
    .into_iter()
    .map(|(name, msp_id, path)| {
        let (certificate, key) = (throwaway(&format!("{path}.cert.pem")), throwaway(&format!("{path}.key.pem")));
        (name, Person::new(msp_id, &certificate, &key))
    })
    .collect()
}

fn admin_of(msp_id: &str) -> &'static str {
    match msp_id {
        "AcmeMSP" => "acme-admin",
        "GlobexMSP" => "globex-admin",
        _ => "initech-admin",
    }
}

fn organization(name: &str, msp_id: &str) -> Organization {
    Organization {
        msp_id: msp_id.to_owned(),
        ca: Authority::from_pem(&throwaway(&format!("ca/{name}.cert.pem")), &throwaway(&format!("ca/{name}.key.pem"))),
        tlsca: Authority::from_pem(
            &throwaway(&format!("tlsca/{name}.cert.pem")),
            &throwaway(&format!("tlsca/{name}.key.pem")),
        ),
    }
}

fn input_of(signed: &[u8]) -> ChaincodeInput {
    let signed = SignedProposal::decode(signed).unwrap();
    let payload = Proposal::decode(&signed.proposal_bytes[..]).unwrap().payload;
    let payload = ChaincodeProposalPayload::decode(&payload[..]).unwrap();
    let spec = ChaincodeInvocationSpec::decode(&payload.input[..]).unwrap();
    spec.chaincode_spec.unwrap().input.unwrap()
}

/// The function and the arguments, all of them text.
fn texts(case: &Value) -> Vec<Vec<u8>> {
    let args = case["args"].as_array().unwrap().iter().map(|arg| arg["text"].as_str().unwrap());
    std::iter::once(case["function"].as_str().unwrap()).chain(args).map(|text| text.as_bytes().to_vec()).collect()
}

fn action_of(response: &ProposalResponse) -> ChaincodeAction {
    let payload = ProposalResponsePayload::decode(&response.payload[..]).unwrap();
    ChaincodeAction::decode(&payload.extension[..]).unwrap()
}

/// Payloads as they can be compared: Go writes maps in any order.
fn comparable(function: &str, payload: &[u8]) -> Vec<u8> {
    match function {
        "CheckCommitReadiness" => CheckCommitReadinessResult::decode(payload).unwrap().encode_to_vec(),
        "QueryChaincodeDefinition" => QueryChaincodeDefinitionResult::decode(payload).unwrap().encode_to_vec(),
        "QueryInstalledChaincodes" => {
            let mut all = QueryInstalledChaincodesResult::decode(payload).unwrap();
            all.installed_chaincodes.sort_by(|a, b| a.package_id.cmp(&b.package_id));
            all.encode_to_vec()
        }
        _ => payload.to_vec(),
    }
}

/// Transaction ids in texts differ from run to run.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(' ') {
        let bare = word.trim_end_matches([':', ' ']);
        let is_id = bare.len() == 64 && bare.bytes().all(|c| c.is_ascii_hexdigit());
        out.push_str(if is_id { "TXID: " } else { word });
    }
    out
}

struct Replay {
    peers: BTreeMap<&'static str, (Node, Organization)>,
    people: BTreeMap<&'static str, Person>,
    blocks: watch::Sender<Vec<Block>>,
    wrong: Vec<String>,
    /// Kept while peers run: their folders are in it.
    _network: Network,
}

impl Replay {
    async fn start(chaincode: &Running) -> Self {
        let genesis = Block::decode(&file("blocks/raft-orderer-cc1/0.pb")[..]).unwrap();
        let (blocks, served) = watch::channel(vec![genesis.clone()]);
        let port = serve_blocks(served).await;
        let network = Network::new(Target::Simulator);
        let mut peers = BTreeMap::new();
        for (name, msp_id) in [("acme", "AcmeMSP"), ("globex", "GlobexMSP"), ("initech", "InitechMSP")] {
            let org = organization(name, msp_id);
            let mut node = network.peer(&org, &format!("peer0.{name}"));
            let orderers: Vec<String> =
                [17050, 17150, 17250].map(|from| format!("127.0.0.1:{from}=127.0.0.1:{port}")).to_vec();
            let dial = format!("{},127.0.0.1:19999=127.0.0.1:{}", orderers.join(","), chaincode.port);
            node.environment.push(("FABRIC_SIM_DIAL".to_owned(), dial));
            node.start().await;
            let admin = &people()[admin_of(msp_id)];
            let connection = connect(node.port, &org.tlsca.pem, None).await.unwrap();
            let join = proposal(admin, "", "cscc", &[b"JoinChain", &genesis.encode_to_vec()]);
            let answer = propose(connection, join).await.unwrap().response.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.message);
            peers.insert(msp_id, (node, org));
        }
        Self { peers, people: people(), blocks, wrong: Vec::new(), _network: network }
    }

    async fn send(&self, msp_id: &str, signed: SignedProposal) -> Result<ProposalResponse, String> {
        let (node, org) = &self.peers[msp_id];
        let connection = connect(node.port, &org.tlsca.pem, None).await.unwrap();
        propose(connection, signed).await
    }

    async fn query(&self, msp_id: &str, args: &[&[u8]]) -> Option<Vec<u8>> {
        let admin = &self.people[admin_of(msp_id)];
        let response = self.send(msp_id, proposal(admin, "cc1", "qscc", args)).await.ok()?.response?;
        (response.status == 200).then_some(response.payload)
    }

    /// Shows the next block to the peers and waits until they have it.
    async fn reveal(&self, block: Block) {
        let height = block::number(&block) + 1;
        self.blocks.send_modify(|blocks| blocks.push(block));
        for msp_id in self.peers.keys() {
            eventually("the block is committed", async || {
                let info = self.query(msp_id, &[b"GetChainInfo", b"cc1"]).await?;
                (BlockchainInfo::decode(&info[..]).unwrap().height == height).then_some(())
            })
            .await;
        }
    }

    async fn transaction(&mut self, name: &str, case: &Value) {
        let number = case["block"].as_u64().unwrap();
        let path = format!("blocks/raft-orderer-cc1/{number}.pb");
        let block = if vectors().join("recorded").join(&path).exists() {
            Block::decode(&file(&path)[..]).unwrap()
        } else {
            self.next_block(number, file(&format!("lifecycle/cases/{name}/envelope.pb")))
        };
        self.reveal(block).await;
        let expected = case["validation_code"].as_i64().unwrap();
        for msp_id in self.peers.keys() {
            let bytes =
                self.query(msp_id, &[b"GetBlockByNumber", b"cc1", number.to_string().as_bytes()]).await.unwrap();
            let codes = Block::decode(&bytes[..]).unwrap().metadata.unwrap().metadata[2].clone();
            if codes != [u8::try_from(expected).unwrap()] {
                self.wrong.push(format!("{name}: recorded code {expected}, got {codes:?} by {msp_id}"));
            }
        }
        // A replayed transaction keeps the place of the first.
        if expected != 9 {
            let id = case["tx_id"].as_str().unwrap();
            let found = self.query("AcmeMSP", &[b"GetTransactionByID", b"cc1", id.as_bytes()]).await.unwrap();
            assert_eq!(i64::from(ProcessedTransaction::decode(&found[..]).unwrap().validation_code), expected);
        }
    }

    fn next_block(&self, number: u64, envelope: Vec<u8>) -> Block {
        let previous = block::hash(self.blocks.borrow().last().unwrap());
        let orderer =
            Person::new("HubMSP", &throwaway("orderers/orderer1.cert.pem"), &throwaway("orderers/orderer1.key.pem"));
        let mut block = block::assemble(number, previous, vec![envelope]);
        block::sign(&mut block, 0, Vec::new(), &orderer.creator, vec![7; 24], |bytes| orderer.key.sign(bytes));
        block
    }

    async fn proposal(&mut self, name: &str, case: &Value) {
        let dir = format!("lifecycle/cases/{name}");
        let identity = case["identity"]["identity"].as_str().unwrap();
        let (channel, chaincode) = (case["channel"].as_str().unwrap(), case["chaincode"].as_str().unwrap());
        // Of calls to qscc the recording here keeps the arguments and the verdict alone.
        let verdict_only = chaincode == "qscc";
        let input = if verdict_only {
            ChaincodeInput { args: texts(case), ..ChaincodeInput::default() }
        } else {
            input_of(&file(&format!("{dir}/signed_proposal.pb")))
        };
        let signed = call(&self.people[identity], channel, chaincode, input);
        let answer = self.send(case["peer"].as_str().unwrap(), signed).await;
        let expected = match case["grpc_error"]["message"].as_str() {
            Some(text) => format!("error {text:?}"),
            None => format!(
                "{} {:?} endorsed {}",
                case["response"]["status"],
                without_ids(case["response"]["message"].as_str().unwrap()),
                case["response"]["endorsed"]
            ),
        };
        let got = match &answer {
            Err(text) => format!("error {text:?}"),
            Ok(answer) => {
                let response = answer.response.as_ref().unwrap();
                let text = without_ids(&response.message);
                format!("{} {text:?} endorsed {}", response.status, answer.endorsement.is_some())
            }
        };
        if got != expected {
            self.wrong.push(format!("{name}: recorded {expected}, got {got}"));
            return;
        }
        let Ok(answer) = answer else { return };
        let function = case["function"].as_str().unwrap_or_default();
        if verdict_only {
            return;
        }
        if let Some(payload) = case["response"]["payload"].as_str() {
            let recorded = file(&format!("{dir}/{payload}"));
            let got = answer.response.as_ref().unwrap().payload.clone();
            if comparable(function, &recorded) != comparable(function, &got) {
                let (recorded, got) = (hex::encode(recorded), hex::encode(got));
                self.wrong.push(format!("{name}: recorded payload {recorded}, got {got}"));
            }
        }
        if let Some(path) = case["proposal_response"].as_str() {
            let recorded = action_of(&ProposalResponse::decode(&file(&format!("{dir}/{path}"))[..]).unwrap());
            let got = action_of(&answer);
            for (what, recorded, got) in [
                ("read-write set", recorded.results, got.results),
                ("event", recorded.events, got.events),
                (
                    "chaincode id",
                    recorded.chaincode_id.unwrap().encode_to_vec(),
                    got.chaincode_id.unwrap().encode_to_vec(),
                ),
            ] {
                if recorded != got {
                    let (recorded, got) = (hex::encode(recorded), hex::encode(got));
                    self.wrong.push(format!("{name}: recorded {what} {recorded}, got {got}"));
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_life_of_a_chaincode_is_repeated() {
    let acme = organization("acme", "AcmeMSP");
    let (certificate, key) = acme.tls("chaincode");
    let pair = KeyPair::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let package: Value = serde_json::from_slice(&file("lifecycle/package/package.json")).unwrap();
    let id = package["package_id"].as_str().unwrap();
    let chaincode = Running::start(0, id, Some((&pair, &acme.tlsca.pem))).await;
    let mut replay = Replay::start(&chaincode).await;
    let mut kinds = BTreeSet::new();
    let mut count = 0;
    for case in recorded_calls(Suite::Life) {
        let name = case["case"].as_str().unwrap();
        let before = replay.wrong.len();
        match case["kind"].as_str().unwrap() {
            "transaction" => replay.transaction(name, &case).await,
            "proposal" => replay.proposal(name, &case).await,
            other => panic!("{name}: a {other} is not known here"),
        }
        for wrong in &replay.wrong[before..] {
            println!("{wrong}");
        }
        kinds.insert(case["function"].as_str().unwrap_or("transaction").to_owned());
        count += 1;
    }
    println!("{count} steps of {kinds:?}");
    enough(count, 81, "steps");
    enough(kinds.len(), 13, "kinds of steps");
    assert!(replay.wrong.is_empty(), "{:#?}", replay.wrong);
}
