//! Redis Streams. A topic is a stream; an event is the field `data` of an entry, as the pub/sub component of Dapr writes and
//! reads it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ::redis::{
    AsyncTypedCommands, Client, ClientTlsConfig, IntoConnectionInfo, RedisError, TlsCertificates, Value,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    streams::{
        StreamAddOptions, StreamAutoClaimOptions, StreamClaimOptions, StreamId, StreamReadOptions, StreamTrimStrategy,
        StreamTrimmingMode,
    },
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    bus::{Bus, Consumer, Delivery, Error, Lag, RETENTION, Receipt, Start, Subscription, locked},
    cloudevent::Event,
    files::{Content, key_pair, read_some},
    wire::{Message, Mode, Protocol},
};

/// Where Redis is, and how it is spoken to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Address, for example `redis://redis.default:6379/0`, or `rediss://…` with TLS.
    pub url: String,
    /// Name of the user, if it is not the default one.
    #[serde(default)]
    pub username: Option<String>,
    /// Password.
    #[serde(default)]
    pub password: Option<Content>,
    /// Certificates of authorities that are trusted, instead of those of the system.
    #[serde(default)]
    pub ca: Option<Content>,
    /// Certificate that shows who we are.
    #[serde(default)]
    pub certificate: Option<Content>,
    /// Key of the certificate.
    #[serde(default)]
    pub key: Option<Content>,
}

/// How long Redis may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long Redis waits for what it is asked for.
pub const BLOCK: Duration = Duration::from_millis(500);

/// Entries that are taken at one time.
const BATCH: usize = 64;

/// The field that has the event.
const DATA: &str = "data";

/// The bus. Cheap to clone.
#[derive(Clone)]
pub struct RedisStreams {
    client: Client,
    commands: ConnectionManager,
    address: String,
}

impl fmt::Debug for RedisStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStreams").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What an error of Redis means.
pub fn problem(what: &str, error: &RedisError) -> Error {
    let message = format!("{what}: {error}");
    match error.kind() {
        ::redis::ErrorKind::AuthenticationFailed | ::redis::ErrorKind::InvalidClientConfig => Error::Refused(message),
        ::redis::ErrorKind::Server(_)
            if matches!(error.code(), Some("NOPERM" | "NOAUTH" | "WRONGPASS" | "WRONGTYPE")) =>
        {
            Error::Refused(message)
        }
        _ => Error::Unavailable(message),
    }
}

impl Config {
    /// A client; nothing is connected yet.
    ///
    /// # Errors
    /// The address is wrong, or a file cannot be read.
    pub async fn client(&self) -> Result<Client, Error> {
        let wrong = |error: RedisError| Error::Refused(format!("Redis: {error}"));
        let mut info = self.url.as_str().into_connection_info().map_err(wrong)?;
        let mut settings = info.redis_settings().clone();
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.secret().await?);
        }
        info = info.set_redis_settings(settings);
        if self.ca.is_none() && self.certificate.is_none() && self.key.is_none() {
            return Client::open(info).map_err(wrong);
        }
        let root_cert = read_some(self.ca.as_ref()).await?;
        let client_tls = key_pair(&self.certificate, &self.key).await?;
        let client_tls = client_tls.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(wrong)
    }
}

/// A connection for commands, which is made again by itself when it is lost.
///
/// # Errors
/// Redis cannot be reached, or refuses.
pub async fn commands(client: &Client) -> Result<ConnectionManager, RedisError> {
    let manager = ConnectionManagerConfig::new()
        .set_number_of_retries(1)
        .set_response_timeout(Some(ANSWER))
        .set_connection_timeout(Some(ANSWER));
    client.get_connection_manager_with_config(manager).await
}

/// A connection for what is waited for, up to [`BLOCK`]: that keeps others from a connection.
///
/// # Errors
/// Redis cannot be reached, or refuses.
pub async fn blocking(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let waiting = ::redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER))
        .set_response_timeout(Some(BLOCK + ANSWER));
    client.get_multiplexed_async_connection_with_config(&waiting).await
}

impl RedisStreams {
    /// Connects. A connection that is lost later is made again by itself.
    ///
    /// # Errors
    /// Redis cannot be reached, or refuses; a file cannot be read.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let client = config.client().await?;
        let address = client.get_connection_info().addr().to_string();
        let commands = commands(&client).await.map_err(|error| problem(&format!("Redis at {address}"), &error))?;
        Ok(Self { client, commands, address })
    }

    async fn publish_event(&self, topic: &str, event: &Event, mode: Mode) -> Result<(), Error> {
        if mode == Mode::Binary {
            let reason =
                "contentMode: Unsupported value: \"binary\": an entry of Redis Streams has no headers, use structured";
            return Err(Error::Refused(reason.to_owned()));
        }
        let oldest = now().saturating_sub(RETENTION).as_millis();
        let trim = StreamTrimStrategy::minid(StreamTrimmingMode::Approx, oldest.to_string());
        let options = StreamAddOptions::default().trim(trim);
        let body = Protocol::Http.encode(event, mode).body;
        let added = self.commands.clone().xadd_options(topic, "*", &[(DATA, &body[..])], &options).await;
        added.map(drop).map_err(|error| problem(&format!("topic {topic:?}"), &error))
    }

    async fn take(&self, subscription: &Subscription) -> Result<Taker, Error> {
        let Subscription { topic, group, start, .. } = subscription;
        let what = format!("topic {topic:?}");
        let begin = if *start == Start::All { "0" } else { "$" };
        match self.commands.clone().xgroup_create_mkstream(topic, group, begin).await {
            Ok(()) => {}
            Err(error) if error.code() == Some("BUSYGROUP") => {}
            Err(error) => return Err(problem(&what, &error)),
        }
        let blocking = blocking(&self.client).await;
        let shared = Arc::new(Shared {
            commands: self.commands.clone(),
            topic: topic.clone(),
            group: group.clone(),
            name: format!("{}-{}", std::process::id(), now().as_nanos()),
            redelivery: subscription.redelivery,
            outstanding: Mutex::default(),
            handled: Notify::new(),
        });
        tokio::spawn(keep_alive(Arc::downgrade(&shared), subscription.redelivery / 3));
        Ok(Taker {
            blocking: blocking.map_err(|error| problem(&what, &error))?,
            shared,
            entries: VecDeque::new(),
            in_flight: subscription.in_flight,
            claimed: None,
        })
    }
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Bus for RedisStreams {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        event: &'a Event,
        mode: Mode,
        _: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.publish_event(topic, event, mode).boxed()
    }

    fn subscribe<'a>(&'a self, subscription: &'a Subscription) -> BoxFuture<'a, Result<Box<dyn Consumer>, Error>> {
        async { Ok(Box::new(self.take(subscription).await?) as Box<dyn Consumer>) }.boxed()
    }
}

/// A consumer of a group, and what it was given and has not handled.
struct Shared {
    commands: ConnectionManager,
    topic: String,
    group: String,
    name: String,
    redelivery: Duration,
    outstanding: Mutex<BTreeSet<String>>,
    handled: Notify,
}

impl Shared {
    fn outstanding(&self) -> MutexGuard<'_, BTreeSet<String>> {
        locked(&self.outstanding)
    }

    /// Has entries look as if they were given some time ago.
    async fn touch(&self, ids: &[String], idle: Duration) -> Result<(), RedisError> {
        let idle = usize::try_from(idle.as_millis()).unwrap_or(usize::MAX);
        let options = StreamClaimOptions::default().idle(idle).with_justid();
        let mut commands = self.commands.clone();
        let _: Vec<String> = ::redis::AsyncCommands::xclaim_options(
            &mut commands,
            &self.topic,
            &self.group,
            &self.name,
            0,
            ids,
            options,
        )
        .await?;
        Ok(())
    }
}

/// Others take what its consumer does not say that it works on.
async fn keep_alive(shared: Weak<Shared>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(shared) = shared.upgrade() else { return };
        let ids: Vec<_> = shared.outstanding().iter().cloned().collect();
        if !ids.is_empty()
            && let Err(error) = shared.touch(&ids, Duration::ZERO).await
        {
            tracing::warn!(topic = shared.topic, "Redis was not told that events are worked on: {error}");
        }
    }
}

struct Taker {
    blocking: MultiplexedConnection,
    shared: Arc<Shared>,
    /// Entries, and whether they were given to another consumer before.
    entries: VecDeque<(StreamId, bool)>,
    in_flight: usize,
    /// When it was last looked for entries whose consumer is gone.
    claimed: Option<Instant>,
}

impl Taker {
    async fn take(&mut self) -> Result<Delivery, Error> {
        let what = format!("topic {:?}", self.shared.topic);
        loop {
            while self.shared.outstanding().len() >= self.in_flight {
                self.shared.handled.notified().await;
            }
            if let Some((entry, is_again)) = self.entries.pop_front() {
                if let Some(delivery) = self.give(entry, is_again) {
                    return Ok(delivery);
                }
                continue;
            }
            if self.claimed.is_none_or(|at| at.elapsed() >= self.shared.redelivery / 2) {
                self.claim().await.map_err(|error| problem(&what, &error))?;
                self.claimed = Some(Instant::now());
                continue;
            }
            self.read().await.map_err(|error| problem(&what, &error))?;
        }
    }

    fn room(&self) -> usize {
        self.in_flight.saturating_sub(self.shared.outstanding().len()).clamp(1, BATCH)
    }

    /// Takes over what nobody says that it works on.
    async fn claim(&mut self) -> Result<(), RedisError> {
        let Shared { topic, group, name, redelivery, .. } = &*self.shared;
        let options = StreamAutoClaimOptions::default().count(self.room());
        let idle = usize::try_from(redelivery.as_millis()).unwrap_or(usize::MAX);
        let mut commands = self.shared.commands.clone();
        let claimed = commands.xautoclaim_options(topic, group, name, idle, "0-0", options).await?;
        self.entries.extend(claimed.claimed.into_iter().map(|entry| (entry, true)));
        Ok(())
    }

    async fn read(&mut self) -> Result<(), RedisError> {
        let block = usize::try_from(BLOCK.as_millis()).unwrap_or(usize::MAX);
        let options =
            StreamReadOptions::default().group(&self.shared.group, &self.shared.name).count(self.room()).block(block);
        let read = self.blocking.xread_options(&[&self.shared.topic], &[">"], &options).await?;
        let entries = read.into_iter().flat_map(|read| read.keys).flat_map(|stream| stream.ids);
        self.entries.extend(entries.map(|entry| (entry, false)));
        Ok(())
    }

    fn give(&self, entry: StreamId, is_again: bool) -> Option<Delivery> {
        if !self.shared.outstanding().insert(entry.id.clone()) {
            return None;
        }
        let at = entry.id.split('-').next().and_then(|milliseconds| milliseconds.parse().ok());
        Some(Delivery {
            message: Message { headers: Vec::new(), body: body(&entry) },
            protocol: Protocol::Nats,
            id: entry.id.clone(),
            key: None,
            at: at.unwrap_or_default(),
            is_again,
            receipt: Box::new(Given { shared: self.shared.clone(), id: entry.id }),
        })
    }
}

/// The field that has the event, or else all fields as JSON: others may write what they like.
fn body(entry: &StreamId) -> Bytes {
    if let Some(Value::BulkString(data)) = entry.map.get(DATA) {
        return data.clone().into();
    }
    let fields = entry.map.iter().map(|(name, value)| match value {
        Value::BulkString(value) => (name, String::from_utf8_lossy(value).into_owned()),
        other => (name, format!("{other:?}")),
    });
    // Texts: it cannot fail.
    serde_json::to_vec(&fields.collect::<BTreeMap<_, _>>()).unwrap_or_default().into()
}

impl Consumer for Taker {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, Error>> {
        self.take().boxed()
    }

    fn lag(&self) -> Option<Lag> {
        let shared = self.shared.clone();
        Some(Box::new(move || {
            let shared = shared.clone();
            async move {
                let groups = shared.commands.clone().xinfo_groups(&shared.topic).await;
                let groups = groups.map_err(|error| problem(&format!("topic {:?}", shared.topic), &error))?;
                let lag =
                    groups.groups.into_iter().find(|known| known.name == shared.group).and_then(|group| group.lag);
                lag.map(|lag| lag as u64).ok_or_else(|| Error::Unavailable("Redis does not say".to_owned()))
            }
            .boxed()
        }))
    }
}

struct Given {
    shared: Arc<Shared>,
    id: String,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Receipt for Given {
    fn handled(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        async move {
            let Shared { topic, group, .. } = &*self.shared;
            let told = self.shared.commands.clone().xack(topic, group, &[&self.id]).await;
            told.map(drop).map_err(|error| problem(&format!("topic {topic:?}"), &error))
        }
        .boxed()
    }

    fn again(self: Box<Self>, after: Duration) -> BoxFuture<'static, Result<(), Error>> {
        async move {
            let shared = self.shared.clone();
            let ids = [self.id.clone()];
            drop(self);
            let told = shared.touch(&ids, shared.redelivery.saturating_sub(after)).await;
            told.map_err(|error| problem(&format!("topic {:?}", shared.topic), &error))
        }
        .boxed()
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.shared.outstanding().remove(&self.id);
        self.shared.handled.notify_one();
    }
}
