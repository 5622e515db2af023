//! EventSources, Triggers and their buses, on a real API server: which handlers there are, and what is told.

use std::{collections::BTreeSet, fs, time::Duration};

use e2e::parts::documents;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use openfunction_proto::{
    core::Function,
    events::{ClusterEventBus, EventBus, EventSource, EventsCondition, EventsStatus, Trigger},
};
use serde_json::{Value, json};

use super::{FUNCTIONS, StandIn, Which, World, end, function, patch_status, start};
use crate::{
    examples,
    support::{DEADLINE, api_of, eventually},
};

/// Whose conditions are looked at.
trait Told:
    Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + serde::de::DeserializeOwned
{
    fn told(&self) -> Vec<EventsCondition>;
}

macro_rules! told {
    ($($kind:ty),*) => {$(
        impl Told for $kind {
            fn told(&self) -> Vec<EventsCondition> {
                self.status.iter().flat_map(|status| status.conditions.clone()).collect()
            }
        }
    )*};
}

told!(EventSource, Trigger, EventBus);

impl World {
    /// Waits until the summary of an object is so, and speaks of the present; reason and message.
    async fn summary<K: Told>(&self, name: &str, type_: &str) -> (String, String) {
        let mut seen = Vec::new();
        let looking = async {
            loop {
                let object = self.api::<K>().get(name).await.unwrap();
                seen = object.told();
                let is_present = |last: &&EventsCondition| last.observed_generation == object.meta().generation;
                if let Some(last) = seen.last().filter(|last| last.type_ == type_).filter(is_present) {
                    return (last.reason.clone().unwrap_or_default(), last.message.clone().unwrap_or_default());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(DEADLINE, looking).await;
        let found = found.unwrap_or_else(|_| panic!("{} {name} is not {type_}: {}", K::kind(&()), json!(seen)));
        // One of each (BUG-E31), and always one that can be waited for.
        let types: BTreeSet<_> = seen.iter().map(|condition| condition.type_.as_str()).collect();
        assert!(types.contains("Ready") && types.len() == seen.len(), "{}", json!(seen));
        found
    }

    async fn note<K: Told>(&self, name: &str, type_: &str) -> Option<EventsCondition> {
        self.api::<K>().get(name).await.unwrap().told().into_iter().find(|condition| condition.type_ == type_)
    }

    /// Names of the handlers that are there.
    async fn handlers(&self) -> Vec<String> {
        let ours = ListParams::default().labels("openfunction.io/managed=true");
        let list = self.api::<Function>().list(&ours).await.unwrap();
        list.items.iter().filter(|of| of.metadata.deletion_timestamp.is_none()).map(ResourceExt::name_any).collect()
    }

    /// What a handler is told.
    async fn told_config(&self, handler: &str) -> Option<Value> {
        let function = self.api::<Function>().get_opt(handler).await.unwrap()?;
        serde_json::from_str(function.spec.serving?.params.get("CONFIG")?).ok()
    }

    /// Waits until a handler is told something.
    async fn is_told(&self, handler: &str, path: &str, expected: &Value) {
        let what = format!("{handler} is told that {path} is {expected}");
        eventually(&what, || async { (self.told_config(handler).await?.pointer(path)? == expected).then_some(()) })
            .await;
    }

    async fn patch<K: Told>(&self, name: &str, patch: Value) {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
}

pub(super) fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "events.openfunction.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn jetstream(url: &str) -> Value {
    json!({"jetStream": {"url": url}})
}

fn kafka() -> Value {
    json!({"brokers": "kafka:9092", "topic": "scans", "authRequired": false})
}

const EVERY: &[Which] = &[Which::Function, Which::Serving, Which::Events];

#[tokio::test(flavor = "multi_thread")]
async fn an_event_source_has_a_handler_for_each_event_and_follows_its_bus() {
    let world = World::new().await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world, EVERY).await;
    // Before its bus.
    let spec = json!({"eventBus": "depot", "kafka": {"scan": kafka()}, "cron": {"scan": {"schedule": "@every 7s"}, "tick": {"schedule": "@daily"}}});
    world.apply_object(&object("EventSource", "parcels", spec)).await;
    let (reason, message) = world.summary::<EventSource>("parcels", "Error").await;
    assert_eq!(reason, "ErrorToFindExistEventBus");
    assert!(message.contains("cannot retrieve eventBus or clusterEventBus \"depot\""), "{message}");
    assert!(world.handlers().await.is_empty());
    // GAP-E21: a cluster bus that comes later is seen.
    world.apply_object(&object("ClusterEventBus", "depot", jetstream("nats://cluster:4222"))).await;
    assert_eq!(
        world.summary::<EventSource>("parcels", "Ready").await,
        ("EventSourceIsReady".into(), "EventSource is ready.".into())
    );
    let of_kafka = "esw-parcels-kafka-scan";
    let all = [of_kafka, "esw-parcels-cron-scan", "esw-parcels-cron-tick"].map(str::to_owned);
    assert_eq!(sorted(world.handlers().await), sorted(all.to_vec()));
    world.is_told(of_kafka, "/bus/jetStream/url", &json!("nats://cluster:4222")).await;
    world.is_told(of_kafka, "/events/scan/topic", &json!("shop-parcels-scan")).await;
    // One of the namespace counts more; a change of it, too; when it goes, that of the cluster again.
    world.apply_object(&object("EventBus", "depot", jetstream("nats://own:4222"))).await;
    world.is_told(of_kafka, "/bus/jetStream/url", &json!("nats://own:4222")).await;
    world.patch::<EventBus>("depot", json!({"spec": jetstream("nats://other:4222")})).await;
    world.is_told(of_kafka, "/bus/jetStream/url", &json!("nats://other:4222")).await;
    // Nobody collects here what a revision of before has left: none may come back.
    world.apply_object(&object("ClusterEventBus", "depot", jetstream("nats://second:4222"))).await;
    world.api::<EventBus>().delete("depot", &DeleteParams::default()).await.unwrap();
    world.is_told(of_kafka, "/bus/jetStream/url", &json!("nats://second:4222")).await;
    world.summary::<EventSource>("parcels", "Ready").await;
    // GAP-E20: what is edited by hand is repaired, what is deleted is made again.
    let edit = json!({"spec": {"serving": {"params": {"CONFIG": "{}"}}}});
    world.api::<Function>().patch(of_kafka, &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    world.is_told(of_kafka, "/bus/jetStream/url", &json!("nats://second:4222")).await;
    world.api::<Function>().delete(of_kafka, &DeleteParams::default()).await.unwrap();
    world.is_told(of_kafka, "/bus/jetStream/url", &json!("nats://second:4222")).await;
    // BUG-E32: an event that is taken away takes its handler along.
    world.patch::<EventSource>("parcels", json!({"spec": {"cron": {"scan": null}}})).await;
    eventually("its handler goes", || async { (world.handlers().await.len() == 2).then_some(()) }).await;
    // A bus that goes takes nothing along.
    let buses: Api<ClusterEventBus> = Api::all(world.client.clone());
    buses.delete("depot", &DeleteParams::default()).await.unwrap();
    world.summary::<EventSource>("parcels", "Error").await;
    assert_eq!(world.handlers().await.len(), 2);
    // GAP-E02
    world.patch::<EventSource>("parcels", json!({"spec": {"cron": null, "kafka": null}})).await;
    eventually("its handlers go", || async { world.handlers().await.is_empty().then_some(()) }).await;
    assert_eq!(world.summary::<EventSource>("parcels", "Error").await.0, "ErrorConfiguration");
    end(running).await;
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn e22_e29_e30_sinks_by_reference_are_found_and_followed() {
    let world = World::new().await;
    world.install_api(&["serving.knative.dev"]).await;
    let running = start(&world, &[Which::Events]).await;
    let to = |api_version: &str, kind: &str, name: &str| json!({"sink": {"ref": {"apiVersion": api_version, "kind": kind, "name": name}}, "cron": {"tick": {"schedule": "@daily"}}});
    let cases = [
        ("by-function", to("core.openfunction.io/v1beta1", "Function", "receiver")),
        ("by-knative", to("serving.knative.dev/v1", "Service", "receiver")),
        ("by-service", to("v1", "Service", "receiver")),
    ];
    for (name, spec) in &cases {
        world.apply_object(&object("EventSource", name, spec.clone())).await;
        let message = eventually("it is told", || async {
            let (reason, message) = world.summary::<EventSource>(name, "Error").await;
            assert_eq!(reason, "ErrorGenerateComponent");
            message.ends_with("\"shop/receiver\" does not exist").then_some(message)
        });
        assert!(message.await.starts_with("spec.sink.ref: "));
    }
    assert!(world.handlers().await.is_empty());
    let url = |name: &str| format!("esw-{name}-cron-tick");
    // Nothing was built: its address counts all the same (BUG-E29).
    world.apply_object(&function("receiver", "registry.example.com/a:v1")).await;
    let (_, message) = eventually("the function has no address", || async {
        let told = world.summary::<EventSource>("by-function", "Error").await;
        told.1.ends_with("has no internal address yet").then_some(told)
    })
    .await;
    assert!(message.contains("\"shop/receiver\""));
    for address in ["http://receiver.shop.svc.cluster.local/", "http://elsewhere/"] {
        let status =
            json!({"addresses": [{"type": "External", "value": "http://x"}, {"type": "Internal", "value": address}]});
        patch_status(&world.api::<Function>(), "receiver", status).await;
        world.is_told(&url("by-function"), "/sink", &json!(address)).await;
    }
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "receiver"}, "spec": {"ports": [{"port": 8080}]}});
    world.apply_object(&service).await;
    world.is_told(&url("by-service"), "/sink", &json!("http://receiver.shop.svc.cluster.local:8080")).await;
    let knative = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "receiver"},
        "spec": {"template": {"spec": {"containers": [{"image": "a"}]}}}});
    world.apply_object(&knative).await;
    let services = api_of(&world.client, &knative, FUNCTIONS).await;
    for address in ["http://receiver.shop.example.com", "http://moved.shop.example.com"] {
        patch_status(&services, "receiver", json!({"url": "http://ignored", "address": {"url": address}})).await;
        world.is_told(&url("by-knative"), "/sink", &json!(address)).await;
    }
    // What goes takes nothing along.
    services.delete("receiver", &DeleteParams::default()).await.unwrap();
    world.summary::<EventSource>("by-knative", "Error").await;
    assert!(world.told_config(&url("by-knative")).await.is_some());
    // A kind that nobody serves.
    world.apply_object(&object("EventSource", "by-nobody", to("example.com/v1", "Nothing", "a"))).await;
    let (_, message) = eventually("it is told", || async {
        let told = world.summary::<EventSource>("by-nobody", "Error").await;
        told.1.contains("serves no kind").then_some(told)
    })
    .await;
    assert_eq!(message, "spec.sink.ref: the cluster serves no kind \"Nothing\" of \"example.com/v1\"");
    end(running).await;
}

fn trigger(namespace: Option<&str>) -> Value {
    let input = json!({"namespace": namespace, "eventSource": "parcels", "event": "scan"});
    json!({"eventBus": "depot", "inputs": {"scan": input}, "subscribers": [{"condition": "scan", "topic": "totals"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn ev29_an_input_of_another_namespace_needs_a_grant() {
    let world = World::new().await;
    let running = start(&world, &[Which::Events]).await;
    world.apply_object(&object("EventBus", "depot", jetstream("nats://nats:4222"))).await;
    world.apply_object(&object("Trigger", "totals", trigger(Some("infra")))).await;
    let (reason, message) = world.summary::<Trigger>("totals", "Error").await;
    assert_eq!(reason, "RefNotPermitted");
    assert!(message.contains("the cluster serves no referencegrants"), "{message}");
    world.install_gateway_api().await;
    let grant = json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": {"name": "totals", "namespace": "infra"},
        "spec": {"from": [{"group": "events.openfunction.io", "kind": "Trigger", "namespace": FUNCTIONS}],
            "to": [{"group": "events.openfunction.io", "kind": "EventSource", "name": "parcels"}]}});
    world.apply_object(&grant).await;
    world.is_told("t-totals", "/inputs/scan/topic", &json!("infra-parcels-scan")).await;
    // It is not there, which keeps nobody from waiting for it.
    let told = eventually("it is told", || world.note::<Trigger>("totals", "InputsFound")).await;
    assert_eq!(told.message.as_deref(), Some("spec.inputs[scan]: EventSource \"infra/parcels\" does not exist"));
    let mut source =
        object("EventSource", "parcels", json!({"eventBus": "depot", "cron": {"scan": {"schedule": "@daily"}}}));
    source["metadata"]["namespace"] = json!("infra");
    world.apply_object(&source).await;
    eventually("it is found", || async {
        world.note::<Trigger>("totals", "InputsFound").await.is_none().then_some(())
    })
    .await;
    // What is forbidden ends.
    api_of(&world.client, &grant, "infra").await.delete("totals", &DeleteParams::default()).await.unwrap();
    eventually("the handler goes", || async { world.handlers().await.is_empty().then_some(()) }).await;
    assert_eq!(world.summary::<Trigger>("totals", "Error").await.0, "RefNotPermitted");
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e11_two_event_sources_that_meet_on_a_topic_are_told_at_the_younger() {
    let world = World::new().await;
    let running = start(&world, &[Which::Events]).await;
    world.apply_object(&object("EventBus", "depot", jetstream("nats://nats:4222"))).await;
    let spec = |event: &str| json!({"eventBus": "depot", "cron": {event: {"schedule": "@daily"}}});
    world.apply_object(&object("EventSource", "a", spec("b-c"))).await;
    world.is_told("esw-a-cron-b-c", "/events/b-c/topic", &json!("shop-a-b-c")).await;
    // Of one second the name decides, as of an older one.
    world.apply_object(&object("EventSource", "a-b", spec("c"))).await;
    let told = eventually("the younger is told", || world.note::<EventSource>("a-b", "TopicConflict")).await;
    assert!(told.message.unwrap().starts_with("topic \"shop-a-b-c\" is that of EventSource \"shop/a\", too"));
    assert_eq!(world.note::<EventSource>("a", "TopicConflict").await, None);
    world.is_told("esw-a-b-cron-c", "/events/c/topic", &json!("shop-a-b-c")).await;
    world.api::<EventSource>().delete("a", &DeleteParams::default()).await.unwrap();
    eventually("it is alone", || async {
        world.note::<EventSource>("a-b", "TopicConflict").await.is_none().then_some(())
    })
    .await;
    end(running).await;
}

/// A handler as the original has made it (events §8.4), and a status that it has appended to for a while.
#[tokio::test(flavor = "multi_thread")]
async fn e23_e31_what_the_original_has_made_is_taken_over() {
    let world = World::new().await;
    let _stand_in = StandIn::start(&world);
    let nats = json!({"natsStreaming": {"natsURL": "nats://nats:4222", "natsStreamingClusterID": "stan", "subscriptionType": "queue", "durableSubscriptionName": "d"}});
    world.apply_object(&object("EventBus", "depot", nats)).await;
    let spec = json!({"eventBus": "depot", "kafka": {"scan": kafka()}});
    world.apply_object(&object("EventSource", "parcels", spec)).await;
    let source = world.api::<EventSource>().get("parcels").await.unwrap();
    let owner = source.controller_owner_ref(&()).unwrap();
    let component =
        json!({"type": "bindings.kafka", "version": "v1", "metadata": [{"name": "brokers", "value": "kafka:9092"}]});
    let handler: Function = serde_json::from_value(json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function",
        "metadata": {"name": "esw-parcels-kafka-scan", "ownerReferences": [owner],
            "labels": {"openfunction.io/managed": "true", "controlled-by-eventsource": "parcels"}},
        "spec": {"version": "v1.0.0", "image": "openfunction/eventsource-handler:v4", "serving": {
            "triggers": {"dapr": [{"name": "esc-kafka-scan", "type": "bindings.kafka", "inputName": "esi-scan"}]},
            "outputs": [{"dapr": {"name": "ebfes-parcels", "type": "pubsub.natsstreaming", "topic": "shop-parcels-scan", "outputName": "ebo-parcels"}}],
            "bindings": {"esc-kafka-scan": component}, "params": {"CONFIG": "eyJsb2dMZXZlbCI6IjEifQ=="},
            "scaleOptions": {"keda": {"scaledObject": {"pollingInterval": 3}}}}}}))
    .unwrap();
    let as_the_original = PostParams { field_manager: Some("manager".to_owned()), ..PostParams::default() };
    world.api::<Function>().create(&as_the_original, &handler).await.unwrap();
    let old =
        |type_: &str| json!({"timestamp": "2023-05-01T10:00:00+08:00", "type": type_, "status": "True", "reason": "x"});
    // Without the CRD's rule that there is one of each, as then.
    let before: EventsStatus =
        serde_json::from_value(json!({"conditions": [old("Pending"), old("Error"), old("Ready")]})).unwrap();
    patch_status(&world.api::<EventSource>(), "parcels", json!(before)).await;

    let running = start(&world, EVERY).await;
    world.summary::<EventSource>("parcels", "Ready").await;
    let handler = world.function("esw-parcels-kafka-scan").await;
    let serving = handler.spec.serving.unwrap();
    assert!(handler.spec.image.contains("/event-source:"), "{}", handler.spec.image);
    let triggers = serving.triggers.unwrap();
    assert!(
        serving.bindings.is_empty()
            && serving.outputs.is_empty()
            && triggers.dapr.is_empty()
            && triggers.http.is_some()
    );
    assert_eq!(serving.scale_options.unwrap().keda, None, "what only the original wanted has gone");
    let mapped = world.note::<EventBus>("depot", "Mapped").await.unwrap();
    assert_eq!(mapped.reason.as_deref(), Some("NatsStreamingToJetStream"));
    end(running).await;
}

/// Q31: by an annotation handlers are those of Dapr, with the names of the original.
#[tokio::test(flavor = "multi_thread")]
async fn ev16_handlers_are_those_of_dapr_while_the_annotation_says_so() {
    let world = World::new().await;
    world.install_api(&["dapr.io", "keda.sh"]).await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world, EVERY).await;
    world.apply_object(&object("EventBus", "depot", jetstream("nats://nats:4222"))).await;
    let sink = json!({"uri": "http://127.0.0.1"});
    let of_kafka = json!({"eventBus": "depot", "sink": sink, "kafka": {"scan": kafka()}});
    let mut source = object("EventSource", "parcels", of_kafka);
    let subscribers = json!([{"condition": "scan", "sink": sink}, {"condition": "scan", "topic": "totals"}]);
    let inputs = json!({"scan": {"eventSource": "parcels", "event": "scan"}});
    let mut trigger =
        object("Trigger", "totals", json!({"eventBus": "depot", "inputs": inputs, "subscribers": subscribers}));
    let component = json!({"apiVersion": "dapr.io/v1alpha1", "kind": "Component"});
    let components = api_of(&world.client, &component, "shop").await;
    let there = async || -> BTreeSet<String> {
        let names = components.list_metadata(&ListParams::default()).await.unwrap().items;
        // Without the hash of what they are.
        names.iter().map(|of| of.name_any().rsplit_once('-').unwrap().0.to_owned()).collect()
    };
    for object in [&mut source, &mut trigger] {
        object["metadata"]["annotations"] = json!({"openfunction.io/event-handler": "dapr"});
        world.apply_object(object).await;
    }
    world.summary::<EventSource>("parcels", "Ready").await;
    world.summary::<Trigger>("totals", "Ready").await;
    let expected = [
        "esw-parcels-kafka-scan-bindings-esc-kafka-scan",
        "esw-parcels-kafka-scan-bindings-ts-parcels-shop",
        "esw-parcels-kafka-scan-pubsub-ebfes-parcels",
        "t-totals-bindings-ts-totals-shop",
        "t-totals-pubsub-ebft-totals",
    ];
    assert_eq!(there().await, expected.map(str::to_owned).into());
    let images = async || {
        let functions = ["esw-parcels-kafka-scan", "t-totals"].map(|name| world.function(name));
        futures::future::join_all(functions).await.into_iter().map(|of| of.spec.image).collect::<Vec<_>>()
    };
    assert_eq!(images().await, ["openfunction/eventsource-handler:v4", "openfunction/trigger-handler:v4"]);

    // One that is neither takes nothing away.
    let said = |value: Value| json!({"metadata": {"annotations": {"openfunction.io/event-handler": value}}});
    world.patch::<EventSource>("parcels", said(json!("knative"))).await;
    let (reason, message) = eventually("it is told", || async {
        let told = world.api::<EventSource>().get("parcels").await.unwrap().told();
        let last = told.last().filter(|last| last.type_ == "Error")?;
        Some((last.reason.clone()?, last.message.clone()?))
    })
    .await;
    assert_eq!(reason, "ErrorConfiguration");
    assert!(message.starts_with("metadata.annotations[openfunction.io/event-handler]: "), "{message}");
    assert_eq!(there().await.len(), expected.len());

    world.patch::<EventSource>("parcels", said(Value::Null)).await;
    world.patch::<Trigger>("totals", said(json!("native"))).await;
    eventually("the components have gone", || async { there().await.is_empty().then_some(()) }).await;
    world.is_told("t-totals", "/subscribers/1/topic", &json!("totals")).await;
    world.is_told("esw-parcels-kafka-scan", "/events/scan/topic", &json!("shop-parcels-scan")).await;
    world.summary::<EventSource>("parcels", "Ready").await;
    let handler = world.function("esw-parcels-kafka-scan").await.spec.serving.unwrap();
    assert!(handler.outputs.is_empty() && handler.pubsub.is_empty() && handler.workload_type.is_none());
    end(running).await;
}

/// The manifests of the mission's chapter on events: each makes what it did, whether its brokers are there or not.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_events_become_handlers() {
    let world = World::new().await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world, EVERY).await;
    let documents =
        examples::manifests().into_iter().flat_map(|file| documents(&fs::read_to_string(file).unwrap()).unwrap());
    let documents = documents.collect::<Vec<_>>();
    for document in documents.iter().filter(|of| of["apiVersion"] == "events.openfunction.io/v1alpha1") {
        world.apply_object(document).await;
    }
    for source in ["parcel-events", "dock-north", "dock-south"] {
        world.summary::<EventSource>(source, "Ready").await;
    }
    for trigger in ["parcel-trigger", "dock-trigger"] {
        world.summary::<Trigger>(trigger, "Ready").await;
    }
    world
        .is_told(
            "t-dock-trigger",
            "/subscribers/0/sink",
            &json!("http://openfunction.io.svc.cluster.local/default/parcel-sink"),
        )
        .await;
    world.is_told("t-dock-trigger", "/subscribers/1/topic", &json!("parcel-totals")).await;
    world.is_told("esw-dock-north-kafka-arrival", "/bus/jetStream/url", &json!("nats://depot-nats.default:4222")).await;
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_of_events_is_accepted_as_it_is_and_runs() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world, &[EVERY, &[Which::Gateway]].concat()).await;
    let folder = e2e::root().join("docs/samples/events");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 13, "{files:?}");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "warehouse"}});
    world.apply_object(&namespace).await;
    // A bus for all; another test looks for brokers.
    for file in files {
        let mut apply = world.server.kubectl();
        apply.args(["apply", "--validate=strict", "--server-side", "--force-conflicts", "-n", FUNCTIONS, "-f"]);
        let output = apply.arg(&file).output().unwrap();
        // A grant is for a namespace of its own.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_elsewhere = said.contains("the namespace from the provided object");
        assert!(output.status.success() || is_elsewhere, "{}: {said}", file.display());
        for document in documents(&fs::read_to_string(&file).unwrap()).unwrap() {
            if document["kind"] == "EventSource" {
                world.summary::<EventSource>(document["metadata"]["name"].as_str().unwrap(), "Ready").await;
            }
        }
    }
    world.summary::<Trigger>("show", "Ready").await;
    end(running).await;
}
