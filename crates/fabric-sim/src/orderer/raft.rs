//! Agreement among the consenters of one channel: terms, votes, and a log whose entries are blocks.
//!
//! Pure but for the log on disk: the time is passed in, messages are returned. What differs from Raft: an entry's
//! predecessor is also checked by its hash, so that nodes with different genesis blocks never agree; a new leader
//! proposes the uncommitted end of its log again in its own term instead of an empty entry; and in a BFT channel an
//! entry is agreed on when a larger quorum has signed it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use tenter_fabric_wire::common::Block;

use super::cluster::{Append, Reply, Vote};
use super::seal::{Seal, Sealer, Signed};
use super::wal::{Entry, HardState, Wal};
use crate::block;
use crate::ledger::{Ledger, LedgerError};

/// Most entries in one message.
const BATCH: u64 = 64;
/// Most bytes of entries in one message, unless one entry alone is larger.
const BATCH_BYTES: usize = 8 << 20;

#[derive(Debug)]
struct Progress {
    next: u64,
    matched: u64,
    written: u64,
    heard: Instant,
}

#[derive(Debug)]
enum Role {
    Follower,
    Candidate(BTreeSet<u64>),
    Leader(BTreeMap<u64, Progress>),
}

/// Who agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// This node.
    pub me: u64,
    /// The other consenters.
    pub others: Vec<u64>,
    /// How many must have an entry.
    pub quorum: usize,
}

/// One node's view of one channel's consensus.
#[derive(Debug)]
pub struct Raft {
    group: Group,
    /// Consenters that were removed, until they know it; and the block that removed them.
    leaving: BTreeMap<u64, u64>,
    genesis: Vec<u8>,
    ledger: Arc<Ledger>,
    wal: Wal,
    sealer: Option<Sealer>,
    role: Role,
    leader: Option<u64>,
    heard: Instant,
    timeout: Duration,
    base: Duration,
    changes: u64,
    told_active: Vec<u64>,
}

impl Raft {
    /// Starts as a follower. `base` is the shortest election timeout; with a `sealer`, blocks are signed by a quorum.
    pub fn new(
        group: Group,
        ledger: Arc<Ledger>,
        mut wal: Wal,
        sealer: Option<Sealer>,
        base: Duration,
        now: Instant,
    ) -> Self {
        let genesis = ledger.block(0).map(|block| block::hash(&block)).unwrap_or_default();
        if !agrees(&wal, &ledger) {
            wal.forget();
        }
        Self {
            group,
            leaving: BTreeMap::new(),
            genesis,
            ledger,
            wal,
            sealer,
            role: Role::Follower,
            leader: None,
            heard: now,
            timeout: jitter(base),
            base,
            changes: 0,
            told_active: Vec::new(),
        }
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<u64> {
        self.leader
    }

    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// How often the leader has changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The consenters that are heard of: the leader counts, and tells the others; none means that there is no leader.
    pub fn active(&self, now: Instant) -> Vec<u64> {
        match &self.role {
            Role::Leader(progress) => {
                let heard = |(other, progress): (&u64, &Progress)| {
                    let recent = now.duration_since(progress.heard) < self.patience();
                    (recent && self.group.others.contains(other)).then_some(*other)
                };
                [self.group.me].into_iter().chain(progress.iter().filter_map(heard)).collect()
            }
            _ if self.leader.is_some() => self.told_active.clone(),
            _ => Vec::new(),
        }
    }

    /// How long a leader counts on a consenter that is silent: as long as the longest election timeout.
    fn patience(&self) -> Duration {
        self.base * 2
    }

    /// The number of the last block known to be agreed on.
    pub fn committed(&self) -> u64 {
        self.wal.state().commit.max(self.written())
    }

    fn written(&self) -> u64 {
        self.ledger.height().saturating_sub(1)
    }

    /// The next agreed entry that the ledger does not have yet, with its signatures where a quorum makes them.
    pub fn next_agreed(&mut self) -> Option<(Entry, Option<Seal>)> {
        let next = self.ledger.height();
        if next > self.wal.state().commit {
            return None;
        }
        let seal = self.wal.seal(next);
        if self.sealer.is_some() && seal.is_none() {
            return None;
        }
        Some((self.wal.entry(next)?, seal))
    }

    fn last(&self) -> (u64, u64) {
        let index = self.wal.last().unwrap_or(0).max(self.written());
        (index, self.wal.at(index).map_or(0, |(term, _)| term))
    }

    /// Term and hash of what stands at an index; the ledger's blocks count as term 0 where the log does not have them.
    fn at(&self, index: u64) -> Option<(u64, Vec<u8>)> {
        self.wal
            .at(index)
            .map(|(term, hash)| (term, hash.to_vec()))
            .or_else(|| self.ledger.block(index).map(|block| (0, block::hash(&block))))
    }

    fn save(&mut self, term: u64, vote: u64) -> Result<(), LedgerError> {
        let commit = self.wal.state().commit;
        self.wal.save(HardState { term, vote, commit })
    }

    fn commit(&mut self, index: u64) -> Result<(), LedgerError> {
        let state = self.wal.state().clone();
        if index <= state.commit {
            return Ok(());
        }
        self.wal.save(HardState { commit: index, ..state })
    }

    fn follow(&mut self, term: u64, leader: Option<u64>) -> Result<(), LedgerError> {
        if term > self.wal.state().term {
            self.save(term, 0)?;
        }
        self.role = Role::Follower;
        self.set_leader(leader);
        Ok(())
    }

    fn set_leader(&mut self, leader: Option<u64>) {
        if leader.is_some() && leader != self.leader {
            self.changes += 1;
        }
        self.leader = leader;
    }

    /// The consenter set has changed with block `number`. Those that left are told so before they are forgotten.
    pub fn reconfigure(&mut self, group: Group, number: u64, now: Instant) {
        let gone = self.group.others.iter().filter(|other| !group.others.contains(other));
        self.leaving.extend(gone.map(|other| (*other, number)));
        let (last, _) = self.last();
        if let Role::Leader(progress) = &mut self.role {
            for other in &group.others {
                let fresh = Progress { next: last + 1, matched: 0, written: 0, heard: now };
                progress.entry(*other).or_insert(fresh);
            }
        }
        self.leaving.retain(|other, _| !group.others.contains(other));
        self.group = group;
    }

    /// Whether there is still something to say to another node.
    pub fn talks_to(&self, other: u64) -> bool {
        self.group.others.contains(&other) || (self.leads() && self.leaving.contains_key(&other))
    }

    /// Time passes. Returns a vote request when an election starts.
    pub fn tick(&mut self, now: Instant) -> Result<Option<Vote>, LedgerError> {
        if self.leads() {
            if self.active(now).len() < self.group.quorum {
                tracing::warn!(node = self.group.me, "quorum lost, stepping down");
                let term = self.wal.state().term;
                self.heard = now;
                self.follow(term, None)?;
            }
            return Ok(None);
        }
        let silent = now.duration_since(self.heard);
        if silent >= self.base && self.leader.is_some() {
            self.leader = None;
        }
        if silent < self.timeout {
            return Ok(None);
        }
        self.campaign(now, false).map(Some)
    }

    /// Stands for election; `transfer` says that the leader gave way.
    pub fn campaign(&mut self, now: Instant, transfer: bool) -> Result<Vote, LedgerError> {
        let term = self.wal.state().term + 1;
        let me = self.group.me;
        self.save(term, me)?;
        self.role = Role::Candidate(BTreeSet::from([me]));
        self.leader = None;
        self.heard = now;
        self.timeout = jitter(self.base);
        let (last_index, last_term) = self.last();
        self.try_to_lead(now)?;
        Ok(Vote { term, candidate: me, last_index, last_term, genesis: self.genesis.clone(), transfer })
    }

    /// Gives way to the other consenter that has most; `None` when this node does not lead or nobody is heard of.
    pub fn resign(&mut self, now: Instant) -> Option<u64> {
        let Role::Leader(progress) = &self.role else {
            return None;
        };
        let (successor, _) = progress
            .iter()
            .filter(|(other, progress)| {
                self.group.others.contains(other) && now.duration_since(progress.heard) < self.base
            })
            .max_by_key(|(_, progress)| progress.matched)?;
        let successor = *successor;
        self.role = Role::Follower;
        self.leader = None;
        self.heard = now;
        Some(successor)
    }

    fn try_to_lead(&mut self, now: Instant) -> Result<(), LedgerError> {
        let Role::Candidate(votes) = &self.role else {
            return Ok(());
        };
        if votes.len() < self.group.quorum {
            return Ok(());
        }
        let (last, _) = self.last();
        let fresh = || Progress { next: last + 1, matched: 0, written: 0, heard: now };
        self.role = Role::Leader(self.group.others.iter().map(|other| (*other, fresh())).collect());
        self.set_leader(Some(self.group.me));
        let term = self.wal.state().term;
        tracing::info!(node = self.group.me, term, "raft leader changed, this node leads");
        for index in self.committed() + 1..=last {
            if let Some(entry) = self.wal.entry(index) {
                self.wal.append(&Entry { term, ..entry })?;
            }
        }
        self.advance()
    }

    /// Someone asks for this node's vote.
    pub fn on_vote(&mut self, vote: &Vote, now: Instant) -> Result<Reply, LedgerError> {
        // A node that hears its leader does not help to unseat it.
        let content = self.leads() || (self.leader.is_some() && now.duration_since(self.heard) < self.base);
        if vote.genesis != self.genesis || vote.term < self.wal.state().term || (content && !vote.transfer) {
            return Ok(self.answer(false));
        }
        if vote.term > self.wal.state().term {
            self.follow(vote.term, None)?;
        }
        let (index, term) = self.last();
        let up_to_date = (vote.last_term, vote.last_index) >= (term, index) && vote.last_index >= self.committed();
        let given = self.wal.state().vote;
        if !up_to_date || !(given == 0 || given == vote.candidate) {
            return Ok(self.answer(false));
        }
        self.save(vote.term, vote.candidate)?;
        self.heard = now;
        Ok(self.answer(true))
    }

    /// The answer to a vote request of this node.
    pub fn on_vote_reply(&mut self, from: u64, asked: u64, reply: &Reply, now: Instant) -> Result<(), LedgerError> {
        if reply.term > self.wal.state().term {
            return self.follow(reply.term, None);
        }
        if !reply.granted || asked != self.wal.state().term {
            return Ok(());
        }
        if let Role::Candidate(votes) = &mut self.role {
            votes.insert(from);
        }
        self.try_to_lead(now)
    }

    /// What the leader has to say to another node; `None` when this node does not lead.
    pub fn append_for(&mut self, other: u64, now: Instant) -> Option<Append> {
        let active = self.active(now);
        let Role::Leader(progress) = &self.role else {
            return None;
        };
        let progress = progress.get(&other)?;
        let (next, written) = (progress.next.max(1), progress.written);
        let (last, _) = self.last();
        let (prev_term, prev_hash) = self.at(next - 1)?;
        let mut entries = Vec::new();
        let mut size = 0;
        for index in next..=last.min(next + BATCH) {
            let entry = self.entry(index)?;
            size += entry.block.len();
            if size > BATCH_BYTES && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        let commit = self.committed();
        let seals = match self.sealer {
            Some(_) => (written + 1..=commit.min(written + BATCH)).filter_map(|index| self.seal(index)).collect(),
            None => Vec::new(),
        };
        Some(Append {
            term: self.wal.state().term,
            leader: self.group.me,
            prev_index: next - 1,
            prev_term,
            prev_hash,
            entries,
            commit,
            genesis: self.genesis.clone(),
            active,
            seals,
        })
    }

    fn seal(&mut self, index: u64) -> Option<Seal> {
        self.wal.seal(index).or_else(|| {
            let metadata = self.ledger.block(index)?.metadata?.metadata.into_iter().nth(block::SIGNATURES)?;
            Some(Seal { index, metadata })
        })
    }

    fn entry(&mut self, index: u64) -> Option<Entry> {
        if let Some(entry) = self.wal.entry(index) {
            return Some(entry);
        }
        let mut found = self.ledger.block(index)?;
        let hash = block::hash(&found);
        found.metadata = None;
        Some(Entry { index, term: 0, block: found.encode_to_vec(), hash })
    }

    /// The leader speaks.
    pub fn on_append(&mut self, append: &Append, now: Instant) -> Result<Reply, LedgerError> {
        if append.term < self.wal.state().term || append.genesis != self.genesis {
            return Ok(Reply { index: 0, ..self.answer(false) });
        }
        self.heard = now;
        self.timeout = jitter(self.base);
        self.follow(append.term, Some(append.leader))?;
        self.told_active.clone_from(&append.active);
        let agreed = self.written();
        let fits = match self.at(append.prev_index) {
            Some((_, hash)) if append.prev_index <= agreed => hash == append.prev_hash,
            Some((term, hash)) => term == append.prev_term && hash == append.prev_hash,
            None => false,
        };
        if !fits {
            return Ok(self.answer(false));
        }
        let mut last = append.prev_index;
        for entry in &append.entries {
            last = entry.index;
            let known = self.wal.at(entry.index);
            let same = known.is_some_and(|(term, hash)| term == entry.term && hash == entry.hash);
            if entry.index > agreed && !same {
                self.wal.append(entry)?;
            }
        }
        for seal in append.seals.iter().filter(|seal| seal.index > agreed) {
            self.wal.save_seal(seal)?;
        }
        let signatures = self.sign(append);
        self.commit(append.commit.min(last))?;
        Ok(Reply { index: last, signatures, ..self.answer(true) })
    }

    /// Signs what is not agreed on yet.
    fn sign(&mut self, append: &Append) -> Vec<Signed> {
        if self.sealer.is_none() {
            return Vec::new();
        }
        let open: Vec<&Entry> = append.entries.iter().filter(|entry| entry.index > append.commit).collect();
        open.into_iter()
            .filter_map(|entry| {
                let last_config = self.last_config(entry.index);
                self.sealer.as_ref().map(|sealer| sealer.sign(entry, last_config))
            })
            .collect()
    }

    fn answer(&self, granted: bool) -> Reply {
        Reply {
            term: self.wal.state().term,
            granted,
            index: self.last().0,
            written: self.written(),
            signatures: Vec::new(),
        }
    }

    /// The answer to what this node said as leader. Returns whether there is more to say at once.
    pub fn on_append_reply(&mut self, from: u64, reply: &Reply, now: Instant) -> Result<bool, LedgerError> {
        if reply.term > self.wal.state().term {
            self.heard = now;
            self.follow(reply.term, None)?;
            return Ok(false);
        }
        let (last, _) = self.last();
        let Role::Leader(progress) = &mut self.role else {
            return Ok(false);
        };
        let Some(progress) = progress.get_mut(&from) else {
            return Ok(false);
        };
        progress.written = progress.written.max(reply.written);
        if self.leaving.get(&from).is_some_and(|number| reply.written >= *number) {
            self.leaving.remove(&from);
        }
        if !reply.granted {
            // Going back ends at the first block: a node that refuses even that has another genesis block, and does
            // not count as heard.
            let back = progress.next.saturating_sub(1).min(reply.index + 1).max(1);
            let moved = back < progress.next;
            progress.next = back;
            return Ok(moved);
        }
        progress.heard = now;
        progress.matched = progress.matched.max(reply.index);
        progress.next = progress.matched + 1;
        let more = progress.next <= last;
        if let Some(sealer) = &mut self.sealer {
            for signed in &reply.signatures {
                if self.wal.at(signed.index).is_some_and(|(term, _)| term == signed.term) {
                    sealer.collect(from, signed);
                }
            }
        }
        self.advance()?;
        Ok(more)
    }

    /// Counts who has what; only entries of this term are counted, the older ones come along.
    fn advance(&mut self) -> Result<(), LedgerError> {
        let Role::Leader(progress) = &self.role else {
            return Ok(());
        };
        let mut matched: Vec<u64> = progress
            .iter()
            .filter(|(other, _)| self.group.others.contains(other))
            .map(|(_, progress)| progress.matched)
            .collect();
        matched.push(self.last().0);
        matched.sort_unstable_by(|a, b| b.cmp(a));
        let Some(agreed) = self.group.quorum.checked_sub(1).and_then(|at| matched.get(at)).copied() else {
            return Ok(());
        };
        if self.wal.at(agreed).is_none_or(|(term, _)| term != self.wal.state().term) {
            return Ok(());
        }
        if self.sealer.is_none() {
            return self.commit(agreed);
        }
        for index in self.committed() + 1..=agreed {
            if !self.seal_entry(index)? {
                break;
            }
            self.commit(index)?;
        }
        Ok(())
    }

    /// Seals an entry of the own log, if a quorum has signed it.
    fn seal_entry(&mut self, index: u64) -> Result<bool, LedgerError> {
        let Some(entry) = self.wal.entry(index) else {
            return Ok(false);
        };
        let last_config = self.last_config(index);
        let members: Vec<u64> = [self.group.me].into_iter().chain(self.group.others.iter().copied()).collect();
        let seal =
            self.sealer.as_mut().and_then(|sealer| sealer.seal(&entry, last_config, &members, self.group.quorum));
        match seal {
            Some(seal) => self.wal.save_seal(&seal).map(|()| true),
            None => Ok(false),
        }
    }

    /// The config block in force at an index: the last one in the log up to it, or else in the ledger.
    fn last_config(&mut self, index: u64) -> u64 {
        (self.written() + 1..=index)
            .rev()
            .find(|at| {
                self.wal
                    .entry(*at)
                    .and_then(|entry| Block::decode(&entry.block[..]).ok())
                    .is_some_and(|block| block::config_transaction(&block).is_some())
            })
            .unwrap_or_else(|| self.ledger.config_block().map_or(0, |config| block::number(&config)))
    }

    /// Proposes a block with these transactions: its number. `None` unless this node leads.
    pub fn propose(&mut self, entries: Vec<Vec<u8>>) -> Result<Option<u64>, LedgerError> {
        let (last, _) = self.last();
        let Some((_, hash)) = self.at(last).filter(|_| self.leads()) else {
            return Ok(None);
        };
        let mut new = block::assemble(last + 1, hash, entries);
        new.metadata = None;
        self.wal.append(&Entry {
            index: last + 1,
            term: self.wal.state().term,
            hash: block::hash(&new),
            block: new.encode_to_vec(),
        })?;
        self.advance()?;
        Ok(Some(last + 1))
    }
}

/// Whether the log holds the ledger's blocks as far as both have them. It does not when this node followed the channel for
/// a while: what it had in its log then need not have been agreed on.
fn agrees(wal: &Wal, ledger: &Ledger) -> bool {
    wal.indices().take_while(|index| *index < ledger.height()).all(|index| {
        ledger.block(index).is_some_and(|block| wal.at(index).is_some_and(|(_, hash)| hash == block::hash(&block)))
    })
}

/// Between one and two times the base, so that nodes rarely stand for election together.
fn jitter(base: Duration) -> Duration {
    base + base.mul_f64(rand::random::<f64>())
}
