//! Dapr for functions: whether a function has it and how, its components, and the proxy that stands between a sidecar of
//! its own and the function's pods (core-behaviour §5).

mod components;
mod jetstream;
mod prepare;
mod proxy;
mod resiliency;

use std::collections::BTreeMap;

use controller_runtime::children;
use kube::api::ObjectMeta;
use openfunction_proto::core::{DAPR_SERVICE_MODE as SERVICE_MODE, DaprTrigger, Serving, ServingImpl};
use serde_json::Value;

use crate::{
    ABOUT,
    engine::World,
    validate::{Invalid, MANAGED, Valid},
};

pub use components::{COMPONENTS, Components, Types, components, mapped, speaks_of, store_type};
pub use jetstream::scaler;
pub use prepare::{taken, validate_prepared};
pub use proxy::{PROXY, budget_of_proxy, has_relay, proxy, proxy_is_ready, relay, relay_port};
pub use resiliency::{RESILIENCIES, resiliency, validate_retries};

/// Annotation that switches Dapr on or off.
pub const ENABLE: &str = "openfunction.io/enable-dapr";
/// Annotation with the name by which Dapr knows the function.
const APP_ID: &str = "dapr.io/app-id";
/// Annotation with the protocol by which Dapr calls the function.
const APP_PROTOCOL: &str = "dapr.io/app-protocol";

/// Annotation with the port on which Dapr calls the function.
const APP_PORT: &str = "dapr.io/app-port";

/// Where Dapr's sidecar of a function runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// It has none.
    Off,
    /// Once for the function, beside a proxy.
    Standalone,
    /// In each of its pods.
    Sidecar,
}

/// Whether a function has Dapr, and how (core-behaviour §5.1, core-api §10.2).
///
/// # Errors
/// A mode that does not exist.
pub fn mode(serving: &Serving) -> Result<Mode, Invalid> {
    let spec = &serving.spec.serving;
    let uses = || {
        !triggers(spec).is_empty()
            || spec.triggers.as_ref().is_some_and(|triggers| !triggers.inputs.is_empty())
            || !spec.outputs.is_empty()
            || !spec.states.is_empty()
            || !spec.configurations.is_empty()
    };
    if !spec.annotations.get(ENABLE).map_or_else(uses, |value| value != "false") {
        return Ok(Mode::Off);
    }
    match spec.annotations.get(SERVICE_MODE).map_or("standalone", String::as_str) {
        "standalone" => Ok(Mode::Standalone),
        "sidecar" => Ok(Mode::Sidecar),
        other => Err(Invalid::Value {
            path: format!("spec.annotations[{SERVICE_MODE}]"),
            value: other.to_owned(),
            why: "must be standalone or sidecar".to_owned(),
        }),
    }
}

/// What Dapr calls the function for, also in the words of v1beta1 (`inputs`, goals Q4), where no requests call it.
pub fn triggers(spec: &ServingImpl) -> Vec<DaprTrigger> {
    let mut triggers = spec.triggers.as_ref().map(|triggers| triggers.dapr.clone()).unwrap_or_default();
    if spec.http().is_none() {
        triggers.extend(spec.inputs.iter().filter_map(|input| {
            let text = |field: &str| input[field].as_str().map(str::to_owned);
            Some(DaprTrigger {
                name: text("component").or_else(|| text("name"))?,
                type_: text("type"),
                topic: text("topic"),
                input_name: text("name"),
                ..DaprTrigger::default()
            })
        }));
    }
    triggers
}

/// The name by which Dapr knows a function (B-70).
pub fn app_id(valid: &Valid) -> String {
    let namespace = valid.serving.metadata.namespace.as_deref().unwrap_or_default();
    annotation(valid, APP_ID).unwrap_or_else(|| format!("{}-{namespace}", valid.function))
}

/// The protocol by which Dapr calls a function. One that requests call speaks HTTP (B-85), others gRPC as their frameworks
/// do.
pub fn protocol(valid: &Valid) -> String {
    let default = if valid.serving.spec.serving.http().is_some() { "http" } else { "grpc" };
    annotation(valid, APP_PROTOCOL).unwrap_or_else(|| default.to_owned())
}

fn annotation(valid: &Valid, name: &str) -> Option<String> {
    valid.serving.spec.serving.annotations.get(name).cloned()
}

/// The annotations of pods, which Dapr's injector reads. The user's own count before ours, but for whether there is a
/// sidecar.
pub fn annotations(valid: &Valid, has_sidecar: bool, is_knative: bool) -> BTreeMap<String, String> {
    let mut annotations = valid.serving.spec.serving.annotations.clone();
    if valid.dapr == Mode::Off {
        if annotations.contains_key(ENABLE) {
            annotations.insert("dapr.io/enabled".to_owned(), "false".to_owned());
        }
        return annotations;
    }
    let defaults = [
        (APP_ID, app_id(valid)),
        ("dapr.io/log-as-json", "true".to_owned()),
        (APP_PROTOCOL, protocol(valid)),
        (APP_PORT, valid.port.to_string()),
        // The port of Knative's own metrics is Dapr's default.
        ("dapr.io/metrics-port", if is_knative { "19090".to_owned() } else { String::new() }),
    ];
    for (name, value) in defaults.into_iter().filter(|(_, value)| !value.is_empty()) {
        annotations.entry(name.to_owned()).or_insert(value);
    }
    if has_relay(valid) {
        annotations.insert(APP_PORT.to_owned(), relay_port(valid).to_string());
    }
    annotations.insert("dapr.io/enabled".to_owned(), has_sidecar.to_string());
    annotations
}

/// Variables by which a function finds a sidecar that is not in its pod: the Service that Dapr's operator makes for it.
pub fn variables(valid: &Valid, world: &World) -> Vec<(&'static str, String)> {
    if valid.dapr != Mode::Standalone {
        return Vec::new();
    }
    let namespace = valid.serving.metadata.namespace.as_deref().unwrap_or_default();
    let host = format!("{}-dapr.{namespace}.svc.{}", app_id(valid), world.settings.cluster_domain);
    vec![("DAPR_HOST", host.clone()), ("DAPR_SIDECAR_IP", host)]
}

/// The objects of a revision by what they are (core-api §6.3).
pub fn resources(valid: &Valid) -> Vec<(&'static str, String)> {
    let names = components::names(valid);
    let components = (!names.is_empty()).then(|| ("dapr.io/component", names.join(",")));
    let proxy = (valid.dapr == Mode::Standalone).then(|| ("dapr-proxy", proxy::name(&valid.function)));
    components.into_iter().chain(proxy).collect()
}

/// Metadata of what all revisions of a function have in common. Whose it is, the revisions say together.
fn metadata(valid: &Valid, name: String, more: &[(&str, &str)]) -> ObjectMeta {
    let labels = [(children::FUNCTION, valid.function.as_str()), MANAGED];
    children::metadata(valid.serving, name, ABOUT.name, &[&labels, more].concat())
}

/// An object of Dapr's: what its CRDs call spec is not all of it.
fn object(kind: &str, metadata: ObjectMeta, spec: Value, app_id: String) -> Value {
    serde_json::json!({"apiVersion": "dapr.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "scopes": [app_id]})
}

#[cfg(test)]
mod tests;
