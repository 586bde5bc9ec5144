//! Configurations, connectors and tags.

use std::time::Duration;

use apprunner_emulator::Arrangement;
use serde_json::{Value, json};

use crate::world::{World, create_request};

async fn scaling(world: &World, name: &str) -> Value {
    let request = json!({"AutoScalingConfigurationName": name, "MinSize": 1, "MaxSize": 3});
    world
        .call("CreateAutoScalingConfiguration", request)
        .await
        .unwrap()["AutoScalingConfiguration"]
        .take()
}

async fn connector(world: &World, name: &str, group: &str) -> String {
    let request = json!({"VpcConnectorName": name, "Subnets": ["subnet-a", "subnet-b"], "SecurityGroups": [group]});
    let answer = world.call("CreateVpcConnector", request).await.unwrap();
    answer["VpcConnector"]["VpcConnectorArn"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn behind(name: &str, connector: &str) -> Value {
    let mut request = create_request(name);
    request["NetworkConfiguration"] =
        json!({"EgressConfiguration": {"EgressType": "VPC", "VpcConnectorArn": connector}});
    request
}

async fn delete(world: &World, arn: &str) {
    world
        .call("DeleteService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    assert_eq!(world.settled(arn).await["Status"], "DELETED");
}

#[tokio::test]
async fn the_same_name_makes_another_revision() {
    let world = World::start().await;
    let (first, second) = (
        scaling(&world, "shop-prod").await,
        scaling(&world, "shop-prod").await,
    );
    assert_eq!(first["AutoScalingConfigurationRevision"], 1);
    assert_eq!(
        (
            &second["AutoScalingConfigurationRevision"],
            &second["Latest"]
        ),
        (&json!(2), &json!(true))
    );
    let list = |request: Value| world.call("ListAutoScalingConfigurations", request);
    let revisions = |answer: Value| {
        let list = answer["AutoScalingConfigurationSummaryList"]
            .as_array()
            .unwrap()
            .clone();
        list.iter()
            .map(|one| one["AutoScalingConfigurationArn"].clone())
            .collect::<Vec<_>>()
    };
    let arns = [
        first["AutoScalingConfigurationArn"].clone(),
        second["AutoScalingConfigurationArn"].clone(),
    ];
    let named = json!({"AutoScalingConfigurationName": "shop-prod"});
    assert_eq!(revisions(list(named.clone()).await.unwrap()), arns[1..]);
    let all = json!({"AutoScalingConfigurationName": "shop-prod", "LatestOnly": false});
    assert_eq!(revisions(list(all).await.unwrap()), arns);
    assert_eq!(revisions(list(json!({})).await.unwrap()).len(), 2); // and DefaultConfiguration

    // By name and revision, by name alone, and after the newest is gone.
    let bare = "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/shop-prod";
    let describe = |arn: String| {
        world.call(
            "DescribeAutoScalingConfiguration",
            json!({"AutoScalingConfigurationArn": arn}),
        )
    };
    let revision = |answer: Value| {
        answer["AutoScalingConfiguration"]["AutoScalingConfigurationRevision"].clone()
    };
    assert_eq!(revision(describe(format!("{bare}/1")).await.unwrap()), 1);
    assert_eq!(revision(describe(bare.into()).await.unwrap()), 2);
    world
        .call(
            "DeleteAutoScalingConfiguration",
            json!({"AutoScalingConfigurationArn": bare}),
        )
        .await
        .unwrap();
    assert_eq!(revision(describe(bare.into()).await.unwrap()), 1);
    let deleted = describe(arns[1].as_str().unwrap().into()).await.unwrap();
    assert_eq!(deleted["AutoScalingConfiguration"]["Status"], "INACTIVE");
    assert_eq!(
        scaling(&world, "shop-prod").await["AutoScalingConfigurationRevision"],
        3
    );

    let everything = json!({"AutoScalingConfigurationArn": bare, "DeleteAllRevisions": true});
    world
        .call("DeleteAutoScalingConfiguration", everything)
        .await
        .unwrap();
    assert!(revisions(list(named).await.unwrap()).is_empty());
    assert!(
        world
            .emulator
            .snapshot()
            .auto_scaling_configurations
            .is_empty()
    );
}

#[tokio::test]
async fn an_auto_scaling_configuration_in_use_is_not_deleted() {
    let world = World::start().await;
    let configuration = scaling(&world, "shop-prod").await["AutoScalingConfigurationArn"].clone();
    let mut request = create_request("shop-prod");
    request["AutoScalingConfigurationArn"] =
        json!("arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/shop-prod");
    let arn = world.create(request).await;
    let summary = world.settled(&arn).await["AutoScalingConfigurationSummary"].clone();
    assert_eq!(summary["AutoScalingConfigurationArn"], configuration);
    let this = json!({"AutoScalingConfigurationArn": configuration});
    let description = world
        .call("DescribeAutoScalingConfiguration", this.clone())
        .await
        .unwrap();
    assert_eq!(
        description["AutoScalingConfiguration"]["HasAssociatedService"],
        true
    );
    let refused = world
        .call("DeleteAutoScalingConfiguration", this.clone())
        .await
        .unwrap_err();
    let used =
        "You can't delete the auto scaling configuration. It's used by one or more services.";
    refused.is("InvalidRequestException", used);
    delete(&world, &arn).await;
    world
        .call("DeleteAutoScalingConfiguration", this.clone())
        .await
        .unwrap();
    let refused = world
        .call("DeleteAutoScalingConfiguration", this)
        .await
        .unwrap_err();
    refused.is("ResourceNotFoundException", "shop-prod");
}

#[tokio::test]
async fn configurations_keep_to_their_rules_and_quotas() {
    let world = World::start().await;
    let scale = |name: &str, min: u32, max: u32| {
        let request = json!({"AutoScalingConfigurationName": name, "MinSize": min, "MaxSize": max});
        world.call("CreateAutoScalingConfiguration", request)
    };
    scale("shop-prod", 3, 2)
        .await
        .unwrap_err()
        .is("InvalidRequestException", "MinSize");
    for _ in 0..5 {
        scale("name-0", 1, 2).await.unwrap();
    }
    scale("name-0", 1, 2)
        .await
        .unwrap_err()
        .is("ServiceQuotaExceededException", "5 revisions");
    for n in 1..10 {
        scale(&format!("name-{n}"), 1, 2).await.unwrap();
    }
    scale("name-10", 1, 2)
        .await
        .unwrap_err()
        .is("ServiceQuotaExceededException", "at most 10");
    let default =
        "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/DefaultConfiguration";
    let refused = world
        .call(
            "DeleteAutoScalingConfiguration",
            json!({"AutoScalingConfigurationArn": default}),
        )
        .await;
    refused
        .unwrap_err()
        .is("InvalidRequestException", "default");

    let observe = |name: &str| {
        world.call(
            "CreateObservabilityConfiguration",
            json!({"ObservabilityConfigurationName": name}),
        )
    };
    observe("DefaultConfiguration")
        .await
        .unwrap_err()
        .is("InvalidRequestException", "reserved");
    for _ in 0..10 {
        observe("name-0").await.unwrap();
    }
    observe("name-0")
        .await
        .unwrap_err()
        .is("ServiceQuotaExceededException", "10 revisions");
    for n in 0..10 {
        connector(&world, &format!("name-{n}"), &format!("sg-{n}")).await;
    }
    let more = json!({"VpcConnectorName": "name-10", "Subnets": ["subnet-a"]});
    world
        .call("CreateVpcConnector", more)
        .await
        .unwrap_err()
        .is("ServiceQuotaExceededException", "10");
}

#[tokio::test]
async fn an_observability_configuration_is_used_only_when_enabled() {
    let world = World::start().await;
    let request = json!({"ObservabilityConfigurationName": "shop-prod", "TraceConfiguration": {"Vendor": "AWSXRAY"}});
    let answer = world
        .call("CreateObservabilityConfiguration", request)
        .await
        .unwrap();
    let configuration = &answer["ObservabilityConfiguration"];
    assert_eq!(configuration["TraceConfiguration"]["Vendor"], "AWSXRAY");
    let arn = configuration["ObservabilityConfigurationArn"]
        .as_str()
        .unwrap();
    let mut request = create_request("shop-prod");
    request["ObservabilityConfiguration"] = json!({"ObservabilityEnabled": true});
    world
        .call("CreateService", request.clone())
        .await
        .unwrap_err()
        .is("InvalidRequestException", "is required");
    request["ObservabilityConfiguration"]["ObservabilityConfigurationArn"] =
        json!(arn.rsplit_once('/').unwrap().0);
    let service = world.create(request).await;
    assert_eq!(
        world.settled(&service).await["ObservabilityConfiguration"]["ObservabilityConfigurationArn"],
        arn
    );
    let this = json!({"ObservabilityConfigurationArn": arn});
    let refused = world
        .call("DeleteObservabilityConfiguration", this.clone())
        .await
        .unwrap_err();
    refused.is("InvalidRequestException", "used by one or more services");
    let off = json!({"ServiceArn": service, "ObservabilityConfiguration": {"ObservabilityEnabled": false}});
    world.call("UpdateService", off).await.unwrap();
    world.settled(&service).await;
    world
        .call("DeleteObservabilityConfiguration", this.clone())
        .await
        .unwrap();
    let described = world
        .call("DescribeObservabilityConfiguration", this)
        .await
        .unwrap();
    assert_eq!(
        described["ObservabilityConfiguration"]["Status"],
        "INACTIVE"
    );
    let list = world
        .call("ListObservabilityConfigurations", json!({}))
        .await
        .unwrap();
    assert_eq!(list["ObservabilityConfigurationSummaryList"], json!([]));
}

#[tokio::test]
async fn a_connector_is_one_revision_of_a_name_and_of_its_security_groups() {
    let world = World::start().await;
    let arn = connector(&world, "shop-prod", "sg-1").await;
    let again = json!({"VpcConnectorName": "shop-prod", "Subnets": ["subnet-a"], "SecurityGroups": ["sg-2"]});
    world
        .call("CreateVpcConnector", again)
        .await
        .unwrap_err()
        .is("InvalidRequestException", "already exists: shop-prod");
    let same = json!({"VpcConnectorName": "blog-prod", "Subnets": ["subnet-a"], "SecurityGroups": ["sg-1"]});
    let refused = world.call("CreateVpcConnector", same).await.unwrap_err();
    refused.is(
        "InvalidRequestException",
        &format!("already exists on existing vpc connector. Existing VPC connector arn: {arn}"),
    );

    let this = json!({"VpcConnectorArn": arn});
    world
        .call("DeleteVpcConnector", this.clone())
        .await
        .unwrap();
    assert_eq!(
        world.call("DescribeVpcConnector", this).await.unwrap()["VpcConnector"]["Status"],
        "INACTIVE"
    );
    // What lingers of a deleted one, for a while.
    let same = json!({"VpcConnectorName": "shop-prod", "Subnets": ["subnet-a"], "SecurityGroups": ["sg-1"]});
    let refused = world.call("CreateVpcConnector", same).await.unwrap_err();
    refused.is(
        "InvalidRequestException",
        &format!("Existing VPC connector arn: {arn}"),
    );
    tokio::time::sleep(Duration::from_millis(60)).await;
    let successor = connector(&world, "shop-prod", "sg-1").await;
    assert_ne!(successor, arn);
    let list = world.call("ListVpcConnectors", json!({})).await.unwrap();
    let statuses: Vec<&Value> = list["VpcConnectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["Status"])
        .collect();
    assert_eq!(statuses, ["INACTIVE", "ACTIVE"]);
    assert_eq!(world.emulator.snapshot().vpc_connectors.len(), 1);
}

#[tokio::test]
async fn a_connector_needs_subnets_of_one_vpc() {
    let world = World::start().await;
    let create = |subnets: Value| {
        world.call(
            "CreateVpcConnector",
            json!({"VpcConnectorName": "shop-prod", "Subnets": subnets}),
        )
    };
    world.local_aws.set(
        "subnet-x",
        json!({"id": "subnet-x", "vpc": "vpc-2", "zone": "use1-az1", "public": false}),
    );
    world.local_aws.set("subnet-0", Value::Null);
    create(json!(["subnet-a", "subnet-x"]))
        .await
        .unwrap_err()
        .is("InvalidRequestException", "same VPC");
    create(json!(["subnet-a", "subnet-0"]))
        .await
        .unwrap_err()
        .is("InvalidRequestException", "'subnet-0' does not exist");
    create(json!([]))
        .await
        .unwrap_err()
        .is("InvalidRequestException", "empty");
}

#[tokio::test]
async fn a_connector_is_in_no_zone_that_app_runner_refuses_and_the_refusal_names_its_subnets() {
    let world = World::start().await;
    for (id, zone) in [("subnet-3", "use1-az3"), ("subnet-6", "use1-az6")] {
        let subnet = json!({"id": id, "vpc": "vpc-1", "zone": zone, "public": false});
        world.local_aws.set(id, subnet);
    }
    let create = |subnets: Value| {
        world.call(
            "CreateVpcConnector",
            json!({"VpcConnectorName": "shop-prod", "Subnets": subnets}),
        )
    };
    let text = "The Availability Zones associated with the following subnet(s) don't support App Runner services: ";
    let all = json!(["subnet-a", "subnet-3", "subnet-6"]);
    let refused = create(all.clone()).await.unwrap_err();
    refused.is(
        "InvalidRequestException",
        &format!("{text}subnet-3(use1-az3)"),
    );
    assert!(!refused.message.contains("subnet-6"), "{}", refused.message);

    let zones = ["use1-az3", "use1-az6"].map(str::to_owned).into();
    let zones = Arrangement::Zones { refused: zones };
    world.emulator.arrange(zones).unwrap();
    create(all).await.unwrap_err().is(
        "InvalidRequestException",
        &format!("{text}subnet-3(use1-az3), subnet-6(use1-az6)"),
    );
    create(json!(["subnet-a", "subnet-b"])).await.unwrap();
}

#[tokio::test]
async fn network_interfaces_come_with_the_first_use_of_a_connector_and_go_with_it() {
    let world = World::start().await;
    let arn = connector(&world, "shop-prod", "sg-1").await;
    let service = world.create(behind("shop-prod", &arn)).await;
    assert_eq!(world.settled(&service).await["Status"], "RUNNING");
    let second = world.create(behind("blog-prod", &arn)).await;
    world.settled(&second).await;
    let refused = world
        .call("DeleteVpcConnector", json!({"VpcConnectorArn": arn}))
        .await
        .unwrap_err();
    refused.is(
        "InvalidRequestException",
        "Provided VPC connector arn is being used by other services.",
    );
    delete(&world, &service).await;
    delete(&world, &second).await;
    assert!(
        world
            .local_aws
            .told("DELETE /_local/network-interfaces")
            .is_empty()
    );
    world
        .call("DeleteVpcConnector", json!({"VpcConnectorArn": arn}))
        .await
        .unwrap();
    let gone = world.told("DELETE /_local/network-interfaces", 1).await;
    assert_eq!(gone, [json!({"vpc_connector_arn": arn})]);
    let come = json!({"vpc_connector_arn": arn, "subnets": ["subnet-a", "subnet-b"], "security_groups": ["sg-1"]});
    assert_eq!(
        world.local_aws.told("POST /_local/network-interfaces"),
        [come]
    );
}

#[tokio::test]
async fn the_first_use_of_a_connector_takes_longer() {
    let world = World::start().await;
    let arn = connector(&world, "shop-prod", "sg-1").await;
    let begun = std::time::Instant::now();
    let service = world.create(behind("shop-prod", &arn)).await;
    world.settled(&service).await;
    assert!(begun.elapsed().as_millis() >= 360, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_service_does_not_take_a_companion_that_is_not_there() {
    let world = World::start().await;
    let arn = connector(&world, "shop-prod", "sg-1").await;
    world
        .call("DeleteVpcConnector", json!({"VpcConnectorArn": arn}))
        .await
        .unwrap();
    let refused = world
        .call("CreateService", behind("shop-prod", &arn))
        .await
        .unwrap_err();
    refused.is("InvalidRequestException", "VpcConnector");
    let mut request = create_request("shop-prod");
    request["AutoScalingConfigurationArn"] =
        json!("arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/nobody");
    world
        .call("CreateService", request)
        .await
        .unwrap_err()
        .is("InvalidRequestException", "nobody");
}

#[tokio::test]
async fn everything_can_be_tagged() {
    let world = World::start().await;
    let service = world.running("shop-prod").await;
    let connector = connector(&world, "shop-prod", "sg-1").await;
    let scaling = scaling(&world, "shop-prod").await["AutoScalingConfigurationArn"]
        .as_str()
        .unwrap()
        .to_owned();
    for arn in [&service, &connector, &scaling] {
        let tags = json!([{"Key": "one", "Value": "1"}, {"Key": "two", "Value": ""}]);
        world
            .call("TagResource", json!({"ResourceArn": arn, "Tags": tags}))
            .await
            .unwrap();
        world
            .call(
                "TagResource",
                json!({"ResourceArn": arn, "Tags": [{"Key": "one", "Value": "I"}]}),
            )
            .await
            .unwrap();
        world
            .call(
                "UntagResource",
                json!({"ResourceArn": arn, "TagKeys": ["two", "groundcrew:app"]}),
            )
            .await
            .unwrap();
        let answer = world
            .call("ListTagsForResource", json!({"ResourceArn": arn}))
            .await
            .unwrap();
        assert_eq!(answer["Tags"], json!([{"Key": "one", "Value": "I"}]));
        let many: Vec<Value> = (0..50)
            .map(|n| json!({"Key": format!("k{n}"), "Value": "v"}))
            .collect();
        let refused = world
            .call("TagResource", json!({"ResourceArn": arn, "Tags": many}))
            .await
            .unwrap_err();
        refused.is("InvalidRequestException", "50 tags");
    }
    delete(&world, &service).await;
    let refused = world
        .call("ListTagsForResource", json!({"ResourceArn": service}))
        .await
        .unwrap_err();
    refused.is("ResourceNotFoundException", &service);
}
