//! Takes the events of a Trigger's topics, decides with the engine, delivers, and tells the bus what was handled: an
//! event is handled when every subscriber that it fired for has it (or its dead letters), and nothing remembers it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use event_bus::{
    bus::{Bus, Delivery, Owner, Start, Subscription},
    cloudevent::Event,
    inner::unwrapped,
    wire::Message,
};
use event_delivery::{
    deliver::{Deliverer, Destination, Policy},
    metrics::Metrics,
    take::{DRAIN, Given, Lanes, Room, Taker, Takers, Topic, now},
    trace::{Operation, Span},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::{JoinSet, coop},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    config::{self, Config, Invalid},
    engine::{Engine, Millis},
};

/// What a subscriber is, for its deliveries.
struct Subscriber {
    destinations: Vec<Destination>,
    dead_letters: Vec<Destination>,
    policy: Policy,
}

/// An event that the bus has given and that is not handled yet.
struct Open {
    delivery: Delivery,
    /// Deliveries that have not ended.
    running: usize,
    is_held: bool,
    /// Its room in memory, until it is delivered.
    room: Option<OwnedSemaphorePermit>,
    /// Events that nothing remembers any more once this one is delivered: until then the match could be lost with it.
    releases: Vec<Number>,
}

/// An event by the order of its arrival.
type Number = u64;

/// A subscriber, one of its destinations, and a key.
type Lane = (usize, usize, String);

/// Runs a Trigger until it shall stop. What is not handled then is given again by the bus.
///
/// # Errors
/// A condition is wrong.
pub async fn run(
    config: &Config,
    bus: Arc<dyn Bus>,
    client: reqwest::Client,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), Invalid> {
    let topics = config.topics();
    let inputs: Vec<_> = topics.iter().map(|topic| topic.inputs.clone()).collect();
    let engine = Engine::new(config.conditions()?, &inputs, config.window, config.semantics());
    let (given, events) = mpsc::channel(1);
    let room = Room::default();
    let mut takers = Takers::default();
    for (index, topic) in topics.iter().enumerate() {
        let subscription = Subscription {
            topic: topic.name.clone(),
            group: config.name.clone(),
            in_flight: config.in_flight.max(1),
            start: if config.from_the_beginning { Start::All } else { Start::New },
            redelivery: config.redelivery,
            owner: Owner::Bus,
        };
        let origin = Arc::new(Topic { bus: bus.clone(), subscription });
        let taker = Taker { origin, index, room: room.clone(), metrics: metrics.clone() };
        takers.start(taker, given.clone(), stop.clone());
    }
    drop(given);
    let subscribers = config.subscribers.iter().map(|subscriber| {
        Arc::new(Subscriber {
            destinations: subscriber.destinations(),
            dead_letters: subscriber.dead_letters(),
            policy: subscriber.delivery.clone(),
        })
    });
    let (bus, name) = (Some(bus), config.name.clone());
    let deliverer = Arc::new(Deliverer { client, bus, name, metrics: metrics.clone() });
    let work = Work {
        topics,
        engine,
        subscribers: subscribers.collect(),
        deliverer,
        metrics,
        open: HashMap::new(),
        deliveries: JoinSet::new(),
        lanes: Lanes::default(),
        handled: JoinSet::new(),
        last: 0,
    };
    work.run(events, stop).await;
    takers.end().await;
    Ok(())
}

/// Type of a dead letter that was no event.
const MALFORMED: &str = "io.openfunction.trigger.malformed";

struct Work {
    /// By their index.
    topics: Vec<config::Topic>,
    engine: Engine<Number>,
    subscribers: Vec<Arc<Subscriber>>,
    deliverer: Arc<Deliverer>,
    metrics: Arc<Metrics>,
    open: HashMap<Number, Open>,
    /// Each ends with the event that it has delivered, and with its lane.
    deliveries: JoinSet<(Number, Option<Lane>)>,
    lanes: Lanes<Lane, Job>,
    handled: JoinSet<()>,
    last: Number,
}

impl Work {
    async fn run(mut self, mut events: mpsc::Receiver<Given>, stop: CancellationToken) {
        let mut ends_at = None;
        loop {
            let expires = self.engine.next_expiry().map(|at| Duration::from_millis(at.saturating_sub(now())));
            let expired = async {
                match expires {
                    Some(after) => sleep(after).await,
                    None => std::future::pending().await,
                }
            };
            let ended = async {
                match ends_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(number) = self.deliveries.join_next(), if !self.deliveries.is_empty() => {
                    // A delivery that panicked leaves its event open: the bus gives it again once this process has ended.
                    if let Ok((number, lane)) = number {
                        if let Some(job) = lane.as_ref().and_then(|lane| self.lanes.done(lane)) {
                            self.start(lane, job);
                        }
                        self.delivered(number);
                    }
                }
                Some(_) = self.handled.join_next(), if !self.handled.is_empty() => {}
                given = events.recv(), if ends_at.is_none() => match given {
                    Some((topic, delivery, room)) => self.arrive(topic, delivery, room),
                    // Every taker has ended.
                    None => ends_at = Some(Instant::now() + DRAIN),
                },
                () = expired => {
                    for number in self.engine.expire(now()) {
                        self.released(number);
                    }
                }
                () = stop.cancelled(), if ends_at.is_none() => ends_at = Some(Instant::now() + DRAIN),
                () = ended => break,
            }
            if ends_at.is_some() && self.deliveries.is_empty() && self.handled.is_empty() {
                break;
            }
            coop::consume_budget().await;
        }
        debug!(open = self.open.len(), "stopped");
        // Whoever comes next need not wait for them.
        for (_, open) in self.open {
            if let Err(error) = open.delivery.again(Duration::ZERO).await {
                warn!("the bus was not told that an event was not handled: {error}");
                break;
            }
        }
    }

    fn arrive(&mut self, topic: usize, mut delivery: Delivery, room: OwnedSemaphorePermit) {
        self.metrics.received(delivery.is_again);
        self.last += 1;
        let number = self.last;
        let event = match delivery.event() {
            Ok(event) if self.topics[topic].is_inner => Arc::new(unwrapped(event)),
            Ok(event) => Arc::new(event),
            Err(error) => {
                self.metrics.malformed();
                warn!(topic = self.topics[topic].name, id = delivery.id, "what is on the bus is no event: {error}");
                let running = self.bury(topic, number, &delivery, error.to_string());
                self.open
                    .insert(number, Open { delivery, running, is_held: false, room: Some(room), releases: vec![] });
                self.end(number);
                return;
            }
        };
        // Once is enough.
        delivery.message = Message::default();
        let span = Span::begin(Operation::Process, &self.topics[topic].name, &event);
        let event = span.shared(event);
        let arrival = self.engine.arrive(topic, number, delivery.at);
        let (mut running, mut waiting) = (0, Vec::new());
        for index in arrival.fires {
            let subscriber = &self.subscribers[index];
            for at in 0..subscriber.destinations.len() {
                running += 1;
                // What has one key comes to a destination in its order.
                let key = event.attributes.get("partitionkey").map(ToString::to_string);
                let lane = key.map(|key| (index, at, key));
                let job =
                    Job { index, subscriber: subscriber.clone(), at, number, event: event.clone(), since: delivery.at };
                waiting.extend(self.lanes.arrive(lane.clone(), job).map(|job| (lane, job)));
            }
        }
        for (lane, job) in waiting {
            self.start(lane, job);
        }
        let (is_held, releases) = (arrival.is_held, arrival.released);
        self.open.insert(number, Open { delivery, running, is_held, room: Some(room), releases });
        self.end(number);
    }

    fn start(&mut self, lane: Option<Lane>, job: Job) {
        let deliverer = self.deliverer.clone();
        self.deliveries.spawn(async move { (job.deliver(&deliverer).await, lane) });
    }

    /// Sends what is no event to all dead letters; how many there are.
    fn bury(&mut self, topic: usize, number: Number, delivery: &Delivery, reason: String) -> usize {
        let event = Arc::new(Event {
            id: delivery.id.clone(),
            source: self.topics[topic].name.clone(),
            type_: MALFORMED.to_owned(),
            content_type: Some("application/octet-stream".to_owned()),
            data: Some(delivery.message.body.clone()),
            ..Event::default()
        });
        let (mut known, before, since) = (Vec::new(), self.deliveries.len(), delivery.at);
        for (index, subscriber) in self.subscribers.iter().enumerate() {
            // Several subscribers may have the same.
            if subscriber.dead_letters.is_empty() || known.contains(&&subscriber.dead_letters) {
                continue;
            }
            known.push(&subscriber.dead_letters);
            let (deliverer, subscriber, event) = (self.deliverer.clone(), subscriber.clone(), event.clone());
            let reason = reason.clone();
            self.deliveries.spawn(async move {
                let Subscriber { dead_letters, policy, .. } = &*subscriber;
                deliverer.deliver_unread(index, (&event, since), reason, dead_letters, policy).await;
                (number, None)
            });
        }
        self.deliveries.len() - before
    }

    fn delivered(&mut self, number: Number) {
        if let Some(open) = self.open.get_mut(&number) {
            open.running -= 1;
        }
        self.end(number);
    }

    fn released(&mut self, number: Number) {
        if let Some(open) = self.open.get_mut(&number) {
            open.is_held = false;
        }
        self.end(number);
    }

    /// Tells the bus if an event was handled.
    fn end(&mut self, number: Number) {
        let Some(open) = self.open.get_mut(&number).filter(|open| open.running == 0) else { return };
        // What is held is remembered, and not kept.
        open.room = None;
        let (releases, is_held) = (std::mem::take(&mut open.releases), open.is_held);
        if !is_held && let Some(open) = self.open.remove(&number) {
            self.tell(open.delivery);
        }
        for released in releases {
            self.released(released);
        }
    }

    fn tell(&mut self, delivery: Delivery) {
        self.handled.spawn(async move {
            if let Err(error) = delivery.handled().await {
                warn!("the bus was not told that an event was handled, and gives it again: {error}");
            }
        });
    }
}

/// An event for one destination of a subscriber.
struct Job {
    index: usize,
    subscriber: Arc<Subscriber>,
    at: usize,
    number: Number,
    event: Arc<Event>,
    since: Millis,
}

impl Job {
    async fn deliver(&self, deliverer: &Deliverer) -> Number {
        let (Subscriber { destinations, dead_letters, policy }, event) =
            (&*self.subscriber, (&*self.event, self.since));
        deliverer.deliver(self.index, event, &destinations[self.at], dead_letters, policy).await;
        self.number
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
