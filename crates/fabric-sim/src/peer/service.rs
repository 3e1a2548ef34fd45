//! The peer's gRPC services: Endorser and Deliver (Fabric `core/endorser/endorser.go`, `core/peer/deliverevents.go`).

use std::sync::Arc;

use prost::Message as _;
use tenter_fabric_wire::common::{Block, Envelope, HeaderType};
use tenter_fabric_wire::protos::{
    ChaincodeAction, ChaincodeActionPayload, ChaincodeEvent, ChaincodeId, DeliverResponse, Endorsement, FilteredBlock,
    FilteredChaincodeAction, FilteredTransaction, FilteredTransactionActions, ProposalResponse,
    ProposalResponsePayload, Response as ChaincodeResponse, SignedProposal, Transaction, deliver_response,
    filtered_transaction,
};
use tenter_fabric_wire::service::deliver_server::Deliver;
use tenter_fabric_wire::service::endorser_server::Endorser;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::acl;
use super::chaincode::{Chaincodes, SYSTEM, SYSTEM_VERSION, Transaction as Simulated};
use super::channels::{Channels, validation_codes};
use super::lifecycle;
use super::node::Node;
use super::proposal::{Unpacked, filter};
use super::simulate::{Outcome, Simulator};
use super::system::{Context, cscc, qscc};
use crate::block;
use crate::deliver::{self, Replies, Reply, Rules, from_first_reply};
use crate::faults::Area;
use crate::net::PeerInfo;

/// The services.
#[derive(Debug, Clone)]
pub struct Service {
    /// The peer.
    pub node: Arc<Node>,
    /// Its channels.
    pub channels: Arc<Channels>,
    /// Its chaincodes.
    pub chaincodes: Arc<Chaincodes>,
    /// How Deliver judges requests.
    pub rules: Arc<Rules>,
}

/// An error of the peer's own.
fn failed(message: String) -> ProposalResponse {
    ProposalResponse {
        response: Some(ChaincodeResponse { status: 500, message, payload: Vec::new() }),
        ..ProposalResponse::default()
    }
}

/// What a chaincode did.
struct Run {
    response: ChaincodeResponse,
    event: Option<ChaincodeEvent>,
    version: String,
    /// None for chaincodes that do not touch the state.
    outcome: Option<Outcome>,
}

impl Service {
    /// Judges and runs a proposal. A gRPC error is for the proposal itself, everything else is in the response.
    pub async fn process(&self, signed: &SignedProposal) -> Result<ProposalResponse, Status> {
        filter(&self.node, signed).map_err(Status::unknown)?;
        let proposal = Unpacked::new(signed).map_err(Status::unknown)?;
        let name = &proposal.channel.channel_id;
        let invalid = |text: String| Status::unknown(format!("error validating proposal: {text}"));
        if name.is_empty() {
            let local = &self.node.msp.msp;
            proposal.validate(|identity| (identity.msp_id == local.id).then_some(local)).map_err(invalid)?;
        } else {
            let Some(channel) = self.channels.get(name) else {
                return Ok(failed(format!("channel '{name}' not found")));
            };
            let bundle = channel.bundle();
            proposal.validate(|identity| bundle.msps.get(&identity.msp_id)).map_err(invalid)?;
            let id = &proposal.channel.tx_id;
            if channel.transaction(id).is_some() {
                let creator = hex::encode(&proposal.creator);
                return Err(Status::unknown(format!("duplicate transaction found [{id}]. Creator [{creator}]")));
            }
            if !SYSTEM.contains(&proposal.chaincode.as_str()) {
                acl::check_signed(&bundle, "peer/Propose", &proposal.signed).map_err(Status::unknown)?;
            }
        }
        Ok(match self.run(&proposal).await {
            Ok(run) => self.respond(&proposal, run),
            Err(text) => failed(text),
        })
    }

    /// Runs the chaincode; the text of an error is the peer's own, not the chaincode's.
    async fn run(&self, proposal: &Unpacked) -> Result<Run, String> {
        let context =
            Context { node: &self.node, channels: &self.channels, packages: &self.chaincodes.packages, proposal };
        let answer = match proposal.chaincode.as_str() {
            "cscc" => cscc(&context),
            "qscc" => qscc(&context),
            "_lifecycle" => return Ok(self.run_lifecycle(&context)),
            _ => return self.run_user(proposal).await,
        };
        let response = match answer {
            Ok(payload) => ChaincodeResponse { status: 200, message: String::new(), payload },
            Err(message) => ChaincodeResponse { status: 500, message, payload: Vec::new() },
        };
        Ok(Run { response, event: None, version: SYSTEM_VERSION.to_owned(), outcome: None })
    }

    fn run_lifecycle(&self, context: &Context<'_>) -> Run {
        let proposal = context.proposal;
        let channel = self.channels.get(&proposal.channel.channel_id);
        let bundle = channel.as_ref().map(|channel| channel.bundle());
        let world = channel.as_ref().map(|channel| channel.world()).unwrap_or_default();
        let mut simulator = Simulator::new(world, &proposal.channel.tx_id);
        let response = match lifecycle::invoke(context, bundle.as_deref(), &mut simulator) {
            Ok(payload) => ChaincodeResponse { status: 200, message: String::new(), payload },
            Err(refusal) => ChaincodeResponse { status: refusal.status, message: refusal.text, payload: Vec::new() },
        };
        let outcome = channel.is_some().then(|| simulator.finish());
        Run { response, event: None, version: SYSTEM_VERSION.to_owned(), outcome }
    }

    async fn run_user(&self, proposal: &Unpacked) -> Result<Run, String> {
        let (name, channel_id) = (&proposal.chaincode, &proposal.channel.channel_id);
        let undefined = |text: String| {
            format!(
                "make sure the chaincode {name} has been successfully defined on channel {channel_id} and try again: {text}"
            )
        };
        let Some(channel) = self.channels.get(channel_id) else {
            return Err(undefined(format!("could not get channel config for channel '{channel_id}'")));
        };
        if SYSTEM.contains(&name.as_str()) {
            return Err(undefined(format!("chaincode {name} not found")));
        }
        let id = &proposal.channel.tx_id;
        let transaction = Arc::new(Simulated {
            id: id.clone(),
            bundle: channel.bundle(),
            simulator: std::sync::Mutex::new(Simulator::new(channel.world(), id)),
            proposal: proposal.envelope.clone(),
            signed: proposal.signed.clone(),
            msp_id: self.node.msp.msp.id.clone(),
        });
        let version = self.chaincodes.runnable(&transaction, name).map_err(undefined)?.version;
        let (response, event) = self
            .chaincodes
            .execute(&transaction, name, &proposal.input)
            .await
            .map_err(|text| format!("error in simulation: {text}"))?;
        let event = event.filter(|_| response.status < 400);
        let empty = Simulator::new(Arc::default(), id);
        let outcome = std::mem::replace(&mut *transaction.simulator(), empty).finish();
        Ok(Run { response, event, version, outcome: Some(outcome) })
    }

    /// The proposal's response: endorsed if the chaincode had success in a channel.
    fn respond(&self, proposal: &Unpacked, run: Run) -> ProposalResponse {
        let Run { response, event, version, outcome } = run;
        let in_channel = !proposal.channel.channel_id.is_empty();
        if let Some(channel) = self.channels.get(&proposal.channel.channel_id) {
            for writes in outcome.iter().flat_map(|outcome| &outcome.private) {
                if let Err(text) = channel.keep_private(writes.clone()) {
                    return failed(format!("error in simulation: {text}"));
                }
            }
        }
        let (results, interest) = outcome.map(|outcome| (outcome.results, Some(outcome.interest))).unwrap_or_default();
        let action = ChaincodeAction {
            results,
            events: event.map(|event| event.encode_to_vec()).unwrap_or_default(),
            response: Some(response.clone()),
            chaincode_id: Some(ChaincodeId { name: proposal.chaincode.clone(), version, ..ChaincodeId::default() }),
        };
        let payload =
            ProposalResponsePayload { proposal_hash: proposal.hash.clone(), extension: action.encode_to_vec() }
                .encode_to_vec();
        if response.status >= 500 {
            return ProposalResponse { response: Some(response), payload, interest, ..ProposalResponse::default() };
        }
        if !in_channel || response.status >= 400 {
            return ProposalResponse { response: Some(response), ..ProposalResponse::default() };
        }
        let endorser = self.node.msp.serialized.clone();
        let message = [&payload[..], &endorser].concat();
        ProposalResponse {
            version: 1,
            response: Some(response),
            payload,
            endorsement: Some(Endorsement { signature: self.node.msp.key.sign(&message), endorser }),
            interest,
            ..ProposalResponse::default()
        }
    }

    async fn stream(
        &self,
        request: Request<Streaming<Envelope>>,
        filtered: bool,
    ) -> Response<Replies<DeliverResponse>> {
        let certificate = request.extensions().get::<PeerInfo>().and_then(|info| info.certificate.clone());
        let (replies, stream) = mpsc::channel(16);
        let service = self.clone();
        tokio::spawn(async move {
            let certificate = certificate.as_ref().map(|der| &der[..]);
            let node = service.node.clone();
            let send = deliver::sender(replies, move |reply, channel: &str| DeliverResponse {
                r#type: Some(match reply {
                    Reply::Status(status) => deliver_response::Type::Status(status as i32),
                    Reply::Block(block) if filtered => {
                        if block.data.is_none() {
                            // The real peer dies on this request: it filters a block whose data was taken away.
                            node.die("invalid memory address or nil pointer dereference in DeliverFiltered");
                        }
                        deliver_response::Type::FilteredBlock(filter_block(&block, channel))
                    }
                    Reply::Block(block) => deliver_response::Type::Block(block),
                }),
            });
            let find = |name: &str| service.channels.get(name).map(|channel| channel.source());
            deliver::serve(&service.rules, certificate, request.into_inner(), find, send).await;
        });
        Response::new(from_first_reply(stream).await)
    }
}

/// What `DeliverFiltered` shows of a block: ids, kinds, codes, and events without their payload.
fn filter_block(block: &Block, channel: &str) -> FilteredBlock {
    let codes = validation_codes(block);
    let transactions = block.data.iter().flat_map(|data| &data.data).enumerate();
    FilteredBlock {
        channel_id: channel.to_owned(),
        number: block::number(block),
        filtered_transactions: transactions
            .filter_map(|(index, entry)| {
                let opened = block::open(&Envelope::decode(&entry[..]).ok()?).ok()?;
                let kind = opened.channel.r#type;
                Some(FilteredTransaction {
                    txid: opened.channel.tx_id,
                    r#type: kind,
                    tx_validation_code: i32::from(codes.get(index).copied().unwrap_or(254)),
                    data: (kind == HeaderType::EndorserTransaction as i32)
                        .then(|| filtered_transaction::Data::TransactionActions(actions(&opened.payload.data))),
                })
            })
            .collect(),
    }
}

fn actions(data: &[u8]) -> FilteredTransactionActions {
    let transaction = Transaction::decode(data).unwrap_or_default();
    FilteredTransactionActions {
        chaincode_actions: transaction
            .actions
            .iter()
            .filter_map(|action| event(&action.payload))
            .map(|event| FilteredChaincodeAction { chaincode_event: Some(event) })
            .collect(),
    }
}

fn event(payload: &[u8]) -> Option<ChaincodeEvent> {
    let payload = ChaincodeActionPayload::decode(payload).ok()?;
    let response = ProposalResponsePayload::decode(&payload.action?.proposal_response_payload[..]).ok()?;
    let action = ChaincodeAction::decode(&response.extension[..]).ok()?;
    let event = ChaincodeEvent::decode(&action.events[..]).ok()?;
    (!event.chaincode_id.is_empty()).then_some(ChaincodeEvent { payload: Vec::new(), ..event })
}

#[tonic::async_trait]
impl Endorser for Service {
    async fn process_proposal(&self, request: Request<SignedProposal>) -> Result<Response<ProposalResponse>, Status> {
        if self.node.faults.hit(Area::Endorser).await {
            return Err(Status::unavailable("simulated fault"));
        }
        let peer = request.extensions().get::<PeerInfo>().cloned().unwrap_or_default();
        let signed = request.into_inner();
        let joins =
            Unpacked::new(&signed).is_ok_and(|proposal| proposal.args.first().is_some_and(|name| name == b"JoinChain"));
        let answer = self.process(&signed).await?;
        if joins && answer.response.as_ref().is_some_and(|r| r.status == 200) && self.node.faults.loses_join_reply() {
            peer.cut();
        }
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl Deliver for Service {
    type DeliverStream = Replies<DeliverResponse>;
    type DeliverFilteredStream = Replies<DeliverResponse>;
    type DeliverWithPrivateDataStream = Replies<DeliverResponse>;

    async fn deliver(&self, request: Request<Streaming<Envelope>>) -> Result<Response<Self::DeliverStream>, Status> {
        Ok(self.stream(request, false).await)
    }

    async fn deliver_filtered(
        &self,
        request: Request<Streaming<Envelope>>,
    ) -> Result<Response<Self::DeliverFilteredStream>, Status> {
        Ok(self.stream(request, true).await)
    }

    async fn deliver_with_private_data(
        &self,
        _: Request<Streaming<Envelope>>,
    ) -> Result<Response<Self::DeliverWithPrivateDataStream>, Status> {
        Err(Status::unimplemented("the simulated peer has no private data"))
    }
}
