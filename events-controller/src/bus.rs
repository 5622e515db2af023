//! The bus of an EventSource or Trigger: which it is, and how a handler is told of it.

use std::time::Duration;

use event_bus::{config::Config, jetstream, kafka, redis};
use openfunction_proto::GoDuration;
use openfunction_proto::events::{EventBusSpec, KafkaBus, KafkaScaleOption, NatsStreaming, NatsStreamingScaleOption};

use crate::{
    problem::Problem,
    secrets::{Secrets, TlsFiles},
};

/// A bus that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// `EventBus` or `ClusterEventBus`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What it is.
    pub spec: EventBusSpec,
}

/// What a bus says of those who read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// After how long an event is given again.
    pub redelivery: Option<Duration>,
    /// How many events may be worked on at one time.
    pub in_flight: Option<usize>,
    /// Whether a Trigger that is new gets what was kept before.
    pub from_the_beginning: bool,
}

/// How handlers of Triggers are scaled.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling<'a> {
    /// By what waits in JetStream.
    JetStream(&'a NatsStreamingScaleOption),
    /// By what waits in Kafka.
    Kafka(&'a KafkaScaleOption),
}

impl Found {
    fn said(&self) -> String {
        format!("{} {:?}", self.kind, self.name)
    }

    /// How a handler reaches it. What it needs of Secrets is added to `secrets`.
    ///
    /// # Errors
    /// It has no kind, or something in it is wrong.
    pub fn config(&self, secrets: &mut Secrets) -> Result<Config, Problem> {
        let EventBusSpec { topic: _, nats_streaming, jet_stream, kafka, redis_streams } = &self.spec;
        if let Some(nats) = nats_streaming {
            return Ok(Config::JetStream(jetstream::Config {
                url: nats.nats_url.clone(),
                ..jetstream::Config::default()
            }));
        }
        if let Some(bus) = jet_stream {
            let TlsFiles { ca, certificate, key } = secrets.tls(bus.tls.as_ref());
            return Ok(Config::JetStream(jetstream::Config {
                url: bus.url.clone(),
                tls: bus.tls.is_some(),
                stream: bus.stream.clone(),
                credentials: secrets.content(bus.credentials_secret_ref.as_ref(), None),
                ca: ca.map(Into::into),
                certificate: certificate.map(Into::into),
                key: key.map(Into::into),
            }));
        }
        if let Some(bus) = kafka {
            return Ok(Config::Kafka(self.kafka(bus, secrets)?));
        }
        if let Some(bus) = redis_streams {
            let TlsFiles { ca, certificate, key } = secrets.tls(bus.tls.as_ref());
            let file = |path: String| event_bus::files::Content::File(path.into());
            return Ok(Config::RedisStreams(redis::Config {
                url: bus.url.clone(),
                username: bus.username.clone(),
                password: secrets.content(bus.password_secret_ref.as_ref(), None),
                ca: ca.map(file),
                certificate: certificate.map(file),
                key: key.map(file),
            }));
        }
        Err(self.without_kind())
    }

    /// That it has no kind (BUG-E18).
    pub fn without_kind(&self) -> Problem {
        Problem::configuration(format!(
            "no specification found for {}: it must have one of natsStreaming, jetStream, kafka and redisStreams",
            self.said()
        ))
    }

    fn kafka(&self, bus: &KafkaBus, secrets: &mut Secrets) -> Result<kafka::Config, Problem> {
        if bus.sasl_username.is_some() != bus.sasl_password_secret_ref.is_some() {
            let message = "kafka: saslUsername and saslPasswordSecretRef must be set together, or neither";
            return Err(Problem::configuration(format!("{}: spec.{message}", self.said())));
        }
        let TlsFiles { ca, certificate, key } = secrets.tls(bus.tls.as_ref());
        Ok(kafka::Config {
            brokers: bus.brokers.clone(),
            sasl_username: bus.sasl_username.clone(),
            sasl_password: secrets.content(bus.sasl_password_secret_ref.as_ref(), None),
            sasl_mechanism: mechanism(bus.sasl_mechanism.as_deref()),
            tls: bus.tls.is_some(),
            ca: ca.map(|path| event_bus::files::Content::File(path.into())),
            certificate: certificate.map(Into::into),
            key: key.map(Into::into),
        })
    }

    /// What it says of those who read it.
    pub fn reading(&self) -> Reading {
        let Some(nats) = &self.spec.nats_streaming else { return Reading::default() };
        Reading {
            redelivery: nats
                .ack_wait_time
                .as_ref()
                .and_then(|text| GoDuration(text.clone()).to_std())
                .filter(|time| !time.is_zero()),
            in_flight: nats.max_in_flight.and_then(|number| usize::try_from(number).ok()).filter(|number| *number > 0),
            from_the_beginning: nats.deliver_all == Some(true),
        }
    }

    /// Whether its broker is JetStream, which keeps a consumer for each that reads a topic.
    pub fn has_consumers(&self) -> bool {
        self.spec.nats_streaming.is_some() || self.spec.jet_stream.is_some()
    }

    /// How handlers of Triggers are scaled, if it is said.
    pub fn scaling(&self) -> Option<Scaling<'_>> {
        let EventBusSpec { nats_streaming, jet_stream, kafka, .. } = &self.spec;
        let mapped = nats_streaming.as_ref().and_then(|bus| bus.scale_option.as_ref());
        let own = jet_stream.as_ref().and_then(|bus| bus.scale_option.as_ref());
        let kafka = || kafka.as_ref().and_then(|bus| bus.scale_option.as_ref()).map(Scaling::Kafka);
        mapped.or(own).map(Scaling::JetStream).or_else(kafka)
    }

    /// Where topics are: two buses with the same have the same topics.
    pub fn place(&self) -> Option<(&'static str, String)> {
        let EventBusSpec { topic: _, nats_streaming, jet_stream, kafka, redis_streams } = &self.spec;
        let nats = nats_streaming.as_ref().map(|bus| &bus.nats_url).or(jet_stream.as_ref().map(|bus| &bus.url));
        nats.map(|url| ("nats", url.clone()))
            .or_else(|| kafka.as_ref().map(|bus| ("kafka", bus.brokers.clone())))
            .or_else(|| redis_streams.as_ref().map(|bus| ("redis", bus.url.clone())))
    }
}

/// A mechanism of SASL by the name that Kafka has for it.
pub fn mechanism(name: Option<&str>) -> kafka::Mechanism {
    match name {
        Some("SCRAM-SHA-256") => kafka::Mechanism::ScramSha256,
        Some("SCRAM-SHA-512") => kafka::Mechanism::ScramSha512,
        // The schema allows no other.
        _ => kafka::Mechanism::Plain,
    }
}

/// What of NATS Streaming has another meaning on JetStream, or none: the fields that are set, and what becomes of them
/// (EV19, EV20). The others are used as they are.
pub fn not_mapped(nats: &NatsStreaming) -> Vec<&'static str> {
    let NatsStreaming {
        nats_url: _,
        nats_streaming_cluster_id: _,
        subscription_type: _,
        durable_subscription_name: _,
        ack_wait_time,
        max_in_flight: _,
        deliver_new: _,
        start_at_sequence,
        start_with_last_received,
        deliver_all: _,
        start_at_time_delta,
        start_at_time,
        start_at_time_format: _,
        consumer_id,
        scale_option,
    } = nats;
    let scale = scale_option.as_ref();
    let is_time = |text: &String| GoDuration(text.clone()).to_std().is_some();
    [
        (ack_wait_time.as_ref().is_some_and(|text| !is_time(text)), "ackWaitTime is no duration"),
        (start_at_sequence.is_some(), "startAtSequence: sequences of another server mean nothing"),
        (start_with_last_received == &Some(true), "startWithLastReceived"),
        (start_at_time_delta.is_some(), "startAtTimeDelta"),
        (start_at_time.is_some(), "startAtTime"),
        (consumer_id.is_some(), "consumerID: every Trigger has a consumer of its own"),
        (scale.is_some_and(|scale| scale.queue_group.is_some()), "scaleOption.queueGroup"),
        (scale.is_some_and(|scale| scale.durable_name.is_some()), "scaleOption.durableName"),
        (scale.is_some_and(|scale| scale.subject.is_some()), "scaleOption.subject"),
    ]
    .into_iter()
    .filter_map(|(is_set, what)| is_set.then_some(what))
    .collect()
}
