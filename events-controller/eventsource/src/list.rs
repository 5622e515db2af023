//! A list of Redis as a queue: others push to its left end, and what is taken from its right end stays in a list of the
//! process until it was handled ("reliable queue" of the documentation of LMOVE). What a process leaves behind that is
//! gone, another puts back.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use event_bus::{
    bus::{Consumer, Delivery, Error, Lag, Receipt},
    redis::{BLOCK, blocking, commands, problem},
    wire::{Message, Protocol},
};
use event_delivery::take::{Origin, now};
use futures::{FutureExt, future::BoxFuture};
use redis::{
    AsyncCommands, Direction, RedisError,
    aio::{ConnectionManager, MultiplexedConnection},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};
use uuid::Uuid;

use crate::config::RedisKey;

/// The origin.
#[derive(Debug)]
pub struct List {
    name: String,
    config: RedisKey,
    in_flight: usize,
    redelivery: Duration,
}

impl List {
    /// A list, and how many of its elements may be worked on at one time.
    pub fn new(name: &str, config: &RedisKey, in_flight: usize, redelivery: Duration) -> Self {
        Self { name: name.to_owned(), config: config.clone(), in_flight: in_flight.max(1), redelivery }
    }

    async fn take(&self) -> Result<Taker, Error> {
        let (key, what) = (&self.config.key, format!("list {:?}", self.config.key));
        let client = self.config.server.client().await?;
        let shared = Arc::new(Shared {
            commands: commands(&client).await.map_err(|error| problem(&what, &error))?,
            key: key.clone(),
            group: self.config.group.clone(),
            process: Uuid::new_v4().to_string(),
        });
        shared.say_alive().await.map_err(|error| problem(&what, &error))?;
        tokio::spawn(keep_alive(Arc::downgrade(&shared), self.redelivery / 3));
        Ok(Taker {
            blocking: blocking(&client).await.map_err(|error| problem(&what, &error))?,
            shared,
            places: Arc::new(Semaphore::new(self.in_flight)),
            redelivery: self.redelivery,
            looked: None,
        })
    }
}

impl Origin for List {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        async {
            let mut taker = self.take().await?;
            let (shared, (give, taken)) = (taker.shared.clone(), mpsc::channel(1));
            // What Redis was asked for must be waited for: an element that it has moved would be forgotten.
            let task = tokio::spawn(async move { while give.send(taker.take().await).await.is_ok() {} });
            Ok(Box::new(Taken { shared, taken, task }) as Box<dyn Consumer>)
        }
        .boxed()
    }
}

struct Shared {
    commands: ConnectionManager,
    key: String,
    group: String,
    process: String,
}

impl Shared {
    /// The list of what a process works on. The braces keep it beside the other one in a Redis cluster.
    fn taken_by(&self, process: &str) -> String {
        format!("{{{}}}:{}:{process}", self.key, self.group)
    }

    /// The processes, by when they were there last.
    fn processes(&self) -> String {
        format!("{{{}}}:{}", self.key, self.group)
    }

    async fn say_alive(&self) -> Result<(), RedisError> {
        self.commands.clone().zadd(self.processes(), &self.process, now()).await
    }

    /// Puts back what processes have left behind that were not there for a while.
    async fn put_back(&self, after: Duration) -> Result<(), RedisError> {
        let mut commands = self.commands.clone();
        let since = now().saturating_sub(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        let gone: Vec<String> = commands.zrangebyscore(self.processes(), 0, since).await?;
        for process in gone.into_iter().filter(|process| *process != self.process) {
            self.put_back_of(&process).await?;
        }
        Ok(())
    }

    async fn put_back_of(&self, process: &str) -> Result<(), RedisError> {
        let (mut commands, left) = (self.commands.clone(), self.taken_by(process));
        loop {
            let moved = commands.lmove(&left, &self.key, Direction::Left, Direction::Right).await?;
            let Some::<Vec<u8>>(_) = moved else { break };
        }
        commands.zrem(self.processes(), process).await
    }
}

async fn keep_alive(shared: Weak<Shared>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = shared.say_alive().await {
            tracing::warn!(list = shared.key, "Redis was not told that this process works: {error}");
        }
    }
}

struct Taker {
    blocking: MultiplexedConnection,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    redelivery: Duration,
    looked: Option<Instant>,
}

impl Taker {
    async fn take(&mut self) -> Result<Delivery, Error> {
        let what = format!("list {:?}", self.shared.key);
        loop {
            // It is never closed.
            let Ok(place) = self.places.clone().acquire_owned().await else { return futures::future::pending().await };
            if self.looked.is_none_or(|at| at.elapsed() >= self.redelivery / 2) {
                self.shared.put_back(self.redelivery).await.map_err(|error| problem(&what, &error))?;
                self.looked = Some(Instant::now());
            }
            let taken = self.shared.taken_by(&self.shared.process);
            let (from, to) = (Direction::Right, Direction::Left);
            let element = self.blocking.blmove(&self.shared.key, taken, from, to, BLOCK.as_secs_f64()).await;
            let element: Option<Vec<u8>> = element.map_err(|error| problem(&what, &error))?;
            if let Some(element) = element {
                let receipt = Given { shared: self.shared.clone(), element: element.clone(), _place: place };
                return Ok(Delivery {
                    message: Message { headers: Vec::new(), body: element.into() },
                    protocol: Protocol::Nats,
                    // An element has no name.
                    id: Uuid::new_v4().to_string(),
                    key: None,
                    at: now(),
                    is_again: false,
                    receipt: Box::new(receipt),
                });
            }
        }
    }
}

/// What a task takes.
struct Taken {
    shared: Arc<Shared>,
    taken: mpsc::Receiver<Result<Delivery, Error>>,
    task: JoinHandle<()>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Consumer for Taken {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, Error>> {
        async {
            let ended = || Err(Error::Unavailable("the connection to Redis has ended".to_owned()));
            self.taken.recv().await.unwrap_or_else(ended)
        }
        .boxed()
    }

    fn lag(&self) -> Option<Lag> {
        let shared = self.shared.clone();
        Some(Box::new(move || {
            let shared = shared.clone();
            async move {
                let length = shared.commands.clone().llen(&shared.key).await;
                length.map_err(|error| problem(&format!("list {:?}", shared.key), &error))
            }
            .boxed()
        }))
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            self.task.abort();
            let _ = (&mut self.task).await;
            // Nobody need wait until this process is found to be gone.
            if let Err(error) = self.shared.put_back_of(&self.shared.process).await {
                tracing::warn!(list = self.shared.key, "what was taken was not put back: {error}");
            }
        }
        .boxed()
    }
}

struct Given {
    shared: Arc<Shared>,
    element: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("list", &self.shared.key).finish_non_exhaustive()
    }
}

impl Receipt for Given {
    fn handled(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        async move {
            let taken = self.shared.taken_by(&self.shared.process);
            // Which of several that are equal does not matter.
            let removed: Result<usize, _> = self.shared.commands.clone().lrem(taken, 1, &self.element).await;
            removed.map(drop).map_err(|error| problem(&format!("list {:?}", self.shared.key), &error))
        }
        .boxed()
    }
}
