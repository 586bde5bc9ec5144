//! The dashboard of a stack.

use super::PERIOD;
use crate::error::found;
use crate::stack::{TAG_CREATED_BY, Tags};
use crate::{Aws, Error, Result, Run, Stack};
use aws_sdk_apprunner::types::Service;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use serde_json::{Value, json};

/// IAM goes by its tags. The code goes by its first widget, which names the owner as well: `GetDashboard` answers no tags.
pub(super) async fn keep(aws: &Aws, stack: &Stack, run: &mut Run, service: &Service) -> Result<()> {
    let name = name(aws, stack);
    let found = find(aws, &name).await?;
    if let Some(body) = &found {
        let tags = tags(body);
        if !stack.owns(&tags) {
            return Err(Error::Conflict(format!("dashboard {name}")));
        }
        run.settle(&tags);
    }
    let created_by = found
        .as_ref()
        .and_then(|body| tags(body).get(TAG_CREATED_BY).cloned());
    let wanted = body(
        aws,
        &stack.tags(created_by.as_deref().unwrap_or(&run.execution)),
        service,
    );
    let write = match &found {
        None => run.create(format!("dashboard {name}")),
        Some(body) => body != &wanted && run.change(format!("dashboard {name}")),
    };
    if write {
        // Of an existing dashboard CloudWatch ignores the tags, and IAM does not (`PutDashboard`, `Tags`).
        let tags = found.is_none().then(|| super::tag_list(stack, run));
        aws.cloudwatch()
            .put_dashboard()
            .dashboard_name(&name)
            .dashboard_body(wanted.to_string())
            .set_tags(tags)
            .send()
            .await
            .map_err(Error::aws("cloudwatch:PutDashboard"))?;
    }
    Ok(())
}

/// Content if nobody else has the dashboard.
pub(super) async fn is_free(aws: &Aws, stack: &Stack) -> Result<()> {
    let name = name(aws, stack);
    match find(aws, &name).await? {
        Some(body) if !stack.owns(&tags(&body)) => {
            Err(Error::Conflict(format!("dashboard {name}")))
        }
        _ => Ok(()),
    }
}

/// Dashboards have one name space for all regions, and a stack may stand in several.
fn name(aws: &Aws, stack: &Stack) -> String {
    Stack::watcher(&stack.part(&aws.account.region))
}

fn body(aws: &Aws, tags: &Tags, service: &Service) -> Value {
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

fn tags(body: &Value) -> Tags {
    let text = body["widgets"][0]["properties"]["markdown"]
        .as_str()
        .unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

async fn find(aws: &Aws, name: &str) -> Result<Option<Value>> {
    let asked = aws.cloudwatch().get_dashboard().dashboard_name(name);
    let dashboard = found(
        asked.send().await,
        |error| error.is_dashboard_not_found_error() || error.code() == Some("ResourceNotFound"),
        "cloudwatch:GetDashboard",
    )?;
    Ok(dashboard.map(|dashboard| {
        let body = dashboard.dashboard_body;
        body.and_then(|body| serde_json::from_str(&body).ok())
            .unwrap_or_default()
    }))
}

/// Removes the one that groundcrew 0.1 made, which has another name and no tags, if `goes` says so of what its body tells of
/// its owner (until 0.3.0).
pub(super) async fn retire(
    aws: &Aws,
    stack: &Stack,
    run: &mut Run,
    goes: impl Fn(&Tags) -> bool,
) -> Result<()> {
    let name = stack.part(&aws.account.region);
    let found = find(aws, &name).await?;
    if !found.is_some_and(|body| goes(&tags(&body))) || !run.remove(format!("dashboard {name}")) {
        return Ok(());
    }
    aws.cloudwatch()
        .tag_resource()
        .resource_arn(aws.account.dashboard_arn(&name))
        .set_tags(Some(super::tag_list(stack, run)))
        .send()
        .await
        .map_err(Error::aws("cloudwatch:TagResource"))?;
    delete(aws, name).await
}

/// Removes it, if `goes` says so of its tags and its body.
pub(super) async fn remove(
    aws: &Aws,
    stack: &Stack,
    run: &mut Run,
    goes: impl Fn(&Tags, &str) -> bool,
) -> Result<()> {
    let name = name(aws, stack);
    let found = find(aws, &name).await?;
    if found.is_some_and(|body| goes(&tags(&body), &body.to_string()))
        && run.remove(format!("dashboard {name}"))
    {
        delete(aws, name).await?;
    }
    Ok(())
}

async fn delete(aws: &Aws, name: String) -> Result<()> {
    aws.cloudwatch()
        .delete_dashboards()
        .dashboard_names(name)
        .send()
        .await
        .map_err(Error::aws("cloudwatch:DeleteDashboards"))?;
    Ok(())
}
