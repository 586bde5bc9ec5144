//! The connection of `park` is disturbed at every call, and executions stop for good around every call that writes: a stack
//! ends up asleep, or awake, as if nothing had happened, and its alarms with it. And whatever a person does between two steps
//! counts for those after it.

#[expect(dead_code, reason = "the other crash tests disturb in more ways")]
mod disturbance;

use apprunner_emulator::{Arrangement, OperationType, ServiceSnapshot, ServiceStatus};
use aws_sdk_cloudwatch::types::{ComparisonOperator, Dimension, Statistic};
use disturbance::{Disturbance, Kind, disturbed};
use groundcrew::Aws;
use groundcrew::aws::Account;
use groundcrew::managed::set_tags;
use groundcrew::stack::Tags;
use jiff::{Timestamp, ToSpan};
use park::Step;
use rehearsal::{LocalAws, NewService, Options};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::runtime::Runtime;

/// A database takes five minutes to start, which is 6 ms at this speed: the calls are the subject here, not the waiting.
const FAST: Options = Options {
    time_scale: 50_000.0,
};

/// How often a step is repeated before it counts as stuck.
const PATIENCE: u32 = 2_000;

/// The service, its database, its repository.
const NAME: &str = "crashing-dev";

/// As `template.yaml` has it for an environment that sleeps.
const PARKING: &str = r#"{"environments": "dev", "time_zone": "UTC", "sleep_from": "20:00", "sleep_until": "07:00",
    "awake_days": "MON-FRI", "parked_dates": "", "awake_dates": ""}"#;

/// A local AWS with one stack, and a state machine in place of `deploy`.
struct Stage {
    local: LocalAws,
    calm: Aws,
    machine: String,
    arn: String,
}

/// What there is to see of the stack.
#[derive(Debug, Eq, PartialEq)]
struct Seen {
    status: ServiceStatus,
    database: String,
    alarm_tells: bool,
    mark: Option<String>,
    pauses: usize,
    resumes: usize,
    deployments: usize,
}

/// One night: each test plays many, a week after each other.
#[derive(Clone, Copy)]
struct Night(i64);

impl Night {
    fn evening(self) -> Timestamp {
        let first: Timestamp = "2026-11-23T20:00:00Z".parse().expect("a time");
        first + (self.0 * 7 * 24).hours()
    }

    fn morning(self) -> Timestamp {
        self.evening() + 11.hours()
    }
}

impl Stage {
    async fn set() -> Self {
        let prepared = rehearsal::prepare()
            .await
            .expect("what the local AWS needs is there");
        let local = LocalAws::start(&prepared, FAST)
            .await
            .expect("the local AWS starts");
        let machine = machine(&local).await;
        let aws = local.aws();
        let account = Account {
            deploy_state_machine: machine.clone(),
            ..aws.account.clone()
        };
        let calm = Aws::new(local.sdk_config(), aws.https.clone(), account);
        let arn = stack(&local).await;
        let stage = Self {
            local,
            calm,
            machine,
            arn,
        };
        while stage.look().status != ServiceStatus::Running || stage.database().await != "available"
        {
            pause().await;
        }
        stage
    }

    fn disturbed(&self, disturbance: &Disturbance) -> Aws {
        disturbed(&self.local, self.calm.account.clone(), disturbance)
    }

    fn look(&self) -> ServiceSnapshot {
        let services = self.local.apprunner().snapshot().services;
        let found = services.into_iter().find(|service| service.arn == self.arn);
        found.expect("the service exists")
    }

    async fn database(&self) -> String {
        let described = self.calm.rds().describe_db_instances().send().await;
        let found = described.expect("described").db_instances;
        let status = found.into_iter().flatten().next();
        status
            .and_then(|it| it.db_instance_status)
            .expect("a state")
    }

    async fn deployments(&self) -> usize {
        let found = self.local.executions(&self.machine, NAME).await;
        found.expect("listed").len()
    }

    async fn seen(&self) -> Seen {
        let service = self.look();
        let count = |kind| {
            let operations = service.operations.iter();
            operations.filter(|it| it.operation_type == kind).count()
        };
        let alarms = self.calm.cloudwatch().describe_alarms().send().await;
        let alarms = alarms.expect("described");
        let mark = service.tags.get("groundcrew:parked");
        Seen {
            status: service.status,
            database: self.database().await,
            alarm_tells: alarms.metric_alarms()[0].actions_enabled() == Some(true),
            mark: mark.filter(|mark| *mark != "none").cloned(),
            pauses: count(OperationType::PauseService),
            resumes: count(OperationType::ResumeService),
            deployments: self.deployments().await,
        }
    }

    /// One execution of the state machine; `None` if it has ended for good.
    async fn execute(
        &self,
        aws: &Aws,
        now: Timestamp,
        ends_with: Option<&Disturbance>,
    ) -> Option<()> {
        let request = json!({"action": "follow-schedule", "now": now});
        for task in self.tasks(aws, request, ends_with).await? {
            self.finish(aws, &task, ends_with).await?;
        }
        Some(())
    }

    /// What there is to do by a plan.
    async fn tasks(
        &self,
        aws: &Aws,
        request: Value,
        ends_with: Option<&Disturbance>,
    ) -> Option<Vec<Value>> {
        let plan = json!({"action": "plan", "request": request, "started": Timestamp::now()});
        let plan = self.step(aws, plan, ends_with).await?;
        plan["tasks"].as_array().cloned()
    }

    /// The one thing that there is to do by a plan, which nothing disturbs.
    async fn task(&self, request: Value) -> Value {
        let tasks = self.tasks(&self.calm, request, None).await;
        let mut tasks = tasks.expect("nothing ends it");
        assert_eq!(tasks.len(), 1, "{tasks:#?}");
        tasks.remove(0)
    }

    /// The states behind the plan, as `statemachine/park.asl.yaml` wires them.
    async fn finish(&self, aws: &Aws, task: &Value, ends_with: Option<&Disturbance>) -> Option<()> {
        let step = |action: &str| {
            let input = json!({"action": action, "task": task});
            async move { self.step(aws, input, ends_with).await }
        };
        if step("record").await?["outcome"] == "overtaken" {
            return Some(());
        }
        for action in actions(task) {
            step(action).await?;
        }
        Some(())
    }

    /// Steps of one task after each other, which nothing disturbs.
    async fn steps(&self, task: &Value, actions: &[&str]) {
        for action in actions {
            let input = json!({"action": action, "task": task});
            let done = self.step(&self.calm, input, None).await;
            done.expect("nothing ends it");
        }
    }

    /// A person pauses the service, not groundcrew.
    async fn pause_by_hand(&self) {
        let paused = self.calm.apprunner().pause_service();
        let paused = paused.service_arn(&self.arn).send().await;
        paused.expect("paused");
        self.service_is(ServiceStatus::Paused).await;
    }

    async fn wake_by_hand(&self) {
        let resumed = self.calm.apprunner().resume_service();
        let resumed = resumed.service_arn(&self.arn).send().await;
        resumed.expect("resumed");
        self.service_is(ServiceStatus::Running).await;
    }

    async fn service_is(&self, status: ServiceStatus) {
        while self.look().status != status {
            pause().await;
        }
    }

    async fn database_is(&self, status: &str) {
        while self.database().await != status {
            pause().await;
        }
    }

    async fn set_tag(&self, key: &str, value: &str) {
        let tags = Tags::from([(key.to_owned(), value.to_owned())]);
        let set = set_tags(&self.calm, &self.arn, &tags).await;
        set.expect("tagged");
    }

    fn tag(&self, key: &str) -> Option<String> {
        self.look().tags.get(key).cloned()
    }

    /// One state with its retries.
    async fn step(
        &self,
        aws: &Aws,
        input: Value,
        ends_with: Option<&Disturbance>,
    ) -> Option<Value> {
        for _ in 0..PATIENCE {
            let step = Step::parse(input.clone()).expect("a step");
            let answer = step.handle(aws, PARKING).await;
            if ends_with.is_some_and(Disturbance::struck) {
                return None;
            }
            match answer {
                Ok(answer) => return Some(answer),
                Err(error) if error.is_retried() => pause().await,
                Err(error) => panic!("{}: {error}", input["action"]),
            }
        }
        panic!("{} was not over after {PATIENCE} attempts", input["action"])
    }

    async fn park(&self, night: Night) {
        let done = self.execute(&self.calm, night.evening(), None).await;
        done.expect("nothing ends it");
    }

    async fn wake(&self, night: Night) {
        let done = self.execute(&self.calm, night.morning(), None).await;
        done.expect("nothing ends it");
    }
}

/// What follows on `record`.
fn actions(task: &Value) -> &'static [&'static str] {
    match task["action"].as_str() {
        Some("pause") => &["alarms-off", "pause-services", "stop-databases"],
        Some("resume") => &["start-databases", "resume-services", "alarms-on", "deliver"],
        Some("leave") => &[],
        other => panic!("{other:?} is no action"),
    }
}

/// It is over at once, unless its input says that it takes some time.
async fn machine(local: &LocalAws) -> String {
    let aws = local.aws();
    let definition = json!({"StartAt": "Does it take time?", "States": {
        "Does it take time?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.seconds", "IsPresent": true, "Next": "Run"}],
            "Default": "Done",
        },
        "Run": {"Type": "Wait", "SecondsPath": "$.seconds", "Next": "Done"},
        "Done": {"Type": "Succeed"},
    }});
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole",
    }]});
    let role = aws.iam().create_role().role_name("crashing-deploy");
    let role = role.assume_role_policy_document(trust.to_string());
    let role = role.send().await.expect("a role").role.expect("a role").arn;
    let machine = aws.sfn().create_state_machine().name("crashing-deploy");
    let machine = machine.definition(definition.to_string()).role_arn(role);
    let machine = machine.send().await.expect("a state machine");
    machine.state_machine_arn
}

/// A service, its database and its alarm.
async fn stack(local: &LocalAws) -> String {
    let aws = local.aws();
    let tags = [
        ("groundcrew:managed", "true"),
        ("groundcrew:app", "crashing"),
        ("groundcrew:environment", "dev"),
    ];
    let of_alarm = tags.map(|(key, value)| {
        let tag = aws_sdk_cloudwatch::types::Tag::builder();
        tag.key(key).value(value).build()
    });
    let database = local.create_database(NAME, &tags).await;
    database.expect("created");
    let repository = aws.ecr().create_repository().repository_name(NAME);
    repository.send().await.expect("a repository");
    let image = local.push_image(NAME, "latest", "amd64").await;
    let arn = local
        .create_service(&NewService {
            name: NAME,
            image: &format!("{NAME}@{}", image.expect("pushed")),
            tags: &tags,
            ..NewService::default()
        })
        .await
        .expect("created");
    let id = arn.rsplit('/').next().expect("an id");
    let alarm = aws.cloudwatch().put_metric_alarm();
    let alarm = alarm
        .alarm_name(format!("{NAME}-latency"))
        .namespace("AWS/AppRunner")
        .metric_name("RequestLatency")
        .statistic(Statistic::Sum)
        .period(300)
        .evaluation_periods(1)
        .threshold(1.0)
        .comparison_operator(ComparisonOperator::GreaterThanOrEqualToThreshold)
        .dimensions(Dimension::builder().name("ServiceID").value(id).build())
        .set_tags(Some(of_alarm.into()));
    alarm.send().await.expect("an alarm");
    arn
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

impl Seen {
    /// What a night comes to, after this.
    fn after_falling_asleep(&self, night: Night) -> Self {
        Self {
            status: ServiceStatus::Paused,
            database: "stopped".into(),
            alarm_tells: false,
            mark: Some(night.evening().to_string()),
            pauses: self.pauses + 1,
            ..*self
        }
    }

    fn after_waking(&self) -> Self {
        Self {
            status: ServiceStatus::Running,
            database: "available".into(),
            alarm_tells: true,
            mark: None,
            resumes: self.resumes + 1,
            deployments: self.deployments + 1,
            ..*self
        }
    }
}

#[test]
fn a_stack_falls_asleep_and_wakes_once_whichever_call_is_disturbed() {
    Runtime::new().expect("a runtime").block_on(async {
        let stage = Stage::set().await;
        let mut nights = (0..).map(Night);
        let mut disturbances = 0;
        for kind in Kind::ALL {
            for wakes in [false, true] {
                for call in 0.. {
                    let night = nights.next().expect("a night");
                    let disturbance = Disturbance::at(call, kind);
                    let aws = stage.disturbed(&disturbance);
                    let label = || {
                        let what = if wakes { "waking" } else { "falling asleep" };
                        format!("{what}, {kind:?} at call {call} ({})", disturbance.call())
                    };
                    let before = stage.seen().await;
                    if wakes {
                        stage.park(night).await;
                    } else {
                        let done = stage.execute(&aws, night.evening(), None).await;
                        done.expect("nothing ends it");
                    }
                    let asleep = before.after_falling_asleep(night);
                    assert_eq!(stage.seen().await, asleep, "{}", label());
                    if wakes {
                        let done = stage.execute(&aws, night.morning(), None).await;
                        done.expect("nothing ends it");
                    } else {
                        stage.wake(night).await;
                    }
                    assert_eq!(stage.seen().await, asleep.after_waking(), "{}", label());
                    if !disturbance.struck() {
                        break;
                    }
                    disturbances += 1;
                }
            }
        }
        println!("{disturbances} disturbances of a night");
    });
}

/// Where an execution stopped for good the next look goes on; and where the next look is that of the morning, it wakes
/// whatever was put to sleep until then, alarms included.
#[test]
fn the_next_look_goes_on_wherever_an_execution_stopped_for_good() {
    Runtime::new().expect("a runtime").block_on(async {
        let stage = Stage::set().await;
        let mut nights = (0..).map(Night);
        let mut crashes = 0;
        for kind in [Kind::CutBefore, Kind::CutAfter] {
            for write in 0.. {
                let mut struck = false;
                for (wakes, sleeps_first) in [(false, true), (false, false), (true, true)] {
                    let night = nights.next().expect("a night");
                    let disturbance = Disturbance::at_write(write, kind);
                    let aws = stage.disturbed(&disturbance);
                    let label = || {
                        format!(
                            "{kind:?} at write {write} ({}), {wakes} {sleeps_first}",
                            disturbance.call()
                        )
                    };
                    let before = stage.seen().await;
                    if wakes {
                        stage.park(night).await;
                    } else {
                        let _ended = stage
                            .execute(&aws, night.evening(), Some(&disturbance))
                            .await;
                    }
                    if sleeps_first {
                        stage.park(night).await;
                        let asleep = before.after_falling_asleep(night);
                        assert_eq!(stage.seen().await, asleep, "{}", label());
                    }
                    if wakes {
                        let _ended = stage
                            .execute(&aws, night.morning(), Some(&disturbance))
                            .await;
                    }
                    stage.wake(night).await;
                    let seen = stage.seen().await;
                    let awake = before.after_falling_asleep(night).after_waking();
                    if sleeps_first {
                        assert_eq!(seen, awake, "{}", label());
                    } else {
                        // It may have been awake all the time.
                        let counted = Seen {
                            pauses: seen.pauses,
                            resumes: seen.resumes,
                            deployments: seen.deployments,
                            ..awake
                        };
                        assert_eq!(seen, counted, "{}", label());
                        assert_eq!(seen.pauses - before.pauses, seen.resumes - before.resumes);
                    }
                    struck |= disturbance.struck();
                    crashes += usize::from(disturbance.struck());
                }
                if !struck {
                    break;
                }
            }
        }
        println!("{crashes} executions stopped for good");
    });
}

/// A test of what a person does in the first night.
fn play<F: Future>(scenario: impl FnOnce(Stage) -> F) {
    Runtime::new().expect("a runtime").block_on(async {
        scenario(Stage::set().await).await;
    });
}

const EVENING: &str = "2026-11-23T20:00:00Z"; // that of the first night
const NIGHT: &str = "2026-11-24T02:00:00Z";
const LATER: &str = "2026-11-24T03:00:00Z";
const MORNING: &str = "2026-11-24T07:00:00Z";

fn follow_schedule(now: &str) -> Value {
    json!({"action": "follow-schedule", "now": now})
}

#[test]
fn what_a_person_has_paused_since_the_plan_stays_that_persons() {
    play(|stage| async move {
        let task = stage.task(follow_schedule(EVENING)).await;
        stage.pause_by_hand().await;
        let before = stage.seen().await;
        stage.finish(&stage.calm, &task, None).await;
        assert_eq!(stage.seen().await, before);
        // Nor does any of the states by itself, should the mark go later than that.
        stage.steps(&task, actions(&task)).await;
        assert_eq!(stage.seen().await, before);
        assert_eq!(
            (before.database.as_str(), before.alarm_tells),
            ("available", true)
        );
        let morning = follow_schedule(MORNING);
        let tasks = stage.tasks(&stage.calm, morning, None).await;
        assert_eq!(tasks, Some(Vec::new()));
    });
}

#[test]
fn what_a_person_has_woken_since_the_plan_stays_awake() {
    play(|stage| async move {
        stage.park(Night(0)).await;
        let passed = stage.local.seven_days_pass(NAME).await;
        passed.expect("it was stopped");
        let task = stage.task(follow_schedule(NIGHT)).await;
        assert_eq!(
            task["action"], "pause",
            "its database is to be stopped again"
        );
        stage.wake_by_hand().await;
        stage.database_is("available").await;
        let before = stage.seen().await;
        stage.finish(&stage.calm, &task, None).await;
        assert_eq!(stage.seen().await, before);
        assert_eq!(before.status, ServiceStatus::Running);
    });
}

#[test]
fn a_wake_that_its_wish_does_not_outlive_ends_asleep() {
    for steps in [
        ["record", "start-databases"].as_slice(),
        &["record", "start-databases", "resume-services"],
        &["record", "start-databases", "resume-services", "alarms-on"],
    ] {
        play(|stage| async move {
            stage.park(Night(0)).await;
            let asleep = stage.seen().await;
            let resume = json!({"action": "resume", "stack": NAME, "now": NIGHT, "until": LATER});
            let task = stage.task(resume).await;
            stage.steps(&task, steps).await;
            for task in stage
                .tasks(&stage.calm, follow_schedule(LATER), None)
                .await
                .expect("a plan")
            {
                stage.finish(&stage.calm, &task, None).await;
            }
            let seen = stage.seen().await;
            let woken = usize::from(steps.len() > 2);
            let expected = Seen {
                pauses: asleep.pauses + woken,
                resumes: asleep.resumes + woken,
                ..asleep
            };
            assert_eq!(seen, expected, "{steps:?}");
        });
    }
}

#[test]
fn a_wake_that_failed_leaves_no_alarm_on_in_the_next_night() {
    play(|stage| async move {
        stage.park(Night(0)).await;
        let asleep = stage.seen().await;
        let task = stage.task(follow_schedule(MORNING)).await;
        stage.steps(&task, &["record"]).await;
        let failure = json!({"Error": "Throttled", "Cause": "RDS does not answer"});
        let given_up = json!({"action": "give-up", "task": task, "failure": failure});
        stage.step(&stage.calm, given_up, None).await;
        let by_day = Seen {
            alarm_tells: true,
            ..stage.seen().await
        };
        assert_eq!(stage.seen().await, by_day, "its alarms tell by day");
        let task = stage.task(follow_schedule("2026-11-24T20:00:00Z")).await;
        stage.finish(&stage.calm, &task, None).await;
        let next_evening = Some("2026-11-24T20:00:00Z".to_owned());
        assert_eq!(
            stage.seen().await,
            Seen {
                mark: next_evening,
                ..asleep
            }
        );
    });
}

#[test]
fn a_wish_that_had_to_wait_leaves_what_a_person_says_meanwhile() {
    play(|stage| async move {
        let noon = "2026-11-23T12:00:00Z";
        let pause = json!({"action": "pause", "stack": NAME, "now": noon});
        let task = stage.task(pause).await;
        // A deployment is watched.
        let deployment = stage.calm.sfn().start_execution().name("deploying");
        let deployment = deployment.state_machine_arn(&stage.machine);
        let deployment = deployment.input(json!({"seconds": 90_000_000}).to_string());
        let deployment = deployment.send().await.expect("started").execution_arn;
        let claim = "deploying secrets none none none none";
        stage.set_tag("groundcrew:deploying", claim).await;
        let record = || async {
            let record = json!({"action": "record", "task": task});
            let record = Step::parse(record).expect("a step");
            record.handle(&stage.calm, PARKING).await
        };
        let waits = record().await.expect_err("it waits");
        assert_eq!(waits.name(), "Claimed", "{waits}");
        assert_eq!(
            stage.tag("groundcrew:parked-until").as_deref(),
            Some(MORNING)
        );
        stage.set_tag("groundcrew:awake-until", MORNING).await;
        let stopped = stage.calm.sfn().stop_execution().execution_arn(deployment);
        stopped.send().await.expect("stopped");
        let recorded = record().await.expect("it has ended");
        assert_eq!(recorded["outcome"], "overtaken", "{recorded}");
        assert_eq!(
            stage.tag("groundcrew:awake-until").as_deref(),
            Some(MORNING)
        );
        assert_eq!(stage.seen().await.mark, None);
    });
}

#[test]
fn what_a_person_paused_and_then_has_parked_is_woken_in_the_morning() {
    play(|stage| async move {
        let awake = stage.seen().await;
        stage.pause_by_hand().await;
        let stopped = stage.calm.rds().stop_db_instance();
        let stopped = stopped.db_instance_identifier(NAME).send().await;
        stopped.expect("stopped");
        stage.database_is("stopped").await;
        let task = stage
            .task(json!({"action": "pause", "stack": NAME, "now": NIGHT}))
            .await;
        assert_eq!(task["action"], "leave", "all of it is down");
        stage.finish(&stage.calm, &task, None).await;
        assert_eq!(stage.seen().await.mark.as_deref(), Some(EVENING));
        stage.wake(Night(0)).await;
        let woken = Seen {
            pauses: 1,
            ..awake.after_waking()
        };
        assert_eq!(stage.seen().await, woken);
    });
}

#[test]
fn a_failure_that_no_tag_can_hold_is_told_once_a_day() {
    play(|stage| async move {
        // An operation that does not end: App Runner takes no tag.
        let stuck = json!({
            "kind": "next-operation", "operation": "PAUSE_SERVICE", "service": NAME, "fate": {"takes": 1e9},
        });
        let stuck: Arrangement = serde_json::from_value(stuck).expect("an arrangement");
        stage.local.apprunner().arrange(stuck).expect("arranged");
        let mut task = stage.task(follow_schedule(EVENING)).await;
        let paused = stage.calm.apprunner().pause_service();
        paused.service_arn(&stage.arn).send().await.expect("paused");
        let mut told = Vec::new();
        for hour in 0..24 {
            let about = format!("2026-11-24T{hour:02}:00:00Z");
            task["clock"] = json!({"about": about, "started": Timestamp::now()});
            let failure = json!({"Error": "Busy", "Cause": "it is in an operation"});
            let given_up = json!({"action": "give-up", "task": task, "failure": failure});
            let outcome = stage.step(&stage.calm, given_up, None).await;
            if outcome.expect("nothing ends it")["to_tell"] == true {
                told.push(about);
            }
        }
        assert_eq!(told, ["2026-11-24T08:00:00Z"]);
    });
}
