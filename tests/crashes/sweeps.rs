//! The connection of `sweep` is disturbed at every call, and it is killed around it: a look has written nothing, and a repair
//! has started everything once.

use super::disturbance::{Disturbance, Kind, disturbed};
use super::struck;
use crate::stage::{Service, Stage, play_fast};
use apprunner_emulator::{OperationType, ServiceStatus};
use groundcrew::Aws;
use groundcrew::arn::ServiceArn;
use serde_json::{Value, json};
use sweep::{Step, Surroundings};

/// The service that has the name of its stack, and its repository.
const NAME: &str = "following-dev";

/// What every alarm tells here.
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:groundcrew-notifications";

/// A stack in which everything is the matter that a sweep can repair, with state machines in place of `deploy`, whose
/// executions run on, and of `park`, whose executions end.
struct Scene {
    stage: Stage,
    calm: Aws,
    surroundings: Surroundings,
    main: String,
    worker: String,
}

impl Scene {
    async fn set(stage: Stage) -> Self {
        let endless = json!({"Type": "Wait", "Seconds": 99_999_999, "End": true});
        let of_one = |state: Value| json!({"StartAt": "Run", "States": {"Run": state}});
        let deploy = stage.machine("following-deploy", &of_one(endless)).await;
        let succeeds = of_one(json!({"Type": "Succeed"}));
        let park = stage.machine("following-park", &succeeds).await;
        // The service of the stack is marked as parked, and awake; and of its two images it runs the older one.
        let tags = [
            ("groundcrew:managed", "true"),
            ("groundcrew:app", "following"),
            ("groundcrew:environment", "dev"),
        ];
        let main = Service::given(&stage, NAME).with_only(&tags);
        let main = main
            .follows("latest")
            .tagged("groundcrew:parked", "2026-11-20T19:00:00Z");
        let main = main.create().await;
        let image = format!("{NAME}@{}", main.first);
        let worker = Service::given(&stage, WORKER).with_only(&tags);
        let worker = worker.runs(image).create().await;
        for service in [&main, &worker] {
            let arn = ServiceArn::parse(&service.arn).expect("an ARN");
            let followed = alarms::follow(stage.local.aws(), &arn, TOPIC).await;
            followed.expect("undisturbed");
        }
        main.push("latest").await;
        let [main, worker] = [main, worker].map(|service| service.arn.clone());
        let scene = Self {
            calm: stage.clients(&deploy),
            stage,
            surroundings: Surroundings {
                notifications: TOPIC.into(),
                parking: r#"{"environments": "", "time_zone": "UTC", "sleep_from": "20:00", "sleep_until": "07:00",
                    "awake_days": "MON-FRI", "parked_dates": "", "awake_dates": ""}"#
                    .into(),
                park_state_machine: park,
                provision_state_machine: "provision".into(),
                teardown_state_machine: "teardown".into(),
            },
            main,
            worker,
        };
        scene.lose_an_alarm().await;
        scene.worker().deploy_by_itself().await;
        scene
    }

    fn worker(&self) -> Service<'_> {
        Service::of(&self.stage, WORKER, &self.worker)
    }

    fn disturbed(&self, disturbance: &Disturbance) -> Aws {
        disturbed(&self.stage.local, self.calm.account.clone(), disturbance)
    }

    async fn lose_an_alarm(&self) {
        let deleted = self.calm.cloudwatch().delete_alarms();
        let deleted = deleted
            .alarm_names(format!("{NAME}-memory-groundcrew"))
            .send()
            .await;
        deleted.expect("deleted");
    }

    async fn step(&self, aws: &Aws, input: &Value) -> Value {
        let step = Step::parse(input.clone()).expect("a step");
        let answer = step.handle(aws, &self.surroundings).await;
        answer.unwrap_or_else(|error| panic!("{}: {error}", input["action"]))
    }

    async fn executions(&self, machine: &str) -> usize {
        let found = self.stage.local.executions(machine, "").await;
        found.expect("listed").len()
    }

    /// What repairs have come to until now.
    async fn done(&self) -> Done {
        let worker = self.worker();
        let alarms = self.calm.cloudwatch().describe_alarms().send().await;
        let deploy = &self.calm.account.deploy_state_machine;
        Done {
            deployments: self.executions(deploy).await,
            parkings: self.executions(&self.surroundings.park_state_machine).await,
            updates: worker.count(OperationType::UpdateService),
            deploys_by_itself: worker.deploys_by_itself(),
            alarms: alarms.expect("described").metric_alarms().len(),
        }
    }
}

/// A second service of the stack.
const WORKER: &str = "following-worker";

#[derive(Debug, Eq, PartialEq)]
struct Done {
    deployments: usize,
    parkings: usize,
    updates: usize,
    deploys_by_itself: bool,
    alarms: usize,
}

#[test]
fn a_look_finds_everything_and_writes_nothing_whichever_call_is_disturbed() {
    play_fast(async |stage| {
        let scene = Scene::set(stage).await;
        let look = json!({
            "action": "look", "stacks": [{"app": "following", "environment": "dev"}], "dry_run": false,
            "room": 10_000,
        });
        let expected = scene.step(&scene.calm, &look).await;
        let findings = expected["findings"].as_array().expect("findings");
        let remedies: Vec<_> = findings
            .iter()
            .map(|finding| finding["remedy"].clone())
            .collect();
        let (main, worker) = (&scene.main, &scene.worker);
        let wanted = [
            json!({"alarms": main}),
            json!({"deploy": main}),
            json!({"end-auto-deployments": worker}),
            json!("park"),
        ];
        assert_eq!(remedies, wanted, "{expected:#}");
        scene.stage.local.clear_calls().await.expect("cleared");
        let mut disturbances = 0;
        'kinds: for kind in Kind::ALL {
            for call in 0.. {
                let disturbance = Disturbance::at(call, kind);
                let found = scene.step(&scene.disturbed(&disturbance), &look).await;
                let label = format!("{kind:?} at call {call} ({})", disturbance.calls());
                assert_eq!(found, expected, "{label}");
                let calls = scene.stage.local.calls().await.expect("listed");
                let writes: Vec<_> = calls.iter().filter(|call| call.writes()).collect();
                assert!(writes.is_empty(), "{label}: {writes:#?}");
                scene.stage.local.clear_calls().await.expect("cleared");
                if !disturbance.struck() {
                    assert!(!calls.is_empty(), "they are listed");
                    continue 'kinds;
                }
                disturbances += 1;
            }
        }
        println!("{disturbances} disturbances of a look");
    });
}

#[test]
fn a_repair_does_everything_once_whichever_call_is_disturbed_and_wherever_it_is_killed() {
    play_fast(async |stage| {
        let scene = Scene::set(stage).await;
        let (main, worker) = (&scene.main, &scene.worker);
        let finding =
            |remedy: Value| json!({"of": "service", "what": "is the matter", "remedy": remedy});
        let findings = [
            json!({"alarms": main}),
            json!({"deploy": main}),
            json!({"deploy": worker}),
            json!({"end-auto-deployments": worker}),
            json!("park"),
            json!({"person": "Look at it"}),
        ];
        let findings = findings.map(finding);
        let mut sweeps = 0;
        let (mut disturbances, mut killed) = (0, 0);
        for (kind, kills) in Kind::ALL
            .map(|kind| (kind, false))
            .into_iter()
            .chain([(Kind::CutBefore, true), (Kind::CutAfter, true)])
        {
            for call in 0.. {
                sweeps += 1;
                scene.lose_an_alarm().await;
                if !scene.done().await.deploys_by_itself {
                    scene.worker().deploy_by_itself().await;
                }
                let before = scene.done().await;
                let repair = json!({
                    "action": "repair", "findings": findings, "execution": format!("sweep-{sweeps}"),
                    "room": 10_000,
                });
                let disturbance = Disturbance::at(call, kind);
                let aws = scene.disturbed(&disturbance);
                tokio::select! {
                    answer = scene.step(&aws, &repair) => assert_all_repaired(&answer, &disturbance),
                    () = struck(&disturbance), if kills => {}
                }
                let label = format!(
                    "{kind:?} at call {call} ({}), killed: {kills}",
                    disturbance.calls()
                );
                let repeated = scene.step(&scene.calm, &repair).await;
                assert_all_repaired(&repeated, &disturbance);
                scene.worker().status_is(ServiceStatus::Running).await;
                let expected = Done {
                    deployments: before.deployments + 2,
                    parkings: before.parkings + 1,
                    updates: before.updates + 1,
                    deploys_by_itself: false,
                    alarms: before.alarms + 1,
                };
                assert_eq!(scene.done().await, expected, "{label}");
                if !disturbance.struck() {
                    break;
                }
                disturbances += usize::from(!kills);
                killed += usize::from(kills);
            }
        }
        println!("{disturbances} disturbances of a repair, killed {killed} times");
    });
}

fn assert_all_repaired(answer: &Value, disturbance: &Disturbance) {
    let count = |kind: &str| {
        let lines = answer[kind]["lines"].as_array().expect("lines").len();
        lines as u64 + answer[kind]["more"].as_u64().expect("a number")
    };
    let counted = ["repaired", "for_a_person", "failed"].map(count);
    assert_eq!(counted, [5, 1, 0], "{}: {answer:#}", disturbance.calls());
}
