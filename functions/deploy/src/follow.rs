//! How App Runner's operation ends. A service that is RUNNING proves nothing: App Runner rolls a failed operation back to
//! RUNNING, and its events carry no operation id, so that only the operation itself tells.

use crate::deployment::Deployment;
use aws_sdk_apprunner::types::{OperationStatus, OperationSummary, OperationType};
use groundcrew::claim::Kind;
use groundcrew::managed::{describe, operations};
use groundcrew::reference::ImageReference;
use groundcrew::{Aws, Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The status of a service that was deleted meanwhile.
pub(crate) const GONE: &str = "GONE";

/// How an operation ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether it did what it was for.
    pub succeeded: bool,
    /// App Runner's word for it; `GONE` if the service was deleted meanwhile.
    pub status: String,
    /// Whether the service runs what the deployment was for. If not, App Runner has taken somebody else's update instead.
    pub delivered: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

impl Verdict {
    fn gone() -> Self {
        Self {
            succeeded: false,
            status: GONE.into(),
            delivered: true,
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// The end of an operation; `None` while it goes on.
    pub(crate) fn of(operation: &OperationSummary) -> Option<Self> {
        let status = operation.status()?;
        let succeeded = match status {
            OperationStatus::Succeeded => true,
            OperationStatus::Failed
            | OperationStatus::RollbackFailed
            | OperationStatus::RollbackSucceeded => false,
            _ => return None,
        };
        let time = |at: Option<&aws_sdk_apprunner::primitives::DateTime>| {
            at.and_then(|at| Timestamp::from_nanosecond(at.as_nanos()).ok())
        };
        let started_at = time(operation.started_at()).unwrap_or_default();
        Some(Self {
            succeeded,
            status: status.as_str().to_owned(),
            delivered: true,
            started_at,
            ended_at: time(operation.ended_at())
                .or(time(operation.updated_at()))
                .unwrap_or(started_at),
        })
    }
}

/// Waits for the end of a deployment's operation.
///
/// # Errors
/// `NotReady` while it goes on.
pub(crate) async fn operation(aws: &Aws, deployment: &Deployment) -> Result<Verdict> {
    let Deployment {
        service,
        service_arn,
        operation_id,
        ..
    } = deployment;
    let listed = operations(aws, service_arn).await?;
    let operation = listed
        .iter()
        .find(|operation| operation.id() == Some(operation_id));
    let Some(operation) = operation else {
        if describe(aws, service_arn).await?.is_none() {
            return Ok(Verdict::gone());
        }
        return Err(Error::Failed(format!(
            "App Runner no longer lists the operation {operation_id} of service {service}"
        )));
    };
    let Some(mut verdict) = Verdict::of(operation) else {
        return Err(Error::NotReady(format!(
            "operation {operation_id} of service {service}, which is {},",
            operation
                .status()
                .map_or("unknown", |status| status.as_str())
        )));
    };
    if verdict.succeeded && deployment.kind != Kind::Secrets {
        let Some(now) = describe(aws, service_arn).await? else {
            return Ok(Verdict::gone());
        };
        let to_run = ImageReference::of(&now).and_then(|now| now.digest);
        // They are listed anew: an update in between is not among those above.
        verdict.delivered = to_run == deployment.digest
            || is_overtaken(&operations(aws, service_arn).await?, operation_id);
    }
    Ok(verdict)
}

/// Whether somebody has updated the service since: then what it is to run now says nothing about what the operation did.
fn is_overtaken(newest_first: &[OperationSummary], operation_id: &str) -> bool {
    newest_first
        .iter()
        .take_while(|later| later.id() != Some(operation_id))
        .any(|later| later.r#type() == Some(&OperationType::UpdateService))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_since_has_overtaken_an_operation_and_a_pause_or_an_earlier_update_has_not() {
        let operation = |id: &str, of: OperationType| {
            let operation = OperationSummary::builder().id(id).r#type(of);
            operation.build()
        };
        let own = operation("own", OperationType::UpdateService);
        let before = operation("before", OperationType::UpdateService);
        let pause = operation("pause", OperationType::PauseService);
        let update = operation("update", OperationType::UpdateService);
        let is = |operations: &[&OperationSummary]| {
            let operations: Vec<_> = operations.iter().copied().cloned().collect();
            is_overtaken(&operations, "own")
        };
        assert!(is(&[&update, &own, &before]));
        assert!(is(&[&pause, &update, &own]));
        assert!(!is(&[&own, &before]));
        assert!(!is(&[&pause, &own, &before]));
    }
}
