//! Wakes whoever waits when an object of a consortium changes. Which object, and how, is not told: everything is looked at again.

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::controllers::context::Context;
use crate::resources::{
    CertificateAuthority, Channel, Membership, Orderer, Organization, Peer, Proposal, TenterObject,
};

/// Counts changes until it is dropped.
pub struct Triggers {
    /// Goes up with each change.
    pub changes: watch::Receiver<u64>,
    _stop: DropGuard,
}

impl Triggers {
    /// Watches the objects of a consortium, in all namespaces.
    pub fn start(ctx: &Context, consortium: &str) -> Self {
        let (sender, changes) = watch::channel(0);
        let stop = CancellationToken::new();
        watch_kind::<Organization>(ctx, consortium, &sender, &stop);
        watch_kind::<CertificateAuthority>(ctx, consortium, &sender, &stop);
        watch_kind::<Orderer>(ctx, consortium, &sender, &stop);
        watch_kind::<Peer>(ctx, consortium, &sender, &stop);
        watch_kind::<Channel>(ctx, consortium, &sender, &stop);
        watch_kind::<Membership>(ctx, consortium, &sender, &stop);
        watch_kind::<Proposal>(ctx, consortium, &sender, &stop);
        Self { changes, _stop: stop.drop_guard() }
    }
}

fn watch_kind<K: TenterObject>(ctx: &Context, consortium: &str, sender: &watch::Sender<u64>, stop: &CancellationToken) {
    let (sender, stop, consortium) = (sender.clone(), stop.clone(), consortium.to_owned());
    let changes = ctx.changes::<K>();
    tokio::spawn(async move {
        let mut changes = std::pin::pin!(changes.take_until(stop.cancelled_owned()));
        while let Some(object) = changes.next().await {
            if object.consortium() == Some(&consortium) {
                sender.send_modify(|count| *count += 1);
            }
        }
    });
}
