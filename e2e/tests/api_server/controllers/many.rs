//! Many OpenFunction Gateways and Functions: whatever they say, each ends with a condition, and a change of the gateway
//! costs few writes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use openfunction_proto::{core::Function, gateway_api::resources::HttpRoute, networking::Gateway};
use serde_json::{Value, json};

use super::{FUNCTIONS, StandIn, Which, World, function, patch_status};
use crate::support::eventually;

/// Numbers that look random and are the same in every run.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    pub(super) fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len())].clone()
    }

    /// One of several good values, now and then a bad one.
    pub(super) fn mostly<T: Clone>(&mut self, good: &[T], bad: T) -> T {
        if self.roll(25) == 0 { bad } else { self.one_of(good) }
    }

    /// Some of several values, as a JSON list.
    pub(super) fn some(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> Value) -> Value {
        (0..self.roll(most + 1)).map(|_| one(self)).collect()
    }
}

fn gateway(dice: &mut Dice, index: usize) -> Value {
    let listener = |dice: &mut Dice| {
        let mut listener = json!({
            "name": dice.mostly(&["external", "ofn-http-internal", "http", "a.b", "second", "tls"], "UPPER"),
            "port": dice.mostly(&[80, 81, 443], 70_000), "protocol": dice.mostly(&["HTTP", "HTTPS", "TCP", "TLS", "UDP", "example.com/x"], "?"),
        });
        if dice.roll(3) == 0 {
            listener["tls"] =
                json!({"mode": dice.one_of(&["Terminate", "Passthrough"]), "certificateRefs": [{"name": "c"}]});
        }
        if dice.roll(2) == 0 {
            listener["allowedRoutes"] = json!({"namespaces": {"from": dice.one_of(&["All", "Same", "Selector"])}});
        }
        listener
    };
    let mut spec = json!({
        "domain": dice.mostly(&["a.io", "b.io", "cluster.local", "x.y.z"], "UPPER.io"),
        "gatewaySpec": {"listeners": dice.some(4, listener)},
    });
    let templates = [
        "{{.Name}}.{{.Domain}}",
        "{{.Nmae}}",
        "{{",
        "",
        "{{.Name}}_{{.Namespace}}",
        "{{printf \"%s\" .Name}}.x",
        "{{range .}}",
    ];
    for field in ["hostTemplate", "pathTemplate"] {
        if dice.roll(3) == 0 {
            spec[field] = json!(dice.one_of(&templates));
        }
    }
    let reference =
        json!({"name": dice.one_of(&["front", "none"]), "namespace": dice.one_of(&["infra", "openfunction"])});
    match dice.roll(4) {
        0 => spec["gatewayDef"] = json!({"namespace": "infra", "gatewayClassName": "test"}),
        1 => {}
        _ => spec["gatewayRef"] = reference,
    }
    if dice.roll(4) == 0 {
        spec["httpsRedirect"] = json!(true);
    }
    json!({"apiVersion": "networking.openfunction.io/v1alpha1", "kind": "Gateway",
        "metadata": {"name": format!("g{index:03}"), "namespace": dice.one_of(&["openfunction", FUNCTIONS])}, "spec": spec})
}

fn of_route(dice: &mut Dice, index: usize) -> Value {
    let long = "x".repeat(64);
    let hosts =
        ["shared.a.io", "b.example.com", "*.wild.io", "f0001.shop.svc.cluster.local", "own.a.io", long.as_str()];
    let filter = |dice: &mut Dice| {
        let good = [
            json!({"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}),
            json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}]}}),
            json!({"type": "URLRewrite", "urlRewrite": {"hostname": "a.b"}}),
            json!({"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}),
            json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a", "port": 80}, "percent": 5}}),
            json!({"type": "ExtensionRef"}),
        ];
        dice.mostly(&good, json!({"type": "Nothing"}))
    };
    let matched = |dice: &mut Dice| {
        let path = dice.one_of(&["/", "a", "/a//b", "/.*", "/ä b", "", "/shared"]);
        let kind = dice.one_of(&["Exact", "PathPrefix", "RegularExpression"]);
        let method = dice.mostly(&["GET", "POST"], "get");
        dice.one_of(&[
            json!({"path": {"type": kind, "value": path}}),
            json!({ "method": method }),
            json!({"headers": [{"name": "a", "value": "b"}]}),
            json!({}),
        ])
    };
    let rule = |dice: &mut Dice| {
        let mut rule = json!({"matches": dice.some(5, matched), "filters": dice.some(2, filter)});
        if dice.roll(4) == 0 {
            rule["timeouts"] = json!({"request": dice.mostly(&["1s", "1m30s"], "soon")});
        }
        rule
    };
    let mut route =
        json!({"hostnames": dice.some(5, |dice| json!(dice.mostly(&hosts, "UPPER"))), "rules": dice.some(4, rule)});
    if dice.roll(2) == 0 {
        route["gatewayRef"] = json!({"name": format!("g{:03}", dice.roll(60)), "namespace": "openfunction"});
    }
    if dice.roll(5) == 0 {
        route["visibility"] = json!(dice.one_of(&["Internal", "Public", "None"]));
    }
    if dice.roll(5) == 0 {
        route["tls"] = json!({"secretName": "c"});
    }
    // Half of them are as most users' are.
    if index.is_multiple_of(2) {
        route = json!({"hostnames": route["hostnames"]});
    }
    route
}

/// A traffic, as function-controller would write it.
fn traffic(dice: &mut Dice, name: &str) -> Value {
    let backend = |name: String, dice: &mut Dice| {
        let interceptor = "keda-add-ons-http-interceptor-proxy".to_owned();
        let (namespace, name) = dice.one_of(&[
            (FUNCTIONS, name.clone()),
            (FUNCTIONS, name.clone()),
            ("keda", interceptor),
            ("nowhere", name),
        ]);
        let mut backend = json!({"kind": "Service", "namespace": namespace, "name": name, "port": 80});
        if dice.roll(3) == 0 {
            backend["headers"] = json!({"Knative-Serving-Revision": "r"});
        }
        if dice.roll(5) == 0 {
            backend["host"] = json!("inner.example.com");
        }
        backend
    };
    let first = json!({"revision": format!("{name}-1"), "percent": 90, "backend": backend(format!("{name}-1"), dice)});
    let mut second =
        json!({"revision": format!("{name}-2"), "percent": 10, "backend": backend(format!("{name}-2"), dice)});
    if dice.roll(2) == 0 {
        second["tag"] = json!("next");
    }
    match dice.roll(4) {
        0 => json!([first, second]),
        1 => json!([]),
        _ => json!([first]),
    }
}

/// How many objects there are, unless `OBJECTS` says otherwise.
fn objects() -> usize {
    from_environment("OBJECTS").unwrap_or(400)
}

/// Time for 2,000 objects, on a machine that does much else.
pub(super) const LONG: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread")]
async fn of_many_random_gateways_and_functions_each_has_a_condition_and_a_second_pass_makes_no_request() {
    let (gateways, all) = (objects() / 10, objects());
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = world.start(Which::Gateway).await;
    let mut dice = Dice(7);
    let mut refused = 0;
    for index in 0..gateways {
        let wanted = gateway(&mut dice, index);
        let namespace = wanted["metadata"]["namespace"].as_str().unwrap();
        let api: Api<Object> = api(&world, namespace, "networking.openfunction.io", "v1alpha1", "Gateway");
        refused += usize::from(
            api.create(&PostParams::default(), &serde_json::from_value(wanted.clone()).unwrap()).await.is_err(),
        );
    }
    let functions: Vec<_> = (0..all - gateways)
        .map(|index| {
            let mut wanted = function(&format!("f{index:04}"), "a");
            wanted["spec"]["serving"]["triggers"]["http"]["route"] = of_route(&mut dice, index);
            let traffic = traffic(&mut dice, &format!("f{index:04}"));
            (wanted, traffic)
        })
        .collect();
    let made = futures::stream::iter(functions).map(|(wanted, traffic)| {
        let world = &world;
        async move {
            let api: Api<Object> = api(world, FUNCTIONS, "core.openfunction.io", "v1beta2", "Function");
            let name = wanted["metadata"]["name"].as_str().unwrap().to_owned();
            let created = api.create(&PostParams::default(), &serde_json::from_value(wanted).unwrap()).await;
            if created.is_ok() {
                patch_status(&world.api::<Function>(), &name, json!({ "traffic": traffic })).await;
            }
            created.is_ok()
        }
    });
    let made: Vec<bool> = made.buffer_unordered(16).collect().await;
    refused += made.iter().filter(|made| !**made).count();
    assert!((all / 10..all / 10 * 6).contains(&refused), "{refused} of {all} were refused at admission");

    let undecided = || async {
        let functions: Vec<_> = world.api::<Function>().list(&ListParams::default()).await.unwrap().items;
        let needs = |function: &&Function| {
            let route = function.spec.serving.as_ref().and_then(|serving| serving.http()?.route.as_ref());
            let has_traffic = function.status.as_ref().is_some_and(|status| !status.traffic.is_empty());
            has_traffic && route.and_then(|route| route.visibility.as_deref()) != Some("None")
        };
        let is_told = |function: &&Function| {
            let conditions = function.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|c| c.type_ == "RouteReady" && c.reason != "WaitingForGateway")
        };
        let gateways: Vec<_> =
            Api::<Gateway>::all(world.client.clone()).list(&ListParams::default()).await.unwrap().items;
        let says = |gateway: &&Gateway| {
            let conditions = gateway.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.type_ == "Ready")
        };
        let functions = functions.iter().filter(needs).filter(|f| !is_told(f)).map(ResourceExt::name_any);
        functions.chain(gateways.iter().filter(|g| !says(g)).map(ResourceExt::name_any)).collect::<Vec<_>>()
    };
    let began = Instant::now();
    let mut left = undecided().await;
    while !left.is_empty() && began.elapsed() < LONG {
        tokio::time::sleep(Duration::from_secs(1)).await;
        left = undecided().await;
    }
    if let Some(first) = left.first() {
        let status = world.api::<Function>().get_opt(first).await.unwrap().map(|function| function.status);
        panic!(
            "{} are without a condition after {LONG:?} and {} passes, as {first}: {}, with the requests {:?}",
            left.len(),
            running.passes(),
            json!(status),
            running.requests()
        );
    }
    let routes = world.api::<HttpRoute>().list(&ListParams::default()).await.unwrap().items.len();
    assert!(routes > all / 7, "{routes} routes");

    // What cannot be applied is tried again after a while; the others are quiet.
    // A pass that has just begun is in no queue.
    let mut passes = 0;
    eventually("nothing waits or runs", || {
        let is_quiet = running.metrics.queue_depth() == 0 && running.passes() == passes;
        passes = running.passes();
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            is_quiet.then_some(())
        }
    })
    .await;
    running.end().await;
    let statuses = || async {
        let functions = world.api::<Function>().list(&ListParams::default()).await.unwrap().items;
        functions.iter().map(|of| (of.name_any(), json!(of.status))).collect::<BTreeMap<_, _>>()
    };
    let before = statuses().await;
    let again = world.start(Which::Gateway).await;
    let began = Instant::now();
    let is_done = || again.passes() >= all - refused && again.metrics.queue_depth() == 0;
    while !is_done() {
        assert!(began.elapsed() < LONG, "{} of {} objects are looked at", again.passes(), all - refused);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{} objects are looked at after {:?}", again.passes(), began.elapsed());
    let mut writes = again.writes();
    writes.retain(|labels, _| !labels.contains("customresourcedefinitions"));
    // What the API server refuses is tried again by a new process, which cannot know, and after pauses that double.
    let functions = world.api::<Function>().list(&ListParams::default()).await.unwrap().items;
    let mut conditions = functions.iter().flat_map(|function| &function.status.as_ref().unwrap().conditions);
    let routes = conditions.by_ref().filter(|c| c.type_ == "RouteReady" && c.reason == "ApplyFailed").count();
    let gateways = Api::<Gateway>::all(world.client.clone()).list(&ListParams::default()).await.unwrap().items;
    let conditions = gateways.iter().flat_map(|gateway| &gateway.status.as_ref().unwrap().conditions);
    let gateways = conditions.filter(|c| c.type_ == "Ready" && c.reason == "ApplyFailed").count();
    for (kind, refused) in [("httproutes", routes), ("gateways", gateways)] {
        let written = writes.remove(&format!("kind=\"{kind}\",verb=\"patch\"")).unwrap_or_default();
        assert!(written <= 5 * refused as u64, "{written} writes of {refused} {kind} that are refused");
    }
    let mut changed = statuses().await;
    changed.retain(|name, status| before.get(name) != Some(status));
    let was: Vec<_> = changed.keys().map(|name| &before[name]).collect();
    assert!(writes.is_empty(), "{writes:?}: {} was {}", json!(changed), json!(was));
    again.end().await;
}

type Object = kube::api::DynamicObject;

fn api(world: &World, namespace: &str, group: &str, version: &str, kind: &str) -> Api<Object> {
    let resource = kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(world.client.clone(), namespace, &resource)
}

/// How many Functions share the gateway whose domain changes, unless `FUNCTIONS` says otherwise.
const SHARE: usize = 60;

fn share() -> usize {
    from_environment("FUNCTIONS").unwrap_or(SHARE)
}

pub(super) fn from_environment(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

/// GW22. How soon all of them have it is measured by `cargo bench-control-plane`.
#[tokio::test(flavor = "multi_thread")]
async fn gw22_a_new_domain_costs_at_most_three_writes_for_each_function() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = world.start(Which::Gateway).await;
    let made = futures::stream::iter(0..share()).map(|index| {
        let world = &world;
        async move {
            let name = format!("f{index:03}");
            world.apply_object(&function(&name, "a")).await;
            let backend = json!({"kind": "Service", "namespace": FUNCTIONS, "name": name, "port": 80});
            let traffic = json!([{"revision": name, "percent": 100, "backend": backend}]);
            patch_status(&world.api::<Function>(), &name, json!({ "traffic": traffic })).await;
        }
    });
    made.buffer_unordered(16).collect::<Vec<_>>().await;
    let ready = |domain: &'static str| {
        let world = &world;
        async move {
            let functions = world.api::<Function>().list(&ListParams::default()).await.unwrap().items;
            functions.len() == share()
                && functions.iter().all(|function| {
                    let status = function.status.clone().unwrap_or_default();
                    let is_ready = status.conditions.iter().any(|c| c.type_ == "RouteReady" && c.status == "True");
                    is_ready && status.addresses.first().is_some_and(|address| address.value.ends_with(domain))
                })
        }
    };
    eventually("all are routed", || async { ready("ofn.io/").await.then_some(()) }).await;
    let before: u64 = running.writes().values().sum();
    let patch = Patch::Merge(json!({"spec": {"domain": "new.io"}}));
    let gateways: Api<Gateway> = Api::namespaced(world.client.clone(), "openfunction");
    gateways.patch("openfunction", &PatchParams::default(), &patch).await.unwrap();
    eventually("all have the new address", || async { ready("new.io/").await.then_some(()) }).await;
    let writes: u64 = running.writes().values().sum::<u64>() - before;
    assert!(writes <= 3 * share() as u64 + 10, "{writes} writes, in all {:?}", running.writes());
    running.end().await;
}
