//! The channels of an orderer: joining, listing, removing (Fabric `orderer/common/multichannel/registrar.go`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prost::Message as _;
use serde::Serialize;
use tenter_fabric_wire::common::Block;

use super::chain::{Chain, ChainMetrics};
use super::follower::Follower;
use super::node::Node;
use crate::block;
use crate::channel::Bundle;
use crate::deliver::Source;
use crate::ledger::{Ledger, LedgerError};
use crate::net::describe;

/// What the admin API says of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelInfo {
    /// The name.
    pub name: String,
    /// Its path in the API.
    pub url: String,
    /// `consenter` or `follower`.
    pub consensus_relation: &'static str,
    /// `active`, `onboarding` or `inactive`.
    pub status: &'static str,
    /// How many blocks there are.
    pub height: u64,
}

/// Why a channel cannot be joined, removed or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrarError {
    /// Joined already.
    #[error("channel already exists")]
    Exists,
    /// Not joined.
    #[error("channel does not exist")]
    NotExist,
    /// Being removed.
    #[error("channel pending removal")]
    PendingRemoval,
    /// Only followed.
    #[error("channel is not ready, he is a follower")]
    Follower,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<LedgerError> for RegistrarError {
    fn from(error: LedgerError) -> Self {
        Self::Other(describe(&error))
    }
}

#[derive(Debug, Clone)]
enum Member {
    Chain(Arc<Chain>),
    Follower(Arc<Follower>),
    Removing(&'static str),
}

impl Member {
    fn relation(&self) -> &'static str {
        match self {
            Self::Chain(_) => "consenter",
            Self::Follower(_) => "follower",
            Self::Removing(relation) => relation,
        }
    }
}

/// All channels of one orderer.
#[derive(Debug)]
pub struct Registrar {
    node: Arc<Node>,
    members: Mutex<BTreeMap<String, Member>>,
    me: Weak<Self>,
}

impl Registrar {
    /// Opens the channels that are on disk, and resumes unfinished joins and removals.
    pub fn open(node: Arc<Node>) -> Result<Arc<Self>, RegistrarError> {
        let registrar = Arc::new_cyclic(|me| Self { node, members: Mutex::default(), me: me.clone() });
        for name in registrar.names_in("pendingops/remove") {
            registrar.erase(&name)?;
        }
        for name in registrar.names_in("chains") {
            let ledger = Arc::new(Ledger::open(&registrar.chain_dir(&name))?);
            if let Some(member) = registrar.restore(&name, ledger)? {
                registrar.members().insert(name, member);
            }
        }
        Ok(registrar)
    }

    fn names_in(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.node.settings.ledger.join(folder)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()))
            .collect();
        names.sort();
        names
    }

    fn restore(&self, name: &str, ledger: Arc<Ledger>) -> Result<Option<Member>, RegistrarError> {
        let join = std::fs::read(self.pending("join", name)).ok().and_then(|bytes| Block::decode(&bytes[..]).ok());
        let Some(config) = ledger.config_block().or_else(|| join.clone()) else {
            // A folder without a block and without a join is what a crash left of a join that nobody was told of.
            return Ok(None);
        };
        let unfinished = join.filter(|join| ledger.height() <= block::number(join));
        let config = unfinished.clone().unwrap_or(config);
        let bundle = Arc::new(Bundle::from_block(&config).map_err(RegistrarError::Other)?);
        self.node.learn(&bundle);
        if unfinished.is_none() && self.node.orders(&bundle) {
            return self.lead(name, ledger, bundle).map(Some);
        }
        Ok(Some(self.follow(name, ledger, bundle, unfinished)))
    }

    fn members(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chain_dir(&self, name: &str) -> PathBuf {
        self.node.settings.ledger.join("chains").join(name)
    }

    fn pending(&self, what: &str, name: &str) -> PathBuf {
        self.node.settings.ledger.join("pendingops").join(what).join(format!("{name}.{what}"))
    }

    fn note(&self, what: &str, name: &str, content: &[u8]) -> Result<(), RegistrarError> {
        let path = self.pending(what, name);
        let write = || {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let temporary = path.with_extension("new");
            std::fs::write(&temporary, content)?;
            std::fs::File::open(&temporary)?.sync_all()?;
            std::fs::rename(&temporary, &path)
        };
        write().map_err(|error| RegistrarError::Other(format!("{}: {error}", path.display())))
    }

    fn lead(&self, name: &str, ledger: Arc<Ledger>, bundle: Arc<Bundle>) -> Result<Member, RegistrarError> {
        let wal = self.node.settings.wal.join(name);
        let chain = Chain::start(&self.node, ledger, bundle, &wal)?;
        let _ = std::fs::create_dir_all(self.node.settings.snapshots.join(name));
        let _ = std::fs::remove_file(self.pending("join", name));
        let (me, mut evicted, evicted_from, weak) =
            (self.me.clone(), chain.evicted(), name.to_owned(), Arc::downgrade(&chain));
        tokio::spawn(async move {
            if evicted.wait_for(|evicted| *evicted).await.is_ok()
                && let Some(registrar) = me.upgrade()
                && let Some(chain) = weak.upgrade()
                && chain.leave()
            {
                registrar.demote(&evicted_from, &chain);
            }
        });
        Ok(Member::Chain(chain))
    }

    /// A channel that this node ordered is followed from now on.
    fn demote(&self, name: &str, chain: &Arc<Chain>) {
        let mut members = self.members();
        match members.get(name) {
            Some(Member::Chain(current)) if Arc::ptr_eq(current, chain) => {}
            _ => return,
        }
        tracing::info!(channel = name, "this node has become a follower");
        chain.stop();
        let bundle = chain.bundle().borrow().clone();
        let follower = self.follow(name, chain.ledger.clone(), bundle, None);
        members.insert(name.to_owned(), follower);
    }

    fn follow(&self, name: &str, ledger: Arc<Ledger>, bundle: Arc<Bundle>, join: Option<Block>) -> Member {
        let follower = Follower::new(ledger, bundle, join);
        let (me, promoted) = (self.me.clone(), name.to_owned());
        follower.start(&self.node, name, move || {
            if let Some(registrar) = me.upgrade() {
                registrar.promote(&promoted);
            }
        });
        Member::Follower(follower)
    }

    fn promote(&self, name: &str) {
        let mut members = self.members();
        let Some(Member::Follower(follower)) = members.get(name).cloned() else {
            return;
        };
        tracing::info!(channel = name, "this node has become a consenter");
        match self.lead(name, follower.ledger.clone(), follower.bundle()) {
            Ok(member) => {
                members.insert(name.to_owned(), member);
            }
            Err(error) => self.node.die(&error.to_string()),
        }
    }

    /// Joins a channel with a config block that was judged good.
    pub fn join(&self, join: &Block, bundle: Bundle) -> Result<ChannelInfo, RegistrarError> {
        let name = bundle.channel.clone();
        let mut members = self.members();
        match members.get(&name) {
            Some(Member::Removing(_)) => return Err(RegistrarError::PendingRemoval),
            Some(_) => return Err(RegistrarError::Exists),
            None => {}
        }
        self.note("join", &name, &join.encode_to_vec())?;
        let ledger = Arc::new(Ledger::open(&self.chain_dir(&name))?);
        let bundle = Arc::new(bundle);
        self.node.learn(&bundle);
        let member = if block::number(join) == 0 && self.node.orders(&bundle) {
            ledger.append(join)?;
            self.lead(&name, ledger, bundle)
                .inspect_err(|error| self.node.die(&format!("[channel: {name}] {error}")))?
        } else {
            let listed = self.node.orders(&bundle);
            let member = self.follow(&name, ledger, bundle, Some(join.clone()));
            if listed {
                let info = describe_member(&name, &member);
                members.insert(name, member);
                return Ok(ChannelInfo { consensus_relation: "consenter", ..info });
            }
            member
        };
        let info = describe_member(&name, &member);
        members.insert(name, member);
        Ok(info)
    }

    /// Starts removing a channel: its ledger goes, its consensus log stays.
    pub fn remove(&self, name: &str) -> Result<(), RegistrarError> {
        let mut members = self.members();
        let relation = match members.get(name) {
            None => return Err(RegistrarError::NotExist),
            Some(Member::Removing(_)) => return Err(RegistrarError::PendingRemoval),
            Some(member) => {
                match member {
                    Member::Chain(chain) => chain.stop(),
                    Member::Follower(follower) => follower.stop(),
                    Member::Removing(_) => {}
                }
                member.relation()
            }
        };
        self.note("remove", name, b"")?;
        members.insert(name.to_owned(), Member::Removing(relation));
        drop(members);
        let (me, name, pause) = (self.me.clone(), name.to_owned(), self.node.removal);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(registrar) = me.upgrade() {
                match registrar.erase(&name) {
                    Ok(()) => {
                        registrar.members().remove(&name);
                    }
                    Err(error) => tracing::error!(channel = name, %error, "the ledger cannot be removed"),
                }
            }
        });
        Ok(())
    }

    fn erase(&self, name: &str) -> Result<(), RegistrarError> {
        let dir = self.chain_dir(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)
                .map_err(|error| RegistrarError::Other(format!("{}: {error}", dir.display())))?;
        }
        let _ = std::fs::remove_file(self.pending("join", name));
        let _ = std::fs::remove_file(self.pending("remove", name));
        Ok(())
    }

    /// All channels: consenters first, then followers, then those being removed.
    pub fn list(&self) -> Vec<ChannelInfo> {
        let mut all: Vec<(u8, ChannelInfo)> = self
            .members()
            .iter()
            .map(|(name, member)| {
                let rank = match member {
                    Member::Chain(_) => 0,
                    Member::Follower(_) => 1,
                    Member::Removing(_) => 2,
                };
                (rank, describe_member(name, member))
            })
            .collect();
        all.sort_by_key(|(rank, _)| *rank);
        all.into_iter().map(|(_, info)| info).collect()
    }

    /// One channel.
    pub fn info(&self, name: &str) -> Result<ChannelInfo, RegistrarError> {
        let members = self.members();
        let member = members.get(name).ok_or(RegistrarError::NotExist)?;
        let mut info = describe_member(name, member);
        if let Member::Follower(follower) = member
            && self.node.orders(&follower.bundle())
        {
            info.consensus_relation = "consenter";
        }
        Ok(info)
    }

    /// The chain of a channel that this node orders.
    pub fn chain(&self, name: &str) -> Option<Arc<Chain>> {
        match self.members().get(name) {
            Some(Member::Chain(chain)) => Some(chain.clone()),
            _ => None,
        }
    }

    /// The chain, or why there is none to write to or read from.
    pub fn ready_chain(&self, name: &str) -> Result<Arc<Chain>, RegistrarError> {
        match self.members().get(name) {
            Some(Member::Chain(chain)) => Ok(chain.clone()),
            Some(Member::Follower(_)) => Err(RegistrarError::Follower),
            Some(Member::Removing(_)) => Err(RegistrarError::PendingRemoval),
            None => Err(RegistrarError::NotExist),
        }
    }

    /// What Deliver reads. A follower's channel is not served.
    pub fn source(&self, name: &str) -> Option<Source> {
        let chain = self.chain(name)?;
        Some(Source {
            ledger: chain.ledger.clone(),
            bundle: chain.bundle(),
            errored: chain.errored(),
            policy: "/Channel/Readers".to_owned(),
        })
    }

    /// Metrics of the channels that this node orders.
    pub fn chain_metrics(&self) -> Vec<(String, ChainMetrics)> {
        let chains: Vec<(String, Arc<Chain>)> = self
            .members()
            .iter()
            .filter_map(|(name, member)| match member {
                Member::Chain(chain) => Some((name.clone(), chain.clone())),
                _ => None,
            })
            .collect();
        chains.into_iter().map(|(name, chain)| (name, chain.metrics())).collect()
    }
}

fn describe_member(name: &str, member: &Member) -> ChannelInfo {
    let (status, height) = match member {
        Member::Chain(chain) => ("active", chain.ledger.height()),
        Member::Follower(follower) if follower.is_onboarding() => ("onboarding", follower.ledger.height()),
        Member::Follower(follower) => ("active", follower.ledger.height()),
        Member::Removing(_) => ("inactive", 0),
    };
    ChannelInfo {
        name: name.to_owned(),
        url: format!("/participation/v1/channels/{name}"),
        consensus_relation: member.relation(),
        status,
        height,
    }
}
