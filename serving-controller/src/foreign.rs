//! Objects of other projects that engines make: specs and statuses are read and written as JSON, since most of them is
//! their project's own affair.

use kube::{CustomResource, Resource, api::ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A Service of Knative Serving.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Serialize)]
#[kube(
    group = "serving.knative.dev",
    version = "v1",
    kind = "Service",
    root = "KnativeService",
    plural = "services",
    namespaced,
    schema = "disabled",
    status = "Map<String, Value>"
)]
pub struct KnativeServiceSpec(Map<String, Value>);

/// A ScaledObject of KEDA: scales a workload by what happens elsewhere.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Serialize)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ScaledObject",
    plural = "scaledobjects",
    namespaced,
    schema = "disabled",
    status = "Map<String, Value>"
)]
pub struct ScaledObjectSpec(Map<String, Value>);

/// An HTTPScaledObject of KEDA's HTTP add-on: scales a workload by the requests that its interceptor holds.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Serialize)]
#[kube(
    group = "http.keda.sh",
    version = "v1alpha1",
    kind = "HTTPScaledObject",
    root = "HttpScaledObject",
    plural = "httpscaledobjects",
    namespaced,
    schema = "disabled",
    status = "Map<String, Value>"
)]
pub struct HttpScaledObjectSpec(Map<String, Value>);

/// A ScaledJob of KEDA: starts Jobs by what happens elsewhere.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Serialize)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ScaledJob",
    plural = "scaledjobs",
    namespaced,
    schema = "disabled",
    status = "Map<String, Value>"
)]
pub struct ScaledJobSpec(Map<String, Value>);

/// The kind of a Component; most of it stands outside its spec.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Serialize)]
#[kube(
    group = "dapr.io",
    version = "v1alpha1",
    kind = "Component",
    root = "OfComponent",
    plural = "components",
    namespaced,
    schema = "disabled"
)]
pub struct ComponentKind {}

/// A Component of Dapr.
#[derive(Clone, Debug, Deserialize, Resource, Serialize)]
#[resource(inherit = OfComponent)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Version of the API.
    #[serde(default)]
    pub api_version: String,
    /// Component.
    #[serde(default)]
    pub kind: String,
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What it is.
    #[serde(default)]
    pub spec: Map<String, Value>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Component {
    /// Its type, for example `pubsub.kafka`.
    pub fn type_(&self) -> Option<&str> {
        self.spec.get("type").and_then(Value::as_str)
    }
}

/// The kind of a Resiliency; its scopes stand outside its spec.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Serialize)]
#[kube(
    group = "dapr.io",
    version = "v1alpha1",
    kind = "Resiliency",
    root = "OfResiliency",
    plural = "resiliencies",
    namespaced,
    schema = "disabled"
)]
pub struct ResiliencyKind {}

/// A Resiliency of Dapr.
#[derive(Clone, Debug, Deserialize, Resource, Serialize)]
#[resource(inherit = OfResiliency)]
pub struct Resiliency {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}
