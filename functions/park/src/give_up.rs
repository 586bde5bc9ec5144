//! What becomes of a stack that could not be parked or woken: its alarms tell again, and a person reads once what is left.

use crate::alarms;
use crate::decide::Action;
use crate::observed::{Observed, look};
use crate::task::{Came, Outcome, Task};
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::managed::set_tags;
use groundcrew::stack::Tags;
use groundcrew::{Aws, Error, Failure, Result};

/// On a service: which failure a person was told of. Every half hour the same is tried again, and told no second time.
pub(crate) const TAG_FAILED: &str = "groundcrew:parking-failed";

/// Puts the alarms right and says what is in which state.
///
/// # Errors
/// Those that a repetition may mend.
pub(crate) async fn give_up(aws: &Aws, task: &Task, failure: &Failure) -> Result<Outcome> {
    let observed = look(aws, &task.parts).await?;
    let asleep = |observed: &Observed| {
        let mut services = observed.services.iter();
        services.all(|service| service.status == ServiceStatus::Paused)
    };
    let mut why = format!("{}; {}", failure.sentence(), observed.states());
    if task.action == Action::Resume || !asleep(&observed) {
        match alarms::set(aws, &task.parts.stack, true).await {
            Ok(()) => {}
            Err(error) if error.is_retried() => return Err(error),
            Err(error) => why = format!("{why}; the actions of its alarms are off: {error}"),
        }
    }
    tracing::error!(stack = task.name(), "{}: {why}", task.name());
    Ok(Outcome {
        to_tell: is_news(aws, task, &observed).await?,
        ..task.outcome(Came::Failed, why)
    })
}

/// Whether nobody was told of this sleep's failure yet, which is noted with it.
async fn is_news(aws: &Aws, task: &Task, observed: &Observed) -> Result<bool> {
    let Some(sleep) = task.sleep else {
        return Ok(true);
    };
    let what = match task.action {
        Action::Pause => "pause",
        Action::Resume => "resume",
        Action::Leave => "note",
    };
    let key = format!("{what} {}", sleep.since);
    let services = &observed.services;
    if services
        .iter()
        .any(|it| it.tags.get(TAG_FAILED) == Some(&key))
    {
        return Ok(false);
    }
    let told = Tags::from([(TAG_FAILED.into(), key)]);
    for service in services {
        match set_tags(aws, &service.arn, &told).await {
            Ok(()) => return Ok(true),
            // In an operation that does not end it takes no tag.
            Err(Error::Busy { .. }) => {}
            Err(error) if error.is_retried() => return Err(error),
            Err(error) => tracing::error!("{}: {error}", service.name),
        }
    }
    // What nobody can note would be told every half hour.
    Ok(task.wanted.is_some() || task.clock.is_daily())
}
