//! EventSources and Triggers on the local cluster: what is sent reaches whom it shall reach, also while everything
//! changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, RwLockReadGuard},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path, State},
    http::HeaderMap,
    routing::post,
};
use e2e::local::cluster::NODE_ADDRESS;
use reqwest::header::HOST;
use serde_json::{Value, json};

use super::{GATEWAY, product};
use crate::support::{DEADLINE, Namespace, client};

/// NATS with JetStream, as pods reach it.
pub const NATS: &str = "nats://nats.openfunction-local.svc.cluster.local:4222";

/// Receives events outside of the cluster, by the path that they come to.
#[derive(Clone, Default)]
pub struct Receiver {
    got: Arc<Mutex<BTreeMap<String, Vec<Event>>>>,
    url: String,
}

/// What is looked at of an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    pub id: String,
    pub source: String,
    pub body: String,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind((NODE_ADDRESS, 0)).await.unwrap();
        let receiver = Self { url: format!("http://{}", listener.local_addr().unwrap()), ..Self::default() };
        let take =
            async |State(receiver): State<Receiver>, Path(path): Path<String>, headers: HeaderMap, body: String| {
                let header =
                    |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
                let event = Event { id: header("ce-id"), source: header("ce-source"), body };
                receiver.got.lock().unwrap().entry(path).or_default().push(event);
            };
        let router = Router::new().route("/{path}", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    /// What came to a path.
    pub fn got(&self, path: &str) -> Vec<Event> {
        self.got.lock().unwrap().get(path).cloned().unwrap_or_default()
    }

    fn ids(&self, paths: &[&str]) -> BTreeSet<String> {
        paths.iter().flat_map(|path| self.got(path)).map(|event| event.id).collect()
    }
}

/// A namespace with objects of events.
pub struct Events {
    pub namespace: Namespace,
    _installed: RwLockReadGuard<'static, ()>,
}

pub fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "events.openfunction.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

impl Events {
    pub fn new(test: &str) -> Self {
        let installed = product();
        Self { namespace: Namespace::new(test), _installed: installed }
    }

    pub fn apply(&self, kind: &str, name: &str, spec: &Value) {
        self.namespace.apply(&object(kind, name, spec).to_string());
    }

    /// Waits as a user would, for the present generation.
    pub fn is_ready(&self, kind: &str, name: &str) {
        let object = format!("{kind}/{name}");
        let generation = self.namespace.kubectl(&["get", &object, "-o", "jsonpath={.metadata.generation}"]);
        let observed = format!("--for=jsonpath={{.status.observedGeneration}}={generation}");
        self.namespace.kubectl(&["wait", &observed, &object, "--timeout=60s"]);
        self.namespace.kubectl(&["wait", "--for=condition=Ready", &object, "--timeout=120s"]);
    }

    /// Waits until an object tells something.
    pub fn tells(&self, kind: &str, name: &str, type_: &str, part: &str) {
        let path = format!("jsonpath={{.status.conditions[?(@.type==\"{type_}\")].message}}");
        let began = Instant::now();
        loop {
            let said = self.namespace.kubectl(&["get", kind, name, "-o", &path]);
            if said.contains(part) {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "{kind} {name} does not tell {part:?} but {said:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Waits for something that happens elsewhere.
async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(began.elapsed() < DEADLINE, "{what} did not come about within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sends events to a webhook until each is taken, as senders do.
#[derive(Clone)]
struct Sender {
    client: reqwest::Client,
    host: String,
}

impl Sender {
    fn of(events: &Events, function: &str) -> Self {
        Self { client: client(), host: format!("{function}.{}.ofn.io", events.namespace.name) }
    }

    /// How often it had to be tried again.
    async fn send(&self, path: &str, id: &str, body: &str) -> usize {
        let began = Instant::now();
        for tries in 0.. {
            let request = self.client.post(format!("{GATEWAY}/{path}")).header(HOST, &self.host).body(body.to_owned());
            let headers = [("ce-specversion", "1.0"), ("ce-id", id), ("ce-source", "/tests"), ("ce-type", "order")];
            let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
            let answer = request.send().await;
            if answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                return tries;
            }
            assert!(began.elapsed() < DEADLINE, "{id} is not taken: {answer:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        0
    }
}

fn webhook(more: Value) -> Value {
    let mut spec = json!({"eventBus": "depot", "webhook": {"order": {"visibility": "Public"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// Conditions of the mission's chapter on events, and what each subscriber then gets (goals Q22).
#[tokio::test(flavor = "multi_thread")]
async fn ev30_ev31_subscribers_get_the_events_that_meet_their_condition() {
    let events = Events::new("events-conditions");
    let receiver = Receiver::start().await;
    events.apply("EventBus", "depot", &json!({"jetStream": {"url": NATS}}));
    for name in ["north", "south"] {
        events.apply("EventSource", name, &webhook(json!({})));
    }
    let sink = |path: &str| json!({"uri": receiver.url(path)});
    events.apply("Trigger", "dock", &json!({"eventBus": "depot",
        "inputs": {"northIn": {"eventSource": "north", "event": "order"}, "southIn": {"eventSource": "south", "event": "order"}},
        "subscribers": [
            {"condition": "southIn", "sink": sink("south")},
            {"condition": "northIn && southIn", "sink": sink("both")},
            {"condition": "northIn || southIn", "sink": sink("any")},
            {"condition": "northIn", "sink": sink("north")},
            {"condition": "northIn", "sink": sink("north-too")},
        ]}));
    for (kind, name) in [("eventbus", "depot"), ("eventsource", "north"), ("eventsource", "south"), ("trigger", "dock")]
    {
        events.is_ready(kind, name);
    }
    let (north, south) =
        (Sender::of(&events, "esw-north-webhook-order"), Sender::of(&events, "esw-south-webhook-order"));
    north.send("order", "n1", "one").await;
    eventually("the first has come", || (receiver.got("north-too").len() == 1).then_some(())).await;
    south.send("order", "s1", "two").await;
    eventually("both have met", || (receiver.got("both").len() == 1).then_some(())).await;
    south.send("order", "s2", "three").await;
    eventually("all have come", || (receiver.got("any").len() == 3).then_some(())).await;
    let ids = |path: &str| receiver.got(path).into_iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(ids("north"), ["n1"]);
    assert_eq!(ids("north-too"), ["n1"]);
    assert_eq!(ids("south"), ["s1", "s2"]);
    // The event that completes the match is sent; a match uses its events up.
    assert_eq!((ids("both"), receiver.got("both")[0].body.as_str()), (vec!["s1".to_owned()], "two"));
    let table = events.namespace.kubectl(&["get", "trigger"]);
    let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [["NAME", "EVENTBUS", "STATUS"], ["dock", "depot", "Ready"]]);
}

/// How many events are sent in a second while things change.
const RATE: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_while_sinks_buses_triggers_and_sources_change() {
    let events = Events::new("events-changes");
    let receiver = Receiver::start().await;
    let trigger = |path: &str| {
        json!({"eventBus": "depot", "inputs": {"order": {"eventSource": "shop", "event": "order"}},
            "subscribers": [{"condition": "order", "sink": {"uri": receiver.url(path)}}]})
    };
    events.apply("EventBus", "depot", &json!({"jetStream": {"url": NATS}}));
    events.apply("EventSource", "shop", &webhook(json!({})));
    events.apply("Trigger", "orders", &trigger("a"));
    events.is_ready("eventsource", "shop");
    events.is_ready("trigger", "orders");
    let sender = Sender::of(&events, "esw-shop-webhook-order");
    sender.send("order", "first", "").await;

    let stop = tokio_util::sync::CancellationToken::new();
    let sending = tokio::spawn({
        let (sender, stop) = (sender.clone(), stop.clone());
        async move {
            let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
            let (mut running, mut sent, mut again) = (tokio::task::JoinSet::new(), 0_u64, 0);
            while !stop.is_cancelled() {
                ticks.tick().await;
                sent += 1;
                let sender = sender.clone();
                running.spawn(async move { sender.send("order", &format!("e{sent}"), "body").await });
                while let Some(tries) = running.try_join_next() {
                    again += tries.unwrap();
                }
            }
            (sent, again + running.join_all().await.into_iter().sum::<usize>())
        }
    });
    let pause = || tokio::time::sleep(Duration::from_secs(2));
    pause().await;
    // The sink changes; the handler of before goes on until the next is there.
    events.apply("Trigger", "orders", &trigger("b"));
    events.is_ready("trigger", "orders");
    eventually("the new sink gets events", || (receiver.got("b").len() > 10).then_some(())).await;
    // The bus changes: by another name, in the words of the original, then that of the cluster takes over.
    let mapped = json!({"natsStreaming": {"natsURL": NATS, "natsStreamingClusterID": "stan", "subscriptionType": "queue",
        "durableSubscriptionName": "d", "ackWaitTime": "20s", "maxInFlight": 64}});
    let replaced = json!([{"op": "replace", "path": "/spec", "value": mapped}]);
    events.namespace.kubectl(&["patch", "eventbus", "depot", "--type=json", "-p", &replaced.to_string()]);
    events.tells("eventbus", "depot", "Mapped", "JetStream at nats://");
    events.is_ready("trigger", "orders");
    pause().await;
    // A source changes, and another event comes and goes.
    events.apply(
        "EventSource",
        "shop",
        &webhook(json!({"logLevel": "3", "cron": {"tick": {"schedule": "@every 1s"}}})),
    );
    events.is_ready("eventsource", "shop");
    pause().await;
    events.namespace.kubectl(&[
        "patch",
        "eventsource",
        "shop",
        "--type=json",
        "-p",
        r#"[{"op": "remove", "path": "/spec/cron"}]"#,
    ]);
    events.is_ready("eventsource", "shop");
    // A Trigger goes, and comes again: what waits for it waits.
    events.namespace.kubectl(&["delete", "trigger", "orders", "--wait=true"]);
    pause().await;
    events.apply("Trigger", "orders", &trigger("c"));
    events.is_ready("trigger", "orders");
    pause().await;
    stop.cancel();
    let (sent, again) = sending.await.unwrap();
    let expected: BTreeSet<_> = (1..=sent).map(|number| format!("e{number}")).chain(["first".to_owned()]).collect();
    let paths = ["a", "b", "c"];
    let began = Instant::now();
    while !expected.is_subset(&receiver.ids(&paths)) && began.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let ids = receiver.ids(&paths);
    let lost: Vec<_> = expected.difference(&ids).collect();
    let came: usize = paths.iter().map(|path| receiver.got(path).len()).sum();
    println!("{} events, {came} came, {} twice; {again} requests were tried again", expected.len(), came - ids.len());
    assert!(lost.is_empty(), "{} are lost: {:?}", lost.len(), &lost[..lost.len().min(10)]);
    // Nothing is left behind.
    events.namespace.kubectl(&["delete", "eventsource,trigger,eventbus", "--all"]);
    eventually("all handlers go", || {
        let left =
            events.namespace.kubectl(&["get", "functions,servings,deployments,services,httproutes,pods", "-o", "name"]);
        left.trim().is_empty().then_some(())
    })
    .await;
}
