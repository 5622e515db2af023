//! Scheduled floors: replicas that are there at certain times, by KEDA's `cron` triggers. KEDA sees to them where it is
//! installed; elsewhere the native engine does (goals SC23).

use controller_runtime::window::Window;
use jiff::Timestamp;
use openfunction_proto::core::KedaTrigger;

use crate::validate::Invalid;

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
    windows.iter().fold(Floor::default(), |floor, (window, replicas)| {
        let Some(moment) = window.at(now) else { return floor };
        let replicas = if moment.until.is_some() { *replicas } else { 0 };
        Floor { replicas: floor.replicas.max(replicas), until: floor.until.into_iter().chain([moment.changes]).min() }
    })
}

/// Whether a trigger of KEDA is a schedule.
pub fn is_schedule(trigger: &KedaTrigger) -> bool {
    trigger.type_ == "cron"
}

/// Windows with their floors.
fn windows(triggers: &[(String, KedaTrigger)]) -> Result<Vec<(Window, i32)>, Invalid> {
    triggers.iter().filter(|(_, trigger)| is_schedule(trigger)).map(|(path, trigger)| window(path, trigger)).collect()
}

fn window(path: &str, trigger: &KedaTrigger) -> Result<(Window, i32), Invalid> {
    let field = |name: &str| trigger.metadata.get(name).map(|value| value.trim()).unwrap_or_default();
    let invalid =
        |name: &str, value: String, why: String| Invalid::Value { path: format!("{path}.metadata.{name}"), value, why };
    let window = Window::parse(field("start"), field("end"), field("timezone"))
        .map_err(|wrong| invalid(wrong.field, wrong.value, wrong.why))?;
    let replicas = field("desiredReplicas");
    let floor = replicas.parse().ok().filter(|replicas| *replicas >= 0);
    let why = || invalid("desiredReplicas", replicas.to_owned(), "must be a whole number, 0 or more".to_owned());
    Ok((window, floor.ok_or_else(why)?))
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
