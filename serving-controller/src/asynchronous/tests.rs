use serde_json::json;

use super::*;
use crate::testing::Case;

fn case(more: Value) -> Case {
    let mut spec = json!({"triggers": {"dapr": [{"name": "bus", "type": "pubsub.redis", "topic": "t"}]}});
    more.as_object().unwrap().iter().for_each(|(field, value)| spec[field] = value.clone());
    Case::new(spec)
}

fn kinds(case: &Case) -> Vec<String> {
    case.built().iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect()
}

fn lag() -> Value {
    json!({"minReplicas": 0, "maxReplicas": 5, "keda": {"triggers": [{"type": "kafka", "metadata": {"topic": "t"}, "authenticationRef": {"name": "kafka"}}],
        "scaledObject": {"pollingInterval": 5, "idleReplicaCount": 0}, "scaledJob": {"pollingInterval": 7, "restartPolicy": "Never", "rollout": {"strategy": "gradual"}}}})
}

#[test]
fn a_function_that_events_call_runs_as_what_it_asks_for() {
    assert_eq!(kinds(&case(json!({}))), ["Service", "Deployment"]);
    assert_eq!(kinds(&case(json!({"workloadType": "StatefulSet"}))), ["Service", "StatefulSet"]);
    let sidecar = json!({"annotations": {"openfunction.io/dapr-service-mode": "sidecar"}});
    assert_eq!(kinds(&case(sidecar)), ["Deployment"], "nobody but its own sidecar calls it");
    let service = case(json!({})).built_of("Service").unwrap();
    assert_eq!((&service["spec"]["clusterIP"], &service["spec"]["ports"][0]["port"]), (&json!("None"), &json!(8080)));
}

#[test]
fn b101_a_job_runs_once_or_whenever_its_triggers_say_so() {
    let job = json!({"workloadType": "Job", "triggers": {}});
    assert_eq!(kinds(&case(job.clone())), ["Job"]);
    let mut scaled = case(json!({"workloadType": "Job", "triggers": {}, "scaleOptions": lag()}));
    assert!(kinds(&scaled).is_empty());
    assert_eq!(scaled.notes()[0].0, "ScalerUnavailable");
    scaled.has_keda = true;
    assert_eq!(kinds(&scaled), ["ScaledJob"]);
    let spec = scaled.built_of("ScaledJob").unwrap()["spec"].clone();
    assert_eq!((&spec["pollingInterval"], &spec["maxReplicaCount"]), (&json!(7), &json!(5)));
    assert_eq!(spec["rollout"], json!({"strategy": "gradual"}), "SC5");
    let template = &spec["jobTargetRef"]["template"]["spec"];
    assert_eq!(
        (&template["restartPolicy"], &template["containers"][0]["readinessProbe"]),
        (&json!("Never"), &Value::Null)
    );
    assert_eq!(case(job).built_of("Job").unwrap()["spec"]["template"]["spec"]["restartPolicy"], "OnFailure");
}

#[test]
fn sc8_keda_scales_it_with_all_that_is_said() {
    let mut case = case(json!({"scaleOptions": lag()}));
    assert_eq!(kinds(&case), ["Service", "Deployment"]);
    case.has_keda = true;
    let object = case.built_of("ScaledObject").unwrap();
    let spec = &object["spec"];
    assert_eq!((&spec["minReplicaCount"], &spec["maxReplicaCount"]), (&json!(1), &json!(5)), "until it has run");
    assert_eq!((&spec["pollingInterval"], &spec["idleReplicaCount"]), (&json!(5), &json!(0)));
    assert_eq!(spec["triggers"][0]["authenticationRef"], json!({"name": "kafka"}));
    case.serving.status = Some(serde_json::from_value(json!({"state": "Running"})).unwrap());
    assert_eq!(case.built_of("ScaledObject").unwrap()["spec"]["minReplicaCount"], 0);
}

#[test]
fn b100_a_function_runs_when_its_workload_does() {
    let observed = |kind: &str, status: Value| {
        let mut case = case(json!({"workloadType": kind}));
        let live = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "hello-1", "generation": 1},
            "spec": {"replicas": 1, "selector": {}, "serviceName": "s", "template": {}}, "status": status});
        case.live = vec![controller_runtime::children::dynamic(&live)];
        let valid = case.valid();
        Asynchronous.observe(&valid, &case.world()).observed.state
    };
    let done = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
    for kind in ["Deployment", "StatefulSet"] {
        assert_eq!(
            (observed(kind, done.clone()), observed(kind, json!({"replicas": 1}))),
            ("Running", "Starting"),
            "{kind}"
        );
    }
}

#[test]
fn a_job_that_has_ended_runs_and_one_that_failed_has() {
    let observed = |status: Value| {
        let mut case = case(json!({"workloadType": "Job", "triggers": {}}));
        let live = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "hello-1"}, "spec": {"template": {}}, "status": status});
        case.live = vec![controller_runtime::children::dynamic(&live)];
        let valid = case.valid();
        Asynchronous.observe(&valid, &case.world()).observed.state
    };
    assert_eq!(observed(json!({"succeeded": 1})), "Running");
    assert_eq!(observed(json!({"ready": 1})), "Running");
    assert_eq!(observed(json!({})), "Starting");
    assert_eq!(
        observed(json!({"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]})),
        "Failed"
    );
}

#[test]
fn q9_an_async_function_that_nothing_calls_says_so() {
    let missing = |more: Value| {
        let mut serving = json!({"runtime": "async", "triggers": {}});
        more.as_object().unwrap().iter().for_each(|(field, value)| serving[field] = value.clone());
        let case = Case::new(serving);
        let valid = case.valid();
        valid.engine.notes(&valid, &case.world()).iter().any(|note| note.type_ == TRIGGER_MISSING)
    };
    let scaler = json!({"keda": {"triggers": [{"type": "kafka", "metadata": {}}]}});
    assert!(missing(json!({})));
    assert!(!missing(json!({"scaleOptions": scaler})));
    assert!(!missing(json!({"triggers": {"dapr": [{"name": "bus", "type": "bindings.cron"}]}})));
}
