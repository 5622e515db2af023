//! Schedules. Each event is named after its time, so that replicas make the same one.

use std::{sync::Arc, time::Duration};

use croner::{Cron as Pattern, parser::CronParser};
use event_bus::{
    bus::{Consumer, Delivery, Error, Lag, Receipt},
    wire::{Message, Protocol},
};
use event_delivery::take::Origin;
use futures::{FutureExt, future::BoxFuture};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::config::{Cron, Invalid};

/// A schedule in its time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    when: When,
    zone: TimeZone,
}

#[derive(Clone, Debug)]
enum When {
    /// At all multiples of it since 1970: the same for every replica and after a restart.
    Every(i64),
    Pattern(Box<Pattern>),
}

/// A schedule without the time zone before it, and that.
pub fn zone_and_times(schedule: &str) -> (Option<&str>, &str) {
    let text = schedule.trim();
    match text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
        Some(rest) => rest.split_once(' ').map_or((Some(rest), ""), |(zone, rest)| (Some(zone), rest.trim())),
        None => (None, text),
    }
}

impl Schedule {
    /// Reads what Dapr's binding understands: five or six fields, `@every <duration>`, `@daily` and its like, and
    /// `CRON_TZ=<zone>` before them.
    ///
    /// # Errors
    /// The field, and what is wrong.
    pub fn parse(cron: &Cron) -> Result<Self, Invalid> {
        let (of_text, text) = zone_and_times(&cron.schedule);
        let invalid = |field: &str, reason| Invalid { field: field.to_owned(), reason };
        let zone = match cron.time_zone.as_deref().or(of_text) {
            None => TimeZone::UTC,
            Some(name) => {
                TimeZone::get(name).map_err(|error| invalid("timeZone", format!("Invalid value: {error}")))?
            }
        };
        let wrong = |reason: String| invalid("schedule", format!("Invalid value: {:?}: {reason}", cron.schedule));
        let when = match text.strip_prefix("@every") {
            Some(duration) => {
                let duration: SignedDuration =
                    duration.trim().parse().map_err(|error: jiff::Error| wrong(error.to_string()))?;
                if duration.is_negative() || duration.is_zero() {
                    return Err(wrong("must be more than nothing".to_owned()));
                }
                // As Dapr's binding has it: whole seconds, at least one.
                When::Every(duration.as_secs().max(1))
            }
            None => {
                let parser = CronParser::new();
                When::Pattern(Box::new(parser.parse(text).map_err(|error| wrong(error.to_string()))?))
            }
        };
        let schedule = Self { when, zone };
        schedule.next(Timestamp::now()).ok_or_else(|| wrong("never comes".to_owned()))?;
        Ok(schedule)
    }

    /// The next time after another.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Every(seconds) => {
                let since = after.as_second().div_euclid(*seconds);
                Timestamp::from_second(since.checked_add(1)?.checked_mul(*seconds)?).ok()
            }
            When::Pattern(pattern) => {
                let next = pattern.find_next_occurrence(&after.to_zoned(self.zone.clone()), false);
                next.ok().map(|next| next.timestamp())
            }
        }
    }

    /// The last time of a while that ends now.
    fn last(&self, begin: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let times = std::iter::successors(self.next(begin), |time| self.next(*time));
        times.take_while(|time| *time <= now).last()
    }
}

/// The events of a schedule.
#[derive(Debug)]
pub struct Clock {
    /// Name of the event.
    pub name: String,
    /// When they come.
    pub schedule: Schedule,
    /// How late they may be.
    pub deadline: Duration,
}

impl Origin for Clock {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        let now = Timestamp::now();
        // What nobody was there for. It has the name that it would have had, and a bus that knows it drops it.
        let missed = now.checked_sub(SignedDuration::try_from(self.deadline).unwrap_or_default());
        let missed = missed.ok().and_then(|begin| self.schedule.last(begin, now));
        let ticks = Ticks { schedule: self.schedule.clone(), next: missed.or_else(|| self.schedule.next(now)) };
        async { Ok(Box::new(ticks) as Box<dyn Consumer>) }.boxed()
    }
}

struct Ticks {
    schedule: Schedule,
    next: Option<Timestamp>,
}

/// The longest time to sleep: the clock of the machine may be set meanwhile.
const SLEEP: SignedDuration = SignedDuration::from_secs(10);

impl Ticks {
    async fn tick(&mut self) -> Result<Delivery, Error> {
        let Some(at) = self.next else { return futures::future::pending().await };
        loop {
            let left = at.duration_since(Timestamp::now());
            if !left.is_positive() {
                break;
            }
            tokio::time::sleep(Duration::try_from(left.min(SLEEP)).unwrap_or_default()).await;
        }
        // Those that nobody had time for since are passed over.
        self.next = self.schedule.next(at.max(Timestamp::now()));
        Ok(Delivery {
            message: Message::default(),
            protocol: Protocol::Http,
            id: at.to_string(),
            key: None,
            at: u64::try_from(at.as_millisecond()).unwrap_or_default(),
            is_again: false,
            receipt: Box::new(Nothing),
        })
    }
}

impl Consumer for Ticks {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, Error>> {
        self.tick().boxed()
    }

    fn lag(&self) -> Option<Lag> {
        None
    }
}

/// Nobody is told.
#[derive(Debug)]
struct Nothing;

impl Receipt for Nothing {
    fn handled(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        async { Ok(()) }.boxed()
    }
}

/// The origin of a schedule.
///
/// # Errors
/// The field, and what is wrong.
pub fn origin(name: &str, cron: &Cron) -> Result<Arc<dyn Origin>, Invalid> {
    let schedule = Schedule::parse(cron)?;
    Ok(Arc::new(Clock { name: name.to_owned(), schedule, deadline: cron.starting_deadline }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: Option<&str>, after: &str) -> Result<String, Invalid> {
        let (schedule, time_zone) = (schedule.to_owned(), zone.map(str::to_owned));
        let schedule = Schedule::parse(&Cron { schedule, time_zone, starting_deadline: Duration::ZERO })?;
        Ok(schedule.next(after.parse().unwrap()).unwrap().to_string())
    }

    #[test]
    fn ev3_a_schedule_is_five_or_six_fields_or_every_so_often() {
        let after = "2026-03-01T00:00:01Z";
        for (schedule, expected) in [
            ("@every 5s", "2026-03-01T00:00:05Z"),
            ("@every 1h30m", "2026-03-01T01:30:00Z"),
            ("@hourly", "2026-03-01T01:00:00Z"),
            ("@daily", "2026-03-02T00:00:00Z"),
            ("*/2 * * * *", "2026-03-01T00:02:00Z"),
            ("*/2 * * * * *", "2026-03-01T00:00:02Z"),
            ("0 9 * * MON", "2026-03-02T09:00:00Z"),
            ("@every 100ms", "2026-03-01T00:00:02Z"),
            ("@every 1500ms", "2026-03-01T00:00:02Z"),
        ] {
            assert_eq!(next(schedule, None, after).as_deref(), Ok(expected), "{schedule}");
        }
        assert_eq!(next("0 9 * * *", Some("Europe/Vienna"), after).unwrap(), "2026-03-01T08:00:00Z");
        assert_eq!(next("CRON_TZ=Asia/Tokyo 0 9 * * *", None, after).unwrap(), "2026-03-02T00:00:00Z");
        // The clock goes from 2 to 3 that night.
        assert_eq!(next("30 2 * * *", Some("Europe/Vienna"), "2026-03-29T00:00:00Z").unwrap(), "2026-03-29T01:00:00Z");
    }

    #[test]
    fn a_schedule_that_is_none_is_refused_with_the_reason() {
        let reason = |schedule: &str, zone| next(schedule, zone, "2026-03-01T00:00:00Z").unwrap_err().to_string();
        for schedule in ["", "every day", "* * *", "61 * * * *", "@every", "@every 0s", "@every -5s", "0 0 30 2 *"] {
            assert!(reason(schedule, None).starts_with("schedule: Invalid value: "), "{schedule}");
        }
        assert!(reason("@daily", Some("Mars/Olympus")).starts_with("timeZone: Invalid value: "));
    }

    #[tokio::test]
    async fn the_last_event_that_was_missed_is_made_up_for_if_it_is_not_too_late() {
        let hourly = Schedule::parse(&Cron {
            schedule: "@hourly".to_owned(),
            time_zone: None,
            starting_deadline: Duration::ZERO,
        });
        let clock = Clock { name: "c".to_owned(), schedule: hourly.unwrap(), deadline: Duration::from_secs(2 * 3600) };
        let begin = Timestamp::now();
        let mut ticks = clock.open().await.unwrap();
        let first = ticks.next().await.unwrap();
        let age = begin.as_millisecond() - i64::try_from(first.at).unwrap();
        assert!((0..=3_600_000).contains(&age), "the last of two: {age}");
        let late = tokio::time::timeout(Duration::from_millis(50), ticks.next()).await;
        // Unless the hour ends just now.
        assert!(late.is_err() || Timestamp::now().as_second() % 3600 < 2);
    }
}
