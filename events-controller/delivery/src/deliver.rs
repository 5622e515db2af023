//! Delivery of an event to what a subscriber names: with retries, and what cannot be delivered to its dead letters.

use std::{sync::Arc, time::Duration};

use event_bus::{
    bus::{self, Bus},
    cloudevent::{Attribute, Event, is_one_line},
    wire::{CONTENT_TYPE, Mode, Protocol},
};
use reqwest::{Client, StatusCode, header::RETRY_AFTER};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    duration,
    metrics::Metrics,
    take::now,
    trace::{Operation, Span},
};

/// How events are delivered. The words are those of Knative's DeliverySpec.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Policy {
    /// How often it is tried again.
    pub retry: u32,
    /// Whether the pauses double, or grow by the first.
    pub backoff_policy: BackoffPolicy,
    /// The first pause.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub backoff_delay: Duration,
    /// How long one try may take.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub timeout: Duration,
    /// How events are sent, if not `binary` to a sink and `structured` to a topic.
    pub content_mode: Option<Mode>,
}

/// How pauses grow.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BackoffPolicy {
    /// Each is twice as long as the one before.
    #[default]
    Exponential,
    /// Each is longer by the first.
    Linear,
}

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Default for Policy {
    /// More than two minutes, so that a receiver can be replaced meanwhile.
    fn default() -> Self {
        Self {
            retry: 12,
            backoff_policy: BackoffPolicy::Exponential,
            backoff_delay: Duration::from_millis(100),
            timeout: Duration::from_secs(30),
            content_mode: None,
        }
    }
}

impl Policy {
    /// The pause after a number of tries that failed.
    fn pause(&self, failed: u32) -> Duration {
        let times = match self.backoff_policy {
            BackoffPolicy::Exponential => 2_u32.saturating_pow(failed.saturating_sub(1)),
            BackoffPolicy::Linear => failed,
        };
        self.backoff_delay.saturating_mul(times).min(LONGEST_PAUSE)
    }
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A POST to a URL.
    Sink(String),
    /// A topic of the bus.
    Topic(String),
}

impl Destination {
    /// A sink, a topic, or both.
    pub fn all(sink: Option<&String>, topic: Option<&String>) -> Vec<Self> {
        let sink = sink.cloned().map(Self::Sink);
        sink.into_iter().chain(topic.cloned().map(Self::Topic)).collect()
    }
}

/// A client for sinks. Where one redirects to is not asked: the request would go there without its body.
///
/// # Errors
/// The certificates of the system cannot be read.
pub fn client() -> reqwest::Result<Client> {
    Client::builder().redirect(reqwest::redirect::Policy::none()).pool_max_idle_per_host(64).build()
}

/// What delivers.
#[derive(Clone, Debug)]
pub struct Deliverer {
    /// Asks sinks.
    pub client: Client,
    /// Has the topics, if there are any.
    pub bus: Option<Arc<dyn Bus>>,
    /// Name of the Trigger or EventSource, for what is published again after a restart to be known.
    pub name: String,
    /// Where is told of it.
    pub metrics: Arc<Metrics>,
}

/// What became of an event for one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has it.
    Delivered,
    /// It went to the dead letters.
    DeadLettered,
    /// It is lost to the subscriber: it could not be delivered, and there are no dead letters.
    Dropped,
}

/// Why a try failed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    /// HTTP status, if there was one.
    status: Option<u16>,
    message: String,
    /// Whether another try may go better.
    is_passing: bool,
    /// The pause that the receiver asks for.
    pause: Option<Duration>,
}

impl Deliverer {
    /// Delivers an event, that has been there since a time in milliseconds since 1970, to a destination, or else to the
    /// dead letters. Returns when it is somewhere, however long that takes: there is nobody else who has it.
    pub async fn deliver(
        &self,
        subscriber: usize,
        (event, since): (&Event, u64),
        destination: &Destination,
        dead_letters: &[Destination],
        policy: &Policy,
    ) -> Outcome {
        let outcome = self.deliver_or_bury(subscriber, event, destination, dead_letters, policy).await;
        self.ended(outcome, since)
    }

    fn ended(&self, outcome: Outcome, since: u64) -> Outcome {
        self.metrics.ended(outcome, Duration::from_millis(now().saturating_sub(since)));
        outcome
    }

    async fn deliver_or_bury(
        &self,
        subscriber: usize,
        event: &Event,
        destination: &Destination,
        dead_letters: &[Destination],
        policy: &Policy,
    ) -> Outcome {
        let (operation, place) = match destination {
            Destination::Sink(url) => (Operation::Post, url),
            Destination::Topic(topic) => (Operation::Publish, topic),
        };
        let span = Span::begin(operation, place, event);
        let sent = self.try_until(subscriber, &span.carried(event), destination, policy, policy.retry).await;
        let Err(failure) = sent else { return Outcome::Delivered };
        span.failed(&failure.message);
        if dead_letters.is_empty() {
            warn!(
                ?destination,
                id = event.id,
                source = event.source,
                "dropped, there are no dead letters: {}",
                failure.message
            );
            return Outcome::Dropped;
        }
        info!(?destination, id = event.id, source = event.source, "goes to the dead letters: {}", failure.message);
        self.bury(subscriber, &dead_letter(event, destination, &failure), dead_letters, policy).await
    }

    /// Delivers what could not be read to the dead letters, with the reason.
    pub async fn deliver_unread(
        &self,
        subscriber: usize,
        (event, since): (&Event, u64),
        reason: String,
        dead_letters: &[Destination],
        policy: &Policy,
    ) -> Outcome {
        let mut letter = event.clone();
        letter.attributes.insert("knativeerrordata".to_owned(), Attribute::Text(reason));
        let outcome = self.bury(subscriber, &letter, dead_letters, policy).await;
        self.ended(outcome, since)
    }

    async fn bury(&self, subscriber: usize, letter: &Event, dead_letters: &[Destination], policy: &Policy) -> Outcome {
        let mut outcome = Outcome::Dropped;
        for destination in dead_letters {
            match self.try_until(subscriber, letter, destination, policy, u32::MAX).await {
                Ok(()) => outcome = Outcome::DeadLettered,
                Err(failure) => {
                    let reason = failure.message;
                    warn!(?destination, id = letter.id, source = letter.source, "not taken as a dead letter: {reason}");
                }
            }
        }
        outcome
    }

    /// Tries again as long as that makes sense.
    async fn try_until(
        &self,
        subscriber: usize,
        event: &Event,
        destination: &Destination,
        policy: &Policy,
        retry: u32,
    ) -> Result<(), Failure> {
        let mut failed = 0;
        loop {
            let tried = match destination {
                Destination::Sink(url) => self.post(url, event, policy).await,
                Destination::Topic(topic) => self.publish(subscriber, topic, event, policy).await,
            };
            let Err(failure) = tried else { return Ok(()) };
            if !failure.is_passing || failed >= retry {
                return Err(failure);
            }
            failed += 1;
            self.metrics.retried();
            if failed.is_power_of_two() {
                info!(?destination, id = event.id, source = event.source, failed, "trying again: {}", failure.message);
            }
            tokio::time::sleep(failure.pause.unwrap_or_else(|| policy.pause(failed))).await;
        }
    }

    async fn post(&self, url: &str, event: &Event, policy: &Policy) -> Result<(), Failure> {
        let message = Protocol::Http.encode(event, policy.content_mode.unwrap_or(Mode::Binary));
        let mut request = self.client.post(url).timeout(policy.timeout).body(message.body);
        if !message.headers.iter().any(|(name, _)| name == CONTENT_TYPE) {
            // As the original says it.
            request = request.header(CONTENT_TYPE, "application/json; charset=utf-8");
        }
        for (name, value) in &message.headers {
            request = request.header(name, value);
        }
        // Also as the receiver's own tracing looks for it (W3C Trace Context).
        for name in ["traceparent", "tracestate"] {
            let value = event.attributes.get(name).map(ToString::to_string);
            if let Some(value) = value.filter(|value| is_one_line(value)) {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.map_err(|error| Failure {
            status: None,
            is_passing: !error.is_builder(),
            message: format!("POST {url}: {}", chain(&error)),
            pause: None,
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Err(Failure {
            status: Some(status.as_u16()),
            message: format!("POST {url}: {status}"),
            is_passing: is_passing(status),
            pause: asked.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE)),
        })
    }

    async fn publish(&self, subscriber: usize, topic: &str, event: &Event, policy: &Policy) -> Result<(), Failure> {
        let attempt = format!("{}/{subscriber}/{}/{}", self.name, event.source, event.id);
        // Structured, so that the pub/sub components of Dapr read it (goals EV53).
        let mode = policy.content_mode.unwrap_or(Mode::Structured);
        let published = match &self.bus {
            Some(bus) => bus.publish(topic, event, mode, &attempt).await,
            None => Err(bus::Error::Refused("there is no bus".to_owned())),
        };
        let problem = published.as_ref().err().filter(|error| !matches!(error, bus::Error::TooLarge { .. }));
        self.metrics.answers(&format!("publishing to {topic}"), problem.map(ToString::to_string));
        published.map_err(|error| Failure {
            status: None,
            // What is refused may be allowed later; what is too large stays so.
            is_passing: !matches!(error, bus::Error::TooLarge { .. }),
            message: format!("topic {topic}: {error}"),
            pause: None,
        })
    }
}

/// Statuses after which another try may go better: those of Knative's delivery.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 404 | 408 | 409 | 425 | 429)
}

/// An event as a dead letter, with the extension attributes that Knative gives them.
fn dead_letter(event: &Event, destination: &Destination, failure: &Failure) -> Event {
    let destination = match destination {
        Destination::Sink(url) => url.clone(),
        Destination::Topic(topic) => topic.clone(),
    };
    let code = failure.status.map(|status| Attribute::Integer(status.into()));
    let of_failure = [
        ("knativeerrordest", Some(Attribute::Text(destination))),
        ("knativeerrorcode", code),
        ("knativeerrordata", Some(Attribute::Text(failure.message.clone()))),
    ];
    let mut letter = event.clone();
    letter.attributes.extend(of_failure.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    letter
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
#[path = "deliver_tests.rs"]
mod tests;
