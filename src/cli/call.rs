//! `tenter invoke` and `tenter query`: a person tries a contract, through a peer's Gateway service.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use tenter_consortium::chaincode::object_name;
use tenter_consortium::objects::{ChaincodeMember, LABEL_CONSORTIUM};
use tenter_consortium::observation::Observation;
use tenter_consortium::observed::NodeRef;
use tenter_fabric::chaincode::transaction::Call;
use tenter_fabric::client::FailureKind;
use tenter_fabric::identity::SigningIdentity;

use super::args::Global;
use super::cluster::{Cluster, refused};
use super::exit::Exit;
use super::outcome::{CliError, Outcome, Report};
use crate::controllers::apply::{self, list};
use crate::controllers::identity::secret_name;
use crate::controllers::labels::{IDENTITY_READER, identity_secret};
use crate::nodes::chaincode::{CallError, Called};
use crate::nodes::identity::signing_identity;
use crate::nodes::{Node, NodeKind, chain};
use crate::report::Style;
use crate::resources::{Chaincode, Identity};
use kube::ResourceExt as _;

/// What both subcommands take.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The channel; may be left out where the consortium has one contract of this name
    #[arg(long, env = "TENTER_CHANNEL", hide_env_values = true)]
    channel: Option<String>,
    /// The organization that calls; by default the first member that this account can act for
    #[arg(long, env = "TENTER_ORGANIZATION", hide_env_values = true)]
    organization: Option<String>,
    /// The Identity that calls; by default the organization's reader
    #[arg(long, env = "TENTER_IDENTITY", hide_env_values = true)]
    identity: Option<String>,
    /// Data for the endorsing peers only, as KEY=VALUE; may be repeated
    #[arg(long, env = "TENTER_TRANSIENT", hide_env_values = true, value_parser = key_value)]
    transient: Vec<(String, String)>,
    /// The contract's name
    chaincode: String,
    /// The function
    function: String,
    /// Its arguments
    arguments: Vec<String>,
}

/// Call a function of a contract and submit what it writes; wait until a block shows it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tenter invoke assets Create a1 alice 100\n  tenter invoke --organization acme --identity app assets Transfer a1 bob"
)]
pub struct Invoke {
    #[command(flatten)]
    target: Target,
    /// Members whose peers endorse, by MSP ID; by default the peer finds out
    #[arg(long, env = "TENTER_ENDORSERS", hide_env_values = true, value_delimiter = ',')]
    endorsers: Vec<String>,
}

/// Call a function of a contract on one peer, and submit nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tenter query assets Read a1\n  tenter query -o json assets List")]
pub struct Query {
    #[command(flatten)]
    target: Target,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What a contract answered.
struct Answer {
    payload: Vec<u8>,
    transaction: Option<(String, u64)>,
}

impl Report for Answer {
    fn text(&self, _style: Style) -> String {
        let mut text = String::from_utf8_lossy(&self.payload).into_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        if let Some((tx_id, block)) = &self.transaction {
            let _ = writeln!(text, "transaction {tx_id} is valid in block {block}");
        }
        text
    }

    fn json(&self) -> Value {
        let payload = std::str::from_utf8(&self.payload).ok();
        // A contract that answers in JSON is shown as such; bytes that are no text are shown in hexadecimal digits.
        let result = payload.map_or_else(
            || json!({"hex": hex::encode(&self.payload)}),
            |text| serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        );
        let mut value = json!({"result": result});
        if let Some((tx_id, block)) = &self.transaction {
            value["transaction"] = json!({"id": tx_id, "block": block});
        }
        value
    }
}

/// Submits.
pub async fn invoke(global: &Global, args: Invoke) -> Result<Outcome, CliError> {
    let cluster = Cluster::connect(global).await?;
    let caller = caller(global, &cluster, &args.target).await?;
    let Called { payload, tx_id, block } = cluster
        .engine
        .nodes
        .invoke(&caller.peer, &caller.call, &args.endorsers, &caller.identity)
        .await
        .map_err(|error| failed(&caller, &error))?;
    Ok(Outcome::shown(Answer { payload, transaction: Some((tx_id, block)) }))
}

/// Evaluates.
pub async fn query(global: &Global, args: Query) -> Result<Outcome, CliError> {
    let cluster = Cluster::connect(global).await?;
    let caller = caller(global, &cluster, &args.target).await?;
    let answer = cluster.engine.nodes.query(&caller.peer, &caller.call, &caller.identity).await;
    let payload = answer.map_err(|error| failed(&caller, &error))?;
    Ok(Outcome::shown(Answer { payload, transaction: None }))
}

fn failed(caller: &Caller, error: &CallError) -> CliError {
    let function = caller.call.function();
    let kind = match error {
        CallError::Node(error) => error.kind(),
        CallError::Gateway { source, .. } => source.kind(),
        CallError::Invalid { .. } => FailureKind::Refused,
    };
    let exit = match kind {
        FailureKind::Forbidden => Exit::Unauthorised,
        FailureKind::Unreachable => Exit::Unreachable,
        FailureKind::Absent | FailureKind::Refused | FailureKind::Protocol => Exit::Failure,
    };
    CliError::plain(exit, format!("{function} on channel {}: {}", caller.call.channel, chain(error)))
}

/// Who calls what, and where.
struct Caller {
    peer: Node,
    identity: SigningIdentity,
    call: Call,
}

async fn caller(global: &Global, cluster: &Cluster, target: &Target) -> Result<Caller, CliError> {
    let consortium = cluster.required_consortium(global).await?;
    let labels = format!("{LABEL_CONSORTIUM}={}", consortium.name_any());
    let chaincodes = list::<Chaincode>(&cluster.engine.ctx, &global.namespace, &labels)
        .await
        .map_err(|failure| refused(&failure))?;
    let found: Vec<&Chaincode> = chaincodes
        .iter()
        .filter(|chaincode| chaincode.spec.name == target.chaincode)
        .filter(|chaincode| target.channel.as_ref().is_none_or(|channel| chaincode.spec.channel == *channel))
        .collect();
    let chaincode = match found.as_slice() {
        [one] => one,
        [] => {
            let known: Vec<String> = chaincodes
                .iter()
                .map(|chaincode| format!("{} on {}", chaincode.spec.name, chaincode.spec.channel))
                .collect();
            let hint = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
            let message = match &target.channel {
                Some(channel) => format!("the consortium has no chaincode {}", object_name(channel, &target.chaincode)),
                None => format!("the consortium has no chaincode {}", target.chaincode),
            };
            return Err(CliError::new(Exit::Usage, message, hint));
        }
        _ => {
            let message = format!("several channels have a chaincode {}", target.chaincode);
            return Err(CliError::new(Exit::Usage, message, "name one with --channel"));
        }
    };
    let members: Vec<&ChaincodeMember> = match &target.organization {
        Some(name) => chaincode.spec.members.iter().filter(|member| member.organization == *name).collect(),
        None => chaincode.spec.members.iter().collect(),
    };
    let mut why = Vec::new();
    for member in members {
        let store = cluster.engine.nodes.store();
        let Some(peer) = member.peers.first() else { continue };
        let secret = match &target.identity {
            None => IDENTITY_READER.to_owned(),
            // Who may use an identity may read its Secret, and perhaps not its object.
            Some(name) => match apply::get::<Identity>(&cluster.engine.ctx, &member.namespace, name).await {
                Ok(Some(object)) => secret_name(&object),
                Ok(None) | Err(_) => identity_secret(name),
            },
        };
        match signing_identity(store, &member.namespace, &secret, &member.msp_id).await {
            Observation::Present { value: identity } => {
                let arguments = target.arguments.iter().map(|argument| argument.clone().into_bytes());
                let mut call = Call::new(&chaincode.spec.channel, &chaincode.spec.name, &target.function, arguments);
                call.transient = transient(&target.transient);
                let peer = Node {
                    reference: NodeRef { namespace: member.namespace.clone(), name: peer.clone() },
                    kind: NodeKind::Peer,
                    msp_id: member.msp_id.clone(),
                    address: format!("{peer}.{}.svc", member.namespace),
                    foreign: None,
                };
                return Ok(Caller { peer, identity, call });
            }
            other => why.push(other.evidence().unwrap_or_default().to_owned()),
        }
    }
    if why.is_empty() {
        let names: Vec<&str> = chaincode.spec.members.iter().map(|member| member.organization.as_str()).collect();
        let message = format!("{} has no such member with peers", chaincode.spec.channel);
        return Err(CliError::new(Exit::Usage, message, format!("its members with peers are {}", names.join(", "))));
    }
    let message = format!("no identity to call with: {}", why.join("; "));
    Err(CliError::new(Exit::Unauthorised, message, "name an Identity of the organization with --identity"))
}

fn transient(pairs: &[(String, String)]) -> BTreeMap<String, Vec<u8>> {
    pairs.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes())).collect()
}
