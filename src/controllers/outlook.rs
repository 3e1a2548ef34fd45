//! What the decision about a channel or a membership says to its reader, and when it is asked again.

use std::time::Duration;

use super::conditions::Verdict;
use super::schedule::RESYNC;

/// What is being waited for, which sets how soon it is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Something that takes seconds, such as an election.
    Soon,
    /// Another object, node or organization. Most of these are watched; this is for those that cannot be.
    Dependency,
}

impl Wait {
    const fn pause(self) -> Duration {
        match self {
            Self::Soon => Duration::from_secs(1),
            Self::Dependency => Duration::from_secs(5),
        }
    }
}

/// How often something that is in its final state is looked at. Config blocks are followed and objects
/// watched; this is for what announces nothing, such as a lost quorum or an emptied volume.
const SPARSE: Duration = Duration::from_mins(1);

/// How it is with a thing, and when to look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// How it is.
    pub verdict: Verdict,
    /// When to look again.
    pub pause: Duration,
}

impl Outlook {
    /// As its spec says.
    pub fn ready(reason: &str, message: String) -> Self {
        Self { verdict: Verdict::ready(reason, message), pause: SPARSE }
    }

    /// As it will stay: looked at again only so that what is left of it elsewhere goes in the end.
    pub fn past(reason: &str, message: String) -> Self {
        Self { verdict: Verdict::ready(reason, message), pause: RESYNC }
    }

    /// On the way.
    pub fn waiting(wait: Wait, reason: &str, message: String) -> Self {
        Self { verdict: Verdict::reconciling(reason, message), pause: wait.pause() }
    }

    /// What this pass is doing itself.
    pub fn acting(reason: &str, message: String) -> Self {
        Self { verdict: Verdict::reconciling(reason, message), pause: Wait::Soon.pause() }
    }

    /// Until a person acts.
    pub fn stalled(reason: &str, message: String) -> Self {
        Self { verdict: Verdict::stalled(reason, message), pause: SPARSE }
    }
}
