//! What an orderer answers to a broadcast: pure, from the message and the configuration in force (Fabric
//! `orderer/common/broadcast`, `orderer/common/msgprocessor`, `orderer/common/multichannel/chainsupport.go`).
//!
//! A verdict of SUCCESS means that the message may be handed to the consenters, not that it will be committed.

mod bft;
mod maintenance;
mod raft;

use std::collections::BTreeSet;

use prost::Message as _;
use tenter_fabric_wire::common::{
    ChannelHeader, Config, ConfigEnvelope, Envelope, Header, HeaderType, Payload, SignatureHeader, Status,
};
use tenter_fabric_wire::google::Timestamp;

use crate::channel::{Bundle, ConfigError, Consensus, SignedData, UNREADABLE};
use crate::configtx::{self, Refusal};
use crate::msp::{Identity, LocalMsp};

pub use raft::{Membership, membership};

/// A refusal with its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The status of the response.
    pub status: Status,
    /// Its text, and others that Fabric may give instead.
    pub info: Refusal,
}

impl Rejection {
    fn new(status: Status, info: impl Into<Refusal>) -> Self {
        Self { status, info: info.into() }
    }

    fn bad(info: impl Into<Refusal>) -> Self {
        Self::new(Status::BadRequest, info)
    }

    /// The consenters do not take it.
    pub fn unavailable(info: impl Into<Refusal>) -> Self {
        Self::new(Status::ServiceUnavailable, info)
    }

    fn within(self, context: &str) -> Self {
        Self { status: self.status, info: self.info.within(context) }
    }
}

/// How the handler of a message ends without a verdict of success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// An answer.
    Rejected(Rejection),
    /// Fabric's handler panics: the stream ends without an answer, the node goes on.
    Panic(String),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary message.
    Normal,
    /// A config update.
    ConfigUpdate,
}

/// What an orderer knows beside the configuration.
pub struct Orderer<'a> {
    /// Seconds since 1970.
    pub now: u64,
    /// Whether expired clients are refused.
    pub expiration_checks: bool,
    /// The consensus that runs: the configuration's, but for a change of type until the next start.
    pub consensus: Consensus,
    /// The client certificates, in PEM as in the configuration, of the Raft consenters that are heard of.
    pub active: BTreeSet<Vec<u8>>,
    /// The orderer's own identity, which signs config messages.
    pub msp: &'a LocalMsp,
    /// A nonce for them.
    pub nonce: [u8; 24],
}

/// A config message that may be ordered.
#[derive(Debug, Clone)]
pub struct ConfigMessage {
    /// The envelope of type CONFIG, signed by the orderer.
    pub envelope: Envelope,
    /// The configuration in it.
    pub config: Config,
}

/// The channel header of a message.
pub fn channel_header(envelope: &Envelope) -> Result<ChannelHeader, String> {
    let payload =
        Payload::decode(&envelope.payload[..]).map_err(|_| format!("error unmarshalling Payload: {UNREADABLE}"))?;
    let header = payload.header.ok_or("header not set")?;
    if header.channel_header.is_empty() {
        return Err("channel header not set".to_owned());
    }
    ChannelHeader::decode(&header.channel_header[..])
        .map_err(|_| format!("error unmarshalling channel header: error unmarshalling ChannelHeader: {UNREADABLE}"))
}

/// The channel that a message is for, and what kind of message it is. `serves` says whether this node orders a channel.
pub fn classify(envelope: &Envelope, serves: impl Fn(&str) -> bool) -> Result<(String, Kind), Rejection> {
    let header =
        channel_header(envelope).map_err(|text| Rejection::bad(format!("could not determine channel ID: {text}")))?;
    if !serves(&header.channel_id) {
        return Err(Rejection::bad("channel does not exist"));
    }
    match HeaderType::try_from(header.r#type) {
        Ok(HeaderType::ConfigUpdate) => Ok((header.channel_id, Kind::ConfigUpdate)),
        Ok(HeaderType::Config) => Err(Rejection::bad("message is of type that cannot be processed directly")),
        Ok(HeaderType::OrdererTransaction) => Err(Rejection::bad("message is of type that is no longer supported")),
        _ => Ok((header.channel_id, Kind::Normal)),
    }
}

/// Judges an ordinary message.
pub fn judge_normal(bundle: &Bundle, envelope: &Envelope, orderer: &Orderer<'_>) -> Result<(), Rejection> {
    if bundle.migrates() && bundle.maintenance() {
        return Err(Rejection::unavailable("normal transactions are rejected: maintenance mode"));
    }
    filter(bundle, envelope, orderer)
}

/// Judges a config update: the message that is to be ordered.
pub fn judge_update(bundle: &Bundle, envelope: &Envelope, orderer: &Orderer<'_>) -> Result<ConfigMessage, Failure> {
    filter(bundle, envelope, orderer)
        .map_err(|rejection| rejection.within("config update for existing channel did not pass initial checks"))?;
    let (config, next) = propose(bundle, envelope, orderer).map_err(|failure| match failure {
        Failure::Rejected(rejection) => Failure::Rejected(
            rejection.within(&format!("error applying config update to existing channel '{}'", bundle.channel)),
        ),
        Failure::Panic(text) => Failure::Panic(text),
    })?;
    let message = wrap(&bundle.channel, &config, envelope, orderer);
    filter(bundle, &message, orderer)
        .map_err(|rejection| rejection.within("config update for existing channel did not pass final checks"))?;
    maintenance::check(bundle, &next, envelope)
        .map_err(|text| format!("config transaction inspection failed: {text}"))
        .map_err(Rejection::bad)
        .map_err(|rejection| rejection.within("config update for existing channel did not pass maintenance checks"))?;
    if orderer.consensus == Consensus::Bft {
        bft::check_consenters(&config).map_err(Rejection::unavailable)?;
    }
    Ok(ConfigMessage { envelope: message, config })
}

fn propose(bundle: &Bundle, envelope: &Envelope, orderer: &Orderer<'_>) -> Result<(Config, Bundle), Failure> {
    let refused = |info: Refusal| Failure::Rejected(Rejection::bad(info));
    let config = configtx::propose(bundle, envelope).map_err(refused)?;
    let incompatible = |text: String| refused(format!("config update is not compatible: {text}").into());
    let next = Bundle::new(bundle.channel.clone(), config.clone()).map_err(|error| match error {
        ConfigError::Invalid(text) => refused(text.into()),
        ConfigError::NoOrderer => incompatible(error.to_string()),
    })?;
    next.check_supported().map_err(incompatible)?;
    bundle.validate_new(&next).map_err(|text| refused(text.into()))?;
    if orderer.consensus == Consensus::Raft {
        raft::check_metadata(bundle, &next, orderer).map_err(|failure| match failure {
            Failure::Rejected(rejection) => {
                Failure::Rejected(rejection.within("consensus metadata update for channel config update is invalid"))
            }
            Failure::Panic(text) => Failure::Panic(text),
        })?;
    }
    Ok((config, next))
}

/// The rules for all messages: size, expiry of the sender, and the writers' policy.
fn filter(bundle: &Bundle, envelope: &Envelope, orderer: &Orderer<'_>) -> Result<(), Rejection> {
    if envelope.payload.is_empty() {
        return Err(Rejection::bad("Message was empty"));
    }
    let size = envelope.payload.len() + envelope.signature.len();
    let most = bundle.batch_size.absolute_max_bytes;
    if size > most as usize {
        return Err(Rejection::bad(format!(
            "message payload is {size} bytes and exceeds maximum allowed {most} bytes"
        )));
    }
    let signed = signed_data(envelope)
        .map_err(|text| Rejection::bad(format!("could not convert message to signedData: {text}")))?;
    if orderer.expiration_checks && !bundle.orderer_capabilities.is_empty() {
        let expired =
            Identity::parse(&signed.identity).is_ok_and(|identity| identity.certificate.not_after() <= orderer.now);
        if expired {
            return Err(Rejection::bad("broadcast client identity expired"));
        }
    }
    let policy = if bundle.consensus_type.state == 1 { "/Channel/Orderer/Writers" } else { "/Channel/Writers" };
    if !bundle.has_policy(policy) {
        return Err(Rejection::bad(format!("could not find policy {policy}")));
    }
    bundle
        .evaluate(policy, &[signed])
        .map_err(|text| Rejection::new(Status::Forbidden, format!("{text}: permission denied")))
}

fn signed_data(envelope: &Envelope) -> Result<SignedData, String> {
    let payload = Payload::decode(&envelope.payload[..]).map_err(|_| UNREADABLE.to_owned())?;
    let header = payload.header.ok_or("Missing Header")?;
    let signature = SignatureHeader::decode(&header.signature_header[..])
        .map_err(|_| format!("GetSignatureHeaderFromBytes failed, err {UNREADABLE}"))?;
    Ok(SignedData {
        data: envelope.payload.clone(),
        identity: signature.creator,
        signature: envelope.signature.clone(),
    })
}

/// The message of type CONFIG that an update leads to.
fn wrap(channel: &str, config: &Config, update: &Envelope, orderer: &Orderer<'_>) -> Envelope {
    let header = Header {
        channel_header: ChannelHeader {
            r#type: HeaderType::Config as i32,
            channel_id: channel.to_owned(),
            timestamp: Some(Timestamp { seconds: i64::try_from(orderer.now).unwrap_or(i64::MAX), nanos: 0 }),
            ..ChannelHeader::default()
        }
        .encode_to_vec(),
        signature_header: SignatureHeader { creator: orderer.msp.serialized.clone(), nonce: orderer.nonce.to_vec() }
            .encode_to_vec(),
    };
    let data = ConfigEnvelope { config: Some(config.clone()), last_update: Some(update.clone()) }.encode_to_vec();
    let payload = Payload { header: Some(header), data }.encode_to_vec();
    Envelope { signature: orderer.msp.key.sign(&payload), payload }
}

/// What happens to the ordering service when a config message that was judged good is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aftermath {
    /// Nothing bad.
    Fine,
    /// The nodes of the channel crash before the block is written, and again after a restart.
    CrashBefore(String),
    /// The block is written, then the nodes of the channel crash, and again after a restart.
    CrashAfter(String),
    /// The block is written, then the channel stands still; the nodes go on.
    Halt(String),
}

/// What the change from one configuration to the next does to nodes that run this kind of consensus.
pub fn aftermath(consensus: Consensus, before: &Bundle, after: &Bundle) -> Aftermath {
    match consensus {
        // A change of type takes effect at the next start.
        Consensus::Raft if after.consensus() == Ok(Consensus::Raft) => match membership(before, after) {
            Ok(_) => Aftermath::Fine,
            Err(text) => Aftermath::CrashBefore(format!("illegal configuration change detected: {text}")),
        },
        Consensus::Raft => Aftermath::Fine,
        Consensus::Bft => bft::aftermath(after),
    }
}
