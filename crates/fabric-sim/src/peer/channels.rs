//! The channels of a peer: joining, following, committing (Fabric `core/peer`, `core/ledger`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prost::Message as _;
use tenter_fabric_wire::common::{Block, Envelope};
use tenter_fabric_wire::protos::TxValidationCode;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::lifecycle::{collection, records};
use super::node::Node;
use super::private::{PrivateId, PrivateStore};
use super::simulate::PrivateWrites;
use super::state::{Version, World};
use super::validate::{Entry, Judge, NamespaceSet, Updates, sets_of, write_private};
use crate::block::{self, TRANSACTIONS_FILTER};
use crate::channel::{Bundle, Endpoint, SignatureRule};
use crate::deliver::Source;
use crate::ledger::Ledger;
use crate::msp::Identity;
use crate::net::describe;
use crate::pull::{Puller, Taken};

/// Where a transaction is, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The block.
    pub block: u64,
    /// The place in the block.
    pub index: usize,
    /// The validation code.
    pub code: i32,
}

/// How long to wait before other peers are asked again for private writes.
const RECONCILE: Duration = Duration::from_secs(1);

/// What the valid transactions of a block read and wrote.
type Valid = Vec<(Version, Vec<NamespaceSet>)>;

/// A joined channel.
#[derive(Debug)]
pub struct Channel {
    node: Arc<Node>,
    /// The blocks.
    pub ledger: Arc<Ledger>,
    bundle: watch::Sender<Arc<Bundle>>,
    errored: watch::Sender<bool>,
    transactions: RwLock<BTreeMap<String, Placed>>,
    world: RwLock<Arc<World>>,
    private: Mutex<PrivateStore>,
    missing: Mutex<BTreeMap<PrivateId, Version>>,
    wanted: Notify,
    committed: watch::Sender<u64>,
}

impl Channel {
    fn open(node: &Arc<Node>, ledger: Arc<Ledger>, dir: &Path) -> Result<Arc<Self>, String> {
        let config = ledger.config_block().ok_or("the ledger has no config block")?;
        let bundle = Bundle::from_block(&config)?;
        node.learn(&bundle);
        let channel = Self {
            node: node.clone(),
            bundle: watch::Sender::new(Arc::new(bundle)),
            errored: watch::Sender::new(false),
            transactions: RwLock::default(),
            world: RwLock::default(),
            private: Mutex::new(PrivateStore::open(&dir.join("private")).map_err(|error| describe(&error))?),
            missing: Mutex::default(),
            wanted: Notify::new(),
            committed: watch::Sender::new(ledger.height()),
            ledger,
        };
        for number in 0..channel.ledger.height() {
            if let Some(block) = channel.ledger.block(number) {
                channel.replay(&block);
            }
        }
        Ok(Arc::new(channel))
    }

    /// Takes in a block that was judged before.
    fn replay(&self, block: &Block) {
        let codes = validation_codes(block);
        let mut updates = Updates::default();
        let mut valid = Vec::new();
        let number = block::number(block);
        for (index, entry) in (0..).zip(block.data.iter().flat_map(|data| &data.data)) {
            let is_valid = usize::try_from(index).ok().and_then(|at| codes.get(at)) == Some(&0);
            if let Some(sets) = sets_of(entry).filter(|_| is_valid) {
                let version = Version { block: number, transaction: index };
                updates.apply(&sets, version);
                valid.push((version, sets));
            }
        }
        self.write(updates, &valid);
        self.index(block);
    }

    /// The configuration in force.
    pub fn bundle(&self) -> Arc<Bundle> {
        self.bundle.borrow().clone()
    }

    /// What Deliver reads.
    pub fn source(&self) -> Source {
        Source {
            ledger: self.ledger.clone(),
            bundle: self.bundle.subscribe(),
            errored: self.errored.subscribe(),
            policy: "/Channel/Application/Readers".to_owned(),
        }
    }

    /// A committed transaction.
    pub fn transaction(&self, id: &str) -> Option<Placed> {
        self.transactions.read().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }

    fn index(&self, block: &Block) {
        let mut all = self.transactions.write().unwrap_or_else(PoisonError::into_inner);
        let codes = validation_codes(block);
        for (index, entry) in block.data.iter().flat_map(|data| &data.data).enumerate() {
            let Some(id) = transaction_id(entry) else { continue };
            let code = codes.get(index).copied().unwrap_or(0);
            all.entry(id).or_insert(Placed { block: block::number(block), index, code: i32::from(code) });
        }
    }

    /// The state after the last block.
    pub fn world(&self) -> Arc<World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows the number of blocks whose transactions can be looked up.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// Judges and commits the next block.
    fn commit(&self, mut block: Block) -> Result<Taken, String> {
        let before = self.bundle();
        before.verify_block(&block)?;
        let number = block::number(&block);
        let world = self.world();
        let (codes, updates, valid) = self.judge(&before, &world, &block);
        drop(world);
        set_validation_codes(&mut block, codes);
        self.ledger.append(&block).map_err(|error| describe(&error))?;
        self.write(updates, &valid);
        self.index(&block);
        self.committed.send_replace(number + 1);
        if block::config_transaction(&block).is_none() {
            return Ok(Taken::More);
        }
        let bundle = Bundle::from_block(&block)?;
        self.node.learn(&bundle);
        let moved = bundle.endpoints != self.bundle.borrow().endpoints;
        self.bundle.send_replace(Arc::new(bundle));
        Ok(if moved { Taken::Reconnect } else { Taken::More })
    }

    fn judge(&self, bundle: &Bundle, world: &World, block: &Block) -> (Vec<u8>, Updates, Valid) {
        let judge = Judge { bundle, world };
        let number = block::number(block);
        let (mut codes, mut updates, mut valid) = (Vec::new(), Updates::default(), Vec::new());
        let mut seen = Vec::new();
        for (index, entry) in (0..).zip(block.data.iter().flat_map(|data| &data.data)) {
            let version = Version { block: number, transaction: index };
            let found = judge.entry(entry, |id| self.transaction(id).is_some()).and_then(|entry| {
                let Entry::Endorsed(transaction) = entry else { return Ok(()) };
                if seen.contains(&transaction.id) {
                    return Err(TxValidationCode::DuplicateTxid);
                }
                seen.push(transaction.id);
                updates.check(world, &transaction.sets)?;
                updates.apply(&transaction.sets, version);
                valid.push((version, transaction.sets));
                Ok(())
            });
            codes.push(match found {
                Ok(()) => TxValidationCode::Valid as u8,
                Err(code) => code as u8,
            });
        }
        (codes, updates, valid)
    }

    /// Writes what valid transactions wrote: public keys, hashes, and private keys as far as they are here.
    fn write(&self, updates: Updates, valid: &[(Version, Vec<NamespaceSet>)]) {
        let mut current = self.world.write().unwrap_or_else(PoisonError::into_inner);
        let world = Arc::make_mut(&mut current);
        updates.write(world);
        let store = self.private.lock().unwrap_or_else(PoisonError::into_inner);
        for (version, sets) in valid {
            for set in sets {
                for part in set.collections.iter().filter(|part| !part.private_hash.is_empty()) {
                    let id = PrivateId {
                        namespace: set.namespace.clone(),
                        collection: part.name.clone(),
                        hash: part.private_hash.clone(),
                    };
                    match store.get(&id) {
                        Some(rwset) => write_private(world, &id.namespace, &id.collection, rwset, *version),
                        None => self.note_missing(world, id, *version),
                    }
                }
            }
        }
    }

    fn note_missing(&self, world: &World, id: PrivateId, version: Version) {
        if self.is_member(world, &id.namespace, &id.collection, &self.node.msp.identity) {
            self.missing.lock().unwrap_or_else(PoisonError::into_inner).insert(id, version);
            self.wanted.notify_one();
        }
    }

    /// Whether an identity may have a collection's private data.
    pub fn is_member(&self, world: &World, namespace: &str, name: &str, identity: &Identity) -> bool {
        use tenter_fabric_wire::protos::collection_policy_config::Payload;
        if let Some(msp_id) = name.strip_prefix("_implicit_org_") {
            return identity.msp_id == msp_id;
        }
        let Some(definition) = records::committed(world, namespace) else { return false };
        let policy = collection(&definition.parameters.collections, name)
            .and_then(|config| config.member_orgs_policy.as_ref()?.payload.as_ref());
        match policy {
            Some(Payload::SignaturePolicy(policy)) => SignatureRule::compile(policy)
                .is_ok_and(|rule| rule.would_hold(&self.bundle().msps, std::slice::from_ref(identity))),
            None => false,
        }
    }

    /// Keeps private writes: of a simulation, or from another peer.
    pub fn keep_private(&self, writes: PrivateWrites) -> Result<(), String> {
        let mut store = self.private.lock().unwrap_or_else(PoisonError::into_inner);
        store.keep(writes).map_err(|error| describe(&error))
    }

    /// Private writes that are here.
    pub fn private(&self, id: &PrivateId) -> Option<Vec<u8>> {
        self.private.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Gets private writes that committed transactions made and that are not here yet, from peers that may have them.
    async fn reconcile(self: Arc<Self>) {
        loop {
            let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if missing.is_empty() {
                self.wanted.notified().await;
                continue;
            }
            for (id, version) in missing {
                let Some(rwset) = self.node.peers.find_private(&self.node, &self, &id).await else { continue };
                let writes = PrivateWrites {
                    namespace: id.namespace.clone(),
                    collection: id.collection.clone(),
                    rwset: rwset.clone(),
                };
                if let Err(reason) = self.keep_private(writes) {
                    tracing::warn!(reason, "private writes cannot be kept");
                    continue;
                }
                let mut current = self.world.write().unwrap_or_else(PoisonError::into_inner);
                write_private(Arc::make_mut(&mut current), &id.namespace, &id.collection, &rwset, version);
                drop(current);
                self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            }
            tokio::time::sleep(RECONCILE).await;
        }
    }
}

fn transaction_id(entry: &[u8]) -> Option<String> {
    let opened = block::open(&Envelope::decode(entry).ok()?).ok()?;
    Some(opened.channel.tx_id).filter(|id| !id.is_empty())
}

/// The codes that a peer wrote into a block.
pub fn validation_codes(block: &Block) -> Vec<u8> {
    block.metadata.as_ref().and_then(|all| all.metadata.get(TRANSACTIONS_FILTER)).cloned().unwrap_or_default()
}

fn set_validation_codes(block: &mut Block, codes: Vec<u8>) {
    let metadata = block.metadata.get_or_insert_default();
    if metadata.metadata.len() <= TRANSACTIONS_FILTER {
        metadata.metadata.resize(5, Vec::new());
    }
    metadata.metadata[TRANSACTIONS_FILTER] = codes;
}

/// All channels of one peer.
#[derive(Debug)]
pub struct Channels {
    node: Arc<Node>,
    all: Mutex<BTreeMap<String, Arc<Channel>>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Channels {
    /// Opens the channels that are on disk and goes on pulling.
    pub fn open(node: Arc<Node>) -> Result<Arc<Self>, String> {
        let channels = Arc::new(Self { node, all: Mutex::default(), tasks: Mutex::default() });
        let mut names: Vec<String> = std::fs::read_dir(channels.folder())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        for name in names {
            let dir = channels.folder().join(&name);
            let ledger = Arc::new(Ledger::open(&dir).map_err(|error| describe(&error))?);
            if ledger.height() > 0 {
                let channel = Channel::open(&channels.node, ledger, &dir)?;
                channels.follow(&name, &channel);
                channels.all().insert(name, channel);
            }
        }
        Ok(channels)
    }

    fn folder(&self) -> PathBuf {
        self.node.settings.data.join("ledgersData/chains")
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Channel>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names.
    pub fn names(&self) -> Vec<String> {
        self.all().keys().cloned().collect()
    }

    /// A channel.
    pub fn get(&self, name: &str) -> Option<Arc<Channel>> {
        self.all().get(name).cloned()
    }

    /// Joins with a genesis block that was judged good.
    pub fn join(&self, name: &str, genesis: &Block) -> Result<(), String> {
        let mut all = self.all();
        let refuse = |text: String| Err(format!("cannot create ledger from genesis block: {text}"));
        let number = block::number(genesis);
        if number != 0 {
            return refuse(format!("expected block number=0, received block number={number}"));
        }
        if all.contains_key(name) {
            return refuse(format!("ledger [{name}] already exists with state [ACTIVE]"));
        }
        // Read before anything is written: a bad block leaves no residue.
        if let Err(text) = Bundle::from_block(genesis) {
            return refuse(text);
        }
        let mut first = genesis.clone();
        if validation_codes(&first).is_empty() {
            set_validation_codes(&mut first, vec![TxValidationCode::Valid as u8]);
        }
        let dir = self.folder().join(name);
        let ledger = Arc::new(Ledger::open(&dir).map_err(|error| describe(&error))?);
        ledger.append(&first).map_err(|error| describe(&error))?;
        let channel = Channel::open(&self.node, ledger, &dir)?;
        self.follow(name, &channel);
        all.insert(name.to_owned(), channel);
        Ok(())
    }

    fn follow(&self, name: &str, channel: &Arc<Channel>) {
        let puller = Puller {
            channel: name.to_owned(),
            msp: self.node.msp.clone(),
            pair: self.node.client_pair.clone(),
            best_effort: false,
        };
        let reconciler = tokio::spawn(channel.clone().reconcile());
        let (channel, node) = (channel.clone(), self.node.clone());
        let task = tokio::spawn(async move {
            let resolve = |endpoint: &Endpoint| node.resolve(endpoint);
            puller.run(channel.bundle.subscribe(), &channel.ledger, resolve, |block| channel.commit(block)).await;
        });
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.extend([task.abort_handle(), reconciler.abort_handle()]);
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}
