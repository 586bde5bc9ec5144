//! Pausing and resuming the services of a stack.

use crate::observed::Service;
use crate::record::await_deployments;
use crate::schedule::Schedule;
use crate::task::{Outcome, Task};
use aws_sdk_apprunner::types::{OperationStatus, OperationType, ServiceStatus};
use groundcrew::managed::operations;
use groundcrew::{Aws, Error, Mark, Result, log_group};

/// Pauses what is marked to be paused.
///
/// # Errors
/// `NotReady`, `Busy` or `Claimed` until all of it is paused.
pub(crate) async fn pause(aws: &Aws, schedule: &Schedule, task: &Task) -> Result<Outcome> {
    let Some(observed) = task.look(aws, schedule).await? else {
        return Ok(task.overtaken());
    };
    await_deployments(aws, &observed).await?;
    let mut waiting = None;
    for service in &observed.services {
        // One that was seen to be paused and runs was woken by somebody since.
        let Some(mark) = service.mark().filter(|mark| mark.pausing) else {
            continue;
        };
        match service.status {
            ServiceStatus::Paused => {
                let paused = Mark {
                    pausing: false,
                    ..mark
                };
                service.remember(aws, |it| it.mark = Some(paused)).await?;
            }
            ServiceStatus::Running => {
                check_for_failure(aws, task, service, OperationType::PauseService).await?;
                let paused = aws.apprunner().pause_service().service_arn(&service.arn);
                paused
                    .send()
                    .await
                    .map_err(Error::aws("apprunner:PauseService"))?;
                waiting = Some(being(service, "paused"));
            }
            ServiceStatus::OperationInProgress => waiting = Some(busy(service)),
            _ => return Err(unusable(service, "paused")),
        }
    }
    waiting.map_or_else(|| Ok(task.done()), Err)
}

/// Resumes what is marked as parked.
///
/// # Errors
/// `NotReady` or `Busy` until all of it runs.
pub(crate) async fn resume(aws: &Aws, schedule: &Schedule, task: &Task) -> Result<Outcome> {
    let Some(observed) = task.look(aws, schedule).await? else {
        return Ok(task.overtaken());
    };
    let mut waiting = None;
    for service in observed.services.iter().filter(|it| it.mark().is_some()) {
        match service.status {
            ServiceStatus::Running => {}
            ServiceStatus::Paused => {
                check_for_failure(aws, task, service, OperationType::ResumeService).await?;
                let resumed = aws.apprunner().resume_service().service_arn(&service.arn);
                resumed
                    .send()
                    .await
                    .map_err(Error::aws("apprunner:ResumeService"))?;
                waiting = Some(being(service, "resumed"));
            }
            ServiceStatus::OperationInProgress => waiting = Some(busy(service)),
            _ => return Err(unusable(service, "resumed")),
        }
    }
    waiting.map_or_else(|| Ok(task.done()), Err)
}

fn being(service: &Service, what: &str) -> Error {
    Error::NotReady(format!("service {}, which is being {what},", service.name))
}

fn busy(service: &Service) -> Error {
    Error::Busy {
        call: "apprunner:DescribeService",
        reason: format!("service {} is in an operation", service.name),
    }
}

fn unusable(service: &Service, what: &str) -> Error {
    Error::Failed(format!(
        "service {} is {} and cannot be {what}",
        service.name, service.status
    ))
}

/// App Runner goes back to the state before when an operation fails: without this the same would be tried for ever.
async fn check_for_failure(
    aws: &Aws,
    task: &Task,
    service: &Service,
    kind: OperationType,
) -> Result<()> {
    let newest_first = operations(aws, &service.arn).await?;
    let failed = newest_first.first().filter(|newest| {
        let since = newest.started_at().map(|at| at.secs());
        newest.r#type() == Some(&kind)
            && newest.status() == Some(&OperationStatus::Failed)
            && since >= Some(task.clock.started.as_second())
    });
    match failed {
        Some(operation) => Err(Error::Failed(format!(
            "App Runner's operation {kind} {} of service {} failed; look at the log group {}",
            operation.id().unwrap_or_default(),
            service.name,
            log_group::events(
                &service.name,
                service.arn.rsplit('/').next().unwrap_or_default()
            ),
        ))),
        None => Ok(()),
    }
}
