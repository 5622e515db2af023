use serde_json::Value;

use super::*;

/// Calls `check` for every property of a schema, with its path.
fn each_property(schema: &Value, path: &str, check: &mut impl FnMut(&str, &Value)) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        check(&path, property);
        each_property(property, &path, check);
    }
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            each_property(&schema[below], path, check);
        }
    }
}

fn each_schema(mut check: impl FnMut(&str, &str, &Value)) {
    for crd in all() {
        for version in &crd.spec.versions {
            let schema = version.schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref());
            check(&crd.spec.names.kind, &version.name, &serde_json::to_value(schema).unwrap());
        }
    }
}

#[test]
fn every_field_has_a_sentence_for_kubectl_explain() {
    let mut silent = Vec::new();
    each_schema(|kind, version, schema| {
        each_property(schema, "", &mut |path, property| {
            let text = property["description"].as_str().unwrap_or_default();
            if text.len() < 8 && !matches!(path, ".apiVersion" | ".kind" | ".metadata") {
                silent.push(format!("{kind} {version} {path}: {text:?}"));
            }
        });
    });
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

#[test]
fn every_list_of_a_status_declares_its_type() {
    let mut undeclared = Vec::new();
    each_schema(|kind, version, schema| {
        each_property(&schema["properties"]["status"], "status", &mut |path, property| {
            if property["type"] == "array" && property["x-kubernetes-list-type"].is_null() {
                undeclared.push(format!("{kind} {version} {path}"));
            }
        });
    });
    assert!(undeclared.is_empty(), "{}", undeclared.join("\n"));
}

#[test]
fn every_object_of_a_pod_template_keeps_unknown_fields() {
    let mut checked = 0;
    each_schema(|kind, version, schema| {
        let spec = &schema["properties"]["spec"]["properties"];
        for (at, template) in [("serving", &spec["serving"]["properties"]["template"]), ("", &spec["template"])] {
            each_property(template, "template", &mut |path, property| {
                if property["properties"].is_object() {
                    checked += 1;
                    assert_eq!(property["x-kubernetes-preserve-unknown-fields"], true, "{kind} {version} {at} {path}");
                }
            });
        }
    });
    assert!(checked > 100, "only {checked} objects");
}

#[test]
fn columns_are_those_that_users_know() {
    let columns = |name: &str| -> Vec<String> {
        let crd = all().into_iter().find(|crd| crd.metadata.name.as_deref() == Some(name)).unwrap();
        let version = crd.spec.versions.into_iter().find(|v| v.storage).unwrap();
        version
            .additional_printer_columns
            .unwrap()
            .into_iter()
            .filter(|c| c.priority.unwrap_or(0) == 0)
            .map(|c| c.name)
            .collect()
    };
    assert_eq!(
        columns("functions.core.openfunction.io"),
        ["BuildState", "ServingState", "Builder", "Serving", "Address", "Age"]
    );
    assert_eq!(columns("builders.core.openfunction.io"), ["Phase", "State", "Reason", "BuildDuration", "Age"]);
    assert_eq!(columns("servings.core.openfunction.io"), ["Phase", "State", "Age"]);
    assert_eq!(columns("gateways.networking.openfunction.io"), ["Address", "Ready", "Age"]);
    assert_eq!(columns("eventsources.events.openfunction.io"), ["EventBus", "Sink", "Status"]);
    assert_eq!(columns("eventbuses.events.openfunction.io"), ["Status", "Age"]);
    assert_eq!(columns("triggers.events.openfunction.io"), ["EventBus", "Status"]);
}

#[test]
fn only_v1beta2_is_stored_and_v1beta1_warns() {
    for crd in all().into_iter().filter(|crd| crd.spec.group == "core.openfunction.io") {
        let versions: Vec<_> =
            crd.spec.versions.iter().map(|v| (v.name.as_str(), v.served, v.storage, v.deprecated)).collect();
        assert!(
            versions.contains(&("v1beta2", true, true, None))
                && versions.contains(&("v1beta1", true, false, Some(true))),
            "{versions:?}"
        );
    }
}
