//! Dapr components, and the inputs, outputs and triggers that use them.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::GoDuration;

/// Annotation of a function's serving that says where Dapr's sidecar runs: once, beside a proxy (`standalone`, which is
/// meant when it is absent), or in each pod (`sidecar`).
pub const DAPR_SERVICE_MODE: &str = "openfunction.io/dapr-service-mode";

/// Annotation of a function's serving with init containers of its template, separated by commas, that prepare what Dapr's
/// sidecar reads: where that runs beside a proxy, they run there, before it. (addition)
pub const DAPR_INIT_CONTAINERS: &str = "openfunction.io/dapr-init-containers";

/// The spec of a Dapr Component. Fields that are newer than this version are kept and passed to Dapr.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentSpec {
    /// Type of the component, for example `bindings.kafka`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Version of the component type, usually `v1`.
    pub version: String,
    /// Settings of the component.
    pub metadata: Vec<ComponentMetadata>,
    /// Whether Dapr goes on when the component cannot be initialised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_errors: Option<bool>,
    /// How long the initialisation of the component may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_timeout: Option<String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// One setting of a Dapr Component.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentMetadata {
    /// Name of the setting.
    pub name: String,
    /// Value of the setting: a string, number or boolean, passed on as it is.
    #[schemars(schema_with = "crate::schema::any")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Secret that holds the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// A key of a Secret in the Function's namespace.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: String,
    /// Key in the Secret's data.
    pub key: String,
}

/// A state store or a configuration store.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The component to create; absent refers to an existing Component of that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<ComponentSpec>,
}

/// A Dapr input that calls the function.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaprTrigger {
    /// Key in `bindings`, `pubsub` or `states`, or the name of an existing Component.
    pub name: String,
    /// Type of the component, for example `bindings.cron`; looked up when absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Topic to subscribe to; needed for pub/sub components.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Key of the input in the function's context; absent is `name`. Kept from v1beta1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_name: Option<String>,
    /// How often an event that the function has not handled is sent again before it goes back to the broker, or to
    /// `deadLetterTopic`; absent, it goes there at once. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Topic of the same component for events that the function has not handled, at the first failure or after `retry`;
    /// needs a pub/sub component. (addition)
    #[schemars(length(min = 1, max = 255))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// Several events in one call, in Dapr's bulk format, which the function must understand; needs a pub/sub component.
    /// (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulk_subscribe: Option<BulkSubscribe>,
}

/// A retry policy, in the words of a Dapr Resiliency. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicy {
    /// `constant`, which is meant when absent, or `exponential`.
    #[schemars(extend("enum" = ["constant", "exponential"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Pause between attempts of a constant policy, for example `5s`, which is meant when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// The longest pause of an exponential policy; absent is `60s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_interval: Option<GoDuration>,
    /// How often an event is sent again; -1, which is meant when absent, is without end.
    #[schemars(range(min = -1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<i32>,
}

/// The spec of a Dapr Resiliency. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resiliency {
    /// Policies by name.
    #[serde(default)]
    pub policies: ResiliencyPolicies,
    /// What policies are for.
    #[serde(default)]
    pub targets: ResiliencyTargets,
}

/// Policies of a Dapr Resiliency by name. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResiliencyPolicies {
    /// Time limits, for example `2s`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub timeouts: BTreeMap<String, String>,
    /// How often something is tried again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub retries: BTreeMap<String, RetryPolicy>,
    /// When something is no longer tried.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub circuit_breakers: BTreeMap<String, CircuitBreaker>,
}

/// A circuit breaker of a Dapr Resiliency. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Calls that are let through when it is half open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<i32>,
    /// How long failures are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// How long it stays open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// When it opens, as a CEL expression: `consecutiveFailures > 5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trip: Option<String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// What the policies of a Dapr Resiliency are for. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResiliencyTargets {
    /// Calls of other applications, by their app-id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub apps: BTreeMap<String, PolicyNames>,
    /// Calls of actors, by their type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub actors: BTreeMap<String, PolicyNames>,
    /// Components, by the names that the function has for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, ComponentPolicies>,
}

/// Names of the policies for something. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyNames {
    /// A policy of `timeouts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// A policy of `retries`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<String>,
    /// A policy of `circuitBreakers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// Policies for both directions of a component. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentPolicies {
    /// For what the function sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound: Option<PolicyNames>,
    /// For what calls the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound: Option<PolicyNames>,
}

/// Several events in one call. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkSubscribe {
    /// Most events in one call; absent is Dapr's default, 100.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_messages_count: Option<i32>,
    /// How long is waited for more of them, in milliseconds; absent is Dapr's default, 1000.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_await_duration_ms: Option<i32>,
}

/// A Dapr component that the function reads by itself.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaprInput {
    /// Key in `bindings`, `pubsub` or `states`, or the name of an existing Component.
    pub name: String,
    /// Type of the component, for example `state.redis`; looked up when absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Topic of a pub/sub component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// A Dapr component that the function writes to.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.name) || has(self.component)").field_path(".name")
        .reason(Reason::FieldValueRequired).message("must be specified"),
)]
pub struct DaprOutput {
    /// Key in `bindings` or `pubsub`, or the name of an existing Component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Deprecated: write `name`. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Type of the component, for example `bindings.kafka`; looked up when absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Topic to publish to; needed for pub/sub components.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Operation of an output binding, for example `create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Metadata that is sent with each output.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Key of the output in the function's context; absent is `name`. Kept from v1beta1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_name: Option<String>,
}
