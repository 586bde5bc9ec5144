//! Executions as AWS's history tells them, also of one that still runs.

use super::{End, Execution, Failure, Left, Sleep, State};
use crate::execution::{self, Happening, SoFar, What};
use crate::outcome::{is_unwell, outcome};
use crate::{LocalAws, Result};
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEvent};
use serde_json::Value;
use std::collections::HashSet;

/// An execution, and what of it is not kept with it.
pub(super) struct Told {
    /// When it began, in seconds since 1970 on the wall. The times in the execution are since then.
    pub(super) began: f64,
    pub(super) execution: Execution,
    /// The sleeps that it has planned or found.
    pub(super) sleeps: Vec<Sleep>,
}

/// All executions of a state machine so far.
pub(super) async fn of(local: &LocalAws, machine: &str, arn: &str) -> Result<Vec<Told>> {
    let mut told = Vec::new();
    for execution in local.executions(arn, "").await? {
        let so_far = execution.so_far().await?;
        told.push(read(machine, &so_far, local.time_scale()));
    }
    Ok(told)
}

fn read(machine: &str, so_far: &SoFar, time_scale: f64) -> Told {
    let SoFar { described, events } = so_far;
    let began = described.start_date.as_secs_f64();
    let (happenings, transitions) = execution::happenings(events, time_scale);
    let latest = happenings.last().map_or(0.0, |last| last.seconds);
    let stopped = described.stop_date.map(|stop| stop.as_secs_f64() - began);
    let seconds = stopped.map_or(latest, |wall| wall * time_scale);
    let end = match &described.status {
        ExecutionStatus::Running => End::Running,
        ExecutionStatus::Succeeded => End::Succeeded,
        status => End::Failed {
            error: match described.error() {
                None | Some("") => status.as_str().to_owned(),
                Some(error) => error.to_owned(),
            },
            message: execution::message(described.cause().unwrap_or_default()),
        },
    };
    Told {
        began,
        execution: Execution {
            machine: machine.to_owned(),
            name: described.name().unwrap_or_default().to_owned(),
            at: 0.0,
            seconds,
            transitions,
            states: states(&happenings, &caught(events), seconds, &end),
            end,
        },
        sleeps: happenings.iter().flat_map(sleeps).collect(),
    }
}

/// Of each exit, in their order, whether it was through a catch: right after an attempt that failed.
fn caught(events: &[HistoryEvent]) -> Vec<bool> {
    let is_failure = |event: &&HistoryEvent| {
        event.task_failed_event_details.is_some() || event.task_timed_out_event_details.is_some()
    };
    let failures: HashSet<i64> = events.iter().filter(is_failure).map(|it| it.id).collect();
    let exits = events
        .iter()
        .filter(|event| event.state_exited_event_details.is_some());
    exits
        .map(|exit| failures.contains(&exit.previous_event_id))
        .collect()
}

fn states(happenings: &[Happening], caught: &[bool], ended: f64, end: &End) -> Vec<State> {
    let mut states: Vec<State> = Vec::new();
    // Those that were not left yet.
    let mut open: Vec<usize> = Vec::new();
    let mut caught = caught.iter();
    for happening in happenings {
        let caught = matches!(happening.what, What::Exited(_)) && caught.next() == Some(&true);
        if !["Task", "Wait"].contains(&happening.kind.as_str()) {
            continue;
        }
        if happening.what == What::Entered {
            open.push(states.len());
            states.push(State {
                name: happening.state.clone(),
                kind: happening.kind.clone(),
                at: happening.seconds,
                seconds: (ended - happening.seconds).max(0.0),
                left: Left::Not,
                outcome: None,
                failures: Vec::new(),
            });
            continue;
        }
        let Some(place) = open
            .iter()
            .position(|it| states[*it].name == happening.state)
        else {
            continue;
        };
        let state = &mut states[open[place]];
        match &happening.what {
            What::Entered => {}
            What::Failed { error, message } => state.failures.push(Failure {
                at: happening.seconds,
                error: error.clone(),
                message: message.clone(),
            }),
            What::Exited(output) => {
                state.seconds = happening.seconds - state.at;
                state.left = match caught {
                    true => Left::Failed,
                    false if is_unwell(&state.name, output) => Left::Unwell,
                    false => Left::Done,
                };
                if !caught {
                    state.outcome = outcome(&state.name, output).map(str::to_owned);
                }
                open.remove(place);
            }
        }
    }
    // What fails and is not caught ends the execution, and is never left.
    if let End::Failed { error, .. } = end {
        let is_it = |state: &&mut State| {
            let last = state.failures.last();
            state.left == Left::Not && last.is_some_and(|last| &last.error == error)
        };
        if let Some(state) = states.iter_mut().rfind(is_it) {
            state.left = Left::Failed;
        }
    }
    states
}

/// What a plan of `park` says that sleeps, or is about to.
fn sleeps(happening: &Happening) -> Vec<Sleep> {
    let What::Exited(output) = &happening.what else {
        return Vec::new();
    };
    let rows = match happening.state.as_str() {
        "Plan" => output["stacks"].as_array(),
        _ => None,
    };
    rows.into_iter().flatten().filter_map(sleep).collect()
}

fn sleep(row: &Value) -> Option<Sleep> {
    let at = |field: &str| row["sleep"][field].as_str()?.parse().ok();
    Some(Sleep {
        stack: row["stack"].as_str()?.to_owned(),
        since: at("since")?,
        until: at("until")?,
        hours: row["saving"]["hours"].as_f64()?,
        dollars: row["saving"]["dollars"].as_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn happening(seconds: f64, state: &str, what: What) -> Happening {
        Happening {
            seconds,
            state: state.into(),
            kind: "Task".into(),
            what,
        }
    }

    fn failed(error: &str) -> What {
        What::Failed {
            error: error.into(),
            message: "because".into(),
        }
    }

    fn end(error: &str) -> End {
        End::Failed {
            error: error.into(),
            message: "because".into(),
        }
    }

    #[test]
    fn a_state_that_retries_and_is_caught_has_failed_and_one_that_retries_and_goes_on_has_not() {
        let happenings = [
            happening(0.0, "Database", What::Entered),
            happening(0.0, "Image", What::Entered),
            happening(5.0, "Database", failed("NotReady")),
            happening(6.0, "Image", failed("NotReady")),
            happening(9.0, "Image", What::Exited(json!({"outcome": "found"}))),
            happening(10.0, "Database", failed("NotReady")),
            happening(10.0, "Database", What::Exited(json!({"outcome": "x"}))),
        ];
        let states = states(&happenings, &[false, true], 12.0, &End::Running);
        let of = |state: &State| (state.left, state.seconds, state.failures.len());
        assert_eq!(of(&states[0]), (Left::Failed, 10.0, 2));
        assert_eq!(of(&states[1]), (Left::Done, 9.0, 1));
        assert_eq!(states[0].outcome, None);
        assert_eq!(states[1].outcome.as_deref(), Some("found"));
    }

    #[test]
    fn what_ends_an_execution_has_failed_and_what_ran_beside_it_was_not_left() {
        let happenings = [
            happening(1.0, "Network", What::Entered),
            happening(1.0, "Registry", What::Entered),
            happening(2.0, "Network", failed("NotReady")),
            happening(4.0, "Registry", failed("Conflict")),
        ];
        let states = states(&happenings, &[], 5.0, &end("Conflict"));
        assert_eq!((states[0].left, states[0].seconds), (Left::Not, 4.0));
        assert_eq!(states[1].left, Left::Failed);
    }

    #[test]
    fn a_state_that_is_entered_again_is_there_again() {
        let round = [
            happening(0.0, "Bake", What::Entered),
            happening(1.0, "Bake", What::Exited(json!({}))),
            happening(3.0, "Bake", What::Entered),
            happening(
                4.0,
                "Bake",
                What::Exited(json!({"health": {"well": false}})),
            ),
        ];
        let states = states(&round, &[false, false], 5.0, &End::Succeeded);
        let seen: Vec<_> = states.iter().map(|it| (it.at, it.left)).collect();
        assert_eq!(seen, [(0.0, Left::Done), (3.0, Left::Unwell)]);
    }
}
