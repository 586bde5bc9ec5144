//! Each function may do what it does, and nothing else: the actions that its role grants are the actions that a play
//! through every branch calls.

use apprunner_emulator::Arrangement;
use rehearsal::End;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tests::{Stage, play_alone};

fn assert_succeeded(end: &End) {
    assert!(end.succeeded, "{}: {}", end.error, end.message);
}

fn fails(service: &str, operation: &str) -> Arrangement {
    let arrangement = json!({"kind": "next-operation", "operation": operation, "service": service, "fate": "fails"});
    serde_json::from_value(arrangement).expect("an arrangement")
}

/// Everything that a spec can ask for, everything that a later one can change, and everything that can have been changed
/// by hand in between.
async fn play_every_branch(stage: &Stage) {
    let aws = stage.local.aws();
    let mut spec = json!({
        "app": "rich",
        "environment": "prod",
        "service": {
            "xray": true,
            "health_check": {"path": "/health"},
            "secrets": {"PASSWORD": "database:password"},
        },
        "database": {"read_replica": true},
        "alarms": {"email": "on-call@example.com"},
        "on_failure": "keep",
    });
    // A creation that fails and is rebuilt by an update, then one that has to be created anew.
    stage
        .local
        .apprunner()
        .arrange(fails("rich-prod", "CREATE_SERVICE"))
        .expect("arranged");
    assert!(!stage.provision(&spec).await.succeeded);
    stage
        .local
        .apprunner()
        .arrange(fails("rich-prod", "UPDATE_SERVICE"))
        .expect("arranged");
    assert_succeeded(&stage.provision(&spec).await);

    // By hand: the repository is no longer scanned, a role trusts somebody else, the database's group has lost its rule.
    let scanning = aws_sdk_ecr::types::ImageScanningConfiguration::builder()
        .scan_on_push(false)
        .build();
    aws.ecr()
        .put_image_scanning_configuration()
        .repository_name("rich-prod")
        .image_scanning_configuration(scanning)
        .send()
        .await
        .expect("changed by hand");
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    aws.iam()
        .update_assume_role_policy()
        .role_name("rich-prod-access-us-east-1")
        .policy_document(trust.to_string())
        .send()
        .await
        .expect("changed by hand");
    let world = stage.world().await;
    let group = world
        .security_groups
        .iter()
        .find(|group| group.group_name() == Some("rich-prod-database"))
        .expect("it exists");
    aws.ec2()
        .authorize_security_group_ingress()
        .group_id(group.group_id().expect("an id"))
        .ip_protocol("tcp")
        .from_port(22)
        .to_port(22)
        .cidr_ip("0.0.0.0/0")
        .send()
        .await
        .expect("changed by hand");

    // A later spec that differs in everything that can be changed.
    spec["image"] = json!({"immutable_tags": true, "keep": 5, "tag": "prefix:late"});
    spec["service"]["scaling"] = json!({"max_size": 7});
    spec["service"]["xray"] = json!(false);
    spec["database"]["storage_gib"] = json!(40);
    spec["log_retention_days"] = json!(7);
    let mut plan = spec.clone();
    plan["dry_run"] = json!(true);
    assert_succeeded(&stage.provision(&plan).await);
    stage
        .local
        .push_image("rich-prod", "late-1", "amd64")
        .await
        .expect("an image");
    assert_succeeded(&stage.provision_without_image(&spec).await);

    // Tracing once more, so that there is an observability configuration to remove.
    spec["service"]["xray"] = json!(true);
    assert_succeeded(&stage.provision_without_image(&spec).await);
    // An execution that ends right after the creation of the service has not tagged App Runner's log groups.
    let groups = stage.world().await.log_groups;
    for name in groups
        .iter()
        .filter_map(|group| group.log_group_name())
        .filter(|name| name.contains("/rich-prod/"))
    {
        let arn = aws.account.log_group_arn(name);
        aws.logs()
            .untag_resource()
            .resource_arn(arn)
            .tag_keys("groundcrew:created-by")
            .send()
            .await
            .expect("changed by hand");
    }
    let removal = json!({"app": "rich", "environment": "prod", "ignore_deletion_protection": true});
    assert_succeeded(&stage.remove(&removal).await);

    // The secret is restored; and a failure is undone.
    stage
        .local
        .apprunner()
        .arrange(fails("rich-prod", "CREATE_SERVICE"))
        .expect("arranged");
    spec["on_failure"] = json!("undo");
    spec["image"] = json!({"tag": "latest"});
    assert!(!stage.provision(&spec).await.succeeded);
}

#[test]
fn each_role_grants_exactly_the_actions_that_its_function_calls() {
    play_alone(|stage| async move {
        stage.local.clear_calls().await.expect("the log is cleared");
        play_every_branch(stage).await;
        let calls = stage.local.calls().await.expect("the calls are logged");
        let world = stage.world().await;
        for function in ["CreateFunction", "DeleteFunction"] {
            let role = format!("-{function}Role-");
            let own = || calls.iter().filter(|call| call.principal.contains(&role));
            let denied: Vec<_> = own().filter(|call| !call.allowed).collect();
            assert!(denied.is_empty(), "{function} is denied {denied:?}");
            let called: BTreeSet<&str> = own()
                .flat_map(|call| {
                    call.implied
                        .iter()
                        .map(String::as_str)
                        .chain([call.action.as_str()])
                })
                // What the runtime itself does, which SAM grants: logs and traces.
                .filter(|action| {
                    ![
                        "logs:CreateLogStream",
                        "logs:PutLogEvents",
                        "logs:CreateLogGroup",
                    ]
                    .contains(action)
                        && !action.starts_with("xray:")
                })
                .collect();
            let policies: Vec<Value> = world
                .policies
                .iter()
                .filter(|(name, _)| name.contains(&role))
                .map(|(_, policy)| serde_json::from_str(policy).expect("a policy is JSON"))
                .collect();
            let granted: BTreeSet<&str> = policies
                .iter()
                .flat_map(|policy| policy["Statement"].as_array().expect("statements"))
                .flat_map(|statement| match &statement["Action"] {
                    Value::String(action) => vec![action.as_str()],
                    actions => actions
                        .as_array()
                        .expect("actions")
                        .iter()
                        .filter_map(Value::as_str)
                        .collect(),
                })
                // SAM adds it for the dead-letter queue of the function.
                .filter(|action| *action != "sqs:SendMessage")
                .collect();
            let missing: Vec<_> = called.difference(&granted).collect();
            let idle: Vec<_> = granted.difference(&called).collect();
            assert!(
                missing.is_empty() && idle.is_empty(),
                "{function}: called and not granted {missing:?}, granted and never called {idle:?}"
            );
            println!(
                "{function}: {} actions granted, all of them called",
                granted.len()
            );
        }
    });
}
