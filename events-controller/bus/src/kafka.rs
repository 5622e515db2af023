//! Kafka. A topic of the bus is a topic of Kafka. The key of a record is the event's `partitionkey`, and what has one key
//! keeps its order.

mod ledger;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use krafka::{
    Kafka, KrafkaError, Record,
    admin::{CreateTopicsOptions, DescribeTopicsOptions, ListConsumerGroupOffsetsOptions, NewTopic},
    auth::{AuthConfig, TlsConfig},
    consumer::{
        AutoOffsetReset, Consumer as KafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, OffsetAndMetadata,
        TopicPartition,
    },
    error::ErrorCode,
    producer::Producer,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    bus::{Bus, Consumer, Delivery, Error, Lag, Owner, Receipt, Start, Subscription, both, locked},
    cloudevent::Event,
    files::Content,
    wire::{Message, Mode, Protocol},
};
use ledger::Ledger;

/// Where Kafka is, and how it is spoken to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Addresses `host:port`, separated by commas.
    pub brokers: String,
    /// Name for SASL; without it there is none.
    #[serde(default)]
    pub sasl_username: Option<String>,
    /// Password for SASL.
    #[serde(default)]
    pub sasl_password: Option<Content>,
    /// How the password is shown.
    #[serde(default)]
    pub sasl_mechanism: Mechanism,
    /// Whether TLS is spoken.
    #[serde(default)]
    pub tls: bool,
    /// Certificates of authorities that are trusted, instead of the public ones.
    #[serde(default)]
    pub ca: Option<Content>,
    /// File with the certificate that shows who we are.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// File with the key of the certificate.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// Mechanisms of SASL, as Kafka names them.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub enum Mechanism {
    /// The password as it is.
    #[default]
    #[serde(rename = "PLAIN")]
    Plain,
    /// A challenge with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A challenge with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// The bus. Cheap to clone.
#[derive(Clone)]
pub struct KafkaBus {
    kafka: Kafka,
    producer: Arc<Producer>,
    brokers: String,
    /// Topics that exist, as far as we know.
    kept: Arc<Mutex<HashSet<String>>>,
}

impl fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaBus").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

/// How long the broker may take to answer. A member that joins waits for as long as a session of one that is gone.
const ANSWER: Duration = Duration::from_secs(45);

/// After how long a consumer is taken for dead: not less than a broker takes (`group.min.session.timeout.ms`).
const SHORTEST_SESSION: Duration = Duration::from_secs(6);
const LONGEST_SESSION: Duration = Duration::from_secs(10);

/// Records that are taken at one time, and their bytes: so much is in memory before anybody asks for it.
const BATCH: i32 = 256;
const BATCH_BYTES: i32 = 4 << 20;

impl Config {
    async fn security(&self) -> Result<Option<AuthConfig>, Error> {
        let mut auth = None;
        if let Some((name, password)) =
            both(("saslUsername", &self.sasl_username), ("saslPassword", &self.sasl_password))?
        {
            let password = password.secret().await?;
            auth = Some(match self.sasl_mechanism {
                Mechanism::Plain => AuthConfig::sasl_plain(name, password),
                Mechanism::ScramSha256 => AuthConfig::sasl_scram_sha256(name, password),
                Mechanism::ScramSha512 => AuthConfig::sasl_scram_sha512(name, password),
            });
        }
        if !self.tls && self.ca.is_none() && self.certificate.is_none() && self.key.is_none() {
            return Ok(auth);
        }
        let mut tls = TlsConfig::new();
        if let Some(ca) = &self.ca {
            tls = tls.with_ca_cert_pem(ca.read().await?);
        }
        if let Some((certificate, key)) = both(("certificate", &self.certificate), ("key", &self.key))? {
            tls = tls.with_client_cert(certificate.display().to_string(), key.display().to_string());
        }
        Ok(Some(match auth {
            Some(auth) => auth.with_tls(tls),
            None => AuthConfig::ssl(tls),
        }))
    }
}

fn problem(what: &str, error: &KrafkaError) -> Error {
    let message = format!("{what}: {error}");
    match error {
        KrafkaError::Auth { .. } | KrafkaError::Config { .. } => Error::Refused(message),
        KrafkaError::Broker { code, .. } if !code.is_retriable() => Error::Refused(message),
        _ => Error::Unavailable(message),
    }
}

impl KafkaBus {
    /// Connects. A connection that is lost later is made again by itself.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses; a file cannot be read.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let what = format!("Kafka at {}", config.brokers);
        let mut builder = Kafka::builder(config.brokers.clone()).client_id("openfunction").request_timeout(ANSWER);
        if let Some(security) = config.security().await? {
            builder = builder.security(security);
        }
        let kafka = builder.connect().await.map_err(|error| problem(&what, &error))?;
        // With all replicas, and what is sent again is kept once.
        let producer = kafka.producer().idempotent(true).build().await.map_err(|error| problem(&what, &error))?;
        Ok(Self { kafka, producer: Arc::new(producer), brokers: config.brokers.clone(), kept: Arc::default() })
    }

    fn kept(&self) -> MutexGuard<'_, HashSet<String>> {
        locked(&self.kept)
    }

    /// Has a topic, with as many partitions and replicas as the broker gives by itself.
    async fn make(&self, topic: &str) -> Result<(), Error> {
        if self.kept().contains(topic) {
            return Ok(());
        }
        let what = format!("topic {topic:?}");
        let wanted = NewTopic::new(topic, -1, -1).map_err(|error| problem(&what, &error))?;
        let made = self.kafka.admin().create_topics([wanted], CreateTopicsOptions::default()).await;
        let made = made.map_err(|error| problem(&what, &error))?;
        for result in made.into_values() {
            match result {
                Err(KrafkaError::Broker { code: ErrorCode::TopicAlreadyExists, .. }) | Ok(()) => {}
                // It may be there, and we not be allowed to make it.
                Err(KrafkaError::Broker {
                    code: ErrorCode::TopicAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed,
                    ..
                }) => {}
                Err(error) => return Err(problem(&what, &error)),
            }
        }
        self.kept().insert(topic.to_owned());
        Ok(())
    }

    /// A topic must be there.
    async fn find(&self, topic: &str) -> Result<(), Error> {
        let what = format!("topic {topic:?}");
        let described = self.kafka.admin().describe_topics([topic], DescribeTopicsOptions::default()).await;
        let described = described.map_err(|error| problem(&what, &error))?.remove(topic);
        described.transpose().map(drop).map_err(|error| problem(&what, &error))
    }

    async fn publish_event(&self, topic: &str, event: &Event, mode: Mode) -> Result<(), Error> {
        self.make(topic).await?;
        let Message { headers, body } = Protocol::Kafka.encode(event, mode);
        let size = body.len();
        let mut record =
            headers.into_iter().fold(Record::new(topic, body), |record, (name, value)| record.header(name, value));
        if let Some(key) = event.attributes.get("partitionkey") {
            record = record.key(key.to_string());
        }
        match self.producer.send(record).await {
            Ok(_) => Ok(()),
            Err(KrafkaError::Broker { code: ErrorCode::MessageTooLarge, message }) => {
                Err(Error::TooLarge { size, reason: message })
            }
            Err(error) => {
                self.kept().remove(topic);
                Err(problem(&format!("topic {topic:?}"), &error))
            }
        }
    }

    async fn take(&self, subscription: &Subscription) -> Result<Taker, Error> {
        let Subscription { topic, group, start, in_flight, redelivery, owner } = subscription;
        match owner {
            Owner::Bus => self.make(topic).await?,
            Owner::Others => self.find(topic).await?,
        }
        let what = format!("topic {topic:?}");
        // A group for each topic: whoever joins a group has all its members begin anew.
        let group = format!("{group}-{topic}");
        let shared = Arc::new(Shared {
            topic: topic.clone(),
            group: group.clone(),
            consumer: OnceLock::new(),
            partitions: Mutex::default(),
            is_assigned: AtomicBool::new(false),
            handled: Notify::new(),
        });
        let reset = if *start == Start::All { AutoOffsetReset::Earliest } else { AutoOffsetReset::Latest };
        let consumer = self
            .kafka
            .consumer(group)
            .enable_auto_commit(false)
            .auto_offset_reset(reset)
            .session_timeout((*redelivery).clamp(SHORTEST_SESSION, LONGEST_SESSION))
            .heartbeat_interval(SHORTEST_SESSION / 3)
            .max_poll_records(BATCH)
            .fetch_max_bytes(BATCH_BYTES)
            .max_partition_fetch_bytes(BATCH_BYTES)
            .rebalance_listener(Rebalance(shared.clone()));
        let consumer = Arc::new(consumer.build().await.map_err(|error| problem(&what, &error))?);
        consumer.subscribe([topic]).await.map_err(|error| problem(&what, &error))?;
        // It is set once, here.
        let _ = shared.consumer.set(Arc::downgrade(&consumer));
        tokio::spawn(keep_committing(Arc::downgrade(&shared), Arc::downgrade(&consumer)));
        Ok(Taker {
            kafka: self.kafka.clone(),
            consumer,
            shared,
            records: VecDeque::new(),
            in_flight: *in_flight,
            has_left: false,
        })
    }
}

impl Bus for KafkaBus {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        event: &'a Event,
        mode: Mode,
        _: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.publish_event(topic, event, mode).boxed()
    }

    fn keep<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        self.make(topic).boxed()
    }

    fn subscribe<'a>(&'a self, subscription: &'a Subscription) -> BoxFuture<'a, Result<Box<dyn Consumer>, Error>> {
        async { Ok(Box::new(self.take(subscription).await?) as Box<dyn Consumer>) }.boxed()
    }
}

/// What a consumer knows of its partitions.
struct Shared {
    topic: String,
    group: String,
    consumer: OnceLock<Weak<KafkaConsumer>>,
    partitions: Mutex<BTreeMap<i32, Partition>>,
    /// Whether partitions have come that nothing is known of yet.
    is_assigned: AtomicBool,
    /// Told when an event was handled, or is to be given again.
    handled: Notify,
}

/// A partition that is ours, or was: what was handled of it stays handled.
#[derive(Default)]
struct Partition {
    is_ours: bool,
    ledger: Ledger,
    in_flight: BTreeSet<i64>,
    /// What was committed last.
    committed: Option<(i64, String)>,
    /// Whether an event is to be given again.
    is_rewound: bool,
}

impl Shared {
    fn partitions(&self) -> MutexGuard<'_, BTreeMap<i32, Partition>> {
        locked(&self.partitions)
    }

    fn in_flight(&self) -> usize {
        self.partitions().values().map(|partition| partition.in_flight.len()).sum()
    }

    /// What is to be committed and was not yet.
    fn uncommitted(&self) -> Vec<(TopicPartition, OffsetAndMetadata)> {
        let mut partitions = self.partitions();
        let ours = partitions.iter_mut().filter(|(_, partition)| partition.is_ours);
        let changed = ours.filter_map(|(number, partition)| {
            let now = partition.ledger.commit();
            if partition.committed.as_ref() == Some(&now) {
                return None;
            }
            partition.committed = Some(now.clone());
            Some((TopicPartition::new(self.topic.clone(), *number), OffsetAndMetadata::with_metadata(now.0, now.1)))
        });
        changed.collect()
    }

    async fn commit(&self, consumer: &KafkaConsumer) {
        let offsets = self.uncommitted();
        if offsets.is_empty() {
            return;
        }
        if let Err(error) = consumer.commit_offsets(offsets.iter().map(|(partition, offset)| (partition, offset))).await
        {
            tracing::warn!(topic = self.topic, "offsets were not committed, trying again: {error}");
            let mut partitions = self.partitions();
            for (partition, _) in offsets {
                if let Some(partition) = partitions.get_mut(&partition.partition()) {
                    partition.committed = None;
                }
            }
        }
    }
}

/// Pause before what was not committed is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Commits whenever something was handled, one commit after the other.
async fn keep_committing(shared: Weak<Shared>, consumer: Weak<KafkaConsumer>) {
    loop {
        let Some(now) = shared.upgrade() else { return };
        let _ = tokio::time::timeout(PAUSE, now.handled.notified()).await;
        let Some(consumer) = consumer.upgrade() else { return };
        now.commit(&consumer).await;
    }
}

/// Keeps in [`Shared::partitions`] which of them are ours.
struct Rebalance(Arc<Shared>);

impl ConsumerRebalanceListener for Rebalance {
    async fn on_partitions_assigned(&self, _: &[TopicPartition]) {
        self.0.is_assigned.store(true, Ordering::Release);
    }

    async fn on_partitions_revoked(&self, partitions: &[TopicPartition]) {
        if let Some(consumer) = self.0.consumer.get().and_then(Weak::upgrade) {
            self.0.commit(&consumer).await;
        }
        self.on_partitions_lost(partitions).await;
    }

    async fn on_partitions_lost(&self, partitions: &[TopicPartition]) {
        let mut known = self.0.partitions();
        for partition in partitions {
            if let Some(known) = known.get_mut(&partition.partition()) {
                known.is_ours = false;
            }
        }
    }
}

struct Taker {
    kafka: Kafka,
    consumer: Arc<KafkaConsumer>,
    shared: Arc<Shared>,
    records: VecDeque<ConsumerRecord>,
    in_flight: usize,
    has_left: bool,
}

impl Taker {
    async fn take(&mut self) -> Result<Delivery, Error> {
        let what = format!("topic {:?}", self.shared.topic);
        loop {
            if self.shared.is_assigned.load(Ordering::Acquire) {
                self.learn().await.map_err(|error| problem(&what, &error))?;
                // Others come only while this polls.
                self.shared.is_assigned.store(false, Ordering::Release);
            }
            self.rewind().await.map_err(|error| problem(&what, &error))?;
            while self.shared.in_flight() >= self.in_flight {
                if tokio::time::timeout(PAUSE, self.shared.handled.notified()).await.is_err() {
                    self.stay().await.map_err(|error| problem(&what, &error))?;
                }
            }
            while let Some(record) = self.records.pop_front() {
                if let Some(delivery) = self.give(record) {
                    return Ok(delivery);
                }
            }
            let polled = self.consumer.poll(PAUSE).await.map_err(|error| problem(&what, &error))?;
            self.records.extend(polled);
        }
    }

    /// Reads what the group knows of partitions that have come. Where it knows nothing, it does so from now on: what
    /// comes next must not be passed over by who comes next.
    async fn learn(&mut self) -> Result<(), KrafkaError> {
        let topic = self.shared.topic.clone();
        let assigned = self.consumer.assignment().await.remove(&topic).unwrap_or_default();
        let unknown: Vec<_> = {
            let known = self.shared.partitions();
            assigned.into_iter().filter(|number| known.get(number).is_none_or(|known| !known.is_ours)).collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let options = ListConsumerGroupOffsetsOptions::default()
            .partitions(unknown.iter().map(|number| TopicPartition::new(topic.clone(), *number)).collect());
        let mut known = self.kafka.admin().list_consumer_group_offsets(&self.shared.group, options).await?;
        for number in unknown {
            let group = known.remove(&TopicPartition::new(topic.clone(), number)).transpose()?;
            let committed = group.and_then(|group| Some((group.offset?, group.metadata.unwrap_or_default())));
            let ledger = match &committed {
                Some((offset, metadata)) => Ledger::committed(*offset, metadata),
                // What was polled already comes before the position.
                None => {
                    let polled = self.records.iter().filter(|record| record.partition == number);
                    let polled = polled.map(|record| record.offset).min();
                    let position = self.consumer.position(&topic, number).await;
                    Ledger::committed(polled.into_iter().chain(position).min().unwrap_or_default(), "")
                }
            };
            let begin = {
                let mut partitions = self.shared.partitions();
                let partition = partitions.entry(number).or_default();
                partition.ledger = ledger.with(&partition.ledger);
                (partition.is_ours, partition.committed, partition.is_rewound) = (true, committed, false);
                partition.ledger.commit().0
            };
            // What was polled may be of a time when the partition was ours before, and leave something out.
            self.records.retain(|record| record.partition != number);
            self.consumer.seek(&topic, number, begin).await?;
        }
        self.shared.commit(&self.consumer).await;
        Ok(())
    }

    /// Stays in the group while nothing more can be taken: who does not poll for `max.poll.interval.ms` is put out.
    async fn stay(&mut self) -> Result<(), KrafkaError> {
        let topic = &self.shared.topic;
        let assigned = self.consumer.assignment().await.remove(topic).unwrap_or_default();
        self.consumer.pause(topic, &assigned).await;
        let polled = self.consumer.poll(Duration::from_millis(1)).await;
        self.consumer.resume(topic, &assigned).await;
        self.records.extend(polled?);
        Ok(())
    }

    /// Goes back to the first event that was not handled, where one is to be given again.
    async fn rewind(&mut self) -> Result<(), KrafkaError> {
        let rewound: Vec<_> = {
            let mut partitions = self.shared.partitions();
            let rewound = partitions.iter_mut().filter_map(|(number, partition)| {
                std::mem::take(&mut partition.is_rewound).then(|| (*number, partition.ledger.commit().0))
            });
            rewound.collect()
        };
        for (number, offset) in rewound {
            self.records.retain(|record| record.partition != number);
            self.consumer.seek(&self.shared.topic, number, offset).await?;
        }
        Ok(())
    }

    fn give(&self, record: ConsumerRecord) -> Option<Delivery> {
        let (number, offset) = (record.partition, record.offset);
        {
            let mut partitions = self.shared.partitions();
            // It went to another consumer meanwhile.
            let partition = partitions.get_mut(&number).filter(|partition| partition.is_ours)?;
            if partition.ledger.give(offset) || !partition.in_flight.insert(offset) {
                return None;
            }
        }
        let headers = record.headers.iter().filter_map(|(name, value)| {
            Some((name.to_string(), String::from_utf8_lossy(value.as_ref()?).into_owned()))
        });
        Some(Delivery {
            message: Message { headers: headers.collect(), body: record.value.unwrap_or_default() },
            protocol: Protocol::Kafka,
            id: format!("partition:{number}/offset:{offset}"),
            key: record.key.and_then(|key| String::from_utf8(key.to_vec()).ok()),
            at: u64::try_from(record.timestamp).unwrap_or_default(),
            is_again: false,
            receipt: Box::new(Given { shared: self.shared.clone(), number, offset, is_handled: false }),
        })
    }
}

/// Others get the partitions at once.
async fn leave(shared: Arc<Shared>, consumer: Arc<KafkaConsumer>) {
    shared.commit(&consumer).await;
    if let Err(error) = consumer.close().await {
        tracing::debug!("the group was not left: {error}");
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        // Without a runtime the process ends, and others get the partitions a little later.
        if !self.has_left
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(leave(self.shared.clone(), self.consumer.clone()));
        }
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
            async move { Ok(consumer.lag().await.values().filter_map(|partition| partition.lag).sum()) }.boxed()
        }))
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        self.has_left = true;
        leave(self.shared.clone(), self.consumer.clone()).boxed()
    }
}

struct Given {
    shared: Arc<Shared>,
    number: i32,
    offset: i64,
    is_handled: bool,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("partition", &self.number).field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl Receipt for Given {
    fn handled(mut self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        self.is_handled = true;
        async { Ok(()) }.boxed()
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(partition) = self.shared.partitions().get_mut(&self.number)
            && partition.in_flight.remove(&self.offset)
        {
            if self.is_handled {
                partition.ledger.handle(self.offset);
            } else {
                partition.is_rewound = true;
            }
        }
        self.shared.handled.notify_one();
        self.shared.handled.notify_waiters();
    }
}
