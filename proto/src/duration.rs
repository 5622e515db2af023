//! Durations as Go writes them.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A duration as text of Go's `time.ParseDuration`, for example `1h30m` or `500ms`.
///
/// The text is kept as the user wrote it, so that an object survives a read and a write unchanged.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(transparent)]
pub struct GoDuration(pub String);

/// Largest duration that Go can hold, in nanoseconds.
const MAX_NANOS: f64 = i64::MAX as f64;

impl GoDuration {
    /// Whole seconds, as Go prints them: `1h2m3s`.
    pub fn from_secs(seconds: u64) -> Self {
        let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        Self(match (hours, minutes) {
            (0, 0) => format!("{rest}s"),
            (0, _) => format!("{minutes}m{rest}s"),
            _ => format!("{hours}h{minutes}m{rest}s"),
        })
    }

    /// The length of time, or `None` if the text is not a duration, is negative, or is longer than Go can hold
    /// (about 292 years). The schema refuses such texts; objects stored before it did may still carry one.
    pub fn to_std(&self) -> Option<Duration> {
        let mut rest = self.0.strip_prefix('+').unwrap_or(&self.0);
        if rest == "0" {
            return Some(Duration::ZERO);
        }
        if rest.is_empty() {
            return None;
        }
        let mut nanos = 0_f64;
        while !rest.is_empty() {
            let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, tail) = rest.split_at(unit_at);
            let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, next) = tail.split_at(unit_end);
            nanos += number.parse::<f64>().ok()? * unit_nanos(unit)?;
            rest = next;
        }
        (nanos <= MAX_NANOS).then(|| Duration::from_nanos(nanos as u64))
    }
}

fn unit_nanos(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The shortest text in hours, minutes and seconds, as Go's `Duration.String` writes it (`1h30m0s`).
impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        let (total, nanos) = (duration.as_secs(), duration.subsec_nanos());
        let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
        if total == 0 && nanos > 0 {
            return Self(match nanos {
                n if n % 1_000_000 == 0 => format!("{}ms", n / 1_000_000),
                n if n % 1_000 == 0 => format!("{}us", n / 1_000),
                n => format!("{n}ns"),
            });
        }
        let fraction = format!("{nanos:09}");
        let fraction = match fraction.trim_end_matches('0') {
            "" => String::new(),
            digits => format!(".{digits}"),
        };
        Self(match (hours, minutes) {
            (0, 0) => format!("{seconds}{fraction}s"),
            (0, _) => format!("{minutes}m{seconds}{fraction}s"),
            _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
        })
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "duration",
            // `format` alone would also let "1 day" through, which Go cannot read.
            "pattern": r"^[-+]?(0|(([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})(ns|us|µs|μs|ms|s|m|h))+)$",
            "maxLength": 64,
            "x-kubernetes-validations": [{
                "rule": "self >= duration('0s')",
                "message": "cannot be less than 0",
                "reason": "FieldValueInvalid",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<f64> {
        GoDuration(text.to_owned()).to_std().map(|d| d.as_secs_f64())
    }

    #[test]
    fn texts_of_go_are_read() {
        for (text, expected) in [
            ("0", 0.0),
            ("0s", 0.0),
            ("10s", 10.0),
            ("+2m", 120.0),
            ("1h30m", 5400.0),
            ("1.5h", 5400.0),
            (".5s", 0.5),
            ("250ms", 0.25),
            ("3us", 3e-6),
            ("5µs", 5e-6),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_none_and_never_panic() {
        for text in ["", "-1s", "1", "s", "1 day", "1d", "..s", "99999999999999999999999h", "1e400s", "µ", "1µ"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (millis, text) in [(0, "0s"), (250, "250ms"), (1500, "1.5s"), (60_000, "1m0s"), (5_400_000, "1h30m0s")] {
            assert_eq!(GoDuration::from(Duration::from_millis(millis)).0, text);
        }
    }
}
