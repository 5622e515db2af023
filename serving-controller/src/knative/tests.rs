//! Engine `knative`: what it builds, and what it sees.

use std::sync::Arc;

use controller_runtime::children::dynamic;
use serde_json::{Value, json};

use crate::{engine::Seen, testing::Case};

fn case(more: Value) -> Case {
    let mut spec = json!({"triggers": {"http": {"engine": "knative"}}});
    more.as_object().unwrap().iter().for_each(|(field, value)| spec[field] = value.clone());
    Case::new(spec)
}

fn service(more: Value) -> Value {
    case(more).built_of("Service").unwrap()
}

fn scaling(more: Value) -> Value {
    service(more)["spec"]["template"]["metadata"]["annotations"].clone()
}

#[test]
fn b80_what_is_said_to_knative_wins_over_what_is_said_to_all() {
    let annotations = scaling(json!({"scaleOptions": {"minReplicas": 1, "maxReplicas": 4,
        "knative": {"autoscaling.knative.dev/min-scale": "2", "autoscaling.knative.dev/target": "40"}}}));
    assert_eq!(annotations["autoscaling.knative.dev/min-scale"], "2");
    assert_eq!(annotations["autoscaling.knative.dev/max-scale"], "4");
    assert_eq!(annotations["autoscaling.knative.dev/target"], "40");
    let annotations = scaling(json!({"scaleOptions": {"knative": {"autoscaling.knative.dev/minScale": "2"}},
        "annotations": {"autoscaling.knative.dev/min-scale": "3"}}));
    assert_eq!(annotations["autoscaling.knative.dev/min-scale"], "3", "an annotation of the pods wins over both");
    assert_eq!(annotations["autoscaling.knative.dev/minScale"], Value::Null, "one name for one thing");
}

#[test]
fn sc2_bounds_that_nobody_names_are_none_and_ten() {
    let none = scaling(json!({}));
    assert_eq!(
        (&none["autoscaling.knative.dev/min-scale"], &none["autoscaling.knative.dev/max-scale"]),
        (&json!("0"), &json!("10"))
    );
    let many = scaling(json!({"scaleOptions": {"minReplicas": 20}}));
    assert_eq!(many["autoscaling.knative.dev/max-scale"], "20", "never less than the lower bound");
    let many = scaling(json!({"scaleOptions": {"knative": {"autoscaling.knative.dev/min-scale": "12"}}}));
    assert_eq!(many["autoscaling.knative.dev/max-scale"], "12");
}

#[test]
fn sc17_container_concurrency_is_a_field_of_the_revision() {
    let with = |value: &str| {
        case(json!({"scaleOptions": {"knative": {"autoscaling.knative.dev/container-concurrency": value}}}))
    };
    let template = with("5").built_of("Service").unwrap()["spec"]["template"].clone();
    assert_eq!(template["spec"]["containerConcurrency"], 5);
    assert_eq!(template["metadata"]["annotations"]["autoscaling.knative.dev/container-concurrency"], Value::Null);
    for wrong in ["many", "-1", "1001"] {
        let case = with(wrong);
        let valid = case.valid();
        let error = valid.engine.build(&valid, &case.world()).unwrap_err().to_string();
        assert!(
            error
                .starts_with("spec.scaleOptions.knative[autoscaling.knative.dev/container-concurrency]: Invalid value"),
            "{error}"
        );
    }
}

#[test]
fn b84_the_template_has_no_name_and_what_knative_refuses_is_not_in_it() {
    let ports = json!([{"containerPort": 9090, "name": "metrics"}, {"containerPort": 8080, "name": "web"}]);
    let service =
        service(json!({"version": "V1_0", "template": {"containers": [{"name": "function", "ports": ports}]}}));
    let template = &service["spec"]["template"];
    assert_eq!(template["metadata"]["name"], Value::Null);
    let container = &template["spec"]["containers"][0];
    assert_eq!((&container["lifecycle"], &container["readinessProbe"]), (&Value::Null, &Value::Null));
    assert_eq!(container["ports"], json!([{"containerPort": 8080, "name": "http1"}]), "B-81");
}

#[test]
fn fn14_the_knative_service_has_labels_and_annotations_of_its_own() {
    let own = json!({"labels": {"team": "blue"}, "annotations": {"serving.knative.dev/rollout-duration": "380s"}});
    let service_ = service(json!({"knativeService": own, "annotations": {"of": "pods"}, "labels": {"of": "pods"}}));
    let metadata = &service_["metadata"];
    assert_eq!(
        (&metadata["labels"]["team"], &metadata["annotations"]["serving.knative.dev/rollout-duration"]),
        (&json!("blue"), &json!("380s"))
    );
    assert_eq!((&metadata["labels"]["of"], &metadata["annotations"]["of"]), (&Value::Null, &Value::Null));
    assert_eq!(metadata["labels"]["networking.knative.dev/visibility"], "cluster-local", "Knative opens no other way");
    let of_pods = &service_["spec"]["template"]["metadata"];
    assert_eq!((&of_pods["labels"]["of"], &of_pods["annotations"]["of"]), (&json!("pods"), &json!("pods")));
    let open = service(json!({"knativeService": {"labels": {"networking.knative.dev/visibility": ""}}}));
    assert_eq!(open["metadata"]["labels"]["networking.knative.dev/visibility"], Value::Null);
}

fn seen(before: Value, condition: &str, revisions: (&str, &str), pods: &[Value]) -> Seen {
    let mut case = case(json!({"timeout": "1m"}));
    case.serving.status = Some(serde_json::from_value(before).unwrap());
    let mut service = case.built_of("Service").unwrap();
    service["metadata"]["generation"] = json!(2);
    service["status"] = json!({"observedGeneration": 2, "latestReadyRevisionName": revisions.0, "latestCreatedRevisionName": revisions.1,
        "conditions": [{"type": "ConfigurationsReady", "status": condition, "reason": "RevisionFailed", "message": "Revision failed"},
            {"type": "Ready", "status": "Unknown", "reason": "IngressNotConfigured"}]});
    case.live = vec![dynamic(&service)];
    case.pods = pods.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect();
    case.now = "2026-01-01T00:00:30Z".parse().unwrap();
    let valid = case.valid();
    valid.engine.observe(&valid, &case.world())
}

#[test]
fn b83_a_revision_runs_when_its_configuration_is_ready_whatever_the_ingress() {
    let seen = seen(json!({}), "True", ("s-00002", "s-00002"), &[]);
    assert_eq!(seen.observed.state, "Running");
    let backend = seen.backend.unwrap();
    assert_eq!((backend.name.as_str(), backend.port, backend.host), ("s-00002", 80, None));
    assert_eq!(backend.headers["Knative-Serving-Revision"], "s-00002");
    assert_eq!(backend.headers["Knative-Serving-Namespace"], "shop");
}

#[test]
fn http_2_in_clear_text_has_a_port_of_its_own() {
    let ports = json!([{"containerPort": 8080, "name": "h2c"}]);
    let mut case = case(json!({"template": {"containers": [{"name": "function", "ports": ports}]}}));
    let mut service = case.built_of("Service").unwrap();
    assert_eq!(service["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"], "h2c");
    service["status"] = json!({"latestReadyRevisionName": "s-00001"});
    case.live = vec![dynamic(&service)];
    let valid = case.valid();
    let backend = valid.engine.observe(&valid, &case.world()).backend.unwrap();
    assert_eq!((backend.port, backend.app_protocol.as_deref()), (81, Some("kubernetes.io/h2c")));
}

#[test]
fn other_bounds_leave_the_revision_of_before_in_its_place_until_the_new_one_is_ready() {
    let rolling = seen(json!({"state": "Running"}), "Unknown", ("s-00001", "s-00002"), &[]);
    assert_eq!((rolling.observed.state, rolling.backend.unwrap().name.as_str()), ("Running", "s-00001"));
    let failed = seen(json!({"state": "Running"}), "False", ("s-00001", "s-00002"), &[]);
    assert_eq!((failed.observed.state, failed.observed.reason.as_str()), ("Failed", "RevisionFailed"));
    assert_eq!(failed.backend.unwrap().name, "s-00001", "which goes on answering");
}

#[test]
fn the_words_of_the_pods_come_before_those_of_knative() {
    let pod = |revision: &str| {
        json!({"metadata": {"name": "p", "labels": {"serving.knative.dev/revision": revision}},
        "status": {"containerStatuses": [{"name": "function", "image": "a", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}}]}})
    };
    let failed = seen(json!({}), "Unknown", ("", "s-00001"), &[pod("s-00001")]);
    assert_eq!((failed.observed.state, failed.observed.reason.as_str()), ("Failed", "ImagePullBackOff"));
    assert_eq!(failed.backend, None);
    let of_another = seen(json!({}), "Unknown", ("", "s-00002"), &[pod("s-00001")]);
    assert_eq!(of_another.observed.state, "Starting", "only those of the newest revision count");
}

#[test]
fn options_of_other_engines_are_ignored_with_a_warning() {
    let keda = json!({"scaledObject": {}, "triggers": [{"type": "kafka", "metadata": {}}]});
    let notes = case(json!({"scaleOptions": {"keda": keda}, "workloadType": "StatefulSet"})).notes();
    assert_eq!(notes, [("OptionsIgnored".to_owned(), "engine knative does not use spec.scaleOptions.keda.scaledObject, spec.scaleOptions.keda.triggers, spec.workloadType".to_owned())]);
    assert!(case(json!({})).notes().is_empty());
}

#[test]
fn a_long_timeout_is_told_to_knative() {
    assert_eq!(scaling(json!({"timeout": "20m"}))["serving.knative.dev/progress-deadline"], "1200s");
    assert_eq!(scaling(json!({"timeout": "1m"}))["serving.knative.dev/progress-deadline"], Value::Null);
}
