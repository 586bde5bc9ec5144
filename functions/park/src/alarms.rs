//! The alarms of a stack, which tell nobody while it is parked.

use crate::schedule::Schedule;
use crate::task::{Outcome, Task};
use aws_sdk_cloudwatch::types::MetricAlarm;
use groundcrew::alarms::set_actions;
use groundcrew::stack::{TAG_APP, TAG_ENVIRONMENT};
use groundcrew::{Aws, Error, Result, Stack, tagged};

/// As many as one call takes (`DisableAlarmActions`, `DescribeAlarms`).
const AT_ONCE: usize = 100;

/// Turns the actions of a stack's alarms off.
pub(crate) async fn off(aws: &Aws, schedule: &Schedule, task: &Task) -> Result<Outcome> {
    if task.look(aws, schedule).await?.is_none() {
        return Ok(task.overtaken());
    }
    set(aws, &task.parts.stack, false).await?;
    Ok(task.done())
}

/// Turns them on. Repeated, it lets all that are red tell once more: rather twice than never.
pub(crate) async fn on(aws: &Aws, schedule: &Schedule, task: &Task) -> Result<Outcome> {
    if task.look(aws, schedule).await?.is_none() {
        return Ok(task.overtaken());
    }
    set_where(aws, &task.parts.stack, true, |_| true).await?;
    Ok(task.done())
}

/// Turns the actions of a stack's alarms on or off where they are not so.
pub(crate) async fn set(aws: &Aws, stack: &Stack, on: bool) -> Result<()> {
    let differs = |alarm: &MetricAlarm| alarm.actions_enabled() != Some(on);
    set_where(aws, stack, on, differs).await
}

/// Turns the actions of these of a stack's alarms on or off; those that carry its tags, and no other.
async fn set_where(
    aws: &Aws,
    stack: &Stack,
    on: bool,
    is_meant: impl Fn(&MetricAlarm) -> bool,
) -> Result<()> {
    let tags = [
        (TAG_APP, stack.app.as_str()),
        (TAG_ENVIRONMENT, &stack.environment),
    ];
    let alarms = tagged::find(aws, &["cloudwatch:alarm"], &tags).await?;
    let names = alarms
        .iter()
        .filter_map(|(arn, _)| arn.split_once(":alarm:"));
    let names: Vec<_> = names.map(|(_, name)| name.to_owned()).collect();
    for names in names.chunks(AT_ONCE) {
        let mut alarms = existing(aws, names).await?;
        alarms.retain(&is_meant);
        let names = alarms.into_iter().filter_map(|it| it.alarm_name);
        set_actions(aws, names.collect(), on).await?;
    }
    Ok(())
}

/// Those of these alarms that there are. The index of tags still lists what was deleted lately; that has no tags any more, and
/// IAM would refuse the call for all of them.
async fn existing(aws: &Aws, names: &[String]) -> Result<Vec<MetricAlarm>> {
    let described = aws
        .cloudwatch()
        .describe_alarms()
        .set_alarm_names(Some(names.to_vec()))
        .max_records(AT_ONCE as i32)
        .send()
        .await
        .map_err(Error::aws("cloudwatch:DescribeAlarms"))?;
    Ok(described.metric_alarms.unwrap_or_default())
}
