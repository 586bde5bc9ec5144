//! When environments sleep: what the parameters of the template say, and what that means at any moment.

use groundcrew::{Error, Result};
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use std::collections::BTreeSet;

/// The shortest night and the shortest day, in minutes. A clock that goes forward skips two hours at most, so that neither
/// is ever lost; and a shorter night is over before RDS has stopped and started a database.
const SHORTEST_MINUTES: i32 = 180;

/// Which environments sleep, and when.
#[derive(Clone, Debug)]
pub struct Schedule {
    environments: BTreeSet<String>,
    zone: TimeZone,
    sleep_from: Time,
    sleep_until: Time,
    awake_days: BTreeSet<i8>,
    parked_dates: BTreeSet<Date>,
    awake_dates: BTreeSet<Date>,
}

/// The part of a schedule that a moment is in: `[since, until)`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Period {
    /// Whether it is a day, and not a night.
    pub awake: bool,
    /// Its beginning.
    pub since: Timestamp,
    /// Its end, which is the beginning of the next one.
    pub until: Timestamp,
}

/// The parameters of the template, as they reach the function.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    environments: String,
    time_zone: String,
    sleep_from: String,
    sleep_until: String,
    awake_days: String,
    parked_dates: String,
    awake_dates: String,
}

impl Schedule {
    /// Reads [`groundcrew::environment::parking`].
    ///
    /// # Errors
    /// [`Error::Failed`] names the parameter of the template.
    pub fn parse(parking: &str) -> Result<Self> {
        let given: Parameters = serde_json::from_str(parking)
            .map_err(|error| Error::Failed(format!("the schedule of parking: {error}")))?;
        let wrong = |parameter: &str, value: &str, allowed: &str| {
            Error::Failed(format!(
                "the parameter {parameter} of the CloudFormation stack says {value:?}; it holds {allowed}"
            ))
        };
        let time = |parameter, value: &str| {
            let time: Option<Time> = format!("{value}:00").parse().ok();
            let time = time.filter(|time| time.minute() % 30 == 0);
            time.ok_or_else(|| wrong(parameter, value, "a whole or half hour, 20:00 or 07:30"))
        };
        let dates = |parameter, value: &str| {
            let dates: Option<_> = words(value).map(|word| word.parse().ok()).collect();
            dates.ok_or_else(|| wrong(parameter, value, "dates, 2026-12-24,2026-12-25"))
        };
        let zone = TimeZone::get(&given.time_zone).map_err(|_| {
            let allowed = "a time zone of the IANA database, Europe/Berlin";
            wrong("SleepTimeZone", &given.time_zone, allowed)
        })?;
        let schedule = Self {
            environments: words(&given.environments).map(str::to_owned).collect(),
            zone,
            sleep_from: time("SleepFrom", &given.sleep_from)?,
            sleep_until: time("SleepUntil", &given.sleep_until)?,
            awake_days: days(&given.awake_days).ok_or_else(|| {
                let allowed = "days and ranges of days, MON-FRI or MON,WED-SAT";
                wrong("AwakeDays", &given.awake_days, allowed)
            })?,
            parked_dates: dates("ParkedDates", &given.parked_dates)?,
            awake_dates: dates("AwakeDates", &given.awake_dates)?,
        };
        let minutes = |time: Time| i32::from(time.hour()) * 60 + i32::from(time.minute());
        let day = minutes(schedule.sleep_from) - minutes(schedule.sleep_until);
        if !(SHORTEST_MINUTES..=24 * 60 - SHORTEST_MINUTES).contains(&day) {
            let allowed = "a time that is later on the same day than SleepUntil, and leaves three hours at least to the day and to the night";
            return Err(wrong("SleepFrom", &given.sleep_from, allowed));
        }
        Ok(schedule)
    }

    /// Whether an environment sleeps at all.
    pub fn knows(&self, environment: &str) -> bool {
        self.environments.contains(environment)
    }

    /// The environments that sleep.
    pub(crate) fn environments(&self) -> Vec<&str> {
        self.environments.iter().map(String::as_str).collect()
    }

    /// The night or day that a moment is in. A night lasts over days that are none of work.
    pub fn at(&self, now: Timestamp) -> Period {
        let today = now.to_zoned(self.zone.clone()).date();
        let days = |step: i64| {
            // Of so many days one at least is of a week without any that is parked.
            let most = 7 * (self.parked_dates.len() as i64 + 1) + 2;
            let first = today.checked_sub(step.days()).ok();
            (0..most).map_while(move |n| first?.checked_add((n * step).days()).ok())
        };
        let before = days(-1)
            .filter_map(|date| self.day(date))
            .find(|(since, _)| *since <= now);
        if let Some((since, until)) = before.filter(|(_, until)| now < *until) {
            return Period {
                awake: true,
                since,
                until,
            };
        }
        let after = days(1)
            .filter_map(|date| self.day(date))
            .find(|(since, _)| *since > now);
        Period {
            awake: false,
            since: before.map_or(Timestamp::MIN, |(_, until)| until),
            until: after.map_or(Timestamp::MAX, |(since, _)| since),
        }
    }

    /// When the night is over that a moment is in, or the next one.
    pub(crate) fn next_wake(&self, now: Timestamp) -> Timestamp {
        let period = self.at(now);
        match period.awake {
            true => self.at(period.until).until,
            false => period.until,
        }
    }

    /// When the day is over that a moment is in, or the next one.
    pub(crate) fn next_sleep(&self, now: Timestamp) -> Timestamp {
        let period = self.at(now);
        match period.awake {
            true => period.until,
            false => self.at(period.until).until,
        }
    }

    /// The day of a date of work. A local time that a clock skips is taken for as much later, and one that it shows twice
    /// for the first (RFC 5545): each day of work has one beginning and one end.
    fn day(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        let weekday = date.weekday().to_monday_zero_offset();
        let works = self.awake_days.contains(&weekday) || self.awake_dates.contains(&date);
        if !works || self.parked_dates.contains(&date) {
            return None;
        }
        let at = |time| {
            let local = date.to_datetime(time).to_zoned(self.zone.clone());
            local.ok().map(|local| local.timestamp())
        };
        Some((at(self.sleep_until)?, at(self.sleep_from)?))
    }

    /// A moment as the schedule's people write it.
    pub fn local(&self, at: Timestamp) -> String {
        let local = at.to_zoned(self.zone.clone());
        local.strftime("%a %Y-%m-%d %H:%M %Z").to_string()
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

/// `MON-FRI,SUN`, from 0 for Monday.
fn days(list: &str) -> Option<BTreeSet<i8>> {
    let mut days = BTreeSet::new();
    for word in words(list) {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last) = (day_of_week(first)?, day_of_week(last)?);
        let length = (last - first).rem_euclid(7);
        days.extend((0..=length).map(|n| (first + n) % 7));
    }
    (!days.is_empty()).then_some(days)
}

fn day_of_week(name: &str) -> Option<i8> {
    let names = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
    let at = names
        .iter()
        .position(|known| known.eq_ignore_ascii_case(name))?;
    let day = Weekday::from_monday_zero_offset(at as i8).ok()?;
    Some(day.to_monday_zero_offset())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// What the template's parameters say by default, in a time zone.
    pub(crate) fn schedule(zone: &str) -> Schedule {
        with(zone, "20:00", "07:00", "MON-FRI", "", "")
    }

    pub(crate) fn with(
        zone: &str,
        from: &str,
        until: &str,
        days: &str,
        parked: &str,
        awake: &str,
    ) -> Schedule {
        parse(zone, from, until, days, parked, awake).expect("a schedule")
    }

    fn parse(
        zone: &str,
        from: &str,
        until: &str,
        days: &str,
        parked: &str,
        awake: &str,
    ) -> Result<Schedule> {
        let parking = json!({
            "environments": "staging,dev", "time_zone": zone, "sleep_from": from, "sleep_until": until,
            "awake_days": days, "parked_dates": parked, "awake_dates": awake,
        });
        Schedule::parse(&parking.to_string())
    }

    pub(crate) fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_night_lasts_from_the_evening_to_the_next_day_of_work() {
        let berlin = schedule("Europe/Berlin");
        let monday = Period {
            awake: true,
            since: at("2026-11-23T06:00:00Z"),
            until: at("2026-11-23T19:00:00Z"),
        };
        assert_eq!(berlin.at(at("2026-11-23T06:00:00Z")), monday);
        assert_eq!(berlin.at(at("2026-11-23T18:59:59Z")), monday);
        let weekend = Period {
            awake: false,
            since: at("2026-11-20T19:00:00Z"),
            until: at("2026-11-23T06:00:00Z"),
        };
        for moment in [
            "2026-11-20T19:00:00Z",
            "2026-11-21T12:00:00Z",
            "2026-11-23T05:59:59Z",
        ] {
            assert_eq!(berlin.at(at(moment)), weekend, "{moment}");
        }
    }

    #[test]
    fn a_parked_date_stays_parked_and_an_awake_date_is_a_day_of_work() {
        let holidays = with(
            "UTC",
            "20:00",
            "07:00",
            "MON-FRI",
            "2026-12-24,2026-12-25",
            "2026-12-27",
        );
        let christmas = holidays.at(at("2026-12-25T12:00:00Z"));
        assert_eq!(
            (christmas.awake, christmas.since, christmas.until),
            (
                false,
                at("2026-12-23T20:00:00Z"),
                at("2026-12-27T07:00:00Z")
            )
        );
        assert!(holidays.at(at("2026-12-27T12:00:00Z")).awake);
    }

    #[test]
    fn the_hour_that_is_skipped_and_the_hour_that_comes_twice_change_when_and_not_how_often() {
        // 2026-03-29 02:00 → 03:00 and 2026-10-25 03:00 → 02:00 in Berlin.
        let nightly = with("Europe/Berlin", "23:30", "02:30", "MON-SUN", "", "");
        let spring = nightly.at(at("2026-03-29T02:00:00Z"));
        assert_eq!(
            (spring.awake, spring.since),
            (true, at("2026-03-29T01:30:00Z")),
            "03:30 in place of 02:30, which there is not"
        );
        let autumn = nightly.at(at("2026-10-25T02:00:00Z"));
        assert_eq!(
            (autumn.awake, autumn.since),
            (true, at("2026-10-25T00:30:00Z")),
            "the first 02:30"
        );
    }

    #[test]
    fn a_parameter_that_means_nothing_is_named() {
        let refused = |zone, from, until, days, parked| {
            let error = parse(zone, from, until, days, parked, "").expect_err("refused");
            error.to_string()
        };
        for (message, parameter) in [
            (
                refused("Mars/Base", "20:00", "07:00", "MON-FRI", ""),
                "SleepTimeZone",
            ),
            (refused("UTC", "20:10", "07:00", "MON-FRI", ""), "SleepFrom"),
            (refused("UTC", "07:00", "20:00", "MON-FRI", ""), "SleepFrom"),
            (refused("UTC", "22:30", "20:00", "MON-FRI", ""), "SleepFrom"),
            (
                refused("UTC", "20:00", "24:00", "MON-FRI", ""),
                "SleepUntil",
            ),
            (refused("UTC", "20:00", "07:00", "", ""), "AwakeDays"),
            (
                refused("UTC", "20:00", "07:00", "MON-FRI", "2026-02-30"),
                "ParkedDates",
            ),
        ] {
            assert!(message.contains(parameter), "{parameter}: {message}");
        }
    }

    #[test]
    fn days_are_listed_and_ranged_over_the_end_of_the_week() {
        let numbered = |list| days(list).map(|days| days.into_iter().collect::<Vec<_>>());
        assert_eq!(numbered("MON-FRI"), Some(vec![0, 1, 2, 3, 4]));
        assert_eq!(numbered("wed, SAT-MON"), Some(vec![0, 2, 5, 6]));
        assert_eq!(numbered("MON-FRI,XYZ"), None);
    }

    fn zones() -> impl Strategy<Value = String> {
        let names: Vec<_> = jiff::tz::db()
            .available()
            .map(|name| name.as_str().to_owned())
            .collect();
        assert!(names.len() > 400, "{} zones", names.len());
        proptest::sample::select(names)
    }

    fn hours() -> impl Strategy<Value = (String, String)> {
        let time = |half_hours: u32| format!("{:02}:{:02}", half_hours / 2, half_hours % 2 * 30);
        // Of 48 half hours six at least for the day, and six for the night.
        (0..42u32).prop_flat_map(move |until| {
            let last = (until + 42).min(47);
            (until + 6..=last).prop_map(move |from| (time(from), time(until)))
        })
    }

    /// The half-hourly looks of two years: how often it falls asleep, and how often it wakes up.
    fn turns(schedule: &Schedule, from: Timestamp) -> (u32, u32) {
        let (mut asleep, mut awake) = (0, 0);
        let mut before = schedule.at(from);
        for tick in 1..2 * 365 * 48 {
            let now = from + (tick * 30).minutes();
            if now < before.until {
                continue;
            }
            let period = schedule.at(now);
            match period.awake {
                true => awake += 1,
                false => asleep += 1,
            }
            assert_ne!(period.awake, before.awake, "it turns at {now}");
            assert_eq!(period.since, before.until, "no time is lost at {now}");
            before = period;
        }
        (asleep, awake)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn over_any_two_years_it_sleeps_and_wakes_alternately_and_the_zone_changes_neither_count(
            zone in zones(),
            (from, until) in hours(),
            // After the last day that a zone has skipped as a whole (Samoa, 2011).
            year in 2012..2060i16,
            day in 1..365i16,
            days in prop_oneof![Just("MON-FRI"), Just("MON-SUN"), Just("SAT-SUN,WED")],
        ) {
            let first = jiff::civil::date(year, 1, 1) + i64::from(day).days();
            let turns = |zone: &str| {
                let schedule = with(zone, &from, &until, days, "", "");
                let noon = first.at(12, 0, 0, 0).to_zoned(TimeZone::get(zone).expect("a zone"));
                turns(&schedule, noon.expect("a time").timestamp())
            };
            let (asleep, awake) = turns(&zone);
            prop_assert!(asleep.abs_diff(awake) <= 1, "{asleep} and {awake}");
            let (asleep_without, awake_without) = turns("UTC");
            prop_assert!(asleep.abs_diff(asleep_without) <= 1 && awake.abs_diff(awake_without) <= 1);
        }

        #[test]
        fn any_moment_of_any_zone_is_in_one_period(zone in zones(), second in -377_705_000_000..253_402_000_000i64) {
            let now = Timestamp::from_second(second).expect("a time");
            let period = schedule(&zone).at(now);
            prop_assert!(period.since <= now && now < period.until, "{period:?} at {now}");
        }
    }
}
