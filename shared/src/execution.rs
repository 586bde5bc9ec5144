//! Executions of state machines: started once, however often the step is repeated that starts them, and those that are running.

use crate::error::found;
use crate::{Aws, Error, Result, Stack};
use aws_sdk_sfn::types::ExecutionStatus;
use serde::Deserialize;
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

/// The executions of a state machine that are running, by ARN and name. The list may not hold an execution of the last seconds yet
/// (API reference, `ListExecutions`).
///
/// # Errors
/// Those of `states:ListExecutions`.
pub async fn running(aws: &Aws, machine: &str) -> Result<Vec<(String, String)>> {
    let listed = aws.sfn().list_executions().state_machine_arn(machine);
    let listed = listed.status_filter(ExecutionStatus::Running);
    let mut pages = listed.into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("states:ListExecutions"))?;
        let executions = page.executions.into_iter();
        found.extend(executions.map(|it| (it.execution_arn, it.name)));
    }
    Ok(found)
}

/// What an execution was started with; `None` if nobody knows it any more.
///
/// # Errors
/// Those of `states:DescribeExecution`.
pub async fn input(aws: &Aws, execution_arn: &str) -> Result<Option<String>> {
    let described = aws.sfn().describe_execution().execution_arn(execution_arn);
    let described = found(
        described.send().await,
        |error| error.is_execution_does_not_exist(),
        "states:DescribeExecution",
    )?;
    Ok(described.and_then(|described| described.input))
}

/// The name of the stack that an execution of `provision` or `teardown` with this input acts on; a plan acts on none. The input is a
/// spec, a removal, or the name of a stack that is to be brought in line with its last spec.
pub fn acts_on(input: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Input {
        stack: Option<String>,
        #[serde(flatten)]
        parts: Option<Stack>,
        #[serde(default)]
        dry_run: bool,
    }
    let input: Input = serde_json::from_str(input).ok()?;
    let stack = input.stack.or(input.parts.map(|stack| stack.name()))?;
    (!input.dry_run).then_some(stack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_a_removal_and_a_name_say_which_stack_they_are_about_and_a_plan_acts_on_none() {
        let spec = r#"{"app": "shop", "environment": "staging", "service": {"cpu": 256}}"#;
        assert_eq!(acts_on(spec).as_deref(), Some("shop-staging"));
        let undo = r#"{"app": "shop", "environment": "staging", "created_by": "run-1"}"#;
        assert_eq!(acts_on(undo).as_deref(), Some("shop-staging"));
        let again = r#"{"stack": "shop-staging"}"#;
        assert_eq!(acts_on(again).as_deref(), Some("shop-staging"));
        for plan in [
            r#"{"app": "shop", "environment": "staging", "dry_run": true}"#,
            r#"{"stack": "shop-staging", "dry_run": true}"#,
        ] {
            assert_eq!(acts_on(plan), None);
        }
        for text in ["", "{}", "[]", r#"{"app": 7}"#, r#"{"app": "shop"}"#] {
            assert_eq!(acts_on(text), None, "{text}");
        }
    }
}
