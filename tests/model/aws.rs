//! As much of AWS as one service needs, in this process and at a time of its own: App Runner, ECR, Secrets Manager, DynamoDB,
//! Step Functions, CloudWatch and the address of the service. It plays hundreds of histories in a minute, each the same way
//! every time, which the local AWS with its processes and its clock cannot. What a service may do in which state, and which
//! requests App Runner takes, it has from the emulator; `the_model_and_the_local_aws_tell_the_same_story` holds the rest of it to
//! the local AWS.

use super::world::{Fact, Trouble, World};
use crate::properties::MODEL;
use apprunner_emulator::{Call, OperationType, Verdict, verdict};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sfn::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use groundcrew::Aws;
use groundcrew::environment::Account;
use serde_json::{Map, Value, json};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

const ACCOUNT: &str = "123456789012";
const REGISTRY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop-dev";
pub(super) const SERVICE: &str =
    "arn:aws:apprunner:us-east-1:123456789012:service/shop-dev/0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
const SERVICE_ID: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
pub(super) const MACHINE: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:deploy";
pub(super) const SECRET: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop-AbCdEf";

/// The world, which whoever is at work shares.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("nobody panics with it")
    }

    /// Waits for so many milliseconds of the world: whoever plays it asks again when they are over.
    pub(super) fn pass(&self, milliseconds: i64) -> Pass {
        Pass {
            shared: self.clone(),
            milliseconds: Some(milliseconds),
        }
    }

    /// The clients of a function in this world.
    pub(super) fn aws(&self) -> Aws {
        let root = Credentials::new("test", "test", None, None, "the model");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(root))
            .endpoint_url("http://aws")
            .retry_config(RetryConfig::disabled())
            .http_client(SharedHttpClient::new(self.clone()))
            .build();
        let account = Account {
            partition: "aws".into(),
            region: "us-east-1".into(),
            id: ACCOUNT.into(),
            permissions_boundary: String::new(),
            deploy_state_machine: MACHINE.into(),
            memory: "memory".into(),
        };
        Aws::new(&config, SharedHttpConnector::new(self.clone()), account)
    }
}

/// A wait; it ends when it is asked for the second time.
pub(super) struct Pass {
    shared: Shared,
    milliseconds: Option<i64>,
}

impl Future for Pass {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let Some(milliseconds) = self.milliseconds.take() else {
            return Poll::Ready(());
        };
        self.shared.world().wake_in(milliseconds);
        Poll::Pending
    }
}

impl HttpClient for Shared {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Shared {
    /// Each call takes its time, in which others are at work, and may be cut.
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let shared = self.clone();
        HttpConnectorFuture::new(async move {
            let (there, back) = {
                let mut world = shared.world();
                (world.latency(), world.latency())
            };
            shared.pass(there).await;
            let trouble = shared.world().trouble();
            let cut = || Err(ConnectorError::io("the connection was cut".into()));
            match trouble {
                Some(Trouble::DiesBefore) => {
                    shared.world().die();
                    std::future::pending().await
                }
                Some(Trouble::CutBefore) => cut(),
                Some(Trouble::CutAfter) => {
                    shared.world().answer(&request);
                    cut()
                }
                Some(Trouble::DiesAfter) => {
                    shared.world().answer(&request);
                    shared.world().die();
                    std::future::pending().await
                }
                None => {
                    let answer = shared.world().answer(&request);
                    shared.pass(back).await;
                    Ok(answer)
                }
            }
        })
    }
}

/// What AWS answers: an HTTP status and a body.
type Answer = Result<Value, (u16, Value)>;

fn refusal(name: &str, message: &str) -> Answer {
    Err((
        400,
        json!({"__type": name, "message": message, "Message": message}),
    ))
}

impl World {
    fn answer(&mut self, request: &HttpRequest) -> HttpResponse {
        let respond = |status: u16, body: SdkBody| {
            let status = status.try_into().expect("a status");
            HttpResponse::new(status, body)
        };
        if request.uri().starts_with("https://shop") {
            return respond(self.health(), SdkBody::empty());
        }
        let body = request.body().bytes().unwrap_or_default();
        let Some(target) = request.headers().get("x-amz-target") else {
            let operation = request.uri().rsplit('/').next().unwrap_or_default();
            let answer = match operation {
                "DescribeAlarms" => self.alarms(),
                "GetMetricData" => self.metric_data(),
                other => panic!("the model does not know the call {other}"),
            };
            let mut answer = respond(200, SdkBody::from(cbor(&answer)));
            let headers = answer.headers_mut();
            headers.insert("smithy-protocol", "rpc-v2-cbor");
            headers.insert("content-type", "application/cbor");
            return answer;
        };
        let (service, operation) = target.split_once('.').expect("a service and an operation");
        let input: Value = serde_json::from_slice(body).expect("JSON");
        let answer = match service {
            "AppRunner" => self.app_runner(operation, &input),
            _ => self.others(operation, &input),
        };
        let (status, body) = match answer {
            Ok(body) => (200, body),
            Err(refused) => refused,
        };
        respond(status, SdkBody::from(body.to_string()))
    }

    fn app_runner(&mut self, operation: &str, input: &Value) -> Answer {
        if let Some(mistake) = MODEL.refusal(operation, input) {
            return refusal("ValidationException", &mistake);
        }
        let call = match operation {
            "UpdateService" => Some(Call::UpdateService),
            "StartDeployment" => Some(Call::StartDeployment),
            "TagResource" | "UntagResource" => Some(Call::Tag),
            _ => None,
        };
        match call.map(|call| verdict(call, self.status)) {
            None | Some(Verdict::Yes) => {}
            Some(Verdict::State) => {
                return refusal(
                    "InvalidStateException",
                    "Service cannot be changed in the current state",
                );
            }
            Some(Verdict::Request | Verdict::Gone) => {
                return refusal("InvalidRequestException", "it isn't in RUNNING state");
            }
        }
        match operation {
            "DescribeService" => Ok(json!({"Service": self.described()})),
            "ListOperations" => {
                let operations = self.operations.iter().rev().take(20);
                let operations: Vec<_> = operations.map(|it| it.listed(self.now)).collect();
                Ok(json!({"OperationSummaryList": operations}))
            }
            "ListTagsForResource" => {
                let tags = self.tags.iter();
                let tags: Vec<_> = tags
                    .map(|(key, value)| json!({"Key": key, "Value": value}))
                    .collect();
                Ok(json!({"Tags": tags}))
            }
            "TagResource" => {
                for tag in input["Tags"].as_array().expect("tags") {
                    let text = |name: &str| tag[name].as_str().expect("a text").to_owned();
                    self.tags.insert(text("Key"), text("Value"));
                }
                Ok(json!({}))
            }
            "UntagResource" => {
                for key in input["TagKeys"].as_array().expect("keys") {
                    self.tags.remove(key.as_str().expect("a key"));
                }
                Ok(json!({}))
            }
            "UpdateService" => {
                let image = &input["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"];
                let digest = image.as_str().and_then(|image| image.split_once('@'));
                let digest = digest.expect("a digest").1.to_owned();
                let id = self.begin(OperationType::UpdateService, Some(digest));
                Ok(json!({"Service": self.described(), "OperationId": id}))
            }
            "StartDeployment" => {
                let id = self.begin(OperationType::StartDeployment, None);
                Ok(json!({"OperationId": id}))
            }
            _ => panic!("the model does not know {operation}"),
        }
    }

    fn described(&self) -> Value {
        json!({
            "ServiceName": "shop-dev",
            "ServiceId": SERVICE_ID,
            "ServiceArn": SERVICE,
            "ServiceUrl": "shop",
            "CreatedAt": seconds(self.created),
            "UpdatedAt": seconds(self.now),
            "Status": self.status,
            "SourceConfiguration": {
                "AutoDeploymentsEnabled": false,
                "AuthenticationConfiguration": {"AccessRoleArn": "arn:aws:iam::123456789012:role/access"},
                "ImageRepository": {
                    "ImageIdentifier": format!("{REGISTRY}@{}", self.configured),
                    "ImageRepositoryType": "ECR",
                    "ImageConfiguration": {"RuntimeEnvironmentSecrets": {"PASSWORD": SECRET}},
                },
            },
            "InstanceConfiguration": {},
            "HealthCheckConfiguration": {"Protocol": "HTTP", "Path": "/"},
            "AutoScalingConfigurationSummary": {},
            "NetworkConfiguration": {"IngressConfiguration": {"IsPubliclyAccessible": true}},
        })
    }

    fn others(&mut self, operation: &str, input: &Value) -> Answer {
        match operation {
            "DescribeImages" => {
                let details = self.images.iter().map(|image| {
                    json!({
                        "imageDigest": image.digest,
                        "imageTags": image.tags,
                        "imagePushedAt": seconds(image.pushed),
                    })
                });
                Ok(json!({"imageDetails": details.collect::<Vec<_>>()}))
            }
            "BatchGetImage" => {
                let digest = &input["imageIds"][0]["imageDigest"];
                let platform = json!({"architecture": "amd64", "os": "linux"});
                let index = json!({"manifests": [{"digest": digest, "platform": platform}]});
                Ok(json!({"images": [{"imageManifest": index.to_string()}]}))
            }
            "DescribeSecret" => {
                let version = format!("version-{}", self.secret);
                Ok(json!({"ARN": SECRET, "VersionIdsToStages": {version: ["AWSCURRENT"]}}))
            }
            "DescribeExecution" => {
                let arn = input["executionArn"].as_str().expect("an ARN");
                let name = arn.rsplit(':').next().expect("a name");
                let Some(is_alive) = self.is_alive(name) else {
                    return refusal("ExecutionDoesNotExist", "Execution Does Not Exist");
                };
                Ok(json!({
                    "executionArn": arn,
                    "stateMachineArn": MACHINE,
                    "status": if is_alive { "RUNNING" } else { "ABORTED" },
                    "startDate": seconds(self.created),
                }))
            }
            "FilterLogEvents" => Ok(json!({"events": []})),
            "GetItem" => Ok(match &self.item {
                Some(item) => json!({"Item": item}),
                None => json!({}),
            }),
            "PutItem" => self.put(input),
            _ => panic!("the model does not know {operation}"),
        }
    }

    fn put(&mut self, input: &Value) -> Answer {
        let before = self.item.as_ref().map(|item| &item["revision"]["N"]);
        let condition = input["ConditionExpression"]
            .as_str()
            .expect("it is conditional");
        let holds = match condition {
            "attribute_not_exists(#kind)" => before.is_none(),
            "#revision = :revision" => {
                before == Some(&input["ExpressionAttributeValues"][":revision"]["N"])
            }
            _ => panic!("the model does not know the condition {condition}"),
        };
        if !holds {
            return refusal(
                "ConditionalCheckFailedException",
                "The conditional request failed",
            );
        }
        let mut item = input["Item"].clone();
        let was = self.remembered();
        let then = plain(&item)["remembered"].clone();
        if !then["wish"].is_null() && then["wish"]["execution"] != was["wish"]["execution"] {
            // The function reads the clock of this machine; here it is another time.
            item["remembered"]["M"]["wish"]["M"]["at"]["S"] = self.time().to_string().into();
        }
        self.item = Some(item);
        let now = self.remembered();
        self.happens(Fact::Remembered { was, now });
        Ok(json!({}))
    }

    /// What groundcrew remembers of the service.
    pub(super) fn remembered(&self) -> Value {
        let item = self.item.as_ref().map(plain);
        item.map_or(json!({}), |item| item["remembered"].clone())
    }

    fn is_red(&self) -> bool {
        self.red_since.is_some_and(|since| since <= self.now)
    }

    /// The errors of this minute: one, if the alarm's condition is to be met.
    fn metric_data(&self) -> Value {
        let minute = seconds(self.now - self.now.rem_euclid(60_000));
        let (times, values) = match self.is_red() {
            true => (vec![minute], vec![json!({DOUBLE: 1})]),
            false => (Vec::new(), Vec::new()),
        };
        json!({"MetricDataResults": [{"Id": "alarm_0", "Timestamps": times, "Values": values}]})
    }

    fn alarms(&self) -> Value {
        if !self.is_red() {
            return json!({"MetricAlarms": []});
        }
        json!({"MetricAlarms": [{
            "AlarmName": "shop-dev-errors",
            "MetricName": "5xxStatusResponses",
            "Namespace": "AWS/AppRunner",
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": {DOUBLE: 1},
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "Dimensions": [{"Name": "ServiceID", "Value": SERVICE_ID}],
        }]})
    }
}

/// Marks a number as one with a fraction, which times are as well.
const DOUBLE: &str = "double";

pub(super) fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// An item of DynamoDB as plain JSON.
fn plain(item: &Value) -> Value {
    let members = item.as_object().expect("an item").iter();
    let members = members.map(|(name, value)| (name.clone(), plain_value(value)));
    Value::Object(members.collect::<Map<_, _>>())
}

fn plain_value(value: &Value) -> Value {
    let (kind, value) = value
        .as_object()
        .and_then(|it| it.iter().next())
        .expect("a type");
    match kind.as_str() {
        "M" => plain(value),
        "L" => value
            .as_array()
            .expect("a list")
            .iter()
            .map(plain_value)
            .collect(),
        "NULL" => Value::Null,
        _ => value.clone(),
    }
}

/// Concise Binary Object Representation (RFC 8949), which CloudWatch speaks. A number with a fraction is a time.
fn cbor(value: &Value) -> Vec<u8> {
    let head = |major: u8, length: usize| match u8::try_from(length) {
        Ok(length @ 0..24) => vec![major << 5 | length],
        Ok(length) => vec![major << 5 | 24, length],
        Err(_) => panic!("the model answers with less"),
    };
    match value {
        Value::String(text) => [head(3, text.len()), text.as_bytes().to_vec()].concat(),
        Value::Array(items) => {
            [head(4, items.len()), items.iter().flat_map(cbor).collect()].concat()
        }
        Value::Object(members) if members.contains_key(DOUBLE) => {
            let bytes = members[DOUBLE].as_f64().expect("a number").to_be_bytes();
            [vec![7 << 5 | 27], bytes.to_vec()].concat()
        }
        Value::Object(members) => {
            let pairs = members
                .iter()
                .flat_map(|(name, value)| [cbor(&name.as_str().into()), cbor(value)].concat());
            [head(5, members.len()), pairs.collect()].concat()
        }
        Value::Number(whole) if whole.is_u64() => {
            head(0, whole.as_u64().expect("a whole number") as usize)
        }
        Value::Number(time) => {
            let bytes = time.as_f64().expect("a time").to_be_bytes();
            [vec![6 << 5 | 1, 7 << 5 | 27], bytes.to_vec()].concat()
        }
        Value::Null | Value::Bool(_) => panic!("the model does not answer with {value}"),
    }
}
