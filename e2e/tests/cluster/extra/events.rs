//! The manifests of OpenFunction 1.x for events, with the addresses of real brokers in the place of theirs.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use e2e::{
    cache::run,
    local::{git::NAMESPACE, registry::OPEN},
    parts::{FUNCTIONS_FRAMEWORK, documents},
};
use event_bus::{
    bus::{Bus, Owner, Start, Subscription},
    jetstream::JetStream,
};
use openfunction_proto::events::HANDLER;
use serde_json::json;

use super::brokers::{in_pod, unique};
use crate::{
    functions::events::{Events, NATS, Receiver, object},
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

/// Sends lines to Kafka.
fn producer(events: &Events, topic: &str) -> Child {
    let mut kafka = events.namespace.cluster.kubectl();
    kafka.args(["-n", NAMESPACE, "exec", "-i", "deployment/kafka", "--", "kafka"]);
    let topic = format!("scans-{topic}");
    let tool = ["org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", "localhost:9092", "--topic", &topic];
    kafka.args(tool).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

/// Sends a record to Kafka.
fn produce(events: &Events, topic: &str, value: &str) {
    let mut child = producer(events, topic);
    child.stdin.take().unwrap().write_all(format!("{value}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// What is on a topic of the bus, until that is enough.
async fn on_the_bus(events: &Events, topic: &str, is_enough: impl Fn(&[String]) -> bool) -> Vec<String> {
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
    while !is_enough(&bodies) {
        let delivery =
            tokio::time::timeout(crate::support::DEADLINE, consumer.next()).await.expect("an event comes").unwrap();
        let event = delivery.event().unwrap();
        bodies.push(String::from_utf8_lossy(&event.data.unwrap_or_default()).into_owned());
        delivery.handled().await.unwrap();
    }
    bodies
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
    assert_eq!(on_the_bus(&events, &format!("totals-{topic}"), |got| got.len() == 1).await, ["a parcel"]);
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
    let got = on_the_bus(&events, &format!("totals-{topic}"), |got| got.len() == 2).await;
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

/// The objects of a manifest, whose handlers shall be those of Dapr.
fn apply_for_dapr(events: &Events, manifest: &str) {
    for mut object in documents(manifest).unwrap() {
        object["metadata"]["annotations"] = json!({HANDLER: "dapr"});
        events.namespace.apply(&object.to_string());
    }
}

/// Q31: the manifests of the original with handlers to the contract of the original's, beside one of ours.
#[tokio::test(flavor = "multi_thread")]
async fn ev16_handlers_of_dapr_carry_events_from_kafka_and_a_clock_to_a_sink_and_a_topic() {
    let (events, receiver, topic) = (Events::new("events-dapr"), Receiver::start().await, unique("dapr"));
    let sink = receiver.url("sink");
    produce(&events, &topic, "before");
    apply_for_dapr(&events, &compat("eventbus-and-eventsource", &topic, &sink));
    for manifest in ["two-eventsources", "trigger-two-conditions"] {
        apply_for_dapr(&events, &compat(manifest, &topic, &sink));
    }
    // Ours understands what those send.
    let ours = compat("trigger-one-condition", &topic, &sink).replace("totals-", "ours-");
    events.namespace.apply(&ours);
    for source in ["parcel-events", "dock-north", "dock-south"] {
        events.is_ready("eventsource", source);
    }
    for trigger in ["parcel-trigger", "dock-trigger"] {
        events.is_ready("trigger", trigger);
    }
    let images = events.namespace.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}"]);
    assert!(images.contains("openfunction/trigger-handler:v4"), "{images}");
    eventually("the clock calls the sink", || (!receiver.got("sink").is_empty()).then_some(()));
    produce(&events, &topic, "a parcel");
    let has_it = |got: &[String]| got.iter().any(|body| body == "a parcel");
    on_the_bus(&events, &format!("totals-{topic}"), has_it).await;
    assert_eq!(on_the_bus(&events, &format!("ours-{topic}"), |got| got.len() == 1).await, ["a parcel"]);
    // Dapr would refuse a consumer that exists with other limits.
    let limits = json!({"spec": {"natsStreaming": {"ackWaitTime": "20s", "maxInFlight": 5}}});
    events.namespace.kubectl(&["patch", "eventbus", "depot", "--type=merge", "-p", &limits.to_string()]);
    let told = ["get", "fn", "t-dock-trigger", "-o", "jsonpath={.spec.serving.pubsub}"];
    eventually("handlers are told", || events.namespace.kubectl(&told).contains("20000ms").then_some(()));
    events.is_ready("trigger", "dock-trigger");
    events.namespace.kubectl(&["rollout", "status", "deployment/t-dock-trigger-dapr-proxy", "--timeout=60s"]);
    let already = receiver.got("sink").len();
    eventually("the clock goes on", || (receiver.got("sink").len() > already + 1).then_some(()));
    let components = events.namespace.kubectl(&["get", "components.dapr.io", "-o", "name"]);
    // The rest of those that are too long is a hash.
    for part in [
        "esw-dock-north-kafka-arrival-bindings-esc-kaf",
        "esw-dock-north-kafka-arrival-pubsub-ebfes-dock-north-",
        "esw-dock-south-cron-arrival-bindings-esc-cron-",
        "t-dock-trigger-bindings-ts-dock-trigger-",
        "t-dock-trigger-pubsub-ebft-dock-trigger-",
    ] {
        assert!(components.contains(part), "{part}: {components}");
    }
}

/// A message of MQTT goes by a bus on Kafka, and by one on Redis Streams.
#[tokio::test(flavor = "multi_thread")]
async fn ev16_handlers_of_dapr_take_mqtt_and_know_the_other_buses() {
    let (events, receiver, topic) = (Events::new("events-buses"), Receiver::start().await, unique("buses"));
    let buses = [
        ("kafka", json!({"brokers": format!("kafka.{NAMESPACE}.svc.cluster.local:9092")})),
        ("redisStreams", json!({"url": format!("redis://redis.{NAMESPACE}.svc.cluster.local:6379")})),
    ];
    for (bus, of) in &buses {
        let name = bus.to_lowercase();
        events.apply("EventBus", &name, &json!({ *bus: of }));
        let subscriber = json!({"condition": "said", "sink": {"uri": receiver.url(&name)}});
        let inputs = json!({"said": {"eventSource": name, "event": "said"}});
        let trigger =
            object("Trigger", &name, &json!({"eventBus": name, "inputs": inputs, "subscribers": [subscriber]}));
        apply_for_dapr(&events, &trigger.to_string());
        let url = format!("tcp://mosquitto.{NAMESPACE}.svc.cluster.local:1883");
        let source = json!({"eventBus": name, "mqtt": {"said": {"url": url, "topic": topic}}});
        apply_for_dapr(&events, &object("EventSource", &name, &source).to_string());
        events.is_ready("trigger", &name);
        events.is_ready("eventsource", &name);
    }
    run(&mut in_pod("mosquitto", &["mosquitto_pub", "-q", "1", "-t", &topic, "-m", "a word"])).unwrap();
    for (bus, _) in buses {
        let got = || receiver.got(&bus.to_lowercase());
        eventually("it comes", || got().iter().any(|event| event.body == "a word").then_some(()));
    }
}

/// Numbers come all the time, while the handlers of both become those of Dapr, and ours again.
#[tokio::test(flavor = "multi_thread")]
async fn ev16_while_handlers_change_to_dapr_and_back_no_event_is_lost() {
    let (events, receiver, topic) = (Events::new("events-switch"), Receiver::start().await, unique("switch"));
    let kafka = json!({"brokers": format!("kafka.{NAMESPACE}.svc.cluster.local:9092"), "topic": format!("scans-{topic}"), "authRequired": false});
    produce(&events, &topic, "before");
    events.apply("EventBus", "depot", &json!({"jetStream": {"url": NATS}}));
    events.apply("EventSource", "parcels", &json!({"eventBus": "depot", "kafka": {"scan": kafka}}));
    let subscriber = json!({"condition": "scan", "sink": {"uri": receiver.url("sink")}});
    let inputs = json!({"scan": {"eventSource": "parcels", "event": "scan"}});
    events.apply("Trigger", "show", &json!({"eventBus": "depot", "inputs": inputs, "subscribers": [subscriber]}));
    let both = [("eventsource", "parcels"), ("trigger", "show")];
    for (kind, name) in both {
        events.is_ready(kind, name);
    }
    let (mut child, mut sent) = (producer(&events, &topic), 0);
    let stop = Arc::new(AtomicBool::new(false));
    let sending = {
        let (stop, mut input) = (stop.clone(), child.stdin.take().unwrap());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                writeln!(input, "{sent}").unwrap();
                sent += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            sent
        })
    };
    let expected = |handler: &str| if handler == "dapr" { "-handler:v4" } else { "/event-" };
    for handler in ["dapr", "native"] {
        for (kind, name) in both {
            events.namespace.kubectl(&["annotate", "--overwrite", kind, name, &format!("{HANDLER}={handler}")]);
            let function = if kind == "trigger" { "t-show" } else { "esw-parcels-kafka-scan" };
            let image = || events.namespace.kubectl(&["get", "fn", function, "-o", "jsonpath={.spec.image}"]);
            eventually("the handler is another", || image().contains(expected(handler)).then_some(()));
            events.is_ready(kind, name);
            let already = receiver.got("sink").len();
            eventually("events go on", || (receiver.got("sink").len() > already + 50).then_some(()));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let sent: usize = sending.join().unwrap();
    assert!(child.wait().unwrap().success());
    let numbers = 0..sent;
    eventually("every number has come", || {
        let got = bodies(&receiver);
        numbers.clone().all(|number| got.contains(&number.to_string())).then_some(())
    });
    println!("{sent} events, {} deliveries", receiver.got("sink").len());
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
