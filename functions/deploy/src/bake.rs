//! Whether a service is well after a deployment: it answers, and the metrics of its alarms meet none of their conditions.

use crate::deployment::{Deployment, HealthAddress};
use crate::follow::Verdict;
use aws_sdk_apprunner::types::ServiceStatus;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::MetricDataQuery;
use groundcrew::alarms::{self, Condition, MINUTE, Point, first_minute};
use groundcrew::claim::{Answer, Claim};
use groundcrew::managed::describe;
use groundcrew::memory::Deployments;
use groundcrew::reference::current_secrets;
use groundcrew::{Aws, Error, Managed, Memory, Result, secrets};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How often a service is asked before it counts as unwell; `statemachine/deploy.asl.yaml` says how long between two.
const SMOKE_ATTEMPTS: u32 = 5;

/// How many waits between looks make a bake window at most.
const WAITS: u32 = 60;

/// So many of them are of a minute, as the data is: most bad images show it at once. Later ones are of two or more.
const FIRST_WAITS: u32 = 5;

/// How many queries one call of `cloudwatch:GetMetricData` takes
/// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html).
const QUERIES: usize = 500;

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

/// Seconds from a look to the next one.
fn wait(window: u32, look: u32) -> u32 {
    const MINUTE: u32 = alarms::MINUTE as u32;
    if look < FIRST_WAITS {
        return MINUTE;
    }
    let left = window.saturating_sub(FIRST_WAITS * MINUTE);
    left.div_ceil(WAITS - FIRST_WAITS).max(2 * MINUTE)
}

/// Looks at the metrics of the service's alarms. What is counted are looks, and the state machine waits between them.
pub(crate) async fn look(
    aws: &Aws,
    deployment: &Deployment,
    operation: &Verdict,
    looks: u32,
    note: Option<String>,
    execution: Option<&str>,
) -> Result<Look> {
    let window = u32::from(deployment.bake_minutes) * 60;
    let waited: u32 = (0..looks).map(|look| wait(window, look)).sum();
    let over = waited >= window;
    let look = |health| Look {
        health: Health { note, ..health },
        over,
        looks: looks + 1,
        seconds: wait(window, looks)
            .min(window.saturating_sub(waited))
            .max(1),
    };
    if let Some(interruption) = interruption(aws, deployment, execution).await? {
        return Ok(look(interruption));
    }
    if window == 0 {
        return Ok(look(Health::well("its alarms were not watched")));
    }
    // Both are true, and the later one is nearer: this step may have waited for others, or a clock may be slow.
    let since = operation.ended_at;
    let waited = since + SignedDuration::from_secs(waited.into());
    let breaches = breaches(aws, deployment, since, waited.max(Timestamp::now())).await?;
    if breaches.is_empty() {
        return Ok(look(Health::well("no alarm's condition was met")));
    }
    Ok(look(Health::unwell(format!(
        "since the deployment, alarm: {}",
        breaches.join("; ")
    ))))
}

/// The conditions of the service's alarms that hold, by data of after this moment.
async fn breaches(
    aws: &Aws,
    deployment: &Deployment,
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<String>> {
    if until < first_minute(since) + SignedDuration::from_secs(MINUTE) {
        return Ok(Vec::new());
    }
    let found = alarms::find(aws, &format!("{}-", deployment.service)).await?;
    let service_id = deployment.service_arn.rsplit('/').next();
    let conditions = Condition::of_service(&found, service_id.unwrap_or_default());
    let mut breaches = Vec::new();
    for conditions in at_once(&conditions) {
        let queries = conditions.iter().flat_map(|it| it.queries());
        let points = data(aws, queries.cloned().collect(), since, until).await?;
        breaches.extend(conditions.iter().filter_map(|condition| {
            let points = points.get(condition.id()).map_or(&[][..], Vec::as_slice);
            let breach = condition.breach(points, since, until)?;
            Some(condition.tell(&breach))
        }));
    }
    Ok(breaches)
}

/// Those conditions together that one call can be asked about: an id of a query is unique in it.
fn at_once(conditions: &[Condition]) -> Vec<Vec<&Condition>> {
    let mut calls: Vec<(Vec<&Condition>, BTreeSet<&str>)> = Vec::new();
    for condition in conditions {
        let ids: BTreeSet<_> = condition
            .queries()
            .iter()
            .filter_map(|it| it.id())
            .collect();
        let fits =
            |taken: &BTreeSet<&str>| taken.is_disjoint(&ids) && taken.len() + ids.len() <= QUERIES;
        match calls.iter_mut().find(|(_, taken)| fits(taken)) {
            Some((call, taken)) => {
                call.push(condition);
                taken.extend(ids);
            }
            None => calls.push((vec![condition], ids)),
        }
    }
    calls.into_iter().map(|(call, _)| call).collect()
}

/// The values of queries, by their ids.
async fn data(
    aws: &Aws,
    queries: Vec<MetricDataQuery>,
    since: Timestamp,
    until: Timestamp,
) -> Result<BTreeMap<String, Vec<Point>>> {
    let time = |at: Timestamp| DateTime::from_millis(at.as_millisecond());
    let mut pages = aws
        .cloudwatch()
        .get_metric_data()
        .set_metric_data_queries(Some(queries))
        .start_time(time(since))
        .end_time(time(until))
        .into_paginator()
        .send();
    let mut points: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("cloudwatch:GetMetricData"))?;
        for result in page.metric_data_results.unwrap_or_default() {
            let times = result.timestamps().iter();
            let times =
                times.map(|at| Timestamp::from_nanosecond(at.as_nanos()).unwrap_or_default());
            let found = times.zip(result.values().iter().copied());
            let of_query = points.entry(result.id().unwrap_or_default().to_owned());
            of_query.or_default().extend(found);
        }
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_cloudwatch::types::{
        ComparisonOperator, Dimension, Metric, MetricAlarm, MetricStat, Statistic,
    };
    use proptest::prelude::*;

    /// What a minute publishes: how many values, and their sum.
    type Published = Option<(u32, f64)>;

    /// An alarm on these minutes.
    #[derive(Clone, Debug)]
    struct Watching {
        statistic: Statistic,
        comparison: ComparisonOperator,
        threshold: f64,
        period: i64,
        periods: i64,
        to_alarm: i64,
        /// Whether it is on an expression, which CloudWatch evaluates.
        is_expression: bool,
    }

    fn dimension(id: &str) -> Dimension {
        Dimension::builder().name("ServiceID").value(id).build()
    }

    impl Watching {
        fn alarm(&self) -> MetricAlarm {
            let alarm = MetricAlarm::builder()
                .alarm_name("shop-dev-watching")
                .comparison_operator(self.comparison.clone())
                .threshold(self.threshold)
                .evaluation_periods(self.periods as i32)
                .datapoints_to_alarm(self.to_alarm as i32);
            let alarm = match self.is_expression {
                false => alarm
                    .namespace("AWS/AppRunner")
                    .metric_name("Requests")
                    .statistic(self.statistic.clone())
                    .period(self.period as i32)
                    .dimensions(dimension("0a")),
                true => alarm.metrics(
                    MetricDataQuery::builder()
                        .id("whole")
                        .metric_stat(
                            MetricStat::builder()
                                .metric(Metric::builder().dimensions(dimension("0a")).build())
                                .period(self.period as i32)
                                .stat(self.statistic.as_str())
                                .build(),
                        )
                        .build(),
                ),
            };
            alarm.build()
        }

        fn condition(&self) -> Condition {
            let mut conditions = Condition::of_service(&[self.alarm()], "0a");
            conditions.pop().expect("it watches the service")
        }

        fn statistic_of(&self, minutes: &[Published]) -> Option<f64> {
            let values = || minutes.iter().flatten();
            values().next()?;
            let (count, sum) = values().fold((0, 0.0), |(count, sum), minute| {
                (count + minute.0, sum + minute.1)
            });
            let averages = values().map(|(count, sum)| sum / f64::from(*count));
            Some(match self.statistic {
                Statistic::Average => sum / f64::from(count),
                Statistic::Sum => sum,
                Statistic::SampleCount => count.into(),
                Statistic::Maximum => averages.fold(f64::MIN, f64::max),
                _ => averages.fold(f64::MAX, f64::min),
            })
        }

        fn is_breaching(&self, value: f64) -> bool {
            match self.comparison {
                ComparisonOperator::GreaterThanThreshold => value > self.threshold,
                ComparisonOperator::GreaterThanOrEqualToThreshold => value >= self.threshold,
                ComparisonOperator::LessThanThreshold => value < self.threshold,
                _ => value <= self.threshold,
            }
        }

        /// An alarm that has begun at this minute, evaluated period by period.
        fn naive(&self, minutes: &[Published], first: usize) -> bool {
            let period = (self.period / MINUTE) as usize;
            let breaching: Vec<bool> = minutes[first..]
                .chunks_exact(period)
                .map(|minutes| {
                    let value = self.statistic_of(minutes);
                    value.is_some_and(|value| self.is_breaching(value))
                })
                .collect();
            (0..breaching.len()).any(|last| {
                let looked_at = &breaching[last.saturating_sub(self.periods as usize - 1)..=last];
                looked_at.iter().filter(|is| **is).count() >= self.to_alarm as usize
            })
        }

        /// Minutes of one period that CloudWatch is asked for.
        fn asked(&self) -> i64 {
            let condition = self.condition();
            let asked = condition.queries()[0].metric_stat();
            i64::from(asked.and_then(MetricStat::period).expect("a period")) / MINUTE
        }

        /// What CloudWatch answers for `start` and later: the newest first, in periods that begin there or on the hour.
        fn answer(&self, minutes: &[Published], start: i64, on_the_hour: bool) -> Vec<Point> {
            let (period, rounded) = (self.asked(), start.div_euclid(MINUTE));
            let from = match on_the_hour {
                true => rounded.div_euclid(period) * period,
                false => rounded,
            };
            let mut points = Vec::new();
            for begin in (from..minutes.len() as i64).step_by(period as usize) {
                let end = (begin + period).min(minutes.len() as i64);
                let value = self.statistic_of(&minutes[begin as usize..end as usize]);
                points.extend(value.map(|value| (minute(begin), value)));
            }
            points.reverse();
            points
        }

        /// The minute in which the first whole period after the end begins.
        fn first(&self, end: i64, on_the_hour: bool) -> i64 {
            let (period, after) = (self.asked(), (end + MINUTE - 1).div_euclid(MINUTE));
            match on_the_hour {
                true => (after + period - 1).div_euclid(period) * period,
                false if after * MINUTE == end => after,
                false => after - 1 + period,
            }
        }
    }

    fn minute(n: i64) -> Timestamp {
        Timestamp::from_second(n * MINUTE).expect("a time")
    }

    fn watching() -> impl Strategy<Value = Watching> {
        let statistics = [
            Statistic::Average,
            Statistic::Sum,
            Statistic::SampleCount,
            Statistic::Maximum,
            Statistic::Minimum,
        ];
        let comparisons = [
            ComparisonOperator::GreaterThanThreshold,
            ComparisonOperator::GreaterThanOrEqualToThreshold,
            ComparisonOperator::LessThanThreshold,
            ComparisonOperator::LessThanOrEqualToThreshold,
        ];
        let sizes = (1..=5_i64, 1..=4_i64, 1..=4_i64, 0..12_u32);
        let kinds = (
            prop::sample::select(statistics.to_vec()),
            prop::sample::select(comparisons.to_vec()),
            any::<bool>(),
        );
        (sizes, kinds).prop_map(
            |((minutes, periods, to_alarm, threshold), kinds)| Watching {
                statistic: kinds.0,
                comparison: kinds.1,
                threshold: threshold.into(),
                period: minutes * MINUTE,
                periods,
                to_alarm: to_alarm.min(periods),
                is_expression: kinds.2,
            },
        )
    }

    fn published() -> impl Strategy<Value = Vec<Published>> {
        let minute = prop::option::of((1..4_u32, 0..12_u32));
        let minute = minute.prop_map(|it| it.map(|(count, sum)| (count, f64::from(sum))));
        prop::collection::vec(minute, 30..90)
    }

    proptest! {
        /// In both ways in which CloudWatch may begin periods.
        #[test]
        fn a_condition_holds_as_a_naive_alarm_over_data_of_after_the_end_does_whatever_was_before(
            watching in watching(),
            mut minutes in published(),
            before in published(),
            end in 60..1000_i64,
            on_the_hour in any::<bool>(),
        ) {
            let since = Timestamp::from_second(end).expect("a time");
            let first = watching.first(end, on_the_hour);
            let whole = (minutes.len() as i64 - first).div_euclid(watching.period / MINUTE).max(0);
            minutes.resize((first + whole * watching.period / MINUTE) as usize, None);
            let condition = watching.condition();
            let breach = |minutes: &[Published], until| {
                condition.breach(&watching.answer(minutes, end, on_the_hour), since, until)
            };
            let holds = breach(&minutes, minute(1000));
            prop_assert_eq!(holds.is_some(), watching.naive(&minutes, first as usize));
            // What it says before the end of the window, it says at the end.
            for until in 0..minutes.len() {
                let early = breach(&minutes[..until], minute(until as i64));
                prop_assert!(early.is_none() || holds.is_some(), "{:?} at {}", early, until);
            }
            let count = first_minute(since).as_second() / MINUTE;
            let count = minutes.len().min(count as usize).min(before.len());
            minutes[..count].copy_from_slice(&before[..count]);
            prop_assert_eq!(breach(&minutes, minute(1000)), holds);
        }
    }

    fn errors() -> Watching {
        Watching {
            statistic: Statistic::Sum,
            comparison: ComparisonOperator::GreaterThanOrEqualToThreshold,
            threshold: 5.0,
            period: 5 * MINUTE,
            periods: 1,
            to_alarm: 1,
            is_expression: false,
        }
    }

    #[test]
    fn a_sum_speaks_before_its_period_is_over_and_an_average_does_not() {
        let points = [(minute(10), 3.0), (minute(11), 4.0)];
        let errors = errors();
        let breach = errors.condition().breach(&points, minute(10), minute(12));
        let breach = breach.expect("seven errors");
        assert_eq!((breach.value, breach.since), (Some(7.0), minute(10)));
        assert_eq!(
            errors.condition().tell(&breach),
            "shop-dev-watching (Requests, Sum: 7 since 00:10 UTC, threshold 5)"
        );
        let average = Watching {
            statistic: Statistic::Average,
            ..errors
        };
        let points = [(minute(10), 9.0)];
        let breach = |until| {
            average
                .condition()
                .breach(&points, minute(10), minute(until))
        };
        assert_eq!(breach(16), None, "its data may not be complete");
        assert!(breach(17).is_some());
    }

    #[test]
    fn silence_speaks_where_an_alarm_takes_it_for_a_breach_once_it_is_sure() {
        let silent = |missing: &str, until| {
            let mut alarm = errors().alarm();
            alarm.treat_missing_data = Some(missing.into());
            let conditions = Condition::of_service(&[alarm], "0a");
            conditions[0]
                .breach(&[], minute(10), minute(until))
                .is_some()
        };
        assert!(!silent("breaching", 21));
        assert!(silent("breaching", 22));
        assert!(!silent("notBreaching", 60));
        assert!(!silent("missing", 60));
    }

    #[test]
    fn only_alarms_of_this_very_service_speak_and_not_the_one_on_the_instances_which_are_doubled() {
        let other = {
            let mut alarm = errors().alarm();
            alarm.dimensions = Some(vec![dimension("0b")]);
            alarm
        };
        let instances = {
            let mut alarm = errors().alarm();
            alarm.metric_name = Some("ActiveInstances".into());
            alarm
        };
        let expression = Watching {
            is_expression: true,
            ..errors()
        };
        let alarms = [other, instances, errors().alarm(), expression.alarm()];
        let conditions = Condition::of_service(&alarms, "0a");
        let ids: Vec<_> = conditions.iter().map(Condition::id).collect();
        assert_eq!(ids, ["alarm_0", "whole"]);
    }

    #[test]
    fn conditions_whose_queries_have_the_same_ids_are_asked_for_in_calls_of_their_own() {
        let expression = Watching {
            is_expression: true,
            ..errors()
        };
        let alarms = [errors().alarm(), expression.alarm(), expression.alarm()];
        let conditions = Condition::of_service(&alarms, "0a");
        let calls = at_once(&conditions);
        let sizes: Vec<_> = calls.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1]);
    }

    #[test]
    fn a_window_is_looked_at_each_minute_at_first_and_has_sixty_waits_at_most() {
        for minutes in 1..=240 {
            let window = minutes * 60;
            let (mut waited, mut looks) = (0, 0);
            while waited < window {
                let next = wait(window, looks);
                assert!(
                    looks >= FIRST_WAITS || next == 60,
                    "{minutes} min: {next} s"
                );
                assert!(next <= 300, "{minutes} min: {next} s");
                waited += next;
                looks += 1;
            }
            assert!(looks <= 60, "{minutes} min: {looks} waits");
        }
    }
}
