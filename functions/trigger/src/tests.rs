//! The calls that an event leads to, against an AWS that answers from a script.

use super::*;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_apprunner::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use groundcrew::environment::Account;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Formatter};
use std::sync::Mutex;
use std::time::Duration;

const TEMPO: Tempo = Tempo {
    interval: Duration::from_micros(100),
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(2),
};
const REGISTRY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const SECRET: &str =
    "arn:aws:secretsmanager:us-east-1:123456789012:secret:groundcrew/shop/staging/database-a1B2c3";

/// One call: the operation and its input.
type Call = (String, Value);
type Answer = (u16, Value);
type Answers = dyn Fn(&str, &Value) -> Answer + Send + Sync;

/// The answers of AWS, and the calls that it was asked.
#[derive(Clone)]
struct Script(Arc<Scripted>);

struct Scripted {
    answer: Box<Answers>,
    calls: Mutex<Vec<Call>>,
}

impl Script {
    fn new(answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> Self {
        Self(Arc::new(Scripted {
            answer: Box::new(answer),
            calls: Mutex::default(),
        }))
    }

    fn aws(&self) -> Aws {
        let credentials = Credentials::new("test", "test", None, None, "a test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .http_client(SharedHttpClient::new(self.clone()))
            .build();
        let account = Account {
            partition: "aws".into(),
            region: "us-east-1".into(),
            id: "123456789012".into(),
            permissions_boundary: String::new(),
            deploy_state_machine: "arn:aws:states:us-east-1:123456789012:stateMachine:crew-deploy"
                .into(),
            memory: "crew-memory".into(),
        };
        Aws::new(&config, SharedHttpConnector::new(self.clone()), account)
    }

    async fn handle(&self, event: &str) -> Result<Value> {
        let file = format!("{}/../../events/{event}.json", env!("CARGO_MANIFEST_DIR"));
        let event = std::fs::read_to_string(file).expect("there is such an event");
        let event = serde_json::from_str(&event).expect("it is JSON");
        at_tempo(&self.aws(), &event, TEMPO).await
    }

    /// How often an operation was called.
    fn count(&self, operation: &str) -> usize {
        self.inputs(operation).len()
    }

    fn inputs(&self, operation: &str) -> Vec<Value> {
        let calls = self.0.calls.lock().expect("nobody panics here");
        let called = calls.iter().filter(|(called, _)| called == operation);
        called.map(|(_, input)| input.clone()).collect()
    }
}

impl Debug for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

impl HttpClient for Script {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Script {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = request.body().bytes().unwrap_or_default();
        let input: Value = serde_json::from_slice(body).unwrap_or_default();
        let (status, answer) = (self.0.answer)(&operation, &input);
        let mut calls = self.0.calls.lock().expect("nobody panics here");
        calls.push((operation, input));
        let status = status.try_into().expect("a status");
        HttpConnectorFuture::ready(Ok(HttpResponse::new(
            status,
            SdkBody::from(answer.to_string()),
        )))
    }
}

fn refusal(code: &str) -> Answer {
    (400, json!({"__type": code, "message": "No."}))
}

fn arn(name: &str) -> String {
    format!("arn:aws:apprunner:us-east-1:123456789012:service/{name}/8fe1e103")
}

/// A page of `GetResources` with these services.
fn page(names: &[String], token: &str) -> Answer {
    let managed = |name: &String| {
        json!({"ResourceARN": arn(name), "Tags": [
            {"Key": "groundcrew:managed", "Value": "true"},
            {"Key": "groundcrew:app", "Value": "shop"},
            {"Key": "groundcrew:environment", "Value": "staging"},
            {"Key": "groundcrew:image-tag", "Value": "latest"},
        ]})
    };
    let services: Vec<_> = names.iter().map(managed).collect();
    (
        200,
        json!({"PaginationToken": token, "ResourceTagMappingList": services}),
    )
}

/// What `DescribeService` answers: a service that runs the image of `shop-staging` and reads its secret.
fn described(input: &Value, status: &str) -> Answer {
    let arn = input["ServiceArn"].as_str().expect("an ARN");
    let name = arn.split('/').nth(1).expect("a name");
    (
        200,
        json!({"Service": {
            "ServiceName": name, "ServiceId": "8fe1e103", "ServiceArn": arn, "Status": status,
            "CreatedAt": 0, "UpdatedAt": 0, "InstanceConfiguration": {}, "NetworkConfiguration": {},
            "AutoScalingConfigurationSummary": {},
            "SourceConfiguration": {"ImageRepository": {
                "ImageIdentifier": format!("{REGISTRY}/shop-staging@sha256:ff"), "ImageRepositoryType": "ECR",
                "ImageConfiguration": {"RuntimeEnvironmentSecrets": {"PASSWORD": format!("{SECRET}:password::")}},
            }},
        }}),
    )
}

fn started() -> Answer {
    (
        200,
        json!({"executionArn": "arn:aws:states:us-east-1:123456789012:execution:crew-deploy:x", "startDate": 0}),
    )
}

fn tagged(tags: &[(&str, &str)]) -> Answer {
    let tags: Vec<_> = tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    (200, json!({"Tags": tags}))
}

fn names(names: std::ops::Range<usize>) -> Vec<String> {
    names.map(|n| format!("shop-{n:03}")).collect()
}

/// An account where everything goes well, with these services in the pages that `GetResources` has.
fn answering(services: usize) -> impl Fn(&str, &Value) -> Answer + Send + Sync {
    move |operation, input| match operation {
        "GetResources" => {
            let token = input["PaginationToken"].as_str().unwrap_or_default();
            let from = token.parse().unwrap_or(0);
            let to = services.min(from + 100);
            let next = if to < services {
                to.to_string()
            } else {
                String::new()
            };
            page(&names(from..to), &next)
        }
        "DescribeService" => described(input, "RUNNING"),
        "ListTagsForResource" => following("latest"),
        "Query" => indexed(&[]),
        "GetItem" | "PutItem" => (200, json!({})),
        "StartExecution" => started(),
        _ => refusal("NotExpected"),
    }
}

/// The index with these services, each with the repository whose image it runs and the secret that it reads.
fn indexed(services: &[(String, &str, &str)]) -> Answer {
    let item = |(name, repository, secret): &(String, &str, &str)| {
        json!({
            "kind": {"S": "uses"}, "subject": {"S": arn(name)}, "revision": {"N": "1"},
            "remembered": {"M": {
                "repository": {"S": format!("{REGISTRY}/{repository}")},
                "secrets": {"L": [{"S": secret}]},
            }},
        })
    };
    let items: Vec<_> = services.iter().map(item).collect();
    (200, json!({"Items": items}))
}

/// The same account, when each service was looked at before: the first uses what [`described`] says, and the others something else.
fn knowing(services: usize) -> impl Fn(&str, &Value) -> Answer + Send + Sync {
    let others = answering(services);
    move |operation, input| match operation {
        "Query" => {
            let first = ("shop-000".to_owned(), "shop-staging", SECRET);
            let rest = names(1..services).into_iter();
            let rest = rest.map(|name| (name, "blog", "arn:aws:secretsmanager:::secret:blog"));
            indexed(&std::iter::once(first).chain(rest).collect::<Vec<_>>())
        }
        _ => others(operation, input),
    }
}

/// The tags of a managed service that follows this rule, as App Runner has them.
fn following(rule: &str) -> Answer {
    tagged(&[
        ("groundcrew:managed", "true"),
        ("groundcrew:app", "shop"),
        ("groundcrew:environment", "staging"),
        ("groundcrew:image-tag", rule),
    ])
}

#[tokio::test]
async fn a_rule_that_the_index_does_not_know_yet_is_read_from_app_runner_before_a_push_is_taken_for_nothing()
 {
    let with_rule = |rule: &'static str| {
        let others = answering(2);
        Script::new(move |operation, input| match operation {
            "ListTagsForResource" => following(rule),
            _ => others(operation, input),
        })
    };
    // The index says `latest`, and the push is of `nightly`.
    let script = with_rule("nightly");
    let answer = script
        .handle("ecr-push-other-tag")
        .await
        .expect("it goes well");
    assert_eq!(answer["started"], json!(names(0..2)));
    assert_eq!(script.count("ListTagsForResource"), 2);
    let script = with_rule("latest");
    let answer = script
        .handle("ecr-push-other-tag")
        .await
        .expect("it goes well");
    assert_eq!(answer["started"], json!([]));
    // Of services that run another image nothing is asked.
    let script = with_rule("latest");
    script
        .handle("ecr-push-other-repository")
        .await
        .expect("it goes well");
    assert_eq!(script.count("ListTagsForResource"), 0);
}

#[tokio::test]
async fn a_push_starts_one_execution_for_each_service_of_every_page() {
    let script = Script::new(answering(230));
    let answer = script.handle("ecr-push").await.expect("it goes well");
    assert_eq!(answer["services"], 230);
    assert_eq!(answer["started"], json!(names(0..230)));
    assert_eq!(script.count("GetResources"), 3);
    assert_eq!(script.count("DescribeService"), 230);
    let first = &script.inputs("GetResources")[0];
    assert_eq!(first["ResourceTypeFilters"], json!(["apprunner:service"]));
    assert_eq!(
        first["TagFilters"],
        json!([{"Key": "groundcrew:managed", "Values": ["true"]}])
    );
    assert_eq!(first["ResourcesPerPage"], 100);
    let inputs = script.inputs("StartExecution");
    assert_eq!(inputs.len(), 230);
    for input in inputs {
        assert_eq!(
            input["stateMachineArn"],
            script.aws().account.deploy_state_machine
        );
        let name = input["name"].as_str().expect("a name");
        let passed: Value =
            serde_json::from_str(input["input"].as_str().expect("a text")).expect("JSON");
        assert_eq!(passed["service"], arn(&name[..8]));
        assert_eq!(
            passed["cause"],
            "push of shop-staging:latest (sha256:b51c09cbfb55)"
        );
        let pushed = json!({"tag": "latest", "digest": "sha256:b51c09cbfb55d7783f0e0f7c9e3a2f8a4d2b6a1c5e9d8f7a6b5c4d3e2f1a0b9c", "at": "2026-11-21T08:15:30Z"});
        assert_eq!(passed["pushed"], pushed);
        assert_eq!(passed.as_object().map(serde_json::Map::len), Some(3));
    }
}

#[tokio::test]
async fn a_push_or_a_rotation_asks_app_runner_about_the_services_alone_that_it_is_about() {
    for event in ["ecr-push", "secret-label-updated"] {
        let script = Script::new(knowing(230));
        let answer = script.handle(event).await.expect("it goes well");
        let expected = (&json!(1), &json!(["shop-000"]));
        assert_eq!(
            (&answer["services"], &answer["started"]),
            expected,
            "{event}"
        );
        assert_eq!(script.count("DescribeService"), 1);
        assert_eq!(script.count("ListTagsForResource"), 0);
        assert_eq!(script.count("Query"), 1);
        assert_eq!(script.count("PutItem"), 0);
        let query = &script.inputs("Query")[0];
        assert_eq!(query["TableName"], "crew-memory");
        assert_eq!(
            query["ExpressionAttributeValues"],
            json!({":kind": {"S": "uses"}})
        );
    }
}

#[tokio::test]
async fn a_service_that_the_index_does_not_know_is_looked_at_and_noted() {
    let known = knowing(230);
    let script = Script::new(move |operation, input| match operation {
        "Query" => {
            let (status, mut index) = known(operation, input);
            let items = index["Items"].as_array_mut().expect("items");
            items.truncate(228);
            (status, index)
        }
        _ => known(operation, input),
    });
    let answer = script.handle("ecr-push").await.expect("it goes well");
    assert_eq!(
        answer["started"],
        json!(["shop-000", "shop-228", "shop-229"])
    );
    assert_eq!(script.count("DescribeService"), 3);
    let noted = script.inputs("PutItem");
    let noted: Vec<_> = noted.iter().map(|put| &put["Item"]["remembered"]).collect();
    let uses = json!({"M": {
        "repository": {"S": format!("{REGISTRY}/shop-staging")},
        "secrets": {"L": [{"S": SECRET}]},
    }});
    assert_eq!(noted, [&uses, &uses]);
}

#[tokio::test]
async fn an_index_that_lies_leads_to_no_wrong_deployment_and_is_corrected() {
    let well = answering(2);
    let script = Script::new(move |operation, input| match operation {
        "Query" => {
            let lies = names(0..2).into_iter();
            indexed(
                &lies
                    .map(|name| (name, "blog-staging", SECRET))
                    .collect::<Vec<_>>(),
            )
        }
        _ => well(operation, input),
    });
    let answer = script.handle("ecr-push-other-repository").await;
    assert_eq!(answer.expect("it goes well")["started"], json!([]));
    assert_eq!(script.count("PutItem"), 2);
}

#[tokio::test]
async fn a_service_that_the_index_of_tags_does_not_know_yet_is_found_and_a_foreign_one_is_not() {
    for (tags, expected) in [
        (following("latest"), json!(["shop-000"])),
        (tagged(&[]), json!([])),
    ] {
        let known = knowing(1);
        let script = Script::new(move |operation, input| match operation {
            "GetResources" => page(&[], ""),
            "ListTagsForResource" => tags.clone(),
            _ => known(operation, input),
        });
        for event in ["ecr-push", "secret-label-updated"] {
            let answer = script.handle(event).await.expect("it goes well");
            assert_eq!(answer["started"], expected, "{event}");
        }
    }
}

#[tokio::test]
async fn an_index_that_cannot_be_read_keeps_no_push_from_any_service() {
    let well = answering(3);
    let script = Script::new(move |operation, input| match operation {
        "Query" => (
            200,
            json!({"Items": [{"kind": {"S": "uses"}, "subject": {"S": arn("shop-000")}}]}),
        ),
        // It is there, whatever it is.
        "PutItem" if input["Item"]["subject"]["S"] == arn("shop-000") => {
            refusal("ConditionalCheckFailedException")
        }
        _ => well(operation, input),
    });
    let answer = script.handle("ecr-push").await.expect("it goes well");
    assert_eq!(answer["started"], json!(names(0..3)));
}

#[tokio::test]
async fn a_service_that_runs_again_is_noted_also_if_it_is_held() {
    let script = Script::new(|operation, input| match operation {
        "ListTagsForResource" => tagged(&[&MANAGED[..], &[("groundcrew:hold", "true")]].concat()),
        "DescribeService" => described(input, "RUNNING"),
        "GetItem" | "PutItem" => (200, json!({})),
        _ => refusal("NotExpected"),
    });
    let answer = script.handle("apprunner-service-status").await;
    assert_eq!(
        answer.expect("it goes well"),
        json!({"not_for_us": "shop-staging is on hold"})
    );
    let noted = &script.inputs("PutItem")[0]["Item"]["remembered"]["M"];
    assert_eq!(noted["repository"]["S"], format!("{REGISTRY}/shop-staging"));
}

#[tokio::test]
async fn the_same_event_again_gives_the_same_names() {
    let script = Script::new(answering(3));
    script
        .handle("secret-label-updated")
        .await
        .expect("it goes well");
    script
        .handle("secret-label-updated")
        .await
        .expect("it goes well");
    script
        .handle("secret-rotation-succeeded")
        .await
        .expect("it goes well");
    let named = |n: usize| {
        let inputs = script.inputs("StartExecution");
        let named = inputs[n * 3..][..3]
            .iter()
            .map(|input| input["name"].to_string());
        named.collect::<BTreeSet<_>>()
    };
    assert_eq!(named(0), named(1));
    assert!(named(0).is_disjoint(&named(2)));
}

#[tokio::test]
async fn an_execution_that_exists_is_a_replay_and_no_failure() {
    let well = answering(2);
    let script = Script::new(move |operation, input| match operation {
        "StartExecution" if input["name"].to_string().contains("shop-001") => {
            refusal("ExecutionAlreadyExists")
        }
        _ => well(operation, input),
    });
    let answer = script.handle("ecr-push").await.expect("it goes well");
    assert_eq!(answer["started"], json!(["shop-000"]));
    assert_eq!(answer["replays"], json!(["shop-001"]));
}

#[tokio::test]
async fn a_push_elsewhere_and_another_secret_start_nothing() {
    for event in [
        "ecr-push-other-repository",
        "ecr-push-other-account",
        "ecr-push-other-region",
        "ecr-push-other-tag",
    ] {
        let script = Script::new(answering(2));
        let answer = script.handle(event).await.expect("it goes well");
        assert_eq!(
            (&answer["services"], &answer["started"]),
            (&json!(2), &json!([])),
            "{event}"
        );
        assert_eq!(script.count("StartExecution"), 0);
    }
}

#[tokio::test]
async fn paused_and_busy_services_are_concerned_and_deleted_ones_are_not() {
    for (status, expected) in [
        ("PAUSED", json!(["shop-000"])),
        ("OPERATION_IN_PROGRESS", json!(["shop-000"])),
        ("DELETED", json!([])),
    ] {
        let well = answering(1);
        let script = Script::new(move |operation, input| match operation {
            "DescribeService" => described(input, status),
            _ => well(operation, input),
        });
        let answer = script
            .handle("secret-label-updated")
            .await
            .expect("it goes well");
        assert_eq!(answer["started"], expected, "{status}");
    }
}

#[tokio::test]
async fn throttled_calls_are_made_again_and_no_service_is_forgotten() {
    let well = answering(120);
    let asked = Mutex::new(BTreeMap::new());
    let script = Script::new(move |operation, input| {
        let mut asked = asked.lock().expect("nobody panics here");
        let times = asked.entry(format!("{operation} {input}")).or_insert(0);
        *times += 1;
        if *times <= 2 {
            return refusal("ThrottlingException");
        }
        well(operation, input)
    });
    let answer = script.handle("ecr-push").await.expect("it goes well");
    assert_eq!(answer["started"], json!(names(0..120)));
    assert_eq!(script.count("GetResources"), 2 * 3);
    assert_eq!(script.count("DescribeService"), 120 * 3);
    assert_eq!(script.count("StartExecution"), 120 * 3);
}

#[tokio::test]
async fn a_call_that_is_always_throttled_is_given_up_after_eight_times() {
    let well = answering(1);
    let script = Script::new(move |operation, input| match operation {
        "DescribeService" => refusal("ThrottlingException"),
        _ => well(operation, input),
    });
    let failed = script.handle("ecr-push").await.expect_err("it fails");
    assert!(
        failed
            .to_string()
            .contains("shop-000 (apprunner:DescribeService: AWS is throttling"),
        "{failed}"
    );
    assert_eq!(script.count("DescribeService"), 8);
}

#[tokio::test]
async fn an_error_on_one_service_is_told_and_does_not_stop_the_others() {
    let well = answering(20);
    let script = Script::new(move |operation, input| {
        let text = input.to_string();
        match operation {
            "DescribeService" if text.contains("shop-003") => refusal("AccessDeniedException"),
            "DescribeService" if text.contains("shop-004") => refusal("ResourceNotFoundException"),
            "StartExecution" if text.contains("shop-017") => refusal("StateMachineDoesNotExist"),
            _ => well(operation, input),
        }
    });
    let failed = script.handle("ecr-push").await.expect_err("it fails");
    assert_eq!(failed.name(), "Failed");
    let message = failed.to_string();
    assert!(message.contains("2 of 20 services"), "{message}");
    assert!(
        message.contains("shop-003 (apprunner:DescribeService: not allowed"),
        "{message}"
    );
    assert!(
        message.contains("shop-017 (states:StartExecution: StateMachineDoesNotExist"),
        "{message}"
    );
    // The one that was deleted meanwhile needs nothing; all others are started.
    assert_eq!(script.count("StartExecution"), 18);
}

#[tokio::test]
async fn no_more_than_eight_services_are_asked_at_a_time() {
    // Calls that answer at once are never in flight together, so the pace itself is asked.
    let pace = Arc::new(Pace::new(TEMPO));
    let (now, most) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let mut asked = JoinSet::new();
    for _ in 0..40 {
        let (pace, now, most) = (Arc::clone(&pace), Arc::clone(&now), Arc::clone(&most));
        asked.spawn(async move {
            pace.ask(|| async {
                let running = {
                    let mut now = now.lock().expect("nobody panics here");
                    *now += 1;
                    *now
                };
                let so_far = *most.lock().expect("nobody panics here");
                *most.lock().expect("nobody panics here") = running.max(so_far);
                tokio::time::sleep(Duration::from_millis(30)).await;
                *now.lock().expect("nobody panics here") -= 1;
                Ok(())
            })
            .await
        });
    }
    while let Some(answer) = asked.join_next().await {
        answer.expect("no panic").expect("an answer");
    }
    assert_eq!(*most.lock().expect("nobody panics here"), 8);
}

const MANAGED: [(&str, &str); 3] = [
    ("groundcrew:managed", "true"),
    ("groundcrew:app", "shop"),
    ("groundcrew:environment", "staging"),
];

#[tokio::test]
async fn a_service_that_runs_again_is_noted_and_started_by_one_look_at_it() {
    for event in [
        "apprunner-service-status",
        "apprunner-operation-status-pascal-case",
    ] {
        let script = Script::new(|operation, input| match operation {
            "ListTagsForResource" => tagged(&MANAGED),
            "DescribeService" => described(input, "RUNNING"),
            "GetItem" | "PutItem" => (200, json!({})),
            "StartExecution" => started(),
            _ => refusal("NotExpected"),
        });
        let answer = script.handle(event).await.expect("it goes well");
        assert_eq!(answer["started"], json!(["shop-staging"]), "{event}");
        assert_eq!(script.0.calls.lock().expect("nobody panics here").len(), 6);
    }
}

#[tokio::test]
async fn a_service_that_is_foreign_held_claimed_or_gone_is_left_alone() {
    let with = |tag: &'static str, value: &'static str| [&MANAGED[..], &[(tag, value)]].concat();
    for (answer, reason) in [
        (tagged(&[]), "not one of groundcrew's services"),
        (tagged(&with("groundcrew:hold", "true")), "on hold"),
        (
            tagged(&with("groundcrew:deploying", CLAIM)),
            "being deployed",
        ),
        (refusal("ResourceNotFoundException"), "gone"),
    ] {
        let script = Script::new(move |operation, input| match operation {
            "ListTagsForResource" => answer.clone(),
            "DescribeService" => described(input, "RUNNING"),
            "GetItem" | "PutItem" => (200, json!({})),
            "DescribeExecution" => execution("RUNNING"),
            _ => refusal("NotExpected"),
        });
        let answer = script
            .handle("apprunner-service-status")
            .await
            .expect("it goes well");
        assert_eq!(
            answer,
            json!({"not_for_us": format!("shop-staging is {reason}")})
        );
    }
}

#[tokio::test]
async fn a_claim_of_an_execution_that_ended_keeps_nobody_from_anything() {
    for ended in [execution("FAILED"), refusal("ExecutionDoesNotExist")] {
        let script = Script::new(move |operation, input| match operation {
            "ListTagsForResource" => {
                tagged(&[&MANAGED[..], &[("groundcrew:deploying", CLAIM)]].concat())
            }
            "DescribeService" => described(input, "RUNNING"),
            "GetItem" | "PutItem" => (200, json!({})),
            "DescribeExecution" => ended.clone(),
            "StartExecution" => started(),
            _ => refusal("NotExpected"),
        });
        let answer = script.handle("apprunner-service-status").await;
        let answer = answer.expect("it goes well");
        assert_eq!(answer["started"], json!(["shop-staging"]));
    }
}

/// What a deployment that is under way has written into a tag.
const CLAIM: &str = "shop-1 image none 0a none none";

fn execution(status: &str) -> Answer {
    (
        200,
        json!({
            "executionArn": "arn:aws:states:us-east-1:123456789012:execution:crew-deploy:shop-1",
            "stateMachineArn": "arn:aws:states:us-east-1:123456789012:stateMachine:crew-deploy",
            "status": status,
            "startDate": 0,
        }),
    )
}

#[tokio::test]
async fn what_is_not_for_us_or_malformed_leads_to_no_call() {
    let script = Script::new(|_, _| refusal("NotExpected"));
    let answer = script.handle("ecr-delete").await.expect("it is no error");
    assert_eq!(answer, json!({"not_for_us": "DELETE of an image, SUCCESS"}));
    let malformed = json!({"source": "aws.ecr", "detail-type": "ECR Image Action"});
    let refused = at_tempo(&script.aws(), &malformed, TEMPO)
        .await
        .expect_err("it is malformed");
    assert_eq!(refused.name(), "Invalid");
    assert!(
        script
            .0
            .calls
            .lock()
            .expect("nobody panics here")
            .is_empty()
    );
}
