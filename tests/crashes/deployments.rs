//! The connection of `deploy` and of `trigger` is disturbed at every call, and executions of `deploy` stop for good after
//! every call that writes: each wanted deployment is one operation of App Runner, none is lost, and what is remembered of
//! it is what an undisturbed run remembers.

use super::disturbance::{self, Disturbance, Kind, disturbed};
use super::{Execution, patiently, pause, stopping, struck};
use crate::asl::{Ended, Failure, Played, machines};
use crate::stage::{Service, Stage, play_fast};
use apprunner_emulator::{OperationStatus, OperationType, ServiceStatus};
use aws_sdk_sfn::types::ExecutionStatus;
use deploy::Step;
use groundcrew::{Aws, Error, secrets};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The service, its repository and its secret.
const NAME: &str = "crashing";

/// What there is to deploy, and what becomes of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scenario {
    /// A newer image.
    Image,
    /// A newer version of a secret.
    Secrets,
    /// An image that App Runner cannot deploy.
    Failing,
    /// An image that App Runner cannot deploy, and a newer version of a secret, which has to be deployed without it.
    FailingWithSecrets,
    /// An image whose requests fail in its bake window.
    Alarming,
}

/// A local AWS with two images, a secret, and a state machine whose executions run until they are stopped.
struct Scene {
    stage: Stage,
    calm: Aws,
    machine: String,
    first: String,
    newer: String,
    secret: String,
}

/// A service with something to deploy.
struct App<'a> {
    scene: &'a Scene,
    service: Service<'a>,
    scenario: Scenario,
    /// The version of its secret and the fingerprint that it should end up with.
    version: String,
    fingerprint: String,
}

/// What there is to see of a service.
#[derive(Debug, Eq, PartialEq)]
struct Seen {
    operations: Vec<(String, String)>,
    runs_newer: bool,
    runs_current_secrets: bool,
    /// Its tags, without times.
    tags: BTreeMap<String, usize>,
}

fn play(scenario: impl AsyncFnOnce(Scene)) {
    play_fast(async |stage| scenario(Scene::set(stage).await).await);
}

impl Scene {
    async fn set(stage: Stage) -> Self {
        let repository = stage.local.aws().ecr().create_repository();
        let repository = repository.repository_name(NAME).send().await;
        repository.expect("a repository");
        let push = async |tag| {
            let pushed = stage.local.push_image(NAME, tag, "amd64").await;
            pushed.expect("pushed")
        };
        let (first, newer) = (push("1.0.0").await, push("1.1.0").await);
        let endless = json!({
            "StartAt": "Run",
            "States": {"Run": {"Type": "Wait", "Seconds": 99_999_999, "End": true}},
        });
        let machine = stage.machine("crashing-deploy", &endless).await;
        Self {
            secret: stage.secret(NAME).await,
            calm: stage.clients(&machine),
            stage,
            machine,
            first,
            newer,
        }
    }

    fn disturbed(&self, disturbance: &Disturbance) -> Aws {
        disturbed(&self.stage.local, self.calm.account.clone(), disturbance)
    }

    async fn fingerprint(&self) -> String {
        let found = secrets::fingerprint(&self.calm, &BTreeSet::from([self.secret.clone()])).await;
        found.expect("described").text.expect("it has a secret")
    }

    async fn execution(&self, name: &str) -> String {
        let started = self
            .calm
            .sfn()
            .start_execution()
            .state_machine_arn(&self.machine)
            .name(name);
        started.send().await.expect("started").execution_arn
    }

    async fn stop(&self, execution: &str) {
        let stopped = self.calm.sfn().stop_execution().execution_arn(execution);
        stopped.send().await.expect("stopped");
    }

    /// A new service that runs the first image.
    async fn create(&self, name: &str, tags: &[(&str, &str)]) -> Service<'_> {
        let given = Service::given(&self.stage, name).runs(format!("{NAME}@{}", self.first));
        let mut given = given.reads("PASSWORD", &self.secret);
        for (key, value) in tags {
            given = given.tagged(key, value);
        }
        given.create().await
    }

    async fn app(&self, scenario: Scenario) -> App<'_> {
        let before = self.fingerprint().await;
        let rule = match scenario {
            Scenario::Secrets => "1.0.0",
            _ => "semver:1",
        };
        // Releases are told apart by the second, and here all of them are in the same one.
        let release = format!("deployed {} tag=1.0.0 why=long ago", self.first);
        let tags = [
            ("groundcrew:image-tag", rule),
            ("groundcrew:deploy-policy", "bake=3"),
            ("groundcrew:deployed-secrets", &before),
            ("groundcrew:release-2020-01-01T00:00:00Z", &release),
        ];
        let service = self.create(NAME, &tags).await;
        use Scenario::{Alarming, Failing, FailingWithSecrets, Secrets};
        if [Secrets, FailingWithSecrets].contains(&scenario) {
            let rotated = self.stage.local.rotate_secret(&self.secret, "again").await;
            rotated.expect("rotated");
        }
        if [Failing, FailingWithSecrets].contains(&scenario) {
            service.next("UPDATE_SERVICE", json!("fails"));
        }
        if scenario == Alarming {
            service.alarm("errors", "5xxStatusResponses").await;
        }
        let version = self.stage.local.current_version(&self.secret).await;
        App {
            scene: self,
            service,
            scenario,
            version: version.expect("it has one"),
            fingerprint: self.fingerprint().await,
        }
    }
}

/// Carries out one step of the function.
async fn handle(aws: &Aws, step: Value) -> Result<Value, Error> {
    Step::parse(step)?.handle(aws).await
}

/// How an execution ended.
fn outcome(played: &Played) -> &str {
    let outcome = played.data["outcome"].as_str();
    outcome.unwrap_or_else(|| panic!("{:?}: {:?}", played.states, played.ended))
}

impl App<'_> {
    fn request(&self) -> Value {
        json!({"service": self.service.arn, "cause": "a test"})
    }

    async fn execute(&self, aws: &Aws, name: &str) -> Played {
        let answer = async |step| self.answer(aws, step).await;
        let execution = Execution::of(machines::deploy(), name, answer);
        execution.play(&self.request()).await
    }

    /// Plays an execution each of whose states is disturbed.
    async fn execute_disturbed(&self, disturbance: &Disturbance) -> Played {
        let aws = &self.scene.disturbed(disturbance);
        let answer = async |step| self.answer(aws, step).await;
        let execution = Execution::of(machines::deploy(), "disturbed", answer);
        let execution = execution.disturbed(disturbance);
        execution.play(&self.request()).await
    }

    /// Plays an execution that stops for good where it is disturbed.
    async fn execute_until(&self, disturbance: &Disturbance, name: &str) -> Played {
        let aws = &self.scene.disturbed(disturbance);
        let answer = async |step| {
            self.fails_in_time(&step).await;
            stopping(disturbance, handle(aws, step)).await
        };
        let execution = Execution::of(machines::deploy(), name, answer);
        execution.play(&self.request()).await
    }

    async fn answer(&self, aws: &Aws, step: Value) -> Result<Value, Failure> {
        self.fails_in_time(&step).await;
        let answer = handle(aws, step).await;
        answer.map_err(|error| Failure::from(&error))
    }

    /// Its requests fail from the end of the deployment on.
    async fn fails_in_time(&self, step: &Value) {
        if self.scenario == Scenario::Alarming && step["action"] == "bake" {
            let ended: Timestamp = step["operation"]["ended_at"]
                .as_str()
                .and_then(|at| at.parse().ok())
                .expect("a time");
            let since = Some(ended.as_millisecond() as f64 / 1000.0);
            let service = &self.service;
            service
                .publishes_since("5xxStatusResponses", Some(10.0), since)
                .await;
        }
    }

    fn seen(&self) -> Seen {
        let service = self.service.look();
        let operations = service.operations.iter().rev().skip(1);
        let names = |operation: &apprunner_emulator::OperationSnapshot| {
            let (kind, status) = (operation.operation_type, operation.status);
            (format!("{kind:?}"), format!("{status:?}"))
        };
        let mut tags = service.tags.clone();
        if self.scenario == Scenario::FailingWithSecrets {
            // Its two releases are in the same second, or they are not.
            tags.retain(|key, _| !key.starts_with("groundcrew:release-"));
        }
        let tags = format!("{tags:#?}")
            .replace(&self.scene.first, "the first image")
            .replace(&self.scene.newer, "the newer image")
            .replace(&self.fingerprint, "the current secrets");
        Seen {
            operations: operations.map(names).collect(),
            runs_newer: service.runs.image_digest.as_ref() == Some(&self.scene.newer),
            runs_current_secrets: service.runs.secret_versions["PASSWORD"] == self.version,
            tags: disturbance::shape(&tags),
        }
    }

    fn tag(&self, key: &str) -> Option<String> {
        self.service.tag(key)
    }

    async fn remove(self) {
        let is_busy = || self.service.look().status == ServiceStatus::OperationInProgress;
        while is_busy() {
            pause().await;
        }
        self.service.delete().await;
        if self.scenario == Scenario::Alarming {
            let alarms = self.scene.calm.cloudwatch().delete_alarms();
            let deleted = alarms.alarm_names(format!("{NAME}-errors")).send().await;
            deleted.expect("deleted");
        }
    }
}

fn operations(of: &[(OperationType, OperationStatus)]) -> Vec<(String, String)> {
    let names = of
        .iter()
        .map(|(kind, status)| (format!("{kind:?}"), format!("{status:?}")));
    names.collect()
}

/// What an undisturbed deployment comes to: looked at closely, because everything else is compared with it.
async fn undisturbed(scene: &Scene, scenario: Scenario) -> (Seen, String) {
    use OperationStatus::{RollbackSucceeded, Succeeded};
    use OperationType::{StartDeployment, UpdateService};
    let app = scene.app(scenario).await;
    let played = app.execute(&scene.calm, "undisturbed").await;
    let seen = app.seen();
    let (expected_outcome, expected) = match scenario {
        Scenario::Image => ("Deployed", vec![(UpdateService, Succeeded)]),
        Scenario::Secrets => ("Deployed", vec![(StartDeployment, Succeeded)]),
        Scenario::Failing => ("DeploymentFailed", vec![(UpdateService, RollbackSucceeded)]),
        Scenario::FailingWithSecrets => (
            "Deployed",
            vec![
                (UpdateService, RollbackSucceeded),
                (StartDeployment, Succeeded),
            ],
        ),
        Scenario::Alarming => (
            "RolledBack",
            vec![(UpdateService, Succeeded), (UpdateService, Succeeded)],
        ),
    };
    assert_eq!(
        outcome(&played),
        expected_outcome,
        "{scenario:?}: {seen:#?}"
    );
    assert_eq!(seen.operations, operations(&expected), "{scenario:?}");
    assert_eq!(seen.runs_newer, scenario == Scenario::Image, "{scenario:?}");
    assert!(seen.runs_current_secrets, "{scenario:?}");
    assert_eq!(app.tag("groundcrew:deploying").as_deref(), Some("none"));
    assert_eq!(
        app.tag("groundcrew:deployed-secrets"),
        Some(app.fingerprint.clone())
    );
    let rejected = ![Scenario::Image, Scenario::Secrets].contains(&scenario);
    let expected = rejected.then(|| scene.newer.clone());
    assert_eq!(app.tag("groundcrew:rejected-image"), expected);

    // Settled twice, it is settled once; and there is nothing left to do.
    let settle = played.last_step("settle").expect("it was settled");
    let settled = patiently(async || handle(&scene.calm, settle.clone()).await).await;
    assert_eq!(settled["outcome"], expected_outcome);
    assert_same(&seen, &app.seen(), "settled twice");
    let later = app.execute(&scene.calm, "later").await;
    assert_eq!(outcome(&later), "Nothing");
    assert_same(&seen, &app.seen(), "looked at again");
    app.remove().await;
    (seen, expected_outcome.to_owned())
}

fn assert_same(expected: &Seen, found: &Seen, label: &str) {
    assert!(
        expected == found,
        "{label}: expected {expected:#?}, found {found:#?}"
    );
}

/// Disturbs every call of every state of a deployment once in each way; the state machine repeats the step.
fn disturb_every_call(scenario: Scenario) {
    play(async |scene| {
        let (expected, expected_outcome) = undisturbed(&scene, scenario).await;
        let mut disturbances = 0;
        'kinds: for kind in Kind::ALL {
            for call in 0.. {
                let disturbance = Disturbance::in_each_state(call, kind);
                let app = scene.app(scenario).await;
                let played = app.execute_disturbed(&disturbance).await;
                let label = format!(
                    "{scenario:?}, {kind:?} at call {call} of each state ({})",
                    disturbance.calls()
                );
                assert_eq!(outcome(&played), expected_outcome, "{label}");
                assert_same(&expected, &app.seen(), &label);
                app.remove().await;
                if !disturbance.struck() {
                    continue 'kinds;
                }
                disturbances += disturbance.strikes();
            }
        }
        println!("{scenario:?}: {disturbances} disturbances of a deployment");
    });
}

#[test]
fn an_image_is_deployed_once_whichever_call_is_disturbed() {
    disturb_every_call(Scenario::Image);
}

#[test]
fn secrets_are_deployed_once_whichever_call_is_disturbed() {
    disturb_every_call(Scenario::Secrets);
}

#[test]
fn an_image_that_fails_is_tried_once_whichever_call_is_disturbed() {
    disturb_every_call(Scenario::Failing);
}

#[test]
fn secrets_reach_a_service_behind_a_failed_image_whichever_call_is_disturbed() {
    disturb_every_call(Scenario::FailingWithSecrets);
}

#[test]
fn an_image_that_turns_an_alarm_red_is_taken_back_once_whichever_call_is_disturbed() {
    disturb_every_call(Scenario::Alarming);
}

/// Before and after every call that writes an execution stops for good. Another one waits as long as it runs, and then
/// takes over.
#[test]
fn an_execution_takes_over_wherever_the_one_before_it_stopped_for_good() {
    play(async |scene| {
        let mut stops = 0;
        for scenario in [Scenario::Image, Scenario::Secrets, Scenario::Failing] {
            let (expected, _) = undisturbed(&scene, scenario).await;
            'kinds: for kind in [Kind::CutBefore, Kind::CutAfter] {
                for write in 0.. {
                    let stop = Disturbance::at_write(write, kind);
                    let app = scene.app(scenario).await;
                    let name = format!("first-{scenario:?}-{kind:?}-{write}");
                    let first = scene.execution(&name).await;
                    let played = app.execute_until(&stop, &name).await;
                    let label =
                        format!("{scenario:?}, {kind:?} at write {write} ({})", stop.calls());
                    assert_eq!(played.ended == Ended::Stopped, stop.struck(), "{label}");
                    let claim = app.service.memory().await.claim.clone();
                    if claim.is_some_and(|claim| claim.execution == name) {
                        assert_waits(&app, &label).await;
                    }
                    scene.stop(&first).await;
                    app.execute(&scene.calm, "second").await;
                    let found = app.seen();
                    assert_eq!(found.operations, expected.operations, "{label}");
                    assert_eq!(found.runs_newer, expected.runs_newer, "{label}");
                    assert!(found.runs_current_secrets, "{label}");
                    assert_eq!(remembered(&app), remembered_of(&app, scenario), "{label}");
                    app.remove().await;
                    if !stop.struck() {
                        continue 'kinds;
                    }
                    stops += 1;
                }
            }
        }
        println!("{stops} executions of deploy that stopped for good");
    });
}

/// An execution that looks at the service while another one has claimed it waits.
async fn assert_waits(app: &App<'_>, label: &str) {
    let request = json!({"service": app.service.arn});
    let assess = json!({"action": "assess", "request": request, "execution": "second"});
    let answer = handle(&app.scene.calm, assess).await;
    // Once App Runner has ended the operation; before, it is busy itself.
    let waits = matches!(answer, Err(Error::Claimed(_)));
    assert!(waits, "{label}: {answer:?}");
}

/// What the tags say of the last deployment, whoever saw its end: the releases without tag and cause, the claim, what was
/// deployed and what was rejected.
fn remembered(app: &App<'_>) -> BTreeMap<String, String> {
    let tags = app.service.look().tags;
    let mut remembered = BTreeMap::new();
    for (key, value) in tags {
        if key.starts_with("groundcrew:release-2020-01-01T") {
            continue;
        }
        let (key, value) = match key.strip_prefix("groundcrew:release-") {
            None => (key.as_str(), value),
            Some(_) => {
                let words: Vec<_> = value.split(' ').take(2).collect();
                // Whether somebody has watched it to the end is another matter.
                ("release", words.join(" ").replace("unwatched", "deployed"))
            }
        };
        let kept = ["deploying", "deployed-secrets", "rejected-image"];
        if key == "release" || kept.iter().any(|kept| key.ends_with(kept)) {
            let key = key.trim_start_matches("groundcrew:").to_owned();
            assert_eq!(remembered.insert(key, value), None, "two releases");
        }
    }
    remembered
}

fn remembered_of(app: &App<'_>, scenario: Scenario) -> BTreeMap<String, String> {
    let Scene { first, newer, .. } = app.scene;
    let release = match scenario {
        Scenario::Image => format!("deployed {newer}"),
        Scenario::Secrets => format!("deployed {first}"),
        _ => format!("failed {newer}"),
    };
    let mut expected = BTreeMap::from([
        ("deploying".to_owned(), "none".to_owned()),
        ("deployed-secrets".to_owned(), app.fingerprint.clone()),
        ("release".to_owned(), release),
    ]);
    if scenario == Scenario::Failing {
        expected.insert("rejected-image".to_owned(), newer.clone());
    }
    expected
}

/// Also where the image is not well. Before anybody has seen that, the execution that takes over does not know it either, and
/// the image is left in place. But none is deployed, or taken back, twice.
#[test]
fn no_image_is_deployed_or_taken_back_twice_wherever_a_rollback_stopped_for_good() {
    play(async |scene| {
        let (expected, _) = undisturbed(&scene, Scenario::Alarming).await;
        let (mut stops, mut left) = (0, 0);
        'kinds: for kind in [Kind::CutBefore, Kind::CutAfter] {
            for write in 0.. {
                let stop = Disturbance::at_write(write, kind);
                let app = scene.app(Scenario::Alarming).await;
                let name = format!("first-{kind:?}-{write}");
                let first = scene.execution(&name).await;
                app.execute_until(&stop, &name).await;
                scene.stop(&first).await;
                let label = format!("{kind:?} at write {write} ({})", stop.calls());
                for time in ["second", "third"] {
                    app.execute(&scene.calm, time).await;
                    let found = app.seen();
                    assert!(
                        expected.operations.starts_with(&found.operations),
                        "{label}, {time}: {found:#?}"
                    );
                    assert!(found.runs_current_secrets, "{label}, {time}");
                    let claim = app.tag("groundcrew:deploying");
                    assert_eq!(claim.as_deref(), Some("none"), "{label}, {time}");
                    left += usize::from(found.runs_newer && time == "third");
                }
                app.remove().await;
                if !stop.struck() {
                    continue 'kinds;
                }
                stops += 1;
            }
        }
        println!(
            "{stops} rollbacks that stopped for good, after {left} of them the image was left in place"
        );
        // Before anybody has looked at an alarm; once it was to be taken back, somebody takes it back.
        assert_eq!(left, 2);
    });
}

/// Each disturbed settling removes no more than the one release that has to go.
#[test]
fn the_last_ten_releases_are_kept_whichever_write_is_disturbed() {
    play(async |scene| {
        let mut disturbances = 0;
        'kinds: for kind in [Kind::CutBefore, Kind::CutAfter] {
            for write in 0.. {
                let disturbance = Disturbance::at_write(write, kind);
                let app = scene.app(Scenario::Image).await;
                let releases = (2..=10).map(|day| {
                    let tag = aws_sdk_apprunner::types::Tag::builder();
                    tag.key(format!("groundcrew:release-2020-01-{day:02}T00:00:00Z"))
                        .value(format!("deployed {} why=long ago", scene.first))
                        .build()
                });
                let tagged = scene.calm.apprunner().tag_resource();
                let tagged = tagged
                    .resource_arn(&app.service.arn)
                    .set_tags(Some(releases.collect()));
                tagged.send().await.expect("tagged");
                app.execute(&scene.disturbed(&disturbance), "disturbed")
                    .await;
                let tags = app.service.look().tags;
                let mut kept = tags
                    .keys()
                    .filter(|key| key.starts_with("groundcrew:release-"));
                let oldest = kept.next().expect("releases");
                let label = format!("{kind:?} at write {write} ({})", disturbance.calls());
                assert_eq!(oldest, "groundcrew:release-2020-01-02T00:00:00Z", "{label}");
                assert_eq!(kept.count(), 9, "{label}");
                app.remove().await;
                if !disturbance.struck() {
                    continue 'kinds;
                }
                disturbances += 1;
            }
        }
        println!("{disturbances} disturbances of a service with ten releases");
    });
}

/// Whoever updates a service once its deployment has ended has overtaken it: what the service is to run from then on does not
/// make the deployment somebody else's, which would be deployed once more, over what the person wants.
#[test]
fn a_deployment_has_delivered_before_whichever_call_that_asks_for_its_end_a_person_updates_the_service()
 {
    play(async |scene| {
        for call in 0.. {
            let app = scene.app(Scenario::Image).await;
            let assess = json!({
                "action": "assess", "request": app.request(), "execution": "overtaken",
            });
            let assessment = patiently(async || handle(&scene.calm, assess.clone()).await).await;
            let wait = json!({
                "action": "await-operation", "deployment": assessment["deployment"],
            });
            let ended = patiently(async || handle(&scene.calm, wait.clone()).await).await;
            assert_eq!(ended["delivered"], true);
            let held = Disturbance::at(call, Kind::Held);
            let aws = scene.disturbed(&held);
            let person = async {
                let go_back = app.service.run_by_hand(&scene.first);
                held.meanwhile(go_back).await;
                std::future::pending().await
            };
            let operation = tokio::select! {
                operation = handle(&aws, wait) => operation.expect("it has ended"),
                () = person => unreachable!("it waits for the step"),
            };
            assert_eq!(operation["delivered"], true, "before {}", held.calls());
            app.remove().await;
            if !held.struck() {
                assert!(call > 1, "it asks for the operation, and for the service");
                break;
            }
        }
    });
}

/// What a push asks of `trigger`: it is disturbed, or killed in the middle, and invoked once more with the same event.
#[test]
fn each_service_of_a_push_has_one_execution_whichever_call_of_trigger_is_disturbed() {
    play(async |scene| {
        let follows = [("groundcrew:image-tag", "semver:1")];
        let _services = [
            scene.create("follows-one", &follows).await,
            scene.create("follows-two", &follows).await,
            scene
                .create("pinned", &[("groundcrew:image-tag", "1.0.0")])
                .await,
        ];
        let (mut disturbances, mut killed, mut events) = (0, 0, 0);
        for (kind, kills) in Kind::ALL
            .map(|kind| (kind, false))
            .into_iter()
            .chain([(Kind::CutBefore, true), (Kind::CutAfter, true)])
        {
            for call in 0.. {
                let disturbance = Disturbance::at(call, kind);
                let event = push(events);
                events += 1;
                let aws = scene.disturbed(&disturbance);
                let label = format!("{kind:?} at call {call}, killed: {kills}");
                tokio::select! {
                    answer = trigger::handle(&aws, &event) => drop(answer),
                    () = struck(&disturbance), if kills => {}
                }
                let repeated = trigger::handle(&scene.calm, &event).await;
                let repeated = repeated.unwrap_or_else(|error| panic!("{label}: {error}"));
                let started = scene.stop_all().await;
                let services: Vec<_> = started.iter().map(|name| &name[..11]).collect();
                assert_eq!(
                    services,
                    ["follows-one", "follows-two"],
                    "{label} ({}): {repeated}",
                    disturbance.calls()
                );
                if !disturbance.struck() {
                    break;
                }
                disturbances += usize::from(!kills);
                killed += usize::from(kills);
            }
        }
        println!("{disturbances} disturbances of trigger, killed {killed} times");
    });
}

/// A push of the newer image, another one each time.
fn push(n: usize) -> Value {
    let (minute, second) = (n / 60, n % 60);
    json!({
        "source": "aws.ecr", "detail-type": "ECR Image Action", "account": "123456789012", "region": "us-east-1",
        "time": format!("2026-11-21T08:{minute:02}:{second:02}Z"),
        "detail": {
            "result": "SUCCESS", "action-type": "PUSH", "repository-name": NAME, "image-tag": "1.1.0",
            "image-digest": format!("sha256:{}", "0a".repeat(32)),
        },
    })
}

impl Scene {
    /// Stops all executions that run, and returns their names, sorted.
    async fn stop_all(&self) -> Vec<String> {
        let running = self
            .calm
            .sfn()
            .list_executions()
            .state_machine_arn(&self.machine)
            .status_filter(ExecutionStatus::Running)
            .send()
            .await
            .expect("listed");
        let mut names = Vec::new();
        for execution in running.executions {
            self.stop(&execution.execution_arn).await;
            names.push(execution.name);
        }
        names.sort();
        names
    }
}
