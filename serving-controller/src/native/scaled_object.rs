//! The ScaledObject of a revision: KEDA scales it by what happens elsewhere.

use kube::ResourceExt;
use serde_json::{Map, Value, json};

use crate::{
    pod,
    validate::{MANAGED, Valid},
};

/// The ScaledObject of a workload of a kind. Fields of `scaleOptions.keda.scaledObject` that we do not know go to KEDA as
/// they are.
pub fn scaled_object(valid: &Valid, kind: &str, (min, max): (i32, i32)) -> Value {
    let name = valid.serving.name_any();
    let options = valid.keda.scaled_object.clone().unwrap_or_default();
    let mut spec: Map<String, Value> = options.unknown.clone().into_iter().collect();
    let triggers: Vec<_> = valid.triggers.iter().map(|(_, trigger)| trigger).collect();
    let fields = json!({
        "scaleTargetRef": {"name": name, "kind": kind, "envSourceContainerName": pod::FUNCTION},
        "minReplicaCount": min,
        "maxReplicaCount": max,
        "triggers": triggers,
        "pollingInterval": options.polling_interval,
        "cooldownPeriod": options.cooldown_period,
        "advanced": options.advanced,
        "fallback": options.fallback,
    });
    if let Value::Object(fields) = fields {
        spec.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
    }
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": valid.metadata(&[MANAGED]),
        "spec": spec,
    })
}

/// Options of a ScaledObject that have no effect where none is made; `by_kubernetes` says that an autoscaler of
/// Kubernetes takes its place, which knows its behaviour.
pub fn unused(valid: &Valid, by_kubernetes: bool) -> Vec<String> {
    let Some(options) = &valid.keda.scaled_object else { return Vec::new() };
    let has_triggers = !valid.triggers.is_empty();
    let config = options.advanced.as_ref().and_then(|advanced| advanced.horizontal_pod_autoscaler_config.as_ref());
    let behavior = config.is_some_and(|config| config.behavior.is_some());
    let fields = [
        ("minReplicaCount", options.min_replica_count.is_some() && !has_triggers),
        ("maxReplicaCount", options.max_replica_count.is_some() && !has_triggers),
        ("pollingInterval", options.polling_interval.is_some()),
        ("cooldownPeriod", options.cooldown_period.is_some()),
        ("fallback", options.fallback.is_some()),
        ("advanced", options.advanced.is_some() && !(by_kubernetes && behavior)),
    ];
    let unused = fields.into_iter().filter(|(_, is_unused)| *is_unused);
    unused.map(|(field, _)| format!("spec.scaleOptions.keda.scaledObject.{field}")).collect()
}
