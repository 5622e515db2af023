//! Engine `knative`: a Knative Service, whose revisions Knative scales to zero and back.

mod features;
mod service;

use controller_runtime::{apply::ApplyError, conditions::NewCondition, optional::OptionalApi};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use openfunction_proto::core::{Backend, NOT_READY_YET};
use serde_json::Value;

use crate::{
    engine::{Engine, Refused, Seen, World},
    foreign::KnativeService,
    ignored::{self, ignored},
    settings::Settings,
    status::{Observed, failure_of_pods, late, not_ready},
    validate::{Invalid, Valid},
};

pub use features::is_harmless;

/// Knative Services.
pub const SERVICES: OptionalApi = OptionalApi { group: "serving.knative.dev", version: "v1", plural: "services" };

/// Port of a revision's own Service.
const PORT: i32 = 80;
/// The same for HTTP/2 in clear text (knative.dev/networking, `ServiceHTTP2Port`).
const HTTP2_PORT: i32 = 81;
/// Label of a pod with its Knative revision.
const REVISION: &str = "serving.knative.dev/revision";

/// Engine `knative`.
#[derive(Debug)]
pub struct Knative;

impl Engine for Knative {
    fn needs(&self) -> Option<(OptionalApi, &'static str)> {
        Some((SERVICES, "Knative Serving (services.serving.knative.dev/v1)"))
    }

    fn makes(&self) -> &'static [OptionalApi] {
        &[SERVICES]
    }

    fn build(&self, valid: &Valid, world: &World) -> Result<Vec<Value>, Invalid> {
        service::service(valid, world).map(|service| vec![service])
    }

    fn observe(&self, valid: &Valid, world: &World) -> Seen {
        let name = valid.serving.name_any();
        let service = world.find::<KnativeService>(&name).map(|service| &service.data).unwrap_or(&Value::Null);
        let ready = text(service, "/status/latestReadyRevisionName");
        Seen {
            observed: observed(valid, world),
            backend: ready.map(|revision| backend(valid, revision)),
            scaling: service::bounds(valid),
            resources: vec![("serving.knative.dev/service", name.clone())],
            url: name,
        }
    }

    fn notes(&self, valid: &Valid, _world: &World) -> Vec<NewCondition> {
        let is_ignored = |path: &str| path.starts_with("spec.scaleOptions.keda");
        ignored::condition("knative", ignored(valid, is_ignored)).into_iter().collect()
    }

    fn explain(&self, error: &ApplyError, settings: &Settings, features: &(String, String)) -> Option<Refused> {
        features::explain(error, settings, features)
    }
}

fn text<'a>(service: &'a Value, path: &str) -> Option<&'a str> {
    service.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The state of the Configuration, since no networking layer of Knative is needed (B-83).
fn observed(valid: &Valid, world: &World) -> Observed {
    let Some(service) = world.find::<KnativeService>(&valid.serving.name_any()) else {
        return Observed::new("Starting", "Starting", NOT_READY_YET);
    };
    let status = &service.data;
    let is_current =
        status.pointer("/status/observedGeneration").and_then(Value::as_i64) == service.metadata.generation;
    let conditions = status.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let condition = conditions.clone().find(|condition| condition["type"] == "ConfigurationsReady");
    let is = |value: &str| is_current && condition.is_some_and(|condition| condition["status"] == value);
    if is("True") {
        return Observed::running();
    }
    let (ready, created) =
        (text(status, "/status/latestReadyRevisionName"), text(status, "/status/latestCreatedRevisionName"));
    let is_newest = |pod: &&Pod| pod.labels().get(REVISION).map(String::as_str) == created;
    let of_newest = || world.pods.iter().map(|pod| &**pod).filter(is_newest);
    let of_pods = failure_of_pods(of_newest());
    let word = |field: &str| condition.and_then(|condition| condition[field].as_str()).unwrap_or_default().to_owned();
    let failure = of_pods.or_else(|| is("False").then(|| (word("reason"), word("message"))));
    if let Some((reason, message)) = failure {
        let observed = Observed::new("Failed", reason, message);
        return if ready.is_some() { observed } else { late(observed, valid, world.now) };
    }
    match ready {
        // Other bounds are another revision of Knative; the one before answers until it is ready.
        Some(_) if valid.was_running() => Observed::running(),
        Some(_) => Observed::new("Starting", "Starting", "the newest Knative revision is not ready yet"),
        None => {
            let message = not_ready(of_newest()).or_else(|| Some(word("message")).filter(|said| !said.is_empty()));
            let message = message.unwrap_or_else(|| NOT_READY_YET.to_owned());
            late(Observed::new("Starting", "Starting", message), valid, world.now)
        }
    }
}

/// The revision's own Service, and what tells Knative's activator which revision is meant, so that the function keeps
/// its real Host (design §4).
fn backend(valid: &Valid, revision: &str) -> Backend {
    let namespace = valid.serving.namespace().unwrap_or_default();
    let headers = [("Knative-Serving-Namespace", namespace.as_str()), ("Knative-Serving-Revision", revision)];
    Backend {
        kind: "Service".to_owned(),
        name: revision.to_owned(),
        port: if valid.app_protocol.is_some() { HTTP2_PORT } else { PORT },
        app_protocol: valid.app_protocol.map(str::to_owned),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        namespace,
        host: None,
    }
}

#[cfg(test)]
mod tests;
