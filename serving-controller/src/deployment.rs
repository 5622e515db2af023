//! The Deployment or StatefulSet of a revision, for engines that run pods themselves.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::{Resource, ResourceExt, api::DynamicObject};
use serde_json::{Value, json};

use crate::{
    ABOUT,
    engine::World,
    pod::{self, Shape},
    rendered::rendered,
    validate::{MANAGED, Valid},
};

/// Annotation of a workload whose replicas somebody else has set. Found when it is read, and kept as long as no
/// autoscaler is ours.
const SCALED_BY: &str = "openfunction.io/scaled-by";

/// Notes who sets the replicas of a workload.
pub fn remember_who_scales<K: Resource>(workload: &mut K) {
    let scales = workload.managed_fields().iter().find(|entry| {
        let fields = entry.fields_v1.as_ref().map_or(&Value::Null, |fields| &fields.0);
        entry.manager.as_deref() != Some(ABOUT.name) && fields.pointer("/f:spec/f:replicas").is_some()
    });
    if let Some(manager) = scales.and_then(|entry| entry.manager.clone()) {
        workload.annotations_mut().insert(SCALED_BY.to_owned(), manager);
    }
}

/// How many replicas a workload may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replicas {
    /// How many it begins with, and has at least while nothing scales it.
    pub first: i32,
    /// How many it may have.
    pub max: i32,
    /// An autoscaler says how many.
    pub is_scaled: bool,
    /// They follow a schedule, which somebody who scales by hand does not end.
    pub is_scheduled: bool,
    /// That autoscaler goes to zero and back, so that zero is no accident.
    pub may_be_zero: bool,
}

/// The Deployment.
pub fn deployment(valid: &Valid, world: &World, replicas: Replicas) -> Value {
    let live = world.find::<Deployment>(&valid.serving.name_any());
    let mut deployment = workload(valid, world, replicas, "Deployment", live);
    // A pod ends only when another has taken its place.
    deployment["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}});
    deployment
}

/// The StatefulSet.
pub fn stateful_set(valid: &Valid, world: &World, replicas: Replicas) -> Value {
    let name = valid.serving.name_any();
    let mut stateful_set = workload(valid, world, replicas, "StatefulSet", world.find::<StatefulSet>(&name));
    // Pods that call nobody by name need not wait for each other.
    stateful_set["spec"]["podManagementPolicy"] = json!("Parallel");
    stateful_set["spec"]["serviceName"] = json!(name);
    stateful_set
}

/// What both have.
fn workload(valid: &Valid, world: &World, replicas: Replicas, kind: &str, live: Option<&DynamicObject>) -> Value {
    let (template, mut annotations) = rendered(valid, live, || pod::template(valid, world, Shape::PLAIN));
    if let Some(scaled_by) = scaled_by(live).filter(|_| !replicas.is_scaled) {
        annotations.insert(SCALED_BY.to_owned(), scaled_by.clone());
    }
    let mut metadata = valid.metadata(&[MANAGED]);
    metadata.annotations = Some(annotations);
    let mut workload = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": pod::selector(valid)},
            "revisionHistoryLimit": 1,
            "template": template,
        },
    });
    if let Some(ours) = replicas.ours(live) {
        workload["spec"]["replicas"] = json!(ours);
    }
    workload
}

fn scaled_by(live: Option<&DynamicObject>) -> Option<&String> {
    live.and_then(|live| live.annotations().get(SCALED_BY))
}

impl Replicas {
    /// The replicas that are ours to say: none while an autoscaler says them; otherwise what somebody else left, within
    /// the bounds (design §7).
    fn ours(self, live: Option<&DynamicObject>) -> Option<i32> {
        let Some(live) = live else { return Some(self.first) };
        let now = live
            .data
            .pointer("/spec/replicas")
            .and_then(Value::as_i64)
            .map_or(1, |now| i32::try_from(now).unwrap_or(i32::MAX));
        // Who scales to zero through /scale owns no field: that object leaves zero out.
        let is_asleep = self.is_scaled && self.may_be_zero && now == 0;
        let is_free = (self.is_scaled || !self.is_scheduled) && scaled_by(Some(live)).is_some();
        if !is_asleep && !is_free {
            return Some(self.first);
        }
        // At zero, an autoscaler of Kubernetes does nothing.
        (!self.is_scaled || (now == 0 && !self.may_be_zero)).then(|| now.clamp(self.first, self.max.max(self.first)))
    }
}

#[cfg(test)]
mod tests {
    use controller_runtime::children::dynamic;

    use super::*;
    use crate::testing::Case;

    const BOUNDS: Replicas = Replicas { first: 2, max: 5, is_scaled: true, is_scheduled: false, may_be_zero: false };

    fn live(replicas: i32, scaled_by: Option<&str>) -> DynamicObject {
        let case = Case::new(json!({"triggers": {"http": {"port": 80}}}));
        let mut live = dynamic(&deployment(&case.valid(), &case.world(), BOUNDS));
        live.data["spec"]["replicas"] = json!(replicas);
        if let Some(manager) = scaled_by {
            live.annotations_mut().insert(SCALED_BY.to_owned(), manager.to_owned());
        }
        live
    }

    #[test]
    fn replicas_are_left_to_an_autoscaler_once_it_has_set_them() {
        let alone = Replicas { is_scaled: false, ..BOUNDS };
        assert_eq!(BOUNDS.ours(None), Some(2));
        assert_eq!(BOUNDS.ours(Some(&live(2, None))), Some(2), "until it has");
        assert_eq!(BOUNDS.ours(Some(&live(4, Some("hpa")))), None);
        assert_eq!(alone.ours(Some(&live(4, Some("hpa")))), Some(4), "the autoscaler is gone");
        assert_eq!(BOUNDS.ours(Some(&live(0, Some("kubectl")))), Some(2), "it is switched on again");
        let to_zero = Replicas { may_be_zero: true, ..BOUNDS };
        assert_eq!(to_zero.ours(Some(&live(0, Some("keda-operator")))), None, "zero is meant");
        assert_eq!(to_zero.ours(Some(&live(0, None))), None, "who went there by /scale is not known");
        assert_eq!(to_zero.ours(Some(&live(2, None))), Some(2), "until it has");
        assert_eq!(alone.ours(Some(&live(9, Some("kubectl")))), Some(5), "within the bounds");
        let scheduled = Replicas { is_scheduled: true, ..alone };
        assert_eq!(scheduled.ours(Some(&live(4, Some("kubectl")))), Some(2), "a floor that ends, ends");
        let mut case = Case::new(json!({"triggers": {"http": {"port": 80}}}));
        case.live = vec![live(9, Some("kubectl"))];
        let again = dynamic(&deployment(&case.valid(), &case.world(), alone));
        assert_eq!(alone.ours(Some(&again)), Some(5), "it stays so when they are ours");
    }

    #[test]
    fn b21_a_revision_is_rendered_once() {
        let mut case = Case::new(json!({"triggers": {"http": {"port": 80}}, "scaleOptions": {"maxReplicas": 3}}));
        let mut before = live(1, None);
        // As an older version of this controller may have rendered it.
        let from = crate::rendered::rendered_from(&case.serving);
        let old = json!({"from": from, "template": {"spec": {"old": true}}});
        before.annotations_mut().insert("openfunction.io/rendered".to_owned(), old.to_string());
        case.live = vec![before];
        case.globals.hooks.pre = vec!["audit".to_owned()];
        let kept = deployment(&case.valid(), &case.world(), BOUNDS);
        assert_eq!(kept["spec"]["template"], old["template"]);
        case.serving.spec.image = "b".to_owned();
        let anew = deployment(&case.valid(), &case.world(), BOUNDS);
        assert_eq!(anew["spec"]["template"]["spec"]["containers"][0]["image"], "b");
    }
}
