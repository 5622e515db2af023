//! Without the Gateway API a Function is reached by its Service; with it, through the gateway, and no restart is needed.

use k8s_openapi::api::core::v1::Service;
use kube::Api;

use super::{GATEWAYS, HttpRoute, StandIn, World, function};
use crate::support::eventually;

async fn leads_to(world: &World, name: &str) -> Option<String> {
    let service: Option<Service> = world.api().get_opt(name).await.unwrap();
    service?.spec?.external_name
}

#[tokio::test(flavor = "multi_thread")]
async fn n43_without_the_gateway_api_a_function_is_reached_by_its_service() {
    let world = World::new().await;
    let _stand_in = StandIn::start(&world);
    let running = world.start_all().await;
    world.apply_object(&function("hello", "a")).await;
    let (_, message) = world.is_ready("hello", "True").await;
    assert!(message.contains("the cluster does not serve the Gateway API"), "{message}");
    let revision = world.servings().await.remove(0);
    assert_eq!(leads_to(&world, "hello").await.unwrap(), format!("{revision}.shop.svc.cluster.local"));
    let status = world.function("hello").await.status.unwrap();
    assert_eq!(status.addresses.len(), 1);
    assert_eq!(status.addresses[0].value, "http://hello.shop.svc.cluster.local/");
    assert_eq!(world.condition("hello", "RouteReady", "False").await.0, "GatewayMissing");

    // Who asks for a hostname is not served without a gateway.
    let mut named = function("named", "a");
    named["spec"]["serving"] =
        serde_json::json!({"triggers": {"http": {"route": {"hostnames": ["shop.example.com"]}}}});
    world.apply_object(&named).await;
    assert_eq!(world.is_ready("named", "False").await.0, "GatewayMissing");

    // Knative's activator is told by a gateway which revision is meant: `auto` does without Knative, and who asks for it
    // is told.
    world.install_api(&["serving.knative.dev"]).await;
    world.apply_object(&function("plain", "a")).await;
    world.is_ready("plain", "True").await;
    let mut asks = function("asks", "a");
    asks["spec"]["serving"] = serde_json::json!({"triggers": {"http": {"engine": "knative"}}});
    world.apply_object(&asks).await;
    // The API is found out a moment later.
    eventually("what is missing is told", || async {
        let (reason, message) = world.is_ready("asks", "False").await;
        (reason == "GatewayRequired" && message.contains("engine native does not")).then_some(())
    })
    .await;
    assert_eq!(leads_to(&world, "asks").await, None);

    // The old revision goes here, too, when the Service has moved.
    world.apply_object(&function("hello", "b")).await;
    eventually("the Service moves to the new revision", || async {
        leads_to(&world, "hello").await.filter(|name| !name.starts_with(&revision))
    })
    .await;
    eventually("the old revision goes", || async { (!world.servings().await.contains(&revision)).then_some(()) }).await;

    world.install_gateway_api().await;
    world.apply(GATEWAYS).await;
    eventually("the Service leads through the gateway", || async {
        (leads_to(&world, "hello").await? == "gateway.openfunction.svc.cluster.local").then_some(())
    })
    .await;
    let routes: Api<HttpRoute> = world.api();
    eventually("a route for each, and one for its short names", || async {
        (routes.list(&Default::default()).await.unwrap().items.len() == 8).then_some(())
    })
    .await;
    world.condition("hello", "RouteReady", "True").await;
    world.is_ready("named", "True").await;
    world.is_ready("asks", "True").await;
    for controller in running {
        controller.end().await;
    }
}
