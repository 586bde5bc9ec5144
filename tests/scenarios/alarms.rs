//! The promise O9 over the deployed template: whatever happens to a service, its alarms follow it. IAM is enforced.

use crate::stage::{
    Service, Stage, assert_succeeded, eventually, is_of_database, play, spec, watched,
};
use aws_sdk_cloudwatch::types::{ComparisonOperator, MetricAlarm, Statistic, Tag};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn threshold(alarms: &[MetricAlarm], end: &str) -> Option<f64> {
    let ends = |alarm: &&MetricAlarm| alarm.alarm_name().is_some_and(|name| name.ends_with(end));
    alarms.iter().find(ends)?.threshold()
}

/// A service of the stack `{app}-dev` that somebody has created past `provision`.
async fn by_hand<'a>(stage: &'a Stage, app: &str) -> Service<'a> {
    let name = format!("{app}-dev");
    Service::given(stage, &name)
        .of_stack(app, "dev")
        .create()
        .await
}

async fn provisioned<'a>(stage: &'a Stage, spec: &Value) -> Service<'a> {
    let end = stage.provision(spec).await;
    assert_succeeded(&end);
    let app = spec["app"].as_str().expect("a name");
    Service::named(stage, &format!("{app}-dev"))
}

#[test]
fn o9_a_service_recreated_under_its_name_has_alarms_on_its_new_id_and_none_on_the_old_one() {
    play(async |stage| {
        let mut spec = spec("again");
        spec["alarms"] = json!({"cpu_percent": 55});
        let old = provisioned(stage, &spec).await;
        let tags = old.look().tags;
        old.delete().await;
        let left = old.has_alarms(3).await;
        assert!(left.iter().all(is_of_database), "{left:?}");
        let tags: Vec<_> = tags
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let new = Service::given(stage, "again-dev")
            .with_only(&tags)
            .create()
            .await;
        let alarms = new.has_alarms(9).await;
        let only_the_new_one = BTreeSet::from([new.id().to_owned()]);
        assert_eq!(watched(&alarms), only_the_new_one);
        assert_eq!(
            threshold(&alarms, "-dev-cpu-groundcrew"),
            Some(55.0),
            "the spec's"
        );
        for alarm in &alarms {
            let topic = &alarm.alarm_actions()[0];
            assert!(topic.ends_with(":again-dev-alarms"), "{topic}");
        }
        eventually("the dashboard shows the new one", async || {
            let dashboards = stage.world().await.dashboards;
            let mut own = dashboards
                .iter()
                .filter(|(name, _)| name.starts_with("again-dev"));
            let body = own.next()?.1.to_string();
            (body.contains(new.id()) && !body.contains(old.id())).then_some(())
        })
        .await;
        // The end of the old one comes late, or twice.
        let event = include_str!("../../events/apprunner-operation-status-delete.json");
        let mut event: Value = serde_json::from_str(event).expect("JSON");
        event["resources"] = json!([old.arn]);
        stage.local.put_event(&event).await.expect("put");
        new.quiet().await;
        assert_eq!(watched(&new.has_alarms(9).await), only_the_new_one);
        assert!(stage.teardown(&spec).await.succeeded);
        eventually("nothing is left", async || {
            stage.traces("again-dev").await.is_empty().then_some(())
        })
        .await;
    });
}

#[test]
fn o9_a_service_that_appears_gets_alarms_that_tell_whoever_hears_of_groundcrew_and_takes_them_along()
 {
    play(async |stage| {
        let service = by_hand(stage, "appears").await;
        let alarms = service.has_alarms(6).await;
        assert_eq!(watched(&alarms), BTreeSet::from([service.id().to_owned()]));
        let topic = stage.output("NotificationsTopicArn").to_owned();
        for alarm in &alarms {
            assert_eq!(alarm.alarm_actions(), std::slice::from_ref(&topic));
            assert_eq!(alarm.actions_enabled(), Some(true));
        }
        service.delete().await;
        service.has_alarms(0).await;
        eventually("its dashboard is gone", async || {
            let dashboards = stage.world().await.dashboards;
            let gone = !dashboards
                .keys()
                .any(|name| name.starts_with("appears-dev"));
            gone.then_some(())
        })
        .await;
    });
}

#[test]
fn o9_another_largest_number_of_instances_is_what_the_alarm_watches_for() {
    play(async |stage| {
        let service = by_hand(stage, "grows").await;
        let before = service.has_alarms(6).await;
        assert_ne!(threshold(&before, "-instances-groundcrew"), Some(3.0));
        let apprunner = stage.local.aws().apprunner();
        let scaling = apprunner
            .create_auto_scaling_configuration()
            .auto_scaling_configuration_name("grows")
            .max_size(3)
            .send()
            .await
            .expect("created")
            .auto_scaling_configuration
            .expect("a configuration");
        apprunner
            .update_service()
            .service_arn(&service.arn)
            .set_auto_scaling_configuration_arn(scaling.auto_scaling_configuration_arn)
            .send()
            .await
            .expect("accepted");
        eventually("three are the most", async || {
            (threshold(&service.alarms().await, "-instances-groundcrew") == Some(3.0)).then_some(())
        })
        .await;
    });
}

#[test]
fn o9_a_service_that_somebody_pauses_is_silent_until_it_runs_again_and_its_database_is_not() {
    play(async |stage| {
        let spec = spec("rests");
        let service = provisioned(stage, &spec).await;
        let tells = async |of_database: bool| {
            let alarms = service.alarms().await;
            let of_kind = alarms
                .iter()
                .filter(|alarm| is_of_database(alarm) == of_database);
            of_kind
                .map(|alarm| alarm.actions_enabled() == Some(true))
                .collect::<Vec<_>>()
        };
        service.pause_by_hand().await;
        eventually("it is silent", async || {
            (tells(false).await == [false; 6]).then_some(())
        })
        .await;
        assert_eq!(tells(true).await, [true; 3]);
        service.resume_by_hand().await;
        eventually("it tells again", async || {
            (tells(false).await == [true; 6]).then_some(())
        })
        .await;
        assert_eq!(tells(true).await, [true; 3]);
        assert!(stage.teardown(&spec).await.succeeded);
    });
}

#[test]
fn o9_what_is_not_ours_gets_no_alarms_and_keeps_its_own() {
    play(async |stage| {
        let foreign = Service::given(stage, "theirs-dev").foreign().create().await;
        foreign.delete().await;
        stage
            .local
            .aws()
            .cloudwatch()
            .put_metric_alarm()
            .alarm_name("theirs-dev-cpu-groundcrew")
            .namespace("Theirs")
            .metric_name("Theirs")
            .statistic(Statistic::Sum)
            .period(60)
            .evaluation_periods(1)
            .threshold(1.0)
            .comparison_operator(ComparisonOperator::GreaterThanThreshold)
            .send()
            .await
            .expect("an alarm");
        let foreign = Service::given(stage, "theirs-dev").foreign().create().await;
        // Events are handled in turn: once a later service of ours has its alarms, theirs would have some, too.
        let ours = by_hand(stage, "ours").await;
        ours.has_alarms(6).await;
        assert_eq!(foreign.alarms().await.len(), 1);
        // A service of ours does not take over what has the name of its alarm.
        foreign.delete().await;
        let of_the_name = by_hand(stage, "theirs").await;
        ours.delete().await;
        ours.has_alarms(0).await;
        let kept = of_the_name.alarms().await;
        let cpu = kept
            .iter()
            .find(|alarm| alarm.alarm_name() == Some("theirs-dev-cpu-groundcrew"));
        assert_eq!(cpu.expect("it is there").namespace(), Some("Theirs"));
    });
}

#[test]
fn o9_alarms_and_the_dashboard_of_0_1_give_way_to_those_with_new_names() {
    play(async |stage| {
        let service = by_hand(stage, "renamed").await;
        service.has_alarms(6).await;
        // As groundcrew 0.1 left them, and one that a person made under such a name.
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let ours = vec![
            tag("groundcrew:managed", "true"),
            tag("groundcrew:app", "renamed"),
            tag("groundcrew:environment", "dev"),
        ];
        for (name, tags) in [("cpu", Some(ours)), ("latency", None)] {
            let put = stage.local.aws().cloudwatch().put_metric_alarm();
            put.alarm_name(format!("renamed-dev-{name}"))
                .namespace("AWS/AppRunner")
                .metric_name("CPUUtilization")
                .statistic(Statistic::Average)
                .period(300)
                .evaluation_periods(1)
                .threshold(80.0)
                .comparison_operator(ComparisonOperator::GreaterThanThreshold)
                .set_tags(tags)
                .send()
                .await
                .expect("an alarm");
        }
        let old = stage.dashboard_of_0_1("renamed", "dev").await;
        let apprunner = stage.local.aws().apprunner();
        let deployed = apprunner.start_deployment().service_arn(&service.arn);
        deployed.send().await.expect("accepted");
        let mut names: Vec<_> = service.has_alarms(7).await;
        names.retain(|alarm| !alarm.alarm_name().unwrap().ends_with("-groundcrew"));
        let names: Vec<_> = names.iter().map(|it| it.alarm_name()).collect();
        assert_eq!(names, [Some("renamed-dev-latency")], "the person's stays");
        eventually("there is one dashboard, with the new name", async || {
            let dashboards = stage.world().await.dashboards;
            let has = |name: &str| dashboards.contains_key(name);
            (!has(&old) && has(&format!("{old}-groundcrew"))).then_some(())
        })
        .await;
    });
}

#[test]
fn o9_thresholds_in_a_tag_hold_from_the_next_operation_on() {
    play(async |stage| {
        let service = by_hand(stage, "tuned").await;
        service.has_alarms(6).await;
        service.set_tag("groundcrew:alarms", "cpu=42").await;
        let apprunner = stage.local.aws().apprunner();
        let deployed = apprunner.start_deployment().service_arn(&service.arn);
        deployed.send().await.expect("accepted");
        eventually("it watches for 42 percent", async || {
            (threshold(&service.alarms().await, "-dev-cpu-groundcrew") == Some(42.0)).then_some(())
        })
        .await;
    });
}

/// It has no alarms any more, and still runs, when its last operation ends.
#[test]
fn o9_alarms_that_come_back_while_a_stack_is_removed_go_with_it() {
    play(async |stage| {
        let spec = spec("leaves");
        let service = provisioned(stage, &spec).await;
        service.next("START_DEPLOYMENT", json!({"takes": 3.0}));
        let deployed = stage.local.aws().apprunner().start_deployment();
        let deployed = deployed.service_arn(&service.arn).send().await;
        deployed.expect("accepted");
        let end = stage.teardown(&spec).await;
        assert!(end.succeeded, "{}", end.message);
        eventually("nothing is left", async || {
            stage.traces("leaves-dev").await.is_empty().then_some(())
        })
        .await;
    });
}
