//! The state of a revision that a Deployment or a StatefulSet runs.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, StatefulSet};
use kube::ResourceExt;
use openfunction_proto::core::NOT_READY_YET;

use crate::{
    engine::World,
    status::{Observed, failure_of_pods, late, not_ready},
    validate::Valid,
};

/// Looks at the workload and its pods. `may_be_zero` says that a scaler takes a function that nobody calls to zero.
pub fn rollout(valid: &Valid, world: &World, may_be_zero: bool) -> Observed {
    let was_running = valid.was_running();
    let name = valid.serving.name_any();
    let found = world.typed::<Deployment>(&name).or_else(|| world.typed::<StatefulSet>(&name).map(as_deployment));
    let Some(deployment) = found else {
        return Observed::new("Starting", "Starting", NOT_READY_YET);
    };
    let status = deployment.status.clone().unwrap_or_default();
    let available = status.available_replicas.unwrap_or(0);
    // A revision that once was up is not late when it fails later, and may be left alone at zero.
    let was_up = has_been_up(&status);
    let sleeps = may_be_zero && wanted(&deployment) == 0 && (was_running || was_up);
    if is_rolled_out(&deployment, &status) || (was_running && available > 0) || sleeps {
        return Observed::running();
    }
    let observed = match failure(&status, world) {
        Some((reason, message)) => Observed::new("Failed", reason, message),
        None => {
            let ready = format!("{available} of {} replicas are ready", wanted(&deployment));
            let waits = not_ready(world.pods.iter().map(|pod| &**pod));
            Observed::new("Starting", "Starting", waits.map_or(ready.clone(), |waits| format!("{ready}; {waits}")))
        }
    };
    if was_up { observed } else { late(observed, valid, world.now) }
}

/// Whether the revision has run once.
pub fn was_up(valid: &Valid, world: &World) -> bool {
    if valid.was_running() {
        return true;
    }
    let deployment = world.typed::<Deployment>(&valid.serving.name_any());
    deployment.and_then(|deployment| deployment.status).is_some_and(|status| has_been_up(&status))
}

fn has_been_up(status: &DeploymentStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|c| c.type_ == "Progressing" && c.reason.as_deref() == Some("NewReplicaSetAvailable"))
}

/// What a StatefulSet says, in the words of a Deployment; it has no conditions.
fn as_deployment(set: StatefulSet) -> Deployment {
    let replicas = set.spec.and_then(|spec| spec.replicas);
    let status = set.status.map(|status| DeploymentStatus {
        observed_generation: status.observed_generation,
        replicas: Some(status.replicas),
        updated_replicas: status.updated_replicas.or(Some(0)),
        available_replicas: status.available_replicas,
        ..DeploymentStatus::default()
    });
    let spec = DeploymentSpec { replicas, ..DeploymentSpec::default() };
    Deployment { metadata: set.metadata, spec: Some(spec), status }
}

fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// As `kubectl rollout status` sees it.
fn is_rolled_out(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let (updated, all, available) =
        (status.updated_replicas.unwrap_or(0), status.replicas.unwrap_or(0), status.available_replicas.unwrap_or(0));
    status.observed_generation >= deployment.metadata.generation
        && updated >= wanted(deployment)
        && all <= updated
        && available >= updated
        && available > 0
}

/// Why the revision does not come up; the word is the kubelet's or the Deployment controller's own.
fn failure(status: &DeploymentStatus, world: &World) -> Option<(String, String)> {
    failure_of_pods(world.pods.iter().map(|pod| &**pod)).or_else(|| {
        let condition = |type_: &str, status_: &str| {
            let found = status.conditions.iter().flatten().find(|c| c.type_ == type_ && c.status == status_)?;
            Some((found.reason.clone().unwrap_or_default(), found.message.clone().unwrap_or_default()))
        };
        // Quotas, limits and admission refuse pods before there are any.
        condition("ReplicaFailure", "True").or_else(|| condition("Progressing", "False"))
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use controller_runtime::children::dynamic;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::Case;

    fn seen(before: &Value, status: &Value, pods: &[&Value], seconds: u64) -> Observed {
        seen_with(before, &json!({"generation": 2}), 2, status, pods, seconds, false)
    }

    fn seen_with(
        before: &Value,
        metadata: &Value,
        replicas: i32,
        status: &Value,
        pods: &[&Value],
        seconds: u64,
        may_be_zero: bool,
    ) -> Observed {
        let mut case = Case::new(json!({"timeout": "1m"}));
        case.serving.status = Some(serde_json::from_value(before.clone()).unwrap());
        let mut deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {"replicas": replicas, "selector": {}, "template": {}}, "status": status});
        deployment["metadata"]["name"] = json!("hello-1");
        case.live = vec![dynamic(&deployment)];
        let pod = |status: &&Value| {
            Arc::new(serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap())
        };
        case.pods = pods.iter().map(pod).collect();
        case.now = case.serving.creation_timestamp().unwrap().0 + Duration::from_secs(seconds);
        rollout(&case.valid(), &case.world(), may_be_zero)
    }

    fn done() -> Value {
        json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2})
    }

    #[test]
    fn b65_a_revision_runs_when_its_rollout_is_complete() {
        assert_eq!(seen(&json!({}), &done(), &[], 5).state, "Running");
        for (field, value) in
            [("observedGeneration", 1), ("availableReplicas", 1), ("replicas", 3), ("updatedReplicas", 1)]
        {
            let mut status = done();
            status[field] = json!(value);
            assert_eq!(seen(&json!({}), &status, &[], 5).state, "Starting", "{status}");
            let running = seen(&json!({"state": "Running"}), &status, &[], 5);
            assert_eq!(running.state, "Running", "while it scales, it still runs");
        }
    }

    #[test]
    fn a_function_that_nobody_calls_runs_with_no_replica_where_that_is_meant() {
        let (running, none) = (json!({"state": "Running"}), json!({"observedGeneration": 2}));
        let at_zero = |may_be_zero| seen_with(&running, &json!({"generation": 2}), 0, &none, &[], 5, may_be_zero).state;
        assert_eq!((at_zero(true), at_zero(false)), ("Running", "Starting"));
        let up = json!({"conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]});
        let later = |status: &Value| {
            seen_with(&json!({"state": "Failed"}), &json!({"generation": 2}), 0, status, &[], 5, true).state
        };
        assert_eq!((later(&up), later(&none)), ("Running", "Starting"), "whatever was wrong meanwhile, if it was up");
    }

    #[test]
    fn what_the_kubelet_says_of_a_pod_is_the_reason() {
        let image = json!({"containerStatuses": [{"name": "function", "image": "a", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"a\""}}}]});
        let observed = seen(&json!({}), &json!({}), &[&image], 5);
        assert_eq!((observed.state, observed.reason.as_str()), ("Failed", "ImagePullBackOff"));
        let said = "pod p, container function: Back-off pulling image \"a\"; check the name";
        assert!(observed.message.starts_with(said), "{}", observed.message);
        let crash = json!({"containerStatuses": [{"name": "function", "image": "a", "imageID": "", "ready": false, "restartCount": 1,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
            "lastState": {"terminated": {"exitCode": 3, "reason": "Error", "message": "first\nno database\n"}}}]});
        let observed = seen(&json!({}), &json!({}), &[&crash], 5);
        let said = "it ended with exit code 3 (Error): no database; read its log";
        assert!(observed.message.contains(said), "{}", observed.message);
        let probe = json!({"containerStatuses": [{"name": "function", "image": "a", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}}}]});
        let observed = seen(&json!({}), &json!({}), &[&probe], 5);
        assert_eq!(observed.state, "Starting");
        assert!(observed.message.contains("pod p, container function: it runs, and its probe"), "{}", observed.message);
        let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]});
        assert_eq!(seen(&json!({}), &json!({}), &[&unscheduled], 5).message, "pod p: 0/1 nodes");
        let quota = json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}]});
        assert_eq!(seen(&json!({}), &quota, &[], 5).reason, "FailedCreate");
    }

    #[test]
    fn b60_a_revision_that_comes_late_runs_all_the_same() {
        let late = seen(&json!({}), &json!({"availableReplicas": 1}), &[], 61);
        assert_eq!((late.state, late.message.as_str()), ("Timeout", "not ready within 60s: 1 of 2 replicas are ready"));
        assert_eq!(seen(&json!({}), &json!({}), &[], 20).look_again, Some(Duration::from_secs(40)));
        assert_eq!(seen(&json!({"state": "Timeout"}), &done(), &[], 99).state, "Running");
    }

    #[test]
    fn a_revision_that_was_up_and_crashes_later_is_not_late() {
        let up = json!({"conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]});
        assert_eq!(seen(&json!({"state": "Running"}), &up, &[], 9999).state, "Starting");
    }

    #[test]
    fn a_timeout_counts_from_the_last_activation() {
        let status = json!({"activatedAt": "2026-01-01T00:05:00Z"});
        assert_eq!(seen(&status, &json!({}), &[], 330).state, "Starting");
    }
}
