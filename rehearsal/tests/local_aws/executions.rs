//! State machines: started once by name, by roles that may, with retries that keep their limits.

use super::stage::{Stage, eventually, play};
use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::ProvideErrorMetadata as _;
use aws_sdk_sfn::types::{HistoryEventType, StateMachineType};
use rehearsal::{End, What};
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

        let invalid = start("no name", "{}").await.unwrap_err();
        assert!(invalid.into_service_error().is_invalid_name());
        let long = start(&"n".repeat(81), "{}").await.unwrap_err();
        assert_eq!(long.code(), Some("ValidationException"));
        let invalid = start("input", "{").await.unwrap_err();
        assert!(invalid.into_service_error().is_invalid_execution_input());
    });
}

/// "Running executions will continue to use the previous definition and roleArn" (API reference, UpdateStateMachine).
#[test]
fn an_execution_keeps_the_definition_that_it_was_started_with() {
    play(async |stage| {
        let states = Client::new(stage.local.sdk_config());
        let slow = states
            .describe_state_machine()
            .state_machine_arn(stage.output("Slow"));
        let role = slow.send().await.unwrap().role_arn;
        let definition = |answer: &str| {
            let states = json!({
                "Wait": {"Type": "Wait", "Seconds": 300, "Next": "Answer"},
                "Answer": {"Type": "Pass", "Result": answer, "End": true},
            });
            json!({"StartAt": "Wait", "States": states}).to_string()
        };
        let created = states.create_state_machine().name("changed").role_arn(role);
        let created = created.definition(definition("before")).send().await;
        let machine = created.unwrap().state_machine_arn;
        let start = async |name| {
            let local = &stage.local;
            local
                .start_execution(&machine, name, &json!({}))
                .await
                .unwrap()
        };
        let running = start("running").await;
        // MiniStack reads the definition with its first state.
        eventually(|| async {
            let history = states.get_execution_history().execution_arn(running.arn());
            let events = history.send().await.unwrap().events;
            let mut events = events.iter();
            events.find(|it| it.r#type() == &HistoryEventType::WaitStateEntered)?;
            Some(())
        })
        .await;
        let update = states.update_state_machine().state_machine_arn(&machine);
        update.definition(definition("after")).send().await.unwrap();
        let later = start("later").await;
        assert_eq!(running.end().await.unwrap().output, "before");
        assert_eq!(later.end().await.unwrap().output, "after");
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
        assert!(end.seconds < 20_000.0, "{}", end.seconds);
        let heard = stage.all_heard().await;
        let tries = heard.iter().filter_map(|event| event["tried"].as_u64());
        assert_eq!(tries.collect::<Vec<_>>(), [0, 1, 2, 3]);
    });
}

async fn each(stage: &Stage, of: &str, items: Value) -> End {
    let input = json!({"of": of, "items": items});
    let machine = stage.output("Each");
    let end = stage.local.start_execution(machine, of, &input).await;
    end.unwrap().end().await.unwrap()
}

#[test]
fn a_map_deals_with_so_many_items_at_once_and_one_that_fails_and_is_caught_stops_no_other() {
    play(async |stage| {
        let items = (0..5).map(|n| json!({"seconds": 100 - n, "fail": n == 1}));
        let end = each(stage, "caught", items.collect()).await;
        assert!(end.succeeded, "{end:?}");
        let item = |n: u32| {
            let item = json!({"seconds": 100 - n, "fail": false});
            json!({"of": "caught", "item": item, "index": n})
        };
        let failed = json!({"index": 1, "error": "Runtime.HandlerError"});
        assert_eq!(
            end.output,
            json!([item(0), failed, item(2), item(3), item(4)])
        );
        let mut tries = stage.heard("each", "caught").await;
        tries.retain(|it| it["detail"]["index"] == 1);
        let tries = tries
            .iter()
            .map(|it| it["detail"]["tried"].as_u64().unwrap());
        assert_eq!(tries.collect::<Vec<_>>(), [0, 1]);

        let (mut now, mut most) = (0, 0);
        for happening in end.happenings.iter().filter(|it| it.state == "Wait") {
            match happening.what {
                What::Entered => now += 1,
                _ => now -= 1,
            }
            most = most.max(now);
        }
        assert_eq!(most, 2);
    });
}

#[test]
fn an_item_that_fails_and_is_not_caught_stops_the_others() {
    play(async |stage| {
        let items = json!([
            {"seconds": 7200, "fail": false},
            {"seconds": 100, "fail": "badly"},
            {"seconds": 1, "fail": false},
        ]);
        let end = each(stage, "uncaught", items).await;
        assert_eq!((end.succeeded, end.error.as_str()), (false, "Bad"));
        assert!(end.seconds < 7200.0, "{}", end.seconds);
        // Neither the one that waited nor the one whose turn had not come.
        assert!(stage.heard("each", "uncaught").await.is_empty());
        let waited = end.happenings.iter().filter(|it| it.state == "Wait");
        let entered = waited.filter(|it| it.what == What::Entered);
        assert_eq!(entered.count(), 2);
    });
}

#[test]
fn a_map_wants_a_list_which_may_be_empty() {
    play(async |stage| {
        let end = each(stage, "nothing", json!([])).await;
        assert_eq!((end.succeeded, end.output), (true, json!([])));
        let end = each(stage, "no-list", json!({"seconds": 1})).await;
        assert_eq!(end.error, "States.Runtime");
        assert!(end.message.contains("must point to array"), "{end:?}");
    });
}

/// How a status is told of the execution with this name, `None` if it is not.
async fn status(stage: &Stage, name: &str, status: &str) -> Option<Value> {
    let kind = "Step Functions Execution Status Change";
    let mut events = stage.events(kind, "name", name).await;
    events.retain(|event| event.source == "aws.states" && event.detail["status"] == status);
    assert!(events.len() < 2, "{events:?}");
    let event = events.pop()?;
    assert_eq!(event.resources, [event.detail["executionArn"].as_str()?]);
    Some(event.detail)
}

#[test]
fn an_execution_of_a_standard_machine_that_starts_and_ends_is_an_event() {
    play(async |stage| {
        let states = Client::new(stage.local.sdk_config());
        let slow = states
            .describe_state_machine()
            .state_machine_arn(stage.output("Slow"));
        let slow = slow.send().await.unwrap();
        let role = slow.role_arn;
        let mut definition: Value = serde_json::from_str(&slow.definition).unwrap();
        definition["TimeoutSeconds"] = json!(60);
        let create = states.create_state_machine().name("hasty").role_arn(role);
        let create = create.definition(definition.to_string()).send().await;
        let hasty = create.unwrap().state_machine_arn;
        let item = json!([{"seconds": 1, "fail": "badly"}]);
        let of = |items| json!({"of": "announced", "items": items});
        let large = json!({"of": "x".repeat(250 * 1024), "items": []});
        for (machine, name, input, ends, error) in [
            (
                stage.output("Each"),
                "announced-well",
                of(json!([])),
                "SUCCEEDED",
                None,
            ),
            (
                stage.output("Each"),
                "announced-large",
                large,
                "SUCCEEDED",
                None,
            ),
            (
                stage.output("Each"),
                "announced-badly",
                of(item),
                "FAILED",
                Some("Bad"),
            ),
            (
                &hasty,
                "announced-hasty",
                json!({}),
                "TIMED_OUT",
                Some("States.Timeout"),
            ),
            (
                stage.output("Slow"),
                "announced-slow",
                json!({}),
                "ABORTED",
                None,
            ),
        ] {
            let run = stage.local.start_execution(machine, name, &input).await;
            let run = run.unwrap();
            let arn = run.arn().to_owned();
            if ends == "ABORTED" {
                let stop = states.stop_execution().execution_arn(&arn);
                stop.error("Mine").send().await.unwrap();
            }
            let ended = eventually(async || status(stage, name, ends).await).await;
            let started = status(stage, name, "RUNNING").await.unwrap();
            let is_large = name == "announced-large";
            for it in [&started, &ended] {
                assert_eq!(it["executionArn"], arn);
                assert_eq!(it["stateMachineArn"], machine);
                let told = (!is_large).then(|| input.to_string());
                assert_eq!(it["input"], json!(told), "{name}");
                assert_eq!(it["inputDetails"], json!({"included": !is_large}));
            }
            assert_eq!(started["stopDate"], Value::Null);
            assert_eq!(started["outputDetails"], Value::Null);
            let times = ["startDate", "stopDate"].map(|it| ended[it].as_u64().unwrap());
            assert!(times[0] > 1_700_000_000_000 && times[0] <= times[1]);
            let output = (ends == "SUCCEEDED").then_some("[]");
            assert_eq!(ended["output"], json!(output), "{name}");
            assert_eq!(ended["error"], json!(error), "{name}");
            let redrive = if error.is_some() {
                "REDRIVABLE"
            } else {
                "NOT_REDRIVABLE"
            };
            assert_eq!(ended["redriveStatus"], redrive, "{name}");
        }
        // A rule on the ends that are none of success, with a topic as its target.
        let published = stage.published(stage.output("Failures")).await;
        let mut told: Vec<_> = published.iter().map(|it| &*it.message).collect();
        told.retain(|message| message.starts_with("\"announced-"));
        told.sort_unstable();
        let expected = [
            "\"announced-badly is FAILED.\"",
            "\"announced-hasty is TIMED_OUT.\"",
            "\"announced-slow is ABORTED.\"",
        ];
        assert_eq!(told, expected);
    });
}

#[test]
fn an_execution_of_an_express_machine_is_no_event() {
    play(async |stage| {
        let states = Client::new(stage.local.sdk_config());
        let echo = states
            .describe_state_machine()
            .state_machine_arn(stage.output("Echo"));
        let echo = echo.send().await.unwrap();
        let create = states.create_state_machine().name("express");
        let create = create.role_arn(echo.role_arn).definition(echo.definition);
        let create = create.r#type(StateMachineType::Express).send().await;
        let machine = create.unwrap().state_machine_arn;
        let start = states.start_execution().state_machine_arn(machine);
        start.name("express").send().await.unwrap();
        // It passes its input on, and a standard one that does so is started later.
        let echo = stage.output("Echo");
        let input = json!({});
        let later = stage.local.start_execution(echo, "not-express", &input);
        later.await.unwrap().end().await.unwrap();
        eventually(async || status(stage, "not-express", "SUCCEEDED").await).await;
        assert_eq!(status(stage, "express", "RUNNING").await, None);
        assert_eq!(status(stage, "express", "SUCCEEDED").await, None);
    });
}
