//! Functions that run as Jobs: once, or a Job for each thing that KEDA counts.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use kube::{ResourceExt, api::DynamicObject};
use openfunction_proto::core::NOT_READY_YET;
use serde_json::{Map, Value, json};

use crate::{
    engine::World,
    foreign::ScaledJob,
    pod::{self, Shape},
    rendered::rendered,
    status::{Observed, failure_of_pods, late},
    validate::{MANAGED, Valid},
};

/// Restart policy of a Job's pods that is not named.
const RESTART_POLICY: &str = "OnFailure";

/// The Job of a function without triggers: it runs once.
pub fn job(valid: &Valid, world: &World) -> Value {
    let live = world.find::<Job>(&valid.serving.name_any());
    let (template, annotations) = template(valid, world, live);
    let mut metadata = valid.metadata(&[MANAGED]);
    metadata.annotations = Some(annotations);
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}})
}

/// The ScaledJob. Fields of `scaleOptions.keda.scaledJob` that we do not know go to KEDA as they are.
pub fn scaled_job(valid: &Valid, world: &World) -> Value {
    let live = world.find::<ScaledJob>(&valid.serving.name_any());
    let (template, annotations) = template(valid, world, live);
    let mut metadata = valid.metadata(&[MANAGED]);
    metadata.annotations = Some(annotations);
    let options = valid.keda.scaled_job.clone().unwrap_or_default();
    let triggers: Vec<_> = valid.triggers.iter().map(|(_, trigger)| trigger).collect();
    let mut spec: Map<String, Value> = options.unknown.clone().into_iter().collect();
    let fields = json!({
        "jobTargetRef": {"template": template},
        "envSourceContainerName": pod::FUNCTION,
        "maxReplicaCount": valid.scale.max_replicas,
        "pollingInterval": options.polling_interval,
        "successfulJobsHistoryLimit": options.successful_jobs_history_limit,
        "failedJobsHistoryLimit": options.failed_jobs_history_limit,
        "scalingStrategy": options.scaling_strategy,
        "triggers": triggers,
    });
    if let Value::Object(fields) = fields {
        spec.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
    }
    json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": metadata, "spec": spec})
}

/// The pod template, and annotations that note it.
fn template(valid: &Valid, world: &World, live: Option<&DynamicObject>) -> (Value, BTreeMap<String, String>) {
    let shape = Shape { is_job: true, ..Shape::PLAIN };
    let (mut template, annotations) = rendered(valid, live, || pod::template(valid, world, shape));
    // Of the scaler's options, which may change while the template stays.
    let policy = valid.keda.scaled_job.as_ref().and_then(|job| job.restart_policy.clone());
    let policy = policy.filter(|policy| !policy.is_empty()).unwrap_or_else(|| RESTART_POLICY.to_owned());
    template["spec"]["restartPolicy"] = json!(policy);
    (template, annotations)
}

/// What has become of the Job. One that has ended has done what it should.
pub fn observe(valid: &Valid, world: &World) -> Observed {
    let Some(job) = world.typed::<Job>(&valid.serving.name_any()) else {
        return Observed::new("Starting", "Starting", NOT_READY_YET);
    };
    let status = job.status.unwrap_or_default();
    let failed = status.conditions.iter().flatten().find(|c| c.type_ == "Failed" && c.status == "True");
    if let Some(failed) = failed {
        let message = failed.message.clone().unwrap_or_default();
        return Observed::new("Failed", failed.reason.clone().unwrap_or_default(), message);
    }
    if status.succeeded.unwrap_or(0) > 0 || status.ready.unwrap_or(0) > 0 {
        return Observed::running();
    }
    let observed = match failure_of_pods(world.pods.iter().map(|pod| &**pod)) {
        Some((reason, message)) => Observed::new("Failed", reason, message),
        None => Observed::new("Starting", "Starting", "its pod is not running yet"),
    };
    late(observed, valid, world.now)
}

/// What KEDA says of the ScaledJob.
pub fn observe_scaled(valid: &Valid, world: &World) -> Observed {
    if !world.has_keda {
        let message =
            "a Job function with triggers runs when KEDA says so, and the cluster has no KEDA (scaledjobs.keda.sh)";
        return Observed::new("Failed", "KedaMissing", message);
    }
    let name = valid.serving.name_any();
    let ready = world.find::<ScaledJob>(&name).and_then(|live| {
        let conditions = live.data.pointer("/status/conditions")?.as_array()?;
        conditions.iter().find(|condition| condition["type"] == "Ready").cloned()
    });
    let text = |ready: &Value, field: &str| ready[field].as_str().unwrap_or_default().to_owned();
    let observed = match &ready {
        Some(ready) if ready["status"] == "True" => return Observed::running(),
        Some(ready) if ready["status"] == "False" => {
            Observed::new("Failed", text(ready, "reason"), format!("ScaledJob {name}: {}", text(ready, "message")))
        }
        _ => Observed::new("Starting", "Starting", "KEDA has not looked at its ScaledJob yet"),
    };
    late(observed, valid, world.now)
}
