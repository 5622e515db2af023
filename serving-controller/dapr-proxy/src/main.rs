//! Stands between Dapr's sidecar of a function and the function's pods (core-behaviour §5.3): it tells the sidecar what the
//! function subscribes to, so that no pod need be up for that, and passes each event on to one of the pods, waiting for one
//! that takes it. Events are passed on as they are, whatever Dapr puts into them.

mod app;
mod context;
mod pods;

use std::{collections::HashMap, net::Ipv6Addr, process::ExitCode, time::Duration};

use anyhow::Context as _;
use axum::{Router, routing, serve::ListenerExt};
use clap::Parser;
use http::HeaderMap;
use tokio::{net::TcpListener, signal::unix};
use tokio_util::sync::CancellationToken;

use app::App;
use context::FunctionContext;
use pods::Pods;

/// Stands between Dapr's sidecar of a function and the function's pods.
#[derive(Debug, Parser)]
#[command(name = "dapr-proxy", version)]
struct Arguments {
    /// Protocol by which Dapr calls the function: grpc or http.
    #[arg(long, env = "APP_PROTOCOL", default_value = "grpc", value_parser = ["grpc", "http"])]
    protocol: String,
    /// Port on which Dapr's sidecar calls.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// Port of the probes.
    #[arg(long, env = "PROBE_PORT", default_value_t = 8081)]
    probe_port: u16,
    /// The function's pods, as `host:port`: a name that leads to all of them.
    #[arg(long, env = "TARGET")]
    target: String,
    /// Headers that requests to them must have, as a JSON object: what stands between may go by them.
    #[arg(long, env = "HEADERS", value_name = "JSON", default_value = "{}", value_parser = headers)]
    headers: HeaderMap,
    /// The function's context, as its framework reads it.
    #[arg(long, env = "FUNC_CONTEXT_V1BETA2")]
    func_context: String,
    /// Seconds for which an event waits for a pod that takes it.
    #[arg(long, env = "DELIVERY_TIMEOUT", default_value_t = 60)]
    delivery_timeout: u64,
}

fn headers(text: &str) -> Result<HeaderMap, String> {
    let headers: HashMap<String, String> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    HeaderMap::try_from(&headers).map_err(|error| error.to_string())
}

// One function's events need no more, and threads cost memory.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().json().with_max_level(tracing::Level::INFO).init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let context: FunctionContext = serde_json::from_str(&arguments.func_context).context("FUNC_CONTEXT_V1BETA2")?;
    let is_grpc = arguments.protocol == "grpc";
    let pods = Pods::new(arguments.target, arguments.headers, is_grpc, Duration::from_secs(arguments.delivery_timeout));
    let app = App::new(context, pods);
    let router = if is_grpc { app.grpc() } else { app.http() };
    let stop = CancellationToken::new();
    let probes = Router::new().route("/ready", routing::get(|| async { "ready\n" }));
    let serve = |listener: TcpListener, router: Router| {
        let stop = stop.clone().cancelled_owned();
        // An answer over gRPC is sent in parts, and none of them shall wait for an acknowledgement of the one before.
        let listener = listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY");
            }
        });
        async move { axum::serve(listener, router).with_graceful_shutdown(stop).await }
    };
    let listen = async |port: u16| {
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await.with_context(|| format!("port {port}"))
    };
    let (events, probe) = (listen(arguments.port).await?, listen(arguments.probe_port).await?);
    let mut term = unix::signal(unix::SignalKind::terminate())?;
    let ended = async {
        term.recv().await;
        // Events that have come are handled.
        stop.cancel();
    };
    tracing::info!(port = arguments.port, protocol = arguments.protocol, "waiting for events");
    let (events, probe, ()) = tokio::join!(serve(events, router), serve(probe, probes), ended);
    events?;
    Ok(probe?)
}
