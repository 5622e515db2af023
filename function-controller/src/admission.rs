//! Admission of Functions: what is written for a user, refused, and warned of. Nothing that the CRD refuses is checked
//! again, and nothing depends on it: controllers fill in the same defaults in memory.

use std::sync::Arc;

use controller_runtime::webhook::{BundleTarget, Verdict, Webhooks};
use kube::{api::DynamicObject, core::admission::AdmissionRequest};
use openfunction_proto::core::{
    GatewayRef, ShipwrightEngine,
    defaults::{PORT, VERSION, WASMEDGE},
    v1beta1,
};
use serde_json::{Map, Value, json};

use crate::ABOUT;

/// Bytes that a spec may take in an annotation of its other version; all annotations may have 256 KiB. Inline source of
/// 64 KiB, the most there may be, takes more than that as JSON in JSON.
const MAX_KEPT: usize = 160 << 10;

/// Adds admission to webhooks. Their configurations, which the chart has, are named after the controller's namespace.
pub fn admission(webhooks: Webhooks, namespace: &str, gateway: GatewayRef) -> Webhooks {
    let configuration = format!("{namespace}-{}", ABOUT.name);
    let validating = gateway.clone();
    webhooks
        .admit(
            "/mutate-core-openfunction-io-v1beta2-function",
            BundleTarget::Mutating(configuration.clone()),
            Arc::new(move |request| mutate(request, &gateway)),
        )
        .admit(
            "/validate-core-openfunction-io-v1beta2-function",
            BundleTarget::Validating(configuration),
            Arc::new(move |request| validate(request, &validating)),
        )
}

fn mutate(request: &AdmissionRequest<DynamicObject>, gateway: &GatewayRef) -> Verdict {
    let Some(object) = &request.object else { return Verdict::default() };
    let mut function = json!(object);
    fill_in(&mut function, gateway);
    // A manifest that was exported in v1beta1 has what v1beta2 said of the status then in an annotation; no status is
    // written here, but it is converted.
    if let (Some(old), Some(fields)) = (&request.old_object, function.as_object_mut()) {
        fields.remove("status");
        fields.extend(old.data.get("status").map(|status| ("status".to_owned(), status.clone())));
    }
    Verdict { object: Some(function), ..Verdict::default() }
}

/// What is said of a Function is completed (core-api §8). No trigger is added: it would stay when a manifest gets its
/// first one for events, and the function would be called in both ways.
fn fill_in(function: &mut Value, gateway: &GatewayRef) {
    let Some(Value::Object(spec)) = function.get_mut("spec") else { return };
    let is_empty = |value: Option<&Value>| value.is_none_or(|value| value.is_null() || *value == "");
    if is_empty(spec.get("version")) {
        spec.insert("version".to_owned(), json!(VERSION));
    }
    let Some(Value::Object(http)) = function.pointer_mut("/spec/serving/triggers/http") else { return };
    if http.get("port").is_none_or(|port| port.is_null() || *port == 0) {
        http.insert("port".to_owned(), json!(PORT));
    }
    let route = http.entry("route").or_insert_with(|| json!({}));
    if let Value::Object(route) = route {
        route.entry("gatewayRef").or_insert_with(|| json!(gateway));
    }
}

fn validate(request: &AdmissionRequest<DynamicObject>, gateway: &GatewayRef) -> Verdict {
    let Some(object) = &request.object else { return Verdict::default() };
    let function = json!(object);
    let spec = &function["spec"];
    // Finalizers and labels of what was stored before this rule, and before it was completed, must stay free.
    let before = request.old_object.as_ref().map(|old| {
        let mut old = json!(old);
        fill_in(&mut old, gateway);
        old["spec"].take()
    });
    let is_new = object.metadata.deletion_timestamp.is_none() && before.as_ref() != Some(spec);
    let denied = is_new.then(|| refusal(&function)).flatten();
    let warnings = if is_new { warnings(spec) } else { Vec::new() };
    Verdict { denied, warnings, object: None }
}

fn refusal(function: &Value) -> Option<String> {
    let shipwright = &function["spec"]["build"]["shipwright"];
    if let Ok(shipwright) = serde_json::from_value::<ShipwrightEngine>(shipwright.clone())
        && let Err(why) = shipwright.parameters()
    {
        return Some(format!("spec.build.shipwright.params: Invalid value: {why}"));
    }
    let mut without_status = function.clone();
    without_status.as_object_mut()?.remove("status");
    let old = v1beta1::convert(without_status, "core.openfunction.io/v1beta1").ok()?;
    let kept = |object: &Value, name: &str| object["metadata"]["annotations"][name].as_str().map_or(0, str::len);
    let too_long = [(&old, v1beta1::KEPT_OF_V1BETA2), (function, v1beta1::KEPT_OF_V1BETA1)]
        .into_iter()
        .find_map(|(object, name)| Some(kept(object, name)).filter(|length| *length > MAX_KEPT));
    too_long.map(|length| {
        format!(
            "spec: Invalid value: what only one of the versions v1beta1 and v1beta2 has takes {length} bytes, more than the {MAX_KEPT} for which the other has room; make inline source, hooks, policies and the like smaller"
        )
    })
}

/// What works, and may not be what was meant.
fn warnings(spec: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |path: String, what: &str| warnings.push(format!("{path}: {what}"));
    let runtime = spec["workloadRuntime"].as_str().unwrap_or_default();
    if !["", "OCIContainer"].contains(&runtime) && !runtime.eq_ignore_ascii_case(WASMEDGE) {
        warn("spec.workloadRuntime".to_owned(), &format!("{runtime:?} is not known and means OCIContainer"));
    }
    if spec["build"]["shipwright"]["params"].is_object() {
        warn("spec.build.shipwright.params".to_owned(), "a map is deprecated; write a list of name and value");
    }
    let serving = &spec["serving"];
    let at = |path: &str| format!("spec.serving.{path}");
    if serving.get("runtime").is_some() {
        warn(at("runtime"), "deprecated; triggers say what calls the function");
    }
    if serving.get("inputs").is_some() {
        warn(at("inputs"), "deprecated; write triggers.dapr, with the component as name and the name as inputName");
    }
    for (index, output) in elements(&serving["outputs"]).enumerate() {
        if output["dapr"].get("component").is_some() {
            warn(at(&format!("outputs[{index}].dapr.component")), "deprecated; write name");
        }
    }
    let keda = &serving["scaleOptions"]["keda"];
    for (field, instead) in [
        ("minReplicaCount", "scaleOptions.minReplicas"),
        ("maxReplicaCount", "scaleOptions.maxReplicas"),
        ("triggers", "scaleOptions.keda.triggers"),
    ] {
        if keda["scaledObject"].get(field).is_some() {
            warn(at(&format!("scaleOptions.keda.scaledObject.{field}")), &format!("deprecated; write {instead}"));
        }
    }
    for (path, triggers) in
        [("keda.triggers", &keda["triggers"]), ("keda.scaledObject.triggers", &keda["scaledObject"]["triggers"])]
    {
        for (index, _) in elements(triggers).enumerate().filter(|(_, trigger)| trigger["type"] == "stan") {
            let path = at(&format!("scaleOptions.{path}[{index}].type"));
            warn(path, "NATS Streaming has come to its end; the function is scaled by JetStream (nats-jetstream)");
        }
    }
    let is_async = serving["triggers"].get("http").is_none();
    if !is_async && serving["workloadType"].as_str().is_some_and(|workload| !["", "Deployment"].contains(&workload)) {
        warn(at("workloadType"), "only a function without an HTTP trigger runs as anything but a Deployment");
    }
    if serving["hooks"]["policy"].as_str().is_some_and(|policy| !["", "Append", "Override"].contains(&policy)) {
        warn(at("hooks.policy"), "anything but Override means Append");
    }
    if serving["annotations"]["openfunction.io/enable-dapr"].as_str().is_some_and(|is| !["true", "false"].contains(&is))
    {
        warn(at("annotations[openfunction.io/enable-dapr]"), "anything but \"false\" means \"true\"");
    }
    for (path, component) in components(serving) {
        if component["type"] == "pubsub.natsstreaming" {
            warn(
                at(&format!("{path}.type")),
                "NATS Streaming has come to its end; the component becomes pubsub.jetstream",
            );
        }
        for (index, metadata) in elements(&component["metadata"]).enumerate() {
            let name = metadata["name"].as_str().unwrap_or_default();
            if is_secret(name) && metadata["value"].as_str().is_some_and(|value| !value.is_empty()) {
                let path = at(&format!("{path}.metadata[{index}].value"));
                warn(path, &format!("{name} can be read by whoever can read the Function; write secretKeyRef"));
            }
        }
    }
    warnings
}

/// Dapr components that a function declares, with their paths.
fn components(serving: &Value) -> Vec<(String, &Value)> {
    let of =
        |field: &'static str| serving[field].as_object().into_iter().flat_map(Map::iter).map(move |of| (field, of));
    let bindings = ["bindings", "pubsub"].into_iter().flat_map(of);
    let stores = ["states", "configurations"].into_iter().flat_map(of);
    bindings
        .map(|(field, (name, component))| (format!("{field}[{name}]"), component))
        .chain(stores.map(|(field, (name, store))| (format!("{field}[{name}].spec"), &store["spec"])))
        .collect()
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secretkey", "accesskey", "accesstoken", "clientsecret", "token", "connectionstring"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

fn elements(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway() -> GatewayRef {
        GatewayRef { name: "openfunction".to_owned(), namespace: "openfunction".to_owned() }
    }

    fn request(operation: &str, spec: &Value, before: Option<&Value>) -> AdmissionRequest<DynamicObject> {
        let object = |spec: &Value| json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": "f"}, "spec": spec});
        let kind = json!({"group": "core.openfunction.io", "version": "v1beta2", "kind": "Function"});
        let resource = json!({"group": "core.openfunction.io", "version": "v1beta2", "resource": "functions"});
        serde_json::from_value(json!({"uid": "u", "kind": kind, "resource": resource, "name": "f", "namespace": "n",
            "operation": operation, "userInfo": {}, "dryRun": false, "object": object(spec), "oldObject": before.map(object)}))
        .unwrap()
    }

    fn filled(spec: Value) -> Value {
        mutate(&request("CREATE", &spec, None), &gateway()).object.unwrap()["spec"].take()
    }

    #[test]
    fn what_is_said_of_http_is_completed() {
        let route = json!({"gatewayRef": {"name": "openfunction", "namespace": "openfunction"}});
        let expected = json!({"image": "a", "version": "latest", "serving": {"triggers": {"http": {"port": 8080, "route": route}}}});
        assert_eq!(filled(json!({"image": "a", "serving": {"triggers": {"http": {"port": 0}}}})), expected);
        assert_eq!(filled(expected.clone()), expected);
        let own = json!({"image": "a", "version": "v1", "serving": {"triggers": {"http": {"port": 9, "route": {"hostnames": ["a.b"], "gatewayRef": {"name": "g", "namespace": "m"}}}}}});
        assert_eq!(filled(own.clone()), own);
    }

    #[test]
    fn no_trigger_is_added() {
        for serving in [json!({}), json!({"triggers": {"dapr": [{"name": "a"}]}}), json!({"runtime": "async"})] {
            let expected = json!({"image": "a", "version": "latest", "serving": serving});
            assert_eq!(filled(json!({"image": "a", "version": "", "serving": serving})), expected);
        }
    }

    #[test]
    fn a_status_of_before_does_not_come_back_with_a_manifest() {
        let spec = json!({"image": "a", "version": "v1"});
        let mut request = request("UPDATE", &spec, Some(&spec));
        let with = |object: &mut Option<DynamicObject>, status: &Value| {
            object.as_mut().unwrap().data["status"] = status.clone()
        };
        let now = json!({"traffic": [{"revision": "new", "percent": 100}]});
        with(&mut request.object, &json!({"traffic": [{"revision": "old", "percent": 100}]}));
        with(&mut request.old_object, &now);
        assert_eq!(mutate(&request, &gateway()).object.unwrap()["status"], now);
    }

    fn denied(spec: &Value, before: Option<&Value>) -> Option<String> {
        let operation = if before.is_some() { "UPDATE" } else { "CREATE" };
        validate(&request(operation, spec, before), &gateway()).denied
    }

    #[test]
    fn parameters_of_a_strategy_are_looked_at() {
        let spec =
            |params: Value| json!({"image": "a", "build": {"srcRepo": {"url": "u"}, "shipwright": {"params": params}}});
        for good in [
            json!([{"name": "a", "value": "1"}, {"name": "b", "values": [{"value": "x"}]}]),
            json!({"a": "1", "b": 2}),
            json!([{"name": "a", "value": null, "secretValue": {"name": "n", "key": "k"}}]),
            Value::Null,
        ] {
            assert_eq!(denied(&spec(good.clone()), None), None, "{good}");
        }
        for (bad, why) in [
            (json!([{"name": "a"}]), r#""a": has no value"#),
            (json!([{"value": "a"}]), "must be a list of name and value: missing field `name`"),
            (json!([{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]), r#""a": is given twice"#),
            (json!({"a": {}}), r#"the value of "a" must be a text"#),
            (
                json!([{"name": "a", "value": "1", "secretValue": {"name": "n", "key": "k"}}]),
                r#""a": must have one of value, configMapValue and secretValue"#,
            ),
        ] {
            let said = denied(&spec(bad.clone()), None).unwrap();
            assert_eq!(said, format!("spec.build.shipwright.params: Invalid value: {why}"));
            // It may have been stored before there was a rule, or anybody to complete it.
            let mut stored = spec(bad);
            stored["serving"] = json!({"triggers": {"http": {}}});
            assert_eq!(denied(&filled(stored.clone()), Some(&stored)), None);
        }
    }

    #[test]
    fn what_the_other_version_has_no_room_for_is_refused() {
        let spec = |size: usize| json!({"image": "a", "build": {"srcRepo": {"inline": {"files": {"main.go": "x".repeat(size)}}}}});
        assert_eq!(denied(&spec(MAX_KEPT - 1000), None), None);
        let said = denied(&spec(MAX_KEPT), None).unwrap();
        assert!(said.starts_with("spec: Invalid value: ") && said.contains("more than the 163840"), "{said}");
    }

    #[test]
    fn what_is_deprecated_or_means_nothing_is_warned_of() {
        let warned = |spec: Value| -> Vec<String> {
            let warnings = validate(&request("CREATE", &spec, None), &gateway()).warnings;
            warnings.iter().map(|warning| warning.split(':').next().unwrap().to_owned()).collect()
        };
        let component = |type_: &str| {
            json!({"type": type_, "version": "v1", "metadata": [
            {"name": "redisHost", "value": "h"}, {"name": "redisPassword", "value": "p"},
            {"name": "password", "secretKeyRef": {"name": "n", "key": "k"}}, {"name": "saslPassword", "value": ""}]})
        };
        let serving = json!({
            "runtime": "async", "inputs": [{"name": "a", "component": "b"}],
            "outputs": [{"dapr": {"name": "a"}}, {"dapr": {"component": "a"}}],
            "scaleOptions": {"keda": {"scaledObject": {"minReplicaCount": 1, "triggers": [{"type": "stan"}]}}},
            "hooks": {"policy": "Other"}, "annotations": {"openfunction.io/enable-dapr": "yes"},
            "pubsub": {"bus": component("pubsub.natsstreaming")}, "states": {"store": {"spec": component("state.redis")}, "theirs": {}}});
        let warnings = warned(
            json!({"image": "a", "workloadRuntime": "other", "build": {"srcRepo": {}, "shipwright": {"params": {"a": "b"}}}, "serving": serving}),
        );
        let expected = [
            "spec.workloadRuntime",
            "spec.build.shipwright.params",
            "spec.serving.runtime",
            "spec.serving.inputs",
            "spec.serving.outputs[1].dapr.component",
            "spec.serving.scaleOptions.keda.scaledObject.minReplicaCount",
            "spec.serving.scaleOptions.keda.scaledObject.triggers",
            "spec.serving.scaleOptions.keda.scaledObject.triggers[0].type",
            "spec.serving.hooks.policy",
            "spec.serving.annotations[openfunction.io/enable-dapr]",
            "spec.serving.pubsub[bus].type",
            "spec.serving.pubsub[bus].metadata[1].value",
            "spec.serving.states[store].spec.metadata[1].value",
        ];
        assert_eq!(warnings, expected);
        let clean = json!({"image": "a", "workloadRuntime": "WasmEdge", "serving": {"triggers": {"http": {}}, "hooks": {"policy": "Override"}}});
        assert!(warned(clean).is_empty());
        assert_eq!(
            warned(json!({"image": "a", "serving": {"workloadType": "Job", "triggers": {"http": {}}}})),
            ["spec.serving.workloadType"]
        );
    }
}
