//! Serving, and the serving side of a Function, as v1beta1 writes them.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    GoDuration,
    core::{
        AdvancedConfig, ComponentSpec, DaprIo, LocalObjectReference, ScaledObjectAuthRef, ScalingStrategy, Strategy,
    },
};

/// A Serving is one revision of a running function. The function controller makes it.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "core.openfunction.io",
    version = "v1beta1",
    kind = "Serving",
    namespaced,
    status = "ServingStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ServingSpec {
    /// Version of the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The image that runs.
    pub image: String,
    /// Secret with the credentials to pull the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_credentials: Option<LocalObjectReference>,
    /// Port that the function's container listens on.
    #[schemars(range(min = 0, max = 65535))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// How the image runs.
    #[serde(flatten)]
    pub serving: ServingImpl,
}

/// How the function runs, what calls it and how it is scaled.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServingImpl {
    /// `knative` for HTTP functions, `async` for functions that Dapr calls.
    #[schemars(extend("enum" = ["knative", "async"]))]
    pub runtime: String,
    /// How many replicas run, and what decides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_options: Option<ScaleOptions>,
    /// Dapr components that call the function.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<DaprIo>,
    /// Dapr components that the function writes to.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<DaprIo>,
    /// Dapr binding components to create, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bindings: BTreeMap<String, ComponentSpec>,
    /// Dapr pub/sub components to create, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pubsub: BTreeMap<String, ComponentSpec>,
    /// Dapr state stores to create, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub states: BTreeMap<String, ComponentSpec>,
    /// KEDA triggers.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<TargetedTrigger>,
    /// Environment variables of the function's container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// Labels of the workload and its pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// A PodSpec for the pods. The container named `function` runs the image; it is added when missing.
    #[schemars(schema_with = "crate::schema::pod_spec")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Value>,
    /// How long a revision may take until it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
}

/// Settings of the build strategy.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShipwrightEngine {
    /// The build strategy; absent is the installation's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// How long the build run may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
}

/// Bounds and scalers of a function.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    // The bounds that KEDA's own fields set win (core-api §12.2).
    validation = Rule::new("self.?keda.?scaledObject.?minReplicaCount.orValue(self.?minReplicas.orValue(0)) <= self.?keda.?scaledJob.?maxReplicaCount.orValue(self.?keda.?scaledObject.?maxReplicaCount.orValue(self.?maxReplicas.orValue(10)))")
        .field_path(".minReplicas").reason(Reason::FieldValueInvalid)
        .message("cannot be greater than maxReplicas (which is 10 when absent)"),
)]
pub struct ScaleOptions {
    /// Upper bound of replicas; absent means 10.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<i32>,
    /// Lower bound of replicas; absent means 0.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
    /// Annotations for Knative's autoscaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knative: Option<BTreeMap<String, String>>,
    /// Options for KEDA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keda: Option<KedaScaleOptions>,
}

/// Options for KEDA.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.scaledJob) && has(self.scaledObject))").reason(Reason::FieldValueRequired)
        .message("exactly one of scaledJob and scaledObject should be enabled"),
)]
pub struct KedaScaleOptions {
    /// Scaling of a Deployment or StatefulSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaled_object: Option<KedaScaledObject>,
    /// Scaling by Jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaled_job: Option<KedaScaledJob>,
}

/// Options of a KEDA ScaledObject.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KedaScaledObject {
    /// `Deployment`, which is meant when absent, or `StatefulSet`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_type: Option<String>,
    /// Seconds between two looks at the triggers.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advanced: Option<AdvancedConfig>,
}

/// Options of a KEDA ScaledJob.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KedaScaledJob {
    /// Restart policy of the Job's pods: `OnFailure`, which is meant when absent, or `Never`.
    #[schemars(extend("enum" = ["OnFailure", "Never"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<String>,
    /// Seconds between two looks at the triggers.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<i32>,
    /// How many finished, successful Jobs are kept.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successful_jobs_history_limit: Option<i32>,
    /// How many failed Jobs are kept.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_jobs_history_limit: Option<i32>,
    /// Upper bound of Jobs.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replica_count: Option<i32>,
    /// How the number of Jobs follows from the length of the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling_strategy: Option<ScalingStrategy>,
}

/// One KEDA trigger and what it scales.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetedTrigger {
    /// Type of the scaler, for example `kafka`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Settings of the scaler.
    pub metadata: BTreeMap<String, String>,
    /// Name of the trigger, unique within the scaler object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the metric is read once per polling interval and kept in between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_cached_metrics: Option<bool>,
    /// How the metric is used: `AverageValue`, `Value` or `Utilization`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_type: Option<String>,
    /// Credentials for the scaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication_ref: Option<ScaledObjectAuthRef>,
    /// Whether the trigger scales the `object` or the `job`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_kind: Option<String>,
}

/// What became of a revision.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServingStatus {
    /// Always `Serving`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// `Starting`, `Running`, `Failed` or `Timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why the revision is in this state, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Objects that run the revision, by what they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource_ref: BTreeMap<String, String>,
    /// Name of the Service of the revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}
