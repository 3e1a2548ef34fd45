//! A channel that this node orders: elections, blocks, changes of the configuration (Fabric
//! `orderer/consensus/etcdraft/chain.go`, `orderer/consensus/smartbft/chain.go`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use prost::Message as _;
use tenter_fabric_wire::common::{Block, BlockMetadata, Envelope, HeaderType, Metadata};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;

use super::cluster::{Reply, Step, Submission};
use super::links::Link;
use super::members::Members;
use super::node::Node;
use super::raft::Raft;
use super::seal::{Seal, Sealer};
use super::wal::{Entry, Wal};
use crate::block;
use crate::broadcast::{self, Aftermath, ConfigMessage, Failure, Orderer, Rejection};
use crate::channel::{Bundle, Consensus};
use crate::deliver::now_seconds;
use crate::ledger::{Ledger, LedgerError};
use crate::net::describe;
use crate::pull::Puller;
use crate::x509::Certificate;

/// How long a BFT channel keeps a request that nobody orders (Fabric's usual `RequestAutoRemoveTimeout`).
const POOL: Duration = Duration::from_mins(3);

const NO_LEADER: &str = "no Raft leader";

/// Whether consenters of a BFT channel let a message of this type into a block (`orderer/consensus/smartbft/verifier.go`).
fn goes_into_bft_blocks(envelope: &Envelope) -> bool {
    let allowed = [HeaderType::Config as i32, HeaderType::EndorserTransaction as i32];
    block::open(envelope).is_ok_and(|opened| allowed.contains(&opened.channel.r#type))
}

/// What changes together.
#[derive(Debug)]
pub(super) struct State {
    /// Agreement.
    pub raft: Raft,
    members: Members,
}

/// A channel with this node among its consenters.
#[derive(Debug)]
pub struct Chain {
    pub(super) name: String,
    pub(super) node: Arc<Node>,
    /// The blocks.
    pub ledger: Arc<Ledger>,
    pub(super) consensus: Consensus,
    id: u64,
    bundle: watch::Sender<Arc<Bundle>>,
    errored: watch::Sender<bool>,
    /// `true` when this node is to follow the channel instead.
    evicted: watch::Sender<bool>,
    halted: AtomicBool,
    state: Mutex<State>,
    links: Mutex<BTreeMap<u64, Arc<Link>>>,
    submitted: mpsc::Sender<Submission>,
    /// Something speaks for the configuration having moved on without this node.
    pub(super) doubt: Notify,
    tasks: Mutex<Vec<AbortHandle>>,
    me: Weak<Self>,
}

/// The state that /metrics shows.
#[derive(Debug, Clone, Copy)]
pub struct ChainMetrics {
    /// The kind of consensus.
    pub consensus: Consensus,
    /// Consenters in the configuration.
    pub cluster_size: usize,
    /// Consenters that are heard of, 0 without a leader.
    pub active_nodes: usize,
    /// Whether this node leads.
    pub is_leader: bool,
    /// Who leads, 0 without a leader.
    pub leader: u64,
    /// The last block agreed on.
    pub committed: u64,
    /// How often the leader has changed.
    pub leader_changes: u64,
}

impl Chain {
    /// Starts the channel whose blocks are in `ledger` (at least block 0).
    pub fn start(
        node: &Arc<Node>,
        ledger: Arc<Ledger>,
        bundle: Arc<Bundle>,
        wal_dir: &Path,
    ) -> Result<Arc<Self>, LedgerError> {
        let consensus = bundle.consensus().map_err(LedgerError::Fatal)?;
        if consensus == Consensus::Bft {
            match broadcast::aftermath(consensus, &bundle, &bundle) {
                Aftermath::Fine => {}
                Aftermath::CrashBefore(text) | Aftermath::CrashAfter(text) | Aftermath::Halt(text) => {
                    return Err(LedgerError::Fatal(text));
                }
            }
        }
        let members = Members::read(consensus, &bundle, ledger.newest().as_ref()).map_err(LedgerError::Fatal)?;
        let id = members
            .id_of(node)
            .ok_or_else(|| LedgerError::Fatal("this node is no consenter of the channel".to_owned()))?;
        let sealer = (consensus == Consensus::Bft).then(|| Sealer::new(id, node.msp.clone()));
        let raft = Raft::new(
            members.group(id, consensus),
            ledger.clone(),
            Wal::open(wal_dir)?,
            sealer,
            node.election,
            Instant::now(),
        );
        let (submitted, queue) = mpsc::channel(1024);
        let chain = Arc::new_cyclic(|me| Self {
            name: bundle.channel.clone(),
            node: node.clone(),
            ledger,
            consensus,
            id,
            bundle: watch::Sender::new(bundle),
            errored: watch::Sender::new(consensus == Consensus::Raft),
            evicted: watch::Sender::new(false),
            halted: AtomicBool::new(false),
            state: Mutex::new(State { raft, members }),
            links: Mutex::default(),
            submitted,
            doubt: Notify::new(),
            tasks: Mutex::default(),
            me: me.clone(),
        });
        {
            let mut state = chain.state();
            chain.connect(&state.members);
            chain.after_change(&mut state)?;
        }
        chain.spawn(chain.clone().clock());
        chain.spawn(chain.clone().batches(queue));
        chain.spawn(chain.clone().look_around());
        Ok(chain)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(task).abort_handle();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle);
    }

    /// Ends all its tasks.
    pub fn stop(&self) {
        self.end_tasks();
        self.errored.send_replace(true);
    }

    /// What comes of an eviction: whether this node is to follow the channel now. Fabric's BFT consenter only ends its
    /// consensus: until the next start it calls itself a consenter, serves the blocks that it has, and gets no new ones.
    pub fn leave(&self) -> bool {
        if self.consensus == Consensus::Bft {
            self.end_tasks();
        }
        self.consensus == Consensus::Raft
    }

    fn end_tasks(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration in force.
    pub fn bundle(&self) -> watch::Receiver<Arc<Bundle>> {
        self.bundle.subscribe()
    }

    /// Whether readers must not rely on this node: no leader, or a channel that stands still.
    pub fn errored(&self) -> watch::Receiver<bool> {
        self.errored.subscribe()
    }

    /// Whether this node is no consenter of the channel any more.
    pub fn evicted(&self) -> watch::Receiver<bool> {
        self.evicted.subscribe()
    }

    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::SeqCst)
    }

    /// What /metrics shows.
    pub fn metrics(&self) -> ChainMetrics {
        let state = self.state();
        ChainMetrics {
            consensus: self.consensus,
            cluster_size: state.members.len(),
            active_nodes: state.raft.active(Instant::now()).len(),
            is_leader: state.raft.leads(),
            leader: state.raft.leader().unwrap_or(0),
            committed: state.raft.committed(),
            leader_changes: state.raft.changes(),
        }
    }

    /// After anything that may have changed leader or log: writes agreed blocks, tells who waits.
    pub(super) fn after_change(&self, state: &mut State) -> Result<(), LedgerError> {
        while let Some((entry, seal)) = state.raft.next_agreed() {
            if *self.evicted.borrow() || self.is_halted() {
                break;
            }
            self.write(state, &entry, seal)?;
        }
        let errored = match self.consensus {
            Consensus::Raft => state.raft.leader().is_none(),
            Consensus::Bft => self.is_halted(),
        };
        self.errored.send_if_modified(|now| std::mem::replace(now, errored) != errored);
        Ok(())
    }

    /// Signs an agreed block and adds it to the ledger; a new configuration comes into force.
    fn write(&self, state: &mut State, entry: &Entry, seal: Option<Seal>) -> Result<(), LedgerError> {
        let mut block = Block::decode(&entry.block[..])
            .map_err(|_| LedgerError::Chain(format!("entry {} of the log is no block", entry.index)))?;
        let before = self.bundle.borrow().clone();
        let after = match block::config_transaction(&block) {
            Some(_) => Some(Bundle::from_block(&block).map_err(LedgerError::Fatal)?),
            None => None,
        };
        let fate = after.as_ref().map_or(Aftermath::Fine, |after| broadcast::aftermath(self.consensus, &before, after));
        if let Aftermath::CrashBefore(text) = fate {
            self.doom(text);
            return Ok(());
        }
        let members = match (&after, &fate) {
            (Some(after), Aftermath::Fine) => {
                Some(state.members.after(self.consensus, &before, after).map_err(LedgerError::Fatal)?)
            }
            _ => None,
        };
        let changes_type = after.as_ref().is_some_and(|after| after.consensus() != Ok(self.consensus));
        self.seal(&mut block, after.is_some(), members.as_ref().unwrap_or(&state.members), seal, changes_type);
        self.ledger.append(&block)?;
        tracing::info!(channel = self.name, block = entry.index, "writing block");
        let Some(after) = after else {
            return Ok(());
        };
        self.node.learn(&after);
        self.bundle.send_replace(Arc::new(after));
        match fate {
            Aftermath::CrashAfter(text) => {
                self.doom(text);
                Ok(())
            }
            Aftermath::Halt(text) => {
                tracing::error!(channel = self.name, text, "halting chain");
                self.halted.store(true, Ordering::SeqCst);
                Ok(())
            }
            _ => {
                if let Some(members) = members {
                    self.reconfigure(state, members, entry.index);
                }
                Ok(())
            }
        }
    }

    /// The process is to end, but the others are to hear of the block that brings it about.
    fn doom(&self, text: String) {
        self.halted.store(true, Ordering::SeqCst);
        let (node, name) = (self.node.clone(), self.name.clone());
        self.spawn(async move {
            tokio::time::sleep(node.election * 2).await;
            node.die(&format!("[channel: {name}] {text}"));
        });
    }

    /// Puts the metadata into a block that is about to be written.
    fn seal(&self, block: &mut Block, is_config: bool, members: &Members, seal: Option<Seal>, changes_type: bool) {
        let number = block::number(block);
        let last_config =
            if is_config { number } else { self.ledger.config_block().map_or(0, |config| block::number(&config)) };
        let mut metadata = vec![Vec::new(); 5];
        metadata[block::LAST_CONFIG] = block::last_config_metadata(last_config);
        if let Some(seal) = seal {
            metadata[block::SIGNATURES] = seal.metadata;
            block.metadata = Some(BlockMetadata { metadata });
            return;
        }
        block.metadata = Some(BlockMetadata { metadata });
        let value = if changes_type { Vec::new() } else { members.metadata(number).encode_to_vec() };
        let wrapped = Metadata { value, signatures: Vec::new() }.encode_to_vec();
        let msp = &self.node.msp;
        let nonce = rand::random::<[u8; 24]>().to_vec();
        block::sign(block, last_config, wrapped, &msp.serialized, nonce, |message| msp.key.sign(message));
    }

    fn reconfigure(&self, state: &mut State, members: Members, number: u64) {
        let me = members.id_of(&self.node);
        if self.consensus == self.bundle.borrow().consensus().unwrap_or(self.consensus) && me != Some(self.id) {
            tracing::info!(channel = self.name, block = number, "this node is no consenter any more");
            self.evicted.send_replace(true);
        }
        state.raft.reconfigure(members.group(self.id, self.consensus), number, Instant::now());
        self.connect(&members);
        state.members = members;
    }

    /// A way to each of the other consenters, a new one where something about it has changed.
    fn connect(&self, members: &Members) {
        let Some(me) = self.me.upgrade() else { return };
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, consenter) in members.others(self.id) {
            if links.get(id).is_some_and(|link| link.consenter == *consenter) {
                continue;
            }
            let link = Arc::new(Link::new(*id, consenter.clone()));
            links.insert(*id, link.clone());
            self.spawn(me.clone().replicate(link));
        }
    }

    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn link(&self, id: u64) -> Option<Arc<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Whether a way is still wanted; forgets it if not.
    pub(super) fn keeps(&self, link: &Arc<Link>) -> bool {
        let wanted = self.state().raft.talks_to(link.id);
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let current = links.get(&link.id).is_some_and(|other| Arc::ptr_eq(other, link));
        if current && !wanted {
            links.remove(&link.id);
        }
        current && wanted
    }

    pub(super) fn wake_all(&self) {
        for link in self.links() {
            link.wake();
        }
    }

    /// A failing disk, a chain that does not fit, or a configuration that Fabric panics on ends the process.
    pub(super) fn settle<T>(&self, result: Result<T, LedgerError>) -> Option<T> {
        result.inspect_err(|error| self.node.die(&format!("[channel: {}] {}", self.name, describe(error)))).ok()
    }

    async fn clock(self: Arc<Self>) {
        let mut beat = tokio::time::interval(self.node.election / 10);
        loop {
            beat.tick().await;
            let asked = {
                let mut state = self.state();
                let asked = state.raft.tick(Instant::now());
                let Some(asked) = self.settle(asked) else { return };
                let changed = self.after_change(&mut state);
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

    /// When the others do not know this node, or it does not know them, and it has no leader: asks the channel's
    /// orderers whether there is a newer configuration, and if so follows it.
    async fn look_around(self: Arc<Self>) {
        loop {
            self.doubt.notified().await;
            tokio::time::sleep(self.node.election).await;
            if self.state().raft.leader().is_some() {
                continue;
            }
            let puller = Puller::for_orderer(&self.node, &self.name);
            let endpoints = self.bundle.borrow().endpoints.clone();
            if let Some(config) = puller.newest_config(&endpoints).await
                && block::number(&config) >= self.ledger.height()
            {
                tracing::warn!(channel = self.name, "the configuration has moved on without this node");
                self.evicted.send_replace(true);
                return;
            }
        }
    }

    /// Another orderer speaks; it must be a consenter of this channel.
    pub async fn receive(self: &Arc<Self>, certificate: &[u8], step: Step) -> Result<Reply, tonic::Status> {
        let shown = Certificate::from_der(certificate.to_vec())
            .map_err(|error| tonic::Status::permission_denied(error.to_string()))?
            .public_key_info();
        if self.state().members.by_client_key(&shown).is_none() {
            self.doubt.notify_one();
            return Err(tonic::Status::permission_denied("certificate extracted from TLS connection isn't authorized"));
        }
        if let Some(submission) = step.submit {
            if !self.state().raft.leads() {
                return Err(tonic::Status::unavailable(NO_LEADER));
            }
            self.submitted.send(submission).await.map_err(|_| tonic::Status::unavailable("chain is stopped"))?;
            return Ok(Reply::default());
        }
        if step.take_over {
            let campaign = self.state().raft.campaign(Instant::now(), true);
            if let Some(vote) = self.settle(campaign) {
                self.ask_votes(&vote);
            }
            return Ok(Reply::default());
        }
        let answer = {
            let mut state = self.state();
            let now = Instant::now();
            let answer = match (&step.vote, &step.append) {
                (Some(vote), _) => state.raft.on_vote(vote, now),
                (None, Some(append)) => state.raft.on_append(append, now),
                (None, None) => return Err(tonic::Status::invalid_argument("empty message")),
            };
            answer.and_then(|reply| {
                self.after_change(&mut state)?;
                Ok(Reply { written: self.ledger.height().saturating_sub(1), ..reply })
            })
        };
        self.settle(answer).ok_or_else(|| tonic::Status::internal("the consensus log cannot be written"))
    }

    /// Judges an ordinary message: the sequence of the configuration that it was judged by.
    pub fn judge_normal(&self, envelope: &Envelope) -> Result<u64, Rejection> {
        let bundle = self.bundle.borrow().clone();
        broadcast::judge_normal(&bundle, envelope, &self.orderer())?;
        Ok(bundle.config.sequence)
    }

    /// Judges a config update: what is to be ordered, and the sequence of the configuration that it was judged by.
    pub fn judge_update(&self, envelope: &Envelope) -> Result<(ConfigMessage, u64), Failure> {
        let bundle = self.bundle.borrow().clone();
        let message = broadcast::judge_update(&bundle, envelope, &self.orderer())?;
        Ok((message, bundle.config.sequence))
    }

    fn orderer(&self) -> Orderer<'_> {
        let state = self.state();
        let active = state
            .raft
            .active(Instant::now())
            .into_iter()
            .filter_map(|id| state.members.get(id))
            .map(|consenter| consenter.client_pem.clone())
            .collect();
        Orderer {
            now: now_seconds(),
            expiration_checks: !self.node.settings.no_expiration_checks,
            consensus: self.consensus,
            active,
            msp: &self.node.msp,
            nonce: rand::random(),
        }
    }

    /// Takes a message that was judged good; the text says why it cannot be ordered. A BFT channel takes it even when
    /// nobody leads, and keeps it for a while.
    pub async fn order(self: &Arc<Self>, envelope: &Envelope, sequence: u64) -> Result<(), String> {
        let submission = Submission { envelope: envelope.encode_to_vec(), sequence };
        match self.consensus {
            Consensus::Raft => self.submit(submission).await,
            Consensus::Bft if self.is_halted() => {
                Err("failed to submit request: pool closed, request rejected".to_owned())
            }
            // Fabric's answer is the same: consenters refuse it only when they see it in a proposal, or forwarded to them.
            Consensus::Bft if !goes_into_bft_blocks(envelope) => {
                tracing::warn!(channel = self.name, "a message of this type is not allowed to be included in blocks");
                Ok(())
            }
            Consensus::Bft => {
                let me = self.clone();
                self.spawn(async move {
                    let tries = async {
                        while me.submit(submission.clone()).await.is_err() {
                            tokio::time::sleep(me.node.election / 4).await;
                        }
                    };
                    if tokio::time::timeout(POOL, tries).await.is_err() {
                        tracing::warn!(channel = me.name, "request removed: nobody ordered it");
                    }
                });
                Ok(())
            }
        }
    }

    /// What a client hears when nobody leads.
    pub fn no_leader(&self) -> &'static str {
        match self.consensus {
            Consensus::Raft => NO_LEADER,
            Consensus::Bft => "failed to submit request: no leader",
        }
    }

    /// Hands a message to the leader.
    pub(super) async fn submit(&self, submission: Submission) -> Result<(), String> {
        let leader = self.state().raft.leader().ok_or(NO_LEADER)?;
        if leader == self.id {
            return self.submitted.send(submission).await.map_err(|_| "chain is stopped".to_owned());
        }
        let link = self.link(leader).ok_or(NO_LEADER)?;
        let step = Step { channel: self.name.clone(), submit: Some(submission), ..Step::default() };
        link.send(&self.node, step).await.map(|_| ()).map_err(|status| status.message().to_owned())
    }
}
