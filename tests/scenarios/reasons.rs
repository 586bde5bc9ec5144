//! When App Runner gives up, its own sentence is told, and the logs that a message names are kept for a while.

use super::stacks::next_operation;
use crate::stage::{Service, Stage, assert_succeeded, play, play_alone, spec};
use apprunner_emulator::Fate;
use jiff::{SignedDuration, Timestamp};
use rehearsal::End;
use serde_json::{Value, json};

/// What App Runner writes of a container that does not answer (aws/apprunner-roadmap#210, and captures since).
const UNHEALTHY: &str = "App Runner says: Health check failed on protocol `HTTP`[Path: '/health'], [Port: '8080']. Check your configured port number. For more information, read the application logs.";

fn fails(stage: &Stage, service: &str, operation: &str) {
    let fails = next_operation(service, operation, Fate::Fails);
    stage.local.apprunner().arrange(fails).expect("arranged");
}

fn date(in_days: i64) -> String {
    let at = Timestamp::now() + SignedDuration::from_hours(24 * in_days);
    at.strftime("%Y-%m-%d").to_string()
}

/// The log groups of a stack's services, and for how many days each is kept.
async fn log_groups(stage: &Stage, stack: &str) -> Vec<(String, Option<i32>)> {
    let begin = format!("/aws/apprunner/{stack}/");
    let groups = stage.world().await.log_groups.into_iter();
    let groups = groups.filter_map(|it| Some((it.log_group_name?, it.retention_in_days)));
    groups
        .filter(|(name, _)| name.starts_with(&begin))
        .collect()
}

fn left(end: &End) -> Vec<&str> {
    let left = end.output["left"].as_array().expect("a list").iter();
    left.filter_map(Value::as_str).collect()
}

#[test]
fn p10_p18_a_service_that_cannot_be_created_is_undone_but_for_its_logs_and_a_pushed_image() {
    play(|stage| async move {
        fails(stage, "undone-dev", "CREATE_SERVICE");
        let end = stage.provision(&spec("undone")).await;
        assert_eq!(end.error, "Failed");
        let message = &end.message;
        let begin = format!("App Runner could not create service undone-dev. {UNHEALTHY} Read");
        assert!(message.starts_with(&begin), "{message}");
        let groups = log_groups(stage, "undone-dev").await;
        assert_eq!(groups.len(), 2, "{groups:?}");
        for (group, days) in &groups {
            assert_eq!(*days, Some(14), "{group}");
            let is_named = message.contains(&format!("log group {group} until {}", date(14)));
            assert!(is_named, "{message}");
        }
        let repository = format!(
            "repository undone-dev, into which an image was pushed on {}",
            date(0)
        );
        assert!(message.contains(&repository), "{message}");
        let mut kept: Vec<_> = groups
            .iter()
            .map(|(name, _)| format!("log group {name}"))
            .collect();
        kept.push("repository undone-dev".into());
        kept.sort();
        let mut traces = stage.traces("undone-dev").await;
        traces.sort();
        assert_eq!(traces, kept);

        // A later execution takes them over, and a teardown of the healthy stack removes them.
        let end = stage.provision_without_image(&spec("undone")).await;
        assert_succeeded(&end);
        assert_succeeded(&stage.teardown(&spec("undone")).await);
        assert_eq!(stage.traces("undone-dev").await, Vec::<String>::new());
    });
}

#[test]
fn p12_a_teardown_after_an_undo_removes_what_was_kept() {
    play(|stage| async move {
        fails(stage, "again-undone-dev", "CREATE_SERVICE");
        let spec = spec("again-undone");
        assert!(!stage.provision(&spec).await.succeeded);
        assert!(!stage.traces("again-undone-dev").await.is_empty());
        let end = stage.teardown(&spec).await;
        assert_succeeded(&end);
        assert_eq!(left(&end), Vec::<&str>::new());
        assert_eq!(stage.traces("again-undone-dev").await, Vec::<String>::new());
    });
}

#[test]
fn p12_the_logs_of_a_failed_service_outlive_the_first_teardown_and_are_kept_no_longer_than_before()
{
    play(|stage| async move {
        fails(stage, "broken-dev", "CREATE_SERVICE");
        let mut spec = spec("broken");
        spec["on_failure"] = json!("keep");
        assert!(!stage.provision(&spec).await.succeeded);
        let groups = log_groups(stage, "broken-dev").await;
        let (short, _) = &groups[0];
        let shortened = stage.local.aws().logs().put_retention_policy();
        let shortened = shortened.log_group_name(short).retention_in_days(3);
        shortened.send().await.expect("shortened");

        let end = stage.teardown(&spec).await;
        assert_succeeded(&end);
        let expected: Vec<_> = groups.iter().zip([3, 14]).collect();
        let named = expected
            .iter()
            .map(|((name, _), days)| format!("log group {name} until {}", date((*days).into())));
        assert_eq!(left(&end), named.collect::<Vec<_>>());
        let kept = expected
            .iter()
            .map(|((name, _), days)| (name.clone(), Some(*days)));
        assert_eq!(
            log_groups(stage, "broken-dev").await,
            kept.collect::<Vec<_>>()
        );
        assert_eq!(stage.traces("broken-dev").await.len(), 2);

        let end = stage.teardown(&spec).await;
        assert_succeeded(&end);
        assert_eq!(left(&end), Vec::<&str>::new());
        assert_eq!(stage.traces("broken-dev").await, Vec::<String>::new());
    });
}

#[test]
fn p18_an_update_that_app_runner_takes_back_is_told_with_its_reason() {
    play(|stage| async move {
        let mut spec = spec("taken-back");
        assert_succeeded(&stage.provision(&spec).await);
        fails(stage, "taken-back-dev", "UPDATE_SERVICE");
        spec["service"]["port"] = json!(9999);
        let end = stage.provision_without_image(&spec).await;
        let message = &end.message;
        let reason = UNHEALTHY.replace("8080", "9999");
        assert!(message.contains(&reason), "{message}");
        // `deploy` tells it as well, and only what App Runner has said since.
        let service = Service::named(stage, "taken-back-dev");
        service.quiet().await;
        service.next("UPDATE_SERVICE", json!("fails"));
        service.push("latest").await;
        let told = service.hear(1).await;
        let message = &told[0].message;
        assert!(message.contains(UNHEALTHY), "{message}");
        assert!(!message.contains("9999"), "{message}");
        service.quiet().await;
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn o10_kept_logs_that_have_run_out_are_swept_up_and_those_of_a_living_service_are_not() {
    play_alone(&[], |stage| async move {
        assert_succeeded(&stage.provision(&spec("lives")).await);
        fails(stage, "ran-out-dev", "CREATE_SERVICE");
        assert!(!stage.provision(&spec("ran-out")).await.succeeded);
        let young = stage.sweep(&json!({})).await;
        assert_eq!(
            log_groups(stage, "ran-out-dev").await.len(),
            2,
            "{}",
            young.output
        );

        let age = async |days| {
            let aged = stage.local.age_log_groups("/aws/apprunner/", days).await;
            aged.expect("aged");
        };
        age(2.0).await;
        stage.sweep(&json!({})).await;
        let read = log_groups(stage, "ran-out-dev").await;
        assert!(
            read.iter().any(|(name, _)| name.ends_with("/service")),
            "{read:?}"
        );
        age(13.0).await;
        let planned = stage.sweep(&json!({"dry_run": true})).await;
        let summary = planned.output["summary"].as_str().expect("a summary");
        assert!(
            summary.contains("it is empty, and its service is gone"),
            "{summary}"
        );
        assert_succeeded(&stage.sweep(&json!({})).await);
        assert_eq!(log_groups(stage, "ran-out-dev").await, []);
        assert_eq!(log_groups(stage, "lives-dev").await.len(), 2);
    });
}
