//! Standard conditions.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest message of a condition that the API server takes.
const MAX_MESSAGE: usize = 32_768;

/// A condition that was decided; when it changed is filled in by [`set`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewCondition {
    /// Type, for example `Ready`.
    pub type_: &'static str,
    /// Whether the condition holds; `None` means `Unknown`.
    pub status: Option<bool>,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence for people; may be empty.
    pub message: String,
}

impl NewCondition {
    /// The condition holds.
    pub fn true_(type_: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_, status: Some(true), reason: reason.into(), message: message.into() }
    }

    /// The condition does not hold.
    pub fn false_(type_: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_, status: Some(false), reason: reason.into(), message: message.into() }
    }

    /// It is not known whether the condition holds.
    pub fn unknown(type_: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_, status: None, reason: reason.into(), message: message.into() }
    }
}

/// The condition to write, given the conditions that stand now: `lastTransitionTime` moves only with the status, so
/// that writing the same again changes nothing.
pub fn next(now_standing: &[Condition], new: NewCondition, generation: Option<i64>, now: Timestamp) -> Condition {
    let status = match new.status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let since =
        find(now_standing, new.type_).filter(|old| old.status == status).map(|old| old.last_transition_time.clone());
    let mut message = new.message;
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    }
    Condition {
        type_: new.type_.to_owned(),
        status: status.to_owned(),
        reason: new.reason,
        message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    }
}

/// Puts a condition into a list, in the place of the one of its type.
pub fn set(conditions: &mut Vec<Condition>, new: NewCondition, generation: Option<i64>, now: Timestamp) {
    let next = next(conditions, new, generation, now);
    match conditions.iter_mut().find(|c| c.type_ == next.type_) {
        Some(place) => *place = next,
        None => conditions.push(next),
    }
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether a condition is True and speaks of this generation.
pub fn is_true(conditions: &[Condition], type_: &str, generation: Option<i64>) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == "True" && c.observed_generation == generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        set(&mut conditions, NewCondition::false_("Ready", "Starting", "1 of 2"), Some(1), at(10));
        set(&mut conditions, NewCondition::false_("Ready", "Starting", "2 of 2"), Some(2), at(20));
        assert_eq!((conditions[0].last_transition_time.0, conditions[0].message.as_str()), (at(10), "2 of 2"));
        set(&mut conditions, NewCondition::true_("Ready", "Running", ""), Some(2), at(30));
        assert_eq!((conditions.len(), conditions[0].last_transition_time.0), (1, at(30)));
    }

    #[test]
    fn a_condition_of_an_older_generation_is_not_true() {
        let mut conditions = Vec::new();
        set(&mut conditions, NewCondition::true_("Ready", "Running", ""), Some(1), at(1));
        assert!(is_true(&conditions, "Ready", Some(1)));
        assert!(!is_true(&conditions, "Ready", Some(2)));
    }

    #[test]
    fn a_message_that_is_too_long_is_cut_at_a_character() {
        let condition = next(&[], NewCondition::unknown("Ready", "R", "ä".repeat(20_000)), None, at(1));
        assert_eq!(condition.message.len(), MAX_MESSAGE);
    }
}
