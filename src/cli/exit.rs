//! How the program ends.

/// Exit codes. They are part of the interface: a code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; with `plan --detailed-exitcode`, nothing would change.
    Ok = 0,
    /// It failed in a way that has no code of its own.
    Failure = 1,
    /// `plan --detailed-exitcode`: something would change.
    Changes = 2,
    /// The command line is wrong.
    Usage = 3,
    /// The definition has errors.
    InvalidDefinition = 4,
    /// The API server or the git server could not be reached.
    Unreachable = 5,
    /// A server refused what was asked of it.
    Unauthorised = 6,
    /// A gate stops what was asked for.
    Blocked = 7,
    /// The time given was not enough.
    Timeout = 8,
}

impl Exit {
    /// Every code with its meaning, for `--help`.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Ok, "done; for plan --detailed-exitcode: nothing would change"),
        (Self::Failure, "failed, and no other code fits"),
        (Self::Changes, "plan --detailed-exitcode: something would change"),
        (Self::Usage, "the command line is wrong"),
        (Self::InvalidDefinition, "the definition has errors"),
        (Self::Unreachable, "the API server or the git server cannot be reached"),
        (Self::Unauthorised, "a server refuses access"),
        (Self::Blocked, "a gate stops a step: the plan says which and why"),
        (Self::Timeout, "not done within --timeout"),
    ];

    /// The number that the system gets.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_listed_in_order() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, (0..9).collect::<Vec<u8>>());
    }
}
