//! The alarms of a stack with the topic that they tell, the dashboard, and the retention of the service's logs.

use super::service;
use crate::stack::{TAG_CREATED_BY, Tags};
use crate::step::{Removal, Run};
use crate::{Aws, Error, Result, Spec, Stack};
use aws_sdk_apprunner::types::Service;
use aws_sdk_cloudwatch::types::{
    ComparisonOperator, Dimension, Metric, MetricAlarm, MetricDataQuery, MetricStat, Statistic, Tag,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Seconds of one data point.
const PERIOD: i32 = 300;

pub(super) async fn ensure(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let stack = &spec.stack();
    let topic_arn = topic(aws, spec, run).await?;
    let Some(service) = service::find(aws, &stack.name()).await? else {
        if run.dry_run {
            let _ = run.create(format!("alarms and dashboard of {stack}"));
            return Ok(());
        }
        return Err(Error::NotReady(format!(
            "service {stack}, which the alarms watch,"
        )));
    };
    alarms(aws, spec, run, &service, &topic_arn).await?;
    dashboard(aws, stack, run, &service).await?;
    log_retention(aws, spec, run, &service).await?;
    run.tell("topic_arn", topic_arn);
    Ok(())
}

/// One alarm, as data: what `put` sends and what `differs` compares.
#[derive(Debug, PartialEq)]
struct Alarm {
    name: String,
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
    /// The alarms of a stack. The dimensions of App Runner are `ServiceName` with `ServiceID`: CloudWatch keeps
    /// statistics only for combinations that were published, so an alarm on `ServiceName` alone never gets data.
    fn of(spec: &Spec, service_id: &str) -> Vec<Self> {
        let stack = spec.stack();
        let wanted = &spec.alarms;
        let app_runner =
            |part: &str, metric, statistic, threshold: f64, periods, sentence: &str| Self {
                name: stack.part(part),
                description: format!("{stack}: {sentence}"),
                namespace: "AWS/AppRunner",
                metric,
                statistic,
                comparison: ComparisonOperator::GreaterThanOrEqualToThreshold,
                threshold,
                periods,
                dimensions: vec![
                    ("ServiceName", stack.name()),
                    ("ServiceID", service_id.to_owned()),
                ],
                percent_of: None,
            };
        let rds = |part: &str, metric, comparison, threshold: f64, periods, sentence: &str| Self {
            name: stack.part(part),
            description: format!("{stack}: {sentence}"),
            namespace: "AWS/RDS",
            metric,
            statistic: Statistic::Average,
            comparison,
            threshold,
            periods,
            dimensions: vec![("DBInstanceIdentifier", stack.name())],
            percent_of: None,
        };
        let above = ComparisonOperator::GreaterThanOrEqualToThreshold;
        vec![
            app_runner(
                "cpu",
                "CPUUtilization",
                Statistic::Average,
                wanted.cpu_percent.into(),
                3,
                "the instances are short of CPU",
            ),
            app_runner(
                "memory",
                "MemoryUtilization",
                Statistic::Average,
                wanted.memory_percent.into(),
                3,
                "the instances are short of memory",
            ),
            app_runner(
                "latency",
                "RequestLatency",
                Statistic::Average,
                wanted.latency_milliseconds.into(),
                2,
                "requests take too long",
            ),
            app_runner(
                "server-errors",
                "5xxStatusResponses",
                Statistic::Sum,
                wanted.server_errors.into(),
                1,
                "requests fail with 5xx",
            ),
            Self {
                percent_of: Some("Requests"),
                ..app_runner(
                    "client-errors",
                    "4xxStatusResponses",
                    Statistic::Sum,
                    wanted.client_error_percent.into(),
                    3,
                    "a large part of the requests is answered with 4xx",
                )
            },
            app_runner(
                "instances",
                "ActiveInstances",
                Statistic::Maximum,
                spec.service.scaling.max_size.into(),
                3,
                "the service runs at its largest size",
            ),
            rds(
                "database-cpu",
                "CPUUtilization",
                above.clone(),
                wanted.database_cpu_percent.into(),
                3,
                "the database is short of CPU",
            ),
            rds(
                "database-connections",
                "DatabaseConnections",
                above,
                wanted.database_connections.into(),
                2,
                "the database has many connections",
            ),
            rds(
                "database-storage",
                "FreeStorageSpace",
                ComparisonOperator::LessThanOrEqualToThreshold,
                f64::from(wanted.database_free_storage_gib) * 1024.0 * 1024.0 * 1024.0,
                1,
                "the database is short of storage",
            ),
        ]
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

    fn differs(&self, found: &MetricAlarm, topic_arn: &str) -> bool {
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
            || found.ok_actions() != [topic_arn.to_owned()]
    }

    async fn put(&self, aws: &Aws, topic_arn: &str, tags: Option<Vec<Tag>>) -> Result<()> {
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
            .alarm_actions(topic_arn)
            .ok_actions(topic_arn)
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

async fn alarms(
    aws: &Aws,
    spec: &Spec,
    run: &mut Run,
    service: &Service,
    topic_arn: &str,
) -> Result<()> {
    let stack = &spec.stack();
    let existing = find(aws, stack).await?;
    for alarm in Alarm::of(spec, &service.service_id) {
        let Some(found) = existing
            .iter()
            .find(|found| found.alarm_name() == Some(&alarm.name))
        else {
            if run.create(format!("alarm {}", alarm.name)) {
                alarm
                    .put(aws, topic_arn, Some(tag_list(stack, run)))
                    .await?;
            }
            continue;
        };
        let tags = tags(aws, &alarm.name).await?;
        if !stack.owns(&tags) {
            return Err(Error::Conflict(format!("alarm {}", alarm.name)));
        }
        run.settle(&tags);
        if alarm.differs(found, topic_arn) && run.change(format!("alarm {}", alarm.name)) {
            alarm.put(aws, topic_arn, None).await?;
        }
    }
    Ok(())
}

/// The topic that the alarms tell: the spec's, or one of the stack's own.
async fn topic(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<String> {
    if let Some(topic_arn) = &spec.alarms.topic_arn {
        return Ok(topic_arn.clone());
    }
    let stack = &spec.stack();
    let name = stack.part("alarms");
    let topic_arn = aws.account.topic_arn(&name);
    match topic_tags(aws, &topic_arn).await? {
        Some(tags) if stack.owns(&tags) => run.settle(&tags),
        Some(_) => return Err(Error::Conflict(format!("topic {name}"))),
        None if run.create(format!("topic {name}")) => {
            let tags = stack.tags(&run.execution);
            let tag = |(key, value): (&String, &String)| {
                aws_sdk_sns::types::Tag::builder()
                    .key(key)
                    .value(value)
                    .build()
                    .map_err(Error::built)
            };
            aws.sns()
                .create_topic()
                .name(&name)
                .set_tags(Some(tags.iter().map(tag).collect::<Result<_>>()?))
                .send()
                .await
                .map_err(Error::aws("sns:CreateTopic"))?;
        }
        None => return Ok(topic_arn),
    }
    if let Some(email) = &spec.alarms.email {
        let subscriptions = aws
            .sns()
            .list_subscriptions_by_topic()
            .topic_arn(&topic_arn)
            .send()
            .await
            .map_err(Error::aws("sns:ListSubscriptionsByTopic"))?;
        let subscribed = subscriptions
            .subscriptions()
            .iter()
            .any(|subscription| subscription.endpoint() == Some(email));
        if !subscribed && run.change(format!("topic {name}: write to {email}")) {
            aws.sns()
                .subscribe()
                .topic_arn(&topic_arn)
                .protocol("email")
                .endpoint(email)
                .send()
                .await
                .map_err(Error::aws("sns:Subscribe"))?;
        }
    }
    Ok(topic_arn)
}

async fn topic_tags(aws: &Aws, topic_arn: &str) -> Result<Option<Tags>> {
    match aws
        .sns()
        .list_tags_for_resource()
        .resource_arn(topic_arn)
        .send()
        .await
    {
        Ok(found) => Ok(Some(
            found
                .tags
                .unwrap_or_default()
                .into_iter()
                .map(|tag| (tag.key, tag.value))
                .collect(),
        )),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_resource_not_found_exception()) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::aws("sns:ListTagsForResource")(error)),
    }
}

/// CloudWatch cannot tag a dashboard, so its first widget says whose it is.
async fn dashboard(aws: &Aws, stack: &Stack, run: &mut Run, service: &Service) -> Result<()> {
    let name = dashboard_name(aws, stack);
    let found = find_dashboard(aws, &name).await?;
    if let Some(body) = &found {
        let tags = dashboard_tags(body);
        if !stack.owns(&tags) {
            return Err(Error::Conflict(format!("dashboard {name}")));
        }
        run.settle(&tags);
    }
    let created_by = found
        .as_ref()
        .and_then(|body| dashboard_tags(body).get(TAG_CREATED_BY).cloned());
    let wanted = dashboard_body(
        aws,
        &stack.tags(created_by.as_deref().unwrap_or(&run.execution)),
        service,
    );
    let write = match &found {
        None => run.create(format!("dashboard {name}")),
        Some(body) => body != &wanted && run.change(format!("dashboard {name}")),
    };
    if write {
        aws.cloudwatch()
            .put_dashboard()
            .dashboard_name(&name)
            .dashboard_body(wanted.to_string())
            .send()
            .await
            .map_err(Error::aws("cloudwatch:PutDashboard"))?;
    }
    Ok(())
}

/// Dashboards have one name space for all regions, and a stack may stand in several.
fn dashboard_name(aws: &Aws, stack: &Stack) -> String {
    stack.part(&aws.account.region)
}

fn dashboard_body(aws: &Aws, tags: &Tags, service: &Service) -> Value {
    let owner: Vec<_> = tags
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let (name, id) = (&service.service_name, &service.service_id);
    let app_runner = |metric: &str, statistic: &str| json!(["AWS/AppRunner", metric, "ServiceName", name, "ServiceID", id, {"stat": statistic}]);
    let rds = |metric: &str, statistic: &str| json!(["AWS/RDS", metric, "DBInstanceIdentifier", name, {"stat": statistic}]);
    let graphs = [
        (
            "Requests",
            vec![
                app_runner("Requests", "Sum"),
                app_runner("4xxStatusResponses", "Sum"),
                app_runner("5xxStatusResponses", "Sum"),
            ],
        ),
        (
            "Latency in milliseconds",
            vec![
                app_runner("RequestLatency", "Average"),
                app_runner("RequestLatency", "Maximum"),
            ],
        ),
        (
            "CPU and memory in percent",
            vec![
                app_runner("CPUUtilization", "Average"),
                app_runner("MemoryUtilization", "Average"),
            ],
        ),
        (
            "Active instances",
            vec![app_runner("ActiveInstances", "Maximum")],
        ),
        (
            "Database: CPU in percent",
            vec![rds("CPUUtilization", "Average")],
        ),
        (
            "Database: connections",
            vec![rds("DatabaseConnections", "Average")],
        ),
        (
            "Database: free storage in bytes",
            vec![rds("FreeStorageSpace", "Average")],
        ),
    ];
    let text = json!({"type": "text", "x": 0, "y": 0, "width": 24, "height": 2, "properties": {"markdown": owner.join("\n")}});
    let widgets = graphs.into_iter().enumerate().map(|(n, (title, metrics))| {
        json!({
            "type": "metric", "x": n % 2 * 12, "y": 2 + n / 2 * 6, "width": 12, "height": 6,
            "properties": {"title": title, "region": aws.account.region, "period": PERIOD, "metrics": metrics},
        })
    });
    json!({"widgets": std::iter::once(text).chain(widgets).collect::<Vec<_>>()})
}

fn dashboard_tags(body: &Value) -> Tags {
    let text = body["widgets"][0]["properties"]["markdown"]
        .as_str()
        .unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

async fn find_dashboard(aws: &Aws, name: &str) -> Result<Option<Value>> {
    match aws
        .cloudwatch()
        .get_dashboard()
        .dashboard_name(name)
        .send()
        .await
    {
        Ok(found) => Ok(Some(
            found
                .dashboard_body
                .and_then(|body| serde_json::from_str(&body).ok())
                .unwrap_or_default(),
        )),
        Err(error)
            if error.as_service_error().is_some_and(|error| {
                use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
                error.is_dashboard_not_found_error() || error.code() == Some("ResourceNotFound")
            }) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::aws("cloudwatch:GetDashboard")(error)),
    }
}

/// Sets the retention of the groups that App Runner made; it cannot be given to them beforehand.
async fn log_retention(aws: &Aws, spec: &Spec, run: &mut Run, service: &Service) -> Result<()> {
    let days = i32::from(spec.log_retention_days);
    let groups = aws
        .logs()
        .describe_log_groups()
        .log_group_name_prefix(format!(
            "/aws/apprunner/{}/{}/",
            service.service_name, service.service_id
        ))
        .send()
        .await
        .map_err(Error::aws("logs:DescribeLogGroups"))?;
    for group in groups.log_groups.unwrap_or_default() {
        let name = group.log_group_name.unwrap_or_default();
        if group.retention_in_days != Some(days)
            && run.change(format!("log group {name}: keep {days} days"))
        {
            aws.logs()
                .put_retention_policy()
                .log_group_name(name)
                .retention_in_days(days)
                .send()
                .await
                .map_err(Error::aws("logs:PutRetentionPolicy"))?;
        }
    }
    Ok(())
}

pub(super) async fn destroy(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    let stack = &removal.stack();
    for alarm in find(aws, stack).await? {
        let name = alarm.alarm_name.unwrap_or_default();
        if removal.covers(&tags(aws, &name).await?) && run.remove(format!("alarm {name}")) {
            aws.cloudwatch()
                .delete_alarms()
                .alarm_names(name)
                .send()
                .await
                .map_err(Error::aws("cloudwatch:DeleteAlarms"))?;
        }
    }
    let name = dashboard_name(aws, stack);
    let found = find_dashboard(aws, &name).await?;
    if found.is_some_and(|body| removal.covers(&dashboard_tags(&body)))
        && run.remove(format!("dashboard {name}"))
    {
        aws.cloudwatch()
            .delete_dashboards()
            .dashboard_names(name)
            .send()
            .await
            .map_err(Error::aws("cloudwatch:DeleteDashboards"))?;
    }
    let topic_arn = aws.account.topic_arn(&stack.part("alarms"));
    let tags = topic_tags(aws, &topic_arn).await?;
    if tags.is_some_and(|tags| removal.covers(&tags)) && run.remove(format!("topic {topic_arn}")) {
        aws.sns()
            .delete_topic()
            .topic_arn(topic_arn)
            .send()
            .await
            .map_err(Error::aws("sns:DeleteTopic"))?;
    }
    Ok(())
}

/// The alarms whose name begins with the stack's, whoever owns them.
async fn find(aws: &Aws, stack: &Stack) -> Result<Vec<MetricAlarm>> {
    let mut found = Vec::new();
    let mut pages = aws
        .cloudwatch()
        .describe_alarms()
        .alarm_name_prefix(stack.part(""))
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        found.extend(
            page.map_err(Error::aws("cloudwatch:DescribeAlarms"))?
                .metric_alarms
                .unwrap_or_default(),
        );
    }
    Ok(found)
}

async fn tags(aws: &Aws, alarm: &str) -> Result<Tags> {
    let found = aws
        .cloudwatch()
        .list_tags_for_resource()
        .resource_arn(aws.account.alarm_arn(alarm))
        .send()
        .await
        .map_err(Error::aws("cloudwatch:ListTagsForResource"))?;
    Ok(found
        .tags
        .unwrap_or_default()
        .into_iter()
        .filter_map(|tag| Some((tag.key?, tag.value?)))
        .collect())
}

fn tag_list(stack: &Stack, run: &Run) -> Vec<Tag> {
    stack
        .tags(&run.execution)
        .iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}
