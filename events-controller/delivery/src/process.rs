//! A process, from the command line to the last delivery.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use clap::{CommandFactory, FromArgMatches, Parser};
use event_bus::bus::{Bus, Limits};
use openfunction_telemetry::Telemetry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{net::TcpListener, signal::unix, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{deliver, metrics::Metrics};

#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// File of the configuration; it is read again when it changes.
    #[arg(long, env = "CONFIG_FILE", default_value = "/etc/openfunction/config.json")]
    config_file: PathBuf,
    /// The configuration itself, instead of a file.
    #[arg(long, env = "CONFIG", value_name = "JSON")]
    config: Option<String>,
    /// A bus and topics that are kept there; then the process ends. For handlers that do not see to it, as those of Dapr.
    #[arg(long, env = "KEEP_TOPICS", value_name = "JSON")]
    keep_topics: Option<String>,
    /// Address of /metrics, /live and /ready.
    #[arg(long, env = "METRICS_ADDRESS", default_value = "[::]:8080")]
    metrics_address: SocketAddr,
    /// Prints the JSON schema of the configuration.
    #[arg(long)]
    schema: bool,
    #[command(flatten)]
    telemetry: openfunction_telemetry::Args,
}

/// Pause between two looks at the configuration, and before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// What a process does.
pub trait Work {
    /// What it is told.
    type Config: Clone + DeserializeOwned + JsonSchema;

    /// Name of the program.
    const PROGRAM: &str;
    /// What the program is for.
    const ABOUT: &str;
    /// What names of metrics begin with.
    const METRICS: &str;

    /// Whether a configuration can be worked with.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    fn check(config: &Self::Config) -> anyhow::Result<()>;

    /// Works until it shall stop.
    ///
    /// # Errors
    /// It cannot go on.
    fn run(
        config: Self::Config,
        client: reqwest::Client,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>>;
}

/// Runs it. A failure is told in the log.
pub fn main<W: Work>() -> ExitCode {
    let command = Arguments::command().name(W::PROGRAM).about(W::ABOUT);
    let arguments = match Arguments::from_arg_matches(&command.get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    if arguments.schema {
        println!("{}", schema::<W::Config>());
        return ExitCode::SUCCESS;
    }
    match run::<W>(arguments) {
        Ok(code) => code,
        Err(error) => {
            // There is no log yet.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run<W: Work>(arguments: Arguments) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let telemetry = Telemetry::start(W::PROGRAM, &arguments.telemetry)?;
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            error!("there is a TLS provider already");
        }
        let served = serve::<W>(arguments).await;
        if let Err(error) = &served {
            error!("{error:#}");
        }
        telemetry.shutdown().await;
        Ok(if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// The JSON schema of a configuration.
pub fn schema<C: JsonSchema>() -> String {
    let schema = schemars::schema_for!(C);
    // It is JSON already: it cannot fail.
    serde_json::to_string_pretty(&schema).unwrap_or_default()
}

async fn serve<W: Work>(arguments: Arguments) -> anyhow::Result<()> {
    let (mut term, mut interrupt) =
        (unix::signal(unix::SignalKind::terminate())?, unix::signal(unix::SignalKind::interrupt())?);
    let told = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    if let Some(topics) = &arguments.keep_topics {
        let topics: Topics = serde_json::from_str(topics).context("--keep-topics")?;
        return tokio::select! {
            () = topics.keep() => Ok(()),
            () = told => Err(anyhow!("told to stop before every topic was kept")),
        };
    }
    let metrics = Arc::new(Metrics::new(W::METRICS)?);
    let stop = CancellationToken::new();
    let listener = TcpListener::bind(arguments.metrics_address).await;
    let listener = listener.with_context(|| format!("--metrics-address {}", arguments.metrics_address))?;
    let router = Router::new()
        .route("/metrics", get(|State(metrics): State<Arc<Metrics>>| async move { metrics.text() }))
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .with_state(metrics.clone());
    let signals = async {
        told.await;
        info!("stopping");
        stop.cancel();
        // Until it has drained.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = work::<W>(&arguments, &metrics, &stop) => result,
        served = axum::serve(listener, router) => Ok(served?),
        () = signals => Ok(()),
    }
}

/// Ready when everything is there that is needed; otherwise with the reasons.
async fn ready(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    let failing = metrics.failing();
    if failing.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let lines: Vec<_> = failing.iter().map(|(what, reason)| format!("{what}: {reason}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines.concat())
}

/// Works with the configuration as it is, and anew when it has changed.
async fn work<W: Work>(arguments: &Arguments, metrics: &Arc<Metrics>, stop: &CancellationToken) -> anyhow::Result<()> {
    let client = deliver::client()?;
    if let Some(text) = &arguments.config {
        let config = parse::<W>(text).context("--config")?;
        metrics.begins();
        return W::run(config, client, metrics.clone(), stop.clone()).await;
    }
    let (mut text, mut config) = read::<W>(&arguments.config_file).await?;
    while !stop.is_cancelled() {
        let (token, present) = (stop.child_token(), config.clone());
        let changed = async {
            (text, config) = changed::<W>(&arguments.config_file, &text).await;
            info!("the configuration has changed");
            token.cancel();
            std::future::pending::<()>().await;
        };
        metrics.begins();
        tokio::select! {
            result = W::run(present, client.clone(), metrics.clone(), token.clone()) => result?,
            () = changed => {}
        }
    }
    Ok(())
}

/// The bus, once it can be reached; `None` if it shall be waited for no longer. It has been asked to keep the topics that
/// will be published to: whoever reads them, as Dapr does, may not ask again.
pub async fn connected(
    config: &event_bus::config::Config,
    topics: impl IntoIterator<Item = &String>,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Option<Arc<dyn Bus>> {
    metrics.answers("bus", Some("is not connected yet".to_owned()));
    loop {
        match config.connect().await {
            Ok(bus) => {
                metrics.answers("bus", None);
                for topic in topics {
                    // Publishing asks again.
                    if let Err(error) = bus.keep(topic).await {
                        warn!(topic, "the topic is not kept yet: {error}");
                    }
                }
                return Some(bus);
            }
            Err(error) => {
                warn!("{error}");
                metrics.answers("bus", Some(error.to_string()));
            }
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.cancelled() => return None,
        }
    }
}

/// Topics that shall be there before those read and write them who cannot make them, as Dapr cannot on JetStream.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topics {
    /// Where they are.
    pub bus: event_bus::config::Config,
    /// Their names.
    pub topics: BTreeSet<String>,
    /// Consumers that they are read as, by topic, whose limits may be others by now.
    #[serde(default)]
    pub consumers: BTreeMap<String, String>,
    /// How many events each may have that are not handled.
    #[serde(default)]
    pub in_flight: Option<usize>,
    /// After how long an event is given again.
    #[serde(default)]
    pub redelivery: Option<Wait>,
}

/// A duration, as text.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Wait(#[serde(with = "crate::duration")] pub Duration);

impl Topics {
    /// Returns when all are kept, however long that takes.
    async fn keep(&self) {
        while let Err(error) = self.kept().await {
            warn!("{error}");
            sleep(PAUSE).await;
        }
        info!(topics = ?self.topics, "kept");
    }

    async fn kept(&self) -> Result<(), event_bus::bus::Error> {
        let bus = self.bus.connect().await?;
        for topic in &self.topics {
            bus.keep(topic).await?;
        }
        let limits = Limits { in_flight: self.in_flight, redelivery: self.redelivery.map(|Wait(wait)| wait) };
        for (topic, consumer) in &self.consumers {
            bus.limit(topic, consumer, limits).await?;
        }
        Ok(())
    }
}

async fn read<W: Work>(file: &Path) -> anyhow::Result<(String, W::Config)> {
    let text = tokio::fs::read_to_string(file).await.with_context(|| file.display().to_string())?;
    let config = parse::<W>(&text).with_context(|| file.display().to_string())?;
    Ok((text, config))
}

fn parse<W: Work>(text: &str) -> anyhow::Result<W::Config> {
    let config = serde_json::from_str(text)?;
    W::check(&config)?;
    Ok(config)
}

/// The next configuration that is another one and right.
async fn changed<W: Work>(file: &Path, before: &str) -> (String, W::Config) {
    let mut known = before.to_owned();
    loop {
        sleep(PAUSE).await;
        let Ok(text) = tokio::fs::read_to_string(file).await else { continue };
        if text == known {
            continue;
        }
        match parse::<W>(&text) {
            Ok(config) => return (text, config),
            Err(error) => {
                error!("{}: the configuration is wrong, the one of before goes on: {error:#}", file.display())
            }
        }
        known = text;
    }
}
