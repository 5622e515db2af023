//! What must go well on every broker.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use event_bus::{
    bus::{Bus, Error, Owner, Start, Subscription},
    cloudevent::Event,
    inner::unwrapped,
    wire::Mode,
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::support::{FLAKY, Program, Receiver, event, events, eventually, source, trigger, until_ready};

/// A broker that runs.
pub struct Broker {
    pub program: Program,
    /// What a handler is told of it.
    pub config: Value,
    pub bus: Arc<dyn Bus>,
}

const A: &str = "shop-source-a";
const B: &str = "shop-source-b";

impl Broker {
    fn trigger(&self, subscribers: Value) -> (Program, u16) {
        trigger(&json!({"name": "shop-orders", "bus": self.config, "fromTheBeginning": true, "redelivery": "2s",
            "inputs": {"a": {"topic": A}, "b": {"topic": B}}, "subscribers": subscribers}))
    }
}

/// All events of a topic.
pub fn all_of(topic: &str) -> Subscription {
    Subscription {
        topic: topic.to_owned(),
        group: "check".to_owned(),
        in_flight: 64,
        start: Start::All,
        redelivery: Duration::from_secs(30),
        owner: Owner::Bus,
    }
}

/// Publishes events, and again what was not confirmed.
async fn publish(bus: &Arc<dyn Bus>, topic: &str, numbers: Range<usize>) {
    stream::iter(numbers).for_each_concurrent(64, |number| publish_one(bus, topic, event(number, 1024))).await;
}

/// Publishes an event, again and again until that is confirmed.
pub async fn publish_one(bus: &Arc<dyn Bus>, topic: &str, event: Event) {
    while let Err(error) = bus.publish(topic, &event, Mode::Structured, &event.id).await {
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Events pass while the process and the broker are killed, as `kill -9` does it.
pub async fn none_is_lost(mut broker: Broker) {
    let receiver = Receiver::start().await;
    let (mut trigger, _) = broker.trigger(json!([{"condition": "a", "sink": receiver.url}]));
    let (bus, number, began) = (broker.bus.clone(), events(), Instant::now());
    let publishing = tokio::spawn(async move { publish(&bus, A, 0..number).await });
    // While a fifth of them was delivered, two fifths, and so on.
    for fifths in 1..5 {
        receiver.until(number * fifths / 5).await;
        tokio::task::block_in_place(|| if fifths % 2 == 0 { trigger.kill() } else { broker.program.kill() });
    }
    publishing.await.unwrap();
    receiver.until(number).await;
    let (seen, again) = receiver.counts();
    let time = began.elapsed();
    println!("{seen} events in {time:.1?}, the broker and the process killed twice each, {again} came again");
}

/// Where an EventSource has events from, and how they get there.
pub struct Origin<F> {
    pub from: Value,
    /// Address for webhooks.
    pub listens: String,
    pub send: F,
}

/// Events pass from where they happen through an EventSource, the bus and a Trigger, while all of them are killed but
/// where they happen.
pub async fn none_is_lost_through_a_source<S>(
    mut broker: Broker,
    origin: Origin<impl Fn(Event) -> S + Send + Sync + 'static>,
) where
    S: Future<Output = ()> + Send,
{
    let receiver = Receiver::start().await;
    let (mut trigger, _) = broker.trigger(json!([{"condition": "a", "sink": receiver.url}]));
    let (mut source, port) = source(&json!({"name": "shop-source", "source": "/sources/shop", "bus": broker.config,
        "webhookAddress": origin.listens, "redelivery": "2s", "fromTheBeginning": true,
        "events": {"a": {"topic": A, "from": origin.from}}}));
    until_ready(port).await;
    let (number, began) = (events(), Instant::now());
    let sending = tokio::spawn(async move {
        stream::iter(0..number).for_each_concurrent(64, |number| (origin.send)(event(number, 1024))).await;
    });
    for fifths in 1..5 {
        receiver.until(number * fifths / 5).await;
        tokio::task::block_in_place(|| match fifths {
            1 => source.kill(),
            2 => broker.program.kill(),
            3 => trigger.kill(),
            _ => {
                source.kill();
                broker.program.kill();
            }
        });
    }
    sending.await.unwrap();
    receiver.until(number).await;
    let (seen, again) = receiver.counts();
    let time = began.elapsed();
    println!("{seen} events through a source in {time:.1?}, source and broker killed twice, {again} came again");
}

/// The first half of a match is not forgotten.
pub async fn conditions_remember(broker: Broker) {
    let receiver = Receiver::start().await;
    let (mut trigger, port) = broker.trigger(json!([{"condition": "a && b", "sink": receiver.url}]));
    publish(&broker.bus, A, 0..1).await;
    until_received(port, 1).await;
    tokio::task::block_in_place(|| trigger.kill());
    publish(&broker.bus, B, 1..2).await;
    receiver.until(1).await;
    // Both are used up.
    publish(&broker.bus, A, 2..3).await;
    publish(&broker.bus, B, 3..4).await;
    receiver.until(2).await;
    assert_eq!(receiver.counts(), (2, 0));
}

/// What cannot be delivered goes to the dead letters, and nothing else.
pub async fn dead_letters(broker: Broker) {
    let (flaky, refusing, letters) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    flaky.answers(FLAKY);
    refusing.answers(400);
    let (_trigger, _) = broker.trigger(json!([
        {"condition": "a", "sink": flaky.url, "topic": "shop-flaky"},
        {"condition": "a", "sink": refusing.url, "deadLetterSink": letters.url, "deadLetterTopic": "shop-letters"}]));
    let number = events() / 10;
    publish(&broker.bus, A, 0..number).await;
    flaky.until(number).await;
    letters.until(number).await;
    assert_eq!((flaky.counts(), letters.counts(), refusing.counts().0), ((number, 0), (number, 0), 0));
    for topic in ["shop-flaky", "shop-letters"] {
        let mut consumer = broker.bus.subscribe(&Subscription { in_flight: number, ..all_of(topic) }).await.unwrap();
        let mut ids = Vec::new();
        while ids.len() < number {
            let delivery = consumer.next().await.unwrap();
            let event = delivery.event().unwrap();
            assert_eq!(event.attributes.contains_key("knativeerrordest"), topic == "shop-letters");
            ids.push(event.id);
            delivery.handled().await.unwrap();
        }
        ids.sort();
        assert_eq!(ids, flaky.ids());
        assert_eq!(consumer.lag().unwrap()().await, Ok(0));
    }
}

/// A sink that fails each tenth request, answers each hundredth late, and is down for a while, gets everything once, and
/// nothing of it is a dead letter.
pub async fn a_bad_sink_gets_everything(broker: Broker) {
    let (sink, letters) = (Receiver::start().await, Receiver::start().await);
    sink.answers(FLAKY);
    let (_trigger, _) = broker.trigger(json!([{"condition": "a", "sink": sink.url, "deadLetterSink": letters.url}]));
    let (bus, number) = (broker.bus.clone(), events());
    let publishing = tokio::spawn(async move { publish(&bus, A, 0..number).await });
    sink.until(number / 2).await;
    sink.answers(503);
    let down = std::env::var("DOWN").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(2);
    tokio::time::sleep(Duration::from_secs(down)).await;
    sink.answers(FLAKY);
    publishing.await.unwrap();
    sink.until(number).await;
    assert_eq!((sink.counts(), letters.asked()), ((number, 0), 0));
    println!("{number} events, {} requests, down for {down} s", sink.asked());
}

/// The memory of a process, in MiB, at rest and while nobody takes large events.
pub async fn back_pressure(broker: Broker) {
    let receiver = Receiver::start().await;
    receiver.answers(503);
    let (trigger, port) = broker.trigger(json!([{"condition": "a", "sink": receiver.url}]));
    until_ready(port).await;
    let at_rest = trigger.memory() >> 20;
    for number in 0..100 {
        broker.bus.publish(A, &event(number, 1_000_000), Mode::Structured, &number.to_string()).await.unwrap();
    }
    until_received(port, 4).await;
    // Those that came are tried again and again. If all of them could come, they would be there by then.
    eventually("it is asked", async || (receiver.asked() >= 200).then_some(())).await;
    let stalled = trigger.memory() >> 20;
    println!("{at_rest} MiB at rest, {stalled} MiB with 100 events of 1 MB that nobody takes");
    receiver.answers(200);
    receiver.until(100).await;
    assert!(stalled < 100, "{stalled} MiB: they are all there");
}

async fn until_received(port: u16, number: u64) {
    let url = format!("http://127.0.0.1:{port}/metrics");
    let received = async || {
        let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
        let name = "openfunction_trigger_events_received_total{";
        let counts = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        (counts.map(|(_, count)| count.parse::<u64>().unwrap()).sum::<u64>() >= number).then_some(())
    };
    eventually("the events are received", received).await;
}

/// Events come back as they were, whatever form they have on the bus.
pub async fn forms(broker: Broker, modes: &[Mode]) {
    let mut consumer = broker.bus.subscribe(&all_of(A)).await.unwrap();
    let mut sent = event(7, 64);
    sent.content_type = Some("text/csv".to_owned());
    sent.attributes.insert("subject".to_owned(), "büro 100%".into());
    for mode in modes {
        broker.bus.publish(A, &sent, *mode, &format!("{mode:?}")).await.unwrap();
        let delivery = consumer.next().await.unwrap();
        assert_eq!(delivery.message.body == sent.data.clone().unwrap(), *mode == Mode::Binary, "{mode:?}");
        let came = delivery.event().unwrap();
        assert_eq!(if *mode == Mode::Inner { unwrapped(came) } else { came }, sent, "{mode:?}");
        delivery.handled().await.unwrap();
    }
}
