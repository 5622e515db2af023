//! Takes events from where they happen and sends them where they shall go. Whoever gave one is told that it was handled
//! when all destinations have it, or else its dead letters.

use std::sync::Arc;

use anyhow::Context as _;
use event_bus::{
    bus::{Bus, Delivery, Owner, Start, Subscription},
    cloudevent::Event,
};
use event_delivery::{
    deliver::{Deliverer, Destination, Outcome, Policy},
    metrics::Metrics,
    take::{DRAIN, Given, Lanes, Origin, Room, Taker, Takers},
    trace::{Operation, Span},
};
use futures::{FutureExt, future::BoxFuture, future::join_all};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    config::{Config, EventConfig, From},
    cron,
    list::List,
    made::Maker,
    mqtt, webhook,
};

/// Where the events of one name go.
#[derive(Debug)]
struct Outlet {
    name: String,
    destinations: Vec<(Destination, Policy)>,
    dead_letters: Vec<Destination>,
}

/// Sends events.
#[derive(Debug)]
pub(crate) struct Sender {
    deliverer: Deliverer,
    outlets: Vec<Outlet>,
}

impl Sender {
    pub fn new(config: &Config, deliverer: Deliverer) -> Self {
        let policy = |destination: &Destination| match destination {
            // Nobody else has the event.
            Destination::Topic(_) => Policy { retry: u32::MAX, ..config.delivery.clone() },
            Destination::Sink(_) => config.delivery.clone(),
        };
        let outlets = config.events.iter().map(|(name, event)| Outlet {
            name: name.clone(),
            destinations: config.destinations(event).into_iter().map(|to| (to.clone(), policy(&to))).collect(),
            dead_letters: config.dead_letters(),
        });
        Self { deliverer, outlets: outlets.collect() }
    }

    /// Whether an event, that has been there since a time, is everywhere, or among the dead letters.
    pub async fn send(&self, index: usize, event: &Event, since: u64) -> bool {
        let Outlet { name, destinations, dead_letters } = &self.outlets[index];
        let span = Span::begin(Operation::Receive, name, event);
        let event = span.carried(event);
        let sent = destinations.iter().map(|(destination, policy)| {
            self.deliverer.deliver(index, (&event, since), destination, dead_letters, policy)
        });
        join_all(sent).await.into_iter().all(|outcome| outcome != Outcome::Dropped)
    }
}

/// A topic of a broker that belongs to others.
#[derive(Debug)]
struct Foreign {
    name: String,
    broker: event_bus::config::Config,
    subscription: Subscription,
}

impl Origin for Foreign {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn event_bus::bus::Consumer>, event_bus::bus::Error>> {
        async { self.broker.connect().await?.subscribe(&self.subscription).await }.boxed()
    }
}

/// Where the events of a name are taken from, and how they are named.
fn origins(config: &Config, name: &str, event: &EventConfig) -> anyhow::Result<Vec<(Arc<dyn Origin>, Maker)>> {
    let maker = |prefix: String| Maker { prefix, ..maker(config, name, event) };
    let foreign = |name: String, topic: &str, group: &str, broker| {
        let subscription = Subscription {
            topic: topic.to_owned(),
            group: group.to_owned(),
            in_flight: config.in_flight.max(1),
            start: if config.from_the_beginning { Start::All } else { Start::New },
            redelivery: config.redelivery,
            owner: Owner::Others,
        };
        Arc::new(Foreign { name, broker, subscription }) as Arc<dyn Origin>
    };
    let one = |origin| vec![(origin, maker(String::new()))];
    Ok(match &event.from {
        From::Kafka(kafka) => {
            let of_topic = |topic: &String| {
                let broker = event_bus::config::Config::Kafka(kafka.server.clone());
                let origin = foreign(format!("{name}/{topic}"), topic, &kafka.group, broker);
                (origin, maker(format!("topic:{topic}/")))
            };
            kafka.topics.iter().map(of_topic).collect()
        }
        From::RedisStream(redis) => {
            let broker = event_bus::config::Config::RedisStreams(redis.server.clone());
            one(foreign(name.to_owned(), &redis.key, &redis.group, broker))
        }
        From::RedisList(redis) => one(Arc::new(List::new(name, redis, config.in_flight, config.redelivery))),
        From::Cron(schedule) => one(cron::origin(name, schedule)?),
        From::Mqtt(mqtt) => one(mqtt::origin(name, mqtt, config.in_flight)),
        From::Webhook(_) | From::GitHub(_) | From::GitLab(_) | From::S3(_) => Vec::new(),
    })
}

/// Names events that have no name.
pub(crate) fn maker(config: &Config, name: &str, event: &EventConfig) -> Maker {
    Maker {
        source: format!("{}#{name}", config.source),
        type_: format!("io.openfunction.eventsource.{}", event.from.kind()),
        prefix: String::new(),
    }
}

/// Something that was given, and where it belongs.
struct Work {
    /// Index of its name, and of its maker.
    event: (usize, usize),
    delivery: Delivery,
    room: OwnedSemaphorePermit,
}

/// What has one key keeps its order.
type Lane = (usize, String);

/// Runs an EventSource until it shall stop. What is not handled then is given again by whoever gave it.
///
/// # Errors
/// Something of the configuration cannot be used, or the address for webhooks is taken.
pub async fn run(
    config: &Config,
    bus: Option<Arc<dyn Bus>>,
    client: reqwest::Client,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let deliverer = Deliverer { client, bus, name: config.name.clone(), metrics: metrics.clone() };
    let sender = Arc::new(Sender::new(config, deliverer));
    let (given, events) = mpsc::channel(1);
    let (mut takers, room) = (Takers::default(), Room::default());
    let mut makers = Vec::new();
    for (index, (name, event)) in config.events.iter().enumerate() {
        for (origin, maker) in origins(config, name, event).with_context(|| format!("events[{name:?}].from"))? {
            metrics.answers(origin.name(), Some("is not connected yet".to_owned()));
            let taker = Taker { origin, index: makers.len(), room: room.clone(), metrics: metrics.clone() };
            makers.push((index, maker));
            takers.start(taker, given.clone(), stop.clone());
        }
    }
    let hooks = webhook::serve(config, sender.clone(), room, metrics.clone(), stop.clone()).await?;
    // With nothing to take, webhooks are all there is.
    let _open = makers.is_empty().then_some(given);
    forward(sender, makers, events, &metrics, stop).await;
    takers.end().await;
    if let Some(hooks) = hooks {
        hooks.await??;
    }
    Ok(())
}

/// Sends what is given, until it shall stop and everything is sent.
async fn forward(
    sender: Arc<Sender>,
    makers: Vec<(usize, Maker)>,
    mut events: mpsc::Receiver<Given>,
    metrics: &Metrics,
    stop: CancellationToken,
) {
    let makers = Arc::new(makers);
    let (mut running, mut lanes) = (JoinSet::new(), Lanes::<Lane, Work>::default());
    let mut ends_at = None;
    loop {
        let ended = async {
            match ends_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(lane) = running.join_next(), if !running.is_empty() => {
                // One that panicked leaves its lane closed, and what it had is given again.
                if let Ok(Some(lane)) = lane && let Some(work) = lanes.done(&lane) {
                    running.spawn(send(sender.clone(), makers.clone(), Some(lane), work));
                }
            }
            given = events.recv(), if ends_at.is_none() => match given {
                Some((at, delivery, room)) => {
                    metrics.received(delivery.is_again);
                    let lane = delivery.key.clone().map(|key| (at, key));
                    let work = Work { event: (makers[at].0, at), delivery, room };
                    if let Some(work) = lanes.arrive(lane.clone(), work) {
                        running.spawn(send(sender.clone(), makers.clone(), lane, work));
                    }
                }
                None => ends_at = Some(Instant::now() + DRAIN),
            },
            () = stop.cancelled(), if ends_at.is_none() => ends_at = Some(Instant::now() + DRAIN),
            () = ended => break,
        }
        if ends_at.is_some() && running.is_empty() {
            break;
        }
    }
}

/// Sends one, and ends with its lane.
async fn send(sender: Arc<Sender>, makers: Arc<Vec<(usize, Maker)>>, lane: Option<Lane>, work: Work) -> Option<Lane> {
    let Work { event: (index, maker), delivery, room } = work;
    let (event, is_malformed) = makers[maker].1.event(&delivery);
    if is_malformed {
        sender.deliverer.metrics.malformed();
        warn!(id = event.id, source = event.source, "it says that it is an event, and is none: sent as it is");
    }
    // What could not be sent was told, and nobody could send it later.
    sender.send(index, &event, delivery.at).await;
    drop(room);
    if let Err(error) = delivery.handled().await {
        warn!(id = event.id, "that it was handled was not told, and it will come again: {error}");
    }
    lane
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
