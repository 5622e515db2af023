//! Pauses that grow.

use std::time::Duration;

/// Longest pause between two tries of the same thing.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The pause after so many failures in a row before this one: `first`, doubled with each, at most [`LONGEST_PAUSE`].
pub(crate) fn pause(first: Duration, before: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(before)).min(LONGEST_PAUSE)
}
