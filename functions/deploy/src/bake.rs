//! Whether a service is well after a deployment: it answers, and none of its alarms turns red.

use crate::deployment::{Deployment, HealthAddress};
use crate::follow::Verdict;
use aws_sdk_apprunner::types::ServiceStatus;
use aws_sdk_cloudwatch::types::{Dimension, MetricAlarm, StateValue};
use groundcrew::claim::{Answer, Claim};
use groundcrew::managed::describe;
use groundcrew::memory::Deployments;
use groundcrew::reference::current_secrets;
use groundcrew::{Aws, Error, Managed, Memory, Result, secrets};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How often a service is asked before it counts as unwell; `statemachine/deploy.asl.yaml` says how long between two.
const SMOKE_ATTEMPTS: u32 = 5;

/// How many looks at the alarms make a bake window at least, after the one at its beginning.
const LOOKS: u32 = 10;

/// The longest time between two: an alarm that turns red and green again in between is not seen.
const LONGEST_WAIT: u32 = 240;

/// How often secrets are delivered in the watch over one image: each time the watch begins anew.
pub const MOST_DELIVERIES: u8 = 2;

/// Whether a service is well.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Health {
    /// Whether it is.
    pub well: bool,
    /// What was seen, for a person.
    pub why: String,
    /// What has to be told of it: it was not asked, or its answer says nothing.
    #[serde(default)]
    pub note: Option<String>,
    /// Whether this deployment is still the one that counts: a person has asked for another image since, or somebody has taken
    /// the claim away.
    #[serde(default)]
    pub superseded: bool,
    /// Whether a secret has moved since: the service is given the current ones before it is judged.
    #[serde(default)]
    pub secrets_moved: bool,
}

impl Health {
    fn well(why: impl Into<String>) -> Self {
        Self {
            well: true,
            why: why.into(),
            note: None,
            superseded: false,
            secrets_moved: false,
        }
    }

    /// Nothing that speaks against it could be found out.
    fn unknown(why: String) -> Self {
        Self {
            note: Some(why.clone()),
            ..Self::well(why)
        }
    }

    fn unwell(why: String) -> Self {
        Self {
            well: false,
            ..Self::well(why)
        }
    }
}

/// What one look at the alarms saw, and what comes next.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Look {
    #[serde(flatten)]
    pub(crate) health: Health,
    /// Whether the bake window is over.
    pub(crate) over: bool,
    /// How many looks there were.
    pub(crate) looks: u32,
    /// When to look next.
    pub(crate) seconds: u32,
}

/// What has happened to a deployment while it is watched, if that ends or interrupts the watch. An execution of groundcrew 0.1
/// does not say its name, and is not interrupted.
async fn interruption(
    aws: &Aws,
    deployment: &Deployment,
    execution: Option<&str>,
) -> Result<Option<Health>> {
    let Some(execution) = execution else {
        return Ok(None);
    };
    let Some(managed) = Managed::look(aws, &deployment.service_arn).await? else {
        return Ok(None);
    };
    let memory: Memory<Deployments> = Memory::of(aws, managed.arn(), &managed.tags).await?;
    let is_own = |claim: &Claim| claim.execution == execution;
    if !memory.claim.as_ref().is_some_and(is_own) {
        return Ok(Some(Health {
            superseded: true,
            ..Health::well("somebody has asked for another image since")
        }));
    }
    let now = secrets::fingerprint(aws, &current_secrets(&managed.service)).await?;
    let moved = now.text.is_some() && now.text != deployment.secrets;
    // Secrets that could not be delivered once are not tried again with each look; and what rotates without end is left to the
    // executions that its events start.
    let rejected = now.text == memory.rejected_secrets;
    let too_often = deployment.deliveries >= MOST_DELIVERIES;
    Ok((moved && !rejected && !too_often).then(|| Health {
        secrets_moved: true,
        ..Health::well("a secret has moved since")
    }))
}

/// Asks a service for its health path.
pub(crate) async fn ask(aws: &Aws, address: &HealthAddress) -> Answer {
    match aws.get("https:GET", &address.url).await {
        Ok((status, _)) => Answer {
            status: Some(status),
            said: format!("answered {status}"),
        },
        Err(error) => Answer {
            status: None,
            said: format!("did not answer: {error}"),
        },
    }
}

/// Whether an answer is that of a service which is well.
pub(crate) fn is_good(address: &HealthAddress, answer: &Answer) -> bool {
    severity(address, answer) == 0
}

/// 0: well; 1: it refuses; 2: it fails, or does not answer.
fn severity(address: &HealthAddress, answer: &Answer) -> u8 {
    match answer.status {
        Some(200) => 0,
        Some(status) if status < 500 => u8::from(address.only_200),
        _ => 2,
    }
}

/// Asks the service for its health path, as a user would.
///
/// # Errors
/// `NotReady` while it does not answer well and is to be asked again; `Busy` while somebody's operation goes on, for then its
/// answer says nothing about the image.
pub(crate) async fn smoke_check(
    aws: &Aws,
    deployment: &Deployment,
    attempt: u32,
    execution: Option<&str>,
) -> Result<Health> {
    let Some(address) = &deployment.health else {
        return Ok(Health::well("not asked: it answers inside its VPC only"));
    };
    let answer = ask(aws, address).await;
    let seen = format!("{} {}", address.url, answer.said);
    if is_good(address, &answer) {
        return Ok(Health::well(seen));
    }
    if let Some(before) = &address.unwell_before
        && severity(address, &answer) <= severity(address, before)
    {
        return Ok(Health::unknown(format!(
            "{seen}; before the deployment it {}, so that says nothing about the image",
            before.said
        )));
    }
    if let Some(interruption) = interruption(aws, deployment, execution).await? {
        return Ok(interruption);
    }
    if attempt + 1 < SMOKE_ATTEMPTS {
        return Err(Error::NotReady(format!(
            "{}: {seen}, so it",
            deployment.service
        )));
    }
    let now = describe(aws, &deployment.service_arn).await?;
    match now.as_ref().map(|now| now.status()) {
        Some(ServiceStatus::Running) => Ok(Health::unwell(seen)),
        Some(ServiceStatus::OperationInProgress) => Err(Error::Busy {
            call: "apprunner:DescribeService",
            reason: format!("service {} is in an operation", deployment.service),
        }),
        // One that somebody has paused or removed meanwhile says nothing about its image.
        status => Ok(Health::unknown(format!(
            "It was not asked whether it is well, for it is {}",
            status.map_or("gone", ServiceStatus::as_str)
        ))),
    }
}

/// Looks at the service's alarms. What is counted are looks, and the state machine waits between them.
pub(crate) async fn look(
    aws: &Aws,
    deployment: &Deployment,
    operation: &Verdict,
    looks: u32,
    note: Option<String>,
    execution: Option<&str>,
) -> Result<Look> {
    let window = u32::from(deployment.bake_minutes) * 60;
    let seconds = (window / LOOKS).clamp(1, LONGEST_WAIT);
    let over = looks * seconds >= window;
    let look = |health| Look {
        health: Health { note, ..health },
        over,
        looks: looks + 1,
        seconds,
    };
    if let Some(interruption) = interruption(aws, deployment, execution).await? {
        return Ok(look(interruption));
    }
    if window == 0 {
        return Ok(look(Health::well("its alarms were not watched")));
    }
    let alarms = alarms(aws, &deployment.service).await?;
    // An alarm that turned red while App Runner was still at it may speak of the old instances: it counts if it stays so.
    let since = match over {
        true => operation.started_at,
        false => operation.ended_at,
    };
    let red = red(&alarms, &deployment.service_arn, since);
    if red.is_empty() {
        return Ok(look(Health::well("no alarm turned red")));
    }
    Ok(look(Health::unwell(format!(
        "since the deployment, alarm: {}",
        red.join("; ")
    ))))
}

async fn alarms(aws: &Aws, service: &str) -> Result<Vec<MetricAlarm>> {
    let mut alarms = Vec::new();
    let mut pages = aws
        .cloudwatch()
        .describe_alarms()
        .alarm_name_prefix(format!("{service}-"))
        .state_value(StateValue::Alarm)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("cloudwatch:DescribeAlarms"))?;
        alarms.extend(page.metric_alarms.unwrap_or_default());
    }
    Ok(alarms)
}

/// The alarms that speak against a deployment: they watch this very service, and turned red after it began. An alarm that
/// was red before says nothing about the new image, nor does the one on the number of instances, which App Runner doubles
/// while it deploys.
fn red(alarms: &[MetricAlarm], service_arn: &str, since: Timestamp) -> Vec<String> {
    let service_id = service_arn.rsplit('/').next().unwrap_or_default();
    let watches = |dimensions: &[Dimension]| {
        dimensions
            .iter()
            .any(|of| of.name() == Some("ServiceID") && of.value() == Some(service_id))
    };
    let of_service = |alarm: &&MetricAlarm| {
        let queries = alarm.metrics().iter();
        let mut metrics = queries.filter_map(|query| query.metric_stat()?.metric());
        watches(alarm.dimensions()) || metrics.any(|metric| watches(metric.dimensions()))
    };
    let turned = |alarm: &&MetricAlarm| {
        let at = alarm
            .state_transitioned_timestamp()
            .or(alarm.state_updated_timestamp());
        let at = at.and_then(|at| Timestamp::from_nanosecond(at.as_nanos()).ok());
        at.is_some_and(|at| at > since)
    };
    alarms
        .iter()
        .filter(|alarm| alarm.state_value() == Some(&StateValue::Alarm))
        .filter(of_service)
        .filter(|alarm| alarm.metric_name() != Some("ActiveInstances"))
        .filter(turned)
        .map(|alarm| {
            let described = alarm.alarm_description().or(alarm.alarm_name());
            described.unwrap_or_default().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_cloudwatch::primitives::DateTime;
    use aws_sdk_cloudwatch::types::{Metric, MetricDataQuery, MetricStat};

    const ARN: &str = "arn:aws:apprunner:us-east-1:123456789012:service/shop-dev/0a";

    fn dimension(service_id: &str) -> Dimension {
        Dimension::builder()
            .name("ServiceID")
            .value(service_id)
            .build()
    }

    fn alarm(name: &str, service_id: &str, metric: &str, second: i64) -> MetricAlarm {
        MetricAlarm::builder()
            .alarm_name(name)
            .metric_name(metric)
            .dimensions(dimension(service_id))
            .state_value(StateValue::Alarm)
            .state_transitioned_timestamp(DateTime::from_secs(second))
            .build()
    }

    #[test]
    fn an_alarm_speaks_against_a_deployment_if_it_watches_the_service_and_turned_red_since() {
        let rate = MetricAlarm::builder()
            .alarm_name("rate")
            .metrics(
                MetricDataQuery::builder()
                    .metric_stat(
                        MetricStat::builder()
                            .metric(Metric::builder().dimensions(dimension("0a")).build())
                            .build(),
                    )
                    .build(),
            )
            .state_value(StateValue::Alarm)
            .state_transitioned_timestamp(DateTime::from_secs(101))
            .build();
        let alarms = [
            alarm("errors", "0a", "5xxStatusResponses", 101),
            alarm("red before", "0a", "5xxStatusResponses", 99),
            alarm("of another service", "0b", "5xxStatusResponses", 101),
            alarm("doubled", "0a", "ActiveInstances", 101),
            rate,
        ];
        let since = Timestamp::from_second(100).expect("a time");
        assert_eq!(red(&alarms, ARN, since), ["errors", "rate"]);
    }
}
