//! Whether a service is well after a deployment: it answers, and none of its alarms turns red.

use crate::deployment::Deployment;
use crate::follow::Verdict;
use aws_sdk_apprunner::types::ServiceStatus;
use aws_sdk_cloudwatch::types::{Dimension, MetricAlarm, StateValue};
use groundcrew::managed::describe;
use groundcrew::{Aws, Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How often a service is asked before it counts as unwell; `statemachine/deploy.asl.yaml` says how long between two.
const SMOKE_ATTEMPTS: u32 = 5;

/// How many looks at the alarms make a bake window at least, after the one at its beginning.
const LOOKS: u32 = 10;

/// The longest time between two: an alarm that turns red and green again in between is not seen.
const LONGEST_WAIT: u32 = 240;

/// Whether a service is well.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Health {
    /// Whether it is.
    pub well: bool,
    /// What was seen, for a person.
    pub why: String,
}

/// What one look at the alarms saw, and what comes next.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Look {
    /// Whether the service is well.
    pub(crate) well: bool,
    /// What was seen, for a person.
    pub(crate) why: String,
    /// Whether the bake window is over.
    pub(crate) over: bool,
    /// How many looks there were.
    pub(crate) looks: u32,
    /// When to look next.
    pub(crate) seconds: u32,
}

/// Asks the service for its health path, as a user would.
///
/// # Errors
/// `NotReady` while it does not answer well and is to be asked again.
pub(crate) async fn smoke_check(
    aws: &Aws,
    deployment: &Deployment,
    attempt: u32,
) -> Result<Health> {
    let Some(address) = &deployment.health else {
        return Ok(Health {
            well: true,
            why: "not asked: it answers inside its VPC only".into(),
        });
    };
    let seen = match aws.get("https:GET", &address.url).await {
        Ok((status, _)) => {
            let well = if address.only_200 {
                status == 200
            } else {
                status < 500
            };
            let why = format!("{} answered {status}", address.url);
            if well {
                return Ok(Health { well, why });
            }
            why
        }
        Err(error) => format!("{} did not answer: {error}", address.url),
    };
    if attempt + 1 < SMOKE_ATTEMPTS {
        return Err(Error::NotReady(format!(
            "{}: {seen}, so it",
            deployment.service
        )));
    }
    // One that somebody has paused or removed meanwhile says nothing about its image.
    let now = describe(aws, &deployment.service_arn).await?;
    let status = now.as_ref().map_or("gone", |now| now.status().as_str());
    if status != ServiceStatus::Running.as_str() {
        return Ok(Health {
            well: true,
            why: format!("not asked: it is {status}"),
        });
    }
    Ok(Health {
        well: false,
        why: seen,
    })
}

/// Looks at the service's alarms. What is counted are looks, and the state machine waits between them.
pub(crate) async fn look(
    aws: &Aws,
    deployment: &Deployment,
    operation: &Verdict,
    looks: u32,
) -> Result<Look> {
    let window = u32::from(deployment.bake_minutes) * 60;
    let seconds = (window / LOOKS).clamp(1, LONGEST_WAIT);
    let over = looks * seconds >= window;
    let look = |well, why: String| Look {
        well,
        why,
        over,
        looks: looks + 1,
        seconds,
    };
    if window == 0 {
        return Ok(look(true, "its alarms were not watched".into()));
    }
    let alarms = alarms(aws, &deployment.service).await?;
    // An alarm that turned red while App Runner was still at it may speak of the old instances: it counts if it stays so.
    let since = match over {
        true => operation.started_at,
        false => operation.ended_at,
    };
    let red = red(&alarms, &deployment.service_arn, since);
    if red.is_empty() {
        return Ok(look(true, "no alarm turned red".into()));
    }
    Ok(look(
        false,
        format!("since the deployment, alarm: {}", red.join("; ")),
    ))
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
