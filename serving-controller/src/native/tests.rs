//! Engine `native`: what it builds, and what it says.

use serde_json::{Value, json};

use crate::testing::Case;

fn case(scale: Value) -> Case {
    let mut case = Case::new(json!({"scaleOptions": scale}));
    case.has_metrics = true;
    case
}

#[test]
fn a_number_that_is_fixed_has_no_autoscaler() {
    let fixed = case(json!({"minReplicas": 3, "maxReplicas": 3}));
    assert!(fixed.built_of("HorizontalPodAutoscaler").is_none());
    assert_eq!(fixed.built_of("Deployment").unwrap()["spec"]["replicas"], 3);
}

#[test]
fn zero_replicas_are_one_and_it_is_told() {
    let zero = case(json!({"minReplicas": 0}));
    assert_eq!(zero.built_of("HorizontalPodAutoscaler").unwrap()["spec"]["minReplicas"], 1);
    assert_eq!(zero.notes()[0].0, "ScaleToZeroUnavailable");
    assert!(case(json!({})).notes().is_empty(), "who asks for nothing is told nothing");
}

#[test]
fn more_than_one_replica_is_not_disrupted_all_at_once() {
    let budget = case(json!({"minReplicas": 2})).built_of("PodDisruptionBudget").unwrap();
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert!(case(json!({"maxReplicas": 4})).built_of("PodDisruptionBudget").is_none());
}

#[test]
fn a_metric_of_ones_own_is_chosen_with_knatives_words() {
    let class = "hpa.autoscaling.knative.dev";
    let requests = json!({"containers": [{"name": "function", "resources": {"requests": {"cpu": "100m"}}}]});
    let metrics = |scale: Value| {
        let mut case = case(scale);
        case.serving.spec.serving.template = Some(requests.clone());
        case.built_of("HorizontalPodAutoscaler").unwrap()["spec"]["metrics"].clone()
    };
    let by = |metric: &str, target: &str| {
        metrics(json!({"maxReplicas": 4, "knative": {"autoscaling.knative.dev/class": class,
            "autoscaling.knative.dev/metric": metric, "autoscaling.knative.dev/target": target}}))
    };
    assert_eq!(by("cpu", "60")[0]["resource"]["target"]["averageUtilization"], 60);
    assert_eq!(by("memory", "200")[0]["resource"]["target"]["averageValue"], "200Mi");
    let own = by("queue_length", "7");
    assert_eq!(
        (&own[0]["pods"]["metric"]["name"], &own[0]["pods"]["target"]["averageValue"]),
        (&json!("queue_length"), &json!("7"))
    );
    let bad = case(
        json!({"maxReplicas": 4, "knative": {"autoscaling.knative.dev/class": class, "autoscaling.knative.dev/target": "much"}}),
    );
    let valid = bad.valid();
    let error = valid.engine.build(&valid, &bad.world()).unwrap_err().to_string();
    assert_eq!(
        error,
        "spec.scaleOptions.knative[autoscaling.knative.dev/target]: Invalid value: \"much\": must be a whole number above 0"
    );
}

fn triggers(list: Value) -> Value {
    json!({"minReplicas": 1, "maxReplicas": 6, "keda": {"triggers": list}})
}

#[test]
fn triggers_make_a_scaled_object_instead_of_an_autoscaler() {
    let scale = json!({"minReplicas": 1, "maxReplicas": 6, "keda": {"triggers": [{"type": "kafka", "metadata": {"topic": "t"}}],
        "scaledObject": {"minReplicaCount": 2, "pollingInterval": 5, "cooldownPeriod": 60, "idleReplicaCount": 1}}});
    let mut case = case(scale);
    case.has_keda = true;
    let spec = case.built_of("ScaledObject").unwrap()["spec"].clone();
    assert_eq!(
        (&spec["minReplicaCount"], &spec["maxReplicaCount"]),
        (&json!(2), &json!(6)),
        "Q8: what is said to KEDA wins"
    );
    assert_eq!(
        (&spec["pollingInterval"], &spec["cooldownPeriod"], &spec["idleReplicaCount"]),
        (&json!(5), &json!(60), &json!(1))
    );
    assert_eq!(spec["scaleTargetRef"]["name"], "hello-1");
    assert!(case.built_of("HorizontalPodAutoscaler").is_none());
    assert!(case.notes().is_empty());
}

#[test]
fn without_keda_what_kubernetes_can_do_is_done_and_the_rest_told() {
    let cpu = json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "70"}});
    let requests = json!({"containers": [{"name": "function", "resources": {"requests": {"cpu": "100m"}}}]});
    let case = |scale: Value| {
        let mut case = case(scale);
        case.serving.spec.serving.template = Some(requests.clone());
        case
    };
    let both = case(triggers(json!([cpu, {"type": "kafka", "metadata": {}}])));
    let spec = both.built_of("HorizontalPodAutoscaler").unwrap()["spec"].clone();
    assert_eq!(spec["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    let (type_, message) = both.notes().remove(0);
    assert_eq!(type_, "ScalerUnavailable");
    assert!(message.starts_with("spec.scaleOptions.keda.triggers[1]: type \"kafka\" needs KEDA"), "{message}");
    assert!(case(triggers(json!([cpu]))).notes().is_empty());
}

#[test]
fn utilization_of_what_nobody_requests_does_not_count_and_it_is_told() {
    let cpu = json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "70"}});
    let case = case(triggers(json!([cpu])));
    let target = case.built_of("HorizontalPodAutoscaler").unwrap()["spec"]["metrics"][0]["resource"]["target"].clone();
    assert_eq!(target, json!({"type": "AverageValue", "averageValue": "500m"}), "as without a trigger");
    let (type_, message) = case.notes().remove(0);
    assert_eq!(type_, "ScalerUnavailable");
    assert!(message.contains("needs resources.requests.cpu"), "{message}");
    let words =
        json!({"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev", "autoscaling.knative.dev/target": "60"});
    let case = self::case(json!({"maxReplicas": 4, "knative": words}));
    assert_eq!(case.built_of("HorizontalPodAutoscaler").unwrap()["spec"]["metrics"][0]["resource"]["target"], target);
    assert_eq!(case.notes()[0].0, "ScalerUnavailable");
}

#[test]
fn a_value_that_is_no_quantity_is_refused_with_its_path() {
    for value in ["abc", "", "0", "-5Mi", "5 Mi"] {
        let memory = json!({"type": "memory", "metricType": "AverageValue", "metadata": {"value": value}});
        let case = case(triggers(json!([memory])));
        let valid = case.valid();
        let error = valid.engine.build(&valid, &case.world()).unwrap_err().to_string();
        assert!(error.starts_with("spec.scaleOptions.keda.triggers[0].metadata.value: Invalid value"), "{error}");
    }
}

#[test]
fn options_of_a_scaled_object_that_is_not_made_are_ignored_with_a_warning_but_for_the_behaviour() {
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 60}});
    let object = json!({"minReplicaCount": 2, "pollingInterval": 5, "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}}});
    let case = case(json!({"maxReplicas": 4, "keda": {"scaledObject": object}}));
    let spec = case.built_of("HorizontalPodAutoscaler").unwrap()["spec"].clone();
    assert_eq!((&spec["minReplicas"], &spec["behavior"]), (&json!(1), &behavior));
    let (_, message) = case.notes().remove(0);
    assert_eq!(
        message,
        "engine native does not use spec.scaleOptions.keda.scaledObject.minReplicaCount, spec.scaleOptions.keda.scaledObject.pollingInterval"
    );
}

#[test]
fn sc23_a_scheduled_floor_is_kept_without_keda() {
    let day = json!({"type": "cron", "metadata": {"timezone": "UTC", "start": "0 8 * * *", "end": "0 18 * * *", "desiredReplicas": "4"}});
    let mut case = case(triggers(json!([day])));
    let min = |case: &Case| case.built_of("HorizontalPodAutoscaler").unwrap()["spec"]["minReplicas"].clone();
    assert_eq!(min(&case), 1);
    case.now = "2026-01-01T09:00:00Z".parse().unwrap();
    assert_eq!(min(&case), 4);
    let valid = case.valid();
    let again = valid.engine.observe(&valid, &case.world()).observed.look_again;
    assert_eq!(again, Some(std::time::Duration::from_secs(9 * 3600)));
    case.has_metrics = false;
    assert_eq!(case.built_of("Deployment").unwrap()["spec"]["replicas"], 4, "without an autoscaler, too");
}

#[test]
fn options_of_other_engines_are_ignored_with_a_warning() {
    let scale = json!({"knative": {"autoscaling.knative.dev/metric": "rps"}, "keda": {"httpScaledObject": {}}});
    let (type_, message) = case(scale).notes().remove(0);
    assert_eq!(type_, "OptionsIgnored");
    assert_eq!(
        message,
        "engine native does not use spec.scaleOptions.knative[autoscaling.knative.dev/metric], spec.scaleOptions.keda.httpScaledObject"
    );
}
