//! Logs with a filter that can be changed while running, and traces over OTLP.
#![warn(missing_docs)]

#[cfg(feature = "testing")]
pub mod testing;

use std::{sync::OnceLock, time::Duration};

use clap::ValueEnum;
use http::HeaderMap;
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator},
    trace::TracerProvider,
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, reload};

/// Flags of every program. Each can also be given as an environment variable.
#[derive(Clone, Debug, clap::Args)]
// Its group would have the name of that of a program's own flags.
#[group(skip)]
pub struct Args {
    /// Form of the log.
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged, for example `info` or `info,kube=debug`.
    #[arg(long, env = "LOG_FILTER", value_name = "FILTER", default_value = "info")]
    pub log_filter: String,
    /// Endpoint of an OpenTelemetry collector (OTLP over gRPC) that gets traces, for example `http://otel:4317`.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

impl Args {
    /// A chart writes every variable: one that is set to nothing is not set.
    fn endpoint(&self) -> Option<&str> {
        self.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty())
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// One line of text for each event.
    Text,
    /// One JSON object for each event.
    Json,
}

/// Makes spans that no log has, if traces are sent.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// What makes spans besides those of `tracing`; `None` if traces are not sent.
pub fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// The running telemetry. Dropping it loses spans that were not sent; call [`Telemetry::shutdown`].
#[derive(Clone, Debug)]
pub struct Telemetry {
    filter: reload::Handle<EnvFilter, Registry>,
    traces: Option<SdkTracerProvider>,
}

/// Spans of the exporter's own transport must not feed back into the exporter.
const TRACE_FILTER: &str = "info,h2=off,hyper=off,hyper_util=off,tonic=off,tower=off,opentelemetry=off";

impl Telemetry {
    /// Starts logging and, if an endpoint is given, tracing; must be called inside a tokio runtime, once per process.
    ///
    /// # Errors
    /// A bad filter or endpoint, named; or a second call.
    pub fn start(service: &'static str, args: &Args) -> anyhow::Result<Self> {
        let (subscriber, telemetry) = Self::build(service, args)?;
        tracing::subscriber::set_global_default(subscriber)?;
        if let Some(traces) = &telemetry.traces {
            TRACER.get_or_init(|| traces.tracer(service));
        }
        Ok(telemetry)
    }

    /// As [`Telemetry::start`], and the process keeps what it has.
    ///
    /// # Errors
    /// A bad filter or endpoint, named.
    pub fn build(service: &'static str, args: &Args) -> anyhow::Result<(impl Subscriber + Send + Sync + use<>, Self)> {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let traces = args.endpoint().map(|endpoint| provider(service, endpoint)).transpose()?;
        let (filter, handle) = reload::Layer::new(parse_filter(&args.log_filter)?);
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match args.log_format {
            LogFormat::Json => {
                Box::new(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr))
            }
            LogFormat::Text => Box::new(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr)),
        };
        let spans = traces.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer(service))
                .with_filter(EnvFilter::new(TRACE_FILTER))
        });
        Ok((Registry::default().with(lines.with_filter(filter)).with(spans), Self { filter: handle, traces }))
    }

    /// Changes what is logged.
    ///
    /// # Errors
    /// A filter that cannot be read, with the reason.
    pub fn set_filter(&self, filter: &str) -> anyhow::Result<()> {
        Ok(self.filter.reload(parse_filter(filter)?)?)
    }

    /// What is logged now.
    pub fn filter(&self) -> String {
        self.filter.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Sends what was not sent yet, for at most five seconds.
    pub async fn shutdown(self) {
        let Some(traces) = self.traces else { return };
        // `shutdown` blocks.
        let sent = tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(Duration::from_secs(5)));
        if let Ok(Err(error)) = sent.await {
            tracing::debug!(%error, "spans were lost");
        }
    }
}

fn parse_filter(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| anyhow::anyhow!("the log filter {filter:?} cannot be read: {error}"))
}

fn provider(service: &'static str, endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(3))
        .build()
        .map_err(|error| anyhow::anyhow!("the OTLP endpoint {endpoint:?} cannot be used: {error}"))?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(service).build())
        .build())
}

/// The trace context that a request carries (W3C Trace Context), to be the parent of our span.
pub fn context_of(headers: &HeaderMap) -> Context {
    struct Headers<'a>(&'a HeaderMap);
    impl Extractor for Headers<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            self.0.get(key)?.to_str().ok()
        }
        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(http::HeaderName::as_str).collect()
        }
    }
    TraceContextPropagator::new().extract(&Headers(headers))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use opentelemetry::trace::TraceContextExt;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        args: Args,
    }

    fn build(flags: &[&str]) -> anyhow::Result<(impl Subscriber + Send + Sync + use<>, Telemetry)> {
        Telemetry::build("test", &Flags::parse_from(std::iter::once(&"test").chain(flags)).args)
    }

    #[test]
    fn the_filter_can_be_changed_while_running() {
        let (subscriber, telemetry) = build(&["--log-filter", "warn"]).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            assert!(!tracing::enabled!(tracing::Level::INFO));
            telemetry.set_filter("info").unwrap();
            assert!(tracing::enabled!(tracing::Level::INFO));
            assert_eq!(telemetry.filter(), "info");
        });
    }

    #[test]
    fn a_bad_filter_is_an_error_that_shows_it() {
        let error = build(&["--log-filter", "kube=loud"]).err().unwrap();
        assert!(error.to_string().contains(r#""kube=loud""#), "{error}");
    }

    #[test]
    fn an_endpoint_of_nothing_is_none() {
        assert!(build(&["--otlp-endpoint", ""]).unwrap().1.traces.is_none());
    }

    #[test]
    fn the_w3c_context_of_a_request_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
        let context = context_of(&headers);
        assert_eq!(context.span().span_context().trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_reach_the_collector_when_an_endpoint_is_given() {
        let (endpoint, mut spans) = testing::collector().await.unwrap();
        let (subscriber, telemetry) = build(&["--otlp-endpoint", &endpoint]).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("reconcile", kind = "Function").in_scope(|| tracing::info!("hello"));
        });
        telemetry.shutdown().await;
        assert_eq!(spans.recv().await.unwrap().name, "reconcile");
    }
}
