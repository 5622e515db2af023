//! OpenFunction Gateways and routes on a real API server (networking §8, §10.1).

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use openfunction_proto::{
    core::Function,
    gateway_api::resources::{HttpRoute, KubernetesGateway, ListenerSet, ReferenceGrant},
    networking::Gateway,
};
use serde_json::{Value, json};

use super::{Running, StandIn, Which, World, end, function};
use crate::support::eventually;

impl World {
    fn kubernetes_gateways(&self) -> Api<KubernetesGateway> {
        Api::namespaced(self.client.clone(), "infra")
    }

    async fn kubernetes_gateway(&self, name: &str) -> KubernetesGateway {
        self.kubernetes_gateways().get(name).await.unwrap()
    }

    /// Names of the listeners of a Kubernetes Gateway, sorted; none if it does not exist.
    async fn listeners(&self, name: &str) -> Vec<String> {
        let gateway = self.kubernetes_gateways().get_opt(name).await.unwrap();
        let listeners = gateway.map(|gateway| gateway.spec.listeners).unwrap_or_default();
        let mut names: Vec<_> = listeners.into_iter().map(|listener| listener.name).collect();
        names.sort();
        names
    }

    fn gateways(&self, namespace: &str) -> Api<Gateway> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Changes the spec of the default OpenFunction Gateway, as `kubectl patch --type merge` does.
    async fn patch_gateway(&self, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.gateways("openfunction").patch("openfunction", &PatchParams::default(), &patch).await.unwrap();
    }

    /// Waits until `Ready` of an OpenFunction Gateway has a reason; its message.
    async fn gateway_says(&self, namespace: &str, name: &str, status: &str, reason: &str) -> String {
        eventually(&format!("{namespace}/{name} is Ready={status}/{reason}"), || async {
            let gateway = self.gateways(namespace).get(name).await.unwrap();
            let conditions = gateway.status.clone().unwrap_or_default().conditions;
            let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready")?;
            let is_current = ready.observed_generation == gateway.metadata.generation;
            (is_current && ready.status == status && (reason.is_empty() || ready.reason == reason))
                .then_some(ready.message)
        })
        .await
    }

    /// Waits until `RouteReady` of a Function is False with a message.
    async fn route_says(&self, name: &str, what: &str) {
        eventually(&format!("RouteReady of {name} says {what:?}"), || async {
            self.condition(name, "RouteReady", "False").await.1.contains(what).then_some(())
        })
        .await;
    }

    async fn entry(&self, name: &str) -> Option<Service> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), "openfunction");
        api.get_opt(name).await.unwrap()
    }

    async fn route(&self, name: &str) -> HttpRoute {
        self.api().get(name).await.unwrap()
    }

    /// The Kubernetes Gateways that a route is attached to; none if there is no route.
    async fn parents(&self, route: &str) -> Vec<String> {
        let route = self.api::<HttpRoute>().get_opt(route).await.unwrap();
        let parents = route.map(|route| route.spec.parent_refs).unwrap_or_default();
        let mut parents: Vec<_> = parents.into_iter().map(|parent| parent.name).collect();
        parents.sort();
        parents.dedup();
        parents
    }

    async fn addresses(&self, name: &str) -> Vec<String> {
        let addresses = self.function(name).await.status.unwrap_or_default().addresses;
        addresses.into_iter().map(|address| address.value).collect()
    }

    async fn has_addresses(&self, name: &str, expected: &[&str]) {
        eventually(&format!("{name} has addresses {expected:?}"), || async {
            (self.addresses(name).await == expected).then_some(())
        })
        .await;
    }
}

async fn start(world: &World) -> Vec<Running> {
    super::start(world, &[Which::Function, Which::Serving, Which::Gateway]).await
}

const HELLO: [&str; 2] = ["http://hello.shop.ofn.io/", "http://hello.shop.svc.cluster.local/"];

/// The rows of networking §8 about one gateway, in an order in which each begins where the one before ended.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_gateway_is_followed() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world).await;
    world.apply_object(&function("hello", "a")).await;
    world.is_ready("hello", "True").await;
    // Created with `gatewayRef`: finalizer, listeners, Service.
    assert_eq!(world.listeners("front").await, ["external", "http", "ofn-http-internal"]);
    let gateway = world.gateways("openfunction").get("openfunction").await.unwrap();
    assert_eq!(gateway.finalizers(), ["networking.openfunction.io/finalizer"]);
    world.gateway_says("openfunction", "openfunction", "True", "").await;
    // N15: only an IP address is known, so the Service has an EndpointSlice with it, for every port.
    let slices: Api<EndpointSlice> = Api::namespaced(world.client.clone(), "openfunction");
    assert_eq!(slices.get("gateway").await.unwrap().endpoints[0].addresses, ["10.0.0.1"]);
    assert_eq!(world.addresses("hello").await, HELLO);
    // Q24: old and new words, of the Gateway and of our listeners alone.
    let status = world.gateways("openfunction").get("openfunction").await.unwrap().status.unwrap();
    let mut types: Vec<_> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    types.sort_unstable();
    assert_eq!(types, ["Accepted", "Programmed", "Ready", "Scheduled"]);
    let mut names: Vec<_> = status.listeners.iter().map(|listener| listener.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["external", "ofn-http-internal"]);

    // `domain`, `clusterDomain`, templates, label key.
    world.patch_gateway(json!({"domain": "new.io"})).await;
    world.has_addresses("hello", &["http://hello.shop.new.io/", HELLO[1]]).await;
    let hostname = |name: &'static str| {
        let world = &world;
        async move {
            let listeners = world.kubernetes_gateway("front").await.spec.listeners;
            listeners.into_iter().find(|listener| listener.name == name)?.hostname
        }
    };
    assert_eq!(hostname("external").await.as_deref(), Some("*.new.io"));
    world.patch_gateway(json!({"clusterDomain": "other.local"})).await;
    world.has_addresses("hello", &["http://hello.shop.new.io/", "http://hello.shop.svc.other.local/"]).await;
    let leads_to = || async { world.api::<Service>().get("hello").await.unwrap().spec.unwrap().external_name };
    eventually("the Service follows", || async {
        (leads_to().await.as_deref() == Some("gateway.openfunction.svc.other.local")).then_some(())
    })
    .await;
    let template = r#"{{if eq .Namespace "shop"}}{{.Name}}{{else}}{{.Name}}-{{.Namespace}}{{end}}.{{.Domain}}"#;
    world.patch_gateway(json!({"hostTemplate": template, "httpRouteLabelKey": "example.com/gateway"})).await;
    world.has_addresses("hello", &["http://hello.new.io/", "http://hello.shop.svc.other.local/"]).await;
    eventually("the old label key goes (N17)", || async {
        let route = world.route("hello").await;
        let labels = route.labels();
        (labels.get("example.com/gateway").map(String::as_str) == Some("openfunction.openfunction")
            && !labels.contains_key("app.kubernetes.io/managed-by"))
        .then_some(())
    })
    .await;
    world
        .patch_gateway(json!({"domain": "ofn.io", "clusterDomain": "cluster.local", "hostTemplate": "{{.Name}}.{{.Namespace}}.{{.Domain}}"}))
        .await;
    world.has_addresses("hello", &HELLO).await;

    // A listener is added, changed, removed.
    let all = json!({"namespaces": {"from": "All"}});
    let external = json!({"name": "external", "port": 80, "protocol": "HTTP", "allowedRoutes": all});
    let more = |port: i32| json!({"gatewaySpec": {"listeners": [external, {"name": "more", "port": port, "protocol": "TCP"}]}});
    for port in [9000, 9001] {
        world.patch_gateway(more(port)).await;
        eventually("the listener is there", || async {
            let listeners = world.kubernetes_gateway("front").await.spec.listeners;
            listeners.iter().any(|listener| listener.name == "more" && listener.port == port).then_some(())
        })
        .await;
        eventually("the ports of the Service follow", || async {
            let ports = world.entry("gateway").await?.spec?.ports?;
            ports.iter().any(|service| service.port == port).then_some(())
        })
        .await;
    }
    world.patch_gateway(json!({"gatewaySpec": {"listeners": [external]}})).await;
    let without =
        || async { (world.listeners("front").await == ["external", "http", "ofn-http-internal"]).then_some(()) };
    eventually("the listener is gone", without).await;

    // Somebody edits one of ours, removes one, and adds one of their own, which is kept byte for byte.
    let theirs = json!({"name": "theirs", "port": 8443, "protocol": "HTTPS", "hostname": "a.example.com", "tls": {"mode": "Terminate", "certificateRefs": [{"name": "a"}]}});
    let edit = |mut live: Value| -> KubernetesGateway {
        let listeners = live["spec"]["listeners"].as_array_mut().unwrap();
        listeners.retain(|listener| listener["name"] != "ofn-http-internal");
        listeners
            .iter_mut()
            .filter(|listener| listener["name"] == "external")
            .for_each(|ours| ours["port"] = json!(8080));
        listeners.push(theirs.clone());
        serde_json::from_value(live).unwrap()
    };
    // Its status is written meanwhile.
    let written = eventually("it is edited", || async {
        let edited = edit(json!(world.kubernetes_gateway("front").await));
        world.kubernetes_gateways().replace("front", &Default::default(), &edited).await.ok()
    })
    .await;
    let foreign = |gateway: &KubernetesGateway| {
        let listeners = gateway.spec.listeners.iter();
        serde_json::to_string(&listeners.filter(|l| ["http", "theirs"].contains(&l.name.as_str())).collect::<Vec<_>>())
            .unwrap()
    };
    eventually("what is ours is put back", || async {
        let listeners = world.kubernetes_gateway("front").await.spec.listeners;
        let external = listeners.iter().find(|listener| listener.name == "external")?;
        let is_back = listeners.iter().any(|listener| listener.name == "ofn-http-internal");
        (external.port == 80 && is_back && listeners.len() == 4).then_some(())
    })
    .await;
    assert_eq!(foreign(&world.kubernetes_gateway("front").await), foreign(&written));

    // The status alone changes (N05).
    let address = json!({"metadata": {"annotations": {"test.dev/address": "10.0.0.9"}}});
    world.kubernetes_gateways().patch("front", &PatchParams::default(), &Patch::Merge(address)).await.unwrap();
    eventually("the address is followed", || async {
        let status = world.gateways("openfunction").get("openfunction").await.unwrap().status?;
        (status.addresses.first()?.value == "10.0.0.9").then_some(())
    })
    .await;

    // The Service is deleted, and comes back.
    let services: Api<Service> = Api::namespaced(world.client.clone(), "openfunction");
    let uid = services.get("gateway").await.unwrap().uid();
    services.delete("gateway", &DeleteParams::default()).await.unwrap();
    eventually("the Service is back", || async { (world.entry("gateway").await?.uid() != uid).then_some(()) }).await;

    // The Kubernetes Gateway is deleted and made again.
    world.kubernetes_gateways().delete("front", &DeleteParams::default()).await.unwrap();
    let message = world.gateway_says("openfunction", "openfunction", "False", "NotFound").await;
    assert!(message.contains("Gateway infra/front does not exist"), "{message}");
    world.apply(super::GATEWAYS.split("---").next().unwrap()).await;
    world.gateway_says("openfunction", "openfunction", "True", "").await;
    assert_eq!(world.listeners("front").await, ["external", "http", "ofn-http-internal"]);
    world.condition("hello", "RouteReady", "True").await;

    // The OpenFunction Gateway is deleted: its listeners go, its Functions say so; it comes back.
    world.gateways("openfunction").delete("openfunction", &DeleteParams::default()).await.unwrap();
    eventually("the listeners are gone", || async { (world.listeners("front").await == ["http"]).then_some(()) }).await;
    assert_eq!(world.condition("hello", "RouteReady", "False").await.0, "GatewayMissing");
    world.apply(super::GATEWAYS).await;
    world.condition("hello", "RouteReady", "True").await;
    world.has_addresses("hello", &HELLO).await;
    end(running).await;
}

/// `gatewayRef` to another Gateway, to `gatewayDef`, and back (networking §8, GW23).
#[tokio::test(flavor = "multi_thread")]
async fn gw23_functions_move_between_gateways_and_are_served_by_both_meanwhile() {
    let world = World::with_gateway().await;
    let stand_in = StandIn::start(&world);
    let running = start(&world).await;
    world.apply_object(&function("hello", "a")).await;
    world.is_ready("hello", "True").await;
    let back = super::GATEWAYS.split("---").next().unwrap().replace("front", "back");
    world.apply(&back).await;

    // Nobody answers for now: the old Gateway keeps listeners, routes and entry.
    stand_in.routes(false);
    world.patch_gateway(json!({"gatewayRef": {"name": "back", "namespace": "infra"}})).await;
    eventually("the route is attached to both", || async {
        (world.parents("hello").await == ["back", "front"]).then_some(())
    })
    .await;
    eventually("that of the short names, too", || async {
        (world.parents("hello.short").await == ["back", "front"]).then_some(())
    })
    .await;
    assert!(world.listeners("front").await.contains(&"external".to_owned()));
    let leads_to = || async {
        let service = world.entry("gateway").await.unwrap();
        service.annotations()["networking.openfunction.io/kubernetes-gateway"].clone()
    };
    assert_eq!(leads_to().await, "infra/front");
    stand_in.routes(true);
    eventually("the route has left", || async { (world.parents("hello").await == ["back"]).then_some(()) }).await;
    eventually("the old listeners are gone", || async { (world.listeners("front").await == ["http"]).then_some(()) })
        .await;
    assert_eq!(leads_to().await, "infra/back");
    world.is_ready("hello", "True").await;

    // A Gateway of our own, which goes when it is left (N10: only then).
    world.patch_gateway(json!({"gatewayRef": null, "gatewayDef": {"name": "own", "namespace": "infra", "gatewayClassName": "test"}})).await;
    eventually("the route has moved", || async { (world.parents("hello").await == ["own"]).then_some(()) }).await;
    // N31: nothing else takes every hostname there.
    assert_eq!(world.listeners("own").await, ["external", "ofn-http-internal", "ofn-http-short"]);
    world.kubernetes_gateways().delete("own", &DeleteParams::default()).await.unwrap();
    eventually("it is made again", || async { (world.listeners("own").await.len() == 3).then_some(()) }).await;
    world.patch_gateway(json!({"gatewayDef": null, "gatewayRef": {"name": "front", "namespace": "infra"}})).await;
    eventually("it goes", || async { world.listeners("own").await.is_empty().then_some(()) }).await;
    // While it was missing, the Function may have been without a route.
    eventually("the route is back", || async { (world.parents("hello").await == ["front"]).then_some(()) }).await;
    world.condition("hello", "RouteReady", "True").await;
    let message = {
        world.patch_gateway(json!({"gatewayRef": null, "gatewayDef": {"name": "back", "namespace": "infra", "gatewayClassName": "test"}})).await;
        world.gateway_says("openfunction", "openfunction", "False", "NotOwned").await
    };
    assert!(message.contains("was not made for this object"), "{message}");
    world.route_says("hello", "is refused (NotOwned)").await;
    assert_eq!(world.parents("hello").await, ["front"], "what serves goes on");
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n18_two_openfunction_gateways_on_one_gateway_share_what_is_the_same_and_do_not_fight() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world).await;
    world.gateway_says("openfunction", "openfunction", "True", "").await;
    let second = |listener: &str, domain: &str| {
        json!({"apiVersion": "networking.openfunction.io/v1alpha1", "kind": "Gateway", "metadata": {"name": "second", "namespace": "openfunction"},
            "spec": {"domain": domain, "gatewayRef": {"name": "front", "namespace": "infra"}, "gatewaySpec": {"listeners": [
                {"name": listener, "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}]}}})
    };
    world.apply_object(&second("external", "second.io")).await;
    let message = world.gateway_says("openfunction", "second", "False", "ListenerConflict").await;
    assert!(message.contains("listener \"external\" differs from listener \"external\" that OpenFunction Gateway openfunction/openfunction"), "{message}");
    world.apply_object(&second("second", "second.io")).await;
    world.gateway_says("openfunction", "second", "True", "").await;
    assert_eq!(world.listeners("front").await, ["external", "http", "ofn-http-internal", "second"]);
    // Q19: an entry each; a Function chooses.
    assert!(world.entry("gateway").await.is_some() && world.entry("gateway-second").await.is_some());
    let mut chooses = function("chooses", "a");
    chooses["spec"]["serving"] =
        json!({"triggers": {"http": {"route": {"gatewayRef": {"name": "second", "namespace": "openfunction"}}}}});
    world.apply_object(&chooses).await;
    world.is_ready("chooses", "True").await;
    assert_eq!(world.addresses("chooses").await[0], "http://chooses.shop.second.io/");
    let service: Service = world.api().get("chooses").await.unwrap();
    assert_eq!(service.spec.unwrap().external_name.as_deref(), Some("gateway-second.openfunction.svc.cluster.local"));

    // N09: a listener of somebody else is not taken over.
    world.apply_object(&second("http", "third.io")).await;
    let message = world.gateway_says("openfunction", "second", "False", "ListenerConflict").await;
    assert!(message.contains("has a listener \"http\" that is not of this object"), "{message}");
    world.apply_object(&second("second", "second.io")).await;

    // The older one goes: what both had stays, and its entry passes on.
    world.gateways("openfunction").delete("openfunction", &DeleteParams::default()).await.unwrap();
    eventually("only its own goes", || async {
        (world.listeners("front").await == ["http", "ofn-http-internal", "second"]).then_some(())
    })
    .await;
    end(running).await;
}

/// Where the owner of a Kubernetes Gateway allows it, listeners stand beside it (GEP-1713), and move there and back.
#[tokio::test(flavor = "multi_thread")]
async fn gw12_a_listener_set_is_used_where_the_gateway_allows_it() {
    let world = World::with_gateway().await;
    // Before the controllers start: a watch that is open shows fields of a new CRD only when it is opened again.
    world.install_listener_sets().await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world).await;
    world.apply_object(&function("hello", "a")).await;
    world.is_ready("hello", "True").await;
    let ours = ["external", "ofn-http-internal"];
    let in_set = || async {
        let sets: Api<ListenerSet> = Api::namespaced(world.client.clone(), "infra");
        let set = sets.get_opt("front.openfunction").await.unwrap();
        let listeners = set.map(|set| set.spec.listeners).unwrap_or_default();
        let mut names: Vec<_> = listeners.into_iter().map(|listener| listener.name).collect();
        names.sort();
        names
    };
    let kinds = |name: &'static str| {
        let world = &world;
        async move {
            let mut parents: Vec<_> = world.route(name).await.spec.parent_refs.into_iter().map(|p| p.kind).collect();
            parents.dedup();
            parents
        }
    };
    let allow = |from: Value| {
        let api = world.kubernetes_gateways();
        async move {
            let patch = Patch::Merge(json!({"spec": {"allowedListeners": from}}));
            // For a moment the API server still drops the field of the new CRD.
            eventually("the Gateway says what it allows", || async {
                let gateway = api.patch("front", &PatchParams::default(), &patch).await.unwrap();
                (gateway.spec.allowed_listeners.is_none() == from.is_null()).then_some(())
            })
            .await;
        }
    };

    // Nothing is allowed unless the owner of the Gateway says so.
    assert_eq!(world.listeners("front").await, ["external", "http", "ofn-http-internal"]);
    allow(json!({"namespaces": {"from": "Same"}})).await;
    eventually("the listeners have moved", || async {
        (in_set().await == ours && world.listeners("front").await == ["http"]).then_some(())
    })
    .await;
    eventually("the route has moved", || async { (kinds("hello").await == ["ListenerSet"]).then_some(()) }).await;
    // The short names come in by a listener that is the Gateway's own.
    assert_eq!(kinds("hello.short").await, ["Gateway"]);
    world.gateway_says("openfunction", "openfunction", "True", "").await;
    world.is_ready("hello", "True").await;
    assert_eq!(world.addresses("hello").await, HELLO);
    eventually("status.listeners are those of the set", || async {
        let status = world.gateways("openfunction").get("openfunction").await.unwrap().status?;
        let mut names: Vec<_> = status.listeners.into_iter().map(|listener| listener.name).collect();
        names.sort();
        (names == ours).then_some(())
    })
    .await;

    // Two OpenFunction Gateways share it (N18), and a Function with a certificate has a listener in it (RT21).
    world
        .apply_object(&json!({"apiVersion": "networking.openfunction.io/v1alpha1", "kind": "Gateway", "metadata": {"name": "second", "namespace": "openfunction"},
            "spec": {"domain": "second.io", "gatewayRef": {"name": "front", "namespace": "infra"}, "gatewaySpec": {"listeners": [
                {"name": "second", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}]}}}))
        .await;
    world.gateway_says("openfunction", "second", "True", "").await;
    assert_eq!(in_set().await, ["external", "ofn-http-internal", "second"]);
    world.gateways("openfunction").delete("second", &DeleteParams::default()).await.unwrap();
    eventually("it takes its own along", || async { (in_set().await == ours).then_some(()) }).await;
    let mut secure = function("secure", "a");
    secure["spec"]["serving"] = json!({"triggers": {"http": {"route": {"hostnames": ["secure.example.com"], "tls": {"secretName": "secure"}}}}});
    world.apply_object(&secure).await;
    world
        .has_addresses(
            "secure",
            &["https://secure.example.com/shop/secure", "http://secure.shop.svc.cluster.local/shop/secure"],
        )
        .await;
    let grant: ReferenceGrant = world.api().get("secure.certificate").await.unwrap();
    assert_eq!(grant.spec.from[0].kind, "ListenerSet");
    world.api::<Function>().delete("secure", &DeleteParams::default()).await.unwrap();
    // As the garbage collector does.
    for route in world.api::<HttpRoute>().list(&ListParams::default()).await.unwrap() {
        if route.owner_references().iter().any(|owner| owner.name == "secure") {
            world.api::<HttpRoute>().delete(&route.name_any(), &DeleteParams::default()).await.unwrap();
        }
    }

    // It is allowed no more: they go back.
    allow(Value::Null).await;
    eventually("the listeners are back", || async {
        (in_set().await.is_empty() && world.listeners("front").await == ["external", "http", "ofn-http-internal"])
            .then_some(())
    })
    .await;
    eventually("the route is back", || async { (kinds("hello").await == ["Gateway"]).then_some(()) }).await;
    world.is_ready("hello", "True").await;

    // And once more, until the OpenFunction Gateway goes.
    allow(json!({"namespaces": {"from": "All"}})).await;
    eventually("the route has moved", || async { (kinds("hello").await == ["ListenerSet"]).then_some(()) }).await;
    world.gateways("openfunction").delete("openfunction", &DeleteParams::default()).await.unwrap();
    eventually("nothing is left", || async {
        (in_set().await.is_empty() && world.listeners("front").await == ["http"]).then_some(())
    })
    .await;
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_another_namespace_is_used_only_with_a_grant() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world).await;
    let foreign = json!({"apiVersion": "networking.openfunction.io/v1alpha1", "kind": "Gateway", "metadata": {"name": "team"},
        "spec": {"domain": "team.io", "gatewayRef": {"name": "front", "namespace": "infra"}, "gatewaySpec": {"listeners": [{"name": "team", "port": 80, "protocol": "HTTP"}]}}});
    world.apply_object(&foreign).await;
    let message = world.gateway_says("shop", "team", "False", "RefNotPermitted").await;
    assert!(message.contains("make a ReferenceGrant in namespace infra"), "{message}");
    // It is in nobody's way, though it was there first (N18).
    let mut late = foreign.clone();
    (late["metadata"], late["spec"]["domain"]) =
        (json!({"name": "late", "namespace": "openfunction"}), json!("late.io"));
    world.apply_object(&late).await;
    world.gateway_says("openfunction", "late", "True", "").await;
    world.gateways("openfunction").delete("late", &DeleteParams::default()).await.unwrap();
    eventually("its listener goes", || async {
        (!world.listeners("front").await.contains(&"team".to_owned())).then_some(())
    })
    .await;
    // Its functions do not come in there either: they have their Services alone.
    let mut chooses = function("chooses", "a");
    chooses["spec"]["serving"] =
        json!({"triggers": {"http": {"route": {"gatewayRef": {"name": "team", "namespace": "shop"}}}}});
    world.apply_object(&chooses).await;
    let (reason, message) = world.condition("chooses", "RouteReady", "False").await;
    assert_eq!(reason, "GatewayMissing");
    assert!(message.contains("OpenFunction Gateway shop/team is refused (RefNotPermitted)"), "{message}");
    assert!(world.api::<HttpRoute>().get_opt("chooses").await.unwrap().is_none());
    assert!(!world.listeners("front").await.contains(&"team".to_owned()));
    world
        .apply(
            "{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {name: team, namespace: infra}, spec: {from: [{group: networking.openfunction.io, kind: Gateway, namespace: shop}], to: [{group: gateway.networking.k8s.io, kind: Gateway}]}}",
        )
        .await;
    world.gateway_says("shop", "team", "True", "").await;
    assert!(world.listeners("front").await.contains(&"team".to_owned()));
    world.is_ready("chooses", "True").await;
    assert_eq!(world.parents("chooses").await, ["front"]);

    // A template and a listener that cannot be are told with their paths, and lose nothing.
    let mut bad = foreign.clone();
    bad["spec"]["hostTemplate"] = json!("{{.Nmae}}.{{.Domain}}");
    world.apply_object(&bad).await;
    let message = world.gateway_says("shop", "team", "False", "InvalidSpec").await;
    assert!(
        message.starts_with("spec.hostTemplate: Invalid value: \"{{.Nmae}}.{{.Domain}}\": at 3: .Nmae is not known"),
        "{message}"
    );
    assert!(world.listeners("front").await.contains(&"team".to_owned()));
    world.route_says("chooses", "the route as it was stays").await;
    assert_eq!(world.parents("chooses").await, ["front"]);
    end(running).await;
}

/// Hosts, paths and addresses of networking §10.1, and what they become when somebody else has them.
#[tokio::test(flavor = "multi_thread")]
async fn rt16_routes_and_addresses_are_those_of_the_vectors() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world).await;
    let internal = "f.shop.svc.cluster.local";
    let prefix = |value: &str| json!({"matches": [{"path": {"type": "PathPrefix", "value": value}}]});
    let vectors = [
        (
            Value::Null,
            vec!["f.shop.ofn.io", internal],
            vec!["/"],
            vec!["http://f.shop.ofn.io/", "http://f.shop.svc.cluster.local/"],
        ),
        (
            json!({"hostnames": ["sample.ofn.io"]}),
            vec!["sample.ofn.io", internal],
            vec!["/shop/f"],
            vec!["http://sample.ofn.io/shop/f", "http://f.shop.svc.cluster.local/shop/f"],
        ),
        (
            json!({"rules": [prefix("/v2/foo")]}),
            vec!["f.shop.ofn.io", internal],
            vec!["/v2/foo"],
            vec!["http://f.shop.ofn.io/v2/foo", "http://f.shop.svc.cluster.local/v2/foo"],
        ),
        (
            json!({"hostnames": ["sample.ofn.io"], "rules": [prefix("/v2/foo")]}),
            vec!["sample.ofn.io", internal],
            vec!["/v2/foo"],
            vec!["http://sample.ofn.io/v2/foo", "http://f.shop.svc.cluster.local/v2/foo"],
        ),
        (
            json!({"hostnames": [internal]}),
            vec![internal],
            vec!["/shop/f"],
            vec!["http://f.shop.svc.cluster.local/shop/f"],
        ),
        (
            json!({"rules": [{"matches": [{"path": {"value": "/a"}}, {"path": {"value": "/b"}}]}]}),
            vec!["f.shop.ofn.io", internal],
            vec!["/a", "/b"],
            vec![
                "http://f.shop.ofn.io/a",
                "http://f.shop.ofn.io/b",
                "http://f.shop.svc.cluster.local/a",
                "http://f.shop.svc.cluster.local/b",
            ],
        ),
    ];
    for (route, hosts, paths, addresses) in vectors {
        let mut wanted = function("f", "a");
        wanted["spec"]["serving"]["triggers"]["http"] =
            if route.is_null() { json!({"port": 8080}) } else { json!({ "route": route }) };
        world.apply_object(&wanted).await;
        world.has_addresses("f", &addresses).await;
        world.is_ready("f", "True").await;
        let status = world.function("f").await.status.unwrap().route.unwrap();
        assert_eq!(status.hosts, hosts, "{route}");
        assert_eq!(status.paths.iter().map(|path| path.value.as_str()).collect::<Vec<_>>(), paths, "{route}");
        let live = world.route("f").await;
        assert_eq!(live.spec.hostnames, hosts, "{route}");
    }
    world.patch_gateway(json!({"pathTemplate": "/fn/{{.Name}}"})).await;
    let mut wanted = function("f", "a");
    wanted["spec"]["serving"]["triggers"]["http"] = json!({"route": {"hostnames": ["x.ofn.io"]}});
    world.apply_object(&wanted).await;
    world.has_addresses("f", &["http://x.ofn.io/fn/f", "http://f.shop.svc.cluster.local/fn/f"]).await;

    // RT6: another Function claims the same; the older one keeps it, and the younger one gets it when it is free.
    let claims = |name: &str| {
        let mut function = function(name, "a");
        function["spec"]["serving"]["triggers"]["http"] =
            json!({"route": {"hostnames": ["x.ofn.io"], "rules": [prefix("/fn/f")]}});
        function
    };
    world.apply_object(&claims("younger")).await;
    let (reason, message) = world.condition("younger", "RouteReady", "False").await;
    assert_eq!(reason, "RouteConflict");
    assert!(message.contains("hostname \"x.ofn.io\", path \"/fn/f\", belongs to Function shop/f"), "{message}");
    assert_eq!(world.addresses("younger").await, ["http://younger.shop.svc.cluster.local/fn/f"]);
    world.api::<openfunction_proto::core::Function>().delete("f", &DeleteParams::default()).await.unwrap();
    // Nobody collects garbage here.
    for name in ["f", "f.short"] {
        world.api::<HttpRoute>().delete(name, &DeleteParams::default()).await.unwrap();
    }
    world.has_addresses("younger", &["http://x.ofn.io/fn/f", "http://younger.shop.svc.cluster.local/fn/f"]).await;
    world.is_ready("younger", "True").await;

    // N35: a hostname that no listener takes is told.
    world.kubernetes_gateways().delete("front", &DeleteParams::default()).await.unwrap();
    let narrow = super::GATEWAYS
        .split("---")
        .next()
        .unwrap()
        .replace("protocol: HTTP,", "protocol: HTTP, hostname: only.example.com,");
    world.apply(&narrow).await;
    let mut far = function("far", "a");
    far["spec"]["serving"]["triggers"]["http"] = json!({"route": {"hostnames": ["far.example.com"]}});
    world.apply_object(&far).await;
    eventually("what is not served is told", || async {
        let (reason, message) = world.condition("far", "RouteReady", "False").await;
        (reason == "NoListener"
            && message.contains("hostname \"far.example.com\" is not served by Gateway infra/front"))
        .then_some(())
    })
    .await;
    assert_eq!(world.addresses("far").await, ["http://far.shop.svc.cluster.local/fn/far"]);
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rt21_a_certificate_of_a_function_gets_a_listener_and_a_grant_and_goes_with_it() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world).await;
    let mut secure = function("secure", "a");
    secure["spec"]["serving"]["triggers"]["http"] =
        json!({"route": {"hostnames": ["safe.example.com"], "tls": {"secretName": "safe"}}});
    world.apply_object(&secure).await;
    world
        .has_addresses(
            "secure",
            &["https://safe.example.com/shop/secure", "http://secure.shop.svc.cluster.local/shop/secure"],
        )
        .await;
    world.is_ready("secure", "True").await;
    let listeners = world.kubernetes_gateway("front").await.spec.listeners;
    let own = listeners.iter().find(|listener| listener.hostname.as_deref() == Some("safe.example.com")).unwrap();
    assert_eq!((own.protocol.as_str(), own.port), ("HTTPS", 443));
    let grants: Api<ReferenceGrant> = world.api();
    let grant = grants.get("secure.certificate").await.unwrap();
    assert_eq!(
        json!(grant.spec),
        json!({"from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra"}], "to": [{"group": "", "kind": "Secret", "name": "safe"}]})
    );
    // A listener takes all requests for its hostname, so that there is none for a name of others, or for many names.
    let mut thief = function("thief", "a");
    let stolen = ["secure.shop.svc.cluster.local", "safe.example.com", "*.shop.ofn.io", "*.svc.cluster.local", "*.io"];
    thief["spec"]["serving"]["triggers"]["http"] =
        json!({"route": {"hostnames": stolen, "tls": {"secretName": "stolen"}}});
    world.apply_object(&thief).await;
    world.condition("thief", "RouteReady", "False").await;
    // Another path of one hostname comes in by the listener that is there.
    let shared = ["https://safe.example.com/shop/thief", "http://thief.shop.svc.cluster.local/shop/thief"];
    world.has_addresses("thief", &shared).await;
    let of_thief = |listener: &openfunction_proto::networking::Listener| {
        listener.tls.iter().flat_map(|tls| &tls.certificate_refs).any(|certificate| certificate.name == "stolen")
    };
    assert!(!world.kubernetes_gateway("front").await.spec.listeners.iter().any(of_thief));
    secure["spec"]["serving"]["triggers"]["http"] = json!({"port": 8080});
    world.apply_object(&secure).await;
    // What is free again is its.
    eventually("the other one has the hostname", || async {
        let listeners = world.kubernetes_gateway("front").await.spec.listeners;
        listeners
            .iter()
            .any(|listener| of_thief(listener) && listener.hostname.as_deref() == Some("safe.example.com"))
            .then_some(())
    })
    .await;
    thief["spec"]["serving"]["triggers"]["http"] = json!({"port": 8080});
    world.apply_object(&thief).await;
    eventually("listener and grant go", || async {
        (world.listeners("front").await.len() == 3 && grants.get_opt("secure.certificate").await.unwrap().is_none())
            .then_some(())
    })
    .await;
    world.has_addresses("secure", &["http://secure.shop.ofn.io/", "http://secure.shop.svc.cluster.local/"]).await;
    end(running).await;
}

/// An internal name is that of its Function, whoever claimed it before (RT6, RT10).
#[tokio::test(flavor = "multi_thread")]
async fn rt6_an_internal_name_belongs_to_its_function_and_routes_outlive_status_and_gateway() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let mut running = start(&world).await;
    let mut claims = function("claims", "a");
    claims["spec"]["serving"]["triggers"]["http"] =
        json!({"route": {"hostnames": ["late.shop.svc.cluster.local"], "rules": [{}]}});
    world.apply_object(&claims).await;
    world.is_ready("claims", "True").await;
    world.apply_object(&function("late", "a")).await;
    world.is_ready("late", "True").await;
    world.has_addresses("late", &["http://late.shop.ofn.io/", "http://late.shop.svc.cluster.local/"]).await;
    assert_eq!(world.condition("claims", "RouteReady", "False").await.0, "RouteConflict");
    world.has_addresses("claims", &["http://claims.shop.svc.cluster.local/"]).await;

    // A status that is lost, as after a restore from a backup, takes no route away (design §3).
    running.remove(0).end().await;
    let before = world.route("late").await.uid();
    let lost: Function = {
        let mut function = world.function("late").await;
        function.status = None;
        function
    };
    let is_lost = world.api::<Function>().replace_status("late", &Default::default(), &lost).await.unwrap();
    assert_eq!(is_lost.status, None);
    running.push(world.start(Which::Function).await);
    world.is_ready("late", "True").await;
    assert_eq!(world.route("late").await.uid(), before);

    // Without its OpenFunction Gateway there is no entry either: the Service leads on.
    world.gateways("openfunction").delete("openfunction", &DeleteParams::default()).await.unwrap();
    eventually("the Service leads to the revision", || async {
        let service = world.api::<Service>().get("late").await.unwrap().spec.unwrap().external_name.unwrap();
        service.starts_with("late-").then_some(())
    })
    .await;
    end(running).await;
}

/// FN36: what a suspended Function says by now counts when it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn fn36_a_suspended_function_keeps_its_route_whatever_its_spec_says() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world).await;
    world.apply_object(&function("sleepy", "a")).await;
    world.is_ready("sleepy", "True").await;
    let (route, service) = (world.route("sleepy").await, world.api::<Service>().get("sleepy").await.unwrap());
    let mut suspended = function("sleepy", "a");
    suspended["spec"]["suspend"] = json!(true);
    for route_of_spec in [json!({"hostnames": ["other.example.com"]}), json!({"visibility": "None"})] {
        suspended["spec"]["serving"]["triggers"]["http"] = json!({ "route": route_of_spec });
        world.apply_object(&suspended).await;
        world.condition("sleepy", "Suspended", "True").await;
        world.condition("sleepy", "RouteReady", "True").await;
        assert_eq!(world.route("sleepy").await.spec, route.spec);
        assert_eq!(world.api::<Service>().get("sleepy").await.unwrap().uid(), service.uid());
    }
    suspended["spec"]["suspend"] = json!(false);
    world.apply_object(&suspended).await;
    eventually("the route goes", || async {
        world.api::<HttpRoute>().get_opt("sleepy").await.unwrap().is_none().then_some(())
    })
    .await;
    end(running).await;
}

/// What an implementation says is shown as soon as it says it (N30).
#[tokio::test(flavor = "multi_thread")]
async fn n30_an_answer_that_comes_late_is_shown() {
    let world = World::with_gateway().await;
    let stand_in = StandIn::start(&world);
    let running = start(&world).await;
    world.gateway_says("openfunction", "openfunction", "True", "").await;
    stand_in.routes(false);
    world.apply_object(&function("hello", "a")).await;
    assert_eq!(world.condition("hello", "RouteReady", "Unknown").await.0, "WaitingForGateway");
    stand_in.routes(true);
    world.condition("hello", "RouteReady", "True").await;
    assert_eq!(world.api::<HttpRoute>().list(&ListParams::default()).await.unwrap().items.len(), 2);
    end(running).await;
}

/// What the original has put on the Kubernetes Gateway, by update and with its annotation (networking §6, §7.3).
#[tokio::test(flavor = "multi_thread")]
async fn n07_n11_listeners_of_the_original_go_when_nobody_wants_them_and_those_of_others_stay() {
    for is_deleted_first in [false, true] {
        let world = World::with_gateway().await;
        let listener = |name: &str, hostname: &str, port: i32| json!({"name": name, "hostname": hostname, "port": port, "protocol": "HTTP"});
        let (external, extra) = (listener("external", "*.ofn.io", 80), listener("extra", "*.ofn.io", 81));
        let theirs = listener("theirs", "*.theirs.io", 80);
        let owner = listener("http", "*.owner.io", 80);
        // An edited annotation names what it did not put there.
        let said = json!([external, extra, {"name": "http", "port": 80, "protocol": "HTTP"}]).to_string();
        let annotations = json!({"networking.openfunction.io/injected-listeners": said});
        let by = |manager: &str| PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        for (manager, patch) in [
            ("somebody", json!({"spec": {"listeners": [owner, theirs]}})),
            (
                "manager",
                json!({"metadata": {"annotations": annotations}, "spec": {"listeners": [owner, theirs, external, extra]}}),
            ),
        ] {
            world.kubernetes_gateways().patch("front", &by(manager), &Patch::Merge(patch)).await.unwrap();
        }
        let finalizers = json!({"metadata": {"finalizers": ["networking.openfunction.io/finalizer"]}});
        let gateways = world.gateways("openfunction");
        gateways.patch("openfunction", &by("manager"), &Patch::Merge(finalizers)).await.unwrap();
        world.patch_gateway(json!({"gatewaySpec": {"listeners": [external, extra]}})).await;
        if is_deleted_first {
            gateways.delete("openfunction", &DeleteParams::default()).await.unwrap();
        }
        let gateway = world.start(Which::Gateway).await;
        let has = async |expected: &[&str]| {
            eventually("the listeners", || async { (world.listeners("front").await == expected).then_some(()) }).await;
        };
        if !is_deleted_first {
            has(&["external", "extra", "http", "ofn-http-internal", "ofn-http-short", "theirs"]).await;
            let annotation = || async {
                let front = world.kubernetes_gateway("front").await;
                (!front.annotations().contains_key("networking.openfunction.io/injected-listeners")).then_some(())
            };
            eventually("the annotation goes", annotation).await;
            world.patch_gateway(json!({"gatewaySpec": {"listeners": [external]}})).await;
            has(&["external", "http", "ofn-http-internal", "ofn-http-short", "theirs"]).await;
            gateways.delete("openfunction", &DeleteParams::default()).await.unwrap();
        }
        has(&["http", "theirs"]).await;
        end(vec![gateway]).await;
    }
}
