//! The two log groups that App Runner makes for a service, `/aws/apprunner/NAME/ID/service` and `…/application` (developer guide,
//! "Viewing App Runner logs streamed to CloudWatch Logs").

use crate::arn::ServiceArn;
use crate::environment::Account;
use crate::{Aws, Error, Result, pages};
use aws_sdk_cloudwatchlogs::types::{LogGroup, OrderBy};

const ROOT: &str = "/aws/apprunner/";

/// How the log groups of each service begin that has had this name.
pub fn of_name(service: &str) -> String {
    format!("{ROOT}{service}/")
}

/// How the log groups of the service of this name and id begin.
pub fn of_service(service: &str, id: &str) -> String {
    format!("{ROOT}{service}/{id}/")
}

/// The log group of App Runner's own lines.
pub fn events(service: &str, id: &str) -> String {
    of_service(service, id) + "service"
}

/// The log group of what the application writes.
pub fn output(service: &str, id: &str) -> String {
    of_service(service, id) + "application"
}

/// The service that App Runner made a log group for.
pub fn service_of(account: &Account, group: &str) -> Option<ServiceArn> {
    let mut parts = group.strip_prefix(ROOT)?.split('/');
    let (name, id) = (parts.next()?, parts.next()?);
    Some(ServiceArn::new(account, name, id))
}

/// The log groups whose names begin so.
///
/// # Errors
/// Those of [`Error`].
pub async fn groups(aws: &Aws, prefix: &str) -> Result<Vec<LogGroup>> {
    pages::all(async |token| {
        let groups = aws.logs().describe_log_groups();
        let groups = groups.log_group_name_prefix(prefix).set_next_token(token);
        let page = groups.send().await;
        let page = page.map_err(Error::aws("logs:DescribeLogGroups"))?;
        Ok((page.log_groups.unwrap_or_default(), page.next_token))
    })
    .await
}

/// When the newest line of a log group was written, in milliseconds since 1970; `None` if none ever was. CloudWatch Logs knows it
/// within an hour (API reference, `LogStream`).
///
/// # Errors
/// Those of [`Error`].
pub async fn last_written(aws: &Aws, group: &str) -> Result<Option<i64>> {
    let streams = aws.logs().describe_log_streams().log_group_name(group);
    let newest = streams.order_by(OrderBy::LastEventTime).descending(true);
    let newest = newest.limit(1).send().await;
    let newest = newest.map_err(Error::aws("logs:DescribeLogStreams"))?;
    let newest = newest.log_streams.unwrap_or_default().into_iter().next();
    Ok(newest.and_then(|stream| stream.last_event_timestamp))
}
