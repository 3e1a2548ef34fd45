//! Faults that tests ask for, through `FABRIC_SIM_FAULTS` at the start or `POST /sim/faults` on the operations
//! listener. Both need `FABRIC_SIM_CONTROL=1`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What can go wrong on demand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultSet {
    /// Milliseconds that every answer waits, by area.
    pub delay_ms: BTreeMap<Area, u64>,
    /// How many of the next calls fail, by area.
    pub fail: BTreeMap<Area, u64>,
    /// How many of the next joins are carried out with their reply lost.
    pub lose_join_reply: u64,
    /// How many of the next broadcasts are carried out with their reply lost.
    pub lose_broadcast_reply: u64,
    /// How many of the next config updates are answered with success and then lost.
    pub lose_update: u64,
    /// Milliseconds that a leader waits before it proposes a block.
    pub commit_delay_ms: u64,
    /// Whether the ordering service behaves as if there was no leader.
    pub leaderless: bool,
}

/// A part of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Area {
    /// The orderer's admin API.
    Participation,
    /// Deliver of orderers and peers.
    Deliver,
    /// The orderer's Broadcast.
    Broadcast,
    /// The peer's endorser.
    Endorser,
}

/// The faults in force.
#[derive(Debug, Default)]
pub struct Faults(Mutex<FaultSet>);

impl Faults {
    /// Starts with what the environment says; nothing without `FABRIC_SIM_CONTROL=1`.
    pub fn from_environment() -> Self {
        let set = if control_enabled() {
            std::env::var("FABRIC_SIM_FAULTS")
                .ok()
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default()
        } else {
            FaultSet::default()
        };
        Self(Mutex::new(set))
    }

    fn set(&self) -> std::sync::MutexGuard<'_, FaultSet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces all faults.
    pub fn replace(&self, new: FaultSet) {
        *self.set() = new;
    }

    /// What is in force.
    pub fn current(&self) -> FaultSet {
        self.set().clone()
    }

    /// Waits as long as the area is to be slow, and says whether this call is to fail.
    pub async fn hit(&self, area: Area) -> bool {
        let (delay, fails) = {
            let mut set = self.set();
            let fails = set.fail.get_mut(&area).is_some_and(|left| {
                let hit = *left > 0;
                *left = left.saturating_sub(1);
                hit
            });
            (set.delay_ms.get(&area).copied().unwrap_or(0), fails)
        };
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        fails
    }

    fn take(&self, counter: impl Fn(&mut FaultSet) -> &mut u64) -> bool {
        let mut set = self.set();
        let left = counter(&mut set);
        let hit = *left > 0;
        *left = left.saturating_sub(1);
        hit
    }

    /// Whether this join's reply is to be lost.
    pub fn loses_join_reply(&self) -> bool {
        self.take(|set| &mut set.lose_join_reply)
    }

    /// Whether this broadcast's reply is to be lost.
    pub fn loses_broadcast_reply(&self) -> bool {
        self.take(|set| &mut set.lose_broadcast_reply)
    }

    /// Whether this config update is to be lost.
    pub fn loses_update(&self) -> bool {
        self.take(|set| &mut set.lose_update)
    }

    /// How long a leader waits before it proposes a block.
    pub fn commit_delay(&self) -> Duration {
        Duration::from_millis(self.set().commit_delay_ms)
    }

    /// Whether there is to be no leader.
    pub fn leaderless(&self) -> bool {
        self.set().leaderless
    }
}

/// Whether faults can be asked for at all.
pub fn control_enabled() -> bool {
    std::env::var("FABRIC_SIM_CONTROL").is_ok_and(|value| value == "1")
}
