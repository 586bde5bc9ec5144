//! Services come into being.

use apprunner_emulator::{Fate, OperationType};
use serde_json::{Value, json};

use crate::world::{ACCESS_ROLE, IMAGE, INSTANCE_ROLE, OTHER_IMAGE, World, create_request, source};

#[tokio::test]
async fn a_service_is_created_by_an_operation_that_takes_time() {
    let world = World::start().await;
    let answer = world
        .call("CreateService", create_request("shop-prod"))
        .await
        .unwrap();
    let arn = answer["Service"]["ServiceArn"].as_str().unwrap();
    assert_eq!(answer["Service"]["Status"], "OPERATION_IN_PROGRESS");
    let operation = world.last_operation(arn).await;
    assert_eq!(
        (&operation["Id"], &operation["Type"]),
        (&answer["OperationId"], &json!("CREATE_SERVICE"))
    );
    assert_eq!(operation["Status"], "IN_PROGRESS");

    let service = world.settled(arn).await;
    assert_eq!(service["Status"], "RUNNING");
    assert_eq!(service["InstanceConfiguration"]["Cpu"], "256");
    assert_eq!(service["HealthCheckConfiguration"]["Interval"], 5);
    assert_eq!(
        service["AutoScalingConfigurationSummary"]["AutoScalingConfigurationName"],
        "DefaultConfiguration"
    );
    let operation = world.last_operation(arn).await;
    assert_eq!(operation["Status"], "SUCCEEDED");
    assert!(operation["EndedAt"].as_f64().unwrap() >= operation["StartedAt"].as_f64().unwrap());

    let id = service["ServiceId"].as_str().unwrap();
    let groups = world.told("POST /_local/log-groups", 1).await;
    let names = [
        format!("/aws/apprunner/shop-prod/{id}/service"),
        format!("/aws/apprunner/shop-prod/{id}/application"),
    ];
    assert_eq!(groups, [json!({"names": names})]);
    assert!(world.emulator.complaints().is_empty());
}

#[tokio::test]
async fn events_come_in_order_and_in_the_documented_shape() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    world
        .call("PauseService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    let id = world.settled(&arn).await["ServiceId"].clone();
    let events = world.told("POST /_local/events", 7).await;
    let said: Vec<&Value> = events
        .iter()
        .map(|event| {
            assert_eq!(event["source"], "aws.apprunner");
            assert_eq!(event["resources"], json!([arn]));
            assert_eq!(
                (
                    &event["detail"]["serviceName"],
                    &event["detail"]["serviceId"]
                ),
                (&json!("shop-prod"), &id)
            );
            assert_eq!(event["detail"]["severity"], "INFO");
            if event["detail-type"] == "AppRunner Service Status Change" {
                &event["detail"]["currentServiceStatus"]
            } else {
                assert_eq!(
                    event["detail-type"],
                    "AppRunner Service Operation Status Change"
                );
                &event["detail"]["operationStatus"]
            }
        })
        .collect();
    assert_eq!(
        said,
        [
            "CreateServiceStarted",
            "RUNNING",
            "CreateServiceCompletedSuccessfully",
            "OPERATION_IN_PROGRESS",
            "PauseServiceStarted",
            "PAUSED",
            "PauseServiceCompletedSuccessfully",
        ]
    );
    assert_eq!(
        events[1]["detail"]["previousServiceStatus"],
        "OPERATION_IN_PROGRESS"
    );
    assert_eq!(
        events[1]["detail"]["message"],
        "Service status is set to RUNNING."
    );
}

#[tokio::test]
async fn a_service_name_is_taken_until_the_service_is_deleted() {
    let world = World::start().await;
    world.next(OperationType::CreateService, Fate::Fails);
    let arn = world.create(create_request("shop-prod")).await;
    let taken = "Service with the provided name already exists: shop-prod.";
    world
        .call("CreateService", create_request("shop-prod"))
        .await
        .unwrap_err()
        .is("InvalidRequestException", taken);
    assert_eq!(world.settled(&arn).await["Status"], "CREATE_FAILED");
    world
        .call("CreateService", create_request("shop-prod"))
        .await
        .unwrap_err()
        .is("InvalidRequestException", taken);
    world
        .call("DeleteService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    assert_eq!(world.settled(&arn).await["Status"], "DELETED");
    assert_ne!(world.running("shop-prod").await, arn);
}

#[tokio::test]
async fn a_role_that_cannot_be_assumed_is_refused_at_once() {
    let trusts = |service: &str, age: u32| json!({"exists": true, "age_seconds": age, "services": [service]});
    for (role, what, principal) in [
        (ACCESS_ROLE, "access", "build.apprunner.amazonaws.com"),
        (INSTANCE_ROLE, "instance", "tasks.apprunner.amazonaws.com"),
    ] {
        let world = World::start().await;
        let said = format!("Error in assuming {what} role {role}");
        for role_is in [
            json!({"exists": false}),
            trusts(principal, 9),
            trusts("tasks.apprunner.aws.com", 3600),
        ] {
            world.local_aws.set(role, role_is);
            let refused = world
                .call("CreateService", create_request("shop-prod"))
                .await
                .unwrap_err();
            refused.is("InvalidRequestException", &said);
        }
        assert!(world.emulator.snapshot().services.is_empty());
        world.local_aws.set(role, trusts(principal, 10));
        world.running("shop-prod").await;
    }
}

#[tokio::test]
async fn an_image_that_cannot_be_run_fails_the_creation() {
    let world = World::start().await;
    for (name, image) in [
        ("not-there", json!({"exists": false})),
        (
            "only-arm",
            json!({"exists": true, "digest": "sha256:11", "architectures": ["arm64"]}),
        ),
    ] {
        world.local_aws.set("shop@sha256:11", image);
        let arn = world.create(create_request(name)).await;
        assert_eq!(world.settled(&arn).await["Status"], "CREATE_FAILED");
        assert_eq!(world.last_operation(&arn).await["Status"], "FAILED");
    }
    let causes: Vec<_> = world
        .emulator
        .snapshot()
        .services
        .iter()
        .map(|s| s.operations[0].cause.clone().unwrap())
        .collect();
    assert!(
        causes[0].contains("does not exist") && causes[1].contains("amd64"),
        "{causes:?}"
    );
}

#[tokio::test]
async fn a_public_subnet_fails_the_creation() {
    let world = World::start().await;
    world.local_aws.set(
        "subnet-b",
        json!({"id": "subnet-b", "vpc": "vpc-1", "zone": "use1-az2", "public": true}),
    );
    let connector = world
        .call(
            "CreateVpcConnector",
            json!({"VpcConnectorName": "shop-prod", "Subnets": ["subnet-a", "subnet-b"]}),
        )
        .await
        .unwrap();
    let mut request = create_request("shop-prod");
    let connector = &connector["VpcConnector"]["VpcConnectorArn"];
    request["NetworkConfiguration"] =
        json!({"EgressConfiguration": {"EgressType": "VPC", "VpcConnectorArn": connector}});
    let arn = world.create(request).await;
    assert_eq!(world.settled(&arn).await["Status"], "CREATE_FAILED");
    let cause = world.emulator.snapshot().services[0].operations[0]
        .cause
        .clone();
    assert_eq!(cause.as_deref(), Some("Subnet subnet-b is public."));
}

#[tokio::test]
async fn an_update_rebuilds_a_service_that_failed_to_create() {
    let world = World::start().await;
    world
        .local_aws
        .set("shop@sha256:11", json!({"exists": false}));
    let arn = world.create(create_request("shop-prod")).await;
    assert_eq!(world.settled(&arn).await["Status"], "CREATE_FAILED");
    // The same image still fails, and there is nothing to roll back to.
    let update = |image: &str| json!({"ServiceArn": arn, "SourceConfiguration": source(image)});
    world.call("UpdateService", update(IMAGE)).await.unwrap();
    assert_eq!(world.settled(&arn).await["Status"], "CREATE_FAILED");
    assert_eq!(world.last_operation(&arn).await["Status"], "FAILED");
    world
        .call("UpdateService", update(OTHER_IMAGE))
        .await
        .unwrap();
    assert_eq!(world.settled(&arn).await["Status"], "RUNNING");
    assert_eq!(world.last_operation(&arn).await["Type"], "UPDATE_SERVICE");
}

#[tokio::test]
async fn the_thirty_first_service_is_over_the_quota_and_the_others_come_page_by_page() {
    let world = World::start().await;
    for n in 0..30 {
        world.create(create_request(&format!("shop-{n:02}"))).await;
    }
    let refused = world
        .call("CreateService", create_request("shop-30"))
        .await
        .unwrap_err();
    refused.is("ServiceQuotaExceededException", "30");
    let mut names = Vec::new();
    let mut request = json!({"MaxResults": 12});
    loop {
        let page = world.call("ListServices", request.clone()).await.unwrap();
        let list = page["ServiceSummaryList"].as_array().unwrap();
        assert!(list.len() <= 12);
        names.extend(
            list.iter()
                .map(|service| service["ServiceName"].as_str().unwrap().to_owned()),
        );
        match &page["NextToken"] {
            Value::Null => break,
            token => request["NextToken"] = token.clone(),
        }
    }
    assert_eq!(
        names,
        (0..30).map(|n| format!("shop-{n:02}")).collect::<Vec<_>>()
    );
    let refused = world
        .call("ListServices", json!({"NextToken": "zz"}))
        .await
        .unwrap_err();
    refused.is("InvalidRequestException", "NextToken");
}
