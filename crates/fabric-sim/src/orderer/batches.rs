//! From messages to blocks, on the leader (Fabric `orderer/common/blockcutter`, `etcdraft/chain.go`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use tenter_fabric_wire::common::{ConfigEnvelope, Envelope, HeaderType};
use tokio::sync::mpsc;

use super::chain::Chain;
use super::cluster::{Step, Submission};
use crate::block;
use crate::broadcast::{self, Aftermath, Failure};
use crate::channel::Bundle;

/// How often a message is offered to a new leader after this node gave way.
const HAND_OVER_TRIES: u32 = 50;

impl Chain {
    /// Cuts batches as the channel's configuration says, and proposes them. A config message gets a block of its own;
    /// nothing else is proposed until that is written.
    pub(super) async fn batches(self: Arc<Self>, mut queue: mpsc::Receiver<Submission>) {
        let mut pending: Vec<Vec<u8>> = Vec::new();
        let mut deadline = None;
        loop {
            let due = deadline.unwrap_or_else(|| tokio::time::Instant::now() + Duration::from_hours(1));
            tokio::select! {
                () = tokio::time::sleep_until(due), if deadline.is_some() => {
                    self.propose(std::mem::take(&mut pending)).await;
                }
                next = queue.recv() => {
                    let Some(next) = next else { return };
                    self.take_in(next, &mut pending).await;
                }
            }
            if pending.is_empty() {
                deadline = None;
            } else if deadline.is_none() {
                deadline = Some(tokio::time::Instant::now() + self.bundle().borrow().batch_timeout);
            }
        }
    }

    async fn take_in(self: &Arc<Self>, submission: Submission, pending: &mut Vec<Vec<u8>>) {
        let Ok(mut envelope) = Envelope::decode(&submission.envelope[..]) else {
            return;
        };
        let bundle = self.bundle().borrow().clone();
        let is_config = block::open(&envelope).is_ok_and(|opened| opened.channel.r#type == HeaderType::Config as i32);
        if submission.sequence < bundle.config.sequence {
            // The configuration has changed since the message was judged.
            match self.judge_again(&envelope, is_config) {
                Ok(judged) => envelope = judged,
                Err(reason) => {
                    tracing::warn!(channel = self.name, reason, "message dropped, the configuration has moved on");
                    return;
                }
            }
        }
        let bytes = envelope.encode_to_vec();
        if is_config {
            self.propose(std::mem::take(pending)).await;
            self.configure(&envelope, bytes, bundle.config.sequence).await;
            return;
        }
        let preferred = bundle.batch_size.preferred_max_bytes as usize;
        let held: usize = pending.iter().map(Vec::len).sum();
        if held + bytes.len() > preferred {
            self.propose(std::mem::take(pending)).await;
        }
        let alone = bytes.len() > preferred;
        pending.push(bytes);
        if alone || pending.len() >= bundle.batch_size.max_message_count as usize {
            self.propose(std::mem::take(pending)).await;
        }
    }

    fn judge_again(&self, envelope: &Envelope, is_config: bool) -> Result<Envelope, String> {
        if !is_config {
            return self.judge_normal(envelope).map(|_| envelope.clone()).map_err(|rejection| rejection.info.text);
        }
        let opened = block::open(envelope)?;
        let update = ConfigEnvelope::decode(&opened.payload.data[..])
            .ok()
            .and_then(|config| config.last_update)
            .ok_or("the config message holds no update")?;
        match self.judge_update(&update) {
            Ok((message, _)) => Ok(message.envelope),
            Err(Failure::Rejected(rejection)) => Err(rejection.info.text),
            Err(Failure::Panic(text)) => Err(text),
        }
    }

    async fn configure(self: &Arc<Self>, envelope: &Envelope, bytes: Vec<u8>, sequence: u64) {
        if self.takes_me_out(envelope) {
            tokio::spawn(self.clone().hand_over(Submission { envelope: bytes, sequence }));
            return;
        }
        let Some(number) = self.propose(vec![bytes]).await else {
            return;
        };
        let mut heights = self.ledger.watch();
        while self.ledger.height() <= number && self.state().raft.leads() {
            let _ = tokio::time::timeout(self.node.election / 10, heights.changed()).await;
        }
    }

    /// Whether a config message removes this node, or replaces its certificate.
    fn takes_me_out(&self, envelope: &Envelope) -> bool {
        let config = block::open(envelope)
            .ok()
            .and_then(|opened| ConfigEnvelope::decode(&opened.payload.data[..]).ok())
            .and_then(|envelope| envelope.config);
        let before = self.bundle().borrow().clone();
        config.and_then(|config| Bundle::new(self.name.clone(), config).ok()).is_some_and(|next| {
            let applies = next.consensus() == Ok(self.consensus)
                && broadcast::aftermath(self.consensus, &before, &next) == Aftermath::Fine;
            applies && !self.node.orders(&next)
        })
    }

    /// A leader that is to go gives way first, and lets its successor order the message.
    async fn hand_over(self: Arc<Self>, submission: Submission) {
        let successor = self.state().raft.resign(Instant::now());
        let Some(link) = successor.and_then(|id| self.link(id)) else {
            tracing::warn!(channel = self.name, "no other consenter can take over: the change is dropped");
            return;
        };
        let take_over = Step { channel: self.name.clone(), take_over: true, ..Step::default() };
        let _ = link.send(&self.node, take_over).await;
        for _ in 0..HAND_OVER_TRIES {
            if self.submit(submission.clone()).await.is_ok() {
                return;
            }
            tokio::time::sleep(self.node.election / 10).await;
        }
        tracing::warn!(channel = self.name, "no successor has taken the change: it is dropped");
    }

    /// Proposes a block, if there is anything for it and this node leads: its number.
    async fn propose(&self, entries: Vec<Vec<u8>>) -> Option<u64> {
        if entries.is_empty() || self.is_halted() {
            return None;
        }
        tokio::time::sleep(self.node.faults.commit_delay()).await;
        let done = {
            let mut state = self.state();
            state.raft.propose(entries).and_then(|number| self.after_change(&mut state).map(|()| number))
        };
        self.wake_all();
        self.settle(done).flatten()
    }
}
