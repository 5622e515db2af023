//! Handlers that Dapr calls, from manifests with the annotation.

mod source;
mod trigger;

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use controller_runtime::children;
use kube::ResourceExt;
use openfunction_proto::events::HANDLER;
use serde_json::{Value, json};

use crate::{
    bus::Found,
    handler::{self, Handler},
    names,
    plan::{
        Plan,
        tests::{bus, jetstream, plan_of_source, plan_of_trigger, problem, source_of, trigger_of},
    },
    problem::Problem,
};

fn source_on(bus: Result<Found, Problem>, name: &str, spec: Value) -> Plan {
    let mut source = source_of(spec);
    source.metadata.name = Some(name.to_owned());
    source.annotations_mut().insert(HANDLER.to_owned(), "dapr".to_owned());
    plan_of_source(bus, &source)
}

fn source(spec: Value) -> Plan {
    source_on(jetstream(), "my-es", spec)
}

fn trigger_on(bus: Result<Found, Problem>, name: &str, spec: Value) -> Plan {
    let mut trigger = trigger_of(spec);
    trigger.metadata.name = Some(name.to_owned());
    trigger.annotations_mut().insert(HANDLER.to_owned(), "dapr".to_owned());
    plan_of_trigger(bus, &trigger)
}

/// With inputs `a` and `b`.
fn trigger(subscribers: Value) -> Plan {
    let inputs =
        json!({"a": {"eventSource": "a", "event": "e"}, "b": {"namespace": "far", "eventSource": "b", "event": "e"}});
    trigger_on(jetstream(), "dock", json!({"eventBus": "depot", "inputs": inputs, "subscribers": subscribers}))
}

fn kafka(more: Value) -> Value {
    let mut kafka = json!({"brokers": "b:9092", "topic": "t", "authRequired": false});
    kafka.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"eventBus": "depot", "kafka": {"sample-one": kafka}})
}

fn serving(handler: &Handler) -> Value {
    children::json(&handler.serving)
}

fn first(plan: &Plan) -> Value {
    assert_eq!(plan.problem, None);
    serving(&plan.handlers[0])
}

/// What the program is told.
fn config(serving: &Value) -> String {
    String::from_utf8(BASE64_STANDARD.decode(serving["params"]["CONFIG"].as_str().unwrap()).unwrap()).unwrap()
}

/// The settings of a component by their names: values, and keys of Secrets.
fn settings(component: &Value) -> Value {
    let setting = |of: &Value| match &of["secretKeyRef"] {
        Value::Null => (of["name"].as_str().unwrap().to_owned(), of["value"].clone()),
        key => {
            (of["name"].as_str().unwrap().to_owned(), json!(format!("{}/{}", key["name"], key["key"]).replace('"', "")))
        }
    };
    Value::Object(component["metadata"].as_array().unwrap().iter().map(setting).collect())
}
