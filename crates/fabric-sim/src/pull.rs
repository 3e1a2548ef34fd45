//! Pulling blocks from orderers by Deliver: how peers and following orderers get theirs.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tenter_fabric_wire::common::{Block, ChannelHeader, Envelope, Header, HeaderType, Payload, SignatureHeader};
use tenter_fabric_wire::google::Timestamp;
use tenter_fabric_wire::orderer::deliver_response::Type as Reply;
use tenter_fabric_wire::orderer::seek_position::Type as Position;
use tenter_fabric_wire::orderer::{DeliverResponse, SeekInfo, SeekNewest, SeekPosition, SeekSpecified};
use tenter_fabric_wire::service::atomic_broadcast_client::AtomicBroadcastClient;
use tokio::sync::watch;

use crate::block;
use crate::channel::{Bundle, Endpoint};
use crate::ledger::Ledger;
use crate::msp::LocalMsp;
use crate::net::{KeyPair, Trust, dial};
use crate::orderer::Node;

const DIAL: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const MAX_MESSAGE: usize = 100 << 20;

/// What becomes of a block that was pulled.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Go on.
    More,
    /// The configuration has changed: look at the endpoints again.
    Reconnect,
    /// Nothing more is wanted.
    Done,
}

/// A stream of replies, and the other direction, which must stay open.
struct Replies {
    replies: tonic::Streaming<DeliverResponse>,
    _requests: tokio::sync::mpsc::Sender<Envelope>,
}

impl Replies {
    async fn message(&mut self) -> Result<Option<DeliverResponse>, tonic::Status> {
        self.replies.message().await
    }
}

/// Who pulls.
#[derive(Debug)]
pub struct Puller {
    /// The channel.
    pub channel: String,
    /// Who signs the requests.
    pub msp: Arc<LocalMsp>,
    /// Shown to orderers that ask for a client certificate.
    pub pair: Option<KeyPair>,
    /// Whether blocks are wanted even from an orderer without a leader.
    pub best_effort: bool,
}

fn at(number: u64) -> SeekPosition {
    SeekPosition { r#type: Some(Position::Specified(SeekSpecified { number })) }
}

impl Puller {
    /// How an orderer pulls: whatever the state of the other.
    pub fn for_orderer(node: &Node, channel: &str) -> Self {
        Self {
            channel: channel.to_owned(),
            msp: node.msp.clone(),
            pair: Some(node.cluster_pair.clone()),
            best_effort: true,
        }
    }

    /// A signed request for a range.
    fn request(&self, start: SeekPosition, stop: SeekPosition) -> Envelope {
        let seek = SeekInfo {
            start: Some(start),
            stop: Some(stop),
            error_response: i32::from(self.best_effort),
            ..SeekInfo::default()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let hash = self
            .pair
            .as_ref()
            .and_then(|pair| pair.chain.first())
            .map(|der| Sha256::digest(der).to_vec())
            .unwrap_or_default();
        let header = Header {
            channel_header: ChannelHeader {
                r#type: HeaderType::DeliverSeekInfo as i32,
                timestamp: Some(Timestamp { seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX), nanos: 0 }),
                channel_id: self.channel.clone(),
                tls_cert_hash: hash,
                ..ChannelHeader::default()
            }
            .encode_to_vec(),
            signature_header: SignatureHeader {
                creator: self.msp.serialized.clone(),
                nonce: rand::random::<[u8; 24]>().to_vec(),
            }
            .encode_to_vec(),
        };
        let payload = Payload { header: Some(header), data: seek.encode_to_vec() }.encode_to_vec();
        Envelope { signature: self.msp.key.sign(&payload), payload }
    }

    /// Pulls until `take` is done, from one endpoint after the other. A refused block or a failing orderer means the
    /// next endpoint, after a growing pause.
    pub async fn run(
        &self,
        bundle: watch::Receiver<Arc<Bundle>>,
        ledger: &Ledger,
        resolve: impl Fn(&Endpoint) -> Endpoint,
        mut take: impl FnMut(Block) -> Result<Taken, String>,
    ) {
        let mut pause = FIRST_PAUSE;
        let mut turn = rand::random::<u32>() as usize;
        loop {
            let endpoints = bundle.borrow().endpoints.clone();
            let before = ledger.height();
            turn = turn.wrapping_add(1);
            if let Some(endpoint) = endpoints.get(turn % endpoints.len().max(1)) {
                match self.pull_one(&resolve(endpoint), ledger, &mut take).await {
                    Ok(Taken::Done) => return,
                    Ok(_) => {}
                    Err(reason) => {
                        tracing::warn!(
                            channel = self.channel,
                            endpoint = endpoint.address,
                            reason,
                            "pulling blocks failed"
                        );
                    }
                }
            }
            if ledger.height() > before {
                pause = FIRST_PAUSE;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The config block in force, as the first of the endpoints that answers has it.
    pub async fn newest_config(&self, endpoints: &[Endpoint]) -> Option<Block> {
        for endpoint in endpoints {
            let newest = SeekPosition { r#type: Some(Position::Newest(SeekNewest {})) };
            let found = async {
                let last = self.one_block(endpoint, newest).await.ok()?;
                let number = block::last_config(&last)?;
                self.one_block(endpoint, at(number)).await.ok()
            };
            if let Ok(Some(block)) = tokio::time::timeout(DIAL, found).await {
                return Some(block);
            }
        }
        None
    }

    async fn one_block(&self, endpoint: &Endpoint, position: SeekPosition) -> Result<Block, String> {
        let mut replies = self.open(endpoint, self.request(position.clone(), position)).await?;
        match replies.message().await.map_err(|status| status.message().to_owned())?.and_then(|reply| reply.r#type) {
            Some(Reply::Block(block)) => Ok(block),
            Some(Reply::Status(status)) => Err(format!("the orderer answers {status}")),
            None => Err("empty reply".to_owned()),
        }
    }

    /// Opens a stream of replies. The stream of requests stays open beside it: closing it would end the answer's.
    async fn open(&self, endpoint: &Endpoint, request: Envelope) -> Result<Replies, String> {
        let trust = Trust::Roots(endpoint.roots.clone());
        let channel = dial(&endpoint.address, &trust, self.pair.as_ref(), DIAL).await?;
        let mut client = AtomicBroadcastClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let (sender, requests) = tokio::sync::mpsc::channel(1);
        sender.send(request).await.map_err(|error| error.to_string())?;
        let replies = client
            .deliver(tokio_stream::wrappers::ReceiverStream::new(requests))
            .await
            .map_err(|status| status.message().to_owned())?
            .into_inner();
        Ok(Replies { replies, _requests: sender })
    }

    async fn pull_one(
        &self,
        endpoint: &Endpoint,
        ledger: &Ledger,
        take: &mut impl FnMut(Block) -> Result<Taken, String>,
    ) -> Result<Taken, String> {
        let mut replies = self.open(endpoint, self.request(at(ledger.height()), at(u64::MAX))).await?;
        while let Some(reply) = replies.message().await.map_err(|status| status.message().to_owned())? {
            match reply.r#type {
                Some(Reply::Block(block)) => match take(block)? {
                    Taken::More => {}
                    other => return Ok(other),
                },
                Some(Reply::Status(status)) => return Err(format!("the orderer answers {status}")),
                None => return Err("empty reply".to_owned()),
            }
        }
        Ok(Taken::More)
    }
}
