//! How a function is scaled.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bounds and scalers of a function. A specific option wins over `minReplicas` and `maxReplicas`.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    // The bounds that KEDA's own fields set win (goals Q8).
    validation = Rule::new("self.?keda.?scaledObject.?minReplicaCount.orValue(self.?minReplicas.orValue(0)) <= self.?keda.?scaledObject.?maxReplicaCount.orValue(self.?maxReplicas.orValue(10))")
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
    /// Annotations for Knative's autoscaler, for example `autoscaling.knative.dev/target`.
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
    validation = Rule::new("[has(self.scaledJob), has(self.scaledObject), has(self.httpScaledObject)].filter(set, set).size() <= 1")
        .reason(Reason::FieldValueRequired)
        .message("exactly one of scaledJob, scaledObject and httpScaledObject should be enabled"),
)]
pub struct KedaScaleOptions {
    /// Scaling of HTTP functions by KEDA's HTTP add-on (engine `keda`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_scaled_object: Option<KedaHttpScaledObject>,
    /// Scaling of a Deployment or StatefulSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaled_object: Option<KedaScaledObject>,
    /// Scaling by Jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaled_job: Option<KedaScaledJob>,
    /// What the scaler watches; without one, no scaler is made.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<KedaTrigger>,
}

/// Scaling by KEDA's HTTP add-on.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KedaHttpScaledObject {
    /// Pending requests for each replica; absent means 100.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_pending_requests: Option<i32>,
    /// Seconds without requests before replicas are taken away; absent means 300.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<i32>,
}

/// Options of a KEDA ScaledObject. Fields that are not listed are kept and passed to KEDA.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KedaScaledObject {
    /// Seconds between two looks at the triggers.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<i32>,
    /// Seconds without activity before scaling to zero.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<i32>,
    /// Settings of the HorizontalPodAutoscaler that KEDA makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advanced: Option<AdvancedConfig>,
    /// Replicas to keep while the triggers cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Deprecated: write `scaleOptions.minReplicas`. (addition)
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replica_count: Option<i32>,
    /// Deprecated: write `scaleOptions.maxReplicas`. (addition)
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replica_count: Option<i32>,
    /// Deprecated: write `keda.triggers`. (addition)
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<KedaTrigger>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// Settings of the HorizontalPodAutoscaler that KEDA makes.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdvancedConfig {
    /// Whether the replica count from before is restored when the ScaledObject is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_to_original_replica_count: Option<bool>,
    /// Name and behaviour of the HorizontalPodAutoscaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub horizontal_pod_autoscaler_config: Option<HorizontalPodAutoscalerConfig>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// Name and behaviour of a HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HorizontalPodAutoscalerConfig {
    /// Name of the HorizontalPodAutoscaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How fast it scales up and down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// How fast replicas are added and removed.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HorizontalPodAutoscalerBehavior {
    /// Rules for adding replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<HpaScalingRules>,
    /// Rules for removing replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<HpaScalingRules>,
}

/// Rules for one direction of scaling.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HpaScalingRules {
    /// Seconds of past recommendations that are considered.
    #[schemars(range(min = 0, max = 3600))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stabilization_window_seconds: Option<i32>,
    /// Which policy counts: the one with the largest (`Max`) or smallest (`Min`) change, or none (`Disabled`).
    #[schemars(extend("enum" = ["Max", "Min", "Disabled"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select_policy: Option<String>,
    /// How much may change in which time.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<HpaScalingPolicy>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// How much may change in which time.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HpaScalingPolicy {
    /// Whether `value` counts `Pods` or is a `Percent` of the present replicas.
    #[schemars(extend("enum" = ["Pods", "Percent"]))]
    #[serde(rename = "type")]
    pub type_: String,
    /// How much may change.
    pub value: i32,
    /// The time in seconds; Kubernetes takes 1 to 1800.
    #[schemars(range(min = 0))]
    pub period_seconds: i32,
}

/// Replicas to keep while the triggers cannot be read.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// Failures in a row after which the fallback is used.
    #[schemars(range(min = 1))]
    pub failure_threshold: i32,
    /// Replicas of the fallback.
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// Options of a KEDA ScaledJob. Fields that are not listed are kept and passed to KEDA.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KedaScaledJob {
    /// Restart policy of the Job's pods: `OnFailure`, which is meant when absent, or `Never`. A Job cannot have `Always`.
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
    /// How the number of Jobs follows from the length of the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling_strategy: Option<ScalingStrategy>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// How the number of Jobs follows from the length of the queue.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.strategy) || self.strategy != 'custom' || has(self.customScalingQueueLengthDeduction)")
        .field_path(".customScalingQueueLengthDeduction").reason(Reason::FieldValueRequired)
        .message("must be specified when strategy is custom"),
    validation = Rule::new("!has(self.strategy) || self.strategy != 'custom' || (has(self.customScalingRunningJobPercentage) && self.customScalingRunningJobPercentage != '')")
        .field_path(".customScalingRunningJobPercentage").reason(Reason::FieldValueRequired)
        .message("must be specified when strategy is custom"),
)]
pub struct ScalingStrategy {
    /// Name of the strategy.
    #[schemars(extend("enum" = ["", "default", "custom", "accurate"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// How much is taken off the length of the queue; for strategy `custom`.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_scaling_queue_length_deduction: Option<i32>,
    /// Share of running Jobs that is taken off, for example `50%` or `0.5`; for strategy `custom`.
    #[schemars(length(max = 32), regex(pattern = r"^(([0-9]+(\.[0-9]*)?|\.[0-9]+) *%?)?$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_scaling_running_job_percentage: Option<String>,
    /// Pod conditions that must be True before a Job counts as running.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_pod_conditions: Vec<String>,
    /// How the answers of several triggers become one number: `max`, `min`, `avg` or `sum`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiple_scalers_calculation: Option<String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// One KEDA trigger.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KedaTrigger {
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
}

/// A TriggerAuthentication.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectAuthRef {
    /// Name of the object.
    pub name: String,
    /// `TriggerAuthentication`, which is meant when absent, or `ClusterTriggerAuthentication`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}
