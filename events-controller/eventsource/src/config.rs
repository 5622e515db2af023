//! What an EventSource's process is told: one file of JSON, written by the controller.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use event_bus::{files::Content, kafka, redis};
use event_delivery::{
    deliver::{Destination, Policy},
    duration,
    take::{in_flight, redelivery},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cron::Schedule;

/// The file.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// `<namespace>-<eventSource>`: what groups of consumers are named after.
    pub name: String,
    /// `source` of events that do not bring their own: a URI reference of the EventSource.
    pub source: String,
    /// Where events go, each to its topic.
    #[serde(default)]
    pub bus: Option<event_bus::config::Config>,
    /// URL that all events are sent to.
    #[serde(default)]
    pub sink: Option<String>,
    /// URL that gets what could not be delivered.
    #[serde(default)]
    pub dead_letter_sink: Option<String>,
    /// Topic that gets what could not be delivered.
    #[serde(default)]
    pub dead_letter_topic: Option<String>,
    /// Tries and pauses of the sink. A bus is waited for.
    #[serde(default)]
    pub delivery: Policy,
    /// Where webhooks are listened for, if there are any.
    #[serde(default = "webhook_address")]
    pub webhook_address: SocketAddr,
    /// How many events of an origin may be worked on at one time.
    #[serde(default = "in_flight")]
    pub in_flight: usize,
    /// After how long a broker gives events to another process if this one does not say that it works on them.
    #[serde(default = "redelivery", with = "duration")]
    #[schemars(with = "duration::Text")]
    pub redelivery: Duration,
    /// Whether an EventSource that is new gets what brokers kept before.
    #[serde(default)]
    pub from_the_beginning: bool,
    /// Events by their names.
    pub events: BTreeMap<String, EventConfig>,
}

fn webhook_address() -> SocketAddr {
    ([0_u16; 8], 8081).into()
}

/// One event.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventConfig {
    /// Its topic on the bus: `<namespace>-<eventSource>-<event>`.
    #[serde(default)]
    pub topic: Option<String>,
    /// Where it happens.
    pub from: From,
}

/// Where events happen.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum From {
    /// Topics of Kafka.
    Kafka(Kafka),
    /// A stream of Redis.
    RedisStream(RedisKey),
    /// A list of Redis, to whose left end others push.
    RedisList(RedisKey),
    /// A schedule.
    Cron(Cron),
    /// A topic filter of MQTT.
    Mqtt(Mqtt),
    /// HTTP requests.
    Webhook(Webhook),
    /// Webhooks of GitHub.
    GitHub(Webhook),
    /// Webhooks of GitLab.
    GitLab(Webhook),
    /// Notifications of an S3-compatible server that come by webhook, as MinIO sends them.
    S3(Webhook),
}

/// Topics of Kafka.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kafka {
    /// Where it is.
    pub server: kafka::Config,
    /// Topics, at least one.
    pub topics: Vec<String>,
    /// Group of consumers; the topic is appended.
    pub group: String,
}

/// A key of Redis.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisKey {
    /// Where it is.
    pub server: redis::Config,
    /// The key.
    pub key: String,
    /// Group of consumers.
    pub group: String,
}

/// A schedule.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cron {
    /// Five or six fields, or `@every 1h30m`, `@daily` and the like.
    pub schedule: String,
    /// Time zone, such as `Europe/Vienna`; UTC if it is absent.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// How late the last event that was missed may be made up for; 0 does not. (`startingDeadlineSeconds` of a CronJob)
    #[serde(default, with = "duration")]
    #[schemars(with = "duration::Text")]
    pub starting_deadline: Duration,
}

/// A topic filter of MQTT.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mqtt {
    /// `tcp://host:1883`, or `ssl://host:8883` with TLS.
    pub url: String,
    /// Topic filter.
    pub topic: String,
    /// Identifier at the broker, which keeps what comes while this process is away.
    pub client_id: String,
    /// Version of the protocol.
    #[serde(default)]
    pub version: MqttVersion,
    /// Quality of service: below 1 what comes while this process is away is lost.
    #[serde(default = "at_least_once")]
    pub qos: u8,
    /// Whether what was retained for the topic is wanted.
    #[serde(default)]
    pub retain: bool,
    /// Whether the broker forgets the session at the end of a connection, and what comes until the next.
    #[serde(default)]
    pub clean_session: bool,
    /// Whether TLS is spoken, whatever the URL says.
    #[serde(default)]
    pub tls: bool,
    /// Name at the broker.
    #[serde(default)]
    pub username: Option<String>,
    /// Password.
    #[serde(default)]
    pub password: Option<Content>,
    /// Certificates of authorities that are trusted, instead of those of the system.
    #[serde(default)]
    pub ca: Option<Content>,
    /// Certificate that shows who we are.
    #[serde(default)]
    pub certificate: Option<Content>,
    /// Key of the certificate.
    #[serde(default)]
    pub key: Option<Content>,
}

fn at_least_once() -> u8 {
    1
}

/// Versions of MQTT.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub enum MqttVersion {
    /// 3.1.1
    #[default]
    #[serde(rename = "3.1.1")]
    V3,
    /// 5
    #[serde(rename = "5")]
    V5,
}

/// Requests of HTTP.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Path; absent is `/<event>`.
    #[serde(default)]
    pub path: Option<String>,
    /// What signatures of GitHub are made with, what GitLab sends as a token, and what others send as
    /// `Authorization: Bearer`. Without one anybody may send events.
    #[serde(default)]
    pub secret: Option<Content>,
}

impl From {
    /// The webhook, if it is one.
    pub fn webhook(&self) -> Option<&Webhook> {
        match self {
            Self::Webhook(hook) | Self::GitHub(hook) | Self::GitLab(hook) | Self::S3(hook) => Some(hook),
            _ => None,
        }
    }

    /// What `type` of its events begins with, where they have none of their own.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka",
            Self::RedisStream(_) | Self::RedisList(_) => "redis",
            Self::Cron(_) => "cron",
            Self::Mqtt(_) => "mqtt",
            Self::Webhook(_) => "webhook",
            Self::GitHub(_) => "github",
            Self::GitLab(_) => "gitlab",
            Self::S3(_) => "s3",
        }
    }
}

/// Why a configuration is refused: the field, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// The field.
    pub field: String,
    /// What is wrong, and what is allowed.
    pub reason: String,
}

impl Config {
    /// Where the events of a name go.
    pub fn destinations(&self, event: &EventConfig) -> Vec<Destination> {
        Destination::all(self.sink.as_ref(), event.topic.as_ref().filter(|_| self.bus.is_some()))
    }

    /// Where those go that could not be delivered.
    pub fn dead_letters(&self) -> Vec<Destination> {
        Destination::all(self.dead_letter_sink.as_ref(), self.dead_letter_topic.as_ref())
    }

    /// The path of a webhook.
    pub fn path(name: &str, hook: &Webhook) -> String {
        hook.path.clone().unwrap_or_else(|| format!("/{name}"))
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), Invalid> {
        let invalid = |field: String, reason: String| Err(Invalid { field, reason });
        if self.dead_letter_topic.is_some() && self.bus.is_none() {
            return invalid("deadLetterTopic".to_owned(), "Invalid value: there is no bus".to_owned());
        }
        let mut paths = BTreeMap::new();
        for (name, event) in &self.events {
            let field = |of: &str| format!("events[{name:?}].{of}");
            if self.destinations(event).is_empty() {
                return invalid(
                    field("topic"),
                    "Required value: there is neither a sink nor a bus with a topic".into(),
                );
            }
            match &event.from {
                From::Kafka(kafka) if kafka.topics.is_empty() => {
                    return invalid(field("from.kafka.topics"), "Required value".into());
                }
                From::Cron(cron) => {
                    let wrong =
                        |Invalid { field: of, reason }| Invalid { field: field(&format!("from.cron.{of}")), reason };
                    Schedule::parse(cron).map_err(wrong)?;
                }
                From::Mqtt(mqtt) if mqtt.qos > 2 => {
                    return invalid(field("from.mqtt.qos"), format!("Invalid value: {}: must be 0, 1 or 2", mqtt.qos));
                }
                _ => {}
            }
            if let Some(hook) = event.from.webhook() {
                let path = Self::path(name, hook);
                if !path.starts_with('/') || path.contains(['{', '}', '?', '#']) {
                    return invalid(field("from.path"), format!("Invalid value: {path:?}: must be an absolute path"));
                }
                if let Some(other) = paths.insert(path.clone(), name) {
                    return invalid(field("from.path"), format!("Duplicate value: {path:?} is that of {other:?}"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod schema {
    /// `BLESS=1` writes it.
    #[test]
    fn of_the_documentation_is_this_one() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/event-source.schema.json");
        let schema = event_delivery::process::schema::<super::Config>() + "\n";
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(file, &schema).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap_or_default(), schema);
    }
}
