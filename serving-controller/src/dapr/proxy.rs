//! The Dapr proxy of a function: one pod with Dapr's sidecar for all pods of the function, which need none then, and may
//! go to zero (mode `standalone`).

use std::collections::BTreeMap;

use controller_runtime::{
    children::json,
    names::{self, DNS_LABEL},
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{ResourceExt, api::ObjectMeta};
use openfunction_proto::core::DaprTrigger;
use serde_json::{Value, json};

use super::{APP_PORT, Mode, annotation, annotations, metadata, protocol, taken, triggers};
use crate::{budget::budget, context, engine::World, service::PORT, validate::Valid};

/// Label of the proxy, with the Function that it is of.
pub const PROXY: &str = "openfunction.io/proxy";
/// Annotation of its pods with the components that its sidecar has loaded: Dapr loads them when it starts.
const LOADED: &str = "openfunction.io/components";
/// Name of its container.
const CONTAINER: &str = "dapr-proxy";
/// Port on which Dapr calls it within a pod of the function.
const RELAY: i32 = 50080;

/// Name of the proxy of a Function.
pub fn name(function: &str) -> String {
    names::child(function, CONTAINER, DNS_LABEL)
}

/// Metadata of the proxy of a Function.
fn metadata_of_proxy(valid: &Valid) -> ObjectMeta {
    metadata(valid, name(&valid.function), &[(PROXY, &valid.function)])
}

/// A budget for a proxy of several pods.
pub fn budget_of_proxy(valid: &Valid, world: &World) -> Option<Value> {
    let pods = [(PROXY.to_owned(), valid.function.clone())].into();
    (world.settings.dapr_proxy_replicas > 1).then(|| json(&budget(metadata_of_proxy(valid), pods)))
}

/// The proxy of a Function, for the revision that gets its events. `loaded` is what its sidecar loads when it starts.
pub fn proxy(valid: &Valid, world: &World, loaded: &[String]) -> Value {
    let settings = world.settings;
    let metadata = metadata_of_proxy(valid);
    let is_of_dapr = |key: &str| key.starts_with("dapr.io/");
    let mut pod_annotations: BTreeMap<_, _> =
        annotations(valid, true, false).into_iter().filter(|(key, _)| is_of_dapr(key)).collect();
    // Other pods speak with it.
    pod_annotations.entry("dapr.io/sidecar-listen-addresses".to_owned()).or_insert_with(|| "[::],0.0.0.0".to_owned());
    pod_annotations.insert(LOADED.to_owned(), names::hash(&loaded));
    let mut container = container(valid, world, valid.port, &Target::of(valid, world));
    container["ports"] = json!([{"name": "function-port", "containerPort": valid.port, "protocol": "TCP"}]);
    let mut spec = json!({"containers": [container]});
    let prepared = taken(valid, &mut valid.template.clone());
    if !prepared.containers.is_empty() {
        spec["initContainers"] = json!(prepared.containers);
        spec["volumes"] = json!(prepared.volumes);
    }
    if let Some(name) = valid.serving.spec.image_credentials.as_ref().and_then(|secret| secret.name.clone()) {
        spec["imagePullSecrets"] = json!([{ "name": name }]);
    }
    // Two sidecars that read would read some events twice (B-73); two that only write do no harm.
    let strategy = match triggers(&valid.serving.spec.serving).is_empty() {
        false => json!({"type": "Recreate"}),
        true => json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}),
    };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": settings.dapr_proxy_replicas,
            "selector": {"matchLabels": {PROXY: valid.function}},
            "strategy": strategy,
            "revisionHistoryLimit": 1,
            "template": {"metadata": {"labels": metadata.labels, "annotations": pod_annotations}, "spec": spec},
        },
    })
}

/// Where events go.
struct Target {
    /// `host:port`.
    address: String,
    /// Headers that they need there.
    headers: BTreeMap<String, String>,
}

impl Target {
    fn plain(address: String) -> Self {
        Self { address, headers: BTreeMap::new() }
    }

    /// Where a revision takes them. Those of functions that requests call go the way of requests, so that they wake one
    /// that sleeps (TR11); the name of others leads to their pods.
    fn of(valid: &Valid, world: &World) -> Self {
        let (name, namespace) = (valid.serving.name_any(), valid.serving.namespace().unwrap_or_default());
        let host = |name: &str, namespace: &str, port: i32| {
            format!("{name}.{namespace}.svc.{}:{port}", world.settings.cluster_domain)
        };
        let spec = &valid.serving.spec.serving;
        if spec.http().is_none() {
            return Self::plain(host(&name, &namespace, valid.port));
        }
        let backend = valid.serving.status.as_ref().and_then(|status| status.backend.clone());
        // A proxy that only writes need not begin again when it is known.
        let Some(backend) = backend.filter(|_| !triggers(spec).is_empty()) else {
            return Self::plain(host(&name, &namespace, PORT));
        };
        let of_host = backend.host.map(|host| ("Host".to_owned(), host));
        let address = host(&backend.name, &backend.namespace, backend.port);
        Self { address, headers: backend.headers.into_iter().chain(of_host).collect() }
    }
}

fn variable(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value.replace('$', "$$")})
}

/// The container. Dapr calls it on a port, and it calls a target.
fn container(valid: &Valid, world: &World, port: i32, target: &Target) -> Value {
    let probe = probe(port);
    let mut environment = vec![
        variable("APP_PROTOCOL", &protocol(valid)),
        variable("PORT", &port.to_string()),
        variable("PROBE_PORT", &probe.to_string()),
        variable("TARGET", &target.address),
        variable("FUNC_CONTEXT_V1BETA2", &context::contexts(valid, world).v1beta2),
    ];
    if !target.headers.is_empty() {
        environment.push(variable("HEADERS", &json!(target.headers).to_string()));
    }
    json!({
        "name": CONTAINER,
        "image": world.settings.dapr_proxy_image,
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "env": environment,
        "readinessProbe": {"httpGet": {"path": "/ready", "port": probe}, "periodSeconds": 1},
        "resources": world.settings.dapr_proxy_resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

/// Port of the probe: the next one.
fn probe(port: i32) -> i32 {
    if port == i32::from(u16::MAX) { port - 1 } else { port + 1 }
}

/// A container between Dapr's sidecar and a function in the same pod, if one is needed: a function that speaks gRPC opens its
/// port before it answers, since its framework waits for the sidecar first, and the sidecar would ask once and not again
/// what it subscribes to; and no framework says all that a trigger may say of its subscription.
pub fn relay(valid: &Valid, world: &World) -> Option<Value> {
    // The user may have said where Dapr calls.
    let port = annotation(valid, APP_PORT).unwrap_or_else(|| valid.port.to_string());
    let target = Target::plain(format!("127.0.0.1:{port}"));
    has_relay(valid).then(|| container(valid, world, relay_port(valid), &target))
}

/// Whether a pod has one.
pub fn has_relay(valid: &Valid) -> bool {
    let spec = &valid.serving.spec.serving;
    // A Job ends by itself, which its pod would not with such a container.
    let is_job = spec.workload_type.as_deref() == Some("Job");
    let triggers = triggers(spec);
    let says_more = |trigger: &DaprTrigger| trigger.dead_letter_topic.is_some() || trigger.bulk_subscribe.is_some();
    let is_needed = match protocol(valid).as_str() {
        "grpc" => !triggers.is_empty(),
        _ => triggers.iter().any(says_more),
    };
    valid.dapr == Mode::Sidecar && is_needed && !is_job
}

/// The port on which it is called.
pub fn relay_port(valid: &Valid) -> i32 {
    if RELAY == valid.port { RELAY + 2 } else { RELAY }
}

/// Whether a proxy is as it should be, and answers.
pub fn proxy_is_ready(live: Option<&Deployment>) -> bool {
    live.is_some_and(|live| {
        let status = live.status.clone().unwrap_or_default();
        let wanted = live.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        status.observed_generation >= live.metadata.generation
            && status.updated_replicas.unwrap_or(0) >= wanted
            && status.available_replicas.unwrap_or(0) >= wanted
    })
}
