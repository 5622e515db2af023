//! The process.

use std::{process::ExitCode, sync::Arc};

use event_delivery::{
    metrics::Metrics,
    process::{self, Work, connected},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{config::Config, run::run};

struct Trigger;

impl Work for Trigger {
    type Config = Config;

    const PROGRAM: &str = "event-trigger";
    const ABOUT: &str = "Takes the events of a Trigger from its bus and delivers them to its subscribers";
    const METRICS: &str = "openfunction_trigger";

    fn check(config: &Config) -> anyhow::Result<()> {
        config.conditions()?;
        Ok(())
    }

    async fn run(
        config: Config,
        client: reqwest::Client,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let topics = config.subscribers.iter().flat_map(|of| of.topic.iter().chain(&of.dead_letter_topic));
        let Some(bus) = connected(&config.bus, topics, &metrics, &stop).await else { return Ok(()) };
        info!(name = config.name, inputs = config.inputs.len(), subscribers = config.subscribers.len(), "running");
        Ok(run(&config, bus, client, metrics, stop).await?)
    }
}

/// Runs it. A failure is told in the log.
pub fn main() -> ExitCode {
    process::main::<Trigger>()
}
