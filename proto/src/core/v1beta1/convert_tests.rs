use std::time::Instant;

use super::*;

fn to(version: &str, object: &Value) -> Value {
    convert(object.clone(), version).unwrap()
}

fn function(version: &str, spec: Value) -> Value {
    json!({"apiVersion": version, "kind": "Function", "metadata": {"name": "f", "namespace": "n"}, "spec": spec})
}

/// The spec of a Function in the other version.
fn spec_of(version: &str, spec: Value) -> Value {
    let other = if version == V1BETA1 { V1BETA2 } else { V1BETA1 };
    to(other, &function(version, spec))["spec"].take()
}

#[test]
fn an_http_function_has_its_port_and_route_in_its_trigger() {
    let route = json!({"hostnames": ["a.example.com"]});
    let spec =
        json!({"image": "a", "port": 9000, "route": route, "serving": {"runtime": "knative", "params": {"A": "b"}}});
    let expected =
        json!({"image": "a", "serving": {"params": {"A": "b"}, "triggers": {"http": {"port": 9000, "route": route}}}});
    assert_eq!(spec_of(V1BETA1, spec.clone()), expected);
    assert_eq!(spec_of(V1BETA2, expected), spec);
}

#[test]
fn a3_an_async_function_keeps_its_inputs_outputs_and_scalers() {
    let pubsub = json!({"bus": {"type": "pubsub.kafka", "version": "v1", "metadata": []}});
    let scaler = json!({"type": "kafka", "metadata": {"topic": "t"}});
    let mut with_target = scaler.clone();
    with_target["targetKind"] = json!("object");
    let spec = json!({"image": "a", "serving": {"runtime": "async", "pubsub": pubsub,
        "inputs": [{"name": "orders", "component": "bus", "topic": "t"}],
        "outputs": [{"name": "sent", "component": "bus", "topic": "u"}, {"name": "other", "component": "elsewhere", "operation": "create", "params": {"a": "b"}}],
        "states": {"store": {"type": "state.redis", "version": "v1", "metadata": []}},
        "triggers": [with_target]}});
    let expected = json!({"image": "a", "serving": {"pubsub": pubsub,
        "triggers": {"dapr": [{"name": "bus", "type": "pubsub.kafka", "topic": "t", "inputName": "orders"}]},
        // One that the function does not declare was dropped by the original.
        "outputs": [
            {"dapr": {"name": "bus", "type": "pubsub.kafka", "topic": "u", "outputName": "sent"}},
            {"dapr": {"name": "elsewhere", "operation": "create", "metadata": {"a": "b"}, "outputName": "other"}}],
        "states": {"store": {"spec": {"type": "state.redis", "version": "v1", "metadata": []}}},
        // So were those of a function without options for KEDA.
        "scaleOptions": {"keda": {"triggers": [scaler]}}}});
    assert_eq!(spec_of(V1BETA1, spec), expected);
}

#[test]
fn q9_an_async_function_without_inputs_gets_no_http_trigger() {
    let spec = json!({"image": "a", "serving": {"runtime": "async"}});
    assert_eq!(spec_of(V1BETA1, spec.clone()), spec);
}

#[test]
fn bounds_and_workload_of_keda_are_those_of_the_function() {
    let options = |keda: Value| {
        let serving = json!({"runtime": "async", "inputs": [{"name": "a", "component": "b"}], "scaleOptions": {"minReplicas": 1, "maxReplicas": 2, "keda": keda}});
        let new = spec_of(V1BETA1, json!({"image": "a", "serving": serving}))["serving"].take();
        (new["workloadType"].clone(), new["scaleOptions"].clone())
    };
    let scaled = json!({"scaledObject": {"workloadType": "StatefulSet", "minReplicaCount": 3, "maxReplicaCount": 9, "cooldownPeriod": 5}});
    let expected = json!({"minReplicas": 3, "maxReplicas": 9, "keda": {"scaledObject": {"cooldownPeriod": 5}}});
    assert_eq!(options(scaled), (json!("StatefulSet"), expected));
    // A1: the original read the polling interval of an absent ScaledObject.
    let job = json!({"scaledJob": {"pollingInterval": 7, "maxReplicaCount": 4}});
    let expected = json!({"minReplicas": 1, "maxReplicas": 4, "keda": {"scaledJob": {"pollingInterval": 7}}});
    assert_eq!(options(job), (json!("Job"), expected));
    assert_eq!(options(json!({"scaledObject": {}})).0, json!("Deployment"));
}

#[test]
fn r19_a_bundle_keeps_its_image_and_a_build_its_timeout_and_parameters() {
    let source = json!({"bundleContainer": {"image": "bundle:1"}});
    let build = json!({"builder": "b", "timeout": "5m", "srcRepo": source, "params": {"z": "1", "a": "2"}});
    let expected = json!({"builder": "b", "timeout": "5m", "srcRepo": source,
        "shipwright": {"params": [{"name": "a", "value": "2"}, {"name": "z", "value": "1"}]}});
    assert_eq!(spec_of(V1BETA1, json!({"image": "a", "build": build}))["build"], expected);
    assert_eq!(spec_of(V1BETA2, json!({"image": "a", "build": expected}))["build"], build);
}

#[test]
fn a_parameter_from_a_secret_stays_when_an_old_client_changes_another() {
    let secret = json!({"name": "s", "secretValue": {"name": "n", "key": "k"}});
    let params = json!([{"name": "a", "value": "1"}, secret]);
    let new =
        function(V1BETA2, json!({"image": "i", "build": {"srcRepo": {"url": "u"}, "shipwright": {"params": params}}}));
    let mut old = to(V1BETA1, &new);
    assert_eq!(old["spec"]["build"]["params"], json!({"a": "1"}));
    old["spec"]["build"]["params"] = json!({"a": "2", "b": "3"});
    let params = json!([{"name": "a", "value": "2"}, secret, {"name": "b", "value": "3"}]);
    assert_eq!(to(V1BETA2, &old)["spec"]["build"]["shipwright"]["params"], params);
}

#[test]
fn a_parameter_from_a_secret_stays_when_an_old_client_takes_the_last_other_away() {
    let secret = json!({"name": "s", "secretValue": {"name": "n", "key": "k"}});
    let params = json!([{"name": "a", "value": "1"}, secret]);
    let new =
        function(V1BETA2, json!({"image": "i", "build": {"srcRepo": {"url": "u"}, "shipwright": {"params": params}}}));
    let mut old = to(V1BETA1, &new);
    old["spec"]["build"].as_object_mut().unwrap().remove("params");
    assert_eq!(to(V1BETA2, &old)["spec"]["build"]["shipwright"], json!({"params": [secret]}));
    // Numbers of a map are texts there.
    let new = function(
        V1BETA2,
        json!({"image": "i", "build": {"srcRepo": {"url": "u"}, "shipwright": {"params": {"jobs": 4}}}}),
    );
    assert_eq!(to(V1BETA1, &new)["spec"]["build"]["params"], json!({"jobs": "4"}));
    assert_eq!(to(V1BETA2, &to(V1BETA1, &new)), new);
}

#[test]
fn q4_q8_old_words_in_v1beta2_do_not_undo_what_an_old_client_changes() {
    let scaled = json!({"minReplicaCount": 1, "cooldownPeriod": 5, "fallback": {"failureThreshold": 1, "replicas": 1}});
    let new = function(
        V1BETA2,
        json!({"image": "a", "serving": {"runtime": "async", "scaleOptions": {"keda": {"scaledObject": scaled}},
        "inputs": [{"name": "i", "component": "bus", "topic": "t"}]}}),
    );
    let old = to(V1BETA1, &new);
    assert_eq!(to(V1BETA2, &old), new, "nothing was changed");
    let mut changed = old.clone();
    changed["spec"]["serving"]["inputs"][0]["topic"] = json!("u");
    changed["spec"]["serving"]["scaleOptions"]["keda"]["scaledObject"]["minReplicaCount"] = json!(3);
    let serving = to(V1BETA2, &changed)["spec"]["serving"].take();
    assert_eq!(serving.get("inputs"), None);
    assert_eq!(serving["triggers"], json!({"dapr": [{"name": "bus", "topic": "u", "inputName": "i"}]}));
    let mut kept = scaled.clone();
    kept.as_object_mut().unwrap().remove("minReplicaCount");
    assert_eq!(serving["scaleOptions"], json!({"minReplicas": 3, "keda": {"scaledObject": kept}}));
    assert_eq!(to(V1BETA1, &to(V1BETA2, &changed))["spec"], changed["spec"]);
    let mut without = old;
    without["spec"]["serving"].as_object_mut().unwrap().remove("inputs");
    assert_eq!(to(V1BETA2, &without)["spec"]["serving"].get("inputs"), None);
}

#[test]
fn old_clients_see_the_addresses_of_a_function_without_sources() {
    let mut new = function(V1BETA2, json!({"image": "a", "serving": {}}));
    let address = json!([{"type": "Internal", "value": "http://f.n.svc"}]);
    let condition = json!({"type": "Ready", "status": "True"});
    new["status"] = json!({"addresses": address, "serving": {"state": "Running", "service": "s", "reason": "Running"}, "conditions": [condition], "observedGeneration": 3});
    let old = to(V1BETA1, &new);
    assert_eq!(old["status"], json!({"addresses": address, "serving": {"state": "Running", "service": "s"}}));
    assert_eq!(to(V1BETA2, &old), new);
    // Resetting the build is how the original's revision controller asks for another.
    let mut reset = old;
    reset["status"]["serving"] = Value::Null;
    reset["status"].as_object_mut().unwrap().remove("serving");
    assert_eq!(to(V1BETA2, &reset)["status"].get("serving"), None);
}

#[test]
fn what_only_one_version_has_survives_a_change_by_a_client_of_the_other() {
    let triggers = json!({"http": {"engine": "native", "port": 80}, "dapr": [{"name": "bus", "topic": "t", "retry": {"maxRetries": 3}}]});
    let new = function(
        V1BETA2,
        json!({"image": "a", "suspend": true, "serving": {"triggers": triggers, "hooks": {"pre": ["p"]}}}),
    );
    let mut old = to(V1BETA1, &new);
    old["spec"]["image"] = json!("b");
    old["spec"]["port"] = json!(90);
    let mut expected = new.clone();
    expected["spec"]["image"] = json!("b");
    expected["spec"]["serving"]["triggers"]["http"]["port"] = json!(90);
    assert_eq!(to(V1BETA2, &old), expected);
    // What it asked for is gone with the trigger.
    old["spec"]["serving"]["runtime"] = json!("async");
    old["spec"]["serving"]["inputs"] = json!([{"name": "i", "component": "c"}]);
    let changed = to(V1BETA2, &old);
    assert_eq!(changed["spec"]["serving"]["triggers"], json!({"dapr": [{"name": "c", "inputName": "i"}]}));
    assert_eq!(changed["spec"]["serving"]["hooks"], json!({"pre": ["p"]}));

    let old = function(
        V1BETA1,
        json!({"image": "a", "port": 80, "serving": {"runtime": "async", "inputs": [{"name": "i", "component": "c", "params": {"a": "b"}}]}}),
    );
    let mut new = to(V1BETA2, &old);
    assert_eq!(new["spec"].get("port"), None);
    new["spec"]["image"] = json!("b");
    let mut expected = old;
    expected["spec"]["image"] = json!("b");
    assert_eq!(to(V1BETA1, &new), expected);
}

#[test]
fn an_annotation_that_somebody_wrote_over_is_as_if_it_were_not_there() {
    let mut old = function(V1BETA1, json!({"image": "a", "serving": {"runtime": "knative"}}));
    let expected = to(V1BETA2, &old);
    for value in ["", "{", r#"{"in": 1}"#, r#"{"of": "", "kept": {"elements": {"order": [], "of": {}}}}"#] {
        old["metadata"]["annotations"] = json!({ KEPT_OF_V1BETA2: value });
        assert_eq!(to(V1BETA2, &old), expected, "{value}");
    }
    assert!(convert(old.clone(), "core.openfunction.io/v1").is_err());
    assert!(convert(json!({"kind": "Trigger", "apiVersion": V1BETA1}), V1BETA2).is_err());
}

/// Throws dice (splitmix64): the same seed, the same throws.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// Any value that a schema allows; few names, so that they meet.
    fn value(&mut self, schema: &Value, path: &str) -> Value {
        if path.ends_with(".template") {
            return self.one(&[json!({"containers": []}), json!({"containers": [{"name": "function", "more": null}]})]);
        }
        if let Some(choices) = schema["enum"].as_array() {
            return self.one(choices);
        }
        match schema["type"].as_str() {
            Some("object") => {
                let mut fields = Fields::new();
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                    if required.contains(&json!(name)) || self.below(3) == 0 {
                        fields.insert(name.clone(), self.value(property, &format!("{path}.{name}")));
                    }
                }
                if schema["additionalProperties"].is_object() {
                    for _ in 0..self.below(3) {
                        let name = self.one(&["a", "b", "c"]);
                        fields.insert(name.to_owned(), self.value(&schema["additionalProperties"], path));
                    }
                }
                fields.into()
            }
            Some("array") => (0..self.below(4)).map(|_| self.value(&schema["items"], path)).collect(),
            Some("string") => json!(self.one(&["", "a", "b", "async", "Job", "StatefulSet"])),
            Some("integer" | "number") => json!(self.below(3)),
            Some("boolean") => json!(self.below(2) == 0),
            _ => self.one(&[
                json!(1),
                json!("a"),
                json!({"a": "1", "b": null}),
                json!([{"name": "a", "value": "1"}, {"name": "b"}]),
            ]),
        }
    }

    /// Anything at all.
    fn anything(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 4 } else { 7 }) {
            0 => Value::Null,
            1 => json!(self.below(9)),
            2 => json!(self.one(&["", "async", "name", "a"])),
            3 => json!(true),
            4 => (0..self.below(3)).map(|_| self.anything(depth - 1)).collect(),
            _ => {
                let names = [
                    "serving",
                    "build",
                    "triggers",
                    "http",
                    "dapr",
                    "inputs",
                    "outputs",
                    "states",
                    "scaleOptions",
                    "keda",
                    "scaledObject",
                    "scaledJob",
                    "shipwright",
                    "params",
                    "port",
                    "runtime",
                    "name",
                    "component",
                    "bindings",
                ];
                (0..self.below(6))
                    .map(|_| (self.one(&names).to_owned(), self.anything(depth - 1)))
                    .collect::<Fields>()
                    .into()
            }
        }
    }
}

/// Objects of every kind in a version, as many as asked for.
fn generated(version: Version, count: usize) -> impl Iterator<Item = Value> {
    let kinds = [Kind::Function, Kind::Builder, Kind::Serving];
    (0..count).map(move |seed| {
        let kind = kinds[seed % kinds.len()];
        let mut object = Dice(seed as u64).value(&SCHEMAS[&(kind.name(), version.name())], "");
        object["apiVersion"] = json!(format!("core.openfunction.io/{}", version.name()));
        object["kind"] = json!(kind.name());
        object["metadata"] = json!({"name": "f", "annotations": {"a": "b"}});
        object
    })
}

#[test]
fn fn33_ten_thousand_objects_of_each_version_come_back_as_they_were() {
    for (version, other) in [(Version::V1beta1, V1BETA2), (Version::V1beta2, V1BETA1)] {
        for object in generated(version, 10_000) {
            let converted = to(other, &object);
            let back = to(object["apiVersion"].as_str().unwrap(), &converted);
            assert_eq!(back, object, "by way of {converted:#}");
            // And the other way round: nothing is left to be kept.
            assert_eq!(to(other, &back), converted);
        }
    }
}

#[test]
fn fn33_what_is_converted_is_what_the_schema_of_the_version_has() {
    for (version, other) in [(Version::V1beta1, Version::V1beta2), (Version::V1beta2, Version::V1beta1)] {
        for object in generated(version, 3_000) {
            let converted = to(&format!("core.openfunction.io/{}", other.name()), &object);
            let mut pruned = body(&converted);
            prune(&mut pruned, &SCHEMAS[&(object["kind"].as_str().unwrap(), other.name())]);
            assert_eq!(pruned, body(&converted));
        }
    }
}

#[test]
fn a1_nothing_that_is_sent_can_make_the_conversion_panic() {
    for seed in 0..20_000 {
        let mut dice = Dice(seed);
        let kind = dice.one(&["Function", "Builder", "Serving"]);
        let (from, other) = dice.one(&[(V1BETA1, V1BETA2), (V1BETA2, V1BETA1)]);
        let mut object = json!({"apiVersion": from, "kind": kind, "metadata": {"annotations": {}}, "spec": dice.anything(6), "status": dice.anything(3)});
        for version in [Version::V1beta1, Version::V1beta2] {
            if dice.below(2) == 0 {
                let kept = json!({"in": {"spec": {"in": {"serving": {"set": {"to": dice.anything(2)}}}}}});
                let kept = json!({"of": "", "kept": kept});
                object["metadata"]["annotations"][version.kept()] = json!(kept.to_string());
            }
        }
        if dice.below(4) == 0 {
            object["metadata"] = dice.anything(2);
        }
        let converted = to(other, &object);
        to(from, &converted);
    }
}

/// A benchmark: `cargo test --release -p openfunction-proto conversion_of_a_thousand -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn conversion_of_a_thousand_objects() {
    let objects: Vec<_> = generated(Version::V1beta1, 1_000).collect();
    to(V1BETA2, &objects[0]);
    let start = Instant::now();
    let converted: Vec<_> = objects.iter().map(|object| to(V1BETA2, object)).collect();
    println!("{} objects in {:?}", converted.len(), start.elapsed());
}
