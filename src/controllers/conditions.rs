//! The conditions `Ready`, `Reconciling` and `Stalled` (kstatus), as pure functions.

use jiff::{SignedDuration, Timestamp};
use tenter_consortium::objects::Condition;

/// The name of the condition that says whether an object is as wanted.
pub const READY: &str = "Ready";
/// The name of the condition that says whether the controller is working on it.
pub const RECONCILING: &str = "Reconciling";
/// The name of the condition that says whether a person is needed.
pub const STALLED: &str = "Stalled";

/// Longest message that is written; the API's own limit for conditions is 32 KiB.
const MAX_MESSAGE: usize = 1024;

/// How it is with an object, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as wanted.
    Ready {
        /// CamelCase.
        reason: String,
        /// For people.
        message: String,
    },
    /// It is on its way, or waits for something that will come by itself.
    Reconciling {
        /// CamelCase; names the step that is waited for.
        reason: String,
        /// For people: what is waited for, and where.
        message: String,
    },
    /// A person must do something.
    Stalled {
        /// CamelCase; names the failed step.
        reason: String,
        /// For people: what to do.
        message: String,
    },
}

impl Verdict {
    /// It is as wanted.
    pub fn ready(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Ready { reason: reason.into(), message: message.into() }
    }

    /// It is on its way.
    pub fn reconciling(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Reconciling { reason: reason.into(), message: message.into() }
    }

    /// A person must do something.
    pub fn stalled(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Stalled { reason: reason.into(), message: message.into() }
    }

    /// The same, with more to say.
    #[must_use]
    pub fn with_more(mut self, more: &str) -> Self {
        let (Self::Ready { message, .. } | Self::Reconciling { message, .. } | Self::Stalled { message, .. }) =
            &mut self;
        message.push_str(more);
        self
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        match self {
            Self::Ready { reason, .. } | Self::Reconciling { reason, .. } | Self::Stalled { reason, .. } => reason,
        }
    }

    /// The message.
    pub fn message(&self) -> &str {
        match self {
            Self::Ready { message, .. } | Self::Reconciling { message, .. } | Self::Stalled { message, .. } => message,
        }
    }
}

/// How long what programs bring about is waited for before a person has to look.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(30);

/// A wait since some time: `Stalled` once it has lasted longer than anything that comes by itself. The reason stays, so that it is
/// still seen what is waited for; the object is looked at as before, and goes on when it comes.
pub fn overdue(verdict: Verdict, since: Timestamp, now: Timestamp) -> Verdict {
    match verdict {
        Verdict::Reconciling { reason, message } if now.duration_since(since) > LONGEST_WAIT => {
            let (since, minutes) = (rfc3339(since), LONGEST_WAIT.as_mins());
            Verdict::stalled(
                reason,
                format!("{message}; it has been so since {since}, longer than {minutes} min: have a look"),
            )
        }
        other => other,
    }
}

/// The three conditions for `verdict`. A condition whose status is the one in `old` keeps its transition time.
pub fn conditions(old: &[Condition], verdict: &Verdict, generation: i64, now: Timestamp) -> Vec<Condition> {
    let holding = match verdict {
        Verdict::Ready { .. } => [(READY, true), (RECONCILING, false), (STALLED, false)],
        Verdict::Reconciling { .. } => [(READY, false), (RECONCILING, true), (STALLED, false)],
        Verdict::Stalled { .. } => [(READY, false), (RECONCILING, false), (STALLED, true)],
    };
    holding
        .into_iter()
        .map(|(condition_type, holds)| {
            let status = if holds { "True" } else { "False" };
            let since = old
                .iter()
                .find(|condition| condition.condition_type == condition_type && condition.status == status)
                .map(|condition| condition.last_transition_time.clone());
            // Only the condition that says how it is carries the text; the others say that they do not hold.
            let speaks = holds || condition_type == READY;
            Condition {
                condition_type: condition_type.to_owned(),
                status: status.to_owned(),
                observed_generation: generation,
                last_transition_time: since.unwrap_or_else(|| rfc3339(now)),
                reason: if speaks { verdict.reason().to_owned() } else { format!("Not{condition_type}") },
                message: if speaks { shorten(verdict.message()) } else { String::new() },
            }
        })
        .collect()
}

/// The `Ready` condition's status and reason: when they change, something happened that deserves an event.
pub fn state(conditions: &[Condition]) -> Option<(&str, &str)> {
    conditions
        .iter()
        .find(|condition| condition.condition_type == READY)
        .map(|condition| (condition.status.as_str(), condition.reason.as_str()))
}

/// `now` to the second, as Kubernetes writes times.
pub fn rfc3339(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

fn shorten(message: &str) -> String {
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(MAX_MESSAGE);
    format!("{}...", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn flags(conditions: &[Condition]) -> Vec<(&str, &str)> {
        conditions.iter().map(|c| (c.condition_type.as_str(), c.status.as_str())).collect()
    }

    #[test]
    fn exactly_one_condition_holds() {
        let check = |verdict: Verdict, holds: &str| {
            let made = conditions(&[], &verdict, 3, at(0));
            let expect: Vec<(&str, &str)> = [READY, RECONCILING, STALLED]
                .into_iter()
                .map(|name| (name, if name == holds { "True" } else { "False" }))
                .collect();
            assert_eq!(flags(&made), expect);
            assert!(made.iter().all(|c| c.observed_generation == 3));
            assert_eq!(state(&made).map(|(_, reason)| reason), Some(verdict.reason()));
        };
        check(Verdict::ready("Running", ""), READY);
        check(Verdict::reconciling("Starting", ""), RECONCILING);
        check(Verdict::stalled("ImageNotAllowed", ""), STALLED);
    }

    #[test]
    fn a_wait_is_bounded() {
        let waits = || Verdict::reconciling("QuorumLost", "2 of 3 are down");
        let after = |minutes: i64| overdue(waits(), at(10), at(10 + 60 * minutes));
        assert_eq!(after(30), waits());
        let Verdict::Stalled { reason, message } = after(31) else { panic!("it waits for ever") };
        assert_eq!(reason, "QuorumLost");
        assert!(message.starts_with("2 of 3 are down; ") && message.contains("1970-01-01T00:00:10Z"), "{message}");
        assert_eq!(after(31), after(300), "said once, not at every look");
        let ready = Verdict::ready("Active", "");
        assert_eq!(overdue(ready.clone(), at(10), at(100_000)), ready);
    }

    #[test]
    fn transition_times_move_only_when_the_status_does() {
        let first = conditions(&[], &Verdict::reconciling("Starting", "a"), 1, at(10));
        let second = conditions(&first, &Verdict::reconciling("Pulling", "b"), 1, at(20));
        let third = conditions(&second, &Verdict::ready("Running", "c"), 1, at(30));
        let times = |c: &[Condition]| c.iter().map(|c| c.last_transition_time.clone()).collect::<Vec<_>>();
        assert_eq!(times(&first), times(&second));
        let (old, new) = ("1970-01-01T00:00:10Z".to_owned(), "1970-01-01T00:00:30Z".to_owned());
        assert_eq!(times(&third), [new.clone(), new, old]);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let made = conditions(&[], &Verdict::stalled("X", "é".repeat(2000)), 1, at(0));
        assert!(made[0].message.len() <= MAX_MESSAGE + 3);
    }
}
