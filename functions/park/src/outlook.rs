//! When a stack sleeps: what `provision` says in its report. It is found by what `park` would decide, and does nothing.

use crate::decide::{Action, Sleep, decide};
use crate::observed::{Database, Observed};
use crate::schedule::Schedule;
use crate::wish::Wish;
use aws_sdk_apprunner::types::ServiceStatus;
use jiff::Timestamp;
use serde::Serialize;

/// When a stack sleeps.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Outlook {
    /// Whether a service of it is paused, or a database stopped, whoever did that.
    pub asleep: bool,
    /// When it falls asleep; `None` for one that sleeps, and for one that cannot be parked.
    pub from: Option<Timestamp>,
    /// When it wakes; `None` if nothing wakes it.
    pub until: Option<Timestamp>,
    /// Whether `park` is about to wake it.
    #[serde(skip)]
    pub is_waking: bool,
    /// The same for a person, in the time zone of the schedule, with the reason.
    pub says: String,
}

/// When a stack sleeps from a moment on; `None` for one that is awake and stays so.
pub fn outlook(stack: &Observed, schedule: &Schedule, now: Timestamp) -> Option<Outlook> {
    match is_down(stack) {
        true => Some(asleep(stack, schedule, now)),
        false => awake(stack, schedule, now),
    }
}

fn is_down(stack: &Observed) -> bool {
    let is_paused = |status: &ServiceStatus| *status == ServiceStatus::Paused;
    stack.services.iter().any(|it| is_paused(&it.status))
        || stack.databases.iter().any(Database::is_down)
}

fn asleep(stack: &Observed, schedule: &Schedule, now: Timestamp) -> Outlook {
    let decision = decide(stack, schedule, now);
    let reason = match decision.action {
        Action::Leave => decision.reason,
        Action::Pause => format!("park goes on to put it to sleep: {}", decision.reason),
        Action::Resume => format!("park wakes it within half an hour: {}", decision.reason),
    };
    let is_waking = decision.action == Action::Resume;
    let sleep = decision.sleep.filter(|_| !is_waking);
    Outlook {
        asleep: true,
        is_waking,
        from: None,
        until: sleep.map(|sleep| sleep.until),
        says: format!("{}; {reason}", stack.states()),
    }
}

fn awake(stack: &Observed, schedule: &Schedule, now: Timestamp) -> Option<Outlook> {
    let says = |says: String| Outlook {
        asleep: false,
        is_waking: false,
        from: None,
        until: None,
        says,
    };
    let sleep = match next_sleep(stack, schedule, now)? {
        Ok(sleep) => sleep,
        Err(why) => return Some(says(why)),
    };
    // One that is to be built has nothing yet that could keep it from sleeping.
    let decision = decide(stack, schedule, sleep.since);
    if decision.action != Action::Pause && !stack.services.is_empty() {
        return Some(says(decision.reason));
    }
    let until = schedule.local(sleep.until);
    let sentence = match sleep.since <= now {
        true => format!("park puts it to sleep within half an hour, until {until}"),
        false => format!(
            "it sleeps from {} until {until}",
            schedule.local(sleep.since)
        ),
    };
    Some(Outlook {
        from: Some(sleep.since),
        until: Some(sleep.until),
        ..says(sentence)
    })
}

/// The first sleep that the schedule and the tags want from a moment on; the tag that nobody can read, if it decides that.
fn next_sleep(
    stack: &Observed,
    schedule: &Schedule,
    now: Timestamp,
) -> Option<Result<Sleep, String>> {
    let environment = &stack.stack.environment;
    if !schedule.knows(environment) {
        return None;
    }
    let mut since = now;
    // By a tag it is awake until then, and by the schedule until the next evening: no more than that can lie before a night.
    for _ in 0..3 {
        match Wish::of(schedule, environment, stack.tags(), since) {
            Wish::Asleep { until, .. } => return Some(Ok(Sleep { since, until })),
            Wish::Unclear { why } => return Some(Err(why)),
            Wish::Awake { until, .. } => since = until?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{any_stack, at_night, parked, running, tagged};
    use crate::schedule::tests::{at, schedule};
    use crate::wish::{TAG_AWAKE_UNTIL, TAG_PARKED_UNTIL};
    use jiff::ToSpan;
    use proptest::prelude::*;

    const DAY: &str = "2026-11-23T12:00:00Z";
    const EVENING: &str = "2026-11-23T20:00:00Z";
    const NIGHT: &str = "2026-11-24T02:00:00Z";
    const MORNING: &str = "2026-11-24T07:00:00Z";

    fn seen(stack: &Observed, now: &str) -> Outlook {
        outlook(stack, &schedule("UTC"), at(now)).expect("it sleeps")
    }

    #[test]
    fn by_day_it_says_from_when_until_when_a_stack_sleeps_and_at_night_that_it_is_about_to() {
        let day = seen(&running(), DAY);
        assert_eq!(
            (day.asleep, day.from, day.until),
            (false, Some(at(EVENING)), Some(at(MORNING)))
        );
        assert_eq!(
            day.says,
            "it sleeps from Mon 2026-11-23 20:00 UTC until Tue 2026-11-24 07:00 UTC"
        );
        let night = seen(&running(), NIGHT);
        assert_eq!(night.from, Some(at(NIGHT)));
        assert!(night.says.contains("within half an hour"), "{}", night.says);
    }

    #[test]
    fn of_one_that_sleeps_it_says_until_when_and_who_wakes_it() {
        let parked = seen(&parked(), NIGHT);
        assert_eq!(
            (parked.asleep, parked.from, parked.until),
            (true, None, Some(at(MORNING)))
        );
        assert!(
            parked.says.contains("Tue 2026-11-24 07:00"),
            "{}",
            parked.says
        );
        let mut by_hand = running();
        by_hand.services[0].status = ServiceStatus::Paused;
        for now in [DAY, NIGHT] {
            let by_hand = seen(&by_hand, now);
            assert_eq!((by_hand.asleep, by_hand.until), (true, None));
            assert!(by_hand.says.contains("by hand"), "{}", by_hand.says);
        }
    }

    #[test]
    fn of_one_that_is_to_be_woken_it_says_so_and_no_time_that_has_passed() {
        let late = seen(&parked(), "2026-11-24T07:05:00Z");
        assert_eq!((late.is_waking, late.until), (true, None));
        assert!(late.says.contains("within half an hour"), "{}", late.says);
    }

    #[test]
    fn what_is_kept_awake_sleeps_from_then_and_what_cannot_be_parked_says_why() {
        let late = at("2026-11-23T22:00:00Z");
        let kept = tagged(running(), TAG_AWAKE_UNTIL, &late.to_string());
        assert_eq!(seen(&kept, DAY).from, Some(late));
        // Beyond the night: the next one.
        let kept = tagged(running(), TAG_AWAKE_UNTIL, "2026-11-24T12:00:00Z");
        assert_eq!(seen(&kept, DAY).from, Some(at("2026-11-24T20:00:00Z")));
        let unclear = tagged(running(), TAG_PARKED_UNTIL, "tonight");
        assert!(seen(&unclear, NIGHT).says.contains("tonight"));
        let mut replicated = running();
        replicated.databases[0].cannot_stop = Some("it has the read replica other".into());
        let seen = seen(&replicated, DAY);
        assert_eq!((seen.from, seen.until), (None, None));
        assert!(seen.says.contains("cannot be parked"), "{}", seen.says);
    }

    #[test]
    fn a_stack_that_is_not_built_yet_sleeps_as_one_that_is() {
        let mut planned = running();
        planned.services.clear();
        planned.databases.clear();
        for now in [DAY, NIGHT] {
            assert_eq!(seen(&planned, now), seen(&running(), now), "{now}");
        }
    }

    #[test]
    fn an_environment_that_does_not_sleep_has_none() {
        let mut stack = running();
        stack.stack.environment = "prod".into();
        assert_eq!(outlook(&stack, &schedule("UTC"), at(NIGHT)), None);
    }

    proptest! {
        #[test]
        fn at_no_moment_before_the_sleep_that_is_said_would_park_put_a_stack_to_sleep(
            stack in any_stack(),
            minute in -5_000..5_000i64,
        ) {
            let (schedule, now) = (schedule("UTC"), at_night(minute * 60));
            let Some(seen) = outlook(&stack, &schedule, now) else { return Ok(()) };
            prop_assert!(!seen.says.is_empty());
            let Some(from) = seen.from.filter(|_| !stack.services.is_empty()) else { return Ok(()) };
            prop_assert_eq!(decide(&stack, &schedule, from).action, Action::Pause);
            let mut before = now;
            while before < from {
                let action = decide(&stack, &schedule, before).action;
                prop_assert_ne!(action, Action::Pause, "at {}", before);
                before += 30.minutes();
            }
        }
    }
}
