//! A bus by its kind, as a configuration file names it. Secrets are files.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    bus::{Bus, Error},
    jetstream::{self, JetStream},
    kafka::{self, KafkaBus},
    redis::{self, RedisStreams},
};

/// Where the events are.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Config {
    /// NATS JetStream.
    JetStream(jetstream::Config),
    /// Kafka.
    Kafka(kafka::Config),
    /// Redis Streams.
    RedisStreams(redis::Config),
}

impl Config {
    /// Connects.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses; a file cannot be read.
    pub async fn connect(&self) -> Result<Arc<dyn Bus>, Error> {
        Ok(match self {
            Self::JetStream(config) => Arc::new(JetStream::connect(config).await?),
            Self::Kafka(config) => Arc::new(KafkaBus::connect(config).await?),
            Self::RedisStreams(config) => Arc::new(RedisStreams::connect(config).await?),
        })
    }
}
