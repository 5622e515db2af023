//! Durations in the configuration, as Go writes them (`1m30s`).

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// One in a schema: `300ms`, `1m30s`.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Duration")]
pub struct Text(#[schemars(regex(pattern = "^([0-9]+(\\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$"))] pub String);

/// Reads one.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span: jiff::SignedDuration = text.parse().map_err(|error| D::Error::custom(format!("{text:?}: {error}")))?;
    Duration::try_from(span).map_err(|_| D::Error::custom(format!("{text:?}: must not be negative")))
}

/// Writes one.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    format!("{}ms", duration.as_millis()).serialize(serializer)
}
