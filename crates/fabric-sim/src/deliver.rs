//! The Deliver protocol that orderers and peers share (Fabric `common/deliver/deliver.go`).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tenter_fabric_wire::common::{Block, Envelope, Status};
use tenter_fabric_wire::orderer::seek_info::{SeekBehavior, SeekContentType, SeekErrorResponse};
use tenter_fabric_wire::orderer::seek_position::Type as Position;
use tenter_fabric_wire::orderer::{SeekInfo, SeekPosition};
use tokio::sync::{mpsc, watch};
use tonic::Streaming;

use crate::block::{self, Opened};
use crate::channel::{Bundle, SignedData};
use crate::faults::{Area, Faults};
use crate::ledger::Ledger;
use crate::msp::Identity;

/// What Deliver needs of a channel.
#[derive(Debug, Clone)]
pub struct Source {
    /// The blocks.
    pub ledger: Arc<Ledger>,
    /// The configuration in force; changes are followed.
    pub bundle: watch::Receiver<Arc<Bundle>>,
    /// `true` while the ordering service has no leader. Peers never say so.
    pub errored: watch::Receiver<bool>,
    /// The policy that readers must satisfy.
    pub policy: String,
}

/// What Deliver needs of a node.
#[derive(Debug)]
pub struct Rules {
    /// How far a request's time may be off.
    pub time_window: Duration,
    /// Whether requests must carry the hash of the TLS client certificate.
    pub mutual_tls: bool,
    /// Whether expired clients are served.
    pub no_expiration_checks: bool,
    /// Faults to simulate.
    pub faults: Arc<Faults>,
}

/// What is sent.
#[derive(Debug)]
pub enum Reply {
    /// A block.
    Block(Block),
    /// The end of a range, or a refusal.
    Status(Status),
}

/// Serves one stream until the client goes, or a request ends with another status than SUCCESS. `find` looks up a
/// channel, `send` gets each reply and says whether the client is still there.
pub async fn serve<F, S, R>(
    rules: &Rules,
    certificate: Option<&[u8]>,
    mut requests: Streaming<Envelope>,
    find: F,
    send: S,
) where
    F: Fn(&str) -> Option<Source>,
    S: Fn(Reply, &str) -> R,
    R: Future<Output = bool>,
{
    while let Ok(Some(envelope)) = requests.message().await {
        let status = if rules.faults.hit(Area::Deliver).await {
            Status::InternalServerError
        } else {
            answer(rules, certificate, &envelope, &find, &send).await
        };
        if !send(Reply::Status(status), "").await || status != Status::Success {
            return;
        }
    }
}

async fn answer<F, S, R>(rules: &Rules, certificate: Option<&[u8]>, envelope: &Envelope, find: &F, send: &S) -> Status
where
    F: Fn(&str) -> Option<Source>,
    S: Fn(Reply, &str) -> R,
    R: Future<Output = bool>,
{
    match check_header(rules, certificate, envelope) {
        Err(reason) => {
            tracing::warn!(reason, "error parsing envelope");
            Status::BadRequest
        }
        Ok(opened) => match find(&opened.channel.channel_id) {
            None => Status::NotFound,
            Some(source) => one_request(rules, &source, envelope, &opened, send).await,
        },
    }
}

fn check_header(rules: &Rules, certificate: Option<&[u8]>, envelope: &Envelope) -> Result<Opened, String> {
    let opened = block::open(envelope)?;
    let stamp = opened.channel.timestamp.as_ref().ok_or("channel header in envelope must contain timestamp")?;
    check_time(stamp.seconds, stamp.nanos, rules.time_window)?;
    if rules.mutual_tls {
        let certificate = certificate.ok_or("client didn't send a TLS certificate")?;
        if opened.channel.tls_cert_hash.is_empty() {
            return Err("client didn't include its TLS cert hash".to_owned());
        }
        if Sha256::digest(certificate)[..] != opened.channel.tls_cert_hash[..] {
            return Err("claimed TLS cert hash does not match the certificate".to_owned());
        }
    }
    Ok(opened)
}

/// Whether a time is within the window around now.
pub fn check_time(seconds: i64, nanos: i32, window: Duration) -> Result<(), String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let stamp = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let apart = i128::try_from(now).unwrap_or(i128::MAX).saturating_sub(stamp).unsigned_abs();
    if apart > window.as_nanos() {
        Err(format!("envelope timestamp is more than {window:?} apart from current server time"))
    } else {
        Ok(())
    }
}

/// Seconds since 1970.
pub fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Who asks, and whether they still may.
struct Access<'a> {
    rules: &'a Rules,
    source: &'a Source,
    signed: [SignedData; 1],
    expires: Option<u64>,
    checked_at: Option<u64>,
}

impl<'a> Access<'a> {
    fn new(rules: &'a Rules, source: &'a Source, envelope: &Envelope, opened: &Opened) -> Self {
        let creator = opened.signature.creator.clone();
        let expires = Identity::parse(&creator).ok().map(|identity| identity.certificate.not_after());
        Self {
            rules,
            source,
            signed: [SignedData {
                data: envelope.payload.clone(),
                identity: creator,
                signature: envelope.signature.clone(),
            }],
            expires,
            checked_at: None,
        }
    }

    /// The policy is asked again only when the configuration has changed.
    fn evaluate(&mut self) -> Result<(), String> {
        if !self.rules.no_expiration_checks && self.expires.is_some_and(|end| end < now_seconds()) {
            return Err("deliver client identity expired".to_owned());
        }
        let bundle = self.source.bundle.borrow().clone();
        if self.checked_at == Some(bundle.config.sequence) {
            return Ok(());
        }
        let policy = if bundle.maintenance() && self.source.policy == "/Channel/Readers" {
            "/Channel/Orderer/Readers"
        } else {
            &self.source.policy
        };
        bundle.evaluate(policy, &self.signed)?;
        self.checked_at = Some(bundle.config.sequence);
        Ok(())
    }
}

async fn one_request<S, R>(rules: &Rules, source: &Source, envelope: &Envelope, opened: &Opened, send: &S) -> Status
where
    S: Fn(Reply, &str) -> R,
    R: Future<Output = bool>,
{
    let Ok(seek) = SeekInfo::decode(&opened.payload.data[..]) else {
        return Status::BadRequest;
    };
    let mut errored = (seek.error_response != SeekErrorResponse::BestEffort as i32).then(|| source.errored.clone());
    let is_errored = |errored: &Option<watch::Receiver<bool>>| {
        errored.as_ref().is_some_and(|errored| *errored.borrow() || rules.faults.leaderless())
    };
    if is_errored(&errored) {
        return Status::ServiceUnavailable;
    }
    let mut access = Access::new(rules, source, envelope, opened);
    if let Err(reason) = access.evaluate() {
        tracing::warn!(channel = opened.channel.channel_id, reason, "client is not authorized");
        return Status::Forbidden;
    }
    let (Some(start), Some(stop)) = (&seek.start, &seek.stop) else {
        return Status::BadRequest;
    };
    let Some((mut number, last, readable)) = range(source, start, stop) else {
        return Status::BadRequest;
    };
    let mut heights = source.ledger.watch();
    loop {
        if seek.behavior == SeekBehavior::FailIfNotReady as i32 && number >= source.ledger.height() {
            return Status::NotFound;
        }
        if !readable {
            return Status::NotFound;
        }
        while source.ledger.height() <= number {
            tokio::select! {
                changed = heights.changed() => if changed.is_err() { return Status::InternalServerError },
                () = became_errored(&mut errored) => return Status::ServiceUnavailable,
            }
        }
        let Some(mut next) = source.ledger.block(number) else {
            return Status::NotFound;
        };
        if let Err(reason) = access.evaluate() {
            tracing::warn!(channel = opened.channel.channel_id, reason, "client authorization revoked");
            return Status::Forbidden;
        }
        if seek.content_type == SeekContentType::HeaderWithSig as i32 && block::config_transaction(&next).is_none() {
            next.data = None;
        }
        if !send(Reply::Block(next), &opened.channel.channel_id).await {
            return Status::InternalServerError;
        }
        if number == last {
            return Status::Success;
        }
        number += 1;
    }
}

async fn became_errored(errored: &mut Option<watch::Receiver<bool>>) {
    match errored {
        Some(errored) => {
            if errored.wait_for(|errored| *errored).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        None => std::future::pending().await,
    }
}

/// First and last number, and whether the start can be read at all; `None` for a range that runs backwards.
fn range(source: &Source, start: &SeekPosition, stop: &SeekPosition) -> Option<(u64, u64, bool)> {
    let height = source.ledger.height();
    let (first, readable) = match &start.r#type {
        Some(Position::Oldest(_)) => (0, true),
        Some(Position::Newest(_)) => (height.saturating_sub(1), true),
        Some(Position::NextCommit(_)) => (height, true),
        Some(Position::Specified(at)) if at.number <= height => (at.number, true),
        Some(Position::Specified(_)) | None => (0, false),
    };
    let last = match &stop.r#type {
        Some(Position::Oldest(_)) => first,
        Some(Position::Newest(_)) if start == stop => first,
        Some(Position::Newest(_)) => height.saturating_sub(1),
        Some(Position::Specified(at)) if at.number < first => return None,
        Some(Position::Specified(at)) => at.number,
        Some(Position::NextCommit(_)) | None => 0,
    };
    Some((first, last, readable))
}

/// A sender for `serve` that turns replies into a service's own message.
pub fn sender<T: Send + 'static>(
    replies: mpsc::Sender<Result<T, tonic::Status>>,
    convert: impl Fn(Reply, &str) -> T + Send + Sync,
) -> impl Fn(Reply, &str) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync {
    move |reply, channel| {
        let message = convert(reply, channel);
        let replies = replies.clone();
        Box::pin(async move { replies.send(Ok(message)).await.is_ok() })
    }
}

/// Replies as a gRPC stream.
pub type Replies<T> = std::pin::Pin<Box<dyn futures::Stream<Item = Result<T, tonic::Status>> + Send>>;

/// Waits for the first reply before the stream begins: Fabric's servers send nothing, not even headers, before it, and
/// a client that waits for headers must cope with that.
pub async fn from_first_reply<T: Send + 'static>(mut replies: mpsc::Receiver<Result<T, tonic::Status>>) -> Replies<T> {
    let first = replies.recv().await;
    let rest = tokio_stream::wrappers::ReceiverStream::new(replies);
    Box::pin(futures::StreamExt::chain(futures::stream::iter(first), rest))
}
