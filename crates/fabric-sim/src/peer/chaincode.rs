//! Calls of user chaincode (Fabric `core/chaincode/chaincode_support.go`, `runtime_launcher.go`): which package runs it,
//! whether it may be called, and the connection to its service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message as _;
use tenter_fabric_wire::protos::{
    ChaincodeEvent, ChaincodeId, ChaincodeInput, Response, SignedProposal, StaticCollectionConfig,
    collection_policy_config,
};
use tenter_fabric_wire::service::chaincode_client::ChaincodeClient;
use tenter_fabric_wire::shim::ChaincodeMessage;
use tenter_fabric_wire::shim::chaincode_message::Type;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::builder::{Service, Store};
use super::lifecycle::records::{self, NAMESPACES, Place, committed};
use super::shim::{Additional, Stream};
use super::simulate::Simulator;
use crate::channel::{Bundle, SignatureRule, SignedData};
use crate::net::{KeyPair, Trust, dial, dial_plain};
use crate::settings::peer::ChaincodeSettings;

/// A key that says for which version a chaincode was initialised.
const INITIALIZED: &str = "\u{0}\u{10ffff}initialized";
/// Largest message in bytes.
const MAX_MESSAGE: usize = 100 << 20;
/// The version of system chaincodes.
pub const SYSTEM_VERSION: &str = "syscc";
/// The system chaincodes.
pub const SYSTEM: [&str; 4] = ["_lifecycle", "cscc", "lscc", "qscc"];

/// What all calls of one proposal share.
#[derive(Debug)]
pub struct Transaction {
    /// Its id.
    pub id: String,
    /// The configuration.
    pub bundle: Arc<Bundle>,
    /// What was read and written so far.
    pub simulator: Mutex<Simulator>,
    /// The proposal.
    pub proposal: SignedProposal,
    /// Who proposes, with the signature.
    pub signed: SignedData,
    /// The peer's organisation.
    pub msp_id: String,
}

impl Transaction {
    /// The simulation.
    pub fn simulator(&self) -> MutexGuard<'_, Simulator> {
        self.simulator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A collection's definition; reading it becomes part of the read set, as in Fabric. The implicit ones of the
    /// channel's organisations are `None`.
    pub fn collection(&self, namespace: &str, name: &str) -> Result<Option<StaticCollectionConfig>, String> {
        let mut simulator = self.simulator();
        let unknown = || format!("collection {}/{namespace}/{name} could not be found", self.bundle.channel);
        let defined = Place::Public.metadata(&mut simulator, NAMESPACES, namespace).map_err(|error| error.0)?;
        if defined.is_none() {
            return Err(unknown());
        }
        let definition = Place::Public.definition(&mut simulator, namespace).map_err(|error| error.0)?;
        if let Some(msp_id) = name.strip_prefix("_implicit_org_") {
            let known = self.bundle.application_orgs.iter().flatten().any(|(_, org)| org.msp_id == msp_id);
            return if known { Ok(None) } else { Err(unknown()) };
        }
        super::lifecycle::collection(&definition.parameters.collections, name).cloned().map(Some).ok_or_else(unknown)
    }

    /// Whether the proposer may read or write a collection.
    pub fn may_use(&self, namespace: &str, name: &str, write: bool) -> Result<(), String> {
        let Some(config) = self.collection(namespace, name)? else { return Ok(()) };
        let restricted = if write { config.member_only_write } else { config.member_only_read };
        let policy = config.member_orgs_policy.and_then(|policy| policy.payload);
        let is_member = match policy {
            Some(collection_policy_config::Payload::SignaturePolicy(policy)) => SignatureRule::compile(&policy)
                .is_ok_and(|rule| rule.evaluate(&self.bundle.msps, std::slice::from_ref(&self.signed)).is_ok()),
            None => false,
        };
        if restricted && !is_member {
            let what = if write { "write" } else { "read" };
            return Err(format!(
                "tx creator does not have {what} access permission on privatedata in chaincodeName:{namespace} collectionName: {name}"
            ));
        }
        Ok(())
    }
}

/// What a peer knows of a chaincode that it is asked to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runnable {
    /// The version.
    pub version: String,
    /// Whether a call of init must come first.
    pub init_required: bool,
    /// The package.
    pub package: String,
}

/// The stream to a package's service, once there is one.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Stream>>>>;

/// The connections to chaincodes, and their packages.
#[derive(Debug)]
pub struct Chaincodes {
    /// The packages.
    pub packages: Arc<Store>,
    /// The settings.
    pub settings: ChaincodeSettings,
    running: Mutex<BTreeMap<String, Slot>>,
}

impl Chaincodes {
    /// None connected yet.
    pub fn new(packages: Arc<Store>, settings: ChaincodeSettings) -> Self {
        Self { packages, settings, running: Mutex::default() }
    }

    /// What is known of a chaincode; the text says why it cannot be run (Fabric
    /// `core/chaincode/lifecycle/endorsement_info.go`).
    pub fn runnable(&self, transaction: &Transaction, name: &str) -> Result<Runnable, String> {
        let unknown = || format!("chaincode {name} not found");
        if !transaction.bundle.has_new_lifecycle() {
            return Err(unknown());
        }
        let mut simulator = transaction.simulator();
        let sequence = Place::Public.sequence(&mut simulator, name).map_err(|error| {
            format!(
                "could not get current sequence for chaincode '{name}' on channel '{}': {error}",
                transaction.bundle.channel
            )
        })?;
        if sequence == 0 {
            return Err(unknown());
        }
        let world = simulator.world().clone();
        drop(simulator);
        let definition = committed(&world, name).ok_or_else(unknown)?;
        let installed = self.packages.list();
        let ids = installed.iter().map(|package| package.id.as_str());
        let (approved, package) = records::approved_package(&world, &transaction.msp_id, name, &definition, ids);
        if !approved {
            return Err(format!(
                "chaincode definition for '{name}' at sequence {sequence} on channel '{}' has not yet been approved by this org",
                transaction.bundle.channel
            ));
        }
        let package = package
            .ok_or_else(|| format!("chaincode definition for '{name}' exists, but chaincode is not installed"))?;
        Ok(Runnable {
            version: definition.parameters.endorsement.version,
            init_required: definition.parameters.endorsement.init_required,
            package: package.to_owned(),
        })
    }

    /// Calls a chaincode: what it answered, and its event.
    pub async fn execute(
        self: &Arc<Self>,
        transaction: &Arc<Transaction>,
        name: &str,
        input: &ChaincodeInput,
    ) -> Result<(Response, Option<ChaincodeEvent>), String> {
        let id = &transaction.id;
        let answer = self
            .invoke(transaction, name, input)
            .await
            .map_err(|text| format!("failed to execute transaction {id}: {text}"))?;
        let event = answer.chaincode_event.map(|event| ChaincodeEvent {
            chaincode_id: name.to_owned(),
            tx_id: id.clone(),
            ..event
        });
        match Type::try_from(answer.r#type) {
            Ok(Type::Completed) => Response::decode(&answer.payload[..])
                .map(|response| (response, event))
                .map_err(|error| format!("failed to unmarshal response for transaction {id}: {error}")),
            Ok(Type::Error) => {
                Err(format!("transaction returned with failure: {}", String::from_utf8_lossy(&answer.payload)))
            }
            _ => Err(format!("unexpected response type {} for transaction {id}", answer.r#type)),
        }
    }

    /// Calls a chaincode: its last message.
    pub async fn invoke(
        self: &Arc<Self>,
        transaction: &Arc<Transaction>,
        name: &str,
        input: &ChaincodeInput,
    ) -> Result<ChaincodeMessage, String> {
        let (package, kind) =
            self.check(transaction, name, input).map_err(|text| format!("invalid invocation: {text}"))?;
        let stream = self.launch(&package).await?;
        let message = ChaincodeMessage {
            r#type: kind as i32,
            payload: ChaincodeInput { decorations: BTreeMap::new(), ..input.clone() }.encode_to_vec(),
            txid: transaction.id.clone(),
            channel_id: transaction.bundle.channel.clone(),
            proposal: Some(transaction.proposal.clone()),
            ..ChaincodeMessage::default()
        };
        stream
            .execute(transaction, name, message, self.settings.execute_timeout)
            .await
            .map_err(|text| format!("error sending: {text}"))
    }

    /// Whether it may be called so, and how.
    fn check(&self, transaction: &Transaction, name: &str, input: &ChaincodeInput) -> Result<(String, Type), String> {
        let found = self.runnable(transaction, name).map_err(|text| {
            format!(
                "[channel {}] failed to get chaincode container info for {name}: {text}",
                transaction.bundle.channel
            )
        })?;
        let mut simulator = transaction.simulator();
        let needs_init =
            found.init_required && simulator.get(name, INITIALIZED).as_deref() != Some(found.version.as_bytes());
        if input.is_init {
            if !found.init_required {
                return Err(format!("chaincode '{name}' does not require initialization but called as init"));
            }
            if !needs_init {
                return Err(format!("chaincode '{name}' is already initialized but called as init"));
            }
            simulator
                .put(name, INITIALIZED, found.version.into_bytes())
                .map_err(|error| format!("could not set 'initialized' key: {error}"))?;
            return Ok((found.package, Type::Init));
        }
        if needs_init {
            return Err(format!(
                "chaincode '{name}' has not been initialized for this version, must call as init first"
            ));
        }
        Ok((found.package, Type::Transaction))
    }

    /// The open stream to a package's service, or a new one.
    async fn launch(self: &Arc<Self>, package: &str) -> Result<Arc<Stream>, String> {
        let slot = {
            let mut all = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(package.to_owned()).or_default().clone()
        };
        let mut slot = slot.lock().await;
        if let Some(stream) = slot.as_ref().filter(|stream| stream.is_open()) {
            return Ok(stream.clone());
        }
        let failed = |text: String| format!("could not launch chaincode {package}: {text}");
        let service =
            self.packages.service(package).map_err(|error| failed(format!("error building chaincode: {error}")))?;
        let started = tokio::time::timeout(self.settings.startup_timeout, self.connect(package, &service))
            .await
            .map_err(|_| failed(format!("timeout expired while starting chaincode {package} for transaction")))?;
        let stream = started.map_err(|text| failed(format!("connection to {package} failed: {text}")))?;
        Ok(slot.insert(stream).clone())
    }

    async fn connect(self: &Arc<Self>, package: &str, service: &Service) -> Result<Arc<Stream>, String> {
        let connection = connect(service).await.map_err(|text| {
            format!(
                "error cannot create connection for {package}: error creating grpc connection to {}: failed to create new connection: {text}",
                service.address
            )
        })?;
        let mut client = ChaincodeClient::new(connection)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let (sender, receiver) = mpsc::channel(64);
        let handling = |text: String| format!("error handling chaincode stream for {package}: {text}");
        let mut replies = client
            .connect(ReceiverStream::new(receiver))
            .await
            .map_err(|status| handling(format!("receive from chaincode support stream failed: {}", describe(&status))))?
            .into_inner();
        loop {
            let message = replies
                .message()
                .await
                .map_err(|status| {
                    handling(format!("receive from chaincode support stream failed: {}", describe(&status)))
                })?
                .ok_or_else(|| handling("EOF".to_owned()))?;
            match Type::try_from(message.r#type) {
                Ok(Type::Keepalive) => {}
                Ok(Type::Register) => {
                    let name = ChaincodeId::decode(&message.payload[..]).unwrap_or_default().name;
                    if name == package {
                        break;
                    }
                    // Fabric goes on waiting for the one that it launched.
                    tracing::error!(name, package, "peer will not accept this chaincode on the connection");
                }
                _ => {
                    let kind = Type::try_from(message.r#type).map_or("UNKNOWN", Type::as_str_name);
                    return Err(handling(format!(
                        "error handling message, ending stream: [{}] Fabric side handler cannot handle message ({kind}) while in created state",
                        message.txid
                    )));
                }
            }
        }
        let batches = self.settings.batches;
        let additional = Additional {
            use_write_batch: batches.write,
            max_size_write_batch: batches.max_write,
            use_get_multiple_keys: batches.get,
            max_size_get_multiple_keys: batches.max_get,
        };
        for (kind, payload) in [(Type::Registered, Vec::new()), (Type::Ready, additional.encode_to_vec())] {
            let message = ChaincodeMessage { r#type: kind as i32, payload, ..ChaincodeMessage::default() };
            sender.send(message).await.map_err(|_| handling("EOF".to_owned()))?;
        }
        Ok(Stream::run(self.clone(), sender, replies))
    }
}

fn describe(status: &tonic::Status) -> String {
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}

/// Tries until the time is over, as Fabric does; the text is Go's then.
async fn connect(service: &Service) -> Result<tonic::transport::Channel, String> {
    const PAUSE: Duration = Duration::from_millis(200);
    let pair = match service.tls.as_ref().and_then(|tls| tls.client.as_ref()) {
        Some((certificate, key)) => Some(
            KeyPair::from_pem(certificate.as_bytes(), key.as_bytes())
                .ok_or("failed to load client certificate: tls: failed to find any PEM data in certificate input")?,
        ),
        None => None,
    };
    let attempts = async {
        loop {
            let opened = match &service.tls {
                Some(tls) => {
                    let trust = Trust::Roots(vec![tls.roots.clone().into_bytes()]);
                    dial(&service.address, &trust, pair.as_ref(), service.dial_timeout).await
                }
                None => dial_plain(&service.address, service.dial_timeout).await,
            };
            match opened {
                Ok(open) => return open,
                Err(reason) => {
                    tracing::debug!(address = service.address, reason, "the chaincode's service is not reached");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::time::timeout(service.dial_timeout, attempts).await.map_err(|_| "context deadline exceeded".to_owned())
}
