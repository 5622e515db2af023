//! NATS JetStream. A topic is a subject, so that the pub/sub component of Dapr reads and writes it under its name. It
//! is kept in a stream of its own that has its name, unless one stream is named for all.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use async_nats::{
    ConnectErrorKind, ConnectOptions, HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{
        self, AckKind, Context,
        consumer::{self, AckPolicy, DeliverPolicy, PullConsumer, pull},
        context::{ConsumerInfoErrorKind, PublishErrorKind},
        message::Acker,
        stream,
    },
};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use percent_encoding::utf8_percent_encode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    bus::{Bus, Consumer, Delivery, Error, Lag, Limits, RETENTION, Receipt, Start, Subscription, both, locked},
    cloudevent::Event,
    files::Content,
    wire::{ENCODED, Message, Mode, Protocol},
};

/// Where JetStream is, and how it is spoken to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Addresses, for example `nats://nats.nats:4222`, separated by commas.
    pub url: String,
    /// One stream for all topics. It is made, or gets the subjects that it lacks.
    #[serde(default)]
    pub stream: Option<String>,
    /// NATS credentials: a JWT and the seed of an nkey.
    #[serde(default)]
    pub credentials: Option<Content>,
    /// Whether TLS is spoken, whatever the addresses say.
    #[serde(default)]
    pub tls: bool,
    /// File with the certificates of authorities that are trusted besides those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// File with the certificate that shows who we are.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// File with the key of the certificate.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// How long the broker may take to say that it keeps an event.
const CONFIRMATION: Duration = Duration::from_secs(5);

/// Events of one request to the broker, and their bytes: so much is in memory before anybody asks for it.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;

/// The bus. Cheap to clone.
#[derive(Clone)]
pub struct JetStream {
    context: Context,
    address: String,
    stream: Option<String>,
    /// Topics that are kept, as far as we know.
    kept: Arc<Mutex<HashSet<String>>>,
    /// What is known of the events of each consumer, however often it begins anew.
    events: Arc<Mutex<HashMap<String, Arc<Outstanding>>>>,
}

impl fmt::Debug for JetStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStream").field("address", &self.address).finish_non_exhaustive()
    }
}

impl JetStream {
    /// Connects. A connection that is lost later is made again by itself.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses; a file cannot be read.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let mut options = ConnectOptions::new().name("openfunction").connection_timeout(CONFIRMATION);
        if let Some(credentials) = &config.credentials {
            let read = options.credentials(&credentials.secret().await?);
            options = read.map_err(|error| Error::Refused(format!("{credentials:?} are no credentials: {error}")))?;
        }
        if config.tls {
            options = options.require_tls(true);
        }
        if let Some(file) = &config.ca {
            options = options.add_root_certificates(file.clone()).require_tls(true);
        }
        if let Some((certificate, key)) = both(("certificate", &config.certificate), ("key", &config.key))? {
            options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
        }
        let address = without_password(&config.url);
        let addresses: Vec<_> = config.url.split(',').map(|address| address.trim().to_owned()).collect();
        let client = options.connect(addresses).await.map_err(|error| {
            let message = format!("NATS at {address}: {error}");
            match error.kind() {
                ConnectErrorKind::Dns
                | ConnectErrorKind::TimedOut
                | ConnectErrorKind::Io
                | ConnectErrorKind::MaxReconnects => Error::Unavailable(message),
                _ => Error::Refused(message),
            }
        })?;
        let mut context = jetstream::new(client);
        context.set_timeout(CONFIRMATION);
        Ok(Self { context, address, stream: config.stream.clone(), kept: Arc::default(), events: Arc::default() })
    }

    fn kept(&self) -> MutexGuard<'_, HashSet<String>> {
        locked(&self.kept)
    }

    /// Has a topic kept.
    async fn make(&self, topic: &str) -> Result<(), Error> {
        if self.kept().contains(topic) {
            return Ok(());
        }
        let name = stream_name(self.stream.as_deref(), topic);
        let unavailable = |error: &dyn fmt::Display| Error::Unavailable(format!("stream {name:?}: {error}"));
        // Whoever made it, and however it is named: it is kept.
        if self.context.stream_by_subject(topic).await.is_err() {
            let wanted = stream::Config {
                name: name.clone(),
                subjects: vec![topic.to_owned()],
                max_age: RETENTION,
                num_replicas: 1,
                ..stream::Config::default()
            };
            let stream = self.context.get_or_create_stream(wanted).await.map_err(|error| unavailable(&error))?;
            let mut live = stream.cached_info().config.clone();
            if !live.subjects.iter().any(|subject| subject == topic) {
                live.subjects.push(topic.to_owned());
                self.context.update_stream(live).await.map_err(|error| unavailable(&error))?;
            }
        }
        self.kept().insert(topic.to_owned());
        Ok(())
    }

    async fn publish_event(&self, topic: &str, event: &Event, mode: Mode, attempt: &str) -> Result<(), Error> {
        self.make(topic).await?;
        let message = Protocol::Nats.encode(event, mode);
        let size = message.body.len();
        let mut headers = HeaderMap::new();
        for (name, value) in &message.headers {
            headers.insert(name.as_str(), value.as_str());
        }
        headers.insert(NATS_MESSAGE_ID, message_id(topic, attempt));
        let failed = |error: jetstream::context::PublishError| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Error::TooLarge { size, reason: error.to_string() },
            PublishErrorKind::StreamNotFound => {
                // Somebody has deleted it: the next try makes it again.
                self.kept().remove(topic);
                Error::Unavailable(format!("topic {topic:?}: {error}"))
            }
            _ => Error::Unavailable(format!("topic {topic:?}: {error}")),
        };
        let confirmation =
            self.context.publish_with_headers(topic.to_owned(), headers, message.body).await.map_err(failed)?;
        confirmation.await.map(drop).map_err(failed)
    }

    /// The stream that keeps a topic.
    async fn stream_of(&self, topic: &str) -> Result<stream::Stream, Error> {
        let unavailable = |error: &dyn fmt::Display| Error::Unavailable(format!("topic {topic:?}: {error}"));
        let stream = self.context.stream_by_subject(topic).await.map_err(|error| unavailable(&error))?;
        self.context.get_stream(&stream).await.map_err(|error| unavailable(&error))
    }

    async fn limit_consumer(&self, topic: &str, name: &str, limits: Limits) -> Result<(), Error> {
        let unavailable = |error: &dyn fmt::Display| Error::Unavailable(format!("topic {topic:?}: {error}"));
        let stream = self.stream_of(topic).await?;
        let info = match stream.consumer_info(name).await {
            Ok(info) => info,
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unavailable(&error)),
        };
        if let Some(changed) = with_limits(&info.config, limits) {
            stream.update_consumer(changed).await.map_err(|error| unavailable(&error))?;
        }
        Ok(())
    }

    async fn take(&self, subscription: &Subscription) -> Result<Taker, Error> {
        let Subscription { topic, group, .. } = subscription;
        self.make(topic).await?;
        let unavailable = |error: &dyn fmt::Display| Error::Unavailable(format!("topic {topic:?}: {error}"));
        let durable = durable_name(group, topic);
        let wanted = pull::Config {
            durable_name: Some(durable.clone()),
            filter_subject: topic.clone(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: subscription.redelivery,
            max_ack_pending: i64::try_from(subscription.in_flight).unwrap_or(i64::MAX),
            deliver_policy: if subscription.start == Start::All { DeliverPolicy::All } else { DeliverPolicy::New },
            ..pull::Config::default()
        };
        let stream = self.stream_of(topic).await?;
        let consumer: PullConsumer = match stream.get_consumer(&durable).await {
            Ok(consumer) => match with_limits(&consumer.cached_info().config, subscription.limits()) {
                None => consumer,
                Some(changed) => {
                    stream.update_consumer(changed).await.map_err(|error| unavailable(&error))?;
                    stream.get_consumer(&durable).await.map_err(|error| unavailable(&error))?
                }
            },
            Err(_) => stream.create_consumer(wanted).await.map_err(|error| unavailable(&error))?,
        };
        let mut known = locked(&self.events);
        let outstanding = known.entry(durable).or_insert_with(|| {
            let outstanding = Arc::new(Outstanding::default());
            tokio::spawn(keep_alive(Arc::downgrade(&outstanding), subscription.redelivery / 3));
            outstanding
        });
        let outstanding = outstanding.clone();
        Ok(Taker { consumer, messages: None, outstanding, in_flight: subscription.in_flight })
    }
}

/// The settings of a consumer that exists, if its limits are to be others.
fn with_limits(is: &consumer::Config, wanted: Limits) -> Option<consumer::Config> {
    let in_flight = wanted.in_flight.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let max_ack_pending = in_flight.unwrap_or(is.max_ack_pending);
    let ack_wait = wanted.redelivery.unwrap_or(is.ack_wait);
    let is_same = is.max_ack_pending == max_ack_pending && is.ack_wait == ack_wait;
    (!is_same).then(|| consumer::Config { max_ack_pending, ack_wait, ..is.clone() })
}

/// What an attempt is known by in a stream, for its time of duplicates. A header has one line of ASCII.
fn message_id(topic: &str, attempt: &str) -> String {
    utf8_percent_encode(&format!("{topic}/{attempt}"), ENCODED).to_string()
}

/// The name of the stream that a topic is kept in, unless somebody keeps it already.
pub fn stream_name(stream: Option<&str>, topic: &str) -> String {
    stream.map_or_else(|| allowed(topic), str::to_owned)
}

/// The name of the consumer of a group for a topic.
pub fn durable_name(group: &str, topic: &str) -> String {
    allowed(&format!("{group}-{topic}"))
}

/// Names of streams and consumers have no dots, which are those of subjects.
fn allowed(name: &str) -> String {
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    name.replace(|character| !is_allowed(character), "_")
}

fn without_password(url: &str) -> String {
    let hidden = |address: &str| match address.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => address.to_owned(),
    };
    url.split(',').map(hidden).collect::<Vec<_>>().join(",")
}

impl Bus for JetStream {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        event: &'a Event,
        mode: Mode,
        attempt: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.publish_event(topic, event, mode, attempt).boxed()
    }

    fn limit<'a>(&'a self, topic: &'a str, consumer: &'a str, limits: Limits) -> BoxFuture<'a, Result<(), Error>> {
        self.limit_consumer(topic, consumer, limits).boxed()
    }

    fn keep<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        self.make(topic).boxed()
    }

    fn subscribe<'a>(&'a self, subscription: &'a Subscription) -> BoxFuture<'a, Result<Box<dyn Consumer>, Error>> {
        async { Ok(Box::new(self.take(subscription).await?) as Box<dyn Consumer>) }.boxed()
    }
}

/// What this process knows of the events that it was given, by their sequence in the stream.
#[derive(Default)]
struct Events {
    /// Given and not handled: the broker is told now and then that they are worked on.
    outstanding: HashMap<u64, Arc<Acker>>,
    /// Handled lately. NATS keeps acknowledgements a little later than it takes them, and gives such
    /// events again when it was killed.
    handled: BTreeSet<u64>,
}

/// How many are known that were handled lately.
const HANDLED: usize = 4_096;

type Outstanding = Mutex<Events>;

async fn keep_alive(outstanding: Weak<Outstanding>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(outstanding) = outstanding.upgrade() else { return };
        let all: Vec<_> = locked(&outstanding).outstanding.values().cloned().collect();
        for acker in all {
            // Without it the broker gives the event again.
            let _ = acker.ack_with(AckKind::Progress).await;
        }
    }
}

struct Taker {
    consumer: PullConsumer,
    messages: Option<pull::Stream>,
    outstanding: Arc<Outstanding>,
    in_flight: usize,
}

impl Taker {
    fn events(&self) -> MutexGuard<'_, Events> {
        locked(&self.outstanding)
    }

    async fn take(&mut self) -> Result<Delivery, Error> {
        loop {
            let message = self.pull().await?;
            let unavailable = |error: &dyn fmt::Display| Error::Unavailable(format!("consumer: {error}"));
            let (at, sequence, is_again) = {
                let info = message.info().map_err(|error| unavailable(&error))?;
                let at = info.published.unix_timestamp_nanos() / 1_000_000;
                (u64::try_from(at).unwrap_or_default(), info.stream_sequence, info.delivered > 1)
            };
            // Whoever was killed may not even know that it has given it.
            if self.events().handled.contains(&sequence) {
                message.ack().await.map_err(|error| unavailable(&error))?;
                continue;
            }
            let (message, acker) = message.split();
            // It is worked on already: the broker was killed, or did not hear that.
            if self.events().outstanding.insert(sequence, Arc::new(acker)).is_some() {
                continue;
            }
            let headers = message.headers.unwrap_or_default();
            let headers = headers
                .iter()
                .filter_map(|(name, values)| Some((name.to_string(), values.first()?.as_str().to_owned())));
            return Ok(Delivery {
                message: Message { headers: headers.collect(), body: message.payload },
                protocol: Protocol::Nats,
                id: sequence.to_string(),
                key: None,
                at,
                is_again,
                receipt: Box::new(Given { sequence, outstanding: self.outstanding.clone() }),
            });
        }
    }

    async fn pull(&mut self) -> Result<jetstream::Message, Error> {
        let unavailable = |error: &dyn fmt::Display| Error::Unavailable(format!("consumer: {error}"));
        let messages = match &mut self.messages {
            Some(messages) => messages,
            none => {
                let pulling = self.consumer.stream().max_messages_per_batch(self.in_flight.min(BATCH));
                let pulling = pulling.max_bytes_per_batch(BATCH_BYTES).messages().await;
                none.insert(pulling.map_err(|error| unavailable(&error))?)
            }
        };
        let failed = match messages.next().await {
            Some(Ok(message)) => return Ok(message),
            Some(Err(error)) => unavailable(&error),
            None => unavailable(&"the stream of messages has ended"),
        };
        self.messages = None;
        Err(failed)
    }
}

impl Consumer for Taker {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, Error>> {
        self.take().boxed()
    }

    fn lag(&self) -> Option<Lag> {
        let consumer = self.consumer.clone();
        Some(Box::new(move || {
            let consumer = consumer.clone();
            async move {
                let info = consumer.get_info().await;
                let info = info.map_err(|error| Error::Unavailable(format!("consumer: {error}")))?;
                Ok(info.num_pending)
            }
            .boxed()
        }))
    }
}

struct Given {
    sequence: u64,
    outstanding: Arc<Outstanding>,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Given {
    async fn tell(self: Box<Self>, kind: AckKind) -> Result<(), Error> {
        // That of the last time that it was given; from now on it may be given again.
        let acker = locked(&self.outstanding).outstanding.remove(&self.sequence);
        let Some(acker) = acker else { return Ok(()) };
        acker.ack_with(kind).await.map_err(|error| Error::Unavailable(format!("acknowledgement: {error}")))
    }
}

impl Receipt for Given {
    fn handled(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        {
            let mut events = locked(&self.outstanding);
            events.handled.insert(self.sequence);
            if events.handled.len() > HANDLED {
                events.handled.pop_first();
            }
        }
        self.tell(AckKind::Ack).boxed()
    }

    fn again(self: Box<Self>, after: Duration) -> BoxFuture<'static, Result<(), Error>> {
        self.tell(AckKind::Nak(Some(after))).boxed()
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        locked(&self.outstanding).outstanding.remove(&self.sequence);
    }
}
