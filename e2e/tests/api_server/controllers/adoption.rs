//! What the original leaves behind is taken over: its objects have random names, no label of ours, and a status that knows no
//! generation (core-api §6, §11).

use super::*;

/// Made by the original, by update.
async fn left_behind(world: &World, object: Value) -> DynamicObject {
    let api = api_of(&world.client, &object, FUNCTIONS).await;
    let params = PostParams { field_manager: Some("manager".to_owned()), ..PostParams::default() };
    let made = api.create(&params, &serde_json::from_value(object.clone()).unwrap()).await.unwrap();
    if object.get("status").is_none() {
        return made;
    }
    let mut with_status = made;
    with_status.data["status"] = object["status"].clone();
    let name = with_status.name_any();
    api.replace_status(&name, &params, &with_status).await.unwrap()
}

fn owned(function: &DynamicObject, name: &str, labels: Value) -> Value {
    json!({"name": name, "labels": labels, "ownerReferences": [{"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function",
        "name": function.name_any(), "uid": function.metadata.uid, "controller": true, "blockOwnerDeletion": true}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn fn22_a_function_of_the_original_is_not_built_again_and_its_route_moves_at_once() {
    let world = World::with_gateway().await;
    world.install_api(&["serving.knative.dev"]).await;
    let spec = json!({"image": "registry.example.com/hello:v1", "version": "v1.0.0", "workloadRuntime": "OCIContainer",
        "build": {"builder": "b", "srcRepo": {"url": "https://git.example.com/a.git"}},
        "serving": {"triggers": {"http": {"port": 8080, "route": {"gatewayRef": {"name": "openfunction", "namespace": "openfunction"}}}}}});
    let accepted =
        json!({"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": now()});
    let status = json!({
        "build": {"state": "Succeeded", "reason": "Succeeded", "resourceRef": "builder-4p2qq", "resourceHash": "15347288654328675453"},
        "serving": {"state": "Running", "resourceRef": "serving-lrd8c", "lastSuccessfulResourceRef": "serving-lrd8c", "resourceHash": "10127080653475186063", "service": "serving-lrd8c-ksvc-7pp8q"},
        "revision": {"imageDigest": "sha256:aa"},
        "route": {"hosts": ["hello.shop.ofn.io", "hello.shop.svc.cluster.local"], "paths": [{"type": "PathPrefix", "value": "/"}], "conditions": [accepted]},
        "addresses": [{"type": "External", "value": "http://hello.shop.ofn.io/"}]});
    let function = left_behind(
        &world,
        json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function",
        "metadata": {"name": "hello"}, "spec": spec, "status": status}),
    )
    .await;
    let label = json!({"openfunction.io/function": "hello"});
    let mut revision = spec["serving"].clone();
    revision["image"] = json!("registry.example.com/hello:v1@sha256:aa");
    revision["version"] = spec["version"].clone();
    let resources = json!({"serving.knative.dev/service": "serving-lrd8c-ksvc-7pp8q"});
    left_behind(&world, json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Serving", "metadata": owned(&function, "serving-lrd8c", label),
        "spec": revision, "status": {"phase": "Serving", "state": "Running", "reason": "Running", "resourceRef": resources, "url": "serving-lrd8c-ksvc-7pp8q"}}))
    .await;
    let backend = json!({"group": "", "kind": "Service", "name": "serving-lrd8c-ksvc-7pp8q-v100", "namespace": FUNCTIONS, "port": 80, "weight": 1});
    let host = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": "Host", "value": "serving-lrd8c-ksvc-7pp8q-v100.shop.svc.cluster.local"}]}});
    let rule = json!({"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [backend], "filters": [host]});
    let route = left_behind(&world, json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": owned(&function, "hello", json!({"app.kubernetes.io/managed-by": "openfunction.openfunction"})),
        "spec": {"parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "contour", "namespace": "projectcontour"}],
            "hostnames": ["hello.shop.ofn.io", "hello.shop.svc.cluster.local"], "rules": [rule]}}))
    .await;
    let ports = json!([{"name": "ofn-http-internal", "port": 80, "protocol": "TCP", "targetPort": 80}]);
    let service = left_behind(
        &world,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": owned(&function, "hello", json!({})),
        "spec": {"type": "ExternalName", "externalName": "gateway.openfunction.svc.cluster.local", "ports": ports}}),
    )
    .await;

    let routes: Api<HttpRoute> = world.api();
    let leads_to = || async {
        let route = routes.get("hello").await.unwrap();
        let backends = json!(route.spec.rules[0].backend_refs);
        (route.uid(), backends[0]["name"].as_str().unwrap().to_owned())
    };
    let all = world.start_all().await;
    // Nothing runs yet that could take its place.
    let servings: Api<Serving> = world.api();
    eventually("a revision of ours", || async {
        (servings.list(&ListParams::default()).await.unwrap().items.len() == 2).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(leads_to().await, (route.uid(), "serving-lrd8c-ksvc-7pp8q-v100".to_owned()));
    assert_eq!(json!(world.function("hello").await.status)["addresses"], status["addresses"]);

    let _stand_in = StandIn::start(&world);
    world.is_ready("hello", "True").await;
    let (uid, backend) = leads_to().await;
    assert_eq!(uid, route.uid());
    assert!(backend.starts_with("hello-"), "{backend}");
    eventually("the revision of the original goes", || async {
        servings.get_opt("serving-lrd8c").await.unwrap().is_none().then_some(())
    })
    .await;
    let builders: Api<Builder> = world.api();
    assert!(builders.list(&ListParams::default()).await.unwrap().items.is_empty());
    let status = world.function("hello").await.status.unwrap();
    assert_eq!(status.build.unwrap().resource_ref.as_deref(), Some("builder-4p2qq"));
    let services: Api<k8s_openapi::api::core::v1::Service> = world.api();
    assert_eq!(services.get("hello").await.unwrap().uid(), service.uid());
    end(all).await;
}
