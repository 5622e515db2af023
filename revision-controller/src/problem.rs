//! Why nothing is known of a repository or an image.

use std::{fmt, time::Duration};

/// Why a look, or what is needed for one, failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Reason of the condition, one word, and label of the metric.
    pub reason: &'static str,
    /// A sentence for people, without any credential.
    pub message: String,
    /// How long the server wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// A parameter or field means nothing.
pub const INVALID: &str = "InvalidParameters";
/// The Secret is missing, or has not what is needed.
pub const CREDENTIALS: &str = "CredentialsUnusable";
/// The server wants other credentials.
pub const UNAUTHORIZED: &str = "Unauthorized";
/// There is no such repository, branch, tag or image.
pub const NOT_FOUND: &str = "NotFound";
/// The server has had enough for now.
pub const RATE_LIMITED: &str = "RateLimited";
/// The server does not answer.
pub const UNREACHABLE: &str = "Unreachable";
/// The server answers something else.
pub const UNEXPECTED: &str = "UnexpectedAnswer";
/// The address is one that nobody may make this controller ask.
pub const NOT_ALLOWED: &str = "AddressNotAllowed";

impl Problem {
    /// A problem.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None }
    }

    /// The server answers something else.
    pub fn unexpected(message: impl Into<String>) -> Self {
        Self::new(UNEXPECTED, message)
    }

    /// Whether the server answers nobody now.
    pub fn is_outage(&self) -> bool {
        [RATE_LIMITED, UNREACHABLE].contains(&self.reason)
    }

    /// Whether the server itself is in trouble, so that it should be asked less often.
    pub fn is_of_server(&self) -> bool {
        [RATE_LIMITED, UNREACHABLE, UNEXPECTED, UNAUTHORIZED].contains(&self.reason)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
