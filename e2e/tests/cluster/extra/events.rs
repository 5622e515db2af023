//! The manifests of OpenFunction 1.x for events, with the addresses of real brokers in the place of theirs.

use std::{collections::BTreeSet, fs, io::Write, process::Stdio};

use e2e::{
    local::{git::NAMESPACE, registry::OPEN},
    parts::FUNCTIONS_FRAMEWORK,
};
use event_bus::{
    bus::{Bus, Owner, Start, Subscription},
    jetstream::JetStream,
};
use serde_json::json;

use crate::{
    functions::events::{Events, NATS, Receiver},
    support::eventually,
};

/// A manifest of `docs/samples/compat`, for brokers that are there.
fn compat(file: &str, topic: &str, sink: &str) -> String {
    let text = fs::read_to_string(e2e::root().join(format!("docs/samples/compat/{file}.yaml"))).unwrap();
    let kafka = format!("kafka.{NAMESPACE}.svc.cluster.local:9092");
    [
        ("orders-kafka-kafka-bootstrap.default.svc.cluster.local:9092", kafka.as_str()),
        ("nats://depot-nats.default:4222", NATS),
        ("depot-stan.default.svc.cluster.local:8222", &format!("nats.{NAMESPACE}.svc.cluster.local:8222")),
        ("http://openfunction.io.svc.cluster.local/default/parcel-sink", sink),
        ("parcel-scans", &format!("scans-{topic}")),
        ("parcel-totals", &format!("totals-{topic}")),
        (
            "registry.example.com/acme/parcel-target:stable",
            &format!("{OPEN}/functions-framework/sub:{}", FUNCTIONS_FRAMEWORK.version),
        ),
    ]
    .into_iter()
    .fold(text, |text, (theirs, ours)| text.replace(theirs, ours))
}

/// Sends a record to Kafka.
fn produce(events: &Events, topic: &str, value: &str) {
    let mut kafka = events.namespace.cluster.kubectl();
    kafka.args(["-n", NAMESPACE, "exec", "-i", "deployment/kafka", "--", "kafka"]);
    let topic = format!("scans-{topic}");
    let tool = ["org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", "localhost:9092", "--topic", &topic];
    let mut child = kafka.args(tool).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{value}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// What is on a topic of the bus.
async fn on_the_bus(events: &Events, topic: &str, count: usize) -> Vec<String> {
    let address = events.namespace.cluster.get(&["service", "nats", "-n", NAMESPACE], 5).unwrap();
    let url = format!("nats://{}:4222", address["spec"]["clusterIP"].as_str().unwrap());
    let bus = JetStream::connect(&serde_json::from_value(json!({ "url": url })).unwrap()).await.unwrap();
    let subscription = Subscription {
        topic: topic.to_owned(),
        group: format!("test-{topic}"),
        in_flight: 16,
        start: Start::All,
        redelivery: std::time::Duration::from_secs(30),
        owner: Owner::Bus,
    };
    let mut consumer = bus.subscribe(&subscription).await.unwrap();
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let delivery =
            tokio::time::timeout(crate::support::DEADLINE, consumer.next()).await.expect("an event comes").unwrap();
        let event = delivery.event().unwrap();
        bodies.push(String::from_utf8_lossy(&event.data.unwrap_or_default()).into_owned());
        delivery.handled().await.unwrap();
    }
    bodies
}

fn unique(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

fn bodies(receiver: &Receiver) -> BTreeSet<String> {
    receiver.got("sink").into_iter().map(|event| event.body).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ev42_events_of_kafka_and_of_a_clock_call_a_sink() {
    let (events, receiver, topic) = (Events::new("events-sink"), Receiver::start().await, unique("sink"));
    let sink = receiver.url("sink");
    produce(&events, &topic, "before");
    events.namespace.apply(&compat("eventsource-kafka-sink", &topic, &sink));
    events.is_ready("eventsource", "parcel-events");
    produce(&events, &topic, "first");
    eventually("the record calls the sink", || bodies(&receiver).contains("first").then_some(()));
    // The same name, and a clock besides: it takes its place.
    events.namespace.apply(&compat("eventsource-two-kinds", &topic, &sink));
    events.is_ready("eventsource", "parcel-events");
    produce(&events, &topic, "second");
    eventually("both call the sink", || {
        let got = receiver.got("sink");
        let is_clock = |body: &str| body.is_empty();
        (bodies(&receiver).contains("second") && got.iter().any(|event| is_clock(&event.body))).then_some(())
    });
    let functions = events.namespace.kubectl(&["get", "fn", "-o", "name"]);
    let names: BTreeSet<_> = functions.lines().filter_map(|line| line.split('/').nth(1)).collect();
    assert_eq!(names, ["esw-parcel-events-cron-scan-late", "esw-parcel-events-kafka-scan-late"].into());
    assert!(!bodies(&receiver).contains("before"), "it begins with what comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn ev19_ev22_ev31_the_bus_of_the_original_its_trigger_and_that_of_the_cluster() {
    let (events, receiver, topic) = (Events::new("events-bus"), Receiver::start().await, unique("bus"));
    let sink = receiver.url("sink");
    // A topic that does not exist is waited for.
    produce(&events, &topic, "before");
    events.namespace.apply(&compat("eventbus-and-eventsource", &topic, &sink));
    events.namespace.apply(&compat("trigger-one-condition", &topic, &sink));
    events.is_ready("eventsource", "parcel-events");
    events.is_ready("trigger", "parcel-trigger");
    produce(&events, &topic, "a parcel");
    assert_eq!(on_the_bus(&events, &format!("totals-{topic}"), 1).await, ["a parcel"]);
    // Two sources with one event name; a condition on one, and one on both.
    events.namespace.apply(&compat("two-eventsources", &topic, &sink));
    events.namespace.apply(&compat("trigger-two-conditions", &topic, &sink));
    for source in ["dock-north", "dock-south"] {
        events.is_ready("eventsource", source);
    }
    events.is_ready("trigger", "dock-trigger");
    eventually("the clock calls the sink", || (!receiver.got("sink").is_empty()).then_some(()));
    produce(&events, &topic, "a second parcel");
    // The one Trigger has it from Kafka, the other when the clock ticks as well: whichever comes later is sent.
    let got = on_the_bus(&events, &format!("totals-{topic}"), 2).await;
    assert!(got.contains(&"a second parcel".to_owned()), "{got:?}");
    // Without a bus of the namespace that of the cluster counts.
    let mut cluster_bus = compat("clustereventbus", &topic, &sink).replace("depot", "depot-of-all");
    cluster_bus = cluster_bus.replace(&NATS.replace("depot", "depot-of-all"), NATS);
    events.namespace.apply(&cluster_bus);
    let by_the_cluster = compat("trigger-one-condition", &topic, &sink)
        .replace("parcel-trigger", "other")
        .replace("\"depot\"", "\"depot-of-all\"");
    events.namespace.apply(&by_the_cluster);
    events.is_ready("trigger", "other");
    events.namespace.kubectl(&["delete", "clustereventbus", "depot-of-all"]);
    events.tells("trigger", "other", "Error", "cannot retrieve eventBus or clusterEventBus");
}

/// TR15, EV43: an async function on a topic of the bus, with the component and the scaler that the original gave it.
#[tokio::test(flavor = "multi_thread")]
async fn ev43_an_async_function_reads_a_topic_of_the_bus_and_is_scaled_by_what_waits() {
    let (events, topic) = (Events::new("events-target"), unique("target"));
    produce(&events, &topic, "{}");
    for manifest in ["eventbus-and-eventsource", "trigger-one-condition"] {
        events.namespace.apply(&compat(manifest, &topic, ""));
    }
    events.is_ready("trigger", "parcel-trigger");
    events.is_ready("eventsource", "parcel-events");
    events.namespace.apply(&compat("target-natsstreaming-stan", &topic, ""));
    events.namespace.kubectl(&["wait", "--for=condition=Ready", "fn/parcel-target", "--timeout=180s"]);
    produce(&events, &topic, "{\"parcel\": 1}");
    // It may have been woken for it, and sleep again: what it has said is kept.
    let mut said = String::new();
    eventually("the function has it", || {
        let selector = "--selector=openfunction.io/function=parcel-target,openfunction.io/serving";
        let mut log =
            events.namespace.command(&["logs", selector, "--container=function", "--tail=-1", "--ignore-errors"]);
        said += &String::from_utf8_lossy(&log.output().unwrap().stdout);
        said.lines().any(|line| line.contains("pubsub - Data: ") && line.contains("parcel")).then_some(())
    });
    let scalers =
        events.namespace.kubectl(&["get", "scaledobjects", "-o", "jsonpath={.items[*].spec.triggers[*].type}"]);
    assert_eq!(scalers.trim(), "nats-jetstream");
}
