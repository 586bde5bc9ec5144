//! The promise O10 over the deployed template: what events have missed is found and repaired. IAM is enforced. Here it is
//! always night for the environment `asleep`.

use crate::stage::{Service, Stage, assert_succeeded, eventually, play_alone, spec, watched};
use apprunner_emulator::{Arrangement, ServiceStatus};
use groundcrew::Stack;
use jiff::{Timestamp, ToSpan};
use rehearsal::{End, Notification};
use serde_json::json;
use std::collections::BTreeSet;
use std::future::Future;

/// The days around this one are parked.
fn play<F: Future>(scenario: impl FnOnce(&'static Stage) -> F) -> F::Output {
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let dates = [-2, -1, 0, 1, 2].map(|days: i64| (today + days.days()).to_string());
    let parameters = [
        ("SleepingEnvironments", "asleep"),
        ("ParkedDates", &dates.join(",")),
    ];
    play_alone(&parameters, scenario)
}

async fn by_hand<'a>(stage: &'a Stage, app: &str) -> Service<'a> {
    by_hand_in(stage, app, "dev").await
}

async fn by_hand_in<'a>(stage: &'a Stage, app: &str, environment: &str) -> Service<'a> {
    let name = format!("{app}-{environment}");
    let given = Service::given(stage, &name).of_stack(app, environment);
    given.create().await
}

fn count(end: &End, what: &str) -> u64 {
    end.output[what].as_u64().expect("a number")
}

fn summary(end: &End) -> &str {
    end.output["summary"].as_str().expect("a text")
}

async fn told(stage: &Stage) -> Vec<Notification> {
    let mut told = stage.local.notifications().await.expect("listed");
    let of_sweep = |told: &Notification| {
        told.subject
            .as_deref()
            .is_some_and(|it| it.starts_with("groundcrew sweep"))
    };
    told.retain(of_sweep);
    told
}

/// What the function `sweep` has called that can have changed something.
async fn writes(stage: &Stage) -> Vec<String> {
    let calls = stage.local.calls().await.expect("listed");
    let of_sweep = calls
        .into_iter()
        .filter(|call| call.principal.contains("SweepFunction") && call.writes());
    of_sweep.map(|call| call.action).collect()
}

async fn park_is_quiet(stage: &Stage) {
    let machine = stage.output("ParkStateMachineArn");
    for execution in stage
        .local
        .executions(machine, "sweep")
        .await
        .expect("listed")
    {
        assert_succeeded(&execution.end().await.expect("it ends"));
    }
}

#[test]
fn o10_a_sweep_after_all_events_of_a_day_were_lost_repairs_everything_and_a_second_one_changes_nothing()
 {
    play(async |stage| {
        let aws = stage.local.aws();
        let spec = spec("lost");
        assert_succeeded(&stage.provision(&spec).await);
        let built = Service::named(stage, "lost-dev");
        let secret = stage.secret("o10").await;
        let rotated = Service::given(stage, "rotated-dev").of_stack("rotated", "dev");
        let rotated = rotated.reads("PASSWORD", &secret).create().await;
        let pushed = by_hand(stage, "pushed").await;
        // Of a stack whose other service lives on.
        let second = Service::given(stage, "second")
            .of_stack("pushed", "dev")
            .create()
            .await;
        let itself = by_hand(stage, "itself").await;
        let gone = by_hand(stage, "gone").await;
        let again = by_hand(stage, "again").await;
        for service in [&built, &rotated, &pushed, &second, &itself, &gone, &again] {
            service.quiet().await;
            service
                .has_alarms(if service.name == "lost-dev" { 9 } else { 6 })
                .await;
        }

        stage.local.lose_events(true).await.expect("lost");
        let digest = pushed.push("latest").await;
        let version = stage
            .local
            .rotate_secret(&secret, "two")
            .await
            .expect("rotated");
        // By hand: the alarms of a stack are deleted, its logs kept for ever, and App Runner told to deploy by itself.
        let names = built
            .alarms()
            .await
            .into_iter()
            .filter_map(|alarm| alarm.alarm_name);
        let deleted = aws.cloudwatch().delete_alarms();
        let deleted = deleted.set_alarm_names(Some(names.collect())).send().await;
        deleted.expect("deleted");
        let group = format!("/aws/apprunner/lost-dev/{}/application", built.id());
        let kept = aws.logs().delete_retention_policy().log_group_name(&group);
        kept.send().await.expect("kept for ever");
        itself.deploy_by_itself().await;
        // While nobody hears of it a service goes, one is recreated, and one appears that should sleep.
        gone.delete().await;
        again.delete().await;
        let again_now = by_hand(stage, "again").await;
        second.delete().await;
        let asleep = by_hand_in(stage, "asleep", "asleep").await;
        stage.local.lose_events(false).await.expect("heard again");

        let before = told(stage).await.len();
        let end = stage.sweep(&json!({})).await;
        assert_succeeded(&end);
        for service in [&built, &rotated, &pushed, &itself, &again_now] {
            service.quiet().await;
        }
        park_is_quiet(stage).await;
        assert_eq!(pushed.runs(), digest, "{}", summary(&end));
        let runs = rotated.look().runs.secret_versions;
        assert_eq!(runs.values().collect::<Vec<_>>(), [&version]);
        assert_eq!(
            watched(&built.has_alarms(9).await),
            BTreeSet::from([built.id().to_owned()])
        );
        let groups = stage.world().await.log_groups;
        let group = groups.iter().find(|it| it.log_group_name() == Some(&group));
        assert_eq!(group.expect("a group").retention_in_days(), Some(30));
        assert!(!itself.deploys_by_itself());
        for service in [&gone, &second] {
            service.has_alarms(0).await;
        }
        let alarms = again_now.has_alarms(6).await;
        assert_eq!(
            watched(&alarms),
            BTreeSet::from([again_now.id().to_owned()])
        );
        asleep.status_is(ServiceStatus::Paused).await;
        let silent = eventually("it is silent", async || {
            let alarms = asleep.has_alarms(6).await;
            alarms
                .iter()
                .all(|it| it.actions_enabled() == Some(false))
                .then_some(())
        });
        silent.await;
        let told = told(stage).await;
        assert_eq!(told.len(), before + 1, "{told:?}");
        let subject = told[before].subject.as_deref().expect("a subject");
        assert_eq!(
            subject,
            format!("groundcrew sweep: {} repaired", count(&end, "found"))
        );
        assert_eq!(count(&end, "found"), count(&end, "repaired"));

        stage.local.clear_calls().await.expect("cleared");
        let second = stage.sweep(&json!({})).await;
        assert_succeeded(&second);
        assert_eq!(count(&second, "found"), 0, "{}", summary(&second));
        let calls = stage.local.calls().await.expect("listed");
        let of_sweep = calls
            .iter()
            .filter(|it| it.principal.contains("SweepFunction"));
        let (calls, stacks) = (of_sweep.count(), count(&second, "stacks"));
        let transitions = second.transitions;
        println!("a sweep of {stacks} stacks: {calls} calls, {transitions} state transitions");
        assert!(
            calls as u64 <= 11 * stacks + 10,
            "{calls} calls for {stacks} stacks"
        );
        assert!(transitions <= 12, "{transitions} state transitions");
        assert_eq!(writes(stage).await, Vec::<String>::new());
        assert_eq!(
            self::told(stage).await.len(),
            before + 1,
            "of nothing nobody is told"
        );

        for service in [&rotated, &pushed, &itself, &again_now, &asleep] {
            service.delete().await;
            service.has_alarms(0).await;
        }
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn o10_a_dry_run_says_what_a_sweep_would_repair_and_changes_nothing_and_tells_nobody() {
    play(async |stage| {
        let service = by_hand(stage, "looked-at").await;
        service.has_alarms(6).await;
        service.quiet().await;
        stage.local.lose_events(true).await.expect("lost");
        service.push("latest").await;
        stage.local.lose_events(false).await.expect("heard again");
        let before = told(stage).await.len();
        stage.local.clear_calls().await.expect("cleared");
        let dry = json!({"stack": "looked-at-dev", "dry_run": true});
        let end = stage.sweep(&dry).await;
        assert_succeeded(&end);
        assert_eq!((count(&end, "found"), count(&end, "repaired")), (1, 0));
        let summary = summary(&end);
        assert!(summary.contains("1 would be repaired"), "{summary}");
        assert!(summary.contains("was pushed and not deployed"), "{summary}");
        assert_eq!(writes(stage).await, Vec::<String>::new());
        assert_eq!(told(stage).await.len(), before);
        service.delete().await;
    });
}

#[test]
fn o10_what_only_a_person_can_mend_is_told_with_what_to_do_and_left() {
    play(async |stage| {
        // A service whose creation failed; and a database whose service somebody has deleted.
        let fails = json!({"kind": "next-operation", "operation": "CREATE_SERVICE", "service": "failed-dev", "fate": "fails"});
        let fails: Arrangement = serde_json::from_value(fails).expect("an arrangement");
        stage.local.apprunner().arrange(fails).expect("arranged");
        let mut spec = spec("failed");
        spec["on_failure"] = json!("keep");
        assert!(!stage.provision(&spec).await.succeeded);
        let tags = [
            ("groundcrew:managed", "true"),
            ("groundcrew:app", "left"),
            ("groundcrew:environment", "dev"),
        ];
        let database = stage.local.create_database("left-dev", &tags).await;
        database.expect("a database");
        stage.local.clear_calls().await.expect("cleared");
        let end = stage.sweep(&json!({})).await;
        assert_succeeded(&end);
        let summary = summary(&end).to_owned();
        assert!(
            summary.contains("service failed-dev: it is CREATE_FAILED. Start provision"),
            "{summary}"
        );
        assert!(
            summary.contains("stack left-dev: it has no service, and there is database left-dev"),
            "{summary}"
        );
        assert!(
            summary.contains(r#"--input '{"app": "left", "environment": "dev"}'"#),
            "{summary}"
        );
        assert_eq!(count(&end, "repaired"), 0, "{summary}");
        assert_eq!(writes(stage).await, Vec::<String>::new());
        let told = told(stage).await;
        let told = told.last().and_then(|told| told.subject.clone());
        assert_eq!(
            told.as_deref(),
            Some("groundcrew sweep: 2 for you to see to")
        );
        assert_succeeded(&stage.teardown(&spec).await);
        assert_succeeded(
            &stage
                .teardown(&json!({"app": "left", "environment": "dev"}))
                .await,
        );
    });
}

#[test]
fn o10_a_stack_that_cannot_be_looked_at_is_named_and_hides_no_other() {
    play(async |stage| {
        let unclear = by_hand(stage, "unclear").await;
        let other = by_hand(stage, "zebra").await;
        for service in [&unclear, &other] {
            service.has_alarms(6).await;
            service.quiet().await;
        }
        unclear.set_tag("groundcrew:alarms", "cpu=high").await;
        stage.local.lose_events(true).await.expect("lost");
        let digest = other.push("latest").await;
        stage.local.lose_events(false).await.expect("heard again");
        let end = stage.sweep(&json!({})).await;
        assert_succeeded(&end);
        let summary = summary(&end);
        assert!(
            summary.contains("service unclear-dev: its alarms could not be looked at"),
            "{summary}"
        );
        assert!(summary.contains("cpu=high"), "{summary}");
        other.quiet().await;
        assert_eq!(other.runs(), digest);
        unclear.delete().await;
        other.delete().await;
    });
}

#[test]
fn o10_what_no_stack_is_called_is_refused_with_the_field() {
    play(async |stage| {
        for input in [
            json!({"stack": "nothing-dev"}),
            json!({"stak": "nothing-dev"}),
        ] {
            let end = stage.sweep(&input).await;
            assert_eq!(end.error, "Invalid", "{}", end.message);
            assert!(
                end.message.contains("stack") || end.message.contains("stak"),
                "{}",
                end.message
            );
        }
    });
}

/// Looked at with the code of the function, for hours do not pass here.
#[test]
fn o10_an_operation_that_does_not_end_is_told_after_two_hours() {
    play(async |stage| {
        let service = by_hand(stage, "stuck").await;
        service.has_alarms(6).await;
        service.quiet().await;
        service.next("PAUSE_SERVICE", json!("stuck"));
        let paused = stage.local.aws().apprunner().pause_service();
        let paused = paused.service_arn(&service.arn).send().await;
        paused.expect("accepted");
        let stack = Stack {
            app: "stuck".into(),
            environment: "dev".into(),
        };
        let findings = async |hours: i64| {
            let surroundings = sweep::Surroundings {
                notifications: "arn:aws:sns:us-east-1:000000000000:notifications".into(),
                parking: String::new(),
                park_state_machine: String::new(),
                provision_state_machine: String::new(),
                teardown_state_machine: String::new(),
            };
            let parking = json!({
                "environments": "", "time_zone": "UTC", "sleep_from": "20:00", "sleep_until": "07:00",
                "awake_days": "MON-FRI", "parked_dates": "", "awake_dates": "",
            });
            let schedule = park::Schedule::parse(&parking.to_string()).expect("a schedule");
            let now = Timestamp::now() + hours.hours();
            let stacks = [stack.clone()];
            let look = sweep::Look {
                surroundings: &surroundings,
                schedule: &schedule,
                now,
                dry_run: false,
                room: 10_000,
            };
            let compared = sweep::Compared::default();
            let looked = sweep::look(stage.local.aws(), &look, &stacks, &compared);
            looked.await.expect("it is looked at").findings
        };
        assert_eq!(findings(1).await, []);
        let found = findings(3).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].to_string().contains("it is in an operation since"),
            "{}",
            found[0]
        );
        assert!(!found[0].is_repairable());
    });
}
