//! How App Runner's operation ends. A service that is RUNNING proves nothing: App Runner rolls a failed operation back to
//! RUNNING, and its events carry no operation id, so that only the operation itself tells.

use crate::deployment::Deployment;
use aws_sdk_apprunner::types::{OperationStatus, OperationSummary};
use aws_sdk_sfn::types::ExecutionStatus;
use groundcrew::managed::operations;
use groundcrew::{Aws, Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How an operation ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether it did what it was for.
    pub succeeded: bool,
    /// App Runner's word for it.
    pub status: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

impl Verdict {
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
    let operations = operations(aws, service_arn).await?;
    let operation = operations
        .iter()
        .find(|operation| operation.id() == Some(operation_id))
        .ok_or_else(|| {
            Error::Failed(format!(
                "App Runner no longer lists the operation {operation_id} of service {service}"
            ))
        })?;
    Verdict::of(operation).ok_or_else(|| {
        Error::NotReady(format!(
            "operation {operation_id} of service {service}, which is {},",
            operation
                .status()
                .map_or("unknown", |status| status.as_str())
        ))
    })
}

/// Whether an execution of `deploy` is running. One that nobody knows is not.
pub(crate) async fn is_running(aws: &Aws, execution: &str) -> Result<bool> {
    let machine = &aws.account.deploy_state_machine;
    let arn = machine.replacen(":stateMachine:", ":execution:", 1);
    let described = aws
        .sfn()
        .describe_execution()
        .execution_arn(format!("{arn}:{execution}"))
        .send()
        .await;
    match described {
        Ok(described) => Ok(described.status() == &ExecutionStatus::Running),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_execution_does_not_exist()) =>
        {
            Ok(false)
        }
        Err(error) => Err(Error::aws("states:DescribeExecution")(error)),
    }
}
