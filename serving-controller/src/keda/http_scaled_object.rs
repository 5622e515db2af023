//! The HTTPScaledObject of a revision (KEDA HTTP add-on 0.10 and later: `scalingMetric` took the place of
//! `targetPendingRequests`).

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    engine::World,
    service::PORT,
    validate::{MANAGED, Valid},
};

/// Pending requests for each replica, where the user names none.
const TARGET: i32 = 100;
/// Seconds without requests before the last replica goes, where the user names none.
const COOLDOWN: i32 = 300;

/// The Host by which the interceptor knows the revision: one of its own, so that it meets no other, whatever hostnames
/// the function has (B-92).
pub fn host(valid: &Valid, world: &World) -> String {
    let namespace = valid.serving.namespace().unwrap_or_default();
    format!("{}.{namespace}.svc.{}", valid.serving.name_any(), world.settings.cluster_domain)
}

/// The HTTPScaledObject. There always is one, since requests reach the function through the interceptor (B-91).
pub fn http_scaled_object(valid: &Valid, world: &World, (min, max): (i32, i32)) -> Value {
    let name = valid.serving.name_any();
    let options = valid.keda.http_scaled_object.clone().unwrap_or_default();
    json!({
        "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject",
        "metadata": valid.metadata(&[MANAGED]),
        "spec": {
            "hosts": [host(valid, world)],
            // The host alone says which revision is meant; which paths lead to it is the route's affair.
            "pathPrefixes": ["/"],
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "service": name, "port": PORT},
            "replicas": {"min": min, "max": max},
            "scaledownPeriod": options.cooldown_period.unwrap_or(COOLDOWN),
            "scalingMetric": {"concurrency": {"targetValue": options.target_pending_requests.unwrap_or(TARGET)}},
        },
    })
}
