//! Connections that are kept for a while, so that a reconciliation in sync costs no handshake.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// Values that live for a bounded time. An identity that was renewed, or a Pod that moved, is taken up at
/// the latest when the value's time is over.
pub struct Cache<K, V> {
    lifetime: Duration,
    entries: Mutex<BTreeMap<K, (Instant, Arc<V>)>>,
}

impl<K: Ord + Clone, V> Cache<K, V> {
    /// An empty cache whose values live this long.
    pub const fn new(lifetime: Duration) -> Self {
        Self { lifetime, entries: Mutex::new(BTreeMap::new()) }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<K, (Instant, Arc<V>)>> {
        // What a panicking holder left behind is at worst one entry too few.
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The value, if its time is not over. Whatever is older is dropped.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        let now = Instant::now();
        let mut entries = self.entries();
        entries.retain(|_, (made, _)| now.duration_since(*made) < self.lifetime);
        entries.get(key).map(|(_, value)| Arc::clone(value))
    }

    /// Keeps a value from now on.
    pub fn put(&self, key: K, value: V) -> Arc<V> {
        let value = Arc::new(value);
        self.entries().insert(key, (Instant::now(), Arc::clone(&value)));
        value
    }

    /// Forgets a value, because it did not work.
    pub fn forget(&self, key: &K) {
        self.entries().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn values_live_for_their_time_and_no_longer() {
        let cache = Cache::new(Duration::from_mins(1));
        cache.put("a", 1);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(cache.get(&"a").as_deref(), Some(&1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(cache.get(&"a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_forgotten() {
        let cache = Cache::new(Duration::from_mins(1));
        cache.put("a", 1);
        cache.put("b", 2);
        cache.forget(&"a");
        assert_eq!((cache.get(&"a"), cache.get(&"b").as_deref()), (None, Some(&2)));
    }
}
