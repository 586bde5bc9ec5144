//! The promises O6–O8 over the deployed template: nights, mornings, wishes and what goes wrong with them. IAM is enforced.
//! Times are those of the schedule: a test says which moment it is.

use crate::stage::{
    Service, Stage, assert_succeeded, eventually, is_of_database, name, play_alone,
};
use apprunner_emulator::{OperationStatus, OperationType, ServiceStatus};
use aws_sdk_cloudwatch::types::{MetricAlarm, StateValue};
use aws_sdk_secretsmanager::types::RotationRulesType;
use jiff::{Timestamp, ToSpan};
use rehearsal::{Call, End, Execution, Fault, FaultKind};
use serde_json::{Value, json};
use std::future::Future;
use std::ops::Deref;
use std::time::Duration;
use tokio::task::{JoinSet, LocalSet};

/// Monday to Friday from 07:00 to 20:00 UTC, but for one Thursday.
const PARAMETERS: [(&str, &str); 2] = [
    ("SleepingEnvironments", "staging,dev"),
    ("ParkedDates", "2026-11-26"),
];

const EVENING: &str = "2026-11-23T20:00:00Z"; // a Monday
const NIGHT: &str = "2026-11-24T02:00:00Z";
const MORNING: &str = "2026-11-24T07:00:00Z";
const NEXT_EVENING: &str = "2026-11-24T20:00:00Z";

fn play<F: Future>(scenario: impl FnOnce(&'static Stage) -> F) -> F::Output {
    play_alone(&PARAMETERS, scenario)
}

/// A stack with a service, which runs its first image, and an alarm.
struct Parked<'a> {
    service: Service<'a>,
    /// It has the name of the service.
    has_database: bool,
}

impl<'a> Deref for Parked<'a> {
    type Target = Service<'a>;

    fn deref(&self) -> &Service<'a> {
        &self.service
    }
}

/// What a stack of a test differs in.
struct Given<'a> {
    environment: &'a str,
    /// The name of its service, if that is not the stack's.
    name: Option<&'a str>,
    database: bool,
    foreign: bool,
    secrets: &'a [(&'a str, &'a str)],
}

impl Default for Given<'_> {
    fn default() -> Self {
        Self {
            environment: "staging",
            name: None,
            database: true,
            foreign: false,
            secrets: &[],
        }
    }
}

impl<'a> Parked<'a> {
    async fn new(stage: &'a Stage, app: &str, given: Given<'_>) -> Self {
        let stack = format!("{app}-{}", given.environment);
        let name = given.name.map_or(stack, str::to_owned);
        let mut service = Service::given(stage, &name).of_stack(app, given.environment);
        if given.foreign {
            service = service.foreign();
        }
        for (variable, secret) in given.secrets {
            service = service.reads(variable, *secret);
        }
        let tags = [
            ("groundcrew:managed", "true"),
            ("groundcrew:app", app),
            ("groundcrew:environment", given.environment),
        ];
        let tags = if given.foreign { &[][..] } else { &tags[..] };
        if given.database {
            let database = stage.local.create_database(&name, tags).await;
            database.expect("a database");
        }
        let stack = Self {
            service: service.create().await,
            has_database: given.database,
        };
        stack.tagged_alarm("latency", "RequestLatency", tags).await;
        if given.database {
            stack.database_is("available").await;
        }
        stack.quiet().await;
        stack
    }

    async fn database(&self) -> String {
        let status = self.stage.database(&self.name).await;
        status.expect("it has a state")
    }

    async fn database_is(&self, status: &str) {
        self.stage.database_is(&self.name, Some(status)).await;
    }

    /// Whether its alarms tell, all of them or none.
    async fn alarm_tells(&self) -> bool {
        let alarms = self.alarms().await;
        let tell = |alarm: &MetricAlarm| alarm.actions_enabled().expect("it says so");
        let tells = tell(alarms.first().expect("an alarm"));
        assert!(
            alarms.iter().all(|alarm| tell(alarm) == tells),
            "{alarms:#?}"
        );
        tells
    }

    async fn assert_asleep(&self, label: &str) {
        assert_eq!(self.look().status, ServiceStatus::Paused, "{label}");
        if self.has_database {
            assert_eq!(self.database().await, "stopped", "{label}");
        }
        assert!(!self.alarm_tells().await, "{label}: its alarm tells");
    }

    async fn assert_awake(&self, label: &str) {
        self.eventually(|seen| seen.status == ServiceStatus::Running)
            .await;
        if self.has_database {
            assert_eq!(self.database().await, "available", "{label}");
        }
        assert!(self.alarm_tells().await, "{label}: its alarm is silent");
    }

    /// What this stack's part of the plan says.
    fn row(&self, end: &End) -> Value {
        let rows = end.output["stacks"].as_array().expect("rows").iter();
        let mut found = rows.filter(|row| row["stack"] == self.name.as_str());
        found.next().cloned().unwrap_or_default()
    }

    /// No later look is about it.
    async fn retire(self) {
        self.eventually(|seen| seen.status != ServiceStatus::OperationInProgress)
            .await;
        let untagged = self.stage.local.aws().apprunner().untag_resource();
        untagged
            .resource_arn(&self.arn)
            .tag_keys("groundcrew:managed")
            .send()
            .await
            .expect("untagged");
        if self.has_database {
            let arn = format!("arn:aws:rds:us-east-1:123456789012:db:{}", self.name);
            let untagged = self.stage.local.aws().rds().remove_tags_from_resource();
            let untagged = untagged.resource_name(arn).tag_keys("groundcrew:managed");
            untagged.send().await.expect("untagged");
        }
    }
}

/// A look of the schedule.
async fn tick(stage: &Stage, now: &str) -> End {
    stage
        .park(&json!({"action": "follow-schedule", "now": now}))
        .await
}

/// The same, which goes well.
async fn tick_well(stage: &Stage, now: &str) -> End {
    let end = tick(stage, now).await;
    assert_succeeded(&end);
    end
}

/// The calls of its function since they were cleared, without those that its runtime makes.
async fn calls(stage: &Stage) -> Vec<Call> {
    let mut calls = stage.local.calls().await.expect("the calls");
    calls.retain(|call| {
        let runtime = ["logs:", "xray:"].iter();
        call.principal.contains("-ParkFunctionRole-")
            && !runtime.into_iter().any(|of| call.action.starts_with(of))
    });
    calls
}

async fn assert_wrote_nothing(stage: &Stage) {
    let mut writes = calls(stage).await;
    writes.retain(Call::writes);
    assert!(writes.is_empty(), "{writes:#?}");
}

/// What was told about parking.
async fn told(stage: &Stage) -> Vec<String> {
    let told = stage.local.notifications().await.expect("listed");
    let subjects = told.into_iter().filter_map(|told| told.subject);
    let about_parking = |subject: &String| {
        ["could not be ", "parking failed"]
            .iter()
            .any(|part| subject.contains(part))
    };
    subjects.filter(about_parking).collect()
}

/// How often an alarm told that it is red; of its name a part.
async fn rung(stage: &Stage, alarm: &str) -> usize {
    let told = stage.local.notifications().await.expect("listed");
    let is_red = |message: &String| {
        message.contains(alarm) && message.contains(r#""NewStateValue": "ALARM""#)
    };
    told.iter().filter(|told| is_red(&told.message)).count()
}

/// What was told of ends of which executions tell nobody.
async fn untold_ends(stage: &Stage) -> Vec<String> {
    let told = stage.local.notifications().await.expect("listed");
    let messages = told.into_iter().map(|told| told.message);
    let of_rule = |message: &String| message.contains("has told nobody");
    messages.filter(of_rule).collect()
}

#[test]
fn o6_a_night_with_a_push_and_a_rotation_ends_with_one_deployment_of_the_newest() {
    play(|stage| async move {
        let secret = stage.secret("o6").await;
        let stack = Parked::new(
            stage,
            "nightly",
            Given {
                secrets: &[("PASSWORD", &secret)],
                ..Given::default()
            },
        )
        .await;
        let before = stack.operations().len();
        let notified = told(stage).await.len();

        let evening = tick_well(stage, EVENING).await;
        stack.assert_asleep("in the evening").await;
        let row = stack.row(&evening);
        assert_eq!(row["action"], "pause", "{row}");
        assert_eq!(
            row["sleep"],
            json!({"since": EVENING, "until": MORNING}),
            "{row}"
        );
        assert_eq!(
            row["saving"],
            json!({"hours": 11.0, "dollars": 0.33}),
            "{row}"
        );
        let night = tick_well(stage, NIGHT).await;
        assert_eq!(stack.row(&night)["action"], "leave");

        let newest = stage.local.push_image(&stack.name, "latest", "amd64").await;
        let newest = newest.expect("pushed");
        let version = stage.local.rotate_secret(&secret, "two").await;
        let version = version.expect("rotated");
        stack.quiet().await;
        stack.assert_asleep("after a push and a rotation").await;

        tick_well(stage, MORNING).await;
        stack.quiet().await;
        stack.assert_awake("in the morning").await;
        let seen = stack.look();
        assert_eq!(seen.runs.image_digest, Some(newest));
        assert_eq!(seen.runs.secret_versions["PASSWORD"], version);
        let succeeded = |kind| (kind, OperationStatus::Succeeded);
        assert_eq!(
            stack.operations()[before..],
            [
                succeeded(OperationType::PauseService),
                succeeded(OperationType::ResumeService),
                succeeded(OperationType::UpdateService),
            ]
        );
        assert_eq!(told(stage).await.len(), notified, "nobody is told");
        let day = tick_well(stage, "2026-11-24T12:00:00Z").await;
        assert_eq!(stack.row(&day)["action"], "leave");
        stack.retire().await;
    });
}

#[test]
fn o7_awake_until_outlives_the_evening_and_is_nothing_afterwards() {
    play(|stage| async move {
        let stack = Parked::new(stage, "late", Given::default()).await;
        stack.set_tag("groundcrew:awake-until", NIGHT).await;
        let evening = tick_well(stage, EVENING).await;
        let reason = stack.row(&evening)["reason"].to_string();
        assert!(reason.contains("groundcrew:awake-until"), "{reason}");
        stack.assert_awake("it is kept awake").await;
        tick_well(stage, NIGHT).await;
        stack.assert_asleep("the time has passed").await;
        // Awake for an hour more: each of two sleeps of a night ends with a deployment of its own.
        let woken = "2026-11-24T03:00:00Z";
        let resume = json!({"action": "resume", "stack": stack.name, "now": woken, "until": "2026-11-24T04:00:00Z"});
        assert_succeeded(&stage.park(&resume).await);
        stack.quiet().await;
        stack.assert_awake("by hand").await;
        tick_well(stage, "2026-11-24T04:00:00Z").await;
        stack.assert_asleep("that has passed, too").await;
        tick_well(stage, MORNING).await;
        stack.quiet().await;
        stack.assert_awake("in the morning").await;
        let machine = stage
            .outputs
            .get("DeployStateMachineArn")
            .expect("an output");
        let woken = stage.local.executions(machine, "late-staging-woken-").await;
        assert_eq!(woken.expect("listed").len(), 2);
        stack.retire().await;
    });
}

#[test]
fn o7_a_value_that_is_no_time_is_named_and_nothing_is_touched() {
    play(|stage| async move {
        let stack = Parked::new(
            stage,
            "unclear",
            Given {
                database: false,
                ..Given::default()
            },
        )
        .await;
        stack.set_tag("groundcrew:awake-until", "tomorrow").await;
        let evening = tick_well(stage, EVENING).await;
        let reason = stack.row(&evening)["reason"].to_string();
        assert!(
            reason.contains("groundcrew:awake-until") && reason.contains("tomorrow"),
            "{reason}"
        );
        assert!(stack.operations().is_empty());
        stack.retire().await;
    });
}

#[test]
fn o7_a_holiday_and_a_weekend_stay_parked() {
    play(|stage| async move {
        let stack = Parked::new(
            stage,
            "holiday",
            Given {
                database: false,
                ..Given::default()
            },
        )
        .await;
        for (now, sleeps) in [
            ("2026-11-25T20:00:00Z", true), // Wednesday
            ("2026-11-26T12:00:00Z", true), // the Thursday that is none
            ("2026-11-27T07:00:00Z", false),
            ("2026-11-27T20:00:00Z", true),
            ("2026-11-29T12:00:00Z", true), // Sunday
            ("2026-11-30T07:00:00Z", false),
        ] {
            tick_well(stage, now).await;
            match sleeps {
                true => stack.assert_asleep(now).await,
                false => {
                    stack.quiet().await;
                    stack.assert_awake(now).await;
                }
            }
        }
        assert_eq!(stack.count(OperationType::PauseService), 2);
        assert_eq!(stack.count(OperationType::ResumeService), 2);
        stack.retire().await;
    });
}

#[test]
fn o7_what_cannot_be_parked_and_what_is_not_ours_is_never_touched() {
    play(|stage| async move {
        let replicated = Parked::new(stage, "copied", Given::default()).await;
        let replica = stage.local.aws().rds().create_db_instance_read_replica();
        replica
            .db_instance_identifier("copied-staging-replica")
            .source_db_instance_identifier(&replicated.name)
            .send()
            .await
            .expect("a replica");
        let production = Parked::new(
            stage,
            "prized",
            Given {
                environment: "prod",
                ..Given::default()
            },
        )
        .await;
        let foreign = Parked::new(
            stage,
            "alien",
            Given {
                foreign: true,
                ..Given::default()
            },
        )
        .await;
        let before: Vec<_> = [&replicated, &production, &foreign]
            .map(|it| it.look().tags)
            .into();
        stage.local.clear_calls().await.expect("cleared");
        let evening = tick_well(stage, EVENING).await;
        let reason = replicated.row(&evening)["reason"].to_string();
        assert!(reason.contains("read replica"), "{reason}");
        for stack in [&production, &foreign] {
            assert!(stack.row(&evening).is_null(), "{}", stack.name);
        }
        for request in [
            json!({"action": "pause", "stack": replicated.name, "now": NIGHT}),
            json!({"action": "pause", "stack": production.name, "now": NIGHT}),
            json!({"action": "pause", "environment": "prod", "now": NIGHT}),
            json!({"action": "pause", "service": foreign.arn, "now": NIGHT}),
        ] {
            let end = stage.park(&request).await;
            let refused = end.error == "Invalid" || end.output["stacks"][0]["action"] == "leave";
            assert!(refused, "{request}: {end:#?}");
        }
        let after: Vec<_> = [&replicated, &production, &foreign]
            .map(|it| it.look().tags)
            .into();
        assert_eq!(before, after);
        assert_wrote_nothing(stage).await;
        replicated.retire().await;
    });
}

#[test]
fn o7_the_database_that_rds_starts_by_itself_is_stopped_again_and_nobody_is_told() {
    play(|stage| async move {
        let stack = Parked::new(stage, "seventh", Given::default()).await;
        tick_well(stage, EVENING).await;
        stack.assert_asleep("in the evening").await;
        // RDS's event is of the time that it is where this runs, which may be a day of work.
        let later = Timestamp::now() + 240.hours();
        stack
            .set_tag("groundcrew:parked-until", &later.to_string())
            .await;
        let notified = told(stage).await.len();
        stage.local.clear_calls().await.expect("cleared");
        let passed = stage.local.seven_days_pass(&stack.name).await;
        passed.expect("it was stopped");
        eventually("it is stopped again", async || {
            let calls = stage.local.calls().await.expect("the calls");
            let mut calls = calls.iter().filter(|call| call.error.is_none());
            calls
                .find(|call| call.action == "rds:StopDBInstance")
                .map(drop)
        })
        .await;
        stack.database_is("stopped").await;
        stack.assert_asleep("after seven days").await;
        assert_eq!(told(stage).await.len(), notified);
        stack.retire().await;
    });
}

/// A database of a stack whose service is gone.
async fn alone(stage: &Stage, app: &str) {
    let tags = [
        ("groundcrew:managed", "true"),
        ("groundcrew:app", app),
        ("groundcrew:environment", "staging"),
    ];
    let name = format!("{app}-staging");
    let database = stage.local.create_database(&name, &tags).await;
    database.expect("a database");
    stage.database_is(&name, Some("available")).await;
}

#[test]
fn o7_a_database_whose_service_is_gone_is_still_put_to_sleep_and_started_for_whoever_asks() {
    play(|stage| async move {
        alone(stage, "alone").await;
        let night = tick_well(stage, EVENING).await;
        let rows = night.output["stacks"].as_array();
        let is_seen = |row: &Value| row["stack"] == "alone-staging";
        assert!(
            rows.is_some_and(|rows| rows.iter().any(is_seen)),
            "{:?}",
            night.output
        );
        stage.database_is("alone-staging", Some("stopped")).await;
        // Nobody would use it in the morning.
        tick_well(stage, MORNING).await;
        assert_eq!(
            stage.database("alone-staging").await.as_deref(),
            Some("stopped")
        );
        let resume = json!({"action": "resume", "stack": "alone-staging", "now": MORNING});
        assert_succeeded(&stage.park(&resume).await);
        stage.database_is("alone-staging", Some("available")).await;
        assert_succeeded(
            &stage
                .teardown(&json!({"app": "alone", "environment": "staging"}))
                .await,
        );
    });
}

#[test]
fn o6_a_deployment_that_is_under_way_ends_before_its_service_is_paused() {
    play(|stage| async move {
        let stack = Parked::new(
            stage,
            "delivering",
            Given {
                database: false,
                ..Given::default()
            },
        )
        .await;
        stack.next("UPDATE_SERVICE", json!({"takes": 4.0}));
        let newest = stage.local.push_image(&stack.name, "latest", "amd64").await;
        stack
            .eventually(|seen| seen.status == ServiceStatus::OperationInProgress)
            .await;
        let evening = tick_well(stage, EVENING).await;
        let reason = stack.row(&evening)["reason"].to_string();
        assert!(reason.contains("ends first"), "{reason}");
        stack.assert_asleep("after the deployment").await;
        let succeeded = |kind| (kind, OperationStatus::Succeeded);
        assert_eq!(
            stack.operations(),
            [
                succeeded(OperationType::UpdateService),
                succeeded(OperationType::PauseService)
            ]
        );
        assert_eq!(stack.look().runs.image_digest, newest.ok());
        stack.retire().await;
    });
}

#[test]
fn o8_a_deployment_is_watched_to_its_end_before_the_alarms_fall_silent() {
    play(|stage| async move {
        let given = Given {
            database: false,
            ..Given::default()
        };
        let stack = Parked::new(stage, "watched", given).await;
        stack.set_tag("groundcrew:deploy-policy", "bake=10").await;
        let newest = stage.local.push_image(&stack.name, "latest", "amd64").await;
        let newest = newest.expect("pushed");
        stack
            .eventually(|seen| {
                seen.runs.image_digest.as_ref() == Some(&newest)
                    && seen.status == ServiceStatus::Running
            })
            .await;
        let evening = async { tick_well(stage, EVENING).await };
        let watched = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            stack.assert_awake("while it is watched").await;
            assert_eq!(stack.tag("groundcrew:parked"), None);
        };
        tokio::join!(evening, watched);
        stack.assert_asleep("after the watch").await;
        assert_eq!(stack.count(OperationType::PauseService), 1);
        stack.retire().await;
    });
}

#[test]
fn o6_what_a_person_paused_or_woke_is_left_to_that_person() {
    play(|stage| async move {
        let given = || Given {
            database: false,
            ..Given::default()
        };
        let (paused, woken) = (
            Parked::new(stage, "by-hand", given()).await,
            Parked::new(stage, "insomniac", given()).await,
        );
        paused.pause_by_hand().await;
        tick_well(stage, EVENING).await;
        woken.assert_asleep("in the evening").await;
        woken.resume_by_hand().await;
        woken.quiet().await;
        for now in [NIGHT, MORNING] {
            let end = tick_well(stage, now).await;
            let row = paused.row(&end);
            assert_eq!(row["action"], "leave", "{row}");
            assert!(row["reason"].to_string().contains("by hand"), "{row}");
            assert_eq!(paused.look().status, ServiceStatus::Paused, "{now}");
            assert_eq!(woken.look().status, ServiceStatus::Running, "{now}");
        }
        woken.quiet().await;
        woken.assert_awake("in the morning").await;
        assert_eq!(woken.tag("groundcrew:parked").as_deref(), Some("none"));
        paused.retire().await;
        woken.retire().await;
    });
}

#[test]
fn o6_a_wish_by_hand_holds_until_it_ends_and_the_last_one_wins() {
    play(|stage| async move {
        let stack = Parked::new(stage, "wished", Given::default()).await;
        let wish =
            |action: &str, now: &str| json!({"action": action, "stack": stack.name, "now": now});
        // Parked by hand at noon, until the next morning.
        let noon = "2026-11-23T12:00:00Z";
        assert_succeeded(&stage.park(&wish("pause", noon)).await);
        stack.assert_asleep("by hand").await;
        tick_well(stage, "2026-11-23T15:00:00Z").await;
        stack.assert_asleep("looked at by day").await;
        // Woken twice at night, until the next evening.
        let (one, other) =
            tokio::join!(async { stage.park(&wish("resume", NIGHT)).await }, async {
                stage.park(&wish("resume", NIGHT)).await
            });
        assert_succeeded(&one);
        assert_succeeded(&other);
        stack.quiet().await;
        stack.assert_awake("woken at night").await;
        assert_eq!(stack.count(OperationType::ResumeService), 1);
        tick_well(stage, "2026-11-24T03:00:00Z").await;
        stack.assert_awake("looked at by night").await;
        tick_well(stage, NEXT_EVENING).await;
        stack.assert_asleep("the wish has ended").await;
        // Parked while it is being woken: the last wish wins.
        let night = "2026-11-25T02:00:00Z";
        let resume = async { stage.park(&wish("resume", night)).await };
        let pause = async {
            stack.database_is("starting").await;
            stage.park(&wish("pause", night)).await
        };
        let (resumed, paused) = tokio::join!(resume, pause);
        assert_succeeded(&resumed);
        assert_succeeded(&paused);
        stack.quiet().await;
        stack.assert_asleep("the last wish").await;
        stack.retire().await;
    });
}

#[test]
fn o6_a_wish_by_hand_holds_although_somebody_removes_its_tag() {
    play(|stage| async move {
        let stack = Parked::new(stage, "insisted", Given::default()).await;
        let wish = json!({"action": "resume", "stack": stack.name, "until": "2026-11-24T02:00:00Z", "now": "2026-11-23T12:00:00Z"});
        assert_succeeded(&stage.park(&wish).await);
        let identity = [
            "groundcrew:app",
            "groundcrew:environment",
            "groundcrew:managed",
        ];
        stack.keeps_only(&identity).await;
        tick_well(stage, EVENING).await;
        stack.assert_awake("the wish holds").await;
        tick_well(stage, "2026-11-24T02:30:00Z").await;
        stack.assert_asleep("the wish has ended").await;
        stack.retire().await;
    });
}

#[test]
fn o8_a_database_that_does_not_come_up_keeps_its_service_parked_and_is_told_once() {
    play(|stage| async move {
        let broken = Parked::new(stage, "broken", Given::default()).await;
        let well = Parked::new(
            stage,
            "healthy",
            Given {
                database: false,
                ..Given::default()
            },
        )
        .await;
        tick_well(stage, EVENING).await;
        broken.assert_asleep("in the evening").await;
        let notified = told(stage).await.len();
        let untold = untold_ends(stage).await.len();
        let fault = Fault {
            service: "rds".into(),
            operation: "StartDBInstance".into(),
            kind: FaultKind::Fails,
            times: 1,
            seconds: 0.0,
        };
        stage.local.add_fault(&fault).await.expect("arranged");
        let morning = tick(stage, MORNING).await;
        assert_eq!(morning.error, "NotAllDone", "{morning:#?}");
        assert_eq!(broken.look().status, ServiceStatus::Paused);
        assert!(broken.alarm_tells().await, "its alarms are on by day");
        well.quiet().await;
        well.assert_awake("the other one").await;
        assert_eq!(
            told(stage).await[notified..],
            ["broken-staging: could not be woken"]
        );
        let again = tick(stage, "2026-11-24T07:30:00Z").await;
        assert_eq!(again.error, "NotAllDone", "{again:#?}");
        assert!(
            again.message.contains("database broken-staging is failed"),
            "{}",
            again.message
        );
        assert_eq!(told(stage).await.len(), notified + 1, "told once");
        assert_eq!(
            untold_ends(stage).await.len(),
            untold,
            "and by itself alone"
        );
        broken.retire().await;
        well.retire().await;
    });
}

/// One that waits, and one that fails meanwhile.
#[test]
fn o8_a_stack_that_fails_is_told_at_once_while_another_still_waits_and_no_look_does_the_same_twice()
{
    play(|stage| async move {
        let stacks = [
            Parked::new(stage, "hanging", Given::default()).await,
            Parked::new(stage, "failing", Given::default()).await,
        ];
        tick_well(stage, EVENING).await;
        let notified = told(stage).await.len();
        for kind in [FaultKind::Stuck, FaultKind::Fails] {
            let fault = Fault {
                service: "rds".into(),
                operation: "StartDBInstance".into(),
                kind,
                times: 1,
                seconds: 0.0,
            };
            stage.local.add_fault(&fault).await.expect("arranged");
        }
        let machine = stage.output("ParkStateMachineArn");
        let look = async |now: &str| {
            let look = json!({"action": "follow-schedule", "now": now});
            let started = stage.local.start_execution(machine, &name(), &look).await;
            let end = started.expect("it starts").end().await.expect("it ends");
            assert_succeeded(&end);
            end
        };
        assert_eq!(look(MORNING).await.output["started"], 2);
        eventually("one is told", async || {
            (told(stage).await.len() > notified).then_some(())
        })
        .await;
        let works = async || {
            let listed = stage.local.executions(machine, "").await.expect("listed");
            listed
                .into_iter()
                .filter(Execution::ran)
                .collect::<Vec<_>>()
        };
        eventually("one is at work", async || {
            (works().await.len() == 1).then_some(())
        })
        .await;
        let half_an_hour_later = look("2026-11-24T07:30:00Z").await;
        let rows = stacks
            .each_ref()
            .map(|stack| stack.row(&half_an_hour_later));
        let is_waited_for = |row: &&Value| row["reason"].to_string().contains("is at work on it");
        assert_eq!(rows.iter().filter(is_waited_for).count(), 1, "{rows:#?}");
        assert_eq!(half_an_hour_later.output["started"], 1);
        for execution in works().await {
            let stopped = stage.local.aws().sfn().stop_execution();
            let stopped = stopped.execution_arn(execution.arn()).send().await;
            stopped.expect("stopped");
        }
        for stack in stacks {
            stack.retire().await;
        }
    });
}

#[test]
fn o6_a_service_that_cannot_be_looked_at_stops_no_other_and_is_told_to_whoever_asks() {
    play(|stage| async move {
        let given = || Given {
            environment: "dev",
            database: false,
            ..Given::default()
        };
        let hidden = Parked::new(stage, "hidden", given()).await;
        let other = Parked::new(stage, "visible", given()).await;
        let iam = stage.local.aws().iam();
        let roles = iam.list_roles().send().await.expect("listed").roles;
        let mut roles = roles.into_iter().map(|role| role.role_name);
        let role = roles.find(|name| name.contains("ParkFunctionRole"));
        let role = role.expect("a role");
        // As a service control policy may.
        let denies = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Deny", "Action": "apprunner:DescribeService", "Resource": hidden.arn,
        }]});
        let put = iam.put_role_policy().role_name(&role).policy_name("denies");
        let put = put.policy_document(denies.to_string()).send().await;
        put.expect("it denies");
        let notified = told(stage).await.len();
        // No look tells of it at this hour, for nothing remembers that it was told.
        let evening = tick(stage, EVENING).await;
        assert_eq!(evening.error, "NotAllDone", "{evening:#?}");
        assert!(
            evening
                .message
                .contains("hidden-dev: it could not be looked at"),
            "{}",
            evening.message
        );
        other
            .eventually(|seen| seen.status == ServiceStatus::Paused)
            .await;
        assert_eq!(hidden.look().status, ServiceStatus::Running);
        assert_eq!(told(stage).await.len(), notified);
        let resume = json!({"action": "resume", "environment": "dev", "now": NIGHT});
        assert_eq!(stage.park(&resume).await.error, "NotAllDone");
        assert_eq!(
            told(stage).await[notified..],
            ["hidden-dev: could not be looked at"]
        );
        other
            .eventually(|seen| seen.status == ServiceStatus::Running)
            .await;
        let deleted = iam.delete_role_policy().role_name(&role);
        let deleted = deleted.policy_name("denies").send().await;
        deleted.expect("as before");
        other.quiet().await;
        hidden.retire().await;
        other.retire().await;
    });
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    play(|stage| async move {
        let stack = Parked::new(stage, "rehearsed", Given::default()).await;
        let tags = stack.look().tags;
        stage.local.clear_calls().await.expect("cleared");
        let of_stack = |action: &str| json!({"action": action, "stack": stack.name, "now": NIGHT, "dry_run": true});
        let look = json!({"action": "follow-schedule", "now": EVENING, "dry_run": true});
        for (request, action) in [
            (look, "pause"),
            (of_stack("pause"), "pause"),
            (of_stack("resume"), "leave"),
        ] {
            let end = stage.park(&request).await;
            assert_succeeded(&end);
            let row = stack.row(&end);
            assert_eq!(row["action"], action, "{row}");
        }
        assert_wrote_nothing(stage).await;
        assert_eq!(stack.look().tags, tags);
        stack.assert_awake("as before").await;
        stack.retire().await;
    });
}

#[test]
fn o7_a_rotation_that_would_find_a_stopped_database_is_said() {
    play(|stage| async move {
        let secrets = stage.local.aws().secrets_manager();
        let secret = stage.secret("rotated").await;
        let stack = Parked::new(
            stage,
            "rotating",
            Given {
                secrets: &[("PASSWORD", &secret)],
                ..Given::default()
            },
        )
        .await;
        let rules = RotationRulesType::builder().automatically_after_days(30);
        let rotate = secrets.rotate_secret().secret_id(&secret);
        let rotate = rotate.rotation_rules(rules.build()).send().await;
        rotate.expect("it is rotated");
        stack.quiet().await;
        let described = secrets.describe_secret().secret_id(&secret).send().await;
        let next = described.expect("described").next_rotation_date;
        let next = Timestamp::from_second(next.expect("a date").secs()).expect("a time");
        for (until, is_said) in [(next + 1.hour(), true), (next - 1.hour(), false)] {
            let pause = json!({
                "action": "pause", "stack": stack.name, "dry_run": true,
                "now": next - 2.hours(), "until": until,
            });
            let row = stack.row(&stage.park(&pause).await);
            // By night it lasts to the morning at least.
            let sleeps_on =
                row["sleep"]["until"].as_str().expect("a time") > next.to_string().as_str();
            let said = row["rotations"].to_string();
            assert_eq!(
                said.contains("the secret rotated"),
                is_said || sleeps_on,
                "{row}"
            );
        }
        stack.retire().await;
    });
}

#[test]
fn a_database_that_hangs_ends_the_wait_with_what_it_was_waited_for() {
    play(|stage| async move {
        let (stops, starts) = (
            Parked::new(stage, "never-down", Given::default()).await,
            Parked::new(stage, "never-up", Given::default()).await,
        );
        let by_hand = |action: &str, stack: &Parked<'_>| json!({"action": action, "stack": stack.name, "now": NIGHT});
        assert_succeeded(&stage.park(&by_hand("pause", &starts)).await);
        let notified = told(stage).await.len();
        for operation in ["StopDBInstance", "StartDBInstance"] {
            let fault = Fault {
                service: "rds".into(),
                operation: operation.into(),
                kind: FaultKind::Stuck,
                times: 1,
                seconds: 0.0,
            };
            stage.local.add_fault(&fault).await.expect("arranged");
        }
        let (pause, resume) = (by_hand("pause", &stops), by_hand("resume", &starts));
        let (paused, resumed) = tokio::join!(stage.park(&pause), stage.park(&resume));
        for (end, stack, waited_for) in [
            (
                &paused,
                &stops,
                "database never-down-staging, which is stopping, is not ready yet",
            ),
            (
                &resumed,
                &starts,
                "database never-up-staging, which is starting, is not ready yet",
            ),
        ] {
            assert_eq!(end.error, "NotAllDone", "{end:#?}");
            assert!(end.message.contains(waited_for), "{}", end.message);
            assert_eq!(stack.look().status, ServiceStatus::Paused, "{waited_for}");
        }
        assert!(!stops.alarm_tells().await && starts.alarm_tells().await);
        let mut told = told(stage).await.split_off(notified);
        told.sort();
        assert_eq!(
            told,
            [
                "never-down-staging: could not be parked",
                "never-up-staging: could not be woken"
            ]
        );
        stops.retire().await;
        starts.retire().await;
    });
}

#[test]
fn o6_two_services_of_a_stack_sleep_and_wake_together() {
    play(|stage| async move {
        let shop = Parked::new(stage, "paired", Given::default()).await;
        let worker = Given {
            name: Some("paired-worker"),
            database: false,
            ..Given::default()
        };
        let worker = Parked::new(stage, "paired", worker).await;
        tick_well(stage, EVENING).await;
        shop.assert_asleep("in the evening").await;
        worker.assert_asleep("in the evening").await;
        // The other is still asleep, and so is the database.
        let resume = json!({"action": "resume", "service": worker.name, "now": NIGHT});
        assert_succeeded(&stage.park(&resume).await);
        shop.quiet().await;
        worker.quiet().await;
        shop.assert_awake("with the other").await;
        worker.assert_awake("by hand").await;
        shop.retire().await;
        worker.retire().await;
    });
}

#[test]
fn o6_what_sleeps_is_woken_although_its_environment_no_longer_does() {
    play(|stage| async move {
        let given = Given {
            environment: "prod",
            ..Given::default()
        };
        let stack = Parked::new(stage, "sleepless", given).await;
        // As it was left behind when the list of environments had it.
        let aws = stage.local.aws();
        let alarms = aws.cloudwatch().disable_alarm_actions();
        let alarms = alarms
            .alarm_names("sleepless-prod-latency-groundcrew")
            .send()
            .await;
        alarms.expect("off");
        let paused = aws.apprunner().pause_service().service_arn(&stack.arn);
        paused.send().await.expect("paused");
        stack
            .eventually(|seen| seen.status == ServiceStatus::Paused)
            .await;
        stack.set_tag("groundcrew:parked", EVENING).await;
        let stopped = aws.rds().stop_db_instance();
        let stopped = stopped.db_instance_identifier(&stack.name).send().await;
        stopped.expect("stopped");
        stack.database_is("stopped").await;
        tick_well(stage, NIGHT).await;
        stack.quiet().await;
        stack.assert_awake("at night").await;
        stack.retire().await;
    });
}

#[test]
fn what_the_schedule_cannot_start_is_kept_as_a_dead_letter_and_each_new_loss_is_told() {
    play(|stage| async move {
        let (from, until) = ("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z");
        let schedules = stage.local.schedules(from, until).await.expect("listed");
        let mut of_park = schedules.iter().filter(|it| it.name.ends_with("-park"));
        let schedule = of_park.next().expect("a schedule");
        let refused = Fault {
            service: "states".into(),
            operation: "StartExecution".into(),
            kind: FaultKind::Error,
            times: 1000,
            seconds: 0.0,
        };
        stage.local.add_fault(&refused).await.expect("arranged");
        let queue = stage.outputs.get("DeadLettersArn").expect("an output");
        let fired = stage.local.fire_schedule(&schedule.name, EVENING).await;
        fired.expect("it fires");
        let letter = eventually("a dead letter", async || {
            let letters = stage.local.messages(queue).await.expect("listed");
            letters.into_iter().find(|it| it.body.contains(EVENING))
        });
        let letter = letter.await;
        // Nothing else is lost meanwhile.
        stage.local.clear_faults().await.expect("cleared");
        // The queue is not emptied, and what is lost later is told all the same.
        let alarm = "DeadLettersAlarm";
        eventually("it is told", async || {
            (rung(stage, alarm).await > 0).then_some(())
        })
        .await;
        let first = rung(stage, alarm).await;
        eventually("the alarm is over", async || {
            let described = stage
                .local
                .aws()
                .cloudwatch()
                .describe_alarms()
                .send()
                .await;
            let alarms = described
                .expect("described")
                .metric_alarms
                .unwrap_or_default();
            let is_over = |it: &MetricAlarm| {
                it.alarm_name().is_some_and(|name| name.contains(alarm))
                    && it.state_value() == Some(&StateValue::Ok)
            };
            alarms.iter().any(is_over).then_some(())
        })
        .await;
        stage.local.add_fault(&refused).await.expect("arranged");
        let fired = stage
            .local
            .fire_schedule(&schedule.name, NEXT_EVENING)
            .await;
        fired.expect("it fires");
        eventually("the next is told", async || {
            (rung(stage, alarm).await > first).then_some(())
        })
        .await;
        stage.local.clear_faults().await.expect("cleared");
        assert_eq!(letter.attributes["ERROR_CODE"], "InternalServerException");
        // Not later than the next look, which knows better.
        assert_eq!(
            letter.attributes["EXHAUSTED_RETRY_CONDITION"],
            "MaximumEventAgeInSeconds"
        );
    });
}

#[test]
fn o8_an_alarm_of_a_database_that_turned_red_in_the_night_tells_in_the_morning() {
    play(|stage| async move {
        let stack = Parked::new(stage, "reddening", Given::default()).await;
        let of_database = eventually("an alarm of its database", async || {
            stack.alarms().await.into_iter().find(is_of_database)
        });
        let alarm = of_database.await.alarm_name.expect("a name");
        tick_well(stage, EVENING).await;
        stack.assert_asleep("in the evening").await;
        stack.turn(&alarm, StateValue::Alarm).await;
        tick_well(stage, NIGHT).await;
        assert_eq!(rung(stage, &alarm).await, 0, "it is night");
        tick_well(stage, MORNING).await;
        eventually("it tells", async || {
            (rung(stage, &alarm).await > 0).then_some(())
        })
        .await;
        stack.quiet().await;
        stack.assert_awake("in the morning").await;
        assert_eq!(rung(stage, &alarm).await, 1, "once");
        stack.retire().await;
    });
}

#[test]
fn an_end_that_its_execution_does_not_tell_of_is_told_once_by_its_name_and_without_its_cause() {
    play(|stage| async move {
        let before = untold_ends(stage).await.len();
        let new = async |count: usize| {
            eventually("it is told", async || {
                let told = untold_ends(stage).await.split_off(before);
                (told.len() >= count).then_some(told)
            })
            .await
        };
        // A payload that is refused.
        let refused = stage
            .deploy(&json!({"service": "shop-dev", "hush": "hush"}))
            .await;
        assert_eq!(refused.error, "Invalid", "{refused:#?}");
        let told = new(1).await;
        assert!(
            told[0].contains("FAILED") && told[0].contains("get-execution-history"),
            "{told:?}"
        );
        assert!(!told[0].contains("hush"), "{told:?}");
        // An execution that somebody stops.
        let machine = stage.output("SweepStateMachineArn");
        let name = format!("stopped-{}", name());
        let sweep = stage
            .local
            .start_execution(machine, &name, &json!({}))
            .await;
        let sweep = sweep.expect("it starts");
        let stopped = stage.local.aws().sfn().stop_execution();
        let stopped = stopped.execution_arn(sweep.arn()).send().await;
        stopped.expect("stopped");
        let told = new(2).await;
        assert!(
            told[1].contains(&name) && told[1].contains("ABORTED"),
            "{told:?}"
        );
        assert_eq!(told.len(), 2, "{told:?}");
    });
}

#[test]
fn o8_an_alarm_that_is_gone_does_not_keep_the_others_from_falling_silent() {
    play(|stage| async move {
        let given = Given {
            database: false,
            ..Given::default()
        };
        let stack = Parked::new(stage, "alarming", given).await;
        let tags = [
            ("groundcrew:managed", "true"),
            ("groundcrew:app", "alarming"),
            ("groundcrew:environment", "staging"),
        ];
        let deleted = stage
            .local
            .index_deleted_alarm("alarming-staging-of-before", &tags);
        deleted.await.expect("listed");
        tick_well(stage, EVENING).await;
        stack.assert_asleep("in the evening").await;
        tick_well(stage, MORNING).await;
        stack.quiet().await;
        stack.assert_awake("in the morning").await;
        stack.retire().await;
    });
}

#[test]
fn o6_the_schedule_looks_every_half_hour_also_when_clocks_change() {
    play(|stage| async move {
        let stack = Parked::new(
            stage,
            "on-time",
            Given {
                database: false,
                ..Given::default()
            },
        )
        .await;
        let (from, until) = ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
        let schedules = stage.local.schedules(from, until).await.expect("listed");
        let mut of_park = schedules.iter().filter(|it| it.name.ends_with("-park"));
        let schedule = of_park.next().expect("a schedule");
        assert_eq!(schedule.fires.len(), 48);
        let machine = stage.outputs.get("ParkStateMachineArn").expect("an output");
        let before = stage.local.executions(machine, "").await.expect("listed");
        let fired = stage.local.fire_schedule(&schedule.name, EVENING).await;
        fired.expect("it fires");
        stack
            .eventually(|seen| seen.status == ServiceStatus::Paused)
            .await;
        let mut started = stage.local.executions(machine, "").await.expect("listed");
        // The look, and what it started for the stack.
        assert_eq!(started.len(), before.len() + 2);
        for execution in started.split_off(before.len()) {
            assert_succeeded(&execution.end().await.expect("it ends"));
        }
        stack.assert_asleep("by the schedule").await;
        stack.retire().await;
    });
}

/// What a night takes of AWS is counted by `cargo measure nights`, of fifty stacks as well.
#[test]
fn a_night_of_one_stack_and_of_ten_is_played() {
    play(|stage| async move {
        let mut stacks = Vec::new();
        // Each on a day of its own: a look at a moment that was looked at starts nothing twice.
        let second = [NEXT_EVENING, "2026-11-25T02:00:00Z", "2026-11-25T07:00:00Z"];
        for (size, [evening, night, morning]) in [(1, [EVENING, NIGHT, MORNING]), (10, second)] {
            let given = || Given {
                environment: "dev",
                ..Given::default()
            };
            let apps: Vec<_> = (stacks.len()..size).map(|n| format!("fleet{n}")).collect();
            let mut coming = JoinSet::new();
            let here = LocalSet::new();
            for app in apps {
                let new = async move { Parked::new(stage, &app, given()).await };
                coming.spawn_local_on(new, &here);
            }
            let new = here.run_until(coming.join_all()).await;
            stacks.extend(new);
            for (what, now) in [("park", evening), ("look", night), ("wake", morning)] {
                tick_well(stage, now).await;
                for stack in &stacks {
                    if what == "wake" {
                        stack.quiet().await;
                        stack.assert_awake(what).await;
                    } else {
                        stack.assert_asleep(what).await;
                    }
                }
            }
        }
        for stack in stacks {
            stack.retire().await;
        }
    });
}

#[test]
fn the_role_of_park_grants_exactly_the_actions_that_its_function_calls() {
    play(|stage| async move {
        let secret = stage.secret("granted").await;
        let stack = Parked::new(
            stage,
            "granted",
            Given {
                secrets: &[("PASSWORD", &secret)],
                ..Given::default()
            },
        )
        .await;
        alone(stage, "single").await;
        stage.local.clear_calls().await.expect("cleared");
        let database = format!("arn:aws:rds:us-east-1:123456789012:db:{}", stack.name);
        let tag = aws_sdk_rds::types::Tag::builder()
            .key("groundcrew:awake-until")
            .value(MORNING)
            .build();
        let tagged = stage.local.aws().rds().add_tags_to_resource();
        tagged
            .resource_name(database)
            .tags(tag)
            .send()
            .await
            .expect("tagged");
        let gone = "arn:aws:states:us-east-1:123456789012:stateMachine:gone-deploy";
        stack.set_tag("groundcrew:installation", gone).await;
        tick_well(stage, EVENING).await;
        stack.assert_awake("its database is kept awake").await;
        stack.next("UPDATE_SERVICE", json!({"takes": 4.0}));
        stage
            .local
            .push_image(&stack.name, "latest", "amd64")
            .await
            .expect("pushed");
        stack
            .eventually(|seen| seen.status == ServiceStatus::OperationInProgress)
            .await;
        let pause = json!({"action": "pause", "environment": "staging", "now": NIGHT});
        assert_succeeded(&stage.park(&pause).await);
        stack
            .assert_asleep("a wish overrules the tag of the database")
            .await;
        // An alarm of the database is red when its actions go on.
        let alarms = stack.alarms().await;
        let red = alarms.iter().find(|alarm| is_of_database(alarm));
        let red = red.and_then(MetricAlarm::alarm_name).expect("an alarm");
        stack.turn(red, StateValue::Alarm).await;
        tick_well(stage, MORNING).await;
        stack.quiet().await;

        stage.assert_grants_what_it_calls("ParkFunction").await;
        stack.retire().await;
        assert_succeeded(
            &stage
                .teardown(&json!({"app": "single", "environment": "staging"}))
                .await,
        );
    });
}
