//! Names and values at the limits of what Kubernetes takes: handled, or refused with the field named, and never tried
//! again and again in silence (issue "the whole life of a Function").

use k8s_openapi::api::events::v1::Event;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use openfunction_proto::core::Function;
use serde_json::{Value, json};

use super::{FUNCTIONS, StandIn, World, function};
use crate::support::eventually;

async fn create(world: &World, function: &Value) -> kube::Result<Function> {
    Api::namespaced(world.client.clone(), FUNCTIONS)
        .create(&PostParams::default(), &serde_json::from_value(function.clone()).unwrap())
        .await
}

fn with(name: &str, spec: &[(&str, Value)]) -> Value {
    let mut function = function(name, "registry.example.com/hello:v1");
    for (field, value) in spec {
        function["spec"][*field] = value.clone();
    }
    function
}

/// A template whose pods have an environment of some bytes.
fn template(bytes: usize) -> Value {
    json!({"template": {"containers": [{"name": "function", "env": [{"name": "BIG", "value": "x".repeat(bytes)}]}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_values_at_the_limits_are_handled_or_told_with_the_field() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = world.start_all().await;

    let longest = format!("a{}", "b".repeat(62));
    let served = [
        with(&longest, &[]),
        with("upper", &[("version", json!("V1.0-RC_1"))]),
        with("long-version", &[("version", json!("v".repeat(63)))]),
        with("big", &[("serving", template(500_000))]),
    ];
    for function in &served {
        create(&world, function).await.unwrap();
    }
    for function in &served {
        world.is_ready(function["metadata"]["name"].as_str().unwrap(), "True").await;
    }

    // What has no address is told by its route; its revision runs.
    for name in ["with.dots", "1st", &format!("1.{}", "c".repeat(61))] {
        create(&world, &with(name, &[])).await.unwrap();
        let (reason, message) = world.is_ready(name, "False").await;
        assert_eq!(reason, "InvalidName", "{name}: {message}");
        assert!(message.contains("metadata.name"), "{message}");
    }

    let (reason, message) =
        refused(&world, with("none", &[("serving", json!({"triggers": {"http": {"engine": "none"}}}))])).await;
    assert!(message.contains("engine") && message.contains("knative"), "{reason}: {message}");

    // So large that etcd takes neither its status nor a child, which hold a little more.
    create(&world, &with("huge", &[("serving", template(1_571_500))])).await.unwrap();
    let events: Api<Event> = world.api();
    let told = || async {
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let of_huge =
            |event: &Event| event.regarding.as_ref().and_then(|object| object.name.as_deref()) == Some("huge");
        events.into_iter().filter(of_huge).find_map(|event| event.note.filter(|note| note.contains("too large")))
    };
    eventually("an Event says that the Function is too large", told).await;

    for controller in running {
        controller.end().await;
    }
}

/// Why a Function is refused at admission, or is not ready.
async fn refused(world: &World, function: Value) -> (String, String) {
    match create(world, &function).await {
        Err(error) => ("admission".to_owned(), error.to_string()),
        Ok(_) => world.is_ready(function["metadata"]["name"].as_str().unwrap(), "False").await,
    }
}
