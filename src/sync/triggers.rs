//! Wakes whoever waits when an object of a consortium changes. Which object, and how, is not told: everything is looked at again.

use futures::StreamExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tenter_consortium::objects::LABEL_CONSORTIUM;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

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
    pub fn start(client: &Client, consortium: &str) -> Self {
        let (sender, changes) = watch::channel(0);
        let stop = CancellationToken::new();
        watch_kind::<Organization>(client, consortium, &sender, &stop);
        watch_kind::<CertificateAuthority>(client, consortium, &sender, &stop);
        watch_kind::<Orderer>(client, consortium, &sender, &stop);
        watch_kind::<Peer>(client, consortium, &sender, &stop);
        watch_kind::<Channel>(client, consortium, &sender, &stop);
        watch_kind::<Membership>(client, consortium, &sender, &stop);
        watch_kind::<Proposal>(client, consortium, &sender, &stop);
        Self { changes, _stop: stop.drop_guard() }
    }
}

fn watch_kind<K: TenterObject>(
    client: &Client,
    consortium: &str,
    sender: &watch::Sender<u64>,
    stop: &CancellationToken,
) {
    let api = Api::<K>::all(client.clone());
    let config = watcher::Config::default().labels(&format!("{LABEL_CONSORTIUM}={consortium}"));
    let (sender, stop) = (sender.clone(), stop.clone());
    tokio::spawn(async move {
        let events = watcher(api, config).default_backoff();
        let mut events = std::pin::pin!(events.take_until(stop.cancelled_owned()));
        while let Some(event) = events.next().await {
            match event {
                Ok(_) => sender.send_modify(|count| *count += 1),
                // A watch that broke comes back by itself; until then the interval remains.
                Err(error) => tracing::debug!(kind = K::KIND, "{error}"),
            }
        }
    });
}
