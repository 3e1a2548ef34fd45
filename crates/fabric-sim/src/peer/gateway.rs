//! The Gateway service (Fabric `internal/pkg/gateway`).
//!
//! Endorsers are found as [`super::directory`] says, not by discovery over gossip; the first fitting set of peers is
//! asked, then the next.

use std::collections::BTreeSet;

use prost::Message as _;
use tenter_fabric_wire::common::{ChannelHeader, Envelope, Header, Payload, Status as BroadcastStatus};
use tenter_fabric_wire::gateway::{
    CommitStatusRequest, CommitStatusResponse, EndorseRequest, EndorseResponse, ErrorDetail, EvaluateRequest,
    EvaluateResponse, SignedCommitStatusRequest, SubmitRequest, SubmitResponse,
};
use tenter_fabric_wire::google::{Any, RpcStatus};
use tenter_fabric_wire::orderer::BroadcastResponse;
use tenter_fabric_wire::protos::{
    ChaincodeAction, ChaincodeActionPayload, ChaincodeCall, ChaincodeEndorsedAction, ChaincodeInterest,
    ChaincodeInvocationSpec, ChaincodeProposalPayload, Endorsement, Proposal, ProposalResponse,
    ProposalResponsePayload, Response as ChaincodeResponse, SignedProposal, Transaction, TransactionAction,
};
use tenter_fabric_wire::service::atomic_broadcast_client::AtomicBroadcastClient;
use tenter_fabric_wire::service::endorser_client::EndorserClient;
use tenter_fabric_wire::service::gateway_server::Gateway;
use tonic::{Code, Request, Response, Status};

use super::acl;
use super::chaincode::SYSTEM;
use super::channels::Channel;
use super::directory::{Remote, runnable};
use super::service::Service;
use super::validate::Judge;
use crate::channel::{Bundle, Consensus, Endpoint, SignedData, UNREADABLE, bft_quorum};
use crate::msp::Identity;
use crate::net::{Trust, dial};

/// Largest message in bytes.
const MAX_MESSAGE: usize = 100 << 20;
/// How many peers are combined at most: there are exponentially many sets of them.
const MOST_PEERS: usize = 12;

/// A peer that may endorse.
#[derive(Debug, Clone)]
enum Endorser {
    Own { address: String, identity: Identity },
    Other(Remote),
}

impl Endorser {
    fn identity(&self) -> &Identity {
        match self {
            Self::Own { identity, .. } => identity,
            Self::Other(remote) => &remote.identity,
        }
    }

    fn msp_id(&self) -> &str {
        &self.identity().msp_id
    }

    fn detail(&self, message: &str) -> ErrorDetail {
        let address = match self {
            Self::Own { address, .. } => address.clone(),
            Self::Other(remote) => remote.address.clone(),
        };
        ErrorDetail { address, msp_id: self.msp_id().to_owned(), message: message.to_owned() }
    }
}

/// What a proposal's answer means (Fabric `apiutils.go`, `responseStatus`).
struct Verdict {
    code: Code,
    message: String,
    /// Whether another peer may do better.
    retry: bool,
}

fn judge(endorser: &Endorser, answer: Result<ProposalResponse, Status>) -> Result<ProposalResponse, Verdict> {
    let response = match answer {
        Ok(response) => response,
        Err(status) if matches!(endorser, Endorser::Own { .. }) => {
            let message = status.message().to_owned();
            return Err(Verdict { code: Code::FailedPrecondition, message, retry: false });
        }
        // A client of a remote peer gets no response with an error, and so takes it for an unavailable peer.
        Err(status) => {
            let message = format!("rpc error: code = {:?} desc = {}", status.code(), status.message());
            return Err(Verdict { code: Code::Unavailable, message, retry: true });
        }
    };
    let ChaincodeResponse { status, message, .. } = response.response.clone().unwrap_or_default();
    if (200..400).contains(&status) {
        return Ok(response);
    }
    if response.payload.is_empty() && status == 500 {
        return Err(Verdict { code: Code::Aborted, message, retry: true });
    }
    Err(Verdict { code: Code::Unknown, message: format!("chaincode response {status}, {message}"), retry: false })
}

fn rpc_error(code: Code, message: &str, details: &[ErrorDetail]) -> Status {
    if details.is_empty() {
        return Status::new(code, message);
    }
    let status = RpcStatus {
        code: code as i32,
        message: message.to_owned(),
        details: details
            .iter()
            .map(|detail| Any {
                type_url: "type.googleapis.com/gateway.ErrorDetail".to_owned(),
                value: detail.encode_to_vec(),
            })
            .collect(),
    };
    Status::with_details(code, message, status.encode_to_vec().into())
}

/// A proposal as the Gateway reads it.
struct Read {
    header: Header,
    payload: ChaincodeProposalPayload,
    channel: String,
    chaincode: String,
}

fn read(signed: &SignedProposal) -> Result<Read, String> {
    fn parse<T: prost::Message + Default>(bytes: &[u8], name: &str) -> Result<T, String> {
        T::decode(bytes).map_err(|_| format!("error unmarshalling {name}: {UNREADABLE}"))
    }
    let proposal: Proposal = parse(&signed.proposal_bytes, "Proposal")?;
    let header: Header = parse(&proposal.header, "Header")?;
    let channel: ChannelHeader = parse(&header.channel_header, "ChannelHeader")?;
    let payload: ChaincodeProposalPayload = parse(&proposal.payload, "ChaincodeProposalPayload")?;
    let spec: ChaincodeInvocationSpec = parse(&payload.input, "ChaincodeInvocationSpec")?;
    let chaincode = spec.chaincode_spec.and_then(|spec| spec.chaincode_id).map(|id| id.name).unwrap_or_default();
    Ok(Read { header, payload, channel: channel.channel_id, chaincode })
}

/// Endorsements of one result.
#[derive(Default)]
struct Collected {
    payload: Option<Vec<u8>>,
    endorsements: Vec<(Endorser, Endorsement)>,
    details: Vec<ErrorDetail>,
    interest: ChaincodeInterest,
}

impl Collected {
    fn add(&mut self, endorser: &Endorser, response: ProposalResponse) -> bool {
        let ProposalResponse { payload, endorsement: Some(endorsement), interest, .. } = response else {
            self.details.push(endorser.detail("the peer did not endorse"));
            return false;
        };
        match &self.payload {
            Some(first) if *first != payload => {
                self.details.push(endorser.detail("ProposalResponsePayloads do not match"));
                return false;
            }
            Some(_) => {}
            None => {
                self.payload = Some(payload);
                self.interest = interest.unwrap_or_default();
            }
        }
        self.endorsements.push((endorser.clone(), endorsement));
        true
    }

    fn identities(&self) -> Vec<Identity> {
        self.endorsements.iter().map(|(endorser, _)| endorser.identity().clone()).collect()
    }

    fn has(&self, endorser: &Endorser) -> bool {
        self.endorsements.iter().any(|(known, _)| known.identity() == endorser.identity())
    }
}

impl Service {
    fn own(&self) -> Endorser {
        let settings = &self.node.settings;
        let address = if settings.external_endpoint.is_empty() {
            settings.listen.clone()
        } else {
            settings.external_endpoint.clone()
        };
        Endorser::Own { address, identity: self.node.msp.identity.clone() }
    }

    /// The peers of an organisation that can run a chaincode, this one first.
    async fn endorsers(&self, channel: &Channel, bundle: &Bundle, msp_id: &str, chaincode: &str) -> Vec<Endorser> {
        let system = SYSTEM.contains(&chaincode);
        let mut found = Vec::new();
        if msp_id == self.node.msp.msp.id
            && (system || runnable(&self.node, channel, &self.chaincodes.packages).iter().any(|name| name == chaincode))
        {
            found.push(self.own());
        }
        for remote in self.node.peers.of(&self.node, bundle, msp_id).await {
            if system || remote.chaincodes.iter().any(|name| name == chaincode) {
                found.push(Endorser::Other(remote));
            }
        }
        found
    }

    async fn propose(&self, endorser: &Endorser, signed: &SignedProposal) -> Result<ProposalResponse, Verdict> {
        let limit = self.node.settings.gateway.endorsement_timeout;
        let call = async {
            match endorser {
                Endorser::Own { .. } => self.process(signed).await,
                Endorser::Other(remote) => EndorserClient::new(remote.connection.clone())
                    .max_decoding_message_size(MAX_MESSAGE)
                    .max_encoding_message_size(MAX_MESSAGE)
                    .process_proposal(signed.clone())
                    .await
                    .map(Response::into_inner),
            }
        };
        let late = |_| Err(Status::deadline_exceeded("context deadline exceeded"));
        let answer = tokio::time::timeout(limit, call).await.unwrap_or_else(late);
        if let (Err(status), Endorser::Other(remote)) = (&answer, endorser)
            && status.code() == Code::Unavailable
        {
            self.node.peers.forget(&remote.address);
        }
        judge(endorser, answer)
    }

    /// One endorsement of each organisation, all at once.
    async fn by_organization(
        &self,
        channel: &Channel,
        read: &Read,
        signed: &SignedProposal,
        organizations: &[String],
    ) -> Result<Collected, Status> {
        let bundle = channel.bundle();
        let mut groups = Vec::new();
        let mut missing = Vec::new();
        for org in organizations.iter().collect::<BTreeSet<_>>() {
            let endorsers = self.endorsers(channel, &bundle, org, &read.chaincode).await;
            if endorsers.is_empty() {
                missing.push(org.as_str());
            }
            groups.push(endorsers);
        }
        if !missing.is_empty() {
            return Err(Status::unavailable(format!(
                "failed to find any endorsing peers for org(s): {}",
                missing.join(", ")
            )));
        }
        let mut collected = Collected::default();
        let asked = groups.iter().map(|endorsers| async move {
            let mut details = Vec::new();
            for endorser in endorsers {
                match self.propose(endorser, signed).await {
                    Ok(response) => return (Some((endorser.clone(), response)), details),
                    Err(verdict) => details.push(endorser.detail(&verdict.message)),
                }
            }
            (None, details)
        });
        let mut complete = true;
        for (answer, details) in futures::future::join_all(asked).await {
            collected.details.extend(details);
            complete &= answer.is_some_and(|(endorser, response)| collected.add(&endorser, response));
        }
        if complete {
            return Ok(collected);
        }
        Err(rpc_error(
            Code::Aborted,
            "failed to collect enough transaction endorsements, see attached details for more info",
            &collected.details,
        ))
    }

    /// As many endorsements as the policies ask for.
    async fn by_policy(&self, channel: &Channel, read: &Read, signed: &SignedProposal) -> Result<Collected, Status> {
        let bundle = channel.bundle();
        let own = self.node.msp.msp.id.clone();
        let mut first = self.endorsers(channel, &bundle, &own, &read.chaincode).await;
        if first.is_empty() {
            if !read.payload.transient_map.is_empty() {
                return Err(Status::failed_precondition(
                    "no endorsers found in the gateway's organization; retry specifying endorsing organization(s) to protect transient data",
                ));
            }
            for (_, org) in bundle.application_orgs.iter().flatten() {
                first.extend(self.endorsers(channel, &bundle, &org.msp_id, &read.chaincode).await);
            }
        }
        if first.is_empty() {
            return Err(unsatisfiable());
        }
        let mut collected = Collected::default();
        for endorser in &first {
            match self.propose(endorser, signed).await {
                Ok(response) => {
                    if collected.add(endorser, response) {
                        break;
                    }
                }
                Err(verdict) => collected.details.push(endorser.detail(&verdict.message)),
            }
        }
        if collected.endorsements.is_empty() {
            return Err(rpc_error(
                Code::Aborted,
                "failed to endorse transaction, see attached details for more info",
                &collected.details,
            ));
        }
        self.complete(channel, &bundle, read, signed, collected).await
    }

    /// Adds endorsements to the first until all policies would be satisfied.
    async fn complete(
        &self,
        channel: &Channel,
        bundle: &Bundle,
        read: &Read,
        signed: &SignedProposal,
        mut collected: Collected,
    ) -> Result<Collected, Status> {
        let policies = policies(channel, bundle, &read.chaincode, &collected.interest).ok_or_else(unsatisfiable)?;
        let enough = |chosen: &[Identity]| policies.iter().all(|policy| bundle.would_endorse(policy, chosen));
        if enough(&collected.identities()) {
            return Ok(collected);
        }
        let mut candidates = Vec::new();
        for (_, org) in bundle.application_orgs.iter().flatten() {
            candidates.extend(self.endorsers(channel, bundle, &org.msp_id, &read.chaincode).await);
        }
        candidates.retain(|candidate| !collected.has(candidate));
        candidates.truncate(MOST_PEERS);
        let mut plans = 0;
        loop {
            let held = collected.identities();
            let Some(plan) = smallest(&candidates, |chosen| {
                let more = chosen.iter().map(|one| one.identity().clone());
                enough(&held.iter().cloned().chain(more).collect::<Vec<_>>())
            }) else {
                break;
            };
            plans += 1;
            if plan.is_empty() {
                return Ok(collected);
            }
            let answers = futures::future::join_all(plan.iter().map(|endorser| self.propose(endorser, signed))).await;
            for (endorser, answer) in plan.iter().zip(answers) {
                match answer {
                    Ok(response) => {
                        collected.add(endorser, response);
                    }
                    Err(verdict) => collected.details.push(endorser.detail(&verdict.message)),
                }
            }
            candidates.retain(|candidate| plan.iter().all(|one| one.identity() != candidate.identity()));
        }
        if plans == 0 {
            return Err(unsatisfiable());
        }
        Err(rpc_error(
            Code::Aborted,
            "failed to collect enough transaction endorsements, see attached details for more info",
            &collected.details,
        ))
    }

    async fn broadcast(&self, endpoint: &Endpoint, envelope: &Envelope) -> Result<BroadcastResponse, String> {
        let settings = &self.node.settings.gateway;
        let endpoint = self.node.resolve(endpoint);
        let call = async {
            let trust = Trust::Roots(endpoint.roots.clone());
            let connection =
                dial(&endpoint.address, &trust, self.node.client_pair.as_ref(), settings.dial_timeout).await?;
            let mut client = AtomicBroadcastClient::new(connection).max_encoding_message_size(MAX_MESSAGE);
            // The sending side stays open until the answer is there.
            let (sender, requests) = tokio::sync::mpsc::channel(1);
            sender.send(envelope.clone()).await.map_err(|error| error.to_string())?;
            let describe =
                |status: Status| format!("rpc error: code = {:?} desc = {}", status.code(), status.message());
            let mut replies = client
                .broadcast(tokio_stream::wrappers::ReceiverStream::new(requests))
                .await
                .map_err(describe)?
                .into_inner();
            replies.message().await.map_err(describe)?.ok_or_else(|| "EOF".to_owned())
        };
        let late = |_| Err("rpc error: code = DeadlineExceeded desc = context deadline exceeded".to_owned());
        tokio::time::timeout(settings.broadcast_timeout, call).await.unwrap_or_else(late)
    }

    async fn submit_to_one(&self, bundle: &Bundle, envelope: &Envelope) -> Result<SubmitResponse, Status> {
        use rand::seq::SliceRandom as _;
        let mut endpoints = bundle.endpoints.clone();
        endpoints.shuffle(&mut rand::rng());
        let mut details = Vec::new();
        for endpoint in &endpoints {
            match self.broadcast(endpoint, envelope).await {
                Err(text) => details.push(orderer_detail(bundle, endpoint, &text)),
                Ok(response) if response.status == BroadcastStatus::Success as i32 => {
                    return Ok(SubmitResponse {});
                }
                Ok(response) if (400..500).contains(&response.status) => {
                    return Err(Status::aborted(unsuccessful(&response)));
                }
                Ok(_) => {}
            }
        }
        Err(rpc_error(Code::Unavailable, "no orderers could successfully process transaction", &details))
    }

    async fn submit_to_all(&self, bundle: &Bundle, envelope: &Envelope) -> Result<SubmitResponse, Status> {
        let asked = bundle.endpoints.iter().map(|endpoint| self.broadcast(endpoint, envelope));
        let mut successes = 0;
        let mut details = Vec::new();
        for (endpoint, answer) in bundle.endpoints.iter().zip(futures::future::join_all(asked).await) {
            match answer {
                Err(text) => details.push(orderer_detail(bundle, endpoint, &text)),
                Ok(response)
                    if response.status == BroadcastStatus::Success as i32
                        || response.info == "failed to submit request: request already exists" =>
                {
                    successes += 1;
                }
                Ok(response) => details.push(orderer_detail(bundle, endpoint, &unsuccessful(&response))),
            }
        }
        if successes >= bft_quorum(bundle.endpoints.len()) {
            return Ok(SubmitResponse {});
        }
        Err(rpc_error(
            Code::Unavailable,
            "insufficient number of orderers could successfully process transaction to satisfy quorum requirement",
            &details,
        ))
    }
}

fn unsatisfiable() -> Status {
    Status::failed_precondition(
        "no combination of peers can be derived which satisfy the endorsement policy: required chaincodes are not installed on sufficient peers",
    )
}

fn unsuccessful(response: &BroadcastResponse) -> String {
    let name = BroadcastStatus::try_from(response.status)
        .map_or_else(|_| response.status.to_string(), |status| status.as_str_name().to_owned());
    format!("received unsuccessful response from orderer: status={name}, info={}", response.info)
}

fn orderer_detail(bundle: &Bundle, endpoint: &Endpoint, message: &str) -> ErrorDetail {
    let owner = bundle.orderer_orgs.values().find(|org| org.endpoints.contains(&endpoint.address));
    ErrorDetail {
        address: endpoint.address.clone(),
        msp_id: owner.map(|org| org.msp_id.clone()).unwrap_or_default(),
        message: message.to_owned(),
    }
}

/// The policies of all that a transaction touches; none when one of the chaincodes is not defined.
fn policies(channel: &Channel, bundle: &Bundle, chaincode: &str, interest: &ChaincodeInterest) -> Option<Vec<Vec<u8>>> {
    let world = channel.world();
    let judge = Judge { bundle, world: &world };
    let plain = [ChaincodeCall { name: chaincode.to_owned(), ..ChaincodeCall::default() }];
    let calls = if interest.chaincodes.is_empty() { &plain[..] } else { &interest.chaincodes };
    let mut all = BTreeSet::new();
    for call in calls {
        let own = judge.policy(&call.name)?;
        if call.collection_names.is_empty() {
            all.insert(own);
            continue;
        }
        for collection in &call.collection_names {
            all.insert(judge.collection_policy(&call.name, collection).ok()?.unwrap_or_else(|| own.clone()));
        }
    }
    Some(all.into_iter().collect())
}

/// The smallest set of candidates that is enough, earlier ones preferred.
fn smallest(candidates: &[Endorser], enough: impl Fn(&[&Endorser]) -> bool) -> Option<Vec<Endorser>> {
    let count = candidates.len().min(MOST_PEERS);
    let mut sets: Vec<u32> = (0..1_u32 << count).collect();
    sets.sort_by_key(|set| (set.count_ones(), set.reverse_bits()));
    // Of two sets of the same size the one with the earlier peers is first: its lowest bit is lower.
    sets.into_iter()
        .map(|set| {
            let chosen = candidates.iter().take(count).enumerate().filter(|(at, _)| set & (1 << at) != 0);
            chosen.map(|(_, endorser)| endorser).collect::<Vec<_>>()
        })
        .find(|chosen| enough(chosen))
        .map(|chosen| chosen.into_iter().cloned().collect())
}

/// The transaction, without a signature (Fabric `submit.go`, `prepareTransaction`).
fn assemble(read: &Read, payload: Vec<u8>, endorsements: Vec<Endorsement>) -> Envelope {
    let visible = ChaincodeProposalPayload { input: read.payload.input.clone(), ..ChaincodeProposalPayload::default() };
    let action = ChaincodeActionPayload {
        chaincode_proposal_payload: visible.encode_to_vec(),
        action: Some(ChaincodeEndorsedAction { proposal_response_payload: payload, endorsements }),
    };
    let transaction = Transaction {
        actions: vec![TransactionAction {
            header: read.header.signature_header.clone(),
            payload: action.encode_to_vec(),
        }],
    };
    let payload = Payload { header: Some(read.header.clone()), data: transaction.encode_to_vec() };
    Envelope { payload: payload.encode_to_vec(), signature: Vec::new() }
}

/// The result as it will stand in the ledger.
fn result_of(response: &ProposalResponse) -> Option<Vec<u8>> {
    let payload = ProposalResponsePayload::decode(&response.payload[..]).ok()?;
    ChaincodeAction::decode(&payload.extension[..]).ok()?.response.map(|response| response.payload)
}

#[tonic::async_trait]
impl Gateway for Service {
    async fn evaluate(&self, request: Request<EvaluateRequest>) -> Result<Response<EvaluateResponse>, Status> {
        let request = request.into_inner();
        let signed = request
            .proposed_transaction
            .filter(|signed| !signed.proposal_bytes.is_empty())
            .ok_or_else(|| invalid("failed to unpack transaction proposal: a signed proposal is required"))?;
        let unpack = |text: String| invalid(format!("failed to unpack transaction proposal: {text}"));
        let read = read(&signed).map_err(unpack)?;
        if read.channel.is_empty() {
            return Err(unpack("no channel id provided".to_owned()));
        }
        if read.chaincode.is_empty() {
            return Err(unpack(format!("no chaincode name is provided, channel id [{}]", read.channel)));
        }
        let channel = self
            .channels
            .get(&read.channel)
            .ok_or_else(|| Status::unavailable(format!("failed to get config for channel [{}]", read.channel)))?;
        let bundle = channel.bundle();
        let own = self.node.msp.msp.id.clone();
        let mut orgs = request.target_organizations;
        let protected = orgs.is_empty() && !read.payload.transient_map.is_empty();
        if protected {
            orgs = vec![own.clone()];
        } else if orgs.is_empty() {
            orgs = bundle.application_orgs.iter().flatten().map(|(_, org)| org.msp_id.clone()).collect();
        }
        orgs.sort_by_key(|org| *org != own);
        let mut details = Vec::new();
        let mut last = None;
        // Peers of other organisations are only looked for when those before them fail.
        for org in &orgs {
            for endorser in self.endorsers(&channel, &bundle, org, &read.chaincode).await {
                match self.propose(&endorser, &signed).await {
                    Ok(response) => {
                        let mut result = response.response.clone().unwrap_or_default();
                        if let Some(payload) = result_of(&response) {
                            result.payload = payload;
                        }
                        return Ok(Response::new(EvaluateResponse { result: Some(result) }));
                    }
                    Err(verdict) => {
                        details.push(endorser.detail(&verdict.message));
                        if !verdict.retry {
                            let text = format!("evaluate call to endorser returned error: {}", verdict.message);
                            return Err(rpc_error(verdict.code, &text, &details));
                        }
                        last = Some(verdict.code);
                    }
                }
            }
        }
        if let Some(code) = last {
            return Err(rpc_error(
                code,
                "failed to evaluate transaction, see attached details for more info",
                &details,
            ));
        }
        let text = format!("no peers available to evaluate chaincode {} in channel {}", read.chaincode, read.channel);
        Err(Status::failed_precondition(if protected {
            format!(
                "no endorsers found in the gateway's organization; retry specifying target organization(s) to protect transient data: {text}"
            )
        } else {
            text
        }))
    }

    async fn endorse(&self, request: Request<EndorseRequest>) -> Result<Response<EndorseResponse>, Status> {
        let request = request.into_inner();
        let signed = request
            .proposed_transaction
            .filter(|signed| !signed.proposal_bytes.is_empty())
            .ok_or_else(|| invalid("the proposed transaction must contain a signed proposal"))?;
        let read = read(&signed).map_err(invalid)?;
        let named = request.endorsing_organizations;
        let collected = match self.channels.get(&read.channel) {
            Some(channel) if named.is_empty() => self.by_policy(&channel, &read, &signed).await?,
            Some(channel) => self.by_organization(&channel, &read, &signed, &named).await?,
            None if named.is_empty() => return Err(unsatisfiable()),
            None => {
                return Err(Status::unavailable(format!(
                    "failed to find any endorsing peers for org(s): {}",
                    named.join(", ")
                )));
            }
        };
        let endorsements = collected.endorsements.into_iter().map(|(_, endorsement)| endorsement).collect();
        let prepared = assemble(&read, collected.payload.unwrap_or_default(), endorsements);
        Ok(Response::new(EndorseResponse { prepared_transaction: Some(prepared) }))
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        let request = request.into_inner();
        let envelope = request.prepared_transaction.ok_or_else(|| invalid("a prepared transaction is required"))?;
        if envelope.signature.is_empty() {
            return Err(invalid("prepared transaction must be signed"));
        }
        let channel = self.channels.get(&request.channel_id).ok_or_else(|| {
            Status::failed_precondition(format!("failed to get config for channel [{}]", request.channel_id))
        })?;
        let bundle = channel.bundle();
        if bundle.endpoints.is_empty() {
            return Err(Status::unavailable("no orderer nodes available"));
        }
        let sent = match bundle.consensus() {
            Ok(Consensus::Bft) => self.submit_to_all(&bundle, &envelope).await,
            _ => self.submit_to_one(&bundle, &envelope).await,
        };
        sent.map(Response::new)
    }

    async fn commit_status(
        &self,
        request: Request<SignedCommitStatusRequest>,
    ) -> Result<Response<CommitStatusResponse>, Status> {
        let signed = request.into_inner();
        if signed.request.is_empty() {
            return Err(invalid("a commit status request is required"));
        }
        let request = CommitStatusRequest::decode(&signed.request[..])
            .map_err(|_| invalid(format!("invalid status request: {UNREADABLE}")))?;
        if request.identity.is_empty() {
            return Err(invalid("no identity provided"));
        }
        if request.channel_id.is_empty() {
            return Err(invalid("no channel ID provided"));
        }
        if request.transaction_id.is_empty() {
            return Err(invalid("transaction ID should not be empty"));
        }
        let channel = self.channels.get(&request.channel_id).ok_or_else(|| {
            Status::permission_denied(format!("Failed to get policy manager for channel [{}]", request.channel_id))
        })?;
        let data = SignedData { data: signed.request, identity: request.identity, signature: signed.signature };
        acl::check_signed(&channel.bundle(), "gateway/CommitStatus", &data).map_err(Status::permission_denied)?;
        let mut commits = channel.commits();
        loop {
            commits.mark_unchanged();
            if let Some(placed) = channel.transaction(&request.transaction_id) {
                return Ok(Response::new(CommitStatusResponse { result: placed.code, block_number: placed.block }));
            }
            commits.changed().await.map_err(|_| Status::aborted("unexpected close of commit notification channel"))?;
        }
    }
}

fn invalid(text: impl Into<String>) -> Status {
    Status::invalid_argument(text)
}
