//! HTTPRoutes through Traefik.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    functions::{
        Deployed,
        routes::{self, CONTOUR, Implementation, Place},
        update::Load,
    },
    gateway::{requests_are_split, until_served},
    support::{Namespace, client},
};

#[tokio::test(flavor = "multi_thread")]
async fn traefik_splits_requests_by_weight_and_writes_the_host() {
    requests_are_split("traefik-weights", "{name: traefik, namespace: traefik}", "http://172.30.0.2/cgi-bin/echo")
        .await;
}

const TRAEFIK: Implementation = Implementation {
    name: "traefik",
    namespace: "traefik",
    address: "http://172.30.0.2",
    not_listed: &["HTTPRouteRequestTimeout"],
};

#[tokio::test(flavor = "multi_thread")]
async fn traefik_routes_by_everything() {
    routes::requests_are_routed_by_everything(TRAEFIK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traefik_serves_a_certificate_of_a_function() {
    routes::a_function_has_a_hostname_with_a_certificate_of_its_own(TRAEFIK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traefik_reaches_a_backend_in_another_namespace() {
    routes::requests_reach_a_backend_in_another_namespace_with_the_host_that_it_wants(TRAEFIK).await;
}

/// Asks the internal address of a Function, again and again, and tells what failed.
const ASK: &str = r#"
import sys, time, urllib.request
asked = 0
while True:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5).read()
    except Exception as error:
        print("failed:", error, flush=True)
    asked += 1
    if asked % 50 == 0:
        print(asked, "asked", flush=True)
    time.sleep(0.05)
"#;

/// Gateways that a route of a Function is attached to.
fn parents(deployed: &Deployed, route: &str) -> Vec<String> {
    let path = "jsonpath={.spec.parentRefs[*].name}";
    let names = deployed.namespace.kubectl(&["get", "httproute", route, "-o", path]);
    let mut names: Vec<_> = names.split_whitespace().map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// docs/how-to/gateways.md, "Move to another one".
#[tokio::test(flavor = "multi_thread")]
async fn gw23_a_move_to_another_gateway_loses_no_request() {
    let mut place = Place::new("move", CONTOUR);
    place.allow(TRAEFIK);
    let deployed = Deployed::new("move", place.echo("moves", "native", json!({})));
    deployed.is_ready();
    let host = deployed.external_host();
    until_served(&client(), CONTOUR.address, &host).await;
    let asks = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asks"}, "spec": {"containers": [
        {"name": "asks", "image": "python", "command": ["python3", "-c", ASK, deployed.address("Internal")]}]}});
    deployed.namespace.apply(&asks.to_string());
    deployed.namespace.kubectl(&["wait", "pod/asks", "--for=condition=Ready", "--timeout=60s"]);
    let before = Load::begin(CONTOUR.address, host.clone(), 20);

    let patch = r#"{"spec":{"gatewayRef":{"name":"traefik","namespace":"traefik"}}}"#;
    let gateway = "gateways.networking.openfunction.io/own";
    place.namespace.kubectl(&["patch", gateway, "--type", "merge", "-p", patch]);
    deployed.eventually("the route has both", || (parents(&deployed, "moves") == ["contour", "traefik"]).then_some(()));
    until_served(&client(), TRAEFIK.address, &host).await;
    let after = Load::begin(TRAEFIK.address, host, 20);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(parents(&deployed, "moves"), ["contour", "traefik"], "nobody's cache is that fast");
    let by_the_old_one = before.end().await;
    deployed.eventually("the route has left", || (parents(&deployed, "moves") == ["traefik"]).then_some(()));
    place.namespace.kubectl(&["wait", gateway, "--for=condition=Ready", "--timeout=60s"]);
    deployed.eventually("the listeners have left", || {
        let path = "jsonpath={.spec.listeners[*].name}";
        let listeners =
            deployed.namespace.kubectl(&["-n", CONTOUR.namespace, "get", "gateway", CONTOUR.name, "-o", path]);
        (!listeners.contains(&place.namespace.name)).then_some(())
    });
    deployed.is_ready();
    let by_the_new_one = after.end().await;
    let told = deployed.namespace.kubectl(&["logs", "asks"]);
    assert!(told.contains(" asked") && !told.contains("failed"), "{told}");
    println!(
        "{by_the_old_one} requests by the old Gateway, {by_the_new_one} by the new one; {}",
        told.lines().last().unwrap()
    );
}

/// What others do to a Gateway while it serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_edited_deleted_and_made_again_serves_as_before() {
    let place = Namespace::new("again-gateway");
    let front = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "front"}, "spec": {
        "gatewayClassName": "traefik", "listeners": [{"name": "theirs", "port": 80, "protocol": "HTTP", "hostname": "theirs.example.com"}]}});
    place.apply(&front.to_string());
    let domain = format!("{}.example.com", place.name);
    let listener =
        json!({"name": "ours", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}});
    let own = json!({"apiVersion": "networking.openfunction.io/v1alpha1", "kind": "Gateway", "metadata": {"name": "own"}, "spec": {
        "domain": domain, "gatewayRef": {"name": "front", "namespace": place.name}, "gatewaySpec": {"listeners": [listener]}}});
    place.apply(&own.to_string());
    let function = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": "again"}, "spec": {
        "image": "python", "serving": {
            "triggers": {"http": {"engine": "native", "route": {"gatewayRef": {"name": "own", "namespace": place.name}}}},
            "template": {"containers": [{"name": "function", "command": ["python3", "-m", "http.server", "8080"]}]}}}});
    let deployed = Deployed::new("again", function);
    deployed.is_ready();
    let host = deployed.external_host();
    until_served(&client(), TRAEFIK.address, &host).await;
    let controllers = || {
        let path = "jsonpath={.items[*].metadata.uid} {.items[*].status.containerStatuses[*].restartCount}";
        place.kubectl(&[
            "-n",
            "openfunction",
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/name=gateway-controller",
            "-o",
            path,
        ])
    };
    let listeners = || -> Vec<Value> {
        let gateway: Value = serde_json::from_str(&place.kubectl(&["get", "gateway", "front", "-o", "json"])).unwrap();
        gateway["spec"]["listeners"].as_array().unwrap().clone()
    };
    let named = |name: &str| listeners().into_iter().find(|listener| listener["name"] == name);
    let (running, theirs) = (controllers(), named("theirs").unwrap().to_string());
    let load = Load::begin(TRAEFIK.address, host.clone(), 20);

    // Ours is edited: it is put back, and theirs is not touched.
    let at = listeners().iter().position(|listener| listener["name"] == "ours").unwrap();
    let edit =
        json!([{"op": "replace", "path": format!("/spec/listeners/{at}/hostname"), "value": "*.else.example.com"}]);
    place.kubectl(&["patch", "gateway", "front", "--type", "json", "-p", &edit.to_string()]);
    deployed.eventually("ours is put back", || (named("ours")?["hostname"] == format!("*.{domain}")).then_some(()));
    assert_eq!(named("theirs").unwrap().to_string(), theirs);

    // The Gateway goes, and comes back as its owner has it.
    place.kubectl(&["delete", "gateway", "front"]);
    deployed.eventually("that it is missing is told", || {
        (deployed.condition("RouteReady")["reason"] == "GatewayMissing").then_some(())
    });
    place.apply(&front.to_string());
    deployed.eventually("ours is there again", || named("ours").map(drop));
    deployed.is_ready();
    until_served(&client(), TRAEFIK.address, &host).await;
    assert_eq!(named("theirs").unwrap().to_string(), theirs);
    let again = Load::begin(TRAEFIK.address, host, 50);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let answers = load.stop().await;
    assert!(answers.first().unwrap().is_ok() && answers.last().unwrap().is_ok());
    assert!(again.end().await >= 90);
    assert_eq!(controllers(), running, "nothing was started again");
}
