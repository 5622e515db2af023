//! What every broker can do: take an event and say so, and give it until it was handled.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};

use crate::{
    cloudevent::{self, Event},
    wire::{Message, Mode, Protocol},
};

/// How long a topic is kept, unless a bus says otherwise: as long as Kafka does.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// A broker. Cheap to share.
pub trait Bus: fmt::Debug + Send + Sync {
    /// Publishes an event. When it returns, the broker keeps it. By `attempt` a broker that can knows that it has it
    /// already, so that what is published again is kept once; the same event in the name of another has another.
    ///
    /// # Errors
    /// The broker did not say that it keeps the event; it may keep it nevertheless.
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        event: &'a Event,
        mode: Mode,
        attempt: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Has a topic kept, so that others can begin to take its events before the first is published.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses.
    fn keep<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        let _ = topic;
        async { Ok(()) }.boxed()
    }

    /// Has the limits of a consumer of others follow what is said of it by now, where the broker keeps them: they may not be
    /// able to, as Dapr is not. One that is not there is left to them.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses.
    fn limit<'a>(&'a self, topic: &'a str, consumer: &'a str, limits: Limits) -> BoxFuture<'a, Result<(), Error>> {
        let _ = (topic, consumer, limits);
        async { Ok(()) }.boxed()
    }

    /// Begins to take the events of a topic, or goes on where its group has been.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses.
    fn subscribe<'a>(&'a self, subscription: &'a Subscription) -> BoxFuture<'a, Result<Box<dyn Consumer>, Error>>;
}

/// Takes the events of a topic.
pub trait Consumer: Send {
    /// The next event. Nothing is lost if it is not waited for. At most [`Subscription::in_flight`] are given that are
    /// not handled yet.
    ///
    /// # Errors
    /// The broker is gone, or the group was taken away. It can be called again, after a while.
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, Error>>;

    /// What says how many events wait that were never given to the group; `None` if nobody can say. It is asked while
    /// events are waited for.
    fn lag(&self) -> Option<Lag>;

    /// Takes no more, and tells what was handled where that was not told yet.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

/// Says how many events wait, or why that is not known.
pub type Lag = Box<dyn Fn() -> BoxFuture<'static, Result<u64, Error>> + Send + Sync>;

/// Limits of a consumer; what is not said stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// How many events may be given and not handled.
    pub in_flight: Option<usize>,
    /// How long the broker waits before it gives an event again.
    pub redelivery: Option<Duration>,
}

/// What is taken, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The topic.
    pub topic: String,
    /// Who takes it: each event is given to one consumer of a group, and to every group.
    pub group: String,
    /// How many events may be given and not handled.
    pub in_flight: usize,
    /// Where a group begins that the broker does not know yet.
    pub start: Start,
    /// How long the broker waits before it gives an event again whose consumer is gone.
    pub redelivery: Duration,
    /// Whose topic it is.
    pub owner: Owner,
}

impl Subscription {
    /// Limits of its consumer.
    pub fn limits(&self) -> Limits {
        Limits { in_flight: Some(self.in_flight), redelivery: Some(self.redelivery) }
    }
}

/// Whose topic one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// It is part of an event bus, and is made when it is needed.
    #[default]
    Bus,
    /// Others publish there what they like. It is not made, so that a wrong name is told.
    Others,
}

/// Where a new group begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    #[default]
    New,
    /// With everything that the broker keeps.
    All,
}

/// An event that was given. It is given again, to this or another consumer, unless [`Delivery::handled`] is called.
#[derive(Debug)]
pub struct Delivery {
    /// What the broker has.
    pub message: Message,
    /// How it is read.
    pub protocol: Protocol,
    /// What the broker calls it: with the topic it is unique, and the same when it is given again.
    pub id: String,
    /// The key by which the broker orders, if it has one.
    pub key: Option<String>,
    /// When the broker got it, in milliseconds since 1970.
    pub at: u64,
    /// Whether it was given before.
    pub is_again: bool,
    /// How the broker is told.
    pub receipt: Box<dyn Receipt>,
}

/// Tells the broker what became of an event.
pub trait Receipt: fmt::Debug + Send + 'static {
    /// It was handled.
    fn handled(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>>;
    /// It was not, and is to be given again, after a while at the earliest.
    fn again(self: Box<Self>, after: Duration) -> BoxFuture<'static, Result<(), Error>> {
        // Where nobody else is told, it comes again once this is dropped.
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            drop(self);
        });
        async { Ok(()) }.boxed()
    }
}

impl Delivery {
    /// The event. A body that is an event in the JSON format is one also without headers, as Dapr and the first NATS
    /// binding send it.
    ///
    /// # Errors
    /// It is no event.
    pub fn event(&self) -> Result<Event, cloudevent::Error> {
        let headers = self.message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        match self.protocol.decode(headers, self.message.body.clone())? {
            Some(event) => Ok(event),
            None => Event::from_json(&self.message.body),
        }
    }

    /// Tells the broker that the event was handled.
    ///
    /// # Errors
    /// The broker was not told; it gives the event again.
    pub async fn handled(self) -> Result<(), Error> {
        self.receipt.handled().await
    }

    /// Tells the broker to give the event again, after a while at the earliest.
    ///
    /// # Errors
    /// The broker was not told; it gives the event again when it thinks that its consumer is gone.
    pub async fn again(self, after: Duration) -> Result<(), Error> {
        self.receipt.again(after).await
    }
}

/// Why a broker did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or is too busy: worth to be tried again.
    #[error("{0}")]
    Unavailable(String),
    /// It says no: credentials, a certificate, permissions, a topic that must not be. Somebody has to mend that.
    #[error("{0}")]
    Refused(String),
    /// An event that it never takes, since it is too large.
    #[error("the event has {size} bytes, and the broker takes fewer: {reason}")]
    TooLarge {
        /// Bytes of the event.
        size: usize,
        /// What the broker says.
        reason: String,
    },
}

/// What a mutex has. A panic of another leaves nothing half done here.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two settings that make sense only together.
///
/// # Errors
/// One of them is missing.
pub fn both<'a, A, B>(
    (first, a): (&str, &'a Option<A>),
    (second, b): (&str, &'a Option<B>),
) -> Result<Option<(&'a A, &'a B)>, Error> {
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::Refused(format!("{second}: Required value: {first} is set"))),
        (None, Some(_)) => Err(Error::Refused(format!("{first}: Required value: {second} is set"))),
    }
}
