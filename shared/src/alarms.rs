//! The alarms of a stack with the topic that they tell, the dashboard, and the retention of the service's logs.

mod actions;
mod alarm;
mod condition;
mod dashboard;
mod log_retention;
mod topic;
mod watched;

pub use actions::set_actions;
pub use condition::{Breach, Condition, MINUTE, Point, first_minute};

use crate::stack::Tags;
use crate::{
    Aws, Error, Managed, Removal, Result, Run, Spec, Stack, Watch, database, managed, tagged,
};
use actions::Tells;
use alarm::{Alarm, service_of, watches_database, watches_service};
use aws_sdk_apprunner::types::{Service, ServiceStatus};
use aws_sdk_cloudwatch::types::{MetricAlarm, Tag};
use std::collections::BTreeSet;
use watched::Watched;

/// Seconds of one data point.
const PERIOD: i32 = 300;

/// Puts up what a spec wants watched, and takes down what it does not.
///
/// # Errors
/// [`Error::NotReady`] while there is no service to watch; otherwise those of AWS.
pub async fn ensure(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let stack = &spec.stack();
    let topic_arn = topic::ensure(aws, spec, run).await?;
    let Some(service) = managed::named(aws, &stack.name()).await? else {
        if run.dry_run {
            are_free(aws, spec).await?;
            let _ = run.create(format!("alarms and dashboard of {stack}"));
            return Ok(());
        }
        return Err(Error::NotReady(format!(
            "service {stack}, which the alarms watch,"
        )));
    };
    let watched = Watched {
        stack,
        service: &service,
        max_size: match service.status() {
            // Its update waits until it runs, and what follows it says the same of its alarms.
            ServiceStatus::Paused => max_size(aws, &service).await?,
            _ => spec.service.scaling.max_size.into(),
        },
        has_database: true,
        watch: &Watch::of(spec),
        topic_arn: &topic_arn,
        tells: Tells::default(),
        retires: false,
    };
    watched.keep(aws, run).await?;
    run.tell("topic_arn", topic_arn);
    Ok(())
}

/// Brings the alarms, the dashboard and the log retention of a service in line with what it is now, and with what its tags
/// say of them. One that is in an operation is left for the end of it, and one that cannot run for `provision`. Alarms of a
/// service that tells of no topic tell `fallback_topic_arn`.
///
/// # Errors
/// Those of AWS; `Conflict` if an alarm of that name is somebody else's.
pub async fn follow(
    aws: &Aws,
    managed: &Managed,
    fallback_topic_arn: &str,
    run: &mut Run,
) -> Result<()> {
    let (service, Some(stack)) = (&managed.service, tagged::stack_of(&managed.tags)) else {
        return Ok(());
    };
    let status = service.status();
    if ![ServiceStatus::Running, ServiceStatus::Paused].contains(status) {
        return Ok(());
    }
    let stack = &stack;
    let watch = &Watch::parse(&managed.tags)?;
    let watched = Watched {
        stack,
        service,
        max_size: max_size(aws, service).await?,
        has_database: has_database(aws, stack).await?,
        watch,
        topic_arn: &topic::of(aws, managed, stack, watch, fallback_topic_arn).await?,
        tells: Tells::of(managed),
        retires: true,
    };
    watched.keep(aws, run).await?;
    match watched.is_main() {
        true => dashboard::retire(aws, stack, run, |tags| stack.owns(tags)).await,
        false => Ok(()),
    }
}

/// Removes the alarms of a service that is gone, and those of a database that is gone with it.
///
/// # Errors
/// Those of AWS.
pub async fn forget(aws: &Aws, name: &str, id: &str, run: &mut Run) -> Result<()> {
    let mut found = find(aws, &format!("{name}-")).await?;
    found.retain(|alarm| watches_service(alarm, id) || watches_database(alarm, name));
    if found.is_empty() {
        return Ok(()); // most services are nobody's whom we watch
    }
    let has_database = database::find(aws, name).await?.is_some();
    let mut gone = Vec::new();
    let mut stack = None;
    for alarm in found {
        let of_database = !has_database && watches_database(&alarm, name);
        if !of_database && !watches_service(&alarm, id) {
            continue;
        }
        let name = alarm.alarm_name.unwrap_or_default();
        let owner = tagged::stack_of(&tags(aws, &name).await?);
        if owner.is_some() && run.remove(format!("alarm {name}")) {
            gone.push(name);
        }
        stack = owner.or(stack);
    }
    // The dashboard first: by the tags of the alarms a repetition knows whose it is.
    if let Some(stack) = stack.filter(|stack| !has_database && stack.name() == name) {
        // That of a service which has taken its place by now speaks of another id.
        let is_its = |tags: &Tags, body: &str| stack.owns(tags) && body.contains(id);
        dashboard::remove(aws, &stack, run, is_its).await?;
    }
    delete(aws, gone).await
}

/// The names and ids of the services that these alarms watch; there may be no such alarm any more.
///
/// # Errors
/// Those of `cloudwatch:DescribeAlarms`.
pub async fn services_of(aws: &Aws, names: &[String]) -> Result<BTreeSet<(String, String)>> {
    let mut services = BTreeSet::new();
    for names in names.chunks(AT_ONCE) {
        let described = aws.cloudwatch().describe_alarms();
        let described = described.set_alarm_names(Some(names.to_vec()));
        let described = described.max_records(AT_ONCE as i32).send().await;
        let described = described.map_err(Error::aws("cloudwatch:DescribeAlarms"))?;
        services.extend(described.metric_alarms().iter().filter_map(service_of));
    }
    Ok(services)
}

/// Removes everything that watches a stack, within the removal's limits.
///
/// # Errors
/// Those of AWS.
pub async fn destroy(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    let stack = &removal.stack();
    for alarm in find(aws, &stack.part("")).await? {
        let name = alarm.alarm_name.unwrap_or_default();
        if removal.covers(&tags(aws, &name).await?) && run.remove(format!("alarm {name}")) {
            delete(aws, vec![name]).await?;
        }
    }
    dashboard::remove(aws, stack, run, |tags, _| removal.covers(tags)).await?;
    dashboard::retire(aws, stack, run, |tags| removal.covers(tags)).await?;
    topic::destroy(aws, removal, run).await
}

/// Content if nobody else has what will watch a service that is not there yet.
async fn are_free(aws: &Aws, spec: &Spec) -> Result<()> {
    let (stack, thresholds) = (&spec.stack(), &spec.alarms);
    let name = stack.name();
    let mut wanted = Alarm::of_service(thresholds, &name, "", 0);
    wanted.extend(Alarm::of_database(thresholds, &name));
    for found in find(aws, &stack.part("")).await? {
        let found = found.alarm_name.unwrap_or_default();
        let is_wanted = wanted.iter().any(|alarm| alarm.name == found);
        if is_wanted && !stack.owns(&tags(aws, &found).await?) {
            return Err(Error::Conflict(format!("alarm {found}")));
        }
    }
    dashboard::is_free(aws, stack).await
}

/// The most instances that a service may have.
async fn max_size(aws: &Aws, service: &Service) -> Result<i32> {
    let summary = service.auto_scaling_configuration_summary();
    let described = aws
        .apprunner()
        .describe_auto_scaling_configuration()
        .set_auto_scaling_configuration_arn(
            summary.and_then(|summary| summary.auto_scaling_configuration_arn.clone()),
        )
        .send()
        .await
        .map_err(Error::aws("apprunner:DescribeAutoScalingConfiguration"))?;
    let configuration = described.auto_scaling_configuration;
    Ok(configuration
        .and_then(|configuration| configuration.max_size)
        .unwrap_or(25)) // as App Runner has it (`CreateAutoScalingConfiguration`)
}

async fn has_database(aws: &Aws, stack: &Stack) -> Result<bool> {
    let found = database::find(aws, &stack.name()).await?;
    Ok(found.is_some_and(|found| stack.owns(&database::tags(found.tag_list()))))
}

/// As many as one call takes (`DescribeAlarms`, `DisableAlarmActions`, `DeleteAlarms`).
const AT_ONCE: usize = 100;

/// The alarms whose name begins so, whoever owns them.
///
/// # Errors
/// Those of `cloudwatch:DescribeAlarms`.
pub async fn find(aws: &Aws, prefix: &str) -> Result<Vec<MetricAlarm>> {
    let mut found = Vec::new();
    let mut pages = aws
        .cloudwatch()
        .describe_alarms()
        .alarm_name_prefix(prefix)
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

async fn delete(aws: &Aws, names: Vec<String>) -> Result<()> {
    for names in names.chunks(AT_ONCE) {
        aws.cloudwatch()
            .delete_alarms()
            .set_alarm_names(Some(names.to_vec()))
            .send()
            .await
            .map_err(Error::aws("cloudwatch:DeleteAlarms"))?;
    }
    Ok(())
}
