//! Functions that only events call: a Deployment, a StatefulSet or Jobs, which KEDA scales (core-behaviour §8).

mod job;

use controller_runtime::{children::json, conditions::NewCondition, optional::OptionalApi};
use kube::ResourceExt;
use openfunction_proto::core::{SCALER_UNAVAILABLE, ScalingStatus, TRIGGER_MISSING};
use serde_json::Value;

use crate::{
    SCALED_JOBS, SCALED_OBJECTS,
    dapr::{Mode, triggers},
    deployment::{Replicas, deployment, stateful_set},
    engine::{Engine, Seen, World},
    ignored::{self, ignored},
    native::scaled_object,
    rollout::{rollout, was_up},
    service::headless,
    validate::{Invalid, Valid},
};

/// What runs functions that only events call.
#[derive(Debug)]
pub struct Asynchronous;

/// What a function runs as.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Workload {
    Deployment,
    StatefulSet,
    Job,
}

impl Workload {
    fn of(valid: &Valid) -> Self {
        match valid.serving.spec.serving.workload_type.as_deref() {
            Some("StatefulSet") => Self::StatefulSet,
            Some("Job") => Self::Job,
            _ => Self::Deployment,
        }
    }
}

/// How many replicas a function may have: KEDA says how many, within bounds; without KEDA the lower bound counts.
fn bounds(valid: &Valid) -> (i32, i32) {
    let (mut min, mut max) = valid.bounds();
    if let Some(object) = &valid.keda.scaled_object {
        min = object.min_replica_count.unwrap_or(min);
        max = object.max_replica_count.unwrap_or(max);
    }
    (min, max.max(min).max(1))
}

fn is_scaled(valid: &Valid, world: &World) -> bool {
    !valid.triggers.is_empty() && world.has_keda
}

/// Whether the Dapr proxy must find the function's pods.
fn is_called(valid: &Valid) -> bool {
    valid.dapr == Mode::Standalone && !triggers(&valid.serving.spec.serving).is_empty()
}

impl Engine for Asynchronous {
    fn makes(&self) -> &'static [OptionalApi] {
        &[SCALED_OBJECTS, SCALED_JOBS]
    }

    fn build(&self, valid: &Valid, world: &World) -> Result<Vec<Value>, Invalid> {
        let mut objects: Vec<_> = is_called(valid).then(|| json(&headless(valid))).into_iter().collect();
        let workload = Workload::of(valid);
        if workload == Workload::Job {
            // With triggers it runs when they say so, and not besides (B-101).
            objects.extend(match valid.triggers.is_empty() {
                true => Some(job::job(valid, world)),
                false if world.has_keda => Some(job::scaled_job(valid, world)),
                false => None,
            });
            return Ok(objects);
        }
        let ((min, max), is_scaled) = (bounds(valid), is_scaled(valid, world));
        let first = min.max(1);
        // KEDA takes it to zero once it is known to work.
        let min = if was_up(valid, world) { min } else { first };
        let replicas = Replicas { first, max, is_scaled, is_scheduled: false, may_be_zero: min == 0 };
        let (kind, object) = match workload {
            Workload::StatefulSet => ("StatefulSet", stateful_set(valid, world, replicas)),
            _ => ("Deployment", deployment(valid, world, replicas)),
        };
        objects.push(object);
        if is_scaled {
            objects.push(scaled_object::scaled_object(valid, kind, (min, max)));
        }
        Ok(objects)
    }

    fn observe(&self, valid: &Valid, world: &World) -> Seen {
        let name = valid.serving.name_any();
        let (min_replicas, max_replicas) = bounds(valid);
        let is_scaled = is_scaled(valid, world);
        let is_job = Workload::of(valid) == Workload::Job;
        let observed = match is_job {
            true if valid.triggers.is_empty() => job::observe(valid, world),
            true => job::observe_scaled(valid, world),
            false => rollout(valid, world, is_scaled && min_replicas == 0),
        };
        let mut resources = Vec::new();
        if !is_job || valid.triggers.is_empty() {
            resources.push(("Async/workload", name.clone()));
        }
        if is_scaled {
            resources.push(("Async/scaler", name));
        }
        Seen {
            observed,
            backend: None,
            scaling: ScalingStatus { min_replicas, max_replicas },
            resources,
            // Nobody calls it over HTTP (B-105).
            url: String::new(),
        }
    }

    fn notes(&self, valid: &Valid, world: &World) -> Vec<NewCondition> {
        let trigger = valid.triggers.first().filter(|_| !world.has_keda);
        let keda = trigger.map(|(path, trigger)| {
            let kind = if Workload::of(valid) == Workload::Job { "scaledjobs" } else { "scaledobjects" };
            let message = format!(
                "{path}: type {:?} needs KEDA ({kind}.keda.sh), which the cluster does not have; without it, the function is not scaled",
                trigger.type_
            );
            NewCondition::true_(SCALER_UNAVAILABLE, "KedaMissing", message)
        });
        let is_job = Workload::of(valid) == Workload::Job;
        let unused = ignored(valid, |path| match path {
            "spec.scaleOptions.keda.scaledJob" => !is_job,
            "spec.scaleOptions.keda.scaledObject" => is_job,
            "spec.scaleOptions.keda.triggers" => false,
            _ => true,
        });
        // Q9: `runtime: async` keeps the HTTP trigger from being added.
        let is_called = !valid.triggers.is_empty() || !triggers(&valid.serving.spec.serving).is_empty();
        let untriggered = (!is_called).then(|| {
            let message = "spec.triggers: nothing calls the function: it has neither a Dapr trigger (triggers.dapr) nor a KEDA trigger (scaleOptions.keda.triggers), and is not called over HTTP";
            NewCondition::true_(TRIGGER_MISSING, "NoTrigger", message)
        });
        keda.into_iter().chain(ignored::condition("async", unused)).chain(untriggered).collect()
    }
}

#[cfg(test)]
mod tests;
