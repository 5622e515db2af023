//! EventSource: where events come from.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Delivery, EventsStatus, SecretKeySelector, SinkSpec, Tls};
use crate::core::ScaledObjectAuthRef;

/// An EventSource reads events from servers and sends them to an event bus, to a sink, or to both.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "events.openfunction.io",
    version = "v1alpha1",
    kind = "EventSource",
    shortname = "es",
    namespaced,
    status = "EventsStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "EventBus", type_ = "string", json_path = ".spec.eventBus"),
    printcolumn(name = "Sink", type_ = "string", json_path = ".spec.sink.uri"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[-1].type")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.sink) || (has(self.eventBus) && self.eventBus != '')")
        .reason(Reason::FieldValueRequired).message("at least one of eventBus and sink must be set"),
)]
pub struct EventSourceSpec {
    /// Name of an EventBus of this namespace, else of a ClusterEventBus; absent means no bus.
    #[schemars(length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_bus: Option<String>,
    /// Redis streams and lists to read, by event name.
    #[schemars(extend("maxProperties" = 64))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub redis: BTreeMap<String, Redis>,
    /// Kafka topics to read, by event name.
    #[schemars(extend("maxProperties" = 64))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kafka: BTreeMap<String, Kafka>,
    /// Schedules, by event name.
    #[schemars(extend("maxProperties" = 64))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cron: BTreeMap<String, Cron>,
    /// MQTT topics to read, by event name.
    #[schemars(extend("maxProperties" = 64))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mqtt: BTreeMap<String, Mqtt>,
    /// HTTP requests to take events from, by event name. (addition)
    #[schemars(extend("maxProperties" = 64))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub webhook: BTreeMap<String, Webhook>,
    /// Webhooks of GitHub, by event name. (addition)
    #[schemars(extend("maxProperties" = 64))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub github: BTreeMap<String, Webhook>,
    /// Webhooks of GitLab, by event name. (addition)
    #[schemars(extend("maxProperties" = 64))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gitlab: BTreeMap<String, Webhook>,
    /// Notifications of S3-compatible object storage, by event name. (addition)
    #[schemars(extend("maxProperties" = 64))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub s3: BTreeMap<String, Webhook>,
    /// Receiver of every event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<SinkSpec>,
    /// How events are delivered to `sink`. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// HTTP receiver of events that could not be delivered. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink: Option<SinkSpec>,
    /// Topic of the bus for events that could not be delivered. (addition)
    #[schemars(length(max = 249))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// Accepted and ignored: the handlers are not built.
    #[schemars(schema_with = "crate::schema::object")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Value>,
    /// Verbosity of the handlers, a number; absent means `1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
}

/// A Kafka topic to read.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.tls) && has(self.disableTls) && self.disableTls)").field_path(".disableTls")
        .reason(Reason::FieldValueInvalid).message("must not be true where tls is set"),
)]
pub struct Kafka {
    /// Addresses of the brokers, separated by commas.
    #[schemars(length(min = 1, max = 4096))]
    pub brokers: String,
    /// Name of the topic, or several separated by commas.
    #[schemars(length(max = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Whether the brokers ask for SASL authentication.
    pub auth_required: bool,
    /// User name of SASL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl_username: Option<String>,
    /// Password of SASL in plain text; better: `saslPasswordSecretRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl_password: Option<String>,
    /// Password of SASL. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl_password_secret_ref: Option<SecretKeySelector>,
    /// Mechanism of SASL; absent means `PLAIN`. (addition)
    #[schemars(extend("enum" = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl_mechanism: Option<String>,
    /// Connects by TLS; an empty object trusts the public authorities. Absent, it is spoken where `authRequired` is true,
    /// as in OpenFunction 1.x. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whether TLS is not spoken though `authRequired` is true: whoever is on the way can read the password. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_tls: Option<bool>,
    /// Largest message in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message_bytes: Option<i64>,
    /// How the handler is scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_option: Option<KafkaScaleOption>,
}

impl Kafka {
    /// TLS that is spoken, if it is.
    pub fn tls(&self) -> Option<Tls> {
        let is_implied = self.auth_required && self.disable_tls != Some(true);
        self.tls.clone().or(is_implied.then(Tls::default))
    }
}

/// How the handler of a Kafka topic is scaled.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaScaleOption {
    /// Consumer group to watch; absent is the handler's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_group: Option<String>,
    /// Topic to watch; absent is the one that is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Messages that may wait for each replica.
    #[schemars(length(max = 32))]
    pub lag_threshold: String,
    /// Seconds between two looks at the lag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<i32>,
    /// Seconds without activity before scaling to zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<i32>,
    /// Lower bound of replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replica_count: Option<i32>,
    /// Upper bound of replicas.
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

/// A schedule.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cron {
    /// Five or six cron fields, or a descriptor such as `@every 5s`.
    #[schemars(length(min = 1, max = 256))]
    pub schedule: String,
    /// Time zone of the schedule, for example `Europe/Vienna`; absent means UTC. (addition)
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// How many seconds late the last event that was missed may be made up for, as of a CronJob; absent means that none
    /// is. (addition)
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_deadline_seconds: Option<i64>,
}

/// HTTP requests that bring events. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Path of the requests; absent is `/<event>`.
    #[schemars(length(max = 1024), regex(pattern = "^/[^{}?#]*$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What requests are checked with: what GitHub signs them with, what GitLab sends as a token, and what others send as
    /// `Authorization: Bearer`. Absent means that anybody who reaches the handler may send events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
    /// Who can reach the handler, as a function `esw-<eventSource>-<kind>-<event>`: everybody (`Public`), or, which is
    /// meant when absent, the cluster (`Internal`).
    #[schemars(extend("enum" = ["Public", "Internal"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
}

/// An MQTT topic to read.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mqtt {
    /// URL of the broker, for example `tcp://mqtt:1883`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Topic filter to subscribe to.
    #[schemars(length(min = 1, max = 65535))]
    pub topic: String,
    /// Version of the protocol: `3.1.1`, which is meant when absent, or `5`. (addition)
    #[schemars(extend("enum" = ["3.1.1", "5"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Client identifier; absent is made from namespace, EventSource and event.
    #[serde(rename = "consumerID", skip_serializing_if = "Option::is_none")]
    pub consumer_id: Option<String>,
    /// Quality of service of the subscription.
    #[schemars(range(min = 0, max = 2))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos: Option<i64>,
    /// Whether retained messages are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain: Option<bool>,
    /// Whether the broker forgets the session at disconnect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean_session: Option<bool>,
    /// PEM certificates that the broker's certificate is checked against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<String>,
    /// PEM certificate of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<String>,
    /// PEM key of the client's certificate in plain text; better: `tls.clientKeySecretRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// User name at the broker. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password at the broker. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeySelector>,
    /// Certificates by reference. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A Redis stream or list to read.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.stream) && has(self.list))").field_path(".list")
        .reason(Reason::FieldValueInvalid).message("specify at most one of stream and list"),
)]
pub struct Redis {
    /// Address of the server, `host:port`.
    #[schemars(length(min = 1, max = 2048))]
    pub redis_host: String,
    /// Password of the server in plain text; leave it empty and use `redisPasswordSecretRef`.
    pub redis_password: String,
    /// Password of the server. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_password_secret_ref: Option<SecretKeySelector>,
    /// Name of the stream; absent (with `list` absent too) is the event name. (addition)
    #[schemars(length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Name of the list. (addition)
    #[schemars(length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// Whether TLS is used.
    #[serde(rename = "enableTLS", skip_serializing_if = "Option::is_none")]
    pub enable_tls: Option<bool>,
    /// Certificates, with `enableTLS`. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whether Sentinel is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<bool>,
    /// Name of the master at Sentinel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_master_name: Option<String>,
    /// Time between two looks for messages to deliver again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redeliver_interval: Option<String>,
    /// Time after which an unfinished message is delivered again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processing_timeout: Option<String>,
    /// `node` or `cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_type: Option<String>,
    /// Number of the database.
    #[serde(rename = "redisDB", skip_serializing_if = "Option::is_none")]
    pub redis_db: Option<i64>,
    /// How often a command is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_max_retries: Option<i64>,
    /// Shortest pause between two tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_min_retry_interval: Option<String>,
    /// Longest pause between two tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_max_retry_interval: Option<String>,
    /// Time limit for connecting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dial_timeout: Option<String>,
    /// Time limit for reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_timeout: Option<String>,
    /// Time limit for writing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_timeout: Option<String>,
    /// Largest number of connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_size: Option<i64>,
    /// Time limit for getting a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_timeout: Option<String>,
    /// Age at which a connection is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_conn_age: Option<String>,
    /// Smallest number of idle connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_idle_conns: Option<i64>,
    /// Time between two looks for idle connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_check_frequency: Option<String>,
    /// Time after which an idle connection is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<String>,
}
