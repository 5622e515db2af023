//! Logs with a filter that can be changed while running, and traces over OTLP.

use std::time::Duration;

use http::HeaderMap;
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator},
    trace::TracerProvider,
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, reload};

use crate::args::{Args, LogFormat};

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
        Ok(telemetry)
    }

    fn build(service: &'static str, args: &Args) -> anyhow::Result<(impl Subscriber + Send + Sync + use<>, Self)> {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let traces = args.otlp_endpoint.as_deref().map(|endpoint| tracer(service, endpoint)).transpose()?;
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

fn tracer(service: &'static str, endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
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
pub(crate) mod tests {
    use clap::Parser;
    use opentelemetry::trace::TraceContextExt;
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    };

    use super::*;

    fn args(flags: &[&str]) -> Args {
        Args::parse_from(std::iter::once(&"test").chain(flags))
    }

    /// Telemetry that is not the process's own.
    pub(crate) fn build(flags: &[&str]) -> (impl Subscriber + Send + Sync + use<>, Telemetry) {
        Telemetry::build("test", &args(flags)).unwrap()
    }

    #[test]
    fn the_filter_can_be_changed_while_running() {
        let (subscriber, telemetry) = build(&["--log-filter", "warn"]);
        tracing::subscriber::with_default(subscriber, || {
            assert!(!tracing::enabled!(tracing::Level::INFO));
            telemetry.set_filter("info").unwrap();
            assert!(tracing::enabled!(tracing::Level::INFO));
            assert_eq!(telemetry.filter(), "info");
        });
    }

    #[test]
    fn a_bad_filter_is_an_error_that_shows_it() {
        let error = Telemetry::build("test", &args(&["--log-filter", "kube=loud"])).err().unwrap();
        assert!(error.to_string().contains(r#""kube=loud""#), "{error}");
    }

    #[test]
    fn the_w3c_context_of_a_request_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
        let context = context_of(&headers);
        assert_eq!(context.span().span_context().trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    }

    /// A collector that passes on what it gets.
    struct Collector(tokio::sync::mpsc::Sender<ExportTraceServiceRequest>);

    #[tonic::async_trait]
    impl TraceService for Collector {
        async fn export(
            &self,
            request: tonic::Request<ExportTraceServiceRequest>,
        ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
            let _ = self.0.send(request.into_inner()).await;
            Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_reach_the_collector_when_an_endpoint_is_given() {
        let (sender, mut received) = tokio::sync::mpsc::channel(4);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
        tokio::spawn(collector.serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)));
        let (subscriber, telemetry) = build(&["--otlp-endpoint", &endpoint]);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("reconcile", kind = "Function").in_scope(|| tracing::info!("hello"));
        });
        telemetry.shutdown().await;
        let spans = received.recv().await.unwrap();
        assert_eq!(spans.resource_spans[0].scope_spans[0].spans[0].name, "reconcile");
    }
}
