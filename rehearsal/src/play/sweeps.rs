//! A day whose events are lost, and the sweep after it.

use super::calendar::instant;
use super::deployments::{OF_SWEEP, Occasion, Scenes, variables_of_database};
use crate::console::{self, DIM, line};
use crate::promises::sweeps::{SWEPT, Sweep, Swept};
use crate::{End, Error, Notification, Result};
use aws_sdk_cloudwatchlogs::types::LogGroup;
use groundcrew::Stack;
use groundcrew::command::start_execution;
use groundcrew::image::short;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const SWEEP: &str = "SweepStateMachineArn";
const TWO_DAYS: SignedDuration = SignedDuration::from_hours(48);

impl Scenes<'_> {
    pub(super) async fn sweep(&mut self) -> Result<()> {
        let local = &self.stage.local;
        self.stage
            .heading("A push, a rotation and two slips, of which no event comes");
        local.lose_events(true).await?;
        let before = self.before().await?;
        let digest = self.untagged().await?;
        let tag = self.next_tag();
        self.tag(&digest, &tag).await?;
        let variables = variables_of_database(self.spec);
        let version_id = match variables.is_empty() {
            true => None,
            false => Some(self.new_version().await?),
        };
        let alarm = Stack::watcher(&self.spec.stack().part("server-errors"));
        self.delete(&alarm).await?;
        let groups = self.log_groups().await?;
        let group = groups.first().and_then(LogGroup::log_group_name);
        let group = group.unwrap_or_default().to_owned();
        self.keep_for_ever(&group).await?;
        let unheard = self.follow(before, None).await?;
        self.stage.local.lose_events(false).await?;
        let mut wrong = vec![short(&digest).to_owned(), alarm.clone()];
        wrong.extend((!group.is_empty()).then_some(group));

        if self.sleeps() {
            line("           A sweep asks the clock of this machine, by which it may be night:");
            let tomorrow = Timestamp::now() + SignedDuration::from_hours(24);
            self.keep_awake(&tomorrow.to_zoned(self.calendar.zone().clone()))
                .await?;
        }
        self.stage.heading("What a sweep would do");
        let stack = self.spec.stack().name();
        let plan = self
            .sweep_by_hand("rehearsal-plan", &json!({"stack": stack, "dry_run": true}))
            .await?;
        let before = self.before().await?;
        let sweep = self.sweep_of_the_schedule().await?;
        let act = self.follow(before, None).await?;
        self.it_is_any_time();
        let left = self.left(&alarm).await?;
        self.stage.heading("Another sweep, right after");
        let second = self.sweep_by_hand("rehearsal-again", &json!({})).await?;
        let seen = Swept {
            wrong,
            unheard,
            plan,
            sweep,
            act,
            digest,
            version_id,
            variables,
            left,
            second,
        };
        self.check(SWEPT, &seen);
        Ok(())
    }

    /// Whether the template was deployed so that the stack has nights.
    fn sleeps(&self) -> bool {
        matches!(self.occasion, Occasion::Nights | Occasion::All)
    }

    /// At the next time that the schedule names.
    async fn sweep_of_the_schedule(&mut self) -> Result<Sweep> {
        let from = match self.sleeps() {
            true => self.calendar.back_at_work(),
            false => Timestamp::now().to_zoned(TimeZone::UTC),
        };
        let until = &from + TWO_DAYS;
        let schedules = self.schedules(SWEEP, &from, &until).await?;
        let next = schedules.iter().find_map(|schedule| {
            let at: Timestamp = schedule.fires.first()?.parse().ok()?;
            let zone = TimeZone::get(&schedule.time_zone).unwrap_or(TimeZone::UTC);
            Some((schedule, at.to_zoned(zone)))
        });
        let Some((schedule, at)) = next else {
            self.stage.heading("The sweep of the schedule");
            line("           no schedule sweeps within two days");
            return self.swept(Vec::new(), 0).await;
        };
        self.heading(&at, "the sweep of the schedule");
        line(format_args!(
            "           {} fires at {} in {}",
            schedule.name, schedule.expression, schedule.time_zone
        ));
        let known = self.known(SWEEP).await?;
        let told = self.told_by_sweeps().await?.len();
        let local = &self.stage.local;
        self.stage.forget_calls().await?;
        local.fire_schedule(&schedule.name, &instant(&at)).await?;
        let ends = self.ends(SWEEP, known, true).await?;
        self.swept(ends, told).await
    }

    /// Starts `sweep` with the command of the template's output.
    async fn sweep_by_hand(&mut self, name: &str, input: &Value) -> Result<Sweep> {
        let machine = self.stage.outputs.get(SWEEP)?;
        line(format_args!(
            "           $ {}",
            start_execution(machine, &input.to_string())
        ));
        let known = self.known(SWEEP).await?;
        let told = self.told_by_sweeps().await?.len();
        let local = &self.stage.local;
        self.stage.forget_calls().await?;
        local.start_execution(machine, name, input).await?;
        let ends = self.ends(SWEEP, known, true).await?;
        self.swept(ends, told).await
    }

    async fn swept(&self, ends: Vec<End>, told_before: usize) -> Result<Sweep> {
        let swept = Sweep {
            ends,
            calls: self.stage.calls().await?,
            told: self.told_by_sweeps().await?.split_off(told_before),
        };
        match swept.told.as_slice() {
            [] => {
                for sentence in swept.summary().lines() {
                    line(format_args!("           {sentence}"));
                }
            }
            told => {
                for told in told {
                    console::notification(told.subject.as_deref(), &told.message);
                }
            }
        }
        Ok(swept)
    }

    async fn told_by_sweeps(&self) -> Result<Vec<Notification>> {
        let mut told = self.stage.local.notifications().await?;
        told.retain(|told| {
            let subject = told.subject.as_deref();
            subject.is_some_and(|subject| subject.starts_with(OF_SWEEP))
        });
        Ok(told)
    }

    async fn delete(&self, alarm: &str) -> Result<()> {
        line(format_args!(
            "           {DIM}somebody deletes the alarm {alarm}{DIM:#}"
        ));
        let cloudwatch = self.stage.local.aws().cloudwatch();
        let deleted = cloudwatch.delete_alarms().alarm_names(alarm).send().await;
        deleted
            .map(drop)
            .map_err(Error::call("cloudwatch:DeleteAlarms"))
    }

    async fn keep_for_ever(&self, group: &str) -> Result<()> {
        line(format_args!(
            "           {DIM}somebody has the log group {group} keep its events for ever{DIM:#}"
        ));
        let logs = self.stage.local.aws().logs();
        let deleted = logs.delete_retention_policy().log_group_name(group);
        let deleted = deleted.send().await.map(drop);
        deleted.map_err(Error::call("logs:DeleteRetentionPolicy"))
    }

    /// Those that App Runner has made for the service.
    async fn log_groups(&self) -> Result<Vec<LogGroup>> {
        let service = self.look()?;
        let id = service.arn.rsplit('/').next().unwrap_or_default();
        let logs = self.stage.local.aws().logs();
        let described = logs
            .describe_log_groups()
            .log_group_name_prefix(format!("/aws/apprunner/{}/{id}/", service.name))
            .send()
            .await;
        let described = described.map_err(Error::call("logs:DescribeLogGroups"))?;
        Ok(described.log_groups.unwrap_or_default())
    }

    /// What is not as it was before somebody slipped.
    async fn left(&self, alarm: &str) -> Result<Vec<String>> {
        let mut left = Vec::new();
        let (on, _) = self.alarms().await?;
        if !on.iter().any(|on| on == alarm) {
            left.push(format!("the alarm {alarm}"));
        }
        let days = i32::from(self.spec.log_retention_days);
        for group in self.log_groups().await? {
            if group.retention_in_days != Some(days) {
                left.push(format!(
                    "the log group {}",
                    group.log_group_name().unwrap_or_default()
                ));
            }
        }
        Ok(left)
    }
}
