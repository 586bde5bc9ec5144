//! The table of states, tried on real services.

use apprunner_emulator::{Arrangement, Call, Fate, OperationType, ServiceStatus, Verdict, verdict};
use serde_json::{Value, json};

use crate::world::{OTHER_IMAGE, World, create_request, source};

const CALLS: [(Call, &str); 6] = [
    (Call::StartDeployment, "StartDeployment"),
    (Call::UpdateService, "UpdateService"),
    (Call::PauseService, "PauseService"),
    (Call::ResumeService, "ResumeService"),
    (Call::DeleteService, "DeleteService"),
    (Call::Tag, "TagResource"),
];

const STATES: [ServiceStatus; 6] = [
    ServiceStatus::Running,
    ServiceStatus::Paused,
    ServiceStatus::OperationInProgress,
    ServiceStatus::CreateFailed,
    ServiceStatus::DeleteFailed,
    ServiceStatus::Deleted,
];

#[tokio::test]
async fn every_call_in_every_state_is_answered_as_the_table_says() {
    let mut columns = tokio::task::JoinSet::new();
    for state in STATES {
        columns.spawn(try_every_call_in(state));
    }
    columns.join_all().await;
}

async fn try_every_call_in(state: ServiceStatus) {
    let world = World::start_at(3000.0).await;
    for (call, operation) in CALLS {
        let arn = service_in(&world, state, operation).await;
        let request = match call {
            Call::UpdateService => {
                json!({"ServiceArn": arn, "SourceConfiguration": source(OTHER_IMAGE)})
            }
            Call::Tag => json!({"ResourceArn": arn, "Tags": [{"Key": "a", "Value": "b"}]}),
            _ => json!({"ServiceArn": arn}),
        };
        let answer = world.call(operation, request).await;
        let answered = match answer.as_ref().map_err(|refused| refused.error.as_str()) {
            Ok(_) => Verdict::Yes,
            Err("InvalidStateException") => Verdict::State,
            Err("InvalidRequestException") => Verdict::Request,
            Err("ResourceNotFoundException") => Verdict::Gone,
            Err(other) => panic!("{operation} in {state:?}: {other}"),
        };
        assert_eq!(
            answered,
            verdict(call, state),
            "{operation} in {state:?}: {answer:?}"
        );
        remove(&world, &arn).await;
    }
}

#[test]
fn the_table_says_what_aws_documents() {
    let allowed = |call: Call| {
        STATES
            .into_iter()
            .filter(|state| verdict(call, *state) == Verdict::Yes)
            .collect::<Vec<_>>()
    };
    use ServiceStatus::{CreateFailed, DeleteFailed, Paused, Running};
    assert_eq!(allowed(Call::StartDeployment), [Running]);
    assert_eq!(allowed(Call::UpdateService), [Running, CreateFailed]);
    assert_eq!(allowed(Call::PauseService), [Running]);
    assert_eq!(allowed(Call::ResumeService), [Paused]);
    assert_eq!(
        allowed(Call::DeleteService),
        [Running, Paused, CreateFailed, DeleteFailed]
    );
    assert_eq!(
        allowed(Call::Tag),
        [Running, Paused, CreateFailed, DeleteFailed]
    );
}

#[tokio::test]
async fn a_service_in_any_state_can_be_described_and_one_that_never_was_is_not_found() {
    let world = World::start_at(3000.0).await;
    for state in STATES {
        let arn = service_in(&world, state, "Describe").await;
        let described: ServiceStatus =
            serde_json::from_value(world.describe(&arn).await["Status"].clone()).unwrap();
        assert_eq!(described, state);
        remove(&world, &arn).await;
    }
    let arn =
        "arn:aws:apprunner:us-east-1:123456789012:service/nobody/00000000000000000000000000000000";
    for operation in [
        "DescribeService",
        "PauseService",
        "DeleteService",
        "ListOperations",
        "StartDeployment",
    ] {
        let refused = world
            .call(operation, json!({"ServiceArn": arn}))
            .await
            .unwrap_err();
        refused.is("ResourceNotFoundException", arn);
    }
}

/// A service of that status.
async fn service_in(world: &World, state: ServiceStatus, name: &str) -> String {
    let name = format!("{state:?}-{name}");
    if state == ServiceStatus::CreateFailed {
        world.next(OperationType::CreateService, Fate::Fails);
    }
    let arn = world.create(create_request(&name)).await;
    world.settled(&arn).await;
    match state {
        ServiceStatus::Running | ServiceStatus::CreateFailed => {}
        ServiceStatus::Paused => operate(world, "PauseService", &arn).await,
        ServiceStatus::OperationInProgress => {
            world
                .emulator
                .arrange(Arrangement::Maintenance {
                    service: name,
                    seconds: Some(1500.0),
                })
                .unwrap();
            return arn;
        }
        ServiceStatus::DeleteFailed => {
            world.next(OperationType::DeleteService, Fate::Fails);
            operate(world, "DeleteService", &arn).await;
        }
        ServiceStatus::Deleted => operate(world, "DeleteService", &arn).await,
    }
    arn
}

/// Makes room under the quota for the next one.
async fn remove(world: &World, arn: &str) {
    if world.settled(arn).await["Status"] != "DELETED" {
        operate(world, "DeleteService", arn).await;
    }
}

async fn operate(world: &World, operation: &str, arn: &str) {
    world
        .call(operation, json!({"ServiceArn": arn}))
        .await
        .unwrap();
    let _: Value = world.settled(arn).await;
}
