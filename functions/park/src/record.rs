//! Writes down what is wanted, before anything is done: whoever comes after a crash, or at the same time, finds it in the tags.
//!
//! Hours may have passed since the plan, for a deployment that is under way ends first. So it is decided once more: what a
//! person has done or said meanwhile counts.

use crate::Surroundings;
use crate::decide::{Action, decide};
use crate::observed::{Database, Observed, Service, look};
use crate::plan::silent;
use crate::schedule::Schedule;
use crate::task::{Came, Outcome, Task, Wanted};
use crate::under_way::UnderWay;
use crate::wish::has_tag;
use aws_sdk_apprunner::types::ServiceStatus;
use aws_sdk_rds::types::Tag;
use groundcrew::managed::set_tags;
use groundcrew::memory::Parking;
use groundcrew::stack::TAG_PARKING_WISH;
use groundcrew::{Aws, Error, Mark, Result};
use jiff::Timestamp;

/// Writes down the wish of a person, and which sleep a stack is put into.
///
/// # Errors
/// `Claimed` while a deployment is under way, `Busy` while an operation is.
pub(crate) async fn record(
    aws: &Aws,
    surroundings: &Surroundings,
    schedule: &Schedule,
    task: &Task,
) -> Result<Outcome> {
    let mut observed = look(aws, &task.parts).await?;
    if let Some(wanted) = &task.wanted {
        let newest = observed.services.iter().filter_map(wished).max();
        if newest > Some(task.clock.started) {
            return Ok(task.overtaken());
        }
        write_wish(aws, task, wanted, &mut observed).await?;
    }
    let decision = decide(&observed, schedule, task.clock.now());
    let under_way = UnderWay::look_for(aws, surroundings, [decision.action]).await?;
    let decision = under_way.hold(&observed.stack, decision);
    if task.action != Action::Leave && decision.action != task.action {
        let why = format!("it is no longer to be done: {}", decision.reason);
        return Ok(task.outcome(Came::Overtaken, why));
    }
    if task.action == Action::Pause {
        await_deployments(aws, &observed).await?;
    }
    for service in &observed.services {
        let since = decision.sleep.map(|sleep| sleep.since);
        let mark = since.and_then(|since| mark(task.action, since, service));
        if let Some(mark) = mark.filter(|mark| service.mark() != Some(*mark)) {
            service.remember(aws, |it| it.mark = Some(mark)).await?;
        }
    }
    let held = under_way.reason(&observed.stack);
    let why = match held.filter(|_| decision.action == Action::Leave) {
        Some(why) => format!("{}; {why}", observed.states()),
        None => observed.states(),
    };
    Ok(task.outcome(Came::Done, why))
}

/// A deployment with its watch afterwards is not cut short.
///
/// # Errors
/// `Claimed` while one is under way.
pub(crate) async fn await_deployments(aws: &Aws, observed: &Observed) -> Result<()> {
    for service in &observed.services {
        if let Some(claim) = service.claim()
            && service.status != ServiceStatus::Paused
            && claim.is_alive(aws).await?
        {
            return Err(Error::Claimed(format!(
                "service {} is being deployed by the execution {}",
                service.name, claim.execution
            )));
        }
    }
    Ok(())
}

/// When the wish was uttered that the tags of a service hold.
fn wished(service: &Service) -> Option<Timestamp> {
    service.tags.get(TAG_PARKING_WISH)?.parse().ok()
}

/// Writes the wish once: what a person says in tags after that is newer, also if this is repeated.
async fn write_wish(
    aws: &Aws,
    task: &Task,
    wanted: &Wanted,
    observed: &mut Observed,
) -> Result<()> {
    // A wish about a database without a service is in the tags of the database.
    let is_alone = observed.services.is_empty();
    let of_database = if is_alone { wanted.tags() } else { silent() };
    let is_written = |service: &Service| wished(service) == Some(task.clock.started);
    if !is_alone && observed.services.iter().all(is_written) {
        return Ok(());
    }
    let says = |database: &&mut Database| is_alone || has_tag(&database.tags);
    for database in observed.databases.iter_mut().filter(says) {
        let tags = of_database.clone().into_iter();
        let tags = tags.map(|(key, value)| Tag::builder().key(key).value(value).build());
        aws.rds()
            .add_tags_to_resource()
            .resource_name(&database.arn)
            .set_tags(Some(tags.collect()))
            .send()
            .await
            .map_err(Error::aws("rds:AddTagsToResource"))?;
        database.tags.extend(of_database.clone());
    }
    for service in observed.services.iter_mut().filter(|it| !is_written(it)) {
        // The wish itself first: once it is remembered when it was uttered, it is not written again.
        set_tags(aws, &service.arn, &wanted.tags()).await?;
        service.tags.extend(wanted.tags());
        // With a person's wish, what somebody else has paused becomes ours: or nobody would wake it.
        let ours = task.sleep.filter(|_| service.is_paused_by_others());
        let ours = ours.map(|sleep| Mark {
            since: sleep.since,
            pausing: false,
        });
        let uttered = task.clock.started;
        let change = |it: &mut Parking| {
            it.wished = Some(uttered);
            it.awake_until = wanted.awake.then_some(wanted.until);
            it.parked_until = (!wanted.awake).then_some(wanted.until);
            it.mark = ours.or(it.mark);
        };
        service.remember(aws, change).await?;
        let said = [(TAG_PARKING_WISH.to_owned(), uttered.to_string())];
        service.tags.extend(said);
        service.tags.extend(ours.map(Mark::tag));
    }
    Ok(())
}

/// The mark that a service has from now on, if it is to have one.
fn mark(action: Action, since: Timestamp, service: &Service) -> Option<Mark> {
    let paused = service.status == ServiceStatus::Paused;
    let (before, pausing) = (service.mark(), true);
    match action {
        // Somebody else has paused it.
        Action::Pause if paused && before.is_none() => None,
        Action::Pause if paused && before.is_some_and(|mark| !mark.pausing) => before,
        Action::Pause => Some(Mark { since, pausing }),
        // From here on it is groundcrew that wakes it, and nobody else: whoever comes next, and wants it asleep by then,
        // goes on with that.
        Action::Resume if paused => before.map(|mark| Mark { pausing, ..mark }),
        Action::Resume | Action::Leave => None,
    }
}
