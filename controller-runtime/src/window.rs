//! A window of time that comes again, in the words of KEDA's scaler `cron`
//! (<https://keda.sh/docs/latest/scalers/cron/>).

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};

/// A window of time.
#[derive(Clone, Debug)]
pub struct Window {
    start: Cron,
    end: Cron,
    zone: TimeZone,
}

/// What a window says of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When the window ends, if the moment is within it.
    pub until: Option<Timestamp>,
    /// When the window begins or ends next.
    pub changes: Timestamp,
}

/// A window that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: Invalid value: {value:?}: {why}")]
pub struct Invalid {
    /// `start`, `end` or `timezone`.
    pub field: &'static str,
    /// What is there.
    pub value: String,
    /// What is wrong with it, and what is allowed.
    pub why: String,
}

impl Window {
    /// Reads a window: two cron expressions of five fields, and the name of a time zone.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn parse(start: &str, end: &str, timezone: &str) -> Result<Self, Invalid> {
        let invalid = |field, value: &str, why| Invalid { field, value: value.to_owned(), why };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = |field, text: &str| {
            let wrong = |error| invalid(field, text, format!("must be a cron expression of five fields: {error}"));
            parser.parse(text).map_err(wrong)
        };
        let zone = TimeZone::get(timezone).map_err(|_| {
            let why = "must be a name of the IANA time zone database, such as Europe/Berlin";
            invalid("timezone", timezone, why.to_owned())
        })?;
        Ok(Self { start: cron("start", start)?, end: cron("end", end)?, zone })
    }

    /// What it says of a moment, which is within the window if the end comes before the next start; `None` if it never
    /// begins or ends any more.
    pub fn at(&self, now: Timestamp) -> Option<Moment> {
        let here = now.to_zoned(self.zone.clone());
        let (start, end) = (next(&self.start, &here)?, next(&self.end, &here)?);
        Some(Moment { until: (end < start).then_some(end), changes: start.min(end) })
    }
}

fn next(cron: &Cron, now: &Zoned) -> Option<Timestamp> {
    cron.find_next_occurrence(now, false).ok().map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_from_its_start_to_its_end_in_its_zone() {
        let day = Window::parse("0 8 * * *", "0 18 * * *", "Europe/Berlin").unwrap();
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        // 07:59 in Berlin, in summer.
        let opens = at("2026-07-01T06:00:00Z");
        assert_eq!(day.at(at("2026-07-01T05:59:00Z")), Some(Moment { until: None, changes: opens }));
        let closes = at("2026-07-01T16:00:00Z");
        assert_eq!(day.at(opens), Some(Moment { until: Some(closes), changes: closes }));
        assert_eq!(Window::parse("0 0 30 2 *", "0 0 * * *", "UTC").unwrap().at(opens), None, "never");
    }

    #[test]
    fn what_is_wrong_is_told_by_its_field() {
        for (start, end, zone, field) in [
            ("friday", "0 8 * * MON", "UTC", "start"),
            ("0 8 * * MON", "0 0 8 * * MON", "UTC", "end"),
            ("0 8 * * MON", "0 9 * * MON", "Mars/Base", "timezone"),
        ] {
            assert_eq!(Window::parse(start, end, zone).unwrap_err().field, field);
        }
    }
}
