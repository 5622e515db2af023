//! Engine `keda`: what it builds, and what it sees.

use controller_runtime::children::dynamic;
use serde_json::{Value, json};

use crate::testing::Case;

fn case(scale: Value, route: Value) -> Case {
    Case::new(json!({"triggers": {"http": {"engine": "keda", "port": 9000, "route": route}}, "scaleOptions": scale}))
}

#[test]
fn b91_there_always_is_an_http_scaled_object_with_defaults() {
    let mut case = Case::new(json!({"triggers": {"http": {"engine": "keda"}}}));
    let replicas = |case: &Case| case.built_of("HTTPScaledObject").unwrap()["spec"]["replicas"].clone();
    assert_eq!(replicas(&case), json!({"min": 1, "max": 10}), "nobody takes the first replica before it has run");
    case.serving.status = Some(serde_json::from_value(json!({"state": "Running"})).unwrap());
    let object = case.built_of("HTTPScaledObject").unwrap();
    assert_eq!(
        object["spec"],
        json!({"hosts": ["hello-1.shop.svc.cluster.local"], "pathPrefixes": ["/"],
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "hello-1", "service": "hello-1", "port": 80},
            "replicas": {"min": 0, "max": 10}, "scaledownPeriod": 300, "scalingMetric": {"concurrency": {"targetValue": 100}}})
    );
}

#[test]
fn b90_options_without_those_of_the_add_on_break_nothing() {
    let keda = json!({"minReplicas": 2, "maxReplicas": 5, "keda": {"triggers": [{"type": "kafka", "metadata": {}}]}});
    let case = case(keda, json!(null));
    assert_eq!(case.built_of("HTTPScaledObject").unwrap()["spec"]["replicas"], json!({"min": 2, "max": 5}));
    assert_eq!(case.notes()[0].1, "engine keda does not use spec.scaleOptions.keda.triggers");
}

#[test]
fn b92_the_host_is_the_revisions_own_whatever_hostnames_the_function_has() {
    let options = json!({"keda": {"httpScaledObject": {"targetPendingRequests": 7, "cooldownPeriod": 60}}});
    let case = case(options, json!({"hostnames": ["shop.example.com"]}));
    let spec = case.built_of("HTTPScaledObject").unwrap()["spec"].clone();
    assert_eq!(
        (&spec["scaledownPeriod"], &spec["scalingMetric"]["concurrency"]["targetValue"]),
        (&json!(60), &json!(7))
    );
    let valid = case.valid();
    let backend = valid.engine.observe(&valid, &case.world()).backend.unwrap();
    assert_eq!(backend.host, Some("hello-1.shop.svc.cluster.local".to_owned()));
    assert_eq!((backend.namespace.as_str(), backend.port), ("keda", 8080));
    assert_eq!(spec["hosts"], json!([backend.host]));
}

#[test]
fn sc1_a_function_begins_with_one_replica_and_is_then_left_to_the_add_on() {
    let mut case = case(json!({"minReplicas": 0, "maxReplicas": 3}), json!(null));
    let mut deployment = case.built_of("Deployment").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 1);
    deployment["spec"]["replicas"] = json!(0);
    deployment["metadata"]["annotations"]["openfunction.io/scaled-by"] = json!("keda-operator");
    deployment["status"] = json!({"observedGeneration": 1});
    case.live = vec![dynamic(&deployment)];
    case.serving.status = Some(serde_json::from_value(json!({"state": "Running"})).unwrap());
    assert_eq!(case.built_of("Deployment").unwrap()["spec"]["replicas"], Value::Null);
    let valid = case.valid();
    assert_eq!(valid.engine.observe(&valid, &case.world()).observed.state, "Running", "at zero it sleeps");
}
