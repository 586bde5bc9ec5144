//! What becomes of a stack that could not be parked or woken: its alarms tell again, and a person reads once what is left.

use crate::alarms;
use crate::decide::Action;
use crate::observed::{Observed, look};
use crate::report::{Report, not_done};
use crate::task::Task;
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::stack::TAG_PARKING_FAILED;
use groundcrew::{Aws, Failure, Result};

/// Puts the alarms right and says what is in which state. `machine` is the ARN of the state machine, and `execution` the
/// execution's name.
///
/// # Errors
/// Those that a repetition may mend.
pub(crate) async fn give_up(
    aws: &Aws,
    task: &Task,
    failure: &Failure,
    machine: &str,
    execution: &str,
) -> Result<Report> {
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
    let is_news = is_news(task, &observed);
    Ok(not_done(task, &why, is_news, machine, execution))
}

/// Whether nobody was told of this sleep's failure yet. Of databases without a service nothing is remembered: what is told of
/// them every half hour would be too much.
fn is_news(task: &Task, observed: &Observed) -> bool {
    let Some(note) = note(task) else {
        return true;
    };
    let mut services = observed.services.iter();
    let was_told = services.any(|it| it.tags.get(TAG_PARKING_FAILED) == Some(&note));
    let is_noted = !observed.services.is_empty();
    !was_told && (is_noted || task.wanted.is_some() || task.clock.is_daily())
}

/// What is remembered of a failure that was told.
fn note(task: &Task) -> Option<String> {
    let what = match task.action {
        Action::Pause => "pause",
        Action::Resume => "resume",
        Action::Leave => "note",
    };
    task.sleep.map(|sleep| format!("{what} {}", sleep.since))
}

/// Notes that a person was told, now that SNS has taken the message: an execution that ends in between tells again, and not
/// never.
///
/// # Errors
/// Those that a repetition may mend.
pub(crate) async fn note_told(aws: &Aws, task: &Task) -> Result<()> {
    let Some(note) = note(task) else {
        return Ok(());
    };
    for service in look(aws, &task.parts).await?.services {
        let told = note.clone();
        service
            .remember(aws, |it| it.told_failed = Some(told))
            .await?;
    }
    Ok(())
}
