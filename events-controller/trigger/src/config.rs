//! What a Trigger's process is told: one file of JSON, written by the controller.

use std::{collections::BTreeMap, time::Duration};

use event_bus::wire::Mode;
use event_conditions::Condition;
use event_delivery::{
    deliver::{Destination, Policy},
    duration,
    take::{in_flight, redelivery},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::{Semantics, WINDOW};

/// The file.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Name of the group that takes the events: `<namespace>-<trigger>`.
    pub name: String,
    /// Where the events are.
    pub bus: event_bus::config::Config,
    /// The inputs by the names that conditions have for them.
    pub inputs: BTreeMap<String, Input>,
    /// Who gets events.
    pub subscribers: Vec<Subscriber>,
    /// How long an event counts (GAP-E44).
    #[serde(default = "window", with = "duration")]
    #[schemars(with = "duration::Text")]
    pub window: Duration,
    /// Whether conditions are read as the original does it (goals Q22).
    #[serde(default)]
    pub legacy_semantics: bool,
    /// How many events of a topic may be worked on at one time.
    #[serde(default = "in_flight")]
    pub in_flight: usize,
    /// After how long the bus gives events to another process if this one does not say that it works on them.
    #[serde(default = "redelivery", with = "duration")]
    #[schemars(with = "duration::Text")]
    pub redelivery: Duration,
    /// Whether a Trigger that is new gets what the bus kept before.
    #[serde(default)]
    pub from_the_beginning: bool,
}

fn window() -> Duration {
    WINDOW
}

/// An input of a Trigger.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// Its topic on the bus: `<namespace>-<eventSource>-<event>`.
    pub topic: String,
    /// `inner` if its events have the form of OpenFunction 1.x; the others are told by themselves.
    #[serde(default)]
    pub content_mode: Option<Mode>,
}

/// What a topic is to a Trigger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// Its name on the bus.
    pub name: String,
    /// The inputs that it stands for, by their index.
    pub inputs: Vec<usize>,
    /// Whether its events have the form of OpenFunction 1.x.
    pub is_inner: bool,
}

/// Who gets events, and when.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscriber {
    /// An expression over the names of inputs.
    pub condition: String,
    /// URL that events are sent to.
    #[serde(default)]
    pub sink: Option<String>,
    /// Topic that events are published to.
    #[serde(default)]
    pub topic: Option<String>,
    /// URL that gets what could not be delivered.
    #[serde(default)]
    pub dead_letter_sink: Option<String>,
    /// Topic that gets what could not be delivered.
    #[serde(default)]
    pub dead_letter_topic: Option<String>,
    /// Tries and pauses.
    #[serde(default)]
    pub delivery: Policy,
}

impl Subscriber {
    /// Where its events go.
    pub fn destinations(&self) -> Vec<Destination> {
        Destination::all(self.sink.as_ref(), self.topic.as_ref())
    }

    /// Where those go that could not be delivered.
    pub fn dead_letters(&self) -> Vec<Destination> {
        Destination::all(self.dead_letter_sink.as_ref(), self.dead_letter_topic.as_ref())
    }
}

/// Why a configuration is refused: which subscriber, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("subscribers[{subscriber}].condition: {reason}")]
pub struct Invalid {
    /// Index of the subscriber.
    pub subscriber: usize,
    /// What is wrong with its condition.
    pub reason: event_conditions::Error,
}

impl Config {
    /// The topics.
    pub fn topics(&self) -> Vec<Topic> {
        let mut topics: Vec<Topic> = Vec::new();
        for (index, input) in self.inputs.values().enumerate() {
            let at = topics.iter().position(|topic| topic.name == input.topic).unwrap_or_else(|| {
                topics.push(Topic { name: input.topic.clone(), ..Topic::default() });
                topics.len() - 1
            });
            topics[at].inputs.push(index);
            topics[at].is_inner |= input.content_mode == Some(Mode::Inner);
        }
        topics
    }

    /// The conditions of the subscribers, compiled.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn conditions(&self) -> Result<Vec<Condition>, Invalid> {
        let names: Vec<_> = self.inputs.keys().collect();
        let compile = |(subscriber, of): (usize, &Subscriber)| {
            Condition::compile(&of.condition, &names).map_err(|reason| Invalid { subscriber, reason })
        };
        self.subscribers.iter().enumerate().map(compile).collect()
    }

    /// How conditions are read.
    pub fn semantics(&self) -> Semantics {
        if self.legacy_semantics { Semantics::Legacy } else { Semantics::Matching }
    }
}

#[cfg(test)]
mod schema {
    /// `BLESS=1` writes it.
    #[test]
    fn of_the_documentation_is_this_one() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/event-trigger.schema.json");
        let schema = event_delivery::process::schema::<super::Config>() + "\n";
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(file, &schema).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap_or_default(), schema);
    }
}
