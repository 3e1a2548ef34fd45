//! When an object is looked at again: exponential back-off with jitter, as pure functions.

use std::time::Duration;

/// First pause after a failure.
const FIRST: Duration = Duration::from_secs(1);
/// See [`pace`].
const SOONEST: Duration = Duration::from_millis(200);
/// Longest pause after a failure.
const LONGEST: Duration = Duration::from_mins(1);
/// Failures in a row after which an object counts as stalled.
pub const STALLED_AFTER: u32 = 6;
/// When an object that is as wanted is looked at again, so that a missed event is made good.
pub const RESYNC: Duration = Duration::from_mins(10);

/// The pause after the `failures`-th failure in a row (from 1): 1 s, 2 s, 4 s, ... 60 s, each made up to a
/// quarter longer by `seed`, so that objects that failed together are not tried again together.
pub fn back_off(failures: u32, seed: u64) -> Duration {
    let doubled = FIRST.saturating_mul(1u32 << failures.saturating_sub(1).min(10));
    jitter(doubled.min(LONGEST), seed.wrapping_add(u64::from(failures)))
}

/// When to ask again for something that announces itself to nobody, such as what a Fabric node shows, and that has been
/// waited for so long: soon at first, then each time half as long again as the whole wait, and never later than `asked`.
pub fn pace(waited: Duration, asked: Duration) -> Duration {
    asked.min((waited / 2).max(SOONEST))
}

/// `pause`, made up to a quarter longer by `seed`.
pub fn jitter(pause: Duration, seed: u64) -> Duration {
    // The high bits of a multiplicative hash: neighbouring seeds land far apart.
    let spread = u32::try_from(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54).unwrap_or(0);
    pause + pause * spread / 4096
}

/// A seed that is the same for the same text in every process (FNV-1a).
pub fn seed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_a_quarter() {
        for (failures, least) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (50, 60), (u32::MAX, 60)] {
            let pause = back_off(failures, 7);
            let least = Duration::from_secs(least);
            assert!(pause >= least && pause <= least + least / 4, "{failures}: {pause:?}");
        }
    }

    #[test]
    fn a_wait_is_looked_at_often_at_first() {
        let asked = Duration::from_secs(5);
        let mut waited = Duration::ZERO;
        let mut pauses = Vec::new();
        while waited < Duration::from_mins(1) {
            let pause = pace(waited, asked);
            pauses.push(pause);
            waited += pause;
        }
        assert_eq!((pauses.first(), pauses.last()), (Some(&SOONEST), Some(&asked)));
        assert!(pauses.is_sorted() && pauses.len() < 25, "{pauses:?}");
        assert_eq!(pace(waited, Duration::from_millis(100)), Duration::from_millis(100), "never later than asked");
    }

    #[test]
    fn objects_that_fail_together_come_back_apart() {
        let pauses: std::collections::BTreeSet<Duration> =
            (0..20).map(|i| back_off(7, seed(&format!("peer{i}")))).collect();
        assert!(pauses.len() > 15, "{pauses:?}");
    }
}
