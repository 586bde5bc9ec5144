//! What a person or AWS itself does to an account, and what the local AWS saw: `/_local/…` of the overlay.

use super::LocalAws;
use crate::{Error, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// One thing that IAM was asked.
#[derive(Clone, Debug, Deserialize)]
pub struct Check {
    /// The IAM action.
    pub action: String,
    /// The ARN that it was authorised for.
    pub resource: String,
    /// The condition keys.
    pub keys: Map<String, Value>,
}

/// A call that reached the local AWS.
#[derive(Clone, Debug, Deserialize)]
pub struct Call {
    /// Its number, from 1.
    pub n: u64,
    /// When it was answered, in seconds since 1970 on the wall.
    pub at: f64,
    /// The name of the role that made it, or `root`.
    pub principal: String,
    /// The IAM action, `ec2:CreateVpc`.
    pub action: String,
    /// The ARN that it was authorised for, `*` if the action has none.
    pub resource: String,
    /// The other actions that IAM asked for: passing a role, tagging what is created, a service-linked role.
    #[serde(default)]
    pub implied: Vec<String>,
    /// What IAM was asked for it, with the condition keys that AWS supplies; nothing of the account itself, whom IAM does not ask.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Whether IAM allowed it.
    pub allowed: bool,
    /// The HTTP status of the answer.
    pub status: u16,
    /// AWS's error code, if it failed.
    pub error: Option<String>,
}

impl Call {
    /// Whether the call can have changed something, by AWS's own naming of operations.
    pub fn writes(&self) -> bool {
        let operation = self.action.split(':').next_back().unwrap_or_default();
        ![
            "Describe",
            "Filter",
            "List",
            "Query",
            "Get",
            "BatchGet",
            "BatchCheck",
        ]
        .iter()
        .any(|verb| operation.starts_with(verb))
    }
}

/// An invocation of a function that has ended.
#[derive(Clone, Debug, Deserialize)]
pub struct Invocation {
    /// The name of the function.
    pub function: String,
    /// The id of the event of EventBridge that it was for, if it was for one.
    pub event: Option<String>,
    /// When it began, in seconds since 1970 on the wall.
    pub at: f64,
    /// How long it took on the wall, with the start of its process if it had none.
    pub seconds: f64,
    /// Whether a process was started for it.
    pub cold_start: bool,
    /// The error's name, if it failed.
    pub error: Option<String>,
    /// The most memory that its process has had until then; `None` if the process ended.
    pub peak_memory_kb: Option<u64>,
}

/// How long AWS takes from a call to its effect.
#[derive(Clone, Debug, Deserialize)]
pub struct Takes {
    /// The IAM action, `rds:CreateDBInstance`.
    pub call: String,
    /// AWS seconds.
    pub seconds: f64,
}

/// What the next calls of an operation meet.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// IAM's name of the service, `ec2`.
    pub service: String,
    /// The operation, `CreateVpc`, or `*`.
    pub operation: String,
    /// What happens.
    pub kind: FaultKind,
    /// To how many calls.
    pub times: u32,
    /// AWS seconds, for [`FaultKind::Slow`].
    pub seconds: f64,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// AWS's throttling answer.
    Throttle,
    /// A 5xx.
    Error,
    /// The call takes effect, and its answer is lost.
    TimeoutAfter,
    /// The answer comes late.
    Slow,
    /// The creation, or the stop or start of a database, is accepted, and the resource fails.
    Fails,
    /// It is accepted, and never ends.
    Stuck,
    /// The answer has a member or an error code that AWS does not send.
    Foreign,
}

/// A lasting limit on calls; what is over it is refused as throttled.
#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    /// IAM's name of the service, `apprunner`.
    pub service: String,
    /// The operation, `DescribeService`, or `*` for all operations of the service together.
    pub operation: String,
    /// How many calls in a second on the wall, and how many at once.
    pub per_second: f64,
}

/// What the scan of an image came to.
#[derive(Clone, Debug, Serialize)]
pub struct Scan {
    /// The name of the repository.
    pub repository: String,
    /// `sha256:…` of an image, not of an index: ECR scans only images.
    pub digest: String,
    /// How it ended, or that it did not.
    pub status: ScanStatus,
    /// How many findings there are of a severity, `CRITICAL` for instance.
    pub severities: BTreeMap<String, u32>,
}

/// The status of a scan.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ScanStatus {
    /// A basic scan runs.
    InProgress,
    /// A basic scan has ended.
    Complete,
    /// An enhanced scan, which never ends.
    Active,
    /// It could not be carried out.
    Failed,
    /// The image has no packages that could be known, `FROM scratch` for instance.
    UnsupportedImage,
}

/// A metric that App Runner publishes of a service, from a moment on.
#[derive(Clone, Debug)]
pub struct Published<'a> {
    /// The service's ARN.
    pub service_arn: &'a str,
    /// Its name, `5xxStatusResponses`.
    pub metric: &'a str,
    /// Its value in each AWS minute; `None`: it is no longer published.
    pub value: Option<f64>,
    /// Seconds since 1970 on the wall; `None`: now.
    pub at: Option<f64>,
}

/// An event that went over the default bus, as rules and targets see it.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Where it comes from, `aws.ecr`.
    pub source: String,
    /// Its kind, `ECR Image Action`.
    #[serde(rename = "detail-type")]
    pub detail_type: String,
    /// When it happened.
    pub time: String,
    /// The account that it happened in.
    pub account: String,
    /// The region that it happened in.
    pub region: String,
    /// The ARNs that it is about.
    pub resources: Vec<String>,
    /// What happened.
    pub detail: Value,
    /// When it went over the bus, in seconds since 1970 on the wall.
    pub at: f64,
}

/// What was published to an SNS topic.
#[derive(Clone, Debug, Deserialize)]
pub struct Notification {
    /// The ARN of the topic.
    pub topic: String,
    /// Its subject, if it has one.
    pub subject: Option<String>,
    /// Its text.
    pub message: String,
    /// When, in seconds since 1970.
    pub at: f64,
}

/// A resource and its tags.
#[derive(Clone, Debug, Deserialize)]
pub struct Tagged {
    /// Its ARN.
    pub arn: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A message in an SQS queue.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    /// Its text.
    pub body: String,
    /// Its attributes: `ERROR_CODE`, `RULE_ARN` and others of a rule's dead letter, `ErrorMessage` and others of a
    /// function's.
    pub attributes: BTreeMap<String, String>,
}

impl LocalAws {
    /// Puts an event on the default bus, as AWS's own services do, and returns its id. It must have `source` and
    /// `detail-type`. `id`, `time`, `account` and `region` are kept if it has them: the same event twice is a replay.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn put_event(&self, event: &Value) -> Result<String> {
        let answer = ask(self.port, "POST", "events", Some(event.clone())).await?;
        Ok(answer["id"].as_str().unwrap_or_default().to_owned())
    }

    /// What went over the default bus since the start, the oldest first.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn events(&self) -> Result<Vec<Event>> {
        self.list("events", "events").await
    }

    /// Loses the events of AWS services from now on, or no longer: AWS delivers them at best effort.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn lose_events(&self, losing: bool) -> Result<()> {
        let body = json!({"losing": losing});
        ask(self.port, "POST", "events/losing", Some(body))
            .await
            .map(drop)
    }

    /// What was published to SNS topics since the start, the oldest first.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn notifications(&self) -> Result<Vec<Notification>> {
        self.list("notifications", "notifications").await
    }

    /// What is in the SQS queue of this ARN, the oldest first. Nothing is received: it all stays there.
    ///
    /// # Errors
    /// [`Error::Call`] if there is no such queue.
    pub async fn messages(&self, queue_arn: &str) -> Result<Vec<Message>> {
        self.list("messages", &format!("messages?queue={queue_arn}"))
            .await
    }

    pub(super) async fn list<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<Vec<T>> {
        let mut answer = ask(self.port, "GET", path, None).await?;
        serde_json::from_value(answer[what].take()).map_err(Error::call("/_local"))
    }

    /// Lets the next calls of an operation fail.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn add_fault(&self, fault: &Fault) -> Result<()> {
        ask(self.port, "POST", "faults", Some(json!(fault)))
            .await
            .map(drop)
    }

    /// Refuses the next calls that a line of `rehearsal/local_aws/refusals.json` is about, in AWS's own words.
    ///
    /// # Errors
    /// [`Error::Call`], also when there is no line of this id.
    pub async fn refuse(&self, refusal: &str, times: u32) -> Result<()> {
        let body = json!({"refusal": refusal, "times": times});
        ask(self.port, "POST", "refusals", Some(body))
            .await
            .map(drop)
    }

    /// The refusals that no call has met yet, by id; and the other faults, by kind.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn faults_to_come(&self) -> Result<Vec<String>> {
        self.list("faults", "faults").await
    }

    /// Lets seven days pass since a database was stopped: RDS starts it by itself, as well as was arranged with a fault of
    /// `StartDBInstance`.
    ///
    /// # Errors
    /// [`Error::Call`] unless it is stopped.
    pub async fn seven_days_pass(&self, instance: &str) -> Result<()> {
        let stopped = json!({"instance": instance});
        ask(self.port, "POST", "rds/seven-days", Some(stopped))
            .await
            .map(drop)
    }

    /// The same, where these seven days end `at`, `2026-12-01T19:04:00Z`: RDS tells so at that time.
    ///
    /// # Errors
    /// [`Error::Call`] unless it is stopped.
    pub async fn seven_days_end(&self, instance: &str, at: &str) -> Result<()> {
        let stopped = json!({"instance": instance, "at": at});
        ask(self.port, "POST", "rds/seven-days", Some(stopped))
            .await
            .map(drop)
    }

    /// Sets a quota of RDS, `DBInstances` for instance.
    ///
    /// # Errors
    /// [`Error::Call`] unless it is known.
    pub async fn set_quota(&self, quota: &str, most: u64) -> Result<()> {
        let set = json!({"quota": quota, "most": most});
        ask(self.port, "POST", "rds/quotas", Some(set))
            .await
            .map(drop)
    }

    /// Lets the index of tags list an alarm that was deleted lately, with the tags that it had.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn index_deleted_alarm(&self, name: &str, tags: &[(&str, &str)]) -> Result<()> {
        let (region, account) = (super::REGION, super::ACCOUNT);
        let arn = format!("arn:aws:cloudwatch:{region}:{account}:alarm:{name}");
        let tags: BTreeMap<_, _> = tags.iter().copied().collect();
        let deleted = json!({"arn": arn, "tags": tags});
        ask(self.port, "POST", "tags/deleted-alarm", Some(deleted))
            .await
            .map(drop)
    }

    /// Takes back all faults that did not strike yet.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn clear_faults(&self) -> Result<()> {
        ask(self.port, "DELETE", "faults", None).await.map(drop)
    }

    /// Lets the scan of an image come to this. An image without is not scanned: `ScanNotFoundException`.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn plant_scan(&self, scan: &Scan) -> Result<()> {
        ask(self.port, "POST", "scan-findings", Some(json!(scan)))
            .await
            .map(drop)
    }

    /// Lets App Runner publish a metric of a service, or no longer. Alarms keep their state.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn publish(&self, published: &Published<'_>) -> Result<()> {
        let Published {
            service_arn,
            metric,
            value,
            at,
        } = published;
        let mut parts = service_arn.rsplit('/');
        let (id, name) = (parts.next(), parts.next());
        let body = json!({
            "namespace": "AWS/AppRunner",
            "name": metric,
            "dimensions": {"ServiceName": name, "ServiceID": id},
            "value": value,
            "at": at,
        });
        ask(self.port, "POST", "metrics", Some(body))
            .await
            .map(drop)
    }

    /// Makes the log groups of a prefix some days older; lines that are older than their retention are gone then.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn age_log_groups(&self, prefix: &str, days: f64) -> Result<()> {
        let body = json!({"prefix": prefix, "days": days});
        ask(self.port, "POST", "log-groups/age", Some(body))
            .await
            .map(drop)
    }

    /// Limits the calls of an operation, or of a service, until [`Self::clear_limits`].
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn limit(&self, limit: &Limit) -> Result<()> {
        ask(self.port, "POST", "limits", Some(json!(limit)))
            .await
            .map(drop)
    }

    /// Takes back all limits.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn clear_limits(&self) -> Result<()> {
        ask(self.port, "DELETE", "limits", None).await.map(drop)
    }

    /// Every call since the start or since [`Self::clear_calls`], the oldest first.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn calls(&self) -> Result<Vec<Call>> {
        self.list("calls", "calls").await
    }

    /// Those of them that functions made.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn calls_of_functions(&self) -> Result<Vec<Call>> {
        let mut calls = self.calls().await?;
        calls.retain(|call| call.principal != "root");
        Ok(calls)
    }

    /// Every invocation of a function that has ended since the start or since [`Self::clear_invocations`], in the order
    /// of their ends.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn invocations(&self) -> Result<Vec<Invocation>> {
        self.list("invocations", "invocations").await
    }

    /// Waits until whoever is to be told of what has happened until now was told, and has dealt with it: events are
    /// delivered, and the functions that nobody waits for have ended, with their retries. What they have started may still run.
    ///
    /// # Errors
    /// [`Error::Call`], also when somebody has not done so after two minutes on the wall.
    pub async fn everybody_has_heard(&self) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(10);
        const PATIENCE: Duration = Duration::from_secs(120);
        let begun = Instant::now();
        self.apprunner().everything_is_told().await;
        let unfinished = async || -> Result<BTreeSet<u64>> {
            let found = self.list("unfinished", "invocations/unfinished").await;
            Ok(found?.into_iter().collect())
        };
        let mut waited_for = unfinished().await?;
        while !waited_for.is_empty() {
            tokio::time::sleep(LOOK).await;
            let now = unfinished().await?;
            waited_for.retain(|number| now.contains(number));
            if begun.elapsed() > PATIENCE {
                let (call, reason) = ("/_local", format!("{} do not end", waited_for.len()));
                return Err(Error::Call { call, reason });
            }
        }
        Ok(())
    }

    /// How long AWS takes here; what App Runner takes, its emulator says.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn durations(&self) -> Result<Vec<Takes>> {
        self.list("durations", "durations").await
    }

    /// Forgets the invocations so far.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn clear_invocations(&self) -> Result<()> {
        ask(self.port, "DELETE", "invocations", None)
            .await
            .map(drop)
    }

    /// Forgets the calls so far.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn clear_calls(&self) -> Result<()> {
        self.take_calls().await.map(drop)
    }

    /// The calls so far, which are forgotten.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn take_calls(&self) -> Result<Vec<Call>> {
        let mut answer = ask(self.port, "DELETE", "calls", None).await?;
        serde_json::from_value(answer["calls"].take()).map_err(Error::call("/_local"))
    }

    /// Everything that carries a tag of this key, of every service.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn tagged(&self, key: &str) -> Result<Vec<Tagged>> {
        let path = format!("resources?tag={key}");
        let mut found: Vec<Tagged> = self.list("resources", &path).await?;
        let apprunner = self.apprunner().snapshot();
        let services = apprunner.services.into_iter();
        found.extend(services.map(|it| Tagged {
            arn: it.arn,
            tags: it.tags,
        }));
        for revisions in [
            apprunner.auto_scaling_configurations,
            apprunner.observability_configurations,
            apprunner.vpc_connectors,
        ] {
            found.extend(revisions.into_iter().map(|it| Tagged {
                arn: it.arn,
                tags: it.tags,
            }));
        }
        found.retain(|it| it.tags.contains_key(key));
        Ok(found)
    }
}

/// One request on a connection of its own.
pub(super) async fn ask(port: u16, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
    const CALL: &str = "/_local";
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(Error::call(CALL))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Error::call(CALL))?;
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).map_err(Error::call(CALL))?)
        .uri(format!("/_local/{path}"))
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(Error::call(CALL))?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
    };
    // The connection ends when its sender is gone, or with the answer.
    let (status, content) = tokio::select! {
        answer = answered => answer.map_err(Error::call(CALL))?,
        ended = connection => {
            ended.map_err(Error::call(CALL))?;
            return Err(Error::Call { call: CALL, reason: "the connection was closed".into() });
        }
    };
    if !status.is_success() {
        let reason = format!("{path}: {status}: {}", String::from_utf8_lossy(&content));
        return Err(Error::Call { call: CALL, reason });
    }
    serde_json::from_slice(&content).map_err(Error::call(CALL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(action: &str) -> Call {
        let (principal, action, resource) = ("root".into(), action.into(), "*".into());
        Call {
            n: 1,
            at: 0.0,
            principal,
            action,
            resource,
            implied: Vec::new(),
            checks: Vec::new(),
            allowed: true,
            status: 200,
            error: None,
        }
    }

    #[test]
    fn a_call_writes_unless_its_name_says_that_it_reads() {
        for reads in [
            "ec2:DescribeVpcs",
            "iam:GetRole",
            "ecr:BatchGetImage",
            "apprunner:ListServices",
        ] {
            assert!(!call(reads).writes(), "{reads}");
        }
        for writes in [
            "ec2:CreateVpc",
            "secretsmanager:PutSecretValue",
            "ecr:BatchDeleteImage",
            "sns:Subscribe",
        ] {
            assert!(call(writes).writes(), "{writes}");
        }
    }
}
