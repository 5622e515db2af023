//! What the original leaves behind is taken over: its objects have random names, no label of ours, and a status that knows no
//! generation (core-api §6, §11).

use controller_runtime::conditions;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::*;
use crate::conversion::store;

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

fn owned(owner: &DynamicObject, name: &str, labels: Value) -> Value {
    let types = owner.types.clone().unwrap();
    json!({"name": name, "labels": labels, "ownerReferences": [{"apiVersion": types.api_version, "kind": types.kind,
        "name": owner.name_any(), "uid": owner.metadata.uid, "controller": true, "blockOwnerDeletion": true}]})
}

/// A Function that the original has built and runs, as far as its status says.
async fn function(world: &World, spec: &Value, service: &str, more: Value) -> DynamicObject {
    let mut status = json!({
        "build": {"state": "Succeeded", "reason": "Succeeded", "resourceRef": "builder-4p2qq", "resourceHash": "15347288654328675453"},
        "serving": {"state": "Running", "reason": "Running", "resourceRef": "serving-lrd8c", "lastSuccessfulResourceRef": "serving-lrd8c",
            "resourceHash": "10127080653475186063", "service": service},
        "revision": {"imageDigest": "sha256:aa"}});
    more.as_object().unwrap().iter().for_each(|(field, value)| status[field] = value.clone());
    let function = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": "hello"},
        "spec": spec, "status": status});
    left_behind(world, function).await
}

/// Its revision.
async fn revision(world: &World, function: &DynamicObject, spec: &Value, refs: Value, url: &str) -> DynamicObject {
    let mut revision = spec["serving"].clone();
    revision["image"] = json!("registry.example.com/hello:v1@sha256:aa");
    revision["version"] = spec["version"].clone();
    let metadata = owned(function, "serving-lrd8c", json!({"openfunction.io/function": "hello"}));
    let status = json!({"phase": "Serving", "state": "Running", "reason": "Running", "resourceRef": refs, "url": url});
    let serving = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Serving", "metadata": metadata, "spec": revision, "status": status});
    left_behind(world, serving).await
}

impl World {
    async fn names_of_servings(&self) -> Vec<String> {
        let servings: Api<Serving> = self.api();
        servings.list(&ListParams::default()).await.unwrap().iter().map(|serving| serving.name_any()).collect()
    }

    /// Has the function built by nobody, and run with another parameter.
    async fn change_hello(&self) {
        let functions: Api<Function> = self.api();
        let changed = json!({"spec": {"serving": {"params": {"A": "1"}}}});
        functions.patch("hello", &PatchParams::default(), &Patch::Merge(changed)).await.unwrap();
    }

    async fn again(&self, object: &DynamicObject) -> Option<DynamicObject> {
        let api = api_of(&self.client, &json!(object), FUNCTIONS).await;
        api.get_opt(&object.name_any()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fn22_what_the_original_runs_stays_as_it_is_and_its_route_leads_there_until_it_is_changed() {
    let world = World::with_gateway().await;
    world.install_api(&["serving.knative.dev"]).await;
    let spec = json!({"image": "registry.example.com/hello:v1", "version": "v1.0.0", "workloadRuntime": "OCIContainer",
        "build": {"builder": "b", "srcRepo": {"url": "https://git.example.com/a.git"}},
        "serving": {"triggers": {"http": {"port": 8080, "route": {"gatewayRef": {"name": "openfunction", "namespace": "openfunction"}}}}}});
    let accepted =
        json!({"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": now()});
    let more = json!({
        "route": {"hosts": ["hello.shop.ofn.io", "hello.shop.svc.cluster.local"], "paths": [{"type": "PathPrefix", "value": "/"}], "conditions": [accepted]},
        "addresses": [{"type": "External", "value": "http://hello.shop.ofn.io/"}]});
    let function = function(&world, &spec, "serving-lrd8c-ksvc-7pp8q", more.clone()).await;
    let refs = json!({"serving.knative.dev/service": "serving-lrd8c-ksvc-7pp8q"});
    let serving = revision(&world, &function, &spec, refs, "serving-lrd8c-ksvc-7pp8q").await;
    let template = json!({"metadata": {"name": "serving-lrd8c-ksvc-7pp8q-v100", "labels": {"openfunction.io/serving": "serving-lrd8c"}},
        "spec": {"containers": [{"name": "function", "image": "registry.example.com/hello:v1@sha256:aa", "ports": [{"containerPort": 8080}]}]}});
    let ready = json!({"type": "ConfigurationsReady", "status": "True", "lastTransitionTime": now()});
    let revision = "serving-lrd8c-ksvc-7pp8q-v100";
    let knative = left_behind(&world, json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": owned(&serving, "serving-lrd8c-ksvc-7pp8q", json!({"openfunction.io/serving": "serving-lrd8c"})), "spec": {"template": template},
        "status": {"observedGeneration": 1, "latestReadyRevisionName": revision, "latestCreatedRevisionName": revision, "conditions": [ready]}}))
    .await;
    let backend =
        json!({"group": "", "kind": "Service", "name": revision, "namespace": FUNCTIONS, "port": 80, "weight": 1});
    let host = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": "Host", "value": format!("{revision}.shop.svc.cluster.local")}]}});
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
    let stand_in = StandIn::start(&world);
    world.is_ready("hello", "True").await;
    assert_eq!(world.condition("hello", "Adopted", "True").await.0, "AsItIs");
    assert_eq!(world.names_of_servings().await, ["serving-lrd8c"]);
    assert_eq!(leads_to().await, (route.uid(), revision.to_owned()));
    let builders: Api<Builder> = world.api();
    assert!(builders.list(&ListParams::default()).await.unwrap().items.is_empty());
    let is = world.again(&knative).await.unwrap();
    assert_eq!(
        (is.uid(), is.metadata.generation, &is.data["spec"]),
        (knative.uid(), knative.metadata.generation, &knative.data["spec"])
    );
    let status = world.function("hello").await.status.unwrap();
    assert_eq!(status.build.unwrap().resource_ref.as_deref(), Some("builder-4p2qq"));
    assert!(json!(status.addresses).as_array().unwrap().contains(&more["addresses"][0]), "{:?}", status.addresses);
    let services: Api<k8s_openapi::api::core::v1::Service> = world.api();
    assert_eq!(services.get("hello").await.unwrap().uid(), service.uid());

    // What is changed does not answer at first.
    stand_in.pods(false);
    world.change_hello().await;
    eventually("a revision of ours", || async { (world.names_of_servings().await.len() == 2).then_some(()) }).await;
    assert_eq!(leads_to().await.1, revision);
    stand_in.pods(true);
    eventually("the revision of the original goes", || async {
        (world.names_of_servings().await.len() == 1).then_some(())
    })
    .await;
    world.is_ready("hello", "True").await;
    let (uid, backend) = leads_to().await;
    assert_eq!(uid, route.uid());
    assert!(backend.starts_with("hello-"), "{backend}");
    assert!(conditions::find(&world.function("hello").await.status.unwrap().conditions, "Adopted").is_none());
    end(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fn22_the_proxy_of_the_original_finds_its_function_as_long_as_that_runs() {
    let world = World::new().await;
    world.install_api(&["dapr.io", "keda.sh"]).await;
    let spec = json!({"image": "registry.example.com/hello:v1", "version": "v1.0.0", "workloadRuntime": "OCIContainer",
        "build": {"builder": "b", "srcRepo": {"url": "https://git.example.com/a.git"}},
        "serving": {"triggers": {"dapr": [{"name": "bus", "topic": "t"}]},
            "pubsub": {"bus": {"type": "pubsub.redis", "version": "v1", "metadata": []}}}});
    let function = function(&world, &spec, "", json!({})).await;
    let refs = json!({"Async/workload": "serving-lrd8c-deployment-v100-9pl2m", "dapr-proxy": "serving-lrd8c-proxy-deployment-v100-x7x2b",
        "dapr.io/component": "serving-lrd8c-pubsub-bus-q2w3e"});
    let serving = revision(&world, &function, &spec, refs, "").await;
    let labels = json!({"openfunction.io/managed": "true", "openfunction.io/serving": "serving-lrd8c"});
    let mut workloads = Vec::new();
    for (name, labels) in [
        ("serving-lrd8c-deployment-v100-9pl2m", labels.clone()),
        (
            "serving-lrd8c-proxy-deployment-v100-x7x2b",
            json!({"openfunction.io/managed": "true", "openfunction.io/proxy": "serving-lrd8c"}),
        ),
    ] {
        let template =
            json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "function", "image": "a"}]}});
        workloads.push(left_behind(&world, json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": owned(&serving, name, labels.clone()),
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}})).await);
    }
    let component = left_behind(
        &world,
        json!({"apiVersion": "dapr.io/v1alpha1", "kind": "Component",
        "metadata": owned(&serving, "serving-lrd8c-pubsub-bus-q2w3e", labels), "scopes": ["hello-shop"],
        "spec": {"type": "pubsub.redis", "version": "v1", "metadata": []}}),
    )
    .await;
    let service = left_behind(&world, json!({"apiVersion": "v1", "kind": "Service", "metadata": owned(&function, "hello", json!({})),
        "spec": {"clusterIP": "None", "selector": {"openfunction.io/serving": "serving-lrd8c"}, "ports": [{"name": "http", "port": 8080, "targetPort": 8080}]}})).await;

    let all = world.start_all().await;
    world.is_ready("hello", "True").await;
    assert_eq!(world.names_of_servings().await, ["serving-lrd8c"]);
    for left in workloads.iter().chain([&component, &service]) {
        let is = world.again(left).await.unwrap();
        assert_eq!(
            (is.uid(), is.metadata.generation, &is.data["spec"]),
            (left.uid(), left.metadata.generation, &left.data["spec"])
        );
    }
    let components: Api<DynamicObject> = api_of(&world.client, &json!(component), FUNCTIONS).await;
    assert_eq!(components.list(&ListParams::default()).await.unwrap().items.len(), 1, "no event comes twice");

    world.change_hello().await;
    eventually("a revision of ours", || async { (world.names_of_servings().await.len() == 2).then_some(()) }).await;
    assert!(world.again(&service).await.is_some(), "the original's proxy needs it");
    let _stand_in = StandIn::start(&world);
    eventually("the revision of the original goes", || async {
        (world.names_of_servings().await.len() == 1).then_some(())
    })
    .await;
    eventually("its Service goes, too", || async { world.again(&service).await.is_none().then_some(()) }).await;
    world.is_ready("hello", "True").await;
    end(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_stored_as_v1beta1_are_stored_as_v1beta2_by_their_controller() {
    let world = World::new().await;
    let name = "functions.core.openfunction.io";
    store(&world.client, name, "v1beta1").await;
    let old = json!({"apiVersion": "core.openfunction.io/v1beta1", "kind": "Function", "metadata": {"name": "old"},
        "spec": {"image": "a", "port": 9000, "serving": {"runtime": "knative"}}});
    left_behind(&world, old).await;
    store(&world.client, name, "v1beta2").await;
    let port = world.install_admission().await;
    let _controller = world.start_at(Which::Function, port).await;
    let crds: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let stored = || async { crds.get(name).await.unwrap().status.unwrap().stored_versions.unwrap() };
    eventually("nothing else is stored", || async { (stored().await == ["v1beta2"]).then_some(()) }).await;
    assert_eq!(world.function("old").await.spec.serving.unwrap().http().unwrap().port, Some(9000));
}
