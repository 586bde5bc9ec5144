//! Schedules know their time zone, and start their machine with the rights of their role.

use super::executions::calls;
use super::stage::{Stage, eventually, play};
use aws_sdk_sfn::Client;
use rehearsal::Schedule;
use serde_json::{Value, json};

async fn schedule(stage: &Stage, name: &str, from: &str, until: &str) -> Schedule {
    let schedules = stage.local.schedules(from, until).await.unwrap();
    let found = schedules.into_iter().find(|it| it.name == name);
    found.unwrap()
}

/// What `Echo` was told whenever it was started with this member and value.
pub(crate) async fn echoes(stage: &Stage, member: &str, value: &str) -> Vec<Value> {
    let states = Client::new(stage.local.sdk_config());
    let list = states
        .list_executions()
        .state_machine_arn(stage.output("Echo"));
    let mut told = Vec::new();
    for execution in list.send().await.unwrap().executions {
        let describe = states
            .describe_execution()
            .execution_arn(execution.execution_arn);
        let input = describe.send().await.unwrap().input.unwrap();
        told.push(serde_json::from_str::<Value>(&input).unwrap());
    }
    told.retain(|input| input[member] == value);
    told
}

#[test]
fn a_schedule_that_fires_tells_its_machine_which_moment_it_was_for() {
    play(async |stage| {
        let at = "2026-11-21T01:30:00Z";
        stage.local.fire_schedule("nightly", at).await.unwrap();
        let told = eventually(async || echoes(stage, "at", at).await.pop()).await;
        assert_eq!(
            told["by"],
            "arn:aws:scheduler:us-east-1:123456789012:schedule/default/nightly"
        );
        assert_eq!(told["attempt"], "1");
        assert_eq!(told["id"].as_str().unwrap().len(), 16);
    });
}

#[test]
fn a_night_that_loses_the_hour_is_skipped_and_one_that_has_it_twice_counts_once() {
    play(async |stage| {
        let (from, until) = ("2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
        let nightly = schedule(stage, "nightly", from, until).await;
        assert_eq!(nightly.time_zone, "Europe/Berlin");
        assert_eq!(nightly.fires.len(), 730 - 2);
        let of = |day: &str| -> Vec<_> {
            let fires = nightly.fires.iter();
            fires.filter(|instant| instant.starts_with(day)).collect()
        };
        assert_eq!(of("2026-03-28"), ["2026-03-28T01:30:00Z"]);
        assert!(of("2026-03-29").is_empty());
        assert_eq!(of("2026-03-30"), ["2026-03-30T00:30:00Z"]);
        // 02:30 in summer; an hour later it is 02:30 again.
        assert_eq!(of("2026-10-25"), ["2026-10-25T00:30:00Z"]);
        assert_eq!(of("2026-10-26"), ["2026-10-26T01:30:00Z"]);
        assert!(of("2027-03-28").is_empty());
    });
}

#[test]
fn each_kind_of_expression_fires_when_it_says() {
    play(async |stage| {
        let (from, until) = ("2026-12-01T00:00:00Z", "2027-04-01T00:00:00Z");
        for (name, fires) in [
            ("christmas", &["2026-12-24T23:00:00Z"][..]),
            (
                "last-friday",
                &[
                    "2027-01-29T16:00:00Z",
                    "2027-01-29T16:30:00Z",
                    "2027-01-29T17:00:00Z",
                    "2027-01-29T17:30:00Z",
                    "2027-02-26T16:00:00Z",
                    "2027-02-26T16:30:00Z",
                    "2027-02-26T17:00:00Z",
                    "2027-02-26T17:30:00Z",
                ],
            ),
            (
                "second-tuesday",
                &[
                    "2026-12-08T04:00:00Z",
                    "2027-01-12T04:00:00Z",
                    "2027-02-09T04:00:00Z",
                ],
            ),
            // A day is 24 hours, and clocks change on the 28th.
            (
                "daily",
                &[
                    "2027-03-26T05:00:00Z",
                    "2027-03-27T05:00:00Z",
                    "2027-03-28T05:00:00Z",
                    "2027-03-29T05:00:00Z",
                    "2027-03-30T05:00:00Z",
                    "2027-03-31T05:00:00Z",
                ],
            ),
        ] {
            assert_eq!(
                schedule(stage, name, from, until).await.fires,
                fires,
                "{name}"
            );
        }
    });
}

#[test]
fn a_disabled_schedule_does_not_fire() {
    play(async |stage| {
        let at = "2026-11-21T12:00:00Z";
        let asleep = schedule(stage, "asleep", at, "2027-11-21T12:00:00Z").await;
        assert_eq!((asleep.state.as_str(), asleep.fires.len()), ("DISABLED", 0));
        let refused = stage.local.fire_schedule("asleep", at).await.unwrap_err();
        assert!(refused.to_string().contains("DISABLED"), "{refused}");
    });
}

#[test]
fn what_the_role_of_a_schedule_may_not_start_is_a_dead_letter_after_its_retries() {
    play(async |stage| {
        let at = "2026-11-21T12:00:00Z";
        stage.local.fire_schedule("powerless", at).await.unwrap();
        let letter = eventually(async || {
            let queue = stage.output("Undelivered");
            let mut letters = stage.local.messages(queue).await.unwrap();
            letters.retain(|letter| letter.body.contains("powerless"));
            letters.pop()
        })
        .await;
        assert_eq!(letter.body, r#"{"name": "powerless"}"#);
        for (attribute, value) in [
            ("ERROR_CODE", "AccessDeniedException"),
            ("EXHAUSTED_RETRY_CONDITION", "MaximumRetryAttempts"),
            ("RETRY_ATTEMPTS", "3"),
            ("SCHEDULED_TIME", at),
            ("TARGET_ARN", stage.output("Echo")),
        ] {
            assert_eq!(letter.attributes[attribute], value);
        }
        assert!(echoes(stage, "name", "powerless").await.is_empty());
    });
}

#[test]
fn a_schedule_that_could_never_fire_is_refused() {
    play(async |stage| {
        let create = async |name: &str, expression: &str, zone: &str, role: &str| {
            let schedule = json!({
                "Name": name,
                "ScheduleExpression": expression,
                "ScheduleExpressionTimezone": zone,
                "FlexibleTimeWindow": {"Mode": "OFF"},
                "Target": {"Arn": stage.output("Echo"), "RoleArn": stage.output(role)},
            });
            let create = json!([["scheduler", "create_schedule", schedule]]);
            let answers = calls(stage, &format!("schedules-{name}"), create).await;
            answers["create_schedule"].as_str().unwrap().to_owned()
        };
        let noon = "cron(0 12 * * ? *)";
        let made = create("good", noon, "Asia/Kathmandu", "PowerlessRole").await;
        assert_eq!(made, "ok");
        for (name, expression, zone, role, refusal) in [
            (
                "both-days",
                "cron(0 12 * * * *)",
                "UTC",
                "PowerlessRole",
                "Invalid Schedule Expression",
            ),
            (
                "no-hour",
                "cron(0 24 * * ? *)",
                "UTC",
                "PowerlessRole",
                "Invalid Schedule Expression",
            ),
            (
                "nowhere",
                noon,
                "Europe/Atlantis",
                "PowerlessRole",
                "Invalid time zone",
            ),
            ("no-trust", noon, "UTC", "CallerRole", "to assume the role"),
        ] {
            let answer = create(name, expression, zone, role).await;
            assert!(answer.contains(refusal), "{name}: {answer}");
        }
    });
}
