//! The connection of `park` is disturbed at every call, and executions stop for good around every call that writes: a stack
//! ends up asleep, or awake, as if nothing had happened, and its alarms with it.

#[expect(dead_code, reason = "its shapes are of the other crash tests")]
mod disturbance;

use apprunner_emulator::{OperationType, ServiceSnapshot, ServiceStatus};
use aws_sdk_cloudwatch::types::{ComparisonOperator, Dimension, Statistic};
use disturbance::{Disturbance, Kind, disturbed};
use groundcrew::Aws;
use groundcrew::aws::Account;
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
        let step = |input: Value| async move { self.step(aws, input, ends_with).await };
        let request = json!({"action": "follow-schedule", "now": now});
        let started = Timestamp::now();
        let plan = step(json!({"action": "plan", "request": request, "started": started})).await?;
        for task in plan["tasks"].as_array().expect("tasks") {
            // As `statemachine/park.asl.yaml` wires them.
            let actions = match task["action"].as_str() {
                Some("pause") => ["alarms-off", "pause-services", "stop-databases"].as_slice(),
                Some("resume") => &["start-databases", "resume-services", "alarms-on", "deliver"],
                other => panic!("{other:?} is not for the schedule"),
            };
            for action in ["record"].iter().chain(actions) {
                step(json!({"action": action, "task": task})).await?;
            }
        }
        Some(())
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

async fn machine(local: &LocalAws) -> String {
    let aws = local.aws();
    let at_once = json!({"StartAt": "Run", "States": {"Run": {"Type": "Succeed"}}});
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole",
    }]});
    let role = aws.iam().create_role().role_name("crashing-deploy");
    let role = role.assume_role_policy_document(trust.to_string());
    let role = role.send().await.expect("a role").role.expect("a role").arn;
    let machine = aws.sfn().create_state_machine().name("crashing-deploy");
    let machine = machine.definition(at_once.to_string()).role_arn(role);
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
    let of_database = tags.map(|(key, value)| {
        let tag = aws_sdk_rds::types::Tag::builder();
        tag.key(key).value(value).build()
    });
    let of_alarm = tags.map(|(key, value)| {
        let tag = aws_sdk_cloudwatch::types::Tag::builder();
        tag.key(key).value(value).build()
    });
    let database = aws.rds().create_db_instance().db_instance_identifier(NAME);
    let database = database
        .engine("postgres")
        .engine_version("17")
        .db_instance_class("db.t4g.micro")
        .allocated_storage(20)
        .master_username("shop")
        .master_user_password("not-a-secret-here")
        .set_tags(Some(of_database.into()));
    database.send().await.expect("a database");
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
