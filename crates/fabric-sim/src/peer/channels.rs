//! The channels of a peer: joining, following, committing (Fabric `core/peer`, `core/ledger`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use prost::Message as _;
use tenter_fabric_wire::common::{Block, Envelope, HeaderType};
use tenter_fabric_wire::protos::TxValidationCode;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::node::Node;
use crate::block::{self, TRANSACTIONS_FILTER};
use crate::channel::{Bundle, Endpoint};
use crate::deliver::Source;
use crate::ledger::Ledger;
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

/// A joined channel.
#[derive(Debug)]
pub struct Channel {
    node: Arc<Node>,
    /// The blocks.
    pub ledger: Arc<Ledger>,
    bundle: watch::Sender<Arc<Bundle>>,
    errored: watch::Sender<bool>,
    transactions: RwLock<BTreeMap<String, Placed>>,
}

impl Channel {
    fn open(node: &Arc<Node>, ledger: Arc<Ledger>) -> Result<Arc<Self>, String> {
        let config = ledger.config_block().ok_or("the ledger has no config block")?;
        let bundle = Bundle::from_block(&config)?;
        node.learn(&bundle);
        let channel = Self {
            node: node.clone(),
            bundle: watch::Sender::new(Arc::new(bundle)),
            errored: watch::Sender::new(false),
            transactions: RwLock::default(),
            ledger,
        };
        for number in 0..channel.ledger.height() {
            if let Some(block) = channel.ledger.block(number) {
                channel.index(&block);
            }
        }
        Ok(Arc::new(channel))
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

    /// Judges and commits the next block.
    fn commit(&self, mut block: Block) -> Result<Taken, String> {
        self.bundle().verify_block(&block)?;
        let mut seen = Vec::new();
        let codes: Vec<u8> =
            block.data.iter().flat_map(|data| &data.data).map(|entry| self.judge(entry, &mut seen)).collect();
        set_validation_codes(&mut block, codes);
        self.ledger.append(&block).map_err(|error| describe(&error))?;
        self.index(&block);
        if block::config_transaction(&block).is_none() {
            return Ok(Taken::More);
        }
        let bundle = Bundle::from_block(&block)?;
        self.node.learn(&bundle);
        let moved = bundle.endpoints != self.bundle.borrow().endpoints;
        self.bundle.send_replace(Arc::new(bundle));
        Ok(if moved { Taken::Reconnect } else { Taken::More })
    }

    /// VALID, or why not: endorsements and reads are not judged.
    fn judge(&self, entry: &[u8], seen: &mut Vec<String>) -> u8 {
        let Some(opened) = Envelope::decode(entry).ok().and_then(|envelope| block::open(&envelope).ok()) else {
            return TxValidationCode::BadPayload as u8;
        };
        match HeaderType::try_from(opened.channel.r#type) {
            Ok(HeaderType::Config) => TxValidationCode::Valid as u8,
            Ok(HeaderType::EndorserTransaction) => {
                let id = opened.channel.tx_id;
                if self.transaction(&id).is_some() || seen.contains(&id) {
                    TxValidationCode::DuplicateTxid as u8
                } else {
                    seen.push(id);
                    TxValidationCode::Valid as u8
                }
            }
            _ => TxValidationCode::UnknownTxType as u8,
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
            let ledger = Arc::new(Ledger::open(&channels.folder().join(&name)).map_err(|error| describe(&error))?);
            if ledger.height() > 0 {
                let channel = Channel::open(&channels.node, ledger)?;
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
        let ledger = Arc::new(Ledger::open(&self.folder().join(name)).map_err(|error| describe(&error))?);
        ledger.append(&first).map_err(|error| describe(&error))?;
        let channel = Channel::open(&self.node, ledger)?;
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
        let (channel, node) = (channel.clone(), self.node.clone());
        let task = tokio::spawn(async move {
            let resolve = |endpoint: &Endpoint| node.resolve(endpoint);
            puller.run(channel.bundle.subscribe(), &channel.ledger, resolve, |block| channel.commit(block)).await;
        });
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task.abort_handle());
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}
