//! What AWS does on its own account, on demand.

use std::time::Duration;

use apprunner_emulator::{Arrangement, ArrangementError, Fate, OperationType};
use serde_json::json;

use crate::world::{World, create_request};

#[tokio::test]
async fn a_stuck_operation_never_ends() {
    let world = World::start_at(20_000.0).await;
    world.next(OperationType::CreateService, Fate::Stuck);
    let arn = world.create(create_request("shop-prod")).await;
    tokio::time::sleep(Duration::from_millis(300)).await; // 6000 AWS seconds
    assert_eq!(
        world.describe(&arn).await["Status"],
        "OPERATION_IN_PROGRESS"
    );
    assert_eq!(world.last_operation(&arn).await["Status"], "IN_PROGRESS");
    let refused = world
        .call("DeleteService", json!({"ServiceArn": arn}))
        .await
        .unwrap_err();
    refused.is(
        "InvalidStateException",
        "Service cannot be deleted in the current state: OPERATION_IN_PROGRESS.",
    );
}

#[tokio::test]
async fn an_operation_can_take_several_times_as_long() {
    let world = World::start().await;
    world.next(OperationType::CreateService, Fate::Takes(3.0));
    let begun = std::time::Instant::now();
    world.running("shop-prod").await;
    assert!(
        begun.elapsed() >= Duration::from_millis(3 * 240),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn maintenance_blocks_every_change_for_a_while() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    let maintain = |service: &str| {
        world.emulator.arrange(Arrangement::Maintenance {
            service: service.into(),
            seconds: Some(1000.0),
        })
    };
    maintain("shop-prod").unwrap();
    assert_eq!(
        world.describe(&arn).await["Status"],
        "OPERATION_IN_PROGRESS"
    );
    assert_eq!(world.last_operation(&arn).await["Type"], "CREATE_SERVICE"); // no operation of its own
    world
        .call("PauseService", json!({"ServiceArn": arn}))
        .await
        .unwrap_err()
        .is("InvalidStateException", "paused");
    assert_eq!(world.settled(&arn).await["Status"], "RUNNING");
    assert_eq!(
        maintain("nobody"),
        Err(ArrangementError::NoSuchService("nobody".into()))
    );
}

#[tokio::test]
async fn maintenance_that_has_no_end_is_ended_once() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    let service = || "shop-prod".to_owned();
    let end = || Arrangement::EndOfMaintenance { service: service() };
    let not_maintained = Err(ArrangementError::NotMaintained(service()));
    assert_eq!(world.emulator.arrange(end()), not_maintained);
    let maintenance = Arrangement::Maintenance {
        service: service(),
        seconds: None,
    };
    world.emulator.arrange(maintenance).unwrap();
    let status = world.describe(&arn).await["Status"].clone();
    assert_eq!(status, "OPERATION_IN_PROGRESS");
    world.emulator.arrange(end()).unwrap();
    assert_eq!(world.describe(&arn).await["Status"], "RUNNING");
    assert_eq!(world.emulator.arrange(end()), not_maintained);
}

#[tokio::test]
async fn a_service_that_a_test_is_done_with_has_no_tags_also_during_an_operation() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    let tags = json!([{"Key": "groundcrew:managed", "Value": "true"}]);
    let tag = json!({"ResourceArn": arn, "Tags": tags});
    world.call("TagResource", tag).await.unwrap();
    world
        .call("PauseService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    let untag = |arn: &str| {
        let service_arn = arn.to_owned();
        world
            .emulator
            .arrange(Arrangement::Untagged { service_arn })
    };
    untag(&arn).unwrap();
    assert!(world.emulator.snapshot().services[0].tags.is_empty());
    assert_eq!(
        untag("nobody"),
        Err(ArrangementError::NoService("nobody".into()))
    );
}

#[tokio::test]
async fn an_arrangement_can_be_posted() {
    let world = World::start().await;
    let arrangement = json!({"kind": "next-operation", "operation": "CREATE_SERVICE", "service": "shop-prod", "fate": "fails"});
    assert_eq!(
        world
            .post("/_local/arrangements", "", arrangement.to_string())
            .await
            .0,
        200
    );
    let (status, answer) = world
        .post("/_local/arrangements", "", r#"{"kind":"nonsense"}"#.into())
        .await;
    assert_eq!(status, 400);
    assert!(answer["message"].as_str().unwrap().contains("nonsense"));
    world.running("blog-prod").await;
    let arn = world.create(create_request("shop-prod")).await;
    assert_eq!(world.settled(&arn).await["Status"], "CREATE_FAILED");
}

#[tokio::test]
async fn a_pause_or_resume_that_fails_leaves_the_service_as_it_was() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    world.next(OperationType::PauseService, Fate::Fails);
    world
        .call("PauseService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    assert_eq!(world.settled(&arn).await["Status"], "RUNNING");
    world
        .call("PauseService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    assert_eq!(world.settled(&arn).await["Status"], "PAUSED");
    world.next(OperationType::ResumeService, Fate::Fails);
    world
        .call("ResumeService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    assert_eq!(world.settled(&arn).await["Status"], "PAUSED");
    assert_eq!(world.last_operation(&arn).await["Status"], "FAILED");
}

#[tokio::test]
async fn an_account_can_have_more_services_than_it_begins_with() {
    let world = World::start_at(20_000.0).await;
    world
        .emulator
        .arrange(Arrangement::Quota { services: 300 })
        .unwrap();
    for n in 0..300 {
        world.create(create_request(&format!("shop-{n}"))).await;
    }
    let refused = world
        .call("CreateService", create_request("one-more"))
        .await
        .unwrap_err();
    refused.is("ServiceQuotaExceededException", "at most 300 services");
}
