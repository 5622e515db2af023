//! Receivers of events.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::GoDuration;

/// A receiver of events, by URI or by reference.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.uri) || has(self.ref)").reason(Reason::FieldValueRequired)
        .message("at least one of uri and ref must be set"),
)]
pub struct SinkSpec {
    /// URL that events are sent to; it wins over `ref`.
    #[schemars(length(max = 2048))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Object whose address events are sent to.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<SinkReference>,
}

/// An object that has an address: a Function or a Knative Service; a Service or anything Addressable is ours. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkReference {
    /// API version of the object, for example `core.openfunction.io/v1beta2`.
    #[schemars(length(min = 1, max = 317))]
    pub api_version: String,
    /// Kind of the object, for example `Function`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the object; absent is that of the EventSource or Trigger.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// How events are delivered, in the words of Knative's DeliverySpec. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// How often it is tried again; absent means 12.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<i32>,
    /// Whether the pauses double (`exponential`, which is meant when absent) or grow by the first (`linear`).
    #[schemars(extend("enum" = ["exponential", "linear"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_policy: Option<String>,
    /// The first pause; absent means 100ms. None is longer than 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_delay: Option<GoDuration>,
    /// How long one try may take; absent means 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// How events are sent: `binary` or `structured` (content modes of CloudEvents), or `inner`, as OpenFunction 1.x sent
    /// them to topics; absent means `binary` to a sink and `structured` to a topic.
    #[schemars(extend("enum" = ["binary", "structured", "inner"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_mode: Option<String>,
}
