//! The promises of the product, played over the deployed template with IAM enforced. The ids are those of the features.

use crate::stage::{
    Service, Stage, assert_kept, assert_succeeded, eventually, name, outcomes, play, play_alone,
    spec, tags, touched,
};
use apprunner_emulator::{Arrangement, Fate};
use groundcrew::Mistake;
use groundcrew::Spec;
use rehearsal::promises::{
    PLANNED, PROVISIONED, Planned, Provisioned, REFUSED, REPEATED, Refused, Repeated,
};
use rehearsal::{Call, End, What};
use serde_json::{Value, json};
use std::time::Duration;

/// The states of an execution in the order in which they were entered.
pub(super) fn entered(end: &End) -> Vec<&str> {
    let entered = end
        .happenings
        .iter()
        .filter(|happening| happening.what == What::Entered);
    entered.map(|happening| happening.state.as_str()).collect()
}

#[test]
fn p1_to_p8_a_stack_is_built_from_nothing_and_answers_before_anybody_is_told_so() {
    play_alone(&[], |stage| async move {
        let mut spec = spec("fresh");
        spec["service"]["secrets"] = json!({"DATABASE_PASSWORD": "database:password"});
        spec["database"] = json!({"read_replica": true});
        // The execution comes to the image before there is one.
        let push = async {
            eventually("the repository is there", async || {
                let found = stage.local.aws().ecr().describe_repositories();
                found.repository_names("fresh-dev").send().await.ok()
            })
            .await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let pushed = stage.local.push_image("fresh-dev", "latest", "amd64");
            pushed.await.expect("pushed")
        };
        let (end, _) = tokio::join!(stage.provision_without_image(&spec), push);
        assert_succeeded(&end);
        let outcomes = outcomes(&end);
        let created = outcomes.iter().all(|(_, outcome)| outcome == "created");
        assert!(created, "{outcomes:?}");
        let credentials = stage.local.secret("groundcrew/fresh/dev/database").await;
        let credentials = credentials.expect("P3");
        let calls = calls(stage).await;
        let checked = Spec::parse(&spec).expect("a good spec");
        let seen = Provisioned::look(&stage.local, checked, credentials, end, calls).await;
        let seen = seen.expect("it can be looked at");
        assert_kept(PROVISIONED, &seen);

        // P1: in each zone, and the replica is behind the same group as the database.
        let Provisioned { world, .. } = &seen;
        let group = |name: &str| {
            let mut groups = world.security_groups.iter();
            let found = groups.find(|group| group.group_name() == Some(name));
            found.unwrap_or_else(|| panic!("security group {name}"))
        };
        let vpc_id = group("fresh-dev-connector").vpc_id();
        let subnets = world.subnets.iter();
        let mut zones: Vec<_> = subnets
            .filter(|subnet| subnet.vpc_id() == vpc_id)
            .filter_map(|subnet| subnet.availability_zone())
            .collect();
        zones.sort();
        // App Runner refuses us-east-1a of this account.
        assert_eq!(zones, ["us-east-1b", "us-east-1c", "us-east-1d"]);
        let mut connectors = world.vpc_connectors.iter();
        let connector = connectors.find(|it| it.vpc_connector_name() == Some("fresh-dev"));
        assert_eq!(connector.map(|it| it.subnets().len()), Some(3));
        let mut databases = world.databases.iter();
        let replica = databases
            .find(|found| found.db_instance_identifier() == Some("fresh-dev-replica"))
            .expect("P4");
        let groups = replica.vpc_security_groups().iter();
        let groups: Vec<_> = groups.map(|group| group.vpc_security_group_id()).collect();
        assert_eq!(groups, [group("fresh-dev-database").group_id()]);

        // P3: as long as it is generated, of the database that is named by the app.
        assert_eq!(seen.credentials["dbname"], "fresh_db");
        let password = seen.credentials["password"].as_str().expect("P3");
        assert_eq!(password.len(), 32);

        // P5: the instance role reads the secret that the spec names, and nothing else.
        let policy = &world.policies["fresh-dev-instance-us-east-1/groundcrew"];
        let policy: Value = serde_json::from_str(policy).expect("P5");
        assert_eq!(policy["Statement"].as_array().map(Vec::len), Some(1));
        let readable = &policy["Statement"][0];
        assert_eq!(readable["Action"], "secretsmanager:GetSecretValue");
        let secret = readable["Resource"][0].as_str().expect("P5");
        assert!(secret.contains(":secret:groundcrew/fresh/dev/database-"));

        // P6: a secret by its JSON key.
        let service = Service::named(stage, "fresh-dev");
        let description = service.look().description;
        let configuration =
            &description["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"];
        let reference = &configuration["RuntimeEnvironmentSecrets"]["DATABASE_PASSWORD"];
        let reference = reference.as_str().expect("P6");
        assert!(reference.ends_with(":password::"), "{reference}");
        // P7
        assert_eq!(service.alarms().await.len(), 9);
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn p9_the_same_spec_again_changes_nothing_and_calls_nothing_that_writes() {
    play_alone(&[], |stage| async move {
        let spec = spec("again");
        assert_succeeded(&stage.provision(&spec).await);
        let before = stage.world().await;
        stage.local.clear_calls().await.expect("the log is cleared");
        let seen = Repeated {
            end: stage.provision_without_image(&spec).await,
            calls: calls(stage).await,
            differences: before.differences(&stage.world().await),
        };
        assert_kept(REPEATED, &seen);
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

/// The calls of functions since the log was cleared.
async fn calls(stage: &Stage) -> Vec<Call> {
    let calls = stage.local.calls_of_functions().await;
    calls.expect("listed")
}

#[test]
fn p9_a_changed_spec_changes_only_what_differs() {
    play(|stage| async move {
        let mut spec = spec("changed");
        spec["service"]["xray"] = json!(true);
        assert_succeeded(&stage.provision(&spec).await);

        spec["service"]["scaling"] = json!({"max_size": 7});
        spec["service"]["variables"] = json!({"LOG_LEVEL": "debug"});
        let end = stage.provision_without_image(&spec).await;
        assert_succeeded(&end);
        // The function `alarms` may have been quicker with those of a service that was updated.
        let mut touched_now = touched(&end);
        touched_now.retain(|it| it != "alarms changed");
        assert_eq!(touched_now, ["configuration changed", "service changed"]);
        let alarms = Service::named(stage, "changed-dev").alarms().await;
        let most = alarms
            .iter()
            .find(|it| it.alarm_name() == Some("changed-dev-instances-groundcrew"));
        assert_eq!(most.and_then(|it| it.threshold()), Some(7.0));

        spec["database"] = json!({"storage_gib": 40, "backup_days": 14});
        spec["image"] = json!({"immutable_tags": true, "keep": 5});
        spec["log_retention_days"] = json!(7);
        spec["service"]["xray"] = json!(false);
        let end = stage.provision_without_image(&spec).await;
        assert_succeeded(&end);
        let expected = [
            "alarms changed",
            "database changed",
            "registry changed",
            "roles changed",
            "service changed",
        ];
        assert_eq!(touched(&end), expected);
        let world = stage.world().await;
        let database = world
            .databases
            .iter()
            .find(|found| found.db_instance_identifier() == Some("changed-dev"))
            .expect("it exists");
        assert_eq!(
            (
                database.allocated_storage(),
                database.backup_retention_period()
            ),
            (Some(40), Some(14))
        );
        // What the service uses no more is gone: App Runner keeps five revisions of a name at most.
        let revisions = world
            .apprunner
            .auto_scaling_configurations
            .iter()
            .filter(|revision| revision.arn.contains("/changed-dev/"));
        assert_eq!(revisions.count(), 1);
        assert!(
            !world
                .apprunner
                .observability_configurations
                .iter()
                .any(|revision| revision.arn.contains("/changed-dev/"))
        );
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn p9_what_someone_changed_by_hand_is_put_right() {
    play(|stage| async move {
        let spec = spec("drift");
        assert_succeeded(&stage.provision(&spec).await);
        let world = stage.world().await;
        let group = world
            .security_groups
            .iter()
            .find(|group| group.group_name() == Some("drift-dev-database"))
            .expect("it exists");
        let aws = stage.local.aws();
        aws.ec2()
            .authorize_security_group_ingress()
            .group_id(group.group_id().expect("an id"))
            .ip_protocol("tcp")
            .from_port(5432)
            .to_port(5432)
            .cidr_ip("0.0.0.0/0")
            .send()
            .await
            .expect("somebody opens the database to the world");
        aws.cloudwatch()
            .delete_alarms()
            .alarm_names("drift-dev-cpu-groundcrew")
            .send()
            .await
            .expect("somebody deletes an alarm");
        let service = world
            .apprunner
            .services
            .iter()
            .find(|service| service.name == "drift-dev")
            .expect("it exists");
        let source = aws_sdk_apprunner::types::SourceConfiguration::builder()
            .auto_deployments_enabled(true)
            .build();
        aws.apprunner()
            .update_service()
            .service_arn(&service.arn)
            .source_configuration(source)
            .send()
            .await
            .expect("somebody turns on auto-deployments");

        let end = stage.provision_without_image(&spec).await;
        assert_succeeded(&end);
        let world = stage.world().await;
        let group = world
            .security_groups
            .iter()
            .find(|group| group.group_name() == Some("drift-dev-database"))
            .expect("it exists");
        assert!(
            group
                .ip_permissions()
                .iter()
                .all(|rule| rule.ip_ranges().is_empty()),
            "{:?}",
            group.ip_permissions()
        );
        assert!(
            world
                .alarms
                .iter()
                .any(|alarm| alarm.alarm_name() == Some("drift-dev-cpu-groundcrew"))
        );
        let service = world
            .apprunner
            .services
            .iter()
            .find(|service| service.name == "drift-dev")
            .expect("it exists");
        assert_eq!(
            service.description["SourceConfiguration"]["AutoDeploymentsEnabled"],
            false
        );
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn p2_an_execution_waits_for_the_first_image_and_says_so() {
    play(|stage| async move {
        let spec = spec("late");
        let push_late = async {
            // The database is done by then, and the execution waits for nothing but the image.
            tokio::time::sleep(std::time::Duration::from_secs(8)).await;
            stage
                .local
                .push_image("late-dev", "latest", "amd64")
                .await
                .expect("the image is pushed");
        };
        let (end, ()) = tokio::join!(stage.provision_without_image(&spec), push_late);
        assert_succeeded(&end);
        let waits = end.happenings.iter().any(|happening| {
            matches!(&happening.what, What::Failed { error, message } if error == "NotReady" && message.contains("an image tagged latest in the repository late-dev"))
        });
        assert!(waits, "{:?}", end.happenings);
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn p2_an_image_that_never_comes_ends_the_execution_and_nothing_is_left() {
    play(|stage| async move {
        let mut spec = spec("never");
        spec["image"] = json!({"wait_minutes": 1});
        let end = stage.provision_without_image(&spec).await;
        assert_eq!(end.error, "Failed", "{}", end.message);
        assert!(
            end.message.contains("did not come within 1 min"),
            "{}",
            end.message
        );
        assert_eq!(stage.traces("never-dev").await, Vec::<String>::new());
    });
}

pub(super) fn next_operation(service: &str, operation: &str, fate: Fate) -> Arrangement {
    serde_json::from_value(
        json!({"kind": "next-operation", "operation": operation, "service": service, "fate": fate}),
    )
    .expect("an arrangement")
}

#[test]
fn p10_with_on_failure_keep_everything_stays_and_is_named_and_a_later_execution_repairs_it() {
    play(|stage| async move {
        stage
            .local
            .apprunner()
            .arrange(next_operation("kept-dev", "CREATE_SERVICE", Fate::Fails))
            .expect("arranged");
        let mut spec = spec("kept");
        spec["on_failure"] = json!("keep");
        let end = stage.provision(&spec).await;
        assert!(!end.succeeded);
        for left in [
            "database kept-dev",
            "service kept-dev",
            "role kept-dev-access-us-east-1",
            "repository kept-dev",
        ] {
            assert!(
                end.message.contains(left),
                "{left} is not named: {}",
                end.message
            );
        }
        assert!(stage.traces("kept-dev").await.len() > 10);

        // P9: a crash at any point is repaired by running it again; here App Runner's rebuild fails, too.
        stage
            .local
            .apprunner()
            .arrange(next_operation("kept-dev", "UPDATE_SERVICE", Fate::Fails))
            .expect("arranged");
        let end = stage.provision_without_image(&spec).await;
        assert_succeeded(&end);
        assert!(
            entered(&end).contains(&"Remove the failed service"),
            "{:?}",
            entered(&end)
        );
        assert_eq!(end.output["health"]["status"], 200);
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn p9_a_service_whose_creation_failed_is_rebuilt_by_an_update() {
    play(|stage| async move {
        stage
            .local
            .apprunner()
            .arrange(next_operation("rebuilt-dev", "CREATE_SERVICE", Fate::Fails))
            .expect("arranged");
        let mut spec = spec("rebuilt");
        spec["on_failure"] = json!("keep");
        assert!(!stage.provision(&spec).await.succeeded);
        let end = stage.provision_without_image(&spec).await;
        assert_succeeded(&end);
        assert!(
            !entered(&end).contains(&"Remove the failed service"),
            "{:?}",
            entered(&end)
        );
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn p10_a_failed_change_to_a_living_stack_leaves_everything_that_was_there() {
    play(|stage| async move {
        let mut spec = spec("living");
        assert_succeeded(&stage.provision(&spec).await);
        let before = stage.traces("living-dev").await;
        stage
            .local
            .apprunner()
            .arrange(next_operation("living-dev", "UPDATE_SERVICE", Fate::Fails))
            .expect("arranged");
        spec["service"]["port"] = json!(9999);
        let end = stage.provision_without_image(&spec).await;
        assert_eq!(end.error, "Failed");
        assert!(
            end.message
                .contains("the update of service living-dev failed (ROLLBACK_SUCCEEDED)"),
            "{}",
            end.message
        );
        assert_eq!(stage.traces("living-dev").await, before);
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn p10_an_execution_that_fails_under_the_name_of_an_earlier_one_undoes_nothing_of_that() {
    play(|stage| async move {
        let spec = spec("twice");
        assert_succeeded(&stage.provision(&spec).await);
        let before = stage.traces("twice-dev").await;
        // Names of executions are free again after 90 days: the undo of this one knows only a name that was used before.
        let tags = stage
            .world()
            .await
            .vpcs
            .iter()
            .map(|vpc| tags(vpc.tags()))
            .find(|tags| tags.get("Name").is_some_and(|name| name == "twice-dev"));
        let creator = tags.expect("the VPC is there")["groundcrew:created-by"].clone();
        let name = creator.split(' ').next().expect("a name");
        assert_ne!(name, creator, "the start time makes the difference");
        let removal = json!({"app": "twice", "environment": "dev", "created_by": name});
        assert_succeeded(&stage.remove(&removal).await);
        assert_eq!(stage.traces("twice-dev").await, before);
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn p1_an_existing_vpc_is_used_and_left_as_it_was() {
    play(|stage| async move {
        let existing = ExistingVpc::new(stage).await;
        let mut spec = spec("guest");
        spec["network"] = json!({"vpc_id": existing.id, "subnet_ids": existing.private});
        let before = existing.describe(stage).await;
        let end = stage.provision(&spec).await;
        assert_succeeded(&end);
        assert_eq!(existing.describe(stage).await, before);
        assert_succeeded(&stage.teardown(&spec).await);
        assert_eq!(existing.describe(stage).await, before);
        assert_eq!(stage.traces("guest-dev").await, Vec::<String>::new());
    });
}

/// A VPC that somebody made: two private subnets, a public one, and one in a zone that App Runner refuses.
struct ExistingVpc {
    id: String,
    private: Vec<String>,
    public: String,
    unsupported: String,
}

impl ExistingVpc {
    async fn new(stage: &Stage) -> Self {
        let ec2 = &stage.local.aws().ec2();
        let vpc = ec2
            .create_vpc()
            .cidr_block("172.20.0.0/16")
            .send()
            .await
            .expect("a VPC")
            .vpc
            .expect("a VPC");
        let id = vpc.vpc_id.expect("an id");
        let mut subnets = Vec::new();
        for (zone, cidr) in [
            ("us-east-1b", "172.20.0.0/24"),
            ("us-east-1c", "172.20.1.0/24"),
            ("us-east-1a", "172.20.2.0/24"),
            ("us-east-1d", "172.20.3.0/24"),
        ] {
            let subnet = ec2
                .create_subnet()
                .vpc_id(&id)
                .cidr_block(cidr)
                .availability_zone(zone)
                .send()
                .await
                .expect("a subnet");
            subnets.push(
                subnet
                    .subnet
                    .and_then(|subnet| subnet.subnet_id)
                    .expect("an id"),
            );
        }
        let public = subnets.pop().expect("four");
        let unsupported = subnets.pop().expect("three");
        let gateway = ec2
            .create_internet_gateway()
            .send()
            .await
            .expect("a gateway")
            .internet_gateway
            .expect("a gateway");
        let gateway = gateway.internet_gateway_id.expect("an id");
        ec2.attach_internet_gateway()
            .vpc_id(&id)
            .internet_gateway_id(&gateway)
            .send()
            .await
            .expect("attached");
        let table = ec2
            .create_route_table()
            .vpc_id(&id)
            .send()
            .await
            .expect("a table")
            .route_table
            .expect("a table");
        let table = table.route_table_id.expect("an id");
        ec2.create_route()
            .route_table_id(&table)
            .destination_cidr_block("0.0.0.0/0")
            .gateway_id(&gateway)
            .send()
            .await
            .expect("a route");
        ec2.associate_route_table()
            .route_table_id(&table)
            .subnet_id(&public)
            .send()
            .await
            .expect("associated");
        Self {
            id,
            private: subnets,
            public,
            unsupported,
        }
    }

    async fn describe(&self, stage: &Stage) -> String {
        let world = stage.world().await;
        let of = |vpc: Option<&str>| vpc == Some(&self.id);
        let vpcs: Vec<_> = world.vpcs.iter().filter(|vpc| of(vpc.vpc_id())).collect();
        let subnets: Vec<_> = world
            .subnets
            .iter()
            .filter(|subnet| of(subnet.vpc_id()))
            .map(|subnet| (subnet.subnet_id(), subnet.tags()))
            .collect();
        let tables: Vec<_> = world
            .route_tables
            .iter()
            .filter(|table| of(table.vpc_id()))
            .collect();
        format!("{vpcs:?} {subnets:?} {tables:?}")
    }
}

#[test]
fn p11_what_only_aws_can_tell_is_refused_before_anything_is_created() {
    play(|stage| async move {
        let existing = ExistingVpc::new(stage).await;
        stage
            .local
            .aws()
            .ecr()
            .create_repository()
            .repository_name("arm")
            .send()
            .await
            .expect("a repository");
        stage
            .local
            .push_image("arm", "latest", "arm64")
            .await
            .expect("an image");
        let [first, second] = [&existing.private[0], &existing.private[1]];
        let cases = [
            (
                json!({"network": {"vpc_id": existing.id, "subnet_ids": [first, existing.public]}}),
                "network.subnet_ids[1]",
                "a private subnet",
            ),
            (
                json!({"network": {"vpc_id": existing.id, "subnet_ids": [first, existing.unsupported]}}),
                "network.subnet_ids[1]",
                "this one is in us-east-1a (use1-az3)",
            ),
            (
                json!({"network": {"vpc_id": existing.id, "subnet_ids": [existing.unsupported, first]}, "dry_run": true}),
                "network.subnet_ids[0]",
                "this one is in us-east-1a (use1-az3)",
            ),
            (
                json!({"network": {"vpc_id": "vpc-00000000", "subnet_ids": [first, second]}}),
                "network.subnet_ids[0]",
                "a subnet of vpc-00000000",
            ),
            (
                json!({"network": {"vpc_id": existing.id, "subnet_ids": [first, first]}}),
                "network.subnet_ids",
                "two availability zones",
            ),
            (
                json!({"database": {"instance_class": "db.t9.gigantic"}}),
                "database.instance_class",
                "a class that RDS offers here",
            ),
            (
                json!({"image": {"repository": "arm"}}),
                "image.tag",
                "linux/amd64",
            ),
            (
                json!({"image": {"repository": "nowhere"}}),
                "image.repository",
                "an ECR repository that exists",
            ),
        ];
        for (fields, field, allowed) in cases {
            let mut spec = spec("refused");
            for (name, value) in fields.as_object().expect("an object") {
                spec[name] = value.clone();
            }
            let end = stage.provision_without_image(&spec).await;
            assert_eq!(end.error, "Invalid", "{field}: {}", end.message);
            assert!(
                end.message.starts_with(&format!("{field}: ")) && end.message.contains(allowed),
                "{field}: {}",
                end.message
            );
            assert_eq!(entered(&end), ["Refuse a bad spec"], "{field}");
        }
        assert_eq!(stage.traces("refused-dev").await, Vec::<String>::new());
    });
}

#[test]
fn p11_every_mistake_is_named_at_once() {
    play_alone(&[], |stage| async move {
        let mut spec = spec("mistaken");
        spec["databse"] = json!({});
        spec["service"] = json!({"cpu": 300, "health_check": {"interval": 0}, "scaling": {"min_size": 3, "max_size": 2}, "variables": {"PORT": "80"}});
        let before = stage.world().await;
        let end = stage.provision_without_image(&spec).await;
        let seen = Refused {
            fields: vec![
                "databse",
                "service.cpu",
                "service.health_check.interval",
                "service.variables.PORT",
                "service.scaling.max_size",
            ],
            end: end.clone(),
            differences: before.differences(&stage.world().await),
        };
        assert_kept(REFUSED, &seen);
        for field in seen.fields {
            let begin = format!("{field}: ");
            let lines = end.message.lines().filter(|line| line.starts_with(&begin));
            assert_eq!(lines.count(), 1, "{field}: {}", end.message);
        }
        let shown = Mistake::new("service.cpu", 300, "256, 512, 1024, 2048 or 4096").to_string();
        assert!(end.message.contains(&shown), "{}", end.message);
    });
}

#[test]
fn p11_an_account_that_may_not_use_app_runner_is_told_so() {
    play_alone(&[], |stage| async move {
        let open = |open, reads| {
            let account = Arrangement::Account { open, reads };
            stage.local.apprunner().arrange(account).expect("arranged");
        };
        // Whether calls that only read are refused, too, nobody has said.
        for (reads, error) in [(false, "Invalid"), (true, "Failed")] {
            open(false, reads);
            let end = stage.provision_without_image(&spec("closed")).await;
            open(true, true);
            assert_eq!(end.error, error, "{}", end.message);
            let said = end
                .message
                .contains("closed to new customers since 2026-04-30");
            assert!(said, "{}", end.message);
            assert_eq!(stage.traces("closed-dev").await, Vec::<String>::new());
        }
    });
}

#[test]
fn p12_a_full_stack_a_half_one_and_none_at_all_are_removed() {
    play(|stage| async move {
        let spec = spec("gone");
        assert_succeeded(&stage.provision(&spec).await);
        let removal = json!({"app": "gone", "environment": "dev"});
        let end = stage.remove(&removal).await;
        assert_succeeded(&end);
        assert_eq!(end.output["left"], json!([]));
        assert_eq!(stage.traces("gone-dev").await, Vec::<String>::new());
        let snapshots = stage.world().await.snapshots;
        let taken = snapshots
            .iter()
            .filter(|snapshot| snapshot.db_instance_identifier() == Some("gone-dev"));
        assert_eq!(
            taken.count(),
            1,
            "a final snapshot is taken unless the removal says otherwise"
        );

        let end = stage.remove(&removal).await;
        assert_succeeded(&end);
        assert!(
            outcomes(&end)
                .iter()
                .all(|(_, outcome)| outcome == "unchanged"),
            "{:?}",
            outcomes(&end)
        );

        // Half a stack: an execution that a person stopped in the middle.
        let machine = stage
            .outputs
            .get("ProvisionStateMachineArn")
            .expect("the output");
        let mut execution = stage
            .local
            .start_execution(machine, &name(), &spec)
            .await
            .expect("it starts");
        let mut databases = 0;
        while databases == 0 {
            let news = execution
                .next()
                .await
                .expect("it goes on")
                .expect("it has not ended");
            databases += news
                .iter()
                .filter(|happening| happening.state == "Database")
                .count();
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let sfn = aws_sdk_sfn::Client::new(stage.local.sdk_config());
        sfn.stop_execution()
            .execution_arn(execution.arn())
            .send()
            .await
            .expect("a person stops it");
        assert!(!stage.traces("gone-dev").await.is_empty());
        assert_succeeded(&stage.teardown(&spec).await);
        assert_eq!(stage.traces("gone-dev").await, Vec::<String>::new());
    });
}

#[test]
fn p12_a_protected_database_is_not_removed_unless_the_removal_says_so() {
    play(|stage| async move {
        let mut spec = spec("guarded");
        spec["environment"] = json!("prod");
        assert_succeeded(&stage.provision(&spec).await);
        let before = stage.traces("guarded-prod").await;
        let end = stage
            .remove(&json!({"app": "guarded", "environment": "prod"}))
            .await;
        assert_eq!(end.error, "Invalid");
        assert!(
            end.message.starts_with("ignore_deletion_protection: false"),
            "{}",
            end.message
        );
        assert_eq!(
            stage.traces("guarded-prod").await,
            before,
            "nothing is removed before the refusal"
        );
        assert_succeeded(&stage.teardown(&spec).await);
        assert_eq!(stage.traces("guarded-prod").await, Vec::<String>::new());
    });
}

#[test]
fn p12_two_stacks_side_by_side_do_not_touch_each_other() {
    play(|stage| async move {
        let (one, other) = (spec("side"), spec("sideways"));
        let (first, second) = tokio::join!(stage.provision(&one), stage.provision(&other));
        assert_succeeded(&first);
        assert_succeeded(&second);
        let before = stage.traces("sideways-dev").await;
        assert_succeeded(&stage.teardown(&one).await);
        assert_eq!(stage.traces("side-dev").await, Vec::<String>::new());
        assert_eq!(stage.traces("sideways-dev").await, before);
        assert_eq!(
            touched(&stage.provision_without_image(&other).await),
            Vec::<String>::new()
        );
        assert_succeeded(&stage.teardown(&other).await);
    });
}

#[test]
fn p12_a_stack_that_was_removed_can_be_built_again_under_the_same_name() {
    play(|stage| async move {
        let spec = spec("phoenix");
        for _ in 0..2 {
            assert_succeeded(&stage.provision(&spec).await);
            assert_succeeded(&stage.teardown(&spec).await);
        }
        assert_eq!(stage.traces("phoenix-dev").await, Vec::<String>::new());
    });
}

#[test]
fn p13_a_dry_run_says_what_would_happen_and_calls_nothing_that_writes() {
    play_alone(&[], |stage| async move {
        let mut spec = spec("planned");
        spec["dry_run"] = json!(true);
        let before = stage.world().await;
        stage.local.clear_calls().await.expect("the log is cleared");
        let seen = Planned {
            end: stage.provision_without_image(&spec).await,
            calls: calls(stage).await,
            differences: before.differences(&stage.world().await),
        };
        assert_kept(PLANNED, &seen);
        let plan = seen.end.output["plan"].as_object().expect("a plan");
        assert_eq!(plan.len(), 8);
        let network = plan["network"]["changes"].as_array().expect("changes");
        assert_eq!(
            network.len(),
            5,
            "a VPC, subnets, a route table, two groups: {network:?}"
        );

        spec["dry_run"] = json!(false);
        assert_succeeded(&stage.provision(&spec).await);
        spec["dry_run"] = json!(true);
        spec["database"] = json!({"storage_gib": 50});
        spec["service"]["port"] = json!(9090);
        stage.local.clear_calls().await.expect("the log is cleared");
        let end = stage.provision_without_image(&spec).await;
        assert_succeeded(&end);
        assert_eq!(
            end.output["plan"]["database"]["changes"],
            json!(["change database planned-dev: storage 20 → 50"])
        );
        assert_eq!(
            end.output["plan"]["service"]["changes"],
            json!(["change service planned-dev: port 8080 → 9090"])
        );
        assert_eq!(end.output["plan"]["network"]["outcome"], "unchanged");
        let mut written = calls(stage).await;
        written.retain(Call::writes);
        assert!(written.is_empty(), "{written:?}");
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn what_carries_our_name_without_our_tags_is_a_conflict_and_is_never_touched() {
    play(|stage| async move {
        let aws = stage.local.aws();
        aws.ecr()
            .create_repository()
            .repository_name("foreign-dev")
            .send()
            .await
            .expect("a repository");
        aws.sns()
            .create_topic()
            .name("foreign-dev-alarms")
            .send()
            .await
            .expect("a topic");
        let end = stage.provision_without_image(&spec("foreign")).await;
        assert_eq!(end.error, "Conflict");
        assert!(
            end.message
                .contains("repository foreign-dev exists without the tags of this stack"),
            "{}",
            end.message
        );
        let end = stage.teardown(&spec("foreign")).await;
        assert_succeeded(&end);
        let mut left = stage.traces("foreign-dev").await;
        left.sort();
        assert_eq!(
            left,
            [
                "repository foreign-dev",
                "topic arn:aws:sns:us-east-1:123456789012:foreign-dev-alarms"
            ]
        );
    });
}

#[test]
fn everything_listens_on_loopback_only() {
    play(|stage| async move {
        let listening = rehearsal::sockets::listening().expect("the sockets can be read");
        assert!(listening.len() >= 2, "{listening:?}");
        assert!(
            listening.iter().all(|address| address.ip().is_loopback()),
            "{listening:?}"
        );
        let _ = stage;
    });
}
