//! How long the logs of a service are kept.

use crate::{Aws, Error, Result, Run, Stack, Watch, log_group};
use aws_sdk_apprunner::types::Service;

/// Sets the retention of the groups that App Runner made; it cannot be given to them beforehand. IAM allows it for groups
/// with our tag.
pub(super) async fn keep(
    aws: &Aws,
    stack: &Stack,
    service: &Service,
    watch: &Watch,
    run: &mut Run,
) -> Result<()> {
    let days = i32::from(watch.log_retention_days);
    let prefix = log_group::of_service(&service.service_name, &service.service_id);
    for group in log_group::groups(aws, &prefix).await? {
        let name = group.log_group_name.unwrap_or_default();
        if group.retention_in_days == Some(days)
            || !run.change(format!("log group {name}: keep {days} days"))
        {
            continue;
        }
        aws.logs()
            .tag_resource()
            .resource_arn(aws.account.log_group_arn(&name))
            .set_tags(Some(stack.owner().into_iter().collect()))
            .send()
            .await
            .map_err(Error::aws("logs:TagResource"))?;
        aws.logs()
            .put_retention_policy()
            .log_group_name(name)
            .retention_in_days(days)
            .send()
            .await
            .map_err(Error::aws("logs:PutRetentionPolicy"))?;
    }
    Ok(())
}
