//! The player does what the language says (<https://states-language.net/spec.html>).

use super::{Ended, Failure, Machine, State, Tasks, play};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};

/// A function that fails so often with this error, and a clock that only counts.
#[derive(Default)]
struct Fails {
    times: Cell<usize>,
    error: &'static str,
    waited: RefCell<Vec<f64>>,
}

impl Tasks for Fails {
    async fn call(&self, _: State<'_>, step: Value) -> Result<Value, Failure> {
        match self.times.get() {
            0 => Ok(step),
            left => {
                self.times.set(left - 1);
                Err(Failure::Error(json!({"Error": self.error})))
            }
        }
    }

    async fn wait(&self, seconds: f64) {
        self.waited.borrow_mut().push(seconds);
    }
}

/// One task with two retriers, and what catches it.
fn machine() -> Machine {
    Machine::of(json!({"StartAt": "Ask", "States": {
        "Ask": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"Payload": {"attempt.$": "$$.State.RetryCount", "given.$": "$.list[1]"}},
            "ResultSelector": {"attempt.$": "$.Payload.attempt", "given.$": "$.Payload.given"},
            "ResultPath": "$.asked",
            "Retry": [
                {"ErrorEquals": ["NotReady"], "IntervalSeconds": 10, "BackoffRate": 2, "MaxDelaySeconds": 30, "MaxAttempts": 3},
                {"ErrorEquals": ["Throttled"], "MaxAttempts": 1},
            ],
            "Catch": [
                {"ErrorEquals": ["Invalid"], "Next": "Refused"},
                {"ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": "Given up"},
            ],
            "End": true,
        },
        "Refused": {"Type": "Fail", "ErrorPath": "$.Error", "Cause": "so"},
        "Given up": {"Type": "Succeed"},
    }}))
}

fn played(error: &'static str, times: usize) -> (super::Played, Vec<f64>) {
    let tasks = Fails {
        times: Cell::new(times),
        error,
        ..Fails::default()
    };
    let input = json!({"list": ["a", "b"]});
    let name = ("run-1", Timestamp::UNIX_EPOCH);
    let played = super::ways::at_once(play(&machine(), &tasks, name, &input));
    (played, tasks.waited.into_inner())
}

#[test]
fn a_state_is_retried_as_often_and_as_late_as_its_retrier_says_and_knows_how_often() {
    let (ended, waited) = played("NotReady", 3);
    assert_eq!(waited, [10.0, 20.0, 30.0], "the last of them is cut short");
    assert_eq!(ended.ended, Ended::Succeeded);
    let input = json!(["a", "b"]);
    let asked = json!({"attempt": 3, "given": "b"});
    assert_eq!(ended.data, json!({"list": input, "asked": asked}));
    assert_eq!(ended.steps.len(), 4);
}

#[test]
fn after_its_last_retry_the_first_catcher_of_an_error_has_it() {
    let (ended, waited) = played("NotReady", 4);
    assert_eq!((waited.len(), ended.last()), (3, "Given up"));
    assert_eq!(ended.data["failure"], json!({"Error": "NotReady"}));
    assert_eq!(ended.ended, Ended::Succeeded);
    let (ended, waited) = played("Throttled", 2);
    assert_eq!((waited.len(), ended.last()), (1, "Given up"));
    let (ended, waited) = played("Invalid", 1);
    assert_eq!((waited.len(), ended.last()), (0, "Refused"));
    let failed = json!({"Error": "Invalid", "Cause": "so"});
    assert_eq!(ended.ended, Ended::Failed(failed));
}

#[test]
fn branches_and_items_have_data_of_their_own_and_their_results_are_a_list() {
    let pass = |parameters: Value| {
        json!({"StartAt": "Pass", "States": {
            "Pass": {"Type": "Pass", "Parameters": parameters, "End": true},
        }})
    };
    let machine = Machine::of(json!({"StartAt": "Both", "States": {
        "Both": {
            "Type": "Parallel",
            "Branches": [pass(json!({"one.$": "$.list"})), pass(json!({"two": 2}))],
            "ResultSelector": {"first.$": "$[0].one", "second.$": "$[1].two"},
            "ResultPath": "$.both",
            "Next": "Each",
        },
        "Each": {
            "Type": "Map",
            "ItemsPath": "$.list",
            "ItemSelector": {"item.$": "$$.Map.Item.Value"},
            "ItemProcessor": pass(json!({"text.$": "States.Format('{}, {}', $.item, $$.Execution.Name)"})),
            "ResultPath": "$.each",
            "End": true,
        },
    }}));
    let name = ("run-1", Timestamp::UNIX_EPOCH);
    let input = json!({"list": ["a", "b"]});
    let played = super::ways::at_once(play(&machine, &Fails::default(), name, &input));
    let expected = json!({
        "list": ["a", "b"],
        "both": {"first": ["a", "b"], "second": 2},
        "each": [{"text": "a, run-1"}, {"text": "b, run-1"}],
    });
    assert_eq!((played.ended, played.data), (Ended::Succeeded, expected));
}
