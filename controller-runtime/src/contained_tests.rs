use proptest::prelude::*;
use serde_json::json;

use super::*;

fn path_of(wanted: Value, live: Value) -> Option<String> {
    difference(&wanted, &live).map(|d| d.path)
}

#[test]
fn defaults_and_fields_of_others_do_not_count() {
    let wanted =
        json!({"spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "function", "image": "a"}]}}}});
    let live = json!({"spec": {"replicas": 1, "paused": false, "template": {"spec": {"dnsPolicy": "ClusterFirst",
        "containers": [{"name": "sidecar"}, {"name": "function", "image": "a", "terminationMessagePath": "/dev/log"}]}}}});
    assert_eq!(path_of(wanted, live), None);
}

#[test]
fn quantities_are_compared_by_value() {
    for (a, b) in
        [("1000m", "1"), ("1.5Gi", "1536Mi"), ("0.1", "100m"), ("1e3", "1k"), ("1Ki", "1024"), ("100u", "0.0001")]
    {
        let of = |text| json!({"resources": {"limits": {"cpu": text}}});
        assert_eq!(path_of(of(a), of(b)), None, "{a} {b}");
    }
    let of = |text| json!({"resources": {"limits": {"cpu": text}}});
    assert_eq!(path_of(of("1"), of("2")).as_deref(), Some("resources.limits.cpu"));
}

#[test]
fn texts_that_look_like_quantities_or_durations_are_texts_elsewhere() {
    let of = |text: &str| json!({"env": [{"name": "A", "value": text}]});
    assert_eq!(path_of(of("1000m"), of("1")).as_deref(), Some("env[name=A].value"));
    assert_eq!(path_of(of("60s"), of("1m")).as_deref(), Some("env[name=A].value"));
    assert_eq!(path_of(json!({"timeout": "60s"}), json!({"timeout": "1m0s"})), None);
}

#[test]
fn empty_values_are_contained_in_absent_ones() {
    let wanted = json!({"metadata": {"labels": {}, "annotations": null}, "spec": {"nodeSelector": {}, "tolerations": [],
        "hostNetwork": false, "resources": {"limits": {}}, "readinessProbe": {"initialDelaySeconds": 0}, "env": [{"name": "EMPTY", "value": ""}]}});
    let live = json!({"metadata": {}, "spec": {"resources": {}, "readinessProbe": {}, "env": [{"name": "EMPTY"}]}});
    assert_eq!(path_of(wanted, live), None);
}

#[test]
fn presence_and_false_that_mean_something_are_differences() {
    assert!(
        path_of(json!({"volumes": [{"name": "v", "emptyDir": {}}]}), json!({"volumes": [{"name": "v"}]})).is_some()
    );
    assert!(path_of(json!({"automountServiceAccountToken": false}), json!({})).is_some());
    assert!(path_of(json!({"replicas": 0}), json!({})).is_some());
    assert!(path_of(json!({"triggers": {"http": {}}}), json!({"triggers": {}})).is_some());
    let worker = json!({"nodeSelector": {"node-role.kubernetes.io/worker": ""}});
    assert!(path_of(worker, json!({"nodeSelector": {}})).is_some());
    assert!(path_of(json!({"data": {"namespace": ""}}), json!({"data": {"namespace": "a"}})).is_some());
}

#[test]
fn unset_values_take_the_default_of_the_server() {
    let container = |policy: &str, timeout: i32| json!({"containers": [{"name": "a", "imagePullPolicy": policy, "livenessProbe": {"timeoutSeconds": timeout}}]});
    assert_eq!(path_of(container("", 0), container("Always", 1)), None);
}

#[test]
fn finalizers_are_a_set() {
    assert_eq!(path_of(json!({"finalizers": ["a"]}), json!({"finalizers": ["b", "a"]})), None);
    assert!(path_of(json!({"finalizers": ["a"]}), json!({"finalizers": ["b"]})).is_some());
}

#[test]
fn ports_are_int_or_string() {
    assert_eq!(path_of(json!({"targetPort": 80}), json!({"targetPort": "80"})), None);
    assert!(path_of(json!({"targetPort": "http"}), json!({"targetPort": 80})).is_some());
}

#[test]
fn lists_without_a_key_are_compared_in_order() {
    assert_eq!(path_of(json!({"args": ["a", "b"]}), json!({"args": ["b", "a"]})).as_deref(), Some("args[0]"));
    assert_eq!(path_of(json!({"args": ["a"]}), json!({"args": ["a", "b"]})).as_deref(), Some("args"));
}

#[test]
fn a_difference_names_the_path_and_both_values() {
    let wanted = json!({"spec": {"ports": [{"name": "http", "port": 80}]}});
    let live = json!({"spec": {"ports": [{"name": "http", "protocol": "TCP", "port": 81}]}});
    let found = difference(&wanted, &live).unwrap();
    assert_eq!(found.to_string(), "spec.ports[name=http].port is 81, not 80");
}

proptest! {
    #[test]
    fn no_quantity_panics(text in "[-+.0-9eEnumkKMGTPi]{0,40}") {
        let _ = quantity(&json!(text));
    }

    #[test]
    fn whole_quantities_are_read_exactly(n in 0_i64..1_000_000_000) {
        prop_assert_eq!(quantity(&json!(format!("{n}m"))), quantity(&json!(format!("{}u", i128::from(n) * 1000))));
    }
}
