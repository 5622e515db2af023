//! Scaling of handlers by what waits for them.

use event_bus::{jetstream, kafka::Mechanism};
use openfunction_proto::{
    core::{AdvancedConfig, KedaScaleOptions, KedaScaledObject, KedaTrigger, ScaleOptions, ScaledObjectAuthRef},
    events::{KafkaScaleOption, NatsStreamingScaleOption},
};
use serde_json::Value;

use crate::problem::Problem;

/// Replicas that KEDA allows unless it is said.
const MOST: i32 = 100;

/// A handler that is always one.
pub fn one() -> ScaleOptions {
    ScaleOptions { min_replicas: Some(1), max_replicas: Some(1), ..ScaleOptions::default() }
}

/// What a scale option of each kind has.
struct Common<'a> {
    polling_interval: Option<i32>,
    cooldown_period: Option<i32>,
    min: Option<i32>,
    max: Option<i32>,
    advanced: Option<&'a Value>,
}

/// Both kinds of options have it under the same names.
macro_rules! common {
    ($option:expr) => {
        Common {
            polling_interval: $option.polling_interval,
            cooldown_period: $option.cooldown_period,
            min: $option.min_replica_count,
            max: $option.max_replica_count,
            advanced: $option.advanced.as_ref(),
        }
    };
}

impl Common<'_> {
    /// `path` is that of the scale option, for the message; `most` bounds the replicas.
    fn options(self, triggers: Vec<KedaTrigger>, path: &str, most: Option<i32>) -> Result<ScaleOptions, Problem> {
        let advanced: Option<AdvancedConfig> = self
            .advanced
            .cloned()
            .map(serde_json::from_value)
            .transpose()
            .map_err(|error| Problem::configuration(format!("{path}.advanced: Invalid value: {error}")))?;
        let max = self.max.unwrap_or(MOST).min(most.unwrap_or(i32::MAX));
        let min = self.min.unwrap_or(0);
        if min > max && most.is_none() {
            return Err(Problem::configuration(format!(
                "{path}.minReplicaCount: Invalid value: {min}: must not be more than maxReplicaCount, {max}"
            )));
        }
        let scaled_object = KedaScaledObject {
            polling_interval: self.polling_interval,
            cooldown_period: self.cooldown_period,
            advanced,
            ..KedaScaledObject::default()
        };
        Ok(ScaleOptions {
            min_replicas: Some(min.min(max)),
            max_replicas: Some(max),
            keda: Some(KedaScaleOptions {
                scaled_object: Some(scaled_object),
                triggers,
                ..KedaScaleOptions::default()
            }),
            ..ScaleOptions::default()
        })
    }
}

fn trigger(
    type_: &str,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
    further: &std::collections::BTreeMap<String, String>,
    auth: Option<&ScaledObjectAuthRef>,
) -> KedaTrigger {
    let mut all = further.clone();
    all.extend(metadata.into_iter().map(|(name, value)| (name.to_owned(), value)));
    KedaTrigger { type_: type_.to_owned(), metadata: all, authentication_ref: auth.cloned(), ..KedaTrigger::default() }
}

/// KEDA's name of a mechanism of SASL.
pub fn sasl(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Plain => "plaintext",
        Mechanism::ScramSha256 => "scram_sha256",
        Mechanism::ScramSha512 => "scram_sha512",
    }
}

/// As whom topics of Kafka are read.
#[derive(Clone, Copy)]
pub enum Group<'a> {
    /// As another for each topic, whose name is appended.
    OfEach(&'a str),
    /// As one: a component of Dapr has one group.
    OfAll(&'a str),
}

impl Group<'_> {
    fn of(self, topic: &str) -> String {
        match self {
            Self::OfEach(group) => format!("{group}-{topic}"),
            Self::OfAll(group) => group.to_owned(),
        }
    }
}

/// Topics of Kafka and the group that reads them.
pub struct KafkaReader<'a> {
    /// Addresses of the brokers.
    pub brokers: &'a str,
    /// The topics.
    pub topics: &'a [String],
    /// As whom they are read.
    pub group: Group<'a>,
    /// How the brokers are spoken to: KEDA's names of `sasl` and `tls`.
    pub sasl: Option<&'static str>,
    /// Whether TLS is spoken.
    pub tls: bool,
}

/// Scaling by what waits in topics of Kafka (BUG-E12, BUG-E13, BUG-E16).
///
/// # Errors
/// Something in the option is wrong.
pub fn by_kafka(
    option: &KafkaScaleOption,
    reader: &KafkaReader,
    path: &str,
    most: Option<i32>,
) -> Result<ScaleOptions, Problem> {
    let watched = match &option.topic {
        Some(topic) => std::slice::from_ref(topic),
        None => reader.topics,
    };
    let triggers = watched.iter().map(|topic| {
        let group = option.consumer_group.clone().unwrap_or_else(|| reader.group.of(topic));
        let connection = [("sasl", reader.sasl), ("tls", reader.tls.then_some("enable"))];
        let metadata = [
            ("bootstrapServers", reader.brokers.to_owned()),
            ("topic", topic.clone()),
            ("consumerGroup", group),
            ("lagThreshold", option.lag_threshold.clone()),
        ];
        let connection = connection.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned())));
        trigger("kafka", metadata.into_iter().chain(connection), &option.metadata, option.auth_ref.as_ref())
    });
    common!(option).options(triggers.collect(), path, most)
}

/// Scaling by what waits in topics of JetStream, each of which is watched (BUG-E15).
///
/// # Errors
/// Something in the option is wrong.
pub fn by_jetstream(
    option: &NatsStreamingScaleOption,
    (topics, group, stream): (&[String], &str, Option<&str>),
    path: &str,
    most: Option<i32>,
) -> Result<ScaleOptions, Problem> {
    let triggers = topics.iter().map(|topic| {
        let metadata = [
            ("natsServerMonitoringEndpoint", option.nats_server_monitoring_endpoint.clone()),
            ("stream", jetstream::stream_name(stream, topic)),
            ("consumer", jetstream::durable_name(group, topic)),
            ("lagThreshold", option.lag_threshold.clone()),
        ];
        let account = option.metadata.get("account").cloned().unwrap_or_else(|| "$G".to_owned());
        let metadata = metadata.into_iter().chain([("account", account)]);
        trigger("nats-jetstream", metadata, &option.metadata, option.auth_ref.as_ref())
    });
    common!(option).options(triggers.collect(), path, most)
}
