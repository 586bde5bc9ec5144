//! Writes down what is wanted, before anything is done: whoever comes after a crash, or at the same time, finds it in the tags.

use crate::decide::Action;
use crate::observed::{Observed, Service, look};
use crate::plan::silent;
use crate::schedule::Schedule;
use crate::task::{Came, Outcome, Task};
use crate::wish::has_tag;
use aws_sdk_apprunner::types::ServiceStatus;
use aws_sdk_rds::types::Tag;
use groundcrew::managed::set_tags;
use groundcrew::stack::Tags;
use groundcrew::{Aws, Error, Mark, Result};
use jiff::Timestamp;

/// On a service: when the wish was uttered that its tags hold, so that an older one that had to wait does not overwrite it.
const TAG_WISHED: &str = "groundcrew:parking-wish";

/// Writes down the wish of a person, and which sleep a stack is put into.
///
/// # Errors
/// `Claimed` while a deployment is under way, `Busy` while an operation is.
pub(crate) async fn record(aws: &Aws, schedule: &Schedule, task: &Task) -> Result<Outcome> {
    let mut observed = look(aws, &task.parts).await?;
    if task.wanted.is_some() {
        let later = |service: &Service| {
            let wished = service.tags.get(TAG_WISHED).and_then(|at| at.parse().ok());
            wished.is_some_and(|at: Timestamp| at > task.clock.started)
        };
        if observed.services.iter().any(later) {
            return Ok(task.overtaken());
        }
    } else if !task.is_wanted(&observed, schedule) {
        return Ok(task.overtaken());
    }
    if task.action == Action::Pause {
        await_deployments(aws, &observed).await?;
    }
    write(aws, task, &mut observed).await?;
    Ok(task.outcome(Came::Done, observed.states()))
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

async fn write(aws: &Aws, task: &Task, observed: &mut Observed) -> Result<()> {
    if task.wanted.is_some() {
        for database in observed.databases.iter().filter(|it| has_tag(&it.tags)) {
            let tags = silent().into_iter();
            let tags = tags.map(|(key, value)| Tag::builder().key(key).value(value).build());
            aws.rds()
                .add_tags_to_resource()
                .resource_name(&database.arn)
                .set_tags(Some(tags.collect()))
                .send()
                .await
                .map_err(Error::aws("rds:AddTagsToResource"))?;
        }
    }
    for service in &observed.services {
        let mut tags = Tags::new();
        if let Some(wanted) = &task.wanted {
            tags.extend(wanted.tags());
            tags.insert(TAG_WISHED.into(), task.clock.started.to_string());
        }
        tags.extend(mark(task, service).map(Mark::tag));
        tags.retain(|key, value| service.tags.get(key) != Some(value));
        if !tags.is_empty() {
            set_tags(aws, &service.arn, &tags).await?;
        }
    }
    Ok(())
}

/// The mark that a service gets, if it gets another one.
fn mark(task: &Task, service: &Service) -> Option<Mark> {
    let since = task.sleep?.since;
    let by_hand = task.wanted.is_some();
    let paused = service.status == ServiceStatus::Paused;
    match (task.action, service.mark()) {
        (Action::Leave, _) => None,
        // Somebody else has paused it: only a person's wish makes it ours.
        (_, None) if paused => by_hand.then_some(Mark {
            since,
            pausing: false,
        }),
        (Action::Resume, _) => None,
        (Action::Pause, Some(mark)) if paused && !mark.pausing => None,
        (Action::Pause, _) => Some(Mark {
            since,
            pausing: true,
        }),
    }
}
