use std::{sync::Mutex, time::Duration};

use event_bus::{
    bus::{Error, Receipt},
    memory::Memory,
    wire::{Message, Protocol},
};
use event_delivery::deliver::client;
use serde_json::{Value, json};

use super::*;

fn config(events: Value) -> Config {
    let bus = json!({"jetStream": {"url": ""}});
    serde_json::from_value(json!({"name": "n-s", "source": "/s", "bus": bus, "events": events})).unwrap()
}

#[tokio::test]
async fn ev3_a_schedule_gives_events_until_it_shall_stop() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = config(json!({"tick": {"topic": "n-s-tick", "from": {"cron": {"schedule": "@every 1s"}}}}));
    let (bus, stop) = (Memory::default(), CancellationToken::new());
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let (of_run, until) = (Some(Arc::new(bus.clone()) as Arc<dyn Bus>), stop.clone());
    let running = tokio::spawn(async move { run(&config, of_run, client().unwrap(), metrics, until).await });
    while bus.events("n-s-tick").len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    running.await.unwrap().unwrap();
    let events = bus.events("n-s-tick");
    assert_eq!((&*events[0].source, &*events[0].type_), ("/s#tick", "io.openfunction.eventsource.cron"));
    assert_eq!(events[0].attributes["time"].to_string(), events[0].id);
    assert_ne!(events[0].id, events[1].id);
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_with_the_field() {
    let refused = |event: Value| config(json!({"one": event})).check().unwrap_err().to_string();
    let cron = json!({"cron": {"schedule": "never"}});
    assert!(
        refused(json!({"topic": "t", "from": cron})).starts_with("events[\"one\"].from.cron.schedule: Invalid value")
    );
    assert!(refused(json!({"from": {"webhook": {}}})).starts_with("events[\"one\"].topic: Required value"));
    let path = json!({"topic": "t", "from": {"webhook": {"path": "one"}}});
    assert!(refused(path).contains("from.path: Invalid value: \"one\": must be an absolute path"));
    let kafka = json!({"kafka": {"server": {"brokers": "k:9092"}, "topics": [], "group": "g"}});
    assert!(refused(json!({"topic": "t", "from": kafka})).contains("from.kafka.topics: Required value"));
    let dead = json!({"name": "n", "source": "s", "sink": "http://s", "deadLetterTopic": "dead", "events": {}});
    let dead: Config = serde_json::from_value(dead).unwrap();
    assert_eq!(dead.check().unwrap_err().to_string(), "deadLetterTopic: Invalid value: there is no bus");
    let hook = json!({"topic": "t", "from": {"gitHub": {"path": "/hook"}}});
    let error = config(json!({"one": hook, "two": hook})).check().unwrap_err().to_string();
    assert!(error.contains("Duplicate value: \"/hook\" is that of \"one\""), "{error}");
}

#[derive(Debug)]
struct Told(Arc<Mutex<Vec<String>>>, String);

impl Receipt for Told {
    fn handled(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        self.0.lock().unwrap().push(self.1.clone());
        async { Ok(()) }.boxed()
    }
}

/// Gives something, and waits until it was handled.
async fn made(headers: &[(&str, &str)], body: &str, key: Option<&str>) -> Event {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = config(json!({"one": {"topic": "n-s-one", "from": {"webhook": {}}}}));
    let (bus, told) = (Memory::default(), Arc::default());
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let (client, of_run, name) = (client().unwrap(), Some(Arc::new(bus.clone()) as Arc<dyn Bus>), "n-s".to_owned());
    let sender = Arc::new(Sender::new(&config, Deliverer { client, bus: of_run, name, metrics: metrics.clone() }));
    let (given, events) = mpsc::channel(1);
    let maker = Maker { prefix: "topic:t/".to_owned(), ..maker(&config, "one", &config.events["one"]) };
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let delivery = Delivery {
        message: Message { headers, body: body.to_owned().into() },
        protocol: Protocol::Kafka,
        id: "partition:0/offset:7".to_owned(),
        key: key.map(str::to_owned),
        at: 1_000,
        is_again: false,
        receipt: Box::new(Told(Arc::clone(&told), body.to_owned())),
    };
    given.send((0, delivery, Room::default().of(1).await.unwrap())).await.unwrap();
    drop(given);
    forward(sender, vec![(0, maker)], events, &metrics, CancellationToken::new()).await;
    assert_eq!(*told.lock().unwrap(), [body]);
    bus.events("n-s-one").remove(0)
}

#[tokio::test]
async fn ev1_what_is_no_event_becomes_one_and_its_name_is_the_same_when_it_comes_again() {
    let event = made(&[], r#"{"a": 1}"#, Some("k")).await;
    assert_eq!((&*event.id, &*event.source), ("topic:t/partition:0/offset:7", "/s#one"));
    assert_eq!(
        (event.content_type.as_deref(), event.data.as_deref()),
        (Some("application/json"), Some(&br#"{"a": 1}"#[..]))
    );
    assert_eq!(event.attributes["partitionkey"], "k".into());
    assert_eq!(event.attributes["time"], "1970-01-01T00:00:01Z".into());
    let text = made(&[("content-type", "text/csv"), ("traceparent", "00-4bf9-00f0-01")], "a,b", None).await;
    assert_eq!(text.content_type.as_deref(), Some("text/csv"));
    assert_eq!(text.attributes["traceparent"], "00-4bf9-00f0-01".into());
    let lines = made(&[("content-type", "text/csv\r\nx: y")], "a,b", None).await;
    assert_eq!(lines.content_type.as_deref(), Some("text/plain; charset=utf-8"), "it would be another header");
}

#[tokio::test]
async fn e34_an_event_of_others_keeps_its_attributes_and_its_data() {
    let json = r#"{"specversion": "1.0", "id": "1", "source": "/o", "type": "t", "data": {"a": [1, 2]}}"#;
    for headers in [&[][..], &[("content-type", "application/cloudevents+json")]] {
        let event = made(headers, json, None).await;
        assert_eq!((&*event.id, &*event.source, event.data.as_deref()), ("1", "/o", Some(&b"{\"a\": [1, 2]}"[..])));
    }
    let binary = [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/o"), ("ce_type", "t")];
    assert_eq!(made(&binary, "x", None).await.source, "/o");
    // What claims to be one and is none is not lost.
    let broken = made(&binary[..2], "x", None).await;
    assert_eq!((&*broken.source, broken.data.as_deref()), ("/s#one", Some(&b"x"[..])));
}
