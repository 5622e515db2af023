//! Every field of every kind survives a write and a read, on the API server and through our types.

use std::collections::BTreeSet;

use kube::api::{DynamicObject, PostParams};
use openfunction_proto::{core, crds, events, networking};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{
    conversion::converting_server,
    support::{api_of, try_out},
};

/// Fields that exclude each other: each group is left out of one of the objects that are tried.
const VARIANTS: &[&[&str]] = &[
    &[
        "revisionPolicy.onlySourceSubPath",
        "tagPolicy.semver",
        "keda.scaledJob",
        "keda.httpScaledObject",
        "traffic[].revision",
        "spec.gatewayDef",
        "spec.jetStream",
        "spec.kafka.brokers?",
        "spec.redisStreams",
        ".list",
        "spec.kafka{}.tls",
    ],
    &[
        "revisionPolicy.tagPolicy",
        "keda.scaledObject",
        "keda.httpScaledObject",
        "traffic[].latest",
        "spec.gatewayRef",
        "spec.natsStreaming",
        "spec.kafka.brokers?",
        "spec.redisStreams",
        ".stream",
        ".disableTls",
    ],
    &[
        "revisionPolicy.onlySourceSubPath",
        "tagPolicy.regex",
        "tagPolicy.order",
        "keda.scaledObject",
        "keda.scaledJob",
        "traffic[].revision",
        "spec.gatewayDef",
        "spec.natsStreaming",
        "spec.jetStream",
        "spec.kafka.brokers?",
        ".list",
        ".disableTls",
    ],
    &[
        "revisionPolicy.tagPolicy",
        "keda.scaledObject",
        "keda.scaledJob",
        "traffic[].revision",
        "spec.gatewayDef",
        "spec.natsStreaming",
        "spec.jetStream",
        "spec.redisStreams",
        ".list",
        ".disableTls",
    ],
];

/// Makes an object that has every field of a schema but those that are left out.
struct Filler<'a> {
    kind: &'a str,
    left_out: &'a [&'a str],
    /// Paths that were filled, and all that there are.
    filled: BTreeSet<String>,
    all: BTreeSet<String>,
}

impl Filler<'_> {
    fn fill(&mut self, schema: &Value, path: &str) -> Value {
        if let Some(value) = known(path) {
            return value;
        }
        if let Some(choices) = schema["enum"].as_array() {
            return choices.iter().find(|choice| **choice != json!("")).unwrap().clone();
        }
        if schema["x-kubernetes-int-or-string"] == true {
            return json!("1");
        }
        let preserves = schema["x-kubernetes-preserve-unknown-fields"] == true;
        match schema["type"].as_str() {
            Some("object") => {
                let mut object = Map::new();
                for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                    let path = format!("{path}.{name}");
                    self.all.insert(path.clone());
                    if !self.is_left_out(&path) {
                        self.filled.insert(path.clone());
                        object.insert(name.clone(), self.fill(property, &path));
                    } else {
                        self.note(property, &path);
                    }
                }
                if schema["additionalProperties"].is_object() {
                    object.insert("key".to_owned(), self.fill(&schema["additionalProperties"], &format!("{path}{{}}")));
                }
                if preserves {
                    object.insert("unknownField".to_owned(), json!({"kept": [1, "a", null]}));
                }
                Value::Object(object)
            }
            Some("array") => json!([self.fill(&schema["items"], &format!("{path}[]"))]),
            Some("string") => match schema["format"].as_str() {
                Some("duration") => json!("1h30m"),
                Some("date-time") => json!("2026-01-02T03:04:05Z"),
                _ => json!("a"),
            },
            Some("integer" | "number") => json!(schema["minimum"].as_f64().unwrap_or(1.0).max(1.0) as i64),
            Some("boolean") => json!(true),
            None if preserves => json!({"kept": [1.5, "a", false]}),
            other => panic!("{path}: unexpected type {other:?}"),
        }
    }

    /// Remembers the fields below one that is left out.
    fn note(&mut self, schema: &Value, path: &str) {
        let mut below = Filler { kind: self.kind, left_out: &[], filled: BTreeSet::new(), all: BTreeSet::new() };
        below.fill(schema, path);
        self.all.extend(below.all);
    }

    fn is_left_out(&self, path: &str) -> bool {
        let is_bus = matches!(self.kind, "EventBus" | "ClusterEventBus");
        self.left_out.iter().any(|part| match part.strip_suffix(".brokers?") {
            // The bus on Kafka, not the Kafka events of an EventSource.
            Some(kafka) => is_bus && path.ends_with(kafka),
            None => {
                path.starts_with("spec")
                    && path.ends_with(part)
                    && (!matches!(*part, ".list" | ".stream") || path.contains(".redis{}"))
            }
        })
    }
}

/// Values that a pattern or rule asks for.
fn known(path: &str) -> Option<Value> {
    let of = [
        (".platforms[]", json!("linux/amd64")),
        (".customScalingRunningJobPercentage", json!("50%")),
        (".timeouts.request", json!("10s")),
        (".timeouts.backendRequest", json!("10s")),
        (".path.value", json!("/a")),
        (".paths[].value", json!("/a")),
        (".traffic[].percent", json!(100)),
        (".qos", json!(1)),
        (".revisionPolicy.type", json!("image")),
        (".webhook{}.path", json!("/a")),
        (".github{}.path", json!("/a")),
        (".gitlab{}.path", json!("/a")),
        (".s3{}.path", json!("/a")),
    ];
    of.into_iter().find(|(end, _)| path.ends_with(end)).map(|(_, value)| value)
}

/// Reads an object as a type and writes it again.
fn through<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{}: {error}", object["kind"]));
    serde_json::to_value(typed).unwrap()
}

fn through_our_type(object: &Value) -> Value {
    let version = object["apiVersion"].as_str().unwrap().rsplit('/').next().unwrap();
    match (object["kind"].as_str().unwrap(), version) {
        ("Function", "v1beta2") => through::<core::Function>(object),
        ("Function", _) => through::<core::v1beta1::Function>(object),
        ("Builder", "v1beta2") => through::<core::Builder>(object),
        ("Builder", _) => through::<core::v1beta1::Builder>(object),
        ("Serving", "v1beta2") => through::<core::Serving>(object),
        ("Serving", _) => through::<core::v1beta1::Serving>(object),
        ("Gateway", _) => through::<networking::Gateway>(object),
        ("EventSource", _) => through::<events::EventSource>(object),
        ("EventBus", _) => through::<events::EventBus>(object),
        ("ClusterEventBus", _) => through::<events::ClusterEventBus>(object),
        ("Trigger", _) => through::<events::Trigger>(object),
        other => panic!("no type for {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_every_kind_survives_a_write_and_a_read() {
    let (server, client, _converter) = converting_server().await;
    let namespace = server.namespace(&client).await.unwrap();
    let mut count = 0;
    for crd in crds::all() {
        let kind = crd.spec.names.kind.clone();
        for version in &crd.spec.versions {
            let schema =
                serde_json::to_value(version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()).unwrap();
            let (mut filled, mut all) = (BTreeSet::new(), BTreeSet::new());
            for (number, left_out) in VARIANTS.iter().enumerate() {
                let mut filler = Filler { kind: &kind, left_out, filled: BTreeSet::new(), all: BTreeSet::new() };
                let mut object = json!({"apiVersion": format!("{}/{}", crd.spec.group, version.name), "kind": kind,
                    "metadata": {"name": format!("full-{number}-{}-{namespace}", version.name)}});
                for part in ["spec", "status"] {
                    object[part] = filler.fill(&schema["properties"][part], part);
                }
                filled.extend(filler.filled);
                all.extend(filler.all);
                assert_eq!(through_our_type(&object), object, "{kind} {} through our type", version.name);
                let api = api_of(&client, &object, &namespace).await;
                if version.storage {
                    let written: DynamicObject = serde_json::from_value(object.clone()).unwrap();
                    let created = api
                        .create(&PostParams::default(), &written)
                        .await
                        .unwrap_or_else(|error| panic!("{kind}: {error}"));
                    let mut with_status = created.clone();
                    with_status.data["status"] = object["status"].clone();
                    api.replace_status(&created.metadata.name.clone().unwrap(), &PostParams::default(), &with_status)
                        .await
                        .unwrap_or_else(|error| panic!("{kind} status: {error}"));
                    let read = api.get(&created.metadata.name.unwrap()).await.unwrap();
                    assert_eq!(read.data, json!({"spec": object["spec"], "status": object["status"]}), "{kind}");
                } else {
                    // Stored in the other version: what the API server takes in is all that it says of this one.
                    let taken = try_out(&api, &object)
                        .await
                        .unwrap_or_else(|status| panic!("{kind} {}: {}", version.name, status.message));
                    assert_eq!(taken.data["spec"], object["spec"], "{kind} {}", version.name);
                }
            }
            assert_eq!(
                all.difference(&filled).collect::<Vec<_>>(),
                Vec::<&String>::new(),
                "{kind} {}: never filled",
                version.name
            );
            count += filled.len();
        }
    }
    println!("{count} fields survive");
}
