//! Functions that events call, on a real API server.

use std::collections::BTreeMap;

use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::{FUNCTIONS, StandIn, Which, World, end, function, start};
use crate::support::eventually;

/// Kinds that such a function has.
const KINDS: [(&str, &str, &str); 3] =
    [("apps", "v1", "Deployment"), ("", "v1", "Service"), ("dapr.io", "v1alpha1", "Component")];

fn called(annotations: &Value, topic: &str) -> Value {
    let bus =
        json!({"type": "pubsub.redis", "version": "v1", "metadata": [{"name": "redisHost", "value": "redis:6379"}]});
    let mut wanted = function("called", "registry.example.com/a:v1");
    wanted["spec"]["serving"] = json!({"annotations": annotations, "triggers": {"dapr": [{"name": "bus", "topic": topic}]}, "pubsub": {"bus": bus}});
    wanted
}

impl World {
    async fn of_kind(&self, (group, version, kind): (&str, &str, &str)) -> Vec<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), FUNCTIONS, &resource);
        let ours = ListParams::default().labels("openfunction.io/managed-by=serving-controller");
        api.list(&ours).await.unwrap().items
    }

    /// How many objects of each kind there are.
    async fn counted(&self) -> BTreeMap<&'static str, usize> {
        let mut counted = BTreeMap::new();
        for kind in KINDS {
            counted.insert(kind.2, self.of_kind(kind).await.len());
        }
        counted
    }

    /// Annotations of the function's pods.
    async fn told_to_pods(&self) -> Value {
        let revision = self.function("called").await.status.unwrap().serving.unwrap().resource_ref.unwrap();
        let deployments = self.of_kind(KINDS[0]).await;
        let deployment = deployments.iter().find(|deployment| deployment.name_any() == revision).unwrap();
        deployment.data.pointer("/spec/template/metadata/annotations").cloned().unwrap_or_default()
    }
}

/// The table of core-behaviour §5.1.
#[tokio::test(flavor = "multi_thread")]
async fn ou11_to_ou15_a_function_gets_what_its_annotations_say() {
    let world = World::with_gateway().await;
    world.install_api(&["dapr.io", "keda.sh"]).await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world, &[Which::Function, Which::Serving]).await;
    let (enable, mode) = ("openfunction.io/enable-dapr", "openfunction.io/dapr-service-mode");
    for (annotations, deployments, services, has_sidecar) in [
        (json!({}), 2, 1, "false"),
        (json!({mode: "sidecar"}), 1, 0, "true"),
        (json!({enable: "false"}), 1, 0, "false"),
        (json!({enable: "true", mode: "standalone"}), 2, 1, "false"),
        (json!({enable: "false", mode: "sidecar"}), 1, 0, "false"),
        (json!({enable: "yes", mode: "sidecar"}), 1, 0, "true"),
    ] {
        world.apply_object(&called(&annotations, "t")).await;
        world.condition("called", "Ready", "True").await;
        let expected = BTreeMap::from([("Component", 1), ("Deployment", deployments), ("Service", services)]);
        eventually(&format!("{annotations}"), || async { (world.counted().await == expected).then_some(()) }).await;
        assert_eq!(world.told_to_pods().await["dapr.io/enabled"], has_sidecar, "{annotations}");
    }
    world.apply_object(&called(&json!({mode: "shared"}), "t")).await;
    let (reason, message) = world.is_ready("called", "False").await;
    assert_eq!(reason, "InvalidValue");
    assert!(message.contains("must be standalone or sidecar"), "{message}");
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_needs_dapr_waits_for_it_and_then_costs_nothing() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let function = world.start(Which::Function).await;
    let serving = world.start(Which::Serving).await;
    world.apply_object(&called(&json!({}), "t")).await;
    let (reason, message) = world.is_ready("called", "False").await;
    assert_eq!(reason, "DaprMissing");
    assert!(message.contains("components.dapr.io"), "{message}");
    world.install_api(&["dapr.io"]).await;
    world.condition("called", "Ready", "True").await;

    // A new revision shares the component, and the old one goes.
    let component = world.of_kind(KINDS[2]).await[0].name_any();
    world.apply_object(&called(&json!({}), "other")).await;
    world.condition("called", "Ready", "True").await;
    let expected = BTreeMap::from([("Component", 1), ("Deployment", 2), ("Service", 1)]);
    eventually("one revision is left", || async { (world.counted().await == expected).then_some(()) }).await;
    let components = world.of_kind(KINDS[2]).await;
    assert_eq!(components[0].name_any(), component);
    let revision = world.function("called").await.status.unwrap().serving.unwrap().resource_ref.unwrap();
    eventually("it is that revision's alone", || async {
        let component = world.of_kind(KINDS[2]).await.remove(0);
        let owners: Vec<_> = component.owner_references().iter().map(|owner| owner.name.clone()).collect();
        (owners == [revision.clone()]).then_some(())
    })
    .await;

    // A new process looks at it, and changes nothing.
    serving.end().await;
    let serving = world.start(Which::Serving).await;
    eventually("it was looked at", || async { (serving.passes() >= 2).then_some(()) }).await;
    eventually("nothing waits", || async { (serving.metrics.queue_depth() == 0).then_some(()) }).await;
    let mut writes = serving.writes();
    writes.retain(|labels, _| !labels.contains("customresourcedefinitions"));
    assert!(writes.is_empty(), "{writes:?}");
    serving.end().await;
    function.end().await;
}
