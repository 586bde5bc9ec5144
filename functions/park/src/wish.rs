//! Whether a stack should be awake: the schedule, unless a tag of its service or its database says otherwise.

use crate::schedule::Schedule;
use groundcrew::claim::NONE;
use groundcrew::stack::Tags;
use jiff::Timestamp;

pub(crate) use groundcrew::stack::{TAG_AWAKE_UNTIL, TAG_PARKED_UNTIL};

/// What is wanted of a stack.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Wish {
    /// It should be awake.
    Awake {
        /// Whether a tag wants it so, and not only the schedule.
        by_tag: bool,
        /// Until when at least; `None` for an environment that never sleeps.
        until: Option<Timestamp>,
        /// Why.
        why: String,
    },
    /// It should be asleep.
    Asleep {
        /// Since when, by the schedule; `None` if a tag puts it to sleep in the middle of a day.
        since: Option<Timestamp>,
        /// Until when.
        until: Timestamp,
        /// Whether a tag wants it so, and not only the schedule.
        by_tag: bool,
        /// Why.
        why: String,
    },
    /// A tag says what is no time: nobody knows.
    Unclear {
        /// Which tag.
        why: String,
    },
}

impl Wish {
    /// What is wanted of a stack at a moment, by the tags of everything in it. A tag whose time has passed is as good as
    /// none; of several the latest counts; and awake wins over parked.
    pub(crate) fn of<'a>(
        schedule: &Schedule,
        environment: &str,
        tags: impl Iterator<Item = &'a Tags> + Clone,
        now: Timestamp,
    ) -> Self {
        let latest = |key| {
            let times = tags.clone().filter_map(|tags| time(tags, key)?.ok());
            times.max().filter(|until| now < *until)
        };
        if let Some(until) = latest(TAG_AWAKE_UNTIL) {
            let why = format!("{TAG_AWAKE_UNTIL} keeps it awake until {until}");
            return Self::Awake {
                by_tag: true,
                until: Some(until),
                why,
            };
        }
        if !schedule.knows(environment) {
            let why = format!("the environment {environment} does not sleep");
            return Self::Awake {
                by_tag: false,
                until: None,
                why,
            };
        }
        let period = schedule.at(now);
        let unreadable = tags.clone().find_map(unreadable);
        match (unreadable, latest(TAG_PARKED_UNTIL)) {
            (Some(why), _) if !period.awake => Self::Unclear { why },
            (None, Some(until)) => Self::Asleep {
                since: (!period.awake).then_some(period.since),
                until: match period.awake {
                    true => until,
                    false => until.max(period.until),
                },
                by_tag: true,
                why: format!("{TAG_PARKED_UNTIL} keeps it parked until {until}"),
            },
            _ if period.awake => Self::Awake {
                by_tag: false,
                until: Some(period.until),
                why: format!("it is day until {}", schedule.local(period.until)),
            },
            _ => Self::Asleep {
                since: Some(period.since),
                until: period.until,
                by_tag: false,
                why: format!("it is night until {}", schedule.local(period.until)),
            },
        }
    }
}

/// The time that a tag holds; `None` without the tag.
fn time(tags: &Tags, key: &str) -> Option<Result<Timestamp, String>> {
    let value = tags.get(key).map(|value| value.trim())?;
    if value.is_empty() || value == NONE {
        return None;
    }
    Some(value.parse().map_err(|_| {
        format!(
            "the tag {key} says {value:?}, which is no time; it is left as it is until the tag says one, 2026-11-21T02:00:00Z"
        )
    }))
}

fn unreadable(tags: &Tags) -> Option<String> {
    let keys = [TAG_AWAKE_UNTIL, TAG_PARKED_UNTIL];
    keys.iter().find_map(|key| time(tags, key)?.err())
}

/// Whether a resource has a tag that says when it is awake, or parked.
pub(crate) fn has_tag(tags: &Tags) -> bool {
    let keys = [TAG_AWAKE_UNTIL, TAG_PARKED_UNTIL];
    keys.iter().any(|key| time(tags, key).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::{at, schedule};

    const NIGHT: &str = "2026-11-24T02:00:00Z";
    const DAY: &str = "2026-11-24T12:00:00Z";

    fn wish(tags: &[(&str, &str)], now: &str) -> Wish {
        let tag = |(key, value): &(&str, &str)| Tags::from([((*key).into(), (*value).into())]);
        let resources: Vec<_> = tags.iter().map(tag).collect();
        Wish::of(&schedule("UTC"), "staging", resources.iter(), at(now))
    }

    fn is_awake(tags: &[(&str, &str)], now: &str) -> bool {
        matches!(wish(tags, now), Wish::Awake { .. })
    }

    #[test]
    fn awake_until_holds_until_then_and_is_nothing_afterwards() {
        let until = "2026-11-24T03:00:00Z";
        assert!(is_awake(&[(TAG_AWAKE_UNTIL, until)], NIGHT));
        assert!(!is_awake(&[(TAG_AWAKE_UNTIL, until)], until));
        assert!(!is_awake(&[(TAG_AWAKE_UNTIL, NONE)], NIGHT));
    }

    #[test]
    fn the_later_of_two_times_counts_and_awake_wins_over_parked() {
        let (early, late) = ("2026-11-24T01:00:00Z", "2026-11-24T03:00:00+00:00");
        assert!(is_awake(
            &[(TAG_AWAKE_UNTIL, early), (TAG_AWAKE_UNTIL, late)],
            NIGHT
        ));
        let parked = (TAG_PARKED_UNTIL, "2026-11-25T00:00:00Z");
        assert!(!is_awake(&[parked], DAY));
        assert!(is_awake(
            &[parked, (TAG_AWAKE_UNTIL, "2026-11-24T13:00:00Z")],
            DAY
        ));
    }

    #[test]
    fn a_stack_that_is_parked_beyond_the_night_sleeps_on() {
        let friday = "2026-11-27T00:00:00Z";
        let Wish::Asleep { since, until, .. } = wish(&[(TAG_PARKED_UNTIL, friday)], NIGHT) else {
            panic!("asleep");
        };
        assert_eq!(
            (since, until),
            (Some(at("2026-11-23T20:00:00Z")), at(friday))
        );
    }

    #[test]
    fn a_value_that_is_no_time_is_named_and_puts_nothing_to_sleep() {
        for tag in [TAG_AWAKE_UNTIL, TAG_PARKED_UNTIL] {
            let Wish::Unclear { why } = wish(&[(tag, "tomorrow")], NIGHT) else {
                panic!("unclear");
            };
            assert!(why.contains(tag) && why.contains("tomorrow"), "{why}");
            assert!(is_awake(&[(tag, "tomorrow")], DAY));
        }
    }

    #[test]
    fn an_environment_that_does_not_sleep_is_awake_whatever_the_hour() {
        let tags = Tags::from([(TAG_PARKED_UNTIL.into(), "2027-01-01T00:00:00Z".into())]);
        let wish = Wish::of(&schedule("UTC"), "prod", [&tags].into_iter(), at(NIGHT));
        assert!(matches!(wish, Wish::Awake { .. }), "{wish:?}");
    }
}
