//! How an image is run: `Function.spec.serving`, and inlined in `Serving.spec`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::EnvFromSource;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ComponentSpec, DaprInput, DaprOutput, DaprTrigger, Resiliency, ScaleOptions, State};
use crate::{GoDuration, gateway_api::HttpRouteRule};

/// How the function runs, what calls it and how it is scaled.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServingImpl {
    /// What calls the function. Without a Dapr trigger it is an HTTP function, unless `runtime` says `async`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers: Option<Triggers>,
    /// How many replicas run, and what decides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_options: Option<ScaleOptions>,
    /// Where the function may send data.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Outputs>,
    /// Dapr binding components to create, by the name that triggers and outputs use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bindings: BTreeMap<String, ComponentSpec>,
    /// Dapr pub/sub components to create, by the name that triggers and outputs use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pubsub: BTreeMap<String, ComponentSpec>,
    /// Dapr state stores, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub states: BTreeMap<String, State>,
    /// Dapr configuration stores, by name. (addition)
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configurations: BTreeMap<String, State>,
    /// Environment variables of the function's container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// ConfigMaps and Secrets whose keys become environment variables of the function's container. (addition)
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params_from: Vec<EnvFromSource>,
    /// Labels of the workload and its pods; they win over the operator's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods, for example `openfunction.io/enable-dapr`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels and annotations of the Knative Service itself, which `labels` and `annotations` do not reach; for engine
    /// `knative`. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knative_service: Option<KnativeServiceMetadata>,
    /// A PodSpec for the pods. The container named `function` runs the image; it is added when missing.
    #[schemars(schema_with = "crate::schema::pod_spec")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Value>,
    /// How long a revision may take until it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// Hooks of the functions framework that run before and after the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Tracing by the functions framework.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<TracingConfig>,
    /// Workload of an asynchronous function: `Deployment`, which is meant when absent, `StatefulSet` or `Job`.
    #[schemars(extend("enum" = ["", "Deployment", "StatefulSet", "Job"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_type: Option<String>,
    /// Shares of requests that revisions get; absent sends all to the latest ready one. (addition)
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = Rule::new("self.size() == 0 || self.map(t, has(t.percent) ? t.percent : 0).sum() == 100")
            .reason(Reason::FieldValueInvalid).message("the percentages must add up to 100"),
        validation = Rule::new("self.filter(t, has(t.latest) && t.latest).size() <= 1")
            .reason(Reason::FieldValueInvalid).message("at most one target may say latest: true"),
        validation = Rule::new("self.all(t, !has(t.tag) || self.exists_one(u, has(u.tag) && u.tag == t.tag))")
            .reason(Reason::FieldValueInvalid).message("every tag must be unique"),
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficRequest>,
    /// The spec of a Dapr Resiliency, where components have the names that the function has for them. (addition)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resiliency: Option<Resiliency>,
    /// Deprecated, from v1beta1: `async` or `knative`. What calls the function is said by `triggers`; `async` without a
    /// Dapr trigger only keeps the HTTP trigger from being added. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Deprecated, from v1beta1: write `triggers.dapr`. Each has `name`, `component`, `topic`, `params` and `operation`. (addition)
    #[schemars(schema_with = "crate::schema::objects")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Value>,
}

/// Labels and annotations of a Knative Service. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnativeServiceMetadata {
    /// Its labels, for example `networking.knative.dev/visibility`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations, for example `serving.knative.dev/rollout-duration`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What calls the function.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Triggers {
    /// Requests over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTrigger>,
    /// Dapr input bindings and subscriptions.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dapr: Vec<DaprTrigger>,
    /// Components that the function reads by itself, for example state stores.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Inputs>,
}

/// One component that the function reads.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// A Dapr component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dapr: Option<DaprInput>,
}

/// One component that the function writes to.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outputs {
    /// A Dapr component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dapr: Option<DaprOutput>,
}

/// Requests over HTTP.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpTrigger {
    /// Port that the function's container listens on; absent or 0 means 8080.
    #[schemars(range(min = 0, max = 65535))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// What runs and scales the function: `knative`, `keda`, `native` (a plain Deployment) or `auto` (Knative where the
    /// cluster has it, else native); absent is the installation's default. `native` and `auto` are ours. (addition)
    #[schemars(extend("enum" = ["knative", "keda", "native", "auto"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Under which hostnames and paths the function answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
}

/// Under which hostnames and paths a function answers.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.tls) || (has(self.hostnames) && self.hostnames.size() > 0)").field_path(".hostnames")
        .reason(Reason::FieldValueRequired).message("must be specified when tls is: its certificate is for them"),
)]
pub struct Route {
    /// The OpenFunction Gateway (`networking.openfunction.io`) of the function; absent is `openfunction/openfunction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_ref: Option<GatewayRef>,
    /// Hostnames of the function; absent takes one from the gateway's `hostTemplate`.
    #[schemars(
        length(max = 16),
        inner(
            length(min = 1, max = 253),
            regex(pattern = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        )
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Rules of the function's HTTPRoute. Absent, every path leads to the function or, if `hostnames` is given, the
    /// path of the gateway's `pathTemplate`.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<HttpRouteRule>,
    /// Who can reach the function: `Public`, which is meant when absent, `Internal` (by its internal names only) or
    /// `None` (no route at all). (addition)
    #[schemars(extend("enum" = ["Public", "Internal", "None"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
    /// HTTPS for the hostnames of `hostnames`, with a certificate of the function's own. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<RouteTls>,
}

/// HTTPS with a certificate of the function's own. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteTls {
    /// Secret of type `kubernetes.io/tls` in the function's namespace: the certificate and its key, which only the
    /// gateway reads.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// An OpenFunction Gateway, or a Kubernetes Gateway, by name and namespace.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, KubeSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRef {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Gateway.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,
}

/// Hooks of the functions framework.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Hooks that run before the function, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre: Vec<String>,
    /// Hooks that run after the function, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post: Vec<String>,
    /// `Override` replaces the global hooks; `Append`, which is meant when absent, adds to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// Tracing by the functions framework.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TracingConfig {
    /// Whether the function is traced.
    pub enabled: bool,
    /// Where traces go.
    pub provider: TracingProvider,
    /// Tags of every span.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Baggage that is passed on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub baggage: BTreeMap<String, String>,
}

/// Where traces go.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TracingProvider {
    /// `skywalking` or `opentelemetry`.
    pub name: String,
    /// Address of the SkyWalking collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oap_server: Option<String>,
    /// Exporter of OpenTelemetry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exporter: Option<TelemetryExporter>,
}

/// Exporter of OpenTelemetry.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TelemetryExporter {
    /// Name of the exporter, for example `otlp`.
    pub name: String,
    /// Address of the collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Headers of every request, as `key=value` pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<String>,
    /// Compression of requests, for example `gzip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Time limit of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Protocol, for example `grpc` or `http/protobuf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// The share of requests that one revision gets. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.revision) != (has(self.latest) && self.latest)")
        .reason(Reason::FieldValueRequired).message("must specify either revision or latest: true"),
)]
pub struct TrafficRequest {
    /// Name of a revision, as `status.traffic[].revision` shows it.
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Means the revision that matches the present spec, once it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<bool>,
    /// Share of requests in percent; absent means 0.
    #[schemars(range(min = 0, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// Gives the revision an address of its own.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// An input or output as v1beta1 writes it.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaprIo {
    /// Key of the input or output in the function's context.
    pub name: String,
    /// Key in `bindings` or `pubsub`, or the name of an existing Component.
    pub component: String,
    /// Topic of a pub/sub component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Metadata that is sent with each output.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// Operation of an output binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}
