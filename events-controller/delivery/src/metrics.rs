//! What a process tells of itself.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::deliver::Outcome;

/// Its metrics, and what keeps it from working.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    received: IntCounterVec,
    malformed: IntCounter,
    deliveries: IntCounterVec,
    retries: IntCounter,
    lag: IntGaugeVec,
    latency: Histogram,
    /// What does not give or take events, with the reason.
    failing: Mutex<BTreeMap<String, String>>,
}

/// Upper bounds of the time from the origin to the end of a delivery, in seconds.
const LATENCIES: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

impl Metrics {
    /// Metrics of their own, whose names begin with `prefix`.
    ///
    /// # Errors
    /// Two have one name, which would be a mistake of this file.
    pub fn new(prefix: &str) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let opts = |name: &str, help: &str| Opts::new(format!("{prefix}_{name}"), help);
        let received = opts("events_received_total", "Events that have come; redelivered if not for the first time.");
        let received = IntCounterVec::new(received, &["redelivered"])?;
        let malformed = opts("events_malformed_total", "Messages that should be events and are none.");
        let malformed = IntCounter::with_opts(malformed)?;
        let deliveries = opts("deliveries_total", "Deliveries to sinks and topics by their outcome.");
        let deliveries = IntCounterVec::new(deliveries, &["outcome"])?;
        let retries = opts("delivery_retries_total", "Tries to deliver that came after another had failed.");
        let retries = IntCounter::with_opts(retries)?;
        let lag = opts("lag_events", "Events that wait and were never given, by where they are.");
        let lag = IntGaugeVec::new(lag, &["origin"])?;
        let latency = opts("delivery_latency_seconds", "Time from the origin to the end of a delivery.");
        let latency = Histogram::with_opts(HistogramOpts::from(latency).buckets(LATENCIES.to_vec()))?;
        registry.register(Box::new(received.clone()))?;
        registry.register(Box::new(malformed.clone()))?;
        registry.register(Box::new(deliveries.clone()))?;
        registry.register(Box::new(retries.clone()))?;
        registry.register(Box::new(lag.clone()))?;
        registry.register(Box::new(latency.clone()))?;
        Ok(Self { registry, received, malformed, deliveries, retries, lag, latency, failing: Mutex::default() })
    }

    /// An event has come.
    pub fn received(&self, is_again: bool) {
        self.received.with_label_values(&[if is_again { "true" } else { "false" }]).inc();
    }

    /// A message was no event.
    pub fn malformed(&self) {
        self.malformed.inc();
    }

    /// A delivery is tried again.
    pub fn retried(&self) {
        self.retries.inc();
    }

    /// So many events wait at an origin.
    pub fn lag(&self, origin: &str, events: u64) {
        self.lag.with_label_values(&[origin]).set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    /// A delivery has ended, so long after the event was there.
    pub fn ended(&self, outcome: Outcome, latency: Duration) {
        self.deliveries.with_label_values(&[word(outcome)]).inc();
        self.latency.observe(latency.as_secs_f64());
    }

    /// How many deliveries have ended so.
    pub fn deliveries(&self, outcome: Outcome) -> u64 {
        self.deliveries.with_label_values(&[word(outcome)]).get()
    }

    /// What was known with a configuration of before says nothing any more.
    pub fn begins(&self) {
        self.failing_now().clear();
        self.lag.reset();
    }

    /// What gives or takes events does so, or says why not.
    pub fn answers(&self, what: &str, problem: Option<String>) {
        let mut failing = self.failing_now();
        match problem {
            Some(problem) => drop(failing.insert(what.to_owned(), problem)),
            None => drop(failing.remove(what)),
        }
    }

    /// What does not give or take events, with the reason.
    pub fn failing(&self) -> BTreeMap<String, String> {
        self.failing_now().clone()
    }

    fn failing_now(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In the text format of Prometheus.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        // Into memory: it cannot fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::DeadLettered => "dead_lettered",
        Outcome::Dropped => "dropped",
    }
}
