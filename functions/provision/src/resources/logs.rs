//! The log groups that App Runner makes for a service, and what becomes of them when it goes. Those of a service that has failed,
//! or is undone, say why: they are kept for a while.

use aws_sdk_apprunner::types::{Service, ServiceStatus};
use groundcrew::stack::{
    TAG_APP, TAG_CREATED_BY, TAG_ENVIRONMENT, TAG_KEPT_BY, TAG_KEPT_UNTIL, TAG_MANAGED, Tags,
};
use groundcrew::{Aws, Error, Removal, Result, Run, Stack, log_group};
use jiff::{SignedDuration, Timestamp};

/// For how many days those of a failed service are kept.
const KEPT_DAYS: i32 = 14;

/// A log group with our tags on it, or with those that somebody else gave it.
struct Tagged {
    name: String,
    retention_days: Option<i32>,
    tags: Tags,
}

/// App Runner makes them without tags; with the service's own they are ours to keep in order and to remove.
pub(super) async fn own(aws: &Aws, run: &Run, service: &Service, tags: &Tags) -> Result<()> {
    if run.dry_run {
        return Ok(());
    }
    for group in of_service(aws, service).await? {
        if group.tags.get(TAG_CREATED_BY) != tags.get(TAG_CREATED_BY) {
            tag(aws, &group.name, ownership(tags)).await?;
        }
    }
    Ok(())
}

/// Before a service is deleted: marks its log groups as ours, for they outlive it, and those that are to be kept as kept.
pub(super) async fn before_deletion(
    aws: &Aws,
    removal: &Removal,
    run: &Run,
    service: &Service,
    tags: &Tags,
) -> Result<()> {
    own(aws, run, service, tags).await?;
    if removal.is_undo() || service.status() == &ServiceStatus::CreateFailed {
        for group in of_service(aws, service).await? {
            keep(aws, run, &group).await?;
        }
    }
    Ok(())
}

/// When the service is gone: removes those that nobody needs. Those that this execution has kept are left, and a later one
/// removes them.
pub(super) async fn destroy(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    for group in of_stack(aws, &removal.stack()).await? {
        if !removal.covers(&group.tags) {
            continue;
        }
        let name = &group.name;
        if removal.is_undo() || group.tags.get(TAG_KEPT_BY) == Some(&run.execution) {
            let until = keep(aws, run, &group).await?;
            run.leave(format!("log group {name} until {until}"));
        } else if run.remove(format!("log group {name}")) {
            aws.logs()
                .delete_log_group()
                .log_group_name(name)
                .send()
                .await
                .map_err(Error::aws("logs:DeleteLogGroup"))?;
        }
    }
    Ok(())
}

/// The tags that say whose something is.
fn ownership(tags: &Tags) -> Tags {
    let mut tags = tags.clone();
    tags.retain(|key, _| {
        [TAG_APP, TAG_ENVIRONMENT, TAG_MANAGED, TAG_CREATED_BY].contains(&key.as_str())
    });
    tags
}

/// Keeps a log group for some days, and never for longer than before. Answers until when, as a date. The function `alarms` may
/// have given it the retention of its stack anew: so the retention is compared each time.
async fn keep(aws: &Aws, run: &Run, group: &Tagged) -> Result<String> {
    let days = group.retention_days.unwrap_or(KEPT_DAYS).min(KEPT_DAYS);
    let end = Timestamp::now() + SignedDuration::from_hours(24 * i64::from(days));
    let end = end.strftime("%Y-%m-%d").to_string();
    let until = group.tags.get(TAG_KEPT_UNTIL).unwrap_or(&end).clone();
    if run.dry_run {
        return Ok(until);
    }
    if group.retention_days != Some(days) {
        aws.logs()
            .put_retention_policy()
            .log_group_name(&group.name)
            .retention_in_days(days)
            .send()
            .await
            .map_err(Error::aws("logs:PutRetentionPolicy"))?;
    }
    if !group.tags.contains_key(TAG_KEPT_UNTIL) {
        let mut tags = ownership(&group.tags);
        tags.insert(TAG_KEPT_BY.into(), run.execution.clone());
        tags.insert(TAG_KEPT_UNTIL.into(), until.clone());
        tag(aws, &group.name, tags).await?;
    }
    Ok(until)
}

async fn of_service(aws: &Aws, service: &Service) -> Result<Vec<Tagged>> {
    let (name, id) = (&service.service_name, &service.service_id);
    list(aws, &log_group::of_service(name, id)).await
}

/// Those of every service that the stack has had.
async fn of_stack(aws: &Aws, stack: &Stack) -> Result<Vec<Tagged>> {
    list(aws, &log_group::of_name(&stack.name())).await
}

async fn list(aws: &Aws, prefix: &str) -> Result<Vec<Tagged>> {
    let mut tagged = Vec::new();
    for group in log_group::groups(aws, prefix).await? {
        let name = group.log_group_name.unwrap_or_default();
        let tags = aws.logs().list_tags_for_resource();
        let tags = tags
            .resource_arn(aws.account.log_group_arn(&name))
            .send()
            .await;
        let tags = tags.map_err(Error::aws("logs:ListTagsForResource"))?;
        tagged.push(Tagged {
            name,
            retention_days: group.retention_in_days,
            tags: tags.tags.unwrap_or_default().into_iter().collect(),
        });
    }
    Ok(tagged)
}

/// IAM allows it if our own tag is among them.
async fn tag(aws: &Aws, name: &str, tags: Tags) -> Result<()> {
    aws.logs()
        .tag_resource()
        .resource_arn(aws.account.log_group_arn(name))
        .set_tags(Some(tags.into_iter().collect()))
        .send()
        .await
        .map_err(Error::aws("logs:TagResource"))?;
    Ok(())
}
