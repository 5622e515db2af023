//! What the revisions of a Function have in common: its Dapr Components and its Dapr proxy. Each revision brings all of it
//! to what all revisions want, so that it does not matter which one is looked at.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use openfunction_proto::core::Serving;
use serde_json::{Value, json};

use crate::{
    dapr::{self, Components, Mode, Types},
    engine::World,
    validate::{Valid, validate},
};

/// The objects that all revisions of a Function want together.
#[derive(Debug, Default)]
pub struct Shared {
    /// In the order in which they are written.
    pub objects: Vec<Value>,
    /// The revision that gets the events, if there is a proxy.
    pub receiver: Option<String>,
}

/// What revisions want. Those that are parked or cannot be built want nothing.
pub fn wanted(revisions: &[Arc<Serving>], world: &World, types: &Types) -> Shared {
    let active = revisions.iter().filter(|serving| is_active(serving));
    let valid: Vec<_> = active.filter_map(|serving| validate(serving).ok()).collect();
    let mut components: BTreeMap<String, (Value, Vec<&Valid>)> = BTreeMap::new();
    for revision in &valid {
        for object in dapr::components(revision) {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
            components.entry(name).or_insert((object, Vec::new())).1.push(revision);
        }
    }
    let names = |of: &dyn Fn(&Valid) -> bool| -> Vec<String> {
        components.iter().filter(|(_, (_, by))| by.iter().any(|by| of(by))).map(|(name, _)| name.clone()).collect()
    };
    let standalone: Vec<_> = valid.iter().filter(|valid| valid.dapr == Mode::Standalone).collect();
    let receiver = standalone.iter().max_by_key(|valid| rank(valid.serving)).copied();
    let proxy = receiver.and_then(|receiver| {
        let is_async = receiver.serving.spec.serving.http().is_none();
        // Every revision of an HTTP function may have requests, but only one of others has events.
        let loaded = names(&|valid| !is_async || std::ptr::eq(valid.serving, receiver.serving));
        let known = Components::of(receiver, types).ok()?;
        Some(owned(dapr::proxy(receiver, &World { components: &known, ..*world }, &loaded), &standalone))
    });
    let receiver = receiver.filter(|_| proxy.is_some()).map(|valid| valid.serving.name_any());
    let objects = components.into_values().map(|(object, by)| owned(object, &by)).chain(proxy).collect();
    Shared { objects, receiver }
}

fn is_active(serving: &Serving) -> bool {
    serving.metadata.deletion_timestamp.is_none() && !serving.spec.suspend
}

/// The revision of the highest rank gets the events: the newest that runs, else the newest.
fn rank(serving: &Serving) -> (bool, Option<Timestamp>, String) {
    let status = serving.status.as_ref();
    let runs = status.and_then(|status| status.state.as_deref()) == Some("Running");
    let activated = status.and_then(|status| status.activated_at.clone()).map(|time| time.0);
    let since = activated.or_else(|| serving.creation_timestamp().map(|time| time.0));
    (runs, since, serving.name_any())
}

/// An object that goes when the last of some revisions goes.
fn owned(mut object: Value, by: &[&Valid]) -> Value {
    let reference = |valid: &&Valid| {
        let serving = valid.serving;
        json!({"apiVersion": Serving::api_version(&()), "kind": Serving::kind(&()), "name": serving.name_any(),
            "uid": serving.uid(), "blockOwnerDeletion": true})
    };
    object["metadata"]["ownerReferences"] = by.iter().map(reference).collect();
    object
}
