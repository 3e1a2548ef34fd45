//! The ways from one consenter of a channel to the others.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tonic::transport::Channel;

use super::chain::Chain;
use super::cluster::{self, Append, Reply, Step, Vote};
use super::node::Node;
use crate::channel::Consenter;
use crate::net::{Trust, dial};

/// The way to one other consenter.
#[derive(Debug)]
pub struct Link {
    /// Its id.
    pub id: u64,
    /// What the configuration says of it.
    pub consenter: Consenter,
    channel: tokio::sync::Mutex<Option<Channel>>,
    wake: Notify,
}

impl Link {
    /// A way that is not used yet.
    pub fn new(id: u64, consenter: Consenter) -> Self {
        Self { id, consenter, channel: tokio::sync::Mutex::new(None), wake: Notify::new() }
    }

    /// There may be something to say.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    async fn open(&self, node: &Node) -> Result<Channel, String> {
        let mut channel = self.channel.lock().await;
        if let Some(open) = &*channel {
            return Ok(open.clone());
        }
        let trust = Trust::Pinned(self.consenter.server.public_key_info());
        let open = dial(&self.consenter.address, &trust, Some(&node.cluster_pair), node.election).await?;
        Ok(channel.insert(open).clone())
    }

    /// Says something and waits for the answer.
    pub async fn send(&self, node: &Node, step: Step) -> Result<Reply, tonic::Status> {
        let open = self.open(node).await.map_err(tonic::Status::unavailable)?;
        let answer = cluster::send(open, step).await;
        if let Err(status) = &answer
            && ![tonic::Code::NotFound, tonic::Code::PermissionDenied].contains(&status.code())
        {
            *self.channel.lock().await = None;
        }
        answer
    }
}

impl Chain {
    /// Keeps one other consenter informed while this node leads; ends when the consenter is gone or has changed.
    pub(super) async fn replicate(self: Arc<Self>, link: Arc<Link>) {
        let beat = self.node.election / 10;
        loop {
            let _ = tokio::time::timeout(beat, link.wake.notified()).await;
            loop {
                let append = self.state().raft.append_for(link.id, Instant::now());
                let Some(append) = append else { break };
                if !self.tell(&link, append).await {
                    break;
                }
            }
            if !self.keeps(&link) {
                return;
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
            let mut state = self.state();
            state
                .raft
                .on_append_reply(link.id, &reply, Instant::now())
                .and_then(|more| self.after_change(&mut state).map(|()| more))
        };
        if self.ledger.height() > before {
            // The others learn at once, not at the next beat, that a block is agreed on.
            self.wake_all();
        }
        self.settle(done).unwrap_or(false)
    }

    /// Asks all others for their vote.
    pub(super) fn ask_votes(self: &Arc<Self>, vote: &Vote) {
        for link in self.links() {
            let step = Step { channel: self.name.clone(), vote: Some(vote.clone()), ..Step::default() };
            tokio::spawn(self.clone().ask_vote(link, vote.term, step));
        }
    }

    async fn ask_vote(self: Arc<Self>, link: Arc<Link>, term: u64, step: Step) {
        let reply = match link.send(&self.node, step).await {
            Ok(reply) => reply,
            Err(status) => {
                if status.code() == tonic::Code::PermissionDenied {
                    // Perhaps this node was removed while it was away.
                    self.doubt.notify_one();
                }
                return;
            }
        };
        let done = {
            let mut state = self.state();
            state.raft.on_vote_reply(link.id, term, &reply, Instant::now()).and_then(|()| self.after_change(&mut state))
        };
        self.settle(done);
        self.wake_all();
    }
}
