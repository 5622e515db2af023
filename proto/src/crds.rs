//! The CustomResourceDefinitions of every kind.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::{CustomResourceExt, core::crd::merge_crds};
use serde_json::{Value, json};

use crate::{core, events, networking};

/// Namespace in which the conversion webhooks are looked for unless the chart is installed elsewhere.
pub const NAMESPACE: &str = "openfunction";

/// The CustomResourceDefinitions of every kind, in alphabetical order of their names.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        converted("function-controller", vec![core::Function::crd(), core::v1beta1::Function::crd()]),
        converted("builder-controller", vec![core::Builder::crd(), core::v1beta1::Builder::crd()]),
        converted("serving-controller", vec![core::Serving::crd(), core::v1beta1::Serving::crd()]),
        waiting(finished(networking::Gateway::crd())),
        finished(events::EventSource::crd()),
        finished(events::EventBus::crd()),
        finished(events::ClusterEventBus::crd()),
        finished(events::Trigger::crd()),
    ];
    crds.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    crds
}

/// One CRD of two versions. `v1beta2` is stored; the controller of the kind converts to and from `v1beta1`.
fn converted(controller: &str, versions: Vec<CustomResourceDefinition>) -> CustomResourceDefinition {
    let mut crd = finished(merge_crds(versions, "v1beta2").expect("both versions are of one kind"));
    let conversion = json!({
        "strategy": "Webhook",
        "webhook": {
            "conversionReviewVersions": ["v1"],
            // The controller adds the caBundle when it has made its certificate.
            "clientConfig": { "service": { "namespace": NAMESPACE, "name": controller, "path": "/convert", "port": 443 } },
        },
    });
    crd.spec.conversion = Some(serde_json::from_value(conversion).expect("the literal is a conversion"));
    for version in crd.spec.versions.iter_mut().filter(|v| v.name == "v1beta1") {
        version.deprecated = Some(true);
        version.deprecation_warning = Some(format!(
            "core.openfunction.io/v1beta1 {kind} is deprecated; use core.openfunction.io/v1beta2 {kind}",
            kind = crd.spec.names.kind
        ));
    }
    crd
}

fn finished(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.metadata.labels = Some([("app.kubernetes.io/part-of".to_owned(), "openfunction".to_owned())].into());
    // Uninstalling the chart must not delete every Function of the cluster.
    crd.metadata.annotations = Some([("helm.sh/resource-policy".to_owned(), "keep".to_owned())].into());
    let mut value = serde_json::to_value(&crd).expect("a CRD is JSON");
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        versions.iter_mut().filter_map(|v| v.pointer_mut("/schema/openAPIV3Schema")).for_each(simplify);
    }
    serde_json::from_value(value).expect("a simplified schema is a schema")
}

/// A new Gateway shows that nothing has happened to it yet (networking §3).
fn waiting(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let conditions = json!({ "conditions": networking::GatewayStatus::default().conditions });
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|validation| validation.open_api_v3_schema.as_mut());
        if let Some(status) = schema.and_then(|schema| schema.properties.as_mut()?.get_mut("status")) {
            status.default = Some(JSON(conditions.clone()));
        }
    }
    crd
}

/// Takes out what the API server would only carry along: `nullable` (it prunes a null of a field that is not
/// nullable, core-api §13.3) and the titles that the derive macro makes of type names. Lines of a description that the
/// source wraps are joined: `kubectl explain` wraps by itself.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("nullable") == Some(&Value::Bool(true)) {
                map.remove("nullable");
            }
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text =
                    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
            }
            // A property may be called `title`, too; then it is an object.
            if map.get("title").is_some_and(Value::is_string) {
                map.remove("title");
            }
            map.values_mut().for_each(simplify);
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}

/// The YAML file of a CRD.
pub fn to_yaml(crd: &CustomResourceDefinition) -> String {
    let yaml = serde_saphyr::to_string(crd).expect("a CRD is YAML");
    format!("# Written by `cargo run --bin crdgen`; the sources are in proto/src.\n{yaml}")
}

/// Name of the file that holds a CRD, for example `functions.core.openfunction.io.yaml`.
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}.yaml", crd.metadata.name.as_deref().expect("a CRD has a name"))
}

#[cfg(test)]
#[path = "crds_tests.rs"]
mod tests;
