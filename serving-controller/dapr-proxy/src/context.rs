//! What of a function's context the proxy reads: its triggers (core-behaviour §5.6).

use serde::{Deserialize, Serialize};

/// The context of a function.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct FunctionContext {
    #[serde(default)]
    triggers: Triggers,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Triggers {
    #[serde(default)]
    dapr: Vec<Trigger>,
}

/// What Dapr calls the function for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// Name of the component.
    pub name: String,
    /// Type of the component.
    #[serde(rename = "type", default)]
    type_: String,
    /// Topic of a pub/sub component.
    #[serde(default)]
    pub topic: String,
    /// Topic for events that were given up.
    pub dead_letter_topic: Option<String>,
    /// Several events in one call.
    pub bulk_subscribe: Option<BulkSubscribe>,
}

/// How many events come in one call; absent is Dapr's default.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkSubscribe {
    /// Most events in one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_messages_count: Option<i32>,
    /// Milliseconds for which more of them are waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_await_duration_ms: Option<i32>,
}

impl FunctionContext {
    fn of(&self, block: &str) -> impl Iterator<Item = &Trigger> {
        let is_of = format!("{block}.");
        self.triggers.dapr.iter().filter(move |trigger| trigger.type_.starts_with(&is_of))
    }

    /// Names of the input bindings.
    pub fn bindings(&self) -> Vec<String> {
        let mut names: Vec<_> = self.of("bindings").map(|trigger| trigger.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The topics that the function subscribes to.
    pub fn topics(&self) -> impl Iterator<Item = &Trigger> {
        self.of("pubsub")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_and_topics_are_told_apart_by_their_types() {
        let text = r#"{"name":"f","version":"v1","triggers":{"dapr":[
            {"name":"f-bindings-tick-1","type":"bindings.cron","inputName":"a"},
            {"name":"f-pubsub-bus-1","type":"pubsub.redis","topic":"paid","deadLetterTopic":"unpaid","retry":{"maxRetries":3}},
            {"name":"f-state-s-1","type":"state.redis"}]}}"#;
        let context: FunctionContext = serde_json::from_str(text).unwrap();
        assert_eq!(context.bindings(), ["f-bindings-tick-1"]);
        let topics: Vec<_> = context.topics().map(|topic| (topic.name.as_str(), topic.topic.as_str())).collect();
        assert_eq!(topics, [("f-pubsub-bus-1", "paid")]);
        assert_eq!(context.topics().next().unwrap().dead_letter_topic.as_deref(), Some("unpaid"));
        assert!(serde_json::from_str::<FunctionContext>("{}").unwrap().bindings().is_empty());
    }
}
