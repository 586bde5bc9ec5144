//! State machines: started once by name, by roles that may, with retries that keep their limits.

use crate::stage::{Stage, play};
use aws_sdk_sfn::Client;
use rehearsal::What;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What came of each call that a function with a narrow role makes: `ok`, or the error.
pub(crate) async fn calls(stage: &Stage, name: &str, calls: Value) -> Value {
    let told = json!({"subject": name, "calls": calls});
    let machine = stage.output("Tell");
    let end = stage.local.start_execution(machine, name, &told).await;
    let end = end.unwrap().end().await.unwrap();
    assert!(end.succeeded, "{end:?}");
    end.output
}

#[test]
fn a_name_is_one_execution() {
    play(async |stage| {
        let states = Client::new(stage.local.sdk_config());
        let start = |name: &str, input: &str| {
            let machine = stage.output("Slow");
            let start = states.start_execution().state_machine_arn(machine);
            start.name(name).input(input).send()
        };
        let first = start("once", r#"{"a": 1, "b": 2}"#).await.unwrap();
        let again = start("once", r#"{"b": 2, "a": 1}"#).await.unwrap();
        assert_eq!(first.execution_arn, again.execution_arn);
        assert_eq!(first.start_date, again.start_date);
        let other = start("once", "{}").await.unwrap_err().into_service_error();
        assert!(other.is_execution_already_exists(), "{other:?}");
        let stop = states.stop_execution().execution_arn(first.execution_arn);
        stop.send().await.unwrap();
        let closed = start("once", r#"{"a": 1, "b": 2}"#).await.unwrap_err();
        let closed = closed.into_service_error();
        assert!(closed.is_execution_already_exists(), "{closed:?}");

        let invalid = start(&"n".repeat(81), "{}").await.unwrap_err();
        assert!(invalid.into_service_error().is_invalid_name());
        let invalid = start("input", "{").await.unwrap_err();
        assert!(invalid.into_service_error().is_invalid_execution_input());
    });
}

#[test]
fn a_function_starts_an_execution_without_waiting_for_it() {
    play(async |stage| {
        let machine = stage.output("Slow");
        let begun = Instant::now();
        let start = json!({"stateMachineArn": machine, "name": "by-a-function"});
        let answers = calls(
            stage,
            "starts",
            json!([["stepfunctions", "start_execution", start]]),
        );
        assert_eq!(answers.await["start_execution"], "ok");
        // It runs for eighteen seconds.
        assert!(begun.elapsed() < Duration::from_secs(15));
    });
}

#[test]
fn a_function_may_do_only_what_its_role_says() {
    play(async |stage| {
        let states = Client::new(stage.local.sdk_config());
        let machine = stage.output("Slow");
        let start = states.start_execution().state_machine_arn(machine);
        let execution = start.send().await.unwrap().execution_arn;
        let answers = calls(
            stage,
            "asks",
            json!([
                ["stepfunctions", "describe_execution", {"executionArn": execution}],
                ["stepfunctions", "list_executions", {"stateMachineArn": machine}],
                ["resourcegroupstaggingapi", "get_resources", {}],
                ["resourcegroupstaggingapi", "get_tag_keys", {}],
            ]),
        );
        let answers = answers.await;
        for (call, denied) in [
            ("describe_execution", None),
            ("list_executions", Some("states:ListExecutions")),
            ("get_resources", None),
            ("get_tag_keys", Some("tag:GetTagKeys")),
        ] {
            let answer = answers[call].as_str().unwrap();
            match denied {
                None => assert_eq!(answer, "ok", "{call}"),
                Some(action) => {
                    assert!(answer.contains(&format!("not authorized to perform: {action}")));
                }
            }
        }
    });
}

#[test]
fn what_was_published_can_be_read() {
    play(async |stage| {
        let told = json!({"subject": "A test", "calls": []});
        let machine = stage.output("Tell");
        let end = stage.local.start_execution(machine, "tell", &told).await;
        let end = end.unwrap().end().await.unwrap();
        assert!(end.succeeded, "{end:?}");
        let notifications = stage.local.notifications().await.unwrap();
        let published = notifications
            .iter()
            .find(|published| published.subject.as_deref() == Some("A test"))
            .unwrap();
        assert_eq!(published.topic, stage.output("Topic"));
        assert_eq!(published.message, "{}");
    });
}

#[test]
fn a_subject_that_sns_would_refuse_fails_the_state() {
    play(async |stage| {
        for (name, subject) in [
            ("long", "x".repeat(101)),
            ("accented", "déployé".into()),
            ("broken", "one\ntwo".into()),
            ("blank", " one".into()),
        ] {
            let told = json!({"subject": subject, "calls": []});
            let machine = stage.output("Tell");
            let end = stage.local.start_execution(machine, name, &told).await;
            let end = end.unwrap().end().await.unwrap();
            assert_eq!(end.error, "SNS.InvalidParameterException", "{name}");
            assert_eq!(end.message, "Invalid parameter: Subject");
        }
    });
}

#[test]
fn a_retry_knows_its_number_and_waits_no_longer_than_its_limit() {
    play(async |stage| {
        let machine = stage.output("Stubborn");
        let end = stage
            .local
            .start_execution(machine, "stubborn", &json!({}))
            .await;
        let end = end.unwrap().end().await.unwrap();
        assert_eq!((end.succeeded, end.transitions), (false, 4));
        let failed = end
            .happenings
            .iter()
            .filter(|happening| matches!(happening.what, What::Failed { .. }));
        assert_eq!(failed.count(), 4);
        // Three waits of at most 40 seconds, and four calls: not the 10, 1000 and 100000 seconds without a limit.
        assert!(end.seconds < 1000.0, "{}", end.seconds);
        let heard = stage.all_heard().await;
        let tries = heard.iter().filter_map(|event| event["tried"].as_u64());
        assert_eq!(tries.collect::<Vec<_>>(), [0, 1, 2, 3]);
    });
}
