//! What is to be done with a stack: a pure function of what there is, the schedule and the moment.

use crate::observed::{Database, Observed, Service};
use crate::schedule::Schedule;
use crate::wish::Wish;
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::stack::created_at;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What is to be done with a stack, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// What is to be done.
    pub action: Action,
    /// Why, for a person.
    pub reason: String,
    /// The sleep that it is in, is put into, or is woken from.
    pub sleep: Option<Sleep>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Pause the services, then stop the databases.
    Pause,
    /// Start the databases, then resume the services.
    Resume,
    /// Nothing.
    Leave,
}

impl Action {
    /// Its name, as in the plan.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Leave => "leave",
        }
    }
}

/// The time that a stack is parked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sleep {
    /// Since when.
    pub since: Timestamp,
    /// Until when; now, for one that is woken.
    pub until: Timestamp,
}

/// An execution that builds a stack, or takes it down, has ended by then.
const NEW: SignedDuration = SignedDuration::from_hours(24);

/// Decides. Whatever cannot be parked is found out here, before anything is touched.
pub fn decide(stack: &Observed, schedule: &Schedule, now: Timestamp) -> Decision {
    let wish = Wish::of(schedule, &stack.stack.environment, stack.tags(), now);
    if stack.services.is_empty() {
        return without_service(stack, wish, now);
    }
    match wish {
        Wish::Unclear { why } => leave(why),
        Wish::Awake { why, .. } => awake(stack, &why, now),
        Wish::Asleep {
            since,
            until,
            by_tag,
            why,
        } => asleep(stack, since, until, by_tag, &why, now),
    }
}

fn leave(reason: impl Into<String>) -> Decision {
    Decision {
        action: Action::Leave,
        reason: reason.into(),
        sleep: None,
    }
}

fn names<'a>(services: impl Iterator<Item = &'a Service>) -> String {
    let names: Vec<_> = services.map(|service| service.name.as_str()).collect();
    names.join(", ")
}

fn awake(stack: &Observed, why: &str, now: Timestamp) -> Decision {
    let marks = stack.services.iter().filter_map(Service::mark);
    let Some(since) = marks.map(|mark| mark.since).min() else {
        let others = || stack.services.iter().filter(|it| it.is_paused_by_others());
        if others().next().is_some() {
            let names = names(others());
            return leave(format!(
                "somebody has paused {names} by hand, and what groundcrew has not parked it does not wake; start park with resume to have it woken"
            ));
        }
        return leave(format!("awake: {why}"));
    };
    Decision {
        action: Action::Resume,
        reason: format!("{why}, and it is parked since {since}"),
        sleep: Some(Sleep { since, until: now }),
    }
}

/// A database whose service is gone: nobody uses it, so the schedule puts it to sleep and does not wake it.
fn without_service(stack: &Observed, wish: Wish, now: Timestamp) -> Decision {
    let databases = || stack.databases.iter();
    let is_new = |since: Timestamp| now.duration_since(since) < NEW;
    let (since, until, why) = match wish {
        Wish::Unclear { why } => return leave(why),
        Wish::Awake {
            by_tag: true, why, ..
        } if databases().any(Database::is_down) => {
            return Decision {
                action: Action::Resume,
                reason: format!("{why}, and its database is stopped; it has no service"),
                sleep: Some(Sleep {
                    since: now,
                    until: now,
                }),
            };
        }
        Wish::Awake { why, .. } => return leave(format!("it has no service: {why}")),
        Wish::Asleep {
            since, until, why, ..
        } => (since.unwrap_or(now), until, why),
    };
    if databases().any(|it| created_at(&it.tags).is_some_and(is_new)) {
        return leave("it has no service yet, or no more: it is being built, or taken down");
    }
    if let Some(obstacle) = obstacle(stack) {
        return leave(format!("it cannot be parked: {obstacle}"));
    }
    let (action, reason) = match databases().find(|it| !it.is_down()) {
        Some(Database { name, status, .. }) => (
            Action::Pause,
            format!("database {name} is {status} although it has no service, and {why}"),
        ),
        None => (Action::Leave, format!("asleep without a service: {why}")),
    };
    Decision {
        action,
        reason,
        sleep: Some(Sleep { since, until }),
    }
}

fn asleep(
    stack: &Observed,
    scheduled: Option<Timestamp>,
    until: Timestamp,
    by_tag: bool,
    why: &str,
    now: Timestamp,
) -> Decision {
    let ours = || {
        let services = stack.services.iter();
        services.filter(|service| !service.is_paused_by_others())
    };
    if let Some(obstacle) = obstacle(stack) {
        return leave(format!("it cannot be parked: {obstacle}"));
    }
    if ours().next().is_none() {
        let names = names(stack.services.iter());
        return leave(format!(
            "somebody has paused {names} by hand, and it is left so; its database runs on"
        ));
    }
    let marks = ours().filter_map(Service::mark);
    let marked = marks.map(|mark| mark.since).min();
    let since = scheduled.or(marked).unwrap_or(now);
    let woken = |service: &&Service| {
        service.status != ServiceStatus::Paused
            && service
                .mark()
                .is_some_and(|mark| !mark.pausing && mark.since == since)
    };
    if !by_tag && ours().any(|service| woken(&service)) {
        let names = names(ours().filter(woken));
        return leave(format!(
            "somebody has woken {names} in this night, and it stays awake; start park with pause to have it parked"
        ));
    }
    let sleep = Some(Sleep { since, until });
    let paused = |service: &Service| {
        service.status == ServiceStatus::Paused && service.mark().is_some_and(|mark| !mark.pausing)
    };
    if !ours().all(paused) {
        return Decision {
            action: Action::Pause,
            reason: why.to_owned(),
            sleep,
        };
    }
    match stack.databases.iter().find(|database| !database.is_down()) {
        Some(database) => Decision {
            action: Action::Pause,
            reason: format!(
                "database {} is {} although its service is parked, and {why}",
                database.name, database.status
            ),
            sleep,
        },
        None => Decision {
            action: Action::Leave,
            reason: format!("asleep: {why}"),
            sleep,
        },
    }
}

/// Why a stack cannot be parked.
pub(crate) fn obstacle(stack: &Observed) -> Option<String> {
    let parks = [
        ServiceStatus::Running,
        ServiceStatus::Paused,
        ServiceStatus::OperationInProgress,
    ];
    let service = stack.services.iter().find(|it| !parks.contains(&it.status));
    if let Some(Service { name, status, .. }) = service {
        return Some(format!(
            "service {name} is {status}; start provision with its spec to repair it"
        ));
    }
    for database in &stack.databases {
        let name = &database.name;
        if let Some(reason) = &database.cannot_stop {
            return Some(format!("RDS does not stop database {name}, for {reason}"));
        }
        if database.is_broken() {
            return Some(format!("database {name} is {}", database.status));
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::observed::Database;
    use crate::schedule::tests::{at, schedule};
    use crate::wish::{TAG_AWAKE_UNTIL, TAG_PARKED_UNTIL};
    use groundcrew::claim::NONE;
    use groundcrew::stack::{TAG_PARKED, Tags};
    use groundcrew::{Mark, Stack};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const EVENING: &str = "2026-11-23T20:00:00Z";
    const NIGHT: &str = "2026-11-24T02:00:00Z";
    const MORNING: &str = "2026-11-24T07:00:00Z";

    fn service(status: ServiceStatus, mark: Option<(&str, bool)>) -> Service {
        let mark = mark.map(|(since, pausing)| Mark {
            since: at(since),
            pausing,
        });
        Service {
            arn: "arn:aws:apprunner:us-east-1:123456789012:service/shop-staging/0a".into(),
            name: "shop-staging".into(),
            status,
            tags: mark.into_iter().map(Mark::tag).collect(),
            memory_gb: None,
            secrets: BTreeSet::new(),
        }
    }

    fn database(status: &str) -> Database {
        Database {
            name: "shop-staging".into(),
            arn: "arn:aws:rds:us-east-1:123456789012:db:shop-staging".into(),
            status: status.into(),
            class: "db.t4g.micro".into(),
            cannot_stop: None,
            tags: Tags::new(),
        }
    }

    fn stack(service: Service, database: Database) -> Observed {
        Observed {
            stack: Stack {
                app: "shop".into(),
                environment: "staging".into(),
            },
            services: vec![service],
            databases: vec![database],
        }
    }

    /// A stack that is awake.
    pub(crate) fn running() -> Observed {
        stack(service(Running, None), database("available"))
    }

    /// One that groundcrew has parked in the evening.
    pub(crate) fn parked() -> Observed {
        stack(service(Paused, Some((EVENING, false))), database("stopped"))
    }

    /// The same with a tag on its service.
    pub(crate) fn tagged(mut stack: Observed, key: &str, value: &str) -> Observed {
        let tags = [(key.to_owned(), value.to_owned())];
        stack.services[0].tags.extend(tags);
        stack
    }

    /// So many seconds after the middle of a night.
    pub(crate) fn at_night(seconds: i64) -> Timestamp {
        Timestamp::from_second(at(NIGHT).as_second() + seconds).expect("a time")
    }

    fn decided(stack: &Observed, now: &str) -> Decision {
        decide(stack, &schedule("UTC"), at(now))
    }

    fn action(
        status: ServiceStatus,
        mark: Option<(&str, bool)>,
        database: &str,
        now: &str,
    ) -> Action {
        decided(&stack(service(status, mark), self::database(database)), now).action
    }

    use Action::{Leave, Pause, Resume};
    use ServiceStatus::{OperationInProgress, Paused, Running};

    #[test]
    fn what_runs_is_paused_in_the_evening_and_what_is_parked_is_resumed_in_the_morning() {
        assert_eq!(action(Running, None, "available", EVENING), Pause);
        let parked = Some((EVENING, false));
        assert_eq!(action(Paused, parked, "stopped", NIGHT), Leave);
        assert_eq!(action(Paused, parked, "stopped", MORNING), Resume);
        assert_eq!(action(Running, None, "available", MORNING), Leave);
    }

    #[test]
    fn what_was_begun_is_finished() {
        let pausing = Some((EVENING, true));
        for status in [Running, OperationInProgress, Paused] {
            assert_eq!(action(status.clone(), pausing, "available", NIGHT), Pause);
            assert_eq!(action(status, pausing, "available", MORNING), Resume);
        }
        let parked = Some((EVENING, false));
        assert_eq!(action(Running, parked, "available", MORNING), Resume);
    }

    #[test]
    fn a_database_that_rds_starts_under_a_parked_service_is_stopped_again() {
        for status in ["starting", "available", "backing-up"] {
            let parked = Some((EVENING, false));
            assert_eq!(action(Paused, parked, status, NIGHT), Pause, "{status}");
        }
    }

    #[test]
    fn what_somebody_else_paused_or_woke_in_this_night_is_left_and_said() {
        for now in [NIGHT, MORNING] {
            let stack = stack(service(Paused, None), database("available"));
            let decision = decided(&stack, now);
            assert_eq!(decision.action, Leave);
            assert!(decision.reason.contains("paused"), "{}", decision.reason);
        }
        let woken = stack(
            service(Running, Some((EVENING, false))),
            database("stopped"),
        );
        let decision = decided(&woken, NIGHT);
        assert_eq!(decision.action, Leave);
        assert!(decision.reason.contains("woken"), "{}", decision.reason);
        let night_before = Some(("2026-11-20T20:00:00Z", false));
        assert_eq!(action(Running, night_before, "available", NIGHT), Pause);
    }

    #[test]
    fn a_database_whose_service_is_gone_is_put_to_sleep_and_woken_only_if_somebody_asks() {
        let alone = |status: &str, tags: &[(&str, &str)], now: &str| {
            let mut stack = stack(service(Running, None), database(status));
            stack.services.clear();
            let tags = tags
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()));
            stack.databases[0].tags.extend(tags);
            decided(&stack, now).action
        };
        assert_eq!(alone("available", &[], NIGHT), Pause);
        assert_eq!(alone("stopped", &[], NIGHT), Leave);
        assert_eq!(alone("stopped", &[], MORNING), Leave);
        assert_eq!(alone("deleting", &[], NIGHT), Leave);
        // It is started to be deleted, or to be used once more.
        let awake = [(TAG_AWAKE_UNTIL, "2026-11-25T00:00:00Z")];
        assert_eq!(alone("available", &awake, NIGHT), Leave);
        assert_eq!(alone("stopped", &awake, NIGHT), Resume);
        // A stack that is being built has its database first.
        let built = [("groundcrew:created-by", "first 2026-11-24T01:00:00Z")];
        assert_eq!(alone("available", &built, NIGHT), Leave);
        let long_ago = [("groundcrew:created-by", "first 2026-10-24T01:00:00Z")];
        assert_eq!(alone("available", &long_ago, NIGHT), Pause);
    }

    #[test]
    fn what_cannot_be_parked_is_named() {
        let mut replica = database("available");
        replica.cannot_stop = Some("it has the read replica shop-staging-replica".into());
        let failed = service(ServiceStatus::CreateFailed, None);
        for (stack, named) in [
            (stack(service(Running, None), replica), "read replica"),
            (stack(failed, database("available")), "CREATE_FAILED"),
            (
                stack(service(Running, None), database("storage-full")),
                "storage-full",
            ),
        ] {
            let decision = decided(&stack, NIGHT);
            assert_eq!(decision.action, Leave, "{named}");
            assert!(decision.reason.contains(named), "{}", decision.reason);
        }
    }

    #[test]
    fn a_tag_parks_what_somebody_has_woken_and_wakes_what_is_parked() {
        let mut woken = stack(
            service(Running, Some((EVENING, false))),
            database("stopped"),
        );
        let tag = |key: &str| (key.to_owned(), MORNING.to_owned());
        woken.databases[0].tags.extend([tag(TAG_PARKED_UNTIL)]);
        assert_eq!(decided(&woken, NIGHT).action, Pause);
        let mut parked = stack(service(Paused, Some((EVENING, false))), database("stopped"));
        parked.databases[0].tags.extend([tag(TAG_AWAKE_UNTIL)]);
        assert_eq!(decided(&parked, NIGHT).action, Resume);
    }

    fn tag_times() -> impl Strategy<Value = Option<String>> {
        proptest::option::of(prop_oneof![
            Just(NONE.to_owned()),
            Just("soon".to_owned()),
            (-100_000..100_000i64).prop_map(|seconds| {
                let time = at(NIGHT).as_second() + seconds;
                Timestamp::from_second(time).expect("a time").to_string()
            }),
        ])
    }

    pub(crate) fn any_stack() -> impl Strategy<Value = Observed> {
        let mark = proptest::option::of((
            prop_oneof![Just(EVENING), Just("2026-11-20T20:00:00Z")],
            any::<bool>(),
        ));
        let status = proptest::sample::select(ServiceStatus::values());
        let of_database = proptest::sample::select(vec![
            "available",
            "stopped",
            "stopping",
            "starting",
            "modifying",
            "failed",
            "backing-up",
            "deleting",
        ]);
        let services = proptest::collection::vec((status, mark), 0..3);
        let databases = proptest::collection::vec((of_database, any::<bool>()), 0..3);
        (services, databases, tag_times(), tag_times()).prop_map(
            |(services, databases, awake, parked)| {
                let mut stack = stack(service(Running, None), database("available"));
                let services = services.into_iter();
                stack.services = services
                    .map(|(status, mark)| service(ServiceStatus::from(status), mark))
                    .collect();
                let databases = databases.into_iter();
                stack.databases = databases
                    .map(|(status, replica)| Database {
                        cannot_stop: replica.then(|| "it is a read replica".into()),
                        ..database(status)
                    })
                    .collect();
                let tags = [(TAG_AWAKE_UNTIL, awake), (TAG_PARKED_UNTIL, parked)].into_iter();
                let tags = tags.filter_map(|(key, value)| Some((key.to_owned(), value?)));
                if let Some(service) = stack.services.first_mut() {
                    service.tags.extend(tags);
                }
                stack
            },
        )
    }

    /// What the states of `park` make of a decision.
    fn done(mut stack: Observed, decision: &Decision) -> Observed {
        let parks = decision.action == Pause;
        for service in &mut stack.services {
            if decision.action == Leave || service.is_paused_by_others() {
                continue;
            }
            let since = decision.sleep.expect("a sleep").since;
            let mark = Mark {
                since,
                pausing: false,
            };
            service.status = if parks { Paused } else { Running };
            let mark = if parks {
                mark.to_string()
            } else {
                NONE.to_owned()
            };
            service.tags.insert(TAG_PARKED.into(), mark);
        }
        for database in &mut stack.databases {
            database.status = match decision.action {
                Pause => "stopped".into(),
                Resume => "available".into(),
                Leave => database.status.clone(),
            };
        }
        stack
    }

    proptest! {
        #[test]
        fn any_stack_at_any_moment_gets_one_decision_with_a_reason_and_after_it_nothing_is_left_to_do(
            stack in any_stack(),
            second in -100_000..100_000i64,
        ) {
            let now = Timestamp::from_second(at(NIGHT).as_second() + second).expect("a time");
            let schedule = schedule("UTC");
            let decision = decide(&stack, &schedule, now);
            prop_assert!(!decision.reason.is_empty());
            prop_assert_eq!(decision.sleep.is_none(), decision.action == Leave && !decision.reason.starts_with("asleep"));
            let after = decide(&done(stack.clone(), &decision), &schedule, now);
            prop_assert_eq!(after.action, Leave, "{:?} and then {:?}", decision, after);
        }

        #[test]
        fn what_cannot_be_parked_is_never_paused_and_what_others_paused_is_never_woken(
            stack in any_stack(),
            second in -100_000..100_000i64,
        ) {
            let now = Timestamp::from_second(at(NIGHT).as_second() + second).expect("a time");
            let decision = decide(&stack, &schedule("UTC"), now);
            if obstacle(&stack).is_some() {
                prop_assert!(decision.action != Pause);
            }
            let mut services = stack.services.iter();
            if !stack.services.is_empty() && services.all(Service::is_paused_by_others) {
                prop_assert_eq!(decision.action, Leave);
            }
        }
    }
}
