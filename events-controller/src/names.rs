//! Names of what is made of EventSources and Triggers (events §5).

use controller_runtime::names::{DNS_LABEL, child, hash};

/// Label of the handlers of an EventSource, with its name.
pub const OF_SOURCE: &str = "controlled-by-eventsource";
/// Label of the handler of a Trigger, with its name.
pub const OF_TRIGGER: &str = "controlled-by-trigger";
/// Label of every handler.
pub const MANAGED: &str = "openfunction.io/managed";

/// The topic of an event on the bus (BUG-E11: several events may have one).
pub fn topic(namespace: &str, source: &str, event: &str) -> String {
    format!("{namespace}-{source}-{event}")
}

/// The Function that takes the events of one entry of an EventSource.
pub fn source_handler(source: &str, kind: &str, event: &str) -> String {
    label(&format!("esw-{source}-{kind}-{event}"))
}

/// The Function that runs a Trigger.
pub fn trigger_handler(trigger: &str) -> String {
    label(&format!("t-{trigger}"))
}

/// What a broker knows the consumers of one entry of an EventSource by. It has the name of the EventSource: two of them
/// with one event name must not share their messages (BUG-E33).
pub fn source_group(namespace: &str, source: &str, kind: &str, event: &str) -> String {
    format!("{namespace}-{source}-{kind}-{event}")
}

/// A name as a label of DNS, which a Function must have, and as the value of a label: what does not fit is marked with a
/// hash.
pub fn label(name: &str) -> String {
    let is_allowed = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let plain = name.to_ascii_lowercase().replace(|character| !is_allowed(character), "-");
    let plain = plain.trim_matches('-');
    if plain == name && name.len() <= DNS_LABEL {
        return name.to_owned();
    }
    child(plain, &hash(&name)[..6], DNS_LABEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_original_are_kept() {
        assert_eq!(topic("default", "my-es", "sample-one"), "default-my-es-sample-one");
        assert_eq!(source_handler("my-es", "kafka", "sample-one"), "esw-my-es-kafka-sample-one");
        assert_eq!(trigger_handler("my-trigger"), "t-my-trigger");
    }

    #[test]
    fn a_name_that_no_function_can_have_is_made_one_that_it_can_and_stays_apart() {
        let names =
            ["t-a.b", "t-a-b.", "t-A-b", "t-a_b", &format!("t-{}", "a".repeat(80)), &format!("t-{}", "a".repeat(81))];
        let labels: std::collections::BTreeSet<_> = names.iter().map(|name| label(name)).collect();
        assert_eq!(labels.len(), names.len(), "{labels:?}");
        for made in labels {
            assert!(made.len() <= DNS_LABEL && made.starts_with("t-") && !made.ends_with('-'), "{made}");
            assert!(made.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{made}");
        }
    }
}
