//! A bus in the memory of the process, for tests (goals EV26). Nothing survives the process.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use tokio::sync::Notify;

use crate::{
    bus::{Bus, Consumer, Delivery, Error, Lag, Receipt, Start, Subscription, locked},
    cloudevent::Event,
    wire::{Message, Mode, Protocol},
};

/// The bus.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    topics: Mutex<BTreeMap<String, Topic>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Topic {
    kept: Vec<Kept>,
    groups: BTreeMap<String, Group>,
}

#[derive(Clone, Debug)]
struct Kept {
    body: Bytes,
    at: u64,
}

#[derive(Debug, Default)]
struct Group {
    next: usize,
    again: VecDeque<usize>,
    in_flight: usize,
}

impl Shared {
    fn topics(&self) -> MutexGuard<'_, BTreeMap<String, Topic>> {
        locked(&self.topics)
    }

    fn group<R>(&self, subscription: &Subscription, what: impl FnOnce(&mut Group, &[Kept]) -> R) -> R {
        let mut topics = self.topics();
        let topic = topics.entry(subscription.topic.clone()).or_default();
        let group = topic.groups.entry(subscription.group.clone()).or_default();
        what(group, &topic.kept)
    }
}

impl Memory {
    /// Publishes what may be no event.
    pub fn publish_raw(&self, topic: &str, body: impl Into<Bytes>) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let kept = Kept { body: body.into(), at: u64::try_from(at).unwrap_or(u64::MAX) };
        self.0.topics().entry(topic.to_owned()).or_default().kept.push(kept);
        self.0.changed.notify_waiters();
    }

    /// The events of a topic.
    ///
    /// # Panics
    /// One is none, which would be a mistake of this file.
    pub fn events(&self, topic: &str) -> Vec<Event> {
        let topics = self.0.topics();
        let kept = topics.get(topic).into_iter().flat_map(|topic| &topic.kept);
        kept.map(|kept| Event::from_json(&kept.body).expect("it was published as an event")).collect()
    }
}

impl Bus for Memory {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        event: &'a Event,
        mode: Mode,
        _: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.publish_raw(topic, Protocol::Nats.encode(event, mode).body);
        async { Ok(()) }.boxed()
    }

    fn subscribe<'a>(&'a self, subscription: &'a Subscription) -> BoxFuture<'a, Result<Box<dyn Consumer>, Error>> {
        let mut topics = self.0.topics();
        let topic = topics.entry(subscription.topic.clone()).or_default();
        let next = if subscription.start == Start::All { 0 } else { topic.kept.len() };
        topic.groups.entry(subscription.group.clone()).or_insert_with(|| Group { next, ..Group::default() });
        let consumer = Taker { shared: self.0.clone(), subscription: subscription.clone() };
        async { Ok(Box::new(consumer) as Box<dyn Consumer>) }.boxed()
    }
}

struct Taker {
    shared: Arc<Shared>,
    subscription: Subscription,
}

impl Consumer for Taker {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, Error>> {
        async {
            loop {
                let mut changed = std::pin::pin!(self.shared.changed.notified());
                changed.as_mut().enable();
                if let Some(delivery) = self.take() {
                    return Ok(delivery);
                }
                changed.await;
            }
        }
        .boxed()
    }

    fn lag(&self) -> Option<Lag> {
        let (shared, subscription) = (self.shared.clone(), self.subscription.clone());
        Some(Box::new(move || {
            let lag = shared.group(&subscription, |group, kept| kept.len() - group.next);
            async move { Ok(lag as u64) }.boxed()
        }))
    }
}

impl Taker {
    fn take(&self) -> Option<Delivery> {
        let limit = self.subscription.in_flight;
        let (index, kept, is_again) = self.shared.group(&self.subscription, |group, kept| {
            let is_again = !group.again.is_empty();
            if group.in_flight >= limit || (!is_again && group.next >= kept.len()) {
                return None;
            }
            group.in_flight += 1;
            let index = group.again.pop_front().unwrap_or_else(|| {
                group.next += 1;
                group.next - 1
            });
            Some((index, kept[index].clone(), is_again))
        })?;
        let given = Given { shared: self.shared.clone(), subscription: self.subscription.clone(), index: Some(index) };
        Some(Delivery {
            message: Message::structured(kept.body),
            protocol: Protocol::Nats,
            id: index.to_string(),
            key: None,
            at: kept.at,
            is_again,
            receipt: Box::new(given),
        })
    }
}

#[derive(Debug)]
struct Given {
    shared: Arc<Shared>,
    subscription: Subscription,
    /// None once it was handled.
    index: Option<usize>,
}

impl Receipt for Given {
    fn handled(mut self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        self.index = None;
        async { Ok(()) }.boxed()
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.shared.group(&self.subscription, |group, _| {
            group.in_flight -= 1;
            group.again.extend(self.index);
        });
        self.shared.changed.notify_waiters();
    }
}
