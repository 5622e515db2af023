//! Takes events from where they are, whatever happens to it, and no more of them than there is room for.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    convert::Infallible,
    fmt,
    hash::Hash,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use event_bus::bus::{Bus, Consumer, Delivery, Error, Lag, Subscription};
use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::metrics::Metrics;

/// Pause before what failed is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Time between two looks at what waits, and how long one may take.
const LAG: Duration = Duration::from_secs(10);

/// KiB of events that may be in memory at one time; more wait where they are.
const ROOM: u32 = 24 << 10;

/// How many events of one origin may be worked on at one time, unless it is said.
pub const fn in_flight() -> usize {
    256
}

/// After how long an event is given to another process if this one does not say that it works on it, unless it is said.
pub const fn redelivery() -> Duration {
    Duration::from_secs(30)
}

/// How long deliveries may take to end once the process shall stop.
pub const DRAIN: Duration = Duration::from_secs(20);

/// Where events are taken from.
pub trait Origin: fmt::Debug + Send + Sync {
    /// Its name in logs and metrics.
    fn name(&self) -> &str;

    /// Begins to take them, or goes on.
    ///
    /// # Errors
    /// It cannot be reached, or refuses.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>>;
}

/// A topic of a bus.
#[derive(Debug)]
pub struct Topic {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// What is taken of it.
    pub subscription: Subscription,
}

impl Origin for Topic {
    fn name(&self) -> &str {
        &self.subscription.topic
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        self.bus.subscribe(&self.subscription).boxed()
    }
}

/// Memory for events.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM as usize)))
    }
}

impl Room {
    /// Waits for room for an event of so many bytes.
    pub async fn of(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let size = u32::try_from(bytes >> 10).unwrap_or(ROOM).clamp(1, ROOM);
        // It is never closed.
        self.0.clone().acquire_many_owned(size).await.ok()
    }
}

/// An event on its way: the index of its origin, and its room in memory.
pub type Given = (usize, Delivery, OwnedSemaphorePermit);

/// Takes the events of one origin.
#[derive(Debug)]
pub struct Taker {
    /// Where they are.
    pub origin: Arc<dyn Origin>,
    /// What [`Given`] has as index.
    pub index: usize,
    /// Memory for them.
    pub room: Room,
    /// Where is told of it.
    pub metrics: Arc<Metrics>,
}

/// Takers, and how they end.
#[derive(Debug, Default)]
pub struct Takers {
    running: JoinSet<()>,
    drained: CancellationToken,
}

impl Takers {
    /// Has one take events, until it shall stop.
    pub fn start(&mut self, taker: Taker, given: mpsc::Sender<Given>, stop: CancellationToken) {
        self.running.spawn(taker.run(given, stop, self.drained.clone()));
    }

    /// Ends them: what was handled is told, and others get the rest.
    pub async fn end(mut self) {
        self.drained.cancel();
        // Whoever does not end in that time is ended.
        let _ = timeout(PAUSE, async { while self.running.join_next().await.is_some() {} }).await;
    }
}

impl Taker {
    /// Gives events until it shall stop, and begins anew when the origin fails. Nothing is told any more once it has
    /// ended: that is when what was given was handled.
    async fn run(self, given: mpsc::Sender<Given>, stop: CancellationToken, drained: CancellationToken) {
        let consumer = {
            let mut consumer = None;
            tokio::select! {
                () = self.take(&mut consumer, &given) => {}
                () = stop.cancelled() => {}
            }
            consumer
        };
        drop(given);
        if let Some(consumer) = consumer {
            drained.cancelled().await;
            consumer.close().await;
        }
    }

    /// Ends when nobody wants events any more.
    async fn take(&self, consumer: &mut Option<Box<dyn Consumer>>, given: &mpsc::Sender<Given>) {
        let name = self.origin.name();
        loop {
            let failed = match self.origin.open().await {
                Ok(opened) => {
                    self.metrics.answers(name, None);
                    match self.give(consumer.insert(opened), given).await {
                        Some(failed) => failed,
                        None => return,
                    }
                }
                Err(error) => error,
            };
            *consumer = None;
            warn!(origin = name, "no events are given, trying again: {failed}");
            self.metrics.answers(name, Some(failed.to_string()));
            sleep(PAUSE).await;
        }
    }

    /// Ends with the failure, or with nothing when nobody wants events any more.
    async fn give(&self, consumer: &mut Box<dyn Consumer>, given: &mpsc::Sender<Given>) -> Option<Error> {
        // What is waited for goes on meanwhile: to begin anew could lose what a broker has given already.
        let mut watching = std::pin::pin!(self.watch(consumer.lag()));
        loop {
            let next = tokio::select! {
                next = consumer.next() => next,
                never = &mut watching => match never {},
            };
            let delivery = match next {
                Ok(delivery) => delivery,
                Err(error) => return Some(error),
            };
            let room = self.room.of(delivery.message.body.len()).await?;
            given.send((self.index, delivery, room)).await.ok()?;
        }
    }

    /// Tells how many events wait.
    async fn watch(&self, lag: Option<Lag>) -> Infallible {
        let Some(lag) = lag else { return std::future::pending().await };
        let mut look = interval(LAG);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if let Ok(Ok(lag)) = timeout(LAG, lag()).await {
                self.metrics.lag(self.origin.name(), lag);
            }
        }
    }
}

/// What must not be done at one time: what has one key, one after the other. The rest is done at once.
#[derive(Debug)]
pub struct Lanes<K, T>(HashMap<K, VecDeque<T>>);

impl<K, T> Default for Lanes<K, T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, T> Lanes<K, T> {
    /// What is to be done now, if it need not wait.
    pub fn arrive(&mut self, key: Option<K>, work: T) -> Option<T> {
        let Some(key) = key else { return Some(work) };
        match self.0.entry(key) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push_back(work);
                None
            }
            Entry::Vacant(lane) => {
                lane.insert(VecDeque::new());
                Some(work)
            }
        }
    }

    /// What has waited until something with its key was done.
    pub fn done(&mut self, key: &K) -> Option<T> {
        let next = self.0.get_mut(key)?.pop_front();
        if next.is_none() {
            self.0.remove(key);
        }
        next
    }
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_one_key_is_done_one_after_the_other() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.arrive(Some("a"), 1), Some(1));
        assert_eq!(lanes.arrive(Some("a"), 2), None);
        assert_eq!(lanes.arrive(Some("b"), 3), Some(3));
        assert_eq!((lanes.arrive(None, 4), lanes.arrive(None, 5)), (Some(4), Some(5)));
        assert_eq!(lanes.arrive(Some("a"), 6), None);
        assert_eq!(
            (lanes.done(&"a"), lanes.done(&"b"), lanes.done(&"a"), lanes.done(&"a")),
            (Some(2), None, Some(6), None)
        );
        assert!(lanes.0.is_empty());
        assert_eq!(lanes.arrive(Some("a"), 7), Some(7));
    }
}
