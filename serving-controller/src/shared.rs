//! What the revisions of a Function have in common: its Dapr Components, Resiliency and proxy. Each revision brings all of
//! it to what all revisions want, so that it does not matter which one is looked at.

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
    /// Whether it is all: what a revision wants that cannot be read now is not known, and nothing of it may go.
    pub is_complete: bool,
}

/// What revisions want. Those that are parked or cannot be built want nothing.
pub fn wanted(revisions: &[Arc<Serving>], world: &World, types: &Types) -> Shared {
    let active = revisions.iter().filter(|serving| is_active(serving));
    let read: Result<Vec<_>, _> = active.clone().map(|serving| validate(serving)).collect();
    let mut is_complete = read.is_ok();
    let valid = read.unwrap_or_else(|_| active.filter_map(|serving| validate(serving).ok()).collect());
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
    // Sidecars load it when they start, and those that start are of the newest revision.
    let with_dapr = valid.iter().filter(|valid| valid.dapr != Mode::Off && !has_failed(valid.serving));
    let newest = with_dapr.max_by_key(|valid| since(valid.serving));
    let counts = newest.filter(|valid| valid.dapr == Mode::Sidecar).or(receiver);
    let resiliency = counts.and_then(|valid| Some(owned(dapr::resiliency(valid)?, &[valid])));
    let proxy = receiver.map_or_else(Vec::new, |receiver| {
        let is_async = receiver.serving.spec.serving.http().is_none();
        // Every revision of an HTTP function may have requests, but only one of others has events.
        let mut loaded = names(&|valid| !is_async || std::ptr::eq(valid.serving, receiver.serving));
        loaded.extend(dapr::resiliency(receiver).map(|resiliency| resiliency["spec"].to_string()));
        let Ok(known) = Components::of(receiver, types).inspect_err(|_| is_complete = false) else { return Vec::new() };
        let world = World { components: &known, ..*world };
        let objects = [dapr::budget_of_proxy(receiver, &world), Some(dapr::proxy(receiver, &world, &loaded))];
        objects.into_iter().flatten().map(|object| owned(object, &standalone)).collect()
    });
    let receiver = receiver.filter(|_| !proxy.is_empty()).map(|valid| valid.serving.name_any());
    let components = components.into_values().map(|(object, by)| owned(object, &by));
    Shared { objects: components.chain(resiliency).chain(proxy).collect(), receiver, is_complete }
}

fn is_active(serving: &Serving) -> bool {
    serving.metadata.deletion_timestamp.is_none() && !serving.spec.suspend
}

/// Whether a revision did not come up: what it wants of all is of no use.
fn has_failed(serving: &Serving) -> bool {
    let state = serving.status.as_ref().and_then(|status| status.state.as_deref());
    state.is_some_and(|state| ["Failed", "Timeout"].contains(&state))
}

/// The revision of the highest rank gets the events: the newest that runs, else the newest.
fn rank(serving: &Serving) -> (bool, (Option<Timestamp>, String)) {
    let status = serving.status.as_ref();
    (status.and_then(|status| status.state.as_deref()) == Some("Running"), since(serving))
}

/// Since when a revision is active; the name decides between those of one moment.
fn since(serving: &Serving) -> (Option<Timestamp>, String) {
    let activated = serving.status.as_ref().and_then(|status| status.activated_at.clone());
    (activated.or_else(|| serving.creation_timestamp()).map(|time| time.0), serving.name_any())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;

    /// A revision of an async function, made some seconds after the first.
    fn revision(name: &str, second: u32, state: &str, more: &Value) -> Arc<Serving> {
        let bus = json!({"type": "pubsub.redis", "version": "v1", "metadata": [{"name": "redisHost", "value": "redis:6379"}]});
        let mut spec =
            json!({"image": "a", "triggers": {"dapr": [{"name": "bus", "topic": "t"}]}, "pubsub": {"bus": bus}});
        more.as_object().unwrap().iter().for_each(|(field, value)| spec[field] = value.clone());
        let metadata = json!({"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": {"openfunction.io/function": "orders"},
            "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")});
        Arc::new(
            serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": {"state": state}})).unwrap(),
        )
    }

    fn wanted_by(revisions: &[Arc<Serving>]) -> Shared {
        let case = Case::new(json!({}));
        wanted(revisions, &case.world(), &|_| None)
    }

    fn owners(object: &Value) -> Vec<&str> {
        let owners = object.pointer("/metadata/ownerReferences").unwrap().as_array().unwrap();
        owners.iter().map(|owner| owner["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn ou8_revisions_that_declare_the_same_component_share_it() {
        let both = [revision("orders-1", 1, "Running", &json!({})), revision("orders-2", 2, "Starting", &json!({}))];
        let shared = wanted_by(&both);
        let kinds: Vec<_> = shared.objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["Component", "Deployment"], "one of each");
        assert_eq!(owners(&shared.objects[0]), ["orders-1", "orders-2"]);
        assert_eq!(shared.objects[0]["scopes"], json!(["orders-shop"]));
        // One that is parked lets go of it.
        let parked = [revision("orders-1", 1, "Suspended", &json!({"suspend": true})), both[1].clone()];
        assert_eq!(owners(&wanted_by(&parked).objects[0]), ["orders-2"]);
        let all_parked = [revision("orders-1", 1, "Suspended", &json!({"suspend": true}))];
        let nothing = wanted_by(&all_parked);
        assert!(nothing.objects.is_empty() && nothing.is_complete);
        // What cannot be read may want anything.
        let unreadable = json!({"annotations": {"openfunction.io/dapr-service-mode": "other"}});
        assert!(!wanted_by(&[revision("orders-1", 1, "Running", &unreadable)]).is_complete);
        let unknown = json!({"pubsub": {}, "triggers": {"dapr": [{"name": "gone"}]}});
        assert!(!wanted_by(&[revision("orders-1", 1, "Running", &unknown)]).is_complete);
    }

    #[test]
    fn b73_events_go_to_the_newest_revision_that_runs() {
        let receiver = |first: &str, second: &str| {
            wanted_by(&[revision("orders-1", 1, first, &json!({})), revision("orders-2", 2, second, &json!({}))])
                .receiver
        };
        assert_eq!(receiver("Running", "Starting").as_deref(), Some("orders-1"));
        assert_eq!(receiver("Running", "Running").as_deref(), Some("orders-2"));
        assert_eq!(receiver("Running", "Failed").as_deref(), Some("orders-1"));
        assert_eq!(receiver("Starting", "Starting").as_deref(), Some("orders-2"));
        let sidecars = json!({"annotations": {"openfunction.io/dapr-service-mode": "sidecar"}});
        let shared = wanted_by(&[revision("orders-1", 1, "Running", &sidecars)]);
        assert_eq!((shared.receiver, shared.objects.len()), (None, 1), "no proxy with sidecars");
    }

    #[test]
    fn ou10_sidecars_load_the_resiliency_of_the_revision_that_starts() {
        let with = |second: u32, state: &str, mode: &str, timeout: &str| {
            let resiliency = json!({"policies": {"timeouts": {"t": timeout}}});
            let annotations = json!({"openfunction.io/dapr-service-mode": mode});
            let more = json!({"resiliency": resiliency, "annotations": annotations});
            revision(&format!("orders-{second}"), second, state, &more)
        };
        let timeout = |first: &str, second: &str, mode: &str| {
            let shared = wanted_by(&[with(1, first, "standalone", "1s"), with(2, second, mode, "2s")]);
            let all: Vec<_> = shared.objects.iter().filter(|object| object["kind"] == "Resiliency").collect();
            assert_eq!(all.len(), 1);
            all[0].pointer("/spec/policies/timeouts/t").unwrap().as_str().unwrap().to_owned()
        };
        assert_eq!(timeout("Running", "Starting", "sidecar"), "2s");
        assert_eq!(timeout("Running", "Failed", "sidecar"), "1s");
        assert_eq!(timeout("Running", "Starting", "standalone"), "1s", "the proxy is of the one that runs");
        assert_eq!(timeout("Running", "Running", "standalone"), "2s");
    }

    #[test]
    fn ou13_a_proxy_of_several_pods_has_a_budget() {
        let mut case = Case::new(json!({}));
        case.settings.dapr_proxy_replicas = 2;
        let shared = wanted(&[revision("orders-1", 1, "Running", &json!({}))], &case.world(), &|_| None);
        let budget = shared.objects.iter().find(|object| object["kind"] == "PodDisruptionBudget").unwrap();
        assert_eq!(budget["spec"]["selector"]["matchLabels"], json!({"openfunction.io/proxy": "orders"}));
        assert_eq!(owners(budget), ["orders-1"]);
    }

    #[test]
    fn b73_the_sidecar_of_events_ends_before_the_next_begins() {
        let proxy = |more: &Value| {
            let shared = wanted_by(&[revision("orders-1", 1, "Running", more)]);
            shared.objects.into_iter().find(|object| object["kind"] == "Deployment").unwrap()
        };
        let events = proxy(&json!({}));
        assert_eq!(events["spec"]["strategy"]["type"], "Recreate");
        let target = "orders-1.shop.svc.cluster.local:8080";
        assert!(events.to_string().contains(target), "{events}");
        let retry = json!([{"name": "bus", "topic": "t", "retry": {"maxRetries": 3}}]);
        let loaded =
            |proxy: &Value| proxy.pointer("/spec/template/metadata/annotations/openfunction.io~1components").cloned();
        let with_retry = proxy(&json!({"triggers": {"dapr": retry}}));
        assert_ne!(loaded(&with_retry), loaded(&events), "another Resiliency is loaded by another sidecar");
        let outputs =
            json!({"triggers": {"http": {"port": 9000}}, "outputs": [{"dapr": {"name": "bus", "topic": "t"}}]});
        assert_eq!(proxy(&outputs)["spec"]["strategy"]["type"], "RollingUpdate");
    }
}
