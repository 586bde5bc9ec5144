//! Starting an execution once, however often the step is repeated that starts it.

use crate::{Aws, Error, Result};
use serde_json::Value;

/// What a start came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// The execution runs.
    Started,
    /// It was started before: AWS keeps its name for 90 days.
    Replay,
}

/// Starts an execution, unless there is or was one of that name.
///
/// # Errors
/// Those of `states:StartExecution`.
pub async fn start(aws: &Aws, machine: &str, name: &str, input: &Value) -> Result<Start> {
    let started = aws
        .sfn()
        .start_execution()
        .state_machine_arn(machine)
        .name(name)
        .input(input.to_string())
        .send()
        .await;
    match started {
        Ok(_) => Ok(Start::Started),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_execution_already_exists()) =>
        {
            Ok(Start::Replay)
        }
        Err(error) => Err(Error::aws("states:StartExecution")(error)),
    }
}
