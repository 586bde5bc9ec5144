//! The connection of `park` is disturbed at every call, and executions stop for good around every call that writes: a stack
//! ends up asleep, or awake, as if nothing had happened, and its alarms with it. And whatever a person does between two steps
//! counts for those after it.

use super::disturbance::{Disturbance, Kind, disturbed};
use super::{Execution, patiently, stopping};
use crate::asl::{Ended, Failure, Played, machines};
use crate::stage::{Service, Stage, eventually, play_fast};
use apprunner_emulator::{Arrangement, OperationType, ServiceStatus};
use groundcrew::Memory;
use groundcrew::memory::Parking;
use groundcrew::pace::Tempo;
use groundcrew::{Aws, Error};
use jiff::{Timestamp, ToSpan};
use park::{Step, Surroundings};
use rehearsal::{Execution as Run, NewService};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// The service, its database, its repository.
const NAME: &str = "crashing-dev";

/// As `template.yaml` has it for an environment that sleeps.
const PARKING: &str = r#"{"environments": "dev", "time_zone": "UTC", "sleep_from": "20:00", "sleep_until": "07:00",
    "awake_days": "MON-FRI", "parked_dates": "", "awake_dates": ""}"#;

/// The name that an execution has here.
const RUN: &str = "run-1";

/// A local AWS with one stack, and state machines in place of `deploy` and `park`.
struct Scene {
    stage: Stage,
    calm: Aws,
    machine: String,
    /// Takes what a look starts, which is played from its input.
    park: String,
    /// The ARN of its service.
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

impl Scene {
    async fn set(stage: Stage) -> Self {
        let machine = stage.machine("crashing-deploy", &timed()).await;
        let park = stage.machine("park", &timed()).await;
        let tags = [
            ("groundcrew:managed", "true"),
            ("groundcrew:app", "crashing"),
            ("groundcrew:environment", "dev"),
        ];
        let database = stage.local.create_database(NAME, &tags).await;
        database.expect("created");
        let service = Service::given(&stage, NAME).with_only(&tags);
        let service = service.create().await;
        service
            .tagged_alarm("latency", "RequestLatency", &tags)
            .await;
        let arn = service.arn.clone();
        drop(service);
        let scene = Self {
            calm: stage.clients(&machine),
            stage,
            machine,
            park,
            arn,
        };
        scene.database_is("available").await;
        scene
    }

    fn service(&self) -> Service<'_> {
        Service::of(&self.stage, NAME, &self.arn)
    }

    fn disturbed(&self, disturbance: &Disturbance) -> Aws {
        disturbed(&self.stage.local, self.calm.account.clone(), disturbance)
    }

    async fn database(&self) -> String {
        let status = self.stage.database(NAME).await;
        status.expect("it has a state")
    }

    async fn deployments(&self) -> usize {
        let found = self.stage.local.executions(&self.machine, NAME).await;
        found.expect("listed").len()
    }

    async fn seen(&self) -> Seen {
        let service = self.service().look();
        let count = |kind| {
            let operations = service.operations.iter();
            operations.filter(|it| it.operation_type == kind).count()
        };
        let alarms = self.calm.cloudwatch().describe_alarms().send().await;
        let alarms = alarms.expect("described");
        let remembered = Memory::<Parking>::of(&self.calm, &self.arn, &service.tags).await;
        let mark = remembered.expect("it is remembered").mark;
        Seen {
            status: service.status,
            database: self.database().await,
            alarm_tells: alarms.metric_alarms()[0].actions_enabled() == Some(true),
            mark: mark.map(|mark| mark.to_string()),
            pauses: count(OperationType::PauseService),
            resumes: count(OperationType::ResumeService),
            deployments: self.deployments().await,
        }
    }

    /// One execution and those that it starts, with whatever a test does around their steps; answers the last of them.
    async fn execute(
        &self,
        request: &Value,
        answer: impl AsyncFn(Value) -> Result<Value, Failure>,
    ) -> Played {
        let before = self.starts().await;
        let mut played = self.execution(&answer).play(request).await;
        for input in self.started(before).await {
            if played.ended == Ended::Stopped {
                self.look_at(&input).await; // it goes on although the look has stopped
            } else {
                played = self.execution(&answer).play(&input).await;
            }
        }
        played
    }

    fn execution<F: AsyncFn(Value) -> Result<Value, Failure>>(
        &self,
        answer: F,
    ) -> Execution<'_, F> {
        Execution::of(machines::park(), RUN, answer)
    }

    /// How many executions looks have started, none of which is at work any more.
    async fn starts(&self) -> usize {
        loop {
            let listed = self.stage.local.executions(&self.park, "").await;
            let listed = listed.expect("listed");
            if !listed.iter().any(Run::ran) {
                return listed.len();
            }
            super::pause().await;
        }
    }

    /// The inputs of those that came after so many, the oldest first.
    async fn started(&self, before: usize) -> Vec<Value> {
        self.starts().await;
        let listed = self.stage.local.executions(&self.park, "").await;
        let mut inputs = Vec::new();
        for execution in listed.expect("listed").split_off(before) {
            let described = self.calm.sfn().describe_execution();
            let described = described.execution_arn(execution.arn()).send().await;
            let input = described.expect("described").input.expect("an input");
            inputs.push(serde_json::from_str(&input).expect("JSON"));
        }
        inputs
    }

    /// One execution that nothing disturbs, and those that it starts.
    async fn look_at(&self, request: &Value) {
        let answer = async |step| self.answer(step).await;
        let played = Box::pin(self.execute(request, answer)).await;
        assert_eq!(played.ended, Ended::Succeeded, "{:?}", played.states);
    }

    async fn answer(&self, step: Value) -> Result<Value, Failure> {
        let answer = handle(&self.calm, step).await;
        answer.map_err(|error| Failure::from(&error))
    }

    /// One execution each of whose states is disturbed, and those that it starts likewise.
    async fn execute_disturbed(&self, disturbance: &Disturbance, request: &Value) {
        let aws = &self.disturbed(disturbance);
        let answer = async |step| {
            let answer = handle(aws, step).await;
            answer.map_err(|error| Failure::from(&error))
        };
        let before = self.starts().await;
        let mut inputs = vec![request.clone()];
        while let Some(input) = inputs.pop() {
            let execution = self.execution(&answer).disturbed(disturbance);
            let played = execution.play(&input).await;
            assert_eq!(played.ended, Ended::Succeeded, "{:?}", played.states);
            if input == *request {
                inputs = self.started(before).await;
            }
        }
    }

    /// One execution, with those that it starts, of which one stops for good where it is disturbed.
    async fn execute_until(&self, disturbance: &Disturbance, request: &Value) {
        let aws = &self.disturbed(disturbance);
        let answer = async |step| stopping(disturbance, handle(aws, step)).await;
        let played = self.execute(request, answer).await;
        assert_eq!(played.ended == Ended::Stopped, disturbance.struck());
    }

    /// The one thing that there is to do by a plan, which does it itself or hands it over.
    async fn task(&self, request: Value) -> Value {
        let before = self.starts().await;
        let plan = json!({
            "action": "plan", "request": request, "started": Timestamp::now(),
            "machine": self.park, "execution": RUN,
        });
        let plan = self.step(plan).await;
        let mut tasks = self.started(before).await;
        tasks.push(json!({"task": plan["task"]}));
        tasks.retain(|it| it["task"].is_object());
        assert_eq!(tasks.len(), 1, "{tasks:#?}");
        tasks[0]["task"].clone()
    }

    /// One step by itself.
    async fn step(&self, step: Value) -> Value {
        patiently(async || handle(&self.calm, step.clone()).await).await
    }

    /// A person stops the database.
    async fn stop_database_by_hand(&self) {
        let stopped = self.calm.rds().stop_db_instance();
        let stopped = stopped.db_instance_identifier(NAME).send().await;
        stopped.expect("stopped");
        self.database_is("stopped").await;
    }

    async fn database_is(&self, status: &str) {
        self.stage.database_is(NAME, Some(status)).await;
    }

    /// A look shortly after the beginning of a night.
    async fn park(&self, night: Night) {
        self.look_at(&at(night.evening() + 1.minute())).await;
    }

    /// A look shortly after its end.
    async fn wake(&self, night: Night) {
        self.look_at(&at(night.morning() + 1.minute())).await;
    }
}

/// Carries out one step of the function. What runs is asked of the machine in place of `deploy`: of its executions, too, each
/// input is read.
async fn handle(aws: &Aws, step: Value) -> Result<Value, Error> {
    let machine = &aws.account.deploy_state_machine;
    let surroundings = Surroundings {
        parking: PARKING.into(),
        provision_state_machine: machine.clone(),
        teardown_state_machine: machine.clone(),
        tempo: FAST,
    };
    Step::parse(step)?.handle(aws, &surroundings).await
}

/// Milliseconds in place of seconds.
const FAST: Tempo = Tempo {
    interval: Duration::from_millis(1),
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(4),
};

/// A look of the schedule.
fn at(now: Timestamp) -> Value {
    json!({"action": "follow-schedule", "now": now})
}

/// A machine that is over at once, unless its input says that it takes some time.
fn timed() -> Value {
    json!({"StartAt": "Does it take time?", "States": {
        "Does it take time?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.seconds", "IsPresent": true, "Next": "Run"}],
            "Default": "Done",
        },
        "Run": {"Type": "Wait", "SecondsPath": "$.seconds", "Next": "Done"},
        "Done": {"Type": "Succeed"},
    }})
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

fn play(scenario: impl AsyncFnOnce(Scene)) {
    play_fast(async |stage| scenario(Scene::set(stage).await).await);
}

#[test]
fn a_stack_falls_asleep_and_wakes_once_whichever_call_is_disturbed() {
    play(async |scene| {
        let mut nights = (0..).map(Night);
        let mut disturbances = 0;
        for kind in Kind::ALL {
            for wakes in [false, true] {
                for call in 0.. {
                    let night = nights.next().expect("a night");
                    let disturbance = Disturbance::in_each_state(call, kind);
                    let label = || {
                        let what = if wakes { "waking" } else { "falling asleep" };
                        format!(
                            "{what}, {kind:?} at call {call} of each state ({})",
                            disturbance.calls()
                        )
                    };
                    let before = scene.seen().await;
                    if wakes {
                        scene.park(night).await;
                    } else {
                        let evening = at(night.evening());
                        scene.execute_disturbed(&disturbance, &evening).await;
                    }
                    let asleep = before.after_falling_asleep(night);
                    assert_eq!(scene.seen().await, asleep, "{}", label());
                    if wakes {
                        let morning = at(night.morning());
                        scene.execute_disturbed(&disturbance, &morning).await;
                    } else {
                        scene.wake(night).await;
                    }
                    assert_eq!(scene.seen().await, asleep.after_waking(), "{}", label());
                    if !disturbance.struck() {
                        break;
                    }
                    disturbances += disturbance.strikes();
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
    play(async |scene| {
        let mut nights = (0..).map(Night);
        let mut crashes = 0;
        for kind in [Kind::CutBefore, Kind::CutAfter] {
            for write in 0.. {
                let mut struck = false;
                for (wakes, sleeps_first) in [(false, true), (false, false), (true, true)] {
                    let night = nights.next().expect("a night");
                    let disturbance = Disturbance::at_write(write, kind);
                    let label = || {
                        format!(
                            "{kind:?} at write {write} ({}), {wakes} {sleeps_first}",
                            disturbance.calls()
                        )
                    };
                    let before = scene.seen().await;
                    if wakes {
                        scene.park(night).await;
                    } else {
                        let evening = at(night.evening());
                        scene.execute_until(&disturbance, &evening).await;
                    }
                    if sleeps_first {
                        scene.park(night).await;
                        let asleep = before.after_falling_asleep(night);
                        assert_eq!(scene.seen().await, asleep, "{}", label());
                    }
                    if wakes {
                        let morning = at(night.morning());
                        scene.execute_until(&disturbance, &morning).await;
                    }
                    scene.wake(night).await;
                    let seen = scene.seen().await;
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

const EVENING: &str = "2026-11-23T20:00:00Z"; // that of the first night
const NIGHT: &str = "2026-11-24T02:00:00Z";
const LATER: &str = "2026-11-24T03:00:00Z";
const MORNING: &str = "2026-11-24T07:00:00Z";

fn follow_schedule(now: &str) -> Value {
    json!({"action": "follow-schedule", "now": now})
}

#[test]
fn what_a_person_has_paused_since_the_plan_stays_that_persons() {
    play(async |scene| {
        let task = scene.task(follow_schedule("2026-11-23T20:00:01Z")).await;
        let played = scene
            .execute(&follow_schedule(EVENING), async |step| {
                if step["action"] == "record" {
                    scene.service().pause_by_hand().await;
                }
                scene.answer(step).await
            })
            .await;
        assert!(played.has("Record"), "{:?}", played.states);
        let before = scene.seen().await;
        assert_eq!((before.status, before.pauses), (ServiceStatus::Paused, 1));
        assert_eq!(before.mark, None);
        // Nor does any of the states by itself, should the mark go later than that.
        for action in ["alarms-off", "pause-services", "stop-databases"] {
            scene.step(json!({"action": action, "task": task})).await;
        }
        assert_eq!(scene.seen().await, before);
        assert_eq!(
            (before.database.as_str(), before.alarm_tells),
            ("available", true)
        );
        // And in the morning there is nothing to do.
        let answer = async |step| scene.answer(step).await;
        let morning = scene.execute(&follow_schedule(MORNING), answer).await;
        assert_eq!(morning.last(), "Looked");
    });
}

#[test]
fn what_a_person_has_woken_since_the_plan_stays_awake() {
    play(async |scene| {
        scene.park(Night(0)).await;
        let passed = scene.stage.local.seven_days_pass(NAME).await;
        passed.expect("it was stopped");
        let task = scene.task(follow_schedule("2026-11-24T02:00:01Z")).await;
        assert_eq!(
            task["action"], "pause",
            "its database is to be stopped again"
        );
        let asleep = scene.seen().await;
        scene
            .execute(&follow_schedule(NIGHT), async |step| {
                if step["action"] == "record" {
                    scene.service().resume_by_hand().await;
                    scene.database_is("available").await;
                }
                scene.answer(step).await
            })
            .await;
        let woken = Seen {
            status: ServiceStatus::Running,
            database: "available".into(),
            resumes: asleep.resumes + 1,
            ..asleep
        };
        assert_eq!(scene.seen().await, woken);
    });
}

#[test]
fn a_wake_that_its_wish_does_not_outlive_ends_asleep() {
    for last in ["start-databases", "resume-services", "alarms-on"] {
        play(async |scene| {
            scene.park(Night(0)).await;
            let asleep = scene.seen().await;
            let resume = json!({"action": "resume", "stack": NAME, "now": NIGHT, "until": LATER});
            let played = scene
                .execute(&resume, async |step| {
                    let is_last = step["action"] == last;
                    let answer = scene.answer(step).await?;
                    (!is_last).then_some(answer).ok_or(Failure::Stopped)
                })
                .await;
            assert_eq!(played.ended, Ended::Stopped, "after {last}");
            scene.look_at(&follow_schedule(LATER)).await;
            let seen = scene.seen().await;
            let woken = usize::from(last != "start-databases");
            let expected = Seen {
                pauses: asleep.pauses + woken,
                resumes: asleep.resumes + woken,
                ..asleep
            };
            assert_eq!(seen, expected, "after {last}");
        });
    }
}

#[test]
fn a_wake_that_failed_leaves_no_alarm_on_in_the_next_night() {
    play(async |scene| {
        scene.park(Night(0)).await;
        let asleep = scene.seen().await;
        let failure = json!({"Error": "Throttled", "Cause": "RDS does not answer"});
        let played = scene
            .execute(&follow_schedule(MORNING), async |step| {
                match step["action"] == "start-databases" {
                    true => Err(Failure::AtLast(failure.clone())),
                    false => scene.answer(step).await,
                }
            })
            .await;
        assert!(played.has("Give up"), "{:?}", played.states);
        let by_day = Seen {
            alarm_tells: true,
            ..scene.seen().await
        };
        assert_eq!(scene.seen().await, by_day, "its alarms tell by day");
        let next_evening = "2026-11-24T20:00:00Z";
        scene.look_at(&follow_schedule(next_evening)).await;
        assert_eq!(
            scene.seen().await,
            Seen {
                mark: Some(next_evening.to_owned()),
                ..asleep
            }
        );
    });
}

#[test]
fn a_wish_that_had_to_wait_leaves_what_a_person_says_meanwhile() {
    play(async |scene| {
        let service = scene.service();
        let noon = "2026-11-23T12:00:00Z";
        let pause = json!({"action": "pause", "stack": NAME, "now": noon});
        let task = scene.task(pause).await;
        // A deployment is watched.
        let deployment = scene.calm.sfn().start_execution().name("deploying");
        let deployment = deployment.state_machine_arn(&scene.machine);
        let deployment = deployment.input(json!({"seconds": 90_000_000}).to_string());
        let deployment = deployment.send().await.expect("started").execution_arn;
        let claim = "deploying secrets none none none none";
        service.set_tag("groundcrew:deploying", claim).await;
        let record = json!({"action": "record", "task": task});
        let waits = handle(&scene.calm, record.clone()).await;
        let waits = waits.expect_err("it waits");
        assert_eq!(waits.name(), "Claimed", "{waits}");
        let wish = service.tag("groundcrew:parked-until");
        assert_eq!(wish.as_deref(), Some(MORNING));
        service.set_tag("groundcrew:awake-until", MORNING).await;
        let stopped = scene.calm.sfn().stop_execution().execution_arn(deployment);
        stopped.send().await.expect("stopped");
        let recorded = handle(&scene.calm, record).await.expect("it has ended");
        assert_eq!(recorded["outcome"], "overtaken", "{recorded}");
        let wish = service.tag("groundcrew:awake-until");
        assert_eq!(wish.as_deref(), Some(MORNING));
        assert_eq!(scene.seen().await.mark, None);
    });
}

#[test]
fn what_a_person_paused_and_then_has_parked_is_woken_in_the_morning() {
    play(async |scene| {
        let awake = scene.seen().await;
        scene.service().pause_by_hand().await;
        scene.stop_database_by_hand().await;
        let pause = json!({"action": "pause", "stack": NAME, "now": NIGHT});
        let task = scene.task(pause.clone()).await;
        assert_eq!(task["action"], "leave", "all of it is down");
        scene.look_at(&pause).await;
        assert_eq!(scene.seen().await.mark.as_deref(), Some(EVENING));
        scene.wake(Night(0)).await;
        let woken = Seen {
            pauses: 1,
            ..awake.after_waking()
        };
        assert_eq!(scene.seen().await, woken);
    });
}

/// The step of a stack that could not be seen to.
fn give_up(task: &Value) -> Value {
    json!({
        "action": "give-up", "task": task, "machine": "arn", "execution": RUN,
        "failure": {"Error": "Busy", "Cause": "it is in an operation"},
    })
}

#[test]
fn a_failure_of_a_service_that_takes_no_tag_is_told_once() {
    play(async |scene| {
        // An operation that does not end: App Runner takes no tag.
        scene.service().next("PAUSE_SERVICE", json!({"takes": 1e9}));
        let mut task = scene.task(follow_schedule(EVENING)).await;
        let paused = scene.calm.apprunner().pause_service();
        paused.service_arn(&scene.arn).send().await.expect("paused");
        let mut told = Vec::new();
        for hour in 0..24 {
            let about = format!("2026-11-24T{hour:02}:00:00Z");
            task["clock"] = json!({"about": about, "started": Timestamp::now()});
            if scene.step(give_up(&task)).await["notification"].is_object() {
                told.push(about);
                scene
                    .step(json!({"action": "note-told", "task": task}))
                    .await;
            }
        }
        assert_eq!(told, ["2026-11-24T00:00:00Z"]);
    });
}

/// An execution that dies between the two leaves a failure that is told again by the next one, and not one that nobody was told
/// of.
#[test]
fn a_failure_is_told_until_it_is_noted_that_somebody_was_told() {
    play(async |scene| {
        let task = scene.task(follow_schedule(EVENING)).await;
        let is_told = async || scene.step(give_up(&task)).await["notification"].is_object();
        assert!(is_told().await);
        assert!(is_told().await, "nobody has noted it");
        let note = json!({"action": "note-told", "task": task});
        scene.step(note).await;
        assert!(!is_told().await);
    });
}

#[test]
fn a_look_at_two_hundred_stacks_starts_one_execution_for_each_and_the_same_look_again_none() {
    const STACKS: usize = 200;
    play_fast(async |stage| {
        let deploy = stage.machine("crashing-deploy", &timed()).await;
        // It is at work until somebody stops it.
        let works = json!({"StartAt": "Work", "States": {
            "Work": {"Type": "Wait", "Seconds": 99_999_999, "End": true},
        }});
        let park = stage.machine("park", &works).await;
        let aws = stage.clients(&deploy);
        let repository = stage.local.aws().ecr().create_repository();
        let repository = repository.repository_name("many").send().await;
        repository.expect("a repository");
        let pushed = stage.local.push_image("many", "latest", "amd64").await;
        pushed.expect("pushed");
        let quota = Arrangement::Quota { services: STACKS };
        stage.local.apprunner().arrange(quota).expect("arranged");
        for n in 0..STACKS {
            let app = format!("many{n}");
            let tags = [
                ("groundcrew:managed", "true"),
                ("groundcrew:app", app.as_str()),
                ("groundcrew:environment", "dev"),
            ];
            let new = NewService {
                name: &format!("{app}-dev"),
                image: "123456789012.dkr.ecr.us-east-1.amazonaws.com/many:latest",
                tags: &tags,
                secrets: &[],
            };
            stage.local.create_service(&new).await.expect("created");
        }
        eventually("all run", async || {
            let services = stage.local.apprunner().snapshot().services;
            let mut services = services.iter();
            services
                .all(|it| it.status == ServiceStatus::Running)
                .then_some(())
        })
        .await;
        let plan = async |now: &str| {
            let plan = json!({
                "action": "plan", "request": follow_schedule(now), "started": Timestamp::now(),
                "machine": park, "execution": RUN,
            });
            patiently(async || handle(&aws, plan.clone()).await).await
        };
        let of_stacks = async || {
            let started = stage.local.executions(&park, "").await.expect("listed");
            let names = started
                .iter()
                .map(|it| it.arn().rsplit(':').next().expect("a name").to_owned());
            let names: BTreeSet<_> = names.collect();
            assert_eq!(names.len(), STACKS);
            (0..STACKS).all(|n| {
                let begin = format!("many{n}-dev-pause-");
                names.iter().filter(|name| name.starts_with(&begin)).count() == 1
            })
        };
        let evening = plan(EVENING).await;
        assert_eq!(evening["started"], STACKS, "{evening}");
        assert!(evening.to_string().len() < 262_144);
        assert!(of_stacks().await, "one for each");
        // Once more, as after an answer that was lost: whoever was started before is a replay. And half an hour later all are
        // at work.
        plan(EVENING).await;
        let later = plan("2026-11-23T20:30:00Z").await;
        assert_eq!(later["started"], 0, "{later}");
        let reason = later["stacks"][0]["reason"].as_str().expect("a reason");
        assert!(reason.contains("is at work on it"), "{reason}");
        assert!(of_stacks().await, "no more than one for each");
    });
}
