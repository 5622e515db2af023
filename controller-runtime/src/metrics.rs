//! Metrics of every controller, under `openfunction_<domain>_…`.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Request};
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder, histogram_opts, opts,
};
use tower::{Layer, Service};

/// Metrics of one controller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    reconcile_duration: HistogramVec,
    reconcile_errors: IntCounterVec,
    queue_depth: IntGaugeVec,
    objects: GaugeVec,
    api_requests: IntCounterVec,
    leader: IntGauge,
}

impl Metrics {
    /// Metrics of a domain, for example `function`: the name of the binary without `-controller`.
    ///
    /// # Errors
    /// If the domain is no metric name.
    pub fn new(domain: &str) -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some(format!("openfunction_{domain}")), None)?;
        let metrics = Self {
            reconcile_duration: HistogramVec::new(
                histogram_opts!(
                    "reconcile_duration_seconds",
                    "Duration of one reconcile.",
                    prometheus::exponential_buckets(0.001, 4.0, 8)?
                ),
                &["kind"],
            )?,
            reconcile_errors: IntCounterVec::new(
                opts!("reconcile_errors_total", "Reconciles that failed, by reason."),
                &["kind", "reason"],
            )?,
            queue_depth: IntGaugeVec::new(opts!("queue_depth", "Objects that wait for a reconcile."), &["kind"])?,
            objects: GaugeVec::new(opts!("objects", "Objects by kind and state."), &["kind", "state"])?,
            api_requests: IntCounterVec::new(
                opts!("api_requests_total", "Requests to the API server."),
                &["verb", "kind"],
            )?,
            leader: IntGauge::new("leader", "1 while this replica holds the lease.")?,
            registry,
        };
        metrics.registry.register(Box::new(metrics.reconcile_duration.clone()))?;
        metrics.registry.register(Box::new(metrics.reconcile_errors.clone()))?;
        metrics.registry.register(Box::new(metrics.queue_depth.clone()))?;
        metrics.registry.register(Box::new(metrics.objects.clone()))?;
        metrics.registry.register(Box::new(metrics.api_requests.clone()))?;
        metrics.registry.register(Box::new(metrics.leader.clone()))?;
        #[cfg(target_os = "linux")]
        metrics.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// Where a controller registers metrics of its own.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A reconcile ended.
    pub fn reconciled(&self, kind: &str, took: Duration) {
        self.reconcile_duration.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    /// A reconcile failed, for a reason of one word.
    pub fn failed(&self, kind: &str, reason: &str) {
        self.reconcile_errors.with_label_values(&[kind, reason]).inc();
    }

    /// So many objects of a kind wait for a reconcile.
    pub fn set_queue_depth(&self, kind: &str, waiting: usize) {
        self.queue_depth.with_label_values(&[kind]).set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// How many objects of all kinds wait for a reconcile.
    pub fn queue_depth(&self) -> u64 {
        let families = self.queue_depth.collect();
        let waiting =
            families.iter().flat_map(|family| family.get_metric()).map(|metric| metric.get_gauge().get_value());
        waiting.sum::<f64>() as u64
    }

    /// Whether this replica holds the lease.
    pub fn leader(&self) -> &IntGauge {
        &self.leader
    }

    /// How many objects of a kind are in a state.
    pub fn set_objects(&self, kind: &str, state: &str, count: usize) {
        self.objects.with_label_values(&[kind, state]).set(count as f64);
    }

    /// How many requests of a verb about a kind (its plural) were made.
    pub fn api_requests(&self, verb: &str, kind: &str) -> u64 {
        self.api_requests.with_label_values(&[verb, kind]).get()
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

/// Counts the requests of a client.
#[derive(Clone, Debug)]
pub struct CountRequests(pub Arc<Metrics>);

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counted { inner, metrics: self.0.clone() }
    }
}

/// A client whose requests are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (verb, kind) = classify(request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
        self.metrics.api_requests.with_label_values(&[verb, kind]).inc();
        self.inner.call(request)
    }
}

/// Verb and plural of a request, as RBAC words them. Requests that are not about a resource have the kind `-`.
fn classify<'a>(method: &Method, path: &'a str, query: &str) -> (&'static str, &'a str) {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let group_parts = match parts.next() {
        Some("api") => 1,
        Some("apis") => 2,
        _ => return ("get", "-"),
    };
    let mut rest = parts.skip(group_parts).peekable();
    let mut plural = rest.next();
    if plural == Some("namespaces") && rest.clone().count() >= 2 {
        rest.next();
        plural = rest.next();
    }
    let named = rest.next().is_some();
    let Some(plural) = plural else { return ("get", "-") };
    let verb = match (method.as_str(), named) {
        ("GET", _) if query.split('&').any(|pair| pair == "watch=true") => "watch",
        ("GET", true) => "get",
        ("GET", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "other",
    };
    (verb, plural)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_verb_and_kind() {
        for (method, path, expected) in [
            (Method::GET, "/apis/core.openfunction.io/v1beta2/functions", ("list", "functions")),
            (Method::GET, "/apis/core.openfunction.io/v1beta2/functions?watch=true&x=1", ("watch", "functions")),
            (Method::GET, "/api/v1/namespaces/shop/secrets/s", ("get", "secrets")),
            (Method::PATCH, "/apis/apps/v1/namespaces/shop/deployments/d/scale", ("patch", "deployments")),
            (Method::GET, "/api/v1/namespaces/shop", ("get", "namespaces")),
            (Method::DELETE, "/api/v1/namespaces/shop/pods", ("deletecollection", "pods")),
            (Method::GET, "/version", ("get", "-")),
            (Method::GET, "/apis/apps/v1", ("get", "-")),
        ] {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            assert_eq!(classify(&method, path, query), expected, "{method} {path}");
        }
    }

    #[test]
    fn metrics_are_named_after_the_domain() {
        let metrics = Metrics::new("function").unwrap();
        metrics.reconciled("Function", Duration::from_millis(3));
        metrics.failed("Function", "InvalidSpec");
        metrics.set_objects("Function", "Running", 2);
        metrics.set_queue_depth("Function", 3);
        metrics.set_queue_depth("Builder", 1);
        assert_eq!(metrics.queue_depth(), 4);
        let text = metrics.text();
        for line in [
            r#"openfunction_function_reconcile_errors_total{kind="Function",reason="InvalidSpec"} 1"#,
            r#"openfunction_function_reconcile_duration_seconds_count{kind="Function"} 1"#,
            r#"openfunction_function_objects{kind="Function",state="Running"} 2"#,
            r#"openfunction_function_queue_depth{kind="Function"} 3"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes"));
    }
}
