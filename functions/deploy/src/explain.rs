//! What a person is told when an execution could not go on: what App Runner is busy with and since when, or what failed.

use crate::follow::Verdict;
use crate::order::look;
use crate::request::Request;
use aws_sdk_apprunner::types::{OperationSummary, ServiceStatus};
use groundcrew::image::short;
use groundcrew::memory::Deployments;
use groundcrew::{Aws, Failure, Memory, Notification, Result};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// What `explain` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Explained {
    /// The name of the error that the execution ends with.
    pub outcome: &'static str,
    /// What is to be told; `None` if it was told before, of the same operation.
    pub notification: Option<Notification>,
}

/// Whether the execution gave up waiting.
fn is_stuck(failure: &Failure) -> bool {
    ["NotReady", "Busy", "Claimed"].contains(&failure.error.as_str())
}

/// Never fails: what cannot be found out is left out.
pub(crate) async fn explain(
    aws: &Aws,
    request: &Value,
    failure: &Failure,
    execution: &str,
) -> Explained {
    let service = request["service"].as_str().unwrap_or_default();
    let name = service.rsplit('/').nth(1).unwrap_or(service);
    let cause = Request::parse(request).map_or_else(
        |_| String::new(),
        |request| format!("Cause: {}.", request.why()),
    );
    let seen = busy_with(aws, service, is_stuck(failure))
        .await
        .unwrap_or_default();
    let sentence = failure.sentence();
    let execution = format!("Execution: {execution}");
    tracing::error!(service, "{sentence}");
    if is_stuck(failure) {
        let again = format!(
            "Nothing is tried again by itself. Should the operation never end, ask AWS Support. When the service is running again, it is looked at again; or start deploy for {name} by hand."
        );
        let notification = Notification::new(
            &format!("{name}: stuck"),
            &[
                format!("The deployment of {name} has given up waiting: {sentence}."),
                seen.said,
                again,
                cause,
                execution,
            ],
        );
        return Explained {
            outcome: "Stuck",
            notification: (!seen.was_told).then_some(notification),
        };
    }
    Explained {
        outcome: "Failed",
        notification: Some(Notification::new(
            &format!("{name}: deployment failed"),
            &[
                format!("The deployment of {name} could not go on: {sentence}."),
                seen.said,
                format!("Mend that, then start deploy for {name} by hand."),
                cause,
                execution,
            ],
        )),
    }
}

/// What a service is busy with.
#[derive(Default)]
struct Seen {
    /// For a person.
    said: String,
    /// Whether a person was told of it before.
    was_told: bool,
}

/// The operation that a service is in, and since when. That it is `stuck` is remembered: of each operation that hangs one
/// execution tells.
async fn busy_with(aws: &Aws, service: &str, stuck: bool) -> Result<Seen> {
    let Some(managed) = look(aws, service).await? else {
        return Ok(Seen {
            said: "The service is gone.".into(),
            was_told: false,
        });
    };
    let operations = managed.operations(aws).await?;
    let mut memory: Memory<Deployments> = Memory::of(aws, managed.arn(), &managed.tags).await?;
    let claim = memory.claim.as_ref();
    let digest = claim.and_then(|claim| claim.digest.as_deref());
    let digest = digest.map_or_else(String::new, |digest| {
        format!(" It was being given {}.", short(digest))
    });
    let said = sentence(managed.service.status(), &operations) + &digest;
    let hangs = under_way(&operations).and_then(|operation| operation.id.clone());
    let hangs = hangs.or_else(|| Some(memory.claim.as_ref()?.execution.clone()));
    let hangs = Some(hangs.unwrap_or_else(|| "an operation without an id".into()));
    let was_told = stuck && memory.told_stuck == hangs;
    if stuck && !was_told {
        let mut then = (*memory).clone();
        then.told_stuck = hangs;
        memory.write(aws, then).await?;
    }
    Ok(Seen { said, was_told })
}

fn under_way(newest_first: &[OperationSummary]) -> Option<&OperationSummary> {
    let mut operations = newest_first.iter();
    operations.find(|operation| Verdict::of(operation).is_none())
}

fn sentence(status: &ServiceStatus, newest_first: &[OperationSummary]) -> String {
    match under_way(newest_first) {
        Some(operation) => {
            let kind = operation.r#type().map_or("unknown", |kind| kind.as_str());
            let since = operation
                .started_at()
                .and_then(|at| Timestamp::from_second(at.secs()).ok());
            let since = since.map_or_else(String::new, |at| {
                format!(" since {}", at.strftime("%Y-%m-%d %H:%M UTC"))
            });
            format!(
                "It is in the operation {kind} {}{since}.",
                operation.id().unwrap_or_default()
            )
        }
        None if status == &ServiceStatus::OperationInProgress => {
            "It is in an operation that App Runner does not list: its own maintenance, usually over in minutes.".into()
        }
        None => format!("It is {status} and in no operation."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_apprunner::primitives::DateTime;
    use aws_sdk_apprunner::types::{OperationStatus, OperationType};

    #[test]
    fn a_stuck_service_is_told_with_its_operation_and_since_when() {
        let operation = OperationSummary::builder()
            .id("0a0b")
            .r#type(OperationType::UpdateService)
            .status(OperationStatus::RollbackInProgress)
            .started_at(DateTime::from_secs(1_795_000_000))
            .build();
        assert_eq!(
            sentence(&ServiceStatus::OperationInProgress, &[operation]),
            "It is in the operation UPDATE_SERVICE 0a0b since 2026-11-18 11:06 UTC."
        );
        let maintenance = sentence(&ServiceStatus::OperationInProgress, &[]);
        assert!(maintenance.contains("maintenance"), "{maintenance}");
    }
}
