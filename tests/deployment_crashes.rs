//! The connection of `deploy` and of `trigger` is disturbed at every call, and executions of `deploy` stop for good after
//! every call that writes: each wanted deployment is one operation of App Runner, none is lost, and what is remembered of
//! it is what an undisturbed run remembers.

mod disturbance;

use apprunner_emulator::{
    Arrangement, OperationStatus, OperationType, ServiceSnapshot, ServiceStatus,
};
use aws_sdk_cloudwatch::types::{ComparisonOperator, Dimension, StateValue, Statistic};
use aws_sdk_sfn::types::ExecutionStatus;
use deploy::Step;
use disturbance::{Disturbance, Kind, disturbed};
use groundcrew::aws::Account;
use groundcrew::{Aws, Error, secrets};
use rehearsal::{LocalAws, NewService, Options};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::runtime::Runtime;

/// A deployment takes three minutes, which is 4 ms at this speed: the calls are the subject here, not the waiting.
const FAST: Options = Options {
    time_scale: 50_000.0,
};

/// How often a step is repeated before it counts as stuck.
const PATIENCE: u32 = 2_000;

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
    /// An image that turns an alarm red in its bake window.
    Alarming,
}

/// A local AWS with two images, a secret, and a state machine whose executions run until they are stopped.
struct Stage {
    local: LocalAws,
    calm: Aws,
    machine: String,
    first: String,
    newer: String,
    secret: String,
}

/// A service with something to deploy.
struct App<'a> {
    stage: &'a Stage,
    scenario: Scenario,
    arn: String,
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

/// How an execution ended, and what it was told to settle last.
#[derive(Debug)]
struct Ended {
    outcome: String,
    settle: Option<Value>,
}

impl Stage {
    async fn set() -> Self {
        let prepared = rehearsal::prepare()
            .await
            .expect("what the local AWS needs is there");
        let local = LocalAws::start(&prepared, FAST)
            .await
            .expect("the local AWS starts");
        let aws = local.aws();
        aws.ecr()
            .create_repository()
            .repository_name(NAME)
            .send()
            .await
            .expect("a repository");
        let push = async |tag| local.push_image(NAME, tag, "amd64").await.expect("pushed");
        let (first, newer) = (push("1.0.0").await, push("1.1.0").await);
        let secret = aws.secrets_manager().create_secret();
        let secret = secret.name(NAME).secret_string("one").send().await;
        let secret = secret.expect("a secret").arn.expect("an ARN");
        let endless = json!({
            "StartAt": "Run",
            "States": {"Run": {"Type": "Wait", "Seconds": 99_999_999, "End": true}},
        });
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole",
        }]});
        let role = aws
            .iam()
            .create_role()
            .role_name("crashing-deploy")
            .assume_role_policy_document(trust.to_string())
            .send()
            .await
            .expect("a role");
        let machine = aws
            .sfn()
            .create_state_machine()
            .name("crashing-deploy")
            .definition(endless.to_string())
            .role_arn(role.role.expect("a role").arn)
            .send()
            .await
            .expect("a state machine")
            .state_machine_arn;
        let account = Account {
            deploy_state_machine: machine.clone(),
            ..aws.account.clone()
        };
        let calm = Aws::new(local.sdk_config(), aws.https.clone(), account);
        Self {
            local,
            calm,
            machine,
            first,
            newer,
            secret,
        }
    }

    fn disturbed(&self, disturbance: &Disturbance) -> Aws {
        disturbed(&self.local, self.calm.account.clone(), disturbance)
    }

    fn arrange(&self, arrangement: Value) {
        let arrangement: Arrangement = serde_json::from_value(arrangement).expect("an arrangement");
        let arranged = self.local.apprunner().arrange(arrangement);
        arranged.expect("arranged");
    }

    async fn fingerprint(&self) -> String {
        let found = secrets::fingerprint(&self.calm, &BTreeSet::from([self.secret.clone()])).await;
        found.expect("described").expect("it has a secret")
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
    async fn create(&self, name: &str, tags: &[(&str, &str)]) -> String {
        let ours = [
            ("groundcrew:managed", "true"),
            ("groundcrew:app", name),
            ("groundcrew:environment", "test"),
        ];
        let tags = [&ours[..], tags].concat();
        let created = self
            .local
            .create_service(&NewService {
                name,
                image: &format!("{NAME}@{}", self.first),
                tags: &tags,
                secrets: &[("PASSWORD", &self.secret)],
            })
            .await;
        let arn = created.expect("created");
        while self.look(&arn).status != ServiceStatus::Running {
            pause().await;
        }
        arn
    }

    fn look(&self, arn: &str) -> ServiceSnapshot {
        let services = self.local.apprunner().snapshot().services;
        let found = services.into_iter().find(|service| service.arn == arn);
        found.expect("the service exists")
    }

    async fn app(&self, scenario: Scenario) -> App<'_> {
        let before = self.fingerprint().await;
        let rule = match scenario {
            Scenario::Secrets => "1.0.0",
            _ => "semver:1",
        };
        // Releases are told apart by the second, and here all of them are in the same one.
        let release = format!("deployed {} tag=1.0.0 why=long ago", self.first);
        let arn = self
            .create(
                NAME,
                &[
                    ("groundcrew:image-tag", rule),
                    ("groundcrew:deploy-policy", "bake=1"),
                    ("groundcrew:deployed-secrets", &before),
                    ("groundcrew:release-2020-01-01T00:00:00Z", &release),
                ],
            )
            .await;
        use Scenario::{Alarming, Failing, FailingWithSecrets, Secrets};
        if [Secrets, FailingWithSecrets].contains(&scenario) {
            let rotated = self.local.rotate_secret(&self.secret, "again").await;
            rotated.expect("rotated");
        }
        if [Failing, FailingWithSecrets].contains(&scenario) {
            self.arrange(
                json!({"kind": "next-operation", "operation": "UPDATE_SERVICE", "service": NAME, "fate": "fails"}),
            );
        }
        if scenario == Alarming {
            self.alarm(&arn).await;
        }
        let version = self.local.current_version(&self.secret).await;
        App {
            stage: self,
            scenario,
            arn,
            version: version.expect("it has one"),
            fingerprint: self.fingerprint().await,
        }
    }

    async fn alarm(&self, arn: &str) {
        let id = arn.rsplit('/').next().expect("an id");
        let dimension = Dimension::builder().name("ServiceID").value(id).build();
        let alarm = self.calm.cloudwatch().put_metric_alarm();
        alarm
            .alarm_name(format!("{NAME}-errors"))
            .namespace("AWS/AppRunner")
            .metric_name("5xxStatusResponses")
            .statistic(Statistic::Sum)
            .period(300)
            .evaluation_periods(1)
            .threshold(1.0)
            .comparison_operator(ComparisonOperator::GreaterThanOrEqualToThreshold)
            .dimensions(dimension)
            .send()
            .await
            .expect("an alarm");
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

/// One execution of the state machine.
struct Execution<'a> {
    app: &'a App<'a>,
    aws: &'a Aws,
    name: &'a str,
    /// What ends it for good.
    ends_with: Option<&'a Disturbance>,
}

impl Execution<'_> {
    /// One state with its retries; `None` if the execution has ended.
    async fn step(&self, input: Value) -> Option<Value> {
        for attempt in 0..PATIENCE {
            let mut input = input.clone();
            if input.get("attempt").is_some() {
                input["attempt"] = attempt.into();
            }
            let step = Step::parse(input.clone()).expect("a step");
            let answer = step.handle(self.aws).await;
            if self.ends_with.is_some_and(Disturbance::struck) {
                return None;
            }
            match answer {
                Ok(answer) => return Some(answer),
                Err(error) if error.is_retried() => pause().await,
                Err(error) => panic!("{}: {}: {error}", self.name, input["action"]),
            }
        }
        panic!("{} was not over after {PATIENCE} attempts", input["action"])
    }

    /// The states as `statemachine/deploy.asl.yaml` wires them.
    async fn play(&self) -> Option<Ended> {
        let request = json!({"service": self.app.arn, "cause": "a test"});
        let mut settle = None;
        loop {
            let assess = json!({"action": "assess", "request": request, "execution": self.name});
            let assessment = self.step(assess).await?;
            if assessment["verdict"] == "nothing" {
                let outcome = "Nothing".into();
                return Some(Ended { outcome, settle });
            }
            assert_eq!(assessment["verdict"], "deploying", "{assessment}");
            let (deployment, operation, left) = self.watch(assessment).await?;
            let input = json!({
                "action": "settle", "deployment": deployment, "operation": operation, "left": left,
                "execution": self.name,
            });
            settle = Some(input.clone());
            let settled = self.step(input).await?;
            if settled["look_again"] == false {
                let outcome = settled["outcome"].as_str().expect("text").to_owned();
                return Some(Ended { outcome, settle });
            }
        }
    }

    /// From an assessment to the end of its deployment, or of the rollback.
    async fn watch(&self, assessment: Value) -> Option<(Value, Value, Value)> {
        let mut deployment = assessment["deployment"].clone();
        loop {
            let input = json!({"action": "await-operation", "deployment": deployment});
            let operation = self.step(input).await?;
            if operation["succeeded"] == false || deployment["kind"] == "rollback" {
                return Some((deployment, operation, Value::Null));
            }
            let input = json!({"action": "smoke-check", "deployment": deployment, "attempt": 0});
            let mut health = self.step(input).await?;
            if health["well"] == true {
                self.app.turn_red().await;
                let input = json!({
                    "action": "bake", "deployment": deployment, "operation": operation, "looks": 0,
                });
                health = self.step(input).await?;
            }
            if health["well"] == true {
                return Some((deployment, operation, Value::Null));
            }
            let input = json!({
                "action": "roll-back", "deployment": deployment, "operation": operation, "health": health,
                "execution": self.name,
            });
            let back = self.step(input).await?;
            if !back["left"].is_null() {
                let [deployment, operation, left] =
                    ["deployment", "operation", "left"].map(|name| back[name].clone());
                return Some((deployment, operation, left));
            }
            deployment = back["deployment"].clone();
        }
    }
}

impl App<'_> {
    async fn execute(&self, aws: &Aws, name: &str) -> Ended {
        let execution = Execution {
            app: self,
            aws,
            name,
            ends_with: None,
        };
        execution.play().await.expect("nothing ends it")
    }

    /// Plays an execution that stops for good where it is disturbed; `None` if it did.
    async fn execute_until(&self, disturbance: &Disturbance, name: &str) -> Option<Ended> {
        let execution = Execution {
            app: self,
            aws: &self.stage.disturbed(disturbance),
            name,
            ends_with: Some(disturbance),
        };
        execution.play().await
    }

    /// As in the console: the image before, and no word to groundcrew.
    async fn go_back_by_hand(&self) {
        let apprunner = self.stage.calm.apprunner();
        let described = apprunner.describe_service().service_arn(&self.arn);
        let described = described.send().await.expect("described").service;
        let source = described.and_then(|service| service.source_configuration);
        let mut source = source.expect("a source");
        let image = source.image_repository.as_mut().expect("an image");
        let (newer, first) = (&self.stage.newer, &self.stage.first);
        image.image_identifier = image.image_identifier.replace(newer, first);
        let update = apprunner.update_service().service_arn(&self.arn);
        let updated = update.source_configuration(source).send().await;
        updated.expect("updating");
    }

    async fn turn_red(&self) {
        if self.scenario == Scenario::Alarming {
            let turned = self.stage.calm.cloudwatch().set_alarm_state();
            turned
                .alarm_name(format!("{NAME}-errors"))
                .state_value(StateValue::Alarm)
                .state_reason("a test")
                .send()
                .await
                .expect("turned");
        }
    }

    fn seen(&self) -> Seen {
        let service = self.stage.look(&self.arn);
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
            .replace(&self.stage.first, "the first image")
            .replace(&self.stage.newer, "the newer image")
            .replace(&self.fingerprint, "the current secrets");
        Seen {
            operations: operations.map(names).collect(),
            runs_newer: service.runs.image_digest.as_ref() == Some(&self.stage.newer),
            runs_current_secrets: service.runs.secret_versions["PASSWORD"] == self.version,
            tags: disturbance::shape(&tags),
        }
    }

    fn tag(&self, key: &str) -> Option<String> {
        self.stage.look(&self.arn).tags.get(key).cloned()
    }

    async fn remove(self) {
        while self.stage.look(&self.arn).status == ServiceStatus::OperationInProgress {
            pause().await;
        }
        let deleted = self.stage.calm.apprunner().delete_service();
        deleted
            .service_arn(&self.arn)
            .send()
            .await
            .expect("deleted");
        let exists = || {
            let services = self.stage.local.apprunner().snapshot().services;
            services.iter().any(|service| service.arn == self.arn)
        };
        while exists() {
            pause().await;
        }
        if self.scenario == Scenario::Alarming {
            let alarms = self.stage.calm.cloudwatch().delete_alarms();
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
async fn undisturbed(stage: &Stage, scenario: Scenario) -> (Seen, String) {
    use OperationStatus::{RollbackSucceeded, Succeeded};
    use OperationType::{StartDeployment, UpdateService};
    let app = stage.app(scenario).await;
    let ended = app.execute(&stage.calm, "undisturbed").await;
    let seen = app.seen();
    let (outcome, expected) = match scenario {
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
    assert_eq!(ended.outcome, outcome, "{scenario:?}: {seen:#?}");
    assert_eq!(seen.operations, operations(&expected), "{scenario:?}");
    assert_eq!(seen.runs_newer, scenario == Scenario::Image, "{scenario:?}");
    assert!(seen.runs_current_secrets, "{scenario:?}");
    assert_eq!(app.tag("groundcrew:deploying").as_deref(), Some("none"));
    assert_eq!(
        app.tag("groundcrew:deployed-secrets"),
        Some(app.fingerprint.clone())
    );
    let rejected = ![Scenario::Image, Scenario::Secrets].contains(&scenario);
    let expected = rejected.then(|| stage.newer.clone());
    assert_eq!(app.tag("groundcrew:rejected-image"), expected);

    // Settled twice, it is settled once; and there is nothing left to do.
    let again = Execution {
        app: &app,
        aws: &stage.calm,
        name: "undisturbed",
        ends_with: None,
    };
    let settle = ended.settle.expect("it was settled");
    let settled = again.step(settle).await.expect("nothing ends it");
    assert_eq!(
        (&settled["outcome"], app.seen()),
        (&json!(outcome), again.app.seen())
    );
    assert_same(&seen, &app.seen(), "settled twice");
    assert_eq!(app.execute(&stage.calm, "later").await.outcome, "Nothing");
    assert_same(&seen, &app.seen(), "looked at again");
    app.remove().await;
    (seen, ended.outcome)
}

fn assert_same(expected: &Seen, found: &Seen, label: &str) {
    assert!(
        expected == found,
        "{label}: expected {expected:#?}, found {found:#?}"
    );
}

/// Disturbs every call of a deployment once in each way; the state machine repeats the step.
fn disturb_every_call(scenario: Scenario) {
    Runtime::new().expect("a runtime").block_on(async {
        let stage = Stage::set().await;
        let (expected, outcome) = undisturbed(&stage, scenario).await;
        let mut disturbances = 0;
        'kinds: for kind in Kind::ALL {
            for call in 0.. {
                let disturbance = Disturbance::at(call, kind);
                let app = stage.app(scenario).await;
                let aws = stage.disturbed(&disturbance);
                let ended = app.execute(&aws, "disturbed").await;
                let label = format!(
                    "{scenario:?}, {kind:?} at call {call} ({})",
                    disturbance.call()
                );
                assert_eq!(ended.outcome, outcome, "{label}");
                assert_same(&expected, &app.seen(), &label);
                app.remove().await;
                if !disturbance.struck() {
                    continue 'kinds;
                }
                disturbances += 1;
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
    Runtime::new().expect("a runtime").block_on(async {
        let stage = Stage::set().await;
        let mut stops = 0;
        for scenario in [Scenario::Image, Scenario::Secrets, Scenario::Failing] {
            let (expected, _) = undisturbed(&stage, scenario).await;
            'kinds: for kind in [Kind::CutBefore, Kind::CutAfter] {
                for write in 0.. {
                    let stop = Disturbance::at_write(write, kind);
                    let app = stage.app(scenario).await;
                    let name = format!("first-{scenario:?}-{kind:?}-{write}");
                    let first = stage.execution(&name).await;
                    let ended = app.execute_until(&stop, &name).await;
                    let label =
                        format!("{scenario:?}, {kind:?} at write {write} ({})", stop.call());
                    assert_eq!(ended.is_none(), stop.struck(), "{label}");
                    let claim = app.tag("groundcrew:deploying");
                    if claim.is_some_and(|claim| claim.starts_with(&name)) {
                        assert_waits(&app, &label).await;
                    }
                    stage.stop(&first).await;
                    app.execute(&stage.calm, "second").await;
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
    let request = json!({"service": app.arn});
    let assess = json!({"action": "assess", "request": request, "execution": "second"});
    let step = Step::parse(assess).expect("a step");
    let answer = step.handle(&app.stage.calm).await;
    // Once App Runner has ended the operation; before, it is busy itself.
    let waits = matches!(answer, Err(Error::Claimed(_)));
    assert!(waits, "{label}: {answer:?}");
}

/// What the tags say of the last deployment, whoever saw its end: the releases without tag and cause, the claim, what was
/// deployed and what was rejected.
fn remembered(app: &App<'_>) -> BTreeMap<String, String> {
    let tags = app.stage.look(&app.arn).tags;
    let mut remembered = BTreeMap::new();
    for (key, value) in tags {
        if key.starts_with("groundcrew:release-2020-01-01T") {
            continue;
        }
        let (key, value) = match key.strip_prefix("groundcrew:release-") {
            None => (key.as_str(), value),
            Some(_) => {
                let words: Vec<_> = value.split(' ').take(2).collect();
                ("release", words.join(" "))
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
    let Stage { first, newer, .. } = app.stage;
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
    Runtime::new().expect("a runtime").block_on(async {
        let stage = Stage::set().await;
        let (expected, _) = undisturbed(&stage, Scenario::Alarming).await;
        let (mut stops, mut left) = (0, 0);
        'kinds: for kind in [Kind::CutBefore, Kind::CutAfter] {
            for write in 0.. {
                let stop = Disturbance::at_write(write, kind);
                let app = stage.app(Scenario::Alarming).await;
                let name = format!("first-{kind:?}-{write}");
                let first = stage.execution(&name).await;
                app.execute_until(&stop, &name).await;
                stage.stop(&first).await;
                let label = format!("{kind:?} at write {write} ({})", stop.call());
                for time in ["second", "third"] {
                    app.execute(&stage.calm, time).await;
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
        println!("{stops} rollbacks that stopped for good, after {left} of them the image was left in place");
        // Before anybody has looked at an alarm; once it was to be taken back, somebody takes it back.
        assert_eq!(left, 2);
    });
}

/// Each disturbed settling removes no more than the one release that has to go.
#[test]
fn the_last_ten_releases_are_kept_whichever_write_is_disturbed() {
    Runtime::new().expect("a runtime").block_on(async {
        let stage = Stage::set().await;
        let mut disturbances = 0;
        'kinds: for kind in [Kind::CutBefore, Kind::CutAfter] {
            for write in 0.. {
                let disturbance = Disturbance::at_write(write, kind);
                let app = stage.app(Scenario::Image).await;
                let releases = (2..=10).map(|day| {
                    let tag = aws_sdk_apprunner::types::Tag::builder();
                    tag.key(format!("groundcrew:release-2020-01-{day:02}T00:00:00Z"))
                        .value(format!("deployed {} why=long ago", stage.first))
                        .build()
                });
                let tagged = stage.calm.apprunner().tag_resource();
                let tagged = tagged
                    .resource_arn(&app.arn)
                    .set_tags(Some(releases.collect()));
                tagged.send().await.expect("tagged");
                app.execute(&stage.disturbed(&disturbance), "disturbed")
                    .await;
                let tags = stage.look(&app.arn).tags;
                let mut kept = tags
                    .keys()
                    .filter(|key| key.starts_with("groundcrew:release-"));
                let oldest = kept.next().expect("releases");
                let label = format!("{kind:?} at write {write} ({})", disturbance.call());
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
    Runtime::new().expect("a runtime").block_on(async {
        let stage = Stage::set().await;
        for call in 0.. {
            let app = stage.app(Scenario::Image).await;
            let execution = Execution {
                app: &app,
                aws: &stage.calm,
                name: "overtaken",
                ends_with: None,
            };
            let request = json!({"service": app.arn, "cause": "a test"});
            let assess = json!({"action": "assess", "request": request, "execution": "overtaken"});
            let assessment = execution.step(assess).await.expect("nothing ends it");
            let deployment = &assessment["deployment"];
            let wait = json!({"action": "await-operation", "deployment": deployment});
            let ended = execution.step(wait.clone()).await;
            assert_eq!(ended.expect("nothing ends it")["delivered"], true);
            let held = Disturbance::at(call, Kind::Held);
            let aws = stage.disturbed(&held);
            let person = async {
                held.meanwhile(app.go_back_by_hand()).await;
                std::future::pending().await
            };
            let step = Step::parse(wait).expect("a step");
            let operation = tokio::select! {
                operation = step.handle(&aws) => operation.expect("it has ended"),
                () = person => unreachable!("it waits for the step"),
            };
            assert_eq!(operation["delivered"], true, "before {}", held.call());
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
    Runtime::new().expect("a runtime").block_on(async {
        let stage = Stage::set().await;
        let follows = [("groundcrew:image-tag", "semver:1")];
        stage.create("follows-one", &follows).await;
        stage.create("follows-two", &follows).await;
        stage
            .create("pinned", &[("groundcrew:image-tag", "1.0.0")])
            .await;
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
                let aws = stage.disturbed(&disturbance);
                let label = format!("{kind:?} at call {call}, killed: {kills}");
                tokio::select! {
                    answer = trigger::handle(&aws, &event) => drop(answer),
                    () = struck(&disturbance), if kills => {}
                }
                let repeated = trigger::handle(&stage.calm, &event).await;
                let repeated = repeated.unwrap_or_else(|error| panic!("{label}: {error}"));
                let started = stage.stop_all().await;
                let services: Vec<_> = started.iter().map(|name| &name[..11]).collect();
                assert_eq!(
                    services,
                    ["follows-one", "follows-two"],
                    "{label} ({}): {repeated}",
                    disturbance.call()
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

async fn struck(disturbance: &Disturbance) {
    while !disturbance.struck() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // A call that takes effect before its answer is lost has to reach AWS.
    tokio::time::sleep(Duration::from_millis(30)).await;
}

impl Stage {
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
