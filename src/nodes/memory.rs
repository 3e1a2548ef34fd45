//! A store in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use futures::future::BoxFuture;
use tenter_consortium::observation::Observation;

use super::store::{Created, Entries, Store, StoreError};

type Key = (String, String);

#[derive(Default)]
struct Content {
    secrets: BTreeMap<Key, Entries>,
    config_maps: BTreeMap<Key, Entries>,
    refused: BTreeSet<Key>,
    writes: usize,
}

/// Secrets and `ConfigMaps` in memory; counts its writes.
#[derive(Default)]
pub struct MemoryStore {
    content: Mutex<Content>,
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.to_owned(), name.to_owned())
}

impl MemoryStore {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Puts a Secret.
    pub fn put_secret(&self, namespace: &str, name: &str, entries: Entries) {
        self.content().secrets.insert(key(namespace, name), entries);
    }

    /// Puts a `ConfigMap`.
    pub fn put_config_map(&self, namespace: &str, name: &str, entries: Entries) {
        self.content().config_maps.insert(key(namespace, name), entries);
    }

    /// Refuses to show what has this name.
    pub fn refuse(&self, namespace: &str, name: &str) {
        self.content().refused.insert(key(namespace, name));
    }

    /// How often something was written.
    pub fn writes(&self) -> usize {
        self.content().writes
    }

    fn look(
        &self,
        namespace: &str,
        name: &str,
        which: impl Fn(&Content) -> &BTreeMap<Key, Entries>,
    ) -> Observation<Entries> {
        let content = self.content();
        let key = key(namespace, name);
        if content.refused.contains(&key) {
            return Observation::Forbidden { evidence: format!("{namespace}/{name} is refused") };
        }
        match which(&content).get(&key) {
            Some(entries) => Observation::Present { value: entries.clone() },
            None => Observation::Absent { evidence: format!("there is no {namespace}/{name}") },
        }
    }
}

impl Store for MemoryStore {
    fn secret<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Observation<Entries>> {
        Box::pin(async move { self.look(namespace, name, |content| &content.secrets) })
    }

    fn config_map<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Observation<Entries>> {
        Box::pin(async move { self.look(namespace, name, |content| &content.config_maps) })
    }

    fn create_immutable<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        _labels: BTreeMap<String, String>,
        binary: Entries,
        text: BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Created, StoreError>> {
        Box::pin(async move {
            let mut content = self.content();
            if content.config_maps.contains_key(&key(namespace, name)) {
                return Ok(Created::Before);
            }
            let text = text.into_iter().map(|(key, value)| (key, value.into_bytes()));
            content.config_maps.insert(key(namespace, name), binary.into_iter().chain(text).collect());
            content.writes += 1;
            Ok(Created::Now)
        })
    }

    fn record<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        _labels: BTreeMap<String, String>,
        entry: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut content = self.content();
            content
                .config_maps
                .entry(key(namespace, name))
                .or_default()
                .insert(entry.to_owned(), value.as_bytes().to_vec());
            content.writes += 1;
            Ok(())
        })
    }
}
