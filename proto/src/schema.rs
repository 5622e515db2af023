//! Schema parts that the derive macros cannot express.

use k8s_openapi::api::core::v1::PodSpec;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// Any JSON value, kept as it is.
pub(crate) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ PRESERVE: true })
}

/// An object whose content is kept as it is.
pub(crate) fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", PRESERVE: true })
}

/// A list of objects whose content is kept as it is.
pub(crate) fn objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 64, "items": { "type": "object", PRESERVE: true } })
}

/// The PodSpec of Kubernetes 1.34. Every object in it keeps fields that this version does not know.
pub(crate) fn pod_spec(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<PodSpec>().to_value();
    keep_unknown_fields(&mut schema);
    declare_ports(&mut schema);
    allow_references_without_name(&mut schema);
    schema.as_object_mut().map(|pod| pod.remove("description"));
    Schema::try_from(schema).expect("a schema stays a schema")
}

fn keep_unknown_fields(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.contains_key("properties") {
                map.insert(PRESERVE.to_owned(), json!(true));
            }
            shorten(map);
            map.values_mut().for_each(keep_unknown_fields);
        }
        Value::Array(items) => items.iter_mut().for_each(keep_unknown_fields),
        _ => {}
    }
}

/// Descriptions keep their first sentence: two PodSpecs with all of theirs would take most of the 1 MiB of a CRD.
fn shorten(schema: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = schema.get_mut("description")
        && let Some(end) = text.find(". ")
    {
        text.truncate(end + 1);
    }
}

/// Ports are a map keyed by number and protocol, so that two appliers can own one each (as in core/v1).
fn declare_ports(pod: &mut Value) {
    for containers in ["containers", "initContainers", "ephemeralContainers"] {
        let Some(ports) = pod.pointer_mut(&format!("/properties/{containers}/items/properties/ports")) else {
            continue;
        };
        ports["x-kubernetes-list-type"] = json!("map");
        ports["x-kubernetes-list-map-keys"] = json!(["containerPort", "protocol"]);
        ports["items"]["properties"]["protocol"]["default"] = json!("TCP");
    }
}

/// References to an object of the namespace may lack the name, as in core/v1 (it is empty then).
fn allow_references_without_name(schema: &mut Value) {
    const REFERENCES: &[&str] = &[
        "imagePullSecrets",
        "configMapRef",
        "secretRef",
        "configMapKeyRef",
        "secretKeyRef",
        "configMap",
        "secret",
        "nodePublishSecretRef",
    ];
    match schema {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                allow_references_without_name(value);
                if REFERENCES.contains(&key.as_str()) {
                    let at = if key == "imagePullSecrets" { "/items/required" } else { "/required" };
                    if let Some(Value::Array(required)) = value.pointer_mut(at) {
                        required.retain(|name| name != "name");
                    }
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(allow_references_without_name),
        _ => {}
    }
}
