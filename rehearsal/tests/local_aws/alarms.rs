//! Alarms know when they became what they are, and tell it unless their actions are off.

use super::executions::calls;
use super::stage::{Stage, play};
use aws_sdk_cloudwatch::error::ProvideErrorMetadata as _;
use aws_sdk_cloudwatch::operation::put_metric_alarm::builders::PutMetricAlarmFluentBuilder;
use aws_sdk_cloudwatch::types::{ComparisonOperator, MetricAlarm, StateValue, Statistic, Tag};
use aws_smithy_types::DateTime;
use serde_json::json;
use std::time::SystemTime;

pub(crate) fn request(stage: &Stage, name: &str) -> PutMetricAlarmFluentBuilder {
    let put = stage.local.aws().cloudwatch().put_metric_alarm();
    let put = put.alarm_name(name).namespace("AWS/AppRunner");
    let put = put.metric_name("Requests").statistic(Statistic::Sum);
    let put = put.period(60).evaluation_periods(1).threshold(1.0);
    put.comparison_operator(ComparisonOperator::GreaterThanThreshold)
}

async fn put(stage: &Stage, name: &str) {
    request(stage, name).send().await.unwrap();
}

pub(crate) async fn put_tagged(stage: &Stage, name: &str, tags: Vec<Tag>) {
    let put = request(stage, name).set_tags(Some(tags));
    put.send().await.unwrap();
}

pub(crate) async fn set(stage: &Stage, name: &str, state: StateValue) {
    let set = stage.local.aws().cloudwatch().set_alarm_state();
    let set = set
        .alarm_name(name)
        .state_value(state)
        .state_reason("a test");
    set.send().await.unwrap();
}

async fn alarm(stage: &Stage, name: &str) -> MetricAlarm {
    let alarms = stage.local.aws().cloudwatch().describe_alarms();
    let found = alarms.alarm_names(name).send().await.unwrap();
    found.metric_alarms.unwrap().pop().unwrap()
}

#[test]
fn an_alarm_tells_when_its_state_changed_and_when_it_was_set() {
    play(async |stage| {
        put(stage, "times").await;
        let begun = DateTime::from(SystemTime::now()).as_nanos();
        set(stage, "times", StateValue::Alarm).await;
        let red = alarm(stage, "times").await;
        let transitioned = red.state_transitioned_timestamp.unwrap();
        // Within milliseconds, not within the second.
        assert!(transitioned.as_nanos() >= begun - 1_000_000);
        assert_eq!(red.state_updated_timestamp, Some(transitioned));
        assert_eq!(red.state_reason.as_deref(), Some("a test"));

        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        set(stage, "times", StateValue::Alarm).await;
        let still = alarm(stage, "times").await;
        assert_eq!(still.state_transitioned_timestamp, Some(transitioned));
        assert!(still.state_updated_timestamp > Some(transitioned));

        put(stage, "times").await;
        let again = alarm(stage, "times").await;
        assert_eq!(again.state_value, Some(StateValue::Alarm));
        assert_eq!(again.state_transitioned_timestamp, Some(transitioned));
    });
}

#[test]
fn alarms_are_found_by_prefix_and_state_page_by_page() {
    play(async |stage| {
        for n in 0..5 {
            let name = format!("many-{n}");
            put(stage, &name).await;
            if n > 0 {
                set(stage, &name, StateValue::Alarm).await;
            }
        }
        let alarms = stage.local.aws().cloudwatch().describe_alarms();
        let found = alarms
            .alarm_name_prefix("many-")
            .state_value(StateValue::Alarm)
            .max_records(3)
            .into_paginator()
            .send()
            .try_collect()
            .await
            .unwrap();
        let pages: Vec<_> = found
            .iter()
            .map(|page| page.metric_alarms().len())
            .collect();
        assert_eq!(pages, [3, 1]);
    });
}

/// How often an alarm has told a topic.
pub(crate) async fn told(stage: &Stage, topic: &str, name: &str) -> usize {
    let of = format!("\"AlarmName\": \"{name}\"");
    let published = stage.published(topic).await;
    published
        .iter()
        .filter(|it| it.message.contains(&of))
        .count()
}

#[test]
fn an_alarm_tells_nobody_while_its_actions_are_off() {
    play(async |stage| {
        let cloudwatch = stage.local.aws().cloudwatch();
        let name = "actions";
        let put = || request(stage, name).alarm_actions(stage.output("Topic"));
        let turn = async || {
            set(stage, name, StateValue::Ok).await;
            set(stage, name, StateValue::Alarm).await;
            told(stage, stage.output("Topic"), name).await
        };
        let are_on = async || alarm(stage, name).await.actions_enabled.unwrap();
        put().send().await.unwrap();
        assert!(are_on().await);
        assert_eq!(turn().await, 1);

        // Of names that do not exist nothing is said.
        let off = cloudwatch.disable_alarm_actions();
        let off = off.alarm_names(name).alarm_names("actions-of-no-alarm");
        off.send().await.unwrap();
        assert!(!are_on().await);
        assert_eq!(turn().await, 1);

        // What it became meanwhile is not told afterwards.
        let on = cloudwatch.enable_alarm_actions().alarm_names(name);
        on.send().await.unwrap();
        assert!(are_on().await);
        assert_eq!(told(stage, stage.output("Topic"), name).await, 1);
        assert_eq!(turn().await, 2);

        put().actions_enabled(false).send().await.unwrap();
        assert!(!are_on().await);
        // An alarm that is put again is what it was put as, and its actions are on unless it says otherwise.
        put().send().await.unwrap();
        assert!(are_on().await);
        let delete = cloudwatch.delete_alarms().alarm_names(name);
        delete.send().await.unwrap();
        let describe = cloudwatch.describe_alarms().alarm_names(name);
        assert!(describe.send().await.unwrap().metric_alarms().is_empty());
    });
}

#[test]
fn the_actions_of_more_than_a_hundred_alarms_take_another_call() {
    play(async |stage| {
        let names = (0..101).map(|n| format!("hundred-{n}")).collect();
        let off = stage.local.aws().cloudwatch().disable_alarm_actions();
        let refused = off.set_alarm_names(Some(names)).send().await.unwrap_err();
        let refused = refused.as_service_error().unwrap().meta();
        assert_eq!(refused.code(), Some("ValidationError"));
    });
}

#[test]
fn a_role_turns_off_the_actions_of_alarms_with_its_tag_and_of_no_other() {
    play(async |stage| {
        let tag = Tag::builder().key("owner").value("caller").build();
        put_tagged(stage, "owned", vec![tag]).await;
        put(stage, "foreign").await;
        for (execution, names, allowed) in [
            ("alarms-both", &["owned", "foreign"][..], false),
            ("alarms-foreign", &["foreign"], false),
            ("alarms-owned", &["owned"], true),
        ] {
            let off = json!([["cloudwatch", "disable_alarm_actions", {"AlarmNames": names}]]);
            let answers = calls(stage, execution, off).await;
            let answer = answers["disable_alarm_actions"].as_str().unwrap();
            if allowed {
                assert_eq!(answer, "ok");
            } else {
                let denied = "not authorized to perform: cloudwatch:DisableAlarmActions on resource: \
                              arn:aws:cloudwatch:us-east-1:123456789012:alarm:foreign";
                assert!(answer.contains(denied), "{answer}");
                let owned = alarm(stage, "owned").await;
                assert_eq!(owned.actions_enabled, Some(true));
            }
        }
        assert_eq!(alarm(stage, "owned").await.actions_enabled, Some(false));
        let foreign = alarm(stage, "foreign").await;
        assert_eq!(foreign.actions_enabled, Some(true));
    });
}

#[test]
fn an_alarm_tells_no_topic_of_another_region() {
    play(async |stage| {
        let far = "arn:aws:sns:us-west-2:123456789012:far";
        let put = request(stage, "far").ok_actions(far).send().await;
        let error = put.unwrap_err();
        let message = error.message().unwrap_or_default();
        assert!(
            message.contains("Invalid region us-west-2 specified. Only us-east-1 is supported."),
            "{message}"
        );
    });
}
