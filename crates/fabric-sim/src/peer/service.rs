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

use super::channels::{Channels, validation_codes};
use super::node::Node;
use super::proposal::{Unpacked, filter};
use super::system::{Answer, Context, cscc, qscc};
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
    /// How Deliver judges requests.
    pub rules: Arc<Rules>,
}

fn failed(message: String) -> ProposalResponse {
    ProposalResponse {
        response: Some(ChaincodeResponse { status: 500, message, payload: Vec::new() }),
        ..ProposalResponse::default()
    }
}

impl Service {
    fn process(&self, signed: &SignedProposal) -> Result<ProposalResponse, Status> {
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
            if !["cscc", "qscc", "_lifecycle", "lscc"].contains(&proposal.chaincode.as_str()) {
                bundle
                    .evaluate("/Channel/Application/Writers", std::slice::from_ref(&proposal.signed))
                    .map_err(|text| {
                        Status::unknown(format!(
                            "Failed evaluating policy on signed data during check policy on channel [{name}] with policy [/Channel/Application/Writers]: [{text}]"
                        ))
                    })?;
            }
        }
        Ok(self.call(&proposal))
    }

    fn call(&self, proposal: &Unpacked) -> ProposalResponse {
        let context = Context { node: &self.node, channels: &self.channels, proposal };
        let answer: Answer = match proposal.chaincode.as_str() {
            "cscc" => cscc(&context),
            "qscc" => qscc(&context),
            other => {
                return failed(format!(
                    "make sure the chaincode {other} has been successfully defined on channel {} and try again: chaincode {other} not found",
                    proposal.channel.channel_id
                ));
            }
        };
        match answer {
            Err(text) => failed(text),
            Ok(payload) => self.endorse(proposal, payload),
        }
    }

    /// Endorses a success; calls without a channel get none.
    fn endorse(&self, proposal: &Unpacked, payload: Vec<u8>) -> ProposalResponse {
        let response = ChaincodeResponse { status: 200, message: String::new(), payload };
        if proposal.channel.channel_id.is_empty() {
            return ProposalResponse { response: Some(response), ..ProposalResponse::default() };
        }
        let action = ChaincodeAction {
            response: Some(response.clone()),
            chaincode_id: Some(ChaincodeId {
                name: proposal.chaincode.clone(),
                version: "syscc".to_owned(),
                ..ChaincodeId::default()
            }),
            ..ChaincodeAction::default()
        };
        let payload =
            ProposalResponsePayload { proposal_hash: proposal.hash.clone(), extension: action.encode_to_vec() }
                .encode_to_vec();
        let endorser = self.node.msp.serialized.clone();
        let message = [&payload[..], &endorser].concat();
        ProposalResponse {
            version: 1,
            response: Some(response),
            payload,
            endorsement: Some(Endorsement { signature: self.node.msp.key.sign(&message), endorser }),
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
        let answer = self.process(&signed)?;
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
