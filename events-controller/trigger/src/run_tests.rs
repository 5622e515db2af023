use axum::{Router, extract::State, http::HeaderMap, routing::post};
use event_bus::{memory::Memory, wire::Mode};

use super::*;

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1/";

fn config(subscriber: &str) -> Config {
    let inputs = r#""a": {"topic": "a"}, "b": {"topic": "b"}, "old": {"topic": "old", "contentMode": "inner"}"#;
    let bus = r#"{"jetStream": {"url": ""}}"#;
    let text = format!(
        r#"{{"name": "n-t", "bus": {bus}, "inputs": {{{inputs}}}, "fromTheBeginning": true, "subscribers": [{subscriber}]}}"#
    );
    serde_json::from_str(&text).unwrap()
}

async fn publish(bus: &Memory, topic: &str, id: &str) {
    let event = Event { id: id.to_owned(), source: "s".to_owned(), type_: "t".to_owned(), ..Event::default() };
    bus.publish(topic, &event, Mode::Structured, id).await.unwrap();
}

/// Runs a Trigger until `until`, and ends it as `kill -9` does.
async fn run_until(bus: &Memory, subscriber: &str, until: impl AsyncFn(&Metrics)) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = Arc::new(Metrics::new("openfunction_trigger").unwrap());
    let (bus, config, of_run) = (Arc::new(bus.clone()), config(subscriber), metrics.clone());
    let client = event_delivery::deliver::client().unwrap();
    let running = tokio::spawn(async move { run(&config, bus, client, of_run, CancellationToken::new()).await });
    tokio::time::timeout(Duration::from_secs(30), until(&metrics)).await.expect("it comes about");
    // What it has to tell the bus, it has told.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
}

async fn received(metrics: &Metrics, number: u64) {
    let line = format!("openfunction_trigger_events_received_total{{redelivered=\"false\"}} {number}\n");
    while !metrics.text().contains(&line) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The first event of a topic, as its identifier.
async fn first(bus: &Memory, topic: &str) -> String {
    let subscription = Subscription {
        topic: topic.to_owned(),
        group: "check".to_owned(),
        in_flight: 1,
        start: Start::All,
        redelivery: Duration::from_secs(1),
        owner: Owner::Bus,
    };
    let mut consumer = bus.subscribe(&subscription).await.unwrap();
    consumer.next().await.unwrap().event().unwrap().id
}

#[tokio::test]
async fn a_match_that_was_not_delivered_is_met_again_after_a_restart() {
    let bus = Memory::default();
    publish(&bus, "a", "a1").await;
    publish(&bus, "b", "b1").await;
    let nowhere = format!(r#"{{"condition": "a && b", "sink": "{NOWHERE}"}}"#);
    run_until(&bus, &nowhere, async |metrics| received(metrics, 2).await).await;
    run_until(&bus, r#"{"condition": "a && b", "topic": "out"}"#, async |_| drop(first(&bus, "out").await)).await;
}

#[tokio::test]
async fn what_was_delivered_is_not_given_again_and_what_is_remembered_is() {
    let bus = Memory::default();
    publish(&bus, "a", "a1").await;
    let out = r#"{"condition": "a", "topic": "out"}, {"condition": "a && b", "topic": "both"}"#;
    run_until(&bus, out, async |_| assert_eq!(first(&bus, "out").await, "a1")).await;
    publish(&bus, "b", "b1").await;
    // The first one was remembered for the second subscriber, and is given again. Whichever comes last is sent.
    run_until(&bus, r#"{"condition": "a && b", "topic": "both"}"#, async |_| drop(first(&bus, "both").await)).await;
    publish(&bus, "b", "b2").await;
    let late = r#"{"condition": "a || b", "topic": "late"}"#;
    run_until(&bus, late, async |_| assert_eq!(first(&bus, "late").await, "b2")).await;
}

#[tokio::test]
async fn what_is_no_event_goes_to_the_dead_letters_once() {
    let bus = Memory::default();
    bus.publish_raw("a", "nonsense");
    publish(&bus, "a", "a1").await;
    let two = r#"{"condition": "a", "topic": "out", "deadLetterTopic": "dead"},
        {"condition": "a", "topic": "out", "deadLetterTopic": "dead"}, {"condition": "b", "topic": "out"}"#;
    run_until(&bus, two, async |_| drop((first(&bus, "dead").await, first(&bus, "out").await))).await;
    let dead = bus.events("dead");
    let [letter] = &dead[..] else { panic!("{dead:?}") };
    assert_eq!((&*letter.type_, letter.data.as_deref()), (MALFORMED, Some(&b"nonsense"[..])));
    assert!(letter.attributes["knativeerrordata"].to_string().contains("no event in the JSON format"));
}

#[tokio::test]
async fn what_has_one_key_is_delivered_in_its_order_and_waits_for_nothing_else() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let answer = |State(seen): State<Arc<std::sync::Mutex<Vec<String>>>>, headers: HeaderMap| async move {
        let id = headers["ce-id"].to_str().unwrap().to_owned();
        // The first of the key is slow.
        if id == "k1" {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        seen.lock().unwrap().push(id);
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sink = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(answer)).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let bus = Memory::default();
    for id in ["k1", "k2", "other", "k3"] {
        let mut event = Event { id: id.to_owned(), source: "s".to_owned(), type_: "t".to_owned(), ..Event::default() };
        if id != "other" {
            event.attributes.insert("partitionkey".to_owned(), "k".into());
        }
        bus.publish("a", &event, Mode::Structured, id).await.unwrap();
    }
    let all = async |_: &Metrics| {
        while seen.lock().unwrap().len() < 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    run_until(&bus, &format!(r#"{{"condition": "a", "sink": "{sink}"}}"#), all).await;
    assert_eq!(*seen.lock().unwrap(), ["other", "k1", "k2", "k3"]);
}

#[tokio::test]
async fn how_many_events_wait_is_a_metric() {
    let bus = Memory::default();
    for id in ["a1", "a2"] {
        publish(&bus, "a", id).await;
    }
    let waits = async |metrics: &Metrics| {
        while !metrics.text().contains("openfunction_trigger_lag_events{origin=\"a\"} ") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    run_until(&bus, r#"{"condition": "a", "topic": "out"}"#, waits).await;
}

#[tokio::test]
async fn ev53_events_of_the_original_are_read_and_written_where_that_is_said() {
    let bus = Memory::default();
    let event = Event {
        id: "1".to_owned(),
        source: "s".to_owned(),
        type_: "t".to_owned(),
        content_type: Some("text/csv".to_owned()),
        data: Some("a,b".into()),
        ..Event::default()
    };
    bus.publish("old", &event, Mode::Inner, "1").await.unwrap();
    let plain = r#"{"condition": "old", "topic": "plain"}"#;
    let inner = r#"{"condition": "old", "topic": "inner", "delivery": {"contentMode": "inner"}}"#;
    run_until(&bus, &format!("{plain}, {inner}"), async |_| {
        first(&bus, "plain").await;
        first(&bus, "inner").await;
    })
    .await;
    assert_eq!(bus.events("plain"), std::slice::from_ref(&event));
    assert_ne!(bus.events("inner"), std::slice::from_ref(&event));
    assert_eq!(bus.events("inner").into_iter().map(unwrapped).collect::<Vec<_>>(), [event]);
}
