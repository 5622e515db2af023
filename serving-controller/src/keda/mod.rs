//! Engine `keda`: a Deployment that KEDA's HTTP add-on scales, to zero and back.

mod http_scaled_object;

use controller_runtime::{children::json, conditions::NewCondition, optional::OptionalApi};
use kube::ResourceExt;
use openfunction_proto::core::{Backend, ScalingStatus};
use serde_json::Value;

use crate::{
    deployment::{Replicas, deployment},
    engine::{Engine, Seen, World},
    ignored::{self, ignored},
    rollout::{rollout, was_up},
    service::service,
    validate::{Invalid, Valid},
};

/// HTTPScaledObjects.
pub const HTTP_SCALED_OBJECTS: OptionalApi =
    OptionalApi { group: "http.keda.sh", version: "v1alpha1", plural: "httpscaledobjects" };

/// Engine `keda`.
#[derive(Debug)]
pub struct Keda;

impl Engine for Keda {
    fn needs(&self) -> Option<(OptionalApi, &'static str)> {
        Some((HTTP_SCALED_OBJECTS, "KEDA's HTTP add-on (httpscaledobjects.http.keda.sh/v1alpha1)"))
    }

    fn makes(&self) -> &'static [OptionalApi] {
        &[HTTP_SCALED_OBJECTS]
    }

    fn build(&self, valid: &Valid, world: &World) -> Result<Vec<Value>, Invalid> {
        let (min, max) = valid.bounds();
        // It begins with one, so that it is known to work; until then, the add-on must not take that one.
        let first = min.max(1);
        let min = if was_up(valid, world) { min } else { first };
        let replicas = Replicas { first, max, is_scaled: true, is_scheduled: false, may_be_zero: min == 0 };
        Ok(vec![
            json(&service(valid)),
            deployment(valid, world, replicas),
            http_scaled_object::http_scaled_object(valid, world, (min, max)),
        ])
    }

    fn observe(&self, valid: &Valid, world: &World) -> Seen {
        let name = valid.serving.name_any();
        let (min_replicas, max_replicas) = valid.bounds();
        let interceptor = &world.settings.keda_http_interceptor;
        Seen {
            observed: rollout(valid, world, min_replicas == 0),
            backend: Some(Backend {
                kind: "Service".to_owned(),
                namespace: interceptor.namespace.clone(),
                name: interceptor.name.clone(),
                port: interceptor.port,
                host: Some(http_scaled_object::host(valid, world)),
                ..Backend::default()
            }),
            scaling: ScalingStatus { min_replicas, max_replicas },
            resources: vec![("http.keda.sh/deployment", name.clone()), ("http.keda.sh/httpscaledobject", name.clone())],
            url: name,
        }
    }

    fn notes(&self, valid: &Valid, _world: &World) -> Vec<NewCondition> {
        let is_ignored = |path: &str| path != "spec.scaleOptions.keda.httpScaledObject";
        ignored::condition("keda", ignored(valid, is_ignored)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
