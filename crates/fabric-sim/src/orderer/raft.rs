//! Agreement among the consenters of one channel: terms, votes, and a log whose entries are blocks.
//!
//! Pure but for the log on disk: the time is passed in, messages are returned. What differs from Raft: an entry's
//! predecessor is also checked by its hash, so that nodes with different genesis blocks never agree; and a new leader
//! proposes the uncommitted end of its log again in its own term instead of an empty entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;

use super::cluster::{Append, Reply, Vote};
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
    heard: Instant,
}

#[derive(Debug)]
enum Role {
    Follower,
    Candidate(BTreeSet<String>),
    Leader(BTreeMap<String, Progress>),
}

/// One node's view of one channel's consensus.
#[derive(Debug)]
pub struct Raft {
    me: String,
    others: Vec<String>,
    quorum: usize,
    genesis: Vec<u8>,
    ledger: Arc<Ledger>,
    wal: Wal,
    role: Role,
    leader: Option<String>,
    heard: Instant,
    timeout: Duration,
    base: Duration,
    changes: u64,
    told_active: usize,
}

impl Raft {
    /// Starts as a follower. `base` is the shortest election timeout.
    pub fn new(
        me: String,
        others: Vec<String>,
        quorum: usize,
        ledger: Arc<Ledger>,
        wal: Wal,
        base: Duration,
        now: Instant,
    ) -> Self {
        let genesis = ledger.block(0).map(|block| block::hash(&block)).unwrap_or_default();
        Self {
            me,
            others,
            quorum,
            genesis,
            ledger,
            wal,
            role: Role::Follower,
            leader: None,
            heard: now,
            timeout: jitter(base),
            base,
            changes: 0,
            told_active: 0,
        }
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// How often the leader has changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How many consenters are heard of: the leader counts, and tells the others; 0 means that there is no leader.
    pub fn active(&self, now: Instant) -> usize {
        match &self.role {
            Role::Leader(progress) => {
                let heard = |progress: &&Progress| now.duration_since(progress.heard) < self.base;
                1 + progress.values().filter(heard).count()
            }
            _ if self.leader.is_some() => self.told_active,
            _ => 0,
        }
    }

    /// The number of the last block known to be agreed on.
    pub fn committed(&self) -> u64 {
        self.wal.state().commit.max(self.ledger.height().saturating_sub(1))
    }

    /// The next agreed entry that the ledger does not have yet.
    pub fn next_agreed(&mut self) -> Option<Entry> {
        let next = self.ledger.height();
        if next > self.wal.state().commit {
            return None;
        }
        self.wal.entry(next)
    }

    fn last(&self) -> (u64, u64) {
        let ledger = self.ledger.height().saturating_sub(1);
        let index = self.wal.last().unwrap_or(0).max(ledger);
        (index, self.wal.at(index).map_or(0, |(term, _)| term))
    }

    /// Term and hash of what stands at an index; the ledger's blocks count as term 0 where the log does not have them.
    fn at(&self, index: u64) -> Option<(u64, Vec<u8>)> {
        self.wal
            .at(index)
            .map(|(term, hash)| (term, hash.to_vec()))
            .or_else(|| self.ledger.block(index).map(|block| (0, block::hash(&block))))
    }

    fn save(&mut self, term: u64, vote: &str) -> Result<(), LedgerError> {
        let commit = self.wal.state().commit;
        self.wal.save(HardState { term, vote: vote.to_owned(), commit })
    }

    fn commit(&mut self, index: u64) -> Result<(), LedgerError> {
        let state = self.wal.state().clone();
        if index <= state.commit {
            return Ok(());
        }
        self.wal.save(HardState { commit: index, ..state })
    }

    fn follow(&mut self, term: u64, leader: Option<String>) -> Result<(), LedgerError> {
        if term > self.wal.state().term {
            self.save(term, "")?;
        }
        self.role = Role::Follower;
        self.set_leader(leader);
        Ok(())
    }

    fn set_leader(&mut self, leader: Option<String>) {
        if leader.is_some() && leader != self.leader {
            self.changes += 1;
        }
        self.leader = leader;
    }

    /// Time passes. Returns a vote request when an election starts.
    pub fn tick(&mut self, now: Instant) -> Result<Option<Vote>, LedgerError> {
        if self.leads() {
            if self.active(now) < self.quorum {
                tracing::warn!(node = self.me, "quorum lost, stepping down");
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
        self.campaign(now).map(Some)
    }

    fn campaign(&mut self, now: Instant) -> Result<Vote, LedgerError> {
        let term = self.wal.state().term + 1;
        let me = self.me.clone();
        self.save(term, &me)?;
        self.role = Role::Candidate(BTreeSet::from([me.clone()]));
        self.leader = None;
        self.heard = now;
        self.timeout = jitter(self.base);
        let (last_index, last_term) = self.last();
        self.try_to_lead(now)?;
        Ok(Vote { term, candidate: me, last_index, last_term, genesis: self.genesis.clone() })
    }

    fn try_to_lead(&mut self, now: Instant) -> Result<(), LedgerError> {
        let Role::Candidate(votes) = &self.role else {
            return Ok(());
        };
        if votes.len() < self.quorum {
            return Ok(());
        }
        let (last, _) = self.last();
        let fresh = || Progress { next: last + 1, matched: 0, heard: now };
        self.role = Role::Leader(self.others.iter().map(|other| (other.clone(), fresh())).collect());
        self.set_leader(Some(self.me.clone()));
        let term = self.wal.state().term;
        tracing::info!(node = self.me, term, "raft leader changed, this node leads");
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
        if vote.genesis != self.genesis || vote.term < self.wal.state().term || content {
            return Ok(self.answer(false));
        }
        if vote.term > self.wal.state().term {
            self.follow(vote.term, None)?;
        }
        let (index, term) = self.last();
        let up_to_date = (vote.last_term, vote.last_index) >= (term, index) && vote.last_index >= self.committed();
        let given = &self.wal.state().vote;
        if !up_to_date || !(given.is_empty() || *given == vote.candidate) {
            return Ok(self.answer(false));
        }
        self.save(vote.term, &vote.candidate)?;
        self.heard = now;
        Ok(self.answer(true))
    }

    /// The answer to a vote request of this node.
    pub fn on_vote_reply(&mut self, from: &str, asked: u64, reply: &Reply, now: Instant) -> Result<(), LedgerError> {
        if reply.term > self.wal.state().term {
            return self.follow(reply.term, None);
        }
        if !reply.granted || asked != self.wal.state().term {
            return Ok(());
        }
        if let Role::Candidate(votes) = &mut self.role {
            votes.insert(from.to_owned());
        }
        self.try_to_lead(now)
    }

    /// What the leader has to say to another node; `None` when this node does not lead.
    pub fn append_for(&mut self, other: &str, now: Instant) -> Option<Append> {
        let active = u32::try_from(self.active(now)).unwrap_or(u32::MAX);
        let Role::Leader(progress) = &self.role else {
            return None;
        };
        let next = progress.get(other)?.next.max(1);
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
        Some(Append {
            term: self.wal.state().term,
            leader: self.me.clone(),
            prev_index: next - 1,
            prev_term,
            prev_hash,
            entries,
            commit: self.committed(),
            genesis: self.genesis.clone(),
            active,
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
        self.follow(append.term, Some(append.leader.clone()))?;
        self.told_active = append.active as usize;
        let agreed = self.ledger.height().saturating_sub(1);
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
        self.commit(append.commit.min(last))?;
        Ok(Reply { index: last, ..self.answer(true) })
    }

    fn answer(&self, granted: bool) -> Reply {
        Reply { term: self.wal.state().term, granted, index: self.last().0 }
    }

    /// The answer to what this node said as leader. Returns whether there is more to say at once.
    pub fn on_append_reply(&mut self, from: &str, reply: &Reply, now: Instant) -> Result<bool, LedgerError> {
        if reply.term > self.wal.state().term {
            self.heard = now;
            self.follow(reply.term, None)?;
            return Ok(false);
        }
        let (last, _) = self.last();
        let Role::Leader(progress) = &mut self.role else {
            return Ok(false);
        };
        let Some(progress) = progress.get_mut(from) else {
            return Ok(false);
        };
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
        self.advance()?;
        Ok(more)
    }

    /// Counts who has what; only entries of this term are counted, the older ones come along.
    fn advance(&mut self) -> Result<(), LedgerError> {
        let Role::Leader(progress) = &self.role else {
            return Ok(());
        };
        let mut matched: Vec<u64> = progress.values().map(|progress| progress.matched).collect();
        matched.push(self.last().0);
        matched.sort_unstable_by(|a, b| b.cmp(a));
        let Some(agreed) = self.quorum.checked_sub(1).and_then(|at| matched.get(at)).copied() else {
            return Ok(());
        };
        if self.wal.at(agreed).is_some_and(|(term, _)| term == self.wal.state().term) {
            self.commit(agreed)?;
        }
        Ok(())
    }

    /// Proposes a block with these transactions. Does nothing unless this node leads.
    pub fn propose(&mut self, entries: Vec<Vec<u8>>) -> Result<(), LedgerError> {
        let (last, _) = self.last();
        let Some((_, hash)) = self.at(last).filter(|_| self.leads()) else {
            return Ok(());
        };
        let mut new = block::assemble(last + 1, hash, entries);
        new.metadata = None;
        self.wal.append(&Entry {
            index: last + 1,
            term: self.wal.state().term,
            hash: block::hash(&new),
            block: new.encode_to_vec(),
        })?;
        self.advance()
    }
}

/// Between one and two times the base, so that nodes rarely stand for election together.
fn jitter(base: Duration) -> Duration {
    base + base.mul_f64(rand::random::<f64>())
}
