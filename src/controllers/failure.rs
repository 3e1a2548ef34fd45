//! A step of a reconciliation that did not succeed.

use std::error::Error as _;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;

/// Why a reconciliation stopped. It becomes the `Ready` condition's reason and message, so both are for people.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The failed step, CamelCase, for example `ReadSecret`.
    pub reason: String,
    /// What happened to what, and what to do next.
    pub message: String,
    /// Whether it is of no use to try again before somebody changes something.
    pub terminal: bool,
    /// What kind of thing happened.
    pub cause: Cause,
}

/// Kinds of failures, for who must tell them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// None of the others.
    #[default]
    Other,
    /// The API server refuses access.
    Refused,
    /// The API server could not be reached, or the connection was lost.
    Unreachable,
}

impl Cause {
    /// What a client error is of.
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 401 || status.is_forbidden() => Self::Refused,
            kube::Error::Auth(_) => Self::Refused,
            kube::Error::Api(_) => Self::Other,
            _ => Self::Unreachable,
        }
    }
}

impl Failure {
    /// A failure that may pass by itself.
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), terminal: false, cause: Cause::Other }
    }

    /// A failure that stays until somebody changes something.
    pub fn terminal(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { terminal: true, ..Self::new(reason, message) }
    }

    /// What came of an attempt that may panic, as a failure of that attempt alone: a bug that one object or commit brings out
    /// must not end the daemon, and with it everything else's upkeep. `what` is an attempt: `the reconciliation`.
    pub fn caught<T>(
        what: &'static str,
        attempt: impl Future<Output = Result<T, Self>>,
    ) -> impl Future<Output = Result<T, Self>> {
        // Boxed: it is the largest thing that a task holds, and would be moved around.
        AssertUnwindSafe(Box::pin(attempt)).catch_unwind().map(move |caught| {
            caught.unwrap_or_else(|_| {
                let message = format!("{what} panicked; the daemon's log has the place: report it as a bug");
                Err(Self::new("Panicked", message))
            })
        })
    }

    /// The API server did not do what was asked of it. `what` says what, for example `read Secret acme/ca-tls`.
    pub fn kube(reason: impl Into<String>, what: impl Display, error: &kube::Error) -> Self {
        let next = match error {
            kube::Error::Api(status) if status.is_forbidden() => {
                "; grant the daemon's service account this verb (deploy/ holds the role that it needs)"
            }
            _ => "",
        };
        Self { cause: Cause::of(error), ..Self::new(reason, format!("could not {what}: {}{next}", describe(error))) }
    }
}

/// A client error in one line, without the debug form that its own message carries.
pub fn describe(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("the API server answered {} {}: {}", status.code, status.reason, status.message);
    }
    // An error's message and its source's are often the same text here: show each once.
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let failed =
            Failure::caught("the look", async { if true { panic!("on purpose") } else { Ok(()) } }).await.unwrap_err();
        assert_eq!(failed.reason, "Panicked");
        assert!(Failure::caught("the look", async { Ok(()) }).await.is_ok());
    }

    #[test]
    fn forbidden_names_the_way_out() {
        let status = Status::failure("secrets is forbidden", "Forbidden").with_code(403).boxed();
        let failure = Failure::kube("ReadSecret", "read Secret a/b", &kube::Error::Api(status));
        assert_eq!(
            failure.message,
            "could not read Secret a/b: the API server answered 403 Forbidden: secrets is forbidden; grant the \
             daemon's service account this verb (deploy/ holds the role that it needs)"
        );
        assert_eq!(failure.cause, Cause::Refused);
    }

    #[test]
    fn the_kind_of_a_failure_is_not_read_from_its_text() {
        let api = |code| kube::Error::Api(Status::failure("pod 403 is not there", "Reason").with_code(code).boxed());
        let cause = |error: &kube::Error| Failure::kube("Read", "read it", error).cause;
        assert_eq!(cause(&api(401)), Cause::Refused);
        assert_eq!(cause(&api(500)), Cause::Other);
        assert_eq!(cause(&kube::Error::Service("connection reset".into())), Cause::Unreachable);
        assert_eq!(Failure::terminal("Wrong", "403").cause, Cause::Other);
    }
}
