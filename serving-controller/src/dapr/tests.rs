use serde_json::json;

use super::*;
use crate::testing::Case;

fn with(annotations: &Value, more: Value) -> Case {
    let mut spec = more;
    spec["annotations"] = annotations.clone();
    Case::new(spec)
}

/// The table of core-behaviour §5.1, with the rule of core-api §10.2.
#[test]
fn ou11_to_ou15_whether_a_function_has_dapr_and_how() {
    let events = || json!({"triggers": {"dapr": [{"name": "a", "type": "bindings.cron"}]}});
    let nothing = || json!({});
    for (annotations, spec, expected) in [
        (json!({}), nothing(), Mode::Off),
        (json!({}), events(), Mode::Standalone),
        (json!({}), json!({"outputs": [{"dapr": {"name": "a", "type": "bindings.kafka"}}]}), Mode::Standalone),
        (json!({}), json!({"states": {"a": {}}}), Mode::Standalone),
        (json!({}), json!({"triggers": {"http": {}, "inputs": [{"dapr": {"name": "a"}}]}}), Mode::Standalone),
        // A component alone is not used.
        (json!({}), json!({"bindings": {"a": {"type": "bindings.cron", "version": "v1", "metadata": []}}}), Mode::Off),
        (json!({ENABLE: "true"}), nothing(), Mode::Standalone),
        (json!({ENABLE: "yes"}), nothing(), Mode::Standalone),
        (json!({ENABLE: "false"}), events(), Mode::Off),
        (json!({ENABLE: "false", SERVICE_MODE: "sidecar"}), events(), Mode::Off),
        (json!({ENABLE: "false", SERVICE_MODE: "other"}), events(), Mode::Off),
        (json!({SERVICE_MODE: "standalone"}), events(), Mode::Standalone),
        (json!({SERVICE_MODE: "sidecar"}), events(), Mode::Sidecar),
        (json!({SERVICE_MODE: "sidecar"}), nothing(), Mode::Off),
    ] {
        assert_eq!(mode(&with(&annotations, spec.clone()).serving), Ok(expected), "{annotations} {spec}");
    }
    let refused = mode(&with(&json!({SERVICE_MODE: "shared"}), events()).serving).unwrap_err().to_string();
    assert!(refused.contains("must be standalone or sidecar"), "{refused}");
}

#[test]
fn pods_are_told_of_dapr_in_the_words_of_its_injector() {
    let events = json!({"triggers": {"dapr": [{"name": "a", "type": "bindings.cron"}]}});
    let of = |annotations: Value, sidecar: bool| {
        let case = with(&annotations, events.clone());
        json!(super::annotations(&case.valid(), sidecar, false))
    };
    let standalone = of(json!({}), false);
    assert_eq!(
        standalone,
        json!({"dapr.io/app-id": "hello-shop", "dapr.io/log-as-json": "true", "dapr.io/app-protocol": "grpc", "dapr.io/app-port": "8080", "dapr.io/enabled": "false"})
    );
    let own = json!({SERVICE_MODE: "sidecar", "dapr.io/app-id": "own", "dapr.io/app-protocol": "http", "dapr.io/enabled": "false"});
    let sidecar = of(own, true);
    assert_eq!((&sidecar["dapr.io/app-id"], &sidecar["dapr.io/enabled"]), (&json!("own"), &json!("true")));
    assert_eq!(sidecar["dapr.io/app-port"], "8080", "a function that speaks HTTP is called directly");
    let relayed = of(json!({SERVICE_MODE: "sidecar"}), true);
    assert_eq!(relayed["dapr.io/app-port"], "50080");
    let http = with(&json!({SERVICE_MODE: "sidecar"}), json!({"states": {"s": {}}}));
    assert_eq!(super::annotations(&http.valid(), true, false)["dapr.io/app-protocol"], "http", "B-85");
}

#[test]
fn b70_components_are_for_the_name_by_which_dapr_knows_the_function() {
    let bus = json!({"type": "pubsub.redis", "version": "v1", "metadata": [{"name": "redisPassword", "secretKeyRef": {"name": "redis", "key": "p"}}, {"name": "redisHost", "value": "r", "secretKeyRef": {"name": "", "key": ""}}]});
    let case = with(&json!({"dapr.io/app-id": "own"}), json!({"pubsub": {"My_Bus": bus}}));
    let made = components(&case.valid());
    assert_eq!(made[0]["scopes"], json!(["own"]));
    let name = made[0].pointer("/metadata/name").unwrap().as_str().unwrap();
    assert!(name.starts_with("hello-pubsub-my-bus-") && name.len() <= 63, "{name}");
    assert_eq!(made[0]["spec"]["metadata"][0]["secretKeyRef"], json!({"name": "redis", "key": "p"}), "OU9");
    assert_eq!(made[0]["spec"]["metadata"][1], json!({"name": "redisHost", "value": "r"}));
}

#[test]
fn b74_a_component_is_found_where_its_type_says_and_else_anywhere() {
    let part = |type_: &str| json!({"type": type_, "version": "v1", "metadata": []});
    let case = Case::new(json!({
        "bindings": {"a": part("bindings.kafka"), "odd": part("pubsub.redis")}, "pubsub": {"a": part("pubsub.kafka")},
        "triggers": {"dapr": [{"name": "a", "type": "pubsub.kafka", "topic": "t"}, {"name": "a", "type": "bindings.kafka"}, {"name": "odd", "topic": "t"},
            {"name": "there", "topic": "t"}]}}));
    let types = |name: &str| (name == "there").then(|| "pubsub.jetstream".to_owned());
    let valid = case.valid();
    let found = Components::of(&valid, &types).unwrap();
    let starts = |name: &str, type_: Option<&str>, prefix: &str, expected: &str| {
        let (name, type_) = found.get(name, type_);
        assert!(name.starts_with(prefix) && type_ == expected, "{name} {type_}");
    };
    starts("a", Some("pubsub.kafka"), "hello-pubsub-a-", "pubsub.kafka");
    starts("a", Some("bindings.kafka"), "hello-bindings-a-", "bindings.kafka");
    starts("odd", None, "hello-bindings-odd-", "pubsub.redis");
    assert_eq!(found.get("there", None), ("there", "pubsub.jetstream"));
    let missing = Components::of(&valid, &|_| None).unwrap_err().to_string();
    assert!(missing.starts_with("spec.triggers.dapr[3].name: Not found: \"there\""), "{missing}");
}

#[test]
fn tr8_only_topics_of_pubsub_have_what_a_trigger_says_of_topics() {
    let part = |type_: &str| json!({"type": type_, "version": "v1", "metadata": []});
    let refused = |trigger: Value| {
        let case =
            Case::new(json!({"bindings": {"tick": part("bindings.cron")}, "pubsub": {"bus": part("pubsub.redis")},
            "triggers": {"dapr": [trigger]}}));
        Components::of(&case.valid(), &|_| None).err().map(|error| error.to_string())
    };
    assert_eq!(refused(json!({"name": "bus", "topic": "t", "deadLetterTopic": "d", "bulkSubscribe": {}})), None);
    assert_eq!(refused(json!({"name": "tick", "retry": {"maxRetries": 1}})), None);
    for (trigger, said) in [
        (json!({"name": "bus"}), "spec.triggers.dapr[0].topic: Required value: a component of type \"pubsub.redis\""),
        (
            json!({"name": "tick", "deadLetterTopic": "d"}),
            "spec.triggers.dapr[0].deadLetterTopic: Invalid value: \"d\": must be absent",
        ),
        (json!({"name": "tick", "bulkSubscribe": {}}), "spec.triggers.dapr[0].bulkSubscribe: Invalid value: "),
    ] {
        assert!(refused(trigger).unwrap().starts_with(said), "{said}");
    }
}

#[test]
fn ou20_a_configuration_store_is_made_and_told_as_a_state_store_is() {
    let store = json!({"spec": {"type": "configuration.redis", "version": "v1", "metadata": []}});
    let mut case = Case::new(json!({"configurations": {"flags": store}}));
    assert_eq!(case.valid().dapr, Mode::Standalone);
    let made = components(&case.valid());
    let name = made[0]["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("hello-configuration-flags-"), "{name}");
    case.components = Components::of(&case.valid(), &|_| None).unwrap();
    let context: Value = serde_json::from_str(&crate::context::contexts(&case.valid(), &case.world()).v1beta2).unwrap();
    assert_eq!(
        context["configurations"]["flags"],
        json!({"componentName": name, "componentType": "configuration.redis"})
    );
}

#[test]
fn b72_a_function_finds_its_proxy_in_the_domain_of_the_cluster() {
    let mut case = Case::new(json!({"states": {"s": {}}}));
    case.settings.cluster_domain = "k8s.example".to_owned();
    let host = "hello-shop-dapr.shop.svc.k8s.example".to_owned();
    assert_eq!(variables(&case.valid(), &case.world()), [("DAPR_HOST", host.clone()), ("DAPR_SIDECAR_IP", host)]);
}

#[test]
fn q4_inputs_in_the_words_of_v1beta1_are_triggers() {
    let case = Case::new(json!({"triggers": {}, "inputs": [{"name": "orders", "component": "bus", "topic": "t"}]}));
    let found = triggers(&case.serving.spec.serving);
    assert_eq!(
        (found[0].name.as_str(), found[0].input_name.as_deref(), found[0].topic.as_deref()),
        ("bus", Some("orders"), Some("t"))
    );
}

#[test]
fn tr11_events_of_a_function_with_requests_go_the_way_of_requests() {
    let both = json!({"triggers": {"http": {"engine": "knative"}, "dapr": [{"name": "bus", "type": "pubsub.redis", "topic": "t"}]}});
    let environment = |case: &Case| {
        let proxy = proxy(&case.valid(), &case.world(), &[]);
        let variables = proxy.pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap().clone();
        move |name: &str| {
            variables.iter().find(|variable| variable["name"] == name).map(|variable| variable["value"].clone())
        }
    };
    let mut case = Case::new(both);
    assert_eq!(environment(&case)("TARGET").unwrap(), "hello-1.shop.svc.cluster.local:80", "until it is known");
    let headers = json!({"Knative-Serving-Namespace": "shop", "Knative-Serving-Revision": "hello-1-00001"});
    let backend = json!({"kind": "Service", "name": "hello-1-00001", "namespace": "shop", "port": 80, "host": "h", "headers": headers});
    case.serving.status = Some(serde_json::from_value(json!({"backend": backend})).unwrap());
    let known = environment(&case);
    assert_eq!(known("TARGET").unwrap(), "hello-1-00001.shop.svc.cluster.local:80");
    let mut with_host = headers;
    with_host["Host"] = json!("h");
    assert_eq!(serde_json::from_str::<Value>(known("HEADERS").unwrap().as_str().unwrap()).unwrap(), with_host);
}

#[test]
fn what_prepares_for_the_sidecar_runs_where_it_does() {
    let init = |name: &str, volume: &str| json!({"name": name, "image": "i", "volumeMounts": [{"name": volume, "mountPath": "/a"}]});
    let template = json!({"volumes": [{"name": "keys"}, {"name": "shared"}, {"name": "own"}], "initContainers": [init("topics", "keys"), init("other", "shared"),
        {"name": "more", "image": "i", "volumeMounts": [{"name": "shared", "mountPath": "/a"}]}],
        "containers": [{"name": "function", "volumeMounts": [{"name": "own", "mountPath": "/a"}]}]});
    let names = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let rendered = |mode: &str| {
        let annotations = json!({SERVICE_MODE: mode, "openfunction.io/dapr-init-containers": "topics, more"});
        let case = with(
            &annotations,
            json!({"triggers": {"dapr": [{"name": "a", "type": "bindings.cron"}]}, "template": template}),
        );
        let pod = crate::pod::template(&case.valid(), &case.world(), crate::pod::Shape::PLAIN)["spec"].clone();
        let proxy = proxy(&case.valid(), &case.world(), &[])["spec"]["template"]["spec"].clone();
        [pod, proxy].map(|pod| (names(&pod["initContainers"]), names(&pod["volumes"])))
    };
    let text = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let of_function = (text(&["other"]), text(&["shared", "own"]));
    assert_eq!(rendered("standalone"), [of_function, (text(&["topics", "more"]), text(&["keys", "shared"]))]);
    let all = (text(&["topics", "other", "more"]), text(&["keys", "shared", "own"]));
    assert_eq!(rendered("sidecar")[0], all);

    let case = with(&json!({"openfunction.io/dapr-init-containers": "gone"}), json!({"template": template}));
    let refused = crate::validate::validate(&case.serving).err().unwrap().to_string();
    assert!(
        refused.starts_with("spec.annotations[openfunction.io/dapr-init-containers]: Invalid value: \"gone\""),
        "{refused}"
    );
}
