//! How the program ends.

/// Ways to end. Their codes are part of the interface: a code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; with `diff` and `plan --detailed-exitcode`, nothing would change.
    Ok,
    /// It failed in a way that has no code of its own.
    Failure,
    /// `diff`: something would change. The same code as [`Exit::Failure`], as `diff(1)` has it.
    Differs,
    /// `plan --detailed-exitcode`: something would change.
    Changes,
    /// `diff` failed in a way that has no code of its own. The same code as [`Exit::Changes`].
    DiffFailed,
    /// The command line is wrong.
    Usage,
    /// The definition has errors.
    InvalidDefinition,
    /// The API server or the git server could not be reached.
    Unreachable,
    /// A server refused what was asked of it.
    Unauthorised,
    /// A gate stops what was asked for, or something of the definition is refused.
    Blocked,
    /// The time given was not enough.
    Timeout,
}

impl Exit {
    /// Every code with its meaning, for `--help`.
    pub const ALL: [(u8, &'static str); 9] = [
        (Self::Ok.code(), "done; for diff and plan --detailed-exitcode: nothing would change"),
        (Self::Failure.code(), "failed, and no other code fits; for diff: something would change"),
        (
            Self::Changes.code(),
            "plan --detailed-exitcode: something would change; for diff: failed, and no other code fits",
        ),
        (Self::Usage.code(), "the command line is wrong"),
        (Self::InvalidDefinition.code(), "the definition has errors"),
        (Self::Unreachable.code(), "the API server or the git server cannot be reached"),
        (Self::Unauthorised.code(), "a server refuses access"),
        (Self::Blocked.code(), "a gate stops a step, or the plan has an error: it says which and why"),
        (Self::Timeout.code(), "not done within --timeout"),
    ];

    /// The number that the system gets.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure | Self::Differs => 1,
            Self::Changes | Self::DiffFailed => 2,
            Self::Usage => 3,
            Self::InvalidDefinition => 4,
            Self::Unreachable => 5,
            Self::Unauthorised => 6,
            Self::Blocked => 7,
            Self::Timeout => 8,
        }
    }

    /// How `diff` says it: as `diff(1)` does, 1 is a difference and what failed is more.
    pub const fn of_diff(self) -> Self {
        match self {
            Self::Changes => Self::Differs,
            Self::Failure => Self::DiffFailed,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_listed_in_order() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, (0..9).collect::<Vec<u8>>());
    }

    #[test]
    fn diff_tells_a_difference_from_a_failure() {
        assert_eq!(Exit::Changes.of_diff().code(), 1);
        assert_eq!(Exit::Failure.of_diff().code(), 2);
        assert_eq!(Exit::Unreachable.of_diff(), Exit::Unreachable);
    }
}
