//! Init containers that prepare what Dapr's sidecar reads: topics that Dapr does not make, for example. They run where it
//! does, before it.

use std::collections::BTreeSet;

use openfunction_proto::core::{DAPR_INIT_CONTAINERS, ServingImpl};
use serde_json::{Map, Value};

use crate::validate::{Invalid, Valid};

/// What goes to the pod of the sidecar.
#[derive(Debug, Default, PartialEq)]
pub struct Prepared {
    /// Init containers.
    pub containers: Vec<Value>,
    /// Volumes that they mount.
    pub volumes: Vec<Value>,
}

fn named(spec: &ServingImpl) -> impl Iterator<Item = &str> {
    let names = spec.annotations.get(DAPR_INIT_CONTAINERS).map(String::as_str).unwrap_or_default();
    names.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn list<'a>(pod: &'a Map<String, Value>, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    pod.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// Checks that the init containers are there.
///
/// # Errors
/// One is not.
pub fn validate_prepared(spec: &ServingImpl, template: &Map<String, Value>) -> Result<(), Invalid> {
    let is_there = |name: &str| list(template, "initContainers").any(|container| container["name"] == name);
    match named(spec).find(|name| !is_there(name)) {
        None => Ok(()),
        Some(name) => Err(Invalid::Value {
            path: format!("spec.annotations[{DAPR_INIT_CONTAINERS}]"),
            value: name.to_owned(),
            why: "must be the name of one of spec.template.initContainers".to_owned(),
        }),
    }
}

/// Takes them out of a pod of the function, with the volumes that nothing else there mounts.
pub fn taken(valid: &Valid, pod: &mut Map<String, Value>) -> Prepared {
    let names: BTreeSet<_> = named(&valid.serving.spec.serving).collect();
    let is_named = |container: &Value| container["name"].as_str().is_some_and(|name| names.contains(name));
    let containers = take(pod, "initContainers", is_named);
    let mounted = |containers: &mut dyn Iterator<Item = &Value>| -> BTreeSet<String> {
        let mounts = containers.filter_map(|container| container["volumeMounts"].as_array()).flatten();
        mounts.filter_map(|mount| mount["name"].as_str().map(str::to_owned)).collect()
    };
    let theirs = mounted(&mut containers.iter());
    let others = mounted(&mut list(pod, "containers").chain(list(pod, "initContainers")));
    let is_in =
        |names: &BTreeSet<String>, volume: &Value| volume["name"].as_str().is_some_and(|name| names.contains(name));
    let volumes = list(pod, "volumes").filter(|volume| is_in(&theirs, volume)).cloned().collect();
    take(pod, "volumes", |volume| is_in(&theirs, volume) && !is_in(&others, volume));
    Prepared { containers, volumes }
}

/// Takes items out of a list of a pod; one that is empty then goes.
fn take(pod: &mut Map<String, Value>, field: &str, is_taken: impl Fn(&Value) -> bool) -> Vec<Value> {
    let Some(items) = pod.get_mut(field).and_then(Value::as_array_mut) else { return Vec::new() };
    let taken: Vec<_> = items.extract_if(.., |item| is_taken(item)).collect();
    if items.is_empty() {
        pod.remove(field);
    }
    taken
}
