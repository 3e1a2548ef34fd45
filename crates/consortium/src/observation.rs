//! What is known of a live thing, with the evidence.
//!
//! Absence needs evidence: an error is never read as "does not exist". So there is no `Option` here, and no
//! conversion to one.

use serde::{Deserialize, Serialize};

/// The outcome of looking at a live thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}
