//! The engines of HTTP functions on a real API server: their objects, and switching between them.

use std::collections::BTreeSet;

use controller_runtime::contained::difference;
use e2e::parts::documents;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams},
    core::GroupVersionKind,
};
use openfunction_proto::core::Serving;
use serde_json::{Value, json};

use super::{FUNCTIONS, StandIn, Which, World, end, function, start};
use crate::support::{eventually, try_out};

/// Kinds that engines make.
const CHILDREN: [(&str, &str, &str); 7] = [
    ("apps", "v1", "Deployment"),
    ("", "v1", "Service"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("keda.sh", "v1alpha1", "ScaledObject"),
    ("http.keda.sh", "v1alpha1", "HTTPScaledObject"),
    ("serving.knative.dev", "v1", "Service"),
];

impl World {
    /// A server with every optional API of the engines.
    async fn with_engines() -> Self {
        let world = Self::with_gateway().await;
        world.install_api(&["serving.knative.dev", "keda.sh", "http.keda.sh"]).await;
        world
    }

    fn of(&self, (group, version, kind): (&str, &str, &str)) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), FUNCTIONS, &resource)
    }

    /// The objects that engines have made, as `group/kind/name`.
    async fn made(&self) -> BTreeSet<String> {
        let mut made = BTreeSet::new();
        for kind in CHILDREN {
            let ours = ListParams::default().labels("openfunction.io/managed-by=serving-controller");
            for object in self.of(kind).list(&ours).await.unwrap() {
                made.insert(format!("{}/{}/{}", kind.0, kind.2, object.name_any()));
            }
        }
        made
    }

    /// As kube-controller-manager does: what belongs to a Serving that is gone goes, too.
    fn collect_garbage(&self) -> GarbageCollector {
        let (servings, kinds) = (self.api::<Serving>(), CHILDREN.map(|kind| self.of(kind)));
        GarbageCollector(tokio::spawn(async move {
            loop {
                for api in &kinds {
                    let children = api.list(&ListParams::default()).await.unwrap().items;
                    let alive: BTreeSet<_> = servings
                        .list(&ListParams::default())
                        .await
                        .unwrap()
                        .iter()
                        .filter_map(ResourceExt::uid)
                        .collect();
                    let is_orphan = |child: &&DynamicObject| {
                        child
                            .owner_references()
                            .iter()
                            .any(|owner| owner.kind == "Serving" && !alive.contains(&owner.uid))
                    };
                    for orphan in children.iter().filter(is_orphan) {
                        let _ = api.delete(&orphan.name_any(), &DeleteParams::default()).await;
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }))
    }

    async fn revision(&self, name: &str) -> String {
        self.function(name).await.status.unwrap().serving.unwrap().resource_ref.unwrap()
    }
}

struct GarbageCollector(tokio::task::JoinHandle<()>);

impl Drop for GarbageCollector {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn with(engine: &str, more: Value) -> Value {
    let mut wanted = function("tuned", "registry.example.com/a:v1");
    wanted["spec"]["serving"] = more;
    wanted["spec"]["serving"]["triggers"]["http"]["engine"] = json!(engine);
    wanted
}

/// An option of a Function, and where on which live object its value must stand.
struct Option_ {
    engine: &'static str,
    option: Value,
    kind: (&'static str, &'static str, &'static str),
    path: &'static str,
    value: Value,
}

fn option(
    engine: &'static str,
    option: Value,
    kind: (&'static str, &'static str, &'static str),
    path: &'static str,
    value: Value,
) -> Option_ {
    Option_ { engine, option, kind, path, value }
}

const KNATIVE: (&str, &str, &str) = ("serving.knative.dev", "v1", "Service");
const HTTP_SCALED: (&str, &str, &str) = ("http.keda.sh", "v1alpha1", "HTTPScaledObject");
const SCALED: (&str, &str, &str) = ("keda.sh", "v1alpha1", "ScaledObject");
const AUTOSCALER: (&str, &str, &str) = ("autoscaling", "v2", "HorizontalPodAutoscaler");
const BUDGET: (&str, &str, &str) = ("policy", "v1", "PodDisruptionBudget");

fn options() -> Vec<Option_> {
    let annotation = |name: &str, value: &str| json!({"knative": {format!("autoscaling.knative.dev/{name}"): value}});
    let knative = |name: &str, value: &str, path: &'static str| {
        option("knative", annotation(name, value), KNATIVE, path, json!(value))
    };
    let trigger = json!({"type": "prometheus", "metadata": {"query": "up", "threshold": "5", "serverAddress": "http://p:9090"},
        "name": "load", "metricType": "Value", "useCachedMetrics": true, "authenticationRef": {"name": "auth", "kind": "ClusterTriggerAuthentication"}});
    let scaled = |object: Value| json!({"minReplicas": 1, "maxReplicas": 6, "keda": {"triggers": [trigger], "scaledObject": object}});
    let native =
        |object: Value, path: &'static str, value: Value| option("native", scaled(object), SCALED, path, value);
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 30}]}});
    vec![
        option(
            "knative",
            json!({"minReplicas": 2}),
            KNATIVE,
            "/spec/template/metadata/annotations/autoscaling.knative.dev~1min-scale",
            json!("2"),
        ),
        option(
            "knative",
            json!({"maxReplicas": 7}),
            KNATIVE,
            "/spec/template/metadata/annotations/autoscaling.knative.dev~1max-scale",
            json!("7"),
        ),
        knative("initial-scale", "2", "/spec/template/metadata/annotations/autoscaling.knative.dev~1initial-scale"),
        knative(
            "scale-down-delay",
            "15m",
            "/spec/template/metadata/annotations/autoscaling.knative.dev~1scale-down-delay",
        ),
        knative("window", "45s", "/spec/template/metadata/annotations/autoscaling.knative.dev~1window"),
        knative(
            "panic-window-percentage",
            "12.5",
            "/spec/template/metadata/annotations/autoscaling.knative.dev~1panic-window-percentage",
        ),
        knative("metric", "rps", "/spec/template/metadata/annotations/autoscaling.knative.dev~1metric"),
        knative("target", "40", "/spec/template/metadata/annotations/autoscaling.knative.dev~1target"),
        knative(
            "target-utilization-percentage",
            "80",
            "/spec/template/metadata/annotations/autoscaling.knative.dev~1target-utilization-percentage",
        ),
        knative(
            "activation-scale",
            "3",
            "/spec/template/metadata/annotations/autoscaling.knative.dev~1activation-scale",
        ),
        option(
            "knative",
            annotation("container-concurrency", "5"),
            KNATIVE,
            "/spec/template/spec/containerConcurrency",
            json!(5),
        ),
        option("keda", json!({"minReplicas": 1}), HTTP_SCALED, "/spec/replicas/min", json!(1)),
        option("keda", json!({"maxReplicas": 4}), HTTP_SCALED, "/spec/replicas/max", json!(4)),
        option(
            "keda",
            json!({"keda": {"httpScaledObject": {"targetPendingRequests": 9}}}),
            HTTP_SCALED,
            "/spec/scalingMetric/concurrency/targetValue",
            json!(9),
        ),
        option(
            "keda",
            json!({"keda": {"httpScaledObject": {"cooldownPeriod": 33}}}),
            HTTP_SCALED,
            "/spec/scaledownPeriod",
            json!(33),
        ),
        option(
            "native",
            json!({"minReplicas": 2, "maxReplicas": 2}),
            ("apps", "v1", "Deployment"),
            "/spec/replicas",
            json!(2),
        ),
        option("native", json!({"minReplicas": 2, "maxReplicas": 5}), AUTOSCALER, "/spec/minReplicas", json!(2)),
        option("native", json!({"minReplicas": 2, "maxReplicas": 5}), AUTOSCALER, "/spec/maxReplicas", json!(5)),
        option(
            "native",
            json!({"maxReplicas": 5, "keda": {"scaledObject": {"advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}}}}}),
            AUTOSCALER,
            "/spec/behavior",
            behavior.clone(),
        ),
        option(
            "native",
            json!({"maxReplicas": 5, "knative": {"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev", "autoscaling.knative.dev/metric": "queue", "autoscaling.knative.dev/target": "9"}}),
            AUTOSCALER,
            "/spec/metrics/0/pods",
            json!({"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "9"}}),
        ),
        knative(
            "panic-threshold-percentage",
            "150",
            "/spec/template/metadata/annotations/autoscaling.knative.dev~1panic-threshold-percentage",
        ),
        knative(
            "target-burst-capacity",
            "0",
            "/spec/template/metadata/annotations/autoscaling.knative.dev~1target-burst-capacity",
        ),
        knative(
            "class",
            "hpa.autoscaling.knative.dev",
            "/spec/template/metadata/annotations/autoscaling.knative.dev~1class",
        ),
        knative("anything-new", "1", "/spec/template/metadata/annotations/autoscaling.knative.dev~1anything-new"),
        native(json!({}), "/spec/minReplicaCount", json!(1)),
        native(json!({}), "/spec/maxReplicaCount", json!(6)),
        native(json!({}), "/spec/triggers/0", trigger.clone()),
        native(json!({"minReplicaCount": 2}), "/spec/minReplicaCount", json!(2)),
        native(json!({"maxReplicaCount": 3}), "/spec/maxReplicaCount", json!(3)),
        native(json!({"pollingInterval": 7}), "/spec/pollingInterval", json!(7)),
        native(json!({"cooldownPeriod": 70}), "/spec/cooldownPeriod", json!(70)),
        native(
            json!({"fallback": {"failureThreshold": 3, "replicas": 4}}),
            "/spec/fallback",
            json!({"failureThreshold": 3, "replicas": 4}),
        ),
        native(
            json!({"advanced": {"restoreToOriginalReplicaCount": true}}),
            "/spec/advanced/restoreToOriginalReplicaCount",
            json!(true),
        ),
        native(
            json!({"advanced": {"horizontalPodAutoscalerConfig": {"name": "own"}}}),
            "/spec/advanced/horizontalPodAutoscalerConfig/name",
            json!("own"),
        ),
        native(
            json!({"advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}}}),
            "/spec/advanced/horizontalPodAutoscalerConfig/behavior",
            behavior.clone(),
        ),
        native(
            json!({"triggers": [{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}]}),
            "/spec/triggers/1/metadata/value",
            json!("60"),
        ),
        // What only a newer KEDA knows goes there as it is; this one drops what it does not know.
        native(json!({"idleReplicaCount": 0}), "/spec/idleReplicaCount", json!(0)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scale_option_stands_with_its_value_on_the_live_object() {
    let world = World::with_engines().await;
    let _stand_in = StandIn::start(&world);
    // As metrics-server registers it; that nobody answers is no reason not to scale.
    world.apply("{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1beta1.metrics.k8s.io}, spec: {group: metrics.k8s.io, version: v1beta1, groupPriorityMinimum: 100, versionPriority: 100, service: {name: metrics-server, namespace: kube-system}}}").await;
    let running = start(&world, &[Which::Function, Which::Serving]).await;
    for Option_ { engine, option, kind, path, value } in options() {
        world.apply_object(&with(engine, json!({ "scaleOptions": option }))).await;
        let what = format!("{engine} {option}: {} {path} = {value}", kind.2);
        eventually(&what, || async {
            let name = world.function("tuned").await.status?.serving?.resource_ref?;
            let object = world.of(kind).get_opt(&name).await.unwrap()?;
            // Defaults of its own may stand beside it.
            difference(&value, json!(object).pointer(path)?).is_none().then_some(())
        })
        .await;
    }
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b30_b63_switching_between_all_engines_and_back_leaves_nothing_behind() {
    let world = World::with_engines().await;
    let _stand_in = StandIn::start(&world);
    let _garbage_collector = world.collect_garbage();
    let running = start(&world, &[Which::Function, Which::Serving, Which::Gateway]).await;
    let scale = json!({"scaleOptions": {"minReplicas": 2, "maxReplicas": 5, "keda": {"triggers": [{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}]}}});
    let made_by = |engine: &str, name: &str| -> BTreeSet<String> {
        let kinds: &[&str] = match engine {
            "knative" => &["serving.knative.dev/Service"],
            "keda" => &["apps/Deployment", "/Service", "http.keda.sh/HTTPScaledObject"],
            _ => &["apps/Deployment", "/Service", "keda.sh/ScaledObject", "policy/PodDisruptionBudget"],
        };
        kinds.iter().map(|kind| format!("{kind}/{name}")).collect()
    };
    let mut revisions = std::collections::BTreeMap::new();
    for engine in ["knative", "native", "keda", "knative", "keda", "native", "knative"] {
        world.apply_object(&with(engine, scale.clone())).await;
        world.condition("tuned", "Ready", "True").await;
        let name = world.revision("tuned").await;
        assert_eq!(revisions.entry(engine).or_insert_with(|| name.clone()), &name, "{engine} meets its revision again");
        eventually(&format!("only what {engine} needs is left"), || async {
            (world.made().await == made_by(engine, &name)).then_some(())
        })
        .await;
        let backend = world.function("tuned").await.status.unwrap().traffic[0].backend.clone().unwrap();
        let expected = match engine {
            "knative" => ("shop", format!("{name}-00001"), None),
            "keda" => (
                "keda",
                "keda-add-ons-http-interceptor-proxy".to_owned(),
                Some(format!("{name}.shop.svc.cluster.local")),
            ),
            _ => ("shop", name.clone(), None),
        };
        assert_eq!((backend.namespace.as_str(), backend.name, backend.host), expected);
    }
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_move_to_a_backend_that_the_gateway_may_not_use() {
    let world = World::with_engines().await;
    let stand_in = StandIn::start(&world);
    let running = start(&world, &[Which::Function, Which::Serving, Which::Gateway]).await;
    world.apply_object(&with("native", json!({}))).await;
    world.condition("tuned", "Ready", "True").await;
    let native = world.revision("tuned").await;
    stand_in.grants(false);
    world.apply_object(&with("keda", json!({}))).await;
    let (reason, message) = world.is_ready("tuned", "False").await;
    assert_eq!(reason, "RefNotPermitted");
    assert!(message.contains("make a ReferenceGrant in the namespace of the backend"), "{message}");
    let led_to = || async {
        let route = world.api::<super::HttpRoute>().get("tuned").await.unwrap();
        let refs = route.spec.rules[0].backend_refs.iter().filter(|backend| backend.weight > 0);
        refs.map(|backend| backend.name.clone()).collect::<Vec<_>>()
    };
    // For as long as it lasts: time enough for everything that could go wrong.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(led_to().await, std::slice::from_ref(&native));
    assert!(world.servings().await.contains(&native));
    stand_in.grants(true);
    world.condition("tuned", "Ready", "True").await;
    assert_eq!(led_to().await, ["keda-add-ons-http-interceptor-proxy"]);
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b62_what_somebody_deletes_or_changes_is_repaired() {
    let world = World::with_engines().await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world, &[Which::Function, Which::Serving]).await;
    for (engine, kind, path, value) in [
        ("knative", KNATIVE, "/spec/template/spec/containerConcurrency", json!(3)),
        ("keda", HTTP_SCALED, "/spec/scaledownPeriod", json!(1)),
        ("native", BUDGET, "/spec/maxUnavailable", json!(9)),
    ] {
        let scale = json!({"minReplicas": 2, "maxReplicas": 2, "knative": {"autoscaling.knative.dev/container-concurrency": "5"}});
        world.apply_object(&with(engine, json!({ "scaleOptions": scale }))).await;
        let found = || async {
            let name = world.function("tuned").await.status?.serving?.resource_ref?;
            world.of(kind).get_opt(&name).await.unwrap()
        };
        let before = eventually("the object is made", found).await;
        world.of(kind).delete(&before.name_any(), &DeleteParams::default()).await.unwrap();
        let after =
            eventually("it comes back", || async { found().await.filter(|now| now.uid() != before.uid()) }).await;
        let wanted = json!(after).pointer(path).cloned();
        assert!(wanted.is_some(), "{kind:?} {path}");
        let mut changed = json!({});
        crate::support::set(&mut changed, path, value.clone());
        let merge = kube::api::Patch::Merge(changed);
        world.of(kind).patch(&after.name_any(), &kube::api::PatchParams::default(), &merge).await.unwrap();
        eventually("it is as it was", || async {
            let now = found().await?;
            (now.metadata.generation > after.metadata.generation && json!(now).pointer(path) == wanted.as_ref())
                .then_some(())
        })
        .await;
    }
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_the_cluster_does_not_have_is_told_and_used_when_it_comes() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world, &[Which::Function, Which::Serving, Which::Gateway]).await;
    world.apply_object(&with("knative", json!({}))).await;
    let (reason, message) = world.is_ready("tuned", "False").await;
    assert_eq!(reason, "EngineUnavailable");
    assert!(message.contains("needs Knative Serving (services.serving.knative.dev/v1)"), "{message}");
    world.install_api(&["serving.knative.dev"]).await;
    world.is_ready("tuned", "True").await;
    end(running).await;
}

/// The examples in the reference documentation of KEDA's HTTP add-on: our CRD of it must know what they say.
const DOCUMENTED: &str = r"
apiVersion: http.keda.sh/v1alpha1
kind: HTTPScaledObject
metadata: {name: xkcd}
spec:
  hosts: [myhost.com]
  pathPrefixes: [/test]
  scaleTargetRef: {name: xkcd, kind: Deployment, apiVersion: apps/v1, service: xkcd, port: 8080}
  replicas: {min: 5, max: 10}
  scaledownPeriod: 300
  scalingMetric: {concurrency: {targetValue: 100}}
---
apiVersion: http.keda.sh/v1alpha1
kind: HTTPScaledObject
metadata: {name: by-rate}
spec:
  hosts: [myhost.com]
  scaleTargetRef: {name: xkcd, kind: Deployment, apiVersion: apps/v1, service: xkcd, portName: http}
  scalingMetric: {requestRate: {granularity: 1s, targetValue: 100, window: 1m}}
";

#[tokio::test(flavor = "multi_thread")]
async fn the_crd_of_the_http_add_on_takes_its_documented_examples_as_they_are() {
    let world = World::with_engines().await;
    for example in documents(DOCUMENTED).unwrap() {
        let object = try_out(&world.of(HTTP_SCALED), &example).await.unwrap();
        assert_eq!(difference(&example, &json!(object)), None, "nothing is dropped");
    }
}

fn serving(name: &str, engine: &str) -> Value {
    let http = json!({"engine": engine, "port": 8080});
    json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Serving", "metadata": {"name": name},
        "spec": {"image": "registry.example.com/a:v1", "triggers": {"http": http}, "scaleOptions": {"minReplicas": 2, "maxReplicas": 4}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_without_traffic_is_parked_and_starts_again() {
    let world = World::with_engines().await;
    let stand_in = StandIn::start(&world);
    let running = start(&world, &[Which::Serving]).await;
    let state = |name: &'static str, state: &'static str| {
        let servings: Api<Serving> = world.api();
        async move {
            eventually(&format!("{name} is {state}"), || async {
                let serving = servings.get(name).await.unwrap();
                let status = serving.status.clone()?;
                let is_current = status.observed_generation == serving.metadata.generation;
                (is_current && status.state.as_deref() == Some(state)).then_some(status)
            })
            .await
        }
    };
    for engine in ["knative", "keda", "native"] {
        let mut wanted = serving(engine, engine);
        world.apply_object(&wanted).await;
        assert!(state(engine, "Running").await.activated_at.is_none());
        wanted["spec"]["suspend"] = json!(true);
        world.apply_object(&wanted).await;
        let parked = state(engine, "Suspended").await;
        assert_eq!((parked.backend, parked.resource_ref.len()), (None, 0));
        eventually("its objects go", || async { world.made().await.is_empty().then_some(()) }).await;
        stand_in.pods(false);
        wanted["spec"]["suspend"] = json!(false);
        world.apply_object(&wanted).await;
        assert!(state(engine, "Starting").await.activated_at.is_some(), "its time begins anew");
        stand_in.pods(true);
        state(engine, "Running").await;
        world.api::<Serving>().delete(engine, &DeleteParams::background()).await.unwrap();
        for kind in CHILDREN {
            // There is no garbage collector here.
            world.of(kind).delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        }
    }
    end(running).await;
}

/// Servings of the test that measures requests.
const COUNT: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_pass_over_300_servings_makes_no_request() {
    let world = World::with_engines().await;
    let _stand_in = StandIn::start(&world);
    let controller = world.start(Which::Serving).await;
    for index in 0..COUNT {
        let engine = ["knative", "keda", "native"][index % 3];
        world.apply_object(&serving(&format!("s{index:03}"), engine)).await;
    }
    let are_running = || async {
        let servings = world.api::<Serving>().list(&ListParams::default()).await.unwrap();
        let runs = |serving: &&Serving| serving.status.as_ref().and_then(|s| s.state.as_deref()) == Some("Running");
        (servings.items.iter().filter(runs).count() == COUNT).then_some(())
    };
    eventually("all run", are_running).await;
    let quiet = || async { (controller.metrics.queue_depth() == 0).then_some(()) };
    eventually("nothing waits", quiet).await;
    let (before, passes) = (controller.requests(), controller.passes());
    // Settings for every function concern all Servings, and change none (design §5).
    world.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: openfunction-config, namespace: openfunction}, data: {hooks: 'pre: [audit]'}}").await;
    eventually("all are looked at again", || async { (controller.passes() >= passes + COUNT).then_some(()) }).await;
    eventually("nothing waits", quiet).await;
    assert_eq!(controller.requests(), before);
    controller.end().await;
}
