//! The alarms of a service and of its database, as data.

use super::PERIOD;
use crate::spec::Alarms;
use crate::{Aws, Error, Result, Stack};
use aws_sdk_cloudwatch::types::{
    ComparisonOperator, Dimension, Metric, MetricAlarm, MetricDataQuery, MetricStat, Statistic, Tag,
};
use std::collections::{BTreeMap, BTreeSet};

const SERVICE_NAME: &str = "ServiceName";
const SERVICE_ID: &str = "ServiceID";
const DATABASE: &str = "DBInstanceIdentifier";

/// One alarm, as data: what `put` sends and what `differs` compares.
#[derive(Debug, PartialEq)]
pub(super) struct Alarm {
    pub(super) name: String,
    description: String,
    namespace: &'static str,
    metric: &'static str,
    statistic: Statistic,
    comparison: ComparisonOperator,
    threshold: f64,
    periods: i32,
    dimensions: Vec<(&'static str, String)>,
    /// A metric to divide by, for a rate in percent.
    percent_of: Option<&'static str>,
}

impl Alarm {
    /// The alarms of a service. The dimensions of App Runner are `ServiceName` with `ServiceID` (Assumption dimensions): CloudWatch keeps
    /// statistics only for combinations that were published, so an alarm on `ServiceName` alone never gets data.
    pub(super) fn of_service(wanted: &Alarms, name: &str, id: &str, max_size: i32) -> Vec<Self> {
        let alarm = |part: &str, metric, statistic, threshold: f64, periods, sentence: &str| Self {
            name: Stack::watcher(&format!("{name}-{part}")),
            description: format!("{name}: {sentence}"),
            namespace: "AWS/AppRunner",
            metric,
            statistic,
            comparison: ComparisonOperator::GreaterThanOrEqualToThreshold,
            threshold,
            periods,
            dimensions: vec![(SERVICE_NAME, name.to_owned()), (SERVICE_ID, id.to_owned())],
            percent_of: None,
        };
        vec![
            alarm(
                "cpu",
                "CPUUtilization",
                Statistic::Average,
                wanted.cpu_percent.into(),
                3,
                "the instances are short of CPU",
            ),
            alarm(
                "memory",
                "MemoryUtilization",
                Statistic::Average,
                wanted.memory_percent.into(),
                3,
                "the instances are short of memory",
            ),
            alarm(
                "latency",
                "RequestLatency",
                Statistic::Average,
                wanted.latency_milliseconds.into(),
                2,
                "requests take too long",
            ),
            alarm(
                "server-errors",
                "5xxStatusResponses",
                Statistic::Sum,
                wanted.server_errors.into(),
                1,
                "requests fail with 5xx",
            ),
            Self {
                percent_of: Some("Requests"),
                ..alarm(
                    "client-errors",
                    "4xxStatusResponses",
                    Statistic::Sum,
                    wanted.client_error_percent.into(),
                    3,
                    "a large part of the requests is answered with 4xx",
                )
            },
            alarm(
                "instances",
                "ActiveInstances",
                Statistic::Maximum,
                max_size.into(),
                3,
                "the service runs at its largest size",
            ),
        ]
    }

    /// The alarms of the database of a stack, which has the stack's name.
    pub(super) fn of_database(wanted: &Alarms, name: &str) -> Vec<Self> {
        let alarm =
            |part: &str, metric, comparison, threshold: f64, periods, sentence: &str| Self {
                name: Stack::watcher(&format!("{name}-{part}")),
                description: format!("{name}: {sentence}"),
                namespace: "AWS/RDS",
                metric,
                statistic: Statistic::Average,
                comparison,
                threshold,
                periods,
                dimensions: vec![(DATABASE, name.to_owned())],
                percent_of: None,
            };
        let above = ComparisonOperator::GreaterThanOrEqualToThreshold;
        vec![
            alarm(
                "database-cpu",
                "CPUUtilization",
                above.clone(),
                wanted.database_cpu_percent.into(),
                3,
                "the database is short of CPU",
            ),
            alarm(
                "database-connections",
                "DatabaseConnections",
                above,
                wanted.database_connections.into(),
                2,
                "the database has many connections",
            ),
            alarm(
                "database-storage",
                "FreeStorageSpace",
                ComparisonOperator::LessThanOrEqualToThreshold,
                f64::from(wanted.database_free_storage_gib) * 1024.0 * 1024.0 * 1024.0,
                1,
                "the database is short of storage",
            ),
        ]
    }

    /// The name that groundcrew 0.1 gave it (until 0.3.0).
    pub(super) fn name_before(&self) -> &str {
        let end = self.name.len() - Stack::watcher("").len();
        &self.name[..end]
    }

    /// Whether it watches a database, and not a service.
    pub(super) fn is_of_database(&self) -> bool {
        self.namespace == "AWS/RDS"
    }

    fn dimensions(&self) -> Vec<Dimension> {
        self.dimensions
            .iter()
            .map(|(name, value)| Dimension::builder().name(*name).value(value).build())
            .collect()
    }

    /// The queries of a rate: both metrics, and their quotient, which is what the alarm looks at.
    fn queries(&self) -> Option<Vec<MetricDataQuery>> {
        let whole = self.percent_of?;
        let query = |id: &str, metric: &str| {
            let metric = Metric::builder()
                .namespace(self.namespace)
                .metric_name(metric)
                .set_dimensions(Some(self.dimensions()))
                .build();
            let statistic = MetricStat::builder()
                .metric(metric)
                .period(PERIOD)
                .stat(self.statistic.as_str())
                .build();
            MetricDataQuery::builder()
                .id(id)
                .metric_stat(statistic)
                .return_data(false)
                .build()
        };
        let rate = MetricDataQuery::builder()
            .id("rate")
            .expression("100 * part / whole")
            .label("percent")
            .return_data(true)
            .build();
        Some(vec![
            query("part", self.metric),
            query("whole", whole),
            rate,
        ])
    }

    /// Whether CloudWatch has it otherwise. Whether its actions are on is another question.
    pub(super) fn differs(&self, found: &MetricAlarm, topic_arn: &str) -> bool {
        let same_metric = match self.queries() {
            Some(wanted) => {
                let asked = |queries: &[MetricDataQuery]| {
                    queries.iter().map(Asked::from).collect::<BTreeSet<_>>()
                };
                asked(found.metrics()) == asked(&wanted)
            }
            None => {
                found.namespace() == Some(self.namespace)
                    && found.metric_name() == Some(self.metric)
                    && found.statistic() == Some(&self.statistic)
                    && found.period() == Some(PERIOD)
                    && named(found.dimensions()) == named(&self.dimensions())
            }
        };
        !same_metric
            || found.threshold() != Some(self.threshold)
            || found.evaluation_periods() != Some(self.periods)
            || found.comparison_operator() != Some(&self.comparison)
            || found.alarm_description() != Some(&self.description)
            || found.alarm_actions() != [topic_arn.to_owned()]
            || !found.ok_actions().is_empty()
    }

    /// Creates or changes it. Left to itself CloudWatch would turn its actions on.
    pub(super) async fn put(
        &self,
        aws: &Aws,
        topic_arn: &str,
        tells: bool,
        tags: Option<Vec<Tag>>,
    ) -> Result<()> {
        let request = aws
            .cloudwatch()
            .put_metric_alarm()
            .alarm_name(&self.name)
            .alarm_description(&self.description)
            .comparison_operator(self.comparison.clone())
            .threshold(self.threshold)
            .evaluation_periods(self.periods)
            // App Runner publishes nothing while a service is paused, and no 5xx count before the first 5xx; RDS nothing
            // while the instance is stopped: silence is not an alarm.
            .treat_missing_data("notBreaching")
            // No OK actions: each new alarm would tell that it has got its first data.
            .alarm_actions(topic_arn)
            .actions_enabled(tells)
            .set_tags(tags);
        let request = match self.queries() {
            Some(queries) => request.set_metrics(Some(queries)),
            None => request
                .namespace(self.namespace)
                .metric_name(self.metric)
                .statistic(self.statistic.clone())
                .period(PERIOD)
                .set_dimensions(Some(self.dimensions())),
        };
        request
            .send()
            .await
            .map_err(Error::aws("cloudwatch:PutMetricAlarm"))?;
        Ok(())
    }
}

/// Dimensions without their order, which CloudWatch does not keep.
fn named(dimensions: &[Dimension]) -> BTreeMap<String, String> {
    let pairs = dimensions.iter();
    pairs
        .filter_map(|dimension| Some((dimension.name.clone()?, dimension.value.clone()?)))
        .collect()
}

/// What a query of ours asks for, whatever else CloudWatch says of it.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Asked {
    id: Option<String>,
    expression: Option<String>,
    metric: Option<String>,
    dimensions: BTreeMap<String, String>,
}

impl From<&MetricDataQuery> for Asked {
    fn from(query: &MetricDataQuery) -> Self {
        let metric = query.metric_stat().and_then(MetricStat::metric);
        Self {
            id: query.id.clone(),
            expression: query.expression.clone(),
            metric: metric.and_then(|metric| metric.metric_name.clone()),
            dimensions: metric
                .map(|metric| named(metric.dimensions()))
                .unwrap_or_default(),
        }
    }
}

/// Whether a found alarm watches the service of this id, by itself or in one of its queries.
pub(super) fn watches_service(found: &MetricAlarm, id: &str) -> bool {
    watches(found, SERVICE_ID, id)
}

/// Whether a found alarm watches the database of this name.
pub(super) fn watches_database(found: &MetricAlarm, name: &str) -> bool {
    watches(found, DATABASE, name)
}

/// The name and the id of the service that a found alarm watches.
pub(super) fn service_of(found: &MetricAlarm) -> Option<(String, String)> {
    let value = |name: &str| {
        let mut named = dimensions(found).filter(|it| it.name() == Some(name));
        named.find_map(|it| it.value.clone())
    };
    Some((value(SERVICE_NAME)?, value(SERVICE_ID)?))
}

fn watches(found: &MetricAlarm, dimension: &str, value: &str) -> bool {
    let mut all = dimensions(found);
    all.any(|found| found.name() == Some(dimension) && found.value() == Some(value))
}

fn dimensions(found: &MetricAlarm) -> impl Iterator<Item = &Dimension> {
    let queries = found.metrics().iter();
    let of_queries = queries
        .filter_map(|query| query.metric_stat()?.metric())
        .flat_map(Metric::dimensions);
    found.dimensions().iter().chain(of_queries)
}

#[cfg(test)]
mod tests {
    use super::super::condition::{Condition, MINUTE};
    use super::*;
    use crate::Policy;

    /// As CloudWatch answers it.
    fn found(alarm: &Alarm) -> MetricAlarm {
        let found = MetricAlarm::builder()
            .alarm_name(&alarm.name)
            .threshold(alarm.threshold)
            .comparison_operator(alarm.comparison.clone())
            .evaluation_periods(alarm.periods);
        let found = match alarm.queries() {
            Some(queries) => found.set_metrics(Some(queries)),
            None => found
                .namespace(alarm.namespace)
                .metric_name(alarm.metric)
                .statistic(alarm.statistic.clone())
                .period(PERIOD)
                .set_dimensions(Some(alarm.dimensions())),
        };
        found.build()
    }

    #[test]
    fn the_default_bake_window_is_as_long_as_each_alarm_needs_and_no_five_minutes_longer() {
        let alarms = Alarm::of_service(&Alarms::default(), "shop-dev", "0a", 3);
        let alarms: Vec<_> = alarms.iter().map(found).collect();
        let conditions = Condition::of_service(&alarms, "0a");
        assert_eq!(conditions.len(), alarms.len() - 1, "all but the instances");
        let longest = conditions.iter().map(Condition::sees_within).max();
        let needed = longest.expect("there are alarms");
        let default = i64::from(Policy::default().bake_minutes) * MINUTE;
        assert!(
            needed <= default && default < needed + 5 * MINUTE,
            "{needed} s are needed, {default} s are the default"
        );
    }
}
