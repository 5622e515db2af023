//! Times in which nothing is rolled out.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use openfunction_proto::core::FreezeWindow;

/// Checks windows.
///
/// # Errors
/// The field and what is wrong with it.
pub fn check(windows: &[FreezeWindow]) -> Result<(), String> {
    windows.iter().enumerate().try_for_each(|(index, window)| read(index, window).map(drop))
}

/// What windows say of now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Freeze {
    /// When the one ends that we are in.
    pub until: Option<Timestamp>,
    /// When the next one begins or ends.
    pub changes: Option<Timestamp>,
}

/// What windows say of a time. We are in one if its end comes before its next start, as with the schedules of KEDA.
pub fn now(windows: &[FreezeWindow], now: Timestamp) -> Freeze {
    windows.iter().enumerate().filter_map(|(index, window)| read(index, window).ok()).fold(
        Freeze::default(),
        |freeze, (start, end, zone)| {
            let here = now.to_zoned(zone);
            let (Some(start), Some(end)) = (next(&start, &here), next(&end, &here)) else { return freeze };
            Freeze {
                until: if end < start { freeze.until.max(Some(end)) } else { freeze.until },
                changes: freeze.changes.into_iter().chain([start.min(end)]).min(),
            }
        },
    )
}

fn next(cron: &Cron, now: &Zoned) -> Option<Timestamp> {
    cron.find_next_occurrence(now, false).ok().map(|at| at.timestamp())
}

fn read(index: usize, window: &FreezeWindow) -> Result<(Cron, Cron, TimeZone), String> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = |field: &str, text: &str| {
        parser.parse(text).map_err(|error| {
            format!("freezeWindows[{index}].{field}: Invalid value: {text:?}: must be a cron expression of five fields: {error}")
        })
    };
    let zone = window.timezone.as_deref().unwrap_or("UTC");
    let zone = TimeZone::get(zone).map_err(|_| {
        format!("freezeWindows[{index}].timezone: Invalid value: {zone:?}: must be a name of the IANA time zone database, such as Europe/Berlin")
    })?;
    Ok((cron("start", &window.start)?, cron("end", &window.end)?, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: &str, end: &str, zone: Option<&str>) -> FreezeWindow {
        FreezeWindow { start: start.to_owned(), end: end.to_owned(), timezone: zone.map(str::to_owned) }
    }

    #[test]
    fn rv23_a_window_holds_from_its_start_to_its_end() {
        let weekend = [window("0 17 * * FRI", "0 8 * * MON", Some("Europe/Berlin"))];
        let at = |time: &str| now(&weekend, time.parse().unwrap());
        let monday: Timestamp = "2026-11-30T07:00:00Z".parse().unwrap();
        let friday: Timestamp = "2026-11-27T16:00:00Z".parse().unwrap();
        assert_eq!(at("2026-11-28T12:00:00Z"), Freeze { until: Some(monday), changes: Some(monday) });
        assert_eq!(at("2026-11-26T12:00:00Z"), Freeze { until: None, changes: Some(friday) });
        assert_eq!(now(&[], monday), Freeze::default());
    }

    #[test]
    fn what_is_wrong_with_a_window_is_told() {
        for (wrong, expected) in [
            (window("friday", "0 8 * * MON", None), "freezeWindows[0].start: Invalid value: \"friday\""),
            (window("0 8 * * MON", "0 0 8 * * MON", None), "freezeWindows[0].end: Invalid value"),
            (
                window("0 8 * * MON", "0 9 * * MON", Some("Mars/Base")),
                "freezeWindows[0].timezone: Invalid value: \"Mars/Base\"",
            ),
        ] {
            let said = check(&[wrong]).unwrap_err();
            assert!(said.starts_with(expected), "{said}");
        }
    }
}
