//! A service, and all that watches it as it should be.

use super::actions::{Tells, set_actions};
use super::alarm::{Alarm, watches_database};
use super::{dashboard, delete, find, log_retention, tag_list, tags};
use crate::{Aws, Error, Result, Run, Stack, Watch};
use aws_sdk_apprunner::types::Service;
use aws_sdk_cloudwatch::types::MetricAlarm;

/// A service with all that its alarms depend on.
pub(super) struct Watched<'a> {
    pub(super) stack: &'a Stack,
    pub(super) service: &'a Service,
    /// The most instances that it may have.
    pub(super) max_size: i32,
    pub(super) has_database: bool,
    pub(super) watch: &'a Watch,
    pub(super) topic_arn: &'a str,
    pub(super) tells: Tells,
    /// Whether what had another name before goes: the function that creates may not delete.
    pub(super) retires: bool,
}

impl Watched<'_> {
    /// Only the service that `provision` makes has the name of its stack; with it come the database and the dashboard.
    pub(super) fn is_main(&self) -> bool {
        self.service.service_name == self.stack.name()
    }

    pub(super) async fn keep(&self, aws: &Aws, run: &mut Run) -> Result<()> {
        log_retention::keep(aws, self.stack, self.service, self.watch, run).await?;
        self.alarms(aws, run).await?;
        match self.is_main() {
            true => dashboard::keep(aws, self.stack, run, self.service).await,
            false => Ok(()),
        }
    }

    fn wanted(&self) -> Vec<Alarm> {
        let (thresholds, service) = (&self.watch.alarms, self.service);
        let (name, id) = (&service.service_name, &service.service_id);
        let mut wanted = Alarm::of_service(thresholds, name, id, self.max_size);
        if self.has_database && self.is_main() {
            wanted.extend(Alarm::of_database(thresholds, name));
        }
        wanted
    }

    async fn alarms(&self, aws: &Aws, run: &mut Run) -> Result<()> {
        let name = &self.service.service_name;
        let existing = find(aws, &format!("{name}-")).await?;
        let (mut to_tell, mut to_be_silent) = (Vec::new(), Vec::new());
        // What is somebody else's does not keep the service from having the others.
        let mut conflict = None;
        for alarm in self.wanted() {
            let tells = match alarm.is_of_database() {
                true => self.tells.of_database,
                false => self.tells.of_service,
            };
            let found = existing
                .iter()
                .find(|found| found.alarm_name() == Some(&alarm.name));
            let Some(found) = found else {
                if run.create(format!("alarm {}", alarm.name)) {
                    let tags = Some(tag_list(self.stack, run));
                    alarm
                        .put(aws, self.topic_arn, tells.unwrap_or(true), tags)
                        .await?;
                }
                continue;
            };
            let is_telling = found.actions_enabled().unwrap_or(true);
            let tells = tells.unwrap_or(is_telling);
            let differs = alarm.differs(found, self.topic_arn);
            if !differs && tells == is_telling {
                continue;
            }
            if !self.stack.owns(&tags(aws, &alarm.name).await?) {
                conflict = Some(Error::Conflict(format!("alarm {}", alarm.name)));
                continue;
            }
            if differs {
                if run.change(format!("alarm {}", alarm.name)) {
                    alarm.put(aws, self.topic_arn, tells, None).await?;
                }
            } else if tells && run.change(format!("alarm {}: tells again", alarm.name)) {
                to_tell.push(alarm.name);
            } else if !tells && run.change(format!("alarm {}: is silent", alarm.name)) {
                to_be_silent.push(alarm.name);
            }
        }
        set_actions(aws, to_tell, true).await?;
        set_actions(aws, to_be_silent, false).await?;
        if self.is_main() && !self.has_database {
            self.forget_database(aws, &existing, run).await?;
        }
        if self.retires {
            self.retire(aws, &existing, run).await?;
        }
        conflict.map_or(Ok(()), Err)
    }

    /// Removes the alarms that groundcrew 0.1 made under other names, once the new ones are there (until 0.3.0).
    async fn retire(&self, aws: &Aws, existing: &[MetricAlarm], run: &mut Run) -> Result<()> {
        let mut gone = Vec::new();
        for new in self.wanted() {
            let old = new.name_before();
            if existing.iter().any(|it| it.alarm_name() == Some(old))
                && self.stack.owns(&tags(aws, old).await?)
                && run.remove(format!("alarm {old}"))
            {
                gone.push(old.to_owned());
            }
        }
        delete(aws, gone).await
    }

    async fn forget_database(
        &self,
        aws: &Aws,
        existing: &[MetricAlarm],
        run: &mut Run,
    ) -> Result<()> {
        let mut gone = Vec::new();
        for alarm in existing {
            let name = alarm.alarm_name().unwrap_or_default();
            if watches_database(alarm, &self.stack.name())
                && self.stack.owns(&tags(aws, name).await?)
                && run.remove(format!("alarm {name}"))
            {
                gone.push(name.to_owned());
            }
        }
        delete(aws, gone).await
    }
}
