//! The process.

use std::{process::ExitCode, sync::Arc};

use event_delivery::{
    metrics::Metrics,
    process::{self, Work, connected},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{config::Config, run::run};

struct Source;

impl Work for Source {
    type Config = Config;

    const PROGRAM: &str = "event-source";
    const ABOUT: &str =
        "Reads the events of an EventSource where they happen and sends them to a bus, to a sink, or to both";
    const METRICS: &str = "openfunction_eventsource";

    fn check(config: &Config) -> anyhow::Result<()> {
        Ok(config.check()?)
    }

    async fn run(
        config: Config,
        client: reqwest::Client,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let topics = config.events.values().filter_map(|event| event.topic.as_ref()).chain(&config.dead_letter_topic);
        let bus = match &config.bus {
            None => None,
            Some(bus) => match connected(bus, topics, &metrics, &stop).await {
                Some(bus) => Some(bus),
                None => return Ok(()),
            },
        };
        info!(name = config.name, events = config.events.len(), "running");
        run(&config, bus, client, metrics, stop).await
    }
}

/// Runs it. A failure is told in the log.
pub fn main() -> ExitCode {
    process::main::<Source>()
}
