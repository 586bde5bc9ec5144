//! What a request may be.

use apprunner_emulator::{Arrangement, ServiceModel};
use serde_json::{Value, json};

use crate::service_model::service_model;
use crate::world::{World, create_request};

#[tokio::test]
async fn every_request_is_checked_against_the_published_model() {
    let world = World::start().await;
    let with = |change: fn(&mut Value)| {
        let mut request = create_request("shop-prod");
        change(&mut request);
        request
    };
    for (operation, request, said) in [
        ("CreateService", json!({}), "'ServiceName'"),
        (
            "CreateService",
            with(|r| r["ServiceName"] = json!("abc")),
            "greater than or equal to 4",
        ),
        (
            "CreateService",
            with(|r| r["ServiceName"] = json!("-shop")),
            "regular expression",
        ),
        (
            "CreateService",
            with(|r| r["ServiceName"] = json!("s".repeat(41))),
            "less than or equal to 40",
        ),
        (
            "CreateService",
            with(|r| r["SourceConfiguration"]["AccessRoleArn"] = json!("x")),
            "Unknown parameter in SourceConfiguration: \"AccessRoleArn\", must be one of: AuthenticationConfiguration",
        ),
        (
            "CreateService",
            with(|r| r["InstanceConfiguration"]["Cpu"] = json!("300")),
            "InstanceConfiguration.Cpu",
        ),
        (
            "CreateService",
            with(|r| r["HealthCheckConfiguration"]["Interval"] = json!(21)),
            "equal to 20",
        ),
        (
            "CreateService",
            with(|r| r["HealthCheckConfiguration"]["Protocol"] = json!("UDP")),
            "enum value set: [TCP, HTTP]",
        ),
        (
            "CreateService",
            with(|r| r["Tags"][0]["Key"] = json!("aws:mine")),
            "Tags[0].Key",
        ),
        (
            "CreateService",
            with(|r| r["EncryptionConfiguration"] = json!({"KmsKey": "alias/x"})),
            "KmsKey",
        ),
        (
            "CreateAutoScalingConfiguration",
            json!({"AutoScalingConfigurationName": "shop-prod", "MinSize": 0}),
            "MinSize",
        ),
        (
            "CreateAutoScalingConfiguration",
            json!({"AutoScalingConfigurationName": "shop-prod", "MaxConcurrency": 201}),
            "MaxConcurrency",
        ),
        (
            "CreateVpcConnector",
            json!({"VpcConnectorName": "shop-prod"}),
            "'Subnets'",
        ),
        (
            "CreateObservabilityConfiguration",
            json!({"ObservabilityConfigurationName": "shop-prod", "TraceConfiguration": {"Vendor": "JAEGER"}}),
            "AWSXRAY",
        ),
        (
            "DescribeService",
            json!({"ServiceArn": "arn:aws:s3:::bucket"}),
            "ServiceArn",
        ),
        ("ListServices", json!({"MaxResults": 21}), "MaxResults"),
    ] {
        world
            .call(operation, request)
            .await
            .unwrap_err()
            .is("InvalidRequestException", said);
    }
    let wrong_type = with(|r| r["InstanceConfiguration"]["Cpu"] = json!(1024));
    world
        .call("CreateService", wrong_type)
        .await
        .unwrap_err()
        .is("SerializationException", "not a string");
    assert!(world.emulator.snapshot().services.is_empty());
}

#[test]
fn the_tag_key_is_the_only_published_pattern_that_regex_lite_cannot_compile() {
    let model = ServiceModel::read(&service_model()).unwrap();
    assert_eq!(model.rewritten_patterns(), [("TagKey", "^(?!aws:).+")]);
}

#[tokio::test]
async fn what_is_not_an_operation_is_unknown() {
    let world = World::start().await;
    for target in ["AppRunner.Fly", "DescribeService", ""] {
        world
            .send(target, "{}".into())
            .await
            .unwrap_err()
            .is("UnknownOperationException", target);
    }
    let connection = json!({"ConnectionName": "github", "ProviderType": "GITHUB"});
    let refused = world
        .call("CreateConnection", connection)
        .await
        .unwrap_err();
    refused.is(
        "UnknownOperationException",
        "not implemented by the App Runner emulator",
    );
}

#[tokio::test]
async fn a_body_that_is_not_json_is_a_serialization_exception() {
    let world = World::start().await;
    world
        .send("AppRunner.ListServices", "{".into())
        .await
        .unwrap_err()
        .is("SerializationException", "");
}

#[tokio::test]
async fn an_account_that_may_not_use_app_runner_is_refused_every_call_or_those_that_create() {
    let world = World::start().await;
    let arrange = |open: bool, reads: bool| {
        let account = Arrangement::Account { open, reads };
        world.emulator.arrange(account).unwrap();
    };
    arrange(false, false);
    for operation in ["ListServices", "CreateService", "ListVpcConnectors"] {
        world
            .call(operation, json!({}))
            .await
            .unwrap_err()
            .is("SubscriptionRequiredException", "needs a subscription");
    }
    arrange(false, true);
    world.call("ListServices", json!({})).await.unwrap();
    let created = world.call("CreateService", json!({})).await;
    created.unwrap_err().is("SubscriptionRequiredException", "");
    arrange(true, false);
    world.call("ListServices", json!({})).await.unwrap();
}

#[test]
fn a_model_that_is_not_there_is_an_error_that_says_what_to_do() {
    let error = ServiceModel::read("/nowhere/service-2.json.gz".as_ref()).unwrap_err();
    assert!(
        error.to_string().contains("cargo rehearse --prepare"),
        "{error}"
    );
}
