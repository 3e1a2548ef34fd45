//! A channel that this node orders: elections, batches, blocks (Fabric `orderer/consensus/etcdraft/chain.go`).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prost::Message as _;
use tenter_fabric_wire::common::{Block, BlockMetadata, Envelope, Metadata};
use tenter_fabric_wire::etcdraft;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use tonic::transport::Channel;

use super::cluster::{self, Append, Reply, Step, Vote};
use super::node::Node;
use super::raft::Raft;
use super::wal::Wal;
use crate::block;
use crate::channel::{Bundle, Consensus, Consenter};
use crate::ledger::{Ledger, LedgerError};
use crate::net::{Trust, describe, dial};
use crate::x509::Certificate;

/// A channel with this node among its consenters.
#[derive(Debug)]
pub struct Chain {
    name: String,
    node: Arc<Node>,
    /// The blocks.
    pub ledger: Arc<Ledger>,
    bundle: watch::Sender<Arc<Bundle>>,
    errored: watch::Sender<bool>,
    raft: Mutex<Raft>,
    links: Vec<Arc<Link>>,
    submitted: mpsc::Sender<Vec<u8>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// The state that /metrics shows.
#[derive(Debug, Clone, Copy)]
pub struct ChainMetrics {
    /// Consenters in the configuration.
    pub cluster_size: usize,
    /// Consenters that are heard of, 0 without a leader.
    pub active_nodes: usize,
    /// Whether this node leads.
    pub is_leader: bool,
    /// The last block agreed on.
    pub committed: u64,
    /// How often the leader has changed.
    pub leader_changes: u64,
}

/// The way to one other consenter.
#[derive(Debug)]
struct Link {
    consenter: Consenter,
    channel: tokio::sync::Mutex<Option<Channel>>,
    wake: Notify,
}

impl Link {
    async fn open(&self, node: &Node) -> Result<Channel, String> {
        let mut channel = self.channel.lock().await;
        if let Some(open) = &*channel {
            return Ok(open.clone());
        }
        let trust = Trust::Pinned(self.consenter.server.public_key_info());
        let open = dial(&self.consenter.address, &trust, Some(&node.cluster_pair), node.election).await?;
        Ok(channel.insert(open).clone())
    }

    async fn send(&self, node: &Node, step: Step) -> Result<Reply, String> {
        let answer = cluster::send(self.open(node).await?, step).await;
        if let Err(status) = &answer
            && status.code() != tonic::Code::NotFound
        {
            *self.channel.lock().await = None;
        }
        answer.map_err(|status| status.message().to_owned())
    }
}

impl Chain {
    /// Starts the channel whose blocks are in `ledger` (at least block 0).
    pub fn start(
        node: &Arc<Node>,
        ledger: Arc<Ledger>,
        bundle: Arc<Bundle>,
        wal_dir: &Path,
    ) -> Result<Arc<Self>, LedgerError> {
        let (mine, others): (Vec<Consenter>, Vec<Consenter>) =
            bundle.consenters().unwrap_or_default().into_iter().partition(|consenter| node.is_consenter(consenter));
        let raft = Raft::new(
            mine.first().map(|consenter| consenter.address.clone()).unwrap_or_default(),
            others.iter().map(|consenter| consenter.address.clone()).collect(),
            bundle.quorum(others.len() + 1),
            ledger.clone(),
            Wal::open(wal_dir)?,
            node.election,
            Instant::now(),
        );
        let link =
            |consenter| Arc::new(Link { consenter, channel: tokio::sync::Mutex::new(None), wake: Notify::new() });
        let (submitted, queue) = mpsc::channel(1024);
        let chain = Arc::new(Self {
            name: bundle.channel.clone(),
            node: node.clone(),
            ledger,
            bundle: watch::Sender::new(bundle),
            errored: watch::Sender::new(true),
            raft: Mutex::new(raft),
            links: others.into_iter().map(link).collect(),
            submitted,
            tasks: Mutex::default(),
        });
        chain.after_change(&mut chain.raft())?;
        chain.spawn(chain.clone().clock());
        chain.spawn(chain.clone().batches(queue));
        for link in &chain.links {
            chain.spawn(chain.clone().replicate(link.clone()));
        }
        Ok(chain)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(task).abort_handle();
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
    }

    /// Ends all its tasks.
    pub fn stop(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        self.errored.send_replace(true);
    }

    fn raft(&self) -> std::sync::MutexGuard<'_, Raft> {
        self.raft.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration in force.
    pub fn bundle(&self) -> watch::Receiver<Arc<Bundle>> {
        self.bundle.subscribe()
    }

    /// Whether there is no leader.
    pub fn errored(&self) -> watch::Receiver<bool> {
        self.errored.subscribe()
    }

    /// What /metrics shows.
    pub fn metrics(&self) -> ChainMetrics {
        let raft = self.raft();
        ChainMetrics {
            cluster_size: self.links.len() + 1,
            active_nodes: raft.active(Instant::now()),
            is_leader: raft.leads(),
            committed: raft.committed(),
            leader_changes: raft.changes(),
        }
    }

    /// After anything that may have changed leader or log: writes agreed blocks, tells who waits.
    fn after_change(&self, raft: &mut Raft) -> Result<(), LedgerError> {
        while let Some(entry) = raft.next_agreed() {
            let block = Block::decode(&entry.block[..])
                .map_err(|_| LedgerError::Chain(format!("entry {} of the log is no block", entry.index)))?;
            self.write(block)?;
        }
        let errored = raft.leader().is_none();
        self.errored.send_if_modified(|now| std::mem::replace(now, errored) != errored);
        Ok(())
    }

    /// Signs a block as this node and adds it to the ledger.
    fn write(&self, mut block: Block) -> Result<(), LedgerError> {
        block.metadata = Some(BlockMetadata { metadata: vec![Vec::new(); 5] });
        let number = block::number(&block);
        let new_config = block::config_transaction(&block).is_some();
        let last_config =
            if new_config { number } else { self.ledger.config_block().map_or(0, |config| block::number(&config)) };
        let size = self.links.len() as u64 + 1;
        let consenter = match self.bundle.borrow().consensus().unwrap_or(Consensus::Raft) {
            Consensus::Raft => etcdraft::BlockMetadata {
                consenter_ids: (1..=size).collect(),
                next_consenter_id: size + 1,
                raft_index: number,
            }
            .encode_to_vec(),
            Consensus::Bft => Vec::new(),
        };
        let wrapped = Metadata { value: consenter, signatures: Vec::new() };
        let msp = &self.node.msp;
        let nonce = rand::random::<[u8; 24]>().to_vec();
        block::sign(&mut block, last_config, wrapped.encode_to_vec(), &msp.serialized, nonce, |m| msp.key.sign(m));
        self.ledger.append(&block)?;
        if new_config && let Ok(bundle) = Bundle::from_block(&block) {
            self.node.learn(&bundle);
            self.bundle.send_replace(Arc::new(bundle));
        }
        tracing::info!(channel = self.name, block = number, "writing block");
        Ok(())
    }

    /// A failing disk or a chain that does not fit ends the process, as Fabric's panic does.
    fn settle<T>(&self, result: Result<T, LedgerError>) -> Option<T> {
        result.inspect_err(|error| self.node.die(&format!("[channel: {}] {}", self.name, describe(error)))).ok()
    }

    async fn clock(self: Arc<Self>) {
        let mut beat = tokio::time::interval(self.node.election / 10);
        loop {
            beat.tick().await;
            let asked = {
                let mut raft = self.raft();
                let asked = raft.tick(Instant::now());
                let Some(asked) = self.settle(asked) else { return };
                let changed = self.after_change(&mut raft);
                if self.settle(changed).is_none() {
                    return;
                }
                asked
            };
            if let Some(vote) = asked {
                self.ask_votes(&vote);
            }
        }
    }

    fn ask_votes(self: &Arc<Self>, vote: &Vote) {
        for link in &self.links {
            let step = Step { channel: self.name.clone(), vote: Some(vote.clone()), ..Step::default() };
            tokio::spawn(self.clone().ask_vote(link.clone(), vote.term, step));
        }
    }

    async fn ask_vote(self: Arc<Self>, link: Arc<Link>, term: u64, step: Step) {
        let Ok(reply) = link.send(&self.node, step).await else {
            return;
        };
        let done = {
            let mut raft = self.raft();
            raft.on_vote_reply(&link.consenter.address, term, &reply, Instant::now())
                .and_then(|()| self.after_change(&mut raft))
        };
        self.settle(done);
        self.wake_all();
    }

    fn wake_all(&self) {
        for link in &self.links {
            link.wake.notify_one();
        }
    }

    /// Keeps one other consenter informed while this node leads.
    async fn replicate(self: Arc<Self>, link: Arc<Link>) {
        let beat = self.node.election / 10;
        loop {
            let _ = tokio::time::timeout(beat, link.wake.notified()).await;
            loop {
                let append = self.raft().append_for(&link.consenter.address, Instant::now());
                let Some(append) = append else { break };
                if !self.tell(&link, append).await {
                    break;
                }
            }
        }
    }

    /// Sends one message; whether there is more to say at once.
    async fn tell(&self, link: &Link, append: Append) -> bool {
        let step = Step { channel: self.name.clone(), append: Some(append), ..Step::default() };
        let Ok(reply) = link.send(&self.node, step).await else {
            return false;
        };
        let before = self.ledger.height();
        let done = {
            let mut raft = self.raft();
            raft.on_append_reply(&link.consenter.address, &reply, Instant::now())
                .and_then(|more| self.after_change(&mut raft).map(|()| more))
        };
        if self.ledger.height() > before {
            // The others learn at once, not at the next beat, that a block is agreed on.
            self.wake_all();
        }
        self.settle(done).unwrap_or(false)
    }

    /// Another orderer speaks; it must be a consenter of this channel.
    pub async fn receive(&self, certificate: &[u8], step: Step) -> Result<Reply, tonic::Status> {
        let shown = Certificate::from_der(certificate.to_vec())
            .map_err(|error| tonic::Status::permission_denied(error.to_string()))?
            .public_key_info();
        let known = self
            .bundle
            .borrow()
            .consenters()
            .unwrap_or_default()
            .iter()
            .any(|consenter| consenter.client.public_key_info() == shown);
        if !known {
            return Err(tonic::Status::permission_denied("certificate extracted from TLS connection isn't authorized"));
        }
        if let Some(envelope) = step.submit {
            if !self.raft().leads() {
                return Err(tonic::Status::unavailable("no Raft leader"));
            }
            self.submitted.send(envelope).await.map_err(|_| tonic::Status::unavailable("chain is stopped"))?;
            return Ok(Reply::default());
        }
        let answer = {
            let mut raft = self.raft();
            match (&step.vote, &step.append) {
                (Some(vote), _) => raft.on_vote(vote, Instant::now()),
                (None, Some(append)) => raft.on_append(append, Instant::now()),
                (None, None) => return Err(tonic::Status::invalid_argument("empty message")),
            }
            .and_then(|reply| self.after_change(&mut raft).map(|()| reply))
        };
        self.settle(answer).ok_or_else(|| tonic::Status::internal("the consensus log cannot be written"))
    }

    /// Takes an envelope that was judged good; the text says why it cannot be ordered.
    pub async fn order(&self, envelope: &Envelope) -> Result<(), String> {
        let leader = self.raft().leader().map(str::to_owned).ok_or("no Raft leader")?;
        let bytes = envelope.encode_to_vec();
        match self.links.iter().find(|link| link.consenter.address == leader) {
            None => self.submitted.send(bytes).await.map_err(|_| "chain is stopped".to_owned()),
            Some(link) => {
                let step = Step { channel: self.name.clone(), submit: Some(bytes), ..Step::default() };
                link.send(&self.node, step).await.map(|_| ())
            }
        }
    }

    /// Cuts batches as the channel's configuration says (Fabric `orderer/common/blockcutter`).
    async fn batches(self: Arc<Self>, mut queue: mpsc::Receiver<Vec<u8>>) {
        let mut pending: Vec<Vec<u8>> = Vec::new();
        let mut deadline = None;
        loop {
            let bundle = self.bundle.borrow().clone();
            let due = deadline.unwrap_or_else(|| tokio::time::Instant::now() + Duration::from_hours(1));
            tokio::select! {
                () = tokio::time::sleep_until(due), if deadline.is_some() => self.propose(&mut pending),
                next = queue.recv() => {
                    let Some(next) = next else { return };
                    let preferred = bundle.batch_size.preferred_max_bytes as usize;
                    let held: usize = pending.iter().map(Vec::len).sum();
                    if held + next.len() > preferred {
                        self.propose(&mut pending);
                    }
                    let alone = next.len() > preferred;
                    pending.push(next);
                    if alone || pending.len() >= bundle.batch_size.max_message_count as usize {
                        self.propose(&mut pending);
                    }
                }
            }
            if pending.is_empty() {
                deadline = None;
            } else if deadline.is_none() {
                deadline = Some(tokio::time::Instant::now() + bundle.batch_timeout);
            }
        }
    }

    fn propose(&self, pending: &mut Vec<Vec<u8>>) {
        if pending.is_empty() {
            return;
        }
        let done = {
            let mut raft = self.raft();
            raft.propose(std::mem::take(pending)).and_then(|()| self.after_change(&mut raft))
        };
        self.settle(done);
        self.wake_all();
    }
}
