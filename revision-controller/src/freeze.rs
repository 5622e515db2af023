//! Times in which nothing is rolled out.

use controller_runtime::window::Window;
use jiff::Timestamp;
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

/// What windows say of a time.
pub fn now(windows: &[FreezeWindow], now: Timestamp) -> Freeze {
    let windows = windows.iter().enumerate().filter_map(|(index, window)| read(index, window).ok()?.at(now));
    windows.fold(Freeze::default(), |freeze, moment| Freeze {
        until: freeze.until.max(moment.until),
        changes: freeze.changes.into_iter().chain([moment.changes]).min(),
    })
}

fn read(index: usize, window: &FreezeWindow) -> Result<Window, String> {
    let zone = window.timezone.as_deref().unwrap_or("UTC");
    Window::parse(&window.start, &window.end, zone).map_err(|wrong| format!("freezeWindows[{index}].{wrong}"))
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
