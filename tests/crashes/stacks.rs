//! The connection is cut before and after every API call, and every call is throttled, answered with a 5xx and left
//! without an answer: a repetition converges to the world of an undisturbed run, a removal leaves nothing, and nothing
//! foreign is touched.

use super::disturbance::{self, Disturbance, Kind, disturbed};
use super::{Execution, PATIENCE, pause};
use crate::asl::{Ended, Failure, Machine, Played, machines};
use crate::stage::{Stage, play_fast};
use groundcrew::{Aws, Error, Removal, Run, Spec};
use jiff::Timestamp;
use provision::{Resource, Step};
use rehearsal::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// As `template.yaml` has it where nobody sleeps.
const PARKING: &str = r#"{"environments": "", "time_zone": "UTC", "sleep_from": "20:00", "sleep_until": "07:00",
    "awake_days": "MON-FRI", "parked_dates": "", "awake_dates": ""}"#;

struct Scene {
    stage: Stage,
    spec: Spec,
    removal: Removal,
}

fn play(app: &str, scenario: impl AsyncFnOnce(Scene)) {
    play_fast(async |stage| scenario(Scene::set(stage, app)).await);
}

impl Scene {
    fn set(stage: Stage, app: &str) -> Self {
        // Everything that a spec can ask for, so that every branch of every resource is cut.
        let spec = json!({
            "app": app,
            "environment": "dev",
            "service": {"xray": true, "secrets": {"PASSWORD": "database:password"}, "health_check": {"path": "/health"}},
            "database": {"read_replica": true},
            "alarms": {"email": "on-call@example.com"},
        });
        let removal = json!({"app": app, "environment": "dev", "final_snapshot": false});
        Self {
            stage,
            spec: Spec::parse(&spec).expect("a good spec"),
            removal: Removal::parse(&removal).expect("a good removal"),
        }
    }

    /// Ensures one resource until it is ready. The stack's repository gets its image as soon as it is there.
    async fn ensure(&self, aws: &Aws, resource: Resource) -> Result<(), Error> {
        for _ in 0..PATIENCE {
            match resource
                .ensure(aws, &self.spec, &mut Run::acting("first"))
                .await
            {
                Err(Error::NotReady(_) | Error::Busy { .. }) => pause().await,
                Err(error) => return Err(error),
                Ok(()) => {
                    if resource == Resource::Registry {
                        self.push().await;
                    }
                    return Ok(());
                }
            }
        }
        panic!("{resource:?} was not ready after {PATIENCE} attempts")
    }

    /// Destroys one resource until it is gone.
    async fn destroy(&self, aws: &Aws, resource: Resource) -> Result<(), Error> {
        self.remove(aws, resource, &self.removal, "last").await
    }

    async fn remove(
        &self,
        aws: &Aws,
        resource: Resource,
        removal: &Removal,
        execution: &str,
    ) -> Result<(), Error> {
        for _ in 0..PATIENCE {
            match resource
                .destroy(aws, removal, &mut Run::acting(execution))
                .await
            {
                Err(Error::NotReady(_) | Error::Busy { .. }) => pause().await,
                other => return other,
            }
        }
        panic!("{resource:?} was not gone after {PATIENCE} attempts")
    }

    /// For how many days each log group of the stack's services is kept.
    async fn log_groups(&self) -> Vec<Option<i32>> {
        let world = World::look(&self.stage.local).await;
        let groups = world.expect("the account can be looked at").log_groups;
        let begin = format!("/aws/apprunner/{}/", self.spec.stack());
        let is_own = |name: Option<&str>| name.is_some_and(|name| name.starts_with(&begin));
        let own = groups.iter().filter(|it| is_own(it.log_group_name()));
        own.map(|it| it.retention_in_days()).collect()
    }

    async fn push(&self) {
        let repository = self.spec.repository();
        let pushed = self.stage.local.push_image(&repository, "latest", "amd64");
        pushed.await.expect("the image is pushed");
    }

    fn disturbed(&self, disturbance: &Disturbance) -> Aws {
        let local = &self.stage.local;
        disturbed(local, local.aws().account.clone(), disturbance)
    }

    /// An execution, always the same one; with a cut it stops there. The stack's repository gets its image as soon as it is there.
    async fn execute(&self, machine: Machine, input: Value, cut: Option<&Disturbance>) -> Played {
        let aws = match cut {
            Some(cut) => &self.disturbed(cut),
            None => self.stage.local.aws(),
        };
        let answer = async |step: Value| {
            let is_registry = step["action"] == "ensure" && step["resource"] == "registry";
            let step = Step::parse(step).expect("a step");
            let answer = step.handle(aws, PARKING).await;
            if let Some(cut) = cut.filter(|cut| cut.struck()) {
                assert!(answer.is_err(), "a cut is swallowed: {}", cut.calls());
                return Err(Failure::Stopped);
            }
            if is_registry && answer.is_ok() {
                self.push().await;
            }
            answer.map_err(|error| Failure::from(&error))
        };
        let execution = Execution::of(machine, "first", answer);
        execution.started(Timestamp::UNIX_EPOCH).play(&input).await
    }

    async fn provision(&self, cut: Option<&Disturbance>) -> Played {
        self.execute(machines::provision(), json!(self.spec), cut)
            .await
    }

    async fn teardown(&self, cut: Option<&Disturbance>) -> Played {
        self.execute(machines::teardown(), json!(self.removal), cut)
            .await
    }

    /// What a person who looks at the account sees, without what is different each time: ids, times, ports.
    async fn world(&self) -> BTreeMap<String, usize> {
        let world = World::look(&self.stage.local)
            .await
            .expect("the account can be looked at");
        disturbance::shape(&format!("{world:#?}"))
    }

    /// A removed secret waits for its deletion, and would be restored instead of created by the next run.
    async fn forget_secret(&self) {
        let name = self.spec.stack().secret_name();
        let deleted = self
            .stage
            .local
            .aws()
            .secrets_manager()
            .delete_secret()
            .secret_id(name);
        // There is none in the beginning.
        let _ = deleted.force_delete_without_recovery(true).send().await;
    }
}

/// What differs between two worlds, for the message of a failed assertion.
fn difference(expected: &BTreeMap<String, usize>, found: &BTreeMap<String, usize>) -> String {
    let lines = expected
        .iter()
        .filter(|(line, count)| found.get(*line) != Some(count))
        .map(|(line, n)| format!("- {n}× {line}"));
    let more = found
        .iter()
        .filter(|(line, count)| expected.get(*line) != Some(count))
        .map(|(line, n)| format!("+ {n}× {line}"));
    lines.chain(more).collect::<Vec<_>>().join("\n")
}

/// Each resource in turn, with everything that it builds on in place: at each of its calls, each kind of disturbance.
#[test]
fn a_resource_converges_and_leaves_nothing_whichever_call_of_its_ensure_is_disturbed() {
    play("crash", async |scene| {
        neighbours(&scene).await;
        let calm = &scene.stage.local.aws().clone();
        let mut total = 0;
        for resource in Resource::ALL {
            let untouched = scene.world().await;
            scene.ensure(calm, resource).await.expect("undisturbed");
            let expected = scene.world().await;
            scene.destroy(calm, resource).await.expect("undisturbed");
            scene.forget_secret_before(resource).await;
            let before = match resource {
                // What outlives them: the secret keeps the address of the database, the VPC connector its network
                // interfaces, the log groups their retention.
                Resource::Database | Resource::Service | Resource::Alarms => scene.world().await,
                _ => untouched,
            };
            let mut disturbances = 0;
            'kinds: for kind in Kind::ALL {
                for call in 0.. {
                    let disturbance = Disturbance::at(call, kind);
                    let aws = scene.disturbed(&disturbance);
                    let ensured = scene.ensure(&aws, resource).await;
                    if !disturbance.struck() {
                        scene.leave_nothing(resource, &before, "undisturbed").await;
                        continue 'kinds;
                    }
                    disturbances += 1;
                    let label = format!(
                        "{resource:?}, {kind:?} at call {call} ({})",
                        disturbance.calls()
                    );
                    assert_is_retried(&ensured, &label);
                    let repeated = scene.ensure(calm, resource).await;
                    repeated.unwrap_or_else(|error| panic!("{label}: repeated: {error}"));
                    assert_same(&expected, &scene.world().await, &label);
                    scene.leave_nothing(resource, &before, &label).await;
                }
            }
            println!(
                "{}: {disturbances} disturbances of its ensure",
                resource.name()
            );
            total += disturbances;
            scene
                .ensure(calm, resource)
                .await
                .expect("the next resource builds on it");
        }
        println!("{total} disturbances of an ensure");
    });
}

/// The same for the removal of each resource, with everything that it supports removed.
#[test]
fn a_resource_is_removed_and_can_be_built_again_whichever_call_of_its_destroy_is_disturbed() {
    play("crash", async |scene| {
        neighbours(&scene).await;
        let calm = &scene.stage.local.aws().clone();
        for resource in Resource::ALL {
            scene.ensure(calm, resource).await.expect("undisturbed");
        }
        let mut total = 0;
        for resource in Resource::ALL.into_iter().rev() {
            // Once removed and built again: the log groups of a new service have no retention yet.
            scene.destroy(calm, resource).await.expect("undisturbed");
            scene.ensure(calm, resource).await.expect("undisturbed");
            let expected = scene.world().await;
            let mut disturbances = 0;
            'kinds: for kind in Kind::ALL {
                for call in 0.. {
                    let disturbance = Disturbance::at(call, kind);
                    let aws = scene.disturbed(&disturbance);
                    let destroyed = scene.destroy(&aws, resource).await;
                    let label = format!(
                        "{resource:?}, {kind:?} at call {call} ({})",
                        disturbance.calls()
                    );
                    assert_is_retried(&destroyed, &label);
                    scene.destroy_twice(resource, &label).await;
                    let again = scene.ensure(calm, resource).await;
                    again.unwrap_or_else(|error| panic!("{label}: built again: {error}"));
                    if !disturbance.struck() {
                        continue 'kinds;
                    }
                    disturbances += 1;
                    assert_same(&expected, &scene.world().await, &label);
                }
            }
            println!(
                "{}: {disturbances} disturbances of its destroy",
                resource.name()
            );
            total += disturbances;
            scene.destroy(calm, resource).await.expect("undisturbed");
        }
        println!("{total} disturbances of a destroy");
    });
}

/// Whatever happens to an undo, what App Runner said of the failure can be read afterwards; and a teardown removes it.
#[test]
fn an_undo_keeps_the_logs_of_a_failed_service_whichever_of_its_calls_is_disturbed() {
    play("undone", async |scene| {
        let calm = &scene.stage.local.aws().clone();
        let before = |resource: &Resource| *resource != Resource::Service;
        for resource in Resource::ALL.into_iter().take_while(before) {
            scene.ensure(calm, resource).await.expect("undisturbed");
        }
        let untouched = scene.log_groups().await;
        let mut undo = scene.removal.clone();
        undo.created_by = Some("first".into());
        let mut disturbances = 0;
        'kinds: for kind in Kind::ALL {
            for call in 0.. {
                let fails = json!({"kind": "next-operation", "operation": "CREATE_SERVICE", "service": "undone-dev", "fate": "fails"});
                let fails = serde_json::from_value(fails).expect("an arrangement");
                let apprunner = scene.stage.local.apprunner();
                apprunner.arrange(fails).expect("arranged");
                let failed = scene.ensure(calm, Resource::Service).await;
                assert!(matches!(failed, Err(Error::Failed(_))), "{failed:?}");

                let disturbance = Disturbance::at(call, kind);
                let aws = scene.disturbed(&disturbance);
                let undone = scene.remove(&aws, Resource::Service, &undo, "undo").await;
                let label = format!("{kind:?} at call {call} ({})", disturbance.calls());
                assert_is_retried(&undone, &label);
                for time in ["once", "twice"] {
                    let repeated = scene.remove(calm, Resource::Service, &undo, "undo").await;
                    repeated.unwrap_or_else(|error| panic!("{label}: {time}: {error}"));
                    assert_eq!(scene.log_groups().await, [Some(14), Some(14)], "{label}");
                }
                scene.destroy_twice(Resource::Service, &label).await;
                assert_eq!(scene.log_groups().await, untouched, "{label}");
                if !disturbance.struck() {
                    continue 'kinds;
                }
                disturbances += 1;
            }
        }
        println!("{disturbances} disturbances of an undo");
    });
}

/// A step that was disturbed fails with a name on which the state machine tries again.
fn assert_is_retried(ended: &Result<(), Error>, label: &str) {
    if let Err(error) = ended {
        assert!(error.is_retried(), "{label}: no retry of {error:?}");
    }
}

fn assert_same(expected: &BTreeMap<String, usize>, found: &BTreeMap<String, usize>, label: &str) {
    assert!(
        found == expected,
        "{label}: another world:\n{}",
        difference(expected, found)
    );
}

impl Scene {
    async fn destroy_twice(&self, resource: Resource, label: &str) {
        for time in ["once", "twice"] {
            let destroyed = self.destroy(self.stage.local.aws(), resource).await;
            destroyed.unwrap_or_else(|error| panic!("{label}: destroyed {time}: {error}"));
        }
    }

    async fn leave_nothing(
        &self,
        resource: Resource,
        before: &BTreeMap<String, usize>,
        label: &str,
    ) {
        self.destroy_twice(resource, label).await;
        self.forget_secret_before(resource).await;
        assert_same(before, &self.world().await, &format!("{label}, destroyed"));
    }

    async fn forget_secret_before(&self, resource: Resource) {
        if resource == Resource::Credentials {
            self.forget_secret().await;
        }
    }
}

/// The whole of `provision` and of `teardown`, cut before and after every call that writes. (A call that reads leaves the
/// world as it was, so a cut there meets the same world as the cut after the last write.)
#[test]
fn a_whole_stack_converges_and_leaves_nothing_wherever_its_connection_is_cut() {
    play("whole", async |scene| {
        neighbours(&scene).await;
        let nothing = scene.world().await;
        assert_succeeded(&scene.provision(None).await, "undisturbed");
        let expected = scene.world().await;
        assert_succeeded(&scene.teardown(None).await, "undisturbed");
        scene.forget_secret().await;
        let (mut provisions, mut teardowns) = (0, 0);
        for kind in [Kind::CutBefore, Kind::CutAfter] {
            for write in 0.. {
                let cut = Disturbance::at_write(write, kind);
                let cut_up = scene.provision(Some(&cut)).await.ended == Ended::Stopped;
                let label = format!("provision, {kind:?} at write {write} ({})", cut.calls());
                if cut_up {
                    provisions += 1;
                    assert_succeeded(&scene.provision(None).await, &label);
                    assert_same(&expected, &scene.world().await, &label);
                }
                let cut = Disturbance::at_write(write, kind);
                let cut_down = scene.teardown(Some(&cut)).await.ended == Ended::Stopped;
                let label = format!("teardown, {kind:?} at write {write} ({})", cut.calls());
                teardowns += usize::from(cut_down);
                for time in ["once", "twice"] {
                    let repeated = scene.teardown(None).await;
                    assert_succeeded(&repeated, &format!("{label}: repeated {time}"));
                }
                scene.forget_secret().await;
                assert_same(&nothing, &scene.world().await, &label);
                if !cut_up && !cut_down {
                    break;
                }
            }
        }
        println!("{provisions} cuts of a provision, {teardowns} cuts of a teardown");
    });
}

fn assert_succeeded(played: &Played, label: &str) {
    let states = &played.states;
    assert_eq!(played.ended, Ended::Succeeded, "{label}: {states:?}");
}

/// Resources of others that look like ours: another stack whose name begins like ours, and what others made by hand.
async fn neighbours(scene: &Scene) {
    let aws = scene.stage.local.aws();
    let name = scene.spec.stack().name();
    let other =
        Spec::parse(&json!({"app": scene.spec.app, "environment": "dev2"})).expect("a good spec");
    for resource in [
        Resource::Network,
        Resource::Registry,
        Resource::Credentials,
        Resource::Roles,
        Resource::Database,
    ] {
        let mut attempts = 0;
        while let Err(error) = resource
            .ensure(aws, &other, &mut Run::acting("neighbour"))
            .await
        {
            attempts += 1;
            assert!(
                error.is_retried() && attempts < PATIENCE,
                "the neighbour's {resource:?}: {error}"
            );
            pause().await;
        }
    }
    let alarm = aws
        .cloudwatch()
        .put_metric_alarm()
        .alarm_name(format!("{name}-by-hand"));
    alarm
        .namespace("AWS/AppRunner")
        .metric_name("Requests")
        .statistic(aws_sdk_cloudwatch::types::Statistic::Sum)
        .period(300)
        .evaluation_periods(1)
        .threshold(1.0)
        .comparison_operator(aws_sdk_cloudwatch::types::ComparisonOperator::GreaterThanThreshold)
        .send()
        .await
        .expect("a foreign alarm");
    let group = format!("/aws/apprunner/{name}/by-hand/application");
    aws.logs()
        .create_log_group()
        .log_group_name(group)
        .send()
        .await
        .expect("a foreign log group");
    aws.sns()
        .create_topic()
        .name(format!("{name}-by-hand"))
        .send()
        .await
        .expect("a foreign topic");
}
