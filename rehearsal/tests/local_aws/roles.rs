//! Which roles may be passed to App Runner.

use super::services::runs;
use super::stage::play;
use aws_sdk_apprunner::Client;
use aws_sdk_apprunner::error::ProvideErrorMetadata as _;
use rehearsal::NewService;
use serde_json::{Value, json};

/// The services that are documented or were reported.
const SERVICES: [&str; 4] = [
    "apprunner.amazonaws.com",
    "build.apprunner.amazonaws.com",
    "bullet.amazonaws.com",
    "tasks.apprunner.amazonaws.com",
];

fn condition(operator: &str, services: &[&str]) -> Value {
    json!({operator: {"iam:PassedToService": services}})
}

/// Nobody has seen which service App Runner passes a role to, and in some accounts it seems to be none: the local AWS tries
/// all that are documented or were reported, and no word about it.
#[test]
fn a_role_is_passed_only_where_it_may_go_to_whatever_service_app_runner_may_name_or_not_name() {
    play(async |stage| {
        let local = &stage.local;
        stage.repository("passing").await;
        let digest = local.push_image("passing", "latest", "amd64").await;
        let new = NewService {
            name: "passing",
            image: &format!("passing@{}", digest.unwrap()),
            ..NewService::default()
        };
        let arn = local.create_service(&new).await.unwrap();
        runs(stage, &arn).await;
        let described = local.aws().apprunner().describe_service();
        let described = described.service_arn(&arn).send().await.unwrap();
        let source = described.service.unwrap().source_configuration;

        let iam = local.aws().iam();
        let apprunner = Client::new(&stage.user("passing").await);

        let all_but = |n: usize| [&SERVICES[..n], &SERVICES[n + 1..]].concat();
        let cases = (0..SERVICES.len())
            .map(|n| (condition("StringEqualsIfExists", &all_but(n)), false))
            .chain([
                (condition("StringEquals", &SERVICES), false),
                (condition("StringEqualsIfExists", &SERVICES), true),
                (json!({}), true),
            ]);
        for (condition, is_passed) in cases {
            let policy = json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "apprunner:UpdateService", "Resource": "*"},
                {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*", "Condition": condition},
            ]});
            iam.put_user_policy()
                .user_name("passing")
                .policy_name("passing")
                .policy_document(policy.to_string())
                .send()
                .await
                .unwrap();
            let update = apprunner.update_service().service_arn(&arn);
            let updated = update.set_source_configuration(source.clone()).send().await;
            let said = updated
                .err()
                .map(|error| error.message().unwrap().to_owned());
            let denied = "is not authorized to perform: iam:PassRole on resource:";
            assert_eq!(said.is_none(), is_passed, "{condition}: {said:?}");
            assert!(said.is_none_or(|said| said.contains(denied)));
            runs(stage, &arn).await;
        }
    });
}

#[test]
fn the_inline_policies_of_a_role_hold_so_many_characters_together_and_white_space_is_none() {
    play(async |stage| {
        let iam = stage.local.aws().iam();
        let trust = json!({"Version": "2012-10-17", "Statement": []}).to_string();
        let role = iam.create_role().role_name("full");
        let role = role.assume_role_policy_document(trust);
        role.send().await.unwrap();
        let put = async |name: &str, size: usize| {
            let policy = |resource: &str| {
                json!({"Version": "2012-10-17", "Statement": [
                    {"Effect": "Allow", "Action": "s3:GetObject", "Resource": resource},
                ]})
            };
            let rest = size - policy("").to_string().len();
            let policy = format!("{:#}", policy(&"x".repeat(rest)));
            let put = iam.put_role_policy().role_name("full").policy_name(name);
            let put = put.policy_document(policy);
            let put = put.send().await;
            put.err()
                .map(|error| error.code().unwrap_or_default().to_owned())
        };
        assert_eq!(put("one", 10_240).await, None);
        assert_eq!(put("one", 10_241).await.as_deref(), Some("LimitExceeded"));
        assert_eq!(put("two", 1_000).await.as_deref(), Some("LimitExceeded"));
        assert_eq!(put("one", 9_240).await, None);
        assert_eq!(put("two", 1_000).await, None);
    });
}
