//! Engine `native`: a Deployment, its Service and what scales it: a HorizontalPodAutoscaler, or a ScaledObject for the
//! triggers of KEDA.

mod autoscaler;
pub mod scaled_object;

use controller_runtime::{children::json, conditions::NewCondition, optional::OptionalApi};
use kube::ResourceExt;
use openfunction_proto::core::{Backend, KedaTrigger, SCALE_TO_ZERO_UNAVAILABLE, SCALER_UNAVAILABLE, ScalingStatus};
use serde_json::Value;

use crate::{
    SCALED_OBJECTS,
    budget::budget,
    deployment::{Replicas, deployment},
    engine::{Engine, Seen, World},
    floors::{self, Floor},
    ignored::{self, ignored},
    pod,
    rollout::rollout,
    service::{PORT, service},
    validate::{Invalid, Valid},
};

/// Engine `native`.
#[derive(Debug)]
pub struct Native;

/// What scales a revision.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scaler {
    /// Nothing: the number is fixed, or nothing can tell.
    None,
    /// A HorizontalPodAutoscaler.
    Kubernetes,
    /// A ScaledObject.
    Keda,
}

/// How a revision is scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scaling {
    min: i32,
    max: i32,
    /// A scheduled floor that we see to ourselves.
    floor: Floor,
    scaler: Scaler,
    /// Zero replicas were asked for.
    wants_zero: bool,
}

impl Scaling {
    fn of(valid: &Valid, world: &World) -> Self {
        let (mut min, mut max) = valid.bounds();
        let has_triggers = !valid.triggers.is_empty();
        // What is said to KEDA wins over what is said to all (goals Q7, Q8).
        if let Some(object) = valid.keda.scaled_object.as_ref().filter(|_| has_triggers) {
            min = object.min_replica_count.unwrap_or(min);
            max = object.max_replica_count.unwrap_or(max);
        }
        let asks_for_zero = min == 0;
        let min = min.max(1);
        let with_keda = has_triggers && world.has_keda;
        let floor = if with_keda { Floor::default() } else { floors::floor(&valid.triggers, world.now) };
        let max = max.max(min);
        let min = min.max(floor.replicas.min(max));
        let scaler = match with_keda {
            true => Scaler::Keda,
            false if world.has_metrics && max > min => Scaler::Kubernetes,
            false => Scaler::None,
        };
        // Nobody who says nothing asks for zero.
        let of_keda = valid.keda.scaled_object.as_ref().filter(|_| has_triggers);
        let said =
            valid.scale.min_replicas.is_some() || of_keda.is_some_and(|object| object.min_replica_count.is_some());
        Self { min, max, floor, scaler, wants_zero: asks_for_zero && said }
    }
}

impl Engine for Native {
    fn makes(&self) -> &'static [OptionalApi] {
        &[SCALED_OBJECTS]
    }

    fn build(&self, valid: &Valid, world: &World) -> Result<Vec<Value>, Invalid> {
        floors::validate(&valid.triggers)?;
        let scaling = Scaling::of(valid, world);
        let replicas = Replicas {
            first: scaling.min,
            max: scaling.max,
            is_scaled: scaling.scaler != Scaler::None,
            is_scheduled: scaling.floor.until.is_some(),
            may_be_zero: false,
        };
        // Where requests go first, so that a pod which is ready is reached.
        let mut objects = vec![json(&service(valid)), deployment(valid, world, replicas)];
        let bounds = (scaling.min, scaling.max);
        match scaling.scaler {
            Scaler::None => {}
            Scaler::Kubernetes => objects.push(json(&autoscaler::autoscaler(valid, bounds)?)),
            Scaler::Keda => objects.push(scaled_object::scaled_object(valid, "Deployment", bounds)),
        }
        if scaling.min > 1 {
            objects.push(json(&budget(valid.metadata(&[]), pod::selector(valid))));
        }
        Ok(objects)
    }

    fn observe(&self, valid: &Valid, world: &World) -> Seen {
        let name = valid.serving.name_any();
        let mut observed = rollout(valid, world, false);
        // A scheduled floor begins or ends then.
        let scaling = Scaling::of(valid, world);
        if let Some(until) = scaling.floor.until {
            observed.look_again_at(until, world.now);
        }
        Seen {
            observed,
            backend: Some(Backend {
                kind: "Service".to_owned(),
                namespace: valid.serving.namespace().unwrap_or_default(),
                name: name.clone(),
                port: PORT,
                app_protocol: valid.app_protocol.map(str::to_owned),
                ..Backend::default()
            }),
            scaling: ScalingStatus { min_replicas: scaling.min, max_replicas: scaling.max },
            resources: vec![("native/deployment", name.clone()), ("native/service", name.clone())],
            url: name,
        }
    }

    fn notes(&self, valid: &Valid, world: &World) -> Vec<NewCondition> {
        let scaling = Scaling::of(valid, world);
        let zero = scaling.wants_zero.then(|| {
            let message = "engine native keeps at least one replica, so minReplicas 0 means 1";
            NewCondition::true_(SCALE_TO_ZERO_UNAVAILABLE, "EngineNative", message)
        });
        let is_known = |trigger: &KedaTrigger| floors::is_schedule(trigger) || autoscaler::is_resource(trigger);
        let unknown = valid.triggers.iter().find(|(_, trigger)| !is_known(trigger)).filter(|_| !world.has_keda);
        let keda = unknown.map(|(path, trigger)| {
            let message = format!("{path}: type {:?} needs KEDA (scaledobjects.keda.sh), which the cluster does not have; without it, the function is scaled by CPU and memory alone", trigger.type_);
            NewCondition::true_(SCALER_UNAVAILABLE, "KedaMissing", message)
        });
        // Who says nothing of scaling misses nothing.
        let asks = valid.scale.max_replicas.is_some() || !valid.triggers.is_empty();
        let metrics = (asks && scaling.max > scaling.min && scaling.scaler == Scaler::None).then(|| {
            let message = format!(
                "the cluster has no metrics API (v1beta1.metrics.k8s.io) to scale by, so {} of at most {} replicas run",
                scaling.min, scaling.max
            );
            NewCondition::true_(SCALER_UNAVAILABLE, "MetricsMissing", message)
        });
        let requests = (scaling.scaler == Scaler::Kubernetes).then(|| autoscaler::without_requests(valid)).flatten();
        let is_ignored = |path: &str| {
            path.starts_with("spec.scaleOptions.keda.httpScaledObject")
                || path.starts_with("spec.scaleOptions.keda.scaledJob")
                || path.starts_with("spec.knativeService")
                || path.strip_prefix("spec.scaleOptions.knative").is_some_and(|rest| {
                    let knative = valid.scale.knative.clone().unwrap_or_default();
                    !autoscaler::understood(&knative).iter().any(|key| rest == format!("[{key}]"))
                })
        };
        let mut unused = ignored(valid, is_ignored);
        if scaling.scaler != Scaler::Keda {
            unused.extend(scaled_object::unused(valid, scaling.scaler == Scaler::Kubernetes));
        }
        let ignored = ignored::condition("native", unused);
        zero.into_iter().chain(keda.or(metrics).or(requests)).chain(ignored).collect()
    }
}

#[cfg(test)]
mod tests;
