//! One execution of a state machine, followed while it runs.

use crate::{Error, LocalAws, Result};
use aws_sdk_sfn::Client;
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEvent};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(100);

/// A started execution.
#[derive(Debug)]
pub struct Execution {
    client: Client,
    arn: String,
    time_scale: f64,
    history: History,
    ended: bool,
    ran: bool,
}

/// What AWS tells of an execution at one moment.
pub(crate) struct SoFar {
    pub(crate) described: DescribeExecutionOutput,
    pub(crate) events: Vec<HistoryEvent>,
}

/// Something that happened in an execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// AWS seconds since the execution began.
    pub seconds: f64,
    /// The state that it happened in; empty for the execution itself.
    pub state: String,
    /// The type of that state, `Task` or `Parallel` for instance.
    pub kind: String,
    /// What happened.
    pub what: What,
}

/// What happened in a state.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It was entered.
    Entered,
    /// One attempt of its task failed. Whether the state retries, catches or fails shows in what follows.
    Failed {
        /// The error's name.
        error: String,
        /// The function's own sentence, or Step Functions' cause.
        message: String,
    },
    /// It was left, with this output.
    Exited(Value),
}

/// How an execution ended.
#[derive(Clone, Debug)]
pub struct End {
    /// Whether it succeeded.
    pub succeeded: bool,
    /// Its output, if it succeeded.
    pub output: Value,
    /// The error's name, if it failed.
    pub error: String,
    /// Why it failed: the function's own sentence where there is one.
    pub message: String,
    /// AWS seconds from its start to its end.
    pub seconds: f64,
    /// Everything that happened.
    pub happenings: Vec<Happening>,
    /// The state transitions that AWS charges: each state entered, and each retry
    /// (<https://aws.amazon.com/step-functions/pricing/>).
    pub transitions: usize,
}

impl LocalAws {
    /// Starts a state machine.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn start_execution(
        &self,
        state_machine_arn: &str,
        name: &str,
        input: &Value,
    ) -> Result<Execution> {
        let client = Client::new(self.sdk_config());
        let started = client
            .start_execution()
            .state_machine_arn(state_machine_arn)
            .name(name)
            .input(input.to_string())
            .send()
            .await
            .map_err(Error::call("states:StartExecution"))?;
        Ok(self.execution(started.execution_arn))
    }

    /// The executions of a state machine whose names begin so, the oldest first.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn executions(
        &self,
        state_machine_arn: &str,
        name_prefix: &str,
    ) -> Result<Vec<Execution>> {
        let found = Client::new(self.sdk_config())
            .list_executions()
            .state_machine_arn(state_machine_arn)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await;
        let mut found = found.map_err(Error::call("states:ListExecutions"))?;
        found.retain(|execution| execution.name.starts_with(name_prefix));
        found.sort_by_key(|execution| execution.start_date);
        let executions = found.into_iter().map(|found| Execution {
            ran: found.status == ExecutionStatus::Running,
            ..self.execution(found.execution_arn)
        });
        Ok(executions.collect())
    }

    /// Waits for the executions of the same machine that one has started, as the rows of its output name them.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn ends_of_started(&self, state_machine_arn: &str, end: &End) -> Result<Vec<End>> {
        let rows = end.output["stacks"].as_array().into_iter().flatten();
        let names: Vec<_> = rows.filter_map(|row| row["execution"].as_str()).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let is_named = |it: &Execution| {
            names
                .iter()
                .any(|name| it.arn().ends_with(&format!(":{name}")))
        };
        let mut ends = Vec::new();
        for execution in self.executions(state_machine_arn, "").await? {
            if is_named(&execution) {
                ends.push(execution.end().await?);
            }
        }
        Ok(ends)
    }

    fn execution(&self, arn: String) -> Execution {
        Execution {
            client: Client::new(self.sdk_config()),
            arn,
            time_scale: self.time_scale(),
            history: History::default(),
            ended: false,
            ran: true,
        }
    }
}

impl Execution {
    /// The ARN.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Whether it ran when it was started, or listed.
    pub fn ran(&self) -> bool {
        self.ran
    }

    /// Waits for what happens next; `None` after the end.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn next(&mut self) -> Result<Option<Vec<Happening>>> {
        while !self.ended {
            // Asked before the history: what happens in between is in the history of the next round.
            let status = self.describe().await?.status;
            let events = self.events().await?;
            let news = self.history.read(&events, self.time_scale);
            self.ended = status != ExecutionStatus::Running;
            if !news.is_empty() {
                return Ok(Some(news));
            }
            if !self.ended {
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(None)
    }

    /// When it was started, in seconds since 1970 on the wall.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub(crate) async fn started(&self) -> Result<f64> {
        Ok(self.describe().await?.start_date.as_secs_f64())
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn end(mut self) -> Result<End> {
        while self.next().await?.is_some() {}
        let found = self.describe().await?;
        let cause = found.cause.unwrap_or_default();
        let wall = found.stop_date.map_or(0.0, |stop| {
            stop.as_secs_f64() - found.start_date.as_secs_f64()
        });
        let output = found.output.unwrap_or_default();
        Ok(End {
            succeeded: found.status == ExecutionStatus::Succeeded,
            output: serde_json::from_str(&output).unwrap_or(Value::Null),
            error: found.error.unwrap_or_default(),
            message: message(&cause),
            seconds: wall * self.time_scale,
            happenings: self.history.happenings,
            transitions: self.history.transitions,
        })
    }

    /// What AWS tells of it now.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub(crate) async fn so_far(&self) -> Result<SoFar> {
        Ok(SoFar {
            described: self.describe().await?,
            events: self.events().await?,
        })
    }

    async fn describe(&self) -> Result<DescribeExecutionOutput> {
        let found = self
            .client
            .describe_execution()
            .execution_arn(&self.arn)
            .send()
            .await;
        found.map_err(Error::call("states:DescribeExecution"))
    }

    async fn events(&self) -> Result<Vec<HistoryEvent>> {
        let pages = self
            .client
            .get_execution_history()
            .execution_arn(&self.arn)
            .max_results(1000);
        let events = pages
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await;
        events.map_err(Error::call("states:GetExecutionHistory"))
    }
}

/// A state's name and type.
#[derive(Clone, Debug, Default)]
struct State {
    name: String,
    kind: String,
}

/// What was read of an execution's history.
#[derive(Debug, Default)]
struct History {
    read: usize,
    began: Option<f64>,
    /// The state that each event belongs to: events of a task do not name it, but each names the event before it.
    states: HashMap<i64, State>,
    entered: usize,
    entered_tasks: usize,
    scheduled: usize,
    transitions: usize,
    happenings: Vec<Happening>,
}

impl History {
    /// Reads the events that are new.
    fn read(&mut self, events: &[HistoryEvent], time_scale: f64) -> Vec<Happening> {
        let already = self.happenings.len();
        for event in &events[self.read.min(events.len())..] {
            let at = event.timestamp.as_secs_f64();
            let seconds = (at - *self.began.get_or_insert(at)) * time_scale;
            let (state, what) = self.interpret(event);
            self.states.insert(event.id, state.clone());
            if let Some(what) = what {
                self.happenings.push(Happening {
                    seconds,
                    state: state.name,
                    kind: state.kind,
                    what,
                });
            }
        }
        self.read = events.len();
        self.transitions = self.entered + self.scheduled.saturating_sub(self.entered_tasks);
        self.happenings[already..].to_vec()
    }

    fn interpret(&mut self, event: &HistoryEvent) -> (State, Option<What>) {
        let kind = event.r#type.as_str();
        if let Some(entered) = &event.state_entered_event_details {
            self.entered += 1;
            let kind = kind.trim_end_matches("StateEntered").to_owned();
            self.entered_tasks += usize::from(kind == "Task");
            return (
                State {
                    name: entered.name.clone(),
                    kind,
                },
                Some(What::Entered),
            );
        }
        if let Some(exited) = &event.state_exited_event_details {
            let output =
                serde_json::from_str(exited.output().unwrap_or_default()).unwrap_or(Value::Null);
            let kind = kind.trim_end_matches("StateExited").to_owned();
            return (
                State {
                    name: exited.name.clone(),
                    kind,
                },
                Some(What::Exited(output)),
            );
        }
        self.scheduled += usize::from(event.task_scheduled_event_details.is_some());
        let state = self
            .states
            .get(&event.previous_event_id)
            .cloned()
            .unwrap_or_default();
        let failed = event
            .task_failed_event_details
            .as_ref()
            .map(|failed| (failed.error(), failed.cause()));
        let timed_out = event
            .task_timed_out_event_details
            .as_ref()
            .map(|late| (late.error(), late.cause()));
        let what = failed.or(timed_out).map(|(error, cause)| What::Failed {
            error: error.unwrap_or_default().to_owned(),
            message: message(cause.unwrap_or_default()),
        });
        (state, what)
    }
}

/// Everything that happened in a history, and the state transitions that AWS charges for it.
pub(crate) fn happenings(events: &[HistoryEvent], time_scale: f64) -> (Vec<Happening>, usize) {
    let mut history = History::default();
    let happenings = history.read(events, time_scale);
    (happenings, history.transitions)
}

/// The sentence in a cause: a Lambda function's is a JSON object with `errorMessage`, and a state machine may have written
/// more behind it.
pub(crate) fn message(cause: &str) -> String {
    let mut values = serde_json::Deserializer::from_str(cause).into_iter::<Value>();
    let Some(Ok(Value::Object(object))) = values.next() else {
        return cause.to_owned();
    };
    let rest = cause.get(values.byte_offset()..).unwrap_or_default();
    object
        .get("errorMessage")
        .and_then(Value::as_str)
        .map_or(cause.to_owned(), |sentence| format!("{sentence}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sfn::types::{
        HistoryEventType, StateEnteredEventDetails, StateExitedEventDetails,
        TaskFailedEventDetails, TaskScheduledEventDetails,
    };
    use aws_smithy_types::DateTime;

    fn event(
        id: i64,
        previous: i64,
        kind: HistoryEventType,
    ) -> aws_sdk_sfn::types::builders::HistoryEventBuilder {
        let at = DateTime::from_secs(1000 + id);
        HistoryEvent::builder()
            .id(id)
            .previous_event_id(previous)
            .timestamp(at)
            .r#type(kind)
    }

    fn entered(id: i64, previous: i64, name: &str) -> HistoryEvent {
        let details = StateEnteredEventDetails::builder()
            .name(name)
            .build()
            .unwrap();
        event(id, previous, HistoryEventType::TaskStateEntered)
            .state_entered_event_details(details)
            .build()
            .unwrap()
    }

    fn exited(id: i64, previous: i64, name: &str) -> HistoryEvent {
        let details = StateExitedEventDetails::builder()
            .name(name)
            .output("{\"a\":1}")
            .build()
            .unwrap();
        event(id, previous, HistoryEventType::TaskStateExited)
            .state_exited_event_details(details)
            .build()
            .unwrap()
    }

    fn scheduled(id: i64, previous: i64) -> HistoryEvent {
        let details = TaskScheduledEventDetails::builder()
            .resource_type("lambda")
            .resource("invoke");
        let details = details
            .region("us-east-1")
            .parameters("{}")
            .build()
            .unwrap();
        event(id, previous, HistoryEventType::TaskScheduled)
            .task_scheduled_event_details(details)
            .build()
            .unwrap()
    }

    fn failed(id: i64, previous: i64) -> HistoryEvent {
        let details = TaskFailedEventDetails::builder()
            .resource_type("lambda")
            .resource("invoke")
            .error("NotReady");
        let details = details
            .cause(r#"{"errorType":"NotReady","errorMessage":"the database is not ready yet"}"#);
        let details = details.build().unwrap();
        event(id, previous, HistoryEventType::TaskFailed)
            .task_failed_event_details(details)
            .build()
            .unwrap()
    }

    #[test]
    fn a_failed_attempt_belongs_to_the_state_of_its_own_branch() {
        let events = [
            entered(1, 0, "Database"),
            entered(2, 0, "Roles"),
            scheduled(3, 1),
            scheduled(4, 2),
            failed(5, 3),
        ];
        let mut history = History::default();
        let happenings = history.read(&events, 200.0);
        let what = What::Failed {
            error: "NotReady".into(),
            message: "the database is not ready yet".into(),
        };
        assert_eq!(
            happenings.last(),
            Some(&Happening {
                seconds: 800.0,
                state: "Database".into(),
                kind: "Task".into(),
                what
            })
        );
    }

    #[test]
    fn what_was_read_is_not_read_again() {
        let events = [
            entered(1, 0, "Network"),
            scheduled(2, 1),
            exited(3, 2, "Network"),
        ];
        let mut history = History::default();
        assert_eq!(history.read(&events[..1], 1.0).len(), 1);
        let news = history.read(&events, 1.0);
        assert_eq!(news.len(), 1);
        assert_eq!(news[0].what, What::Exited(serde_json::json!({"a": 1})));
    }

    #[test]
    fn a_retry_is_a_transition_like_a_state_that_is_entered() {
        let events = [
            entered(1, 0, "Database"),
            scheduled(2, 1),
            failed(3, 2),
            scheduled(4, 3),
            failed(5, 4),
        ];
        let mut history = History::default();
        history.read(&events, 1.0);
        assert_eq!(history.transitions, 2);
    }

    #[test]
    fn a_cause_that_is_not_of_a_function_is_shown_as_it_is() {
        assert_eq!(message("the state timed out"), "the state timed out");
        assert_eq!(
            message(r#"{"errorType":"Invalid","errorMessage":"one\ntwo"}"#),
            "one\ntwo"
        );
        assert_eq!(
            message(r#"{"errorMessage":"no image."} Left: []"#),
            "no image. Left: []"
        );
        assert_eq!(message(r#"{"other":1}"#), r#"{"other":1}"#);
    }
}
