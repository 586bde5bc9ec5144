//! Services change, and changes fail.

use apprunner_emulator::{Fate, OperationType, RunningSnapshot};
use serde_json::{Value, json};

use crate::world::{IMAGE, OTHER_IMAGE, World, create_request, source};

fn update(arn: &str, image: &str) -> Value {
    json!({"ServiceArn": arn, "SourceConfiguration": source(image)})
}

fn image(service: &Value) -> &Value {
    &service["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"]
}

#[tokio::test]
async fn an_update_that_succeeds_leaves_the_new_image_and_what_it_did_not_name() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    let before = world.describe(&arn).await;
    let answer = world
        .call("UpdateService", update(&arn, OTHER_IMAGE))
        .await
        .unwrap();
    assert_eq!(image(&answer["Service"]), OTHER_IMAGE);
    let after = world.settled(&arn).await;
    assert_eq!(
        (image(&after), &after["Status"]),
        (&json!(OTHER_IMAGE), &json!("RUNNING"))
    );
    for block in [
        "InstanceConfiguration",
        "HealthCheckConfiguration",
        "NetworkConfiguration",
    ] {
        assert_eq!(after[block], before[block]);
    }
    assert_eq!(
        world.last_operation(&arn).await["Id"],
        answer["OperationId"]
    );
    assert_eq!(world.last_operation(&arn).await["Status"], "SUCCEEDED");
}

#[tokio::test]
async fn an_update_that_fails_rolls_back_to_running_with_the_old_image() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    world.next(OperationType::UpdateService, Fate::Fails);
    world
        .call("UpdateService", update(&arn, OTHER_IMAGE))
        .await
        .unwrap();
    let mut seen = Vec::new();
    let service = loop {
        let status = world.last_operation(&arn).await["Status"].clone();
        if seen.last() != Some(&status) {
            seen.push(status);
        }
        let service = world.describe(&arn).await;
        if service["Status"] != "OPERATION_IN_PROGRESS" {
            break service;
        }
    };
    assert_eq!(seen[..2], ["IN_PROGRESS", "ROLLBACK_IN_PROGRESS"]);
    assert_eq!(
        (image(&service), &service["Status"]),
        (&json!(IMAGE), &json!("RUNNING"))
    );
    assert_eq!(
        world.last_operation(&arn).await["Status"],
        "ROLLBACK_SUCCEEDED"
    );
    let events = world.told("POST /_local/events", 7).await;
    let last = &events.last().unwrap()["detail"];
    assert_eq!(
        (&last["operationStatus"], &last["severity"]),
        (&json!("UpdateServiceFailed"), &json!("ERROR"))
    );
}

#[tokio::test]
async fn an_update_to_an_image_that_does_not_exist_rolls_back() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    world
        .local_aws
        .set("shop@sha256:22", json!({"exists": false}));
    world
        .call("UpdateService", update(&arn, OTHER_IMAGE))
        .await
        .unwrap();
    let service = world.settled(&arn).await;
    assert_eq!(
        (image(&service), &service["Status"]),
        (&json!(IMAGE), &json!("RUNNING"))
    );
    assert_eq!(
        world.last_operation(&arn).await["Status"],
        "ROLLBACK_SUCCEEDED"
    );
}

#[tokio::test]
async fn a_deployment_of_an_image_that_is_gone_rolls_back() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    world
        .local_aws
        .set("shop@sha256:11", json!({"exists": false}));
    let answer = world
        .call("StartDeployment", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    assert_eq!(
        answer.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["OperationId"]
    );
    assert_eq!(world.settled(&arn).await["Status"], "RUNNING");
    let operation = world.last_operation(&arn).await;
    assert_eq!(
        (&operation["Id"], &operation["Status"]),
        (&answer["OperationId"], &json!("ROLLBACK_SUCCEEDED"))
    );
    assert_eq!(operation["Type"], "START_DEPLOYMENT");
}

#[tokio::test]
async fn an_empty_update_is_refused() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    let refused = world
        .call("UpdateService", json!({"ServiceArn": arn}))
        .await
        .unwrap_err();
    refused.is(
        "InvalidRequestException",
        "No configurations provided in the UpdateService request",
    );
}

#[tokio::test]
async fn an_update_is_judged_together_with_what_it_keeps() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    let too_much = json!({"ServiceArn": arn, "InstanceConfiguration": {"Memory": "4096"}});
    let refused = world.call("UpdateService", too_much).await.unwrap_err();
    refused.is("InvalidRequestException", "Cpu 256 and Memory 4096");
    assert_eq!(world.describe(&arn).await["Status"], "RUNNING");
}

#[tokio::test]
async fn a_paused_service_refuses_an_update() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    world
        .call("PauseService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    assert_eq!(world.settled(&arn).await["Status"], "PAUSED");
    let refused = world
        .call("UpdateService", update(&arn, OTHER_IMAGE))
        .await
        .unwrap_err();
    refused.is(
        "InvalidStateException",
        "Service cannot be updated in the current state: PAUSED.",
    );
    world
        .call("ResumeService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    let service = world.settled(&arn).await;
    assert_eq!(
        (image(&service), &service["Status"]),
        (&json!(IMAGE), &json!("RUNNING"))
    );
}

#[tokio::test]
async fn a_deletion_that_fails_is_repeated() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    world.next(OperationType::DeleteService, Fate::Fails);
    world
        .call("DeleteService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    assert_eq!(world.settled(&arn).await["Status"], "DELETE_FAILED");
    assert_eq!(world.last_operation(&arn).await["Status"], "FAILED");
    world
        .call("DeleteService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    assert_eq!(world.settled(&arn).await["Status"], "DELETED");
}

#[tokio::test]
async fn a_deleted_service_is_shown_for_a_while_but_not_listed() {
    let world = World::start_at(4000.0).await;
    let arn = world.running("shop-prod").await;
    world
        .call("DeleteService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    let service = world.settled(&arn).await;
    assert_eq!(service["Status"], "DELETED");
    assert!(service["DeletedAt"].is_number());
    assert_eq!(
        world.call("ListServices", json!({})).await.unwrap()["ServiceSummaryList"],
        json!([])
    );
    assert!(world.emulator.snapshot().services.is_empty());
    tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
    let refused = world
        .call("DescribeService", json!({"ServiceArn": arn}))
        .await
        .unwrap_err();
    refused.is("ResourceNotFoundException", &arn);
}

/// What events say of a service, the oldest first: the status that it has now, or what became of an operation.
async fn said(world: &World, arn: &str, events: usize) -> Vec<String> {
    let events = world.told("POST /_local/events", events).await;
    let of_service = events.iter().filter(|it| it["resources"] == json!([arn]));
    let said = of_service.map(|event| {
        assert!(arn.ends_with(event["detail"]["serviceId"].as_str().unwrap()));
        let detail = &event["detail"];
        let said = detail["currentServiceStatus"].as_str();
        said.or(detail["operationStatus"].as_str()).unwrap().into()
    });
    said.collect()
}

#[tokio::test]
async fn a_service_made_again_under_its_name_is_another_and_each_tells_its_own_life() {
    let world = World::start().await;
    let first = world.running("shop-prod").await;
    for call in ["PauseService", "ResumeService", "DeleteService"] {
        let request = json!({"ServiceArn": first});
        world.call(call, request).await.unwrap();
        world.settled(&first).await;
    }
    let second = world.running("shop-prod").await;
    assert_ne!(first, second);
    let service = world.settled(&second).await;
    assert!(second.ends_with(service["ServiceId"].as_str().unwrap()));
    assert_eq!(
        said(&world, &first, 18).await,
        [
            "CreateServiceStarted",
            "RUNNING",
            "CreateServiceCompletedSuccessfully",
            "OPERATION_IN_PROGRESS",
            "PauseServiceStarted",
            "PAUSED",
            "PauseServiceCompletedSuccessfully",
            "OPERATION_IN_PROGRESS",
            "ResumeServiceStarted",
            "RUNNING",
            "ResumeServiceCompletedSuccessfully",
            "OPERATION_IN_PROGRESS",
            "DeleteServiceStarted",
            "DELETED",
            "DeleteServiceCompletedSuccessfully",
        ]
    );
    assert_eq!(
        said(&world, &second, 18).await,
        [
            "CreateServiceStarted",
            "RUNNING",
            "CreateServiceCompletedSuccessfully",
        ]
    );
}

#[tokio::test]
async fn operations_are_listed_newest_first_and_twenty_at_most() {
    let world = World::start_at(20_000.0).await;
    let arn = world.running("shop-prod").await;
    for n in 0..24 {
        let call = if n % 2 == 0 {
            "PauseService"
        } else {
            "ResumeService"
        };
        world.call(call, json!({"ServiceArn": arn})).await.unwrap();
        world.settled(&arn).await;
    }
    let first = world
        .call("ListOperations", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    let page = first["OperationSummaryList"].as_array().unwrap();
    assert_eq!(page.len(), 20);
    assert_eq!(
        (&page[0]["Type"], &page[1]["Type"]),
        (&json!("RESUME_SERVICE"), &json!("PAUSE_SERVICE"))
    );
    let rest = world
        .call(
            "ListOperations",
            json!({"ServiceArn": arn, "NextToken": first["NextToken"]}),
        )
        .await
        .unwrap();
    let page = rest["OperationSummaryList"].as_array().unwrap();
    assert_eq!(
        (page.len(), &page[4]["Type"]),
        (5, &json!("CREATE_SERVICE"))
    );
    assert!(rest["NextToken"].is_null());
}

/// A service that reads a secret, and an image that is there.
async fn with_secret(world: &World, reference: &str) -> String {
    let image = json!({"exists": true, "digest": "sha256:11", "architectures": ["amd64"]});
    world.local_aws.set("shop@sha256:11", image);
    let mut request = create_request("shop-prod");
    let password = json!({"RuntimeEnvironmentSecrets": {"PASSWORD": reference}});
    request["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"] = password;
    let arn = world.create(request).await;
    world.settled(&arn).await;
    arn
}

fn runs(world: &World) -> RunningSnapshot {
    world.emulator.snapshot().services[0].runs.clone()
}

const SECRET: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop-Ab12Cd";

#[tokio::test]
async fn only_a_deployment_reads_secrets() {
    let world = World::start().await;
    let arn = with_secret(&world, &format!("{SECRET}:password::")).await;
    let first = RunningSnapshot {
        image_digest: Some("sha256:11".into()),
        secret_versions: [("PASSWORD".to_owned(), "version-1".to_owned())].into(),
    };
    assert_eq!(runs(&world), first);
    world.local_aws.set(SECRET, json!({"version": "version-2"}));
    for call in ["PauseService", "ResumeService"] {
        world.call(call, json!({"ServiceArn": arn})).await.unwrap();
        world.settled(&arn).await;
    }
    assert_eq!(runs(&world), first);

    world.next(OperationType::StartDeployment, Fate::Fails);
    let deploy = || world.call("StartDeployment", json!({"ServiceArn": arn}));
    deploy().await.unwrap();
    world.settled(&arn).await;
    assert_eq!(runs(&world), first);
    deploy().await.unwrap();
    world.settled(&arn).await;
    let secrets = runs(&world).secret_versions;
    assert_eq!(secrets["PASSWORD"], "version-2");
    assert_eq!(runs(&world).image_digest, first.image_digest);
}

#[tokio::test]
async fn a_secret_that_changes_during_a_deployment_waits_for_the_next() {
    let world = World::start().await;
    let arn = with_secret(&world, &format!("{SECRET}:password::")).await;
    let deploy = json!({"ServiceArn": arn});
    world.next(OperationType::StartDeployment, Fate::Takes(3.0));
    world.call("StartDeployment", deploy).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    world.local_aws.set(SECRET, json!({"version": "version-2"}));
    world.settled(&arn).await;
    assert_eq!(world.last_operation(&arn).await["Status"], "SUCCEEDED");
    assert_eq!(runs(&world).secret_versions["PASSWORD"], "version-1");
}

#[tokio::test]
async fn a_deployment_that_cannot_read_a_secret_or_a_parameter_rolls_back() {
    for reference in [
        SECRET,
        "arn:aws:ssm:us-east-1:123456789012:parameter/shop/key",
    ] {
        let world = World::start().await;
        let arn = with_secret(&world, reference).await;
        world
            .local_aws
            .set(reference, json!({"refused": "not authorized"}));
        let deploy = json!({"ServiceArn": arn});
        world.call("StartDeployment", deploy).await.unwrap();
        world.settled(&arn).await;
        let operation = world.last_operation(&arn).await;
        assert_eq!(operation["Status"], "ROLLBACK_SUCCEEDED", "{reference}");
    }
}
