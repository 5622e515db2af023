//! A restart writes nothing, and no field of a status has two owners.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::{Api, ResourceExt, api::ListParams};
use openfunction_proto::{core::Function, networking::Gateway};
use serde_json::Value;

use super::{FUNCTIONS, HttpRoute, Serving, StandIn, World, function};
use crate::support::eventually;

/// Functions that are there.
const COUNT: usize = 100;

/// Versions of every object, by kind and name.
async fn versions(world: &World) -> BTreeMap<String, String> {
    async fn add<K>(api: Api<K>, all: &mut BTreeMap<String, String>)
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        for object in api.list(&ListParams::default()).await.unwrap() {
            all.insert(format!("{}/{}", K::kind(&()), object.name_any()), object.resource_version().unwrap());
        }
    }
    let mut all = BTreeMap::new();
    add(world.api::<Function>(), &mut all).await;
    add(world.api::<Serving>(), &mut all).await;
    add(world.api::<Deployment>(), &mut all).await;
    add(world.api::<Service>(), &mut all).await;
    add(world.api::<HttpRoute>(), &mut all).await;
    add(Api::<Gateway>::namespaced(world.client.clone(), "openfunction"), &mut all).await;
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_all_controllers_with_100_functions_writes_nothing() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = world.start_all().await;
    for index in 0..COUNT {
        world.apply_object(&function(&format!("f{index:03}"), "registry.example.com/a:v1")).await;
    }
    for index in 0..COUNT {
        world.is_ready(&format!("f{index:03}"), "True").await;
    }
    no_field_has_two_owners(&world).await;
    for controller in running {
        controller.end().await;
    }
    let before = versions(&world).await;
    assert_eq!(
        before.len(),
        1 + COUNT * 7,
        "a Function, a Serving, a Deployment, two Services and two routes each, and the Gateway"
    );
    let running = world.start_all().await;
    for controller in &running {
        // Every object was looked at: the first pass of each is measured.
        let metrics = &controller.metrics;
        if !matches!(controller.which, super::Which::Builder) {
            eventually("every object is looked at", || async { (controller.passes() >= COUNT).then_some(()) }).await;
            eventually("nothing waits", || async { (metrics.queue_depth() == 0).then_some(()) }).await;
        }
    }
    assert_eq!(versions(&world).await, before);
    for controller in &running {
        let mut writes = controller.writes();
        // Strategies and certificates are looked after at each start.
        writes.retain(|labels, _| !labels.contains("customresourcedefinitions"));
        assert!(writes.is_empty(), "{:?} wrote {writes:?}", controller.which);
    }
    for controller in running {
        controller.end().await;
    }
}

async fn no_field_has_two_owners(world: &World) {
    for function in
        Api::<Function>::namespaced(world.client.clone(), FUNCTIONS).list(&ListParams::default()).await.unwrap()
    {
        let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in function.managed_fields().iter().filter(|entry| entry.subresource.as_deref() == Some("status")) {
            let fields = entry.fields_v1.as_ref().map_or(&Value::Null, |fields| &fields.0);
            leaves(fields, String::new(), &mut |leaf| {
                owners.entry(leaf).or_default().insert(entry.manager.clone().unwrap_or_default());
            });
        }
        let shared: Vec<_> = owners.iter().filter(|(_, managers)| managers.len() > 1).collect();
        assert!(shared.is_empty() && owners.len() > 10, "{shared:?}");
    }
}

fn leaves(fields: &Value, path: String, found: &mut impl FnMut(String)) {
    let children: Vec<_> = fields.as_object().into_iter().flatten().filter(|(key, _)| *key != ".").collect();
    if children.is_empty() {
        found(path);
        return;
    }
    for (key, value) in children {
        leaves(value, format!("{path}/{key}"), found);
    }
}
