//! A channel that this node follows without ordering it (Fabric `orderer/common/follower/follower_chain.go`).

use std::sync::Arc;

use tenter_fabric_wire::common::Block;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::node::Node;
use crate::block;
use crate::channel::Bundle;
use crate::ledger::Ledger;
use crate::pull::{Puller, Taken};

/// A followed channel.
#[derive(Debug)]
pub struct Follower {
    /// The blocks so far.
    pub ledger: Arc<Ledger>,
    bundle: watch::Sender<Arc<Bundle>>,
    /// The block that it was joined with, until the ledger has it.
    join: Option<Block>,
    /// Whether the newest configuration lists this node as consenter.
    listed: watch::Sender<bool>,
    task: std::sync::OnceLock<AbortHandle>,
}

impl Follower {
    /// Prepares to follow. `bundle` is the newest configuration that is known.
    pub fn new(ledger: Arc<Ledger>, bundle: Arc<Bundle>, join: Option<Block>) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            bundle: watch::Sender::new(bundle),
            join,
            listed: watch::Sender::new(false),
            task: std::sync::OnceLock::new(),
        })
    }

    /// Whether the join block is still to come.
    pub fn is_onboarding(&self) -> bool {
        self.join.as_ref().is_some_and(|join| self.ledger.height() <= block::number(join))
    }

    /// The newest configuration.
    pub fn bundle(&self) -> Arc<Bundle> {
        self.bundle.borrow().clone()
    }

    /// Starts pulling; `promote` runs once when this node has become a consenter.
    pub fn start(self: &Arc<Self>, node: &Arc<Node>, channel: &str, promote: impl FnOnce() + Send + 'static) {
        let puller = Puller::for_orderer(node, channel);
        let (me, node) = (self.clone(), node.clone());
        let handle = tokio::spawn(async move {
            let bundle = me.bundle.subscribe();
            puller.run(bundle, &me.ledger, Clone::clone, |block| me.take(&node, &block)).await;
            promote();
        })
        .abort_handle();
        let _ = self.task.set(handle);
    }

    fn take(&self, node: &Node, block: &Block) -> Result<Taken, String> {
        if let Some(join) = &self.join
            && block::number(join) == block::number(block)
            && block::hash(join) != block::hash(block)
        {
            return Err(format!(
                "block {} differs from the block that the channel was joined with",
                block::number(block)
            ));
        }
        if !self.is_onboarding() {
            self.bundle().verify_block(block)?;
        }
        self.ledger.append(block).map_err(|error| error.to_string())?;
        let mut changed = false;
        if block::config_transaction(block).is_some() {
            let bundle = Bundle::from_block(block)?;
            node.learn(&bundle);
            // While catching up, the join block knows better than older configurations where the orderers are.
            if !self.is_onboarding() {
                let lists_me = node.orders(&bundle);
                changed = bundle.endpoints != self.bundle.borrow().endpoints;
                self.bundle.send_replace(Arc::new(bundle));
                self.listed.send_replace(lists_me);
            }
        }
        if *self.listed.borrow() {
            return Ok(Taken::Done);
        }
        Ok(if changed { Taken::Reconnect } else { Taken::More })
    }

    /// Ends pulling.
    pub fn stop(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}
