//! The days that a rehearsal plays, in the time zone of the people: an evening of a day of work, the day after it, and a week of
//! holidays.

use groundcrew::Spec;
use jiff::civil::{Date, Time, Weekday, time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

/// One where clocks change, so that local time is not a fixed number of hours away.
const ZONE: &str = "Europe/Berlin";
const EVENING: Time = time(20, 0, 0, 0);
const MORNING: Time = time(7, 0, 0, 0);
const HALF_AN_HOUR: SignedDuration = SignedDuration::from_mins(30);
/// RDS starts a stopped database on the seventh day, which is a holiday like the one after it.
const HOLIDAYS: i64 = 8;

/// A Monday, Tuesday, Wednesday or Thursday whose evening is yet to come, and the days after it.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    zone: TimeZone,
    first: Date,
}

impl Calendar {
    pub(super) fn after(now: Timestamp) -> Self {
        let zone = TimeZone::get(ZONE).expect("the list of time zones is in this program");
        let now = now.to_zoned(zone.clone());
        let calendar = |days: i64| Self {
            zone: zone.clone(),
            first: now.date() + days.days(),
        };
        let plays = |calendar: &Self| {
            let before_work = [Weekday::Friday, Weekday::Saturday, Weekday::Sunday];
            calendar.before_evening() > now && !before_work.contains(&calendar.first.weekday())
        };
        let mut coming = (0..).map(calendar);
        coming.find(plays).expect("a week has days of work")
    }

    /// What the template is deployed with, so that the environment of a spec keeps to these days.
    pub(super) fn parameters(&self, spec: &Spec) -> Vec<(&'static str, String)> {
        let holidays = (1..=HOLIDAYS).map(|n| self.next_day() + n.days());
        let holidays: Vec<_> = holidays.map(|date| date.to_string()).collect();
        let hour = |time: Time| time.strftime("%H:%M").to_string();
        vec![
            ("SleepingEnvironments", spec.environment.clone()),
            ("SleepTimeZone", ZONE.into()),
            ("SleepFrom", hour(EVENING)),
            ("SleepUntil", hour(MORNING)),
            ("AwakeDays", "MON-FRI".into()),
            ("ParkedDates", holidays.join(",")),
        ]
    }

    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(super) fn zone_name(&self) -> &'static str {
        ZONE
    }

    /// The last look of the first day.
    pub(super) fn before_evening(&self) -> Zoned {
        &self.evening() - HALF_AN_HOUR
    }

    pub(super) fn evening(&self) -> Zoned {
        self.at(self.first, EVENING)
    }

    /// When somebody who works late goes home.
    pub(super) fn late(&self) -> Zoned {
        self.at(self.first, time(22, 0, 0, 0))
    }

    /// When something comes in, and nobody is there.
    pub(super) fn at_night(&self) -> Zoned {
        self.at(self.next_day(), time(2, 0, 0, 0))
    }

    pub(super) fn morning(&self) -> Zoned {
        self.at(self.next_day(), MORNING)
    }

    /// The evening before the holidays.
    pub(super) fn last_evening(&self) -> Zoned {
        self.at(self.next_day(), EVENING)
    }

    /// The noon of each holiday.
    pub(super) fn holidays(&self) -> Vec<Zoned> {
        let days = (1..=HOLIDAYS).map(|n| self.next_day() + n.days());
        days.map(|date| self.at(date, time(12, 0, 0, 0))).collect()
    }

    /// The morning of the first day of work after the holidays.
    pub(super) fn back_at_work(&self) -> Zoned {
        let weekend = [Weekday::Saturday, Weekday::Sunday];
        let mut days = (HOLIDAYS + 1..).map(|n| self.next_day() + n.days());
        let day = days.find(|date| !weekend.contains(&date.weekday()));
        self.at(day.expect("a week has days of work"), MORNING)
    }

    /// Every moment that a look is needed at.
    pub(super) fn looks(&self) -> Vec<Zoned> {
        let mut looks = vec![self.before_evening(), self.evening(), self.late()];
        looks.extend([self.morning(), self.last_evening()]);
        looks.extend(self.holidays());
        looks.push(self.back_at_work());
        looks
    }

    fn next_day(&self) -> Date {
        self.first + 1.day()
    }

    fn at(&self, date: Date, time: Time) -> Zoned {
        let local = self.zone.to_zoned(date.to_datetime(time));
        local.expect("a date of these years")
    }
}

/// As the local AWS writes a moment.
pub(super) fn instant(at: &Zoned) -> String {
    at.timestamp().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `Monday 2026-11-23, 20:00`
pub(super) fn long(at: &Zoned) -> String {
    at.strftime("%A %Y-%m-%d, %H:%M").to_string()
}

/// `Mon 20:00`
pub(super) fn short(at: &Zoned) -> String {
    at.strftime("%a %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn calendar(now: &str) -> Calendar {
        Calendar::after(now.parse().expect("a time"))
    }

    #[test]
    fn the_first_evening_is_to_come_and_the_day_after_it_is_one_of_work() {
        for (now, first) in [
            ("2026-11-23T10:00:00Z", "Monday 2026-11-23, 20:00"),
            ("2026-11-23T18:45:00Z", "Tuesday 2026-11-24, 20:00"), // a quarter to eight in Berlin
            ("2026-11-26T20:00:00Z", "Monday 2026-11-30, 20:00"),
            ("2026-11-27T10:00:00Z", "Monday 2026-11-30, 20:00"), // a Friday
            ("2026-11-29T10:00:00Z", "Monday 2026-11-30, 20:00"),
        ] {
            assert_eq!(long(&calendar(now).evening()), first, "{now}");
        }
    }

    #[test]
    fn whatever_day_it_is_the_schedule_of_park_sleeps_and_wakes_as_it_is_played() {
        let spec = Spec::parse(&json!({"app": "shop", "environment": "staging"})).expect("a spec");
        let first: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
        for day in 0..400 {
            let calendar = Calendar::after(first + SignedDuration::from_hours(24 * day));
            let parameters = calendar.parameters(&spec);
            let of = |name: &str| {
                let found = parameters.iter().find(|(known, _)| *known == name);
                found.map_or("", |(_, value)| value).to_owned()
            };
            let schedule = park::Schedule::parse(
                &json!({
                    "environments": of("SleepingEnvironments"), "time_zone": of("SleepTimeZone"),
                    "sleep_from": of("SleepFrom"), "sleep_until": of("SleepUntil"),
                    "awake_days": of("AwakeDays"), "parked_dates": of("ParkedDates"), "awake_dates": "",
                })
                .to_string(),
            )
            .expect("a schedule");
            let period = |at: &Zoned| schedule.at(at.timestamp());
            assert!(period(&calendar.before_evening()).awake, "{calendar:?}");
            let night = period(&calendar.evening());
            assert_eq!(night.since, calendar.evening().timestamp(), "{calendar:?}");
            assert_eq!(night.until, calendar.morning().timestamp(), "{calendar:?}");
            assert_eq!(night, period(&calendar.at_night()), "{calendar:?}");
            let holidays = period(&calendar.last_evening());
            assert_eq!(
                holidays.since,
                calendar.last_evening().timestamp(),
                "{calendar:?}"
            );
            assert_eq!(
                holidays.until,
                calendar.back_at_work().timestamp(),
                "{calendar:?}"
            );
            let eight_days = SignedDuration::from_hours(8 * 24);
            assert!(holidays.until.duration_since(holidays.since) > eight_days);
        }
    }
}
