//! Scheduled floors: replicas that are there at certain times, by KEDA's `cron` triggers. KEDA sees to them where it is
//! installed; elsewhere the native engine does (goals SC23).

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use openfunction_proto::core::KedaTrigger;

use crate::validate::Invalid;

/// A window of time with a floor.
struct Window {
    zone: TimeZone,
    start: Cron,
    end: Cron,
    replicas: i32,
}

/// A floor for now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Floor {
    /// Replicas that must be there.
    pub replicas: i32,
    /// When it changes.
    pub until: Option<Timestamp>,
}

/// Checks the triggers of type `cron`.
///
/// # Errors
/// A field that is missing or cannot be read.
pub fn validate(triggers: &[(String, KedaTrigger)]) -> Result<(), Invalid> {
    windows(triggers).map(drop)
}

/// The floor now.
pub fn floor(triggers: &[(String, KedaTrigger)], now: Timestamp) -> Floor {
    // They were checked before.
    let windows = windows(triggers).unwrap_or_default();
    windows.iter().fold(Floor::default(), |floor, window| {
        let here = now.to_zoned(window.zone.clone());
        let (Some(start), Some(end)) = (next(&window.start, &here), next(&window.end, &here)) else { return floor };
        // As KEDA has it: we are within the window if its end comes before its next start.
        let replicas = if end < start { window.replicas } else { 0 };
        Floor { replicas: floor.replicas.max(replicas), until: floor.until.into_iter().chain([start.min(end)]).min() }
    })
}

fn next(cron: &Cron, now: &Zoned) -> Option<Timestamp> {
    cron.find_next_occurrence(now, false).ok().map(|at| at.timestamp())
}

/// Whether a trigger of KEDA is a schedule.
pub fn is_schedule(trigger: &KedaTrigger) -> bool {
    trigger.type_ == "cron"
}

fn windows(triggers: &[(String, KedaTrigger)]) -> Result<Vec<Window>, Invalid> {
    triggers.iter().filter(|(_, trigger)| is_schedule(trigger)).map(|(path, trigger)| window(path, trigger)).collect()
}

fn window(path: &str, trigger: &KedaTrigger) -> Result<Window, Invalid> {
    let field = |name: &str| trigger.metadata.get(name).map(|value| value.trim()).unwrap_or_default();
    let invalid = |name: &str, why: String| Invalid::Value {
        path: format!("{path}.metadata.{name}"),
        value: field(name).to_owned(),
        why,
    };
    // As KEDA reads it.
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = |name: &str| {
        parser
            .parse(field(name))
            .map_err(|error| invalid(name, format!("must be a cron expression of five fields: {error}")))
    };
    Ok(Window {
        zone: TimeZone::get(field("timezone")).map_err(|_| {
            invalid("timezone", "must be a name of the IANA time zone database, such as Europe/Berlin".to_owned())
        })?,
        start: cron("start")?,
        end: cron("end")?,
        replicas: field("desiredReplicas")
            .parse()
            .ok()
            .filter(|replicas| *replicas >= 0)
            .ok_or_else(|| invalid("desiredReplicas", "must be a whole number, 0 or more".to_owned()))?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn triggers(list: Value) -> Vec<(String, KedaTrigger)> {
        let list: Vec<KedaTrigger> = serde_json::from_value(list).unwrap();
        list.into_iter().map(|trigger| ("t".to_owned(), trigger)).collect()
    }

    fn cron(start: &str, end: &str, zone: &str, replicas: &str) -> Value {
        json!({"type": "cron", "metadata": {"timezone": zone, "start": start, "end": end, "desiredReplicas": replicas}})
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn sc23_replicas_are_there_in_their_time() {
        let day =
            triggers(json!([cron("0 8 * * *", "0 18 * * *", "Europe/Berlin", "5"), {"type": "kafka", "metadata": {}}]));
        // 07:59 in Berlin, in summer.
        assert_eq!(
            floor(&day, at("2026-07-01T05:59:00Z")),
            Floor { replicas: 0, until: Some(at("2026-07-01T06:00:00Z")) }
        );
        assert_eq!(
            floor(&day, at("2026-07-01T06:00:00Z")),
            Floor { replicas: 5, until: Some(at("2026-07-01T16:00:00Z")) }
        );
        assert_eq!(floor(&day, at("2026-07-01T16:00:00Z")).replicas, 0);
    }

    #[test]
    fn the_highest_of_several_floors_counts() {
        let two = triggers(json!([
            cron("0 8 * * *", "0 18 * * *", "UTC", "2"),
            cron("0 12 * * *", "0 13 * * *", "UTC", "4")
        ]));
        assert_eq!(
            floor(&two, at("2026-07-01T12:30:00Z")),
            Floor { replicas: 4, until: Some(at("2026-07-01T13:00:00Z")) }
        );
        assert_eq!(floor(&[], at("2026-07-01T12:30:00Z")), Floor::default());
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_path() {
        for (trigger, path) in [
            (cron("0 8 * *", "0 18 * * *", "UTC", "2"), "t.metadata.start"),
            (cron("0 0 8 * * *", "0 18 * * *", "UTC", "2"), "t.metadata.start"),
            (cron("0 8 * * *", "x", "UTC", "2"), "t.metadata.end"),
            (cron("0 8 * * *", "0 18 * * *", "Mars/Base", "2"), "t.metadata.timezone"),
            (cron("0 8 * * *", "0 18 * * *", "UTC", "-1"), "t.metadata.desiredReplicas"),
        ] {
            let error = validate(&triggers(json!([trigger]))).unwrap_err().to_string();
            assert!(error.starts_with(path), "{error}");
        }
    }
}
