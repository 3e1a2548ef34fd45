//! What is known of a live thing, with the evidence.
//!
//! Absence needs evidence: an error is never read as "does not exist". So there is no `Option` here, and no
//! conversion to one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The outcome of looking at a live thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "observation", rename_all = "camelCase")]
pub enum Observation<T> {
    /// It was seen.
    Present {
        /// What was seen.
        value: T,
    },
    /// Whoever would know said that it is not there.
    Absent {
        /// Who said so, and how.
        evidence: String,
    },
    /// Whoever knows refused to tell.
    Forbidden {
        /// Who refused, and how.
        evidence: String,
    },
    /// Nobody who knows could be asked.
    Unreachable {
        /// What was tried, and what came of it.
        evidence: String,
    },
}

impl<T> Observation<T> {
    /// The value, if it was seen. `None` is *not* absence: use [`Observation::is_absent`] for that.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Present { value } => Some(value),
            Self::Absent { .. } | Self::Forbidden { .. } | Self::Unreachable { .. } => None,
        }
    }

    /// Whether absence was witnessed.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }

    /// The evidence of what was not seen.
    pub fn evidence(&self) -> Option<&str> {
        match self {
            Self::Present { .. } => None,
            Self::Absent { evidence } | Self::Forbidden { evidence } | Self::Unreachable { evidence } => Some(evidence),
        }
    }

    /// One word for people: `present`, `absent`, `forbidden` or `unreachable`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Present { .. } => "present",
            Self::Absent { .. } => "absent",
            Self::Forbidden { .. } => "forbidden",
            Self::Unreachable { .. } => "unreachable",
        }
    }

    /// The same observation of something derived from the value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Observation<U> {
        match self {
            Self::Present { value } => Observation::Present { value: f(value) },
            Self::Absent { evidence } => Observation::Absent { evidence },
            Self::Forbidden { evidence } => Observation::Forbidden { evidence },
            Self::Unreachable { evidence } => Observation::Unreachable { evidence },
        }
    }

    /// The same observation of something read from the value; what cannot be read was not seen, for the reason given.
    pub fn try_map<U>(self, f: impl FnOnce(T) -> Result<U, String>) -> Observation<U> {
        match self.map(f) {
            Observation::Present { value: Ok(value) } => Observation::Present { value },
            Observation::Absent { evidence } => Observation::Absent { evidence },
            Observation::Forbidden { evidence } => Observation::Forbidden { evidence },
            Observation::Present { value: Err(evidence) } | Observation::Unreachable { evidence } => {
                Observation::Unreachable { evidence }
            }
        }
    }

    /// What is known of a thing that could only have been seen through this one: nothing, for the same reason. That this
    /// one is absent says nothing about the other.
    pub fn unseen<U>(&self) -> Observation<U> {
        let evidence = self.evidence().unwrap_or("it was not told").to_owned();
        match self {
            Self::Forbidden { .. } => Observation::Forbidden { evidence },
            Self::Present { .. } | Self::Absent { .. } | Self::Unreachable { .. } => {
                Observation::Unreachable { evidence }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence() -> String {
        "somebody said so".to_owned()
    }

    #[test]
    fn what_cannot_be_read_was_not_seen() {
        let half = |value: u32| if value.is_multiple_of(2) { Ok(value / 2) } else { Err("it is odd".to_owned()) };
        assert_eq!(Observation::Present { value: 4 }.try_map(half), Observation::Present { value: 2 });
        let odd = Observation::Unreachable { evidence: "it is odd".to_owned() };
        assert_eq!(Observation::Present { value: 3 }.try_map(half), odd);
        let absent = || Observation::Absent { evidence: evidence() };
        assert_eq!(absent().try_map(half), absent(), "what was witnessed stays so");
    }

    #[test]
    fn nothing_is_concluded_from_what_was_not_seen() {
        let unseen = |seen: Observation<u32>| seen.unseen::<u32>();
        let unreachable = Observation::Unreachable { evidence: evidence() };
        assert_eq!(unseen(Observation::Absent { evidence: evidence() }), unreachable);
        assert_eq!(unseen(Observation::Unreachable { evidence: evidence() }), unreachable);
        let forbidden = || Observation::Forbidden { evidence: evidence() };
        assert_eq!(unseen(forbidden()), forbidden());
    }
}
