//! Whether alarms tell somebody: their actions are on, or off.

use super::AT_ONCE;
use super::alarm::service_of;
use crate::{Aws, Error, Managed, Result};
use aws_sdk_apprunner::types::ServiceStatus;
use aws_sdk_cloudwatch::types::StateValue;

/// Whether alarms have their actions on; `None`: as they are.
#[derive(Clone, Copy, Default)]
pub(super) struct Tells {
    pub(super) of_service: Option<bool>,
    pub(super) of_database: Option<bool>,
}

impl Tells {
    /// A service that is paused has nothing to tell, whoever paused it; its database has, unless it is parked with it. What is
    /// about to be parked or woken is the business of `park`.
    pub(super) fn of(managed: &Managed) -> Self {
        let paused = managed.service.status() == &ServiceStatus::Paused;
        match managed.mark() {
            Some(mark) if mark.pausing && !paused => Self::default(),
            Some(mark) if mark.pausing => Self {
                of_service: Some(false),
                of_database: None,
            },
            Some(_) if paused => Self {
                of_service: Some(false),
                of_database: Some(false),
            },
            None if paused => Self {
                of_service: Some(false),
                of_database: None,
            },
            _ => Self {
                of_service: Some(true),
                of_database: Some(true),
            },
        }
    }
}

/// Turns the actions of alarms on or off. All of them have to be there: of what has no tags IAM refuses the whole call. An alarm
/// of a database that is red when its actions go on tells that.
///
/// # Errors
/// Those of `cloudwatch:EnableAlarmActions`, `DisableAlarmActions`, `DescribeAlarms` and `SetAlarmState`.
pub async fn set_actions(aws: &Aws, names: Vec<String>, on: bool) -> Result<()> {
    for names in names.chunks(AT_ONCE) {
        let names = names.to_vec();
        if on {
            let enabled = aws.cloudwatch().enable_alarm_actions();
            enabled
                .set_alarm_names(Some(names.clone()))
                .send()
                .await
                .map_err(Error::aws("cloudwatch:EnableAlarmActions"))?;
            tell_again(aws, names).await?;
        } else {
            let disabled = aws.cloudwatch().disable_alarm_actions();
            disabled
                .set_alarm_names(Some(names))
                .send()
                .await
                .map_err(Error::aws("cloudwatch:DisableAlarmActions"))?;
        }
    }
    Ok(())
}

/// CloudWatch acts when an alarm changes its state, so one that turned red while its actions were off would never tell. It is set
/// to no state, and CloudWatch puts it back to what its data say, "often within seconds" (API reference, `SetAlarmState`): that
/// is a change, and no alarm of ours has an action for having no data.
///
/// Those of databases alone. A service tells until it is paused, publishes nothing then, and silence is no alarm; and a bake would
/// take one of a service that turns red again for the new image's.
async fn tell_again(aws: &Aws, names: Vec<String>) -> Result<()> {
    let described = aws.cloudwatch().describe_alarms();
    let described = described.set_alarm_names(Some(names));
    let described = described.state_value(StateValue::Alarm);
    let described = described.max_records(AT_ONCE as i32).send().await;
    let described = described.map_err(Error::aws("cloudwatch:DescribeAlarms"))?;
    let red = described.metric_alarms().iter();
    for alarm in red.filter(|it| service_of(it).is_none()) {
        aws.cloudwatch()
            .set_alarm_state()
            .set_alarm_name(alarm.alarm_name.clone())
            .state_value(StateValue::InsufficientData)
            .state_reason("its actions are on again, and what is red is told")
            .send()
            .await
            .map_err(Error::aws("cloudwatch:SetAlarmState"))?;
    }
    Ok(())
}
