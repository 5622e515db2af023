use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use event_bus::memory::Memory;
use serde_json::{Value, json};

use super::*;

#[test]
fn pauses_grow_and_have_an_end() {
    let pauses = |policy: &Policy| [1, 2, 3, 20].map(|failed| policy.pause(failed).as_millis());
    let mut policy = Policy { backoff_delay: Duration::from_millis(100), ..Policy::default() };
    assert_eq!(pauses(&policy), [100, 200, 400, 30_000]);
    policy.backoff_policy = BackoffPolicy::Linear;
    assert_eq!(pauses(&policy), [100, 200, 300, 2_000]);
    let longest: Duration = (1..=12).map(|failed| Policy::default().pause(failed)).sum();
    assert!(longest > Duration::from_secs(120), "{longest:?}");
}

type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A receiver that gives some statuses, one after the other, and then the last for ever.
async fn receiver(statuses: &'static [u16]) -> (String, Seen) {
    let (seen, count) = (Seen::default(), Arc::new(AtomicUsize::new(0)));
    let answer = move |State(seen): State<Seen>, headers: HeaderMap, body: Bytes| {
        let number = count.fetch_add(1, Ordering::Relaxed).min(statuses.len() - 1);
        seen.lock().unwrap().push((headers, body));
        async move { StatusCode::from_u16(statuses[number]).unwrap() }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(answer)).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn event() -> Event {
    Event {
        attributes: [("traceparent".to_owned(), TRACE.into())].into(),
        id: "1".to_owned(),
        source: "/s".to_owned(),
        type_: "t".to_owned(),
        data: Some("{\"a\":1}".into()),
        ..Event::default()
    }
}

fn policy() -> Policy {
    Policy { retry: 3, backoff_delay: Duration::from_millis(1), ..Policy::default() }
}

async fn delivered(to: &str, dead_letters: &[Destination]) -> Outcome {
    delivered_by(&policy(), &event(), to, dead_letters).await
}

async fn delivered_by(policy: &Policy, event: &Event, to: &str, dead_letters: &[Destination]) -> Outcome {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let deliverer = Deliverer {
        client: client().unwrap(),
        bus: Some(Arc::new(Memory::default())),
        name: "n-t".to_owned(),
        metrics: Arc::new(Metrics::new("test").unwrap()),
    };
    deliverer.deliver(0, (event, 0), &Destination::Sink(to.to_owned()), dead_letters, policy).await
}

#[tokio::test]
async fn ev36_a_sink_gets_the_data_and_the_attributes() {
    let (url, seen) = receiver(&[202]).await;
    assert_eq!(delivered(&url, &[]).await, Outcome::Delivered);
    let (headers, body) = seen.lock().unwrap().pop().unwrap();
    assert_eq!(body, "{\"a\":1}");
    assert_eq!(
        (&headers["ce-id"], &headers["ce-source"], &headers["ce-type"]),
        (&"1".parse().unwrap(), &"/s".parse().unwrap(), &"t".parse().unwrap())
    );
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(
        (&headers["traceparent"], &headers["ce-traceparent"]),
        (&TRACE.parse().unwrap(), &TRACE.parse().unwrap())
    );
}

#[tokio::test]
async fn a_trace_context_that_is_no_header_keeps_no_event_back() {
    let (url, seen) = receiver(&[202]).await;
    let mut event = event();
    event.attributes.insert("tracestate".to_owned(), "a=b\r\nx: y".into());
    assert_eq!(delivered_by(&policy(), &event, &url, &[]).await, Outcome::Delivered);
    let (headers, _) = seen.lock().unwrap().pop().unwrap();
    assert!(!headers.contains_key("tracestate") && headers.contains_key("traceparent"));
    assert_eq!(headers["ce-tracestate"], "a=b%0D%0Ax:%20y");
}

#[tokio::test]
async fn ev53_a_sink_gets_the_form_that_it_asks_for() {
    let (url, seen) = receiver(&[202]).await;
    for (mode, data) in [(Mode::Structured, json!({"a": 1})), (Mode::Inner, Value::Null)] {
        let policy = Policy { content_mode: Some(mode), ..policy() };
        assert_eq!(delivered_by(&policy, &event(), &url, &[]).await, Outcome::Delivered);
        let (headers, body) = seen.lock().unwrap().pop().unwrap();
        assert_eq!(headers["content-type"], "application/cloudevents+json; charset=UTF-8");
        assert!(!headers.contains_key("ce-id") && headers.contains_key("traceparent"));
        let mut sent: Value = serde_json::from_slice(&body).unwrap();
        if mode == Mode::Inner {
            assert_eq!(sent["data"]["data"]["userData"].take(), "eyJhIjoxfQ==");
            sent["data"].take();
        }
        assert_eq!((&sent["id"], &sent["data"]), (&json!("1"), &data));
    }
}

#[tokio::test]
async fn ev44_what_fails_is_tried_again_and_what_is_refused_is_not() {
    let (url, seen) = receiver(&[500, 429, 204]).await;
    assert_eq!(delivered(&url, &[]).await, Outcome::Delivered);
    assert_eq!(seen.lock().unwrap().len(), 3);
    let (url, seen) = receiver(&[503]).await;
    assert_eq!(delivered(&url, &[]).await, Outcome::Dropped);
    assert_eq!(seen.lock().unwrap().len(), 4);
    // A redirect would lose the body.
    for refused in [&[400_u16][..], &[303], &[413]] {
        let (url, seen) = receiver(Box::leak(refused.into())).await;
        assert_eq!(delivered(&url, &[]).await, Outcome::Dropped);
        assert_eq!(seen.lock().unwrap().len(), 1);
    }
    assert_eq!(delivered("http://127.0.0.1:1/", &[]).await, Outcome::Dropped);
}

#[tokio::test]
async fn e10_e36_what_cannot_be_delivered_goes_to_the_dead_letters() {
    let (url, _) = receiver(&[400]).await;
    let (letters, seen) = receiver(&[500, 500, 500, 500, 500, 500, 200]).await;
    let letters = [Destination::Sink(letters), Destination::Topic("letters".to_owned())];
    assert_eq!(delivered(&url, &letters).await, Outcome::DeadLettered);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 7, "dead letters have no end of tries");
    let (headers, body) = &seen[6];
    assert_eq!(
        (&headers["ce-knativeerrordest"], &headers["ce-knativeerrorcode"]),
        (&url.parse().unwrap(), &"400".parse().unwrap())
    );
    assert_eq!(body, "{\"a\":1}");
    // Nobody takes it.
    let (refusing, _) = receiver(&[403]).await;
    assert_eq!(delivered(&url, &[Destination::Sink(refusing)]).await, Outcome::Dropped);
}

/// A bus that says no for a while.
#[derive(Debug, Default)]
struct Refusing(Memory, AtomicUsize);

impl Bus for Refusing {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        event: &'a Event,
        mode: Mode,
        attempt: &'a str,
    ) -> futures::future::BoxFuture<'a, Result<(), bus::Error>> {
        match self.1.fetch_add(1, Ordering::Relaxed) {
            0..3 => Box::pin(async { Err(bus::Error::Refused("no permission".to_owned())) }),
            _ => self.0.publish(topic, event, mode, attempt),
        }
    }

    fn subscribe<'a>(
        &'a self,
        subscription: &'a bus::Subscription,
    ) -> futures::future::BoxFuture<'a, Result<Box<dyn bus::Consumer>, bus::Error>> {
        self.0.subscribe(subscription)
    }
}

#[tokio::test]
async fn what_a_bus_refuses_is_told_and_tried_again() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (metrics, refusing) = (Arc::new(Metrics::new("test").unwrap()), Arc::new(Refusing::default()));
    let (bus, name) = (Some(refusing.clone() as Arc<dyn Bus>), "n-t".to_owned());
    let deliverer = Deliverer { client: client().unwrap(), bus, name, metrics: metrics.clone() };
    let slow = Policy { retry: u32::MAX, backoff_delay: Duration::from_millis(30), ..Policy::default() };
    let (event, topic) = (event(), Destination::Topic("t".to_owned()));
    let delivering = deliverer.deliver(0, (&event, 0), &topic, &[], &slow);
    let looking = async {
        while !metrics.failing().contains_key("publishing to t") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        metrics.failing().remove("publishing to t")
    };
    let (outcome, told) = tokio::join!(delivering, looking);
    assert_eq!((outcome, told.as_deref()), (Outcome::Delivered, Some("no permission")));
    assert!(metrics.failing().is_empty());
    assert_eq!(refusing.0.events("t").len(), 1);
}
