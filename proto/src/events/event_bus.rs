//! EventBus and ClusterEventBus: what carries events from sources to triggers.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EventsCondition, KafkaScaleOption, SecretKeySelector, Tls};
use crate::core::ScaledObjectAuthRef;

/// What became of an event bus. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventBusStatus {
    /// One condition of each type; the last one is the summary that `kubectl get` shows.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<EventsCondition>,
    /// Generation of the object that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// An EventBus carries the events of the EventSources and Triggers of its namespace that name it.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "events.openfunction.io",
    version = "v1alpha1",
    kind = "EventBus",
    plural = "eventbuses",
    shortname = "eb",
    namespaced,
    status = "EventBusStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[-1].type"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.natsStreaming), has(self.jetStream), has(self.kafka), has(self.redisStreams)].filter(set, set).size() <= 1")
        .reason(Reason::FieldValueInvalid).message("specify at most one of natsStreaming, jetStream, kafka and redisStreams"),
)]
pub struct EventBusSpec {
    /// Kept for compatibility; the topics of a bus are made from namespace, EventSource and event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Deprecated: NATS Streaming is out of support. The settings are mapped to JetStream on the same URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats_streaming: Option<NatsStreaming>,
    /// A bus on NATS JetStream. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jet_stream: Option<JetStream>,
    /// A bus on Kafka. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaBus>,
    /// A bus on Redis Streams. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_streams: Option<RedisStreams>,
}

/// A ClusterEventBus is used by every EventSource and Trigger that names it and has no EventBus of that name in its namespace.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "events.openfunction.io",
    version = "v1alpha1",
    kind = "ClusterEventBus",
    plural = "clustereventbuses",
    shortname = "ceb",
    status = "EventBusStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[-1].type"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterEventBusSpec {
    /// The settings of an EventBus.
    #[serde(flatten)]
    pub bus: EventBusSpec,
}

/// A bus on NATS Streaming.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NatsStreaming {
    /// URL of the NATS server, for example `nats://nats.default:4222`.
    #[schemars(length(min = 1, max = 2048))]
    #[serde(rename = "natsURL")]
    pub nats_url: String,
    /// Identifier of the NATS Streaming cluster; JetStream has none.
    #[serde(rename = "natsStreamingClusterID")]
    pub nats_streaming_cluster_id: String,
    /// `topic` gives every subscriber every event, `queue` shares them out.
    pub subscription_type: String,
    /// Name of the durable subscription.
    pub durable_subscription_name: String,
    /// Time after which an event that was not acknowledged is sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_wait_time: Option<String>,
    /// How many events may wait for their acknowledgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<i64>,
    /// Starts with events that come after the subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliver_new: Option<bool>,
    /// Starts with the event of this sequence number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_at_sequence: Option<i64>,
    /// Starts with the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_with_last_received: Option<bool>,
    /// Starts with the first event that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliver_all: Option<bool>,
    /// Starts with events of this length of time before now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_at_time_delta: Option<String>,
    /// Starts with events of this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_at_time: Option<String>,
    /// How `startAtTime` is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_at_time_format: Option<String>,
    /// Identifier of the consumer.
    #[serde(rename = "consumerID", skip_serializing_if = "Option::is_none")]
    pub consumer_id: Option<String>,
    /// How the handlers of Triggers are scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_option: Option<NatsStreamingScaleOption>,
}

/// How the handlers of Triggers on a NATS bus are scaled.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NatsStreamingScaleOption {
    /// Address of the NATS server's monitoring port, `host:port`.
    pub nats_server_monitoring_endpoint: String,
    /// Without effect: that of the handler is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_group: Option<String>,
    /// Without effect: that of the handler is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable_name: Option<String>,
    /// Without effect: every topic that is read is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Events that may wait for each replica.
    #[schemars(length(max = 32))]
    pub lag_threshold: String,
    /// Seconds between two looks at the lag.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<i32>,
    /// Seconds without activity before scaling to zero.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<i32>,
    /// Lower bound of replicas.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replica_count: Option<i32>,
    /// Upper bound of replicas.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replica_count: Option<i32>,
    /// Settings of the HorizontalPodAutoscaler that KEDA makes.
    #[schemars(schema_with = "crate::schema::object")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advanced: Option<Value>,
    /// Further settings of the scaler.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Credentials for the scaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_ref: Option<ScaledObjectAuthRef>,
}

/// A bus on NATS JetStream. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JetStream {
    /// URL of the NATS server, for example `nats://nats.default:4222`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Name of one stream for all topics; it is made when it does not exist. Absent means one for each topic, with its name.
    #[schemars(length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Credentials file of NATS (`.creds`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretKeySelector>,
    /// Connects by TLS; an empty object trusts the public authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How the handlers of Triggers are scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_option: Option<NatsStreamingScaleOption>,
}

/// A bus on Kafka. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaBus {
    /// Addresses of the brokers, separated by commas.
    #[schemars(length(min = 1, max = 4096))]
    pub brokers: String,
    /// User name of SASL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl_username: Option<String>,
    /// Password of SASL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl_password_secret_ref: Option<SecretKeySelector>,
    /// Mechanism of SASL; absent means `PLAIN`.
    #[schemars(extend("enum" = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl_mechanism: Option<String>,
    /// Connects by TLS; an empty object trusts the public authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How the handlers of Triggers are scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_option: Option<KafkaScaleOption>,
}

/// A bus on Redis Streams. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisStreams {
    /// URL of the server, for example `redis://redis.default:6379` or `rediss://…` for TLS.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// User name at the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password at the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeySelector>,
    /// Certificates of a `rediss` connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}
