//! The message channel of a daemon: one exchange at a time for each repository, not more often than it helps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tenter_consortium::objects::{ConsortiumSource, ConsortiumSpec};
use tokio::sync::Mutex;

use super::exchange::{ExchangeRequest, exchange};
use super::{Folder, Message, Messages, process};
use crate::source::{Credentials, SourceError};

/// How old what was read may be, when there is nothing to publish.
const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// How an exchange is made.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// In a process of its own, for at most this long.
    Process(Duration),
    /// In a thread of this one: for tests, whose program knows no hidden subcommand.
    Here,
}

/// What was read last, by repository.
type Read = BTreeMap<String, (Timestamp, Messages)>;

/// The message channels of a daemon.
#[derive(Debug)]
pub struct MessageChannel {
    cache: PathBuf,
    how: How,
    read: Mutex<Read>,
}

/// Where a consortium's messages are: the repository, and the Secret with the credentials.
pub fn place(spec: &ConsortiumSpec) -> ConsortiumSource {
    let signatures = spec.signatures.clone().unwrap_or_default();
    let own_repository = signatures.repository.is_some();
    ConsortiumSource {
        repository: signatures.repository.unwrap_or_else(|| spec.source.repository.clone()),
        // Credentials of the definition's repository are not shown to another one.
        secret: signatures.secret.or_else(|| spec.source.secret.clone().filter(|_| !own_repository)),
        ..spec.source.clone()
    }
}

impl MessageChannel {
    /// Channels whose mirrors are in a folder.
    pub fn new(cache: PathBuf, how: How) -> Self {
        Self { cache, how, read: Mutex::new(BTreeMap::new()) }
    }

    /// What is on a repository's ref, not older than a few seconds.
    pub async fn read(&self, url: &str, credentials: &Credentials, now: Timestamp) -> Result<Messages, SourceError> {
        let mut read = self.read.lock().await;
        if let Some((at, messages)) = read.get(url)
            && now.duration_since(*at) < FRESH
        {
            return Ok(messages.clone());
        }
        self.exchange(&mut read, url, credentials, now, Vec::new(), BTreeSet::new()).await
    }

    /// Publishes a message.
    pub async fn publish(
        &self,
        url: &str,
        credentials: &Credentials,
        now: Timestamp,
        message: Message,
    ) -> Result<Messages, SourceError> {
        let mut read = self.read.lock().await;
        self.exchange(&mut read, url, credentials, now, vec![message], BTreeSet::new()).await
    }

    /// Drops the folder of an update that can no longer apply.
    pub async fn prune(
        &self,
        url: &str,
        credentials: &Credentials,
        now: Timestamp,
        folder: Folder,
    ) -> Result<Messages, SourceError> {
        let mut read = self.read.lock().await;
        self.exchange(&mut read, url, credentials, now, Vec::new(), BTreeSet::from([folder])).await
    }

    async fn exchange(
        &self,
        read: &mut Read,
        url: &str,
        credentials: &Credentials,
        now: Timestamp,
        publish: Vec<Message>,
        prune: BTreeSet<Folder>,
    ) -> Result<Messages, SourceError> {
        let request = ExchangeRequest {
            cache: self.cache.clone(),
            url: url.to_owned(),
            credentials: credentials.clone(),
            publish,
            prune,
            now: now.as_second(),
        };
        let messages = match self.how {
            How::Process(limit) => process::exchange(&request, limit).await?,
            How::Here => tokio::task::spawn_blocking(move || exchange(&request)).await.map_err(|error| {
                SourceError::Local { path: self.cache.display().to_string(), why: error.to_string() }
            })??,
        };
        read.insert(url.to_owned(), (now, messages.clone()));
        Ok(messages)
    }
}
