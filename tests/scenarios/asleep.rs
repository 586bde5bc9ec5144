//! `provision` at night and while a stack sleeps, over the deployed template with IAM enforced. It goes by the clock, so the stage is
//! in a time zone where it is night now.

use crate::stage::{
    Service, Stage, assert_succeeded, eventually, name, play, play_alone, spec, touched,
};
use apprunner_emulator::{OperationStatus, OperationType, ServiceStatus};
use groundcrew::{Error, Run, Spec};
use jiff::{Timestamp, ToSpan};
use provision::Resource;
use rehearsal::{Call, End, What};
use serde_json::{Value, json};
use std::future::Future;

/// Plays where it is the first hour after midnight: every day is a day of work, whose night ends at seven.
fn at_night<F: Future>(scenario: impl FnOnce(&'static Stage) -> F) -> F::Output {
    let hour = Timestamp::now().as_second().rem_euclid(24 * 3600) / 3600;
    // The names count westwards, and reach from twelve hours behind to fourteen before.
    let zone = match hour {
        0 => "UTC".to_owned(),
        1..=12 => format!("Etc/GMT+{hour}"),
        hour => format!("Etc/GMT-{}", 24 - hour),
    };
    let parameters = [
        ("SleepingEnvironments", "dev"),
        ("SleepTimeZone", zone.as_str()),
        ("AwakeDays", "MON-SUN"),
    ];
    play_alone(&parameters, scenario)
}

/// A look of the schedule at what is now.
async fn tick(stage: &Stage) -> End {
    let end = stage.park(&json!({"action": "follow-schedule"})).await;
    assert_succeeded(&end);
    end
}

/// What a look says of a stack.
fn row(end: &End, stack: &str) -> Value {
    let rows = end.output["stacks"].as_array().expect("rows").iter();
    let mut found = rows.filter(|row| row["stack"] == stack);
    found.next().cloned().unwrap_or_default()
}

/// Parks a stack.
async fn park(stage: &Stage, stack: &str) {
    tick(stage).await;
    assert_asleep(stage, stack).await;
}

async fn assert_asleep(stage: &Stage, stack: &str) {
    let service = Service::named(stage, stack);
    assert_eq!(service.look().status, ServiceStatus::Paused, "{stack}");
    let database = stage.database(stack).await;
    assert_eq!(database.as_deref(), Some("stopped"), "{stack}");
    let alarms = service.alarms().await;
    let tells = alarms.iter().any(|it| it.actions_enabled() == Some(true));
    assert!(!tells, "{stack}: an alarm tells");
}

/// Stops a database as a person does; it has begun when this is over.
async fn stop_by_hand(stage: &Stage, name: &str) {
    let stopped = stage.local.aws().rds().stop_db_instance();
    let stopped = stopped.db_instance_identifier(name).send().await;
    stopped.expect("accepted");
}

async fn assert_wrote_nothing(stage: &Stage) {
    let calls = stage.local.calls_of_functions().await;
    let mut writes = calls.expect("the calls");
    writes.retain(Call::writes);
    assert!(writes.is_empty(), "{writes:#?}");
}

fn dry(spec: &Value) -> Value {
    let mut plan = spec.clone();
    plan["dry_run"] = json!(true);
    plan
}

fn woken(spec: &Value) -> Value {
    let mut woken = spec.clone();
    woken["wake"] = json!(true);
    woken
}

fn says(end: &End) -> &str {
    end.output["sleeps"]["says"].as_str().unwrap_or_default()
}

fn waits(end: &End) -> Vec<&str> {
    let waits = end.output["waits"].as_array().expect("a list").iter();
    waits.filter_map(Value::as_str).collect()
}

#[test]
fn a_new_stack_that_is_built_at_night_answers_before_park_takes_it_and_the_report_says_when_that_is()
 {
    at_night(|stage| async move {
        let spec = spec("nocturnal");
        let plan = stage.provision(&dry(&spec)).await;
        assert_succeeded(&plan);
        assert!(says(&plan).contains("within half an hour"), "{plan:#?}");

        let building = stage.provision(&spec);
        let looks = async {
            let mut reasons = Vec::new();
            loop {
                let row = row(&tick(stage).await, "nocturnal-dev");
                reasons.extend(row["reason"].as_str().map(str::to_owned));
                assert!(row.is_null() || row["action"] == "leave", "{row}");
                let services = stage.local.apprunner().snapshot().services;
                let runs = |it: &apprunner_emulator::ServiceSnapshot| {
                    it.name == "nocturnal-dev" && it.status == ServiceStatus::Running
                };
                if services.iter().any(runs) {
                    return reasons;
                }
            }
        };
        let (end, reasons) = tokio::join!(building, looks);
        assert_succeeded(&end);
        let builds = |reason: &String| reason.starts_with("provision builds or changes it");
        assert!(reasons.iter().any(builds), "{reasons:#?}");
        assert_eq!(end.output["health"]["status"], 200);
        let service = Service::named(stage, "nocturnal-dev");
        assert_eq!(service.count(OperationType::PauseService), 0);
        assert_eq!(end.output["sleeps"]["asleep"], false);
        assert!(end.output["sleeps"]["until"].is_string(), "{end:#?}");
        assert!(
            says(&end).contains("within half an hour, until"),
            "{end:#?}"
        );
        service.quiet().await;
        park(stage, "nocturnal-dev").await;
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn park_takes_a_stack_at_the_look_after_the_end_of_provision_whether_it_succeeded_or_was_stopped() {
    at_night(|stage| async move {
        let mut spec = spec("busy");
        spec["environment"] = json!("dev");
        assert_succeeded(&stage.provision(&spec).await);
        let service = Service::named(stage, "busy-dev");
        service.quiet().await;
        // It waits for an image, and has changed nothing.
        spec["image"] = json!({"tag": "prefix:next-", "wait_minutes": 1440});
        let machine = stage.output("ProvisionStateMachineArn");
        let starts = async || {
            let started = stage.local.start_execution(machine, &name(), &spec).await;
            let started = started.expect("it starts");
            eventually("it is listed as running", async || {
                let listed = stage.local.executions(machine, "").await.expect("listed");
                let mut running = listed.iter().filter(|it| it.ran());
                running.next().map(drop)
            })
            .await;
            started
        };
        let first = starts().await;
        let left = row(&tick(stage).await, "busy-dev");
        assert_eq!(left["action"], "leave", "{left}");
        let reason = left["reason"].as_str().expect("a reason");
        assert!(
            reason.starts_with("provision builds or changes it"),
            "{left}"
        );
        // A person's wish is written down, and fulfilled later.
        let pause = json!({"action": "pause", "stack": "busy-dev"});
        let wish = stage.park(&pause).await;
        assert_succeeded(&wish);
        assert_eq!(service.count(OperationType::PauseService), 0);
        assert!(service.tag("groundcrew:parked-until").is_some());
        // A plan holds nobody; and an execution that is stopped is over.
        let stopped = stage.local.aws().sfn().stop_execution();
        let stopped = stopped.execution_arn(first.arn()).send().await;
        stopped.expect("stopped");
        first.end().await.expect("it ends");
        park(stage, "busy-dev").await;
        let resume = json!({"action": "resume", "stack": "busy-dev"});
        assert_succeeded(&stage.park(&resume).await);
        service.quiet().await;

        let second = starts().await;
        assert_succeeded(&stage.park(&pause).await);
        assert_eq!(service.look().status, ServiceStatus::Running);
        let pushed = stage.local.push_image("busy-dev", "next-1", "amd64").await;
        pushed.expect("pushed");
        assert_succeeded(&second.end().await.expect("it ends"));
        service.quiet().await;
        park(stage, "busy-dev").await;
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn on_a_sleeping_stack_the_same_spec_changes_nothing_a_changed_one_names_what_waits_and_wake_does_it_at_once()
 {
    at_night(|stage| async move {
        let mut spec = spec("sleeper");
        spec["service"]["xray"] = json!(true);
        spec["service"]["secrets"] = json!({"PASSWORD": "database:password"});
        assert_succeeded(&stage.provision(&spec).await);
        let service = Service::named(stage, "sleeper-dev");
        service.quiet().await;
        park(stage, "sleeper-dev").await;

        // The same spec, and a plan of it.
        let before = stage.world().await;
        stage.local.clear_calls().await.expect("cleared");
        let same = stage.provision_without_image(&spec).await;
        let plan = stage.provision_without_image(&dry(&spec)).await;
        for end in [&same, &plan] {
            assert_succeeded(end);
            assert_eq!(end.output["sleeps"]["asleep"], true, "{end:#?}");
            assert!(says(end).contains("asleep: it is night until"), "{end:#?}");
            assert_eq!(
                end.output["sleeps"]["until"],
                same.output["sleeps"]["until"]
            );
            assert_eq!((waits(end), &end.output["next"]), (vec![], &Value::Null));
        }
        assert_eq!(touched(&same), Vec::<String>::new());
        let note = "not asked: the service is paused";
        assert_eq!(same.output["health"]["note"], note);
        assert_wrote_nothing(stage).await;
        assert_eq!(before.differences(&stage.world().await), [""; 0]);

        // Another one: in each resource something else.
        spec["service"]["variables"] = json!({"LOG_LEVEL": "debug"});
        spec["service"]["scaling"] = json!({"max_size": 7});
        spec["service"]["secrets"] = json!({});
        spec["service"]["xray"] = json!(false);
        spec["database"] = json!({"storage_gib": 40});
        spec["image"] = json!({"keep": 5});
        spec["deploy"] = json!({"bake_minutes": 3});
        spec["alarms"] = json!({"latency_milliseconds": 900});
        let expected = [
            "role sleeper-dev-instance-us-east-1: what it may do",
            "database sleeper-dev: storage 20 → 40",
            "service sleeper-dev: variables, secrets, observability, auto scaling",
        ];
        stage.local.clear_calls().await.expect("cleared");
        let plan = stage.provision_without_image(&dry(&spec)).await;
        assert_wrote_nothing(stage).await;
        let first = stage.provision_without_image(&spec).await;
        let again = stage.provision_without_image(&spec).await;
        for end in [&plan, &first, &again] {
            assert_succeeded(end);
            assert_eq!(waits(end), expected, "{end:#?}");
            let next = end.output["next"].as_str().expect("a next step");
            assert!(
                next.contains("07:00") && next.contains("\"wake\": true"),
                "{next}"
            );
        }
        let done = [
            "alarms changed",
            "configuration changed",
            "registry changed",
            "service changed",
        ];
        assert_eq!(touched(&first), done);
        let policy = service.tag("groundcrew:deploy-policy");
        assert!(policy.expect("it has one").contains("bake=3"));
        // What is in use is not even tried to be removed.
        let failed = |end: &End| {
            let mut all = end.happenings.iter();
            all.any(|it| it.state == "Prune" && matches!(it.what, What::Failed { .. }))
        };
        assert!(!failed(&first) && !failed(&again));
        // A sweep finds nothing that `provision` and it see differently.
        let sweep = json!({"stack": "sleeper-dev", "dry_run": true});
        let swept = stage.sweep(&sweep).await;
        assert_succeeded(&swept);
        let found = swept.output.to_string();
        assert!(!found.contains("alarm"), "{found}");
        assert_eq!(touched(&again), Vec::<String>::new());
        assert_asleep(stage, "sleeper-dev").await;
        let used = |service: &Service<'_>| {
            let traces = &service.look().description["ObservabilityConfiguration"];
            traces["ObservabilityConfigurationArn"].clone()
        };
        let traces = used(&service);
        let is_there = |world: &rehearsal::World| {
            let mut all = world.apprunner.observability_configurations.iter();
            all.any(|it| traces == it.arn.as_str())
        };
        assert!(is_there(&stage.world().await), "it wakes with {traces}");

        // At once.
        let plan = stage.provision_without_image(&dry(&woken(&spec))).await;
        assert_succeeded(&plan);
        let wakes = [
            "change database sleeper-dev: it is started",
            "change service sleeper-dev: it is resumed",
        ];
        assert_eq!(plan.output["wakes"], json!(wakes));
        assert_eq!(waits(&plan), [""; 0]);
        let changes = plan.output["plan"].to_string();
        assert!(changes.contains("storage 20 → 40"), "{changes}");
        assert_asleep(stage, "sleeper-dev").await;
        let end = stage.provision_without_image(&woken(&spec)).await;
        assert_succeeded(&end);
        assert_eq!(waits(&end), [""; 0]);
        // The function `alarms` may have been quicker with those of a service that was updated.
        let mut done = touched(&end);
        done.retain(|it| it != "alarms changed");
        assert_eq!(
            done,
            ["database changed", "roles changed", "service changed"]
        );
        assert_eq!(end.output["health"]["status"], 200);
        assert!(says(&end).contains("within half an hour"), "{end:#?}");
        assert!(!is_there(&stage.world().await), "nobody uses {traces}");
        let order = service.operations();
        let succeeded = |kind| (kind, OperationStatus::Succeeded);
        let expected = [
            succeeded(OperationType::PauseService),
            succeeded(OperationType::ResumeService),
            succeeded(OperationType::UpdateService),
        ];
        assert_eq!(order[..3], expected, "{order:#?}");
        service.quiet().await;
        park(stage, "sleeper-dev").await;

        // In the morning it is woken as any other.
        let morning = Timestamp::now() + 10.hours();
        let look = json!({"action": "follow-schedule", "now": morning});
        assert_succeeded(&stage.park(&look).await);
        service.quiet().await;
        service.status_is(ServiceStatus::Running).await;
        assert_eq!(service.tag("groundcrew:parked").as_deref(), Some("none"));
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn what_somebody_has_paused_or_stopped_by_hand_is_said_and_woken_only_by_who_asks() {
    at_night(|stage| async move {
        // Of an environment that does not sleep.
        let mut spec = spec("handmade");
        spec["environment"] = json!("test");
        let built = stage.provision(&spec).await;
        assert_succeeded(&built);
        assert_eq!(built.output["sleeps"], Value::Null);
        let service = Service::named(stage, "handmade-test");
        service.quiet().await;

        // Its database is being stopped, its service runs on.
        stop_by_hand(stage, "handmade-test").await;
        spec["database"] = json!({"storage_gib": 40});
        let end = stage.provision_without_image(&spec).await;
        assert_succeeded(&end);
        assert_eq!(waits(&end), ["database handmade-test: storage 20 → 40"]);
        let next = end.output["next"].as_str().expect("a next step");
        assert!(next.starts_with("nothing wakes the stack"), "{next}");
        let note = end.output["health"]["note"].as_str().expect("a note");
        assert!(
            note.starts_with("not asked: database handmade-test is stop"),
            "{note}"
        );
        assert_eq!(end.output["sleeps"]["until"], Value::Null);

        // It is still being stopped when it is to be woken; and its service is paused, too.
        service.pause_by_hand().await;
        let end = stage.provision_without_image(&spec).await;
        assert!(says(&end).contains("by hand"), "{end:#?}");
        service.next("RESUME_SERVICE", json!("fails"));
        let end = stage.provision_without_image(&woken(&spec)).await;
        assert_eq!(end.error, "Failed", "{}", end.message);
        assert!(
            end.message
                .contains("could not resume service handmade-test"),
            "{}",
            end.message
        );
        stage.database_is("handmade-test", Some("available")).await;
        assert_eq!(service.count(OperationType::ResumeService), 1);
        stop_by_hand(stage, "handmade-test").await;
        let end = stage.provision_without_image(&woken(&spec)).await;
        assert_succeeded(&end);
        assert_eq!(touched(&end), ["database changed"]);
        assert_eq!(end.output["health"]["status"], 200);
        assert_eq!(end.output["sleeps"], Value::Null);
        // It is somebody's own: no mark of ours was made.
        assert_eq!(service.tag("groundcrew:parked"), None);
        tick(stage).await;
        assert_eq!(service.look().status, ServiceStatus::Running);
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn what_a_role_may_do_changes_with_its_service_and_not_while_that_falls_asleep_or_wakes() {
    play(|stage| async move {
        let aws = &stage.aws();
        let mut spec = spec("stirring");
        assert_succeeded(&stage.provision(&spec).await);
        let service = Service::named(stage, "stirring-dev");
        service.quiet().await;
        spec["service"]["secrets"] = json!({"KEY": stage.secret("stirring-key").await});
        let changed = Spec::parse(&spec).expect("a good spec");
        let roles = async || {
            let mut run = Run::acting("later");
            let ensured = Resource::Roles.ensure(aws, &changed, &mut run).await;
            ensured.map(|()| run.waits().to_vec())
        };
        let maintenance = json!({"kind": "maintenance", "service": "stirring-dev", "seconds": 120});
        let maintenance = serde_json::from_value(maintenance).expect("an arrangement");
        stage
            .local
            .apprunner()
            .arrange(maintenance)
            .expect("arranged");
        let busy = roles().await;
        assert!(matches!(busy, Err(Error::NotReady(_))), "{busy:?}");
        service.status_is(ServiceStatus::Running).await;

        service.pause_by_hand().await;
        let waits = roles().await.expect("it waits");
        assert_eq!(waits.len(), 1, "{waits:?}");
        // It is woken before its own turn comes.
        service.resume_by_hand().await;
        eventually("it is updated", async || {
            let mut run = Run::acting("later");
            let service = Resource::Service.ensure(aws, &changed, &mut run);
            service.await.ok()
        })
        .await;
        let runs = service.look().runs;
        assert!(runs.secret_versions.contains_key("KEY"), "{runs:?}");
        service.quiet().await;
        assert_succeeded(&stage.teardown(&spec).await);
    });
}
