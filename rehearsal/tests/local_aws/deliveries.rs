//! Events reach functions and state machines, or a dead-letter queue.

use super::schedules::echoes;
use super::stage::{eventually, play};
use rehearsal::{Fault, FaultKind, Message};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(crate) fn event(id: &str, fail: bool) -> Value {
    json!({
        "id": id,
        "source": "aws.test",
        "detail-type": "Test",
        "time": "2026-11-21T04:05:06Z",
        "account": "210987654321",
        "region": "eu-west-1",
        "detail": {"test": id, "fail": fail},
    })
}

pub(crate) async fn dead_letters(stage: &super::stage::Stage, id: &str) -> Vec<Message> {
    let queue = stage.output("Undelivered");
    let mut messages = stage.local.messages(queue).await.unwrap();
    messages.retain(|message| message.body.contains(&format!("\"{id}\"")));
    messages
}

#[test]
fn a_function_gets_the_whole_event_and_a_replay_is_the_same_event() {
    play(async |stage| {
        for _ in 0..2 {
            let put = stage.local.put_event(&event("whole", false)).await;
            assert_eq!(put.unwrap(), "whole");
        }
        let heard = eventually(async || {
            let heard = stage.heard("test", "whole").await;
            (heard.len() == 2).then_some(heard)
        })
        .await;
        assert_eq!(heard[0], heard[1]);
        for member in ["id", "time", "account", "region"] {
            assert_eq!(heard[0][member], event("whole", false)[member]);
        }
    });
}

#[test]
fn a_function_that_fails_is_tried_three_times_and_then_the_event_is_a_dead_letter() {
    play(async |stage| {
        stage.local.put_event(&event("fails", true)).await.unwrap();
        let letter = eventually(async || dead_letters(stage, "fails").await.pop()).await;
        assert_eq!(stage.heard("test", "fails").await.len(), 3);
        let body: Value = serde_json::from_str(&letter.body).unwrap();
        assert_eq!(body["detail"]["test"], "fails");
        assert_eq!(letter.attributes["ErrorMessage"], "as it was told");
        assert_eq!(letter.attributes["ErrorCode"], "200");
    });
}

#[test]
fn an_event_for_a_function_that_may_not_be_invoked_is_a_dead_letter_of_the_rule() {
    play(async |stage| {
        let mut event = event("deaf", false);
        event["source"] = json!("aws.test.deaf");
        stage.local.put_event(&event).await.unwrap();
        let letter = eventually(async || dead_letters(stage, "deaf").await.pop()).await;
        assert_eq!(letter.attributes["ERROR_CODE"], "NO_PERMISSIONS");
        assert!(letter.attributes["RULE_ARN"].contains(":rule/"));
    });
}

#[test]
fn an_event_starts_a_state_machine_if_the_role_of_the_target_may() {
    play(async |stage| {
        for (id, source) in [("told", "aws.test.echo"), ("mute", "aws.test.mute")] {
            let mut event = event(id, false);
            event["source"] = json!(source);
            stage.local.put_event(&event).await.unwrap();
        }
        let told = eventually(async || echoes(stage, "event", "told").await.pop()).await;
        let now = "2026-11-21T04:05:06Z";
        assert_eq!(told, json!({"event": "told", "now": now}));
        let letter = eventually(async || dead_letters(stage, "mute").await.pop()).await;
        assert_eq!(letter.attributes["ERROR_CODE"], "NO_PERMISSIONS");
        assert!(letter.attributes["RULE_ARN"].contains("MuteRule"));
        assert!(echoes(stage, "id", "mute").await.is_empty());
    });
}

#[test]
fn a_hundred_events_at_once_all_arrive() {
    play(async |stage| {
        for n in 0..100 {
            let mut event = event("crowd", false);
            event["id"] = json!(format!("crowd-{n}"));
            stage.local.put_event(&event).await.unwrap();
        }
        // Each at least once: a function that took too long is invoked once more.
        let all = async || {
            let heard = stage.heard("test", "crowd").await;
            let ids: BTreeSet<_> = heard.iter().map(|it| it["id"].to_string()).collect();
            (ids.len() == 100).then_some(())
        };
        eventually(all).await;
    });
}

#[test]
fn an_invocation_that_lambda_refuses_is_repeated_by_the_rule() {
    play(async |stage| {
        let fault = Fault {
            service: "lambda".into(),
            operation: "Invoke".into(),
            kind: FaultKind::Throttle,
            times: 2,
            seconds: 0.0,
        };
        // Another test's event may meet a fault; it is repeated, too.
        stage.local.add_fault(&fault).await.unwrap();
        stage.local.put_event(&event("busy", false)).await.unwrap();
        eventually(async || stage.heard("test", "busy").await.pop()).await;
    });
}

/// At once, without asking again: tests rest on it that something has not happened.
#[test]
fn once_everybody_has_heard_nothing_is_on_its_way_any_more_not_even_a_retry() {
    play(async |stage| {
        let fault = Fault {
            service: "lambda".into(),
            operation: "Invoke".into(),
            kind: FaultKind::Throttle,
            times: 8, // four minutes of AWS, which is a second
            seconds: 0.0,
        };
        stage.local.add_fault(&fault).await.unwrap();
        stage.local.put_event(&event("never", true)).await.unwrap();
        stage.local.everybody_has_heard().await.unwrap();
        // Refused by Lambda for that long, then tried three times.
        assert_eq!(dead_letters(stage, "never").await.len(), 1);
    });
}
