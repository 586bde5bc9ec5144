//! AWSCURRENT moves, and each time that is an event; and who reads what.

use super::services::runs;
use super::stage::{Stage, eventually, play};
use aws_sdk_apprunner::types::{InstanceConfiguration, OperationStatus};
use rehearsal::NewService;
use serde_json::json;

async fn create(stage: &Stage, name: &str) -> String {
    let secrets = stage.local.aws().secrets_manager();
    let made = secrets.create_secret().name(name).secret_string("one");
    made.send().await.unwrap().arn.unwrap()
}

/// The versions that AWSCURRENT moved to.
async fn moves(stage: &Stage, name: &str) -> Vec<String> {
    let events = stage.events("Secret Label Updated", "name", name).await;
    let versions = events.iter().map(|event| {
        assert_eq!(event.detail["labelUpdated"], "AWSCURRENT");
        assert!(event.resources[0].contains(name));
        event.detail["versionId"].as_str().unwrap().to_owned()
    });
    versions.collect()
}

#[test]
fn a_rotation_is_one_event_at_its_end() {
    play(async |stage| {
        let arn = create(stage, "rotated").await;
        let first = stage.local.current_version(&arn).await.unwrap();
        let pending = stage.local.begin_rotation(&arn, "two").await.unwrap();
        assert_eq!(moves(stage, "rotated").await, std::slice::from_ref(&first));
        stage.local.finish_rotation(&arn, &pending).await.unwrap();
        assert_eq!(moves(stage, "rotated").await, [first, pending.clone()]);
        let secrets = stage.local.aws().secrets_manager();
        let secret = secrets.describe_secret().secret_id(&arn).send().await;
        let stages = secret.unwrap().version_ids_to_stages.unwrap();
        assert_eq!(stages[&pending], ["AWSCURRENT"]);
    });
}

#[test]
fn a_changed_value_is_an_event_and_a_changed_description_is_none() {
    play(async |stage| {
        let arn = create(stage, "changed").await;
        let secrets = stage.local.aws().secrets_manager();
        let put = secrets.put_secret_value().secret_id(&arn);
        put.secret_string("two").send().await.unwrap();
        let update = secrets.update_secret().secret_id(&arn);
        update.secret_string("three").send().await.unwrap();
        let update = secrets.update_secret().secret_id(&arn);
        update.description("Three").send().await.unwrap();
        let moves = moves(stage, "changed").await;
        assert_eq!(moves.len(), 3);
        let current = stage.local.current_version(&arn).await.unwrap();
        assert_eq!(moves.last(), Some(&current));
    });
}

/// How the update of a service ends that gives its instances this role.
async fn with_role(stage: &Stage, service: &str, role: &str) -> OperationStatus {
    let apprunner = stage.local.aws().apprunner();
    let instance = InstanceConfiguration::builder().instance_role_arn(role);
    let update = apprunner.update_service().service_arn(service);
    let update = update.instance_configuration(instance.build());
    let id = eventually(async || {
        // A role that was just made cannot be assumed yet.
        let sent = update.clone().send().await;
        sent.ok().map(|sent| sent.operation_id)
    })
    .await;
    eventually(async || {
        let listed = apprunner
            .list_operations()
            .service_arn(service)
            .send()
            .await;
        let mut operations = listed.unwrap().operation_summary_list.unwrap().into_iter();
        let operation = operations.find(|it| it.id.as_deref() == Some(&id))?;
        operation.ended_at.and(operation.status)
    })
    .await
}

#[test]
fn a_deployment_reads_with_the_policy_of_the_instances_role() {
    play(async |stage| {
        let aws = stage.local.aws();
        let secret = create(stage, "read/db").await;
        let put = aws.ssm().put_parameter().name("/read/key").value("one");
        let secure = aws_sdk_ssm::types::ParameterType::SecureString;
        put.r#type(secure).send().await.unwrap();
        let parameter = "arn:aws:ssm:us-east-1:123456789012:parameter/read/key";
        stage.repository("read").await;
        let image = stage.local.push_image("read", "latest", "amd64").await;
        let new = NewService {
            name: "read",
            image: &format!("read@{}", image.unwrap()),
            // Without the six characters, which App Runner takes, too.
            secrets: &[("DB", &secret[..secret.len() - 7]), ("KEY", parameter)],
            ..NewService::default()
        };
        let service = stage.local.create_service(&new).await.unwrap();
        assert!(
            runs(stage, &service)
                .await
                .secret_versions
                .contains_key("DB")
        );

        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"Service": "tasks.apprunner.amazonaws.com"},
        }]});
        let role = aws.iam().create_role().role_name("read");
        let role = role.assume_role_policy_document(trust.to_string());
        let role = role.send().await.unwrap().role.unwrap().arn;
        let name = &secret[..secret.len() - 7];
        for (secret, parameter, ends) in [
            (
                &*secret,
                "arn:aws:ssm:us-east-1:123456789012:parameter/other",
                OperationStatus::RollbackSucceeded,
            ),
            // A secret is authorised by its whole ARN.
            (name, parameter, OperationStatus::RollbackSucceeded),
            (&*secret, parameter, OperationStatus::Succeeded),
        ] {
            let policy = json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secret},
                {"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": parameter},
            ]});
            let put = aws
                .iam()
                .put_role_policy()
                .role_name("read")
                .policy_name("read");
            put.policy_document(policy.to_string())
                .send()
                .await
                .unwrap();
            assert_eq!(with_role(stage, &service, &role).await, ends, "{policy}");
        }
        assert_eq!(stage.local.apprunner().complaints(), [""; 0]);
    });
}
