//! NATS with JetStream.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::Arc,
    time::Duration,
};

use async_nats::jetstream::consumer::{DeliverPolicy, push};
use axum::{Router, http::HeaderMap, routing::post};
use e2e::api_server::free_ports;
use event_bus::{
    cloudevent::Event,
    jetstream::{Config, JetStream},
    wire::{Mode, Protocol},
};
use serde_json::json;

use crate::{
    programs::nats,
    stories::{self, Broker, Origin},
    support::{eventually, source, traced_source, traced_trigger, until_ready},
};

/// NATS that syncs each write, so that `kill -9` of it takes nothing that it has confirmed.
pub async fn broker() -> Broker {
    let (program, url) = nats("always");
    let config = Config { url: url.clone(), ..Config::default() };
    let bus = JetStream::connect(&config).await.unwrap();
    Broker { program, config: json!({"jetStream": {"url": url}}), bus: Arc::new(bus) }
}

#[tokio::test(flavor = "multi_thread")]
async fn ev23_no_event_is_lost_whoever_is_killed() {
    stories::none_is_lost(broker().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ev31_what_a_condition_remembers_survives_the_end_of_its_process() {
    stories::conditions_remember(broker().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ev39_ev40_what_a_sink_refuses_is_a_dead_letter_and_what_it_fails_is_not() {
    stories::dead_letters(broker().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ev44_a_sink_that_fails_is_late_and_is_down_gets_everything_once() {
    stories::a_bad_sink_gets_everything(broker().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_at_the_bus_and_not_in_memory() {
    stories::back_pressure(broker().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ev8_no_event_of_a_webhook_is_lost_whoever_is_killed() {
    // Another test may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let [port] = free_ports().unwrap();
    let (listens, client) = (format!("127.0.0.1:{port}"), reqwest::Client::new());
    let url = format!("http://{listens}/a");
    // Again until it is taken, as a sender has to.
    let send = move |event: Event| {
        let (client, url, message) = (client.clone(), url.clone(), Protocol::Http.encode(&event, Mode::Binary));
        async move {
            loop {
                let request = client.post(&url).body(message.body.clone());
                let request =
                    message.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
                if request.send().await.is_ok_and(|answer| answer.status() == 202) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    stories::none_is_lost_through_a_source(broker().await, Origin { from: json!({"webhook": {}}), listens, send })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ev3_two_replicas_of_a_schedule_give_each_event_once() {
    let broker = broker().await;
    let cron = json!({"topic": "n-s-tick", "from": {"cron": {"schedule": "@every 1s"}}});
    let config = json!({"name": "n-s", "source": "/s", "bus": broker.config, "events": {"tick": cron}});
    let ((_one, first), (_two, second)) = (source(&config), source(&config));
    until_ready(first).await;
    until_ready(second).await;
    let mut consumer = broker.bus.subscribe(&stories::all_of("n-s-tick")).await.unwrap();
    let mut times = BTreeSet::new();
    for _ in 0..4 {
        let delivery = consumer.next().await.unwrap();
        assert!(times.insert(delivery.event().unwrap().id), "it comes twice");
        delivery.handled().await.unwrap();
    }
    for port in [first, second] {
        let url = format!("http://127.0.0.1:{port}/metrics");
        let line = "openfunction_eventsource_deliveries_total{outcome=\"delivered\"} ";
        let delivered = async || {
            let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
            let number = text.lines().find_map(|text| text.strip_prefix(line))?;
            (number.parse::<u32>().unwrap() >= 3).then_some(())
        };
        eventually("both replicas work", delivered).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ev53_every_form_of_an_event_is_read() {
    stories::forms(broker().await, &[Mode::Binary, Mode::Structured, Mode::Inner]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_through_source_bus_trigger_and_sink() {
    let (endpoint, mut spans) = openfunction_telemetry::testing::collector().await.unwrap();
    let (sender, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let sink = Router::new().route("/", post(async move |headers: HeaderMap| drop(sender.send(headers))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, sink).await });
    let (broker, [port]) = (broker().await, free_ports().unwrap());
    let topic = "shop-source-a";
    let (_trigger, ready) = traced_trigger(
        &json!({"name": "shop-orders", "bus": broker.config, "inputs": {"a": {"topic": topic}},
            "subscribers": [{"condition": "a", "sink": url}]}),
        &endpoint,
    );
    until_ready(ready).await;
    let (_source, ready) = traced_source(
        &json!({"name": "shop-source", "source": "/s", "bus": broker.config, "webhookAddress": format!("127.0.0.1:{port}"),
            "events": {"a": {"topic": topic, "from": {"webhook": {}}}}}),
        &endpoint,
    );
    until_ready(ready).await;
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let request = reqwest::Client::new().post(format!("http://127.0.0.1:{port}/a"));
    let answer = request.header("traceparent", format!("00-{trace}-{parent}-01")).body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let came = asked.recv().await.unwrap();
    let mut known = BTreeMap::new();
    while known.len() < 4 {
        let span = spans.recv().await.unwrap();
        assert_eq!(hex(&span.trace_id), trace);
        known.insert(span.name, (hex(&span.parent_span_id), hex(&span.span_id)));
    }
    let mut last = parent.to_owned();
    for name in ["receive a", "send shop-source-a", "process shop-source-a", &format!("send {url}")] {
        let (parent, own) = known[name].clone();
        assert_eq!(parent, last, "{name}: {known:?}");
        last = own;
    }
    for header in ["traceparent", "ce-traceparent"] {
        assert_eq!(came[header], format!("00-{trace}-{last}-01"));
    }
}

/// Dapr looks for a topic once, and refuses a consumer with other limits.
#[tokio::test(flavor = "multi_thread")]
async fn for_those_who_do_not_see_to_it_topics_are_made_and_limits_of_consumers_changed() {
    let (_program, url) = nats("always");
    let keep = |redelivery: &str| {
        let told = json!({"bus": {"jetStream": {"url": url}}, "topics": ["a.b", "read"], "consumers": {"read": "reader"},
            "inFlight": 7, "redelivery": redelivery});
        let mut program = Command::new(env!("CARGO_BIN_EXE_event-source-under-test"));
        let ended = program.env("KEEP_TOPICS", told.to_string()).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    };
    // Nobody reads yet.
    keep("5s");
    let context = async_nats::jetstream::new(async_nats::connect(&url).await.unwrap());
    assert_eq!(context.stream_by_subject("a.b").await.unwrap(), "a_b");
    let stream = context.get_stream("read").await.unwrap();
    let reader = push::Config {
        durable_name: Some("reader".to_owned()),
        deliver_subject: "inbox".to_owned(),
        deliver_group: Some("reader".to_owned()),
        deliver_policy: DeliverPolicy::New,
        ..push::Config::default()
    };
    stream.create_consumer(reader).await.unwrap();
    keep("9s");
    let config = stream.consumer_info("reader").await.unwrap().config;
    assert_eq!((config.max_ack_pending, config.ack_wait), (7, Duration::from_secs(9)));
    assert_eq!((config.deliver_policy, config.deliver_subject.as_deref()), (DeliverPolicy::New, Some("inbox")));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
