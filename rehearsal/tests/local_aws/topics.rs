//! Policies of topics: which services publish, and which callers.

use super::alarms::{request, set, told};
use super::deliveries::{dead_letters, event};
use super::models::call;
use super::stage::{Stage, eventually, play};
use aws_sdk_cloudwatch::types::StateValue;
use aws_sdk_sns::Client;
use aws_sdk_sns::error::ProvideErrorMetadata as _;
use serde_json::{Value, json};

const ACCOUNT: &str = "123456789012";

async fn policy(stage: &Stage, topic: &str) -> Value {
    let get = stage.local.aws().sns().get_topic_attributes();
    let attributes = get.topic_arn(topic).send().await.unwrap().attributes;
    serde_json::from_str(&attributes.unwrap()["Policy"]).unwrap()
}

async fn set_policy(stage: &Stage, topic: &str, statements: &Value) {
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let set = stage.local.aws().sns().set_topic_attributes();
    let set = set.topic_arn(topic).attribute_name("Policy");
    set.attribute_value(policy).send().await.unwrap();
}

fn allow(topic: &str, principal: &Value, condition: &Value) -> Value {
    json!([{
        "Effect": "Allow", "Principal": principal, "Action": "sns:Publish",
        "Resource": topic, "Condition": condition,
    }])
}

fn service(name: &str) -> Value {
    json!({"Service": format!("{name}.amazonaws.com")})
}

async fn create(stage: &Stage, name: &str) -> String {
    let create = stage.local.aws().sns().create_topic().name(name);
    create.send().await.unwrap().topic_arn.unwrap()
}

#[test]
fn a_topic_has_the_default_policy_until_it_is_given_one_and_when_that_is_gone() {
    play(async |stage| {
        let condition = json!({"StringEquals": {"AWS:SourceOwner": ACCOUNT}});
        let of_a_stack = stage.output("Topic").to_owned();
        for topic in [of_a_stack, create(stage, "default").await] {
            let policy = policy(stage, &topic).await;
            let statements = policy["Statement"].as_array().unwrap();
            assert_eq!(statements.len(), 1);
            assert_eq!(statements[0]["Principal"], json!({"AWS": "*"}));
            assert_eq!(statements[0]["Resource"], topic);
            assert_eq!(statements[0]["Condition"], condition);
        }
        let template = |given: Option<&str>| {
            let topic = json!({"Type": "AWS::SNS::Topic"});
            let mut resources = json!({"One": topic, "Two": topic});
            if let Some(given) = given {
                let statement = allow("*", &service("events"), &json!({}));
                let properties = json!({
                    "Topics": [{"Ref": given}],
                    "PolicyDocument": {"Version": "2012-10-17", "Statement": statement},
                });
                resources["Policy"] =
                    json!({"Type": "AWS::SNS::TopicPolicy", "Properties": properties});
            }
            json!({"Resources": resources}).to_string()
        };
        let form = async |operation: &str, given: &Value| {
            let answer = call(stage, "cloudformation", operation, given).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            answer
        };
        // The topics of the stack that have the default policy, when the stack is at rest.
        let of_default = async || {
            let described = form("DescribeStacks", &json!({"StackName": "topical"})).await;
            if described.contains("IN_PROGRESS") {
                return None;
            }
            let list = stage.local.aws().sns().list_topics().send().await;
            let mut found = Vec::new();
            for it in list.unwrap().topics.unwrap() {
                let arn = it.topic_arn.unwrap();
                let name = arn.split_once(":topical-").map(|(_, name)| &name[..3]);
                let Some(name) = name else { continue };
                if policy(stage, &arn).await["Statement"][0]["Condition"] == condition {
                    found.push(name.to_owned());
                }
            }
            found.sort_unstable();
            Some(found)
        };
        for (operation, given, defaults) in [
            ("CreateStack", Some("One"), &["Two"][..]),
            ("UpdateStack", Some("Two"), &["One"]),
            ("UpdateStack", None, &["One", "Two"]),
        ] {
            let given = json!({"StackName": "topical", "TemplateBody": template(given)});
            form(operation, &given).await;
            let found = eventually(async || of_default().await).await;
            assert_eq!(found, defaults, "{given}");
        }
    });
}

#[test]
fn an_alarm_tells_a_topic_whose_policy_lets_cloudwatch_publish() {
    play(async |stage| {
        let topic = create(stage, "alarmed").await;
        let put = request(stage, "publishing").alarm_actions(&topic);
        put.send().await.unwrap();
        let turn = async || {
            let before = told(stage, &topic, "publishing").await;
            set(stage, "publishing", StateValue::Ok).await;
            set(stage, "publishing", StateValue::Alarm).await;
            told(stage, &topic, "publishing").await > before
        };
        assert!(turn().await, "the default policy");
        let own = format!("arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:publishing");
        let of = |arn: &str| json!({"ArnEquals": {"aws:SourceArn": arn}});
        for (principal, condition, is_told) in [
            (service("events"), json!({}), false),
            (service("cloudwatch"), json!({}), true),
            (service("cloudwatch"), of(&own), true),
            (service("cloudwatch"), of(&format!("{own}-not")), false),
            (
                json!({"AWS": format!("arn:aws:iam::{ACCOUNT}:root")}),
                json!({}),
                false,
            ),
            (
                json!({"AWS": "*"}),
                json!({"StringEquals": {"AWS:SourceOwner": ACCOUNT}}),
                true,
            ),
        ] {
            set_policy(stage, &topic, &allow(&topic, &principal, &condition)).await;
            assert_eq!(turn().await, is_told, "{principal} {condition}");
        }
    });
}

#[test]
fn an_event_reaches_a_topic_whose_policy_lets_eventbridge_publish_and_else_is_a_dead_letter() {
    play(async |stage| {
        let (open, closed) = (stage.output("Open"), stage.output("Topic"));
        let mut event = event("sentence", false);
        event["source"] = json!("aws.test.announced");
        let put = async |id: &str| {
            let mut event = event.clone();
            event["id"] = json!(id);
            stage.local.put_event(&event).await.unwrap();
            stage.local.everybody_has_heard().await.unwrap();
            let published = stage.published(open).await;
            let said = format!("\"sentence says {id}.\"");
            let found = published.into_iter().find(|it| it.message == said);
            found.map(|it| assert_eq!(it.subject, None)).is_some()
        };
        assert!(put("first").await);
        let letter = eventually(async || dead_letters(stage, "first").await.pop()).await;
        assert_eq!(letter.attributes["TARGET_ARN"], closed);
        assert_eq!(letter.attributes["ERROR_CODE"], "NO_PERMISSIONS");
        let published = stage.published(closed).await;
        assert!(!published.iter().any(|it| it.message.contains("sentence")));

        let rule = stage.output("AnnouncedRule");
        for (n, (principal, condition, is_published)) in [
            (service("cloudwatch"), json!({}), false),
            // It may send the ARN of the rule, or not.
            (
                service("events"),
                json!({"ArnEquals": {"aws:SourceArn": rule}}),
                false,
            ),
            (
                service("events"),
                json!({"ArnEqualsIfExists": {"aws:SourceArn": rule}}),
                true,
            ),
            (
                service("events"),
                json!({"ArnEqualsIfExists": {"aws:SourceArn": closed}}),
                false,
            ),
            (service("events"), json!({}), true),
        ]
        .into_iter()
        .enumerate()
        {
            set_policy(stage, open, &allow(open, &principal, &condition)).await;
            let is_told = put(&format!("n-{n}")).await;
            assert_eq!(is_told, is_published, "{principal} {condition}");
        }
    });
}

#[test]
fn a_caller_with_a_policy_of_its_own_needs_none_of_the_topic_unless_that_denies_it() {
    play(async |stage| {
        let topic = create(stage, "called").await;
        let sns = Client::new(&stage.user("publisher").await);
        let publish = async || {
            let publish = sns.publish().topic_arn(&topic).message("from a caller");
            let end = publish.send().await;
            end.err().map(|error| error.code().unwrap().to_owned())
        };
        let denied = Some("AuthorizationError".to_owned());
        assert_eq!(publish().await, denied);
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sns:Publish", "Resource": topic},
        ]});
        let put = stage.local.aws().iam().put_user_policy();
        let put = put.user_name("publisher").policy_name("publish");
        put.policy_document(policy.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(publish().await, None);
        set_policy(
            stage,
            &topic,
            &allow(&topic, &service("events"), &json!({})),
        )
        .await;
        assert_eq!(publish().await, None);
        let mut deny = allow(&topic, &json!({"AWS": "*"}), &json!({}));
        deny[0]["Effect"] = json!("Deny");
        set_policy(stage, &topic, &deny).await;
        assert_eq!(publish().await, denied);
    });
}
