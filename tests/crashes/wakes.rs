//! The connection of `provision` is disturbed at every call with which it wakes a stack that sleeps: the stack is awake in the end, was
//! woken once, and `park` knows that it was.

use super::disturbance::{Disturbance, Kind, disturbed};
use super::patiently;
use crate::stage::{Service, play_fast};
use apprunner_emulator::{OperationType, ServiceStatus};
use groundcrew::memory::Parking;
use groundcrew::{Aws, Mark, Memory};
use jiff::Timestamp;
use provision::Step;
use serde_json::{Value, json};

/// The service and its database.
const NAME: &str = "dozing-dev";
const SINCE: &str = "2026-11-23T20:00:00Z";

async fn wake(aws: &Aws, entered: Timestamp) -> Value {
    let step = json!({
        "action": "wake",
        "spec": {"app": "dozing", "environment": "dev", "wake": true},
        "execution": "first",
        "entered": entered,
    });
    let once = async || {
        let step = Step::parse(step.clone()).expect("a step");
        step.handle(aws, "").await
    };
    patiently(once).await
}

#[test]
fn a_stack_is_woken_once_whichever_call_is_disturbed() {
    play_fast(async |stage| {
        let calm = stage.local.aws();
        let tags = [
            ("groundcrew:managed", "true"),
            ("groundcrew:app", "dozing"),
            ("groundcrew:environment", "dev"),
        ];
        let database = stage.local.create_database(NAME, &tags).await;
        database.expect("created");
        let service = Service::given(&stage, NAME).with_only(&tags);
        let service = service.create().await;
        stage.database_is(NAME, Some("available")).await;
        let mut disturbances = 0;
        for kind in Kind::ALL {
            for call in 0.. {
                service.pause_by_hand().await;
                let mut memory = parking(calm, &service).await;
                let since = SINCE.parse().expect("a time");
                let mark = Some(Mark {
                    since,
                    pausing: false,
                });
                let asleep = Parking {
                    mark,
                    ..Parking::default()
                };
                memory.write(calm, asleep).await.expect("remembered");
                let stopped = calm.rds().stop_db_instance();
                let stopped = stopped.db_instance_identifier(NAME).send().await;
                stopped.expect("accepted");
                let before = service.count(OperationType::ResumeService);
                let disturbance = Disturbance::at(call, kind);
                let account = calm.account.clone();
                let aws = disturbed(&stage.local, account, &disturbance);
                wake(&aws, Timestamp::now()).await;
                let label = format!("{kind:?} at call {call} ({})", disturbance.calls());
                assert_eq!(service.look().status, ServiceStatus::Running, "{label}");
                let database = stage.database(NAME).await;
                assert_eq!(database.as_deref(), Some("available"), "{label}");
                let resumed = service.count(OperationType::ResumeService) - before;
                assert_eq!(resumed, 1, "{label}");
                let mark = parking(calm, &service).await.mark;
                let mark = mark.map(|mark| mark.to_string());
                assert_eq!(mark, Some(format!("{SINCE} pausing")), "{label}");
                if !disturbance.struck() {
                    break;
                }
                disturbances += 1;
            }
        }
        assert!(disturbances > 30, "{disturbances} disturbances of a waking");
        drop(service);
    });
}

async fn parking(aws: &Aws, service: &Service<'_>) -> Memory<Parking> {
    let tags = service.look().tags;
    let memory = Memory::of(aws, &service.arn, &tags).await;
    memory.expect("it is remembered")
}
