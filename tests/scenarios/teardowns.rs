//! A teardown comes to an end, whatever state the stack is in, or says at once why it cannot.

use crate::stage::{Service, Stage, assert_succeeded, eventually, play, spec, tags};
use apprunner_emulator::{Arrangement, ServiceStatus};
use aws_sdk_apprunner::types::{EgressConfiguration, EgressType, NetworkConfiguration};
use aws_sdk_ec2::types::{IpPermission, UserIdGroupPair};
use rehearsal::{End, What};
use serde_json::{Value, json};

fn arrange(stage: &Stage, arrangement: &Value) {
    let arrangement: Arrangement =
        serde_json::from_value(arrangement.clone()).expect("an arrangement");
    stage
        .local
        .apprunner()
        .arrange(arrangement)
        .expect("arranged");
}

/// Whether a state was told to wait, in these words.
fn has_waited(end: &End, words: &str) -> bool {
    end.happenings.iter().any(|happening| {
        matches!(&happening.what, What::Failed { error, message } if error == "NotReady" && message.contains(words))
    })
}

/// The states that an execution came to.
fn entered(end: &End) -> Vec<&str> {
    let entered = end.happenings.iter().filter(|it| it.what == What::Entered);
    entered.map(|it| it.state.as_str()).collect()
}

/// Stops a database, and waits until it is.
async fn stop(stage: &Stage, name: &str) {
    let stopped = stage.local.aws().rds().stop_db_instance();
    let stopped = stopped.db_instance_identifier(name).send().await;
    stopped.expect("accepted");
    stage.database_is(name, Some("stopped")).await;
}

#[test]
fn a_parked_stack_is_refused_at_once_if_it_is_protected_and_otherwise_goes_with_a_last_snapshot() {
    play(|stage| async move {
        let aws = stage.local.aws();
        let mut spec = spec("parked");
        spec["environment"] = json!("prod");
        assert_succeeded(&stage.provision(&spec).await);
        Service::named(stage, "parked-prod").pause_by_hand().await;
        stop(stage, "parked-prod").await;
        // What somebody gave to our roles by hand.
        let role = "parked-prod-instance-us-east-1";
        let policy = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
        let attached = aws.iam().attach_role_policy().role_name(role);
        attached.policy_arn(policy).send().await.expect("attached");
        let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]});
        let inline = aws
            .iam()
            .put_role_policy()
            .role_name(role)
            .policy_name("mine");
        let inline = inline.policy_document(document.to_string()).send().await;
        inline.expect("put");
        // App Runner keeps the connector for longer than everything else takes.
        let held = |held: bool| json!({"kind": "held", "connector": "parked-prod", "held": held});
        arrange(stage, &held(true));

        let before = stage.traces("parked-prod").await;
        let removal = json!({"app": "parked", "environment": "prod"});
        let end = stage.remove(&removal).await;
        assert_eq!(end.error, "Invalid", "{}", end.message);
        let refusal = "ignore_deletion_protection: false is refused";
        assert!(end.message.starts_with(refusal), "{}", end.message);
        assert_eq!(entered(&end), ["Refuse a bad removal"]);
        assert_eq!(stage.traces("parked-prod").await, before);

        let meant =
            json!({"app": "parked", "environment": "prod", "ignore_deletion_protection": true});
        let is_started = async {
            let started = async || {
                let mut calls = stage.local.calls().await.expect("the calls are logged");
                calls.retain(|call| call.resource.ends_with(":db:parked-prod"));
                let start = calls
                    .iter()
                    .position(|it| it.action == "rds:StartDBInstance")?;
                let before = calls[..start].iter();
                let mut tagged = before.filter(|it| it.action == "rds:AddTagsToResource");
                Some(tagged.any(|it| it.principal == calls[start].principal))
            };
            let is_kept_awake = eventually("the database is started", started).await;
            assert!(is_kept_awake, "nobody parks it meanwhile");
            stage.database_is("parked-prod", None).await;
            arrange(stage, &held(false));
        };
        let (end, ()) = tokio::join!(stage.remove(&meant), is_started);
        assert_succeeded(&end);
        assert_eq!(end.output["left"], json!([]));
        assert!(has_waited(&end, "which is started first"));
        assert!(has_waited(&end, "is being used by other services"));
        assert!(has_waited(
            &end,
            "of which IAM has just been told to remove arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
        ));
        assert_eq!(stage.traces("parked-prod").await, Vec::<String>::new());
        let snapshots = stage.world().await.snapshots;
        let mut taken = snapshots.iter();
        assert!(taken.any(|it| it.db_instance_identifier() == Some("parked-prod")));
    });
}

#[test]
fn a_stopped_database_without_a_last_snapshot_and_a_busy_service_go_as_they_are() {
    play(|stage| async move {
        let spec = spec("asleep");
        assert_succeeded(&stage.provision(&spec).await);
        stop(stage, "asleep-dev").await;
        // App Runner is at its service when teardown comes, and then fails to delete it.
        let maintenance = json!({"kind": "maintenance", "service": "asleep-dev", "seconds": 120});
        arrange(stage, &maintenance);
        let fails = json!({"kind": "next-operation", "operation": "DELETE_SERVICE", "service": "asleep-dev", "fate": "fails"});
        arrange(stage, &fails);
        let end = stage.teardown(&spec).await;
        assert_succeeded(&end);
        assert!(!has_waited(&end, "which is started first"));
        assert_eq!(stage.traces("asleep-dev").await, Vec::<String>::new());
    });
}

/// Everything that AWS lets somebody make in our VPC, and refers to what is ours; by the ids that a person needs.
async fn others_come(stage: &Stage, stack: &str) -> Vec<String> {
    let ec2 = stage.local.aws().ec2();
    let world = stage.world().await;
    let is_named =
        |found: &[aws_sdk_ec2::types::Tag]| tags(found).get("Name").is_some_and(|it| it == stack);
    let vpc = world
        .vpcs
        .iter()
        .find(|it| is_named(it.tags()))
        .expect("the VPC");
    let vpc = vpc.vpc_id().expect("an id");
    let of_vpc = world.subnets.iter().find(|it| it.vpc_id() == Some(vpc));
    let subnet = of_vpc.and_then(|it| it.subnet_id()).expect("a subnet");
    let connector = format!("{stack}-connector");
    let mut groups = world.security_groups.iter();
    let group = groups
        .find(|it| it.group_name() == Some(&connector))
        .expect("a group");
    let group = group.group_id().expect("an id").to_owned();
    let mut ids = Vec::new();

    ids.push(interface(stage, subnet).await);
    let made = ec2
        .create_nat_gateway()
        .subnet_id(subnet)
        .send()
        .await
        .expect("made");
    ids.extend(made.nat_gateway.and_then(|it| it.nat_gateway_id));
    let made = ec2.create_internet_gateway().send().await.expect("made");
    let gateway = made
        .internet_gateway
        .and_then(|it| it.internet_gateway_id)
        .expect("an id");
    let attached = ec2.attach_internet_gateway().internet_gateway_id(&gateway);
    attached.vpc_id(vpc).send().await.expect("attached");
    ids.push(gateway);
    let made = ec2
        .create_egress_only_internet_gateway()
        .vpc_id(vpc)
        .send()
        .await
        .expect("made");
    let gateway = made.egress_only_internet_gateway;
    ids.extend(gateway.and_then(|it| it.egress_only_internet_gateway_id));
    let made = ec2
        .create_vpc_endpoint()
        .vpc_id(vpc)
        .service_name("com.amazonaws.us-east-1.s3");
    let made = made.send().await.expect("made");
    ids.extend(made.vpc_endpoint.and_then(|it| it.vpc_endpoint_id));
    let made = ec2
        .create_network_acl()
        .vpc_id(vpc)
        .send()
        .await
        .expect("made");
    ids.extend(made.network_acl.and_then(|it| it.network_acl_id));
    let made = ec2
        .create_subnet()
        .vpc_id(vpc)
        .cidr_block("10.0.192.0/18")
        .send()
        .await
        .expect("made");
    ids.extend(made.subnet.and_then(|it| it.subnet_id));
    let peer = ec2
        .create_vpc()
        .cidr_block("10.77.0.0/16")
        .send()
        .await
        .expect("made");
    let peer = peer.vpc.and_then(|it| it.vpc_id).expect("an id");
    let made = ec2
        .create_vpc_peering_connection()
        .vpc_id(&peer)
        .peer_vpc_id(vpc);
    let made = made.send().await.expect("made").vpc_peering_connection;
    let peering = made
        .and_then(|it| it.vpc_peering_connection_id)
        .expect("an id");
    let accepted = ec2
        .accept_vpc_peering_connection()
        .vpc_peering_connection_id(&peering);
    accepted.send().await.expect("accepted");
    ids.push(peering);
    // A group of theirs lets ours in.
    let made = ec2
        .create_security_group()
        .vpc_id(vpc)
        .group_name("theirs")
        .description("theirs");
    let theirs = made.send().await.expect("made").group_id.expect("an id");
    let pair = UserIdGroupPair::builder().group_id(&group).build();
    let rule = IpPermission::builder()
        .ip_protocol("tcp")
        .from_port(443)
        .to_port(443);
    let rule = rule.user_id_group_pairs(pair).build();
    let opened = ec2
        .authorize_security_group_ingress()
        .group_id(&theirs)
        .ip_permissions(rule);
    opened.send().await.expect("opened");
    ids.push(format!("a rule of security group {theirs}"));
    ids.push(theirs);
    ids
}

/// A network interface of somebody's.
async fn interface(stage: &Stage, subnet: &str) -> String {
    let made = stage.local.aws().ec2().create_network_interface();
    let made = made.subnet_id(subnet).description("theirs").send().await;
    let made = made.expect("made").network_interface;
    made.and_then(|it| it.network_interface_id).expect("an id")
}

/// A service of somebody else's that runs an image of this stack's repository over this stack's connector.
async fn service(stage: &Stage, stack: &str) -> String {
    let apprunner = stage.local.aws().apprunner();
    let arn = &Service::named(stage, stack).arn;
    let described = apprunner.describe_service().service_arn(arn).send().await;
    let described = described.expect("described").service.expect("a service");
    let made = apprunner
        .create_service()
        .service_name(format!("user-of-{stack}"));
    let made = made
        .source_configuration(described.source_configuration.expect("a source"))
        .instance_configuration(described.instance_configuration.expect("an instance"))
        .network_configuration(described.network_configuration.expect("a network"));
    let made = made.send().await.expect("made").service.expect("a service");
    Service::named(stage, &made.service_name)
        .status_is(ServiceStatus::Running)
        .await;
    made.service_arn
}

#[test]
fn what_is_somebody_elses_and_stands_in_the_way_is_named_before_anything_is_removed() {
    play(|stage| async move {
        let aws = stage.local.aws();
        let spec = spec("crowded");
        assert_succeeded(&stage.provision(&spec).await);
        let others = others_come(stage, "crowded-dev").await;
        service(stage, "crowded-dev").await;
        arrange(
            stage,
            &json!({"kind": "ingress", "service": "crowded-dev", "connected": true}),
        );
        let profile = aws
            .iam()
            .create_instance_profile()
            .instance_profile_name("theirs");
        profile.send().await.expect("made");
        let member = aws
            .iam()
            .add_role_to_instance_profile()
            .instance_profile_name("theirs");
        let member = member
            .role_name("crowded-dev-instance-us-east-1")
            .send()
            .await;
        member.expect("added");
        let before = stage.traces("crowded-dev").await;
        let end = stage.teardown(&spec).await;
        assert_eq!(end.error, "Invalid", "{}", end.message);
        assert_eq!(entered(&end), ["Refuse a bad removal"]);
        let more = [
            "vpcingressconnection/crowded-dev/",
            "instance profile theirs",
            "service user-of-crowded-dev, which uses it",
        ];
        let named = others.iter().map(String::as_str).chain(more);
        for named in named {
            assert!(end.message.contains(named), "{named}: {}", end.message);
        }
        assert_eq!(stage.traces("crowded-dev").await, before);
    });
}

#[test]
fn what_comes_in_the_way_later_is_named_and_a_repository_that_a_service_uses_stays() {
    play(|stage| async move {
        let aws = stage.local.aws();
        let spec = spec("used");
        assert_succeeded(&stage.provision(&spec).await);
        let user = service(stage, "used-dev").await;
        let egress = EgressConfiguration::builder()
            .egress_type(EgressType::Default)
            .build();
        let network = NetworkConfiguration::builder()
            .egress_configuration(egress)
            .build();
        let updated = aws.apprunner().update_service().service_arn(&user);
        updated
            .network_configuration(network)
            .send()
            .await
            .expect("accepted");
        Service::named(stage, "user-of-used-dev")
            .status_is(ServiceStatus::Running)
            .await;

        let held = |held: bool| json!({"kind": "held", "connector": "used-dev", "held": held});
        arrange(stage, &held(true));
        let comes_late = async {
            stage.database_is("used-dev", None).await;
            let world = stage.world().await;
            let of_stack = |it: &&aws_sdk_ec2::types::Subnet| {
                tags(it.tags())
                    .get("groundcrew:app")
                    .is_some_and(|app| app == "used")
            };
            let subnet = world
                .subnets
                .iter()
                .find(of_stack)
                .and_then(|it| it.subnet_id());
            let interface = interface(stage, subnet.expect("a subnet")).await;
            arrange(stage, &held(false));
            interface
        };
        let (end, interface) = tokio::join!(stage.teardown(&spec), comes_late);
        assert_eq!(end.error, "Failed", "{}", end.message);
        let named = format!("network interface {interface} (theirs)");
        assert!(end.message.contains(&named), "{}", end.message);
        let gone = aws
            .ec2()
            .delete_network_interface()
            .network_interface_id(interface);
        gone.send().await.expect("deleted");

        let end = stage.teardown(&spec).await;
        assert_succeeded(&end);
        let left = "repository used-dev, of which service user-of-used-dev runs an image";
        assert_eq!(end.output["left"], json!([left]));
        assert_eq!(stage.traces("used-dev").await, ["repository used-dev"]);

        let deleted = aws.apprunner().delete_service().service_arn(user);
        deleted.send().await.expect("accepted");
        let is_gone = async || {
            let end = stage.teardown(&spec).await;
            assert_succeeded(&end);
            (end.output["left"] == json!([])).then_some(())
        };
        eventually("the repository goes when nobody uses it", is_gone).await;
        assert_eq!(stage.traces("used-dev").await, Vec::<String>::new());
    });
}
