//! A stack that sleeps: what waits until it is awake, when that is, and how it is woken before its time.
//!
//! App Runner updates no paused service (Assumption update-while-paused), and RDS modifies no stopped instance. So what needs the
//! stack awake waits, and everything else is done. A service is changed as one: while its update waits, its roles keep what they
//! may do, its tag rule stays, and so does what it is configured with, for it wakes with that.

use aws_sdk_apprunner::types::{OperationStatus, OperationType, ServiceStatus};
use aws_sdk_rds::types::DbInstance;
use groundcrew::managed::named;
use groundcrew::memory::Parking;
use groundcrew::{
    Aws, Error, Managed, Mark, Memory, Result, Run, Spec, Stack, database, log_group,
};
use jiff::Timestamp;
use park::{Observed, Outlook, Schedule, observe, outlook};

/// Whether what needs the stack awake is to wait. A plan that would wake the stack says what would be changed then.
pub(crate) fn is_to_wait(spec: &Spec, run: &Run) -> bool {
    !(spec.wake && run.dry_run)
}

/// Whether a database is stopped, or about to be.
pub(crate) fn is_stopped(status: &str) -> bool {
    ["stopped", "stopping"].contains(&status)
}

/// The status of the service of a stack, if it has one.
///
/// # Errors
/// Those of App Runner.
pub(crate) async fn status(aws: &Aws, stack: &Stack) -> Result<Option<ServiceStatus>> {
    let service = named(aws, &stack.name()).await?;
    Ok(service.map(|it| it.status().clone()))
}

/// A stack as it is in the end, and when it sleeps.
pub(crate) struct Seen {
    /// When it sleeps; `None` for one that is awake and stays so.
    pub(crate) sleeps: Option<Outlook>,
    unasked: Option<String>,
    schedule: Result<Schedule>,
}

impl Seen {
    /// Looks at a stack. `parking` is the function's variable `PARKING`.
    ///
    /// # Errors
    /// Those of App Runner and RDS.
    pub(crate) async fn look(aws: &Aws, spec: &Spec, parking: &str) -> Result<Self> {
        let (stack, name) = (spec.stack(), spec.stack().name());
        let mut services = Vec::new();
        if let Some(service) = Managed::find(aws, &name).await? {
            services.push(service.remembered::<Parking>(aws).await?);
        }
        let observed = observe(aws, &stack, services, &[name]).await?;
        Ok(Self::of(&observed, parking, Timestamp::now()))
    }

    fn of(observed: &Observed, parking: &str, now: Timestamp) -> Self {
        let unasked = unasked(observed);
        let schedule = Schedule::parse(parking);
        let sleeps = match &schedule {
            Ok(schedule) => outlook(observed, schedule, now),
            // A parameter that means nothing is told by `park`, and ends no execution that builds a stack.
            Err(error) => Some(Outlook {
                asleep: unasked.is_some(),
                is_waking: false,
                from: None,
                until: None,
                says: format!("nobody knows when it sleeps: {error}"),
            }),
        };
        Self {
            sleeps,
            unasked,
            schedule,
        }
    }

    /// Why the service is not asked whether it is well, if it is not.
    pub(crate) fn unasked(&self) -> Option<String> {
        self.unasked.clone()
    }

    /// What a person does about what waits; `None` if nothing waits.
    pub(crate) fn next(&self, waits: &[String]) -> Option<String> {
        if waits.is_empty() {
            return None;
        }
        let sleeps = self.sleeps.as_ref();
        if sleeps.is_some_and(|sleeps| sleeps.is_waking) {
            return Some("park is waking the stack: start provision again when the service is RUNNING, or now with \"wake\": true".into());
        }
        let until = sleeps.and_then(|sleeps| sleeps.until);
        Some(match (until, &self.schedule) {
            (Some(until), Ok(schedule)) => format!(
                "start provision again when the stack is awake, after {}, or now with \"wake\": true",
                schedule.local(until)
            ),
            _ => "nothing wakes the stack by itself: start provision again with \"wake\": true"
                .into(),
        })
    }
}

fn unasked(observed: &Observed) -> Option<String> {
    let mut services = observed.services.iter();
    if services.any(|it| it.status == ServiceStatus::Paused) {
        return Some("the service is paused".into());
    }
    let mut databases = observed.databases.iter();
    let stopped = databases.find(|it| is_stopped(&it.status))?;
    Some(format!("database {} is {}", stopped.name, stopped.status))
}

/// Wakes a stack: its database first, which its service needs. In a dry run it only says what it would wake.
///
/// # Errors
/// `NotReady` until the stack is awake; `Failed` if App Runner cannot resume the service.
pub(crate) async fn wake(aws: &Aws, spec: &Spec, run: &mut Run, entered: Timestamp) -> Result<()> {
    let (stack, name) = (spec.stack(), spec.stack().name());
    if let Some(instance) = database::find(aws, &name).await?
        && stack.owns(&database::tags(instance.tag_list()))
    {
        start(aws, run, &instance).await?;
    }
    match Managed::find(aws, &name).await? {
        Some(service) if stack.owns(&service.tags) => {
            let service = service.remembered::<Parking>(aws).await?;
            resume(aws, run, &service, entered).await
        }
        _ => Ok(()),
    }
}

/// Starts a database, and waits until it can be connected to. What else may be the matter with it is the business of its `ensure`.
async fn start(aws: &Aws, run: &mut Run, instance: &DbInstance) -> Result<()> {
    let name = instance.db_instance_identifier().unwrap_or_default();
    let status = instance.db_instance_status().unwrap_or_default();
    if is_stopped(status) && !run.change(format!("database {name}: it is started")) {
        return Ok(());
    }
    if status == "stopped" {
        let started = aws.rds().start_db_instance().db_instance_identifier(name);
        let started = started.send().await;
        started.map_err(Error::aws("rds:StartDBInstance"))?;
    }
    match is_stopped(status) || (status == "starting" && !run.dry_run) {
        true => Err(Error::NotReady(format!(
            "database {name} ({status}), which is started first,"
        ))),
        false => Ok(()),
    }
}

/// Resumes a service, and waits until it runs.
async fn resume(aws: &Aws, run: &mut Run, service: &Managed, entered: Timestamp) -> Result<()> {
    let name = service.name();
    match service.service.status() {
        ServiceStatus::Paused if run.change(format!("service {name}: it is resumed")) => {}
        ServiceStatus::OperationInProgress if !run.dry_run => {
            return Err(Error::NotReady(format!(
                "service {name}, which is in an operation,"
            )));
        }
        _ => return Ok(()),
    }
    check_for_failure(aws, service, entered).await?;
    // As `park` marks what it wakes itself: at its next look it goes on with whatever is wanted then, and puts the stack to sleep
    // again, or turns its alarms on and delivers what came in. Without a mark the service was paused by hand.
    if let Some(mark) = service.mark().filter(|mark| !mark.pausing) {
        let mark = Mark {
            pausing: true,
            ..mark
        };
        let mut memory: Memory<Parking> = Memory::of(aws, service.arn(), &service.tags).await?;
        let mut then = (*memory).clone();
        then.mark = Some(mark);
        memory.write(aws, then).await?;
    }
    let resumed = aws.apprunner().resume_service().service_arn(service.arn());
    let resumed = resumed.send().await;
    resumed.map_err(Error::aws("apprunner:ResumeService"))?;
    Err(Error::NotReady(format!(
        "service {name}, which is being resumed,"
    )))
}

/// App Runner goes back to `PAUSED` when it cannot resume a service: without this the same would be tried for hours.
async fn check_for_failure(aws: &Aws, service: &Managed, entered: Timestamp) -> Result<()> {
    let newest_first = service.operations(aws).await?;
    let failed = newest_first.first().filter(|newest| {
        newest.r#type() == Some(&OperationType::ResumeService)
            && newest.status() == Some(&OperationStatus::Failed)
            && newest.started_at().map(|at| at.secs()) >= Some(entered.as_second())
    });
    match failed {
        Some(_) => Err(Error::Failed(format!(
            "App Runner could not resume service {name}, and it is paused as before: read the log group {}",
            log_group::events(service.name(), &service.service.service_id),
            name = service.name(),
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use groundcrew::stack::Tags;
    use park::{Database, Service};
    use serde_json::json;
    use std::collections::BTreeSet;

    const PARKING: &str = r#"{"environments": "staging", "time_zone": "Europe/Berlin", "sleep_from": "20:00",
        "sleep_until": "07:00", "awake_days": "MON-FRI", "parked_dates": "", "awake_dates": ""}"#;

    /// A stack in the night to Tuesday, with what its service is marked as.
    fn seen(status: ServiceStatus, mark: Option<&str>, database: &str, parking: &str) -> Seen {
        let tags = mark.map(|since| ("groundcrew:parked".to_owned(), since.to_owned()));
        let observed = Observed {
            stack: Stack {
                app: "shop".into(),
                environment: "staging".into(),
            },
            services: vec![Service {
                arn: "arn:aws:apprunner:us-east-1:123456789012:service/shop-staging/0a".into(),
                name: "shop-staging".into(),
                status,
                tags: tags.into_iter().collect(),
                memory_gb: None,
                secrets: BTreeSet::new(),
            }],
            databases: vec![Database {
                name: "shop-staging".into(),
                arn: "arn:aws:rds:us-east-1:123456789012:db:shop-staging".into(),
                status: database.into(),
                class: "db.t4g.micro".into(),
                cannot_stop: None,
                tags: Tags::new(),
            }],
        };
        let night = "2026-11-24T02:00:00Z".parse().expect("a time");
        Seen::of(&observed, parking, night)
    }

    const PARKED: Option<&str> = Some("2026-11-23T19:00:00Z");

    #[test]
    fn what_waits_is_said_with_the_morning_that_it_waits_for_and_how_to_have_it_now() {
        let waits = ["service shop-staging: variables".to_owned()];
        let parked = seen(ServiceStatus::Paused, PARKED, "stopped", PARKING);
        assert_eq!(
            parked.next(&waits).as_deref(),
            Some(
                "start provision again when the stack is awake, after Tue 2026-11-24 07:00 CET, or now with \"wake\": true"
            )
        );
        assert_eq!(parked.next(&[]), None);
        let by_hand = seen(ServiceStatus::Paused, None, "available", PARKING);
        let next = by_hand.next(&waits).expect("it waits");
        assert!(next.starts_with("nothing wakes the stack"), "{next}");
    }

    #[test]
    fn a_service_is_not_asked_whether_it_is_well_while_it_or_its_database_sleeps() {
        let unasked = |status, database| seen(status, PARKED, database, PARKING).unasked();
        assert_eq!(unasked(ServiceStatus::Running, "available"), None);
        assert_eq!(unasked(ServiceStatus::Running, "starting"), None);
        let paused = unasked(ServiceStatus::Paused, "stopped");
        assert_eq!(paused.as_deref(), Some("the service is paused"));
        let stopped = unasked(ServiceStatus::Running, "stopping");
        let expected = "database shop-staging is stopping";
        assert_eq!(stopped.as_deref(), Some(expected));
    }

    #[test]
    fn a_schedule_that_nobody_can_read_is_said_and_ends_no_execution() {
        let seen = seen(ServiceStatus::Paused, PARKED, "stopped", "{}");
        let sleeps = seen.sleeps.as_ref().expect("it sleeps");
        assert!(sleeps.asleep, "{sleeps:?}");
        assert!(
            sleeps.says.contains("the schedule of parking"),
            "{sleeps:?}"
        );
        assert!(seen.next(&["it".into()]).is_some());
    }

    #[test]
    fn only_a_plan_that_would_wake_the_stack_waits_for_nothing() {
        let waits = |wake: bool, run: &Run| {
            let spec = json!({"app": "shop", "environment": "staging", "wake": wake});
            is_to_wait(&Spec::parse(&spec).expect("a spec"), run)
        };
        assert!(waits(false, &Run::deciding("")) && waits(false, &Run::acting("")));
        assert!(!waits(true, &Run::deciding("")));
        // It was woken; if somebody has paused it since, it is not changed.
        assert!(waits(true, &Run::acting("")));
    }
}
