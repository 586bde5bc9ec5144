//! Alarms know when they became what they are.

use crate::stage::{Stage, play};
use aws_sdk_cloudwatch::types::{ComparisonOperator, MetricAlarm, StateValue, Statistic};
use aws_smithy_types::DateTime;
use std::time::SystemTime;

async fn put(stage: &Stage, name: &str) {
    let put = stage.local.aws().cloudwatch().put_metric_alarm();
    let put = put.alarm_name(name).namespace("AWS/AppRunner");
    let put = put.metric_name("Requests").statistic(Statistic::Sum);
    let put = put.period(60).evaluation_periods(1).threshold(1.0);
    let put = put.comparison_operator(ComparisonOperator::GreaterThanThreshold);
    put.send().await.unwrap();
}

async fn set(stage: &Stage, name: &str, state: StateValue) {
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
