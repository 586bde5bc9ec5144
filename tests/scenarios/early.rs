//! P11: what AWS would refuse minutes later is refused in the first state, in a plan as in a run.

use super::stacks::entered;
use crate::stage::{Stage, assert_succeeded, eventually, play, play_alone, spec, touched};
use aws_sdk_cloudwatch::types::{ComparisonOperator, Statistic};
use groundcrew::Error;
use provision::Step;
use rehearsal::End;
use serde_json::{Value, json};

const SECRETS: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret";
const PARAMETERS: &str = "arn:aws:ssm:us-east-1:123456789012:parameter";

/// A plan and a run of the same spec end in the first state, with the same words. Answers them.
async fn refused(stage: &Stage, spec: &Value) -> End {
    let mut ends = Vec::new();
    for dry_run in [true, false] {
        let mut spec = spec.clone();
        spec["dry_run"] = json!(dry_run);
        let end = stage.provision_without_image(&spec).await;
        assert_eq!(
            entered(&end),
            ["Refuse a bad spec"],
            "{}: {}",
            end.error,
            end.message
        );
        ends.push(end);
    }
    let end = ends.remove(0);
    assert_eq!(
        (&ends[0].error, &ends[0].message),
        (&end.error, &end.message)
    );
    end
}

async fn parameter(stage: &Stage, name: &str, key: Option<&str>) {
    let put = stage.local.aws().ssm().put_parameter();
    let put = put
        .name(name)
        .value("one")
        .set_key_id(key.map(str::to_owned));
    let secure = put.r#type(aws_sdk_ssm::types::ParameterType::SecureString);
    secure.send().await.expect("put");
}

#[test]
fn p11_all_that_aws_would_refuse_is_told_in_one_message_in_a_plan_and_in_a_run() {
    play_alone(&[], |stage| async move {
        let aws = stage.local.aws();
        let good = stage.secret("early/good").await;
        let deleted = stage.secret("early/deleted").await;
        let delete = aws.secrets_manager().delete_secret().secret_id(&deleted);
        delete.send().await.expect("deleted");
        let create = aws.secrets_manager().create_secret().name("early/cmk");
        let create = create.kms_key_id("alias/shop").secret_string("one");
        let locked = create.send().await.expect("created").arn.expect("an ARN");
        parameter(stage, "/early/good", None).await;
        parameter(stage, "/early/cmk", Some("alias/shop")).await;
        stage
            .local
            .set_quota("AllocatedStorage", 1000)
            .await
            .expect("set");

        let mut spec = spec("early");
        spec["databse"] = json!({});
        spec["image"] = json!({"repository": "nowhere"});
        spec["service"] = json!({
            "memory": "2048",
            "variables": {"PORT": "80", "KEY": "-----BEGIN\nEND-----"},
            "secrets": {
                "GOOD": good,
                "GOOD_PARAMETER": format!("{PARAMETERS}/early/good"),
                "MISSING": format!("{SECRETS}:early/missing"),
                "NO_STAGE": format!("{good}:key:BLUE:"),
                "DELETED": deleted,
                "LOCKED": format!("{locked}:key::"),
                "OTHER_REGION": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop-AbCdEf",
                "OTHER_ACCOUNT": "arn:aws:secretsmanager:us-east-1:210987654321:secret:shop-AbCdEf",
                "NO_PARAMETER": format!("{PARAMETERS}/early/missing"),
                "LOCKED_PARAMETER": format!("{PARAMETERS}/early/cmk"),
                "FOREIGN_PARAMETER": "arn:aws:ssm:us-east-1:210987654321:parameter/shop",
            },
        });
        spec["database"] = json!({"instance_class": "db.t9.gigantic", "storage_gib": 1001});
        spec["alarms"] = json!({"topic_arn": "arn:aws:sns:us-west-2:123456789012:pager"});
        let before = stage.world().await;
        let end = refused(stage, &spec).await;
        stage
            .local
            .set_quota("AllocatedStorage", 100_000)
            .await
            .expect("set");
        assert_eq!(end.error, "Invalid", "{}", end.message);
        assert_eq!(
            before.differences(&stage.world().await),
            Vec::<String>::new()
        );
        let mut told: Vec<_> = end.message.lines().collect();
        told.sort_unstable();
        let expected = [
            ("alarms.topic_arn", "a topic of us-east-1"),
            ("database.instance_class", "a class that RDS offers here"),
            ("database.storage_gib", "1000 GiB of storage"),
            ("databse", "only the fields"),
            ("image.repository", "an ECR repository that exists"),
            ("service.memory", "write 2048"),
            ("service.secrets.DELETED", "restore early/deleted"),
            (
                "service.secrets.FOREIGN_PARAMETER",
                "none of another account",
            ),
            ("service.secrets.LOCKED", "customer managed key"),
            ("service.secrets.LOCKED_PARAMETER", "customer managed key"),
            ("service.secrets.MISSING", "a secret that exists"),
            ("service.secrets.NO_PARAMETER", "a parameter that exists"),
            ("service.secrets.NO_STAGE", "none labelled BLUE"),
            (
                "service.secrets.OTHER_ACCOUNT",
                "a secret of account 123456789012",
            ),
            ("service.secrets.OTHER_REGION", "a secret of us-east-1"),
            ("service.variables.KEY", "a text of one line"),
            ("service.variables.PORT", "write service.port 80"),
        ];
        assert_eq!(told.len(), expected.len(), "{}", end.message);
        for (line, (field, words)) in told.iter().zip(expected) {
            let is_told = line.starts_with(&format!("{field}: ")) && line.contains(words);
            assert!(is_told, "{field}, {words}: {line}");
        }
    });
}

#[test]
fn p5_a_secret_without_its_suffix_is_read_by_its_whole_arn_and_the_stack_stays_where_it_is() {
    play(|stage| async move {
        let short = stage.secret("whole/key").await;
        let managed = stage.secret("rds!db-0a1b2c3d").await;
        parameter(stage, "/whole/key", None).await;
        let mut spec = spec("whole");
        spec["service"]["secrets"] = json!({
            "SHORT": format!("{SECRETS}:whole/key:password::"),
            "MANAGED": managed,
            "PARAMETER": format!("{PARAMETERS}/whole/key"),
        });
        assert_succeeded(&stage.provision(&spec).await);
        let services = stage.local.apprunner().snapshot().services;
        let service = services
            .iter()
            .find(|it| it.name == "whole-dev")
            .expect("it exists");
        let image = &service.description["SourceConfiguration"]["ImageRepository"];
        let reads = &image["ImageConfiguration"]["RuntimeEnvironmentSecrets"];
        assert_eq!(reads["SHORT"], format!("{short}:password::"));
        assert!(service.runs.secret_versions.contains_key("SHORT"));
        let world = stage.world().await;
        let mut policies = world.policies.iter();
        let (_, policy) = policies
            .find(|(name, _)| name.contains("whole-dev-instance"))
            .expect("a policy");
        assert!(policy.contains(&format!("{short:?}")), "{policy}");
        // What is given without the suffix is no change.
        let again = stage.provision_without_image(&spec).await;
        assert_succeeded(&again);
        assert_eq!(touched(&again), Vec::<String>::new());

        for (network, field, words) in [
            (
                json!({"cidr": "10.9.0.0/16"}),
                "network.cidr",
                "10.0.0.0/16, the range",
            ),
            (
                json!({"vpc_id": "vpc-12345678", "subnet_ids": ["subnet-12345678", "subnet-23456789"]}),
                "network.vpc_id",
                "the stack stands in its own VPC vpc-",
            ),
        ] {
            let mut moved = spec.clone();
            moved["network"] = network;
            let end = refused(stage, &moved).await;
            let mut lines = end.message.lines();
            let told = lines.any(|line| line.starts_with(field) && line.contains(words));
            assert!(
                told && end.message.contains("tear the stack down"),
                "{}",
                end.message
            );
        }
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn p11_in_a_region_without_app_runner_nothing_is_asked_of_it() {
    play_alone(&[], |stage| async move {
        let mut aws = stage.local.aws().clone();
        aws.account.region = "eu-north-1".into();
        stage.local.clear_calls().await.expect("cleared");
        let spec = json!({"app": "far", "environment": "dev", "database": {"instance_class": "db.t9.gigantic"}});
        let refused = Step::CheckSpec { spec }.handle(&aws, "").await;
        let Err(Error::Invalid(mistakes)) = refused else {
            panic!("{refused:?}")
        };
        let fields: Vec<_> = mistakes.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(fields, ["", "database.instance_class"]);
        assert!(mistakes[0].allowed.contains("eu-west-3, us-east-1"));
        let calls = stage.local.calls().await.expect("logged");
        let asked: Vec<_> = calls
            .iter()
            .filter(|it| it.action.starts_with("apprunner:"))
            .collect();
        assert!(asked.is_empty(), "{asked:?}");
    });
}

#[test]
fn p11_a_topic_that_no_alarm_can_tell_is_refused() {
    play(|stage| async move {
        let sns = stage.local.aws().sns();
        let locked = sns.create_topic().name("pager-locked");
        let locked = locked.attributes("KmsMasterKeyId", "alias/aws/sns");
        locked.send().await.expect("created");
        for (name, words) in [
            ("pager-nowhere", "a topic that exists"),
            ("pager-locked", "under aws/sns"),
            ("pager.fifo", "a standard SNS topic"),
        ] {
            let mut spec = spec("pager");
            spec["alarms"]["topic_arn"] =
                json!(format!("arn:aws:sns:us-east-1:123456789012:{name}"));
            let end = refused(stage, &spec).await;
            let told = end.message.starts_with("alarms.topic_arn: ") && end.message.contains(words);
            assert!(told, "{}", end.message);
        }
    });
}

/// Makes something that carries a name of the stack `NAME-dev`, and no tag.
async fn make_foreign(stage: &Stage, what: &str, name: &str) {
    let (aws, stack) = (stage.local.aws(), format!("{name}-dev"));
    let made = match what {
        "DB subnet group" => {
            let subnets = stage.world().await.subnets;
            let ids = subnets.iter().filter_map(|it| it.subnet_id.clone());
            // RDS works with a role of its own, which the account has since its first use.
            let linked = aws.iam().create_service_linked_role();
            let _ = linked.aws_service_name("rds.amazonaws.com").send().await;
            let ids: Vec<_> = ids.collect();
            eventually("a DB subnet group", async || {
                let create = aws.rds().create_db_subnet_group();
                let create = create
                    .db_subnet_group_name(&stack)
                    .db_subnet_group_description("foreign")
                    .set_subnet_ids(Some(ids.clone()));
                create.send().await.ok()
            })
            .await;
            true
        }
        "database" | "read replica" => {
            let name = match what {
                "database" => stack,
                _ => format!("{stack}-replica"),
            };
            let created = stage.local.create_database(&name, &[]).await;
            stage.database_is(&name, Some("available")).await;
            created.is_ok()
        }
        "repository" => {
            let create = aws.ecr().create_repository().repository_name(&stack);
            create.send().await.is_ok()
        }
        "secret" => !stage
            .secret(&format!("groundcrew/{name}/dev/database"))
            .await
            .is_empty(),
        "role" => {
            let trust = json!({"Version": "2012-10-17", "Statement": []}).to_string();
            let role = aws
                .iam()
                .create_role()
                .role_name(format!("{stack}-instance-us-east-1"));
            role.assume_role_policy_document(trust).send().await.is_ok()
        }
        "auto scaling configuration" => {
            let create = aws.apprunner().create_auto_scaling_configuration();
            create
                .auto_scaling_configuration_name(&stack)
                .send()
                .await
                .is_ok()
        }
        "topic" => {
            let create = aws.sns().create_topic().name(format!("{stack}-alarms"));
            create.send().await.is_ok()
        }
        "alarm" => {
            let put = aws
                .cloudwatch()
                .put_metric_alarm()
                .alarm_name(format!("{stack}-cpu-groundcrew"));
            let put = put
                .namespace("foreign")
                .metric_name("foreign")
                .statistic(Statistic::Sum);
            let put = put.period(60).evaluation_periods(1).threshold(1.0);
            let put = put.comparison_operator(ComparisonOperator::GreaterThanThreshold);
            put.send().await.is_ok()
        }
        "dashboard" => {
            let put = aws.cloudwatch().put_dashboard();
            let put = put
                .dashboard_name(format!("{stack}-us-east-1-groundcrew"))
                .dashboard_body(r#"{"widgets": []}"#);
            put.send().await.is_ok()
        }
        what => panic!("{what}"),
    };
    assert!(made, "{what}");
}

#[test]
fn p13_a_plan_promises_nothing_that_the_run_refuses() {
    play_alone(&[], |stage| async move {
        for (n, what) in [
            "DB subnet group",
            "database",
            "read replica",
            "repository",
            "secret",
            "role",
            "auto scaling configuration",
            "topic",
            "alarm",
            "dashboard",
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("taken{n}");
            make_foreign(stage, what, &name).await;
            let mut spec = spec(&name);
            spec["database"] = json!({"read_replica": true});
            let before = stage.world().await;
            let end = refused(stage, &spec).await;
            assert_eq!(end.error, "Conflict", "{what}: {}", end.message);
            assert!(
                end.message
                    .contains("exists without the tags of this stack"),
                "{}",
                end.message
            );
            assert_eq!(
                before.differences(&stage.world().await),
                Vec::<String>::new(),
                "{what}"
            );
            // Beside a mistake it is told as well.
            spec["database"]["instance_class"] = json!("db.t9.gigantic");
            let end = refused(stage, &spec).await;
            assert_eq!(end.error, "Invalid", "{what}: {}", end.message);
            let fields: Vec<_> = end
                .message
                .lines()
                .filter_map(|line| line.split_once(':'))
                .collect();
            let fields: Vec<_> = fields.into_iter().map(|(field, _)| field).collect();
            assert_eq!(
                fields,
                ["database.instance_class", "app"],
                "{what}: {}",
                end.message
            );
        }
    });
}

#[test]
fn p13_a_plan_warns_of_quotas_that_nobody_can_read_and_refuses_by_those_that_can_be_read() {
    play_alone(&[], |stage| async move {
        let aws = stage.local.aws();
        let mut planned = spec("scarce");
        planned["dry_run"] = json!(true);
        let warnings = async || {
            let end = stage.provision_without_image(&planned).await;
            assert_succeeded(&end);
            let warnings = end.output["warnings"].as_array().expect("a list").clone();
            warnings
                .iter()
                .map(|it| it.as_str().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        let vpcs = stage.world().await.vpcs.len();
        for n in vpcs..4 {
            let create = aws.ec2().create_vpc().cidr_block(format!("10.{n}.0.0/16"));
            create.send().await.expect("created");
        }
        for n in 0..9 {
            let create = aws.apprunner().create_auto_scaling_configuration();
            let create = create.auto_scaling_configuration_name(format!("scarce-{n}"));
            create.send().await.expect("created");
        }
        assert_eq!(warnings().await, Vec::<String>::new());
        aws.ec2()
            .create_vpc()
            .cidr_block("10.9.0.0/16")
            .send()
            .await
            .expect("created");
        let create = aws.apprunner().create_auto_scaling_configuration();
        let create = create.auto_scaling_configuration_name("scarce-9");
        create.send().await.expect("created");
        let told = warnings().await;
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("10 auto scaling configurations are there, and 10 is"),
            "{told:?}"
        );
        assert!(
            told[1].starts_with("5 VPCs are there, and 5 is"),
            "{told:?}"
        );

        let instances = stage.world().await.databases.len() as u64;
        stage
            .local
            .set_quota("DBInstances", instances)
            .await
            .expect("set");
        let end = refused(stage, &spec("scarce")).await;
        stage.local.set_quota("DBInstances", 40).await.expect("set");
        assert!(
            end.message.starts_with("database: \"1 more\" is refused"),
            "{}",
            end.message
        );
        for n in 0..10 {
            let listed = aws.apprunner().list_auto_scaling_configurations();
            let listed = listed.auto_scaling_configuration_name(format!("scarce-{n}"));
            let listed = listed
                .send()
                .await
                .expect("listed")
                .auto_scaling_configuration_summary_list;
            let arn = listed[0].auto_scaling_configuration_arn().expect("an ARN");
            let delete = aws.apprunner().delete_auto_scaling_configuration();
            delete
                .auto_scaling_configuration_arn(arn)
                .send()
                .await
                .expect("deleted");
        }
    });
}
